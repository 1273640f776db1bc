"""Compare the cost of walking a plate between two versions of the sources, with equal and with different documents.

    python benchmarks/walking.py BEFORE AFTER [--positions N] [--rounds N] [--folder DIR]

BEFORE and AFTER are folders with the package ``lamella``. Both versions run in turn, each in a new process that walks
once for imports and then a few times more. Prints the smallest processor times and their ratio. Every rule runs once
per different document: once for the plate, or once per position.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHANNELS = ["DAPI", "GFP", "RFP"]
KINDS = ("alike", "different")
WALKS = 20


def make(folder: Path, positions: int, version: str) -> None:
    """Create the plates to walk: nine fields per well, each with an empty array."""
    from lamella import open_ome_zarr

    for kind in KINDS:
        path = folder / f"{kind}-{version}.zarr"
        fields = [
            ("ABCDEFGHIJKLMNOP"[number // 216], str(number // 9 % 24 + 1), str(number % 9))
            for number in range(positions)
        ]
        with open_ome_zarr(path, layout="hcs", mode="w", channel_names=CHANNELS, version=version) as plate:
            for number, position in enumerate(plate.create_positions(fields)):
                position.create_zeros("0", (1, 3, 4, 64, 64), "uint16")
                if kind == "different":
                    position.set_scale("0", "z", 1 + number / 1000)


def measure(path: Path, positions: int) -> float:
    """Return the smallest processor time of reading shape, scale and channels of every position."""
    from lamella import open_ome_zarr

    times = []
    for _ in range(WALKS + 1):
        start = time.process_time()
        with open_ome_zarr(path) as plate:
            facts = [(p.data.shape, p.scale, p.channel_names) for _, p in plate.positions()]
        times.append(time.process_time() - start)
        assert len(facts) == positions
    return min(times[1:])


def run(sources: str, *arguments: str) -> str:
    """Run this file in a process that imports the package of a folder."""
    environment = os.environ | {"PYTHONPATH": sources}
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Print a line for each version of OME-NGFF and kind of plate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--positions", type=int, default=864)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for version in ("0.4", "0.5", "0.6"):
            run(options.before, "--make", folder, str(options.positions), version)
            for kind in KINDS:
                best: dict[str, float] = {}
                for _ in range(options.rounds):
                    for sources in (options.before, options.after):
                        path = f"{folder}/{kind}-{version}.zarr"
                        took = json.loads(run(sources, "--measure", path, str(options.positions)))
                        best[sources] = min(took, best.get(sources, took))
                before, after = best[options.before], best[options.after]
                each = 1e6 / options.positions
                print(
                    f"{version} {kind:9}  {before * each:6.1f} -> {after * each:6.1f} us per position, "
                    f"ratio {after / before:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    elif sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main()
