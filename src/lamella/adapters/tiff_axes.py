"""How the axes of a TIFF become those of OME-NGFF, and where in the file a plane is.

Here: the mapping of axis letters as ``tifffile`` names them. Not here: files and pixels (``tiff_pages``), metadata
(``tiff_ome``, ``tiff_imagej``).

The rules, in order:

* ``T``, ``C``, ``Z``, ``Y``, ``X`` are what they say.
* ``S`` (samples of a pixel: red, green, blue) is the channel axis; together with ``C`` the two become one axis of
  channels, the samples of the first channel first.
* ``E`` and ``L`` (excitation and emission wavelength) are the channel axis when there is no other.
* Any other axis of length 1 goes away.
* One other axis longer than 1 (``I`` for a sequence of pages, ``Q`` for unknown, ...) is z when the file has no z,
  else t when it has no t.
* ``R`` and ``M`` (positions, tiles of a mosaic) are several images and are refused; so is whatever is left.

Layer: adapters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import SourceError
from lamella.ops.conversion.source import LEGAL_ORDER

if TYPE_CHECKING:
    from lamella.types import Shape


@dataclass(frozen=True)
class AxisPlan:
    """Where each axis of the image comes from.

    Attributes
    ----------
    axes : str
        Axes of the image: letters of "tczyx" in that order.
    shape : tuple of int
        Their lengths.
    parts : tuple of tuple of int
        For each axis of the image the axes of the file that make it up, slowest first.
    """

    axes: str
    shape: Shape
    parts: tuple[tuple[int, ...], ...]
    file_shape: Shape

    def place(self, index: tuple[int, ...]) -> list[int]:
        """Return the index along each axis of the file of a plane of the image; 0 along y and x.

        Examples
        --------
        >>> plan_axes("CYXS", (2, 8, 9, 3), "a.tif").place((4,))
        [1, 0, 0, 1]
        """
        found = [0] * len(self.file_shape)
        for at, parts in zip(index, self.parts, strict=False):
            rest = at
            for axis in reversed(parts):
                rest, found[axis] = divmod(rest, self.file_shape[axis])
        return found


def plan_axes(letters: str, shape: Shape, where: str) -> AxisPlan:
    """Map the axes of a file to those of an image.

    Parameters
    ----------
    letters : str
        Axes of the file, one letter each, as ``tifffile`` names them.
    shape : tuple of int
        Their lengths.
    where : str
        Name of the file, for messages.

    Raises
    ------
    SourceError
        No y or x axis, an axis of length 0, or more axes than an image can have.

    Examples
    --------
    >>> plan_axes("IYX", (10, 8, 9), "a.tif").axes
    'zyx'
    >>> plan = plan_axes("ZCYX", (10, 2, 8, 9), "a.tif")
    >>> plan.axes, plan.shape
    ('czyx', (2, 10, 8, 9))
    """
    described = f"{where} has the axes {letters} of shape {tuple(shape)}"
    if "Y" not in letters or "X" not in letters:
        raise SourceError(f"{described}: an image needs y and x")
    if 0 in shape:
        raise SourceError(f"{described}: there are no pixels to convert")
    parts: dict[str, tuple[int, ...]] = {}
    others: list[int] = []
    for axis, letter in enumerate(letters):
        if letter in "TCZYX" and letter.lower() not in parts:
            parts[letter.lower()] = (axis,)
        elif letter == "S" or shape[axis] > 1:
            others.append(axis)
    for axis in others:
        target = _target(letters[axis], parts, shape)
        if target is None:
            raise SourceError(
                f"{described}: axis {letters[axis]} of length {shape[axis]} fits none of time, channel and z, "
                "which are taken or stand for something else; split the file into one file per image"
            )
        parts[target] = (*parts.get(target, ()), axis)
    axes = "".join(letter for letter in LEGAL_ORDER if letter in parts)
    lengths = tuple(math.prod(shape[axis] for axis in parts[letter]) for letter in axes)
    return AxisPlan(axes, lengths, tuple(parts[letter] for letter in axes), tuple(shape))


def _target(letter: str, parts: dict[str, tuple[int, ...]], shape: Shape) -> str | None:
    """Axis of the image that an odd axis of the file becomes."""

    def is_free(target: str) -> bool:
        return math.prod(shape[axis] for axis in parts.get(target, ())) == 1

    match letter:
        case "S":
            return "c"
        case "R" | "M":
            return None
        case "E" | "L" if is_free("c"):
            return "c"
    return next((target for target in "zt" if is_free(target)), None)
