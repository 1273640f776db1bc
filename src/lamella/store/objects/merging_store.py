"""A store for zarr-python whose writes of documents keep the changes of other writers. Imports zarr-python.

zarr-python reads a node's document once, and writes all of it at each change. Here every such write is merged with the
stored document under its lock: a writer that has read {"a": 1} and writes {"a": 1, "b": 2} has added "b", so where
{"a": 5} is stored meanwhile, {"a": 5, "b": 2} is written (`merged`). The version that was read is the *base* of the
merge. Objects of zarr-python may share a store and have read several versions: then the base is the one that differs
least from the new document.
"""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.group import GroupMetadata
from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata
from zarr.storage import LocalStore, WrapperStore

from lamella.errors import MetadataError, NodeExistsError, NodeNotFoundError
from lamella.store.keys import V2, V3
from lamella.store.metadata.json_document import parse_object, to_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lamella.store.metadata.documents import Documents
    from lamella.store.storage import Storage
    from lamella.types import JSON, JSONObject

Versions: TypeAlias = "dict[str, list[bytes | None]]"
"""Versions of each document that were read or written, by key, the latest last; None where it was missing."""

_FILES = {V3.group: 3, V2.array: 2, V2.attributes: 2, V2.group: 2}
_MAX_VERSIONS = 16
"""Limit of remembered versions of one document."""


