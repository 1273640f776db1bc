"""Read the metadata of ImageJ TIFFs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.tiff_metadata import TiffMetadata
from lamella.adapters.tiff_resolution import is_for_print, print_note, read_ratios
from lamella.adapters.tiff_samples import lut_color
from lamella.ops.conversion.source import SourceChannel
from lamella.spec.units import is_size, unit_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.adapters.tiff_axes import AxisPlan


def read_imagej(imagej: Mapping[str, Any], tags: Any, plan: AxisPlan) -> TiffMetadata:
    """Read ImageJ's metadata: pixel width and height from the resolution tags, the rest from its own block.

    ``imagej`` are the metadata as ``tifffile`` parses them, ``tags`` those of the first page. Sizes have the unit that
    ImageJ names; without a unit, ImageJ counts in pixels, and no size is returned.
    """
    scale: dict[str, float] = {}
    units: dict[str, str | None] = {}
    unit = unit_name(_text(imagej.get("unit")))
    per_unit = read_ratios(tags)
    dropped = None
    for axis, count in per_unit.items():
        own = unit_name(_text(imagej.get(f"{axis}unit"))) or unit
        # Without a unit ImageJ counts pixels, whatever the resolution tags are. Units of print come from files that
        # ImageJ opened, with the resolution for a printer.
        if own is not None and is_for_print(count, own):
            dropped = own
        elif own is not None:
            scale[axis], units[axis] = 1 / count, own
    if dropped is not None:
        scale, units = {}, {}
    spacing = _number(imagej.get("spacing"))
    z_unit = unit_name(_text(imagej.get("zunit"))) or (unit if dropped is None else None)
    if spacing is not None and z_unit is not None:
        scale["z"], units["z"] = spacing, z_unit
    interval = _number(imagej.get("finterval"))
    if interval is not None:
        scale["t"], units["t"] = interval, unit_name(_text(imagej.get("tunit"))) or "second"
    notes = () if dropped is None else (print_note(per_unit, dropped),)
    if any(lut_color(lut) is None for lut in _listed(imagej.get("LUTs"), np.ndarray)):
        notes = (*notes, "a lookup table of it is not a ramp from black to one colour and was not used")
    return TiffMetadata(scale, units, _channels(imagej, plan), notes=notes)


def _number(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and is_size(abs(value)):
        return abs(float(value))  # ImageJ stores a negative spacing for stacks that were flipped
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _channels(imagej: Mapping[str, Any], plan: AxisPlan) -> tuple[SourceChannel, ...]:
    count = plan.shape[plan.axes.index("c")] if "c" in plan.axes else 1
    labels = _labels(_listed(imagej.get("Labels"), str), plan, count)
    # In grayscale mode one table is for all channels.
    colors = [lut_color(lut) for lut in _listed(imagej.get("LUTs"), np.ndarray)]
    if (imagej.get("mode") == "grayscale" and count > 1) or len(colors) != count:
        colors = [None] * count
    ranges = _ranges(imagej, count)
    return tuple(
        SourceChannel(labels[index] if labels else "", colors[index], ranges[index]) for index in range(count)
    )


def _listed(value: object, single: type) -> list[Any]:
    """Return a list: ``tifffile`` leaves out the list around one label or one lookup table."""
    if isinstance(value, single):
        return [value]
    return list(value) if isinstance(value, list | tuple) else []


def _ranges(imagej: Mapping[str, Any], count: int) -> list[tuple[float, float] | None]:
    """Return the displayed range of each channel: from the list of all, or of a single channel."""
    numbers: list[Any] = [
        number for number in _listed(imagej.get("Ranges"), float) if isinstance(number, int | float)
    ]
    if len(numbers) != 2 * count:
        numbers = [imagej.get("min"), imagej.get("max")] if count == 1 else []
    if len(numbers) != 2 * count or not all(_is_finite(number) for number in numbers):
        return [None] * count
    return [(float(numbers[2 * index]), float(numbers[2 * index + 1])) for index in range(count)]


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and bool(np.isfinite(number))


def _labels(labels: Sequence[str], plan: AxisPlan, count: int) -> list[str]:
    """Return channel names from the labels of planes, if they are equal in every z and t of a channel."""
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
