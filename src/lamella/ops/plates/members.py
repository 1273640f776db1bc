"""Delete and rename the members of a plate, and update the metadata of all parents.

Each change is made under the lock of the plate's document. The steps are ordered so that a kill between two of them
leaves a readable store, and the same call finishes the change. Example: the metadata stop listing a well before its
folder is deleted, so after a kill there may be a folder that is not listed, but no listed well without a folder.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias, cast

from lamella.errors import InvalidNameError, LamellaError, NodeExistsError, NodeNotFoundError, did_you_mean
from lamella.nodes.metadata_document import read_part
from lamella.nodes.tables import stored_table_names
from lamella.nodes.well import Well, path_in_plate, plate_above
from lamella.ops.renaming import finish_locked_rename, move_member, update_after_move
from lamella.spec import plate_edits
from lamella.spec.own_key import Renaming, read_swapped, with_swapped
from lamella.spec.plate import Bioformats2RawMeta
from lamella.spec.plate_names import new_well
from lamella.store.keys import is_key, join_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.nodes.plate import Plate
    from lamella.spec.plate import PlateMeta
    from lamella.types import JSONObject

Images: TypeAlias = "list[tuple[str, int | None]]"
"""Path and acquisition id of each position of a well."""


def delete_member(plate: Plate, key: str) -> None:
    """Delete a row, well, position or lower node, and wells, rows and columns that are empty then (WL-01, PL-12)."""
    plate.require_writable(f"delete {key!r}")
    names = key.split("/")
    if len(names) > 3:
        del plate["/".join(names[:3])]["/".join(names[3:])]
        return
    with plate.documents.lock(plate.path):
        plate.documents.storage.sweep(plate.node_path.child(key).parent.path)  # left by a killed deletion
        listed = [well.path for well in plate.document.refresh().wells]
        if len(names) < 3:
            wells = [path for path in listed if path == key or path.startswith(f"{key}/")]
            if not wells and not plate.documents.storage.exists(plate.node_path.child(key).path):
                raise plate.missing_error(key)
            _delete_wells(plate, wells, key)
        else:
            _delete_position(plate, join_names(*names[:2]), names[2], listed)


def delete_from_well(well: Well, key: str) -> None:
    """Delete a position of a well, or a node below one; see :meth:`Well.__delitem__`."""
    plate = plate_above(well.node_path, 2)
    if plate is not None:
        delete_member(plate, join_names(path_in_plate(well.node_path), key))
        return
    name, _, path_below = key.partition("/")
    if path_below:
        del well[name][path_below]
        return
    node_path = well.node_path.child(name)
    with well.documents.lock(well.path):
        is_listed = any(image.path == name for image in well.document.refresh().images)
        if not is_listed and not well.documents.storage.exists(node_path.path):
            raise well.missing_error(name)
        well.documents.storage.check_deletable(node_path.path)
        if is_listed:
            well.document.edit(lambda meta: plate_edits.remove_image(meta, name))
        if well.documents.storage.exists(node_path.path):
            well.documents.delete(node_path.path)


def _delete_wells(plate: Plate, wells: list[str], key: str) -> None:
    plate.documents.storage.check_deletable(plate.node_path.child(key).path)
    # Metadata first: a kill leaves unlisted folders, never a listed well that is missing.
    # One edit, so that the same call can finish as long as a folder exists.
    counts = _images_for_counts(plate, [_images_of(plate, path) or [] for path in wells], wells)

    def remove(meta: PlateMeta) -> PlateMeta:
        for path in wells:
            meta = plate_edits.remove_well(meta, path)
        return meta if counts is None else plate_edits.set_counts(meta, counts)

    if wells:
        plate.document.edit(remove)
    if _can_delete_row(plate, key.partition("/")[0], key):
        _delete_row_of(plate, key)
    else:
        _delete_folder(plate, key)


def _delete_row_of(plate: Plate, well: str) -> None:
    """Delete the row of a well, and the well itself if it exists; wells that another program creates meanwhile stay."""
    documents, row = plate.documents, plate.node_path.child(well.partition("/")[0]).path
    if documents.storage.locks_processes:
        documents.delete(row)
        return
    documents.delete_documents(row)
    documents.storage.delete(plate.node_path.child(well).path)
    if documents.storage.list(row):
        documents.put_groups(new_row(plate, well))


def _delete_position(plate: Plate, well_path: str, name: str, listed: list[str]) -> None:
    key = join_names(well_path, name)
    if well_path not in listed:
        _delete_unlisted_position(plate, well_path, name)
        return
    well = plate._open_listed(Well, well_path)
    images = _images(well)
    names = [path for path, _ in images]
    if name not in names and not plate.documents.storage.exists(plate.node_path.child(key).path):
        raise plate.missing_error(key)
    if names == [name]:
        _delete_wells(plate, [well_path], well_path)
        return
    plate.documents.storage.check_deletable(plate.node_path.child(key).path)
    if name in names:
        well.document.edit(lambda meta: plate_edits.remove_image(meta, name))
    # Even if the well does not list the position any more: a killed call may have edited the well and not the plate.
    counts = _images_for_counts(
        plate, [[(path, acquisition) for path, acquisition in images if path != name] + [(name, None)]]
    )
    if counts is not None:
        plate.document.edit(lambda meta: plate_edits.set_counts(meta, counts))
    _delete_folder(plate, key)


def _delete_unlisted_position(plate: Plate, well_path: str, name: str) -> None:
    """Delete a position of an unlisted well, which remains after a killed deletion of the well's last position."""
    key, storage = join_names(well_path, name), plate.documents.storage
    if not storage.exists(plate.node_path.child(key).path):
        raise plate.missing_error(key)
    images = _images_of(plate, well_path)
    names = [path for path, _ in images or []]
    if names == [name]:
        _delete_wells(plate, [], well_path)
        return
    if name in names:
        plate._open(Well, well_path).document.edit(lambda meta: plate_edits.remove_image(meta, name))
    _delete_folder(plate, key)
    if images is None and not storage.exists(plate.node_path.child(well_path).path):
        _delete_wells(plate, [], well_path)  # deletes the row too, if it is empty


