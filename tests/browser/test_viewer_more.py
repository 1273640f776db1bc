"""What the viewer shows beyond pixels: acquisitions, slices, 3-D, contrast of wells, heat maps, palettes, streams."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import lamella
from lamella.adapters.viewer.answers import Answers
from lamella.errors import StorageError
from pictures import look_at, screen

SIDE = 64


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A plate of 1 x 2 wells, (C, Z, Y, X) = (1, 4, 64, 64): one acquisition more in A/1, labels, a table.

    The second well is ten times as bright, and one chunk of it is not written.
    """
    path = tmp_path_factory.mktemp("more") / "plate.zarr"
    acquisitions = [lamella.AcquisitionMeta(id=0, name="day 1"), lamella.AcquisitionMeta(id=1, name="day 2")]
    rng = np.random.default_rng(3)
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI"], version="0.5", acquisitions=acquisitions
    ) as plate:
        for column, field, day, factor in (("1", "0", 0, 1), ("1", "1", 1, 1), ("2", "0", 0, 10)):
            position = plate.create_position("A", column, field, acq_index=day)
            position.create_zeros("0", (1, 1, 4, SIDE, SIDE), "uint16", chunks=(1, 1, 1, 32, 32))
            pixels = (rng.integers(20, 100, (4, SIDE, SIDE)) * factor).astype("uint16")
            position["0"][0, 0, :, :32] = pixels[:, :32]
            position["0"][0, 0, :, 32:, :32] = pixels[:, 32:, :32]
            if column == "1":
                position["0"][0, 0, :, 32:, 32:] = 0
            position.set_contrast_limits("DAPI", {"start": 0, "end": 1000, "min": 0, "max": 65535})
            position.set_scale("0", "z", 2.0)
        mask = np.zeros((1, 4, SIDE, SIDE), "uint16")
        mask[..., 8:24, 8:24] = 3
        cells = plate["A/1/0"].labels.create("cells", mask, colors={3: (250, 120, 10)})
        cells.set_properties({3: {"class": "mitotic"}})
        plate.tables["layout"] = {"well": ["A1", "A2"], "dose": [1.0, 9.0]}
    return path


def field(browser, path):
    """Return the left and top of a field on the canvas."""
    return next(area[2:4] for area in browser.run("lamella.scene.fields") if area[0] == path)


def pixel_at(browser, x, y):
    """Return the colour of the screen at a point of the canvas."""
    camera = browser.run("lamella.state.camera")
    width, height = browser.run("[lamella.canvas.width, lamella.canvas.height]")
    column, row = (
        (x - camera["x"]) * camera["zoom"] + width / 2,
        (y - camera["y"]) * camera["zoom"] + height / 2,
    )
    return screen(browser)[int(row), int(column)].astype(int)


def test_acquisitions_are_shown_one_at_a_time(opened):
    assert opened.run("[...document.getElementById('acquisition').options].map((o) => o.text)") == [
        "day 1",
        "day 2",
    ]
    left, top = field(opened, "A/2/0")
    look_at(opened, left + 16, top + 16, 8)
    assert pixel_at(opened, left + 16.5, top + 16.5).max() > 40
    opened.run("document.getElementById('acquisition').value = '1'")
    opened.run("document.getElementById('acquisition').dispatchEvent(new Event('change'))")
    opened.drawn()
    assert (
        pixel_at(opened, left + 16.5, top + 16.5).max() < 30
    )  # nothing but the ground: the well has one day only
    assert "a=1" in opened.run("lamella.state.toHash()")


def test_chunks_that_are_not_written_are_hatched_and_stored_zeros_are_black(opened):
    left, top = field(opened, "A/2/0")
    look_at(opened, left + 48, top + 48, 8)
    shown = screen(opened)[300:420, 440:560]
    assert {30, 70} <= set(np.unique(shown))
    opened.mouse("mouseMoved", 500, 360)
    assert "not written" in opened.run("document.getElementById('cursor').textContent")
    left, top = field(opened, "A/1/0")
    look_at(opened, left + 48, top + 48, 8)
    assert screen(opened)[300:420, 440:560].max() == 0


def test_labels_have_their_stored_colours_or_safe_ones_and_show_their_properties(opened):
    left, top = field(opened, "A/1/0")
    opened.run("lamella.state.label = 'cells'; lamella.state.opacity = 1")
    look_at(opened, left + 16, top + 16, 8)
    assert pixel_at(opened, left + 16.5, top + 16.5).tolist() == [250, 120, 10]
    opened.mouse("mouseMoved", 504, 360)
    opened.wait("document.getElementById('cursor').textContent.includes('class mitotic')")
    opened.run("document.getElementById('label-palette').value = 'safe'")
    opened.run("document.getElementById('label-palette').dispatchEvent(new Event('change'))")
    opened.drawn()
    assert pixel_at(opened, left + 16.5, top + 16.5).tolist() == [0xF0, 0xE4, 0x42]


