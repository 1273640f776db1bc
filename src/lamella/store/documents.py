"""Groups and arrays of a store by path: the only code that knows a store's Zarr format.

Reads and writes whole documents, each by one atomic replace. What the documents mean as OME-NGFF is not known
here; pixels are in ``arrays``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from lamella.errors import InvalidArgumentError, NodeExistsError, NodeNotFoundError
from lamella.store import array_memo, format_v2, format_v3
from lamella.store.array_creation import array_like, new_array
from lamella.store.array_edits import edit_array
from lamella.store.consolidated import ConsolidatedCopies
from lamella.store.formats import DOCUMENTS, FORMATS, METADATA_FILES, V2, V3
from lamella.store.json_document import parse_object, to_bytes
from lamella.store.keys import ancestors, check_key, join
from lamella.store.storage import ChangedError
from lamella.store.stored_group import StoredGroup, stored_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from lamella.store.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.storage import Stamp, Storage
    from lamella.types import JSONObject, Shape

__all__ = ["Documents", "NodeKind", "array_like", "can_hold_a_node", "new_array"]

NodeKind: TypeAlias = Literal["group", "array"]
"""What a path holds."""

_MARKS: tuple[tuple[str, ZarrFormat], ...] = (
    (V3.group, 3),
    (V2.group, 2),
    (V2.array, 2),
    (V2.attributes, 2),
)


class Documents:
    """The documents of one store.

    Nothing is cached: every read is from the store, so that two handles never disagree. `stamp` tells cheaply
    whether a document changed since it was read.

    Parameters
    ----------
    storage : Storage
        Where the bytes are.
    zarr_format : {2, 3}
        The format of every node of the store.

    Examples
    --------
    >>> import tempfile
    >>> from lamella.store.storage import open_storage
    >>> documents = Documents.create(open_storage(tempfile.mkdtemp()), 3)
    >>> documents.put_group("A/1", {"colour": "blue"})
    >>> documents.group("A/1"), documents.children(""), documents.kind("B")
    ({'colour': 'blue'}, {}, None)
    """

    def __init__(self, storage: Storage, zarr_format: ZarrFormat) -> None:
        self.storage = storage
        self.format: ZarrFormat = zarr_format
        self.files = FORMATS[zarr_format]
        self._consolidated = ConsolidatedCopies(storage, zarr_format)

    def __repr__(self) -> str:
        return f"Documents({self.storage!r}, {self.format})"

    def __reduce__(self) -> tuple[object, ...]:
        return Documents, (self.storage, self.format)

    @classmethod
    def open(cls, storage: Storage) -> Documents | None:
        """Find the format of a store; None when there is no Zarr node at its root.

        Where documents of both formats stand side by side, Zarr v3 counts, as it does for zarr-python.
        """
        storage.expect(DOCUMENTS, at_once=True)
        for file, zarr_format in _MARKS:
            if storage.exists(file):
                return cls(storage, zarr_format)
        return None

    @classmethod
    def create(cls, storage: Storage, zarr_format: ZarrFormat) -> Documents:
        """Begin a store of a format; nothing is written before the first node."""
        if zarr_format not in (2, 3):
            raise InvalidArgumentError(f"zarr_format={zarr_format!r} is not 2 or 3")
        storage.check_writable("")
        return cls(storage, zarr_format)

    # ---- looking --------------------------------------------------------------------------------

    def kind(self, path: str) -> NodeKind | None:
        """Whether a path holds a group, an array, or no node.

        Raises
        ------
        MetadataError
            Its document is damaged.
        """
        if self.format == 3:
            document = self.document(path, V3.group)
            if document is None:
                return None
            return "array" if format_v3.node_type(document, self.at(path)) == "array" else "group"
        if self._has(path, V2.array):
            return "array"
        # A group whose .zgroup is missing but whose attributes are there still says all that it has to say.
        if self._has(path, V2.group) or self._has(path, V2.attributes):
            return "group"
        return None

    def has_older_documents(self) -> bool:
        """Whether documents of Zarr v2 lie at the root beside those of Zarr v3."""
        return self.format == 3 and self.storage.has_any(V2.all)

    def is_whole_group(self, path: str) -> bool:
        """Whether a group has all its documents: a kill can leave one of the two that it has in Zarr v2."""
        if self.format == 3:
            return self.kind(path) == "group"
        return self._has(path, V2.group) and self._has(path, V2.attributes)

    def group(self, path: str) -> JSONObject:
        """Attributes of a group, fresh from the store.

        Raises
        ------
        NodeNotFoundError
            There is no group at the path.
        MetadataError
            Its document is damaged.
        """
        if self.format == 3:
            document = self._group_document(path)
            if document is None:
                raise self._no("group", path)
            return format_v3.attributes_of(document, self.at(path))
        marked = self._is_marked(path)
        attributes = self.document(path, V2.attributes)
        if attributes is None and not marked:
            raise self._no("group", path)
        return attributes or {}

    def stored_group(self, path: str) -> tuple[StoredGroup, Stamp | None]:
        """Read the attributes of a group for looking only, with the stamp of what was read; see `group`."""
        marked = self.format == 2 and self._is_marked(path)
        found = self.storage.read_stamped(join(path, self._attributes_file))
        if found is not None:
            data, stamp = found
            return stored_group(data, self.format, lambda: self._parse_group(path, data)), stamp
        if not marked:
            raise self._no("group", path)
        return StoredGroup(b"", {}), None

    def array(self, path: str) -> ArrayMeta:
        """Describe an array as its document does, fresh from the store.

        Raises
        ------
        NodeNotFoundError
            There is no array at the path.
        MetadataError
            Its document is damaged.
        """
        return self.stamped_array(path)[0]

    def stamped_array(self, path: str) -> tuple[ArrayMeta, Stamp | None]:
        """Describe an array as `array` does, with the `array_stamp` of what was read."""
        file = self.files.array
        found = self.storage.read_stamped(join(path, file))
        if found is None:
            raise self._no("array", path)
        data, stamp = found
        beside = self.storage.read(join(path, V2.attributes)) if self.format == 2 else None
        return self.parse_array(path, data, beside), stamp

    def parse_array(self, path: str, data: bytes, beside: bytes | None) -> ArrayMeta:
        """Describe an array by its document and, in Zarr v2, by that of its attributes."""
        return array_memo.parsed(data, beside, lambda: self._parse_array(path, data, beside))

    def _parse_array(self, path: str, data: bytes, beside: bytes | None) -> ArrayMeta:
        if self.format == 2:
            attributes = {} if beside is None else parse_object(beside, self.at(path), V2.attributes)
            return format_v2.parse_array(
                parse_object(data, self.at(path), V2.array), attributes, self.at(path)
            )
        document = parse_object(data, self.at(path), V3.group)
        if format_v3.node_type(document, self.at(path)) == "group":
            raise self._no("array", path, "a group is stored there")
        return format_v3.parse_array(document, self.at(path))

    def array_document(self, path: str) -> tuple[JSONObject, JSONObject]:
        """Return the document of an array as stored, also of one that is not decoded here, and its attributes.

        Raises
        ------
        NodeNotFoundError
            There is no array at the path.
        MetadataError
            Its document is damaged.
        """
        file = self.files.array
        document = self.document(path, file)
        if document is None:
            raise self._no("array", path)
        if self.format == 3:
            return document, format_v3.attributes_of(document, self.at(path))
        return document, self.document(path, V2.attributes) or {}

    def expect(self, groups: Iterable[str], *, arrays: Iterable[str] = ()) -> None:
        """Request the documents of nodes that are opened next, in one round where requests wait."""
        if not self.storage.reads_ahead:
            return
        files = dict.fromkeys((self.files.group, self.files.attributes))
        keys = [join(path, file) for path in groups for file in files]
        files = dict.fromkeys((self.files.array, self.files.attributes))
        self.storage.expect([*keys, *(join(path, file) for path in arrays for file in files)])

    def children(self, path: str) -> dict[str, NodeKind]:
        """Nodes directly below a group, in natural order; folders and files that are none are left out.

        A child whose document is damaged raises `MetadataError`: it is there, and must not be lost in
        silence.
        """
        found: dict[str, NodeKind] = {}
        for name in self.storage.list(path):
            kind = self.kind(join(path, name)) if can_hold_a_node(name) else None
            if kind is not None:
                found[name] = kind
        return found

    def stamp(self, path: str) -> Stamp | None:
        """Return what changes whenever the attributes of a group change; None when the store cannot tell."""
        return self.storage.stamp(join(path, self._attributes_file))

    def array_stamp(self, path: str) -> Stamp | None:
        """Return what changes whenever the document of an array changes; None when the store cannot tell."""
        return self.storage.stamp(join(path, self.files.array))

    def location(self, path: str) -> str:
        """Where a node is, for messages."""
        return f"{path or '/'!r} in {self.storage.name}"

    def at(self, path: str) -> str:
        """Whole path or URL of a node, for the messages of those who read its document."""
        return self.storage.where(path)

    # ---- changing -------------------------------------------------------------------------------

    def put_group(self, path: str, attributes: JSONObject) -> None:
        """Make a group, or replace the attributes of one; unknown keys beside the attributes survive."""
        self.put_groups({path: attributes})

    def put_root(self, attributes: JSONObject) -> bool:
        """Create the group of a new store; False where another process began one there since `open` found none."""
        self.storage.check_writable("")
        self._consolidated.drop([""], new=True)
        (name, data), *others = self._group_files("", attributes, True, {})
        try:
            self.storage.write_if(name, data, None)
        except ChangedError:
            return False
        self.storage.write_many(others)
        return True

    def put_groups(self, groups: Mapping[str, JSONObject], *, new: bool = False) -> None:
        """Make many groups, or replace their attributes, in the order given.

        Each document is replaced atomically; all of them together are not. ``new`` spares the look for an old
        document where the caller knows that there is none.
        """
        self.storage.check_writable("")
        for path in groups:
            check_key(path)
        self._consolidated.drop(groups, new=new)
        # Many groups may share one object of attributes, as the positions of a new plate do.
        encoded: dict[int, bytes] = {}
        self.storage.write_many(
            item for path, given in groups.items() for item in self._group_files(path, given, new, encoded)
        )

    def put_new(self, folders: Mapping[str, Mapping[str, JSONObject | ArrayMeta]]) -> None:
        """Make many nodes in folders that are not there yet, each of which is there whole or not at all, where it can.

        Parameters
        ----------
        folders : mapping
            Each folder, and what is in it by path below it, in the order of writing: the attributes of a group, or an
            array. Equal contents may be one object, which is encoded once.

        Raises
        ------
        NodeExistsError
            Something is at the place of a folder. The folders before it are written.
        """
        self.storage.check_writable("")
        self._consolidated.drop(folders, new=True)
        encoded: dict[int, list[tuple[str, bytes]]] = {}
        rest: list[tuple[str, bytes]] = []
        for folder, nodes in folders.items():
            check_key(folder)
            files = encoded.get(id(nodes))
            if files is None:
                files = encoded[id(nodes)] = list(self._new_files(nodes))
            made = self.storage.write_new_folder(folder, files)
            if made is False:
                raise NodeExistsError(f"cannot make {self.location(folder)}: something is stored there")
            if made is None:
                rest += [(f"{folder}/{name}", data) for name, data in files]
        self.storage.write_many(rest)

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

        Parameters
        ----------
        path : str
            The group.
        edit : callable
            Given the stored attributes, returns the new ones. Runs again where others write meanwhile.

        Returns
        -------
        tuple of dict and Stamp
            The attributes as written, and the stamp of exactly these; None where it is not known.

        Raises
        ------
        NodeNotFoundError
            There is no group at the path.
        """
        self.storage.check_writable(path)
        if self.storage.locks_processes and not self.storage.exists(path):
            raise self._no("group", path)  # before a lock file would make its folder
        edited: JSONObject = {}

        def change(data: bytes | None) -> JSONObject:
            nonlocal edited
            if self.format == 2:
                self._check_group(path, data)
                edited = edit({} if data is None else parse_object(data, self.at(path), V2.attributes))
                return edited
            if data is None:
                raise self._no("group", path)
            edited = edit(self._parse_group(path, data))
            return format_v3.group_document(edited, parse_object(data, self.at(path), V3.group))

        stamp = self.edit_document(path, self._attributes_file, change)
        return edited, stamp

    def edit_document(
        self, path: str, file: str, change: Callable[[bytes | None], JSONObject | None]
    ) -> Stamp | None:
        """Change one document of a node by a function, so that concurrent edits lose nothing.

        Parameters
        ----------
        path, file : str
            The node, and which of its documents.
        change : callable
            Given the stored bytes, None where there are none, returns the new document; None to leave all as it is.
            Where others write meanwhile it may run again.

        Returns
        -------
        Stamp or None
            Of what was written; None where nothing was, or it is not known.
        """

        def replace(data: bytes | None) -> bytes | None:
            document = change(data)
            if document is None:
                return None
            new = to_bytes(document, self.at(path), file)
            self._consolidated.drop([path])
            return new

        held = self._consolidated.hold(path)
        try:
            return self.storage.update(join(path, file), replace)
        finally:
            self._consolidated.release(held)

    def swap_group(
        self, path: str, old: StoredGroup, new: StoredGroup, before_write: Callable[[], object]
    ) -> bool:
        """Replace the document of a group by a prepared one, if it still is what it was when last read.

        An `edit_group` whose result is known beforehand: it costs no parsing and no encoding. ``before_write`` runs
        under the lock, when it is known that the document will be replaced.

        Returns
        -------
        bool
            False: something else is stored there by now, or nothing, and nothing was done.
        """
        if not old.data:
            return False

        def prepare() -> None:
            before_write()
            self._consolidated.drop([path])

        held = self._consolidated.hold(path)
        try:
            return self.storage.swap(join(path, self._attributes_file), old.data, new.data, prepare)
        finally:
            self._consolidated.release(held)

    def prepared(self, path: str, attributes: JSONObject, old: StoredGroup | None = None) -> StoredGroup:
        """Encode the document of a new group, or one to replace ``old`` by; unknown keys beside it survive."""
        document = attributes
        if self.format == 3:
            beside = None if old is None else parse_object(old.data, self.at(path), V3.group)
            document = format_v3.group_document(attributes, beside)
        data = to_bytes(document, self.at(path), self._attributes_file)
        return stored_group(data, self.format, lambda: self._parse_group(path, data))

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Lock a group for a change of several steps, each of which may be an `edit_group`."""
        # A name of its own: `edit_group` inside waits for the lock of the document, which must not be this one.
        return self.storage.lock(join(path, "members"))

    def put_array(self, path: str, meta: ArrayMeta, *, new: bool = False) -> None:
        """Make an array, or replace the document of one. Chunks are not touched; ``new`` as for `put_groups`.

        Raises
        ------
        NodeExistsError
            The path holds a group.
        """
        self.put_arrays({path: meta}, new=new)

    def put_arrays(self, arrays: Mapping[str, ArrayMeta], *, new: bool = False) -> None:
        """Make many arrays, in the order given; ``new`` as for `put_groups`."""
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
        """Change the shape of an array, and nothing else that its documents say by now; returns the array."""
        self.storage.check_writable(path)
        return edit_array(self, path, lambda meta: meta.with_shape(shape))

    def put_new_array(self, path: str, meta: ArrayMeta) -> bool:
        """Make an array where its folder is not there yet, as a step of an edit of the group above.

        Returns
        -------
        bool
            False: something is there, or more has to be looked at. Nothing was done.
        """
        return self.storage.write_new_folder(path, list(self._array_files("", meta, new=True))) is True

    def delete(self, path: str) -> None:
        """Remove a node with all below it. The documents above are the caller's to edit.

        Raises
        ------
        NodeNotFoundError
            Nothing is at the path.
        """
        self.storage.check_writable(path)
        if not self.storage.exists(path):
            raise self._no("node", path)
        self._consolidated.drop(ancestors(path), above_only=False)
        self.storage.delete(path)

    def move(self, old: str, new: str) -> None:
        """Move a node with all below it. The documents above are the caller's to edit.

        Raises
        ------
        NodeNotFoundError
            Nothing is at `old`.
        NodeExistsError
            Something is at `new`.
        """
        self.storage.check_writable(old)
        self._consolidated.drop([*ancestors(old), *ancestors(new)], above_only=False)
        self.storage.move(old, new)

    def replace(self, path: str, by: str) -> None:
        """Put the node at `by` in the place of the one at `path`, which is deleted; see `Storage.replace`.

        Raises
        ------
        NodeNotFoundError
            Nothing is at `by`.
        """
        self.storage.check_writable(path)
        self._consolidated.drop([*ancestors(path), *ancestors(by)], above_only=False)
        self.storage.replace(path, by)

    def discard_copies(self, path: str, of: str) -> None:
        """Remove below a path what is the same below another one: copies that a killed move left; all else stays."""
        self.storage.check_writable(path)
        self._consolidated.drop(ancestors(path), above_only=False)
        self.storage.discard_copies(path, of)

    # ---- the files of a node --------------------------------------------------------------------

    def _group_files(
        self, path: str, attributes: JSONObject, new: bool, encoded: dict[int, bytes]
    ) -> Iterator[tuple[str, bytes]]:
        if self.format == 3:
            old = None if new else self._group_document(path, replacing=True)
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
        if not new and self._has(path, V2.array):
            raise NodeExistsError(f"cannot make a group at {self.location(path)}: an array is stored there")
        yield join(path, V2.attributes), encoded[id(attributes)]
        # Last: for other readers the group appears with this file, and then has its attributes.
        if new or not self._has(path, V2.group):
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
                array_memo.encoded(
                    meta, lambda: to_bytes(format_v3.array_document(meta), self.at(path), V3.group)
                ),
            )
            return
        if not new and self._has(path, V2.group):
            raise NodeExistsError(f"cannot make an array at {self.location(path)}: a group is stored there")
        # First: attributes alone would be taken for a group.
        yield (
            join(path, V2.array),
            array_memo.encoded(
                meta, lambda: to_bytes(format_v2.array_document(meta), self.at(path), V2.array)
            ),
        )
        attributes = to_bytes(meta.attributes, self.at(path), V2.attributes)
        yield join(path, V2.attributes), attributes

    def _group_document(self, path: str, *, replacing: bool = False) -> JSONObject | None:
        """Return the stored Zarr v3 document of a group."""
        document = self.document(path, V3.group)
        if document is not None and format_v3.node_type(document, self.at(path)) == "array":
            if replacing:
                raise NodeExistsError(
                    f"cannot make a group at {self.location(path)}: an array is stored there"
                )
            raise self._no("group", path, "an array is stored there")
        return document

    def _parse_group(self, path: str, data: bytes) -> JSONObject:
        where = self.at(path)
        document = parse_object(data, where, self._attributes_file)
        if self.format == 2:
            return document
        if format_v3.node_type(document, where) == "array":
            raise self._no("group", path, "an array is stored there")
        return format_v3.attributes_of(document, where)

    @property
    def _attributes_file(self) -> str:
        return self.files.attributes

    def _check_group(self, path: str, attributes: bytes | None) -> None:
        """Refuse to edit the attributes of what is not a group in Zarr v2."""
        if not self._is_marked(path) and attributes is None:
            raise self._no("group", path)

    def _is_marked(self, path: str) -> bool:
        """Whether a Zarr v2 group has its marker; refuses an array."""
        marked = self._has(path, V2.group)
        if not marked and self._has(path, V2.array):
            raise self._no("group", path, "an array is stored there")
        return marked

    def document(self, path: str, file: str) -> JSONObject | None:
        """Read one document of a node as it is stored; None where there is none."""
        data = self.storage.read(join(path, file))
        return None if data is None else parse_object(data, self.at(path), file)

    def _has(self, path: str, file: str) -> bool:
        return self.storage.size(join(path, file)) is not None

    def _no(self, what: str, path: str, found: str = "nothing is stored there") -> NodeNotFoundError:
        return NodeNotFoundError(f"there is no {what} at {self.location(path)}: {found}")


def can_hold_a_node(name: str) -> bool:
    """Spare a request for names that no writer gives a node."""
    if name in METADATA_FILES or name.startswith(".z"):
        return False
    try:
        check_key(name)
    except ValueError:
        return False
    return True
