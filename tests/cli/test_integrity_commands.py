"""``lamella status``, ``verify`` and ``checksum``: what they print and how they end."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.zarr"
    with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI", "GFP"]) as position:
        image = position.create_zeros("0", (5, 2, 1, 8, 8), "uint16", chunks=(1, 1, 1, 8, 8))
        image[:3] = 7
    return path


def test_status_tells_what_was_never_written(film):
    result = run("status", film)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "image: partly, 6 of 10 chunks",
        "  t 3 to 4, c 0 to 1: never written",
    ]
    assert run("status", "--complete", film).exit_code == 1


def test_status_as_json(film):
    found = json.loads(run("status", "--json", film).stdout)
    assert found["counts"] == {"written": 0, "partly": 1, "missing": 0, "damaged": 0, "unread": 0}
    assert found["images"][0]["levels"][0]["parts"] == [
        {"times": [0, 3], "channels": [0, 2], "state": "written"},
        {"times": [3, 5], "channels": [0, 2], "state": "missing"},
    ]


def test_status_of_damage_ends_with_1(film):
    (film / "0/0/1/0/0/0").write_bytes(b"12")
    result = run("status", film)
    assert result.exit_code == 1
    assert "  t 0, GFP: damaged" in result.stdout.splitlines()


def test_verify_ends_with_0_1_or_2(film, tmp_path):
    whole = run("verify", film)
    assert whole.exit_code == 0
    assert whole.stdout.startswith(f"{film}: all whole; 6 files")
    (film / "0/0/1/0/0/0").write_bytes(b"12")
    broken = run("verify", film, "-j", "1")
    assert broken.exit_code == 1
    assert broken.stdout.splitlines()[0].startswith("0/0/1/0/0/0: ")
    assert json.loads(run("verify", "--json", film).stdout)["whole"] is False
    missing = run("verify", tmp_path / "nothing.zarr")
    assert missing.exit_code == 2
    assert missing.stderr.startswith("lamella: error: There is no store at")


def test_checksum_makes_what_verify_compares(film, tmp_path):
    printed = run("checksum", film)
    written = run("checksum", film, "-o", tmp_path / "manifest").stdout
    assert written == f"Wrote {tmp_path / 'manifest'}: checksums of 10 files.\n"
    assert run("checksum", film, "-q", "-o", tmp_path / "again").stdout == ""
    assert printed.stdout == (tmp_path / "manifest").read_text()
    assert run("verify", film, "--manifest", tmp_path / "manifest").exit_code == 0
    (film / "0/2/1/0/0/0").unlink()
    result = run("verify", film, "--manifest", tmp_path / "manifest")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "0/2/1/0/0/0: is missing"


@pytest.mark.parametrize("command", ["verify", "checksum"])
def test_what_was_interrupted_is_finished_by_the_same_command(film, tmp_path, monkeypatch, command):
    monkeypatch.setattr("lamella.ops.integrity.checksum._SETTLED_NS", 0)
    from lamella.ops.integrity import checksum, verify

    module, name = (verify, "decode") if command == "verify" else (checksum, "_compute_digest")
    options = ("--record", tmp_path / "found") if command == "verify" else ("-o", tmp_path / "sums")
    work, read = getattr(module, name), []

    def interrupted(file):
        if len(read) == 4:
            raise KeyboardInterrupt
        read.append(file.key)
        return work(file)

    monkeypatch.setattr(module, name, interrupted)
    result = run(command, film, *options, "-j", 1)
    assert result.exit_code == 130
    assert result.stderr == "lamella: error: Interrupted. Run the same command again to resume.\n"
    again = []
    monkeypatch.setattr(module, name, lambda file: (again.append(file.key), work(file))[1])
    result = run(command, film, *options, "-j", 1)
    assert result.exit_code == 0
    assert not set(again) & set(read)
    assert len(again) > 1
    assert [one.name for one in tmp_path.iterdir() if one != film] == ["sums"] * (command == "checksum")


def test_a_record_in_the_store_ends_with_2(film):
    result = run("verify", film, "--record", film / "found")
    assert result.exit_code == 2
    assert "would be a file of the store" in result.stderr
