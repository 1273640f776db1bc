"""Read planes of HDF5 files with the library ``h5py``, each chunk decoded once for the planes it spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.ops.last_used import LastUsed

if TYPE_CHECKING:
    from lamella.types import Array

_DATASETS = 4
"""Number of datasets that stay open."""

_CACHE_BYTES = 32 << 20
"""Decoded chunks that stay in memory for each open dataset."""


class HDF5File:
    """An open file; the datasets that were read last stay open, because closing one drops its decoded chunks."""

    def __init__(self, path: str) -> None:
        import h5py

        self.root = h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES, rdcc_nslots=10007)
        self._datasets: LastUsed[str, Any] = LastUsed(_DATASETS)

    def dataset(self, name: str) -> Any | None:
        """Return a dataset, None without one of this name."""
        data = self._datasets.get(name)
        return self._datasets.put(name, self.root[name]) if data is None and name in self.root else data

    def read_plane(self, name: str, z: int, rows: slice, width: int) -> Array | None:
        """Read rows of a plane of a volume (z, y, x); None if it is missing."""
        data = self.dataset(name)
        if data is None:
            return None
        plane: Array = data[z, rows, :width]
        return plane

    def close(self) -> None:
        self._datasets.clear()
        self.root.close()
