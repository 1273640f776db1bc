"""Read DeltaVision files with the library ``mrc``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.described import described, size
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


def single(number: float) -> float:
    """Return the shortest number that is the same in 32 bit, in which the file has it.

    >>> single(0.13262000679969788)
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
        """Return whether a file is named as DeltaVision, or is one by the name of MRC."""
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
            described(
                path,
                tuple(sizes[axis] for axis in "TCZYX"),
                handle.dtype,
                scale=dict(zip("xyz", map(single, handle.voxel_size), strict=True)),
                channels=tuple(_channel(handle, frames, number) for number in range(sizes["C"])),
                stage=dict(zip("xyz", map(float, stage), strict=False)) if any(stage) else {},
                times=_times(handle, frames),
                objective=Objective(handle.lens) if handle.lens else None,
            )
        ]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        return [OriginalMetadata("dv.json", json_text(handle.metadata["header"]))]

    def read_plane(self, handle: Any, image: int, index: tuple[int, ...], rows: slice) -> Array | None:
        at = dict(zip("TCZ", index, strict=True))
        plane: Array = handle.data[tuple(at[axis] for axis in handle.axes[:3])]
        return plane[rows]


def _frames(file: Any) -> list[Any]:
    """Return what the extended header states of each plane, in the order of the file; nothing in an unknown layout."""
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


def _number(file: Any, at: dict[str, int]) -> int:
    number = 0
    for axis in file.axes[:3]:
        number = number * file.sizes[axis] + at.get(axis, 0)
    return number


def _times(file: Any, frames: list[Any]) -> tuple[float, ...]:
    times = tuple(
        float(frames[_number(file, {"T": t})].timeStampSeconds) for t in range(file.sizes["T"]) if frames
    )
    return times if any(times) else ()


def _channel(file: Any, frames: list[Any], number: int) -> SourceChannel:
    """Return a channel; it has no name but its wavelength."""
    wave = float(getattr(file.hdr, f"wave{number + 1}", 0))
    frame = frames[_number(file, {"C": number})] if frames else None
    return SourceChannel(
        label=f"{wave:g}" if wave > 0 else "",
        emission=wave if wave > 0 else None,
        excitation=None if frame is None else size(frame.exWavelen),
        exposure=None if frame is None else size(frame.expTime),
    )
