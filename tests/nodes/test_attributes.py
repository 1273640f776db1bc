"""Laws of attributes: whatever zarr-python writes into a document is merged with what others wrote meanwhile."""

from __future__ import annotations

import json
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore, MemoryStore, WrapperStore

from lamella import open_ome_zarr
from lamella.errors import LamellaError
from lamella.models import axes

if TYPE_CHECKING:
    from collections.abc import Callable


#: Every version in a folder, and every other store with one version: how a document is merged depends on either, and
#: on nothing that only both together decide.
WORLDS = ["0.4 local", "0.5 local", "0.6 local", "0.4 memory", "0.5 wrapped", "0.6 url"]


@pytest.fixture(params=WORLDS)
def world(request):
    return request.param.split()


def in_turn(views):
    """Run a test for each view in a folder and in another store: the first view in others than the second."""
    cases = [(WORLDS[(n + other) % 6], view) for n, view in enumerate(views) for other in (0, 3)]
    return pytest.mark.parametrize(("world", "view"), cases, indirect=["world"])


in_a_folder = pytest.mark.parametrize("world", ["0.4 local", "0.6 local"], indirect=True)


@pytest.fixture
def version(world):
    return world[0]


@pytest.fixture
def store(world, path):
    if world[1] == "url":
        return f"memory://{uuid4().hex}/a.zarr"
    return {
        "local": lambda: path,
        "memory": MemoryStore,
        "wrapped": lambda: WrapperStore(MemoryStore()),
    }[world[1]]()


@pytest.fixture
def position(store, version):
    with open_ome_zarr(
        store,
        layout="fov",
        mode="w-",
        channel_names=["DAPI", "GFP"],
        axes=axes("tcyx"),
        version=version,
    ) as made:
        made.create_image("0", frame(), chunks=(1, 1, 8, 8))
        yield made


def frame(value=1):
    return np.full((1, 2, 8, 8), value, "uint16")


def raw(position, path=""):
    """Read the attributes of a node as they are stored, by strict JSON."""
    name = "zarr.json" if position.version != "0.4" else ".zattrs"
    key = f"{path}/{name}" if path else name
    found = sync(position.zgroup.store.get(key, default_buffer_prototype()))

    def refuse(token):
        raise AssertionError(f"{key} holds {token}, which JSON has not")

    document = json.loads(found.to_bytes(), parse_constant=refuse)
    return document if name == ".zattrs" else document.get("attributes", {})


# -- views of the attributes of an array, all of which write ----------------------------------------------------------

VIEWS = {
    "array.attrs": lambda position: position["0"].attrs,
    "array.zarr().attrs": lambda position: position["0"].zarr().attrs,
    "zgroup[name].attrs": lambda position: position.zgroup["0"].attrs,
    "zgroup.arrays()": lambda position: dict(position.zgroup.arrays())["0"].attrs,
    "zgroup.members()": lambda position: dict(position.zgroup.members())["0"].attrs,
    "zarr.open_array of its store": lambda position: zarr.open_array(position.zgroup.store, path="0").attrs,
    "zarr.open_group of its store": lambda position: (
        zarr.open_group(position.zgroup.store, mode="r+", use_consolidated=False)["0"].attrs
    ),
}


@in_turn(VIEWS)
def test_attributes_of_an_array_do_not_undo_an_append(position, view):
    notes = VIEWS[view](position)
    position["0"].append(frame(2))
    position["0"].attrs["other"] = "kept"
    notes["k"] = 1
    assert position["0"].shape == (2, 2, 8, 8)
    np.testing.assert_array_equal(position["0"][1], frame(2)[0])
    assert raw(position, "0") == {"other": "kept", "k": 1}
    del notes["k"]
    assert raw(position, "0") == {"other": "kept"}
    assert position["0"].shape == (2, 2, 8, 8)


@in_turn(VIEWS)
def test_attributes_of_an_array_do_not_undo_a_new_channel(position, view):
    notes = VIEWS[view](position)
    position.append_channel("Cy5")
    notes["k"] = 1
    assert position["0"].channels == 3 == len(position.channel_names)


def asynchronously(array, new):
    sync(array.update_attributes(new))


