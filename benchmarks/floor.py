"""The floor of each workload: the same bytes through the codec and the file system, without any library.

What a floor leaves out (metadata, checks, locks, planning) is what a library is measured for. It runs on the
interpreter, the machine and in the minute of the libraries that it is compared with.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

THREADS = os.cpu_count() or 1
CHUNKS_PER_SHARD = len(sample.chunk_corners()) // (sample.SHAPE[0] * sample.SHAPE[1])
DOCUMENT = json.dumps(
    {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "ome": {
                "version": "0.5",
                "multiscales": [{"axes": [{"name": name, "type": "space"} for name in "tczyx"]}],
                "omero": {"channels": [{"label": "x", "color": "FFFFFF"}] * 3},
            }
        },
    }
).encode()


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_threads(work: Callable[[Any], object], items: list[Any], threads: int = THREADS) -> None:
    """Call `work` on each item from several threads; a failure is raised here."""
    with ThreadPoolExecutor(threads) as executor:
        for _ in executor.map(work, items):
            pass


def codec() -> Any:
    """Return the codec that every library is asked for: blosc, zstd level 1, bitshuffle."""
    import numcodecs.blosc
    from numcodecs import Blosc

    numcodecs.blosc.use_threads = False
    return Blosc(cname="zstd", clevel=1, shuffle=Blosc.BITSHUFFLE)


def load(folder: Path) -> Any:
    """Return the volume, in memory."""
    import numpy as np

    return np.load(sample.volume_path(folder))


def cut(pixels: Any, corner: tuple[int, ...]) -> Any:
    """One chunk of the volume, contiguous."""
    import numpy as np

    t, c, z, y, x = corner
    _, _, depth, height, width = sample.CHUNK
    return np.ascontiguousarray(pixels[t, c, z : z + depth, y : y + height, x : x + width])


def import_time(_: Path) -> dict[str, float]:
    """Import numpy in a new interpreter."""
    runs = [
        seconds(lambda: subprocess.run([sys.executable, "-c", "import numpy"], check=True)) for _ in range(5)
    ]
    return {"seconds": min(runs)}


def plate_create(folder: Path) -> dict[str, float]:
    """Write one document per position and one per array, each by replacement."""
    shutil.rmtree(folder / "floor-plate", ignore_errors=True)
    positions = [str(folder / "floor-plate" / "/".join(path)) for path in sample.field_paths()]

    def work() -> None:
        for position in positions:
            os.makedirs(f"{position}/0")
            for node in (position, f"{position}/0"):
                with open(f"{node}/.part", "wb") as file:
                    file.write(DOCUMENT)
                os.replace(f"{node}/.part", f"{node}/zarr.json")

    return {"seconds": seconds(work)}


def plate_walk(folder: Path) -> dict[str, float]:
    """Read and parse the same documents."""
    positions = [str(folder / "floor-plate" / "/".join(path)) for path in sample.field_paths()]

    def work() -> None:
        for position in positions:
            for node in (position, f"{position}/0"):
                with open(f"{node}/zarr.json", "rb") as file:
                    json.loads(file.read())

    return {"seconds": seconds(work)}


def write_image(folder: Path) -> dict[str, float]:
    """Encode every chunk and write one file per shard."""
    pixels, blosc, corners = load(folder), codec(), sample.chunk_corners()
    index: dict[int, list[int]] = {}

    def shard(number: int) -> None:
        first = number * CHUNKS_PER_SHARD
        parts = [blosc.encode(cut(pixels, corner)) for corner in corners[first : first + CHUNKS_PER_SHARD]]
        with open(folder / f"floor-{number}.shard", "wb") as file:
            file.writelines(parts)
        index[number] = [len(part) for part in parts]

    result = {"seconds": seconds(lambda: in_threads(shard, list(range(len(corners) // CHUNKS_PER_SHARD))))}
    (folder / "floor.index").write_bytes(pickle.dumps(index))
    return result


class Shards:
    """The files that `write_image` of the floor left, read chunk by chunk."""

    def __init__(self, folder: Path) -> None:
        lengths: dict[int, list[int]] = pickle.loads((folder / "floor.index").read_bytes())
        self.blosc = codec()
        self.files = [os.open(folder / f"floor-{number}.shard", os.O_RDONLY) for number in sorted(lengths)]
        self.lengths = [lengths[number] for number in sorted(lengths)]
        self.offsets = [[sum(row[:i]) for i in range(len(row))] for row in self.lengths]

    def chunk(self, number: int) -> bytes:
        """Read and decode one chunk."""
        shard, at = divmod(number, CHUNKS_PER_SHARD)
        stored = os.pread(self.files[shard], self.lengths[shard][at], self.offsets[shard][at])
        decoded: bytes = self.blosc.decode(stored)
        return decoded


def read_image(folder: Path) -> dict[str, float]:
    """Read and decode every chunk into one array."""
    import numpy as np

    shards, corners = Shards(folder), sample.chunk_corners()
    out = np.empty(sample.SHAPE, "u2")
    _, _, depth, height, width = sample.CHUNK

    def chunk(number: int) -> None:
        t, c, z, y, x = corners[number]
        pixels = np.frombuffer(shards.chunk(number), "u2").reshape(sample.CHUNK[2:])
        out[t, c, z : z + depth, y : y + height, x : x + width] = pixels

    return {"seconds": min(seconds(lambda: in_threads(chunk, list(range(len(corners))))) for _ in range(3))}


def crops(folder: Path, threads: int = 1) -> dict[str, float]:
    """Read and decode the chunks that each crop meets."""
    shards = Shards(folder)
    number = {corner: i for i, corner in enumerate(sample.chunk_corners())}
    _, _, depth, height, width = sample.CHUNK

    def crop(corner: tuple[int, ...]) -> None:
        t, c, z, y, x = corner
        for cy in range(y // height, (y + sample.CROP - 1) // height + 1):
            for cx in range(x // width, (x + sample.CROP - 1) // width + 1):
                shards.chunk(number[t, c, z // depth * depth, cy * height, cx * width])

    if threads == 1:
        return {"seconds": seconds(lambda: [crop(corner) for corner in sample.crop_corners()])}
    return {"seconds": seconds(lambda: in_threads(crop, sample.crop_corners(), threads))}


def crops4(folder: Path) -> dict[str, float]:
    """Read the same crops from four threads."""
    return crops(folder, 4)


def pyramid(folder: Path) -> dict[str, float]:
    """Read every chunk once and encode the seventh part that the lower levels hold."""
    pixels, blosc, corners = load(folder), codec(), sample.chunk_corners()
    encode = seconds(
        lambda: in_threads(lambda corner: blosc.encode(cut(pixels, corner)), corners[: len(corners) // 7])
    )
    return {"seconds": read_image(folder)["seconds"] + encode}


def stream(folder: Path, per_file: int = 1) -> dict[str, float]:
    """Encode camera frames one after the other, each into a file."""
    import numcodecs.blosc
    import numpy as np

    pixels, blosc = load(folder), codec()
    numcodecs.blosc.use_threads = True
    frames = [np.ascontiguousarray(np.tile(pixels[0, 0, z], (2, 2))) for z in range(8)]
    out = folder / "floor-stream"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()

    def work() -> None:
        for i in range(sample.STREAM_FRAMES):
            with open(out / str(i // per_file), "ab") as file:
                file.write(blosc.encode(frames[i % 8]))

    result = {"seconds": seconds(work)}
    shutil.rmtree(out)
    return result


def stream_files(folder: Path) -> dict[str, float]:
    """Do the same for the stream writer."""
    return stream(folder)


def stream_shards(folder: Path) -> dict[str, float]:
    """Encode camera frames one after the other, many into a file."""
    return stream(folder, sample.STREAM_SHARD)


def convert(folder: Path) -> dict[str, float]:
    """Read the planes of the TIFF, encode their chunks and the seventh part of the lower levels, write."""
    import numpy as np

    blosc, out = codec(), folder / "floor-convert"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    _, _, depth, height, width = sample.CHUNK
    rows, columns = sample.SHAPE[3:]
    slabs = sample.TIFF_REPEATS * math.prod(sample.SHAPE[:3]) // depth
    slab_bytes = depth * rows * columns * 2
    corners = [(y, x) for y in range(0, rows, height) for x in range(0, columns, width)]
    again = len(corners) // 7
    source = os.open(sample.tiff_path(folder), os.O_RDONLY)
    # Where the pixels begin does not matter to the time; the last bytes of the file are as good as any.
    start = os.fstat(source).st_size - slabs * slab_bytes

    def slab(number: int) -> None:
        stored = os.pread(source, slab_bytes, start + number * slab_bytes)
        block = np.frombuffer(stored, "u2").reshape(depth, rows, columns)
        with open(out / str(number), "wb") as file:
            for y, x in corners + corners[:again]:
                file.write(blosc.encode(np.ascontiguousarray(block[:, y : y + height, x : x + width])))

    result = {"seconds": seconds(lambda: in_threads(slab, list(range(slabs))))}
    shutil.rmtree(out)
    return result


WORKLOADS = {
    work.__name__: work
    for work in (
        import_time,
        plate_create,
        plate_walk,
        write_image,
        read_image,
        crops,
        crops4,
        pyramid,
        stream,
        stream_files,
        stream_shards,
        convert,
    )
}
