"""Rewrite the pixels of one array: copy files if both arrays encode chunks equally, else decode and encode them.

Every file of the new array is written once and completely, so a kill leaves complete files. Each worker needs memory
for one unit: a file of the new array, or several that come from the same chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm, prod
from typing import TYPE_CHECKING, cast

from lamella.ops.jobs.units import Files, TargetUnit, files_of
from lamella.ops.pyramids.level_assembler import LevelAssembler
from lamella.ops.regions import PIECE_BYTES, inside, piece_shape, region_shape, regions
from lamella.ops.rewriting.inventory import below, files_of_array
from lamella.ops.scratch import scratch
from lamella.store.keys import METADATA_FILES, join
from lamella.store.pixels import chunk_grid
from lamella.store.pixels.stored_files import shows_whole
from lamella.store.transfer import copy_file, read_whole, vanished_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lamella.ops.jobs.units import Unit
    from lamella.ops.regions import Region
    from lamella.store.metadata.array_meta import ArrayMeta, Compressor
    from lamella.store.pixels.arrays import StoredArray
    from lamella.store.storage import Storage
    from lamella.types import JSONObject, Shape

UNIT_BYTES = 32 << 20
"""Raw size up to which new files are written together, so that their old chunks are decoded once."""

_DECODED_BYTES = 16 << 20
"""Raw size of the old chunks that a worker decodes at once."""

_SMALL_BYTES = 1 << 20

_AT_ONCE = 64
"""Number of files that a worker copies at once from a remote store."""

_CODING_V2 = ("dtype", "compressor", "filters", "order", "chunks")
_CODING_V3 = ("data_type", "codecs", "chunk_grid")
_COMMON_CODECS = ("blosc", "zstd", "gzip")


# -- copied files -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileUnit:
    """A file to copy unchanged, from the key ``old`` of a store to another key.

    ``size`` counts the decoded pixels of a chunk or shard of an array, which ``meta`` describes; of other files it is
    their size, or 0 if unknown.
    """

    source: Storage
    target: Storage
    old: str
    key: str
    size: int
    meta: ArrayMeta | None = None

    def is_whole(self, data: bytes) -> bool:
        """Return whether bytes are the whole file, as far as they show it; a service may send less."""
        return not self.size or len(data) == self.size if self.meta is None else shows_whole(self.meta, data)

    @property
    def units_per_task(self) -> int:
        """Several, if the files are small."""
        return 1 if self.size > _SMALL_BYTES else 8

    def reads(self) -> Files:
        """Return the file."""
        return Files(self.source, (self.old,))

    def writes(self) -> Files:
        """Return the copy."""
        return Files(self.target, (self.key,))

    def do(self) -> None:
        """Copy the file."""
        if copy_file(self.source, self.old, self.target, self.key, self.is_whole) is None:
            _check_documents(self.source, [self.old])


def _check_documents(source: Storage, missing: Iterable[str]) -> None:
    """Raise for a document that was listed and is missing; a chunk may be deleted by a writer at any time."""
    for key in missing:
        if key.rpartition("/")[2] in METADATA_FILES:
            raise vanished_error(source, key)


@dataclass(frozen=True)
class FilesUnit:
    """Files to copy unchanged from a remote store, all at once."""

    files: tuple[FileUnit, ...]
    units_per_task = 1

    @property
    def size(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)

    @property
    def key(self) -> str:
        """The first copy, and how many there are."""
        return f"{self.files[0].key} +{len(self.files)}"

    def reads(self) -> Files:
        """Return the files."""
        return Files(self.files[0].source, [file.old for file in self.files])

    def writes(self) -> Files:
        """Return the copies."""
        return Files(self.files[0].target, [file.key for file in self.files])

    def do(self) -> None:
        """Copy the files."""
        source, target = self.files[0].source, self.files[0].target
        contents = source.read_many([file.old for file in self.files])
        _check_documents(source, [old for old, content in contents.items() if content is None])
        whole = (
            (file.key, content[0] if file.is_whole(content[0]) else read_whole(source, file.old, content[0]))
            for file in self.files
            if (content := contents[file.old]) is not None
        )
        target.write_many((key, data) for key, data in whole if data is not None)


def join_remote_copies(units: Iterable[Unit]) -> Iterator[Unit]:
    """Join units that copy a file from a remote store, up to `_AT_ONCE` and `UNIT_BYTES`."""
    batch: list[FileUnit] = []

    def joined() -> Iterator[FilesUnit]:
        if batch:
            yield FilesUnit(tuple(batch))
            batch.clear()

    for unit in units:
        is_remote = isinstance(unit, FileUnit) and not unit.source.locks_processes
        size = sum(other.size for other in batch) + unit.size
        if not is_remote or len(batch) == _AT_ONCE or size > UNIT_BYTES:
            yield from joined()
        if is_remote:
            batch.append(cast("FileUnit", unit))
        else:
            yield unit
    yield from joined()


# -- decoded and encoded ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegionUnit(TargetUnit):
    """A region of an array to read and write, aligned to files of the new one; both arrays have one shape."""

    source: StoredArray
    target: StoredArray
    region: Region
    resumed: bool = False

    def reads(self) -> Files:
        """Return the files of the old array."""
        return files_of(self.source, self.region)

    def do(self) -> None:
        """Read and write the files of the region that have pixels; others stay unwritten."""
        meta, new_meta = self.source.meta, self.target.meta
        is_complete = all(self._source_storage.size(key) is not None for key in self.reads().keys)
        written_regions = [self.region] if is_complete else list(self._regions_with_pixels(new_meta))
        if not written_regions:
            return
        if prod(region_shape(self.region)) * meta.dtype.itemsize > UNIT_BYTES:
            for written_region in written_regions:
                self._stream(meta, new_meta, written_region)
            return
        block = scratch(region_shape(self.region), meta.dtype)
        for part in _parts(self.region, meta.chunks, meta):
            self.source.read(part, out=block[inside(part, self.region)])
        for written_region in written_regions:
            self.target.write(written_region, block[inside(written_region, self.region)])

    def _stream(self, meta: ArrayMeta, new_meta: ArrayMeta, region: Region) -> None:
        """Write a large file chunk by chunk, if its format allows it, so that memory is bounded by a few chunks."""
        shared_chunks = tuple(
            min(lcm(old, new), n)
            for old, new, n in zip(meta.chunks, new_meta.chunks, meta.shape, strict=True)
        )
        is_small = prod(shared_chunks) * meta.dtype.itemsize <= _DECODED_BYTES
        assembler = LevelAssembler(self.target, region)
        try:
            for part in _parts(region, shared_chunks if is_small else meta.chunks, meta):
                assembler.add(part, self.source.read(part, out=scratch(region_shape(part), meta.dtype)))
        except BaseException:
            assembler.abort()
            raise

    def _regions_with_pixels(self, new_meta: ArrayMeta) -> Iterator[Region]:
        """Yield the regions of the new files for which the old array has stored pixels."""
        for chunk_index in chunk_grid.files_of(new_meta, self.region):
            file_region = new_meta.file_region(chunk_index)
            if any(
                self._source_storage.size(key) is not None for key in files_of(self.source, file_region).keys
            ):
                yield file_region
            elif self.resumed:
                self.target.documents.storage.delete(join(self.target.path, new_meta.chunk_key(chunk_index)))

    @property
    def _source_storage(self) -> Storage:
        return self.source.documents.storage


def _parts(region: Region, grain: Shape, meta: ArrayMeta) -> Iterator[Region]:
    """Split a region at multiples of ``grain`` into parts; a chunk within the grain is decoded once."""
    starts = [span.start // length * length for span, length in zip(region, grain, strict=True)]
    lengths = [span.stop - start for span, start in zip(region, starts, strict=True)]
    for part in regions(lengths, piece_shape(lengths, grain, meta.dtype.itemsize, _DECODED_BYTES)):
        yield tuple(
            slice(max(start + within.start, span.start), start + within.stop)
            for start, within, span in zip(starts, part, region, strict=True)
        )


def unit_shape(source: ArrayMeta, target: ArrayMeta, max_bytes: int = UNIT_BYTES) -> Shape:
    """Return the shape of the regions in which an array is rewritten: whole files of the new one.

    They grow to whole chunks of the old array, so that no chunk is decoded twice, up to ``max_bytes``, and then up to
    `PIECE_BYTES`.
    """
    files, itemsize = target.files, target.dtype.itemsize
    whole = [max(1, n) for n in target.shape]
    whole_chunks = [min(n, lcm(f, c)) for n, f, c in zip(whole, files, source.chunks, strict=True)]
    shape = [min(n, f) for n, f in zip(whole, files, strict=True)]
    for lengths, limit in ((whole_chunks, max_bytes), (whole, min(max_bytes, PIECE_BYTES))):
        for axis in reversed(range(target.ndim)):
            room = limit // max(1, prod(shape) // shape[axis] * itemsize) // files[axis] * files[axis]
            if room and shape[axis] < lengths[axis]:
                shape[axis] = max(shape[axis], min(lengths[axis], room))
    # On the grid of the files, even if one reaches beyond the array.
    return tuple(-(-n // f) * f for n, f in zip(shape, files, strict=True))


# -- one array ----------------------------------------------------------------------------------------------------


def array_units(
    source: StoredArray,
    target: StoredArray,
    meta: ArrayMeta,
    *,
    resumed: bool = False,
    keys: Iterable[str] | None = None,
) -> Iterator[Unit]:
    """Yield the units that rewrite an array; `meta` describes the new one, `keys` are its files if known."""
    old = source.meta
    is_same = has_same_encoding(old, meta)
    yield from copied_units(source, target, old, meta, chunks=is_same, resumed=resumed, keys=keys)
    for region in () if is_same else regions(meta.shape, unit_shape(old, meta)):
        yield RegionUnit(source, target, region, resumed)


def copied_units(
    source: StoredArray,
    target: StoredArray,
    old: ArrayMeta,
    new: ArrayMeta,
    *,
    chunks: bool = True,
    decodable: bool = True,
    resumed: bool = False,
    keys: Iterable[str] | None = None,
) -> Iterator[FileUnit]:
    """Yield the units that copy files of an array unchanged: its `chunks`, and in any case files of other programs.

    If `resumed`, delete copies of files that the source no longer has. Chunks that are not `decodable` have no size.
    """
    stores = source.documents.storage, target.documents.storage
    for key, chunk_index in list(files_of_array(target.documents, target.path, new)) if resumed else ():
        if chunk_index is None or chunks:
            original = below(key, target.path) if chunk_index is None else old.chunk_key(chunk_index)
            if stores[0].size(join(source.path, original)) is None:
                stores[1].delete(key)
    for key, chunk_index in files_of_array(source.documents, source.path, old, keys):
        if chunk_index is None:
            yield FileUnit(*stores, key, join(target.path, below(key, source.path)), 0)
        elif chunks:
            copy = join(target.path, new.chunk_key(chunk_index))
            nbytes = prod(region_shape(old.file_region(chunk_index))) * old.dtype.itemsize
            yield (
                FileUnit(*stores, key, copy, nbytes, old)
                if decodable and nbytes
                else FileUnit(*stores, key, copy, 0)
            )


def has_same_encoding(source: ArrayMeta, target: ArrayMeta) -> bool:
    """Return whether a file of one array is, byte for byte, a file of the other.

    A chunk of Zarr v2 in C order without filters equals the chunk of Zarr v3 with the codecs bytes (little-endian) and
    the same compressor.
    """
    if source.zarr_format == target.zarr_format:
        keys = _CODING_V3 if source.zarr_format == 3 else _CODING_V2
        return all(source.document.get(key) == target.document.get(key) for key in keys)
    return (
        source.shards is None
        and target.shards is None
        and source.chunks == target.chunks
        and source.dtype == target.dtype
        and _is_plain(source)
        and _is_plain(target)
        and _codec(source.compressor) == _codec(target.compressor)
    )


def _codec(compressor: Compressor | None) -> str | None:
    """Return the name of a chunk's decoder: its settings are in the chunk itself."""
    return None if compressor is None else compressor.name


def _is_plain(meta: ArrayMeta) -> bool:
    """Return whether chunks are little-endian, in C order, with at most one compressor that both formats have."""
    has_common_codec = meta.compressor is None or meta.compressor.name in _COMMON_CODECS
    if meta.zarr_format == 2:
        document = meta.document
        little = str(document.get("dtype"))[:1] in ("<", "|")
        return (
            has_common_codec and little and not document.get("filters") and document.get("order", "C") == "C"
        )
    compressors = () if meta.compressor is None else (meta.compressor.name,)
    return has_common_codec and meta.codecs == ("bytes", *compressors) and _is_little(meta)


def _is_little(meta: ArrayMeta) -> bool:
    if meta.dtype.itemsize == 1:
        return True
    first = meta.document["codecs"][0]
    configuration: JSONObject = first.get("configuration", {}) if isinstance(first, dict) else {}
    return configuration.get("endian") == "little"
