"""Laws of metadata that other libraries have broken: they say what is there, and nothing gets lost on the way."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest
from tests.warm import run

import lamella
from lamella.models import axes

OME_KEYS = {"multiscales", "omero", "plate", "well", "labels", "image-label", "version"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.zarr"


@pytest.fixture
def plate(path, version):
    """A plate of the wells A/1 and B/2, each with a pyramid of two levels and two label images."""
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], axes=axes("tczyx"), version=version
    ) as plate:
        for position in plate.create_positions([("A", "1", "0"), ("B", "2", "0")]):
            position["0"] = np.ones((2, 2, 3, 8, 10), "uint16")
            position.compute_pyramid(2)
            for name in ("cells", "nuclei"):
                position.labels.create(name, np.ones((2, 3, 8, 10), "uint8"), colors={1: (255, 0, 0)})
        yield plate


@pytest.fixture
def image(path, version):
    """An image tczyx of one level."""
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["DAPI", "GFP"], axes=axes("tczyx"), version=version
    ) as position:
        position["0"] = np.ones((2, 2, 3, 8, 10), "uint16")
        yield position


def documents(root, kind):
    """Attributes of all groups or arrays of a store by folder, read from the files; and the files of arrays of v3."""
    found = {}
    for file in root.rglob("*"):
        if file.name == "zarr.json":
            document = json.loads(file.read_text())
            if document["node_type"] == kind:
                found[file.parent.relative_to(root).as_posix()] = document
        elif file.name == (".zgroup" if kind == "group" else ".zarray"):
            attributes = file.with_name(".zattrs")
            read = json.loads(attributes.read_text()) if attributes.exists() else {}
            found[file.parent.relative_to(root).as_posix()] = {"attributes": read}
    return found


def test_every_group_has_its_metadata_under_ome_and_in_04_beside_the_others(plate, path, version):
    plate.create_position("B", "3", "1")
    groups = documents(path, "group")
    assert {".", "A/1", "B/2", "B/3", "A/1/0", "A/1/0/labels", "B/2/0/labels/nuclei"} <= set(groups)
    parts = {
        ".": "plate",
        "A/1": "well",
        "B/3": "well",
        "A/1/0": "multiscales",
        "A/1/0/labels": "labels",
        "A/1/0/labels/cells": "image-label",
    }
    for node, document in groups.items():
        attributes = document.get("attributes", {})
        if version == "0.4":
            assert "ome" not in attributes, node
            assert node not in parts or parts[node] in attributes
        else:
            assert not OME_KEYS & set(attributes), node
            assert "ome" not in attributes or attributes["ome"]["version"] == version, node
            assert node not in parts or parts[node] in attributes["ome"]


def test_dimension_names_are_the_axes_of_every_array(plate, path, version):
    plate["A/1/0"].append_channel("RFP")
    with lamella.open_ome_zarr(path, mode="a") as again:
        again["B/2/0"].labels["still"] = np.ones((3, 8, 10), "uint8")
    arrays = documents(path, "array")
    assert {"A/1/0/0", "B/2/0/1", "A/1/0/labels/cells/1", "B/2/0/labels/still/0"} <= set(arrays)
    if version != "0.4":
        for name, document in arrays.items():
            expected = "tczyx" if "labels" not in name else "zyx" if "still" in name else "tzyx"
            assert document["dimension_names"] == list(expected), name


def test_xarray_knows_the_axes_without_attributes_of_its_own(image, path):
    import xarray as xr

    from lamella.adapters.xarray_backend import LamellaBackend

    with xr.open_dataset(path, engine=LamellaBackend) as opened:
        assert next(iter(opened.data_vars.values())).dims == tuple("tczyx")
    assert not any(b"_ARRAY_DIMENSIONS" in file.read_bytes() for file in path.rglob(".z*"))


def test_a_new_label_image_keeps_those_that_were_listed_before(image, path, version):
    pixels = np.ones((2, 3, 8, 10), "uint8")
    for name in ("a", "b"):
        with lamella.open_ome_zarr(path, mode="a") as position:
            position.labels[name] = pixels
    file = path / "labels" / (".zattrs" if version == "0.4" else "zarr.json")
    document = json.loads(file.read_text())
    part = document if version == "0.4" else document["attributes"]["ome"]
    part["ours"] = 1  # by another program
    file.write_text(json.dumps(document))
    with lamella.open_ome_zarr(path, mode="a") as position:
        position.labels["c"] = pixels
    document = json.loads(file.read_text())
    part = document if version == "0.4" else document["attributes"]["ome"]
    assert (part["labels"], part["ours"]) == (["a", "b", "c"], 1)


def test_a_copied_label_image_has_its_new_name_and_one_source(image, path, version):
    image.labels.create("cells", np.ones((2, 3, 8, 10), "uint8"))
    image.labels.create("copy", image.labels["cells"]["0"])
    node = documents(path, "group")["labels/copy"]["attributes"]
    part = node if version == "0.4" else node["ome"]
    assert [multiscale["name"] for multiscale in part["multiscales"]] == ["copy"]
    assert list(image.labels) == ["cells", "copy"]


def test_appending_to_a_store_keeps_foreign_keys_of_the_metadata_and_beside_them(image, path, version):
    file = path / (".zattrs" if version == "0.4" else "zarr.json")
    document = json.loads(file.read_text())
    attributes = document if version == "0.4" else document["attributes"]
    attributes["lab"] = {"room": [1, None]}
    (attributes if version == "0.4" else attributes["ome"])["_creator"] = {"name": "another", "version": "1"}
    file.write_text(json.dumps(document))
    with lamella.open_ome_zarr(path, mode="a", overwriting_creation=True) as position:
        position["0"] = np.zeros((2, 2, 3, 8, 10), "float32")  # replaces what is there
        position.compute_pyramid(2)
        position.append_channel("RFP")
        position.labels["cells"] = np.ones((2, 3, 8, 10), "uint8")
        position.delete_pyramid()
    document = json.loads(file.read_text())
    attributes = document if version == "0.4" else document["attributes"]
    part = attributes if version == "0.4" else attributes["ome"]
    assert attributes["lab"] == {"room": [1, None]}
    assert part["_creator"] == {"name": "another", "version": "1"}


@pytest.mark.parametrize("to", ["0.4", "0.5", "0.6"])
@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "to a new store"])
def test_foreign_keys_of_the_metadata_and_beside_them_come_along_to_another_version(
    image, path, version, to, in_place
):
    file = path / (".zattrs" if version == "0.4" else "zarr.json")
    document = json.loads(file.read_text())
    attributes = document if version == "0.4" else document["attributes"]
    attributes["lab"] = {"room": [1, None]}
    (attributes if version == "0.4" else attributes["ome"])["_creator"] = {"name": "another", "version": "1"}
    file.write_text(json.dumps(document))
    image.close()
    new = path if in_place else path.with_name("new.zarr")
    lamella.upgrade(path, to, None if in_place else new)
    document = json.loads((new / (".zattrs" if to == "0.4" else "zarr.json")).read_text())
    attributes = document if to == "0.4" else document["attributes"]
    assert attributes["lab"] == {"room": [1, None]}
    # What stands beside the metadata cannot be told from a part of them in 0.4, and stays beside them.
    part = attributes if "0.4" in (version, to) else attributes["ome"]
    assert part["_creator"] == {"name": "another", "version": "1"}


def test_keys_that_nobody_knows_survive_every_edit_at_every_depth(image, path, version):
    image.compute_pyramid(2)
    image.set_scale("*", "x", 2)
    image.close()
    file = path / (".zattrs" if version == "0.4" else "zarr.json")
    document = json.loads(file.read_text())
    part = document if version == "0.4" else document["attributes"]["ome"]
    marks = set()

    def mark(value, where):
        if isinstance(value, dict):
            for key in value.keys() - {"metadata"}:  # of the method, which every computation writes
                mark(value[key], f"{where}/{key}")
            value["own"] = where
            marks.add(where)
        for index, item in enumerate(value if isinstance(value, list) else []):
            mark(item, f"{where}/{index}")

    mark(part["multiscales"], "multiscales")
    mark(part["omero"], "omero")
    file.write_text(json.dumps(document))
    with lamella.open_ome_zarr(path, mode="r+") as position:
        position.set_scale({"x": 3})
        position.set_scale("1", "y", 3)
        position.set_scale("*", "y", 3)
        position.set_unit("nm")
        position.set_name("cells")
        position.set_channel("DAPI", "red", window=(0, 9), label="nuclei")
        position.append_channel("RFP")
        position.compute_contrast()
        position["0"][...] = 2
        position.compute_pyramid()
        position.delete_channel("GFP")
    lost = marks - set(re.findall(r'"own": "([^"]+)"', json.dumps(json.loads(file.read_text()))))
    assert lost == {where for where in marks if where.startswith("omero/channels/1")}


ELSEWHERE = """
import sys, lamella
with lamella.open_ome_zarr(sys.argv[1], mode="r+") as position:
    position.append_channel("RFP")
    position.set_scale("0", "x", 0.25)
    position["0"].resize((4, 3, 3, 8, 10))
    position["0"][3] = 9
    position.labels.create("cells", position["0"][:, 0])
