"""Law: compute_pyramid lists a level when its pixels are whole, and what a kill left is in no way."""

from __future__ import annotations

import json
import signal
import threading

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from tests.warm import run

import lamella
from lamella import open_ome_zarr
from lamella.cli import main
from lamella.errors import NodeExistsError, NodeNotFoundError
from lamella.ops.pyramids import passes
from lamella.store.files.local import LocalStorage
from lamella.store.files.locks import _ThreadLocks
from lamella.store.pixels.coding import Coding

from .pyramids import METHODS, image, noise
from .test_pyramid_resume import ALL, CHILD, DATA, UNIT, cut, units, volumes  # noqa: F401
from .test_pyramid_update import assert_current, levels, marker

CHUNKS = {"chunks": (1, 1, 4, 16, 20)}


@pytest.fixture(params=["0.4", "0.5"])
def version(request):
    return request.param


@pytest.fixture
def store(tmp_path, version):
    image(tmp_path / "a.zarr", DATA, version, **CHUNKS)
    return tmp_path / "a.zarr"


@pytest.fixture
def killed(store):
    """A store whose pyramid of three levels was killed after three of eight units."""
    assert run(CHILD, store, UNIT, 3, "here").returncode == -signal.SIGKILL
    assert (store / "1").exists()
    return store


def listed(path):
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    (entry,) = attributes.get("ome", attributes)["multiscales"]
    return [dataset["path"] for dataset in entry["datasets"]]


def test_while_a_pyramid_is_made_nobody_sees_its_levels(store, units, monkeypatch):  # noqa: F811
    seen, make = [], passes.compute_unit

    def look(unit):
        other = open_ome_zarr(store)
        seen.append((listed(store), other.dataset_paths, list(other), other.stale_levels))
        return make(unit)

    monkeypatch.setattr(passes, "compute_unit", look)
    with open_ome_zarr(store, mode="r+") as position:
        position.compute_pyramid(3)
        assert position.dataset_paths == listed(store) == ["0", "1", "2"]
        assert marker(store) is None
        assert_current(position)
    assert seen[:8] == [(["0"], ["0"], ["0"], False)] * 8


def test_a_size_that_is_set_meanwhile_counts_also_where_the_metadata_are_held(store):
    with open_ome_zarr(store, mode="r+") as position:
        held, calls = position.metadata, []

        def change(*_):
            if not calls:
                calls.append(position.set_scale("0", "x", 0.5))
            held.multiscales[0].name = "unsaved"

        position.compute_pyramid(2, progress=change)
    with open_ome_zarr(store) as again:
        assert again.get_effective_scale("1")[-1] == 2 * again.scale[-1] == 1
        assert again.metadata.multiscales[0].name == "unsaved"


def test_what_a_kill_left_is_seen_by_nobody(killed, tmp_path):
    assert listed(killed) == ["0"]
    position = open_ome_zarr(killed)
    assert [name for name, _ in position.images()] == ["0"]
    assert not position.stale_levels
    assert "levels" not in repr(position)
    assert not lamella.validate(killed, pixels=True).findings
    assert bool(lamella.status(killed))
    assert bool(lamella.verify(killed))
    told = json.loads(CliRunner().invoke(main, ["info", "--json", str(killed)]).output)
    assert told["stale_levels"] is False
    lamella.rechunk(killed, tmp_path / "b.zarr", chunks=(1, 8, 8))
    assert listed(tmp_path / "b.zarr") == ["0"]
    with open_ome_zarr(tmp_path / "b.zarr", mode="r+") as copy:
        copy.compute_pyramid(2)
        assert_current(copy)


def test_the_same_call_goes_on_and_lists_the_levels_at_its_end(killed, units):  # noqa: F811
    with open_ome_zarr(killed, mode="r+") as position:
        position.compute_pyramid(3)
        assert volumes(units) == ALL[3:]
        assert listed(killed) == ["0", "1", "2"]
        assert_current(position)


