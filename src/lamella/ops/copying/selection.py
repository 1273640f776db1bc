"""Which part of a store is copied: chosen fields of a plate or well, chosen levels, and what the documents say then.

Layer: ops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lamella.arguments import items_of, whole_number
from lamella.errors import InvalidArgumentError, LamellaError, NodeNotFoundError
from lamella.nodes.kinds import node_class
from lamella.nodes.plate import Plate
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.walk import HOLDERS, walk
from lamella.nodes.well import Well
from lamella.spec import edits, plate_edits
from lamella.spec.images import ImagesMeta
from lamella.spec.labels import LabelsMeta
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.spec.stale_levels import read_stale, with_stale
from lamella.spec.versions import detect
from lamella.store import format_v3
from lamella.store.formats import V2, V3
from lamella.store.json_document import parse_object, to_bytes
from lamella.store.keys import join

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lamella.spec.base import MetaModel
    from lamella.store.documents import Documents
    from lamella.types import JSONObject


@dataclass
class Part:
    """What is left out of a copy, and the documents that say so.

    Attributes
    ----------
    dropped
        Paths of folders and keys of files.
    changed
        Documents by key.
    """

    dropped: set[str] = field(default_factory=set)
    changed: dict[str, bytes] = field(default_factory=dict)

    def drops(self, path: str) -> bool:
        """Whether a path, or a folder above it, is left out."""
        while path and self.dropped:
            if path in self.dropped:
                return True
            path = path.rpartition("/")[0]
        return False


def part_of(
    documents: Documents, fields: Iterable[str] | None = None, levels: Iterable[int] | None = None
) -> Part:
    """Find what is left out where only some fields or levels are copied.

    Parameters
    ----------
    documents
        Of the store.
    fields
        Paths of fields, ``"A/1/0"`` of a plate or ``"0"`` of a well; all by default.
    levels
        Numbers of levels, of images and of their labels; all by default.

    Raises
    ------
    NodeNotFoundError
        There is no such field.
    InvalidArgumentError
        The store has no fields, or an image none of the levels.
    """
    choice = _Choice(documents)
    if fields is None and levels is None:
        return choice.part
    if documents.format == 2:
        choice.part.dropped.add(V2.consolidated)  # copies of documents that are changed here
    node = choice.node
    images = [""]
    if fields is not None:
        images = choice.keep_fields(
            [str(path).strip("/") for path in items_of(fields, "fields is a list of paths")]
        )
    elif isinstance(node, HOLDERS):
        images = [one.path for one in walk(node) if not isinstance(one.node, LamellaError)]
    if levels is not None:
        numbers = {whole_number(one, "a level", 0) for one in items_of(levels, "levels is a list of numbers")}
        for path in images:
            choice.keep_levels(path, numbers)
    return choice.part


class _Choice:
    """Builds a `Part` of one store."""

    def __init__(self, documents: Documents) -> None:
        self.part = Part()
        self.documents = documents
        attributes = documents.group("")
        self._version = detect(documents.format, attributes)
        place = NodePath(StoreHandle(documents, self._version), "")
        kind = node_class(self._version.ome(attributes), place)
        if kind is None:
            raise InvalidArgumentError(
                f"{documents.storage.name} has no OME-NGFF metadata at its root, so no part of it can be chosen: copy "
                "all of it."
            )
        self.node = kind(place)

    def keep_fields(self, fields: Sequence[str]) -> list[str]:
        """Leave out all other fields; return those that stay, in the order of their wells."""
        if isinstance(self.node, Well):
            return self._keep_images("", fields)
        if not isinstance(self.node, Plate):
            raise InvalidArgumentError(
                f"{self.node} has no fields to choose from: fields= is for plates and wells. Leave it out."
            )
        wells: dict[str, list[str]] = {}
        for path in fields:
            wells.setdefault(path.rpartition("/")[0], []).append(path.rpartition("/")[2])
        listed = self.node._well_paths()
        if unknown := [well for well in wells if well not in listed]:
            raise NodeNotFoundError(f"{self.node} has no well {unknown[0]!r}: it has {_shown(listed)}.")
        kept = [join(well, name) for well, names in wells.items() for name in self._keep_images(well, names)]
        rows = {well.partition("/")[0] for well in wells}
        self.part.dropped |= {
            well if well.partition("/")[0] in rows else well.partition("/")[0]
            for well in listed
            if well not in wells
        }
        images = {
            well: [one for one in self._listed_images(well) if one[0] in names]
            for well, names in wells.items()
        }

        def chosen(meta: PlateMeta) -> PlateMeta:
            return plate_edits.set_counts(plate_edits.keep_wells(meta, wells), images)

        self._edit("", PlateMeta, chosen)
        return kept

    def _listed_images(self, well: str) -> list[tuple[str, int | None]]:
        meta = self._version.load(WellGroupMeta, self._attributes(well))
        return [(image.path, image.acquisition) for image in meta.images] if meta is not None else []

    def _keep_images(self, well: str, names: Sequence[str]) -> list[str]:
        listed = [name for name, _ in self._listed_images(well)]
        if unknown := [name for name in names if name not in listed]:
            raise NodeNotFoundError(
                f"{self.documents.location(well)} has no field {unknown[0]!r}: it has {_shown(listed)}."
            )
        self.part.dropped |= {join(well, name) for name in listed if name not in names}

        def chosen(meta: WellGroupMeta) -> WellGroupMeta:
            return meta.model_copy(update={"images": [one for one in meta.images if one.path in names]})

        self._edit(well, WellGroupMeta, chosen)
        return [name for name in listed if name in names]

    def keep_levels(self, image: str, levels: set[int]) -> None:
        """Leave out all other levels of an image and of its labels; a label image without any of them goes."""
        if not self._keep_levels(image, levels):
            raise InvalidArgumentError(
                f"{self.documents.location(image)} has none of the levels {sorted(levels)}: they count from 0."
            )
        group = join(image, "labels")
        if self.documents.kind(group) != "group":
            return
        meta = self._version.load(LabelsMeta, self.documents.group(group))
        gone = {
            name for name in (meta.labels if meta else []) if not self._keep_levels(join(group, name), levels)
        }
        if gone:
            self.part.dropped |= {join(group, name) for name in gone}
            self._edit(
                group,
                LabelsMeta,
                lambda meta: LabelsMeta(labels=[name for name in meta.labels if name not in gone]),
            )

    def _keep_levels(self, image: str, levels: set[int]) -> bool:
        meta = self._version.load(ImagesMeta, self._attributes(image))
        paths = meta.multiscales[0].get_dataset_paths() if meta is not None and meta.multiscales else []
        gone = [path for number, path in enumerate(paths) if number not in levels]
        if not gone or len(gone) == len(paths):
            return bool(paths) and not gone
        self.part.dropped |= {join(image, path) for path in gone}

        def chosen(meta: ImagesMeta) -> ImagesMeta:
            for path in gone:
                meta = edits.remove_dataset(meta, path)
            return meta

        self._edit(image, ImagesMeta, chosen, gone)
        return True

    def _attributes(self, path: str) -> JSONObject:
        return self.documents.group(path)

    def _edit(self, path: str, kind: type[MetaModel], change: Any, gone: Sequence[str] = ()) -> None:
        """Change a part of a document, of which nothing else changes."""
        old = self._attributes(path)
        version = self.node.store_handle.version_of(old)
        meta = version.load(kind, old)
        attributes = version.dump(change(meta), old)
        for level in gone:
            attributes = with_stale(attributes, read_stale(attributes).with_unwritten(level, []))
        where, file = self.documents.at(path), self.documents.files.attributes
        key = join(path, file)
        document = attributes
        if self.documents.format == 3:
            document = format_v3.group_document(
                attributes, parse_object(self.documents.storage.read(key) or b"{}", where, V3.group)
            )
        self.part.changed[key] = to_bytes(document, where, file)


def _shown(names: Sequence[str]) -> str:
    some = ", ".join(names[:12])
    return f"{some} and {len(names) - 12} more" if len(names) > 12 else some or "none"
