"""Check the metadata of one plate (PL), one well (WL), or one group of a bioformats2raw collection (BF)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lamella.spec.rules.value import (
    check_inner_version,
    describe,
    find_list,
    find_object,
    is_integer,
    is_number,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from lamella.spec.rules.finding import Finding
    from lamella.spec.rules.value import Findings, Value
    from lamella.types import JSON


_NAME = re.compile(r"[A-Za-z0-9]+")
_WELL_PATH = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9]+")
_INDEX_KEYS = {"rowIndex": "rows", "columnIndex": "columns"}


def check_plate(ome: Value) -> Findings:
    """Check ``plate``."""
    plate = yield from find_object(ome, "plate", "PL-05", "write an object with rows, columns and wells")
    if plate is None:
        return
    yield from check_inner_version(plate, "VE-02")
    yield from _check_rows_or_columns(plate, "columns", "PL-01")
    yield from _check_rows_or_columns(plate, "rows", "PL-02")
    yield from _check_wells(plate)
    if "acquisitions" in plate.raw:
        yield from _check_acquisitions(plate["acquisitions"])
    if "name" not in plate.raw:
        yield plate.finding("PL-10", "the plate has no name", "name it")
    yield from _check_string(plate, "name", "PL-10")
    if "field_count" not in plate.raw:
        yield plate.finding(
            "PL-10", "the plate has no field_count", "add the maximum number of fields of a well"
        )
    yield from _check_count(plate, "field_count", "PL-10")


def _check_rows_or_columns(plate: Value, key: str, rule: str) -> Findings:
    entries = yield from find_list(plate, key, rule, f"list the {key}, each with a name", name="plate")
    if entries is None:
        return
    seen: set[str] = set()
    folded: set[str] = set()
    for index, entry in enumerate(entries.raw):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            yield _unnamed(entries[index], rule)
            continue
        if not _NAME.fullmatch(name):
            found = f"the name {describe(name)} is not alphanumeric"
            yield entries.finding("PL-03", found, "use letters and digits only", index, "name")
        if name in seen:
            found = f"the name {describe(name)} is used twice"
            yield entries.finding("PL-03", found, "list it once", index, "name")
        elif name.casefold() in folded:
            found = f"the name {describe(name)} differs from another only by case"
            remedy = "rename one: some file systems ignore case"
            yield entries.finding("PL-03", found, remedy, index, "name", level="SHOULD")
        seen.add(name)
        folded.add(name.casefold())


def _unnamed(entry: Value, rule: str) -> Finding:
    remedy = 'write an object such as {"name": "A"}'
    if isinstance(entry.raw, dict) and "name" in entry.raw:
        return entry.wrong(rule, "name", remedy, name="the name")
    return entry.finding(rule, f"the entry is {entry}", remedy)


def _names(plate: JSON, key: str) -> list[str | None] | None:
    """Return the names of rows or columns in order, None for an unreadable one."""
    entries = plate.get(key)
    if not isinstance(entries, list):
        return None
    return [
        entry["name"] if isinstance(entry, dict) and isinstance(entry.get("name"), str) else None
        for entry in entries
    ]


def _check_wells(plate: Value) -> Findings:
    remedy = "list the wells with path, rowIndex, columnIndex"
    wells = yield from find_list(plate, "wells", "PL-05", remedy, name="plate")
    if wells is None:
        return
    names = {key: _names(plate.raw, plural) for key, plural in _INDEX_KEYS.items()}
    rows, columns = (
        {number: name for number, name in enumerate(listed or ()) if name and _NAME.fullmatch(name)}
        for listed in names.values()
    )
    seen: set[str] = set()
    for index, raw in enumerate(wells.raw):
        if raw.__class__ is dict:
            # Opening a plate checks all its wells, often thousands. This quick check accepts a well whose path and
            # indices agree; the others are checked rule by rule below.
            row, column, path = raw.get("rowIndex"), raw.get("columnIndex"), raw.get("path")
            # Only integers: a dict finds True and 1.0 as the key 1.
            row_name = rows.get(row) if row.__class__ is int else None
            column_name = columns.get(column) if column.__class__ is int else None
            if row_name and column_name and path == f"{row_name}/{column_name}" and path not in seen:
                seen.add(path)
                continue
        well = wells[index]
        if not isinstance(raw, dict):
            yield well.finding("PL-05", f"the well is {well}", "write an object")
            continue
        for key in ("path", *_INDEX_KEYS):
            if key not in raw:
                yield well.finding("PL-05", f"the well has no {key}", "add it")
        for key in _INDEX_KEYS:
            yield from _check_index(well, key, names[key])
        yield from _check_well_path(well, names)
        path = raw.get("path")
        if not isinstance(path, str):
            continue
        if path in seen:
            yield well.finding("PL-13", f"the well {describe(path)} is listed twice", "list it once", "path")
        seen.add(path)


def _check_index(well: Value, key: str, names: list[str | None] | None) -> Findings:
    if key not in well.raw:
        return
    index, plural = well.raw[key], _INDEX_KEYS[key]
    remedy = f"write the index in {plural}, from 0"
    if not is_integer(index) or index < 0:
        yield well.wrong("PL-07", key, remedy)
    elif names is not None and index >= len(names):
        found = f"{key} is {describe(index)}, there are {len(names)} {plural}"
        yield well.finding("PL-07", found, remedy, key)


def _check_well_path(well: Value, names: dict[str, list[str | None] | None]) -> Findings:
    if "path" not in well.raw:
        return
    path = well.raw["path"]
    if not isinstance(path, str) or not _WELL_PATH.fullmatch(path):
        yield well.wrong("PL-06", "path", 'write row/column, such as "A/1"', name="the path")
        return
    expected = []
    for key, listed in names.items():
        index = well.raw.get(key)
        if listed is None or index is None or not is_integer(index) or not 0 <= index < len(listed):
            return
        name = listed[int(index)]
        if name is None:
            return
        expected.append(name)
    if path != "/".join(expected):
        found = f"the path is {describe(path)}, its indices say {describe('/'.join(expected))}"
        yield well.finding("PL-06", found, "correct the indices or the path", "path")


def _check_acquisitions(acquisitions: Value) -> Findings:
    if not isinstance(acquisitions.raw, list):
        found = f"acquisitions is {acquisitions}"
        yield acquisitions.finding("PL-08", found, "list acquisitions, or leave it out")
        return
    seen: set[int] = set()
    for acquisition in acquisitions:
        raw = acquisition.raw
        if not isinstance(raw, dict):
            yield acquisition.finding("PL-08", f"the acquisition is {acquisition}", "write an object")
            continue
        yield from _check_acquisition_id(acquisition, seen)
        for key in ("name", "maximumfieldcount"):
            if key not in raw:
                yield acquisition.finding("PL-09", f"the acquisition has no {key}", "add it")
        yield from _check_string(acquisition, "name", "PL-09")
        yield from _check_string(acquisition, "description", "PL-09")
        yield from _check_count(acquisition, "maximumfieldcount", "PL-09")
        for key in ("starttime", "endtime"):
            if key in raw and (not is_integer(raw[key]) or raw[key] < 0):
                yield acquisition.wrong("PL-09", key, "write an integer epoch time", level="MUST")


def _check_acquisition_id(acquisition: Value, seen: set[int]) -> Findings:
    identifier = acquisition.raw.get("id")
    if "id" not in acquisition.raw:
        yield acquisition.finding("PL-08", "the acquisition has no id", "add an integer of 0 or more")
    elif not is_integer(identifier) or identifier < 0:
        yield acquisition.wrong("PL-08", "id", "write an integer of 0 or more", name="the id")
    elif identifier in seen:
        found = f"the id {describe(identifier)} is used twice"
        yield acquisition.finding("PL-08", found, "write another id", "id")
    else:
        seen.add(identifier)


def _check_string(owner: Value, key: str, rule: str) -> Findings:
    if key in owner.raw and not isinstance(owner.raw[key], str):
        yield owner.wrong(rule, key, "write a string", level="MUST")


def _check_count(owner: Value, key: str, rule: str) -> Findings:
    if key in owner.raw and (not is_integer(owner.raw[key]) or owner.raw[key] <= 0):
        yield owner.wrong(rule, key, "write an integer above 0", level="MUST")


def acquisition_ids(plate: JSON) -> tuple[int, ...]:
    """Return the ids of the acquisitions that a ``plate`` object lists, for checks of its wells."""
    listed = plate.get("acquisitions") if isinstance(plate, dict) else None
    if not isinstance(listed, list):
        return ()
    return tuple(int(item["id"]) for item in listed if isinstance(item, dict) and is_integer(item.get("id")))


def check_well(ome: Value, acquisitions: Collection[int] | None) -> Findings:
    """Check ``well``; `acquisitions` are the ids that its plate lists, None if the plate is unknown."""
    well = yield from find_object(ome, "well", "WL-01", "write an object with images")
    if well is None:
        return
    yield from check_inner_version(well, "VE-02")
    images = yield from find_list(well, "images", "WL-01", "list the fields, each with a path", name="well")
    seen: set[str] = set()
    for image in images or ():
        if not isinstance(image.raw, dict):
            yield image.finding("WL-01", f"the image is {image}", "write an object with a path")
            continue
        yield from _check_image_path(image, seen)
        yield from _check_acquisition(image, acquisitions)


def _check_image_path(image: Value, seen: set[str]) -> Findings:
    if "path" not in image.raw:
        yield image.finding("WL-01", "the image has no path", "write the name of its group")
        return
    path = image.raw["path"]
    if not isinstance(path, str) or not image.traits.field_name.fullmatch(path):
        yield image.wrong("WL-02", "path", f"use {image.traits.field_words}", name="the path")
    if not isinstance(path, str):
        return
    if path in seen:
        yield image.finding("WL-03", f"the path {describe(path)} is used twice", "list it once", "path")
    seen.add(path)


def _check_acquisition(image: Value, acquisitions: Collection[int] | None) -> Findings:
    identifier = image.raw.get("acquisition")
    if "acquisition" not in image.raw:
        if acquisitions is not None and len(acquisitions) > 1:
            found = f"the plate has {len(acquisitions)} acquisitions, the image names none"
            yield image.finding("WL-04", found, "write the id of one as its acquisition")
    elif not is_integer(identifier):
        yield image.wrong("WL-04", "acquisition", "write the id, an integer", name="the acquisition")
    elif acquisitions is not None and identifier not in acquisitions:
        found = f"the plate has no acquisition {describe(identifier)}"
        remedy = "write an id that the plate lists, or list this one"
        yield image.finding("WL-04", found, remedy, "acquisition")


LAYOUT_KEY = "bioformats2raw.layout"


def check_layout(ome: Value) -> Findings:
    """Check the top group (BF-01)."""
    layout = ome.raw.get(LAYOUT_KEY)
    if LAYOUT_KEY not in ome.raw:
        yield ome.finding("BF-01", f"there is no {LAYOUT_KEY}", "add it with the value 3")
    elif not is_number(layout) or layout != 3:
        yield ome.wrong("BF-01", LAYOUT_KEY, "write 3", name="it")


def check_series(ome: Value) -> Findings:
    """Check the OME group (BF-05), in which a series is optional."""
    if "series" not in ome.raw:
        return
    series = ome["series"]
    if not isinstance(series.raw, list):
        yield series.finding("BF-05", f"series is {series}", "list the paths of the images")
        return
    seen: set[str] = set()
    for path in series:
        if not isinstance(path.raw, str):
            yield path.finding("BF-05", f"the path is {path}", "write a string")
        elif path.raw in seen:
            yield path.finding("BF-05", f"the path {path} is listed twice", "list each image once")
        else:
            seen.add(path.raw)
