"""Measure `lamella.convert` against the floor of this machine: the library reads the planes, the codec encodes them.

    python benchmarks/conversion.py [--only CASE,...] [--rounds N] [--folder DIR] [--page FILE]

Sources are generated into the folder once, about 2 GB, and are in the page cache. Each measurement is a new process;
floor and lamella take turns. The floor (conversion_floor.py) writes the same files as lamella did before the first
round. Modules of the library that reads the format are imported before the clock starts, those of lamella are not.
With --page, the table is written into a block of the page. Needs the extra `formats`.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from report import machine, markdown, write_block  # noqa: E402
from timing import Figures, measured, resident_mb  # noqa: E402

OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "czi": ("run.czi", {}),
    "mmstack": ("run_1_MMStack_1.tif", {}),
    "ndtiff": ("", {}),
    "series": ("run.ome.tif", {"series": "all"}),
    "small": ("", {}),
    "plate": ("", {"well_regex": r"p_(?P<row>[A-P])(?P<column>\d\d)_site(?P<field>\d)_z(?P<z>\d\d)"}),
}
"""By case: the file in the folder of the source, or the folder itself, and the arguments of convert."""

TITLES = {
    "czi": "CZI, 500 MiB",
    "mmstack": "Micro-Manager MMStack, 500 MiB",
    "ndtiff": "NDTiff, 500 MiB",
    "series": "200 images in one OME-TIFF, 300 MiB",
    "small": "20,000 TIFFs of 32 KiB, one image",
    "plate": "20,000 TIFFs of 32 KiB, a plate of 1,000 fields",
}
MAX_RATIO, MAX_RATIO_OF_SERIES, MAX_MB = 1.3, 2.0, 300
"""Aims: wall time as a multiple of the floor's, for many small images of one file too, and resident memory in MB."""


def convert(case: str, source: Path, target: Path) -> Figures:
    """Convert the source of a case in this process."""
    import lamella

    if case == "czi":
        import czifile  # noqa: F401
    else:
        import tifffile  # noqa: F401
    name, options = OPTIONS[case]
    lamella.convert  # noqa: B018 (loaded on first use)
    figures = measured(lambda: lamella.convert(source / name, target, **options))
    return figures | {"resident_mb": resident_mb()}


def write_floor(case: str, source: Path, target: Path) -> Figures:
    """Do the least that writes the same files."""
    import czifile  # noqa: F401
    import numcodecs  # noqa: F401
    import tifffile  # noqa: F401

    from conversion_floor import Layout, floor

    layout = Layout.of(source.with_name(f"{case}.zarr"))
    return measured(lambda: floor(case, source, layout, target))


def read(case: str, source: Path, _: Path) -> Figures:
    """Only read the planes by the library."""
    import tifffile  # noqa: F401

    from conversion_floor import read_all

    return measured(lambda: read_all(case, source))


def prepare(case: str, source: Path, target: Path) -> Figures:
    """Generate the source, convert it for the floor, and check that both read the same planes."""
    import numpy as np

    import acquisitions
    import lamella
    from conversion_floor import READERS, Layout

    acquisitions.make(source.parent, case)
    shutil.rmtree(target, ignore_errors=True)
    convert(case, source, target)
    layout, plane = Layout.of(target), READERS[case](source)
    for image in list(layout.images)[::50]:
        with lamella.open_ome_zarr(target / image, layout="fov") as position:
            array = position["0"]
            for index in list(np.ndindex(array.shape[:-2]))[:: 1 + array.shape[0] // 40]:
                assert np.array_equal(array[index], plane(image, index)), (image, index)
    return {}


WORKS = {"lamella": convert, "floor": write_floor, "reading": read, "prepare": prepare}


def run(work: str, case: str, folder: Path, target: Path) -> Figures:
    """Run one measurement in a new process."""
    command = [sys.executable, __file__, "--child", work, "--only", case, "--folder", str(folder)]
    done = subprocess.run([*command, "--target", str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{work} of {case} failed: {done.stderr.strip()}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(case: str, folder: Path, rounds: int) -> dict[str, list[Figures]]:
    """Return the figures of each round by work; every round begins with another work."""
    run("prepare", case, folder, folder / f"{case}.zarr")
    works = ["floor", "lamella", *(["reading"] if case == "series" else [])]
    results: dict[str, list[Figures]] = {work: [] for work in works}
    for number in range(rounds):
        for work in works if number % 2 == 0 else reversed(works):
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                os.sync()
                figures = run(work, case, folder, Path(scratch) / "out.zarr")
            results[work].append(figures)
            shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            print(f"{case:8} {work:8} {shown}", flush=True)
    shutil.rmtree(folder / f"{case}.zarr")
    return results


def row(case: str, results: dict[str, list[Figures]]) -> list[list[str]]:
    """Return the lines of a case."""

    def median(work: str, name: str) -> float:
        return statistics.median(figures[name] for figures in results[work])

    lines = []
    for compared_work, title, max_ratio in (
        ("floor", TITLES[case], MAX_RATIO_OF_SERIES if case == "series" else MAX_RATIO),
        ("reading", "the same, tifffile only reads", None),
    ):
        if compared_work not in results:
            continue
        ratio = median("lamella", "seconds") / median(compared_work, "seconds")
        memory = median("lamella", "resident_mb")
        met = (
            "" if max_ratio is None else "yes" if round(ratio, 2) <= max_ratio and memory <= MAX_MB else "no"
        )
        lines.append(
            [
                title,
                f"{median(compared_work, 'seconds'):.2f} s",
                f"{median('lamella', 'seconds'):.2f} s",
                f"{ratio:.2f}",
                "" if max_ratio is None else f"<= {max_ratio:g}",
                f"{median('lamella', 'cpu') / median(compared_work, 'cpu'):.2f}",
                f"{memory:.0f} MB",
                met,
            ]
        )
    return lines


HEAD = ["source", "floor", "lamella", "/ floor", "aim", "processor / floor", "memory", "met"]


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(OPTIONS), metavar="CASE,...")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "out" / "conversion")
    parser.add_argument("--page", type=Path, help="a page with a block `conversion`")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(WORKS[args.child](args.only, args.folder / args.only, args.target)))
        return
    compileall.compile_dir(ROOT / "src" / "lamella", quiet=1)
    args.folder.mkdir(parents=True, exist_ok=True)
    cases = args.only.split(",")
    lines = [line for case in cases for line in row(case, measure(case, args.folder, args.rounds))]
    load = f"{os.getloadavg()[0]:.1f} processes wanted a core on average"
    text = f"Medians of {args.rounds} interleaved rounds. {machine()}; {load}.\n\n{markdown(HEAD, lines)}"
    print(f"\n{text}")
    if args.page is not None:
        write_block("conversion", text, args.page)


if __name__ == "__main__":
    main()
