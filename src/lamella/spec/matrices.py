"""Small matrices as lists of rows: products, inverses, and whether one is a rotation.

An affine matrix has M rows of N + 1 numbers: the linear part, and the translation last (CT-32).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Matrix: TypeAlias = list[list[float]]
"""Rows of numbers, all of one length."""

_TOLERANCE = 1e-3
"""Rotations are written with few decimals: 0.7071 squared twice is 0.99998."""

_SINGULAR = 1e-12
"""Pivots below this fraction of the largest number of their row count as zero."""


def identity_matrix(size: int) -> Matrix:
    """Return the affine identity matrix."""
    return [[float(row == column) for column in range(size + 1)] for row in range(size)]


def apply_matrix(matrix: Matrix, point: Sequence[float]) -> list[float]:
    """Apply an affine matrix to a point."""
    return [_dot(row[:-1], point) + row[-1] for row in matrix]


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return sum((left * right for left, right in zip(first, second, strict=True)), 0.0)


def multiply(first: Matrix, second: Matrix) -> Matrix:
    """Return the affine matrix that applies ``first`` and then ``second``."""
    columns = len(first[0]) if first else 1
    product = []
    for row in second:
        numbers = [_dot(row[:-1], [first_row[column] for first_row in first]) for column in range(columns)]
        numbers[-1] += row[-1]
        product.append(numbers)
    return product


def inverse_matrix(matrix: Matrix) -> Matrix | None:
    """Return the inverse of a square affine matrix; None if it is not square or not invertible.

    >>> inverse_matrix([[2.0, 0.0, 4.0], [0.0, 0.5, 1.0]])
    [[0.5, 0.0, -2.0], [0.0, 2.0, -2.0]]
    >>> inverse_matrix([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]) is None
    True
    >>> inverse_matrix([[3600.0, 0.0, 0.0], [0.0, 2e-10, 0.0]])[1]
    [0.0, 5000000000.0, 0.0]
    """
    size = len(matrix)
    if any(len(row) != size + 1 for row in matrix):
        return None
    # Gauss-Jordan with the linear part on the left and the unit matrix on the right.
    # Each row is divided by its largest number: seconds and meters in one matrix differ by a factor of 1e13.
    rows = []
    for row, unit in zip(matrix, identity_matrix(size), strict=True):
        largest = max(map(abs, row[:size]))
        if not largest > 0:
            return None
        rows.append([number / largest for number in row[:size] + unit[:size]])
    for column in range(size):
        pivot = max(range(column, size), key=lambda index: abs(rows[index][column]))
        if not abs(rows[pivot][column]) > _SINGULAR:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        divisor = rows[column][column]
        rows[column] = [number / divisor for number in rows[column]]
        for index in range(size):
            if index != column and rows[index][column]:
                rows[index] = _subtract(rows[index], rows[column], rows[index][column])
    inverse = [row[size:] for row in rows]
    translation = [row[size] for row in matrix]
    return [[*row, 0.0 - _dot(row, translation)] for row in inverse]


def _subtract(row: Sequence[float], other: Sequence[float], factor: float) -> list[float]:
    """Return a row minus another one times a factor."""
    return [number - factor * subtrahend for number, subtrahend in zip(row, other, strict=True)]


def determinant(matrix: Matrix) -> float:
    """Compute the determinant of a square matrix."""
    rows = [list(row) for row in matrix]
    product = 1.0
    for column in range(len(rows)):
        pivot = max(range(column, len(rows)), key=lambda index: abs(rows[index][column]))
        if not rows[pivot][column]:
            return 0.0
        if pivot != column:
            rows[column], rows[pivot] = rows[pivot], rows[column]
            product = -product
        product *= rows[column][column]
        for index in range(column + 1, len(rows)):
            rows[index] = _subtract(rows[index], rows[column], rows[index][column] / rows[column][column])
    return product


def is_rotation(matrix: Matrix) -> bool:
    """Return whether a square matrix is orthonormal with determinant 1, within the usual rounding.

    >>> is_rotation([[0.0, -1.0], [1.0, 0.0]]), is_rotation([[0.0, 1.0], [1.0, 0.0]])
    (True, False)
    """
    size = len(matrix)
    for row in range(size):
        for other in range(size):
            product = _dot(matrix[row], matrix[other])
            # "not <=" instead of ">": NaN fails this comparison, and must not pass as a rotation.
            if not abs(product - (row == other)) <= _TOLERANCE:
                return False
    return abs(determinant(matrix) - 1) <= _TOLERANCE * size
