"""Measure the peak memory of each operation on an array ten times larger than its limit.

    python benchmarks/memory.py [--gb 5] [--jobs N] [--only OPERATION,...] [--folder DIR]

Each operation runs in a new process on uint16 planes of 12-bit noise, which hardly compress: the worst case for pending
writes. The table has the peak resident memory minus the memory after importing numpy and lamella, for the default
shards and for shards of 256 MiB. Needs Linux, and disk space for four times the array.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import machine, markdown, write_block

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

LIMIT_MB = 512
EDGE = 2048
SHARDS = {"chosen": None, "256 MiB": (32, EDGE, EDGE)}
"""By name: lengths along z, y and x."""


def planes(count: int) -> Callable[[int], NDArray[np.uint16]]:
    """Return a function that returns plane n of noise."""
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 4096, (EDGE, EDGE)).astype("uint16")
    return lambda z: np.roll(noise, z % count, 0)


def write_tiff(path: Path, count: int, *, compressed: bool) -> None:
    """Write the planes to a TIFF, raw or compressed by zlib."""
    import tifffile

    plane = planes(count)
    options: dict[str, Any] = {"compression": "zlib", "compressionargs": {"level": 1}} if compressed else {}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        stack = (plane(z) for z in range(count))
        tiff.write(stack, shape=(count, EDGE, EDGE), dtype="uint16", photometric="minisblack", **options)


def convert(tiff: Path, target: Path, shards: Any, jobs: int | None) -> None:
    """Convert a TIFF, with pyramid."""
    from lamella.ops.conversion.convert import convert

    convert(tiff, target, shards=shards, jobs=jobs, overwrite=True)


def pyramid(store: Path, target: Path, shards: Any, jobs: int | None) -> None:
    """Compute the lower levels again."""
    import lamella
    from lamella.ops.pyramids.pyramid import compute_pyramid

    del target, shards
    with lamella.open_ome_zarr(store, mode="r+") as position:
        position.delete_pyramid()
        compute_pyramid(position, "auto", jobs=jobs)


def copy(store: Path, target: Path, shards: Any, jobs: int | None) -> None:
    """Copy the image into a new plate."""
    import lamella

    del shards
    with lamella.open_ome_zarr(store) as position:
        lamella.Plate.from_positions(target, {"A/1/0": position}, jobs=jobs).close()


def rechunk(store: Path, target: Path, shards: Any, jobs: int | None) -> None:
    """Write the image with other chunks."""
    import lamella

    lamella.rechunk(store, target, chunks=(32, 128, 128), shards=shards or "auto", jobs=jobs)


def verify(store: Path, target: Path, shards: Any, jobs: int | None) -> None:
    """Decode every chunk."""
    import lamella

    del target, shards
    assert lamella.verify(store, jobs=jobs)


OPERATIONS = {work.__name__: work for work in (convert, pyramid, copy, rechunk, verify)}


def resident_mb(name: str) -> float:
    """Return a memory figure of this process from /proc."""
    match = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def measure(operation: str, source: str, target: str, shards: str, jobs: int | None) -> None:
    """Run one operation in this process, and print the measurements."""
    import numpy as np  # noqa: F401 (what everybody has before any operation)

    import lamella  # noqa: F401

    idle = resident_mb("VmRSS")
    cpu_start = time.process_time()
    OPERATIONS[operation](Path(source), Path(target), SHARDS[shards], jobs)
    print(json.dumps({"mb": resident_mb("VmHWM") - idle, "cpu": time.process_time() - cpu_start}))


def run(operation: str, source: Path, target: Path, shards: str, jobs: int | None) -> dict[str, float]:
    """Run one operation in a new process; return its measurements."""
    command = [
        sys.executable,
        __file__,
        "--measure",
        operation,
        str(source),
        str(target),
        shards,
        str(jobs or 0),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{operation}: {done.stderr.strip()}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def rows(arguments: argparse.Namespace, folder: Path) -> list[tuple[str, str, dict[str, float]]]:
    """Measure all operations, deleting files when they are not needed any more."""
    results: list[tuple[str, str, dict[str, float]]] = []
    count = max(1, round(arguments.gb * 2**30 / (EDGE * EDGE * 2)))
    operations = arguments.only.split(",") if arguments.only else list(OPERATIONS)

    def add(name: str, operation: str, source: Path, target: Path, shards: str) -> None:
        result = run(operation, source, target, shards, arguments.jobs)
        results.append((name, shards, result))
        print(f"{name:14} {shards:8} {result['mb']:6.0f} MB {result['cpu']:6.1f} s CPU", flush=True)

    tiff, store, copied = folder / "stack.tif", folder / "image.zarr", folder / "other.zarr"
    if "convert" in operations:
        write_tiff(tiff, count, compressed=True)
        for shards in SHARDS:
            add("convert (zlib)", "convert", tiff, store, shards)
    write_tiff(tiff, count, compressed=False)
    for shards in SHARDS:
        add("convert (raw)", "convert", tiff, store, shards)
        for name in operations:
            if name != "convert":
                add(name, name, store, copied, shards)
                shutil.rmtree(copied, ignore_errors=True)
    return results


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--measure"]:
        operation, source, target, shards, jobs = sys.argv[2:]
        measure(operation, source, target, shards, int(jobs) or None)
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gb", type=float, default=5.0, help="size of the array in GiB")
    parser.add_argument("--jobs", type=int, help="number of workers; one per processor by default")
    parser.add_argument("--only", help=f"some of {', '.join(OPERATIONS)}")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        results = rows(arguments, Path(folder))
    lines = [
        [name, shards, f"{result['mb']:.0f} MB", "yes" if result["mb"] <= LIMIT_MB else "no"]
        for name, shards, result in results
    ]
    table = markdown(["operation", "shards", "peak above idle", f"at most {LIMIT_MB} MB"], lines)
    text = f"An array of {arguments.gb:g} GiB. {machine()}.\n\n{table}"
    print(f"\n{text}")
    if not arguments.only:
        write_block("memory", text)


if __name__ == "__main__":
    main()
