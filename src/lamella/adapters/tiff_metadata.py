"""What a TIFF says of an image besides its pixels, whichever dialect it is written in.

Layer: adapters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamella.ops.conversion.source import SourceChannel


@dataclass(frozen=True)
class TiffMetadata:
    """Physical sizes and channels of one image of a file.

    Attributes
    ----------
    scale : dict
        Axis letter of "tzyx" to distance of samples, where the file says it.
    units : dict
        Axis letter to UDUNITS-2 name.
    channels : tuple of SourceChannel
        As many as the file describes; may be fewer than there are.
    well : tuple or None
        Row, column and field when the file says where on a plate the image belongs.
    notes : tuple of str
        What could not be read.
    """

    scale: dict[str, float] = field(default_factory=dict)
    units: dict[str, str | None] = field(default_factory=dict)
    channels: tuple[SourceChannel, ...] = ()
    well: tuple[str, str, str] | None = None
    notes: tuple[str, ...] = ()
