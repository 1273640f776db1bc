"""zarr-python and TensorStore: they read arrays by path, and know nothing of images, plates or physical sizes."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from peer import Pixels, Reader, ReadImage

if TYPE_CHECKING:
    from pathlib import Path


class ArrayReader(Reader):
    """A library for arrays. Where they are, the tests know: levels are 0, 1, 2, label images below labels."""

    @abstractmethod
    def read_array(self, path: Path) -> Pixels:
        """One array."""

    def read_image(self, path: Path) -> ReadImage:
        levels = sorted(level for level in path.iterdir() if level.name.isdecimal())
        return ReadImage([self.read_array(level) for level in levels], None)

    def read_labels(self, path: Path, name: str) -> ReadImage:
        return self.read_image(path / "labels" / name)

    def read_plate(self, path: Path) -> dict[str, ReadImage]:
        fields = sorted(field.parent for field in path.glob("*/*/*/0"))
        return {field.relative_to(path).as_posix(): self.read_image(field) for field in fields}


class ZarrPython(ArrayReader):
    """zarr-python."""

    name = "zarr-python"

    def read_array(self, path: Path) -> Pixels:
        import zarr

        return zarr.open_array(str(path), mode="r")[...]


class TensorStore(ArrayReader):
    """TensorStore, told nothing but the path."""

    name = "TensorStore"

    def read_array(self, path: Path) -> Pixels:
        import tensorstore

        driver = "zarr3" if (path / "zarr.json").exists() else "zarr"
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
        return tensorstore.open(spec, open=True).result().read().result()
