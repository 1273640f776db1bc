"""Open the source and check the destination of a rewritten store."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from lamella.errors import (
    InvalidArgumentError,
    MetadataError,
    ReadOnlyError,
    StorageError,
    StoreExistsError,
    StoreNotFoundError,
)
from lamella.ops.known_members import listable
from lamella.store.files.archives import is_archive_name
from lamella.store.files.local import LocalStorage
from lamella.store.keys import DOCUMENTS, join
from lamella.store.metadata.documents import Documents
from lamella.store.metadata.missing_document import check_unfinished_copy, explain_missing_metadata
from lamella.store.metadata.parents import groups_above
from lamella.store.paths import local_path
from lamella.store.storage import open_storage

if TYPE_CHECKING:
    from zarr.abc.store import Store

    from lamella.store.storage import Storage
    from lamella.types import StrPath


def open_source(source: StrPath | Store, *, follow_links: bool = False) -> Documents:
    """Open a store, or a group in one, for reading."""
    storage = open_storage(source, read_only=True, follow_links=follow_links)
    documents = Documents.open(storage)
    if documents is None:
        check_unfinished_copy(storage)
        if storage.exists(""):
            if reason := explain_missing_metadata(storage):
                raise MetadataError(f"Cannot open {storage.name}: {reason}")
            raise MetadataError(
                f"{storage.name} has no Zarr metadata (zarr.json, .zgroup or .zarray), so it is not a store. "
                "Use the path of the folder with these files."
            )
        raise StoreNotFoundError(f"There is no store at {storage.name}. Check the path.")
    documents = Documents(listable(storage), documents.format)
    documents.always_read_twice()
    return documents


def rewritten_path(source: Storage, destination: StrPath | Store | None) -> str:
    """Return the absolute path of a rewritten store, by default that of the source; its parent may be missing.

    Raise for a path inside the source, and for a source that cannot be replaced.
    """
    source_root = os.path.realpath(source.root) if isinstance(source, LocalStorage) else None
    if destination is None:
        if source_root is None:
            raise InvalidArgumentError(
                f"{source.name} is not a local folder, so it cannot be replaced by a new store: use a destination."
            )
        _check_replaceable(source, source_root)
        return source_root
    parent, name = os.path.split(local_path(destination, "the destination"))
    if not name:
        raise InvalidArgumentError(f"{parent} cannot be the name of a store.")
    path = os.path.join(os.path.realpath(parent), name)
    resolved = os.path.realpath(path)
    if source_root == resolved:
        raise InvalidArgumentError(
            f"The destination is the source, {resolved}: choose another name. To replace the store, name no "
            "destination (on the command line: --in-place instead)."
        )
    if source_root is not None:
        check_apart(source_root, resolved)
    return path


def make_folder(path: str) -> None:
    """Create a folder and missing folders above it; raise if nothing can be written into it."""
    try:
        os.makedirs(path, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(
            f"The folder {path} cannot be created: there is a file in its place, or in that of a folder above it. "
            "Choose another path.",
            error.errno,
        ) from error
    except OSError as error:
        raise StorageError(
            f"The folder {path} cannot be created: {error.strerror or error}.", error.errno
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StorageError(
            f"Nothing can be written into the folder {path}: no permission. Choose another path.",
            errno.EACCES,
        )


def already_exists(name: str) -> StoreExistsError:
    """Return the error for an existing destination."""
    return StoreExistsError(
        f"{name} exists already: choose another name, or replace it with overwrite=True (--overwrite)."
    )


def not_a_store(name: str) -> StoreExistsError:
    """Return the error for a destination that is not a Zarr store."""
    return StoreExistsError(f"{name} is not replaced, because it is not a Zarr store: choose another name.")


def check_destination(path: str, *, overwrite: bool) -> None:
    """Raise for a path that cannot be that of a folder with a store, or exists and must not be replaced."""
    if not os.path.basename(path):
        raise InvalidArgumentError(f"{path} cannot be the name of a store.")
    if is_archive_name(path) and not os.path.isdir(path):
        raise InvalidArgumentError(
            f"{path} has the name of an archive, which this command does not write: write a folder, and then "
            "`lamella pack` it."
        )
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise already_exists(path)
    if os.path.islink(path):
        raise StoreExistsError(
            f"{path} is not replaced, because it is a symbolic link: use the folder that it leads to."
        )
    old_store = LocalStorage(path, follow_links=True)  # nothing is read, and a replaced store may have links
    is_store = any(old_store.size(name) is not None for name in DOCUMENTS)
    if not is_store and (not os.path.isdir(path) or old_store.list("")):
        raise not_a_store(path)
    if ".zarr" not in path:
        raise StoreExistsError(
            f"{path} is not replaced, because its name has no .zarr in it: delete it yourself, or choose another name."
        )


def _check_replaceable(storage: Storage, root: str) -> None:
    parent = os.path.dirname(root)
    root_exists = os.path.lexists(root)
    writable = os.access(parent, os.W_OK) and (not root_exists or os.access(root, os.W_OK))
    if storage.read_only or not writable:
        raise ReadOnlyError(
            f"{storage.name} cannot be replaced: it is read-only, or its parent folder is. "
            "Choose a destination elsewhere."
        )
    storage.check_deletable("")
    if root == parent or os.path.ismount(root):
        raise InvalidArgumentError(f"{root} cannot be moved aside to be replaced: use a destination.")


def check_stores_apart(source: Storage, target: Storage, path: str = "") -> None:
    """Do `check_apart` for two stores, or a folder in the first, by their identities and by their names."""
    for first, second in ((source.identity, target.identity), (source.name, target.name)):
        check_apart(join(first.rstrip("/"), path), second.rstrip("/"), (source.where(path), target.name))


def check_apart(source: str, target: str, names: tuple[str, str] | None = None) -> None:
    """Raise InvalidArgumentError if a new store is its source or lies in it, or the source in it.

    Both are paths without links, or identities of stores; messages use ``names``.
    """
    source_name, target_name = names or (source, target)
    if source == target:
        target_text = "" if source_name == target_name else f", {target_name},"
        raise InvalidArgumentError(
            f"The destination{target_text} is the source, {source_name}: choose another one."
        )
    if target.startswith((f"{source}/", f"{source}{os.sep}")):
        raise InvalidArgumentError(
            f"{target_name} would lie inside of its source, {source_name}: choose another destination."
        )
    if source.startswith((f"{target}/", f"{target}{os.sep}")):
        raise InvalidArgumentError(
            f"The source, {source_name}, lies inside of {target_name}: choose another destination."
        )


def remove_consolidated_above(path: str) -> None:
    """Remove the consolidated metadata of groups above a path: they describe the old arrays."""
    for group_path in groups_above(path):
        documents = Documents.open(LocalStorage(group_path))
        if documents is not None:
            documents.edit_group("", lambda attributes: attributes)  # every edit removes them
