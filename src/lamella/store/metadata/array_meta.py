"""Describe an array's document as one value, equal for both Zarr formats.

A *file* is a shard, or a chunk where there are no shards. A *file index* counts files per axis: an array of shape
(5, 4) in files of (2, 2) has a grid of (3, 2) files, and file index (2, 1) covers rows 4:5 and columns 2:4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lamella.store.metadata.compressor import Compressor

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from lamella.types import JSONObject, Shape

ZarrFormat: TypeAlias = Literal[2, 3]
"""The format of a store's documents."""

FillValue: TypeAlias = bool | int | float | complex
"""Value of chunks that were never written."""

#: The dtypes that OME-Zarr arrays may have, in either format.
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


@dataclass(frozen=True)
class ArrayMeta:
    """Shape, dtype, chunking and compression of one array."""

    shape: Shape
    dtype: np.dtype[Any]
    """In the machine's byte order, whatever the stored byte order."""
    chunks: Shape
    """Lengths of a compressed chunk (the inner chunks where there are shards)."""
    shards: Shape | None = None
    """Lengths of a file where chunks are packed into shards."""
    fill_value: FillValue = 0
    compressor: Compressor | None = field(default_factory=Compressor)
    """None: chunks are stored uncompressed."""
    dimension_names: tuple[str | None, ...] | None = None
    attributes: JSONObject = field(default_factory=dict)
    zarr_format: ZarrFormat = 3
    separator: str = "/"
    """Stands between the numbers of a chunk key."""
    codecs: tuple[str, ...] = ()
    """Names of all codecs, filters and compressors in order, known or not."""
    document: JSONObject = field(default_factory=dict, repr=False)
    """The document as stored, without the attributes."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def checksum(self) -> bool:
        """Whether each chunk ends in a crc32c checksum."""
        return "crc32c" in self.codecs

    @property
    def nbytes(self) -> int:
        """Uncompressed size of all values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def files(self) -> Shape:
        """Lengths per axis of one file: the shards, or else the chunks."""
        return self.shards or self.chunks

    @property
    def chunks_per_file(self) -> Shape:
        """Number of chunks per axis of one file."""
        return tuple(f // c for f, c in zip(self.files, self.chunks, strict=True))

    @property
    def grid(self) -> Shape:
        """Number of files per axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.files, strict=True))

    def file_region(self, index: Sequence[int]) -> tuple[slice, ...]:
        """Region of the array that one file covers.

        >>> ArrayMeta((5, 4), np.dtype("u1"), (2, 2)).file_region((2, 1))
        (slice(4, 5, 1), slice(2, 4, 1))
        """
        return tuple(
            slice(k * f, min((k + 1) * f, n), 1)
            for k, f, n in zip(index, self.files, self.shape, strict=True)
        )

    def chunks_in(self, index: Sequence[int]) -> int:
        """Count the chunks of one file that lie in the array.

        >>> ArrayMeta((5, 4), np.dtype("u1"), (2, 2), (4, 4)).chunks_in((1, 0))
        2
        """
        return math.prod(
            -(-min(f, n - k * f) // c)
            for k, n, f, c in zip(index, self.shape, self.files, self.chunks, strict=True)
        )

    def chunk_key(self, index: Sequence[int]) -> str:
        """Key of one file below the array's path.

        >>> ArrayMeta((4, 4), np.dtype("u1"), (2, 2)).chunk_key((1, 0))
        'c/1/0'
        """
        numbers = [str(i) for i in index]
        if self.zarr_format == 3:
            encoding = self.document.get("chunk_key_encoding", {})
            if encoding == "default" or not encoding or encoding.get("name", "default") == "default":
                return self.separator.join(["c", *numbers])
        return self.separator.join(numbers) or "0"

    def to_document(self) -> JSONObject:
        """Return the document to store: in Zarr v3 with the attributes, which have their own document in Zarr v2."""
        if self.zarr_format == 2:
            return self.document
        names = None if self.dimension_names is None else list(self.dimension_names)
        document = {**self.document, "attributes": self.attributes}
        return document if names is None else {**document, "dimension_names": names}

    def with_shape(self, shape: Shape) -> ArrayMeta:
        """Return the same array with another shape."""
        return replace(self, shape=shape, document={**self.document, "shape": list(shape)})

    def with_attributes(self, attributes: JSONObject) -> ArrayMeta:
        """Return the same array with other user attributes."""
        return replace(self, attributes=attributes)
