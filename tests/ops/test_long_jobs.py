"""Every operation that may take long: jobs, executor, progress, interruption and resuming, promised by one table."""

from __future__ import annotations

import inspect
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile

import lamella
from lamella.errors import InvalidArgumentError, WrongTypeError


def mean_of(position):
    return position["0"][:].mean()


def plus_one(position):
    return position["0"][:] + 1


def region_plus_one(region):
    return region + 1


def image(folder, mode="r+"):
    return lamella.open_ome_zarr(folder / "plate.zarr" / "A" / "1" / "0", mode=mode)


def plate(folder, mode="r+"):
    return lamella.open_ome_zarr(folder / "plate.zarr", mode=mode)


def update(folder, **options):
    with image(folder) as position:
        if len(position.dataset_paths) == 1:
            position.compute_pyramid(levels=2)
        position["0"][:] = position["0"][:] + 1
        position.update_pyramid(**options)


def copy(folder, **options):
    sources = dict(plate(folder, "r").positions())
    lamella.Plate.from_positions(folder / "new.zarr", sources, **options).close()


OPERATIONS = {
    "convert": lambda f, **o: lamella.convert(
        f / "a.tif", f / "new.zarr", chunks=(1, 8, 8), shards="none", **o
    ),
    "upgrade": lambda f, **o: lamella.upgrade(f / "plate.zarr", "0.4", f / "new.zarr", **o),
    "rechunk": lambda f, **o: lamella.rechunk(f / "plate.zarr", f / "new.zarr", chunks=(1, 16, 16), **o),
    "from_positions": copy,
    "map": lambda f, **o: plate(f).map(plus_one, output=f / "new.zarr", **o),
    "map of regions": lambda f, **o: plate(f).map(
        region_plus_one, over="regions", output=f / "new.zarr", **o
    ),
    "compute_pyramid": lambda f, **o: image(f).compute_pyramid(levels=2, **o),
    "compute_pyramid of a plate": lambda f, **o: plate(f).compute_pyramid(levels=2, **o),
    "update_pyramid": update,
    "compute_contrast": lambda f, **o: plate(f).compute_contrast(**o),
    "verify": lambda f, **o: lamella.verify(f / "plate.zarr", record=f / "record", **o),
    "checksum": lambda f, **o: lamella.checksum(f / "plate.zarr", f / "sums", **o),
    "validate": lambda f, **o: lamella.validate(f / "plate.zarr", pixels=True, **o),
    "status": lambda f, **o: lamella.status(f / "plate.zarr", **o),
}
"""Each is given a folder with a plate and a TIFF file."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with lamella.open_ome_zarr(
        folder / "plate.zarr",
        layout="hcs",
        mode="w",
        channel_names=["GFP"],
        axes=lamella.models.axes("cyx"),
        version="0.5",
    ) as node:
        for number, row in enumerate("AB"):
            pixels = np.random.default_rng(number).integers(0, 999, (1, 32, 32)).astype("uint16")
            node.create_position(row, "1", "0").create_image("0", pixels, chunks=(1, 8, 8))
    tifffile.imwrite(folder / "a.tif", pixels)
    return folder


@pytest.fixture
def folders(made, tmp_path):
    """Return new copies of the folder."""

    def copied(name):
        return shutil.copytree(made, tmp_path / name)

    return copied


def test_all_take_the_same_keywords_and_say_what_to_pass(made, files):
    before = files(made)
    for name, operation in OPERATIONS.items():
        with pytest.raises(InvalidArgumentError, match=r"Pass ThreadPoolExecutor\(4\)"):
            operation(made, executor=4)
        for jobs in (0, "2"):
            with pytest.raises(
                InvalidArgumentError, match=f"jobs={jobs!r} is not a number of workers from 1"
            ):
                operation(made, jobs=jobs)
        if name != "update_pyramid":  # which writes level 0 here
            with pytest.raises(WrongTypeError, match="progress=3 is neither True, for a bar, nor a function"):
                operation(made, progress=3)
        assert files(made) == before or name == "update_pyramid", name
        before = files(made)
    for function in (lamella.convert, lamella.upgrade, lamella.rechunk, lamella.verify, lamella.status):
        kinds = inspect.signature(function).parameters
        assert all(
            kinds[word].kind is inspect.Parameter.KEYWORD_ONLY for word in ("jobs", "executor", "progress")
        )


@pytest.mark.parametrize("name", OPERATIONS)
def test_progress_only_grows_and_an_executor_gives_the_same(name, folders, files):
    told = []
    with ThreadPoolExecutor(2) as pool:
        first = OPERATIONS[name](
            there := folders("there"), executor=pool, progress=lambda *now: told.append(now)
        )
    second = OPERATIONS[name](here := folders("here"), jobs=1, progress=True)
    assert told
    for what in {what for _, _, what in told}:
        done = [now[0] for now in told if now[2] == what]
        assert done == sorted(done), (what, done)
    done, total, what = told[-1]
    assert total in (0, done), told
    assert isinstance(what, str)
    if name.startswith("map"):  # the output has the digest of the files that were read in it
        assert all(
            np.array_equal(one["0"][:], other["0"][:])
            for (_, one), (_, other) in zip(first.output.positions(), second.output.positions(), strict=True)
        )
    else:
        assert files(there) == files(here)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_interrupt_stops_it_and_the_same_call_completes_it(name, folders, files):
    folder, units = folders("cut"), []

    def interrupt(done, total, what):
        units.append(what)
        if len(units) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        OPERATIONS[name](folder, jobs=1, progress=interrupt)
    assert len(units) == 2
    if not name.startswith("map"):
        assert not (folder / "new.zarr").exists()
    OPERATIONS[name](folder, jobs=1)
    assert not [file for file in folder.rglob("*") if "rewrite" in file.name and file.is_dir()]
    if name == "update_pyramid":
        assert not image(folder).stale_levels
        assert lamella.validate(folder / "plate.zarr", pixels=True)
    elif not name.startswith("map"):
        OPERATIONS[name](whole := folders("whole"), jobs=1)
        assert files(folder) == files(whole)
