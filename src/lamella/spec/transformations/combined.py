"""Transformations that consist of others, and functions to combine several into one and to read any of the 12 types.

A transformation of an unknown type, or with unfit parameters, is kept unchanged in its document
(``OtherTransformation``): it must not prevent an image from being opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, Union

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from lamella.errors import InvalidArgumentError, MetadataError, clause
from lamella.spec.base import MetaModel
from lamella.spec.matrices import Matrix, identity_matrix, multiply
from lamella.spec.transformations.base import Transformation
from lamella.spec.transformations.simple import (
    Affine,
    AxisIndex,
    Coordinates,
    Displacements,
    Identity,
    MapAxis,
    ProjectAxis,
    Rotation,
    Scale,
    Translation,
)

if TYPE_CHECKING:
    from lamella.types import JSON

_AXES = ("inputAxes", "outputAxes")
_OLD_AXES = {"input_axes": "inputAxes", "output_axes": "outputAxes"}


def _model_tag(value: Any) -> str:
    if isinstance(value, OtherTransformation):
        return "<other>"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"<{kind}>" if isinstance(kind, str) and kind in TRANSFORMATIONS else "<other>"


def _refuse(value: Any) -> Any:
    raise ValueError(_describe_unusable(value.to_json() if isinstance(value, OtherTransformation) else value))


def _describe_unusable(document: JSON) -> str:
    if not isinstance(document, dict) or "type" not in document:
        return f"A transformation is an object with a type, not {document!r}"
    if isinstance(document["type"], str) and document["type"] in TRANSFORMATIONS:
        return f"The parameters of this {document['type']} do not fit"
    return f"The type {document['type']!r} is none of {', '.join(TRANSFORMATIONS)} (CT-20)"


def _read_or_keep(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Read a transformation; keep an unusable one as an OtherTransformation."""
    if isinstance(value, OtherTransformation):
        return value
    try:
        return read(value)
    except ValidationError as error:
        if not isinstance(value, dict):
            raise
        try:
            return OtherTransformation.from_json(value)
        except MetadataError:
            raise error from None


class OtherTransformation(Transformation):
    """A transformation that cannot be used: of an unknown type, or with unfit parameters.

    Its document keeps it unchanged, and using it raises an error with the reason (RD-02).

    Examples
    --------
    >>> OtherTransformation(type="thinPlateSpline", path="landmarks").apply([[1, 2]])
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: The thinPlateSpline cannot be applied to points: ... is none of ...
    """

    def _refusal_text(self, action: str) -> str:
        try:
            parse_transformation(self.to_json())
        except MetadataError as error:
            return f"{self.title} cannot {action}: {clause(error)}."
        return f"{self.title} cannot {action} as it was read: write its document and read it again."


class Sequence(Transformation):
    """Transformations one after the other, first to last (CT-34).

    Raises
    ------
    MetadataError
        The list is empty, or the numbers of axes of two successive transformations differ.

    Examples
    --------
    >>> Sequence(transformations=[Scale(scale=[2, 2]), Translation(translation=[0, 1])]).apply([[1, 1]])
    [[2.0, 3.0]]
    """

    type: Literal["sequence"] = "sequence"
    transformations: list[AnyTransformation] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        axes = self._required_axes()
        if axes is not None:
            _checked_axes(self, axes)
        return self

    def _required_axes(self) -> int | None:
        # An identity keeps the number of axes: the first step with a fixed number decides, if only identities precede.
        for step in self.transformations:
            if step.ndim is not None:
                return step.ndim
            if not isinstance(step, Identity):
                return None
        return None

    def _output_axes(self, axes_in: int) -> int:
        for step in self.transformations:
            axes_in = step.axes_out(axes_in)
        return axes_in

    def _apply_to_point(self, point: list[float]) -> list[float]:
        for step in self.transformations:
            point = step._apply_to_point(point)
        return point

    def _make_inverse(self) -> Sequence:
        return Sequence(transformations=[step.inverse() for step in reversed(self.transformations)])

    def _matrix(self, axes_in: int) -> Matrix:
        product = identity_matrix(axes_in)
        for step in self.transformations:
            product = multiply(product, step.matrix(len(product)))
        return product


