"""Laws of the channels of a position, for any axes that have one."""

from __future__ import annotations

import numpy as np
import pytest

from lamella import open_ome_zarr
from lamella.models import axes

from .conftest import check_valid, edit_attributes, ome, pixels

WINDOW = {"start": 5, "end": 90, "min": 0, "max": 255}


@pytest.fixture(params=["cyx", "czyx", "tcyx", "tczyx"])
def names(request):
    return request.param


@pytest.fixture
def position(path, version, names):
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["DAPI", "GFP"], axes=axes(names), version=version
    ) as made:
        made["0"] = pixels(names)
        yield made


def test_appending_grows_every_level_with_the_fill_value(position, path, version, names):
    position.append_channel("RFP")
    assert position.channel_names == ["DAPI", "GFP", "RFP"]
    axis = names.index("c")
    grown = position["0"][:]
    np.testing.assert_array_equal(np.take(grown, [0, 1], axis), pixels(names))
    assert not np.take(grown, 2, axis).any()
    check_valid(path, version)
    with open_ome_zarr(path) as again:
        assert again.channel_names == ["DAPI", "GFP", "RFP"]
        assert again["0"].channels == 3


def test_appending_grows_all_levels_and_no_other_array(image):
    image.create_image("mask", np.ones((8, 10), "bool"), check_shape=False)
    del image["mask"]
    image.append_channel("RFP")
    assert [array.channels for _, array in image.images()] == [3, 3]


def test_appending_can_leave_the_arrays(position):
    shape = position["0"].shape
    position.append_channel("RFP", resize_arrays=False)
    assert position["0"].shape == shape
    assert position.channel_names[-1] == "RFP"


def test_appending_to_an_image_without_arrays(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"], version=version) as position:
        position.append_channel("GFP")
    with open_ome_zarr(path) as again:
        assert again.channel_names == ["DAPI", "GFP"]


def test_an_appended_channel_can_be_written(position, names):
    position.append_channel("RFP")
    one = np.take(pixels(names), 0, names.index("c")) + 7
    position.update_channel("RFP", "0", one)
    np.testing.assert_array_equal(np.take(position["0"][:], 2, names.index("c")), one)
    np.testing.assert_array_equal(np.take(position["0"][:], [0, 1], names.index("c")), pixels(names))


def test_renaming_keeps_place_colour_and_window(position, path, version):
    before = ome(path, version)["omero"]["channels"]
    position.rename_channel("GFP", "membrane")
    after = ome(path, version)["omero"]["channels"]
    assert position.channel_names == ["DAPI", "membrane"]
    assert position.get_channel_index("membrane") == 1
    assert [{**channel, "label": ""} for channel in before] == [{**channel, "label": ""} for channel in after]


def test_contrast_limits_are_stored_as_given(position, path, version):
    position.set_contrast_limits("GFP", WINDOW)
    assert ome(path, version)["omero"]["channels"][1]["window"] == WINDOW
    with open_ome_zarr(path) as again:
        assert again.metadata.omero.channels[1].window == WINDOW
    check_valid(path, version)


def test_colours_follow_the_name(path, version):
    known = {
        "GFP": "00FF00",
        "FITC": "00FF00",
        "Green": "00FF00",
        "TXR": "FF00FF",
        "RFP": "FF00FF",
        "mCherry": "FF00FF",
        "DAPI": "0000FF",
        "Hoechst": "0000FF",
        "BFP": "0000FF",
        "Cy3": "FFFF00",
        "Cy5": "FFA500",
        "Phase": "FFFFFF",
    }
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=list(known), version=version) as position:
        found = position.metadata.omero.channels
    assert {channel.label: channel.color for channel in found} == known
    assert all(channel.active for channel in found)


