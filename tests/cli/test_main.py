"""The command itself: what it costs to start, and how it ends when something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import click
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import COMMANDS, error_line, main
from lamella.cli.info import info
from lamella.errors import MetadataError, StorageError

HEAVY = (
    "dask",
    "fsspec",
    "numba",
    "numpy",
    "pandas",
    "PIL",
    "rich",
    "tensorstore",
    "tifffile",
    "xarray",
    "zarr",
)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def ending_with(monkeypatch, error):
    """Let `lamella info` raise an error instead of doing its work."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(info, "callback", fail)
    return run("info", "anything")


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.output == f"lamella, version {lamella.__version__}\n"


def test_help_names_every_command():
    result = run("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {name} ")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["info", "--help"], ["preview", "--help"]])
def test_help_loads_none_of_the_slow_libraries(arguments):
    code = (
        "import json, sys\nfrom lamella.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    print(json.dumps(sorted(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.split(".")[0] for name in json.loads(output.splitlines()[-1])}
    assert not loaded & set(HEAVY)


def test_a_command_loads_no_other(tmp_path):
    code = (
        "import sys\nfrom lamella.cli import main\n"
        f"try:\n    main(['info', {str(tmp_path / 'none.zarr')!r}])\nexcept SystemExit:\n"
        "    print([name for name in sys.modules if name.startswith('lamella.cli.')])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "lamella.cli.info" in output
    assert "lamella.cli.preview" not in output
    assert "lamella.cli.convert" not in output


def test_python_m_lamella_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "lamella", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"lamella, version {lamella.__version__}\n")


def test_an_unknown_command_is_a_usage_error():
    result = run("inform")
    assert result.exit_code == 2
    assert "No such command 'inform'" in result.stderr


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MetadataError("The document\n  is damaged."), "The document is damaged."),
        (StorageError("the disk is full"), "the disk is full"),
        (FileNotFoundError(2, "No such file or directory", "a.tif"), "a.tif: No such file or directory"),
        (OSError("odd"), "odd"),
        (OSError(), "OSError"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(monkeypatch, error, text):
    result = ending_with(monkeypatch, error)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {text}\n"
    assert not result.stdout
    assert error_line(error) == text


def test_a_defect_keeps_its_traceback(monkeypatch):
    assert isinstance(ending_with(monkeypatch, RuntimeError("a defect")).exception, RuntimeError)


def test_ctrl_c_ends_in_one_word(monkeypatch):
    result = ending_with(monkeypatch, KeyboardInterrupt())
    assert (result.exit_code, result.stderr, result.stdout) == (130, "Interrupted.\n", "")


def test_a_warning_is_one_line(monkeypatch):
    def warn(*_, **__):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("levels were\nleft out", UserWarning, stacklevel=1)

    monkeypatch.setattr(info, "callback", warn)
    result = run("info", "anything")
    assert result.exit_code == 0
    assert result.stderr == "Warning: levels were left out\n"


def test_the_way_of_showing_warnings_is_put_back(monkeypatch):
    before = warnings.showwarning
    monkeypatch.setattr(info, "callback", lambda *_, **__: click.echo("done"))
    run("info", "anything")
    assert warnings.showwarning is before


@pytest.mark.skipif(os.name == "nt", reason="no pipes of this kind")
def test_a_reader_that_left_is_no_news(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["GFP"]):
        pass
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "lamella", "info", str(tmp_path / "a.zarr")]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")
