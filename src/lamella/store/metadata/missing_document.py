"""Recognise a node whose metadata document is missing although its content is stored, and describe how to restore it.

``A/02/0`` with the folders ``0`` and ``labels`` but without ``zarr.json`` is such a node: its pixels are intact.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, StorageError, first_of
from lamella.store.keys import METADATA_FILES, PRIVATE_PREFIX, V2, V3, is_private, join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.store.metadata.documents import Documents
    from lamella.store.metadata.stored_documents import NodeKind
    from lamella.store.storage import Storage

_MAX_NAMES = 8

COPY_JOURNAL = f"{PRIVATE_PREFIX}copy"
"""Key of the journal of a copy in a store that is not a folder; the documents of the root are written last."""
_SIMILAR: dict[NodeKind, str] = {
    "group": "a similar group, such as another field with the same channels and levels",
    "array": "an array with the same shape, data type and chunks",
}


def content_of(storage: Storage, path: str) -> list[str]:
    """Return the names in a folder beside metadata documents; empty if it is missing or cannot be listed."""
    with suppress(LamellaError, OSError, ValueError):
        return [name for name in storage.list(path) if name not in METADATA_FILES and not is_private(name)]
    return []


def documents_of(zarr_format: int | None, kind: NodeKind) -> str:
    """Return the names of the documents of a node, for messages, such as ``.zgroup and .zattrs``."""
    if zarr_format == 3:
        return V3.group
    return V2.array if kind == "array" else f"{V2.group} and {V2.attributes}"


def how_to_restore(documents: str, kind: NodeKind) -> str:
    """Return what to do about missing documents of a node."""
    pronoun = "them" if " and " in documents else "it"
    return f"restore {documents} from a backup, or copy {pronoun} from {_SIMILAR[kind]}"


def content_without_document(documents: Documents, path: str, kind: NodeKind | None = None) -> str | None:
    """Describe a folder with content but without the documents of its node; None if there is no such folder."""
    names = content_of(documents.storage, path)
    if not names:
        return None
    if kind is None:
        kind = "group" if has_nodes(documents.storage, path, names) else "array"
    files = documents_of(documents.format, kind)
    verb = "are" if " and " in files else "is"
    return (
        f"The folder {documents.storage.where(path)} has content ({first_of(names)}), but {files} {verb} missing: "
        f"{how_to_restore(files, kind)}."
    )


def has_nodes(storage: Storage, path: str, names: Sequence[str]) -> bool:
    """Whether one of the first names in a folder is a Zarr node."""
    files = (V3.group, V2.array, V2.group, V2.attributes)
    with suppress(LamellaError, OSError, ValueError):
        return any(
            storage.size(join(join(path, name), file)) is not None
            for name in names[:_MAX_NAMES]
            for file in files
        )
    return False


def check_unfinished_copy(storage: Storage) -> None:
    """Raise `StorageError` for a root without documents into which a store is being copied."""
    try:
        is_begun = storage.size(COPY_JOURNAL) is not None
    except LamellaError:
        return
    if is_begun:
        raise StorageError(
            f"Cannot open {storage.name}: a new store is being written there, and is not complete. A store that it "
            "replaces is deleted. The call that writes it is running, or it failed or was killed: wait, or make that "
            "call again, which finishes it."
        )


def explain_missing_attributes(documents: Documents, path: str) -> str:
    """Return a sentence about a Zarr v2 group without ``.zattrs``, after a space; empty for other groups."""
    if documents.format == 3 or documents.document(path, V2.attributes) is not None:
        return ""
    return f" {V2.attributes} is missing: if it existed, {how_to_restore(V2.attributes, 'group')}."


def explain_missing_metadata(storage: Storage) -> str:
    """Describe a root without metadata documents: a damaged store, or another folder."""
    names = [name for name in content_of(storage, "") if ".zarr" not in name.lower()]
    files = f"{V3.group}, or {V2.group} and {V2.attributes}"
    if has_nodes(storage, "", names):
        return (
            f"its members ({first_of(names)}) are those of a Zarr group, but its metadata document ({files}) "
            f"is missing. If it is an OME-Zarr store, {how_to_restore('the document', 'group')}. If it is not, use "
            "the path of the store."
        )
    return ""
