"""How many rounds of requests an operation waits for at an object store. Used by tests and benchmarks."""

from __future__ import annotations

import asyncio
from typing import Any


class Rounds:
    """How often requests of obstore waited for each other: the longest chain of those that begin after one has ended.

    Requests go in step: what has ended is returned only when no other is under way, as if all took equally long, so
    that a busy machine counts the same. Made before stores are opened; `clear` begins anew.
    """

    def __init__(self, monkeypatch: Any) -> None:
        from lamella.store.objects.object_client import ObjectClient
        from lamella.store.objects.request_threads import RequestThreads

        made, outcomes = ObjectClient._new_store, RequestThreads.outcomes

        async def counted(threads: RequestThreads, function: Any, items: Any) -> Any:
            return await self.count(outcomes(threads, function, items), len(items)) if items else []

        monkeypatch.setattr(
            ObjectClient, "_new_store", lambda client, retry: _Counted(made(client, retry), self)
        )
        monkeypatch.setattr(RequestThreads, "outcomes", counted)
        self._under_way, self._end = 0, asyncio.Event()
        self.clear()

    def clear(self) -> None:
        """Count from here on."""
        self.requests = self.rounds = 0

    async def count(self, request: Any, number: int = 1) -> Any:
        """Await a request, or ``number`` of them that are sent together, and all others of its round."""
        self.requests += number
        self._under_way += 1
        end = self._end
        try:
            return await request
        finally:
            self._under_way -= 1
            if self._under_way:
                await end.wait()
            else:
                self.rounds += 1
                self._end = asyncio.Event()
                end.set()


class _Counted:
    """A store of obstore whose requests are counted."""

    def __init__(self, store: Any, rounds: Rounds) -> None:
        self.__dict__.update(_store=store, _rounds=rounds)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name == "list":
            return lambda **options: _CountedList(found(**options), self._rounds)
        if not name.endswith("_async"):
            return found
        return lambda *arguments, **options: self._rounds.count(found(*arguments, **options))


_Counted.__module__ = "obstore.counted"  # zarr-python takes no other


class _CountedList:
    def __init__(self, stream: Any, rounds: Rounds) -> None:
        self._stream, self._rounds = stream, rounds

    def collect_async(self) -> Any:
        return self._rounds.count(self._stream.collect_async())
