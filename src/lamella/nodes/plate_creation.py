"""Create wells and positions, many at once, writing each changed document once.

Positions are written first, then the wells that list them, then the plate that lists the wells: after a kill, every
listed node exists. The plate document is merged under its lock, so that concurrent processes lose nothing.

For the positions A/1/0 and A/1/1, ``fields`` is ``{"A/1": [("0", 0), ("1", 0)]}``: the names and acquisition ids of the
new positions by well. ``plans`` is ``{"0": NewPosition, "1": NewPosition}``: the nodes to write by position name, since
positions with one name have equal nodes in all wells.
"""

from __future__ import annotations

import operator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella.arguments import checked_name, items_of
from lamella.errors import (
    InvalidArgumentError,
    InvalidNameError,
    LamellaError,
    NodeExistsError,
    NodeNotFoundError,
)
from lamella.nodes.array_creation import ArrayCreation, create_empty_array
from lamella.nodes.plate_arrays import NewPosition, Nodes, is_as_planned, plan_positions, requests_of
from lamella.nodes.position import Position
from lamella.nodes.reporting import warn_of
from lamella.nodes.store_handle import NodePath, errors_naming
from lamella.nodes.well import Well, path_in_plate, plate_above
from lamella.spec import plate_edits
from lamella.spec.plate import WellGroupMeta
from lamella.spec.plate_names import name_indexes
from lamella.store.files.temporary_files import temporary_name
from lamella.store.keys import join_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from lamella.nodes.plate import Plate
    from lamella.nodes.plate_arrays import Requests
    from lamella.spec.plate import AcquisitionMeta, PlateMeta
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import ArrayOptions, JSONObject

PositionSpec: TypeAlias = (
    "tuple[str, str, str] | tuple[str, str, str, int | None] | tuple[str, str, str, int | None, int | None] | "
    "tuple[str, str, str, int | None, int | None, int] | Sequence[str | int | None]"
)
"""Row name, column name, position name, and optionally row index, column index, acquisition id."""

Plans: TypeAlias = dict[str, NewPosition]
"""The nodes of new positions, by position name; see the module."""

IndicesByWell: TypeAlias = dict[str, list[tuple[Any, Any]]]
"""Row and column index that each new position requests for its well, None for no request, by well path."""

FieldsByWell: TypeAlias = dict[str, list[tuple[str, int]]]
"""Name and acquisition id of the positions to create, by well path; see the module."""


def create_well(plate: Plate, row: str, column: str, row_index: int | None, column_index: int | None) -> Well:
    """Create an empty well; see :meth:`Plate.create_well`."""
    path = join_names(row, column)
    with errors_naming(plate.node_path):
        plate_edits.check_name(row)
        plate_edits.check_name(column)
    while True:
        # Under the lock, one of several processes that create the same well succeeds.
        with plate.documents.lock(plate.path):
            if path not in {well.path for well in plate.document.refresh().wells}:
                if _has_members(plate, path):
                    raise not_listed_error(plate, path)
                return _create_well(plate, row, column, row_index, column_index)
        if not plate._overwriting_creation:
            raise NodeExistsError(f"The plate {plate.node_path} has a well {path!r} already.")
        with suppress(NodeNotFoundError):  # another process deleted it meanwhile
            del plate[path]


def _create_well(
    plate: Plate, row: str, column: str, row_index: int | None, column_index: int | None
) -> Well:
    """Create a well that the plate does not list; the caller has locked the plate."""
    path = join_names(row, column)
    documents, version = plate.documents, plate.store_handle.version
    notes: list[str] = []

    def add_well(meta: PlateMeta) -> PlateMeta:
        new_meta = plate_edits.add_wells(meta, [(row, column, row_index, column_index)], notes)
        notes.extend(_case_notes(plate, meta, new_meta))
        empty = version.with_ome({}, {})
        missing_groups = _missing_groups(plate, [row, path])
        documents.put_new({}, above={plate.node_path.child(group).path: empty for group in missing_groups})
        return new_meta

    plate.document.edit(add_well)
    warn_of(notes)
    return plate._open(Well, path)


