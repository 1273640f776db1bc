"""Encode and decode single chunks of the codecs that nearly all OME-Zarr arrays use; zarr-python serves the others.

Supported are any order of the axes, blosc, zstd, gzip, zlib, bz2 or no compression, with or without crc32c, either byte
order, with or without shards, in both Zarr formats. Before decoding, the length in a chunk's header is compared with
the true length of the chunk. No process-wide settings change.

blosc compresses a chunk in blocks, so a *span* of a chunk (a range of its decoded bytes) can be decoded alone: in a
chunk of 8 planes of 128 KiB each, compressed in blocks of 128 KiB, plane 2 is the span (262144, 393216), one block.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
import zlib
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from lamella.store.metadata.json_document import get_or_make
from lamella.store.pixels.shard_file import IndexLayout, crc32c, named_codec
from lamella.store.process_limits import codec_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lamella.store.metadata.array_meta import ArrayMeta, FillValue
    from lamella.store.pixels.chunk_grid import NumpyIndex
    from lamella.types import JSON, Array, Shape

Bytes: TypeAlias = "bytes | memoryview"
Compress: TypeAlias = "Callable[[Array], bytes]"
Decompress: TypeAlias = "Callable[[Bytes, int, Array], Bytes | None]"
"""A function of the encoded bytes, the decoded length and memory: fills the memory and returns None, or returns the
decoded bytes in new memory."""
Span: TypeAlias = tuple[int, int]
"""A range of the bytes of a decoded chunk: start and stop."""
DecompressSpan: TypeAlias = "Callable[[Bytes, int, Array, Span], Span]"
"""A function of the encoded bytes, the decoded length, memory of that length and a span: fills at least the span, and
returns what it has filled."""

_CHECKSUM_BYTES = 4

#: The crc32c over any bytes followed by their own crc32c.
_CRC32C_OF_CHECKSUMMED = 0x48674BC7

#: Values of `wbits` of zlib for the two stream formats.
_GZIP, _ZLIB = 31, 15

#: Limit of c-blosc and numcodecs for the decoded bytes of one call.
_MAX_CHUNK_BYTES = (1 << 31) - 16

#: Chunks of at most this size (decoded bytes) are always decoded whole.
_MAX_DECODED_WHOLE = 1 << 16

_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}

#: Supported settings of each supported compressor.
_SUPPORTED_SETTINGS = {
    "blosc": {"cname", "clevel", "shuffle", "blocksize", "typesize"},
    "zstd": {"level", "checksum"},
    "gzip": {"level"},
    "zlib": {"level"},
    "bz2": {"level"},
}


class ChunkError(ValueError):
    """The bytes of a chunk do not match its codecs."""


class DecodedChunk(NamedTuple):
    """The values of a chunk, which are not changed any more; bytes outside of ``span`` may be undecoded memory."""

    values: Array
    span: Span

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.values.nbytes

    def has(self, span: Span | None) -> bool:
        """Whether these bytes are decoded; None for all of them."""
        start, stop = (0, self.nbytes) if span is None else span
        return self.span[0] <= start and stop <= self.span[1]


@dataclass(frozen=True)
class Coding:
    """How the chunks of one array are encoded and decoded; safe for threads."""

    shape: Shape
    """Lengths of a chunk; chunks on the edge of the array have the full shape too."""
    dtype: np.dtype[Any]
    """Stored dtype, with its byte order."""
    order: tuple[int, ...]
    """Stored order of the axes, slowest first."""
    compression: str | None
    """Name of the compressor; None for none."""
    has_checksum: bool
    """Whether each chunk ends in a crc32c."""
    index_layout: IndexLayout | None
    """Layout of a shard's index; None without shards."""
    fill_value: FillValue = field(compare=False)
    """Value of those pixels of a chunk that lie beyond the array."""
    compress: Compress | None = field(compare=False, repr=False)
    """Function of the compressor that encodes values without the GIL; None without compression."""
    decompress: Decompress | None = field(compare=False, repr=False)
    """Function of the compressor that decodes a chunk without the GIL; None without compression."""
    decompress_span: DecompressSpan | None = field(default=None, compare=False, repr=False)
    """Function that decodes a span of a chunk; None where the compressor can only decode whole chunks."""

    @cached_property
    def nbytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.shape) * self.dtype.itemsize

    @cached_property
    def identity(self) -> int:
        """Number that is equal for all codings that decode the same bytes to the same values."""
        return hash(self)

    @property
    def needs_thread(self) -> bool:
        """Whether the current thread must leave encoding and decoding to a worker thread.

        On the main thread numcodecs calls the functions of c-blosc that start threads of their own and share one global
        context; on other threads, those with a context per call.
        """
        return self.compression == "blosc" and threading.current_thread() is threading.main_thread()

    def scratch(self) -> Array:
        """Return memory for one decoded chunk."""
        if self._is_c_order:
            return np.empty(self.shape, self.dtype)
        return self._in_axis_order(np.empty([self.shape[axis] for axis in self.order], self.dtype))

    def accepts(self, view: Array) -> bool:
        """Whether a chunk can be decoded directly into this memory."""
        if view.shape != self.shape or view.dtype != self.dtype:
            return False
        return (view if self._is_c_order else view.transpose(self.order)).flags.c_contiguous

    def span(self, parts: Iterable[NumpyIndex]) -> Span | None:
        """Return the span from the first to the last value of some parts of a chunk; None to decode it whole."""
        if self.decompress_span is None or self.nbytes <= _MAX_DECODED_WHOLE or not self._is_c_order:
            return None
        start, stop = math.prod(self.shape), 0
        for part in parts:
            first = last = 0
            for indices, length in zip(part, self.shape, strict=True):
                if isinstance(indices, slice):
                    axis_first, axis_last = indices.start, indices.stop - 1
                else:
                    axis_first, axis_last = int(indices.min()), int(indices.max())
                first, last = first * length + axis_first, last * length + axis_last
            start, stop = min(start, first), max(stop, last + 1)
        start, stop = start * self.dtype.itemsize, stop * self.dtype.itemsize
        return None if 2 * (stop - start) > self.nbytes else (start, stop)

    def decode(self, data: Bytes, into: Array, span: Span | None = None) -> DecodedChunk:
        """Decode a chunk; with `span`, at least the compressed blocks that contain it.

        `into` is memory from `scratch`, or memory that the coding `accepts`. The returned values are `into` itself, or
        a new read-only array if the codec cannot decode into existing memory. Where `needs_thread`, call this on a
        worker thread. Bytes that are not such a chunk raise `ChunkError`.
        """
        if self.has_checksum:
            data = _without_checksum(data)
        if self.decompress is None:
            return DecodedChunk(self._to_array(data), (0, self.nbytes))
        try:
            if span is not None and self.decompress_span is not None:
                return DecodedChunk(into, self.decompress_span(data, self.nbytes, into, span))
            memory = into if self._is_c_order else into.transpose(self.order)
            decoded = self.decompress(data, self.nbytes, memory)
        except (ChunkError, MemoryError):
            raise
        except Exception as error:  # each library raises errors of its own
            raise ChunkError(f"{self.compression} cannot decode it: {error}") from error
        return DecodedChunk(into if decoded is None else self._to_array(decoded), (0, self.nbytes))

    def encode(self, block: Array) -> bytes:
        """Encode a block; one that is smaller than a chunk is padded with the fill value."""
        return b"".join(self.encode_parts(block))

    def encode_parts(self, block: Array) -> tuple[bytes, ...]:
        """Encode a block as `encode` does, but return values and checksum apart: joining them would copy the values."""
        if block.shape != self.shape:
            padded = np.full(self.shape, self.fill_value, self.dtype)
            padded[tuple(map(slice, block.shape))] = block
            block = padded
        values = np.ascontiguousarray(block if self._is_c_order else block.transpose(self.order), self.dtype)
        if self.compress is None:
            data = values.tobytes()
        elif self.needs_thread:
            data = codec_threads().submit(self.compress, values).result()
        else:
            data = self.compress(values)
        return (data, crc32c(data).to_bytes(_CHECKSUM_BYTES, "little")) if self.has_checksum else (data,)

    @cached_property
    def _is_c_order(self) -> bool:
        """Whether the axes are stored in the order of the array."""
        return self.order == tuple(range(len(self.shape)))

    def _in_axis_order(self, values: Array) -> Array:
        return values.transpose(np.argsort(self.order))

    def _to_array(self, data: Bytes) -> Array:
        if len(data) != self.nbytes:
            raise ChunkError(f"it has {len(data)} bytes of values and not {self.nbytes}")
        values = np.frombuffer(data, self.dtype)
        if self._is_c_order:
            return values.reshape(self.shape)
        return self._in_axis_order(values.reshape([self.shape[axis] for axis in self.order]))


