"""A storage as zarr-python's engine sees it: damaged files are errors, and a failed write ends before it is reported.

Imports zarr-python: import this module inside functions only.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any

from zarr.core.sync import sync
from zarr.storage import WrapperStore

if TYPE_CHECKING:
    from lamella.store.misplaced import MissingChunks
    from lamella.store.storage import Storage


class CheckedStore(WrapperStore[Any]):
    """Wraps the storage of one array for zarr-python; one for reading, and one for each write.

    - zarr-python takes a shard of no bytes, which is what a full disk can leave of one, for one never written: here it
      is an error.
    - Local writes go through the storage, so that they are as atomic and as durable as documents are.
    - Files and folders behind links that lead out of the store are refused.
    - Where `missing` is there, it is asked about the first chunk that is missing.
    - What is absent by a 403 only is created where it is not there, and never replaced: the rest of a chunk that may
      not be read would be lost.
    - zarr-python reports the first chunk that fails while it still writes the others: `settle` waits for those.
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
        """Get a file or a part of one; one of no bytes is an error."""
        self._storage.check_file(key)
        service = self._storage.service
        if service is None:
            found = await self._store.get(key, prototype, byte_range)
        else:  # what could not be read is an error that says so, and not a damaged chunk
            found = await service.get(key, byte_range, prototype)
            if found is None and self._unseen is not None and service.denied_is_absent:
                self._unseen.add(key)
        if found is None and self._missing is not None:
            self._missing.note()
        if found is not None and len(found) == 0:
            raise ValueError(f"{key} is empty")
        return found

    async def set(self, key: str, value: Any) -> None:
        """Write a file, unless the write that it belongs to has failed."""
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
        """Begin no further file, and wait for those under way."""
        self._stopped = True
        sync(self._finish())

    async def _finish(self) -> None:
        await asyncio.gather(*self._pending, return_exceptions=True)
