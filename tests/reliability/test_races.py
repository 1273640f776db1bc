"""Law: writers and readers side by side lose nothing and see old or new, whatever the order of their steps.

Two actors run in lock-step: each step of the file system that changes the store (`Faults` knows them) waits until a
schedule lets it go on. All schedules in which one actor waits before its n-th step until the other has finished are
tried, and random ones. An actor that waits for a lock of the other is not waited for.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import queue
import random
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lamella
from lamella.errors import LamellaError, MetadataError, NodeExistsError
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.array_creation import new_array
from lamella.store.metadata.documents import Documents
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.engine import FilesEngine
from lamella.store.pixels.engine_zarr import ZarrEngine

from .faults import Faults
from .states import litter, musts
from .works import pixels

pytestmark = pytest.mark.filterwarnings("ignore:The new positions of .* have no channel names")

if TYPE_CHECKING:
    from pathlib import Path

spawn = mp.get_context("spawn")

READ_STAMPED = LocalStorage.read_stamped


class Stage:
    """Two actors in threads, of which the first waits before one of its steps until the second is done.

    Where the second waits for a lock that the first holds, the first goes on: the second's steps are counted, and a
    second that makes no step before a lock is reached is told apart by its being blocked in ``flock``.
    """

    def __init__(self, root: Path, pause: int, kinds: tuple[str, ...] | None = None) -> None:
        self.root, self.pause, self.kinds = root, pause, kinds
        self.steps = 0
        self.reached, self.resume = threading.Event(), threading.Event()
        self.first: int | None = None
        self._turn = threading.Lock()

    def act(self, step: str) -> None:
        if self.reached.is_set():  # before that only the first is there, and the threads that work for it
            return
        if self.kinds is not None and step.split(" ", 1)[0] not in self.kinds:
            return
        with self._turn:
            self.steps += 1
            if self.steps != self.pause:
                return
            self.reached.set()
        assert self.resume.wait(60)

    def run(self, one, other, monkeypatch) -> tuple[list[object], bool]:
        """Run both; return what they returned or raised, and whether the first was paused."""
        from lamella.store.files import locks

        stage = self
        results: list[object] = [None, None]
        done = threading.Event()

        def call(n: int, function) -> None:
            try:
                results[n] = function()
            except Exception as error:
                results[n] = error
            finally:
                done.set()

        def play_first() -> None:
            self.first = threading.get_ident()
            call(0, one)
            self.reached.set()

        class Telling(locks._ThreadLocks):
            """Lets the first go on when the second has to wait for a lock."""

            def join(self, name: str):
                with self._guard:
                    taken = name in self._locks
                if taken and threading.get_ident() != stage.first:
                    stage.resume.set()
                return super().join(name)

        def read_stamped(storage, key: str):
            stage.act(f"read {key}")
            return READ_STAMPED(storage, key)

        if self.kinds is not None and "read" in self.kinds:
            monkeypatch.setattr(LocalStorage, "read_stamped", read_stamped)
        assert "join" in vars(
            locks._ThreadLocks
        )  # else `Telling` would tell nothing, and each pause last a minute
        monkeypatch.setattr(locks, "_threads", Telling())
        with Faults(self.root, 1, self.act, lasting=True):
            first = threading.Thread(target=play_first)
            first.start()
            assert self.reached.wait(60)
            paused = first.is_alive()
            second = threading.Thread(target=call, args=(1, other))
            second.start()
            second.join(0 if self.resume.is_set() else 60)
            self.resume.set()
            first.join(60)
            second.join(60)
            assert not first.is_alive()
            assert not second.is_alive()
        return results, paused


def interleavings(make, one, other, tmp_path, monkeypatch, most=60, kinds=None):
    """Run two actors in a fresh store for each step of the first at which the second may come; yield what came."""
    for pause in range(1, most):
        folder = tmp_path / str(pause)
        folder.mkdir()
        make(folder)
        results, paused = Stage(folder, pause, kinds).run(
            partial(one, folder), partial(other, folder), monkeypatch
        )
        yield folder, results, paused
        if not paused:
            assert pause > 3
            return
    raise AssertionError("never came to an end")


def make_position(folder: Path) -> None:
    with lamella.open_ome_zarr(
        folder / "a.zarr", layout="fov", mode="w-", channel_names=["a", "b"], version="0.5"
    ) as position:
        position.create_zeros(
            "0", (2, 2, 1, 8, 12), "uint16", chunks=(1, 1, 1, 8, 6), shards_ratio=(1, 1, 1, 1, 2)
        )


def test_two_writers_of_one_document_lose_nothing_at_any_interleaving(tmp_path, monkeypatch):
    def one(folder):
        with lamella.open_ome_zarr(folder / "a.zarr", mode="r+") as position:
            position.rename_channel("a", "A")
            position.set_scale("0", "y", 0.25)

    def other(folder):
        with lamella.open_ome_zarr(folder / "a.zarr", mode="r+") as position:
            position.set_scale("0", "x", 0.5)
            position.rename_channel("b", "B")

    for folder, results, _ in interleavings(make_position, one, other, tmp_path, monkeypatch):
        assert results == [None, None]
        position = lamella.open_ome_zarr(folder / "a.zarr")
        assert position.channel_names == ["A", "B"]
        assert position.scale[-1] == 0.5
        assert position.scale[-2] == 0.25


def test_a_writer_whose_view_is_old_sees_the_change_or_is_told(tmp_path):
    make_position(tmp_path)
    first = lamella.open_ome_zarr(tmp_path / "a.zarr", mode="r+")
    second = lamella.open_ome_zarr(tmp_path / "a.zarr", mode="r+")
    assert first.channel_names == second.channel_names
    first.rename_channel("a", "A")
    with pytest.raises(ValueError, match="no channel 'a'"):
        second.rename_channel("a", "X")
    second.append_channel("c")
    assert first.channel_names == ["A", "b", "c"]


def test_unsaved_changes_of_an_old_view_are_told_and_not_written_over_the_change_of_another(tmp_path):
    make_position(tmp_path)
    first = lamella.open_ome_zarr(tmp_path / "a.zarr", mode="r+")
    first.metadata.omero.channels[0].label = "mine"
    lamella.open_ome_zarr(tmp_path / "a.zarr", mode="r+").rename_channel("b", "B")
    for write in (first.dump_meta, lambda: first.append_channel("c")):
        with pytest.raises(MetadataError, match="unsaved changes, and the document was changed elsewhere"):
            write()
    assert lamella.open_ome_zarr(tmp_path / "a.zarr").channel_names == ["a", "B"]


def make_plate(folder: Path) -> None:
    lamella.open_ome_zarr(
        folder / "p.zarr", layout="hcs", mode="w-", channel_names=["a"], version="0.5"
    ).close()


def create(folder: Path, *names: str) -> None:
    with lamella.open_ome_zarr(folder / "p.zarr", mode="r+") as plate:
        plate.create_positions([tuple(name.split("/")) for name in names])


def listed(folder: Path) -> list[str]:
    return [path for path, _ in lamella.open_ome_zarr(folder / "p.zarr").positions()]


def test_positions_created_at_any_interleaving_are_all_listed(tmp_path, monkeypatch):
    def one(folder):
        create(folder, "A/1/0", "B/1/0")

    def other(folder):
        create(folder, "A/1/1", "A/2/0")

    for folder, results, _ in interleavings(make_plate, one, other, tmp_path, monkeypatch):
        assert results == [None, None]
        assert listed(folder) == ["A/1/0", "A/1/1", "A/2/0", "B/1/0"] or set(listed(folder)) == {
            "A/1/0", "A/1/1", "A/2/0", "B/1/0"
        }  # fmt: skip
        assert {rule for rule, _ in musts(folder / "p.zarr")} == {"MS-01"}  # no image yet


def make_plate_with_a_well(folder: Path) -> None:
    make_plate(folder)
    create(folder, "A/1/9")


def create_in_well(folder: Path, *names: str) -> None:
    with lamella.open_ome_zarr(folder / "p.zarr", mode="r+") as plate:
        for name in names:
            plate["A/1"].create_position(name.rpartition("/")[2])


@pytest.mark.parametrize(
    ("make", "one", "other"),
    [
        (make_plate, create, create),
        (make_plate_with_a_well, create, create),
        (make_plate_with_a_well, create_in_well, create_in_well),
        (make_plate_with_a_well, create, create_in_well),
        (make_plate_with_a_well, create_in_well, create),
    ],
    ids=["new well", "known well", "of the well", "plate and well", "well and plate"],
)
def test_the_same_position_is_created_once(tmp_path, monkeypatch, make, one, other):
    """One of two makes it and writes its pixels; the other is told, and replaces nothing."""

    def play(creates, value):
        def act(folder):
            creates(folder, "A/1/0")
            with lamella.open_ome_zarr(folder / "p.zarr" / "A/1/0", mode="r+") as position:
                position["0"] = np.full((1, 1, 1, 2, 2), value, "uint8")
            return value

        return act

    seen = set()
    for folder, results, _ in interleavings(
        make, play(one, 1), play(other, 2), tmp_path, monkeypatch, most=80
    ):
        made = [value for value in results if isinstance(value, int)]
        assert len(made) == 1, results
        assert {type(value) for value in results} == {int, NodeExistsError}, results
        assert [name for name in listed(folder) if name != "A/1/9"] == ["A/1/0"]
        assert (lamella.open_ome_zarr(folder / "p.zarr" / "A/1/0")["0"][...] == made[0]).all()
        assert litter(folder) == []
        seen.add(made[0])
    assert seen == {1, 2}  # each of them came first at some interleaving


def _create_some(folder: Path, worker: int) -> None:
    for n in range(6):
        create(folder, f"{chr(65 + n % 3)}/{worker + 1}/{n}")
        try:
            create(folder, f"Z/1/{n}")  # all of them want this one
        except NodeExistsError:
            continue


def test_positions_created_by_many_processes_are_all_listed(tmp_path):
    make_plate(tmp_path)
    with ProcessPoolExecutor(4, mp_context=spawn) as pool:
        list(pool.map(_create_some, [tmp_path] * 4, range(4)))
    wanted = {f"{chr(65 + n % 3)}/{worker + 1}/{n}" for n in range(6) for worker in range(4)}
    assert set(listed(tmp_path)) == wanted | {f"Z/1/{n}" for n in range(6)}
    assert {rule for rule, _ in musts(tmp_path / "p.zarr")} == {"MS-01"}
    assert litter(tmp_path) == []


@pytest.mark.parametrize("engine", ["files", "zarr"])
@pytest.mark.parametrize(
    ("shards", "parts"),
    [
        (None, (slice(0, 4), slice(4, 8))),
        ((4, 8), (slice(0, 4), slice(4, 8))),
        ((8, 8), (slice(0, 4), slice(4, 8))),
        ((8, 8), (slice(0, 3), slice(3, 8))),
    ],
    ids=["disjoint chunks", "disjoint shards", "one shard", "one chunk"],
)
def test_writers_of_different_parts_lose_nothing_at_any_interleaving(
    tmp_path, monkeypatch, engine, shards, parts
):
    def make(folder):
        documents = Documents.create(LocalStorage(folder / "s.zarr"), 3)
        documents.put_group("", {})
        documents.put_array("0", new_array((8, 8), "u2", zarr_format=3, chunks=(2, 8), shards=shards))

    def write(folder, n):
        documents = Documents.open(LocalStorage(folder / "s.zarr"))
        StoredArray(documents, "0", engine=engine).write(parts[n], n + 1)

    inside: list[int] = []
    together: list[int] = []
    stage: list[Stage] = []

    def seam(real):
        """Pause at the seam of the engines, too: what the threads of libraries do, nobody sees."""

        def engine_write(*given):
            together.append(len(inside))
            inside.append(1)
            try:
                stage[-1].act("engine")
                real(*given)
            finally:
                inside.pop()

        return engine_write

    for one in (FilesEngine, ZarrEngine):
        monkeypatch.setattr(one, "write", seam(one.write))
    for pause in range(1, 60):
        folder = tmp_path / str(pause)
        folder.mkdir()
        make(folder)
        stage.append(Stage(folder, pause))
        results, paused = stage[-1].run(partial(write, folder, 0), partial(write, folder, 1), monkeypatch)
        assert results == [None, None]
        found = StoredArray(Documents.open(LocalStorage(folder / "s.zarr")), "0").read()
        assert [sorted(set(found[part].ravel().tolist())) for part in parts] == [[1], [2]]
        assert litter(folder) == []
        if not paused:
            break
    assert len(stage) > 1
    if shards == (8, 8):  # both write to one file: read, changed and written by one at a time
        assert set(together) == {0}


@pytest.mark.parametrize("engine", ["files", "zarr", None])
def test_a_reader_beside_a_writer_that_grows_the_array_sees_old_or_new(tmp_path, monkeypatch, engine):
    """At every step of a growing writer a reader looks: at the shape it sees, no value is torn and nothing fails."""
    documents = Documents.create(LocalStorage(tmp_path / "s.zarr"), 3)
    documents.put_group("", {})
    documents.put_array("0", new_array((2, 8), "u2", zarr_format=3, chunks=(2, 4), shards=(4, 8)))
    writer = StoredArray(documents, "0", engine=engine)
    writer.write(..., 1)
    reader = StoredArray(Documents.open(LocalStorage(tmp_path / "s.zarr", read_only=True)), "0")
    seen: list[tuple[int, ...]] = []
    busy = threading.local()

    def look(_: str) -> None:
        if getattr(busy, "reading", False):
            return
        busy.reading = True
        try:
            block = reader.read()
            fresh = StoredArray(Documents.open(LocalStorage(tmp_path / "s.zarr")), "0").read()
            for found in (block, fresh):
                rows = [sorted(set(row.tolist())) for row in found]
                assert all(values in ([n // 2 + 1], [0]) for n, values in enumerate(rows)), rows
                assert rows[:2] == [[1], [1]]
            seen.append(block.shape)
        finally:
            busy.reading = False

    with Faults(tmp_path, 1, look, lasting=True):
        for n in range(2, 5):
            writer.append(np.full((2, 8), n, "u2"))
    assert len(seen) > 6
    assert {shape[0] for shape in seen} >= {2, 4, 6, 8}
    assert reader.read()[:, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]


def _sum(position, name) -> int:
    return int(position[name][...].sum())


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_handles_work_in_other_processes(tmp_path, method):
    make_position(tmp_path)
    with lamella.open_ome_zarr(tmp_path / "a.zarr", mode="r+") as position:
        position["0"][...] = pixels(0, (2, 2, 1, 8, 12))
        with ProcessPoolExecutor(1, mp_context=mp.get_context(method)) as pool:
            assert pool.submit(_sum, position, "0").result(120) == int(pixels(0, (2, 2, 1, 8, 12)).sum())
        image = pickle.loads(pickle.dumps(position["0"]))
        np.testing.assert_array_equal(image[...], position["0"][...])


FORKED = """
import multiprocessing as mp, sys
import lamella
position = lamella.open_ome_zarr(sys.argv[1], mode="r+")
image = position["0"]
print(int(image[...].sum()), flush=True)

