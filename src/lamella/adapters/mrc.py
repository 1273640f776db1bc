"""Read MRC and CCP4 maps of electron microscopy with the library ``mrcfile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.deltavision import is_deltavision, shortest_float32
from lamella.adapters.descriptions import describe_image
from lamella.adapters.formats import ENDINGS
from lamella.adapters.original import json_text
from lamella.ops.conversion.handles import HandleReader
from lamella.ops.conversion.reader import OriginalMetadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array


_IMOD_STAMP, _SIGNED_BYTES = 1146047817, 1
"""The number at byte 152 of a header with the flags of IMOD, and the flag of signed bytes."""


class MrcReader(HandleReader):
    """MRC 2014; the pixels are mapped into memory."""

    name = "mrc"
    title = "MRC, CCP4 map"
    endings = ENDINGS["mrc"]
    extra = "mrc"
    libraries = ("mrcfile",)

    def recognises(self, head: bytes) -> bool:
        return head[208:212] == b"MAP "

    def claims(self, path: str) -> bool:
        """Return whether a file has an ending of MRC and is not a DeltaVision file."""
        return super().claims(path) and not is_deltavision(path)

    def open_handle(self, path: str) -> Any:
        import mrcfile

        return mrcfile.mmap(path, mode="r")

    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        """Describe the image: a plane, a stack, a volume, or a stack of volumes (time)."""
        shape = handle.data.shape
        voxel = [shortest_float32(handle.voxel_size[axis]) for axis in ("x", "y", "z")]
        order = [int(handle.header[name]) for name in ("mapc", "mapr", "maps")]
        if sorted(order) != [1, 2, 3]:
            order = [1, 2, 3]
        scale = {axis: voxel[number - 1] for axis, number in zip("xyz", order, strict=True)}
        notes: tuple[str, ...] = ()
        if order != [1, 2, 3]:
            names = ", ".join("xyz"[number - 1] for number in order)
            notes = (
                f"its columns, rows and sections are the axes {names} of the specimen; they were not reordered",
            )
        if handle.is_image_stack():
            del scale["z"]
            notes = (*notes, "its planes are a stack of images, not a volume: the z step is unknown")
        return [
            describe_image(
                path,
                shape,
                np.dtype(np.uint8) if _has_unsigned_bytes(handle) else handle.data.dtype,
                axes="tzyx"[-len(shape) :],
                scale=scale,
                units=dict.fromkeys("xyz", "angstrom"),
                notes=notes,
            )
        ]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        header = {name: handle.header[name] for name in handle.header.dtype.names}
        return [OriginalMetadata("mrc.json", json_text(header))]

    def read_plane(self, handle: Any, image: int, index: tuple[int, ...], rows: slice) -> Array | None:
        plane: Array = handle.data[index]
        return plane[rows].view(np.uint8) if _has_unsigned_bytes(handle) else plane[rows]


def _has_unsigned_bytes(file: Any) -> bool:
    """Return whether pixels of 8 bits are unsigned, as flags of IMOD state; those of MRC 2014 are signed."""
    if file.data.dtype != np.int8:
        return False
    integers = np.dtype(np.int32).newbyteorder(file.header.mode.dtype.byteorder)
    stamp, flags = np.frombuffer(file.header.extra2.tobytes(), integers)[10:12]
    return bool(stamp == _IMOD_STAMP and not flags & _SIGNED_BYTES)
