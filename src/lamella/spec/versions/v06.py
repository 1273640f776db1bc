"""OME-NGFF 0.6: as 0.5, with named coordinate systems, all types of transformations, and scenes (RFC-5).

Drafts of it (0.6.dev1 to 0.6rc0) and of its successor (0.9.dev1, 0.9.dev2) are read too; 0.6 is written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from lamella.spec.axes import axes
from lamella.spec.coordinate_systems import SceneMeta
from lamella.spec.images import ImagesMeta
from lamella.spec.versions.base import PARTS, Part
from lamella.spec.versions.v05 import Version05, as_text, find_old
from lamella.spec.versions.v06_images import decode_image, encode_image

if TYPE_CHECKING:
    from lamella.spec.axes import AxisMeta
    from lamella.spec.base import MetaModel
    from lamella.types import JSONObject, StoredVersionName, VersionName

_CLAIMED = re.compile(r"0\.6(?!\d)|0\.9\.?dev")
_FINAL = (None, "0.6", "0.6rc0")


class Version06(Version05):
    """The mapping of 0.6 documents.

    >>> from lamella.models import ImageMeta, WellGroupMeta
    >>> V06.dump(WellGroupMeta(images=[ImageMeta(path="0")]), {"lab": "ours"})
    {'lab': 'ours', 'ome': {'version': '0.6', 'well': {'images': [{'path': '0'}]}}}
    """

    name: StoredVersionName = "0.6"
    written_as: ClassVar[VersionName] = "0.6"
    parts = PARTS | {SceneMeta: Part(keys=("scene",), marks=("scene",), wrapped=True)}

    def matches(self, zarr_format: int, attributes: JSONObject) -> bool:
        """Match Zarr v3 documents that state 0.6, a draft of it or of 0.9, or that look like 0.6."""
        if zarr_format != 3:
            return False
        declared = as_text(self.stated_version(attributes))
        if isinstance(declared, str):
            return _CLAIMED.match(declared) is not None
        return declared is None and _has_systems(self.ome(attributes))

    def dump(self, meta: MetaModel, attributes: JSONObject, *, trusted: bool = False) -> JSONObject:
        """Return the document with one part replaced; a draft becomes 0.6 in all its parts."""
        if self.stated_version(attributes) not in _FINAL:
            draft, attributes = attributes, self.with_ome(attributes, self.ome(attributes))
            for kind in self.parts:
                part = None if isinstance(meta, kind) else self.load(kind, draft)
                if part is not None:
                    attributes = super().dump(part, attributes, trusted=True)
        return super().dump(meta, attributes, trusted=trusted)

    def default_axes(self) -> list[AxisMeta]:
        """Return the default axes of a new image: in lower case, which every reader accepts."""
        return axes("tczyx")

    def unsupported(self, meta: MetaModel) -> list[str]:
        """Return nothing: this version supports everything."""
        return []

    def _decode(self, kind: type[MetaModel], part: JSONObject) -> JSONObject:
        entries = part.get("multiscales") if kind is ImagesMeta else None
        for index, scales in enumerate(entries if isinstance(entries, list) else []):
            decode_image(scales, f"ome.multiscales[{index}]")
        return part

    def _encode_images(self, part: JSONObject, old: JSONObject | None) -> None:
        part["multiscales"] = [
            encode_image(scales, find_old(old, scales, index))
            for index, scales in enumerate(part.get("multiscales", []))
        ]


def _has_systems(ome: JSONObject) -> bool:
    entries = ome.get("multiscales")
    first = entries[0] if isinstance(entries, list) and entries else None
    return "scene" in ome or (
        isinstance(first, dict) and "coordinateSystems" in first and "axes" not in first
    )


V06 = Version06()
"""OME-NGFF 0.6."""
