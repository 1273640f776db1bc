"""What the server of the viewer answers, and what it refuses."""

from __future__ import annotations

import gzip
import http.client
import json
import socket

import numpy as np
import pytest

import lamella
from lamella.errors import StoreNotFoundError


@pytest.fixture
def viewer(tmp_path):
    """A viewer of one image (C, Y, X) = (2, 40, 50)."""
    pixels = np.arange(4000, dtype="uint16").reshape(2, 40, 50)
    with (
        lamella.write_image(tmp_path / "i.zarr", pixels, axes="cyx", channels=["a", "b"]) as image,
        lamella.view(image, browser=False) as viewer,
    ):
        yield viewer


def ask(viewer, path, method="GET", **headers):
    """Send a request and return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=30)
    connection.request(method, path, headers=headers)
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
    ],
)
def test_odd_requests_are_refused_and_the_server_goes_on(viewer, path):
    status, headers, body = ask(viewer, f"/{viewer.token}/{path}")
    assert status in (400, 404)
    assert len(body) < 500
    assert headers["Content-Type"] == "text/plain"
    assert ask(viewer, f"/{viewer.token}/scene.json")[0] == 200


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
