"""Measure lamella against the floor of this machine, and against peers with the same API, in one run.

    python benchmarks/bench.py [--peer NAME=MODULE] [--only WORKLOAD,...] [--rounds N] [--folder DIR]

Each measurement is a new process. Every round runs all libraries in turn, so that slow minutes of the machine affect
all of them. Data are synced to the disk before the next measurement, and the pixels of a round are deleted after it.
Medians, their ratios to the floor (see floor.py) and targets are printed, and written into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import compileall
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import TARGETS, Results, figures, machine, missed, table, write_block

HERE = Path(__file__).parent
NEEDS = {
    "plate_walk": "plate_create",
    "read_image": "write_image",
    **dict.fromkeys(("read_sharded", "crops", "crops4", "read_many"), "write_sharded"),
}
NEEDS_OF_FLOOR = {
    **NEEDS,
    **dict.fromkeys(("pyramid", "pyramid_median", "pyramid_mode", "copy_plate"), "write_sharded"),
}
ONLY_LAMELLA = {
    "read_many",
    "stream_files",
    "stream_shards",
    "convert_raw",
    "convert_zlib",
    "plate_create_04",
    "plate_create_bulk",
    "plate_create_bulk_04",
}
"""Workloads without peers: they lack the function, or (plates of 0.4) would need most of the time of the run."""
LARGE = {"stream", "stream_files", "stream_shards", "convert_raw", "convert_zlib"}
"""Workloads whose large output is deleted at once, because no other workload of the round reads it."""
DOCUMENT_BYTES = 1 << 16
"""Size up to which files are kept until the end of the run. ext4 does not reuse inodes that were freed in the last
minutes, and checks all of them for each new file: after thousands of removals the floor of `plate_create` takes up to
six times as long."""
SETTLE_SECONDS = 2.0
"""Pause after the files of a round were removed, so that the file system ends its own work."""


class Bench:
    """Measure several libraries in turn."""

    def __init__(self, libraries: dict[str, str], data: Path, scratch: Path, peer_rounds: int) -> None:
        self.libraries = libraries
        self.data = data
        self.scratch = scratch
        self.peer_rounds = peer_rounds

    def run(self, workloads: list[str], rounds: int) -> Results:
        """Measure every workload on every library, round by round."""
        results: Results = {workload: {name: [] for name in self.libraries} for workload in workloads}
        for number in range(rounds):
            round_folder = self.scratch / f"round-{number + 1}"
            prepared: set[tuple[str, str]] = set()
            for workload in workloads:
                for name in self._measured(workload, number):
                    self._prepare(name, workload, round_folder, prepared)
                    result = self.measure(name, workload, round_folder)
                    prepared.add((name, workload))
                    results[workload][name].append(result)
                    print(f"round {number + 1}  {workload:15} {name:8} {short_repr(result)}", flush=True)
            remove_pixels(round_folder)
        return results

    def _measured(self, workload: str, number: int) -> list[str]:
        """Return the names of the libraries of a round; every round starts with another one."""
        own = ["floor", "lamella"] if number % 2 == 0 else ["lamella", "floor"]
        if workload in ONLY_LAMELLA or number >= self.peer_rounds:
            return own
        return own + [name for name in self.libraries if name not in own]

    def _prepare(self, name: str, workload: str, round_folder: Path, prepared: set[tuple[str, str]]) -> None:
        """Run the workload whose output this one reads, unless it ran in this round."""
        needed_workload = (NEEDS_OF_FLOOR if name == "floor" else NEEDS).get(workload)
        library_and_workload = (name, needed_workload) if needed_workload else None
        if workload == "open_fov":
            library_and_workload = "lamella", "wide_plate"
        if library_and_workload and library_and_workload not in prepared:
            self.measure(*library_and_workload, round_folder)
            prepared.add(library_and_workload)

    def measure(self, name: str, workload: str, round_folder: Path) -> dict[str, Any]:
        """Run one workload of one library in a new process; return its figures, or the failure."""
        os.sync()
        output = round_folder / name
        if workload in LARGE:
            output = round_folder / f"{name}-{workload}"
        command = [sys.executable, str(HERE / "workload.py"), self.libraries[name], workload]
        run = subprocess.run(
            [*command, str(self.data), str(output)], capture_output=True, text=True, check=False, timeout=900
        )
        if workload in LARGE:
            shutil.rmtree(output)
        if run.returncode:
            return {"error": (run.stderr.strip().splitlines() or ["no message"])[-1]}
        result: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
        return result


def remove_pixels(round_folder: Path) -> None:
    """Delete the large files of a round, and wait until the disk is idle."""
    for folder, _, files in os.walk(round_folder):
        for file in files:
            path = Path(folder, file)
            if path.stat().st_size > DOCUMENT_BYTES:
                path.unlink()
    os.sync()
    time.sleep(SETTLE_SECONDS)


def short_repr(result: dict[str, Any]) -> str:
    """Return one measurement as one line."""
    return "  ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key}: {value}"
        for key, value in result.items()
    )


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=MODULE", help="a library with open_ome_zarr"
    )
    parser.add_argument(
        "--only", metavar="WORKLOAD,...", help="these workloads only; docs/benchmarks.md stays as it is"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=1, help="rounds in which peers take part (1)")
    parser.add_argument("--folder", type=Path, default=HERE / "out", help="scratch space, about 10 GB")
    return parser.parse_args()


def compile_package(name: str) -> None:
    """Compile a package that is not installed, as installing would: otherwise each process may compile it again."""
    spec = importlib.util.find_spec(name)
    for folder in (spec and spec.submodule_search_locations) or ():
        compileall.compile_dir(folder, quiet=1)


def main() -> int:
    """Measure, print, write the document; return 1 if a target is missed."""
    args = arguments()
    libraries = {"floor": "floor", "lamella": "lamella", **dict(peer.split("=", 1) for peer in args.peer)}
    workloads = args.only.split(",") if args.only else list(TARGETS)
    unknown = set(workloads) - set(TARGETS)
    if unknown:
        sys.exit(f"bench: no workload {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    make = "import sys, pathlib, sample; sample.make(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", make, str(args.folder.absolute())], cwd=HERE, check=True)
    compile_package("lamella")
    start = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=args.folder))
    try:
        results = Bench(libraries, args.folder, scratch, args.peer_rounds).run(workloads, args.rounds)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    (args.folder / "results.json").write_text(json.dumps(results, indent=1))
    peers = [name for name in libraries if name not in ("floor", "lamella")]
    of_peers = f"; of {', '.join(peers)}: {min(args.rounds, args.peer_rounds)}" if peers else ""
    text = f"Medians of {args.rounds} interleaved rounds{of_peers}. {machine()}.\n\n{table(results, peers)}"
    text = f"{text}\n\n{figures(results, peers)}".rstrip()
    print(f"\n{text}\n\nThis took {(time.monotonic() - start) / 60:.1f} minutes.\n")
    misses = [f"{name}: {reason}" for name, measured in results.items() for reason in missed(name, measured)]
    print("\n".join(misses) if misses else "Every target is met.")
    if not args.only:
        write_block("measured", text)
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
