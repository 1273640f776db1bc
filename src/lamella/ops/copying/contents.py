"""List the documents and files of a store that are copied, and report what was copied."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from lamella.nodes.replacing import check_replaced_document
from lamella.ops.known_members import unseen
from lamella.store.keys import METADATA_FILES, is_private, join, natural_order
from lamella.store.known_storage import KnownStorage
from lamella.store.stored_chunks import iter_stored_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.ops.copying.selection import CopySelection
    from lamella.store.documents import Documents
    from lamella.store.storage import Storage
    from lamella.types import JSONObject


@dataclass
class Contents:
    """The documents (keys, breadth first) and all other files (keys and sizes) that are copied.

    The size of a chunk that may not exist is None. ``changed`` has documents that differ from the stored ones, because
    only a part is copied. ``unseen`` says why files may be missing; None if the store lists all of them.
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

    def document(self, key: str) -> bytes | None:
        """Return a document in its copied form; None if it was deleted. Raise where its array is not copied."""
        data = self.changed[key] if key in self.changed else self.storage.read(key)
        if data is not None:
            check_replaced_document(self.store, key, data)
        return data


def contents_of(documents: Documents, selection: CopySelection) -> Contents:
    """List a store, or the files that its metadata name; raise InvalidArgumentError for too many possible chunks."""
    storage = documents.storage
    contents = Contents(documents, changed=selection.changed, unseen=unseen(storage))
    files = (
        _known(storage, selection) if isinstance(storage, KnownStorage) else _stored(storage, selection, "")
    )
    for key, size in files:
        if key.rpartition("/")[2] in METADATA_FILES:
            contents.documents.append(key)
        else:
            contents.files.append((key, size))
    contents.documents.sort(key=lambda key: (key.count("/"), natural_order(key)))
    return contents


def _stored(storage: Storage, selection: CopySelection, folder: str) -> Iterator[tuple[str, int | None]]:
    """Yield the files below a folder, with a single listing if the store supports it."""
    if storage.lists_below:
        sizes = storage.sizes_below(folder)
        for key in sorted(sizes, key=natural_order):
            if not selection.drops(key) and not any(map(is_private, key.split("/"))):
                yield key, sizes[key]
        return
    for name in storage.list(folder):
        key = join(folder, name)
        if key in selection.dropped:
            continue
        size = storage.size(key)
        if size is not None:
            yield key, size
        else:
            yield from _stored(storage, selection, key)


def _known(storage: KnownStorage, selection: CopySelection) -> Iterator[tuple[str, int | None]]:
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
