"""Create stores: check what is at the path before any change, then write the first document."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, MetadataError, StoreExistsError
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.spec.own_key import with_creating
from lamella.spec.versions import by_name
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.documents import Documents
from lamella.store.metadata.missing_document import check_unfinished_copy

if TYPE_CHECKING:
    from lamella.nodes.node import NGFFNode
    from lamella.nodes.open_request import OpenRequest
    from lamella.store.storage import Storage
    from lamella.types import JSONObject


def create_store(
    storage: Storage, request: OpenRequest, layout_classes: dict[str, type[NGFFNode]]
) -> NGFFNode | None:
    """Create a store and return its root; None if mode "a" should open the one that another process created."""
    version = by_name(request.version)
    if request.layout in layout_classes:
        request.check_class_options(layout_classes[request.layout])
    request.check_new_store(storage.name)
    has_content = _check_target(storage, request.mode, request.disable_path_checking)
    # Create the node and its first document before any change, so that invalid arguments change nothing.
    store_handle = StoreHandle(Documents.create(storage, version.zarr_format), version, strict=request.strict)
    node_type = layout_classes[request.layout]
    node = node_type(NodePath(store_handle, ""), **{**request.node_options, "parse_meta": False})
    attributes = with_creating(node._first_attributes(), request.creation_token)
    document = store_handle.documents.prepared("", attributes)
    if request.mode == "w":
        if has_content:
            storage.delete("")
        with storage.reading_once(""):
            store_handle.documents.put_groups({"": attributes}, is_new=True)
            storage.note_created()
    elif not _create_root(store_handle.documents, attributes, request.mode):
        return None
    node._adopt_document(document, None)
    return node


def _create_root(documents: Documents, attributes: JSONObject, mode: str) -> bool:
    """Write the first document; return False if another process created the store and mode "a" should open it."""
    storage = documents.storage
    with storage.lock(""):
        if Documents.open(storage) is None and documents.put_root(attributes):
            storage.note_created()
            return True
    if mode == "a":
        return False
    raise StoreExistsError(
        f"Cannot create {storage.name}: another process created it meanwhile. Use mode='a' to open it, or another path."
    )


def _check_target(storage: Storage, mode: str, disable_path_checking: bool) -> bool:
    """Raise if the path has content that the mode may not replace; return whether it has content."""
    if isinstance(storage, LocalStorage):
        _check_folder(storage.root, mode)
    if not storage.exists(""):
        return False
    if mode == "w-":
        raise StoreExistsError(
            f"Cannot create {storage.name}: it exists. Use mode='a' to open it, or another path."
        )
    if mode == "a":
        check_unfinished_copy(storage)
    if mode == "a" and storage.list(""):
        raise MetadataError(
            f"{storage.name} exists but is not a Zarr store, so mode 'a' neither opens nor replaces it. "
            "Choose another path."
        )
    if mode == "w" and not disable_path_checking:
        advice = "Give another path, or disable_path_checking=True if everything in it may be lost."
        if isinstance(storage, LocalStorage) and ".zarr" not in storage.name:
            raise InvalidArgumentError(
                f"Will not overwrite {storage.name}: its path has no '.zarr' in it. {advice}"
            )
        if Documents.open(storage) is None and storage.list(""):
            check_unfinished_copy(storage)
            raise InvalidArgumentError(f"Will not overwrite {storage.name}: it is not a Zarr store. {advice}")
    return True


def _check_folder(root: str, mode: str) -> None:
    """Raise for a file; in mode "w" also for a symbolic link, because its target is never deleted."""
    if mode == "w-" and os.path.lexists(root):
        raise StoreExistsError(f"Cannot create {root}: it exists. Use mode='a' to open it, or another path.")
    if os.path.islink(root) and (mode == "w" or not os.path.exists(root)):
        raise InvalidArgumentError(
            f"Cannot create {root} with mode {mode!r}: it is a symbolic link to {os.path.realpath(root)}. "
            "Give the path of that folder instead of the link."
        )
    if os.path.lexists(root) and not os.path.isdir(root):
        raise InvalidArgumentError(
            f"Cannot create {root} with mode {mode!r}: it is a file, and a store is a folder. Give another path."
        )
