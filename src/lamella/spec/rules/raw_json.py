"""The readable parts of a raw image document, for checks that compare them; None where a part cannot be read.

No findings here: the rule of each part reports why it cannot be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.values import is_text, numbers, objects

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
