"""Law: requests that are sent together wait in threads, each with its own outcome, and none outlives its process."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import lamella
from lamella.store.objects import request_threads
from lamella.store.objects.request_threads import RequestThreads, SharedThreads, _Batch, end_requests


def test_each_item_has_its_result_or_its_error_and_no_more_threads_work_than_allowed():
    threads, together, working = RequestThreads(4), threading.Barrier(4), []

    def half(number):
        working.append(threading.current_thread())
        if number < 4:
            together.wait(timeout=60)  # passed by as many threads as are allowed
        if number % 2:
            raise ValueError(number)
        return number // 2

    async def twice():
        return await asyncio.gather(threads.outcomes(half, range(40)), threads.outcomes(half, range(4, 9)))

    many, few = asyncio.run(twice())
    assert [outcome if isinstance(outcome, int) else outcome.args for outcome in many[:4]] == [
        0,
        (1,),
        1,
        (3,),
    ]
    assert [outcome for outcome in many if isinstance(outcome, int)] == list(range(20))
    assert [outcome for outcome in few if isinstance(outcome, int)] == [2, 3, 4]
    assert len(set(working)) == 4
    assert asyncio.run(threads.outcomes(half, [])) == []


def test_an_ending_process_sends_no_more_requests_and_waits_for_those_under_way(monkeypatch):
    threads, started, answered, sent = RequestThreads(1), threading.Event(), threading.Event(), []
    abandon = _Batch.abandon
    monkeypatch.setattr(_Batch, "abandon", lambda batch: (abandon(batch), answered.set()))

    def send(number):
        sent.append(number)
        started.set()
        assert answered.wait(timeout=60)
        return number

    async def read_and_end():
        outcomes = asyncio.ensure_future(threads.outcomes(send, range(100)))
        assert await asyncio.to_thread(started.wait, 60)
        await asyncio.to_thread(end_requests)
        return await outcomes

    assert asyncio.run(read_and_end())[0] == 0
    assert sent == [0]


def test_requests_of_a_cancelled_batch_that_were_not_sent_are_dropped_and_end_as_errors():
    threads, started, cancelled, sent = RequestThreads(1), threading.Event(), threading.Event(), []

    def send(number):
        sent.append(number)
        started.set()
        assert cancelled.wait(timeout=60)

    async def read_and_cancel():
        reading = asyncio.ensure_future(threads.outcomes(send, range(100)))
        assert await asyncio.to_thread(started.wait, 60)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        cancelled.set()
        return await threads.outcomes(str, [7])  # by the same thread, when it is free

    assert asyncio.run(read_and_cancel()) == ["7"]
    assert sent == [0]


def test_requests_are_sent_again_when_the_system_allows_threads_again(monkeypatch):
    threads = RequestThreads(2, SharedThreads(2))

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            asyncio.run(threads.outcomes(str, [1, 2, 3]))
    assert asyncio.run(threads.outcomes(str, [1, 2, 3])) == ["1", "2", "3"]


def alive():
    return [thread for thread in threading.enumerate() if thread.name == "lamella-request"]


def test_twelve_handles_share_the_threads_of_the_process(service, monkeypatch):
    limit, keys, under_way, all_sent = 16, 8, [], threading.Event()
    before = alive()
    monkeypatch.setattr(request_threads, "_shared", SharedThreads(limit))
    with lamella.open_ome_zarr("s3://bucket/a.zarr", "fov", "w-", ["a"], version="0.5"):
        pass
    storages = [lamella.open_ome_zarr("s3://bucket/a.zarr").documents.storage for _ in range(12)]

    def answer_when_all_threads_wait(method, path):
        if "/missing/" in path:
            under_way.append(path)
            if len(under_way) >= limit:
                all_sent.set()
            assert all_sent.wait(60)

    monkeypatch.setattr(service, "fault_of", answer_when_all_threads_wait)
    with ThreadPoolExecutor(len(storages)) as pool:
        reads = [
            pool.submit(storage.read_many, [f"missing/{number}" for number in range(keys)])
            for storage in storages
        ]
        assert all(set(read.result().values()) == {None} for read in reads)
    assert len(under_way) == 12 * keys
    assert limit <= len(set(alive()) - set(before)) <= limit + len(storages)


def test_a_store_is_served_while_others_wait_and_while_their_requests_wait_for_it():
    shared = SharedThreads(2)
    silent, asking, answering = (RequestThreads(2, shared) for _ in range(3))
    came = threading.Barrier(3)
    done = threading.Event()

    def wait(_):
        came.wait(timeout=60)
        assert done.wait(timeout=60)

    def ask(number):
        return asyncio.run(answering.outcomes(str, [number, number + 1]))

    async def read():
        waiting = asyncio.ensure_future(silent.outcomes(wait, range(2)))
        await asyncio.to_thread(came.wait, 60)  # all threads wait for a silent service
        try:
            return await asking.outcomes(ask, [1, 3])
        finally:
            done.set()
            assert await waiting == [None, None]

    assert asyncio.run(asyncio.wait_for(read(), 60)) == [["1", "2"], ["3", "4"]]


def test_threads_that_nobody_needs_end(monkeypatch):
    monkeypatch.setattr(request_threads, "_IDLE", 0.01)
    shared, sent = SharedThreads(1), []
    many, few = RequestThreads(4, shared), RequestThreads(4, shared)
    begun = threading.Event()

    def send(number):
        assert begun.wait(timeout=60)
        sent.append(number)

    async def read():
        first = asyncio.ensure_future(many.outcomes(send, range(100)))
        second = asyncio.ensure_future(few.outcomes(send, range(1000, 1010)))
        await asyncio.sleep(0)
        begun.set()
        await asyncio.gather(first, second)

    before = set(alive())
    asyncio.run(read())
    assert sorted(sent) == [*range(100), *range(1000, 1010)]
    for thread in set(alive()) - before:
        thread.join(60)
    assert set(alive()) <= before
    assert asyncio.run(many.outcomes(str, [1])) == ["1"]  # by a new thread
