"""A rewrite that is killed (SIGKILL, in a process of its own): one store is whole at any time, the same call finishes.

The process kills itself at a point: after a number of calls of a function that is on the way.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from tests.warm import run

import lamella
from lamella.errors import InvalidArgumentError

from .rewriting import build_image, build_plate, check_same_pixels, check_valid, pixels

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")

SCRIPT = """
import importlib, os, signal, sys, warnings
import lamella, lamella.ops.rewriting.workspace, lamella.ops.rewriting.rechunk, lamella.ops.rewriting.upgrade

place, count, when, operation, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], eval(sys.argv[5])
module, _, path = place.partition(":")
owner = importlib.import_module(module)
*parts, name = path.split(".")
for part in parts:
    owner = getattr(owner, part)
real = getattr(owner, name)
calls = 0

def patched(*args, **options):
    global calls
    calls += 1
    if calls == count and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*args, **options)
    if calls == count and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, patched)
if place == "os:rename":  # as where the system cannot exchange names
    lamella.store.files.file_system.exchange = lambda *_: False
getattr(lamella, operation)(*arguments[0], **arguments[1], jobs=1)
print("finished")
"""

COPY = "lamella.store.files.local:LocalStorage.copy_from"
REPLACE = "os:replace"
WRITE = "lamella.store.pixels.arrays:StoredArray.write"
GROUP = "lamella.store.metadata.documents:Documents.put_groups"
RENAME = "os:rename"
EXCHANGE = "lamella.store.files.file_system:exchange"
RMTREE = "shutil:rmtree"


def kill(place, count, when, operation, *positional, **options):
    arguments = repr(([str(item) for item in positional], options))
    done = run(SCRIPT, place, count, when, operation, arguments)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def check_nothing_is_left(folder, *names):
    assert sorted(item.name for item in folder.iterdir()) == list(names)
    assert not [
        item for item in folder.rglob("*") if item.name.startswith(".lamella-") or "partial" in item.name
    ]


def workspace(path):
    return path.parent / f".lamella-rewrite-{path.name}"


def check_one_is_whole(path, expected):
    """What the user has: the store at its place, or the old one beside it and the new one complete."""
    if path.exists():
        check_same_pixels(pixels(path), expected)
    else:
        check_same_pixels(pixels(workspace(path) / "old"), expected)
        check_same_pixels(pixels(workspace(path) / "store"), expected)


@pytest.mark.parametrize(
    ("place", "count", "when"),
    [
        (COPY, 1, "before"),
        (COPY, 9, "after"),
        (REPLACE, 12, "before"),
        (EXCHANGE, 1, "before"),
        (EXCHANGE, 1, "after"),
        (RENAME, 1, "after"),
        (RENAME, 2, "after"),
        (RMTREE, 1, "after"),
    ],
)
def test_an_upgrade_in_place_is_finished_by_the_same_call(tmp_path, place, count, when):
    path = build_plate(tmp_path / "plate.zarr", "0.4")
    expected = pixels(path)
    kill(place, count, when, "upgrade", path, "0.5")
    assert path.exists() or place == RENAME
    check_one_is_whole(path, expected)
    report = lamella.upgrade(path, "0.5")
    assert report.arrays == len(expected)
    check_same_pixels(pixels(path), expected)
    check_valid(path, "0.5")
    check_nothing_is_left(tmp_path, "plate.zarr")


@pytest.mark.parametrize(
    ("place", "count", "when"),
    [
        (WRITE, 3, "after"),
        (REPLACE, 8, "before"),
        (GROUP, 1, "before"),
        (RENAME, 1, "before"),
        (RENAME, 1, "after"),
    ],
)
def test_an_upgrade_to_elsewhere_shows_nothing_before_it_is_whole(tmp_path, place, count, when):
    path = build_image(tmp_path / "in.zarr", "0.5", shards_ratio=(1, 1, 2, 2, 2))
    target = tmp_path / "out" / "new.zarr"
    expected = pixels(path)
    kill(place, count, when, "upgrade", path, "0.4", target)
    if target.exists():
        check_same_pixels(pixels(target), expected)
    lamella.upgrade(path, "0.4", target)
    check_same_pixels(pixels(target), expected)
    check_valid(target, "0.4")
    check_nothing_is_left(target.parent, "new.zarr")
    check_same_pixels(pixels(path), expected)


@pytest.mark.parametrize(
    ("version", "place", "count", "when"),
    [
        ("0.4", WRITE, 2, "after"),
        ("0.5", WRITE, 2, "after"),
        ("0.5", REPLACE, 9, "before"),
        ("0.4", EXCHANGE, 1, "after"),
        ("0.5", RENAME, 1, "after"),
        ("0.4", RMTREE, 1, "after"),
    ],
)
def test_a_rechunk_in_place_is_finished_by_the_same_call(tmp_path, version, place, count, when):
    path = build_plate(tmp_path / "plate.zarr", version)
    expected = pixels(path)
    shards = {} if version == "0.4" else {"shards": (4, 10, 30)}
    kill(place, count, when, "rechunk", path, chunks=(2, 10, 10), **shards)
    assert path.exists() or place == RENAME
    check_one_is_whole(path, expected)
    lamella.rechunk(path, chunks=(2, 10, 10), **shards)
    check_same_pixels(pixels(path), expected)
    check_valid(path, version)
    assert lamella.open_ome_zarr(path)["B/2/0"]["0"].chunks == (1, 1, 2, 10, 10)
    check_nothing_is_left(tmp_path, "plate.zarr")


def test_between_documents_of_one_format(tmp_path):
    path = build_plate(tmp_path / "plate.zarr", "0.5")
    expected = pixels(path)
    kill("lamella.store.metadata.documents:Documents.edit_group", 4, "after", "upgrade", path, "0.6")
    check_same_pixels(pixels(path), expected)
    lamella.upgrade(path, "0.6")
    check_valid(path, "0.6")


def finished_files(path):
    found = {item: item.stat() for item in workspace(path).rglob("*") if item.is_file() and "c" in item.parts}
    return {item: (stat.st_ino, stat.st_mtime_ns) for item, stat in found.items()}


def finished_again(path, names):
    return {name: (stat.st_ino, stat.st_mtime_ns) for name in names for stat in [name.stat()]}


def test_what_was_written_is_not_written_again(tmp_path):
    path = build_image(tmp_path / "in.zarr", "0.4")
    kill(COPY, 10, "before", "upgrade", path, "0.5")
    before = finished_files(path)
    assert len(before) == 9
    kill(RENAME, 1, "before", "upgrade", path, "0.5")
    assert finished_again(path, before) == before


def test_pixels_that_changed_meanwhile_are_written_again(tmp_path):
    path = build_image(tmp_path / "in.zarr", "0.4")
    kill(RENAME, 1, "before", "upgrade", path, "0.5")
    with lamella.open_ome_zarr(path, mode="r+") as position:
        position["0"][0, 0, 0, :8, :16] = 77
    expected = pixels(path)
    lamella.upgrade(path, "0.5")
    check_same_pixels(pixels(path), expected)


def test_pixels_that_changed_meanwhile_are_cut_again(tmp_path):
    path = build_image(tmp_path / "in.zarr", "0.5")
    kill(RENAME, 1, "before", "rechunk", path, chunks=(4, 5, 5))
    with lamella.open_ome_zarr(path, mode="r+") as position:
        position["0"][0, 0, 0, :8, :16] = 77
    expected = pixels(path)
    lamella.rechunk(path, chunks=(4, 5, 5))
    check_same_pixels(pixels(path), expected)


@pytest.mark.parametrize(
    ("operation", "arguments", "options"),
    [("upgrade", ["0.5"], {}), ("rechunk", [], {"chunks": (1, 1, 1, 16, 8)})],
    ids=["files as they are", "pixels"],
)
def test_pixels_that_changed_in_files_of_the_same_size_are_written_again(
    tmp_path, operation, arguments, options
):
    # Neither a size nor a document tells of the change: no lower levels that would be stale, and no compression.
    path = tmp_path / "in.zarr"
    with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["a"], version="0.4") as position:
        position.create_image(
            "0", np.ones((1, 1, 2, 16, 16), "u2"), chunks=(1, 1, 1, 8, 16), compressor="none"
        )
    kill(RENAME, 1, "before", operation, path, *arguments, **options)
    with lamella.open_ome_zarr(path, mode="r+") as position:
        position["0"][0, 0, 0, :8, :16] = 77
    expected = lamella.open_ome_zarr(path)["0"][...]
    getattr(lamella, operation)(path, *arguments, **options)
    np.testing.assert_array_equal(lamella.open_ome_zarr(path)["0"][...], expected)


@pytest.mark.parametrize("operation", ["upgrade", "rechunk"])
def test_times_alone_do_not_say_that_a_file_is_written(tmp_path, operation):
    """A file that is put back from a backup is older than what was written, and another one all the same."""
    path = tmp_path / "in.zarr"
    with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["a"], version="0.4") as position:
        position.create_image(
            "0", np.ones((1, 1, 2, 16, 16), "u2"), chunks=(1, 1, 1, 8, 16), compressor="none"
        )
    given = ["0.5"] if operation == "upgrade" else []
    options = {} if operation == "upgrade" else {"chunks": (1, 1, 1, 16, 8)}
    kill(RENAME, 1, "before", operation, path, *given, **options)
    file = path / "0/0/0/0/0/0"
    file.write_bytes(bytes(len(file.read_bytes())))
    os.utime(file, (0, 0))
    expected = lamella.open_ome_zarr(path)["0"][...]
    getattr(lamella, operation)(path, *given, **options)
    np.testing.assert_array_equal(lamella.open_ome_zarr(path)["0"][...], expected)


def test_metadata_that_changed_meanwhile_are_the_new_ones(tmp_path):
    path = build_image(tmp_path / "in.zarr", "0.4")
    kill(RENAME, 1, "before", "upgrade", path, "0.5")
    with lamella.open_ome_zarr(path, mode="r+") as position:
        position.zattrs["lab"] = "new"
        del position["1"]
    expected = pixels(path)
    lamella.upgrade(path, "0.5")
    check_same_pixels(pixels(path), expected)
    assert lamella.open_ome_zarr(path).zattrs["lab"] == "new"


def test_a_half_written_store_of_another_command_is_refused(tmp_path):
    path = build_image(tmp_path / "in.zarr", "0.4")
    expected = pixels(path)
    kill(COPY, 9, "after", "upgrade", path, "0.5")
    with pytest.raises(InvalidArgumentError, match=r"unfinished store of another command.*upgrade.*0\.5"):
        lamella.rechunk(path, chunks=(1, 5, 5))
    with pytest.raises(InvalidArgumentError, match="unfinished store of another command"):
        lamella.upgrade(path, "0.6")
    lamella.upgrade(path, "0.5")
    check_same_pixels(pixels(path), expected)


def test_a_folder_in_the_way_that_is_not_ours_stays(tmp_path):
    path = build_image(tmp_path / "in.zarr", "0.4", labels=False)
    foreign = workspace(path)
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("only copy")
    with pytest.raises(InvalidArgumentError, match="not a workspace"):
        lamella.upgrade(path, "0.5")
    assert (foreign / "thesis.txt").read_text() == "only copy"


def test_a_swap_that_began_is_finished_whatever_comes_next(tmp_path):
    path = build_image(tmp_path / "in.zarr", "0.4", labels=False)
    expected = pixels(path)
    kill(RENAME, 1, "after", "upgrade", path, "0.5")
    assert not path.exists()
    lamella.rechunk(path, chunks=(1, 5, 5))
    check_same_pixels(pixels(path), expected)
    check_valid(path, "0.5")
    assert Path(path / "0" / "c" / "0" / "1" / "3" / "3" / "5").is_file()
