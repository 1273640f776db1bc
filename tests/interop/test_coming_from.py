"""The pages for users of other libraries: both sides of each pair run, and read the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import lamella

FOLDER = Path(__file__).parent.parent.parent / "docs" / "coming-from"
PAGES = [page for page in sorted(FOLDER.glob("*.md")) if page.stem != "compared"]


def blocks_of(page):
    """Return pairs of blocks: of the other library, and of lamella."""
    blocks = re.findall(r"^```python ([\w-]+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    pairs = list(zip(blocks[::2], blocks[1::2], strict=True))
    assert all(name != "lamella" and other == "lamella" for (name, _), (other, _) in pairs)
    return [(code, ours) for (_, code), (_, ours) in pairs]


def prepared(folder, monkeypatch):
    """Make an empty folder with a plate, and return the names that blocks may use."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    pixels = np.random.default_rng(0).integers(0, 1000, (2, 2, 4, 64, 64), "uint16")
    with lamella.open_ome_zarr(
        "plate.zarr", layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version="0.5"
    ) as plate:
        for column in "12":
            position = plate.create_position("A", column, "0")
            position["0"] = pixels
            position.set_scale("0", "x", 0.5)
    return {"pixels": pixels, "stack": np.random.default_rng(1).integers(0, 1000, (2, 8, 128, 128), "uint16")}


@pytest.mark.filterwarnings("ignore")  # what the other libraries warn of is theirs
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_both_sides_of_each_pair_read_the_same(tmp_path, monkeypatch, page):
    theirs = prepared(tmp_path / "theirs", monkeypatch)
    ours = prepared(tmp_path / "ours", monkeypatch)
    given = set(ours)
    compared = set()
    for number, (code, lines) in enumerate(blocks_of(page)):
        for folder, names, text in (("theirs", theirs, code), ("ours", ours, lines)):
            monkeypatch.chdir(tmp_path / folder)
            exec(compile(text, f"{page.name}, pair {number + 1}, {folder}", "exec"), names)
        for name in theirs.keys() & ours.keys():
            value = ours[name]
            if name not in given and isinstance(value, np.ndarray | list | float | int | str):
                assert np.array_equal(np.asarray(theirs[name]), np.asarray(value)), (number + 1, name)
                compared.add(name)
    assert len(compared) >= 3
