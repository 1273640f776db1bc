"""Create, compute and delete the lower levels of an image; :mod:`lamella.ops.pyramids.passes` computes the pixels.

Each level is the one before, reduced by whole factors (``steps``): with factors of 2, level 2 has a quarter of the
length of level 0. Its transforms are derived from those of level 0 whenever its pixels are computed.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from lamella.arguments import is_whole_number, items_of
from lamella.errors import InvalidArgumentError, LamellaError, NodeNotFoundError, counted
from lamella.log import logged
from lamella.nodes.position_metadata import dtype_window
from lamella.nodes.reporting import warn_of
from lamella.ops.execution import THREADS, Count, Workers, check_progress, counting
from lamella.ops.pyramids import update
from lamella.ops.pyramids.downsample import Method
from lamella.ops.pyramids.passes import make_levels
from lamella.ops.pyramids.plan import PlannedLevels
from lamella.ops.pyramids.progress import (
    begin_pyramid,
    create_unlisted_arrays,
    delete_unlisted_levels,
    delete_unlisted_levels_under_lock,
    publish_levels,
    reading_again,
    refuse_occupied,
    refuse_other_levels,
    refuse_overtaken,
    resized_region,
    stored_stale,
)
from lamella.spec import edits, geometry
from lamella.spec.axes import space_axes
from lamella.spec.stale_levels import read_stale, with_stale
from lamella.store.metadata.array_creation import array_like
from lamella.store.pixels.arrays import PinnedArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from lamella.nodes.position import Position
    from lamella.ops.execution import Progress
    from lamella.ops.pyramids.progress import PyramidProgress
    from lamella.spec.axes import AxisMeta
    from lamella.spec.images import ImagesMeta, TransformationMeta
    from lamella.spec.stale_levels import StaleLevels
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import JSONObject, Shape

COARSEST_SIDE = 256
"""``levels="auto"`` ends at the first level whose Y and X are at most this long."""


def initialize_pyramid(
    position: Position,
    levels: int,
    *,
    dims: Sequence[str] | None = None,
    factors: Mapping[str, int] | None = None,
    method: str = "mean",
) -> None:
    """Create the arrays and metadata of lower-resolution levels; see :meth:`Position.initialize_pyramid`."""
    position.require_writable("initialize a pyramid")
    source, axes = _level_0(position)
    steps = _steps_by_axis(position, axes, dims, factors)
    notes: list[str] = []
    plan = _plan(position.node_path, axes, source.meta.shape, levels, steps, notes)
    if len(plan) > 1 and len(position.dataset_paths) > 1:
        _refuse_other_pyramid(position, plan, dims, factors)
    elif len(plan) > 1:
        _create_levels(position, source, plan, method)
    warn_of(notes)


def _create_levels(
    position: Position, source: PinnedArray, plan: list[tuple[Shape, Shape]], method: str
) -> None:
    """Create arrays and metadata of levels without pixels; raise if another call has created some."""
    transforms = position.document.shared_model.multiscales[0].datasets[0].coordinate_transformations or []
    new_arrays = _plan_arrays(position.dataset_paths[0], source.meta, plan)

    def list_unwritten(meta: ImagesMeta) -> ImagesMeta:
        refuse_other_levels(position, meta)
        factors = [to_level_0 for _, to_level_0 in plan[1:]]
        return edits.add_datasets(
            meta,
            dict(zip(new_arrays, geometry.transforms_of_levels(transforms, factors, method), strict=True)),
        )

    def create_arrays() -> None:
        # Checked again: the document is locked now, so no other process creates an array.
        refuse_occupied(position, new_arrays)
        for path, array in new_arrays.items():
            position.documents.put_array(position.node_path.child(path).path, array)

    def mark_unwritten(attributes: JSONObject) -> JSONObject:
        """Mark new levels as unwritten, and as stale if level 0 was resized."""
        stale = read_stale(attributes)
        for path, array in new_arrays.items():
            whole_level = (0,) * array.ndim, array.shape
            stale = stale.with_unwritten(path, [whole_level] if all(array.shape) else [])
        return with_stale(attributes, stale.without_writer("", resized_region([source])))

    with position.documents.lock(position.path):  # so that no other process creates levels meanwhile
        refuse_other_levels(position, position.document.refresh())
        delete_unlisted_levels_under_lock(position)
        refuse_occupied(position, new_arrays)
        position.document.edit(list_unwritten, before_write=create_arrays, edit_attributes=mark_unwritten)


def compute_pyramid(
    position: Position,
    levels: int | str | None = None,
    method: str = "mean",
    *,
    dims: Sequence[str] | None = None,
    factors: Mapping[str, int] | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    resume: bool = True,
) -> None:
    """Compute the lower-resolution levels from level 0; see :meth:`Position.compute_pyramid`."""
    check_method(method)
    position.require_writable("compute a pyramid")
    workers = Workers(jobs, executor)
    check_progress(progress)
    with position.documents.storage.reading_once(position.path):
        _compute(position, levels, method, dims, factors, workers, progress, resume)
    _match_labels(position, workers)


def _compute(
    position: Position,
    levels: int | str | None,
    method: str,
    dims: Sequence[str] | None,
    factors: Mapping[str, int] | None,
    workers: Workers,
    progress: Progress | bool | None,
    resume: bool,
) -> None:
    """Compute the levels of the image alone, as `compute_pyramid` does."""
    documents, node_at = position.documents, position.node_path.child
    documents.request_ahead([position.path], arrays=[node_at("0").path], at_once=True)  # usually level 0
    source, axes = _level_0(position)
    dtype = source.meta.dtype
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise InvalidArgumentError(
            f"{position.data!r} has voxels of {dtype}: a pyramid is made of bool, integers and floats of up to 64 bits."
        )
    workers.check_reach(documents.storage)
    paths = position.dataset_paths
    level_count = len(paths)
    if level_count > 1:
        documents.request_ahead((), arrays=[node_at(path).path for path in paths], at_once=True)
    if levels is None and level_count == 1:
        levels = "auto"
    steps = _steps_by_axis(position, axes, dims, factors)
    notes: list[str] = []
    if levels is not None or dims is not None or factors is not None:
        requested = level_count if levels is None else levels
        plan = _plan(position.node_path, axes, source.meta.shape, requested, steps, notes)
        if level_count > 1:
            _refuse_other_pyramid(position, plan, dims, factors)
        elif len(plan) > 1:
            with reported_levels(position, len(plan), progress) as count:
                planned = _plan_arrays(paths[0], source.meta, plan)
                _compute_new_levels(position, source, planned, plan, method, workers, resume, count)
    if level_count > 1:
        with reported_levels(position, level_count, progress) as count:
            recompute_levels(position, method, workers, resume=resume, count=count)
    warn_of(notes)


@contextmanager
def reported_levels(position: Position, levels: int, progress: Progress | bool | None) -> Iterator[Count]:
    """Log the computation of levels, and report its progress."""
    with logged("Compute %s levels of %s", levels, position.node_path), counting(progress, "voxels") as count:
        yield count


def _compute_new_levels(
    position: Position,
    source: PinnedArray,
    planned: Mapping[str, ArrayMeta],
    plan: list[tuple[Shape, Shape]],
    method: str,
    workers: Workers,
    resume: bool,
    count: Count,
) -> None:
    steps = {
        path: _step_between(fine, coarse)
        for path, ((_, fine), (_, coarse)) in zip(planned, itertools.pairwise(plan), strict=True)
    }

    def list_new(meta: ImagesMeta) -> ImagesMeta:
        scales = meta.multiscales[0]
        new = [path for path in planned if path not in scales.get_dataset_paths()]
        return edits.add_datasets(
            meta, dict.fromkeys(new, scales.datasets[0].coordinate_transformations or [])
        )

    compute_unlisted_levels(
        position, source, planned, steps, list_new, method, workers, resume=resume, count=count
    )


def compute_unlisted_levels(
    position: Position,
    source: PinnedArray,
    planned: Mapping[str, ArrayMeta],
    steps: dict[str, Shape],
    list_new: Callable[[ImagesMeta], ImagesMeta],
    method: str,
    workers: Workers,
    *,
    resume: bool = True,
    count: Count | None = None,
) -> None:
    """Compute levels, and list them when they are complete.

    ``source`` is the only level of the image, ``planned`` has the metadata of each new level by path, ``steps`` their
    factors from the level before, and ``list_new`` lists them. Other arguments are those of `recompute_levels`.
    """
    old_meta = position.document.last_shared_model.copied()  # the user may edit the shared model meanwhile
    new_meta = _with_levels_described(list_new(old_meta), method, steps)  # raises for unusable transforms

    def change(meta: ImagesMeta) -> ImagesMeta:
        return new_meta if meta == old_meta else _with_levels_described(list_new(meta), method, steps)

    documents = position.documents
    targets: list[tuple[StoredArray, Shape]] = [
        (PinnedArray(documents, position.node_path.child(path).path, planned[path]), step)
        for path, step in steps.items()
    ]

    def mark(stale: StaleLevels) -> PyramidProgress:
        return begin_pyramid(position, source, targets, method, stale, resume=resume, planned=planned)

    progress = create_unlisted_arrays(position, planned, mark)
    try:
        progress.resume()
        make_levels(source, targets, cast("Method", method), workers, progress=progress, count=count)
    except LamellaError:
        refuse_overtaken(position, planned, progress.name, progress.digest)
        raise
    with reading_again(position, [source, *(array for array, _ in targets)]):
        publish_levels(position, planned, progress.name, change, progress.finish_edit(), progress.digest)


def recompute_levels(
    position: Position, method: str, workers: Workers, *, resume: bool = True, count: Count | None = None
) -> None:
    """Compute the pixels and transforms of all listed levels, each from the one before; `resume` a killed call."""
    levels = PlannedLevels.of(position)
    with_levels_described = functools.partial(_with_levels_described, method=method, steps=levels.steps)
    # Here unusable transforms raise before anything is written.
    with_levels_described(position.document.shared_model)
    workers.check_reach(position.documents.storage)
    source, targets = levels.arrays[0], levels.targets
    # Files that a killed call finished do not fit levels that are resized now.
    resume = resume and not levels.outgrown
    progress = begin_pyramid(position, source, targets, method, stored_stale(position), resume=resume)
    levels.resize()
    progress.resume()
    make_levels(source, targets, cast("Method", method), workers, progress=progress, count=count)
    with reading_again(position, levels.arrays):
        position.document.edit(with_levels_described, edit_attributes=progress.finish_edit())


@dataclass(frozen=True)
class NewLevels:
    """All levels of a new image by path, finest first, and their factors from the level before (1 for the first)."""

    arrays: dict[str, ArrayMeta]
    factors: list[Shape]


def plan_levels(
    image: str, path: str, base: ArrayMeta, levels: int | Literal["auto"], axes: Sequence[AxisMeta]
) -> NewLevels:
    """Plan all levels of an image with level 0 ``base`` at ``path``; ``image`` is its name for warnings."""
    notes: list[str] = []
    plan = _plan(image, axes, base.shape, levels, dict.fromkeys(space_axes(axes), 2), notes)
    warn_of(notes)  # before the conversion, so that the user can stop it
    arrays = {path: base, **_plan_arrays(path, base, plan)}
    factors_to_level_0 = [factors for _, factors in plan]
    steps = [_step_between(fine, coarse) for fine, coarse in itertools.pairwise(factors_to_level_0)]
    return NewLevels(arrays, [(1,) * base.ndim, *steps])


def list_levels(
    meta: ImagesMeta, levels: NewLevels, transforms: Sequence[TransformationMeta], method: Method
) -> ImagesMeta:
    """List the levels of an image that has none; ``transforms`` are those of the first level."""
    first, *lower = levels.arrays
    meta = edits.add_dataset(meta, first, transforms, dtype_window(levels.arrays[first].dtype))
    meta = edits.add_datasets(meta, dict.fromkeys(lower, transforms))
    return _with_levels_described(meta, method, dict(zip(lower, levels.factors[1:], strict=True)))


def delete_pyramid(position: Position) -> None:
    """Delete all levels but the first; see :meth:`Position.delete_pyramid`."""
    position.require_writable("delete the pyramid")
    paths = position.dataset_paths[1:]
    for path in paths:
        position.documents.storage.check_deletable(position.node_path.child(path).path)
    if paths:
        # Metadata first: a kill then leaves arrays that are not listed, not a listed level without an array.
        position.document.edit(lambda meta: _without_levels(meta, paths))
    for path in paths:
        node_path = position.node_path.child(path)
        if position.documents.storage.exists(node_path.path):
            position.documents.delete(node_path.path)
    delete_unlisted_levels(position)
    update.forget(position)
    _match_labels(position, THREADS)


def _step_between(fine: Shape, coarse: Shape) -> Shape:
    """Return the factors between two levels from their factors to level 0: (2, 2) and (4, 8) give (2, 4)."""
    return tuple(
        coarse_factor // fine_factor for fine_factor, coarse_factor in zip(fine, coarse, strict=True)
    )


def _level_0(position: Position) -> tuple[PinnedArray, list[AxisMeta]]:
    """Return level 0 as it is now, and its axes, which are shared: never change them."""
    try:
        base = position.data
    except NodeNotFoundError as error:
        raise InvalidArgumentError(f"There is no level 0 to make a pyramid of. {error}") from error
    source = PinnedArray(base.stored.documents, base.stored.path, base.stored.last_meta)
    axes = position.document.last_shared_model.multiscales[0].axes
    if len(axes) != source.meta.ndim:
        raise InvalidArgumentError(
            f"{base!r} has {source.meta.ndim} dimensions, but {position.node_path} has {len(axes)} axes."
        )
    return source, axes


def _match_labels(position: Position, workers: Workers) -> None:
    """Create levels of the position's label images, as many as its image has (LB-04)."""
    labels, documents = position.node_path.child("labels").path, position.documents
    if documents.storage.can_list and not documents.existing([labels], groups=[labels]):
        return
    from lamella.nodes.labels import LabelImage
    from lamella.ops.labels import match_levels

    if not isinstance(position, LabelImage):
        match_levels(position, workers)


