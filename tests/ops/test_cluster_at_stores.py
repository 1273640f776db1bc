"""Law: workers of a cluster read and write an object store with the credentials of the call, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from tests.ops.cluster import cluster_client
from tests.remote import KEYS

import lamella

pytestmark = pytest.mark.filterwarnings("default")  # those of distributed itself are not ours

PIXELS = np.random.default_rng(0).integers(1, 999, (2, 1, 2, 32, 32)).astype("u2")


@pytest.fixture
def client(service, monkeypatch):
    """A cluster of two processes, whose environment knows no store and no credentials."""
    for name in (*KEYS, "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with cluster_client() as client:
        yield client


def negative(block):
    return 1000 - block


def test_workers_read_and_write_with_the_options_of_the_call(client, service):
    options = {"key": "me", "secret": "hidden", "endpoint_url": service.endpoint}
    url, results = "s3://bucket/plate.zarr", "s3://bucket/results.zarr"
    with lamella.open_ome_zarr(url, "hcs", "w-", ["a"], version="0.5", storage_options=options) as plate:
        for position in plate.create_positions([("A", "1", "0"), ("B", "2", "0")]):
            position.create_image("0", PIXELS, chunks=(1, 1, 1, 16, 16), shards_ratio=(1, 1, 1, 2, 2))
    plate = lamella.open_ome_zarr(url, mode="r+", storage_options=options)
    image = plate["A/1/0"]
    assert np.array_equal(image["0"].dask_array().compute(), PIXELS)  # by the client that is there
    assert np.array_equal(image.to_xarray().max("z").values, PIXELS.max(axis=2))
    executor = client.get_executor()
    image.compute_pyramid(levels=2, executor=executor)
    plate["B/2/0"].compute_pyramid(levels=2)
    assert np.array_equal(image["1"][...], plate["B/2/0"]["1"][...])
    plate.map(negative, over="regions", output=results, executor=executor, storage_options=options)
    assert np.array_equal(
        lamella.open_ome_zarr(results, storage_options=options)["B/2/0"]["0"][...], 1000 - PIXELS
    )
    image.write_xarray(image.to_xarray() + 1)
    assert np.array_equal(image["0"][...], PIXELS + 1)
    assert lamella.verify(plate, executor=executor)
    lamella.rechunk(url, "s3://bucket/cut.zarr", chunks=(8, 8), executor=executor, storage_options=options)
    cut = lamella.open_ome_zarr("s3://bucket/cut.zarr", storage_options=options)
    assert np.array_equal(cut["A/1/0"]["0"][...], PIXELS + 1)
    assert not [path for _, path in service.requests if "hidden" in path]
