"""Show that cost grows linearly: plates, pyramids, and plates of up to 100,000 fields, at 1, 4 and 16 times the work.

    python benchmarks/scaling.py [--version 0.5] [--only CASE,...] [--rounds N] [--folder DIR]

Each measurement is a new process, and every round measures all sizes. The table has medians of wall time and processor
time, the cost per unit of work, and this cost relative to the smallest size: 1.00 is linear. Each process first does
the smallest size, so that imports and kernels are not measured. If all cases of a table are measured, it is written
into docs/benchmarks.md. The documents of large plates are made when they are read.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import machine, markdown, write_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS = (1, 4, 16)
WELLS = 24  # with nine fields each: 216 positions, and 3456 at 16 times the work
FIELDS = 9
POSITION = {"shape": (1, 3, 8, 1024, 1024), "dtype": "uint16", "chunks": (1, 1, 8, 1024, 1024)}
LARGE_WELLS = 25  # with 250 fields each: 6250, and 100,000 at 16 times the work
LARGE_FIELDS = LARGE_WELLS * 250
CHANNELS = ["DAPI", "GFP", "RFP"]
FRAME = (1, 1, 16, 512, 512)  # 8 MiB of uint16; a unit of a pyramid's work is one time point of it


def fields(wells: int) -> Iterator[tuple[str, str, str]]:
    """Return row, column and name of the positions of a number of wells on a plate of 24 columns."""
    for well in range(wells):
        for field in range(FIELDS):
            yield chr(ord("A") + well // 24), str(well % 24 + 1), str(field)


def create(folder: Path, step: int, version: str) -> None:
    """Create positions with an empty array each."""
    from lamella import open_ome_zarr

    path = folder / f"plate-{step}.zarr"
    with open_ome_zarr(path, layout="hcs", mode="w", channel_names=CHANNELS, version=version) as plate:
        for position in plate.create_positions(list(fields(WELLS * step))):
            position.create_zeros("0", **POSITION)


def walk(folder: Path, step: int, version: str) -> None:
    """Read shape, scale and channels of every position."""
    from lamella import open_ome_zarr

    with open_ome_zarr(folder / f"plate-{step}.zarr") as plate:
        facts = [(p.data.shape, p.scale, p.channel_names) for _, p in plate.positions()]
    assert len(facts) == WELLS * FIELDS * step, len(facts)


def pyramid(folder: Path, step: int, version: str) -> None:
    """Compute three lower levels of a film."""
    from lamella import open_ome_zarr

    with open_ome_zarr(folder / f"film-{step}.zarr", mode="r+") as position:
        position.compute_pyramid(levels=4)


def prepare_walk(folder: Path, step: int, version: str) -> None:
    """Create the plate to walk, unless it exists."""
    if not (folder / f"plate-{step}.zarr").exists():
        create(folder, step, version)


def prepare_pyramid(folder: Path, step: int, version: str) -> None:
    """Write a film without lower levels, with one time point per unit of work."""
    import numpy as np

    from lamella import open_ome_zarr

    path = folder / f"film-{step}.zarr"
    shutil.rmtree(path, ignore_errors=True)
    frame = np.random.default_rng(0).poisson(100, FRAME).astype("uint16")
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"], version=version) as position:
        image = position.create_zeros("0", (step, *FRAME[1:]), "uint16", chunks=(1, 1, 8, 256, 256))
        for t in range(step):
            image[t] = frame[0]


def prepare_create(folder: Path, step: int, version: str) -> None:
    """Delete the old plate; deletion is not timed."""
    shutil.rmtree(folder / f"plate-{step}.zarr", ignore_errors=True)


def _large(step: int) -> Any:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.generated_plate import GeneratedPlate

    return GeneratedPlate(LARGE_WELLS * step)


def large_open(folder: Path, step: int, version: str) -> None:
    """Open the last field of a large plate, by the plate."""
    from lamella import open_ome_zarr

    well = LARGE_WELLS * step - 1
    path = f"{chr(ord('A') + well // 48)}/{well % 48 + 1}/249"
    assert open_ome_zarr(_large(step))[path]["0"].shape


def large_walk(folder: Path, step: int, version: str) -> None:
    """Read the shapes of all fields of a large plate."""
    from lamella import open_ome_zarr

    count = sum(1 for _, position in open_ome_zarr(_large(step)).positions() if position["0"].shape)
    assert count == LARGE_FIELDS * step


def large_table(folder: Path, step: int, version: str) -> None:
    """Make the table of a large plate."""
    from lamella import open_ome_zarr

    assert len(open_ome_zarr(_large(step)).table()) == LARGE_FIELDS * step


def prepare_nothing(folder: Path, step: int, version: str) -> None:
    """Leave all as it is."""


CASES: dict[str, tuple[Callable[[Path, int, str], None], Callable[[Path, int, str], None], str]] = {
    "plate_create": (prepare_create, create, "position"),
    "plate_walk": (prepare_walk, walk, "position"),
    "pyramid": (prepare_pyramid, pyramid, "time point"),
    "large_open": (prepare_nothing, large_open, "field"),
    "large_walk": (prepare_nothing, large_walk, "field"),
    "large_table": (prepare_nothing, large_table, "field"),
}
TABLES = {
    "scaling": ["plate_create", "plate_walk", "pyramid"],
    "large": ["large_open", "large_walk", "large_table"],
}
UNITS = {"plate_create": WELLS * FIELDS, "plate_walk": WELLS * FIELDS, "pyramid": 1}
UNITS |= dict.fromkeys(TABLES["large"], LARGE_FIELDS)


def measure_case(case: str, step: int, folder: Path, version: str) -> dict[str, float]:
    """Measure one size of one case in this process, after running the smallest size once."""
    prepare, work, _ = CASES[case]
    warm = folder / "warm"
    warm.mkdir(parents=True, exist_ok=True)
    prepare(warm, 1, version)
    work(warm, 1, version)
    prepare(folder, step, version)
    cpu, start, before = time.process_time(), time.perf_counter(), _peak()
    work(folder, step, version)
    return {
        "wall": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "memory": _peak() - before,
    }


def _peak() -> float:
    """Return the most memory that this process had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(
    cases: list[str], rounds: int, folder: Path, version: str
) -> dict[tuple[str, int], dict[str, float]]:
    """Measure every size of every case, round by round; return medians."""
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(rounds):
        for case in cases:
            for step in STEPS:
                command = [sys.executable, __file__, "--one", f"{case}:{step}", "--folder", str(folder)]
                run = subprocess.run(
                    [*command, "--version", version], capture_output=True, text=True, check=True, timeout=900
                )
                runs.setdefault((case, step), []).append(json.loads(run.stdout))
    return {
        key: {name: statistics.median(run[name] for run in case_runs) for name in ("wall", "cpu", "memory")}
        for key, case_runs in runs.items()
    }


