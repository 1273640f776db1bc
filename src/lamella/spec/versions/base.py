"""The interface of a version of OME-NGFF: a mapping of documents to models and back.

A document is the attributes of a group; its OME part is the object under ``ome``, in 0.4 all attributes. ``PARTS``
lists which keys of the OME part store each model, such as ``plate`` for PlateMeta: the same keys in every version. All
differences are in one module per version.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from lamella.errors import InvalidArgumentError, MetadataError, short_repr
from lamella.spec.axes import default_axes
from lamella.spec.base import json_copy
from lamella.spec.images import ImagesMeta, keep_unusable_omero
from lamella.spec.labels import ImageLabelMeta, LabelsMeta
from lamella.spec.plate import Bioformats2RawMeta, PlateMeta, WellGroupMeta

if TYPE_CHECKING:
    from lamella.spec.axes import AxisMeta
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject, StoredVersionName, VersionName

Model = TypeVar("Model", bound="MetaModel")


@dataclass(frozen=True)
class PartLocation:
    """The location of a model in the OME part of a document: the object under one key, or the values of some keys."""

    keys: tuple[str, ...]
    is_object: bool = False
    """Whether the model is the object under the only key."""

    def is_in(self, ome: JSONObject) -> bool:
        """Return whether the OME part of a document has this part."""
        return any(key in ome for key in self.keys)

    def read(self, ome: JSONObject, prefix: str) -> JSONObject | None:
        """Return this part of the OME part of a document; None if it is missing. ``prefix`` is for messages."""
        if not self.is_in(ome):
            return None
        if not self.is_object:
            return {key: ome[key] for key in self.keys if key in ome}
        part = ome[self.keys[0]]
        if not isinstance(part, dict):
            raise MetadataError(f"{prefix}{self.keys[0]}: expected an object, found {short_repr(part)}.")
        return part

    def replace(self, ome: JSONObject, part: JSONObject) -> JSONObject:
        """Return the OME part with this part replaced; every other key stays, in its order."""
        part = {self.keys[0]: part} if self.is_object else part
        return {key: value for key, value in ome.items() if key not in self.keys or key in part} | part


PARTS: dict[type[MetaModel], PartLocation] = {
    ImagesMeta: PartLocation(("multiscales", "omero")),
    PlateMeta: PartLocation(("plate",), is_object=True),
    WellGroupMeta: PartLocation(("well",), is_object=True),
    LabelsMeta: PartLocation(("labels",)),
    ImageLabelMeta: PartLocation(("image-label",), is_object=True),
    Bioformats2RawMeta: PartLocation(("bioformats2raw.layout", "series")),
}
"""Locations of the models that every version has."""


def version_as_text(stated: JSON) -> JSON:
    """Return a stated version, as text if a number was written: 0.5 as "0.5"."""
    return str(stated) if isinstance(stated, float) else stated


def _without_systems(meta: MetaModel) -> MetaModel | None:
    """Return a model without the coordinate systems of 0.6; None for a scene, which consists of them."""
    if not isinstance(meta, ImagesMeta):
        return None
    meta = meta.copied()
    for scales in meta.multiscales:
        scales.systems = None
    return meta


class SpecVersion(ABC):
    """A version of OME-NGFF.

    Attributes
    ----------
    name : str
        As documents spell it, "0.5".
    written_as : str
        The version that a copy is written in: the same, or 0.4 for those that are only read.
    zarr_format : int
        2 or 3.
    writable : bool
        Whether documents of this version are written, not only read.

    >>> from lamella.spec.versions import by_name
    >>> from lamella.models import LabelsMeta
    >>> by_name("0.5").load(LabelsMeta, {"ome": {"version": "0.5", "labels": ["nuclei"]}}).labels
    ['nuclei']
    >>> by_name("0.4").dump(LabelsMeta(labels=["cells"]), {"labels": ["nuclei"], "lab": "ours"})
    {'labels': ['cells'], 'lab': 'ours'}
    """

    name: StoredVersionName
    written_as: ClassVar[VersionName]
    zarr_format: ClassVar[Literal[2, 3]]
    writable: ClassVar[bool] = True
    parts: ClassVar[dict[type[MetaModel], PartLocation]] = PARTS
    """Locations of the models of this version."""
    _prefix: ClassVar[str]
    """Location of the OME part at the start of messages: "ome.", or empty without such a key."""

    def load(self, kind: type[Model], attributes: JSONObject) -> Model | None:
        """Read one part of a document as a model that shares nothing with it; None if the document lacks the part."""
        base, part_location = self._part_of(kind)
        part = part_location.read(self.ome(attributes), self._prefix)
        if part is None:
            return None
        location = self._prefix + (part_location.keys[0] if part_location.is_object else "")
        return kind.from_json(self._decode(base, json_copy(part)), location.removesuffix("."))

    def dump(self, meta: MetaModel, attributes: JSONObject, *, trusted: bool = False) -> JSONObject:
        """Return the document with one part replaced, in the spelling of this version.

        Everything outside of this part is kept, at every depth. A ``trusted`` model is not validated again: lamella
        loaded or edited it, and no user can have changed it.
        """
        base, part_location = self._part_of(type(meta))
        ome = self.ome(attributes)
        old = part_location.read(ome, self._prefix)
        part = (meta if trusted else meta.checked()).to_json()
        if base is ImagesMeta and not part["multiscales"]:
            del part["multiscales"]  # MS-01: an image has at least one entry
        part = self._encode(base, part, old)
        if base is ImagesMeta:
            part = keep_unusable_omero(part, old)
        return self.with_ome(attributes, part_location.replace(ome, part))

    def converted(self, attributes: JSONObject, target: SpecVersion, *, lossy: bool = False) -> JSONObject:
        """Return the document in the spelling of another version; see `convert_attributes`."""
        models = [meta for kind in self.parts if (meta := self.load(kind, attributes)) is not None]
        part_keys = {key for part in self.parts.values() for key in part.keys} | {"version"}
        other_attributes, ome = self.other_attributes(attributes), self.ome(attributes)
        if not (self._prefix and target._prefix):
            # In 0.4 a user's key with the name of a part would be read as that part.
            other_attributes = {key: value for key, value in other_attributes.items() if key not in part_keys}
        other_keys = (
            {key: value for key, value in ome.items() if key not in part_keys} if self._prefix else {}
        )
        document = target.with_ome(other_attributes, other_keys | target.ome(other_attributes))
        for meta in models:
            unsupported = target.unsupported(meta)
            if unsupported and not lossy:
                raise MetadataError(
                    f"OME-NGFF {target.name} has no {', no '.join(unsupported)}: remove them, or convert the rest "
                    "with lossy=True (--lossy)."
                )
            supported = _without_systems(meta) if unsupported else meta
            if supported is not None:
                document = target.dump(supported, document)
                if isinstance(supported, ImagesMeta):
                    document = target.with_ome(document, keep_unusable_omero(target.ome(document), ome))
        return document

    def names_group(self, attributes: JSONObject) -> bool:
        """Return whether attributes have a part of OME-NGFF: only groups have one."""
        ome = self.ome(attributes)
        return any(part.is_in(ome) for part in self.parts.values())

    def _part_of(self, kind: type[MetaModel]) -> tuple[type[MetaModel], PartLocation]:
        for base in kind.__mro__:
            if base in self.parts:
                return base, self.parts[base]
        models = ", ".join(model.__name__ for model in self.parts)
        raise InvalidArgumentError(
            f"{kind.__name__} is not a part of a document of OME-NGFF {self.name}: use one of {models}."
        )

    def default_axes(self) -> list[AxisMeta]:
        """Return the default axes of a new image: T, C, Z, Y, X."""
        return default_axes()

    @abstractmethod
    def unsupported(self, meta: MetaModel) -> list[str]:
        """Describe the content of a model that this version cannot store, such as "scene"; empty for none."""

    @abstractmethod
    def other_attributes(self, attributes: JSONObject) -> JSONObject:
        """Return the attributes outside of the OME part: those of users and other programs."""

    @abstractmethod
    def matches(self, zarr_format: int, attributes: JSONObject) -> bool:
        """Return whether a document has this version."""

    @abstractmethod
    def stated_version(self, attributes: JSONObject) -> JSON:
        """Return the version that a document states; None if it states none."""

    @abstractmethod
    def ome(self, attributes: JSONObject) -> JSONObject:
        """Return the OME part of a document."""

    @abstractmethod
    def with_ome(self, attributes: JSONObject, ome: JSONObject) -> JSONObject:
        """Return the document with its OME part replaced and its version set; other keys are kept."""

    @abstractmethod
    def _decode(self, kind: type[MetaModel], part: JSONObject) -> JSONObject:
        """Map a part of a document, which may be changed, to the fields of the models."""

    @abstractmethod
    def _encode(self, kind: type[MetaModel], part: JSONObject, old: JSONObject | None) -> JSONObject:
        """Map the fields of a model, which may be changed, to a part of a document that replaces ``old``."""
