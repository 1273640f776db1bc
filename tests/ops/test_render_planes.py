"""Which plane of an image is read, from which level, and that nothing else is read."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError, MetadataError, OutOfBoundsError
from lamella.models import AxisMeta, axes
from lamella.ops.display import planes as planes_module
from lamella.ops.display.planes import (
    PlaneAxes,
    coarsest_sufficient_level,
    pixel_aspect,
    plane_index,
    read_plane,
)
from lamella.ops.display.preview import (
    PreviewOptions,
    all_channels,
    channel_planes,
    choose_channels,
    field_picture,
    unique_names,
)
from lamella.ops.display.preview_plate import plan_plate, plate_channels

LENGTHS = {"t": 3, "c": 2, "z": 5, "y": 6, "x": 7}


def make_image(path, names, data=None, channels=("GFP", "DAPI"), **kwargs):
    position = lamella.open_ome_zarr(
        path,
        layout="fov",
        mode="w",
        channel_names=list(channels) if "c" in names else None,
        axes=axes(names),
        version="0.5",
    )
    if data is None:
        shape = tuple(LENGTHS[name] for name in names)
        data = np.arange(np.prod(shape)).reshape(shape).astype("uint16")
    position.create_image("0", data, **kwargs)
    return position


def expected_plane(data, names, channel, z, t):
    """The plane by numpy alone: named axes moved to the front and cut."""
    wanted = {"t": t, "c": channel, "z": z}
    index = tuple(slice(None) if name in "yx" else wanted[name] for name in names)
    plane = data[index]
    return plane if names.index("y") < names.index("x") else plane.T


@pytest.mark.parametrize("names", ["yx", "zyx", "cyx", "tyx", "czyx", "tzyx", "tcyx", "tczyx"])
def test_every_set_of_axes_shows_the_middle_z_of_the_first_time(tmp_path, names):
    position = make_image(tmp_path / "a.zarr", names)
    data = position.data.numpy()
    found = channel_planes(position, list(all_channels(position)), PreviewOptions(), size=7)
    for index, plane in enumerate(found.values()):
        assert (plane == expected_plane(data, names, index, z=2, t=0)).all()
    assert len(found) == (2 if "c" in names else 1)


@pytest.mark.parametrize("names", ["xy", "xyc", "zxy", "xyzct", "ctzxy", "yxz", "cyxt"])
def test_axes_in_any_order_are_found_by_name_and_type(names):
    found = PlaneAxes.of(axes(names), len(names))
    assert (found.y, found.x) == (names.index("y"), names.index("x"))
    for letter, axis in (("z", found.z), ("c", found.channel), ("t", found.time)):
        assert axis == (names.index(letter) if letter in names else None)


def test_axes_are_found_by_type_when_names_say_nothing():
    kinds = ["time", "space", "space", "channel", "space"]
    found = PlaneAxes.of([AxisMeta(name=f"a{i}", type=kind) for i, kind in enumerate(kinds)], 5)
    assert found == PlaneAxes(y=2, x=4, z=1, channel=3, time=0)


def test_axes_are_matched_from_the_last_where_the_array_has_other_dimensions():
    assert PlaneAxes.of(axes("tczyx"), 3) == PlaneAxes(y=1, x=2, z=0)
    assert PlaneAxes.of(axes("yx"), 4) == PlaneAxes(y=2, x=3)


def test_untyped_axes_of_unknown_names_are_the_plane():
    found = PlaneAxes.of([AxisMeta(name="c"), AxisMeta(name="row"), AxisMeta(name="col")], 3)
    assert found == PlaneAxes(y=1, x=2, channel=0)


def test_axes_without_a_plane_are_refused():
    with pytest.raises(MetadataError, match=r"The axes of /a\.zarr \(t, x\) have no plane"):
        PlaneAxes.of([AxisMeta(name="t", type="time"), AxisMeta(name="x", type="space")], 2, "/a.zarr")


@pytest.mark.parametrize(("z", "t"), list(itertools.product((0, 2, 4), (0, 2))))
def test_z_and_t_choose_the_plane(tmp_path, z, t):
    position = make_image(tmp_path / "a.zarr", "tczyx")
    found = channel_planes(position, ["DAPI"], PreviewOptions(z=z, t=t), size=7)["DAPI"]
    assert (found == position.data.numpy()[t, 1, z]).all()


@pytest.mark.parametrize(("z", "t", "name"), [(5, None, "z=5"), (None, 3, "t=3"), (-1, None, "z=-1")])
def test_a_plane_that_is_not_there_is_named(tmp_path, z, t, name):
    position = make_image(tmp_path / "a.zarr", "tczyx")
    with pytest.raises(OutOfBoundsError, match=f"There is no {name}"):
        channel_planes(position, ["GFP"], PreviewOptions(z=z, t=t), size=7)


def test_an_image_without_z_has_only_the_first():
    found = PlaneAxes.of(axes("yx"), 2)
    assert plane_index(found, (4, 4), (4, 4), 0, 0) == {}
    with pytest.raises(OutOfBoundsError, match="1 along z"):
        plane_index(found, (4, 4), (4, 4), 1, None)


def test_z_of_a_coarser_level_is_the_one_that_holds_the_plane():
    found = PlaneAxes.of(axes("zyx"), 3)
    for z in range(9):
        assert plane_index(found, (9, 8, 8), (5, 4, 4), z, None)[0] == z * 5 // 9


@pytest.mark.parametrize(
    ("size", "level"), [(1, "3"), (8, "3"), (9, "2"), (16, "2"), (17, "1"), (33, "0"), (64, "0"), (999, "0")]
)
def test_the_coarsest_level_that_suffices_is_taken(tmp_path, size, level):
    position = make_image(tmp_path / "a.zarr", "yx", np.zeros((64, 20), "uint8"))
    position.compute_pyramid(4)
    assert coarsest_sufficient_level(position, size)[0] == level


def test_a_missing_coarse_level_is_passed_over(tmp_path):
    position = make_image(tmp_path / "a.zarr", "yx", np.zeros((64, 64), "uint8"))
    position.compute_pyramid(3)
    (tmp_path / "a.zarr" / "2" / "zarr.json").unlink()
    assert coarsest_sufficient_level(position, 8)[0] == "1"


def test_only_the_planes_that_are_shown_are_read(tmp_path, monkeypatch):
    position = make_image(tmp_path / "a.zarr", "tczyx")
    read = []
    original = lamella.ImageArray.__getitem__
    monkeypatch.setattr(
        lamella.ImageArray, "__getitem__", lambda self, index: read.append(index) or original(self, index)
    )
    channel_planes(position, ["DAPI"], PreviewOptions(), size=7)
    assert len(read) == 1
    assert [index for index in read[0] if not isinstance(index, slice)] == [0, 1, 2]


@pytest.mark.parametrize("names", ["yx", "xy"])
def test_a_large_plane_is_read_in_bands_and_reduced(tmp_path, monkeypatch, names):
    data = np.random.default_rng(0).integers(0, 1000, (61, 47)).astype("uint16")
    position = lamella.open_ome_zarr(
        tmp_path / "a.zarr",
        layout="fov",
        mode="w",
        axes=[*reversed(axes("yx"))] if names == "xy" else axes("yx"),
    )
    position.create_image("0", data, chunks=(10, 9))
    monkeypatch.setattr(planes_module, "BAND_PIXELS", 200)
    found = read_plane(position.data, PlaneAxes.of(position.axes, 2), {}, size=12)
    plane = data if names == "yx" else data.T
    assert found.shape == (-(-plane.shape[0] // 5), -(-plane.shape[1] // 5))
    expected = [
        [plane[y : y + 5, x : x + 5].astype(float).mean() for x in range(0, plane.shape[1], 5)]
        for y in range(0, plane.shape[0], 5)
    ]
    assert found == pytest.approx(np.array(expected))


def test_ids_are_picked_and_never_mixed(tmp_path):
    data = np.random.default_rng(0).choice([0, 7, 900], (50, 3)).astype("uint16")
    position = make_image(tmp_path / "a.zarr", "yx", data)
    found = read_plane(position.data, PlaneAxes.of(position.axes, 2), {}, size=9, ids=True)
    assert found.shape == (10, 1)
    assert set(np.unique(found)) <= {0, 7, 900}


@pytest.mark.parametrize(
    ("y", "x", "aspect"), [(1, 1, 1), (2, 1, 2), (0.5, 2, 0.25), (1, 1000, 1), (1e-150, 1, 1)]
)
def test_the_aspect_is_that_of_the_physical_pixel(tmp_path, y, x, aspect):
    position = make_image(tmp_path / "a.zarr", "yx")
    position.set_scale("0", "y", y)
    position.set_scale("0", "x", x)
    picture = field_picture(
        position, choose_channels(all_channels(position), None, ""), PreviewOptions(), size=7
    )
    assert picture.aspect == pytest.approx(aspect)
    assert pixel_aspect(position, "0", PlaneAxes.of(position.axes, 2), 2) == pytest.approx(aspect)


def test_the_aspect_is_square_where_units_differ(tmp_path):
    units = [
        AxisMeta(name="y", type="space", unit="nanometer"),
        AxisMeta(name="x", type="space", unit="meter"),
    ]
    position = lamella.open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", axes=units)
    position["0"] = np.zeros((4, 4), "uint8")
    position.set_scale("0", "y", 5)
    assert pixel_aspect(position, "0", PlaneAxes.of(position.axes, 2), 2) == 1


# -- channels and windows -----------------------------------------------------------------------------------------


def short_repr(position, wanted=None):
    return choose_channels(all_channels(position), wanted, "here")


def test_active_channels_are_shown_by_default(tmp_path):
    position = make_image(tmp_path / "a.zarr", "cyx")
    for channel, active in zip(position.metadata.omero.channels, (False, True), strict=True):
        channel.active = active
    position.dump_meta()
    assert [channel.name for channel in short_repr(position)] == ["DAPI"]


def test_all_channels_are_shown_when_none_is_active(tmp_path):
    position = make_image(tmp_path / "a.zarr", "cyx")
    for channel in position.metadata.omero.channels:
        channel.active = False
    position.dump_meta()
    assert [channel.name for channel in short_repr(position)] == ["GFP", "DAPI"]


@pytest.mark.parametrize("active", [True, False, None])
def test_of_many_channels_the_first_are_shown_unless_the_metadata_choose_some(tmp_path, active):
    names = [f"Marker {number}" for number in range(12)]
    position = make_image(tmp_path / "a.zarr", "cyx", np.zeros((12, 4, 4), "uint16"), names)
    for channel in position.metadata.omero.channels:
        channel.active = active
    position.dump_meta()
    assert [channel.name for channel in short_repr(position)] == names[:7]
    colors = {channel.color for channel, _ in all_channels(position).values()}
    assert len(colors) == 12  # also of those that are switched on later
    for number, channel in enumerate(position.metadata.omero.channels):
        channel.active = number != 3
    position.dump_meta()
    assert [channel.name for channel in short_repr(position)] == names[:3] + names[4:]


def test_channels_are_chosen_by_name_in_any_case_and_keep_the_order_asked_for(tmp_path):
    position = make_image(tmp_path / "a.zarr", "cyx")
    assert [channel.name for channel in short_repr(position, ["dapi", "GFP", "DAPI"])] == ["DAPI", "GFP"]


def test_an_unknown_channel_is_refused_with_those_there_are(tmp_path):
    position = make_image(tmp_path / "a.zarr", "cyx")
    with pytest.raises(InvalidArgumentError, match="There is no channel 'Cy5' in here: it has 'GFP', 'DAPI'"):
        short_repr(position, ["Cy5"])


def without_omero(position):
    path = position.zgroup.store.root
    document = json.loads((path / "zarr.json").read_text())
    del document["attributes"]["ome"]["omero"]
    (path / "zarr.json").write_text(json.dumps(document))
    return lamella.open_ome_zarr(path)


def test_an_image_without_omero_gets_standard_colours_and_automatic_windows(tmp_path):
    data = np.stack([np.full((8, 8), 5), np.arange(64).reshape(8, 8)]).astype("float32")
    position = without_omero(make_image(tmp_path / "a.zarr", "cyx", data))
    channels = short_repr(position)
    assert [(channel.name, channel.window) for channel in channels] == [
        ("channel_0", None),
        ("channel_1", None),
    ]
    picture = field_picture(position, channels, PreviewOptions(), size=8)
    assert picture.rgb[7, 7].tolist() == [255, 0, 255]
    assert picture.rgb[0, 0].tolist() == [0, 0, 0]


def test_channels_of_one_name_are_told_apart(tmp_path):
    position = make_image(tmp_path / "a.zarr", "cyx")
    for channel in position.metadata.omero.channels:
        channel.label = "GFP"
    position.dump_meta()
    assert list(all_channels(position)) == ["GFP", "GFP #1"]
    found = channel_planes(position, ["GFP #1"], PreviewOptions(), size=7)
    assert (found["GFP #1"] == position.data.numpy()[1]).all()
    names = unique_names(["GFP", "GFP #2", "GFP"], PlaneAxes(y=1, x=2, channel=0), (3, 8, 8))
    assert names == ["GFP", "GFP #2", "GFP #2 #2"]


def test_omero_with_fewer_channels_than_the_data_leaves_the_rest_standard(tmp_path):
    position = make_image(tmp_path / "a.zarr", "cyx")
    position.metadata.omero.channels.pop()
    position.dump_meta()
    with pytest.warns(lamella.errors.MetadataWarning, match="LM-11"):
        assert list(all_channels(position)) == ["GFP", "channel_1"]


@pytest.mark.parametrize(
    ("dtype", "window", "kept"),
    [
        ("uint8", (0, 255), (0, 255)),
        ("uint16", (0, 65535), None),
        ("int16", (-32768, 32767), None),
        ("float32", (0, 1), None),
        ("uint16", (100, 4000), (100, 4000)),
        ("bool", (0, 1), (0, 1)),
    ],
)
def test_a_window_of_the_whole_dtype_counts_as_none(tmp_path, dtype, window, kept):
    position = make_image(tmp_path / "a.zarr", "cyx", np.zeros((2, 4, 4), dtype))
    limits = {"start": window[0], "end": window[1], "min": window[0], "max": window[1]}
    position.set_contrast_limits("GFP", limits)
    assert short_repr(position, ["GFP"])[0].window == kept


def test_labels_lie_over_every_channel_at_their_z(tmp_path):
    position = make_image(tmp_path / "a.zarr", "czyx")
    ids = np.zeros((5, 6, 7), "uint8")
    ids[3, 2:, 2:] = 4
    position.labels.create("cells", ids, colors={4: (1, 2, 3)})
    picture = field_picture(position, short_repr(position), PreviewOptions(label="cells", z=3), size=7)
    assert (picture.labels == ids[3]).all()
    assert picture.label_colors == {4: (1, 2, 3)}


@pytest.mark.parametrize("names", ["yx", "zyx", "tyx", "tzyx"])
def test_labels_without_z_and_time_or_with_one_of_them_lie_over_every_plane(tmp_path, names):
    position = make_image(tmp_path / "a.zarr", "tczyx")
    ids = np.arange(42, dtype="uint8").reshape(6, 7)
    flat_ids = ids.reshape((1,) * (len(names) - 2) + ids.shape)
    flat = make_image(tmp_path / "flat.zarr", names, flat_ids)
    flat.labels.create("cells", flat_ids)
    (tmp_path / "flat.zarr" / "labels").rename(tmp_path / "a.zarr" / "labels")
    picture = field_picture(position, short_repr(position), PreviewOptions(label="cells", z=4, t=2), size=7)
    assert (picture.labels == ids).all()


def test_a_label_image_shows_its_ids(tmp_path):
    position = make_image(tmp_path / "a.zarr", "yx")
    ids = np.arange(42, dtype="uint8").reshape(6, 7)
    position.labels.create("cells", ids)
    picture = field_picture(
        lamella.open_ome_zarr(tmp_path / "a.zarr/labels/cells"), [], PreviewOptions(), size=7
    )
    assert (picture.labels == ids).all()
    assert picture.opacity == 1


# -- plates -------------------------------------------------------------------------------------------------------


def make_plate(path, windows):
    """A plate of one field per window; None leaves the whole range of the dtype."""
    plate = lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["GFP"], axes=axes("cyx"), version="0.5"
    )
    for index, window in enumerate(windows):
        position = plate.create_position("A", str(index + 1), "0")
        position["0"] = (np.arange(64, dtype="uint16") * (index + 1)).reshape(1, 8, 8)
        if window is not None:
            position.set_contrast_limits(
                "GFP", dict(zip(("start", "end", "min", "max"), (*window, 0, 65535), strict=True))
            )
    return plate


def test_a_plate_has_one_window_that_covers_those_of_its_fields(tmp_path):
    plate = make_plate(tmp_path / "p.zarr", [(0, 1), (10, 100), (20, 200)])
    channels = plate_channels(plan_plate(plate).tiles, PreviewOptions(), 8, "here")
    assert [(channel.name, channel.window) for channel in channels] == [("GFP", (0, 200))]


def test_a_plate_without_windows_gets_one_from_its_pixels(tmp_path):
    plate = make_plate(tmp_path / "p.zarr", [None] * 3)
    channels = plate_channels(plan_plate(plate).tiles, PreviewOptions(), 8, "here")
    assert channels[0].window == pytest.approx((0, 3 * 63))  # of the brightest field


def test_wells_are_placed_by_the_names_of_the_plate(tmp_path):
    plate = lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["GFP"], version="0.5"
    )
    plate.create_positions([("A", "1", "0", 0, 0), ("C", "4", "0", 2, 3), ("C", "4", "1", 2, 3)])
    plan = plan_plate(plate)
    assert (plan.rows, plan.columns) == (("A", "B", "C"), ("1", "2", "3", "4"))
    assert plan.wells == {(0, 0), (2, 3)}
    assert [plan_plate(node).name for node in (plate, plate["C"], plate["C/4"])] == ["p", "C", "C/4"]
    assert [(tile.row, tile.column, tile.slot) for tile in plan.tiles] == [(0, 0, 0), (2, 3, 0), (2, 3, 1)]


def test_of_many_fields_the_first_nine_are_drawn(tmp_path):
    plate = lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["GFP"], version="0.5"
    )
    plate.create_positions([("A", "1", str(field)) for field in range(12)])
    plan = plan_plate(plate)
    assert [tile.path for tile in plan.tiles] == [f"A/1/{field}" for field in range(9)]
    assert (plan.fields, plan.max_fields) == (12, 9)
