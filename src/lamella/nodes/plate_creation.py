"""Create wells and positions, many at once, writing each changed document once.

Positions are written first, then the wells that list them, then the plate that lists the wells: after a kill, every
listed node exists. The plate document is merged under its lock, so that concurrent processes lose nothing.
"""

from __future__ import annotations

import operator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, TypeAlias

from lamella.arguments import items_of, name_text
from lamella.errors import (
    InvalidArgumentError,
    InvalidNameError,
    LamellaError,
    NodeExistsError,
    NodeNotFoundError,
)
from lamella.nodes.plate_arrays import NewPosition, Nodes, is_as_planned, plan_positions, requests_of
from lamella.nodes.position import Position, pending_attributes
from lamella.nodes.reporting import warn_of
from lamella.nodes.store_handle import NodePath, naming
from lamella.nodes.well import Well, path_in_plate, plate_above
from lamella.spec import edits, plate_edits
from lamella.spec.plate import WellGroupMeta
from lamella.store.files.temporary_files import temporary_name
from lamella.store.keys import join_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from lamella.nodes.node import NGFFNode
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
"""The nodes of new positions, by position name."""

Images: TypeAlias = dict[str, list[tuple[str, int]]]
"""Well path to the (name, acquisition) of the positions to create in it."""


def create_well(plate: Plate, row: str, column: str, row_index: int | None, column_index: int | None) -> Well:
    """Create an empty well; see :meth:`Plate.create_well`."""
    path = join_names(row, column)
    with naming(plate.node_path):
        plate_edits.check_name(row)
        plate_edits.check_name(column)
    while True:
        # As in `create_positions`: of several processes that create one well, one succeeds.
        with plate.documents.lock(plate.path):
            listed = path in {well.path for well in plate.document.refresh().wells}
            if not listed:
                if _is_filled(plate, path):
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

    def add(meta: PlateMeta) -> PlateMeta:
        changed = plate_edits.add_wells(meta, [(row, column, row_index, column_index)], notes)
        notes.extend(_check_case(plate, meta, changed))
        empty = version.with_ome({}, {})
        missing = _missing_groups(plate, [row, path])
        documents.put_new({}, above={plate.node_path.child(p).path: empty for p in missing})
        return changed

    plate.document.edit(add)
    warn_of(notes)
    return plate._open(Well, path)


def _check_case(plate: Plate, old: PlateMeta, new: PlateMeta) -> list[str]:
    """Return notes of new rows or columns whose names differ from others by case only (PL-03).

    Raises `InvalidNameError` if they would be one folder in this file system.
    """
    notes = []
    _refuse_one_folder(plate, [row.name for row in new.rows], [row.name for row in old.rows])
    _refuse_one_folder(plate, [well.path for well in new.wells], [well.path for well in old.wells])
    for known, names in ((old.rows, new.rows), (old.columns, new.columns)):
        before = plate_edits.case_collisions(entry.name for entry in known)
        notes += [
            f"The plate {plate.node_path} has {' and '.join(map(repr, names_of_one))}, which differ only by case: on "
            "many file systems they are one folder."
            for names_of_one in plate_edits.case_collisions(entry.name for entry in names)
            if names_of_one not in before
        ]
    return notes


def _refuse_shared_folders(
    plate: Plate, images: Images, counts: Mapping[str, list[tuple[str, int | None]]]
) -> None:
    """Raise for new positions of a well that the file system does not distinguish from others."""
    for path, listed_images in counts.items():
        names = [name for name, _ in listed_images]
        new_names = {name for name, _ in images[path]}
        _refuse_one_folder(plate, names, [name for name in names if name not in new_names])


