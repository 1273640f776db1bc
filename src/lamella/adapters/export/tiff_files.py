"""Write OME-TIFF and ImageJ TIFF by tifffile, tile by tile, so that memory does not grow with the image."""

from __future__ import annotations

import math
from itertools import product
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lamella._version import __version__
from lamella.adapters.export.ome_document import ome_document
from lamella.adapters.tiff.file import load_tifffile
from lamella.errors import InvalidArgumentError
from lamella.spec.colors import parse_color
from lamella.spec.units import unit_ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from lamella.adapters.export.selection import Selection

    Done = Callable[[float], None]

_TILE = 512
_OME_DTYPES = (
    *("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64", "complex64", "complex128"),
)
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
_BUFFER_BYTES = 32 << 20
"""Bytes of tiles that tifffile compresses at once; by default 512 MB."""

_SMALLEST_PIXEL = 2.0**-32
"""Smallest size in micrometers that the resolution of a TIFF, a fraction of two 32-bit numbers, can state."""

_CLASSIC_BYTES = 2**32 - 2**26
"""Raw size up to which a classic TIFF has room for pixels, tags and tables of tiles."""


def check_ome_tiff(selection: Selection) -> None:
    """Raise for pixels that OME-TIFF cannot store."""
    _check_dtype(selection, _OME_DTYPES, "OME-TIFF")


def check_imagej(selection: Selection) -> None:
    """Raise for pixels that ImageJ cannot read, or that need a larger file than its format has."""
    _check_dtype(selection, _IMAGEJ_DTYPES, "An ImageJ TIFF")
    nbytes = math.prod(selection.shape(selection.level)) * selection.dtype.itemsize
    if nbytes > _CLASSIC_BYTES:
        raise InvalidArgumentError(
            f"An ImageJ TIFF has at most 4 GB, and {selection.position.node_path} has {nbytes / 1e9:.1f} GB: export "
            "an OME-TIFF, a lower level or a region."
        )
    lengths = _micrometers(selection)
    for size in (lengths.get("y", 1.0), lengths.get("x", 1.0)):
        if not _SMALLEST_PIXEL < size < 1 / _SMALLEST_PIXEL:
            raise InvalidArgumentError(
                f"An ImageJ TIFF has pixels of {_SMALLEST_PIXEL:.1e} to {1 / _SMALLEST_PIXEL:.1e} micrometers, and "
                f"those of {selection.position.node_path} have {size:.3g}: export an OME-TIFF."
            )


def _check_dtype(selection: Selection, dtypes: tuple[str, ...], subject: str) -> None:
    if selection.dtype.name not in dtypes:
        raise InvalidArgumentError(
            f"{subject} has no data type {selection.dtype.name}, which {selection.position.node_path} has; it has "
            f"{', '.join(dtypes)}. Convert the pixels first, such as to uint16 by write_image."
        )


