"""Law: what cannot be removed whole is not touched: no store vanishes, and no metadata forget what is still there.

Protected content is made by its mode, and met as an ordinary user: where the suite runs as root it gives its rights up.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.reliability.faults import Faults

import lamella
from lamella.errors import LamellaError, StorageError

NOBODY = 65534


@contextmanager
def as_user():
    """Run as a user whom modes of folders bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def plate_path():
    """A plate of two wells, in a folder that an ordinary user may change."""
    root = Path(tempfile.mkdtemp())
    path = root / "plate.zarr"
    plate = lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["a"], version="0.5")
    for column in ("1", "2"):
        position = plate.create_position("A", column, "0")
        position.create_image("0", np.ones((1, 1, 1, 8, 8), "u2"))
        position.compute_pyramid(levels=2)
        position.labels.create("cells", np.ones((1, 1, 8, 8), "u1"))
    spare = root / "spare.zarr"  # all that is imported late is imported now: the user may not read it
    shutil.copytree(path, spare)
    for action in ACTIONS.values():
        shutil.copytree(path, root / "rehearsal.zarr")
        action(root / "rehearsal.zarr")
        shutil.rmtree(root / "rehearsal.zarr")
    lamella.validate(spare, pixels=True)
    shutil.rmtree(spare)
    if os.geteuid() == 0:
        for folder, _, names in os.walk(root):
            for name in (".", *names):
                os.chown(os.path.join(folder, name), NOBODY, NOBODY)
    root.chmod(0o755)
    yield path
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o755)
    shutil.rmtree(root)


def opened(path, **options):
    return lamella.open_ome_zarr(path, mode="r+", **options)


ACTIONS = {
    "mode w": lambda path: lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["b"], version="0.5"
    ),
    "del row": lambda path: opened(path).__delitem__("A"),
    "del well": lambda path: opened(path).__delitem__("A/1"),
    "del position": lambda path: opened(path).__delitem__("A/1/0"),
    "del array": lambda path: opened(path)["A/1/0"].__delitem__("0"),
    "del labels": lambda path: opened(path)["A/1/0"].labels.__delitem__("cells"),
    "overwrite": lambda path: opened(path, overwriting_creation=True)["A/1/0"].create_image(
        "0", np.zeros((1, 1, 1, 8, 8), "u2")
    ),
    "swap": lambda path: lamella.rechunk(path, chunks=(1, 1, 1, 4, 4)),
    "pyramid": lambda path: opened(path)["A/1/0"].delete_pyramid(),
}
"""What removes something of a plate."""

PROTECTED = {"del labels": "A/1/0/labels/cells/0", "pyramid": "A/1/0/1"}
"""The folder that is protected, below which each action removes something."""


def contents(path):
    return {
        str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()
    }


@pytest.mark.parametrize("action", ACTIONS)
def test_a_refused_removal_changes_nothing(plate_path, action):
    inner = plate_path / PROTECTED.get(action, "A/1/0/0")
    before = contents(plate_path)
    inner.chmod(0o555)
    with as_user(), pytest.raises(LamellaError) as caught:
        ACTIONS[action](plate_path)
    assert isinstance(caught.value, (StorageError, PermissionError))
    assert str(plate_path) in str(caught.value)
    assert contents(plate_path) == before
    assert sorted(os.listdir(plate_path.parent)) == ["plate.zarr"]
    inner.chmod(0o755)
    with as_user():
        ACTIONS[action](plate_path)


def test_a_destination_that_cannot_be_listed_is_named(plate_path):
    secret = plate_path.parent / "secret.zarr"
    secret.mkdir(mode=0)
    with as_user(), pytest.raises(StorageError, match=rf"{secret}.*Permission denied"):
        lamella.rechunk(plate_path, secret, chunks=(1, 1, 1, 4, 4), overwrite=True)


def test_a_removal_that_fails_half_way_puts_the_rest_back_and_says_what_is_gone(plate_path):
    before = contents(plate_path)
    steps = {}

    def fail_late(step):
        if step.startswith("unlink"):
            steps[step] = None
            if len(steps) == 4:
                raise OSError(5, os.strerror(5))

    with Faults(plate_path.parent, 1, fail_late, lasting=True), pytest.raises(StorageError) as caught:
        ACTIONS["mode w"](plate_path)
    left = contents(plate_path)
    assert 0 < len(left) == len(before) - 3
    assert all(before[key] == data for key, data in left.items())
    text = str(caught.value)
    assert f"3 of {len(before)} files" in text
    assert f"The rest is in {plate_path}" in text
    # A later writer beside it sweeps nothing of it away.
    lamella.open_ome_zarr(plate_path.parent / "other.zarr", layout="fov", mode="w", channel_names=["a"])
    assert contents(plate_path) == left


