"""Law: a conversion on any executor gives the pixels, levels, contrast and documents of one in this process."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from tests.array_source import ArraySource

import lamella
from lamella.errors import InvalidArgumentError, SourceError
from lamella.ops.conversion.convert import convert

if TYPE_CHECKING:
    from pathlib import Path

tifffile = pytest.importorskip("tifffile")


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small images cut into units as large ones are."""
    monkeypatch.setattr("lamella.ops.conversion.layout.BLOCK_BYTES", 20_000)
    monkeypatch.setattr("lamella.store.metadata.array_creation.SHARD_BYTES", 20_000)
    monkeypatch.setattr("lamella.ops.conversion.write._LARGE_UNIT_BYTES", 20_000)
    for module in ("lamella.ops.conversion.write", "lamella.ops.pyramids.passes"):
        monkeypatch.setattr(f"{module}.UNIT_BYTES", 150_000)


def random_pixels(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, 999, shape).astype(dtype)


def documents(store: Path) -> dict[str, bytes]:
    """Every document of a store."""
    found = {
        str(f.relative_to(store)): f.read_bytes()
        for f in store.rglob("*")
        if f.name in ("zarr.json", ".zattrs")
    }
    assert found
    return found


def assert_same(there: Path, here: Path, positions: list[str]) -> None:
    assert documents(there) == documents(here)
    assert {f.relative_to(there) for f in there.rglob("*")} == {f.relative_to(here) for f in here.rglob("*")}
    for path in positions:
        one, other = lamella.open_ome_zarr(there / path), lamella.open_ome_zarr(here / path)
        for level in one.dataset_paths:
            assert_array_equal(one[level][:], other[level][:])


@pytest.mark.parametrize(("version", "dtype"), [("0.4", "uint16"), ("0.5", "float32")])
def test_a_large_image_is_written_in_parts(
    tmp_path: Path, executor: Any, version: Any, dtype: str, small_units: None
) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        random_pixels((2, 21, 130, 90), dtype),
        photometric="minisblack",
        compression="zlib",
        metadata={"axes": "CZYX"},
    )
    seen: list[tuple[float, int, str]] = []
    options = {"levels": 4, "chunks": (4, 32, 32), "version": version}
    told = convert(
        tmp_path / "a.ome.tif",
        tmp_path / "there.zarr",
        executor=executor,
        progress=lambda *step: seen.append(step),
        **options,
    )
    assert len([step for step in seen if step[2] == "planes"]) > 2  # several units
    assert seen[-1][:2] == (42, 42)
    assert told.levels == 4
    convert(tmp_path / "a.ome.tif", tmp_path / "here.zarr", jobs=1, **options)
    assert_same(tmp_path / "there.zarr", tmp_path / "here.zarr", [""])


def test_many_images_are_units_of_their_own(tmp_path: Path, executor: Any) -> None:
    names = [f"{row}{column}_f{field}" for row in "AB" for column in (1, 2) for field in (0, 1)]
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 99, (300, 280, 3)).astype("uint8")
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="rgb")
    regex = r"(?P<row>[A-Z])(?P<col>\d+)_f(?P<field>\d)"
    sources = [tmp_path / f"{name}.tif" for name in names]
    told = convert(sources, tmp_path / "there.zarr", well_regex=regex, executor=executor)
    assert (told.images, told.levels) == (8, 2)
    convert(sources, tmp_path / "here.zarr", well_regex=regex)
    paths = [f"{name[0]}/{name[1]}/{name[-1]}" for name in names]
    # Both stores were given a name of their own by their path.
    (there, here) = (tmp_path / name / "zarr.json" for name in ("there.zarr", "here.zarr"))
    there.write_bytes(there.read_bytes().replace(b'"there"', b'"here"'))
    assert there.read_bytes() == here.read_bytes()
    assert_same(tmp_path / "there.zarr", tmp_path / "here.zarr", paths)


def test_a_failure_in_a_worker_leaves_nothing(tmp_path: Path, executor: Any, small_units: None) -> None:
    path = tmp_path / "damaged.tif"
    tifffile.imwrite(path, random_pixels((20, 130, 90)), photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[17].dataoffsets[0]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(bytes(300))
    with pytest.raises(SourceError, match=r"damaged\.tif is damaged"):
        convert(path, tmp_path / "out.zarr", executor=executor)
    assert [p.name for p in tmp_path.iterdir()] == ["damaged.tif"]


class HeldSource(ArraySource):
    """A source that holds what cannot be sent anywhere."""

    def __init__(self) -> None:
        super().__init__(np.zeros((8, 8), "uint8"), "yx")
        self.handle = lambda: None


def test_a_source_that_cannot_be_sent_is_refused(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # noqa: SIM117 (its process is never begun)
        with pytest.raises(InvalidArgumentError, match="cannot send work"):
            convert(HeldSource(), tmp_path / "out.zarr", executor=pool)
    assert list(tmp_path.iterdir()) == []
