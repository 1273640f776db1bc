"""Read and write the JSON documents of groups and arrays by path, each in one atomic replace.

Only ``store`` distinguishes the Zarr formats, and mostly here. Pixels are in ``arrays``, OME-NGFF in ``spec``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, NodeExistsError, NodeNotFoundError
from lamella.store.keys import DOCUMENTS, METADATA_FILES, V2, V3, ancestors, check_key, join
from lamella.store.metadata import format_v2, format_v3
from lamella.store.metadata.array_creation import array_like, new_array
from lamella.store.metadata.array_edits import edit_array
from lamella.store.metadata.consolidated import ConsolidatedCopies
from lamella.store.metadata.json_document import (
    StoredGroup,
    encoded_array,
    parse_object,
    parsed_array,
    stored_group,
    to_bytes,
)
from lamella.store.metadata.stored_documents import NodeKind, StoredDocuments
from lamella.store.storage import ChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from lamella.store.metadata.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.storage import Stamp, Storage
    from lamella.types import JSONObject, Shape

__all__ = ["Documents", "NodeKind", "array_like", "may_be_node_name", "new_array"]

_MARKER_FILES: tuple[tuple[str, ZarrFormat], ...] = (
    (V3.group, 3),
    (V2.group, 2),
    (V2.array, 2),
    (V2.attributes, 2),
)


class Documents(StoredDocuments):
    """The documents of one store.

    Nothing is cached: every read is from the store, so that two handles never disagree. `stamp` shows cheaply whether
    a document changed since it was read. Methods raise `NodeNotFoundError` where a path has no such node, and
    `MetadataError` where its document is damaged.

    >>> import tempfile
    >>> from lamella.store.storage import open_storage
    >>> documents = Documents.create(open_storage(tempfile.mkdtemp()), 3)
    >>> documents.put_group("A/1", {"colour": "blue"})
    >>> documents.group("A/1"), documents.children(""), documents.kind("B")
    ({'colour': 'blue'}, {}, None)
    """

    def __init__(self, storage: Storage, zarr_format: ZarrFormat) -> None:
        super().__init__(storage, zarr_format)
        #: Whether attributes are those of a group: in Zarr v2, ``.zgroup`` is not looked for then.
        self.names_group: Callable[[JSONObject], bool] | None = None
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
        storage.expect(DOCUMENTS, at_once=True)
        for file, zarr_format in _MARKER_FILES:
            if storage.exists(file):
                return cls(storage, zarr_format)
        return None

    @classmethod
    def create(cls, storage: Storage, zarr_format: ZarrFormat) -> Documents:
        """Start a store of a format; nothing is written before the first node."""
        if zarr_format not in (2, 3):
            raise InvalidArgumentError(f"zarr_format={zarr_format!r} is not 2 or 3")
        storage.check_writable("")
        return cls(storage, zarr_format)

    # ---- reading --------------------------------------------------------------------------------

    def kind(self, path: str, *, surely: bool = False) -> NodeKind | None:
        """Return whether a path has a group, an array, or no node; ``surely`` none, where a second look costs requests.

        Use ``surely`` for a group that lists others, before the list is written without those that are stored.
        """
        if self.format == 3:
            document = self.document(path, V3.group)
            if document is None and surely and not self.reads_twice:
                data = self._read_again(path, V3.group).get(V3.group)
                document = None if data is None else parse_object(data, self.at(path), V3.group)
            if document is None:
                return None
            return "array" if format_v3.node_type(document, self.at(path)) == "array" else "group"
        if self._shows(path, V2.array):
            return "array"
        if self._shows(path, V2.group):
            return "group"
        # A group whose .zgroup is missing still has all its metadata in .zattrs.
        is_group = self._shows(path, V2.attributes)
        if is_group or surely or self.reads_twice:
            found = self._read_again(path, V2.array, V2.group, V2.attributes)
            is_group = is_group or V2.group in found or V2.attributes in found
            if V2.array in found:
                return "array"
        return "group" if is_group else None

    def has_older_documents(self) -> bool:
        """Whether documents of Zarr v2 lie at the root beside those of Zarr v3."""
        return self.format == 3 and self.storage.has_any(V2.all)

    def is_whole_group(self, path: str) -> bool:
        """Whether a group has all its documents: in Zarr v2 a kill can leave one of two."""
        if self.format == 3:
            return self.kind(path) == "group"
        return self._has(path, V2.group) and self._has(path, V2.attributes)

    def has_begun_group(self, path: str) -> bool:
        """Whether a killed creation left only the mark of a group, which is the same for all groups of Zarr v2.

        Where new folders appear complete, another program made it.
        """
        if self.format == 3 or self.storage.has_folders or not self._has(path, V2.group):
            return False
        return self.storage.list(path) == [V2.group]

    def has_begun_array(self, path: str, meta: ArrayMeta) -> bool:
        """Whether a killed creation left only the attributes of an array: in Zarr v2 they look like a group."""
        attributes = None if self._has(path, V2.group) else self.document(path, V2.attributes)
        return self.format == 2 and attributes == meta.attributes

    def group(self, path: str) -> JSONObject:
        """Read the attributes of a group."""
        stamped = self._group_bytes(path)
        return {} if stamped is None else self._parse_group(path, stamped[0])

    def stored_group(self, path: str) -> tuple[StoredGroup, Stamp | None]:
        """Read the attributes of a group as a shared value, with their stamp."""
        stamped = self._group_bytes(path)
        return (StoredGroup(b"", {}), None) if stamped is None else self._shared_group(path, *stamped)

    def _shared_group(
        self, path: str, data: bytes, stamp: Stamp | None = None
    ) -> tuple[StoredGroup, Stamp | None]:
        return stored_group(data, self.format, lambda: self._parse_group(path, data)), stamp

    def _group_bytes(self, path: str) -> tuple[bytes, Stamp | None] | None:
        """Read the document with the attributes of a group, with its stamp; None for a group of Zarr v2 without.

        Attributes that name a group, as those of OME-NGFF do, make other documents of Zarr v2 needless.
        """
        if self.names_group is None:
            self._expect_both([path])
        if self.format == 3:
            stamped = self._stamped(path, V3.group)
            if stamped is None:
                raise self._no("group", path)
            return stamped
        stamped = self.storage.read_stamped(join(path, V2.attributes))
        if stamped is not None and self.names_group is not None:
            group, _ = self._shared_group(path, *stamped)
            if self.names_group(group.attributes):
                return stamped
        is_marked = self._is_marked(path)
        if stamped is None and is_marked:  # most groups have attributes
            stamped = self._stamped_again(path, V2.attributes)
        if not is_marked and stamped is None:
            raise self._no("group", path)
        return stamped

    def array(self, path: str) -> ArrayMeta:
        """Read the description of an array."""
        return self.stamped_array(path)[0]

    def stamped_array(self, path: str) -> tuple[ArrayMeta, Stamp | None]:
        """Read the description of an array, with its `array_stamp`."""
        self._expect_both(arrays=[path])
        stamped = self._stamped(path, self.files.array)
        if stamped is None:
            raise self._no("array", path)
        data, stamp = stamped
        attributes = self._stamped(path, V2.attributes, lists=False) if self.format == 2 else None
        return self.parse_array(path, data, attributes and attributes[0]), stamp

    def parse_array(self, path: str, data: bytes, attributes_data: bytes | None) -> ArrayMeta:
        """Parse an array's document and, in Zarr v2, the document of its attributes."""
        return parsed_array(data, attributes_data, lambda: self._parse_array(path, data, attributes_data))

    def _parse_array(self, path: str, data: bytes, attributes_data: bytes | None) -> ArrayMeta:
        if self.format == 2:
            attributes = (
                {} if attributes_data is None else parse_object(attributes_data, self.at(path), V2.attributes)
            )
            return format_v2.parse_array(
                parse_object(data, self.at(path), V2.array), attributes, self.at(path)
            )
        document = parse_object(data, self.at(path), V3.group)
        if format_v3.node_type(document, self.at(path)) == "group":
            raise self._no("array", path, "a group is stored there")
        return format_v3.parse_array(document, self.at(path))

    def array_document(self, path: str) -> tuple[JSONObject, JSONObject]:
        """Read the document of an array and its attributes, even where its codecs are unsupported."""
        file = self.files.array
        document = self.document(path, file)
        if document is None:
            raise self._no("array", path)
        if self.format == 3:
            return document, format_v3.attributes_of(document, self.at(path))
        return document, self.document(path, V2.attributes) or {}

    def expect(
        self,
        groups: Iterable[str],
        *,
        arrays: Iterable[str] = (),
        at_once: bool = False,
        attributes_only: bool = False,
    ) -> None:
        """Request the documents of nodes that will be opened next, in one round on remote stores.

        ``attributes_only`` is for groups whose attributes show that they are groups; see `stored_group`.
        """
        if at_once or self.storage.reads_ahead:
            of_arrays = [join(path, file) for path in arrays for file in self.files_of_array]
            files = dict.fromkeys((self.files.group, self.files.attributes)[attributes_only:])
            of_groups = [join(path, file) for path in groups for file in files]
            self.storage.expect([*of_groups, *of_arrays], at_once=at_once)

    def load_ahead(self, groups: Iterable[str], *, array: str | None = None) -> None:
        """Load documents in folders ahead that are read next: of groups, each with one of its arrays."""
        files = [self.files.attributes]
        if array is not None:
            files += [f"{array}/{file}" for file in self.files_of_array]
        self.storage.load_ahead([join(path, file) for path in groups for file in files])

    @property
    def files_of_array(self) -> list[str]:
        """Names of the documents of an array."""
        return list(dict.fromkeys((self.files.array, self.files.attributes)))

    def _expect_both(self, groups: Iterable[str] = (), *, arrays: Iterable[str] = ()) -> None:
        """Request the two documents of a node in Zarr v2 in one round on remote stores."""
        if self.format == 2:
            self.expect(groups, arrays=arrays)

    def existing(self, paths: Collection[str], *, groups: Iterable[str] = ()) -> set[str]:
        """Return those of some paths where anything is stored; the documents of groups are requested with them."""
        beside = [join(path, file) for path in groups for file in self.files.all]
        if self.format == 2:
            beside.append(V2.consolidated)
        return self.storage.existing(paths, beside=beside)

    def look_at_move(self, old: str, new: str, *, groups: Collection[str]) -> set[str]:
        """Return which of two nodes exist, before a `move`; the documents of groups are requested with them."""
        beside = [join(path, file) for path in groups for file in self.files.all]
        if self.format == 2:
            beside += [join(path, V2.consolidated) for path in ("", *groups)]
        return self.storage.look_at_move(old, new, beside=beside)

    def children(self, path: str) -> dict[str, NodeKind]:
        """List the nodes directly below a group, in natural order, with their kinds.

        A child with a damaged document raises `MetadataError`, so that it is not silently lost.
        """
        kinds: dict[str, NodeKind] = {}
        for name in self.storage.list(path):
            kind = self.kind(join(path, name)) if may_be_node_name(name) else None
            if kind is not None:
                kinds[name] = kind
        return kinds

    def stamp(self, path: str) -> Stamp | None:
        """Return the stamp of a group's attributes; None where the store has no stamps."""
        return self.storage.stamp(join(path, self._attributes_file))

    def array_stamp(self, path: str) -> Stamp | None:
        """Return the stamp of an array's document; None where the store has no stamps."""
        return self.storage.stamp(join(path, self.files.array))

    # ---- writing --------------------------------------------------------------------------------

    def put_group(self, path: str, attributes: JSONObject) -> None:
        """Create a group, or replace the attributes of one; unknown keys beside the attributes are kept."""
        self.put_groups({path: attributes})

    def group_files(self, path: str, attributes: JSONObject) -> dict[str, bytes]:
        """Return the files that `put_group` writes."""
        return dict(self._group_files(path, attributes, False, {}))

    def put_root(self, attributes: JSONObject) -> bool:
        """Create the root group; False where another process created one since `open` found none."""
        self.storage.check_writable("")
        (name, data), *others = self._group_files("", attributes, True, {})
        try:
            self.storage.write_if(name, data, None)
        except ChangedError:
            return False
        self.storage.write_many(others)
        return True

    def put_groups(self, groups: Mapping[str, JSONObject], *, new: bool = False) -> None:
        """Create many groups, or replace their attributes, in the order of the argument.

        Each document is replaced atomically; all of them together are not. ``new`` skips reading the old document
        where the caller knows that it is missing.
        """
        self.storage.check_writable("")
        for path in groups:
            check_key(path)
        self._consolidated.drop(groups, new=new)
        # Encode attributes once that many groups share, such as the positions of a new plate.
        encoded: dict[int, bytes] = {}
        self.storage.write_many(
            item
            for path, attributes in groups.items()
            for item in self._group_files(path, attributes, new, encoded)
        )

    def put_missing_group(self, path: str, attributes: JSONObject) -> bool:
        """Create a group that lists others, unless there is one; return whether there was none."""
        if self.kind(path, surely=True) is not None:
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
        above the folders. Return the nodes that another program created meanwhile, which stay as they are, and whether
        they are equal; none where the storage does not create exclusively. NodeExistsError for a folder that exists:
        those before it are written.
        """
        self.storage.check_writable("")
        if above and self.storage.has_folders:
            self.put_groups(above, new=True)
            above = None
        self._consolidated.drop([*(above or ()), *folders], new=True)
        encoded: dict[int, list[tuple[str, bytes]]] = {}
        rest = [
            item for path, group in (above or {}).items() for item in self._group_files(path, group, True, {})
        ]
        for folder, nodes in folders.items():
            check_key(folder)
            files = encoded.get(id(nodes))
            if files is None:
                files = encoded[id(nodes)] = list(self._new_files(nodes))
            is_created = self.storage.write_new_folder(folder, files)
            if is_created is False:
                raise NodeExistsError(f"cannot make {self.location(folder)}: something is stored there")
            if is_created is None:
                rest += [(f"{folder}/{name}", data) for name, data in files]
        return self._created_by_others(dict(rest), self.storage.write_new(rest))

    def _created_by_others(self, files: Mapping[str, bytes], keys: Collection[str]) -> dict[str, bool]:
        stored = self.storage.read_many(list(keys)) if keys else {}
        gone = [key for key, came in stored.items() if came is None]  # deleted meanwhile, by who created them
        if gone:
            again = self.storage.write_new([(key, files[key]) for key in gone])
            stored = {key: came for key, came in stored.items() if came is not None or key in again}
        others: dict[str, bool] = {}
        for key, came in stored.items():
            path, _, name = key.rpartition("/")
            if name == V2.group:  # the same for every group; the other document names its creator
                continue
            others[path] = others.get(path, True) and came is not None and came[0] == files[key]
        return others

    def _new_files(self, nodes: Mapping[str, JSONObject | ArrayMeta]) -> Iterator[tuple[str, bytes]]:
        for path, content in nodes.items():
            if isinstance(content, dict):
                yield from self._group_files(check_key(path), content, True, {})
            else:
                yield from self._array_files(check_key(path), content, True)

    def edit_group(
        self, path: str, edit: Callable[[JSONObject], JSONObject]
    ) -> tuple[JSONObject, Stamp | None]:
        """Change the attributes of a group by a pure function, so that concurrent edits lose nothing.

        `edit` maps the stored attributes to the new ones, and may run again where others write meanwhile. Returns the
        attributes as written, and their stamp; None where the stamp is unknown.
        """
        self.storage.check_writable(path)
        if self.storage.locks_processes and not self.storage.exists(path):
            raise self._no("group", path)  # before a lock file would make its folder
        edited: JSONObject = {}
        is_marked = True

        def change(data: bytes | None) -> JSONObject:
            nonlocal edited, is_marked
            is_marked = self.format == 3 or self._is_marked(path)
            if data is None and (self.format == 3 or not is_marked):
                raise self._no("group", path)
            document = {} if data is None else parse_object(data, self.at(path), self._attributes_file)
            edited = edit(self._attributes_in(path, document))
            return edited if self.format == 2 else format_v3.group_document(edited, document)

        stamp = self.edit_document(path, self._attributes_file, change)
        if not is_marked:  # a creation was killed after the attributes
            mark = to_bytes(format_v2.GROUP_DOCUMENT, self.at(path), V2.group)
            self.storage.write(join(path, V2.group), mark)
        return edited, stamp

    def edit_document(
        self, path: str, file: str, change: Callable[[bytes | None], JSONObject | None]
    ) -> Stamp | None:
        """Change one document of a node by a function, so that concurrent edits lose nothing.

        `change` maps the stored bytes (None: no document) to the new document (None: leave it unchanged), and may run
        again where others write meanwhile. Returns the stamp of the new document; None where nothing was written or it
        is unknown.
        """

        def replace(data: bytes | None) -> bytes | None:
            document = change(data)
            if document is None:
                return None
            new = to_bytes(document, self.at(path), file)
            self._consolidated.drop([path])
            return new

        locked_paths = self._consolidated.mark_locked(path)
        try:
            return self.storage.update(join(path, file), replace)
        finally:
            self._consolidated.restore_locked(locked_paths)

    def swap_group(
        self, path: str, old: StoredGroup, new: StoredGroup, before_write: Callable[[], object]
    ) -> bool:
        """Replace a group's document by a prepared one, if it still is `old`; return False otherwise.

        Costs no parsing or encoding, unlike `edit_group`. ``before_write`` runs under the lock, before the
        replacement.
        """
        if not old.data:
            return False

        def prepare() -> None:
            before_write()
            self._consolidated.drop([path])

        locked_paths = self._consolidated.mark_locked(path)
        try:
            return self.storage.swap(join(path, self._attributes_file), old.data, new.data, prepare)
        finally:
            self._consolidated.restore_locked(locked_paths)

    def prepared(self, path: str, attributes: JSONObject, old: StoredGroup | None = None) -> StoredGroup:
        """Encode the document of a new group, or of one that replaces ``old``; unknown keys of ``old`` are kept."""
        document = attributes
        if self.format == 3:
            old_document = None if old is None else parse_object(old.data, self.at(path), V3.group)
            document = format_v3.group_document(attributes, old_document)
        data = to_bytes(document, self.at(path), self._attributes_file)
        return stored_group(data, self.format, lambda: self._parse_group(path, data))

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Lock a group for a change of several steps, each of which may be an `edit_group`."""
        # Not the lock of the document itself, which `edit_group` locks inside.
        return self.storage.lock(join(path, "members"))

    def put_array(self, path: str, meta: ArrayMeta, *, new: bool = False) -> None:
        """Create an array, or replace the document of one. Chunks are not touched; ``new`` as for `put_groups`."""
        self.put_arrays({path: meta}, new=new)

    def put_arrays(self, arrays: Mapping[str, ArrayMeta], *, new: bool = False) -> None:
        """Create many arrays, in the order of the argument; ``new`` as for `put_groups`."""
        self.storage.check_writable("")
        for path, meta in arrays.items():
            check_key(path)
            if meta.zarr_format != self.format:
                raise InvalidArgumentError(
                    f"array {path!r} is described for Zarr v{meta.zarr_format}, "
                    f"the store is Zarr v{self.format}"
                )
        self._consolidated.drop(arrays)
        self.storage.write_many(
            item for path, meta in arrays.items() for item in self._array_files(path, meta, new)
        )

    def put_shape(self, path: str, shape: Shape) -> ArrayMeta:
        """Change only the shape of an array; return its description."""
        self.storage.check_writable(path)
        return edit_array(self, path, lambda meta: meta.with_shape(shape))

    def put_new_array(self, path: str, meta: ArrayMeta) -> bool:
        """Create an array in a new folder, as a step of an edit of the group above.

        Returns False, and does nothing, where the folder exists or the storage cannot create folders atomically.
        """
        return self.storage.write_new_folder(path, list(self._array_files("", meta, new=True))) is True

    def delete_abandoned(self, path: str, but: str | None = None) -> None:
        """Delete nodes below a group that have temporary names of failed or killed calls, but one of a name.

        In folders the next writer deletes them.
        """
        for name in self.storage.abandoned_names(path):
            if name != but:
                self.delete(join(path, name))

    def delete(self, path: str) -> None:
        """Delete a node with all below it. The caller edits the documents above."""
        self.storage.check_writable(path)
        if not self.storage.exists(path):
            raise self._no("node", path)
        self._consolidated.drop(ancestors(path), above_only=False)
        self.storage.delete(path)

    def delete_documents(self, path: str) -> None:
        """Delete the documents of a group; what is below it stays."""
        self._consolidated.drop(ancestors(path), above_only=False)
        self.storage.delete_files([join(path, file) for file in self.files.all])

    def move(self, old: str, new: str) -> None:
        """Move a node with all below it. The caller edits the documents above."""
        self.storage.check_writable(old)
        self.drop_consolidated(old, new)
        self.storage.move(old, new)

    def drop_consolidated(self, *paths: str) -> None:
        """Remove the consolidated metadata that describe nodes, before these are changed."""
        self._consolidated.drop([above for path in paths for above in ancestors(path)], above_only=False)

    def replace(self, path: str, by: str) -> None:
        """Move the node at `by` over the one at `path`, which is deleted; see `Storage.replace`."""
        self.storage.check_writable(path)
        self._consolidated.drop([*ancestors(path), *ancestors(by)], above_only=False)
        self.storage.replace(path, by)

    def discard_copies(self, path: str, of: str) -> None:
        """Delete the files below `path` that are equal below `of`: copies that a killed move left."""
        self.storage.check_writable(path)
        self._consolidated.drop(ancestors(path), above_only=False)
        self.storage.discard_copies(path, of)

    # ---- the files of a node --------------------------------------------------------------------

    def _group_files(
        self, path: str, attributes: JSONObject, new: bool, encoded: dict[int, bytes]
    ) -> Iterator[tuple[str, bytes]]:
        if self.format == 3:
            old = None if new else self._replaced_group(path)
            if old is not None:
                yield (
                    join(path, V3.group),
                    to_bytes(format_v3.group_document(attributes, old), self.at(path), V3.group),
                )
                return
        if id(attributes) not in encoded:
            document = format_v3.group_document(attributes, None) if self.format == 3 else attributes
            encoded[id(attributes)] = to_bytes(document, self.at(path), self._attributes_file)
        if self.format == 3:
            yield join(path, V3.group), encoded[id(attributes)]
            return
        try:
            is_marked = not new and self._is_marked(path)
        except NodeNotFoundError as error:
            raise NodeExistsError(
                f"cannot make a group at {self.location(path)}: an array is stored there"
            ) from error
        yield join(path, V2.attributes), encoded[id(attributes)]
        # Last: for other readers the group appears with this file, and then has its attributes.
        if not is_marked:
            yield (
                join(path, V2.group),
                to_bytes(format_v2.GROUP_DOCUMENT, self.at(path), V2.group),
            )

    def _array_files(self, path: str, meta: ArrayMeta, new: bool) -> Iterator[tuple[str, bytes]]:
        if self.format == 3:
            data = None if new else self.storage.read(join(path, V3.group))
            if data is not None and b'"group"' in data and self.kind(path) == "group":
                raise NodeExistsError(
                    f"cannot make an array at {self.location(path)}: a group is stored there"
                )
            yield (
                join(path, V3.group),
                encoded_array(
                    meta, lambda: to_bytes(format_v3.array_document(meta), self.at(path), V3.group)
                ),
            )
            return
        if not new and self._has(path, V2.group):
            raise NodeExistsError(f"cannot make an array at {self.location(path)}: a group is stored there")
        # First: attributes alone would look like a group.
        yield (
            join(path, V2.array),
            encoded_array(meta, lambda: to_bytes(format_v2.array_document(meta), self.at(path), V2.array)),
        )
        attributes = to_bytes(meta.attributes, self.at(path), V2.attributes)
        yield join(path, V2.attributes), attributes

    def _replaced_group(self, path: str) -> JSONObject | None:
        """Read the document of a group of Zarr v3 that is written again; None if there is none."""
        document = self.document(path, V3.group)
        if document is not None and format_v3.node_type(document, self.at(path)) == "array":
            raise NodeExistsError(f"cannot make a group at {self.location(path)}: an array is stored there")
        return document

    def _parse_group(self, path: str, data: bytes) -> JSONObject:
        return self._attributes_in(path, parse_object(data, self.at(path), self._attributes_file))

    def _attributes_in(self, path: str, document: JSONObject) -> JSONObject:
        """Return the attributes of a group in its document."""
        if self.format == 2:
            return document
        if format_v3.node_type(document, self.at(path)) == "array":
            raise self._no("group", path, "an array is stored there")
        return format_v3.attributes_of(document, self.at(path))

    @property
    def _attributes_file(self) -> str:
        return self.files.attributes

    def _is_marked(self, path: str) -> bool:
        """Whether a Zarr v2 group has its ``.zgroup``; raise for an array."""
        if self._shows(path, V2.group):
            return True
        is_array = self._shows(path, V2.array)
        found = self._read_again(path, V2.group, V2.array) if self.reads_twice and not is_array else ()
        if is_array or V2.array in found:
            raise self._no("group", path, "an array is stored there")
        return V2.group in found


def may_be_node_name(name: str) -> bool:
    """Whether a name can be a node's; saves a request for names that no writer uses."""
    if name in METADATA_FILES or name.startswith(".z"):
        return False
    try:
        check_key(name)
    except ValueError:
        return False
    return True
