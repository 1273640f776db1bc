"""Merge the acquisitions of several plates into those of a new plate.

Example: two plates have acquisition 0, "before" and "after"; the new plate has "before" as 0 and "after" as 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import LamellaError
from lamella.nodes.parts import read_part
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.well import plate_above
from lamella.spec.plate import AcquisitionMeta, WellGroupMeta
from lamella.spec.plate_edits import new_plate
from lamella.store.parents import group_above, path_below

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.nodes.position import Position
    from lamella.types import JSONObject


def merged_acquisitions(
    sources: Mapping[str, Position], known: Sequence[AcquisitionMeta] = ()
) -> tuple[list[AcquisitionMeta], dict[str, int]]:
    """Merge acquisitions of positions with known ones; conflicting ids change. Return all, and the id of each path."""
    ids = {_words(entry): entry.id for entry in known}
    merged = {entry.id: entry for entry in known}
    chosen: dict[str, int] = {}
    acquisitions = {path: acquisition_of(position) for path, position in sources.items()}
    highest = max((entry.id for entry in acquisitions.values()), default=0)
    highest = max([highest, *merged])
    for path, entry in acquisitions.items():
        words = _words(entry)
        if words not in ids:
            number = entry.id
            if number in merged:
                highest += 1
                number = highest
            ids[words] = number
            merged[number] = entry.model_copy(update={"id": number, "maximum_field_count": None})
        chosen[path] = ids[words]
    return [merged[number] for number in sorted(merged)], chosen


def acquisition_of(position: Position) -> AcquisitionMeta:
    """Return the acquisition of a position from its plate; one with id 0 if it is unknown."""
    (unknown,) = new_plate().acquisitions or []
    try:
        well = well_of(position.node_path)
        if well is None:
            return unknown
        well_path, name = well
        listed = read_part(well_path, WellGroupMeta, well_path.store_handle.documents.group(well_path.path))
        numbers = (
            [] if listed is None else [image.acquisition for image in listed.images if image.path == name]
        )
        if not numbers or numbers[0] is None:
            return unknown
        plate = plate_above(well_path, 2)
        entries = (plate.document.own_model.acquisitions or []) if plate is not None else []
        return next((entry for entry in entries if entry.id == numbers[0]), AcquisitionMeta(id=numbers[0]))
    except LamellaError:
        return unknown  # positions of a damaged well can be copied


def well_of(position: NodePath) -> tuple[NodePath, str] | None:
    """Return the well of a position, even if the position was opened alone, and its name in the well."""
    if position.path:
        return position.parent, position.path.rpartition("/")[2]
    storage = position.store_handle.documents.storage
    documents = group_above(storage, 1, read_only=True)
    if documents is None or documents.format != position.store_handle.documents.format:
        return None
    return NodePath(StoreHandle(documents, position.store_handle.version), ""), path_below(storage, 1)


def _words(entry: AcquisitionMeta) -> str:
    """Return a text that is equal for acquisitions with equal descriptions; without a description, the number."""
    description: JSONObject = entry.to_json()
    description.pop("maximumfieldcount", None)
    number = description.pop("id")
    if description.get("name") in (None, f"Acquisition {number}"):
        description["name"] = f"Acquisition {number}"
    return repr(sorted(description.items()))
