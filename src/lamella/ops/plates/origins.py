"""Find the plates and wells of positions, and the metadata that a new plate copies from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import LamellaError
from lamella.nodes.store_handle import NodePath
from lamella.ops.plates.acquisitions import SourcePlate, Wells, well_of
from lamella.ops.plates.map_records import without_records
from lamella.spec import versions
from lamella.spec.intents import read_creating, with_creating

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lamella.nodes.node import NGFFNode
    from lamella.nodes.position import Position
    from lamella.spec.plate import PlateAxisMeta, PlateMeta, WellGroupMeta
    from lamella.spec.versions import SpecVersion
    from lamella.types import JSONObject

_SERIES = "bioformats2raw.layout"
"""Marks a store with an OME-XML file that lists its images; a new store has none."""


def custom_attributes(node: NGFFNode | NodePath, version: SpecVersion) -> JSONObject:
    """Return the attributes of a node for a store of a version, without those about its own store."""
    node_path = node if isinstance(node, NodePath) else node.node_path
    store_handle = node_path.store_handle
    attributes = with_creating(without_records(store_handle.documents.group(node_path.path)), None)
    attributes = versions.convert_attributes(attributes, store_handle.version_of(attributes), version)
    ome = {key: value for key, value in version.ome(attributes).items() if key != _SERIES}
    return version.with_ome({key: value for key, value in attributes.items() if key != _SERIES}, ome)


def copy_attributes(
    source: NGFFNode | NodePath, target: NGFFNode | NodePath, kind: type[PlateMeta | WellGroupMeta]
) -> None:
    """Copy the custom attributes of a plate or well, which the specification does not define."""
    node_path = target if isinstance(target, NodePath) else target.node_path
    version = node_path.store_handle.version
    attributes = custom_attributes(source, version)

    def edit(own: JSONObject) -> JSONObject:
        meta = version.load(kind, own)
        return own if meta is None else with_creating(version.dump(meta, attributes), read_creating(own))

    if attributes != custom_attributes(target, version):
        node_path.store_handle.documents.edit_group(node_path.path, edit)


@dataclass(frozen=True)
class Origins:
    """Source plates, and the source well of each new well with a single one; ``alone``: some are in no plate."""

    plates: list[SourcePlate]
    wells: dict[str, NodePath]
    alone: bool

    @classmethod
    def of(cls, sources: Mapping[str, Position]) -> Origins:
        """Find the plates and wells of positions, by their paths in the new plate."""
        found = Wells()
        plates: dict[str, SourcePlate] = {}
        wells: dict[str, dict[str, NodePath]] = {}
        alone = False
        for path, position in sources.items():
            well_path = _well_path(position)
            plate = None if well_path is None else _plate_of(well_path, found)
            if plate is None or well_path is None:
                alone = True
                continue
            plates.setdefault(str(plate.node.node_path), plate)
            wells.setdefault(path.rpartition("/")[0], {})[str(well_path)] = well_path
        single = {
            path: next(iter(source_wells.values()))
            for path, source_wells in wells.items()
            if len(source_wells) == 1
        }
        return cls(list(plates.values()), single, alone)

    def rows_of_wells(self) -> dict[str, NodePath]:
        """Return the rows of the new plate that come from one row each, with that row, if it has a document."""
        source_rows: dict[str, dict[str, NodePath]] = {}
        for path, well in self.wells.items():
            if well.path:  # a well that was opened alone does not know its row
                source_rows.setdefault(path.partition("/")[0], {})[str(well.parent)] = well.parent
        rows = {
            row: next(iter(sources.values())) for row, sources in source_rows.items() if len(sources) == 1
        }
        return {
            row: source
            for row, source in rows.items()
            if source.store_handle.documents.kind(source.path) == "group"
        }

    @property
    def only(self) -> SourcePlate | None:
        """The only plate of all positions; None if there are several, or none."""
        return self.plates[0] if len(self.plates) == 1 and not self.alone else None

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


def _well_path(position: Position) -> NodePath | None:
    try:
        well = well_of(position.node_path)
    except LamellaError:
        return None
    return None if well is None else well[0]


def _plate_of(well: NodePath, wells: Wells) -> SourcePlate | None:
    try:
        plate = wells.plate_of(well)
        return None if plate is None else plate if plate.meta.rows else None
    except LamellaError:
        return None  # positions of a damaged plate can be copied


def _joined(lists: Iterable[list[PlateAxisMeta]]) -> list[PlateAxisMeta]:
    """Merge lists of rows or columns in the order of the longest list, without repetition."""
    merged: dict[str, PlateAxisMeta] = {}
    for entries in sorted(lists, key=len, reverse=True):
        for entry in entries:
            merged.setdefault(entry.name, entry.copied())
    return list(merged.values())
