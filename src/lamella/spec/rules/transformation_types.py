"""Rules CT-27 to CT-38 and ST-09 of 0.6: what each type of transformation asks of its parameters.

Each check is given the number of axes at its input and output, None where unknown, and gives back the number
of axes that come out, so that a sequence can be followed through.

Layer: spec.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias

from lamella.spec.rules.finding import Finding, Location
from lamella.spec.rules.judge import Ends, Judge
from lamella.spec.rules.matrices import check_affine, check_rotation
from lamella.spec.rules.values import describe, integers, is_text, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.types import JSON, JSONObject

Checked: TypeAlias = Generator[Finding, None, int | None]

_DEEPEST = 16
"""Transformations nested deeper than this are not followed: no real one is, and the stack is finite."""

_CLOSED_FORM = frozenset(["identity", "mapAxis", "translation", "scale", "affine", "rotation"])
_INTERPOLATIONS = ("nearest", "linear", "cubic", "bspline-cubic")


def check_parameters(
    entry: JSONObject,
    at: Location,
    ends: Ends,
    judge: Judge,
    *,
    values_rule: str | None = None,
) -> Checked:
    """Judge the type and the parameters of one transformation.

    Parameters
    ----------
    entry
        The transformation as stored.
    at
        Where it lies.
    ends
        Numbers of axes of its two coordinate systems, None where unknown.
    judge
        Dialect and node.
    values_rule
        Report values of a scale or translation that are no numbers under this rule.

    Returns
    -------
    int or None
        Number of axes that come out.
    """
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in judge.dialect.transformation_types:
        known = ", ".join(judge.dialect.transformation_types)
        where = (*at, "type") if "type" in entry else at
        yield judge.find("CT-20", where, f"the type is {describe(kind)}", f"write one of {known}")
        return ends.outputs
    if "name" in entry and not isinstance(entry["name"], str):
        yield judge.find("CT-20", (*at, "name"), f"the name is {describe(entry['name'])}", "write a string")
    if kind in ("scale", "translation"):
        return (yield from _check_vector(entry, at, ends, judge, values_rule))
    return (yield from _CHECKS[kind](entry, at, ends, judge))


def _check_identity(entry: JSONObject, at: Location, ends: Ends, judge: Judge) -> Checked:
    yield from _check_end(at, ends, judge, "CT-27", "identity")
    return ends.inputs if ends.inputs is not None else ends.outputs


def _check_end(at: Location, ends: Ends, judge: Judge, rule: str, kind: str) -> Iterator[Finding]:
    if None not in ends and ends.inputs != ends.outputs:
        yield judge.find(
            rule,
            at,
            f"the {kind} gives {ends.inputs} axes, its output has {ends.outputs}",
            "make parameters and systems fit",
        )


def _check_vector(
    entry: JSONObject,
    at: Location,
    ends: Ends,
    judge: Judge,
    values_rule: str | None,
) -> Checked:
    kind = entry["type"]
    rule = {"scale": "CT-28", "translation": "CT-29"}[kind]
    if kind not in entry:
        remedy = "write the numbers inline" if "path" in entry else "add one number for each axis"
        yield judge.find(rule, at, f"the {kind} has no {kind}", remedy)
        return ends.outputs
    values = numbers(entry[kind])
    where = (*at, kind)
    if values is None:
        yield judge.find(
            values_rule or rule,
            where,
            f"the {kind} is {describe(entry[kind])}",
            "write one number for each axis",
        )
        return ends.outputs
    for side, count in (("input", ends.inputs), ("output", ends.outputs)):
        if count is not None and count != len(values):
            yield judge.find(
                rule,
                where,
                f"the {kind} has {len(values)} numbers, its {side} has {count} axes",
                "write one number for each axis",
            )
            return ends.outputs
    if kind == "scale" and any(value <= 0 for value in values):
        # The text says SHOULD be non-zero, the schema refuses what is not positive.
        yield judge.find(
            rule, where, f"the scale is {describe(entry[kind])}", "use positive factors", level="SHOULD"
        )
    return len(values)


def _check_map_axis(entry: JSONObject, at: Location, ends: Ends, judge: Judge) -> Checked:
    if "mapAxis" not in entry:
        yield judge.find("CT-30", at, "there is no mapAxis", "list the input axis of each output axis")
        return ends.outputs
    where = (*at, "mapAxis")
    order = integers(entry["mapAxis"])
    if not order or sorted(order) != list(range(len(order))) or len(order) > 5:
        yield judge.find(
            "CT-30", where, f"mapAxis is {describe(entry['mapAxis'])}", "write a permutation of 0, 1, ..."
        )
        return ends.outputs
    for side, count in (("input", ends.inputs), ("output", ends.outputs)):
        if count is not None and count != len(order):
            yield judge.find(
                "CT-30",
                where,
                f"mapAxis has {len(order)} entries, its {side} has {count} axes",
                "write one entry for each axis",
            )
            return ends.outputs
    return len(order)


def _check_project_axis(entry: JSONObject, at: Location, ends: Ends, judge: Judge) -> Checked:
    keys = [key for key in ("droppedInputs", "createdOutputs") if key in entry]
    if not keys:
        yield judge.find("CT-31", at, "nothing is dropped or created", "add droppedInputs or createdOutputs")
        return ends.outputs
    sizes = {"droppedInputs": 0, "createdOutputs": 0}
    for key, count in (("droppedInputs", ends.inputs), ("createdOutputs", ends.outputs)):
        if key not in entry:
            continue
        places = integers(entry[key])
        odd = not places or len(set(places)) != len(places) or any(not 0 <= place <= 4 for place in places)
        if odd or places is None or len(places) > 3:
            yield judge.find(
                "CT-31", (*at, key), f"{key} is {describe(entry[key])}", "list 1 to 3 different axis indices"
            )
            return ends.outputs
        if count is not None and max(places) >= count:
            yield judge.find(
                "CT-31", (*at, key), f"{key} names axis {max(places)} of {count}", "count from 0"
            )
            return ends.outputs
        sizes[key] = len(places)
    if ends.inputs is None:
        return ends.outputs
    given = ends.inputs - sizes["droppedInputs"] + sizes["createdOutputs"]
    yield from _check_end(at, Ends(given, ends.outputs), judge, "CT-31", "projectAxis")
    return given


def _check_sequence(entry: JSONObject, at: Location, ends: Ends, judge: Judge) -> Checked:
    items = entry.get("transformations")
    where = (*at, "transformations") if "transformations" in entry else at
    if not isinstance(items, list):
        yield judge.find("CT-34", where, f"transformations is {describe(items)}", "list transformations")
        return ends.outputs
    if not items:
        yield judge.find("CT-34", where, "the sequence is empty", "use an identity instead")
        return ends.outputs
    axes = ends.inputs
    for place, item in enumerate(items):
        last = ends.outputs if place == len(items) - 1 else None
        axes = yield from _check_nested(item, (*where, place), Ends(axes, last), judge)
    return axes


def _check_nested(item: JSON, at: Location, ends: Ends, judge: Judge) -> Checked:
    if len(at) > _DEEPEST:
        yield judge.find("CT-27", at, "the transformations are nested too deeply to judge", "flatten them")
        return None
    if not isinstance(item, dict):
        yield judge.find(
            "CT-20", at, f"the transformation is {describe(item)}", "write an object with a type"
        )
        return None
    return (yield from check_parameters(item, at, ends, judge))


def _check_bijection(entry: JSONObject, at: Location, ends: Ends, judge: Judge) -> Checked:
    for key, sides in (("forward", ends), ("inverse", Ends(ends.outputs, ends.inputs))):
        if key not in entry:
            yield judge.find("CT-37", at, f"there is no {key}", f"add the transformation {key}")
            continue
        part = entry[key]
        yield from _check_nested(part, (*at, key), sides, judge)
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in _CLOSED_FORM:
            yield judge.find(
                "CT-37",
                (*at, key),
                f"{key} is of type {describe(kind)}, whose inverse is known",
                "write that transformation without a bijection",
                level="SHOULD",
            )
    yield from _check_end(at, ends, judge, "CT-37", "bijection")
    return ends.outputs


def _check_field(entry: JSONObject, at: Location, ends: Ends, judge: Judge) -> Checked:
    kind = entry["type"]
    if not is_text(entry.get("path")):
        where = (*at, "path") if "path" in entry else at
        yield judge.find(
            "CT-35",
            where,
            f"the path of the {kind} is {describe(entry.get('path'))}",
            "write the path of the field's group",
        )
    yield from check_parameter_path(entry, at, judge)
    if "interpolation" in entry and entry["interpolation"] not in _INTERPOLATIONS:
        yield judge.find(
            "CT-35",
            (*at, "interpolation"),
            f"the interpolation is {describe(entry['interpolation'])}",
            "write nearest, linear or cubic",
        )
    if kind == "displacements":
        yield from _check_end(at, ends, judge, "CT-35", kind)
    return ends.outputs


def check_parameter_path(entry: JSONObject, at: Location, judge: Judge) -> Iterator[Finding]:
    """Judge where an array with parameters lies (ST-09)."""
    path = entry.get("path")
    if is_text(path) and "coordinateTransformations" not in path.split("/"):
        yield judge.find(
            "ST-09",
            (*at, "path"),
            f"the parameters lie at {describe(path)}",
            "put them in a group coordinateTransformations",
        )


def _check_by_dimension(entry: JSONObject, at: Location, ends: Ends, judge: Judge) -> Checked:
    items = entry.get("transformations")
    where = (*at, "transformations") if "transformations" in entry else at
    if not isinstance(items, list) or not items:
        yield judge.find(
            "CT-36",
            where,
            f"transformations is {describe(items)}",
            "list items with transformation, inputAxes, outputAxes",
        )
        return ends.outputs
    made: dict[int, int] = {}
    for place, item in enumerate(items):
        for axis in (yield from _check_dimension_item(item, (*where, place), ends, judge)):
            made[axis] = made.get(axis, 0) + 1
    twice = [axis for axis, times in made.items() if times > 1]
    lost = [axis for axis in range(ends.outputs or 0) if axis not in made]
    if twice or lost:
        fault = (
            f"output axis {describe(twice[0])} is made more than once"
            if twice
            else f"no item makes output axis {lost[0]}"
        )
        yield judge.find("CT-36", where, fault, "let exactly one item make each output axis")
    return ends.outputs


def _check_dimension_item(
    item: JSON, at: Location, ends: Ends, judge: Judge
) -> Generator[Finding, None, list[int]]:
    if not isinstance(item, dict):
        yield judge.find("CT-36", at, f"the item is {describe(item)}", "write an object")
        return []
    places: dict[str, list[int] | None] = {}
    for key, count in (("inputAxes", ends.inputs), ("outputAxes", ends.outputs)):
        value = item.get(key)
        places[key] = integers(value)
        spot = (*at, key) if key in item else at
        found = places[key]
        if found is None:
            yield judge.find("CT-36", spot, f"{key} is {describe(value)}", "list axis indices, from 0")
        elif any(axis < 0 or (count is not None and axis >= count) for axis in found):
            yield judge.find(
                "CT-36", spot, f"{key} is {describe(value)}", f"list indices of the {count or ''} axes"
            )
            places[key] = None
    if "transformation" not in item:
        yield judge.find("CT-36", at, "the item has no transformation", "add one")
    else:
        counts = [len(found) if found is not None else None for found in places.values()]
        yield from _check_nested(item["transformation"], (*at, "transformation"), Ends(*counts), judge)
    return places["outputAxes"] or []


def _check_matrix(entry: JSONObject, at: Location, ends: Ends, judge: Judge) -> Checked:
    yield from check_parameter_path(entry, at, judge)
    check = check_affine if entry["type"] == "affine" else check_rotation
    return (yield from check(entry, at, ends, judge))


_CHECKS: dict[str, Callable[[dict[str, JSON], Location, Ends, Judge], Checked]] = {
    "identity": _check_identity,
    "mapAxis": _check_map_axis,
    "projectAxis": _check_project_axis,
    "affine": _check_matrix,
    "rotation": _check_matrix,
    "sequence": _check_sequence,
    "displacements": _check_field,
    "coordinates": _check_field,
    "bijection": _check_bijection,
    "byDimension": _check_by_dimension,
}
