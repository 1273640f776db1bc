"""Law: what a document leaves wrong or open is read with an assumption, and each assumption is a warning.

One warning for each rule and opened store, with the node, what was assumed and the command that lists the rest; with
``strict=True`` an error instead, each time. Stores are written with zarr-python and json alone.
"""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import lamella
from lamella.errors import MetadataError, MetadataWarning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSIONS = ("0.4", "0.5", "0.6")
WINDOW = {"start": 0, "end": 9, "min": 0, "max": 99}
AXES = [
    {"name": "c", "type": "channel"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]
SHAPE = (2, 8, 8)

JSONObject = dict[str, Any]


def scale_of(path: str, version: str, factor: float, **more: Any) -> JSONObject:
    made: JSONObject = {"type": "scale", "scale": [1.0, factor, factor]} | more
    return made | ends(path) if version == "0.6" else made


def ends(path: str) -> JSONObject:
    return {"input": {"path": path}, "output": {"name": "physical"}}


def image_document(version: str) -> JSONObject:
    """The OME part of a valid image of two levels and two channels."""
    levels = [
        {"path": str(n), "coordinateTransformations": [scale_of(str(n), version, 2.0**n)]} for n in range(2)
    ]
    axes = copy.deepcopy(AXES)
    described = (
        {"coordinateSystems": [{"name": "physical", "axes": axes}]} if version == "0.6" else {"axes": axes}
    )
    image = {"name": "cells", "datasets": levels, "type": "mean", "metadata": {}} | described
    if version == "0.4":
        image["version"] = version
    channels = [{"label": label, "color": "FF0000", "window": dict(WINDOW)} for label in ("DAPI", "GFP")]
    ome = {"multiscales": [image], "omero": {"channels": channels}}
    return ome if version == "0.4" else {"version": version} | ome


def plate_document(version: str) -> JSONObject:
    plate = {
        "name": "screen",
        "field_count": 1,
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "1"}, {"name": "2"}],
        "wells": [
            {"path": f"{row}/1", "rowIndex": number, "columnIndex": 0} for number, row in enumerate("AB")
        ],
        "acquisitions": [{"id": 0, "name": "one", "maximumfieldcount": 1}],
    }
    return part("plate", plate, version)


def part(key: str, value: JSONObject, version: str) -> JSONObject:
    return {key: value | {"version": version}} if version == "0.4" else {"version": version, key: value}


def write_group(path: Path, version: str, ome: JSONObject) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(ome))
    else:
        attributes = {"ome": ome} if ome else {}
        document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        (path / "zarr.json").write_text(json.dumps(document))


def write_arrays(path: Path, version: str) -> None:
    group = zarr.open_group(path, mode="r+")
    for level in range(2):
        data = np.arange(np.prod(SHAPE), dtype="uint16").reshape(SHAPE)[:, :: 2**level, :: 2**level]
        options: JSONObject = {"dimension_names": ["c", "y", "x"]}
        if version == "0.4":
            options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        group.create_array(str(level), data=data, **options)


def write_image(path: Path, version: str, change: Callable[[JSONObject], Any] | None = None) -> Path:
    ome = image_document(version)
    write_group(path, version, ome)
    write_arrays(path, version)
    if change is not None:
        change(ome)
        write_group(path, version, ome)
    return path


def write_plate(path: Path, version: str, change: Callable[[JSONObject], Any] | None = None) -> Path:
    ome = plate_document(version)
    if change is not None:
        change(ome["plate"])
    write_group(path, version, ome)
    for row in "AB":
        write_group(path / row, version, {})
        write_group(
            path / row / "1", version, part("well", {"images": [{"path": "0", "acquisition": 0}]}, version)
        )
        write_image(path / row / "1" / "0", version)
    return path


def image(ome: JSONObject) -> JSONObject:
    return ome["multiscales"][0]


def axes_of(ome: JSONObject) -> list[JSONObject]:
    return image(ome)["axes"] if "axes" in image(ome) else image(ome)["coordinateSystems"][0]["axes"]


