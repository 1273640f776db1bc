"""Map the axes of a TIFF, by the letters of ``tifffile``, to those of OME-NGFF."""

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
"""Letters of ``tifffile`` for axes without a name in OME-NGFF."""

_UNNAMED = "IQ"


@dataclass(frozen=True)
class AxisPlan:
    """The axes of an image (letters of "tczyx" in that order), and their origin in the file.

    ``parts`` lists for each axis of the image the axes of the file that form it, slowest first. ``notes`` report
    guesses.
    """

    axes: str
    shape: Shape
    parts: tuple[tuple[int, ...], ...]
    file_shape: Shape
    notes: tuple[str, ...] = field(default=())

    def place(self, index: tuple[int, ...]) -> list[int]:
        """Return the index along each axis of the file of a plane of the image; 0 along y and x.

        >>> plan_axes("CYXS", (2, 8, 9, 3), "a.tif").place((4,))
        [1, 0, 0, 1]
        """
        file_index = [0] * len(self.file_shape)
        for position, parts in zip(index, self.parts, strict=False):
            rest = position
            for axis in reversed(parts):
                rest, file_index[axis] = divmod(rest, self.file_shape[axis])
        return file_index


def plan_axes(letters: str, shape: Shape, where: str, *, named: bool = False) -> AxisPlan:
    """Map the axes of a file (letters and lengths) to those of an image; messages call the file ``where``.

    With ``named`` the format names every axis: ``Q`` is then a name that ``tifffile`` does not know. Raise SourceError
    for a missing y or x axis, an axis of length 0, an axis with another meaning, or too many axes without a name.

    >>> plan_axes("IYX", (10, 8, 9), "a.tif").axes
    'zyx'
    >>> plan = plan_axes("ZCYX", (10, 2, 8, 9), "a.tif")
    >>> plan.axes, plan.shape
    ('czyx', (2, 10, 8, 9))
    """
    described = f"{where} has the axes {letters} of shape {tuple(shape)}"
    if "Y" not in letters or "X" not in letters:
        raise SourceError(f"{described}: an image needs y and x.")
    if 0 in shape:
        raise SourceError(f"{described}: there are no pixels to convert.")
    parts: dict[str, tuple[int, ...]] = {
        letter.lower(): (letters.index(letter),) for letter in "TZYX" if letter in letters
    }
    channel = tuple(letters.index(letter) for letter in "CS" if letter in letters)
    if channel:
        parts["c"] = channel
    mapped = {axis for axes in parts.values() for axis in axes}
    others = [axis for axis in range(len(letters)) if axis not in mapped and shape[axis] > 1]
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
    """Add the axes other than tczyx to `parts`, and return notes about guesses; raise for axes that do not fit."""

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
                "--well-regex or --map."
            )
    free = [target for target in "zt" if is_free(target)]
    if len(unnamed) > len(free):
        letter, unused = letters[unnamed[0]], " and ".join(free) or "nothing"
        raise SourceError(
            f"{where} has the axes {letters} of shape {tuple(shape)}: axis {letter} of length {shape[unnamed[0]]} has "
            f"no name, and with {unused} free for {len(unnamed)} such axes its meaning cannot be guessed: save it as "
            "ImageJ hyperstack or OME-TIFF, which name their axes, or split it into one file per image."
        )
    guesses = list(zip(reversed(unnamed), free, strict=False))[::-1]
    for axis, target in guesses:
        parts[target] = (*parts.get(target, ()), axis)
    if guesses:
        lengths = " and ".join(str(shape[axis]) for axis, _ in guesses)
        targets = " and ".join(target for _, target in guesses)
        if len(guesses) > 1:
            notes.append(f"the axes of length {lengths} have no name in the file and were read as {targets}")
        else:
            notes.append(f"the axis of length {lengths} has no name in the file and was read as {targets}")
    return tuple(notes)
