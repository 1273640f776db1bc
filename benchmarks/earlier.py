"""Measure lamella against an earlier commit of itself, and both against the floor, in one run.

    python benchmarks/earlier.py COMMIT [--only WORKLOAD,...] [--rounds N] [--folder DIR]

The sources of the commit run with today's interpreter, libraries and workloads. Results are kept in the folder, so that
several runs with --only fill one table, which is written into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from bench import HERE, Bench, compile_package
from report import TARGETS, Results, machine, markdown, median, ratio, write_block

MODULE = """
import sys
sys.path.insert(0, {src!r})
from lamella import *
from lamella import open_ome_zarr
"""
MAX_RATIO = 1.05


class EveryRound(Bench):
    """Measure all libraries in every round, each time in another order."""

    def _measured(self, workload: str, number: int) -> list[str]:
        names = list(self.libraries)
        turn = number % len(names)
        return names[turn:] + names[:turn]


def unpack(commit: str, folder: Path) -> None:
    """Write the sources of a commit, and a module `earlier_lamella` that imports them."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit, "src"], cwd=HERE.parent, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    (folder / "earlier_lamella.py").write_text(MODULE.format(src=str(folder / "src")))


def table(results: Results) -> str:
    """Return a table of both, and of the ratio of the times of lamella now and earlier."""
    rows = []
    for workload in (name for name in TARGETS if name in results):
        measured = results[workload]
        now, before = median(measured["lamella"], "seconds"), median(measured["earlier"], "seconds")
        if now is None:
            rows.append([workload, "", "fails", "", "", "", "no"])
            continue
        floors = [f"{ratio(measured, name) or 0:.2f}" for name in ("earlier", "lamella")]
        if before is None:
            rows.append([workload, "fails", f"{now:.3f} s", *floors, "", ""])
            continue
        cpu_ratio = (median(measured["lamella"], "cpu") or 0) / (median(measured["earlier"], "cpu") or 1)
        rows.append(
            [workload, f"{before:.3f} s", f"{now:.3f} s", *floors, f"{now / before:.2f}", f"{cpu_ratio:.2f}"]
        )
    head = ["workload", "earlier", "now", "earlier / floor", "now / floor", "now / earlier", "processor"]
    return markdown(head, rows)


def main() -> int:
    """Measure, print and write the table; return 1 if a workload is slower than by 5 percent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("commit")
    parser.add_argument("--only", metavar="WORKLOAD,...", default=",".join(TARGETS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=HERE / "out")
    args = parser.parse_args()
    make = "import sys, pathlib, sample; sample.make(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", make, str(args.folder.absolute())], cwd=HERE, check=True)
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%h of %cs", args.commit],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    scratch = Path(tempfile.mkdtemp(prefix="earlier-", dir=args.folder)).absolute()
    results_file = args.folder / "earlier.json"
    try:
        unpack(args.commit, scratch)
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [str(scratch), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        compile_package("lamella")
        libraries = {"floor": "floor", "lamella": "lamella", "earlier": "earlier_lamella"}
        new_results = EveryRound(libraries, args.folder, scratch, args.rounds).run(
            args.only.split(","), args.rounds
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    results: Results = (json.loads(results_file.read_text()) if results_file.exists() else {}) | new_results
    results_file.write_text(json.dumps(results, indent=1))
    text = f"*Earlier* is commit {commit}. Medians of {args.rounds} interleaved rounds. {machine()}."
    text = f"{text}\n\n{table(results)}"
    print(f"\n{text}\n")
    write_block("earlier", text)
    slower = [
        workload
        for workload, figures in results.items()
        if (ratio(figures, "lamella") or 9e9) > MAX_RATIO * (ratio(figures, "earlier") or 9e9)
    ]
    print(f"Slower than by 5 %: {', '.join(slower) or 'nothing'}.")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
