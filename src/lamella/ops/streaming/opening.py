"""Open a stream: check the arguments, and open or create the arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from operator import index as as_integer
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.arguments import checked_name, is_whole_number, items_of, whole_numbers
from lamella.errors import InvalidArgumentError, clause, counted
from lamella.nodes.array_creation import ArrayCreation
from lamella.nodes.array_request import request_of
from lamella.nodes.plate_arrays import position_attributes
from lamella.nodes.position import Position
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.ops.pyramids.pyramid import check_levels
from lamella.ops.streaming.array_frames import ArrayFrames
from lamella.ops.streaming.chunk_threads import ChunkThreads
from lamella.ops.streaming.order import FrameOrder
from lamella.ops.streaming.pyramids import PyramidsBehind
from lamella.ops.streaming.record import StreamRecord
from lamella.ops.streaming.stream import FrameStream
from lamella.spec import edits
from lamella.store.metadata.documents import Documents
from lamella.store.pixels.shard_file import IndexLayout
from lamella.store.pixels.stored_files import ChunkLookup
from lamella.store.process_limits import cpus
from lamella.store.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from lamella.nodes.plate import Plate
    from lamella.nodes.plate_creation import PositionSpec
    from lamella.spec.images import TransformationMeta
    from lamella.store.metadata.array_meta import ArrayMeta, CompressorChoice
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import Shape


_QUEUE = 8
"""Default maximum number of pending chunks."""


@dataclass(frozen=True)
class StreamOptions:
    """The arguments of a stream; see :meth:`Position.stream`."""

    name: str
    frame_shape: Shape
    dtype: np.dtype[Any]
    order: Sequence[str] | None
    lengths: Mapping[str, int] | None
    channel_names: Sequence[str] | None
    chunks: Sequence[int] | None
    shards_ratio: Sequence[int] | None
    transform: Sequence[TransformationMeta] | None
    compressor: CompressorChoice
    resume: bool
    pyramid: int | str | None
    queue: int | None
    flush_every: int | None

    @classmethod
    def of(cls, name: str, shape_per_frame: Sequence[int], dtype: DTypeLike, **options: Any) -> StreamOptions:
        """Check the arguments that need no image."""
        try:
            frame_shape = tuple(as_integer(length) for length in shape_per_frame)
        except TypeError:
            raise InvalidArgumentError(
                f"shape_per_frame={shape_per_frame!r} is not one integer per axis."
            ) from None
        if not frame_shape or min(frame_shape) < 1:
            raise InvalidArgumentError(
                f"A frame has at least one voxel along each axis; shape_per_frame is {frame_shape}."
            )
        try:
            data_type = np.dtype(dtype)
        except TypeError as error:
            raise InvalidArgumentError(
                f"dtype={dtype!r} is not a data type of numpy: {clause(error)}."
            ) from error
        if options["order"] is not None:
            names = list(options["order"]) if isinstance(options["order"], str) else options["order"]
            options["order"] = items_of(
                names, "The argument order is a list of axis names, or their letters as text"
            )
            if not all(isinstance(name, str) for name in options["order"]):
                raise InvalidArgumentError(f"order={names!r} is not a list of axis names.")
        if options["channel_names"] is not None:
            options["channel_names"] = items_of(
                options["channel_names"], "The argument channel_names is a list of names of channels"
            )
        if options["chunks"] is not None:
            options["chunks"] = whole_numbers(options["chunks"], "The argument chunks", 1)
        if not isinstance(options["lengths"], Mapping | None):
            raise InvalidArgumentError(
                f"lengths={options['lengths']!r} does not map names of axes to numbers, such as {{'z': 10}}."
            )
        if options["pyramid"] is not None:
            check_levels(options["pyramid"])
        for option in ("queue", "flush_every"):
            number = options[option]
            if number is not None and not is_whole_number(number, 1):
                raise InvalidArgumentError(f"{option}={number!r} is not a number from 1.")
        return cls(name, frame_shape, data_type, **options)


def stream_position(position: Position, options: StreamOptions) -> FrameStream:
    """Open a stream into one position; see :meth:`Position.stream`."""
    names = _order_names(options.order, position, options.frame_shape)
    if "p" in names:
        raise InvalidArgumentError(
            f"The order {''.join(names)!r} goes over positions, and {position.node_path} is one. Use plate.stream()."
        )
    return _open([position], [_plan_position(position, names, names, options)], names, options)


def stream_plate(
    plate: Plate, positions: Sequence[Position | PositionSpec | str], options: StreamOptions
) -> FrameStream:
    """Open a stream over positions of a plate; see :meth:`Plate.stream`."""
    plate.require_writable("stream into positions")
    specs = _specs_by_path(plate, positions)
    new_paths = [path for path in specs if plate.documents.kind(plate.node_path.child(path).path) is None]
    unsaved_position = _position_in_memory(plate) if new_paths else None
    planned_positions = [unsaved_position if path in new_paths else plate[path] for path in specs]
    planned = [position for position in planned_positions if position is not None]
    names = _order_names(options.order, planned[0], options.frame_shape, over_positions=True)
    array_names = tuple(name for name in names if name != "p")
    plan_of_new_positions = (
        None if unsaved_position is None else _plan_position(unsaved_position, names, array_names, options)
    )
    plans = [
        plan_of_new_positions
        if position is unsaved_position and plan_of_new_positions
        else _plan_position(position, names, array_names, options)
        for position in planned
    ]
    if new_paths:
        plate.create_positions([specs[path] for path in new_paths])
    opened = [
        plate[path] if position is unsaved_position else position
        for path, position in zip(specs, planned, strict=True)
    ]
    return _open(opened, plans, names, options)


def _position_in_memory(plate: Plate) -> Position:
    """Return a position of a store in memory, as the plate would create it: the stream is checked with it first."""
    from zarr.storage import MemoryStore

    documents = Documents.create(open_storage(MemoryStore()), plate.documents.format)
    documents.put_group("", position_attributes(plate, []))
    return Position(NodePath(StoreHandle(documents, plate.store_handle.version), ""))


def _specs_by_path(
    plate: Plate, positions: Sequence[Position | PositionSpec | str]
) -> dict[str, PositionSpec]:
    specs = [
        _position_spec(plate, position)
        for position in items_of(positions, "The argument positions is a list of positions, paths or tuples")
    ]
    paths = ["/".join(map(checked_name, spec[:3])) for spec in specs]
    if not paths or len(set(paths)) != len(paths):
        raise InvalidArgumentError(f"A stream goes over positions that are listed once each, not {paths}.")
    return dict(zip(paths, specs, strict=True))


def _position_spec(plate: Plate, position: Position | PositionSpec | str) -> PositionSpec:
    path = getattr(position, "path", position)
    if not isinstance(path, str):
        spec = tuple(items_of(path, "A position is a tuple (row, column, name)"))
        if not 3 <= len(spec) <= 6:
            raise InvalidArgumentError(f"A position is a tuple (row, column, name), not {spec!r}.")
        return spec
    prefix = plate.path + "/" if plate.path else ""
    path = path.removeprefix(prefix) if path is not position else path
    names = tuple(plate._exact_path(path.strip("/")).split("/"))
    if len(names) != 3:
        raise InvalidArgumentError(f"A position of a plate is named row/column/field, not {path!r}.")
    return names


def _order_names(
    order: Sequence[str] | None, position: Position, frame_shape: Shape, *, over_positions: bool = False
) -> tuple[str, ...]:
    """Return the names of the axes over which frames arrive; by default all axes that a frame lacks."""
    axes = position.axis_names
    if order is None:
        outer_axes = axes[: max(0, len(axes) - len(frame_shape))]
        return (*outer_axes[:1], "p", *outer_axes[1:]) if over_positions else tuple(outer_axes)
    names = tuple(name.lower() for name in order)
    frame_axes = [name for name in axes if name not in names]
    unknown = [name for name in names if name not in axes and name != "p"]
    letters = "".join(names)
    if unknown or len(set(names)) != len(names) or not set(names) - {"p"}:
        raise InvalidArgumentError(
            f"The order {letters!r} must name some of the axes {''.join(axes)} of {position.node_path}, each once"
            f"{', and p for positions' if over_positions else ''}."
        )
    if over_positions and "p" not in names:
        raise InvalidArgumentError(
            f"The order {letters!r} of a stream over positions needs a p for them, as in 'tpcz'."
        )
    if len(frame_axes) < len(frame_shape):
        raise InvalidArgumentError(
            f"Frames of shape {frame_shape} in order {letters!r} do not fit the axes {''.join(axes)} of "
            f"{position.node_path}: {len(frame_axes)} axes are left for the frame."
        )
    return names


@dataclass(frozen=True)
class _PositionPlan:
    """The plan for one position of a stream: order of its frames, new channels, shape and chunks."""

    order: FrameOrder
    new_channels: list[str]
    shape: Shape
    chunks: Shape


def _plan_position(
    position: Position, names: tuple[str, ...], array_names: tuple[str, ...], options: StreamOptions
) -> _PositionPlan:
    """Check and plan a stream into one position, without writing; ``array_names`` are ``names`` without "p"."""
    order, new_channels = _frame_order(position, names, array_names, options)
    shape, chunks = _layout(position, order, options, len(position.channel_names) + len(new_channels))
    if _is_resumed(position, options):
        _record_of(position[options.name].stored, order, shape, options)
    else:
        meta = position.document.shared_model
        for name in new_channels:
            meta = edits.append_channel(meta, name, None)
        request = request_of(
            shape,
            options.dtype,
            chunks,
            options.shards_ratio,
            options.transform,
            compressor=options.compressor,
        )
        ArrayCreation(position, options.name, request).refuse(meta)
    return _PositionPlan(order, new_channels, shape, chunks)


def _is_resumed(position: Position, options: StreamOptions) -> bool:
    """Return whether a stream resumes an existing array; an unlisted array of a killed call is created again."""
    path = position.node_path.child(options.name).path
    return (
        options.resume and position.documents.kind(path) == "array" and options.name in position.dataset_paths
    )


def _open(
    positions: list[Position], plans: list[_PositionPlan], names: tuple[str, ...], options: StreamOptions
) -> FrameStream:
    """Open the arrays of all positions, and count the frames that are stored in all of them."""
    count = cpus()
    threads = ChunkThreads(count, options.queue or max(_QUEUE, 2 * count))
    arrays = []
    try:
        for position, plan in zip(positions, plans, strict=True):
            position.require_writable("stream frames")
            arrays.append(_array_frames(position, plan, options, threads))
        order_of_all = _over_positions(names, plans[0].order, len(positions))
        _start_together(arrays, order_of_all)
        arrays[0].prepare()
    except BaseException:
        threads.close()
        raise
    pyramids = None if options.pyramid is None else PyramidsBehind(positions, arrays, options.pyramid)
    shape_and_dtype = options.frame_shape, options.dtype
    return FrameStream(
        arrays, order_of_all, shape_and_dtype, threads, flush_every=options.flush_every, pyramids=pyramids
    )


def _frame_order(
    position: Position, names: tuple[str, ...], array_names: tuple[str, ...], options: StreamOptions
) -> tuple[FrameOrder, list[str]]:
    """Return the order of the frames of one position, and the names of its missing channels."""
    axes = position.axis_names
    lengths: list[int | None] = []
    requested_lengths = {name.lower(): length for name, length in (options.lengths or {}).items()}
    unexpected = set(requested_lengths) - set(array_names)
    if unexpected or not all(is_whole_number(length, 1) for length in requested_lengths.values()):
        raise InvalidArgumentError(
            f"lengths={options.lengths!r} are not whole numbers from 1 for axes of the order {''.join(array_names)!r}."
        )
    # The lengths are stored as JSON, which has no numbers of numpy.
    lengths_by_name = {name: int(length) for name, length in requested_lengths.items()}
    channels, new_channels = _channels(position, options.channel_names) if "c" in array_names else (None, [])
    if options.channel_names is not None and channels is None:
        raise InvalidArgumentError(
            f"channel_names={list(options.channel_names)} needs an order with c, not {''.join(array_names)!r}."
        )
    for name in array_names:
        if name == "c":
            length = lengths_by_name.get(name, len(channels or ()))
            if length != len(channels or ()):
                raise InvalidArgumentError(
                    f"lengths={options.lengths!r} has {length} for c, but {position.node_path} has "
                    f"{counted(len(channels or ()), 'channel')}."
                )
            lengths.append(length)
        elif name in lengths_by_name:
            lengths.append(lengths_by_name[name])
        elif name == names[0]:
            lengths.append(None)
        else:
            raise InvalidArgumentError(
                f"Only the first axis of the order {''.join(names)!r} may be of unknown length: say how many frames "
                f"come along {name}, as in lengths={{{name!r}: 10}}."
            )
    axis_numbers = tuple(axes.index(name) for name in array_names)
    return FrameOrder(array_names, axis_numbers, tuple(lengths), channels), new_channels


def _channels(position: Position, requested: Sequence[str] | None) -> tuple[tuple[int, ...], list[str]]:
    """Return the indices of the stream's channels in the array, and the new channels of a position without image."""
    names = position.channel_names
    if requested is None:
        return tuple(range(len(names) or 1)), []
    new_names = [name for name in requested if name not in names]
    if (new_names and position.dataset_paths) or not requested or len(set(requested)) != len(requested):
        raise InvalidArgumentError(
            f"channel_names={list(requested)} must name channels of {position.node_path}, each once: it has {names}."
        )
    names = [*names, *new_names]
    return tuple(names.index(name) for name in requested), new_names


