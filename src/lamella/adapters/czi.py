"""Read Zeiss CZI files with the library ``czifile``: an image for each scene, its mosaic put together.

A file is a list of subblocks, tiles of one plane each. The planes of an image are the subblocks that share their time,
channel and z. ``czi_metadata`` reads the XML.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lamella.adapters.czi_metadata import CziMetadata
from lamella.adapters.descriptions import describe_image, missing_note
from lamella.adapters.formats import ENDINGS
from lamella.errors import SourceError
from lamella.ops.conversion.handles import SampleReader
from lamella.ops.conversion.reader import OriginalMetadata
from lamella.ops.conversion.source import COPY_AGAIN
from lamella.spec.ome_xml import parse_xml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array

_PLANES = "TCZ"
"""Dimensions that number the planes of an image; each index along others (phase, view) becomes an image."""

_CAMERA_CODEC = 1000
"""Compressions from this number on are those of a camera, whose bytes czifile cannot decode."""


class CziReader(SampleReader):
    """Zeiss CZI, a scene as one image."""

    name = "czi"
    title = "Zeiss CZI"
    endings = ENDINGS["czi"]
    extra = "czi"
    libraries = ("czifile",)
    python = (3, 12)
    by_tile: ClassVar[bool] = False

    def recognises(self, head: bytes) -> bool:
        return head.startswith(b"ZISRAWFILE")

    def open_handle(self, path: str) -> Any:
        import czifile

        return _File(czifile.CziFile(path, squeeze=False), self.by_tile)

    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        handle.check_complete()
        xml = handle.file.metadata()
        metadata = CziMetadata(parse_xml(xml) if xml else None)
        fields: Counter[tuple[str, str]] = Counter()
        return [_describe(handle, metadata, image, path, fields) for image in handle.images]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        xml = handle.file.metadata()
        return [OriginalMetadata("czi.xml", xml)] if xml else []

    def read_into(self, handle: Any, image: int, index: tuple[int, ...], rows: slice, out: Array) -> bool:
        """Fill an array with rows of one plane that is one subblock of raw pixels."""
        offset = handle.images[image].raw_offset(handle.file, index, rows, out)
        if offset is None:
            return False
        handle.read_raw_into(out, offset)
        return True

    def read_planes(
        self, handle: Any, image: int, indices: Sequence[tuple[int, ...]], rows: slice
    ) -> list[Array | None]:
        czi = handle.images[image]
        time, first_channel, z = indices[0]
        pixels = czi.read(handle.file, (time, first_channel // czi.samples, z), rows)
        return [None if pixels is None else pixels[..., channel % czi.samples] for _, channel, _ in indices]


class CziTilesReader(CziReader):
    """Zeiss CZI, each tile of a mosaic as an image; used only when the user names this format."""

    name = "czi-tiles"
    title = "Zeiss CZI, each tile of a mosaic as an image"
    by_tile = True

    def claims(self, path: str) -> bool:
        """Return False: by default a mosaic is one image."""
        return False


@dataclass
class _Image:
    """The subblocks of one image.

    A mosaic of 2 x 1 tiles of 100 x 80 pixels has two subblocks for each plane, and the box (0, 0, 200, 80).
    """

    scene: int | None
    label: str
    """What distinguishes the image from others of its scene: "tile 3, H 1"."""
    czi_image: Any
    """The image of czifile with all subblocks."""
    box: tuple[int, int, int, int]
    """x, y, width and height in pixels of the file."""
    sizes: Mapping[str, int]
    samples: int
    planes: dict[tuple[int, ...], list[Any]] = field(default_factory=dict)
    """The directory entries of the subblocks of each plane, by time, channel and z."""

    def read(self, file: Any, plane: tuple[int, ...], rows: slice) -> Array | None:
        """Read rows of a plane with all samples; None without subblocks."""
        import czifile

        left, top, width, _ = self.box
        first, height = top + rows.start, rows.stop - rows.start
        subblocks = self._entries(plane, first, height)
        if not subblocks:
            return None
        if len(subblocks) == 1 and self._has_rows_unchanged(subblocks[0], first, height):
            tile: Array = subblocks[0].read_segment_data(file).data(copy=False)
            start = first - _top(subblocks[0])
            return tile.reshape(-1, width, self.samples)[start : start + height]
        region = czifile.CziImage(
            file,
            subblocks,
            squeeze=False,
            roi=(left, first, width, height),
            pixeltype=self.czi_image.pixeltype,
        )
        pixels: Array = region.asarray(maxworkers=1)
        return pixels.reshape(height, width, self.samples)

    def raw_offset(self, file: Any, plane: tuple[int, ...], rows: slice, out: Array) -> int | None:
        """Return the offset of rows of a plane in the file; None if their bytes are not the pixels of ``out``."""
        first, height = self.box[1] + rows.start, rows.stop - rows.start
        subblocks = self._entries(plane, first, height)
        if (
            self.samples != 1
            or len(subblocks) != 1
            or not self._has_rows_unchanged(subblocks[0], first, height)
        ):
            return None
        (subblock,) = subblocks
        if int(subblock.compression) or out.dtype != subblock.pixel_type.dtype or not out.flags.c_contiguous:
            return None
        block = subblock.read_segment_data(file)
        if getattr(block, "data_size", 0) != math.prod(subblock.shape) * out.itemsize:
            return None
        offset: int = block.data_offset + (first - _top(subblock)) * self.box[2] * out.itemsize
        return offset

    def _entries(self, plane: tuple[int, ...], first: int, height: int) -> tuple[Any, ...]:
        return tuple(
            subblock for subblock in self.planes.get(plane, ()) if _overlaps(subblock, first, first + height)
        )

    def _has_rows_unchanged(self, subblock: Any, first: int, height: int) -> bool:
        """Return whether a subblock contains these rows over the full width, and not scaled or of another type."""
        start, length = (
            dict(zip(subblock.dims, numbers, strict=True)) for numbers in (subblock.start, subblock.shape)
        )
        return bool(
            (start["X"], length["X"]) == (self.box[0], self.box[2])
            and start["Y"] <= first
            and first + height <= start["Y"] + length["Y"]
            and subblock.stored_shape == subblock.shape
            and subblock.pixel_type == self.czi_image.pixeltype
            and int(subblock.compression) < _CAMERA_CODEC
        )


class _File:
    """An open file and its images."""

    def __init__(self, file: Any, by_tile: bool) -> None:
        self.file = file
        self._by_tile = by_tile
        self._stream: Any = None

    def read_raw_into(self, out: Array, offset: int) -> None:
        """Fill a contiguous array with bytes of the file, which czifile cannot do without a copy."""
        if self._stream is None:
            self._stream = open(self.file.filepath, "rb", buffering=0)  # noqa: SIM115 (closed with the file)
        self._stream.seek(offset)
        memory = out.reshape(-1).view(np.uint8).data
        while memory:
            count = self._stream.readinto(memory)
            if not count:
                raise SourceError(
                    f"{self.file.filepath} ends within a subblock: it was truncated. {COPY_AGAIN}"
                )
            memory = memory[count:]

    @cached_property
    def images(self) -> list[_Image]:
        return [image for scene in self.file.scenes for image in self._scene_images(scene)]

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self.file.close()

    def check_complete(self) -> None:
        """Raise SourceError for a file that ends before the end of its last subblock or of its directory."""
        subblocks = self.file.subblock_directory
        if not self.file.header.directory_position or not subblocks:
            raise SourceError(
                f"{self.file.filepath} is damaged or incomplete: it has no list of its subblocks. {COPY_AGAIN}"
            )
        block = max(subblocks, key=lambda subblock: subblock.file_position).read_segment_data(self.file)
        position = self.file.header.directory_position
        allocated = int.from_bytes(self.file._read_at(position + 16, 8), "little")
        end = max(block.data_offset + block.data_size, position + 32 + allocated)
        if end > self.file.filesize:
            raise SourceError(
                f"{self.file.filepath} is incomplete: it has {self.file.filesize:,} bytes of at least {end:,}. "
                f"{COPY_AGAIN}"
            )

    @property
    def timestamps(self) -> Any:
        """The times of frames; None without."""
        return self.file.timestamps if self.file.header.attachment_directory_position else None

    def _scene_images(self, scene: int) -> Iterator[_Image]:
        czi_image = self.file.scenes[scene]
        subblocks = czi_image.directory_entries
        number = None if czi_image.scene_indices is None else scene
        tiles = sorted({subblock.mosaic_index for subblock in subblocks}) if self._by_tile else [-1]
        for tile in tiles:
            own = [subblock for subblock in subblocks if not self._by_tile or subblock.mosaic_index == tile]
            yield from _split(self.file, number, f"tile {tile}" if len(tiles) > 1 else "", own)


def _split(file: Any, scene: int | None, label: str, subblocks: list[Any]) -> Iterator[_Image]:
    """Yield an image for each index along the dimensions other than time, channel, z, y and x."""
    import czifile

    others = [name for name in subblocks[0].dims if name not in (*_PLANES, "Y", "X", "S")]
    starts = [dict(zip(subblock.dims, subblock.start, strict=True)) for subblock in subblocks]
    if any(
        size != 1
        for subblock in subblocks
        for name, size in zip(subblock.dims, subblock.shape, strict=True)
        if name not in "YXS"
    ):
        raise SourceError(
            f"{file.filepath} has subblocks of several planes, which cannot be read one at a time."
        )
    indices = [sorted({start.get(name, 0) for start in starts}) for name in others]
    for combination in product(*indices):
        fixed = dict(zip(others, combination, strict=True))
        own = [
            (start, subblock)
            for start, subblock in zip(starts, subblocks, strict=True)
            if all(start.get(name, 0) == index for name, index in fixed.items())
        ]
        if not own:
            continue
        names = [
            f"{name} {index}"
            for (name, index), all_indices in zip(fixed.items(), indices, strict=True)
            if len(all_indices) > 1
        ]
        czi_image = czifile.CziImage(file, tuple(subblock for _, subblock in own), squeeze=False)
        first = {name: min(start.get(name, 0) for start, _ in own) for name in _PLANES}
        image = _Image(
            scene,
            ", ".join([label, *names] if label else names),
            czi_image,
            czi_image.bbox,
            czi_image.sizes,
            czi_image.sizes["S"],
        )
        for start, subblock in own:
            image.planes.setdefault(tuple(start.get(name, 0) - first[name] for name in _PLANES), []).append(
                subblock
            )
        yield image


def _top(subblock: Any) -> int:
    """Return the first row of a subblock."""
    return int(subblock.start[subblock.dims.index("Y")])


def _overlaps(subblock: Any, first: int, stop: int) -> bool:
    top = _top(subblock)
    return bool(top < stop and top + subblock.shape[subblock.dims.index("Y")] > first)


def _describe(
    file: _File, metadata: CziMetadata, image: _Image, path: str, fields: Counter[tuple[str, str]]
) -> ImageDescription:
    """Describe an image; ``fields`` is the number of fields of each well so far."""
    frames = image.sizes.get("T", 1)
    channels = image.sizes.get("C", 1)
    _, _, width, height = image.box
    sizes = (frames, channels * image.samples, image.sizes.get("Z", 1), height, width)
    start = dict(zip(image.czi_image.dims, image.czi_image.start, strict=True))
    times = metadata.times(file.timestamps, start.get("T", 0), frames)
    scale = metadata.scale(times)
    missing = math.prod(sizes[:3]) // image.samples - len(image.planes)
    first = next(iter(image.planes.values()))[0]
    scene = metadata.scene(image.scene)
    well = None
    if scene.well is not None:
        well = (*scene.well, str(fields[scene.well]))
        fields[scene.well] += 1
    return describe_image(
        path,
        sizes,
        image.czi_image.dtype,
        scale=scale,
        channels=metadata.channels(start.get("C", 0), channels, image.samples, image.czi_image.dtype),
        notes=missing_note(missing, "plane"),
        title=", ".join(text for text in (scene.name, image.label) if text),
        well=well,
        stage=scene.stage(image.box, scale, file.file.scenes[image.scene or 0].bbox, len(file.images) > 1),
        times=times,
        acquired=metadata.acquired,
        objective=metadata.objective,
        band_rows=first.shape[first.dims.index("Y")],
        channels_together=image.samples,
        is_rgb=image.samples >= 3 and channels == 1,
    )
