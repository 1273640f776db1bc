"""Write the JSON documents of groups and arrays by path, each in one atomic replace.

An edit locks a document, reads it, changes it by a pure function and writes it, so that concurrent edits lose nothing.
Every change also removes consolidated metadata: copies of documents above a node, in ``.zmetadata`` (Zarr v2) or a
group's ``zarr.json``. lamella never reads them, and a stale copy hides nodes from readers (zarr-python #2921).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypeVar

from lamella.errors import (
    InvalidArgumentError,
    LamellaError,
    NodeExistsError,
    NodeNotFoundError,
    clause,
    warn,
)
from lamella.store.files.local import LocalStorage, folders_above
from lamella.store.keys import DOCUMENTS, V2, V3, ancestors, check_key, join
from lamella.store.metadata import format_v2, format_v3
from lamella.store.metadata.json_document import (
    StoredGroup,
    encoded_array,
    parse_object,
    parsed_array,
    to_bytes,
)
from lamella.store.metadata.stored_documents import StoredDocuments
from lamella.store.storage import ChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from lamella.store.metadata.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.metadata.stored_documents import NodeKind
    from lamella.store.storage import Stamp, Storage
    from lamella.types import JSONObject, Shape

T = TypeVar("T")

_MARKER_FILES: tuple[tuple[str, ZarrFormat], ...] = (
    (V3.group, 3),
    (V2.group, 2),
    (V2.array, 2),
    (V2.attributes, 2),
)


class Documents(StoredDocuments):
    """The documents of one store, for reading and writing."""

    def __init__(self, storage: Storage, zarr_format: ZarrFormat) -> None:
        super().__init__(storage, zarr_format)
        self._consolidated = ConsolidatedCopies(storage, zarr_format)

    def __repr__(self) -> str:
        return f"Documents({self.storage!r}, {self.format})"

    def __reduce__(self) -> tuple[object, ...]:
        return Documents, (self.storage, self.format)

    @classmethod
    def open(cls, storage: Storage) -> Documents | None:
        """Open a store in the format of its root; None where there is no Zarr node at the root.

        Where documents of both formats are present, Zarr v3 is used, as in zarr-python.
        """
        storage.request_ahead(DOCUMENTS, at_once=True)
        for file, zarr_format in _MARKER_FILES:
            if storage.exists(file):
                return cls(storage, zarr_format)
        return None

    @classmethod
    def create(cls, storage: Storage, zarr_format: ZarrFormat) -> Documents:
        """Start a store of a format; nothing is written before the first node."""
        if zarr_format not in (2, 3):
            raise InvalidArgumentError(f"zarr_format={zarr_format!r} is not 2 or 3.")
        storage.check_writable("")
        return cls(storage, zarr_format)

    # ---- writing --------------------------------------------------------------------------------

    def put_group(self, path: str, attributes: JSONObject) -> None:
        """Create a group, or replace the attributes of one; unknown keys beside the attributes are kept."""
        self.put_groups({path: attributes})

    def group_files(self, path: str, attributes: JSONObject) -> dict[str, bytes]:
        """Return the files that `put_group` writes."""
        return dict(self._group_files(path, attributes, False, {}))

    def put_root(self, attributes: JSONObject) -> bool:
        """Create the root group; False where another process created one since `open` returned None."""
        self.storage.check_writable("")
        (name, data), *later_files = self._group_files("", attributes, True, {})
        try:
            self.storage.write_if(name, data, None)
        except ChangedError:
            return False
        self.storage.write_many(later_files)
        return True

    def put_groups(self, groups: Mapping[str, JSONObject], *, is_new: bool = False) -> None:
        """Create many groups, or replace their attributes, in the order of the argument.

        Each document is replaced atomically; all of them together are not. ``is_new`` promises that no old document
        exists, so that none is read.
        """
        self.storage.check_writable("")
        for path in groups:
            check_key(path)
        self._consolidated.drop(groups, is_new=is_new)
        # Encode attributes once that many groups share, such as the positions of a new plate.
        encoded_documents: dict[int, bytes] = {}
        self.storage.write_many(
            file
            for path, attributes in groups.items()
            for file in self._group_files(path, attributes, is_new, encoded_documents)
        )

    def put_missing_group(self, path: str, attributes: JSONObject) -> bool:
        """Create a group that lists others, such as ``labels``, unless it exists; return whether it was created."""
        if self.kind(path, confirm_missing=True) is not None:
            return False
        self.put_new({}, above={path: attributes})
        return True

    def put_new(
        self,
        folders: Mapping[str, Mapping[str, JSONObject | ArrayMeta]],
        *,
        above: Mapping[str, JSONObject] | None = None,
    ) -> dict[str, bool]:
        """Create many nodes in new folders; where the file system can, each folder appears complete or not at all.

        ``folders`` maps each folder to its nodes: path to group attributes or array description, in the order of
        writing; equal mappings may be one object, which is encoded once. ``above`` are the attributes of new groups
        above the folders. Returns the paths of the nodes that another program created meanwhile, and whether their
        documents are equal to the new ones; they stay unchanged. Empty where the storage does not create exclusively.
        Raises `NodeExistsError` for a folder that exists, after writing those before it.
        """
        self.storage.check_writable("")
        if above and self.storage.has_folders:
            self.put_groups(above, is_new=True)
            above = None
        self._consolidated.drop([*(above or ()), *folders], is_new=True)
        encoded: dict[int, list[tuple[str, bytes]]] = {}
        single_files = [
            file for path, group in (above or {}).items() for file in self._group_files(path, group, True, {})
        ]
        for folder, nodes in folders.items():
            check_key(folder)
            files = encoded.get(id(nodes))
            if files is None:
                files = encoded[id(nodes)] = list(self._new_files(folder, nodes))
            is_created = self.storage.write_new_folder(folder, files)
            if is_created is False:
                raise NodeExistsError(f"Cannot create {self.location(folder)}: something is stored there.")
            if is_created is None:
                single_files += [(f"{folder}/{name}", data) for name, data in files]
        return self._created_by_others(dict(single_files), self.storage.write_new(single_files))

    def _created_by_others(self, files: Mapping[str, bytes], keys: Collection[str]) -> dict[str, bool]:
        """Return the nodes whose `keys` others created, and whether their documents equal `files`."""
        stored_files = self.storage.read_many(list(keys)) if keys else {}
        # Their creator has deleted these meanwhile.
        deleted = [key for key, content in stored_files.items() if content is None]
        if deleted:
            created_again = self.storage.write_new([(key, files[key]) for key in deleted])
            stored_files = {
                key: content
                for key, content in stored_files.items()
                if content is not None or key in created_again
            }
        are_equal: dict[str, bool] = {}
        for key, content in stored_files.items():
            path, _, name = key.rpartition("/")
            if name == V2.group:  # equal in every group; only the attributes show whose it is
                continue
            is_equal = content is not None and content[0] == files[key]
            are_equal[path] = are_equal.get(path, True) and is_equal
        return are_equal

    def _new_files(
        self, folder: str, nodes: Mapping[str, JSONObject | ArrayMeta]
    ) -> Iterator[tuple[str, bytes]]:
        """Yield the files of nodes in a new folder, named from there; errors name their whole paths."""
        for path, description in nodes.items():
            node = join(folder, check_key(path))
            if isinstance(description, dict):
                files = self._group_files(node, description, True, {})
            else:
                files = self._array_files(node, description, True)
            for key, data in files:
                yield key.removeprefix(f"{folder}/"), data

    def edit_group(
        self, path: str, edit: Callable[[JSONObject], JSONObject]
    ) -> tuple[JSONObject, Stamp | None]:
        """Change the attributes of a group by a pure function, so that concurrent edits lose nothing.

        `edit` maps the stored attributes to the new ones, and may run again where others write meanwhile. Returns the
        attributes as written, and their stamp; None where the stamp is unknown.
        """
        self.storage.check_writable(path)
        if self.storage.locks_processes and not self.storage.exists(path):
            raise self._not_found("group", path)  # before a lock file would make its folder
        node = self.storage.where(path)
        edited: JSONObject = {}
        has_zgroup = True

        def change(data: bytes | None) -> JSONObject:
            nonlocal edited, has_zgroup
            has_zgroup = self.format == 3 or self._has_zgroup(path)
            if data is None and (self.format == 3 or not has_zgroup):
                raise self._not_found("group", path)
            document = {} if data is None else parse_object(data, node, self.files.attributes)
            edited = edit(self._attributes_in(path, document, "group", node))
            return edited if self.format == 2 else format_v3.group_document(edited, document)

        stamp = self.edit_document(path, self.files.attributes, change)
        if not has_zgroup:  # a creation was killed after the attributes
            zgroup = to_bytes(format_v2.GROUP_DOCUMENT, node, V2.group)
            self.storage.write(join(path, V2.group), zgroup)
        return edited, stamp

    def edit_document(
        self,
        path: str,
        file: str,
        change: Callable[[bytes | None], JSONObject | None],
        kind: NodeKind = "group",
    ) -> Stamp | None:
        """Change one document of a node by a function as `Storage.update` does, so that concurrent edits lose nothing.

        `change` maps the stored bytes (None: no document) to the new document (None: write nothing), and may run again
        where others write meanwhile. ``kind`` is that of the node: an array has no consolidated metadata.
        """

        def replace(data: bytes | None) -> bytes | None:
            document = change(data)
            if document is None:
                return None
            new_data = to_bytes(document, self.storage.where(path), file)
            self._consolidated.drop([path], is_new=kind == "array")
            return new_data

        return self._consolidated.while_locked(path, lambda: self.storage.update(join(path, file), replace))

    def swap_group(
        self, path: str, old: StoredGroup, new: StoredGroup, before_write: Callable[[], object]
    ) -> bool:
        """Replace a group's document by a prepared one, if it still is `old`; return False otherwise.

        Parses and encodes nothing, unlike `edit_group`. ``before_write`` runs under the lock, before the replacement.
        """
        if not old.data:
            return False

        def prepare() -> None:
            before_write()
            self._consolidated.drop([path])

        key = join(path, self.files.attributes)
        return self._consolidated.while_locked(
            path, lambda: self.storage.swap(key, old.data, new.data, prepare)
        )

    def prepared(self, path: str, attributes: JSONObject, old: StoredGroup | None = None) -> StoredGroup:
        """Encode the document of a new group, or of one that replaces ``old``, whose unknown keys are kept."""
        document = attributes
        if self.format == 3:
            old_document = None if old is None else parse_object(old.data, self.storage.where(path), V3.group)
            document = format_v3.group_document(attributes, old_document)
        return self._shared_group(path, to_bytes(document, self.storage.where(path), self.files.attributes))

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Lock a group for a change of several steps, each of which may be an `edit_group`."""
        # Not the lock of the document itself, which `edit_group` locks inside.
        return self.storage.lock(join(path, "members"))

    def put_array(self, path: str, meta: ArrayMeta, *, is_new: bool = False) -> None:
        """Create an array, or replace the document of one; chunks are not changed. ``is_new`` as for `put_groups`."""
        self.put_arrays({path: meta}, is_new=is_new)

    def put_arrays(self, arrays: Mapping[str, ArrayMeta], *, is_new: bool = False) -> None:
        """Create many arrays, in the order of the argument; ``is_new`` as for `put_groups`."""
        self.storage.check_writable("")
        for path, meta in arrays.items():
            check_key(path)
            if meta.zarr_format != self.format:
                raise InvalidArgumentError(
                    f"Cannot create the array {self.location(path)}: it is described for Zarr v{meta.zarr_format}, and "
                    f"the store is Zarr v{self.format}."
                )
        self._consolidated.drop(arrays, is_new=True)
        self.storage.write_many(
            file for path, meta in arrays.items() for file in self._array_files(path, meta, is_new)
        )

    def put_shape(self, path: str, shape: Shape) -> ArrayMeta:
        """Change only the shape of an array; return its description."""
        self.storage.check_writable(path)
        return self.edit_array(path, lambda meta: meta.with_shape(shape))

    def edit_array(
        self, path: str, change: Callable[[ArrayMeta], ArrayMeta], *, edits_attributes: bool = False
    ) -> ArrayMeta:
        """Change the shape of an array, and with ``edits_attributes`` its attributes; return the new description.

        ``change`` is a pure function; in Zarr v2 it runs once for each of the two documents.
        """
        self._require("array", path, self.kind(path))  # before a lock file would make its folder
        edited: list[ArrayMeta] = []

        def change_array(data: bytes | None) -> JSONObject | None:
            if data is None:
                raise self._not_found("array", path)
            attributes_data = self.storage.read(join(path, V2.attributes)) if self.format == 2 else None
            old_meta = self.parse_array(path, data, attributes_data)
            edited[:] = [new_meta := change(old_meta)]
            return None if new_meta.to_document() == old_meta.to_document() else new_meta.to_document()

        def change_attributes(old_attributes: JSONObject) -> JSONObject | None:
            edited[:] = [new_meta := change(self.array(path).with_attributes(old_attributes))]
            return None if new_meta.attributes == old_attributes else new_meta.attributes

        self.edit_document(path, self.files.array, change_array, "array")
        if self.format == 2 and edits_attributes:
            self.edit_array_attributes(path, change_attributes)
        return edited[0]

    def edit_array_attributes(self, path: str, change: Callable[[JSONObject], JSONObject | None]) -> None:
        """Change the attributes of an array by a pure function, which returns None to write nothing."""
        self.storage.check_writable(path)
        self._require("array", path, self.kind(path))  # before a lock file would make its folder

        def edit(data: bytes | None) -> JSONObject | None:
            if data is None and self.format == 3:
                raise self._not_found("array", path)
            node = self.storage.where(path)
            document = {} if data is None else parse_object(data, node, self.files.attributes)
            attributes = change(self._attributes_in(path, document, "array", node))
            if self.format == 2 or attributes is None:
                return attributes
            return {**document, "attributes": attributes}

        self.edit_document(path, self.files.attributes, edit, "array")

    def put_new_array(self, path: str, meta: ArrayMeta) -> bool:
        """Create an array in a new folder, as a step of an edit of the group above.

        Returns False, and does nothing, where the folder exists or the storage cannot create folders atomically.
        """
        return self.storage.write_new_folder(path, list(self._array_files("", meta, is_new=True))) is True

    def delete_abandoned(self, path: str, except_node: str | None = None) -> None:
        """Delete the nodes below a group that have temporary names of failed or killed calls, but not ``except_node``.

        In local folders the next writer deletes them.
        """
        for name in self.storage.abandoned_names(path):
            if name != except_node:
                self.delete(join(path, name))

    def delete(self, path: str) -> None:
        """Delete a node with all below it. The caller edits the documents above."""
        self.storage.check_writable(path)
        if not self.storage.exists(path):
            raise self._not_found("node", path)
        self.drop_consolidated(path)
        self.storage.delete(path)

    def delete_documents(self, path: str) -> None:
        """Delete the documents of a group; nodes and files below it stay."""
        self.drop_consolidated(path)
        self.storage.delete_files([join(path, file) for file in self.files.document_names])

    def move(self, old: str, new: str) -> None:
        """Move a node with all below it. The caller edits the documents above."""
        self.storage.check_writable(old)
        self.drop_consolidated(old, new)
        self.storage.move(old, new)

    def drop_consolidated(self, *paths: str) -> None:
        """Remove the consolidated metadata that describe nodes, before these are changed."""
        self._consolidated.drop(
            [ancestor for path in paths for ancestor in ancestors(path)], above_only=False
        )

    def replace(self, path: str, replacement: str) -> None:
        """Move the node at `replacement` to `path`, and delete the node there; see `Storage.replace`."""
        self.storage.check_writable(path)
        self.drop_consolidated(path, replacement)
        self.storage.replace(path, replacement)

    def discard_copies(self, path: str, originals: str) -> None:
        """Delete the files below `path` that are equal below `originals`: copies that a killed move left."""
        self.storage.check_writable(path)
        self.drop_consolidated(path)
        self.storage.discard_copies(path, originals)

    # ---- the files of a node --------------------------------------------------------------------

    def _group_files(
        self, path: str, attributes: JSONObject, is_new: bool, encoded_documents: dict[int, bytes]
    ) -> Iterator[tuple[str, bytes]]:
        """Yield the files of a group; ``encoded_documents`` caches those of attributes that many groups share."""
        old_document, has_zgroup = None, False
        try:
            if not is_new and self.format == 3:
                old_document = self.document(path, V3.group)
                if old_document is not None:
                    self._require("group", path, format_v3.node_type(old_document, self.storage.where(path)))
            elif not is_new:
                has_zgroup = self._has_zgroup(path)
        except NodeNotFoundError as error:
            raise NodeExistsError(
                f"Cannot create a group at {self.location(path)}: an array is stored there."
            ) from error
        data = encoded_documents.get(id(attributes)) if old_document is None else None
        if data is None:
            document = attributes if self.format == 2 else format_v3.group_document(attributes, old_document)
            data = to_bytes(document, self.storage.where(path), self.files.attributes)
            if old_document is None:
                encoded_documents[id(attributes)] = data
        yield join(path, self.files.attributes), data
        # Last: for other readers the group appears with this file, and then has its attributes.
        if self.format == 2 and not has_zgroup:
            yield join(path, V2.group), to_bytes(format_v2.GROUP_DOCUMENT, self.storage.where(path), V2.group)

    def _array_files(self, path: str, meta: ArrayMeta, is_new: bool) -> Iterator[tuple[str, bytes]]:
        if not is_new and self._is_group(path):
            raise NodeExistsError(
                f"Cannot create an array at {self.location(path)}: a group is stored there."
            )
        file = self.files.array
        data = encoded_array(meta, lambda: to_bytes(meta.to_document(), self.storage.where(path), file))
        attributes_data = None
        if self.format == 2:
            attributes_data = to_bytes(meta.attributes, self.storage.where(path), V2.attributes)
        stated_dtype = meta.document.get("data_type" if self.format == 3 else "dtype")
        # Attributes are parsed, because users may change them; so are texts, which `text_arrays` describes as uint8.
        if not meta.attributes and stated_dtype in (meta.dtype.name, meta.dtype.str):
            parsed_array(data, attributes_data, lambda: meta)
        # In Zarr v2 first: attributes alone would look like a group.
        yield join(path, file), data
        if attributes_data is not None:
            yield join(path, V2.attributes), attributes_data

    def _is_group(self, path: str) -> bool:
        if self.format == 2:
            return self._has(path, V2.group)
        data = self.storage.read(join(path, V3.group))
        return data is not None and b'"group"' in data and self.kind(path) == "group"


