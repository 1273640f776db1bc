"""How the axes of a TIFF become those of OME-NGFF, and where in the file a plane is.

Here: the mapping of axis letters as ``tifffile`` names them. Not here: files and pixels (``tiff_pages``), metadata
(``tiff_ome``, ``tiff_imagej``).

The rules, in order:

* ``T``, ``C``, ``Z``, ``Y``, ``X`` are what they say.
* ``S`` (samples of a pixel: red, green, blue) is the channel axis; together with ``C`` the two become one axis of
  channels, the samples of the first channel first.
* Any other axis of length 1 goes away.
* ``E`` (wavelength) is the channel axis when there is no other; that is noted.
* Axes without a name (``I`` for a sequence of pages, ``Q`` for an array without names), at most two, are filled from
  the last one on: the last is z, the one before it t, as far as the file has no z and t. That is a guess, and noted.
* All others mean something that OME-NGFF has no axis for (positions, tiles, angles, lifetimes, ...), and are refused.

Layer: adapters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.errors import SourceError
from lamella.ops.conversion.source import LEGAL_ORDER

if TYPE_CHECKING:
    from lamella.types import Shape

_MEANINGS = {
    "A": "angle", "E": "lambda", "H": "lifetime", "J": "tile column", "K": "tile row", "L": "exposure", "M": "mosaic",
    "P": "phase", "R": "tile or position", "V": "event",
}  # fmt: skip
"""Letters of ``tifffile`` for axes that OME-NGFF has no name for."""

_UNNAMED = "IQ"


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
    file_shape : tuple of int
        Lengths of the axes of the file.
    notes : tuple of str
        Every guess.
    """

    axes: str
    shape: Shape
    parts: tuple[tuple[int, ...], ...]
    file_shape: Shape
    notes: tuple[str, ...] = field(default=())

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


def plan_axes(letters: str, shape: Shape, where: str, *, named: bool = False) -> AxisPlan:
    """Map the axes of a file to those of an image.

    Parameters
    ----------
    letters : str
        Axes of the file, one letter each, as ``tifffile`` names them.
    shape : tuple of int
        Their lengths.
    where : str
        Name of the file, for messages.
    named : bool
        Whether the format names every axis: ``Q`` then stands for a name that ``tifffile`` does not know.

    Raises
    ------
    SourceError
        No y or x axis, an axis of length 0, an axis that means something else, or more axes without a name than have
        a usual order.

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
    parts: dict[str, tuple[int, ...]] = {
        letter.lower(): (letters.index(letter),) for letter in "TZYX" if letter in letters
    }
    channel = tuple(letters.index(letter) for letter in "CS" if letter in letters)
    if channel:
        parts["c"] = channel
    placed = {axis for axes in parts.values() for axis in axes}
    others = [axis for axis in range(len(letters)) if axis not in placed and shape[axis] > 1]
    notes = _place_others(letters, shape, others, parts, where, named=named)
    axes = "".join(letter for letter in LEGAL_ORDER if letter in parts)
    lengths = tuple(math.prod(shape[axis] for axis in parts[letter]) for letter in axes)
    return AxisPlan(axes, lengths, tuple(parts[letter] for letter in axes), tuple(shape), notes)


def _place_others(
    letters: str,
    shape: Shape,
    others: list[int],
    parts: dict[str, tuple[int, ...]],
    where: str,
    *,
    named: bool,
) -> tuple[str, ...]:
    """Add the axes that are none of tczyx to `parts`, and return what was guessed; raise where nothing fits."""

    def is_free(target: str) -> bool:
        return math.prod(shape[axis] for axis in parts.get(target, ())) == 1

    notes: list[str] = []
    unnamed = [axis for axis in others if letters[axis] in _UNNAMED and not (named and letters[axis] == "Q")]
    for axis in others:
        if letters[axis] == "E" and is_free("c"):
            parts["c"] = (*parts.get("c", ()), axis)
            notes.append(f"the axis 'lambda' of length {shape[axis]} was read as channels")
        elif axis not in unnamed:
            name = _MEANINGS.get(letters[axis], "of another name")
            raise SourceError(
                f"{where} has an axis {name} of length {shape[axis]} ({letters}, shape {tuple(shape)}), which is none "
                "of time, channel, z, y and x: save one file for each index of that axis, and place the files with "
                "--well-regex or --map"
            )
    free = [target for target in "zt" if is_free(target)]
    if len(unnamed) > len(free):
        letter, unused = letters[unnamed[0]], " and ".join(free) or "nothing"
        raise SourceError(
            f"{where} has the axes {letters} of shape {tuple(shape)}: axis {letter} of length {shape[unnamed[0]]} has "
            f"no name, and with {unused} free for {len(unnamed)} such axes its meaning cannot be guessed: save it as "
            "ImageJ hyperstack or OME-TIFF, which name their axes, or split it into one file per image"
        )
    guesses = list(zip(reversed(unnamed), free, strict=False))[::-1]
    for axis, target in guesses:
        parts[target] = (*parts.get(target, ()), axis)
    if guesses:
        found = " and ".join(str(shape[axis]) for axis, _ in guesses)
        targets = " and ".join(target for _, target in guesses)
        if len(guesses) > 1:
            notes.append(f"the axes of length {found} have no name in the file and were read as {targets}")
        else:
            notes.append(f"the axis of length {found} has no name in the file and was read as {targets}")
    return tuple(notes)
