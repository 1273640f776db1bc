"""A store of which an upgrade or downgrade in place changed some documents: each is what it states (ST-08 apart)."""

from __future__ import annotations

import json
import shutil
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lamella
from lamella.errors import MetadataWarning

if TYPE_CHECKING:
    from pathlib import Path

ALL = ("A/1/0", "A/1/1", "B/2/0")


def half_way(folder: Path, old: str, new: str) -> Path:
    """Make a plate of which one well, one image and its labels are of the new version already, as a kill leaves it."""
    plate, whole = folder / "plate.zarr", folder / "whole.zarr"
    with lamella.open_ome_zarr(
        plate, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=old
    ) as node:
        for seed, path in enumerate(ALL):
            position = node.create_position(*path.split("/"))
            pixels = np.random.default_rng(seed).integers(1, 99, (1, 2, 1, 8, 12), dtype="uint16")
            position.create_image("0", pixels)
            position.set_scale("0", "x", 0.5 + seed)
            position.labels["cells"] = (pixels[:, 0] % 3).astype("uint8")
    shutil.copytree(plate, whole)
    lamella.upgrade(whole, new)
    for path in ("A/1", "A/1/0", "A/1/0/labels", "A/1/0/labels/cells"):
        shutil.copy(whole / path / "zarr.json", plate / path / "zarr.json")
    return plate


@pytest.mark.parametrize(("old", "new"), [("0.5", "0.6"), ("0.6", "0.5")])
def test_each_document_of_a_half_upgraded_store_is_judged_and_read_as_what_it_states(tmp_path, old, new):
    path = half_way(tmp_path, old, new)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MetadataWarning)
        for plate in (lamella.open_ome_zarr(path), lamella.open_ome_zarr(path, strict=True)):
            found = {name: position.scale[-1] for name, position in plate.positions()}
            assert found == {"A/1/0": 0.5, "A/1/1": 1.5, "B/2/0": 2.5}
            for _, position in plate.positions():
                assert position.channel_names == ["DAPI", "GFP"]
                assert position.labels["cells"].data[:].any()
                assert position.data[:].all()
        copy = lamella.Plate.from_positions(
            tmp_path / "copy.zarr", {name: plate[name] for name in ALL}, jobs=1
        )
        assert {name: one.scale[-1] for name, one in copy.positions()} == found
    assert lamella.validate(tmp_path / "copy.zarr").valid
    musts = {finding.rule for finding in lamella.validate(path).findings if finding.level == "MUST"}
    assert musts == {"ST-08"}  # that there are two versions is what is wrong


def test_what_a_document_of_a_half_upgraded_store_breaks_is_told_by_its_own_version(tmp_path):
    path = half_way(tmp_path, "0.5", "0.6")
    file = path / "A/1/0/zarr.json"
    document = json.loads(file.read_text())
    document["attributes"]["ome"]["multiscales"][0]["coordinateSystems"][0]["axes"][1]["name"] = "T"
    file.write_text(json.dumps(document))
    with pytest.warns(MetadataWarning, match="AX-02 at ome.multiscales.*coordinateSystems") as told:
        lamella.open_ome_zarr(path)["A/1/0"]
    assert not [str(one.message) for one in told if "ST-07" in str(one.message)]


@pytest.mark.parametrize(("old", "new"), [("0.5", "0.6"), ("0.6", "0.5")])
def test_edits_of_a_half_upgraded_store_keep_the_version_of_each_document(tmp_path, old, new):
    path = half_way(tmp_path, old, new)
    with lamella.open_ome_zarr(path, mode="r+") as plate:
        for number, name in enumerate(ALL):
            plate[name].rename_channel("GFP", f"Actin {number}")
            plate[name].set_scale("0", "y", 4.0 + number)
            plate[name].labels["cells"].set_properties({1: {"class": name}})
            position = plate[name]
            position.metadata.multiscales[0].name = f"field {number}"
            position.dump_meta()
        plate.create_position("A", "1", "2")["0"] = np.ones((1, 2, 1, 8, 12), "uint16")
    assert {f.rule for f in lamella.validate(path).findings if f.level == "MUST"} == {"ST-08"}
    for member, version in {"A/1": new, "A/1/0": new, "A/1/0/labels/cells": new, "A/1/1": old}.items():
        ome = json.loads((path / member / "zarr.json").read_text())["attributes"]["ome"]
        assert (member, ome["version"]) == (member, version)
    lamella.upgrade(path, new)
    assert lamella.validate(path).valid
    plate = lamella.open_ome_zarr(path, strict=True)
    for number, name in enumerate(ALL):
        assert plate[name].channel_names == ["DAPI", f"Actin {number}"]
        assert plate[name].scale[-2:] == [4.0 + number, 0.5 + number]
        assert plate[name].labels["cells"].properties == {1: {"class": name}}
        assert plate[name].metadata.multiscales[0].name == f"field {number}"
