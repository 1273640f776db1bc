"""The floor of a conversion: the library reads every plane, the codec encodes the same blocks, the same files appear.

A `Layout` describes a finished store: its documents, and shape, chunks, shards and codec of each array. The floor
writes these files again, on as many threads as the machine has processors. Lower levels have every second voxel instead
of a mean, and shards an index of zeros.
"""

from __future__ import annotations

import json
import math
import os
import threading
from dataclasses import dataclass
from itertools import product
from operator import add, floordiv
from typing import TYPE_CHECKING, Any

import numpy as np

import acquisitions
from timing import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    ReadPlane = Callable[[str, tuple[int, ...]], NDArray[Any]]
    """Function of the path of an image and an index along the axes before y and x; it returns the plane."""

INDEX_ENTRY, CHECKSUM = 16, 4
"""Bytes of the index of a shard, for each chunk and at its end."""


@dataclass(frozen=True)
class Level:
    """An array: its path, shape, type, files (shards, else chunks), chunks, and the blosc codec of the chunks."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    file: tuple[int, ...]
    chunk: tuple[int, ...]
    codec: dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """The documents of a store by path, and the levels of each image by the image's path."""

    documents: dict[str, bytes]
    images: dict[str, list[Level]]

    @staticmethod
    def of(store: Path) -> Layout:
        """Read the documents of a store."""
        documents: dict[str, bytes] = {}
        images: dict[str, list[Level]] = {}
        for folder, folders, files in os.walk(store):
            path = os.path.relpath(folder, store)
            is_array = False
            for name in files:
                with open(os.path.join(folder, name), "rb") as file:
                    documents[os.path.normpath(f"{path}/{name}")] = content = file.read()
                if name == "zarr.json" and (meta := json.loads(content))["node_type"] == "array":
                    is_array = True
                    images.setdefault(os.path.dirname(path), []).append(_level(path, meta))
            if is_array:
                folders.clear()
        for levels in images.values():
            levels.sort(key=lambda level: level.path)
        return Layout(documents, images)


def _level(path: str, meta: dict[str, Any]) -> Level:
    file = chunk = tuple(meta["chunk_grid"]["configuration"]["chunk_shape"])
    codecs = meta["codecs"]
    if codecs[0]["name"] == "sharding_indexed":
        chunk = tuple(codecs[0]["configuration"]["chunk_shape"])
        codecs = codecs[0]["configuration"]["codecs"]
    codec = next(
        codec_document["configuration"] for codec_document in codecs if codec_document["name"] == "blosc"
    )
    return Level(path, tuple(meta["shape"]), meta["data_type"], file, chunk, codec)