def write_ome_tiff(selection: Selection, file: IO[bytes], done: Done) -> None:
    """Write an OME-TIFF with the lower levels as SubIFDs; a BigTIFF if it may need more than 4 GB.

    A colour image of 8 or 16 bits gets pixels with three samples, which other programs show in its colours.
    """
    levels = selection.levels()
    nbytes = sum(math.prod(selection.shape(level)) for level in levels) * selection.dtype.itemsize
    side = max(selection.shape(selection.level)[-2:])
    tile = min(_TILE, -(-side // 16) * 16)
    options: dict[str, Any] = {
        "dtype": selection.dtype.newbyteorder("="),
        "tile": (tile, tile),
        "compression": "zlib",
        "predictor": selection.dtype.kind in "iu",
        "buffersize": _BUFFER_BYTES,
        "metadata": None,
        "software": f"lamella {__version__}",
    }
    in_color = selection.color_name is not None
    options |= {"photometric": "rgb", "planarconfig": "contig"} if in_color else {"photometric": "minisblack"}
    first = {"subifds": len(levels) - 1, "description": ome_document(selection)}
    with load_tifffile().TiffWriter(file, bigtiff=nbytes > _CLASSIC_BYTES) as writer:
        for number, level in enumerate(levels):
            t, c, z, y, x = selection.shape(level)
            writer.write(
                _tiles(selection, level, tile, done, in_color=in_color),
                shape=(t, z, y, x, c) if in_color else (t, c, z, y, x),
                **options,
                **({"subfiletype": 1} if number else first),
            )


def _tiles(
    selection: Selection, level: str, tile: int, done: Done, *, in_color: bool
) -> Iterator[NDArray[Any]]:
    """Yield the tiles of all planes, padded with zeros at the edge; with ``in_color``, channels are samples."""
    times, channels, depth, height, width = selection.shape(level)
    samples = range(channels) if in_color else range(1)
    for t, channel, z in product(range(times), range(1 if in_color else channels), range(depth)):
        for top in range(0, height, tile):
            band = slice(top, min(top + tile, height))
            planes = [selection.read(level, t, channel + sample, z, band) for sample in samples]
            rows = np.stack(planes, axis=-1)
            rows = rows.astype(rows.dtype.newbyteorder("="), copy=False)
            for left in range(0, width, tile):
                pixels = rows[:, left : left + tile]
                padding = [(0, tile - length) for length in pixels.shape[:2]]
                padded = np.pad(pixels, [*padding, (0, 0)]) if padding != [(0, 0), (0, 0)] else pixels
                yield np.ascontiguousarray(padded if in_color else padded[..., 0])
            done(rows.nbytes)


def is_imagej_rgb(selection: Selection) -> bool:
    """Return whether ImageJ shows an image in its RGB type, which has 8 bits, no names of channels and no contrast."""
    return selection.dtype == np.uint8 and selection.color_name is not None and not selection.windows()


def write_imagej(selection: Selection, file: IO[bytes], done: Done) -> None:
    """Write a hyperstack of ImageJ, with pixel size, names, colours and contrast; a colour image of 8 bits as RGB."""
    t, c, z, height, width = selection.shape(selection.level)
    sizes, _, units = selection.geometry()
    lengths = _micrometers(selection)
    metadata: dict[str, Any] = {"unit": "um" if units.get("x") else "pixel"}
    if "z" in lengths:
        metadata["spacing"] = lengths["z"]
    if sizes.get("t", 0) > 0 and units.get("t"):
        metadata["finterval"] = sizes["t"] * unit_ratio(str(units["t"]), "second")
    in_color = is_imagej_rgb(selection)
    if not in_color:
        metadata |= _imagej_channels(selection, t * z)
    samples = c if in_color else 1

    def pixels() -> Iterator[NDArray[Any]]:
        for time, depth, first in product(range(t), range(z), range(0, c, samples)):
            planes = [
                selection.read(selection.level, time, first + sample, depth, slice(0, height))
                for sample in range(samples)
            ]
            plane = np.ascontiguousarray(np.stack(planes, axis=-1))
            yield plane.astype(plane.dtype.newbyteorder(">"), copy=False)
            done(plane.nbytes)

    with load_tifffile().TiffWriter(file, imagej=True, byteorder=">") as writer:
        writer.write(
            pixels(),
            # With one sample, too, the shape states it: tifffile would read a width of 1 as the samples.
            shape=(t, z, c // samples, height, width, samples),
            dtype=selection.dtype.newbyteorder(">"),
            photometric="rgb" if in_color else "minisblack",
            resolution=tuple(1 / lengths.get(axis, 1.0) for axis in "xy"),
            metadata=metadata,
        )


def _imagej_channels(selection: Selection, count: int) -> dict[str, Any]:
    """Return ImageJ's names, colours and contrast of channels, for ``count`` planes of each."""
    names = selection.names()
    metadata: dict[str, Any] = {"Labels": [name for _ in range(count) for name in names]}
    if len(names) > 1:
        metadata["mode"] = "composite"
    if all(selection.colors()):
        metadata["LUTs"] = [_ramp(str(color)) for color in selection.colors()]
    ranges = [limit for window in selection.windows() for limit in window]
    if len(names) == 1 and ranges:
        metadata["min"], metadata["max"] = ranges
    elif len(ranges) == 2 * len(names):
        metadata["Ranges"] = ranges
    return metadata


def _micrometers(selection: Selection) -> dict[str, float]:
    """Return the size of a voxel along z, y and x in micrometers, or in pixels for axes without a unit."""
    sizes, _, units = selection.geometry()
    return {
        axis: sizes[axis] * (1.0 if units[axis] is None else unit_ratio(units[axis], "micrometer"))
        for axis in "zyx"
        if sizes.get(axis, 0) > 0
    }


def _ramp(color: str) -> NDArray[np.uint8]:
    """Return the lookup table from black to a colour: uint8 (3, 256)."""
    digits = parse_color(color)
    brightest = [int(digits[start : start + 2], 16) for start in (0, 2, 4)]
    return np.stack([np.linspace(0, component, 256).round().astype("uint8") for component in brightest])