_codings: dict[int, tuple[ArrayMeta, Coding | None]] = {}


def coding_of(meta: ArrayMeta) -> Coding | None:
    """Return how the chunks of an array are encoded; None where a codec or a setting is unsupported."""
    # The cached tuple keeps the description alive, so that no other object can get the same id.
    return get_or_make(
        _codings, id(meta), lambda: (meta, (_of_v2 if meta.zarr_format == 2 else _of_v3)(meta))
    )[1]


# ---- parsing documents ----------------------------------------------------------------------------


def _of_v2(meta: ArrayMeta) -> Coding | None:
    document = meta.document
    if document.get("filters"):
        return None
    axes = tuple(range(meta.ndim))
    order = axes[::-1] if document.get("order") == "F" else axes
    compressor_document: Any = document.get("compressor")
    compressor = None
    if compressor_document is not None:
        settings = {key: setting for key, setting in compressor_document.items() if key != "id"}
        compressor = str(compressor_document.get("id")), settings
    return _coding_from(meta, np.dtype(document["dtype"]), order, compressor, has_checksum=False)


def _of_v3(meta: ArrayMeta) -> Coding | None:
    codecs: Sequence[JSON] = meta.document.get("codecs", [])
    if meta.shards is not None:
        sharding = codecs[0]
        if len(codecs) != 1 or not isinstance(sharding, dict):
            return None
        codecs = sharding["configuration"]["codecs"]
    inner_codecs = [named_codec(codec) for codec in codecs]
    order = tuple(range(meta.ndim))
    if inner_codecs and inner_codecs[0][0] == "transpose":
        axis_order = inner_codecs.pop(0)[1].get("order")
        if not isinstance(axis_order, list) or sorted(axis_order) != list(order):
            return None
        order = tuple(axis_order)
    if not inner_codecs or inner_codecs[0][0] != "bytes":
        return None
    endian = inner_codecs.pop(0)[1].get("endian", "little")
    has_checksum = bool(inner_codecs) and inner_codecs[-1][0] == "crc32c"
    if has_checksum:
        inner_codecs.pop()
    if len(inner_codecs) > 1 or endian not in ("little", "big"):
        return None
    dtype = meta.dtype.newbyteorder(">" if endian == "big" else "<")
    return _coding_from(meta, dtype, order, inner_codecs[0] if inner_codecs else None, has_checksum)


