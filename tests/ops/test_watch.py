"""A plate is converted while an instrument writes its files: half-written ones, a kill, a restart, the end."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from tests.warm import run

import lamella
from lamella.cli import main
from lamella.errors import AccessError, InvalidArgumentError, ReadOnlyError, SourceError
from lamella.ops.conversion.watch import WatchReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.remote import Service

    Play = Callable[[Iterator[object]], None]

PATTERN = r"(?P<well>[A-P]\d\d)_(?P<channel>\w+)\.tif"
WELLS = ("A01", "A02", "B01")


def plane(well: str, channel: str) -> np.ndarray:
    return np.full((16, 20), 10 * WELLS.index(well) + (channel == "GFP"), "uint16")


def write(folder: Path, well: str, channels: tuple[str, ...] = ("DAPI", "GFP")) -> None:
    for channel in channels:
        tifffile.imwrite(folder / f"{well}_{channel}.tif", plane(well, channel))


def pixels_of(store: Path) -> dict[str, list[int]]:
    with lamella.open_ome_zarr(store) as plate:
        return {path: position.data[:, 0, 0].tolist() for path, position in plate.positions()}


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Return a function that plays an instrument: it goes one step further, and a second passes, with each wait."""

    def play(instrument: Iterator[object]) -> None:
        seconds = [0.0]

        def wait(_: float) -> None:
            seconds[0] += 1
            next(instrument, None)

        monkeypatch.setattr("lamella.ops.conversion.watch.sleep", wait)
        monkeypatch.setattr("lamella.ops.conversion.watch.monotonic", lambda: seconds[0])

    return play


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scan").mkdir()
    return tmp_path / "scan"


def test_positions_appear_as_they_are_complete_and_half_written_files_wait(
    folder: Path, tmp_path: Path, play: Play
) -> None:
    store = tmp_path / "plate.zarr"
    seen: list[tuple[int, list[str]]] = []

    def instrument() -> Iterator[None]:
        write(folder, "A01")
        yield
        for _ in range(4):
            yield
        seen.append((1, sorted(pixels_of(store))))
        write(folder, "A02")
        whole = (folder / "A02_GFP.tif").read_bytes()
        (folder / "A02_GFP.tif").write_bytes(whole[:-200])
        for _ in range(4):
            yield
        seen.append((2, sorted(pixels_of(store))))
        (folder / "A02_GFP.tif").write_bytes(whole)
        for _ in range(4):
            yield
        seen.append((3, sorted(pixels_of(store))))
        write(folder, "B01")
        (tmp_path / "stop").touch()
        yield

    play(instrument())
    report = lamella.watch(
        folder,
        store,
        well_regex=PATTERN,
        files_per_position=2,
        settle=2,
        stop_file=tmp_path / "stop",
    )
    assert report.positions == ("A/01/0", "A/02/0", "B/01/0")
    assert seen == [(1, ["A/01/0"]), (2, ["A/01/0"]), (3, ["A/01/0", "A/02/0"])]
    assert pixels_of(store) == {"A/01/0": [0, 1], "A/02/0": [10, 11], "B/01/0": [20, 21]}
    assert lamella.validate(store)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plate.zarr", "scan", "stop"]


def test_without_a_number_a_position_is_complete_when_the_next_one_begins(
    folder: Path, tmp_path: Path, play: Play
) -> None:
    done: list[tuple[str, list[str]]] = []

    def instrument() -> Iterator[None]:
        for well in WELLS:
            write(folder, well)
            for _ in range(4):
                yield

    play(instrument())
    lamella.watch(
        folder,
        tmp_path / "plate.zarr",
        well_regex=PATTERN,
        settle=1,
        idle=9,
        on_position=lambda path: done.append((path, sorted({file.name[:3] for file in folder.iterdir()}))),
    )
    assert done == [("A/01/0", ["A01", "A02"]), ("A/02/0", list(WELLS)), ("B/01/0", list(WELLS))]


KILLED = """
import os, shutil, sys
import lamella
from lamella.nodes.plate import Plate

if sys.argv[1] == "before":
    Plate.add = lambda *arguments, **options: os._exit(9)
else:
    plain = shutil.rmtree
    shutil.rmtree = lambda path, **rest: os._exit(9) if "/.after" in path else plain(path, **rest)
lamella.watch(sys.argv[2], sys.argv[3], well_regex=sys.argv[4], idle=0, settle=0)
"""