def test_an_image_of_others_without_names_can_be_edited(image, path, version):
    edit_attributes(path, version, lambda a: (a if version == "0.4" else a["ome"]).pop("omero"))
    with open_ome_zarr(path, mode="r+") as position:
        position.append_channel("RFP")
        position.rename_channel("channel_0", "DAPI")
        position.set_contrast_limits("channel_1", WINDOW)
        assert position.channel_names == ["DAPI", "channel_1", "RFP"]
        assert position["0"].channels == 3


@pytest.mark.filterwarnings("ignore:.*OM-03")
def test_a_new_name_adds_no_contrast_limits_and_needs_no_array(image, path, version):
    edit_attributes(
        path, version, lambda a: (a if version == "0.4" else a["ome"])["omero"]["channels"][1].pop("window")
    )
    (path / "0" / (".zarray" if version == "0.4" else "zarr.json")).write_text("{")
    with open_ome_zarr(path, mode="r+") as position:
        position.rename_channel("DAPI", "nuclei")
        nuclei, gfp = position.metadata.omero.channels
    assert (nuclei.label, gfp.label, gfp.window) == ("nuclei", "GFP", None)


@pytest.mark.parametrize("name", ["DAPI", "", None, 5])
def test_a_channel_that_cannot_be_appended_changes_nothing(image, name, refused):
    with refused(ValueError):
        image.append_channel(name)


@pytest.mark.parametrize(
    ("old", "new"), [("no", "new"), ("dapi", "new"), ("DAPI", "GFP"), ("DAPI", ""), ("DAPI", None)]
)
def test_a_renaming_that_does_not_fit_changes_nothing(image, old, new, refused):
    with refused(ValueError):
        image.rename_channel(old, new)


@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("no", WINDOW),
        ("DAPI", {"start": float("nan"), "end": 1, "min": 0, "max": 1}),
        ("DAPI", {"start": "0", "end": 1, "min": 0, "max": 1}),
        ("DAPI", 5),
        ("DAPI", None),
    ],
)
def test_contrast_limits_that_do_not_fit_change_nothing(image, name, window, refused):
    with refused(ValueError):
        image.set_contrast_limits(name, window)


@pytest.mark.parametrize(
    ("name", "target", "shape", "family"),
    [
        ("no", "0", (2, 3, 8, 10), ValueError),
        ("DAPI", "9", (2, 3, 8, 10), KeyError),
        ("DAPI", "0", (2, 2, 3, 8, 10), ValueError),
        ("DAPI", "0", (8, 10), ValueError),
        ("DAPI", "1", (2, 3, 8, 10), ValueError),
    ],
)
def test_an_update_that_does_not_fit_changes_nothing(image, name, target, shape, family, refused):
    with refused(family):
        image.update_channel(name, target, np.zeros(shape, "uint16"))


def test_an_update_beyond_the_array_says_to_resize(image, refused):
    image.append_channel("RFP", resize_arrays=False)
    with refused(ValueError, match="[Rr]esize"):
        image.update_channel("RFP", "0", pixels("tzyx"))


@pytest.mark.parametrize("name", ["no", "dapi", "", None, 0])
def test_the_index_of_an_unknown_channel_is_a_value_error(image, name, refused):
    with refused(ValueError, match="channel"):
        image.get_channel_index(name)


@pytest.mark.parametrize("names", ["yx", "tzyx"])
def test_without_a_channel_axis_there_is_nothing_to_append(path, version, names, refused):
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes(names), version=version) as position:
        position["0"] = pixels(names)
        with refused(ValueError, match="channel axis"):
            position.append_channel("GFP")
        with refused(ValueError):
            position.update_channel("GFP", "0", pixels(names))


def test_channels_of_a_plate_are_those_of_its_first_position_now(plate_path):
    with open_ome_zarr(plate_path, mode="r+") as plate:
        plate["A/1/0"].append_channel("RFP")
        assert plate.channel_names == ["DAPI", "GFP", "RFP"]
        assert plate.create_position("C", "1", "0").channel_names == ["DAPI", "GFP", "RFP"]
