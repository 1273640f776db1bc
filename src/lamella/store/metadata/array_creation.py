"""Describe new arrays as `ArrayMeta`. Nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.store.metadata import format_v2, format_v3
from lamella.store.metadata.array_meta import DTYPES, ArrayMeta, FillValue, ZarrFormat
from lamella.store.metadata.compressor import Compressor, nearest_choice
from lamella.store.metadata.layout import default_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from lamella.store.metadata.compressor import CompressorChoice
    from lamella.types import JSONObject, Shape


def new_array(
    shape: Sequence[int],
    dtype: DTypeLike,
    *,
    zarr_format: ZarrFormat,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    compressor: CompressorChoice = None,
    checksum: bool | None = None,
    fill_value: FillValue | None = None,
    dimension_names: Sequence[str | None] | None = None,
    attributes: JSONObject | None = None,
) -> ArrayMeta:
    """Describe a new array, for `Documents.put_array`.

    By default chunks have the last three axes whole and 1 before, up to 512 MiB, and are compressed by blosc with zstd
    1 and bitshuffle (False or ``"none"`` for none). ``shards`` (Zarr v3) are whole multiples of the chunks, also beyond
    the shape. ``checksum`` (Zarr v3) adds a crc32c to each chunk; by default where there are shards, whose readers all
    know it (docs/checksums.md).

    >>> new_array((2, 100, 100), "u2", zarr_format=3, chunks=(1, 50, 50), shards=(1, 100, 100)).files
    (1, 100, 100)
    """
    lengths = _lengths("shape", shape, least=0)
    numpy_dtype = _dtype(dtype)
    inner = (
        default_chunks(lengths, numpy_dtype.itemsize)
        if chunks is None
        else _lengths("chunks", chunks, least=1)
    )
    outer = None if shards is None else _lengths("shards", shards, least=1)
    asked = f"shape {lengths}, chunks {inner}" + (f", shards {outer}" if outer else "")
    for what, edges in (("chunks", inner), ("shards", outer)):
        if edges is not None and len(edges) != len(lengths):
            raise InvalidArgumentError(f"{what} need one length per axis: {asked}")
    if outer is not None:
        if zarr_format == 2:
            raise InvalidArgumentError(
                f"sharding needs version 0.5: version 0.4 (Zarr v2) has no shards; asked for {asked}"
            )
        if any(s % c for s, c in zip(outer, inner, strict=True)):
            raise InvalidArgumentError(f"shards must be whole multiples of the chunks on every axis: {asked}")
    if dimension_names is not None and len(dimension_names) != len(lengths):
        raise InvalidArgumentError(
            f"dimension_names {tuple(dimension_names)} need one name per axis of shape {lengths}"
        )
    meta = ArrayMeta(
        lengths,
        numpy_dtype,
        inner,
        outer,
        _fill_value(fill_value, numpy_dtype),
        Compressor.of(compressor),
        tuple(dimension_names) if dimension_names is not None and zarr_format == 3 else None,
        dict(attributes or {}),
        zarr_format,
    )
    if zarr_format == 3:
        return format_v3.new_array(meta, checksum=outer is not None if checksum is None else checksum)
    if checksum:
        raise InvalidArgumentError(
            "checksum=True needs version 0.5 or 0.6: Zarr v2 has no checksum that other programs can read"
        )
    return format_v2.new_array(meta)


def array_like(
    array: ArrayMeta,
    *,
    zarr_format: ZarrFormat,
    shape: Shape | None = None,
    dtype: DTypeLike | None = None,
    dimension_names: Sequence[str | None] | None = None,
    attributes: JSONObject | None = None,
) -> ArrayMeta:
    """Describe a new array with the chunks, shards, compression, checksum and fill value of another array.

    Settings that the format, shape or dtype does not allow are adapted: chunks and shards shrink with the shape.
    Dimension names and attributes are not copied. New arrays are little-endian and in C order.

    >>> plain = new_array((2, 8, 8), "u1", zarr_format=3, chunks=(1, 4, 4), shards=(2, 8, 8), compressor=False)
    >>> small = array_like(plain, zarr_format=3, shape=(1, 8, 3))
    >>> small.chunks, small.shards, small.compressor
    ((1, 4, 3), (1, 8, 3), None)
    """
    lengths = array.shape if shape is None else tuple(shape)
    new_dtype = array.dtype if dtype is None else np.dtype(dtype)
    chunks, shards = array.chunks, array.shards if zarr_format == 3 else None
    if lengths != array.shape:
        chunks = tuple(max(1, min(c, n)) for c, n in zip(chunks, lengths, strict=True))
    if shards is not None and lengths != array.shape:
        ratios = [s // c for s, c in zip(shards, array.chunks, strict=True)]
        shards = tuple(
            c * max(1, min(ratio, -(-n // c))) for c, n, ratio in zip(chunks, lengths, ratios, strict=True)
        )
    return new_array(
        lengths,
        new_dtype,
        zarr_format=zarr_format,
        chunks=chunks,
        shards=shards,
        compressor=nearest_choice(array.compressor, zarr_format, new_dtype.itemsize),
        checksum=array.checksum and zarr_format == 3,
        fill_value=_fill_value_as(array.fill_value, new_dtype),
        dimension_names=dimension_names,
        attributes=attributes,
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


def _fill_value(value: FillValue | None, dtype: np.dtype[Any]) -> FillValue:
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


def _fill_value_as(value: FillValue, dtype: np.dtype[Any]) -> FillValue | None:
    """Return a fill value for arrays of another dtype; None where the dtype cannot represent it."""
    try:
        return _fill_value(value, dtype)
    except InvalidArgumentError:
        return None
