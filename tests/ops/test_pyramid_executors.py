"""Pyramids by the workers of an executor: the same bits, in units of whole files, and again after a lost worker."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from zarr.storage import MemoryStore

from lamella import open_ome_zarr, validate
from lamella.errors import WorkerLostError
from lamella.ops.pyramids.passes import compute_unit

from .pyramids import image, noise

DATA = noise((2, 1, 8, 64, 80))
LAYOUTS = {
    "shards": {"chunks": (1, 1, 2, 8, 8), "shards_ratio": (1, 1, 2, 2, 2)},
    "chunks": {"chunks": (1, 1, 4, 16, 16)},
    "odd chunks": {"chunks": (1, 1, 3, 15, 7)},
}


def processes():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(autouse=True)
def small_units(monkeypatch):
    """Units of a few files, so that there are many."""
    monkeypatch.setattr("lamella.ops.pyramids.passes.UNIT_BYTES", 2**13)


@pytest.fixture(params=LAYOUTS)
def position(request, tmp_path):
    return image(tmp_path / "a.zarr", DATA, "0.5", **LAYOUTS[request.param])


class Recording(ThreadPoolExecutor):
    """Threads that pickle what they are given, and say what it was."""

    def __init__(self):
        super().__init__(3)
        self.units = []

    def submit(self, fn, /, *args, **kwargs) -> Future:
        fn, (unit,) = pickle.loads(pickle.dumps((fn, args)))
        self.units.append(unit)
        return super().submit(fn, unit)


def levels(position):
    return [position[path][...] for path in position.dataset_paths]


def expected(tmp_path):
    with image(tmp_path / "expected.zarr", DATA) as position:
        position.compute_pyramid(4)
        return levels(position)


def assert_expected(position, tmp_path):
    for found, wanted in zip(levels(position), expected(tmp_path), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert not position.stale_levels


def test_processes_give_the_bits_of_threads(tmp_path):
    position = image(tmp_path / "a.zarr", DATA, **LAYOUTS["shards"])
    with processes() as pool:
        position.compute_pyramid(4, executor=pool)
        assert_expected(position, tmp_path)
        position["0"][1, 0, 3] = 77
        position.update_pyramid(executor=pool)
    updated = levels(position)
    position.compute_pyramid()
    for one, other in zip(updated, levels(position), strict=True):
        np.testing.assert_array_equal(one, other)


def test_units_are_small_and_no_two_write_one_file(position, tmp_path):
    with Recording() as pool:
        position.compute_pyramid(4, executor=pool)
    assert_expected(position, tmp_path)
    assert len(pool.units) > 8
    assert max(len(pickle.dumps(unit)) for unit in pool.units) < 2**14
    written = set()
    for unit in pool.units:
        for target in unit.read_pass.targets:
            box = [
                slice(s.start // f, -(-s.stop // f)) for s, f in zip(unit.region, target.factors, strict=True)
            ]
            places = [
                range(s.start // f, -(-s.stop // f))
                for s, f in zip(box, target.array.meta.files, strict=True)
            ]
            for place in np.ndindex(*map(len, places)):
                file = target.array.path, *(p[i] for p, i in zip(places, place, strict=True))
                assert file not in written
                written.add(file)


def test_progress_counts_every_voxel_once_whatever_works(position, tmp_path):
    for options in ({"jobs": 1}, {"jobs": 3}, {"executor": Recording()}):
        steps = []
        position.compute_pyramid(4, progress=lambda *step, to=steps: to.append(step), **options)
        done, totals, words = zip(*steps, strict=True)
        assert list(done) == sorted(done)
        assert (done[-1], set(totals), set(words)) == (totals[-1], {totals[-1]}, {"voxels"})
        assert totals[-1] >= DATA.size
    assert_expected(position, tmp_path)


def test_validate_reads_pixels_on_any_executor(position):
    position.compute_pyramid(4)
    with Recording() as pool:
        assert validate(position, pixels=True, executor=pool)
        assert pool.units
        position["1"][0, 0, 0, 0, 0] += 1
        assert validate(position, pixels=True, executor=pool).rules == ("LM-10",)


def test_a_unit_done_twice_changes_nothing(position, tmp_path):
    with Recording() as pool:
        position.compute_pyramid(4, executor=pool)
    for unit in pool.units[::-1]:
        compute_unit(unit)
    assert_expected(position, tmp_path)


class Killing(ProcessPoolExecutor):
    """Processes of which one is killed in the middle."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        self.count = getattr(self, "count", 0) + 1
        future = super().submit(fn, *args, **kwargs)
        if self.count == 6:
            os.kill(next(iter(self._processes)), signal.SIGKILL)
        return future


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_after_a_killed_worker_no_level_is_listed_and_the_same_call_completes_them(tmp_path):
    position = image(tmp_path / "a.zarr", DATA, **LAYOUTS["shards"])
    with Killing(2, mp_context=multiprocessing.get_context("spawn")) as pool, pytest.raises(WorkerLostError):
        position.compute_pyramid(4, executor=pool)
    position = open_ome_zarr(tmp_path / "a.zarr", mode="r+")
    assert position.dataset_paths == ["0"]
    assert (position["0"][...] == DATA).all()
    with processes() as pool:
        position.compute_pyramid(4, executor=pool)
    assert_expected(position, tmp_path)


def test_processes_cannot_reach_a_store_in_memory():
    position = image(MemoryStore(), DATA)
    with processes() as pool, pytest.raises(ValueError, match="belongs to this process"):
        position.compute_pyramid(4, executor=pool)
    assert position.dataset_paths == ["0"]