def _coding_from(
    meta: ArrayMeta,
    dtype: np.dtype[Any],
    order: tuple[int, ...],
    compressor: tuple[str, Mapping[str, Any]] | None,
    has_checksum: bool,
) -> Coding | None:
    index = IndexLayout.of(meta)
    if (index is None) != (meta.shards is None):
        return None
    compress = decompress = decompress_span = name = None
    if compressor is not None:
        name, settings = compressor
        if not {*settings} <= _SUPPORTED_SETTINGS.get(name, set()) or name not in _SUPPORTED_SETTINGS:
            return None
        if math.prod(meta.chunks) * dtype.itemsize > _MAX_CHUNK_BYTES:
            return None
        compress = _compressor(name, settings, dtype.itemsize, math.prod(meta.chunks))
        if compress is None:
            return None
        decompress = _decompressor(name)
        decompress_span = _span_decompressor(name)
    return Coding(
        *(meta.chunks, dtype, order, name, has_checksum, index, meta.fill_value),
        *(compress, decompress, decompress_span),
    )


# ---- the codecs -----------------------------------------------------------------------------------


def _compressor(name: str, settings: Mapping[str, Any], itemsize: int, count: int) -> Compress | None:
    """Return a function that encodes `count` values; None where a setting is unsupported."""
    if name == "blosc":
        return _blosc_or_numcodecs(settings, itemsize, count)
    import numcodecs  # type: ignore[import-untyped]

    try:
        codec = numcodecs.get_codec({"id": name, **settings})
    except (TypeError, ValueError):
        return None
    return lambda values: bytes(codec.encode(values))


