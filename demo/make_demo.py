"""Convert real images to OME-Zarr with the command line, check the stores with other programs, and draw them.

    python demo/make_demo.py [--out FOLDER] [--stores-only]

Writes a 3-D two-channel image and a plain 2-D one in OME-NGFF 0.5, and a plate of 2 x 3 wells x 2 fields in 0.4
and in 0.5. Shows `lamella info` of each, checks each with the official schemas, yaozarrs and ome-zarr-models, and
draws each.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

from checks import results
from fields import FILE_NAME, cut_fields

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "tests" / "data" / "samples"
SCHEMAS = ROOT / "tests" / "data" / "ngff" / "schemas"


def lamella(*arguments: str | Path) -> None:
    """Print a command of lamella and run it."""
    words = [relative(argument) if isinstance(argument, Path) else argument for argument in arguments]
    print(f"\n$ {shlex.join(['lamella', *words])}", flush=True)
    subprocess.run([sys.executable, "-m", "lamella", *words], cwd=ROOT, check=True)


def relative(path: Path) -> str:
    """Return a path relative to the repository if it is inside, else the path itself."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def make_stores(out: Path) -> list[Path]:
    """Convert the images; return the stores."""
    embryo, culture = SAMPLES / "idr0062_nuclei.ome.tif", SAMPLES / "dsb2018_nuclei.tif"
    fields = out / "fields"
    print(f"Cut {cut_fields(embryo, fields)} z-stacks of a plate into {relative(fields)}", flush=True)
    stores = [out / f"{name}.zarr" for name in ("embryo", "culture", "plate_0.4", "plate_0.5")]
    # The image has 68 x 67 pixels along y and x: by default it would have one level.
    lamella("convert", embryo, stores[0], "--levels", "3", "--overwrite")
    lamella("convert", culture, stores[1], "--overwrite")
    for version, plate in zip(("0.4", "0.5"), stores[2:], strict=True):
        placement = ["--well-regex", FILE_NAME, "--levels", "2"]
        lamella("convert", fields, plate, "--version", version, *placement, "--overwrite")
    return stores


def check(store: Path) -> bool:
    """Print the results of other programs for a store; return whether it passed all."""
    print(f"\nChecks of {relative(store)}")
    has_passed_all = True
    for name, has_passed, text in results(store, SCHEMAS):
        print(f"  {'ok    ' if has_passed else 'FAILED'}  {name}: {text}")
        has_passed_all &= has_passed
    return has_passed_all


def main() -> int:
    """Write the stores, print their content, check and draw them; return 1 if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "demo" / "out", help="its stores and pictures are replaced"
    )
    parser.add_argument("--stores-only", action="store_true", help="only write the stores")
    args = parser.parse_args()
    start, out = time.monotonic(), args.out.resolve()
    stores = make_stores(out)
    if args.stores_only:
        return 0
    passed = True
    for store in stores:
        lamella("info", store)
        passed &= check(store)
    for store in stores:
        lamella("preview", store, "-o", store.with_suffix(".png"))
    print(f"\n{'All checks passed' if passed else 'A check FAILED'}; {time.monotonic() - start:.0f} s.")
    print("Pictures: " + ", ".join(relative(store.with_suffix(".png")) for store in stores))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
