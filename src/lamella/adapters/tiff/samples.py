"""Describe the channels of a TIFF, from its metadata and from the photometric interpretation of its samples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.ops.conversion.source import SAMPLE_COLORS, SourceChannel

if TYPE_CHECKING:
    from collections.abc import Sequence

_WHITE_IS_ZERO = 0
_GRAY, _RGB, _PALETTE, _SEPARATED, _YCBCR = (0, 1), 2, 3, 5, 6
_LAB = (8, 9, 10)
"""Values of the tag PhotometricInterpretation."""

_LOSSLESS_CODECS = {1, 5, 8, 32773, 32946, 34925, 50000}
"""Compressions after which YCbCr is still YCbCr (none, LZW, deflate, ...); a JPEG is decoded to RGB."""

_ALPHA = (1, 2)
"""Values of the tag ExtraSamples for opacity."""

_CMYK_INKS = 1


def samples_of(page: Any) -> list[SourceChannel]:
    """Describe the samples of the pixels of a page as channels; without names if the page does not name them."""
    count = max(int(page.shaped[0]), int(page.shaped[4]))
    if count == 1:
        return [SourceChannel("", ramp_color(page))]
    extras = [int(extra) for extra in page.extrasamples or ()][-count:]
    colors = [SourceChannel(label, color) for label, color in _color_samples(page, count - len(extras))]
    if is_rgb(page):
        colors = [replace(channel, window=_whole_range(page)) for channel in colors]
    opacity = SourceChannel("Alpha", "FFFFFF", _whole_range(page), active=False)
    return [*colors, *(opacity if extra in _ALPHA else SourceChannel("") for extra in extras)]


def is_rgb(page: Any) -> bool:
    """Return whether the first three samples of a page, as it is decoded, are red, green and blue."""
    count = max(int(page.shaped[0]), int(page.shaped[4])) - len(page.extrasamples or ())
    is_decoded_to_rgb = page.photometric == _YCBCR and page.compression not in _LOSSLESS_CODECS
    return count == 3 and (page.photometric == _RGB or is_decoded_to_rgb)


def _color_samples(page: Any, count: int) -> list[tuple[str, str | None]]:
    """Return names and colours of the samples that are not extra ones."""
    named: list[tuple[str, str | None]] = []
    photometric = page.photometric
    if is_rgb(page):
        named = list(SAMPLE_COLORS[:3])
    elif photometric == _YCBCR:
        named = [("Y", "FFFFFF"), ("Cb", None), ("Cr", None)]
    elif photometric == _SEPARATED and page.tags.valueof("InkSet", _CMYK_INKS) == _CMYK_INKS:
        named = [("Cyan", "00FFFF"), ("Magenta", "FF00FF"), ("Yellow", "FFFF00"), ("Black", "FFFFFF")]
    elif photometric in _LAB:
        named = [("L*", "FFFFFF"), ("a*", None), ("b*", None)]
    elif photometric in _GRAY and count == 1 and any(extra in _ALPHA for extra in page.extrasamples):
        named = [("Gray", "FFFFFF")]
    return named if len(named) == count else [("", None)] * count


def _whole_range(page: Any) -> tuple[float, float]:
    """Return 0 and the largest value of the bits of a sample; 0 and 1 for floats and booleans."""
    kind = np.dtype(page.dtype).kind
    bits = page.bitspersample
    if kind not in "iu" or not isinstance(bits, int):
        return 0.0, float(np.iinfo(page.dtype.str).max) if kind in "iu" else 1.0
    return 0.0, float(2 ** (bits - (kind == "i")) - 1)


def ramp_color(page: Any) -> str | None:
    """Return the colour of a palette that is a ramp from black to one colour, as ImageJ stores lookup tables."""
    if page.photometric != _PALETTE or page.colormap is None:
        return None
    return lut_color(np.asarray(page.colormap) >> 8)  # a palette has 16-bit values


def display_notes(page: Any) -> tuple[str, ...]:
    """Return notes on display settings that are lost: a palette that is not a ramp, small values shown as white."""
    if page.photometric == _PALETTE and page.colormap is not None and ramp_color(page) is None:
        return ("its palette of colours was not applied: the pixels are its indices",)
    if page.photometric == _WHITE_IS_ZERO:
        return ("it shows small values as white (WhiteIsZero), and is shown inverted now",)
    return ()


def lut_color(lut: Any) -> str | None:
    """Return the colour of a lookup table that is a ramp from black to that colour; None for any other table.

    >>> lut_color(np.outer([1, 0, 1], np.arange(256)).astype("uint8"))
    'FF00FF'
    """
    table = np.asarray(lut, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != 3 or table.shape[1] < 2:
        return None
    top = table[:, -1]
    if not top.any() or np.abs(table - np.outer(top, np.linspace(0, 1, table.shape[1]))).max() > 1:
        return None
    return "".join(f"{int(component):02X}" for component in top)


def merge_channels(described: Sequence[SourceChannel], page: Any, count: int) -> tuple[SourceChannel, ...]:
    """Return the ``count`` channels of an image: those of its metadata, completed by the samples of a page.

    ``described`` has one entry for each channel, or one for all samples of each pixel.
    """
    samples = samples_of(page)
    if len(described) * len(samples) == count and len(samples) > 1:
        # A channel of OME-XML has all samples of a pixel; its colour and range are not those of each sample.
        return tuple(
            replace(
                sample,
                label=f"{channel.label} {sample.label or index}".strip() if channel.label else sample.label,
            )
            for channel in described
            for index, sample in enumerate(samples)
        )
    if len(described) != count:
        described = [SourceChannel("")] * count
    if count % len(samples):
        return tuple(described)
    return tuple(
        replace(
            channel,
            label=channel.label or sample.label,
            color=channel.color or sample.color,
            window=channel.window or sample.window,
            active=sample.active,
        )
        for channel, sample in zip(described, samples * (count // len(samples)), strict=True)
    )
