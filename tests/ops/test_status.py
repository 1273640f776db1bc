"""Law: status says of every time and channel whether it is written, never written, or damaged, and decodes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella.models import axes

LAYOUTS = {
    "0.4 chunks": ("0.4", {"chunks": (1, 1, 2, 4, 4)}),
    "0.5 chunks": ("0.5", {"chunks": (1, 1, 2, 4, 4)}),
    "0.5 shards of a frame": ("0.5", {"chunks": (1, 1, 2, 4, 4), "shards_ratio": (1, 1, 2, 2, 2)}),
    "0.5 shards over times": ("0.5", {"chunks": (1, 1, 2, 4, 4), "shards_ratio": (4, 2, 1, 2, 1)}),
    "0.6 shards over all": ("0.6", {"chunks": (1, 1, 2, 4, 4), "shards_ratio": (4, 2, 2, 2, 2)}),
}
SHAPE = (5, 2, 3, 8, 6)


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def film(request, tmp_path):
    version, layout = request.param
    position = lamella.open_ome_zarr(
        tmp_path / "film.zarr", layout="fov", mode="w", channel_names=["DAPI", "GFP"], version=version
    )
    position.create_zeros("0", SHAPE, "uint16", **layout)
    return position


def told(status):
    return {
        (t, c): status.at(t, c)
        for t in range(status.shape[status.time])
        for c in range(status.shape[status.channel])
    }


def test_each_time_and_channel_is_told_as_it_was_written(film):
    film["0"][:2] = 7
    film["0"][3, 1] = 7
    film["0"][4, 0, :2] = 7
    status = film.status()
    expected = dict.fromkeys(np.ndindex(5, 2), "missing")
    expected |= {(0, 0): "written", (0, 1): "written", (1, 0): "written", (1, 1): "written"}
    expected |= {(3, 1): "written", (4, 0): "partly"}
    assert told(status.levels[0]) == expected
    assert status.state == "partly"
    by_runs = {
        (t, c): state for times, channels, state in status.levels[0].runs() for t in times for c in channels
    }
    assert by_runs == expected


def test_zeros_that_were_written_are_written(film):
    film["0"][1:3] = 0
    assert [film.status().levels[0].at(t) for t in range(4)] == ["missing", "written", "written", "missing"]


def test_what_was_never_written_and_what_is_complete(film):
    assert film.status().state == "missing"
    film["0"][:] = 1
    status = film.status()
    assert status.state == "written"
    assert status.levels[0].stored == status.levels[0].expected
    assert list(status.levels[0].runs()) == [(range(5), range(2), "written")]
    assert str(status).splitlines() == [
        f"image: written, {status.levels[0].stored} of {status.levels[0].stored} chunks"
    ]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_file_that_is_cut_off_is_damaged_and_named(film, tmp_path, cut):
    film["0"][:] = np.random.default_rng(0).integers(0, 9999, SHAPE, dtype="uint16")
    file = max(f for f in (tmp_path / "film.zarr" / "0").rglob("*") if f.is_file() and "." not in f.name)
    file.write_bytes(file.read_bytes()[:-cut])
    status = film.status()
    assert status.state == "damaged"
    assert [fault.key for fault in status.levels[0].faults] == [str(file.relative_to(tmp_path / "film.zarr"))]
    assert "damaged" in told(status.levels[0]).values()
    assert file.name in str(status)


def test_an_uncompressed_chunk_of_another_length_is_damaged(tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"], axes=axes("yx"), version="0.5"
    ) as position:
        position.create_image("0", np.ones((4, 4), "u1"), chunks=(2, 4), compressor="none")
        assert position.status().state == "written"
        (tmp_path / "a.zarr/0/c/1/0").write_bytes(b"123456789")
        assert (
            position.status().levels[0].faults[0].found == "it has 9 bytes where an uncompressed chunk has 8"
        )


def test_an_index_beyond_the_file_is_damaged(tmp_path):
    from lamella.store.pixels.shard_file import IndexLayout, encode_index

    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"], axes=axes("tyx"), version="0.5"
    ) as position:
        position.create_image("0", np.ones((4, 2, 4), "u2"), chunks=(1, 2, 4), shards_ratio=(4, 1, 1))
        shard = tmp_path / "a.zarr/0/c/0/0/0"
        form = IndexLayout((4, 1, 1))
        length = len(shard.read_bytes()) - form.size
        entries = np.array([[0, 5], [length - 5, 6], [2**63, 2**63], [0, 0]], "u8")
        shard.write_bytes(shard.read_bytes()[: -form.size] + encode_index(entries, form))
        level = position.status().levels[0]
    assert [level.at(t) for t in range(4)] == ["written", "damaged", "damaged", "damaged"]


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_set_of_frames_in_any_order_of_axes(tmp_path_factory, data):
    names = data.draw(st.sampled_from(["tcyx", "tyx", "cyx", "yx", "tczyx"]))
    sizes = {"t": 4, "c": 3, "z": 2, "y": 4, "x": 4}
    shape = tuple(sizes[name] for name in names)
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    position = lamella.open_ome_zarr(
        tmp_path_factory.mktemp("a") / "a.zarr",
        layout="fov",
        mode="w",
        axes=axes(names),
        version="0.5",
        channel_names=[str(n) for n in range(3 if "c" in names else 1)],
    )
    image = position.create_zeros("0", shape, "u1", chunks=chunks)
    number = {name: (names.index(name) if name in names else None) for name in "tc"}
    written = set()
    for index in data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=4)):
        where = tuple(index["tc".index(name)] if name in "tc" else slice(None) for name in names)
        image[where] = 1
        for t, c in np.ndindex(4, 3):
            alike = [
                number[name] is None or one // chunks[number[name]] == other // chunks[number[name]]
                for name, one, other in zip("tc", index, (t, c), strict=True)
            ]
            if all(alike):
                written.add((t, c))
    status = position.status().levels[0]
    for t, c in np.ndindex(4 if "t" in names else 1, 3 if "c" in names else 1):
        assert status.at(t, c) == ("written" if (t, c) in written else "missing")
    parts = [(t, c) for times, channels, _ in status.runs() for t in times for c in channels]
    assert sorted(parts) == list(np.ndindex(4 if "t" in names else 1, 3 if "c" in names else 1))


def test_an_array_of_2_to_the_60_takes_what_is_stored(tmp_path):
    position = lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"], axes=axes("tyx"), version="0.5"
    )
    image = position.create_zeros("0", (1 << 50, 32, 32), "u1", chunks=(1, 32, 32))
    image[(1 << 49) + 3] = 1
    status = position.status().levels[0]
    assert list(status.runs()) == [
        (range((1 << 49) + 3), range(1), "missing"),
        (range((1 << 49) + 3, (1 << 49) + 4), range(1), "written"),
        (range((1 << 49) + 4, 1 << 50), range(1), "missing"),
    ]
    with pytest.raises(IndexError, match="time"):
        status.at(1 << 50)


def test_a_plate_tells_of_each_image_and_of_labels_and_goes_on_at_damage(tmp_path):
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["a"], version="0.5") as plate:
        for name, value in (("A", 1), ("B", 0), ("C", 1), ("D", 1)):
            position = plate.create_position(name, "1", "0")
            image = position.create_zeros("0", (1, 1, 1, 4, 4), "u1")
            if value:
                image[:] = value
        plate["D/1/0"].labels.create("cells", np.ones((1, 1, 4, 4), "u1"))
    (path / "C/1/0/0/c/0/0/0/0/0").write_bytes(b"")
    (path / "A/1/0/zarr.json").write_text("{")
    status = lamella.status(path)
    assert [(one.path, one.state) for one in status.images] == [
        ("A/1/0", "damaged"),
        ("B/1/0", "missing"),
        ("C/1/0", "damaged"),
        ("D/1/0", "written"),
        ("D/1/0/labels/cells", "written"),
    ]
    assert status.counts == {"written": 2, "partly": 0, "missing": 1, "damaged": 2, "unread": 0}
    assert status.to_dict()["counts"] == status.counts


def test_no_chunk_is_read_whole(counting_store):
    position = lamella.open_ome_zarr(
        counting_store, layout="fov", mode="w", channel_names=["a"], axes=axes("tyx"), version="0.5"
    )
    image = position.create_zeros("0", (4, 64, 64), "u2", chunks=(1, 64, 64), shards_ratio=(2, 1, 1))
    image[:] = np.random.default_rng(0).integers(0, 9999, (4, 64, 64), dtype="u2")
    counting_store.gets.clear()
    assert position.status().state == "written"
    chunks = {key: part for key, part in counting_store.gets if "/c/" in key}
    assert len(chunks) == 2
    assert all("suffix=36" in part for part in chunks.values()), chunks


def test_frames_that_a_stream_dropped_are_told_apart_from_those_that_were_lost(tmp_path):
    position = lamella.open_ome_zarr(
        tmp_path / "film.zarr", layout="fov", mode="w", channel_names=["a"], axes=axes("tyx"), version="0.5"
    )
    with position.stream("0", (8, 8), "uint16", order="t") as frames:
        for number in range(6):
            if number in (2, 3):
                frames.skip()
            else:
                frames.append(np.full((8, 8), number, "uint16"))
        frames.flush()
        assert "open at frame 6" in str(position.status())
    status = position.status()
    assert "  stream: 2 of 6 frames were dropped in the order t: 2 to 3" in str(status).splitlines()
    assert status.to_dict()["levels"][0]["dropped_frames"] == [[2, 2]]
    assert status.levels[0].at(time=2) == "missing"


def test_nothing_is_written(tmp_path):
    position = lamella.open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"])
    position.create_image("0", np.ones((1, 1, 1, 4, 4), "u1"))
    before = sorted((str(f), f.stat().st_mtime_ns) for f in Path(tmp_path).rglob("*"))
    lamella.status(tmp_path / "a.zarr")
    lamella.verify(tmp_path / "a.zarr")
    lamella.checksum(tmp_path / "a.zarr")
    assert sorted((str(f), f.stat().st_mtime_ns) for f in Path(tmp_path).rglob("*")) == before
