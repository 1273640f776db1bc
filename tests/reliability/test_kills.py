"""Law: a work that is killed at any step of any file leaves whole pieces, old or new, and can be asked for again."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

import lamella
from lamella.errors import LamellaError
from lamella.store.files.local import LocalStorage

from .killer import Killer, started
from .states import State, documents, files, files_but_of_libraries, litter, pieces, stores
from .works import WORKS, Work

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

#: Steps of each work at which the suite kills; `make torture` kills at all of them.
MOST = 6

#: Works whose steps differ between versions are killed in both; of the others every second one in each.
BOTH = {
    "bulk creation",
    "rename a well",
    "append frames",
    "pyramid in units",
    "metadata",
    "convert over a store",
    "upgrade",
    "tables and regions",
}
KILLED = [
    (name, version)
    for n, name in enumerate(name for name in WORKS if not name.startswith(("frames", "levels")))
    for version in (("0.4", "0.5") if name in BOTH else (("0.4", "0.5")[n % 2],))
]

#: Rules that a store may break between two steps of a work: a listed well whose folder has moved already, and
#: documents of two versions, or the attributes of a group whose `.zgroup` is written last. The same call mends it.
HALF_WAY = {
    "rename a well": ("PL-12", "ST-01"),
    "swap wells": ("PL-12", "ST-01"),
    "rename a position": ("PL-12",),
    "bulk creation": ("ST-01",),
    "add positions": ("ST-01",),
    "create labels": ("ST-01",),
    "rename labels": ("LB-01",),
    "upgrade": ("ST-08",),
}


@pytest.fixture(scope="module")
def killer():
    with started() as one:
        yield one


def check_pieces(name: str, found: np.ndarray, old: State, new: State, *, grows: bool = False) -> None:
    """Every file of an array holds what it held before, or what it holds at the end; one that grows may be shorter."""
    known = [one.arrays[name] for one in (old, new) if name in one.arrays]
    assert known, f"{name} is in neither state"
    if grows:
        known = [one[: len(found)] for one in known]
    known = [one for one in known if one.shape == found.shape]
    assert known, f"{name} has the shape {found.shape} of neither state"
    if name not in old.arrays:
        known.append(np.zeros_like(found))
    for box in pieces(found, (*(1,) * (found.ndim - 2), *(8, 6))):
        assert any(np.array_equal(found[box], one[box]) for one in known), (
            f"{name} {box} is neither old nor new"
        )


def check_killed(folder: Path, line: dict, old: State, new: State, allowed: set[str]) -> None:
    """What is there after a kill: everything opens, and is old or new."""
    for name, digest in documents(folder).items():
        assert digest in allowed, f"{name} is neither old nor new"
    assert {name for name in old.documents if name.endswith(".tif")} <= documents(folder).keys()
    found = State.of(folder)
    for name, block in found.arrays.items():
        # A well that swaps names with another one waits under a temporary name.
        settled_name = re.sub("A/lamella[0-9a-f]{8}", "A/1", name)
        check_pieces(settled_name, block, old, new, grows=line.get("grows", False))
    for name, table in found.tables.items():
        assert table in (old.tables.get(name), new.tables.get(name)), f"{name} is neither old nor new"
    assert old.tables.keys() & new.tables.keys() <= found.tables.keys()
    for what in line["acknowledged"]:
        if " " in what:
            path, t, c = what.split()
            np.testing.assert_array_equal(
                found.arrays[f"plate.zarr/{path}"][int(t), int(c)],
                new.arrays[f"plate.zarr/{path}"][int(t), int(c)],
            )
    half_way = (*HALF_WAY.get(line["work"], ()), *line.get("half_way", ()))
    broken = {one for one in found.musts - old.musts - new.musts if one[0] not in half_way}
    assert broken == set(), broken
    for store in stores(folder):
        node = lamella.open_ome_zarr(store)
        if isinstance(node, lamella.Plate):
            assert all(isinstance(one, lamella.Position) for _, one in node.positions())


def finish(work: Work, folder: Path, version: str) -> None:
    """Ask for the work again; where it was done already, another writer comes to the folders with litter."""
    try:
        work.run(folder, version, lambda _: None)
    except LamellaError as error:
        if not work.done or not isinstance(error, work.done):
            raise
        for name in litter(folder):
            store, _, key = name.partition("/")
            if name.endswith(".tmp") and key:
                storage = LocalStorage(folder / store)
                storage.write(f"{key}-next", b"")
                storage.delete(f"{key}-next")


def check_work(killer: Killer, name: str, version: str, tmp_path: Path, engine: str = "files") -> list[dict]:
    work = WORKS[name]
    whole, *lines = killer.kill(name, version, tmp_path, engine, MOST)
    # Threads may make a folder once or twice, so that the last kill comes too late.
    assert {line["status"] for line in lines[:-1]} == {-signal.SIGKILL}, killer.errors
    old, new = State.of(tmp_path / "template"), State.of(Path(whole["folder"]))
    wanted = files(Path(whole["folder"]))
    assert not litter(Path(whole["folder"]))
    allowed = {*old.documents.values(), *new.documents.values(), *whole["documents"]}
    for line in lines:
        folder = Path(line["folder"])
        try:
            check_killed(folder, line, old, new, allowed)
            finish(work, folder, version)
            found = files_but_of_libraries(folder)
            assert sorted(found.keys() ^ wanted.keys()) == []
            assert [key for key in wanted if found[key] != wanted[key]] == []
        except Exception as error:
            error.add_note(f"killed at step {line['n']} of {len(lines)}, before: {line['step']}")
            raise
    return lines


@pytest.mark.parametrize(("name", "version"), KILLED)
def test_a_killed_work_leaves_old_or_new_and_is_finished_by_the_same_call(killer, name, version, tmp_path):
    assert len(check_work(killer, name, version, tmp_path)) > 4


@pytest.mark.parametrize(
    ("name", "version", "engine"),
    [
        ("frames", "0.4", "files"),
        ("frames", "0.5", "zarr"),
        ("frames of shards", "0.5", "files"),
        ("frames of shards", "0.5", "zarr"),
    ],
)
def test_a_killed_write_of_pixels_leaves_old_or_new_files(killer, name, version, engine, tmp_path):
    lines = check_work(killer, name, version, tmp_path, engine)
    assert any(
        " " in what for line in lines for what in line["acknowledged"]
    )  # frames, and some were compared