def _blosc_or_numcodecs(settings: Mapping[str, Any], itemsize: int, count: int) -> Compress | None:
    shuffle = settings.get("shuffle", 1)
    shuffle = _SHUFFLES.get(shuffle) if isinstance(shuffle, str) else shuffle
    typesize = settings.get("typesize", itemsize)
    if shuffle not in (-1, 0, 1, 2) or typesize not in (itemsize, 1, 2, 4, 8) or itemsize * count % typesize:
        return None
    name, level = settings.get("cname", "lz4"), settings.get("clevel", 5)
    blocksize = settings.get("blocksize", 0)
    compress = blosc_compressor(name, level, shuffle, blocksize, typesize)
    if compress is not None:
        return compress
    # Not from numcodecs.blosc: two threads would wait for each other's modules.
    from numcodecs import blosc as numcodecs_blosc

    if name not in numcodecs_blosc.list_compressors():
        return None
    try:
        codec = numcodecs_blosc.Blosc(name, level, shuffle, blocksize)
    except (TypeError, ValueError):
        return None
    if typesize == itemsize:
        return lambda values: bytes(codec.encode(values))
    return lambda values: bytes(codec.encode(values.reshape(-1).view(f"u{typesize}")))


def _decompressor(name: str) -> Decompress:
    if name == "blosc":
        decompress = blosc_decompressor()
        if decompress is None:
            from numcodecs import blosc as numcodecs_blosc

            decompress = numcodecs_blosc.decompress
        return partial(_decode_blosc, decompress)
    if name == "zstd":
        from numcodecs import zstd

        # Return new bytes: a frame that decodes to too few bytes would leave the rest of `into` unset, unnoticed.
        return lambda data, nbytes, into: zstd.decompress(data)
    if name == "bz2":
        from bz2 import BZ2Decompressor

        return partial(_decompress_streams, BZ2Decompressor)
    return partial(_decompress_streams, partial(zlib.decompressobj, _GZIP if name == "gzip" else _ZLIB))


def _span_decompressor(name: str) -> DecompressSpan | None:
    """Return a function that decodes a part of a chunk; None where the compressor or the library cannot."""
    decompress = blosc_decompressor() if name == "blosc" else None
    if decompress is None:
        return None
    return partial(_decode_blosc_span, decompress, _blosc_library().blosc_getitem)


def _without_checksum(data: Bytes) -> Bytes:
    # The crc32c over any bytes followed by their crc32c is a constant: no copy is needed to compare.
    if len(data) < _CHECKSUM_BYTES or crc32c(data) != _CRC32C_OF_CHECKSUMMED:
        raise ChunkError("its checksum is not that of its bytes")
    return memoryview(data)[:-_CHECKSUM_BYTES]


def _decode_blosc(
    decompress: Callable[[Bytes, Array], object], data: Bytes, nbytes: int, into: Array
) -> None:
    _check_blosc(data, nbytes)
    decompress(data, into)


def _decode_blosc_span(
    decompress: Callable[[Bytes, Array], object],
    getitem: Callable[..., int],
    data: Bytes,
    nbytes: int,
    into: Array,
    span: Span,
) -> Span:
    _check_blosc(data, nbytes)
    typesize, block_size = data[3], int.from_bytes(data[8:12], "little") or nbytes
    start, stop = span[0] // block_size * block_size, min(-(-span[1] // block_size) * block_size, nbytes)
    # c-blosc counts values, so it can decode spans of whole values only.
    if stop - start == nbytes or typesize == 0 or start % typesize or stop % typesize:
        decompress(data, into)
        return 0, nbytes
    encoded = np.frombuffer(data, np.uint8)
    first, count = start // typesize, (stop - start) // typesize
    length = getitem(encoded.ctypes.data, first, count, into.ctypes.data + start)
    if length != stop - start:
        raise RuntimeError(
            f"c-blosc ended with {length} for {stop - start} bytes of a block of {nbytes} bytes"
        )
    return start, stop


def _check_blosc(data: Bytes, nbytes: int) -> None:
    check_blosc_length(data)
    decoded = int.from_bytes(data[4:8], "little")
    if decoded != nbytes:
        raise ChunkError(f"a blosc chunk contains {decoded} bytes by its header, not {nbytes}")


def _decompress_streams(make_decompressor: Callable[[], Any], data: Bytes, nbytes: int, into: Array) -> Bytes:
    """Decode a chunk of one or several compressed streams, at most one byte more than it should have."""
    del into
    decoded = b""
    while len(decoded) <= nbytes:
        stream = make_decompressor()
        decoded += stream.decompress(data, nbytes + 1 - len(decoded))
        if not stream.eof:
            raise ChunkError("the compressed stream has no end where the chunk ends")
        if not stream.unused_data:
            break
        data = stream.unused_data
    return decoded