def _delete_folder(plate: Plate, key: str) -> None:
    with suppress(NodeNotFoundError):
        plate.documents.delete(plate.node_path.child(key).path)


def _can_delete_row(plate: Plate, row: str, well: str) -> bool:
    """Return whether a row contains nothing but one well, and no other well is listed or being renamed into it."""
    node_path = plate.node_path.child(row)
    if plate_edits.is_swapping(plate.document.shared_model):
        return False
    wells = plate.document.shared_model.wells
    if any(other.path.startswith(f"{row}/") and other.path != well for other in wells):
        return False
    if plate.documents.kind(node_path.path) != "group":
        return False
    names = plate.documents.storage.list(node_path.path)  # names, not nodes: one of these may be damaged
    return all(
        join_names(row, name) == well or name in plate.documents.files.document_names for name in names
    )


def _images(well: Well) -> Images:
    return [(image.path, image.acquisition) for image in well.document.shared_model.images]


def _images_of(plate: Plate, path: str) -> Images | None:
    """Return the positions of a well; None if it is missing or damaged, which does not prevent its deletion."""
    try:
        return _images(plate._open(Well, path))
    except LamellaError:
        return None


def _images_for_counts(
    plate: Plate, images_of_changed: list[Images], deleted: Iterable[str] = ()
) -> dict[str, Images] | None:
    """Return the images of all wells but ``deleted`` ones to count fields again; None if the counts stay the same."""
    if not any(_may_set_counts(plate, images) for images in images_of_changed):
        return None
    paths = [well.path for well in plate.document.shared_model.wells if well.path not in deleted]
    plate.documents.request_ahead([plate.node_path.child(path).path for path in paths], at_once=True)
    images = {path: _images_of(plate, path) for path in paths}
    readable = {path: images_of_well for path, images_of_well in images.items() if images_of_well is not None}
    # If a well cannot be read, the stored counts stay: fewer images cannot exceed them.
    return readable if len(readable) == len(images) else None


def _may_set_counts(plate: Plate, images: Images) -> bool:
    meta = plate.document.shared_model
    if meta.field_count is None or len(images) >= meta.field_count:
        return True
    counts = Counter(acquisition_id for _, acquisition_id in images)
    return any(
        0 < counts[acquisition.id] + counts[None] >= (acquisition.maximum_field_count or 0)
        for acquisition in meta.acquisitions or []
    )


