"""Laws of running units: each once, few under way, the first error stops the rest, on any executor."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from lamella.ops.execution import run, workers


@pytest.mark.parametrize("jobs", [1, 2, 5, None])
def test_every_unit_is_done_once_and_its_result_told_in_this_thread(jobs):
    told, here = [], threading.get_ident()

    def done(result):
        assert threading.get_ident() == here
        told.append(result)

    run(lambda unit: unit * 2, range(100), jobs=jobs, done=done)
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

    run(lambda unit: unit, units(), jobs=3, done=done)
    assert (taken, finished) == (50, 50)


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_first_error_is_raised_and_later_units_are_not_begun(jobs):
    begun = []

    def work(unit):
        begun.append(unit)
        if unit == 2:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        run(work, range(1000), jobs=jobs)
    assert len(begun) < 20


def test_an_executor_that_is_given_is_used_and_left_open():
    used = []

    class Mine(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs) -> Future:
            used.append(args)
            return super().submit(fn, *args, **kwargs)

    with Mine(1) as mine:
        run(str, range(3), executor=mine)
        assert used == [(0,), (1,), (2,)]
        assert mine.submit(int, "7").result() == 7


def test_workers_are_at_least_one():
    assert workers(0) == workers(-3) == 1
    assert workers() >= 1
