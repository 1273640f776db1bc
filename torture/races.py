"""Scenario: processes racing for one plate and one array, and killed at random.

Four processes create positions in one plate and write rows of shards that they share; one after the other is killed.
Afterwards every acknowledged position and row must be stored.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import lamella
from torture.children import python

if TYPE_CHECKING:
    import subprocess

FAULTS = ("lost", "errors")

WORKER = """
import sys
import numpy as np, lamella
path, worker, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = np.random.default_rng(seed)
plate = lamella.open_ome_zarr(path, mode="r+")
image = plate["S/1/0"]["0"]
for n in range(1000):
    if chance.random() < 0.3:
        name = (f"{chr(65 + worker)}", str(int(chance.integers(3))), f"{seed}x{n}")
        plate.create_positions([name])
        print("position", "/".join(name), flush=True)
    else:
        row = int(chance.integers(16)) * 4 + worker
        image[0, 0, 0, row] = n + 1
        print("row", row, n + 1, flush=True)
"""


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Race until the time is over; return the counts."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter({"processes": 0, "kills": 0, "lost": 0, "errors": 0})
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            path = Path(folder) / "p.zarr"
            with lamella.open_ome_zarr(
                path, layout="hcs", mode="w-", channel_names=["a"], version="0.5"
            ) as plate:
                shared = plate.create_position("S", "1", "0")
                shared.create_zeros(
                    "0", (1, 1, 1, 64, 32), "uint16", chunks=(1, 1, 1, 8, 32), shards_ratio=(1, 1, 1, 4, 1)
                )
            _race(path, chance, min(8.0, ends - time.monotonic() + 3), counts, seed)
    return dict(counts)


def _race(path: Path, chance: random.Random, seconds: float, counts: Counter[str], seed: int) -> None:
    logs = path.parent / "logs"
    logs.mkdir()
    ends = time.monotonic() + seconds
    latest = ends + 2 * seconds
    running: dict[int, subprocess.Popen[str]] = {}
    started: list[tuple[int, Path]] = []
    while time.monotonic() < min(ends, latest):
        for worker in set(range(4)) - running.keys():
            number = len(started)
            log = logs / f"{number}"
            started.append((worker, log))
            with log.open("w") as out, log.with_suffix(".err").open("w") as err:
                arguments = path, worker, seed % 1000 * 1000 + number
                running[worker] = python("-W", "ignore", "-c", WORKER, *arguments, stdout=out, stderr=err)
            counts["processes"] += 1
        time.sleep(chance.random())
        last = dict(started)
        busy = [worker for worker in running if last[worker].stat().st_size]
        if not busy:
            ends += 1  # slow machines need time to start processes
            continue
        running.pop(chance.choice(busy)).send_signal(signal.SIGKILL)
        counts["kills"] += 1
    for process in running.values():
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.2)
    _check(path, started, counts, seed)


def _check(path: Path, started: list[tuple[int, Path]], counts: Counter[str], seed: int) -> None:
    rows: dict[int, int] = {}
    begun: dict[int, set[int]] = {}  # the value that each worker may have been writing when it was killed
    positions: set[str] = set()
    for worker, log in started:
        if "Error" in log.with_suffix(".err").read_text():
            counts["errors"] += 1
            counts[f"{log.with_suffix('.err').read_text().splitlines()[-1]} (seed {seed})"] += 1
        lines = log.read_text().split("\n")[:-1]
        begun.setdefault(worker, set()).add(len(lines) + 1)
        for line in lines:
            what, *rest = line.split()
            if what == "position":
                positions.add(rest[0])
            else:
                rows[int(rest[0])] = int(rest[1])
    plate = lamella.open_ome_zarr(path)
    listed = {name for name, _ in plate.positions()}
    counts["positions"] += len(positions)
    counts["rows"] += len(rows)
    counts["lost"] += len(positions - listed)
    stored = plate["S/1/0"]["0"][0, 0, 0]
    for row, value in rows.items():
        # A killed process may have stored its last write without acknowledging it.
        if not (stored[row] == stored[row][0]).all() or int(stored[row][0]) not in {value, *begun[row % 4]}:
            counts["lost"] += 1
            counts[f"row {row}: {stored[row][:4].tolist()} for {value} (seed {seed})"] += 1
