"""Write OME-TIFF and ImageJ TIFF by tifffile, tile by tile, so that memory does not grow with the image."""

from __future__ import annotations

import math
from itertools import product
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.tiff_file import load_tifffile
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
_BUFFER = 32 << 20
"""Bytes of tiles that tifffile compresses at once; by default 512 MB."""

_CLASSIC_BYTES = 2**32 - 2**26
"""Raw size up to which a classic TIFF has room for pixels, tags and tables of tiles."""


def check_ome_tiff(selection: Selection) -> None:
    """Raise for pixels that OME-TIFF cannot store."""
    _check_dtype(selection, _OME_DTYPES, "OME-TIFF")


def check_imagej(selection: Selection) -> None:
    """Raise for pixels that ImageJ cannot read, or that need a larger file than its format has."""
    _check_dtype(selection, _IMAGEJ_DTYPES, "an ImageJ TIFF")
    nbytes = math.prod(selection.shape(selection.level)) * selection.dtype.itemsize
    if nbytes > _CLASSIC_BYTES:
        raise InvalidArgumentError(
            f"An ImageJ TIFF has at most 4 GB, and {selection.position.node_path} has {nbytes / 1e9:.1f} GB: export "
            "an OME-TIFF, a lower level or a region."
        )


def _check_dtype(selection: Selection, dtypes: tuple[str, ...], what: str) -> None:
    if selection.dtype.name not in dtypes:
        raise InvalidArgumentError(
            f"{what} has no data type {selection.dtype.name}, which {selection.position.node_path} has; it has "
            f"{', '.join(dtypes)}. Convert the pixels first, such as to uint16 by write_image."
        )