UPDATES: dict[str, Callable] = {
    "array.zarr().update_attributes": lambda position: position["0"].zarr().update_attributes,
    "zgroup[name].update_attributes": lambda position: position.zgroup["0"].update_attributes,
    "asynchronous": lambda position: partial(asynchronously, position["0"].zarr().async_array),
    "of its store": lambda position: zarr.open_array(position.zgroup.store, path="0").update_attributes,
}


@pytest.mark.parametrize("update", UPDATES)
def test_update_attributes_does_not_undo_an_append(position, update):
    call = UPDATES[update](position)
    position["0"].append(frame(2))
    position["0"].attrs["other"] = "kept"
    call({"k": 1})
    assert position["0"].shape == (2, 2, 8, 8)
    assert raw(position, "0") == {"other": "kept", "k": 1}


GROUPS = {
    "zgroup.attrs": lambda position: position.zgroup.attrs,
    "zattrs": lambda position: position.zattrs,
    "zarr.open_group of its store": lambda position: (
        zarr.open_group(position.zgroup.store, mode="r+", use_consolidated=False).attrs
    ),
}


@in_turn(GROUPS)
def test_attributes_of_a_group_do_not_undo_edits_of_the_node(position, view):
    notes = GROUPS[view](position)
    position.rename_channel("GFP", "actin")
    position.zattrs["other"] = "kept"
    notes["k"] = 1
    assert position.channel_names == ["DAPI", "actin"]
    assert raw(position)["other"] == "kept"
    assert raw(position)["k"] == 1
    del notes["k"]
    assert "k" not in raw(position)
    assert position.channel_names == ["DAPI", "actin"]


def test_update_attributes_of_a_group_does_not_undo_edits_of_the_node(position):
    for group in (
        position.zgroup,
        zarr.open_group(position.zgroup.store, mode="r+", use_consolidated=False),
    ):
        position.rename_channel("GFP", "actin")
        group.update_attributes({"k": [1]})
        assert position.channel_names == ["DAPI", "actin"]
        assert position.zattrs["k"] == [1]
        position.rename_channel("actin", "GFP")


def test_a_changed_part_of_an_attribute_does_not_undo_another_part(position):
    position["0"].attrs["a"] = {"one": 1, "two": 2}
    array = zarr.open_array(position.zgroup.store, path="0")
    position["0"].attrs["a"] = {"one": 1, "two": "other"}
    array.attrs["a"] = {"one": "mine", "two": 2}
    assert raw(position, "0") == {"a": {"one": "mine", "two": "other"}}


# -- the shape --------------------------------------------------------------------------------------------------------

RESIZES: dict[str, Callable] = {
    "array.zarr()": lambda position: position["0"].zarr().resize,
    "zgroup[name]": lambda position: position.zgroup["0"].resize,
    "of its store": lambda position: zarr.open_array(position.zgroup.store, path="0").resize,
}


@pytest.mark.parametrize("resize", RESIZES)
def test_resize_does_not_undo_attributes(position, resize):
    call = RESIZES[resize](position)
    position["0"].attrs["k"] = 1
    call((3, 2, 8, 8))
    assert position["0"].shape == (3, 2, 8, 8)
    assert raw(position, "0") == {"k": 1}


def test_resize_along_one_axis_does_not_undo_growth_along_another(position):
    array = zarr.open_array(position.zgroup.store, path="0")
    position["0"].append(frame(2))
    array.resize((1, 2, 12, 8))
    assert position["0"].shape == (2, 2, 12, 8)
    np.testing.assert_array_equal(position["0"][1, :, :8], frame(2)[0])


def test_a_resize_that_others_overtook_is_refused_and_changes_nothing(position):
    array = zarr.open_array(position.zgroup.store, path="0")
    position["0"].append(frame(2))
    with pytest.raises(ValueError, match="changed its shape"):
        array.resize((3, 2, 8, 8))
    assert position["0"].shape == (2, 2, 8, 8)
    np.testing.assert_array_equal(position["0"][1], frame(2)[0])


@pytest.mark.parametrize("held", ["array.zarr()", "zgroup[name]"])
def test_append_of_a_held_array_goes_on_from_what_others_appended(position, held):
    array = position["0"].zarr() if held == "array.zarr()" else position.zgroup["0"]
    position["0"].append(frame(2))
    assert array.append(frame(3)) == (3, 2, 8, 8)
    assert array.shape == (3, 2, 8, 8)
    np.testing.assert_array_equal(position["0"][:, 0, 0, 0], [1, 2, 3])
    np.testing.assert_array_equal(array[:, 0, 0, 0], [1, 2, 3])


