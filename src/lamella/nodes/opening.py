"""Open stores, for :mod:`lamella.nodes.open`: existing ones here, new ones by :mod:`store_creation`.

A new store can have a token in its document until it is complete (`create_unfinished`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lamella.errors import (
    InvalidArgumentError,
    MetadataError,
    NodeNotFoundError,
    ReadOnlyError,
    StoreExistsError,
    StoreNotFoundError,
    did_you_mean,
    warn,
)
from lamella.nodes.metadata_document import unusable_error
from lamella.nodes.node_classes import is_row_of_plate, node_class
from lamella.nodes.open_request import OpenRequest
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position, has_no_arrays_yet
from lamella.nodes.reporting import check_formats
from lamella.nodes.store_creation import create_store
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.tiled import TiledPosition
from lamella.nodes.well import Row
from lamella.spec.own_key import read_creating, with_creating
from lamella.spec.versions import detect
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import is_abandoned
from lamella.store.files.zip_storage import ZipStorage
from lamella.store.keys import METADATA_FILES, V2, V3
from lamella.store.metadata.documents import Documents
from lamella.store.metadata.json_document import parse_object
from lamella.store.metadata.missing_document import (
    check_unfinished_copy,
    explain_missing_attributes,
    explain_missing_metadata,
)
from lamella.store.metadata.parents import group_above, path_below
from lamella.store.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zarr.abc.store import Store

    from lamella.nodes.node import NGFFNode
    from lamella.spec.axes import AxisMeta
    from lamella.store.metadata.json_document import StoredGroup
    from lamella.store.storage import Stamp, Storage
    from lamella.types import Layout, Mode, StrPath, VersionName

_LAYOUT_CLASSES: dict[str, type[NGFFNode]] = {"fov": Position, "hcs": Plate, "tiled": TiledPosition}
"""Class of the root for each layout but "auto"."""


def open_store(store_path: StrPath | Store, request: OpenRequest) -> NGFFNode:
    """Open or create a store; see :func:`lamella.open_ome_zarr`."""
    request = request.checked()
    layout, mode = request.layout, request.mode
    storage = _open_checked_storage(store_path, request)
    storage.cache_bytes = request.cache_bytes
    storage.trusted = {} if request.recheck == "open" and mode == "r" else None
    if mode in ("r", "r+", "a"):
        documents = Documents.open(storage)
        if documents is not None:
            return _open_root(documents, request)
        row_path = _row_path(storage, request.strict) if layout == "auto" else None
        if row_path is not None:
            request.check_class_options(Row)
            # The folder of a row may have no document, so there is nothing to parse.
            return Row(row_path, **{"parse_meta": False, **request.node_options})
    if mode in ("r", "r+") or (mode == "a" and layout == "auto"):
        raise _not_found_error(storage, mode)
    node = create_store(storage, request, _LAYOUT_CLASSES)
    if node is None:  # another process has created the store
        return open_store(store_path, request)
    return node


def create_unfinished(
    store_path: StrPath | Store,
    layout: Layout,
    mode: Mode,
    token: str | None,
    *,
    channel_names: Sequence[str],
    axes: Sequence[AxisMeta],
    version: VersionName,
) -> Any:
    """Create a store whose document has a token until it is complete; replace the store of a call that was killed.

    The token is a temporary name (`temporary_files`), which shows whether its process still runs. It is None for a
    store that is moved to its path when it is complete.
    """
    request = OpenRequest(
        layout, mode, channel_names=channel_names, axes=axes, version=version, creation_token=token
    )
    try:
        return open_store(store_path, request)
    except StoreExistsError:
        if token is None or not _is_abandoned_creation(open_storage(store_path)):
            raise
    return open_store(store_path, replace(request, mode="w"))


def _is_abandoned_creation(storage: Storage) -> bool:
    """Return whether a store has the token of a call that failed, or was killed on this machine."""
    for name in (V3.group, V2.attributes):
        encoded = storage.read(name)
        if encoded is not None:
            document = parse_object(encoded, storage.name, name)
            attributes = document.get("attributes") if name == V3.group else document
            token = read_creating(attributes) if isinstance(attributes, dict) else None
            return token is not None and is_abandoned(token)
    return False


def _open_checked_storage(store_path: StrPath | Store, request: OpenRequest) -> Storage:
    mode, durability = request.mode, request.durability
    storage = open_storage(
        store_path,
        read_only=mode == "r",
        fsync=durability == "fsync",
        follow_links=request.disable_path_checking,
        storage_options=request.storage_options,
        must_exist=mode in ("r", "r+"),
    )
    _check_storage(storage, store_path, mode, durability)
    return storage


def _check_storage(storage: Storage, store_path: object, mode: str, durability: str) -> None:
    """Raise for writing to a read-only storage, and for flushing a store that is not a folder."""
    if mode != "r" and isinstance(storage, ZipStorage):
        storage.check_writable("")
    # A URL of a web server. A read-only store object of zarr-python is opened, and raises when it is written to.
    if mode != "r" and storage.read_only and isinstance(store_path, str):
        raise ReadOnlyError(
            f"Cannot open {storage.name} with mode {mode!r}: it can only be read. Use mode='r', or a copy."
        )
    if durability == "fsync" and not isinstance(storage, LocalStorage) and mode != "r":
        raise InvalidArgumentError(
            f"Cannot open {storage.name} with durability='fsync': only folders can be flushed to the disk. Services "
            "such as S3 store a write before they answer; leave durability out."
        )


def _not_found_error(storage: Storage, mode: str) -> Exception:
    if isinstance(storage, LocalStorage) and os.path.isfile(storage.root):
        return MetadataError(
            f"Cannot open {storage.name}: it is a file, and an OME-Zarr store is a folder, or an archive named .ozx or "
            ".zip. Convert a file of a microscope by `lamella convert`."
        )
    if (
        isinstance(storage, LocalStorage)
        and os.path.islink(storage.root)
        and not os.path.exists(storage.root)
    ):
        return StoreNotFoundError(
            f"There is no store at {storage.name}: it is a symbolic link to {os.readlink(storage.root)}, which is "
            "missing. Restore that folder, or correct the link."
        )
    check_unfinished_copy(storage)
    if storage.exists(""):
        if explanation := explain_missing_metadata(storage):
            return MetadataError(f"Cannot open {storage.name}: {explanation}")
        return MetadataError(
            f"Cannot open {storage.name}: it has no Zarr metadata (zarr.json, .zgroup or .zarray), so it is not an "
            "OME-Zarr store. Give the path of the folder that contains them."
        )
    if mode == "a":
        return InvalidArgumentError(
            f"There is no store at {storage.name}, and layout='auto' cannot create one. Give layout='fov' or 'hcs'."
        )
    hint, creation = "", f"; mode {mode!r} creates none" if mode == "r+" else ""
    if isinstance(storage, LocalStorage):
        folder, name = os.path.split(storage.root)
        with suppress(OSError):
            hint = did_you_mean(name, sorted({*os.listdir(folder)} - {name}))
    return StoreNotFoundError(f"There is no store at {storage.name}. Check the path{creation}.{hint}")


def _row_path(storage: Storage, strict: bool) -> NodePath | None:
    """Return the path of a row of a plate, which often has no document; None if the folder is not a row."""
    if not isinstance(storage, LocalStorage) or not storage.exists(""):
        return None
    documents = group_above(storage, 1)
    if documents is None:
        return None
    version = detect(documents.format, documents.group(""))
    node_path = NodePath(StoreHandle(documents, version, strict=strict), path_below(storage, 1))
    return node_path if is_row_of_plate(node_path) else None


def _no_group_error(documents: Documents) -> MetadataError:
    """Return the error for an array, and for a folder with the name of a metadata document."""
    name = documents.storage.name
    if documents.kind("") == "array":
        return MetadataError(f"{name} is an array, not a group. Open the image group above it.")
    folders = [file for file in METADATA_FILES if documents.storage.list(file)]
    paths = " and ".join(folders or METADATA_FILES[:1])
    return MetadataError(
        f"{name} has no readable metadata: {paths} in it is a folder, and a metadata document is a file. Delete the "
        "folder, or restore the document from a copy."
    )


def _open_root(documents: Documents, request: OpenRequest) -> NGFFNode:
    """Open the node that the document of the root describes; with layout "auto" also a row of the plate above it."""
    name = documents.storage.name
    stored, stamp = _read_root(documents)
    if read_creating(stored.attributes) is not None:
        stored, stamp = _warn_incomplete(documents, request.mode, stored, stamp)
    attributes = stored.attributes
    try:
        version = detect(documents.format, attributes)
    except MetadataError as error:
        raise unusable_error(name, error) from error
    node_path = NodePath(StoreHandle(documents, version, strict=request.strict), "")
    stored_class = node_class(version.ome(attributes), node_path)
    if stored_class is None and has_no_arrays_yet(attributes):
        stored_class = Position
    if stored_class is None and request.layout == "auto":
        row_path = _row_path(documents.storage, request.strict)
        if row_path is not None:
            node_path, stored_class = row_path, Row
    node_type = _class_to_open(name, stored_class, request)
    if node_type is None:
        raise MetadataError(
            f"{name} is a Zarr group without OME-NGFF metadata: no multiscales, plate, well or collection. Its "
            f"members are: {_first_members(documents)}.{_hint_of_older_documents(documents)}"
            f"{explain_missing_attributes(documents, '')}"
        )
    request.check_class_options(node_type)
    if documents.format == 3:
        check_formats(node_path)
    node = node_type(node_path, **{**request.node_options, "parse_meta": False})
    if node_type is not Row:  # a row has no document of its own
        node._adopt_document(stored, stamp)
    if request.class_options.get("parse_meta", True):
        node._parse_meta()
    return node


def _read_root(documents: Documents) -> tuple[StoredGroup, Stamp | None]:
    """Read the document of the root group; raise an error that explains what is stored instead."""
    try:
        return documents.stored_group("")
    except NodeNotFoundError:
        raise _no_group_error(documents) from None
    except MetadataError as error:
        if hint := _hint_of_older_documents(documents):
            raise MetadataError(f"{error}{hint}") from error
        raise


def _class_to_open(
    name: str, stored_class: type[NGFFNode] | None, request: OpenRequest
) -> type[NGFFNode] | None:
    """Return the more special one of the classes of the document and of the layout; None without any.

    For example layout "fov" (`Position`) opens a label image as `LabelImage`, and layout "tiled" opens an image as
    `TiledPosition`. A group without OME metadata has the class of the layout, unless it can only be read.
    """
    layout_class = _LAYOUT_CLASSES.get(request.layout)
    if stored_class is None:
        return None if request.mode == "r" else layout_class
    if layout_class is None or issubclass(stored_class, layout_class):
        return stored_class
    if issubclass(layout_class, stored_class):
        return layout_class
    raise InvalidArgumentError(
        f"{name} is opened with layout={request.layout!r}, but its metadata say {stored_class.__name__}. Use "
        "layout='auto'."
    )


def _warn_incomplete(
    documents: Documents, mode: str, stored: StoredGroup, stamp: Stamp | None
) -> tuple[StoredGroup, Stamp | None]:
    """Warn of a store that is not complete, and return its document; remove the token of a killed call if writable."""
    token = read_creating(stored.attributes)
    if mode != "r" and token is not None and is_abandoned(token):
        documents.edit_group("", lambda attributes: with_creating(attributes, None))
        stored, stamp = documents.stored_group("")
        message = (
            "the call that created it failed or was killed. It was opened for writing, so no later call replaces it: "
            "to create it again, delete it first."
        )
    else:
        message = (
            "the call that creates it is running, or it failed or was killed. Write nothing into it: the same call "
            "replaces all of it."
        )
    warn(f"{documents.storage.name} is incomplete: {message}")
    return stored, stamp


def _hint_of_older_documents(documents: Documents) -> str:
    """Return a sentence on Zarr v2 documents that the root's zarr.json hides; "" if there are none."""
    if not documents.has_older_documents():
        return ""
    return (
        " Documents of Zarr v2 (.zattrs, .zgroup) lie beside this zarr.json, which hides them: if the store is "
        "OME-NGFF 0.4, delete zarr.json."
    )


def _first_members(documents: Documents) -> str:
    if not documents.storage.can_list:
        return "unknown, because the store cannot list them"
    names = documents.storage.list("")
    return ", ".join([name for name in names if name not in METADATA_FILES][:20]) or "none"
