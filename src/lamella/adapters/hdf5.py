"""Read planes of HDF5 files with the library ``h5py``, each chunk decoded once for the planes it spans."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

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
        self._datasets: OrderedDict[str, Any] = OrderedDict()

    def dataset(self, name: str) -> Any | None:
        """Return a dataset, None without one of this name."""
        if name not in self._datasets:
            if name not in self.root:
                return None
            self._datasets[name] = self.root[name]
            if len(self._datasets) > _DATASETS:
                self._datasets.popitem(last=False)
        self._datasets.move_to_end(name)
        return self._datasets[name]

    def read_plane(self, name: str, z: int, rows: slice, width: int) -> Array | None:
        """Read rows of a plane of a volume (z, y, x); None if it is missing."""
        data = self.dataset(name)
        if data is None:
            return None
        plane: Array = data[z, rows, :width]
        return plane

    def close(self) -> None:
        """Close the file."""
        self._datasets.clear()
        self.root.close()
