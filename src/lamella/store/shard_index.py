"""Encode and decode the index of a shard, with its checksum (Zarr v3, codec ``sharding_indexed``).

The index has two unsigned 64-bit numbers per inner chunk, offset and length, in C order of the chunks; both are
2**64 - 1 where a chunk is not stored. A crc32c follows where the array declares one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import DamagedDataError

if TYPE_CHECKING:
    from lamella.store.array_meta import ArrayMeta
    from lamella.types import Shape

NO_CHUNK = (1 << 64) - 1
"""Offset and length of a chunk that is not stored."""

_ENTRY = np.dtype("<u8")


@dataclass(frozen=True)
class IndexForm:
    """Layout of the shard indexes of one array.

    Attributes
    ----------
    chunks
        Inner chunks per axis of a shard.
    checksum
        Whether a crc32c follows.
    at_end
        Whether the index is at the end of the file, rather than the start.
    """

    chunks: Shape
    checksum: bool = True
    at_end: bool = True

    @property
    def size(self) -> int:
        """Bytes of the index."""
        return 16 * prod(self.chunks) + 4 * self.checksum

    @classmethod
    def of(cls, meta: ArrayMeta) -> IndexForm | None:
        """Return the layout of an array's indexes; None without shards, or for unsupported index codecs."""
        if meta.shards is None:
            return None
        chunks = tuple(s // c for s, c in zip(meta.shards, meta.chunks, strict=True))
        outer = [codec for codec in meta.document.get("codecs", []) if isinstance(codec, dict)]
        if len(outer) != 1 or outer[0].get("name") != "sharding_indexed":
            return None  # another codec encodes the shard, so offsets are not those of the file
        configuration: dict[str, Any] = outer[0].get("configuration", {})
        names = [
            codec if isinstance(codec, str) else codec.get("name")
            for codec in configuration.get("index_codecs", [])
        ]
        if names not in (["bytes"], ["bytes", "crc32c"]):
            return None
        first = configuration["index_codecs"][0]
        endian = (
            first.get("configuration", {}).get("endian", "little") if isinstance(first, dict) else "little"
        )
        if endian != "little":
            return None
        return cls(chunks, len(names) == 2, configuration.get("index_location", "end") == "end")


def decode_index(data: bytes, form: IndexForm, where: str) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Decode an index to offsets and lengths, shape (inner chunks, 2); `DamagedDataError` where it is damaged."""
    if len(data) != form.size:
        raise DamagedDataError(
            f"{where} is cut off: {len(data)} bytes where the index of a shard has {form.size}"
        )
    body = data[: 16 * prod(form.chunks)]
    if form.checksum and int.from_bytes(data[len(body) :], "little") != crc32c(body):
        raise DamagedDataError(f"{where} is damaged: the checksum of its index is not that of the index")
    return np.frombuffer(body, _ENTRY).reshape(-1, 2).astype(np.uint64, copy=False)


def encode_index(entries: np.ndarray[Any, Any], form: IndexForm) -> bytes:
    """Encode offsets and lengths, shape (inner chunks, 2).

    >>> form = IndexForm((2,))
    >>> entries = np.array([[0, 7], [NO_CHUNK, NO_CHUNK]], "u8")
    >>> np.array_equal(decode_index(encode_index(entries, form), form, "c/0"), entries)
    True
    """
    body = np.ascontiguousarray(entries, _ENTRY).tobytes()
    return body + crc32c(body).to_bytes(4, "little") if form.checksum else body


def crc32c(data: bytes | memoryview) -> int:
    """Return the crc32c (Castagnoli) of some bytes.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    import google_crc32c

    return int(google_crc32c.value(bytes(data)))
