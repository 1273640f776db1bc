"""Measure lamella against the floor of this machine, and against peers with the same API, in one run.

    python benchmarks/bench.py [--peer NAME=MODULE] [--only WORKLOAD,...] [--rounds N]

Each measurement is a process of its own. Rounds go over the libraries in turn, so that a slow minute of the
machine hits all alike. Medians and their ratios to the floor are printed and written into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

# What each workload may cost as a multiple of the floor; none where nothing was promised.
LIMITS = {
    "import_time": 2.0,
    "plate_create": 5.0,
    "plate_walk": 6.0,
    "write_image": 1.3,
    "read_image": 1.3,
    "crops": None,
    "crops4": None,
    "pyramid": None,
    "stream": 1.1,
    "stream_files": 1.1,
    "stream_shards": 1.1,
    "convert": None,
}
NEEDS = {
    "plate_walk": "plate_create",
    "read_image": "write_image",
    "crops": "write_image",
    "crops4": "write_image",
}
NEEDS_OF_FLOOR = {**NEEDS, "pyramid": "write_image"}
ONLY_LAMELLA = {"stream_files", "stream_shards", "convert"}
CONVERT_MEMORY_MB = 600

Results = dict[str, dict[str, list[dict[str, Any]]]]


def measure(module: str, workload: str, folder: Path) -> dict[str, Any]:
    """Run one workload of one library in a new process; a failure is a result too."""
    command = [sys.executable, str(HERE / "workload.py"), module, workload, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if run.returncode:
        return {"error": (run.stderr.strip().splitlines() or ["no message"])[-1]}
    result: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return result


def run_rounds(libraries: dict[str, str], workloads: list[str], rounds: int, folder: Path) -> Results:
    """Measure every workload on every library, round by round."""
    results: Results = {workload: {name: [] for name in libraries} for workload in workloads}
    made: set[tuple[str, str]] = set()
    for number in range(rounds):
        for workload in workloads:
            for name, module in libraries.items():
                if workload in ONLY_LAMELLA and module not in ("floor", "lamella"):
                    continue
                need = (NEEDS_OF_FLOOR if module == "floor" else NEEDS).get(workload)
                if need and (name, need) not in made:
                    measure(module, need, folder)
                    made.add((name, need))
                result = measure(module, workload, folder)
                made.add((name, workload))
                results[workload][name].append(result)
                print(f"round {number + 1}  {workload:13} {name:10} {shown(result)}", flush=True)
    return results


def shown(result: dict[str, Any]) -> str:
    """One measurement on one line."""
    return "  ".join(
        f"{key} {value:.3f}" if isinstance(value, float) else f"{key}: {value}"
        for key, value in result.items()
    )


def median(results: list[dict[str, Any]], key: str) -> float | None:
    """The median of what was measured; None when no run succeeded."""
    values = [result[key] for result in results if key in result]
    return statistics.median(values) if values else None


def table(results: Results, libraries: dict[str, str]) -> str:
    """Medians and ratios as a Markdown table."""
    peers = [name for name in libraries if name not in ("floor", "lamella")]
    head = ["workload", "floor", "lamella", "lamella / floor", "promised", "peak memory", *peers]
    rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for workload, measured in results.items():
        floor, own = median(measured["floor"], "seconds"), median(measured["lamella"], "seconds")
        peak, limit = median(measured["lamella"], "rss_mb"), LIMITS[workload]
        row = [workload, f"{floor:.3f} s" if floor else "failed", f"{own:.3f} s" if own else "failed"]
        row += [f"{own / floor:.2f}" if own and floor else "", f"<= {limit}" if limit else ""]
        row += [f"{peak:.0f} MB" if peak else ""]
        for name in peers:
            peer = median(measured[name], "seconds")
            row.append(f"{peer:.3f} s ({peer / own:.1f}x)" if peer and own else "")
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def broken_promises(results: Results) -> list[str]:
    """Every limit that a median of this run exceeds, and every workload of lamella that failed."""
    broken = []
    for workload, measured in results.items():
        floor, own = median(measured["floor"], "seconds"), median(measured["lamella"], "seconds")
        if own is None or floor is None:
            broken.append(
                f"{workload}: {measured['lamella'][-1].get('error') or measured['floor'][-1].get('error')}"
            )
        elif (limit := LIMITS[workload]) and own / floor > limit:
            broken.append(f"{workload}: {own / floor:.2f} times the floor, promised {limit}")
        if workload == "convert" and (median(measured["lamella"], "rss_mb") or 0) > CONVERT_MEMORY_MB:
            broken.append(f"convert: more than {CONVERT_MEMORY_MB} MB of memory")
    return broken


def write_document(text: str) -> None:
    """Replace what is between the markers of docs/benchmarks.md."""
    document = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=MODULE", help="a library with open_ome_zarr"
    )
    parser.add_argument(
        "--only", metavar="WORKLOAD,...", help="these workloads only; docs/benchmarks.md stays as it is"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=HERE / "out", help="scratch space, about 8 GB")
    return parser.parse_args()


def main() -> int:
    """Measure, print, write the document; 1 when a promise is broken."""
    args = arguments()
    libraries = {"floor": "floor", "lamella": "lamella", **dict(peer.split("=", 1) for peer in args.peer)}
    workloads = args.only.split(",") if args.only else list(LIMITS)
    unknown = set(workloads) - set(LIMITS)
    if unknown:
        sys.exit(f"bench: no workload {', '.join(sorted(unknown))}; there are {', '.join(LIMITS)}")
    make = [
        sys.executable,
        "-c",
        "import sys, pathlib, sample; sample.make(pathlib.Path(sys.argv[1]))",
        str(args.folder),
    ]
    subprocess.run(make, cwd=HERE, check=True)
    results = run_rounds(libraries, workloads, args.rounds, args.folder)
    (args.folder / "results.json").write_text(json.dumps(results, indent=1))
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    text = f"Medians of {args.rounds} rounds on {machine}.\n\n{table(results, libraries)}"
    print(f"\n{text}\n")
    broken = broken_promises(results)
    print("\n".join(broken) if broken else "Every promise is kept.")
    if not args.only:
        write_document(text)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
