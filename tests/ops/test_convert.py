"""What ``convert`` writes: every pixel, size, unit, name and colour of the source; nothing when it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tests.array_source import ArraySource

import lamella
from lamella.errors import InvalidArgumentError, LamellaError, SourceError, StoreExistsError
from lamella.nodes.open import open_ome_zarr
from lamella.ops.conversion.convert import ConvertReport, convert
from lamella.ops.conversion.source import SourceChannel

SAMPLES = Path(__file__).parents[1] / "data" / "samples"


def random_pixels(shape: tuple[int, ...], dtype: Any = "uint16") -> np.ndarray:
    return np.random.default_rng(3).integers(0, 100, size=shape).astype(dtype)


def attributes(path: Path) -> dict[str, Any]:
    """Attributes of a group, as its file has them."""
    v3 = path / "zarr.json"
    content = v3 if v3.exists() else path / ".zattrs"
    document: dict[str, Any] = json.loads(content.read_text())
    return document["attributes"] if v3.exists() else document


def ome(path: Path) -> dict[str, Any]:
    found = attributes(path)
    return found.get("ome", found)


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def version(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "out" / "store.zarr"


# -- real images ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("dsb2018_nuclei.tif", "cyx"),
        ("dsb2018_nuclei_labels.tif", "cyx"),
        ("idr0062_nuclei_labels.tif", "czyx"),
        ("2010-06-18x24y5z1t2c8b-text.ome.tiff", "czyx"),
        ("idr0062_nuclei.ome.tif", "czyx"),
    ],
)
def test_real_images_keep_every_pixel(store: Path, version: Any, name: str, axes: str) -> None:
    report = convert(SAMPLES / name, store, version=version)
    expected = tifffile.imread(SAMPLES / name)
    expected = expected.transpose(1, 0, 2, 3) if expected.ndim == 4 else expected[None]
    with open_ome_zarr(store) as position:
        assert position.version == version
        assert "".join(position.axis_names) == axes
        assert [axis.name for axis in position.axes] == list(axes)
        assert position.data.dtype == expected.dtype
        assert_array_equal(position.data[:], expected)
        assert len(position.dataset_paths) == report.levels == (2 if "dsb" in name else 1)
    assert ome(store)["multiscales"][0]["name"] == name
    assert attributes(store)["lamella"]["source"] == name
    assert report.planes == expected[..., 0, 0].size
    assert report.nbytes == expected.nbytes


def test_real_ome_tiff_keeps_sizes_units_and_channels(store: Path, version: Any) -> None:
    convert(SAMPLES / "idr0062_nuclei.ome.tif", store, version=version)
    image = ome(store)["multiscales"][0]
    stored = image["coordinateSystems"][0]["axes"] if version == "0.6" else image["axes"]
    assert [axis.get("unit") for axis in stored] == [None, "micrometer", "micrometer", "micrometer"]
    with open_ome_zarr(store) as position:
        assert position.scale == [1.0, 0.5002025531914894, 1.4415926138560835, 1.4415926138560835]
        assert position.channel_names == ["LaminB1", "Dapi"]
        assert position.metadata.omero.channels[1].color == "0000FF"
        assert position.metadata.omero.name == "idr0062_nuclei.ome.tif"


def test_an_image_without_sizes_gets_no_units(store: Path) -> None:
    convert(SAMPLES / "dsb2018_nuclei.tif", store)
    assert all("unit" not in axis for axis in ome(store)["multiscales"][0]["axes"])


# -- metadata of the dialects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mu", ["\u00b5", "\u03bc"])
def test_ome_metadata_are_kept(tmp_path: Path, store: Path, mu: str) -> None:
    path = tmp_path / "image.ome.tif"
    pixels = random_pixels((2, 3, 2, 16, 16))
    metadata = {
        "axes": "TZCYX",
        "Name": "night shift",
        "PhysicalSizeX": 650.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.65,
        "PhysicalSizeYUnit": mu + "m",
        "PhysicalSizeZ": 0.002,
        "PhysicalSizeZUnit": "mm",
        "TimeIncrement": 5.0,
        "TimeIncrementUnit": "min",
        "Channel": {"Name": ["DAPI", "mine"], "Color": [-16776961, 16711935]},
    }
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=metadata)
    convert(path, store)
    with open_ome_zarr(store) as position:
        assert position.scale == [5.0, 1.0, 0.002, 0.65, 650.0]
        assert [axis.unit for axis in position.axes] == [
            "minute",
            None,
            "millimeter",
            "micrometer",
            "nanometer",
        ]
        assert position.channel_names == ["DAPI", "mine"]
        assert [channel.color for channel in position.metadata.omero.channels] == ["FF0000", "00FF00"]
        assert_array_equal(position.data[:], pixels.transpose(0, 2, 1, 3, 4))
    assert attributes(store)["lamella"] == {"source": "image.ome.tif", "title": "night shift"}


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m", "\\u03BCm", "\\u03bcm", "microns"])
def test_imagej_metadata_are_kept(tmp_path: Path, store: Path, unit: str) -> None:
    path = tmp_path / "image.tif"
    pixels = random_pixels((2, 3, 2, 16, 16))
    ramp = np.arange(256, dtype="uint8")
    luts = [np.stack([0 * ramp, ramp, 0 * ramp]), np.stack([ramp, 0 * ramp, ramp])]
    metadata = {
        "axes": "TZCYX",
        "unit": unit,
        "spacing": 0.75,
        "finterval": 2.5,
        "LUTs": luts,
        "Labels": ["nuclei", "membrane"] * 6,
        "Ranges": (3.0, 90.0, 5.0, 60.0),
        "mode": "composite",
    }
    tifffile.imwrite(path, pixels, imagej=True, resolution=(4.0, 5.0), metadata=metadata)
    convert(path, store)
    with open_ome_zarr(store) as position:
        assert position.scale == [2.5, 1.0, 0.75, 0.2, 0.25]
        assert [axis.unit for axis in position.axes] == ["second", None, *["micrometer"] * 3]
        assert position.channel_names == ["nuclei", "membrane"]
        channels = position.metadata.omero.channels
        assert [channel.color for channel in channels] == ["00FF00", "FF00FF"]
        assert [(c.window["start"], c.window["end"]) for c in channels] == [(3.0, 90.0), (5.0, 60.0)]


def test_imagej_in_pixels_has_no_size(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(
        path, random_pixels((16, 16)), imagej=True, resolution=(4.0, 4.0), metadata={"unit": "pixel"}
    )
    convert(path, store)
    with open_ome_zarr(store) as position:
        assert position.scale == [1.0, 1.0, 1.0]
        assert position.axes[-1].unit is None


@pytest.mark.parametrize(
    ("resolution", "unit", "size"),
    [
        ((20000, 10000), "CENTIMETER", [1.0, 0.5]),
        ((101, 101), "CENTIMETER", [10000 / 101] * 2),
        ((2000, 1000), "MILLIMETER", [1.0, 0.5]),
        ((4, 0.005), "MICROMETER", [200.0, 0.25]),
    ],
)
def test_resolution_tags_are_sizes_in_micrometers(
    tmp_path: Path, store: Path, resolution: tuple[int, int], unit: str, size: list[float]
) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, random_pixels((16, 16)), resolution=resolution, resolutionunit=unit)
    report = convert(path, store)
    with open_ome_zarr(store) as position:
        assert position.scale[1:] == pytest.approx(size)
        assert position.axes[-1].unit == "micrometer"
    assert report.notes == ()


def test_rgb_becomes_three_channels(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "rgb.tif"
    pixels = random_pixels((40, 50, 3), "uint8")
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(16, 16), compression="zlib")
    convert(path, store)
    with open_ome_zarr(store) as position:
        assert position.channel_names == ["Red", "Green", "Blue"]
        assert [channel.color for channel in position.metadata.omero.channels] == [
            "FF0000",
            "00FF00",
            "0000FF",
        ]
        assert_array_equal(position.data[:], np.moveaxis(pixels, -1, 0))


# -- storage ----------------------------------------------------------------------------------------------------


@given(
    shape=st.tuples(
        st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 40), st.integers(1, 40)
    ),
    chunks=st.sampled_from(["auto", (8,), (8, 8), (2, 16, 8), (2, 2, 2, 7, 9)]),
    shards=st.sampled_from(["auto", "none", (16, 32), (2, 4, 16, 16)]),
    jobs=st.integers(1, 3),
)
@settings(max_examples=15)
def test_pixels_are_the_same_in_every_layout(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], chunks: Any, shards: Any, jobs: int
) -> None:
    pixels = random_pixels(shape)
    path = tmp_path_factory.mktemp("layout") / "a.zarr"
    if chunks == (2, 2, 2, 7, 9) and isinstance(shards, tuple):
        with pytest.raises(InvalidArgumentError, match="not whole multiples"):
            convert(ArraySource(pixels, "tczyx"), path, chunks=chunks, shards=shards)
        return
    convert(ArraySource(pixels, "tczyx"), path, chunks=chunks, shards=shards, jobs=jobs, levels=1)
    with open_ome_zarr(path) as position:
        assert_array_equal(position.data[:], pixels)
        if shards == "none":
            assert position.data.shards is None


def test_asked_chunks_and_shards_are_honoured(store: Path) -> None:
    convert(ArraySource(random_pixels((2, 40, 50)), "zyx"), store, chunks=(16, 16), shards=(2, 32, 64))
    with open_ome_zarr(store) as position:
        assert position.data.chunks == (1, 1, 16, 16)
        assert position.data.shards == (1, 2, 32, 64)


def test_large_images_are_read_in_several_blocks(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamella.ops.conversion.layout.BLOCK_BYTES", 10_000)
    monkeypatch.setattr("lamella.store.metadata.array_creation.SHARD_BYTES", 20_000)
    pixels = random_pixels((3, 2, 9, 70, 90))
    convert(ArraySource(pixels, "tczyx"), store, chunks=(4, 16, 16), jobs=3)
    with open_ome_zarr(store) as position:
        assert position.data.shards is not None
        assert_array_equal(position.data[:], pixels)


def test_shards_larger_than_a_block_are_put_together_of_several(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamella.ops.conversion.layout.BLOCK_BYTES", 5_000)
    pixels = random_pixels((6, 64, 64))
    convert(ArraySource(pixels, "zyx"), store, chunks=(2, 16, 16), shards=(6, 64, 64), levels=1)
    with open_ome_zarr(store) as position:
        assert_array_equal(position.data[0], pixels)


def test_the_pyramid_is_the_rounded_mean(store: Path) -> None:
    pixels = random_pixels((512, 512))
    report = convert(ArraySource(pixels, "yx"), store)
    expected = np.rint(pixels.reshape(256, 2, 256, 2).mean(axis=(1, 3)))
    with open_ome_zarr(store) as position:
        assert report.levels == 2
        assert_array_equal(position["1"][0], expected)


def test_the_number_of_levels_can_be_chosen(store: Path) -> None:
    assert convert(ArraySource(random_pixels((64, 64)), "yx"), store, levels=3).levels == 3


# -- channels and contrast --------------------------------------------------------------------------------------


def windows(store: Path) -> list[dict[str, float]]:
    return [channel["window"] for channel in ome(store)["omero"]["channels"]]


def test_windows_are_percentiles_of_the_channel(store: Path) -> None:
    pixels = np.stack([np.arange(10_000).reshape(100, 100), np.full((100, 100), 7)]).astype("uint16")
    convert(ArraySource(pixels, "cyx"), store)
    first, second = windows(store)
    assert (first["min"], first["max"]) == (0.0, 65535.0)
    assert first["start"] == pytest.approx(10, abs=2)
    assert first["end"] == pytest.approx(9990, abs=2)
    assert second == {"start": 7.0, "end": 8.0, "min": 0.0, "max": 65535.0}


@pytest.mark.parametrize(
    ("pixels", "window"),
    [
        (np.zeros((8, 8), "uint8"), {"start": 0, "end": 1, "min": 0, "max": 255}),
        (np.full((8, 8), 255, "uint8"), {"start": 254, "end": 255, "min": 0, "max": 255}),
        (np.full((8, 8), 2.5, "float32"), {"start": 2.5, "end": 3.5, "min": 2.5, "max": 3.5}),
        (np.full((8, 8), np.nan, "float32"), {"start": 0, "end": 1, "min": 0, "max": 1}),
        (np.array([[1.0, np.nan], [np.inf, 3.0]], "float64"), {"start": 1, "end": 3, "min": 1, "max": 3}),
        (np.eye(8, dtype=bool), {"start": 0, "end": 1, "min": 0, "max": 1}),
    ],
)
def test_windows_of_odd_images(store: Path, pixels: np.ndarray, window: dict[str, float]) -> None:
    convert(ArraySource(pixels, "yx"), store, levels=1)
    assert windows(store) == [window]


def test_a_rare_bright_spot_is_shown(store: Path) -> None:
    pixels = np.zeros((128, 128), "uint16")
    pixels[0, 0] = 500
    convert(ArraySource(pixels, "yx"), store)
    assert windows(store)[0]["end"] == 500


def test_windows_do_not_depend_on_threads(tmp_path: Path) -> None:
    pixels = random_pixels((200, 30, 40))
    found = []
    for jobs in (1, 4):
        path = tmp_path / f"{jobs}.zarr"
        convert(ArraySource(pixels, "zyx"), path, jobs=jobs)
        found.append(windows(path))
    assert found[0] == found[1]


def test_channels_of_one_name_are_told_apart(store: Path) -> None:
    channels = (SourceChannel("GFP"), SourceChannel("GFP"), SourceChannel(""))
    convert(ArraySource(random_pixels((3, 8, 8)), "cyx", channels=channels), store)
    with open_ome_zarr(store) as position:
        assert position.channel_names == ["GFP", "GFP (2)", "channel_2"]


# -- folders ----------------------------------------------------------------------------------------------------


def folder_of(path: Path, stacks: np.ndarray) -> Path:
    path.mkdir()
    for number, pixels in enumerate(stacks):
        tifffile.imwrite(path / f"frame{number}.tif", pixels, photometric="minisblack")
    return path


def test_a_folder_of_planes_is_a_stack_in_natural_order(tmp_path: Path, store: Path) -> None:
    pixels = random_pixels((12, 20, 30))
    convert(folder_of(tmp_path / "planes", pixels), store)
    with open_ome_zarr(store) as position:
        assert position.axis_names == ["c", "z", "y", "x"]
        assert_array_equal(position.data[0], pixels)
    assert ome(store)["multiscales"][0]["name"] == "planes"
    assert attributes(store)["lamella"]["source"][10] == "frame10.tif"


def test_a_folder_of_stacks_is_a_time_series(tmp_path: Path, store: Path) -> None:
    pixels = random_pixels((3, 4, 20, 30))
    convert(folder_of(tmp_path / "stacks", pixels), store)
    with open_ome_zarr(store) as position:
        assert position.axis_names == ["t", "c", "z", "y", "x"]
        assert_array_equal(position.data[:, 0], pixels)


def test_a_folder_of_unlike_files_is_refused(tmp_path: Path, store: Path) -> None:
    folder = folder_of(tmp_path / "planes", random_pixels((2, 20, 30)))
    tifffile.imwrite(folder / "odd.tif", random_pixels((21, 30)))
    with pytest.raises(
        SourceError, match=r"odd\.tif is yx 21 x 30 uint16, but .*frame0\.tif .* is yx 20 x 30"
    ):
        convert(folder, store)


def test_a_folder_without_tiffs_is_refused(tmp_path: Path, store: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="and the folders below it contain no image"):
        convert(tmp_path / "empty", store)


def test_several_sources_without_a_place_are_refused(tmp_path: Path, store: Path) -> None:
    folder = folder_of(tmp_path / "planes", random_pixels((2, 20, 30)))
    with pytest.raises(SourceError, match=r"2 sources are 2 images .* --well-regex or --map"):
        convert([folder / "frame0.tif", folder / "frame1.tif"], store)


def two_images(path: Path) -> Path:
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(random_pixels((20, 24)), metadata={"axes": "YX", "Name": "one"})
        writer.write(random_pixels((30, 34)), metadata={"axes": "YX", "Name": "two"})
    return path


def test_several_images_in_one_file_are_refused_unless_one_is_chosen(tmp_path: Path, store: Path) -> None:
    path = two_images(tmp_path / "two.ome.tif")
    with pytest.raises(
        SourceError, match=r"two\.ome\.tif contains 2 images, 0 'one', 1 'two': choose one with --series"
    ):
        convert(path, store)
    convert(path, store, series=1)
    with open_ome_zarr(store) as position:
        assert position.data.shape == (1, 30, 34)
    with pytest.raises(SourceError, match="there is no image 2"):
        convert(path, tmp_path / "other.zarr", series=2)


# -- destination ------------------------------------------------------------------------------------------------


def test_a_second_run_refuses_and_changes_nothing(store: Path) -> None:
    convert(ArraySource(random_pixels((8, 8)), "yx"), store)
    with pytest.raises(StoreExistsError, match=r"exists already: .* \(--overwrite\)"):
        convert(ArraySource(np.zeros((8, 8)), "yx"), store)
    with open_ome_zarr(store) as position:
        assert_array_equal(position.data[0], random_pixels((8, 8)))


def test_overwrite_replaces_and_leaves_nothing_else(store: Path, version: Any) -> None:
    convert(ArraySource(np.zeros((8, 8)), "yx"), store)
    convert(ArraySource(random_pixels((8, 8)), "yx"), store, overwrite=True, version=version)
    with open_ome_zarr(store) as position:
        assert position.version == version
        assert_array_equal(position.data[0], random_pixels((8, 8)))
    assert os.listdir(store.parent) == ["store.zarr"]


@pytest.mark.parametrize("kind", ["file", "folder", "link", "no .zarr"])
def test_overwrite_replaces_nothing_but_a_store(tmp_path: Path, kind: str) -> None:
    taken = tmp_path / ("taken.zarr" if kind != "no .zarr" else "taken")
    convert(ArraySource(random_pixels((8, 8)), "yx"), tmp_path / "real.zarr")
    match kind:
        case "file":
            taken.write_text("mine")
        case "folder":
            taken.mkdir()
            (taken / "mine.txt").write_text("mine")
        case "link":
            taken.symlink_to(tmp_path / "real.zarr")
        case _:
            shutil.copytree(tmp_path / "real.zarr", taken)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(StoreExistsError, match="is not replaced"):
        convert(ArraySource(np.zeros((8, 8)), "yx"), taken, overwrite=True)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


class FailingSource(ArraySource):
    """Fails in the middle, in the way it is told."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(random_pixels((40, 64, 64)), "zyx")
        self._error = error

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Any:
        if index == (25,):
            raise self._error
        return super().read_plane(index, rows)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("error", [SourceError("the disk is gone"), KeyboardInterrupt(), OSError("no space")])
