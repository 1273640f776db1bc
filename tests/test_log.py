"""The log: silent by default, operations at INFO, files at DEBUG, and printed by --verbose alone."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main
from lamella.log import logged


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP"], axes=lamella.models.axes("cyx"), version="0.5"
    ) as position:
        position["0"] = np.ones((1, 64, 64), "uint16")
    return path


def test_nothing_is_printed_and_no_logger_of_others_is_touched(tmp_path):
    code = (
        "import logging, sys, lamella, numpy as np\n"
        "before = logging.root.handlers[:], logging.root.level\n"
        "with lamella.open_ome_zarr(sys.argv[1], layout='fov', mode='w', channel_names=['GFP']) as position:\n"
        "    position['0'] = np.ones((1, 1, 1, 64, 64), 'uint16')\n"
        "    position.compute_pyramid(2)\n"
        "assert (logging.root.handlers, logging.root.level) == before\n"
        "print([type(one).__name__ for one in logging.getLogger('lamella').handlers])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.zarr")], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("['NullHandler']\n", "")


def test_operations_are_logged_at_info_and_files_at_debug(image, tmp_path, caplog):
    with caplog.at_level("DEBUG", logger="lamella"):
        position = lamella.open_ome_zarr(image, mode="r+")
        position.compute_pyramid(levels=2)
        lamella.rechunk(image, tmp_path / "new.zarr", chunks=(8, 8))
        position.labels["cells"] = np.ones((64, 64), "uint8")
        del position.labels["cells"]
    infos = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert infos[0] == f"Compute 2 levels of {image}."
    assert infos[1].startswith(f"Compute 2 levels of {image}: done in ")
    assert infos[2] == f"Write {tmp_path / 'new.zarr'} (rechunk)."
    files = {record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG}
    assert f"Wrote {image / 'zarr.json'}" in files
    assert f"Deleted {image / 'labels' / 'cells'}" in files
    chunks = [path for path in (image / "1").rglob("*") if path.is_file()]
    assert chunks
    assert {f"Wrote {path}" for path in chunks} <= files
    assert any(text.endswith(f" to {tmp_path / 'new.zarr'}") for text in files if text.startswith("Moved "))


def test_names_are_spelled_for_a_reader_only():
    class Silent:
        def __str__(self):
            raise AssertionError

    with logged("Compute %s", Silent()):
        pass


def test_an_operation_that_failed_is_logged_as_such(caplog):
    with (
        caplog.at_level("INFO", logger="lamella"),
        pytest.raises(ValueError, match="reason"),
        logged("Compute it"),
    ):
        raise ValueError("reason")
    assert "Compute it: stopped after" in caplog.records[-1].getMessage()
    assert caplog.records[-1].getMessage().endswith("by ValueError.")


def test_verbose_prints_the_log_while_the_command_runs(image):
    def run(*words):
        return CliRunner().invoke(main, ["rechunk", str(image), "--in-place", "--chunks", "8,8", *words])

    before = logging.getLogger("lamella").handlers[:], logging.getLogger("lamella").level
    assert run().stderr == ""
    once = run("-v").stderr.splitlines()
    assert once[0] == f"lamella: info: Write {image} (rechunk)."
    assert once[-1].startswith(f"lamella: info: Write {image} (rechunk): done in ")
    assert len(once) == 2
    twice = run("-vv").stderr.splitlines()
    assert any(line.startswith("lamella: debug: Wrote ") for line in twice)
    assert all(line.endswith(".") for line in twice)
    assert (logging.getLogger("lamella").handlers, logging.getLogger("lamella").level) == before


def test_operations_on_plates_name_what_they_work_on_and_where_the_result_will_be(tmp_path, caplog):
    new, table = tmp_path / "part.zarr", {"area": [1]}
    with (
        lamella.open(tmp_path / "p.zarr", "w", layout="hcs", channel_names=["GFP"], axes="cyx") as plate,
        caplog.at_level("INFO", logger="lamella"),
    ):
        position = plate.create_position("A", "1", "0")
        position["0"] = np.ones((1, 16, 16), "uint16")
        position.labels["cells"] = np.ones((16, 16), "uint8")
        position.tables["t"] = table
        plate.subset(new)
        plate.add({"A/1/1": position})
        plate.set_channel("GFP", color="lime")
        position.labels["cells"].measure(["area"])
    infos = [record.getMessage() for record in caplog.records]
    for line in (
        f"Copy 1 position to {new}.",
        f"Copy 1 position to {plate.node_path}.",
        f"Change the channel 'GFP' in {plate.node_path}.",
        f"Measure {position.labels['cells'].node_path}.",
    ):
        assert sum(line == info for info in infos) == 1, infos
