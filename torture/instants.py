"""Scenario: an acquisition killed (SIGKILL) at random instants of time.

Every acknowledged frame must be stored, and every file must decode. The kills also hit the threads of the engine and of
the shard writer.
"""

from __future__ import annotations

import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import lamella
from lamella.errors import LamellaError
from torture.children import python

FAULTS = ("lost", "torn", "not finished")

SHAPE = (60, 2, 4, 64, 96)

WRITER = """
import sys
import numpy as np, lamella
path, first = sys.argv[1], int(sys.argv[2])
with lamella.open_ome_zarr(path, mode="r+") as position:
    image = position["0"]
    print("ready", flush=True)
    for t in range(first, image.shape[0]):
        for c in range(image.shape[1]):
            image[t, c] = np.random.default_rng((t, c)).integers(1, 60000, image.shape[2:], dtype="uint16")
            print(t, c, flush=True)
"""


def frame(t: int, c: int) -> np.ndarray:
    """Return the pixels of a frame."""
    return np.random.default_rng((t, c)).integers(1, 60000, SHAPE[2:], dtype="uint16")


def _kill_once(path: str, first: int, skipped: int, after: float) -> list[tuple[int, int]]:
    """Kill a running acquisition after some time; return the frames that it acknowledged."""
    writer = python("-W", "ignore", "-c", WRITER, path, first, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    text = "".join(writer.stdout.readline() for _ in range(skipped))
    time.sleep(after)
    writer.send_signal(signal.SIGKILL)
    # The last line may be incomplete, then its frame was not acknowledged.
    lines = (text + writer.stdout.read()).split("\n")[:-1]
    writer.wait()
    return [(int(t), int(c)) for t, c in (line.split() for line in lines)]


def _check(path: str, acknowledged: set[tuple[int, int]], counts: Counter[str], seed: int) -> None:
    with lamella.open_ome_zarr(path) as position:
        image = position["0"]
        for t, c in np.ndindex(SHAPE[:2]):
            try:
                stored = image[t, c]
            except LamellaError as error:
                counts["torn"] += 1
                counts[f"frame {t} {c}: {error} (seed {seed})"] += 1
                continue
            counts["frames compared"] += 1
            expected = frame(t, c)
            if (t, c) in acknowledged and not np.array_equal(stored, expected):
                counts["lost"] += 1
            elif not (stored == expected)[stored != 0].all():
                counts["torn"] += 1


def acquisition(path: str, chance: random.Random, counts: Counter[str], seed: int) -> None:
    """Write frames in processes that are killed one after the other, check them, and write all again."""
    version = chance.choice(["0.4", "0.5", "0.5"])
    sharded = version == "0.5" and chance.random() < 0.6
    shards = chance.choice([(1, 1, 4, 2, 2), (3, 2, 2, 2, 3)]) if sharded else None
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w-", channel_names=["a", "b"], version=version
    ) as new:
        new.create_zeros("0", SHAPE, "uint16", chunks=(1, 1, 1, 32, 32), shards_ratio=shards)
    acknowledged: set[tuple[int, int]] = set()
    for _ in range(4):
        first = max((t for t, _ in acknowledged), default=0)
        acknowledged |= set(_kill_once(path, first, chance.randrange(20), chance.random() * 0.05))
        counts["kills"] += 1
        _check(path, acknowledged, counts, seed)
    counts["frames acknowledged"] += len(acknowledged)
    with lamella.open_ome_zarr(path, mode="r+") as position:
        for t, c in np.ndindex(SHAPE[:2]):
            position["0"][t, c] = frame(t, c)
        if not all(np.array_equal(position["0"][t, c], frame(t, c)) for t, c in np.ndindex(SHAPE[:2])):
            counts["not finished"] += 1


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Kill acquisitions until the time is over; return ``kills``, the counts of frames, and those of ``FAULTS``."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter({"kills": 0, "lost": 0, "torn": 0, "not finished": 0})
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            acquisition(str(Path(folder) / "a.zarr"), chance, counts, seed)
    return dict(counts)
