"""Check the arguments of `Plate.map` before anything is called or created."""

from __future__ import annotations

import functools
import inspect
import os
import pickle
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lamella.arguments import is_whole_number, items_of, whole_number
from lamella.errors import InvalidArgumentError, NodeNotFoundError, check_options, clause, counted
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.ops.execution import check_progress
from lamella.ops.plates.map_blocks import block_plan
from lamella.ops.plates.map_records import LABELS
from lamella.ops.rewriting.endpoints import check_stores_apart
from lamella.spec.axes import channel_axis
from lamella.spec.edits import new_images
from lamella.store.keys import DOCUMENTS, check_new_name
from lamella.store.metadata.array_creation import new_array
from lamella.store.storage import is_store, open_storage, with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from numpy.typing import DTypeLike
    from zarr.abc.store import Store

    from lamella.nodes.image_array import ImageArray
    from lamella.ops.execution import Progress, Workers
    from lamella.ops.plates.map_blocks import BlockPlan
    from lamella.types import StrPath


@dataclass(frozen=True, kw_only=True)
class MapCall:
    """The arguments of :meth:`Plate.map` or :meth:`Position.map` as they were passed."""

    function: Callable[[Any], Any]
    over: str
    level: str
    name: str | Sequence[str] | None
    output: StrPath | Store | None = None
    channel_names: Sequence[str] | None = None
    dtype: DTypeLike | None
    halo: int | Mapping[str, int] | None
    axes: Sequence[str] | None
    kwargs: Mapping[str, Any] | None
    positions: Iterable[str] | None = None
    retries: int
    resume: bool
    check: bool
    jobs: int | None
    executor: Executor | None
    progress: Progress | bool | None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)


class OneImage:
    """An image with the interface of a plate whose only position is the image, at the path ""."""

    def __init__(self, image: Position) -> None:
        self._image = image
        self.node_path = image.node_path
        self.documents = image.documents
        self.require_writable = image.require_writable

    def positions(self) -> Iterator[tuple[str, Position]]:
        """Yield the image."""
        yield "", self._image

    def __getitem__(self, path: str) -> Position:
        return self._image


MappedPlate: TypeAlias = "Plate | OneImage"


@dataclass(frozen=True)
class MapRequest:
    """A checked call, whose function has its keyword arguments bound."""

    call: MapCall
    names: tuple[str, ...]
    """Names of the results; empty if they are not stored."""
    positions: dict[str, Position]
    """The positions to compute, by path."""

    @property
    def labels_by_blocks(self) -> bool:
        """Whether a label image is computed block by block."""
        return self.call.over == "regions" and any(name.startswith(LABELS) for name in self.names)

    def block_plan(self, position: Position) -> BlockPlan:
        """Return how the array of a position is cut into blocks; label images have no channel axis."""
        axes = self.call.axes
        if axes is None and self.labels_by_blocks:
            axes = [axis.name for axis in position.axes if axis.type != "channel"]
        return block_plan(position.axes, position[self.call.level].shape, self.call.halo or 0, axes)

    def dtype(self, source: ImageArray) -> np.dtype[Any]:
        """Return the data type of the results of an array: the requested one, or its own."""
        return source.dtype if self.call.dtype is None else np.dtype(self.call.dtype)


