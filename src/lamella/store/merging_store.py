"""The store that zarr-python gets of an opened store: it loses nothing that others wrote.

zarr-python keeps the document of a node from when it was opened, and writes all of it at each change: of an attribute,
of the shape. Here such a write is merged, under the document's lock, with what is stored by then (`document_merge`).
What zarr-python had read is remembered for each document. Several of its objects may share one store, so what an
object writes is compared with all that was read, and the version with the fewest differences is what it began with.

Imports zarr-python: import this module inside functions only.
"""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

from zarr.core.buffer import default_buffer_prototype
from zarr.core.group import GroupMetadata
from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata
from zarr.storage import LocalStore, WrapperStore

from lamella.errors import MetadataError, NodeExistsError, NodeNotFoundError
from lamella.store.document_merge import merged, merged_array, nearest, same
from lamella.store.formats import V2, V3
from lamella.store.json_document import parse_object, to_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from lamella.store.documents import Documents
    from lamella.store.storage import Storage
    from lamella.types import JSONObject

Versions: TypeAlias = "dict[str, list[bytes | None]]"
"""Key of a document to what was read and written of it, the latest last; None for nothing."""

_FILES = {
    V3.group: 3,
    V2.array: 2,
    V2.attributes: 2,
    V2.group: 2,
}
_MOST = 16
"""Versions of one document that are remembered."""


class _Memory:
    """What zarr-python read of documents, and how it writes them."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.versions: Versions = {}
        self._lock = threading.Lock()

    def holds(self, key: str) -> bool:
        """Whether a key is a document of the format of the store."""
        return _FILES.get(key.rpartition("/")[2]) == self.documents.format

    def note(self, key: str, data: bytes | None) -> None:
        """Remember what was read of a document."""
        if self.documents.storage.read_only or not self.holds(key):
            return
        with self._lock:
            before = self.versions.get(key, [])
            self.versions[key] = [*(one for one in before if one != data), data][-_MOST:]

    def forget(self, prefix: str) -> None:
        """Forget what was read below a folder that is deleted: what comes there is new."""
        with self._lock:
            for key in self.versions:
                if not prefix or key == prefix or key.startswith(f"{prefix}/"):
                    self.versions[key] = [None]

    async def write(self, key: str, data: bytes) -> None:
        """Write a document, merged with what is stored."""
        # In a thread, since it waits for the lock; of its own, since the pool serves the reads of its holder.
        thread = ThreadPoolExecutor(1, thread_name_prefix="lamella-document")
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self.write_now, key, data)
        finally:
            thread.shutdown(wait=False)

    def write_now(self, key: str, data: bytes) -> None:
        """Write a document, merged with what is stored; blocks."""
        path, _, file = key.rpartition("/")
        new = parse_object(data, self.documents.at(path), file)
        to_bytes(new, self.documents.at(path), file)  # refuses what JSON has not, before anything else
        versions = list(self.versions.get(key, ()))
        if file == V2.group:
            if self.documents.storage.read(key) is None:
                self.documents.storage.write(key, data)
            return
        if any(versions[-1:]) and not self.documents.storage.exists(path):
            raise self._deleted(path, file)  # before a lock file would make its folder

        def merge(data: bytes | None) -> JSONObject | None:
            stored = None if data is None else parse_object(data, self.documents.at(path), file)
            return self._result(path, file, versions, stored, new)

        self.documents.edit_document(path, file, merge)
        self.note(key, data)

    def _result(
        self, path: str, file: str, versions: list[bytes | None], stored: JSONObject | None, new: JSONObject
    ) -> JSONObject | None:
        """Return the document to store; None where it is stored already."""
        read = [
            parse_object(data, self.documents.at(path), file)
            for data in reversed(versions)
            if data is not None
        ]
        latest = versions[-1] if versions else b""
        where = self.documents.location(path)
        if stored is None:
            if read and latest is not None and not (file == V2.attributes and self._is_there(path)):
                raise self._deleted(path, file)
            return new
        if latest is None and versions and file != V2.attributes:
            raise NodeExistsError(f"Cannot create a node at {where}: another writer created one meanwhile.")
        if not read:
            return new  # whoever writes it did not read it
        base = nearest([_as_written(one, file) for one in read], new)
        if file == V2.attributes:
            result = merged(base, stored, new)
        elif new.get("node_type") == "group":
            result = self._of_group(base, stored, new, where)
        else:
            changed = merged_array(base, _as_written(stored, file), new, where)
            removed = base.keys() - new.keys() - {"attributes"}
            result = {key: value for key, value in {**stored, **changed}.items() if key not in removed}
        return None if same(result, stored) else result

    def _deleted(self, path: str, file: str) -> NodeNotFoundError:
        where = self.documents.location(path)
        return NodeNotFoundError(
            f"Cannot write {file} of the node at {where}: the node was deleted since it was opened."
        )

    def _is_there(self, path: str) -> bool:
        """Whether a node of Zarr v2 is there, maybe without attributes."""
        return self.documents.kind(path) is not None

    def _of_group(self, base: JSONObject, stored: JSONObject, new: JSONObject, where: str) -> JSONObject:
        if stored.get("node_type") != "group":
            raise MetadataError(
                f"Cannot write the group at {where}: it was replaced by an array since it was opened."
            )
        result = merged(base, stored, new)
        if "consolidated_metadata" in new:
            result["consolidated_metadata"] = new["consolidated_metadata"]
        else:
            result.pop("consolidated_metadata", None)
        return result


def _as_written(document: JSONObject, file: str) -> JSONObject:
    """Return a document as zarr-python spells it; as it is where zarr-python does not understand it."""
    metadata: Any
    try:
        if file == V2.attributes:
            return document
        if file == V2.array:
            metadata = ArrayV2Metadata.from_dict(json.loads(json.dumps(document)))
        elif document.get("node_type") == "group":
            metadata = GroupMetadata.from_dict(json.loads(json.dumps(document)))
        else:
            metadata = ArrayV3Metadata.from_dict(json.loads(json.dumps(document)))
        written = metadata.to_buffer_dict(default_buffer_prototype())[file].to_bytes()
        return json.loads(written)  # type: ignore[no-any-return]
    except Exception:  # it raises whatever its parsers do
        return document


class MergingStore(WrapperStore[Any]):
    """Any store of zarr-python but a local one, with documents that are merged when they are written."""

    def __init__(self, store: Any, documents: Documents, versions: Versions | None = None) -> None:
        super().__init__(store)
        self._memory = _Memory(documents)
        self._memory.versions.update(versions or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return MergingStore, (self._store, self._memory.documents, self._memory.versions)

    def _with_store(self, store: Any) -> MergingStore:
        return MergingStore(store, self._memory.documents, self._memory.versions)

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
    def storage(self) -> Storage:
        """What the store was opened as."""
        return self._memory.documents.storage

    @property
    def supports_consolidated_metadata(self) -> bool:
        """Whether copies of documents are looked for."""
        return bool(self._store.supports_consolidated_metadata)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Get a key; remember what documents say."""
        found = await self._store.get(key, prototype, byte_range)
        if byte_range is None:
            self._memory.note(key, None if found is None else found.to_bytes())
        return found

    async def set(self, key: str, value: Any) -> None:
        """Set a key; documents are merged with what is stored."""
        if self._memory.holds(key):
            self._check_writable()
            await self._memory.write(key, value.to_bytes())
        else:
            await self._store.set(key, value)

    async def delete(self, key: str) -> None:
        """Delete a key."""
        await self._store.delete(key)
        self._memory.forget(key)

    async def delete_dir(self, prefix: str) -> None:
        """Delete all keys below a folder."""
        await self._store.delete_dir(prefix)
        self._memory.forget(prefix.rstrip("/"))

    async def clear(self) -> None:
        """Delete all keys."""
        await self._store.clear()
        self._memory.forget("")


