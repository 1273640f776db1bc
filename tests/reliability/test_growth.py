"""Laws of growth: pixels first, the shape last, and what a killed or refused call left is never seen."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest
from zarr.storage import MemoryStore

import lamella
from lamella.errors import StorageError

from .faults import Faults, fail
from .refusing import Refusing

# Arrays that grow along the channels without names for them: their image opens with a warning.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The metadata of .* break LM-11:lamella.errors.MetadataWarning"
)

LAYOUTS = {
    "plain": {"chunks": (1, 1, 1, 8, 6)},
    "chunks across the edge": {"chunks": (3, 2, 1, 5, 12)},
    "large chunks": {"chunks": (1, 1, 1, 256, 256)},
    "sharded": {"chunks": (1, 1, 1, 8, 6), "shards_ratio": (1, 1, 1, 1, 2)},
    "shards across the edge": {"chunks": (1, 1, 1, 8, 6), "shards_ratio": (4, 2, 1, 1, 2)},
}
KINDS = [
    (version, layout)
    for version in ("0.4", "0.5")
    for layout in LAYOUTS
    if version != "0.4" or layout not in ("sharded", "shards across the edge", "large chunks")
]
STORES = ("folder", "memory")
#: Each kind in one store along one axis: how an array is cut, where it is and which axis grows are independent.
GROWING = [(STORES[n % 2], version, layout, (n // 2) % 2) for n, (version, layout) in enumerate(KINDS)]


def frames(seed, shape):
    return np.random.default_rng(seed).integers(1, 60000, shape, dtype="uint16")


def stored(kind, tmp_path):
    """Return what opens the store, and what opens it so that the n-th write is refused."""
    return tmp_path / "film.zarr" if kind == "folder" else MemoryStore()


def plane(layout):
    return (256, 258) if layout == "large chunks" else (8, 12)


def film(store, version, layout):
    position = lamella.open_ome_zarr(
        store, layout="fov", mode="w-", channel_names=["DAPI", "GFP"], version=version
    )
    position.create_image("0", frames(0, (2, 2, 1, *plane(layout))), **LAYOUTS[layout])
    return position


def refused(store, n, work):
    """Do a work in a store whose n-th write is refused, and all after it; whether that stopped it."""
    if isinstance(store, Path):
        with Faults(store, n, fail(28), lasting=True) as faults:
            try:
                work(lamella.open_ome_zarr(store, mode="r+"))
            except StorageError:
                return True
        return faults.acted
    try:
        work(lamella.open_ome_zarr(Refusing(store, n), mode="r+"))
    except StorageError:
        return True
    return False


def writes(store, work):
    """Do a work in a store; return how many writes it made."""
    if isinstance(store, Path):
        with Faults(store) as faults:
            work(lamella.open_ome_zarr(store, mode="r+"))
        return len(faults.steps)
    counted = Refusing(store, 10**6)
    work(lamella.open_ome_zarr(counted, mode="r+"))
    return 10**6 - counted.left


def refusals(last, layout):
    """Writes to refuse: the first and the last ones, and others between, of all of which most are of chunks."""
    gap = 8 if layout == "large chunks" else 5
    return sorted({*range(1, 4), *range(4, last, gap), *range(max(1, last - 4), last + 1)})


def check_whole(store):
    assert lamella.validate(store, pixels=True).valid
    assert lamella.verify(store)
    assert lamella.status(store).counts["damaged"] == 0


@pytest.mark.parametrize(("kind", "version", "layout", "axis"), GROWING)
def test_an_append_that_fails_at_any_write_leaves_the_array_as_it_was_and_nothing_to_be_seen_later(
    kind, version, layout, axis, tmp_path
):
    shape = [2, 2, 1, *plane(layout)]
    shape[axis] = 5
    late, less = frames(1, shape), frames(2, [1 if i == axis else n for i, n in enumerate(shape)])
    old = frames(0, (2, 2, 1, *plane(layout)))
    whole = stored(kind, tmp_path / "whole")
    film(whole, version, layout).close()
    last = writes(whole, lambda position: position.data.append(late, axis))
    assert last > 2
    left_old = 0
    for n in refusals(last, layout):
        store = stored(kind, tmp_path / str(n))
        film(store, version, layout).close()
        if not refused(store, n, lambda position: position.data.append(late, axis)):
            continue  # threads may make a folder once or twice
        with lamella.open_ome_zarr(store, mode="r+") as position:
            if position.data.shape != old.shape:  # what came after the shape was refused
                np.testing.assert_array_equal(position.data[:], np.concatenate([old, late], axis))
                continue
            np.testing.assert_array_equal(position.data[:], old)
            if left_old % 4 == 0:
                check_whole(store)
            left_old += 1
            position.data.append(less, axis)
            np.testing.assert_array_equal(position.data[:], np.concatenate([old, less], axis))
            grown = [12 if i == axis else n for i, n in enumerate(shape)]
            position.data.resize(grown)
            wanted = np.zeros(grown, "uint16")
            wanted[tuple(slice(0, n) for n in old.shape)] = old
            at = [slice(None)] * 5
            at[axis] = slice(2, 3)
            wanted[tuple(at)] = less
            np.testing.assert_array_equal(position.data[:], wanted)
    assert left_old > 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_reader_that_polls_never_sees_frames_that_are_not_written(layout, tmp_path):
    store = tmp_path / "film.zarr"
    film(store, "0.5", layout).close()
    reader = lamella.open_ome_zarr(store)
    seen = set()

    def look(step):
        data = reader.data[:]
        assert data.all()
        seen.add(len(data))

    with lamella.open_ome_zarr(store, mode="r+") as position:
        for seed in (1, 2, 3):
            for step in count(1):
                with Faults(store, step, look) as faults:
                    position.data.append(frames(seed, (1, 2, 1, *plane(layout))))
                if not faults.acted or step > 12:
                    break
    look("end")
    assert len(seen) > 2


def _write_xarray(position, times, seed):
    import xarray as xr

    planes = frames(seed, (len(times), 1, 1, 8, 12))
    position.write_xarray(
        xr.DataArray(planes, dims=("t", "c", "z", "y", "x"), coords={"t": times, "c": ["GFP"]})
    )


@pytest.mark.parametrize(("version", "layout"), [one for one in KINDS if one[1] != "large chunks"])
def test_write_xarray_grows_an_image_after_its_pixels_and_over_nothing_old(version, layout, tmp_path):
    old = frames(0, (2, 2, 1, 8, 12))
    whole = tmp_path / "film.zarr"
    film(whole, version, layout).close()
    last = writes(whole, lambda position: _write_xarray(position, [2.0, 3.0, 4.0], 1))
    left_old = 0
    for n in refusals(last, layout):
        store = tmp_path / str(n) / "film.zarr"
        film(store, version, layout).close()
        if not refused(store, n, lambda position: _write_xarray(position, [2.0, 3.0, 4.0], 1)):
            continue
        with lamella.open_ome_zarr(store, mode="r+") as position:
            if len(position.data) == 2:
                np.testing.assert_array_equal(position.data[:], old)
            else:
                np.testing.assert_array_equal(position.data[2:, 1:], frames(1, (3, 1, 1, 8, 12)))
                continue
            left_old += 1
            _write_xarray(position, [2.0], 2)
            position.data.resize(9, 2, 1, 8, 12)
            wanted = np.zeros((9, 2, 1, 8, 12), "uint16")
            wanted[:2], wanted[2, 1] = old, frames(2, (1, 1, 1, 8, 12))[0, 0]
            np.testing.assert_array_equal(position.data[:], wanted)
    assert left_old > 1


@pytest.mark.parametrize(
    ("kind", "version", "layout"),
    [one[:3] for one in GROWING if one[3] == 1 and one[2] != "large chunks"],
)
def test_a_channel_that_is_appended_is_empty_whatever_a_killed_call_left(kind, version, layout, tmp_path):
    for n in count(1, 2):
        store = stored(kind, tmp_path / str(n))
        film(store, version, layout).close()
        refused(store, n, lambda position: position.data.append(frames(1, (2, 3, 1, 8, 12)), 1))
        with lamella.open_ome_zarr(store, mode="r+") as position:
            if position.data.shape[1] > 2:
                break
            position.append_channel("Cy5")
            assert position.data.shape[1] == len(position.channel_names) == 3
            assert not position.data[:, 2].any()
    assert n > 2


@pytest.mark.parametrize("layout", ["plain", "sharded", "shards across the edge"])
def test_a_stream_that_ends_sooner_than_a_killed_one_shows_nothing_of_it(layout, tmp_path):
    def stream(position, first, count, resume):
        chunks, ratio = LAYOUTS[layout]["chunks"], LAYOUTS[layout].get("shards_ratio")
        options = {"order": "tc", "chunks": chunks, "shards_ratio": ratio, "resume": resume}
        with position.stream("0", (1, 8, 12), "uint16", **options) as given:
            for number in range(count):
                given.append(frames(first + number, (1, 8, 12)))

    for n in count(2, 3):
        store = tmp_path / f"{n}.zarr"
        lamella.open_ome_zarr(
            store, layout="fov", mode="w-", channel_names=["DAPI", "GFP"], version="0.5"
        ).close()
        was_refused = refused(store, n, lambda position: stream(position, 1, 8, False))
        if not was_refused:
            break
        with lamella.open_ome_zarr(store, mode="r+") as position:
            if "0" not in position.dataset_paths:
                continue
            known = dict(position.data.attrs).get("lamella", {}).get("stream", {}).get("frames", 0)
            stream(position, 50, 1, True)
            there = position.data[:]
            position.data.resize(9, 2, 1, 8, 12)
            written = position.data[:].any(axis=(2, 3, 4)).ravel()
            assert written[: there.shape[0] * 2].sum() == written.sum() > known
            assert written[: written.sum()].all()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_a_killed_append_left_is_no_file_of_the_store(version, tmp_path):
    store = tmp_path / "film.zarr"
    film(store, version, "plain").close()
    status, sums = lamella.status(store).to_dict(), lamella.checksum(store)
    with lamella.open_ome_zarr(store, mode="r+") as position:
        folder = store / "0" / ("" if version == "0.4" else "c")
        position.data.append(frames(1, (2, 2, 1, 8, 12)))
        left = (folder / "3" / "1" / "0" / "0" / "0").read_bytes()
        position.data.resize(2, 2, 1, 8, 12)
    for place in ("2/0/0/0/0", "3/1/0/0/0", "0/2/0/0/1", "3/2/0/0/0"):
        file = folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(left[:-1])  # cut off, too
    assert lamella.status(store).to_dict() == status
    assert lamella.checksum(store) == sums
    assert lamella.verify(store).files == 8
    assert lamella.validate(store, pixels=True).valid
    with lamella.open_ome_zarr(store, mode="r+") as position:
        position.append_channel("Cy5")
        position.data.resize(5, 3, 1, 8, 12)
        assert not position.data[2:].any()
        assert not position.data[:, 2:].any()
    assert lamella.verify(store)
