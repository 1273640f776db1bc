"""How ``convert`` cuts its arrays, and in which boxes it fills them.

Here: chunks and shards out of what the user asked, and the plan of units: boxes aligned with the files of the array,
each read and written at once. Pure arithmetic.

Layer: ops.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

from lamella.errors import InvalidArgumentError
from lamella.store.layout import auto_layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.types import Shape

Cut: TypeAlias = "Literal['auto', 'none'] | Sequence[int] | None"
"""What a user may ask for chunks and shards: automatic, none, or lengths of the last axes."""

UNIT_BYTES = 32 << 20
"""Pixels that are gathered together: whole planes where they fit, so that no strip of a file is decoded twice."""

SHARD_BYTES = 16 << 20
"""Largest shard that ``convert`` chooses by itself.

A shard is encoded in memory: writing one of incompressible pixels was measured to take three times its size
(tensorstore 0.1.86: 820 MB above idle for 256 MiB), and the allocator keeps part of that. A conversion of 1.6 GB of
12-bit noise with its pyramid peaks at 460 to 490 MB with shards of 16 MiB, and at 510 to 600 MB with 32 MiB; the limit
is 600 MB.
"""

LARGEST_UNIT_BYTES = 256 << 20
"""Above this a shard that the user asked for is written in stripes, each of which rewrites the shard's file."""

Box: TypeAlias = tuple[slice, ...]
"""Start and stop along each axis."""


def choose_layout(
    axes: str, shape: Shape, itemsize: int, *, chunks: Cut, shards: Cut, sharded: bool
) -> tuple[Shape, Shape | None]:
    """Choose chunks and shards of an image.

    Parameters
    ----------
    axes : str
        Letters of the axes, "tczyx" order.
    shape : tuple of int
        Their lengths.
    itemsize : int
        Bytes per pixel.
    chunks, shards : "auto", "none", sequence of int, or None
        Lengths for the last axes; None is "auto". For the axes before, chunks have length 1 and shards that of the
        chunks. Chunks cannot be "none".
    sharded : bool
        Whether the version has shards.

    Returns
    -------
    tuple
        Chunks, and shards or None.

    Raises
    ------
    InvalidArgumentError
        Lengths that are no whole numbers above 0, too many of them, shards that are no multiple of the chunks, or
        shards for a version without.

    Examples
    --------
    >>> choose_layout("czyx", (2, 64, 2048, 2048), 2, chunks=None, shards=None, sharded=True)
    ((1, 8, 256, 256), (1, 8, 512, 2048))
    >>> choose_layout("czyx", (2, 64, 2048, 2048), 2, chunks=(512, 512), shards="none", sharded=True)
    ((1, 1, 512, 512), None)
    """
    given = () if isinstance(shards, str) or shards is None else _lengths(shards, axes, "shards")
    if given and not sharded:
        raise InvalidArgumentError("shards were asked for, but OME-NGFF 0.4 has none: use version 0.5 or 0.6")
    planar = axes.lstrip("tc")
    lead = (1,) * (len(axes) - len(planar))
    first = len(axes) - len(given)
    if isinstance(chunks, str) or chunks is None:
        if chunks == "none":
            raise InvalidArgumentError('chunks cannot be "none": give lengths, or "auto"')
        inner = (*lead, *auto_layout(shape[len(lead) :], itemsize, False)[0])
        fitted = (_divisor(shard, chunk) for shard, chunk in zip(given, inner[first:], strict=True))
        inner = (*inner[:first], *fitted)
    else:
        asked = _lengths(chunks, axes, "chunks")
        inner = (1,) * (len(axes) - len(asked)) + asked
        if not given:
            # Cut at the edge of the image; not in shards, whose lengths the chunks have to divide.
            inner = tuple(min(length, edge) for length, edge in zip(inner, shape, strict=True))
    if given:
        wanted = inner[:first] + given
        if any(shard % chunk for shard, chunk in zip(wanted, inner, strict=True)):
            raise InvalidArgumentError(f"the shards {wanted} are no whole multiples of the chunks {inner}")
        return inner, wanted
    if shards == "none" or not sharded:
        return inner, None
    return inner, _grow(inner, shape, itemsize, first=len(lead))


