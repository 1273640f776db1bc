"""An error that is about a file names its whole path or URL: who reads it need not know where the store was opened."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import zarr

import lamella
from lamella import errors
from lamella.store.files.temporary_files import shown_as


def _plate(path, version, **options):
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["GFP"], version=version) as plate:
        pixels = np.random.default_rng(0).integers(0, 4000, (1, 1, 1, 32, 32)).astype("uint16")
        plate.create_position("A", "1", "0").create_image("0", pixels, chunks=(1, 1, 1, 16, 16), **options)
    return path


def _document(version, kind):
    return "zarr.json" if version != "0.4" else ".zarray" if kind == "array" else ".zattrs"


def _look(plate):
    """Look at the metadata of all nodes."""
    opened = lamella.open_ome_zarr(plate)
    for _, position in opened.positions():
        position["0"].shape


NODES = {"": "group", "A/1": "group", "A/1/0": "group", "A/1/0/0": "array"}


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"", b'{"zarr_format": 7, "a": 1, "a": 2}'])
def test_a_damaged_document_is_named_whole(tmp_path, version, node, content):
    plate = _plate(tmp_path / "p.zarr", version)
    file = plate / node / _document(version, NODES[node])
    file.write_bytes(content)
    with pytest.raises(errors.MetadataError) as caught:
        _look(plate)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("field", ["shape", "chunks", "dtype", "fill_value", "codecs"])
def test_a_wrong_field_is_named_with_the_whole_path(tmp_path, version, field):
    plate = _plate(tmp_path / "p.zarr", version)
    file = plate / "A/1/0/0" / _document(version, "array")
    document = json.loads(file.read_text())
    other = {"chunks": "chunk_grid", "dtype": "data_type"} if version != "0.4" else {"codecs": "compressor"}
    document[other.get(field, field)] = [{"no": "sense"}]
    file.write_text(json.dumps(document))
    with pytest.raises(errors.MetadataError) as caught:
        _look(plate)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("shards", [None, (1, 1, 1, 2, 2)])
@pytest.mark.parametrize("what", ["read", "crop", "write"])
def test_a_damaged_chunk_is_named_whole(tmp_path, version, shards, what):
    if shards and version == "0.4":
        pytest.skip("Zarr v2 has no shards")
    plate = _plate(tmp_path / "p.zarr", version, **({"shards_ratio": shards} if shards else {}))
    image = lamella.open_ome_zarr(plate, mode="r+")["A/1/0/0"]
    file = next(
        one for one in sorted((plate / "A/1/0/0").rglob("*")) if one.is_file() and one.name.isdecimal()
    )
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    works = {
        "read": lambda: image[...],
        "crop": lambda: image[0, 0, 0, :4, :4],
        "write": lambda: image.__setitem__((0, 0, 0, slice(0, 3), slice(0, 3)), 1),
    }
    with pytest.raises(errors.DamagedDataError) as caught:
        works[what]()
    assert str(file) in str(caught.value)


def test_what_is_listed_and_missing_is_named_whole(tmp_path, version):
    plate = _plate(tmp_path / "p.zarr", version)
    array = plate / "A/1/0/0"
    os.rename(array, tmp_path / "away")
    with pytest.raises(errors.NodeNotFoundError) as caught:
        lamella.open_ome_zarr(plate)["A/1/0"]["0"]
    assert str(array) in str(caught.value)
    os.rename(plate / "A/1/0", tmp_path / "far")
    with pytest.raises(errors.MetadataError) as missing:
        list(lamella.open_ome_zarr(plate)["A/1"].positions())
    assert str(plate / "A/1/0") in str(missing.value)


def test_values_that_json_has_not_are_refused_with_the_whole_path(tmp_path, version):
    plate = _plate(tmp_path / "p.zarr", version)
    with (
        lamella.open_ome_zarr(plate, mode="r+") as opened,
        pytest.raises(errors.InvalidArgumentError) as caught,
    ):
        opened["A/1/0"].zattrs["note"] = float("nan")
    assert str(plate / "A/1/0" / _document(version, "group")) in str(caught.value)


def test_a_write_to_a_store_for_reading_names_it_whole(tmp_path, version):
    plate = _plate(tmp_path / "p.zarr", version)
    with pytest.raises(errors.ReadOnlyError) as caught:
        lamella.open_ome_zarr(plate)["A/1/0"]["0"][...] = 1
    assert str(plate / "A/1/0/0") in str(caught.value)


def test_documents_and_chunks_at_a_url_are_named_by_their_url(tmp_path, version, service):
    service.lists = False
    service.put_folder(_plate(tmp_path / "p.zarr", version), "/web/p.zarr")
    url = f"{service.endpoint}/web/p.zarr"
    name = f"A/1/0/{_document(version, 'group')}"
    good = service.objects[f"/web/p.zarr/{name}"]
    service.objects[f"/web/p.zarr/{name}"] = b"{"
    with pytest.raises(errors.MetadataError) as caught:
        _look(url)
    assert f"{url}/{name}" in str(caught.value)
    service.objects[f"/web/p.zarr/{name}"] = good
    chunk = "A/1/0/0/0/0/0/0/0" if version == "0.4" else "A/1/0/0/c/0/0/0/0/0"
    service.objects[f"/web/p.zarr/{chunk}"] = b"nonsense"
    with pytest.raises(errors.DamagedDataError) as damaged:
        lamella.open_ome_zarr(url)["A/1/0/0"][...]
    assert f"{url}/{chunk}" in str(damaged.value)
    service.fail(503, path=name)
    with pytest.raises(errors.StorageError) as failed:
        _look(url)
    assert f"{url}/{name}" in str(failed.value)


def test_sources_of_a_conversion_are_named_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.tif").write_bytes(b"nothing")
    for source in ("none.tif", "empty", "bad.tif"):
        with pytest.raises(errors.SourceError) as caught:
            lamella.convert(source, "out.zarr")
        assert str(tmp_path / source) in str(caught.value)


PLACES = ["new.zarr", "new.zip", "s3://bucket/new.zarr"]


def _place(destination, folder):
    return destination if "://" in destination else folder / destination


@pytest.mark.parametrize("destination", PLACES)
def test_messages_about_a_store_in_the_making_name_its_destination(service, tmp_path, destination):
    """It is written in a temporary folder, of which users know nothing."""
    place = _place(destination, tmp_path)
    with pytest.raises(errors.LamellaError) as caught:
        lamella.write_image(place, np.ones((1, 1, 1, 8, 8), "c8"), levels=2)  # has no mean
    assert str(place) in str(caught.value)
    assert ".lamella-" not in str(caught.value)
    with pytest.warns(UserWarning, match="40 levels") as warned:
        lamella.write_image(place, np.ones((1, 1, 1, 8, 8), "u1"), levels=40)
    assert str(place) in str(warned[0].message)
    assert ".lamella-" not in str(warned[0].message)


@pytest.mark.parametrize("destination", PLACES[::2])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_group_of_another_program_is_rechunked_to_any_place(service, tmp_path, destination, zarr_format):
    group = zarr.create_group(tmp_path / "plain.zarr", zarr_format=zarr_format)
    group.create_array("a", data=np.arange(16).reshape(4, 4), chunks=(2, 2))
    place = _place(destination, tmp_path)
    report = lamella.rechunk(tmp_path / "plain.zarr", place, chunks=(4, 4))
    assert report.destination == str(place)
    assert lamella.copy_store(place, tmp_path / "copy.zarr")
    assert zarr.open(tmp_path / "copy.zarr")["a"][1].tolist() == [4, 5, 6, 7]


def test_an_error_of_the_system_in_a_temporary_folder_names_both(tmp_path):
    with (
        pytest.raises(
            errors.StorageError, match=r"/data/new/0 .* /data/new is the unfinished s3://bucket/new.zarr"
        ),
        shown_as("/data/new", "s3://bucket/new.zarr"),
    ):
        raise errors.StorageError("Cannot write /data/new/0 (No space left on device).")
