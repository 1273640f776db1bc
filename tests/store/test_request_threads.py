"""Law: requests that are sent together wait in threads, each with its own outcome, and none outlives its process."""

from __future__ import annotations

import asyncio
import threading

import pytest

from lamella.store.request_threads import RequestThreads, _Batch, end_requests


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
    threads = RequestThreads(2)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            asyncio.run(threads.outcomes(str, [1, 2, 3]))
    assert asyncio.run(threads.outcomes(str, [1, 2, 3])) == ["1", "2", "3"]
