"""OME-NGFF 0.5: Zarr v3, all keys under ``attributes.ome``, one version key there (ST-02, ST-03, ST-07).

The text of 0.5 also requires ``plate.version``; its schema, its examples and its authors do not (A1), so it is not
written. The axes of images of 0.4 and 0.5 are a plain list; `unsupported_systems` lists the coordinate systems that
neither version supports.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from lamella.errors import MetadataError, short_repr
from lamella.spec.coordinate_systems import SceneMeta
from lamella.spec.images import ImagesMeta
from lamella.spec.labels import ImageLabelMeta
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.spec.versions.base import SpecVersion

if TYPE_CHECKING:
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject, StoredVersionName, VersionName


class Version05(SpecVersion):
    """The mapping of 0.5 documents."""

    name: StoredVersionName = "0.5"
    written_as: ClassVar[VersionName] = "0.5"
    zarr_format = 3
    _where = "ome."

    def matches(self, zarr_format: int, attributes: JSONObject) -> bool:
        """Match Zarr v3 documents that state 0.5, a patch or draft of it, or nothing."""
        if zarr_format != 3:
            return False
        declared = as_text(self.stated_version(attributes))
        # Labels groups and row groups are often written without a version; 0.5 is the oldest of v3.
        return declared is None or (
            isinstance(declared, str) and re.match(r"0\.5(?!\d)", declared) is not None
        )

    def stated_version(self, attributes: JSONObject) -> JSON:
        """Return ``ome.version``."""
        return self.ome(attributes).get("version")

    def ome(self, attributes: JSONObject) -> JSONObject:
        """Return the OME part: the object under ``ome``, empty if missing."""
        ome = attributes.get("ome")
        if ome is None:
            return {}
        if not isinstance(ome, dict):
            raise MetadataError(f"ome: expected an object, found {short_repr(ome)}.")
        return ome

    def with_ome(self, attributes: JSONObject, ome: JSONObject) -> JSONObject:
        """Return the document with ``ome`` replaced and its version set."""
        return attributes | {"ome": {"version": self.name} | ome | {"version": self.name}}

    def other_attributes(self, attributes: JSONObject) -> JSONObject:
        """Return the attributes without the object under ``ome``."""
        return {key: value for key, value in attributes.items() if key != "ome"}

    def unsupported(self, meta: MetaModel) -> list[str]:
        """List what this version does not support: scenes, and coordinate systems beside the axes."""
        return unsupported_images(meta)

    def _decode(self, kind: type[MetaModel], part: JSONObject) -> JSONObject:
        if kind is ImagesMeta:
            decode_flat(part)
        return part

    def _encode(self, kind: type[MetaModel], part: JSONObject, old: JSONObject | None) -> JSONObject:
        if kind is ImagesMeta and "multiscales" in part:
            for scales in part["multiscales"]:
                scales.pop("version", None)
            self._encode_images(part, old)
        elif kind in (PlateMeta, WellGroupMeta, ImageLabelMeta):
            part.pop("version", None)
        return part

    def _encode_images(self, part: JSONObject, old: JSONObject | None) -> None:
        for index, scales in enumerate(part["multiscales"]):
            encode_flat(scales, old, index, self.name)


def as_text(declared: JSON) -> JSON:
    """Return a version that was written as a number as text."""
    return str(declared) if isinstance(declared, float) else declared


V05 = Version05()
"""OME-NGFF 0.5."""


SYSTEMS = "lamella:systems"
"""Key of the coordinate systems in ``MultiScaleMeta.to_json``; documents do not have it."""

PLAIN = ("identity", "scale", "translation")
"""Types of transformations that every version has."""


def decode_flat(part: JSONObject) -> None:
    """Move transformations of other types aside: drafts such as 0.5-dev-spatialdata have them in images."""
    entries = part.get("multiscales")
    for scales in entries if isinstance(entries, list) else []:
        if isinstance(scales, dict) and _is_foreign(scales.get("coordinateTransformations")):
            scales[SYSTEMS] = {"coordinateTransformations": scales.pop("coordinateTransformations")}


def _is_foreign(transformations: JSON) -> bool:
    return isinstance(transformations, list) and any(
        isinstance(entry, dict) and isinstance(entry.get("type"), str) and entry["type"] not in PLAIN
        for entry in transformations
    )


def encode_flat(scales: JSONObject, old: JSONObject | None, index: int, version: str) -> None:
    """Write one entry of multiscales; raise MetadataError for coordinate systems that the version lacks.

    Transformations that the ``old`` part had already stay.
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
    stored = (find_old(old, scales, index) or {}).get("coordinateTransformations")
    if _is_foreign(stored) and "coordinateTransformations" not in scales:
        scales["coordinateTransformations"] = stored
        return
    unsaid = unsupported_systems(systems)
    if unsaid:
        raise MetadataError(f"OME-NGFF {version} has no {', no '.join(unsaid)}: remove them or write 0.6.")


def unsupported_images(meta: MetaModel) -> list[str]:
    """List what 0.4 and 0.5 do not support in a part of a document."""
    if isinstance(meta, SceneMeta):
        return ["scene"]
    scales = meta.multiscales if isinstance(meta, ImagesMeta) else []
    return [
        text for entry in scales if entry.systems for text in unsupported_systems(entry.systems.to_json())
    ]


def unsupported_systems(systems: JSONObject) -> list[str]:
    """List what 0.4 and 0.5 do not support in the coordinate systems of an image.

    The names of the systems that share the image's axes are not counted as a loss: every version has one system, or two
    with a transformation of the whole field of view.
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


def find_old(old: JSONObject | None, scales: JSONObject, number: int) -> JSONObject | None:
    """Find the entry of multiscales that another replaces: one with the same levels, best at the same index."""
    stored = (old or {}).get("multiscales")
    entries = [entry for entry in stored if isinstance(entry, dict)] if isinstance(stored, list) else []
    expected = set(_paths(scales))
    for entry in entries[number : number + 1] + entries:
        if expected & set(_paths(entry)):
            return entry
    return entries[number] if number < len(entries) and not expected else None


def _paths(scales: JSONObject) -> list[str]:
    datasets = scales.get("datasets")
    return [
        str(dataset.get("path"))
        for dataset in (datasets if isinstance(datasets, list) else [])
        if isinstance(dataset, dict)
    ]