def read(results):
    results.put((int(image[...].sum()), position.channel_names))
    image[0, 0] = 9
    results.put(int(image[0, 0].sum()))

if __name__ == "__main__":
    context = mp.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=read, args=(results,), daemon=True) for _ in range(3)]
    for worker in workers:
        worker.start()
    print(sorted(str(results.get(timeout=100)) for _ in range(6)), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_workers_read_and_write_after_the_parent_has_read(tmp_path):
    make_position(tmp_path)
    with lamella.open_ome_zarr(tmp_path / "a.zarr", mode="r+") as position:
        position["0"][...] = 2
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path / "a.zarr")],
        capture_output=True, text=True, timeout=180, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    lines = ran.stdout.splitlines()
    assert lines[:1] == ["768"], ran.stderr
    assert len(lines) == 2, f"the children do not answer: {ran.stderr}"
    assert lines[1].count("864") == 3, ran.stdout


BUSY = """
import multiprocessing as mp, sys, threading
import lamella
from lamella.store.pixels import chunk_cache
from lamella.store.pixels.arrays import StoredArray
from lamella.store.metadata.documents import Documents
from lamella.store.files.local import LocalStorage
storage = LocalStorage(sys.argv[1])
array = StoredArray(Documents.open(storage), "0", engine="files")
print(int(array.read().sum()), flush=True)  # by threads that a child will not have
holding, forked = threading.Event(), threading.Event()

def hold():
    with storage.lock("zarr.json"), chunk_cache.indexes._lock, chunk_cache.decoded._lock:
        holding.set()
        forked.wait()

def work(results):
    results.put(int(array.read().sum()))
    with storage.lock("zarr.json"):
        results.put("held")

if __name__ == "__main__":
    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait()
    context = mp.get_context("fork")
    results = context.Queue()
    worker = context.Process(target=work, args=(results,), daemon=True)
    worker.start()
    forked.set()
    holder.join()
    print(results.get(timeout=100), results.get(timeout=100), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_while_threads_of_the_parent_hold_locks_is_not_stuck(tmp_path):
    documents = Documents.create(LocalStorage(tmp_path / "s.zarr"), 3)
    documents.put_group("", {})
    documents.put_array("0", new_array((8, 8), "u2", zarr_format=3, chunks=(2, 4), shards=(4, 8)))
    StoredArray(documents, "0").write(..., 1)
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUSY, str(tmp_path / "s.zarr")],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ran.stdout.split() == ["64", "64", "held"], ran.stderr


def test_arrays_of_dask_work_in_its_processes(tmp_path):
    import dask

    make_position(tmp_path)
    with lamella.open_ome_zarr(tmp_path / "a.zarr", mode="r+") as position:
        position["0"][...] = 3
        lazy = position["0"].dask_array()
    with dask.config.set(scheduler="processes", num_workers=2, **{"multiprocessing.context": "spawn"}):
        assert int(lazy.sum().compute()) == 3 * 384


def test_random_schedules_of_three_writers_lose_nothing(tmp_path):
    """Three threads that take turns at random, step by step of the file system, from ten seeds."""
    for seed in range(10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        make_plate(folder)
        chance, turns = random.Random(seed), queue.SimpleQueue()
        for _ in range(4000):
            turns.put(chance.random() < 0.5)

        def pass_on(_: str, turns=turns) -> None:
            if not turns.empty() and turns.get():
                os.sched_yield()

        threads = [
            threading.Thread(target=create, args=(folder, f"A/{n}/0", f"B/1/{n}")) for n in range(1, 4)
        ]
        with Faults(folder, 1, pass_on, lasting=True):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert sorted(listed(folder)) == ["A/1/0", "A/2/0", "A/3/0", "B/1/1", "B/1/2", "B/1/3"]


def compute(position):
    position.compute_pyramid()


def compute_first(position):
    position.compute_pyramid(levels=2)


def update(position):
    position.update_pyramid()


def update_part(position):
    position.update_pyramid(np.s_[0])


def append(position):
    position["0"].append(np.full((1, 1, 1, 4, 4), 7, "uint16"))


def append_twice(position):
    append(position)
    append(position)


def write_and_update(position):
    position["0"][0, 0, 0, :2] = 8
    position.update_pyramid()


@pytest.mark.parametrize(
    ("one", "other", "is_grown"),
    [
        (compute, append_twice, False),  # two frames become four: as if they were to be halved
        (compute_first, append_twice, False),
        (append, compute, True),
        (compute, write_and_update, False),
        (update, write_and_update, True),
        (update_part, write_and_update, False),
    ],
)
def test_levels_made_beside_a_writer_are_right_or_said_to_be_stale(
    tmp_path, monkeypatch, one, other, is_grown
):
    handles = {}

    def make(folder):
        with lamella.open_ome_zarr(
            folder / "a.zarr", layout="fov", mode="w-", channel_names=["a"], version="0.5"
        ) as position:
            position["0"] = np.full((2, 1, 1, 4, 4), 1, "uint16")
            if one is not compute_first:
                position.compute_pyramid(levels=2)
                position["0"][0, 0, 0, 2:] = 5
            if is_grown:
                append(position)
        for action in (one, other):
            handles[action] = lamella.open_ome_zarr(folder / "a.zarr", mode="r+")

    def run(action, _):
        with handles[action] as position:
            action(position)

    def check(position):
        finest = position["0"][...].astype(float)
        if len(position.dataset_paths) > 1 and not position.stale_levels:
            assert position.get_effective_scale("1") == [1, 1, 1, 2, 2]
            wanted = finest.reshape(len(finest), 1, 1, 2, 2, 2, 2).mean((4, 6))
            assert np.array_equal(position["1"][...], np.rint(wanted))

    for folder, results, _ in interleavings(
        make,
        partial(run, one),
        partial(run, other),
        tmp_path,
        monkeypatch,
        most=200,
        kinds=("read", "replace", "rename"),
    ):
        assert all(result is None or isinstance(result, LamellaError) for result in results), results
        check(lamella.open_ome_zarr(folder / "a.zarr"))
