"""Rewriting the pixels of one array: encoded files are copied if both arrays store them alike, else decoded.

Every file of the new array is written once and completely, so a kill leaves complete files. Each worker needs memory
for one unit: a file of the new array, or several that come from the same chunks.

Layer: ops.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm, prod
from typing import TYPE_CHECKING

from lamella.ops.jobs.units import Files, files_of_region
from lamella.ops.pyramids.level_assembler import LevelAssembler
from lamella.ops.regions import PIECE_BYTES, piece_shape, region_shape, regions
from lamella.ops.rewriting.inventory import files_of_array
from lamella.ops.scratch import scratch
from lamella.store import chunk_grid
from lamella.store.keys import join
from lamella.store.transfer import copy_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.ops.jobs.units import Unit
    from lamella.ops.regions import Region
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.arrays import StoredArray
    from lamella.store.compressor import Compressor
    from lamella.store.storage import Storage
    from lamella.types import JSONObject, Shape

UNIT_BYTES = 32 << 20
"""Raw size up to which new files are written together, so that their old chunks are decoded once."""

_DECODED_BYTES = 16 << 20
"""Raw size of the old chunks that a worker decodes at once."""

_SMALL_BYTES = 1 << 20

_CODING_V2 = ("dtype", "compressor", "filters", "order", "chunks")
_CODING_V3 = ("data_type", "codecs", "chunk_grid")
_ALIKE = ("blosc", "zstd", "gzip")


# -- files as they are --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileUnit:
    """A file to copy unchanged.

    Attributes
    ----------
    source, target
        The two arrays.
    old, key
        The file's keys in them.
    size
        Raw size of the pixels in it.
    """

    source: Storage
    target: Storage
    old: str
    key: str
    size: int

    @property
    def together(self) -> int:
        """Small files are copied several in a row."""
        return 1 if self.size > _SMALL_BYTES else 8

    def reads(self) -> Files:
        """Return the file."""
        return Files(self.source, (self.old,))

    def writes(self) -> Files:
        """Return the copy."""
        return Files(self.target, (self.key,))

    def do(self) -> None:
        """Copy it."""
        copy_file(self.source, self.old, self.target, self.key)


# -- decoded and encoded ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegionUnit:
    """A region of an array to read and write, aligned to files of the new one; both arrays have one shape."""

    source: StoredArray
    target: StoredArray
    region: Region
    resumed: bool = False
    together = 1

    @property
    def key(self) -> str:
        """Path of the new array, and start of the region."""
        return f"{self.target.path} {[one.start for one in self.region]}"

    @property
    def size(self) -> int:
        """Raw size of its pixels."""
        return prod(region_shape(self.region)) * self.target.meta.dtype.itemsize

    def reads(self) -> Files:
        """Return the files of the old array."""
        return _files(self.source, self.region)

    def writes(self) -> Files:
        """Return the files of the new array."""
        return _files(self.target, self.region)

    def do(self) -> None:
        """Read and write the parts of the region with pixels; the rest stays unwritten."""
        meta, made = self.source.meta, self.target.meta
        whole = all(self._from.size(key) is not None for key in self.reads().keys)
        boxes = [self.region] if whole else list(self._boxes_with_pixels(meta, made))
        if not boxes:
            return
        if prod(region_shape(self.region)) * meta.dtype.itemsize > UNIT_BYTES:
            for box in boxes:
                self._stream(meta, made, box)
            return
        block = scratch(region_shape(self.region), meta.dtype)
        for part in _parts(self.region, meta.chunks, meta):
            self.source.read(part, out=block[_inside(part, self.region)])
        for box in boxes:
            self.target.write(box, block[_inside(box, self.region)])

    def _stream(self, meta: ArrayMeta, made: ArrayMeta, box: Region) -> None:
        """Write a large file chunk by chunk, if its format allows it, so that memory is bounded by a few chunks."""
        both = tuple(
            min(lcm(old, new), n) for old, new, n in zip(meta.chunks, made.chunks, meta.shape, strict=True)
        )
        small = prod(both) * meta.dtype.itemsize <= _DECODED_BYTES
        sink = LevelAssembler(self.target, box)
        try:
            for part in _parts(box, both if small else meta.chunks, meta):
                sink.add(part, self.source.read(part, out=scratch(region_shape(part), meta.dtype)))
        except BaseException:
            sink.abort()
            raise

    def _boxes_with_pixels(self, meta: ArrayMeta, made: ArrayMeta) -> Iterator[Region]:
        """Yield the regions of the new files for which the old array has stored pixels."""
        for place in chunk_grid.files_of(made, self.region):
            box = made.file_box(place)
            if any(self._from.size(key) is not None for key in _files(self.source, box).keys):
                yield box
            elif self.resumed:
                self.target.documents.storage.delete(join(self.target.path, made.chunk_key(place)))

    @property
    def _from(self) -> Storage:
        return self.source.documents.storage


def _files(array: StoredArray, region: Region) -> Files:
    return Files(array.documents.storage, files_of_region(array, region))


def _parts(region: Region, grain: Shape, meta: ArrayMeta) -> Iterator[Region]:
    """Split a region at (multiples of) chunks: chunks may reach far beyond it, and are decoded as a whole."""
    begin = [one.start // g * g for one, g in zip(region, grain, strict=True)]
    whole = [one.stop - b for one, b in zip(region, begin, strict=True)]
    for part in regions(whole, piece_shape(whole, grain, meta.dtype.itemsize, _DECODED_BYTES)):
        yield tuple(
            slice(max(b + p.start, one.start), b + p.stop)
            for b, p, one in zip(begin, part, region, strict=True)
        )


def _inside(box: Region, region: Region) -> Region:
    """Return a region in the coordinates of a surrounding region."""
    return tuple(slice(b.start - r.start, b.stop - r.start) for b, r in zip(box, region, strict=True))


def unit_shape(source: ArrayMeta, target: ArrayMeta, most: int = UNIT_BYTES) -> Shape:
    """Return the shape of the regions in which an array is rewritten: whole files of the new one.

    They grow towards whole chunks of the old array, so that no chunk is decoded repeatedly, and to a reasonable size
    for a task, up to `most` raw bytes.

    Examples
    --------
    >>> import numpy as np
    >>> from lamella.store.array_meta import ArrayMeta
    >>> planes = ArrayMeta((64, 1024, 1024), np.dtype("u1"), (1, 1024, 1024))
    >>> blocks = ArrayMeta((64, 1024, 1024), np.dtype("u1"), (32, 128, 128))
    >>> unit_shape(planes, blocks), unit_shape(blocks, planes)
    ((32, 1024, 1024), (32, 1024, 1024))
    """
    shape = [min(f, max(1, n)) for f, n in zip(target.files, target.shape, strict=True)]
    itemsize = target.dtype.itemsize
    for limit, whole in ((most, False), (min(most, PIECE_BYTES), True)):
        for axis in reversed(range(target.ndim)):
            f, n = target.files[axis], max(1, target.shape[axis])
            wanted = n if whole else min(n, lcm(f, source.chunks[axis]))
            room = limit // max(1, prod(shape) // shape[axis] * itemsize)
            if shape[axis] < wanted and room >= f:
                shape[axis] = max(shape[axis], min(wanted, room // f * f))
    # On the grid of the files, even if one reaches beyond the array.
    return tuple(-(-s // f) * f for f, s in zip(target.files, shape, strict=True))


# -- one array ----------------------------------------------------------------------------------------------------


def array_units(
    source: StoredArray, target: StoredArray, meta: ArrayMeta, *, resumed: bool = False
) -> Iterator[Unit]:
    """Plan how an array is rewritten; `meta` describes the new one."""
    old = source.meta
    if resumed:
        remove_vanished_chunks(source, target, old, meta, carried=encoded_alike(old, meta))
    for key, new, size in _copied_files(source, target, old, meta):
        yield FileUnit(source.documents.storage, target.documents.storage, key, new, size)
    if not encoded_alike(old, meta):
        for region in regions(meta.shape, unit_shape(old, meta)):
            yield RegionUnit(source, target, region, resumed)


def _copied_files(
    source: StoredArray, target: StoredArray, old: ArrayMeta, meta: ArrayMeta
) -> Iterator[tuple[str, str, int]]:
    alike = encoded_alike(old, meta)
    for key, place in files_of_array(source.documents, source.path, old):
        if place is None:  # a file of another program is kept
            below = key[len(source.path) :].strip("/") if source.path else key
            yield key, join(target.path, below), 0
        elif alike:
            nbytes = prod(region_shape(old.file_box(place))) * old.dtype.itemsize
            yield key, join(target.path, meta.chunk_key(place)), nbytes


def remove_vanished_chunks(
    source: StoredArray, target: StoredArray, old: ArrayMeta, new: ArrayMeta, *, carried: bool
) -> None:
    """Delete the copies, made by an interrupted call, of files that are not in the source any more.

    Only where chunks are `carried` over as they are: a region that is encoded again deletes its files itself.
    """
    stores = source.documents.storage, target.documents.storage
    for key, place in list(files_of_array(target.documents, target.path, new)):
        if place is None:
            original = key[len(target.path) :].strip("/") if target.path else key
        elif carried:
            original = old.chunk_key(place)
        else:
            continue
        if stores[0].size(join(source.path, original)) is None:
            stores[1].delete(key)


def encoded_alike(source: ArrayMeta, target: ArrayMeta) -> bool:
    """Return whether a file of one array is, byte for byte, a file of the other.

    A chunk of Zarr v2 in C order without filters equals the chunk of Zarr v3 with the codecs bytes (little-endian) and
    the same compressor.

    Examples
    --------
    >>> from lamella.store.documents import new_array
    >>> old = new_array((4, 4), "u2", zarr_format=2, chunks=(2, 2))
    >>> encoded_alike(old, new_array((4, 4), "u2", zarr_format=3, chunks=(2, 2)))
    True
    >>> encoded_alike(old, new_array((4, 4), "u2", zarr_format=3, chunks=(2, 2), compressor="gzip"))
    False
    """
    if source.zarr_format == target.zarr_format:
        keys = _CODING_V3 if source.zarr_format == 3 else _CODING_V2
        return all(source.document.get(key) == target.document.get(key) for key in keys)
    return (
        source.shards is None
        and target.shards is None
        and source.chunks == target.chunks
        and source.dtype == target.dtype
        and is_plain(source)
        and is_plain(target)
        and _codec(source.compressor) == _codec(target.compressor)
    )


def _codec(compressor: Compressor | None) -> str | None:
    """Return the name of a chunk's decoder: its settings are in the chunk itself."""
    return None if compressor is None else compressor.name


def is_plain(meta: ArrayMeta) -> bool:
    """Return whether chunks are little-endian values in C order with at most one compressor that both formats have."""
    known = meta.compressor is None or meta.compressor.name in _ALIKE
    if meta.zarr_format == 2:
        document = meta.document
        little = str(document.get("dtype"))[:1] in ("<", "|")
        return known and little and not document.get("filters") and document.get("order", "C") == "C"
    compressors = () if meta.compressor is None else (meta.compressor.name,)
    return known and meta.codecs == ("bytes", *compressors) and _is_little(meta)


def _is_little(meta: ArrayMeta) -> bool:
    if meta.dtype.itemsize == 1:
        return True
    first = meta.document["codecs"][0]
    configuration: JSONObject = first.get("configuration", {}) if isinstance(first, dict) else {}
    return configuration.get("endian") == "little"
