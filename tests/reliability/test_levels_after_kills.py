"""Law: whatever was killed, each level that an image lists is whole, or counts as stale or not written."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import lamella

from .killer import started
from .works import WORKS, bright, double

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

#: Each with one version: what lists levels is the same code in all.
VERSIONS = {
    "levels of a map": "0.5",
    "levels of an image": "0.4",
    "levels of a stream": "0.6",
    "levels of a mosaic": "0.5",
}


def mean(block: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The next level of unsigned integers by its definition: the mean of each block, half to even."""
    factors = [fine // coarse for fine, coarse in zip(block.shape, shape, strict=True)]
    parts = itertools.chain.from_iterable(zip(shape, factors, strict=True))
    return np.rint(block.reshape(tuple(parts)).mean(tuple(range(1, 2 * block.ndim, 2)))).astype(block.dtype)


def check_levels(position: lamella.Position) -> set[str]:
    """Check what an image lists; return in which words it was reported that a level is not whole."""
    told, paths = set(), position.dataset_paths
    levels = {path: position[path][:] for path in paths}  # each exists and opens
    states = {array.path.rpartition("/")[2]: array for array in position.status().levels}
    assert states.keys() == levels.keys()
    before = None
    for path, found in levels.items():
        whole = True
        if path == "half":
            whole = np.array_equal(found, double(position))
        elif before is not None:
            whole = np.array_equal(found, mean(before, found.shape))
        before = before if path == "half" else found
        if not whole:
            assert position.stale_levels or not states[path]
            told.add(path)
    return told


def check_store(store: Path) -> set[str]:
    told = set()
    for _, position in lamella.open_ome_zarr(store).positions():
        told |= check_levels(position)
    return told


@pytest.fixture(scope="module")
def killer():
    with started() as one:
        yield one


@pytest.mark.parametrize("name", VERSIONS)
def test_each_level_that_is_listed_after_a_kill_is_whole_or_said_not_to_be(killer, name, tmp_path):
    _, *lines = killer.kill(name, VERSIONS[name], tmp_path, "tensorstore", 9)
    assert check_store(tmp_path / "out" / "finished" / "plate.zarr") == set()
    killed = [line for line in lines if line["status"] == -signal.SIGKILL]
    assert len(killed) > 4
    for line in lines:
        folder = tmp_path / "out" / str(line["n"])
        check_store(folder / "plate.zarr")
        WORKS[name].run(folder, VERSIONS[name], print)
        assert check_store(folder / "plate.zarr") == set()


def test_the_same_call_completes_labels_of_blocks_after_a_kill(killer, tmp_path):
    _, *lines = killer.kill("levels of labels of blocks", "0.5", tmp_path, "files", 4)
    for line in lines:
        folder = Path(line["folder"])
        WORKS["levels of labels of blocks"].run(folder, "0.5", print)
        with lamella.open_ome_zarr(folder / "plate.zarr") as plate:
            for path in ("A/1/0", "B/2/0"):
                labels = plate[path].labels["bright"]["0"][...]
                np.testing.assert_array_equal(labels > 0, bright(plate[path]["0"][...]))
        assert not [path for path in folder.rglob(".lamella-map-*") if path.is_dir()]
