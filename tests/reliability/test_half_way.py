"""Law: a rename of a well that was cut short is finished by the same call, undone by the opposite one, and mended.

The state between its two visible steps (the folder moves, then the list of wells) is stated in docs/promises.md.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lamella
from lamella.errors import LamellaError, MetadataError, NodeNotFoundError

from .faults import Faults, firsts
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


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("mend", [rename_again, rename_back, repair, reindex])
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


def test_a_reader_of_a_rename_cut_short_is_told_which_well_is_missing(tmp_path: Path) -> None:
    folder = next(one for one in states(tmp_path, "0.5") if State.of(one).musts)
    plate = lamella.open_ome_zarr(folder / "plate.zarr")
    with pytest.raises(MetadataError, match="'B/2', but it is not in the store"):
        list(plate.positions())
    read = dict(plate.positions(on_error="report"))
    assert isinstance(read["B/2"], LamellaError)
    assert {"A/1/0", "A/1/1"} <= read.keys()