def test_properties_of_a_label_that_failed_to_load_are_requested_again(browser, store, monkeypatch):
    browser.leave()
    answer, failures = Answers._label, ["The bucket lab is busy."]

    def fail_once(*arguments):
        if failures:
            raise StorageError(failures.pop())
        return answer(*arguments)

    monkeypatch.setattr(Answers, "_label", fail_once)
    with lamella.view(store, browser=False) as viewer:
        browser.open(viewer.url)
        browser.run("lamella.state.label = 'cells'")
        left, top = field(browser, "A/1/0")
        look_at(browser, left + 16, top + 16, 8)
        browser.mouse("mouseMoved", 504, 360)
        browser.wait("document.getElementById('problems').textContent.includes('The bucket lab is busy.')")
        browser.mouse("mouseMoved", 505, 360)
        browser.wait("document.getElementById('cursor').textContent.includes('class mitotic')")
    browser.leave()


@pytest.mark.parametrize("mode", ["slices", "volume"])
def test_slices_and_volumes_that_failed_to_load_are_requested_again(browser, store, monkeypatch, mode):
    browser.leave()
    name = mode.removesuffix("s")
    answer, failures = getattr(Answers, f"_{name}"), ["The bucket lab is busy."] * 2

    def fail_at_first(*arguments):
        if failures:
            raise StorageError(failures.pop())
        return answer(*arguments)

    monkeypatch.setattr(Answers, f"_{name}", fail_at_first)
    loaded = {
        "slices": "lamella.slices.loaded.xz?.block && lamella.slices.loaded.yz?.block",
        "volume": "lamella.volume.block?.count",
    }
    with lamella.view(store, browser=False) as viewer:
        browser.open(viewer.url)
        left, top = field(browser, "A/1/0")
        look_at(browser, left + 32, top + 32, 4)
        browser.run(f"lamella.state.mode = '{mode}'; lamella.state.changed()")
        browser.wait("document.getElementById('problems').textContent.includes('The bucket lab is busy.')")
        browser.drawn()
        failures.clear()
        browser.run("lamella.renew(false)")
        browser.wait(loaded[mode])
        assert not browser.run("document.getElementById('problems').textContent.includes('busy')")
    browser.leave()


def test_channels_can_have_colours_that_colour_blind_people_tell_apart(opened):
    opened.run("document.getElementById('palette').value = 'grey'")
    opened.run("document.getElementById('palette').dispatchEvent(new Event('change'))")
    opened.drawn()
    left, top = field(opened, "A/2/0")
    look_at(opened, left + 16, top + 16, 8)
    red, green, blue = pixel_at(opened, left + 16.5, top + 16.5)
    assert red == green == blue > 40
    safe = opened.run(
        "import('./palettes.js').then((m) => [1, 2, 3, 5].map((n) => m.channelColors('safe', Array(n).fill({}))))"
    )
    assert safe[1] == ["FF00FF", "00FF00"]
    assert all(len(set(colors)) == len(colors) for colors in safe)


def test_a_contrast_of_each_well_shows_wells_of_any_brightness(opened, store):
    before = {}
    for well in ("A/1/0", "A/2/0"):
        left, top = field(opened, well)
        look_at(opened, left + 16, top + 16, 8)
        before[well] = pixel_at(opened, left + 16.5, top + 16.5).max()
    opened.key("w")
    opened.wait("lamella.state.wellWindows")
    opened.drawn()
    windows = opened.run("lamella.state.wellWindows")
    with lamella.open_ome_zarr(store) as plate:
        for number, well in enumerate(("A/1/0", "A/2/0")):
            left, top = field(opened, well)
            look_at(opened, left + 16, top + 16, 8)
            low, high = windows[number][0]
            value = float(plate[well]["0"][0, 0, 2, 16, 16])
            expected = 255 * np.clip((value - low) / (high - low), 0, 1)
            shown = pixel_at(opened, left + 16.5, top + 16.5).max()
            assert abs(shown - expected) <= 1
            assert shown != before[well]
    assert windows[1][0][1] > 5 * windows[0][0][1]
    assert "own=1" in opened.run("lamella.state.toHash()")


