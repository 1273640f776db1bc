"""Edits of the channels of a position.

Layer: nodes. The edits of the metadata themselves are pure functions in :mod:`lamella.spec.edits`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.nodes.node import NGFFNode
from lamella.spec import edits
from lamella.spec.axes import channel_axis

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from lamella.nodes.live import LiveDocument
    from lamella.spec.images import ImagesMeta
    from lamella.spec.omero import WindowDict


class ChannelEdits(NGFFNode):
    """What a position can do with its channels."""

    _live: LiveDocument[ImagesMeta]

    def append_channel(self, chan_name: str, resize_arrays: bool = True) -> None:
        """Append a channel to the end of the channel list.

        Parameters
        ----------
        chan_name
            Name of the new channel.
        resize_arrays
            Make every level of the image one channel longer; the new voxels hold the fill value.

        Raises
        ------
        InvalidArgumentError
            If the channel exists or the image has no channel axis (a ValueError).
        """
        self._require_writable(f"append the channel {chan_name!r}")
        axis = channel_axis(self.axes)
        if axis is None:
            raise InvalidArgumentError(f"{self._place} has no channel axis to append {chan_name!r} to.")
        if chan_name in self.channel_names:
            raise InvalidArgumentError(f"{self._place} has a channel {chan_name!r} already.")
        levels = [self[path] for path in self.dataset_paths]  # type: ignore[attr-defined]
        window = dtype_window(levels[0].dtype) if levels else None
        if resize_arrays:
            for level in levels:
                level.resize(tuple(n + (i == axis) for i, n in enumerate(level.shape)))
        self._live.edit(lambda meta: edits.append_channel(meta, chan_name, window))

    def rename_channel(self, old: str, new: str) -> None:
        """Rename a channel.

        Parameters
        ----------
        old
            Present name.
        new
            New name.

        Raises
        ------
        InvalidArgumentError
            If there is no channel ``old``, or one named ``new`` (a ValueError).
        """
        self._require_writable(f"rename the channel {old!r}")
        self._live.edit(lambda meta: edits.rename_channel(meta, old, new))

    def update_channel(self, chan_name: str, target: str, data: ArrayLike) -> None:
        """Write one channel of an array.

        Parameters
        ----------
        chan_name
            Name of the channel.
        target
            Name of the array.
        data
            Voxels of the array's shape without the channel axis.

        Raises
        ------
        InvalidArgumentError
            If the channel is unknown or the shape does not fit (a ValueError).
        """
        self._require_writable(f"update the channel {chan_name!r}")
        array = self[target]
        axis = channel_axis(self.axes)
        if axis is None:
            raise InvalidArgumentError(f"{self._place} has no channel axis.")
        index = self.get_channel_index(chan_name)
        block = np.asarray(data)
        expected = tuple(n for i, n in enumerate(array.shape) if i != axis)
        if block.shape != expected:
            raise InvalidArgumentError(
                f"The channel {chan_name!r} of {array!r} takes data of shape {expected}; got {block.shape}."
            )
        if index >= array.shape[axis]:
            raise InvalidArgumentError(
                f"{array!r} has only {array.shape[axis]} channels, but {chan_name!r} is number {index}. "
                "Resize the array first."
            )
        array[(slice(None),) * axis + (index,)] = block

    def set_contrast_limits(self, channel_name: str, window: WindowDict) -> None:
        """Set the contrast limits of a channel.

        Parameters
        ----------
        channel_name
            Name of the channel.
        window
            Numbers ``min`` and ``max`` (the range of a slider), ``start`` and ``end`` (what is shown as black and as
            full intensity), in intensity units (OM-03).
        """
        self._require_writable(f"set the contrast limits of {channel_name!r}")
        self._live.edit(lambda meta: edits.set_contrast_limits(meta, channel_name, window))


def dtype_window(dtype: np.dtype[Any]) -> WindowDict:
    """Return the contrast limits that show the whole range of a dtype; 0 to 1 for floats and booleans.

    >>> import numpy as np
    >>> dtype_window(np.dtype("uint16"))
    {'start': 0.0, 'end': 65535.0, 'min': 0.0, 'max': 65535.0}
    """
    low, high = 0.0, 1.0
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        low, high = float(info.min), float(info.max)
    return {"start": low, "end": high, "min": low, "max": high}
