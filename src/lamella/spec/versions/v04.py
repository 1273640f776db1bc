"""OME-NGFF 0.4: Zarr v2, keys at the top of ``.zattrs``, a version key in each part (ST-01, VE-01, VE-02).

Layer: spec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lamella.spec.images import ImagesMeta
from lamella.spec.labels import ImageLabelMeta
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.spec.versions.base import SpecVersion
from lamella.spec.versions.flat_images import decode_flat, encode_flat, find_old, unsaid_images
from lamella.spec.versions.older_documents import decode_older, refuse_older, stated_older

if TYPE_CHECKING:
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject, StoredVersionName, VersionName


class Version04(SpecVersion):
    """The mapping of 0.4 documents.

    Examples
    --------
    >>> from lamella.models import ImageMeta, WellGroupMeta
    >>> V04.dump(WellGroupMeta(images=[ImageMeta(path="0")]), {})
    {'well': {'version': '0.4', 'images': [{'path': '0'}]}}
    """

    name: StoredVersionName = "0.4"
    written_as: ClassVar[VersionName] = "0.4"
    zarr_format = 2
    _where = ""

    def claims(self, zarr_format: int, attributes: JSONObject) -> bool:
        """Claim every Zarr v2 document: the version keys are only a SHOULD, and often missing or wrong."""
        return zarr_format == 2

    def declared(self, attributes: JSONObject) -> JSON:
        """Get None: in 0.4 each part states a version of its own."""
        return None

    def ome(self, attributes: JSONObject) -> JSONObject:
        """Get the OME part: all attributes."""
        return attributes

    def with_ome(self, attributes: JSONObject, ome: JSONObject) -> JSONObject:
        """Give the OME part, which holds all attributes."""
        return dict(ome)

    def beside(self, attributes: JSONObject) -> JSONObject:
        """Get all attributes: in 0.4 the keys of users stand among those of OME."""
        return attributes

    def unsaid(self, meta: MetaModel) -> list[str]:
        """List what this version cannot say of a part: scenes, and coordinate systems beside the axes."""
        return unsaid_images(meta)

    def _decode(self, kind: type[MetaModel], part: JSONObject) -> JSONObject:
        if kind is ImagesMeta:
            # A collection has one version, found from its top group, and may have older images.
            if stated_older(part) is not None:
                part = decode_older(kind, part)
            decode_flat(part)
        return part

    def _encode(self, kind: type[MetaModel], part: JSONObject, old: JSONObject | None) -> JSONObject:
        if kind is ImagesMeta and "multiscales" in part:
            older = stated_older(old)
            if older is not None:
                refuse_older(older)
            for place, scales in enumerate(part["multiscales"]):
                encode_flat(scales, find_old(old, scales, place), self.name)
            part["multiscales"] = [self._stated(scales) for scales in part["multiscales"]]
        elif kind in (PlateMeta, WellGroupMeta, ImageLabelMeta):
            part = self._stated(part)
        return part

    def _stated(self, part: JSONObject) -> JSONObject:
        return {"version": self.name} | part | {"version": self.name}


V04 = Version04()
"""OME-NGFF 0.4."""