def test_a_column_of_a_table_colours_the_wells(opened):
    opened.key("0")
    opened.wait("!document.getElementById('heat').hidden")
    opened.run("document.getElementById('table').value = 'layout'")
    opened.run("document.getElementById('table').dispatchEvent(new Event('change'))")
    opened.wait("lamella.state.heat")
    opened.drawn()
    assert opened.run("lamella.state.heat.values") == [1, 9]
    assert "dose" in opened.run("document.getElementById('legend').textContent")
    red, _, blue = pixel_at(opened, *(value + 8 for value in field(opened, "A/2/0")))
    assert red > 150
    assert blue < 120  # yellow: the highest value
    red, _, blue = pixel_at(opened, *(value + 8 for value in field(opened, "A/1/0")))
    assert red < blue  # blue: the lowest
    link = opened.run("location.href.split('#')[0] + '#' + lamella.state.toHash()")
    opened.call("Page.navigate", url="about:blank")
    opened.open(link)
    opened.wait("lamella.state.heat")
    assert opened.run("lamella.state.heat.column") == "dose"


def test_slices_show_the_planes_across_z_that_meet_at_a_point(opened, store):
    left, top = field(opened, "A/2/0")
    look_at(opened, left + 16, top + 16, 8)
    opened.key("s")
    opened.drawn()
    for kind in ("mousePressed", "mouseReleased"):
        opened.mouse(kind, 508 + 8 * 3, 364 - 8 * 2, button="left", clickCount=1)
    opened.drawn()
    cross = opened.run("lamella.state.cross")
    column, row = int(cross["x"] - left), int(cross["y"] - top)
    assert (column, row) == (19, 14)
    with lamella.open_ome_zarr(store) as plate:
        stack = plate["A/2/0"]["0"][0, 0]
    for name, expected in (("xz", stack[:, row]), ("yz", stack[:, :, column])):
        loaded = opened.run(f"[...lamella.slices.loaded.{name}.block.planes]")
        assert np.array_equal(loaded, expected.ravel()), name
        assert not opened.run(f"document.getElementById('{name}').hidden")
    # The values of the slice, through the window, on the screen: the first column of the field in the plane Z = 0.
    plan = opened.run(
        "lamella.slices.planeAt('xz', document.getElementById('xz').height / 2 - 8 * 2 * 2 + 4)"
    )
    assert plan == 0
    opened.key("Escape")
    opened.drawn()
    assert opened.run("document.getElementById('xz').hidden")


def test_three_dimensions_show_the_maximum_along_each_ray(opened, store):
    left, top = field(opened, "A/1/0")
    look_at(opened, left + 32, top + 32, 4)
    opened.key("v")
    opened.drawn()
    opened.run("Object.assign(lamella.volume.turn, {yaw: 0, pitch: 0}); lamella.state.changed()")
    opened.drawn()
    with lamella.open_ome_zarr(store) as plate:
        stack = plate["A/1/0"]["0"][0, 0]
    picture = opened.run(
        "import('./volume.js').then(({ project }) => [...project(lamella.volume.block, [{window: [0, 100], "
        "color: 'FFFFFF'}], {yaw: 0, pitch: 0}, 1, 1, 300).data])"
    )
    shown = np.array(picture).reshape(300, 300, 4)
    radius = np.sqrt(64**2 + 64**2 + 8**2) / 2
    at = ((np.arange(64) + 0.5 - 32) / (2 * radius) * 300 + 150).astype(int)
    expected = np.round(stack.max(axis=0) / 100 * 255)
    assert np.abs(shown[np.ix_(at, at)][..., 0] - expected).max() <= 1
    assert screen(opened)[200:360, 400:500].max() > 15
    for kind, x in (("mousePressed", 500), ("mouseMoved", 560), ("mouseReleased", 560)):
        opened.mouse(kind, x, 360, button="left", buttons=1, clickCount=1)
    opened.drawn()
    assert opened.run("lamella.volume.turn.yaw") > 0.3
    # The frame of another field is complete when its own volume has arrived, not while the old one is still shown.
    other = field(opened, "A/2/0")
    move = f"Object.assign(lamella.state.camera, {{x: {other[0] + 32}, y: {other[1] + 32}}})"
    assert opened.run(f"(() => {{ {move}; lamella.draw(); return lamella.volume.complete; }})()") is False
    opened.drawn()


