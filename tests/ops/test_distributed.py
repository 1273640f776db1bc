"""Law: on a cluster of processes the results are complete and the same to the bit, also when a worker is killed."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from scipy import ndimage
from tests.ops.cluster import cluster_client

import lamella
from lamella.ops.conversion.convert import convert

pytestmark = [
    pytest.mark.filterwarnings("default"),  # those of distributed itself are not ours
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a worker is killed by SIGKILL"),
]

SHAPE = (2, 1, 4, 96, 128)


@pytest.fixture(scope="module")
def client():
    with cluster_client() as client:
        yield client


@pytest.fixture(params=["0.5"])
def plate(request, tmp_path):
    layout = {} if request.param == "0.4" else {"shards_ratio": (1, 1, 2, 2, 2)}
    with lamella.open_ome_zarr(
        tmp_path / "plate.zarr", layout="hcs", mode="w", channel_names=["DAPI"], version=request.param
    ) as plate:
        for seed, position in enumerate(plate.create_positions([("A", "1", "0"), ("B", "2", "0")])):
            pixels = np.random.default_rng(seed).integers(0, 999, SHAPE, dtype="uint16")
            position.create_image("0", pixels, chunks=(1, 1, 2, 16, 32), **layout)
    return lamella.open_ome_zarr(tmp_path / "plate.zarr", mode="r+")


class KillOne:
    """Kills a worker process of the cluster when the first result has come."""

    def __init__(self, client):
        client.wait_for_workers(2, timeout=120)  # the one that the test before killed starts again
        self.pids = list(client.run(os.getpid).values())
        self.killed = False

    def __call__(self, *_):
        if not self.killed:
            self.killed = True
            os.kill(self.pids[0], signal.SIGKILL)


def tree(root):
    """Every file of a store but the hidden ones, which hold when and where it was made."""
    return {
        str(f.relative_to(root)): f.read_bytes()
        for f in sorted(root.rglob("*"))
        if f.is_file() and not f.name.startswith(".lamella-")
    }


def halved(block):
    return block // 2


@pytest.mark.parametrize("plate", ["0.4"], indirect=True)
def test_a_map_is_complete_when_a_worker_is_killed(client, plate, tmp_path):
    kill = KillOne(client)
    plate.map(
        halved, over="regions", output=tmp_path / "there.zarr", executor=client.get_executor(), progress=kill
    )
    assert kill.killed
    plate.map(halved, over="regions", output=tmp_path / "here.zarr", jobs=1)
    there, here = tree(tmp_path / "there.zarr"), tree(tmp_path / "here.zarr")
    assert there.keys() == here.keys()
    assert {k: v for k, v in there.items() if "/0/0/" in k} == {k: v for k, v in here.items() if "/0/0/" in k}


def objects(block):
    """Connected components of each timepoint of blocks (t, c, z, y, x)."""
    return np.stack([ndimage.label(frame > 600)[0] for frame in block[:, 0]])


def test_labels_of_blocks_are_stitched_as_without_a_cluster(client, plate):
    options = {"over": "regions", "halo": 1, "positions": ["A/1/0"]}
    plate.map(objects, name="labels/there", executor=client.get_executor(), **options)
    plate.map(objects, name="labels/here", jobs=1, **options)
    labels = plate["A/1/0"].labels
    np.testing.assert_array_equal(labels["there"]["0"][...], labels["here"]["0"][...])
    count = sum(ndimage.label(frame > 600)[1] for frame in plate["A/1/0"]["0"][:, 0])
    assert labels["there"]["0"][...].max() == count


@pytest.mark.parametrize("plate", ["0.4"], indirect=True)
def test_a_rechunked_store_is_the_same_when_a_worker_is_killed(client, plate, tmp_path):
    kill = KillOne(client)
    source = tmp_path / "plate.zarr"
    lamella.rechunk(
        source,
        tmp_path / "there.zarr",
        chunks=(2, 32, 32),
        shards="none",
        executor=client.get_executor(),
        progress=kill,
    )
    assert kill.killed
    lamella.rechunk(source, tmp_path / "here.zarr", chunks=(2, 32, 32), shards="none", jobs=1)
    assert tree(tmp_path / "there.zarr") == tree(tmp_path / "here.zarr")


def test_a_pyramid_is_the_same_when_a_worker_is_killed(client, plate, tmp_path):
    there, here = plate["A/1/0"], plate["B/2/0"]
    here["0"][:] = there["0"][:]
    killed = KillOne(client)

    class Executor(type(client.get_executor())):
        """Kills a worker when the second unit is handed out."""

        def submit(self, *arguments, **options):
            future = super().submit(*arguments, **options)
            future.add_done_callback(killed)
            return future

    there.compute_pyramid(levels=3, executor=Executor(client))
    assert killed.killed
    here.compute_pyramid(levels=3)
    for level in ("1", "2"):
        assert np.array_equal(there[level][:], here[level][:])
    assert lamella.validate(plate, pixels=True)


def test_a_conversion_is_the_same_when_a_worker_is_killed(client, tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    pixels = np.random.default_rng(0).integers(0, 999, (24, 100, 120)).astype("uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", metadata={"axes": "ZYX"})
    for module in ("lamella.ops.conversion.write", "lamella.ops.pyramids.passes"):
        monkeypatch.setattr(f"{module}.UNIT_BYTES", 100_000)  # an image of several units
    monkeypatch.setattr("lamella.ops.conversion.write._LARGE_UNIT_BYTES", 0)
    kill = KillOne(client)
    options = {"levels": 3, "chunks": (4, 32, 32), "shards": "none"}
    convert(
        tmp_path / "a.tif",
        tmp_path / "there.zarr",
        executor=client.get_executor(),
        progress=lambda done, planes, what: kill() if 0 < done < planes else None,
        **options,
    )
    assert kill.killed
    convert(tmp_path / "a.tif", tmp_path / "here.zarr", **options)
    assert tree(tmp_path / "there.zarr") == tree(tmp_path / "here.zarr")


def test_verification_finds_the_same(client, plate, tmp_path):
    shard = next(
        f for f in sorted((tmp_path / "plate.zarr/A/1/0/0").rglob("*")) if f.is_file() and "." not in f.name
    )
    shard.write_bytes(shard.read_bytes()[:-9])
    found = lamella.verify(plate, executor=client.get_executor())
    assert not found
    assert found == lamella.verify(plate, jobs=1)


def test_lazy_arrays_are_computed_by_the_workers(client, plate):
    pixels = plate["A/1/0"]["0"][:]
    assert np.array_equal(plate["A/1/0"]["0"].dask_array().compute(), pixels)
    assert np.array_equal(plate["A/1/0"].to_xarray().max("z").values, pixels.max(axis=2))
