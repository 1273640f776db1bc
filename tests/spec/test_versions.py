"""Laws of the version mappings: what is read and written back is the same document, keys nobody knows too."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.models import (
    AxisMeta,
    Bioformats2RawMeta,
    DatasetMeta,
    ImageLabelMeta,
    ImagesMeta,
    LabelsMeta,
    MetaModel,
    MultiScaleMeta,
    PlateMeta,
    WellGroupMeta,
    axes,
)
from lamella.spec import edits, plate_edits
from lamella.spec.versions import VERSIONS, SpecVersion, by_name, convert_attributes, detect

NGFF = Path(__file__).parents[1] / "data" / "ngff"
KINDS: list[type[MetaModel]] = [
    ImagesMeta,
    PlateMeta,
    WellGroupMeta,
    LabelsMeta,
    ImageLabelMeta,
    Bioformats2RawMeta,
]
SCHEMAS = {"image": "image", "plate": "plate", "well": "well", "label": "label"}


WRITTEN = [version for version in VERSIONS if version.writable]


@pytest.fixture(params=WRITTEN, ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> SpecVersion:
    return request.param


# -- documents ----------------------------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
unknown = st.dictionaries(st.text(max_size=5).map(lambda text: "x-" + text), values, max_size=2)
numbers = st.floats(min_value=-1e6, max_value=1e6) | st.integers(min_value=1, max_value=1000)
texts = st.text(max_size=8)


def entry(
    required: dict[str, Any], optional: dict[str, Any] | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with known keys, and others that nobody knows."""
    known = st.fixed_dictionaries(required, optional=optional or {})
    return st.tuples(known, unknown).map(lambda pair: pair[0] | pair[1])


@st.composite
def multiscales(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.sampled_from(["yx", "zyx", "cyx", "tyx", "CZYX", "tczyx"]))
    kinds = {"t": "time", "c": "channel"}
    units = st.sampled_from(["micrometer", "second", "micron", "furlong"])
    listed = [
        draw(
            entry({"name": st.just(name), "type": st.just(kinds.get(name.lower(), "space"))}, {"unit": units})
        )
        for name in names
    ]
    vector = st.lists(numbers, min_size=len(names), max_size=len(names))
    transforms = st.tuples(
        entry({"type": st.just("scale"), "scale": vector}),
        st.lists(entry({"type": st.just("translation"), "translation": vector}), max_size=1),
    ).map(lambda pair: [pair[0], *pair[1]])
    dataset = entry({"path": texts, "coordinateTransformations": transforms})
    return draw(
        entry(
            {"axes": st.just(listed), "datasets": st.lists(dataset, min_size=1, max_size=3)},
            {"name": texts, "coordinateTransformations": transforms, "type": texts, "metadata": values},
        ).filter(lambda scales: scales.get("metadata", 0) is not None)
    )


window = entry({key: numbers | st.just(2**64 - 1) for key in ("start", "end", "min", "max")})
channel = entry(
    {"color": st.just("00FF00"), "window": window},
    {
        "label": texts,
        "active": st.booleans(),
        "coefficient": numbers,
        "family": texts,
        "inverted": st.booleans(),
    },
)
omero = entry(
    {"channels": st.lists(channel, max_size=3)},
    {
        "id": st.integers() | texts,
        "name": texts,
        "version": texts,
        "rdefs": entry({}, {"defaultT": st.integers(), "defaultZ": st.integers(), "model": texts}),
    },
)
lines = st.lists(st.text("AB12", min_size=1), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*[entry({"name": st.just(name)}) for name in names]).map(list)
)
counts = st.integers(min_value=1, max_value=10)
acquisition = entry(
    {"id": st.integers(min_value=0)},
    {
        "name": texts,
        "maximumfieldcount": counts,
        "description": texts,
        "starttime": counts,
        "endtime": counts,
    },
)
listed_well = entry({"path": st.just("A/1"), "rowIndex": st.just(0), "columnIndex": st.just(0)})
parts = {
    ImagesMeta: entry({"multiscales": st.lists(multiscales(), min_size=1, max_size=2)}, {"omero": omero}),
    PlateMeta: entry(
        {
            "plate": entry(
                {"rows": lines, "columns": lines, "wells": st.lists(listed_well, min_size=1, max_size=2)},
                {"name": texts, "field_count": counts, "acquisitions": st.lists(acquisition, max_size=2)},
            )
        }
    ),
    WellGroupMeta: entry(
        {
            "well": entry(
                {"images": st.lists(entry({"path": texts}, {"acquisition": counts}), min_size=1, max_size=3)}
            )
        }
    ),
    LabelsMeta: entry({"labels": st.lists(texts)}),
    ImageLabelMeta: entry(
        {
            "image-label": entry(
                {},
                {
                    "colors": st.lists(
                        entry(
                            {"label-value": st.integers()}, {"rgba": st.lists(counts, min_size=4, max_size=4)}
                        )
                    ),
                    "properties": st.lists(entry({"label-value": st.integers()})),
                    "source": entry({}, {"image": texts}),
                },
            )
        }
    ),
    Bioformats2RawMeta: entry({"bioformats2raw.layout": st.just(3)}, {"series": st.lists(texts)}),
}


