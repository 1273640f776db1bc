"""Law: an archive holds the store that it was packed from, as RFC-9 asks, and appears when it is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner
from tests.reliability.protocols import PROTOCOLS

import lamella
from lamella.cli import main
from lamella.errors import InvalidArgumentError, LamellaError, ReadOnlyError, StorageError, StoreExistsError
from lamella.store.files import zip_writer
from lamella.store.files.local import LocalStorage
from lamella.store.files.zip_writer import ZipWriter
from lamella.store.objects import object_requests
from lamella.store.objects.object_requests import ObjectRequests


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A plate with labels, a table, a file of a user and fields of two acquisitions; nobody changes it."""
    path = tmp_path_factory.mktemp("made") / "screen.zarr"
    pixels = np.arange(2 * 2 * 32 * 32, dtype="u2").reshape(1, 2, 2, 32, 32)
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["a", "b"], version="0.5"
    ) as plate:
        for field in ("A/1/0", "A/1/1", "B/2/0"):
            position = plate.create_position(*field.split("/"))
            position.create_zeros(
                "0", pixels.shape, "u2", chunks=(1, 1, 1, 16, 16), shards_ratio=(1, 1, 2, 2, 2)
            )
            position["0"][...] = pixels + len(field)
            position.compute_pyramid(levels=2)
            position.labels.create("cells", (pixels[:, 0] > 99).astype("u1"))
    zarr.open_group(path / "A" / "1" / "0").create_group("tables").create_array("t", shape=(3,), dtype="f8")[
        :
    ] = 1
    (path / "notes.txt").write_text("of ours")
    return path


def stored(root):
    """Return the bytes of all files below a folder."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_an_archive_is_as_the_rfc_asks_and_anybody_reads_it(made, tmp_path):
    report = lamella.pack(made, tmp_path / "screen.ozx")
    with zipfile.ZipFile(tmp_path / "screen.ozx") as packed:
        assert packed.testzip() is None
        assert {name: packed.read(name) for name in packed.namelist()} == stored(made)
        names, infos = packed.namelist(), packed.infolist()
        assert json.loads(packed.comment) == {
            "ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": True}}}
        }
    assert len(names) == len(set(names)) == report.documents + report.files
    assert report.nbytes == sum(info.file_size for info in infos)
    assert [info.header_offset for info in infos] == sorted(info.header_offset for info in infos)
    documents = [name for name in names if name.endswith("zarr.json")]
    assert names[: len(documents)] == documents
    assert names[0] == "zarr.json"
    assert [name.count("/") for name in documents] == sorted(name.count("/") for name in documents)
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert b"PK\6\6" in (tmp_path / "screen.ozx").read_bytes()[-200:]
    assert bool(report)
    group = zarr.open_group(zarr.storage.ZipStore(tmp_path / "screen.ozx"), mode="r")
    with lamella.open_ome_zarr(tmp_path / "screen.ozx") as plate, lamella.open_ome_zarr(made) as expected:
        for path, position in expected.positions():
            assert np.array_equal(plate[path]["0"][...], position["0"][...])
            assert np.array_equal(group[f"{path}/0"][...], position["0"][...])
            assert np.array_equal(plate[path].labels["cells"]["1"][...], position.labels["cells"]["1"][...])
    assert lamella.validate(tmp_path / "screen.ozx").findings == lamella.validate(made).findings
    lamella.pack(made, tmp_path / "again.ozx")
    assert (tmp_path / "again.ozx").read_bytes() == (tmp_path / "screen.ozx").read_bytes()


def test_what_was_packed_is_unpacked(made, tmp_path):
    lamella.pack(made, tmp_path / "a.ozx")
    report = lamella.unpack(tmp_path / "a.ozx", tmp_path / "back.zarr")
    assert stored(tmp_path / "back.zarr") == stored(made)
    assert report.documents + report.files == len(stored(made))
    ran = CliRunner().invoke(main, ["unpack", str(tmp_path / "a.ozx"), str(tmp_path / "back.zarr")])
    assert (ran.exit_code, ran.stdout) == (1, "")
    ran = CliRunner().invoke(
        main, ["unpack", str(tmp_path / "a.ozx"), str(tmp_path / "back.zarr"), "--overwrite"]
    )
    assert ran.exit_code == 0, ran.output
    with pytest.raises(InvalidArgumentError, match="is not an archive"):
        lamella.unpack(made, tmp_path / "other.zarr")
    (tmp_path / "bad.ozx").write_bytes((tmp_path / "a.ozx").read_bytes()[:-9])
    with pytest.raises(LamellaError, match=r"bad\.ozx"):
        lamella.unpack(tmp_path / "bad.ozx", tmp_path / "bad.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ozx", "back.zarr", "bad.ozx"]


def test_a_group_a_part_and_an_archive_are_packed(made, tmp_path):
    lamella.pack(made / "A" / "1" / "0", tmp_path / "field.ozx")
    assert lamella.open_ome_zarr(tmp_path / "field.ozx").channel_names == ["a", "b"]
    assert (
        lamella.validate(tmp_path / "field.ozx").findings == lamella.validate(made / "A" / "1" / "0").findings
    )
    lamella.pack(made, tmp_path / "part.ozx", fields=["B/2/0"], levels=[1])
    lamella.pack(tmp_path / "part.ozx", tmp_path / "again.ozx")
    with lamella.open_ome_zarr(tmp_path / "again.ozx") as plate:
        assert [path for path, _ in plate.positions()] == ["B/2/0"]
        assert plate["B/2/0"].dataset_paths == plate["B/2/0"].labels["cells"].dataset_paths == ["1"]
    found = lamella.validate(tmp_path / "again.ozx", pixels=True)
    assert set(found.rules) <= set(lamella.validate(made).rules), found


def test_zarr_v2_goes_into_a_zip_only(tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"], version="0.4"
    ) as position:
        position["0"] = np.ones((1, 1, 1, 4, 4), "u1")
    with pytest.raises(InvalidArgumentError, match=r"0\.4.*lamella upgrade"):
        lamella.pack(tmp_path / "a.zarr", tmp_path / "a.ozx")
    lamella.pack(tmp_path / "a.zarr", tmp_path / "a.zip")
    assert lamella.open_ome_zarr(tmp_path / "a.zip").version == "0.4"
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        assert packed.comment == b""


def test_what_cannot_be_packed_is_refused_and_nothing_is_left(made, tmp_path, monkeypatch):
    (tmp_path / "there.ozx").write_bytes(b"old")
    (tmp_path / "in.zarr").mkdir()
    refused = {
        (made, tmp_path / "a.tar"): (InvalidArgumentError, "ends with .ozx"),
        (made, made / "a.ozx"): (InvalidArgumentError, "would lie inside of its source"),
        (made, tmp_path / "there.ozx"): (StoreExistsError, "exists already"),
        (made, "memory://there/a.ozx"): (InvalidArgumentError, "s3://, gs:// and az://"),
        (tmp_path / "none.zarr", tmp_path / "a.ozx"): (FileNotFoundError, "no store"),
        (tmp_path / "in.zarr", tmp_path / "a.ozx"): (LamellaError, "no Zarr metadata"),
    }
    for (source, destination), (error, text) in refused.items():
        with pytest.raises(error, match=text):
            lamella.pack(source, destination)
    for options, text in (
        ({"fields": ["C/1/0"]}, "no well"),
        ({"fields": ["A/1/7"]}, "no field"),
        ({"levels": [5]}, "levels"),
    ):
        with pytest.raises(LamellaError, match=text):
            lamella.pack(made, tmp_path / "a.ozx", **options)
    read = LocalStorage.read

    def lost(self, key):
        return None if key == "B/2/0/0/c/0/0/0/0/0" else read(self, key)

    monkeypatch.setattr(LocalStorage, "read", lost)
    with pytest.raises(StorageError, match="was removed while it was to be packed"):
        lamella.pack(made, tmp_path / "there.ozx", overwrite=True)
    assert (tmp_path / "there.ozx").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.zarr", "there.ozx"]
    monkeypatch.undo()
    assert lamella.pack(made, tmp_path / "there.ozx", overwrite=True)


KILLED = """
import os, signal, sys, lamella
from lamella.store.files.zip_writer import ZipWriter
def end(self, comment):
    os.kill(os.getpid(), signal.SIGKILL)
