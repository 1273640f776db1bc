"""``upgrade``: whole stores between versions, with every pixel, key and file; chunks as they are where that can be."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr
from numcodecs import LZ4, Blosc, Delta, GZip, Zlib, Zstd
from zarr.storage import LocalStore, MemoryStore

import lamella
from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    MetadataError,
    MetadataWarning,
    ReadOnlyError,
    StoreExistsError,
    StoreNotFoundError,
)

from .rewriting import (
    FIELDS,
    attributes,
    build_image,
    build_plate,
    check_same_pixels,
    check_valid,
    chunk_files,
    noise,
    pixels,
)

STORES = Path(__file__).parents[1] / "data" / "stores"
VERSIONS = ("0.4", "0.5", "0.6")


def build_v2(path, pixels, chunks, **options):
    """An image of 0.4 with one level, whose array is made by zarr-python."""
    group = zarr.create_group(path, zarr_format=2, attributes=image_document("yx"))
    array = group.create_array(
        "0",
        shape=pixels.shape,
        chunks=chunks,
        dtype=pixels.dtype,
        chunk_key_encoding={"name": "v2", "separator": "/"},
        **options,
    )
    array[...] = pixels
    return path


def image_document(axes, **others):
    scale = [{"type": "scale", "scale": [1.0] * len(axes)}]
    return {
        "multiscales": [
            {
                "version": "0.4",
                "name": "cells",
                "axes": [{"name": name, "type": "space"} for name in axes],
                "datasets": [{"path": "0", "coordinateTransformations": scale}],
                **others,
            }
        ]
    }


# -- whole stores -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "sharded", "in_place"),
    [
        ("0.4", "0.5", False, False),
        ("0.4", "0.6", False, True),
        ("0.5", "0.4", False, False),
        ("0.5", "0.4", True, True),
        ("0.5", "0.6", True, True),
        ("0.6", "0.4", True, False),
        ("0.6", "0.5", False, True),
    ],
)
def test_a_plate_keeps_all_it_has(tmp_path, files, old, new, sharded, in_place):
    source = build_plate(tmp_path / "in.zarr", old, shards_ratio=(1, 1, 2, 2, 2) if sharded else None)
    expected, before = pixels(source), files(source)
    known = {node: attributes(source, node) for node in ("", "A/1", *FIELDS, "A/1/0/0", "A/1/0/tables/cells")}
    target = source if in_place else tmp_path / "made" / "out.zarr"

    report = lamella.upgrade(source, new, None if in_place else target)

    check_same_pixels(pixels(target), expected)
    check_valid(target, new)
    assert (report.groups > 0, report.arrays) == (True, len(expected))
    assert attributes(target)["lab"] == known[""]["lab"]
    assert attributes(target, "A/1")["lab"] == "well"
    assert [attributes(target, field)["lab"] for field in FIELDS] == [known[field]["lab"] for field in FIELDS]
    assert attributes(target, "A/1/0/0") == known["A/1/0/0"]
    assert attributes(target, "A/1/0/tables/cells") == known["A/1/0/tables/cells"]
    assert (target / "OME" / "METADATA.ome.xml").read_text() == "<OME/>"
    assert (target / "A" / "1" / "0" / "notes.txt").read_text() == "kept"
    with lamella.open_ome_zarr(target) as plate:
        assert [name for name, _ in plate.positions()] == list(FIELDS)
        assert plate["A/1/0"].scale[-1] == 0.25
        assert plate["A/1/0"]["0"].chunks == (1, 1, 2, 8, 16)
        assert plate["A/1/0"]["0"].shards == ((1, 1, 4, 16, 32) if sharded and new != "0.4" else None)
    if not in_place:
        assert files(source) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {source.name, target.relative_to(tmp_path).parts[0]}
    )


@pytest.mark.parametrize("way", [("0.4", "0.6"), ("0.5", "0.6"), ("0.5", "0.4")], ids="-".join)
def test_there_and_back_is_the_same(tmp_path, way):
    there, back = way[1], way[0]
    source = build_plate(tmp_path / "in.zarr", back)
    lamella.upgrade(source, there, tmp_path / "there.zarr")
    lamella.upgrade(tmp_path / "there.zarr", back, tmp_path / "back.zarr")
    for node in ("", "A/1", *FIELDS, "A/1/0/labels", "A/1/0/labels/nuclei", "A/1/0/0", "A/1/0/tables"):
        assert attributes(tmp_path / "back.zarr", node) == attributes(source, node), node
    names = set(chunk_files(source))
    assert {name: chunk_files(tmp_path / "back.zarr")[name][2] for name in names} == {
        name: entry[2] for name, entry in chunk_files(source).items()
    }


@pytest.mark.parametrize(("old", "new"), [("0.5", "0.6"), ("0.6", "0.5")])
def test_between_05_and_06_no_chunk_is_touched(tmp_path, old, new):
    source = build_plate(tmp_path / "in.zarr", old, shards_ratio=(1, 1, 2, 2, 2))
    before = chunk_files(source)
    lamella.upgrade(source, new)
    assert chunk_files(source) == before
    check_valid(source, new)


def test_a_second_upgrade_has_nothing_to_do(tmp_path, files, version):
    source = build_image(tmp_path / "in.zarr", version)
    before = files(source)
    report = lamella.upgrade(source, version)
    assert files(source) == before
    assert (report.groups, report.notes) == (0, (f"all documents were those of {version} already",))


def test_an_upgrade_stopped_between_documents_is_finished_by_another(tmp_path):
    source = build_plate(tmp_path / "in.zarr", "0.5")
    half = tmp_path / "half.zarr"
    lamella.upgrade(source, "0.6", half)
    for node in ("A/1/0", "B/2", ""):  # as they were
        shutil.copyfile(source / node / "zarr.json", half / node / "zarr.json")
    lamella.upgrade(half, "0.6")
    check_valid(half, "0.6")


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("v04_bioformats2raw_plate/hcs.zarr", "0.5"),
        ("v04_bioformats2raw_plate/hcs.zarr", "0.6"),
        ("v04_bioformats2raw_series/bf2raw.zarr", "0.4"),
        ("v04_bioformats2raw_series/bf2raw.zarr", "0.5"),
        ("v05_idr0062_labels_sharded/6001240.zarr", "0.4"),
        ("v05_idr0062_labels_sharded/6001240.zarr", "0.6"),
        ("v05_ngff_zarr_simple/simple_0.5.zarr", "0.5"),
        ("v05_ngff_zarr_simple/simple_0.5.zarr", "0.6"),
    ],
)
@pytest.mark.filterwarnings(
    "ignore::lamella.errors.MetadataWarning"
)  # tests/interop/test_samples.py holds which
def test_stores_of_other_writers(tmp_path, name, to):
    faults = {finding.rule for finding in lamella.validate(STORES / name).findings if finding.level == "MUST"}
    lamella.upgrade(STORES / name, to, tmp_path / "out.zarr")
    check_same_pixels(pixels(tmp_path / "out.zarr"), pixels(STORES / name))
    report = lamella.validate(tmp_path / "out.zarr")
    assert report.version == to
    assert {finding.rule for finding in report.findings if finding.level == "MUST"} <= faults
    xml = STORES / name / "OME" / "METADATA.ome.xml"
    if xml.exists():
        assert (tmp_path / "out.zarr" / "OME" / "METADATA.ome.xml").read_bytes() == xml.read_bytes()


# -- arrays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compressor",
    [
        None,
        Blosc("lz4", 5, Blosc.SHUFFLE),
        Blosc("zstd", 1, Blosc.BITSHUFFLE),
        Blosc("zlib", 3, Blosc.NOSHUFFLE),
        Blosc("lz4", 5, Blosc.AUTOSHUFFLE),
        Zstd(3),
        GZip(2),
    ],
    ids=str,
)
def test_encoded_chunks_are_carried_over(tmp_path, compressor):
    data = noise((20, 30))
    source = build_v2(tmp_path / "in.zarr", data, (8, 16), compressors=compressor)
    report = lamella.upgrade(source, "0.5", tmp_path / "out.zarr")
    assert report.carried == report.arrays == 1
    for y in range(3):
        for x in range(2):
            old = (source / "0" / str(y) / str(x)).read_bytes()
            assert (tmp_path / "out.zarr" / "0" / "c" / str(y) / str(x)).read_bytes() == old
    np.testing.assert_array_equal(lamella.open_ome_zarr(tmp_path / "out.zarr")["0"][:], data)
    check_same_pixels(pixels(tmp_path / "out.zarr"), {"0": data})


@pytest.mark.parametrize(
    ("dtype", "options", "codecs"),
    [
        ("uint16", {"compressors": Zlib(4)}, ["bytes", "gzip"]),
        ("uint16", {"compressors": LZ4()}, ["bytes", "blosc"]),
        ("uint16", {"filters": [Delta(dtype="<u2")], "compressors": Zstd(1)}, ["bytes", "zstd"]),
        (">u2", {"compressors": Blosc()}, ["bytes", "blosc"]),
        ("float32", {"order": "F", "compressors": GZip(1)}, ["bytes", "gzip"]),
    ],
    ids=["zlib", "lz4", "filter", "big-endian", "fortran"],
)
def test_chunks_that_the_other_format_cannot_say_are_encoded_anew(tmp_path, dtype, options, codecs):
    data = noise((20, 30)).astype(dtype)
    source = build_v2(tmp_path / "in.zarr", data, (8, 16), **options)
    report = lamella.upgrade(source, "0.5", tmp_path / "out.zarr")
    assert (report.arrays, report.carried) == (1, 0)
    document = json.loads((tmp_path / "out.zarr" / "0" / "zarr.json").read_text())
    assert [codec["name"] for codec in document["codecs"]] == codecs
    assert document["chunk_grid"]["configuration"]["chunk_shape"] == [8, 16]
    check_same_pixels(pixels(tmp_path / "out.zarr"), {"0": data})


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "float16", "float64", "complex64"])
def test_every_dtype(tmp_path, dtype):
    data = noise((9, 9), "int64").astype(dtype)
    source = build_v2(tmp_path / "in.zarr", data, (4, 4))
    lamella.upgrade(source, "0.5")
    check_same_pixels(pixels(source), {"0": data})
    lamella.upgrade(source, "0.4")
    check_same_pixels(pixels(source), {"0": data})


@pytest.mark.parametrize(("dtype", "fill"), [("uint16", 7), ("float32", float("nan")), ("bool", True)])
@pytest.mark.parametrize("compressor", [Zstd(1), Zlib(1)], ids=["carried", "encoded"])
def test_what_was_never_written_stays_so_with_its_fill_value(tmp_path, dtype, fill, compressor):
    group = zarr.create_group(tmp_path / "in.zarr", zarr_format=2, attributes=image_document("yx"))
    array = group.create_array(
        "0", shape=(8, 8), chunks=(4, 4), dtype=dtype, fill_value=fill, compressors=compressor
    )
    array[:4, :4] = 0
    lamella.upgrade(tmp_path / "in.zarr", "0.5", tmp_path / "out.zarr")
    assert list(chunk_files(tmp_path / "out.zarr")) == ["0/c/0/0"]
    found = lamella.open_ome_zarr(tmp_path / "out.zarr")["0"][:]
    np.testing.assert_array_equal(found, array[...])
    np.testing.assert_array_equal(found[4:], np.full((4, 8), fill, dtype))


def test_dimension_names_are_added(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.4")
    lamella.upgrade(source, "0.5")
    for node, names in (("0", "tczyx"), ("1", "tczyx"), ("labels/nuclei/0", "zyx")):
        document = json.loads((source / node / "zarr.json").read_text())
        assert "".join(document["dimension_names"]) == names, node


@pytest.mark.parametrize("names", ["missing", "null"])
def test_dimension_names_that_were_missing_are_added_in_place(tmp_path, names):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    file = source / "0" / "zarr.json"
    document = json.loads(file.read_text())
    good = document.pop("dimension_names")
    if names == "null":
        document["dimension_names"] = [None] * len(good)
    file.write_text(json.dumps(document))
    before = chunk_files(source)
    lamella.upgrade(source, "0.6")
    assert chunk_files(source) == before
    assert json.loads(file.read_text())["dimension_names"] == good
    check_valid(source, "0.6")


def test_the_names_of_a_foreign_array_go_where_xarray_looks(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    group = zarr.open_group(str(source), mode="a").create_group("other")
    group.create_array("a", shape=(2, 3), dtype="f4", dimension_names=["row", "col"])
    lamella.upgrade(source, "0.4")
    assert attributes(source, "other/a")["_ARRAY_DIMENSIONS"] == ["row", "col"]
    lamella.upgrade(source, "0.5")
    assert json.loads((source / "other" / "a" / "zarr.json").read_text())["dimension_names"] == ["row", "col"]


def test_shards_are_unpacked_for_04(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.5", shards_ratio=(1, 1, 2, 2, 2))
    expected = pixels(source)
    lamella.upgrade(source, "0.4")
    check_same_pixels(pixels(source), expected)
    assert (source / "0" / "0" / "1" / "1" / "2" / "1").is_file()


# -- old versions, drafts and damage ------------------------------------------------------------------------------


@pytest.mark.parametrize("to", VERSIONS)
@pytest.mark.parametrize("old", ["0.1", "0.2", "0.3"])
def test_versions_before_04(tmp_path, old, to):
    image = {"version": old, "name": "cells", "datasets": [{"path": "0"}], "mine": 1}
    if old == "0.3":
        image["axes"] = list("tczyx")
    group = zarr.create_group(
        tmp_path / "in.zarr", zarr_format=2, attributes={"multiscales": [image], "lab": "x"}
    )
    data = noise((1, 2, 3, 9, 8))
    array = group.create_array("0", shape=data.shape, chunks=(1, 1, 2, 4, 4), dtype=data.dtype)
    array[...] = data  # with the chunk keys of 0.1: "0.0.0.0.0"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lamella.upgrade(tmp_path / "in.zarr", to)
    assert any("is 2**n times coarser" in str(warning.message) for warning in caught)
    check_same_pixels(pixels(tmp_path / "in.zarr"), {"0": data})
    check_valid(tmp_path / "in.zarr", to)
    found = attributes(tmp_path / "in.zarr")
    assert (found["lab"], found["multiscales"][0]["mine"]) == ("x", 1)


def test_a_draft_becomes_the_version(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    file = source / "zarr.json"
    file.write_text(file.read_text().replace('"0.5"', '"0.5-dev-spatialdata"'))
    with pytest.warns(UserWarning, match="read as 0.5"):
        lamella.upgrade(source, "0.5")
    assert attributes(source)["version"] == "0.5"


def test_what_an_older_version_cannot_say_is_refused_or_left_out(tmp_path, files):
    source = build_image(tmp_path / "in.zarr", "0.6", labels=False)
    file = source / "zarr.json"
    document = json.loads(file.read_text())
    image = document["attributes"]["ome"]["multiscales"][0]
    image["coordinateSystems"].append({"name": "atlas", "axes": image["coordinateSystems"][0]["axes"]})
    file.write_text(json.dumps(document))
    before = files(source)
    with pytest.raises(MetadataError, match=r"'atlas'"):
        lamella.upgrade(source, "0.5")
    with pytest.raises(MetadataError, match=r"'atlas'"):
        lamella.upgrade(source, "0.4", tmp_path / "out.zarr")
    assert files(source) == before
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]
    with pytest.warns(MetadataWarning, match=r"CS-04.*atlas"):
        lamella.upgrade(source, "0.5", lossy=True)
    check_valid(source, "0.5")


def test_arrays_of_texts_are_copied_refused_or_left_out(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # zarr-python: no specification for texts; Zarr v2 has no shards of them
        zarr.open_group(str(source), mode="a").create_array(
            "names", shape=(2,), chunks=(1,), shards=(2,), dtype=str
        )[:] = ["a", "b"]
    report = lamella.upgrade(source, "0.6", tmp_path / "copy.zarr")
    assert f"the array {source}/names was copied unchanged" in report.notes[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(zarr.open_group(str(tmp_path / "copy.zarr"))["names"][:]) == ["a", "b"]
    with pytest.raises(MetadataError, match=r"'names'.* --lossy|'names'.*lossy=True"):
        lamella.upgrade(source, "0.4", tmp_path / "out.zarr")
    report = lamella.upgrade(source, "0.4", tmp_path / "out.zarr", lossy=True)
    assert f"the array {source}/names was left out" in report.notes[0]
    check_valid(tmp_path / "out.zarr", "0.4")


def test_rows_without_a_document_get_one(tmp_path):
    source = build_plate(tmp_path / "in.zarr", "0.4")
    for file in (".zgroup", ".zattrs"):
        (source / "A" / file).unlink(missing_ok=True)
    lamella.upgrade(source, "0.5")
    assert json.loads((source / "A" / "zarr.json").read_text())["node_type"] == "group"
    check_valid(source, "0.5")


def test_stale_consolidated_metadata_does_not_come_along(tmp_path):
    source = build_plate(tmp_path / "in.zarr", "0.4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(source), zarr_format=2)
        lamella.upgrade(source, "0.5")
        zarr.consolidate_metadata(str(source), zarr_format=3)
        lamella.upgrade(source, "0.6", tmp_path / "out.zarr")
    assert not list(source.rglob(".zmetadata"))
    assert "consolidated_metadata" not in (tmp_path / "out.zarr" / "zarr.json").read_text()


def test_a_damaged_chunk_stops_the_upgrade_and_the_source_stays(tmp_path, files):
    source = build_v2(tmp_path / "in.zarr", noise((8, 8)), (4, 4), compressors=Zlib(1))
    (source / "0" / "1" / "1").write_bytes(b"no zlib")
    before = files(source)
    with pytest.raises(DamagedDataError, match="1/1"):
        lamella.upgrade(source, "0.5")
    assert files(source) == before


def test_a_damaged_document_is_named(tmp_path):
    source = build_plate(tmp_path / "in.zarr", "0.5")
    file = source / "A" / "1" / "zarr.json"
    file.write_text(file.read_text().replace('"images"', '"imagery"'))
    with pytest.raises(MetadataError, match=r"/A/1\b.*images"):
        lamella.upgrade(source, "0.6")


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path):
    return build_image(tmp_path / "in.zarr", "0.4", labels=False)


def refused(error, text, *arguments, **options):
    with pytest.raises(error, match=text):
        lamella.upgrade(*arguments, **options)


def test_a_destination_that_exists_is_refused(image, tmp_path):
    (tmp_path / "out.zarr").mkdir()
    refused(StoreExistsError, "exists already", image, "0.5", tmp_path / "out.zarr")


def test_the_source_as_destination_is_refused(image, tmp_path):
    (tmp_path / "link.zarr").symlink_to(image)
    for same in (image, f"{image}/", image / ".." / "in.zarr", tmp_path / "link.zarr"):
        refused(InvalidArgumentError, "is the source", image, "0.5", same)


def test_one_inside_of_the_other_is_refused(image):
    refused(InvalidArgumentError, "would lie inside of its source", image, "0.5", image / "new.zarr")
    refused(InvalidArgumentError, "lies inside of", image, "0.5", image.parent)


def test_a_read_only_source_is_not_replaced(image):
    refused(ReadOnlyError, "read-only", LocalStore(image, read_only=True), "0.5")


def test_a_store_in_memory_is_not_replaced(image):
    refused(InvalidArgumentError, "not a local folder", MemoryStore(), "0.5")


@pytest.mark.parametrize("to", ["0.3", "0.7"])
def test_a_version_that_is_not_written_is_refused(image, to):
    refused(InvalidArgumentError, "0.4, 0.5, 0.6", image, to)


def test_nothing_at_the_path(tmp_path):
    refused(StoreNotFoundError, "no store", tmp_path / "none.zarr", "0.5")
    refused(StoreNotFoundError, "no store", tmp_path / "none.zarr", "0.5", tmp_path / "out.zarr")


def test_a_folder_that_is_no_store(tmp_path):
    (tmp_path / "in").mkdir()
    refused(MetadataError, "no Zarr metadata", tmp_path / "in", "0.5", tmp_path / "out.zarr")


def test_an_array_is_no_store(image, tmp_path):
    refused(MetadataError, "an array, not a group", image / "0", "0.5", tmp_path / "out.zarr")


def test_a_part_of_a_plate_is_not_upgraded_alone(tmp_path):
    plate = build_plate(tmp_path / "plate.zarr", "0.4")
    refused(InvalidArgumentError, r"plate\.zarr.*ST-08", plate / "A" / "1" / "0", "0.5")
    lamella.upgrade(plate / "A" / "1" / "0", "0.5", tmp_path / "field.zarr")
    check_valid(tmp_path / "field.zarr", "0.5")


def test_a_store_in_memory_is_read(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.4")
    store = MemoryStore()
    for path in source.rglob("*"):
        if path.is_file():
            data = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(path.read_bytes())
            zarr.core.sync.sync(store.set(path.relative_to(source).as_posix(), data))
    lamella.upgrade(store, "0.5", tmp_path / "out.zarr")
    check_same_pixels(pixels(tmp_path / "out.zarr"), pixels(source))


def test_progress_is_told_and_ends_at_all(image, tmp_path):
    told = []
    report = lamella.upgrade(image, "0.5", tmp_path / "out.zarr", progress=lambda *args: told.append(args))
    assert told[-1][:2] == (report.nbytes, report.nbytes)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
