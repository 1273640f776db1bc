"""A mosaic is what numpy makes of its fields, read without more of them than a region touches."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from zarr.storage import MemoryStore

import lamella
from lamella import open_ome_zarr
from lamella.errors import (
    InvalidArgumentError,
    MetadataWarning,
    NodeExistsError,
    NodeNotFoundError,
    OutOfBoundsError,
)
from lamella.models import AcquisitionMeta, TransformationMeta, axes
from lamella.ops.mosaics.mosaic import MosaicArray
from lamella.store.pixels.arrays import StoredArray

FIELD = (2, 1, 1, 16, 20)
STEP = (12, 15)  # pixels between fields: they overlap


def new_plate(path, grid, version="0.5", levels=1, dtype="uint16", jitter=0):
    plate = open_ome_zarr(
        path,
        layout="hcs",
        mode="w-",
        channel_names=["DAPI"],
        axes=axes("tczyx"),
        version=version,
        acquisitions=[AcquisitionMeta(id=0)],
    )
    names = [(r, c) for r in range(grid[0]) for c in range(grid[1])]
    rng = np.random.default_rng(2)
    positions = plate.create_positions([("A", "1", str(n)) for n in range(len(names))])
    for (row, column), position in zip(names, positions, strict=True):
        shift = rng.integers(-jitter, jitter + 1, 2) if jitter else (0, 0)
        y, x = 100 + (row * STEP[0] + shift[0]) * 0.5, -7 + (column * STEP[1] + shift[1]) * 0.25
        position.create_image(
            "0",
            rng.integers(1, 999, FIELD).astype(dtype),
            chunks=(1, 1, 1, 16, 20),
            transform=[
                TransformationMeta(type="scale", scale=[1, 1, 1, 0.5, 0.25]),
                TransformationMeta(type="translation", translation=[0, 0, 0, y, x]),
            ],
        )
        if levels > 1:
            position.compute_pyramid(levels)
    return plate


def by_numpy(plate, level="0", blend="nearest"):
    """All fields placed one after the other, pixel by pixel of the whole mosaic."""
    fields = [
        (p[level][...], p.get_effective_translation(level), p.get_effective_scale(level))
        for _, p in plate.positions()
    ]
    scale = np.array(fields[0][2])
    origin = np.min([shift for _, shift, _ in fields], axis=0)
    starts = [np.rint((np.array(shift) - origin) / scale).astype(int) for _, shift, _ in fields]
    shape = np.max([s + f[0].shape for s, f in zip(starts, fields, strict=True)], axis=0)
    out, best = np.zeros(shape, fields[0][0].dtype), np.full(shape[-2:], np.inf)
    total, weights = np.zeros(shape), np.zeros(shape[-2:])
    for (data, _, _), start in zip(fields, starts, strict=True):
        h, w = data.shape[-2:]
        y, x = np.mgrid[:h, :w]
        distance = ((y - (h - 1) / 2) * scale[-2]) ** 2 + ((x - (w - 1) / 2) * scale[-1]) ** 2
        weight = np.minimum(y + 1, h - y) * np.minimum(x + 1, w - x)
        at = (slice(start[-2], start[-2] + h), slice(start[-1], start[-1] + w))
        closer = distance < best[at]
        best[at] = np.where(closer, distance, best[at])
        out[(..., *at)] = np.where(closer, data, out[(..., *at)])
        total[(..., *at)] += weight * data
        weights[at] += weight
    if blend == "nearest":
        return out
    return np.rint(total / np.where(weights > 0, weights, 1)).astype(out.dtype)


@pytest.fixture
def reads(monkeypatch):
    """Paths of the arrays that are read."""
    found = []
    read = StoredArray.read

    def counted(self, *args, **kwargs):
        found.append(self.path)
        return read(self, *args, **kwargs)

    monkeypatch.setattr(StoredArray, "read", counted)
    return found


@pytest.mark.parametrize("blend", ["nearest", "linear"])
def test_a_mosaic_of_a_hundred_fields_is_that_of_numpy(tmp_path, blend):
    plate = new_plate(tmp_path / "plate.zarr", (10, 10), jitter=3)
    mosaic = plate.mosaic("A01", blend=blend)
    expected = by_numpy(plate, blend=blend)
    assert (mosaic.shape, mosaic.dtype, mosaic.ndim) == (expected.shape, expected.dtype, 5)
    np.testing.assert_array_equal(mosaic[...], expected)
    np.testing.assert_array_equal(mosaic[1, 0, 0, 5:90:7, -40], expected[1, 0, 0, 5:90:7, -40])
    lazy = mosaic.dask_array()
    np.testing.assert_array_equal(lazy[..., 30:60, 20:50].compute(), expected[..., 30:60, 20:50])


@pytest.mark.parametrize("dtype", ["uint64", "int64", "float64"])
def test_blending_keeps_the_pixels_that_one_field_has_and_does_not_wrap(tmp_path, dtype):
    """Neither a float64, which has 53 bits, nor a division by the weight changes them."""
    kind = np.dtype(dtype)
    high = (np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)).max
    with new_plate(tmp_path / "p.zarr", (2, 2), dtype=dtype) as plate:
        fields = [position for _, position in plate.positions()]
        for number, position in enumerate(fields):
            position["0"][...] = np.full(FIELD, 0.1 + number if kind.kind == "f" else high - number, kind)
        mosaic = plate.mosaic("A/1", blend="linear")
        whole = mosaic[...]
        alone = (..., slice(0, STEP[0]), slice(0, STEP[1]))
        assert (whole[alone] == fields[0]["0"][alone]).all()
        np.testing.assert_array_equal(mosaic[..., :3], whole[..., :3])  # whether or not other fields are read
        if kind.kind != "f":
            assert whole.min() > high - 4096  # the mean of an overlap has the precision of float64


@pytest.mark.parametrize("blend", ["nearest", "linear"])
def test_a_field_whose_film_ended_early_hides_nothing(tmp_path, blend):
    with open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w-", axes="tyx", version="0.5") as plate:
        for number, frames in enumerate((3, 1)):
            plate.create_position("A", "1", str(number))["0"] = np.full((frames, 4, 4), 100, "uint16")
        plate.set_positions([{"path": "A/1/1", "x": 2}])
        pixels = plate.mosaic("A/1", blend=blend)[...]
    assert (pixels[0] == 100).all()
    assert (pixels[1:, :, :4] == 100).all()
    assert not pixels[1:, :, 4:].any()


def test_a_view_reads_no_more_than_the_fields_it_touches(tmp_path, reads):
    plate = new_plate(tmp_path / "plate.zarr", (4, 4))
    mosaic = plate.mosaic("A/1")
    reads.clear()
    mosaic[0, 0, 0, 0:10, 0:10]
    assert reads == ["A/1/0/0"]
    reads.clear()
    mosaic[0, 0, 0, 0:16, 0:10]  # two rows of fields
    assert sorted(reads) == ["A/1/0/0", "A/1/4/0"]
    reads.clear()
    mosaic[0, 0, 0, 12:13, 2:3]  # two fields cover this pixel, and the nearest is read
    assert len(reads) == 1
    reads.clear()
    assert mosaic[0, 0, 0, 5:5].size == 0
    assert reads == []


def test_a_mosaic_has_the_windows_of_the_fields_that_state_one_and_no_invalid_colour(tmp_path):
    plate = new_plate(tmp_path / "plate.zarr", (1, 2), "0.4")
    windows = ({"min": 0, "max": 9}, {"start": 1, "end": 20, "min": 0, "max": 20})
    for (_, position), window in zip(plate.positions(), windows, strict=True):
        document = tmp_path / "plate.zarr" / position.path / ".zattrs"
        attributes = json.loads(document.read_text())
        attributes["omero"]["channels"][0] |= {"window": window, "color": "purplish"}
        document.write_text(json.dumps(attributes))
    plate = lamella.open_ome_zarr(tmp_path / "plate.zarr")
    with pytest.warns(MetadataWarning) as said:
        written = plate.mosaic("A/1").write(tmp_path / "mosaic.zarr")
    assert {rule for rule in ("OM-02", "OM-03") for each in said if rule in str(each.message)} == {
        "OM-02",
        "OM-03",
    }
    (channel,) = written.metadata.omero.channels
    assert channel.window == {"start": 1, "end": 20, "min": 0, "max": 20}
    assert lamella.validate(tmp_path / "mosaic.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_mosaic_is_written_as_an_image_with_its_scale_place_and_levels(tmp_path, version, monkeypatch):
    plate = new_plate(tmp_path / "plate.zarr", (2, 3), version, levels=2)
    plate.set_channel("DAPI", color="00FFFF", window=(10, 500))
    plate["A/1/4"].set_channel("DAPI", window=(5, 400))
    mosaic = plate.mosaic("A/1")
    np.testing.assert_array_equal(mosaic.levels[1][...], by_numpy(plate, "1"))
    sizes, read = [], MosaicArray.read
    monkeypatch.setattr(
        MosaicArray, "read", lambda self, region: sizes.append(read(self, region).size) or read(self, region)
    )
    calls = []
    written = mosaic.write(
        tmp_path / "mosaic.zarr", chunks=(1, 1, 1, 16, 16), jobs=2, progress=lambda *call: calls.append(call)
    )
    assert calls[-1][0] == calls[-1][1]
    assert {what for *_, what in calls} >= {"pixels"}
    assert max(sizes) == 16 * 16  # memory does not grow with the mosaic
    monkeypatch.undo()
    np.testing.assert_array_equal(written["0"][...], mosaic[...])
    assert written.get_effective_scale("0") == mosaic.scale == [1, 1, 1, 0.5, 0.25]
    assert written.get_effective_translation("0") == mosaic.translation == [0, 0, 0, 100, -7]
    assert written.dataset_paths == ["0", "1"]
    assert written.version == version
    assert written.image_name == "mosaic"
    (channel,) = written.metadata.omero.channels
    assert (channel.color, channel.window["start"], channel.window["end"]) == ("00FFFF", 10, 500)
    assert lamella.validate(tmp_path / "mosaic.zarr")
    with pytest.raises(FileExistsError):
        mosaic.write(tmp_path / "mosaic.zarr")
    with ThreadPoolExecutor(2) as executor:
        into = mosaic.write(plate.create_position("B", "1", "0"), levels=1, executor=executor)
    np.testing.assert_array_equal(into["0"][...], mosaic[...])
    with pytest.raises(NodeExistsError):
        mosaic.write(into)
    in_memory = mosaic.write(MemoryStore())
    np.testing.assert_array_equal(in_memory["0"][...], mosaic[...])
    assert mosaic.write(tmp_path / "mosaic.zarr", overwrite=True, levels=1).dataset_paths == ["0"]


def test_fields_at_the_same_place_are_named_because_one_hides_the_other(tmp_path):
    plate = new_plate(tmp_path / "plate.zarr", (1, 3))
    plate.set_positions([{"path": f"A/1/{field}", "x": 0, "y": 0} for field in (0, 2)])
    with pytest.warns(UserWarning, match="A/1/2 lies at the same place as A/1/0"):
        plate.mosaic("A/1")


def test_positions_go_to_a_table_for_stitchers_and_back(tmp_path):
    plate = new_plate(tmp_path / "plate.zarr", (2, 2), levels=2)
    plate["A/1/3"].labels.create("cells", np.ones((2, 1, 16, 20), "uint8"))
    table = plate.mosaic("A/1").table()
    assert list(table.columns) == ["path", "z", "y", "x", "z_pixel", "y_pixel", "x_pixel"]
    assert table["y_pixel"].tolist() == [0, 0, 12, 12]
    table["x"] += 2.5
    table.loc[3, "y"] = 90.0
    plate.set_positions(table)
    moved = plate["A/1/3"]
    assert moved.get_effective_translation("0") == [0, 0, 0, 90, -7 + 15 * 0.25 + 2.5]
    assert moved.get_effective_translation("1")[-2] == 90.25
    assert (
        moved.labels["cells"].get_effective_translation("0")[-2:] == moved.get_effective_translation("0")[-2:]
    )
    np.testing.assert_array_equal(plate.mosaic("A/1")[...], by_numpy(plate))
    plate["A/1/0"].labels.create("empty", np.ones((2, 1, 16, 20), "uint8"))
    plate["A/1/0"].labels["empty"].delete_pyramid()
    document = tmp_path / "plate.zarr" / "A" / "1" / "0" / "labels" / "empty" / "zarr.json"
    content = json.loads(document.read_text())
    content["attributes"]["ome"]["multiscales"][0]["datasets"] = []  # of another program, without pixels yet
    document.write_text(json.dumps(content))
    with pytest.warns(MetadataWarning, match="MS-03"):
        plate.set_positions([{"path": "A/1/0", "y": 8}], unit="pixel")
    assert plate["A/1/0"].get_effective_translation("0")[-2] == 4.0
    for wrong in (
        [{"y": 3}],
        [{"path": "A/1/0", "y": "there"}],
        [{"path": "A/1/0", "y": 1}, {"path": "A/1/0", "x": np.nan}],
    ):
        with pytest.raises(InvalidArgumentError):
            plate.set_positions(wrong)
    with pytest.raises(NodeNotFoundError):
        plate.set_positions([{"path": "A/1/0", "y": 1}, {"path": "A/1/9"}])
    assert plate["A/1/0"].get_effective_translation("0")[-2] == 4.0


def test_a_mosaic_is_labelled_pickled_and_refuses_fields_that_do_not_fit(tmp_path):
    plate = new_plate(tmp_path / "plate.zarr", (1, 2))
    mosaic = pickle.loads(pickle.dumps(plate.mosaic("A/1", acquisition="0")))
    labelled = mosaic.to_xarray()
    assert labelled.dims == ("t", "c", "z", "y", "x")
    assert labelled.sel(x=-7 + 15 * 0.25).values.tolist() == mosaic[..., 15].tolist()
    assert labelled.coords["x"].attrs["units"] == "micrometer"
    one = plate["A/1/1"].mosaic()
    np.testing.assert_array_equal(one[...], plate["A/1/1"]["0"][...])
    plate["A/1/1"].set_unit({"x": "nanometer"})
    with pytest.raises(InvalidArgumentError, match="same units"):
        plate.mosaic("A/1")
    plate["A/1/1"].set_unit({"x": "micrometer"})
    plate["A/1/1"].set_scale("0", "x", 0.3)
    with pytest.raises(InvalidArgumentError, match="pixel size"):
        plate.mosaic("A/1")
    with pytest.raises(NodeNotFoundError, match="H12"):
        plate.mosaic("H12")
    with pytest.raises(NodeNotFoundError, match=r"no acquisition 7 in .* acquisitions are: 0"):
        plate.mosaic("A/1", acquisition=7)
    for level in (1, -2, "0", True):
        with pytest.raises(InvalidArgumentError, match="it has 1 level, counted from 0"):
            one.to_xarray(level)
    pixels = mosaic[...]
    for index in (
        -1,
        (0, ..., slice(None, None, -3)),
        (..., [7, 2, 2]),
        pixels > 7,
        (0, 0, 0, [1, 2], [3, 4]),
    ):
        np.testing.assert_array_equal(mosaic[index], pixels[index])
    for index in ((0, 0, 0, 0, 0), (slice(3, 3),)):
        np.testing.assert_array_equal(mosaic[index], pixels[index])
        assert type(mosaic[index]) is type(pixels[index])
    for index in (True, np.True_, (0, False), 99):
        with pytest.raises((InvalidArgumentError, OutOfBoundsError)):
            one[index]
    with pytest.raises(InvalidArgumentError, match="levels=0 is neither a number from 1"):
        one.write(tmp_path / "mosaic.zarr", levels=0)
    assert not (tmp_path / "mosaic.zarr").exists()
    plate.create_position("A", "1", "9")
    with pytest.raises(InvalidArgumentError, match="no image"):
        plate.mosaic("A/1")
