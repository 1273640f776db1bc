"""Check a region of an image that is named by axes: ``{"y": (0, 100)}``, in pixels of level 0."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lamella.arguments import items_of
from lamella.errors import InvalidArgumentError

if TYPE_CHECKING:
    from lamella.nodes.position import Position


def pixel_region(position: Position, region: Mapping[str, Any], argument: str) -> dict[str, tuple[int, int]]:
    """Return start and stop of each axis of a region; negative numbers count from the end, as in Python.

    ``argument`` is the name of the argument in messages.
    """
    if not isinstance(region, Mapping):
        raise InvalidArgumentError(
            f"{argument} maps axes to (start, stop) in pixels of level 0, not {region!r}."
        )
    axes = position.axis_names
    checked = {}
    for axis, bounds in region.items():
        name = str(axis).lower()
        if name == "c":
            raise InvalidArgumentError(
                f"Channels are chosen by channels=, and the other axes by {argument}=."
            )
        if name not in axes:
            raise InvalidArgumentError(
                f"There is no axis {axis!r} in {position.node_path}, whose axes are {axes}."
            )
        length = position.data.shape[axes.index(name)]
        checked[name] = _bounds(bounds, length, f"{argument}[{axis!r}]", name, position)
    return checked


def _bounds(bounds: Any, length: int, entry: str, axis: str, position: Position) -> tuple[int, int]:
    ends = (bounds.start, bounds.stop) if isinstance(bounds, slice) else bounds
    step = bounds.step if isinstance(bounds, slice) else None
    try:
        begin, end = (
            None if bound is None else operator.index(bound)
            for bound in items_of(ends, f"{entry} is (start, stop)")
        )
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"{entry} is (start, stop) in pixels of level 0, not {bounds!r}."
        ) from error
    start = 0 if begin is None else begin + length if begin < 0 else begin
    stop = length if end is None else end + length if end < 0 else end
    if step not in (None, 1) or not 0 <= start < stop <= length:
        raise InvalidArgumentError(
            f"{entry} = {bounds!r} is not a region of {position.node_path}, which has {length} pixels along {axis}."
        )
    return start, stop
