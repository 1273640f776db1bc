"""OME-NGFF 0.4: Zarr v2, keys at the top of ``.zattrs``, a version key in each part (ST-01, VE-01, VE-02).

Its predecessors 0.1, 0.2 and 0.3 are read as 0.4, after `older_documents` has filled in the values that they lack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NoReturn

from lamella.spec.images import ImagesMeta
from lamella.spec.labels import ImageLabelMeta
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.spec.versions.base import SpecVersion
from lamella.spec.versions.older_documents import decode_older, older_name, refuse_older, stated_older
from lamella.spec.versions.v05 import decode_plain_images, encode_plain_image, unsupported_content

if TYPE_CHECKING:
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject, StoredVersionName, VersionName


class Version04(SpecVersion):
    """The mapping of 0.4 documents."""

    name: StoredVersionName = "0.4"
    written_as: ClassVar[VersionName] = "0.4"
    zarr_format = 2
    _prefix = ""

    def matches(self, zarr_format: int, attributes: JSONObject) -> bool:
        """Match every Zarr v2 document: the version keys are only a SHOULD, and often missing or wrong."""
        return zarr_format == 2

    def stated_version(self, attributes: JSONObject) -> JSON:
        """Return None: in 0.4 each part states its own version."""
        return None

    def ome(self, attributes: JSONObject) -> JSONObject:
        """Return the OME part: all attributes."""
        return attributes

    def with_ome(self, attributes: JSONObject, ome: JSONObject) -> JSONObject:
        """Return the OME part, which has all attributes."""
        return dict(ome)

    def other_attributes(self, attributes: JSONObject) -> JSONObject:
        """Return all attributes: in 0.4 the keys of users are mixed with those of OME."""
        return attributes

    def unsupported(self, meta: MetaModel) -> list[str]:
        """List the scenes and coordinate systems of a model, which this version does not have."""
        return unsupported_content(meta)

    def _decode(self, kind: type[MetaModel], part: JSONObject) -> JSONObject:
        if kind is ImagesMeta:
            # The version of a collection is that of its top group; its images may be older.
            if stated_older(part) is not None:
                part = decode_older(kind, part)
            decode_plain_images(part)
        return part

    def _encode(self, kind: type[MetaModel], part: JSONObject, old: JSONObject | None) -> JSONObject:
        if kind is ImagesMeta and "multiscales" in part:
            older = stated_older(old)
            if older is not None:
                refuse_older(older)
            for index, scales in enumerate(part["multiscales"]):
                encode_plain_image(scales, old, index, self.name)
            part["multiscales"] = [self._with_version(scales) for scales in part["multiscales"]]
        elif kind in (PlateMeta, WellGroupMeta, ImageLabelMeta):
            part = self._with_version(part)
        return part

    def _with_version(self, part: JSONObject) -> JSONObject:
        return {"version": self.name} | part | {"version": self.name}


V04 = Version04()
"""OME-NGFF 0.4."""


class OlderVersion(Version04):
    """The mapping of documents of a version before 0.4, to models only."""

    writable = False

    def __init__(self, name: StoredVersionName) -> None:
        self.name = name

    def matches(self, zarr_format: int, attributes: JSONObject) -> bool:
        """Match Zarr v2 documents that state this version and look like it."""
        return zarr_format == 2 and older_name(attributes) == self.name

    def with_ome(self, attributes: JSONObject, ome: JSONObject) -> NoReturn:
        """Raise: this version is never written."""
        refuse_older(self.name)

    def dump(self, meta: MetaModel, attributes: JSONObject, *, trusted: bool = False) -> NoReturn:
        """Raise: this version is never written."""
        refuse_older(self.name)

    def _decode(self, kind: type[MetaModel], part: JSONObject) -> JSONObject:
        return decode_older(kind, part)


V01, V02, V03 = OlderVersion("0.1"), OlderVersion("0.2"), OlderVersion("0.3")
"""OME-NGFF 0.1, 0.2 and 0.3, read only."""