def _over_positions(names: tuple[str, ...], order: FrameOrder, count: int) -> FrameOrder:
    """Return the order of the frames of all positions; its ``axes`` are 0, 1, 2, ..., as there is no common array."""
    lengths = dict(zip(order.names, order.lengths, strict=True)) | {"p": count}
    return FrameOrder(names, tuple(range(len(names))), tuple(lengths[name] for name in names), order.channels)


def _array_frames(
    position: Position, plan: _PositionPlan, options: StreamOptions, threads: ChunkThreads
) -> ArrayFrames:
    order, shape = plan.order, plan.shape
    for name in plan.new_channels:
        position.append_channel(name, resize_arrays=False)
    if _is_resumed(position, options):
        array = position[options.name].stored
        record = _record_of(array, order, shape, options)
        if record.open:  # a killed stream may have stored more frames than it recorded
            record.frames = stored_frames(array, order, record.frames)
            record.cut(record.frames)
        elif order.grows:
            record.fit(array.meta.shape[order.axes[0]], order.per_step)
        record.open = True
        return ArrayFrames(
            array, order, record, threads, partial(position.store_handle.writes.recorded, array.path)
        )
    image = position.create_zeros(
        options.name,
        shape,
        options.dtype,
        plan.chunks,
        options.shards_ratio,
        options.transform,
        compressor=options.compressor,
    )
    recorded_write = partial(position.store_handle.writes.recorded, image.path)
    frames = ArrayFrames(image.stored, order, StreamRecord.of_order(order), threads, recorded_write)
    frames.publish(always=True)
    return frames


