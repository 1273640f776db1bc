"""Pyramids: creating, computing and deleting the lower-resolution levels of an image.

Each level is the one before it, halved. A level is written one shard at a time; the shard is put together from
pieces that several workers read and reduce, so memory is one shard and a piece per worker at any size of array.

Layer: ops. The arithmetic of a block is in :mod:`lamella.ops.downsample`, sizes and transforms of the levels in
:mod:`lamella.spec.geometry`.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.ops.downsample import Method, downsample
from lamella.ops.execution import run
from lamella.ops.regions import Region, enlarge, piece_shape, region_shape, regions
from lamella.spec import edits, geometry
from lamella.spec.axes import axis_index, space_axes
from lamella.store.documents import new_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.spec.images import ImagesMeta
    from lamella.store.array_meta import ArrayMeta
    from lamella.types import Shape

COARSEST_SIDE = 256
"""Where ``levels="auto"`` stops: the larger side of Y and X in voxels."""


def initialize_pyramid(
    position: Position, levels: int, *, dims: Sequence[str] | None = None, method: str = "mean"
) -> None:
    """Create the arrays and metadata of lower-resolution levels; see :meth:`Position.initialize_pyramid`."""
    position._require_writable("initialize a pyramid")
    base = position.data
    plan = _plan(position, base, levels, dims)
    if len(plan) > 1:
        _refuse_existing(position, len(plan))
        _create_levels(position, base, plan, method)


def compute_pyramid(
    position: Position,
    levels: int | str | None = None,
    method: str = "mean",
    *,
    dims: Sequence[str] | None = None,
    jobs: int | None = None,
) -> None:
    """Compute the lower-resolution levels from level 0; see :meth:`Position.compute_pyramid`.

    Parameters
    ----------
    position
        The image.
    levels, method, dims
        As for the method.
    jobs
        Number of workers; one per processor by default.
    """
    if method not in get_args(Method):
        raise InvalidArgumentError(
            f"The pyramid method is one of {', '.join(get_args(Method))}, not {method!r}."
        )
    position._require_writable("compute a pyramid")
    base = position.data
    existing = position.dataset_paths
    if levels is None and len(existing) == 1:
        levels = "auto"
    if levels is not None:
        plan = _plan(position, base, levels, dims)
        if len(existing) == 1:
            _create_levels(position, base, plan, method)
        else:
            _refuse_existing(position, len(plan))
    recompute_levels(position, method, jobs=jobs)
    _match_labels(position)


def recompute_levels(position: Position, method: str, *, jobs: int | None = None) -> None:
    """Compute the pixels of all levels that the image lists, each from the one before.

    Parameters
    ----------
    position
        The image.
    method
        As for `compute_pyramid`.
    jobs
        Number of workers; one per processor by default.
    """
    arrays = [position._level(path) for path in position.dataset_paths]
    steps = [_factors(position, fine, coarse) for fine, coarse in zip(arrays, arrays[1:], strict=False)]
    for fine, coarse, factors in zip(arrays, arrays[1:], steps, strict=False):
        _compute_level(fine, coarse, factors, cast("Method", method), jobs)
    if len(arrays) > 1:
        _describe(position, method, steps)


def delete_pyramid(position: Position) -> None:
    """Delete all levels but the first; see :meth:`Position.delete_pyramid`."""
    position._require_writable("delete the pyramid")
    for path in reversed(position.dataset_paths[1:]):
        del position[path]
    _match_labels(position)


def _match_labels(position: Position) -> None:
    """Give the position's label images as many levels as its image has (LB-04)."""
    from lamella.nodes.labels import LabelImage
    from lamella.ops.labels import match_levels

    if not isinstance(position, LabelImage):
        match_levels(position)


