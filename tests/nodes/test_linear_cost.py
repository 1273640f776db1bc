"""Laws of what metadata cost: documents read and written per position are the same in small and in large plates.

Counted through the seam of the storage, so that they hold on any machine; seconds are in ``benchmarks/scaling.py``.
"""

from __future__ import annotations

from collections import Counter

import pytest

from lamella import open_ome_zarr
from lamella.models import TransformationMeta
from lamella.spec import plate_edits
from lamella.store.files.local import LocalStorage

SIZES = (12, 48, 192)
"""Positions: 1, 4 and 16 times the work."""

CHANNELS = ["DAPI", "GFP"]
IMAGE = {"shape": (1, 2, 2, 16, 16), "dtype": "uint16"}


@pytest.fixture
def counted(monkeypatch):
    """How often a storage was asked for what, and of which key."""
    calls: Counter[tuple[str, str]] = Counter()
    for name in (
        "read_stamped",
        "write",
        "write_stamped",
        "stamp",
        "size",
        "exists",
        "list",
        "swap",
        "replacement_lock",
        "lock",
    ):
        original = getattr(LocalStorage, name)

        def count(self, key="", *args, _name=name, _original=original, **kwargs):
            calls[_name, key] += 1
            return _original(self, key, *args, **kwargs)

        monkeypatch.setattr(LocalStorage, name, count)
    written = LocalStorage.write_new_folder

    def count_files(self, folder, files):
        calls.update(("write", f"{folder}/{name}") for name, _ in files)
        return written(self, folder, files)

    monkeypatch.setattr(LocalStorage, "write_new_folder", count_files)
    return calls


