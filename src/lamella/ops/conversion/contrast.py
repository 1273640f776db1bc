"""Compute contrast limits from a sample of the pixels, collected while they are converted.

The sample is at most a million pixels of each channel, whatever the number of threads and the order of the blocks.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lamella.spec.images import WindowDict
    from lamella.types import Array, Shape

_MAX_PLANES, _MAX_PLANES_OF_ALL_IMAGES, _MIN_PLANES = 64, 256, 3
"""Planes to sample per channel: the maximum of one image, the maximum of all images, the minimum of each image."""

_MAX_PIXELS_OF_ALL_IMAGES, _MIN_PIXELS = 1 << 20, 256
"""Pixels to sample per channel: the maximum of all images, and the minimum of each image."""

_MAX_PIXELS_OF_PLANE = 1 << 14
"""Maximum number of pixels that are sampled of a plane."""

LOW, HIGH = 0.1, 99.9
"""Percentiles of the sample that become black and full intensity."""


def sample_size(images: int) -> tuple[int, int]:
    """Return how many planes and pixels to sample per channel of each image, if there are `images` images."""
    planes = max(_MIN_PLANES, min(_MAX_PLANES, _MAX_PLANES_OF_ALL_IMAGES // images))
    return planes, max(_MIN_PIXELS, _MAX_PIXELS_OF_ALL_IMAGES // images)


@dataclass
class Sample:
    """Sampled pixels by channel, plane and first row, and for floats the range by channel; can be pickled."""

    planes: dict[int, dict[tuple[int, int], Array]] = field(default_factory=dict)
    ranges: dict[int, tuple[float, float]] = field(default_factory=dict)

    def add(self, other: Sample) -> None:
        """Add the sample of another worker."""
        for channel, planes in other.planes.items():
            self.planes.setdefault(channel, {}).update(planes)
        for channel, (low, high) in other.ranges.items():
            old_low, old_high = self.ranges.get(channel, (low, high))
            self.ranges[channel] = (min(low, old_low), max(high, old_high))


class ContrastSampler:
    """Collect a sample of the pixels of each channel of an image, whose axes include "c".

    ``images`` is the number of images of a plate, which get one contrast together; 0 for an image with its own.
    """

    def __init__(self, axes: str, shape: Shape, dtype: np.dtype[np.generic], images: int = 0) -> None:
        self._channel = axes.index("c")
        self._shape_before_y = shape[:-2]
        self._dtype = dtype
        planes_per_channel = math.prod(self._shape_before_y) // self._shape_before_y[self._channel]
        planes, pixels = sample_size(max(1, images))
        planes = min(planes_per_channel, planes)
        pixels_of_plane = min(_MAX_PIXELS_OF_PLANE, pixels // planes)
        self._plane_step = math.ceil(planes_per_channel / planes)
        self._pixel_step = max(1, math.ceil(math.sqrt(shape[-2] * shape[-1] / pixels_of_plane)))
        self._lock = threading.Lock()
        self.sample = Sample()

    def merge(self, sample: Sample) -> None:
        """Add the sample of another process for the same image."""
        with self._lock:
            self.sample.add(sample)

    def add(self, index: tuple[int, ...], row: int, pixels: Array) -> None:
        """Add the sampled pixels of some rows, from ``row`` on, of the plane at ``index`` along the axes before y."""
        if self._dtype.kind == "c":  # without an order there are no percentiles
            return
        channel, number = index[self._channel], self._plane_number(index)
        if self._dtype.kind == "f":
            self._add_range(channel, pixels)
        if number % self._plane_step:
            return
        # Every step-th row of the plane: if ``row`` is 5 and the step 4, the first one here is row 8, at index 3.
        sample = pixels[-row % self._pixel_step :: self._pixel_step, :: self._pixel_step].ravel().copy()
        with self._lock:
            self.sample.planes.setdefault(channel, {})[number, row] = sample

    def needs(self, index: tuple[int, ...]) -> bool:
        """Return whether a plane contributes to the sample; every plane of floats contributes to the range."""
        return self._dtype.kind == "f" or self._plane_number(index) % self._plane_step == 0

    def _plane_number(self, index: tuple[int, ...]) -> int:
        """Return the number of a plane among those of its channel."""
        number = 0
        for axis, (length, index_along_axis) in enumerate(zip(self._shape_before_y, index, strict=True)):
            if axis != self._channel:
                number = number * length + index_along_axis
        return number

    def _add_range(self, channel: int, pixels: Array) -> None:
        low, high = float(pixels.min()), float(pixels.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = pixels[np.isfinite(pixels)]
            if finite.size == 0:
                return
            low, high = float(finite.min()), float(finite.max())
        with self._lock:
            self.sample.add(Sample(ranges={channel: (low, high)}))

    def window(self, channel: int, displayed: tuple[float, float] | None = None) -> WindowDict:
        """Return the contrast limits of a channel.

        start and end are percentiles of the sample, or the range ``displayed`` by the source. min and max are the range
        of an integer type, or of float pixels.
        """
        planes = self.sample.planes.get(channel)
        start, end = (0.0, 0.0)
        if displayed is not None and displayed[0] < displayed[1]:
            start, end = displayed
        elif planes:
            start, end = percentile_window(np.concatenate([planes[key] for key in sorted(planes)]))
        limits = type_limits(self._dtype) or self.sample.ranges.get(channel, (0.0, 1.0))
        return window_of(start, end, limits, self._dtype)


def type_limits(dtype: np.dtype[np.generic]) -> tuple[float, float] | None:
    """Return the least and the largest value of an integer type or boolean; None for floats."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype.str)
        return float(info.min), float(info.max)
    return (0.0, 1.0) if dtype.kind == "b" else None


