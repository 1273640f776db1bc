"""Describe the images of a file: the default units and axes, and the parsers that several readers share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, counted
from lamella.ops.conversion.handles import UNITS
from lamella.ops.conversion.source import SAMPLE_COLORS, ImageDescription, SourceChannel
from lamella.spec.colors import parse_color
from lamella.spec.units import is_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lamella.types import Shape


def describe_image(
    path: str,
    shape: Shape,
    dtype: Any,
    *,
    scale: Mapping[str, float | None],
    units: Mapping[str, str | None] = UNITS,
    times: tuple[float, ...] = (),
    **facts: Any,
) -> ImageDescription:
    """Describe an image of a file, with axes "tczyx" unless they are among ``facts``.

    Steps that are not positive numbers are left out. With several times, the time step is their mean distance:
    1.0 second for (0.0, 0.9, 2.0).
    """
    sizes = {axis: float(size) for axis, size in scale.items() if size is not None and is_size(size)}
    all_units = {**UNITS, **units}
    if len(times) > 1 and is_size(step := (times[-1] - times[0]) / (len(times) - 1)):
        sizes["t"], all_units["t"] = step, "second"
    return ImageDescription(
        **{"name": os.path.basename(path), "files": (path,), "axes": "tczyx", **facts},
        shape=tuple(shape),
        dtype=np.dtype(dtype).newbyteorder("="),
        scale=sizes,
        units=all_units,
        times=times,
    )


def missing_note(count: int, noun: str) -> tuple[str, ...]:
    """Return the note about missing planes or volumes; none for 0."""
    return (f"{counted(count, noun)} missing, written as zeros",) if count > 0 else ()


def sample_channels(
    samples: int, names: Iterable[str] = ("",), bits: int | None = None
) -> tuple[SourceChannel, ...]:
    """Return a channel for each sample of each colour image in ``names``, which are prefixes of the labels.

    ``bits`` is the number of bits that the samples use, if it is less than that of the pixel type.

    >>> [channel.label for channel in sample_channels(3)]
    ['Red', 'Green', 'Blue']
    """
    window = None if bits is None else (0.0, 2.0**bits - 1)
    return tuple(
        SourceChannel(f"{name} {label}".strip(), color, window=window, active=label != "Alpha")
        for name in names
        for label, color in SAMPLE_COLORS[:samples]
    )


def parse_number(text: str | None) -> float | None:
    """Read a finite number; None for anything else."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def named_color(name: str) -> str | None:
    """Return the colour of a look-up table by its name; None if the name is not a colour.

    >>> named_color("Green"), named_color("Gray"), named_color("Glow (O&U)")
    ('00FF00', 'FFFFFF', None)
    """
    colors = {"gray": "FFFFFF", "grey": "FFFFFF", "green": "00FF00"}  # CSS has darker ones by these names
    try:
        return colors.get(name.lower()) or parse_color(name)
    except InvalidArgumentError:
        return None


def positive_or_none(value: Any) -> float | None:
    """Return a number that is positive and finite; None for any other number."""
    return float(value) if value is not None and is_size(value) else None
