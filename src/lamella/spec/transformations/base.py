"""The base class of transformations, which map points from one coordinate system to another.

`Transformation` checks numbers of axes and copies references; a subclass overrides the five private methods at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, model_validator

from lamella.errors import InvalidArgumentError, MetadataError, clause
from lamella.spec.base import MetaModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.spec.matrices import Matrix


class SystemReference(MetaModel):
    """One side of a transformation: a coordinate system by name, in the group at a path (CT-20).

    Attributes
    ----------
    name : str or None
        Name of the coordinate system; None for the array of a level.
    path : str or None
        Path of the group that has the system, or of the array; None for the document itself.

    Examples
    --------
    >>> SystemReference(name="physical", path="tile_0").to_json()
    {'name': 'physical', 'path': 'tile_0'}
    >>> SystemReference.from_json("physical").to_json()  # as until 0.6.dev2 (A25)
    {'name': 'physical'}
    """

    name: str | None = None
    path: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Transformation(MetaModel):
    """Base of the 12 types of transformations of 0.6: numbers in, numbers out, one per axis.

    Attributes
    ----------
    type : str
        One of the 12 types (CT-20).
    name : str or None
    input, output : SystemReference or None
        The coordinate systems that the transformation joins; None inside a sequence, a bijection or a byDimension.

    Examples
    --------
    >>> from lamella.models import parse_transformation
    >>> turn = parse_transformation({"type": "rotation", "rotation": [[0, -1], [1, 0]]})
    >>> turn.apply([[1, 0]]), turn.inverse().apply([[0, 1]])
    ([[0.0, 1.0]], [[1.0, 0.0]])
    """

    model_config = ConfigDict(allow_inf_nan=False)

    type: str
    name: str | None = None
    input: SystemReference | None = None
    output: SystemReference | None = None

    def axes_out(self, axes_in: int) -> int:
        """Return the number of output axes for ``axes_in`` input axes (CT-27).

        Raises
        ------
        InvalidArgumentError
            The transformation does not accept this number.
        """
        expected = self._required_axes()
        if expected is not None and expected != axes_in:
            raise InvalidArgumentError(
                f"{self.title} is for {expected} axes, not for {axes_in}: pass one number for each axis."
            )
        return self._output_axes(axes_in)

    @property
    def title(self) -> str:
        """Name of this transformation at the start of messages: its type, and its own name if it has one."""
        return f"The {self.type} {self.name!r}" if self.name else f"The {self.type}"

    @property
    def ndim(self) -> int | None:
        """Number of axes that the parameters require; None if they accept any number."""
        return self._required_axes()

    def apply(self, points: Sequence[Sequence[float]]) -> list[list[float]]:
        """Map points from the input to the output.

        Parameters
        ----------
        points : sequence of sequences of float, n x axes of the input
            In axis order and in the unit of each axis; anything that iterates, a numpy array too.

        Returns
        -------
        list of list of float, n x axes of the output

        Raises
        ------
        InvalidArgumentError
            A point has another number of coordinates, or the transformation needs an array of numbers.

        Examples
        --------
        >>> from lamella.models import Scale
        >>> Scale(scale=[2, 3]).apply([[1, 1], [2, 2]])
        [[2.0, 3.0], [4.0, 6.0]]
        """
        points_as_lists = _as_points(points)
        for size in {len(point) for point in points_as_lists}:
            self.axes_out(size)
        return [self._apply_to_point(point) for point in points_as_lists]

    def inverse(self) -> Transformation:
        """Return the inverse transformation; input and output are swapped.

        Raises
        ------
        InvalidArgumentError
            The inverse has no closed form: for a field of vectors, a singular matrix or dropped axes.

        Examples
        --------
        >>> from lamella.models import Translation
        >>> Translation(translation=[1, -2]).inverse().translation
        [-1.0, 2.0]
        """
        try:
            inverse = self._make_inverse()
        except MetadataError as error:  # a number of the inverse is too large for a float
            raise InvalidArgumentError(f"{self.title} cannot be inverted: {clause(error)}.") from error
        inverse.input, inverse.output = _copy_reference(self.output), _copy_reference(self.input)
        return inverse

    def matrix(self, axes_in: int | None = None) -> Matrix:
        """Compute the affine matrix, M rows of N + 1 numbers with the translation last (CT-32).

        Parameters
        ----------
        axes_in : int, optional
            Number of axes N of the input, if the parameters do not determine it.

        Raises
        ------
        InvalidArgumentError
            The transformation is not affine, or the number of axes is missing or does not fit.

        Examples
        --------
        >>> from lamella.models import MapAxis
        >>> MapAxis(map_axis=[1, 0]).matrix()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
        """
        size = self._required_axes() if axes_in is None else axes_in
        if size is None:
            raise InvalidArgumentError(f"{self.title} fits any number of axes: pass axes_in.")
        self.axes_out(size)
        return self._matrix(size)

    def _required_axes(self) -> int | None:
        """Return the number of input axes that the parameters determine; None if any number fits."""
        return None

    def _output_axes(self, axes_in: int) -> int:
        return axes_in

    def _apply_to_point(self, point: list[float]) -> list[float]:
        raise InvalidArgumentError(self._refusal_text("be applied to points"))

    def _make_inverse(self) -> Transformation:
        raise InvalidArgumentError(self._refusal_text("be inverted"))

    def _matrix(self, axes_in: int) -> Matrix:
        raise InvalidArgumentError(self._refusal_text("be written as an affine matrix"))

    def _refusal_text(self, action: str) -> str:
        return f"{self.title} cannot {action}: there is no closed form."


def _copy_reference(reference: SystemReference | None) -> SystemReference | None:
    return None if reference is None else reference.copied()


def _as_points(points: Sequence[Sequence[float]]) -> list[list[float]]:
    try:
        return [[float(number) for number in point] for point in points]
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"Points are a list of points with one number per axis, as in [[1, 2], [3, 4]], not {points!r}."
        ) from error
