"""Law: frames of many positions are in the arrays of their positions, and all positions go on from the same frame."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import zarr
from tests.warm import run

import lamella
from lamella.errors import InvalidArgumentError

FRAME = (6, 10)
FIELDS = ["A/1/0", "A/1/1", "B/3/0"]
P, C, Z = 3, 2, 2


def frame_of(number):
    return np.random.default_rng(number).integers(1, 60000, FRAME).astype("uint16")


def expected(count, order):
    """Arrays of all positions, axes P T C Z Y X."""
    lengths = {"p": P, "c": C, "z": Z, "t": -(-count // (P * C * Z))}
    whole = np.zeros([*(lengths[name] for name in order), *FRAME], "uint16")
    for number in range(count):
        whole.reshape(-1, *FRAME)[number] = frame_of(number)
    return whole.transpose(*(order.index(name) for name in "ptcz"), 4, 5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plate.zarr"


@pytest.fixture
def plate(path, version):
    return lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=version)


@pytest.fixture(params=["files", "shards"])
def options(request, version):
    if request.param == "shards" and version == "0.4":
        pytest.skip("0.4 has no shards")
    return {"lengths": {"z": Z}, "shards_ratio": (2, 1, 2, 1, 1) if request.param == "shards" else None}


@pytest.mark.parametrize("order", ["tpcz", "tpzc", "tcpz", "tczp"])
def test_each_position_gets_its_frames(plate, path, options, order):
    plate.create_position(*FIELDS[1].split("/"))
    with plate.stream(FIELDS, "0", FRAME, "uint16", order=order, **options) as frames:
        for number in range(50):
            where = frames.append(frame_of(number))
            assert (
                where["p"]
                == number
                // np.prod([{"p": P, "c": C, "z": Z}[n] for n in order[order.index("p") + 1 :]], dtype=int)
                % P
            )
    assert frames.stored == 50
    whole = expected(50, order)
    for field, pixels in zip(FIELDS, whole, strict=True):
        found = plate[f"{field}/0"][:]
        np.testing.assert_array_equal(found, pixels[: len(found)])
        assert not pixels[len(found) :].any()
        np.testing.assert_array_equal(zarr.open_array(path / field / "0", mode="r")[...], found)
    assert lamella.validate(path).valid


def test_positions_one_after_the_other_need_a_known_number_of_times(plate):
    with pytest.raises(InvalidArgumentError, match=r"lengths=\{'t': 10\}"):
        plate.stream(FIELDS, "0", FRAME, "uint16", order="ptc")
    with plate.stream(FIELDS, "0", FRAME, "uint16", order="ptc", lengths={"t": 2}) as frames:
        for number in range(P * 2 * C):
            frames.append(frame_of(number))
    np.testing.assert_array_equal(plate["B/3/0/0"][1, 1, 0], frame_of(P * 2 * C - 1))


def test_positions_that_are_not_there_are_made_with_one_write_of_the_plate(plate, monkeypatch):
    written = []
    storage = type(plate.documents.storage)
    for name in ("write", "write_stamped"):
        real = getattr(storage, name)
        monkeypatch.setattr(
            storage,
            name,
            lambda self, key, data, real=real: written.append(key) or real(self, key, data),
        )
    plate.stream(FIELDS, "0", FRAME, "uint16", order="tpc").close()
    assert sum(key in ("zarr.json", ".zattrs") for key in written) == 1
    assert [position.path for _, position in plate.positions()] == FIELDS


def test_a_dropped_frame_is_recorded_at_its_position(plate):
    with plate.stream(FIELDS, "0", FRAME, "uint16", order="tpc") as frames:
        for number in range(12):
            frames.skip() if number in (3, 10) else frames.append(frame_of(number))
    skipped = [plate[f"{field}/0"].attrs["lamella"]["stream"]["skipped"] for field in FIELDS]
    assert skipped == [[], [[1, 1]], [[2, 1]]]


KILLED = """
import os, signal, sys
import numpy as np
import lamella
plate = lamella.open_ome_zarr(sys.argv[1], layout="hcs", mode="r+")
options = dict(order="tpcz", lengths={"z": 2}, channel_names=["DAPI", "GFP"], shards_ratio=eval(sys.argv[2]))
frames = plate.stream(["A/1/0", "A/1/1", "B/3/0"], "0", (6, 10), "uint16", **options)
for number in range(43):
    frames.append(np.random.default_rng(number).integers(1, 60000, (6, 10)).astype("uint16"))
    if number == 20:
        frames.flush()
frames._threads.wait()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_all_positions_go_on_from_the_same_frame(plate, path, options):
    plate.close()
    arguments = [str(path), repr(options["shards_ratio"])]
    ended = run(KILLED, *arguments)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with lamella.open_ome_zarr(path, layout="hcs", mode="r+") as again:
        with again.stream(FIELDS, "0", FRAME, "uint16", order="tpcz", resume=True, **options) as frames:
            # The third times share shards with the fourth: the first position has all of them, the second its first
            # channel, the third none.
            assert frames.frames == (30 if options["shards_ratio"] else 43)
            for number in range(frames.frames, 60):
                frames.append(frame_of(number))
        for field, pixels in zip(FIELDS, expected(60, "tpcz"), strict=True):
            np.testing.assert_array_equal(again[f"{field}/0"][:], pixels)


def test_a_position_given_twice_is_refused(plate):
    with pytest.raises(InvalidArgumentError, match="listed once each"):
        plate.stream(["A/1/0", ("A", "1", "0")], "0", FRAME, "uint16")


def test_no_positions_are_refused(plate):
    with pytest.raises(InvalidArgumentError, match="listed once each"):
        plate.stream([], "0", FRAME, "uint16")


def test_a_position_without_a_well_is_refused(plate):
    with pytest.raises(InvalidArgumentError, match="row/column/field, not 'A/1'"):
        plate.stream(["A/1"], "0", FRAME, "uint16")


def test_an_order_without_positions_is_refused(plate):
    with pytest.raises(InvalidArgumentError, match="needs a p"):
        plate.stream(FIELDS, "0", FRAME, "uint16", order="tc")


def test_skipped_of_several_positions_is_refused(plate):
    frames = plate.stream(FIELDS, "0", FRAME, "uint16", order="tpc")
    with frames, pytest.raises(InvalidArgumentError, match="attributes of its array"):
        frames.skipped
