"""Measure reads, writes and pyramids against the roof of the machine, and small chunks against TensorStore.

    python benchmarks/roof.py [--rounds 5] [--megabytes 256] [--folder FOLDER]

The roof is the codec alone, on all cores of a warm process, from memory into memory: no files, metadata or planning.
The work and its roof run in turn; the script prints medians of wall time and their ratio. For chunks of 128 and 32 KiB,
where Python dominates, it compares the processor time with TensorStore, which must be installed. Both tables are
written into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import shutil
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lamella
import sample
from floor import codec, cut
from report import machine, markdown, write_block
from timing import THREADS, measured

if TYPE_CHECKING:
    from collections.abc import Callable

TARGETS = {"write": 1.0, "read into a buffer": 1.1, "read": 1.5, "pyramid of four levels": 1.35}
SMALL = {"128 KiB": ((1, 1, 1, 256, 256), 1.5), "32 KiB": ((1, 1, 1, 128, 128), 2.5)}
CROP, CROPS = 128, 2000


def medians(rounds: int, works: dict[str, Callable[[], object]], key: str) -> dict[str, float]:
    """Run functions in turn, once to warm up and then ``rounds`` times; return the median of a figure of each."""
    figures: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            figure = measured(work)[key]
            if number:
                figures[name].append(figure)
    return {name: statistics.median(values) for name, values in figures.items()}


class Roof:
    """The codec alone, on all cores, from memory into memory."""

    def __init__(self, pixels: Any) -> None:
        self.codec = codec()
        steps = [
            range(0, length, chunk_length)
            for length, chunk_length in zip(pixels.shape, sample.CHUNK, strict=True)
        ]
        self.chunks = [cut(pixels, corner) for corner in itertools.product(*steps)]
        self.pool = ThreadPoolExecutor(THREADS)
        self.encoded = list(self.pool.map(self.codec.encode, self.chunks))
        self.out = [np.ones_like(chunk) for chunk in self.chunks]

    def write(self) -> None:
        """Encode all chunks."""
        for _ in self.pool.map(lambda chunk: len(self.codec.encode(chunk)), self.chunks):
            pass

    def read(self) -> None:
        """Decode all chunks."""
        for _ in self.pool.map(self.codec.decode, self.encoded, self.out):
            pass

    def pyramid(self) -> None:
        """Decode all chunks, and encode as many as three lower levels have, halved along z, y and x."""
        self.read()
        count = len(self.chunks) // 7
        for _ in self.pool.map(lambda chunk: len(self.codec.encode(chunk)), self.chunks[:count]):
            pass


class Image:
    """An image on the disk, written and read through the public API."""

    def __init__(self, folder: Path, pixels: Any) -> None:
        self.folder = folder
        self.pixels = pixels
        self.count = itertools.count()
        self.array = self.write()
        self.array[...]
        self.buffer = np.ones_like(pixels)

    def write(self) -> Any:
        """Write the pixels as a new image."""
        path = self.folder / f"{next(self.count)}.zarr"
        position = lamella.open_ome_zarr(
            path, layout="fov", mode="w-", channel_names=["a", "b"], version="0.5"
        )
        shards = {"shards_ratio": sample.SHARDS_RATIO}
        return position.create_image("0", self.pixels, chunks=sample.CHUNK, **shards)

    def pyramid(self) -> None:
        """Compute four levels of the image."""
        with lamella.open_ome_zarr(self.folder / "0.zarr", mode="r+") as position:
            position.compute_pyramid(levels=4, resume=False)


def against_the_roof(folder: Path, pixels: Any, rounds: int) -> str:
    """Return the table of lamella and the roof."""
    roof, image = Roof(pixels), Image(folder, pixels)
    works: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "write": (roof.write, image.write),
        "read into a buffer": (roof.read, lambda: image.array.read(..., out=image.buffer)),
        "read": (roof.read, lambda: image.array[...]),
        "pyramid of four levels": (roof.pyramid, image.pyramid),
    }
    rows = []
    for name, (run_roof, run_lamella) in works.items():
        median_of = medians(rounds, {"roof": run_roof, "lamella": run_lamella}, "seconds")
        ratio = median_of["lamella"] / median_of["roof"]
        rows.append(
            [
                name,
                f"{median_of['roof']:.3f} s",
                f"{median_of['lamella']:.3f} s",
                f"{ratio:.2f}",
                f"<= {TARGETS[name]}",
            ]
        )
    return markdown(["work", "roof", "lamella", "/ roof", "target"], rows)


def small_chunks(folder: Path, pixels: Any, rounds: int) -> str:
    """Return the table of small chunks: processor time of lamella and TensorStore."""
    rows = []
    for size, (chunk, max_ratio) in SMALL.items():
        path = folder / f"{size.replace(' ', '-')}.zarr"
        position = lamella.open_ome_zarr(
            path, layout="fov", mode="w-", channel_names=["a", "b"], version="0.5"
        )
        ratio = tuple(
            math.ceil(length / chunk_length)
            for length, chunk_length in zip((1, 1, *pixels.shape[2:]), chunk, strict=True)
        )
        array = position.create_zeros("0", pixels.shape, "uint16", chunks=chunk, shards_ratio=ratio)
        array[...] = pixels
        tensorstore_array = array.tensorstore()
        generator = random.Random(0)
        t, chunk_length, z, y, x = pixels.shape
        crops = [
            (
                *(generator.randrange(length) for length in (t, chunk_length, z)),
                slice(top := generator.randrange(y - CROP), top + CROP),
                slice(left := generator.randrange(x - CROP), left + CROP),
            )
            for _ in range(CROPS)
        ]
        works: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "write": (
                lambda array=array: array.__setitem__(..., pixels),
                lambda tensorstore_array=tensorstore_array: tensorstore_array.write(pixels).result(),
            ),
            "read": (
                lambda array=array: array[...],
                lambda tensorstore_array=tensorstore_array: tensorstore_array.read().result(),
            ),
            f"{CROPS} crops": (
                lambda array=array, crops=crops: [array[crop] for crop in crops],
                lambda tensorstore_array=tensorstore_array, crops=crops: [
                    tensorstore_array[crop].read().result() for crop in crops
                ],
            ),
        }
        for name, (run_lamella, run_tensorstore) in works.items():
            median_of = medians(rounds, {"TensorStore": run_tensorstore, "lamella": run_lamella}, "cpu")
            cpu_ratio = median_of["lamella"] / median_of["TensorStore"]
            rows.append(
                [
                    f"{name}, {size}",
                    *(f"{seconds:.3f} s" for seconds in median_of.values()),
                    f"{cpu_ratio:.2f}",
                    f"<= {max_ratio}",
                ]
            )
    return markdown(["work, chunks", "TensorStore", "lamella", "/ TensorStore", "target"], rows)


def main() -> None:
    """Measure, print, and write the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--folder", type=Path, default=None, help="scratch space, about 2 GB")
    args = parser.parse_args()
    planes = max(1, args.megabytes * 2**20 // (2 * math.prod(sample.SHAPE[1:])))
    pixels = sample.volume()[:planes]
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        roof = against_the_roof(scratch, pixels, args.rounds)
        small = small_chunks(scratch, pixels[:1], args.rounds)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    text = (
        f"Medians of {args.rounds} rounds on {pixels.nbytes >> 20} MiB. {machine()}.\n\n{roof}\n\n"
        f"Processor time, on {pixels[:1].nbytes >> 20} MiB:\n\n{small}"
    )
    print(text)
    write_block("roof", text)


if __name__ == "__main__":
    main()