def checked_request(plate: MappedPlate, call: MapCall, workers: Workers) -> MapRequest:
    """Check the arguments of a call; raise for the first invalid one."""
    function, over, level = call.function, call.over, str(call.level)
    if not callable(function):
        raise InvalidArgumentError(f"function={function!r} is not a function to call.")
    if call.kwargs is not None:
        function = _with_arguments(function, call.kwargs)
    check_progress(call.progress)
    _check_picklable(function, workers)
    output = with_options(call.output, call.storage_options)
    names = _names_of_results(over, call.name, level, output is not None)
    positions = _positions_of(plate, call.positions)
    _check_level(positions, level, over)
    _check_data_type(call.dtype, over)
    channel_names = _channel_names(call.channel_names, positions, level, over)
    if output is not None:
        if not is_store(output) and not isinstance(output, str | os.PathLike):
            raise InvalidArgumentError(
                f"output={output!r} is neither the path of a plate nor a store of zarr-python."
            )
        check_stores_apart(plate.documents.storage, open_storage(output), plate.node_path.path)
    if over == "positions" and (call.halo or call.axes is not None):
        raise InvalidArgumentError(
            "Leave out halo and axes, or pass over='regions': whole positions are not cut."
        )
    if not is_whole_number(call.retries, 0):
        raise InvalidArgumentError(
            f"retries={call.retries!r} is not a whole number from 0: how often a unit is repeated after an error."
        )
    checked = replace(
        call,
        function=function,
        level=level,
        output=output,
        channel_names=channel_names,
        halo=_checked_halo(call.halo),
        axes=None if call.axes is None else _axis_names(call.axes),
    )
    request = MapRequest(checked, names, positions)
    if over == "regions":
        _check_blocks(request)
    return request


def _axis_names(axes: Sequence[str]) -> list[str]:
    names = (
        list(axes)
        if isinstance(axes, str)
        else items_of(axes, "The argument axes is text, such as 'tyx', or a list of names")
    )
    return [str(name) for name in names]


