"""What 0.6 has beside 0.5: coordinate systems, scenes, drafts. The laws of all versions are in test_versions."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.models import (
    Affine,
    CoordinateGraph,
    CoordinateSystemMeta,
    ImageLabelMeta,
    ImagesMeta,
    ImageSystemsMeta,
    OtherTransformation,
    SceneMeta,
    SystemReference,
    TransformationMeta,
    Translation,
    axes,
)
from lamella.spec import edits
from lamella.spec.geometry import effective_scale, effective_translation
from lamella.spec.rules import check_attributes
from lamella.spec.versions import by_name, convert_attributes, detect

NGFF = Path(__file__).parents[1] / "data" / "ngff"
V05, V06 = by_name("0.5"), by_name("0.6")
SCHEMAS = {"transforms": "image"}


def accept(schema: str, document: dict[str, Any]) -> None:
    folder = NGFF / "schemas" / "0.6"
    files = {path.name: json.loads(path.read_text()) for path in folder.glob("*.schema")}
    registry: Registry[Any] = Registry().with_resources(
        (file["$id"], Resource(file, DRAFT202012)) for file in files.values()
    )
    Draft202012Validator(files[f"{schema}.schema"], registry=registry).validate(document)


def rewritten(document: dict[str, Any]) -> dict[str, Any]:
    written = document
    for kind in V06.parts:
        meta = V06.load(kind, document)
        if meta is not None:
            written = V06.dump(meta, written)
    return written


def yx(name: str = "intrinsic", **extra: Any) -> dict[str, Any]:
    listed = [{"name": letter, "type": "space", "unit": "micrometer"} | extra for letter in "yx"]
    return {"name": name, "axes": listed}


def level(path: str, transform: dict[str, Any], system: str = "intrinsic") -> dict[str, Any]:
    ends = {"input": {"path": path}, "output": {"name": system}}
    return {"path": path, "coordinateTransformations": [transform | ends]}


def image(*transforms: dict[str, Any], systems: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    scales: dict[str, Any] = {
        "name": "cells",
        "coordinateSystems": systems or [yx()],
        "datasets": [level("0", {"type": "scale", "scale": [0.5, 0.5]})],
        "type": "mean",
        "metadata": {"method": "mean"},
    }
    if transforms:
        scales["coordinateTransformations"] = list(transforms)
    return {"ome": {"version": "0.6", "multiscales": [scales]}}


def between(source: str, target: str, **transform: Any) -> dict[str, Any]:
    return transform | {"input": {"name": source}, "output": {"name": target}}


def read(document: dict[str, Any]) -> ImagesMeta:
    meta = V06.load(ImagesMeta, document)
    assert meta is not None
    return meta


# -- the official cases -------------------------------------------------------------------------------------


def official() -> list[Any]:
    index = json.loads((NGFF / "tests" / "index.json").read_text())
    cases = [case for case in index["cases"] if case["valid"] and case["version"] == "0.6"]
    return [pytest.param(case, id=case["id"]) for case in cases]


@pytest.mark.parametrize("case", official())
def test_official_cases_survive_and_stay_valid(case: dict[str, Any]) -> None:
    document = json.loads((NGFF / case["file"]).read_text())
    document.pop("_conformance", None)
    written = rewritten(document)
    # One case has the path of another level as the input of a level: that of the level is taken (RD-02).
    for scales in document["ome"].get("multiscales", []):
        for dataset in scales["datasets"]:
            dataset["coordinateTransformations"][0]["input"]["path"] = dataset["path"]
    assert written == document | {"ome": document["ome"] | {"version": "0.6"}}
    accept(SCHEMAS.get(case["kind"], case["kind"]), written)


def whole_examples() -> list[Any]:
    files = sorted((NGFF / "examples" / "0.6").rglob("*.json"))
    found = [(path, json.loads(path.read_text())) for path in files]
    return [
        pytest.param(document.get("attributes", document), id=f"{path.parent.name}/{path.stem}")
        for path, document in found
        if isinstance(document.get("attributes", document).get("ome"), dict)
    ]


@pytest.mark.parametrize("document", whole_examples())
def test_official_examples_survive(document: dict[str, Any]) -> None:
    assert rewritten(document)["ome"] == document["ome"] | {"version": "0.6"}


# -- the same models as in every version --------------------------------------------------------------------


def test_an_image_of_models_alone_is_valid() -> None:
    meta = edits.new_images(axes("tczyx"), ["DAPI"], "cells")
    window: Any = {"start": 0, "end": 255, "min": 0, "max": 255}
    shifted = [
        TransformationMeta(type="scale", scale=[1, 1, 2, 2, 2]),
        TransformationMeta(type="translation", translation=[0, 0, 0.5, 0.5, 0.5]),
    ]
    meta = edits.add_dataset(edits.add_dataset(meta, "0", window=window), "1", shifted)
    meta = edits.describe_levels(meta, "mean", {"method": "mean"})
    meta = edits.set_transform(meta, "*", [TransformationMeta(type="scale", scale=[1, 1, 1, 3, 3])])
    written = V06.dump(meta, {})
    accept("strict_image", written)
    assert check_attributes("image", written, "0.6") == []
    assert read(written) == meta
    first, second = written["ome"]["multiscales"][0]["datasets"]
    assert first["coordinateTransformations"][0]["type"] == "scale"
    assert [step["type"] for step in second["coordinateTransformations"][0]["transformations"]] == [
        "scale",
        "translation",
    ]


def test_scales_and_translations_work_as_in_05() -> None:
    world = between("intrinsic", "world", type="scale", scale=[10, 10])
    document = image(world, systems=[yx("world"), yx()])
    document["ome"]["multiscales"][0]["datasets"] = [
        level(
            "0",
            {
                "type": "sequence",
                "transformations": [
                    {"type": "scale", "scale": [2, 2]},
                    {"type": "translation", "translation": [1, 1]},
                ],
            },
        )
    ]
    meta = read(document)
    assert (effective_scale(meta, "0"), effective_translation(meta, "0")) == ([20, 20], [10, 10])
    assert (effective_scale(meta, "*"), meta.multiscales[0].systems) == ([10, 10], None)
    assert V06.dump(meta, document) == document


def test_a_transformation_to_other_units_is_not_the_field_of_view() -> None:
    atlas = yx("atlas", unit="millimeter")
    document = image(between("intrinsic", "atlas", type="scale", scale=[0.001, 0.001]), systems=[yx(), atlas])
    meta = read(document)
    assert effective_scale(meta, "0") == [0.5, 0.5]
    assert V06.dump(meta, document) == document


def test_setting_the_field_of_view_adds_a_system_and_removing_it_takes_it_off() -> None:
    moved = edits.set_transform(
        read(image()), "*", [TransformationMeta(type="translation", translation=[3, 4])]
    )
    written = V06.dump(moved, image())
    accept("image", written)
    assert not [finding for finding in check_attributes("image", written, "0.6") if finding.level == "MUST"]
    systems = written["ome"]["multiscales"][0]["coordinateSystems"]
    assert [system["name"] for system in systems] == ["world", "intrinsic"]
    moved.multiscales[0].coordinate_transformations = None
    assert V06.dump(moved, written) == image()


@pytest.mark.parametrize(
    ("stored", "kinds"),
    [
        ([], ["identity"]),
        ([{"type": "identity"}], ["identity"]),
        ([{"type": "translation", "translation": [1, 1]}], ["scale", "translation"]),
        ([{"type": "scale", "scale": [2, 2]}] * 2, ["scale"]),
        (
            [{"type": "translation", "translation": [1, 1]}, {"type": "scale", "scale": [2, 2]}],
            ["scale", "translation"],
        ),
    ],
)
def test_levels_are_written_in_their_legal_form(stored: list[dict[str, Any]], kinds: list[str]) -> None:
    meta = read(image())
    meta.multiscales[0].datasets[0].coordinate_transformations = [
        TransformationMeta.from_json(transform) for transform in stored
    ]
    written = V06.dump(meta, {})
    accept("image", written)
    (made,) = written["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert [step["type"] for step in made.get("transformations", [made])] == kinds
    assert effective_scale(read(written), "0") == effective_scale(meta, "0")
    assert effective_translation(read(written), "0") == effective_translation(meta, "0")


def test_axes_keep_what_only_06_says_of_them() -> None:
    document = image(systems=[yx(discrete=False, longName="across")])
    meta = read(document)
    meta.multiscales[0].axes[0].name = "row"
    written = V06.dump(meta, document)
    assert written["ome"]["multiscales"][0]["coordinateSystems"][0]["axes"][0] == {
        "name": "row",
        "type": "space",
        "unit": "micrometer",
        "discrete": False,
        "longName": "across",
    }


def test_nulls_for_not_given_are_not_written() -> None:
    document = image(systems=[yx(longName=None)])
    document["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0] |= {
        "name": None,
        "output": {"name": "intrinsic", "path": None},
    }
    written = V06.dump(read(document), document)
    accept("image", written)


# -- what only 0.6 says -------------------------------------------------------------------------------------


def rich() -> dict[str, Any]:
    """An image with further systems, and keys that nobody knows at every depth."""
    shear = {"type": "affine", "affine": [[1.0, 0.1, 0.0], [0.0, 1.0, 0.0]], "name": "shear", "own": [1]}
    document = image(
        between("physical", "atlas", **shear),
        between(
            "physical",
            "stage",
            type="sequence",
            name="stage",
            own={"a": None},
            transformations=[
                {"type": "scale", "scale": [2, 2], "own": 1},
                {"type": "translation", "translation": [5, 6]},
            ],
        ),
        systems=[yx("stage"), yx("atlas", unit="millimeter"), yx("physical") | {"own": 3}],
    )
    scales = document["ome"]["multiscales"][0]
    scales["own"] = 4
    scales["datasets"] = [
        level(
            "s0",
            {
                "type": "sequence",
                "name": "s0 to physical",
                "own": 5,
                "transformations": [
                    {"type": "scale", "scale": [0.5, 0.5], "own": 6},
                    {"type": "translation", "translation": [0.0, 0.0]},
                ],
            },
            "physical",
        )
        | {"own": 7},
    ]
    scales["datasets"][0]["coordinateTransformations"][0]["input"]["own"] = 8
    return document | {"lab": "ours"}


def test_everything_survives_an_edit() -> None:
    document, before = rich(), rich()
    meta = edits.set_scale(read(document), "s0", "y", 0.25)
    meta = edits.add_dataset(meta, "s1", [TransformationMeta(type="scale", scale=[1, 1])])
    written = V06.dump(meta, document)
    expected = copy.deepcopy(before)
    datasets = expected["ome"]["multiscales"][0]["datasets"]
    datasets[0]["coordinateTransformations"][0]["transformations"][0]["scale"] = [0.25, 0.5]
    datasets.append(level("s1", {"type": "scale", "scale": [1.0, 1.0]}, "physical"))
    assert written == expected
    assert document == before


def test_systems_survive_into_a_new_document() -> None:
    written = V06.dump(read(rich()), {})["ome"]["multiscales"][0]
    stored = rich()["ome"]["multiscales"][0]
    assert written["coordinateSystems"] == stored["coordinateSystems"]
    kinds = [(entry["type"], entry["output"]) for entry in written["coordinateTransformations"]]
    assert sorted(kind for kind, _ in kinds) == ["affine", "sequence"]


def test_further_systems_are_models() -> None:
    systems = read(rich()).multiscales[0].systems
    assert isinstance(systems, ImageSystemsMeta)
    assert (systems.intrinsic, systems.field_of_view) == ("physical", "stage")
    assert [system.name for system in systems.coordinate_systems] == ["stage", "atlas", "physical"]
    (shear,) = systems.coordinate_transformations
    assert isinstance(shear, Affine)
    graph = CoordinateGraph.of_image(read(rich()).multiscales[0])
    assert graph.between("s0", "atlas").apply([[2, 20]]) == [[2, 10]]
    assert graph.between("stage", "s0").apply([[6, 8]]) == [[1, 2]]


def test_a_system_that_is_added_is_written() -> None:
    meta = read(image())
    shift = Translation(
        translation=[1, 1], input=SystemReference(name="intrinsic"), output=SystemReference(name="slide")
    )
    meta.multiscales[0].systems = ImageSystemsMeta(
        coordinate_systems=[CoordinateSystemMeta(name="slide", axes=axes("yx"))],
        coordinate_transformations=[shift],
    )
    written = V06.dump(meta, image())
    accept("image", written)
    assert not [finding for finding in check_attributes("image", written, "0.6") if finding.level == "MUST"]


def test_a_transformation_that_nobody_knows_is_kept_and_named_when_used() -> None:
    warp = between("intrinsic", "atlas", type="warp", strength=3)
    bad = between("intrinsic", "atlas", type="rotation", rotation=[[1, 1], [1, 1]])
    document = image(warp, bad, systems=[yx(), yx("atlas")])
    meta = read(document)
    systems = meta.multiscales[0].systems
    assert systems is not None
    assert [type(entry) for entry in systems.coordinate_transformations] == [OtherTransformation] * 2
    assert V06.dump(meta, document) == document
    with pytest.raises(InvalidArgumentError, match=r"'warp' is none of .*orthonormal"):
        CoordinateGraph.of_image(meta.multiscales[0]).between("intrinsic", "atlas")


def test_a_scene_is_read_and_written() -> None:
    tile = between("physical", "world", type="translation", translation=[0.0, 348.0], own=1)
    tile["input"]["path"] = "tile_1"
    document = {
        "ome": {
            "version": "0.6",
            "scene": {"coordinateSystems": [yx("world")], "coordinateTransformations": [tile], "own": 2},
        }
    }
    scene = V06.load(SceneMeta, document)
    assert scene is not None
    assert V06.dump(scene, document) == document
    scene.coordinate_transformations.append(
        Translation(
            translation=[276, 0],
            input=SystemReference(name="physical", path="tile_2"),
            output=SystemReference(name="world"),
        )
    )
    written = V06.dump(scene, document)
    accept("scene", written)
    assert check_attributes("scene", written, "0.6") == []


def test_other_versions_have_no_scene() -> None:
    assert V05.parts.get(SceneMeta) is None
    with pytest.raises(InvalidArgumentError, match=r"SceneMeta is not a part of a document of OME-NGFF 0\.5"):
        V05.dump(SceneMeta(), {})


# -- to other versions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["0.4", "0.5"])
def test_what_an_older_version_cannot_say_is_named(target: str) -> None:
    said = f"OME-NGFF {target} has no coordinate system 'atlas', no affine from 'physical' to 'atlas'"
    with pytest.raises(MetadataError, match=said):
        convert_attributes(rich(), V06, by_name(target))
    with pytest.raises(MetadataError, match=said):
        by_name(target).dump(read(rich()), {})


def test_what_an_older_version_cannot_say_is_left_out_when_asked() -> None:
    written = convert_attributes(rich(), V06, V05, lossy=True)
    meta = V05.load(ImagesMeta, written)
    assert meta is not None
    assert effective_scale(meta, "s0") == effective_scale(read(rich()), "s0") == [1, 1]
    assert (written["lab"], written["ome"]["multiscales"][0]["own"]) == ("ours", 4)
    assert not [f for f in check_attributes("image", written, "0.5") if f.level == "MUST"]
    scene = {"ome": {"version": "0.6", "scene": {"coordinateTransformations": []}, "own": 1}}
    assert convert_attributes(scene, V06, V05, lossy=True) == {"ome": {"version": "0.5", "own": 1}}


def test_an_identity_of_a_level_becomes_a_scale_of_ones() -> None:
    document = image()
    document["ome"]["multiscales"][0]["datasets"] = [level("0", {"type": "identity"})]
    written = convert_attributes(document, V06, V05)
    (dataset,) = written["ome"]["multiscales"][0]["datasets"]
    assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 1.0]}]


def test_numbers_in_an_array_are_refused() -> None:
    meta = read(image())
    meta.multiscales[0].datasets[0].coordinate_transformations = [TransformationMeta(type="scale", path="s")]
    with pytest.raises(MetadataError, match=r"are in the array 's'.*in the document"):
        V06.dump(meta, {})


def test_a_draft_with_transformations_of_other_types_is_read_as_05() -> None:
    """As spatialdata writes them."""
    sequence = {"type": "sequence", "transformations": [], "output": {"name": "global"}}
    scales = {
        "axes": yx()["axes"],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]}],
        "coordinateTransformations": [{"type": "identity", "output": {"name": "aligned"}}, sequence],
    }
    document = {"ome": {"version": "0.5", "multiscales": [scales]}}
    meta = V05.load(ImagesMeta, document)
    assert meta is not None
    assert effective_scale(meta, "0") == [1, 1]
    assert V05.dump(meta, document) == document


# -- finding the version, drafts ----------------------------------------------------------------------------


@pytest.mark.parametrize("declared", ["0.6rc0", "0.6.dev1", "0.6.dev4", "0.6.1", "0.9.dev1", "0.9.dev2"])
def test_a_draft_is_read_as_its_version(declared: str) -> None:
    assert detect(3, {"ome": {"version": declared}}) is V06


@pytest.mark.parametrize(
    "ome", [{"version": "0.6"}, {"scene": {}}, {"multiscales": [{"coordinateSystems": []}]}]
)
def test_06_is_found(ome: dict[str, Any]) -> None:
    assert detect(3, {"ome": ome}) is V06


def test_a_draft_with_texts_for_ends_becomes_06_in_all_parts() -> None:
    document = image(
        {"type": "affine", "affine": [[1, 0.1, 0], [0, 1, 0]], "input": "intrinsic", "output": "atlas"},
        systems=[yx(), yx("atlas")],
    )
    entry = document["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    entry |= {"input": "0", "output": "intrinsic"}
    document["ome"] |= {"version": "0.6.dev1", "image-label": {"source": {"image": "../../"}}}
    written = V06.dump(ImageLabelMeta(), document)
    assert written["ome"]["image-label"] == {}
    accept("image", written)
    assert not [finding for finding in check_attributes("image", written, "0.6") if finding.level == "MUST"]


def test_axes_without_a_system_are_read() -> None:
    document = image()
    scales = document["ome"]["multiscales"][0]
    scales["axes"] = scales.pop("coordinateSystems")[0]["axes"]
    scales["coordinateTransformations"] = [{"type": "scale", "scale": [2, 2]}]
    del scales["datasets"][0]["coordinateTransformations"][0]["output"]
    meta = read(document)
    assert effective_scale(meta, "0") == [1, 1]
    accept("image", V06.dump(meta, document))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coordinateSystems": None}, r"ome\.multiscales\[0\]\.coordinateSystems: is missing"),
        ({"coordinateSystems": []}, "coordinateSystems: expected a list of coordinate systems"),
        (
            {"coordinateSystems": ["yx"]},
            r"coordinateSystems\[0\]: expected an object with a name, found 'yx'",
        ),
        ({"coordinateSystems": [{"name": "intrinsic"}]}, r"coordinateSystems\[0\]\.axes: is missing"),
        ({"coordinateTransformations": 3}, "coordinateTransformations: expected a list, found 3"),
        (
            {"datasets": [level("0", {"type": "mapAxis", "mapAxis": [1, 0]})]},
            r"datasets\[0\]\.coordinateTransformations\[0\]: .*\(CT-21\), found 'mapAxis'",
        ),
        ({"datasets": [{"path": None}]}, r"datasets\[0\]\.path: expected a valid string"),
    ],
)
def test_a_damaged_image_is_refused_with_its_place(change: dict[str, Any], message: str) -> None:
    document = image()
    document["ome"]["multiscales"][0] |= change
    with pytest.raises(MetadataError, match=message):
        V06.load(ImagesMeta, document)
