"""Edits of an image's metadata and channels, done by :mod:`lamella.ops.images`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lamella.arguments import channel_name
from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.nodes.position import Position
    from lamella.spec.images import WindowDict
    from lamella.types import JSON


class PositionEdits(NGFFNode):
    """Methods of a position that edit its image; each raises InvalidArgumentError before anything is written."""

    def set_channel(
        self,
        name: str,
        color: str | None = None,
        *,
        window: WindowDict | tuple[float, float] | None = None,
        active: bool | None = None,
        label: str | None = None,
    ) -> None:
        """Set the display of a channel; other settings stay.

        Parameters
        ----------
        name
            Name of the channel.
        color
            A CSS name, such as ``"lime"`` (``"green"`` is darker), or hexadecimal digits such as ``"#0F0"``.
        window
            ``start`` and ``end`` (shown as black and as full intensity), ``min`` and ``max`` (range of a slider); or a
            pair of start and end.
        active
            Whether viewers show the channel initially.
        label
            New name of the channel.

        Raises
        ------
        InvalidArgumentError
            If the channel does not exist, or a value is invalid (a ValueError). Nothing is written then.

        Examples
        --------
        >>> position.set_channel("GFP", "orange", window=(100, 400), label="Actin")
        >>> channel = position.metadata.omero.channels[1]
        >>> channel.label, channel.color, channel.window["start"], channel.window["max"]
        ('Actin', 'FFA500', 100, 65535.0)
        """
        from lamella.ops.images.edit import ImageEdits, edit_image

        self.require_writable(f"change the channel {name!r}")
        options = {"color": color, "window": window, "active": active, "label": label}
        edit_image(cast("Position", self), ImageEdits(channels={channel_name(name): options}))

    def delete_channel(self, name: str, *, jobs: int | None = None) -> None:
        """Delete a channel with its pixels, by writing all levels again without it.

        After a kill, the image has all its channels, or one less and maybe fewer levels; the same call finishes. Arrays
        that are not levels, and label images, do not change.

        Parameters
        ----------
        name
            Name of the channel.
        jobs
            Number of workers; one per processor by default. Each needs memory for one shard (or chunk).

        Raises
        ------
        InvalidArgumentError
            If the channel does not exist, or no other one (a ValueError). Nothing is written then.

        Examples
        --------
        >>> position.delete_channel("DAPI")
        >>> position.channel_names, position.data.shape
        (['GFP'], (1, 1, 4, 8, 8))
        """
        from lamella.ops.images.delete_channel import delete_channel

        delete_channel(cast("Position", self), channel_name(name), jobs=jobs)

    def set_unit(self, unit: str | Mapping[str, str | None]) -> None:
        """Set the unit of axes without changing sizes, also in label images.

        Parameters
        ----------
        unit
            Unit of all space axes, or a mapping of axis to unit, None for no unit. Symbols such as ``"um"`` are
            accepted.

        Raises
        ------
        InvalidArgumentError
            If the axis does not exist, or the unit does not fit the axis type (a ValueError). Nothing is written then.

        Examples
        --------
        >>> position.set_unit("nm")
        >>> position.set_unit({"t": "min"})
        >>> [axis.unit for axis in position.axes]
        ['minute', None, 'nanometer', 'nanometer', 'nanometer']
        """
        from lamella.ops.images.edit import ImageEdits, edit_image

        self.require_writable("set a unit")
        edit_image(cast("Position", self), ImageEdits(units=unit))

    @property
    def image_name(self) -> str | None:
        """Name of the image in its metadata, None if it has none; :meth:`set_name` changes it.

        Examples
        --------
        >>> position.set_name("colony 7")
        >>> position.image_name, position.name
        ('colony 7', '0')
        """
        scales = cast("Position", self).document.shared_model.multiscales
        return scales[0].name if scales else None

    def set_name(self, name: str) -> None:
        """Set the name of the image, a text that is not empty, which viewers show. The path does not change.

        Examples
        --------
        >>> position.set_name("colony 7")
        >>> position.metadata.multiscales[0].name, position.metadata.omero.name
        ('colony 7', 'colony 7')
        """
        from lamella.ops.images.edit import ImageEdits, edit_image

        self.require_writable("set the name")
        edit_image(cast("Position", self), ImageEdits(name="" if name is None else name))

    def set_attributes(self, attributes: Mapping[str, JSON]) -> None:
        """Set custom attributes of the position in one write: name to JSON value; None removes an attribute.

        Raises
        ------
        InvalidArgumentError
            If a name belongs to OME-NGFF or lamella (a ValueError). Nothing is written then.

        Examples
        --------
        >>> position.set_attributes({"operator": "Ada", "passage": 12})
        >>> position.set_attributes({"passage": None})
        >>> position.zattrs["operator"], "passage" in position.zattrs
        ('Ada', False)
        """
        from lamella.ops.images.edit import edit_attributes

        self.require_writable("set attributes")
        edit_attributes(self, attributes)
