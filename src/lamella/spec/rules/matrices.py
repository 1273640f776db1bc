"""Rules CT-32, CT-33 and CT-38 of 0.6: matrices of affine transformations and rotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.matrices import Matrix, is_rotation
from lamella.spec.rules.raw_json import describe, is_text, numbers

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import Ends, RuleContext
    from lamella.types import JSON, JSONObject

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
