"""Check two times that fall on one timepoint: channels acquired one after the other, or two frames.

A channel at 60.4 s joins the timepoint of 60 s if that has no voxels of the channel yet. A second frame of one channel
at 60.4 s would replace the first, and is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lamella.adapters.dask import block_shape
from lamella.errors import InvalidArgumentError
from lamella.ops.regions import nested

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.adapters.xarray_grid import Placement
    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.regions import Region


def check_joined(
    position: Position,
    array: ImageArray,
    times: Placement,
    time: int,
    channel: int | None,
    channels: Sequence[int] | None,
) -> None:
    """Raise for times that join a timepoint of another time that has voxels of the written channels already.

    ``times`` are those of the write, ``time`` and ``channel`` the indices of the axes. ``channels`` are the written
    ones; None for all.
    """
    for joined in times.joined:
        for number in _numbers(array, channel, channels):
            region = [slice(0, n) for n in array.shape]
            region[time] = slice(joined.index, joined.index + 1)
            if channel is not None:
                region[channel] = slice(number, number + 1)
            if not is_empty(array, tuple(region)):
                name = "" if channel is None else f" of channel {_name(position, number)}"
                raise InvalidArgumentError(
                    f"The coordinate {joined.time:.12g} lies within a twentieth of a step of timepoint {joined.index} "
                    f"of {array.node_path}, which holds the voxels{name} of {joined.known:.12g} already; they would be "
                    f"replaced. The timepoints are {times.grid.step:g} apart. To replace them, write with the "
                    f"coordinate {joined.known:.12g}; to keep both, write to an image whose time scale is smaller."
                )


def is_empty(array: ImageArray, region: Region) -> bool:
    """Return whether a region has only the fill value."""
    fill = np.asarray(array.fill_value, array.dtype)
    stored, is_float = array.stored, array.dtype.kind in "fc"
    return all(
        np.array_equal(block := stored.read(piece), np.broadcast_to(fill, block.shape), equal_nan=is_float)
        for piece in nested(region, [block_shape(array)])
    )


def _numbers(array: ImageArray, channel: int | None, channels: Sequence[int] | None) -> Sequence[int]:
    """Return the written channels that exist already; one number without a channel axis."""
    if channel is None:
        return (0,)
    count = array.shape[channel]
    return range(count) if channels is None else [number for number in channels if number < count]


def _name(position: Position, number: int) -> str:
    names = position.channel_names
    return repr(names[number]) if number < len(names) else str(number)
