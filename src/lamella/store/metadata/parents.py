"""Find the groups above the root of a store, such as the plate of a well that was opened by itself.

Only local folders have groups above; stores at URLs, in archives or in memory have none.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError
from lamella.store.files.local import LocalStorage, folders_above, has_documents
from lamella.store.metadata.documents import Documents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.storage import Storage


def group_above(storage: Storage, levels: int, *, read_only: bool | None = None) -> Documents | None:
    """Open the group that lies `levels` folders above the root of a store; None if missing."""
    if not isinstance(storage, LocalStorage) or not path_below(storage, levels):
        return None
    folder = storage.root
    for _ in range(levels):
        folder = os.path.dirname(folder)
    documents = Documents.open(storage.beside(folder, read_only=read_only))
    return documents if documents is not None and documents.kind("") == "group" else None


def path_below(storage: Storage, levels: int) -> str:
    """Return the path of a store's root relative to the folder `levels` above it; "" where there are fewer folders."""
    names = storage.root.strip(os.sep).split(os.sep) if isinstance(storage, LocalStorage) else []
    return "/".join(names[-levels:]) if len(names) >= levels else ""


def groups_above(folder: str) -> Iterator[str]:
    """Yield the folders above that are groups of the same store, nearest first."""
    for above in folders_above(folder):
        documents = Documents.open(LocalStorage(above, read_only=True))
        if documents is not None and documents.kind("") == "group":
            yield above


def refuse_in_store(path: str, read: Storage | None = None) -> None:
    """Raise `InvalidArgumentError` where a file would lie in a store, also through links.

    The root of the storage `read` counts as a store even without documents.
    """
    root = read.root if isinstance(read, LocalStorage) else None
    folder = os.path.realpath(path)
    while folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        if has_documents(folder) or (
            root is not None and os.path.exists(folder) and os.path.samefile(folder, root)
        ):
            raise InvalidArgumentError(
                f"Cannot write {path}: it would be a file of the store {folder}. Choose a place outside of it."
            )