def _steps_by_axis(
    position: Position,
    axes: Sequence[AxisMeta],
    dims: Sequence[str] | None,
    factors: Mapping[str, int] | None,
) -> dict[int, int]:
    """Return the factor of each axis from one level to the next, without axes that keep their length."""
    if isinstance(dims, Mapping):
        raise InvalidArgumentError(
            f"dims={dims!r} does not list the axes to halve, such as ['y', 'x']. Pass factors as factors={dims!r}."
        )
    if factors is None:
        if dims is None:
            return dict.fromkeys(space_axes(axes), 2)
        requirement = "The argument dims is a list of axis names, such as ['y', 'x']"
        names = list(dims) if isinstance(dims, str) else items_of(dims, requirement)
        if not all(isinstance(name, str) for name in names):
            raise InvalidArgumentError(f"{requirement}, not {dims!r}.")
        return {position.get_axis_index(name): 2 for name in names}
    if dims is not None:
        raise InvalidArgumentError("Give either dims, the axes to halve, or factors, not both.")
    if not isinstance(factors, Mapping) or not factors:
        raise InvalidArgumentError(
            f"factors={factors!r} does not map axis names to whole factors, such as {{'y': 4}}."
        )
    for name, factor in factors.items():
        if not is_whole_number(factor, 1):
            raise InvalidArgumentError(
                f"The factor of the axis {name!r} is a whole number from 1, not {factor!r}."
            )
    steps = {position.get_axis_index(str(name)): int(factor) for name, factor in factors.items()}
    if len(steps) < len(factors):
        raise InvalidArgumentError(f"factors={factors!r} has an axis twice.")
    return {axis: step for axis, step in steps.items() if step > 1}


