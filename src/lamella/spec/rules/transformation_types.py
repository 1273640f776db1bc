"""Rules CT-27 to CT-38 and ST-09 of 0.6: the parameters of each type of transformation.

Each check gets the number of axes at its input and output, None if unknown, and returns the number of output axes, so
that a sequence can be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias

from lamella.spec.matrices import Matrix, is_rotation
from lamella.spec.rules.finding import Finding, Location
from lamella.spec.rules.raw_json import describe, integers, is_text, numbers
from lamella.spec.rules.version_traits import Ends, RuleContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.types import JSON, JSONObject

Checked: TypeAlias = Generator[Finding, None, int | None]

_DEEPEST = 16
"""Deeper nested transformations are not followed: real ones are never so deep, and the stack is finite."""

_CLOSED_FORM = frozenset(["identity", "mapAxis", "translation", "scale", "affine", "rotation"])
_INTERPOLATIONS = ("nearest", "linear", "cubic", "bspline-cubic")


def check_parameters(
    entry: JSONObject,
    at: Location,
    ends: Ends,
    context: RuleContext,
    *,
    values_rule: str | None = None,
) -> Checked:
    """Check the type and the parameters of one transformation; return its number of output axes.

    ``ends`` are the numbers of axes of its two coordinate systems, None if unknown. Values of a scale or translation
    that are not numbers are reported under ``values_rule``.
    """
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in context.traits.transformation_types:
        known = ", ".join(context.traits.transformation_types)
        where = (*at, "type") if "type" in entry else at
        yield context.finding("CT-20", where, f"the type is {describe(kind)}", f"write one of {known}")
        return ends.outputs
    if "name" in entry and not isinstance(entry["name"], str):
        yield context.finding(
            "CT-20", (*at, "name"), f"the name is {describe(entry['name'])}", "write a string"
        )
    if kind in ("scale", "translation"):
        return (yield from _check_vector(entry, at, ends, context, values_rule))
    return (yield from _CHECKS[kind](entry, at, ends, context))


def _check_identity(entry: JSONObject, at: Location, ends: Ends, context: RuleContext) -> Checked:
    yield from _check_end(at, ends, context, "CT-27", "identity")
    return ends.inputs if ends.inputs is not None else ends.outputs


def _check_end(at: Location, ends: Ends, context: RuleContext, rule: str, kind: str) -> Iterator[Finding]:
    if None not in ends and ends.inputs != ends.outputs:
        yield context.finding(
            rule,
            at,
            f"the {kind} gives {ends.inputs} axes, its output has {ends.outputs}",
            "make parameters and systems fit",
        )


def _check_vector(
    entry: JSONObject,
    at: Location,
    ends: Ends,
    context: RuleContext,
    values_rule: str | None,
) -> Checked:
    kind = entry["type"]
    rule = {"scale": "CT-28", "translation": "CT-29"}[kind]
    if kind not in entry:
        remedy = "write the numbers inline" if "path" in entry else "add one number for each axis"
        yield context.finding(rule, at, f"the {kind} has no {kind}", remedy)
        return ends.outputs
    values = numbers(entry[kind])
    where = (*at, kind)
    if not values:
        yield context.finding(
            values_rule or rule,
            where,
            f"the {kind} is {describe(entry[kind])}",
            "write one number for each axis",
        )
        return ends.outputs
    for side, count in (("input", ends.inputs), ("output", ends.outputs)):
        if count is not None and count != len(values):
            yield context.finding(
                rule,
                where,
                f"the {kind} has {len(values)} numbers, its {side} has {count} axes",
                "write one number for each axis",
            )
            return ends.outputs
    if kind == "scale" and any(value <= 0 for value in values):
        # By the text it SHOULD be non-zero; the schema refuses what is not positive.
        yield context.finding(
            rule, where, f"the scale is {describe(entry[kind])}", "use positive factors", level="SHOULD"
        )
    return len(values)


def _check_map_axis(entry: JSONObject, at: Location, ends: Ends, context: RuleContext) -> Checked:
    if "mapAxis" not in entry:
        yield context.finding("CT-30", at, "there is no mapAxis", "list the input axis of each output axis")
        return ends.outputs
    where = (*at, "mapAxis")
    order = integers(entry["mapAxis"])
    if not order or sorted(order) != list(range(len(order))) or len(order) > 5:
        yield context.finding(
            "CT-30", where, f"mapAxis is {describe(entry['mapAxis'])}", "write a permutation of 0, 1, ..."
        )
        return ends.outputs
    for side, count in (("input", ends.inputs), ("output", ends.outputs)):
        if count is not None and count != len(order):
            yield context.finding(
                "CT-30",
                where,
                f"mapAxis has {len(order)} entries, its {side} has {count} axes",
                "write one entry for each axis",
            )
            return ends.outputs
    return len(order)


def _check_project_axis(entry: JSONObject, at: Location, ends: Ends, context: RuleContext) -> Checked:
    keys = [key for key in ("droppedInputs", "createdOutputs") if key in entry]
    if not keys:
        yield context.finding(
            "CT-31", at, "nothing is dropped or created", "add droppedInputs or createdOutputs"
        )
        return ends.outputs
    sizes = {"droppedInputs": 0, "createdOutputs": 0}
    for key, count in (("droppedInputs", ends.inputs), ("createdOutputs", ends.outputs)):
        if key not in entry:
            continue
        places = integers(entry[key])
        odd = not places or len(set(places)) != len(places) or any(not 0 <= index <= 4 for index in places)
        if odd or places is None or len(places) > 3:
            yield context.finding(
                "CT-31", (*at, key), f"{key} is {describe(entry[key])}", "list 1 to 3 different axis indices"
            )
            return ends.outputs
        if count is not None and max(places) >= count:
            yield context.finding(
                "CT-31", (*at, key), f"{key} names axis {max(places)} of {count}", "count from 0"
            )
            return ends.outputs
        sizes[key] = len(places)
    if ends.inputs is None:
        return ends.outputs
    values = ends.inputs - sizes["droppedInputs"] + sizes["createdOutputs"]
    yield from _check_end(at, Ends(values, ends.outputs), context, "CT-31", "projectAxis")
    return values


def _check_sequence(entry: JSONObject, at: Location, ends: Ends, context: RuleContext) -> Checked:
    items = entry.get("transformations")
    where = (*at, "transformations") if "transformations" in entry else at
    if not isinstance(items, list):
        yield context.finding("CT-34", where, f"transformations is {describe(items)}", "list transformations")
        return ends.outputs
    if not items:
        yield context.finding("CT-34", where, "the sequence is empty", "use an identity instead")
        return ends.outputs
    axes = ends.inputs
    for index, item in enumerate(items):
        last = ends.outputs if index == len(items) - 1 else None
        axes = yield from _check_nested(item, (*where, index), Ends(axes, last), context)
    return axes


def _check_nested(item: JSON, at: Location, ends: Ends, context: RuleContext) -> Checked:
    if len(at) > _DEEPEST:
        yield context.finding(
            "CT-27", at, "the transformations are nested too deeply to check", "flatten them"
        )
        return None
    if not isinstance(item, dict):
        yield context.finding(
            "CT-20", at, f"the transformation is {describe(item)}", "write an object with a type"
        )
        return None
    return (yield from check_parameters(item, at, ends, context))


def _check_bijection(entry: JSONObject, at: Location, ends: Ends, context: RuleContext) -> Checked:
    sides = ends
    for key in ("forward", "inverse"):
        if key not in entry:
            yield context.finding("CT-37", at, f"there is no {key}", f"add the transformation {key}")
            continue
        part = entry[key]
        outputs = yield from _check_nested(part, (*at, key), sides, context)
        sides = Ends(outputs if sides.outputs is None else sides.outputs, sides.inputs)
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in _CLOSED_FORM:
            yield context.finding(
                "CT-37",
                (*at, key),
                f"{key} is of type {describe(kind)}, whose inverse is known",
                "write that transformation without a bijection",
                level="SHOULD",
            )
    yield from _check_end(at, ends, context, "CT-37", "bijection")
    return ends.outputs


def _check_field(entry: JSONObject, at: Location, ends: Ends, context: RuleContext) -> Checked:
    kind = entry["type"]
    if not is_text(entry.get("path")):
        where = (*at, "path") if "path" in entry else at
        yield context.finding(
            "CT-35",
            where,
            f"the path of the {kind} is {describe(entry.get('path'))}",
            "write the path of the field's group",
        )
    yield from check_parameter_path(entry, at, context)
    if "interpolation" in entry and entry["interpolation"] not in _INTERPOLATIONS:
        yield context.finding(
            "CT-35",
            (*at, "interpolation"),
            f"the interpolation is {describe(entry['interpolation'])}",
            "write nearest, linear or cubic",
        )
    if kind == "displacements":
        yield from _check_end(at, ends, context, "CT-35", kind)
    return ends.outputs


def check_parameter_path(entry: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check the location of an array with parameters (ST-09)."""
    path = entry.get("path")
    if is_text(path) and "coordinateTransformations" not in path.split("/"):
        yield context.finding(
            "ST-09",
            (*at, "path"),
            f"the parameters lie at {describe(path)}",
            "put them in a group coordinateTransformations",
        )