def table(results: dict[tuple[str, int], dict[str, float]]) -> str:
    """Return the medians as a Markdown table."""
    head = ["case", "work", "wall", "processor", "processor per unit", "against 1x", "more memory"]
    rows: list[list[str]] = []
    for (case, step), median in results.items():
        units, unit = UNITS[case] * step, CASES[case][2]
        cost, cost_of_smallest = median["cpu"] / units, results[case, STEPS[0]]["cpu"] / UNITS[case]
        rows.append(
            [
                case,
                f"{step}x: {units} {unit}{'s' if units > 1 else ''}",
                f"{median['wall']:.3f} s",
                f"{median['cpu']:.3f} s",
                f"{cost * 1e6:.0f} us" if cost < 1e-2 else f"{cost * 1e3:.0f} ms",
                f"{cost / cost_of_smallest:.2f}",
                f"{median['memory']:.0f} MiB",
            ]
        )
    return markdown(head, rows)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", metavar="CASE,...", help=f"some of {', '.join(CASES)}")
    parser.add_argument("--version", default="0.5", choices=["0.4", "0.5"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "out", help="scratch space")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Measure and print."""
    args = arguments()
    if args.one:
        case, _, step = args.one.partition(":")
        figures: dict[str, Any] = dict(measure_case(case, int(step), args.folder, args.version))
        print(json.dumps(figures))
        return 0
    cases = args.only.split(",") if args.only else list(CASES)
    unknown = set(cases) - set(CASES)
    if unknown:
        sys.exit(f"scaling: no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    folder = args.folder / "scaling"
    results = measured(cases, args.rounds, folder, args.version)
    shutil.rmtree(folder, ignore_errors=True)
    for name, cases_of_table in TABLES.items():
        medians = {key: median for key, median in results.items() if key[0] in cases_of_table}
        text = f"Medians of {args.rounds} rounds, OME-NGFF {args.version}. {machine()}.\n\n{table(medians)}"
        print(text)
        if set(cases_of_table) <= set(cases):
            write_block(name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
