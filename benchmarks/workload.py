"""One timed workload in a process of its own, on lamella, a peer with the same API, or the floor.

    python benchmarks/workload.py MODULE WORKLOAD FOLDER

MODULE is what holds `open_ome_zarr` (`lamella`, `iohub.ngff`) or `floor`. Prints one line of JSON: `seconds`,
the peak memory `rss_mb`, and what else the workload knows.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import sample
from floor import in_threads, load, seconds

IMAGE = {"chunks": sample.CHUNK, "shards_ratio": sample.SHARDS_RATIO}


class Workloads:
    """The workloads of one library; each returns at least its seconds."""

    def __init__(self, module: str, folder: Path) -> None:
        self.module = module
        self.folder = folder
        self.image = folder / f"{module}-image.zarr"
        self.plate = folder / f"{module}-plate.zarr"
        self.other = folder / f"{module}-other.zarr"

    def open(self, path: Path, mode: str = "r", **kwargs: Any) -> Any:
        """Open a store with the library."""
        if mode == "w":
            kwargs["version"] = "0.5"
        return importlib.import_module(self.module).open_ome_zarr(path, mode=mode, **kwargs)

    def import_time(self) -> dict[str, float]:
        """Import the front door in a new interpreter."""
        command = [sys.executable, "-c", f"from {self.module} import open_ome_zarr"]
        return {"seconds": min(seconds(lambda: subprocess.run(command, check=True)) for _ in range(5))}

    def plate_create(self) -> dict[str, float]:
        """Create 3456 positions of a 384-well plate with an empty array each."""
        importlib.import_module(self.module)  # not timed: import_time does that
        shutil.rmtree(self.plate, ignore_errors=True)
        channels = ["DAPI", "GFP", "RFP"]
        start = time.perf_counter()
        with self.open(self.plate, "w", layout="hcs", channel_names=channels) as plate:
            for position in plate.create_positions(sample.field_paths()):
                position.create_zeros(
                    "0", shape=sample.POSITION_SHAPE, dtype="uint16", chunks=sample.POSITION_CHUNK
                )
        return {"seconds": time.perf_counter() - start}

    def plate_walk(self) -> dict[str, float]:
        """Read shape, scale and channels of every position."""
        importlib.import_module(self.module)
        start = time.perf_counter()
        with self.open(self.plate) as plate:
            read = [(p.data.shape, p.scale, p.channel_names) for _, p in plate.positions()]
        taken = time.perf_counter() - start
        assert len(read) == len(sample.field_paths()), len(read)
        return {"seconds": taken}

    def write_image(self) -> dict[str, float]:
        """Write the volume, sharded."""
        pixels = load(self.folder)
        shutil.rmtree(self.image, ignore_errors=True)
        with self.open(self.image, "w", layout="fov", channel_names=["a", "b"]) as position:
            taken = seconds(lambda: position.create_image("0", pixels, **IMAGE))
        return {"seconds": taken, "gb_s": pixels.nbytes / taken / 1e9}

    def read_image(self) -> dict[str, float]:
        """Read the volume into one array and compare it."""
        import numpy as np

        pixels, times = load(self.folder), []
        with self.open(self.image) as position:
            for _ in range(3):
                start = time.perf_counter()
                read = position["0"].numpy()
                times.append(time.perf_counter() - start)
                assert np.array_equal(read, pixels)
                del read
        taken = min(times)
        return {"seconds": taken, "gb_s": pixels.nbytes / taken / 1e9}

    def crops(self, threads: int = 1) -> dict[str, float]:
        """Read small 2-D crops at random places."""
        with self.open(self.image) as position:
            array = position["0"]

            def crop(corner: tuple[int, ...]) -> Any:
                t, c, z, y, x = corner
                return array[t, c, z, y : y + sample.CROP, x : x + sample.CROP]

            crop((0,) * 5)
            if threads == 1:
                taken = seconds(lambda: [crop(corner) for corner in sample.crop_corners()])
            else:
                taken = seconds(lambda: in_threads(crop, sample.crop_corners(), threads))
        return {"seconds": taken, "us_per_crop": taken / sample.CROPS * 1e6}

    def crops4(self) -> dict[str, float]:
        """Read the same crops from four threads."""
        return self.crops(4)

    def pyramid(self) -> dict[str, float]:
        """Make four levels of the volume by mean."""
        pixels = load(self.folder)
        shutil.rmtree(self.other, ignore_errors=True)
        with self.open(self.other, "w", layout="fov", channel_names=["a", "b"]) as position:
            position.create_image("0", pixels, **IMAGE)
            taken = seconds(lambda: position.compute_pyramid(levels=4, method="mean"))
        return {"seconds": taken, "gb_s": pixels.nbytes / taken / 1e9}

    def stream(self) -> dict[str, float]:
        """Write camera frames, one assignment each."""
        edge, count = sample.STREAM_EDGE, sample.STREAM_FRAMES
        frames = stream_frames(self.folder)
        shutil.rmtree(self.other, ignore_errors=True)
        with self.open(self.other, "w", layout="fov", channel_names=["a"]) as position:
            array = position.create_zeros(
                "0", shape=(count, 1, 1, edge, edge), dtype="uint16", chunks=(1, 1, 1, edge, edge)
            )
            times = [seconds(lambda i=i: array.__setitem__((i, 0, 0), frames[i % 8])) for i in range(count)]
        return frame_times(times, sum(times))

    def stream_files(self, shards_ratio: tuple[int, ...] | None = None) -> dict[str, float]:
        """Give camera frames to a stream, a file for each; until all are in place."""
        edge, count = sample.STREAM_EDGE, sample.STREAM_FRAMES
        frames = stream_frames(self.folder)
        shutil.rmtree(self.other, ignore_errors=True)
        with self.open(self.other, "w", layout="fov", channel_names=["a"]) as position:
            start = time.perf_counter()
            stream = position.stream("0", (edge, edge), "uint16", order="t", shards_ratio=shards_ratio)
            with stream:
                times = [seconds(lambda i=i: stream.append(frames[i % 8])) for i in range(count)]
            taken = time.perf_counter() - start
            assert position["0"].shape[0] == stream.stored == count
        return frame_times(times, taken) | {"waits": stream.waits}

    def stream_shards(self) -> dict[str, float]:
        """Give camera frames to a stream, many in a shard."""
        return self.stream_files((sample.STREAM_SHARD, 1, 1, 1, 1))

    def convert(self) -> dict[str, float]:
        """Convert the 2 GiB OME-TIFF on the command line, pyramid included."""
        shutil.rmtree(self.other, ignore_errors=True)
        command = [
            sys.executable,
            "-m",
            self.module,
            "convert",
            str(sample.tiff_path(self.folder)),
            str(self.other),
        ]
        taken = seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
        shutil.rmtree(self.other)
        return {"seconds": taken, "rss_mb": peak}


def stream_frames(folder: Path) -> list[Any]:
    """Return eight camera frames, made of planes of the volume."""
    import numpy as np

    pixels = load(folder)
    return [np.ascontiguousarray(np.tile(pixels[0, 0, z], (2, 2))) for z in range(8)]


def frame_times(times: list[float], taken: float) -> dict[str, float]:
    """Return what is told of a stream: the worst frame, too, by which a camera's buffer overflows."""
    worst, median = max(times), statistics.median(times)
    return {
        "seconds": taken,
        "frames_s": len(times) / taken,
        "worst_ms": worst * 1e3,
        "worst_of_median": worst / median,
    }


def main(module: str, workload: str, folder: Path) -> dict[str, float]:
    """Run one workload of one library or of the floor."""
    if module == "floor":
        return importlib.import_module("floor").WORKLOADS[workload](folder)
    return getattr(Workloads(module, folder), workload)()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("NO_COLOR", "1")
    result = main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    own_peak = {"rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}
    print(json.dumps(own_peak | result))
