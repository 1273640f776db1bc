"""Law: verify finds whatever cannot be read, and with a manifest whatever is not what it was; nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import zarr

import lamella
from lamella.errors import DamagedDataError, InvalidArgumentError, InvalidNameError, StoreNotFoundError
from lamella.ops.integrity.checksum import manifest_lines, read_manifest, write_manifest


def pixel_arrays(path):
    documents = [*path.rglob(".zarray"), *path.rglob("zarr.json")]
    return [one for one in documents if one.name == ".zarray" or '"array"' in one.read_text()]


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def plate(request, tmp_path):
    path = tmp_path / "plate.zarr"
    layout = {} if request.param == "0.4" else {"shards_ratio": (1, 1, 1, 2, 2)}
    noise = np.random.default_rng(0).integers(0, 9999, (1, 1, 1, 16, 16), dtype="uint16")
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["a"], version=request.param
    ) as plate:
        for row in "AB":
            position = plate.create_position(row, "1", "0")
            position.create_image("0", noise, chunks=(1, 1, 1, 8, 8), **layout)
            position.compute_pyramid(2)
        position.labels.create("cells", noise[:, 0])
    return path


def pixel_files(path):
    return sorted(
        f for f in path.rglob("*") if f.is_file() and not f.name.startswith(".") and f.suffix != ".json"
    )


def test_a_whole_store_is_whole_and_all_of_it_was_read(plate):
    report = lamella.verify(plate)
    assert report
    assert report.arrays == len(pixel_arrays(plate))
    assert report.files == len(pixel_files(plate))
    assert report.nbytes == sum(f.stat().st_size for f in pixel_files(plate))
    assert "all whole" in str(report)


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_damaged_file_is_named_and_the_others_are_read(plate, jobs):
    files = pixel_files(plate)
    cut = [files[0], files[-1]]
    for file in cut:
        file.write_bytes(file.read_bytes()[:-7])
    report = lamella.verify(plate, jobs=jobs)
    assert not report
    assert [one.key for one in report.damage] == sorted(str(f.relative_to(plate)) for f in cut)
    assert report.files == len(files)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_damage_beyond_the_edge_of_the_image_is_found(tmp_path, version):
    compressor = {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1, "blocksize": 1 << 16}
    path = tmp_path / "a.zarr"
    with lamella.open_ome_zarr(path, "fov", "w-", ["a"], version=version) as image:
        pixels = np.random.default_rng(0).integers(0, 99, (1, 1, 4, 256, 256)).astype("u2")
        array = image.create_image("0", pixels, chunks=pixels.shape, compressor=compressor)
        array.resize((1, 1, 1, 256, 256))
    (chunk,) = (file for file in (path / "0").rglob("*") if file.name == "0" and file.is_file())
    data = chunk.read_bytes()
    chunk.write_bytes(data[:-20] + bytes(b ^ 255 for b in data[-20:]))
    assert "is damaged" in str(lamella.verify(path))
    image = lamella.open_ome_zarr(path, mode="r+")
    assert np.array_equal(image["0"][0, 0, 0, :9], pixels[0, 0, 0, :9])
    with pytest.raises(DamagedDataError):
        image["0"][0, 0, 0, :9] = 1


def test_damaged_documents_are_named(plate):
    document = next(f for f in (plate / "A/1/0").iterdir() if f.name in ("zarr.json", ".zattrs"))
    document.write_bytes(document.read_bytes()[:-3])
    report = lamella.verify(plate)
    assert [one.key for one in report.damage] == [str(document.relative_to(plate))]


def test_processes_find_the_same(plate):
    file = pixel_files(plate)[0]
    file.write_bytes(file.read_bytes()[:-7])
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert lamella.verify(plate, executor=pool) == lamella.verify(plate, jobs=1)


def test_a_file_that_no_key_names_is_no_reason_to_stop(plate):
    (plate / "with\\backslash").write_text("")
    assert lamella.verify(plate)
    with pytest.raises(InvalidNameError, match="backslash"):
        lamella.checksum(plate)


def test_a_part_of_a_store_is_verified_alone(plate):
    broken = plate / "B"
    for file in pixel_files(broken):
        file.write_bytes(b"")
    with lamella.open_ome_zarr(plate) as node:
        assert lamella.verify(node["A"])
        assert not lamella.verify(node["B"])


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreNotFoundError):
        lamella.verify(tmp_path / "nothing.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InvalidArgumentError, match="no Zarr group or array"):
        lamella.verify(tmp_path / "empty.zarr")
    group = zarr.open_group(tmp_path / "other.zarr", mode="w", zarr_format=2)
    with pytest.raises(InvalidArgumentError, match="nothing was verified"):
        lamella.verify(tmp_path / "other.zarr")
    group.create_array("pixels", data=np.ones((2, 2), "uint8"))
    assert lamella.verify(tmp_path / "other.zarr").arrays == 1


# -- manifests ---------------------------------------------------------------------------------------------------


def test_a_manifest_names_every_file_with_its_sum(plate, tmp_path):
    digests = lamella.checksum(plate)
    assert list(digests) == sorted(str(f.relative_to(plate)) for f in plate.rglob("*") if f.is_file())
    write_manifest(digests, tmp_path / "manifest")
    assert read_manifest(tmp_path / "manifest") == digests
    assert lamella.verify(plate, manifest=tmp_path / "manifest")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="GNU coreutils are the oracle")
def test_coreutils_agree(plate, tmp_path):
    (plate / "notes\nof two lines.txt").write_text("x")
    write_manifest(lamella.checksum(plate), tmp_path / "manifest")
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", tmp_path / "manifest"],
        cwd=plate,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert lamella.verify(plate, manifest=tmp_path / "manifest")


def test_a_flipped_bit_a_missing_and_a_new_file_are_told_apart(plate, tmp_path):
    write_manifest(lamella.checksum(plate), tmp_path / "manifest")
    flipped, removed, *_ = pixel_files(plate)
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    removed.unlink()
    (plate / "new").write_text("")
    report = lamella.verify(plate, manifest=tmp_path / "manifest")
    assert {one.key: one.found.split(":")[0] for one in report.damage} == {
        str(flipped.relative_to(plate)): "is not what it was",
        str(removed.relative_to(plate)): "is missing",
    }
    assert report.added == ("new",)


def test_a_manifest_replaces_files_alone(tmp_path):
    """`checksum -o /dev/null` replaced the device of the whole machine."""
    lamella.open_ome_zarr(tmp_path / "a.zarr", "fov", "w", ["GFP"]).close()
    folder, pipe, link = (tmp_path / name for name in ("folder", "pipe", "link"))
    folder.mkdir()
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for place in (folder, pipe, link):
        before = os.lstat(place).st_ino
        with pytest.raises(InvalidArgumentError, match=f"the manifest {place}: it is a "):
            lamella.checksum(tmp_path / "a.zarr", place)
        assert os.lstat(place).st_ino == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "folder", "link", "pipe"]


def test_a_manifest_replaces_no_other_file(tmp_path):
    lamella.open_ome_zarr(tmp_path / "a.zarr", "fov", "w", ["GFP"]).close()
    notes = tmp_path / "notes.txt"
    notes.write_text("three weeks of work")
    with pytest.raises(InvalidArgumentError, match=r"notes.txt: a file that is no manifest has this name"):
        lamella.checksum(tmp_path / "a.zarr", notes)
    assert notes.read_text() == "three weeks of work"
    for _ in range(2):  # a manifest is replaced
        assert lamella.checksum(tmp_path / "a.zarr", tmp_path / "m") == read_manifest(tmp_path / "m")


def test_a_copy_on_another_machine_has_the_same_manifest(plate, tmp_path):
    copy = tmp_path / "elsewhere" / "copy.zarr"
    shutil.copytree(plate, copy)
    assert list(manifest_lines(lamella.checksum(copy, jobs=1))) == list(
        manifest_lines(lamella.checksum(plate, jobs=4))
    )


@pytest.mark.parametrize("text", ["not a manifest", "abc  file", "g" * 64 + "  file"])
def test_what_is_no_manifest_is_refused(plate, tmp_path, text):
    (tmp_path / "manifest").write_text(text)
    with pytest.raises(InvalidArgumentError, match="has no checksum and name in line 1"):
        lamella.verify(plate, manifest=tmp_path / "manifest")


def test_files_that_are_being_written_are_in_no_manifest(plate):
    before = lamella.checksum(plate)
    (plate / ".lamella-0-0-0.tmp").write_text("half")
    assert lamella.checksum(plate) == before
