"""Read JSON values that may be anything: their kinds, their short form in findings, the parts of an image document.

No findings here: a function returns None for a part that cannot be read, and the rule of that part reports why. The
kinds are those of JSON Schema, not Python's: ``True`` is not a number, ``1.0`` is an integer. No function here
raises, for any value.

Imports nothing but the standard library.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.spec.rules.version_traits import VersionTraits
    from lamella.types import JSON, JSONObject


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
    found: dict[str, list[JSON]] = {}
    for _, system in objects(owner.get("coordinateSystems")):
        if is_text(system.get("name")) and isinstance(system.get("axes"), list):
            found.setdefault(system["name"], system["axes"])
    return found


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


_LONGEST = 40
"""Maximum number of characters of a string or short list in a finding."""

_LARGEST = 10**18
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


def is_equal(one: JSON, other: JSON) -> bool:
    """Return whether two values are equal; false for values nested too deeply to compare."""
    try:
        return bool(one == other)
    except RecursionError:
        return False


def describe(value: JSON) -> str:
    """Format a value on one line, in at most about a hundred characters."""
    if isinstance(value, str):
        return json.dumps(value if len(value) <= _LONGEST else value[:_LONGEST] + "...")
    if isinstance(value, list):
        return _describe_list(value)
    if isinstance(value, dict):
        if not value:
            return "an empty object"
        names = ", ".join(describe(str(key)) for key in list(value)[:3])
        return f"an object with {names}" + (", ..." if len(value) > 3 else "")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST:
        return f"an integer of {value.bit_length()} bits"
    return (
        json.dumps(value) if value is None or isinstance(value, bool | int | float) else type(value).__name__
    )


def _describe_list(value: list[JSON]) -> str:
    if len(value) <= 8 and not any(isinstance(item, list | dict) for item in value):
        shown = "[" + ", ".join(describe(item) for item in value) + "]"
        if len(shown) <= 2 * _LONGEST:
            return shown
    return f"a list of {len(value)}"


def axis_kind(axis: JSON) -> str:
    """Return the type of an axis; ``"untyped"`` without a type, ``""`` if it is not an axis."""
    if not isinstance(axis, dict):
        return ""
    if "type" not in axis:
        return "untyped"
    return axis["type"] if is_text(axis["type"]) else ""


def is_sizeless(axis: JSON) -> bool:
    """Return whether an axis is one of channels without a unit, whose scale can only be a factor to level 0."""
    return isinstance(axis, dict) and axis.get("type") == "channel" and "unit" not in axis


def omero_channels(ome: JSONObject) -> list[JSONObject] | None:
    """Return the readable channels of ``omero``; None if it lists none."""
    omero = ome.get("omero")
    listed = omero.get("channels") if isinstance(omero, dict) else None
    return [channel for _, channel in objects(listed)] if isinstance(listed, list) else None
