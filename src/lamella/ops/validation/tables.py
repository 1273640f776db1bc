"""Check the tables beside an image or in a plate: the list of their names, their descriptions and files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lamella.errors import LamellaError, MissingDependencyError, clause
from lamella.spec.rules.value import describe
from lamella.spec.tables import (
    BACKENDS,
    LABEL_TYPES,
    ROI_TYPES,
    read_replacing_table,
    table_info,
    table_names,
)
from lamella.store.keys import V2, V3, join
from lamella.store.metadata.documents import Documents

if TYPE_CHECKING:
    from lamella.ops.raw_nodes import StoredNode
    from lamella.ops.validation.walk import Inspection
    from lamella.spec.tables import TableInfo
    from lamella.types import JSONObject


class TableGroup(NamedTuple):
    """A group of tables: the ``names`` that are listed or exist, and listed names that are not stored."""

    path: str
    names: list[str]
    absent: list[str]


_TABLE_KEYS = frozenset({"type", "fractal_table_version", "table_version"})


def visit_tables(inspection: Inspection, node: StoredNode) -> None:
    """Check the group of tables in an image or plate (LM-21 to LM-24); other folders named "tables" are ignored."""
    if node.names is None or "tables" not in node.names:
        return
    group = inspection.reader.group(join(node.path, "tables"))
    if group.kind != "group" or group.unreadable or not isinstance(group.attributes, dict):
        return
    members = {name: inspection.reader.group(join(group.path, name)) for name in group.members}
    existing = [name for name, member in members.items() if _is_table(member)]
    if "tables" not in group.attributes and not existing:
        return
    inspection.read_group(group.path)
    listed = _check_list(inspection, group, existing)
    replacing = read_replacing_table(group.attributes)
    for name in listed:
        if replacing is not None and replacing[0] == name:
            continue  # a killed call left it half copied; readers open the complete table under its temporary name
        _check_table(inspection, node, inspection.read_group(join(group.path, name)))


def _is_table(node: StoredNode) -> bool:
    attributes = node.attributes
    return node.kind == "group" and isinstance(attributes, dict) and bool(_TABLE_KEYS & attributes.keys())


def _check_list(inspection: Inspection, group: StoredNode, existing: list[str]) -> list[str]:
    """Check the list of tables; return the listed tables that exist."""
    attributes: JSONObject = group.attributes
    stored = attributes.get("tables")
    listed = table_names(attributes)
    replacing = read_replacing_table(attributes)
    if not isinstance(stored, list):
        problem = "there is no list of tables" if stored is None else f"tables is {describe(stored)}"
        inspection.report("LM-21", group.path, problem, "list the names of the tables")
    elif len(stored) > len(listed):
        inspection.report(
            "LM-21", group.path, "tables lists a name twice, or no name", "list each once", at=("tables",)
        )
    missing = [
        name
        for name in listed
        if not inspection.reader.group(join(group.path, name)).exists
        and (replacing is None or replacing[0] != name)
    ]
    absent = []
    for name in missing:
        lost = inspection.describe_lost(join(group.path, name), group, "group")
        if lost is None:
            absent.append(name)
        found, remedy = lost or (
            f"there is no table {describe(name)}",
            "write it, or remove it from the list",
        )
        at = ("tables", stored.index(name) if isinstance(stored, list) else 0)
        inspection.report("LM-21", group.path, found, remedy, at=at)
    for name in existing:
        if name not in listed:
            inspection.report(
                "LM-21", group.path, f"the table {describe(name)} is not listed", "list it, or delete it"
            )
    inspection.tables.append(TableGroup(group.path, [*listed, *existing], absent))
    return [name for name in listed if name not in missing]


def _check_table(inspection: Inspection, image: StoredNode, table: StoredNode) -> None:
    if not isinstance(table.attributes, dict) or not table.exists:
        return
    info = table_info(table.attributes)
    required_member = {"anndata": "obs", "json": "table"}.get(info.backend, f"table.{info.backend}")
    if "backend" not in table.attributes and "encoding-type" not in table.attributes:
        inspection.report("LM-22", table.path, "it has no backend", "write its backend")
    elif info.backend not in BACKENDS:
        found = f"the backend is {describe(info.backend)}"
        inspection.report("LM-22", table.path, found, f"use one of {', '.join(BACKENDS)}", at=("backend",))
    elif table.names is not None and required_member not in table.names:
        found = f"the backend is {describe(info.backend)}, and there is no {required_member}"
        remedy = "restore it from a copy, or delete the table"
        inspection.report("LM-22", table.path, found, remedy, at=("backend",))
    elif info.type in ROI_TYPES:
        _check_regions(inspection, table, info)
    if info.type not in LABEL_TYPES:
        return
    if info.label is None:
        found = "it has no region"
    elif not inspection.reader.group(join(image.path, f"labels/{info.label}")).exists:
        found = f"there is no label image {describe(info.label)}"
    else:
        return
    inspection.report(
        "LM-23",
        table.path,
        found,
        "name the label image whose labels its rows describe",
        at=("region",) if "region" in table.attributes else (),
    )


def _check_regions(inspection: Inspection, table: StoredNode, info: TableInfo) -> None:
    """Check the rows of a table of regions (LM-24); a Parquet file only if pyarrow is installed."""
    from lamella.ops.tables.encoding import decode_table
    from lamella.ops.tables.frames import region_problem

    documents = Documents(inspection.reader.storage, V3.number if table.zarr_format == 3 else V2.number)
    try:
        problem = region_problem(decode_table(documents, table.path, info))
    except MissingDependencyError:
        return
    except LamellaError as error:
        problem = f"cannot be read: {clause(error)}"
    if problem is not None:
        fix = "write the columns of regions, or another type of table"
        inspection.report("LM-24", table.path, f"it {problem}", fix, at=("type",))