def test_labels_are_bodies_in_three_dimensions_in_their_colours(opened):
    left, top = field(opened, "A/1/0")
    look_at(opened, left + 32, top + 32, 4)
    opened.run("Object.assign(lamella.state, {label: 'cells', opacity: 1, mode: 'volume'})")
    opened.run("Object.assign(lamella.volume.turn, {yaw: 0, pitch: 0}); lamella.state.changed()")
    opened.drawn()
    width, height = opened.run("[lamella.canvas.width, lamella.canvas.height]")
    scale = min(width, height) / np.sqrt(64**2 + 64**2 + 8**2)
    column, row = (int(size / 2 + (16 - 32) * scale) for size in (width, height))
    assert np.abs(screen(opened)[row, column].astype(int) - [250, 120, 10]).max() <= 1
    outside = int(width / 2 + (28 - 32) * scale)
    assert screen(opened)[row, outside].max() < 60  # the image, which is dark beside the label
    opened.run("lamella.state.channels[0].active = false; lamella.state.changed()")
    opened.drawn()
    assert np.abs(screen(opened)[row, column].astype(int) - [250, 120, 10]).max() <= 1
    assert screen(opened)[row, outside].max() == 0


def test_names_in_fields_that_were_not_searched_are_found_on_request(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("lamella.ops.view.scene._SAMPLED_FIELDS", 1)
    monkeypatch.setattr("lamella.ops.view.heat._SAMPLED_FIELDS", 1)
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["DAPI"], version="0.5"
    ) as plate:
        for column in "123":
            plate.create_position("A", column, "0")["0"] = np.ones((1, 1, 1, SIDE, SIDE), "uint8")
        plate["A/3/0"].labels.create("rare", np.ones((1, 1, SIDE, SIDE), "uint8"))
        plate["A/3/0"].tables["counts"] = {"id": [1, 2]}
        browser.leave()
        with lamella.view(plate, browser=False) as viewer:
            browser.open(viewer.url)
            assert "from 1 field of 3" in browser.run("document.getElementById('search').textContent")
            assert browser.run("document.getElementById('labels').hidden")
            browser.run("document.getElementById('search-all').click()")
            browser.wait("document.getElementById('hint').textContent.includes('were searched')")
            assert browser.run("document.getElementById('search').hidden")
            assert browser.run("[...document.getElementById('label').options].map((o) => o.value)") == [
                "",
                "rare",
            ]
            assert "counts" in browser.run(
                "[...document.getElementById('table').options].map((o) => o.value)"
            )
            assert browser.problems() == []


def test_contrast_is_saved_only_by_choice_and_only_where_the_viewer_may_edit(browser, store, tmp_path):
    copy = lamella.copy_store(store, tmp_path / "copy.zarr")
    path = tmp_path / "copy.zarr"
    del copy
    with lamella.view(path, browser=False) as viewer:
        browser.open(viewer.url)
        assert browser.run("document.getElementById('save').hidden")
    with lamella.view(path, browser=False, edit=True) as viewer:
        browser.open(viewer.url)
        browser.run("lamella.state.channels[0].window = [5, 77]; lamella.state.changed()")
        browser.drawn()
        with lamella.open_ome_zarr(path) as plate:
            assert plate["A/1/0"].metadata.omero.channels[0].window["end"] == 1000
        browser.run("document.getElementById('save').click()")
        browser.wait("document.getElementById('hint').textContent.includes('3 fields')")
    with lamella.open_ome_zarr(path) as plate:
        for _, position in plate.positions():
            window = position.metadata.omero.channels[0].window
            assert (window["start"], window["end"], window["max"]) == (5, 77, 65535)


def test_a_stream_is_followed_while_it_is_written(browser, tmp_path):
    with (
        lamella.open_ome_zarr(
            tmp_path / "film.zarr", layout="fov", mode="w", channel_names=["a"], version="0.5"
        ) as film,
        film.stream("0", (SIDE, SIDE), "uint16", order="t") as frames,
    ):
        frames.append(np.full((SIDE, SIDE), 1, "uint16"))
        frames.flush()
        with lamella.view(tmp_path / "film.zarr", browser=False) as viewer:
            browser.open(viewer.url)
            assert browser.run("lamella.scene.times") == 1
            browser.key("f")
            for value in (2, 3):
                frames.append(np.full((SIDE, SIDE), value, "uint16"))
            frames.flush()
            browser.wait("lamella.scene.times === 3")
            browser.drawn()
            assert browser.run("lamella.state.t") == 2
            tile = browser.run(
                "[...lamella.pixels.kept.values()].find((t) => t.key.includes('t=2')).planes[0]"
            )
            assert tile == 3
            browser.key("f")


