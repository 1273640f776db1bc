"""Send requests to a session of icechunk, which holds Zarr v3 documents, and chunks inside the shape of their arrays.

Records of unfinished jobs, such as ``.lamella-add-1f``, are kept beside the session in memory: a session lives in one
process, so a kill loses its changes together with their records.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lamella.errors import StorageError
from lamella.store.keys import V2, is_private
from lamella.store.objects.service import Service, is_document
from lamella.store.objects.service_errors import explained

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer

_STORED = re.compile(r"(?:.+/)?(?:zarr\.json|c(?:/\d+)*)", re.ASCII)


class SessionService(Service):
    """A store of icechunk, for use inside the event loop; `records` are the keys that it cannot hold, by name."""

    def __init__(self, store: Store, address: str, records: dict[str, bytes]) -> None:
        super().__init__(store, address)
        self.records = records

    def can_store(self, key: str) -> bool:
        """Whether the session can have a key."""
        return _is_record(key) or _STORED.fullmatch(key) is not None

    # ---- reading --------------------------------------------------------------------------------

    async def get(
        self, key: str, byte_range: ByteRequest | None = None, prototype: Any = None
    ) -> Buffer | None:
        """Get a key or a part of it; None where it is missing."""
        if _is_record(key):
            return self._record(key, byte_range)
        return await super().get(key, byte_range, prototype) if self.can_store(key) else None

    def _record(self, key: str, byte_range: ByteRequest | None) -> Buffer | None:
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest
        from zarr.core.buffer import default_buffer_prototype

        data = self.records.get(key)
        if data is None:
            return None
        if isinstance(byte_range, RangeByteRequest):
            data = data[byte_range.start : byte_range.end]
        elif isinstance(byte_range, SuffixByteRequest):
            data = data[-byte_range.suffix :]
        return default_buffer_prototype().buffer.from_bytes(data)

    async def size(self, key: str) -> int | None:
        """Return the size of a key; None where it is missing."""
        if _is_record(key):
            return len(self.records[key]) if key in self.records else None
        return await super().size(key) if self.can_store(key) else None

    async def _looked_up_size(self, key: str) -> int | None:
        # icechunk 2.3 reports 0 bytes for chunks that are not there, and an error for a group named "c", whose key is
        # that of the chunk of an array without axes.
        try:
            size = await super()._looked_up_size(key)
        except Exception as error:
            if "not an array" in str(error):
                raise FileNotFoundError(key) from error
            raise
        if size == 0 and not await self.store.exists(key):
            raise FileNotFoundError(key)
        return size

    async def list_dir(self, prefix: str) -> set[str]:
        """Return the names directly below a folder."""
        folder = f"{prefix}/" if prefix else ""
        names = {key.removeprefix(folder).partition("/")[0] for key in self.records if key.startswith(folder)}
        return names | await super().list_dir(prefix)

    async def sizes_below(self, prefix: str) -> dict[str, int]:
        """Return all keys below a folder with their sizes."""
        folder = f"{prefix}/" if prefix else ""
        records = {key: len(data) for key, data in self.records.items() if key.startswith(folder)}
        if await self.get(f"{folder}zarr.json") is None:
            return records  # icechunk lists below groups and arrays only
        return {**await super().sizes_below(prefix), **records}

    # ---- writing --------------------------------------------------------------------------------

    async def set_many(self, values: dict[str, bytes]) -> None:
        """Write several keys at once: groups before arrays, and arrays before their chunks."""
        documents = sorted(filter(is_document, values), key=lambda name: name.count("/"))
        for key in documents:
            await self.set(key, values[key])
        await super().set_many({key: data for key, data in values.items() if key not in documents})

    async def set(self, key: str, data: bytes) -> None:
        """Write a key."""
        if _is_record(key):
            self.records[key] = data
        elif self.can_store(key):
            await super().set(key, data)
        else:
            raise StorageError(
                f"Cannot write {key!r} in {self.address}: icechunk stores Zarr v3 only, and this is a file of Zarr v2, "
                "as OME-NGFF 0.4 has them. Create the store with version='0.5' or '0.6'."
                if key.rpartition("/")[2] in V2.all
                else f"Cannot write {key!r} in {self.address}: icechunk stores documents and chunks of Zarr, and no "
                "other files."
            )

    async def delete_keys(self, keys: Iterable[str]) -> None:
        """Delete exactly these keys: chunks before their arrays, and arrays before groups."""
        for key in sorted(keys, key=lambda name: (is_document(name), -name.count("/"))):
            if self.records.pop(key, None) is not None or not self.can_store(key):
                continue
            with explained("delete", key, self.address):
                await self.store.delete(key)

    async def delete_below(self, prefix: str) -> None:
        """Delete all below a folder."""
        folder = f"{prefix}/" if prefix else ""
        for key in [key for key in self.records if key.startswith(folder)]:
            del self.records[key]
        if await self.get(f"{folder}zarr.json") is not None:
            await super().delete_below(prefix)


def _is_record(key: str) -> bool:
    return _STORED.fullmatch(key) is None and any(map(is_private, key.split("/")))
