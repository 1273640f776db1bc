"""Laws of arrays that are created alike in many positions, one by one: each is as if it were the only one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lamella import open_ome_zarr
from lamella.errors import MetadataWarning, NodeExistsError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["DAPI", "GFP"]
SHAPE, CHUNKS = (1, 2, 3, 8, 8), (1, 1, 3, 8, 8)
GZIP = {"name": "gzip", "configuration": {"level": 1}}
UNHASHABLE = {"0.4": {"id": "gzip", "level": 1}, "0.5": GZIP, "0.6": GZIP}
PLACES = [("A", str(column), field) for column in range(1, 5) for field in ("0", "1")]

pytestmark = pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])


def make(path, version, mode="w", **kwargs):
    return open_ome_zarr(path, layout="hcs", mode=mode, channel_names=NAMES, version=version, **kwargs)


def documents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def attributes_file(position: Path) -> Path:
    return next(path for name in ("zarr.json", ".zattrs") if (path := position / name).exists())


def test_they_are_stored_as_those_whose_models_are_their_own(tmp_path, version):
    for name in ("alike/p.zarr", "one by one/p.zarr"):
        with make(tmp_path / name, version) as plate:
            for position in plate.create_positions(PLACES):
                if name.startswith("one"):
                    position.metadata
                first = position.create_zeros("0", SHAPE, "uint16", CHUNKS)
                second = position.create_zeros("1", (1, 2, 3, 4, 4), "uint16", compressor=UNHASHABLE[version])
                assert (first.shape, second.shape) == (SHAPE, (1, 2, 3, 4, 4))
                assert position.dataset_paths == ["0", "1"]
                first[:] = 7
    alike, one_by_one = (documents(tmp_path / name) for name in ("alike", "one by one"))
    assert alike == one_by_one
    with open_ome_zarr(tmp_path / "alike/p.zarr") as plate:
        assert all((position["0"].numpy() == 7).all() for _, position in plate.positions())


def test_each_costs_a_lock_and_its_documents(tmp_path, version, monkeypatch):
    opened = []
    with make(tmp_path / "plate.zarr", version) as plate:
        first, *others = plate.create_positions([("A", str(column), "0") for column in range(1, 8)])
        first.create_zeros("0", SHAPE, "uint16", CHUNKS)
        real = os.open
        monkeypatch.setattr(os, "open", lambda *args, **kw: (opened.append(args), real(*args, **kw))[1])
        for position in others:
            position.create_zeros("0", SHAPE, "uint16", CHUNKS)
        monkeypatch.undo()
    # The lock of the position's document and the new one; the array's own, which are two in Zarr v2.
    assert len(opened) == len(others) * (4 if version == "0.4" else 3)


def test_a_document_that_was_changed_elsewhere_is_gone_on_from(tmp_path, version):
    with make(tmp_path / "plate.zarr", version) as plate:
        first, second, third = plate.create_positions([("A", str(column), "0") for column in (1, 2, 3)])
        first.create_zeros("0", SHAPE, "uint16", CHUNKS)
        with open_ome_zarr(tmp_path / "plate.zarr/A/2/0", mode="r+") as elsewhere:
            elsewhere.append_channel("RFP")
        file = attributes_file(tmp_path / "plate.zarr/A/3/0")
        document = json.loads(file.read_text())
        (document if version == "0.4" else document["attributes"])["mine"] = "stays"
        file.write_text(json.dumps(document))
        with pytest.warns(UserWarning, match="fewer than the channel names"):
            second.create_zeros("0", SHAPE, "uint16", CHUNKS)
        third.create_zeros("0", SHAPE, "uint16", CHUNKS)
        with pytest.warns(MetadataWarning, match="LM-11"):
            assert second.channel_names == NAMES
        assert [channel.label for channel in second.metadata.omero.channels] == [*NAMES, "RFP"]
        assert third.zattrs["mine"] == "stays"
        assert all(position.dataset_paths == ["0"] for position in (first, second, third))


def test_what_is_there_is_not_replaced(tmp_path, version):
    with make(tmp_path / "plate.zarr", version) as plate:
        first, second, third = plate.create_positions([("A", str(column), "0") for column in (1, 2, 3)])
        first.create_zeros("0", SHAPE, "uint16", CHUNKS)
        pixels = np.ones(SHAPE, "uint16")
        with open_ome_zarr(tmp_path / "plate.zarr/A/2/0", mode="r+") as elsewhere:
            elsewhere.create_image("0", pixels)
        with pytest.raises(NodeExistsError):
            second.create_zeros("0", SHAPE, "uint16", CHUNKS)
        np.testing.assert_array_equal(second["0"].numpy(), pixels)
        # A killed creation leaves an array that the position does not list.
        done, killed = tmp_path / "plate.zarr/A/1/0/0", tmp_path / "plate.zarr/A/3/0/0"
        killed.mkdir()
        for file in done.iterdir():
            (killed / file.name).write_bytes(file.read_bytes())
        third.create_zeros("0", SHAPE, "uint16", CHUNKS)
        assert third.dataset_paths == ["0"]


def test_a_name_is_judged_by_its_type_too(tmp_path, version):
    with make(tmp_path / "plate.zarr", version) as plate:
        positions = plate.create_positions([("A", str(column), "0") for column in (1, 2)])
        positions[0].create_zeros(0, SHAPE, "uint16", CHUNKS)
        with pytest.raises(ValueError, match="False"):
            positions[1].create_zeros(False, SHAPE, "uint16", CHUNKS)


def test_too_few_channels_are_told_each_time(tmp_path, version):
    with make(tmp_path / "plate.zarr", version) as plate:
        for position in plate.create_positions(PLACES):
            with pytest.warns(UserWarning, match="fewer than the channel names"):
                position.create_zeros("0", (1, 1, 3, 8, 8), "uint16")


def test_a_folder_that_was_removed_is_made_again(tmp_path, version):
    with make(tmp_path / "plate.zarr", version) as plate:
        first, second = plate.create_positions([("A", "1", "0"), ("A", "2", "0")])
        first.create_zeros("0", SHAPE, "uint16", CHUNKS)
        place = tmp_path / "plate.zarr/A/2/0"
        kept = {path.name: path.read_bytes() for path in place.iterdir()}
        for path in place.iterdir():
            path.unlink()
        place.rmdir()
        place.mkdir()
        for name, data in kept.items():
            (place / name).write_bytes(data)
        assert second.create_zeros("0", SHAPE, "uint16", CHUNKS).shape == SHAPE
