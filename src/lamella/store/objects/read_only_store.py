"""Wrap a storage as a zarr-python store for reading. Imports zarr-python: import it inside functions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from lamella.errors import ReadOnlyError
from lamella.store.keys import is_key, join

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from lamella.store.storage import Storage


class ReadOnlyStore(Store):
    """A zarr-python store that reads through a storage, in threads."""

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, storage: Storage) -> None:
        super().__init__(read_only=True)
        self.storage = storage

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadOnlyStore, (self.storage,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadOnlyStore) and self.storage == other.storage

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.storage.name

    def __repr__(self) -> str:
        return f"ReadOnlyStore({self.storage!r})"

    def with_read_only(self, read_only: bool = False) -> ReadOnlyStore:
        if not read_only:
            self.storage.check_writable("")
        return self

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        data = await asyncio.to_thread(self._read, key, byte_range) if is_key(key) and key else None
        return None if data is None else (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    def _read(self, key: str, byte_range: Any) -> bytes | None:
        if isinstance(byte_range, RangeByteRequest):
            return self.storage.read_range(key, byte_range.start, byte_range.end - byte_range.start)
        if isinstance(byte_range, SuffixByteRequest):
            return self.storage.read_range(key, -byte_range.suffix, byte_range.suffix)
        if isinstance(byte_range, OffsetByteRequest):
            size = self.storage.size(key)
            return None if size is None else self.storage.read_range(key, byte_range.offset, size)
        return self.storage.read(key)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> list[Any]:
        return list(
            await asyncio.gather(*(self.get(key, prototype, byte_range) for key, byte_range in key_ranges))
        )

    async def exists(self, key: str) -> bool:
        return is_key(key) and await asyncio.to_thread(self.storage.size, key) is not None

    async def set(self, key: str, value: Any) -> None:
        del value
        self._refuse(key)

    async def delete(self, key: str) -> None:
        self._refuse(key)

    def _refuse(self, key: str) -> None:
        self.storage.check_writable(key)
        raise ReadOnlyError(f"Cannot write {self.storage.where(key)}: the store is open for reading.")

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in await asyncio.to_thread(self.storage.keys_below, prefix.rpartition("/")[0]):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        folder = join(prefix.rstrip("/"), "")
        for name in await asyncio.to_thread(self.storage.list, folder) if is_key(folder) else []:
            yield name
