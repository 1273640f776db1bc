"""Edits of an image's metadata: each changes what it names and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import InvalidArgumentError, NodeExistsError, NodeNotFoundError
from lamella.models import AxisMeta, ImagesMeta, TransformationMeta, WindowDict, axes
from lamella.spec import edits
from lamella.spec.geometry import effective_scale, effective_translation, level_transforms, pyramid_shapes

WINDOW: WindowDict = {"start": 1, "end": 2, "min": 0, "max": 3}


def scale(*numbers: float) -> list[TransformationMeta]:
    return [TransformationMeta(type="scale", scale=numbers)]


@pytest.fixture
def meta() -> ImagesMeta:
    """Two channels, two levels, and keys that nobody knows at every depth."""
    made = edits.new_images(axes("cyx"), ["DAPI", "GFP"], "cells")
    made = edits.add_dataset(made, "0", scale(1, 0.5, 0.5), WINDOW)
    made = edits.add_dataset(made, "1", level_transforms(scale(1, 0.5, 0.5), (1, 2, 2), "mean"))
    document = made.to_json()
    scales = document["multiscales"][0]
    for place in (
        document,
        scales,
        scales["axes"][1],
        scales["datasets"][0],
        scales["datasets"][0]["coordinateTransformations"][0],
        scales["datasets"][1]["coordinateTransformations"][1],
        document["omero"],
        document["omero"]["channels"][0],
        document["omero"]["channels"][0]["window"],
        document["omero"]["rdefs"],
    ):
        place["own"] = {"a": [None]}
    return ImagesMeta.from_json(document)


EDITS: dict[str, Any] = {
    "add_dataset": lambda m: edits.add_dataset(m, "2", scale(1, 2, 2), WINDOW),
    "remove_dataset": lambda m: edits.remove_dataset(edits.add_dataset(m, "2"), "2"),
    "append_channel": lambda m: edits.append_channel(m, "Cy5", WINDOW),
    "rename_channel": lambda m: edits.rename_channel(m, "DAPI", "nuclei"),
    "set_contrast_limits": lambda m: edits.set_contrast_limits(m, "DAPI", {**WINDOW, "end": 9}),
    "fill_windows": lambda m: edits.fill_windows(edits.append_channel(m, "Cy5"), WINDOW),
    "set_transform": lambda m: edits.set_transform(
        m, "1", m.multiscales[0].datasets[1].coordinate_transformations
    ),
    "set_scale": lambda m: edits.set_scale(m, "0", "Y", 3),
    "set_scale of all": lambda m: edits.set_scale(m, "*", "Y", 3),
    "set_unit": lambda m: edits.set_unit(m, "Y", "meter"),
    "describe_levels": lambda m: edits.describe_levels(
        m, "mean", None, {"1": m.multiscales[0].datasets[0].coordinate_transformations}
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_leaves_its_input_and_keeps_unknown_keys(name: str, meta: ImagesMeta) -> None:
    before = meta.to_json()
    after = EDITS[name](meta).to_json()
    assert meta.to_json() == before
    assert after != before or name in ("remove_dataset", "set_transform")
    assert str(after).count("'own': {'a': [None]}") == 10


# -- images and levels --------------------------------------------------------------------------------------


def test_a_new_image_has_channels_but_no_level() -> None:
    meta = edits.new_images(axes("tczyx"), ["DAPI", "GFP"], name="cells")
    assert (meta.multiscales[0].name, meta.multiscales[0].datasets) == ("cells", [])
    assert edits.channel_names(meta) == ["DAPI", "GFP"]
    assert meta.omero is not None
    assert [channel.active for channel in meta.omero.channels] == [True, True]


def test_an_image_without_channel_axis_takes_one_name_at_most() -> None:
    assert edits.new_images(axes("yx"), []).omero is None
    assert edits.channel_names(edits.new_images(axes("yx"), ["DAPI"])) == ["DAPI"]
    with pytest.raises(InvalidArgumentError, match="2 channel names"):
        edits.new_images(axes("yx"), ["DAPI", "GFP"])


@pytest.mark.parametrize("names", ["DAPI", [""], [3]])
def test_channel_names_that_are_no_texts_are_refused(names: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="list of texts"):
        edits.new_images(axes("cyx"), names)


def test_illegal_axes_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="AX-07"):
        edits.new_images([AxisMeta(name="x"), AxisMeta(name="y")], [])


def test_axes_given_are_copied() -> None:
    given_axes = axes("yx")
    meta = edits.new_images(given_axes, [])
    given_axes[0].name = "changed"
    assert meta.multiscales[0].axes[0].name == "y"


def test_a_level_has_a_scale_of_ones_by_default() -> None:
    meta = edits.add_dataset(edits.new_images(axes("yx"), []), "0")
    assert meta.multiscales[0].datasets[0].coordinate_transformations == scale(1, 1)


@given(sizes=st.permutations([1, 2, 4, 8]))
def test_levels_stay_in_the_order_finest_first(sizes: list[int]) -> None:
    meta = edits.new_images(axes("yx"), [])
    for size in sizes:
        meta = edits.add_dataset(meta, str(size), scale(size, size))
    assert meta.multiscales[0].get_dataset_paths() == ["1", "2", "4", "8"]


def test_a_replaced_level_0_comes_first_again(meta: ImagesMeta) -> None:
    again = edits.add_dataset(edits.remove_dataset(meta, "0"), "0", scale(1, 0.5, 0.5))
    assert again.multiscales[0].get_dataset_paths() == ["0", "1"]


def test_levels_of_one_size_stay_in_the_order_of_creation() -> None:
    meta = edits.new_images(axes("yx"), [])
    for path in "bca":
        meta = edits.add_dataset(meta, path)
    assert meta.multiscales[0].get_dataset_paths() == ["b", "c", "a"]


def test_a_level_is_not_listed_twice(meta: ImagesMeta) -> None:
    with pytest.raises(NodeExistsError, match="level '0' already"):
        edits.add_dataset(meta, "0")


def test_an_unknown_level_cannot_be_removed(meta: ImagesMeta) -> None:
    with pytest.raises(NodeNotFoundError, match="no level 'x': its levels are '0', '1'"):
        edits.remove_dataset(meta, "x")


# -- channels -----------------------------------------------------------------------------------------------


def test_a_channel_without_label_is_named_by_its_place() -> None:
    meta = ImagesMeta.from_json({"omero": {"channels": [{"label": "a"}, {}]}})
    assert edits.channel_names(meta) == ["a", "channel_1"]
    assert edits.channel_names(edits.rename_channel(meta, "channel_1", "b")) == ["a", "b"]


def test_renaming_keeps_colour_and_contrast(meta: ImagesMeta) -> None:
    assert meta.omero is not None
    renamed = edits.rename_channel(meta, "DAPI", "nuclei").omero
    assert renamed is not None
    assert renamed.channels[0].to_json() == meta.omero.channels[0].to_json() | {"label": "nuclei"}


def test_renaming_to_the_same_name_is_allowed(meta: ImagesMeta) -> None:
    assert edits.rename_channel(meta, "DAPI", "DAPI") == meta


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: edits.append_channel(m, "DAPI"), "channel 'DAPI' already"),
        (lambda m: edits.append_channel(m, ""), "not empty"),
        (
            lambda m: edits.rename_channel(m, "Cy5", "x"),
            r"no channel 'Cy5': the channels are \['DAPI', 'GFP'\]\.$",
        ),
        (lambda m: edits.rename_channel(m, "DAPI", "GFP"), "channel 'GFP' already"),
        (lambda m: edits.set_contrast_limits(m, "Cy5", WINDOW), "no channel 'Cy5'"),
        (lambda m: edits.set_contrast_limits(m, "DAPI", {"start": math.nan}), "finite numbers"),
        (lambda m: edits.set_contrast_limits(m, "DAPI", {"end": 10**400}), "finite numbers"),
        (
            lambda m: edits.set_contrast_limits(m, "DAPI", {**WINDOW, "start": 9, "end": 4}),
            "starts at 9, above",
        ),
        (
            lambda m: edits.set_contrast_limits(m, "DAPI", {**WINDOW, "min": 9, "max": 4}),
            "minimum of 9, above",
        ),
        (lambda m: edits.set_windows(m, {0: {**WINDOW, "start": 9, "end": 4}}), "starts at 9, above"),
        (
            lambda m: edits.set_contrast_limits(edits.append_channel(m, "a"), "a", {"start": 0}),
            "finite numbers",
        ),
        (lambda m: edits.append_channel(m, "Cy5", {"start": 0, "end": "x"}), "finite numbers"),
        (lambda m: edits.name_channels(m, ["a", "b"]), "names DAPI, GFP already"),
    ],
)
def test_a_wrong_edit_of_channels_is_refused(edit: Any, message: str, meta: ImagesMeta) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        edit(meta)


def test_channels_without_a_display_block_need_names_first() -> None:
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]}
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    meta = ImagesMeta.from_json({"multiscales": [{"axes": axes, "datasets": [level]}]})
    assert edits.channel_names(meta) == []
    for edit in (
        lambda: edits.rename_channel(meta, "a", "b"),
        lambda: edits.append_channel(meta, "a"),
        lambda: edits.set_contrast_limits(meta, "a", WINDOW),
    ):
        with pytest.raises(InvalidArgumentError, match="no omero block"):
            edit()
    named = edits.name_channels(meta, ["a"])
    assert edits.channel_names(edits.append_channel(named, "b")) == ["a", "b"]


def test_windows_are_filled_only_where_there_are_none(meta: ImagesMeta) -> None:
    filled = edits.fill_windows(edits.append_channel(meta, "Cy5"), {"start": 5, "end": 6, "min": 5, "max": 6})
    assert filled.omero is not None
    assert [channel.window["start"] for channel in filled.omero.channels if channel.window] == [1, 1, 5]


# -- transformations ----------------------------------------------------------------------------------------


def test_set_transform_of_a_lower_level_changes_that_level_only(meta: ImagesMeta) -> None:
    after = edits.set_transform(meta, "1", [TransformationMeta(type="translation", translation=[1, 2, 3])])
    assert effective_scale(after, "1") == [1.0, 1.0, 1.0]
    assert effective_translation(after, "1") == [1.0, 2.0, 3.0]
    assert after.multiscales[0].datasets[0] == meta.multiscales[0].datasets[0]
    assert after.multiscales[0].coordinate_transformations is None


def test_set_transform_of_the_finest_level_takes_the_lower_ones_along(meta: ImagesMeta) -> None:
    before = effective_scale(meta, "1")
    shift = TransformationMeta(type="translation", translation=[10, 20, 30])
    moved = edits.set_transform(meta, "0", [*scale(1, 0.25, 8), shift])
    old = effective_scale(meta, "0")
    ratio = [b / a for a, b in zip(old, [1, 0.25, 8], strict=True)]
    assert effective_scale(moved, "1") == [size * r for size, r in zip(before, ratio, strict=True)]
    offset = [
        b - a for a, b in zip(effective_translation(meta, "0"), effective_translation(meta, "1"), strict=True)
    ]
    expected = [at + own * r for at, own, r in zip([10, 20, 30], offset, ratio, strict=True)]
    assert effective_translation(moved, "1") == expected


def test_set_transform_of_an_unknown_image_is_refused(meta: ImagesMeta) -> None:
    with pytest.raises(NodeNotFoundError, match="no level 'x'"):
        edits.set_transform(meta, "x", [])


sizes = st.integers(1, 1024).map(lambda n: n / 64)


@given(
    size=sizes, level=st.integers(0, 3), start=st.integers(-8, 8), method=st.sampled_from(["mean", "stride"])
)
def test_a_pyramid_stays_one_when_a_scale_is_set(size: float, level: int, start: int, method: str) -> None:
    base = [*scale(1, 0.5, 0.5), TransformationMeta(type="translation", translation=[0, start, start])]
    plan = pyramid_shapes((2, 64, 64), (1, 2), 4)
    meta = edits.new_images(axes("cyx"), [])
    for number, (_, factors) in enumerate(plan):
        meta = edits.add_dataset(meta, str(number), level_transforms(base, factors, method))
    after = edits.set_scale(meta, str(level), "y", size)
    assert effective_scale(after, str(level))[1] == size
    anew = effective_scale(after, "0")[1]
    expected = [*scale(1, anew, 0.5), TransformationMeta(type="translation", translation=[0, start, start])]
    for number, (_, factors) in enumerate(plan):
        wanted = edits.set_transform(meta, str(number), level_transforms(expected, factors, method))
        assert effective_scale(after, str(number)) == pytest.approx(effective_scale(wanted, str(number)))
        assert effective_translation(after, str(number)) == pytest.approx(
            effective_translation(wanted, str(number))
        )


def test_set_scale_keeps_translations(meta: ImagesMeta) -> None:
    shifted = edits.set_transform(
        meta, "0", [*scale(1, 2, 3), TransformationMeta(type="translation", translation=[4, 5, 6])]
    )
    after = edits.set_scale(shifted, "0", "X", 9)
    assert (effective_scale(after, "0"), effective_translation(after, "0")) == ([1, 2, 9], [4, 5, 6])


def test_set_scale_of_the_whole_starts_from_ones(meta: ImagesMeta) -> None:
    after = edits.set_scale(edits.set_scale(meta, "*", "Y", 2), "*", "x", 3)
    assert after.multiscales[0].coordinate_transformations == scale(1, 2, 3)
    assert effective_scale(after, "0") == [1.0, 1.0, 1.5]
    assert after.multiscales[0].datasets == meta.multiscales[0].datasets


def test_a_scale_of_zero_can_be_mended(meta: ImagesMeta) -> None:
    size = effective_scale(meta, "0")
    broken = edits.set_transform(meta, "0", scale(size[0], 0, size[2]))
    after = edits.set_scale(broken, "0", "y", 0.5)
    assert effective_scale(after, "0") == [size[0], 0.5, size[2]]
    assert effective_scale(after, "1") == effective_scale(meta, "1")


@pytest.mark.parametrize("size", [math.nan, math.inf, 0])
def test_a_scale_that_is_no_size_can_be_corrected(meta: ImagesMeta, size: float) -> None:
    document = meta.to_json()  # of another program
    document["multiscales"][0]["datasets"][0]["coordinateTransformations"] = [
        {"type": "scale", "scale": [1, size, 1]}
    ]
    after = edits.set_scale(ImagesMeta.from_json(document), "0", "y", 0.5)
    assert (effective_scale(after, "0"), effective_translation(after, "0")) == ([1, 0.5, 1], [0, 0, 0])
    assert effective_scale(after, "1") == effective_scale(meta, "1")


def test_a_size_whose_reciprocal_no_float_holds_can_be_corrected(meta: ImagesMeta) -> None:
    document = meta.to_json()  # of another program
    for level in document["multiscales"][0]["datasets"]:
        level["coordinateTransformations"][0]["scale"] = [1, 1e-320, 1e-320]
    for edit in (
        lambda m: edits.set_scale(m, "0", "y", 1),
        lambda m: edits.set_transform(m, "0", scale(1, 1, 1)),
    ):
        after = edit(ImagesMeta.from_json(document))
        assert (effective_scale(after, "0")[1], effective_scale(after, "1")[1]) == (1, 1)


def test_sizes_far_apart_replace_each_other(meta: ImagesMeta) -> None:
    for size in (1e150, 1e-150, 0.5):
        meta = edits.set_scale(meta, "0", "y", size)
        assert effective_scale(meta, "1")[1] == 2 * size


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "a", None, True, 1e-320, 1e200])
def test_a_scale_that_is_no_size_is_refused(value: Any, meta: ImagesMeta) -> None:
    with pytest.raises(InvalidArgumentError, match="finite number above 0"):
        edits.set_scale(meta, "0", "y", value)


def test_the_scale_of_an_unknown_axis_is_refused(meta: ImagesMeta) -> None:
    with pytest.raises(InvalidArgumentError, match="no axis 'z': the axes are c, y, x"):
        edits.set_scale(meta, "0", "z", 1)


def test_the_scale_of_an_unknown_image_is_refused(meta: ImagesMeta) -> None:
    with pytest.raises(NodeNotFoundError, match="no level 'x'"):
        edits.set_scale(meta, "x", "y", 1)
