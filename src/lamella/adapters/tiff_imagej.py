"""Metadata of ImageJ TIFFs, and of plain TIFFs through their resolution tags.

Layer: adapters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.tiff_metadata import TiffMetadata, is_size
from lamella.ops.conversion.source import SourceChannel
from lamella.spec.units import unit_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.adapters.tiff_axes import AxisPlan

_UNSET_DPI = (1.0, 72.0, 96.0)
"""Dots per inch that writers put in when they know nothing."""

_MICROMETERS = {2: 25400.0, 3: 10000.0, 4: 1000.0, 5: 1.0}
"""Micrometers in the unit of a ResolutionUnit tag; 4 and 5 (millimeter, micrometer) are extensions of TIFF."""


def read_imagej(imagej: Mapping[str, Any], tags: Any, plan: AxisPlan) -> TiffMetadata:
    """Read what ImageJ stores: pixel width and height in the resolution tags, all else in its own block.

    Parameters
    ----------
    imagej : mapping
        ImageJ metadata as ``tifffile`` parses them.
    tags : tifffile.TiffTags
        Tags of the first page.
    plan : AxisPlan
        Axes of the image.

    Returns
    -------
    TiffMetadata
        Sizes in the unit that ImageJ names; no unit when ImageJ counts in pixels.
    """
    scale: dict[str, float] = {}
    units: dict[str, str | None] = {}
    unit = unit_name(_text(imagej.get("unit")))
    for axis, tag in (("y", "YResolution"), ("x", "XResolution")):
        per_unit = _ratio(tags, tag)
        own = unit_name(_text(imagej.get(f"{axis}unit"))) or unit
        # Without a unit ImageJ counts pixels, whatever the resolution tags hold.
        if own is not None and per_unit is not None:
            scale[axis], units[axis] = 1 / per_unit, own
    spacing = _number(imagej.get("spacing"))
    z_unit = unit_name(_text(imagej.get("zunit"))) or unit
    if spacing is not None and z_unit is not None:
        scale["z"], units["z"] = spacing, z_unit
    interval = _number(imagej.get("finterval"))
    if interval is not None:
        scale["t"], units["t"] = interval, unit_name(_text(imagej.get("tunit"))) or "second"
    return TiffMetadata(scale, units, _channels(imagej, plan))


def read_resolution(tags: Any) -> TiffMetadata:
    """Read pixel sizes from the resolution tags, in micrometers.

    Resolutions of 1, 72 and 96 dots per inch are what programs write that know no size; they are not kept.

    Parameters
    ----------
    tags : tifffile.TiffTags
        Tags of the first page.
    """
    code = int(tags.valueof("ResolutionUnit", 2) or 2)
    length = _MICROMETERS.get(code)
    scale: dict[str, float] = {}
    for axis, tag in (("y", "YResolution"), ("x", "XResolution")):
        per_unit = _ratio(tags, tag)
        if length is not None and per_unit is not None and not (code == 2 and per_unit in _UNSET_DPI):
            scale[axis] = length / per_unit
    return TiffMetadata(scale, dict.fromkeys(scale, "micrometer"))


def _ratio(tags: Any, name: str) -> float | None:
    """Value of a rational tag; None when absent, not positive, or not finite."""
    value = tags.valueof(name)
    try:
        numerator, denominator = value
        ratio = numerator / denominator
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return float(ratio) if is_size(ratio) else None


def _number(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and is_size(abs(value)):
        return abs(float(value))  # ImageJ stores a negative spacing for stacks that were flipped
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _channels(imagej: Mapping[str, Any], plan: AxisPlan) -> tuple[SourceChannel, ...]:
    count = plan.shape[plan.axes.index("c")] if "c" in plan.axes else 1
    labels = _labels(imagej.get("Labels"), plan, count)
    colors = [_lut_color(lut) for lut in imagej.get("LUTs") or ()]
    if imagej.get("mode") == "grayscale" or len(colors) != count:
        colors = [None] * count
    ranges = [float(number) for number in imagej.get("Ranges") or ()]
    if len(ranges) != 2 * count:
        ranges = []
    return tuple(
        SourceChannel(
            labels[index] if labels else "",
            colors[index],
            (ranges[2 * index], ranges[2 * index + 1]) if ranges else None,
        )
        for index in range(count)
    )


def _labels(labels: Sequence[str] | None, plan: AxisPlan, count: int) -> list[str]:
    """Channel names out of the labels of the planes: those that are the same in every z and t of a channel."""
    if not labels or count < 2:
        return []
    # ImageJ's planes are in the order channel, z, time, with the channel fastest.
    if len(labels) not in (count, _planes(plan)):
        return []
    names = [set(labels[index::count]) for index in range(count)]
    flat = [next(iter(group)) for group in names]
    if any(len(group) > 1 for group in names) or len(set(flat)) < count or not all(flat):
        return []
    return flat


def _planes(plan: AxisPlan) -> int:
    planes = 1
    for length in plan.shape[:-2]:
        planes *= length
    return planes


def _lut_color(lut: Any) -> str | None:
    """Colour of a lookup table that is a ramp from black to that colour; None for any other table.

    >>> import numpy as np
    >>> _lut_color(np.outer([1, 0, 1], np.arange(256)).astype("uint8"))
    'FF00FF'
    """
    table = np.asarray(lut, dtype=np.float64)
    if table.shape != (3, 256):
        return None
    top = table[:, -1]
    if not top.any() or np.abs(table - np.outer(top, np.arange(256) / 255)).max() > 1:
        return None
    return "".join(f"{int(value):02X}" for value in top)
