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
from lamella.ops.regions import REGION_BYTES, bounded_shape, region_shape, regions, relative_region
from lamella.ops.rewriting.inventory import files_of_array, relative_key
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
"""Keys of an array's document that describe how its chunks are encoded."""

_COMMON_CODECS = ("blosc", "zstd", "gzip")
"""Compressors of both Zarr formats."""


# -- copied files -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileUnit:
    """A file to copy unchanged, from a key of one store to the key ``key`` of another.

    For a chunk or shard of an array, ``meta`` describes the array, and ``size`` is the number of bytes of its decoded
    pixels. For other files ``size`` is their size, or 0 if unknown.
    """

    source: Storage
    target: Storage
    source_key: str
    key: str
    size: int
    meta: ArrayMeta | None = None

    def is_whole(self, data: bytes) -> bool:
        """Return whether bytes can be the complete file: a service may send fewer."""
        return not self.size or len(data) == self.size if self.meta is None else shows_whole(self.meta, data)

    @property
    def units_per_task(self) -> int:
        """How many files one task of an executor copies: several small ones, or one large."""
        return 1 if self.size > _SMALL_BYTES else 8

    def reads(self) -> Files:
        """Return the file."""
        return Files(self.source, (self.source_key,))

    def writes(self) -> Files:
        """Return the copy."""
        return Files(self.target, (self.key,))

    def do(self) -> None:
        """Copy the file."""
        if copy_file(self.source, self.source_key, self.target, self.key, self.is_whole) is None:
            _check_documents(self.source, [self.source_key])


def _check_documents(source: Storage, missing_keys: Iterable[str]) -> None:
    """Raise for a document that was listed and is missing; a chunk may be deleted by a writer at any time."""
    for key in missing_keys:
        if key.rpartition("/")[2] in METADATA_FILES:
            raise vanished_error(source, key)


@dataclass(frozen=True)
class RemoteFilesUnit:
    """Files to copy unchanged from a remote store, all at once."""

    files: tuple[FileUnit, ...]
    units_per_task = 1

    @property
    def size(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)

    @property
    def key(self) -> str:
        """A key for the journal: that of the first copy, and the number of files."""
        return f"{self.files[0].key} +{len(self.files)}"

    def reads(self) -> Files:
        """Return the files."""
        return Files(self.files[0].source, [file.source_key for file in self.files])

    def writes(self) -> Files:
        """Return the copies."""
        return Files(self.files[0].target, [file.key for file in self.files])

    def do(self) -> None:
        """Copy the files."""
        source, target = self.files[0].source, self.files[0].target
        contents = source.read_many([file.source_key for file in self.files])
        _check_documents(source, [source_key for source_key, content in contents.items() if content is None])
        complete_files = (
            (
                file.key,
                content[0] if file.is_whole(content[0]) else read_whole(source, file.source_key, content[0]),
            )
            for file in self.files
            if (content := contents[file.source_key]) is not None
        )
        target.write_many((key, data) for key, data in complete_files if data is not None)


def join_remote_copies(units: Iterable[Unit]) -> Iterator[Unit]:
    """Join units that copy a file from a remote store, up to `_AT_ONCE` and `UNIT_BYTES`."""
    batch: list[FileUnit] = []

    def joined() -> Iterator[RemoteFilesUnit]:
        if batch:
            yield RemoteFilesUnit(tuple(batch))
            batch.clear()

    for unit in units:
        is_remote = isinstance(unit, FileUnit) and not unit.source.locks_processes
        size = sum(file.size for file in batch) + unit.size
        if not is_remote or len(batch) == _AT_ONCE or size > UNIT_BYTES:
            yield from joined()
        if is_remote:
            batch.append(cast("FileUnit", unit))
        else:
            yield unit
    yield from joined()


# -- decoded and encoded ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RewriteUnit(TargetUnit):
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
        old_meta, new_meta = self.source.meta, self.target.meta
        is_complete = all(self._source_storage.size(key) is not None for key in self.reads().keys)
        written_regions = [self.region] if is_complete else list(self._regions_with_pixels(new_meta))
        if not written_regions:
            return
        if prod(region_shape(self.region)) * old_meta.dtype.itemsize > UNIT_BYTES:
            for written_region in written_regions:
                self._stream(old_meta, new_meta, written_region)
            return
        block = scratch(region_shape(self.region), old_meta.dtype)
        for part in _split_at_grid(self.region, old_meta.chunks, old_meta):
            self.source.read(part, out=block[relative_region(part, self.region)])
        for written_region in written_regions:
            self.target.write(written_region, block[relative_region(written_region, self.region)])

    def _stream(self, old_meta: ArrayMeta, new_meta: ArrayMeta, region: Region) -> None:
        """Write a large file chunk by chunk, if its format allows it, so that memory is bounded by a few chunks."""
        shared_chunks = tuple(
            min(lcm(old_length, new_length), length)
            for old_length, new_length, length in zip(
                old_meta.chunks, new_meta.chunks, old_meta.shape, strict=True
            )
        )
        is_small = prod(shared_chunks) * old_meta.dtype.itemsize <= _DECODED_BYTES
        assembler = LevelAssembler(self.target, region)
        try:
            for subregion in _split_at_grid(region, shared_chunks if is_small else old_meta.chunks, old_meta):
                assembler.add(
                    subregion,
                    self.source.read(subregion, out=scratch(region_shape(subregion), old_meta.dtype)),
                )
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