class Bijection(Transformation):
    """A transformation together with its inverse (CT-37).

    Attributes
    ----------
    forward : Transformation
    backward : Transformation
        The key "inverse" of the document; not checked.

    Examples
    --------
    >>> both = Bijection(forward=Translation(translation=[1]), backward=Translation(translation=[-1]))
    >>> both.apply([[1]]), both.inverse().apply([[1]])
    ([[2.0]], [[0.0]])
    """

    type: Literal["bijection"] = "bijection"
    forward: AnyTransformation
    backward: AnyTransformation = Field(alias="inverse")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        axes = self.forward.ndim or self.backward.ndim
        if axes is not None:
            for step in (self.forward, self.backward):
                if _checked_axes(step, axes) != axes:
                    raise ValueError(f"{step.title} of a bijection changes the number of axes (CT-37)")
        return self

    def _required_axes(self) -> int | None:
        return self.forward.ndim or self.backward.ndim

    def _apply_to_point(self, point: list[float]) -> list[float]:
        return self.forward._apply_to_point(point)

    def _make_inverse(self) -> Bijection:
        return Bijection(forward=self.backward.copied(), backward=self.forward.copied())

    def _matrix(self, axes_in: int) -> Matrix:
        return self.forward.matrix(axes_in)


class DimensionItem(MetaModel):
    """One item of a byDimension: a transformation from some of the input axes to some of the output axes (CT-36).

    Attributes
    ----------
    transformation : Transformation
    input_axes, output_axes : list of int
        Indices of axes, from 0, in the order of the transformation's parameters.

    Examples
    --------
    >>> DimensionItem(transformation=Scale(scale=[2]), input_axes=[1], output_axes=[0]).to_json()
    {'transformation': {'type': 'scale', 'scale': [2.0]}, 'inputAxes': [1], 'outputAxes': [0]}
    """

    transformation: AnyTransformation
    input_axes: list[AxisIndex] = Field(alias="inputAxes")
    output_axes: list[AxisIndex] = Field(alias="outputAxes")

    @model_validator(mode="before")
    @classmethod
    def _read_flat(cls, value: Any) -> Any:
        """Read the spelling until 0.6.dev4: the axes among the keys of the transformation (A25)."""
        if not isinstance(value, dict):
            return value
        value = {_OLD_AXES.get(key, key): item for key, item in value.items()}
        if "transformation" in value or "type" not in value:
            return value
        inner = {key: item for key, item in value.items() if key not in _AXES}
        return {"transformation": inner} | {key: value[key] for key in _AXES if key in value}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        axes_out = _checked_axes(self.transformation, len(self.input_axes))
        # The parameters of a field do not determine the number of output axes.
        if axes_out != len(self.output_axes) and not isinstance(self.transformation, Coordinates):
            raise ValueError(
                f"{self.transformation.title} makes {axes_out} axes, and outputAxes lists {self.output_axes} (CT-36)"
            )
        return self


class ByDimension(Transformation):
    """Apply a separate transformation to each group of axes (CT-36).

    Attributes
    ----------
    transformations : list of DimensionItem
        Each output axis belongs to exactly one of them.

    Raises
    ------
    MetadataError
        An output axis occurs twice, or never.

    Examples
    --------
    >>> split = ByDimension(transformations=[
    ...     DimensionItem(transformation=Identity(), input_axes=[0], output_axes=[0]),
    ...     DimensionItem(transformation=Scale(scale=[10]), input_axes=[1], output_axes=[1])])
    >>> split.apply([[1, 2]])
    [[1.0, 20.0]]
    """

    type: Literal["byDimension"] = "byDimension"
    transformations: list[DimensionItem] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        outputs = sorted(axis for item in self.transformations for axis in item.output_axes)
        if outputs != list(range(len(outputs))):
            raise ValueError(
                f"A byDimension makes each output axis once, from 0 on, and this one makes {outputs} (CT-36)"
            )
        return self

    def axes_out(self, axes_in: int) -> int:
        """Return the number of output axes; inputs that no item reads are dropped."""
        needed = 1 + max((axis for item in self.transformations for axis in item.input_axes), default=-1)
        if needed > axes_in:
            raise InvalidArgumentError(
                f"{self.title} reads input axis {needed - 1}, and the points have {axes_in} axes (CT-36)."
            )
        return sum(len(item.output_axes) for item in self.transformations)

    def _apply_to_point(self, point: list[float]) -> list[float]:
        output = [0.0] * sum(len(item.output_axes) for item in self.transformations)
        for item in self.transformations:
            numbers = item.transformation._apply_to_point([point[axis] for axis in item.input_axes])
            for axis, number in zip(item.output_axes, numbers, strict=True):
                output[axis] = number
        return output

    def _make_inverse(self) -> ByDimension:
        used = sorted(axis for item in self.transformations for axis in item.input_axes)
        if used != list(range(len(used))):
            raise InvalidArgumentError(
                f"{self.title} cannot be inverted: it must use each input axis once, and it uses {used}."
            )
        return ByDimension(
            transformations=[
                DimensionItem(
                    transformation=item.transformation.inverse(),
                    input_axes=item.output_axes,
                    output_axes=item.input_axes,
                )
                for item in self.transformations
            ]
        )

    def _matrix(self, axes_in: int) -> Matrix:
        matrix: Matrix = [[] for _ in range(self.axes_out(axes_in))]
        for item in self.transformations:
            rows = item.transformation.matrix(len(item.input_axes))
            for axis, row in zip(item.output_axes, rows, strict=True):
                matrix[axis] = [0.0] * axes_in + [row[-1]]
                for source, number in zip(item.input_axes, row[:-1], strict=True):
                    matrix[axis][source] += number
        return matrix


