"""Errors on links name an option that every command and function that opens a store has."""

from __future__ import annotations

import os

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella import errors
from lamella.adapters.png import write_preview
from lamella.cli import main

COMMANDS = {
    "info": ["-v"],
    "validate": [],
    "verify": [],
    "checksum": [],
    "status": [],
    "preview": ["-o", "a.png"],
    "repair": ["--dry-run"],
    "upgrade": ["new.zarr", "--to", "0.4"],
    "rechunk": ["new.zarr", "--chunks", "8,8"],
}
FUNCTIONS = {
    "validate": lamella.validate,
    "verify": lamella.verify,
    "checksum": lamella.checksum,
    "status": lamella.status,
    "repair": lambda path, **options: lamella.repair(path, dry_run=True, **options),
    "upgrade": lambda path, **options: lamella.upgrade(path, "0.4", "new.zarr", **options),
    "rechunk": lambda path, **options: lamella.rechunk(path, "new.zarr", chunks=(8, 8), **options),
}


@pytest.fixture
def plate(tmp_path, monkeypatch):
    """A plate one of whose fields is a link to an image elsewhere."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["GFP"], version="0.5") as made:
        for position in made.create_positions([("A", "1", "0"), ("A", "1", "1")]):
            position["0"] = np.full((1, 1, 1, 16, 16), 7, "uint16")
    os.rename(path / "A/1/1", tmp_path / "elsewhere.zarr")
    os.symlink(tmp_path / "elsewhere.zarr", path / "A/1/1")
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_follows_links_where_it_is_asked_to(plate, command):
    words = [command, str(plate), *COMMANDS[command]]
    refused = CliRunner().invoke(main, words)
    assert "--follow-links" in refused.output
    done = CliRunner().invoke(main, [*words, "--follow-links"])
    assert done.exit_code == 0, done.output
    assert "leads to" not in done.output
    if os.path.exists("new.zarr"):
        assert int(np.asarray(lamella.open_ome_zarr("new.zarr/A/1/1")["0"]).min()) == 7
        assert not os.path.islink("new.zarr/A/1/1")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_follows_links_where_it_is_asked_to(plate, function):
    try:
        text = str(FUNCTIONS[function](plate))
    except errors.LamellaError as error:
        text = str(error)
    assert "follow_links=True" in text or function in ("repair",)
    text = str(FUNCTIONS[function](plate, follow_links=True))
    assert "leads to" not in text


def test_the_advice_for_a_node_is_what_opens_it(plate):
    with pytest.raises(errors.InvalidNameError, match="disable_path_checking=True"):
        lamella.open_ome_zarr(plate)["A/1/1"]
    node = lamella.open_ome_zarr(plate, disable_path_checking=True)
    assert lamella.verify(node).files == lamella.verify(plate, follow_links=True).files == 2
    assert not write_preview(node, "b.png")


@pytest.mark.parametrize("work", ["upgrade", "rechunk", "repair"])
def test_what_is_changed_in_place_may_be_a_plate_of_links(plate, work):
    if work == "upgrade":
        lamella.upgrade(plate, "0.6", follow_links=True)
    elif work == "rechunk":
        lamella.rechunk(plate, chunks=(8, 8), follow_links=True)
    else:
        assert lamella.repair(plate, follow_links=True).after.valid
    assert int(np.asarray(lamella.open_ome_zarr(plate, disable_path_checking=True)["A/1/1/0"]).min()) == 7
    assert lamella.open_ome_zarr("elsewhere.zarr")["0"].shape == (1, 1, 1, 16, 16)
