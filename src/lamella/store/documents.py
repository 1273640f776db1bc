"""Groups and arrays of a store by path: the only code that knows a store's Zarr format.

Reads and writes whole documents, each by one atomic replace. What the documents mean as OME-NGFF is not known
here; pixels are in ``arrays``.

Layer: store.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal, TypeAlias

from lamella.errors import InvalidArgumentError, NodeExistsError, NodeNotFoundError
from lamella.store import array_memo, format_v2, format_v3
from lamella.store.array_meta import ArrayMeta, FillValue, ZarrFormat, check_new_array
from lamella.store.json_document import parse_object, to_bytes
from lamella.store.keys import ancestors, check_key, join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import DTypeLike

    from lamella.store.compressor import CompressorChoice
    from lamella.store.storage import Stamp, Storage
    from lamella.types import JSONObject

NodeKind: TypeAlias = Literal["group", "array"]
"""What a path holds."""

_MARKS: tuple[tuple[str, ZarrFormat], ...] = (
    (format_v3.FILE, 3),
    (format_v2.GROUP_FILE, 2),
    (format_v2.ARRAY_FILE, 2),
    (format_v2.ATTRIBUTES_FILE, 2),
)


def new_array(
    shape: Sequence[int],
    dtype: DTypeLike,
    *,
    zarr_format: ZarrFormat,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    compressor: CompressorChoice = None,
    fill_value: FillValue | None = None,
    dimension_names: Sequence[str | None] | None = None,
    attributes: JSONObject | None = None,
) -> ArrayMeta:
    """Describe a new array, for `Documents.put_array`. Nothing is written.

    Parameters
    ----------
    shape : sequence of int
        Lengths per axis, in the order of the axes.
    dtype : numpy dtype or its name
        Bool, integers of 8 to 64 bits, floats of 16 to 64, complex of 64 and 128.
    zarr_format : {2, 3}
        Of the store.
    chunks : sequence of int, optional
        The unit of compression; by default the last three axes whole and 1 before, up to 512 MiB.
    shards : sequence of int, optional
        The unit of a file (Zarr v3): whole multiples of the chunks, also beyond the shape.
    compressor : Compressor, str, mapping or False, optional
        By default blosc with zstd level 1 and bitshuffle; False or ``"none"`` for none.
    fill_value : number, optional
        What stands where nothing was written; 0 by default.
    dimension_names : sequence of str, optional
        One per axis; kept in Zarr v3 only.
    attributes : dict, optional
        User attributes of the array.

    Raises
    ------
    InvalidArgumentError
        These do not fit each other.

    Examples
    --------
    >>> new_array((2, 100, 100), "u2", zarr_format=3, chunks=(1, 50, 50), shards=(1, 100, 100)).files
    (1, 100, 100)
    """
    meta = check_new_array(
        shape,
        dtype,
        zarr_format=zarr_format,
        chunks=chunks,
        shards=shards,
        compressor=compressor,
        fill_value=fill_value,
        dimension_names=dimension_names,
        attributes=attributes,
    )
    return format_v2.new_array(meta) if zarr_format == 2 else format_v3.new_array(meta)


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
        self._unconsolidated: dict[str, Stamp | None] = {}

    def __repr__(self) -> str:
        return f"Documents({self.storage!r}, {self.format})"

    def __reduce__(self) -> tuple[object, ...]:
        return Documents, (self.storage, self.format)

    @classmethod
    def open(cls, storage: Storage) -> Documents | None:
        """Find the format of a store; None when there is no Zarr node at its root.

        Where documents of both formats stand side by side, Zarr v3 counts, as it does for zarr-python.
        """
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
            document = self._read(path, format_v3.FILE)
            if document is None:
                return None
            return "array" if format_v3.node_type(document, path) == "array" else "group"
        if self._has(path, format_v2.ARRAY_FILE):
            return "array"
        # A group whose .zgroup is missing but whose attributes are there still says all that it has to say.
        if self._has(path, format_v2.GROUP_FILE) or self._has(path, format_v2.ATTRIBUTES_FILE):
            return "group"
        return None

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
            return format_v3.attributes_of(document, path)
        marked = self._has(path, format_v2.GROUP_FILE)
        if not marked and self._has(path, format_v2.ARRAY_FILE):
            raise self._no("group", path, "an array is stored there")
        attributes = self._read(path, format_v2.ATTRIBUTES_FILE)
        if attributes is None and not marked:
            raise self._no("group", path)
        return attributes or {}

    def array(self, path: str) -> ArrayMeta:
        """Describe an array as its document does, fresh from the store.

        Raises
        ------
        NodeNotFoundError
            There is no array at the path.
        MetadataError
            Its document is damaged.
        """
        file = format_v3.FILE if self.format == 3 else format_v2.ARRAY_FILE
        data = self.storage.read(join(path, file))
        if data is None:
            raise self._no("array", path)
        beside = self.storage.read(join(path, format_v2.ATTRIBUTES_FILE)) if self.format == 2 else None
        return array_memo.parsed(data, beside, lambda: self._parse_array(path, data, beside))

    def _parse_array(self, path: str, data: bytes, beside: bytes | None) -> ArrayMeta:
        if self.format == 2:
            attributes = {} if beside is None else parse_object(beside, path, format_v2.ATTRIBUTES_FILE)
            return format_v2.parse_array(parse_object(data, path, format_v2.ARRAY_FILE), attributes, path)
        document = parse_object(data, path, format_v3.FILE)
        if format_v3.node_type(document, path) == "group":
            raise self._no("array", path, "a group is stored there")
        return format_v3.parse_array(document, path)

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
        return self.storage.stamp(
            join(path, format_v3.FILE if self.format == 3 else format_v2.ATTRIBUTES_FILE)
        )

    def array_stamp(self, path: str) -> Stamp | None:
        """Return what changes whenever the document of an array changes; None when the store cannot tell."""
        return self.storage.stamp(join(path, format_v3.FILE if self.format == 3 else format_v2.ARRAY_FILE))

    def location(self, path: str) -> str:
        """Where a node is, for messages."""
        return f"{path or '/'!r} in {self.storage.name}"

    # ---- changing -------------------------------------------------------------------------------

    def put_group(self, path: str, attributes: JSONObject) -> None:
        """Make a group, or replace the attributes of one; unknown keys beside the attributes survive."""
        self.put_groups({path: attributes})

    def put_groups(self, groups: Mapping[str, JSONObject], *, new: bool = False) -> None:
        """Make many groups, or replace their attributes, in the order given.

        Each document is replaced atomically; all of them together are not. ``new`` spares the look for an old
        document where the caller knows that there is none.
        """
        self.storage.check_writable("")
        for path in groups:
            check_key(path)
        self._forget_consolidated(groups)
        # Many groups may share one object of attributes, as the positions of a new plate do.
        encoded: dict[int, bytes] = {}
        self.storage.write_many(
            item for path, given in groups.items() for item in self._group_files(path, given, new, encoded)
        )

    def edit_group(
        self, path: str, edit: Callable[[JSONObject], JSONObject], *, lock: bool = True
    ) -> JSONObject:
        """Change the attributes of a group by a pure function, so that concurrent edits lose nothing.

        Parameters
        ----------
        path : str
            The group.
        edit : callable
            Given the stored attributes, returns the new ones. Runs under the lock, once.
        lock : bool
            Without the lock, an edit of another process between read and write is lost.

        Returns
        -------
        dict
            The attributes as written.

        Raises
        ------
        NodeNotFoundError
            There is no group at the path.
        """
        self.storage.check_writable(path)
        file = format_v3.FILE if self.format == 3 else format_v2.ATTRIBUTES_FILE
        if lock and not self.storage.exists(path):
            raise self._no("group", path)  # before a lock file would make its folder
        with self.storage.replacement_lock(join(path, file)) if lock else nullcontext():
            if self.format == 3:
                old = self._group_document(path)
                if old is None:
                    raise self._no("group", path)
                attributes = edit(format_v3.attributes_of(old, path))
                document = format_v3.group_document(attributes, old)
            else:
                attributes = document = edit(self.group(path))
            self._forget_consolidated([path])
            self.storage.write(join(path, file), to_bytes(document, path, file))
        return attributes

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Hold a group alone for a change of several steps, each of which may be an `edit_group`."""
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
        self._forget_consolidated(arrays)
        self.storage.write_many(
            item for path, meta in arrays.items() for item in self._array_files(path, meta, new)
        )

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
        self._forget_consolidated(ancestors(path), above_only=False)
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
        self._forget_consolidated([*ancestors(old), *ancestors(new)], above_only=False)
        self.storage.move(old, new)

    # ---- the files of a node --------------------------------------------------------------------

    def _group_files(
        self, path: str, attributes: JSONObject, new: bool, encoded: dict[int, bytes]
    ) -> Iterator[tuple[str, bytes]]:
        if self.format == 3:
            old = None if new else self._group_document(path, replacing=True)
            data = encoded.get(id(attributes)) if old is None else None
            if data is None:
                data = to_bytes(format_v3.group_document(attributes, old), path, format_v3.FILE)
                if old is None:
                    encoded[id(attributes)] = data
            yield join(path, format_v3.FILE), data
            return
        if not new and self._has(path, format_v2.ARRAY_FILE):
            raise NodeExistsError(f"cannot make a group at {self.location(path)}: an array is stored there")
        key = join(path, format_v2.ATTRIBUTES_FILE)
        yield key, to_bytes(attributes, path, format_v2.ATTRIBUTES_FILE)
        # Last: for other readers the group appears with this file, and then has its attributes.
        if new or not self._has(path, format_v2.GROUP_FILE):
            yield (
                join(path, format_v2.GROUP_FILE),
                to_bytes(format_v2.GROUP_DOCUMENT, path, format_v2.GROUP_FILE),
            )

    def _array_files(self, path: str, meta: ArrayMeta, new: bool) -> Iterator[tuple[str, bytes]]:
        if self.format == 3:
            data = None if new else self.storage.read(join(path, format_v3.FILE))
            if data is not None and b'"group"' in data and self.kind(path) == "group":
                raise NodeExistsError(
                    f"cannot make an array at {self.location(path)}: a group is stored there"
                )
            yield (
                join(path, format_v3.FILE),
                array_memo.encoded(
                    meta, lambda: to_bytes(format_v3.array_document(meta), path, format_v3.FILE)
                ),
            )
            return
        if not new and self._has(path, format_v2.GROUP_FILE):
            raise NodeExistsError(f"cannot make an array at {self.location(path)}: a group is stored there")
        attributes = to_bytes(meta.attributes, path, format_v2.ATTRIBUTES_FILE)
        yield join(path, format_v2.ATTRIBUTES_FILE), attributes
        yield (
            join(path, format_v2.ARRAY_FILE),
            array_memo.encoded(
                meta, lambda: to_bytes(format_v2.array_document(meta), path, format_v2.ARRAY_FILE)
            ),
        )

    def _group_document(self, path: str, *, replacing: bool = False) -> JSONObject | None:
        """Return the stored Zarr v3 document of a group."""
        document = self._read(path, format_v3.FILE)
        if document is not None and format_v3.node_type(document, path) == "array":
            if replacing:
                raise NodeExistsError(
                    f"cannot make a group at {self.location(path)}: an array is stored there"
                )
            raise self._no("group", path, "an array is stored there")
        return document

    def _read(self, path: str, file: str) -> JSONObject | None:
        data = self.storage.read(join(path, file))
        return None if data is None else parse_object(data, path, file)

    def _has(self, path: str, file: str) -> bool:
        return self.storage.size(join(path, file)) is not None

    def _no(self, what: str, path: str, found: str = "nothing is stored there") -> NodeNotFoundError:
        return NodeNotFoundError(f"there is no {what} at {self.location(path)}: {found}")

    # ---- consolidated metadata ------------------------------------------------------------------

    def _forget_consolidated(self, paths: Iterable[str], *, above_only: bool = True) -> None:
        """Drop copies of documents kept above the nodes that change; they would be stale (zarr-python #2921).

        Zarr v2 keeps them in ``.zmetadata``, Zarr v3 inside a group's ``zarr.json``. lamella never reads
        them.
        """
        seen: set[str] = set()
        for path in paths:
            if above_only and path.rpartition("/")[0] in seen and self.format == 3:
                continue  # a sibling was looked at
            # In Zarr v3 the node's own document is rewritten without its copies anyway.
            for node in [*ancestors(path), *([] if above_only and self.format == 3 else [path])]:
                if node not in seen:
                    seen.add(node)
                    self._drop_consolidated(node)

    def _drop_consolidated(self, node: str) -> None:
        if self.format == 2:
            key = join(node, format_v2.CONSOLIDATED_FILE)
            if self.storage.size(key) is not None:
                self.storage.delete(key)
            return
        key = join(node, format_v3.FILE)
        # Looked at once for each opening of a store; only the root, where consolidation is usual, each time.
        if node in self._unconsolidated and (node or self._unconsolidated[node] == self.storage.stamp(key)):
            return
        stamp = self.storage.stamp(key)
        data = self.storage.read(key)
        if data is not None and b'"consolidated_metadata"' in data:
            with self.storage.lock(key):
                document = self._read(node, format_v3.FILE) or {}
                if document.pop("consolidated_metadata", None) is not None:
                    self.storage.write(key, to_bytes(document, node, format_v3.FILE))
            stamp = self.storage.stamp(key)
        self._unconsolidated[node] = stamp


def can_hold_a_node(name: str) -> bool:
    """Spare a request for names that no writer gives a node."""
    if name in (format_v3.FILE, format_v2.CONSOLIDATED_FILE) or name.startswith(".z"):
        return False
    try:
        check_key(name)
    except ValueError:
        return False
    return True
