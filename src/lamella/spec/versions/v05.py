"""OME-NGFF 0.5: Zarr v3, all keys under ``attributes.ome``, one version key there (ST-02, ST-03, ST-07).

The text of 0.5 also requires ``plate.version``; its schema, its examples and its authors do not (A1), so it is not
written. Images of 0.4 and 0.5 are plain: their axes are one list, and their transformations are scales and
translations. The functions that read and write them, and refuse the coordinate systems of 0.6, are here for both
versions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from lamella.errors import MetadataError, short_repr
from lamella.spec.coordinate_systems import SceneMeta
from lamella.spec.images import ImagesMeta
from lamella.spec.labels import ImageLabelMeta
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.spec.versions.base import SpecVersion, version_as_text

if TYPE_CHECKING:
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject, StoredVersionName, VersionName


class Version05(SpecVersion):
    """The mapping of 0.5 documents."""

    name: StoredVersionName = "0.5"
    written_as: ClassVar[VersionName] = "0.5"
    zarr_format = 3
    _prefix = "ome."

    def matches(self, zarr_format: int, attributes: JSONObject) -> bool:
        """Match Zarr v3 documents that state 0.5, a patch or draft of it, or nothing."""
        if zarr_format != 3:
            return False
        stated = version_as_text(self.stated_version(attributes))
        # Labels groups and row groups are often written without a version; 0.5 is the oldest of v3.
        return stated is None or (isinstance(stated, str) and re.match(r"0\.5(?!\d)", stated) is not None)

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
        """List the scenes and coordinate systems of a model, which this version does not have."""
        return unsupported_content(meta)

    def _decode(self, kind: type[MetaModel], part: JSONObject) -> JSONObject:
        if kind is ImagesMeta:
            decode_plain_images(part)
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
            encode_plain_image(scales, old, index, self.name)


V05 = Version05()
"""OME-NGFF 0.5."""


SYSTEMS = "lamella:systems"
"""Key of ``MultiScaleMeta.systems`` in JSON between models and documents; no document has it."""

PLAIN_TYPES = ("identity", "scale", "translation")
"""Types of transformations that every version has."""


def decode_plain_images(part: JSONObject) -> None:
    """Move transformations of other types into the key `SYSTEMS`: drafts such as 0.5-dev-spatialdata have them."""
    multiscales = part.get("multiscales")
    for scales in multiscales if isinstance(multiscales, list) else []:
        if isinstance(scales, dict) and _has_other_types(scales.get("coordinateTransformations")):
            scales[SYSTEMS] = {"coordinateTransformations": scales.pop("coordinateTransformations")}


def _has_other_types(transformations: JSON) -> bool:
    return isinstance(transformations, list) and any(
        isinstance(transform, dict)
        and isinstance(transform.get("type"), str)
        and transform["type"] not in PLAIN_TYPES
        for transform in transformations
    )


def encode_plain_image(scales: JSONObject, old: JSONObject | None, index: int, version: str) -> None:
    """Convert the fields of MultiScaleMeta to an entry of multiscales; raise MetadataError for systems of 0.6.

    Transformations of other types that the ``old`` part has stay in the document.
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
    if _has_other_types(stored) and "coordinateTransformations" not in scales:
        scales["coordinateTransformations"] = stored
        return
    unsupported = unsupported_systems(systems)
    if unsupported:
        raise MetadataError(
            f"OME-NGFF {version} has no {', no '.join(unsupported)}: remove them or write 0.6."
        )


def unsupported_content(meta: MetaModel) -> list[str]:
    """List the scenes and coordinate systems of a model, which 0.4 and 0.5 do not have."""
    if isinstance(meta, SceneMeta):
        return ["scene"]
    scales = meta.multiscales if isinstance(meta, ImagesMeta) else []
    return [
        text for entry in scales if entry.systems for text in unsupported_systems(entry.systems.to_json())
    ]


def unsupported_systems(systems: JSONObject) -> list[str]:
    """List the coordinate systems and transformations of an image that 0.4 and 0.5 do not have.

    The systems of the image's axes and of the whole field of view are not listed: every version has them, without
    names.
    """
    common = (systems.get("intrinsic"), systems.get("fieldOfView"))
    unsupported = [
        f"coordinate system {system['name']!r}"
        for system in systems.get("coordinateSystems", [])
        if system["name"] not in common
    ]
    for transformation in systems.get("coordinateTransformations", []):
        ends = [_describe_reference(transformation.get(side)) for side in ("input", "output")]
        unsupported.append(f"{transformation['type']} from {ends[0]} to {ends[1]}")
    return unsupported


def _describe_reference(reference: JSON) -> str:
    if not isinstance(reference, dict):
        return "nowhere"
    name, path = reference.get("name"), reference.get("path")
    return f"{name!r} of {path!r}" if name and path else repr(name or path)


def find_old(old: JSONObject | None, scales: JSONObject, number: int) -> JSONObject | None:
    """Find the entry of multiscales that another one replaces: one with a level in common, best at the same index."""
    stored = (old or {}).get("multiscales")
    images = [image for image in stored if isinstance(image, dict)] if isinstance(stored, list) else []
    paths = set(_paths(scales))
    for image in images[number : number + 1] + images:
        if paths & set(_paths(image)):
            return image
    return images[number] if number < len(images) and not paths else None


def _paths(scales: JSONObject) -> list[str]:
    datasets = scales.get("datasets")
    return [
        str(dataset.get("path"))
        for dataset in (datasets if isinstance(datasets, list) else [])
        if isinstance(dataset, dict)
    ]
