"""A colour for every label id: `set_colors()` writes them, and previews use them for labels without colours.

Arithmetic on integers.
"""

from __future__ import annotations

import colorsys

_GOLDEN = 11400714819323198485
"""The golden ratio's part below 1, times 2**64: whole numbers keep ids beyond 2**53 apart."""

_TIERS = ((0.9, 0.8), (0.85, 1.0), (0.5, 0.95))
"""Saturation and brightness of consecutive ids, so that similar hues differ too; all are bright on black."""


def label_color(value: int) -> tuple[int, int, int]:
    """Return a bright colour for a label id, always the same; neighbouring ids differ clearly.

    >>> label_color(1), label_color(2), label_color(2**63)
    ((38, 101, 255), (192, 242, 121), (121, 242, 242))
    """
    hue = (value * _GOLDEN & (2**64 - 1)) / 2**64
    red, green, blue = colorsys.hsv_to_rgb(hue, *_TIERS[value % len(_TIERS)])
    return round(red * 255), round(green * 255), round(blue * 255)
