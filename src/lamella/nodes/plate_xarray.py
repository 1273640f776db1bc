"""A plate as a tree of labelled arrays.

Layer: nodes. The work is done in :mod:`lamella.adapters.xarray_export`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    import xarray as xr

    from lamella.nodes.plate import Plate


class TreeMethods(NGFFNode):
    """What a plate can do with labelled arrays."""

    def to_datatree(self, *, on_error: Literal["raise", "report"] = "raise") -> xr.DataTree:
        """Return the plate as a tree of lazy datasets: row / column / field, each with the variable "image".

        Parameters
        ----------
        on_error
            What to do at a well or position that is listed but missing or damaged: "raise", or "report" to put an
            empty dataset in its place whose ``attrs["error"]`` says what is wrong.

        Returns
        -------
        xarray.DataTree
            Fields may differ in shape, channels and scale; those without an image are empty datasets.

        Raises
        ------
        MetadataError
            At a damaged member, with ``on_error="raise"``.
        InvalidArgumentError
            Another ``on_error`` (a ValueError).

        Examples
        --------
        >>> import lamella, numpy as np, tempfile
        >>> path = tempfile.mkdtemp() + "/plate.zarr"
        >>> plate = lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"])
        >>> for field in ("0", "1"):
        ...     plate.create_position("A", "1", field)["0"] = np.full((1, 1, 1, 8, 8), 2, "uint8")
        >>> tree = plate.to_datatree()
        >>> [node.path for node in tree.leaves], float(tree["A/1/0/image"].mean())
        (['/A/1/0', '/A/1/1'], 2.0)
        """
        from lamella.adapters.xarray_export import to_datatree

        return to_datatree(cast("Plate", self), on_error=on_error)
