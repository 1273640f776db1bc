"""Edits of the channels of an image: pure functions that return a new model and never change their argument.

Import them from ``lamella.spec.edits``, beside the other edits of an image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from lamella.errors import InvalidArgumentError, did_you_mean
from lamella.spec.channels import channel_meta, new_colors
from lamella.spec.colors import parse_color
from lamella.spec.images import OMEROMeta, RDefsMeta, WindowDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.spec.images import ChannelMeta, ImagesMeta

_WINDOW_KEYS = ("start", "end", "min", "max")


def new_omero(names: Sequence[str], name: str | None) -> OMEROMeta:
    """Return the display block of a new image."""
    return OMEROMeta(
        name=name,
        channels=[
            channel_meta(label, index, color=color)
            for index, (label, color) in enumerate(zip(names, new_colors(names), strict=True))
        ],
        rdefs=RDefsMeta(default_t=0, default_z=0, model="color"),
    )


def channel_names(meta: ImagesMeta) -> list[str]:
    """Return the names of the channels; empty if the image has no display block.

    A channel without a label is called ``channel_N``, with its index from 0.
    """
    if meta.omero is None:
        return []
    return [_label(channel, index) for index, channel in enumerate(meta.omero.channels)]


def fitted_names(names: Sequence[str], count: int) -> list[str]:
    """Return ``count`` channel names: surplus names are dropped, and a missing one is ``channel_N``.

    >>> fitted_names(["DAPI", "GFP"], 3), fitted_names(["DAPI", "GFP"], 1)
    (['DAPI', 'GFP', 'channel_2'], ['DAPI'])
    """
    return [names[index] if index < len(names) else f"channel_{index}" for index in range(count)]


def _label(channel: ChannelMeta, index: int) -> str:
    return f"channel_{index}" if channel.label is None else channel.label


def name_channels(meta: ImagesMeta, names: Sequence[str]) -> ImagesMeta:
    """Name the channels of an image that has no display block."""
    if channel_names(meta):
        raise InvalidArgumentError(
            f"the channels have the names {', '.join(channel_names(meta))} already: rename them instead"
        )
    edited = meta.copied()
    fresh = new_omero(names, edited.multiscales[0].name)
    if edited.omero is None:
        edited.omero = fresh
    else:
        edited.omero.channels = fresh.channels
    return edited


def append_channel(meta: ImagesMeta, name: str, window: WindowDict | None = None) -> ImagesMeta:
    """Add a channel after the last one; its contrast limits are required once there are pixels (OM-03)."""
    edited = meta.copied()
    if edited.omero is None and not any(image.datasets for image in edited.multiscales):
        edited.omero = new_omero([], edited.multiscales[0].name if edited.multiscales else None)
    omero = _named_channels(edited)
    _refuse_taken(edited, name)
    color = new_colors([*channel_names(edited), name])[-1]
    omero.channels.append(
        channel_meta(name, len(omero.channels), None if window is None else _whole(window, name), color)
    )
    return edited


def delete_channel(meta: ImagesMeta, name: str) -> ImagesMeta:
    """Remove a channel from the list; an image keeps at least one."""
    edited = meta.copied()
    channel = _find_channel(edited, name)
    channels = _named_channels(edited).channels
    if len(channels) == 1:
        raise InvalidArgumentError(f"{name!r} is the only channel of the image: an image has at least one")
    del channels[[one is channel for one in channels].index(True)]
    return edited


def rename_channel(meta: ImagesMeta, old: str, new: str) -> ImagesMeta:
    """Rename a channel; its colour and contrast stay."""
    edited = meta.copied()
    channel = _find_channel(edited, old)
    if new != old:
        _refuse_taken(edited, new)
    channel.label = new
    return edited


def set_contrast_limits(meta: ImagesMeta, channel: str, window: WindowDict) -> ImagesMeta:
    """Set the contrast limits of a channel; keys that are not passed stay."""
    unknown = sorted(set(map(str, window)) - set(WindowDict.__annotations__))
    if unknown:
        raise InvalidArgumentError(
            f"the contrast limits of channel {channel!r} are start, end, min and max, not {unknown[0]!r}"
        )
    edited = meta.copied()
    channel_meta = _find_channel(edited, channel)
    limits: WindowDict = {} if channel_meta.window is None else channel_meta.window
    channel_meta.window = _whole({**limits, **window}, channel)
    return edited


def set_channel(
    meta: ImagesMeta,
    name: str,
    *,
    color: str | None = None,
    window: WindowDict | tuple[float, float] | None = None,
    active: bool | None = None,
    label: str | None = None,
) -> ImagesMeta:
    """Set the display of a channel: colour, contrast limits, visibility and, last, its name; None leaves a setting."""
    edited = meta.copied() if window is None else set_contrast_limits(meta, name, _as_window(window, name))
    channel = _find_channel(edited, name)
    if color is not None:
        channel.color = parse_color(color)
    if active is not None:
        if not isinstance(active, bool):
            raise InvalidArgumentError(f"active of channel {name!r} is True or False, not {active!r}")
        channel.active = active
    return edited if label is None else rename_channel(edited, name, label)


def _as_window(window: Any, name: str) -> WindowDict:
    """Return contrast limits that may be passed as a pair of start and end."""
    if isinstance(window, Mapping):
        return cast("WindowDict", dict(window))
    if isinstance(window, tuple | list) and len(window) == 2:
        return WindowDict(start=window[0], end=window[1])
    raise InvalidArgumentError(
        f"the contrast limits of channel {name!r} are a dict of start, end, min and max, or a pair of start and end, "
        f"not {window!r}"
    )


def set_windows(meta: ImagesMeta, windows: Mapping[int, WindowDict]) -> ImagesMeta:
    """Replace the contrast limits of channels by index; indices without a channel are skipped."""
    edited = meta.copied()
    channels = _named_channels(edited).channels
    for index, window in windows.items():
        if index < len(channels):
            channels[index].window = _whole(window, _label(channels[index], index))
    return edited


def fill_windows(meta: ImagesMeta, window: WindowDict) -> ImagesMeta:
    """Set contrast limits of the channels that have none (OM-03)."""
    edited = meta.copied()
    set_missing_windows(edited, window)
    return edited


def set_missing_windows(meta: ImagesMeta, window: WindowDict) -> None:
    """Like `fill_windows`, but change the model in place: for an edit that has already copied it."""
    for index, channel in enumerate(meta.omero.channels if meta.omero else []):
        if channel.window is None:
            channel.window = _whole(window, _label(channel, index))


def _whole(window: WindowDict, channel: str) -> WindowDict:
    """Copy contrast limits; raise if they are incomplete (OM-03)."""
    for key in _WINDOW_KEYS:
        number = window.get(key)
        if isinstance(number, bool) or not hasattr(number, "__float__") or not math.isfinite(float(number)):
            raise InvalidArgumentError(
                f"the contrast limits of channel {channel!r} need finite numbers for start, end, min, max: "
                f"found {dict(window)!r}"
            )
    return WindowDict(**window)


def _named_channels(meta: ImagesMeta) -> OMEROMeta:
    if meta.omero is None:
        raise InvalidArgumentError(
            "the image has no omero block, so its channels have no names and no contrast limits: "
            "name all channels first"
        )
    return meta.omero


def _find_channel(meta: ImagesMeta, name: str) -> ChannelMeta:
    omero = _named_channels(meta)
    names = channel_names(meta)
    if name not in names:
        raise InvalidArgumentError(f"Channel {name!r} not in {names}.{did_you_mean(name, names)}")
    return omero.channels[names.index(name)]


def _refuse_taken(meta: ImagesMeta, name: str) -> None:
    names = channel_names(meta)
    if name in names:
        raise InvalidArgumentError(f"there is a channel {name!r} already: the channels are {names}")
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"a channel name is a text that is not empty, found {name!r}")
