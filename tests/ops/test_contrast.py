"""``compute_contrast``: one window per channel over all fields, from the pixels, on every version and layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import lamella
from lamella.errors import InvalidArgumentError, ReadOnlyError
from lamella.ops.display.preview import all_channels, choose_channels

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def version(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.zarr"


def windows(position: lamella.Position) -> list[tuple[float, float]]:
    return [(c.window["start"], c.window["end"]) for c in position.metadata.omero.channels]


def field(low: float, high: float, dtype: str = "uint16") -> np.ndarray:
    """Two channels, the second ten times as bright, whose percentiles are known."""
    values = np.linspace(low, high, 64 * 64).reshape(1, 1, 1, 64, 64)
    return np.concatenate([values, 10 * values], axis=1).astype(dtype)


def test_new_channels_are_all_active_but_not_an_opacity(path: Path, version: Any) -> None:
    names = ["Red", "Green", "Blue", "Alpha", "alpha-tubulin"]
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=names, version=version
    ) as position:
        assert [channel.active for channel in position.metadata.omero.channels] == [
            True,
            True,
            True,
            False,
            True,
        ]
        position.append_channel("GFP")
        assert position.metadata.omero.channels[-1].active is True


def test_new_channels_without_a_name_have_distinct_colours(path: Path, version: Any) -> None:
    names = ["DAPI", "channel_1", "channel_2"]
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=names, version=version
    ) as position:
        position.append_channel("channel_3")
        assert len({channel.color for channel in position.metadata.omero.channels}) == 4


def test_a_preview_of_channels_whose_names_say_nothing_is_not_white(path: Path) -> None:
    with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["a", "b", "c"]) as position:
        position["0"] = np.zeros((1, 3, 1, 8, 8), "uint16")
        shown = choose_channels(all_channels(position), None, "image")
    assert len({channel.color for channel in shown}) == 3


def test_the_contrast_of_an_image_is_that_of_its_pixels(path: Path, version: Any) -> None:
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["a", "b"], version=version
    ) as position:
        position["0"] = field(100, 1100)
        assert windows(position) == [(0, 65535), (0, 65535)]
        found = position.compute_contrast()
    with lamella.open_ome_zarr(path) as position:
        assert windows(position) == [(w["start"], w["end"]) for w in found.values()]
        for (start, end), factor in zip(windows(position), (1, 10), strict=True):
            assert start == pytest.approx(101 * factor, abs=1 * factor)
            assert end == pytest.approx(1099 * factor, abs=1 * factor)
        assert [w["max"] for w in found.values()] == [65535, 65535]
        assert lamella.validate(path)


def test_a_plate_has_one_window_per_channel_over_all_fields(path: Path, version: Any) -> None:
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["a", "b"], version=version
    ) as plate:
        for number, column in enumerate(["1", "2", "3"]):
            plate.create_position("A", column, "0")["0"] = field(1000 * number, 1000 * number + 1000)
        plate.create_position("B", "1", "0")  # without an image yet
        found = plate.compute_contrast()
    assert found["a"]["start"] < 10
    assert found["a"]["end"] > 2990
    assert found["b"]["end"] > 29900
    with lamella.open_ome_zarr(path) as plate:
        shown = [windows(position) for _, position in plate.positions() if position.dataset_paths]
    assert shown == [[(w["start"], w["end"]) for w in found.values()]] * 3


@pytest.mark.parametrize("wanted", ["convert", "compute_contrast"])
def test_a_few_bright_fields_of_a_plate_are_not_saturated(tmp_path: Path, wanted: str) -> None:
    noise = np.random.default_rng(0)
    (tmp_path / "files").mkdir()
    for number in range(1, 61):
        pixels = noise.integers(100, 200, (64, 64), "uint16")
        if number == 37:
            pixels[:8, :25] += 250  # cells that cover a twentieth of one field
        if number == 9:
            pixels[5, 5] = 65535  # a pixel of the camera
        tifffile.imwrite(tmp_path / f"files/A{number}.tif", pixels)
    pattern = r"(?P<row>A)(?P<col>\d+)"
    lamella.convert(tmp_path / "files", tmp_path / "plate.zarr", well_regex=pattern)
    with lamella.open_ome_zarr(tmp_path / "plate.zarr", mode="r+") as plate:
        if wanted == "compute_contrast":
            plate["A/1/0"].set_channel("channel_0", window=(0, 5))
            plate.compute_contrast()
        ((start, end),) = {windows(position)[0] for _, position in plate.positions()}
    assert 100 <= start < 110
    assert 400 < end < 450


def test_channels_are_matched_by_name_where_fields_differ(path: Path) -> None:
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["a", "b"]) as plate:
        first, second = plate.create_positions([("A", "1", "0"), ("A", "2", "0")])
        first["0"] = field(0, 100)
        second["0"] = field(0, 100)[:, ::-1]
        second.rename_channel("a", "x")
        second.rename_channel("b", "a")
        second.rename_channel("x", "b")
        plate.compute_contrast()
        assert windows(first) == windows(second)[::-1]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "float32", "float64"])
def test_every_dtype_with_an_order_has_a_contrast(path: Path, dtype: str) -> None:
    pixels = np.random.default_rng(0).normal(0, 20, size=(1, 1, 3, 40, 40)).astype(dtype)
    if dtype.startswith("float"):
        pixels[..., 0] = np.nan
    with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["a"]) as position:
        position["0"] = pixels
        window = position.compute_contrast()["a"]
    assert window["min"] <= window["start"] < window["end"] <= window["max"]
    assert all(np.isfinite(float(number)) for number in window.values())


def test_levels_that_do_not_show_level_0_are_not_sampled(path: Path) -> None:
    with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["a"]) as position:
        position["0"] = np.zeros((1, 1, 1, 512, 512), "uint16")
        position.compute_pyramid(levels=2)
        position["0"][:] = 700
        assert position.stale_levels
        window = position.compute_contrast()["a"]
    assert (window["start"], window["end"]) == (700, 701)


def test_of_a_pyramid_the_coarse_level_is_read_and_not_the_finest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["a"]) as position:
        position["0"] = np.full((1, 1, 1, 512, 512), 9, "uint16")
        position.compute_pyramid(levels=4)
        read: list[str] = []
        plain = lamella.ImageArray.__getitem__

        def seen(array: lamella.ImageArray, key: Any) -> Any:
            read.append(array.basename)
            return plain(array, key)

        monkeypatch.setattr(lamella.ImageArray, "__getitem__", seen)
        position.compute_contrast()
    assert set(read) == {"2"}  # 128 x 128; details of 64 x 64 are averaged away


def test_contrast_without_pixels_or_without_names_is_refused(path: Path) -> None:
    with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["a"]) as position:
        with pytest.raises(InvalidArgumentError, match=r"no contrast to compute.*: no image has both"):
            position.compute_contrast()
        position["0"] = np.zeros((1, 1, 1, 8, 8), "complex64")
        with pytest.raises(InvalidArgumentError, match="complex64"):
            position.compute_contrast()
    with lamella.open_ome_zarr(path) as position, pytest.raises(ReadOnlyError):
        position.compute_contrast()


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "uint64", "int64", "float16", "float32", "float64"]
)
def test_a_constant_image_has_a_window_that_is_not_empty(tmp_path, dtype):
    info = np.iinfo(dtype) if "int" in dtype else np.finfo(dtype)
    for number, value in enumerate((0, 7, info.max, info.min, info.max / 2, info.max / 3)):
        with lamella.open_ome_zarr(
            tmp_path / f"{number}.zarr", layout="fov", mode="w", channel_names=["DAPI"]
        ) as position:
            position.create_image("0", np.full((1, 1, 1, 8, 8), value, dtype))
            window = position.compute_contrast()["DAPI"]
        assert all(np.isfinite(list(window.values())))
        assert window["min"] <= window["start"] < window["end"] <= window["max"]
        assert window["start"] <= float(np.dtype(dtype).type(value)) <= window["end"]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 40])
def test_channels_without_names_have_colours_of_their_own(tmp_path, count):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((count, 8, 8), "uint8"), imagej=True, metadata={"axes": "CYX"}
    )
    lamella.convert(tmp_path / "a.tif", tmp_path / "a.zarr")
    lamella.open_ome_zarr(
        tmp_path / "b.zarr", layout="fov", mode="w", channel_names=[f"channel_{n}" for n in range(count)]
    ).close()
    for name in ("a.zarr", "b.zarr"):
        with lamella.open_ome_zarr(tmp_path / name) as position:
            colors = [channel.color for channel in position.metadata.omero.channels]
        assert len(set(colors)) == count


def test_previews_show_pixels_as_convert_does(tmp_path):
    from lamella.ops.display.render import auto_window

    pixels = np.random.default_rng(0).integers(0, 5000, (100, 100)).astype("uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    lamella.convert(tmp_path / "a.tif", tmp_path / "a.zarr")
    with lamella.open_ome_zarr(tmp_path / "a.zarr") as position:
        window = position.metadata.omero.channels[0].window
    assert auto_window(pixels) == (window["start"], window["end"])


def test_a_channel_of_a_colour_image_has_a_contrast_of_its_own(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 40, (3, 32, 32), dtype="uint8")
    names = ["Red", "Green", "Blue"]
    with lamella.write_image(tmp_path / "a.zarr", pixels, axes="cyx", channels=names) as image:
        image.zattrs["lamella"] = {"samples": "rgb"}
        for name in names:
            image.set_channel(name, window=(0, 255))
        assert image.compute_contrast()["Green"]["end"] == 255
        green = image.subset(tmp_path / "green.zarr", channels=["Green"])
        image.delete_channel("Red")
        for part in (green, image):
            assert part.compute_contrast()["Green"]["end"] < 40
