"""The metadata of an image in a TIFF, and pixel sizes from the tags XResolution and YResolution.

Many programs write the resolution of a printer into these tags (300 dots per inch), which must not become a pixel size:
see `is_for_print`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lamella.spec.units import is_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.ops.conversion.source import Objective, SourceChannel


@dataclass(frozen=True)
class TiffMetadata:
    """Physical sizes and channels of one image of a file; fields without a comment are those of `ImageDescription`."""

    scale: dict[str, float] = field(default_factory=dict)
    units: dict[str, str | None] = field(default_factory=dict)
    channels: tuple[SourceChannel, ...] = ()
    """Empty or fewer than the image has, where the metadata do not describe all."""
    well: tuple[str, str, str] | None = None
    notes: tuple[str, ...] = ()
    """Sentences without full stop for the user, about metadata that were not used."""
    title: str = ""
    plate: str = ""
    acquisition: int | None = None
    acquisition_name: str = ""
    stage: dict[str, float] = field(default_factory=dict)
    times: tuple[float, ...] = ()
    acquired: str = ""
    objective: Objective | None = None


_UNITS = {2: "inch", 3: "centimeter", 4: "millimeter", 5: "micrometer"}
"""Unit of a ResolutionUnit tag; 4 and 5 are extensions of TIFF. Other values, such as 1, mean no unit."""

_MICROMETERS = {"centimeter": 10_000.0, "millimeter": 1_000.0}
"""Micrometers in units that both microscopes and printers use."""

_LARGEST_PIXEL = 100.0
"""Pixels of this size or larger, in micrometers, are dots of a printer."""

_DOTS_PER_INCH = (300, 350, 360, 400, 600, 720, 1200, 2400)
"""Resolutions of printers with smaller dots, also when rounded to whole numbers per centimeter."""

_MAKERS_OF_SCREENS = ("PerkinElmer", "Revvity")
"""Makers of Opera Phenix and Operetta, whose TIFF files state the pixel size of the camera."""

_CAMERA_NOTE = (
    "its pixel size of {:.4g} micrometers is that of the camera, without the objective, and was not used: convert the "
    "folder of its Index.idx.xml, or set the size with --pixel-size"
)


def read_resolution(tags: Any) -> TiffMetadata:
    """Return pixel sizes in micrometers from the resolution tags, or a note if the tags are meant for a printer."""
    ratios = read_ratios(tags)
    unit = _UNITS.get(_unit_code(tags))
    if unit is None or not ratios:
        return TiffMetadata()
    if any(is_for_print(count, unit) for count in ratios.values()):
        return TiffMetadata(notes=(print_note(ratios, unit),))
    length = _MICROMETERS.get(unit, 1.0)
    if str(tags.valueof("Make")).startswith(_MAKERS_OF_SCREENS):
        size = length / next(iter(ratios.values()))
        return TiffMetadata(notes=(_CAMERA_NOTE.format(size),))
    scale = {axis: length / count for axis, count in ratios.items()}
    return TiffMetadata(scale, dict.fromkeys(scale, "micrometer"))


def _unit_code(tags: Any) -> int:
    """Return the number of the ResolutionUnit tag: 2 (inch) without the tag, 1 (no unit) for an unreadable one."""
    code = tags.valueof("ResolutionUnit")
    try:
        return 2 if code is None else int(code)
    except (TypeError, ValueError):
        return 1


def is_for_print(count: float, unit: str) -> bool:
    """Return whether a number of pixels per unit is a resolution for printing rather than a pixel size.

    >>> is_for_print(25400, "inch"), is_for_print(28.35, "centimeter"), is_for_print(118, "centimeter")
    (True, True, True)
    >>> is_for_print(15384.6, "centimeter"), is_for_print(0.001, "micrometer")
    (False, False)
    """
    if unit == "inch":
        return True
    length = _MICROMETERS.get(unit)
    if length is None:
        return False
    per_inch = count * 25_400 / length
    is_rounded_dpi = any(abs(per_inch / dots - 1) < 0.002 for dots in _DOTS_PER_INCH)
    return length / count >= _LARGEST_PIXEL or is_rounded_dpi


def print_note(ratios: Mapping[str, float], unit: str) -> str:
    """Return the note about a resolution that was not used as a pixel size."""
    counts = " x ".join(dict.fromkeys(f"{count:g}" for count in ratios.values()))
    return (
        f"its resolution of {counts} pixels per {unit} is one for printing and was not used as a pixel size"
    )


def read_ratios(tags: Any) -> dict[str, float]:
    """Return the pixels per unit along y and x, without axes whose tag is absent, not positive or not finite."""
    ratios: dict[str, float] = {}
    for axis, name in (("y", "YResolution"), ("x", "XResolution")):
        try:
            numerator, denominator = tags.valueof(name)
            ratio = numerator / denominator
        except (TypeError, ValueError, ZeroDivisionError):
            continue
        if is_size(ratio):
            ratios[axis] = float(ratio)
    return ratios
