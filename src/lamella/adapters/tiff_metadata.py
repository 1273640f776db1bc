"""The metadata of an image in a TIFF, of any dialect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamella.ops.conversion.source import Objective, SourceChannel


@dataclass(frozen=True)
class TiffMetadata:
    """Physical sizes and channels of one image of a file.

    ``scale`` and ``units`` map axis letters of "tzyx" to known sizes and UDUNITS-2 names. ``channels`` may be fewer
    than the image has. ``well`` is row, column and field on a plate; ``notes`` report unreadable metadata. The other
    fields are those of `ImageDescription`.
    """

    scale: dict[str, float] = field(default_factory=dict)
    units: dict[str, str | None] = field(default_factory=dict)
    channels: tuple[SourceChannel, ...] = ()
    well: tuple[str, str, str] | None = None
    notes: tuple[str, ...] = ()
    title: str = ""
    plate: str = ""
    acquisition: int | None = None
    acquisition_name: str = ""
    stage: dict[str, float] = field(default_factory=dict)
    times: tuple[float, ...] = ()
    acquired: str = ""
    objective: Objective | None = None