def _checked_axes(step: Transformation, axes_in: int) -> int:
    """Return the number of output axes; raise ValueError, as pydantic expects, if the input axes do not fit."""
    try:
        return step.axes_out(axes_in)
    except InvalidArgumentError as error:
        raise ValueError(clause(error)) from error


TRANSFORMATIONS: dict[str, type[Transformation]] = {
    "identity": Identity,
    "mapAxis": MapAxis,
    "projectAxis": ProjectAxis,
    "translation": Translation,
    "scale": Scale,
    "affine": Affine,
    "rotation": Rotation,
    "sequence": Sequence,
    "displacements": Displacements,
    "coordinates": Coordinates,
    "bijection": Bijection,
    "byDimension": ByDimension,
}
"""The 12 types of transformations by their name in documents."""

if TYPE_CHECKING:
    AnyTransformation: TypeAlias = Transformation
    KeptTransformation: TypeAlias = Transformation
else:
    AnyTransformation = Annotated[
        Union[
            *(Annotated[model, Tag(f"<{kind}>")] for kind, model in TRANSFORMATIONS.items()),
            Annotated[OtherTransformation, BeforeValidator(_refuse), Tag("<other>")],
        ],
        Discriminator(_model_tag),
    ]
    """A transformation that can be used: one of the 12 types with parameters that fit."""

    KeptTransformation = Annotated[AnyTransformation, WrapValidator(_read_or_keep)]
    """A transformation of a document; an unusable one is an OtherTransformation."""


def parse_transformation(document: JSON, location: str = "") -> Transformation:
    """Read one transformation of 0.6, in the final spelling or one of its drafts (A25).

    Parameters
    ----------
    document : JSON
        An object with a type.
    location : str, optional
        Location of the document, for messages.

    Returns
    -------
    Transformation
        Of the class of its type.

    Raises
    ------
    MetadataError
        The type is none of the 12 (CT-20), or the parameters do not fit (CT-28 to CT-37).

    Examples
    --------
    >>> parse_transformation({"type": "scale", "scale": [2, 3]}).apply([[1, 1]])
    [[2.0, 3.0]]
    >>> parse_transformation({"type": "warp"}, "scene.coordinateTransformations[0]")
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: scene.coordinateTransformations[0]: the type 'warp' is none of identity, ...
    """
    kind = document.get("type") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in TRANSFORMATIONS:
        problem = _describe_unusable(document)
        raise MetadataError(f"{location}: {clause(problem)}." if location else f"{problem}.")
    return TRANSFORMATIONS[kind].from_json(document, location)


def compose(*transformations: Transformation) -> Transformation:
    """Compose transformations, first to last.

    The result leads from the input of the first to the output of the last. Sequences are flattened, and identities
    dropped; the numbers stay as they are.

    Raises
    ------
    InvalidArgumentError
        The number of input axes of a step is not the number of output axes of the step before.

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
            types = ", ".join(step.type for step in steps)
            raise InvalidArgumentError(
                f"Cannot apply {types} one after the other: {clause(error)}."
            ) from error
    if transformations:
        first, last = transformations[0].copied(), transformations[-1].copied()
        result.input, result.output = first.input, last.output
    return result


def _steps(transformation: Transformation) -> list[Transformation]:
    """Return copies of the steps of a transformation: sequences are flattened, and identities dropped."""
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
        The transformation is not affine, or the number of axes is missing or does not fit.

    Examples
    --------
    >>> from lamella.models import Scale, Translation
    >>> as_affine(compose(Scale(scale=[2, 3]), Translation(translation=[5, 6]))).affine
    [[2.0, 0.0, 5.0], [0.0, 3.0, 6.0]]
    """
    source = transformation.copied()
    matrix = transformation.matrix(axes_in)
    return Affine(affine=matrix, name=source.name, input=source.input, output=source.output)
