"""The API as its users know it: the examples of its page, and a script in which only the import changes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamella import Plate, Position, models, open_ome_zarr

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tests" / "data" / "api_script.py"

# Examples of the page, letter by letter.
DEFAULT_AXES = """
[AxisMeta(name='T', type='time', unit='second'),
AxisMeta(name='C', type='channel', unit=None),
AxisMeta(name='Z', type='space', unit='micrometer'),
AxisMeta(name='Y', type='space', unit='micrometer'),
AxisMeta(name='X', type='space', unit='micrometer')]
"""
FROM_POSITIONS = """
>>> from iohub.ngff import open_ome_zarr, Plate
>>> with open_ome_zarr("hcs.zarr") as old_plate:
>>>     fovs = dict(old_plate.positions())
>>> with open_ome_zarr("fov.zarr") as old_position:
>>>     fovs["Z/1/0"] = old_position
>>> new_plate = Plate.from_positions("combined.zarr", fovs)
"""
CREATE_AND_COMPUTE = """
>>> # Create and compute pyramid with 4 levels
>>> pos.compute_pyramid(levels=4, method="mean")
"""
RECOMPUTE = """
>>> # Recompute existing pyramid structure
>>> pos.compute_pyramid(method="median")
"""
CHANGE_LEVELS = """
>>> # Change pyramid levels (must delete first)
>>> pos.delete_pyramid()
>>> pos.compute_pyramid(levels=3, method="mean")
"""
AUTOMATIC_INDICES = """
>>> plate.create_positions(
...     [
...         ("A", "1", "0"),
...         ("A", "1", "1"),
...         ("A", "2", "0"),
...     ]
... )
"""
EXPLICIT_INDICES = """
>>> plate.create_positions(
...     [
...         ("B", "3", "0", 1, 2),  # row_index=1, col_index=2
...         ("B", "3", "1", 1, 2),  # same well indices
...     ]
... )
"""
ACQUISITIONS = """
>>> plate.create_positions(
...     [
...         ("B", "3", "0", 1, 2, 0),  # acquisition 0
...         ("B", "3", "1", 1, 2, 1),  # acquisition 1
...     ]
... )
"""


def with_our_imports(code: str) -> str:
    """All that a user changes."""
    return code.replace("iohub.ngff_meta", "lamella.models").replace("iohub.ngff", "lamella")


def run_example(text: str, **names: Any) -> dict[str, Any]:
    """Run an example without its prompts and return the names that it leaves behind."""
    exec(with_our_imports(re.sub(r"^(>>>|\.\.\.) ?", "", text, flags=re.MULTILINE)), names)
    return names


@pytest.fixture
def plate(tmp_path, version):
    return open_ome_zarr(
        tmp_path / "hcs.zarr", layout="hcs", mode="w-", channel_names=["DAPI", "GFP"], version=version
    )


@pytest.fixture
def pos(tmp_path, version):
    position = open_ome_zarr(
        tmp_path / "fov.zarr", layout="fov", mode="w-", channel_names=["DAPI", "GFP"], version=version
    )
    position["0"] = np.random.default_rng(0).integers(0, 4000, (1, 2, 9, 64, 48), "uint16")
    return position


def well_places(plate: Plate) -> list[tuple[str, int, int]]:
    return [(well.path, well.row_index, well.column_index) for well in plate.metadata.wells]


def test_axes_by_default(pos):
    page = eval(DEFAULT_AXES, vars(models).copy())
    assert [axis.to_json() for axis in pos.axes] == [axis.to_json() for axis in page]


def test_from_positions(tmp_path, plate, pos, monkeypatch):
    for path in ("A/1", "B/2"):
        plate.create_position(*path.split("/"), "0")["0"] = np.full((1, 2, 3, 8, 8), ord(path[0]), "uint8")
    monkeypatch.chdir(tmp_path)
    new = run_example(FROM_POSITIONS)["new_plate"]
    assert isinstance(new, Plate)
    assert list(dict(new.positions())) == ["A/1/0", "B/2/0", "Z/1/0"]
    assert [int(new[path].data[:].max()) for path in ("A/1/0", "B/2/0")] == [65, 66]
    np.testing.assert_array_equal(new["Z/1/0"].data[:], pos.data[:])
    assert list(dict(open_ome_zarr("combined.zarr").positions())) == list(dict(new.positions()))


def test_compute_pyramid(pos):
    run_example(CREATE_AND_COMPUTE, pos=pos)
    assert [image.shape[2:] for _, image in pos.images()] == [
        (9, 64, 48),
        (5, 32, 24),
        (3, 16, 12),
        (2, 8, 6),
    ]
    block = pos["0"][0, 0, :2, :2, :2]
    assert abs(int(pos["1"][0, 0, 0, 0, 0]) - block.mean()) <= 0.5

    run_example(RECOMPUTE, pos=pos)
    assert pos.array_keys() == ["0", "1", "2", "3"]
    assert abs(int(pos["1"][0, 0, 0, 0, 0]) - np.median(block)) <= 0.5

    with pytest.raises(ValueError, match="delete_pyramid"):
        pos.compute_pyramid(levels=3, method="mean")
    run_example(CHANGE_LEVELS, pos=pos)
    assert pos.array_keys() == ["0", "1", "2"] == pos.metadata.multiscales[0].get_dataset_paths()


def test_create_positions_with_automatic_indices(plate):
    run_example(AUTOMATIC_INDICES, plate=plate)
    assert list(dict(plate.positions())) == ["A/1/0", "A/1/1", "A/2/0"]
    assert all(isinstance(position, Position) for _, position in plate.positions())
    assert well_places(plate) == [("A/1", 0, 0), ("A/2", 0, 1)]


def test_create_positions_with_explicit_indices(plate):
    run_example(EXPLICIT_INDICES, plate=plate)
    assert list(dict(plate.positions())) == ["B/3/0", "B/3/1"]
    assert well_places(plate) == [("B/3", 1, 2)]
    assert [row.name for row in plate.metadata.rows] == ["A", "B"]
    assert [column.name for column in plate.metadata.columns] == ["1", "2", "3"]


def test_create_positions_with_acquisitions(plate):
    run_example(ACQUISITIONS, plate=plate)
    assert [(image.path, image.acquisition) for image in plate["B/3"].metadata.images] == [("0", 0), ("1", 1)]
    assert well_places(plate) == [("B/3", 1, 2)]


def test_a_script_runs_with_nothing_changed_but_the_import(tmp_path, version):
    code = with_our_imports(SCRIPT.read_text(encoding="utf-8"))
    assert "from lamella import" in code
    assert "iohub" not in code
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    command, env = (
        [sys.executable, "-W", "error", script, tmp_path, version],
        {"PYTHONPATH": str(ROOT / "src")},
    )
    run = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        f"{version} ['A', 'B', 'C'] ['A/1', 'B/1', 'C/3'] ['A/1/0', 'B/1/0', 'B/1/1', 'C/3/0']",
        "500 9000 2",
        "['Hoechst', 'GFP', 'Cy5'] ['t', 'c', 'z', 'y', 'x'] 2 ['0', '1', '2']",
        "[('0', (2, 3, 4, 32, 32), (1, 1, 2, 16, 16), 'uint16'), "
        "('1', (2, 3, 2, 16, 16), (1, 1, 2, 16, 16), 'uint16'), "
        "('2', (2, 3, 1, 8, 8), (1, 1, 1, 8, 8), 'uint16')]",
        "[30.0, 1.0, 0.5, 0.1, 0.1] [30.0, 1.0, 2.0, 0.4, 0.4] [0.0, 0.0, 0.0, 100.0, 200.0]",
        "7662 [12287, 16383, 16384]",
        "5632.0 False True",
        "(1, 1, 4, 32, 48) (1, 1, 4, 16, 16) 7168",
        "('t', 'c', 'z', 'y', 'x') ['GFP', 'Cy5'] [30.0] {'units': 'micrometer'} {'operator': 'Ada'}",
        "True (1, 2, 4, 32, 32) 3.1",
        "[('A/1/0', (2, 3, 4, 32, 32), ['Hoechst', 'GFP', 'Cy5']), "
        "('Z/1/0', (1, 2, 4, 32, 32), ['GFP', 'Cy5'])]",
    ]
