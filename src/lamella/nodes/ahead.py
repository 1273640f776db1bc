"""Request the documents of many nodes before they are opened, in walks over remote stores that are open for reading.

A walk over a plate requests the documents of up to 128 wells at once, then those of up to 256 of their fields. The
next request starts while the caller uses the fields of the last one. Local folders, and stores that are open for
writing, are read node by node; the system first loads their files into the page cache.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from lamella.errors import LamellaError
from lamella.store.keys import join_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lamella.nodes.well import Well
    from lamella.store.metadata.documents import Documents

    OpenedWell: TypeAlias = tuple[str, Well | LamellaError]

T = TypeVar("T")

_MAX_WELLS: Final = 128
"""Maximum number of wells that are requested at once."""
_FIRST_WELLS: Final = 3
"""Number of wells of a folder that a walk reads before others are loaded ahead: many callers need only the first."""
_FIELDS: Final = 256
"""Maximum number of fields whose documents are requested at once."""
_SLOW_SECONDS: Final = 4.0
"""If the caller needs longer than this for the fields of one request, the next request is smaller."""


def opened(open_one: Callable[[str], T], path: str) -> T | LamellaError:
    """Open a node; return the error if that fails."""
    try:
        return open_one(path)
    except LamellaError as error:
        return error


def wells_ahead(
    documents: Documents, root: str, paths: Sequence[str], open_well: Callable[[str], Well]
) -> Iterator[OpenedWell]:
    """Yield the wells at `paths` below `root`, or the error of opening them; their fields are requested ahead."""
    if not documents.storage.reads_ahead:
        loaded = _FIRST_WELLS
        for index, path in enumerate(paths):
            well = opened(open_well, path)
            if index + 1 >= _FIRST_WELLS and index + _MAX_WELLS >= loaded and loaded < len(paths):
                _load_ahead(documents, root, paths[loaded : loaded + _MAX_WELLS], well)
                loaded += _MAX_WELLS
            yield path, well
        return
    pace = _Pace()
    yield from _one_batch_ahead(_requested_wells(documents, root, paths, open_well, pace), pace)


def _requested_wells(
    documents: Documents, root: str, paths: Sequence[str], open_well: Callable[[str], Well], pace: _Pace
) -> Iterator[tuple[Sequence[OpenedWell], Future[None]]]:
    """Yield batches of wells, with the request for the documents of their fields."""
    start = 0
    while start < len(paths):
        batch_paths = paths[start : start + max(1, _MAX_WELLS // pace.divisor)]
        start += len(batch_paths)
        documents.request_ahead([join_names(root, path) for path in batch_paths], attributes_only=True)
        wells = [(path, opened(open_well, path)) for path in batch_paths]
        while wells:
            batch, fields = _next_batch(root, wells, max(1, _FIELDS // pace.divisor))
            del wells[: len(batch)]
            yield batch, _request(documents, fields)


class _Pace:
    """The size of the next request: the maximum divided by `divisor`, which grows while the caller is slow."""

    def __init__(self) -> None:
        self.divisor = 1

    def adapt(self, seconds: float) -> None:
        """Change the divisor after the caller needed some seconds for a batch."""
        is_slow = seconds > _SLOW_SECONDS
        self.divisor = min(_FIELDS, self.divisor * 8) if is_slow else max(1, self.divisor // 8)


def _request(documents: Documents, fields: Sequence[str]) -> Future[None]:
    """Request the documents of fields, each with its first array, in a thread."""
    done: Future[None] = Future()

    def request() -> None:
        try:
            documents.request_ahead(
                fields, arrays=[join_names(field, "0") for field in fields], attributes_only=True
            )
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    try:
        threading.Thread(target=request, name="lamella-ahead", daemon=True).start()
    except RuntimeError:  # the system allows no more threads
        request()
    return done


def _one_batch_ahead(batches: Iterator[tuple[Sequence[T], Future[None]]], pace: _Pace) -> Iterator[T]:
    """Yield the members of all batches; the next batch is requested when half of a batch was used."""
    current = next(batches, None)
    while current is not None:
        batch, request = current
        following, start = None, time.monotonic()
        request.result()
        for index, member in enumerate(batch):
            if index == (len(batch) + 1) // 2 and time.monotonic() - start < _SLOW_SECONDS / 2:
                following = next(batches, None)
            yield member
        pace.adapt(time.monotonic() - start)
        current = following or next(batches, None)


def _load_ahead(documents: Documents, root: str, paths: Sequence[str], example: Well | LamellaError) -> None:
    """Load ahead the documents of wells, and of their fields if these have the same names as those of `example`."""
    names: list[str] = []
    if not isinstance(example, LamellaError):
        with suppress(LamellaError):  # reading its fields raises the error again
            names = [image.path for image in example.document.last_shared_model.images[:_FIELDS]]
    wells = [join_names(root, path) for path in paths]
    documents.load_ahead(wells)
    documents.load_ahead([join_names(well, name) for well in wells for name in names], array="0")


def _next_batch(root: str, wells: Sequence[OpenedWell], limit: int) -> tuple[list[OpenedWell], list[str]]:
    """Return the first wells with at most `limit` fields, but at least one well, and the paths of these fields."""
    batch: list[OpenedWell] = []
    fields: list[str] = []
    for path, well in wells:
        names = [] if isinstance(well, LamellaError) else _field_names(well)
        if batch and len(fields) + len(names) > limit:
            break
        batch.append((path, well))
        fields += [join_names(root, path, name) for name in names[:limit]]
    return batch, fields


def _field_names(well: Well) -> list[str]:
    try:
        return [image.path for image in well.document.shared_model.images]
    except LamellaError:  # opening the well raises the error again
        return []


def members_ahead(documents: Documents, root: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the names of images below a node, with their documents requested ahead."""
    batches = [names[start : start + _FIELDS] for start in range(0, len(names), _FIELDS)]
    if documents.storage.reads_ahead:
        requests = (
            (batch, _request(documents, [join_names(root, name) for name in batch])) for batch in batches
        )
        yield from _one_batch_ahead(requests, _Pace())
        return
    for batch in batches:
        documents.load_ahead([join_names(root, name) for name in batch], array="0")
        yield from batch
