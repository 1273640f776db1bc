"""Draw pictures and text on a dark page with Pillow (extra ``preview``): fonts, colours and primitives.

Pillow loads on first use. ``lamella.adapters.png`` arranges the page.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import MissingDependencyError, importing
from lamella.ops.display.montage import Box, fit
from lamella.ops.display.render import nearest, overlay, rgb
from lamella.spec.colors import label_color

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lamella.ops.display.preview import FieldPicture

Color = tuple[int, int, int]

BACKGROUND: Color = (15, 17, 21)
EMPTY: Color = (21, 24, 29)
FRAME: Color = (52, 57, 66)
TEXT: Color = (222, 225, 230)
FAINT: Color = (140, 147, 158)
DAMAGE: Color = (196, 78, 82)

_SWATCH, _SPACE = 11, 16
_MICRO = "µ"
_UNITS = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "meter": "m", "centimeter": "cm"}
_LARGER = {"nanometer": "micrometer", "micrometer": "millimeter", "millimeter": "meter"}


@dataclass(frozen=True)
class Entry:
    """An entry of a legend: a name, and the colour of its swatch as six hex digits; None for label images."""

    name: str
    color: str | None


def pillow() -> Any:
    """Import Pillow; raise MissingDependencyError if it is missing, too old, or built without fonts."""
    with importing(
        'Drawing a preview needs Pillow, which is not installed (pip install "lamella[preview]").'
    ):
        from PIL import Image, ImageDraw, ImageFont, features
    if not features.check("freetype2"):
        raise MissingDependencyError(
            "Drawing a preview needs a Pillow that was built with FreeType. "
            'Install the usual one (pip install --force-reinstall "lamella[preview]").'
        )
    return Image, ImageDraw, ImageFont


@functools.lru_cache(maxsize=16)
def font(size: int) -> Any:
    """Return Pillow's own font at a size in pixels."""
    return pillow()[2].load_default(size)


