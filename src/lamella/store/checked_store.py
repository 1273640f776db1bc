"""Wrap a storage for zarr-python, so that damaged files raise errors and failed writes end before they are reported.

Imports zarr-python: import this module inside functions only.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any

from zarr.core.sync import sync
from zarr.storage import WrapperStore

if TYPE_CHECKING:
    from lamella.store.engine import MissingChunks
    from lamella.store.storage import Storage


class CheckedStore(WrapperStore[Any]):
    """The storage of one array as a zarr-python store: one instance for reading, one per write.

    - A file of 0 bytes raises; zarr-python would read it as never written, although a full disk can leave one.
    - Local writes are as atomic and durable as those of documents.
    - Links that lead out of the store are refused.
    - `missing` is notified of the first missing chunk.
    - A key that reads as absent only because of a 403 is created, never replaced: an unreadable chunk must not be lost.
    - zarr-python reports the first failed chunk while others are still being written: `settle` waits for those.
    """

    def __init__(
        self, store: Any, storage: Storage, missing: MissingChunks | None = None, *, is_write: bool = False
    ) -> None:
        super().__init__(store)
        self._storage = storage
        self._missing = missing
        self._stopped = False
        self._unseen: set[str] | None = set() if is_write else None
        self._pending: set[asyncio.Future[None]] = set()

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Read a file or a byte range of it; a file of 0 bytes raises."""
        self._storage.check_file(key)
        service = self._storage.service
        if service is None:
            buffer = await self._store.get(key, prototype, byte_range)
        else:  # a failed request raises its own error, and is not reported as a damaged chunk
            buffer = await service.get(key, byte_range, prototype)
            if buffer is None and self._unseen is not None and service.forbidden_means_missing:
                self._unseen.add(key)
        if buffer is None and self._missing is not None:
            self._missing.report()
        if buffer is not None and len(buffer) == 0:
            raise ValueError(f"{key} is empty")
        return buffer

    async def set(self, key: str, value: Any) -> None:
        """Write a file, unless another file of the same write has failed."""
        if self._stopped:
            raise OSError(errno.ECANCELED, "another file of the same write failed")
        service, data = self._storage.service, value.to_bytes()
        writing: Any
        if service is None:
            writing = asyncio.to_thread(self._storage.write, key, data)
        else:
            writing = service.create(key, data) if key in (self._unseen or ()) else service.set(key, data)
        task = asyncio.ensure_future(writing)
        self._pending.add(task)
        try:
            await task
        finally:
            self._pending.discard(task)

    def settle(self) -> None:
        """Start no further write, and wait for the running ones."""
        self._stopped = True
        sync(self._finish())

    async def _finish(self) -> None:
        await asyncio.gather(*self._pending, return_exceptions=True)
