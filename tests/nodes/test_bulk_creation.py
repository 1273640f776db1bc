"""Laws of creating positions with their arrays, and arrays in all positions of a plate, in one call."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from lamella import open_ome_zarr
from lamella.errors import InvalidArgumentError, LamellaError, NodeExistsError
from lamella.models import TransformationMeta, axes
from lamella.store.objects.zarr_storage import ZarrStorage

from .conftest import snapshot
from .validity import check_valid

NAMES = ["DAPI", "GFP"]
SPECS = [("A", "1", "0"), ("A", "1", "1"), ("B", "2", "0"), ("B", "3", "x")]
ARRAYS = {
    "0": {"shape": (1, 2, 3, 8, 8), "dtype": "uint16", "chunks": (1, 1, 3, 8, 8), "checksum": None},
    "s/1": {
        "shape": (1, 2, 3, 4, 4),
        "dtype": "uint16",
        "transform": [TransformationMeta(type="scale", scale=[1, 1, 1, 2, 2])],
        "compressor": {"name": "gzip", "configuration": {"level": 1}},
    },
}


def arrays(version):
    if version != "0.4":
        return ARRAYS
    return {"0": ARRAYS["0"], "s/1": {**ARRAYS["s/1"], "compressor": {"id": "gzip", "level": 1}}}


def make(store, version, mode="w", **options):
    return open_ome_zarr(store, layout="hcs", mode=mode, channel_names=NAMES, version=version, **options)


def test_the_documents_are_those_of_one_by_one(tmp_path, version):
    made = []
    for name in ("bulk", "one by one"):
        with make(tmp_path / name / "p.zarr", version) as plate:
            plate.create_position("A", "1", "9").create_zeros("0", **ARRAYS["0"])
            if name == "bulk":
                created = plate.create_positions(SPECS, arrays=arrays(version))
            else:
                created = plate.create_positions(SPECS)
                for position in created:
                    for array, options in arrays(version).items():
                        position.create_zeros(array, **options)
            assert [position.dataset_paths for position in created] == [["0", "s/1"]] * 4
            created[1]["0"][:] = 7
            assert created[2].stale_levels
        made.append(snapshot(tmp_path / name))
    assert made[0] == made[1]
    check_valid(tmp_path / "bulk/p.zarr", version)
    found = open_ome_zarr(tmp_path / "bulk/p.zarr")
    assert (found["A/1/1/0"].numpy() == 7).all()
    assert not found["B/3/x/0"].numpy().any()
    assert [name for name, _ in found["A/1"].positions()] == ["9", "0", "1"]


def test_an_array_that_cannot_be_a_level_is_stored_beside_the_levels_as_one_by_one(tmp_path, version):
    larger = {"1": {"shape": (1, 2, 3, 16, 16), "dtype": "float32"}}
    made = []
    for name in ("bulk", "one by one"):
        with make(tmp_path / name / "p.zarr", version) as plate:
            if name == "bulk":
                with pytest.warns(UserWarning, match="stored beside the levels"):
                    [position] = plate.create_positions(
                        [("A", "1", "0")], arrays={"0": ARRAYS["0"], **larger}
                    )
            else:
                [position] = plate.create_positions([("A", "1", "0")])
                position.create_zeros("0", **ARRAYS["0"])
                with pytest.warns(UserWarning, match="stored beside the levels"):
                    position.create_zeros("1", **larger["1"])
            assert position.dataset_paths == ["0"]
        made.append(snapshot(tmp_path / name))
    assert made[0] == made[1]
    assert open_ome_zarr(tmp_path / "bulk/p.zarr/A/1/0").zgroup["1"].shape == (1, 2, 3, 16, 16)
    check_valid(tmp_path / "bulk/p.zarr", version)


def test_the_error_of_an_extreme_size_names_the_position(tmp_path, version):
    extreme = [TransformationMeta(type="scale", scale=[1, 1, 1, 1, 1e-320])]
    array = {"shape": (1, 1, 1, 8, 8), "dtype": "uint8", "transform": extreme}
    path = tmp_path / "p.zarr"
    with open_ome_zarr(path, layout="hcs", mode="w-", channel_names=["A"], version=version) as plate:
        with pytest.raises(InvalidArgumentError, match=r"1e-320.*A/1/0"):
            plate.create_positions([("A", "1", "0")], arrays={"0": array})
        plate.create_position("A", "1", "0")
        with pytest.raises(InvalidArgumentError, match=r"1e-320.*A/1/0"):
            plate.create_zeros("0", **array)


def test_axes_of_the_plate_count_and_too_few_channels_are_warned_of_once(tmp_path, version):
    with make(tmp_path / "p.zarr", version, axes=axes("cyx")) as plate:
        with pytest.warns(UserWarning, match="fewer than the channel names") as warned:
            plate.create_positions(SPECS[:3], arrays={"0": {"shape": (1, 8, 8), "dtype": "bool"}})
        assert len(warned) == 1
        assert Path(warned[0].filename) == Path(__file__)
    assert open_ome_zarr(tmp_path / "p.zarr")["B/2/0"].axis_names == ["c", "y", "x"]


WRONG = {
    "no dict": 5,
    "no options": {"0": (1, 2, 3)},
    "no shape": {"0": {"dtype": "uint8"}},
    "an unknown option": {"0": {"shape": (1, 2, 1, 8, 8), "dtype": "uint8", "chunk": (1, 1, 1, 8, 8)}},
    "too few axes": {"0": {"shape": (8, 8), "dtype": "uint8"}},
    "too many channels": {"0": {"shape": (1, 3, 1, 8, 8), "dtype": "uint8"}},
    "a name of labels": {"labels": {"shape": (1, 2, 1, 8, 8), "dtype": "uint8"}},
    "out of the position": {"../0": {"shape": (1, 2, 1, 8, 8), "dtype": "uint8"}},
    "one in another": {
        "0": {"shape": (1, 2, 1, 8, 8), "dtype": "uint8"},
        "0/1": {"shape": (1, 2, 1, 8, 8), "dtype": "uint8"},
    },
}


def test_a_wrong_array_is_refused_and_nothing_is_written(tmp_path, version):
    with make(tmp_path / "p.zarr", version) as plate:
        plate.create_position("A", "1", "0")
        before = snapshot(tmp_path)
        for wrong in WRONG.values():
            with pytest.raises((ValueError, TypeError)) as refused:
                plate.create_positions([("A", "1", "1"), ("C", "1", "0")], arrays=wrong)
            assert isinstance(refused.value, LamellaError)
        assert snapshot(tmp_path) == before


def test_what_is_there_is_not_replaced(tmp_path, version):
    with make(tmp_path / "p.zarr", version) as plate:
        plate.create_positions(SPECS[:1], arrays={"0": ARRAYS["0"]})
        plate.zgroup.create_group("C/1/0").attrs["precious"] = True
        before = snapshot(tmp_path)
        for specs in ([("C", "1", "0")], [("C", "2", "0"), SPECS[0]]):
            with pytest.raises(NodeExistsError):
                plate.create_positions(specs, arrays={"0": ARRAYS["0"]})
        assert snapshot(tmp_path) == before


def test_of_threads_that_create_one_position_one_does(tmp_path, version):
    make(tmp_path / "p.zarr", version).close()
    results = []

    def create(dtype):
        try:
            with open_ome_zarr(tmp_path / "p.zarr", mode="r+", channel_names=NAMES) as plate:
                plate.create_positions(SPECS, arrays={"0": {**ARRAYS["0"], "dtype": dtype}})
                results.append(dtype)
        except NodeExistsError:
            pass

    threads = [threading.Thread(target=create, args=(dtype,)) for dtype in ("uint8", "uint16")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 1
    found = dict(open_ome_zarr(tmp_path / "p.zarr").positions())
    assert sorted(found) == ["A/1/0", "A/1/1", "B/2/0", "B/3/x"]
    assert {position.data.dtype for position in found.values()} == {np.dtype(results[0])}


def test_stores_of_objects_take_many_documents_at_once(version, monkeypatch):
    calls = []
    real = ZarrStorage._run
    monkeypatch.setattr(ZarrStorage, "_run", lambda self, *args: (calls.append(args), real(self, *args))[1])
    store = MemoryStore()
    specs = [(row, str(column), "0") for row in "AB" for column in range(1, 13)]
    with make(store, version) as plate:
        calls.clear()
        plate.create_positions(specs, arrays={"0": ARRAYS["0"]})
    written = [call for call in calls if call[0] == "write"]
    assert len(written) <= 6, written
    assert len(list(open_ome_zarr(store).positions())) == 24
    assert zarr.open_array(store, path="B/12/0/0", mode="r").shape == ARRAYS["0"]["shape"]


# -- an array in each position ------------------------------------------------------------------------------------


def test_an_array_in_each_position_is_as_if_created_one_by_one(tmp_path, version):
    made = []
    for name in ("plate", "one by one"):
        with make(tmp_path / name / "p.zarr", version) as plate:
            positions = plate.create_positions(SPECS, arrays={"0": ARRAYS["0"]})
            if name == "plate":
                with pytest.warns(UserWarning, match="fewer than the channel names") as warned:
                    created = plate.create_zeros("mask", (1, 1, 3, 8, 8), "uint8")
                assert list(created) == [position.path for position in positions]
                assert [Path(one.filename) for one in warned] == [Path(__file__)]
            for position in positions if name != "plate" else []:
                with pytest.warns(UserWarning, match="fewer than the channel names") as warned:
                    position.create_zeros("mask", (1, 1, 3, 8, 8), "uint8")
                assert [Path(one.filename) for one in warned] == [Path(__file__)]
        made.append(snapshot(tmp_path / name))
    assert made[0] == made[1]


def test_an_array_that_does_not_fit_one_position_is_created_in_none(tmp_path, version):
    with make(tmp_path / "p.zarr", version) as plate:
        plate.create_positions(SPECS[:3])
        plate["B/2/0"].create_image("0", np.ones((1, 2, 1, 4, 4), "uint8"))
        before = snapshot(tmp_path)
        with pytest.raises(NodeExistsError):
            plate.create_zeros("0", (1, 2, 1, 4, 4), "uint8")
        with pytest.raises(InvalidArgumentError):
            plate.create_zeros("1", (1, 3, 1, 4, 4), "uint8")
        assert snapshot(tmp_path) == before


def test_a_call_that_ended_half_way_is_resumed_by_the_same_call(tmp_path, version):
    with make(tmp_path / "p.zarr", version) as plate:
        positions = plate.create_positions(SPECS)
        positions[0].create_zeros("0", (1, 2, 1, 4, 4), "uint8")
        created = plate.create_zeros("0", (1, 2, 1, 4, 4), "uint8")
        assert [array.shape for array in created.values()] == [(1, 2, 1, 4, 4)] * 4
        with pytest.raises(NodeExistsError):
            plate.create_zeros("0", (1, 2, 1, 4, 4), "uint8")