ZipWriter.finish = end
lamella.pack(*sys.argv[1:], overwrite=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_kill_leaves_the_archive_that_was_there(made, tmp_path):
    (tmp_path / "a.ozx").write_bytes(b"old")
    environment = {**os.environ, "PYTHONPATH": str(Path(lamella.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", KILLED, made, tmp_path / "a.ozx"], check=False, env=environment)
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 2
    assert (tmp_path / "a.ozx").read_bytes() == b"old"
    lamella.pack(made, tmp_path / "a.ozx", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ozx"]


def test_sizes_and_places_beyond_four_gigabytes_are_written_as_zip64(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_writer, "_MAX_32_BITS", 1000)  # what a header of 32 bits can say
    with ZipWriter(str(tmp_path / "a.zip")) as archive:
        archive.add("large", [b"x" * 600, b"y" * 600])
        archive.add("small", [b"z"])
        with pytest.raises(InvalidArgumentError, match="it is there already"):
            archive.add("small", [b"z"])
        with pytest.raises(StorageError, match="1 bytes and had 5"):
            archive.add("less", [b"z"], 5)
    monkeypatch.undo()
    assert zip_writer._central_header(b"a", 0, 5 << 32, 6 << 32)[-16 - 8 :] == b"".join(
        number.to_bytes(8, "little") for number in (5 << 32, 5 << 32, 6 << 32)
    )
    assert list(tmp_path.iterdir()) == []


def test_images_are_converted_to_an_archive(tmp_path):
    tifffile.imwrite(
        tmp_path / "x.tif",
        np.arange(3 * 40 * 40, dtype="u2").reshape(3, 40, 40),
        metadata={"axes": "ZYX"},
        photometric="minisblack",
    )
    ran = CliRunner().invoke(main, ["convert", str(tmp_path / "x.tif"), str(tmp_path / "y.ozx")])
    assert ran.exit_code == 0, ran.output
    assert f"{tmp_path}/y.ozx" in ran.stdout
    with lamella.open_ome_zarr(tmp_path / "y.ozx") as position:
        assert position["0"][0, 2, 5, 7] == 2 * 1600 + 5 * 40 + 7
    assert lamella.validate(tmp_path / "y.ozx")
    ran = CliRunner().invoke(main, ["convert", str(tmp_path / "x.tif"), str(tmp_path / "y.ozx")])
    assert (ran.exit_code, "exists already" in ran.stderr) == (1, True)
    ran = CliRunner().invoke(
        main, ["convert", str(tmp_path / "x.tif"), str(tmp_path / "z.ozx"), "--version", "0.4"]
    )
    assert (ran.exit_code, "RFC-9" in ran.stderr) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tif", "y.ozx"]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", ["s3", "gs", "az"])
def test_an_archive_at_a_url_appears_whole_and_replaces_nothing_unless_asked(
    made, service, temporary, tmp_path, name
):
    protocol = PROTOCOLS[name](service)
    url, options = protocol.target("deep/screen.ozx"), {"storage_options": protocol.options}
    lamella.pack(made, tmp_path / "screen.ozx")
    expected = (tmp_path / "screen.ozx").read_bytes()
    report = lamella.pack(made, url, **options)
    assert (report.destination, bool(report)) == (url, True)
    assert service.objects == {"/bucket/deep/screen.ozx": expected}
    service.objects["/bucket/deep/screen.ozx"] = b"old"
    for call in (lamella.pack, lamella.copy_store):
        with pytest.raises(StoreExistsError, match=url):
            call(made, url, **options)
    assert service.objects == {"/bucket/deep/screen.ozx": b"old"}
    lamella.copy_store(made, url, overwrite=True, **options)
    assert service.objects == {"/bucket/deep/screen.ozx": expected}
    service.loses = "again"
    with pytest.raises(StorageError, match=r"again\.ozx is missing, after an archive of"):
        lamella.copy_store(url, protocol.target("again.ozx"), **options)
    service.fail(403, method="PUT")
    with pytest.raises(StorageError, match=r"denied\.ozx"):
        lamella.pack(made, protocol.target("denied.ozx"), **options)
    assert list(service.objects) == ["/bucket/deep/screen.ozx"]
    assert list(temporary.iterdir()) == []


def test_a_large_archive_is_uploaded_in_parts(made, s3, temporary, tmp_path, monkeypatch):
    # so that a part is as small as S3 allows
    monkeypatch.setattr(object_requests, "_MULTIPART_BYTES", 20 << 20)
    lamella.copy_store(made, tmp_path / "big.zarr", fields=["A/1/0"])
    (tmp_path / "big.zarr" / "notes.bin").write_bytes(os.urandom(21 << 20))
    lamella.pack(tmp_path / "big.zarr", tmp_path / "big.ozx")
    expected, head = (tmp_path / "big.ozx").read_bytes(), ObjectRequests.head
    lamella.pack(tmp_path / "big.zarr", s3.url("big.ozx"))
    assert s3.objects() == {"big.ozx": expected}
    assert s3.client.head_object(Bucket=s3.name, Key="big.ozx")["ETag"].endswith('-5"')

    async def appears(self, key):
        found = await head(self, key)
        if key == "late.ozx":
            s3.put(key, b"of another program")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(ObjectRequests, "head", appears)
        with pytest.raises(StoreExistsError, match=s3.url("late.ozx")):
            lamella.pack(tmp_path / "big.zarr", s3.url("late.ozx"))
    assert s3.objects("late") == {"late.ozx": b"of another program"}
    lamella.pack(tmp_path / "big.zarr", s3.url("late.ozx"), overwrite=True)
    assert s3.objects("late") == {"late.ozx": expected}
    assert list(temporary.iterdir()) == []


def test_a_url_that_cannot_become_an_archive_is_refused_and_nothing_is_sent(made, service, temporary):
    lamella.copy_store(made, "s3://bucket/screen.zarr", fields=["A/1/0"], levels=[1])
    before = dict(service.objects)
    refused = {
        f"{service.endpoint}/bucket/a.ozx": (ReadOnlyError, "web servers are only read"),
        "memory://there/a.ozx": (InvalidArgumentError, "s3://, gs:// and az://"),
        "s3://bucket/a.tar": (InvalidArgumentError, "ends with .ozx"),
        "s3://bucket/a.ozx/b.ozx": (InvalidArgumentError, "leads into an archive"),
        "s3://bucket/screen.zarr/a.ozx": (InvalidArgumentError, "would lie inside of its source"),
    }
    for url, (error, text) in refused.items():
        with pytest.raises(error, match=text):
            lamella.pack("s3://bucket/screen.zarr", url)
    assert service.objects == before
    for command in ("pack", "copy"):
        url = f"s3://bucket/{command}.ozx"
        result = CliRunner().invoke(main, [command, "s3://bucket/screen.zarr", url])
        assert (result.exit_code, f"Wrote {url}: " in result.output) == (0, True), result.output
        assert lamella.validate(url)
    assert list(temporary.iterdir()) == []