"""


def test_a_held_node_sees_what_another_process_wrote(image, path):
    array = image["0"]
    assert (array.shape, image.channel_names, list(image.labels)) == ((2, 2, 3, 8, 10), ["DAPI", "GFP"], [])
    run(ELSEWHERE, path).check_returncode()
    assert image.channel_names == ["DAPI", "GFP", "RFP"]
    assert image.scale[-1] == 0.25
    assert list(image.labels) == ["cells"]
    for seen in (image["0"], array):
        assert seen.shape == (4, 3, 3, 8, 10)
        assert (seen[3] == 9).all()
    image.rename_channel("RFP", "late")
    assert lamella.open_ome_zarr(path).channel_names == ["DAPI", "GFP", "late"]


def test_children_that_consolidated_metadata_miss_are_seen(plate, path, version):
    import zarr

    zarr_format = 2 if version == "0.4" else 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata is no part of the Zarr v3 specification
        zarr.consolidate_metadata(path, zarr_format=zarr_format)
    copy = path / (".zmetadata" if version == "0.4" else "zarr.json")
    stale = json.loads(copy.read_text())
    with lamella.open_ome_zarr(path, mode="r+") as opened:
        opened.create_position("C", "3", "0")["0"] = np.full((1, 2, 1, 4, 4), 5, "uint16")
        opened["A/1/0"].append_channel("RFP")
    if version == "0.4":
        copy.write_text(json.dumps(stale))  # as a program does that knows the copies alone
    else:
        document = json.loads(copy.read_text())
        document["consolidated_metadata"] = stale["consolidated_metadata"]
        copy.write_text(json.dumps(document))
    again = lamella.open_ome_zarr(path)
    assert [name for name, _ in again.positions()] == ["A/1/0", "B/2/0", "C/3/0"]
    assert (again["C/3/0"]["0"][...] == 5).all()
    assert again["A/1/0"].channel_names == ["DAPI", "GFP", "RFP"]
    assert again["A/1/0"]["0"].shape[1] == 3


FILLS = {
    "bool": (False, False),
    "complex64": ([0.0, 0.0], [0.0, 0.0]),
    "float32": (0.0, 0.0),
    "uint8": (0, 0),
}


@pytest.mark.parametrize("dtype", FILLS)
def test_a_fill_value_is_json_of_the_type_of_the_array(path, version, dtype):
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", axes=axes("yx"), channel_names=[], version=version
    ) as position:
        position.create_zeros("0", (4, 4), dtype)
    file = path / "0" / (".zarray" if version == "0.4" else "zarr.json")
    found = json.loads(file.read_text())["fill_value"]
    expected = FILLS[dtype][version != "0.4"]
    assert found == expected
    assert type(found) is type(expected)
    import zarr

    stored = zarr.open_array(path / "0", mode="r")
    assert stored.dtype == dtype
    assert (stored[...] == 0).all()


@pytest.mark.parametrize("checked", [True, False], ids=["with crc32c", "without"])
@pytest.mark.parametrize("engine", ["files", "zarr"])
def test_a_shard_index_need_not_have_a_checksum(tmp_path, checked, engine):
    import zarr

    from lamella.store.files.local import LocalStorage
    from lamella.store.metadata.documents import Documents
    from lamella.store.pixels.arrays import StoredArray

    pixels = np.arange(12 * 12, dtype="uint16").reshape(12, 12)
    codecs = [zarr.codecs.BytesCodec(), *([zarr.codecs.Crc32cCodec()] if checked else [])]
    sharding = zarr.codecs.ShardingCodec(chunk_shape=(2, 4), index_codecs=codecs)
    root = zarr.create_group(tmp_path / "s.zarr", zarr_format=3)
    root.create_array(
        "0",
        shape=(12, 12),
        chunks=(8, 8),
        dtype="uint16",
        serializer=sharding,
        compressors=None,
        filters=None,
    )[...] = pixels
    array = StoredArray(Documents.open(LocalStorage(tmp_path / "s.zarr")), "0", engine=engine)
    assert array.engine.name == engine
    np.testing.assert_array_equal(array.read(), pixels)
    array.write((slice(3, 5),), pixels[:2])
    np.testing.assert_array_equal(root["0"][3:5], pixels[:2])


def test_copies_that_say_more_than_the_documents_of_their_groups_are_not_stale(plate, path, version):
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(path, zarr_format=2 if version == "0.4" else 3)
    if version == "0.4":
        # As zarr-python below ngff-zarr leaves it: groups in the copies say that they are consolidated.
        file = path / ".zmetadata"
        copies = json.loads(file.read_text())
        copies["metadata"]["A/1/.zgroup"]["consolidated_metadata"] = {"kind": "inline", "metadata": {}}
        file.write_text(json.dumps(copies))
    assert "LM-08" not in {finding.rule for finding in lamella.validate(path).findings}
    file = path / "A" / "1" / (".zattrs" if version == "0.4" else "zarr.json")
    file.write_text(file.read_text().replace("0", "1", 1))
    assert "LM-08" in {finding.rule for finding in lamella.validate(path).findings}


def test_an_image_that_lists_its_labels_in_its_own_document_is_an_image(image, path, version):
    # As iohub leaves it: an object in the document of the image, and nothing in that of the labels.
    image.labels["cells"] = np.ones((2, 3, 8, 10), "uint8")
    name = ".zattrs" if version == "0.4" else "zarr.json"
    for folder, listed in ((path, {"labels": ["cells"]}), (path / "labels", None)):
        document = json.loads((folder / name).read_text())
        attributes = document if version == "0.4" else document["attributes"]
        part = attributes if version == "0.4" else attributes["ome"]
        if listed is None:
            attributes.clear()
        else:
            part["labels"] = listed
        (folder / name).write_text(json.dumps(document))
    with lamella.open_ome_zarr(path) as position:
        assert isinstance(position, lamella.Position)
        assert list(position.labels) == ["cells"]
        assert (position.labels["cells"]["0"][...] == 1).all()
        assert position.metadata.multiscales[0].get_dataset_paths() == ["0"]
