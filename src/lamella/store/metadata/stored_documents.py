"""Read the documents of groups and arrays by path: bytes, then JSON, then attributes or `ArrayMeta`.

Only the package ``store`` distinguishes the Zarr formats, and mostly this module. A service may answer 404 for an
existing document: before a missing document is created, or left out of a copy, `Storage.read_again` reads it once more.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Literal, TypeAlias

from lamella.errors import NodeNotFoundError
from lamella.store.keys import FORMATS, V2, V3, join, may_be_node_name
from lamella.store.metadata import format_v2, format_v3
from lamella.store.metadata.json_document import StoredGroup, parse_object, parsed_array, stored_group
from lamella.store.metadata.missing_document import documents_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from lamella.store.metadata.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.storage import Stamp, Storage
    from lamella.types import JSONObject

NodeKind: TypeAlias = Literal["group", "array"]

_lock = threading.Lock()
"""Locked while the copies that read from a handle are counted."""


class StoredDocuments:
    """The documents of one store, for reading.

    Nothing is cached, so that two handles never disagree; `stamp` shows cheaply whether a document changed since it was
    read. Methods raise `NodeNotFoundError` where a path has no such node, and `MetadataError` for a damaged document.
    """

    def __init__(self, storage: Storage, zarr_format: ZarrFormat) -> None:
        self.storage = storage
        self.format: ZarrFormat = zarr_format
        self.files = FORMATS[zarr_format]
        #: Whether attributes can only be those of a group: in Zarr v2, ``.zgroup`` is not requested then.
        self.names_group: Callable[[JSONObject], bool] | None = None
        # A handle for writing creates missing documents, and could replace one that a service did not return, unless
        # the store can create keys on the condition that they are missing. The answer of a folder is final.
        is_final = storage.service is None or storage.read_only or storage.creates_exclusively
        self._reasons_to_read_twice = int(not is_final)

    @property
    def reads_twice(self) -> bool:
        """Whether documents that read as missing are read again: they would be created, or left out of a copy."""
        return self._reasons_to_read_twice > 0

    @contextmanager
    def reading_twice(self) -> Iterator[None]:
        """Read documents that read as missing again, while a copy runs."""
        self.always_read_twice()
        try:
            yield
        finally:
            with _lock:
                self._reasons_to_read_twice -= 1

    def always_read_twice(self) -> None:
        """Read documents that read as missing again, in a handle that is used for a copy only."""
        with _lock:
            self._reasons_to_read_twice += 1

    def location(self, path: str) -> str:
        """Return the full path or URL of a node, for messages."""
        return self.storage.where(path)

    def document(self, path: str, file: str, *, confirm_missing: bool = False) -> JSONObject | None:
        """Read one document of a node; None if missing. ``confirm_missing`` as for `kind`."""
        data = self.data(path, file, confirm_missing=confirm_missing)
        return None if data is None else parse_object(data, self.storage.where(path), file)

    def data(self, path: str, file: str, *, confirm_missing: bool = False) -> bytes | None:
        """Read the bytes of one document of a node; None if missing. ``confirm_missing`` as for `kind`."""
        data = self.storage.read(join(path, file))
        if data is None and (confirm_missing or self.reads_twice):
            return self._read_again(path, file).get(file)
        return data

    # ---- nodes ----------------------------------------------------------------------------------

    def kind(self, path: str, *, confirm_missing: bool = False) -> NodeKind | None:
        """Return whether a group or an array is at a path; None for no node.

        ``confirm_missing`` reads missing documents a second time. Use it for a group that lists others, before the list
        is written without those that are stored.
        """
        if self.format == 3:
            document = self.document(path, V3.group, confirm_missing=confirm_missing)
            return None if document is None else format_v3.node_type(document, self.storage.where(path))
        if self._has_at_first(path, V2.array):
            return "array"
        if self._has_at_first(path, V2.group):
            return "group"
        # A group whose .zgroup is missing still has all its metadata in .zattrs.
        is_group = self._has_at_first(path, V2.attributes)
        if is_group or confirm_missing or self.reads_twice:
            documents = self._read_again(path, V2.array, V2.group, V2.attributes)
            is_group = is_group or V2.group in documents or V2.attributes in documents
            if V2.array in documents:
                return "array"
        return "group" if is_group else None

    def has_older_documents(self) -> bool:
        """Whether documents of Zarr v2 lie at the root beside those of Zarr v3."""
        return self.format == 3 and self.storage.has_any(V2.document_names)

    def is_whole_group(self, path: str) -> bool:
        """Whether a group has all its documents: in Zarr v2 a kill can leave one of two."""
        if self.format == 3:
            return self.kind(path) == "group"
        return self._has(path, V2.group) and self._has(path, V2.attributes)

    def has_begun_group(self, path: str) -> bool:
        """Whether a killed creation left only the ``.zgroup`` of a group, which is the same for all groups.

        Where new folders appear complete, another program wrote it.
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
        if stamped is None:
            return StoredGroup(b"", {}), None
        return self._shared_group(path, stamped[0]), stamped[1]

    def _shared_group(self, path: str, data: bytes) -> StoredGroup:
        return stored_group(data, self.format, lambda: self._parse_group(path, data))

    def _group_bytes(self, path: str) -> tuple[bytes, Stamp | None] | None:
        """Read the bytes with the attributes of a group, and their stamp; None in Zarr v2 for one without attributes.

        In Zarr v2 no other document is read where `names_group` recognises the attributes, as those of OME-NGFF.
        """
        if self.format == 2 and self.names_group is None:  # both documents, in one round on remote stores
            self.request_ahead([path])
        if self.format == 3:
            stamped = self._stamped(path, V3.group)
            if stamped is None:
                raise self._not_found("group", path)
            return stamped
        stamped = self.storage.read_stamped(join(path, V2.attributes))
        names_group = self.names_group
        if stamped and names_group and names_group(self._shared_group(path, stamped[0]).attributes):
            return stamped
        has_zgroup = self._has_zgroup(path)
        if stamped is None and has_zgroup:  # most groups have attributes
            stamped = self._stamped_again(path, V2.attributes)
        if not has_zgroup and stamped is None:
            raise self._not_found("group", path)
        return stamped

    def array(self, path: str) -> ArrayMeta:
        """Read the description of an array."""
        return self.stamped_array(path)[0]

    def stamped_array(self, path: str) -> tuple[ArrayMeta, Stamp | None]:
        """Read the description of an array, with its `array_stamp`."""
        if self.format == 2:  # both documents, in one round on remote stores
            self.request_ahead((), arrays=[path])
        stamped = self._stamped(path, self.files.array)
        if stamped is None:
            raise self._not_found("array", path)
        data, stamp = stamped
        attributes = self._stamped(path, V2.attributes, lists=False) if self.format == 2 else None
        return self.parse_array(path, data, attributes and attributes[0]), stamp

    def parse_array(self, path: str, data: bytes, attributes_data: bytes | None) -> ArrayMeta:
        """Parse an array's document and, in Zarr v2, the document of its attributes."""
        return parsed_array(data, attributes_data, lambda: self._parse_array(path, data, attributes_data))

    def _parse_array(self, path: str, data: bytes, attributes_data: bytes | None) -> ArrayMeta:
        node = self.storage.where(path)
        if self.format == 2:
            attributes = {} if attributes_data is None else parse_object(attributes_data, node, V2.attributes)
            return format_v2.parse_array(parse_object(data, node, V2.array), attributes, node)
        document = parse_object(data, node, V3.group)
        self._require("array", path, format_v3.node_type(document, node))
        return format_v3.parse_array(document, node)

    def array_document(self, path: str) -> tuple[JSONObject, JSONObject]:
        """Read the document of an array and its attributes, even where its codecs are unsupported."""
        document = self.document(path, self.files.array)
        if document is None:
            raise self._not_found("array", path)
        if self.format == 3:
            return document, self._attributes_in(path, document, "array", self.storage.where(path))
        return document, self.document(path, V2.attributes) or {}

    def attributes_of_array(self, path: str) -> JSONObject:
        """Read the attributes of an array, even where its other fields are invalid."""
        if self.format == 3:
            return self.array_document(path)[1]
        self._require("array", path, self.kind(path))
        return self.document(path, V2.attributes) or {}

    def _attributes_in(self, path: str, document: JSONObject, kind: NodeKind, node: str) -> JSONObject:
        if self.format == 2:
            return document
        self._require(kind, path, format_v3.node_type(document, node))
        return format_v3.attributes_of(document, node)

    def _require(self, kind: NodeKind, path: str, stored_kind: NodeKind | None) -> None:
        if stored_kind != kind:
            # In Zarr v2 the two kinds have different documents, and the error names the missing one.
            is_other = self.format == 3 and stored_kind is not None
            article = "an" if stored_kind == "array" else "a"
            raise self._not_found(kind, path, f"{article} {stored_kind} is stored there" if is_other else "")

    def request_ahead(
        self,
        groups: Iterable[str],
        *,
        arrays: Iterable[str] = (),
        at_once: bool = False,
        attributes_only: bool = False,
    ) -> None:
        """Request the documents of nodes that will be opened next, in one round on remote stores.

        ``attributes_only`` is for groups whose attributes show that they are groups; see `names_group`.
        """
        if at_once or self.storage.reads_ahead:
            files = dict.fromkeys((self.files.group, self.files.attributes)[attributes_only:])
            of_groups = (join(path, file) for path in groups for file in files)
            of_arrays = (join(path, file) for path in arrays for file in self.files_of_array)
            self.storage.request_ahead(chain(of_groups, of_arrays), at_once=at_once)

    def load_ahead(self, groups: Iterable[str], *, array: str | None = None) -> None:
        """Load the documents of groups, each with those of one of its arrays, as `Storage.load_ahead` does."""
        files = [self.files.attributes]
        if array is not None:
            files += [f"{array}/{file}" for file in self.files_of_array]
        self.storage.load_ahead([join(path, file) for path in groups for file in files])

    @property
    def files_of_array(self) -> list[str]:
        """Names of the documents of an array."""
        return list(dict.fromkeys((self.files.array, self.files.attributes)))

    def existing(self, paths: Collection[str], *, groups: Iterable[str] = ()) -> set[str]:
        """Return those of some paths that exist; the documents of groups are requested in the same round."""
        documents = [join(path, file) for path in groups for file in self.files.document_names]
        if self.format == 2:
            documents.append(V2.consolidated)
        return self.storage.existing(paths, documents=documents)

    def existing_of_move(self, old: str, new: str, *, groups: Collection[str]) -> set[str]:
        """Return which of two nodes exist, before a `move`; the documents of groups are requested in the same round."""
        documents = [join(path, file) for path in groups for file in self.files.document_names]
        if self.format == 2:
            documents += [join(path, V2.consolidated) for path in ("", *groups)]
        return self.storage.existing_of_move(old, new, documents=documents)

    def children(self, path: str) -> dict[str, NodeKind]:
        """List the nodes directly below a group, in natural order, with their kinds; raise for a damaged one."""
        kinds = {name: self.kind(join(path, name)) for name in self.child_names(path)}
        return {name: kind for name, kind in kinds.items() if kind is not None}

    def child_names(self, path: str) -> list[str]:
        """List the names below a group that a node may have, in natural order, without reading documents."""
        return [name for name in self.storage.list(path) if may_be_node_name(name)]

    def stamp(self, path: str) -> Stamp | None:
        """Return the stamp of a group's attributes; None where the store has no stamps."""
        return self.storage.stamp(join(path, self.files.attributes))

    def array_stamp(self, path: str) -> Stamp | None:
        """Return the stamp of an array's document; None where the store has no stamps."""
        return self.storage.stamp(join(path, self.files.array))

    def _parse_group(self, path: str, data: bytes) -> JSONObject:
        node = self.storage.where(path)
        return self._attributes_in(path, parse_object(data, node, self.files.attributes), "group", node)

    def _has_zgroup(self, path: str) -> bool:
        """Whether a Zarr v2 group has its ``.zgroup``; raise for an array."""
        if self._has_at_first(path, V2.group):
            return True
        is_array = self._has_at_first(path, V2.array)
        documents = self._read_again(path, V2.group, V2.array) if self.reads_twice and not is_array else ()
        if is_array or V2.array in documents:
            raise self._not_found("group", path, "an array is stored there")
        return V2.group in documents

    # ---- one document, and again where it reads as missing --------------------------------------

    def _has(self, path: str, file: str) -> bool:
        return self._has_at_first(path, file) or (self.reads_twice and file in self._read_again(path, file))

    def _has_at_first(self, path: str, file: str) -> bool:
        """Whether a node has a document by the first answer."""
        return self.storage.size(join(path, file)) is not None

    def _stamped(self, path: str, file: str, *, lists: bool = True) -> tuple[bytes, Stamp | None] | None:
        """Read one document of a node with its stamp; None if missing."""
        stamped = self.storage.read_stamped(join(path, file))
        if stamped is None and self.reads_twice:
            return self._stamped_again(path, file, lists=lists)
        return stamped

    def _stamped_again(
        self, path: str, file: str, *, lists: bool = True
    ) -> tuple[bytes, Stamp | None] | None:
        documents = self._read_again(path, file, lists=lists)
        return (documents[file], self.storage.stamp(join(path, file))) if documents else None

    def _read_again(self, path: str, *files: str, lists: bool = True) -> dict[str, bytes]:
        """Return those of some documents that read as missing and exist."""
        documents = self.storage.read_again([join(path, file) for file in files], lists=lists)
        return {key.rpartition("/")[2]: data for key, data in documents.items()}

    def _not_found(self, subject: str, path: str, reason: str = "") -> NodeNotFoundError:
        if not reason:
            files = documents_of(self.format, "array" if subject == "array" else "group")
            reason = f"{files} {'are' if ' and ' in files else 'is'} missing"
        return NodeNotFoundError(f"There is no {subject} at {self.location(path)}: {reason}.")
