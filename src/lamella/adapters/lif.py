"""Read Leica LIF, LOF, XLIF and XLEF files with the library ``liffile``: an image for each image of the file.

The tiles of a mosaic, and the steps of dimensions that OME-NGFF lacks (rotation, loop), are images of their own. The
wavelengths of a spectral scan are channels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.descriptions import describe_image, named_color, parse_number, sample_channels
from lamella.adapters.formats import ENDINGS
from lamella.errors import SourceError
from lamella.ops.conversion.handles import SampleReader
from lamella.ops.conversion.reader import OriginalMetadata
from lamella.ops.conversion.source import COPY_AGAIN, Objective, SourceChannel
from lamella.spec.units import is_size, unit_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array

_IMAGE = "./Data/Image/ImageDescription"
_DIMENSION_IDS = {"x": "1", "y": "2", "z": "3", "t": "4"}
"""The DimID of the dimension of each axis."""
_SPLIT_DIMENSIONS = {
    "A": "rotation",
    "N": "slice",
    "Q": "slice",
    "Λ": "excitation",
    "M": "tile",
    "L": "loop",
    "λ": "wavelength",
}
"""Dimensions of Leica that OME-NGFF lacks, with their names: each index along them becomes an image."""


class LifReader(SampleReader):
    """Leica LIF, and the files of its newer relatives."""

    name = "lif"
    title = "Leica LIF, LOF, XLEF"
    endings = ENDINGS["lif"]
    extra = "lif"
    libraries = ("liffile",)

    def recognises(self, head: bytes) -> bool:
        """Return whether a file begins as LIF or LOF, which are not XML."""
        return head.startswith(b"\x70\0\0\0") and head[8:9] == b"\x2a"

    def open_handle(self, path: str) -> Any:
        import liffile

        return _File(liffile.LifFile(path), path)

    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        """Describe all images except those of photon arrival times."""
        return [
            _describe(split, path, handle.notes if number == 0 else ())
            for number, split in enumerate(handle.split_images)
        ]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        return [OriginalMetadata("lif.xml", handle.file.xml_header())]

    def read_planes(
        self, handle: Any, image: int, indices: Sequence[tuple[int, ...]], rows: slice
    ) -> list[Array | None]:
        split = handle.split_images[image]
        time, first_channel, z = indices[0]
        frame = split.read({"T": time, split.channel_axis: first_channel // split.samples, "Z": z})
        return [frame[rows, :, channel % split.samples] for _, channel, _ in indices]


@dataclass(frozen=True)
class _SplitImage:
    """An image of the file at fixed indices of its `_SPLIT_DIMENSIONS`: {"M": 3} is the fourth tile of a mosaic."""

    image: Any
    fixed: Mapping[str, int]

    @property
    def sizes(self) -> Mapping[str, int]:
        sizes: Mapping[str, int] = self.image.sizes
        return sizes

    @property
    def channel_axis(self) -> str:
        return "λ" if self.sizes.get("C", 1) == 1 and "λ" not in self.fixed else "C"

    @property
    def samples(self) -> int:
        return self.sizes.get("S", 1)

    def read(self, index: Mapping[str, int]) -> Array:
        """Read a frame, with its samples last."""
        indices = {axis: number for axis, number in {**index, **self.fixed}.items() if axis in self.sizes}
        axes = ("Y", "X", "S")
        if self.image.frames.frame_dims in (axes, axes[:2]):
            frame = self.image.frame(**indices)
        else:  # the pixels of a plane are not neighbours in the file
            pixels = self.image.asarray(out="memmap")
            frame = pixels[tuple(indices.get(axis, slice(None)) for axis in self.image.dims)]
            remaining = [axis for axis in self.image.dims if axis not in indices]
            frame = frame.transpose([remaining.index(axis) for axis in axes if axis in remaining])
        return np.asarray(frame).reshape(self.sizes.get("Y", 1), self.sizes.get("X", 1), self.samples)


class _File:
    """An open file and its images."""

    def __init__(self, file: Any, path: str) -> None:
        self.file = file
        self._path = path

    @cached_property
    def split_images(self) -> list[_SplitImage]:
        """All images except those of photon arrival times, each split along its `_SPLIT_DIMENSIONS`."""
        return [split for image in self.file.images if not image.is_flim for split in self._split(image)]

    @property
    def notes(self) -> tuple[str, ...]:
        """The note about images of photon arrival times, which are left out."""
        count = sum(bool(image.is_flim) for image in self.file.images)
        return (f"{count} of its images are photon arrival times (FLIM) and were left out",) if count else ()

    def close(self) -> None:
        self.file.close()

    def _split(self, image: Any) -> Iterator[_SplitImage]:
        self._check(image)
        sizes = image.sizes
        axes = [
            axis
            for axis in sizes
            if axis in _SPLIT_DIMENSIONS and not (axis == "λ" and sizes.get("C", 1) == 1)
        ]
        for indices in product(*(range(sizes[axis]) for axis in axes)):
            yield _SplitImage(image, dict(zip(axes, indices, strict=True)))

    def _check(self, image: Any) -> None:
        """Raise for an image whose pixels are not in the file, or whose dimensions are unknown."""
        unknown = set(image.sizes) - set("TCZYXS") - set(_SPLIT_DIMENSIONS)
        if unknown:
            raise SourceError(
                f"{self._path} has the image {image.path!r} with the dimensions {''.join(image.sizes)}: "
                f"{', '.join(sorted(unknown))} cannot be read."
            )
        block, parent = image.memory_block, image.parent
        size = os.path.getsize(parent.filepath)
        if not block.frames and block.offset + block.size > size:
            raise SourceError(
                f"{self._path} is incomplete: the image {image.path!r} ends at byte {block.offset + block.size:,} "
                f"of {size:,}. {COPY_AGAIN}"
            )
        if image.nbytes > block.size:
            raise SourceError(
                f"{self._path} is damaged: the image {image.path!r} has {block.size:,} bytes, its shape needs "
                f"{image.nbytes:,}. {COPY_AGAIN}"
            )


def _describe(split: _SplitImage, path: str, notes: tuple[str, ...]) -> ImageDescription:
    image, sizes = split.image, split.sizes
    channels = sizes.get(split.channel_axis, 1)
    frames = sizes.get("T", 1)
    shape = (frames, channels * split.samples, sizes.get("Z", 1), sizes.get("Y", 1), sizes.get("X", 1))
    scale, units = _sizes(image)
    stamps = image.timestamps
    names = [f"{_SPLIT_DIMENSIONS[axis]} {index}" for axis, index in split.fixed.items()]
    return describe_image(
        path,
        shape,
        image.dtype,
        files=_files(image, path),
        scale=scale,
        units=units,
        channels=_channels(split, channels),
        notes=notes,
        title=" ".join([image.path, *names]),
        stage=_stage(image, split.fixed.get("M", 0)),
        times=_times(stamps, frames, image.dims),
        acquired="" if stamps is None or not len(stamps) else str(stamps[0]),
        objective=_objective(image),
        band_rows=shape[-2],
        channels_together=split.samples,
        is_rgb=split.samples >= 3 and channels == 1,
    )


def _files(image: Any, path: str) -> tuple[str, ...]:
    """Return the files of an image: the path, the file that the path refers to, and the files with the pixels."""
    parent = image.parent
    is_in_path = not parent.filepath or os.path.samefile(parent.filepath, path)
    own = [path] if is_in_path else [path, parent.filepath]
    pixels = [os.path.join(parent.dirname, frame.file) for frame in image.memory_block.frames]
    return tuple(dict.fromkeys([*own, *(file for file in pixels if os.path.exists(file))]))


def _sizes(image: Any) -> tuple[dict[str, float], dict[str, str | None]]:
    """Return steps and units: the file states the length from the first to the last sample, 9 steps for 10 samples."""
    scale: dict[str, float] = {}
    units: dict[str, str | None] = {}
    for axis, number in _DIMENSION_IDS.items():
        element = image.xml_element.find(f"{_IMAGE}/Dimensions/DimensionDescription[@DimID='{number}']")
        if element is None:
            continue
        count = int(element.get("NumberOfElements", "1"))
        step = abs(float(element.get("Length", "0"))) / max(1, count - 1)
        unit = unit_name(element.get("Unit", ""))
        if count < 2 or not is_size(step):
            continue
        scale[axis], units[axis] = (step * 1e6, "micrometer") if unit == "meter" else (step, unit)
    return scale, units


def _channels(split: _SplitImage, count: int) -> tuple[SourceChannel, ...]:
    image = split.image
    if split.samples >= 3:
        return sample_channels(split.samples, [""] * count)
    names = [str(name).removeprefix("Leica/") for name in image.coords.get(split.channel_axis, ())]
    if split.channel_axis == "λ":
        names = [f"{float(name) * 1e9:.0f} nm" for name in names]
    elements = sorted(
        image.xml_element.findall(f"{_IMAGE}/Channels/ChannelDescription"),
        key=lambda element: int(element.get("BytesInc")),
    )
    channels = []
    for number in range(count):
        element = elements[number] if number < len(elements) else None
        dye = None if element is None else element.findtext("ChannelProperty[Key='DyeName']/Value")
        label = names[number] if number < len(names) else (dye or "").removeprefix("Leica/")
        channels.append(
            SourceChannel(label, None if element is None else named_color(element.get("LUTName", "")))
        )
    return tuple(channels)


def _times(stamps: Any, frames: int, dims: Sequence[str]) -> tuple[float, ...]:
    """Return the time of each frame in seconds after the first, from the time stamps of its planes."""
    if stamps is None or not len(stamps) or len(stamps) % frames or (frames > 1 and dims[0] != "T"):
        return ()
    first_of_frames = stamps[:: len(stamps) // frames]
    return tuple(
        float(seconds) for seconds in (first_of_frames - first_of_frames[0]).astype(np.float64) / 1000
    )


def _stage(image: Any, tile: int) -> dict[str, float]:
    """Return the stage position of a tile in micrometers."""
    tiles = image.tilescan
    if tiles is None or tile >= len(tiles):
        return {}
    return {axis: float(tiles[f"pos_{axis}"][tile]) * 1e6 for axis in "xyz"}


def _objective(image: Any) -> Objective | None:
    for element in image.xml_element.iter():
        if "ObjectiveName" in element.attrib:
            numbers = [parse_number(element.get(key)) for key in ("Magnification", "NumericalAperture")]
            return Objective(element.get("ObjectiveName", "").strip(), *numbers)
    return None
