"""Choose chunks and shards of converted arrays, and the blocks in which sources are read. Pure arithmetic."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lamella.arguments import whole_numbers
from lamella.errors import InvalidArgumentError
from lamella.store.metadata.array_creation import chunks_and_shards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.store.metadata.array_creation import GridChoice
    from lamella.types import Shape

BLOCK_BYTES = 8 << 20
"""Usual size of the pixels that a worker reads at once, see `choose_block`."""

MAX_GROWN_BYTES = 64 << 20
"""Maximum size of a block that is made larger so that each strip and each group of channels is decoded once."""


def choose_layout(
    axes: str, shape: Shape, itemsize: int, *, chunks: GridChoice, shards: GridChoice, sharded: bool
) -> tuple[Shape, Shape | None]:
    """Choose chunks and shards (or None) of an image.

    ``chunks`` and ``shards`` were checked by `check_grid_choices`. If they have fewer lengths than the image has axes,
    the lengths are those of the last axes; along the others, chunks have length 1, and shards the length of the chunks.
    Raise InvalidArgumentError for lengths that do not fit, and for shards in a version without them.

    >>> choose_layout("czyx", (2, 64, 2048, 2048), 2, chunks=None, shards=None, sharded=True)
    ((1, 8, 256, 256), (1, 8, 512, 2048))
    >>> choose_layout("czyx", (2, 64, 2048, 2048), 2, chunks=(512, 512), shards="none", sharded=True)
    ((1, 1, 512, 512), None)
    """
    shard_lengths = (
        () if isinstance(shards, str) or shards is None else _checked_lengths(shards, axes, "shards")
    )
    if shard_lengths and not sharded:
        raise InvalidArgumentError(
            f"OME-NGFF 0.4 has no shards, so shards={shards!r} cannot be stored: use version 0.5 or 0.6."
        )
    axes_before_space = len(axes) - len(axes.lstrip("tc"))
    chunk_lengths = (
        "auto" if isinstance(chunks, str) or chunks is None else _checked_lengths(chunks, axes, "chunks")
    )
    shard_choice = "none" if shards == "none" or not sharded else shard_lengths or "auto"
    return chunks_and_shards(shape, itemsize, axes_before_space, chunks=chunk_lengths, shards=shard_choice)


def _checked_lengths(lengths: Sequence[int], axes: str, subject: str) -> Shape:
    lengths = whole_numbers(lengths, f"The argument {subject}", 1)
    if not lengths or len(lengths) > len(axes):
        raise InvalidArgumentError(
            f"{subject}={lengths} does not fit an image with the axes {axes}: use 1 to {len(axes)} whole numbers "
            "above 0."
        )
    return lengths


def choose_block(
    shape: Shape, unit: Shape, itemsize: int, *, band_rows: int, channels_together: int, axes: str
) -> Shape:
    """Choose the blocks in which a source is read: whole rows, whole units of the array, each strip decoded once.

    The array is written in units: chunks, or whole shards. Blocks have about 8 MiB. They have up to 64 MiB if a smaller
    block would decode a strip (``band_rows``) or a group of channels (``channels_together``) several times, and more if
    a row of units is larger.

    >>> choose_block((64, 2048, 2048), (8, 256, 256), 2, band_rows=64, channels_together=1, axes="zyx")
    (8, 256, 2048)
    >>> choose_block((64, 2048, 2048), (8, 256, 256), 2, band_rows=2048, channels_together=1, axes="zyx")
    (8, 2048, 2048)
    >>> choose_block((3, 4096, 512), (1, 512, 512), 1, band_rows=1, channels_together=3, axes="cyx")
    (3, 4096, 512)
    """
    block = [min(unit_length, length) for unit_length, length in zip(unit, shape, strict=True)]
    block[-1] = shape[-1]

    def grow(axis: int, length: int, max_bytes: int) -> None:
        length = min(length, shape[axis])
        if math.prod(block) // block[axis] * length * itemsize <= max_bytes:
            block[axis] = length

    if "c" in axes:
        grow(axes.index("c"), math.lcm(block[axes.index("c")], channels_together), MAX_GROWN_BYTES)
    if block[-2] % band_rows:
        max_ratio = max(1, MAX_GROWN_BYTES // (math.prod(block) * itemsize))
        grow(-2, block[-2] * min(max_ratio, math.lcm(block[-2], band_rows) // block[-2]), MAX_GROWN_BYTES)
    for name in "zy":
        axis = axes.find(name)
        while axis >= 0 and block[axis] < shape[axis]:
            before = block[axis]
            grow(axis, 2 * before, BLOCK_BYTES)
            if block[axis] == before:
                break
    return tuple(block)
