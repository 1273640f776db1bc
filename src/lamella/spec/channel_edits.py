"""Edits of the channels of an image: pure functions, model to new model; the one given is never changed.

Users of these import them from ``lamella.spec.edits``, beside the other edits of an image.

Layer: spec.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError
from lamella.spec.channels import channel_meta, new_colors
from lamella.spec.omero import OMEROMeta, RDefsMeta, WindowDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.spec.images import ImagesMeta
    from lamella.spec.omero import ChannelMeta

_WINDOW_KEYS = ("start", "end", "min", "max")


def new_omero(names: Sequence[str], name: str | None) -> OMEROMeta:
    """Make the display block of a new image.

    Examples
    --------
    >>> new_omero(["DAPI"], "image").channels[0].color
    '0000FF'
    """
    return OMEROMeta(
        name=name,
        channels=[
            channel_meta(label, index, color=color)
            for index, (label, color) in enumerate(zip(names, new_colors(names), strict=True))
        ],
        rdefs=RDefsMeta(default_t=0, default_z=0, model="color"),
    )


def channel_names(meta: ImagesMeta) -> list[str]:
    """Get the names of the channels; empty when the image has no display block.

    A channel without a label counts as ``channel_N``, with its place from 0.

    Examples
    --------
    >>> from lamella.models import axes
    >>> from lamella.spec.edits import new_images
    >>> channel_names(new_images(axes("cyx"), ["DAPI"]))
    ['DAPI']
    """
    if meta.omero is None:
        return []
    return [_label(channel, index) for index, channel in enumerate(meta.omero.channels)]


def fitted_names(names: Sequence[str], count: int) -> list[str]:
    """Return as many names as there are channels: those beyond them are left out, a missing one is ``channel_N``.

    Examples
    --------
    >>> fitted_names(["DAPI", "GFP"], 3), fitted_names(["DAPI", "GFP"], 1)
    (['DAPI', 'GFP', 'channel_2'], ['DAPI'])
    """
    return [names[index] if index < len(names) else f"channel_{index}" for index in range(count)]


def _label(channel: ChannelMeta, index: int) -> str:
    return f"channel_{index}" if channel.label is None else channel.label


def name_channels(meta: ImagesMeta, names: Sequence[str]) -> ImagesMeta:
    """Give names to the channels of an image that has no display block.

    Raises
    ------
    InvalidArgumentError
        The channels have names already.

    Examples
    --------
    >>> from lamella.models import ImagesMeta, MultiScaleMeta, axes
    >>> meta = ImagesMeta(multiscales=[MultiScaleMeta(axes=axes("cyx"), datasets=[])])
    >>> channel_names(name_channels(meta, ["DAPI", "GFP"]))
    ['DAPI', 'GFP']
    """
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
    """Add a channel after the last one.

    Parameters
    ----------
    meta : ImagesMeta
    name : str
    window : WindowDict, optional
        Its contrast limits; a valid document needs them once there are pixels (OM-03).

    Raises
    ------
    InvalidArgumentError
        The name is taken or empty, or the image has no display block.

    Examples
    --------
    >>> from lamella.models import axes
    >>> from lamella.spec.edits import new_images
    >>> channel_names(append_channel(new_images(axes("cyx"), ["DAPI"]), "GFP"))
    ['DAPI', 'GFP']
    """
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


def rename_channel(meta: ImagesMeta, old: str, new: str) -> ImagesMeta:
    """Rename a channel; its colour and contrast stay.

    Raises
    ------
    InvalidArgumentError
        There is no channel ``old``, ``new`` is taken or empty, or the image has no display block.

    Examples
    --------
    >>> from lamella.models import axes
    >>> from lamella.spec.edits import new_images
    >>> channel_names(rename_channel(new_images(axes("cyx"), ["DAPI"]), "DAPI", "nuclei"))
    ['nuclei']
    """
    edited = meta.copied()
    channel = _find_channel(edited, old)
    if new != old:
        _refuse_taken(edited, new)
    channel.label = new
    return edited


def set_contrast_limits(meta: ImagesMeta, channel: str, window: WindowDict) -> ImagesMeta:
    """Set the contrast limits of a channel; keys that are not given stay.

    Raises
    ------
    InvalidArgumentError
        There is no such channel, or one of start, end, min, max is missing or not a finite number.

    Examples
    --------
    >>> from lamella.models import axes
    >>> from lamella.spec.edits import new_images
    >>> meta = new_images(axes("cyx"), ["DAPI"])
    >>> meta = set_contrast_limits(meta, "DAPI", {"start": 0, "end": 90, "min": 0, "max": 255})
    >>> meta.omero.channels[0].window["end"]
    90
    """
    edited = meta.copied()
    found = _find_channel(edited, channel)
    known: WindowDict = {} if found.window is None else found.window
    found.window = _whole({**known, **window}, channel)
    return edited


def set_windows(meta: ImagesMeta, windows: Mapping[int, WindowDict]) -> ImagesMeta:
    """Replace the contrast limits of channels, by their place from 0; places without a channel are passed over.

    Raises
    ------
    InvalidArgumentError
        One of start, end, min, max is missing or not a finite number, or the image has no display block.

    Examples
    --------
    >>> from lamella.models import axes
    >>> from lamella.spec.edits import new_images
    >>> meta = new_images(axes("cyx"), ["DAPI", "GFP"])
    >>> meta = set_windows(meta, {1: {"start": 0, "end": 90, "min": 0, "max": 255}})
    >>> meta.omero.channels[0].window, meta.omero.channels[1].window["end"]
    (None, 90)
    """
    edited = meta.copied()
    channels = _named_channels(edited).channels
    for index, window in windows.items():
        if index < len(channels):
            channels[index].window = _whole(window, _label(channels[index], index))
    return edited


def fill_windows(meta: ImagesMeta, window: WindowDict) -> ImagesMeta:
    """Give contrast limits to the channels that have none (OM-03).

    Raises
    ------
    InvalidArgumentError
        One of start, end, min, max is missing or not a finite number.

    Examples
    --------
    >>> from lamella.models import axes
    >>> from lamella.spec.edits import new_images
    >>> meta = fill_windows(new_images(axes("cyx"), ["DAPI"]), {"start": 0, "end": 9, "min": 0, "max": 9})
    >>> meta.omero.channels[0].window["max"]
    9
    """
    edited = meta.copied()
    set_missing_windows(edited, window)
    return edited


def set_missing_windows(meta: ImagesMeta, window: WindowDict) -> None:
    """As `fill_windows`, but in the model itself: for an edit that has made its copy already."""
    for index, channel in enumerate(meta.omero.channels if meta.omero else []):
        if channel.window is None:
            channel.window = _whole(window, _label(channel, index))


def _whole(window: WindowDict, channel: str) -> WindowDict:
    """Copy contrast limits; refuse those that OM-03 does not allow."""
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
        raise InvalidArgumentError(f"Channel {name!r} not in {names}")
    return omero.channels[names.index(name)]


def _refuse_taken(meta: ImagesMeta, name: str) -> None:
    names = channel_names(meta)
    if name in names:
        raise InvalidArgumentError(f"there is a channel {name!r} already: the channels are {names}")
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"a channel name is a text that is not empty, found {name!r}")
