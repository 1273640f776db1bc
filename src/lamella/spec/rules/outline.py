"""What can be read of a raw image document, for checks that compare its parts; None where it can't be read.

No findings here: every fault that makes a part unreadable is found by the rule of that part.

Layer: spec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.values import is_text, numbers, objects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.spec.rules.dialect import Dialect
    from lamella.types import JSON, JSONObject


def ome_object(attributes: JSON, dialect: Dialect) -> JSONObject:
    """Give the OME part of the attributes, empty when there is none."""
    part = attributes
    for key in dialect.wrapper:
        part = part.get(key) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else {}


def multiscales(ome: JSONObject) -> Iterator[tuple[int, JSONObject]]:
    """Give the readable entries of ``multiscales`` with their places."""
    return objects(ome.get("multiscales"))


def datasets(multiscale: JSONObject) -> list[tuple[int, JSONObject]]:
    """Give the readable datasets with their places."""
    return list(objects(multiscale.get("datasets")))


def systems(owner: JSONObject) -> dict[str, list[JSON]]:
    """Give the axes of the named coordinate systems of a multiscale or a scene."""
    found: dict[str, list[JSON]] = {}
    for _, system in objects(owner.get("coordinateSystems")):
        if is_text(system.get("name")) and isinstance(system.get("axes"), list):
            found.setdefault(system["name"], system["axes"])
    return found


def output_system(dataset: JSONObject) -> str | None:
    """Give the name of the coordinate system that a dataset's transformation leads to."""
    for _, transformation in objects(dataset.get("coordinateTransformations")):
        output = transformation.get("output")
        if isinstance(output, dict) and is_text(output.get("name")):
            return str(output["name"])
    return None


def intrinsic_system(multiscale: JSONObject) -> str | None:
    """Give the coordinate system of the levels: the one that the first readable dataset leads to."""
    for _, dataset in datasets(multiscale):
        name = output_system(dataset)
        if name is not None:
            return name
    return None


def array_axes(multiscale: JSONObject, dialect: Dialect) -> list[JSON] | None:
    """Give the axes that the arrays of a multiscale have."""
    if not dialect.coordinate_systems:
        axes = multiscale.get("axes")
        return axes if isinstance(axes, list) and axes else None
    return systems(multiscale).get(intrinsic_system(multiscale) or "")


def axis_names(axes: list[JSON]) -> list[str] | None:
    """Give the names of axes; None when one of them has none."""
    names = [axis["name"] for axis in axes if isinstance(axis, dict) and isinstance(axis.get("name"), str)]
    return names if len(names) == len(axes) else None


def level_scale(dataset: JSONObject) -> list[float] | None:
    """Give the scale of a dataset, alone or inside a sequence."""
    for _, transformation in objects(dataset.get("coordinateTransformations")):
        inner = [item for _, item in objects(transformation.get("transformations"))]
        for candidate in (transformation, *inner):
            if candidate.get("type") == "scale":
                return numbers(candidate.get("scale"))
    return None
