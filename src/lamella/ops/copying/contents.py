"""What is copied of a store: its documents, and all other files.

Layer: ops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.ops.known_members import unseen
from lamella.store.formats import METADATA_FILES
from lamella.store.keys import is_private, join, natural_order
from lamella.store.known_storage import KnownStorage
from lamella.store.stored_chunks import stored_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.ops.copying.selection import Part
    from lamella.store.documents import Documents
    from lamella.store.storage import Storage


@dataclass
class Contents:
    """What is copied.

    Attributes
    ----------
    documents
        Keys of the documents, breadth first: the root's first.
    files
        Keys and sizes of all other files, in natural order; the size is None of a chunk that may not be there.
    changed
        Documents by key that differ from those that are stored, because only a part is copied.
    unseen
        Why something may be missing; None where the store lists all that it holds.
    """

    storage: Storage
    documents: list[str] = field(default_factory=list)
    files: list[tuple[str, int | None]] = field(default_factory=list)
    changed: dict[str, bytes] = field(default_factory=dict)
    unseen: str | None = None

    @property
    def nbytes(self) -> int:
        """Size of the files whose size is known."""
        return sum(size or 0 for _, size in self.files)

    def document(self, key: str) -> bytes | None:
        """Return a document as it is copied; None where it was deleted meanwhile."""
        return self.changed[key] if key in self.changed else self.storage.read(key)


def contents_of(documents: Documents, part: Part) -> Contents:
    """List the content of a store, or what its metadata name.

    Raises
    ------
    InvalidArgumentError
        It cannot be listed, and has more chunks than can be asked for.
    StorageError
        It cannot be read now.
    """
    storage = documents.storage
    contents = Contents(storage, changed=part.changed, unseen=unseen(storage))
    found = _known(storage, part) if isinstance(storage, KnownStorage) else _stored(storage, part, "")
    for key, size in found:
        if key.rpartition("/")[2] in METADATA_FILES:
            contents.documents.append(key)
        else:
            contents.files.append((key, size))
    contents.documents.sort(key=lambda key: (key.count("/"), natural_order(key)))
    return contents


def _stored(storage: Storage, part: Part, folder: str) -> Iterator[tuple[str, int | None]]:
    """Yield the files below a folder, with one listing of all where the store can."""
    if storage.lists_below:
        sizes = storage.sizes_below(folder)
        for key in sorted(sizes, key=natural_order):
            if not part.drops(key) and not any(map(is_private, key.split("/"))):
                yield key, sizes[key]
        return
    for name in storage.list(folder):
        key = join(folder, name)
        if key in part.dropped:
            continue
        size = storage.size(key)
        if size is not None:
            yield key, size
        else:
            yield from _stored(storage, part, key)


def _known(storage: KnownStorage, part: Part) -> Iterator[tuple[str, int | None]]:
    """Yield the documents that metadata name, and all chunks that the arrays may have."""
    yield from ((key, None) for key in storage.documents if not part.drops(key))
    for path, meta in storage.arrays.items():
        if not part.drops(path):
            for place in stored_places(storage.unlisted, path, meta):
                yield join(path, meta.chunk_key(place)), None
