"""A store of zarr-python that refuses every change from the n-th one on, as a service does that went away."""

from __future__ import annotations

from zarr.storage import WrapperStore


class Refusing(WrapperStore):
    """A store that refuses to set or delete a key once so many were."""

    def __init__(self, store, left=None):
        super().__init__(store)
        self.left = left

    def _with_store(self, store):
        return type(self)(store, self.left)

    def with_read_only(self, read_only=False):
        return type(self)(self._store.with_read_only(read_only), self.left)

    async def set(self, key, value):
        self._count()
        await self._store.set(key, value)

    async def delete(self, key):
        self._count()
        await self._store.delete(key)

    def _count(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise OSError(28, "No space left on device")
