"""Find the plates and wells of positions, and what a new plate copies from them: metadata, and merged acquisitions.

Example: two plates have acquisition 0, "before" and "after"; the new plate has "before" as 0 and "after" as 1.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import LamellaError
from lamella.nodes.metadata_document import read_part
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.well import path_in_plate, plate_above
from lamella.ops.plates.map_records import without_records
from lamella.spec import versions
from lamella.spec.own_key import read_creating, with_creating
from lamella.spec.plate import AcquisitionMeta, WellGroupMeta
from lamella.spec.plate_edits import new_plate
from lamella.store.metadata.parents import group_above, path_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lamella.nodes.node import NGFFNode
    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.spec.plate import PlateAxisMeta, PlateMeta
    from lamella.spec.versions import SpecVersion
    from lamella.types import JSONObject

_SERIES = "bioformats2raw.layout"
"""Marks a store with an OME-XML file that lists its images; a new store has none."""


def merged_acquisitions(
    sources: Mapping[str, Position], of_plate: Sequence[AcquisitionMeta] = ()
) -> tuple[list[AcquisitionMeta], dict[str, list[tuple[str, int]]]]:
    """Add the acquisitions of positions to those of a plate, with new ids for conflicts.

    Return all acquisitions, and by the path of each well the names of its positions with the ids of their acquisitions.
    """
    id_by_description = {_description(acquisition): acquisition.id for acquisition in of_plate}
    merged = {acquisition.id: acquisition for acquisition in of_plate}
    fields: dict[str, list[tuple[str, int]]] = {}
    acquisitions = acquisitions_of(sources)
    highest_id = max([0, *merged, *(acquisition.id for acquisition in acquisitions.values())])
    for path, acquisition in acquisitions.items():
        description = _description(acquisition)
        if description not in id_by_description:
            new_id = acquisition.id
            if new_id in merged:
                highest_id += 1
                new_id = highest_id
            id_by_description[description] = new_id
            merged[new_id] = acquisition.model_copy(update={"id": new_id, "maximum_field_count": None})
        well, _, name = path.rpartition("/")
        fields.setdefault(well, []).append((name, id_by_description[description]))
    return [merged[acquisition_id] for acquisition_id in sorted(merged)], fields


def acquisitions_of(positions: Mapping[str, Position]) -> dict[str, AcquisitionMeta]:
    """Return the acquisitions of positions from their plates; an unknown acquisition has id 0."""
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
        acquisition_id = None if well is None else self._acquisition_ids_in(well).get(name)
        if well is None or acquisition_id is None:
            return None
        plate = self.plate_of(well)
        listed = (plate.meta.acquisitions or []) if plate is not None else []
        unlisted = AcquisitionMeta(id=acquisition_id)
        return next((acquisition for acquisition in listed if acquisition.id == acquisition_id), unlisted)

    def _acquisition_ids_in(self, well: NodePath) -> dict[str, int | None]:
        """Return the acquisition id of each image in a well, by the image's path; the first of one listed twice."""
        if well not in self._images:
            meta = read_part(well, WellGroupMeta, well.store_handle.documents.group(well.path))
            images = [] if meta is None else reversed(meta.images)
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


def _description(acquisition: AcquisitionMeta) -> str:
    """Return a text that is equal for equal acquisitions but for their ids; an unnamed one is named by its id."""
    description: JSONObject = acquisition.to_json()
    description.pop("maximumfieldcount", None)
    default_name = f"Acquisition {description.pop('id')}"
    if description.get("name") is None:
        description["name"] = default_name
    return repr(sorted(description.items()))


# -- metadata -----------------------------------------------------------------------------------------------------


def custom_attributes(node: NGFFNode | NodePath, version: SpecVersion) -> JSONObject:
    """Return the attributes of a node in a version, without those that describe its own store."""
    node_path = node if isinstance(node, NodePath) else node.node_path
    store_handle = node_path.store_handle
    attributes = with_creating(without_records(store_handle.documents.group(node_path.path)), None)
    attributes = versions.convert_attributes(attributes, store_handle.version_of(attributes), version)
    return version.with_ome(_without_series(attributes), _without_series(version.ome(attributes)))


