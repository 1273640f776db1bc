"""Convert the selections of zarr-python's array methods to indices for `selection`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import OutOfBoundsError

if TYPE_CHECKING:
    from lamella.types import Shape


def basic_index(selection: Any) -> Any:
    """Return a selection of integers, slices and ``...``; raise for others."""
    items = selection if isinstance(selection, tuple) else (selection,)
    for item in items:
        if not (item is Ellipsis or isinstance(item, slice) or hasattr(item, "__index__")) or np.ndim(item):
            raise OutOfBoundsError(
                f"A basic selection is made of integers, slices and '...', not of {item!r}."
            )
    return selection


def coordinates_index(selection: Any) -> tuple[Any, ...]:
    """Return one integer array per axis."""
    items = selection if isinstance(selection, tuple) else (selection,)
    if any(isinstance(item, slice) or item is Ellipsis for item in items):
        raise OutOfBoundsError(f"A coordinate selection has integers for each axis, not {selection!r}.")
    scalars = all(np.ndim(item) == 0 for item in items)
    return tuple(np.atleast_1d(item) for item in items) if scalars else items


def mask_index(mask: Any, shape: Shape) -> Any:
    """Return a mask of the array's shape."""
    array = mask[0] if isinstance(mask, tuple) and len(mask) == 1 else mask
    array = np.asarray(array)
    if array.dtype != bool or array.shape != shape:
        raise OutOfBoundsError(
            f"A mask has the type bool and the array's shape {shape}, not {array.dtype} {array.shape}."
        )
    return array


def blocks_index(selection: Any, shape: Shape, sizes: Shape) -> tuple[slice, ...]:
    """Return the region of voxels that blocks of a size cover, selected by block indexes."""
    items = _one_per_axis(selection, len(shape))
    return tuple(_block(item, length, size) for item, length, size in zip(items, shape, sizes, strict=True))


def _one_per_axis(selection: Any, ndim: int) -> list[Any]:
    """Return one integer or slice per axis."""
    items = list(selection) if isinstance(selection, tuple) else [selection]
    ellipses = [number for number, item in enumerate(items) if item is Ellipsis]
    missing = ndim - len(items) + len(ellipses)
    if len(ellipses) > 1 or missing < 0:
        raise OutOfBoundsError(f"{selection!r} does not fit the blocks of an array of {ndim} axes.")
    at = ellipses[0] if ellipses else len(items)
    return [*items[:at], *[slice(None)] * missing, *items[at + len(ellipses) :]]


def _block(item: Any, length: int, size: int) -> slice:
    """Return the voxels along one axis that blocks of a size cover.

    >>> _block(-1, 10, 4), _block(slice(1, None), 10, 4)
    (slice(8, 10, None), slice(4, 10, None))
    """
    count = -(-length // size) if size else 0
    if isinstance(item, slice) and item.step in (1, None):
        start, stop = (0 if item.start is None else item.start), (count if item.stop is None else item.stop)
        start, stop = (start + count if start < 0 else start), (stop + count if stop < 0 else stop)
    elif not isinstance(item, bool) and hasattr(item, "__index__") and not np.ndim(item):
        start = int(item) + count if item < 0 else int(item)
        stop = start + 1
    else:
        raise OutOfBoundsError(f"Blocks are selected by integers and slices of step 1, not by {item!r}.")
    if not 0 <= start * size < length:
        raise OutOfBoundsError(f"Block {item} is out of bounds for an axis of {count} blocks.")
    return slice(start * size, max(start * size, min(stop * size, length)))
