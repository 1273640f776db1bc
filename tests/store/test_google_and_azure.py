"""Law: Google's and Azure's stores are created, edited, renamed, deleted and checked as those of S3.

Google's XML interface is spoken by the server of the suite. Azure is asked where ``AZURITE`` names the URL of a running
azurite (npm), such as ``http://127.0.0.1:10000/devstoreaccount1``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from contextlib import suppress
from email.utils import formatdate
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import numpy as np
import pytest

import lamella
from lamella.errors import StoreExistsError

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and the key of every azurite, which are public."""


def make_container(endpoint, name):
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = [f"{key}:{value}" for key, value in headers.items()]
    text = "\n".join(["PUT", *[""] * 11, *lines, f"/{ACCOUNT}/{ACCOUNT}/{name}", "restype:container"])
    signed = b64encode(hmac.new(b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signed}", "Content-Length": "0"}
    with suppress(HTTPError):  # it is there
        urlopen(Request(f"{endpoint}/{name}?restype=container", method="PUT", headers=headers)).close()


@pytest.fixture(params=["gs", "az"])
def place(request, service):
    """The URL of no store yet, and how it is opened."""
    name = f"{uuid4().hex[:8]}/plate.zarr"
    if request.param == "gs":
        return f"gs://bucket/{name}", {"anon": True, "endpoint_url": service.endpoint, "retries": 0}
    endpoint = os.environ.get("AZURITE")
    if not endpoint:
        pytest.skip("AZURITE does not name a running azurite")
    make_container(endpoint, "box")
    return f"az://box/{name}", {"account_name": ACCOUNT, "account_key": KEY, "endpoint_url": endpoint}


def test_a_plate_is_created_edited_renamed_checked_and_deleted(place):
    url, options = place
    pixels = np.arange(64 * 64, dtype="u2").reshape(1, 1, 1, 64, 64)
    shards = {"chunks": (1, 1, 1, 16, 16), "shards_ratio": (1, 1, 1, 4, 4)}
    with lamella.open_ome_zarr(url, "hcs", "w-", ["a"], version="0.5", storage_options=options) as plate:
        position = plate.create_position("A", "1", "0")
        position.create_image("0", pixels, **shards)
        position["0"][0, 0, 0, 3:9, 3:9] = pixels[0, 0, 0, 3:9, 3:9] = 7
        position.compute_pyramid(levels=2)
        position.rename_channel("a", "b")
        plate.rename_well("A/1", "B/2")
    with pytest.raises(StoreExistsError):
        lamella.open_ome_zarr(url, "hcs", "w-", ["a"], version="0.5", storage_options=options)
    plate = lamella.open_ome_zarr(url, storage_options=options)
    assert np.array_equal(plate["B/2/0"]["0"][...], pixels)
    assert np.array_equal(plate["B/2/0"]["0"][0, 0, 0, 5:20, 30:40], pixels[0, 0, 0, 5:20, 30:40])
    assert plate["B/2/0"].channel_names == ["b"]
    assert lamella.validate(url, pixels=True, storage_options=options)
    assert lamella.verify(url, storage_options=options)
    with lamella.open_ome_zarr(url, mode="r+", storage_options=options) as plate:
        del plate["B/2"]
        assert plate.documents.storage.list("") == ["zarr.json"]
