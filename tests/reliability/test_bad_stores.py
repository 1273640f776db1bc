"""Law: a damaged store gives the right data, or one error of lamella that names the node, the fault and the remedy.

Each kind of fault once by hand, then a fixed draw of the many that ``make torture`` makes up (`torture.documents`,
`torture.chunks`).
"""

from __future__ import annotations

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from torture import chunks, documents, uses
from torture.specimens import specimen, write_files

import lamella
from lamella.errors import (
    DamagedDataError,
    LamellaError,
    MetadataError,
    MetadataWarning,
    NodeNotFoundError,
    StorageError,
    TooLargeError,
)


def store_of(tmp_path, name, edits=None, files=None):
    """A specimen with some documents edited, as Python values, and some files replaced."""
    path = tmp_path / "bad.zarr"
    content = dict(specimen(name))
    for key, edit in (edits or {}).items():
        document = json.loads(content[key])
        edit(document)
        content[key] = json.dumps(document).encode()
    content.update(files or {})
    write_files(path, {key: data for key, data in content.items() if data is not None})
    return path


def put(*keys_and_value):
    """An edit that puts a value at a path of keys."""
    *keys, last, value = keys_and_value

    def edit(document):
        for key in keys:
            document = document[key]
        document[last] = value

    return edit


def without(*keys):
    """An edit that takes the value at a path of keys away."""
    *above, last = keys

    def edit(document):
        for key in above:
            document = document[key]
        del document[last]

    return edit


IMAGE, PLATE = ("attributes", "ome", "multiscales", 0), ("attributes", "ome", "plate")
SCALE = (*IMAGE, "datasets", 0, "coordinateTransformations", 0, "scale")
CHANNEL = ("attributes", "ome", "omero", "channels", 0)
WELL = ("attributes", "ome", "well")
CODEC = ("codecs", 0, "configuration")

#: Kind of fault: specimen, the document, what is done to it, and words that the first error has; None where the rest of
#: the store is used without it.
FAULTS = {
    "missing field": ("image 0.5", "zarr.json", without(*IMAGE, "datasets"), "multiscales"),
    "empty field": ("image 0.5", "zarr.json", put(*IMAGE, "axes", []), None),
    "mistyped field": ("image 0.5", "zarr.json", put(*IMAGE, "axes", 5), "axes"),
    "mistyped part": ("image 0.5", "zarr.json", put("attributes", "ome", 255), "ome"),
    "axes twice": ("image 0.5", "zarr.json", put(*IMAGE, "axes", [{"name": "x", "type": "space"}] * 5), None),
    "level twice": ("image 0.5", "zarr.json", put(*IMAGE, "datasets", 1, "path", "0"), None),
    "unknown version": ("image 0.5", "zarr.json", put("attributes", "ome", "version", "9.9"), "9.9"),
    "version of another format": ("image 0.4", ".zattrs", put("multiscales", 0, "version", "0.5"), None),
    "scale of NaN": ("image 0.5", "zarr.json", put(*SCALE, 4, float("nan")), None),
    "scale of wrong length": ("image 0.5", "zarr.json", put(*SCALE, [1.0]), None),
    "scale of text": ("image 0.5", "zarr.json", put(*SCALE, ["a"] * 5), "scale"),
    "too few channel names": ("image 0.5", "zarr.json", put("attributes", "ome", "omero", "channels", []), None),
    "window of null": ("image 0.5", "zarr.json", put(*CHANNEL, "window", "min", None), None),
    "colour that is a list": ("image 0.5", "zarr.json", put(*CHANNEL, "color", []), None),
    "channel of text": ("image 0.5", "zarr.json", put(*CHANNEL, "DAPI"), None),
    "channels of null": ("image 0.5", "zarr.json", put(*CHANNEL[:-1], None), None),
    "omero of null": ("image 0.5", "zarr.json", put(*CHANNEL[:-2], None), None),
    "well listed but missing": ("plate 0.5", "zarr.json", put(*PLATE, "wells", 0, "path", "Z/9"), "Z/9"),
    "well index beyond the rows": ("plate 0.5", "zarr.json", put(*PLATE, "wells", 0, "rowIndex", 99), None),
    "rows without names": ("plate 0.5", "zarr.json", put(*PLATE, "rows", [{}, {}]), "rows"),
    "image listed but missing": ("plate 0.5", "A/1/zarr.json", put(*WELL, "images", 0, "path", "77"), "77"),
    "level listed but missing": ("image 0.5", "zarr.json", put(*IMAGE, "datasets", 0, "path", "nothing"), "nothing"),
    "labels of numbers": ("image 0.5", "labels/zarr.json", put("attributes", "ome", "labels", [None]), None),
    "array without shape": ("plain 0.5", "0/zarr.json", without("shape"), "shape"),
    "negative shape": ("plain 0.5", "0/zarr.json", put("shape", [-1, 4]), "shape"),
    "chunks of zero": ("plain 0.4", "0/.zarray", put("chunks", [0, 4]), "chunks"),
    "shape and chunks of different length": ("plain 0.4", "0/.zarray", put("chunks", [4]), "chunks"),
    "unknown dtype": ("plain 0.5", "0/zarr.json", put("data_type", "string"), "data_type"),
    "dtype that is no text": ("plain 0.4", "0/.zarray", put("dtype", "\ud800"), "dtype"),
    "image listed under a list": ("plate 0.5", "A/1/zarr.json", put(*WELL, "images", 0, "path", ["77"]), "path"),
    "unknown codec": ("plain 0.5", "0/zarr.json", put("codecs", [{"name": "bytes"}, {"name": "zfpy"}]), "zfpy"),
    "codec with nonsense": ("sharded 0.5", "0/zarr.json", put(*CODEC, "index_codecs", 3), "codecs"),
    "unknown chunk grid": ("plain 0.5", "0/zarr.json", put("chunk_grid", "name", "rectilinear"), "rectilinear"),
    "shards of odd size": ("sharded 0.5", "0/zarr.json", put(*CODEC, "chunk_shape", [1, 1, 3, 5, 7]), "shards"),
    "fill value of another type": ("plain 0.5", "0/zarr.json", put("fill_value", "red"), "fill_value"),
    "other Zarr format": ("plain 0.5", "0/zarr.json", put("zarr_format", 7), "zarr_format"),
    "node of no type": ("plain 0.5", "zarr.json", put("node_type", "tree"), "node_type"),
}  # fmt: skip


