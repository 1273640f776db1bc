"""Fix the description of an array for the time of a job.

A job plans its units once, and does not read the array's document again for each block. Other code checks whether the
description changed meanwhile, and refuses the job or marks its levels stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.store.arrays import StoredArray

if TYPE_CHECKING:
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.documents import Documents


class PinnedArray(StoredArray):
    """An array with a fixed description.

    >>> array = position["0"].stored
    >>> fixed = PinnedArray(array.documents, array.path, array.meta)
    >>> position["0"].resize((2, *position["0"].shape[1:]))
    >>> fixed.meta.shape == array.meta.shape
    False
    """

    def __init__(self, documents: Documents, path: str, meta: ArrayMeta) -> None:
        super().__init__(documents, path)
        self._pinned = meta

    def __reduce__(self) -> tuple[object, ...]:
        return PinnedArray, (self.documents, self.path, self._pinned)

    @property
    def meta(self) -> ArrayMeta:
        """The fixed description."""
        return self._pinned

    def refresh(self) -> ArrayMeta:
        """Return the fixed description."""
        return self._pinned


def pinned(array: StoredArray) -> PinnedArray:
    """Fix the present description of an array."""
    return PinnedArray(array.documents, array.path, array.meta)
