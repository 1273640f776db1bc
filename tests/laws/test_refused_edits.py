"""Law: what a user edits in the metadata is not written where it breaks a rule that the document kept."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import lamella
from lamella.errors import MetadataError, MetadataWarning

CHANNELS = ["DAPI", "GFP"]


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def plate(request, tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=CHANNELS, version=request.param
    ) as plate:
        for path in ("A/1/0", "A/1/1", "B/2/0"):
            plate.create_position(*path.split("/"))["0"] = np.ones((1, 2, 1, 8, 8), "uint16")
        yield plate


def twice(axes):
    axes[-1].name = axes[-2].name


IMAGE = {
    "a colour with #": lambda meta: setattr(meta.omero.channels[0], "color", "#00FF00"),
    "an axis twice": lambda meta: twice(meta.multiscales[0].axes),
    "no datasets": lambda meta: meta.multiscales[0].datasets.clear(),
    "no multiscales": lambda meta: meta.multiscales.clear(),
    "a window without an end": lambda meta: meta.omero.channels[0].window.pop("end"),
    "two scales": lambda meta: (
        meta.multiscales[0]
        .datasets[0]
        .coordinate_transformations.append(meta.multiscales[0].datasets[0].coordinate_transformations[0])
    ),
}
WRITES = {
    "dump_meta": lambda node: node.dump_meta(),
    "rename_channel": lambda node: node.rename_channel("GFP", "Actin"),
    "set_scale": lambda node: node.set_scale("0", node.axis_names[-1], 0.5),
    "create_image": lambda node: node.create_image("more", np.ones((1, 2, 1, 4, 4), "uint16")),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("kind", IMAGE)
def test_metadata_of_an_image_that_break_a_rule_are_not_written(plate, kind, write, files, tmp_path):
    if kind == "two scales" and plate.version == "0.6":
        pytest.skip("a sequence of two scales is valid in 0.6")
    position = plate["A/1/0"]
    meta, good = position.metadata, copy.deepcopy(position.metadata)
    IMAGE[kind](meta)
    before = files(tmp_path)
    with pytest.raises((ValueError, IndexError)) as refused:
        WRITES[write](position)
    assert files(tmp_path) == before
    if write == "dump_meta":
        assert isinstance(refused.value, MetadataError)
        assert "p.zarr/A/1/0 were not written" in str(refused.value)
    meta.multiscales, meta.omero = good.multiscales, good.omero
    position.dump_meta()  # what is right again can be written


def test_metadata_of_plates_and_wells_that_break_a_rule_are_not_written(plate, files, tmp_path):
    before = files(tmp_path)
    plate.metadata.wells.append(plate.metadata.wells[0])
    with pytest.raises(MetadataError, match="PL-13"):
        plate.dump_meta()
    with pytest.raises(MetadataError, match="PL-13"):
        plate.dump_meta(field_count=True)
    well = lamella.open_ome_zarr(tmp_path / "p.zarr", mode="r+")["A/1"]
    well.metadata.images.append(well.metadata.images[0])
    with pytest.raises(MetadataError, match="WL-03"):
        well.dump_meta()
    well.metadata.images.clear()
    with pytest.raises(MetadataError, match="WL-01"):
        well.dump_meta()
    assert files(tmp_path) == before


def test_axes_of_a_position_that_waits_for_its_image_are_checked(plate, files, tmp_path):
    position = plate.create_position("A", "1", "9")
    twice(position.metadata.multiscales[0].axes)
    before = files(tmp_path)
    with pytest.raises(MetadataError, match="were not written"):
        position.dump_meta()
    with pytest.raises(MetadataError, match="were not written"):
        position.create_zeros("0", (1, 2, 1, 4, 4), "uint8")
    assert files(tmp_path) == before


@pytest.mark.filterwarnings("ignore::lamella.errors.MetadataWarning")
def test_a_store_that_is_invalid_already_stays_editable(plate, tmp_path):
    attributes = plate["A/1/0"].zattrs
    ome = dict(attributes["ome"]) if "ome" in attributes else dict(attributes)
    ome["omero"]["channels"][0]["color"] = "#00FF00"
    if "ome" in attributes:
        attributes["ome"] = ome
    else:
        attributes["omero"] = ome["omero"]
    position = lamella.open_ome_zarr(tmp_path / "p.zarr/A/1/0", mode="r+")
    position.metadata.multiscales[0].name = "renamed"
    position.metadata.omero.channels[0].color = "#FF00FF"
    position.dump_meta()
    position.rename_channel("GFP", "Actin")
    again = lamella.open_ome_zarr(tmp_path / "p.zarr/A/1/0")
    assert again.metadata.multiscales[0].name == "renamed"
    assert again.channel_names == ["DAPI", "Actin"]
    position.metadata.omero.channels[1].color = "green"  # one more
    with pytest.raises(MetadataError, match="OM-02"):
        position.dump_meta()


def test_what_is_edited_and_right_is_read_without_a_word(plate, tmp_path):
    position = plate["A/1/0"]
    position.metadata.omero.channels[0].color = "00FF00"
    position.metadata.multiscales[0].axes[-1].unit = "meter"
    position.dump_meta()
    del position["0"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", MetadataWarning)
        assert lamella.open_ome_zarr(tmp_path / "p.zarr/A/1/0").dataset_paths == []
