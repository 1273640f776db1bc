"""Generate the files that conversion.py converts: a CZI, Micro-Manager's MMStack and NDTiff, and OME-TIFFs.

The layouts of CZI, MMStack and NDTiff are written after their public descriptions, without compression.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import struct
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (5, 2, 25, 1024, 1024)  # t, c, z, y, x: 500 MiB of uint16
SERIES, SERIES_SHAPE = 200, (3, 512, 512)  # images of one OME-TIFF, c, y, x: 300 MiB
SMALL_FILES, SMALL_EDGE = 20_000, 128  # 625 MiB
SITES, SITE_PLANES = 4, 20  # fields of a well, files of a field
CHANNELS = ("DAPI", "GFP")
_SUMMARY = {
    "MicroManagerVersion": "2.0.1",
    "Prefix": "run_1",
    "Frames": SHAPE[0],
    "Slices": SHAPE[2],
    "Channels": SHAPE[1],
    "Positions": 1,
    "ChNames": CHANNELS,
    "PixelSize_um": 0.325,
    "z-step_um": 0.5,
    "Interval_ms": 5000.0,
    "TimeFirst": False,
    "SlicesFirst": False,
}
_DISTINCT_PLANES = 16
"""Number of planes with different noise; further planes repeat them."""


class Plane(NamedTuple):
    """A plane in a file of Micro-Manager: where its directory, its pixels and its JSON begin, and the JSON's length."""

    index: tuple[int, int, int]
    directory: int
    pixels: int
    text: int
    length: int