def test_resizing_by_the_node_does_not_undo_attributes_that_others_write(position):
    done = threading.Event()

    def write():
        attrs = position["0"].attrs
        for n in range(60):
            attrs[f"k{n}"] = n
        done.set()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(write)
        length = 1
        while not done.is_set() and not other.done():
            length = 3 - length
            position["0"].resize((length, 2, 8, 8))
        other.result()
    assert set(raw(position, "0")) == {f"k{n}" for n in range(60)}


# -- values -----------------------------------------------------------------------------------------------------------

WRITERS = {
    **{name: VIEWS[name] for name in ("array.attrs", "array.zarr().attrs", "zgroup[name].attrs")},
    "zattrs": lambda position: position.zattrs,
    "zgroup.attrs": lambda position: position.zgroup.attrs,
}


@in_turn([*WRITERS, "zarr.open_array of its store"])
def test_what_json_has_not_is_refused_before_anything_is_written(position, view):
    for bad in (float("inf"), -np.inf, np.nan, np.float32("inf"), {"deep": [1, float("nan")]}):
        notes = {**WRITERS, **VIEWS}[view](position)
        notes["k"] = 1
        before = raw(position), raw(position, "0")
        if view not in WRITERS and isinstance(bad, np.float32):
            continue  # zarr-python itself refuses scalars of numpy, before the store is asked
        with pytest.raises(ValueError, match="JSON has no such value") as caught:
            notes["bad"] = bad
        assert isinstance(caught.value, LamellaError)
        assert (raw(position), raw(position, "0")) == before
        if view in WRITERS:
            assert "bad" not in notes
            notes["k"] = 2  # the refused value does not stick
            assert notes["k"] == 2


@in_turn(WRITERS)
def test_numpy_scalars_are_stored_as_plain_numbers(position, view):
    notes = WRITERS[view](position)
    values = {
        "int": np.int64(3),
        "float": np.float32(0.5),
        "bool": np.bool_(True),
        "list": [np.uint8(1), np.float64(2)],
        "array": np.arange(3),
    }
    notes.update(values)
    stored = {"int": 3, "float": 0.5, "bool": True, "list": [1, 2.0], "array": [0, 1, 2]}
    assert {key: notes[key] for key in values} == stored
    assert [type(notes[key]) for key in values] == [int, float, bool, list, list]
    assert {key: dict(notes)[key] for key in values} == stored


def test_update_attributes_stores_numpy_scalars(position):
    position["0"].zarr().update_attributes({"k": np.int16(4)})
    position.zgroup["0"].update_attributes({"l": np.float16(0.5)})
    position.zgroup.update_attributes({"m": np.int16(4)})
    assert raw(position, "0") == {"k": 4, "l": 0.5}
    assert raw(position)["m"] == 4


def test_attributes_of_an_array_are_a_live_mapping(position):
    notes = position["0"].attrs
    assert isinstance(notes, zarr.core.attributes.Attributes)
    assert dict(notes) == {}
    position["0"].zarr().attrs["a"] = 1
    assert notes["a"] == 1
    notes.put({"b": 2})
    assert notes.asdict() == {"b": 2} == position["0"].zarr().attrs.asdict()
    with pytest.raises(KeyError):
        del notes["a"]
    with pytest.raises(KeyError):
        notes["a"]
    array = position["0"].zarr()
    array.attrs["c"] = 3
    assert array.metadata.attributes["c"] == 3


def test_attributes_of_an_array_that_is_open_for_reading_are_not_written(position, store):
    with open_ome_zarr(store) as reader:
        for notes in (
            reader["0"].attrs,
            reader["0"].zarr().attrs,
            reader.zgroup["0"].attrs,
            reader.zgroup.attrs,
        ):
            with pytest.raises(ValueError, match="read"):
                notes["k"] = 1
    assert raw(position, "0") == {}


def test_attributes_of_a_deleted_array_do_not_bring_it_back(position):
    notes, array = position["0"].attrs, zarr.open_array(position.zgroup.store, path="0")
    del position["0"]
    with pytest.raises(LookupError):
        notes["k"] = 1
    with pytest.raises(LookupError):
        array.attrs["k"] = 1
    assert list(position) == []


