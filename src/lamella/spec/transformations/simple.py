"""Transformations of one step: scale, translation, order of axes, matrices, and fields of vectors.

A field of vectors is a separate image (CT-35). Applying it needs the pixels of that image, so it is not done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from lamella.errors import InvalidArgumentError
from lamella.spec.matrices import apply_matrix, identity_matrix, inverse_matrix, is_rotation
from lamella.spec.transformations.base import Transformation

if TYPE_CHECKING:
    from lamella.spec.matrices import Matrix

AxisIndex = Annotated[int, Field(ge=0)]
"""Index of an axis, from 0."""


class Identity(Transformation):
    """Keep points unchanged, with any number of axes.

    Examples
    --------
    >>> Identity().apply([[1, 2]])
    [[1.0, 2.0]]
    """

    type: Literal["identity"] = "identity"

    def _apply_to_point(self, point: list[float]) -> list[float]:
        return point

    def _make_inverse(self) -> Identity:
        return Identity()

    def _matrix(self, axes_in: int) -> Matrix:
        return identity_matrix(axes_in)


class Scale(Transformation):
    """Multiply each coordinate by the factor of its axis (CT-28).

    Examples
    --------
    >>> Scale(scale=[2, 4]).inverse().scale
    [0.5, 0.25]
    """

    type: Literal["scale"] = "scale"
    scale: list[float] = Field(min_length=1)

    def _required_axes(self) -> int:
        return len(self.scale)

    def _apply_to_point(self, point: list[float]) -> list[float]:
        return [factor * number for factor, number in zip(self.scale, point, strict=True)]

    def _make_inverse(self) -> Scale:
        if 0 in self.scale:
            raise InvalidArgumentError(f"{self.title} {self.scale} cannot be inverted: a factor is 0.")
        return Scale(scale=[1 / factor for factor in self.scale])

    def _matrix(self, axes_in: int) -> Matrix:
        matrix = identity_matrix(axes_in)
        for index, factor in enumerate(self.scale):
            matrix[index][index] = factor
        return matrix


class Translation(Transformation):
    """Add the number of its axis to each coordinate (CT-29).

    Examples
    --------
    >>> Translation(translation=[10, 20]).apply([[1, 2]])
    [[11.0, 22.0]]
    """

    type: Literal["translation"] = "translation"
    translation: list[float] = Field(min_length=1)

    def _required_axes(self) -> int:
        return len(self.translation)

    def _apply_to_point(self, point: list[float]) -> list[float]:
        return [step + number for step, number in zip(self.translation, point, strict=True)]

    def _make_inverse(self) -> Translation:
        return Translation(translation=[-step for step in self.translation])

    def _matrix(self, axes_in: int) -> Matrix:
        matrix = identity_matrix(axes_in)
        for index, step in enumerate(self.translation):
            matrix[index][-1] = step
        return matrix


class MapAxis(Transformation):
    """Reorder axes: entry i is the input axis that becomes output axis i (CT-30).

    Raises
    ------
    MetadataError
        Not a permutation of 0, 1, ..., N - 1.

    Examples
    --------
    >>> MapAxis(map_axis=[1, 2, 0]).apply([[10, 11, 12]])
    [[11.0, 12.0, 10.0]]
    >>> MapAxis(map_axis=[1, 1])
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: MapAxis cannot be made: ... mapAxis [1, 1] is not a permutation of 0 ... 1 (CT-30).
    """

    type: Literal["mapAxis"] = "mapAxis"
    map_axis: list[AxisIndex] = Field(alias="mapAxis", min_length=1)

    @model_validator(mode="after")
    def _is_permutation(self) -> Self:
        if sorted(self.map_axis) != list(range(len(self.map_axis))):
            raise ValueError(
                f"The mapAxis {self.map_axis} is not a permutation of 0 ... {len(self.map_axis) - 1} (CT-30)"
            )
        return self

    def _required_axes(self) -> int:
        return len(self.map_axis)

    def _apply_to_point(self, point: list[float]) -> list[float]:
        return [point[axis] for axis in self.map_axis]

    def _make_inverse(self) -> MapAxis:
        return MapAxis(map_axis=[self.map_axis.index(axis) for axis in range(len(self.map_axis))])

    def _matrix(self, axes_in: int) -> Matrix:
        rows = identity_matrix(axes_in)
        return [rows[axis] for axis in self.map_axis]


class ProjectAxis(Transformation):
    """Drop axes, and add axes at which every point lies at 0 (CT-31).

    Attributes
    ----------
    dropped_inputs : list of int or None
        Input axes that are dropped.
    created_outputs : list of int or None
        Indices of the added axes among the output axes.

    Raises
    ------
    MetadataError
        Both are missing, or an index occurs twice.

    Examples
    --------
    >>> ProjectAxis(dropped_inputs=[0], created_outputs=[2]).apply([[7, 8, 9]])
    [[8.0, 9.0, 0.0]]
    """

    type: Literal["projectAxis"] = "projectAxis"
    dropped_inputs: list[AxisIndex] | None = Field(default=None, alias="droppedInputs")
    created_outputs: list[AxisIndex] | None = Field(default=None, alias="createdOutputs")

    @model_validator(mode="after")
    def _is_projection(self) -> Self:
        if not self.dropped_inputs and not self.created_outputs:
            raise ValueError("A projectAxis needs droppedInputs or createdOutputs (CT-31)")
        for axes in (self.dropped_inputs, self.created_outputs):
            if axes and len(set(axes)) < len(axes):
                raise ValueError(f"The axes {axes} of a projectAxis are not unique (CT-31)")
        return self

    def _output_axes(self, axes_in: int) -> int:
        dropped, created = self.dropped_inputs or [], self.created_outputs or []
        axes_out = axes_in - len(dropped) + len(created)
        if any(axis >= axes_in for axis in dropped) or any(axis >= axes_out for axis in created):
            raise InvalidArgumentError(
                f"{self.title} drops the input axes {dropped} and creates the output axes {created}, "
                f"which {axes_in} axes do not have (CT-31)."
            )
        return axes_out

    def _apply_to_point(self, point: list[float]) -> list[float]:
        return [0.0 if axis is None else point[axis] for axis in self._sources(len(point))]

    def _matrix(self, axes_in: int) -> Matrix:
        rows = identity_matrix(axes_in)
        return [[0.0] * (axes_in + 1) if axis is None else rows[axis] for axis in self._sources(axes_in)]

    def _sources(self, axes_in: int) -> list[int | None]:
        """Return the input axis of each output axis, None for added axes."""
        sources: list[int | None] = [
            axis for axis in range(axes_in) if axis not in (self.dropped_inputs or [])
        ]
        for axis in sorted(self.created_outputs or []):
            sources.insert(axis, None)
        return sources

    def _refusal_text(self, action: str) -> str:
        return f"{self.title} cannot {action}: what it drops is lost, and what it adds was never there."


class _MatrixTransformation(Transformation):
    """A matrix, inline or in an array."""

    path: str | None = Field(default=None, min_length=1)

    def _inline_matrix(self) -> Matrix | None:
        """Return the affine matrix; None if it is in an array."""
        return None

    def _require_matrix(self, action: str) -> Matrix:
        """Return the affine matrix; raise InvalidArgumentError if it is in an array."""
        matrix = self._inline_matrix()
        if matrix is None:
            raise InvalidArgumentError(
                f"{self.title} cannot {action}: its numbers are in the array {self.path!r}, "
                "not in the document. Read them, and pass them instead of the path."
            )
        return matrix

    def _required_axes(self) -> int | None:
        matrix = self._inline_matrix()
        return None if matrix is None else len(matrix[0]) - 1

    def _output_axes(self, axes_in: int) -> int:
        matrix = self._inline_matrix()
        return axes_in if matrix is None else len(matrix)

    def _apply_to_point(self, point: list[float]) -> list[float]:
        return apply_matrix(self._require_matrix("be applied to points"), point)

    def _matrix(self, axes_in: int) -> Matrix:
        return [list(row) for row in self._require_matrix("be written as an affine matrix")]


class Affine(_MatrixTransformation):
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
            raise ValueError("An affine needs either affine, rows of numbers, or path, not both (CT-32)")
        if self.affine is not None and (
            not self.affine
            or len(self.affine[0]) < 2
            or any(len(row) != len(self.affine[0]) for row in self.affine)
        ):
            raise ValueError("An affine needs M rows of N + 1 numbers, all of one length (CT-32)")
        return self

    def _inline_matrix(self) -> Matrix | None:
        return self.affine

    def _make_inverse(self) -> Affine:
        inverse = inverse_matrix(self._require_matrix("be inverted"))
        if inverse is None:
            raise InvalidArgumentError(
                f"{self.title} {self.affine} cannot be inverted: it flattens space, or leads to another "
                "number of axes."
            )
        return Affine(affine=inverse)


class Rotation(_MatrixTransformation):
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
    lamella.errors.MetadataError: Rotation cannot be made: ... orthonormal with determinant 1 (CT-33).
    """

    type: Literal["rotation"] = "rotation"
    rotation: list[list[float]] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.rotation is None) == (self.path is None):
            raise ValueError("A rotation needs either rotation, rows of numbers, or path, not both (CT-33)")
        if self.rotation is not None and (
            not self.rotation
            or any(len(row) != len(self.rotation) for row in self.rotation)
            or not is_rotation(self.rotation)
        ):
            raise ValueError("A rotation needs N x N numbers, orthonormal with determinant 1 (CT-33)")
        return self

    def _inline_matrix(self) -> Matrix | None:
        return None if self.rotation is None else [[*row, 0.0] for row in self.rotation]

    def _make_inverse(self) -> Rotation:
        linear = self._require_matrix("be inverted")
        size = len(linear)
        return Rotation(rotation=[[linear[row][column] for row in range(size)] for column in range(size)])