def _case_notes(plate: Plate, meta: PlateMeta, new_meta: PlateMeta) -> list[str]:
    """Return notes of new names that differ from others by case only (PL-03); raise if they are one folder here."""
    notes = []
    _check_folder_names(plate, [row.name for row in new_meta.rows], [row.name for row in meta.rows])
    _check_folder_names(plate, [well.path for well in new_meta.wells], [well.path for well in meta.wells])
    for entries_before, entries in ((meta.rows, new_meta.rows), (meta.columns, new_meta.columns)):
        collisions_before = plate_edits.case_collisions(entry.name for entry in entries_before)
        notes += [
            f"The plate {plate.node_path} has {' and '.join(map(repr, collision))}, which differ only by case: on "
            "many file systems they are one folder."
            for collision in plate_edits.case_collisions(entry.name for entry in entries)
            if collision not in collisions_before
        ]
    return notes


def _index_notes(meta: PlateMeta, indices: IndicesByWell) -> list[str]:
    """Return notes of requested row and column indices that differ from those of the plate."""
    rows, columns = name_indexes(meta)
    for well, requested in indices.items():
        row, column = _row_and_column(well)
        for row_index, column_index in requested:
            rows.index_of(row, row_index, well)
            columns.index_of(column, column_index, well)
    return [*rows.notes, *columns.notes]


def _check_field_names(
    plate: Plate, fields: FieldsByWell, fields_after: Mapping[str, list[tuple[str, int | None]]]
) -> None:
    """Raise for new positions whose names differ from others of their well by case only, if these are one folder."""
    for path, well_fields in fields_after.items():
        names = [name for name, _ in well_fields]
        new_names = {name for name, _ in fields[path]}
        _check_folder_names(plate, names, [name for name in names if name not in new_names])


def _check_folder_names(parent: Plate | Well, names: Iterable[str], names_before: Iterable[str]) -> None:
    """Raise for new names that differ from others by case only, if the file system ignores case."""
    if not parent.documents.storage.ignores_case:
        return
    collisions_before = plate_edits.case_collisions(names_before)
    for collision in plate_edits.case_collisions(names):
        if collision not in collisions_before:
            raise InvalidNameError(
                f"{' and '.join(map(repr, collision))} differ only by case, and would be one folder in "
                f"{parent.node_path}: the file system there ignores case. Nothing was created."
            )