def planes(height: int, width: int) -> list[NDArray[np.uint16]]:
    """Return planes with bright spots and shot noise, like those of a microscope."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:height, 0:width]
    mean = np.full((height, width), 100.0)
    for _ in range(max(1, height * width // 20_000)):
        y, x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(5, 25)
        top, left = max(0, int(y - 3 * radius)), max(0, int(x - 3 * radius))
        box = np.s_[top : int(y + 3 * radius), left : int(x + 3 * radius)]
        distance = (rows[box] - y) ** 2 + (columns[box] - x) ** 2
        mean[box] += rng.uniform(100, 1500) * np.exp(-distance / (2 * radius**2))
    return [rng.poisson(mean).astype("<u2") for _ in range(_DISTINCT_PLANES)]


def _indices() -> Iterator[tuple[int, int, int]]:
    """Yield time, channel and z of the planes, in the order in which they were acquired."""
    for t, z, c in itertools.product(range(SHAPE[0]), range(SHAPE[2]), range(SHAPE[1])):
        yield t, c, z


def write_czi(folder: Path) -> None:
    """Write a CZI of one scene, a subblock for each plane."""
    from tests.formats.make_czi import Tile, write_czi

    pixels = planes(*SHAPE[3:])
    tiles = [
        Tile(pixels[number % _DISTINCT_PLANES], {"X": 0, "Y": 0, "C": c, "Z": z, "T": t, "S": 0})
        for number, (t, c, z) in enumerate(_indices())
    ]
    channels = "".join(
        f'<Channel Id="Channel:{number}" Name="{name}"></Channel>' for number, name in enumerate(CHANNELS)
    )
    write_czi(
        folder / "run.czi",
        tiles,
        "<ImageDocument><Metadata><Information><Image><Dimensions>"
        f"<Channels>{channels}</Channels></Dimensions></Image></Information></Metadata></ImageDocument>",
    )


def _write_plane(
    file: BinaryIO, index: tuple[int, int, int], pixels: NDArray[np.uint16], link: int
) -> tuple[Plane, int]:
    """Append a plane, its directory and its JSON; return them, and the place of the link to the next directory."""
    t, c, z = index
    json_fields = {
        "FrameIndex": t,
        "ChannelIndex": c,
        "SliceIndex": z,
        "ElapsedTime-ms": 5000 * t + 10 * c,
        "ZPositionUm": 0.5 * z,
        "PixelSizeUm": 0.325,
        "Exposure-ms": 10,
        "Channel": CHANNELS[c],
    }
    text = json.dumps(json_fields).encode() + b"\0"
    file.seek(0, os.SEEK_END)
    file.write(b"\0" * (file.tell() % 2))
    directory_at = file.tell()
    height, width = pixels.shape
    pixels_at = directory_at + 2 + 13 * 12 + 4  # MMStack: the pixels begin 162 bytes after the directory
    resolution_at = pixels_at + pixels.nbytes
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(270, 2, 6, resolution_at + 16), (273, 4, 1, pixels_at), (277, 3, 1, 1), (278, 3, 1, height)]
    tags += [(279, 4, 1, pixels.nbytes), (282, 5, 1, resolution_at), (283, 5, 1, resolution_at + 8)]
    tags += [(51123, 2, len(text), resolution_at + 22)]
    file.write(struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags))
    next_link = file.tell()
    file.write(
        struct.pack("<I", 0) + pixels.tobytes() + struct.pack("<4I", 1, 1, 1, 1) + b"MM\0\0\0\0" + text
    )
    file.seek(link)
    file.write(struct.pack("<I", directory_at))
    return Plane(index, directory_at, pixels_at, resolution_at + 22, len(text)), next_link


def _write_planes(file: BinaryIO) -> list[Plane]:
    pixels, link, written = planes(*SHAPE[3:]), 4, []
    for number, index in enumerate(_indices()):
        plane, link = _write_plane(file, index, pixels[number % _DISTINCT_PLANES], link)
        written.append(plane)
    file.seek(0, os.SEEK_END)
    return written


def write_mmstack(folder: Path) -> None:
    """Write a stack of Micro-Manager in one file, without OME-XML."""
    summary = json.dumps(_SUMMARY).encode()
    with (folder / "run_1_MMStack_1.tif").open("wb+") as file:
        file.write(b"II" + struct.pack("<HI", 42, 0))
        file.write(
            struct.pack("<8I", 54773648, 0, 483765892, 0, 99384722, 0, 2355492, len(summary)) + summary
        )
        written = _write_planes(file)
        index = file.tell()
        file.write(struct.pack("<II", 3453623, len(written)))
        for (t, c, z), directory, *_ in written:
            file.write(struct.pack("<5I", c, z, t, 0, directory))
        display, settings = file.tell(), json.dumps([{"Name": name} for name in CHANNELS]).encode()
        file.write(struct.pack("<II", 347834724, len(settings)) + settings)
        comments = file.tell()
        file.write(struct.pack("<II", 84720485, 2) + b"{}")
        for header_at, offset in ((12, index), (20, display), (28, comments)):
            file.seek(header_at)
            file.write(struct.pack("<I", offset))


def write_ndtiff(folder: Path) -> None:
    """Write an NDTiff in one file, with its index."""
    summary, name = json.dumps(_SUMMARY).encode(), "run_NDTiffStack.tif"
    with (folder / name).open("wb+") as file:
        file.write(b"II" + struct.pack("<HI", 42, 0))
        file.write(struct.pack("<5I", 483729, 3, 3, 2355492, len(summary)) + summary)
        written = _write_planes(file)
    with (folder / "NDTiff.index").open("wb") as index:
        for (t, c, z), _, pixels, text, length in written:
            axes = json.dumps({"time": t, "channel": CHANNELS[c], "z": z}).encode()
            index.write(struct.pack("<I", len(axes)) + axes + struct.pack("<I", len(name)) + name.encode())
            sizes = (pixels, SHAPE[4], SHAPE[3], 1, 0, text, length, 0)
            index.write(struct.pack("<IiiiiIii", *sizes))


def write_series(folder: Path) -> None:
    """Write an OME-TIFF of many images."""
    import tifffile

    pixels = planes(*SERIES_SHAPE[1:])
    metadata: dict[str, Any] = {"axes": "CYX", "PhysicalSizeX": 0.325, "PhysicalSizeY": 0.325}
    with tifffile.TiffWriter(folder / "run.ome.tif", ome=True) as file:
        for number in range(SERIES):
            stack = np.stack([pixels[(number + c) % _DISTINCT_PLANES] for c in range(SERIES_SHAPE[0])])
            file.write(stack, metadata=metadata)


def write_small(folder: Path) -> None:
    """Write many TIFFs of one plane each, time points of one image."""
    import tifffile

    pixels = planes(SMALL_EDGE, SMALL_EDGE)
    for number in range(SMALL_FILES):
        tifffile.imwrite(folder / f"time_{number:05}.tif", pixels[number % _DISTINCT_PLANES])


def write_plate(folder: Path) -> None:
    """Link the files of `write_small` to names of wells, sites and z."""
    for number, file in enumerate(sorted(folder.parent.joinpath("small").iterdir())):
        site, z = divmod(number, SITE_PLANES)
        well, site = divmod(site, SITES)
        row, column = divmod(well, 24)
        os.link(file, folder / f"p_{chr(ord('A') + row)}{column + 1:02}_site{site}_z{z:02}.tif")


WRITERS: dict[str, Callable[[Path], None]] = {
    "czi": write_czi,
    "mmstack": write_mmstack,
    "ndtiff": write_ndtiff,
    "series": write_series,
    "small": write_small,
    "plate": write_plate,
}
"""Writers of the sources by name, in the order in which they are called."""


def make(folder: Path, name: str) -> None:
    """Write the files of a case, unless they exist, and read them once, so that they are in the page cache."""
    target = folder / name
    if not target.exists():
        unfinished = folder / f"{name}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        WRITERS[name](unfinished)
        unfinished.rename(target)
    for file in target.iterdir():
        with file.open("rb") as stream:
            while stream.read(1 << 24):
                pass
