"""The data of the benchmarks: synthetic microscopy with noise, and the layouts of the stores.

The module imports numpy only, and only inside functions, so that no measurement includes imports by accident.
"""

from __future__ import annotations

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

SHAPE = (4, 2, 32, 1024, 1024)  # t, c, z, y, x: 512 MiB of uint16
CHUNK = (1, 1, 8, 256, 256)  # 1 MiB
SHARDS_RATIO = (1, 1, 4, 4, 4)  # one shard per time point and channel
CROP = 256  # edge of a training crop in y and x
CROPS = 600
STREAM_FRAMES, STREAM_EDGE, STREAM_SHARD = 200, 2048, 16
TIFF_REPEATS = 4  # time points of the TIFF over those of the volume: 2 GiB
TIFF_STRIP = 128  # rows of a compressed strip: 256 KiB, as tifffile cuts them
POSITION_SHAPE, POSITION_CHUNK = (1, 3, 8, 1024, 1024), (1, 1, 8, 1024, 1024)


def volume() -> NDArray[np.uint16]:
    """Return Gaussian nuclei on an uneven background with shot noise: TCZYX, uint16."""
    import numpy as np

    rng = np.random.default_rng(0)
    t, c, z, y, x = SHAPE
    rows, columns = np.mgrid[0:y, 0:x].astype("f4")
    background = 100 + 20 * np.exp(-((rows - y / 2) ** 2 + (columns - x / 2) ** 2) / (y**2 / 2))
    out = np.empty(SHAPE, "u2")
    for time_and_channel in itertools.product(range(t), range(c)):
        image = background.copy()
        for _ in range(60):
            _add_nucleus(image, rows, columns, rng)
        for plane in range(z):
            focus = np.exp(-(((plane - z / 2) / (z / 3)) ** 2))
            mean = 100 + (image - 100) * focus
            noise = rng.normal(0, 1, (y, x)).astype("f4") * np.sqrt(mean) * 0.7
            out[(*time_and_channel, plane)] = np.clip(mean + noise, 0, 65535).astype("u2")
    return out


def _add_nucleus(
    image: NDArray[np.float32],
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    rng: np.random.Generator,
) -> None:
    import numpy as np

    y, x = image.shape
    center_y, center_x = rng.uniform(0, y), rng.uniform(0, x)
    radius, height = rng.uniform(5, 25), rng.uniform(100, 1500)
    region = np.s_[
        int(max(center_y - 4 * radius, 0)) : int(min(center_y + 4 * radius, y)),
        int(max(center_x - 4 * radius, 0)) : int(min(center_x + 4 * radius, x)),
    ]
    distance = (rows[region] - center_y) ** 2 + (columns[region] - center_x) ** 2
    image[region] += height * np.exp(-distance / (2 * radius**2))


def make(folder: Path) -> None:
    """Write the volume as .npy, and as OME-TIFFs of 2 GiB, raw and compressed by zlib, unless the files exist."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    if not volume_path(folder).exists():
        np.save(volume_path(folder), volume())
    for compressed in (False, True):
        if not tiff_path(folder, compressed=compressed).exists():
            _make_tiff(folder, compressed=compressed)


def _make_tiff(folder: Path, *, compressed: bool) -> None:
    """Write the volume repeatedly as one stack: one strip per plane, or compressed strips of 256 KiB."""
    import imagecodecs
    import numpy as np
    import tifffile

    planes = np.load(volume_path(folder), mmap_mode="r").reshape(-1, *SHAPE[3:])
    options: dict[str, Any] = {}
    if compressed:
        options = {"compression": "zlib", "rowsperstrip": TIFF_STRIP}
        strips = planes.reshape(-1, TIFF_STRIP, SHAPE[4])
        with ThreadPoolExecutor() as executor:
            strips_or_planes = list(
                executor.map(lambda strip: imagecodecs.deflate_encode(strip.tobytes(), 6), strips)
            )
    else:
        strips_or_planes = list(planes)
    path = tiff_path(folder, compressed=compressed)
    unfinished = path.with_suffix(".part")
    metadata = {"axes": "TCZYX", "PhysicalSizeX": 0.325, "PhysicalSizeY": 0.325, "PhysicalSizeZ": 2.0}
    shape = (TIFF_REPEATS * SHAPE[0], *SHAPE[1:])
    with tifffile.TiffWriter(unfinished, ome=True, bigtiff=True) as tiff:
        repeated = itertools.chain.from_iterable(itertools.repeat(strips_or_planes, TIFF_REPEATS))
        tiff.write(repeated, shape=shape, dtype="uint16", metadata=metadata, **options)
    unfinished.rename(path)


def volume_path(folder: Path) -> Path:
    """Return the path of the volume as .npy."""
    return folder / "volume.npy"


def tiff_path(folder: Path, *, compressed: bool = False) -> Path:
    """Return the path of the 2 GiB stack as OME-TIFF."""
    return folder / ("stack-zlib.ome.tif" if compressed else "stack.ome.tif")


def field_paths(wells: int = 384, fields: int = 9) -> list[tuple[str, str, str]]:
    """Return row, column and field of every position of a full 384-well plate: 3456."""
    rows = "ABCDEFGHIJKLMNOP"
    return [
        (rows[well // 24], str(well % 24 + 1), str(field)) for well in range(wells) for field in range(fields)
    ]


def wide_field_paths(wells: int = 1000, fields: int = 10) -> list[tuple[str, str, str]]:
    """Return row, column and field of 10,000 positions of a 1536-well plate."""
    rows = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [
        (rows[well // 48], str(well % 48 + 1), str(field)) for well in range(wells) for field in range(fields)
    ]


def stream_frames(folder: Path) -> list[NDArray[np.uint16]]:
    """Return eight camera frames from planes of the volume."""
    import numpy as np

    pixels = np.load(volume_path(folder), mmap_mode="r")
    return [np.ascontiguousarray(np.tile(pixels[0, 0, z], (2, 2))) for z in range(8)]


def chunk_corners() -> list[tuple[int, ...]]:
    """Return the first voxel of each chunk, shard by shard."""
    return list(
        itertools.product(*(range(0, length, step) for length, step in zip(SHAPE, CHUNK, strict=True)))
    )


def crop_corners() -> list[tuple[int, int, int, int, int]]:
    """Return the first voxel (t, c, z, y, x) of each crop; the same for every library."""
    random_below = random.Random(0).randrange
    t, c, z, y, x = SHAPE
    return [
        (random_below(t), random_below(c), random_below(z), random_below(y - CROP), random_below(x - CROP))
        for _ in range(CROPS)
    ]