class ConsolidatedCopies:
    """Removes the consolidated metadata of one store."""

    def __init__(self, storage: Storage, zarr_format: ZarrFormat) -> None:
        self._storage = storage
        self._format = zarr_format
        self._absent: dict[str, Stamp | None] = {}
        self._thread = threading.local()
        self._dropped_outside = False

    def while_locked(self, path: str, change: Callable[[], T]) -> T:
        """Call a function that locks and changes the document of a node, then `drop` at nodes below."""
        locked_paths = self._locked_paths
        self._thread.locked_paths = (*locked_paths, path)
        try:
            return change()
        finally:
            self._thread.locked_paths = locked_paths
            postponed: set[str] = vars(self._thread).pop("postponed", set())
            for node in postponed:
                self._drop_at(node)

    @property
    def _locked_paths(self) -> tuple[str, ...]:
        return getattr(self._thread, "locked_paths", ())

    def drop(self, paths: Collection[str], *, above_only: bool = True, is_new: bool = False) -> None:
        """Remove the copies above changed nodes, with ``above_only=False`` also in them; ``is_new`` ones have none."""
        self._drop_outside()
        if is_new:
            self._absent.update(dict.fromkeys(filter(None, paths)))
        if any(paths):
            # Consolidation is usual at the root, which is checked each time; other groups once per store handle.
            self._drop_at("")
        for path in paths:
            parent = path.rpartition("/")[0]
            if path and parent not in self._absent:
                for node in ancestors(path):
                    self._drop_at(node)
            # In Zarr v3 the node's own document is rewritten without its copies anyway.
            if not is_new and (not above_only or self._format == 2):
                self._drop_at(path)

    def _drop_outside(self) -> None:
        """Remove the copies in groups above the root of a local store, such as the plate of a field, once."""
        if self._dropped_outside or not isinstance(self._storage, LocalStorage):
            return
        self._dropped_outside = True
        name = V2.consolidated if self._format == 2 else V3.group
        for folder in folders_above(self._storage.root):
            path = os.path.join(folder, name)
            if not os.path.lexists(path):
                continue
            try:
                ConsolidatedCopies(self._storage.beside(folder, read_only=False), self._format)._drop_at("")
            except LamellaError as error:
                warn(
                    f"The consolidated metadata in {path} cannot be removed: {clause(error)}. Readers of them see "
                    f"{self._storage.name} as it was before this change."
                )

    def _drop_at(self, node: str) -> None:
        if node and node in self._absent:
            return
        if self._format == 2:
            key = join(node, V2.consolidated)
            if self._storage.size(key) is not None:
                self._storage.delete(key)
            self._absent[node] = None
            return
        if node in self._locked_paths:  # its document is rewritten without its copies
            return
        key = join(node, V3.group)
        last_stamp = self._absent.get(node)
        if last_stamp is not None and self._storage.stamp(key) == last_stamp:
            return
        data, stamp = self._storage.read_stamped(key) or (None, None)
        if data is not None and b'"consolidated_metadata"' in data:
            # A thread that has locked a document waits only for documents above it, so that no two wait for each other.
            if any(not path or node.startswith(f"{path}/") for path in self._locked_paths):
                vars(self._thread).setdefault("postponed", set()).add(node)
                return
            stamp = self._rewrite(node, key) or stamp  # nothing was written where only a text is equal
        self._absent[node] = stamp

    def _rewrite(self, node: str, key: str) -> Stamp | None:
        """Remove the copies from a document; return the stamp of the new document, None where it has no copies."""
        where = self._storage.where(node)

        def without_copies(data: bytes | None) -> bytes | None:
            document = {} if data is None else parse_object(data, where, V3.group)
            if document.pop("consolidated_metadata", None) is None:
                return None
            return to_bytes(document, where, V3.group)

        return self._storage.update(key, without_copies)