def stated(document: dict[str, Any], version: SpecVersion) -> dict[str, Any]:
    """The document with exactly the version keys that the version writes."""
    document = copy.deepcopy(document)
    places = [document[key] for key in ("plate", "well", "image-label") if key in document]
    for place in places + document.get("multiscales", []):
        place.pop("version", None)
        if version.zarr_format == 2:
            place["version"] = version.name
    return document


def in_systems(scales: dict[str, Any]) -> dict[str, Any]:
    """An entry of multiscales of 0.5 in the spelling of 0.6 (A24)."""
    scales = copy.deepcopy(scales)
    axes = scales.pop("axes")
    scales["coordinateSystems"] = [{"name": "intrinsic", "axes": axes}]
    for dataset in scales["datasets"]:
        ends = {"input": {"path": dataset["path"]}, "output": {"name": "intrinsic"}}
        dataset["coordinateTransformations"] = [joined(dataset["coordinateTransformations"]) | ends]
    if "coordinateTransformations" in scales:
        ends = {"input": {"name": "intrinsic"}, "output": {"name": "world"}}
        scales["coordinateTransformations"] = [joined(scales["coordinateTransformations"]) | ends]
        scales["coordinateSystems"].insert(0, {"name": "world", "axes": copy.deepcopy(axes)})
    return scales


def joined(transforms: list[dict[str, Any]]) -> dict[str, Any]:
    return transforms[0] if len(transforms) == 1 else {"type": "sequence", "transformations": transforms}


@st.composite
def documents(draw: st.DrawFn, kind: type[MetaModel], version: SpecVersion) -> dict[str, Any]:
    ome = stated(draw(parts[kind]), version)
    if version.zarr_format == 2:
        return ome
    if version.name == "0.6" and kind is ImagesMeta:
        ome["multiscales"] = [in_systems(scales) for scales in ome["multiscales"]]
    return draw(unknown) | {"ome": ome | {"version": version.name}}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(data=st.data())
def test_a_document_survives_reading_and_writing(
    kind: type[MetaModel], version: SpecVersion, data: st.DataObject
) -> None:
    document = data.draw(documents(kind, version))
    before = copy.deepcopy(document)
    meta = version.load(kind, document)
    assert isinstance(meta, kind)
    assert version.dump(meta, document) == document == before


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(data=st.data())
def test_a_document_changes_version_and_back(
    kind: type[MetaModel], version: SpecVersion, data: st.DataObject
) -> None:
    document = data.draw(documents(kind, version))
    other = data.draw(st.sampled_from([known for known in WRITTEN if known is not version]))
    meta = version.load(kind, document)
    assert meta is not None
    there = other.load(kind, other.dump(meta, {}))
    assert there is not None
    assert version.dump(there, document) == document


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(data=st.data())
def test_a_document_of_05_becomes_06_and_comes_back(kind: type[MetaModel], data: st.DataObject) -> None:
    v05, v06 = by_name("0.5"), by_name("0.6")
    document = data.draw(documents(kind, v05))
    before = copy.deepcopy(document)
    there = convert_attributes(document, v05, v06)
    assert there["ome"]["version"] == "0.6"
    assert v06.load(kind, there) == v05.load(kind, document)
    assert convert_attributes(there, v06, v05) == document == before


@settings(max_examples=12)
@given(data=st.data())
def test_the_model_shares_nothing_with_the_document(version: SpecVersion, data: st.DataObject) -> None:
    document = data.draw(documents(ImagesMeta, version))
    meta = version.load(ImagesMeta, document)
    assert meta is not None
    before = copy.deepcopy(document)
    meta.multiscales[0].metadata = {"range": [1]}
    written = version.dump(meta, document)
    meta.multiscales[0].metadata["range"].append(2)
    meta.multiscales[0].axes.append(AxisMeta(name="new"))
    for key in meta.multiscales[0].model_extra or {}:
        setattr(meta.multiscales[0], key, None)
    assert document == before
    assert version.ome(written)["multiscales"][0]["metadata"] == {"range": [1]}


# -- the official cases -------------------------------------------------------------------------------------


def official() -> list[Any]:
    index = json.loads((NGFF / "tests" / "index.json").read_text())
    # Those of 0.6 are in test_v06.py.
    return [
        pytest.param(case, id=case["id"])
        for case in index["cases"]
        if case["valid"] and case["version"] in ("0.4", "0.5")
    ]


