"""Edits of what an image says of itself, each a call of one function of :mod:`lamella.ops.images`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lamella.arguments import channel_name
from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.nodes.position import Position
    from lamella.spec.omero import WindowDict
    from lamella.types import JSON


class PositionEdits(NGFFNode):
    """What can be changed of an image besides its pixels."""

    def set_channel(
        self,
        name: str,
        *,
        color: str | None = None,
        window: WindowDict | tuple[float, float] | None = None,
        active: bool | None = None,
        label: str | None = None,
    ) -> None:
        """Set how a channel is shown; what is not passed stays.

        Parameters
        ----------
        name
            Name of the channel.
        color
            A name of CSS, such as ``"lime"`` (``"green"`` is the dark one), or hex digits such as ``"#0F0"``.
        window
            Contrast limits: ``start`` and ``end`` (shown as black and as full intensity), ``min`` and ``max`` (range of
            a slider); or a pair of start and end.
        active
            Whether viewers show the channel at first.
        label
            New name of the channel.

        Raises
        ------
        InvalidArgumentError
            If there is no such channel, or a value cannot be used (a ValueError). Nothing is written then.

        Examples
        --------
        >>> position.set_channel("GFP", color="orange", window=(100, 400), label="Actin")
        >>> channel = position.metadata.omero.channels[1]
        >>> channel.label, channel.color, channel.window["start"], channel.window["max"]
        ('Actin', 'FFA500', 100, 65535.0)
        """
        from lamella.ops.images.edit import ImageEdits, edit_image

        self.require_writable(f"change the channel {name!r}")
        options = {"color": color, "window": window, "active": active, "label": label}
        edit_image(cast("Position", self), ImageEdits(channels={channel_name(name): options}))

    def delete_channel(self, name: str, *, jobs: int | None = None) -> None:
        """Delete a channel with its pixels: all levels are written again without it.

        Killed half way, the image has all its channels, or one less and maybe fewer levels; the same call completes
        it. Arrays that are not levels, and label images, stay as they are.

        Parameters
        ----------
        name
            Name of the channel.
        jobs
            Number of workers; one per processor by default. Each needs memory for one shard (or chunk).

        Raises
        ------
        InvalidArgumentError
            If there is no such channel, or it is the only one (a ValueError). Nothing is written then.

        Examples
        --------
        >>> position.delete_channel("DAPI")
        >>> position.channel_names, position.data.shape
        (['GFP'], (1, 1, 4, 8, 8))
        """
        from lamella.ops.images.delete_channel import delete_channel

        delete_channel(cast("Position", self), channel_name(name), jobs=jobs)

    def set_unit(self, unit: str | Mapping[str, str | None]) -> None:
        """Set the unit of axes; sizes stay as they are. Label images follow.

        Parameters
        ----------
        unit
            Unit of all axes of space, or a mapping of axis to unit, None for an axis without one. Symbols such as
            ``"um"`` are understood.

        Raises
        ------
        InvalidArgumentError
            If there is no such axis, or the unit is not one of its kind (a ValueError). Nothing is written then.

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

    def set_name(self, name: str) -> None:
        """Set the name of the image, which viewers show. The path of the position stays.

        Parameters
        ----------
        name
            Text that is not empty.

        Raises
        ------
        InvalidArgumentError
            If it is something else (a ValueError).

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
        """Set attributes of your own, beside the metadata, in one write.

        Parameters
        ----------
        attributes
            Name to JSON value; None removes an attribute.

        Raises
        ------
        InvalidArgumentError
            If a name is one of OME-NGFF's or lamella's (a ValueError). Nothing is written then.

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
