"""What the server of the viewer answers, and what it refuses."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
from importlib import resources

import numpy as np
import pytest

import lamella
from lamella.errors import MetadataError, ReadOnlyError, StoreNotFoundError
from lamella.ops.view import scene


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    """A viewer of one image (C, Y, X) = (2, 40, 50)."""
    pixels = np.arange(4000, dtype="uint16").reshape(2, 40, 50)
    with (
        lamella.write_image(
            tmp_path_factory.mktemp("viewer") / "i.zarr", pixels, axes="cyx", channels=["a", "b"]
        ) as image,
        lamella.view(image, browser=False) as viewer,
    ):
        yield viewer


def ask(viewer, path, method="GET", sent=None, **headers):
    """Send a request and return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=30)
    connection.request(method, path, body=sent, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_a_tile_has_the_pixels_of_the_store(viewer):
    status, headers, body = ask(viewer, f"/{viewer.token}/tile/0/0/0?c=1,0", **{"Accept-Encoding": "gzip"})
    assert status == 200
    body = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
    length = int.from_bytes(body[:4], "little")
    header = json.loads(body[4 : 4 + length])
    planes = np.frombuffer(body, "<u2", 4000, 4 + length).reshape(header["shape"])
    assert np.array_equal(planes, np.arange(4000).reshape(2, 40, 50)[::-1])
    assert body[4 + length + 8000 :] == b"\1" * 2000


def test_only_the_address_with_the_token_and_the_name_of_this_machine_is_answered(viewer):
    assert ask(viewer, f"/{viewer.token}/")[0] == 200
    assert ask(viewer, f"/{viewer.token}/scene.json")[0] == 200
    for path in ("/", "/scene.json", "/wrong/scene.json", f"/{viewer.token}"):
        assert ask(viewer, path)[0] == 404
    for host in ("evil.example", "evil.example:80", f"127.0.0.1.evil.example:{viewer.port}", ""):
        status, _, body = ask(viewer, f"/{viewer.token}/scene.json", Host=host)
        assert status == 403
        assert b"--allow-host" in body
    assert ask(viewer, f"/{viewer.token}/", Host=f"localhost:{viewer.port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_but_reading_is_answered(viewer, method):
    assert ask(viewer, f"/{viewer.token}/scene.json", method)[0] in (405, 501)


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd",
        "..%2f..%2fetc/passwd",
        "page/../server.py",
        "tile/0/0/0",
        "tile/0/0/-1?c=0",
        "tile/0/0/99999999999999999999?c=0",
        "tile/1e9/0/0?c=0",
        "tile/0/0/0?c=0&t=-1",
        "tile/0/0/0?c=" + ",".join(["0"] * 5000),
        "tile/0/0/0?c=2",
        "tile/0/0/0?label=../../x",
        "tile/0/0/0?c=0&" + "&".join(f"a{n}=1" for n in range(99)),
        "tile/0/0/0?c=0&a=1",
        "slice/0/xz?c=0&at=1e400",
        "slice/0/xz?c=0&at=nan",
        "slice/0/xy?c=0&at=0",
        "slice/999999999/xz?c=0",
        "volume/-1?c=0",
        "volume/0?c=0,0",
        "volume/0?c=0&t=7",
        "volume/0?c=0&label=../../x",
        "windows.json?t=99",
        "label.json?field=0&label=..&id=1",
        "columns.json?table=../../x",
        "heat.json?table=a&column=b",
        "_scene.json",
        "post.json",
    ],
)
def test_odd_requests_are_refused_and_the_server_goes_on(viewer, path):
    status, headers, body = ask(viewer, f"/{viewer.token}/{path}")
    assert status in (400, 404)
    assert len(body) < 500
    assert headers["Content-Type"] == "text/plain"
    assert ask(viewer, f"/{viewer.token}/scene.json")[0] == 200


