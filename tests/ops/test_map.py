"""Law: map calls the function on everything, stores what it makes, and on a second run makes only what is not there."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError, ReadOnlyError, StoreExistsError, UnitsFailedError

PATHS = ("A/1/0", "A/1/1", "B/2/0")
SHAPE = (2, 2, 3, 20, 24)


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def plate(request, tmp_path):
    path = tmp_path / "plate.zarr"
    layout = {} if request.param == "0.4" else {"shards_ratio": (1, 1, 1, 2, 2)}
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=request.param
    ) as plate:
        for seed, position in enumerate(plate.create_positions([p.split("/") for p in PATHS])):
            pixels = np.random.default_rng(seed).integers(0, 999, SHAPE, dtype="uint16")
            position.create_image("0", pixels, chunks=(1, 1, 2, 8, 8), **layout)
            position.set_scale("0", "x", 0.25)
            position.set_scale("0", "t", 30.0)
    return lamella.open_ome_zarr(path, mode="r+")


@pytest.fixture(scope="module", params=["by itself", "threads", "processes"])
def where(request):
    """Where units run: options of map. One pool serves all tests."""
    if request.param == "by itself":
        yield {"jobs": 2}
    elif request.param == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield {"executor": pool}
    else:
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            yield {"executor": pool}


def mean(position):
    return float(position["0"][:].mean())


def threshold(position):
    return (position["0"][:, 0] > 500).astype("uint8")


def projected(position):
    return position["0"][:].max(axis=2, keepdims=True)


def doubled(block):
    return block.astype("float32") * 2


def test_values_come_back_for_each_position_in_order(plate, where):
    report = plate.map(mean, **where)
    assert report
    assert list(report.values) == list(PATHS)
    assert report.values == {path: float(plate[path]["0"][:].mean()) for path in PATHS}


def test_regions_are_the_function_of_all_pixels(plate, tmp_path, where):
    report = plate.map(doubled, over="regions", output=tmp_path / "out.zarr", dtype="float32", **where)
    out = lamella.open_ome_zarr(tmp_path / "out.zarr")
    assert report.done == sum(len(list(np.ndindex(*grid(plate[path]["0"])))) for path in PATHS)
    for path in PATHS:
        source, made = plate[path]["0"], out[path]["0"]
        assert np.array_equal(made[:], doubled(source[:]))
        assert (made.dtype, made.chunks, made.shards) == (np.dtype("f4"), source.chunks, source.shards)
        assert out[path].scale == plate[path].scale
    assert out.version == plate.version
    assert lamella.validate(tmp_path / "out.zarr", strict=True)


def test_arrays_that_a_function_of_positions_returns_are_stored(plate, tmp_path, where):
    plate.map(projected, output=tmp_path / "out.zarr", **where)
    plate.map(threshold, name="labels/bright", **where)
    out = lamella.open_ome_zarr(tmp_path / "out.zarr")
    for path in PATHS:
        assert np.array_equal(out[path]["0"][:], projected(plate[path]))
        assert out[path].scale == plate[path].scale
        assert np.array_equal(plate[path].labels["bright"]["0"][:], threshold(plate[path]))
    assert lamella.validate(tmp_path / "out.zarr")
    assert lamella.validate(plate)


def grid(image):
    return [-(-n // unit) for n, unit in zip(image.shape, image.write_unit, strict=True)]


def test_a_second_run_makes_only_what_is_not_there(plate, tmp_path):
    called = []

    def noted(block):
        called.append(block.shape)
        return block

    out = tmp_path / "out.zarr"
    first = plate.map(noted, over="regions", output=out, jobs=1)
    assert (first.done, first.skipped, len(called)) == (first.done, 0, first.done)
    files = sorted(f for f in (out / "B/2/0/0").rglob("*") if f.is_file() and "." not in f.name)
    files[0].unlink()
    called.clear()
    again = plate.map(noted, over="regions", output=out, jobs=1)
    assert (again.done, again.skipped, len(called)) == (1, first.done - 1, 1)
    assert np.array_equal(lamella.open_ome_zarr(out)["B/2/0/0"][:], plate["B/2/0/0"][:])


def test_a_position_whose_result_is_half_written_is_made_again(plate, tmp_path):
    out = tmp_path / "out.zarr"
    plate.map(projected, output=out)
    files = sorted(f for f in (out / "A/1/1/0").rglob("*") if f.is_file() and "." not in f.name)
    files[0].unlink()
    report = plate.map(projected, output=out)
    assert (report.done, report.skipped) == (1, 2)
    assert np.array_equal(lamella.open_ome_zarr(out)["A/1/1/0"][:], projected(plate["A/1/1"]))


def test_labels_are_made_again_only_where_they_are_missing(plate):
    plate.map(threshold, name="labels/bright")
    del plate["A/1/0"].labels["bright"]
    report = plate.map(threshold, name="labels/bright")
    assert (report.done, report.skipped) == (1, 2)
    report = plate.map(threshold, name="labels/bright", resume=False)
    assert report.done == 3


def test_what_fails_is_named_and_the_rest_is_stored(plate, tmp_path):
    def fails_once(position):
        if position.path == "A/1/1":
            raise ValueError("no cells")
        return projected(position)

    match = r"1 of 3 units of .*plate.* failed.*A/1/1: ValueError: no cells"
    with pytest.raises(UnitsFailedError, match=match) as caught:
        plate.map(fails_once, output=tmp_path / "out.zarr")
    assert 'raise ValueError("no cells")' in caught.value.__notes__[0]  # Python prints it below the message
    with pytest.raises(UnitsFailedError, match="check=False") as caught:
        plate.map(lambda position: fails_once(position).ndim)
    assert caught.value.report.failed == {"A/1/1": "ValueError: no cells"}
    assert caught.value.report.values.keys() == set(PATHS) - {"A/1/1"}
    report = plate.map(fails_once, output=tmp_path / "out.zarr", check=False)
    assert not report
    assert report.failed == {"A/1/1": "ValueError: no cells"}
    first, *_, last = report.tracebacks["A/1/1"].strip().splitlines()[1:]
    assert (__file__ in first, "fails_once" in first, last) == (True, True, "ValueError: no cells")
    assert report.skipped == 2
    # Another function: what the first one made is not its result.
    assert plate.map(projected, output=tmp_path / "out.zarr").done == 3


def test_a_unit_is_tried_again_as_often_as_asked(plate):
    tries = []

    def flaky(position):
        tries.append(position.path)
        if tries.count(position.path) < 3:
            raise OSError("the network is down")
        return position.path

    assert plate.map(flaky, retries=2, jobs=1).values == {path: path for path in PATHS}
    tries.clear()
    assert plate.map(flaky, retries=1, jobs=1, check=False).failed.keys() == set(PATHS)


def test_some_positions_and_progress(plate):
    told = []
    report = plate.map(mean, positions=["B/2/0", "/A/1/0"], progress=lambda *step: told.append(step))
    assert list(report.values) == ["B/2/0", "A/1/0"]
    assert told == [(1, 2, "positions"), (2, 2, "positions")]


def test_a_block_of_another_shape_is_a_failure(plate, tmp_path):
    with pytest.raises(UnitsFailedError, match="an array of shape"):
        plate.map(lambda block: block[:, :, :1], over="regions", output=tmp_path / "out.zarr")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"over": "wells"}, InvalidArgumentError),
        ({"over": "regions"}, InvalidArgumentError),
        ({"over": "regions", "name": "labels/x"}, InvalidArgumentError),
        ({"positions": ["A/1"]}, InvalidArgumentError),
        ({"positions": ["C/9/0"]}, KeyError),
    ],
)
def test_a_wrong_call_calls_nothing_and_changes_nothing(plate, tmp_path, options, error):
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    with pytest.raises(error):
        plate.map(lambda _: os.abort(), **options)
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before


def test_results_need_a_plate_that_can_be_written(plate, tmp_path):
    readonly = lamella.open_ome_zarr(tmp_path / "plate.zarr")
    with pytest.raises(ReadOnlyError):
        readonly.map(threshold, name="labels/bright")
    assert readonly.map(mean).done == 3
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "file").write_text("")
    with pytest.raises(StoreExistsError):
        plate.map(projected, output=tmp_path / "out.zarr", resume=False)