def _check_by_dimension(entry: JSONObject, at: Location, ends: Ends, context: RuleContext) -> Checked:
    items = entry.get("transformations")
    where = (*at, "transformations") if "transformations" in entry else at
    if not isinstance(items, list) or not items:
        yield context.finding(
            "CT-36",
            where,
            f"transformations is {describe(items)}",
            "list items with transformation, inputAxes, outputAxes",
        )
        return ends.outputs
    result: dict[int, int] = {}
    for index, item in enumerate(items):
        for axis in (yield from _check_dimension_item(item, (*where, index), ends, context)):
            result[axis] = result.get(axis, 0) + 1
    twice = [axis for axis, times in result.items() if times > 1]
    count = max(result, default=-1) + 1 if ends.outputs is None else ends.outputs
    lost = next((axis for axis in range(count) if axis not in result), None)
    if twice or lost is not None:
        fault = (
            f"output axis {describe(twice[0])} is made more than once"
            if twice
            else f"no item makes output axis {lost}"
        )
        yield context.finding("CT-36", where, fault, "let exactly one item make each output axis")
    return ends.outputs


def _check_dimension_item(
    item: JSON, at: Location, ends: Ends, context: RuleContext
) -> Generator[Finding, None, list[int]]:
    if not isinstance(item, dict):
        yield context.finding("CT-36", at, f"the item is {describe(item)}", "write an object")
        return []
    places: dict[str, list[int] | None] = {}
    for key, count in (("inputAxes", ends.inputs), ("outputAxes", ends.outputs)):
        value = item.get(key)
        places[key] = integers(value)
        spot = (*at, key) if key in item else at
        found = places[key]
        if found is None:
            yield context.finding("CT-36", spot, f"{key} is {describe(value)}", "list axis indices, from 0")
        elif any(axis < 0 or (count is not None and axis >= count) for axis in found):
            yield context.finding(
                "CT-36", spot, f"{key} is {describe(value)}", f"list indices of the {count or ''} axes"
            )
            places[key] = None
    if "transformation" not in item:
        yield context.finding("CT-36", at, "the item has no transformation", "add one")
    else:
        counts = [len(found) if found is not None else None for found in places.values()]
        yield from _check_nested(item["transformation"], (*at, "transformation"), Ends(*counts), context)
    return places["outputAxes"] or []


