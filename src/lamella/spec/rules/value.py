"""Read values of a document for the rules, as raw JSON or as a `Value`, which also has its location in the document.

The values may be of any type, so functions on raw JSON never raise: they return None for a part that cannot be read,
and the rule of that part reports the reason. Types are those of JSON Schema, not Python's: ``True`` is not a number,
``1.0`` is an integer. The rules ST and VE are here too: `find_part` checks the location of the OME part and its
version.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeGuard

from lamella.spec.rules.catalogue import OWN_RULES, RULES
from lamella.spec.rules.finding import Finding, Level, Location

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lamella.spec.rules.version_traits import VersionTraits
    from lamella.types import JSON, JSONObject

    Findings: TypeAlias = Iterator[Finding]
    FoundValue: TypeAlias = Generator[Finding, None, "Value | None"]
    """Yields findings, and returns the requested value; None if it cannot be checked further."""


class Value:
    """A JSON value (`raw`) at a location of a node's attributes, with the traits of the version whose rules apply.

    `value[key]` is a value inside it, iteration yields the entries of a list, and `str(value)` describes it.
    """

    __slots__ = ("at", "node", "raw", "traits")

    def __init__(self, raw: JSON, at: Location, traits: VersionTraits, node: str = "") -> None:
        self.raw = raw
        self.at = at
        self.traits = traits
        self.node = node

    def __getitem__(self, key: str | int) -> Value:
        return Value(self.raw[key], (*self.at, key), self.traits, self.node)

    def __iter__(self) -> Iterator[Value]:
        for index, item in enumerate(self.raw):
            yield Value(item, (*self.at, index), self.traits, self.node)

    def __str__(self) -> str:
        return describe(self.raw)

    def objects(self, key: str) -> list[Value]:
        """Return the objects in the list of a key; nothing for any other value."""
        return [
            Value(item, (*self.at, key, index), self.traits, self.node)
            for index, item in objects(self.raw.get(key))
        ]

    def finding(
        self, rule: str, found: str, remedy: str, *steps: str | int, level: Level | None = None
    ) -> Finding:
        """Return a finding here, or `steps` below; the level comes from the catalogue unless it is stated."""
        level = level or (RULES.get(rule) or OWN_RULES[rule]).level_in(self.traits.name)
        return Finding(rule, level, self.node, (*self.at, *steps), found, remedy)

    def wrong(
        self,
        rule: str,
        key: str,
        remedy: str,
        *,
        name: str = "",
        missing: str = "",
        level: Level | None = None,
    ) -> Finding:
        """Return the finding that the value of a key is wrong; ``missing`` is the text for a missing key."""
        steps = (key,) if key in self.raw else ()
        found = missing if missing and not steps else f"{name or key} is {describe(self.raw.get(key))}"
        return self.finding(rule, found, remedy, *steps, level=level)


class Ends(NamedTuple):
    """Numbers of axes at the input and the output of a transformation, None where unknown."""

    inputs: int | None
    outputs: int | None


def find_object(owner: Value, key: str, rule: str, remedy: str) -> FoundValue:
    """Return the object of a key; None if it is missing or not an object, which breaks the rule."""
    if isinstance(owner.raw.get(key), dict):
        return owner[key]
    yield owner.wrong(rule, key, remedy, missing=f"there is no {key}")
    return None


def find_list(owner: Value, key: str, rule: str, remedy: str, *, name: str) -> FoundValue:
    """Return the list of a key; None if it is missing, empty or not a list, which breaks the rule."""
    listed = owner.raw.get(key)
    if isinstance(listed, list) and listed:
        return owner[key]
    yield owner.wrong(rule, key, remedy, missing=f"the {name} has no {key}")
    return None


def find_part(attributes: Value, key: str) -> FoundValue:
    """Check where a document has its OME part; return the object that should have `key`, None without one.

    Metadata at the location of another version are checked there, so that the wrong location hides no other problem.
    """
    raw, traits = attributes.raw, attributes.traits
    if not isinstance(raw, dict):
        storage = "ST-03" if traits.wrapper else "ST-01"
        yield attributes.finding(storage, f"the attributes are {attributes}", "write a JSON object")
        return None
    if not traits.wrapper:
        wrapped = raw.get("ome")
        if key not in raw and isinstance(wrapped, dict) and key in wrapped:
            remedy = f"move it to the top level: {traits.name} has no wrapper"
            yield attributes.finding("ST-01", f"{key} lies inside ome", remedy, "ome")
            return attributes["ome"]
        return attributes
    name = str(traits.wrapper[0])
    if name not in raw:
        remedy = f"move {key} into it" if key in raw else "this group has no metadata of this version"
        yield attributes.finding("ST-03", f"the attributes have no {name}", remedy)
        return attributes if key in raw else None
    if not isinstance(raw[name], dict):
        yield attributes.wrong("ST-03", name, "write a JSON object")
        return None
    part = attributes[name]
    yield from _check_version(part, "ST-07")
    return part


def _check_version(part: Value, rule: str, level: Level | None = None) -> Findings:
    names = part.traits.version_names
    if "version" not in part.raw:
        yield part.finding(rule, "there is no version", f'add version: "{names[0]}"')
    elif part.raw["version"] not in names:
        yield part.wrong(rule, "version", f'write "{names[0]}"', name="the version", level=level)


def check_inner_version(part: Value, rule: str) -> Findings:
    """Check the version key of one part, such as a plate, under VE-01 or VE-02, and VE-04."""
    if part.traits.inner_versions:
        yield from _check_version(part, rule, "MUST")
    elif "version" in part.raw:
        remedy = "remove it: ome.version is the only one"
        yield part.finding("VE-04", "there is a version key", remedy, "version")


def ome_object(attributes: JSON, traits: VersionTraits) -> JSONObject:
    """Return the OME part of the attributes, empty if missing."""
    part = attributes
    for key in traits.wrapper:
        part = part.get(key) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else {}


def multiscales(ome: JSONObject) -> Iterator[tuple[int, JSONObject]]:
    """Iterate over the readable entries of ``multiscales`` with their indices."""
    return objects(ome.get("multiscales"))


def datasets(multiscale: JSONObject) -> list[tuple[int, JSONObject]]:
    """Return the readable datasets with their indices."""
    return list(objects(multiscale.get("datasets")))


def systems(owner: JSONObject) -> dict[str, list[JSON]]:
    """Return the axes of the named coordinate systems of a multiscale or a scene."""
    axes_by_name: dict[str, list[JSON]] = {}
    for _, system in objects(owner.get("coordinateSystems")):
        if is_text(system.get("name")) and isinstance(system.get("axes"), list):
            axes_by_name.setdefault(system["name"], system["axes"])
    return axes_by_name


def output_system(dataset: JSONObject) -> str | None:
    """Return the name of the coordinate system to which a dataset's transformation leads."""
    for _, transformation in objects(dataset.get("coordinateTransformations")):
        output = transformation.get("output")
        if isinstance(output, dict) and is_text(output.get("name")):
            return str(output["name"])
    return None


