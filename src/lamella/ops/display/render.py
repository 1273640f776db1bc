"""Convert pixels to colours: contrast windows, additive composites, overlays of labels. Pure functions of numpy arrays.

``lamella.ops.display.preview`` selects the pixels, and ``lamella.ops.display.montage`` arranges them.
"""

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
    """Split a colour of six hex digits; ``#`` and an alpha part are ignored, anything else is white.

    >>> rgb("FF8000"), rgb("#0000ff80"), rgb("mauve")
    ((255, 128, 0), (0, 0, 255), (255, 255, 255))
    """
    match = _HEX.fullmatch(color.strip())
    digits = match[1] if match else "FFFFFF"
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def lightened(color: str) -> str:
    """Return a colour that is blue alone with some red and green, because 0000FF is hard to see on black.

    >>> lightened("0000FF"), lightened("00FFFF"), lightened("400080")
    ('3366FF', '00FFFF', '400080')
    """
    red, green, blue = rgb(color)
    if blue <= 2 * (red + green):
        return color
    return f"{max(red, blue // 5):02X}{max(green, 2 * blue // 5):02X}{blue:02X}"


def auto_window(samples: NDArray[Any]) -> Window:
    """Choose a contrast window like `convert`: the 0.1th to the 99.9th percentile of the finite values.

    Equal percentiles are replaced by the least and the largest value. (0, 1) for booleans and without values. Complex
    numbers count by their absolute value.

    >>> import numpy as np
    >>> auto_window(np.arange(1001))
    (1.0, 999.0)
    >>> auto_window(np.array([np.nan]))
    (0.0, 1.0)
    """
    values = np.abs(samples) if samples.dtype.kind == "c" else samples
    if not values.size or (values.dtype.kind == "f" and not np.isfinite(values).any()):
        return 0.0, 1.0
    return percentile_window(values.ravel())


def intensity(plane: NDArray[Any], window: Window) -> NDArray[np.float32]:
    """Map pixel values to 0 (start of the window and below) to 1 (its end and above), linearly, as float32.

    An end below the start inverts the contrast; if they are equal, values above are 1. NaN becomes 0; complex numbers
    count by their absolute value.

    >>> import numpy as np
    >>> intensity(np.array([0, 10, 15, 30]), (10, 20)).tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    start, end = window
    small = plane.dtype.kind == "b" or (plane.dtype.kind in "iu" and plane.dtype.itemsize <= 2)
    real = np.abs(plane) if plane.dtype.kind == "c" else plane
    values: NDArray[np.floating[Any]] = real.astype(np.float32 if small else np.float64)
    if start == end:
        above: NDArray[np.float32] = (values > start).astype(np.float32)
        return above
    with np.errstate(invalid="ignore", over="ignore"):
        values -= start
        values /= end - start
    level: NDArray[np.float32] = np.nan_to_num(np.clip(values, 0, 1), nan=0.0).astype(np.float32)
    return level


def composite(
    planes: Sequence[NDArray[Any]] | NDArray[Any], colors: Sequence[str], windows: Sequence[Window]
) -> NDArray[np.uint8]:
    """Blend planes (Y, X) of channels additively, each in its colour, to uint8 (Y, X, 3).

    ``windows`` are start and end of each channel in pixel values. Sums above 255 are 255; NaN is black.

    >>> import numpy as np
    >>> planes = np.array([[[0, 100]], [[50, 50]]], "uint16")
    >>> composite(planes, ["FF0000", "0000FF"], [(0, 100), (0, 100)]).tolist()
    [[[0, 0, 128], [255, 0, 128]]]
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
        level = intensity(plane, window)
        for index, part in enumerate(rgb(color)):
            if part:
                total[..., index] += level * part
    # Halves are rounded up, so that a colour at 50 % has equal values in every channel.
    blended: NDArray[np.uint8] = np.floor(np.minimum(total, 255) + 0.5).astype(np.uint8)
    return blended


def block_mean(plane: NDArray[Any], factor: int) -> NDArray[Any]:
    """Shrink a plane by the mean of blocks; incomplete blocks at the edge use their pixels, NaN is ignored.

    Factor 1 returns the plane itself; others return float64 of shape (ceil(Y / factor), ceil(X / factor)). Dimensions
    before Y and X are kept.

    >>> import numpy as np
    >>> block_mean(np.array([[1, 3, 10], [1, 3, 20]]), 2).tolist()
    [[2.0, 15.0]]
    """
    if factor <= 1 or not plane.size:
        return plane
    values = np.abs(plane) if plane.dtype.kind == "c" else plane
    valid = np.isfinite(values) if values.dtype.kind == "f" else None
    sums = _block_sum(values if valid is None else np.where(valid, values, 0), factor)
    if valid is not None and not valid.all():
        counts = _block_sum(valid, factor)
    else:
        height, width = (_counts(length, factor) for length in values.shape[-2:])
        counts = height[:, None] * width
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: NDArray[Any] = sums / counts
    return mean


def _block_sum(values: NDArray[Any], factor: int) -> NDArray[np.float64]:
    *outer, height, width = values.shape
    rows = np.zeros((*outer, math.ceil(height / factor), width))
    for offset in range(factor):  # one strided view after the other: reduceat would copy all of it to float64
        part = values[..., offset::factor, :]
        rows[..., : part.shape[-2], :] += part
    total: NDArray[np.float64] = np.add.reduceat(rows, np.arange(0, width, factor), axis=-1)
    return total


def _counts(length: int, factor: int) -> NDArray[np.float64]:
    counts = np.full(math.ceil(length / factor), float(factor))
    counts[-1] = length - factor * (len(counts) - 1)
    return counts


def nearest(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Resample a plane (Y, X) to another shape by its nearest pixels: label ids stay ids.

    >>> import numpy as np
    >>> nearest(np.array([[1, 2]]), (2, 4)).tolist()
    [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for old, new in zip(plane.shape, shape, strict=True)
    )
    picked: NDArray[Any] = plane[rows[:, None], columns]
    return picked


def overlay(
    picture: NDArray[np.uint8],
    labels: NDArray[Any],
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    opacity: float = 0.3,
) -> NDArray[np.uint8]:
    """Overlay label ids on a picture: a tint inside, the full colour along the outline; 0 is background.

    ``colors`` maps ids to RGB values of 0 to 255; other ids get a fixed colour of their own. ``opacity`` of the tint is
    from 0 to 1.

    >>> import numpy as np
    >>> black = np.zeros((1, 3, 3), "uint8")
    >>> overlay(black, np.array([[0, 0, 7]]), {7: (255, 0, 0)})[0, 2].tolist()
    [255, 0, 0]
    """
    if labels.dtype.kind not in "biu":
        raise InvalidArgumentError(f"Label ids are integers; got {labels.dtype}.")
    if picture.shape[:2] != labels.shape:
        raise InvalidArgumentError(
            f"Labels of shape {labels.shape} do not fit a picture of {picture.shape[:2]}."
        )
    ids, indices = np.unique(labels, return_inverse=True)
    stored_colors = colors or {}
    table = np.array(
        [stored_colors.get(int(value), label_color(int(value))) for value in ids], np.float32
    ).reshape(-1, 3)
    tint = table[indices.reshape(labels.shape)]
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