def _layout(
    position: Position, order: FrameOrder, options: StreamOptions, channels: int
) -> tuple[Shape, Shape]:
    """Return the shape of the array before its first frame, and its chunks: one frame each by default."""
    axes = position.axis_names
    shape, chunks = [1] * len(axes), [1] * len(axes)
    for axis, length in zip(order.axes, order.lengths, strict=True):
        shape[axis] = length or 0
        if axes[axis] == "c":
            shape[axis] = max(1, channels)
    frame_axes = [axis for axis in range(len(axes)) if axis not in order.axes]
    for axis, length in zip(reversed(frame_axes), reversed(options.frame_shape), strict=False):
        shape[axis] = chunks[axis] = length
    return tuple(shape), tuple(options.chunks or chunks)


def _record_of(array: StoredArray, order: FrameOrder, shape: Shape, options: StreamOptions) -> StreamRecord:
    """Return the record of an existing array, after a check that the new stream can resume the old one."""
    meta = array.meta
    where = array.documents.location(array.path)
    growing_axis = order.axes[0] if order.grows else None
    has_same_shape = all(
        stored_length == length or axis == growing_axis
        for axis, (stored_length, length) in enumerate(zip(meta.shape, shape, strict=True))
    )
    if not has_same_shape or meta.dtype != options.dtype:
        raise InvalidArgumentError(
            f"Cannot resume the stream into {where}: it has shape {meta.shape} and {meta.dtype}, and the new frames "
            f"make {shape} and {options.dtype}."
        )
    record, new = StreamRecord.of(meta.attributes, where), StreamRecord.of_order(order)
    if record is None:
        return replace(new, frames=meta.shape[order.axes[0]] * order.per_step, open=False)
    if (record.order, record.lengths, record.channels) != (new.order, new.lengths, new.channels):
        raise InvalidArgumentError(
            f"Cannot resume the stream into {where}: its frames came in order {''.join(record.order)!r} with lengths "
            f"{record.lengths} and channels {record.channels}, not {''.join(new.order)!r}, {new.lengths} and "
            f"{new.channels}."
        )
    return record