def intrinsic_system(multiscale: JSONObject) -> str | None:
    """Return the coordinate system of the levels: the one to which the first readable dataset leads."""
    for _, dataset in datasets(multiscale):
        name = output_system(dataset)
        if name is not None:
            return name
    return None


def array_axes(multiscale: JSONObject, traits: VersionTraits) -> list[JSON] | None:
    """Return the axes of a multiscale's arrays."""
    if not traits.coordinate_systems:
        axes = multiscale.get("axes")
        return axes if isinstance(axes, list) and axes else None
    return systems(multiscale).get(intrinsic_system(multiscale) or "")


def axis_names(axes: list[JSON]) -> list[str] | None:
    """Return the names of axes; None if one of them has none."""
    names = [axis["name"] for axis in axes if isinstance(axis, dict) and isinstance(axis.get("name"), str)]
    return names if len(names) == len(axes) else None


def level_scale(dataset: JSONObject) -> list[float] | None:
    """Return the scale of a dataset, alone or inside a sequence."""
    for _, transformation in objects(dataset.get("coordinateTransformations")):
        inner = [item for _, item in objects(transformation.get("transformations"))]
        for candidate in (transformation, *inner):
            if candidate.get("type") == "scale":
                return numbers(candidate.get("scale"))
    return None


_MAX_TEXT = 40
"""Maximum number of characters of a string or short list in a finding."""

