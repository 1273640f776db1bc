"""Transformations by a matrix: affine transformations and rotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from lamella.errors import InvalidArgumentError
from lamella.spec.matrices import apply_matrix, inverse_matrix, is_rotation
from lamella.spec.transformations.base import Transformation

if TYPE_CHECKING:
    from lamella.spec.matrices import Matrix


class _ByMatrix(Transformation):
    """A matrix, inline or in an array."""

    path: str | None = Field(default=None, min_length=1)

    def _stored(self) -> Matrix | None:
        """Return the affine matrix; None if it is in an array."""
        return None

    def _known(self, what: str) -> Matrix:
        matrix = self._stored()
        if matrix is None:
            raise InvalidArgumentError(
                f"{self.title} cannot {what}: its numbers are in the array {self.path!r}; "
                "read them and give them inline"
            )
        return matrix

    def _asked(self) -> int | None:
        matrix = self._stored()
        return None if matrix is None else len(matrix[0]) - 1

    def _given(self, axes_in: int) -> int:
        matrix = self._stored()
        return axes_in if matrix is None else len(matrix)

    def _moved(self, point: list[float]) -> list[float]:
        return apply_matrix(self._known("be applied to points"), point)

    def _matrix(self, axes_in: int) -> Matrix:
        return [list(row) for row in self._known("be written as an affine matrix")]


class Affine(_ByMatrix):
    """An affine transformation: M rows of N + 1 numbers, the translation last (CT-32).

    Attributes
    ----------
    affine : list of list of float or None
        Inline; else it is in the array at ``path``.

    Raises
    ------
    MetadataError
        Rows of different lengths, or not exactly one of ``affine`` and ``path``.

    Examples
    --------
    >>> Affine(affine=[[1, 0, 10], [0, 1, 20]]).apply([[1, 2]])
    [[11.0, 22.0]]
    >>> Affine(affine=[[2, 0, 2], [0, 4, 0]]).inverse().affine
    [[0.5, 0.0, -1.0], [0.0, 0.25, 0.0]]
    """

    type: Literal["affine"] = "affine"
    affine: list[list[float]] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.affine is None) == (self.path is None):
            raise ValueError("an affine needs either affine, rows of numbers, or path, not both (CT-32)")
        if self.affine is not None and (
            not self.affine
            or len(self.affine[0]) < 2
            or any(len(row) != len(self.affine[0]) for row in self.affine)
        ):
            raise ValueError("an affine needs M rows of N + 1 numbers, all of one length (CT-32)")
        return self

    def _stored(self) -> Matrix | None:
        return self.affine

    def _inverted(self) -> Affine:
        inverse = inverse_matrix(self._known("be inverted"))
        if inverse is None:
            raise InvalidArgumentError(
                f"{self.title} {self.affine} cannot be inverted: it flattens space, or leads to another "
                "number of axes"
            )
        return Affine(affine=inverse)


class Rotation(_ByMatrix):
    """A rotation: an orthonormal matrix of N x N numbers with determinant 1 (CT-33).

    Attributes
    ----------
    rotation : list of list of float or None
        Inline; else it is in the array at ``path``.

    Raises
    ------
    MetadataError
        Not a rotation, or not exactly one of ``rotation`` and ``path``.

    Examples
    --------
    >>> Rotation(rotation=[[0, -1], [1, 0]]).apply([[1, 0]])
    [[0.0, 1.0]]
    >>> Rotation(rotation=[[0, 1], [1, 0]])
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: Rotation cannot be made: ... orthonormal with determinant 1 (CT-33)
    """

    type: Literal["rotation"] = "rotation"
    rotation: list[list[float]] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.rotation is None) == (self.path is None):
            raise ValueError("a rotation needs either rotation, rows of numbers, or path, not both (CT-33)")
        if self.rotation is not None and (
            not self.rotation
            or any(len(row) != len(self.rotation) for row in self.rotation)
            or not is_rotation(self.rotation)
        ):
            raise ValueError("a rotation needs N x N numbers, orthonormal with determinant 1 (CT-33)")
        return self

    def _stored(self) -> Matrix | None:
        return None if self.rotation is None else [[*row, 0.0] for row in self.rotation]

    def _inverted(self) -> Rotation:
        linear = self._known("be inverted")
        size = len(linear)
        return Rotation(rotation=[[linear[row][column] for row in range(size)] for column in range(size)])
