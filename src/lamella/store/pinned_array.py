"""An array as it was described when a job began.

A job plans its units from the descriptions of its arrays, and writes what it planned: it does not look at the documents
again for each block. Of an array whose description changes meanwhile the job is refused, or its levels are stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.store.arrays import StoredArray

if TYPE_CHECKING:
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.documents import Documents


class PinnedArray(StoredArray):
    """One array of a store, with a description that stays.

    Parameters
    ----------
    documents, path
        As for `StoredArray`.
    meta
        The description.

    Examples
    --------
    >>> array = position["0"].stored
    >>> pinned = PinnedArray(array.documents, array.path, array.meta)
    >>> position["0"].resize((2, *position["0"].shape[1:]))
    >>> pinned.meta is pinned.meta, pinned.meta.shape == array.meta.shape
    (True, False)
    """

    def __init__(self, documents: Documents, path: str, meta: ArrayMeta) -> None:
        super().__init__(documents, path)
        self._pinned = meta

    def __reduce__(self) -> tuple[object, ...]:
        return PinnedArray, (self.documents, self.path, self._pinned)

    @property
    def meta(self) -> ArrayMeta:
        """The description."""
        return self._pinned

    def refresh(self) -> ArrayMeta:
        """Return the description: it stays."""
        return self._pinned


def pinned(array: StoredArray) -> PinnedArray:
    """Return an array as its document describes it now."""
    return PinnedArray(array.documents, array.path, array.meta)