def create_positions(
    plate: Plate,
    specs: Sequence[PositionSpec],
    arrays: Mapping[str, ArrayOptions] | None = None,
    *,
    exist_ok: bool = False,
    unlisted: Mapping[str, ArrayMeta] | None = None,
) -> list[Position]:
    """Create many positions; see :meth:`Plate.create_positions`.

    Arrays in ``unlisted`` are created in each position without ``arrays``; its document does not list them yet.
    """
    with errors_naming(plate.node_path):
        indices, fields, paths = _group_by_well(specs)
        requests = requests_of(arrays)
    notes: list[str] = []
    if not paths:
        return []
    # One lock around the whole creation: plate and wells are read and changed without another writer in between.
    with ExitStack() as locks:
        locks.enter_context(plate.documents.lock(plate.path))
        rows = _store_paths(plate, {path.partition("/")[0] for path in fields})
        existing = plate.documents.existing(_store_paths(plate, fields), groups=[plate.path, *rows])
        meta = plate.document.refresh()
        listed = {well.path for well in meta.wells}
        wells = _locked_wells(plate, sorted(listed.intersection(fields)), locks)
        stored_positions = _open_existing(plate, fields, wells) if exist_ok else {}
        for position in stored_positions.values():
            _check_arrays(position, requests)
        if stored_positions:
            fields = _without_existing(fields, stored_positions)
            wells = {path: well for path, well in wells.items() if path in fields}
        new_paths = [path for path in paths if path not in stored_positions]
        node_paths = [NodePath(plate.store_handle, path) for path in _store_paths(plate, new_paths)]
        plans = plan_positions(plate, node_paths, requests, unlisted or {}, notes)
        _refuse_duplicates(plate, fields, wells, plans)
        listed_names = {path: _listed_names(well) for path, well in wells.items()}
        new_wells = [
            (*_row_and_column(path), *_first_indices(indices[path])) for path in fields if path not in listed
        ]
        fields_after = _fields_after(wells, fields)

        def list_wells(meta: PlateMeta) -> PlateMeta:
            # Read again: another program may have listed a well meanwhile.
            listed_now = {well.path for well in meta.wells}
            missing = [spec for spec in new_wells if f"{spec[0]}/{spec[1]}" not in listed_now]
            return plate_edits.raise_counts(plate_edits.add_wells(meta, missing, notes), fields_after)

        _check_field_names(plate, fields, fields_after)
        with errors_naming(plate.node_path):
            new_meta = list_wells(meta)  # raises for invalid indices before anything is written
            notes += _index_notes(new_meta, indices)
        notes += _case_notes(plate, meta, new_meta)
        occupied, replaced = _clear_paths(plate, fields, wells, plans, existing)
        _write(plate, fields, wells, plans, occupied, replaced)
        if fields:
            plate.document.edit(list_wells)
        # Existing wells last: positions that are stored but not listed show the next call that this one was killed.
        for path, well in wells.items():
            _list_images(well, fields[path], replaceable=listed_names[path])
    _create_missing_arrays(stored_positions.values(), requests)
    warn_of(notes)
    created = dict(zip(new_paths, _adopt_new(plate, node_paths, plans), strict=True))
    return [created[path] if path in created else stored_positions[path] for path in paths]


def _open_existing(plate: Plate, fields: FieldsByWell, wells: dict[str, Well]) -> dict[str, Position]:
    """Open the requested positions that exist, by path."""
    paths = [
        f"{path}/{name}"
        for path, well in wells.items()
        for name in {name for name, _ in fields[path]} & _listed_names(well)
    ]
    return {path: plate._open_listed(Position, path) for path in paths}


def _without_existing(fields: FieldsByWell, existing: Collection[str]) -> FieldsByWell:
    """Return the fields without existing ones, and without wells that have no other field."""
    remaining = {
        well: [field for field in well_fields if f"{well}/{field[0]}" not in existing]
        for well, well_fields in fields.items()
    }
    return {well: well_fields for well, well_fields in remaining.items() if well_fields}


def _check_arrays(position: Position, requests: Requests) -> None:
    """Raise for an existing position whose arrays have another shape or dtype than requested."""
    for name, request in requests.items():
        if name not in position.dataset_paths:
            ArrayCreation(position, name, request).refuse()
            continue
        array, settings = position[name], request.settings
        if array.shape != settings.shape or array.dtype != settings.dtype:
            raise NodeExistsError(
                f"{array.node_path} exists with shape {array.shape} and data type {array.dtype}; asked for "
                f"{settings.shape} and {settings.dtype}. Delete it first, or choose another name."
            )


def _create_missing_arrays(positions: Iterable[Position], requests: Requests) -> None:
    for position in positions:
        for name, request in requests.items():
            if name not in position.dataset_paths:
                create_empty_array(position, name, request)


def _adopt_new(parent: Plate | Well, node_paths: Sequence[NodePath], plans: Plans) -> list[Position]:
    """Return the nodes of positions that were just written, without reading them."""
    positions = [
        Position(node_path, False, None, None, parent._overwriting_creation) for node_path in node_paths
    ]
    documents = {
        name: parent.documents.prepared(parent.path, plan.attributes) for name, plan in plans.items()
    }
    for position in positions:
        position.document.adopt(documents[position.name])
    return positions


