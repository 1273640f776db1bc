"""Walks over many nodes: their documents are requested before they are opened, many at once, where requests wait.

A walk over a plate waits for its wells, then for their fields and the arrays of these, and so on for the next wells:
the metadata name what comes next. In a local folder, and in a store that is open for writing, nothing is read ahead.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

from lamella.errors import LamellaError
from lamella.nodes.store_handle import join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lamella.nodes.well import Well
    from lamella.store.documents import Documents

T = TypeVar("T")

_WELLS: Final = 128
"""Wells that are opened at once."""
_FIELDS: Final = 256
"""Fields whose documents are requested at once."""
_SLOW: Final = 4.0
"""Seconds after which those who take the fields of one round are too slow for as many in the next."""


def opened(open_one: Callable[[str], T], path: str) -> T | LamellaError:
    """Open a node; return the error where it cannot be opened."""
    try:
        return open_one(path)
    except LamellaError as error:
        return error


def wells_ahead(
    documents: Documents, root: str, paths: Sequence[str], open_well: Callable[[str], Well]
) -> Iterator[tuple[str, Well | LamellaError]]:
    """Yield wells with their paths, or the error of those that cannot be opened; their fields are requested ahead.

    Parameters
    ----------
    documents
        Of the store.
    root
        Path of the node that the wells are below.
    paths
        Of the wells, seen from there.
    open_well
        Opens one by its path.
    """
    if not documents.storage.reads_ahead:
        for path in paths:
            yield path, opened(open_well, path)
        return
    at, share = 0, 1
    while at < len(paths):
        batch = paths[at : at + max(1, _WELLS // share)]
        at += len(batch)
        documents.expect([join(root, path) for path in batch])
        found = [(path, opened(open_well, path)) for path in batch]
        while found:
            began = time.monotonic()
            part, fields = _next_part(root, found, max(1, _FIELDS // share))
            documents.expect(fields, arrays=[join(field, "0") for field in fields])
            yield from part
            del found[: len(part)]
            share = min(_FIELDS, share * 8) if time.monotonic() - began > _SLOW else max(1, share // 8)


def _next_part(
    root: str, wells: Sequence[tuple[str, Well | LamellaError]], most: int
) -> tuple[list[tuple[str, Well | LamellaError]], list[str]]:
    """Return the first wells with about so many fields, and the paths of these."""
    part: list[tuple[str, Well | LamellaError]] = []
    fields: list[str] = []
    for path, well in wells:
        names = [] if isinstance(well, LamellaError) else _field_names(well)
        if part and len(fields) + len(names) > most:
            break
        part.append((path, well))
        fields += [join(root, path, name) for name in names[:most]]
    return part, fields


def _field_names(well: Well) -> list[str]:
    try:
        return [image.path for image in well.document.shared_model.images]
    except LamellaError:  # whoever walks meets it
        return []


def members_ahead(documents: Documents, root: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the names of images below a node, whose documents are requested ahead."""
    if not documents.storage.reads_ahead:
        yield from names
        return
    for first in range(0, len(names), _FIELDS):
        part = names[first : first + _FIELDS]
        paths = [join(root, name) for name in part]
        documents.expect(paths, arrays=[join(path, "0") for path in paths])
        yield from part
