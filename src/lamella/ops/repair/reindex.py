"""Rebuild the metadata of a plate and its wells from the images in the store.

Many jobs may each write the images of their own wells; one call at the end lists them in the plate. Other content of
the old metadata stays: names, acquisitions, rows and columns without wells, and every unknown key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, MetadataError, clause
from lamella.ops.raw_nodes import StoredNode, StoreReader
from lamella.spec.own_key import own_record
from lamella.spec.plate_edits import count_fields
from lamella.spec.plate_names import is_name
from lamella.spec.rules import VERSION_TRAITS
from lamella.spec.rules.value import is_integer, is_text, objects
from lamella.spec.versions import by_name
from lamella.store.keys import join, name_order, title_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.nodes.plate import Plate
    from lamella.ops.validation.plate import Fields
    from lamella.spec.versions import SpecVersion
    from lamella.store.storage import Storage
    from lamella.types import JSON, JSONObject


@dataclass
class PlateIndex:
    """New metadata of a plate and its wells, derived from the images in the store."""

    version: SpecVersion
    groups: dict[str, JSONObject] = field(default_factory=dict)
    """New attributes of the groups that change, by path. The plate is the last, so that no well is listed before it
    exists."""
    wells: dict[str, list[str]] = field(default_factory=dict)
    """Names of images by path of the well."""


def reindex(plate: Plate) -> None:
    """Rebuild the metadata of a plate and its wells from the images in the store; see :meth:`Plate.reindex`."""
    plate.require_writable("reindex the plate")
    documents = plate.documents
    with documents.lock(plate.path):
        documents.put_groups(plan_index(documents.storage, plate.path).groups)
    plate.document.refresh()


def plan_index(storage: Storage, path: str, *, replace_damaged: bool = False) -> PlateIndex:
    """Plan the documents of a plate, which may not be a group yet, and of its wells. Nothing is written.

    A plate without a name gets that of its folder. ``replace_damaged`` rebuilds unreadable documents of the plate and
    its wells, instead of raising MetadataError; their other content is lost. Images must be in folders
    ``row/column/image`` with alphanumeric names, and of one version.
    """
    try:
        return _plan_index(storage, path, replace_damaged)
    except MetadataError as error:
        location = storage.where(path)
        if location in str(error):
            raise
        raise MetadataError(f"Cannot reindex {location}: {clause(error)}.") from error


def _plan_index(storage: Storage, path: str, replace_damaged: bool) -> PlateIndex:
    reader = StoreReader(storage, must_read=True)
    wells: dict[str, dict[str, StoredNode]] = {}
    nodes: dict[str, StoredNode] = {}
    for row in _folders(reader, path):
        for column in _folders(reader, join(path, row)):
            well = reader.group(join(path, f"{row}/{column}"))
            images = _images_by_name(reader, well)
            if images:
                wells[f"{row}/{column}"] = images
                nodes[f"{row}/{column}"] = well
        nodes[row] = reader.group(join(path, row))
    if not wells:
        raise InvalidArgumentError(
            f"There are no images in {storage.name}{'/' + path if path else ''} to make a plate of. A plate has its "
            "images in folders row/column/image, such as 'A/1/0'."
        )
    index = PlateIndex(_version_of_images(wells, storage))
    fields: dict[str, Fields] = {}
    plate = _read_attributes(storage, reader.group(path), replace_damaged)
    old = _part_of(plate, index.version, "plate")
    acquisition = _only_acquisition(old)
    for well_path, images in wells.items():
        attributes = _read_attributes(storage, nodes[well_path], replace_damaged)
        new, fields[well_path] = _well_attributes(attributes, images, acquisition, index.version)
        index.wells[well_path] = list(images)
        _add_if_changed(index, join(path, well_path), nodes[well_path], new)
    for row in dict.fromkeys(well_path.partition("/")[0] for well_path in wells):
        if not nodes[row].exists:
            index.groups[join(path, row)] = index.version.with_ome({}, {})
    new = index.version.with_ome(
        plate,
        {
            **index.version.ome(plate),
            "plate": _plate_part(old, fields, title_of(path) or storage.title or "plate", index.version),
        },
    )
    _add_if_changed(index, path, reader.group(path), new)
    return index


def _folders(reader: StoreReader, path: str) -> list[str]:
    """List the folders that may be rows or columns: alphanumeric, and not arrays."""
    if not reader.storage.can_list:
        raise InvalidArgumentError(
            f"{reader.storage.name} cannot list its folders, so a plate cannot be rebuilt from it."
        )
    return [name for name in reader.storage.list(path) if is_name(name) and name not in ("OME", "labels")]


def _images_by_name(reader: StoreReader, well: StoredNode) -> dict[str, StoredNode]:
    """Return the images of a well, in natural order; listed images may have any name."""
    listed = [listed_image.get("path") for _, listed_image in objects(_listed_images(well.ome.get("well")))]
    images = {}
    for name in well.members:
        if not (is_name(name) or name in listed):
            continue
        image = reader.group(join(well.path, name))
        if image.unreadable:
            raise MetadataError(
                f"Cannot reindex: the document of {reader.storage.where(image.path)} cannot be read "
                f"({image.findings[0].found}). Restore it, or delete the image."
            )
        # A position without its first array has the record of its axes.
        is_image = (
            image.ome.keys() & {"multiscales", "omero"} or own_record(image.attributes, "axes") is not None
        )
        if image.kind == "group" and is_image:
            images[name] = image
    return images


def _listed_images(well: JSON) -> JSON:
    return well.get("images") if isinstance(well, dict) else None


def _version_of_images(wells: dict[str, dict[str, StoredNode]], storage: Storage) -> SpecVersion:
    versions = {image.version: image.path for images in wells.values() for image in images.values()}
    unknown = [name for name in versions if name not in VERSION_TRAITS]
    if len(versions) > 1 or unknown:
        shown = ", ".join(f"{name or 'unknown'} ({storage.where(path)})" for name, path in versions.items())
        raise MetadataError(
            f"Cannot reindex {storage.name}: its images have to be of one OME-NGFF version that can be written, and "
            f"are of {shown}."
        )
    return by_name(str(next(iter(versions))))


def _read_attributes(storage: Storage, node: StoredNode, replace_damaged: bool) -> JSONObject:
    if node.unreadable:
        if replace_damaged:
            return {}
        raise MetadataError(
            f"Cannot reindex: the document of {storage.where(node.path)} cannot be read ({node.findings[0].found}). "
            "`lamella repair --reindex` rebuilds it, and keeps a backup."
        )
    attributes = node.attributes
    return attributes if isinstance(attributes, dict) else {}


def _part_of(attributes: JSONObject, version: SpecVersion, key: str) -> JSONObject:
    part = version.ome(attributes).get(key)
    return part if isinstance(part, dict) else {}


def _add_if_changed(index: PlateIndex, path: str, node: StoredNode, new: JSONObject) -> None:
    if node.unreadable or not node.exists or new != node.attributes:
        index.groups[path] = new


# -- wells ---------------------------------------------------------------------------------------------------------


def _only_acquisition(plate: JSONObject) -> int | None:
    """Return the only acquisition of a plate, to which every image belongs; None if there are several."""
    ids = [entry["id"] for _, entry in objects(plate.get("acquisitions")) if is_integer(entry.get("id"))]
    return int(ids[0]) if len(ids) == 1 else None


def _well_attributes(
    attributes: JSONObject, images: Iterable[str], acquisition: int | None, version: SpecVersion
) -> tuple[JSONObject, Fields]:
    old = _part_of(attributes, version, "well")
    old_images = {
        image["path"]: image for _, image in objects(old.get("images")) if is_text(image.get("path"))
    }
    acquisition_key = {} if acquisition is None else {"acquisition": acquisition}
    new_images = [old_images.get(name, {"path": name, **acquisition_key}) for name in images]
    well = {**_with_version_key(old, version), "images": new_images}
    fields = [
        (image["path"], int(image["acquisition"]) if is_integer(image.get("acquisition")) else None)
        for image in new_images
    ]
    return version.with_ome(attributes, {**version.ome(attributes), "well": well}), fields


def _with_version_key(part: JSONObject, version: SpecVersion) -> JSONObject:
    """Return a part with the version key that it should have (VE-02), or without it (VE-04)."""
    if VERSION_TRAITS[version.name].inner_versions:
        return {"version": version.name} | part | {"version": version.name}
    return {key: value for key, value in part.items() if key != "version"}


# -- the plate -----------------------------------------------------------------------------------------------------


def _plate_part(old: JSONObject, fields: dict[str, Fields], name: str, version: SpecVersion) -> JSONObject:
    rows = _rows_or_columns(old.get("rows"), [path.partition("/")[0] for path in fields])
    columns = _rows_or_columns(old.get("columns"), [path.partition("/")[2] for path in fields])
    row_index = {row["name"]: index for index, row in enumerate(rows)}
    column_index = {column["name"]: index for index, column in enumerate(columns)}
    old_wells = {entry["path"]: entry for _, entry in objects(old.get("wells")) if is_text(entry.get("path"))}
    wells = []
    for path in fields:
        row, _, column = path.partition("/")
        new_entry = {"path": path, "rowIndex": row_index[row], "columnIndex": column_index[column]}
        wells.append(old_wells.get(path, {}) | new_entry)
    plate = _with_version_key(old, version)
    if not isinstance(plate.get("name"), str):
        plate["name"] = name
    plate |= {"rows": rows, "columns": columns}
    plate["wells"] = sorted(wells, key=lambda well: (well["rowIndex"], well["columnIndex"]))
    plate["field_count"] = max(map(len, fields.values()))
    acquisitions = recounted_acquisitions(plate.get("acquisitions"), fields)
    if acquisitions:
        plate["acquisitions"] = acquisitions
    return plate


def _rows_or_columns(old: JSON, names: Iterable[str]) -> list[JSONObject]:
    """Return the old rows or columns, also those without wells (PL-04), and those with new names, in natural order."""
    old_by_name = {entry["name"]: entry for _, entry in objects(old) if is_text(entry.get("name"))}
    return [old_by_name.get(name, {"name": name}) for name in sorted({*old_by_name, *names}, key=name_order)]


def recounted_acquisitions(old: JSON, fields: dict[str, Fields]) -> list[JSONObject]:
    """Return acquisitions with numbers of fields (PL-09), and add those that only images state (WL-04)."""
    acquisitions = [dict(acquisition) for _, acquisition in objects(old)]
    ids = [int(acquisition["id"]) for acquisition in acquisitions if is_integer(acquisition.get("id"))]
    default = ids[0] if len(ids) == 1 else None
    _, counts = count_fields(fields.values(), default)
    new_ids = sorted(new_id for new_id in counts.keys() - set(ids) if new_id >= 0)
    acquisitions += [{"id": new_id, "name": f"Acquisition {new_id}"} for new_id in new_ids]
    for acquisition in acquisitions:
        count = counts.get(int(acquisition["id"]), 0) if is_integer(acquisition.get("id")) else 0
        if count and acquisition["id"] >= 0:
            acquisition["maximumfieldcount"] = count
    return acquisitions