def add_positions_to_well(well: Well, fields: Sequence[tuple[str, int]]) -> list[Position]:
    """Create positions in a well that may have been opened without its plate."""
    with errors_naming(well.node_path):
        fields = [(plate_edits.check_name(name), _acquisition(number)) for name, number in fields]
    node_paths = [well.node_path.child(name) for name, _ in fields]
    notes: list[str] = []
    # One lock around the whole creation, so that a position of another process is not replaced.
    with well.documents.lock(well.path):
        existing = well.documents.existing([node_path.path for node_path in node_paths], groups=[well.path])
        well.document.refresh()
        listed_names = _listed_names(well)
        plans = plan_positions(well, node_paths, {}, {}, notes)
        folders: dict[str, Nodes] = {}
        for (name, _), node_path in zip(fields, node_paths, strict=True):
            if name in listed_names and not well._overwriting_creation:
                raise NodeExistsError(f"The well {well.node_path} has a position {name!r} already.")
            exists = node_path.path in existing
            if not (exists and _clear_path(well, node_path, plans[name], listed=name in listed_names)):
                folders[node_path.path] = plans[name].nodes
        _check_conflicts(well, well.documents.put_new(folders))
        _list_images(well, fields, replaceable=listed_names)
    _raise_counts_above(well)
    warn_of(notes)
    return _adopt_new(well, node_paths, plans)


def _raise_counts_above(well: Well) -> None:
    """Update the counts of the plate with the number of positions of a well."""
    plate = plate_above(well.node_path, 2)
    if plate is None:
        return
    counts = {
        path_in_plate(well.node_path): [
            (image.path, image.acquisition) for image in well.document.shared_model.images
        ]
    }
    plate.document.edit(lambda meta: plate_edits.raise_counts(meta, counts))


def _group_by_well(specs: Sequence[PositionSpec]) -> tuple[IndicesByWell, FieldsByWell, list[str]]:
    """Check the specifications; return indices and fields by well, and all paths in order."""
    indices: IndicesByWell = {}
    fields: FieldsByWell = {}
    paths: dict[str, None] = {}
    checked_names: set[str] = set()
    for item in items_of(specs, "The argument positions is a list of tuples (row, column, name)"):
        spec = items_of(item, "A position is a tuple (row, column, name)")
        if not 3 <= len(spec) <= 6:
            raise InvalidArgumentError(
                f"A position is given by 3 to 6 items (row, column, name, row index, column index, acquisition), "
                f"not {spec!r}."
            )
        row, column, name = map(checked_name, spec[:3])
        for new_name in {row, column, name} - checked_names:  # thousands of positions share their names
            checked_names.add(plate_edits.check_name(new_name))
        well = f"{row}/{column}"
        path = f"{well}/{name}"
        if path in paths:
            raise InvalidArgumentError(f"The position {path!r} is listed twice.")
        paths[path] = None
        row_index, column_index = (*spec[3:5], None, None)[:2]
        indices.setdefault(well, []).append((row_index, column_index))
        fields.setdefault(well, []).append((name, _acquisition(spec[5] if len(spec) == 6 else None)))
    return indices, fields, list(paths)


