"""Laws: what an archive holds is read by key. No entry leads out of it, and none costs more memory than it may."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zarr
from torture.specimens import specimen, write_files

import lamella
from lamella.errors import LamellaError, MetadataError
from lamella.store.metadata.json_document import LARGEST_DOCUMENT

ROOT = Path(__file__).parents[2]
DOCUMENT = b'{"zarr_format":3,"node_type":"group","attributes":{}}'


def link(name):
    """Describe an entry that is a symbolic link to those who unpack archives."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    return entry


#: Entries that lead somewhere else where archives are unpacked without a look.
HOSTILE = {
    "above": ["../zarr.json", "../secret.zarr/zarr.json", "0/../../secret.zarr/c/0"],
    "absolute": ["/zarr.json", "//zarr.json", "/etc/zarr.json"],
    "a part that is empty or a dot": ["a//zarr.json", "./zarr.json", "a/./zarr.json"],
    "of Windows": ["C:\\zarr.json", "C:/zarr.json", "..\\zarr.json", "a\\zarr.json"],
    "NUL": ["d\0.txt", "b\0/zarr.json"],
    "not text": ["\ud800/zarr.json".encode("utf-8", "surrogatepass").decode("latin-1"), "\x1b[2J/zarr.json"],
    "over-long": ["x" * 300 + "/zarr.json", "y/" * 200 + "zarr.json"],
    "another case": ["ZARR.JSON", "0/ZARR.JSON", "0/C/0/0/0/0/0"],
    "links": ["link/zarr.json", "link", "secret"],
    "folders": ["0/", "d/", "../"],
}


def pack(path, entries=(), data=DOCUMENT):
    """Write an archive of an image, with more entries."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as packed:
        warnings.simplefilter("ignore")  # some stand there twice
        for key, content in specimen("image 0.5").items():
            packed.writestr(key, content)
        for name in entries:
            packed.writestr(link(name) if "link" in name or "secret" in name else name, data)
    return path


def opened(path, mode="r"):
    return lamella.open_ome_zarr(zarr.storage.ZipStore(path, mode=mode), mode="r" if mode == "r" else "r+")


def outside(folder, archive):
    return {str(p): p.is_file() and p.read_bytes() for p in folder.rglob("*") if p != archive}


@pytest.fixture
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "a.zarr"
    write_files(folder, specimen("image 0.5"))
    return lamella.open_ome_zarr(folder)["0"][...]


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("mode", ["r", "a"])
def test_entries_that_lead_elsewhere_are_nothing_to_a_store(tmp_path, kind, mode, expected):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.zarr").mkdir()
    (tmp_path / "secret.zarr" / "zarr.json").write_bytes(DOCUMENT)
    archive = pack(
        folder / "a.zip", HOSTILE[kind], b"../secret.zarr/zarr.json" if kind == "links" else DOCUMENT
    )
    before = outside(tmp_path, archive)
    position = opened(archive, mode)
    assert np.array_equal(position["0"][...], expected)
    assert position.dataset_paths == ["0", "1"]
    for name in HOSTILE[kind]:
        for asked in (name, name.rpartition("/")[0]):
            with_lamella_errors_only(position.__getitem__, asked)
    with_lamella_errors_only(list, position)
    with_lamella_errors_only(lamella.validate, position)
    with_lamella_errors_only(position.print_tree)
    if mode == "a":
        with_lamella_errors_only(position.set_contrast_limits, "none", {})
    position.close()
    assert outside(tmp_path, archive) == before


def with_lamella_errors_only(ask, *arguments):
    with suppress(LamellaError):
        ask(*arguments)


def test_of_entries_that_stand_there_twice_the_last_one_counts(tmp_path):
    archive = pack(tmp_path / "a.zip", ["zarr.json"])
    with pytest.raises((LamellaError, KeyError)):
        opened(archive)["0"]["nothing"]
    archive = pack(tmp_path / "b.zip", ["zarr.json", "zarr.json"], specimen("image 0.5")["zarr.json"])
    assert opened(archive)["0"].shape == (2, 2, 3, 16, 16)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # a zip file appends
def test_a_writable_archive_keeps_what_it_has_and_gets_what_is_written(tmp_path, expected):
    archive = pack(tmp_path / "a.zip", [*HOSTILE["above"], *HOSTILE["links"]])
    before = outside(tmp_path, archive)
    position = opened(archive, "a")
    with pytest.warns(UserWarning, match="stored beside the levels"):  # it is larger than the last one
        position.create_image("new", np.full((2, 2, 3, 16, 16), 7, "u2"))
    position.documents.storage.store.close()
    again = opened(archive)
    assert (again["new"][...] == 7).all()
    assert np.array_equal(again["0"][...], expected)
    assert outside(tmp_path, archive) == before


MEASURED = """
import re, resource, sys, lamella, zarr
from pathlib import Path
from lamella.errors import LamellaError
kind, path = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
target = zarr.storage.ZipStore(path, mode="r") if kind == "zip" else path
try:
    node = lamella.open_ome_zarr(target)
    print(node["0"].shape, "READ")
except LamellaError as error:
    print(type(error).__name__, error)
# Not ru_maxrss, which a process takes over from the one that started it.
print("PEAK", int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
@pytest.mark.parametrize(
    ("kind", "key"), [("zip", "0/zarr.json"), ("folder", "zarr.json"), ("folder", "0/zarr.json")]
)
def test_a_document_that_becomes_gigabytes_is_refused_in_bounded_memory(tmp_path, kind, key):
    size = 1 << 40 if kind == "folder" else 4 * LARGEST_DOCUMENT
    path = tmp_path / ("a.zip" if kind == "zip" else "a.zarr")
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for name, content in specimen("image 0.5").items():
                if name != key:
                    packed.writestr(name, content)
            with packed.open(key, "w", force_zip64=True) as entry:
                for _ in range(size >> 20):
                    entry.write(b" " * (1 << 20))
    else:
        write_files(path, specimen("image 0.5"))
        os.truncate(path / key, size)  # a hole: it takes no room on the disk
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, kind, path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    text, _, peak = ran.stdout.strip().rpartition("PEAK")
    assert f"/{key} is damaged: it has" in text, ran.stdout + ran.stderr[-1000:]
    assert "MetadataError" in text
    assert int(peak) < (4 * LARGEST_DOCUMENT >> 20)


def test_a_document_beyond_the_limit_is_refused_wherever_it_comes_from(monkeypatch):
    from lamella.store.metadata import json_document

    monkeypatch.setattr(json_document, "LARGEST_DOCUMENT", 1000)
    with pytest.raises(MetadataError, match=r"it has 1\.2 KiB, and documents have at most 1000 bytes"):
        json_document.parse_object(b" " * 1200 + b"{}", "A/1", "zarr.json")