def _check_matrix(entry: JSONObject, at: Location, ends: Ends, context: RuleContext) -> Checked:
    yield from check_parameter_path(entry, at, context)
    check = check_affine if entry["type"] == "affine" else check_rotation
    return (yield from check(entry, at, ends, context))


_CHECKS: dict[str, Callable[[dict[str, JSON], Location, Ends, RuleContext], Checked]] = {
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


_MOST_AXES = 5


def check_affine(
    entry: JSONObject, at: Location, ends: Ends, context: RuleContext
) -> Generator[Finding, None, int | None]:
    """Check an affine transformation (CT-32, CT-38); return the number of output axes."""
    if (yield from _check_source(entry, "affine", "CT-32", at, context)) is None:
        return ends.outputs
    where = (*at, "affine")
    matrix = read_matrix(entry["affine"])
    if matrix is None or len(matrix[0]) < 2:
        yield context.finding(
            "CT-32",
            where,
            f"the affine is {describe(entry['affine'])}",
            "write rows of equal length, the translation last",
        )
        return ends.outputs
    rows, columns = len(matrix), len(matrix[0])
    if ends.inputs not in (None, columns - 1) or ends.outputs not in (None, rows):
        expected = f"{_or_any(ends.outputs)} x {_or_any(ends.inputs and ends.inputs + 1)}"
        yield context.finding(
            "CT-32",
            where,
            f"the affine is {rows} x {columns}, its systems ask for {expected}",
            "write M rows of N+1",
        )
        return ends.outputs
    simpler = _simpler_type(matrix)
    if simpler:
        yield context.finding("CT-38", where, f"the affine is only {simpler}", "write that type instead")
    return rows


def _or_any(count: int | None) -> str:
    return "any" if count is None else str(count)


def check_rotation(
    entry: JSONObject, at: Location, ends: Ends, context: RuleContext
) -> Generator[Finding, None, int | None]:
    """Check a rotation (CT-33); return the number of output axes."""
    if (yield from _check_source(entry, "rotation", "CT-33", at, context)) is None:
        return ends.outputs
    where = (*at, "rotation")
    matrix = read_matrix(entry["rotation"])
    if matrix is None or len(matrix) != len(matrix[0]) or not 1 <= len(matrix) <= _MOST_AXES:
        yield context.finding(
            "CT-33", where, f"the rotation is {describe(entry['rotation'])}", "write a square matrix"
        )
        return ends.outputs
    size = len(matrix)
    if any(count is not None and count != size for count in (ends.inputs, ends.outputs)):
        yield context.finding(
            "CT-33",
            where,
            f"the rotation is {size} x {size}, its systems have other numbers of axes",
            "fit them",
        )
        return ends.outputs
    if not is_rotation(matrix):
        yield context.finding(
            "CT-33",
            where,
            "the matrix is not orthonormal with determinant 1",
            "write it as affine, or correct it",
        )
    return size


def _check_source(
    entry: JSONObject, key: str, rule: str, at: Location, context: RuleContext
) -> Generator[Finding, None, JSON]:
    """Check that the parameters are stored once, inline or by path; return the inline ones, or None."""
    if key in entry and "path" in entry:
        yield context.finding(rule, at, f"there are both {key} and path", "keep one of them")
    elif key not in entry and "path" not in entry:
        yield context.finding(rule, at, f"there is neither {key} nor path", "add one of them")
    elif "path" in entry and not is_text(entry["path"]):
        yield context.finding(
            rule, (*at, "path"), f"the path is {describe(entry['path'])}", "write the path of an array"
        )
    return entry.get(key)


def read_matrix(value: JSON) -> Matrix | None:
    """Return a matrix of numbers, or None for anything else.

    >>> read_matrix([[1, 0], [0, 1]]), read_matrix([[1], [0, 1]]), read_matrix("eye")
    ([[1.0, 0.0], [0.0, 1.0]], None, None)
    """
    if not isinstance(value, list):
        return None
    rows = [numbers(row) for row in value]
    matrix = [row for row in rows if row]
    if not matrix or len(matrix) != len(rows) or any(len(row) != len(matrix[0]) for row in matrix):
        return None
    return matrix


def _simpler_type(matrix: Matrix) -> str:
    """Return the simpler type of an affine matrix, if there is one."""
    size = len(matrix)
    if size > _MOST_AXES or len(matrix[0]) != size + 1:
        return ""
    linear = [row[:size] for row in matrix]
    moves = any(row[size] != 0 for row in matrix)
    if all(not linear[i][j] for i, j in _off_diagonal(size)):
        stretches = any(linear[i][i] != 1 for i in range(size))
        if not stretches:
            return "a translation" if moves else "the identity"
        return "a scale and a translation" if moves else "a scale"
    if is_rotation(linear):
        return "a rotation and a translation" if moves else "a rotation"
    return ""


def _off_diagonal(size: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(size) for j in range(size) if i != j)