def first_list(ome: JSONObject) -> list[JSONObject]:
    return image(ome)["datasets"][0]["coordinateTransformations"]


def only_translation(ome: JSONObject) -> None:
    scale = first_list(ome)[0]
    first_list(ome)[:] = [{**scale, "type": "translation", "translation": scale["scale"]}]
    del first_list(ome)[0]["scale"]


def apart(ome: JSONObject) -> None:
    level = image(ome)["datasets"][1]["coordinateTransformations"]
    shift = {"type": "translation", "translation": [0.0, 1000.0, 0.0]}
    if "output" in level[0]:
        level[:] = [ends("1") | {"type": "sequence", "transformations": [
            {"type": "scale", "scale": [1.0, 2.0, 2.0]}, shift]}]  # fmt: skip
    else:
        level.append(shift)


CHANNEL = {"label": "Cy5", "color": "00FF00", "window": WINDOW}

# What is wrong, the rule that says so, and the change.
IMAGES: dict[str, tuple[str, Callable[[JSONObject], Any]]] = {
    "empty datasets": ("MS-03", lambda ome: image(ome)["datasets"].clear()),
    "an axis twice": ("AX-02", lambda ome: axes_of(ome)[1].update(name="x")),
    "an axis name that is a number": ("AX-01", lambda ome: axes_of(ome)[1].update(name=7)),
    "no scale": ("CT-01", lambda ome: first_list(ome).clear()),
    "two scales": ("CT-03", lambda ome: first_list(ome).append(first_list(ome)[0])),
    "a translation alone": ("CT-03", only_translation),
    "more names than channels": ("LM-11", lambda ome: ome["omero"]["channels"].append(dict(CHANNEL))),
    "fewer names than channels": ("LM-11", lambda ome: ome["omero"]["channels"].pop()),
    "no names of channels": ("LM-11", lambda ome: ome["omero"]["channels"].clear()),
    "a channel without a name": ("LM-11", lambda ome: ome["omero"]["channels"][1].pop("label")),
    "equal names of channels": ("LM-11", lambda ome: ome["omero"]["channels"][1].update(label="DAPI")),
    "a level twice": ("LM-13", lambda ome: image(ome)["datasets"].append(image(ome)["datasets"][1])),
    "levels that do not overlap": ("LM-14", apart),
    "a second multiscale": ("LM-12", lambda ome: ome["multiscales"].append(image(ome) | {"name": "other"})),
    "a colour that is none": ("OM-02", lambda ome: ome["omero"]["channels"][0].update(color="#00FF00")),
}
PLATES: dict[str, tuple[str, Callable[[JSONObject], Any]]] = {
    "a row twice": ("PL-03", lambda plate: plate["rows"].append({"name": "A"})),
    "a well twice": ("PL-13", lambda plate: plate["wells"].append(plate["wells"][0])),
    "an acquisition twice": ("PL-08", lambda plate: plate["acquisitions"].append(plate["acquisitions"][0])),
    "an index out of range": ("PL-07", lambda plate: plate["wells"][1].update(rowIndex=9)),
    "a negative index": ("PL-07", lambda plate: plate["wells"][1].update(rowIndex=-1)),
    "an odd row name": ("PL-03", lambda plate: plate["rows"].append({"name": "C!"})),
    "another column than the path": ("PL-06", lambda plate: plate["wells"][1].update(columnIndex=1)),
}


def read_image(node: Any) -> None:
    """Read what a user reads: names, axes, scales and each level."""
    assert node.data is not None if node.dataset_paths else True
    node.channel_names, node.axes, node.zattrs
    for path in node.dataset_paths:
        node[path][...]