def test_contrast_is_saved_by_the_page_of_a_viewer_that_may_edit_and_by_nobody_else(tmp_path):
    pixels = np.zeros((2, 8, 8), "uint16")
    lamella.write_image(tmp_path / "i.zarr", pixels, axes="cyx", channels=["a", "b"]).close()
    good = json.dumps([{"name": "b", "window": [3, 700]}])

    def window():
        with lamella.open_ome_zarr(tmp_path / "i.zarr") as image:
            return [image.metadata.omero.channels[1].window[end] for end in ("start", "end")]

    before = window()
    with lamella.view(tmp_path / "i.zarr", browser=False, edit=True) as viewer:
        path, host = f"/{viewer.token}/contrast", f"127.0.0.1:{viewer.port}"
        page = {"Origin": f"http://{host}", "Content-Type": "application/json"}
        for status, place, sent, headers in [
            (403, path, good, {**page, "Origin": "http://evil.example"}),
            (403, path, good, {"Content-Type": "application/json"}),
            (403, path, good, {**page, "Host": "evil.example", "Origin": "http://evil.example"}),
            (415, path, good, {**page, "Content-Type": "text/plain"}),
            (404, "/wrong/contrast", good, page),
            (404, f"/{viewer.token}/scene.json", good, page),
            (413, path, "[" + " " * 70000 + "]", page),
            (400, path, "[", page),
            (400, path, "[" * 60000, page),
            (400, path, "{}x", page),
            (400, path, json.dumps([{"name": "b", "window": [0, "1"]}]), page),
            (400, path, '[{"name": "b", "window": [0, NaN]}]', page),
            (400, path, json.dumps([{"name": "b", "window": [0, 10**400]}]), page),
            (400, path, json.dumps([{"name": "b", "window": [9, 1]}]), page),
            (400, path, json.dumps([{"name": "c", "window": [0, 1]}]), page),
        ]:
            answered, _, body = ask(viewer, place, "POST", sent, **headers)
            assert (answered, len(body) < 500) == (status, True), (sent[:50], headers, body)
            assert window() == before
        assert ask(viewer, path, "POST", good, **page)[0] == 200
        assert window() == [3, 700]
    with lamella.open_ome_zarr(tmp_path / "i.zarr") as image, pytest.raises(ReadOnlyError):
        lamella.view(image, browser=False, edit=True)


_TWO_FIRST_THREADS = """
import threading
from lamella.adapters.viewer.server import _compress
from lamella.store.pixels.coding import _compressor as codec_of
both, errors = threading.Barrier(2), []
threading.excepthook = lambda thrown: errors.append(thrown.exc_value)
def run(work):
    both.wait()
    work()
works = [lambda: _compress(bytes(2000), "zstd"), lambda: codec_of("blosc", {}, 2, 64)]
threads = [threading.Thread(target=run, args=[work]) for work in works]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not errors, errors
"""


def test_the_page_is_sent_while_the_first_pixels_are_decoded():
    # Each thread loads another codec as the first of the process: their imports must not wait for each other.
    done = subprocess.run(
        [sys.executable, "-c", _TWO_FIRST_THREADS], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_closed_viewer_frees_its_port_and_leaves_the_node_open(tmp_path):
    image = lamella.write_image(tmp_path / "i.zarr", np.zeros((8, 8), "uint8"), axes="yx")
    viewer = lamella.view(image, browser=False)
    viewer.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", viewer.port), timeout=5)
    assert image["0"].shape == (8, 8)


def test_a_path_is_opened_by_the_viewer(tmp_path):
    lamella.write_image(tmp_path / "i.zarr", np.zeros((8, 8), "uint8"), axes="yx").close()
    with lamella.view(tmp_path / "i.zarr", browser=False) as viewer:
        assert json.loads(ask(viewer, f"/{viewer.token}/scene.json")[2])["name"] == "i.zarr"
    with pytest.raises(StoreNotFoundError):
        lamella.view(tmp_path / "nothing.zarr", browser=False)


def test_the_page_is_served_while_the_documents_of_a_plate_are_read(tmp_path, monkeypatch):
    opened, go_on = scene._read_documents, threading.Event()

    def open_slowly(path, *given):
        if path == "A/1/1":
            assert go_on.wait(60)
        return opened(path, *given)

    monkeypatch.setattr(scene, "_read_documents", open_slowly)
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], version="0.5"
    ) as plate:
        for position in plate.create_positions([("A", "1", name) for name in "01"]):
            position["0"] = np.ones((1, 1, 1, 8, 8), "uint8")
        with lamella.view(plate, browser=False) as viewer:
            assert ask(viewer, f"/{viewer.token}/")[0] == 200
            assert repr(viewer).startswith("<Viewer of p")
            go_on.set()
            assert len(json.loads(ask(viewer, f"/{viewer.token}/scene.json")[2])["fields"]) == 2


def test_nothing_to_show_is_an_error_before_there_is_an_address(tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], version="0.5"
    ) as plate:
        plate.create_positions([("A", "1", "0")])
        with pytest.raises(MetadataError, match="nothing to show"):
            lamella.view(plate, browser=False)


def test_the_page_loads_all_of_its_modules_in_one_request(viewer):
    scripts = re.findall(r'src="([^"]+)"', ask(viewer, f"/{viewer.token}/")[2].decode())
    assert scripts == ["page.js"]
    text = ask(viewer, f"/{viewer.token}/page.js")[2].decode()
    assert re.findall(r"^(?:import|export)\b.*", text, re.MULTILINE) == []
    for file in (resources.files("lamella.adapters.viewer") / "page").iterdir():
        if file.name.endswith(".js") and file.name != "neuroglancer.js":
            assert f"const ${file.name.removesuffix('.js')} = " in text
