"""The contract of every reader, on every sample: pixels, description, threads, pickle, damage, resume, executors."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.formats.conftest import ALL_INSTALLED
from tests.formats.samples import check_covered

import lamella
from lamella.adapters.formats import choose_formats
from lamella.errors import SourceError
from lamella.ops.conversion.source import read_into

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from tests.formats.samples import Sample

    from lamella.readers import Container, PlaneSource


def open_sample(sample: Sample) -> Container:
    """Open a sample by its path alone, as a user does, unless its format must be named."""
    formats = choose_formats(sample.reader if sample.is_chosen else None)
    reader = formats.find(str(sample.file))
    assert reader is not None
    assert reader.name == sample.reader
    return reader.open(str(sample.file))


def planes_of(source: PlaneSource) -> list[tuple[int, ...]]:
    """The indices of all planes, or of some that spread over a large image."""
    indices = list(itertools.product(*map(range, source.description.shape[:-2])))
    return indices[:: max(1, len(indices) // 40)]


def plane(source: PlaneSource, index: tuple[int, ...], rows: slice | None = None) -> np.ndarray:
    """A plane; zeros where it is missing."""
    pixels = source.read_plane(index, rows)
    if pixels is not None:
        return pixels
    height, width = source.description.plane_shape
    return np.zeros((len(range(height)[rows or slice(None)]), width), source.description.dtype)


def test_every_reader_has_a_sample() -> None:
    assert check_covered() == []


def test_pixels_and_description_are_those_of_the_library(sample: Sample) -> None:
    with closing(open_sample(sample)) as container:
        assert len(container) == sample.images
        truth = sample.pixels(sample.file)
        for source, expected in zip(container, truth, strict=True):
            height = source.description.shape[-2]
            rows = slice(height // 3, height // 3 + max(1, height // 4))
            for index in planes_of(source):
                whole = plane(source, index)
                assert whole.dtype == source.description.dtype
                np.testing.assert_array_equal(whole, expected[index], err_msg=f"plane {index}")
                np.testing.assert_array_equal(plane(source, index, rows), expected[index][rows])
                into = np.zeros_like(whole[rows])
                read_into(source, index, rows, into)
                np.testing.assert_array_equal(into, expected[index][rows])
        assert {metadata.name for metadata in container.original} >= set(sample.original)
        assert all(metadata.text.strip() for metadata in container.original)
        check_description(container[sample.image], sample)


def check_description(source: PlaneSource, sample: Sample) -> None:
    found = source.description
    assert (found.axes, found.shape, found.dtype) == (sample.axes, sample.shape, np.dtype(sample.dtype))
    assert str(sample.root) in found.files[0] or sample.root.samefile(found.files[0])
    if sample.channels:
        assert tuple(channel.label for channel in found.channels) == sample.channels
    if sample.colors:
        assert tuple(channel.color for channel in found.channels) == sample.colors
    if sample.windows:
        assert tuple(channel.window for channel in found.channels) == sample.windows
    for name, value in sample.expected.items():
        stated = getattr(found, name)
        if isinstance(value, dict) and not any(isinstance(v, str) for v in value.values()):
            assert dict(stated) == pytest.approx(value, rel=1e-6), name
        elif isinstance(value, tuple) and value and isinstance(value[0], float):
            assert tuple(stated) == pytest.approx(value, rel=1e-6), name
        else:
            assert stated == value, name


def test_threads_pickles_and_closed_sources_read_what_one_thread_reads(sample: Sample) -> None:
    with closing(open_sample(sample)) as container:
        sources = list(container)
        tasks = [(n, index) for n, source in enumerate(sources) for index in planes_of(source)]
        tasks = tasks[:: max(1, len(tasks) // 60)]
        serial = [plane(sources[n], index) for n, index in tasks]
        with ThreadPoolExecutor(8) as threads:
            for _ in range(3):  # wrong pixels come in some runs only
                found = threads.map(lambda task: plane(sources[task[0]], task[1]), tasks)
                for pixels, expected in zip(found, serial, strict=True):
                    np.testing.assert_array_equal(pixels, expected)
        copies = [pickle.loads(pickle.dumps(source)) for source in sources]
        number, index = tasks[-1]
        np.testing.assert_array_equal(plane(copies[number], index), serial[-1])
        for copy in copies:
            copy.close()
        for source in sources:
            source.close()
        np.testing.assert_array_equal(plane(sources[number], index), serial[-1])


@pytest.mark.skipif(not ALL_INSTALLED, reason="make test-formats")
def test_a_copy_that_lacks_its_end_or_its_index_is_refused_or_complete(
    sample: Sample, tmp_path: Path
) -> None:
    options = choice(sample)
    lamella.convert(sample.file, tmp_path / "a.zarr", **options)
    whole = pixels_of(tmp_path / "a.zarr")
    kinds = {file.suffix: file for file in sample.root.rglob("*") if file.is_file()} or {"": sample.root}
    for number, (file, part) in enumerate(itertools.product(kinds.values(), (0, 0.5, -100, -1))):
        size = file.stat().st_size
        folder, out = tmp_path / str(number), tmp_path / str(number) / "out"
        folder.mkdir()
        path, _ = copy_sample(sample, folder)
        out.mkdir()
        victim = folder / sample.root.name / file.relative_to(sample.root)
        os.truncate(victim, int(size * part) if part >= 0 else max(0, size + int(part)))
        refusal = refusal_of(path, out / "a.zarr", options)
        if refusal is None:
            found = pixels_of(out / "a.zarr")
            assert found.keys() == whole.keys(), f"{victim.name} of {size} bytes, cut at {part}"
            for name, pixels in whole.items():
                np.testing.assert_array_equal(found[name], pixels, err_msg=f"{victim.name} {part}")
        else:
            assert "\n" not in refusal
            assert path.name in refusal or victim.name in refusal
            assert list(out.iterdir()) == []


def refusal_of(source: Path, store: Path, options: dict[str, Any]) -> str | None:
    """Convert; return the message if the source is refused."""
    try:
        lamella.convert(source, store, **options)
    except SourceError as error:
        return str(error)
    return None


def pixels_of(store: Path) -> dict[str, np.ndarray]:
    """The finest level of each image."""
    with lamella.open_ome_zarr(store) as node:
        images = node.positions() if isinstance(node, lamella.Plate) else [("", node)]
        return {path: np.asarray(image["0"][:]) for path, image in images}


def copy_sample(sample: Sample, folder: Path) -> tuple[Path, Path]:
    """Copy a data set; return what to convert, and the file to damage."""
    root = folder / sample.root.name
    if sample.root.is_dir():
        shutil.copytree(sample.root, root)
    else:
        shutil.copy(sample.root, root)
    path = root / sample.file.relative_to(sample.root) if sample.file != sample.root else root
    if sample.cut:
        return path, root / sample.cut
    files = [file for file in root.rglob("*") if file.is_file()] if root.is_dir() else [root]
    return path, max(files, key=lambda file: file.stat().st_size)


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_truncated_copy_is_refused_in_one_line_and_leaves_nothing(
    sample: Sample, tmp_path: Path, part: float
) -> None:
    path, cut = copy_sample(sample, tmp_path)
    with open(cut, "rb+") as file:
        file.truncate(int(cut.stat().st_size * part))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(SourceError) as raised:
        lamella.convert(path, out / "a.zarr", **choice(sample))
    assert "\n" not in str(raised.value)
    assert path.name in str(raised.value) or cut.name in str(raised.value)
    assert list(out.iterdir()) == []


def choice(sample: Sample) -> dict[str, Any]:
    """Options that convert one image, or the plate, of a sample."""
    with closing(open_sample(sample)) as container:
        is_plate = all(source.description.well for source in container)
    options: dict[str, Any] = {} if is_plate or sample.images == 1 else {"series": sample.image}
    return {**options, "format": sample.reader} if sample.is_chosen else options


def test_a_store_resumes_after_an_interrupt_and_is_the_same_on_every_executor(
    sample: Sample, tmp_path: Path, executors: list[Executor]
) -> None:
    options = choice(sample)

    def interrupt(done: float, total: float, kind: str) -> None:
        if done and kind == "planes":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lamella.convert(sample.file, tmp_path / "a.zarr", progress=interrupt, **options)
    report = lamella.convert(sample.file, tmp_path / "a.zarr", **options)
    for executor in executors:
        lamella.convert(sample.file, tmp_path / "b.zarr", executor=executor, overwrite=True, **options)
        assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")
    findings = lamella.validate(tmp_path / "a.zarr").findings
    assert [finding for finding in findings if finding.level == "MUST"] == []
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.zarr", "b.zarr"]
    if report.layout == "fov":
        (truth,) = [sample.pixels(sample.file)[options.get("series", 0)]]
        with lamella.open(tmp_path / "a.zarr") as position:
            pixels = np.asarray(position["0"][:])
            np.testing.assert_array_equal(pixels.reshape(truth.shape), truth)


def files(store: Path) -> dict[str, bytes]:
    """Every file of a store but for the name of the store, which is also that of a plate without one."""
    names = (store.name.encode(), f'"name":"{store.stem}"'.encode())
    return {
        str(path.relative_to(store)): path.read_bytes().replace(names[0], b"").replace(names[1], b"")
        for path in store.rglob("*")
        if path.is_file()
    }