class Page:
    """A canvas of a height and width in pixels."""

    def __init__(self, height: int, width: int) -> None:
        image, draw, _ = pillow()
        self.image = image.new("RGB", (width, height), BACKGROUND)
        self._draw = draw.Draw(self.image)
        self.height, self.width = height, width

    def fill(self, box: Box, color: Color) -> None:
        """Fill a box."""
        self._draw.rectangle((box.left, box.top, box.right - 1, box.bottom - 1), fill=color)

    def frame(self, box: Box) -> None:
        """Draw a line of one pixel around a box, outside of it."""
        self._draw.rectangle((box.left - 1, box.top - 1, box.right, box.bottom), outline=FRAME)

    def cross(self, box: Box, color: Color = DAMAGE) -> None:
        """Mark a box as damaged, or by another colour as not written: framed and crossed out."""
        inner = (box.left, box.top, box.right - 1, box.bottom - 1)
        left, top, right, bottom = inner
        self._draw.rectangle(inner, fill=EMPTY, outline=color)
        self._draw.line((left, top, right, bottom), fill=color)
        self._draw.line((left, bottom, right, top), fill=color)

    def text(
        self, x: float, y: float, words: str, size: int, *, color: Color = TEXT, anchor: str = "lm"
    ) -> None:
        """Draw one line of text at (x, y); ``anchor`` is that of Pillow: "lm" is the middle of the left end."""
        drawn = words.replace("μ", _MICRO).replace(_MICRO, "u")
        self._draw.text((x, y), drawn, font=font(size), fill=color, anchor=anchor)
        if _MICRO not in words.replace("μ", _MICRO):
            return
        # Pillow's own font has no micro sign: it is drawn as a u with a longer left stem.
        left = x - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * font(size).getlength(drawn)
        baseline = self._draw.textbbox((0, y), "x", font=font(size), anchor=f"l{anchor[1]}")[3]
        stem = _stem(size)
        for index, letter in enumerate(words.replace("μ", _MICRO)):
            if letter == _MICRO:
                start = left + font(size).getlength(drawn[:index]) + font(size).getbbox("u")[0]
                self._draw.bitmap((round(start), baseline), stem, fill=color)

    def paste(self, pixels: NDArray[np.uint8], box: Box) -> None:
        """Copy pixels (Y, X, 3) into a box of their size."""
        self.image.paste(pillow()[0].fromarray(np.ascontiguousarray(pixels)), (box.left, box.top))

    def legend(self, left: int, top: int, right: int, entries: Sequence[Entry], size: int) -> None:
        """Draw swatches with names, in as many lines as they need."""
        for box, entry in legend_boxes(left, top, right, entries, size):
            middle = (box.top + box.bottom) // 2
            swatch = Box(box.left, middle - _SWATCH // 2, box.left + _SWATCH, middle - _SWATCH // 2 + _SWATCH)
            if entry.color is None:
                for number in range(_SWATCH):
                    self.fill(replace(swatch, left=swatch.left + number), label_color(1 + number // 4))
            else:
                self.fill(swatch, rgb(entry.color))
            self.frame(swatch)
            label = elided(entry.name, right - swatch.right - 6, size)
            self.text(swatch.right + 6, middle, label, size, color=FAINT)

    def scale_bar(self, box: Box, unit_per_pixel: float, unit: str, size: int, longest: float) -> None:
        """Draw a bar at the bottom right of a box, with its length above: a round one of at most ``longest`` pixels."""
        length = round_length(unit_per_pixel * longest)
        pixels = max(1, round(length / unit_per_pixel))
        while length >= 1000 and unit in _LARGER:
            length, unit = length / 1000, _LARGER[unit]
        words = f"{length:g} {_UNITS.get(unit, unit)}"
        self.fill(Box(box.right - pixels, box.bottom - 3, box.right, box.bottom), TEXT)
        self.text(box.right - pixels / 2, box.bottom - 7, words, size, color=FAINT, anchor="mb")


@functools.lru_cache(maxsize=16)
def _stem(size: int) -> Any:
    """Return a mask of the stem of a micro sign below the baseline: the left stem of the letter u, continued."""
    mask = font(size).getmask("u")
    top_row = [mask.getpixel((column, 0)) for column in range(mask.size[0])]
    width = next((column for column, opacity in enumerate(top_row) if column and not opacity), len(top_row))
    height = max(2, round(size * 0.22))
    return pillow()[0].frombytes("L", (width, height), bytes(top_row[:width]) * height)


def text_width(words: str, size: int) -> int:
    """Measure one line in pixels."""
    length: float = font(size).getlength(words)
    return math.ceil(length)


def elided(words: str, width: int, size: int) -> str:
    """Shorten a line to a width in pixels, with an ellipsis at the end."""
    words = " ".join(words.split())
    if text_width(words, size) <= width:
        return words
    while words and text_width(f"{words}…", size) > width:
        words = words[:-1]
    return f"{words}…" if words else ""


def legend_boxes(
    left: int, top: int, right: int, entries: Sequence[Entry], size: int
) -> list[tuple[Box, Entry]]:
    """Return the box of each entry of a legend, in lines from left to right; entries without a name are left out."""
    boxes = []
    x, line_height = left, size + 8
    for entry in entries:
        if not entry.name:
            continue
        width = min(_SWATCH + 6 + text_width(entry.name, size), right - left)
        if x > left and x + width > right:
            x, top = left, top + line_height
        boxes.append((Box(x, top, x + width, top + line_height), entry))
        x += width + _SPACE
    return boxes


def round_length(longest: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is not above a length.

    >>> [round_length(length) for length in (0.3, 7, 99)]
    [0.2, 5.0, 50.0]
    """
    power = 10.0 ** math.floor(math.log10(longest))
    return max(length for length in (power, 2 * power, 5 * power) if length <= longest)


def resized(picture: FieldPicture, side: int | Box) -> NDArray[np.uint8]:
    """Scale a picture to its size on the page, in its physical proportions, and overlay its labels.

    ``side`` is the length of the larger side in pixels, or the box into which the picture must fit. Pixels are averaged
    where they shrink and repeated where they grow.
    """
    height, width = picture.extent
    if isinstance(side, Box):
        factor = min(side.height / height, side.width / width)
        shape = (
            max(1, min(side.height, round(height * factor))),
            max(1, min(side.width, round(width * factor))),
        )
    else:
        shape = fit(height, width, side)
    image = pillow()[0]
    pixels = image.fromarray(picture.rgb).resize((shape[1], shape[0]), image.Resampling.BOX)
    array: NDArray[np.uint8] = np.asarray(pixels)
    if picture.labels is None:
        return array
    return overlay(array, nearest(picture.labels, shape), picture.label_colors, picture.opacity)