class _FieldTransformation(Transformation):
    """A path to the image with the vectors, and how to interpolate between them."""

    path: str = Field(min_length=1)
    interpolation: Literal["nearest", "linear", "cubic", "bspline-cubic"] | None = None

    def _refusal_text(self, action: str) -> str:
        return f"{self.title} cannot {action} by its metadata: it is a field of vectors at {self.path!r}."


class Displacements(_FieldTransformation):
    """Each point moves by the vector that the field has there (CT-35).

    Attributes
    ----------
    path : str
        Path of the image with the vectors.
    interpolation : str or None
        "nearest", "linear" (when None) or "cubic", which the text calls "bspline-cubic" (A10).

    Examples
    --------
    >>> Displacements(path="coordinateTransformations/dfield").to_json()
    {'type': 'displacements', 'path': 'coordinateTransformations/dfield'}
    """

    type: Literal["displacements"] = "displacements"


class Coordinates(_FieldTransformation):
    """Each point moves to the position that the field has there (CT-35).

    Attributes
    ----------
    path : str
        Path of the image with the positions.
    interpolation : str or None
        As for ``Displacements``.

    Examples
    --------
    >>> Coordinates(path="coordinateTransformations/cfield").inverse()
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: The coordinates cannot be inverted by its metadata: ...
    """

    type: Literal["coordinates"] = "coordinates"
