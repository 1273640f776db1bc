"""Every path argument goes through one door: a URL is never taken for a local folder, and ``~`` is the home."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from click.testing import CliRunner
from zarr.storage import MemoryStore

import lamella
from lamella import errors
from lamella.adapters.png import write_preview
from lamella.cli import main

tifffile = pytest.importorskip("tifffile")

URLS = ["s3://bucket/some.zarr", "S3://bucket/some.zarr", "https://example.org/a.png", "memory://some.zarr"]
CRIPPLED = [
    Path("s3://bucket/some.zarr"),
    "s3:/bucket/some.zarr",
    PurePosixPath("https://host/a.zarr"),
    "gs:/a",
]
WORKS = {
    "the table of convert": lambda url: lamella.convert(["a.tif"], "out.zarr", map_file=url),
    "checksum": lambda url: lamella.checksum("image.zarr", url),
    "the manifest": lambda url: lamella.verify("image.zarr", manifest=url),
    "the record": lambda url: lamella.verify("image.zarr", record=url),
    "the backup of repair": lambda url: lamella.repair("broken.zarr", backup=url),
    "preview": lambda url: write_preview(lamella.open_ome_zarr("image.zarr"), url),
}
COMMANDS = {
    "the table of convert": ["convert", "a.tif", "out.zarr", "--map", "URL"],
    "checksum": ["checksum", "image.zarr", "-o", "URL"],
    "the manifest": ["verify", "image.zarr", "--manifest", "URL"],
    "the record": ["verify", "image.zarr", "--record", "URL"],
    "the backup of repair": ["repair", "broken.zarr", "--backup", "URL"],
    "preview": ["preview", "image.zarr", "-o", "URL"],
}
OPENERS = {
    "open": lamella.open_ome_zarr,
    "create": lambda path: lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["GFP"]),
    "validate": lamella.validate,
    "verify": lamella.verify,
    "checksum": lamella.checksum,
    "status": lamella.status,
    "repair": lamella.repair,
    "upgrade": lambda path: lamella.upgrade(path, "0.4"),
    "upgrade to": lambda path: lamella.upgrade(path, "0.4", "made.zarr"),
    "rechunk": lambda path: lamella.rechunk(path, chunks=(8, 8)),
    "convert": lambda path: lamella.convert("a.tif", path),
    "convert from": lambda path: lamella.convert(path, "made.zarr"),
    "map": lambda path: _plate().map(np.asarray, output=path, name="0"),
    "from_positions": lambda path: lamella.Plate.from_positions(
        path, {"A/1/0": lamella.open_ome_zarr("image.zarr")}
    ),
}


def _make(path: str) -> None:
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP"], version="0.5"
    ) as position:
        position["0"] = np.ones((1, 1, 1, 16, 16), "uint16")


def _plate():
    return lamella.open_ome_zarr("plate.zarr")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Stand in a folder with a store, a plate, a store that repair changes, and a file to convert."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    _make("image.zarr")
    _make("broken.zarr")
    document = json.loads(Path("broken.zarr/zarr.json").read_text())
    document["attributes"]["ome"]["omero"]["channels"][0]["color"] = "#00ff00"
    Path("broken.zarr/zarr.json").write_text(json.dumps(document))
    with lamella.open_ome_zarr(
        "plate.zarr", layout="hcs", mode="w", channel_names=["GFP"], version="0.5"
    ) as plate:
        plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 16, 16), "uint16")
    tifffile.imwrite("a.tif", np.ones((16, 16), "uint16"))
    return tmp_path


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("work", WORKS)
def test_a_url_is_no_local_file(here, files, work, url):
    before = files(here)
    with pytest.raises(errors.InvalidArgumentError, match="is a URL") as caught:
        WORKS[work](url)
    assert url in str(caught.value)
    assert files(here) == before
    assert not list(here.glob("*:*"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_url_is_no_local_file_for_a_command(here, files, command):
    before = files(here)
    url = "s3://bucket/some.png"
    done = CliRunner().invoke(main, [url if word == "URL" else word for word in COMMANDS[command]])
    assert done.exit_code in (1, 2)
    assert "is a URL" in done.stderr
    assert url in done.stderr
    assert files(here) == before
    assert not list(here.glob("*:*"))


@pytest.mark.parametrize("path", CRIPPLED, ids=str)
@pytest.mark.parametrize("opener", OPENERS)
def test_a_url_that_lost_a_slash_is_refused(here, files, opener, path):
    before = files(here)
    with pytest.raises(errors.InvalidArgumentError, match="lost a slash"):
        OPENERS[opener](path)
    assert files(here) == before
    assert not list(here.glob("*:*"))


def test_a_chained_url_that_cannot_be_opened_is_refused_for_what_it_is(tmp_path):
    """A cache before a web server was "no answer came in time"; an archive that is missing was an error of fsspec."""
    with pytest.raises(
        errors.InvalidArgumentError, match=r"simplecache.*Open http://127\.0\.0\.1:9/a\.zarr itself"
    ):
        lamella.open_ome_zarr("simplecache::http://127.0.0.1:9/a.zarr")
    for archive in (f"zip::memory://none{tmp_path}.zip", f"zip::file://{tmp_path}/none.zip"):
        with pytest.raises(errors.StoreNotFoundError, match=f"There is no store at {re.escape(archive)}"):
            lamella.open_ome_zarr(archive)
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    with pytest.raises(errors.MetadataError, match=r"bad\.zip"):
        lamella.open_ome_zarr(f"zip::file://{tmp_path}/bad.zip")


@pytest.mark.parametrize("kind", ["s3", "memory", "a store", "http", "ozx"])
def test_a_store_that_is_not_there_is_no_empty_report(kind, service, tmp_path):
    """`checksum` returned an empty manifest, and `validate` found that nothing there is OME-NGFF."""
    for read in (lamella.checksum, lamella.verify, lamella.status, lamella.validate, lamella.open_ome_zarr):
        targets = {
            "s3": "s3://bucket/none.zarr",
            "memory": f"memory://none{tmp_path}",
            "a store": MemoryStore(),
            "http": f"{service.endpoint}/none.zarr",
            "ozx": tmp_path / "none.ozx",
        }
        if kind == "http" and read == lamella.validate:  # what the web has below cannot be seen
            assert not read(targets[kind])
            continue
        with pytest.raises(
            (errors.StoreNotFoundError, errors.MetadataError), match=r"no (store|Zarr metadata)"
        ):
            read(targets[kind])
        with pytest.raises((errors.StoreNotFoundError, errors.MetadataError)):
            lamella.copy_store(targets[kind], tmp_path / "copy.zarr")


@pytest.mark.parametrize("path", ["", "a\0b.zarr", b"bytes.zarr", 3, None], ids=repr)
@pytest.mark.parametrize("opener", sorted(set(OPENERS) - {"map"}))
def test_what_is_no_path_is_refused(here, files, opener, path):
    before = files(here)
    with pytest.raises((errors.InvalidArgumentError, errors.SourceError)):
        OPENERS[opener](path)
    assert files(here) == before


@pytest.mark.parametrize(
    "opener", ["open", "validate", "verify", "checksum", "status", "repair", "upgrade", "rechunk"]
)
@pytest.mark.parametrize(
    "spelled", ["~/image.zarr", Path("~/image.zarr"), "FILE", "FILE://localhost", "file:"], ids=str
)
def test_home_and_file_urls_lead_to_the_folder(here, opener, spelled):
    if str(spelled).lower().startswith("file"):
        spelled = f"{spelled}{'://' if spelled == 'FILE' else ''}{here}/image.zarr"
    OPENERS[opener](spelled)
    assert not list(here.glob("~*"))
    assert not list(here.glob("*:*"))


@pytest.mark.parametrize("command", COMMANDS)
def test_home_is_known_to_commands(here, command):
    names = {
        "checksum": "~/sums",
        "preview": "~/a.png",
        "the manifest": "~/sums",
        "the table of convert": "~/map.csv",
    }
    (here / "map.csv").write_text("file,row,column,field\na.tif,A,1,0\n")
    if command == "the manifest":
        lamella.checksum("image.zarr", here / "sums")
    words = [names.get(command, "~/made") if word == "URL" else word for word in COMMANDS[command]]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert not list(here.glob("~*"))


def test_home_is_known_to_what_makes_stores(here):
    lamella.convert("~/a.tif", "~/b.zarr")
    lamella.upgrade("~/b.zarr", "0.4", "~/c.zarr")
    _plate().map(lambda position: np.asarray(position["0"]), output="~/d.zarr", name="0")
    lamella.Plate.from_positions("~/e.zarr", {"A/1/0": lamella.open_ome_zarr("~/c.zarr")})
    assert all((here / f"{name}.zarr").is_dir() for name in "bcde")
    assert not list(here.glob("~*"))


def test_a_file_url_names_the_folder_as_it_is_spelled(here):
    """A number sign and a question mark belong to the name, and %20 is a space."""
    for name in ("a#1.zarr", "b?c.zarr", "d e.zarr"):
        _make(name)
    for spelled in ("a#1.zarr", "b?c.zarr", "d%20e.zarr"):
        assert lamella.open_ome_zarr(f"file://{here}/{spelled}")["0"].shape == (1, 1, 1, 16, 16)
    with pytest.raises(errors.InvalidArgumentError, match="another machine"):
        lamella.open_ome_zarr(f"file://host{here}/image.zarr")


def test_a_url_of_a_source_is_refused_as_such(here):
    with pytest.raises(errors.InvalidArgumentError, match=r"https://example\.org/a\.tif is a URL"):
        lamella.convert("https://example.org/a.tif", "made.zarr")
    assert not Path("made.zarr").exists()


WRITERS = {
    "map": lambda url, function: _plate().map(function, output=url, name="0"),
    "from_positions": lambda url, _: OPENERS["from_positions"](url),
    "create": lambda url, _: OPENERS["create"](url),
    "edit": lambda url, _: lamella.open_ome_zarr(url, mode="r+"),
    "repair": lambda url, _: lamella.repair(url),
}


@pytest.mark.parametrize("work", WRITERS)
def test_the_web_is_not_written_and_that_is_said_before_anything_is_done(here, files, work):
    before, called, url = files(here), [], "http://127.0.0.1:9/made.zarr"

    def function(position):
        called.append(position)
        return np.asarray(position["0"])

    with pytest.raises(errors.ReadOnlyError, match=url):
        WRITERS[work](url, function)
    assert not called
    assert files(here) == before