def _first_indices(requested: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Return the first row index and the first column index that are requested for a well; None for none."""
    return [
        next((index for index in axis if index is not None), None) for axis in zip(*requested, strict=True)
    ]


def _acquisition(number: object) -> int:
    """Return an acquisition id, 0 by default (PL-08)."""
    try:
        acquisition = 0 if number is None else operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        acquisition = -1
    if acquisition < 0:
        raise InvalidArgumentError(
            f"An acquisition is given by its id, an integer from 0; got {number!r} (PL-08)."
        )
    return acquisition


def _row_and_column(path: str) -> tuple[str, str]:
    row, _, column = path.partition("/")
    return row, column


def _locked_wells(plate: Plate, paths: Sequence[str], locks: ExitStack) -> dict[str, Well]:
    """Open wells that the plate lists, each under its lock."""
    stored_paths = _store_paths(plate, paths)
    for stored_path in stored_paths:  # `Well.create_position` may not know the plate, and locks the well only
        locks.enter_context(plate.documents.lock(stored_path))
    plate.documents.request_ahead(stored_paths, at_once=True)
    wells = {path: plate._open_listed(Well, path) for path in paths}
    for well in wells.values():
        well.document.refresh()
    return wells


def _refuse_duplicates(plate: Plate, fields: FieldsByWell, wells: dict[str, Well], plans: Plans) -> None:
    """Raise for positions that exist, unless a killed call created them and this call is the same one."""
    if plate._overwriting_creation:
        return
    duplicates, is_resumed = [], False
    for path, well in wells.items():
        listed_names = _listed_names(well)
        for name, _ in fields[path]:
            if name in listed_names:
                duplicates.append(f"{path}/{name}")
            else:
                is_resumed = is_resumed or is_as_planned(
                    plate, plate.node_path.child(f"{path}/{name}"), plans[name]
                )
    if duplicates and not (
        is_resumed
        and all(
            is_as_planned(plate, plate.node_path.child(path), plans[path.rpartition("/")[2]])
            for path in duplicates
        )
    ):
        raise NodeExistsError(
            f"The plate {plate.node_path} has positions {duplicates} already. exist_ok=True opens them."
        )


def _fields_after(wells: dict[str, Well], fields: FieldsByWell) -> dict[str, list[tuple[str, int | None]]]:
    """Return all fields, old and new, of the changed wells."""
    fields_after: dict[str, list[tuple[str, int | None]]] = {}
    for path, new_fields in fields.items():
        new_names = {name for name, _ in new_fields}
        images = wells[path].document.shared_model.images if path in wells else []
        other_fields = [(image.path, image.acquisition) for image in images if image.path not in new_names]
        fields_after[path] = [*other_fields, *new_fields]
    return fields_after


def _write(
    plate: Plate,
    fields: FieldsByWell,
    wells: dict[str, Well],
    plans: Plans,
    occupied: set[str],
    replaced: set[str],
) -> None:
    """Write new positions and wells. Wells at ``occupied`` paths have a folder; ``replaced`` positions are written."""
    documents, version = plate.documents, plate.store_handle.version
    new_wells = [path for path in fields if path not in wells]
    rows = {path.partition("/")[0] for path in new_wells}
    empty = version.with_ome({}, {})
    groups = {plate.node_path.child(path).path: empty for path in _missing_groups(plate, sorted(rows))}
    # Most wells of a plate list the same fields, so they share one document, which is encoded once.
    well_attributes: dict[tuple[tuple[str, int], ...], JSONObject] = {}
    well_nodes: dict[tuple[tuple[str, int], ...], Nodes] = {}
    for well_fields in {tuple(fields[path]) for path in new_wells}:
        nodes = {
            join_names(name, key): node for name, _ in well_fields for key, node in plans[name].nodes.items()
        }
        nodes[""] = well_attributes[well_fields] = version.dump(
            plate_edits.add_images(WellGroupMeta(images=[]), well_fields), {}
        )
        well_nodes[well_fields] = nodes
    prefix = f"{plate.path}/" if plate.path else ""
    folders: dict[str, Nodes] = {}
    for path, new_fields in fields.items():
        if path not in wells and path not in occupied:
            folders[prefix + path] = well_nodes[tuple(new_fields)]
        else:
            unwritten = [name for name, _ in new_fields if f"{path}/{name}" not in replaced]
            folders.update({f"{prefix}{path}/{name}": plans[name].nodes for name in unwritten})
    conflicts = documents.put_new(folders, above=groups)
    created_elsewhere = [path for path in new_wells if conflicts.pop(prefix + path, None) is not None]
    _check_conflicts(plate, {path: is_equal for path, is_equal in conflicts.items() if path not in groups})
    in_existing_folders = {
        prefix + path: well_attributes[tuple(fields[path])] for path in new_wells if path in occupied
    }
    if not documents.storage.creates_exclusively:
        documents.put_groups(in_existing_folders)
        return
    well_documents: dict[str, Nodes] = {
        path: {"": attributes} for path, attributes in in_existing_folders.items()
    }
    already_stored = documents.put_new(well_documents) if well_documents else {}
    for path in new_wells:
        if path in created_elsewhere or prefix + path in already_stored:
            well = plate._open_listed(Well, path)
            well.document.refresh()
            # Replace what a killed call listed in the folder, but not what another program listed meanwhile.
            replaceable = () if path in created_elsewhere else _listed_names(well)
            _list_images(well, fields[path], replaceable=replaceable)


def _check_conflicts(parent: Plate | Well, conflicts: Mapping[str, bool]) -> None:
    """Raise for nodes that another program created meanwhile and that differ; `_list_images` checks equal ones."""
    for path, is_equal in conflicts.items():
        if not is_equal:
            raise NodeExistsError(
                f"Another program created {parent.documents.storage.where(path)} at the same time. Its content is "
                "unchanged."
            )


def _listed_names(well: Well) -> set[str]:
    return {image.path for image in well.document.shared_model.images}


def _store_paths(plate: Plate, paths: Iterable[str]) -> list[str]:
    """Return the paths in the store of members whose names are checked already."""
    prefix = f"{plate.path}/" if plate.path else ""
    return [prefix + path for path in paths]


def list_stored(plate: Plate, fields: FieldsByWell, acquisitions: Sequence[AcquisitionMeta]) -> list[str]:
    """List positions that are stored already, with their wells and rows; return the paths of new wells.

    Acquisitions that the plate lacks are added to its list.
    """
    version = plate.store_handle.version
    with ExitStack() as locks:
        locks.enter_context(plate.documents.lock(plate.path))
        meta = plate.document.refresh()
        listed = {well.path for well in meta.wells}
        wells = _locked_wells(plate, sorted(listed.intersection(fields)), locks)
        new_wells = [path for path in fields if path not in listed]
        fields_after = _fields_after(wells, fields)

        def list_wells(meta: PlateMeta) -> PlateMeta:
            ids = {acquisition.id for acquisition in meta.acquisitions or []}
            new_acquisitions = [acquisition for acquisition in acquisitions if acquisition.id not in ids]
            new_meta = plate_edits.add_wells(
                meta, [(*_row_and_column(path), None, None) for path in new_wells]
            )
            new_meta.acquisitions = [*(new_meta.acquisitions or []), *new_acquisitions] or None
            return plate_edits.raise_counts(new_meta, fields_after)

        notes = _case_notes(plate, meta, list_wells(meta))
        rows = {path.partition("/")[0] for path in new_wells}
        empty = version.with_ome({}, {})
        groups = {plate.node_path.child(path).path: empty for path in _missing_groups(plate, sorted(rows))}
        plate.documents.put_groups(groups, is_new=True)
        listings = {
            plate.node_path.child(path).path: version.dump(
                plate_edits.add_images(WellGroupMeta(images=[]), fields[path]), {}
            )
            for path in new_wells
        }
        plate.documents.put_groups(listings)
        try:
            plate.document.edit(list_wells)
        except LamellaError:
            _unlist_images(plate, new_wells)
            raise
        for path, well in wells.items():
            _list_images(well, fields[path], replaceable=[name for name, _ in fields[path]])
    warn_of(notes)
    return new_wells


def _unlist_images(plate: Plate, wells: Sequence[str]) -> None:
    """Remove the images from the documents of wells that the plate does not list; the caller deletes their files."""
    with suppress(LamellaError):  # the caller raises the first error
        listed = {well.path for well in plate.document.refresh().wells}
        empty = plate.store_handle.version.with_ome({}, {})
        paths = [plate.node_path.child(path).path for path in wells if path not in listed]
        plate.documents.put_groups(dict.fromkeys(paths, empty))


def _list_images(well: Well, fields: Sequence[tuple[str, int]], *, replaceable: Collection[str]) -> None:
    """List fields in a well, and update the acquisition of listed ones.

    Raises for listed fields that are not ``replaceable``: another program created them.
    """
    acquisitions = dict(fields)

    def with_new_images(meta: WellGroupMeta) -> WellGroupMeta:
        listed_names = {image.path for image in meta.images}
        created_elsewhere = sorted(listed_names.intersection(acquisitions) - set(replaceable))
        if created_elsewhere and not well._overwriting_creation:
            raise NodeExistsError(
                f"Another program created the position {created_elsewhere[0]!r} in {well.node_path} at the same time."
            )
        new_meta = plate_edits.add_images(meta, [field for field in fields if field[0] not in listed_names])
        images = [
            image.model_copy(update={"acquisition": acquisitions.get(image.path, image.acquisition)})
            for image in new_meta.images
        ]
        return new_meta.model_copy(update={"images": images})

    well.document.edit(with_new_images)


def _clear_paths(
    plate: Plate, fields: FieldsByWell, wells: dict[str, Well], plans: Plans, existing: Collection[str]
) -> tuple[set[str], set[str]]:
    """Replace or delete what is stored at the paths of new positions; raise for unlisted nodes.

    Returns the wells that have a folder, and the positions that have replaced others.
    """
    stored_paths = dict(zip(fields, _store_paths(plate, fields), strict=True))
    occupied = {
        path for path, stored_path in stored_paths.items() if path in wells or stored_path in existing
    }
    new_paths = [join_names(stored_paths[path], name) for path in occupied for name, _ in fields[path]]
    existing_paths = plate.documents.existing(new_paths) if new_paths else ()
    replaced: set[str] = set()
    for path in occupied:
        well = plate.node_path.child(path)
        listed_names = _listed_names(wells[path]) if path in wells else set()
        for name, _ in fields[path]:
            if join_names(well.path, name) in existing_paths and _clear_path(
                plate, well.child(name), plans[name], listed=name in listed_names
            ):
                replaced.add(f"{path}/{name}")
    return occupied, replaced


def _clear_path(parent: Plate | Well, node_path: NodePath, plan: NewPosition, *, listed: bool) -> bool:
    """Replace a listed position, or delete unlisted leftovers; return whether the new position is in place."""
    if not listed:
        is_planned = is_as_planned(parent, node_path, plan)
        if not is_planned and not parent._overwriting_creation:
            raise not_listed_error(parent, node_path.path.removeprefix(parent.path).strip("/"))
        # Without locks between processes, another program may be about to list an equal position: it stays.
        if not is_planned or not parent.documents.storage.creates_exclusively:
            parent.documents.delete(node_path.path)
        return False
    temporary_path = node_path.parent.child(temporary_name(".tmp")).path
    parent.documents.put_new({temporary_path: plan.nodes})
    parent.documents.replace(node_path.path, temporary_path)
    return True


def _has_members(plate: Plate, path: str) -> bool:
    """Whether a well that the plate does not list has members."""
    node_path = plate.node_path.child(path)
    return plate.documents.kind(node_path.path) is not None and bool(plate.documents.children(node_path.path))


def not_listed_error(parent: Plate | Well, key: str) -> NodeExistsError:
    """Return the error for a path at which files are stored that no metadata list."""
    return NodeExistsError(
        f"There is something at {key!r} in {parent.node_path} already that the metadata do not list: the rest of a "
        f"killed deletion, or the work of another program that runs now. If no other program runs, delete it with "
        f"`del node[{key!r}]` first."
    )


def _missing_groups(plate: Plate, paths: Iterable[str]) -> list[str]:
    """Return the paths that are not complete groups; a row may remain from a deleted well."""
    missing = []
    for path in paths:
        group = plate.node_path.child(path).path
        try:
            if not plate.documents.group(group) and not plate.documents.is_whole_group(group):
                missing.append(path)  # a kill left one of its two documents
        except NodeNotFoundError:
            missing.append(path)
    return missing
