"""Exported files have the pixels, sizes, names, colours and positions of the store, and come back as they were."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

import lamella
from lamella.adapters.export import files as module
from lamella.adapters.export import tiff_files
from lamella.adapters.export.selection import Selection
from lamella.cli import main
from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    MissingDependencyError,
    StoreExistsError,
    WrongTypeError,
)
from lamella.models import TransformationMeta

COLORS = ["0000FF", "00FF00"]


def pixels(seed=0, shape=(2, 2, 3, 70, 90), dtype="uint16"):
    return np.random.default_rng(seed).integers(1, 200, shape).astype(dtype)


def described(position, seed=0, dtype="uint16"):
    """An image with levels, labels, sizes, a position and colours."""
    position.create_image(
        "0",
        pixels(seed, dtype=dtype),
        chunks=(1, 1, 1, 32, 32),
        transform=[
            TransformationMeta(type="scale", scale=[5, 1, 2, 0.5, 0.25]),
            TransformationMeta(type="translation", translation=[0, 0, 4, 10 + seed, -7]),
        ],
    )
    position.set_unit({"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"})
    for channel, color in zip(position.channel_names, COLORS, strict=True):
        position.set_channel(channel, color=color)
    position.labels["nuclei"] = (pixels(seed)[:, 0] > 100).astype("uint8")


def written_image(path, version="0.5"):
    position = lamella.open(path, "w", layout="fov", channel_names=["DAPI", "GFP"], version=version)
    described(position)
    position.compute_pyramid(3)
    position.set_name("my cells")
    return position


@pytest.fixture
def image(tmp_path):
    return written_image(tmp_path / "cells.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_an_ome_tiff_has_all_pixels_levels_and_metadata_and_comes_back(tmp_path, version):
    image = written_image(tmp_path / "cells.zarr", version)
    files = lamella.export(image, tmp_path / "cells.ome.tif", labels=True)
    assert [Path(file).name for file in files] == ["cells.ome.tif", "cells_nuclei_labels.ome.tif"]
    with tifffile.TiffFile(files[0]) as tiff:
        series = tiff.series[0]
        np.testing.assert_array_equal(series.asarray().reshape(image.data.shape), image.data[...])
        assert tiff.is_ome
        assert series.pages[0].is_tiled
        ome_types = pytest.importorskip("ome_types")
        schema = (Path(ome_types.__file__).parent / "ome-2016-06.xsd").read_bytes()
        assert tifffile.OmeXml.validate(tiff.ome_metadata, omexsd=schema, assert_=True)
    np.testing.assert_array_equal(
        tifffile.imread(files[1]).reshape(image.labels["nuclei"].data.shape), image.labels["nuclei"].data[...]
    )
    lamella.convert(files[0], tmp_path / "again.zarr", version=version)
    again = lamella.open(tmp_path / "again.zarr")
    np.testing.assert_array_equal(again["0"][...], image["0"][...])
    assert again.scale == image.scale
    assert again.get_effective_translation("0")[-3:] == image.get_effective_translation("0")[-3:]
    assert [axis.unit for axis in again.axes] == [axis.unit for axis in image.axes]
    assert (again.channel_names, again.zattrs["lamella"]["title"]) == (image.channel_names, "my cells")
    assert [channel.color for channel in again.metadata.omero.channels] == COLORS


def test_memory_does_not_grow_with_the_image(tmp_path, image, monkeypatch):
    monkeypatch.setattr(tiff_files, "_TILE", 16)
    rows, read = [], Selection.read
    monkeypatch.setattr(
        Selection, "read", lambda *args: rows.append(args[-1].stop - args[-1].start) or read(*args)
    )
    (file,) = lamella.export(image, tmp_path / "a.ome.tif")
    assert max(rows) == 16  # one row of tiles of one plane
    np.testing.assert_array_equal(tifffile.imread(file), image["0"][...])


def test_levels_that_keep_z_are_sub_images(tmp_path):
    position = lamella.write_image(tmp_path / "a.zarr", pixels(shape=(2, 300, 260)), "cyx", levels=3)
    (file,) = lamella.export(position, tmp_path / "a.ome.tif")
    with tifffile.TiffFile(file) as tiff:
        levels = tiff.series[0].levels
        assert [level.shape[-2:] for level in levels] == [(300, 260), (150, 130), (75, 65)]
        for path, level in zip("012", levels, strict=True):
            np.testing.assert_array_equal(level.asarray(), position[path][...])
    (file,) = lamella.export(position, tmp_path / "b.ome.tif", level=1, channels=["channel_1"])
    np.testing.assert_array_equal(tifffile.imread(file), position["1"][1])
    (file,) = lamella.export(position, tmp_path / "c.ome.tif", region={"y": (10, 90), "x": (-100, None)})
    with tifffile.TiffFile(file) as tiff:
        np.testing.assert_array_equal(tiff.series[0].asarray(), position["0"][:, 10:90, -100:])
        assert len(tiff.series[0].levels) == 3


def test_planes_maxima_and_time_points_are_chosen(tmp_path, image):
    for settings, expected in (
        ({"z": 1, "t": 0}, image["0"][0, :, 1]),
        ({"z": "max", "t": 1}, image["0"][1].max(axis=1)),
        ({"region": {"z": (1, 3)}, "t": 1, "channels": ["GFP"]}, image["0"][1, 1, 1:3]),
    ):
        for name in ("a.ome.tif", "a.tif"):
            (file,) = lamella.export(image, tmp_path / name, overwrite=True, **settings)
            np.testing.assert_array_equal(np.squeeze(tifffile.imread(file)), expected)


def test_an_imagej_tiff_has_names_colours_and_sizes(tmp_path, image):
    (file,) = lamella.export(image, tmp_path / "cells.tif")
    with tifffile.TiffFile(file) as tiff:
        assert tiff.is_imagej
        np.testing.assert_array_equal(tiff.series[0].asarray(), image["0"][...].transpose(0, 2, 1, 3, 4))
        assert (tiff.imagej_metadata["spacing"], tiff.imagej_metadata["finterval"]) == (2.0, 5.0)
        assert tiff.imagej_metadata["Labels"][:2] == ["DAPI", "GFP"]
        np.testing.assert_array_equal(tiff.imagej_metadata["LUTs"][1][:, -1], [0, 255, 0])
    lamella.convert(file, tmp_path / "again.zarr")
    again = lamella.open(tmp_path / "again.zarr")
    np.testing.assert_array_equal(again["0"][...], image["0"][...])
    assert again.scale == pytest.approx(image.scale)
    assert again.channel_names == image.channel_names


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, image):
    large = lamella.write_image(tmp_path / "large.zarr", np.zeros((8, 8), "uint64"), "yx")
    for position, name, options, text in (
        (large, "a.ome.tif", {}, "uint64"),
        (large, "a.tif", {}, "uint64"),
        (image, "a.xyz", {}, "endings"),
        (image, "a.ome.tif", {"channels": ["Cy5"]}, "Cy5"),
        (image, "a.ome.tif", {"level": 7}, "levels 0 to 2"),
        (image, "a.ome.tif", {"z": 3}, "z=3"),
        (image, "a.ome.tif", {"z": "min"}, "The argument z, if it is not max, is a whole number"),
        (image, "a.tif", {"t": [0, 1]}, "The argument t is a whole number"),
        (image, "a.png", {"z": "min"}, "z"),
        (image, "a.gif", {"z": slice(0, 1)}, "z"),
        (image, "a.png", {"t": slice(0, 1)}, "t"),
        (image, "a.ome.tif", {"region": {"q": (0, 1)}}, "axis 'q'"),
        (image, "a.ome.tif", {"format": "czi"}, "format='czi' is not one of"),
        (image, "a.png", {"level": 7}, "levels 0 to 2"),
        ([image, large], "a.ome.tif", {}, "would be a folder"),
        ([], "a", {}, "nothing to export"),
    ):
        with pytest.raises((InvalidArgumentError, WrongTypeError, LookupError), match=text):
            lamella.export(position, tmp_path / name, **options)
        assert not (tmp_path / name).exists()
    lamella.export(image, tmp_path / "a.ome.tif")
    with pytest.raises(StoreExistsError):
        lamella.export(image, tmp_path / "a.ome.tif")


NAMES = ["Alexa Fluor 488/GFP_1", "DAPI"]


def written_plate(path, version="0.5", names=("DAPI", "GFP")):
    plate = lamella.open(path, "w", layout="hcs", channel_names=list(names), version=version)
    for seed, place in enumerate(("A/1/0", "A/1/1", "B/12/0")):
        described(plate.create_position(*place.split("/")), seed)
    return plate


@pytest.fixture
def plate(tmp_path):
    return written_plate(tmp_path / "plate.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_a_plate_becomes_a_folder_and_a_plate_again(tmp_path, version):
    plate = written_plate(tmp_path / "plate.zarr", version, NAMES)
    files = lamella.export(plate, tmp_path / "tiffs")
    assert sorted(os.listdir(tmp_path / "tiffs")) == sorted(Path(file).name for file in files)
    assert Path(files[0]).name == "A1_f0_Alexa-Fluor-488-GFP-1.ome.tif"
    report = lamella.convert(tmp_path / "tiffs", tmp_path / "again.zarr", version=version)
    assert "(--layout lamella)" in report.notes[0]
    again = lamella.open(tmp_path / "again.zarr")
    assert [path for path, _ in again.positions()] == [path for path, _ in plate.positions()]
    assert again.channel_names == NAMES
    for path, position in plate.positions():
        np.testing.assert_array_equal(again[path]["0"][...], position["0"][...])
        assert again[path].scale == position.scale
        assert again[path].get_effective_translation("0") == position.get_effective_translation("0")
        assert [channel.color for channel in again[path].metadata.omero.channels] == COLORS
        assert [axis.unit for axis in again[path].axes] == [axis.unit for axis in position.axes]


def test_several_images_are_resumed_and_finished_files_skipped(tmp_path, image, plate, monkeypatch):
    written, write = [], module.write_file

    def stopping(path, writer):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(Path(path).name)
        write(path, writer)

    monkeypatch.setattr(module, "write_file", stopping)
    with pytest.raises(KeyboardInterrupt):
        lamella.export([image, plate], tmp_path / "out", labels=True, jobs=1)
    assert written == ["cells.ome.tif", "cells_nuclei_labels.ome.tif"]
    monkeypatch.setattr(
        module, "write_file", lambda path, writer: written.append(Path(path).name) or write(path, writer)
    )
    files = lamella.export([image, plate], tmp_path / "out", labels=True, jobs=1)
    assert written == [Path(file).name for file in files]
    assert len(written) == 11
    with pytest.raises(StoreExistsError, match="exists"):  # it was finished
        lamella.export([image, plate], tmp_path / "out", labels=True, jobs=1)


def test_a_folder_and_a_collection_are_destination_and_source(tmp_path, image):
    (tmp_path / "out").mkdir()
    assert lamella.export(image, tmp_path / "out") == [str(tmp_path / "out" / "cells.ome.tif")]
    source = lamella.export(image, tmp_path / "film.ome.tif", t=0)
    lamella.convert(source, tmp_path / "film.zarr", series="all")
    (file,) = lamella.export(lamella.open(tmp_path / "film.zarr"), tmp_path / "out")
    np.testing.assert_array_equal(tifffile.imread(file), image["0"][0])


def test_the_export_of_a_plate_is_resumed_and_skips_finished_files(tmp_path, plate, monkeypatch):
    written, write = [], module.write_file

    def stopping(path, writer):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(Path(path).name)
        write(path, writer)

    monkeypatch.setattr(module, "write_file", stopping)
    with pytest.raises(KeyboardInterrupt):
        lamella.export(plate, tmp_path / "tiffs", jobs=1)
    assert sorted(name for name in os.listdir(tmp_path / "tiffs") if not name.startswith(".")) == sorted(
        written
    )
    with lamella.open(tmp_path / "plate.zarr", "r+") as node:
        node["A/1/0"]["0"][0, 0] = 7  # the file of this channel is not current any more
    (tmp_path / "tiffs" / written[2]).unlink()
    again = []
    monkeypatch.setattr(
        module, "write_file", lambda path, writer: again.append(Path(path).name) or write(path, writer)
    )
    files = lamella.export(plate, tmp_path / "tiffs", jobs=1)
    assert again == [written[0], *[Path(file).name for file in files[2:]]]
    assert (tifffile.imread(files[0])[0] == 7).all()
    assert sorted(os.listdir(tmp_path / "tiffs")) == sorted(Path(file).name for file in files)


def test_pictures_and_movies(tmp_path, image, monkeypatch):
    image_module = pytest.importorskip("PIL.Image")
    lamella.export(image, tmp_path / "a.png", z="max", labels=["nuclei"])
    with image_module.open(tmp_path / "a.png") as picture:
        assert (picture.size, picture.mode) == (
            (58, 90),
            "RGB",
        )  # in the proportions of 22.5 x 35 micrometers
    lamella.export(image, tmp_path / "a.gif", z=1)
    with image_module.open(tmp_path / "a.gif") as movie:
        assert (movie.n_frames, movie.info["loop"], movie.info["duration"]) == (2, 0, 100)
        shown = lamella.export(image, tmp_path / "frame.png", z=1, t=1)
        movie.seek(1)
        with image_module.open(shown[0]) as frame:
            difference = np.asarray(movie.convert("RGB"), int) - np.asarray(frame, int)
        assert np.abs(difference).mean() < 8, "256 colours of its own"
    lamella.export(image, tmp_path / "b.gif", t=1)
    with image_module.open(tmp_path / "b.gif") as movie:
        assert movie.n_frames == 3  # along z
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="ffmpeg"):
        lamella.export(image, tmp_path / "a.mp4")
    encoder = tmp_path / "ffmpeg"  # stands for ffmpeg: copies the frames
    encoder.write_text(
        f"#!{sys.executable}\nimport sys\nopen(sys.argv[-1], 'wb').write(sys.stdin.buffer.read())\n"
    )
    encoder.chmod(encoder.stat().st_mode | stat.S_IXUSR)
    lamella.export(image, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").stat().st_size == 2 * 90 * 58 * 3
    encoder.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no such codec')\n")
    with pytest.raises(OSError, match="no such codec"):
        lamella.export(image, tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


def test_the_command(tmp_path, image, plate):
    def run(*words):
        return CliRunner().invoke(main, ["export", *map(str, words)])

    result = run(
        tmp_path / "cells.zarr", tmp_path / "a.ome.tif", "--z", "max", "--region", "x=0:32", "--labels", "all"
    )
    assert (result.exit_code, result.stdout) == (0, f"Wrote {tmp_path / 'a.ome.tif'}: 2 files.\n")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.ome.tif"), image["0"][..., :32].max(axis=2))
    result = run(
        tmp_path / "cells.zarr", tmp_path / "plate.zarr", tmp_path / "out", "--channels", "GFP", "-j", 1
    )
    assert result.exit_code == 0, result.output
    assert sorted(os.listdir(tmp_path / "out")) == ["cells.ome.tif", "plate"]
    assert len(os.listdir(tmp_path / "out" / "plate")) == 3
    assert run(tmp_path / "cells.zarr", tmp_path / "a.ome.tif").exit_code == 1


def test_a_plane_of_a_lower_level_is_the_one_that_covers_it(tmp_path):
    depth = np.repeat(np.arange(9, dtype="uint8") * 10, 64).reshape(9, 8, 8)
    with lamella.write_image(tmp_path / "a.zarr", depth, levels=1) as image:
        image.compute_pyramid(3)
        for z in (3, 7, 8):
            (file,) = lamella.export(image, tmp_path / f"{z}.ome.tif", level=2, z=z)
            np.testing.assert_array_equal(tifffile.imread(file), image["2"][z // 4])


def test_wavelengths_stay_with_their_channels(tmp_path):
    def exported(image, name):
        lamella.export(image, tmp_path / f"{name}.ome.tif")
        with tifffile.TiffFile(tmp_path / f"{name}.ome.tif") as tiff:
            channels = ElementTree.fromstring(tiff.ome_metadata).findall(".//{*}Channel")
            return {channel.get("Name"): channel.get("EmissionWavelength") for channel in channels}

    with lamella.write_image(
        tmp_path / "a.zarr", pixels(shape=(3, 8, 8)), axes="cyx", channels=["DAPI", "GFP", "Cy5"]
    ) as image:
        image.zattrs["lamella"] = {
            "channels": [{"emission": 450.0}, {"emission": 520.0}, {"emission": 670.0}]
        }
        turned = image.subset(tmp_path / "turned.zarr", channels=["Cy5", "GFP", "DAPI"])
        assert exported(turned, "turned") == {"Cy5": "670.0", "GFP": "520.0", "DAPI": "450.0"}
        image.delete_channel("DAPI")
        image.append_channel("RFP")
        assert exported(image, "changed") == {"GFP": "520.0", "Cy5": "670.0", "RFP": None}
        cy5 = image.subset(tmp_path / "cy5.zarr", channels=["Cy5"])
        gfp = turned.subset(tmp_path / "gfp.zarr", channels=["GFP"])
        both = lamella.concatenate_channels([cy5, gfp], tmp_path / "both.zarr")
        assert exported(both, "both") == {"Cy5": "670.0", "GFP": "520.0"}


def test_label_images_are_exported_at_the_level_and_in_the_region_of_their_image(tmp_path):
    with lamella.write_image(tmp_path / "a.zarr", pixels(shape=(4, 32, 32)), axes="zyx", levels=2) as image:
        labels = image.labels.create("cells", pixels(1, (4, 32, 32)))
        region = {"y": (8, -8), "x": (0, 16)}
        for level in (1, "1"):
            _, file = lamella.export(
                image, tmp_path / f"{level!r}.ome.tif", level=level, z=2, region=region, labels=True
            )
            np.testing.assert_array_equal(tifffile.imread(file), labels["1"][2 // 2, 4:12, :8])
        # Labels of half the size, as other programs write them.
        small = image.labels.create("small", pixels(1, (4, 32, 32)))
        small["0"][:, :16, :16] = half = pixels(2, (4, 16, 16))
        small.delete_pyramid()
        small["0"].resize(4, 16, 16)
        small.set_scale({"y": 2, "x": 2})
        _, file = lamella.export(image, tmp_path / "half.ome.tif", region=region, labels=["small"])
        np.testing.assert_array_equal(tifffile.imread(file), half[:, 4:12, :8])


def test_labels_without_the_scale_of_their_film_are_cut_at_the_same_frames(tmp_path):
    with lamella.write_image(
        tmp_path / "a.zarr", pixels(shape=(3, 8, 8)), axes="tyx", scale={"t": 10}
    ) as image:
        labels = image.labels.create("cells", pixels(1, (3, 8, 8)))
        labels.set_scale("0", "t", 1)
        _, file = lamella.export(image, tmp_path / "a.ome.tif", t=1, labels=True)
        np.testing.assert_array_equal(tifffile.imread(file), labels.data[1])
        cut = image.subset(tmp_path / "cut.zarr", crop={"t": (1, 2)})
        np.testing.assert_array_equal(cut.labels["cells"].data[...], labels.data[1:2])


def test_damaged_pixels_are_named_and_not_reported_as_a_full_disk(tmp_path):
    with lamella.write_image(tmp_path / "a.zarr", pixels(shape=(4, 32, 32)), axes="zyx", levels=1) as image:
        chunk = next(path for path in (tmp_path / "a.zarr/0/c").rglob("*") if path.is_file())
        chunk.write_bytes(b"damaged")
        with pytest.raises(DamagedDataError, match=r"^Cannot read the pixels .* or restore the file[.]$"):
            lamella.export(image, tmp_path / "a.ome.tif")
    assert not (tmp_path / "a.ome.tif").exists()