def test_a_failure_leaves_what_was_there_and_no_more(
    store: Path, error: BaseException, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamella.ops.conversion.layout.BLOCK_BYTES", 20_000)
    if overwrite:
        convert(ArraySource(random_pixels((8, 8)), "yx"), store)
    with pytest.raises(type(error)):
        convert(FailingSource(error), store, overwrite=overwrite, chunks=(4, 32, 32), jobs=2)
    assert os.listdir(store.parent) == (["store.zarr"] if overwrite else [])
    if overwrite:
        with open_ome_zarr(store) as position:
            assert_array_equal(position.data[0], random_pixels((8, 8)))
    assert not [thread for thread in threading.enumerate() if "lamella_" in thread.name]


def test_a_file_damaged_half_way_leaves_nothing(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "damaged.tif"
    tifffile.imwrite(path, random_pixels((8, 64, 64)), photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[5].dataoffsets[0]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(bytes(300))
    with pytest.raises(SourceError, match=r"damaged\.tif is damaged"):
        convert(path, store)
    assert os.listdir(store.parent) == []


# -- wrong calls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": "0.3"}, "version='0.3' cannot be written"),
        ({"version": "0.7"}, "'0.7' is not known: choose one of 0.4, 0.5, 0.6"),
        ({"levels": 0}, "levels=0"),
        ({"levels": "many"}, "levels='many'"),
        ({"jobs": 0}, "jobs"),
        ({"chunks": (0, 8)}, "whole numbers from 1 on"),
        ({"chunks": (1,) * 6}, "chunks=.* does not fit"),
        ({"chunks": "none"}, "chunks='none' is neither auto nor lengths"),
        ({"chunks": (8, 8), "shards": (12, 12)}, "not whole multiples"),
        ({"shards": (16, 16), "version": "0.4"}, "0.4 has no shards"),
        ({"well_regex": "(?P<row>a)(?P<col>b)", "map_file": "a.csv"}, "Use one of"),
    ],
)
def test_options_that_do_not_fit_are_refused(store: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        convert(ArraySource(random_pixels((8, 8)), "yx"), store, **options)
    assert not store.exists()


def test_nothing_to_convert_is_refused(store: Path) -> None:
    with pytest.raises(SourceError, match="nothing to convert"):
        convert([], store)


def test_a_missing_source_is_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(SourceError, match=r"no file or folder .*absent\.tif"):
        convert(tmp_path / "absent.tif", store)


def test_complex_pixels_are_converted_without_levels_and_contrast(store: Path) -> None:
    pixels = np.arange(600, dtype="complex64").reshape(1, 600) * 1j
    with pytest.raises(LamellaError, match=r"complex64.*no lower levels: leave levels out"):
        convert(ArraySource(pixels, "yx"), store, levels=2)
    convert(ArraySource(pixels, "yx"), store)
    with lamella.open(store) as image:
        np.testing.assert_array_equal(np.squeeze(image["0"][...]), np.squeeze(pixels))
        assert image.dataset_paths == ["0"]
        assert image.metadata.omero.channels[0].window == {"start": 0, "end": 1, "min": 0, "max": 1}
    assert lamella.validate(store)


def test_axes_of_an_array_source_must_fit() -> None:
    with pytest.raises(InvalidArgumentError, match="do not describe an array"):
        ArraySource(np.zeros((4, 4, 4)), "zcyx")


def test_progress_counts_every_plane_once(store: Path) -> None:
    seen: list[tuple[float, int, str]] = []
    report = convert(
        ArraySource(random_pixels((5, 300, 20)), "zyx"),
        store,
        jobs=3,
        progress=lambda *step: seen.append(step),
    )
    assert isinstance(report, ConvertReport)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1] == (5, 5, "pyramid")


def test_planes_that_a_source_lacks_are_zeros(store: Path) -> None:
    class Lacking(ArraySource):
        def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Any:
            return None if index[0] % 2 else super().read_plane(index, rows)

    pixels = random_pixels((4, 20, 20))
    convert(Lacking(pixels, "zyx"), store, chunks=(1, 20, 20), shards="none", levels=1)
    with open_ome_zarr(store) as position:
        for z in range(4):
            assert_array_equal(position.data[0, z], pixels[z] * (z % 2 == 0))


def test_an_absurd_number_of_planes_is_damage(store: Path) -> None:
    pixels = np.broadcast_to(np.zeros((), "uint16"), (10_000_001, 2, 2))
    with pytest.raises(SourceError, match="it states 10000001 planes of one image"):
        convert(ArraySource(pixels, "zyx"), store)
    assert not store.exists()


# -- memory -----------------------------------------------------------------------------------------------------

MEASURE = """
import re, sys
import numpy as np
from lamella.ops.conversion.convert import convert
from lamella.ops.conversion.source import ImageDescription

class Endless:
    description = ImageDescription("endless", (), "zyx", (128, 2048, 2048), np.dtype("uint16"))
    noise = np.random.default_rng(0).integers(0, 4096, (2048, 2048)).astype("uint16")
    def read_plane(self, index, rows=None):
        return np.roll(self.noise, index[0], 0)[rows]
    def close(self):
        pass

convert(Endless(), sys.argv[1], jobs=2)
# ru_maxrss would count what the process that started this one held when it forked.
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_stays_below_512_mb_for_an_image_of_1_gb(store: Path) -> None:
    command = [sys.executable, "-c", MEASURE, str(store)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(found.stdout) < 512
