"""Law: a table that is replaced, created, renamed or deleted is the old or the new one after a kill anywhere."""

from __future__ import annotations

import shutil
from contextlib import suppress

import numpy as np
import pytest
from zarr.storage import MemoryStore

import lamella
from lamella.errors import LamellaError

from .faults import Faults, chosen
from .refusing import Refusing

OLD, NEW = {"area": [1.0, 2.0], "kind": ["a", "b"]}, {"area": [3.0], "kind": ["c"]}


class CutShortError(BaseException):
    """Stands for the death of the process: no later step is made either."""


def cut(_: str) -> None:
    raise CutShortError


def prepared(place, version):
    with lamella.open_ome_zarr(
        place, layout="fov", mode="w-", channel_names=["DAPI"], version=version
    ) as position:
        position["0"] = np.ones((1, 1, 1, 8, 8), "uint16")
        for backend in ("anndata", "csv"):
            position.tables.write(f"old_{backend}", OLD, backend=backend)


def replace(position):
    position.tables.write("old_anndata", NEW)


def change_backend(position):
    position.tables.write("old_csv", NEW, backend="anndata")


def create(position):
    position.tables.write("new", NEW, backend="anndata")


def rename(position):
    with suppress(KeyError):
        position.tables.rename("old_anndata", "new")


def delete(position):
    with suppress(KeyError):
        del position.tables["old_anndata"]


CALLS = {
    replace: ({"old_anndata": NEW, "old_csv": OLD}, {"old_anndata": OLD, "old_csv": OLD}),
    change_backend: ({"old_anndata": OLD, "old_csv": NEW}, {"old_anndata": OLD, "old_csv": OLD}),
    create: ({"old_anndata": OLD, "old_csv": OLD, "new": NEW}, {"old_anndata": OLD, "old_csv": OLD}),
    rename: ({"new": OLD, "old_csv": OLD}, {"old_anndata": OLD, "old_csv": OLD}),
    delete: ({"old_csv": OLD}, {"old_anndata": OLD, "old_csv": OLD}),
}


def content(place):
    tables = lamella.open_ome_zarr(place).tables
    return {name: tables[name].to_dict(orient="list") for name in tables}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_table_in_a_folder_is_old_or_new_and_the_same_call_ends_it(tmp_path, version, call):
    after, before = CALLS[call]
    prepared(tmp_path / "a.zarr", version)
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "all.zarr")
    with Faults(tmp_path / "all.zarr") as faults:
        call(lamella.open_ome_zarr(tmp_path / "all.zarr", mode="r+"))
    for step in chosen(faults.steps, 12):
        place = tmp_path / f"{step}.zarr"
        shutil.copytree(tmp_path / "a.zarr", place)
        with suppress(CutShortError), Faults(place, step, cut, lasting=True):
            call(lamella.open_ome_zarr(place, mode="r+"))
        assert content(place) in (before, after), step
        call(lamella.open_ome_zarr(place, mode="r+"))
        assert content(place) == after, step


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_a_table_in_an_object_store_is_old_or_new_and_the_same_call_ends_it(call):
    after, before = CALLS[call]
    for steps in range(0, 200, 3):
        store = MemoryStore()
        prepared(store, "0.5")
        refusing = Refusing(store, steps)
        with suppress(LamellaError):
            call(lamella.open_ome_zarr(refusing, mode="r+"))
        assert content(store) in (before, after), steps
        call(lamella.open_ome_zarr(store, mode="r+"))
        assert content(store) == after, steps
        if refusing.left >= 0:
            break
    else:
        raise AssertionError("it never ended")


def test_a_table_of_a_plate_names_a_field_as_its_well_does_after_the_next_call(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "a.zarr", layout="hcs", mode="w-", channel_names=["a"]) as plate:
        plate.create_positions([("A", "1", "0"), ("A", "1", "1")])
        plate.tables.write("cells", {"well": ["A1"], "field": ["0"]}, backend="csv")
        plate.tables.write("paths", {"path": ["A/1/0"]}, backend="anndata")

    def rename(place):
        with suppress(KeyError):
            lamella.open_ome_zarr(place, mode="r+").rename_position("A/1/0", "7")

    shutil.copytree(tmp_path / "a.zarr", tmp_path / "all.zarr")
    with Faults(tmp_path / "all.zarr") as faults:
        rename(tmp_path / "all.zarr")
    for step in chosen(faults.steps, 16):
        place = tmp_path / f"{step}.zarr"
        shutil.copytree(tmp_path / "a.zarr", place)
        with suppress(CutShortError), Faults(place, step, cut, lasting=True):
            rename(place)
        shutil.copytree(place, tmp_path / f"{step}-again.zarr")
        rename(tmp_path / f"{step}-again.zarr")
        lamella.open_ome_zarr(place, mode="r+")["A/1"].create_position("5")
        for plate in map(lamella.open_ome_zarr, (place, tmp_path / f"{step}-again.zarr")):
            name = plate.position_paths()[0]
            assert plate.tables["paths"]["path"].tolist() == [name], step
            assert [f"A/1/{field}" for field in plate.tables["cells"]["field"]] == [name], step
        assert name == "A/1/7", step
