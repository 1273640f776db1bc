"""The 12 types of coordinate transformations of OME-NGFF 0.6 as models, and their algebra (CT-20 to CT-37).

``lamella.spec.images`` has the scales and translations that levels have in every version;
``lamella.spec.coordinate_graph`` finds transformations between coordinate systems.
"""

from lamella.spec.transformations.base import SystemReference, Transformation
from lamella.spec.transformations.combined import (
    TRANSFORMATIONS,
    AnyTransformation,
    Bijection,
    ByDimension,
    DimensionItem,
    KeptTransformation,
    OtherTransformation,
    Sequence,
    as_affine,
    compose,
    parse_transformation,
)
from lamella.spec.transformations.simple import (
    Affine,
    Coordinates,
    Displacements,
    Identity,
    MapAxis,
    ProjectAxis,
    Rotation,
    Scale,
    Translation,
)

__all__ = [
    "TRANSFORMATIONS",
    "Affine",
    "AnyTransformation",
    "Bijection",
    "ByDimension",
    "Coordinates",
    "DimensionItem",
    "Displacements",
    "Identity",
    "KeptTransformation",
    "MapAxis",
    "OtherTransformation",
    "ProjectAxis",
    "Rotation",
    "Scale",
    "Sequence",
    "SystemReference",
    "Transformation",
    "Translation",
    "as_affine",
    "compose",
    "parse_transformation",
]
