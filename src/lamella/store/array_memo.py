"""Reuse the descriptions of equal arrays: thousands of positions have arrays of one shape, dtype and layout.

Checking, parsing and encoding one description, instead of one per array, saves most of the time of creating and walking
a plate that the file system does not take. Descriptions are frozen, so handles may share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.store.array_meta import ArrayMeta

V = TypeVar("V")

_MAX_ENTRIES = 256
_MAX_DOCUMENT_BYTES = 1 << 14

_parsed: dict[tuple[bytes, bytes | None], ArrayMeta] = {}
_described: dict[Hashable, ArrayMeta] = {}
_encoded: dict[int, tuple[ArrayMeta, bytes]] = {}


def parsed(data: bytes, attributes_data: bytes | None, parse: Callable[[], ArrayMeta]) -> ArrayMeta:
    """Return the parsed document of an array; ``attributes_data`` is its separate attributes document (Zarr v2)."""
    if len(data) + len(attributes_data or b"") > _MAX_DOCUMENT_BYTES:
        return parse()
    return _remembered(_parsed, (data, attributes_data), parse)


def new_description(key: Hashable, make: Callable[[], ArrayMeta]) -> ArrayMeta:
    """Return the description of a new array; ``key`` holds all arguments that it is made from."""
    try:
        return _remembered(_described, key, make)
    except TypeError:  # a compressor given as a dict cannot be a key
        return make()


def encoded(meta: ArrayMeta, encode: Callable[[], bytes]) -> bytes:
    """Return the encoded document of a description."""
    # The entry keeps the description alive, so that no other object can get the same id.
    return _remembered(_encoded, id(meta), lambda: (meta, encode()))[1]


def _remembered(memo: dict[Any, V], key: Hashable, make: Callable[[], V]) -> V:
    value = memo.get(key)
    if value is None:
        value = make()
        if len(memo) >= _MAX_ENTRIES:
            memo.clear()
        memo[key] = value
    return value
