"""Open and create stores, for :mod:`lamella.nodes.open`; all arguments and the path are checked before any change.

The document of a stored node decides its class, not its name: `node_class` returns `Plate` for attributes with the key
"plate". A new store can have a token in its document until it is complete (`create_unfinished`).
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from inspect import signature
from typing import TYPE_CHECKING, Any, get_args

from lamella.arguments import items_of, whole_number
from lamella.errors import (
    InvalidArgumentError,
    MetadataError,
    NodeNotFoundError,
    ReadOnlyError,
    StoreExistsError,
    StoreNotFoundError,
    callers_level,
    check_options,
    did_you_mean,
)
from lamella.nodes.image_array import ImageArray
from lamella.nodes.metadata_document import stored_ome, unreadable
from lamella.nodes.node import NGFFNode
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position, is_pending
from lamella.nodes.reporting import check_formats
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.tiled import TiledPosition
from lamella.nodes.well import Row
from lamella.spec.axes import AxisMeta, axes_from, channel_axis, default_axes
from lamella.spec.coordinate_systems import SceneMeta
from lamella.spec.own_key import read_creating, with_creating
from lamella.spec.versions import by_name, detect
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import is_abandoned
from lamella.store.files.zip_storage import ZipStorage
from lamella.store.keys import METADATA_FILES, V2, V3
from lamella.store.metadata.documents import Documents
from lamella.store.metadata.json_document import parse_object
from lamella.store.metadata.missing_document import (
    check_unfinished_copy,
    without_attributes,
    without_metadata,
)
from lamella.store.metadata.parents import group_above, path_below
from lamella.store.storage import open_storage
from lamella.types import Durability, Layout, Mode, Recheck

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zarr.abc.store import Store

    from lamella.store.metadata.json_document import StoredGroup
    from lamella.store.storage import Stamp, Storage
    from lamella.types import JSONObject, StrPath, VersionName

_LAYOUT_CLASSES: dict[str, type[NGFFNode]] = {"fov": Position, "hcs": Plate, "tiled": TiledPosition}


def open_store(
    store_path: StrPath | Store,
    layout: Layout,
    mode: Mode,
    channel_names: Sequence[str] | None,
    axes: Any,
    version: VersionName,
    disable_path_checking: bool,
    durability: Durability,
    strict: bool,
    cache_bytes: int | None,
    recheck: Recheck,
    storage_options: Mapping[str, Any] | None,
    kwargs: dict[str, Any],
    creating: str | None = None,
) -> NGFFNode:
    """Open or create a store; see :func:`lamella.open_ome_zarr`. ``creating`` is the token of an unfinished store."""
    _check_choices(layout, mode, durability, recheck)
    if cache_bytes is not None:
        cache_bytes = whole_number(cache_bytes, "The argument cache_bytes", 0)
    channel_names, axes = _as_lists(channel_names, axes)
    storage = _open_checked_storage(store_path, mode, durability, disable_path_checking, storage_options)
    storage.cache_bytes = cache_bytes
    storage.trusted = {} if recheck == "open" and mode == "r" else None
    if mode in ("r", "r+", "a"):
        documents = Documents.open(storage)
        if documents is not None:
            return _open(documents, layout, mode, channel_names, axes, strict, kwargs)
        row_path = _row_path(storage, strict) if layout == "auto" else None
        if row_path is not None:
            # The folder of a row may have no document, so there is nothing to parse.
            _check_options(Row, kwargs)
            options = {"parse_meta": False, "channel_names": channel_names, "axes": axes, **kwargs}
            return Row(row_path, **options)
    if mode in ("r", "r+") or (mode == "a" and layout == "auto"):
        raise _not_found_error(storage, mode)
    spec = by_name(version)
    if layout in _LAYOUT_CLASSES:
        _check_options(_LAYOUT_CLASSES[layout], kwargs)
    _check_creation(layout, mode, channel_names, axes, storage)
    has_content = _check_target(storage, mode, disable_path_checking)
    # Create the node and its first document before any change, so that invalid arguments change nothing.
    store_handle = StoreHandle(Documents.create(storage, spec.zarr_format), spec, strict=strict)
    node_type = _LAYOUT_CLASSES[layout]
    options = {**kwargs, "parse_meta": False, "channel_names": channel_names, "axes": axes}
    node = node_type(NodePath(store_handle, ""), **options)
    attributes = with_creating(node._first_attributes(), creating)
    document = store_handle.documents.prepared("", attributes)
    if mode == "w":
        if has_content:
            storage.delete("")
        with storage.reading_once(""):
            store_handle.documents.put_groups({"": attributes}, is_new=True)
            storage.note_created()
    elif not _create_root(store_handle.documents, attributes, mode):  # another process has created it
        return open_store(
            store_path, layout, mode, channel_names, axes, version, disable_path_checking, durability, strict,
            cache_bytes, recheck, storage_options, kwargs, creating,
        )  # fmt: skip
    node._adopt_document(document, None)
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
    options: dict[str, Any] = {"channel_names": channel_names, "axes": axes, "version": version}
    options |= {"disable_path_checking": False, "durability": "process", "strict": False, "cache_bytes": None}
    options |= {"recheck": "call", "storage_options": None, "kwargs": {}, "creating": token}
    try:
        return open_store(store_path, layout, mode, **options)
    except StoreExistsError:
        if token is None or not _is_abandoned_creation(open_storage(store_path)):
            raise
    return open_store(store_path, layout, "w", **options)


def _is_abandoned_creation(storage: Storage) -> bool:
    """Whether a store has the token of a call that failed, or was killed on this machine."""
    for name in (V3.group, V2.attributes):
        encoded = storage.read(name)
        if encoded is not None:
            document = parse_object(encoded, storage.name, name)
            attributes = document.get("attributes") if name == V3.group else document
            token = read_creating(attributes) if isinstance(attributes, dict) else None
            return token is not None and is_abandoned(token)
    return False


def _open_checked_storage(
    store_path: StrPath | Store,
    mode: Mode,
    durability: Durability,
    follow_links: bool,
    storage_options: Mapping[str, Any] | None,
) -> Storage:
    storage = open_storage(
        store_path,
        read_only=mode == "r",
        fsync=durability == "fsync",
        follow_links=follow_links,
        storage_options=storage_options,
        must_exist=mode in ("r", "r+"),
    )
    _check_storage(storage, store_path, mode, durability)
    return storage


def _create_root(documents: Documents, attributes: JSONObject, mode: str) -> bool:
    """Write the first document of a new store; False if another process created it and mode "a" should open it."""
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


def _check_options(kind: type[NGFFNode], options: dict[str, Any]) -> None:
    """Raise for an option that neither `open_ome_zarr` nor the class of the node has."""
    if options:
        parameters = {*signature(open_ome_zarr).parameters, *signature(kind).parameters} - {"group", "kwargs"}
        check_options(f"open_ome_zarr() of a {kind.__name__}", options, parameters)


def _check_storage(storage: Storage, store_path: object, mode: str, durability: str) -> None:
    """Raise for writing to a read-only storage, and for flushing a store that is not a folder."""
    if mode != "r" and isinstance(storage, ZipStorage):
        storage.check_writable("")
    if (
        mode != "r" and storage.read_only and isinstance(store_path, str)
    ):  # a URL of a web server; a read-only store object raises later
        raise ReadOnlyError(
            f"Cannot open {storage.name} with mode {mode!r}: it can only be read. Use mode='r', or a copy."
        )
    if durability == "fsync" and not isinstance(storage, LocalStorage) and mode != "r":
        raise InvalidArgumentError(
            f"Cannot open {storage.name} with durability='fsync': only folders can be flushed to the disk. Services "
            "such as S3 store a write before they answer; leave durability out."
        )


def _check_choices(layout: str, mode: str, durability: str, recheck: str) -> None:
    for name, choice, choices in (
        ("mode", mode, get_args(Mode)),
        ("layout", layout, get_args(Layout)),
        ("durability", durability, get_args(Durability)),
        ("recheck", recheck, get_args(Recheck)),
    ):
        if choice not in choices:
            raise InvalidArgumentError(f"The argument {name} is one of {', '.join(choices)}, not {choice!r}.")


def _as_lists(names: Any, axes: Any) -> tuple[Any, Any]:
    """Return channel names and axes as lists; text stays text, and is checked later."""
    if names is not None and not isinstance(names, str):
        names = items_of(names, "The argument channel_names is a list of names")
    return names, None if axes is None else axes_from(axes)


def _not_found_error(storage: Storage, mode: str) -> Exception:
    if isinstance(storage, LocalStorage) and os.path.isfile(storage.root):
        return MetadataError(f"Cannot open {storage.name}: it is a file, and an OME-Zarr store is a folder.")
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
        if explanation := without_metadata(storage):
            return MetadataError(f"Cannot open {storage.name}: {explanation}")
        return MetadataError(
            f"Cannot open {storage.name}: it has no Zarr metadata (zarr.json, .zgroup or .zarray), so it is not an "
            "OME-Zarr store. Give the path of the folder that contains them."
        )
    if mode == "a":
        return InvalidArgumentError(
            f"There is no store at {storage.name}, and layout='auto' cannot create one. Give layout='fov' or 'hcs'."
        )
    hint = ""
    if isinstance(storage, LocalStorage):
        folder, name = os.path.split(storage.root)
        with suppress(OSError):
            hint = did_you_mean(name, sorted({*os.listdir(folder)} - {name}))
    return StoreNotFoundError(
        f"There is no store at {storage.name}. Check the path; mode {mode!r} creates none.{hint}"
    )


def _check_creation(
    layout: str,
    mode: str,
    channel_names: Sequence[str] | None,
    axes: Sequence[AxisMeta] | None,
    storage: Storage,
) -> None:
    action = f"create {storage.name} with mode {mode!r}"
    if layout == "auto":
        raise InvalidArgumentError(
            f"Cannot {action}: layout='auto' is for existing stores. Give layout='fov' or 'hcs'."
        )
    if isinstance(channel_names, str):
        raise InvalidArgumentError(
            f"Cannot {action}: channel_names is a list of names, not the text {channel_names!r}."
        )
    if not all(isinstance(name, str) and name for name in channel_names or []):
        raise InvalidArgumentError(
            f"Cannot {action}: channel_names is a list of texts that are not empty, not {list(channel_names or [])!r}."
        )
    if axes is not None and not all(isinstance(axis, AxisMeta) for axis in axes):
        raise InvalidArgumentError(
            f"Cannot {action}: axes is text such as 'czyx', or a list of AxisMeta, not {axes!r}."
        )
    if axes is not None and not 2 <= len(axes) <= 5:
        raise InvalidArgumentError(f"Cannot {action}: an image has 2 to 5 axes (AX-06), not {len(axes)}.")
    if channel_names is None and channel_axis(axes or default_axes()) is not None:
        raise InvalidArgumentError(f"Cannot {action}: a new store needs channel_names.")
    if channel_names is not None and len(set(channel_names)) != len(list(channel_names)):
        raise InvalidArgumentError(f"Cannot {action}: channel_names {list(channel_names)} has a name twice.")


def _check_target(storage: Storage, mode: str, disable_path_checking: bool) -> bool:
    """Raise if the path has content that the mode may not replace; return whether it has content. Changes nothing."""
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
            "Give the path that it names."
        )
    if os.path.lexists(root) and not os.path.isdir(root):
        raise InvalidArgumentError(
            f"Cannot create {root} with mode {mode!r}: it is a file, and a store is a folder. Give another path."
        )


def _row_path(storage: Storage, strict: bool) -> NodePath | None:
    """Return the node path of a row in the plate above a folder; None if the folder is not a row.

    A row has no metadata of its own, and often no document: the plate is opened instead.
    """
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


def _open(
    documents: Documents,
    layout: str,
    mode: str,
    channel_names: Sequence[str] | None,
    axes: Sequence[AxisMeta] | None,
    strict: bool,
    kwargs: dict[str, Any],
) -> NGFFNode:
    name = documents.storage.name
    try:
        stored, stamp = documents.stored_group("")
    except NodeNotFoundError:
        raise _no_group_error(documents) from None
    except MetadataError as error:
        if older := _older_documents(documents):
            raise MetadataError(f"{error}{older}") from error
        raise
    if read_creating(stored.attributes) is not None:
        stored, stamp = _warn_incomplete(documents, mode, stored, stamp)
    attributes = stored.attributes
    try:
        spec = detect(documents.format, attributes)
    except MetadataError as error:
        raise unreadable(name, error) from error
    node_path = NodePath(StoreHandle(documents, spec, strict=strict), "")
    stored_class = node_class(spec.ome(attributes), node_path) or (
        Position if is_pending(attributes) else None
    )
    if (
        stored_class is None
        and layout == "auto"
        and (row_path := _row_path(documents.storage, strict)) is not None
    ):
        node_path, stored_class = row_path, Row
    layout_class = _LAYOUT_CLASSES.get(layout)
    if layout_class is not None and stored_class is not None and issubclass(stored_class, layout_class):
        layout_class = stored_class
    if layout_class is not None and stored_class is not None and not issubclass(layout_class, stored_class):
        raise InvalidArgumentError(
            f"{name} is opened with layout={layout!r}, but its metadata say {stored_class.__name__}. Use layout='auto'."
        )
    node_type = (
        stored_class if layout_class is None or (mode == "r" and stored_class is None) else layout_class
    )
    if node_type is None:
        raise MetadataError(
            f"{name} is a Zarr group without OME-NGFF metadata: no multiscales, plate, well or collection. Its "
            f"members are: {_first_members(documents)}.{_older_documents(documents)}{without_attributes(documents, '')}"
        )
    _check_options(node_type, kwargs)
    if documents.format == 3:
        check_formats(node_path)
    node = node_type(node_path, channel_names=channel_names, axes=axes, **{**kwargs, "parse_meta": False})
    if node_type is not Row:  # a row has no document of its own
        node._adopt_document(stored, stamp)
    if kwargs.get("parse_meta", True):
        node._parse_meta()
    return node


def _warn_incomplete(
    documents: Documents, mode: str, stored: StoredGroup, stamp: Stamp | None
) -> tuple[StoredGroup, Stamp | None]:
    """Warn of a store that is not complete, and return its document; remove the token of a killed call if writable."""
    token = read_creating(stored.attributes)
    if mode != "r" and token is not None and is_abandoned(token):
        documents.edit_group("", lambda attributes: with_creating(attributes, None))
        stored, stamp = documents.stored_group("")
        message = (
            "the call that creates it failed or was killed. It was opened for writing, so it is kept as it is: to "
            "create it again, delete it first."
        )
    else:
        message = (
            "the call that creates it is running, or it failed or was killed. Write nothing into it: the same call "
            "replaces all of it."
        )
    warnings.warn(
        f"{documents.storage.name} is incomplete: {message}", UserWarning, stacklevel=callers_level()
    )
    return stored, stamp


def _older_documents(documents: Documents) -> str:
    """Return a sentence on Zarr v2 documents that the root's zarr.json hides; empty if there are none."""
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
    shown = [name for name in names if name not in METADATA_FILES][:20]
    return ", ".join(shown) or "none"


