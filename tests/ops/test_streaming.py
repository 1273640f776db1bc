"""Law: frames given one by one are in the array as numpy would have put them, and what is stored stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.warm import run

import lamella
from lamella.errors import ClosedError, InvalidArgumentError, NodeExistsError, StorageError
from lamella.ops.streaming.chunk_threads import ChunkThreads
from lamella.store.pixels.coding import Coding

#: version, chunks, shards_ratio of arrays with axes TCZYX and frames of (6, 10).
LAYOUTS = {
    "0.4": ("0.4", None, None),
    "0.5": ("0.5", None, None),
    "0.6": ("0.6", None, None),
    "0.4 deep chunks": ("0.4", (3, 1, 2, 6, 10), None),
    "0.4 tiles": ("0.4", (1, 1, 1, 4, 4), None),
    "0.5 shards in t": ("0.5", None, (4, 1, 1, 1, 1)),
    "0.6 shards of stacks": ("0.6", None, (1, 1, 3, 1, 1)),
    "0.5 shards of all": ("0.5", None, (2, 2, 3, 1, 1)),
    "0.5 deep chunks in shards": ("0.5", (2, 2, 1, 6, 10), (2, 1, 3, 1, 1)),
    "0.5 tiles in shards": ("0.5", (1, 1, 1, 4, 4), (2, 1, 1, 1, 2)),
}
FRAME = (6, 10)
Z, C = 3, 2


@pytest.fixture(params=LAYOUTS)
def layout(request):
    version, chunks, ratio = LAYOUTS[request.param]
    return version, {"chunks": chunks, "shards_ratio": ratio}


@pytest.fixture
def make(tmp_path):
    def make(version="0.5", name="film", channel_names=("DAPI", "GFP")):
        path = tmp_path / f"{name}.zarr"
        return lamella.open_ome_zarr(
            path, layout="fov", mode="w", channel_names=list(channel_names), version=version
        )

    return make


def frame_of(number, shape=FRAME, dtype="uint16"):
    return np.random.default_rng(number).integers(1, 60000, shape).astype(dtype)


def expected(count, order="tcz", lengths=None, skipped=()):
    """The array that numpy makes of frames in an order over T, C and Z."""
    lengths = {"c": C, "z": Z, **(lengths or {})}
    per_step = np.prod([lengths[name] for name in order[1:]], dtype=int)
    lengths[order[0]] = lengths.get(order[0], 0) if order[0] == "c" else -(-count // per_step)
    whole = np.zeros([*(lengths[name] for name in order), *FRAME], "uint16")
    for number in range(count):
        if number not in skipped:
            whole.reshape(-1, *FRAME)[number] = frame_of(number)
    return whole.transpose(*(order.index(name) for name in "tcz"), 3, 4)


def stored_by(path):
    return zarr.open_array(f"{path}/0", mode="r")


@pytest.mark.parametrize(
    ("layout", "order"),
    [  # half of the orders for one layout, the others for the next
        (layout, order)
        for turn, layout in enumerate(LAYOUTS)
        for order in (("tcz", "zct"), ("tzc", "ztc"))[turn % 2]
    ],
    indirect=["layout"],
)
def test_frames_are_where_numpy_puts_them(make, layout, order):
    version, options = layout
    lengths = {name: n for name, n in {"z": Z, "t": 5}.items() if name in order[1:]}
    with make(version) as position:
        buffer = np.empty(FRAME, "uint16")
        with position.stream("0", FRAME, "uint16", order=order, lengths=lengths, **options) as frames:
            for number in range(31):
                buffer[...] = frame_of(number)  # a camera uses its memory again
                frames.append(buffer)
        assert (frames.frames, frames.stored, frames.pending) == (31, 31, 0)
        np.testing.assert_array_equal(position["0"][:], expected(31, order, lengths))
        np.testing.assert_array_equal(
            stored_by(position.store_handle.name)[...], expected(31, order, lengths)
        )


@settings(max_examples=20)
@given(data=st.data())
def test_dropping_flushing_and_resuming_change_nothing_else(tmp_path_factory, data):
    version, chunks, ratio = data.draw(st.sampled_from(list(LAYOUTS.values())))
    path = tmp_path_factory.mktemp("law") / "film.zarr"
    position = lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["DAPI", "GFP"], version=version
    )
    options = {"order": "tcz", "lengths": {"z": Z}, "chunks": chunks, "shards_ratio": ratio}
    count, skipped = 0, set()
    for _ in range(data.draw(st.integers(1, 3))):
        with position.stream("0", FRAME, "uint16", resume=True, **options) as frames:
            assert frames.frames == count
            for act in data.draw(st.lists(st.sampled_from(["append"] * 4 + ["skip", "flush"]), max_size=12)):
                if act == "flush":
                    frames.flush()
                    assert frames.stored == count
                    np.testing.assert_array_equal(stored_by(path)[...], expected(count, skipped=skipped))
                    continue
                if act == "skip":
                    frames.skip()
                    skipped.add(count)
                else:
                    frames.append(frame_of(count))
                count += 1
    np.testing.assert_array_equal(position["0"][:], expected(count, skipped=skipped))
    record = position["0"].attrs["lamella"]["stream"]
    assert (record["frames"], record["open"]) == (count, False)
    assert [n for first, many in record["skipped"] for n in range(first, first + many)] == sorted(skipped)


def test_readers_beside_see_stored_frames_and_valid_documents_at_every_moment(make, layout):
    version, options = layout
    position = make(version)
    path = position.store_handle.name
    whole = expected(18)
    with position.stream("0", FRAME, "uint16", order="tcz", lengths={"z": Z}, **options) as frames:
        for number in range(18):
            stored = frames.stored
            with lamella.open_ome_zarr(path) as reader:
                seen = reader["0"][:].reshape(-1, *FRAME)
            assert stored <= len(seen) <= -(-(number + C * Z) // (C * Z)) * C * Z
            np.testing.assert_array_equal(seen[:stored], whole.reshape(-1, *FRAME)[:stored])
            if number in (0, 7):
                report = lamella.validate(path)
                assert report.findings == (), report
            frames.append(frame_of(number))


def test_a_frame_that_has_its_own_file_is_stored_at_once(make):
    position = make(channel_names=["DAPI"])
    with position.stream("0", FRAME, "uint16", order="t") as frames:
        for number in range(3):
            frames.append(frame_of(number))
            frames._threads.wait()
            assert frames.stored == number + 1
            np.testing.assert_array_equal(stored_by(position.store_handle.name)[-1, 0, 0], frame_of(number))


def test_an_exception_stores_all_that_was_given(make, layout):
    version, options = layout
    position = make(version)
    stream = position.stream("0", FRAME, "uint16", order="tcz", lengths={"z": Z}, **options)
    with pytest.raises(ZeroDivisionError), stream as frames:  # noqa: PT012
        for number in range(8):
            frames.append(frame_of(number))
        1 / 0
    np.testing.assert_array_equal(position["0"][:], expected(8))


def test_an_interrupt_while_it_waits_costs_no_frame(make, monkeypatch):
    position = make(channel_names=["DAPI"])
    frames = position.stream("0", FRAME, "uint16", order="t", shards_ratio=(2, 1, 1, 1, 1))
    real = frames._threads.submit

    def interrupted(job):
        monkeypatch.setattr(frames._threads, "submit", real)
        raise KeyboardInterrupt

    frames.append(frame_of(0))
    monkeypatch.setattr(frames._threads, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt), frames:
        frames.append(frame_of(1))
    assert (frames.frames, frames.stored) == (2, 2)
    np.testing.assert_array_equal(position["0"][:, 0, 0], [frame_of(0), frame_of(1)])


def test_a_full_disk_is_told_and_leaves_what_was_stored(make, monkeypatch):
    position = make(channel_names=["DAPI"])
    frames = position.stream("0", FRAME, "uint16", order="t", shards_ratio=(2, 1, 1, 1, 1))
    for number in range(2):
        frames.append(frame_of(number))
    frames.flush()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    frames.append(frame_of(2))
    with pytest.raises(StorageError, match="No space left"):
        frames.flush()
    with pytest.raises(StorageError, match="No space left"):
        frames.append(frame_of(3))
    with pytest.raises(StorageError, match="No space left"):
        frames.close()
    monkeypatch.undo()
    assert frames.stored == 2
    np.testing.assert_array_equal(position["0"][:, 0, 0], [frame_of(0), frame_of(1)])
    assert [f for f in Path(position.store_handle.name).rglob("*") if f.name.endswith(".tmp")] == []


def test_the_first_error_is_the_one_that_is_raised(make, monkeypatch):
    position = make(channel_names=["DAPI"])

    def full(*_):
        raise OSError(28, "No space left on device")

    stream = position.stream("0", FRAME, "uint16", order="t", shards_ratio=(2, 1, 1, 1, 1))
    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(ZeroDivisionError) as caught, stream as frames:  # noqa: PT012
        frames.append(frame_of(0))
        1 / 0
    monkeypatch.undo()
    assert "No space left" in caught.value.__notes__[0]


def test_a_full_queue_makes_the_writer_wait(make, monkeypatch):
    position, gate, seen = make(channel_names=["DAPI"]), threading.Event(), []
    real_encode, frames = Coding.encode_parts, position.stream("0", FRAME, "uint16", order="t", queue=3)
    real_wait = frames._threads._changed.wait_for

    def encode(self, block):
        gate.wait()
        return real_encode(self, block)

    def wait_for(condition):
        seen.append(frames.pending)
        gate.set()
        return real_wait(condition)

    monkeypatch.setattr(Coding, "encode_parts", encode)
    monkeypatch.setattr(frames._threads._changed, "wait_for", wait_for)
    try:
        for number in range(4):
            assert frames.waits == 0
            frames.append(frame_of(number))
        assert (seen, frames.waits, frames.queue) == ([3], 1, 3)
    finally:
        gate.set()
        frames.close()
    np.testing.assert_array_equal(position["0"][:, 0, 0], [frame_of(n) for n in range(4)])


def test_a_queue_that_is_half_full_delays_frames_and_does_not_hold_them_up(make, monkeypatch):
    position, gate = make(channel_names=["DAPI"]), threading.Event()
    frames = position.stream("0", FRAME, "uint16", order="t", queue=4)
    frames.append(frame_of(0))  # tells how long a frame takes
    frames._threads.wait()
    assert frames.waits == 0
    real_encode = Coding.encode_parts
    monkeypatch.setattr(Coding, "encode_parts", lambda *args: gate.wait() and real_encode(*args))
    try:
        for number in range(1, 5):  # no frame can be encoded meanwhile
            frames.append(frame_of(number))
        assert (frames.pending, frames.waits) == (4, 1)
    finally:
        gate.set()
        frames.close()
    np.testing.assert_array_equal(position["0"][:, 0, 0], [frame_of(n) for n in range(5)])


@pytest.mark.parametrize("ratio", [None, (8, 1, 1, 1, 1)], ids=["files", "shards"])
def test_the_first_frames_find_their_memory_ready(make, ratio, monkeypatch):
    position, frame, gate = make(channel_names=["DAPI"]), np.zeros((512, 512), "uint16"), threading.Event()
    frames = position.stream("0", frame.shape, "uint16", order="t", shards_ratio=ratio, queue=4)
    real_encode = Coding.encode_parts
    monkeypatch.setattr(Coding, "encode_parts", lambda *args: gate.wait() and real_encode(*args))
    try:
        tracemalloc.start()
        for _ in range(4):
            frames.append(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gate.set()
        frames.close()
    assert peak < frame.nbytes


def test_memory_does_not_grow_with_the_shard(make):
    position = make(channel_names=["DAPI"])
    frame = np.zeros((256, 256), "uint16")
    ratio = (200, 1, 1, 1, 1)
    with position.stream(
        "0", frame.shape, "uint16", order="t", shards_ratio=ratio, compressor="none", queue=4
    ) as frames:
        frames.append(frame)
        frames._threads.wait()
        tracemalloc.start()
        for _ in range(199):
            frames.append(frame)
        frames.flush()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert frames.stored == 200
    assert peak < 20 * frame.nbytes


def test_more_shards_than_open_files_are_filled_at_once(make, monkeypatch):
    monkeypatch.setattr("lamella.ops.streaming.array_frames._MAX_OPEN", 2)
    position = make(channel_names=["DAPI"])
    opened = set()
    real = os.open
    monkeypatch.setattr(os, "open", lambda *args, **kw: opened.add(fd := real(*args, **kw)) or fd)
    most = 0
    options = {"order": "tz", "lengths": {"z": 12}, "shards_ratio": (3, 1, 1, 1, 1)}
    with position.stream("0", FRAME, "uint16", **options) as frames:
        for number in range(36):
            frames.append(frame_of(number))
            frames._threads.wait()
            links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
            most = max(
                most, sum(os.path.exists(link) and os.readlink(link).endswith(".tmp") for link in links)
            )
    assert 0 < most <= 3
    np.testing.assert_array_equal(position["0"][:, 0].reshape(-1, *FRAME), [frame_of(n) for n in range(36)])


def test_times_are_kept_where_they_were_given(make):
    position = make(channel_names=["DAPI"])
    with position.stream("0", FRAME, "uint16", order="t") as frames:
        frames.append(frame_of(0))
        frames.append(frame_of(1), time=np.float32(0.5))
        for wrong in (float("nan"), float("inf"), "2 s", True, np.datetime64("2024-01-01")):
            with pytest.raises(InvalidArgumentError, match="seconds, a finite number, not "):
                frames.append(frame_of(2), time=wrong)
        frames.skip()
        frames.append(frame_of(3), time=1.5)
    assert position["0"].attrs["lamella"]["stream"]["times"] == [None, 0.5, None, 1.5]


def test_frames_and_attributes_of_others_stay(make):
    position = make(channel_names=["DAPI"])
    with position.stream("0", FRAME, "uint16", order="t") as frames:
        position["0"].attrs["mine"] = 1
        frames.append(frame_of(0))
    assert position["0"].attrs["mine"] == 1
    assert position["0"].attrs["lamella"]["stream"]["frames"] == 1


def test_channels_come_in_their_own_order(make):
    position = make()
    with position.stream("0", FRAME, "uint16", order="tc", channel_names=["GFP", "DAPI"]) as frames:
        for number in range(4):
            where = frames.append(frame_of(number))
    assert where == {"t": 1, "c": 0}
    np.testing.assert_array_equal(
        position["0"][:, :, 0], [[frame_of(1), frame_of(0)], [frame_of(3), frame_of(2)]]
    )


def test_a_position_without_an_image_gets_the_channels_that_come(make):
    position = make(channel_names=())
    with position.stream("0", FRAME, "uint16", order="tc", channel_names=["GFP", "RFP"]) as frames:
        frames.append(frame_of(0))
    assert (position.channel_names, position["0"].shape) == (["GFP", "RFP"], (1, 2, 1, *FRAME))


def test_stacks_can_be_frames(make):
    position = make()
    with position.stream("0", (Z, *FRAME), "uint16", order="tc") as frames:
        for number in range(4):
            frames.append(frame_of(number, (Z, *FRAME)))
    np.testing.assert_array_equal(
        position["0"][:].reshape(4, Z, *FRAME), [frame_of(n, (Z, *FRAME)) for n in range(4)]
    )


def test_a_pyramid_is_made_at_the_end(make):
    position = make()
    with position.stream("0", (64, 64), "uint16", order="tc", pyramid=2) as frames:
        for number in range(4):
            frames.append(frame_of(number, (64, 64)))
    other = make(name="other")
    other["0"] = position["0"][:]
    other.compute_pyramid(levels=2)
    np.testing.assert_array_equal(position["1"][:], other["1"][:])


def test_levels_are_fresh_after_a_stream_resumes_in_a_chunk_of_finished_frames(make):
    position = make()
    options = {"order": "ct", "lengths": {"t": 3}, "chunks": (1, 2, 1, 8, 8), "pyramid": 2}
    for stop in (4, 6):  # the second run writes the chunks again that hold the first channel
        with position.stream("0", (8, 8), "uint16", resume=True, **options) as frames:
            for number in range(frames.frames, stop):
                frames.append(frame_of(number, (8, 8)))
    assert not position.stale_levels
    followed = position["1"][:]
    position.compute_pyramid(resume=False)
    np.testing.assert_array_equal(followed, position["1"][:])


def test_levels_that_a_stream_leaves_behind_count_as_stale(make):
    position = make(channel_names=["DAPI"])
    lengths = {"t": 4}
    with position.stream("0", (64, 64), "uint16", order="t", lengths=lengths, pyramid=2) as frames:
        frames.append(frame_of(0, (64, 64)))
    assert not position.stale_levels
    with position.stream("0", (64, 64), "uint16", order="t", lengths=lengths, resume=True) as frames:
        frames.append(frame_of(1, (64, 64)))
    assert position.stale_levels
    position.update_pyramid()
    followed = position["1"][:]
    position.compute_pyramid()
    np.testing.assert_array_equal(followed, position["1"][:])


def test_the_levels_follow_behind_the_frames(make):
    position = make(channel_names=["DAPI"])
    with position.stream(
        "0", (64, 64), "uint16", order="t", pyramid=2, shards_ratio=(2, 1, 1, 1, 1)
    ) as frames:
        for number in range(4):
            frames.append(frame_of(number, (64, 64)))
        frames._threads.wait()
        for _ in range(2):  # what came while the levels of the first frames were made
            frames._pyramids.follow()
            frames._pyramids.wait()
        with lamella.open_ome_zarr(position.store_handle.name) as reader:
            followed = reader["1"][:]
    position.compute_pyramid()
    assert len(followed) == 4
    np.testing.assert_array_equal(followed, position["1"][:])


def test_the_array_does_not_grow_while_its_levels_are_made(make, monkeypatch):
    from lamella.ops.pyramids import pyramid

    position, real, shapes = make(channel_names=["DAPI"]), pyramid.compute_pyramid, []

    def compute(image, *args, **options):
        shapes.append(image.data.shape[0])
        frames.append(frame_of(1, (64, 64)))
        frames._threads.wait()
        shapes.append(image.data.shape[0])
        real(image, *args, **options)

    monkeypatch.setattr(pyramid, "compute_pyramid", compute)
    with position.stream("0", (64, 64), "uint16", order="t", pyramid=2) as frames:
        frames.append(frame_of(0, (64, 64)))
        frames._threads.wait()
        frames._pyramids.follow()
        frames._pyramids.wait()
        assert (shapes, frames.stored) == ([1, 1], 2)
    monkeypatch.undo()
    followed = position["1"][:]
    position.compute_pyramid()
    np.testing.assert_array_equal(followed, position["1"][:])


def test_what_fails_behind_the_frames_is_raised(make, monkeypatch):
    def fail(*_args, **_options):
        raise StorageError("no room for the levels")

    monkeypatch.setattr("lamella.ops.pyramids.pyramid.compute_pyramid", fail)
    position = make(channel_names=["DAPI"])
    frames = position.stream("0", (64, 64), "uint16", order="t", pyramid=2)
    frames.append(frame_of(0, (64, 64)))
    with pytest.raises(StorageError, match="no room for the levels"):
        frames.close()
    np.testing.assert_array_equal(position["0"][0, 0, 0], frame_of(0, (64, 64)))


def test_a_pyramid_is_brought_up_to_date_when_the_stream_goes_on(make):
    position = make()
    options = {"order": "tc", "pyramid": 3, "shards_ratio": (4, 1, 1, 1, 1)}
    for stop in (3, 11):
        with position.stream("0", (64, 64), "uint16", resume=True, **options) as frames:
            for number in range(frames.frames, stop):
                frames.append(frame_of(number, (64, 64)))
    levels = [position[str(n)][:] for n in (1, 2)]
    assert not position.stale_levels
    position.compute_pyramid()
    assert [level.shape for level in levels] == [(6, 2, 1, 32, 32), (6, 2, 1, 16, 16)]
    for n, level in enumerate(levels, 1):
        np.testing.assert_array_equal(level, position[str(n)][:])


def test_a_known_number_of_frames_is_the_shape_from_the_start(make, layout):
    version, options = layout
    position = make(version)
    lengths = {"t": 3, "z": Z}
    with position.stream("0", FRAME, "uint16", order="tcz", lengths=lengths, **options) as frames:
        assert stored_by(position.store_handle.name).shape == (3, C, Z, *FRAME)
        for number in range(3 * C * Z):
            frames.append(frame_of(number))
        with pytest.raises(InvalidArgumentError, match="has all its 18 frames"):
            frames.append(frame_of(0))
    np.testing.assert_array_equal(position["0"][:], expected(18))


KILLED = """
import os, signal, sys
import numpy as np
import lamella
path, at, flush_every, ratio = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) or None, eval(sys.argv[4])
position = lamella.open_ome_zarr(path, layout="fov", mode="a", channel_names=["DAPI", "GFP"], version=sys.argv[5])
options = dict(order="tcz", lengths={"z": 3}, shards_ratio=ratio, flush_every=flush_every)
frames = position.stream("0", (6, 10), "uint16", **options)
for number in range(at):
    frames.append(np.random.default_rng(number).integers(1, 60000, (6, 10)).astype("uint16"))
