"""Describe new arrays as `ArrayMeta`. Nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.store.metadata import format_v2, format_v3
from lamella.store.metadata.array_meta import (
    ArrayMeta,
    FillValue,
    ZarrFormat,
    check_new_array,
    checked_fill_value,
)
from lamella.store.metadata.compressor import nearest_choice

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
    meta = check_new_array(
        shape,
        dtype,
        zarr_format=zarr_format,
        chunks=chunks,
        shards=shards,
        compressor=compressor,
        fill_value=fill_value,
        dimension_names=dimension_names,
        attributes=attributes,
    )
    if zarr_format == 3:
        return format_v3.new_array(meta, checksum=meta.shards is not None if checksum is None else checksum)
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


def _fill_value_as(value: FillValue, dtype: np.dtype[Any]) -> FillValue | None:
    """Return a fill value for arrays of another dtype; None where the dtype cannot represent it."""
    try:
        return checked_fill_value(value, dtype)
    except InvalidArgumentError:
        return None
