"""Methods that create and rename the wells and positions of a plate.

:mod:`plate_creation` and :mod:`lamella.ops.plates.members` do the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from lamella.arguments import check_flags, checked_name
from lamella.nodes.array_request import request_of
from lamella.nodes.node import NGFFNode
from lamella.nodes.store_handle import errors_naming

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.plate import Plate
    from lamella.nodes.plate_creation import PositionSpec
    from lamella.nodes.position import Position
    from lamella.nodes.well import Well
    from lamella.spec.images import TransformationMeta
    from lamella.store.metadata.array_meta import CompressorChoice
    from lamella.types import ArrayOptions


class WellEdits(NGFFNode):
    """Methods of a plate that create and rename its wells and positions."""

    def create_well(
        self, row_name: str, col_name: str, row_index: int | None = None, col_index: int | None = None
    ) -> Well:
        """Create a well without positions.

        Parameters
        ----------
        row_name, col_name
            Names of row and column, alphanumeric (PL-03).
        row_index, col_index
            Indices in the plate; in order of creation by default.

        Raises
        ------
        NodeExistsError, InvalidNameError
            If the well exists or a name is not alphanumeric (ValueErrors).

        Examples
        --------
        >>> well = plate.create_well("C", "5")
        >>> well.path, len(well), [path for path, _ in plate.wells()]
        ('C/5', 0, ['A/1', 'B/2', 'C/5'])
        """
        from lamella.nodes.plate_creation import create_well

        self.require_writable(f"create the well {row_name}/{col_name}")
        return create_well(
            cast("Plate", self), checked_name(row_name), checked_name(col_name), row_index, col_index
        )

    def create_positions(
        self,
        positions: Sequence[PositionSpec],
        *,
        arrays: Mapping[str, ArrayOptions] | None = None,
        exist_ok: bool = False,
    ) -> list[Position]:
        """Create many positions at once, with their arrays, writing each changed document once.

        Parameters
        ----------
        positions
            Tuples or lists of 3 to 6 items: row name, column name, position name, row index, column index (None for the
            order of creation) and acquisition id (0 by default).
        arrays
            Arrays of zeros for each position: mapping of name to the options of :meth:`Position.create_zeros`. Takes
            less than half the time of creating them one by one.
        exist_ok
            Return existing positions unchanged, apart from missing `arrays`, which are created: for jobs that run
            again.

        Returns
        -------
        list of Position
            The positions, in the order of `positions`.

        Raises
        ------
        NodeExistsError, InvalidNameError, InvalidArgumentError
            If a position exists or repeats, a name is not alphanumeric, an array does not fit, or an existing array has
            another shape or dtype (ValueErrors). Nothing is written then.

        Examples
        --------
        >>> created = plate.create_positions([("A", "3", "0"), ("C", "5", "0", 2, 4), ("C", "5", "1", 2, 4, 0)])
        >>> [position.path for position in created], [column.name for column in plate.metadata.columns]
        (['A/3/0', 'C/5/0', 'C/5/1'], ['1', '2', '3', '4', '5'])
        >>> image = {"shape": (1, 2, 4, 8, 8), "dtype": "uint16"}
        >>> [position.data.shape for position in plate.create_positions([("D", "1", "0")], arrays={"0": image})]
        [(1, 2, 4, 8, 8)]
        """
        from lamella.nodes.plate_creation import create_positions

        self.require_writable("create positions")
        check_flags(exist_ok=exist_ok)
        return create_positions(cast("Plate", self), positions, arrays, exist_ok=exist_ok)

    def create_zeros(
        self,
        name: str,
        shape: Sequence[int],
        dtype: DTypeLike,
        chunks: Sequence[int] | Literal["auto"] | None = None,
        shards_ratio: Sequence[int] | None = None,
        transform: Sequence[TransformationMeta] | None = None,
        check_shape: bool = True,
        *,
        compressor: CompressorChoice = None,
        checksum: bool | None = None,
    ) -> dict[str, ImageArray]:
        """Create an array of zeros in each position; return them by position path. Only metadata is written.

        The same call resumes one that was killed. For new positions, ``arrays`` of :meth:`create_positions` is faster.
        Parameters and errors are those of :meth:`Position.create_zeros`.

        Examples
        --------
        >>> masks = plate.create_zeros("mask", (1, 2, 4, 8, 8), "uint8")
        >>> list(masks), masks["B/2/0"].dtype
        (['A/1/0', 'A/1/1', 'B/2/0'], dtype('uint8'))
        """
        from lamella.nodes.plate_arrays import create_zeros

        self.require_writable(f"create the array {name!r}")
        with errors_naming(self.node_path):
            request = request_of(
                shape,
                dtype,
                chunks,
                shards_ratio,
                transform,
                check_shape,
                compressor=compressor,
                checksum=checksum,
            )
        return create_zeros(cast("Plate", self), name, request)

    def create_position(
        self,
        row_name: str,
        col_name: str,
        pos_name: str,
        row_index: int | None = None,
        col_index: int | None = None,
        acq_index: int = 0,
        *,
        exist_ok: bool = False,
    ) -> Position:
        """Create one position, and its well if missing.

        Parameters
        ----------
        row_name, col_name, pos_name, row_index, col_index, acq_index
            An item of the list for :meth:`create_positions`, as are the errors.
        exist_ok
            Return an existing position unchanged instead of raising: for jobs that run again.

        Examples
        --------
        >>> position = plate.create_position("B", "2", "1")
        >>> position.path, position.channel_names
        ('B/2/1', ['DAPI', 'GFP'])
        """
        spec = (row_name, col_name, pos_name, row_index, col_index, acq_index)
        return self.create_positions([spec], exist_ok=exist_ok)[0]

    def rename_well(self, old: str, new: str) -> None:
        """Rename a well, by its present and new path: within its row, to another row, or to a new one.

        Only that well moves. Rows and columns without wells are removed.

        Raises
        ------
        NodeNotFoundError, NodeExistsError
            If there is no well ``old`` (a FileNotFoundError), or a well ``new`` (a FileExistsError).
        InvalidNameError
            If a path is not an alphanumeric row and column (a ValueError).

        Examples
        --------
        >>> plate.rename_well("A/1", "B/3")
        >>> [path for path, position in plate.positions()]
        ['B/2/0', 'B/3/0', 'B/3/1']
        >>> [row.name for row in plate.metadata.rows], [column.name for column in plate.metadata.columns]
        (['B'], ['2', '3'])
        """
        from lamella.ops.plates.members import rename_well

        rename_well(cast("Plate", self), checked_name(old), checked_name(new))

    def rename_position(self, old: str, new: str) -> None:
        """Rename a position within its well. The name of its image does not change; see :meth:`Position.set_name`.

        After a kill the position has its old name or its new one, and the same call finishes.

        Parameters
        ----------
        old
            Path of the position, such as "A/1/0".
        new
            New name, or path in the same well, such as "7" or "A/1/7".

        Raises
        ------
        NodeNotFoundError, NodeExistsError
            If there is no position ``old`` (a FileNotFoundError), or something named ``new`` (a FileExistsError).
        InvalidNameError
            If ``old`` is not "row/column/position", or ``new`` is in another well or not alphanumeric (a ValueError).

        Examples
        --------
        >>> plate.rename_position("A/1/0", "7")
        >>> [path for path, position in plate.positions()]
        ['A/1/7', 'A/1/1', 'B/2/0']
        """
        from lamella.ops.plates.members import position_to_rename, rename_position

        well, name, new_name = position_to_rename(cast("Plate", self), checked_name(old), checked_name(new))
        rename_position(well, name, new_name)

    def reindex(self) -> None:
        """Rebuild the metadata of the plate and its wells from the stored images, in natural order.

        Many jobs may each write the images of their own wells; one call at the end makes them a plate. Names,
        acquisitions, empty rows and columns, and unknown keys are kept. Nothing is written if there are no images, or
        damaged ones, or images of several versions (ValueErrors).

        Examples
        --------
        >>> import lamella, numpy as np, tempfile
        >>> path = tempfile.mkdtemp() + "/plate.zarr"
        >>> plate = lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"])
        >>> for field in ("A/10/0", "A/2/0"):  # each may be a job of its own
        ...     job = lamella.open_ome_zarr(f"{path}/{field}", layout="fov", mode="w", channel_names=["DAPI"])
        >>> plate.reindex()
        >>> [path for path, position in plate.positions()]
        ['A/2/0', 'A/10/0']
        """
        from lamella.ops.repair.reindex import reindex

        reindex(cast("Plate", self))