class _MergingWriter:
    """Remembers the versions of documents that zarr-python has read, and merges its writes with stored documents."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.versions: Versions = {}
        self._lock = threading.Lock()

    def is_document(self, key: str) -> bool:
        return _FILES.get(key.rpartition("/")[2]) == self.documents.format

    def remember(self, key: str, data: bytes | None) -> None:
        if self.documents.storage.read_only or not self.is_document(key):
            return
        with self._lock:
            before = self.versions.get(key, [])
            self.versions[key] = [*(version for version in before if version != data), data][-_MAX_VERSIONS:]

    def forget(self, prefix: str) -> None:
        """Forget the versions below a deleted folder."""
        with self._lock:
            for key in self.versions:
                if not prefix or key == prefix or key.startswith(f"{prefix}/"):
                    self.versions[key] = [None]

    async def write(self, key: str, data: bytes) -> None:
        """Write a document, merged with the stored one."""
        # A thread may wait for the lock. A new one, because the holder of the lock may need the threads of the pool.
        thread = ThreadPoolExecutor(1, thread_name_prefix="lamella-document")
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self.write_now, key, data)
        finally:
            thread.shutdown(wait=False)

    def write_now(self, key: str, data: bytes) -> None:
        """Write a document as `write` does; blocks."""
        path, _, file = key.rpartition("/")
        new = parse_object(data, self.documents.storage.where(path), file)
        to_bytes(new, self.documents.storage.where(path), file)  # raises for NaN and infinities
        versions = list(self.versions.get(key, ()))
        if file == V2.group:
            if self.documents.storage.read(key) is None:
                self.documents.storage.write(key, data)
            return
        if any(versions[-1:]) and not self.documents.storage.exists(path):
            raise self._deleted(path, file)  # before a lock file would create its folder again

        def merge(data: bytes | None) -> JSONObject | None:
            stored_document = (
                None if data is None else parse_object(data, self.documents.storage.where(path), file)
            )
            return self._result(path, file, versions, stored_document, new)

        self.documents.edit_document(path, file, merge)
        self.remember(key, data)

    def _result(
        self,
        path: str,
        file: str,
        versions: list[bytes | None],
        stored_document: JSONObject | None,
        new: JSONObject,
    ) -> JSONObject | None:
        """Return the document to store; None where it is stored already."""
        versions_read = [
            parse_object(data, self.documents.storage.where(path), file)
            for data in reversed(versions)
            if data is not None
        ]
        latest = versions[-1] if versions else b""
        where = self.documents.location(path)
        if stored_document is None:
            may_lack_attributes = file == V2.attributes and self.documents.kind(path) is not None
            if versions_read and latest is not None and not may_lack_attributes:
                raise self._deleted(path, file)
            return new
        if latest is None and versions and file != V2.attributes:
            raise NodeExistsError(f"Cannot create a node at {where}: another writer created one meanwhile.")
        if not versions_read:
            return new  # zarr-python has not read it
        base_version = nearest_version([_as_written(version, file) for version in versions_read], new)
        if file == V2.attributes:
            merged_document = merged(base_version, stored_document, new)
        elif new.get("node_type") == "group":
            merged_document = self._of_group(base_version, stored_document, new, where)
        else:
            changed = merged_array(base_version, _as_written(stored_document, file), new, where)
            removed = base_version.keys() - new.keys() - {"attributes"}
            merged_document = {
                key: value for key, value in {**stored_document, **changed}.items() if key not in removed
            }
        return None if is_same_json(merged_document, stored_document) else merged_document

    def _deleted(self, path: str, file: str) -> NodeNotFoundError:
        where = self.documents.location(path)
        return NodeNotFoundError(
            f"Cannot write {file} of the node at {where}: the node was deleted since it was opened."
        )

    def _of_group(
        self, base_version: JSONObject, stored_document: JSONObject, new: JSONObject, where: str
    ) -> JSONObject:
        if stored_document.get("node_type") != "group":
            raise MetadataError(
                f"Cannot write the group at {where}: it was replaced by an array since it was opened."
            )
        merged_document = merged(base_version, stored_document, new)
        if "consolidated_metadata" in new:
            merged_document["consolidated_metadata"] = new["consolidated_metadata"]
        else:
            merged_document.pop("consolidated_metadata", None)
        return merged_document


def _as_written(document: JSONObject, file: str) -> JSONObject:
    """Return a document as zarr-python would write it; unchanged where zarr-python cannot parse it."""
    if file == V2.attributes:
        return document
    model: Any = GroupMetadata if document.get("node_type") == "group" else ArrayV3Metadata
    if file == V2.array:
        model = ArrayV2Metadata
    try:
        metadata = model.from_dict(json.loads(json.dumps(document)))
        written = metadata.to_buffer_dict(default_buffer_prototype())[file].to_bytes()
        return json.loads(written)  # type: ignore[no-any-return]
    except Exception:  # zarr-python's parsers raise many kinds of errors
        return document


class _Merging(Store):
    """The methods of both merging stores; each derives from another class of zarr-python."""

    _writer: _MergingWriter

    @property
    def storage(self) -> Storage:
        return self._writer.documents.storage

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        buffer = await super().get(key, prototype, byte_range)  # type: ignore[safe-super]
        if byte_range is None:
            self._writer.remember(key, None if buffer is None else buffer.to_bytes())
        return buffer

    async def set(self, key: str, value: Any) -> None:
        if self._writer.is_document(key):
            self._check_writable()
            await self._writer.write(key, value.to_bytes())
        else:
            await super().set(key, value)  # type: ignore[safe-super]

    async def delete(self, key: str) -> None:
        await super().delete(key)  # type: ignore[safe-super]
        self._writer.forget(key)

    async def delete_dir(self, prefix: str) -> None:
        await super().delete_dir(prefix)
        self._writer.forget(prefix.rstrip("/"))

    async def clear(self) -> None:
        await super().clear()
        self._writer.forget("")


class MergingStore(_Merging, WrapperStore[Any]):
    """A zarr-python store other than a local one, which merges documents when they are written."""

    def __init__(self, store: Any, documents: Documents, versions: Versions | None = None) -> None:
        super().__init__(store)
        self._writer = _MergingWriter(documents)
        self._writer.versions.update(versions or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return MergingStore, (self._store, self._writer.documents, self._writer.versions)

    def _with_store(self, store: Any) -> MergingStore:
        return MergingStore(store, self._writer.documents, self._writer.versions)

    def __eq__(self, other: object) -> bool:
        return bool(self._store == (other._store if isinstance(other, MergingStore) else other))

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return str(self._store)

    def __repr__(self) -> str:
        return repr(self._store)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._store, name)  # such as `fs` and `path` of a store of fsspec

    @property
    def supports_consolidated_metadata(self) -> bool:
        return bool(self._store.supports_consolidated_metadata)


class MergingLocalStore(_Merging, LocalStore):
    """A local zarr-python store, which merges documents when they are written."""

    def __init__(
        self, root: Path | str, read_only: bool, documents: Documents, versions: Versions | None = None
    ) -> None:
        super().__init__(root, read_only=read_only)
        self._writer = _MergingWriter(documents)
        self._writer.versions.update(versions or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return MergingLocalStore, (self.root, self.read_only, self._writer.documents, self._writer.versions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalStore) and self.root == other.root

    __hash__ = None  # type: ignore[assignment]

    def with_read_only(self, read_only: bool = False) -> MergingLocalStore:
        return MergingLocalStore(self.root, read_only, self._writer.documents, self._writer.versions)

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
        buffer = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        if byte_range is None:
            self._writer.remember(key, None if buffer is None else buffer.to_bytes())
        return buffer

    def set_sync(self, key: str, value: Any) -> None:
        if self._writer.is_document(key):
            self._check_writable()
            self._writer.write_now(key, value.to_bytes())
        else:
            super().set_sync(key, value)


def merging_store(documents: Documents) -> MergingStore | MergingLocalStore:
    """Return the merging store of some documents."""
    store = documents.storage.zarr_store()
    if isinstance(store, LocalStore):
        return MergingLocalStore(store.root, store.read_only, documents)
    return MergingStore(store, documents)


def is_same_json(first: JSON, second: JSON) -> bool:
    """Whether two values have the same JSON: 1, 1.0 and true are equal in Python only."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def count_changes(base: JSONObject, new: JSONObject) -> int:
    """Count the members that differ, at any depth."""
    count = 0
    for key in {**base, **new}:
        if key not in base or key not in new:
            count += 1
            continue
        old_value, new_value = base[key], new[key]
        if isinstance(old_value, dict) and isinstance(new_value, dict):
            count += count_changes(old_value, new_value)
        else:
            count += not is_same_json(old_value, new_value)
    return count


