"""What users of ``lamella.models`` rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from lamella import models
from lamella.errors import InvalidArgumentError, MetadataError
from lamella.models import (
    AxisMeta,
    ChannelAxisMeta,
    ChannelMeta,
    DatasetMeta,
    ImageLabelMeta,
    ImagesMeta,
    MetaModel,
    MultiScaleMeta,
    OMEROMeta,
    PlateAxisMeta,
    SpaceAxisMeta,
    TimeAxisMeta,
    TransformationMeta,
    axes,
    default_axes,
)
from lamella.spec.axes import axes_from_json, axis_index, channel_axis, check_axes, space_axes, time_axis

VOCABULARY = json.loads((Path(__file__).parents[1] / "data" / "ngff" / "vocabulary.json").read_text())


def read_axes(*documents: dict[str, Any]) -> list[AxisMeta]:
    return MultiScaleMeta.from_json({"axes": list(documents), "datasets": []}).axes


# -- transformations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "numbers", [[1, 2], (1, 2), (1.0, 2), np.array([1, 2]), [np.float32(1), np.int64(2)]]
)
def test_numbers_are_read_back_as_a_list_of_floats(numbers: Any) -> None:
    scale = TransformationMeta(type="scale", scale=numbers).scale
    assert scale == [1.0, 2.0]
    assert [type(number) for number in scale or []] == [float, float]


def test_transformations_are_equal_by_value() -> None:
    given = TransformationMeta(type="translation", translation=(1, 2))
    assert given == TransformationMeta(type="translation", translation=[1.0, 2.0])
    assert given != TransformationMeta(type="scale", scale=[1, 2])


def test_the_dump_of_a_transformation_is_what_goes_to_disk() -> None:
    for given in (
        TransformationMeta(type="identity"),
        TransformationMeta(type="scale", scale=(1, 2)),
        TransformationMeta(type="translation", translation=(1, 2)),
        TransformationMeta(type="scale", path="numbers"),
    ):
        assert given.model_dump(exclude_none=True, by_alias=True) == given.to_json()
    assert TransformationMeta(type="scale", scale=(1, 2)).to_json() == {"type": "scale", "scale": [1.0, 2.0]}


def test_positional_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        TransformationMeta("scale", [1, 2])  # type: ignore[call-arg, misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "scale"},
        {"type": "translation", "scale": [1, 1]},
        {"type": "rotation"},
        {"scale": [1, 1]},
        {"type": "scale", "scale": ["a"]},
        {"type": "scale", "scale": 2},
    ],
)
def test_a_transformation_without_its_numbers_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MetadataError, match="TransformationMeta cannot be made") as caught:
        TransformationMeta(**wrong)
    assert isinstance(caught.value, ValueError)
    assert caught.value.__cause__ is not None


# -- axes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "words"), [(SpaceAxisMeta, "space_units"), (TimeAxisMeta, "time_units")])
def test_legal_units_are_listed_by_the_annotation(model: type[AxisMeta], words: str) -> None:
    literal, none = get_args(model.model_fields["unit"].annotation)
    assert none is type(None)
    assert list(get_args(literal)) == VOCABULARY[words]


@pytest.mark.parametrize(
    ("document", "model"),
    [
        ({"name": "x", "type": "space", "unit": "nanometer"}, SpaceAxisMeta),
        ({"name": "x", "type": "space"}, SpaceAxisMeta),
        ({"name": "t", "type": "time", "unit": "second"}, TimeAxisMeta),
        ({"name": "c", "type": "channel"}, ChannelAxisMeta),
        ({"name": "c", "type": "channel", "unit": "dye"}, ChannelAxisMeta),
        ({"name": "x", "type": "space", "unit": "micron"}, AxisMeta),
        ({"name": "t", "type": "time", "unit": "micrometer"}, AxisMeta),
        ({"name": "angle", "type": "angle", "unit": "degree"}, AxisMeta),
        ({"name": "x"}, AxisMeta),
    ],
)
def test_an_axis_is_read_as_narrow_as_it_is_legal(document: dict[str, Any], model: type[AxisMeta]) -> None:
    (axis,) = read_axes(document)
    assert type(axis) is model
    assert axis.to_json() == document
    assert axes_from_json([document]) == [axis]


def test_a_foreign_unit_is_refused_where_a_legal_one_is_promised() -> None:
    with pytest.raises(MetadataError, match=r"unit: expected 'angstrom'.*found 'micron'"):
        SpaceAxisMeta(name="x", unit="micron")  # type: ignore[arg-type]


def test_axes_are_equal_by_value_whatever_their_class() -> None:
    assert AxisMeta(name="T", type="time", unit="second") == TimeAxisMeta(name="T", unit="second")
    assert AxisMeta(name="T", type="time", longName="a") != TimeAxisMeta(name="T")
    assert AxisMeta(name="T") != "T"


def test_default_axes_are_the_capitals() -> None:
    assert [axis.to_json() for axis in default_axes()] == [
        {"name": "T", "type": "time", "unit": "second"},
        {"name": "C", "type": "channel"},
        {"name": "Z", "type": "space", "unit": "micrometer"},
        {"name": "Y", "type": "space", "unit": "micrometer"},
        {"name": "X", "type": "space", "unit": "micrometer"},
    ]


@pytest.mark.parametrize("names", ["", "tt", "abc", "xX"])
def test_axes_of_other_letters_are_refused(names: str) -> None:
    with pytest.raises(InvalidArgumentError, match="Cannot make axes"):
        axes(names)


def test_axes_are_found_by_type_before_name() -> None:
    odd = [
        TimeAxisMeta(name="c"),
        ChannelAxisMeta(name="t"),
        AxisMeta(name="z", type="space", unit="micron"),
        SpaceAxisMeta(name="a"),
    ]
    assert (time_axis(odd), channel_axis(odd), space_axes(odd)) == (0, 1, (2, 3))


def test_untyped_axes_are_found_by_name_in_any_case() -> None:
    untyped = [AxisMeta(name=name) for name in "TCZYX"]
    assert (time_axis(untyped), channel_axis(untyped), space_axes(untyped)) == (0, 1, (2, 3, 4))


def test_an_axis_index_prefers_the_exact_name() -> None:
    both = [SpaceAxisMeta(name="X"), SpaceAxisMeta(name="x")]
    assert (axis_index(both, "x"), axis_index(axes("zyx"), "Y")) == (1, 1)


def test_an_unknown_axis_is_refused_and_the_known_are_named() -> None:
    with pytest.raises(InvalidArgumentError, match="no axis 'q': the axes are z, y, x"):
        axis_index(axes("zyx"), "q")


@pytest.mark.parametrize("document", ["x", {"name": "x"}, ["x"], [{}]])
def test_axes_that_are_none_are_refused(document: Any) -> None:
    with pytest.raises(MetadataError, match="axes"):
        axes_from_json(document)


@pytest.mark.parametrize("names", ["yx", "zyx", "cyx", "tyx", "tczyx", "xyz", "tcxy"])
def test_legal_axes_pass(names: str) -> None:
    check_axes(axes(names))


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (axes("x"), "AX-06"),
        (axes("cx"), "AX-07"),
        (axes("zcyx"), "AX-10"),
        (axes("ctyx"), "AX-10"),
        (axes("yx") + axes("x"), "AX-02"),
        ([AxisMeta(name=""), *axes("yx")], "AX-01"),
        ([TimeAxisMeta(name="s"), *axes("tyx")], "AX-08"),
        ([AxisMeta(name="angle", type="angle"), *axes("cyx")], "AX-09"),
        ([*axes("tczyx"), SpaceAxisMeta(name="w")], "AX-06"),
    ],
)
def test_illegal_axes_are_refused_by_rule(wrong: list[AxisMeta], rule: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rule):
        check_axes(wrong)


# -- all models ---------------------------------------------------------------------------------------------


def test_models_are_live() -> None:
    meta = ImagesMeta(multiscales=[MultiScaleMeta(axes=default_axes(), datasets=[])])
    scales = meta.multiscales[0]
    scales.name = "cells"
    scales.datasets.append(DatasetMeta(path="0"))
    scales.datasets[0].coordinate_transformations.append(TransformationMeta(type="identity"))
    meta.omero = OMEROMeta(channels=[ChannelMeta(label="DAPI")])
    meta.omero.channels[0].window = {"start": 0, "end": 1, "min": 0, "max": 1}
    document = meta.to_json()
    assert document["multiscales"][0]["name"] == "cells"
    assert document["multiscales"][0]["datasets"] == [
        {"path": "0", "coordinateTransformations": [{"type": "identity"}]}
    ]
    assert document["omero"]["channels"][0]["window"]["end"] == 1
    assert scales.get_dataset_paths() == ["0"]


def test_what_was_assigned_comes_back_in_its_normal_form() -> None:
    dataset = DatasetMeta(path="0")
    dataset.coordinate_transformations = [{"type": "scale", "scale": (1, np.float64(2))}]  # type: ignore[list-item]
    assert dataset.checked() == DatasetMeta(
        path="0", coordinate_transformations=[TransformationMeta(type="scale", scale=[1, 2])]
    )


def test_unknown_keys_with_null_survive() -> None:
    document = {"path": "0", "coordinateTransformations": [], "a": None, "b": {"c": None}}
    assert DatasetMeta.from_json(document).to_json() == document


def test_document_keys_and_attribute_names_do_not_mix_when_reading() -> None:
    document = {"path": "0", "coordinateTransformations": [], "coordinate_transformations": "not ours"}
    dataset = DatasetMeta.from_json(document)
    assert dataset.coordinate_transformations == []
    assert dataset.to_json() == document


def test_names_that_are_numbers_are_read_as_text() -> None:
    assert PlateAxisMeta.from_json({"name": 1}).name == "1"


def test_what_real_files_hold_is_representable() -> None:
    channels = [{"label": "a"}, {"color": "#FF0000", "window": {"start": 0, "end": 1}}, {"color": "808080"}]
    assert OMEROMeta.from_json({"channels": channels}).to_json() == {"channels": channels}
    assert ImageLabelMeta.from_json({}).to_json() == {}


def test_a_value_that_is_no_json_is_refused() -> None:
    label = ImageLabelMeta(source={"image": object()})
    with pytest.raises(MetadataError, match="Metadata can only be JSON"):
        label.to_json()


def test_many_problems_are_summed_up() -> None:
    wrong = {"axes": [{}, {}, {}, {}, {}], "datasets": []}
    with pytest.raises(MetadataError, match=r"axes\[2\].name: is missing; and 2 more"):
        MultiScaleMeta.from_json(wrong)


MODELS = [getattr(models, name) for name in models.__all__ if name.endswith("Meta")]


@pytest.mark.parametrize("model", MODELS)
def test_dumps_by_pydantic_and_by_lamella_agree(model: type[MetaModel]) -> None:
    example: dict[str, Any] = {
        "name": "A",
        "type": "identity",
        "path": "0",
        "id": 1,
        "axes": [{"name": "x", "type": "space", "unit": "u"}, {"name": "c", "type": "channel"}],
        "datasets": [{"path": "0", "coordinateTransformations": []}],
        "multiscales": [],
        "images": [{"path": "0"}],
        "rows": [{"name": "A"}],
        "columns": [],
        "wells": [],
        "rowIndex": 0,
        "columnIndex": 1,
        "label-value": 3,
        "labels": ["a"],
        "channels": [{"window": {"start": 0, "end": 1, "min": 0, "max": 1, "own": 2}}],
    }
    if issubclass(model, AxisMeta):
        example["type"] = model.model_fields["type"].default
    meta = model.from_json(example)
    assert meta.model_dump(mode="json", exclude_none=True, by_alias=True) == meta.to_json()


def test_importing_the_models_loads_no_array_library() -> None:
    heavy = ["numpy", "zarr", "dask", "xarray", "tensorstore", "numba"]
    code = f"import sys, lamella.models; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
