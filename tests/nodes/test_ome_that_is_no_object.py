"""Law: where the OME part of a group is no object, the error names the group, whoever reads it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lamella
from lamella.errors import MetadataError

LOOKS = {
    "": [lamella.open_ome_zarr],
    "A/1": [
        lambda path: lamella.open_ome_zarr(path)["A/1"],
        lambda path: lamella.open_ome_zarr(path)["A"]["1"],
        lambda path: list(lamella.open_ome_zarr(path).positions()),
        lambda path: lamella.open_ome_zarr(f"{path}/A/1"),
    ],
    "A/1/0": [
        lambda path: lamella.open_ome_zarr(path)["A/1/0"].channel_names,
        lambda path: list(lamella.open_ome_zarr(path).positions()),
        lambda path: lamella.open_ome_zarr(path)["A/1/0/0"],
        lambda path: lamella.open_ome_zarr(f"{path}/A/1/0"),
    ],
    "A/1/0/labels/cells": [lambda path: lamella.open_ome_zarr(path)["A/1/0"].labels["cells"].colors],
}


@pytest.mark.parametrize("version", ["0.5", "0.6"])
def test_an_ome_part_that_is_no_object_is_an_error_that_names_its_group(tmp_path, version):
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["a"], version=version) as plate:
        position = plate.create_position("A", "1", "0")
        position["0"] = np.zeros((1, 1, 1, 8, 8), "uint16")
        position.labels["cells"] = np.zeros((1, 1, 8, 8), "uint8")
    for group, looks in LOOKS.items():
        file = path / group / "zarr.json"
        whole = file.read_text()
        document = json.loads(whole)
        document["attributes"]["ome"] = []
        file.write_text(json.dumps(document))
        for look in looks:
            with pytest.raises(MetadataError) as caught:
                look(path)
            assert str(path / group) in str(caught.value)
        file.write_text(whole)