def check_levels(levels: object) -> None:
    """Raise unless the number of levels is a number from 1 or "auto"."""
    if levels != "auto" and not is_whole_number(levels, 1):
        raise InvalidArgumentError(f"levels={levels!r} is neither a number from 1 nor 'auto'.")


def check_method(method: object) -> None:
    """Raise for anything but a method that computes levels."""
    if method not in get_args(Method):
        raise InvalidArgumentError(
            f"The pyramid method is one of {', '.join(get_args(Method))}, not {method!r}."
        )


def _plan(
    image: object,
    axes: Sequence[AxisMeta],
    shape: Shape,
    levels: int | str,
    steps: Mapping[int, int],
    notes: list[str],
) -> list[tuple[Shape, Shape]]:
    """Return shape and factors to level 0 of each level; ``notes`` name requested levels that would be too small."""
    if levels == "auto":
        sides = {axis: shape[axis] for axis in space_axes(axes)[-2:] if axis in steps}
        requested = 1
        while max(sides.values(), default=1) > COARSEST_SIDE:
            sides = {axis: -(-length // steps[axis]) for axis, length in sides.items()}
            requested += 1
    else:
        check_levels(levels)
        requested = int(levels)
    plan: list[tuple[Shape, Shape]] = geometry.pyramid_shapes(shape, steps, requested)
    possible = 1 + sum(1 for (finer, _), (coarser, _) in itertools.pairwise(plan) if finer != coarser)
    if possible < requested:
        verb = "halved" if set(steps.values()) == {2} else "made smaller"
        notes.append(
            f"{requested} levels were asked of {image}, but {shape} cannot be {verb} beyond "
            f"{counted(possible, 'level')}: more are not made."
        )
    return plan[:possible]


def _refuse_other_pyramid(
    position: Position,
    plan: list[tuple[Shape, Shape]],
    dims: Sequence[str] | None,
    factors: Mapping[str, int] | None,
) -> None:
    """Raise if the image has another number of levels, or levels of other shapes, than was asked for."""
    paths = position.dataset_paths
    if len(paths) != len(plan):
        raise InvalidArgumentError(
            f"{position.node_path} has a pyramid of {len(paths)} levels, and {len(plan)} were asked for. "
            "Delete it first with delete_pyramid(), or pass --replace to lamella pyramid."
        )
    shapes = [position.open_level(path).shape for path in paths]
    request = f"dims={list(dims)}" if dims is not None else f"factors={factors}"
    if (dims is not None or factors is not None) and shapes != [shape for shape, _ in plan]:
        raise InvalidArgumentError(
            f"{position.node_path} has a pyramid of the shapes {shapes}, and {request} needs "
            f"{[shape for shape, _ in plan]}. Delete it first with delete_pyramid(), or pass --replace to lamella "
            "pyramid."
        )


def _level_path(base: str, number: int) -> str:
    """Name a level after the first one: level 1 of "0" is "1", of "s0" "s1", and of "scale2/image" "scale3/image"."""
    last_number = re.compile(r"\d+(?=\D*$)")
    if not last_number.search(base):
        return str(number)
    return last_number.sub(lambda match: str(int(match[0]) + number), base)


def _plan_arrays(base_path: str, meta: ArrayMeta, plan: list[tuple[Shape, Shape]]) -> dict[str, ArrayMeta]:
    """Return the path and metadata of each planned level but the first."""
    return {
        _level_path(base_path, number): array_like(
            meta, zarr_format=meta.zarr_format, shape=shape, dimension_names=meta.dimension_names
        )
        for number, (shape, _) in enumerate(plan[1:], 1)
    }


def _with_levels_described(meta: ImagesMeta, method: str, steps: dict[str, Shape]) -> ImagesMeta:
    """Derive the transforms of all levels from level 0 (MS-05), and record the method (MS-09, MS-10)."""
    from lamella._version import __version__

    factors: list[Shape] = []
    for step in steps.values():
        factors_of_finer = factors[-1] if factors else (1,) * len(step)
        factors.append(
            tuple(factor * step_factor for factor, step_factor in zip(factors_of_finer, step, strict=True))
        )
    base = meta.multiscales[0].datasets[0].coordinate_transformations or []
    transforms = dict(zip(steps, geometry.transforms_of_levels(base, factors, method), strict=True))
    details = {
        "description": f"Each level is the {method} of the voxels of the one before, by whole factors.",
        "method": edits.MAKER,
        "version": __version__,
        "args": [],
        "kwargs": {"levels": len(steps) + 1, "method": method},
    }
    return edits.describe_levels(meta, method, details, transforms)


def _without_levels(meta: ImagesMeta, paths: list[str]) -> ImagesMeta:
    details = meta.multiscales[0].metadata
    if isinstance(details, dict) and details.get("method") == edits.MAKER:
        meta = edits.describe_levels(meta, None, None)  # removes the description of the deleted levels
    for path in paths:
        meta = edits.remove_dataset(meta, path)
    return meta