def fields(positions):
    """Row, column and name of so many positions, four to a well."""
    return [("ABCDEFGH"[n // 4 % 8], str(n // 32 + 1), str(n % 4)) for n in range(positions)]


def create(path, positions, version, **arguments):
    with open_ome_zarr(path, layout="hcs", mode="w", channel_names=CHANNELS, version=version) as plate:
        for position in plate.create_positions(fields(positions)):
            position.create_zeros("0", **IMAGE, **arguments)


def walk(path):
    with open_ome_zarr(path) as plate:
        return [(p.data.shape, p.scale, p.channel_names) for _, p in plate.positions()]


def per_position(work, counted, sizes=SIZES):
    """What each further position costs between one size and the next; the fixed cost of a plate drops out."""
    costs = []
    for positions in sizes:
        counted.clear()
        work(positions)
        total: Counter[str] = Counter()
        for (name, _), times in counted.items():
            total[name] += times
        costs.append(total)
    names = {name for total in costs for name in total}
    return [
        {name: (more[name] - less[name]) / (b - a) for name in names}
        for less, more, a, b in zip(costs, costs[1:], sizes, sizes[1:], strict=False)
    ]


def test_each_position_of_a_new_plate_costs_the_same(tmp_path, version, counted):
    small, large = per_position(lambda n: create(tmp_path / f"{n}.zarr", n, version), counted)
    # Rows and columns come in other numbers than positions; a well for every four of them is in both.
    assert large["write"] == pytest.approx(small["write"], abs=0.3)
    assert sum(large.values()) == pytest.approx(sum(small.values()), rel=0.1)
    # Zarr v3: its document twice (empty, then with its array), the array's once, and a quarter of a well's.
    # Zarr v2 has two files for each of the new ones.
    assert large["write"] < (3.4 if version == "0.5" else 5.7)
    # A position is looked at when it was made, and once before it gets its array; the root's copies once (in Zarr v2
    # by size) for both documents; and a well twice.
    assert large["stamp"] < (3.7 if version == "0.5" else 2.2)
    assert large.get("size", 0) < (0.1 if version == "0.5" else 5.2)


def test_each_position_of_a_walked_plate_costs_the_same(tmp_path, version, counted):
    for positions in SIZES:
        create(tmp_path / f"{positions}.zarr", positions, version)
    small, large = per_position(lambda n: walk(tmp_path / f"{n}.zarr"), counted)
    assert large == pytest.approx(small)
    # Nothing is written, locked or listed.
    assert {name for name, times in large.items() if times} <= {"read_stamped", "stamp", "size"}
    # Its own document and its array's (Zarr v2: and the array's attributes), and a quarter of a well's.
    assert large["read_stamped"] == (2.25 if version == "0.5" else 3.25)
    # Shape, scale and names each look whether the document changed, and so does what was just read with its array.
    assert large["stamp"] <= 4.25


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_names_and_pixels_that_are_asked_for_again_read_no_document_again(tmp_path, version, counted, mode):
    path = tmp_path / "plate.zarr"
    create(path, 1, version)
    position = open_ome_zarr(path / "A/1/0", mode=mode)
    assert position.channel_names == CHANNELS
    image = position.data
    counted.clear()
    assert position.channel_names == CHANNELS
    assert not image[0, 0].any()
    assert not [key for name, key in counted if name == "read_stamped"]
    file = ".zarray" if version == "0.4" else "zarr.json"
    assert counted["stamp", f"0/{file}"] == (1 if mode == "r" else 2)  # of the pixels; of the names
    counted.clear()
    with open_ome_zarr(path / "A/1/0", mode="r+") as other:
        other.append_channel("Cy5", resize_arrays=True)
    assert position.channel_names == [*CHANNELS, "Cy5"]
    assert image[0].shape[0] == 3


def test_positions_with_transformations_of_their_own_cost_no_more_documents(tmp_path, version, counted):
    moved = [TransformationMeta(type="scale", scale=[1, 1, 1, 0.5, 0.5])]
    counted.clear()
    create(tmp_path / "same.zarr", 12, version)
    same = sum(times for (name, _), times in counted.items() if name in ("write", "write_stamped"))
    counted.clear()
    create(tmp_path / "own.zarr", 12, version, transform=moved)
    assert sum(times for (name, _), times in counted.items() if name in ("write", "write_stamped")) == same


@pytest.fixture
def large_plate(tmp_path, version):
    """A plate that lists 2500 wells of four positions; one of them is there, C/42/1."""
    path = tmp_path / "large.zarr"
    create(path, 0, version)
    with open_ome_zarr(path, mode="r+", channel_names=CHANNELS) as plate:
        plate.create_position("C", "42", "1").create_zeros("0", **IMAGE)
        meta = plate.metadata
        wells = [(row, str(column), None, None) for row in "ABDEF" for column in range(1, 501)]
        larger = plate_edits.add_wells(meta, wells)
        meta.rows, meta.columns, meta.wells, meta.field_count = larger.rows, larger.columns, larger.wells, 4
        plate.dump_meta()
    return path


@pytest.mark.parametrize("below", [True, False], ids=["by its own path", "through the plate"])
def test_one_position_of_a_plate_of_ten_thousand_opens_from_three_documents(
    large_plate, version, counted, below
):
    counted.clear()
    position = open_ome_zarr(large_plate / "C/42/1") if below else open_ome_zarr(large_plate)["C/42/1"]
    assert position.scale == [1.0] * 5
    documents = {key for name, key in counted if name == "read_stamped"}
    file = ".zattrs" if version == "0.4" else "zarr.json"
    assert documents == ({file} if below else {file, f"C/42/1/{file}"})
    assert position.data.shape == IMAGE["shape"]
    assert position.channel_names == CHANNELS  # as many as the array has
    nodes = {key.rpartition("/")[0] for name, key in counted if name == "read_stamped"}
    assert nodes == ({"", "0"} if below else {"", "C/42/1", "C/42/1/0"})
    read = sum(times for (name, _), times in counted.items() if name == "read_stamped")
    assert read <= (5 if version == "0.4" else 4)