def test_writes_to_level_0_after_the_kill_are_in_the_levels(killed, units):  # noqa: F811
    with open_ome_zarr(killed, mode="r+") as position:
        position["0"][0, 1, 3] = 60000
    with open_ome_zarr(killed, mode="r+") as position:
        position.compute_pyramid(3)
        assert volumes(units) == [(0, 1), *ALL[3:]]
        assert_current(position)


def other_number(position):
    position.compute_pyramid(2)
    return ["0", "1"], "mean"


def other_method(position):
    position.compute_pyramid(3, "max")
    return ["0", "1", "2"], "max"


def other_factors(position):
    position.compute_pyramid(2, factors={"y": 4, "x": 4})
    return ["0", "1"], "mean"


def deleted(position):
    position.delete_pyramid()
    assert list(position.group_keys()) + position.array_keys() == ["0"]
    position.compute_pyramid(3)
    return ["0", "1", "2"], "mean"


def initialized(position):
    position.initialize_pyramid(3)
    assert not position["1"][:].any()
    position.compute_pyramid()
    return ["0", "1", "2"], "mean"


@pytest.mark.parametrize(
    ("version", "call"),
    [
        ("0.4", other_number),
        ("0.5", other_number),
        ("0.4", other_method),
        ("0.5", other_factors),
        ("0.4", deleted),
        ("0.5", deleted),
        ("0.5", initialized),
    ],
    indirect=["version"],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_what_a_kill_left_is_in_no_way(killed, call):
    with open_ome_zarr(killed, mode="r+") as position:
        paths, method = call(position)
        assert position.dataset_paths == position.array_keys() == paths
        assert not position.stale_levels
        found = levels(position)
        position.compute_pyramid(method=method, resume=False)
        for one, other in zip(found, levels(position), strict=True):
            np.testing.assert_array_equal(one, other)
    assert marker(killed) is None


def test_an_array_of_the_name_of_a_level_that_a_kill_left_can_be_created(killed):
    with open_ome_zarr(killed, mode="r+") as position:
        position.create_image("1", DATA[..., ::2, ::2])
        assert position.dataset_paths == position.array_keys() == ["0", "1"]
        np.testing.assert_array_equal(position["1"][:], DATA[..., ::2, ::2])


@pytest.mark.parametrize("method", METHODS)
def test_a_pyramid_costs_two_writes_of_the_document(counting_store, method):
    position = image(counting_store, noise((1, 1, 4, 32, 32)))
    counting_store.sets.clear()
    position.compute_pyramid(3, method)
    assert counting_store.sets["zarr.json"] == 2
    counting_store.sets.clear()
    position.compute_pyramid(method=method)
    assert counting_store.sets["zarr.json"] == 2


def test_a_pyramid_looks_at_documents_a_few_times_however_many_blocks_it_has(tmp_path, monkeypatch):
    position = image(tmp_path / "a.zarr", noise((2, 2, 16, 64, 64)), chunks=(1, 1, 2, 16, 16))
    looks, writes = [], []
    stamp, write = LocalStorage.stamp, LocalStorage._write
    monkeypatch.setattr(LocalStorage, "stamp", lambda self, key: looks.append(key) or stamp(self, key))
    monkeypatch.setattr(
        LocalStorage, "_write", lambda self, key, *a, **k: writes.append(key) or write(self, key, *a, **k)
    )
    position.compute_pyramid(4)
    assert writes.count("zarr.json") == 2
    assert len(looks) <= 20
    looks.clear()
    writes.clear()
    position.compute_pyramid()
    assert writes.count("zarr.json") == 2
    assert len(looks) <= 36


def while_made(position, units, monkeypatch, work):  # noqa: F811
    """Compute three levels while another does something after two units."""
    compute, once = passes.compute_unit, []

    def overtaken(unit):
        if len(units) == 2 and not once:
            once.append(1)
            work()
        return compute(unit)

    monkeypatch.setattr(passes, "compute_unit", overtaken)
    position.compute_pyramid(3)


def test_of_two_that_make_the_same_levels_the_first_to_end_lists_them_as_stale(store, units, monkeypatch):  # noqa: F811
    position = open_ome_zarr(store, mode="r+")
    while_made(position, units, monkeypatch, lambda: cut(open_ome_zarr(store, mode="r+"), units, 1, 3))
    assert listed(store) == ["0", "1", "2"]
    assert position.stale_levels  # the other, for all that is known, still writes
    position.compute_pyramid(3)
    assert_current(position)


@pytest.mark.parametrize("given", [(2, "mean"), (3, "max")])
def test_who_was_overtaken_by_another_plan_lists_nothing(store, units, monkeypatch, given):  # noqa: F811
    position = open_ome_zarr(store, mode="r+")
    with pytest.raises(NodeExistsError, match="another call"):
        while_made(
            position, units, monkeypatch, lambda: cut(open_ome_zarr(store, mode="r+"), units, 1, *given)
        )
    assert listed(store) == ["0"]
    position.compute_pyramid(3)
    assert_current(position)
    assert marker(store) is None


def test_levels_that_were_deleted_meanwhile_are_not_listed(store, units, monkeypatch):  # noqa: F811
    position = open_ome_zarr(store, mode="r+")
    with pytest.raises(NodeNotFoundError, match="deleted while they were computed"):
        while_made(position, units, monkeypatch, lambda: open_ome_zarr(store, mode="r+").delete_pyramid())
    assert listed(store) == ["0"]
    position.compute_pyramid(3)
    assert_current(position)


@pytest.mark.parametrize("shape", [(4, 16, 16), (3, 17, 19)], ids=["whole factors", "odd"])
def test_levels_of_label_images_are_listed_when_they_are_whole(tmp_path, version, monkeypatch, shape):
    store = tmp_path / "a.zarr"
    position = image(store, noise((1, 1, *shape)), version)
    position.labels.create("cells", noise(shape, "uint8", 3))
    seen, make = [], passes.compute_unit

    def look(unit):
        seen.append(listed(store / "labels/cells"))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return make(unit)

    with monkeypatch.context() as patch:
        patch.setattr(passes, "compute_unit", look)
        with pytest.raises(KeyboardInterrupt):
            position.compute_pyramid(3)
    assert seen == [["0"], ["0"]]
    assert listed(store / "labels/cells") == ["0"]
    position.compute_pyramid(3)
    assert listed(store / "labels/cells") == ["0", "1", "2"]
    assert_current(position.labels["cells"], "mode")


def test_a_level_waits_for_a_writer_of_a_part_of_a_file_at_its_edge(tmp_path, version, monkeypatch):
    """The array may grow into the rest of that file, so that whoever writes it locks it."""
    sevens = np.full((3, 1, 1, 64, 64), 7, "u2")
    with open_ome_zarr(tmp_path / "a.zarr", "fov", "w-", ["a"], version=version) as image:
        image.create_image("0", sevens, chunks=(3, 1, 1, 20, 20))
        image.compute_pyramid(levels=2)
        image["1"][...] = 0
        waits, encode, join = threading.Event(), Coding.encode_parts, _ThreadLocks.join
        pyramid = threading.Thread(target=lambda: image.compute_pyramid(levels=2, resume=False), daemon=True)
        pyramid_ends = threading.Thread(target=lambda: (pyramid.join(), waits.set()), daemon=True)

        def joined(locks, name):
            if name in locks._locks:
                waits.set()
            return join(locks, name)

        def encoded(coding, block):
            if not pyramid.ident:
                monkeypatch.setattr(_ThreadLocks, "join", joined)
                pyramid.start()
                pyramid_ends.start()
                assert waits.wait(60)
            return encode(coding, block)

        monkeypatch.setattr(Coding, "encode_parts", encoded)
        with open_ome_zarr(tmp_path / "a.zarr", mode="r+") as other:
            other["1"][2, 0, 0, 20:, 20:] = 9
        pyramid.join(60)
        assert np.array_equal(image["1"][...], sevens[..., ::2, ::2])