def example_files() -> list[Any]:
    return [
        pytest.param(name, path, id=f"{name}/{path.parent.name}/{path.stem}")
        for name in ("0.4", "0.5")
        for path in sorted((NGFF / "examples" / name).rglob("*.json"))
        if path.name != "config.json"
    ]


def content(case: dict[str, Any]) -> dict[str, Any]:
    node = json.loads((NGFF / case["file"]).read_text())
    for step in case["pointer"].strip("/").split("/"):
        node = node[int(step)] if isinstance(node, list) else node[step]
    return node


@pytest.fixture(scope="module")
def schemas() -> Registry[Any]:
    files = [json.loads(path.read_text()) for path in (NGFF / "schemas").glob("0.[456]/*.schema")]
    return Registry().with_resources((file["$id"], Resource.opaque(file)) for file in files)


def accept(schemas: Registry[Any], version: SpecVersion, schema: str, document: dict[str, Any]) -> None:
    rules = json.loads((NGFF / "schemas" / version.name / f"{schema}.schema").read_text())
    Draft202012Validator(rules, registry=schemas).validate(document)


def rewritten(version: SpecVersion, document: dict[str, Any]) -> dict[str, Any]:
    """The document with every part that it has read and written."""
    written = document
    for kind in KINDS:
        meta = version.load(kind, document)
        if meta is not None:
            written = version.dump(meta, written)
    return written


@pytest.mark.parametrize("case", official())
def test_official_cases_survive_and_stay_valid(case: dict[str, Any], schemas: Registry[Any]) -> None:
    version, document = by_name(case["version"]), content(case)
    written = rewritten(version, document)
    assert stated(version.ome(written), version) == stated(version.ome(document), version) | (
        {"version": "0.5"} if version.name == "0.5" else {}
    )
    accept(schemas, version, SCHEMAS[case["kind"]], written)


@pytest.mark.parametrize(("name", "path"), example_files())
def test_official_examples_survive(name: str, path: Path) -> None:
    version, document = by_name(name), json.loads(path.read_text())
    document = document.get("attributes", document)
    written = rewritten(version, document)
    assert stated(version.ome(written), version) == stated(version.ome(document), version)


def test_what_is_made_from_models_alone_is_valid(version: SpecVersion, schemas: Registry[Any]) -> None:
    window = {"start": 0, "end": 255, "min": 0, "max": 255}
    image = edits.add_dataset(edits.new_images(axes("tczyx"), ["DAPI"], "cells"), "0", window=window)
    plate = plate_edits.add_wells(plate_edits.new_plate("screen"), [("A", "1", None, None)])
    plate = plate_edits.set_counts(plate, {"A/1": [("0", 0)]})
    well = plate_edits.add_images(WellGroupMeta(images=[]), [("0", 0)])
    accept(schemas, version, "image", version.dump(image, {}))
    accept(schemas, version, "strict_plate", version.dump(plate, {}))
    accept(schemas, version, "strict_well", version.dump(well, {}))


# -- what is written ----------------------------------------------------------------------------------------


def test_04_states_its_version_in_each_part() -> None:
    version = by_name("0.4")
    image = ImagesMeta(multiscales=[MultiScaleMeta(version="0.5", axes=axes("yx"), datasets=[])])
    assert version.dump(image, {})["multiscales"][0]["version"] == "0.4"
    assert version.dump(WellGroupMeta(images=[]), {})["well"]["version"] == "0.4"
    assert version.dump(ImageLabelMeta(), {})["image-label"]["version"] == "0.4"
    plate = PlateMeta(rows=[], columns=[], wells=[])
    assert version.dump(plate, {})["plate"]["version"] == "0.4"


def test_05_states_its_version_once() -> None:
    version = by_name("0.5")
    image = ImagesMeta(multiscales=[MultiScaleMeta(version="0.4", axes=axes("yx"), datasets=[])])
    written = version.dump(image, {"ome": {"version": "0.5-dev", "kept": 1}, "beside": 2})
    assert written["ome"]["version"] == "0.5"
    assert "version" not in written["ome"]["multiscales"][0]
    assert (written["ome"]["kept"], written["beside"]) == (1, 2)


def test_an_image_without_levels_entries_keeps_its_display_block(version: SpecVersion) -> None:
    document = version.with_ome({}, {"omero": {"channels": [{"label": "DAPI"}]}})
    meta = version.load(ImagesMeta, document)
    assert meta is not None
    assert meta.multiscales == []
    assert version.dump(meta, document) == document


