"""Law: documents hold what was put, in both formats, as zarr-python reads and writes them."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zarr

import lamella
from lamella.errors import (
    InvalidArgumentError,
    InvalidNameError,
    MetadataError,
    NodeExistsError,
    NodeNotFoundError,
    ReadOnlyError,
)
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.array_creation import new_array
from lamella.store.metadata.array_meta import Compressor
from lamella.store.metadata.documents import Documents
from lamella.store.storage import open_storage

ATTRIBUTES = {"name": "µ-plate", "nested": {"list": [1, 2.5, None, True]}}


@pytest.fixture
def files(local):
    """Write a file as somebody else would."""

    def write(key: str, text: str | bytes) -> None:
        path = Path(local.root) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def names(storage) -> list[str]:
    return sorted(str(f.relative_to(storage.root)) for f in Path(storage.root).rglob("*") if f.is_file())


def test_nothing_is_no_store(storage):
    assert Documents.open(storage) is None
    storage.write("readme.txt", b"not a node")
    assert Documents.open(storage) is None


def test_a_store_is_opened_in_its_own_format(documents):
    documents.put_group("", ATTRIBUTES)
    found = Documents.open(documents.storage)
    assert found is not None
    assert (found.format, found.group("")) == (documents.format, ATTRIBUTES)


def test_groups_and_arrays_make_exactly_their_files(local_documents):
    local_documents.put_group("", {})
    local_documents.put_array("A/0", new_array((4, 4), "u2", zarr_format=local_documents.format))
    expected = {2: [".zattrs", ".zgroup", "A/0/.zarray", "A/0/.zattrs"], 3: ["A/0/zarr.json", "zarr.json"]}
    assert names(local_documents.storage) == expected[local_documents.format]


def test_zarr_python_reads_what_is_put(local_documents, zarr_format):
    local_documents.put_groups({"": {}, "A": ATTRIBUTES})
    options = {"shards": (1, 4, 8)} if zarr_format == 3 else {}
    meta = new_array(
        (3, 7, 9), "f4", zarr_format=zarr_format, chunks=(1, 2, 4), fill_value=float("nan"), attributes=ATTRIBUTES,
        dimension_names=("z", "y", "x"), **options,
    )  # fmt: skip
    local_documents.put_array("A/0", meta)
    group = zarr.open_group(local_documents.storage.root, mode="r", zarr_format=zarr_format)
    array = group["A/0"]
    assert dict(group["A"].attrs) == dict(array.attrs) == ATTRIBUTES
    assert (array.shape, array.chunks, array.dtype) == ((3, 7, 9), (1, 2, 4), np.dtype("f4"))
    assert array.shards == (None if zarr_format == 2 else (1, 4, 8))
    assert np.isnan(array.fill_value)
    assert Compressor.of(array.compressors[0]) == Compressor("blosc", "zstd", 1, "bitshuffle")
    if zarr_format == 3:
        assert array.metadata.dimension_names == ("z", "y", "x")
        assert array.compressors[0].typesize == 4


def test_what_zarr_python_writes_is_read(tmp_path, zarr_format):
    root = zarr.create_group(tmp_path / "s.zarr", zarr_format=zarr_format, attributes=ATTRIBUTES)
    options = {"shards": (4, 8)} if zarr_format == 3 else {}
    root.create_array(
        "A/0", shape=(7, 9), chunks=(2, 4), dtype="i4", fill_value=-1, attributes={"a": 1}, **options
    )
    documents = Documents.open(LocalStorage(tmp_path / "s.zarr"))
    assert documents is not None
    meta = documents.array("A/0")
    assert (documents.format, documents.group("")) == (zarr_format, ATTRIBUTES)
    assert (meta.shape, meta.chunks, meta.shards) == ((7, 9), (2, 4), options.get("shards"))
    assert (meta.dtype, meta.fill_value, meta.attributes) == (np.dtype("i4"), -1, {"a": 1})
    assert meta.compressor is not None
    assert meta.compressor.name == ("blosc" if zarr_format == 2 else "zstd")  # the defaults of zarr-python


def test_arrays_come_back_as_described(documents, zarr_format):
    for dtype, fill in (("u1", 3), ("f8", float("inf")), ("c8", 1 - 2j), ("bool", True), ("i8", -(2**63))):
        meta = new_array((3, 5), dtype, zarr_format=zarr_format, fill_value=fill, compressor="gzip")
        documents.put_array(dtype, meta)
        assert documents.array(dtype) == meta


def test_children_are_the_nodes_below_in_natural_order(documents, zarr_format):
    documents.put_groups({"": {}, "10": {}, "9": {}, "9/deeper": {}, "B2": {}})
    documents.put_array("B10", new_array((1,), "u1", zarr_format=zarr_format))
    documents.storage.write("thumbs/x.png", b"")
    documents.storage.write("notes.txt", b"")
    assert documents.children("") == {"9": "group", "10": "group", "B2": "group", "B10": "array"}
    assert list(documents.children("")) == ["9", "10", "B2", "B10"]
    assert documents.children("B2") == {}
    assert (documents.kind("B10"), documents.kind("9"), documents.kind("notes.txt")) == (
        "array",
        "group",
        None,
    )


def test_a_damaged_child_is_not_left_out(documents):
    documents.put_groups({"": {}, "A": {}})
    documents.storage.write("A/zarr.json" if documents.format == 3 else "A/.zattrs", b"{")
    with pytest.raises(MetadataError, match=r"/A/(zarr\.json|\.zattrs) is damaged"):
        [documents.group(name) for name in documents.children("")]


@pytest.mark.parametrize("call", ["group", "array", "delete", "edit_group"])
def test_what_is_not_there_is_named(documents, call):
    documents.put_group("", {})
    arguments = (lambda a: a,) if call == "edit_group" else ()
    with pytest.raises(NodeNotFoundError, match=r"/A/1: .* missing"):
        getattr(documents, call)("A/1", *arguments)
    assert not documents.storage.exists("A")


def test_a_group_is_no_array_and_an_array_no_group(documents, zarr_format):
    documents.put_group("G", {})
    documents.put_array("A", new_array((1,), "u1", zarr_format=zarr_format))
    with pytest.raises(NodeNotFoundError, match=r"no array at .*/G: "):
        documents.array("G")
    with pytest.raises(NodeNotFoundError, match="an array is stored there"):
        documents.group("A")
    with pytest.raises(NodeExistsError, match="an array is stored there"):
        documents.put_group("A", {})
    with pytest.raises(NodeExistsError, match="a group is stored there"):
        documents.put_array("G", new_array((1,), "u1", zarr_format=zarr_format))
    assert (documents.kind("G"), documents.kind("A")) == ("group", "array")
    reason = "a group is stored there" if zarr_format == 3 else r"\.zarray is missing"
    for edit in (documents.edit_array, documents.edit_array_attributes):
        with pytest.raises(NodeNotFoundError, match=reason):
            edit("G", lambda old: old)


@pytest.mark.parametrize("zarray", [b"", b"{", b"[]", b"{}"])
def test_attributes_of_an_array_are_read_where_its_other_document_is_broken(local, zarray):
    documents = Documents.create(local, 2)
    documents.put_array("A", new_array((1,), "u1", zarr_format=2, attributes={"k": 1}))
    local.write("A/.zarray", zarray)
    assert documents.attributes_of_array("A") == {"k": 1}
    documents.edit_array_attributes("A", lambda old: {**old, "l": 2})
    assert documents.attributes_of_array("A") == {"k": 1, "l": 2}


def test_an_edit_of_an_array_that_changes_nothing_writes_nothing(local, zarr_format):
    documents = Documents.create(local, zarr_format)
    documents.put_array("A", new_array((1,), "u1", zarr_format=zarr_format))
    (Path(local.root) / "A/.zattrs").unlink(missing_ok=True)
    before = {name: os.stat(Path(local.root) / name).st_ino for name in names(local)}
    documents.edit_array("A", lambda old: old, edits_attributes=True)
    assert {name: os.stat(Path(local.root) / name).st_ino for name in names(local)} == before


def test_an_array_of_the_other_format_is_refused(documents):
    other = new_array((1,), "u1", zarr_format=5 - documents.format)
    with pytest.raises(InvalidArgumentError, match="described for Zarr"):
        documents.put_array("0", other)
    assert documents.storage.list("") == []


def test_edit_group_replaces_the_attributes_and_keeps_the_rest(local_documents, files):
    local_documents.put_group("A", {"a": 1})
    if local_documents.format == 3:
        document = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": {"a": 1},
            "vendor": {"must_understand": False},
        }
        files("A/zarr.json", json.dumps(document))
    attributes, stamp = local_documents.edit_group("A", lambda old: {**old, "b": 1})
    assert (attributes, stamp) == ({"a": 1, "b": 1}, local_documents.stamp("A"))
    assert local_documents.edit_group("A", lambda old: {**old, "b": 2})[0] == {"a": 1, "b": 2}
    assert local_documents.group("A") == {"a": 1, "b": 2}
    local_documents.put_group("A", {"c": 3})
    if local_documents.format == 3:
        stored = json.loads((Path(local_documents.storage.root) / "A/zarr.json").read_text())
        assert stored == {**document, "attributes": {"c": 3}}
    assert not [name for name in os.listdir(Path(local_documents.storage.root) / "A") if "lamella" in name]


def test_an_edit_that_fails_changes_nothing(local_documents):
    local_documents.put_group("A", {"a": 1})
    before = {
        name: (Path(local_documents.storage.root) / name).read_bytes()
        for name in names(local_documents.storage)
    }

    def fail(_):
        raise RuntimeError("the caller's own fault")

    with pytest.raises(RuntimeError):
        local_documents.edit_group("A", fail)
    with pytest.raises(InvalidArgumentError, match=r"\['deep'\]\[1\] is nan"):
        local_documents.edit_group("A", lambda _: {"deep": [0, float("nan")]})
    with pytest.raises(InvalidArgumentError, match="JSON has no such value"):
        local_documents.edit_group("A", lambda _: {"object": object()})
    after = {
        name: (Path(local_documents.storage.root) / name).read_bytes()
        for name in names(local_documents.storage)
    }
    assert before == after


def test_numbers_of_numpy_are_numbers_of_json(documents):
    documents.put_group("", {"a": np.float32(0.5), "b": np.int64(3), "c": np.arange(2), "d": np.bool_(True)})
    assert documents.group("") == {"a": 0.5, "b": 3, "c": [0, 1], "d": True}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is empty"),
        (b'{"zarr_format": 3, "node_ty', "it is not JSON"),
        (b'{"name": "\xe9"}', "it is not UTF-8 text"),
        (b"[1, 2]", "contains a list"),
        (b'"text"', "contains a str"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "it is not JSON"),
    ],
)
def test_a_damaged_document_is_named_with_its_fault(local_documents, files, content, fault):
    file = "zarr.json" if local_documents.format == 3 else ".zattrs"
    local_documents.put_group("A/1", {})
    files(f"A/1/{file}", content)
    with pytest.raises(MetadataError, match=f"A/1/{file} is damaged: .*{fault}"):
        local_documents.group("A/1")
    with pytest.raises(MetadataError, match=f"A/1/{file}"):
        local_documents.edit_group("A/1", lambda a: a)
    assert (Path(local_documents.storage.root) / "A/1" / file).read_bytes() == content


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({}, "zarr_format None"),
        ({"zarr_format": 2, "node_type": "group"}, "zarr_format 2, not 3"),
        ({"zarr_format": 3}, "node_type None"),
        ({"zarr_format": 3, "node_type": "file"}, "node_type 'file'"),
        ({"zarr_format": 3, "node_type": "group", "attributes": []}, "attributes of type list"),
    ],
)
def test_a_document_that_contradicts_itself_is_named(local, files, document, fault):
    files("zarr.json", json.dumps(document))
    documents = Documents.open(local)
    assert documents is not None
    with pytest.raises(MetadataError, match=fault):
        documents.group("")


BROKEN_V3 = [
    ("shape", None, "shape None"),
    ("shape", [4, -1], "shape"),
    ("shape", [4.5, 4], "shape"),
    ("shape", [4], "but chunks"),
    ("shape", "44", "shape '44'"),
    ("data_type", "string", "data_type 'string'"),
    ("data_type", {"name": "numpy.datetime64"}, "data_type"),
    ("chunk_grid", None, "chunk_grid None"),
    ("chunk_grid", {"name": "rectilinear", "configuration": {}}, "chunk grid 'rectilinear'"),
    ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [0, 2]}}, "chunk_shape"),
    ("chunk_key_encoding", {"name": "mine"}, "chunk keys 'mine'"),
    ("chunk_key_encoding", {"name": "default", "configuration": {"separator": "-"}}, "separator '-'"),
    ("codecs", [], "codecs"),
    ("codecs", [3], "the codec 3"),
    (
        "codecs",
        [{"name": "sharding_indexed", "configuration": {"chunk_shape": [3, 3], "codecs": ["bytes"]}}],
        "multip",
    ),
    *(
        (
            "codecs",
            [
                {
                    "name": "sharding_indexed",
                    "configuration": {"chunk_shape": [1, 1], "codecs": ["bytes"], "index_location": location},
                }
            ],
            f"index_location {location!r}, not 'start' or 'end'",
        )
        for location in ("middle", None)
    ),
    ("fill_value", "zero", "fill_value 'zero'"),
    ("fill_value", 1.5, "fill_value 1.5"),
    ("fill_value", -1, "fill_value -1"),
    ("fill_value", [], r"fill_value \[\]"),
    ("dimension_names", ["y"], "dimension_names"),
    ("attributes", 3, "attributes"),
    ("storage_transformers", [{"name": "swapped"}], "storage transformers"),
]


@pytest.mark.parametrize(("key", "value", "fault"), BROKEN_V3)
def test_a_broken_array_document_of_v3_is_named(local, files, key, value, fault):
    documents = Documents.create(local, 3)
    documents.put_array("A/0", new_array((4, 4), "u2", zarr_format=3, chunks=(2, 2)))
    document = json.loads(local.read("A/0/zarr.json") or b"")
    files("A/0/zarr.json", json.dumps({**document, key: value}))
    with pytest.raises(MetadataError, match=f"A/0/.*{fault}"):
        documents.array("A/0")


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("zarr_format", 3, "zarr_format 3"),
        ("shape", [4], "but chunks"),
        ("chunks", [0, 2], "chunks"),
        ("chunks", True, "chunks True"),
        ("dtype", "<M8[s]", "dtype '<M8"),
        ("dtype", [["a", "<u2"]], "dtype"),
        ("dtype", "nonsense", "dtype 'nonsense'"),
        ("dtype", ",uf", "dtype ',uf'"),
        ("dtype", "\ud800", "dtype"),
        ("order", "X", "order 'X'"),
        ("dimension_separator", "-", "dimension_separator '-'"),
        ("compressor", "blosc", "compressor 'blosc'"),
        ("compressor", {"level": 1}, "cannot be understood"),
        ("filters", 3, "filters 3"),
        ("fill_value", 2**16, "fill_value 65536"),
    ],
)
def test_a_broken_array_document_of_v2_is_named(local, files, key, value, fault):
    documents = Documents.create(local, 2)
    documents.put_array("A/0", new_array((4, 4), "u2", zarr_format=2, chunks=(2, 2)))
    document = json.loads(local.read("A/0/.zarray") or b"")
    files("A/0/.zarray", json.dumps({**document, key: value}))
    with pytest.raises(MetadataError, match=f"A/0/.*{fault}"):
        documents.array("A/0")


def test_short_forms_of_zarr_v3_are_read(local, files):
    documents = Documents.create(local, 3)
    documents.put_array("0", new_array((4, 4), "u1", zarr_format=3, chunks=(2, 2), compressor="none"))
    document = json.loads(local.read("0/zarr.json") or b"")
    files(
        "0/zarr.json",
        json.dumps({**document, "codecs": ["bytes"], "fill_value": None, "chunk_key_encoding": "default"}),
    )
    meta = documents.array("0")
    assert (meta.codecs, meta.compressor, meta.fill_value, meta.chunk_key((1, 1))) == (
        ("bytes",),
        None,
        0,
        "c/1/1",
    )


def test_the_bits_of_a_float_are_a_fill_value(local, files):
    documents = Documents.create(local, 3)
    documents.put_array("0", new_array((4,), "f4", zarr_format=3))
    document = json.loads(local.read("0/zarr.json") or b"")
    files("0/zarr.json", json.dumps({**document, "fill_value": "0x3fc00000"}))
    assert documents.array("0").fill_value == 1.5
    for wrong in ("0x", "0x3fc000003fc00000", [1.5], 1e39):
        files("0/zarr.json", json.dumps({**document, "fill_value": wrong}))
        with pytest.raises(MetadataError, match="fill_value"):
            documents.array("0")
    for wrong in ([1e39, 0], [0, "0x3fc000003fc00000"]):
        files("0/zarr.json", json.dumps({**document, "data_type": "complex64", "fill_value": wrong}))
        with pytest.raises(MetadataError, match="fill_value"):
            documents.array("0")


def test_an_error_of_a_node_in_a_new_folder_names_its_whole_path(local, zarr_format):
    documents = Documents.create(local, zarr_format)
    folders = {"tables/j": {"": {}, "table": {"wrong": object()}}}
    with pytest.raises(InvalidArgumentError, match=re.escape(f"{local.root}/tables/j/table")):
        documents.put_new(folders)
    array = new_array((1,), "u1", zarr_format=zarr_format, attributes={"wrong": object()})
    with pytest.raises(InvalidArgumentError, match=re.escape(f"{local.root}/A/1/0")):
        documents.put_new({"A/1": {"": {}, "0": array}})
    assert names(local) == []


def test_a_v2_group_without_its_marker_is_read(local, files):
    files(".zattrs", '{"multiscales": []}')
    documents = Documents.open(local)
    assert documents is not None
    assert (documents.format, documents.kind(""), documents.group("")) == (2, "group", {"multiscales": []})


def test_where_both_formats_stand_v3_counts(local, files):
    files(".zgroup", '{"zarr_format": 2}')
    files("zarr.json", '{"zarr_format": 3, "node_type": "group"}')
    documents = Documents.open(local)
    assert documents is not None
    assert documents.format == 3


def test_a_write_drops_consolidated_copies_that_it_makes_stale(tmp_path, zarr_format):
    root = zarr.create_group(tmp_path / "s.zarr", zarr_format=zarr_format, attributes={"kept": 1})
    root.create_group("A/1", attributes={"a": "old"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata is no part of the Zarr v3 specification
        zarr.consolidate_metadata(tmp_path / "s.zarr", zarr_format=zarr_format)
    documents = Documents.open(LocalStorage(tmp_path / "s.zarr"))
    assert documents is not None
    documents.edit_group("A/1", lambda _: {"a": "new"})
    again = zarr.open_group(tmp_path / "s.zarr", mode="r", zarr_format=zarr_format)
    assert (again["A/1"].attrs["a"], again.attrs["kept"]) == ("new", 1)
    with pytest.raises((ValueError, KeyError), match=r"[Cc]onsolidated|zmetadata"):
        zarr.open_group(tmp_path / "s.zarr", mode="r", zarr_format=zarr_format, use_consolidated=True)


def test_an_edit_of_a_field_that_was_opened_alone_drops_the_copies_above_it(tmp_path, version):
    root = tmp_path / "p.zarr"
    with lamella.open_ome_zarr(root, "hcs", "w", ["a"], version=version) as plate:
        plate.create_position("A", "1", "0").create_zeros("0", (1, 1, 1, 4, 4), "u1")
    for change in (
        lambda field: field.set_name("new"),
        lambda field: field.labels.create("cells", dtype="uint8"),
        lambda field: field["0"].resize((1, 1, 1, 5, 5)),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # consolidated metadata is no part of the Zarr v3 specification
            for path in ("A/1", ""):
                zarr.consolidate_metadata(root / path)
        with lamella.open_ome_zarr(root / "A/1/0", mode="r+") as field:
            change(field)
        for folder in (root, root / "A/1"):
            found, stored = (
                {
                    path: dict(node.attrs)
                    for path, node in zarr.open_group(folder, mode="r", **options).members(None)
                }
                for options in ({}, {"use_consolidated": False})
            )
            assert found == stored
        assert lamella.validate(root)


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_an_edit_drops_the_copy_in_the_edited_node_itself(tmp_path, request, where, version):
    """In Zarr v2 the copy of the plate stayed, with the old name and without a new well."""
    root = tmp_path / "p.zarr"
    if where == "s3":
        service, root = request.getfixturevalue("service"), "s3://bucket/p.zarr"
    with lamella.open_ome_zarr(tmp_path / "p.zarr", "hcs", "w", ["a"], version=version) as plate:
        plate.create_position("A", "1", "0").create_zeros("0", (1, 1, 1, 4, 4), "u1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata is no part of the Zarr v3 specification
        for path in ("A/1/0", ""):
            zarr.consolidate_metadata(tmp_path / "p.zarr" / path)
    edits = {
        "": [lambda plate: plate.set_name("new"), lambda plate: plate.create_well("C", "1")],
        "A/1/0": [lambda plate: plate["A/1/0"].set_name("new")],
    }
    for path, calls in edits.items():
        for call in calls:
            if where == "s3":
                service.objects.clear()
                service.put_folder(tmp_path / "p.zarr", "/bucket/p.zarr")
            made = (
                root if where == "s3" else shutil.copytree(root, tmp_path / "copy.zarr", dirs_exist_ok=True)
            )
            with lamella.open_ome_zarr(made, mode="r+") as plate:
                call(plate)
            storage = open_storage(made)
            for folder in {"", path}:
                assert storage.read(f"{folder}/.zmetadata".strip("/")) is None
                assert b"consolidated_metadata" not in (storage.read(f"{folder}/zarr.json".strip("/")) or b"")


def test_dropping_copies_keeps_what_another_program_changes_meanwhile(tmp_path, service):
    with lamella.open_ome_zarr(tmp_path / "p.zarr", "hcs", "w", ["a"], version="0.5") as plate:
        plate.create_position("A", "1", "0").create_zeros("0", (1, 1, 1, 4, 4), "u1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata is no part of the Zarr v3 specification
        zarr.consolidate_metadata(tmp_path / "p.zarr")
    service.put_folder(tmp_path / "p.zarr", "/bucket/p.zarr")
    root = "/bucket/p.zarr/zarr.json"

    def change() -> None:
        document = json.loads(service.objects[root])
        document["attributes"]["other"] = 1
        service.objects[root] = json.dumps(document).encode()

    service.before = lambda method, key: change if (method, key) == ("PUT", root) else None
    with lamella.open_ome_zarr("s3://bucket/p.zarr", mode="r+") as plate:
        plate["A/1/0"].set_name("new")
    document = json.loads(service.objects[root])
    assert ("consolidated_metadata" in document, document["attributes"]["other"]) == (False, 1)


class LockingStorage(LocalStorage):
    """Notes which documents are locked when one is written."""

    def __init__(self, root) -> None:
        super().__init__(root)
        self.locked: list[str] = []
        self.written: list[tuple[str, list[str]]] = []

    @contextmanager
    def replacement_lock(self, key):
        with super().replacement_lock(key) as descriptor:
            self.locked.append(key)
            yield descriptor
            self.locked.remove(key)

    def write_stamped(self, key, data):
        self.written.append((key, list(self.locked)))
        return super().write_stamped(key, data)


def test_copies_below_an_edited_group_are_removed_under_the_lock_of_their_document(tmp_path):
    """Another process that edited that document meanwhile lost its edit: 32 of 3,000."""
    storage = LockingStorage(tmp_path / "s.zarr")
    documents = Documents.create(storage, 3)
    documents.put_groups({"": {}, "x": {}})
    consolidated = json.loads(storage.read("x/zarr.json")) | {"consolidated_metadata": {"metadata": {}}}
    storage.write("x/zarr.json", json.dumps(consolidated).encode())
    documents = Documents(storage, 3)

    def add_below(attributes):
        documents.put_groups({"x/new": {}})
        return {**attributes, "count": 1}

    storage.written.clear()
    documents.edit_group("", add_below)
    assert storage.written == [("zarr.json", ["zarr.json"]), ("x/zarr.json", ["x/zarr.json"])]
    assert b"consolidated_metadata" not in storage.read("x/zarr.json")


def test_a_group_that_only_mentions_consolidated_metadata_costs_no_more_requests(service):
    with lamella.open_ome_zarr("s3://bucket/p.zarr", "hcs", "w", ["a"], version="0.5") as plate:
        plate.create_position("A", "1", "0").create_zeros("0", (1, 1, 1, 4, 4), "u1")
    root, counts = "/bucket/p.zarr/zarr.json", set()
    document = json.loads(service.objects[root])
    listed = {**document, "attributes": {**document["attributes"], "missing": ["consolidated_metadata"]}}
    for stored in (document, listed, {**document, "consolidated_metadata": None}):
        service.objects[root] = json.dumps(stored).encode()
        with lamella.open_ome_zarr("s3://bucket/p.zarr", mode="r+") as plate:
            plate["A/1/0"].set_name("first")
            service.requests.clear()
            plate["A/1/0"].set_name("second")
        counts.add(service.requests.count(("GET", root)))
    assert counts == {1}


def test_no_array_is_asked_for_consolidated_metadata(service):
    """Each array of a Zarr v2 store that was resized cost one request more."""
    with lamella.open_ome_zarr("s3://bucket/a.zarr", "fov", "w", axes="yx", version="0.4") as position:
        position.create_zeros("0", (4, 4), "u1")
    with lamella.open_ome_zarr("s3://bucket/a.zarr", mode="r+") as position:
        position.data.resize((5, 4))
        position.data.attrs["a"] = 1
    asked = [path for _, path in service.requests if path.endswith(".zmetadata")]
    assert set(asked) == {"/bucket/a.zarr/.zmetadata"}


def test_the_stamp_of_a_document_tells_that_it_changed(local_documents):
    local_documents.put_group("A", {"a": 1})
    before = local_documents.stamp("A")
    assert before == local_documents.stamp("A")
    Documents(local_documents.storage, local_documents.format).put_group("A", {"a": 1})
    assert local_documents.stamp("A") != before


def test_move_and_delete_take_the_node_with_all_below(documents, zarr_format):
    documents.put_groups({"": {}, "A": {}, "A/1": {"a": 1}})
    documents.put_array("A/1/0", new_array((2,), "u1", zarr_format=zarr_format))
    documents.move("A/1", "B/2")
    assert (documents.group("B/2"), documents.kind("B/2/0"), documents.kind("A/1")) == (
        {"a": 1},
        "array",
        None,
    )
    documents.delete("B/2")
    assert documents.kind("B/2") is None
    with pytest.raises(NodeNotFoundError):
        documents.move("A/1", "C")


def test_a_read_only_store_is_not_changed(local_documents, zarr_format):
    local_documents.put_group("A", {})
    before = names(local_documents.storage)
    reader = Documents(LocalStorage(local_documents.storage.root, read_only=True), zarr_format)
    meta = new_array((1,), "u1", zarr_format=zarr_format)
    for change in (
        lambda: reader.put_group("A", {"a": 1}),
        lambda: reader.put_groups({"B": {}}),
        lambda: reader.edit_group("A", lambda a: a),
        lambda: reader.put_array("0", meta),
        lambda: reader.delete("A"),
        lambda: reader.move("A", "B"),
        lambda: Documents.create(reader.storage, zarr_format),
    ):
        with pytest.raises(ReadOnlyError):
            change()
    assert names(local_documents.storage) == before


def test_names_are_checked_before_any_document_of_a_batch_is_written(local_documents):
    with pytest.raises(InvalidNameError):
        local_documents.put_groups({"A": {}, "../B": {}})
    assert names(local_documents.storage) == []


def test_documents_pickle_by_location(local_documents):
    local_documents.put_group("A", ATTRIBUTES)
    again = pickle.loads(pickle.dumps(local_documents))
    assert (again.group("A"), again.format) == (ATTRIBUTES, local_documents.format)
