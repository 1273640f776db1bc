"""Contrast over a whole plate: the method of `Plate`.

Layer: nodes. The work is in :mod:`lamella.ops.contrast`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from lamella.nodes.plate import Plate
    from lamella.spec.omero import WindowDict


class ContrastMethods(NGFFNode):
    """What a plate does with the contrast of its fields."""

    def compute_contrast(self) -> dict[str, WindowDict]:
        """Choose one window per channel from the pixels of all fields, and write it to every field.

        Fields can be compared by eye only when they are shown alike. What is shown runs from the 0.1th to the 99.9th
        percentile of a sample of all fields that have the channel: about a million pixels, of the coarsest level
        with at least 128 pixels along y or x. Channels are matched by name. Fields without an image are passed over.

        Returns
        -------
        dict of str to WindowDict
            The new limits of each channel by its name.

        Raises
        ------
        InvalidArgumentError
            If no field has pixels and a channel with a name, or pixels have no order (a ValueError).
        MetadataError, DamagedDataError
            If a listed field cannot be read; nothing is written then.

        Examples
        --------
        >>> array = plate["B/2/0"].create_image("0", np.full((1, 2, 4, 8, 8), 900, "uint16"))
        >>> plate.compute_contrast()["GFP"]
        {'start': 257.0, 'end': 900.0, 'min': 0.0, 'max': 65535.0}
        >>> plate["A/1/0"].metadata.omero.channels[1].window["end"]
        900.0
        """
        from lamella.ops.contrast import compute_contrast

        self._require_writable("compute contrast limits")
        return compute_contrast([position for _, position in cast("Plate", self).positions()])
