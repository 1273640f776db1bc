"""Tiled images: arrays whose chunks are the tiles of a grid.

OME-NGFF has no tiled layout: such a store is an ordinary image, opened with ``layout="tiled"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.arguments import is_whole_number, whole_numbers
from lamella.errors import InvalidArgumentError, OutOfBoundsError, WrongTypeError
from lamella.nodes.image_array import ImageArray
from lamella.nodes.position import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike

    from lamella.spec.images import TransformationMeta
    from lamella.types import Shape


class TiledImageArray(ImageArray):
    """An array of tiles along its last two axes, rows and columns.

    Examples
    --------
    >>> import lamella
    >>> position = lamella.open_ome_zarr(tmp / "tiles.zarr", layout="tiled", mode="w", channel_names=["DAPI"])
    >>> tiles = position.make_tiles("0", grid_shape=(2, 3), tile_shape=(1, 1, 1, 16, 16), dtype="uint16")
    >>> tiles.write_tile(np.full((1, 1, 1, 16, 16), 7, "uint16"), row=1, column=2)
    >>> tiles.tiles, int(tiles.get_tile(1, 2).max()), int(tiles.get_tile(0, 0).max())
    ((2, 3), 7, 0)
    """

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return -(-self.shape[-2] // self.chunks[-2])

    @property
    def columns(self) -> int:
        """Number of columns of tiles."""
        return -(-self.shape[-1] // self.chunks[-1])

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of rows and columns of tiles."""
        return self.rows, self.columns

    @property
    def tile_shape(self) -> Shape:
        """Shape of a tile: a chunk."""
        return self.chunks

    def get_tile(self, row: int, column: int, pre_dims: Sequence[int | slice | None] | None = None) -> Any:
        """Read one tile.

        Parameters
        ----------
        row, column
            Indices of the tile in the grid.
        pre_dims
            One selection for each axis before the last two: an integer selects an index and drops the axis, None
            selects all. By default all of all axes.

        Raises
        ------
        TypeError, OutOfBoundsError
            If row or column is not an integer, or ``pre_dims`` not a sequence; if the tile is not in the grid, or
            ``pre_dims`` has the wrong length (an IndexError).

        Examples
        --------
        >>> import lamella
        >>> mosaic = lamella.open_ome_zarr(tmp / "tiles.zarr", layout="tiled", mode="w", channel_names=["DAPI"])
        >>> tiles = mosaic.make_tiles("0", grid_shape=(2, 3), tile_shape=(2, 1, 4, 16, 16), dtype="uint16")
        >>> tiles.get_tile(1, 2).shape, tiles.get_tile(1, 2, pre_dims=(0, 0, slice(1, 3))).shape
        ((2, 1, 4, 16, 16), (2, 16, 16))
        """
        return self[self.get_tile_slice(row, column, pre_dims)]

    def write_tile(
        self, data: ArrayLike, row: int, column: int, pre_dims: Sequence[int | slice | None] | None = None
    ) -> None:
        """Write one tile; arguments and errors are those of :meth:`get_tile`, ``data`` is broadcast to the selection.

        Examples
        --------
        >>> import lamella
        >>> mosaic = lamella.open_ome_zarr(tmp / "tiles.zarr", layout="tiled", mode="w", channel_names=["DAPI"])
        >>> tiles = mosaic.make_tiles("0", grid_shape=(2, 2), tile_shape=(4, 4), dtype="uint8")
        >>> tiles.write_tile(np.full((4, 4), 7), row=0, column=1)
        >>> tiles[0, 0, 0, 0]
        array([0, 0, 0, 0, 7, 7, 7, 7], dtype=uint8)
        """
        self[self.get_tile_slice(row, column, pre_dims)] = data

    def get_tile_slice(
        self, row: int, column: int, pre_dims: Sequence[int | slice | None] | None = None
    ) -> tuple[int | slice, ...]:
        """Return the numpy-style index of one tile; arguments and errors are those of :meth:`get_tile`.

        Examples
        --------
        >>> import lamella
        >>> mosaic = lamella.open_ome_zarr(tmp / "tiles.zarr", layout="tiled", mode="w", channel_names=["DAPI"])
        >>> tiles = mosaic.make_tiles("0", grid_shape=(2, 3), tile_shape=(4, 4), dtype="uint8")
        >>> tiles.get_tile_slice(1, 2, pre_dims=(0, 0, 0))
        (0, 0, 0, slice(4, 8, None), slice(8, 12, None))
        """
        self._check_tile(row, column)
        selections: list[int | slice] = [slice(None)] * (self.ndim - 2)
        if pre_dims is not None:
            if isinstance(pre_dims, str | bytes) or not hasattr(pre_dims, "__len__"):
                raise WrongTypeError(
                    f"The argument pre_dims is a sequence of indices or slices, not {pre_dims!r}."
                )
            if len(pre_dims) != len(selections):
                raise OutOfBoundsError(
                    f"The argument pre_dims has {len(pre_dims)} items, but {self!r} has {len(selections)} axes before "
                    "rows and columns."
                )
            selections = [slice(None) if selection is None else selection for selection in pre_dims]
        height, width = self.chunks[-2:]
        return (
            *selections,
            slice(row * height, min((row + 1) * height, self.shape[-2])),
            slice(column * width, min((column + 1) * width, self.shape[-1])),
        )

    def _check_tile(self, row: int, column: int) -> None:
        for name, index, count in (("row", row, self.rows), ("column", column, self.columns)):
            if isinstance(index, bool) or not hasattr(index, "__index__"):
                raise WrongTypeError(f"The {name} of a tile is an integer, not {index!r}.")
            if not 0 <= index < count:
                raise OutOfBoundsError(
                    f"There is no {name} {index} in the {self.rows} x {self.columns} tiles of {self!r}."
                )


