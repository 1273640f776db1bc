"""``lamella convert`` as its users meet it: what it prints, how it ends, what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from numpy.testing import assert_array_equal

import lamella
from lamella.cli import main
from lamella.nodes.open import open_ome_zarr
from lamella.ops.validation.validate import validate

if TYPE_CHECKING:
    from click.testing import Result

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
NUCLEI = SAMPLES / "dsb2018_nuclei.tif"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["convert", *(str(argument) for argument in arguments)])


def check_refused(result: Result, *parts: str) -> None:
    """One line on stderr that says what is wrong, nothing else, and exit code 1."""
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    for part in parts:
        assert part in line


def test_it_says_what_it_made(tmp_path: Path) -> None:
    result = run(NUCLEI, tmp_path / "a.zarr")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Wrote {tmp_path / 'a.zarr'}: 1 image, 1 plane, 0.5 MB, 2 levels, in ")
    assert "%" not in result.stderr  # progress is for terminals
    with open_ome_zarr(tmp_path / "a.zarr") as position:
        assert position.version == "0.5"
        assert_array_equal(position.data[0], tifffile.imread(NUCLEI))


def test_it_says_what_it_kept_what_was_missing_and_what_it_left_out(tmp_path: Path) -> None:
    result = run(SAMPLES / "idr0062_nuclei.ome.tif", tmp_path / "a.zarr")
    wrote, kept = result.stdout.splitlines()
    assert wrote.endswith("MB/s).")
    assert kept.startswith("Kept: pixel size, z step, channel names")
    assert "OME/METADATA.ome.xml" in kept
    (tmp_path / "fields").mkdir()
    for name in ("A1", "A2"):
        tifffile.imwrite(tmp_path / "fields" / f"{name}.ome.tif", np.zeros((8, 9), "u1"), ome=True)
    result = run(tmp_path / "fields", tmp_path / "p.zarr", "--well-regex", r"(?P<row>[A-Z])(?P<col>\d)")
    assert result.stdout.splitlines()[1:] == [
        "Kept: image names, the original metadata in OME/A1.ome.tif.METADATA.ome.xml, "
        "OME/A2.ome.tif.METADATA.ome.xml.",
        "Not in the file: pixel size, channel names.",
    ]


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    for options in (["--dry-run"], []):
        result = run(NUCLEI, tmp_path / "a.zarr", "--quiet", *options)
        assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("words", [["--series", "0"], ["--overwrite"]])
def test_options_that_a_watch_has_no_use_for_are_refused(tmp_path: Path, words: list[str]) -> None:
    result = run(tmp_path, tmp_path / "a.zarr", "--watch", "--idle", "0", *words)
    assert (result.exit_code, f"{words[0]} does not go with --watch" in result.stderr) == (2, True)


def test_every_option_reaches_the_store(tmp_path: Path) -> None:
    result = run(
        NUCLEI,
        tmp_path / "a.zarr",
        "--chunks",
        "64,32",
        "--shards",
        "128,128",
        "--levels",
        "3",
        "--jobs",
        "1",
    )
    assert result.exit_code == 0
    with open_ome_zarr(tmp_path / "a.zarr") as position:
        assert position.data.chunks == (1, 64, 32)
        assert position.data.shards == (1, 128, 128)
        assert len(position.dataset_paths) == 3


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_version_is_written_and_valid(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.zarr"
    result = run(SAMPLES / "idr0062_nuclei.ome.tif", path, "--version", version, "--levels", "2")
    assert result.exit_code == 0, result.stderr
    with open_ome_zarr(path) as position:
        assert position.version == version
        assert_array_equal(
            position.data[:].swapaxes(0, 1), tifffile.imread(SAMPLES / "idr0062_nuclei.ome.tif")
        )
        assert position.scale == [1.0, 0.5002025531914894, 1.4415926138560835, 1.4415926138560835]
        assert [axis.unit for axis in position.axes] == [None, "micrometer", "micrometer", "micrometer"]
        assert position.dataset_paths == ["0", "1"]
    assert validate(path, pixels=True).findings == ()


def test_a_version_has_shards_or_says_which_have(tmp_path: Path, version: str) -> None:
    arguments = (NUCLEI, tmp_path / "a.zarr", "--version", version, "--chunks", "64,32", "--shards", "128,64")
    if version == "0.4":
        check_refused(run(*arguments), "OME-NGFF 0.4 has no shards", "0.5 or 0.6")
        assert not (tmp_path / "a.zarr").exists()
        return
    assert run(*arguments).exit_code == 0
    with open_ome_zarr(tmp_path / "a.zarr") as position:
        assert position.data.shards == (1, 128, 64)


def test_a_plate_of_every_version(tmp_path: Path, version: str) -> None:
    tifffile.imwrite(tmp_path / "p_B2.tif", np.full((8, 8), 7, "uint8"))
    result = run(
        tmp_path / "p_B2.tif",
        tmp_path / "a.zarr",
        "--version",
        version,
        "--well-regex",
        r"_(?P<row>[A-Z])(?P<col>\d)",
    )
    assert result.exit_code == 0, result.stderr
    with open_ome_zarr(tmp_path / "a.zarr", layout="hcs") as plate:
        assert plate.version == version
        assert (plate["B/2/0"].data[:] == 7).all()
    # The file says nothing of units, and none is made up.
    assert {finding.rule for finding in validate(tmp_path / "a.zarr", pixels=True).findings} == {"AX-04"}


def test_a_plate_by_pattern(tmp_path: Path) -> None:
    for name in ("A1", "B2"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.ones((8, 8), "uint8"))
    tifffile.imwrite(tmp_path / "note.tif", np.ones((8, 8), "uint8"))
    result = run(tmp_path, tmp_path / "p.zarr", "--well-regex", r"(?P<row>[A-H])(?P<col>\d)")
    assert "p.zarr: a plate of 2 images" in result.stdout
    assert "lamella: note: 1 file was left out: the pattern does not match note.tif.\n" in result.stderr


def test_a_plate_by_table_needs_no_source(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.ones((8, 8), "uint8"))
    (tmp_path / "map.csv").write_text("file,row,column,field\nx.tif,C,3,1\n")
    assert run("--map", tmp_path / "map.csv", tmp_path / "p.zarr").exit_code == 0
    with open_ome_zarr(tmp_path / "p.zarr", layout="hcs") as plate:
        assert [path for path, _ in plate.positions()] == ["C/3/1"]


def test_a_second_run_refuses(tmp_path: Path) -> None:
    run(NUCLEI, tmp_path / "a.zarr")
    check_refused(run(NUCLEI, tmp_path / "a.zarr"), "a.zarr exists already", "--overwrite")
    assert run(NUCLEI, tmp_path / "a.zarr", "--overwrite").exit_code == 0


def test_a_truncated_source_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.ome.tif"
    path.write_bytes((SAMPLES / "idr0062_nuclei.ome.tif").read_bytes()[:500_000])
    check_refused(run(path, tmp_path / "a.zarr"), "cut.ome.tif")
    assert sorted(os.listdir(tmp_path)) == ["cut.ome.tif"]


def test_a_source_that_is_no_tiff_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("hello")
    check_refused(run(tmp_path / "a.tif", tmp_path / "a.zarr"), "a.tif is not a TIFF file")


def test_a_missing_source_is_one_line(tmp_path: Path) -> None:
    check_refused(run(tmp_path / "absent.tif", tmp_path / "a.zarr"), "no file or folder", "absent.tif")


@pytest.mark.parametrize("source", ["store.zarr", "store.ozx", "s3://bucket/store.zarr"])
def test_a_zarr_store_is_not_converted_and_the_commands_for_it_are_named(tmp_path: Path, source: str) -> None:
    with lamella.open_ome_zarr(tmp_path / "store.zarr", "fov", "w-", ["a"], version="0.5") as image:
        image["0"] = np.ones((1, 1, 1, 8, 8), "u2")
    lamella.pack(tmp_path / "store.zarr", tmp_path / "store.ozx")
    path = source if "//" in source else tmp_path / source
    check_refused(run(path, tmp_path / "a.zarr"), str(path), "lamella copy", "lamella rechunk")


def test_a_destination_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_refused(run(NUCLEI, tmp_path / "file" / "a.zarr"), str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--chunks", "a,b"], "neither auto nor lengths"),
        (["--chunks", "0"], "neither auto nor lengths"),
        (["--shards", "-4"], "neither auto nor none nor lengths"),
        (["--levels", "0"], "neither auto nor a number"),
        (["--levels", "few"], "neither auto nor a number"),
        (["--version", "0.3"], "'0.3' is not one of"),
    ],
)
def test_options_that_cannot_be_read_are_explained(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run(NUCLEI, tmp_path / "a.zarr", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "a.zarr").exists()


def test_a_destination_alone_is_explained(tmp_path: Path) -> None:
    result = run(tmp_path / "a.zarr")
    assert result.exit_code == 2
    assert "name the files to convert" in result.stderr


SLOW = """
import sys, threading
from lamella.adapters.tiff.reader import TiffSource
def slowly(read):
    def slow(self, index, *rest):
        if index[-1] == 3:
            threading.Event().wait(0.2)  # the main thread is done with starting this one
            print("reading", flush=True)
            threading.Event().wait(0.2)
        return read(self, index, *rest)
    return slow
TiffSource.read_plane, TiffSource.read_into = slowly(TiffSource.read_plane), slowly(TiffSource.read_into)
from lamella.cli import main
main(sys.argv[1:], prog_name="lamella")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_store_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    pixels = np.zeros((150, 64, 64), "uint8")
    tifffile.imwrite(source / "a.tif", pixels, photometric="minisblack")
    command = [
        sys.executable,
        "-c",
        SLOW,
        "convert",
        str(source / "a.tif"),
        str(target / "a.zarr"),
        "--chunks",
        "1,16,16",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    word = "Terminated" if number == signal.SIGTERM else "Interrupted"
    assert errors.splitlines()[-1] == f"lamella: error: {word}. Run the same command again to resume."
    assert "Traceback" not in errors
    assert [name for name in os.listdir(target) if not name.startswith(".")] == []
    subprocess.run(command, check=True, capture_output=True)
    assert os.listdir(target) == ["a.zarr"]
    assert (open_ome_zarr(target / "a.zarr")["0"][...] == 0).all()
