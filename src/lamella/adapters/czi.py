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
from lamella.adapters.described import described, missing_note
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
"""Dimensions that number the planes of an image; further ones (phase, illumination, view) make images of their own."""

_RAW = 1000
"""Compressions from here on are those of a camera, whose bytes czifile cannot decode."""


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
        text = handle.file.metadata()
        metadata = CziMetadata(parse_xml(text) if text else None)
        fields: Counter[tuple[str, str]] = Counter()
        return [_describe(handle, metadata, image, path, fields) for image in handle.images]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        text = handle.file.metadata()
        return [OriginalMetadata("czi.xml", text)] if text else []

    def read_into(self, handle: Any, image: int, index: tuple[int, ...], rows: slice, out: Array) -> bool:
        """Fill an array with rows of one plane that is one subblock of raw pixels."""
        offset = handle.images[image].find_raw(handle.file, index, rows, out)
        if offset is None:
            return False
        handle.fill(out, offset)
        return True

    def read_planes(
        self, handle: Any, image: int, indices: Sequence[tuple[int, ...]], rows: slice
    ) -> list[Array | None]:
        part = handle.images[image]
        time, channel, z = indices[0]
        pixels = part.read(handle.file, (time, channel // part.samples, z), rows)
        return [None if pixels is None else pixels[..., c % part.samples] for _, c, _ in indices]


class CziTilesReader(CziReader):
    """Zeiss CZI, each tile of a mosaic as an image; used when named only."""

    name = "czi-tiles"
    title = "Zeiss CZI, each tile of a mosaic as an image"
    by_tile = True

    def claims(self, path: str) -> bool:
        """Claim nothing: a mosaic is one image by default."""
        return False


@dataclass
class _Image:
    """The subblocks of one image, by time, channel and z; ``box`` is x, y, width, height in pixels of the file."""

    scene: int | None
    label: str
    view: Any
    box: tuple[int, int, int, int]
    sizes: Mapping[str, int]
    samples: int
    planes: dict[tuple[int, ...], list[Any]] = field(default_factory=dict)

    def read(self, file: Any, plane: tuple[int, ...], rows: slice) -> Array | None:
        """Read rows of a plane with all samples; None without subblocks."""
        import czifile

        left, top, width, _ = self.box
        first, height = top + rows.start, rows.stop - rows.start
        entries = self._entries(plane, first, height)
        if not entries:
            return None
        if len(entries) == 1 and self._is_plain(entries[0], first, height):
            tile: Array = entries[0].read_segment_data(file).data(copy=False)
            start = first - _top(entries[0])
            return tile.reshape(-1, width, self.samples)[start : start + height]
        part = czifile.CziImage(
            file, entries, squeeze=False, roi=(left, first, width, height), pixeltype=self.view.pixeltype
        )
        pixels: Array = part.asarray(maxworkers=1)
        return pixels.reshape(height, width, self.samples)

    def find_raw(self, file: Any, plane: tuple[int, ...], rows: slice, out: Array) -> int | None:
        """Return where rows of a plane begin in the file; None unless ``out`` can be filled with its bytes."""
        first, height = self.box[1] + rows.start, rows.stop - rows.start
        entries = self._entries(plane, first, height)
        if self.samples != 1 or len(entries) != 1 or not self._is_plain(entries[0], first, height):
            return None
        (entry,) = entries
        if int(entry.compression) or out.dtype != entry.pixel_type.dtype or not out.flags.c_contiguous:
            return None
        block = entry.read_segment_data(file)
        if getattr(block, "data_size", 0) != math.prod(entry.shape) * out.itemsize:
            return None
        offset: int = block.data_offset + (first - _top(entry)) * self.box[2] * out.itemsize
        return offset

    def _entries(self, plane: tuple[int, ...], first: int, height: int) -> tuple[Any, ...]:
        """Return the subblocks with rows of a plane."""
        return tuple(entry for entry in self.planes.get(plane, ()) if _overlaps(entry, first, first + height))

    def _is_plain(self, entry: Any, first: int, height: int) -> bool:
        """Return whether a subblock has whole rows from ``first`` on as they are, not scaled nor converted."""
        start, length = (
            dict(zip(entry.dims, numbers, strict=True)) for numbers in (entry.start, entry.shape)
        )
        return bool(
            (start["X"], length["X"]) == (self.box[0], self.box[2])
            and start["Y"] <= first
            and first + height <= start["Y"] + length["Y"]
            and entry.stored_shape == entry.shape
            and entry.pixel_type == self.view.pixeltype
            and int(entry.compression) < _RAW
        )


class _File:
    """An open file and its images."""

    def __init__(self, file: Any, by_tile: bool) -> None:
        self.file = file
        self._by_tile = by_tile
        self._raw: Any = None

    def fill(self, out: Array, offset: int) -> None:
        """Fill a contiguous array with bytes of the file: czifile would read them into an array of its own."""
        if self._raw is None:
            self._raw = open(self.file.filepath, "rb", buffering=0)  # noqa: SIM115 (closed with the file)
        self._raw.seek(offset)
        memory = out.reshape(-1).view(np.uint8).data
        while memory:
            count = self._raw.readinto(memory)
            if not count:
                raise SourceError(
                    f"{self.file.filepath} ends within a subblock: it was truncated. {COPY_AGAIN}"
                )
            memory = memory[count:]

    @cached_property
    def images(self) -> list[_Image]:
        """The images of all scenes."""
        return [image for scene in self.file.scenes for image in self._of_scene(scene)]

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()
        self.file.close()

    def check_complete(self) -> None:
        """Raise SourceError for a file that ends before its last subblock does."""
        entries = self.file.subblock_directory
        if not self.file.header.directory_position or not entries:
            raise SourceError(
                f"{self.file.filepath} is damaged or incomplete: it has no list of its subblocks. {COPY_AGAIN}"
            )
        last = max(entries, key=lambda entry: entry.file_position)
        block = last.read_segment_data(self.file)
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

    def _of_scene(self, scene: int) -> Iterator[_Image]:
        view = self.file.scenes[scene]
        entries = view.directory_entries
        number = None if view.scene_indices is None else scene
        tiles = sorted({entry.mosaic_index for entry in entries}) if self._by_tile else [-1]
        for tile in tiles:
            own = [entry for entry in entries if not self._by_tile or entry.mosaic_index == tile]
            yield from _split(self.file, number, f"tile {tile}" if len(tiles) > 1 else "", own)


def _split(file: Any, scene: int | None, label: str, entries: list[Any]) -> Iterator[_Image]:
    """Yield an image for each index along the dimensions other than time, channel, z, y and x."""
    import czifile

    others = [name for name in entries[0].dims if name not in (*_PLANES, "Y", "X", "S")]
    starts = [dict(zip(entry.dims, entry.start, strict=True)) for entry in entries]
    if any(
        size != 1
        for entry in entries
        for name, size in zip(entry.dims, entry.shape, strict=True)
        if name not in "YXS"
    ):
        raise SourceError(
            f"{file.filepath} has subblocks of several planes, which cannot be read one at a time."
        )
    values = [sorted({start.get(name, 0) for start in starts}) for name in others]
    for combination in product(*values):
        at = dict(zip(others, combination, strict=True))
        own = [
            (start, entry)
            for start, entry in zip(starts, entries, strict=True)
            if all(start.get(name, 0) == value for name, value in at.items())
        ]
        if not own:
            continue
        names = [
            f"{name} {value}" for (name, value), each in zip(at.items(), values, strict=True) if len(each) > 1
        ]
        view = czifile.CziImage(file, tuple(entry for _, entry in own), squeeze=False)
        first = {name: min(start.get(name, 0) for start, _ in own) for name in _PLANES}
        image = _Image(
            scene,
            ", ".join([label, *names] if label else names),
            view,
            view.bbox,
            view.sizes,
            view.sizes["S"],
        )
        for start, entry in own:
            image.planes.setdefault(tuple(start.get(name, 0) - first[name] for name in _PLANES), []).append(
                entry
            )
        yield image


def _top(entry: Any) -> int:
    """Return the first row of a subblock."""
    return int(entry.start[entry.dims.index("Y")])


def _overlaps(entry: Any, first: int, stop: int) -> bool:
    at = entry.dims.index("Y")
    return bool(entry.start[at] < stop and entry.start[at] + entry.shape[at] > first)


def _describe(
    file: _File, metadata: CziMetadata, image: _Image, path: str, fields: Counter[tuple[str, str]]
) -> ImageDescription:
    """Describe an image; ``fields`` counts those of each well."""
    frames = image.sizes.get("T", 1)
    channels = image.sizes.get("C", 1)
    _, _, width, height = image.box
    sizes = (frames, channels * image.samples, image.sizes.get("Z", 1), height, width)
    start = dict(zip(image.view.dims, image.view.start, strict=True))
    times = metadata.times(file.timestamps, start.get("T", 0), frames)
    scale = metadata.scale(times)
    missing = math.prod(sizes[:3]) // image.samples - len(image.planes)
    first = next(iter(image.planes.values()))[0]
    scene = metadata.scene(image.scene)
    well = None
    if scene.well is not None:
        well = (*scene.well, str(fields[scene.well]))
        fields[scene.well] += 1
    return described(
        path,
        sizes,
        image.view.dtype,
        scale=scale,
        channels=metadata.channels(start.get("C", 0), channels, image.samples),
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
