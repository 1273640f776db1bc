"""List the documents and files of a store to copy, of all or of some fields and levels, and report the copy.

Documents are changed to list only the selected fields and levels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from lamella.arguments import items_of, whole_number
from lamella.errors import InvalidArgumentError, LamellaError, NodeNotFoundError, first_of
from lamella.nodes.node_classes import node_class
from lamella.nodes.plate import Plate
from lamella.nodes.replacing import check_replaced_document
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.walk import CONTAINERS, walk
from lamella.nodes.well import Well
from lamella.ops.known_members import unseen
from lamella.spec import edits, plate_edits
from lamella.spec.images import ImagesMeta
from lamella.spec.labels import LabelsMeta
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.spec.stale_levels import read_stale, with_stale
from lamella.spec.versions import detect
from lamella.store.keys import METADATA_FILES, V2, V3, join, natural_order
from lamella.store.listed_by_metadata import ListedByMetadata
from lamella.store.metadata import format_v3
from lamella.store.metadata.json_document import parse_object, to_bytes
from lamella.store.pixels.stored_chunks import iter_stored_files
from lamella.store.transfer import read_whole, sized_files_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lamella.spec.base import MetaModel
    from lamella.store.metadata.documents import Documents
    from lamella.store.storage import Storage
    from lamella.types import JSONObject


@dataclass
class CopySelection:
    """Paths of folders and keys of files that a copy leaves out (``dropped``), and changed documents by key."""

    dropped: set[str] = field(default_factory=set)
    changed: dict[str, bytes] = field(default_factory=dict)

    def drops(self, path: str) -> bool:
        """Return whether a path, or a folder above it, is left out."""
        while path and self.dropped:
            if path in self.dropped:
                return True
            path = path.rpartition("/")[0]
        return False


def select_parts(
    documents: Documents, fields: Iterable[str] | None = None, levels: Iterable[int] | None = None
) -> CopySelection:
    """Select fields, ``"A/1/0"`` of a plate or ``"0"`` of a well, and levels of images and labels; all by default.

    Raise NodeNotFoundError for an unknown field, InvalidArgumentError for a store without fields or levels.
    """
    if fields is None and levels is None:
        return CopySelection()
    builder = _SelectionBuilder(documents)
    if documents.format == 2:
        builder.selection.dropped.add(V2.consolidated)  # it would contradict the changed documents
    node = builder.node
    images = [""]
    if fields is not None:
        images = builder.keep_fields(
            [str(path).strip("/") for path in items_of(fields, "The argument fields is a list of paths")]
        )
    elif isinstance(node, CONTAINERS):
        images = [member.path for member in walk(node) if not isinstance(member.node, LamellaError)]
    if levels is not None:
        numbers = {
            whole_number(level, "A level", 0)
            for level in items_of(levels, "The argument levels is a list of numbers")
        }
        for path in images:
            builder.keep_levels(path, numbers)
    return builder.selection


class _SelectionBuilder:
    def __init__(self, documents: Documents) -> None:
        self.selection = CopySelection()
        self.documents = documents
        attributes = documents.group("")
        self._version = detect(documents.format, attributes)
        node_path = NodePath(StoreHandle(documents, self._version), "")
        node_type = node_class(self._version.ome(attributes), node_path)
        if node_type is None:
            raise InvalidArgumentError(
                f"{node_path} has no OME-NGFF metadata at its root, so no part of it can be chosen: copy "
                "all of it."
            )
        self.node = node_type(node_path)

    def keep_fields(self, fields: Sequence[str]) -> list[str]:
        """Leave out all other fields; return the remaining ones, in the order of their wells."""
        if isinstance(self.node, Well):
            return self._keep_images("", fields)
        if not isinstance(self.node, Plate):
            raise InvalidArgumentError(
                f"{self.node.node_path} has no fields to choose from: fields= is for plates and wells. Leave it out."
            )
        wells: dict[str, list[str]] = {}
        for path in map(self.node._exact_path, fields):
            wells.setdefault(path.rpartition("/")[0], []).append(path.rpartition("/")[2])
        listed = self.node.well_paths()
        if unknown := [well for well in wells if well not in listed]:
            raise NodeNotFoundError(
                f"There is no well {unknown[0]!r} in {self.node.node_path}. Its wells are: {first_of(listed, 12)}."
            )
        paths = [join(well, name) for well, names in wells.items() for name in self._keep_images(well, names)]
        rows = {well.partition("/")[0] for well in wells}
        self.selection.dropped |= {
            well if well.partition("/")[0] in rows else well.partition("/")[0]
            for well in listed
            if well not in wells
        }
        images = {
            well: [image for image in self._listed_images(well) if image[0] in names]
            for well, names in wells.items()
        }

        def with_kept_wells(meta: PlateMeta) -> PlateMeta:
            return plate_edits.set_counts(plate_edits.keep_wells(meta, wells), images)

        self._edit("", PlateMeta, with_kept_wells)
        return paths

    def _listed_images(self, well: str) -> list[tuple[str, int | None]]:
        meta = self._version.load(WellGroupMeta, self.documents.group(well))
        return [(image.path, image.acquisition) for image in meta.images] if meta is not None else []

    def _keep_images(self, well: str, names: Sequence[str]) -> list[str]:
        listed = [name for name, _ in self._listed_images(well)]
        if unknown := [name for name in names if name not in listed]:
            raise NodeNotFoundError(
                f"{self.documents.location(well)} has no field {unknown[0]!r}: it has {first_of(listed, 12)}."
            )
        self.selection.dropped |= {join(well, name) for name in listed if name not in names}

        def with_kept_images(meta: WellGroupMeta) -> WellGroupMeta:
            return meta.model_copy(update={"images": [image for image in meta.images if image.path in names]})

        self._edit(well, WellGroupMeta, with_kept_images)
        return [name for name in listed if name in names]

    def keep_levels(self, image: str, levels: set[int]) -> None:
        """Leave out all other levels of an image and of its labels, and label images without any of the levels."""
        if not self._keep_levels(image, levels):
            raise InvalidArgumentError(
                f"{self.documents.location(image)} has none of the levels {sorted(levels)}: they count from 0."
            )
        group = join(image, "labels")
        if self.documents.kind(group) != "group":
            return
        meta = self._version.load(LabelsMeta, self.documents.group(group))
        dropped_labels = {
            name for name in (meta.labels if meta else []) if not self._keep_levels(join(group, name), levels)
        }
        if dropped_labels:
            self.selection.dropped |= {join(group, name) for name in dropped_labels}
            self._edit(
                group,
                LabelsMeta,
                lambda meta: LabelsMeta(labels=[name for name in meta.labels if name not in dropped_labels]),
            )

    def _keep_levels(self, image: str, levels: set[int]) -> bool:
        """Leave out all other levels of one image; return False, and change nothing, if it has none of the levels."""
        meta = self._version.load(ImagesMeta, self.documents.group(image))
        paths = meta.multiscales[0].get_dataset_paths() if meta is not None and meta.multiscales else []
        dropped_levels = [path for number, path in enumerate(paths) if number not in levels]
        if len(dropped_levels) == len(paths):
            return False
        if not dropped_levels:
            return True
        self.selection.dropped |= {join(image, path) for path in dropped_levels}

        def without_dropped_levels(meta: ImagesMeta) -> ImagesMeta:
            for path in dropped_levels:
                meta = edits.remove_level(meta, path)
            return meta

        self._edit(image, ImagesMeta, without_dropped_levels, dropped_levels)
        return True

    def _edit(
        self, path: str, model_type: type[MetaModel], change: Any, dropped_levels: Sequence[str] = ()
    ) -> None:
        """Change one model of a document; the rest of the document stays."""
        old = self.documents.group(path)
        version = self.node.store_handle.version_of(old)
        attributes = version.dump(change(version.load(model_type, old)), old)
        for level in dropped_levels:
            attributes = with_stale(attributes, read_stale(attributes).with_unwritten(level, []))
        location, file = self.documents.storage.where(path), self.documents.files.attributes
        key = join(path, file)
        document = attributes
        if self.documents.format == 3:
            document = format_v3.group_document(
                attributes, parse_object(self.documents.storage.read(key) or b"{}", location, V3.group)
            )
        self.selection.changed[key] = to_bytes(document, location, file)


@dataclass
class Contents:
    """The documents (keys, breadth first) and all other files (keys and sizes) that are copied.

    The size of a chunk that may not exist is None. ``changed`` has documents that are copied in another form, because
    only a part of the store is copied. ``unseen`` is why files may be missing; None if the store can list all files.
    """

    store: Documents
    documents: list[str] = field(default_factory=list)
    files: list[tuple[str, int | None]] = field(default_factory=list)
    changed: dict[str, bytes] = field(default_factory=dict)
    unseen: str | None = None

    @property
    def storage(self) -> Storage:
        """The storage of the store."""
        return self.store.storage

    @property
    def nbytes(self) -> int:
        """Size of the files whose size is known."""
        return sum(size or 0 for _, size in self.files)

    def read(self, key: str) -> bytes | None:
        """Read a file; where no listing has its size, compare it with that of the file if it may be incomplete."""
        data, storage = self.storage.read(key), self.storage
        if data is None or not isinstance(storage, ListedByMetadata) or storage.shows_whole(key, data):
            return data
        return read_whole(storage, key, data)

    def document(self, key: str) -> bytes | None:
        """Return a document in its copied form; None if it was deleted meanwhile.

        Raise StorageError if an array of the node is just being replaced, so that its pixels would not be copied.
        """
        data = self.changed[key] if key in self.changed else self.storage.read(key)
        if data is not None:
            check_replaced_document(self.store, key, data)
        return data


def contents_of(documents: Documents, selection: CopySelection) -> Contents:
    """List a store, or the files that its metadata name; raise InvalidArgumentError for too many possible chunks."""
    storage = documents.storage
    contents = Contents(documents, changed=selection.changed, unseen=unseen(storage))
    files = (
        _files_by_metadata(storage, selection)
        if isinstance(storage, ListedByMetadata)
        else sized_files_below(storage, "", selection.drops)
    )
    for key, size in files:
        if key.rpartition("/")[2] in METADATA_FILES:
            contents.documents.append(key)
        else:
            contents.files.append((key, size))
    contents.documents.sort(key=lambda key: (key.count("/"), natural_order(key)))
    return contents


def _files_by_metadata(
    storage: ListedByMetadata, selection: CopySelection
) -> Iterator[tuple[str, int | None]]:
    """Yield the documents that metadata name, and all chunks that the arrays may have."""
    yield from ((key, None) for key in storage.documents if not selection.drops(key))
    for path, meta in storage.arrays.items():
        if not selection.drops(path):
            for chunk_index in iter_stored_files(storage.unlisted, path, meta):
                yield join(path, meta.chunk_key(chunk_index)), None


@dataclass(frozen=True)
class CopyReport:
    """The result of a copy. True if no file can be missing.

    Attributes
    ----------
    destination : str
        Path or URL of the copy.
    documents, files : int
        Number of metadata documents, and of all other files.
    nbytes : int
        Size of all of them.
    resumed : int
        Number of the files that an earlier run of the same call had copied.
    unseen : str or None
        Why files may be missing: the source cannot be listed, and files that its metadata do not name were not copied.

    Examples
    --------
    >>> import lamella
    >>> report = lamella.copy_store(plate.zgroup.store.root, tmp / "copy.zarr")
    >>> report.documents, bool(report)
    (9, True)
    """

    destination: str
    documents: int = 0
    files: int = 0
    nbytes: int = 0
    resumed: int = 0
    unseen: str | None = None

    def __bool__(self) -> bool:
        return self.unseen is None

    def to_dict(self) -> JSONObject:
        """Return the report as JSON values.

        Examples
        --------
        >>> CopyReport("cells.zarr", documents=1, files=2).to_dict()["files"]
        2
        """
        return {**asdict(self), "complete": bool(self)}
