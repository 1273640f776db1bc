"""OME-NGFF 0.1, 0.2 and 0.3: Zarr v2, read only."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from lamella.spec.versions.older_documents import decode_older, older_name, refuse_older
from lamella.spec.versions.v04 import Version04

if TYPE_CHECKING:
    from lamella.spec.base import MetaModel
    from lamella.types import JSONObject, StoredVersionName


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
