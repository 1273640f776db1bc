"""Documents of groups that were met before: those of the positions of a plate hardly differ.

Thousands of positions have the same document byte for byte, and what is made from it (the parsed attributes, the
model, the document after an edit) is the same too. It is made once and shared for looking; what a user may change is
copied first, by whoever hands it out. The arrays' counterpart is in ``array_memo``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.types import JSONObject

T = TypeVar("T")

_MOST = 256
_LARGEST_DOCUMENT = 1 << 14

_known: dict[tuple[int, bytes], StoredGroup] = {}


class StoredGroup:
    """One content of a group's document.

    Attributes
    ----------
    data : bytes
        The document as stored (Zarr v2: the one of the attributes); empty where it is not known.
    attributes : dict
        What it says. Shared: never to be changed.
    derived : dict
        What nodes derive from their view of it; see `lamella.nodes.metadata_document`.
    """

    __slots__ = ("_made", "attributes", "data", "derived")

    def __init__(self, data: bytes, attributes: JSONObject) -> None:
        self.data = data
        self.attributes = attributes
        self.derived: dict[Hashable, Any] = {}
        self._made: dict[Hashable, Any] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return StoredGroup, (self.data, self.attributes)

    def made(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make`` makes from this content, made once for each key. Shared: never to be changed."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    def known(self, key: Hashable) -> Any:
        """Return what was made under a key; None where nothing was."""
        return self._made.get(key)


def stored_group(data: bytes, zarr_format: int, parse: Callable[[], JSONObject]) -> StoredGroup:
    """Return the content that these bytes are, parsed where they are new."""
    found = _known.get((zarr_format, data))
    if found is None:
        found = StoredGroup(data, parse())
        if len(data) <= _LARGEST_DOCUMENT:
            if len(_known) >= _MOST:
                _known.clear()
            _known[zarr_format, data] = found
    return found
