"""List the content of a store that is rewritten: its groups, arrays, and files that belong to neither.

Only paths are stored, so that a plate of ten thousand fields needs little memory; documents are read again when they
are needed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.store.formats import METADATA_FILES, V2
from lamella.store.keys import ancestors, join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.documents import Documents
    from lamella.types import Shape


_MOST_AHEAD = 64
"""Maximum number of members of a group whose documents are requested before they are visited."""


@dataclass
class Inventory:
    """The members of a store, parents before children.

    ``bare`` are folders without a document that contain nodes; ``files`` are keys of files outside of Zarr: tables,
    OME-XML, notes. ``digest`` covers all documents.
    """

    groups: list[str] = field(default_factory=list)
    arrays: list[str] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    digest: str = ""

    def without(self, part: str) -> None:
        """Remove a node and everything below it."""
        for paths in (self.groups, self.arrays, self.bare, self.files):
            paths[:] = [path for path in paths if path != part and not path.startswith(f"{part}/")]


def inventory_of(documents: Documents) -> Inventory:
    """List the content of a whole store; no pixel file is opened or listed."""
    walk = _Walk(documents)
    walk.visit("")
    walk.inventory.digest = walk.hash.hexdigest()
    return walk.inventory


class _Walk:
    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.inventory = Inventory()
        self.hash = hashlib.sha256()

    def visit(self, path: str) -> bool:
        """Visit a folder and everything below it; return whether it has a node."""
        storage, inventory = self.documents.storage, self.inventory
        storage.expect([join(path, file) for file in METADATA_FILES])  # in one round on remote stores
        kind = self.documents.kind(path)
        if kind is not None:
            for file in METADATA_FILES:
                data = storage.read(join(path, file))
                if data is not None and file != V2.consolidated:
                    self.hash.update(f"{path}/{file} {len(data)}\n".encode() + data)
        if kind == "array":
            inventory.arrays.append(path)
            return True
        if kind == "group":
            inventory.groups.append(path)
        has_nodes = False
        names = storage.list(path)
        keys = [join(path, name) for name in names if not (kind == "group" and name in METADATA_FILES)]
        sizes = storage.sizes(keys)
        folders = [key for key, size in zip(keys, sizes, strict=True) if size is None]
        if len(folders) <= _MOST_AHEAD:
            storage.expect([join(key, file) for key in folders for file in METADATA_FILES])
        for key, size in zip(keys, sizes, strict=True):
            if size is None:
                has_nodes |= self.visit(key)
            else:
                inventory.files.append(key)
        if kind is None and has_nodes:
            inventory.bare.append(path)
        return kind is not None or has_nodes


def part_of_others(path: str, groups: Iterable[str], is_ome: Callable[[str], bool]) -> str:
    """Return the largest group without OME-Zarr metadata that contains an array of another program, such as a table.

    The group can only be copied or left out as a whole. An array directly in an image is a part of its own.

    >>> groups = ["", "A", "A/1", "A/1/0", "A/1/0/tables", "A/1/0/tables/obs"]
    >>> part_of_others("A/1/0/tables/obs/_index", groups, {"", "A/1", "A/1/0"}.__contains__)
    'A/1/0/tables'
    """
    ome = [group for group in groups if is_ome(group)]
    for above in ancestors(path)[1:]:
        if not any(group == above or group.startswith(f"{above}/") for group in ome):
            return above
    return path


def files_of_array(documents: Documents, path: str, meta: ArrayMeta) -> Iterator[tuple[str, Shape | None]]:
    """Yield the keys of files in an array's folder (not documents), with the chunk index, or None for other files."""
    storage = documents.storage
    if storage.can_list and storage.lists_below:
        for key in storage.keys_below(path):
            chunk_index = chunk_index_of_key(key[len(path) :].strip("/"), meta)
            if chunk_index is not None or key.rpartition("/")[2] not in METADATA_FILES:
                yield key, chunk_index
        return
    pending = [""]
    while pending:
        folder = pending.pop()
        for name in storage.list(join(path, folder)):
            key = join(folder, name)
            chunk_index = chunk_index_of_key(key, meta)
            if chunk_index is not None:
                yield join(path, key), chunk_index
            elif storage.size(join(path, key)) is None:
                pending.append(key)
            elif name not in METADATA_FILES:
                yield join(path, key), None


def moved_files(
    documents: Documents, path: str, old: ArrayMeta, new: ArrayMeta, target: str
) -> Iterator[tuple[str, str]]:
    """Yield the old and new key of each file of an array that is copied unchanged."""
    for key, chunk_index in files_of_array(documents, path, old):
        below = key[len(path) :].strip("/") if chunk_index is None else new.chunk_key(chunk_index)
        yield key, join(target, below)


def chunk_index_of_key(key: str, meta: ArrayMeta) -> Shape | None:
    """Return the chunk index of a file of an array, by its key below the array; None for a file that is not a chunk.

    >>> import numpy as np
    >>> from lamella.store.array_meta import ArrayMeta
    >>> meta = ArrayMeta((4, 4), np.dtype("u1"), (2, 2))
    >>> chunk_index_of_key("c/1/0", meta), chunk_index_of_key("c/2/0", meta), chunk_index_of_key("c/1", meta)
    ((1, 0), None, None)
    """
    numbers = key.replace("/", ".").split(".")
    numbers = numbers[len(numbers) - meta.ndim :] if meta.ndim else []
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return None
    chunk_index = tuple(int(number) for number in numbers)
    inside = len(chunk_index) == meta.ndim and all(k < n for k, n in zip(chunk_index, meta.grid, strict=True))
    return chunk_index if inside and meta.chunk_key(chunk_index) == key else None
