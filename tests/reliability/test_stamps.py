"""Laws: what a handle shows is what the store says, also where others edit the same document at the worst instant."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pytest
from zarr.storage import MemoryStore, WrapperStore

from lamella import open_ome_zarr
from lamella.models import TransformationMeta, axes

from .released import at_release

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def version(request):
    return request.param


def make(store, version, levels=1):
    position = open_ome_zarr(
        store, layout="fov", mode="w-", channel_names=["DAPI", "GFP"], axes=axes("cyx"), version=version
    )
    position["0"] = np.zeros((2, 8, 8), "uint16")
    if levels > 1:
        position.compute_pyramid(levels=levels)
    return position


def edit(folder: Path, change: Callable[[dict], object], *, in_place: bool = False) -> None:
    """Edit the attributes of a group as a program would that knows no locks."""
    file = next(path for name in ("zarr.json", ".zattrs") if (path := folder / name).exists())
    document = json.loads(file.read_text())
    change(document["attributes"] if file.name == "zarr.json" else document)
    new = file if in_place else folder / "other program"
    new.write_text(json.dumps(document, indent=1))
    new.replace(file)


EDITS = {
    "rename a channel": lambda position: position.rename_channel("GFP", "actin"),
    "set a scale": lambda position: position.set_scale("0", "x", 0.5),
    "set a transform": lambda position: position.set_transform(
        "0", [TransformationMeta(type="scale", scale=[1, 2, 2])]
    ),
    "create an array": lambda position: position.create_zeros("s1", (2, 4, 4), "uint16"),
    "assign an attribute": lambda position: position.zattrs.update({"note": 1}),
    "dump_meta": lambda position: (
        setattr(position.metadata.multiscales[0], "name", "x"),
        position.dump_meta(),
    ),
    "delete a level": lambda position: position.__delitem__("0"),
}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("kind", EDITS)
def test_a_handle_shows_what_others_wrote_when_its_own_edit_released_the_lock(
    tmp_path, version, kind, in_place
):
    number, came = 1, True
    while came:
        path = tmp_path / f"{number}.zarr"
        make(path, version).close()
        with open_ome_zarr(path, mode="r+") as position:
            assert position.channel_names == ["DAPI", "GFP"]

            def rename(attributes):
                attributes.get("ome", attributes)["omero"]["channels"][0]["label"] = "nuclei"

            with at_release(number, partial(edit, path, rename, in_place=in_place)) as releases:
                EDITS[kind](position)
            came = releases.acted
            if came:
                assert position.channel_names[0] == "nuclei", number
                assert position.metadata.omero.channels[0].label == "nuclei"
        number += 1
    assert number > 2


def unmark(attributes):
    """Edit as a program does that made the levels anew: nothing is stale any more."""
    attributes.pop("lamella", None)


def test_levels_made_anew_when_a_writer_released_the_lock_are_stale_once_it_has_written(tmp_path, version):
    path = tmp_path / "a.zarr"
    make(path, version, levels=2).close()
    with open_ome_zarr(path, mode="r+") as position:
        image = position["0"]
        assert not position.stale_levels

        def act():
            assert not open_ome_zarr(path)["0"][0, 0].any()  # the writer has not written yet
            edit(path, unmark)

        with at_release(1, act) as releases:
            image[0, 0] = 7
        assert releases.acted
        assert open_ome_zarr(path).stale_levels
        edit(path, unmark)
        image[0, 1] = 7
        assert open_ome_zarr(path).stale_levels
    found = open_ome_zarr(path, mode="r+")
    assert found.stale_levels
    found.update_pyramid()
    assert found["1"][0, 0].any()


@pytest.fixture(params=["local", "memory", "wrapped", "url"])
def store(request, tmp_path):
    """Return stores that tell when a document changes, and stores that do not."""
    if request.param == "url":
        return f"memory://{uuid4().hex}/a.zarr"
    return {
        "local": lambda: tmp_path / "a.zarr",
        "memory": MemoryStore,
        "wrapped": lambda: WrapperStore(MemoryStore()),
    }[request.param]()


def test_levels_that_another_handle_made_anew_are_stale_after_the_next_write(store, version):
    make(store, version, levels=2).close()
    with open_ome_zarr(store, mode="r+") as writer:
        image = writer["0"]
        for value in (1, 2, 3):
            image[0, value] = value
            with open_ome_zarr(store, mode="r+") as other:
                assert other.stale_levels
                other.compute_pyramid()
                assert not other.stale_levels
        image[0, 0] = 9
        assert open_ome_zarr(store).stale_levels
    assert open_ome_zarr(store).stale_levels


def test_levels_made_after_a_writer_looked_are_stale_after_its_next_write(store, version):
    make(store, version).close()
    with open_ome_zarr(store, mode="r+") as writer:
        image = writer["0"]
        image[0, 1] = 1  # there is nothing that could be stale
        with open_ome_zarr(store, mode="r+") as other:
            other.compute_pyramid(levels=2)
        image[0, 2] = 2
        assert open_ome_zarr(store).stale_levels


def write_row(path, row, value):
    """Write to level 0 from another process, and end."""
    with open_ome_zarr(path, mode="r+") as position:
        position["0"][0, row] = value


def test_what_is_written_while_levels_are_brought_up_to_date_is_in_them_or_stale(tmp_path):
    number, came = 1, True
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        while came:
            path = tmp_path / f"{number}.zarr"
            make(path, "0.5", levels=2).close()
            write_row(path, 0, 4)
            with open_ome_zarr(path, mode="r+") as position:
                with at_release(
                    number, lambda path=path: pool.submit(write_row, path, 0, 8).result()
                ) as releases:
                    position.update_pyramid()
                came = releases.acted
                found = open_ome_zarr(path)
                fine = found["0"][:].reshape(2, 4, 2, 4, 2).mean((2, 4))
                assert found.stale_levels or np.array_equal(found["1"][:], fine), number
            number += 1
    assert number > 3
