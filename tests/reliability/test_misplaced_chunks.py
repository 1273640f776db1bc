"""Law: chunks that are not what, or not where, the metadata declare are an error, and never read as zeros."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from zarr.storage import MemoryStore

import lamella
from lamella.errors import DamagedDataError

LAYOUTS = {"plain": {}, "sharded": {"shards_ratio": (1, 1, 1, 1, 2)}}
KINDS = [("0.4", "plain"), ("0.5", "plain"), ("0.5", "sharded")]
SHAPE = (2, 1, 1, 8, 24)


def image(store, version, layout, compressor=None):
    planes = np.arange(1, 1 + np.prod(SHAPE), dtype="uint16").reshape(SHAPE)
    options = {} if compressor is None else {"compressor": compressor}
    with lamella.open_ome_zarr(
        store, layout="fov", mode="w-", channel_names=["DAPI"], version=version
    ) as position:
        position.create_image("0", planes, chunks=(1, 1, 1, 8, 12), **LAYOUTS[layout], **options)
    return planes


def chunk(store, version):
    return store / "0" / ("" if version == "0.4" else "c") / "1/0/0/0/0"


def folder(path):
    path.mkdir()


def folder_with_a_file(path):
    path.mkdir()
    (path / "0").write_bytes(b"1234")


INSTEAD = (
    {"folder": folder, "folder with a file": folder_with_a_file, "pipe": os.mkfifo}
    if hasattr(os, "mkfifo")
    else {"folder": folder}
)

READS = {
    "one voxel": lambda array: array[1, 0, 0, 3, 3],
    "all": lambda array: array[:],
    "many": lambda array: array.read_many([np.s_[1, 0, 0, :4], np.s_[0, 0]]),
    "dask": lambda array: array.dask_array().compute(scheduler="synchronous"),
}


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("instead", INSTEAD)
@pytest.mark.parametrize(("version", "layout"), KINDS)
def test_what_is_no_file_in_the_place_of_a_chunk_is_damage_at_once(
    version, layout, instead, read, follow, tmp_path
):
    store = tmp_path / "a.zarr"
    planes = image(store, version, layout)
    chunk(store, version).unlink()
    INSTEAD[instead](chunk(store, version))
    position = lamella.open_ome_zarr(store, disable_path_checking=follow)
    with pytest.raises(DamagedDataError, match=r"1.0.0.0.0"):
        READS[read](position.data)
    np.testing.assert_array_equal(position.data[0], planes[0])
    assert position.status().state == "damaged"
    report = lamella.verify(store)
    assert [fault.key[-9:] for fault in report.damage] == ["1/0/0/0/0"]
    assert not lamella.validate(store, pixels=True).valid


def respell(store, version, separator):
    """Have the document declare another separator, and leave the chunks where they are."""
    file = store / "0" / (".zarray" if version == "0.4" else "zarr.json")
    document = json.loads(file.read_text())
    if version == "0.4":
        document["dimension_separator"] = separator
    else:
        document["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": separator}}
    file.write_text(json.dumps(document))


def check_misplaced(store):
    assert lamella.status(store).images[0].state == "damaged"
    assert "0.0.0.0.0" in "\n".join(lamella.status(store).lines())
    assert not lamella.verify(store)
    for pixels in (False, True):
        found = [one.rule for one in lamella.validate(store, pixels=pixels).findings]
        assert found.count("LM-09") == 1


# A document of 0.4 that declares dots breaks ST-04, which opening reports.
@pytest.mark.filterwarnings("ignore:The metadata of .* break ST-04:lamella.errors.MetadataWarning")
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("compressor", [None, "gzip"])
@pytest.mark.parametrize(("version", "layout"), KINDS)
def test_chunks_under_keys_with_another_separator_are_an_error_and_not_zeros(
    version, layout, compressor, read, tmp_path
):
    store = tmp_path / "a.zarr"
    image(store, version, layout, compressor)
    respell(store, version, ".")
    position = lamella.open_ome_zarr(store)
    with pytest.raises(DamagedDataError, match="separator"):
        READS[read](position.data)
    check_misplaced(store)


@pytest.mark.parametrize("declared", ["0.4", "0.5"])
def test_chunks_under_keys_with_dots_are_found_where_slashes_are_declared(declared, tmp_path):
    store = tmp_path / "a.zarr"
    image(store, declared, "plain")
    start = "" if declared == "0.4" else "c."
    below = store / "0" / ("" if declared == "0.4" else "c")
    for t in (0, 1):
        for x in (0, 1):
            (below / f"{t}/0/0/0/{x}").rename(store / "0" / f"{start}{t}.0.0.0.{x}")
    for name in ("c", "0", "1"):
        shutil.rmtree(store / "0" / name, ignore_errors=True)
    with pytest.raises(DamagedDataError, match=f"array {store}/0: .*separator"):
        lamella.open_ome_zarr(store).data[:]
    check_misplaced(store)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_other_stores_are_asked_by_status_validate_and_verify(version):
    files: dict = {}
    store = MemoryStore(files)
    image(store, version, "plain")
    start = "0/" if version == "0.4" else "0/c/"
    for key in [key for key in files if key.startswith(start) and key[-1].isdigit()]:
        files[f"0/{key[2:].replace('/', '.')}"] = files.pop(key)
    check_misplaced(store)


def test_an_array_that_nobody_wrote_reads_as_fill_values(tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w-", channel_names=["DAPI"]
    ) as position:
        array = position.create_zeros("0", SHAPE, "uint16", chunks=(1, 1, 1, 8, 12))
        assert not array[:].any()
        array[1, 0, 0, 0, 0] = 3
        assert int(lamella.open_ome_zarr(tmp_path / "a.zarr").data[:].sum()) == 3
    assert lamella.status(tmp_path / "a.zarr")
