"""Convert pixels to colours: contrast windows, additive composites, overlays of labels. Functions of numpy arrays."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.ops.conversion.contrast import percentile_window
from lamella.spec.colors import label_color

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Window = tuple[float, float]
"""Pixel values of black and of full intensity."""

_HEX = re.compile(r"#?([0-9a-fA-F]{6})(?:[0-9a-fA-F]{2})?")


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue of a hex colour, without ``#`` and alpha; white for any other text."""
    match = _HEX.fullmatch(color.strip())
    digits = match[1] if match else "FFFFFF"
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def lightened(color: str) -> str:
    """Return a colour, with more red and green if it is nearly pure blue: 0000FF is hard to see on black."""
    red, green, blue = rgb(color)
    if blue <= 2 * (red + green):
        return color
    return f"{max(red, blue // 5):02X}{max(green, 2 * blue // 5):02X}{blue:02X}"


def auto_window(samples: NDArray[Any]) -> Window:
    """Choose a contrast window like `convert`: the 0.1th to the 99.9th percentile of the finite absolute values.

    Equal percentiles are replaced by the smallest and the largest value. (0, 1) for booleans and without values.
    """
    magnitudes = np.abs(samples) if samples.dtype.kind == "c" else samples
    if not magnitudes.size or (magnitudes.dtype.kind == "f" and not np.isfinite(magnitudes).any()):
        return 0.0, 1.0
    return percentile_window(magnitudes.ravel())


def intensity(plane: NDArray[Any], window: Window) -> NDArray[np.float32]:
    """Map pixel values linearly to float32 from 0 (start of the window and below) to 1 (its end and above).

    An end below the start inverts the contrast; if they are equal, values above are 1. NaN becomes 0; complex numbers
    count by their absolute value.
    """
    start, end = window
    fits_float32 = plane.dtype.kind == "b" or (plane.dtype.kind in "iu" and plane.dtype.itemsize <= 2)
    magnitudes = np.abs(plane) if plane.dtype.kind == "c" else plane
    values: NDArray[np.floating[Any]] = magnitudes.astype(np.float32 if fits_float32 else np.float64)
    if start == end:
        is_above: NDArray[np.float32] = (values > start).astype(np.float32)
        return is_above
    with np.errstate(invalid="ignore", over="ignore"):
        values -= start
        values /= end - start
    clipped: NDArray[np.float32] = np.nan_to_num(np.clip(values, 0, 1), nan=0.0).astype(np.float32)
    return clipped


def composite(
    planes: Sequence[NDArray[Any]] | NDArray[Any], colors: Sequence[str], windows: Sequence[Window]
) -> NDArray[np.uint8]:
    """Blend planes (Y, X) of channels additively, each in its colour, to uint8 (Y, X, 3).

    ``windows`` are start and end of each channel in pixel values. Sums above 255 are 255; NaN is black.
    """
    if not (len(planes) and len(planes) == len(colors) == len(windows)):
        raise InvalidArgumentError(
            f"A composite needs one plane, colour and window per channel; got {len(planes)} planes, "
            f"{len(colors)} colours and {len(windows)} windows."
        )
    shapes = {plane.shape for plane in planes}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2:
        raise InvalidArgumentError(
            f"The planes of a composite are (Y, X) and of one shape; got {sorted(shapes)}."
        )
    total = np.zeros((*planes[0].shape, 3), np.float32)
    for plane, color, window in zip(planes, colors, windows, strict=True):
        brightness = intensity(plane, window)
        for index, component in enumerate(rgb(color)):
            if component:
                total[..., index] += brightness * component
    # Halves are rounded up, so that a colour at 50 % has equal values in every channel.
    blended: NDArray[np.uint8] = np.floor(np.minimum(total, 255) + 0.5).astype(np.uint8)
    return blended


def block_mean(plane: NDArray[Any], factor: int) -> NDArray[Any]:
    """Shrink planes (..., Y, X) by the mean of blocks, which may be incomplete at the edge; NaN is ignored.

    Factor 1 returns the planes themselves; others return float64 of shape (..., ceil(Y / factor), ceil(X / factor)).
    """
    if factor <= 1 or not plane.size:
        return plane
    values = np.abs(plane) if plane.dtype.kind == "c" else plane
    valid = np.isfinite(values) if values.dtype.kind == "f" else None
    sums = _block_sum(values if valid is None else np.where(valid, values, 0), factor)
    if valid is not None and not valid.all():
        counts = _block_sum(valid, factor)
    else:
        heights, widths = (_block_lengths(length, factor) for length in values.shape[-2:])
        counts = heights[:, None] * widths
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: NDArray[Any] = sums / counts
    return mean


def _block_sum(values: NDArray[Any], factor: int) -> NDArray[np.float64]:
    *outer, height, width = values.shape
    rows = np.zeros((*outer, math.ceil(height / factor), width))
    for offset in range(factor):  # one strided view after the other: reduceat would copy all of it to float64
        view = values[..., offset::factor, :]
        rows[..., : view.shape[-2], :] += view
    total: NDArray[np.float64] = np.add.reduceat(rows, np.arange(0, width, factor), axis=-1)
    return total


def _block_lengths(length: int, factor: int) -> NDArray[np.float64]:
    lengths = np.full(math.ceil(length / factor), float(factor))
    lengths[-1] = length - factor * (len(lengths) - 1)
    return lengths


def nearest(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Resample a plane (Y, X) to another shape by its nearest pixels, so that label ids stay ids."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for old, new in zip(plane.shape, shape, strict=True)
    )
    resampled: NDArray[Any] = plane[rows[:, None], columns]
    return resampled


def overlay(
    picture: NDArray[np.uint8],
    labels: NDArray[Any],
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    opacity: float = 0.3,
) -> NDArray[np.uint8]:
    """Overlay label ids on a picture: a tint inside, the full colour along the outline; 0 is background.

    ``colors`` maps ids to RGB values of 0 to 255; other ids get a fixed colour (`label_color`). ``opacity`` of the tint
    is from 0 to 1.
    """
    if labels.dtype.kind not in "biu":
        raise InvalidArgumentError(f"Label ids are integers; got {labels.dtype}.")
    if picture.shape[:2] != labels.shape:
        raise InvalidArgumentError(
            f"Labels of shape {labels.shape} do not fit a picture of {picture.shape[:2]}."
        )
    ids, indices = np.unique(labels, return_inverse=True)
    color_by_id = colors or {}
    color_table = np.array(
        [color_by_id.get(int(label), label_color(int(label))) for label in ids], np.float32
    ).reshape(-1, 3)
    tint = color_table[indices.reshape(labels.shape)]
    weight = np.where(labels != 0, np.where(_outline(labels), 1.0, opacity), 0.0)[..., None]
    blended: NDArray[np.uint8] = np.floor(picture * (1 - weight) + tint * weight + 0.5).astype(np.uint8)
    return blended


def _outline(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the pixels with a neighbour (above, below, left or right) of another id; the edge is not an outline."""
    edge = np.zeros(labels.shape, bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge
