"""The differences between OME-NGFF 0.4, 0.5 and 0.6 for the rules, as data: one frozen record per version.

The rules read these records and never compare names of versions. A check has a `RuleContext`, the record of its
version with the node, which builds findings from the catalogue.

The rules ST and VE check the location of the OME part of a document, and the version that it names (`find_part`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lamella.spec.rules.catalogue import RULES
from lamella.spec.rules.finding import Finding, Level, Location
from lamella.spec.rules.raw_json import describe

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lamella.types import JSON, JSONObject

LABEL_DTYPES = frozenset(
    ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"],
)
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
    """Types of axes that the text defines; others are custom."""
    transformation_types: tuple[str, ...]
    """Types of transformations."""
    dataset_types: tuple[str, ...]
    """Types that may lead from a level to its coordinate system."""
    field_name: re.Pattern[str]
    """Pattern of ``well.images[].path``."""
    field_words: str
    """The same in words."""
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


@dataclass(frozen=True)
class RuleContext:
    """The version and node of a check, which builds findings from the catalogue."""

    traits: VersionTraits
    node: str = ""

    def finding(
        self,
        rule: str,
        at: Location,
        found: str,
        remedy: str,
        *,
        level: Level | None = None,
    ) -> Finding:
        """Return a finding; its level comes from the catalogue unless `level` is set."""
        entry = RULES[rule]
        return Finding(
            rule=rule,
            level=level or entry.level_in(self.traits.name),
            node=self.node,
            location=at,
            found=found,
            remedy=remedy,
        )


def find_object(
    ome: JSONObject, key: str, at: Location, context: RuleContext, rule: str, remedy: str
) -> Generator[Finding, None, tuple[JSONObject, Location] | None]:
    """Return the object of a key, and its location; None if it is missing or no object, which breaks the rule."""
    value = ome.get(key)
    if isinstance(value, dict):
        return value, (*at, key)
    if key in ome:
        yield context.finding(rule, (*at, key), f"{key} is {describe(value)}", remedy)
    else:
        yield context.finding(rule, at, f"there is no {key}", remedy)
    return None


class Ends(NamedTuple):
    """Numbers of axes at the input and the output of a transformation, None where unknown."""

    inputs: int | None
    outputs: int | None


def find_part(
    attributes: JSON, key: str, context: RuleContext
) -> Generator[Finding, None, tuple[JSONObject, Location] | None]:
    """Check the wrapper of a document; return the object that should have `key`, and its location.

    A part at the location of another version is checked there, so that one misplaced wrapper does not hide other
    problems. None if there is nothing to check.
    """
    storage = "ST-03" if context.traits.wrapper else "ST-01"
    if not isinstance(attributes, dict):
        yield context.finding(
            storage, (), f"the attributes are {describe(attributes)}", "write a JSON object"
        )
        return None
    if not context.traits.wrapper:
        return (yield from _find_bare(attributes, key, context))
    name = str(context.traits.wrapper[0])
    if name not in attributes:
        remedy = f"move {key} into it" if key in attributes else "this group has no metadata of this version"
        yield context.finding("ST-03", (), f"the attributes have no {name}", remedy)
        return (attributes, ()) if key in attributes else None
    part = attributes[name]
    if not isinstance(part, dict):
        yield context.finding("ST-03", (name,), f"{name} is {describe(part)}", "write a JSON object")
        return None
    yield from _check_outer_version(part, (name,), context)
    return part, (name,)


def _find_bare(
    attributes: JSONObject, key: str, context: RuleContext
) -> Generator[Finding, None, tuple[JSONObject, Location] | None]:
    wrapped = attributes.get("ome")
    if key not in attributes and isinstance(wrapped, dict) and key in wrapped:
        yield context.finding(
            "ST-01",
            ("ome",),
            f"{key} lies inside ome",
            f"move it to the top level: {context.traits.name} has no wrapper",
        )
        return wrapped, ("ome",)
    return attributes, ()


def _check_outer_version(part: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    name = context.traits.version_names[0]
    if "version" not in part:
        yield context.finding("ST-07", at, "there is no version", f'add version: "{name}"')
    elif part["version"] not in context.traits.version_names:
        yield context.finding(
            "ST-07", (*at, "version"), f"the version is {describe(part['version'])}", f'write "{name}"'
        )


def check_inner_version(part: JSONObject, at: Location, rule: str, context: RuleContext) -> Iterator[Finding]:
    """Check the version key of one part, such as a plate, under VE-01 or VE-02, and VE-04."""
    name = context.traits.version_names[0]
    if not context.traits.inner_versions:
        if "version" in part:
            yield context.finding(
                "VE-04", (*at, "version"), "there is a version key", "remove it: ome.version is the only one"
            )
    elif "version" not in part:
        yield context.finding(rule, at, "there is no version", f'add version: "{name}"')
    elif part["version"] not in context.traits.version_names:
        yield context.finding(
            rule,
            (*at, "version"),
            f"the version is {describe(part['version'])}",
            f'write "{name}"',
            level="MUST",
        )