def _plan(
    position: Position, base: ImageArray, levels: int | str, dims: Sequence[str] | None
) -> list[tuple[Shape, Shape]]:
    """Return the shape and the factors to level 0 of each level, level 0 included."""
    axes = position.axes
    if len(axes) != base.ndim:
        raise InvalidArgumentError(
            f"{base!r} has {base.ndim} dimensions, but {position._place} has {len(axes)} axes."
        )
    binned = space_axes(axes) if dims is None else tuple(axis_index(axes, name) for name in dims)
    if levels == "auto":
        plane = [i for i in space_axes(axes)[-2:] if i in binned]
        wanted = 1
        largest = max((base.shape[i] for i in plane), default=1)
        while largest > COARSEST_SIDE:
            largest, wanted = -(-largest // 2), wanted + 1
    elif isinstance(levels, int) and not isinstance(levels, bool) and levels >= 1:
        wanted = levels
    else:
        raise InvalidArgumentError(f"levels is a number from 1 or 'auto', not {levels!r}.")
    plan: list[tuple[Shape, Shape]] = geometry.pyramid_shapes(base.shape, binned, wanted)
    sensible = 1 + sum(1 for (a, _), (b, _) in zip(plan, plan[1:], strict=False) if a != b)
    if sensible < wanted:
        warnings.warn(
            f"{wanted} levels were asked of {position._place}, but {base.shape} cannot be halved beyond {sensible}; "
            f"{sensible} are made.",
            UserWarning,
            stacklevel=4,
        )
    return plan[:sensible]


def _refuse_existing(position: Position, levels: int) -> None:
    existing = len(position.dataset_paths)
    if existing not in (1, levels):
        raise InvalidArgumentError(
            f"{position._place} has a pyramid of {existing} levels, and {levels} were asked for. "
            "Call delete_pyramid() first."
        )


def _level_path(base: str, number: int) -> str:
    """Name a level after the first one: "0" gives "1", "s0" gives "s1", "scale0/image" gives "scale1/image"."""
    path, found = re.subn(r"\d+(?=\D*$)", str(number), base, count=1)
    return path if found and path != base else str(number)


def _create_levels(
    position: Position, base: ImageArray, plan: list[tuple[Shape, Shape]], method: str
) -> None:
    base_path = position.dataset_paths[0]
    transforms = position.metadata.multiscales[0].datasets[0].coordinate_transformations or []
    paths = [_level_path(base_path, number) for number in range(1, len(plan))]
    taken = [path for path in paths if position._documents.kind(position._place.child(path).path) is not None]
    if taken:
        raise InvalidArgumentError(
            f"The levels {taken} of {position._place} are there already, but its metadata do not list them. "
            "Delete them first."
        )
    for path, (shape, _) in zip(paths, plan[1:], strict=True):
        position._documents.put_array(position._place.child(path).path, _level_meta(base, shape))

    def add(meta: ImagesMeta) -> ImagesMeta:
        for path, (_, factors) in zip(paths, plan[1:], strict=True):
            meta = edits.add_dataset(meta, path, geometry.level_transforms(transforms, factors, method))
        return meta

    if paths:
        position._live.edit(add)


def _level_meta(base: ImageArray, shape: Shape) -> ArrayMeta:
    """Return the metadata of a level: level 0's layout, fitted to the smaller shape."""
    meta = base._meta
    chunks = tuple(max(1, min(c, n)) for c, n in zip(meta.chunks, shape, strict=True))
    shards = meta.shards
    if shards is not None:
        ratios = [s // c for s, c in zip(shards, meta.chunks, strict=True)]
        shards = tuple(
            c * max(1, min(ratio, -(-n // c))) for c, n, ratio in zip(chunks, shape, ratios, strict=True)
        )
    return new_array(
        shape,
        meta.dtype,
        zarr_format=meta.zarr_format,
        chunks=chunks,
        shards=shards,
        compressor=meta.compressor,
        fill_value=meta.fill_value,
        dimension_names=meta.dimension_names,
    )


def _factors(position: Position, fine: ImageArray, coarse: ImageArray) -> Shape:
    """Return by what each axis shrinks from one stored level to the next."""
    factors = tuple(max(1, round(a / b)) if b else 0 for a, b in zip(fine.shape, coarse.shape, strict=False))
    fits = fine.ndim == coarse.ndim and all(
        f and -(-a // f) == b for a, b, f in zip(fine.shape, coarse.shape, factors, strict=True)
    )
    if not fits or fine.dtype != coarse.dtype:
        raise InvalidArgumentError(
            f"The pyramid of {position._place} has no whole factor where {fine!r} is followed by {coarse!r}. "
            "Call delete_pyramid() and compute it anew."
        )
    return factors


def _compute_level(
    fine: ImageArray, coarse: ImageArray, factors: Shape, method: Method, jobs: int | None
) -> None:
    """Compute one level from the one before, one shard after the other."""
    if 0 in coarse.shape:
        return
    grain = tuple(max(1, -(-c // f)) for c, f in zip(fine.chunks, factors, strict=True))
    for shard in regions(coarse.shape, coarse.write_unit):
        buffer = np.empty(region_shape(shard), coarse.dtype)
        volume = int(np.prod(factors)) * coarse.dtype.itemsize
        pieces = regions(buffer.shape, piece_shape(buffer.shape, grain, volume))

        def fill(piece: Region, buffer: Any = buffer, shard: Region = shard) -> None:
            target = tuple(
                slice(p.start + s.start, p.stop + s.start) for p, s in zip(piece, shard, strict=True)
            )
            block = np.asarray(fine[enlarge(target, factors, fine.shape)])
            downsample(block, factors, method, out=buffer[piece])

        run(fill, pieces, jobs=jobs)
        coarse[shard] = buffer


def _describe(position: Position, method: str, steps: list[Shape]) -> None:
    """Say in the metadata how the levels were made (MS-09, MS-10)."""
    from lamella._version import __version__

    details = {
        "description": f"Each level is the {method} of the voxels of the one before, by whole factors.",
        "method": "lamella.compute_pyramid",
        "version": __version__,
        "args": [],
        "kwargs": {"levels": len(steps) + 1, "method": method},
    }
    position._live.edit(lambda meta: edits.describe_levels(meta, method, details))
