"""Law: a conversion that was killed goes on with what is not written, and its store is that of an uninterrupted one."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.warm import run

from lamella.ops.conversion import write
from lamella.ops.conversion.convert import convert
from lamella.ops.conversion.planes import PlanesArray

if TYPE_CHECKING:
    from pathlib import Path

tifffile = pytest.importorskip("tifffile")

CHILD = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from lamella.ops.conversion import layout, write
from lamella.ops.conversion.convert import convert
from lamella.ops.conversion.planes import PlanesArray
from lamella.ops.pyramids import passes
assert write._SMALL_BYTES and write.UNIT_BYTES and write._LARGE_UNIT_BYTES and layout.BLOCK_BYTES and passes.BLOCK_BYTES
write._SMALL_BYTES = 0
write.UNIT_BYTES = write._LARGE_UNIT_BYTES = layout.BLOCK_BYTES = passes.BLOCK_BYTES = int(sys.argv[3])
read, seen, after = PlanesArray.read, set(), int(sys.argv[4])
def killed(self, region, out):
    seen.add((self.source.description.name, region[0].start))
    if len(seen) > after:
        os.kill(os.getpid(), signal.SIGKILL)
    read(self, region, out)
PlanesArray.read = killed
version, where = sys.argv[5], sys.argv[6]
pool = ThreadPoolExecutor(1) if where == "executor" else None
convert(sys.argv[1], sys.argv[2], chunks=(16, 16), shards=(32, 32) if version == "0.5" else None, levels=3,
        version=version, jobs=1, executor=pool, well_regex=(sys.argv[7] or None))
"""
SHAPE = (6, 2, 64, 96)
PART = 64 * 96 * 2
"""Bytes of a plane of 16 bits, the most that a part of the image, or a block, may have."""
WELLS = r"(?P<row>[A-Z])(?P<column>[0-9]+)"


def options(version: str) -> dict[str, Any]:
    return {
        "chunks": (16, 16),
        "shards": (32, 32) if version == "0.5" else None,
        "levels": 3,
        "version": version,
    }


def pixels(seed: int = 0, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 999, SHAPE).astype(dtype)


@pytest.fixture(params=["uint16", "float32"])
def source(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "film.ome.tif"
    tifffile.imwrite(path, pixels(dtype=request.param), metadata={"axes": "TCYX"}, ome=True)
    return path


@pytest.fixture(params=["0.4", "0.5"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["threads", "executor"])
def where(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Units of the sources that are computed, in small parts."""
    found: list[Any] = []
    compute = write.compute_unit

    def watched(unit: Any) -> Any:
        found.append(unit.region)
        return compute(unit)

    monkeypatch.setattr(write, "compute_unit", watched)
    monkeypatch.setattr(write, "_SMALL_BYTES", 0)  # no image is too small to be cut
    monkeypatch.setattr(write, "UNIT_BYTES", PART)
    monkeypatch.setattr(write, "_LARGE_UNIT_BYTES", PART)
    return found


def killed(
    source: Path, target: Path, after: int, version: str, where: str = "threads", wells: str = ""
) -> None:
    """Convert in a process that is killed when so many time points, or images, are written."""
    done = run(CHILD, source, target, PART, after, version, where, wells)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not target.exists()


def again(source: Path, target: Path, version: str, where: str = "threads", **given: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        convert(
            source,
            target,
            jobs=1,
            executor=pool if where == "executor" else None,
            **options(version),
            **given,
        )


def files(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def assert_uninterrupted(source: Path, target: Path, version: str, **given: Any) -> None:
    expected = target.parent / "expected" / target.name
    again(source, expected, version, **given)
    assert files(target) == files(expected)
    assert sorted(path.name for path in target.parent.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("source", "version", "where"),
    [("uint16", "0.5", "executor"), ("float32", "0.4", "threads")],
    indirect=True,
)
def test_what_is_written_is_not_written_again(
    tmp_path: Path, source: Path, version: str, where: str, computed: list[Any]
) -> None:
    target = tmp_path / "film.zarr"
    killed(source, target, 3, version, where)
    again(source, target, version, where)
    times = sorted({t for region in computed for t in range(region[0].start, region[0].stop)})
    assert times == [3, 4, 5]
    assert_uninterrupted(source, target, version)


@pytest.mark.parametrize(
    ("source", "version", "after"),
    [("uint16", "0.5", 5), ("float32", "0.4", 0)],
    indirect=["source", "version"],
)
def test_a_kill_anywhere_is_gone_on_with(tmp_path: Path, source: Path, after: int, version: str) -> None:
    target = tmp_path / "film.zarr"
    for blocks in (after, 0):  # the second call resumes, and has less to do
        killed(source, target, blocks, version)
    again(source, target, version)
    assert_uninterrupted(source, target, version)


def test_a_source_that_changed_is_converted_anew(tmp_path: Path, source: Path, computed: list[Any]) -> None:
    target = tmp_path / "film.zarr"
    killed(source, target, 3, "0.5")
    tifffile.imwrite(source, pixels(1, "uint16"), metadata={"axes": "TCYX"}, ome=True)
    again(source, target, "0.5")
    assert sorted({region[0].start for region in computed}) == list(range(6))  # nothing is resumed
    assert_uninterrupted(source, target, "0.5")


@pytest.mark.parametrize("source", ["float32"], indirect=True)
def test_other_settings_begin_anew(tmp_path: Path, source: Path, computed: list[Any]) -> None:
    target = tmp_path / "film.zarr"
    killed(source, target, 3, "0.5")
    again(source, target, "0.4")
    assert sorted({region[0].start for region in computed}) == list(range(6))
    assert_uninterrupted(source, target, "0.4")


@pytest.mark.parametrize(("source", "version"), [("uint16", "0.5"), ("float32", "0.4")], indirect=True)
def test_a_file_that_was_cut_off_or_is_gone_is_written_again(
    tmp_path: Path, source: Path, version: str, computed: list[Any]
) -> None:
    target = tmp_path / "film.zarr"
    killed(source, target, 5, version)
    [begun] = tmp_path.glob(".*/store")
    separator = "c/" if version == "0.5" else ""
    first = begun / "1" / separator / "0/0/0/0"
    second = begun / "0" / separator / "2/1/1/1"
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    again(source, target, version)
    assert sorted({region[0].start for region in computed}) == [0, 2, 5]
    assert_uninterrupted(source, target, version)


@pytest.mark.parametrize("change", ["table", "series", "axes"])
@pytest.mark.usefixtures("computed")
def test_another_image_or_order_of_the_same_files_begins_anew(tmp_path: Path, change: str) -> None:
    images = np.arange(2 * 4 * 64 * 64, dtype="uint16").reshape(2, 4, 64, 64)
    source, target = tmp_path / "films.tif", tmp_path / "out.zarr"
    first: dict[str, Any]
    if change == "table":
        source = tmp_path
        for number, plane in enumerate(images.reshape(8, 64, 64)):
            tifffile.imwrite(tmp_path / f"{number}.tif", plane)
        for name, order in (("first", (0, 1, 2, 3)), ("second", (1, 0, 2, 3))):
            rows = [f"{number}.tif,A,{number // 4 + 1},{order[number % 4]}" for number in range(8)]
            (tmp_path / name).write_text("\n".join(["file,row,column,z", *rows]))
        first, second = {"map_file": tmp_path / "first"}, {"map_file": tmp_path / "second"}
    elif change == "series":
        with tifffile.TiffWriter(source) as writer:
            for image in images:
                writer.write(image, photometric="minisblack")
        first, second = {"series": 0}, {"series": 1}
    else:
        tifffile.imwrite(source, images.reshape(4, 2, 64, 64).repeat(2, axis=1), photometric="minisblack")
        first, second = {"axes": "tzyx"}, {"axes": "ztyx"}

    def interrupt(done: float, total: int, noun: str) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    layout: dict[str, Any] = {"chunks": (64, 64), "shards": "none", "jobs": 1}
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, **first, **layout, progress=interrupt)
    convert(source, target, **second, **layout)
    expected = tmp_path / "expected" / "out.zarr"
    convert(source, expected, **second, **layout)
    assert files(target) == files(expected)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the sources that pixels are read of, for the store or for the contrast."""
    found: set[str] = set()

    def watched(name: str) -> None:
        original = getattr(PlanesArray, name)

        def call(self: Any, *args: Any, **kwargs: Any) -> None:
            found.add(self.source.description.name)
            original(self, *args, **kwargs)

        monkeypatch.setattr(PlanesArray, name, call)

    watched("read")
    watched("sample")
    return found


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of four images, two of which are written when the process is killed."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(("A1", "A2", "B1", "B2")):
        tifffile.imwrite(folder / f"{name}.tif", pixels(number)[0, 0])
    return folder


@pytest.mark.parametrize("version", ["0.5"], indirect=True)
def test_images_of_a_plate_that_are_complete_are_not_read_again(
    tmp_path: Path, images: Path, version: str, read: set[str]
) -> None:
    target = tmp_path / "plate.zarr"
    killed(images, target, 2, version, wells=WELLS)
    again(images, target, version, well_regex=WELLS)
    assert read == {"B1.tif", "B2.tif"}
    assert_uninterrupted(images, target, version, well_regex=WELLS)


@pytest.mark.parametrize("version", ["0.4"], indirect=True)
def test_a_complete_image_whose_file_is_gone_is_written_again(
    tmp_path: Path, images: Path, version: str, read: set[str]
) -> None:
    target = tmp_path / "plate.zarr"
    killed(images, target, 2, version, wells=WELLS)
    [begun] = tmp_path.glob(".*/store")
    next(path for path in (begun / "A/1/0/1").rglob("*") if path.name.isdigit() and path.is_file()).unlink()
    again(images, target, version, well_regex=WELLS)
    assert read == {"A1.tif", "B1.tif", "B2.tif"}
    assert_uninterrupted(images, target, version, well_regex=WELLS)
