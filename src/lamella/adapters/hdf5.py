"""Read planes of HDF5 files with the library ``h5py``, each chunk decoded once for the planes it spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.ops.last_used import LastUsed

if TYPE_CHECKING:
    from lamella.types import Array

_OPEN_DATASETS = 4
"""Maximum number of datasets that stay open."""

_CACHE_BYTES = 32 << 20
"""Maximum size of the decoded chunks that stay in memory for each open dataset."""


class HDF5File:
    """An open file; the datasets that were read last stay open, because closing a dataset drops its decoded chunks."""

    def __init__(self, path: str) -> None:
        import h5py

        self.root = h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES, rdcc_nslots=10007)
        self._datasets: LastUsed[str, Any] = LastUsed(_OPEN_DATASETS)

    def dataset(self, name: str) -> Any | None:
        """Return a dataset; None if the file has no dataset of this name."""
        dataset = self._datasets.get(name)
        if dataset is None and name in self.root:
            dataset = self._datasets.put(name, self.root[name])
        return dataset

    def read_plane(self, name: str, z: int, rows: slice, width: int) -> Array | None:
        """Read rows of a plane of a volume (z, y, x); None if it is missing."""
        dataset = self.dataset(name)
        if dataset is None:
            return None
        plane: Array = dataset[z, rows, :width]
        return plane

    def close(self) -> None:
        self._datasets.clear()
        self.root.close()