_MAX_INTEGER = 10**18
"""Larger integers are described by their number of bits: printing is quadratic, and refused beyond 4300 digits."""


def is_integer(value: JSON) -> bool:
    """Return whether the value is an integer in JSON Schema."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def is_number(value: JSON) -> bool:
    """Return whether the value is a finite number, and not a boolean."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def is_text(value: JSON) -> TypeGuard[str]:
    """Return whether the value is a non-empty string."""
    return isinstance(value, str) and value != ""


def numbers(value: JSON) -> list[float] | None:
    """Return a list of numbers, or None if the value is anything else."""
    return list(map(float, value)) if isinstance(value, list) and all(map(is_number, value)) else None


def integers(value: JSON) -> list[int] | None:
    """Return a list of integers, or None if the value is anything else."""
    return list(map(int, value)) if isinstance(value, list) and all(map(is_integer, value)) else None


def strings(value: JSON) -> list[str]:
    """Return the strings of a list, and nothing for any other value."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def objects(value: JSON) -> Iterator[tuple[int, dict[str, JSON]]]:
    """Iterate over the objects of a list with their indices; nothing for any other value."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield index, item


def is_equal(first: JSON, second: JSON) -> bool:
    """Return whether two values are equal; False for values nested too deeply to compare."""
    try:
        return bool(first == second)
    except RecursionError:
        return False


def describe(value: JSON) -> str:
    """Format a value on one line, in at most about a hundred characters."""
    if isinstance(value, str):
        return json.dumps(value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + "...")
    if isinstance(value, list):
        return _describe_list(value)
    if isinstance(value, dict):
        if not value:
            return "an empty object"
        names = ", ".join(describe(str(key)) for key in list(value)[:3])
        return f"an object with {names}" + (", ..." if len(value) > 3 else "")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MAX_INTEGER:
        return f"an integer of {value.bit_length()} bits"
    return (
        json.dumps(value) if value is None or isinstance(value, bool | int | float) else type(value).__name__
    )


def _describe_list(value: list[JSON]) -> str:
    if len(value) <= 8 and not any(isinstance(item, list | dict) for item in value):
        shown = "[" + ", ".join(describe(item) for item in value) + "]"
        if len(shown) <= 2 * _MAX_TEXT:
            return shown
    return f"a list of {len(value)}"


def axis_kind(axis: JSON) -> str:
    """Return the type of an axis; ``"untyped"`` without a type, ``""`` if it is not an axis."""
    if not isinstance(axis, dict):
        return ""
    if "type" not in axis:
        return "untyped"
    return axis["type"] if isinstance(axis["type"], str) else ""


def is_sizeless(axis: JSON) -> bool:
    """Return whether an axis is a channel axis without a unit: its scale can only be a factor to level 0."""
    return isinstance(axis, dict) and axis.get("type") == "channel" and "unit" not in axis


def omero_channels(ome: JSONObject) -> list[JSONObject] | None:
    """Return the readable channels of ``omero``; None if it lists none."""
    omero = ome.get("omero")
    listed = omero.get("channels") if isinstance(omero, dict) else None
    return [channel for _, channel in objects(listed)] if isinstance(listed, list) else None