class Floor:
    """Write a store of a layout from planes that ``read`` returns."""

    def __init__(self, layout: Layout, read: ReadPlane, target: Path) -> None:
        self.layout = layout
        self.read = read
        self.target = str(target)
        self.folders: set[str] = set()
        self.lower: dict[str, list[NDArray[Any]]] = {}

    def run(self) -> None:
        """Write everything."""
        for path, content in self.layout.documents.items():
            self.write(path, [content])
        slabs = [
            (image, corner)
            for image, levels in self.layout.images.items()
            for corner in _corners(levels[0].shape[:-2], levels[0].file[:-2])
        ]
        for image, levels in self.layout.images.items():
            self.lower[image] = [np.empty(level.shape, level.dtype) for level in levels[1:]]
        in_threads(self.write_slab, slabs)
        in_threads(self.write_lower, list(self.layout.images))

    def write_slab(self, slab: tuple[str, tuple[int, ...]]) -> None:
        """Read the planes of one row of files of an image, write them, and keep the voxels of the lower levels."""
        image, corner = slab
        finest, *lower_levels = self.layout.images[image]
        lengths = [
            min(file_length, length - start)
            for file_length, length, start in zip(finest.file[:-2], finest.shape[:-2], corner, strict=True)
        ]
        block = np.empty((*lengths, *finest.shape[-2:]), finest.dtype)
        for index in np.ndindex(*lengths):
            block[index] = self.read(image, tuple(map(add, corner, index)))
        self.write_files(finest, block, corner)
        for level, pixels in zip(lower_levels, self.lower[image], strict=True):
            steps = [
                -(-length // level_length)
                for length, level_length in zip(finest.shape, level.shape, strict=True)
            ]
            first_voxels = [-start % step for start, step in zip((*corner, 0, 0), steps, strict=True)]
            voxels = block[
                tuple(
                    slice(first_voxel, None, step)
                    for first_voxel, step in zip(first_voxels, steps, strict=True)
                )
            ]
            region = tuple(
                slice(-(-start // step), -(-start // step) + length)
                for start, step, length in zip((*corner, 0, 0), steps, voxels.shape, strict=True)
            )
            pixels[region] = voxels

    def write_lower(self, image: str) -> None:
        """Write the lower levels of an image."""
        for level, pixels in zip(self.layout.images[image][1:], self.lower.pop(image), strict=True):
            for corner in _corners(level.shape[:-2], level.file[:-2]):
                self.write_files(level, pixels[_region_at(corner, level.file[:-2])], corner)

    def write_files(self, level: Level, block: NDArray[Any], corner: tuple[int, ...]) -> None:
        """Encode the chunks of a block of whole rows, and write its files."""
        codec = _codec(level.codec)
        for file_corner in _corners(block.shape, level.file):
            parts = []
            file_pixels = block[_region_at(file_corner, level.file)]
            for chunk_corner in _corners(file_pixels.shape, level.chunk):
                chunk = file_pixels[_region_at(chunk_corner, level.chunk)]
                if chunk.shape != level.chunk:
                    padded = np.zeros(level.chunk, level.dtype)
                    padded[tuple(map(slice, chunk.shape))] = chunk
                    chunk = padded
                parts.append(codec.encode(np.ascontiguousarray(chunk)))
            if level.file != level.chunk:
                chunks = math.prod(map(floordiv, level.file, level.chunk))
                parts.append(bytes(chunks * INDEX_ENTRY + CHECKSUM))
            file_index = (
                (start + start_in_block) // length
                for start, start_in_block, length in zip(
                    (*corner, 0, 0), file_corner, level.file, strict=True
                )
            )
            self.write("/".join([level.path, "c", *map(str, file_index)]), parts)

    def write(self, path: str, parts: list[bytes]) -> None:
        """Write a file, and its folder if it is the first in it."""
        file_path = f"{self.target}/{path}"
        folder = os.path.dirname(file_path)
        if folder not in self.folders:
            os.makedirs(folder, exist_ok=True)
            self.folders.add(folder)
        with open(file_path, "wb") as file:
            file.writelines(parts)


def _corners(shape: tuple[int, ...], steps: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(product(*(range(0, length, step) for length, step in zip(shape, steps, strict=True))))


def _region_at(corner: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(start, start + length) for start, length in zip(corner, shape, strict=True))


def _codec(settings: dict[str, Any]) -> Any:
    import numcodecs.blosc

    numcodecs.blosc.use_threads = False
    shuffle = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}[settings["shuffle"]]
    return numcodecs.Blosc(settings["cname"], settings["clevel"], shuffle, settings["blocksize"])


# ---- the libraries -------------------------------------------------------------------------------------------------


def read_czi(source: Path) -> ReadPlane:
    """Read planes by czifile, with a file of its own for each thread."""
    import czifile

    path, threads = source / "run.czi", threading.local()

    def read(_: str, index: tuple[int, ...]) -> NDArray[Any]:
        if not hasattr(threads, "file"):
            threads.file = czifile.CziFile(path)
            threads.entries = {
                tuple(dict(zip(entry.dims, entry.start, strict=True))[axis] for axis in "TCZ"): entry
                for entry in threads.file.subblock_directory
            }
        pixels: NDArray[Any] = threads.entries[index].read_segment_data(threads.file).data()
        return pixels.squeeze()

    return read


def read_tiff(source: Path) -> ReadPlane:
    """Read planes by tifffile, from one open file with a lock; images without a path are the first series."""
    import tifffile

    name = next(name for name in sorted(os.listdir(source)) if name.endswith(".tif"))
    file = tifffile.TiffFile(source / name)
    file.filehandle.set_lock(True)
    pages: dict[str, tuple[Any, list[int]]] = {}
    for number, series in enumerate(file.series):
        axes = [axis for axis in series.axes if axis not in "YXR"]
        lengths = dict(zip(series.axes, series.shape, strict=True))
        strides, stride = {}, 1
        for axis in reversed(axes):
            strides[axis], stride = stride, stride * lengths[axis]
        order = [strides[axis] for axis in "TCZ" if axis in strides]
        pages[str(number)] = list(series.pages), order
        series.pages[0].decode  # noqa: B018 (built on first use, not safely in threads)
    pages[""] = pages["0"]

    def read(image: str, index: tuple[int, ...]) -> NDArray[Any]:
        image_pages, order = pages[image]
        page = image_pages[
            sum(index_along_axis * stride for index_along_axis, stride in zip(index, order, strict=True))
        ]
        pixels: NDArray[Any] = page.asarray()
        return pixels

    return read


def read_small(source: Path) -> ReadPlane:
    """Read files of one plane each by tifffile, in the order of their names."""
    import tifffile

    files = [os.path.join(source, name) for name in sorted(os.listdir(source))]

    def read(_: str, index: tuple[int, ...]) -> NDArray[Any]:
        pixels: NDArray[Any] = tifffile.imread(files[index[0]])
        return pixels

    return read


def read_plate(source: Path) -> ReadPlane:
    """Read files of one plane each by tifffile, those of a field in the order of their names."""
    import tifffile

    fields: dict[str, list[str]] = {}
    for name in sorted(os.listdir(source)):
        _, well, site, _ = name.split("_")
        fields.setdefault(f"{well[0]}/{well[1:]}/{site[4:]}", []).append(os.path.join(source, name))

    def read(image: str, index: tuple[int, ...]) -> NDArray[Any]:
        pixels: NDArray[Any] = tifffile.imread(fields[image][index[-1]])
        return pixels

    return read


READERS: dict[str, Callable[[Path], ReadPlane]] = {
    "czi": read_czi,
    "mmstack": read_tiff,
    "ndtiff": read_tiff,
    "series": read_tiff,
    "small": read_small,
    "plate": read_plate,
}
"""By case."""


def floor(case: str, source: Path, layout: Layout, target: Path) -> None:
    """Write the store of a case."""
    Floor(layout, READERS[case](source), target).run()


def read_all(case: str, source: Path) -> None:
    """Read every plane of `series` by tifffile, and do nothing with it."""
    read = READERS[case](source)
    for number in range(acquisitions.SERIES):
        for channel in range(acquisitions.SERIES_SHAPE[0]):
            read(str(number), (channel,))
