"""What the tests of the operations share: a store that counts what is read and written, and executors."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest


@pytest.fixture
def counting_store():
    """A store in memory, served by the zarr-python engine, that counts reads and writes of each key."""
    from zarr.storage import MemoryStore

    class CountingStore(MemoryStore):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.gets, self.sets = Counter(), Counter()

        async def get(self, key, prototype, byte_range=None):
            self.gets[key, str(byte_range)] += 1
            return await super().get(key, prototype, byte_range)

        async def set(self, key, value, byte_range=None):
            self.sets[key] += 1
            await super().set(key, value, byte_range)

    return CountingStore()


@pytest.fixture(scope="module", params=["threads", "processes"])
def executor(request):
    """Where units run. One pool serves all tests of a module."""
    if request.param == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    else:
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            yield pool
