"""The floor of each workload: the same bytes through the codec and the file system, without any library.

The difference to the floor is the cost of a library: metadata, checks, locks, planning. Floors are measured on the same
interpreter and machine, and in turn with the libraries.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import sample
from timing import Figures, best_of, in_threads, measured, seconds, warm
from workload import slowest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHUNKS_PER_SHARD = len(sample.chunk_corners()) // (sample.SHAPE[0] * sample.SHAPE[1])
DOCUMENT = json.dumps(
    {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "ome": {
                "version": "0.5",
                "multiscales": [
                    {
                        "axes": [{"name": name, "type": "space"} for name in "tczyx"],
                        "datasets": [
                            {
                                "path": "0",
                                "coordinateTransformations": [{"type": "scale", "scale": [1.0] * 5}],
                            }
                        ],
                    }
                ],
                "omero": {"channels": [{"label": "x", "color": "FFFFFF"}] * 3},
            }
        },
    }
).encode()


def codec() -> Any:
    """Return the codec of all workloads: blosc, zstd level 1, bitshuffle."""
    import numcodecs.blosc
    from numcodecs import Blosc

    numcodecs.blosc.use_threads = False
    return Blosc(cname="zstd", clevel=1, shuffle=Blosc.BITSHUFFLE)


def load(data: Path) -> Any:
    """Read the volume into memory."""
    import numpy as np

    return np.load(sample.volume_path(data))


def cut(pixels: Any, corner: tuple[int, ...]) -> Any:
    """Return one chunk of the volume, contiguous."""
    import numpy as np

    t, c, z, y, x = corner
    _, _, depth, height, width = sample.CHUNK
    return np.ascontiguousarray(pixels[t, c, z : z + depth, y : y + height, x : x + width])


def import_time(_: Path, __: Path) -> Figures:
    """Import numpy in a new interpreter."""
    return best_of(5, lambda: subprocess.run([sys.executable, "-c", "import numpy"], check=True))


def first_open(_: Path, __: Path) -> Figures:
    """Import numpy and pydantic, which every store needs, in a new interpreter."""
    return best_of(5, lambda: subprocess.run([sys.executable, "-c", "import numpy, pydantic"], check=True))


def plate_create(_: Path, output: Path) -> Figures:
    """Write one document per position and one per array, each with an atomic replace."""
    return _plate_create(output, ("zarr.json",))


def _plate_create(output: Path, names: tuple[str, ...]) -> Figures:
    positions = [str(output / "plate" / "/".join(path)) for path in sample.field_paths()]

    def work() -> None:
        for position in positions:
            os.makedirs(f"{position}/0")
            for node in (position, f"{position}/0"):
                for name in names:
                    with open(f"{node}/.part", "wb") as file:
                        file.write(DOCUMENT)
                    os.replace(f"{node}/.part", f"{node}/{name}")

    return measured(work)


def plate_create_04(data: Path, output: Path) -> Figures:
    """Write the same documents as `plate_create`, although a store of 0.4 has three per position."""
    return plate_create(data, output / "0.4")


def plate_create_bulk(data: Path, output: Path) -> Figures:
    """Write the same documents as `plate_create`."""
    return plate_create(data, output / "bulk")


def plate_create_bulk_04(_: Path, output: Path) -> Figures:
    """Write the documents of 0.4: two for each position and two for each array."""
    return _plate_create(output / "bulk-0.4", ("zattrs", "zgroup"))


def plate_walk(_: Path, output: Path) -> Figures:
    """Read and parse the same documents."""
    positions = [str(output / "plate" / "/".join(path)) for path in sample.field_paths()]

    def work() -> None:
        for position in positions:
            for node in (position, f"{position}/0"):
                _parse(f"{node}/zarr.json")

    return measured(work)


def open_fov(_: Path, output: Path) -> Figures:
    """Read and parse the documents of the plate, of one position and of its array."""
    wide = str(output.parent / "lamella" / "wide.zarr")
    last = "/".join([wide, *sample.wide_field_paths()[-1]])
    nodes = (wide, last, f"{last}/0")
    figures = best_of(5, lambda: [_parse(f"{node}/zarr.json") for node in nodes])
    return figures | {"documents": len(nodes)}


def _parse(path: str) -> Any:
    with open(path, "rb") as file:
        return json.loads(file.read())


def write_image(data: Path, output: Path) -> Figures:
    """Encode every chunk and write one file for each."""
    pixels, blosc, corners = load(data), codec(), sample.chunk_corners()
    (output / "chunks").mkdir()

    def chunk(number: int) -> None:
        with open(output / "chunks" / str(number), "wb") as file:
            file.write(blosc.encode(cut(pixels, corners[number])))

    return measured(lambda: in_threads(chunk, list(range(len(corners)))))


def read_image(data: Path, output: Path) -> Figures:
    """Read and decode every chunk from its file into one array."""
    blosc = codec()

    def decode_chunk(number: int) -> bytes:
        with open(output / "chunks" / str(number), "rb") as file:
            pixels: bytes = blosc.decode(file.read())
        return pixels

    return _read_all(decode_chunk)


def _read_all(decode_chunk: Callable[[int], bytes]) -> Figures:
    import numpy as np

    corners, (depth, height, width) = sample.chunk_corners(), sample.CHUNK[2:]
    # Touch the pages before the measurement: the floor does not include allocation.
    out = np.ones(sample.SHAPE, "u2")

    def chunk(number: int) -> None:
        t, c, z, y, x = corners[number]
        pixels = np.frombuffer(decode_chunk(number), "u2").reshape(sample.CHUNK[2:])
        out[t, c, z : z + depth, y : y + height, x : x + width] = pixels

    return best_of(3, lambda: in_threads(chunk, list(range(len(corners)))))


def write_sharded(data: Path, output: Path) -> Figures:
    """Encode every chunk and write one file per shard."""
    pixels, blosc, corners = load(data), codec(), sample.chunk_corners()
    index: dict[int, list[int]] = {}

    def shard(number: int) -> None:
        first = number * CHUNKS_PER_SHARD
        parts = [blosc.encode(cut(pixels, corner)) for corner in corners[first : first + CHUNKS_PER_SHARD]]
        with open(output / f"{number}.shard", "wb") as file:
            file.writelines(parts)
        index[number] = [len(part) for part in parts]

    figures = measured(lambda: in_threads(shard, list(range(len(corners) // CHUNKS_PER_SHARD))))
    (output / "index").write_bytes(pickle.dumps(index))
    return figures


class Shards:
    """Read the files of `write_sharded` chunk by chunk."""

    def __init__(self, output: Path) -> None:
        lengths: dict[int, list[int]] = pickle.loads((output / "index").read_bytes())
        self.blosc = codec()
        self.files = [os.open(output / f"{number}.shard", os.O_RDONLY) for number in sorted(lengths)]
        self.lengths = [lengths[number] for number in sorted(lengths)]
        self.offsets = [
            [sum(chunk_lengths[:count]) for count in range(len(chunk_lengths))]
            for chunk_lengths in self.lengths
        ]

    def chunk(self, number: int) -> bytes:
        """Read and decode one chunk."""
        shard, chunk_in_shard = divmod(number, CHUNKS_PER_SHARD)
        encoded = os.pread(
            self.files[shard], self.lengths[shard][chunk_in_shard], self.offsets[shard][chunk_in_shard]
        )
        decoded: bytes = self.blosc.decode(encoded)
        return decoded


def read_sharded(_: Path, output: Path) -> Figures:
    """Read and decode every chunk of the shards into one array."""
    return _read_all(Shards(output).chunk)


def crops(_: Path, output: Path, threads: int = 1) -> Figures:
    """Read and decode the chunks of each crop."""
    shards = Shards(output)
    number_of_corner = {corner: index for index, corner in enumerate(sample.chunk_corners())}
    _, _, depth, height, width = sample.CHUNK

    def crop(corner: tuple[int, ...]) -> None:
        t, c, z, y, x = corner
        for chunk_row in range(y // height, (y + sample.CROP - 1) // height + 1):
            for chunk_column in range(x // width, (x + sample.CROP - 1) // width + 1):
                shards.chunk(
                    number_of_corner[t, c, z // depth * depth, chunk_row * height, chunk_column * width]
                )

    corners: list[Any] = sample.crop_corners()
    if threads == 1:
        return measured(lambda: [crop(corner) for corner in corners])
    return measured(lambda: in_threads(crop, corners, threads))


def crops4(data: Path, output: Path) -> Figures:
    """Read the same crops from four threads."""
    return crops(data, output, 4)


def pyramid(data: Path, output: Path) -> Figures:
    """Read every chunk once and encode a seventh as many, the share of the lower levels."""
    pixels, blosc, corners = load(data), codec(), sample.chunk_corners()
    encoded = measured(
        lambda: in_threads(lambda corner: blosc.encode(cut(pixels, corner)), corners[: len(corners) // 7])
    )
    read = read_sharded(data, output)
    return {
        figure: max(read[figure], encoded[figure]) if figure == "peak_mb" else read[figure] + encoded[figure]
        for figure in read
    }


def stream(data: Path, output: Path, name: str = "stream", per_file: int = 1) -> Figures:
    """Encode camera frames one by one, each into a file."""
    import numcodecs.blosc

    frames, blosc = sample.stream_frames(data), codec()
    numcodecs.blosc.use_threads = True
    out, times = output / name, list[float]()
    out.mkdir()

    def frame(number: int) -> None:
        with open(out / str(number // per_file), "ab") as file:
            file.write(blosc.encode(frames[number % 8]))

    def work() -> None:
        for number in range(sample.STREAM_FRAMES):
            times.append(seconds(lambda number=number: frame(number)))

    return measured(work) | slowest(times)


def stream_files(data: Path, output: Path) -> Figures:
    """Do the same as `stream`, for the stream writer."""
    return stream(data, output, "files")


def stream_shards(data: Path, output: Path) -> Figures:
    """Encode camera frames one by one, many into a file."""
    return stream(data, output, "shards", sample.STREAM_SHARD)


def copy_plate(data: Path, output: Path) -> Figures:
    """Copy the files of eight shards."""
    files = [output / f"{number}.shard" for number in range(8)]
    return measured(lambda: [shutil.copyfile(file, file.with_suffix(".copy")) for file in files])


def convert_raw(data: Path, output: Path, *, compressed: bool = False) -> Figures:
    """Read and decode the strips of a TIFF; encode and write the chunks of all levels."""
    import imagecodecs
    import numpy as np
    import tifffile

    source = sample.tiff_path(data, compressed=compressed)
    warm(source)
    with tifffile.TiffFile(source) as tiff:  # offsets of strips are not timed
        pages = [
            list(zip(page.dataoffsets, page.databytecounts, strict=True)) for page in tiff.series[0].pages
        ]
    blosc, out = codec(), output / source.stem
    out.mkdir()
    _, _, depth, height, width = sample.CHUNK
    rows, columns = sample.SHAPE[3:]
    corners = [(y, x) for y in range(0, rows, height) for x in range(0, columns, width)]
    file = os.open(source, os.O_RDONLY)

    def slab(number: int) -> None:
        block = np.empty((depth, rows, columns), "u2")
        for plane, strips in zip(block, pages[number * depth : (number + 1) * depth], strict=True):
            for part, (offset, count) in zip(np.split(plane, len(strips)), strips, strict=True):
                if compressed:
                    imagecodecs.deflate_decode(os.pread(file, count, offset), out=part.reshape(-1).view("u1"))
                else:
                    os.preadv(file, [part], offset)
        # Lower levels have an eighth and a 64th of the chunks: nine for the 64 of four slabs.
        repeated = len(corners) // 8 + (number % 4 == 0)
        with open(out / str(number), "wb") as target:
            for y, x in corners + corners[:repeated]:
                target.write(blosc.encode(np.ascontiguousarray(block[:, y : y + height, x : x + width])))

    return measured(lambda: in_threads(slab, list(range(len(pages) // depth))))


def convert_zlib(data: Path, output: Path) -> Figures:
    """Do the same for strips compressed by zlib, decoded with libdeflate."""
    return convert_raw(data, output, compressed=True)


WORKLOADS = {
    work.__name__: work
    for work in (
        import_time,
        first_open,
        plate_create,
        plate_create_04,
        plate_create_bulk,
        plate_create_bulk_04,
        plate_walk,
        open_fov,
        write_image,
        write_sharded,
        read_image,
        read_sharded,
        crops,
        crops4,
        pyramid,
        stream,
        stream_files,
        stream_shards,
        copy_plate,
        convert_raw,
        convert_zlib,
    )
} | {"pyramid_median": pyramid, "pyramid_mode": pyramid, "read_many": crops4}