def write_ome_tiff(selection: Selection, file: IO[bytes], done: Done) -> None:
    """Write an OME-TIFF with the lower levels as SubIFDs; a BigTIFF if it may need more than 4 GB."""
    levels = selection.levels()
    nbytes = sum(math.prod(selection.shape(level)) for level in levels) * selection.dtype.itemsize
    side = max(selection.shape(selection.level)[-2:])
    tile = min(_TILE, -(-side // 16) * 16)
    options: dict[str, Any] = {
        "dtype": selection.dtype.newbyteorder("="),
        "tile": (tile, tile),
        "compression": "zlib",
        "predictor": selection.dtype.kind in "iu",
        "photometric": "minisblack",
        "buffersize": _BUFFER,
    }
    with load_tifffile().TiffWriter(file, bigtiff=nbytes > _CLASSIC_BYTES, ome=True) as writer:
        for number, level in enumerate(levels):
            sub: dict[str, Any] = {"subfiletype": 1, "metadata": None} if number else {}
            writer.write(
                _tiles(selection, level, tile, done),
                shape=selection.shape(level),
                **options,
                **(sub or {"subifds": len(levels) - 1, "metadata": ome_metadata(selection)}),
            )


def _tiles(selection: Selection, level: str, tile: int, done: Done) -> Iterator[NDArray[Any]]:
    """Yield the tiles of all planes, filled with zeros beyond the edge."""
    *outer, height, width = selection.shape(level)
    for t, c, z in product(*map(range, outer)):
        for top in range(0, height, tile):
            rows = selection.read(level, t, c, z, slice(top, min(top + tile, height)))
            rows = rows.astype(rows.dtype.newbyteorder("="), copy=False)
            for left in range(0, width, tile):
                part = rows[:, left : left + tile]
                missing = [(0, tile - n) for n in part.shape]
                yield np.pad(part, missing) if missing != [(0, 0), (0, 0)] else np.ascontiguousarray(part)
            done(rows.nbytes)


def ome_metadata(selection: Selection) -> dict[str, Any]:
    """Return the metadata that tifffile writes as OME-XML."""
    sizes, shifts, units = selection.geometry()
    metadata: dict[str, Any] = {"axes": "TCZYX", "Name": image_name(selection)}
    count = math.prod(selection.shape(selection.level)[:3])
    plane: dict[str, Any] = {}
    for axis in "xyz":
        if axis not in sizes or not sizes[axis] > 0:
            continue
        unit = units[axis]
        ratio = 1.0 if unit is None else unit_ratio(unit, "micrometer")
        metadata[f"PhysicalSize{axis.upper()}"] = sizes[axis] * ratio
        metadata[f"PhysicalSize{axis.upper()}Unit"] = "pixel" if unit is None else "µm"
        if any(shifts[name] for name in "xyz" if name in shifts):
            plane[f"Position{axis.upper()}"] = [shifts[axis] * ratio] * count
            plane[f"Position{axis.upper()}Unit"] = ["pixel" if unit is None else "µm"] * count
    if sizes.get("t", 0) > 0 and units.get("t") is not None:
        metadata["TimeIncrement"] = sizes["t"] * unit_ratio(str(units["t"]), "second")
        metadata["TimeIncrementUnit"] = "s"
    channels: dict[str, Any] = {"Name": selection.names()}
    if all(selection.colors()):
        channels["Color"] = [_rgba(str(color)) for color in selection.colors()]
    if selection.position.channel_names:
        metadata["Channel"] = channels
    return {**metadata, "Plane": plane} if plane else metadata


def _rgba(color: str) -> int:
    """Return a colour as OME stores it: a signed number of red, green, blue and opacity.

    >>> _rgba("FF0000"), _rgba("0000FF")
    (-16776961, 65535)
    """
    number = int(color[:6], 16) << 8 | 0xFF
    return number - (1 << 32) if number >= 1 << 31 else number


def image_name(selection: Selection) -> str:
    """Return the name of the image, or the last part of its path."""
    name = selection.position.metadata.multiscales[0].name
    return name or str(selection.position.node_path).rstrip("/").rpartition("/")[2]


def write_imagej(selection: Selection, file: IO[bytes], done: Done) -> None:
    """Write a hyperstack of ImageJ, with pixel size, names, colours and contrast."""
    t, c, z, height, width = selection.shape(selection.level)
    sizes, _, units = selection.geometry()

    def ratio(axis: str) -> float:
        unit = units.get(axis)
        return 1.0 if unit is None else unit_ratio(unit, "micrometer")

    metadata: dict[str, Any] = {"axes": "TZCYX", "unit": "um" if units.get("x") else "pixel"}
    if sizes.get("z", 0) > 0:
        metadata["spacing"] = sizes["z"] * ratio("z")
    if sizes.get("t", 0) > 0 and units.get("t"):
        metadata["finterval"] = sizes["t"] * unit_ratio(str(units["t"]), "second")
    names = selection.names()
    metadata["Labels"] = [names[channel] for _ in range(t * z) for channel in range(c)]
    if c > 1:
        metadata["mode"] = "composite"
    if all(selection.colors()):
        metadata["LUTs"] = [_ramp(str(color)) for color in selection.colors()]
    planes = (
        np.ascontiguousarray(selection.read(selection.level, ti, ci, zi, slice(0, height)))
        for ti, zi, ci in product(range(t), range(z), range(c))
    )

    def counted() -> Iterator[NDArray[Any]]:
        for plane in planes:
            yield plane.astype(plane.dtype.newbyteorder(">"), copy=False)
            done(plane.nbytes)

    per_pixel = [1 / (sizes[axis] * ratio(axis)) if sizes.get(axis, 0) > 0 else 1.0 for axis in "xy"]
    with load_tifffile().TiffWriter(file, imagej=True, byteorder=">") as writer:
        writer.write(
            counted(),
            shape=(t, z, c, height, width),
            dtype=selection.dtype.newbyteorder(">"),
            photometric="minisblack",
            resolution=tuple(per_pixel),
            metadata=metadata,
        )


def _ramp(color: str) -> NDArray[np.uint8]:
    """Return the lookup table from black to a colour: uint8 (3, 256)."""
    digits = parse_color(color)
    ends = [int(digits[n : n + 2], 16) for n in (0, 2, 4)]
    return np.stack([np.linspace(0, end, 256).round().astype("uint8") for end in ends])