def rename_well(plate: Plate, old: str, new: str) -> None:
    """Rename a well; the same call finishes a killed one, the opposite undoes it. See :meth:`Plate.rename_well`."""
    plate.store_handle.require_writable(f"rename the well {old!r}", plate.path)
    with plate.documents.lock(plate.path):
        if all(is_key(name) and name.count("/") == 1 for name in (old, new)):
            _read_for_rename(plate, old, new)
        else:
            plate.documents.request_ahead([plate.path], at_once=True)
        rename_locked_well(plate, *well_paths(plate, old, new))
        # Without the record of a swap, `rename_wells` may swap the same wells again.
        if read_swapped(plate.document.last_attributes):
            record_swap(plate, None)


def record_swap(plate: Plate, wells: list[list[str]] | None) -> None:
    """Record which wells have swapped names, or remove the record (None)."""
    plate.documents.edit_group(plate.path, lambda attributes: with_swapped(attributes, wells))
    plate.document.refresh()


def well_paths(plate: Plate, old: str, new: str) -> tuple[str, str]:
    """Return the path of a well, and its new path; both may be names such as "B03"."""
    old, new = old.strip("/"), new.strip("/")
    columns = [column.name for column in plate.document.shared_model.columns]
    return plate.find_well(old) or old, new_well(new, plate.well_paths(), columns)


def check_well_path(plate: Plate, path: str) -> None:
    """Raise unless a path consists of the names of a row and a column."""
    if path.count("/") != 1:
        columns = ", ".join(column.name for column in plate.document.shared_model.columns)
        raise InvalidNameError(
            f"A well is named by row and column, such as 'A/1', not by {path!r}. A name such as 'A01' is for wells and "
            f"columns that exist: {plate.node_path} has the columns {columns or 'none'}."
        )
    for name in path.split("/"):
        plate_edits.check_name(name)


def _read_for_rename(plate: Plate, old: str, new: str) -> set[str]:
    """Read the documents that a rename needs in one round of requests; return which of the two wells exist."""
    child = plate.node_path.child
    groups = [
        plate.path,
        *dict.fromkeys(child(path.partition("/")[0]).path for path in (old, new, "OME", "tables")),
    ]
    return plate.documents.existing_of_move(child(old).path, child(new).path, groups=groups)


def rename_locked_well(plate: Plate, old: str, new: str) -> None:
    """Rename a well by its paths; the caller has locked the document of the plate."""
    for path in (old, new):
        check_well_path(plate, path)
    documents = plate.documents
    source, target = plate.node_path.child(old).path, plate.node_path.child(new).path
    if finish_locked_rename(plate, (old, new)) == (old, new):
        return
    existing = _read_for_rename(plate, old, new)
    listed = {well.path for well in plate.document.refresh().wells}
    # A killed rename leaves one listed well that is missing, and one unlisted well that exists.
    is_moved = old in listed and source not in existing and target in existing
    is_listed_as_new = new in listed and old not in listed and source in existing
    if old not in listed and not is_listed_as_new:
        raise NodeNotFoundError(
            f"There is no well {old!r} in the plate {plate.node_path} to rename. Its wells are: "
            f"{', '.join(sorted(listed)[:20]) or 'none'}.{did_you_mean(old, listed)}"
        )
    if old == new:
        return
    if (new in listed and not is_listed_as_new) or (target in existing and not is_moved):
        raise NodeExistsError(
            f"Cannot rename {old!r} to {new!r}: {plate.node_path} has a well {new!r} already."
        )
    if is_listed_as_new and not documents.storage.locks_processes:
        # The files have the old name: list it again.
        plate.document.edit(lambda meta: plate_edits.rename_well(meta, new, old))
        is_listed_as_new = False
    if not is_moved:
        if documents.storage.locks_processes:  # in other stores `move_member` writes the row with the copies
            documents.put_groups(new_row(plate, new))
        if is_listed_as_new:
            documents.move(source, target)
        else:
            move_member(plate, Renaming(old, new))
            return
    update_after_move(plate, Renaming(old, new))


def new_row(plate: Plate, path: str) -> dict[str, JSONObject]:
    """Return the path and attributes of the row of a well if its document must be written; empty otherwise."""
    documents = plate.documents
    row = plate.node_path.child(path.partition("/")[0]).path
    if documents.is_whole_group(row):
        return {}
    attributes = documents.group(row) if documents.kind(row) == "group" else {}
    return {row: attributes or plate.store_handle.version.with_ome({}, {})}


