"""Law: a rename of a well that was cut short is finished by the same call, undone by the opposite one, and mended.

The state between its two visible steps (the folder moves, then the list of wells) is stated in docs/promises.md.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore

import lamella
from lamella.errors import NodeNotFoundError, StorageError

from .faults import Faults, firsts
from .refusing import Refusing
from .states import State, files
from .works import WORKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RENAME = WORKS["rename a well"]


class CutShortError(BaseException):
    """Stands for the death of the process: no later step is made either."""


def cut(_: str) -> None:
    raise CutShortError


def states(folder: Path, version: str) -> list[Path]:
    """Make copies of a plate in which the rename came to each kind of step, and no further."""
    template, whole = folder / "template", folder / "whole"
    template.mkdir()
    RENAME.prepare(template, version)
    shutil.copytree(template, whole)
    with Faults(whole) as faults:
        RENAME.run(whole, version, print)
    made = []
    for n in (1, *(n + 1 for n in firsts(faults.steps) if n < len(faults.steps))):
        made.append(folder / str(n))
        shutil.copytree(template, made[-1])
        with Faults(made[-1], n, cut, lasting=True), pytest.raises(CutShortError):
            RENAME.run(made[-1], version, print)
    assert len(made) > 5
    return made


def rename_again(folder: Path) -> None:
    with lamella.open_ome_zarr(folder / "plate.zarr", mode="r+") as plate:
        plate.rename_well("B/2", "D/7")


def rename_back(folder: Path) -> None:
    with lamella.open_ome_zarr(folder / "plate.zarr", mode="r+") as plate:
        plate.rename_well("D/7", "B/2")


def repair(folder: Path) -> None:
    lamella.repair(folder / "plate.zarr", backup=folder.with_name(f"{folder.name}-before"))
    lamella.repair(folder / "plate.zarr", reindex=True, backup=folder.with_name(f"{folder.name}-between"))


def reindex(folder: Path) -> None:
    with lamella.open_ome_zarr(folder / "plate.zarr", mode="r+") as plate:
        plate.reindex()


def well_of(state: State) -> dict[str, np.ndarray]:
    """Return the pixels of the renamed well."""
    found = {name: block for name, block in state.arrays.items() if "/A/" not in name}
    return {name.split("/", 3)[3]: block for name, block in found.items()}


@pytest.mark.parametrize(
    ("mend", "version"),
    [(rename_again, "0.4"), (rename_again, "0.5"), (rename_back, "0.4"), (repair, "0.5"), (reindex, "0.4")],
)
def test_a_rename_cut_short_is_finished_undone_or_mended(
    tmp_path: Path, version: str, mend: Callable[[Path], None]
) -> None:
    half = 0
    made = states(tmp_path, version)
    before, after = State.of(tmp_path / "template"), State.of(tmp_path / "whole")
    for folder in made:
        found = State.of(folder)
        half += any(rule == "PL-12" for rule, _ in found.musts)
        begun = (folder / "plate.zarr" / "D" / "7").exists()
        try:
            mend(folder)
        except NodeNotFoundError:
            if mend is rename_again:
                assert found.documents == after.documents  # all had happened
            else:
                assert mend is rename_back
                assert not begun  # nothing had happened, and both names work as ever
                rename_again(folder)
                rename_back(folder)
        found = State.of(folder)
        assert found.musts == set()
        wanted = {rename_again: [after], rename_back: [before]}.get(mend, [before, after])
        assert any(well_of(found).keys() == well_of(state).keys() for state in wanted)
        for name, block in well_of(found).items():
            np.testing.assert_array_equal(block, well_of(before)[name])
        if mend is rename_again:
            # What this process began is swept when it is no more.
            left = {
                name: data for name, data in files(folder).items() if not name.endswith((".tmp", ".lock"))
            }
            assert left == files(tmp_path / "whole")
        elif mend is rename_back:
            listed = [path for path, _ in lamella.open_ome_zarr(folder / "plate.zarr").positions()]
            assert listed == ["A/1/0", "A/1/1", "B/2/0"]
        else:
            listed = [path for path, _ in lamella.open_ome_zarr(folder / "plate.zarr").positions()]
            assert listed == ["A/1/0", "A/1/1", "D/7/0" if begun else "B/2/0"]
    assert half > 0  # the state that the page tells of was there


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_reader_of_a_rename_cut_short_finds_the_well_under_one_of_its_names(tmp_path, version):
    made = states(tmp_path, version)
    wanted = well_of(State.of(tmp_path / "template"))
    both = set()
    for folder in made:
        plate = lamella.open_ome_zarr(folder / "plate.zarr")
        fields = dict(plate.positions())
        (name,) = [path for path in fields if not path.startswith("A/")]
        both.add(name)
        assert name in ("B/2/0", "D/7/0")
        assert len(fields) == 3
        np.testing.assert_array_equal(fields[name].data[:], wanted["0/0"])
        row, column, field = name.split("/")
        assert list(plate) == ["A", row]
        assert dict(plate.rows())[row][column][field].path == plate[name].path == name
        assert [path for path, _ in plate.wells()] == ["A/1", f"{row}/{column}"]
        assert len(plate.table()) == 3
        assert len(lamella.status(plate).images) == 3
    assert both == {"B/2/0", "D/7/0"}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate_that_was_opened_before_a_rename_finds_the_well_after_a_kill(tmp_path, version):
    RENAME.prepare(tmp_path, version)
    plate = lamella.open_ome_zarr(tmp_path / "plate.zarr")
    assert len(list(plate.positions())) == 3
    for n in range(1, 60):
        with Faults(tmp_path, n, cut, lasting=True) as faults, suppress(CutShortError):
            RENAME.run(tmp_path, version, print)
        assert len(list(plate.positions())) == 3
        if not faults.acted:
            break
        if "D/7" in dict(plate.wells()):
            rename_back(tmp_path)
    assert n > 5
    assert list(dict(plate.wells())) == ["A/1", "D/7"]


WRITERS = {
    "create": lambda plate: plate.create_position("A", "1", "9"),
    "delete": lambda plate: plate.__delitem__("A/1/1"),
    "name": lambda plate: (setattr(plate.metadata, "name", "other"), plate.dump_meta()),
    "rename": lambda plate: plate.rename_well("A/1", "C/1"),
    "reindex": lambda plate: plate.reindex(),
}


@pytest.mark.parametrize("write", WRITERS)
def test_the_next_writer_of_a_plate_finishes_a_rename_cut_short(tmp_path, write):
    for folder in states(tmp_path, "0.5"):
        with lamella.open_ome_zarr(folder / "plate.zarr", mode="r+") as plate:
            WRITERS[write](plate)
            attributes = dict(plate.zattrs)
            assert "lamella" not in attributes
            paths = [well["path"] for well in attributes["ome"]["plate"]["wells"]]
            assert ("B/2" in paths) != ("D/7" in paths)
            assert len(list(plate.positions())) == {"create": 4, "delete": 2}.get(write, 3)
        assert write == "create" or lamella.validate(folder / "plate.zarr").valid


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_rename_that_a_store_without_renames_cuts_short_keeps_the_well(tmp_path, version):
    RENAME.prepare(tmp_path, version)
    folder = tmp_path / "plate.zarr"
    files = {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    wanted = lamella.open_ome_zarr(folder)["B/2/0"].data[:]
    names = set()
    for n in range(0, 80, 2):
        store = MemoryStore({key: cpu.Buffer.from_bytes(data) for key, data in files.items()})
        try:
            lamella.open_ome_zarr(Refusing(store, n), mode="r+").rename_well("B/2", "D/7")
        except StorageError:
            done = False
        else:
            done = True
        fields = dict(lamella.open_ome_zarr(store).positions())
        assert len(fields) == 3
        (name,) = [path for path in fields if not path.startswith("A/")]
        names.add(name)
        np.testing.assert_array_equal(fields[name].data[:], wanted)
        if done:
            break
        with lamella.open_ome_zarr(store, mode="r+") as plate:
            plate.rename_well("B/2", "D/7")
            assert [path for path, _ in plate.positions()] == ["A/1/0", "A/1/1", "D/7/0"]
            np.testing.assert_array_equal(plate["D/7/0"].data[:], wanted)
    assert names == {"B/2/0", "D/7/0"}
    assert n > 8
