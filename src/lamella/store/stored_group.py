"""Cache the documents of groups by their bytes: thousands of positions have equal documents.

What is derived from a document (attributes, models, the document after an edit) is computed once per content and
shared;
callers copy it before users may change it. ``array_memo`` does the same for arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.types import JSONObject

T = TypeVar("T")

_MAX_ENTRIES = 256
_MAX_DOCUMENT_BYTES = 1 << 14

_groups: dict[tuple[int, bytes], StoredGroup] = {}


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
        """Return the cached value of a key; None where there is none."""
        return self._cached.get(key)


def stored_group(data: bytes, zarr_format: int, parse: Callable[[], JSONObject]) -> StoredGroup:
    """Return the cached group of a document's bytes, parsed where they are new."""
    group = _groups.get((zarr_format, data))
    if group is None:
        group = StoredGroup(data, parse())
        if len(data) <= _MAX_DOCUMENT_BYTES:
            if len(_groups) >= _MAX_ENTRIES:
                _groups.clear()
            _groups[zarr_format, data] = group
    return group
