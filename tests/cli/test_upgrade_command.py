"""``lamella upgrade``: its arguments, what it prints, and how it ends."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main


def run(*arguments):
    return CliRunner().invoke(main, ["upgrade", *(str(argument) for argument in arguments)])


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "in.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP"], version="0.4", axes=lamella.models.axes("czyx")
    ) as position:
        position["0"] = np.arange(240, dtype="u2").reshape(1, 4, 6, 10)
    return path


def test_to_a_new_store(store, tmp_path):
    result = run(store, tmp_path / "out.zarr", "--to", "0.5")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        f"Wrote {tmp_path / 'out.zarr'}: 1 group, 1 array (1 copied without re-encoding)"
    )
    assert result.stderr == ""
    assert lamella.open_ome_zarr(tmp_path / "out.zarr").version == "0.5"
    assert lamella.open_ome_zarr(store).version == "0.4"


def test_in_place_and_quiet(store):
    result = run(store, "--in-place", "--to", "0.6", "--quiet", "--jobs", 1)
    assert (result.exit_code, result.output) == (0, "")
    assert lamella.open_ome_zarr(store).version == "0.6"


def test_notes_are_printed(store):
    result = run(store, "--in-place", "--to", "0.4")
    assert result.exit_code == 0
    assert "lamella: note: All documents were those of 0.4 already." in result.stderr


@pytest.mark.parametrize("more", [[], ["out.zarr", "--in-place"]], ids=["neither", "both"])
def test_either_a_destination_or_in_place(store, more):
    result = run(store, *more, "--to", "0.5")
    assert result.exit_code == 2
    assert "DST" in result.stderr


def test_what_is_refused_is_one_line(store, tmp_path):
    (tmp_path / "out.zarr").mkdir()
    result = run(store, tmp_path / "out.zarr", "--to", "0.5")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"lamella: error: {tmp_path / 'out.zarr'} exists already: choose another name, "
        "or replace it with --overwrite.\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_interrupted_it_says_how_to_go_on(store, tmp_path, monkeypatch, number):
    from lamella.store.files.local import LocalStorage

    real = LocalStorage.copy_from

    def copy_from(*arguments):
        os.kill(os.getpid(), number)
        real(*arguments)

    monkeypatch.setattr(LocalStorage, "copy_from", copy_from)
    result = run(store, tmp_path / "out.zarr", "--to", "0.5", "--jobs", 1)
    assert result.exit_code == 128 + number
    word = "Terminated" if number == signal.SIGTERM else "Interrupted"
    assert result.stderr == f"lamella: error: {word}. Run the same command again to resume.\n"
    monkeypatch.undo()
    assert run(store, tmp_path / "out.zarr", "--to", "0.5").exit_code == 0
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in.zarr", "out.zarr"]