def test_an_array_that_zarr_python_makes_through_the_group_is_as_it_makes_it(position):
    group = position.zgroup
    made = group.create_array("mask", shape=(8, 8), dtype="uint8", attributes={"a": 1})
    made[:] = 5
    made.attrs["b"] = 2
    assert raw(position, "mask") == {"a": 1, "b": 2}
    assert position.zgroup["mask"][0, 0] == 5
    again = group.create_array("mask", shape=(4,), dtype="uint8", overwrite=True)
    assert (again.shape, raw(position, "mask")) == ((4,), {})
    sub = group.create_group("tables")
    sub.attrs["n"] = 1
    assert raw(position, "tables") == {"n": 1}
    del group["mask"]
    assert "mask" not in position


# -- many writers -----------------------------------------------------------------------------------------------------


@in_turn([*WRITERS, "zarr.open_array of its store"])
def test_sixty_writers_at_once_keep_sixty_keys(position, view):
    make = {**WRITERS, **VIEWS}[view]
    start = threading.Barrier(60)

    def write(n):
        notes = make(position)
        start.wait(60)
        notes[f"k{n}"] = n

    with ThreadPoolExecutor(60) as pool:
        list(pool.map(write, range(60)))
    node = "" if view in ("zattrs", "zgroup.attrs") else "0"
    found = raw(position, node)
    assert {key: found.get(key) for key in (f"k{n}" for n in range(60))} == {f"k{n}": n for n in range(60)}
    assert position["0"].shape == (1, 2, 8, 8)


def test_sixty_writers_through_one_array_of_zarr_python_keep_sixty_keys(position):
    array = position["0"].zarr()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda n: array.attrs.__setitem__(f"k{n}", n), range(60)))
    assert set(raw(position, "0")) == {f"k{n}" for n in range(60)}


def write_keys(path, worker):
    """Write twenty keys from another process."""
    with open_ome_zarr(path, mode="r+") as position:
        held = position["0"].zarr() if worker else zarr.open_array(position.zgroup.store, path="0")
        for n in range(20):
            (held.attrs if n % 2 else position["0"].attrs)[f"k{worker}-{n}"] = n


@in_a_folder
def test_three_processes_that_write_twenty_keys_each_keep_sixty(path, version):
    with open_ome_zarr(
        path, layout="fov", mode="w-", channel_names=["a", "b"], axes=axes("tcyx"), version=version
    ) as position:
        position["0"] = frame()
        with ProcessPoolExecutor(3, mp_context=get_context("forkserver")) as pool:
            writers = [pool.submit(write_keys, str(path), worker) for worker in range(3)]
            position["0"].append(frame(2))
            for writer in writers:
                writer.result()
        assert set(raw(position, "0")) == {f"k{worker}-{n}" for worker in range(3) for n in range(20)}
        assert position["0"].shape == (2, 2, 8, 8)


def update(array, key):
    array.attrs[key] = 1


@in_a_folder
def test_an_array_that_was_sent_to_another_process_does_not_undo_what_came_meanwhile(path, version):
    with open_ome_zarr(
        path, layout="fov", mode="w-", channel_names=["a", "b"], axes=axes("tcyx"), version=version
    ) as position:
        position["0"] = frame()
        plain = zarr.open_array(position.zgroup.store, path="0")
        sent = [pickle.dumps(array) for array in (position["0"].zarr(), position.zgroup["0"], plain)]
        position["0"].append(frame(2))
        with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
            for number, array in enumerate(sent):
                pool.submit(partial(unpickled_update, array, f"k{number}")).result()
        assert raw(position, "0") == {"k0": 1, "k1": 1, "k2": 1}
        assert position["0"].shape == (2, 2, 8, 8)


def unpickled_update(data, key):
    update(pickle.loads(data), key)


@in_a_folder
def test_the_store_of_a_group_is_the_one_that_was_opened(tmp_path, version):
    memory = MemoryStore()
    for store in (memory, LocalStore(tmp_path / "a.zarr")):
        with open_ome_zarr(store, layout="fov", mode="w-", channel_names=["a"], version=version) as position:
            assert position.zgroup.store == store
            assert str(position.zgroup.store) == str(store)
            assert zarr.open_group(position.zgroup.store, mode="r").attrs.asdict() == position.zattrs.asdict()
            with open_ome_zarr(position.zgroup.store, mode="r+") as again:
                again.zattrs["k"] = 1
            assert position.zattrs["k"] == 1