def first_error(path):
    """Open a store, all its positions and arrays; return the first error."""
    try:
        node = lamella.open_ome_zarr(path)
        for _, position in node.positions() if hasattr(node, "positions") else [("", node)]:
            for _, array in position.images():
                array[(0,) * array.ndim]
    except LamellaError as error:
        return error
    return None


# What is assumed of each is in tests/laws/test_assumptions.py.
@pytest.mark.filterwarnings("ignore::lamella.errors.MetadataWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_kind_of_damage_is_read_or_refused_in_clear_words(tmp_path, fault):
    name, key, edit, words = FAULTS[fault]
    path = store_of(tmp_path, name, {key: edit})
    error = first_error(path)
    if words is None:
        assert error is None
    else:
        assert isinstance(error, (MetadataError, DamagedDataError, NodeNotFoundError))
        assert words in str(error)
        assert uses._PLACED.search(str(error)), "names no node"
    for use in uses.READING:
        assert uses.unclear_outcome(use, path) is None


TEXTS = {
    "empty": b"",
    "cut off": b'{"zarr_format": 3, "node_ty',
    "not UTF-8": b'{"zarr_format": 3, "node_type": "group\xff\xfe"}',
    "UTF-16": '{"zarr_format": 3}'.encode("utf-16"),
    "a list": b"[]",
    "nested deeply": b"[" * 100_000,
    "nested deeply and closed": b'{"zarr_format":3,"node_type":"group","attributes":{"a":'
    + b"[" * 300 + b"]" * 300 + b"}}",
    "a key twice": b'{"zarr_format":3,"node_type":"group","attributes":{"ome":{"version":"0.5"}},"attributes":{}}',
    "a number of 5000 digits": b'{"zarr_format":3,"node_type":"group","attributes":{"a":' + b"9" * 5000 + b"}}",
    "null bytes": bytes(400),
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_document_that_is_no_document_is_refused_in_clear_words(tmp_path, text):
    path = store_of(tmp_path, "image 0.5", files={"zarr.json": TEXTS[text]})
    with pytest.raises(MetadataError, match=r"/zarr\.json is damaged: .*\. Restore the file"):
        lamella.open_ome_zarr(path)
    assert lamella.validate(path).rules == ("LM-01",)
    for use in uses.READING:
        assert uses.unclear_outcome(use, path) is None


def test_a_key_that_stands_twice_with_one_value_is_no_damage(tmp_path):
    content = specimen("image 0.5")["zarr.json"].decode()
    twice = '{"node_type": "group", ' + content.lstrip()[1:]
    path = store_of(tmp_path, "image 0.5", files={"zarr.json": twice.encode()})
    assert lamella.open_ome_zarr(path).channel_names == ["DAPI", "GFP"]


def test_a_document_of_fifty_megabytes_is_read(tmp_path):
    def grow(document):
        document["attributes"]["notes"] = ["x" * 1000] * 50_000

    path = store_of(tmp_path, "image 0.5", {"zarr.json": grow})
    assert (path / "zarr.json").stat().st_size > 50e6
    assert lamella.open_ome_zarr(path)["0"].shape == (2, 2, 3, 16, 16)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [0, 1], ids=["scale", "translation"])
def test_transformations_that_are_no_numbers_are_refused_and_pixels_are_not(tmp_path, bad, kind):
    key = ("scale", "translation")[kind]
    edit = put(*IMAGE, "datasets", 0, "coordinateTransformations", kind, key, [1, 1, bad, 1, 1])
    with pytest.warns(MetadataWarning, match="CT-05"):
        position = lamella.open_ome_zarr(store_of(tmp_path, "image 0.5", {"zarr.json": edit}))
    for ask in (lambda: position.scale, lambda: position.get_effective_translation("0"), position.to_xarray):
        with pytest.raises(MetadataError, match=r"bad\.zarr.*not finite.*set_transform"):
            ask()
    assert position["0"][0, 0, 0, 0, 0] > 0


@pytest.mark.parametrize("scale", [[1, 1, 0, 0, 0], [1, 1, -1, -0.5, -2]])
def test_scales_of_zero_and_below_are_given_as_they_are_stored_and_said_once(tmp_path, scale):
    edit = put(*IMAGE, "datasets", 0, "coordinateTransformations", 0, "scale", scale)
    path = store_of(tmp_path, "image 0.5", {"zarr.json": edit})
    position = lamella.open_ome_zarr(path)
    with pytest.warns(
        UserWarning, match=r"scale of .*bad\.zarr.*above 0.*as it is stored.*set_scale"
    ) as told:
        assert position.scale == position.scale == position.get_effective_scale("0") == scale
    assert len(told) == 1
    assert told[0].filename == __file__
    for use in (*uses.READING, uses.upgrading):
        assert uses.unclear_outcome(use, path) is None


@pytest.mark.parametrize(
    ("value", "rule"),
    [({"min": None, "max": "a", "start": 1, "end": 9}, "OM-03"), ("a", "OM-03"), (None, "OM-03")],
)
def test_a_window_that_is_not_four_numbers_is_read_as_missing_and_can_be_set(tmp_path, value, rule):
    path = store_of(tmp_path, "image 0.5", {"zarr.json": put(*CHANNEL, "window", value)})
    with pytest.raises(MetadataError, match=rule):
        lamella.open(path, strict=True)
    with pytest.warns(MetadataWarning, match=f"{rule}.*range of its data type"):
        image = lamella.open(path, "r+")
    with image:
        image.rename_channel("DAPI", "nuclei")
        image.set_channel("nuclei", window=(3, 5))
        assert image.metadata.omero.channels[0].window["end"] == 5
        assert image.metadata.omero.channels[0].color == "0000FF"
    assert rule not in lamella.validate(path).rules


@pytest.mark.parametrize("name", ["plain 0.4", "plain 0.5"])
def test_shapes_up_to_2_60_cost_nothing_but_reading_them_whole_is_refused(tmp_path, name):
    key = "0/.zarray" if name.endswith("4") else "0/zarr.json"
    path = store_of(tmp_path, name, {key: put("shape", [2**60, 2**60])})
    position = lamella.open_ome_zarr(path)
    array = position["0"]
    assert (array.shape, array.nbytes) == ((2**60, 2**60), 2**121)
    assert array[0, 0] == specimen_value(name)
    assert array[2**60 - 1, -1] == 0
    writable = lamella.open_ome_zarr(path, mode="r+")["0"]
    for ask in (
        array.numpy,
        array.dask_array,
        position.to_xarray,
        lambda: array[0],
        lambda: writable.__setitem__(0, 1),
    ):
        with pytest.raises(TooLargeError, match=r"bad\.zarr"):
            ask()
    for use in (uses.opening, uses.validating, uses.summarizing, uses.planning_repair):
        assert uses.unclear_outcome(use, path) is None


def specimen_value(name):
    """First voxel of a specimen without compression."""
    key = next(key for key in specimen(name) if key.endswith(("0/0", "0/0/0")))
    return int(np.frombuffer(specimen(name)[key], "<u2")[0])


@pytest.mark.parametrize(
    ("name", "key", "edit"),
    [
        ("plain 0.5", "0/zarr.json", put("chunk_grid", "configuration", "chunk_shape", [2**30, 2**30])),
        ("plain 0.4", "0/.zarray", put("chunks", [2**61, 1])),
        ("sharded 0.5", "0/zarr.json", put("chunk_grid", "configuration", "chunk_shape", [4, *[2**31] * 4])),
    ],
    ids=["chunks", "chunks of Zarr v2", "index of a shard"],
)  # fmt: skip
def test_chunks_that_no_memory_holds_are_refused_before_an_engine_dies_of_them(tmp_path, name, key, edit):
    # TensorStore ends the process with std::bad_alloc.
    array = lamella.open_ome_zarr(store_of(tmp_path, name, {key: edit}))["0"]
    for ask in (lambda: array[(0,) * array.ndim], array.tensorstore):
        with pytest.raises(TooLargeError, match="may be damaged"):
            ask()


def test_documents_of_both_zarr_formats_in_one_group_are_one_store(tmp_path):
    path = store_of(tmp_path, "image 0.5", files={".zgroup": b'{"zarr_format": 2}', ".zattrs": b"{}"})
    with pytest.warns(MetadataWarning, match="LM-02"):
        assert lamella.open_ome_zarr(path).channel_names == ["DAPI", "GFP"]
    assert "LM-02" in lamella.validate(path).rules


@pytest.mark.parametrize("text", ["", "{}", '{"zarr_format": 3, "node_type": "group"}'])
def test_a_zarr_json_that_hides_a_store_of_04_is_refused_with_what_lies_beside_it(tmp_path, text):
    path = tmp_path / "a.zarr"
    with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"], version="0.4"):
        pass
    (path / "zarr.json").write_text(text)
    with pytest.raises(MetadataError, match=r"a\.zarr.*Zarr v2 .*0\.4, delete zarr\.json"):
        lamella.open_ome_zarr(path)


@pytest.mark.parametrize("name", ["image 0.5", "plate 0.4"])
def test_links_in_a_circle_end(tmp_path, name):
    path = store_of(tmp_path, name)
    folders = [
        path,
        *(folder for folder in path.rglob("*") if folder.is_dir() and not folder.name.isdecimal()),
    ]
    for folder, link in itertools.product(folders[:4], ("one", "two")):
        (folder / link).symlink_to(path, target_is_directory=True)
    (path / "self").symlink_to("self")
    for use in uses.READING:
        assert uses.unclear_outcome(use, path) is None


def test_a_document_that_links_to_itself_is_an_error_of_the_system(tmp_path):
    path = store_of(tmp_path, "image 0.5", files={"0/zarr.json": None})
    (path / "0" / "zarr.json").symlink_to("zarr.json")
    with pytest.raises(StorageError, match=r"bad\.zarr/0/zarr\.json"):
        lamella.open_ome_zarr(path)["0"].shape


def test_documents_damaged_at_random_are_read_or_refused_in_clear_words(tmp_path):
    bench = documents.Bench(tmp_path)
    found = [f"number {n}: {one}" for n in range(120) for one in documents.trial(bench, 1, n)]
    assert found == []


def test_pixels_damaged_at_random_are_read_or_refused_in_clear_words(tmp_path):
    bench, counts = chunks.Bench(tmp_path), Counter()
    found = [f"number {n}: {one}" for n in range(300) for one in chunks.trial(bench, 1, n, counts)]
    assert found == []
    assert counts["flipped bits with checksums, noticed"] > 25
    assert counts["flipped bits with checksums, other pixels"] == 0