def opened_with_warnings(path: Path, read: Callable[[Any], Any], **options: Any) -> list[str]:
    """Open and read a store; return the texts of the warnings, which are all of one kind and point to this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(lamella.open_ome_zarr(path, **options))
    assert {warning.category for warning in caught} <= {MetadataWarning}
    assert {warning.filename for warning in caught} <= {__file__}
    return [str(warning.message) for warning in caught]


def rule_of(text: str) -> str:
    return text.split(" break ")[1][:5]


def check_report(texts: list[str], rule: str, path: Path, node: str = "") -> None:
    found = [text for text in texts if rule_of(text) == rule]
    assert len(found) == 1, texts
    assert len(texts) == len(set(map(rule_of, texts))), texts  # each rule once
    where = f"{path}/{node}" if node else str(path)
    assert f"The metadata of {where} " in found[0]
    assert " Assumed: " in found[0]
    assert f"`lamella validate {path}`" in found[0]


def test_a_valid_store_is_read_without_a_word(tmp_path, version_of_all):
    version = version_of_all
    assert opened_with_warnings(write_image(tmp_path / "i.zarr", version), read_image) == []
    path = write_plate(tmp_path / "p.zarr", version)
    assert opened_with_warnings(path, lambda plate: [read_image(p) for _, p in plate.positions()]) == []
    read_image(lamella.open_ome_zarr(tmp_path / "i.zarr", strict=True))


@pytest.fixture(params=VERSIONS)
def version_of_all(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("kind", IMAGES)
def test_what_is_assumed_of_an_image_is_said_once_and_validate_finds_it(tmp_path, version_of_all, kind):
    version = version_of_all
    rule, change = IMAGES[kind]
    path = write_image(tmp_path / "odd.zarr", version, change)
    texts = opened_with_warnings(path, lambda node: [read_image(node), read_image(node)])
    check_report(texts, rule, path)
    assert rule in lamella.validate(path).rules
    assert opened_with_warnings(path, read_image) == texts  # another handle


@pytest.mark.parametrize("kind", IMAGES)
def test_a_strict_handle_refuses_such_an_image_each_time(tmp_path, version_of_all, kind):
    rule, change = IMAGES[kind]
    path = write_image(tmp_path / "odd.zarr", version_of_all, change)
    for _ in range(2):
        with pytest.raises(MetadataError, match=rf"{rule}.*strict=True.*lamella validate"):
            read_image(lamella.open_ome_zarr(path, strict=True))


@pytest.mark.parametrize("kind", PLATES)
def test_what_is_assumed_of_a_plate_is_said_once_and_a_strict_handle_refuses(tmp_path, version_of_all, kind):
    rule, change = PLATES[kind]
    path = write_plate(tmp_path / "odd.zarr", version_of_all, change)
    walked: list[str] = []
    texts = opened_with_warnings(path, lambda plate: walked.extend(name for name, _ in plate.positions()))
    check_report(texts, rule, path)
    assert sorted(walked) == ["A/1/0", "B/1/0"]
    assert rule in lamella.validate(path).rules
    for _ in range(2):
        with pytest.raises(MetadataError, match=rf"{rule}.*strict=True"):
            lamella.open_ome_zarr(path, strict=True)


def walk(plate: Any) -> list[str]:
    names = []
    for name, position in plate.positions():
        read_image(position)
        names.append(name)
    return names


def test_images_of_a_plate_that_break_one_rule_are_said_once(tmp_path, version_of_all):
    version = version_of_all
    path = write_plate(tmp_path / "p.zarr", version)
    for row in "AB":
        ome = image_document(version)
        axes_of(ome)[1]["name"] = "x"
        image(ome)["name"] = row
        write_group(path / row / "1" / "0", version, ome)
    plate = lamella.open_ome_zarr(path)
    with pytest.warns(MetadataWarning) as caught:
        walk(plate)
    check_report([str(warning.message) for warning in caught], "AX-02", path, "A/1/0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        walk(plate)
        walk(pickle.loads(pickle.dumps(plate)))
    strict = lamella.open_ome_zarr(path, strict=True)
    for name in ("A/1/0", "B/1/0", "A/1/0"):
        with pytest.raises(MetadataError, match="AX-02"):
            strict[name]
    reported = dict(strict.positions(on_error="report"))
    assert [type(found) for found in reported.values()] == [MetadataError] * 2


@pytest.mark.parametrize("stored", ["banana", "0.7", 0.4, 7])
def test_an_unknown_version_in_0_4_is_said(tmp_path, stored):
    path = write_image(tmp_path / "i.zarr", "0.4", lambda ome: image(ome).update(version=stored))
    check_report(opened_with_warnings(path, read_image), "VE-01", path)
    with pytest.raises(MetadataError, match="VE-01"):
        lamella.open_ome_zarr(path, strict=True)
    path = write_plate(tmp_path / "p.zarr", "0.4", lambda plate: plate.update(version=stored))
    check_report(opened_with_warnings(path, walk), "VE-02", path)


@pytest.mark.parametrize("version", ["0.5", "0.6"])
@pytest.mark.parametrize("stored", ["number", "patch"])
def test_a_version_that_is_not_quite_one_is_said(tmp_path, version, stored):
    value = float(version) if stored == "number" else f"{version}.1-dev"
    path = write_image(tmp_path / "i.zarr", version, lambda ome: ome.update(version=value))
    texts = opened_with_warnings(path, read_image)
    check_report(texts, "ST-07", path)
    assert f"read as {version}" in texts[0]
    with pytest.raises(MetadataError, match="ST-07"):
        lamella.open_ome_zarr(path, strict=True)


@pytest.mark.parametrize("version", ["0.5", "0.6"])
def test_documents_of_both_zarr_formats_are_said(tmp_path, version):
    path = write_image(tmp_path / "i.zarr", version)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    check_report(opened_with_warnings(path, read_image), "LM-02", path)
    with pytest.raises(MetadataError, match="LM-02"):
        lamella.open_ome_zarr(path, strict=True)


def test_validate_finds_documents_of_both_zarr_formats_at_every_node(tmp_path, version_of_all):
    version = version_of_all
    path = write_plate(tmp_path / "p.zarr", version)
    other = ("zarr.json", "zarr.json") if version == "0.4" else (".zgroup", ".zarray")
    for node in ("B/1/0", "A/1/0/0"):
        group = {"zarr_format": 3, "node_type": "group"} if version == "0.4" else {"zarr_format": 2}
        (path / node / other[node.endswith("0/0")]).write_text(json.dumps(group))
    found = {finding.node for finding in lamella.validate(path).findings if finding.rule == "LM-02"}
    assert found == {"B/1/0", "A/1/0/0"}


def test_a_well_without_metadata_lists_its_images_and_says_so(tmp_path, version_of_all):
    version = version_of_all
    path = write_plate(tmp_path / "p.zarr", version)
    write_group(path / "B" / "1", version, {})
    write_image(path / "B" / "1" / "10", version)
    write_group(path / "B" / "1" / "notes", version, {})
    walked: list[str] = []
    texts = opened_with_warnings(path, lambda plate: walked.extend(walk(plate)))
    assert walked == ["A/1/0", "B/1/0", "B/1/10"]
    check_report(texts, "WL-01", path, "B/1")
    assert "WL-01" in lamella.validate(path).rules or "ST-03" in lamella.validate(path).rules
    strict = lamella.open_ome_zarr(path, strict=True)
    with pytest.raises(MetadataError, match="WL-01"):
        list(strict.positions())
    with pytest.warns(MetadataWarning), lamella.open_ome_zarr(path, mode="r+") as plate:
        plate.create_position("B", "1", "11")
    assert opened_with_warnings(path, lambda plate: list(plate["B/1"])) == []
    assert list(lamella.open_ome_zarr(path)["B/1"]) == ["0", "10", "11"]


@pytest.mark.parametrize("where", ["", "A/1/0"])
@pytest.mark.parametrize("omero", [True, False])
def test_arrays_without_multiscales_are_an_error(tmp_path, version_of_all, where, omero):
    version = version_of_all
    path = write_plate(tmp_path / "p.zarr", version) if where else write_image(tmp_path / "i.zarr", version)
    ome = image_document(version)
    del ome["multiscales"]
    if not omero:
        del ome["omero"]
    write_group(path / where, version, ome)
    for strict in (False, True):
        with pytest.raises(MetadataError, match=r"multiscales"):
            list(lamella.open_ome_zarr(path, strict=strict).positions())
    with pytest.raises(MetadataError, match="multiscales"):
        lamella.open_ome_zarr(path / where)


@pytest.mark.parametrize("dimensions", ["fewer", "more"])
def test_an_array_that_does_not_fit_the_axes_is_said_where_it_is_read(tmp_path, version_of_all, dimensions):
    version = version_of_all
    path = write_image(tmp_path / "i.zarr", version)
    group = zarr.open_group(path, mode="r+")
    options: JSONObject = {"overwrite": True}
    if version == "0.4":
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    group.create_array(
        "1", data=np.ones((4, 4) if dimensions == "fewer" else (1, 2, 4, 4), "uint16"), **options
    )
    node = lamella.open_ome_zarr(path)  # nothing is said of what was not read
    with pytest.warns(MetadataWarning) as caught:
        node["1"]
    assert {rule_of(str(warning.message)) for warning in caught} - {"ST-05"} == {"AX-05", "MS-06"}
    with pytest.raises(MetadataError, match="AX-05"):
        lamella.open_ome_zarr(path, strict=True)["1"]


def test_names_are_as_many_as_channels(tmp_path, version_of_all):
    version = version_of_all
    path = write_image(tmp_path / "few.zarr", version, lambda ome: ome["omero"]["channels"].pop())
    with pytest.warns(MetadataWarning, match="LM-11"):
        assert lamella.open_ome_zarr(path).channel_names == ["DAPI", "channel_1"]
    path = write_image(
        tmp_path / "many.zarr", version, lambda ome: ome["omero"]["channels"].append(dict(CHANNEL))
    )
    with pytest.warns(MetadataWarning, match="LM-11"):
        assert lamella.open_ome_zarr(path).channel_names == ["DAPI", "GFP"]


def test_a_missing_name_can_be_written(tmp_path, version_of_all):
    path = write_image(tmp_path / "few.zarr", version_of_all, lambda ome: ome["omero"]["channels"].pop())
    with pytest.warns(MetadataWarning, match="LM-11"), lamella.open_ome_zarr(path, mode="r+") as node:
        node.rename_channel("channel_1", "GFP")
    assert opened_with_warnings(path, read_image) == []
    assert lamella.open_ome_zarr(path).channel_names == ["DAPI", "GFP"]


def test_a_warning_points_to_the_line_that_opened_the_store(tmp_path):
    path = write_image(tmp_path / "i.zarr", "0.5", IMAGES["an axis twice"][1])
    with pytest.warns(MetadataWarning) as caught:
        lamella.open_ome_zarr(path)
    assert caught[0].filename == __file__


def test_what_lamella_writes_is_read_without_a_word(tmp_path, version_of_all):
    """Empty plates and wells, positions without an image, and what comes after them."""
    version = version_of_all

    def quiet(*nodes: str) -> None:
        for node in nodes:
            for strict in (False, True):
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    lamella.open_ome_zarr(tmp_path / "p.zarr" / node, strict=strict).channel_names

    with lamella.open_ome_zarr(
        tmp_path / "p.zarr",
        layout="hcs",
        mode="w",
        channel_names=["DAPI", "GFP"],
        version=version,
        strict=True,
    ) as plate:
        quiet("")
        plate.create_well("A", "1")
        quiet("")
        position = plate.create_position("A", "1", "0")
        quiet("", "A/1", "A/1/0")
        position["0"] = np.ones((1, 2, 1, 8, 8), "uint16")
        position.compute_pyramid(levels=2)
        position.labels["cells"] = np.ones((1, 8, 8), "uint8")
        quiet("", "A/1", "A/1/0", "A/1/0/labels", "A/1/0/labels/cells")
        position.append_channel("Cy5")
        plate.rename_well("A/1", "B/2")
        quiet("", "B/2", "B/2/0")
        del plate["B/2/0"].labels["cells"]
        del plate["B/2/0"]
        quiet("")
