"""A plate: rows of wells of positions. :mod:`plate_wells` creates and renames members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from lamella.arguments import items_of, text_of_name
from lamella.errors import (
    InvalidArgumentError,
    InvalidNameError,
    LamellaError,
    NodeNotFoundError,
    WrongTypeError,
    counted,
)
from lamella.nodes.ahead import wells_ahead
from lamella.nodes.metadata_document import read_part
from lamella.nodes.ome_xml import OMEXMLMethods
from lamella.nodes.plate_operations import PlateOperations
from lamella.nodes.plate_wells import WellEdits
from lamella.nodes.position import Position
from lamella.nodes.renaming import ListsMembers
from lamella.nodes.well import Row, Well
from lamella.spec import plate_edits
from lamella.spec.plate import PlateMeta
from lamella.spec.plate_names import is_well_name
from lamella.store.keys import join_names, title_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    import pandas
    import zarr
    from zarr.abc.store import Store

    from lamella.nodes.store_handle import NodePath
    from lamella.ops.execution import Progress
    from lamella.ops.plates.table import OnError, Record
    from lamella.spec.axes import AxisMeta
    from lamella.spec.own_key import Renaming
    from lamella.spec.plate import AcquisitionMeta
    from lamella.types import JSONObject, StrPath

M = TypeVar("M", Well, Position)

_ACQUISITIONS = "The argument acquisitions is a list of AcquisitionMeta"


class Plate(WellEdits, PlateOperations, OMEXMLMethods, ListsMembers[PlateMeta]):
    """A high-content-screening plate.

    Parameters
    ----------
    group, parse_meta, overwriting_creation
        As for `NGFFNode`.
    channel_names, axes
        For positions that are created while the plate has none.
    plate_name
        Name of a new plate; the name of the store by default (PL-10).
    acquisitions
        Acquisitions of a new plate; one with id 0 by default.

    Examples
    --------
    >>> import lamella, numpy as np, tempfile
    >>> path = tempfile.mkdtemp() + "/plate.zarr"
    >>> with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"], version="0.5") as plate:
    ...     for column in ("1", "2"):
    ...         position = plate.create_position("A", column, "0")
    ...         position["0"] = np.zeros((1, 1, 1, 32, 32), "uint8")
    >>> with lamella.open_ome_zarr(path) as plate:
    ...     [name for name, position in plate.positions()]
    ['A/1/0', 'A/2/0']
    """

    _kinds = ("plate",)

    def __init__(
        self,
        group: zarr.Group | NodePath,
        parse_meta: bool = True,
        channel_names: Sequence[str] | None = None,
        axes: Sequence[AxisMeta] | str | None = None,
        plate_name: str | None = None,
        acquisitions: Sequence[AcquisitionMeta] | None = None,
        overwriting_creation: bool = False,
    ) -> None:
        self._new_name = plate_name
        self._new_acquisitions = None if acquisitions is None else items_of(acquisitions, _ACQUISITIONS)
        super().__init__(group, parse_meta, channel_names, axes, overwriting_creation)

    def _load(self, attributes: JSONObject) -> PlateMeta:
        meta = read_part(self.node_path, PlateMeta, attributes)
        if meta is None:
            return self._new_metadata()
        renaming = self._moved_member(attributes)
        return meta if renaming is None else self._relisted(meta, renaming)

    def _names_in(self, meta: PlateMeta) -> list[str]:
        return [well.path for well in meta.wells]

    def _with_new_name(self, meta: PlateMeta, renaming: Renaming) -> PlateMeta:
        return plate_edits.rename_well(meta, *renaming)

    def _files_to_add(self, renaming: Renaming) -> dict[str, bytes]:
        """Return the documents of the row to which a well is being moved, if they do not exist."""
        from lamella.ops.plates.members import new_row

        return {
            key: data
            for path, attributes in new_row(self, renaming.new).items()
            for key, data in self.documents.group_files(path, attributes).items()
        }

    def _update_moved_member(self, renaming: Renaming) -> None:
        """Update the metadata after the move of a well."""
        from lamella.ops.plates.members import update_moved_well

        update_moved_well(self, renaming)

    def _dump(self, meta: PlateMeta, attributes: JSONObject, *, trusted: bool = False) -> JSONObject:
        """Return the attributes to store; they keep the record of a rename as long as the plate lists the well."""
        document = self.store_handle.version_of(attributes).dump(meta, attributes, trusted=trusted)
        return self._with_renaming(document, attributes, [well.path for well in meta.wells])

    def _new_metadata(self) -> PlateMeta:
        name = self._new_name or title_of(self.path) or self.documents.storage.title or "plate"
        return plate_edits.new_plate(name=name, acquisitions=self._new_acquisitions)

    def _first_attributes(self) -> JSONObject:
        return self.store_handle.version.dump(self._new_metadata(), {})

    def dump_meta(self, field_count: bool = False) -> None:
        """Write the metadata model to the group's document, in one atomic write.

        With ``field_count``, count the positions of every well again, for the maximum per well (PL-10) and each
        acquisition's ``maximumfieldcount`` (PL-09): this reads one document per well.

        Examples
        --------
        >>> plate.metadata.name = "screen 7"
        >>> plate.dump_meta(field_count=True)
        >>> plate.zattrs["ome"]["plate"]["name"], plate.zattrs["ome"]["plate"]["field_count"]
        ('screen 7', 2)
        """
        self.require_writable("write the metadata")
        if not field_count:
            self.document.save()
            return
        images = {
            path: [(image.path, image.acquisition) for image in well.document.shared_model.images]
            for path, well in self.wells()
        }
        self.document.edit(lambda meta: plate_edits.set_counts(meta, images))

    # -- members ----------------------------------------------------------------------------------------------

    def _member_names(self) -> list[str]:
        """Return the rows that have wells, in the order of the metadata."""
        used = {well.path.partition("/")[0] for well in self.document.shared_model.wells}
        return [row.name for row in self.document.shared_model.rows if row.name in used]

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: str) -> Position: ...

    def __getitem__(self, key: int | str) -> Row | Well | Position:
        """Return the row "A", the well "A/1", the position "A/1/0", or a node below one.

        "A01" also names the well "A/1", unless a member has that exact name. Raises NodeNotFoundError
        (a KeyError) if it does not exist. Opening a position reads its own document only. To type checkers the
        result for a text is a Position; use `well` and `rows` for other classes.
        """
        name = self._checked_key(key)
        try:
            return self._member(name)
        except NodeNotFoundError:
            path = self._exact_path(name)
            if path == name:
                raise
            return self._member(path)

    def find_well(self, name: str) -> str | None:
        """Return the path of a well by its path "A/1" or its name on the plate, "A1" or "A01"; None if missing.

        An exact name is preferred. A name that fits several wells, such as "A01" for columns "1" and "001", returns
        None.

        Examples
        --------
        >>> plate.find_well("A01"), plate.find_well("B/2"), plate.find_well("H12")
        ('A/1', 'B/2', None)
        """
        if not isinstance(name, str):
            raise InvalidArgumentError(f"The name of a well is a text, such as 'A1', not {name!r}.")
        try:
            return None if name in self._member_names() else plate_edits.find_well(name, self.well_paths())
        except LamellaError:  # reading the plate reports the damage
            return None

    def _exact_path(self, name: str) -> str:
        """Return a path with the exact name of its well, such as "B/3/0" for "B03/0"; unknown names are unchanged."""
        well, slash, below = name.partition("/")
        return f"{self.find_well(well) or well}{slash}{below}" if is_well_name(well) else name

    def _member(self, name: str) -> Row | Well | Position:
        names = name.split("/")
        if len(names) > 3:
            position = self._member("/".join(names[:3]))
            return cast("Position", position["/".join(names[3:])])
        if len(names) == 1 and name not in {row.name for row in self.document.shared_model.rows}:
            return cast("Row", super().__getitem__(name))
        classes: tuple[type[Row | Well | Position], ...] = (Row, Well, Position)
        return self._open(classes[len(names) - 1], name)

    def __contains__(self, key: object) -> bool:
        """Whether a row, well, position or node below one exists; "A01" also names the well "A/1"."""
        if super().__contains__(key):
            return True
        return super().__contains__(self._exact_path((text_of_name(key) or "").strip("/")))

    def _ipython_key_completions_(self) -> list[str]:
        return [*self._member_names(), *self.well_paths()]

    def position(self, path: str) -> Position:
        """Return a position by its path, such as "A/1/0"; as ``plate[path]``, but another node raises.

        Raises
        ------
        NodeNotFoundError, InvalidNameError
            If it does not exist (a KeyError), or the path is one of a row, a well or an array (a ValueError).

        Examples
        --------
        >>> plate.position("A/1/0").data.shape
        (1, 2, 4, 8, 8)
        """
        return self._member_of(path, Position, "a position, such as 'A/1/0'")

    def well(self, path: str) -> Well:
        """Return a well by its path, such as "A/1"; as ``plate[path]``, but always a `Well`, also for type checkers.

        Raises
        ------
        NodeNotFoundError, InvalidNameError
            If it does not exist (a KeyError), or the path is one of a row, a position or an array (a ValueError).

        Examples
        --------
        >>> list(plate.well("A/1"))
        ['0', '1']
        """
        return self._member_of(path, Well, "a well, such as 'A/1'")

    def _member_of(self, path: str, kind: type[M], subject: str) -> M:
        node = self[path]
        if isinstance(node, kind):
            return node
        raise InvalidNameError(
            f"{path!r} in {self.node_path} is not the path of {subject}; there is {node!r}."
        )

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Iterate over the names and rows that have wells.

        Examples
        --------
        >>> [(name, list(row)) for name, row in plate.rows()]
        [('A', ['1']), ('B', ['2'])]
        """
        for name in self._member_names():
            yield name, cast("Row", self[name])

    def wells(self) -> Iterator[tuple[str, Well]]:
        """Iterate over the paths ("A/1") and wells, along rows; MetadataError at a missing or damaged one.

        Examples
        --------
        >>> [(path, list(well)) for path, well in plate.wells()]
        [('A/1', ['0', '1']), ('B/2', ['0'])]
        """
        for path, well in self._wells_ahead():
            if isinstance(well, LamellaError):
                raise well
            yield path, well

    def _wells_ahead(self) -> Iterator[tuple[str, Well | LamellaError]]:
        """Yield each well or its error, with the documents of its fields requested ahead."""
        return wells_ahead(
            self.documents, self.path, self.well_paths(), lambda path: self._open_listed(Well, path)
        )

    @property
    def acquisition_names(self) -> list[str | None]:
        """Names of the acquisitions in the order of the plate; None for one without a name.

        Examples
        --------
        >>> plate.acquisition_names
        ['Acquisition 0']
        """
        return [acquisition.name for acquisition in self.document.shared_model.acquisitions or []]

    def well_paths(self) -> list[str]:
        """Return the paths of the wells, along rows, then columns; no well is opened.

        Examples
        --------
        >>> plate.well_paths()
        ['A/1', 'B/2']
        """
        wells = sorted(self.document.shared_model.wells, key=lambda well: (well.row_index, well.column_index))
        # Each path once, also if listed twice (PL-13).
        return list(dict.fromkeys([well.path for well in wells]))

    def position_paths(self, *, acquisition: int | str | None = None) -> list[str]:
        """Return the paths of the positions, along rows, columns and the fields of each well; no image is opened.

        Parameters
        ----------
        acquisition
            Id or name of one acquisition; all by default.

        Raises
        ------
        NodeNotFoundError, MetadataError
            If there is no such acquisition (a KeyError), or a listed well is missing or damaged (a ValueError).

        Examples
        --------
        >>> plate.position_paths()
        ['A/1/0', 'A/1/1', 'B/2/0']
        """
        acquisition_id = self._acquisition_id(acquisition)
        paths = []
        for well_path, well in self.wells():
            images = well.document.shared_model.images
            paths += [
                join_names(well_path, image.path)
                for image in images
                if _is_of(image.acquisition, acquisition_id)
            ]
        return paths

    def _acquisition_id(self, id_or_name: int | str | None) -> int | None:
        """Return the id of an acquisition by its id or name; None for None."""
        if id_or_name is None:
            return None
        if text_of_name(id_or_name) is None:
            raise WrongTypeError(f"The argument acquisition is an id or a name, not {id_or_name!r}.")
        listed = self.document.shared_model.acquisitions or []
        for acquisition in listed:
            if id_or_name in (acquisition.id, acquisition.name):
                return acquisition.id
        if not listed and id_or_name == 0:  # images without an acquisition count as acquisition 0
            return 0
        names = ", ".join(f"{acquisition.id} ({acquisition.name})" for acquisition in listed)
        raise NodeNotFoundError(
            f"There is no acquisition {id_or_name!r} in {self.node_path}. Its acquisitions are: {names or 'none'}."
        )

    @overload
    def positions(
        self, on_error: Literal["raise"] = "raise", *, acquisition: int | str | None = None
    ) -> Iterator[tuple[str, Position]]: ...
    @overload
    def positions(
        self, on_error: Literal["report"], *, acquisition: int | str | None = None
    ) -> Iterator[tuple[str, Position | LamellaError]]: ...

    def positions(
        self, on_error: Literal["raise", "report"] = "raise", *, acquisition: int | str | None = None
    ) -> Iterator[tuple[str, Position]] | Iterator[tuple[str, Position | LamellaError]]:
        """Iterate over the paths ("A/1/0") and positions, along rows, columns and the fields of each well.

        Parameters
        ----------
        on_error
            For a well or position that is listed but missing or damaged: "raise" the error (a MetadataError), or
            "report" it, which yields the error instead of the position and continues.
        acquisition
            Id or name of one acquisition; all by default. A missing one raises NodeNotFoundError (a KeyError).

        Examples
        --------
        >>> [path for path, position in plate.positions()]
        ['A/1/0', 'A/1/1', 'B/2/0']
        """
        if on_error not in ("raise", "report"):
            raise InvalidArgumentError(f"The argument on_error is 'raise' or 'report', not {on_error!r}.")
        return self._iterate_positions(on_error == "report", self._acquisition_id(acquisition))

    def _iterate_positions(self, report: bool, acquisition_id: int | None) -> Iterator[tuple[str, Position]]:
        for well_path, well in self._wells_ahead():
            if isinstance(well, LamellaError):
                if not report:
                    raise well
                yield well_path, cast("Position", well)
                continue
            for image in well.document.shared_model.images:
                if not _is_of(image.acquisition, acquisition_id):
                    continue
                try:
                    position: Position = well._open_listed(Position, image.path)
                except LamellaError as error:
                    if not report:
                        raise
                    position = cast("Position", error)
                yield join_names(well_path, image.path), position

    @overload
    def table(self, as_frame: Literal[False] = False, *, on_error: OnError = "raise") -> list[Record]: ...
    @overload
    def table(self, as_frame: Literal[True], *, on_error: OnError = "raise") -> pandas.DataFrame: ...

    def table(
        self, as_frame: bool = False, *, on_error: OnError = "raise"
    ) -> list[Record] | pandas.DataFrame:
        """Return one record per position of the plate, from the documents alone.

        Parameters
        ----------
        as_frame
            Return a pandas DataFrame instead of a list of dicts.
        on_error
            For a well or position that is listed but missing or damaged: "raise" the error (a MetadataError), or
            "report" it, which adds a record with the text of the error as ``error``.

        Returns
        -------
        list of dict, or pandas.DataFrame
            With ``path``, ``well``, ``row``, ``column``, ``field``, ``acquisition``, ``shape`` and ``dtype`` of the
            finest level, ``scale`` (voxel size per axis, in the unit of the axis), ``channels`` and the number of
            ``levels``. A position without an image has no shape, dtype and scale, and 0 levels. ``well`` and ``field``
            are as in :attr:`tables`, so that both can be merged.

        Examples
        --------
        >>> record = plate.table()[0]
        >>> record["path"], record["shape"], record["channels"], record["levels"]
        ('A/1/0', (1, 2, 4, 8, 8), ['DAPI', 'GFP'], 1)
        >>> plate.table(as_frame=True).levels.tolist()
        [1, 0, 0]
        """
        from lamella.ops.plates.table import as_dataframe, plate_records

        records = list(plate_records(self, on_error))
        return as_dataframe(records) if as_frame else records

    def _first_position(self) -> Position | None:
        for path in self.well_paths():
            first = self._open_listed(Well, path)._first_position()
            if first is not None:
                return first
        return None

    # -- operations -----------------------------------------------------------------------------------------

    def __delitem__(self, key: int | str) -> None:
        """Delete a row, a well, a position or a node below one, and update the metadata of its parents.

        A well without positions is deleted too, and so are rows and columns without wells. Raises NodeNotFoundError
        (a KeyError) if it does not exist.
        """
        from lamella.ops.plates.members import delete_member

        name = self._exact_path(self._key_to_delete(key))
        folder, _, table = name.partition("/")
        if folder == "tables" and table in self.tables.stored_names():
            self.require_writable(f"delete {name!r}")
            del self.tables[table]  # also updates the list of tables
        else:
            delete_member(self, name)

    @classmethod
    def from_positions(
        cls,
        store_path: StrPath | Store,
        positions: Mapping[str, Position],
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Plate:
        """Create a plate from positions of other stores: all levels, labels and metadata.

        Encoded chunks are copied without decoding if source and plate have the same Zarr format; otherwise they are
        encoded again, with the same chunks. The plate has the version of the first position, and the rows, columns and
        acquisitions of the source plates with their custom attributes; from a single source plate also its name. An
        OME-XML of bioformats2raw is not copied, with a warning; values that images use from it are written into their
        metadata.

        The plate appears when it is complete. The same call resumes one that was interrupted or killed: copied files
        are skipped if neither they nor their originals have changed.

        Parameters
        ----------
        store_path
            Path of the new store, which must not exist.
        positions
            Mapping of destination path ("row/column/field") to position, also of closed stores.
        jobs, executor, progress
            As for :meth:`Position.compute_pyramid`; at least 4 threads where files are copied without decoding.
            Progress counts "positions".
        storage_options
            Credentials and settings of the new store's URL, as for `lamella.open_ome_zarr`.

        Returns
        -------
        Plate
            The new plate, open for reading and writing.

        Raises
        ------
        StoreExistsError
            If there is something at ``store_path`` (a FileExistsError).
        InvalidArgumentError
            If there are no positions, a path is not "row/column/field", or workers cannot read a store (a ValueError).

        Examples
        --------
        >>> picked = Plate.from_positions(tmp / "picked.zarr", {"C/1/0": plate["A/1/0"]})
        >>> [(path, position.data.shape) for path, position in picked.positions()]
        [('C/1/0', (1, 2, 4, 8, 8))]
        """
        from lamella.ops.plates.from_positions import from_positions

        return from_positions(
            store_path,
            positions,
            jobs=jobs,
            executor=executor,
            progress=progress,
            storage_options=storage_options,
        )

    def _summary(self) -> str:
        meta = self.document.shared_model
        rows, columns = counted(len(meta.rows), "row"), counted(len(meta.columns), "column")
        return f", {rows}, {columns}, {counted(len(meta.wells), 'well')}"


def _is_of(acquisition: int | None, acquisition_id: int | None) -> bool:
    """Whether an image is of an acquisition, by id (None for any); an image without an id is of acquisition 0."""
    return acquisition_id is None or (acquisition or 0) == acquisition_id