def percentile_window(values: NDArray[Any]) -> tuple[float, float]:
    """Return the percentiles of a sample that become black and full intensity; (0, 0) without values.

    >>> import numpy as np
    >>> percentile_window(np.arange(1001)), percentile_window(np.array([3] * 5000 + [9]))
    ((1.0, 999.0), (3.0, 9.0))
    """
    if values.dtype.kind == "b":
        return 0.0, 1.0
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)].astype(np.float64)
    if values.size == 0:
        return 0.0, 0.0
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        start, end = _count_percentiles(values)
    else:
        start, end = (float(value) for value in np.percentile(values, [LOW, HIGH], method="nearest"))
    if start == end:
        # Nearly all pixels have one value: show also objects that are smaller than a thousandth of the image.
        start, end = float(values.min()), float(values.max())
    return start, end


def are_usual(windows: Sequence[tuple[float, float]]) -> list[bool]:
    """Return for the window of each field whether it is usual, so that one overexposed field makes no other black.

    The common range is from the 10th percentile of the starts to the 90th percentile of the ends. A window is unusual
    if it exceeds the common range by more than three times the length of that range.

    >>> are_usual([(100, 500)] * 9 + [(150, 1400), (100, 65535)])
    [True, True, True, True, True, True, True, True, True, True, False]
    """
    starts, ends = np.array(windows, float).T
    low = np.percentile(starts, 10, method="nearest")
    high = np.percentile(ends, 90, method="nearest")
    margin = 3 * abs(high - low)
    usual: list[bool] = ((starts >= low - margin) & (ends <= high + margin)).tolist()
    return usual


def joint_window(windows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return one window for several fields: that of more than half of them, else the range of the usual ones.

    >>> joint_window([(0, 100), (0, 100), (5, 900)]), joint_window([(0, 100), (100, 200), (200, 300)])
    ((0, 100), (0, 300))
    """
    commonest, count = Counter(windows).most_common(1)[0]
    if 2 * count > len(windows):
        return commonest
    usual = [window for window, is_usual in zip(windows, are_usual(windows), strict=True) if is_usual]
    return min(start for start, _ in usual), max(end for _, end in usual)


def _count_percentiles(values: NDArray[Any]) -> tuple[float, float]:
    """Return the percentiles of unsigned integers of up to 16 bits; counting them is faster than sorting.

    >>> import numpy as np
    >>> values = np.random.default_rng(0).poisson(300, 1501).astype("uint16")
    >>> _count_percentiles(values) == tuple(np.percentile(values, [LOW, HIGH], method="nearest"))
    True
    """
    ranks = np.around((values.size - 1) * (np.array([LOW, HIGH]) / 100)).astype(np.int64)
    low, high = np.searchsorted(np.cumsum(np.bincount(values.ravel())), ranks, side="right")
    return float(low), float(high)


def window_of(
    start: float, end: float, limits: tuple[float, float], dtype: np.dtype[np.generic]
) -> WindowDict:
    """Return contrast limits; a constant image of value 7 gets the window 7 to 8."""
    low, high = limits
    if start >= end:
        # A constant image. Its window is 1 wide, or wider for large numbers, which floats cannot distinguish by 1.
        width = max(1.0, abs(start) * 2.0**-20)
        has_room = start + width <= (float(np.finfo(np.float64).max) if dtype.kind == "f" else high)
        start, end = (start, start + width) if has_room else (start - width, start)
    return {"start": start, "end": end, "min": min(low, start), "max": max(high, end)}


def check_dtype(dtype: np.dtype[np.generic], name: str) -> None:
    """Raise InvalidArgumentError for pixels without an order: complex numbers, structures, text."""
    if dtype.kind not in "buif":
        raise InvalidArgumentError(
            f"{name} has pixels of type {dtype}: only numbers and booleans can be converted."
        )
