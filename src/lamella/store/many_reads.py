"""Allocate memory for reading many regions of an array in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.store.assignment import check_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.store.selection import Selection
    from lamella.types import Array


@dataclass(frozen=True)
class ReadRequest:
    """One region to read: its selection, the memory to read it into, and the result array."""

    selection: Selection
    block: Array
    result: Array

    @classmethod
    def into(cls, selection: Selection, result: Array) -> ReadRequest:
        """Read into the result's memory, or into a new block where the result has another order of values."""
        block = selection.prepare(result)
        if not np.may_share_memory(block, result):
            block = np.empty(selection.shape, result.dtype)
        return cls(selection, block, result)

    def finish(self) -> None:
        """Copy the values into the result, where they were read into another block."""
        if not np.may_share_memory(self.block, self.result):
            np.copyto(self.result, self.selection.finish(self.block))


def results_for(
    selections: Sequence[Selection], dtype: np.dtype[Any], out: Array | None
) -> Array | list[Array]:
    """Return memory for the results: one array with the regions along its first axis, or a list of arrays."""
    shapes = {selection.result for selection in selections}
    if out is not None:
        if len(shapes) > 1:
            raise InvalidArgumentError(
                f"out= takes regions of one shape, and these have {len(shapes)}: {sorted(shapes)[:3]}"
            )
        check_out(out, (len(selections), *(shapes.pop() if shapes else out.shape[1:])), dtype)
        return out
    if len(shapes) == 1:
        return np.empty((len(selections), *shapes.pop()), dtype)
    return [np.empty(selection.result, dtype) for selection in selections]