def _lengths(cut: Sequence[int], axes: str, what: str) -> Shape:
    """Check the lengths a user gave for the last axes."""
    given = tuple(int(length) for length in cut)
    if not given or len(given) > len(axes) or min(given) < 1:
        raise InvalidArgumentError(
            f"{what} {given} do not fit an image with the axes {axes}: give 1 to {len(axes)} whole numbers above 0"
        )
    return given


def _divisor(length: int, limit: int) -> int:
    """Largest divisor of a length that is at most a limit."""
    return max(part for part in range(1, min(length, limit) + 1) if length % part == 0)


def _grow(chunks: Shape, shape: Shape, itemsize: int, *, first: int) -> Shape | None:
    """Take whole chunks, along x first, until a shard is as large as `SHARD_BYTES`."""
    counts = [1] * len(chunks)
    room = SHARD_BYTES // (math.prod(chunks) * itemsize)
    for axis in range(len(chunks) - 1, first - 1, -1):
        needed = math.ceil(shape[axis] / chunks[axis])
        parts = math.ceil(needed / max(1, room))
        counts[axis] = math.ceil(needed / parts)
        room //= counts[axis]
    grown = tuple(chunk * count for chunk, count in zip(chunks, counts, strict=True))
    return None if grown == chunks else grown


def plan_units(shape: Shape, chunks: Shape, shards: Shape | None, itemsize: int) -> Iterator[Box]:
    """Cut an array into the boxes in which it is filled: whole files, full rows, near 32 MiB.

    Parameters
    ----------
    shape : tuple of int
        Lengths of the axes; the last two are y and x.
    chunks : tuple of int
        Chunks.
    shards : tuple of int or None
        Shards.
    itemsize : int
        Bytes per pixel.

    Yields
    ------
    tuple of slice
        Boxes that do not overlap and cover the array, in the order of the array.

    Examples
    --------
    >>> [box[0] for box in plan_units((5, 1024, 1024), (1, 256, 256), None, 8)]
    [slice(0, 4, None), slice(4, 5, None)]
    """
    grain = shards or chunks
    size = [min(part, edge) for part, edge in zip(grain, shape, strict=True)]
    size[-1] = shape[-1]  # sources give whole rows
    for axis in range(len(shape) - 2, -1, -1):
        times = UNIT_BYTES // (math.prod(size) * itemsize)
        size[axis] = min(shape[axis], size[axis] * max(1, times))
        if size[axis] < shape[axis]:
            break  # more of an outer axis would leave gaps between the rows or planes of one unit
    for axis in (-2, *range(len(shape) - 2)):
        # Stripes of a shard that is too large to hold: whole chunks of it.
        while math.prod(size) * itemsize > LARGEST_UNIT_BYTES and size[axis] > chunks[axis]:
            parts = math.ceil(size[axis] / chunks[axis])
            size[axis] = chunks[axis] * math.ceil(parts / 2)
    steps = [range(0, edge, part) for edge, part in zip(shape, size, strict=True)]
    for start in _corners(steps):
        yield tuple(
            slice(at, min(at + part, edge)) for at, part, edge in zip(start, size, shape, strict=True)
        )


def split_box(box: Box, grain: Shape) -> Iterator[Box]:
    """Cut a box into those parts that lie in different files of the array.

    Parameters
    ----------
    box : tuple of slice
        A box that begins at the edge of a file.
    grain : tuple of int
        Shape of a file: shards, or chunks of an array without.

    Examples
    --------
    >>> list(split_box((slice(4, 7), slice(0, 9)), (2, 16)))
    [(slice(4, 6, None), slice(0, 9, None)), (slice(6, 7, None), slice(0, 9, None))]
    """
    steps = [range(part.start, part.stop, length) for part, length in zip(box, grain, strict=True)]
    for start in _corners(steps):
        yield tuple(
            slice(at, min(at + length, part.stop)) for at, length, part in zip(start, grain, box, strict=True)
        )


def _corners(steps: Sequence[range]) -> Iterator[tuple[int, ...]]:
    if not steps:
        yield ()
        return
    for at in steps[0]:
        for rest in _corners(steps[1:]):
            yield (at, *rest)
