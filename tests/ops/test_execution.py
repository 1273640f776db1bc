"""Laws of running units: each once, few under way, the first error stops the rest, on any executor."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from zarr.storage import MemoryStore, ZipStore

from lamella.errors import InvalidArgumentError, WorkerLostError, warn
from lamella.ops.execution import Workers, run, run_at_store
from lamella.store.storage import open_storage


@pytest.mark.parametrize("jobs", [1, 2, 5, None])
def test_every_unit_is_done_once_and_its_result_told_in_this_thread(jobs):
    told, here = [], threading.get_ident()

    def done(result):
        assert threading.get_ident() == here
        told.append(result)

    run(lambda unit: unit * 2, range(100), Workers(jobs), on_result=done)
    assert sorted(told) == list(range(0, 200, 2))


def test_units_are_taken_as_they_are_needed():
    taken, finished = 0, 0

    def units():
        nonlocal taken
        for number in range(50):
            taken += 1
            assert taken - finished <= 2 * 3 + 1
            yield number

    def done(_):
        nonlocal finished
        finished += 1

    run(lambda unit: unit, units(), Workers(3), on_result=done)
    assert (taken, finished) == (50, 50)


@pytest.mark.parametrize("jobs", [1, 2, 5, None])
def test_every_unit_is_done_once_where_nobody_is_told(jobs):
    finished = []
    run(finished.append, range(1000), Workers(jobs))
    assert sorted(finished) == list(range(1000))


@pytest.mark.parametrize("jobs", [1, 4])
def test_units_are_taken_one_by_one_where_nobody_is_told(jobs):
    taken, turn, ahead = 0, threading.Lock(), []
    finished = []

    def units():
        nonlocal taken
        for number in range(200):
            with turn:
                taken += 1
                ahead.append(taken - len(finished))
            yield number

    def work(unit):
        with turn:
            finished.append(unit)

    run(work, units(), Workers(jobs))
    assert (len(finished), max(ahead) <= jobs) == (200, True)


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_error_of_the_list_of_units_is_raised(jobs):
    def units():
        yield from range(5)
        raise OSError("the list ends here")

    finished = []
    with pytest.raises(OSError, match="ends here"):
        run(finished.append, units(), Workers(jobs))
    assert sorted(finished) == list(range(5))


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_first_error_is_raised_and_later_units_are_not_begun(jobs):
    begun = []

    def work(unit):
        begun.append(unit)
        if unit == 2:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        run(work, range(1000), Workers(jobs))
    assert len(begun) < 20


def test_an_executor_that_is_given_is_used_and_left_open():
    used = []

    class Mine(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs) -> Future:
            used.append(args)
            return super().submit(fn, *args, **kwargs)

    with Mine(1) as mine:
        run(str, range(3), Workers(executor=mine))
        assert used == [(0,), (1,), (2,)]
        assert mine.submit(int, "7").result() == 7


def processes(count=2):
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


def end_this_process(unit):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_worker_is_told_as_such_and_what_to_do():
    with processes(1) as pool, pytest.raises(WorkerLostError, match="run the same again"):
        run(end_this_process, range(3), Workers(executor=pool))


class GoneCluster(ThreadPoolExecutor):
    """Ends the first unit with an error; the other futures answer nothing, as those of a Dask client that is gone."""

    def __init__(self, error):
        super().__init__(1)
        self.error = error

    def submit(self, fn, /, *args, **kwargs) -> Future:
        future = Future()
        if args == (0,):
            future.set_exception(self.error)
        return future


@pytest.mark.parametrize(
    ("error", "raised"), [(CancelledError(), WorkerLostError), (OSError("full"), OSError)]
)
def test_a_call_ends_when_the_cluster_is_gone_and_confirms_no_cancellation(error, raised):
    ends = []

    def call():
        with pytest.raises(raised) as caught:
            run(str, range(5), Workers(executor=GoneCluster(error)))
        ends.append(caught.type)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(60)
    assert ends == [raised]


class Gone:
    """A future of Dask: its result was fetched, and then its worker died and the task was scheduled again."""

    status = "pending"

    def __init__(self, result):
        self.result = result

    async def _result(self, raiseit):
        return self.result


class LosesResults(ThreadPoolExecutor):
    """Loses the first results, through the code of Dask's own executor that has the race."""

    def __init__(self, losses):
        super().__init__(1)
        self.losses = losses

    def submit(self, fn, /, *args, **kwargs) -> Future:
        cfexecutor = pytest.importorskip("distributed.cfexecutor")
        if not self.losses:
            return super().submit(fn, *args, **kwargs)
        self.losses -= 1
        future = Future()

        async def fetch():
            await cfexecutor._cascade_future(Gone(fn(*args)), future)

        asyncio.run(fetch())
        return future


@pytest.mark.parametrize("work", [str, {}.get])
def test_a_unit_is_done_again_when_dask_lost_its_result(work):
    results = []
    run(work, range(5), Workers(executor=LosesResults(3)), on_result=results.append)
    assert sorted(results, key=str) == [work(unit) for unit in range(5)]


def test_an_executor_that_always_loses_a_result_ends_with_its_error():
    with pytest.raises((TypeError, ValueError), match="unpack"):
        run(str, range(5), Workers(executor=LosesResults(1000)))


def test_an_executor_that_is_closed_meanwhile_raises_an_error_that_says_to_run_again():
    with ThreadPoolExecutor(1) as pool, pytest.raises(WorkerLostError, match="run the same again"):
        run(lambda unit: pool.shutdown(wait=False), range(9), Workers(1, pool))


def test_work_that_cannot_be_pickled_is_a_wrong_argument():
    with processes(1) as pool, pytest.raises(InvalidArgumentError, match="cannot send work"):
        run(lambda unit: unit, range(3), Workers(executor=pool))


def test_an_error_of_the_work_itself_keeps_its_type():
    with ThreadPoolExecutor(1) as pool, pytest.raises(TypeError, match="not iterable"):
        run(sum, [3], Workers(executor=pool))


def test_the_units_of_an_executor_are_bounded_too():
    most, pending = 0, set()

    class Counting(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs) -> Future:
            nonlocal most
            future = super().submit(fn, *args, **kwargs)
            pending.add(future)
            most = max(most, sum(not f.done() for f in pending))
            return future

    with Counting(2) as pool:
        run(abs, range(300), Workers(3, pool))
    assert len(pending) == 300
    assert most <= 6


def test_only_threads_reach_a_store_of_this_process(tmp_path):
    with processes(1) as pool:
        Workers(executor=pool).check_reach(open_storage(tmp_path))
        for store in (MemoryStore(), ZipStore(tmp_path / "a.zip", mode="w")):
            with pytest.raises(InvalidArgumentError, match="belongs to this process"):
                Workers(executor=pool).check_reach(open_storage(store))
    with ThreadPoolExecutor(1) as threads:
        Workers(executor=threads).check_reach(open_storage(MemoryStore()))


def test_workers_are_at_least_one():
    for jobs in (0, -1, "2", 1.5, True):
        with pytest.raises(InvalidArgumentError, match="a number of workers from 1"):
            Workers(jobs)
    assert Workers(3).count == 3


def test_by_default_there_are_as_many_workers_as_the_batch_system_allows(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert Workers().count == 1


def test_a_warning_of_a_unit_names_the_line_of_the_user_on_any_thread():
    texts = [f"unit {number}" for number in range(4)]
    with pytest.warns(UserWarning, match="unit") as caught:
        run_at_store(warn, texts, open_storage(MemoryStore(), "r+"))
    assert sorted(str(one.message) for one in caught) == texts
    assert {one.filename for one in caught} == {__file__}