def _without_series(attributes: JSONObject) -> JSONObject:
    return {key: attribute for key, attribute in attributes.items() if key != _SERIES}


def copy_attributes(
    source: NGFFNode | NodePath, target: NGFFNode | NodePath, kind: type[PlateMeta | WellGroupMeta]
) -> None:
    """Copy the custom attributes of a plate or well, which the specification does not define."""
    node_path = target if isinstance(target, NodePath) else target.node_path
    version = node_path.store_handle.version
    attributes = custom_attributes(source, version)

    def edit(old: JSONObject) -> JSONObject:
        meta = version.load(kind, old)
        return old if meta is None else with_creating(version.dump(meta, attributes), read_creating(old))

    if attributes != custom_attributes(target, version):
        node_path.store_handle.documents.edit_group(node_path.path, edit)


@dataclass(frozen=True)
class Origins:
    """The plates and wells of some positions."""

    plates: list[SourcePlate]
    wells: dict[str, NodePath]
    """Source well by path of the new well, for new wells with a single source."""
    has_others: bool
    """Whether some positions are in no plate."""
    copies: dict[str, dict[str, list[str]]]
    """For each plate, the new paths of its positions by their paths in the plate."""

    @classmethod
    def of(cls, sources: Mapping[str, Position]) -> Origins:
        """Find the plates and wells of positions, by their paths in the new plate."""
        source_wells = Wells()
        plates: dict[str, SourcePlate] = {}
        wells: dict[str, dict[str, NodePath]] = {}
        copies: dict[str, dict[str, list[str]]] = {}
        has_others = False
        for path, position in sources.items():
            well_path = plate = None
            name = ""
            with suppress(LamellaError):  # positions of a damaged well or plate can be copied
                well_path, name = well_of(position.node_path) or (None, "")
                plate = None if well_path is None else source_wells.plate_of(well_path)
            if plate is None or well_path is None or not plate.meta.rows:
                has_others = True
                continue
            key = str(plate.node.node_path)
            plates.setdefault(key, plate)
            copies.setdefault(key, {}).setdefault(f"{path_in_plate(well_path)}/{name}", []).append(path)
            wells.setdefault(path.rpartition("/")[0], {})[str(well_path)] = well_path
        return cls(list(plates.values()), _single(wells), has_others, copies)

    def rows_of_wells(self) -> dict[str, NodePath]:
        """Return the source row of each row of the new plate that has a single one, if that has a document."""
        source_rows: dict[str, dict[str, NodePath]] = {}
        for path, well in self.wells.items():
            if well.path:  # a well that was opened alone does not know its row
                source_rows.setdefault(path.partition("/")[0], {})[str(well.parent)] = well.parent
        return {
            row: source
            for row, source in _single(source_rows).items()
            if source.store_handle.documents.kind(source.path) == "group"
        }

    @property
    def only(self) -> SourcePlate | None:
        """The only plate of all positions; None if there are several, or none."""
        return self.plates[0] if len(self.plates) == 1 and not self.has_others else None

    @property
    def name(self) -> str | None:
        """Name of the only plate; None without one."""
        return None if self.only is None else self.only.meta.name

    def rows(self) -> list[PlateAxisMeta]:
        """Return the rows of all plates, in their order."""
        return _joined([plate.meta.rows for plate in self.plates])

    def columns(self) -> list[PlateAxisMeta]:
        """Return the columns of all plates, in their order."""
        return _joined([plate.meta.columns for plate in self.plates])


def _single(sources: Mapping[str, Mapping[str, NodePath]]) -> dict[str, NodePath]:
    """Return the source of each new row or well that has a single source."""
    return {
        path: next(iter(candidates.values())) for path, candidates in sources.items() if len(candidates) == 1
    }


def _joined(lists: Iterable[list[PlateAxisMeta]]) -> list[PlateAxisMeta]:
    """Merge lists of rows or columns in the order of the longest list, without repetition."""
    merged: dict[str, PlateAxisMeta] = {}
    for axes in sorted(lists, key=len, reverse=True):
        for axis in axes:
            merged.setdefault(axis.name, axis.copied())
    return list(merged.values())
