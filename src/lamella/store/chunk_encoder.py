"""Encoding of one chunk on the calling thread, for those who write chunk by chunk.

Runs the codecs of numcodecs as an array declares them: byte order, then blosc, zstd, gzip, zlib, bz2 or nothing, then
crc32c where it is declared. Other codecs are the engines' alone: :func:`encoder_of` gives None for them.

Layer: store.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lamella.store.array_meta import ArrayMeta
    from lamella.types import Array, JSONObject

Compress: TypeAlias = "Callable[[Array], bytes]"

#: What c-blosc and numcodecs can take in one call.
_MOST_BYTES = (1 << 31) - 16

_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}


@dataclass(frozen=True)
class ChunkEncoder:
    """How the chunks of one array are encoded; one for all threads.

    Attributes
    ----------
    shape
        Of a chunk.
    stored
        The dtype in the file, with its byte order.
    fill_value
        What stands in the part of a chunk that lies beyond the array.
    compress
        From values in their stored order to bytes; releases the GIL.
    checksum
        Whether a crc32c follows.
    """

    shape: tuple[int, ...]
    stored: np.dtype[Any]
    fill_value: Any
    compress: Compress | None
    checksum: bool

    def encode(self, block: Array) -> bytes:
        """Encode a block of at most the chunk's shape; what is missing at the far ends is the fill value."""
        if block.shape != self.shape:
            whole = np.full(self.shape, self.fill_value, self.stored)
            whole[tuple(map(slice, block.shape))] = block
            block = whole
        values = np.ascontiguousarray(block, self.stored)
        data = values.tobytes() if self.compress is None else self.compress(values)
        if self.checksum:
            from lamella.store.shard_index import crc32c

            data += crc32c(data).to_bytes(4, "little")
        return data


def encoder_of(meta: ArrayMeta) -> ChunkEncoder | None:
    """Return the encoder of an array's chunks, None where its codecs are not among those known here.

    Examples
    --------
    >>> from lamella.store.documents import new_array
    >>> meta = new_array((4, 4), "uint16", zarr_format=3, compressor="none")
    >>> encoder_of(meta).encode(np.array([[1, 2]], "uint16")).hex(" ", 8)
    '0100020000000000 0000000000000000 0000000000000000 0000000000000000'
    """
    if math.prod(meta.chunks) * meta.dtype.itemsize > _MOST_BYTES:
        return None
    found = _of_v3(meta) if meta.zarr_format == 3 else _of_v2(meta)
    if found is None:
        return None
    stored, compress, checksum = found
    return ChunkEncoder(meta.chunks, stored, meta.fill_value, compress, checksum)


def _of_v3(meta: ArrayMeta) -> tuple[np.dtype[Any], Compress | None, bool] | None:
    codecs = [_plain(codec) for codec in meta.document.get("codecs", [])]
    if len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed":
        codecs = [_plain(codec) for codec in codecs[0]["configuration"].get("codecs", [])]
    if not codecs or codecs[0]["name"] != "bytes":
        return None
    big = codecs[0]["configuration"].get("endian") == "big"
    rest = codecs[1:]
    checksum = bool(rest) and rest[-1]["name"] == "crc32c"
    if checksum:
        rest = rest[:-1]
    if len(rest) > 1:
        return None
    compress = None
    if rest:
        compress = _compress(rest[0]["name"], rest[0]["configuration"], meta.dtype.itemsize)
        if compress is None:
            return None
    return meta.dtype.newbyteorder(">" if big else "<"), compress, checksum


def _of_v2(meta: ArrayMeta) -> tuple[np.dtype[Any], Compress | None, bool] | None:
    document = meta.document
    if document.get("filters") or document.get("order", "C") != "C":
        return None
    compressor = document.get("compressor")
    compress = None
    if compressor is not None:
        compress = _compress(compressor.get("id"), compressor, meta.dtype.itemsize)
        if compress is None:
            return None
    return np.dtype(document["dtype"]), compress, False


def _plain(codec: Any) -> JSONObject:
    """Return a codec as an object; Zarr 3.1 allows the name alone."""
    if isinstance(codec, str):
        return {"name": codec, "configuration": {}}
    return {"name": codec.get("name"), "configuration": codec.get("configuration") or {}}


def _compress(name: object, settings: Mapping[str, Any], itemsize: int) -> Compress | None:
    """Return the function of one codec of numcodecs, None for a name or a setting that is not known here."""
    if name == "blosc":
        return _blosc(settings, itemsize)
    allowed = {"zstd": {"level", "checksum"}, "gzip": {"level"}, "zlib": {"level"}, "bz2": {"level"}}
    if (
        not isinstance(name, str)
        or not {*settings} - {"id"} <= allowed.get(name, set())
        or name not in allowed
    ):
        return None
    import numcodecs  # type: ignore[import-untyped]

    codec = numcodecs.get_codec({"id": name, **settings})
    return lambda values: bytes(codec.encode(values))


def _blosc(settings: Mapping[str, Any], itemsize: int) -> Compress | None:
    shuffle = settings.get("shuffle", 1)
    shuffle = _SHUFFLES.get(shuffle) if isinstance(shuffle, str) else shuffle
    if shuffle not in (0, 1, 2) or settings.get("typesize", itemsize) != itemsize:
        return None  # -1 is numcodecs' own choice by the dtype
    from numcodecs.blosc import Blosc, list_compressors  # type: ignore[import-untyped]

    if settings.get("cname") not in list_compressors():
        return None
    codec = Blosc(settings["cname"], settings.get("clevel", 5), shuffle, settings.get("blocksize", 0))

    def compress(values: Array) -> bytes:
        # Asked by the main thread, numcodecs takes c-blosc's one global context for the process, sets it and locks it;
        # asked by any other, it makes a context for the call.
        if threading.current_thread() is not threading.main_thread():
            return bytes(codec.encode(values))
        return _on_a_thread(lambda: bytes(codec.encode(values)))

    return compress


def _on_a_thread(call: Callable[[], bytes]) -> bytes:
    results: list[bytes | BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, name="lamella-encode")
    thread.start()
    thread.join()
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]
