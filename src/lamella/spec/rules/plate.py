"""Rules PL and WL on one document: rows, columns, wells and acquisitions of a plate, images of a well."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lamella.spec.rules.raw_json import describe, is_integer, is_text
from lamella.spec.rules.version_traits import check_inner_version, find_object

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject

_NAME = re.compile(r"[A-Za-z0-9]+")
_WELL_PATH = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9]+")


def check_plate(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check ``plate``."""
    part = yield from find_object(
        ome, "plate", at, context, "PL-05", "write an object with rows, columns and wells"
    )
    if part is None:
        return
    plate, where = part
    yield from check_inner_version(plate, where, "VE-02", context)
    yield from _check_lines(plate, "columns", "PL-01", where, context)
    yield from _check_lines(plate, "rows", "PL-02", where, context)
    yield from _check_wells(plate, where, context)
    if "acquisitions" in plate:
        yield from _check_acquisitions(plate["acquisitions"], (*where, "acquisitions"), context)
    if "name" not in plate:
        yield context.finding("PL-10", where, "the plate has no name", "name it")
    else:
        yield from _check_string(plate, "name", "PL-10", where, context)
    if "field_count" not in plate:
        yield context.finding("PL-10", where, "the plate has no field_count", "add the most fields of a well")
    else:
        yield from _check_count(plate, "field_count", "PL-10", where, context)


def _check_lines(
    plate: JSONObject, key: str, rule: str, at: Location, context: RuleContext
) -> Iterator[Finding]:
    value = plate.get(key)
    where = (*at, key) if key in plate else at
    if not isinstance(value, list) or not value:
        found = f"{key} is {describe(value)}" if key in plate else f"the plate has no {key}"
        yield context.finding(rule, where, found, f"list the {key}, each with a name")
        return
    seen: set[str] = set()
    folded: set[str] = set()
    for index, line in enumerate(value):
        spot = (*where, index)
        if not isinstance(line, dict) or not isinstance(line.get("name"), str):
            named = isinstance(line, dict) and "name" in line
            found = f"the name is {describe(line['name'])}" if named else f"the entry is {describe(line)}"
            yield context.finding(
                rule, (*spot, "name") if named else spot, found, 'write an object such as {"name": "A"}'
            )
            continue
        name = line["name"]
        spot = (*spot, "name")
        if not _NAME.fullmatch(name):
            yield context.finding(
                "PL-03", spot, f"the name {describe(name)} is not alphanumeric", "use letters and digits only"
            )
        if name in seen:
            yield context.finding("PL-03", spot, f"the name {describe(name)} is used twice", "list it once")
        elif name.casefold() in folded:
            yield context.finding(
                "PL-03",
                spot,
                f"the name {describe(name)} differs from another only by case",
                "rename one: some file systems ignore case",
                level="SHOULD",
            )
        seen.add(name)
        folded.add(name.casefold())


def _names(plate: JSONObject, key: str) -> list[str | None] | None:
    """Return the names of rows or columns in order, None for an unreadable one."""
    value = plate.get(key)
    if not isinstance(value, list):
        return None
    return [
        line["name"] if isinstance(line, dict) and isinstance(line.get("name"), str) else None
        for line in value
    ]


