"""Cache what is derived from documents by their bytes: thousands of positions have equal documents.

A document is parsed, checked and encoded once per content, which saves most of the time of creating and walking a plate
that is not spent in the file system. What is cached is shared: descriptions of arrays are frozen, and callers copy the
attributes of groups before users may change them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.coding import Coding
    from lamella.types import JSONObject

T = TypeVar("T")

_MAX_ENTRIES = 256
_MAX_DOCUMENT_BYTES = 1 << 14

_groups: dict[tuple[int, bytes], StoredGroup] = {}
_parsed: dict[tuple[bytes, bytes | None], ArrayMeta] = {}
_described: dict[Hashable, ArrayMeta] = {}
_encoded: dict[int, tuple[ArrayMeta, bytes]] = {}
_codings: dict[int, tuple[ArrayMeta, Coding | None]] = {}


class StoredGroup:
    """One version of a group's document.

    Attributes
    ----------
    data : bytes
        The document as stored (Zarr v2: of the attributes); empty where it is unknown.
    attributes : dict
        The parsed attributes. Shared: never change it.
    derived : dict
        Edited versions; see `lamella.nodes.metadata_document`.
    """

    __slots__ = ("_cached", "attributes", "data", "derived")

    def __init__(self, data: bytes, attributes: JSONObject) -> None:
        self.data = data
        self.attributes = attributes
        self.derived: dict[Hashable, Any] = {}
        self._cached: dict[Hashable, Any] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return StoredGroup, (self.data, self.attributes)

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the cached value of a key, computed by ``make`` on first use. Shared: never change it."""
        if key not in self._cached:
            self._cached[key] = make()
        value: T = self._cached[key]
        return value

    def peek(self, key: Hashable) -> Any:
        """Return the cached value of a key; None if missing."""
        return self._cached.get(key)


def stored_group(data: bytes, zarr_format: int, parse: Callable[[], JSONObject]) -> StoredGroup:
    """Return the cached group of a document's bytes, parsed where they are new."""
    if len(data) > _MAX_DOCUMENT_BYTES:
        return StoredGroup(data, parse())
    return _cached(_groups, (zarr_format, data), lambda: StoredGroup(data, parse()))


def parsed_array(data: bytes, attributes_data: bytes | None, parse: Callable[[], ArrayMeta]) -> ArrayMeta:
    """Return the parsed document of an array; ``attributes_data`` is its separate attributes document (Zarr v2)."""
    if len(data) + len(attributes_data or b"") > _MAX_DOCUMENT_BYTES:
        return parse()
    return _cached(_parsed, (data, attributes_data), parse)


def new_description(key: Hashable, make: Callable[[], ArrayMeta]) -> ArrayMeta:
    """Return the description of a new array; ``key`` contains all arguments that it depends on."""
    try:
        return _cached(_described, key, make)
    except TypeError:  # a compressor that is a dict cannot be a key
        return make()


def encoded_array(meta: ArrayMeta, encode: Callable[[], bytes]) -> bytes:
    """Return the encoded document of a description."""
    # The entry keeps the description alive, so that no other object can get the same id.
    return _cached(_encoded, id(meta), lambda: (meta, encode()))[1]


def coding_of_array(meta: ArrayMeta, parse: Callable[[ArrayMeta], Coding | None]) -> Coding | None:
    """Return the parsed codecs of a description; None where one is unsupported."""
    return _cached(_codings, id(meta), lambda: (meta, parse(meta)))[1]


def _cached(cache: dict[Any, T], key: Hashable, make: Callable[[], T]) -> T:
    value = cache.get(key)
    if value is None:
        value = make()
        if len(cache) >= _MAX_ENTRIES:
            cache.clear()
        cache[key] = value
    return value
