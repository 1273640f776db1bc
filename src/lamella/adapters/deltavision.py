"""Read DeltaVision files with the library ``mrc``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.descriptions import describe_image, positive_or_none
from lamella.adapters.formats import ENDINGS
from lamella.adapters.original import json_text
from lamella.errors import SourceError
from lamella.ops.conversion.handles import HandleReader
from lamella.ops.conversion.reader import OriginalMetadata
from lamella.ops.conversion.source import COPY_AGAIN, Objective, SourceChannel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array

_MAGIC = (b"\xa0\xc0", b"\xc0\xa0")
"""Bytes 96 and 97, of both byte orders."""


def is_deltavision(path: str) -> bool:
    """Return whether a file begins with the header of DeltaVision; OMX microscopes name such files ``.mrc``."""
    try:
        with open(path, "rb") as file:
            return file.read(98)[96:] in _MAGIC
    except OSError:
        return False


def shortest_float32(number: float) -> float:
    """Return the number with the fewest digits that rounds to the same float32, the type in the file.

    >>> shortest_float32(0.13262000679969788)
    0.13262
    """
    return float(str(np.float32(number)))


class DeltaVisionReader(HandleReader):
    """DeltaVision and OMX; the pixels are mapped into memory."""

    name = "dv"
    title = "DeltaVision"
    endings = ENDINGS["dv"]
    extra = "dv"
    libraries = ("mrc",)

    def recognises(self, head: bytes) -> bool:
        return head[96:98] in _MAGIC

    def claims(self, path: str) -> bool:
        """Return whether a file has an ending of DeltaVision, or the ending of MRC and the header of DeltaVision."""
        return super().claims(path) or (path.lower().endswith(".mrc") and is_deltavision(path))

    def open_handle(self, path: str) -> Any:
        import mrc

        return mrc.DVFile(path)

    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        header, sizes = handle.hdr, handle.sizes
        if sizes["Z"] * sizes["C"] * sizes["T"] != header.n_sections:
            raise SourceError(
                f"{path} is damaged: it has {header.n_sections} planes for {sizes['C']} channels and {sizes['T']} "
                f"times. {COPY_AGAIN}"
            )
        frames = _frames(handle)
        first = frames[0] if frames else None
        stage = [] if first is None else [first.stageXCoord, first.stageYCoord, first.stageZCoord]
        return [
            describe_image(
                path,
                tuple(sizes[axis] for axis in "TCZYX"),
                handle.dtype,
                scale=dict(zip("xyz", map(shortest_float32, handle.voxel_size), strict=True)),
                channels=tuple(_channel(handle, frames, number) for number in range(sizes["C"])),
                stage=dict(zip("xyz", map(float, stage), strict=False)) if any(stage) else {},
                times=_times(handle, frames),
                objective=Objective(handle.lens) if handle.lens else None,
            )
        ]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        return [OriginalMetadata("dv.json", json_text(handle.metadata["header"]))]

    def read_plane(self, handle: Any, image: int, index: tuple[int, ...], rows: slice) -> Array | None:
        indices = dict(zip("TCZ", index, strict=True))
        plane: Array = handle.data[tuple(indices[axis] for axis in handle.axes[:3])]
        return plane[rows]


def _frames(file: Any) -> list[Any]:
    """Return the record of each plane in the extended header, in the order of the file; none for an unknown layout."""
    header = file.hdr
    size = 4 * (header.n_ints + header.n_floats)
    if (
        file.ext_hdr is None
        or header.n_ints != 8
        or header.n_floats < 14
        or np.dtype(file.dtype).byteorder == ">"
    ):
        return []
    if len(file.ext_hdr.buffer) < size * header.n_sections:
        return []
    return [file.ext_hdr.frame(number) for number in range(header.n_sections)]


def _frame_number(file: Any, indices: dict[str, int]) -> int:
    number = 0
    for axis in file.axes[:3]:
        number = number * file.sizes[axis] + indices.get(axis, 0)
    return number


def _times(file: Any, frames: list[Any]) -> tuple[float, ...]:
    times = tuple(
        float(frames[_frame_number(file, {"T": t})].timeStampSeconds)
        for t in range(file.sizes["T"])
        if frames
    )
    return times if any(times) else ()


def _channel(file: Any, frames: list[Any], number: int) -> SourceChannel:
    """Return a channel, which is named by its wavelength: the file states no other name."""
    wavelength = float(getattr(file.hdr, f"wave{number + 1}", 0))
    frame = frames[_frame_number(file, {"C": number})] if frames else None
    return SourceChannel(
        label=f"{wavelength:g}" if wavelength > 0 else "",
        emission=wavelength if wavelength > 0 else None,
        excitation=None if frame is None else positive_or_none(frame.exWavelen),
        exposure=None if frame is None else positive_or_none(frame.expTime),
    )