def node_class(ome: JSONObject, node_path: NodePath) -> type[NGFFNode] | None:
    """Return the class of a node with these OME attributes; None if it is unknown.

    A group without OME metadata directly below a plate may be one of its rows.
    """
    from lamella.nodes.collection import Collection
    from lamella.nodes.labels import LabelImage, Labels
    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.nodes.scene import Scene
    from lamella.nodes.well import Row, Well

    # The order matters: a converted plate is a collection too, a label image is an image too, and iohub lists the
    # label images in the document of their image.
    classes: dict[str, type[NGFFNode]] = {
        "plate": Plate,
        "well": Well,
        "image-label": LabelImage,
        "multiscales": Position,
        "labels": Labels,
        "omero": Position,
        "bioformats2raw.layout": Collection,
    }
    if SceneMeta in node_path.store_handle.version.parts:
        classes["scene"] = Scene
    for key, node_type in classes.items():
        if key in ome:
            return node_type
    if node_path.path and is_row_of_plate(node_path):
        return Row
    return None


def is_row_of_plate(node_path: NodePath) -> bool:
    """Return whether the plate above a group lists it as a row; a row has no metadata of its own."""
    if node_path.store_handle.documents.kind(node_path.parent.path) != "group":
        return False
    plate = stored_ome(node_path.parent).get("plate")
    rows = plate.get("rows") if isinstance(plate, dict) else None
    name = node_path.path.rpartition("/")[2]
    return isinstance(rows, list) and any(
        isinstance(row, dict) and str(row.get("name")) == name for row in rows
    )


def open_member(parent: NGFFNode, key: str) -> NGFFNode | ImageArray:
    """Open the node or array at a path below a node; raise `NodeNotFoundError` if there is none."""
    node_path = parent.node_path.child(key)
    documents = node_path.store_handle.documents
    kind = documents.kind(node_path.path)
    if kind is None:
        raise parent.missing_error(key)
    if kind == "array":
        return array_at(node_path)
    return (node_class(stored_ome(node_path), node_path) or NGFFNode)(node_path)


def array_at(node_path: NodePath) -> ImageArray:
    """Return the array at a node path, with the axes of the image that lists it."""
    from lamella.nodes.position import Position

    documents = node_path.store_handle.documents
    group, dataset = node_path.parent, node_path.path.rpartition("/")[2]
    while True:
        if documents.kind(group.path) == "group" and "multiscales" in stored_ome(group):
            position = Position(group)
            return ImageArray(node_path, position.axes if dataset in position.dataset_paths else None)
        if not group.path:
            return ImageArray(node_path)
        dataset = f"{group.path.rpartition('/')[2]}/{dataset}"
        group = group.parent
