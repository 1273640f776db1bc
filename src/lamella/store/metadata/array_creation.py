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

#: Limit of automatic chunks in raw bytes: blosc's limit is 2 GiB, and memory ends sooner.
LARGEST_CHUNK = 512 << 20
#: Raw bytes of an automatic inner chunk, which one random crop has to decode.
_CHUNK_GOAL = 1 << 20
#: Raw bytes of an automatic shard of a new array, which one writer keeps in memory.
_SHARD_GOAL = 256 << 20
#: Raw bytes of a shard of a converted or rechunked array: some dozen chunks, quick to rewrite.
SHARD_BYTES = 16 << 20


def check_grid_choices(chunks: GridChoice, shards: GridChoice) -> None:
    """Raise InvalidArgumentError for text that is not a word of `GridChoice`; chunks cannot be "none"."""
    for argument, choice, words in (("chunks", chunks, ("auto",)), ("shards", shards, ("auto", "none"))):
        if isinstance(choice, str) and choice not in words:
            raise InvalidArgumentError(f"{argument}={choice!r} is neither {' nor '.join(words)} nor lengths.")


def default_chunks(shape: Shape, itemsize: int) -> Shape:
    """Return default chunks: the last three axes whole, 1 before.

    Above 512 MiB the first of the three axes is split into equal parts, then the second: (1, 1, 400, 2048, 2048) of 2
    bytes has chunks (1, 1, 58, 2048, 2048). An axis of length 0 gets chunks of 1.
    """
    chunks = [1] * max(0, len(shape) - 3) + [max(1, n) for n in shape[-3:]]
    for axis in range(max(0, len(shape) - 3), len(shape)):
        row_bytes = math.prod(chunks) // chunks[axis] * itemsize
        if row_bytes * chunks[axis] > LARGEST_CHUNK:
            chunks[axis] = _equal_parts(chunks[axis], max(1, LARGEST_CHUNK // row_bytes))
    return tuple(chunks)


def auto_layout(shape: Shape, itemsize: int, sharded: bool) -> tuple[Shape, Shape | None]:
    """Return inner chunks near 1 MiB and shards up to 256 MiB; no shards where a shard would be one chunk.

    Both span the last three axes only, so that times and channels can be written in parallel: (4, 2, 32, 1024, 1024) of
    2 bytes has chunks (1, 1, 8, 256, 256) and shards (1, 1, 32, 1024, 1024). Axes are split into equal parts, so that
    the last chunk of an axis is hardly smaller than the others.
    """
    lead, core = tuple(1 for _ in shape[:-3]), tuple(max(1, n) for n in shape[-3:])
    chunks = _chunks_near_1_mib(core, itemsize)
    shards = _shards(core, chunks, itemsize)
    if not sharded or shards == chunks:
        return lead + chunks, None
    return lead + chunks, lead + shards


def chunks_and_shards(
    shape: Shape,
    itemsize: int,
    lead: int,
    *,
    chunks: str | Sequence[int],
    shards: str | Sequence[int],
) -> tuple[Shape, Shape | None]:
    """Return the chunks and shards of an array that is converted or rechunked.

    ``lead`` axes come before those of space; automatic chunks have length 1 along them. ``chunks`` are "auto" or
    lengths of the last axes, with 1 before, limited to the shape unless shards are requested. ``shards`` are "auto",
    "none" or lengths of the last axes, with those of the chunks before; automatic chunks divide them.
    """
    requested_shards = () if isinstance(shards, str) else tuple(shards)
    if isinstance(chunks, str):
        inner = fit_chunks((*(1,) * lead, *auto_layout(shape[lead:], itemsize, False)[0]), requested_shards)
    else:
        inner = (1,) * (len(shape) - len(chunks)) + tuple(chunks)
        if not requested_shards:
            # With shards, the chunks have to divide the shards.
            inner = tuple(min(chunk, max(1, edge)) for chunk, edge in zip(inner, shape, strict=True))
    if not requested_shards:
        return inner, None if shards == "none" else _grown_shards(inner, shape, itemsize, lead)
    outer = inner[: len(shape) - len(requested_shards)] + requested_shards
    if any(shard % chunk for shard, chunk in zip(outer, inner, strict=True)):
        raise InvalidArgumentError(f"The shards {outer} are not whole multiples of the chunks {inner}.")
    return inner, outer


def fit_chunks(chunks: Shape, shards: Sequence[int]) -> Shape:
    """Shrink chunks until they divide the lengths of shards of the last axes: 256 becomes 150 in a shard of 300."""
    first = len(chunks) - len(shards)
    return (*chunks[:first], *map(_divisor, shards, chunks[first:]))


def _divisor(length: int, limit: int) -> int:
    """Return the largest divisor of a length up to a limit."""
    return max(part for part in range(1, min(length, limit) + 1) if length % part == 0)


def _grown_shards(chunks: Shape, shape: Shape, itemsize: int, lead: int) -> Shape | None:
    """Return shards of whole chunks up to `SHARD_BYTES`, longest along x; None where they would equal the chunks."""
    counts = [1] * len(chunks)
    room = SHARD_BYTES // (math.prod(chunks) * itemsize)
    for axis in range(len(chunks) - 1, lead - 1, -1):
        needed = math.ceil(shape[axis] / chunks[axis])
        parts = math.ceil(needed / max(1, room))
        counts[axis] = math.ceil(needed / max(1, parts))
        room //= max(1, counts[axis])
    grown = tuple(chunk * max(1, count) for chunk, count in zip(chunks, counts, strict=True))
    return None if grown == chunks else grown


def _chunks_near_1_mib(core: Shape, itemsize: int) -> Shape:
    """Split the last three axes into chunks near 1 MiB: tiles of 256 first, then depth, then wider tiles."""
    goal = max(1, _CHUNK_GOAL // itemsize)
    plane = [min(n, 256) for n in core[-2:]]
    depth = [min(n, max(1, goal // math.prod(plane))) for n in core[:-2]]
    chunks = [_equal_parts(n, limit) for n, limit in zip(core[:-2], depth, strict=True)] + plane
    for axis in (len(chunks) - 1, len(chunks) - 2) * 16:
        if axis >= 0 and chunks[axis] < core[axis] and math.prod(chunks) * 2 <= goal:
            chunks[axis] = min(core[axis], chunks[axis] * 2)
    return tuple(_equal_parts(n, c) for n, c in zip(core, chunks, strict=True))


def _shards(core: Shape, chunks: Shape, itemsize: int) -> Shape:
    """Return as many whole chunks per axis as 256 MiB allow, the last axis first."""
    counts = [1] * len(core)
    size = math.prod(chunks) * itemsize
    for axis in reversed(range(len(core))):
        whole = math.ceil(core[axis] / chunks[axis])
        counts[axis] = _equal_parts(whole, max(1, _SHARD_GOAL // size))
        size *= counts[axis]
    return tuple(c * n for c, n in zip(chunks, counts, strict=True))


def _equal_parts(length: int, limit: int) -> int:
    """Return the part length when `length` is split into the fewest equal parts of at most `limit`.

    The length is even where that needs no more parts, so that the next level of a pyramid halves it exactly.
    """
    if length <= limit:
        return length
    part = math.ceil(length / math.ceil(length / limit))
    return part + 1 if part % 2 and part + 1 <= limit else part


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
    support it (docs/checksums.md).
    """
    lengths = _lengths("shape", shape, least=0)
    numpy_dtype = _dtype(dtype)
    inner = (
        default_chunks(lengths, numpy_dtype.itemsize)
        if chunks is None
        else _lengths("chunks", chunks, least=1)
    )
    outer = None if shards is None else _lengths("shards", shards, least=1)
    request = f"shape {lengths}, chunks {inner}" + (f", shards {outer}" if outer else "")
    for subject, edges in (("chunks", inner), ("shards", outer)):
        if edges is not None and len(edges) != len(lengths):
            raise InvalidArgumentError(
                f"The {subject} need one length per axis, but {request} were requested."
            )
    if outer is not None:
        if zarr_format == 2:
            raise InvalidArgumentError(
                f"OME-NGFF 0.4 (Zarr v2) has no shards, but {request} were requested: use version 0.5."
            )
        if any(s % c for s, c in zip(outer, inner, strict=True)):
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
            "checksum=True needs version 0.5 or 0.6: Zarr v2 has no checksum that other programs can read."
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


def _lengths(subject: str, values: Sequence[int], *, least: int) -> Shape:
    try:
        lengths = tuple(int(v.__index__()) for v in values)
    except (TypeError, AttributeError) as error:
        raise InvalidArgumentError(f"{subject}={values!r} is not a sequence of whole numbers.") from error
    if any(n < least or n >= 1 << 62 for n in lengths):
        raise InvalidArgumentError(f"{subject}={lengths} has a length below {least} or beyond 2**62.")
    return lengths


def _dtype(dtype: DTypeLike) -> np.dtype[Any]:
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
