"""A position as a labelled array, and labelled arrays into a position.

Layer: nodes. The work is done in :mod:`lamella.adapters.xarray_export` and :mod:`lamella.adapters.xarray_write`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    import xarray as xr

    from lamella.nodes.position import Position


class XarrayMethods(NGFFNode):
    """What a position can do with labelled arrays."""

    def to_xarray(self) -> xr.DataArray:
        """Return the finest level as a labelled array, backed by dask: no pixel is read before it is computed.

        Returns
        -------
        xarray.DataArray
            Dims are the lower-case names of the axes, ``("t", "c", "z", "y", "x")``. Coordinates are the channel
            names, and translation + scale * index on the other axes, each with the unit of its axis in
            ``attrs["units"]``. ``attrs`` are what was written with :meth:`write_xarray`.

        Raises
        ------
        NodeNotFoundError
            If the position has no array (a KeyError).

        Examples
        --------
        >>> cells = position.to_xarray()
        >>> cells.dims, cells.coords["z"].values.tolist(), cells.coords["z"].attrs["units"]
        (('t', 'c', 'z', 'y', 'x'), [0.0, 0.5, 1.0, 1.5], 'micrometer')
        >>> int(cells.sel(c="GFP", z=1.0).max())
        447
        """
        from lamella.adapters.xarray_export import to_xarray

        return to_xarray(cast("Position", self))

    def write_xarray(self, data_array: xr.DataArray, image: str = "0") -> None:
        """Write a labelled array, or some of its channels and timepoints.

        The first write makes the image, with all channels of the position; later ones fill it, in any order. Times
        find their index by coordinate, and the image grows along T; what is stored keeps its coordinates. See
        :func:`lamella.adapters.xarray_write.write_xarray` for the rules.

        Parameters
        ----------
        data_array
            Dims exactly the lower-case names of the axes, ``("t", "c", "z", "y", "x")``. "c" holds names of channels
            of the position, the other coordinates evenly spaced numbers, with their unit in ``attrs["units"]``.
        image
            Name of the array.

        Raises
        ------
        InvalidArgumentError
            If dims, channels, coordinates, units, attrs, shape or dtype do not fit (a ValueError). Nothing is written
            then.

        Examples
        --------
        >>> import xarray as xr
        >>> position = plate["B/2/0"]  # no image yet
        >>> frame = xr.DataArray(np.ones((1, 1, 1, 8, 8), "uint16"), dims=("t", "c", "z", "y", "x"))
        >>> for time, channel in ((0.0, "GFP"), (0.0, "DAPI"), (1.0, "GFP")):
        ...     position.write_xarray(frame.assign_coords(t=[time], c=[channel]))
        >>> position.data.shape, position.data[:, :, 0, 0, 0].tolist()
        ((2, 2, 1, 8, 8), [[1, 1], [0, 1]])
        """
        from lamella.adapters.xarray_write import write_xarray

        write_xarray(cast("Position", self), data_array, image)