def _check_wells(plate: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    value = plate.get("wells")
    where = (*at, "wells") if "wells" in plate else at
    if not isinstance(value, list) or not value:
        found = f"wells is {describe(value)}" if "wells" in plate else "the plate has no wells"
        yield context.finding("PL-05", where, found, "list the wells with path, rowIndex, columnIndex")
        return
    names = {"rowIndex": _names(plate, "rows"), "columnIndex": _names(plate, "columns")}
    rows, columns = (
        {number: name for number, name in enumerate(lines or ()) if name and _NAME.fullmatch(name)}
        for lines in names.values()
    )
    seen: set[str] = set()
    for index, well in enumerate(value):
        if well.__class__ is dict:
            # Every opening of a plate checks all wells, often thousands: most have the indices of just their path.
            row, column, path = well.get("rowIndex"), well.get("columnIndex"), well.get("path")
            letter = rows.get(row) if row.__class__ is int else None  # True and 1.0 are 1 as a key
            number = columns.get(column) if column.__class__ is int else None
            if letter and number and path == f"{letter}/{number}" and path not in seen:
                seen.add(path)
                continue
        spot = (*where, index)
        if not isinstance(well, dict):
            yield context.finding("PL-05", spot, f"the well is {describe(well)}", "write an object")
            continue
        for key in ("path", "rowIndex", "columnIndex"):
            if key not in well:
                yield context.finding("PL-05", spot, f"the well has no {key}", "add it")
        for key in ("rowIndex", "columnIndex"):
            yield from _check_index(well, key, names[key], spot, context)
        yield from _check_well_path(well, names, spot, context)
        path = well.get("path")
        if not isinstance(path, str):
            continue
        if path in seen:
            yield context.finding(
                "PL-13", (*spot, "path"), f"the well {describe(path)} is listed twice", "list it once"
            )
        seen.add(path)


def _check_index(
    well: JSONObject, key: str, names: list[str | None] | None, at: Location, context: RuleContext
) -> Iterator[Finding]:
    if key not in well:
        return
    index = well[key]
    lines = {"rowIndex": "rows", "columnIndex": "columns"}[key]
    if not is_integer(index) or index < 0:
        yield context.finding(
            "PL-07", (*at, key), f"{key} is {describe(index)}", f"write the place in {lines}, from 0"
        )
    elif names is not None and index >= len(names):
        yield context.finding(
            "PL-07",
            (*at, key),
            f"{key} is {describe(index)}, there are {len(names)} {lines}",
            f"write the place in {lines}, from 0",
        )


def _check_well_path(
    well: JSONObject, names: dict[str, list[str | None] | None], at: Location, context: RuleContext
) -> Iterator[Finding]:
    if "path" not in well:
        return
    path = well["path"]
    where = (*at, "path")
    if not isinstance(path, str) or not _WELL_PATH.fullmatch(path):
        yield context.finding(
            "PL-06", where, f"the path is {describe(path)}", 'write row/column, such as "A/1"'
        )
        return
    expected = []
    for key in ("rowIndex", "columnIndex"):
        index, lines = well.get(key), names[key]
        if lines is None or index is None or not is_integer(index) or not 0 <= index < len(lines):
            return
        name = lines[int(index)]
        if name is None:
            return
        expected.append(name)
    if path != "/".join(expected):
        yield context.finding(
            "PL-06",
            where,
            f"the path is {describe(path)}, its indices say {describe('/'.join(expected))}",
            "correct the indices or the path",
        )


def _check_acquisitions(value: JSON, at: Location, context: RuleContext) -> Iterator[Finding]:
    if not isinstance(value, list):
        yield context.finding(
            "PL-08", at, f"acquisitions is {describe(value)}", "list acquisitions, or leave it out"
        )
        return
    seen: set[int] = set()
    for index, acquisition in enumerate(value):
        where = (*at, index)
        if not isinstance(acquisition, dict):
            yield context.finding(
                "PL-08", where, f"the acquisition is {describe(acquisition)}", "write an object"
            )
            continue
        yield from _check_acquisition_id(acquisition, seen, where, context)
        for key in ("name", "maximumfieldcount"):
            if key not in acquisition:
                yield context.finding("PL-09", where, f"the acquisition has no {key}", "add it")
        yield from _check_string(acquisition, "name", "PL-09", where, context)
        yield from _check_string(acquisition, "description", "PL-09", where, context)
        yield from _check_count(acquisition, "maximumfieldcount", "PL-09", where, context)
        for key in ("starttime", "endtime"):
            if key in acquisition and (not is_integer(acquisition[key]) or acquisition[key] < 0):
                yield context.finding(
                    "PL-09",
                    (*where, key),
                    f"{key} is {describe(acquisition[key])}",
                    "write an integer epoch time",
                    level="MUST",
                )


def _check_acquisition_id(
    acquisition: JSONObject, seen: set[int], at: Location, context: RuleContext
) -> Iterator[Finding]:
    if "id" not in acquisition:
        yield context.finding("PL-08", at, "the acquisition has no id", "add an integer of 0 or more")
        return
    number = acquisition["id"]
    if not is_integer(number) or number < 0:
        yield context.finding(
            "PL-08", (*at, "id"), f"the id is {describe(number)}", "write an integer of 0 or more"
        )
    elif number in seen:
        yield context.finding(
            "PL-08", (*at, "id"), f"the id {describe(number)} is used twice", "give each its own"
        )
    else:
        seen.add(number)


def _check_string(
    owner: JSONObject, key: str, rule: str, at: Location, context: RuleContext
) -> Iterator[Finding]:
    if key in owner and not isinstance(owner[key], str):
        yield context.finding(
            rule, (*at, key), f"{key} is {describe(owner[key])}", "write a string", level="MUST"
        )


def _check_count(
    owner: JSONObject, key: str, rule: str, at: Location, context: RuleContext
) -> Iterator[Finding]:
    if key in owner and (not is_integer(owner[key]) or owner[key] <= 0):
        yield context.finding(
            rule, (*at, key), f"{key} is {describe(owner[key])}", "write an integer above 0", level="MUST"
        )


def acquisition_ids(plate: JSON) -> tuple[int, ...]:
    """Return the ids of the acquisitions that a ``plate`` object lists, for checks of its wells.

    >>> acquisition_ids({"acquisitions": [{"id": 0}, {"id": 2}, {"name": "nameless"}]}), acquisition_ids(None)
    ((0, 2), ())
    """
    listed = plate.get("acquisitions") if isinstance(plate, dict) else None
    if not isinstance(listed, list):
        return ()
    return tuple(int(item["id"]) for item in listed if isinstance(item, dict) and is_integer(item.get("id")))


def is_name(name: JSON) -> bool:
    """Return whether a row or column may have this name (PL-03)."""
    return is_text(name) and _NAME.fullmatch(name) is not None


def check_well(
    ome: JSONObject, at: Location, context: RuleContext, acquisitions: Collection[int] | None
) -> Iterator[Finding]:
    """Check ``well``; `acquisitions` are the ids that its plate lists, None if the plate is unknown."""
    part = yield from find_object(ome, "well", at, context, "WL-01", "write an object with images")
    if part is None:
        return
    well, where = part
    yield from check_inner_version(well, where, "VE-02", context)
    images = well.get("images")
    spot = (*where, "images") if "images" in well else where
    if not isinstance(images, list) or not images:
        found = f"images is {describe(images)}" if "images" in well else "the well has no images"
        yield context.finding("WL-01", spot, found, "list the fields, each with a path")
        return
    seen: set[str] = set()
    for index, image in enumerate(images):
        yield from _check_image(image, (*spot, index), seen, context)
        if isinstance(image, dict):
            yield from _check_acquisition(image, (*spot, index), acquisitions, context)


def _check_image(image: JSON, at: Location, seen: set[str], context: RuleContext) -> Iterator[Finding]:
    if not isinstance(image, dict):
        yield context.finding("WL-01", at, f"the image is {describe(image)}", "write an object with a path")
        return
    if "path" not in image:
        yield context.finding("WL-01", at, "the image has no path", "write the name of its group")
        return
    path = image["path"]
    where = (*at, "path")
    if not isinstance(path, str) or not context.traits.field_name.fullmatch(path):
        yield context.finding(
            "WL-02", where, f"the path is {describe(path)}", f"use {context.traits.field_words}"
        )
    if not isinstance(path, str):
        return
    if path in seen:
        yield context.finding("WL-03", where, f"the path {describe(path)} is used twice", "list it once")
    seen.add(path)


def _check_acquisition(
    image: JSONObject, at: Location, acquisitions: Collection[int] | None, context: RuleContext
) -> Iterator[Finding]:
    where = (*at, "acquisition")
    if "acquisition" not in image:
        if acquisitions is not None and len(acquisitions) > 1:
            yield context.finding(
                "WL-04",
                at,
                f"the plate has {len(acquisitions)} acquisitions, the image names none",
                "name one",
            )
        return
    number = image["acquisition"]
    if not is_integer(number):
        yield context.finding(
            "WL-04", where, f"the acquisition is {describe(number)}", "write the id, an integer"
        )
    elif acquisitions is not None and number not in acquisitions:
        yield context.finding(
            "WL-04",
            where,
            f"the plate has no acquisition {describe(number)}",
            "write an id that the plate lists, or list this one",
        )
