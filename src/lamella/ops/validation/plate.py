"""Visit plates and wells in an inspection, and check their members, listed or not (PL-12, PL-09, PL-10, LM-05)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.ops.validation.tables import visit_tables
from lamella.spec.plate_edits import count_fields
from lamella.spec.rules import acquisition_ids
from lamella.spec.rules.value import describe, is_integer, objects
from lamella.store.keys import V2, join

if TYPE_CHECKING:
    from collections.abc import Collection

    from lamella.ops.raw_nodes import StoredNode
    from lamella.ops.validation.walk import CheckedGroup, Inspection
    from lamella.spec.rules import Location
    from lamella.types import JSON, JSONObject

Fields = list[tuple[str, int | None]]
"""Path and acquisition of each image of a well."""


def visit_plate(inspection: Inspection, node: StoredNode) -> None:
    """Check a plate, its rows, wells and images."""
    from lamella.ops.validation.walk import CheckedGroup

    version = inspection.check_group(node)
    inspection.check_document("plate", node)
    checked = CheckedGroup("plate", node, version)
    plate = node.ome.get("plate")
    plate = plate if isinstance(plate, dict) else {}
    at = node.location("plate")
    acquisitions = acquisition_ids(plate)
    locations: dict[str, Location] = {}
    for number, listed_well in objects(plate.get("wells")):
        path = listed_well.get("path")
        if isinstance(path, str) and path:
            locations.setdefault(path, (*at, "wells", number, "path"))

    def visit(part: Inspection, path: str) -> tuple[bool, Fields | None]:
        well = part.read_group(join(node.path, path))
        if not well.exists:
            part.report_missing("PL-12", node, locations[path], "well", path, version=version)
            return False, None
        return True, visit_well(part, well, acquisitions)

    for path, (exists, fields) in inspection.visit_parts(list(locations), visit).items():
        checked.fields[path] = fields
        if exists:
            checked.members.append(path)
    _visit_rows(inspection, checked, plate, acquisitions)
    visit_tables(inspection, node)
    _check_counts(inspection, checked, plate, at)
    inspection.finish_group(checked)


def _visit_rows(
    inspection: Inspection, checked: CheckedGroup, plate: JSONObject, acquisitions: Collection[int]
) -> None:
    """Check the groups of rows, and unlisted wells."""
    row_names = {path.partition("/")[0] for path in checked.fields}
    row_names |= {
        listed_row["name"]
        for _, listed_row in objects(plate.get("rows"))
        if isinstance(listed_row.get("name"), str)
    }
    for name in checked.node.members:
        if name in ("OME", "labels", "tables"):
            continue
        row = inspection.read_group(join(checked.node.path, name))
        if (row.kind == "array" and name not in row_names) or row.ome.keys() - {"version"}:
            continue
        wells = 0
        for column in row.members:
            path = f"{name}/{column}"
            if path in checked.fields:
                wells += 1
                continue
            well = inspection.read_group(join(row.path, column))
            if "well" not in well.ome and not _has_images(inspection, well):
                continue
            wells += 1
            checked.unlisted.append(path)
            found = f"the well {describe(path)} exists, and the plate does not list it"
            inspection.report("LM-05", checked.node.path, found, "rebuild the lists with reindex")
            visit_well(inspection, well, acquisitions)
        if name in row_names or row.exists:
            _check_row(inspection, checked, row, wells)


def _check_row(inspection: Inspection, checked: CheckedGroup, row: StoredNode, wells: int) -> None:
    is_group = row.exists and row.kind != "array" and (row.zarr_format != 2 or not row.lacks(V2.group))
    if wells and not is_group:
        rule = "ST-01" if checked.node.zarr_format == 2 else "ST-02"
        inspection.report(
            rule, row, "the folder of the row is not a group", "write its document", version=checked.version
        )
    elif not wells and row.kind == "group":
        found = "the row has no wells"
        remedy = "remove the empty group"
        inspection.report("PL-12", row, found, remedy, level="SHOULD", version=checked.version)


def visit_well(
    inspection: Inspection, node: StoredNode, acquisitions: Collection[int] | None
) -> Fields | None:
    """Check a well and its images; return them, or None if the well cannot be read."""
    from lamella.ops.validation.walk import CheckedGroup

    if not node.exists:  # a folder of images without a document: its plate reports it
        for name in node.members:
            image = inspection.read_group(join(node.path, name))
            if "multiscales" in image.ome:
                inspection.visit_image(image)
        return None
    version = inspection.check_group(node)
    inspection.check_document("well", node, acquisitions=acquisitions)
    checked = CheckedGroup("well", node, version)
    well = node.ome.get("well")
    well = well if isinstance(well, dict) else {}
    at = node.location("well", "images")
    fields: Fields = []
    for position, listed_image in objects(well.get("images")):
        path = listed_image.get("path")
        if not isinstance(path, str) or not path or path in {listed_path for listed_path, _ in fields}:
            continue
        acquisition: JSON = listed_image.get("acquisition")
        fields.append((path, int(acquisition) if is_integer(acquisition) else None))
        image = inspection.read_group(join(node.path, path))
        if image.exists:
            checked.members.append(path)
            inspection.visit_image(image)
        else:
            inspection.report_missing("PL-12", node, (*at, position, "path"), "image", path, version=version)
    _visit_unlisted_images(inspection, checked, fields)
    if not checked.members and not checked.unlisted and not node.unreadable:
        inspection.report(
            "PL-12", node, "the well has no images", "remove the empty group", level="SHOULD", version=version
        )
    inspection.finish_group(checked)
    return None if node.unreadable else fields


def _visit_unlisted_images(inspection: Inspection, checked: CheckedGroup, fields: Fields) -> None:
    node, listed = checked.node, {path for path, _ in fields}
    for name in node.members:
        if name in listed:
            continue
        image = inspection.read_group(join(node.path, name))
        if "multiscales" not in image.ome:
            continue
        checked.unlisted.append(name)
        if not node.unreadable:
            found = f"the image {describe(name)} exists, and the well does not list it"
            inspection.report("LM-05", node.path, found, "rebuild the lists with reindex")
        inspection.visit_image(image)


def _has_images(inspection: Inspection, node: StoredNode) -> bool:
    return any("multiscales" in inspection.reader.group(join(node.path, name)).ome for name in node.members)


def _check_counts(inspection: Inspection, checked: CheckedGroup, plate: JSONObject, at: Location) -> None:
    fields = [listed for listed in checked.fields.values() if listed is not None]
    if not fields or len(fields) < len(checked.fields):  # a well cannot be read
        return
    max_fields, per_acquisition = count_fields(fields)
    count: JSON = plate.get("field_count")
    if is_integer(count) and count > 0 and count != max_fields:
        inspection.report(
            "PL-10",
            checked.node,
            f"field_count is {describe(count)}, the most fields of a well are {max_fields}",
            "write the most fields of a well",
            at=(*at, "field_count"),
            level="SHOULD",
            version=checked.version,
        )
    for index, listed_acquisition in objects(plate.get("acquisitions")):
        acquisition: JSON = listed_acquisition.get("id")
        count = listed_acquisition.get("maximumfieldcount")
        max_fields = per_acquisition.get(int(acquisition), 0) if is_integer(acquisition) else 0
        if max_fields and is_integer(count) and 0 < count != max_fields:
            inspection.report(
                "PL-09",
                checked.node,
                f"maximumfieldcount is {describe(count)}, the most fields of a well are {max_fields}",
                "write the most fields of a well in this acquisition",
                at=(*at, "acquisitions", index, "maximumfieldcount"),
                level="SHOULD",
                version=checked.version,
            )
