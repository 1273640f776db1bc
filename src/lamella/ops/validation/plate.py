"""The walk of ``validate`` through plates and wells (PL-12, WL-01, PL-09, PL-10, and unlisted members).

Layer: ops.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lamella.spec.rules import acquisition_ids
from lamella.spec.rules.values import describe, is_integer, objects
from lamella.store.formats import V2
from lamella.store.keys import join

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from lamella.ops.validation.walk import Inspection, Judged
    from lamella.ops.walk_store import StoredNode
    from lamella.spec.rules import Location
    from lamella.types import JSON, JSONObject

Fields = list[tuple[str, int | None]]
"""Path and acquisition of each image of a well."""


def visit_plate(inspection: Inspection, node: StoredNode) -> None:
    """Check a plate, its rows, wells and images."""
    from lamella.ops.validation.walk import Judged

    version = inspection.admit(node)
    inspection.judge("plate", node)
    judged = Judged("plate", node, version)
    plate = node.ome.get("plate")
    plate = plate if isinstance(plate, dict) else {}
    at = node.location("plate")
    acquisitions = acquisition_ids(plate)
    for place, entry in objects(plate.get("wells")):
        path = entry.get("path")
        if isinstance(path, str) and path and path not in judged.fields:
            judged.fields[path] = _visit_listed(
                inspection, judged, path, acquisitions, (*at, "wells", place, "path")
            )
    _visit_rows(inspection, judged, plate, acquisitions)
    _judge_counts(inspection, judged, plate, at)
    inspection.done(judged)


def _visit_listed(
    inspection: Inspection, judged: Judged, path: str, acquisitions: Collection[int], at: Location
) -> Fields | None:
    well = inspection.read_group(join(judged.node.path, path))
    if not well.exists:
        inspection.find(
            "PL-12",
            judged.node,
            at,
            f"there is no well {describe(path)}",
            "write the well, or take it off the list",
            version=judged.version,
        )
        return None
    judged.members.append(path)
    return visit_well(inspection, well, acquisitions)


def _visit_rows(
    inspection: Inspection, judged: Judged, plate: JSONObject, acquisitions: Collection[int]
) -> None:
    """Check the row groups, and unlisted wells."""
    listed_rows = {
        entry["name"] for _, entry in objects(plate.get("rows")) if isinstance(entry.get("name"), str)
    }
    used = {path.partition("/")[0] for path in judged.fields}
    for name in judged.node.members:
        if name in ("OME", "labels"):
            continue
        row = inspection.read_group(join(judged.node.path, name))
        if row.kind == "array" or row.ome.keys() - {"version"}:
            continue
        wells = 0
        for column in row.members:
            path = f"{name}/{column}"
            if path in judged.fields:
                wells += 1
                continue
            well = inspection.read_group(join(row.path, column))
            if "well" not in well.ome and not _holds_images(inspection, well):
                continue
            wells += 1
            judged.unlisted.append(path)
            inspection.find_own(
                "LM-05",
                judged.node.path,
                f"the well {describe(path)} is there, and the plate does not list it",
                "rebuild the lists with reindex",
            )
            visit_well(inspection, well, acquisitions)
        if name in listed_rows | used or row.exists:
            _judge_row(inspection, judged, row, wells)


def _judge_row(inspection: Inspection, judged: Judged, row: StoredNode, wells: int) -> None:
    complete = row.exists and (row.zarr_format != 2 or V2.group in row.data)
    if wells and not complete:
        rule = "ST-01" if judged.node.zarr_format == 2 else "ST-02"
        inspection.find(
            rule, row, (), "the folder of the row is no group", "write its document", version=judged.version
        )
    elif not wells and row.kind == "group":
        inspection.find(
            "PL-12",
            row,
            (),
            "the row has no wells",
            "remove the empty group",
            level="SHOULD",
            version=judged.version,
        )


def visit_well(
    inspection: Inspection, node: StoredNode, acquisitions: Collection[int] | None
) -> Fields | None:
    """Check a well and its images; return them, or None if the well cannot be read."""
    from lamella.ops.validation.walk import Judged

    if not node.exists:  # a folder of images that is not a well yet: its plate reports it
        for name in node.members:
            image = inspection.read_group(join(node.path, name))
            if "multiscales" in image.ome:
                inspection.visit_image(image)
        return None
    version = inspection.admit(node)
    inspection.judge("well", node, acquisitions=acquisitions)
    judged = Judged("well", node, version)
    well = node.ome.get("well")
    well = well if isinstance(well, dict) else {}
    at = node.location("well", "images")
    fields: Fields = []
    for place, entry in objects(well.get("images")):
        path = entry.get("path")
        if not isinstance(path, str) or not path or path in {known for known, _ in fields}:
            continue
        number: JSON = entry.get("acquisition")
        fields.append((path, int(number) if is_integer(number) else None))
        image = inspection.read_group(join(node.path, path))
        if image.exists:
            judged.members.append(path)
            inspection.visit_image(image)
        else:
            inspection.find(
                "PL-12",
                node,
                (*at, place, "path"),
                f"there is no image {describe(path)}",
                "write the image, or take it off the list",
                version=version,
            )
    _visit_unlisted(inspection, judged, fields)
    if not judged.members and not judged.unlisted and not node.unreadable:
        inspection.find(
            "PL-12",
            node,
            (),
            "the well has no images",
            "remove the empty group",
            level="SHOULD",
            version=version,
        )
    inspection.done(judged)
    return None if node.unreadable else fields


def _visit_unlisted(inspection: Inspection, judged: Judged, fields: Fields) -> None:
    node, listed = judged.node, {path for path, _ in fields}
    for name in node.members:
        if name in listed:
            continue
        image = inspection.read_group(join(node.path, name))
        if "multiscales" not in image.ome:
            continue
        judged.unlisted.append(name)
        if not node.unreadable:
            inspection.find_own(
                "LM-05",
                node.path,
                f"the image {describe(name)} is there, and the well does not list it",
                "rebuild the lists with reindex",
            )
        inspection.visit_image(image)


def _holds_images(inspection: Inspection, node: StoredNode) -> bool:
    return any("multiscales" in inspection.reader.group(join(node.path, name)).ome for name in node.members)


def most_fields(fields: Mapping[str, Fields | None]) -> tuple[int, dict[int, int]] | None:
    """Return the maximum number of fields of a well, in all and of each acquisition; None for an unreadable well.

    >>> most_fields({"A/1": [("0", 0), ("1", 0)], "A/2": [("0", 1)]})
    (2, {0: 2, 1: 1})
    """
    most, per_acquisition = 0, Counter[int]()
    for listed in fields.values():
        if listed is None:
            return None
        most = max(most, len(listed))
        counts = Counter(number for _, number in listed if number is not None)
        for number, count in counts.items():
            per_acquisition[number] = max(per_acquisition[number], count)
    return most, dict(per_acquisition)


def _judge_counts(inspection: Inspection, judged: Judged, plate: JSONObject, at: Location) -> None:
    counted = most_fields(judged.fields)
    if counted is None or not judged.fields:
        return
    most, per_acquisition = counted
    stated: JSON = plate.get("field_count")
    if is_integer(stated) and stated > 0 and stated != most:
        inspection.find(
            "PL-10",
            judged.node,
            (*at, "field_count"),
            f"field_count is {describe(stated)}, the most fields of a well are {most}",
            "write the most fields of a well",
            level="SHOULD",
            version=judged.version,
        )
    for place, entry in objects(plate.get("acquisitions")):
        number: JSON = entry.get("id")
        stated = entry.get("maximumfieldcount")
        most = per_acquisition.get(int(number), 0) if is_integer(number) else 0
        if most and is_integer(stated) and 0 < stated != most:
            inspection.find(
                "PL-09",
                judged.node,
                (*at, "acquisitions", place, "maximumfieldcount"),
                f"maximumfieldcount is {describe(stated)}, the most fields of a well are {most}",
                "write the most fields of a well in this acquisition",
                level="SHOULD",
                version=judged.version,
            )
