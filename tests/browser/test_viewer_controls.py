"""The controls of the viewer, used as a person uses them: sliders, search, overview, Tab; and errors in words."""

from __future__ import annotations

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import lamella
from pictures import look_at, screen

SIDE = 64
RED = (250, 30, 10)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A plate of 1 x 3 wells with two fields each, (T, C, Z, Y, X) = (2, 1, 3, 64, 64), and a label in the middle.

    The value of a pixel is 100 x well + 10 x Z + T.
    """
    path = tmp_path_factory.mktemp("controls") / "plate.zarr"
    t, z = np.arange(2)[:, None, None, None, None], np.arange(3)[None, None, :, None, None]
    mask = np.zeros((2, 3, SIDE, SIDE), "uint16")
    mask[..., 16:48, 16:48] = 3
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"], version="0.5") as plate:
        for well in (1, 2, 3):
            for field in "01":
                position = plate.create_position("A", str(well), field)
                position["0"] = np.broadcast_to(100 * well + 10 * z + t, (2, 1, 3, SIDE, SIDE)).astype(
                    "uint16"
                )
                position.set_channel("DAPI", color="FFFFFF", window=(0, 510))
                position.labels.create("cells", mask, colors={3: RED})
    return path


def enter(browser, name, value):
    """Change a control as a person does, and wait until the picture shows it."""
    browser.run(
        f"{{ const control = document.querySelector({json.dumps(name)}); control.value = {json.dumps(value)};"
        "for (const kind of ['input', 'change']) control.dispatchEvent(new Event(kind)); }"
    )
    browser.drawn()


def field(browser, path):
    """Return the middle of a field on the canvas."""
    _, _, left, top, *_ = next(area for area in browser.run("lamella.scene.fields") if area[0] == path)
    return left + SIDE / 2, top + SIDE / 2


def in_the_middle(browser):
    """Return the colour in the middle of the picture."""
    width, height = browser.run("[lamella.canvas.width, lamella.canvas.height]")
    return screen(browser)[height // 2 + 1, width // 2 + 1].tolist()


def test_sliders_choose_the_plane_the_time_and_the_contrast(opened):
    look_at(opened, *field(opened, "A/2/0"), 8)
    assert opened.run("document.querySelector('#dimensions output').textContent") == "1 / 2"
    assert in_the_middle(opened) == [105, 105, 105]  # 210 of 510
    enter(opened, "#z", "2")
    assert in_the_middle(opened) == [110, 110, 110]
    enter(opened, "#t", "1")
    assert opened.run("lamella.state.t") == 1
    enter(opened, ".dual input:last-child", "221")
    assert in_the_middle(opened) == [255, 255, 255]
    enter(opened, "[aria-label='White of DAPI']", "442")
    assert in_the_middle(opened) == [128, 128, 128]
    look_at(opened, *field(opened, "A/2/0"), 32)
    opened.key("a")  # nothing but this field is on the screen, though other wells are in the same tile
    opened.drawn()
    assert opened.run("lamella.state.channels[0].window") == [221, 221]
    opened.key(" ")
    opened.wait("lamella.state.t === 0")
    opened.key(" ")


def test_a_well_is_found_by_name_and_on_the_overview(opened):
    def well():
        return opened.run("lamella.scene.fields[lamella.state.nearestField()][0].slice(0, 3)")

    enter(opened, "#well", "a03")
    assert well() == "A/3"
    enter(opened, "#well", "H12")
    assert opened.run("document.getElementById('hint').textContent") == "There is no well H12 in this plate."
    left, top, width, height = opened.run(
        "(({x, y, width, height}) => [x, y, width, height])(document.getElementById('map').getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        opened.mouse(kind, left + width / 6, top + height / 2, button="left", clickCount=1)
    opened.drawn()
    assert well() == "A/1"
    enter(opened, "#well", "A/2")
    opened.run("document.getElementById('stage').focus()")
    for key, path in ((".", "A/2/1"), (",", "A/2/0"), (",", "A/1/1")):
        opened.key(key)
        opened.drawn()
        assert opened.run("lamella.scene.fields[lamella.state.nearestField()][0]") == path


def test_the_overview_has_all_four_lines_of_the_screen_and_no_red_for_what_is_not_written(browser, tmp_path):
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"]) as plate:
        plate.create_positions([("A", column, "0") for column in "1234"])
        plate["A/2/0"]["0"] = np.ones((1, 1, 1, SIDE, SIDE), "uint16")
        browser.leave()
        with lamella.view(plate, browser=False) as viewer:
            browser.open(viewer.url)
            colors = browser.run(
                "{ const map = document.getElementById('map'); const look = getComputedStyle(map);"
                "const at = (x, y) => [...map.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3);"
                "const named = (name) => { const color = look.getPropertyValue(name).trim();"
                "return [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)); };"
                "const [w, h] = [map.width, map.height];"
                "[[at(w >> 1, 0), at(w >> 1, h - 1), at(0, h >> 1), at(w - 1, h >> 1)],"
                "[1, 3, 5, 7].map((n) => at((n * w) >> 3, h >> 1)), ['--accent', '--faint', '--line'].map(named)] }"
            )
            problems = browser.run("[...document.querySelectorAll('#problems li')].map((e) => e.textContent)")
    lines, wells, (accent, faint, line) = colors
    assert lines == [accent] * 4
    assert wells == [line, faint, line, line]
    assert problems == ["A/1/0 and 2 more fields: No pixels are written yet."]


def test_the_size_of_an_image_is_that_of_its_pixels_though_they_are_not_square(browser, tmp_path):
    pixels, scale = np.ones((SIDE, 2 * SIDE), "uint8"), {"y": 1.5, "x": 0.5}
    browser.leave()
    with (
        lamella.write_image(tmp_path / "i.zarr", pixels, axes="yx", scale=scale) as image,
        lamella.view(image, browser=False) as viewer,
    ):
        browser.open(viewer.url)
        subtitle = browser.run("document.getElementById('subtitle').textContent")
        assert [int(word) for word in subtitle.split() if word.isdigit()] == [128, 64]


def test_labels_are_seen_on_the_whole_plate_with_the_id_under_the_mouse(opened):
    enter(opened, "#label", "cells")
    enter(opened, "#opacity", "1")
    opened.key("0")
    opened.drawn()
    shown = screen(opened)
    camera, (width, height) = (
        opened.run("lamella.state.camera"),
        opened.run("[lamella.canvas.width, lamella.canvas.height]"),
    )
    for path in ("A/1/0", "A/1/1", "A/2/0", "A/2/1", "A/3/0", "A/3/1"):
        x, y = field(opened, path)
        column, row = (
            int((x - camera["x"]) * camera["zoom"] + width / 2),
            int((y - camera["y"]) * camera["zoom"] + height / 2),
        )
        assert shown[row, column].tolist() == list(RED), path
        corner = int(camera["zoom"] * 0.4 * SIDE)
        red, green, blue = shown[row + corner, column + corner].tolist()
        assert red == green == blue, path  # beside the label
        opened.mouse("mouseMoved", column, row)
        assert f"{path}  ·" in opened.run("document.getElementById('cursor').textContent")
        assert "cells 3" in opened.run("document.getElementById('cursor').textContent")


def test_slices_show_labels_too_and_the_contrast_of_the_well(opened):
    x, y = field(opened, "A/3/0")
    look_at(opened, x, y, 4, label="cells", opacity=1)
    opened.key("s")
    opened.drawn()
    opened.run("window.xz = lamella.slices.canvases.xz")
    middle = "xz.getContext('2d').getImageData({x}, Math.floor(xz.height / 2), 1, 1).data"
    width = opened.run("lamella.canvas.width")
    inside, outside = middle.format(x=width // 2 + 9), middle.format(x=width // 2 + 4 * 24)
    assert opened.run(f"[...{inside}].slice(0, 3)") == list(RED)
    assert opened.run(f"[...{outside}].slice(0, 3)") == [155, 155, 155]  # 310 of 510
    opened.run("lamella.state.wellWindows = [[[0, 1]], [[0, 1]], [[0, 620]]]; lamella.state.changed()")
    opened.drawn()
    assert opened.run(f"{outside}[0]") == 128


def test_tab_goes_through_the_controls_in_the_order_in_which_they_are_seen(opened):
    opened.run("document.getElementById('stage').focus()")
    seen = []
    for _ in range(40):
        opened.key("Tab")
        box = opened.run(
            "(() => { const element = document.activeElement; const box = element.getBoundingClientRect();"
            "const line = element.closest('.line, .buttons, header');"
            "return [(line ?? element).getBoundingClientRect().top, line?.className === 'buttons' ? 0 : box.left, "
            "element.tagName]; })()"
        )
        if box[2] in ("BODY", "MAIN"):
            break
        seen.append(box[:2])
    assert len(seen) > 12
    assert seen == sorted(seen)


def test_a_saved_picture_is_the_one_on_the_screen(opened):
    look_at(opened, *field(opened, "A/2/0"), 2)
    saved = opened.run(
        "lamella.act.png().then((blob) => createImageBitmap(blob)).then((bitmap) => {"
        "const canvas = new OffscreenCanvas(bitmap.width, bitmap.height); const context = canvas.getContext('2d');"
        "context.drawImage(bitmap, 0, 0); return [bitmap.width, bitmap.height, "
        "[...context.getImageData(0, 200, bitmap.width, 100).data]]; })"
    )
    width, _, pixels = saved
    assert (
        np.abs(
            np.array(pixels).reshape(100, width, 4)[..., :3] - screen(opened)[200:300, :width].astype(int)
        ).max()
        <= 1
    )


def test_python_is_shown_where_the_browser_does_not_let_the_page_copy(opened, store):
    look_at(opened, *field(opened, "A/2/1"), 16, z="max")
    opened.run("Object.defineProperty(navigator, 'clipboard', {value: undefined}); lamella.act.python()")
    opened.wait("document.getElementById('code').open")
    names = {}
    exec(opened.run("document.querySelector('#code textarea').value"), names)
    assert names["position"].path == "A/2/1"
    assert names["region"].shape[:1] == (1,)
    assert (names["region"] == 220).all()  # the maximum over Z


def test_numbers_fit_their_fields(opened):
    values = [0, 0.43086431, -0.43086431, 2679000000, 1234567, 65535, -1.5e-12, 1 / 3]
    assert opened.run(f"import('./panel.js').then(({{ fitting }}) => {json.dumps(values)}.map(fitting))") == [
        "0",
        "0.43086",
        "-0.4309",
        "2.679e9",
        "1234567",
        "65535",
        "-2e-12",
        "0.33333",
    ]


def test_a_viewer_that_was_closed_is_named_as_such(browser, store):
    browser.leave()
    with lamella.view(store, browser=False) as viewer:
        browser.open(viewer.url)
    browser.run("lamella.state.t = 1; lamella.state.changed()")
    browser.wait("document.getElementById('problems').textContent.includes('was closed')")
    browser.run("fetch = () => Promise.reject(new TypeError('Failed to fetch'))")  # no connection is left
    browser.run("lamella.state.t = 0; lamella.state.z = 0; lamella.state.changed()")
    browser.wait("document.getElementById('problems').textContent.includes('Start lamella view again')")
    browser.leave()


def test_the_page_says_how_far_a_scene_is_that_takes_long(browser, store, monkeypatch):
    from lamella.adapters.viewer import answers

    documents_are_read, view_scene = threading.Event(), answers.view_scene

    def read_slowly(*arguments, **options):
        scene = view_scene(*arguments, **options)
        assert documents_are_read.wait(60)
        return scene

    browser.leave()
    monkeypatch.setattr(answers, "view_scene", read_slowly)
    with lamella.view(store, browser=False) as viewer:
        browser.call("Page.navigate", url=viewer.url)
        browser.wait("document.getElementById('hint')?.textContent.startsWith('Reading the documents: ')")
        fields = int(browser.run("document.getElementById('hint').textContent.split(' ')[3]"))
        documents_are_read.set()
        browser.drawn()
        assert fields == browser.run("lamella.scene.fields.length")
        assert browser.run("document.getElementById('hint').textContent") == ""
    browser.leave()


def test_an_error_before_there_is_a_scene_is_shown_in_the_page(browser, store, monkeypatch):
    from lamella.adapters.viewer import answers
    from lamella.errors import StorageError

    def fail(*_, **__):
        raise StorageError("The bucket lab denies access. Check the profile.")

    browser.leave()
    monkeypatch.setattr(answers.Answers, "_scene", fail)
    with lamella.view(store, browser=False) as viewer:
        browser.call("Page.navigate", url=viewer.url)
        browser.wait(
            "document.getElementById('hint')?.textContent === 'The bucket lab denies access. Check the profile.'"
        )
    browser.leave()


def test_the_page_works_behind_a_proxy_with_a_path(browser, store):
    class Proxy(BaseHTTPRequestHandler):
        """Forwards /hub/user/... to the viewer, under the name of the hub."""

        def do_GET(self):
            connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=30)
            connection.request(
                "GET", self.path.removeprefix("/hub/user"), headers={"Host": "hub.example.org"}
            )
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    browser.leave()
    with (
        lamella.view(store, browser=False, allow_hosts=["hub.example.org"]) as viewer,
        ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy,
    ):
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        browser.open(f"http://127.0.0.1:{proxy.server_port}/hub/user/{viewer.token}/")
        assert len(browser.run("[...lamella.pixels.kept]")) > 0
        assert browser.problems() == []
        proxy.shutdown()
    browser.leave()


def contrast(one, other):
    """Return the contrast of two colours, from 1 to 21, as WCAG defines it."""
    lights = []
    for color in (one, other):
        parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        parts = [part / 12.92 if part <= 0.04 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(np.dot(parts, [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(lights) / min(lights)


@pytest.mark.parametrize(("width", "height", "size"), [(1280, 720, 13), (3840, 2160, 19)])
def test_text_is_readable_in_both_themes_and_nothing_is_cut_off(opened, width, height, size):
    screen_of = {"deviceScaleFactor": 1, "mobile": False}
    opened.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **screen_of)
    opened.drawn()
    assert opened.run("getComputedStyle(document.body).fontSize") == f"{size}px"
    texts = "[...document.querySelectorAll('#panel, #panel :is(h1, h2, p, label, button, output)')]"
    assert (
        opened.run(f"{texts}.filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)")
        == []
    )
    for _ in range(2):
        colors = opened.run(
            "['panel', 'text', 'faint', 'accent', 'bad'].map((name) => "
            "getComputedStyle(document.body).getPropertyValue(`--${name}`).trim())"
        )
        for color in colors[1:]:
            assert contrast(colors[0], color) > 4.5, (opened.run("document.body.dataset.theme"), color)
        opened.key("d")
        opened.drawn()
    opened.call("Emulation.setDeviceMetricsOverride", width=1280, height=720, **screen_of)