def test_removing_a_block_removes_it_from_the_document(version: SpecVersion) -> None:
    document = version.with_ome(
        {}, version.ome(version.dump(ImagesMeta(multiscales=[MultiScaleMeta(axes=[], datasets=[])]), {}))
    )
    document = version.with_ome(document, version.ome(document) | {"omero": {"channels": []}})
    meta = version.load(ImagesMeta, document)
    assert meta is not None
    meta.omero = None
    assert "omero" not in version.ome(version.dump(meta, document))


def test_unknown_keys_in_lists_follow_their_entry(version: SpecVersion) -> None:
    entries = [{"path": "0", "own": {"a": None}}, {"path": "1", "own": 1}, {"path": "2", "own": 2}]
    document = version.with_ome({}, {"well": {"images": entries}})
    meta = version.load(WellGroupMeta, document)
    assert meta is not None
    del meta.images[1]
    meta.images.reverse()
    assert version.ome(version.dump(meta, document))["well"]["images"] == [entries[2], entries[0]]


def test_a_part_that_is_not_there_is_none(version: SpecVersion) -> None:
    assert [version.load(kind, {}) for kind in KINDS] == [None] * len(KINDS)


# -- wrong documents and wrong calls ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "ome", "where"),
    [
        (PlateMeta, {"plate": 5}, "plate: expected an object, found 5"),
        (PlateMeta, {"plate": {"columns": [], "wells": []}}, "plate.rows: is missing"),
        (ImagesMeta, {"multiscales": {}}, "multiscales: expected a valid list"),
        (ImagesMeta, {"multiscales": [3]}, r"multiscales\[0\]: expected an object, found 3"),
        (
            ImagesMeta,
            {"multiscales": [{"datasets": [], "axes": ["x"]}]},
            r"axes\[0\]: expected an object, found 'x'",
        ),
        (
            ImagesMeta,
            {"multiscales": [{"datasets": [{"path": None}], "axes": []}]},
            r"multiscales\[0\].datasets\[0\].path: expected a valid string, found None",
        ),
        (WellGroupMeta, {"well": {"images": [{}]}}, r"well.images\[0\].path: is missing"),
    ],
)
def test_a_damaged_part_is_named(version: SpecVersion, kind: type[MetaModel], ome: Any, where: str) -> None:
    prefix = "" if version.zarr_format == 2 else "ome."
    with pytest.raises(MetadataError, match=where) as caught:
        version.load(kind, version.with_ome({}, ome))
    assert str(caught.value).startswith(prefix)
    assert "pydantic" not in str(caught.value)


def test_an_ome_key_that_is_no_object_is_refused() -> None:
    with pytest.raises(MetadataError, match="ome: expected an object, found 'x'"):
        by_name("0.5").load(ImagesMeta, {"ome": "x"})


def test_a_wrong_assignment_is_refused_when_written(version: SpecVersion) -> None:
    meta = ImagesMeta(multiscales=[MultiScaleMeta(axes=axes("yx"), datasets=[DatasetMeta(path="0")])])
    meta.multiscales[0].datasets[0].path = None  # type: ignore[assignment]
    with pytest.raises(MetadataError, match=r"datasets\[0\].path: is missing"):
        version.dump(meta, {})


def test_a_model_that_is_no_part_is_refused(version: SpecVersion) -> None:
    with pytest.raises(InvalidArgumentError, match="DatasetMeta is not a part of a document"):
        version.dump(DatasetMeta(path="0"), {})


# -- finding the version ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zarr_format", "attributes", "name"),
    [
        (2, {}, "0.4"),
        (2, {"multiscales": [{"version": "0.4"}]}, "0.4"),
        (3, {}, "0.5"),
        (3, {"ome": {}}, "0.5"),
        (3, {"ome": {"version": "0.5"}}, "0.5"),
    ],
)
def test_the_version_is_found(zarr_format: int, attributes: dict[str, Any], name: str) -> None:
    assert detect(zarr_format, attributes) is by_name(name)


@pytest.mark.parametrize("declared", ["0.5-dev-spatialdata", "0.5.2", "0.5rc1", 0.5])
def test_a_draft_or_a_number_is_read_as_its_version(declared: object) -> None:
    assert detect(3, {"ome": {"version": declared}}).name == "0.5"


@pytest.mark.parametrize("declared", ["0.55", "1.0", "", 5, 0.7, True, {"a": 1}])
def test_an_unknown_version_is_refused_and_the_known_are_listed(declared: object) -> None:
    with warnings.catch_warnings(), pytest.raises(MetadataError, match=r"it reads 0\.1, .*0\.5, 0\.6\.$"):
        detect(3, {"ome": {"version": declared}})


def test_an_unknown_version_name_is_refused() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"'0\.99' is not known: choose one of 0\.4, 0\.5, 0\.6\.$"
    ):
        by_name("0.99")
