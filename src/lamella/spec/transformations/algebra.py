"""Composing transformations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError
from lamella.spec.transformations.combined import Sequence
from lamella.spec.transformations.simple import Affine, Identity

if TYPE_CHECKING:
    from lamella.spec.transformations.base import Transformation


def compose(*transformations: Transformation) -> Transformation:
    """Compose transformations, first to last.

    The result leads from the input of the first to the output of the last. Sequences are flattened, and identities
    dropped; the numbers stay as they are.

    Raises
    ------
    InvalidArgumentError
        The number of axes of one does not fit that of the one before.

    Examples
    --------
    >>> from lamella.models import Scale, Translation
    >>> both = compose(Scale(scale=[2, 2]), Translation(translation=[0, 1]))
    >>> both.apply([[1, 1]]), both.type
    ([[2.0, 3.0]], 'sequence')
    >>> compose(both, Identity(), both.inverse()).apply([[5, 6]])
    [[5.0, 6.0]]
    """
    steps = [step for transformation in transformations for step in _steps(transformation)]
    for step in steps:
        step.input = step.output = None
    result: Transformation
    if not steps:
        result = Identity()
    elif len(steps) == 1:
        result = steps[0]
        result.name = None
    else:
        try:
            result = Sequence(transformations=steps)
        except ValueError as error:
            shown = ", ".join(step.type for step in steps)
            raise InvalidArgumentError(f"cannot apply {shown} one after the other: {error}") from error
    if transformations:
        first, last = transformations[0].copied(), transformations[-1].copied()
        result.input, result.output = first.input, last.output
    return result


def _steps(transformation: Transformation) -> list[Transformation]:
    if isinstance(transformation, Sequence):
        return [step for inner in transformation.transformations for step in _steps(inner)]
    return [] if isinstance(transformation, Identity) else [transformation.copied()]


def as_affine(transformation: Transformation, axes_in: int | None = None) -> Affine:
    """Convert a transformation to one affine matrix.

    Parameters
    ----------
    transformation : Transformation
        Of any type but a field of vectors, or composed of such types.
    axes_in : int, optional
        Number of axes of the input, if the parameters do not determine it.

    Raises
    ------
    InvalidArgumentError
        It is not affine, or the number of axes is missing or does not fit.

    Examples
    --------
    >>> from lamella.models import Scale, Translation
    >>> as_affine(compose(Scale(scale=[2, 3]), Translation(translation=[5, 6]))).affine
    [[2.0, 0.0, 5.0], [0.0, 3.0, 6.0]]
    """
    source = transformation.copied()
    matrix = transformation.matrix(axes_in)
    return Affine(affine=matrix, name=source.name, input=source.input, output=source.output)
