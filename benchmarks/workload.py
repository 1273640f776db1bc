"""Run one timed workload of one library, or of the floor, in this process.

    python benchmarks/workload.py MODULE WORKLOAD DATA OUTPUT

MODULE has `open_ome_zarr` (`lamella`, `iohub.ngff`), or is `floor`; DATA is the folder of `sample.make`, and OUTPUT a
folder for this library and round. Each workload names its own stores, and bench.py deletes whole rounds. Prints one
line of JSON: `seconds`, `cpu` (seconds of all threads), `peak_mb` (above the memory before), and other figures of
the workload.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import statistics
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import sample
from timing import Figures, best_of, in_threads, measured, seconds, warm

CHUNKED = {"chunks": sample.CHUNK}
SHARDED = {**CHUNKED, "shards_ratio": sample.SHARDS_RATIO}
DOCUMENTS = ("zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata")


class Workloads:
    """The workloads of one library; each returns its figures, at least the seconds."""

    def __init__(self, module: str, data: Path, output: Path) -> None:
        self.module = module
        self.data = data
        self.output = output
        self.library: Any = importlib.import_module(module)
        # Load all modules before the workload: only `first_open` includes the time that this takes.
        with self.open_small("w", layout="hcs", channel_names=["a"]) as plate:
            plate.create_position("A", "1", "0").create_zeros("0", (1, 1, 1, 8, 8), "uint16")
        with self.open_small() as plate:
            _facts(plate["A/1/0"])

    def open(self, name: str, mode: str = "r", **kwargs: Any) -> Any:
        """Open a store with the library."""
        if mode == "w":
            kwargs = {"version": "0.5", **kwargs}
        return self.library.open_ome_zarr(self.output / name, mode=mode, **kwargs)

    def open_small(self, mode: str = "r", **kwargs: Any) -> Any:
        """Open the plate with one position that every process makes first."""
        return self.open("small.zarr", mode, **kwargs)

    def volume(self) -> Any:
        """Read the volume into memory."""
        import numpy as np

        return np.load(sample.volume_path(self.data))

    def import_time(self) -> Figures:
        """Import the library in a new interpreter."""
        command = [sys.executable, "-c", f"from {self.module} import open_ome_zarr"]
        return best_of(5, lambda: subprocess.run(command, check=True))

    def first_open(self) -> Figures:
        """Import the library in a new interpreter, and read shape, scale and channels of a position."""
        read = f"plate = open_ome_zarr({str(self.output / 'small.zarr')!r}); p = plate['A/1/0']"
        facts = "p.data.shape, p.scale, p.channel_names"
        command = [sys.executable, "-c", f"from {self.module} import open_ome_zarr; {read}; {facts}"]
        return best_of(5, lambda: subprocess.run(command, check=True))

    def plate_create(self, version: str = "0.5") -> Figures:
        """Create 3456 positions of a 384-well plate with an empty array each."""

        def work() -> None:
            channels = ["DAPI", "GFP", "RFP"]
            name = f"plate-{version}.zarr"
            with self.open(name, "w", layout="hcs", channel_names=channels, version=version) as plate:
                for position in plate.create_positions(sample.field_paths()):
                    position.create_zeros(
                        "0", shape=sample.POSITION_SHAPE, dtype="uint16", chunks=sample.POSITION_CHUNK
                    )

        return measured(work)

    def plate_create_04(self) -> Figures:
        """Create the same plate in OME-NGFF 0.4."""
        return self.plate_create("0.4")

    def plate_create_bulk(self, version: str = "0.5") -> Figures:
        """Create the same plate in one call."""
        array = {"shape": sample.POSITION_SHAPE, "dtype": "uint16", "chunks": sample.POSITION_CHUNK}

        def work() -> None:
            channels = ["DAPI", "GFP", "RFP"]
            name = f"bulk-{version}.zarr"
            with self.open(name, "w", layout="hcs", channel_names=channels, version=version) as plate:
                plate.create_positions(sample.field_paths(), arrays={"0": array})

        return measured(work)

    def plate_create_bulk_04(self) -> Figures:
        """Create the same plate in one call in OME-NGFF 0.4."""
        return self.plate_create_bulk("0.4")

    def plate_walk(self) -> Figures:
        """Read shape, scale and channels of every position."""
        read: list[Any] = []

        def work() -> None:
            with self.open("plate-0.5.zarr") as plate:
                read.extend(_facts(p) for _, p in plate.positions())

        figures = measured(work)
        assert len(read) == len(sample.field_paths()), len(read)
        return figures

    def wide_plate(self) -> Figures:
        """Create the plate of 10,000 positions that all libraries open; two positions have pixels."""
        paths = sample.wide_field_paths()
        with self.open("wide.zarr", "w", layout="hcs", channel_names=["a", "b"]) as plate:
            plate.create_positions(paths)
            for path in (paths[0], paths[-1]):
                plate["/".join(path)].create_zeros("0", (1, 2, 8, 64, 64), "uint16", chunks=(1, 1, 8, 64, 64))
        return {"seconds": 0.0}

    def open_fov(self) -> Figures:
        """Open the last of 10,000 positions, through the plate and by itself; count the documents read."""
        wide = self.output.parent / "lamella" / "wide.zarr"
        last = "/".join(sample.wide_field_paths()[-1])
        opened: list[str] = []

        def through_plate() -> None:
            with self.library.open_ome_zarr(wide) as plate:
                _facts(plate[last])

        def by_itself() -> None:
            with self.library.open_ome_zarr(wide / last) as position:
                _facts(position)

        def note(event: str, details: tuple[Any, ...]) -> None:
            if event == "open" and os.path.basename(str(details[0])) in DOCUMENTS:
                opened.append(str(details[0]))

        sys.addaudithook(note)
        counts = []
        for work in (through_plate, by_itself):
            opened.clear()
            work()
            # A missing document has no bytes to read.
            counts.append(sum(os.path.exists(path) for path in opened))
        return best_of(5, through_plate) | {"documents": max(counts), "documents_by_itself": counts[1]}

    def write_image(self, name: str = "chunked.zarr", layout: dict[str, Any] = CHUNKED) -> Figures:
        """Write the volume, one file per chunk."""
        pixels = self.volume()
        with self.open(name, "w", layout="fov", channel_names=["a", "b"]) as position:
            return measured(lambda: position.create_image("0", pixels, **layout))

    def write_sharded(self) -> Figures:
        """Write the volume, one file per time point and channel."""
        return self.write_image("sharded.zarr", SHARDED)

    def read_image(self, name: str = "chunked.zarr") -> Figures:
        """Read the volume into one array and compare it."""
        import numpy as np

        pixels = self.volume()
        with self.open(name) as position:
            array = position["0"]
            figures = best_of(3, array.numpy)
            assert np.array_equal(array.numpy(), pixels)
        return figures

    def read_sharded(self) -> Figures:
        """Read the volume from shards."""
        return self.read_image("sharded.zarr")

    def crops(self, threads: int = 1) -> Figures:
        """Read small 2-D crops at random positions."""
        with self.open("sharded.zarr") as position:
            array = position["0"]
            regions = [_region(corner) for corner in sample.crop_corners()]
            array[regions[0]]
            if threads == 1:
                return measured(lambda: [array[region] for region in regions])
            return measured(lambda: in_threads(array.__getitem__, regions, threads))

    def crops4(self) -> Figures:
        """Read the same crops from four threads."""
        return self.crops(4)

    def read_many(self) -> Figures:
        """Read the same crops in one call."""
        import numpy as np

        regions = [_region(corner) for corner in sample.crop_corners()]
        read: list[Any] = []
        with self.open("sharded.zarr") as position:
            array = position["0"]
            array.read_many(regions[:1])
            figures = measured(lambda: read.extend(array.read_many(regions)))
            assert np.array_equal(read[7], array[regions[7]])
        return figures

    def pyramid(self, method: str = "mean") -> Figures:
        """Compute four levels of the volume."""
        pixels = self.volume()
        with self.open(f"{method}.zarr", "w", layout="fov", channel_names=["a", "b"]) as position:
            position.create_image("0", pixels, **SHARDED)
            os.sync()  # pending writes of the array are not part of the pyramid
            return measured(lambda: position.compute_pyramid(levels=4, method=method))

    def pyramid_median(self) -> Figures:
        """Compute four levels by median."""
        return self.pyramid("median")

    def pyramid_mode(self) -> Figures:
        """Compute four levels by mode, as for label images."""
        return self.pyramid("mode")

    def stream(self) -> Figures:
        """Write camera frames, one assignment each."""
        edge, count = sample.STREAM_EDGE, sample.STREAM_FRAMES
        frames, times = sample.stream_frames(self.data), list[float]()
        with self.open("stream.zarr", "w", layout="fov", channel_names=["a"]) as position:
            array = position.create_zeros(
                "0", shape=(count, 1, 1, edge, edge), dtype="uint16", chunks=(1, 1, 1, edge, edge)
            )

            def work() -> None:
                for i in range(count):
                    times.append(seconds(lambda i=i: array.__setitem__((i, 0, 0), frames[i % 8])))

            return measured(work) | slowest(times)

    def stream_files(self, name: str = "files.zarr", shards_ratio: tuple[int, ...] | None = None) -> Figures:
        """Append camera frames to a stream, one file per frame, until all are stored."""
        edge, count = sample.STREAM_EDGE, sample.STREAM_FRAMES
        frames, times = sample.stream_frames(self.data), list[float]()
        with self.open(name, "w", layout="fov", channel_names=["a"]) as position:

            def work() -> None:
                with position.stream(
                    "0", (edge, edge), "uint16", order="t", shards_ratio=shards_ratio
                ) as stream:
                    for i in range(count):
                        times.append(seconds(lambda i=i: stream.append(frames[i % 8])))

            figures = measured(work)
            assert position["0"].shape[0] == count
        return figures | slowest(times)

    def stream_shards(self) -> Figures:
        """Append camera frames to a stream, many per shard."""
        return self.stream_files("shards.zarr", (sample.STREAM_SHARD, 1, 1, 1, 1))

    def copy_plate(self) -> Figures:
        """Create a plate from eight positions of 64 MiB of another plate."""
        pixels = self.volume()
        with self.open("source.zarr", "w", layout="hcs", channel_names=["a"]) as plate:
            for number in range(8):
                t, c = divmod(number, 2)
                position = plate.create_position("A", str(number + 1), "0")
                position.create_image("0", pixels[t : t + 1, c : c + 1], **SHARDED)
        os.sync()
        with self.open("source.zarr") as plate:
            positions = dict(plate.positions())
            target = self.output / "copy.zarr"
            return measured(lambda: self.library.Plate.from_positions(target, positions))

    def convert_raw(self, *, compressed: bool = False) -> Figures:
        """Convert the 2 GiB OME-TIFF to a sharded image with its pyramid."""
        source = sample.tiff_path(self.data, compressed=compressed)
        warm(source)
        return measured(lambda: self.library.convert(source, self.output / f"{source.name}.zarr"))

    def convert_zlib(self) -> Figures:
        """Convert the TIFF whose strips are compressed by zlib."""
        return self.convert_raw(compressed=True)


def _facts(position: Any) -> Any:
    """Read shape, scale and channel names, as a script does for each position."""
    return position.data.shape, position.scale, position.channel_names


def _region(corner: tuple[int, ...]) -> tuple[int | slice, ...]:
    """Return the index of a crop."""
    t, c, z, y, x = corner
    return t, c, z, slice(y, y + sample.CROP), slice(x, x + sample.CROP)


def slowest(times: list[float]) -> Figures:
    """Return the time of the slowest frame, which determines whether a camera's buffer overflows."""
    return {"worst_ms": max(times) * 1e3, "worst_of_median": max(times) / statistics.median(times)}


def main(module: str, workload: str, data: Path, output: Path) -> Figures:
    """Run one workload of one library or of the floor."""
    output.mkdir(parents=True, exist_ok=True)
    if module == "floor":
        figures: Figures = importlib.import_module("floor").WORKLOADS[workload](data, output)
        return figures
    return dict(getattr(Workloads(module, data, output), workload)())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("NO_COLOR", "1")
    print(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))))
