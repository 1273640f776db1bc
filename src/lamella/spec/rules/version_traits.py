"""The differences between OME-NGFF 0.4, 0.5 and 0.6 for the rules, as data: one frozen record per version.

The rules read these records and never compare names of versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamella.spec.rules.finding import Location

LABEL_DTYPES = frozenset(["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
"""The data types of label images."""

VECTOR_TYPES = frozenset(["coordinate", "displacement"])
"""Types of the axis of vectors in a coordinate or displacement field."""


@dataclass(frozen=True)
class VersionTraits:
    """One version of OME-NGFF, as the rules see it."""

    name: str
    zarr_format: int
    """Zarr version of its groups and arrays."""
    wrapper: Location
    """Location of the OME part in the attributes."""
    version_names: tuple[str, ...]
    """Strings that name this version in a document."""
    inner_versions: bool
    """Whether each part (multiscales, plate, ...) has its own version key."""
    coordinate_systems: bool
    """Whether axes are in named coordinate systems, and every transformation has an input and an output."""
    axis_types: tuple[str, ...]
    """Types of axes that the specification defines; others are custom."""
    transformation_types: tuple[str, ...]
    """Types of transformations."""
    dataset_types: tuple[str, ...]
    """Types of transformations that a level may have."""
    field_name: re.Pattern[str]
    """Pattern of ``well.images[].path``."""
    field_words: str
    """The characters that `field_name` allows, in words."""
    chunk_separator: str | None
    """The separator of chunk keys that arrays must have; None if any is allowed."""


_PLAIN_NAME = re.compile(r"[A-Za-z0-9]+")

_V04 = VersionTraits(
    name="0.4",
    zarr_format=2,
    wrapper=(),
    version_names=("0.4",),
    inner_versions=True,
    coordinate_systems=False,
    axis_types=("space", "time", "channel"),
    transformation_types=("identity", "scale", "translation"),
    dataset_types=("scale", "translation"),
    field_name=_PLAIN_NAME,
    field_words="letters and digits only",
    chunk_separator="/",
)

_V05 = VersionTraits(
    name="0.5",
    zarr_format=3,
    wrapper=("ome",),
    version_names=("0.5",),
    inner_versions=False,
    coordinate_systems=False,
    axis_types=_V04.axis_types,
    transformation_types=_V04.transformation_types,
    dataset_types=_V04.dataset_types,
    field_name=_PLAIN_NAME,
    field_words=_V04.field_words,
    chunk_separator=None,
)

_V06 = VersionTraits(
    name="0.6",
    zarr_format=3,
    wrapper=("ome",),
    version_names=("0.6", "0.6rc0"),
    inner_versions=False,
    coordinate_systems=True,
    axis_types=("array", "space", "time", "channel", "coordinate", "displacement"),
    transformation_types=(
        "identity",
        "mapAxis",
        "projectAxis",
        "translation",
        "scale",
        "affine",
        "rotation",
        "sequence",
        "displacements",
        "coordinates",
        "bijection",
        "byDimension",
    ),
    dataset_types=("scale", "identity", "sequence"),
    field_name=re.compile(r"(?!__)(?!\.+\Z)[A-Za-z0-9_.-]+"),
    field_words="letters, digits, '_', '.' and '-', not only periods, and no '__' at the start",
    chunk_separator=None,
)

VERSION_TRAITS: dict[str, VersionTraits] = {traits.name: traits for traits in (_V04, _V05, _V06)}
"""The versions that the rules cover."""
