"""Measure codecs, chunks and shards on real and on camera-like images, and write the tables of docs/codecs.md.

    python benchmarks/codec_tables.py [--rounds 3] [--folder FOLDER]

Speeds are raw megabytes per second of processor time of all threads: about the speed of one core, whatever else runs
on the machine. They include the time of lamella.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import sample
from lamella import open_ome_zarr

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lamella import ImageArray

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "codecs.md"
SAMPLES = HERE.parent / "tests" / "data" / "samples"

CODECS: dict[str, Any] = {
    "blosc zstd 1, bitshuffle (default)": None,
    "the same, blocks of 32 KiB": {
        "id": "blosc",
        "cname": "zstd",
        "clevel": 1,
        "shuffle": 2,
        "blocksize": 32768,
    },
    "blosc zstd 3, bitshuffle": {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2},
    "blosc zstd 5, bitshuffle": {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 2},
    "blosc lz4 1, bitshuffle": "lz4",
    "zstd 1": "zstd",
    "zstd 3": {"id": "zstd", "level": 3},
    "gzip 1": {"id": "gzip", "level": 1},
    "none": "none",
}
# Chunk and shards_ratio of camera-like planes: z, y, x.
LAYOUTS = [
    ((1, 128, 128), (32, 8, 8)),
    ((8, 128, 128), (4, 8, 8)),
    ((1, 256, 256), (32, 4, 4)),
    ((8, 256, 256), (4, 4, 4)),
    ((8, 256, 256), None),
    ((1, 1024, 1024), (32, 1, 1)),
    ((1, 1024, 1024), None),
    ((32, 1024, 1024), None),
]
CROPS = 16  # few, so that TensorStore, which keeps 64 MiB of decoded chunks, has none of them yet


@dataclass
class RowFigures:
    """The measurements of one row, one entry per round."""

    size: float = 0.0
    write: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    crop: list[float] = field(default_factory=list)


def images(folder: Path) -> dict[str, tuple[NDArray[Any], tuple[int, ...]]]:
    """Yield the images as TCZYX, each with its chunk shape."""
    import tifffile

    path = sample.volume_path(folder)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, sample.volume())
    camera = np.load(path, mmap_mode="r")[:1, :1]
    nuclei = np.moveaxis(tifffile.imread(SAMPLES / "idr0062_nuclei.ome.tif"), 1, 0)[None]
    labels = tifffile.imread(SAMPLES / "idr0062_nuclei_labels.tif")[None, None]
    return {
        "camera-like": (np.ascontiguousarray(camera), (1, 1, 8, 256, 256)),
        "nuclei (idr0062)": (np.ascontiguousarray(np.tile(nuclei, (4, 1, 1, 1, 1))), (1, 1, 118, 68, 67)),
        "labels (idr0062)": (np.ascontiguousarray(np.tile(labels, (16, 1, 1, 1, 1))), (1, 1, 236, 68, 67)),
    }


def processor_time(work: Callable[[], object]) -> float:
    """Return the processor time of all threads of this process during a call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def measure(
    row: RowFigures,
    folder: Path,
    pixels: NDArray[Any],
    chunks: tuple[int, ...],
    ratio: tuple[int, ...] | None,
    compressor: Any,
    crops: int = 0,
) -> None:
    """Write, read and check one store, and add the measurements to a row."""
    path = folder / "codec.zarr"
    shutil.rmtree(path, ignore_errors=True)
    names = [str(number) for number in range(pixels.shape[1])]
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=names, version="0.5") as position:
        image: ImageArray = position.create_zeros(
            "0", pixels.shape, pixels.dtype, chunks=chunks, shards_ratio=ratio, compressor=compressor
        )
        image[0, 0, :1, :1, :1] = 0  # opens the engine
        row.write.append(pixels.nbytes / 1e6 / processor_time(lambda: image.__setitem__(..., pixels)))
        if crops:
            rng = np.random.default_rng(0)
            corners = rng.integers(
                0, (pixels.shape[2], pixels.shape[3] - 256, pixels.shape[4] - 256), (crops, 3)
            )
            seconds = processor_time(
                lambda: [image[0, 0, z, y : y + 256, x : x + 256] for z, y, x in corners.tolist()]
            )
            row.crop.append(seconds / crops * 1e3)
        out = np.zeros_like(pixels)
        row.read.append(pixels.nbytes / 1e6 / processor_time(lambda: image.read(out=out)))
        if not np.array_equal(out, pixels):
            sys.exit(f"codecs: {compressor} with chunks {chunks} gives other pixels back")
        files = [file for file in (path / "0").rglob("*") if file.is_file() and file.name != "zarr.json"]
        row.size = sum(file.stat().st_size for file in files) / pixels.nbytes


