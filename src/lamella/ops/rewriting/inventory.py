"""List the content of a store that is rewritten: its groups, arrays, and files that belong to neither.

Only paths are stored, and documents are read again, so that a plate of ten thousand fields needs little memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from operator import ge
from typing import TYPE_CHECKING, TypeVar

from lamella.nodes.replacing import check_replaced_document
from lamella.store.keys import METADATA_FILES, ancestors, join, natural_order
from lamella.store.pixels.stored_chunks import index_of_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.documents import Documents
    from lamella.store.metadata.stored_documents import NodeKind
    from lamella.types import Shape

T = TypeVar("T")

_AT_ONCE = 256
"""Number of folders whose documents, or whose content, are requested at once."""


@dataclass
class Inventory:
    """The members of a store, parents before children.

    ``implicit_groups`` are folders without a document that contain nodes; ``files`` are keys of files that Zarr does
    not define, such as OME-XML and notes. ``digest`` is that of all documents.
    """

    groups: list[str] = field(default_factory=list)
    arrays: list[str] = field(default_factory=list)
    implicit_groups: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    digest: str = ""

    def remove(self, node: str) -> None:
        """Remove a node and everything below it."""
        for paths in (self.groups, self.arrays, self.implicit_groups, self.files):
            paths[:] = [path for path in paths if path != node and not path.startswith(f"{node}/")]


def inventory_of(documents: Documents) -> Inventory:
    """List the content of a whole store, one depth after the other; no pixel file is opened or listed."""
    walk = _Walk(documents)
    folders = [""]
    while folders:
        folders = [folder for batch in batched(folders, _AT_ONCE) for folder in walk.visit(batch)]
    return walk.inventory()


class _Walk:
    """The nodes of a store by path, the digests of their documents, and the other folders and files."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.nodes: dict[str, NodeKind] = {}
        self.digests: dict[str, bytes] = {}
        self.folders: list[str] = []
        self.files: list[str] = []

    def visit(self, paths: Sequence[str]) -> Iterator[str]:
        """Add the nodes and files of some folders; yield the folders in them."""
        documents, storage = self.documents, self.documents.storage
        storage.request_ahead([join(path, file) for path in paths for file in documents.files.document_names])
        for path in paths:
            kind = documents.kind(path)
            if kind is not None:
                self.nodes[path] = kind
                self.digests[path] = self._digest(path, kind)
        groups_and_folders = [path for path in paths if self.nodes.get(path) != "array"]
        for path, names in zip(groups_and_folders, storage.members_of_each(groups_and_folders), strict=True):
            if path not in self.nodes:
                self.folders.append(path)
            for name, is_file in names.items():
                if path in self.nodes and name in METADATA_FILES:
                    continue
                if is_file:
                    self.files.append(join(path, name))
                else:
                    yield join(path, name)

    def _digest(self, path: str, kind: NodeKind) -> bytes:
        documents, digest = self.documents, hashlib.sha256()
        cached_files = (
            documents.files.array if kind == "array" else documents.files.group,
            documents.files.attributes,
        )
        for file in documents.files.document_names:
            data = (
                documents.data(path, file)
                if file in cached_files
                else documents.storage.read(join(path, file))
            )
            if data is not None:
                check_replaced_document(self.documents, join(path, file), data)
                digest.update(f"{path}/{file} {len(data)}\n".encode() + data)
        return digest.digest()

    def inventory(self) -> Inventory:
        """Return the members of the visited folders, each folder followed by all below it."""
        ancestors_of_nodes = {folder for path in self.nodes for folder in ancestors(path)}
        inventory = Inventory(
            [path for path, kind in self.nodes.items() if kind == "group"],
            [path for path, kind in self.nodes.items() if kind == "array"],
            [path for path in self.folders if path in ancestors_of_nodes],
            self.files,
            hashlib.sha256(b"".join(self.digests[path] for path in sorted(self.digests))).hexdigest(),
        )
        for paths in (inventory.groups, inventory.arrays, inventory.implicit_groups, inventory.files):
            paths.sort(key=lambda path: [natural_order(name) for name in path.split("/")])
        return inventory


def batched(items: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    """Yield up to ``count`` items at a time."""
    for start in range(0, len(items), count):
        yield items[start : start + count]


def group_of_other_program(path: str, groups: Iterable[str], is_ome: Callable[[str], bool]) -> str:
    """Return the largest group that contains an array of another program, and no group with OME-Zarr metadata.

    Such a group, a table for example, is copied or left out as a whole. Return the array itself if it is in an image.

    >>> groups = ["", "A", "A/1", "A/1/0", "A/1/0/tables", "A/1/0/tables/obs"]
    >>> group_of_other_program("A/1/0/tables/obs/_index", groups, {"", "A/1", "A/1/0"}.__contains__)
    'A/1/0/tables'
    """
    ome_groups = [ome_group for ome_group in groups if is_ome(ome_group)]
    for group in ancestors(path)[1:]:
        if not any(ome_group == group or ome_group.startswith(f"{group}/") for ome_group in ome_groups):
            return group
    return path


def files_of_array(
    documents: Documents, path: str, meta: ArrayMeta, keys: Iterable[str] | None = None
) -> Iterator[tuple[str, Shape | None]]:
    """Yield the keys of files in an array's folder (not documents), with the chunk index, or None for other files.

    ``keys`` are all keys in the folder if they have been listed.
    """
    storage = documents.storage
    if keys is None and storage.can_list and storage.lists_below:
        keys = storage.keys_below(path)
    if keys is not None:
        for key in keys:
            chunk_index = _index_in_grid(relative_key(key, path), meta)
            if chunk_index is not None or key.rpartition("/")[2] not in METADATA_FILES:
                yield key, chunk_index
        return
    pending = [""]
    while pending:
        folder = pending.pop()
        for name in storage.list(join(path, folder)):
            key = join(folder, name)
            chunk_index = _index_in_grid(key, meta)
            if chunk_index is not None:
                yield join(path, key), chunk_index
            elif storage.size(join(path, key)) is None:
                pending.append(key)
            elif name not in METADATA_FILES:
                yield join(path, key), None


def relative_key(key: str, path: str) -> str:
    """Return a key relative to the folder that it is in."""
    return key[len(path) :].strip("/")


def _index_in_grid(key: str, meta: ArrayMeta) -> Shape | None:
    """Return the chunk index of a file of an array, by its key below the array; None for a file that is not a chunk."""
    chunk_index = index_of_key(key, meta)
    return None if chunk_index is None or any(map(ge, chunk_index, meta.grid)) else chunk_index
