"""Merge the acquisitions of several plates into those of a new plate.

Example: two plates have acquisition 0, "before" and "after"; the new plate has "before" as 0 and "after" as 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import LamellaError
from lamella.nodes.metadata_document import read_part
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.well import plate_above
from lamella.spec.plate import AcquisitionMeta, WellGroupMeta
from lamella.spec.plate_edits import new_plate
from lamella.store.metadata.parents import group_above, path_below

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.spec.plate import PlateMeta
    from lamella.types import JSONObject


def merged_acquisitions(
    sources: Mapping[str, Position], known: Sequence[AcquisitionMeta] = ()
) -> tuple[list[AcquisitionMeta], dict[str, int]]:
    """Merge acquisitions of positions with known ones; conflicting ids change. Return all, and the id of each path."""
    ids = {_words(entry): entry.id for entry in known}
    merged = {entry.id: entry for entry in known}
    chosen: dict[str, int] = {}
    acquisitions = acquisitions_of(sources)
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


def acquisitions_of(positions: Mapping[str, Position]) -> dict[str, AcquisitionMeta]:
    """Return the acquisitions of positions from their plates; one with id 0 where it is unknown."""
    (unknown,) = new_plate().acquisitions or []
    wells = Wells()
    acquisitions = {}
    for path, position in positions.items():
        try:
            acquisitions[path] = wells.acquisition_of(position) or unknown
        except LamellaError:
            acquisitions[path] = unknown  # positions of a damaged well can be copied
    return acquisitions


@dataclass(frozen=True)
class SourcePlate:
    """A plate, and its metadata as they were read."""

    node: Plate
    meta: PlateMeta


class Wells:
    """The wells and plates of positions, each read once."""

    def __init__(self) -> None:
        self._plates: dict[NodePath, SourcePlate | None] = {}
        self._images: dict[NodePath, dict[str, int | None]] = {}

    def plate_of(self, well: NodePath) -> SourcePlate | None:
        """Return the plate of a well; None if missing."""
        key = well.parent.parent if "/" in well.path else well
        if key not in self._plates:
            plate = plate_above(well, 2)
            self._plates[key] = None if plate is None else SourcePlate(plate, plate.document.shared_model)
        return self._plates[key]

    def acquisition_of(self, position: Position) -> AcquisitionMeta | None:
        """Return the acquisition of a position; None if its well states none."""
        well, name = well_of(position.node_path) or (None, "")
        number = None if well is None else self._acquisitions_in(well).get(name)
        if well is None or number is None:
            return None
        plate = self.plate_of(well)
        entries = (plate.meta.acquisitions or []) if plate is not None else []
        return next((entry for entry in entries if entry.id == number), AcquisitionMeta(id=number))

    def _acquisitions_in(self, well: NodePath) -> dict[str, int | None]:
        """Return the ids of the acquisitions of the images in a well; of an image listed twice, the first."""
        if well not in self._images:
            listed = read_part(well, WellGroupMeta, well.store_handle.documents.group(well.path))
            images = [] if listed is None else reversed(listed.images)
            self._images[well] = {image.path: image.acquisition for image in images}
        return self._images[well]


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
