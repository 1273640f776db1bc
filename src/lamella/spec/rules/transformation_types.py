"""Rules CT-27 to CT-38 and ST-09 of 0.6: the parameters of each type of transformation.

Each check gets the numbers of axes at the input and the output, None if unknown, and returns the number of output axes,
which is the number of input axes of the next step of a sequence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias

from lamella.errors import counted
from lamella.spec.matrices import Matrix, is_rotation
from lamella.spec.rules.finding import Finding
from lamella.spec.rules.value import Ends, Value, describe, integers, is_text, numbers

if TYPE_CHECKING:
    from lamella.spec.rules.value import Findings
    from lamella.types import JSON

AxisCount: TypeAlias = Generator[Finding, None, int | None]
"""Yields findings, and returns the number of output axes; None if unknown."""

_MAX_DEPTH = 16
"""Transformations that are nested deeper are not checked, so that no document can exhaust the stack."""

_MAX_AXES = 5
_CLOSED_FORM = frozenset(["identity", "mapAxis", "translation", "scale", "affine", "rotation"])
_INTERPOLATIONS = ("nearest", "linear", "cubic", "bspline-cubic")
_ONE_EACH = "write one number for each axis"


def check_parameters(entry: Value, ends: Ends, *, values_rule: str | None = None) -> AxisCount:
    """Check the type and the parameters of one transformation; return its number of output axes.

    ``ends`` are the numbers of axes of its two coordinate systems, None if unknown. Values of a scale or translation
    that are not numbers are reported under ``values_rule``.
    """
    kind, types = entry.raw.get("type"), entry.traits.transformation_types
    if not isinstance(kind, str) or kind not in types:
        yield entry.wrong("CT-20", "type", f"write one of {', '.join(types)}", name="the type")
        return ends.outputs
    if "name" in entry.raw and not isinstance(entry.raw["name"], str):
        yield entry.wrong("CT-20", "name", "write a string", name="the name")
    if kind in ("scale", "translation"):
        return (yield from _check_vector(entry, ends, values_rule))
    return (yield from _CHECKS[kind](entry, ends))


def _check_identity(entry: Value, ends: Ends) -> AxisCount:
    yield from _check_equal_ends(entry, ends, "CT-27")
    return ends.inputs if ends.inputs is not None else ends.outputs


def _check_equal_ends(entry: Value, ends: Ends, rule: str) -> Findings:
    if None not in ends and ends.inputs != ends.outputs:
        found = f"the {entry.raw['type']} gives {ends.inputs} axes, its output has {ends.outputs}"
        yield entry.finding(rule, found, "make parameters and systems fit")


def _misfit_side(ends: Ends, count: int) -> tuple[str, int] | None:
    """Return the side whose number of axes is not `count`, "input" or "output", and that number; None if both fit."""
    for side, axes in zip(("input", "output"), ends, strict=True):
        if axes is not None and axes != count:
            return side, axes
    return None


def _check_vector(entry: Value, ends: Ends, values_rule: str | None) -> AxisCount:
    kind = entry.raw["type"]
    rule = {"scale": "CT-28", "translation": "CT-29"}[kind]
    if kind not in entry.raw:
        remedy = "write the numbers inline" if "path" in entry.raw else "add one number for each axis"
        yield entry.finding(rule, f"the {kind} has no {kind}", remedy)
        return ends.outputs
    values = numbers(entry.raw[kind])
    if not values:
        yield entry.wrong(values_rule or rule, kind, _ONE_EACH, name=f"the {kind}")
        return ends.outputs
    if (misfit := _misfit_side(ends, len(values))) is not None:
        found = f"the {kind} has {counted(len(values), 'number')}, its {misfit[0]} has {misfit[1]} axes"
        yield entry.finding(rule, found, _ONE_EACH, kind)
        return ends.outputs
    if kind == "scale" and any(value <= 0 for value in values):
        # In the text of the specification it SHOULD be non-zero; the JSON schema allows positive numbers only.
        yield entry.wrong(rule, kind, "use positive factors", name="the scale", level="SHOULD")
    return len(values)


def _check_map_axis(entry: Value, ends: Ends) -> AxisCount:
    if "mapAxis" not in entry.raw:
        yield entry.finding("CT-30", "there is no mapAxis", "list the input axis of each output axis")
        return ends.outputs
    order = integers(entry.raw["mapAxis"])
    if not order or sorted(order) != list(range(len(order))) or len(order) > _MAX_AXES:
        yield entry.wrong("CT-30", "mapAxis", "write a permutation of 0, 1, ...")
        return ends.outputs
    if (misfit := _misfit_side(ends, len(order))) is not None:
        found = f"mapAxis has {len(order)} entries, its {misfit[0]} has {misfit[1]} axes"
        yield entry.finding("CT-30", found, "write one entry for each axis", "mapAxis")
        return ends.outputs
    return len(order)


def _check_project_axis(entry: Value, ends: Ends) -> AxisCount:
    counts = {"droppedInputs": 0, "createdOutputs": 0}
    if not counts.keys() & entry.raw.keys():
        yield entry.finding("CT-31", "nothing is dropped or created", "add droppedInputs or createdOutputs")
        return ends.outputs
    for key, count in zip(counts, ends, strict=True):
        if key not in entry.raw:
            continue
        indices = integers(entry.raw[key])
        if (
            not indices
            or not 0 <= min(indices) <= max(indices) <= 4
            or not len(indices) == len(set(indices)) <= 3
        ):
            yield entry.wrong("CT-31", key, "list 1 to 3 different axis indices")
            return ends.outputs
        if count is not None and max(indices) >= count:
            yield entry.finding("CT-31", f"{key} names axis {max(indices)} of {count}", "count from 0", key)
            return ends.outputs
        counts[key] = len(indices)
    if ends.inputs is None:
        return ends.outputs
    outputs = ends.inputs - counts["droppedInputs"] + counts["createdOutputs"]
    yield from _check_equal_ends(entry, Ends(outputs, ends.outputs), "CT-31")
    return outputs


def _check_sequence(entry: Value, ends: Ends) -> AxisCount:
    items = entry.raw.get("transformations")
    if not isinstance(items, list):
        yield entry.wrong("CT-34", "transformations", "list transformations")
        return ends.outputs
    if not items:
        yield entry.finding("CT-34", "the sequence is empty", "use an identity instead", "transformations")
        return ends.outputs
    axes = ends.inputs
    for index, item in enumerate(entry["transformations"]):
        outputs = ends.outputs if index == len(items) - 1 else None
        axes = yield from _check_nested(item, Ends(axes, outputs))
    return axes


def _check_nested(item: Value, ends: Ends) -> AxisCount:
    if len(item.at) > _MAX_DEPTH:
        yield item.finding("CT-27", "the transformations are nested too deeply to check", "flatten them")
        return None
    if not isinstance(item.raw, dict):
        yield item.finding("CT-20", f"the transformation is {item}", "write an object with a type")
        return None
    return (yield from check_parameters(item, ends))


def _check_bijection(entry: Value, ends: Ends) -> AxisCount:
    nested_ends = ends
    for key in ("forward", "inverse"):
        if key not in entry.raw:
            yield entry.finding("CT-37", f"there is no {key}", f"add the transformation {key}")
            continue
        nested = entry[key]
        outputs = yield from _check_nested(nested, nested_ends)
        nested_ends = Ends(
            outputs if nested_ends.outputs is None else nested_ends.outputs, nested_ends.inputs
        )
        kind = nested.raw.get("type") if isinstance(nested.raw, dict) else None
        if isinstance(kind, str) and kind in _CLOSED_FORM:
            found = f"{key} is of type {describe(kind)}, whose inverse is known"
            remedy = "write that transformation without a bijection"
            yield nested.finding("CT-37", found, remedy, level="SHOULD")
    yield from _check_equal_ends(entry, ends, "CT-37")
    return ends.outputs


def _check_field(entry: Value, ends: Ends) -> AxisCount:
    raw = entry.raw
    if not is_text(raw.get("path")):
        remedy = "write the path of the field's group"
        yield entry.wrong("CT-35", "path", remedy, name=f"the path of the {raw['type']}")
    yield from _check_parameter_path(entry)
    if "interpolation" in raw and raw["interpolation"] not in _INTERPOLATIONS:
        yield entry.wrong(
            "CT-35", "interpolation", "write nearest, linear or cubic", name="the interpolation"
        )
    if raw["type"] == "displacements":
        yield from _check_equal_ends(entry, ends, "CT-35")
    return ends.outputs


def _check_parameter_path(entry: Value) -> Findings:
    """Check the location of an array with parameters (ST-09)."""
    path = entry.raw.get("path")
    if is_text(path) and "coordinateTransformations" not in path.split("/"):
        found = f"the parameters lie at {describe(path)}"
        yield entry.finding("ST-09", found, "put them in a group coordinateTransformations", "path")


def _check_by_dimension(entry: Value, ends: Ends) -> AxisCount:
    items = entry.raw.get("transformations")
    if not isinstance(items, list) or not items:
        yield entry.wrong("CT-36", "transformations", "list items with transformation, inputAxes, outputAxes")
        return ends.outputs
    uses: Counter[int] = Counter()
    for item in entry["transformations"]:
        uses.update((yield from _check_dimension_item(item, ends)))
    repeated = next((axis for axis, times in uses.items() if times > 1), None)
    count = max(uses, default=-1) + 1 if ends.outputs is None else ends.outputs
    missing = next((axis for axis in range(count) if axis not in uses), None)
    if repeated is not None or missing is not None:
        found = (
            f"no item makes output axis {missing}"
            if repeated is None
            else f"output axis {describe(repeated)} is made more than once"
        )
        yield entry.finding("CT-36", found, "let exactly one item make each output axis", "transformations")
    return ends.outputs


def _check_dimension_item(item: Value, ends: Ends) -> Generator[Finding, None, list[int]]:
    if not isinstance(item.raw, dict):
        yield item.finding("CT-36", f"the item is {item}", "write an object")
        return []
    axis_indices: dict[str, list[int] | None] = {}
    for key, count in zip(("inputAxes", "outputAxes"), ends, strict=True):
        indices = axis_indices[key] = integers(item.raw.get(key))
        if indices is None:
            yield item.wrong("CT-36", key, "list axis indices, from 0")
        elif any(axis < 0 or (count is not None and axis >= count) for axis in indices):
            yield item.wrong("CT-36", key, f"list indices of the {count or ''} axes")
            axis_indices[key] = None
    if "transformation" not in item.raw:
        yield item.finding("CT-36", "the item has no transformation", "add one")
    else:
        counts = [None if indices is None else len(indices) for indices in axis_indices.values()]
        yield from _check_nested(item["transformation"], Ends(*counts))
    return axis_indices["outputAxes"] or []


def _check_affine(entry: Value, ends: Ends) -> AxisCount:
    """Check an affine transformation (CT-32, CT-38)."""
    yield from _check_parameter_path(entry)
    if (yield from _check_inline_or_path(entry, "affine", "CT-32")) is None:
        return ends.outputs
    matrix = _read_matrix(entry.raw["affine"])
    if matrix is None or len(matrix[0]) < 2:
        remedy = "write rows of equal length, the translation last"
        yield entry.wrong("CT-32", "affine", remedy, name="the affine")
        return ends.outputs
    rows, columns = len(matrix), len(matrix[0])
    if ends.inputs not in (None, columns - 1) or ends.outputs not in (None, rows):
        expected = f"{_or_any(ends.outputs)} x {_or_any(ends.inputs and ends.inputs + 1)}"
        found = f"the affine is {rows} x {columns}, its systems ask for {expected}"
        yield entry.finding("CT-32", found, "write M rows of N+1", "affine")
        return ends.outputs
    simpler = _simpler_type(matrix)
    if simpler:
        yield entry.finding("CT-38", f"the affine is only {simpler}", "write that type instead", "affine")
    return rows


def _or_any(count: int | None) -> str:
    return "any" if count is None else str(count)


def _check_rotation(entry: Value, ends: Ends) -> AxisCount:
    """Check a rotation (CT-33)."""
    yield from _check_parameter_path(entry)
    if (yield from _check_inline_or_path(entry, "rotation", "CT-33")) is None:
        return ends.outputs
    matrix = _read_matrix(entry.raw["rotation"])
    if matrix is None or len(matrix) != len(matrix[0]) or len(matrix) > _MAX_AXES:
        yield entry.wrong("CT-33", "rotation", "write a square matrix", name="the rotation")
        return ends.outputs
    size = len(matrix)
    if _misfit_side(ends, size) is not None:
        found = f"the rotation is {size} x {size}, its systems have other numbers of axes"
        yield entry.finding(
            "CT-33", found, "write a matrix with one row and column for each axis", "rotation"
        )
        return ends.outputs
    if not is_rotation(matrix):
        found = "the matrix is not orthonormal with determinant 1"
        yield entry.finding("CT-33", found, "write it as affine, or correct it", "rotation")
    return size


def _check_inline_or_path(entry: Value, key: str, rule: str) -> Generator[Finding, None, JSON]:
    """Check that the parameters are stored once, inline or by path; return the inline ones, or None."""
    raw = entry.raw
    if key in raw and "path" in raw:
        yield entry.finding(rule, f"there are both {key} and path", "keep one of them")
    elif key not in raw and "path" not in raw:
        yield entry.finding(rule, f"there is neither {key} nor path", "add one of them")
    elif "path" in raw and not is_text(raw["path"]):
        yield entry.wrong(rule, "path", "write the path of an array", name="the path")
    return raw.get(key)


def _read_matrix(value: JSON) -> Matrix | None:
    """Return a matrix of numbers, or None for anything else."""
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
    if size > _MAX_AXES or len(matrix[0]) != size + 1:
        return ""
    linear = [row[:size] for row in matrix]
    has_translation = any(row[size] != 0 for row in matrix)
    is_diagonal = not any(
        linear[row][column] for row in range(size) for column in range(size) if row != column
    )
    if is_diagonal and all(linear[axis][axis] == 1 for axis in range(size)):
        return "a translation" if has_translation else "the identity"
    if is_diagonal:
        return "a scale and a translation" if has_translation else "a scale"
    if is_rotation(linear):
        return "a rotation and a translation" if has_translation else "a rotation"
    return ""


_CHECKS: dict[str, Callable[[Value, Ends], AxisCount]] = {
    "identity": _check_identity,
    "mapAxis": _check_map_axis,
    "projectAxis": _check_project_axis,
    "affine": _check_affine,
    "rotation": _check_rotation,
    "sequence": _check_sequence,
    "displacements": _check_field,
    "coordinates": _check_field,
    "bijection": _check_bijection,
    "byDimension": _check_by_dimension,
}
