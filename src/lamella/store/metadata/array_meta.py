"""Describe an array's document as one value, equal for both Zarr formats; parse and check requests for new arrays.

A *file* is a shard, or a chunk where there are no shards. A *file index* counts files per axis: an array of shape
(5, 4) in files of (2, 2) has a grid of (3, 2) files, and file index (2, 1) covers rows 4:5 and columns 2:4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.store.metadata.compressor import Compressor, CompressorChoice
from lamella.store.metadata.layout import default_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

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

    def with_shape(self, shape: Shape) -> ArrayMeta:
        """Return the same array with another shape."""
        return replace(self, shape=shape, document={**self.document, "shape": list(shape)})

    def with_attributes(self, attributes: JSONObject) -> ArrayMeta:
        """Return the same array with other user attributes."""
        return replace(self, attributes=attributes)


def check_new_array(
    shape: Sequence[int],
    dtype: DTypeLike,
    *,
    zarr_format: ZarrFormat,
    chunks: Sequence[int] | None,
    shards: Sequence[int] | None,
    compressor: CompressorChoice,
    fill_value: FillValue | None,
    dimension_names: Sequence[str | None] | None,
    attributes: JSONObject | None,
) -> ArrayMeta:
    """Check the settings of a new array and return them as `ArrayMeta` without a document."""
    shape = _lengths("shape", shape, least=0)
    numpy_dtype = _dtype(dtype)
    inner = (
        default_chunks(shape, numpy_dtype.itemsize) if chunks is None else _lengths("chunks", chunks, least=1)
    )
    outer = None if shards is None else _lengths("shards", shards, least=1)
    asked = f"shape {shape}, chunks {inner}" + (f", shards {outer}" if outer else "")
    for what, lengths in (("chunks", inner), ("shards", outer)):
        if lengths is not None and len(lengths) != len(shape):
            raise InvalidArgumentError(f"{what} need one length per axis: {asked}")
    if outer is not None:
        if zarr_format == 2:
            raise InvalidArgumentError(
                f"sharding needs version 0.5: version 0.4 (Zarr v2) has no shards; asked for {asked}"
            )
        if any(s % c for s, c in zip(outer, inner, strict=True)):
            raise InvalidArgumentError(f"shards must be whole multiples of the chunks on every axis: {asked}")
    if dimension_names is not None and len(dimension_names) != len(shape):
        raise InvalidArgumentError(
            f"dimension_names {tuple(dimension_names)} need one name per axis of shape {shape}"
        )
    return ArrayMeta(
        shape,
        numpy_dtype,
        inner,
        outer,
        checked_fill_value(fill_value, numpy_dtype),
        Compressor.of(compressor),
        tuple(dimension_names) if dimension_names is not None and zarr_format == 3 else None,
        dict(attributes or {}),
        zarr_format,
    )


def _lengths(what: str, values: Sequence[int], *, least: int) -> Shape:
    try:
        lengths = tuple(int(v.__index__()) for v in values)
    except (TypeError, AttributeError) as error:
        raise InvalidArgumentError(f"{what}={values!r} is not a sequence of whole numbers") from error
    if any(n < least or n >= 1 << 62 for n in lengths):
        raise InvalidArgumentError(f"{what}={lengths} has a length below {least} or beyond 2**62")
    return lengths


def _dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        numpy_dtype = np.dtype(dtype).newbyteorder("=")
    except (TypeError, ValueError, SyntaxError) as error:  # the last of lists of types such as ",u2"
        raise InvalidArgumentError(f"dtype={dtype!r} is not a dtype of numpy") from error
    if numpy_dtype.name not in DTYPES:
        raise InvalidArgumentError(
            f"dtype {numpy_dtype.name} cannot be stored; choose one of {', '.join(DTYPES)}"
        )
    return numpy_dtype


def checked_fill_value(value: FillValue | None, dtype: np.dtype[Any]) -> FillValue:
    """Return a fill value as a number of a dtype, 0 by default."""
    if value is None:
        return dtype.type(0).item()  # type: ignore[no-any-return]
    try:
        with np.errstate(over="raise"):
            number = np.asarray(value, dtype=dtype).item()
    except (OverflowError, TypeError, ValueError, FloatingPointError) as error:
        raise InvalidArgumentError(f"fill_value={value!r} is no value of dtype {dtype.name}") from error
    if dtype.kind in "biu" and number != value:
        raise InvalidArgumentError(f"fill_value={value!r} is no value of dtype {dtype.name}")
    return number  # type: ignore[no-any-return]
