"""Request the documents of many nodes before they are opened, in walks over remote stores that are open for reading.

A walk over a plate requests the next wells in one round, then their fields and arrays: some hundred at a time, and the
next while the caller uses the last. Local folders, and stores that are open for writing, are read node by node;
documents of folders are first loaded into the page cache, if they are not there.
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

_WELLS: Final = 128
"""Limit of wells that are requested at once."""
_READ_ALONE: Final = 3
"""Number of wells of a folder that a walk reads before the system loads more: many callers need only the first."""
_FIELDS: Final = 256
"""Limit of fields whose documents are requested at once."""
_SLOW: Final = 4.0
"""If the caller needs longer than this for the fields of one round, in seconds, the next round is smaller."""


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
        loaded = _READ_ALONE
        for number, path in enumerate(paths):
            well = opened(open_well, path)
            if number + 1 >= _READ_ALONE and number + _WELLS >= loaded and loaded < len(paths):
                _load_ahead(documents, root, paths[loaded : loaded + _WELLS], well)
                loaded += _WELLS
            yield path, well
        return
    pace = _Pace()
    yield from _one_part_ahead(_requested_wells(documents, root, paths, open_well, pace), pace)


def _requested_wells(
    documents: Documents, root: str, paths: Sequence[str], open_well: Callable[[str], Well], pace: _Pace
) -> Iterator[tuple[Sequence[OpenedWell], Future[None]]]:
    """Yield some wells at a time, with the request for the documents of their fields."""
    first = 0
    while first < len(paths):
        batch = paths[first : first + max(1, _WELLS // pace.share)]
        first += len(batch)
        documents.request_ahead([join_names(root, path) for path in batch], attributes_only=True)
        wells = [(path, opened(open_well, path)) for path in batch]
        while wells:
            part, fields = _next_part(root, wells, max(1, _FIELDS // pace.share))
            del wells[: len(part)]
            yield part, _request(documents, fields)


class _Pace:
    """The size of the next request, as a part of the largest: smaller after a caller that was slow."""

    def __init__(self) -> None:
        self.share = 1

    def note(self, seconds: float) -> None:
        """Adapt to the seconds that the caller needed for a part."""
        self.share = min(_FIELDS, self.share * 8) if seconds > _SLOW else max(1, self.share // 8)


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
    except RuntimeError:  # the system allows no more
        request()
    return done


def _one_part_ahead(parts: Iterator[tuple[Sequence[T], Future[None]]], pace: _Pace) -> Iterator[T]:
    """Yield the members of all parts; the next part is requested when half of a part was used."""
    current = next(parts, None)
    while current is not None:
        part, requested = current
        following, started = None, time.monotonic()
        requested.result()
        for number, member in enumerate(part):
            if number == (len(part) + 1) // 2 and time.monotonic() - started < _SLOW / 2:
                following = next(parts, None)
            yield member
        pace.note(time.monotonic() - started)
        current = following or next(parts, None)


def _load_ahead(documents: Documents, root: str, paths: Sequence[str], like: Well | LamellaError) -> None:
    """Load ahead the documents of wells, and of fields that have the same names as those of another well."""
    names: list[str] = []
    if not isinstance(like, LamellaError):
        with suppress(LamellaError):  # reading its fields raises it again
            names = [image.path for image in like.document.last_shared_model.images[:_FIELDS]]
    wells = [join_names(root, path) for path in paths]
    documents.load_ahead(wells)
    documents.load_ahead([join_names(well, name) for well in wells for name in names], array="0")


def _next_part(root: str, wells: Sequence[OpenedWell], limit: int) -> tuple[list[OpenedWell], list[str]]:
    """Return the first wells with at most about `limit` fields, and the paths of these fields."""
    part: list[OpenedWell] = []
    fields: list[str] = []
    for path, well in wells:
        names = [] if isinstance(well, LamellaError) else _field_names(well)
        if part and len(fields) + len(names) > limit:
            break
        part.append((path, well))
        fields += [join_names(root, path, name) for name in names[:limit]]
    return part, fields


def _field_names(well: Well) -> list[str]:
    try:
        return [image.path for image in well.document.shared_model.images]
    except LamellaError:  # opening the well raises it again
        return []


def members_ahead(documents: Documents, root: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the names of images below a node, with their documents requested ahead."""
    parts = [names[first : first + _FIELDS] for first in range(0, len(names), _FIELDS)]
    if documents.storage.reads_ahead:
        requested = ((part, _request(documents, [join_names(root, name) for name in part])) for part in parts)
        yield from _one_part_ahead(requested, _Pace())
        return
    for part in parts:
        documents.load_ahead([join_names(root, name) for name in part], array="0")
        yield from part
