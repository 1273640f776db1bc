"""Law: a store in an archive is read as the folder that it was made of; an archive that is not sound is refused."""

from __future__ import annotations

import json
import os
import pickle
import struct
import warnings
import zipfile
from urllib.parse import quote

import numpy as np
import pytest
from click.testing import CliRunner
from torture.specimens import specimen, write_files
from zarr.storage import ZipStore

import lamella
from lamella.cli import main
from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    LamellaError,
    MetadataError,
    ReadOnlyError,
    StorageError,
)
from lamella.store.files.local import LocalStorage
from lamella.store.metadata import json_document
from lamella.store.pixels import chunk_objects
from lamella.store.storage import RangeRequest, open_storage

FILES = specimen("image 0.5")
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def write_zip(path, files=FILES, method=STORED, comment=b"", folder="", entries=()):
    """Write an archive; more entries are pairs of a `ZipInfo` or name, and bytes."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as packed:
        warnings.simplefilter("ignore")  # some names stand there twice
        for key, data in [*((folder + key, data) for key, data in files.items()), *entries]:
            packed.writestr(key, data)
        packed.comment = comment
    return str(path)


def write_zip64(path):
    """Write an archive as streaming writers do: ZIP64 throughout, with data descriptors, nothing at its begin known."""

    class Pipe:
        def __init__(self, file):
            self.write, self.flush = file.write, file.flush

    with open(path, "wb") as file, zipfile.ZipFile(Pipe(file), "w") as packed:
        for key, data in FILES.items():
            with packed.open(key, "w", force_zip64=True) as entry:
                entry.write(data)
    return str(path)


FORMS = {
    "stored": write_zip,
    "deflated": lambda path: write_zip(path, method=DEFLATED),
    "streamed": write_zip64,
    "long comment": lambda path: write_zip(path, comment=b"PK\5\6" * 15000),
    "one folder deep": lambda path: write_zip(path, folder="x.zarr/", entries=[("__MACOSX/x", b"")]),
    "folders as entries": lambda path: write_zip(path, entries=[("0/", b""), ("empty/", b"")]),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_reads_as_its_folder(tmp_path, form):
    write_files(tmp_path / "x.zarr", FILES)
    plain = LocalStorage(tmp_path / "x.zarr")
    storage = open_storage(FORMS[form](tmp_path / "x.ozx"))
    for reader in (storage, pickle.loads(pickle.dumps(storage))):
        keys = sorted(key for key in reader.keys_below("") if key != "empty")
        assert keys == sorted(FILES)
        ranges = ((0, 4), (-3, 3), (-(10**6), 5), (2, 10**6), (10**6, 3), (0, 0))
        for key in keys:
            assert reader.size(key) == plain.size(key)
            assert [plain.read_range(key, *part) for part in ranges] == [
                reader.read_range(key, *part) for part in ranges
            ]
        requests = [RangeRequest(key, ranges, reader.stamp(key)) for key in [*keys, "none"]]
        expected = [[plain.read_range(key, *part) for part in ranges] for key in keys]
        assert [found and found.parts for found in reader.read_ranges(requests)] == [*expected, None]
        assert {key: found[0] for key, found in reader.read_many(keys).items()} == FILES
        assert reader.list("0") == plain.list("0")
        assert (reader.exists("0"), reader.exists("9"), reader.size("0"), reader.list("9")) == (
            True,
            False,
            None,
            [],
        )
    with lamella.open_ome_zarr(storage.name) as position, lamella.open_ome_zarr(plain.name) as expected:
        for level in expected.dataset_paths:
            assert np.array_equal(position[level][...], expected[level][...])
            assert np.array_equal(position[level].dask_array()[..., :3].compute(), expected[level][..., :3])
        assert position.to_xarray().identical(expected.to_xarray())
        assert position.zgroup["0"].shape == expected["0"].shape


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_an_archive_of_which_a_service_sends_too_little_is_read_again_before_it_counts_as_damaged(
    tmp_path, service, method
):
    def read(name):
        """Read an archive under a name that this process has not read."""
        service.objects[f"/bucket/{method} {name}.zip"] = whole
        service.requests.clear()
        with lamella.open_ome_zarr(f"s3://bucket/{method} {name}.zip") as image:
            assert (image["0"][:] == expected).all()

    write_zip(tmp_path / "a.zip", method=method)
    expected = lamella.open_ome_zarr(tmp_path / "a.zip")["0"][:]
    whole = (tmp_path / "a.zip").read_bytes()
    read("a")
    for n in range(service.counts()["GET"]):
        fault = service.fail("less", after=n, times=1)
        read(f"once {n}")
        assert fault.seen
        service.heal()
        service.fail("less", after=n)
        with pytest.raises(StorageError, match=r"\.zip: the service answered with [0-9,]+ bytes where"):
            read(f"always {n}")
        service.heal()
    whole = whole[:-10]
    with pytest.raises(MetadataError, match="its end is missing"):
        read("cut")


def test_an_archive_at_a_url_is_read_by_its_ranges(tmp_path, service):
    files = {**FILES, **{f"0/c/9/{n}": os.urandom(1000) for n in range(1500)}}
    with open(write_zip(tmp_path / "x.ozx", files), "rb") as file:
        service.objects["/bucket/in/x.ozx"] = file.read()
    write_files(tmp_path / "x.zarr", FILES)
    expected = lamella.open_ome_zarr(tmp_path / "x.zarr")
    for url in (
        f"{service.endpoint}/bucket/in/x.ozx",
        "s3://bucket/in/x.ozx",
        f"{service.endpoint}/bucket/in/x.ozx/",
    ):
        position = lamella.open_ome_zarr(url)
        assert np.array_equal(position["1"][...], expected["1"][...])
        assert position.dataset_paths == expected.dataset_paths
        assert not [path for _, path in service.requests if "zarr.json" in path]
        assert service.counts() == {
            "GET": len(service.requests)
        }  # the end and the documents, then indexes and chunks
        assert len(service.requests) <= 20
        service.requests.clear()
    with pytest.raises(ReadOnlyError, match="lamella pack"):
        lamella.open_ome_zarr("s3://bucket/in/x.ozx", mode="r+")
    with pytest.raises(FileNotFoundError, match=r"There is no store at s3://bucket/in/none\.zip"):
        lamella.open_ome_zarr("s3://bucket/in/none.zip")
    service.objects["/bucket/in/x.ozx"] = service.objects["/bucket/in/x.ozx"][:-100]
    with pytest.raises(MetadataError, match=r"s3://bucket/in/x\.ozx"):
        lamella.open_ome_zarr("s3://bucket/in/x.ozx")


@pytest.mark.parametrize("name", ["a b", "a#b", "a?b", "a%20b", "a%2Fb", "ä", "a+b"])
def test_an_archive_of_any_name_is_read_at_urls(tmp_path, service, name):
    with open(write_zip(tmp_path / "x.ozx", FILES), "rb") as file:
        service.objects[f"/bucket/{name}/{name}.ozx"] = file.read()
    expected = lamella.open_ome_zarr(tmp_path / "x.ozx")["1"][...]
    encoded = f"{service.endpoint}/bucket/{quote(name)}/{quote(name)}.ozx"
    for url in (encoded, f"{encoded}?signature=1", f"s3://bucket/{name}/{name}.ozx"):
        assert np.array_equal(lamella.open_ome_zarr(url)["1"][...], expected)
        assert np.array_equal(pickle.loads(pickle.dumps(lamella.open_ome_zarr(url)))["1"][...], expected)


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    return entry


def changed(path, *patches):
    """Change bytes of a file: pairs of an offset, from the end where negative, and what is put there."""
    data = bytearray(path.read_bytes())
    for at, new in patches:
        start = at if at >= 0 else len(data) + at
        data[start : start + len(new)] = new
    path.write_bytes(data)


HOSTILE = {
    "above": ("../zarr.json", "'..' part"),
    "above, inside": ("0/../../x/c/0", "'..' part"),
    "absolute": ("/etc/zarr.json", "absolute"),
    "empty part": ("a//zarr.json", "empty part"),
    "dot": ("./zarr.json", "'.' part"),
    "backslash": ("..\\zarr.json", "backslash"),
    "over-long": ("x" * 300, "300 bytes"),
    "twice": ("zarr.json", "twice"),
    "a file and a folder": ("0", "a file and a folder"),
    "a folder and a file": ("0/zarr.json/x", "a file and a folder"),
    "a link": (link("secret"), "symbolic link"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_entry_that_leads_elsewhere_has_the_archive_refused(tmp_path, kind):
    name, fault = HOSTILE[kind]
    path = write_zip(tmp_path / "x.ozx", entries=[(name, b"{}")])
    with pytest.raises(MetadataError) as raised:
        lamella.open_ome_zarr(path)
    assert fault in str(raised.value)
    assert path in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not lamella.validate(path).readable
    ran = CliRunner().invoke(main, ["info", path])
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["x.ozx"]


def test_an_archive_that_is_damaged_or_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "x.ozx"
    whole = (write_zip(path), path.read_bytes())[1]
    central = whole.index(b"PK\1\2")

    def refused(match, *patches, data=whole):
        path.write_bytes(data)
        changed(path, *patches)
        with pytest.raises(MetadataError, match=match) as raised:
            lamella.open_ome_zarr(path)
        assert str(path) in str(raised.value)
        with pytest.raises(LamellaError):
            lamella.status(path)

    for length in (0, 4, 21, len(whole) // 2, central, central + 50, len(whole) - 22, len(whole) - 1):
        refused("its end is missing", data=whole[:length])
    refused("bytes are missing, or were put before", data=b"x" * 10 + whole)
    refused("bytes are missing, or were put before", data=whole[10:])
    refused("encrypted", (central + 8, b"\1"))
    refused("method 93", (central + 10, b"\x5d"))
    refused("after decompression", (central + 24, struct.pack("<I", 1 << 30)))
    refused("in several", (central + 34, b"\2"))
    refused("in several", (-18, b"\2"))
    refused("directory is damaged", (central, b"PK\1\3"))
    refused("more entries", (-14, struct.pack("<2H", 2, 2)))
    second = whole.index(b"PK\1\2", central + 4)
    refused("overlaps", (second + 42, struct.pack("<I", 0)))


def test_bytes_that_do_not_match_their_checksum_are_damage(tmp_path):
    path = tmp_path / "x.ozx"
    for method in (STORED, DEFLATED):
        write_zip(path, method=method)
        with zipfile.ZipFile(path) as packed:
            document, chunk = (packed.getinfo(name) for name in ("1/zarr.json", "1/c/0/0/0/0/0"))
        for entry in (document, chunk):
            changed(
                path,
                (entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2, b"\xee\xee\xee"),
            )
        storage = open_storage(path)
        for entry in (document, chunk):
            with pytest.raises(DamagedDataError, match=f"{entry.filename}: .* Copy the archive again"):
                storage.read(entry.filename)
        report = lamella.verify(path)
        assert not report
        assert "1/zarr.json" in str(report)
    write_zip(path)
    with zipfile.ZipFile(path) as packed:
        changed(path, (packed.getinfo("1/zarr.json").header_offset, b"PK\3\5"))
    with pytest.raises(DamagedDataError, match="header is not where"):
        open_storage(path).read_range("1/zarr.json", 0, 4)


def test_an_entry_that_becomes_more_than_it_may_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.ozx"
    bomb = {**FILES, "0/zarr.json": b" " * 200_000 + FILES["0/zarr.json"]}
    write_zip(path, bomb, DEFLATED)
    monkeypatch.setattr(json_document, "LARGEST_DOCUMENT", 100_000)
    with pytest.raises(MetadataError, match=r"0/zarr\.json is damaged: it has"):
        lamella.open_ome_zarr(path)["0"]
    monkeypatch.undo()
    with zipfile.ZipFile(path) as packed:  # it says less than it becomes
        central = packed.start_dir
    data = path.read_bytes()
    at = data.index(b"0/zarr.json", central) - 46
    changed(path, (at + 24, struct.pack("<I", 1000)))
    with pytest.raises(DamagedDataError, match="not the 1000 bytes"):
        open_storage(path).read("0/zarr.json")


def test_nothing_is_written_to_an_archive(tmp_path, files):
    path = write_zip(tmp_path / "x.ozx")
    before = files(tmp_path)
    for name in (path, tmp_path / "x.ozx", f"{path}/0", tmp_path / "new.ozx", tmp_path / "new.zip"):
        for mode in ("r+", "a", "w", "w-"):
            with pytest.raises(ReadOnlyError, match="lamella pack"):
                lamella.open_ome_zarr(name, mode=mode, layout="fov", channel_names=["a"])
    with pytest.raises(ReadOnlyError, match="lamella pack"):
        lamella.repair(path)
    with pytest.raises(InvalidArgumentError, match="lamella pack"):
        lamella.upgrade(path, "0.6", tmp_path / "new.ozx")
    position = lamella.open_ome_zarr(path)
    for change in (position.compute_pyramid, lambda: position.create_zeros("9", (1, 1, 1, 2, 2), "u1")):
        with pytest.raises(ReadOnlyError):
            change()
    assert files(tmp_path) == before


def test_an_archive_is_read_as_it_was_when_it_was_opened(tmp_path):
    path = tmp_path / "x.ozx"
    write_zip(path)
    position = lamella.open_ome_zarr(path)
    expected = position["0"][...]
    write_zip(tmp_path / "other.ozx", {**FILES, "0/zarr.json": b"{}"})
    os.replace(tmp_path / "other.ozx", path)
    assert np.array_equal(position["0"][...], expected)
    position = lamella.open_ome_zarr(write_zip(path))
    with open(path, "ab") as file:
        file.write(b"more")
    with pytest.raises(StorageError, match=r"x\.ozx: the archive was changed since it was opened"):
        position["0"][...]


def test_an_archive_that_replaced_another_is_read_at_once(tmp_path, monkeypatch):
    sleeps = []
    monkeypatch.setattr(chunk_objects.time, "sleep", sleeps.append)
    for value in (1, 2):
        with lamella.open_ome_zarr(tmp_path / "a.zarr", "fov", "w", axes="yx", version="0.4") as position:
            position.create_zeros("0", (8, 8), "u1", chunks=(2, 2))[:] = value
        lamella.pack(tmp_path / "a.zarr", tmp_path / "new.zip")
        os.replace(tmp_path / "new.zip", tmp_path / "a.zip")
        assert (lamella.open_ome_zarr(tmp_path / "a.zip")["0"][:] == value).all()
    assert len(sleeps) <= 1  # not one for each chunk of the old archive, which are cached


def test_a_path_leads_into_an_archive(tmp_path):
    path = write_zip(tmp_path / "x.ozx", {f"A/1/0/{key}": data for key, data in FILES.items()})
    expected = lamella.open_ome_zarr(write_zip(tmp_path / "y.zip"))["0"][...]
    assert np.array_equal(lamella.open_ome_zarr(f"{path}/A/1/0")["0"][...], expected)
    with pytest.raises(MetadataError, match="has no Zarr metadata"):
        lamella.open_ome_zarr(path)
    with pytest.raises(FileNotFoundError, match=r"x\.ozx/B"):
        lamella.open_ome_zarr(f"{path}/B")
    write_files(tmp_path / "folder.ozx", FILES)
    with lamella.open_ome_zarr(tmp_path / "folder.ozx", mode="r+") as position:
        assert np.array_equal(position["0"][...], expected)
    for store in (ZipStore(tmp_path / "y.zip", mode="r"), f"zip::file://{tmp_path}/y.zip"):
        assert np.array_equal(lamella.open_ome_zarr(store)["0"][...], expected)


def test_every_command_that_reads_reads_archives(tmp_path):
    path = write_zip(tmp_path / "x.ozx")
    commands = {
        "info": ["--json"],
        "validate": [],
        "status": [],
        "verify": [],
        "checksum": ["-o", str(tmp_path / "sums")],
        "preview": ["-o", str(tmp_path / "x.png")],
        "upgrade": [str(tmp_path / "up.zarr"), "--to", "0.6"],
        "rechunk": [str(tmp_path / "re.zarr"), "--chunks", "8,8"],
    }
    for command, options in commands.items():
        ran = CliRunner().invoke(main, [command, path, *options])
        assert ran.exit_code == 0, (command, ran.output)
    assert json.loads(CliRunner().invoke(main, ["info", path, "--json"]).stdout)["name"] == "specimen"
    ran = CliRunner().invoke(main, ["verify", path, "--manifest", str(tmp_path / "sums")])
    assert ran.exit_code == 0, ran.output