# ---- c-blosc, without importing numcodecs ---------------------------------------------------------
#
# That import takes 25 ms of Python in each process, as long as compressing 20 MB. On worker threads numcodecs calls the
# same functions of its library, so the bytes are the same. Where the library lacks them, `blosc_compressor` and
# `blosc_decompressor` return None, and numcodecs is used.

_BLOSC_OVERHEAD = 16
"""Number of bytes by which a compressed chunk can be longer than its values."""

_BLOSC_LEVELS = range(10)

BLOSC_HEADER = 16
"""Number of bytes of the header of a compressed chunk."""


def check_blosc_length(data: Bytes) -> None:
    """Raise ValueError where a chunk is not as long as its header states: c-blosc would read the memory behind it."""
    stated_length = int.from_bytes(data[12:BLOSC_HEADER], "little")
    if len(data) < BLOSC_HEADER or stated_length != len(data):
        raise ValueError(f"a blosc chunk of {len(data)} bytes has a header for {stated_length}")


def blosc_compressor(
    name: str, level: int, shuffle: int, blocksize: int, typesize: int
) -> Callable[[Array], bytes] | None:
    """Return a function that compresses C-contiguous arrays without the GIL; None for settings left to numcodecs.

    ``shuffle`` is 0 for none, 1 for bytes, 2 for bits, -1 to choose by the size of the values.
    """
    settings = (level, shuffle, blocksize, typesize)
    if not isinstance(name, str) or any(type(number) is not int for number in settings):
        return None
    library = _blosc_library()
    if (
        library is None
        or level not in _BLOSC_LEVELS
        or blocksize < 0
        or name not in library.blosc_list_compressors().decode().split(",")
    ):
        return None
    shuffle_mode, encoded_name = (2 if typesize == 1 else 1) if shuffle < 0 else shuffle, name.encode()

    def compress(values: Array) -> bytes:
        memory = np.empty(values.nbytes + _BLOSC_OVERHEAD, np.uint8)
        length = library.blosc_compress_ctx(
            *(level, shuffle_mode, typesize, values.nbytes, values.ctypes.data),
            *(memory.ctypes.data, memory.nbytes, encoded_name, blocksize, 1),
        )
        if length <= 0:
            raise RuntimeError(f"c-blosc ended with {length} for {values.nbytes} bytes")
        return memory[:length].tobytes()

    return compress


def blosc_decompressor() -> Callable[[Bytes, Array], None] | None:
    """Return a function that decompresses a chunk into contiguous memory; None without the library."""
    library = _blosc_library()
    if library is None:
        return None

    def decompress(data: Bytes, into: Array) -> None:
        encoded = np.frombuffer(data, np.uint8)
        length = library.blosc_decompress_ctx(encoded.ctypes.data, into.ctypes.data, into.nbytes, 1)
        if length != into.nbytes:
            raise RuntimeError(f"c-blosc ended with {length} for a block of {into.nbytes} bytes")

    return decompress


@cache
def _blosc_library() -> Any:
    """Load the library; return None if it is missing, or not c-blosc 1."""
    spec = find_spec("numcodecs")
    folders = [] if spec is None else spec.submodule_search_locations or []
    paths = [os.path.join(folder, f"blosc{suffix}") for folder in folders for suffix in EXTENSION_SUFFIXES]
    path = next(filter(os.path.isfile, paths), None)
    if path is None:
        return None
    try:
        library = ctypes.CDLL(path)
        library.blosc_get_version_string.restype = ctypes.c_char_p
        library.blosc_list_compressors.restype = ctypes.c_char_p
        c_int, c_size, c_pointer = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
        function = library.blosc_compress_ctx
        function.restype = c_int
        function.argtypes = (
            *(c_int, c_int, c_size, c_size, c_pointer),
            *(c_pointer, c_size, ctypes.c_char_p, c_size, c_int),
        )
        function = library.blosc_decompress_ctx
        function.restype = c_int
        function.argtypes = (c_pointer, c_pointer, c_size, c_int)
        function = library.blosc_getitem
        function.restype = c_int
        function.argtypes = (c_pointer, c_int, c_int, c_pointer)
    except (OSError, AttributeError):  # not built as on Linux and macOS: its functions are hidden
        return None
    return library if library.blosc_get_version_string().startswith(b"1.") else None
