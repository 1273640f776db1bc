"""Edits of all fields of a plate at once, done by :mod:`lamella.ops.images`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lamella.arguments import channel_name
from lamella.log import logged
from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.nodes.plate import Plate
    from lamella.ops.images.edit import ImageEdits
    from lamella.spec.images import WindowDict
    from lamella.types import JSON


class FieldEdits(NGFFNode):
    """Methods that edit all fields of a plate, and return the paths of the fields that they changed.

    All fields are checked before the first is written. Each field changes in one atomic write; the same call finishes
    one that was killed.
    """

    def set_channel(
        self,
        name: str,
        color: str | None = None,
        *,
        window: WindowDict | tuple[float, float] | None = None,
        active: bool | None = None,
        label: str | None = None,
    ) -> list[str]:
        """Set the display of a channel, in all fields that have it; see :meth:`Position.set_channel`.

        Examples
        --------
        >>> plate.set_channel("GFP", color="#FF8000")
        ['A/1/0', 'A/1/1', 'B/2/0']
        >>> plate["B/2/0"].metadata.omero.channels[1].color
        'FF8000'
        """
        from lamella.ops.images.edit import ImageEdits

        options = {"color": color, "window": window, "active": active}
        name = channel_name(name)
        renamed = {} if label is None or label == name else {name: channel_name(label)}
        channels = {renamed.get(name, name): options}
        return self._edit_fields(f"change the channel {name!r}", ImageEdits(renamed, channels))

    def rename_channel(self, old: str, new: str) -> list[str]:
        """Rename the channel ``old`` to ``new`` in all fields that have it.

        Raises
        ------
        InvalidArgumentError
            If no field has a channel ``old``, or one that has it also has ``new`` (a ValueError). Nothing is written
            then.

        Examples
        --------
        >>> plate.rename_channel("GFP", "Actin")
        ['A/1/0', 'A/1/1', 'B/2/0']
        >>> plate.channel_names
        ['DAPI', 'Actin']
        """
        from lamella.ops.images.edit import ImageEdits

        return self._edit_fields(
            f"rename the channel {old!r}", ImageEdits({channel_name(old): channel_name(new)})
        )

    def delete_channel(self, name: str, *, jobs: int | None = None) -> list[str]:
        """Delete a channel with its pixels from all fields that have it; see :meth:`Position.delete_channel`.

        Raises
        ------
        InvalidArgumentError
            If no field has the channel, or a field has no other channel (a ValueError). Nothing is written then.

        Examples
        --------
        >>> plate.delete_channel("DAPI")
        ['A/1/0', 'A/1/1', 'B/2/0']
        >>> plate.channel_names, plate["A/1/0"].data.shape
        (['GFP'], (1, 1, 4, 8, 8))
        """
        from lamella.ops.images.delete_channel import delete_from_fields

        self.require_writable(f"delete the channel {name!r}")
        return delete_from_fields(dict(cast("Plate", self).positions()), channel_name(name), jobs=jobs)

    def set_scale(self, sizes: Mapping[str, float]) -> list[str]:
        """Set the voxel size in all fields with an image, for all levels and label images.

        Parameters
        ----------
        sizes
            Size of a voxel of the finest level by axis, such as ``{"y": 0.65, "x": 0.65}``.

        Raises
        ------
        InvalidArgumentError
            If no image has such an axis, or a size is not a number above 0 (a ValueError). Nothing is written then.

        Examples
        --------
        >>> plate.set_scale({"y": 0.65, "x": 0.65})
        ['A/1/0']
        >>> position.scale
        [1.0, 1.0, 0.5, 0.65, 0.65]
        """
        from lamella.ops.images.edit import ImageEdits

        return self._edit_fields("set a scale", ImageEdits(sizes=sizes))

    def set_unit(self, unit: str | Mapping[str, str | None]) -> list[str]:
        """Set the unit of axes in all fields, without changing sizes; see :meth:`Position.set_unit`.

        Examples
        --------
        >>> plate.set_unit("nanometer")
        ['A/1/0', 'A/1/1', 'B/2/0']
        """
        from lamella.ops.images.edit import ImageEdits

        return self._edit_fields("set a unit", ImageEdits(units=unit))

    def _edit_fields(self, what: str, edits: ImageEdits) -> list[str]:
        from lamella.ops.images.edit import edit_fields

        self.require_writable(what)
        with logged("%s in %s", what[0].upper() + what[1:], self.node_path):
            return edit_fields(dict(cast("Plate", self).positions()), edits)

    def set_name(self, name: str) -> None:
        """Set the name of the plate, a text that is not empty, which viewers show. Its path does not change.

        Examples
        --------
        >>> plate.set_name("screen 7")
        >>> plate.metadata.name
        'screen 7'
        """
        from lamella.spec import plate_edits

        self.require_writable("set the name")
        cast("Plate", self).document.edit(lambda meta: plate_edits.set_name(meta, name))

    def set_attributes(self, attributes: Mapping[str, JSON]) -> None:
        """Set custom attributes of the plate in one write; see :meth:`Position.set_attributes`.

        Examples
        --------
        >>> plate.set_attributes({"operator": "Ada"})
        >>> plate.zattrs["operator"]
        'Ada'
        """
        from lamella.ops.images.edit import edit_attributes

        self.require_writable("set attributes")
        edit_attributes(self, attributes)
