"""The viewer as a person sees it: pixels of the screen against values of the store, keys, links, damage."""

from __future__ import annotations

import re

import numpy as np
import pytest

import lamella
from lamella.errors import DamagedDataError
from pictures import look_at, screen

COLORS = {"DAPI": (0, 0, 255), "GFP": (0, 255, 0)}
WINDOWS = {"DAPI": (100, 1100), "GFP": (0, 2000)}


def write_plate(path, wells=6, fields=2, side=128):
    """Write a plate whose fields all differ, with stored windows and colours."""
    rng = np.random.default_rng(0)
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=list(COLORS), version="0.5"
    ) as plate:
        specs = [("AB"[w // 3], str(w % 3 + 1), str(f)) for w in range(wells) for f in range(fields)]
        for position in plate.create_positions(specs):
            position["0"] = rng.integers(0, 2000, (2, 2, 3, side, side), "uint16")
            position.compute_pyramid(levels=2)
            for name, (low, high) in WINDOWS.items():
                window = {"start": low, "end": high, "min": 0, "max": 65535}
                position.set_contrast_limits(name, window)
                position.set_channel(name, color="{:02X}{:02X}{:02X}".format(*COLORS[name]))
    return path


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """A plate of 2 x 3 wells with two fields each."""
    with lamella.open_ome_zarr(write_plate(tmp_path_factory.mktemp("view") / "plate.zarr")) as node:
        yield node


@pytest.fixture
def opened(browser, plate):
    """The plate on the screen."""
    browser.leave()
    with lamella.view(plate, browser=False) as viewer:
        browser.open(viewer.url)
        yield browser
        assert browser.problems() == []
        # Requests of the page before may still be reported here: what counts is that none leaves this machine.
        inside = ("http://127.0.0.1:", "blob:", "data:", "about:")
        assert [url for url in browser.requests() if not url.startswith(inside)] == []


def expected(pixels):
    """Blend channels (C, Y, X) as the windows and colours of the plate say."""
    total = np.zeros((*pixels.shape[1:], 3))
    for plane, name in zip(pixels, COLORS, strict=True):
        low, high = WINDOWS[name]
        level = np.clip((plane.astype(float) - low) / (high - low), 0, 1)
        total += level[..., None] * np.array(COLORS[name])
    return np.minimum(total, 255)


def test_pixels_on_the_screen_are_those_of_the_store_through_the_window(opened, plate):
    scene = opened.run("lamella.scene")
    path, _, left, top, *_ = scene["fields"][7]
    stage = opened.run("[document.getElementById('pixels').width, document.getElementById('pixels').height]")
    margin = 60  # names of rows, columns and wells lie at the edges of the screen and of the well
    for zoom, t, z in [(4, 0, 1), (4, 1, 2), (1, 0, 0)]:
        # The corner of the field lies at a whole pixel of the screen.
        x, y = (margin / zoom - half / 2 / zoom for half in stage)
        look_at(opened, left - x, top - y, zoom, t=t, z=z)
        pixels = expected(plate[path]["0"][t, :, z]).repeat(zoom, axis=0).repeat(zoom, axis=1)
        rows, columns = min(pixels.shape[0], 600), min(pixels.shape[1], 600)
        shown = screen(opened)[margin : margin + rows, margin : margin + columns].astype(float)
        assert np.abs(shown - pixels[:rows, :columns])[24:].max() <= 1


def test_a_maximum_over_z_and_a_change_of_contrast_fetch_what_they_must(opened, plate):
    look_at(
        opened, *[v / 2 for v in (opened.run("lamella.scene.width"), opened.run("lamella.scene.height"))], 0.5
    )
    before = opened.run("lamella.pixels.requests")
    opened.run("lamella.state.channels[0].window = [0, 50]; lamella.state.changed()")
    opened.drawn()
    assert opened.run("lamella.pixels.requests") == before  # contrast needs no pixel
    opened.key("m")
    opened.drawn()
    assert opened.run("lamella.state.z") == "max"
    assert opened.run("lamella.pixels.requests") > before


def test_lines_are_drawn_again_where_they_change_and_not_for_a_contrast(opened):
    opened.key("0")
    opened.drawn()
    opened.run(
        "var frames = 0, lines = lamella.over.getContext('2d'), clear = lines.clearRect.bind(lines);"
        "lines.clearRect = (...box) => { frames++; clear(...box); }"
    )
    for change, drawn in [
        ("lamella.state.channels[0].window = [0, 60]", 0),
        ("lamella.state.camera.x += 9", 1),
        ("lamella.act.theme()", 1),
        ("lamella.state.heat = {table: 't', column: 'c', values: [1, 2, 3, 4, 5, 6]}", 1),
        ("lamella.state.heat = null", 1),
        ("lamella.damaged.set(0, 'damaged')", 1),
        ("lamella.damaged.clear()", 1),
        ("lamella.act.theme()", 1),
    ]:
        assert (change, opened.run(f"frames = 0; {change}; lamella.draw(); frames")) == (change, drawn)


def test_every_field_of_the_plate_is_drawn(opened):
    opened.key("0")
    opened.drawn()
    shown = screen(opened)
    camera = opened.run("lamella.state.camera")
    size = opened.run("[document.getElementById('pixels').width, document.getElementById('pixels').height]")
    for path, _, left, top, width, height, *_ in opened.run("lamella.scene.fields"):
        x = (left + width / 2 - camera["x"]) * camera["zoom"] + size[0] / 2
        y = (top + height / 2 - camera["y"]) * camera["zoom"] + size[1] / 2
        around = shown[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
        assert around[..., 1:].max() > 40, path


def test_a_double_click_goes_to_the_field_and_keys_walk_through_the_plate(opened):
    opened.key("0")
    opened.drawn()
    camera, size = opened.run("lamella.state.camera"), opened.run("[innerWidth - 264, innerHeight]")
    _, _, left, top, width, height, *_ = opened.run("lamella.scene.fields")[3]
    x = (left + width / 2 - camera["x"]) * camera["zoom"] + size[0] / 2
    y = (top + height / 2 - camera["y"]) * camera["zoom"] + size[1] / 2
    opened.double_click(x, y)
    opened.drawn()
    assert opened.run("lamella.state.camera.x") == pytest.approx(left + width / 2)
    opened.key(".")
    opened.drawn()
    assert opened.run("lamella.state.camera.x") == pytest.approx(
        opened.run("lamella.scene.fields[4][2]") + width / 2
    )
    opened.key("ArrowDown", modifiers=1)
    opened.drawn()
    assert opened.run("lamella.state.camera.y") > top + 1.2 * height
    opened.key("1")
    assert opened.run("lamella.state.channels[0].active") is False


def test_a_link_reproduces_the_view(opened):
    look_at(opened, 100, 120, 2.5, t=1, z="max")
    opened.run("lamella.state.channels[1].active = false; lamella.state.channels[0].color = 'FF8000'")
    link = opened.run("location.href.split('#')[0] + '#' + lamella.state.toHash()")
    opened.run("lamella.state.changed()")
    opened.drawn()
    before = screen(opened)
    opened.call("Page.navigate", url="about:blank")
    opened.open(link)
    assert opened.run("[lamella.state.t, lamella.state.z, lamella.state.channels[1].active]") == [
        1,
        "max",
        False,
    ]
    assert np.abs(screen(opened)[:, :1000].astype(int) - before[:, :1000]).max() <= 1


def test_copied_python_reads_the_region_on_the_screen(opened, plate):
    look_at(opened, 64, 64, 8, t=0, z=1)
    opened.run("lamella.act.python()")
    names = {}
    exec(opened.run("document.body.dataset.python"), names)  # what a user would paste
    assert names["position"].path == "A/1/0"
    region = names["region"]
    assert region.shape[0] == 2
    rows = int(720 / 8)
    assert np.array_equal(
        region,
        plate["A/1/0"]["0"][
            0,
            :,
            1,
            64 - rows // 2 : 64 + rows // 2,
            64 - region.shape[2] // 2 : 64 - region.shape[2] // 2 + region.shape[2],
        ],
    )


@pytest.mark.parametrize("zoom", [0.37, 3, 41])
def test_the_scale_bar_is_as_long_as_it_says(opened, zoom):
    look_at(opened, 64, 64, zoom)
    text = opened.run("document.getElementById('lines').ariaLabel")
    number, unit = re.fullmatch(r"Scale bar: (\S+) (nm|µm|mm)", text).groups()
    micrometers = float(number) * {"nm": 1e-3, "µm": 1, "mm": 1e3}[unit]
    bar = screen(opened)[701, 600:1010].min(axis=1) > 200
    assert bar.sum() == pytest.approx(micrometers * zoom, abs=1.1)


@pytest.mark.parametrize("number", [7, 2**40])
def test_labels_lie_over_the_image_and_name_their_id(browser, tmp_path, number):
    mask = np.zeros((1, 64, 64), "uint64")
    mask[0, 10:40, 20:50] = number
    lamella.write_image(tmp_path / "cells.zarr", np.zeros((1, 64, 64), "uint8"), axes="zyx")
    with lamella.open(tmp_path / "cells.zarr", "r+") as image:
        image.labels["cells"] = mask
        image.labels["cells"].set_properties({number: {"class": "mitotic"}})
        with lamella.view(image, browser=False) as viewer:
            browser.open(viewer.url)
            browser.key("l")
            browser.drawn()
            look_at(browser, 32, 32, 8)
            shown = screen(browser)
            middle = shown[360, 504].astype(int)
            assert middle.max() > 40  # a tint
            assert shown[360 - 28 * 8, 504].max() == 0  # outside of the object
            browser.mouse("mouseMoved", 504, 360)
            assert f"cells {number}" in browser.run("document.getElementById('cursor').textContent")
            browser.wait("document.getElementById('cursor').textContent.includes('class mitotic')")
            assert browser.problems() == []


def test_a_damaged_and_an_empty_field_are_shown_as_such(browser, tmp_path):
    path = write_plate(tmp_path / "plate.zarr", wells=2, fields=1)
    with lamella.open_ome_zarr(path, mode="r+") as plate:
        plate.create_position("B", "2", "0")
    for chunk in (path / "A/2/0").rglob("c/**/*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    with lamella.open_ome_zarr(path) as plate:
        with pytest.raises(DamagedDataError):
            plate["A/2/0"]["0"][0, 0]
        with lamella.view(plate, browser=False) as viewer:
            browser.open(viewer.url)
            listed = browser.run("document.getElementById('problems').textContent")
    assert "A/2/0" in listed
    assert "B/2/0: No pixels are written yet." in listed
