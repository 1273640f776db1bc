"""Decoding the chunks of an array without an engine's library: the codecs that nearly every OME-Zarr array has.

Blosc, zstd, gzip, zlib or none, with crc32c or without, little or big endian, of Zarr v2 and v3. What a chunk says of
its own length is compared with what it has, and what comes out with what the array says: nothing is decoded from bytes
that are not the chunk's. No settings of the process are touched; blosc is called so that it starts no threads of its
own, see `ChunkDecoder.decode`.

Layer: store.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from lamella.store.shard_index import crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.types import JSON, Array, Shape

Bytes: TypeAlias = "bytes | memoryview"

_Stored: TypeAlias = tuple[np.dtype[Any], Literal["C", "F"], list[str]]

_CHECKSUM = 4
_CRC32C_OF_CHECKED = 0x48674BC7
_BLOSC_HEADER = 16
_GZIP, _ZLIB = 31, 15


class ChunkError(ValueError):
    """A chunk is not what its codecs make."""


@dataclass(frozen=True)
class ChunkDecoder:
    """How the chunks of one array are decoded.

    Attributes
    ----------
    shape, dtype, order
        Of a chunk as it is stored: every one has the full shape, `dtype` its stored byte order, `order` is "C" or "F".
    compression
        The name of the compressor, None for none; the first codec after the bytes of the values.
    has_checksum
        Whether a crc32c is the last thing in a chunk.
    """

    shape: Shape
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    compression: str | None
    has_checksum: bool

    @property
    def nbytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.shape) * self.dtype.itemsize

    def scratch(self) -> Array:
        """Return memory for one decoded chunk."""
        return np.empty(self.shape, self.dtype, self.order)

    def takes(self, view: Array) -> bool:
        """Whether a chunk can be decoded into this memory."""
        ordered = view.flags.c_contiguous if self.order == "C" else view.flags.f_contiguous
        return view.shape == self.shape and view.dtype == self.dtype and ordered

    def decode(self, data: Bytes, into: Array) -> Array:
        """Decode a chunk.

        Call it from any thread but the main one: numcodecs has blosc use the threads that belong to the process there,
        and one context per call elsewhere.

        Parameters
        ----------
        data
            All bytes of the chunk.
        into
            Memory that it may be decoded into: `scratch`, or what `takes` says can be.

        Returns
        -------
        ndarray
            `into`, or where the codec cannot decode into memory of others a new read-only array.

        Raises
        ------
        ChunkError
            The bytes are not such a chunk.
        """
        if self.has_checksum:
            data = _without_checksum(data)
        if self.compression is None:
            return self._values(data)
        try:
            found = _DECODERS[self.compression](data, self.nbytes, into)
        except ChunkError:
            raise
        except Exception as error:  # each library raises errors of its own
            raise ChunkError(f"{self.compression} cannot decode it: {error}") from error
        return into if found is None else self._values(found)

    def _values(self, data: Bytes) -> Array:
        if len(data) != self.nbytes:
            raise ChunkError(f"it has {len(data)} bytes of values and not {self.nbytes}")
        return np.frombuffer(data, self.dtype).reshape(self.shape, order=self.order)


def decoder_of(meta: ArrayMeta) -> ChunkDecoder | None:
    """Return the decoder of an array's chunks, None where it has other codecs than these.

    Examples
    --------
    >>> from lamella.store.documents import new_array
    >>> decoder_of(new_array((4, 4), "u2", zarr_format=3)).compression
    'blosc'
    """
    found = _of_v2(meta.document) if meta.zarr_format == 2 else _of_v3(meta)
    if found is None:
        return None
    dtype, order, names = found
    checksum = names[-1:] == ["crc32c"]
    compressors = names[:-1] if checksum else names
    if len(compressors) > 1 or not set(compressors) <= _DECODERS.keys():
        return None
    return ChunkDecoder(meta.chunks, dtype, order, compressors[0] if compressors else None, checksum)


# ---- what a document says -------------------------------------------------------------------------


def _of_v2(document: Mapping[str, Any]) -> _Stored | None:
    order: Literal["C", "F"] = "F" if document.get("order") == "F" else "C"
    if document.get("filters"):
        return None
    compressor = document.get("compressor")
    names = [] if compressor is None else [str(compressor["id"])]
    return np.dtype(document["dtype"]), order, names


def _of_v3(meta: ArrayMeta) -> _Stored | None:
    codecs: Sequence[JSON] = meta.document.get("codecs", [])
    if meta.shards is not None:
        outer = codecs[0]
        if len(codecs) != 1 or not isinstance(outer, dict):
            return None
        codecs = outer["configuration"]["codecs"]
    named = [_named(codec) for codec in codecs]
    if not named or named[0][0] != "bytes":  # a transpose, or an extension
        return None
    endian: Literal["<", ">"] = ">" if named[0][1].get("endian", "little") == "big" else "<"
    return meta.dtype.newbyteorder(endian), "C", [name for name, _ in named[1:]]


def _named(codec: JSON) -> tuple[str, Mapping[str, Any]]:
    if isinstance(codec, dict):
        return str(codec["name"]), codec.get("configuration", {})
    return str(codec), {}


# ---- the codecs -----------------------------------------------------------------------------------


def _without_checksum(data: Bytes) -> Bytes:
    # The checksum of bytes and their checksum is one constant, whatever the bytes: they need not be copied apart.
    if len(data) < _CHECKSUM or crc32c(data) != _CRC32C_OF_CHECKED:
        raise ChunkError("its checksum is not that of its bytes")
    return memoryview(data)[:-_CHECKSUM]


def _decode_blosc(data: Bytes, nbytes: int, into: Array) -> None:
    from numcodecs import blosc  # type: ignore[import-untyped]

    # c-blosc gets no length and reads what the header says: a chunk that was cut off, from whatever lies behind it.
    decoded, stored = (int.from_bytes(data[at : at + 4], "little") for at in (4, 12))
    if len(data) < _BLOSC_HEADER or stored != len(data):
        raise ChunkError(f"a blosc chunk of {len(data)} bytes says that it has {stored}")
    if decoded != nbytes:
        raise ChunkError(f"a blosc chunk says that it holds {decoded} bytes and not {nbytes}")
    blosc.decompress(data, into)


def _decode_zstd(data: Bytes, nbytes: int, into: Array) -> Bytes:
    del nbytes, into  # a frame that holds less would leave the rest of the memory as it is, unnoticed
    from numcodecs import zstd

    found: bytes = zstd.decompress(data)
    return found


def _inflate(data: Bytes, nbytes: int, into: Array, *, form: int) -> Bytes:
    del into
    found = b""
    while True:  # gzip may be several streams in a row
        stream = zlib.decompressobj(form)
        found += stream.decompress(data, nbytes + 1 - len(found))  # no more memory than a chunk takes
        if not stream.eof:
            raise ChunkError("the compressed stream has no end where the chunk ends")
        if not stream.unused_data:
            return found
        data = stream.unused_data


_DECODERS: dict[str, Callable[[Bytes, int, Array], Bytes | None]] = {
    "blosc": _decode_blosc,
    "zstd": _decode_zstd,
    "gzip": partial(_inflate, form=_GZIP),
    "zlib": partial(_inflate, form=_ZLIB),
}
