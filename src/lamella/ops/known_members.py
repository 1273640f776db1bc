"""List the members of a store by its metadata, for stores that cannot be listed, as over http.

The metadata of a plate name its wells, those of a well its images, those of an image its levels and labels, those of a
table its files; consolidated metadata name all nodes. Members that no metadata name are not listed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lamella.errors import LamellaError, MetadataError, NotDecodedError, StorageError
from lamella.ops.raw_nodes import StoredNode, StoreReader
from lamella.spec.tables import member_names
from lamella.store.flat_storage import FlatStorage
from lamella.store.keys import DOCUMENTS, METADATA_FILES, V2, V3, ancestors, is_key, join
from lamella.store.listed_by_metadata import ListedByMetadata
from lamella.store.metadata.documents import Documents
from lamella.store.metadata.text_arrays import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.storage import Storage
    from lamella.types import JSONObject

_KEYS_THAT_NAME_MEMBERS = {
    "multiscales",
    "labels",
    "plate",
    "well",
    "scene",
    "bioformats2raw.layout",
    "series",
}
"""Keys of OME-NGFF under which a group names members; attributes of users name none."""


def listable(storage: Storage, path: str = "") -> Storage:
    """Return a storage that can list its content: the same one, or a view by its metadata."""
    if storage.can_list or not isinstance(storage, FlatStorage):
        return storage
    from lamella.store.objects.listed_by_metadata import list_by_metadata  # loads the clients of services

    walk = _MetadataWalk(storage)
    walk.visit(path)
    if not walk.documents:
        raise MetadataError(
            f"{join(storage.name, path)} has no Zarr metadata (zarr.json, .zgroup or .zarray), and what it contains "
            "cannot be listed over this connection: there is nothing to read. Check the URL."
        )
    if walk.is_bare:
        raise MetadataError(
            f"{join(storage.name, path)} is a group whose metadata name no members, as that of a row of a plate, and "
            "they cannot be listed over this connection: there is nothing to read. Use the URL of the plate, a well or "
            "an image."
        )
    return list_by_metadata(storage, walk.documents, walk.arrays)


def unseen(storage: Storage) -> str | None:
    """Describe what may be missing in a view by metadata; None for a storage that lists."""
    if not isinstance(storage, ListedByMetadata):
        return None
    return (
        f"{storage.name} cannot be listed over this connection: only what its metadata name was seen; files of "
        "other programs were not"
    )


class _MetadataWalk:
    """The documents and arrays of all nodes that metadata name, below the path that is visited."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.documents: list[str] = []
        self.arrays: dict[str, ArrayMeta] = {}
        #: Whether every node is a readable group, and no metadata may name members.
        self.is_bare = True
        self._seen: set[str] = set()
        self._parse = StoreReader(storage).parse
        self._files: tuple[str, ...] | None = None

    def _node(self, path: str) -> StoredNode:
        """Read the documents of a node; raise for unreadable ones, and leave damaged ones unparsed."""
        node = StoredNode(path)
        for file in self._files or METADATA_FILES:
            data = self.storage.read(join(path, file)) if is_key(path) else None
            if data is not None:
                node.data[file] = data
                document, _ = self._parse(data, file)
                if document is not None:
                    node.documents[file] = document
        if self._files is None and node.exists:  # the root: a store has one format
            self._files = (V3 if V3.group in node.data else V2).document_names
        return node

    def visit(self, path: str) -> None:
        if path in self._seen or not is_key(path):
            return
        self._seen.add(path)
        node = self._node(path)
        if not node.exists:
            return
        self.documents += [join(path, file) for file in node.data]
        is_readable_group = node.kind == "group" and node.documents.keys() == node.data.keys()
        if not is_readable_group or node.ome.keys() & _KEYS_THAT_NAME_MEMBERS or _is_in_tables(path):
            self.is_bare = False
        if node.kind == "array":
            self._add_array(node)
            return
        for name in _member_paths(node):
            member_path = join(path, name)
            for folder in ancestors(member_path):
                if len(folder) > len(path):  # rows of a plate, which only the paths of its wells name
                    self.visit(folder)
            self.visit(member_path)
        if node.ome.get("bioformats2raw.layout") is not None:
            self._visit_series(path)
        if _is_in_tables(path) and isinstance(node.attributes, dict):
            self._visit_table(path, node.attributes)

    def _add_array(self, node: StoredNode) -> None:
        zarr_format: Any = node.zarr_format
        documents = Documents(self.storage, zarr_format)
        try:
            self.arrays[node.path] = documents.array(node.path)
        except StorageError:
            raise
        except NotDecodedError:
            old_and_new = translated(*documents.array_document(node.path), node.path)
            if old_and_new is not None:
                self.arrays[node.path] = old_and_new[0]
        except LamellaError:
            pass  # a reader of the array reports the problem

    def _visit_table(self, path: str, attributes: JSONObject) -> None:
        """Visit the nodes and files of a table, or of the group of tables."""
        for name in member_names(attributes):
            member_path = join(path, name)
            if (
                is_key(member_path)
                and name.startswith("table.")
                and self.storage.size(member_path) is not None
            ):
                self.documents.append(member_path)
            else:
                self.visit(member_path)

    def _visit_series(self, path: str) -> None:
        """Visit the images of a collection: those of its series, else all numbers from 0 on."""
        series = self._node(join(path, "OME")).ome.get("series")
        self.visit(join(path, "OME"))
        if isinstance(series, list):
            for name in series:
                self.visit(join(path, str(name)))
            return
        number = 0
        while self._node(join(path, str(number))).exists:
            self.visit(join(path, str(number)))
            number += 1