def _start_together(arrays: list[ArrayFrames], order: FrameOrder) -> None:
    """Make all positions continue from the first frame that any of them lacks."""
    if len(arrays) == 1:
        return
    position_axis = order.names.index("p")

    def number_in_stream(position_index: int, frame: int) -> int:
        steps = arrays[position_index].order.steps(frame)
        return order.number((*steps[:position_axis], position_index, *steps[position_axis:]))

    incomplete = [
        number for number, array_frames in enumerate(arrays) if array_frames.count != array_frames.order.total
    ]
    if not incomplete:
        return
    first = min(number_in_stream(number, arrays[number].count) for number in incomplete)
    for number, array_frames in enumerate(arrays):
        count = array_frames.count
        while count and number_in_stream(number, count - 1) >= first:
            count -= 1
        if count != array_frames.count:
            array_frames.restart(count)


def stored_frames(array: StoredArray, order: FrameOrder, recorded_count: int) -> int:
    """Return the number of frames that are stored without a gap; the record of a killed stream may count fewer.

    Return the recorded number if stored chunks do not show which frames are complete: if a chunk has several frames, or
    if lamella cannot read the index of the shards.
    """
    meta = array.meta
    if any(meta.chunks[axis] > 1 for axis in order.axes) or (
        meta.shards is not None and IndexLayout.of(meta) is None
    ):
        return recorded_count
    chunks = ChunkLookup(array)
    count = recorded_count
    while order.total is None or count < order.total:
        if not all(chunks.is_stored(chunk) for chunk in _chunks(meta, order, count)):
            return count
        count += 1
    return count


def _chunks(meta: ArrayMeta, order: FrameOrder, number: int) -> product[tuple[int, ...]]:
    index_of_axis = dict(zip(order.axes, order.index_of(number), strict=True))
    return product(
        *(
            (index_of_axis[axis],) if axis in index_of_axis else range(-(-length // chunk_length))
            for axis, (length, chunk_length) in enumerate(zip(meta.shape, meta.chunks, strict=True))
        )
    )
