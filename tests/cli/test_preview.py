"""``lamella preview``: every pixel where it belongs, and every wrong call a clear line and no file."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from PIL import Image

import lamella
from lamella.adapters import png
from lamella.adapters.page import BACKGROUND, DAMAGE, EMPTY, FAINT, TEXT, Page, elided, text_width
from lamella.cli import main
from lamella.models import axes
from lamella.ops.display.preview_plate import plan_plate


def run(*arguments):
    return CliRunner().invoke(main, ["preview", *(str(argument) for argument in arguments)])


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def write_image(path, data, names="cyx", channels=("A",), colors=("FFFFFF",), window=(0, 255), **kwargs):
    """An image of 8 bits whose values are what is seen: window 0 to 255."""
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=list(channels), axes=axes(names), version="0.5", **kwargs
    ) as position:
        position.create_image("0", data)
        style(position, colors, window)
    return path


def style(position, colors, window):
    for channel, color in zip(position.metadata.omero.channels, colors, strict=True):
        channel.color, channel.active = color, True
        channel.window = {"start": window[0], "end": window[1], "min": 0, "max": 255}
    position.dump_meta()


@pytest.fixture
def image(tmp_path):
    """Two channels, red and green, of 2 x 3 flat blocks of 8 x 8 pixels."""
    red = np.kron([[10, 200, 30], [40, 50, 60]], np.ones((8, 8)))
    green = np.kron([[200, 5, 15], [25, 35, 45]], np.ones((8, 8)))
    return write_image(
        tmp_path / "image.zarr",
        np.stack([red, green]).astype("uint8"),
        channels=("R", "G"),
        colors=("FF0000", "00FF00"),
    )


GREYS = {"A/1/0": 40, "A/1/1": 80, "A/3/0": 120, "B/2/0": 160, "B/2/1": 200, "B/3/0": 240}


@pytest.fixture(params=["0.4", "0.5"])
def plate(request, tmp_path):
    """Rows A and B, columns 1 to 3: flat grey fields, wells A/2 and B/1 not imaged."""
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(
        path,
        layout="hcs",
        mode="w",
        channel_names=["DAPI"],
        axes=axes("cyx"),
        version=request.param,
        plate_name="drugs",
    ) as node:
        for name, grey in GREYS.items():
            row, column, field = name.split("/")
            position = node.create_position(row, column, field, "AB".index(row), int(column) - 1)
            position["0"] = np.full((1, 16, 12), grey, "uint8")
            style(position, ["FFFFFF"], (0, 255))
    return path


def montage_of(path, size=None):
    """The layout that the command uses for a plate of fields of 16 x 12 pixels."""
    plan = plan_plate(lamella.open_ome_zarr(path))
    return plan, png.layout(plan, 16 / 12, size or 900)


def block(picture, box):
    return picture[box.top : box.bottom, box.left : box.right]


# -- an image -----------------------------------------------------------------------------------------------------


def test_the_composite_of_an_image_is_on_the_page(image, tmp_path):
    result = run(image, "-o", tmp_path / "out.png", "--size", "48")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"Wrote {tmp_path / 'out.png'}.\n", "")
    data = lamella.open_ome_zarr(image)["0"].numpy()
    expected = (
        np.stack([data[0], data[1], np.zeros_like(data[0])], axis=-1).repeat(2, axis=0).repeat(2, axis=1)
    )
    picture = pixels(tmp_path / "out.png")
    windows = np.lib.stride_tricks.sliding_window_view(picture, expected.shape).reshape(-1, *expected.shape)
    assert (windows == expected).all(axis=(1, 2, 3)).sum() == 1


@pytest.mark.parametrize(("size", "larger"), [(None, 512), (96, 96), (12, None), (16, 16)])
def test_the_larger_side_is_as_asked(image, tmp_path, size, larger):
    result = run(image, "-o", tmp_path / "out.png", *([] if size is None else ["--size", size]))
    if larger is None:
        assert result.exit_code == 2
        return
    lit = (pixels(tmp_path / "out.png") == (200, 5, 0)).all(axis=-1)
    assert lit.any(axis=0).sum() == pytest.approx(larger / 3, abs=1)
    assert lit.any(axis=1).sum() == pytest.approx(larger / 3, abs=1)


def test_a_single_channel_is_chosen_by_name_and_drawn_grey(image, tmp_path):
    assert run(image, "-o", tmp_path / "out.png", "--channels", "g").exit_code == 0
    picture = pixels(tmp_path / "out.png")
    assert ((picture == (200, 200, 200)).all(axis=-1)).any()
    assert not ((picture == (200, 5, 0)).all(axis=-1)).any()


def test_blue_beside_other_channels_is_lighter_than_0000ff(tmp_path):
    data = np.zeros((2, 8, 8), "uint8")
    data[0] = 255
    path = write_image(tmp_path / "a.zarr", data, channels=("B", "R"), colors=("0000FF", "FF0000"))
    picture = np.asarray(lamella.open_ome_zarr(path).preview(size=64))
    assert (picture == (0x33, 0x66, 0xFF)).all(axis=-1).sum() >= 64 * 64
    assert not (picture == (0, 0, 255)).all(axis=-1).any()


def test_preview_returns_the_picture_that_the_command_writes(image, plate, tmp_path):
    options = {"channels": ["G"], "region": {"x": (8, 24), "y": (None, -8)}}
    picture = lamella.open_ome_zarr(image).preview(**options, size=64)
    run(image, "-o", tmp_path / "a.png", "--channels", "G", "--region", "x=8:24,y=:-8", "--size", 64)
    assert (np.asarray(picture) == pixels(tmp_path / "a.png")).all()
    run(plate, "-o", tmp_path / "b.png")
    lamella.open_ome_zarr(plate).preview(tmp_path / "c.png")
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    assert (np.asarray(lamella.open_ome_zarr(plate)["A"].preview())).shape[2] == 3


def test_a_region_of_a_level_is_drawn_pixel_by_pixel(tmp_path):
    data = np.arange(64 * 64).reshape(1, 64, 64) % 251
    path = write_image(tmp_path / "a.zarr", data.astype("uint8"))
    with lamella.open_ome_zarr(path, mode="r+") as position:
        position.compute_pyramid(2, method="stride")
        level = position["1"].numpy()[0]
        for name, region, expected in (
            ("1", {"y": (8, 48), "x": (16, 64)}, level[4:24, 8:32]),
            ("0", {"x": (-5, None)}, data[0, :, 59:]),
        ):
            picture = np.asarray(position.preview(level=name, region=region))
            grey = np.repeat(expected[..., None], 3, axis=-1)
            windows = np.lib.stride_tricks.sliding_window_view(picture, grey.shape)
            assert (windows.reshape(-1, *grey.shape) == grey).all(axis=(1, 2, 3)).sum() == 1
        with pytest.raises(lamella.errors.NodeNotFoundError, match="no level '7'"):
            position.preview(level=7)
        for region in ({"x": (10, 5)}, {"x": (0, 65)}, {"x": "all"}, [1]):
            with pytest.raises((lamella.errors.InvalidArgumentError, TypeError), match="region"):
                position.preview(region=region)


def test_labels_of_a_region_lie_where_its_pixels_are(tmp_path):
    path = write_image(tmp_path / "a.zarr", np.zeros((1, 64, 64), "uint8"))
    ids = np.zeros((64, 64), "uint8")
    ids[40:48, 8:16] = 3
    with lamella.open_ome_zarr(path, mode="r+") as position:
        position.labels.create("cells", ids, colors={3: (255, 100, 50)})
        picture = np.asarray(position.preview(label="cells", size=32, region={"y": (32, 64), "x": (0, 32)}))
    box = np.argwhere((picture == (255, 100, 50)).all(axis=-1))
    assert np.ptp(box, axis=0).tolist() == [7, 7]
    assert picture.shape[0] > 32


def test_the_maximum_over_z_is_drawn(tmp_path):
    data = np.random.default_rng(0).integers(0, 200, (1, 5, 8, 8)).astype("uint8")
    path = write_image(tmp_path / "a.zarr", data, names="czyx")
    assert run(path, "-o", tmp_path / "out.png", "--z", "max", "--size", 16).exit_code == 0
    grey = data.max(axis=(0, 1)).repeat(2, axis=0).repeat(2, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels(tmp_path / "out.png")[..., 0], (16, 16))
    assert (windows == grey).all(axis=(2, 3)).any()


def test_stale_levels_are_not_drawn(tmp_path):
    path = write_image(tmp_path / "a.zarr", np.zeros((1, 64, 64), "uint8"))
    with lamella.open_ome_zarr(path, mode="r+") as position:
        position.compute_pyramid(3)
        position["0"][...] = 201
        assert (np.asarray(position.preview(size=16)) == 201).all(axis=-1).sum() >= 256


def test_the_labels_are_named_in_the_legend(image, tmp_path, monkeypatch):
    drawn = []
    text = Page.text
    monkeypatch.setattr(
        Page,
        "text",
        lambda self, x, y, words, *a, **k: (drawn.append(words), text(self, x, y, words, *a, **k)),
    )
    with lamella.open_ome_zarr(image, mode="r+") as position:
        position.labels.create("cells", np.ones((16, 24), "uint8"))
        position.set_scale({"x": 0.5, "y": 0.5})
        position.set_unit("micrometer")
        position.preview(label="cells")
    assert "cells (labels)" in drawn
    assert drawn[-1] == "2 µm"


def test_the_micro_sign_is_a_letter_u_with_a_stem_below_the_line():
    def ink(words):
        page = Page(40, 60)
        page.text(5, 20, words, 20)
        return (np.asarray(page.image) != BACKGROUND).any(axis=-1)

    u, micro = ink("um"), ink("µm")
    assert (micro & u).sum() == u.sum()
    below = np.argwhere(micro & ~u)
    assert below[:, 0].min() > np.argwhere(u)[:, 0].max()
    assert below[:, 1].min() == np.argwhere(u)[:, 1].min()


def test_fields_are_at_the_same_spot_in_every_well(plate, tmp_path):
    with lamella.open_ome_zarr(plate, mode="r+") as node:
        lone = node.create_position("B", "1", "1", 1, 0)
        lone["0"] = np.full((1, 16, 12), 90, "uint8")
        style(lone, ["FFFFFF"], (0, 255))
    run(plate, "-o", tmp_path / "out.png")
    picture = pixels(tmp_path / "out.png")
    _, montage = montage_of(plate)
    assert (block(picture, montage.field(1, 0, 1))[2:-2, 2:-2] == 90).all()
    assert (block(picture, montage.field(1, 0, 0)) == EMPTY).all()


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e308])
def test_an_image_with_an_extreme_size_is_drawn_without_a_scale_bar(image, tmp_path, size):
    document = image / "zarr.json"
    text = json.loads(document.read_text())
    (scales,) = text["attributes"]["ome"]["multiscales"]
    scales["axes"] = [
        axis | ({"unit": "micrometer"} if axis["type"] == "space" else {}) for axis in scales["axes"]
    ]
    scales["datasets"][0]["coordinateTransformations"][0]["scale"] = [1, size, size]
    document.write_text(json.dumps(text))
    assert run(image, "-o", tmp_path / "a.png").exit_code == 0
    assert (pixels(tmp_path / "a.png") > 100).any()


def test_a_plate_has_a_scale_bar_where_all_fields_have_one_scale(plate, tmp_path):
    def bar():
        picture = np.asarray(lamella.open_ome_zarr(plate).preview())
        lit = (picture[montage.height :] == TEXT).all(axis=-1)
        return max(
            (len(run) for line in lit for run in "".join("01"[int(v)] for v in line).split("0")), default=0
        )

    _, montage = montage_of(plate)
    with lamella.open_ome_zarr(plate, mode="r+") as node:
        node.set_scale({"y": 0.5, "x": 0.5})
    per_pixel = 0.5 * 12 / montage.field(0, 0, 0).width
    assert bar() == pytest.approx(next(n for n in (5, 2, 1, 0.5) if n <= 75 * per_pixel) / per_pixel, abs=1)
    with lamella.open_ome_zarr(plate, mode="r+") as node:
        node["B/3/0"].set_scale("0", "x", 3.0)
    assert bar() < 20


def test_pixels_are_drawn_in_physical_proportion(tmp_path):
    path = write_image(tmp_path / "a.zarr", np.full((1, 20, 20), 255, "uint8"))
    with lamella.open_ome_zarr(path, mode="r+") as position:
        position.set_scale("0", "y", 0.5)
    assert run(path, "-o", tmp_path / "out.png", "--size", "300").exit_code == 0
    white = (pixels(tmp_path / "out.png") == 255).all(axis=-1)
    assert white.sum(axis=1).max() == 300
    assert white[:, 150].sum() == 150


@pytest.mark.parametrize("option", ["z", "t"])
def test_z_and_t_are_chosen(tmp_path, option):
    greys = 100 + 50 * np.arange(3)[:, None] + np.arange(5)
    data = np.broadcast_to(greys[:, None, :, None, None], (3, 1, 5, 8, 8)).astype("uint8")
    path = write_image(tmp_path / "a.zarr", data, names="tczyx")
    for number, grey in enumerate(greys[:, 2] if option == "t" else greys[0]):
        assert run(path, "-o", tmp_path / "out.png", "--size", 64, f"--{option}", number).exit_code == 0
        assert (pixels(tmp_path / "out.png") == grey).all(axis=-1).sum() >= 64 * 64
    result = run(path, "-o", tmp_path / "none.png", f"--{option}", 9)
    assert result.exit_code == 1
    assert f"There is no {option}=9" in result.stderr


def test_labels_lie_over_the_image(tmp_path):
    path = write_image(tmp_path / "a.zarr", np.zeros((1, 16, 16), "uint8"))
    ids = np.zeros((16, 16), "uint8")
    ids[4:12, 4:12] = 3
    with lamella.open_ome_zarr(path, mode="r+") as position:
        position.labels.create("cells", ids, colors={3: (255, 100, 50)})
    assert run(path, "-o", tmp_path / "out.png", "--label", "cells", "--size", "64").exit_code == 0
    picture = pixels(tmp_path / "out.png")
    outline, inside = ((picture == color).all(axis=-1).sum() for color in ((255, 100, 50), (77, 30, 15)))
    assert outline == 4 * 32 - 4
    assert inside == 30 * 30


def test_any_dtype_is_drawn(tmp_path):
    for dtype in ("bool", "int8", "int32", "uint64", "float16", "float64"):
        path = tmp_path / f"{dtype}.zarr"
        with lamella.open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx")) as position:
            position["0"] = (np.arange(64).reshape(8, 8) % 2 * 3 - 1).astype(dtype)
        assert run(path, "-o", tmp_path / "out.png").exit_code == 0
        picture = pixels(tmp_path / "out.png")
        assert (picture == 255).all(axis=-1).sum() >= 512 * 512 // 2 - 1


# -- plates -------------------------------------------------------------------------------------------------------


def test_every_field_is_in_the_well_of_its_row_and_column(plate, tmp_path):
    result = run(plate, "-o", tmp_path / "out.png")
    assert (result.exit_code, result.stderr) == (0, "")
    picture = pixels(tmp_path / "out.png")
    _, montage = montage_of(plate)
    assert (montage.rows, montage.columns, montage.field_rows * montage.field_columns) == (2, 3, 2)
    for name, grey in GREYS.items():
        row, column, slot = name.split("/")
        box = montage.field("AB".index(row), int(column) - 1, int(slot))
        inner = block(picture, box)[2:-2, 2:-2]
        assert (inner == grey).all(), name


def test_wells_that_were_not_imaged_are_drawn_empty(plate, tmp_path):
    run(plate, "-o", tmp_path / "out.png")
    picture = pixels(tmp_path / "out.png")
    _, montage = montage_of(plate)
    for row, column in ((0, 1), (1, 0)):
        assert (block(picture, montage.well(row, column)) == EMPTY).all()
    assert (block(picture, montage.field(0, 2, 1)) == EMPTY).all()


def test_rows_and_columns_are_labelled_and_the_rest_is_background(plate, tmp_path):
    run(plate, "-o", tmp_path / "out.png")
    picture = pixels(tmp_path / "out.png")
    _, montage = montage_of(plate)
    written = (picture != BACKGROUND).any(axis=-1)
    for row in range(2):
        well = montage.well(row, 0)
        assert written[well.top : well.bottom, : montage.left - 2].any()
    for column in range(3):
        well = montage.well(0, column)
        assert written[: montage.top - 2, well.left : well.right].any()
    assert written[montage.height :].any()  # the footer
    assert not written[:5].any()
    assert not written[-5:].any()
    assert not written[:, -5:].any()


def test_one_window_serves_the_whole_plate(plate, tmp_path):
    with lamella.open_ome_zarr(plate, mode="r+") as node:
        for _, position in node.positions():
            style(position, ["FFFFFF"], (0, 510))
        style(node["A/1/0"], ["FFFFFF"], (0, 10))
    run(plate, "-o", tmp_path / "out.png")
    picture = pixels(tmp_path / "out.png")
    _, montage = montage_of(plate)
    assert (block(picture, montage.field(0, 0, 0))[3:-3, 3:-3] == 20).all()
    assert (block(picture, montage.field(1, 2, 0))[3:-3, 3:-3] == 120).all()


def damaged(plate, name):
    document = plate / name / ("zarr.json" if (plate / "zarr.json").exists() else ".zattrs")
    document.write_text("{")


def test_a_damaged_field_is_crossed_out_and_named(plate, tmp_path):
    damaged(plate, "A/1/1")
    result = run(plate, "-o", tmp_path / "out.png")
    assert result.exit_code == 0
    assert result.stderr.startswith("lamella: warning: A/1/1: ")
    assert result.stderr.count("\n") == 1
    picture = pixels(tmp_path / "out.png")
    _, montage = montage_of(plate)
    crossed = block(picture, montage.field(0, 0, 1))
    assert (crossed[0] == DAMAGE).all()
    assert (crossed[0, 0] == DAMAGE).all()
    middle = crossed[crossed.shape[0] // 2 - 2 : crossed.shape[0] // 2 + 2]
    assert (middle == DAMAGE).all(axis=-1).any()
    assert (block(picture, montage.field(0, 0, 0))[2:-2, 2:-2] == GREYS["A/1/0"]).all()


def test_a_damaged_well_is_crossed_out_as_a_whole(plate, tmp_path):
    damaged(plate, "B/2")
    result = run(plate, "-o", tmp_path / "out.png")
    assert result.exit_code == 0
    assert result.stderr.startswith("lamella: warning: B/2: ")
    picture = pixels(tmp_path / "out.png")
    _, montage = montage_of(plate)
    assert (block(picture, montage.well(1, 1))[0] == DAMAGE).all()


def test_a_damaged_chunk_is_crossed_out_too(plate, tmp_path):
    chunk = next(
        file for file in sorted((plate / "B/3/0/0").rglob("*")) if file.is_file() and file.name == "0"
    )
    chunk.write_bytes(b"no chunk")
    result = run(plate, "-o", tmp_path / "out.png")
    assert result.exit_code == 0
    assert result.stderr.startswith("lamella: warning: B/3/0: ")


def test_when_no_field_can_be_drawn_there_is_no_picture(plate, tmp_path):
    for name in ("A/1", "A/3", "B/2", "B/3"):
        damaged(plate, name)
    result = run(plate, "-o", tmp_path / "out.png")
    assert result.exit_code == 1
    assert "No field of drugs can be drawn. A/1: " in result.stderr
    assert not (tmp_path / "out.png").exists()


def test_fields_without_the_labels_are_drawn_and_named(plate, tmp_path):
    with lamella.open_ome_zarr(plate, mode="r+") as node:
        node["A/1/0"].labels.create("cells", np.ones((16, 12), "uint8"), colors={1: (255, 0, 0)})
    result = run(plate, "-o", tmp_path / "out.png", "--label", "cells")
    assert result.exit_code == 0
    assert [line.split(": ")[2] for line in result.stderr.splitlines()] == [
        name for name in GREYS if name != "A/1/0"
    ]
    picture = pixels(tmp_path / "out.png")
    _, montage = montage_of(plate)
    red, _, blue = block(picture, montage.field(0, 0, 0))[10, 10].astype(int)
    assert red > blue
    assert (block(picture, montage.field(1, 1, 0))[2:-2, 2:-2] == GREYS["B/2/0"]).all()


def test_a_field_without_pixels_is_crossed_out_in_grey_as_in_the_viewer(plate, tmp_path):
    with lamella.open_ome_zarr(plate, mode="r+") as node:
        node.create_position("A", "2", "0", 0, 1)
    result = run(plate, "-o", tmp_path / "out.png")
    assert result.exit_code == 0
    assert result.stderr.startswith("lamella: warning: A/2/0: ")
    picture = pixels(tmp_path / "out.png")
    assert not (picture == DAMAGE).all(axis=-1).any()
    assert (block(picture, montage_of(plate)[1].field(0, 1, 0))[0] == FAINT).all()


def test_an_empty_plate_is_drawn(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["DAPI"]) as node:
        node.create_well("A", "1")
    result = run(tmp_path / "p.zarr", "-o", tmp_path / "out.png")
    assert result.exit_code == 0
    assert (pixels(tmp_path / "out.png") == EMPTY).all(axis=-1).any()


@pytest.mark.parametrize("member", ["A", "A/1"])
def test_a_row_or_a_well_is_drawn_alone(plate, tmp_path, member):
    result = run(plate / member, "-o", tmp_path / "out.png")
    assert result.exit_code == 0
    picture = pixels(tmp_path / "out.png")
    seen = {grey for grey in GREYS.values() if (picture == grey).all(axis=-1).sum() > 1000}
    assert seen == ({40, 80, 120} if member == "A" else {40, 80})


def test_a_collection_is_drawn_as_the_fields_of_one_well(tmp_path):
    path = tmp_path / "scan.zarr"
    zarr.create_group(path, zarr_format=3, attributes={"ome": {"version": "0.5", "bioformats2raw.layout": 3}})
    for name, grey in (("0", 90), ("1", 190)):
        write_image(path / name, np.full((1, 8, 8), grey, "uint8"), disable_path_checking=True)
    result = run(path, "-o", tmp_path / "out.png")
    assert result.exit_code == 0
    picture = pixels(tmp_path / "out.png")
    for grey in (90, 190):
        assert (picture == grey).all(axis=-1).sum() > 1000


@pytest.mark.parametrize("size", [100, 400, 1500])
def test_the_size_of_a_plate_is_that_of_its_wells_together(plate, tmp_path, size):
    assert run(plate, "-o", tmp_path / "out.png", "--size", size).exit_code == 0
    _, montage = montage_of(plate, size)
    first, last = montage.well(0, 0), montage.well(1, 2)
    wide, high = last.right - first.left, last.bottom - first.top
    assert 0.9 * size - 12 <= max(wide, high) <= size + 12
    assert pixels(tmp_path / "out.png").shape[1] >= montage.width


# -- files --------------------------------------------------------------------------------------------------------


def test_an_older_picture_is_replaced_and_nothing_else_is_left(image, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "out.png").write_text("old")
    assert run(image, "-o", folder / "out.png").exit_code == 0
    assert pixels(folder / "out.png").any()
    assert os.listdir(folder) == ["out.png"]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(image, tmp_path, monkeypatch):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "out.png").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(png.os, "replace", full)
    result = run(image, "-o", folder / "out.png")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert (folder / "out.png").read_text() == "old"
    assert os.listdir(folder) == ["out.png"]


def refused(result, *words, exit_code=1):
    assert result.exit_code == exit_code
    assert result.stderr.startswith("lamella: error: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("place", ["", "A", "A/1", "A/1/0/0", "A/1/0/labels"])
def test_a_picture_inside_a_store_is_refused(plate, place):
    (plate / place).mkdir(exist_ok=True)
    before = sorted(plate.rglob("*"))
    refused(run(plate, "-o", plate / place / "out.png"), "a file of the store")
    refused(run(plate / "A" / "1" / "0", "-o", plate / place / "out.png"), "a file of the store")
    assert sorted(plate.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs symbolic links")
def test_a_link_into_a_store_is_seen_through(image, tmp_path):
    (tmp_path / "link").symlink_to(image / "0", target_is_directory=True)
    refused(run(image, "-o", tmp_path / "link" / "out.png"), "a file of the store")


def test_a_missing_folder_is_named(image, tmp_path):
    refused(run(image, "-o", tmp_path / "none" / "out.png"), str(tmp_path / "none"), "does not exist")


@pytest.mark.parametrize("name", ["out.jpg", "out", "out.png.txt"])
def test_another_format_is_refused(image, tmp_path, name):
    refused(run(image, "-o", tmp_path / name), "ends in .png")


def test_a_folder_is_no_file(image, tmp_path):
    (tmp_path / "out.png").mkdir()
    refused(run(image, "-o", tmp_path / "out.png"), "it is a folder")


def test_no_store_is_one_line(tmp_path):
    result = run(tmp_path / "none.zarr", "-o", tmp_path / "out.png")
    refused(result, "There is no store at", "none.zarr", exit_code=2)


def test_an_unknown_channel_is_refused(image, plate, tmp_path):
    refused(run(image, "-o", tmp_path / "out.png", "--channels", "R,Cy5"), "no channel 'Cy5'", "'R', 'G'")
    refused(run(plate, "-o", tmp_path / "out.png", "--channels", "Cy5"), "no channel 'Cy5'", "'DAPI'")
    assert "names nothing" in run(image, "-o", tmp_path / "out.png", "--channels", " , ").stderr
    assert not (tmp_path / "out.png").exists()


def test_unknown_labels_are_refused(image, tmp_path):
    refused(run(image, "-o", tmp_path / "out.png", "--label", "cells"), "'cells'")


def test_an_image_without_pixels_is_refused(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["A"]):
        pass
    refused(run(tmp_path / "a.zarr", "-o", tmp_path / "out.png"), "has no image yet")


def test_the_group_of_labels_is_no_picture(image, tmp_path):
    with lamella.open_ome_zarr(image, mode="r+") as position:
        position.labels.create("cells", np.ones((16, 24), "uint8"))
    refused(run(image / "labels", "-o", tmp_path / "out.png"), "cannot be drawn")


@pytest.mark.filterwarnings("ignore::lamella.errors.MetadataWarning")  # LB-05
def test_labels_that_are_no_integers_are_refused(image, tmp_path):
    with lamella.open_ome_zarr(image, mode="r+") as position:
        position.labels.create("cells", np.ones((16, 24), "uint8"))
    document = image / "labels" / "cells" / "0" / "zarr.json"
    changed = json.loads(document.read_text())
    changed["data_type"] = "float32"
    document.write_text(json.dumps(changed))
    refused(run(image, "-o", tmp_path / "out.png", "--label", "cells"), "not integers")


@pytest.mark.parametrize(
    "arguments",
    [["--size", "0"], ["--size", "99999"], ["--z", "-1"], ["--t", "x"], ["--region", "x=1"]],
    ids=" ".join,
)
def test_impossible_options_are_usage_errors(image, tmp_path, arguments):
    assert run(image, "-o", tmp_path / "out.png", *arguments).exit_code == 2


def test_without_an_output_it_is_a_usage_error(image):
    assert run(image).exit_code == 2


def test_without_pillow_it_says_what_to_install(image, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    refused(run(image, "-o", tmp_path / "out.png"), 'pip install "lamella[preview]"')


def test_as_a_process_of_its_own(image, tmp_path):
    command = [sys.executable, "-m", "lamella", "preview", str(image), "-o", "out.png", "--size", "48"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Wrote out.png.\n", "")
    assert pixels(tmp_path / "out.png").any()


@pytest.mark.parametrize("width", [0, 20, 60, 1000])
def test_a_long_name_is_shortened_to_its_room(width):
    words = elided("a very long name of a channel\nwith a line break", width, 13)
    assert "\n" not in words
    assert text_width(words, 13) <= max(width, 0)