def _is_in_tables(path: str) -> bool:
    """Return whether a path is that of a group of tables, or below one."""
    return "tables" in path.split("/")


def _member_paths(node: StoredNode) -> Iterator[str]:
    """Yield the paths, below a group, of the nodes that its metadata name."""
    ome = node.ome
    for scales in _dicts(ome.get("multiscales")):
        yield from (
            str(member.get("path")).strip("/")
            for member in _dicts(scales.get("datasets"))
            if member.get("path")
        )
    if "multiscales" in ome:
        yield "labels"
    if "multiscales" in ome or "plate" in ome:
        yield "tables"
    if isinstance(ome.get("labels"), list):
        yield from (str(name).strip("/") for name in ome["labels"])
    for key, members in (("plate", "wells"), ("well", "images")):
        plate_or_well = ome.get(key)
        if isinstance(plate_or_well, dict):
            yield from (
                str(member.get("path")).strip("/")
                for member in _dicts(plate_or_well.get(members))
                if member.get("path")
            )
    scene = ome.get("scene")
    for transformation in _dicts(scene.get("coordinateTransformations") if isinstance(scene, dict) else None):
        for reference in (transformation.get("input"), transformation.get("output")):
            if isinstance(reference, dict) and reference.get("path"):
                yield str(reference["path"]).removeprefix("./").strip("/")
    yield from _consolidated_paths(node)


def _consolidated_paths(node: StoredNode) -> Iterator[str]:
    """Yield the paths in consolidated metadata, which may be outdated."""
    consolidated: Any = node.documents.get(V3.group, {}).get("consolidated_metadata")
    if consolidated is None and V2.consolidated in node.data:
        try:
            consolidated = json.loads(node.data[V2.consolidated])
        except (ValueError, RecursionError):
            return
    names = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    for name in names if isinstance(names, dict) else ():
        folder, _, file = str(name).rpartition("/")
        yield folder if file in DOCUMENTS else str(name)


def _dicts(members: object) -> list[dict[str, Any]]:
    return [member for member in members if isinstance(member, dict)] if isinstance(members, list) else []