frames._threads.wait()
print(frames.stored, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("version", "ratio", "flush_every", "stored"),
    [
        ("0.4", None, 0, 27),
        ("0.5", None, 0, 27),
        ("0.5", (2, 1, 1, 1, 1), 0, 24),
        ("0.6", (4, 2, 3, 1, 1), 5, 25),
    ],
)
def test_a_kill_costs_no_stored_frame_and_the_stream_goes_on(tmp_path, version, ratio, flush_every, stored):
    path = str(tmp_path / "film.zarr")
    arguments = [path, "27", str(flush_every), repr(ratio), version]
    ended = run(KILLED, *arguments)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert int(ended.stdout) == stored
    with lamella.open_ome_zarr(path, mode="r+") as position:
        seen = position["0"][:].reshape(-1, *FRAME)
        np.testing.assert_array_equal(seen[:stored], expected(27).reshape(-1, *FRAME)[:stored])
        options = {"order": "tcz", "lengths": {"z": Z}, "shards_ratio": ratio}
        with position.stream("0", FRAME, "uint16", resume=True, **options) as frames:
            assert frames.frames == stored
            for number in range(stored, 40):
                frames.append(frame_of(number))
        np.testing.assert_array_equal(position["0"][:], expected(40))


def test_the_example_of_the_documentation_runs(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "streaming.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "error", "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[1] == "(3, 2, 5, 256, 256) [[7, 1]]"
    film = zarr.open_array(tmp_path / "film.zarr" / "0", mode="r")[:, :, :, 0, 0]
    assert film.ravel().tolist() == [*range(7), 0, *range(8, 30)]


# ---- wrong calls ------------------------------------------------------------------------------------


def test_an_order_of_other_axes_is_refused(make):
    with pytest.raises(InvalidArgumentError, match="order 'tq' must name some of the axes tczyx"):
        make().stream("0", FRAME, "uint16", order="tq")


def test_an_order_with_positions_needs_a_plate(make):
    with pytest.raises(InvalidArgumentError, match=r"goes over positions.*plate.stream"):
        make().stream("0", FRAME, "uint16", order="tpc")


def test_an_inner_axis_of_unknown_length_is_refused(make):
    with pytest.raises(InvalidArgumentError, match=r"lengths=\{'z': 10\}"):
        make(channel_names=["DAPI"]).stream("0", FRAME, "uint16", order="tz")


def test_lengths_of_axes_that_are_not_in_the_order_are_refused(make):
    with pytest.raises(InvalidArgumentError, match="axes of the order 'tc'"):
        make().stream("0", FRAME, "uint16", order="tc", lengths={"z": 2})


def test_a_frame_with_too_many_axes_is_refused(make):
    with pytest.raises(InvalidArgumentError, match="2 axes are left for the frame"):
        make().stream("0", (3, *FRAME), "uint16", order="tcz", lengths={"z": 3})


def test_channels_that_are_not_there_are_refused(make):
    position = make()
    position["0"] = np.zeros((1, 2, 1, *FRAME), "uint16")
    with pytest.raises(
        InvalidArgumentError, match=r"\['RFP'\] must name channels of .*: it has \['DAPI', 'GFP'\]"
    ):
        position.stream("1", FRAME, "uint16", order="tc", channel_names=["RFP"])


def test_numbers_of_numpy_are_whole_numbers(make):
    options = {
        "lengths": {"z": np.int64(3), "c": np.uint8(2)},
        "queue": np.int64(4),
        "flush_every": np.int32(3),
    }
    position = make()
    with position.stream("0", FRAME, "uint16", order="tcz", **options) as frames:
        frames.append(frame_of(0))
        frames.skip(np.int64(5))
    assert position["0"].shape[:3] == (1, C, Z)
    with position.stream("0", FRAME, "uint16", order="tcz", lengths={"z": 3}, resume=True) as frames:
        assert frames.skipped == [1, 2, 3, 4, 5]
        with pytest.raises(InvalidArgumentError, match=r"skips a number of frames from 0, not np\.True_"):
            frames.skip(np.True_)


def test_a_queue_of_nothing_is_refused(make):
    with pytest.raises(InvalidArgumentError, match="queue=0 is not a number from 1"):
        make(channel_names=["DAPI"]).stream("0", FRAME, "uint16", order="t", queue=0)


def test_a_frame_of_another_shape_is_refused(make):
    frames = make(channel_names=["DAPI"]).stream("0", FRAME, "uint16", order="t")
    with frames, pytest.raises(InvalidArgumentError, match=r"frames of shape \(6, 10\), not \(10, 6\)"):
        frames.append(np.zeros((10, 6), "uint16"))


def test_a_frame_that_would_lose_values_is_refused(make):
    frames = make(channel_names=["DAPI"]).stream("0", FRAME, "uint16", order="t")
    with (
        frames,
        pytest.raises(
            InvalidArgumentError, match=r"into /.*/0 expects .*float64 does not fit into it without loss"
        ),
    ):
        frames.append(np.zeros(FRAME))


def test_skipping_backwards_is_refused(make):
    frames = make(channel_names=["DAPI"]).stream("0", FRAME, "uint16", order="t")
    with frames, pytest.raises(InvalidArgumentError, match="a number of frames from 0, not -1"):
        frames.skip(-1)


def test_a_closed_stream_takes_nothing(make):
    frames = make(channel_names=["DAPI"]).stream("0", FRAME, "uint16", order="t")
    frames.close()
    frames.close()
    with pytest.raises(ClosedError, match=r"The stream into /.*/0 was closed\. .*resume=True"):
        frames.append(frame_of(0))


def test_a_name_that_is_taken_is_refused_without_resume(make):
    position = make(channel_names=["DAPI"])
    position.stream("0", FRAME, "uint16", order="t").close()
    with pytest.raises(NodeExistsError):
        position.stream("0", FRAME, "uint16", order="t")


def test_resuming_in_another_order_is_refused(make):
    position = make()
    position.stream("0", FRAME, "uint16", order="tcz", lengths={"z": 3}).close()
    with pytest.raises(InvalidArgumentError, match="frames came in order 'tcz'"):
        position.stream("0", FRAME, "uint16", order="tzc", lengths={"z": 3}, resume=True)


def test_resuming_with_another_dtype_is_refused(make):
    position = make(channel_names=["DAPI"])
    position.stream("0", FRAME, "uint16", order="t").close()
    with pytest.raises(InvalidArgumentError, match="uint16, and the new frames"):
        position.stream("0", FRAME, "uint8", order="t", resume=True)


def test_an_array_that_no_stream_made_is_gone_on_with(make):
    position = make()
    position["0"] = np.ones((2, 2, 1, *FRAME), "uint16")
    with position.stream("0", FRAME, "uint16", order="tc", resume=True) as frames:
        assert frames.next_index == {"t": 2, "c": 0}
        frames.append(frame_of(0))
    assert position["0"].shape == (3, 2, 1, *FRAME)
    np.testing.assert_array_equal(position["0"][2, 0, 0], frame_of(0))


def test_a_stream_resumes_behind_planes_that_were_appended_and_after_the_last_that_were_left(make):
    position = make()
    with position.stream("0", FRAME, "uint16", order="tc") as frames:
        for number in range(3):
            frames.append(frame_of(number))
    position["0"].append(np.full((1, 2, 1, *FRAME), 7, "uint16"))
    with position.stream("0", FRAME, "uint16", order="tc", resume=True) as frames:
        assert (frames.next_index, frames.skipped) == ({"t": 3, "c": 0}, [3])
        frames.append(frame_of(8))
    assert position["0"][:, 0, 0].max(axis=(1, 2)).tolist() == [
        *(frame_of(n).max() for n in (0, 2)),
        7,
        frame_of(8).max(),
    ]
    position["0"].resize((1, 2, 1, *FRAME))
    with position.stream("0", FRAME, "uint16", order="tc", resume=True) as frames:
        assert (frames.next_index, frames.skipped) == ({"t": 1, "c": 0}, [])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(5, "broken"), StorageError),
        (MemoryError("broken"), MemoryError),
        (TypeError("broken"), TypeError),
    ],
)
def test_a_failed_job_stops_the_others(error, kind):
    workers, ran = ChunkThreads(1, 4), []

    def fail():
        raise error

    workers.submit(fail)
    with pytest.raises(kind, match="broken"):
        workers.wait()
    with pytest.raises(kind, match="broken"):
        workers.submit(lambda: ran.append(1))
    workers.close()
    assert ran == []


@pytest.mark.parametrize("lengths", [None, {"t": 2}])
def test_a_resumed_stream_makes_the_levels_that_a_killed_one_had_not_made(make, lengths):
    with make(channel_names=("DAPI",)) as position:
        with position.stream("0", (64, 64), "uint16", order="t", lengths=lengths) as frames:
            for number in range(2):
                frames.append(frame_of(number, (64, 64)))
        with position.stream(
            "0", (64, 64), "uint16", order="t", lengths=lengths, resume=True, pyramid=2
        ) as frames:
            assert frames.stored == 2
        assert position.dataset_paths == ["0", "1"]
        assert not position.stale_levels
        assert position["1"].shape == (2, 1, 1, 32, 32)
        assert position["1"][...].all(axis=(1, 2, 3, 4)).any()
