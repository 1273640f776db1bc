"""Images of 0.4 and 0.5, whose axes are a plain list: what these versions cannot say of coordinate systems.

Layer: spec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import MetadataError
from lamella.spec.coordinate_systems import SceneMeta
from lamella.spec.images import ImagesMeta

if TYPE_CHECKING:
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject

SYSTEMS = "lamella:systems"
"""Where ``MultiScaleMeta.to_json`` puts the coordinate systems of an image; no document has it."""

PLAIN = ("identity", "scale", "translation")
"""Types of transformations that every version has."""


def decode_flat(part: JSONObject) -> None:
    """Set transformations of other types apart, which drafts such as 0.5-dev-spatialdata have in an image."""
    entries = part.get("multiscales")
    for scales in entries if isinstance(entries, list) else []:
        if isinstance(scales, dict) and _is_foreign(scales.get("coordinateTransformations")):
            scales[SYSTEMS] = {"coordinateTransformations": scales.pop("coordinateTransformations")}


def _is_foreign(transformations: JSON) -> bool:
    return isinstance(transformations, list) and any(
        isinstance(entry, dict) and isinstance(entry.get("type"), str) and entry["type"] not in PLAIN
        for entry in transformations
    )


def encode_flat(scales: JSONObject, old: JSONObject | None, version: str) -> None:
    """Write one entry of multiscales.

    Transformations that a document had already stay; new ones that the version cannot say are refused.

    Raises
    ------
    MetadataError
        The image has coordinate systems that the version cannot say.
    """
    systems = scales.pop(SYSTEMS, None)
    for dataset in scales["datasets"]:
        transforms = dataset["coordinateTransformations"]
        if len(transforms) == 1 and transforms[0]["type"] == "identity":
            # CT-02, CT-03: exactly one scale, and no identity.
            dataset["coordinateTransformations"] = [
                transforms[0] | {"type": "scale", "scale": [1.0] * len(scales["axes"])}
            ]
    if systems is None:
        return
    stored = (old or {}).get("coordinateTransformations")
    if _is_foreign(stored) and "coordinateTransformations" not in scales:
        scales["coordinateTransformations"] = stored
        return
    unsaid = unsaid_systems(systems)
    if unsaid:
        raise MetadataError(f"OME-NGFF {version} has no {', no '.join(unsaid)}: remove them or write 0.6")


def unsaid_images(meta: MetaModel) -> list[str]:
    """List what 0.4 and 0.5 cannot say of a part of a document."""
    if isinstance(meta, SceneMeta):
        return ["scene"]
    scales = meta.multiscales if isinstance(meta, ImagesMeta) else []
    return [text for entry in scales if entry.systems for text in unsaid_systems(entry.systems.to_json())]


def unsaid_systems(systems: JSONObject) -> list[str]:
    """List what 0.4 and 0.5 cannot say of the coordinate systems of an image.

    Only names of the systems that share the image's axes are no loss: without a transformation of the whole
    field of view there is one system, with one there are two, in every version.

    Examples
    --------
    >>> unsaid_systems({"intrinsic": "physical", "coordinateSystems": [{"name": "physical"}, {"name": "atlas"}],
    ...     "coordinateTransformations": [{"type": "affine", "input": {"name": "physical"},
    ...                                    "output": {"name": "atlas"}}]})
    ["coordinate system 'atlas'", "affine from 'physical' to 'atlas'"]
    """
    shared = (systems.get("intrinsic"), systems.get("fieldOfView"))
    unsaid = [
        f"coordinate system {system['name']!r}"
        for system in systems.get("coordinateSystems", [])
        if system["name"] not in shared
    ]
    for transformation in systems.get("coordinateTransformations", []):
        ends = [_shown(transformation.get(side)) for side in ("input", "output")]
        unsaid.append(f"{transformation['type']} from {ends[0]} to {ends[1]}")
    return unsaid


def _shown(reference: JSON) -> str:
    if not isinstance(reference, dict):
        return "nowhere"
    name, path = reference.get("name"), reference.get("path")
    return f"{name!r} of {path!r}" if name and path else repr(name or path)


def find_old(old: JSONObject | None, scales: JSONObject, place: int) -> JSONObject | None:
    """Find the entry of multiscales that another replaces: the one with the same levels, best at its place.

    Examples
    --------
    >>> entries = [{"datasets": [{"path": "a"}]}, {"datasets": [{"path": "b"}], "kept": 1}]
    >>> find_old({"multiscales": entries}, {"datasets": [{"path": "b"}, {"path": "c"}]}, 0)["kept"]
    1
    """
    stored = (old or {}).get("multiscales")
    entries = [entry for entry in stored if isinstance(entry, dict)] if isinstance(stored, list) else []
    wanted = set(_paths(scales))
    for entry in entries[place : place + 1] + entries:
        if wanted & set(_paths(entry)):
            return entry
    return entries[place] if place < len(entries) and not wanted else None


def _paths(scales: JSONObject) -> list[str]:
    datasets = scales.get("datasets")
    return [
        str(dataset.get("path"))
        for dataset in (datasets if isinstance(datasets, list) else [])
        if isinstance(dataset, dict)
    ]
