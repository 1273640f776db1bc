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
"""Pivots below this fraction of the largest number count as zero."""


def identity_matrix(size: int) -> Matrix:
    """Return the affine identity matrix."""
    return [[float(row == column) for column in range(size + 1)] for row in range(size)]


def apply_matrix(matrix: Matrix, point: Sequence[float]) -> list[float]:
    """Apply an affine matrix to a point."""
    return [sum((a * b for a, b in zip(row[:-1], point, strict=True)), 0.0) + row[-1] for row in matrix]


def multiply(first: Matrix, second: Matrix) -> Matrix:
    """Return the affine matrix that applies ``first`` and then ``second``."""
    columns = len(first[0]) if first else 1
    product = []
    for row in second:
        numbers = [
            sum((a * step[column] for a, step in zip(row[:-1], first, strict=True)), 0.0)
            for column in range(columns)
        ]
        numbers[-1] += row[-1]
        product.append(numbers)
    return product


def inverse_matrix(matrix: Matrix) -> Matrix | None:
    """Return the inverse of a square affine matrix; None if it is not square or not invertible.

    >>> inverse_matrix([[2.0, 0.0, 4.0], [0.0, 0.5, 1.0]])
    [[0.5, 0.0, -2.0], [0.0, 2.0, -2.0]]
    >>> inverse_matrix([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]) is None
    True
    """
    size = len(matrix)
    if any(len(row) != size + 1 for row in matrix):
        return None
    # Gauss-Jordan with the linear part on the left and the unit matrix on the right.
    work = [row[:size] + [float(i == j) for j in range(size)] for i, row in enumerate(matrix)]
    largest = max((abs(number) for row in work for number in row[:size]), default=1.0)
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(work[row][column]))
        if not abs(work[pivot][column]) > _SINGULAR * largest:
            return None
        work[column], work[pivot] = work[pivot], work[column]
        divisor = work[column][column]
        work[column] = [number / divisor for number in work[column]]
        for row in range(size):
            factor = work[row][column]
            if row != column and factor:
                work[row] = [a - factor * b for a, b in zip(work[row], work[column], strict=True)]
    linear = [row[size:] for row in work]
    moves = [row[size] for row in matrix]
    return [[*row, 0.0 - sum((a * b for a, b in zip(row, moves, strict=True)), 0.0)] for row in linear]


def determinant(matrix: Matrix) -> float:
    """Compute the determinant of a square matrix."""
    work = [list(row) for row in matrix]
    product = 1.0
    for column in range(len(work)):
        pivot = max(range(column, len(work)), key=lambda row: abs(work[row][column]))
        if not work[pivot][column]:
            return 0.0
        if pivot != column:
            work[column], work[pivot] = work[pivot], work[column]
            product = -product
        product *= work[column][column]
        for row in range(column + 1, len(work)):
            factor = work[row][column] / work[column][column]
            work[row] = [a - factor * b for a, b in zip(work[row], work[column], strict=True)]
    return product


def is_rotation(matrix: Matrix) -> bool:
    """Return whether a square matrix is orthonormal with determinant 1, within the usual rounding.

    >>> is_rotation([[0.0, -1.0], [1.0, 0.0]]), is_rotation([[0.0, 1.0], [1.0, 0.0]])
    (True, False)
    """
    size = len(matrix)
    for row in range(size):
        for other in range(size):
            product = sum(a * b for a, b in zip(matrix[row], matrix[other], strict=True))
            # Written so that nan and infinity are no match.
            if not abs(product - (row == other)) <= _TOLERANCE:
                return False
    return abs(determinant(matrix) - 1) <= _TOLERANCE * size
