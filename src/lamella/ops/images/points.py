"""Points and sizes in physical units: the level for a size of voxels, and coordinates from indices and back."""

from __future__ import annotations

from collections.abc import Mapping
from sys import float_info
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.arguments import is_real_number, text_of_name
from lamella.errors import (
    InvalidArgumentError,
    MetadataError,
    NodeNotFoundError,
    WrongTypeError,
    clause,
    did_you_mean,
)
from lamella.spec.axes import axis_index
from lamella.spec.coordinate_graph import CoordinateGraph
from lamella.spec.transformations import SystemReference

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from lamella.nodes.position import Position
    from lamella.spec.transformations import Transformation

_ROUNDING = 1e-6
"""Relative difference of sizes that are the same: products of floats are not exact."""


def level_for(position: Position, pixel_size: float | Mapping[str, float]) -> str:
    """Return the coarsest level that is fine enough; see :meth:`Position.level_for`."""
    if not isinstance(pixel_size, Mapping):
        size = _checked_limit("y and x", pixel_size)
        pixel_size = {axis: size for axis in ("y", "x") if axis in position.axis_names}
    sizes = {axis_index(position.axes, axis): _checked_limit(axis, size) for axis, size in pixel_size.items()}
    paths = _level_paths(position)
    for path in paths[:1] if position.stale_levels else reversed(paths):
        scale = position.get_effective_scale(path)
        if all(scale[axis] <= size * (1 + _ROUNDING) for axis, size in sizes.items()):
            return path
    return paths[0]


def _checked_limit(axis: str, size: Any) -> float:
    """Return the largest allowed size of a pixel; raise if it is not a finite number above 0."""
    if is_real_number(size) and not size <= 0 and size <= float_info.max:
        return float(size)
    raise InvalidArgumentError(f"The pixel size along {axis} is a finite number above 0, not {size!r}.")


def _level_paths(position: Position) -> list[str]:
    paths = position.dataset_paths
    if not paths:
        raise NodeNotFoundError(f"{position.node_path} has no image yet, so it has no levels.")
    return paths


def checked_level(position: Position, level: str | int | None) -> str:
    """Return the path of a level; the finest by default."""
    paths = _level_paths(position)
    if level is None:
        return paths[0]
    name = text_of_name(level)
    if name is None:
        raise WrongTypeError(f"A level is named by text or an integer, not by {level!r}.")
    if name not in paths:
        raise NodeNotFoundError(
            f"{position.node_path} has no level {name!r}: its levels are {', '.join(paths)}."
            f"{did_you_mean(name, paths)}"
        )
    return name


def index_to_world(
    position: Position, points: ArrayLike, level: str | int | None, system: str | SystemReference | None
) -> NDArray[np.float64]:
    """Return the coordinates of indices; see :meth:`Position.index_to_world`."""
    path = checked_level(position, level)
    if system is not None:
        return _transformed(position, points, _graph(position).between(path, _checked_system(system)))
    scale, start = _scale_and_start(position, path)
    return _as_numbers(position, points, len(scale)) * scale + start


def world_to_index(
    position: Position, points: ArrayLike, level: str | int | None, system: str | SystemReference | None
) -> NDArray[np.float64]:
    """Return the indices of coordinates; see :meth:`Position.world_to_index`."""
    path = checked_level(position, level)
    if system is not None:
        return _transformed(position, points, _graph(position).between(_checked_system(system), path))
    scale, start = _scale_and_start(position, path)
    if not scale.all():
        raise MetadataError(
            f"The scale of {position.node_path}, level {path!r}, is {scale.tolist()}: coordinates have no index along "
            "an axis of scale 0. Set another with set_scale()."
        )
    return (_as_numbers(position, points, len(scale)) - start) / scale


def _scale_and_start(position: Position, path: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (
        np.array(position.get_effective_scale(path), dtype=np.float64),
        np.array(position.get_effective_translation(path), dtype=np.float64),
    )


def _graph(position: Position) -> CoordinateGraph:
    return CoordinateGraph.of_image(position.document.shared_model.multiscales[0])


def _checked_system(system: object) -> str | SystemReference:
    if isinstance(system, str | SystemReference):
        return system
    raise WrongTypeError(f"A coordinate system is named by text or a SystemReference, not by {system!r}.")


def _as_numbers(position: Position, points: ArrayLike, count: int) -> NDArray[np.float64]:
    """Return points as float64, with ``count`` numbers along the last axis: one per axis of the image."""
    try:
        numbers = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongTypeError(
            f"The points are an array of numbers, not this {type(points).__name__}: {clause(error)}."
        ) from error
    if numbers.ndim == 0 or numbers.shape[-1] != count:
        raise InvalidArgumentError(
            f"Points of shape {numbers.shape} need {count} numbers along their last axis, one for each of the axes "
            f"{', '.join(position.axis_names)} of {position.node_path}."
        )
    return numbers


def _transformed(
    position: Position, points: ArrayLike, transformation: Transformation
) -> NDArray[np.float64]:
    """Apply a transformation to points, by its matrix if it has one."""
    numbers = np.asarray(points, dtype=np.float64)
    count = transformation.ndim
    count = numbers.shape[-1] if count is None and numbers.ndim else count or 0
    numbers = _as_numbers(position, points, count)
    points_list = numbers.reshape(-1, numbers.shape[-1])
    try:
        matrix: Any = np.array(transformation.matrix(points_list.shape[-1]), dtype=np.float64)
        transformed: NDArray[np.float64] = points_list @ matrix[:, :-1].T + matrix[:, -1]
    except InvalidArgumentError:  # it has no matrix, such as a field of displacements
        transformed = np.array(transformation.apply(points_list.tolist()), dtype=np.float64)
    return transformed.reshape(*numbers.shape[:-1], transformed.shape[-1])