class MergingLocalStore(LocalStore):
    """A local store of zarr-python, with documents that are merged when they are written."""

    def __init__(
        self, root: Path | str, *, read_only: bool, documents: Documents, versions: Versions | None = None
    ) -> None:
        super().__init__(root, read_only=read_only)
        self._memory = _Memory(documents)
        self._memory.versions.update(versions or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return _local, (self.root, self.read_only, self._memory.documents, self._memory.versions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalStore) and self.root == other.root

    __hash__ = None  # type: ignore[assignment]

    @property
    def storage(self) -> Storage:
        """What the store was opened as."""
        return self._memory.documents.storage

    def with_read_only(self, read_only: bool = False) -> MergingLocalStore:
        """Return the same store for reading, or for writing."""
        return _local(self.root, read_only, self._memory.documents, self._memory.versions)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Get a key; remember what documents say."""
        found = await super().get(key, prototype, byte_range)
        if byte_range is None:
            self._memory.note(key, None if found is None else found.to_bytes())
        return found

    async def set(self, key: str, value: Any) -> None:
        """Set a key; documents are merged with what is stored."""
        if self._memory.holds(key):
            self._check_writable()
            await self._memory.write(key, value.to_bytes())
        else:
            await super().set(key, value)

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
        """Get a key without the event loop; remember what documents say."""
        found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        if byte_range is None:
            self._memory.note(key, None if found is None else found.to_bytes())
        return found

    def set_sync(self, key: str, value: Any) -> None:
        """Set a key without the event loop; documents are merged with what is stored."""
        if self._memory.holds(key):
            self._check_writable()
            self._memory.write_now(key, value.to_bytes())
        else:
            super().set_sync(key, value)

    async def delete(self, key: str) -> None:
        """Delete a key."""
        await super().delete(key)
        self._memory.forget(key)

    async def delete_dir(self, prefix: str) -> None:
        """Delete all keys below a folder."""
        await super().delete_dir(prefix)
        self._memory.forget(prefix.rstrip("/"))

    async def clear(self) -> None:
        """Delete all keys."""
        await super().clear()
        self._memory.forget("")


def _local(root: Path, read_only: bool, documents: Documents, versions: Versions) -> MergingLocalStore:
    return MergingLocalStore(root, read_only=read_only, documents=documents, versions=versions)


def merging_store(documents: Documents) -> MergingStore | MergingLocalStore:
    """Return the store of some documents for zarr-python."""
    store = documents.storage.zarr_store()
    if isinstance(store, LocalStore):
        return MergingLocalStore(store.root, read_only=store.read_only, documents=documents)
    return MergingStore(store, documents)
