"""Models of the transitional ``omero`` block: channel names, colours, contrast (rules OM-01 to OM-04).

``lamella.spec.channels`` chooses the colour of a channel.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from lamella.spec.base import MetaModel


@with_config(ConfigDict(extra="allow"))
class WindowDict(TypedDict, total=False):
    """Contrast of a channel: the displayed range (start to end) of the possible range (min to max), in pixel values.

    Examples
    --------
    >>> WindowDict(start=100, end=4000, min=0, max=65535)["end"]
    4000
    """

    start: int | float
    end: int | float
    min: int | float
    max: int | float


class ChannelMeta(MetaModel):
    """The display settings of one channel.

    Attributes
    ----------
    color : str or None
        Six hex digits RGB without ``#`` (OM-02); other values of a file are kept.
    label : str or None
        Name of the channel.
    window : WindowDict or None
        Contrast limits.

    Examples
    --------
    >>> ChannelMeta(label="DAPI", color="0000FF").to_json()
    {'color': '0000FF', 'label': 'DAPI'}
    """

    active: bool | None = None
    coefficient: float | None = None
    color: str | None = None
    family: str | None = None
    inverted: bool | None = None
    label: str | None = None
    window: WindowDict | None = None


class RDefsMeta(MetaModel):
    """The plane that a viewer shows first, and whether in colour.

    Examples
    --------
    >>> RDefsMeta(default_t=0, default_z=5, model="color").to_json()
    {'defaultT': 0, 'defaultZ': 5, 'model': 'color'}
    """

    default_t: int | None = Field(default=None, alias="defaultT")
    default_z: int | None = Field(default=None, alias="defaultZ")
    model: str | None = None
    projection: str | None = None


class OMEROMeta(MetaModel):
    """The ``omero`` block of an image.

    Examples
    --------
    >>> OMEROMeta(channels=[ChannelMeta(label="GFP")]).channels[0].label
    'GFP'
    """

    id: int | str | None = None
    name: str | None = None
    version: str | None = None
    channels: list[ChannelMeta] = Field(default_factory=list)
    rdefs: RDefsMeta | None = None