def _split_at_grid(region: Region, grain: Shape, meta: ArrayMeta) -> Iterator[Region]:
    """Split a region at multiples of ``grain``, so that each chunk is decoded once, into at most `_DECODED_BYTES`."""
    starts = [span.start // length * length for span, length in zip(region, grain, strict=True)]
    lengths = [span.stop - start for span, start in zip(region, starts, strict=True)]
    for subregion in regions(lengths, bounded_shape(lengths, grain, meta.dtype.itemsize, _DECODED_BYTES)):
        yield tuple(
            slice(max(start + relative_span.start, span.start), start + relative_span.stop)
            for start, relative_span, span in zip(starts, subregion, region, strict=True)
        )


def rewritten_shape(source: ArrayMeta, target: ArrayMeta, max_bytes: int = UNIT_BYTES) -> Shape:
    """Return the shape of the regions in which an array is rewritten.

    It starts with a file of the new array. Up to ``max_bytes`` it grows to whole chunks of the old array, so that no
    chunk is decoded twice; then, up to `REGION_BYTES`, to as many files as fit.
    """
    file_shape, itemsize = target.files, target.dtype.itemsize
    whole_shape = [max(1, length) for length in target.shape]
    chunk_aligned_shape = [
        min(length, lcm(file_length, chunk_length))
        for length, file_length, chunk_length in zip(whole_shape, file_shape, source.chunks, strict=True)
    ]
    shape = [min(length, file_length) for length, file_length in zip(whole_shape, file_shape, strict=True)]
    for max_shape, size_limit in (
        (chunk_aligned_shape, max_bytes),
        (whole_shape, min(max_bytes, REGION_BYTES)),
    ):
        for axis in reversed(range(target.ndim)):
            bytes_per_index = max(1, prod(shape) // shape[axis] * itemsize)
            max_length = size_limit // bytes_per_index // file_shape[axis] * file_shape[axis]
            if max_length and shape[axis] < max_shape[axis]:
                shape[axis] = max(shape[axis], min(max_shape[axis], max_length))
    # Whole files, even if the last one reaches beyond the end of the array.
    return tuple(
        -(-length // file_length) * file_length for length, file_length in zip(shape, file_shape, strict=True)
    )


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
    yield from copied_units(source, target, old, meta, with_chunks=is_same, resumed=resumed, keys=keys)
    for region in () if is_same else regions(meta.shape, rewritten_shape(old, meta)):
        yield RewriteUnit(source, target, region, resumed)


def copied_units(
    source: StoredArray,
    target: StoredArray,
    old_meta: ArrayMeta,
    new_meta: ArrayMeta,
    *,
    with_chunks: bool = True,
    is_decodable: bool = True,
    resumed: bool = False,
    keys: Iterable[str] | None = None,
) -> Iterator[FileUnit]:
    """Yield the units that copy files of an array unchanged: files of other programs, and chunks if ``with_chunks``.

    If ``resumed``, delete copies of files that the source no longer has. Units of chunks have no size unless
    ``is_decodable``.
    """
    stores = source.documents.storage, target.documents.storage
    for key, chunk_index in list(files_of_array(target.documents, target.path, new_meta)) if resumed else ():
        if chunk_index is None or with_chunks:
            source_key = (
                relative_key(key, target.path) if chunk_index is None else old_meta.chunk_key(chunk_index)
            )
            if stores[0].size(join(source.path, source_key)) is None:
                stores[1].delete(key)
    for key, chunk_index in files_of_array(source.documents, source.path, old_meta, keys):
        if chunk_index is None:
            yield FileUnit(*stores, key, join(target.path, relative_key(key, source.path)), 0)
        elif with_chunks:
            target_key = join(target.path, new_meta.chunk_key(chunk_index))
            nbytes = prod(region_shape(old_meta.file_region(chunk_index))) * old_meta.dtype.itemsize
            yield (
                FileUnit(*stores, key, target_key, nbytes, old_meta)
                if is_decodable and nbytes
                else FileUnit(*stores, key, target_key, 0)
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
    """Return the name of a codec, all that decoding needs: the level and other settings are in the chunk itself."""
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
