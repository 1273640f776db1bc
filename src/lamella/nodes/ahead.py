"""Request the documents of many nodes before they are opened, in walks over remote stores that are open for reading.

A walk over a plate requests the next wells in one round, then their fields and arrays. Local folders and stores that
are open for writing are read node by node; the system loads the documents of folders ahead, if it has not cached them.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from lamella.errors import LamellaError
from lamella.store.keys import join_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lamella.nodes.well import Well
    from lamella.store.documents import Documents

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
) -> Iterator[tuple[str, Well | LamellaError]]:
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
    position, share = 0, 1
    while position < len(paths):
        batch = paths[position : position + max(1, _WELLS // share)]
        position += len(batch)
        documents.expect([join_names(root, path) for path in batch], attributes_only=True)
        wells = [(path, opened(open_well, path)) for path in batch]
        while wells:
            started = time.monotonic()
            part, fields = _next_part(root, wells, max(1, _FIELDS // share))
            documents.expect(
                fields, arrays=[join_names(field, "0") for field in fields], attributes_only=True
            )
            yield from part
            del wells[: len(part)]
            share = min(_FIELDS, share * 8) if time.monotonic() - started > _SLOW else max(1, share // 8)


def _load_ahead(documents: Documents, root: str, paths: Sequence[str], like: Well | LamellaError) -> None:
    """Load ahead the documents of wells, and of fields that have the same names as those of another well."""
    names: list[str] = []
    if not isinstance(like, LamellaError):
        with suppress(LamellaError):  # reading its fields raises it again
            names = [image.path for image in like.document.last_shared_model.images[:_FIELDS]]
    wells = [join_names(root, path) for path in paths]
    documents.load_ahead(wells)
    documents.load_ahead([join_names(well, name) for well in wells for name in names], array="0")


def _next_part(
    root: str, wells: Sequence[tuple[str, Well | LamellaError]], limit: int
) -> tuple[list[tuple[str, Well | LamellaError]], list[str]]:
    """Return the first wells with at most about `limit` fields, and the paths of these fields."""
    part: list[tuple[str, Well | LamellaError]] = []
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
    for first in range(0, len(names), _FIELDS):
        part = names[first : first + _FIELDS]
        paths = [join_names(root, name) for name in part]
        if documents.storage.reads_ahead:
            documents.expect(paths, arrays=[join_names(path, "0") for path in paths], attributes_only=True)
        else:
            documents.load_ahead(paths, array="0")
        yield from part
