"""Law: of two who create one thing at the same time, one does, and the other is refused and has changed nothing."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import uuid4

import numpy as np
import pytest
from zarr.storage import MemoryStore, WrapperStore

from lamella import open_ome_zarr
from lamella.errors import InvalidArgumentError, NodeExistsError, StoreExistsError
from lamella.models import axes

from .states import litter, musts
from .test_races import interleavings

pytestmark = pytest.mark.filterwarnings("ignore:The new positions of .* have no channel names")

NAMES = ["a", "b"]
LARGE, SMALL = (2, 8, 8), (2, 4, 4)


def image(store, version):
    return open_ome_zarr(
        store, layout="fov", mode="w-", channel_names=NAMES, axes=axes("cyx"), version=version
    )


def empty_image(store, version):
    image(store, version).close()


def one_level(store, version):
    with image(store, version) as position:
        position.create_image("0", np.full(LARGE, 3, "uint16"))


def empty_plate(store, version):
    open_ome_zarr(
        store, layout="hcs", mode="w-", channel_names=NAMES, axes=axes("cyx"), version=version
    ).close()


def plate_with_a_well(store, version):
    with open_ome_zarr(
        store, layout="hcs", mode="w-", channel_names=NAMES, axes=axes("cyx"), version=version
    ) as plate:
        plate.create_position("A", "1", "0")


def nothing(store, version):
    pass


def zeros(name, shape, dtype, position):
    position.create_zeros(name, shape, dtype)


def pixels(name, value, dtype, position):
    position.create_image(name, np.full(LARGE, value, dtype), chunks=(1, 4, 8))


def levels(count, position):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        position.initialize_pyramid(count)


def computed(position):
    position.compute_pyramid(levels=2)


def label(value, position):
    position.labels.create("cells", np.full(LARGE[1:], value, "uint8"))


def tiles(columns, position):
    position.make_tiles("0", grid_shape=(1, columns), tile_shape=(2, 4, 4), dtype="uint8")


def stream(dtype, position):
    with position.stream("0", (8, 8), dtype, order="c", lengths={"c": 2}) as frames:
        frames.append(np.full((8, 8), 5, dtype))
        frames.append(np.full((8, 8), 5, dtype))


PAIRS = {
    "zeros, zeros": (empty_image, partial(zeros, "0", LARGE, "uint16"), partial(zeros, "0", SMALL, "uint8")),
    "pixels, pixels": (empty_image, partial(pixels, "0", 1, "uint16"), partial(pixels, "0", 2, "uint8")),
    "pixels, zeros": (empty_image, partial(pixels, "0", 1, "uint16"), partial(zeros, "0", SMALL, "uint8")),
    "nested": (empty_image, partial(zeros, "s/0", LARGE, "uint16"), partial(zeros, "s/0", SMALL, "uint8")),
    "second level": (one_level, partial(zeros, "1", LARGE, "uint16"), partial(pixels, "1", 2, "uint8")),
    "tiles": (empty_image, partial(tiles, 2), partial(tiles, 3)),
    "streams": (empty_image, partial(stream, "uint16"), partial(stream, "uint8")),
    "pyramids": (one_level, partial(levels, 2), partial(levels, 3)),
    "a pyramid, zeros": (one_level, partial(levels, 3), partial(zeros, "1", SMALL, "uint8")),
    "zeros, a pyramid": (one_level, partial(zeros, "1", SMALL, "uint8"), partial(levels, 3)),
    "computed pyramids": (one_level, computed, computed),
    "labels": (one_level, partial(label, 1), partial(label, 2)),
    "wells": (
        empty_plate,
        lambda plate: plate.create_well("A", "1"),
        lambda plate: plate.create_well("A", "1"),
    ),
    "positions": (
        empty_plate,
        lambda plate: plate.create_position("A", "1", "0"),
        lambda plate: plate.create_position("A", "1", "0"),
    ),
    "positions of a well": (
        plate_with_a_well,
        lambda plate: plate["A/1"].create_position("1"),
        lambda plate: plate.create_position("A", "1", "1"),
    ),
}


def opened(store, pair):
    return open_ome_zarr(store, mode="r+", layout="tiled" if pair == "tiles" else "auto")


def open_and(create, pair, store):
    with opened(store, pair) as node:
        create(node)


def check(store, results, pair):
    """Check what two creators have left, of whom one at least came to its end."""
    refused = [result for result in results if result is not None]
    # One that comes when the levels are there already makes the same again, or says that other levels are there.
    late = (InvalidArgumentError,) if "pyramid" in pair else ()
    assert len(refused) == 1 or (pair == "computed pyramids" and refused == []), results
    assert all(isinstance(error, (NodeExistsError, *late)) for error in refused), refused
    winner = results.index(None)
    node = open_ome_zarr(store)
    if pair in ("wells", "positions", "positions of a well"):
        assert [well.path for well in node.metadata.wells] == ["A/1"]
        names = [path for path, _ in node.positions()]
        assert names == sorted(set(names))
        return
    if not isinstance(store, str | MemoryStore | WrapperStore):
        assert musts(store) == set()
    paths = node.dataset_paths
    assert len(paths) == len(set(paths))
    for path in paths:
        node[path][:]
    shapes = [node[path].shape for path in paths]
    if pair in ("zeros, zeros", "nested", "pixels, zeros"):
        assert shapes == [(LARGE, SMALL)[winner]]
    if pair.startswith("pixels") and (winner == 0 or pair == "pixels, pixels"):
        np.testing.assert_array_equal(node["0"][:], np.full(LARGE, winner + 1))
    if pair == "second level":
        assert (node["1"].dtype, int(node["1"][:].max())) == [("uint16", 0), ("uint8", 2)][winner]
    if pair == "streams":
        assert (node["0"].dtype, int(node["0"][:].min())) == (("uint16", "uint8")[winner], 5)
    if pair == "tiles":
        assert node["0"].shape == (2, 4, (8, 12)[winner])
    if pair == "pyramids":
        assert len(paths) == (2, 3)[winner]
    if pair in ("a pyramid, zeros", "zeros, a pyramid"):
        is_pyramid = (winner == 0) == pair.startswith("a pyramid")
        assert shapes == ([LARGE, SMALL, (2, 2, 2)] if is_pyramid else [LARGE, SMALL])
        assert node["1"].dtype == ("uint16" if is_pyramid else "uint8")
    if pair == "computed pyramids":
        assert (shapes, int(node["1"][:].min())) == ([LARGE, SMALL], 3)
    if pair == "labels":
        assert list(node.labels) == ["cells"]
        assert set(np.unique(node.labels["cells"].data[:])) == {winner + 1}


@pytest.mark.parametrize(
    ("pair", "version"), [(pair, ("0.4", "0.5")[number % 2]) for number, pair in enumerate(PAIRS)]
)
def test_one_of_two_creators_wins_at_any_interleaving(tmp_path, monkeypatch, version, pair):
    make, one, other = PAIRS[pair]
    for folder, results, _ in interleavings(
        lambda folder: make(folder / "a.zarr", version),
        lambda folder: open_and(one, pair, folder / "a.zarr"),
        lambda folder: open_and(other, pair, folder / "a.zarr"),
        tmp_path,
        monkeypatch,
        most=120,
    ):
        check(folder / "a.zarr", results, pair)
        assert litter(folder) == []


@pytest.fixture(params=["memory", "wrapped", "url"])
def store(request):
    if request.param == "url":
        return lambda: f"memory://{uuid4().hex}/a.zarr"
    return {"memory": MemoryStore, "wrapped": lambda: WrapperStore(MemoryStore())}[request.param]


def at_once(*calls):
    """Make calls in threads that begin together; return what each returned or raised."""
    start = threading.Barrier(len(calls))

    def run(call):
        start.wait(60)
        try:
            call()
        except Exception as error:
            return error
        return None

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("pair", PAIRS)
def test_one_of_two_creators_wins_in_any_store(store, pair):
    make, one, other = PAIRS[pair]
    for version in ("0.4", "0.5"):
        target = store()
        make(target, version)
        with opened(target, pair) as first, opened(target, pair) as second:
            check(target, at_once(partial(one, first), partial(other, second)), pair)


def test_one_of_two_creators_of_a_store_wins_at_any_interleaving(tmp_path, monkeypatch, version):
    def make(layout, folder):
        open_ome_zarr(
            folder / "a.zarr", layout=layout, mode="w-", channel_names=NAMES, version=version
        ).zattrs["mine"] = layout

    for folder, results, _ in interleavings(
        lambda folder: None, partial(make, "fov"), partial(make, "hcs"), tmp_path, monkeypatch
    ):
        assert sorted(type(result) for result in results if result is not None) == [StoreExistsError]
        found = open_ome_zarr(folder / "a.zarr")
        assert found.zattrs["mine"] == ("fov", "hcs")[results.index(None)]
        assert type(found).__name__ == ("Position", "Plate")[results.index(None)]
        assert litter(folder) == []


def test_one_of_many_creators_of_a_store_wins_in_any_store(store, version):
    target = store()

    def make(n):
        image(target, version).zattrs["mine"] = n

    results = at_once(*(partial(make, n) for n in range(8)))
    assert results.count(None) == 1
    assert {type(result) for result in results if result is not None} == {StoreExistsError}
    assert open_ome_zarr(target).zattrs["mine"] == results.index(None)


def test_two_that_open_or_create_a_store_have_the_same_one(tmp_path, monkeypatch, version):
    def make(name, folder):
        with open_ome_zarr(
            folder / "a.zarr",
            layout="hcs",
            mode="a",
            channel_names=NAMES,
            version=version,
        ) as plate:
            plate.create_position("A", name, "0")

    for folder, results, _ in interleavings(
        lambda folder: None, partial(make, "1"), partial(make, "2"), tmp_path, monkeypatch
    ):
        assert results == [None, None]
        assert {name for name, _ in open_ome_zarr(folder / "a.zarr").positions()} == {"A/1/0", "A/2/0"}
