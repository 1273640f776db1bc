"""``rechunk``: other chunks, shards and codecs of whole stores, with the same pixels and all that is beside them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore

import lamella
from lamella.errors import InvalidArgumentError, ReadOnlyError, StoreExistsError, StoreNotFoundError
from lamella.ops.rewriting.arrays import rewritten_shape
from lamella.store.metadata.array_meta import ArrayMeta

from .rewriting import (
    FIELDS,
    arrays,
    attributes,
    build_image,
    build_plate,
    check_same_pixels,
    check_valid,
    chunk_files,
    noise,
    pixels,
)


def layouts(path):
    """Chunks, shards and codec names of all arrays, as zarr-python reads them."""
    return {name: (array.chunks, array.shards) for name, array in arrays(path).items()}


# -- whole stores -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "in_place"), [("0.4", True), ("0.5", False), ("0.6", True)], ids=["0.4", "0.5 copy", "0.6"]
)
def test_a_plate_is_cut_anew_with_all_it_has(tmp_path, files, old, in_place):
    source = build_plate(tmp_path / "in.zarr", old)
    expected, before = pixels(source), files(source)
    documents = {
        node: attributes(source, node) for node in ("", "A", "A/1", *FIELDS, "A/1/0/labels", "A/1/0/0")
    }
    target = source if in_place else tmp_path / "out.zarr"
    shards = None if old == "0.4" else (4, 10, 30)

    lamella.rechunk(source, None if in_place else target, chunks=(2, 5, 10), shards=shards, compressor="gzip")

    check_same_pixels(pixels(target), expected)
    check_valid(target, old)
    assert {node: attributes(target, node) for node in documents} == documents
    assert (target / "OME" / "METADATA.ome.xml").exists()
    assert (target / "A" / "1" / "0" / "notes.txt").exists()
    found = layouts(target)
    for field in FIELDS:
        assert found[f"{field}/0"] == ((1, 1, 2, 5, 10), shards and (1, 1, *shards))
        assert found[f"{field}/labels/nuclei/1"] == ((2, 5, 10), shards)
    assert found["A/1/0/tables/cells/area"] == layouts(source)["A/1/0/tables/cells/area"]
    if not in_place:
        assert files(source) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({source.name, target.name})


@pytest.mark.filterwarnings("ignore:Consolidated metadata", "ignore:Object at")  # of zarr-python
def test_a_position_of_a_plate_in_place(tmp_path):
    plate = build_plate(tmp_path / "plate.zarr", "0.5")
    expected, others = pixels(plate), chunk_files(plate / "B")
    zarr.consolidate_metadata(str(plate), zarr_format=3)
    lamella.rechunk(plate / "A" / "1" / "0", chunks=(4, 10, 10))
    check_same_pixels(pixels(plate), expected)
    check_valid(plate, "0.5")
    assert layouts(plate)["A/1/0/0"] == ((1, 1, 4, 10, 10), None)
    assert chunk_files(plate / "B") == others
    assert not list(plate.rglob(".lamella-*"))


def test_a_single_array(tmp_path):
    image = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    expected = pixels(image)
    lamella.rechunk(image / "0", chunks=(4, 20, 30))
    check_same_pixels(pixels(image), expected)
    assert layouts(image)["0"] == ((1, 1, 4, 20, 30), None)


# -- layouts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "level0", "level1"),
    [
        ({"chunks": (4, 20, 30)}, ((1, 1, 4, 20, 30), None), ((1, 1, 2, 10, 15), None)),
        ({"chunks": (2, 4, 20, 30)}, ((1, 2, 4, 20, 30), None), ((1, 2, 2, 10, 15), None)),
        ({"chunks": "auto"}, ((1, 1, 4, 20, 30), None), ((1, 1, 2, 10, 15), None)),
        (
            {"shards": (4, 16, 32)},
            ((1, 1, 2, 8, 16), (1, 1, 4, 16, 32)),
            ((1, 1, 2, 8, 8), (1, 1, 4, 16, 32)),
        ),
        ({"shards": "auto"}, ((1, 1, 2, 8, 16), (1, 1, 4, 24, 32)), ((1, 1, 2, 8, 15), (1, 1, 2, 16, 15))),
        ({"chunks": "auto", "shards": (4, 10, 30)}, ((1, 1, 4, 10, 30), (1, 1, 4, 10, 30)), None),
        ({"compressor": "zstd"}, ((1, 1, 2, 8, 16), None), None),
    ],
    ids=str,
)
def test_what_is_asked_for_and_what_is_kept(tmp_path, asked, level0, level1):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    expected = pixels(source)
    lamella.rechunk(source, **asked)
    check_same_pixels(pixels(source), expected)
    assert layouts(source)["0"] == level0
    assert level1 is None or layouts(source)["1"] == level1


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"shards": "none"}, ((1, 1, 2, 8, 16), None)),
        ({"chunks": (3, 8, 16)}, ((1, 1, 3, 8, 16), (1, 1, 6, 16, 32))),
        ({"compressor": "none"}, ((1, 1, 2, 8, 16), (1, 1, 4, 16, 32))),
    ],
    ids=str,
)
def test_shards_are_kept_unless_asked_otherwise(tmp_path, asked, found):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False, shards_ratio=(1, 1, 2, 2, 2))
    expected = pixels(source)
    lamella.rechunk(source, **asked)
    check_same_pixels(pixels(source), expected)
    assert layouts(source)["0"] == found


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("codec", "names"), [("none", []), ("zstd", ["zstd"]), ("lz4", ["blosc"]), ("gzip", ["gzip"])]
)
def test_a_codec(tmp_path, version, codec, names):
    source = build_image(tmp_path / "in.zarr", version, labels=False)
    lamella.rechunk(source, compressor=codec)
    if version == "0.5":
        document = json.loads((source / "0" / "zarr.json").read_text())
        assert [entry["name"] for entry in document["codecs"]] == ["bytes", *names]
    else:
        compressor = json.loads((source / "0" / ".zarray").read_text())["compressor"]
        assert ([compressor["id"]] if compressor else []) == names


def test_a_layout_that_is_there_already_is_copied_without_decoding(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    report = lamella.rechunk(source, tmp_path / "out.zarr", chunks=(2, 8, 16), compressor="blosc")
    assert report.carried == report.arrays == 2
    check_same_pixels(pixels(tmp_path / "out.zarr"), pixels(source))


def test_unknown_keys_of_an_array_stay(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    file = source / "0" / "zarr.json"
    document = json.loads(file.read_text()) | {"theirs": {"must_understand": False}}
    file.write_text(json.dumps(document))
    lamella.rechunk(source, chunks=(1, 5, 5))
    assert json.loads(file.read_text())["theirs"] == {"must_understand": False}


def test_what_was_never_written_stays_so(tmp_path):
    group = zarr.create_group(tmp_path / "in.zarr", attributes=attributes_of_image())
    array = group.create_array(
        "0", shape=(16, 16), chunks=(4, 4), dtype="u2", fill_value=5, dimension_names=["y", "x"]
    )
    array[:4, :4] = 1
    lamella.rechunk(tmp_path / "in.zarr", chunks=(8, 8))
    assert list(chunk_files(tmp_path / "in.zarr")) == ["0/c/0/0"]
    expected = np.full((16, 16), 5, "u2")
    expected[:4, :4] = 1
    check_same_pixels(pixels(tmp_path / "in.zarr"), {"0": expected})


def attributes_of_image(axes="yx"):
    scale = [{"type": "scale", "scale": [1.0] * len(axes)}]
    image = {
        "name": "cells",
        "axes": [{"name": name, "type": "space"} for name in axes],
        "datasets": [{"path": "0", "coordinateTransformations": scale}],
    }
    return {"ome": {"version": "0.5", "multiscales": [image]}}


lengths = st.lists(st.integers(1, 9), min_size=3, max_size=3)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 13), min_size=3, max_size=3), lengths, lengths, lengths, st.booleans())
def test_any_layout_to_any_other_keeps_the_pixels(tmp_path_factory, shape, old, new, ratio, sharded):
    path = tmp_path_factory.mktemp("any") / "in.zarr"
    data = noise(shape, seed=sum(shape))
    group = zarr.create_group(path, attributes=attributes_of_image("zyx"))
    shards = [c * (r % 3 + 1) for c, r in zip(old, ratio, strict=True)] if sharded else None
    array = group.create_array(
        "0", shape=shape, chunks=old, shards=shards, dtype="u2", dimension_names=list("zyx")
    )
    array[...] = data
    asked = [c * (r % 4 + 1) for c, r in zip(new, ratio, strict=True)] if not sharded else "none"
    lamella.rechunk(path, chunks=new, shards=asked)
    check_same_pixels(pixels(path), {"0": data})


@given(
    st.lists(st.integers(1, 400), min_size=3, max_size=3),
    st.lists(st.integers(1, 90), min_size=3, max_size=3),
    st.lists(st.integers(1, 90), min_size=3, max_size=3),
    st.integers(1, 10**6),
)
def test_units_are_whole_files_and_bounded(shape, old, new, most):
    source, target = (ArrayMeta(tuple(shape), np.dtype("u2"), tuple(chunks)) for chunks in (old, new))
    unit = rewritten_shape(source, target, most)
    assert all(u % f == 0 for u, f in zip(unit, new, strict=True))
    size = np.prod(np.minimum(unit, shape)) * 2
    assert size <= max(most, np.prod(np.minimum(new, shape)) * 2)


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({}, "at least one of chunks, shards, compressor"),
        ({"chunks": (0, 8)}, "from 1 on"),
        ({"chunks": ()}, "from 1 on"),
        ({"chunks": "none"}, "neither auto"),
        ({"shards": "some"}, "neither auto nor none"),
        ({"chunks": (4, 8, 8), "shards": (4, 12, 8)}, "whole multiples"),
        ({"compressor": "jpeg"}, "unknown"),
    ],
    ids=str,
)
def test_a_layout_that_does_not_fit_is_refused(tmp_path, files, asked, text):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    before = files(source)
    with pytest.raises(InvalidArgumentError, match=text):
        lamella.rechunk(source, **asked)
    assert files(source) == before
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


def test_shards_in_04_are_refused(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.4", labels=False)
    with pytest.raises(InvalidArgumentError, match=r"upgrade to 0\.5 first"):
        lamella.rechunk(source, shards=(4, 16, 32))


def test_chunks_that_blosc_cannot_compress_are_refused(tmp_path):
    group = zarr.create_group(tmp_path / "in.zarr", attributes=attributes_of_image())
    group.create_array("0", shape=(1 << 16, 1 << 16), chunks=(64, 64), dtype="u2", dimension_names=["y", "x"])
    with pytest.raises(InvalidArgumentError, match="2 GiB"):
        lamella.rechunk(tmp_path / "in.zarr", chunks=(1 << 16, 1 << 15), compressor="blosc")


def test_a_destination_that_exists_is_refused(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    (tmp_path / "out.zarr").write_text("mine")
    with pytest.raises(StoreExistsError, match="exists already"):
        lamella.rechunk(source, tmp_path / "out.zarr", chunks=(1, 8, 8))


def test_the_source_as_destination_is_refused(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    with pytest.raises(InvalidArgumentError, match="name no destination"):
        lamella.rechunk(source, source, chunks=(1, 8, 8))


def test_a_read_only_source_is_not_replaced(tmp_path):
    source = build_image(tmp_path / "in.zarr", "0.5", labels=False)
    with pytest.raises(ReadOnlyError, match="Choose a destination"):
        lamella.rechunk(LocalStore(source, read_only=True), chunks=(1, 8, 8))


def test_nothing_at_the_path(tmp_path):
    with pytest.raises(StoreNotFoundError, match="no store"):
        lamella.rechunk(tmp_path / "none.zarr", chunks=(1, 8, 8))


@pytest.mark.parametrize("work", ["rechunk", "upgrade"])
def test_a_chunk_that_went_after_an_interruption_is_not_in_the_new_store(tmp_path, work):
    """As zarr-python removes one that is overwritten with the fill value."""
    with lamella.open_ome_zarr(
        tmp_path / "old.zarr", layout="fov", mode="w", channel_names=["a"], version="0.4"
    ) as position:
        position.create_image("0", np.ones((8, 1, 1, 16, 16), "uint8"), chunks=(1, 1, 1, 16, 16))

    def write(progress=None):
        options = {"jobs": 1, "progress": progress}
        if work == "upgrade":
            return lamella.upgrade(tmp_path / "old.zarr", "0.5", tmp_path / "new.zarr", **options)
        return lamella.rechunk(
            tmp_path / "old.zarr",
            tmp_path / "new.zarr",
            chunks=(1, 1, 1, 8, 16),
            compressor="gzip",
            **options,
        )

    def interrupt(done, total, what):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(interrupt)
    chunks = [tmp_path / f"old.zarr/0/{t}/0/0/0/0" for t in range(8)]
    for chunk in chunks[:2]:
        chunk.unlink()
    write()
    found = lamella.open_ome_zarr(tmp_path / "new.zarr")["0"][:].max(axis=(1, 2, 3, 4))
    assert found.tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