def position_to_rename(plate: Plate, old: str, new: str) -> tuple[Well, str, str]:
    """Return the well of a position, its name, and its new name."""
    plate.require_writable(f"rename the position {old!r}")
    old, new = plate._exact_path(old.strip("/")), new.strip("/")
    new = plate._exact_path(new) if "/" in new else new  # the name of a field may look like that of a well
    if old.count("/") != 2:
        raise InvalidNameError(
            f"A position is named by row, column and field, such as 'A/1/0', not by {old!r}."
        )
    well, _, name = old.rpartition("/")
    new_well_path, _, new_name = new.rpartition("/")
    if new_well_path not in ("", well):
        raise InvalidNameError(
            f"The position {old!r} can be renamed within its well {well!r}, not to {new!r} in another one."
        )
    return cast("Well", plate[well]), name, new_name


def rename_position(well: Well, old: str, new: str) -> None:
    """Rename a position; the same call finishes a killed one. See :meth:`Plate.rename_position`."""
    well.store_handle.require_writable(f"rename the position {old!r}", well.path)
    plate_edits.check_name(new)
    with well._lock_members():
        if finish_locked_rename(well, (old, new)) != (old, new):
            _rename_locked_position(well, old, new)


def _rename_locked_position(well: Well, old: str, new: str) -> None:
    """Rename a position of a well; the caller has locked the document of the well."""
    listed = [image.path for image in well.document.refresh().images]
    if old not in listed:
        raise NodeNotFoundError(
            f"There is no position {old!r} in the well {well.node_path} to rename. Its positions are: "
            f"{', '.join(listed[:20]) or 'none'}.{did_you_mean(old, listed)}"
        )
    if old == new:
        return
    if new in listed or well.documents.storage.exists(well.node_path.child(new).path):
        raise NodeExistsError(f"Cannot rename {old!r} to {new!r}: {well.node_path} has {new!r} already.")
    move_member(well, Renaming(old, new))


def update_moved_position(well: Well, renaming: Renaming) -> None:
    """Rename a moved position in the tables of its plate, and in the list of images that belongs to an OME-XML."""
    plate = plate_above(well.node_path, 2)
    if plate is not None:
        paths = Renaming(*(join_names(path_in_plate(well.node_path), name) for name in renaming))
        _rename_in_series(plate, *paths)
        _rename_in_tables(plate, paths)


def update_moved_well(plate: Plate, renaming: Renaming) -> None:
    """Rename a moved well in the list of images that belongs to an OME-XML, and delete its old row if it is empty."""
    old, new = renaming
    _rename_in_series(plate, old, new)
    _rename_in_tables(plate, renaming)
    can_delete = _can_delete_row(plate, old.partition("/")[0], old)
    # Another program may write a new well at the old path.
    if can_delete and not plate.documents.storage.exists(plate.node_path.child(old).path):
        _delete_row_of(plate, old)


def _rename_in_tables(plate: Plate, renaming: Renaming) -> None:
    """Change the name of a well, or the path of a position, in the tables of a plate whose members are locked."""
    if tables := stored_table_names(plate):
        from lamella.ops.tables.well_names import NewNames, rename_in_tables

        paths = {renaming.old: [renaming.new]}
        well_names = {well.path for well in plate.document.shared_model.wells}
        if renaming.old.count("/") == 1:  # a well: the plate may list the new path already
            names = NewNames(sorted(well_names - {renaming.new} | {renaming.old}), wells=paths)
        else:
            names = NewNames(sorted(well_names), positions=paths)
        rename_in_tables(plate, names, tables)


def _rename_in_series(plate: Plate, old: str, new: str) -> None:
    """Rename a well or position in the group OME of bioformats2raw, which lists the images of its OME-XML by path."""
    documents, version = plate.documents, plate.store_handle.version
    node_path = plate.node_path.child("OME")
    if documents.kind(node_path.path) != "group":
        return
    listed = read_part(node_path, Bioformats2RawMeta, documents.group(node_path.path))
    if listed is None or not any(f"{path}/".startswith(f"{old}/") for path in listed.series or []):
        return

    def edit(attributes: JSONObject) -> JSONObject:
        ome = version.ome(attributes)
        series = [
            f"{new}{path[len(old) :]}" if f"{path}/".startswith(f"{old}/") else path for path in ome["series"]
        ]
        return version.with_ome(attributes, {**ome, "series": series})

    documents.edit_group(node_path.path, edit)