def test_a_killed_watch_resumes_with_what_the_plate_lacks(folder: Path, tmp_path: Path) -> None:
    for moment in ("before", "after"):
        store = tmp_path / f"{moment}.zarr"
        write(folder, "A01")
        lamella.watch(folder, store, well_regex=PATTERN, idle=0, settle=0)
        write(folder, "A02")
        arguments = [moment, str(folder), str(store), PATTERN]
        assert run(KILLED, *arguments).returncode == 9
        if moment == "before":
            write(folder, "B01")
        report = lamella.watch(folder, store, well_regex=PATTERN, idle=0, settle=0)
        assert report.positions == (("A/02/0", "B/01/0") if moment == "before" else ())
        third = {"B/01/0": [20, 21]} if moment == "before" else {}
        assert pixels_of(store) == {"A/01/0": [0, 1], "A/02/0": [10, 11], **third}
        assert lamella.validate(store)
        for file in folder.iterdir():
            file.unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after.zarr", "before.zarr", "scan"]


def test_files_that_come_after_the_conversion_or_cannot_be_read_raise_at_the_end(
    folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "plate.zarr"
    write(folder, "A01", ("DAPI",))
    lamella.watch(folder, store, well_regex=PATTERN, idle=0, settle=0)
    write(folder, "A01", ("GFP",))
    with pytest.raises(
        SourceError, match=r"1 position of .* got files after the conversion \(A/01/0: A01_GFP\.tif\)"
    ):
        lamella.watch(folder, store, well_regex=PATTERN, idle=0, settle=0)
    (folder / "A02_DAPI.tif").write_bytes(b"II*\0")
    with pytest.raises(SourceError, match=r"A02_DAPI\.tif"):
        lamella.watch(folder, store, well_regex=PATTERN, idle=0, settle=0)
    with pytest.raises(InvalidArgumentError, match="idle=-1"):
        lamella.watch(folder, store, idle=-1)


def test_the_command_watches_until_it_is_idle(folder: Path, tmp_path: Path) -> None:
    write(folder, "A01")
    store = tmp_path / "plate.zarr"
    command = [
        "convert",
        "--watch",
        "--idle",
        "0",
        "--settle",
        "0",
        "--well-regex",
        PATTERN,
        str(folder),
        str(store),
    ]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"A/01/0\nWrote {store}: 1 position (0 before).\n"
    assert_array_equal(pixels_of(store)["A/01/0"], [0, 1])


def test_what_the_user_corrects_is_in_every_position_and_truncated_files_are_read_at_the_end(
    folder: Path, tmp_path: Path, play: Play
) -> None:
    store = tmp_path / "plate.zarr"
    seen: list[dict[str, list[int]]] = []

    def instrument() -> Iterator[None]:
        write(folder, "A01")
        whole = (folder / "A01_GFP.tif").read_bytes()
        (folder / "A01_GFP.tif").write_bytes(whole[:-200])
        for _ in range(4):
            yield
        seen.append(pixels_of(store) if store.exists() else {})
        (folder / "A01_GFP.tif").write_bytes(whole)
        for _ in range(4):
            yield
        write(folder, "A02")
        (folder / "A02_GFP.tif").write_bytes((folder / "A02_GFP.tif").read_bytes()[:-200])
        (tmp_path / "stop").touch()
        yield

    play(instrument())
    lamella.watch(
        folder, store, well_regex=PATTERN, files_per_position=2, settle=1, stop_file=tmp_path / "stop",
        pixel_size=0.5, unit="nanometer", channel_names=["a", "b"], colors=["FF0000", "0000FF"], dtype="float32",
        take_what_is_there=True,
    )  # fmt: skip
    assert seen == [{}]
    assert pixels_of(store) == {"A/01/0": [0, 1], "A/02/0": [10, 0]}
    with lamella.open(store) as plate:
        for _, position in plate.positions():
            assert position.scale[-2:] == [0.5, 0.5]
            assert position.channel_names == ["a", "b"]
            assert position.data.dtype == "float32"
    with pytest.raises(InvalidArgumentError, match="pixel_size"):
        lamella.watch(folder, tmp_path / "b.zarr", well_regex=PATTERN, pixel_size=-1)


def test_names_and_original_metadata_of_later_positions_are_in_the_plate(
    folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "plate.zarr"
    for well in WELLS:
        path = folder / f"{well}_DAPI.ome.tif"
        tifffile.imwrite(path, plane(well, "DAPI"), metadata={"axes": "YX", "Name": f"cells of {well}"})
        lamella.watch(
            folder,
            store,
            well_regex=r"(?P<well>[A-P]\d\d)_",
            idle=0,
            settle=0,
            axes="yx",
            channel_names=["a"],
        )
    with lamella.open(store) as plate:
        for well, (_, position) in zip(WELLS, plate.positions(), strict=True):
            assert position.metadata.multiscales[0].name == f"cells of {well}"
            assert position.channel_names == ["a"]
            text = (store / "OME" / f"{well}_DAPI.ome.tif.METADATA.ome.xml").read_text()
            assert f"cells of {well}" in text
    assert lamella.validate(store)
    named = tmp_path / "named.zarr"
    for well in WELLS:
        lamella.watch(folder, named, well_regex=rf"(?P<well>{well})_", idle=0, settle=0, name="mine")
    with lamella.open(named) as plate:
        assert plate.metadata.name == "mine"
        names = {position.metadata.multiscales[0].name for _, position in plate.positions()}
        assert names == {f"cells of {well}" for well in WELLS}


def test_the_command_watches_with_corrections(folder: Path, tmp_path: Path) -> None:
    write(folder, "A01")
    command = [
        "convert",
        str(folder),
        str(tmp_path / "plate.zarr"),
        "--watch",
        "--idle",
        "0",
        "--settle",
        "0",
    ]
    run = CliRunner().invoke(
        main, [*command, "--well-regex", PATTERN, "--pixel-size", "0.5", "--colors", "FF0000,00FF00"]
    )
    assert run.exit_code == 0, run.output
    with lamella.open(tmp_path / "plate.zarr" / "A" / "01" / "0") as position:
        assert position.scale[-1] == 0.5


def test_a_plate_at_a_url_grows_and_a_restart_finds_what_it_has(
    folder: Path, tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch, play: Play
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    url, stop = "s3://bucket/plate.zarr", tmp_path / "stop"
    options = {"endpoint_url": service.endpoint}
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # without the options nothing is reached

    def instrument() -> Iterator[None]:
        write(folder, "A02")
        yield
        yield
        stop.touch()
        yield

    write(folder, "A01")
    play(instrument())
    report = lamella.watch(
        folder, url, well_regex=PATTERN, files_per_position=2, stop_file=stop, settle=0, jobs=1,
        storage_options=options,
    )  # fmt: skip
    assert report == WatchReport(url, ("A/01/0", "A/02/0"), 0)
    with lamella.open_ome_zarr(url, storage_options=options) as plate:
        pixels = {path: position.data[:, 0, 0].tolist() for path, position in plate.positions()}
    assert pixels == {"A/01/0": [0, 1], "A/02/0": [10, 11]}
    assert lamella.validate(url, storage_options=options)
    stored = dict(service.objects)
    arguments = ["convert", str(folder), url, "--watch", "--well-regex", PATTERN, "--stop-file", str(stop)]
    result = CliRunner().invoke(main, [*arguments, "--storage", f"endpoint_url={service.endpoint}"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Wrote {url}: 0 positions (2 before).\n"
    assert service.objects == stored
    assert list((tmp_path / "temporary").iterdir()) == []
    with pytest.raises(ReadOnlyError):
        lamella.watch(folder, f"{service.endpoint}/bucket/plate.zarr")


@pytest.mark.parametrize("well", ["01", "02"])
def test_a_watch_that_a_service_ended_is_resumed(
    folder: Path, tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch, well: str
) -> None:
    """The service fails while the first position is uploaded with the plate, or the second is copied into it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    url = "s3://bucket/plate.zarr"
    watch = partial(lamella.watch, folder, url, well_regex=PATTERN, idle=0, settle=0, jobs=1)
    write(folder, "A01")
    if well == "02":
        watch()
        write(folder, "A02")
    service.fail(403, method="PUT", path=f"A/{well}/0/0/c/", after=1)
    with pytest.raises(AccessError):
        watch()
    service.heal()
    assert watch().positions == (f"A/{well}/0",)
    with lamella.open_ome_zarr(url) as plate:
        pixels = {path: position.data[:, 0, 0].tolist() for path, position in plate.positions()}
    assert pixels == {f"A/{name}/0": [10 * n, 10 * n + 1] for n, name in enumerate(("01", "02")[: int(well)])}
    assert lamella.validate(url)
    assert not [key for key in service.objects if ".lamella-" in key]
    assert list((tmp_path / "temporary").iterdir()) == []
