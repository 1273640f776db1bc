"""Regions, levels and points of a position in physical units, each a call of one function of ops or adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    from lamella.nodes.position import Position
    from lamella.spec.transformations import SystemReference

Bounds: TypeAlias = "tuple[float | None, float | None] | None"
"""A half-open region along an axis, in its unit: from the first coordinate on, to before the second one."""


class PositionRegions(NGFFNode):
    """What a position can do with coordinates."""

    def crop(
        self,
        *,
        z: Bounds = None,
        y: Bounds = None,
        x: Bounds = None,
        t: Bounds = None,
        c: str | Sequence[str] | None = None,
        level: str | int | None = None,
        pixel_size: float | Mapping[str, float] | None = None,
    ) -> xr.DataArray:
        """Return the voxels in a region in physical units.

        The voxels are those whose centres are at least the first coordinate and less than the second one, so that
        regions which share a bound share no voxel. The same region can be cut out of every level, and out of label
        images: ``position.labels["cells"].crop(...)``.

        Parameters
        ----------
        z, y, x, t
            Pair of coordinates in the unit of the axis; None in a pair for the end of the image, and None for all.
        c
            Names of channels, or one name; all by default.
        level
            Path of the level; the finest by default.
        pixel_size
            Instead of `level`: cut out of the coarsest level that is fine enough, see :meth:`level_for`.

        Returns
        -------
        xarray.DataArray
            With the axes of the image and the coordinates of the voxels, as :meth:`to_xarray`: no pixel is read before
            ``.values`` or ``.compute()``.

        Raises
        ------
        InvalidArgumentError, NodeNotFoundError
            If an axis or channel does not exist, or the region contains no voxel (a ValueError); if there is no such
            level (a KeyError).

        Examples
        --------
        >>> cells = position.crop(z=(0.5, 1.5), y=(1, 2), c="GFP")
        >>> cells.shape, cells.coords["z"].values.tolist(), float(cells.coords["y"][0])
        ((1, 1, 2, 4, 8), [0.5, 1.0], 1.0)
        """
        from lamella.adapters.xarray_export import crop

        bounds = {"t": t, "z": z, "y": y, "x": x}
        return crop(cast("Position", self), bounds, channels=c, level=level, pixel_size=pixel_size)

    def level_for(self, pixel_size: float | Mapping[str, float]) -> str:
        """Return the path of the coarsest level whose voxels are not larger than a size; the finest if none is.

        The finest too while the lower levels are stale: see :attr:`stale_levels`.

        Parameters
        ----------
        pixel_size
            Size of a voxel along y and x, or by axis, in the unit of the axis; above 0.

        Raises
        ------
        InvalidArgumentError, NodeNotFoundError
            If the axis does not exist or a size is not a number above 0 (a ValueError), or there is no image yet (a
            KeyError).

        Examples
        --------
        >>> position.compute_pyramid(levels=3)
        >>> position.level_for(0.6), position.level_for({"z": 4}), position.level_for(0.1)
        ('1', '2', '0')
        """
        from lamella.ops.images.points import level_for

        return level_for(cast("Position", self), pixel_size)

    def to_datatree(self) -> xr.DataTree:
        """Return all levels as a tree of lazy datasets, each with the variable "image"; label images below "labels".

        The nodes are the paths of the levels; all have the coordinates of their voxels.

        Examples
        --------
        >>> position.compute_pyramid(levels=2)
        >>> tree = position.to_datatree()
        >>> [node.path for node in tree.leaves], tree["1/image"].shape
        (['/0', '/1'], (1, 2, 2, 4, 4))
        """
        from lamella.adapters.xarray_export import image_datatree

        return image_datatree(cast("Position", self))

    def index_to_world(
        self, points: ArrayLike, level: str | int | None = None, system: str | SystemReference | None = None
    ) -> NDArray[np.float64]:
        """Return the coordinates of voxels.

        Parameters
        ----------
        points
            Indices, one number per axis along the last axis: (..., axes of the image). They may be fractions; whole
            numbers are the centres of voxels.
        level
            Path of the level; the finest by default.
        system
            Name of a coordinate system of the image (0.6). By default the physical coordinates: scale times index plus
            translation, of the level and the whole position.

        Returns
        -------
        ndarray of float64
            Coordinates in the unit of each axis, in the shape of `points`.

        Raises
        ------
        InvalidArgumentError, NodeNotFoundError
            If the points do not fit the axes, or nothing leads to the system (a ValueError); if there is no such level
            (a KeyError).

        Examples
        --------
        >>> position.index_to_world([[0, 0, 1, 4, 8], [0, 1, 0, 0, 0]]).tolist()
        [[0.0, 0.0, 0.5, 1.0, 2.0], [0.0, 1.0, 0.0, 0.0, 0.0]]
        """
        from lamella.ops.images.points import index_to_world

        return index_to_world(cast("Position", self), points, level, system)

    def world_to_index(
        self, points: ArrayLike, level: str | int | None = None, system: str | SystemReference | None = None
    ) -> NDArray[np.float64]:
        """Return the indices of coordinates; the inverse of :meth:`index_to_world`, with the same errors.

        Parameters
        ----------
        points
            Coordinates in the unit of each axis, one number per axis along the last axis.
        level, system
            As for :meth:`index_to_world`.

        Returns
        -------
        ndarray of float64
            Indices, as fractions; ``numpy.rint`` rounds them to the indices of the voxels in which the points lie.

        Examples
        --------
        >>> position.world_to_index([0, 0, 0.5, 1.0, 2.0]).tolist()
        [0.0, 0.0, 1.0, 4.0, 8.0]
        """
        from lamella.ops.images.points import world_to_index

        return world_to_index(cast("Position", self), points, level, system)
