"""Laws of scales and translations of a position, for 2 to 5 axes in both versions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella import open_ome_zarr
from lamella.errors import MetadataWarning
from lamella.models import TransformationMeta, axes

from .conftest import attributes, channels, check_valid, ome, pixels


@pytest.fixture
def position(path, version, names):
    """Two levels: the second half as fine along y and x."""
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=channels(names), axes=axes(names), version=version
    ) as made:
        made["0"] = pixels(names)
        half = [2.0 if name in "yx" else 1.0 for name in names]
        shift = [(size - 1) / 2 for size in half]
        made.create_image("1", pixels(names)[..., ::2, ::2], transform=[scale(half), translation(shift)])
        yield made


def scale(numbers) -> TransformationMeta:
    return TransformationMeta(type="scale", scale=numbers)


def translation(numbers) -> TransformationMeta:
    return TransformationMeta(type="translation", translation=numbers)


def sizes(names: str, number: float, of_channels: float = 1.0) -> list[float]:
    """A number for every axis but the channels, which have no size (CT-06)."""
    return [of_channels if name == "c" else number for name in names]


def test_missing_transforms_count_as_one(position, names):
    assert position.scale == [1.0] * len(names)
    assert position.get_effective_scale("*") == [1.0] * len(names)
    assert position.get_effective_translation("*") == [0.0] * len(names)
    assert position.metadata.multiscales[0].coordinate_transformations is None


def test_an_fov_scale_multiplies_the_levels_and_their_translations(position, path, version, names):
    del position["1"]  # alone, since its transform is set without regard to other levels
    position.set_transform("0", [scale(sizes(names, 2.0)), translation(sizes(names, 3.0, 0))])
    position.set_transform("*", [scale(sizes(names, 10.0)), translation(sizes(names, 5.0, 0))])
    assert position.get_effective_scale("0") == sizes(names, 20.0)
    assert position.get_effective_translation("0") == sizes(names, 35.0, 0)
    assert position.get_effective_scale("*") == sizes(names, 10.0)
    assert position.get_effective_translation("*") == sizes(names, 5.0, 0)
    assert position.scale == sizes(names, 20.0)
    check_valid(path, version)


def test_what_is_stored_is_one_scale_then_at_most_one_translation(position, path, version, names):
    del position["1"]
    identity = TransformationMeta(type="identity")
    position.set_transform(
        "0", [translation(sizes(names, 1.0, 0)), identity, scale(sizes(names, 2.0)), scale(sizes(names, 3.0))]
    )
    stored = ome(path, version)["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert stored == [
        {"type": "scale", "scale": sizes(names, 6.0)},
        {"type": "translation", "translation": sizes(names, 6.0, 0)},
    ]
    check_valid(path, version)


@pytest.mark.parametrize("image", ["0", "*"])
def test_no_transform_and_identity_are_a_scale_of_ones(position, path, version, names, image):
    for transforms in ([], [TransformationMeta(type="identity")]):
        position.set_transform(image, [scale([3.0] * len(names))])
        position.set_transform(image, transforms)
        assert position.get_effective_scale(image) == [1.0] * len(names)
    check_valid(path, version)


def test_setting_a_scale_keeps_translations_and_other_axes(position, path, version, names):
    del position["1"]  # alone, since its transform is set without regard to other levels
    position.set_transform("0", [scale(sizes(names, 2.0)), translation(sizes(names, 3.0, 0))])
    position.set_scale("0", "X", 0.5)
    assert position.scale == [*sizes(names, 2.0)[:-1], 0.5]
    assert position.get_effective_translation("0") == sizes(names, 3.0, 0)
    check_valid(path, version)


def test_levels_of_one_pyramid_stay_consistent(position, names):
    position.set_scale("0", "x", 0.1)
    assert position.get_effective_scale("1")[-1] == pytest.approx(0.2)
    assert position.get_effective_translation("1")[-1] == pytest.approx(0.05)
    position.set_scale("1", "y", 8)
    assert position.get_effective_scale("0")[-2] == 4
    assert position.get_effective_translation("1")[-2] == 2


def test_the_whole_position_starts_from_ones(position, names):
    position.set_scale("*", "y", 4)
    assert position.get_effective_scale("*") == [4.0 if name == "y" else 1.0 for name in names]
    assert position.get_effective_scale("1")[-2] == 8


def test_the_whole_position_can_be_scaled_before_its_first_array(path, version, names):
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=channels(names), axes=axes(names), version=version
    ) as position:
        position.set_scale("*", "y", 4)
    with open_ome_zarr(path, mode="r+") as position:
        assert position.get_effective_scale("*")[-2] == 4
        position["0"] = pixels(names)
        assert position.scale[-2] == 4
        del position["0"]
        assert position.axis_names == list(names)
    with open_ome_zarr(path, mode="r+") as position:
        position["0"] = pixels(names)
        assert position.scale == [4.0 if name == "y" else 1.0 for name in names]
    assert "lamella" not in attributes(path, version)
    check_valid(path, version)


def test_every_axis_is_found_in_any_case(position, names):
    for index, name in enumerate(names):
        assert position.get_axis_index(name) == position.get_axis_index(name.upper()) == index


def test_scales_survive_closing(position, path):
    position.set_scale("0", "y", 0.25)
    position.close()
    with open_ome_zarr(path) as again:
        assert again.scale == position.scale
        assert again.metadata.multiscales[0].datasets[0].coordinate_transformations[0].type == "scale"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", None, True, [1], 1e-320])
def test_a_scale_that_is_no_positive_number_changes_nothing(image, value, refused):
    for target in ("0", "*"):
        with refused(ValueError):
            image.set_scale(target, "x", value)


@pytest.mark.parametrize(
    ("target", "axis", "family"), [("9", "x", KeyError), ("0", "q", ValueError), ("*", "", ValueError)]
)
def test_a_scale_of_what_is_not_there_changes_nothing(image, target, axis, family, refused):
    with refused(family):
        image.set_scale(target, axis, 2)


@pytest.mark.parametrize(
    ("target", "transforms", "family"),
    [
        ("9", [], KeyError),
        ("0", [scale([1, 1])], ValueError),
        ("*", [translation([1, 1])], ValueError),
        ("0", scale([1] * 5), ValueError),
        ("0", [{"type": "scale", "scale": [1] * 5}], ValueError),
        ("0", "scale", ValueError),
        ("0", None, ValueError),
        ("0", [scale([float("inf")] * 5)], ValueError),
        ("*", [scale([1e-320] * 5)], ValueError),
        ("0", [translation([-1e200] * 5)], ValueError),
    ],
)
def test_a_transform_that_does_not_fit_changes_nothing(image, target, transforms, family, refused):
    with refused(family):
        image.set_transform(target, transforms)


@pytest.mark.parametrize("name", ["9", "", "labels"])
def test_the_scale_of_what_is_not_there_is_a_key_error(image, name, refused):
    with refused(KeyError):
        image.get_effective_scale(name)
    with refused(KeyError):
        image.get_effective_translation(name)


@pytest.mark.parametrize("name", ["q", "", None])
def test_an_unknown_axis_is_a_value_error(image, name, refused):
    with refused(ValueError):
        image.get_axis_index(name)


def test_transforms_take_tuples_and_ints_and_give_lists_of_floats(image):
    image.set_transform("0", [scale((1, 1, 2, 3, 4))])
    stored = image.metadata.multiscales[0].datasets[0].coordinate_transformations
    assert stored == [scale([1.0, 1.0, 2.0, 3.0, 4.0])]
    assert [type(number) for number in stored[0].scale] == [float] * 5


def test_lists_and_values_of_the_metadata_that_were_kept_stay_as_they_are(image):
    channels, level = image.metadata.omero.channels, image.metadata.multiscales[0].datasets[0]
    transforms, window, before = level.coordinate_transformations, dict(channels[0].window), image.scale
    kept = channels[0].window
    image.set_scale({"x": 9})
    image.set_contrast_limits(channels[0].label, {"start": 3, "end": 5})
    image.set_transform("0", transforms)
    image.set_contrast_limits(channels[0].label, kept)
    assert (image.scale, image.metadata.omero.channels[0].window) == (before, window)
    for channel in image.metadata.omero.channels:
        image.append_channel(f"{channel.label} again")
    names = image.channel_names
    for channel in image.metadata.omero.channels:
        if channel.label != names[-1]:
            image.delete_channel(channel.label)
    assert (len(names), image.channel_names) == (4, names[-1:])


def test_parts_of_the_metadata_that_were_kept_are_live(image, path):
    scales, omero = image.metadata.multiscales[0], image.metadata.omero
    level, axis, channel = scales.datasets[1], scales.axes[-1], omero.channels[1]
    image.set_scale("0", "x", 0.25)
    image.set_unit("nm")
    image.rename_channel("GFP", "Actin")
    image.append_channel("Cy5")
    assert level.coordinate_transformations[0].scale[-1] == image.get_effective_scale("1")[-1] == 0.5
    assert (axis.unit, channel.label) == ("nanometer", "Actin")
    with open_ome_zarr(path, mode="r+") as elsewhere:
        elsewhere.set_channel("Actin", "red")
    assert (image.channel_names, channel.color) == (["DAPI", "Actin", "Cy5"], "FF0000")
    channel.color = "00FFFF"
    level.coordinate_transformations = [scale([1, 1, 1, 2, 7])]
    image.dump_meta()
    with open_ome_zarr(path) as again:
        assert again.metadata.omero.channels[1].color == "00FFFF"
        assert again.get_effective_scale("1")[-1] == 7
    image.delete_channel("DAPI")
    assert omero.channels[0] is channel


def test_transforms_with_the_wrong_length_of_others_are_named(image, path, version, refused):
    from .conftest import edit_attributes

    def cut(document):
        part = document if version == "0.4" else document["ome"]
        part["multiscales"][0]["datasets"][0]["coordinateTransformations"] = [
            {"type": "scale", "scale": [1, 1]}
        ]

    edit_attributes(path, version, cut)
    with pytest.warns(MetadataWarning, match="CT-05"):
        position = open_ome_zarr(path)
    with position:
        assert position.data.shape == pixels().shape
        with refused(ValueError, match="axes"):
            position.scale


numbers = st.floats(1e-6, 1e6)


@settings(max_examples=12)
@given(st.data())
def test_points_go_through_the_level_first_and_the_position_then(tmp_path_factory, data):
    version = data.draw(st.sampled_from(["0.4", "0.5"]))
    store = tmp_path_factory.mktemp("law") / "a.zarr"
    vector = st.lists(numbers, min_size=3, max_size=3)
    level, fov = (data.draw(st.tuples(vector, vector)) for _ in range(2))
    with open_ome_zarr(store, layout="fov", mode="w", axes=axes("zyx"), version=version) as position:
        position.create_zeros("0", (4, 4, 4), "uint8", transform=[scale(level[0]), translation(level[1])])
        position.set_transform("*", [scale(fov[0]), translation(fov[1])])
    with open_ome_zarr(store) as position:
        size, start = position.get_effective_scale("0"), position.get_effective_translation("0")
    point = np.array([1.0, 2.0, 3.0])
    expected = np.array(fov[0]) * (np.array(level[0]) * point + level[1]) + fov[1]
    np.testing.assert_allclose(np.array(size) * point + start, expected, rtol=1e-9)
