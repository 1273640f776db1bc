"""Images in colour look as they do elsewhere, channels can be told apart, and a plate has one contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from tests.array_source import ArraySource

from lamella.nodes.open import open_ome_zarr
from lamella.ops.conversion.convert import convert
from lamella.ops.conversion.source import SourceChannel
from lamella.ops.display.preview import PreviewOptions, all_channels, choose_channels, field_picture

if TYPE_CHECKING:
    from pathlib import Path

    from lamella.nodes.position import Position


UNNAMED = [f"channel_{index}" for index in range(5)]


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def version(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "image.zarr"


def pixels(shape: tuple[int, ...], dtype: Any = "uint8", most: int = 100) -> np.ndarray:
    return np.random.default_rng(5).integers(0, most, size=shape).astype(dtype)


def channels(position: Position) -> list[tuple[str, str, float, float, bool]]:
    return [
        (c.label, c.color, c.window["start"], c.window["end"], c.active)
        for c in position.metadata.omero.channels
    ]


def picture(position: Position) -> np.ndarray:
    shown = choose_channels(all_channels(position), None, "image")
    return field_picture(position, shown, PreviewOptions(), 64).rgb


def described(path: Path, store: Path) -> list[tuple[str, str, float, float, bool]]:
    convert(path, store, overwrite=True)
    with open_ome_zarr(store) as position:
        return channels(position)


# -- images in colour -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 65535), ("float32", 1.0)])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb_shows_0_to_the_full_range_and_alpha_is_off(
    tmp_path: Path, store: Path, version: Any, dtype: str, top: float, planar: str
) -> None:
    path = tmp_path / "rgba.tif"
    image = pixels((4, 40, 50), dtype) if planar == "separate" else pixels((40, 50, 4), dtype)
    tifffile.imwrite(path, image, photometric="rgb", planarconfig=planar, extrasamples=["unassalpha"])
    assert "contrast" not in convert(path, store, version=version).kept
    with open_ome_zarr(store) as position:
        assert channels(position) == [
            ("Red", "FF0000", 0, top, True),
            ("Green", "00FF00", 0, top, True),
            ("Blue", "0000FF", 0, top, True),
            ("Alpha", "FFFFFF", 0, top, False),
        ]
        assert_array_equal(position.data[:], image if planar == "separate" else np.moveaxis(image, -1, 0))


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 900), ("float32", 900.0)])
def test_colours_of_any_reader_have_one_window_where_the_file_states_none(
    store: Path, dtype: str, top: float
) -> None:
    colours = tuple(SourceChannel(name) for name in ("Red", "Green", "Blue", "Alpha"))
    image = pixels((4, 8, 8), dtype)
    image[1, 3] = 900 if dtype != "uint8" else 200
    image[3] = 255
    convert(ArraySource(image, "cyx", channels=colours, is_rgb=True), store)
    with open_ome_zarr(store) as position:
        assert [(start, end) for _, _, start, end, _ in channels(position)][:3] == [(0, top)] * 3


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_preview_of_a_colour_image_has_its_colours(tmp_path: Path, store: Path, dtype: str) -> None:
    path = tmp_path / "rgba.tif"
    top = np.iinfo(dtype).max
    image = np.zeros((64, 64, 4), dtype)
    image[..., 0], image[:32, :, 1], image[..., 3] = top, top // 5, top
    tifffile.imwrite(path, image, photometric="rgb", extrasamples=["unassalpha"])
    convert(path, store)
    with open_ome_zarr(store) as position:
        assert picture(position)[0, 0].tolist() == [255, 51, 0]
        assert picture(position)[-1, 0].tolist() == [255, 0, 0]


def test_the_preview_draws_no_opacity_that_others_call_active(store: Path) -> None:
    with open_ome_zarr(
        store, layout="fov", mode="w", channel_names=["Red", "Green", "Blue", "Alpha"]
    ) as position:
        position["0"] = np.array([255, 0, 0, 255], "uint8").reshape(1, 4, 1, 1, 1) * np.ones(
            (1, 4, 1, 8, 8), "uint8"
        )
        for channel in position.metadata.omero.channels:
            channel.active = True
        position.dump_meta()
        assert picture(position)[0, 0].tolist() == [255, 0, 0]


def test_ome_rgb_is_red_green_and_blue(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "rgb.ome.tif"
    tifffile.imwrite(path, pixels((20, 20, 3)), photometric="rgb", metadata={"Channel": {"Name": "camera"}})
    assert [name for name, *_ in described(path, store)] == ["camera Red", "camera Green", "camera Blue"]
    tifffile.imwrite(path, pixels((20, 20, 3)), photometric="rgb")
    assert described(path, store) == [
        ("Red", "FF0000", 0, 255, True), ("Green", "00FF00", 0, 255, True), ("Blue", "0000FF", 0, 255, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "options", "names"),
    [
        ((20, 24, 3), {"photometric": "minisblack", "planarconfig": "contig"}, UNNAMED[:3]),
        ((3, 20, 24), {"photometric": "minisblack", "planarconfig": "separate"}, UNNAMED[:3]),
        ((20, 24, 2), {"photometric": "minisblack", "extrasamples": ["unassalpha"]}, ["Gray", "Alpha"]),
        ((20, 24, 4), {"photometric": "separated"}, ["Cyan", "Magenta", "Yellow", "Black"]),
        ((20, 24, 3), {"photometric": "cielab"}, ["L*", "a*", "b*"]),
        ((20, 24, 5), {"photometric": "rgb", "extrasamples": [0, 0]}, ["Red", "Green", "Blue", *UNNAMED[3:]]),
        ((32, 32, 3), {"photometric": "rgb", "compression": "jpeg"}, ["Red", "Green", "Blue"]),
        ((32, 32, 3), {"photometric": "ycbcr", "compression": "jpeg"}, ["Red", "Green", "Blue"]),
    ],
)  # fmt: skip
def test_samples_are_named_by_photometric(
    tmp_path: Path, store: Path, shape: tuple[int, ...], options: dict[str, Any], names: list[str]
) -> None:
    path = tmp_path / "samples.tif"
    tifffile.imwrite(path, pixels(shape), metadata=None, **options)
    found = described(path, store)
    assert [name for name, *_ in found] == names
    if "Red" not in names:
        assert names == ["Gray", "Alpha"] or len({color for _, color, *_ in found}) == len(names)


# -- ImageJ -----------------------------------------------------------------------------------------------------


def ramp(*weights: float) -> np.ndarray:
    return np.outer(weights, np.arange(256)).astype("uint8")


def test_one_lookup_table_of_imagej_is_a_colour_and_no_damage(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "green.tif"
    image = pixels((20, 24), "uint16")
    tifffile.imwrite(path, image, imagej=True, metadata={"LUTs": [ramp(0, 1, 0)], "mode": "composite"})
    assert described(path, store)[0][1] == "00FF00"
    with open_ome_zarr(store) as position:
        assert_array_equal(position.data[0], image)


def test_one_label_of_imagej_names_no_channels_by_its_letters(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "abc.tif"
    tifffile.imwrite(
        path,
        pixels((3, 20, 24)),
        imagej=True,
        metadata={"axes": "CYX", "Labels": ["Red"], "mode": "composite"},
    )
    assert [name for name, *_ in described(path, store)] == ["channel_0", "channel_1", "channel_2"]


def test_min_and_max_of_imagej_are_the_window(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "window.tif"
    tifffile.imwrite(path, pixels((20, 24), "uint16"), imagej=True, metadata={"min": 7.0, "max": 61.0})
    assert described(path, store)[0][2:4] == (7, 61)
    tifffile.imwrite(
        path, pixels((4, 20, 24), "uint16"), imagej=True, metadata={"axes": "ZYX", "min": 3.5, "max": 9}
    )
    assert described(path, store)[0][2:4] == (3.5, 9)


@pytest.mark.parametrize("imagej", [True, False])
def test_a_ramp_of_a_colour_map_is_a_colour(tmp_path: Path, store: Path, imagej: bool) -> None:
    path = tmp_path / "palette.tif"
    image = pixels((20, 24))
    table = (ramp(1, 0, 1).astype("uint16") * 257).reshape(3, 256)
    tifffile.imwrite(path, image, photometric="palette", colormap=table, imagej=imagej)
    report = convert(path, store)
    with open_ome_zarr(store) as position:
        assert channels(position)[0][1] == "FF00FF"
        assert_array_equal(position.data[0], image)
    assert report.notes == ()


def test_a_palette_that_is_no_ramp_is_noted(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "palette.tif"
    tifffile.imwrite(
        path, pixels((20, 24)), photometric="palette", colormap=pixels((3, 256), "uint16", 60000)
    )
    assert convert(path, store).notes == (
        f"{path}: its palette of colours was not applied: the pixels are its indices",
    )


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (
            {"photometric": "miniswhite"},
            "it shows small values as white (WhiteIsZero), and is shown inverted now",
        ),
        (
            {"imagej": True, "metadata": {"LUTs": [255 - ramp(1, 1, 1)]}},
            "a lookup table of it is not a ramp from black to one colour and was not used",
        ),
        (
            {"imagej": True, "metadata": {"c0": 0.5, "c1": 2, "vunit": "OD"}},
            "its calibration of pixel values, to OD, was not applied",
        ),
    ],
)  # fmt: skip
def test_a_display_that_is_not_kept_is_noted(
    tmp_path: Path, store: Path, options: dict[str, Any], note: str
) -> None:
    path = tmp_path / "inverted.tif"
    image = pixels((20, 24))
    tifffile.imwrite(path, image, **options)
    assert convert(path, store).notes == (f"{path}: {note}",)
    with open_ome_zarr(store) as position:
        assert_array_equal(position.data[0], image)


# -- colours ----------------------------------------------------------------------------------------------------


def test_unnamed_channels_have_distinct_colours(store: Path, version: Any) -> None:
    source = ArraySource(
        pixels((5, 16, 16)), "cyx", channels=(SourceChannel("DAPI"), *[SourceChannel("")] * 4)
    )
    convert(source, store, version=version)
    with open_ome_zarr(store) as position:
        colors = [channel.color for channel in position.metadata.omero.channels]
    assert colors[0] == "0000FF"
    assert len(set(colors)) == 5


def test_one_unnamed_channel_is_white_and_two_are_green_and_magenta(store: Path, tmp_path: Path) -> None:
    convert(ArraySource(pixels((16, 16)), "yx"), store)
    convert(ArraySource(pixels((2, 16, 16)), "cyx"), tmp_path / "two.zarr")
    with open_ome_zarr(store) as one, open_ome_zarr(tmp_path / "two.zarr") as two:
        assert [channel.color for channel in one.metadata.omero.channels] == ["FFFFFF"]
        assert [channel.color for channel in two.metadata.omero.channels] == ["00FF00", "FF00FF"]


# -- one contrast for a plate -----------------------------------------------------------------------------------


def test_a_plate_has_one_window_per_channel(tmp_path: Path, version: Any) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for field, top in enumerate((50, 4000, 300)):
        for channel, factor in (("a", 1), ("b", 3)):
            tifffile.imwrite(folder / f"A01_f{field}_{channel}.tif", pixels((64, 64), "uint16", top) * factor)
    pattern = r"(?P<row>A)(?P<col>\d+)_f(?P<field>\d)_(?P<channel>[ab])"
    convert(folder, tmp_path / "plate.zarr", well_regex=pattern, version=version)
    with open_ome_zarr(tmp_path / "plate.zarr") as plate:
        shown = [channels(position) for _, position in plate.positions()]
    assert shown[0] == shown[1] == shown[2]
    assert shown[0][0][3] > 3900
    assert shown[0][1][3] > 3 * 3900


@pytest.mark.parametrize(
    ("stated", "window"),
    [
        ([(10, 500), (20, 700), (30, 90)], (10, 700)),
        ([(10, 500), (20, 700), (10, 500)], (10, 500)),
        ([(500, 10), (500, 10), (0, 0)], (0, 99)),  # of the pixels: no file states a window
    ],
)
def test_windows_that_all_files_of_a_plate_state_become_one(tmp_path: Path, stated: Any, window: Any) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for field, (low, high) in enumerate(stated):
        metadata = {"min": float(low), "max": float(high)}
        tifffile.imwrite(
            folder / f"A01_f{field}.tif", pixels((16, 16), "uint16"), imagej=True, metadata=metadata
        )
    convert(folder, tmp_path / "plate.zarr", well_regex=r"(?P<row>A)(?P<col>\d+)_f(?P<field>\d)")
    with open_ome_zarr(tmp_path / "plate.zarr") as plate:
        assert [channels(position)[0][2:4] for _, position in plate.positions()] == [window] * 3


def test_a_plate_of_colour_images_shows_0_to_the_full_range(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for field in range(2):
        tifffile.imwrite(folder / f"A01_f{field}.tif", pixels((16, 16, 3), "uint16"), photometric="rgb")
    convert(folder, tmp_path / "plate.zarr", well_regex=r"(?P<row>A)(?P<col>\d+)_f(?P<field>\d)")
    with open_ome_zarr(tmp_path / "plate.zarr", mode="r+") as plate:
        before = [channels(position) for _, position in plate.positions()]
        assert {(start, end) for shown in before for _, _, start, end, _ in shown} == {(0, 65535)}
        plate.compute_contrast()
        assert [channels(position) for _, position in plate.positions()] == before


def test_the_full_range_is_that_of_the_bits_of_a_sample(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "rgb12.tif"
    tifffile.imwrite(path, pixels((16, 16, 3), "uint16", 4096), photometric="rgb", bitspersample=12)
    assert {end for _, _, _, end, _ in described(path, store)} == {4095}
