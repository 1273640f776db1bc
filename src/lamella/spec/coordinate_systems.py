"""Models of coordinate systems: those of a scene, and the additional ones of an image (0.6).

``lamella.spec.coordinate_graph`` finds transformations between systems.
"""

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, field_validator

from lamella.spec.axes import AnyAxis
from lamella.spec.base import MetaModel, describe

if TYPE_CHECKING:
    from lamella.spec.transformations import KeptTransformation
else:

    @cache
    def _reader() -> TypeAdapter[Any]:
        from lamella.spec.transformations import KeptTransformation as Transformation

        return TypeAdapter(Transformation)

    def _read(value: Any) -> Any:
        try:
            return _reader().validate_python(value)
        except ValidationError as error:
            raise ValueError(describe(error)) from error

    # The models of the 12 types are imported when a document has a transformation: importing them takes a tenth
    # of the time of opening a store.
    KeptTransformation = Annotated[Any, BeforeValidator(_read)]

INTRINSIC = "intrinsic"
"""Default name of the system of an image's axes (CT-23)."""

FIELD_OF_VIEW = "world"
"""Default name of the system of the whole field of view (CT-24)."""


class CoordinateSystemMeta(MetaModel):
    """A named set of axes (CS-02, CS-03).

    Attributes
    ----------
    name : str
        Unique in its list.
    axes : list of AxisMeta or None
        None in the list of an image for a system that has the image's own axes.

    Examples
    --------
    >>> from lamella.models import axes
    >>> [axis.name for axis in CoordinateSystemMeta(name="atlas", axes=axes("zyx")).axes]
    ['z', 'y', 'x']
    """

    name: str
    axes: list[AnyAxis] | None = None

    @field_validator("axes", mode="after")
    @classmethod
    def _drop_nulls(cls, axes: list[Any] | None) -> list[Any] | None:
        for axis in axes or []:
            drop_nulls(axis.model_extra or {})
        return axes


class ImageSystemsMeta(MetaModel):
    """The coordinate systems of an image in 0.6, beside the axes in ``MultiScaleMeta``.

    The axes of the image are the intrinsic system, to which the levels lead. The transformation of the whole field of
    view, ``MultiScaleMeta.coordinate_transformations``, leads from there to another system with the same axes. Neither
    is repeated here.

    Attributes
    ----------
    intrinsic : str
        Name of the system of the image's axes.
    field_of_view : str
        Name of the system that the transformation of the whole field of view leads to.
    coordinate_systems : list of CoordinateSystemMeta
        All systems, in order; a reader shows the first (CS-05). The systems `intrinsic` and `field_of_view` have no
        axes here, and are added when they are not listed.
    coordinate_transformations : list of Transformation
        All other transformations between systems of this image, or to those of its labels (CT-24, CT-25).

    Examples
    --------
    >>> from lamella.models import Affine, SystemReference, axes
    >>> shear = Affine(affine=[[1, 0.1, 0], [0, 1, 0]], input=SystemReference(name="intrinsic"),
    ...                output=SystemReference(name="atlas"))
    >>> systems = ImageSystemsMeta(coordinate_transformations=[shear],
    ...                            coordinate_systems=[CoordinateSystemMeta(name="atlas", axes=axes("yx"))])
    >>> systems.intrinsic
    'intrinsic'
    """

    intrinsic: str = INTRINSIC
    field_of_view: str = Field(default=FIELD_OF_VIEW, alias="fieldOfView")
    coordinate_systems: list[CoordinateSystemMeta] = Field(default_factory=list, alias="coordinateSystems")
    coordinate_transformations: list[KeptTransformation] = Field(
        default_factory=list, alias="coordinateTransformations"
    )


class SceneMeta(MetaModel):
    """A scene: images and other groups related by transformations (SC-01, SC-02, CT-26).

    Attributes
    ----------
    coordinate_systems : list of CoordinateSystemMeta or None
        Systems of the scene itself; the first is the common one (CS-05).
    coordinate_transformations : list of Transformation
        Between systems of the scene, and systems of images in groups below it.

    Examples
    --------
    >>> from lamella.models import SystemReference, Translation, axes
    >>> tile = Translation(translation=[0, 348], input=SystemReference(name="physical", path="tile_1"),
    ...                    output=SystemReference(name="world"))
    >>> scene = SceneMeta(coordinate_transformations=[tile],
    ...                   coordinate_systems=[CoordinateSystemMeta(name="world", axes=axes("yx"))])
    >>> scene.to_json()["coordinateTransformations"][0]["input"]
    {'name': 'physical', 'path': 'tile_1'}
    """

    coordinate_systems: list[CoordinateSystemMeta] | None = Field(default=None, alias="coordinateSystems")
    coordinate_transformations: list[KeptTransformation] = Field(
        default_factory=list, alias="coordinateTransformations"
    )


def drop_nulls(axis: dict[str, Any]) -> None:
    """Remove keys of an axis that are null where 0.6 requires a boolean or a text (AX-13).

    >>> axis = {"name": "x", "longName": None}
    >>> drop_nulls(axis)
    >>> axis
    {'name': 'x'}
    """
    for key in ("discrete", "longName"):
        if key in axis and axis[key] is None:
            del axis[key]
