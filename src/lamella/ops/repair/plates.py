"""Fix plates and wells: lists, indices and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.ops.repair.fixes import distinct, fixes
from lamella.ops.repair.reindex import recounted_acquisitions
from lamella.spec.plate_names import is_name
from lamella.spec.rules import acquisition_ids
from lamella.spec.rules.value import axis_names, is_integer, objects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.ops.repair.fixes import Facts
    from lamella.types import JSON, JSONObject


@fixes("PL-13", kinds=("plate",))
def list_wells_once(ome: JSONObject, _facts: Facts) -> None:
    """List each well once."""
    plate = _object(ome, "plate")
    if not isinstance(plate.get("wells"), list):
        return
    paths: set[str] = set()
    distinct_wells = []
    for well in plate["wells"]:
        path = well.get("path") if isinstance(well, dict) else None
        if isinstance(path, str) and path in paths:
            continue
        if isinstance(path, str):
            paths.add(path)
        distinct_wells.append(well)
    plate["wells"] = distinct_wells


@fixes("PL-12", kinds=("plate",))
def exchange_swapped_paths(ome: JSONObject, facts: Facts) -> None:
    """Exchange row and column in the paths of all wells, if the wells exist under the with_exchanged_names paths."""
    paths = [path for path, _ in _wells(ome)]
    if paths and set(paths) == facts.swapped:
        for path, well in _wells(ome):
            well["path"] = with_exchanged_names(path)


@fixes("PL-06", "PL-07", kinds=("plate",))
def exchange_rows_and_columns(ome: JSONObject, _facts: Facts) -> None:
    """Exchange the lists of rows and columns, if the paths of all wells name them the other way round."""
    plate = _object(ome, "plate")
    names = {key: _names(plate.get(key)) for key in ("rows", "columns")}
    wells = [path.partition("/") for path, _ in _wells(ome)]
    if not wells or None in names.values():
        return
    rows, columns = {row for row, _, _ in wells}, {column for _, _, column in wells}
    row_names, column_names = set(names["rows"] or ()), set(names["columns"] or ())
    some_fit = rows & row_names or columns & column_names
    if not some_fit and rows <= column_names and columns <= row_names:
        plate["rows"], plate["columns"] = plate["columns"], plate["rows"]


@fixes("PL-12", kinds=("plate",))
def drop_lost_wells(ome: JSONObject, facts: Facts) -> None:
    """Remove wells that are not in the store from the list, unless none would remain."""
    _drop_lost(_object(ome, "plate"), "wells", facts)


@fixes("PL-06", "PL-07", kinds=("plate",))
def index_by_path(ome: JSONObject, facts: Facts) -> None:
    """Write the indices of each well by its path, and list its row and column."""
    plate = _object(ome, "plate")
    indices = {}
    for key in ("rows", "columns"):
        names = _names(plate.get(key))
        if names is None:
            return
        indices[key] = {name: number for number, name in reversed(list(enumerate(names)))}
    for path, well in _wells(ome):
        if path in facts.lost:  # its row and column would be listed for a missing well
            continue
        keys = ("rows", "rowIndex"), ("columns", "columnIndex")
        for (key, index_key), name in zip(keys, path.split("/"), strict=True):
            if name not in indices[key]:
                indices[key][name] = len(plate[key])
                plate[key].append({"name": name})
            stated: JSON = well.get(index_key)
            is_index = is_integer(stated) and 0 <= stated < len(plate[key])
            if not is_index or plate[key][int(stated)]["name"] != name:
                well[index_key] = indices[key][name]


@fixes("WL-04", kinds=("plate",))
def list_acquisitions(ome: JSONObject, facts: Facts) -> None:
    """List the acquisitions to which images belong."""
    plate = _object(ome, "plate")
    if not plate or facts.fields is None or not _are_acquisitions(plate.get("acquisitions", [])):
        return
    ids = {
        number
        for images in facts.fields.values()
        for _, number in images
        if number is not None and number >= 0
    }
    if ids - set(acquisition_ids(plate)):
        plate["acquisitions"] = recounted_acquisitions(plate.get("acquisitions"), facts.fields)


@fixes("PL-09", "PL-10", kinds=("plate",))
def count_fields(ome: JSONObject, facts: Facts) -> None:
    """Write the maximum number of fields of a well, for the plate and for each acquisition."""
    plate = _object(ome, "plate")
    max_fields = max(map(len, (facts.fields or {}).values()), default=0)
    if not plate or facts.fields is None or not max_fields:
        return
    plate["field_count"] = max_fields
    if "acquisitions" in plate and _are_acquisitions(plate["acquisitions"]):
        plate["acquisitions"] = recounted_acquisitions(plate["acquisitions"], facts.fields)


def _are_acquisitions(acquisitions: JSON) -> bool:
    return isinstance(acquisitions, list) and all(
        isinstance(acquisition, dict) and is_integer(acquisition.get("id")) for acquisition in acquisitions
    )


@fixes("WL-03", kinds=("well",))
def list_images_once(ome: JSONObject, _facts: Facts) -> None:
    """List each image once if its entries are equal; of different acquisitions, the right one is unknown."""
    well = _object(ome, "well")
    if isinstance(well.get("images"), list):
        well["images"] = list(distinct(well["images"]))


@fixes("PL-12", kinds=("well",))
def drop_lost_images(ome: JSONObject, facts: Facts) -> None:
    """Remove images that are not in the store from the list, unless none would remain."""
    _drop_lost(_object(ome, "well"), "images", facts)


def with_exchanged_names(path: str) -> str:
    """Return the path of a well with row and column with_exchanged_names."""
    row, _, column = path.partition("/")
    return f"{column}/{row}"


def _wells(ome: JSONObject) -> Iterator[tuple[str, JSONObject]]:
    """Yield the wells of a plate whose paths are a row and a column, with these paths."""
    for _, well in objects(_object(ome, "plate").get("wells")):
        path = well.get("path")
        names = path.split("/") if isinstance(path, str) else []
        if len(names) == 2 and all(map(is_name, names)):
            yield str(path), well


def _names(rows_or_columns: JSON) -> list[str] | None:
    """Return the names of rows or columns; None if one lacks a name."""
    return axis_names(rows_or_columns) if isinstance(rows_or_columns, list) else None


def _drop_lost(owner: JSONObject, key: str, facts: Facts) -> None:
    entries = owner.get(key)
    if not isinstance(entries, list):
        return
    lost_entries = [entry for _, entry in objects(entries) if entry.get("path") in [*facts.lost]]
    existing = [entry for entry in entries if entry not in lost_entries]
    if existing:
        owner[key] = existing


def _object(ome: JSONObject, key: str) -> JSONObject:
    value: JSON = ome.get(key)
    return value if isinstance(value, dict) else {}
