"""The interface of a version of OME-NGFF: a mapping of documents to models and back.

The table of parts lists where each model is stored in the OME part of a document; it is the same for every version. The
differences are in one module per version.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from lamella.errors import InvalidArgumentError, MetadataError, short_repr
from lamella.spec.axes import default_axes
from lamella.spec.base import plain
from lamella.spec.images import ImagesMeta
from lamella.spec.labels import ImageLabelMeta, LabelsMeta
from lamella.spec.plate import Bioformats2RawMeta, PlateMeta, WellGroupMeta

if TYPE_CHECKING:
    from lamella.spec.axes import AxisMeta
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject, StoredVersionName, VersionName

M = TypeVar("M", bound="MetaModel")


@dataclass(frozen=True)
class Part:
    """The location of a model in the OME part of a document: under one key, or as some keys among others."""

    keys: tuple[str, ...]
    marks: tuple[str, ...]
    wrapped: bool = False

    def take(self, ome: JSONObject, where: str) -> JSONObject | None:
        """Return this part of the OME part of a document; None if it is missing."""
        if not any(mark in ome for mark in self.marks):
            return None
        if not self.wrapped:
            return {key: ome[key] for key in self.keys if key in ome}
        part = ome[self.keys[0]]
        if not isinstance(part, dict):
            raise MetadataError(f"{where}{self.keys[0]}: expected an object, found {short_repr(part)}.")
        return part

    def put(self, ome: JSONObject, part: JSONObject) -> JSONObject:
        """Replace the part; every other key stays, in its order."""
        part = {self.keys[0]: part} if self.wrapped else part
        remaining = {key: value for key, value in ome.items() if key not in self.keys or key in part}
        return remaining | part


PARTS: dict[type[MetaModel], Part] = {
    ImagesMeta: Part(keys=("multiscales", "omero"), marks=("multiscales", "omero")),
    PlateMeta: Part(keys=("plate",), marks=("plate",), wrapped=True),
    WellGroupMeta: Part(keys=("well",), marks=("well",), wrapped=True),
    LabelsMeta: Part(keys=("labels",), marks=("labels",)),
    ImageLabelMeta: Part(keys=("image-label",), marks=("image-label",), wrapped=True),
    Bioformats2RawMeta: Part(
        keys=("bioformats2raw.layout", "series"), marks=("bioformats2raw.layout", "series")
    ),
}
"""Locations of the models that every version has."""


def _without_systems(part: MetaModel) -> MetaModel | None:
    """Return the content of a part that every version supports; None if it is empty."""
    if not isinstance(part, ImagesMeta):
        return None
    part = part.copied()
    for scales in part.multiscales:
        scales.systems = None
    return part


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
    parts: ClassVar[dict[type[MetaModel], Part]] = PARTS
    """Locations of the models of this version."""
    _where: ClassVar[str]
    """Location of the OME part, for messages."""

    def load(self, kind: type[M], attributes: JSONObject) -> M | None:
        """Read one part of a document; the model shares nothing with it. None if the document lacks the part."""
        base, part_location = self._part_of(kind)
        part = part_location.take(self.ome(attributes), self._where)
        if part is None:
            return None
        location = self._where + (part_location.keys[0] if part_location.wrapped else "")
        return kind.from_json(self._decode(base, plain(part)), location.removesuffix("."))

    def dump(self, meta: MetaModel, attributes: JSONObject, *, trusted: bool = False) -> JSONObject:
        """Return the document with one part replaced, in the spelling of this version.

        Everything outside of this part is kept, at every depth. ``trusted`` models were loaded or edited by lamella and
        never handed out, so they are not validated again.
        """
        base, part_location = self._part_of(type(meta))
        ome = self.ome(attributes)
        old = part_location.take(ome, self._where)
        part = (meta if trusted else meta.checked()).to_json()
        if base is ImagesMeta and not part["multiscales"]:
            del part["multiscales"]  # MS-01: an image has at least one entry
        part = self._encode(base, part, old)
        return self.with_ome(attributes, part_location.put(ome, part))

    def converted(self, attributes: JSONObject, target: SpecVersion, *, lossy: bool = False) -> JSONObject:
        """Return the document in the spelling of another version; see `convert_attributes`."""
        parts = [part for kind in self.parts if (part := self.load(kind, attributes)) is not None]
        own_keys = {key for part in self.parts.values() for key in part.keys} | {"version"}
        beside, ome = self.other_attributes(attributes), self.ome(attributes)
        if not (self._where and target._where):
            # Without a wrapper a user's key of that name would be read as a part.
            beside = {key: value for key, value in beside.items() if key not in own_keys}
        others = {key: value for key, value in ome.items() if key not in own_keys} if self._where else {}
        document = target.with_ome(beside, others | target.ome(beside))
        for part in parts:
            unsupported = target.unsupported(part)
            if unsupported and not lossy:
                raise MetadataError(
                    f"OME-NGFF {target.name} has no {', no '.join(unsupported)}: remove them, or convert the rest "
                    "with lossy=True (--lossy)."
                )
            supported = _without_systems(part) if unsupported else part
            if supported is not None:
                document = target.dump(supported, document)
        return document

    def names_group(self, attributes: JSONObject) -> bool:
        """Return whether attributes have a part of OME-NGFF: only groups have one."""
        ome = self.ome(attributes)
        return any(mark in ome for part in self.parts.values() for mark in part.marks)

    def _part_of(self, kind: type[MetaModel]) -> tuple[type[MetaModel], Part]:
        for base in kind.__mro__:
            if base in self.parts:
                return base, self.parts[base]
        known = ", ".join(known.__name__ for known in self.parts)
        raise InvalidArgumentError(
            f"{kind.__name__} is not a part of a document of OME-NGFF {self.name}: use one of {known}."
        )

    def default_axes(self) -> list[AxisMeta]:
        """Return the default axes of a new image: T, C, Z, Y, X."""
        return default_axes()

    @abstractmethod
    def unsupported(self, meta: MetaModel) -> list[str]:
        """List what this version does not support in a part of a document, in words."""

    @abstractmethod
    def other_attributes(self, attributes: JSONObject) -> JSONObject:
        """Return the attributes beside the OME part: the keys of users and other programs."""

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