def codec_table(folder: Path, rounds: int) -> str:
    """Compare the codecs on every image."""
    data = images(folder)
    rows = {(name, codec): RowFigures() for name in data for codec in CODECS}
    for _ in range(rounds):
        for (name, codec), row in rows.items():
            pixels, chunks = data[name]
            ratio = tuple(
                -(-length // chunk_length) for length, chunk_length in zip(pixels.shape, chunks, strict=True)
            )
            measure(row, folder, pixels, chunks, ratio, CODECS[codec])
            print(f"{name:20} {codec:36} {row.size:6.3f}", file=sys.stderr, flush=True)
    tables = []
    for name in data:
        lines = [["codec", "size", "write MB/s", "read MB/s"]]
        for codec in CODECS:
            row = rows[name, codec]
            lines.append(
                [
                    codec,
                    f"{row.size:.1%}",
                    f"{statistics.median(row.write):.0f}",
                    f"{statistics.median(row.read):.0f}",
                ]
            )
        pixels, chunks = data[name]
        tables.append(
            f"**{name}**, {pixels.dtype}, chunks of {size_text(chunks, pixels)}\n\n{markdown(lines)}"
        )
    return "\n\n".join(tables)


def layout_table(folder: Path, rounds: int) -> str:
    """Compare chunks and shards on the camera-like image, with the default codec."""
    pixels, _ = images(folder)["camera-like"]
    rows = [RowFigures() for _ in LAYOUTS]
    for _ in range(rounds):
        for row, (chunk, ratio) in zip(rows, LAYOUTS, strict=True):
            measure(
                row, folder, pixels, (1, 1, *chunk), None if ratio is None else (1, 1, *ratio), None, CROPS
            )
            print(f"{chunk} {ratio} {row.size:6.3f}", file=sys.stderr, flush=True)
    lines = [
        [
            "chunk z, y, x",
            "chunk size",
            "shard",
            "files",
            "size",
            "write MB/s",
            "read MB/s",
            "ms per crop of 256 x 256",
        ]
    ]
    for row, (chunk, ratio) in zip(rows, LAYOUTS, strict=True):
        shard = (
            (1, 1, *chunk)
            if ratio is None
            else (
                1,
                1,
                *(
                    chunk_length * ratio_along_axis
                    for chunk_length, ratio_along_axis in zip(chunk, ratio, strict=True)
                ),
            )
        )
        files = int(
            np.prod(
                [-(-length // shard_length) for length, shard_length in zip(pixels.shape, shard, strict=True)]
            )
        )
        lines.append(
            [
                ", ".join(map(str, chunk)),
                size_text((1, 1, *chunk), pixels),
                "-" if ratio is None else size_text(shard, pixels),
                str(files),
                f"{row.size:.1%}",
                f"{statistics.median(row.write):.0f}",
                f"{statistics.median(row.read):.0f}",
                f"{statistics.median(row.crop):.2f}",
            ]
        )
    return markdown(lines)


def size_text(shape: tuple[int, ...], pixels: NDArray[Any]) -> str:
    """Return the size of a chunk as text."""
    count = int(np.prod(shape)) * pixels.dtype.itemsize
    return f"{count / 2**20:.3g} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def markdown(rows_with_head: list[list[str]]) -> str:
    """Return a Markdown table; the first line is the head, and all columns but the first are numbers."""
    head, *rows = rows_with_head
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def write_document(parts: dict[str, str]) -> None:
    """Replace the text between each pair of markers of docs/codecs.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, table in parts.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, _, after_begin = text.partition(begin)
        text = f"{before}{begin}\n\n{table}\n\n{end}{after_begin.partition(end)[2]}"
    DOCUMENT.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, print and write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=HERE / "out", help="scratch space, about 1 GB")
    args = parser.parse_args()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    parts = {
        "codecs": f"Medians of {args.rounds} rounds, each with all codecs and images; {machine}.\n\n"
        + codec_table(args.folder, args.rounds),
        "layouts": layout_table(args.folder, args.rounds),
    }
    print("\n\n".join(parts.values()))
    write_document(parts)


if __name__ == "__main__":
    main()