class TiledPosition(Position):
    """A position whose arrays are grids of tiles. Everything else is as for :class:`Position`.

    Examples
    --------
    >>> import lamella
    >>> position = lamella.open_ome_zarr(tmp / "tiles.zarr", layout="tiled", mode="w", channel_names=["DAPI"])
    >>> position.make_tiles("0", grid_shape=(2, 3), tile_shape=(16, 16), dtype="uint16").shape
    (1, 1, 1, 32, 48)
    """

    _array_class = TiledImageArray

    def make_tiles(
        self,
        name: str,
        grid_shape: tuple[int, int],
        tile_shape: Sequence[int],
        dtype: DTypeLike,
        transform: Sequence[TransformationMeta] | None = None,
        chunk_dims: int = 2,
    ) -> TiledImageArray:
        """Create an array of zeros for a grid of tiles.

        Parameters
        ----------
        name, dtype, transform
            As for :meth:`create_zeros`, as are the errors.
        grid_shape
            Rows and columns of tiles.
        tile_shape
            Shape of a tile, up to one number per axis; missing leading axes have length 1.
        chunk_dims
            Number of axes along which a chunk is as long as the tile, counted from the last one, without axes of length
            1. Along the others a chunk has length 1.

        Examples
        --------
        >>> import lamella
        >>> mosaic = lamella.open_ome_zarr(tmp / "tiles.zarr", layout="tiled", mode="w", channel_names=["DAPI"])
        >>> tiles = mosaic.make_tiles("0", grid_shape=(2, 3), tile_shape=(4, 16, 16), dtype="uint16", chunk_dims=3)
        >>> tiles.shape, tiles.chunks, tiles.tiles
        ((1, 1, 4, 32, 48), (1, 1, 4, 16, 16), (2, 3))
        """
        axes = len(self.axes)
        grid = whole_numbers(grid_shape, "The argument grid_shape", 1)
        lengths = whole_numbers(tile_shape, "The argument tile_shape", 1)
        if len(grid) != 2:
            raise InvalidArgumentError(
                f"The argument grid_shape is (rows, columns), both at least 1, not {tuple(grid_shape)}."
            )
        if not 2 <= len(lengths) <= axes:
            raise InvalidArgumentError(
                f"The argument tile_shape has 2 to {axes} lengths of at least 1 for the axes of {self.node_path}, not "
                f"{tuple(tile_shape)}."
            )
        if not is_whole_number(chunk_dims, 2):
            raise InvalidArgumentError(
                f"The argument chunk_dims is at least 2, for Y and X, not {chunk_dims!r}."
            )
        tile = (1,) * (axes - len(lengths)) + lengths
        shape = (*tile[:-2], tile[-2] * grid[0], tile[-1] * grid[1])
        array = self.create_zeros(
            name, shape, dtype, chunks=_tile_chunks(tile, chunk_dims), transform=transform
        )
        return TiledImageArray(array.node_path, self.axes)


def _tile_chunks(tile: Shape, chunk_dims: int) -> Shape:
    """Return the chunk of a tile: as long as the tile along Y, X and ``chunk_dims - 2`` more axes longer than 1.

    >>> _tile_chunks((2, 1, 4, 16, 16), 3)
    (1, 1, 4, 16, 16)
    """
    chunks, spanned = list(tile), 2
    for axis in range(len(tile) - 3, -1, -1):
        if tile[axis] == 1:
            continue
        if spanned < chunk_dims:
            spanned += 1
        else:
            chunks[axis] = 1
    return tuple(chunks)
