"""Pixels to colours: contrast windows, additive composites, overlays of labels. Pure functions of numpy arrays.

Which pixels to take is decided in ``lamella.ops.display.preview``, where they go on the page in
``lamella.ops.display.montage``.

Layer: ops.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.ops.conversion.contrast import spread
from lamella.spec.label_palette import label_color

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Window = tuple[float, float]
"""Pixel values shown as black and as full intensity."""

_HEX = re.compile(r"#?([0-9a-fA-F]{6})(?:[0-9a-fA-F]{2})?")


def rgb(color: str) -> tuple[int, int, int]:
    """Split a colour of six hex digits; ``#`` and an alpha part are ignored, anything else is white.

    >>> rgb("FF8000"), rgb("#0000ff80"), rgb("mauve")
    ((255, 128, 0), (0, 0, 255), (255, 255, 255))
    """
    found = _HEX.fullmatch(color.strip())
    digits = found[1] if found else "FFFFFF"
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def auto_window(samples: NDArray[Any]) -> Window:
    """Choose a contrast window from pixel values, as `convert` does: the 0.1th to the 99.9th percentile.

    Parameters
    ----------
    samples
        Values of any dtype and shape; those that are not finite do not count. The absolute value counts for complex
        ones.

    Returns
    -------
    tuple of float
        Start and end. Where the percentiles coincide, the least and the largest value; (0, 1) for no value at all
        and for booleans.

    Examples
    --------
    >>> import numpy as np
    >>> auto_window(np.arange(1001))
    (1.0, 999.0)
    >>> auto_window(np.array([np.nan]))
    (0.0, 1.0)
    """
    values = np.abs(samples) if samples.dtype.kind == "c" else samples
    if not values.size or (values.dtype.kind == "f" and not np.isfinite(values).any()):
        return 0.0, 1.0
    return spread(values.ravel())


def intensity(plane: NDArray[Any], window: Window) -> NDArray[np.float32]:
    """Map pixel values to 0 (start of the window and below) to 1 (its end and above), linearly.

    Parameters
    ----------
    plane
        Values of any dtype and shape. The absolute value counts for complex ones.
    window
        Start and end. An end below the start inverts the contrast; where they are equal, values above are 1.

    Returns
    -------
    numpy.ndarray
        float32, of the same shape; NaN becomes 0.

    Examples
    --------
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
    """Blend channels additively, each in its colour.

    Parameters
    ----------
    planes
        One plane (Y, X) per channel, all of one shape; bool, integer, float or complex.
    colors
        Six hex digits per channel.
    windows
        Start and end per channel, in pixel values.

    Returns
    -------
    numpy.ndarray
        uint8 (Y, X, 3). Sums above 255 are 255; NaN is black.

    Raises
    ------
    InvalidArgumentError
        There is no channel, their numbers or shapes differ, or a plane is not two-dimensional.

    Examples
    --------
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
    # Half a unit rounds up: whole numbers of a colour at 50 % are then the same in every channel.
    blended: NDArray[np.uint8] = np.floor(np.minimum(total, 255) + 0.5).astype(np.uint8)
    return blended


def block_mean(plane: NDArray[Any], factor: int) -> NDArray[Any]:
    """Shrink a plane by the mean of blocks; blocks at the edge use the pixels they have, NaN counts for nothing.

    Parameters
    ----------
    plane
        (Y, X).
    factor
        Side of a block, from 1. With 1 the plane is returned as it is.

    Returns
    -------
    numpy.ndarray
        (ceil(Y / factor), ceil(X / factor)), float64 (factor above 1).

    Examples
    --------
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
        height, width = (_counts(length, factor) for length in values.shape)
        counts = height[:, None] * width
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: NDArray[Any] = sums / counts
    return mean


def _block_sum(values: NDArray[Any], factor: int) -> NDArray[np.float64]:
    rows = np.zeros((math.ceil(values.shape[0] / factor), values.shape[1]))
    for offset in range(factor):  # one strided view after the other: reduceat would copy all of it to float64
        part = values[offset::factor]
        rows[: len(part)] += part
    total: NDArray[np.float64] = np.add.reduceat(rows, np.arange(0, values.shape[1], factor), axis=1)
    return total


def _counts(length: int, factor: int) -> NDArray[np.float64]:
    counts = np.full(math.ceil(length / factor), float(factor))
    counts[-1] = length - factor * (len(counts) - 1)
    return counts


def nearest(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Resample a plane (Y, X) to another shape by taking the nearest pixel: label ids stay ids.

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
    """Lay label ids over a picture: a tint inside, the full colour along the outline; 0 is background.

    Parameters
    ----------
    picture
        uint8 (Y, X, 3).
    labels
        Integers (Y, X).
    colors
        Colours of ids, 0 to 255; ids without one get a colour of their own that is always the same.
    opacity
        Of the tint, 0 to 1.

    Returns
    -------
    numpy.ndarray
        uint8 (Y, X, 3), a new one.

    Raises
    ------
    InvalidArgumentError
        The shapes differ, or the labels are no integers.

    Examples
    --------
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
    ids, places = np.unique(labels, return_inverse=True)
    known = colors or {}
    table = np.array([known.get(int(value), label_color(int(value))) for value in ids], np.float32).reshape(
        -1, 3
    )
    tint = table[places.reshape(labels.shape)]
    weight = np.where(labels != 0, np.where(_outline(labels), 1.0, opacity), 0.0)[..., None]
    blended: NDArray[np.uint8] = np.floor(picture * (1 - weight) + tint * weight + 0.5).astype(np.uint8)
    return blended


def _outline(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels with a neighbour above, below, left or right of another id; the picture's edge is no outline."""
    edge = np.zeros(labels.shape, bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge
