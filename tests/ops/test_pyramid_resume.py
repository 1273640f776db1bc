"""Law: a pyramid that was killed goes on with what is not made, or is not what it was, and ends with the same bits."""

from __future__ import annotations

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.warm import run
from zarr.storage import MemoryStore

from lamella import open_ome_zarr
from lamella.ops.pyramids import passes
from lamella.spec.stale_levels import PyramidJob, StaleLevels, read_stale

from .pyramids import METHODS, image, noise, sensible
from .test_pyramid_update import levels, marker

DATA = noise((4, 2, 8, 32, 40))
LAYOUTS = {
    "shards": {"chunks": (1, 1, 2, 8, 8), "shards_ratio": (1, 1, 2, 2, 2)},
    "chunks": {"chunks": (1, 1, 4, 16, 20)},
}
UNIT = DATA[0, 0].nbytes
"""So that each volume is a unit of its own, and there are eight."""

CHILD = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
import lamella
from lamella.ops.pyramids import passes, progress
from lamella.ops.pyramids import passes
assert passes.UNIT_BYTES
passes.UNIT_BYTES = int(sys.argv[2])
made, left = progress.PyramidProgress.record, [int(sys.argv[3])]
def killed(*given):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    made(*given)
progress.PyramidProgress.record = killed
pool = ThreadPoolExecutor(1) if sys.argv[4] == "executor" else None
lamella.open_ome_zarr(sys.argv[1], mode="r+").compute_pyramid(3, executor=pool)
"""


class CutError(Exception):
    """The work ends here."""


@pytest.fixture
def units(monkeypatch):
    """Small units, and the list of those that are computed; ``units.left`` says after how many it ends."""

    class Units(list):
        left = None

    made, make = Units(), passes.compute_unit

    def compute(unit):
        if made.left is not None and not made.left:
            raise CutError
        made.left = None if made.left is None else made.left - 1
        made.append((unit.read_pass.source.path, unit.region))
        return make(unit)

    monkeypatch.setattr("lamella.ops.pyramids.passes.compute_unit", compute)
    monkeypatch.setattr("lamella.ops.pyramids.passes.UNIT_BYTES", UNIT)
    return made


def cut(position, units, after, *given, **options):
    """Compute a pyramid until some units are done."""
    units.left = after
    with pytest.raises(CutError):
        position.compute_pyramid(*given, **options)
    units.left = None
    units.clear()


def expected(position, method="mean"):
    """Return the levels that an uninterrupted call makes of the same pixels."""
    pixels = position["0"][...]
    return made_of(pixels.tobytes(), pixels.shape, method)


@lru_cache(maxsize=8)
def made_of(data, shape, method):
    other = image(MemoryStore(), np.frombuffer(data, DATA.dtype).reshape(shape), chunks=(1, 1, 4, 16, 20))
    other.compute_pyramid(3, method)
    return levels(other)


def assert_expected(position, method="mean"):
    for found, wanted in zip(levels(position), expected(position, method), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert not position.stale_levels


def volumes(units):
    """Times and channels that were computed."""
    return sorted(
        (t, c)
        for path, (times, channels, *_) in units
        for t in range(times.start, times.stop)
        for c in range(channels.start, channels.stop)
        if path == "0"
    )


ALL = [(t, c) for t in range(4) for c in range(2)]


def level_files(path):
    """Identity of each file of the lower levels, which a rename changes."""
    return {
        file: (file.stat().st_ino, file.stat().st_mtime_ns)
        for level in ("1", "2")
        for file in sorted((path / level).rglob("*"))
        if file.is_file() and file.suffix != ".json" and not file.name.startswith(".")
    }


@pytest.fixture(params=LAYOUTS)
def position(request, tmp_path):
    return image(tmp_path / "a.zarr", DATA, "0.5", **LAYOUTS[request.param])


# -- kills --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
@pytest.mark.parametrize(("after", "where"), [(0, "executor"), (3, "here"), (3, "executor"), (7, "here")])
def test_after_a_kill_the_same_call_makes_what_was_not_made(tmp_path, units, after, where):
    path = tmp_path / "a.zarr"
    image(path, DATA, "0.5", **LAYOUTS["shards"])
    assert run(CHILD, path, UNIT, after, where).returncode == -signal.SIGKILL
    position = open_ome_zarr(path, mode="r+")
    assert position.dataset_paths == list(position) == ["0"]
    before = level_files(path)
    with ThreadPoolExecutor(1) as pool:
        position.compute_pyramid(3, executor=pool if where == "executor" else None)
    assert volumes(units) == ALL[after:]
    after_it = level_files(path)
    kept = [file for file in before if before[file] == after_it[file]]
    assert len(kept) == after * len(after_it) // 8
    assert_expected(position)
    assert marker(path) is None


def test_what_an_executor_made_is_known_to_threads_and_the_other_way_round(position, units):
    with ThreadPoolExecutor(1) as pool:
        cut(position, units, 3, 3, executor=pool)
        cut(position, units, 2, 3)
        position.compute_pyramid(3, executor=pool)
    assert volumes(units) == ALL[5:]
    assert_expected(position)


def test_update_goes_on_too(position, units):
    position.compute_pyramid(3)
    cut(position, units, 5)
    position.update_pyramid()
    assert volumes(units) == ALL[5:]
    assert_expected(position)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_pyramid_cut_anywhere_and_changed_meanwhile_ends_with_the_same_bits(data, tmp_path_factory):
    names = data.draw(st.sampled_from(["yx", "zyx", "tczyx"]))
    shape = tuple(data.draw(st.integers(1, 20) if n in "zyx" else st.integers(1, 3)) for n in names)
    layout = {
        "chunks": tuple(data.draw(st.integers(1, n)) for n in shape),
        "shards_ratio": tuple(data.draw(st.integers(1, 3)) for _ in shape),
    }
    method, number = data.draw(st.sampled_from(METHODS)), sensible(shape, names)
    if number == 1:
        return
    path = tmp_path_factory.mktemp("cut") / "a.zarr"
    position = image(path, noise(shape, high=9), names=names, **layout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lamella.ops.pyramids.passes.UNIT_BYTES", data.draw(st.sampled_from([1, 200, 3000])))
        patch.setattr("lamella.ops.pyramids.passes.PENDING_BYTES", data.draw(st.sampled_from([0, 2**26])))
        for _ in range(data.draw(st.integers(1, 3))):
            left, make = [data.draw(st.integers(0, 6))], passes.compute_unit

            def compute(unit, left=left, make=make):
                left[0] -= 1
                if left[0] < 0:
                    raise CutError
                return make(unit)

            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(passes, "compute_unit", compute)
                with suppress(CutError):
                    position.compute_pyramid(number, method)
            if data.draw(st.booleans()):
                ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
                position["0"][tuple(slice(*end) for end in ends)] = noise((1,) * len(shape), high=99)
            if data.draw(st.booleans()):
                position.close()
                position = open_ome_zarr(path, mode="r+")
            files = [file for file in sorted(path.glob("[1-9]/c/**/*")) if file.is_file()]
            if files and data.draw(st.booleans()):
                data.draw(st.sampled_from(files)).unlink()
        position.compute_pyramid(number, method)
    found = levels(position)
    assert not position.stale_levels
    position.compute_pyramid(number, method, resume=False)
    for one, other in zip(found, levels(position), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_was_made_is_neither_read_nor_written_again(counting_store, units):
    position = image(counting_store, DATA, chunks=(1, 1, 4, 16, 20))
    cut(position, units, 6, 3)
    counting_store.gets.clear()
    counting_store.sets.clear()
    position.compute_pyramid(3)
    assert {key.split("/")[2:4] == ["3", "0"] or key.split("/")[2:4] == ["3", "1"]
            for key, _ in counting_store.gets if key.startswith("0/c/")} == {True}  # fmt: skip
    assert {tuple(key.split("/")[2:4]) for key in counting_store.sets if "/c/" in key} == {
        ("3", "0"),
        ("3", "1"),
    }
    assert_expected(position)


# -- what is not what it was --------------------------------------------------------------------------------------


def test_pixels_written_meanwhile_are_computed_and_nothing_else_that_was_made(position, units):
    cut(position, units, 6, 3)
    position["0"][1, 1, 3, 5:9] = 60000
    position.compute_pyramid(3)
    assert volumes(units) == [(1, 1), (3, 0), (3, 1)]
    assert_expected(position)


def test_pixels_written_while_the_pyramid_was_made_are_computed_by_the_next(position, tmp_path, units):
    cut(position, units, 6, 3)
    with open_ome_zarr(tmp_path / "a.zarr", mode="r+") as other:
        other["0"][0, 1, 3, 5:9] = 60000
    position.compute_pyramid(3)
    assert volumes(units) == [(0, 1), (3, 0), (3, 1)]
    assert_expected(position)


def test_pixels_written_meanwhile_are_known_where_the_store_tells_no_times(counting_store, units):
    position = image(counting_store, DATA, chunks=(1, 1, 4, 16, 20))
    cut(position, units, 6, 3)
    position["0"][1, 1, 3, 5:9, 7] = 60000
    position.compute_pyramid(3)
    assert volumes(units) == [(1, 1), (3, 0), (3, 1)]
    assert_expected(position)


def test_after_a_writer_that_was_killed_too_everything_is_computed(position, tmp_path, units):
    cut(position, units, 6, 3)
    open_ome_zarr(tmp_path / "a.zarr", mode="r+")["0"][0, 1, 3] = 60000  # and never closed
    position.compute_pyramid(3)
    assert volumes(units) == ALL
    assert_expected(position)


def test_a_file_of_level_0_that_another_program_wrote_is_read_again(position, tmp_path, units):
    cut(position, units, 6, 3)
    file = next(one for one in sorted((tmp_path / "a.zarr/0/c/1/0").rglob("*")) if one.is_file())
    other = next(one for one in sorted((tmp_path / "a.zarr/0/c/2/0").rglob("*")) if one.is_file())
    shutil.copy2(other, file.with_name("new"))  # with the time of the other, which is older than the pyramid
    os.replace(file.with_name("new"), file)
    position.compute_pyramid(3)
    assert volumes(units) == [(1, 0), (3, 0), (3, 1)]
    assert_expected(position)


def test_a_file_of_level_0_that_another_program_deleted_is_missed(position, tmp_path, units):
    """As zarr-python deletes a chunk that is overwritten with the fill value."""
    cut(position, units, 6, 3)
    for file in (tmp_path / "a.zarr/0/c/1/0").rglob("*"):
        if file.is_file():
            file.unlink()
    position.compute_pyramid(3)
    assert volumes(units) == [(1, 0), (3, 0), (3, 1)]
    assert not position["0"][1, 0].any()
    assert_expected(position)


@pytest.mark.parametrize(
    ("position", "level", "harm"),
    [
        (layout, ("1", "2")[(turn + number) % 2], harm)
        for turn, layout in enumerate(LAYOUTS)
        for number, harm in enumerate(["missing", "cut off", "empty"])
    ],
    indirect=["position"],
)
def test_a_file_of_a_level_that_is_not_whole_is_made_again(position, tmp_path, units, harm, level):
    cut(position, units, 6, 3)
    file = next(one for one in sorted((tmp_path / "a.zarr" / level / "c/2/1").rglob("*")) if one.is_file())
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: -5 if harm == "cut off" else 0])
    position.compute_pyramid(3)
    assert volumes(units) == [(2, 1), (3, 0), (3, 1)]
    assert_expected(position)


def test_a_shard_that_lacks_chunks_is_made_again(tmp_path, units):
    position = image(tmp_path / "a.zarr", DATA, "0.5", **LAYOUTS["shards"])
    cut(position, units, 6, 3)
    (tmp_path / "a.zarr/1/c/2/1/0/0/0").unlink()
    position["1"][2, 1, :2, :8, :8] = 0
    assert (tmp_path / "a.zarr/1/c/2/1/0/0/0").exists()
    position.compute_pyramid(3)
    assert volumes(units) == [(2, 1), (3, 0), (3, 1)]
    assert_expected(position)


def test_a_mark_alone_is_not_believed(position, tmp_path, units):
    cut(position, units, 6, 3)
    for file in level_files(tmp_path / "a.zarr"):
        file.unlink()
    position.compute_pyramid(3)
    assert volumes(units) == ALL
    assert_expected(position)


@pytest.mark.parametrize(
    ("position", "rest"),
    [
        ("chunks", [[], []]),
        ("shards", [[[[0] * 5, [0] * 5]], []]),
        ("chunks", [[[[-9] * 5, [2**70] * 5]], []]),
        ("shards", [[[[0], [1]]], []]),
        ("chunks", []),
        ("shards", 7),
        ("chunks", [[[["a"], 3]], []]),
        ("shards", None),
    ],
    indirect=["position"],
    ids=str,
)
def test_a_mark_that_says_nonsense_makes_nothing_wrong(position, tmp_path, units, rest):
    cut(position, units, 2, 3)
    document = tmp_path / "a.zarr" / "zarr.json"
    value = json.loads(document.read_text())
    value["attributes"]["lamella"]["stale_levels"]["making"]["rest"] = rest
    document.write_text(json.dumps(value))
    open_ome_zarr(tmp_path / "a.zarr", mode="r+").compute_pyramid(3)
    assert_expected(position)


@pytest.mark.parametrize(
    "found", [1e400, [], {"writer": 1}, {"writer": "a", "work": "b", "since": 1e400, "rest": []}]
)
def test_progress_that_cannot_be_read_is_none(found):
    stale = read_stale({"lamella": {"stale_levels": {"writers": ["a"], "regions": [], "making": found}}})
    assert stale.job is None
    assert stale


# -- other works --------------------------------------------------------------------------------------------------


def test_another_method_begins_anew(position, units):
    cut(position, units, 6, 3)
    position.compute_pyramid(3, "max")
    assert volumes(units) == ALL
    assert_expected(position, "max")


def test_what_another_version_made_is_made_anew(position, units, monkeypatch):
    cut(position, units, 6, 3)
    monkeypatch.setattr("lamella.ops.pyramids.progress.__version__", "another")
    position.compute_pyramid(3)
    assert volumes(units) == ALL


def test_other_levels_begin_anew(position, units):
    cut(position, units, 6, 3)
    position.delete_pyramid()
    position.compute_pyramid(3, dims=["y", "x"])
    assert volumes(units) == ALL
    assert not position.stale_levels


def test_everything_is_made_anew_where_that_is_asked_for(position, units):
    cut(position, units, 6, 3)
    position.compute_pyramid(3, resume=False)
    assert volumes(units) == ALL
    position.compute_pyramid(3)
    assert volumes(units) == sorted(ALL * 2)  # what is complete is no work that was killed


def test_a_part_that_was_updated_by_the_old_method_is_made_by_the_new_one(position, units):
    position.compute_pyramid(3, "max")
    cut(position, units, 6, 3, "min")
    position.update_pyramid((0, 0))  # of the pyramid that the metadata tell of
    position.compute_pyramid(3, "min")
    assert_expected(position, "min")


def test_an_array_that_grew_meanwhile_is_made_anew(position, units):
    position.compute_pyramid(3)
    cut(position, units, 6)
    position["0"].append(DATA[:1])
    position.compute_pyramid()
    assert_expected(position)


def test_level_0_that_another_program_made_smaller_begins_anew(position, tmp_path, units):
    cut(position, units, 6, 3)
    document = tmp_path / "a.zarr/0/zarr.json"
    document.write_text(json.dumps({**json.loads(document.read_text()), "shape": [4, 2, 8, 32, 39]}))
    position = open_ome_zarr(tmp_path / "a.zarr", mode="r+")
    position.compute_pyramid(3)  # of levels of the same shapes
    assert volumes(units) == ALL
    assert_expected(position)


def test_who_is_overtaken_leaves_what_the_other_tells(position, tmp_path, units, monkeypatch):
    compute, once = passes.compute_unit, []

    def overtaken(unit):
        if len(units) == 2 and not once:
            once.append(1)
            cut(open_ome_zarr(tmp_path / "a.zarr", mode="r+"), units, 1, 3)
        return compute(unit)

    monkeypatch.setattr(passes, "compute_unit", overtaken)
    position.compute_pyramid(3)
    assert once
    units.clear()
    position.compute_pyramid(3)
    assert volumes(units) == ALL[3:]
    assert_expected(position)


def test_who_ends_takes_its_progress_away():
    job = PyramidJob("a", "work", None, ((),))
    assert StaleLevels(("a",), (((0,), (4,)),), job).without_writer("a", ()).job is None
    assert StaleLevels(("a", "b"), (), job).without_writer("b", ()).job == job


def test_who_was_overtaken_by_another_leaves_no_mark(position, tmp_path, units, monkeypatch):
    compute, once = passes.compute_unit, []

    def overtaken(unit):
        if len(units) == 2 and not once:
            once.append(1)
            open_ome_zarr(tmp_path / "a.zarr", mode="r+").compute_pyramid(3)
        return compute(unit)

    monkeypatch.setattr(passes, "compute_unit", overtaken)
    position.compute_pyramid(3)
    assert once
    assert marker(tmp_path / "a.zarr") is None
    assert_expected(position)


# -- what it costs ------------------------------------------------------------------------------------------------


def documents_written(counting_store, make):
    counting_store.sets.clear()
    make()
    return counting_store.sets["zarr.json"]


def test_a_small_image_is_one_unit_and_costs_no_more_documents(counting_store, units, monkeypatch):
    position = image(counting_store, DATA, chunks=(1, 1, 4, 16, 20))
    position.compute_pyramid(3)
    monkeypatch.setattr("lamella.ops.pyramids.passes.UNIT_BYTES", 2**40)
    few = documents_written(counting_store, position.compute_pyramid)
    monkeypatch.setattr("lamella.ops.pyramids.passes.UNIT_BYTES", DATA.nbytes)
    units.clear()
    assert documents_written(counting_store, position.compute_pyramid) == few
    assert len(units) == 1
    monkeypatch.setattr("lamella.ops.pyramids.passes.UNIT_BYTES", DATA.nbytes // 4)
    units.clear()
    assert documents_written(counting_store, position.compute_pyramid) == few + 3  # not after the last
    assert len(units) == 4


def test_units_of_executors_are_small_and_told_of_by_bytes(counting_store, units, monkeypatch):
    position = image(counting_store, DATA, chunks=(1, 1, 4, 16, 20))
    position.compute_pyramid(3)
    few = documents_written(counting_store, position.compute_pyramid)
    monkeypatch.setattr("lamella.ops.pyramids.passes.UNIT_BYTES", DATA.nbytes)
    with ThreadPoolExecutor(2) as pool:
        units.clear()
        assert documents_written(counting_store, lambda: position.compute_pyramid(executor=pool)) <= few - 7
    assert len(units) == 8


def test_the_mark_is_small_however_units_end(position, tmp_path, units):
    cut(position, units, 1, 3)
    stale = read_stale(json.loads((tmp_path / "a.zarr/zarr.json").read_text())["attributes"])
    boxes = tuple(((t, 0, z, 0, 0), (t + 1, 1, z + 1, 1, 1)) for t in range(0, 9, 2) for z in range(0, 40, 2))
    many = type(stale.job)("a", "b", None, (boxes, ()))
    assert len(many.to_json()["rest"][0]) <= 64
