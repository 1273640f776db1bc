"""Law: the servers of the suite behave as S3 and the web do, and fail as they are asked to."""

from __future__ import annotations

import http.client

import numpy as np
import pytest

import lamella


@pytest.fixture
def image(tmp_path):
    """A small image in a folder, and its pixels."""
    pixels = np.arange(2 * 16 * 16, dtype="u2").reshape(1, 2, 1, 16, 16)
    with lamella.open_ome_zarr(
        tmp_path / "image.zarr", layout="fov", mode="w", channel_names=["a", "b"], version="0.5"
    ) as position:
        position["0"] = pixels
    return tmp_path / "image.zarr", pixels


def test_both_servers_serve_an_image_by_s3(image, s3, service):
    folder, pixels = image
    service.put_folder(folder, "/bucket/image.zarr")
    with lamella.open_ome_zarr("s3://bucket/image.zarr") as position:
        assert np.array_equal(position["0"][...], pixels)
    assert service.counts()["GET"] > 0


def test_s3_serves_what_was_written_to_it(image, s3):
    folder, pixels = image
    s3.put_folder(folder, "image.zarr")
    with lamella.open_ome_zarr(s3.url("image.zarr")) as position:
        assert np.array_equal(position["0"][...], pixels)
    assert "image.zarr/zarr.json" in s3.objects()


def test_an_image_is_written_to_and_read_from_either_server(s3, service):
    for url in ("s3://bucket/new.zarr",):
        with lamella.open_ome_zarr(url, layout="fov", mode="w-", channel_names=["a"], version="0.5") as new:
            new["0"] = np.ones((1, 1, 1, 8, 8), "u2")
    assert "/bucket/new.zarr/zarr.json" in service.objects


def test_few_requests_open_an_image_and_make_it_longer_along_its_channels(service):
    url = "s3://bucket/film.zarr"
    with lamella.open_ome_zarr(
        url, layout="fov", mode="w-", channel_names=["a", "b"], version="0.5"
    ) as position:
        position.create_image("0", np.ones((12, 2, 1, 8, 8), "u2"), chunks=(1, 1, 1, 8, 8))
        service.requests.clear()
        position.append_channel("c")
    assert service.counts()["LIST"] <= 3  # one for all chunks, not one for each time
    service.requests.clear()
    with lamella.open_ome_zarr(url):
        assert service.counts() == {"GET": 4}  # the documents of both formats, all at once


def test_the_web_server_serves_an_image_by_http(image, service):
    folder, pixels = image
    service.put_folder(folder, "/data/image.zarr")
    with lamella.open_ome_zarr(f"{service.endpoint}/data/image.zarr") as position:
        assert np.array_equal(position["0"][...], pixels)


def asked(service, method, path, **headers):
    """Ask the server by hand."""
    connection = http.client.HTTPConnection(service.endpoint.removeprefix("http://"))
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_ranges_faults_and_conditions(service):
    service.objects["/b/key"] = b"0123456789"
    assert asked(service, "GET", "/b/key", Range="bytes=2-4") == (206, b"234")
    assert asked(service, "GET", "/b/key", Range="bytes=-3") == (206, b"789")
    service.ranges = False
    assert asked(service, "GET", "/b/key", Range="bytes=2-4") == (200, b"0123456789")
    fault = service.fail(503, path="key$", times=1)
    assert [asked(service, "GET", "/b/key")[0] for _ in range(2)] == [503, 200]
    assert fault.seen == 1
    service.fail("reset")
    with pytest.raises(ConnectionError):
        asked(service, "GET", "/b/key")
    service.heal()
    service.fail("short")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        asked(service, "GET", "/b/key")
    service.heal()
    assert asked(service, "GET", "/b/none")[0] == 404
    assert asked(service, "PUT", "/b/key", **{"If-None-Match": "*"})[0] == 412
    service.lists = False
    assert asked(service, "GET", "/b?list-type=2")[0] == 403
