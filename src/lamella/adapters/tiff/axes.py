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
"""Letters of ``tifffile`` for axes whose name the file does not state."""


@dataclass(frozen=True)
class AxisPlan:
    """The axes of an image (letters of "tczyx" in that order), and the axes of the file that each comes from."""

    axes: str
    shape: Shape
    file_axes: tuple[tuple[int, ...], ...]
    """For each axis of the image the axes of the file that form it, slowest first."""
    file_shape: Shape
    notes: tuple[str, ...] = field(default=())
    """Notes for the user about meanings of axes that were guessed."""

    def file_index(self, index: tuple[int, ...]) -> list[int]:
        """Return the index of a plane of the image along each axis of the file; 0 along y and x.

        >>> plan_axes("CYXS", (2, 8, 9, 3), "a.tif").file_index((4,))
        [1, 0, 0, 1]
        """
        file_index = [0] * len(self.file_shape)
        for image_index, file_axes in zip(index, self.file_axes, strict=False):
            remaining = image_index
            for axis in reversed(file_axes):
                remaining, file_index[axis] = divmod(remaining, self.file_shape[axis])
        return file_index


def plan_axes(letters: str, shape: Shape, where: str, *, named: bool = False) -> AxisPlan:
    """Map the axes of a file (letters and lengths) to those of an image; messages call the file ``where``.

    ``named`` means that the format names every axis: ``Q`` is then an axis whose name ``tifffile`` does not know, and
    no axis without a name. Raise SourceError without y or x, for an axis of length 0 or with a meaning that OME-NGFF
    lacks, and for more axes without a name than can be guessed.

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
    file_axes: dict[str, tuple[int, ...]] = {
        letter.lower(): (letters.index(letter),) for letter in "TZYX" if letter in letters
    }
    channel = tuple(letters.index(letter) for letter in "CS" if letter in letters)
    if channel:
        file_axes["c"] = channel
    mapped = {axis for axes in file_axes.values() for axis in axes}
    other_axes = [axis for axis in range(len(letters)) if axis not in mapped and shape[axis] > 1]
    notes = _map_others(letters, shape, other_axes, file_axes, where, named=named)
    axes = "".join(letter for letter in LEGAL_ORDER if letter in file_axes)
    lengths = tuple(math.prod(shape[axis] for axis in file_axes[letter]) for letter in axes)
    return AxisPlan(axes, lengths, tuple(file_axes[letter] for letter in axes), tuple(shape), notes)


def _map_others(
    letters: str,
    shape: Shape,
    other_axes: list[int],
    file_axes: dict[str, tuple[int, ...]],
    where: str,
    *,
    named: bool,
) -> tuple[str, ...]:
    """Add the axes other than tczyx to `file_axes`, and return notes about guesses; raise for axes that do not fit."""

    def is_free(target: str) -> bool:
        return math.prod(shape[axis] for axis in file_axes.get(target, ())) == 1

    notes: list[str] = []
    unnamed = [
        axis for axis in other_axes if letters[axis] in _UNNAMED and not (named and letters[axis] == "Q")
    ]
    for axis in other_axes:
        if letters[axis] == "E" and is_free("c"):
            file_axes["c"] = (*file_axes.get("c", ()), axis)
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
        file_axes[target] = (*file_axes.get(target, ()), axis)
    if guesses:
        lengths = " and ".join(str(shape[axis]) for axis, _ in guesses)
        targets = " and ".join(target for _, target in guesses)
        if len(guesses) > 1:
            notes.append(f"the axes of length {lengths} have no name in the file and were read as {targets}")
        else:
            notes.append(f"the axis of length {lengths} has no name in the file and was read as {targets}")
    return tuple(notes)
