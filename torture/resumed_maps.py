"""Scenario: maps over a plate killed at random, their outputs, sources and functions changed between the runs.

Between runs, files of the output are truncated, overwritten or removed, pixels of the source change, and the function
changes. The last run must give the result of a run without kills, and another run after it must skip all units.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import lamella
from lamella.errors import LamellaError

FAULTS = ("wrong", "errors", "not skipped")

SHAPE = (1, 2, 3, 64, 64)
PATHS = [("A", "1", "0"), ("A", "2", "0"), ("B", "1", "0"), ("B", "1", "1")]

CHILD = """
import sys
from torture.resumed_maps import run_map, warm_up
warm_up()
print("ready", flush=True)
run_map(sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


def scaled(block: Any, factor: int) -> Any:
    """Return pixels times a factor."""
    return block * np.uint16(factor)


def projected(position: Any, factor: int) -> Any:
    """Return the maximum along z, times a factor."""
    return scaled(position["0"][:].max(axis=2, keepdims=True), factor)


def bright(position: Any, factor: int) -> Any:
    """Return labels of pixels brighter than a limit."""
    return (position["0"][:, 0] > 40 * factor).astype("uint8")


#: Function, options, and where the result is in a position.
KINDS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "regions": (scaled, {"over": "regions", "output": "out.zarr"}, "0"),
    "regions beside": (scaled, {"over": "regions", "name": "scaled"}, "scaled"),
    "positions": (projected, {"output": "out.zarr"}, "0"),
    "positions beside": (projected, {"name": "max"}, "max"),
    "labels": (bright, {"name": "labels/bright"}, "labels/bright/0"),
}


def run_map(folder: str, kind: str, factor: int) -> Any:
    """Run one map over the plate of a folder."""
    function, options, _ = KINDS[kind]
    if "output" in options:
        options = {**options, "output": f"{folder}/{options['output']}"}
    with lamella.open_ome_zarr(f"{folder}/plate.zarr", mode="r+") as plate:
        return plate.map(functools.partial(function, factor=factor), jobs=2, **options)


def warm_up() -> None:
    """Import and compile what a map needs, so that the kill comes during the map."""
    with tempfile.TemporaryDirectory() as name:
        _make_plate(Path(name), random.Random(0))
        run_map(name, "regions", 1)


def _make_plate(folder: Path, chance: random.Random) -> None:
    version = chance.choice(["0.4", "0.5", "0.6"])
    layout = {"shards_ratio": (1, 1, 1, 2, 2)} if version != "0.4" and chance.random() < 0.5 else {}
    with lamella.open_ome_zarr(
        folder / "plate.zarr", layout="hcs", mode="w", channel_names=["a", "b"], version=version
    ) as plate:
        for position in plate.create_positions(PATHS):
            pixels = np.random.default_rng(chance.getrandbits(32)).integers(0, 200, SHAPE, dtype="uint16")
            position.create_image("0", pixels, chunks=(1, 1, 2, 16, 16), **layout)


def _kill(folder: Path, kind: str, factor: int, after: float) -> None:
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(folder), kind, str(factor)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    child.wait()


def _spoil(folder: Path, kind: str, chance: random.Random, counts: Counter[str]) -> None:
    """Change files of the output, or pixels of the source."""
    _, options, array = KINDS[kind]
    store = folder / ("out.zarr" if "output" in options else "plate.zarr")
    files = [
        file
        for path in PATHS
        for file in (store / "/".join(path) / array).rglob("*")
        if file.is_file() and not file.name.startswith(".") and file.name != "zarr.json"
    ]
    for file in chance.sample(files, min(len(files), chance.randrange(4))):
        data = file.read_bytes()
        change = chance.choice(["cut off", "overwritten", "removed"])
        counts[change] += 1
        if change == "removed":
            file.unlink()
        else:
            file.write_bytes(
                data[: chance.randrange(len(data) + 1)]
                if change == "cut off"
                else chance.randbytes(len(data))
            )
    if chance.random() < 0.5:
        counts["sources changed"] += 1
        with lamella.open_ome_zarr(folder / "plate.zarr", mode="r+") as plate:
            image = plate["/".join(chance.choice(PATHS))]["0"]
            y, x = chance.randrange(60), chance.randrange(60)
            image[0, :, :, y : y + 4, x : x + 4] = chance.randrange(200)


def _check(folder: Path, kind: str, factor: int, counts: Counter[str], seed: int) -> None:
    function, options, array = KINDS[kind]
    run_map(str(folder), kind, factor)
    store = folder / ("out.zarr" if "output" in options else "plate.zarr")
    source, out = lamella.open_ome_zarr(folder / "plate.zarr"), lamella.open_ome_zarr(store)
    for path in ("/".join(path) for path in PATHS):
        argument = source[path]["0"][:] if function is scaled else source[path]
        counts["images compared"] += 1
        if not np.array_equal(out[f"{path}/{array}"][:], function(argument, factor)):
            counts["wrong"] += 1
            counts[f"{kind} of {path} is not that of a whole run (seed {seed})"] += 1
    if run_map(str(folder), kind, factor).done:
        counts["not skipped"] += 1


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Kill, damage and resume maps until the time is over."""
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end or not counts["maps"]:
        trial = seed * 1000 + counts["maps"]
        chance = random.Random(trial)
        kind, factor = chance.choice(list(KINDS)), 1
        counts["maps"] += 1
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _make_plate(folder, chance)
            try:
                for _ in range(chance.randrange(2, 6)):
                    if chance.random() < 0.4:
                        _kill(folder, kind, factor, chance.random() * chance.choice([0.1, 0.3, 0.8]))
                        counts["kills"] += 1
                    else:
                        run_map(name, kind, factor)
                        counts["whole runs"] += 1
                    _spoil(folder, kind, chance, counts)
                    factor = chance.choice([factor, factor, chance.randrange(1, 5)])
                _check(folder, kind, factor, counts, trial)
            except LamellaError as error:
                counts["errors"] += 1
                counts[f"{kind}: {error} (seed {trial})"] += 1
    return dict(counts)