def test_what_cannot_be_put_back_is_named_and_never_swept(plate_path):
    before = contents(plate_path)
    seen = []

    def fail_and_occupy(step):
        if step.startswith("unlink"):
            seen.append(step)
            if len(seen) == 2:
                plate_path.mkdir()  # another program is quicker
                raise OSError(5, os.strerror(5))

    with Faults(plate_path.parent, 1, fail_and_occupy, lasting=True), pytest.raises(StorageError) as caught:
        ACTIONS["mode w"](plate_path)
    where = Path(str(caught.value).rpartition("The rest is in ")[2].rstrip("."))
    assert where.parent == plate_path.parent
    assert len(contents(where)) == len(before) - 1
    for n in range(2):
        lamella.open_ome_zarr(plate_path.parent / f"o{n}.zarr", layout="fov", mode="w", channel_names=["a"])
    assert len(contents(where)) == len(before) - 1


@pytest.mark.parametrize("action", ["del well", "del position"])
def test_a_member_of_a_protected_folder_is_not_emptied(plate_path, action):
    before = contents(plate_path)
    (plate_path / "A").chmod(0o555)
    with as_user(), pytest.raises(StorageError) as caught:
        ACTIONS[action](plate_path)
    assert str(plate_path / "A") in str(caught.value)
    assert contents(plate_path) == before
    (plate_path / "A").chmod(0o755)
    with as_user():
        ACTIONS[action](plate_path)


def test_a_store_in_a_protected_folder_is_emptied_and_written_in_place(plate_path):
    (plate_path / "notes.txt").write_text("old")
    plate_path.parent.chmod(0o555)
    with as_user():
        ACTIONS["mode w"](plate_path)
    assert os.listdir(plate_path) == ["zarr.json"]
    assert not list(lamella.open_ome_zarr(plate_path).positions())


def test_a_store_in_a_protected_folder_with_protected_content_is_not_touched(plate_path):
    before = contents(plate_path)
    plate_path.parent.chmod(0o555)
    (plate_path / "A/1/0/0").chmod(0o555)
    with as_user(), pytest.raises(StorageError, match="Nothing was removed"):
        ACTIONS["mode w"](plate_path)
    assert contents(plate_path) == before


def copied(path, **options):
    return lamella.copy_store(path, path.parent / "copy.zarr", **options)


UNREADABLE = {
    "copy": (copied, "A/1/0/0/c/0/0/0/0/0"),
    "upgrade": (lambda path: lamella.upgrade(path, "0.6", path.parent / "copy.zarr"), "A/1/0/0/c/0/0/0/0/0"),
    "a parent": (lamella.verify, ".."),
    "a parent of a copy": (copied, ".."),
    "a destination": (lambda path: lamella.upgrade(path, "0.6", path / "out" / "copy.zarr"), "out"),
    "a store to replace": (lambda path: copied(path, overwrite=True), "../copy.zarr"),
}
"""What reads or writes, and what the user has no right to read or write."""


@pytest.mark.parametrize("call", UNREADABLE)
def test_what_the_user_may_not_read_or_write_is_named(plate_path, call):
    run, name = UNREADABLE[call]
    protected = Path(os.path.normpath(plate_path / name))
    if not protected.exists():
        protected.mkdir()
    protected.chmod(0o000)
    with as_user(), pytest.raises(LamellaError) as caught:
        run(plate_path)
    protected.chmod(0o755)
    assert str(protected) in str(caught.value)
    assert ".lamella" not in str(caught.value)


def test_chunks_that_the_user_may_not_read_are_not_taken_for_damaged(plate_path):
    chunk = plate_path / "A/1/0/0/c/0/0/0/0/0"
    (plate_path / "A/2/zarr.json").chmod(0o000)
    chunk.chmod(0o000)
    with as_user():
        report = lamella.validate(plate_path, pixels=True)
    unread = [finding for finding in report.findings if finding.level == "MUST"]
    assert [(finding.rule, finding.node) for finding in unread] == [("LM-09", "A/1/0/0"), ("LM-01", "A/2")]
    assert {finding.remedy for finding in unread} == {"validate again when it can be read"}


def test_a_store_that_the_user_may_not_write_is_named(plate_path):
    shutil.copytree(plate_path, plate_path.parent / "copy.zarr")
    opened(plate_path.parent / "copy.zarr").rename_well("A/1", "A/7")  # imports what the user may not read
    plate_path.chmod(0o555)
    with as_user(), pytest.raises(StorageError) as caught:
        opened(plate_path).rename_well("A/1", "A/7")
    plate_path.chmod(0o755)
    assert str(caught.value) == f"Cannot write to {plate_path}: Permission denied."