def test_every_kind_of_store_opens(browser, tmp_path, store, service):
    image = tmp_path / "image.zarr"
    lamella.write_image(image, np.full((SIDE, SIDE), 9, "uint8"), axes="yx").close()
    lamella.pack(image, tmp_path / "image.ozx")
    shutil.make_archive(str(tmp_path / "image"), "zip", tmp_path, "image.zarr")
    service.put_folder(store, "/bucket/plate.zarr")
    kinds = [
        (image, 1),
        (tmp_path / "image.ozx", 1),
        (tmp_path / "image.zip", 1),
        (write_collection(tmp_path / "scan.zarr"), 2),
        (write_tiled(tmp_path / "tiled.zarr"), 1),
        (write_scene(tmp_path / "scene.zarr"), 2),
        (store / "A", 3),
        (store / "A/1", 2),
        (store / "A/1/0/labels/cells", 1),
        (f"{service.endpoint}/bucket/plate.zarr", 3),
        ("s3://bucket/plate.zarr", 3),
    ]
    for path, fields in kinds:
        with lamella.view(path, browser=False) as viewer:
            browser.open(viewer.url)
            browser.key("0")
            browser.drawn()
            assert len(browser.run("lamella.scene.fields")) == fields, path
            assert browser.run("document.getElementById('problems').hidden"), path
            shown = browser.run(
                "[...lamella.pixels.kept.values(), ...lamella.ids.kept.values()].map((t) => Math.max(...t.planes))"
            )
            assert shown, path
            assert max(shown) > 0, path


def write_tiled(path):
    """Write a tiled image of 2 x 2 tiles of 64 x 64 pixels."""
    with lamella.open_ome_zarr(
        path, layout="tiled", mode="w", channel_names=["DAPI"], version="0.5"
    ) as mosaic:
        tiles = mosaic.make_tiles("0", grid_shape=(2, 2), tile_shape=(SIDE, SIDE), dtype="uint8")
        for row, column in np.ndindex(2, 2):
            tiles.write_tile(np.full((SIDE, SIDE), 50 * (1 + row + column), "uint8"), row, column)
    return path


def write_scene(path):
    """Write a scene of two images side by side."""
    import zarr

    plane = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    steps = [
        {
            "type": "translation",
            "translation": [0, at],
            "input": {"path": name, "name": "physical"},
            "output": {"name": "world"},
        }
        for name, at in (("left", 0), ("right", SIDE))
    ]
    scene = {
        "coordinateSystems": [{"name": "world", "axes": plane}],
        "coordinateTransformations": steps,
    }
    zarr.create_group(path, zarr_format=3, attributes={"ome": {"version": "0.6", "scene": scene}})
    for name in ("left", "right"):
        with lamella.open_ome_zarr(
            path / name, layout="fov", mode="w", channel_names=["a"], version="0.6"
        ) as image:
            image["0"] = np.full((1, 1, 1, SIDE, SIDE), 5, "uint8")
    return path


def write_collection(path):
    """Write a collection of two images as bioformats2raw does."""
    import zarr

    zarr.create_group(path, zarr_format=2, attributes={"bioformats2raw.layout": 3})
    for name in ("0", "1"):
        with lamella.open_ome_zarr(
            f"{path}/{name}", layout="fov", mode="w", channel_names=["DAPI"], version="0.4"
        ) as image:
            image["0"] = np.full((1, 1, 1, SIDE, SIDE), 7, "uint8")
    return path


def test_the_theme_the_keys_and_the_picture_are_at_hand(opened):
    opened.key("?")
    assert opened.run("document.getElementById('keys').open")
    assert "channel on or off" in opened.run("document.getElementById('keys').textContent")
    opened.run("document.getElementById('keys').close()")
    dark = screen(opened)[4, 4].max()
    opened.key("d")
    opened.drawn()
    assert screen(opened)[4, 4].min() > 200 > dark
    opened.key("d")
    unnamed = opened.run(
        "[...document.querySelectorAll('input, select, button, canvas.slice')].filter((e) => !e.ariaLabel && "
        "!e.getAttribute('aria-label') && !e.labels?.length && !e.textContent.trim()).map((e) => e.id || e.outerHTML)"
    )
    assert unnamed == []
    saved = opened.run("lamella.act.png().then((blob) => [blob.type, blob.size])")
    assert saved[0] == "image/png"
    assert saved[1] > 1000


def test_the_page_answers_a_wrong_link_with_what_fits(opened):
    link = opened.run("location.href.split('#')[0]")
    opened.call("Page.navigate", url="about:blank")
    opened.open(link + "#x=1e99&zoom=0&t=-4&z=99&c0=1,zzz,5,1&label=nothing&a=7&slices=a,b")
    state = json.loads(opened.run("JSON.stringify(lamella.state.camera)"))
    assert state["x"] == opened.run("lamella.scene.width") / 2
    assert opened.run(
        "[lamella.state.t, lamella.state.z, lamella.state.label, lamella.state.acquisition]"
    ) == [
        0,
        2,
        "",
        0,
    ]
