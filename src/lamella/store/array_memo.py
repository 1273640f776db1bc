"""Descriptions of arrays that were met before: the arrays of a plate hardly differ.

Thousands of positions have arrays of one shape, dtype and layout. Checking, parsing and encoding their description once
instead of each time is most of what creating and walking a plate costs beside the file system. Descriptions are frozen,
so that handles may share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.store.array_meta import ArrayMeta

V = TypeVar("V")

_MOST = 256
_LARGEST_DOCUMENT = 1 << 14

_parsed: dict[tuple[bytes, bytes | None], ArrayMeta] = {}
_made: dict[Hashable, ArrayMeta] = {}
_encoded: dict[int, tuple[ArrayMeta, bytes]] = {}


def parsed(data: bytes, beside: bytes | None, parse: Callable[[], ArrayMeta]) -> ArrayMeta:
    """Return what a document says.

    Parameters
    ----------
    data
        The document.
    beside
        The document of the attributes (Zarr v2).
    parse
        Parses them, where they are new.
    """
    if len(data) + len(beside or b"") > _LARGEST_DOCUMENT:
        return parse()
    return _remembered(_parsed, (data, beside), parse)


def made(key: Hashable, make: Callable[[], ArrayMeta]) -> ArrayMeta:
    """Return the description of a new array; ``key`` is everything it is made from."""
    try:
        return _remembered(_made, key, make)
    except TypeError:  # a compressor given as a dict cannot be a key
        return make()


def encoded(meta: ArrayMeta, encode: Callable[[], bytes]) -> bytes:
    """Return the document of a description."""
    # By identity, and the description is kept: another one cannot get its number meanwhile.
    return _remembered(_encoded, id(meta), lambda: (meta, encode()))[1]


def _remembered(memo: dict[Any, V], key: Hashable, make: Callable[[], V]) -> V:
    known = memo.get(key)
    if known is None:
        known = make()
        if len(memo) >= _MOST:
            memo.clear()
        memo[key] = known
    return known