def _refuse_one_folder(parent: Plate | Well, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise for new names that the file system does not distinguish from others."""
    if not parent.documents.storage.ignores_case:
        return
    before = plate_edits.case_collisions(known)
    for names_of_one in plate_edits.case_collisions(names):
        if names_of_one not in before:
            raise InvalidNameError(
                f"{' and '.join(map(repr, names_of_one))} differ only by case, and would be one folder in "
                f"{parent.node_path}: the file system there takes them for the same. Nothing was created."
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
    with naming(plate.node_path):
        wells, images, order = _sort_out(specs)
        requests = requests_of(arrays)
    notes: list[str] = []
    if not order:
        return []
    # One lock around the whole creation: plate and wells are read and changed without another writer in between.
    with ExitStack() as held:
        held.enter_context(plate.documents.lock(plate.path))
        above = {path.partition("/")[0] for path in images}
        existing = plate.documents.existing(_paths(plate, images), groups=[plate.path, *_paths(plate, above)])
        meta = plate.document.refresh()
        listed = {well.path for well in meta.wells}
        documents = _locked_wells(plate, sorted(listed.intersection(images)), held)
        stored_positions = _existing_positions(plate, images, documents) if exist_ok else {}
        for position in stored_positions.values():
            _check_arrays(position, requests)
        if stored_positions:
            images = _without(images, stored_positions)
            documents = {path: well for path, well in documents.items() if path in images}
        new_paths = [path for path in order if path not in stored_positions]
        node_paths = [NodePath(plate.store_handle, path) for path in _paths(plate, new_paths)]
        plans = plan_positions(plate, node_paths, position_attributes(plate), requests, unlisted or {}, notes)
        _refuse_duplicates(plate, images, documents, plans)
        taken = {path: _listed_in(well) for path, well in documents.items()}
        new = [(*_row_and_column(path), *wells[path]) for path in images if path not in listed]
        counts = _well_images(documents, images)

        def change(meta: PlateMeta) -> PlateMeta:
            now = {well.path for well in meta.wells}  # another program may list one meanwhile
            rest = [spec for spec in new if f"{spec[0]}/{spec[1]}" not in now]
            return plate_edits.raise_counts(plate_edits.add_wells(meta, rest, notes), counts)

        _refuse_shared_folders(plate, images, counts)
        with naming(plate.node_path):
            changed = change(meta)  # refuses what does not fit before anything is written
        notes += _check_case(plate, meta, changed)
        occupied, placed = _clear_positions(plate, images, documents, plans, existing)
        _write(plate, images, documents, plans, occupied, placed)
        if images:
            plate.document.edit(change)
        # Last: the next call recognises a killed one by positions that are stored but not listed.
        for path, well in documents.items():
            _list_images(well, images[path], replaceable=taken[path])
    for position in stored_positions.values():
        for name, request in requests.items():
            if name not in position.dataset_paths:
                position._create_zeros(name, request)
    warn_of(notes)
    created = dict(zip(new_paths, _opened(plate, node_paths, plans), strict=True))
    return [created[path] if path in created else stored_positions[path] for path in order]


def _existing_positions(plate: Plate, images: Images, wells: dict[str, Well]) -> dict[str, Position]:
    """Return the requested positions that their wells list, by path."""
    paths = [
        f"{path}/{name}"
        for path, well in wells.items()
        for name in {name for name, _ in images[path]} & _listed_in(well)
    ]
    return {path: plate._open_listed(Position, path) for path in paths}


def _without(images: Images, existing: Collection[str]) -> Images:
    """Return the images without existing ones, and without wells that have no other image."""
    rest = {
        well: [entry for entry in entries if f"{well}/{entry[0]}" not in existing]
        for well, entries in images.items()
    }
    return {well: entries for well, entries in rest.items() if entries}


def _check_arrays(position: Position, requests: Requests) -> None:
    """Raise for an existing position whose arrays have another shape or dtype than requested."""
    for name, request in requests.items():
        if name not in position.dataset_paths:
            position.refuse_array(name, request)
            continue
        array, new = position[name], request.settings
        if array.shape != new.shape or array.dtype != new.dtype:
            raise NodeExistsError(
                f"{array.node_path} exists with shape {array.shape} and data type {array.dtype}; asked for "
                f"{new.shape} and {new.dtype}. Delete it first, or choose another name."
            )


def _opened(parent: Plate | Well, node_paths: Sequence[NodePath], plans: Plans) -> list[Position]:
    """Return positions that were just written, without reading them."""
    created = [
        Position(node_path, False, None, None, parent._overwriting_creation) for node_path in node_paths
    ]
    stored = {name: parent.documents.prepared(parent.path, plan.attributes) for name, plan in plans.items()}
    for position in created:
        position.document.adopt(stored[position.name])
    return created


def add_positions_to_well(well: Well, positions: Sequence[tuple[str, int]]) -> list[Position]:
    """Create positions in a well that may have been opened without its plate."""
    with naming(well.node_path):
        positions = [(plate_edits.check_name(name), _acquisition(number)) for name, number in positions]
    node_paths = [well.node_path.child(name) for name, _ in positions]
    # One lock around the whole creation, so that a position of another process is not replaced.
    with well.documents.lock(well.path):
        existing = well.documents.existing([node_path.path for node_path in node_paths], groups=[well.path])
        well.document.refresh()
        taken = _listed_in(well)
        plans = plan_positions(well, node_paths, position_attributes(well), {}, {}, [])
        folders: dict[str, Nodes] = {}
        for (name, _), node_path in zip(positions, node_paths, strict=True):
            if name in taken and not well._overwriting_creation:
                raise NodeExistsError(f"The well {well.node_path} has a position {name!r} already.")
            filled = node_path.path in existing
            if not (filled and _clear(well, node_path, plans[name], listed=name in taken)):
                folders[node_path.path] = plans[name].nodes
        _refuse_others(well, well.documents.put_new(folders))
        _list_images(well, positions, replaceable=taken)
    _raise_counts_above(well)
    return _opened(well, node_paths, plans)


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


def _sort_out(
    specs: Sequence[PositionSpec],
) -> tuple[dict[str, tuple[int | None, int | None]], Images, list[str]]:
    """Check the specifications; return the indices and images of each well, and all paths in order."""
    wells: dict[str, tuple[int | None, int | None]] = {}
    images: Images = {}
    order: dict[str, None] = {}
    checked: set[str] = set()
    for item in items_of(specs, "The argument positions is a list of tuples (row, column, name)"):
        spec = items_of(item, "A position is a tuple (row, column, name)")
        if not 3 <= len(spec) <= 6:
            raise InvalidArgumentError(
                f"A position is given by 3 to 6 items (row, column, name, row index, column index, acquisition), "
                f"not {spec!r}."
            )
        row, column, name = map(name_text, spec[:3])
        for part in {row, column, name} - checked:  # check each name once, for thousands of positions
            checked.add(plate_edits.check_name(part))
        well = f"{row}/{column}"
        path = f"{well}/{name}"
        if path in order:
            raise InvalidArgumentError(f"The position {path!r} is listed twice.")
        order[path] = None
        indices = (*spec[3:5], None, None)[:2]
        old_indices = wells.get(well, (None, None))
        wells[well] = tuple(
            [old if new is None else new for new, old in zip(indices, old_indices, strict=True)]
        )  # type: ignore[assignment]
        acquisition = _acquisition(spec[5] if len(spec) == 6 else None)
        images.setdefault(well, []).append((name, acquisition))
    return wells, images, list(order)


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


def _locked_wells(plate: Plate, listed: Sequence[str], locks: ExitStack) -> dict[str, Well]:
    """Open wells that the plate lists, each under its lock."""
    stored_paths = _paths(plate, listed)
    for stored_path in stored_paths:  # `Well.create_position` may not know the plate, and locks the well only
        locks.enter_context(plate.documents.lock(stored_path))
    plate.documents.request_ahead(stored_paths, at_once=True)
    wells = {path: plate._open_listed(Well, path) for path in listed}
    for well in wells.values():
        well.document.refresh()
    return wells


def _refuse_duplicates(plate: Plate, images: Images, wells: dict[str, Well], plans: Plans) -> None:
    if plate._overwriting_creation:
        return
    duplicates, was_killed = [], False
    for path, well in wells.items():
        taken = _listed_in(well)
        for name, _ in images[path]:
            if name in taken:
                duplicates.append(f"{path}/{name}")
            else:
                was_killed = was_killed or is_as_planned(
                    plate, plate.node_path.child(f"{path}/{name}"), plans[name]
                )
    # Finish a killed call, if the positions that it created are unchanged.
    if duplicates and not (
        was_killed
        and all(
            is_as_planned(plate, plate.node_path.child(path), plans[path.rpartition("/")[2]])
            for path in duplicates
        )
    ):
        raise NodeExistsError(f"The plate {plate.node_path} has positions {duplicates} already.")


def _well_images(wells: dict[str, Well], images: Images) -> dict[str, list[tuple[str, int | None]]]:
    """Return all positions, old and new, of the changed wells."""
    result: dict[str, list[tuple[str, int | None]]] = {}
    for path, new in images.items():
        names = {name for name, _ in new}
        old = wells[path].document.shared_model.images if path in wells else []
        others = [(image.path, image.acquisition) for image in old if image.path not in names]
        result[path] = [*others, *new]
    return result


def position_attributes(parent: NGFFNode) -> JSONObject:
    """Return the attributes of a position without an image, with the channels and axes of its plate."""
    version = parent.store_handle.version
    meta = edits.new_images(parent.axes, parent.channel_names)
    return pending_attributes(version, meta, version.dump(meta, {}))


def _write(
    plate: Plate,
    images: Images,
    wells: dict[str, Well],
    plans: Plans,
    occupied: set[str],
    placed: set[str],
) -> None:
    """Write new positions and wells; those in ``occupied`` paths into the existing folder. Skip those in ``placed``."""
    documents, version = plate.documents, plate.store_handle.version
    new_wells = [path for path in images if path not in wells]
    rows = {path.partition("/")[0] for path in new_wells}
    empty = version.with_ome({}, {})
    groups = {plate.node_path.child(path).path: empty for path in _missing_groups(plate, sorted(rows))}
    # Most wells of a plate list the same fields, so they share one document, which is encoded once.
    listings: dict[tuple[tuple[str, int], ...], JSONObject] = {}
    inside_of: dict[tuple[tuple[str, int], ...], Nodes] = {}
    for fields in {tuple(images[path]) for path in new_wells}:
        inside = {
            join_names(name, key): node for name, _ in fields for key, node in plans[name].nodes.items()
        }
        inside[""] = listings[fields] = version.dump(
            plate_edits.add_images(WellGroupMeta(images=[]), fields), {}
        )
        inside_of[fields] = inside
    above = f"{plate.path}/" if plate.path else ""
    folders: dict[str, Nodes] = {}
    for path, new in images.items():
        if path not in wells and path not in occupied:
            folders[above + path] = inside_of[tuple(new)]
        else:
            absent = [name for name, _ in new if f"{path}/{name}" not in placed]
            folders.update({f"{above}{path}/{name}": plans[name].nodes for name in absent})
    others = documents.put_new(folders, above=groups)
    raced = [path for path in new_wells if others.pop(above + path, None) is not None]
    _refuse_others(plate, {path: is_equal for path, is_equal in others.items() if path not in groups})
    left = {above + path: listings[tuple(images[path])] for path in new_wells if path in occupied}
    if not documents.storage.creates_exclusively:
        documents.put_groups(left)
        return
    # What a killed call listed is adopted; what another program listed since is not.
    adopted = documents.put_new({path: {"": listing} for path, listing in left.items()}) if left else {}
    for path in new_wells:
        if path in raced or above + path in adopted:
            well = plate._open_listed(Well, path)
            well.document.refresh()
            _list_images(well, images[path], replaceable=() if path in raced else _listed_in(well))


def _refuse_others(parent: Plate | Well, others: Mapping[str, bool]) -> None:
    """Raise for nodes that another program created meanwhile, unless they are equal: the list decides then."""
    for path, is_equal in others.items():
        if not is_equal:
            raise NodeExistsError(
                f"Another program created {parent.documents.storage.where(path)} at the same time. Its content is "
                "unchanged."
            )


def _listed_in(well: Well) -> set[str]:
    return {image.path for image in well.document.shared_model.images}


def _paths(plate: Plate, paths: Iterable[str]) -> list[str]:
    """Return the paths in the store of members whose names are checked already."""
    above = f"{plate.path}/" if plate.path else ""
    return [above + path for path in paths]


def list_stored(plate: Plate, images: Images, acquisitions: Sequence[AcquisitionMeta]) -> list[str]:
    """List positions that are stored already, with their wells and rows; return the paths of new wells.

    Acquisitions that the plate lacks are added to its list.
    """
    version = plate.store_handle.version
    with ExitStack() as held:
        held.enter_context(plate.documents.lock(plate.path))
        meta = plate.document.refresh()
        listed = {well.path for well in meta.wells}
        wells = _locked_wells(plate, sorted(listed.intersection(images)), held)
        new = [path for path in images if path not in listed]
        counts = _well_images(wells, images)

        def change(meta: PlateMeta) -> PlateMeta:
            known = {entry.id for entry in meta.acquisitions or []}
            added = [entry for entry in acquisitions if entry.id not in known]
            edited = plate_edits.add_wells(meta, [(*_row_and_column(path), None, None) for path in new])
            edited.acquisitions = [*(edited.acquisitions or []), *added] or None
            return plate_edits.raise_counts(edited, counts)

        notes = _check_case(plate, meta, change(meta))
        rows = {path.partition("/")[0] for path in new}
        empty = version.with_ome({}, {})
        groups = {plate.node_path.child(path).path: empty for path in _missing_groups(plate, sorted(rows))}
        plate.documents.put_groups(groups, is_new=True)
        listings = {
            plate.node_path.child(path).path: version.dump(
                plate_edits.add_images(WellGroupMeta(images=[]), images[path]), {}
            )
            for path in new
        }
        plate.documents.put_groups(listings)
        try:
            plate.document.edit(change)
        except LamellaError:
            _unlist_images(plate, new)
            raise
        for path, well in wells.items():
            _list_images(well, images[path], replaceable=[name for name, _ in images[path]])
    warn_of(notes)
    return new


def _unlist_images(plate: Plate, wells: Sequence[str]) -> None:
    """Make wells that the plate does not list groups without images: the caller deletes the images."""
    with suppress(LamellaError):  # the service still fails
        listed = {well.path for well in plate.document.refresh().wells}
        empty = plate.store_handle.version.with_ome({}, {})
        unlisted = [plate.node_path.child(path).path for path in wells if path not in listed]
        plate.documents.put_groups(dict.fromkeys(unlisted, empty))


def _list_images(well: Well, images: Sequence[tuple[str, int]], *, replaceable: Collection[str]) -> None:
    """List positions in a well; a listed one gets its new acquisition."""
    acquisitions = dict(images)

    def with_new_images(meta: WellGroupMeta) -> WellGroupMeta:
        old = {image.path for image in meta.images}
        others = sorted(old.intersection(acquisitions) - set(replaceable))
        if others and not well._overwriting_creation:
            raise NodeExistsError(
                f"Another program created the position {others[0]!r} in {well.node_path} at the same time."
            )
        changed = plate_edits.add_images(meta, [entry for entry in images if entry[0] not in old])
        images_after = [
            image.model_copy(update={"acquisition": acquisitions.get(image.path, image.acquisition)})
            for image in changed.images
        ]
        return changed.model_copy(update={"images": images_after})

    well.document.edit(with_new_images)


def _clear_positions(
    plate: Plate, images: Images, wells: dict[str, Well], plans: Plans, there: Collection[str]
) -> tuple[set[str], set[str]]:
    """Replace or delete what is stored at the paths of new positions; raise for unlisted nodes.

    Returns the wells that have a folder, and the positions that have replaced others.
    """
    stored_paths = dict(zip(images, _paths(plate, images), strict=True))
    occupied = {path for path, stored_path in stored_paths.items() if path in wells or stored_path in there}
    inside = [join_names(stored_paths[path], name) for path in occupied for name, _ in images[path]]
    filled = plate.documents.existing(inside) if inside else ()
    placed: set[str] = set()
    for path in occupied:
        well = plate.node_path.child(path)
        taken = _listed_in(wells[path]) if path in wells else set()
        for name, _ in images[path]:
            if join_names(well.path, name) in filled and _clear(
                plate, well.child(name), plans[name], listed=name in taken
            ):
                placed.add(f"{path}/{name}")
    return occupied, placed


def _clear(parent: Plate | Well, node_path: NodePath, plan: NewPosition, *, listed: bool) -> bool:
    """Replace a listed position, or delete unlisted leftovers; return whether the new position is in place."""
    if not listed:
        is_planned = is_as_planned(parent, node_path, plan)
        if not is_planned and not parent._overwriting_creation:
            raise not_listed_error(parent, node_path.path.removeprefix(parent.path).strip("/"))
        # Where no lock keeps other programs away, it may be one that another program is about to list.
        if not is_planned or not parent.documents.storage.creates_exclusively:
            parent.documents.delete(node_path.path)
        return False
    new = node_path.parent.child(temporary_name(".tmp")).path
    parent.documents.put_new({new: plan.nodes})
    parent.documents.replace(node_path.path, new)
    return True


def _is_filled(plate: Plate, path: str) -> bool:
    """Whether a well that the plate does not list has members."""
    node_path = plate.node_path.child(path)
    return plate.documents.kind(node_path.path) is not None and bool(plate.documents.children(node_path.path))


def not_listed_error(parent: Plate | Well, key: str) -> NodeExistsError:
    """Return the error for a path at which something is stored that no metadata list."""
    return NodeExistsError(
        f"There is something at {key!r} in {parent.node_path} already that the metadata do not list: what a "
        f"killed deletion left, or what another program creates now. If no other program runs, delete it with "
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
