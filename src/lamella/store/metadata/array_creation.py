"""Describe new arrays as `ArrayMeta`, with chunks and shards by default or as requested. Nothing is written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.store.metadata import format_v2, format_v3
from lamella.store.metadata.array_meta import (
    DTYPES,
    ArrayMeta,
    Compressor,
    FillValue,
    ZarrFormat,
    nearest_choice,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from lamella.store.metadata.array_meta import CompressorChoice
    from lamella.types import JSONObject, Shape

GridChoice: TypeAlias = "Literal['auto', 'none'] | Sequence[int] | None"
"""Requested chunks or shards: automatic, none, or lengths of the last axes."""

#: Limit of the uncompressed bytes of automatic chunks: that of blosc is 2 GiB, but memory ends sooner.
LARGEST_CHUNK = 512 << 20
#: Uncompressed bytes of an automatic inner chunk, which one random crop has to decode.
_CHUNK_BYTES = 1 << 20
#: Limit of the uncompressed bytes of an automatic shard of a new array, which one writer keeps in memory.
_LARGEST_SHARD = 256 << 20
#: Limit of the uncompressed bytes of a shard of a converted or rechunked array: some dozen chunks, quick to rewrite.
SHARD_BYTES = 16 << 20


def check_grid_choices(chunks: GridChoice, shards: GridChoice) -> None:
    """Raise InvalidArgumentError for text that is not a word of `GridChoice`; chunks cannot be "none"."""
    for argument, choice, words in (("chunks", chunks, ("auto",)), ("shards", shards, ("auto", "none"))):
        if isinstance(choice, str) and choice not in words:
            raise InvalidArgumentError(f"{argument}={choice!r} is neither {' nor '.join(words)} nor lengths.")


def default_chunks(shape: Shape, itemsize: int) -> Shape:
    """Return default chunks: all of the last three axes, and 1 along the axes before.

    Above 512 MiB the first of the three axes is split into equal parts, then the second: (1, 1, 400, 2048, 2048) of 2
    bytes has chunks (1, 1, 58, 2048, 2048). An axis of length 0 gets chunks of 1.
    """
    chunks = [1] * max(0, len(shape) - 3) + [max(1, length) for length in shape[-3:]]
    for axis in range(max(0, len(shape) - 3), len(shape)):
        row_bytes = math.prod(chunks) // chunks[axis] * itemsize
        if row_bytes * chunks[axis] > LARGEST_CHUNK:
            chunks[axis] = _equal_part_length(chunks[axis], max(1, LARGEST_CHUNK // row_bytes))
    return tuple(chunks)


def auto_layout(shape: Shape, itemsize: int, sharded: bool) -> tuple[Shape, Shape | None]:
    """Return inner chunks near 1 MiB and shards up to 256 MiB; no shards where a shard would be one chunk.

    Both have length 1 before the last three axes, so that times and channels can be written in parallel: an array of
    (4, 2, 32, 1024, 1024) with 2 bytes per voxel has chunks (1, 1, 8, 256, 256) and shards (1, 1, 32, 1024, 1024). Axes
    are split into equal parts, so that the last chunk of an axis is hardly smaller than the others.
    """
    leading, last_lengths = (tuple(1 for _ in shape[:-3]), tuple(max(1, length) for length in shape[-3:]))
    chunks = _chunks_near_1_mib(last_lengths, itemsize)
    shards = _largest_shards(last_lengths, chunks, itemsize)
    if not sharded or shards == chunks:
        return leading + chunks, None
    return leading + chunks, leading + shards


def chunks_and_shards(
    shape: Shape, itemsize: int, lead: int, *, chunks: str | Sequence[int], shards: str | Sequence[int]
) -> tuple[Shape, Shape | None]:
    """Return the chunks and shards of an array that is converted or rechunked.

    ``lead`` axes come before those of space; automatic chunks have length 1 along them. ``chunks`` are "auto" or
    lengths of the last axes, with 1 before, limited to the shape unless shards are requested. ``shards`` are "auto",
    "none" or lengths of the last axes, with those of the chunks before; automatic chunks divide them.
    """
    requested_shards = () if isinstance(shards, str) else tuple(shards)
    if isinstance(chunks, str):
        chunk_lengths = fit_chunks(
            (*(1,) * lead, *auto_layout(shape[lead:], itemsize, False)[0]), requested_shards
        )
    else:
        chunk_lengths = (1,) * (len(shape) - len(chunks)) + tuple(chunks)
        if not requested_shards:
            # With shards, the chunks have to divide the shards.
            chunk_lengths = tuple(
                min(chunk, max(1, length)) for chunk, length in zip(chunk_lengths, shape, strict=True)
            )
    if not requested_shards:
        return chunk_lengths, None if shards == "none" else _shards_of_chunks(
            chunk_lengths, shape, itemsize, lead
        )
    shard_lengths = chunk_lengths[: len(shape) - len(requested_shards)] + requested_shards
    if any(shard % chunk for shard, chunk in zip(shard_lengths, chunk_lengths, strict=True)):
        raise InvalidArgumentError(
            f"The shards {shard_lengths} are not whole multiples of the chunks {chunk_lengths}."
        )
    return chunk_lengths, shard_lengths


def fit_chunks(chunks: Shape, shards: Sequence[int]) -> Shape:
    """Shrink chunks until they divide the lengths of shards of the last axes: 256 becomes 150 in a shard of 300."""
    first = len(chunks) - len(shards)
    return (*chunks[:first], *map(_divisor, shards, chunks[first:]))


def _divisor(length: int, limit: int) -> int:
    return max(divisor for divisor in range(1, min(length, limit) + 1) if length % divisor == 0)


def _shards_of_chunks(chunks: Shape, shape: Shape, itemsize: int, lead: int) -> Shape | None:
    """Return shards of up to `SHARD_BYTES`, as long as possible along x, then along y; None if each has one chunk."""
    counts = [1] * len(chunks)
    chunks_left = SHARD_BYTES // (math.prod(chunks) * itemsize)
    for axis in range(len(chunks) - 1, lead - 1, -1):
        chunk_count = math.ceil(shape[axis] / chunks[axis])
        shard_count = math.ceil(chunk_count / max(1, chunks_left))
        counts[axis] = math.ceil(chunk_count / max(1, shard_count))
        chunks_left //= max(1, counts[axis])
    grown = tuple(chunk * max(1, count) for chunk, count in zip(chunks, counts, strict=True))
    return None if grown == chunks else grown


def _chunks_near_1_mib(lengths: Shape, itemsize: int) -> Shape:
    """Split the last three axes into chunks near 1 MiB: tiles of 256 first, then depth, then wider tiles."""
    goal = max(1, _CHUNK_BYTES // itemsize)
    plane = [min(length, 256) for length in lengths[-2:]]
    limits = [min(length, max(1, goal // math.prod(plane))) for length in lengths[:-2]]
    chunks = [
        _equal_part_length(length, limit) for length, limit in zip(lengths[:-2], limits, strict=True)
    ] + plane
    for axis in (len(chunks) - 1, len(chunks) - 2) * 16:
        if axis >= 0 and chunks[axis] < lengths[axis] and math.prod(chunks) * 2 <= goal:
            chunks[axis] = min(lengths[axis], chunks[axis] * 2)
    return tuple(_equal_part_length(length, limit) for length, limit in zip(lengths, chunks, strict=True))


def _largest_shards(lengths: Shape, chunks: Shape, itemsize: int) -> Shape:
    """Return shards of up to 256 MiB: as many chunks as possible along the last axis, then along the one before."""
    counts = [1] * len(lengths)
    size = math.prod(chunks) * itemsize
    for axis in reversed(range(len(lengths))):
        chunk_count = math.ceil(lengths[axis] / chunks[axis])
        counts[axis] = _equal_part_length(chunk_count, max(1, _LARGEST_SHARD // size))
        size *= counts[axis]
    return tuple(chunk * count for chunk, count in zip(chunks, counts, strict=True))


def _equal_part_length(length: int, limit: int) -> int:
    """Return the part length when `length` is split into the fewest equal parts of at most `limit`.

    The length is even where that needs no more parts, so that the next level of a pyramid halves it exactly.
    """
    if length <= limit:
        return length
    part_length = math.ceil(length / math.ceil(length / limit))
    return part_length + 1 if part_length % 2 and part_length + 1 <= limit else part_length


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

    By default chunks are those of `default_chunks`, and are compressed by blosc with zstd 1 and bitshuffle (False or
    ``"none"`` for none). ``shards`` (Zarr v3) are whole multiples of the chunks, and may be longer than the shape.
    ``checksum`` (Zarr v3) adds a crc32c to each chunk; by default where there are shards, because all programs that
    read shards support it (docs/checksums.md).
    """
    lengths = _parse_lengths("shape", shape, minimum=0)
    numpy_dtype = _parse_dtype(dtype)
    chunk_lengths = (
        default_chunks(lengths, numpy_dtype.itemsize)
        if chunks is None
        else _parse_lengths("chunks", chunks, minimum=1)
    )
    shard_lengths = None if shards is None else _parse_lengths("shards", shards, minimum=1)
    request = f"shape {lengths}, chunks {chunk_lengths}" + (
        f", shards {shard_lengths}" if shard_lengths else ""
    )
    for subject, grid_lengths in (("chunks", chunk_lengths), ("shards", shard_lengths)):
        if grid_lengths is not None and len(grid_lengths) != len(lengths):
            raise InvalidArgumentError(
                f"The {subject} need one length per axis, but {request} were requested."
            )
    if shard_lengths is not None:
        if zarr_format == 2:
            raise InvalidArgumentError(
                f"OME-NGFF 0.4 (Zarr v2) has no shards, but {request} were requested: use version 0.5."
            )
        if any(shard % chunk for shard, chunk in zip(shard_lengths, chunk_lengths, strict=True)):
            raise InvalidArgumentError(
                f"Shards are whole multiples of the chunks on every axis, but {request} were requested."
            )
    if dimension_names is not None and len(dimension_names) != len(lengths):
        raise InvalidArgumentError(
            f"dimension_names={tuple(dimension_names)} are not one name per axis of the shape {lengths}."
        )
    meta = ArrayMeta(
        lengths,
        numpy_dtype,
        chunk_lengths,
        shard_lengths,
        _fill_value(fill_value, numpy_dtype),
        Compressor.of(compressor),
        tuple(dimension_names) if dimension_names is not None and zarr_format == 3 else None,
        dict(attributes or {}),
        zarr_format,
    )
    if zarr_format == 3:
        return format_v3.with_document(meta, checksum=shards is not None if checksum is None else checksum)
    if checksum:
        raise InvalidArgumentError(
            "checksum=True needs version 0.5 or 0.6: Zarr v2 has no checksum that other programs can read."
        )
    return format_v2.with_document(meta)


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
    """
    lengths = array.shape if shape is None else tuple(shape)
    new_dtype = array.dtype if dtype is None else np.dtype(dtype)
    chunks, shards = array.chunks, array.shards if zarr_format == 3 else None
    if lengths != array.shape:
        chunks = tuple(max(1, min(chunk, length)) for chunk, length in zip(chunks, lengths, strict=True))
    if shards is not None and lengths != array.shape:
        ratios = [shard // chunk for shard, chunk in zip(shards, array.chunks, strict=True)]
        shards = tuple(
            chunk * max(1, min(ratio, -(-length // chunk)))
            for chunk, length, ratio in zip(chunks, lengths, ratios, strict=True)
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


def _parse_lengths(subject: str, values: Sequence[int], *, minimum: int) -> Shape:
    try:
        lengths = tuple(int(length.__index__()) for length in values)
    except (TypeError, AttributeError) as error:
        raise InvalidArgumentError(f"{subject}={values!r} is not a sequence of whole numbers.") from error
    if any(length < minimum or length >= 1 << 62 for length in lengths):
        raise InvalidArgumentError(f"{subject}={lengths} has a length below {minimum} or beyond 2**62.")
    return lengths


def _parse_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        numpy_dtype = np.dtype(dtype).newbyteorder("=")
    except (TypeError, ValueError, SyntaxError) as error:  # the last of lists of types such as ",u2"
        raise InvalidArgumentError(f"dtype={dtype!r} is not a data type of numpy.") from error
    if numpy_dtype.name not in DTYPES:
        raise InvalidArgumentError(
            f"dtype={numpy_dtype.name} cannot be stored: choose one of {', '.join(DTYPES)}."
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
        raise InvalidArgumentError(
            f"fill_value={value!r} is not a value of the data type {dtype.name}."
        ) from error
    if dtype.kind in "biu" and number != value:
        raise InvalidArgumentError(f"fill_value={value!r} is not a value of the data type {dtype.name}.")
    return number  # type: ignore[no-any-return]


def _fill_value_as(value: FillValue, dtype: np.dtype[Any]) -> FillValue | None:
    """Return a fill value for arrays of another dtype; None where the dtype cannot represent it."""
    try:
        return _fill_value(value, dtype)
    except InvalidArgumentError:
        return None