def _with_arguments(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> Callable[..., Any]:
    if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
        raise InvalidArgumentError(f"kwargs={kwargs!r} does not map names of parameters to values.")
    parameters: Mapping[str, inspect.Parameter] = {}
    with suppress(ValueError):  # some builtins have no signature
        parameters = inspect.signature(function).parameters
    kinds = [parameter.kind for parameter in parameters.values()]
    if parameters and inspect.Parameter.VAR_KEYWORD not in kinds:
        check_options(getattr(function, "__qualname__", "function"), kwargs, parameters)
    return functools.partial(function, **kwargs)


def _checked_halo(halo: int | Mapping[str, int] | None) -> dict[str, int] | int:
    """Return the halo as a whole number, or as whole numbers by axis."""
    if halo is None:
        return 0
    if isinstance(halo, Mapping):
        return {str(axis): whole_number(width, "A halo", 0) for axis, width in halo.items()}
    return whole_number(halo, "A halo", 0)


def _check_blocks(request: MapRequest) -> None:
    """Raise for axes and halos that do not fit an array, and for label images that cannot be stitched."""
    for position in request.positions.values():
        plan = request.block_plan(position)
        if not request.labels_by_blocks:
            continue
        if len(request.names) > 1 or request.call.output is not None or request.call.dtype is not None:
            raise InvalidArgumentError(
                "A label image that is computed block by block has one name, is stored in the plate itself, and needs "
                "no dtype."
            )
        if position.dataset_paths[0] != request.call.level:
            raise InvalidArgumentError(
                f"Labels are of level {position.dataset_paths[0]!r} of {position.node_path}, not of "
                f"{request.call.level!r}."
            )
        result_axes = [name for axis, name in enumerate(position.axis_names) if axis not in plan.dropped]
        if result_axes != [axis.name.lower() for axis in position.axes if axis.type != "channel"]:
            raise InvalidArgumentError(
                f"A label image of {position.node_path} has all axes but the channel's, not {result_axes}."
            )
        if not any(plan.halo):
            raise InvalidArgumentError(
                "Labels of blocks are joined where they overlap: pass halo=, the pixels to read beyond each block, "
                "about as many as the objects are long. Or use over='positions'."
            )


def _check_picklable(function: object, workers: Workers) -> None:
    """Raise for a function that cannot be sent to processes; other executors check it themselves."""
    if isinstance(workers.executor, ProcessPoolExecutor):
        try:
            pickle.dumps(function)
        except Exception as error:
            raise InvalidArgumentError(
                f"The executor cannot send work to its workers: {clause(error)}."
            ) from error


def _names_of_results(
    over: str, name: str | Sequence[str] | None, level: str, to_output: bool
) -> tuple[str, ...]:
    """Return the names of the results, none if they are not stored; raise for invalid names."""
    if over not in ("positions", "regions"):
        raise InvalidArgumentError(f"over={over!r} is neither 'positions' nor 'regions'.")
    requested = (
        [name]
        if name is None or isinstance(name, str)
        else items_of(name, "The argument name is a name, or a list of names")
    )
    results = [_name_of_result(over, requested_name, level, to_output) for requested_name in requested]
    names = tuple(result for result in results if result is not None)
    if len(set(names)) < len(names) or (not names and name is not None):
        raise InvalidArgumentError(f"name={name!r} is neither a name nor a list of different names.")
    return names


def _name_of_result(over: str, name: str | None, level: str, to_output: bool) -> str | None:
    """Return the name of a result, None if it is not stored; raise for invalid names."""
    if name is not None and not isinstance(name, str):
        raise InvalidArgumentError(
            f"name={name!r} is neither the name of an array nor 'labels/' and the name of a label image."
        )
    if name is None and (to_output or over == "regions"):
        name = level
    if name is None:
        return None
    if not to_output and name == level:
        raise InvalidArgumentError(
            f"The image {level!r} would be written while it is read: use another name, or an output."
        )
    label = name.removeprefix(LABELS) if name.startswith(LABELS) else None
    first_folder, last_name = name.partition("/")[0], name.rpartition("/")[2]
    if (
        not name
        or not last_name
        or (
            label is None
            and (first_folder == "labels" or last_name.startswith(".") or last_name in DOCUMENTS)
        )
    ):
        raise InvalidArgumentError(f"{name!r} cannot be the name of an array of a position.")
    if label is not None and "/" in label:
        raise InvalidArgumentError(f"A label image has a plain name, not the path {label!r}.")
    return check_new_name(name)


def _positions_of(plate: MappedPlate, paths: Iterable[str] | None) -> dict[str, Position]:
    if paths is None:
        return dict(plate.positions())
    assert isinstance(plate, Plate)
    names = [
        plate._exact_path(str(name).strip("/"))
        for name in items_of(paths, "The argument positions is a list of paths")
    ]
    return {path: position_of(plate, path) for path in names}


def position_of(plate: MappedPlate, path: str) -> Position:
    """Return a position of a plate; raise for other nodes."""
    node = plate[path]
    if not isinstance(node, Position):
        raise InvalidArgumentError(
            f"{path!r} is not a position of {plate.node_path}: paths are 'row/column/field'."
        )
    return node


def _check_level(positions: dict[str, Position], level: str, over: str) -> None:
    """Raise for a level that a position lacks; functions of positions may also use positions without an image."""
    for position in positions.values():
        levels = position.dataset_paths
        if level not in levels and (levels or over == "regions"):
            raise NodeNotFoundError(
                f"There is no level {level!r} in the position {position.node_path}. Its levels are: "
                f"{', '.join(levels) or 'none'}."
            )


def _check_data_type(dtype: DTypeLike | None, over: str) -> None:
    if dtype is None:
        return
    if over == "positions":
        raise InvalidArgumentError(
            f"dtype={dtype!r} is for over='regions': results of positions are stored in the data type that they have."
        )
    try:
        numpy_dtype = np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"dtype={dtype!r} is not a data type of numpy: {clause(error)}."
        ) from error
    new_array((1,), numpy_dtype, zarr_format=3)  # raises for types that arrays do not support


def _channel_names(
    names: Sequence[str] | None, positions: dict[str, Position], level: str, over: str
) -> list[str] | None:
    if names is None:
        return None
    names = items_of(names, "The argument channel_names is a list of names")
    if not all(isinstance(name, str) and name for name in names):
        raise InvalidArgumentError(f"channel_names={names!r} is not a list of names.")
    if len(set(names)) != len(names):
        raise InvalidArgumentError(f"channel_names={list(names)} has a name twice.")
    for position in positions.values():
        axes = position.axes
        new_images(axes, list(names))  # raises for names without an axis
        axis = channel_axis(axes)
        count = position[level].shape[axis] if axis is not None and over == "regions" else 0
        if count > len(names):
            raise InvalidArgumentError(
                f"channel_names={list(names)} has {counted(len(names), 'name')}, and {position.node_path}/{level} "
                f"has {counted(count, 'channel')}."
            )
    return list(names)