def merged(base: JSONObject, stored_document: JSONObject, new: JSONObject) -> JSONObject:
    """Apply the changes from `base` to `new` to `stored_document`; where both changed a member, `new` wins."""
    merged_document = {
        key: new_value for key, new_value in stored_document.items() if key in new or key not in base
    }
    for key, new_value in new.items():
        base_value, stored_value = base.get(key), merged_document.get(key)
        if isinstance(new_value, dict) and isinstance(stored_value, dict):
            merged_document[key] = merged(
                base_value if isinstance(base_value, dict) else {}, stored_value, new_value
            )
        elif key not in base or not is_same_json(base_value, new_value):
            merged_document[key] = new_value
    return merged_document


def nearest_version(versions: Sequence[JSONObject], new: JSONObject) -> JSONObject:
    """Return the version from which a new document was most likely derived: the one with the fewest changes.

    A version that equals the new document is returned only where all do: a writer changes what it has read.

    `versions` are documents that the writer may have read, latest first.
    """
    counts = [count_changes(version, new) for version in versions]
    fewest = min((count for count in counts if count), default=0)
    return versions[counts.index(fewest)]


def merged_array(base: JSONObject, stored_document: JSONObject, new: JSONObject, where: str) -> JSONObject:
    """Return the members of `stored_document`, of an array, that the changes from `base` to `new` replace.

    Raises `MetadataError` where another writer changed the same member. `where` is the array, for messages.
    """
    changed_members: JSONObject = {}
    attributes = [document.get("attributes") or {} for document in (base, stored_document, new)]
    if not is_same_json(attributes[0], attributes[2]):
        changed_members["attributes"] = merged(*attributes)
    for key in sorted({*base, *new} - {"attributes"}):
        if key in base and key in new and is_same_json(base[key], new[key]):
            continue
        if key == "shape":
            changed_members[key] = _merged_shape(base, stored_document, new, where)
        elif key in base and not is_same_json(base[key], stored_document.get(key)):
            raise MetadataError(
                f"Cannot change {key} of the array at {where}: another writer changed it since it was opened. Open "
                "the array again."
            )
        else:
            changed_members[key] = new.get(key)
    return changed_members


def _merged_shape(base: JSONObject, stored_document: JSONObject, new: JSONObject, where: str) -> list[int]:
    """Return the shape with the axes that the writer changed; raise where another writer changed the same axes."""
    old_shape, stored_shape, new_shape = base["shape"], stored_document["shape"], new["shape"]
    fields = [
        {key: value for key, value in document.items() if key not in ("attributes", "shape")}
        for document in (base, stored_document)
    ]
    if is_same_json(*fields) and len(old_shape) == len(stored_shape) == len(new_shape):
        axes = list(zip(old_shape, stored_shape, new_shape, strict=True))
        if all(
            old_length in (stored_length, new_length) or stored_length == new_length
            for old_length, stored_length, new_length in axes
        ):
            return [
                stored_length if old_length == new_length else new_length
                for old_length, stored_length, new_length in axes
            ]
    raise MetadataError(
        f"Cannot resize the array at {where} from {tuple(old_shape)} to {tuple(new_shape)}: another writer changed its "
        f"shape to {tuple(stored_shape)} since it was opened. Open the array again."
    )
