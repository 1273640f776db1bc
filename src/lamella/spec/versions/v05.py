"""OME-NGFF 0.5: Zarr v3, all keys under ``attributes.ome``, one version key there (ST-02, ST-03, ST-07).

The text of 0.5 also requires ``plate.version``; its schema, its examples and its authors do not (A1), so it is not
written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from lamella.errors import MetadataError, short_repr
from lamella.spec.images import ImagesMeta
from lamella.spec.labels import ImageLabelMeta
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.spec.versions.base import SpecVersion
from lamella.spec.versions.flat_images import decode_flat, encode_flat, find_old, unsupported_images

if TYPE_CHECKING:
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject, StoredVersionName, VersionName


class Version05(SpecVersion):
    """The mapping of 0.5 documents.

    >>> from lamella.models import ImageMeta, WellGroupMeta
    >>> V05.dump(WellGroupMeta(images=[ImageMeta(path="0")]), {"lab": "ours"})
    {'lab': 'ours', 'ome': {'version': '0.5', 'well': {'images': [{'path': '0'}]}}}
    """

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
            raise MetadataError(f"ome: expected an object, found {short_repr(ome)}")
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
            encode_flat(scales, find_old(old, scales, index), self.name)


def as_text(declared: JSON) -> JSON:
    """Return a version that was written as a number as text."""
    return str(declared) if isinstance(declared, float) else declared


V05 = Version05()
"""OME-NGFF 0.5."""
