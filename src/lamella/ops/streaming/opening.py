"""Opening a stream: what the caller asks is checked, the arrays are made or found.

Layer: ops.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.ops.execution import workers as worker_count
from lamella.ops.streaming.array_frames import ArrayFrames
from lamella.ops.streaming.order import FrameOrder
from lamella.ops.streaming.pyramids import PyramidsBehind
from lamella.ops.streaming.record import StreamRecord
from lamella.ops.streaming.recovery import stored_frames
from lamella.ops.streaming.stream import FrameStream
from lamella.ops.streaming.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike

    from lamella.nodes.plate import Plate
    from lamella.nodes.plate_creation import PositionSpec
    from lamella.nodes.position import Position
    from lamella.spec.transforms import TransformationMeta
    from lamella.store.arrays import StoredArray
    from lamella.store.compressor import CompressorChoice
    from lamella.types import Shape

_QUEUE = 8
"""Chunks that may be pending where the caller says nothing."""


@dataclass(frozen=True)
class StreamOptions:
    """What a caller asks of a stream; see :meth:`Position.stream`."""

    name: str
    frame: Shape
    dtype: np.dtype[Any]
    order: Sequence[str] | None
    lengths: Mapping[str, int] | None
    channels: Sequence[str] | None
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
        """Check what needs no image to be checked."""
        try:
            frame = tuple(index(n) for n in shape_per_frame)
        except TypeError:
            raise InvalidArgumentError(
                f"shape_per_frame is one integer per axis, not {shape_per_frame!r}."
            ) from None
        if not frame or min(frame) < 1:
            raise InvalidArgumentError(
                f"A frame has at least one voxel along each axis; shape_per_frame is {frame}."
            )
        try:
            kind = np.dtype(dtype)
        except TypeError as error:
            raise InvalidArgumentError(f"{dtype!r} is not a data type of numpy: {error}") from error
        for what in ("queue", "flush_every"):
            number = options[what]
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise InvalidArgumentError(f"{what} is a number from 1, not {number!r}.")
        return cls(name, frame, kind, **options)


def stream_position(position: Position, options: StreamOptions) -> FrameStream:
    """Open a stream into one position; see :meth:`Position.stream`."""
    names = _order_names(options.order, position, options.frame)
    if "p" in names:
        raise InvalidArgumentError(
            f"The order {''.join(names)!r} goes over positions, and {position._place} is one. Use plate.stream()."
        )
    return _open([position], names, names, options)


def stream_plate(
    plate: Plate, positions: Sequence[Position | PositionSpec | str], options: StreamOptions
) -> FrameStream:
    """Open a stream over positions of a plate; see :meth:`Plate.stream`."""
    found = _positions(plate, positions)
    names = _order_names(options.order, found[0], options.frame, several=True)
    return _open(found, names, tuple(name for name in names if name != "p"), options)


def _positions(plate: Plate, positions: Sequence[Position | PositionSpec | str]) -> list[Position]:
    """Return the positions of a plate, in order; those that are not there are made all at once."""
    specs = [_spec(plate, one) for one in positions]
    paths = ["/".join(map(str, spec[:3])) for spec in specs]
    if not paths or len(set(paths)) != len(paths):
        raise InvalidArgumentError(f"A stream goes over positions that are given once each, not {paths}.")
    plate._require_writable("stream into positions")
    missing = [
        spec
        for spec, path in zip(specs, paths, strict=True)
        if plate._documents.kind(plate._place.child(path).path) is None
    ]
    if missing:
        plate.create_positions(missing)
    return [cast("Position", plate[path]) for path in paths]


def _spec(plate: Plate, position: Position | PositionSpec | str) -> PositionSpec:
    path = getattr(position, "path", position)
    if not isinstance(path, str):
        return tuple(path)
    prefix = plate.path + "/" if plate.path else ""
    parts = tuple((path.removeprefix(prefix) if path is not position else path).strip("/").split("/"))
    if len(parts) != 3:
        raise InvalidArgumentError(f"A position of a plate is named row/column/field, not {path!r}.")
    return parts


def _order_names(
    order: Sequence[str] | None, position: Position, frame: Shape, *, several: bool = False
) -> tuple[str, ...]:
    """Return the names of the axes over which frames come; by default all that a frame does not have."""
    axes = position.axis_names
    if order is None:
        over = axes[: max(0, len(axes) - len(frame))]
        return (*over[:1], "p", *over[1:]) if several else tuple(over)
    names = tuple(name.lower() for name in order)
    free = [name for name in axes if name not in names]
    unknown = [name for name in names if name not in axes and name != "p"]
    text = "".join(names)
    if unknown or len(set(names)) != len(names) or not set(names) - {"p"}:
        raise InvalidArgumentError(
            f"The order {text!r} does not name some of the axes {''.join(axes)} of {position._place}, each once"
            f"{', and p for positions' if several else ''}."
        )
    if several and "p" not in names:
        raise InvalidArgumentError(
            f"The order {text!r} of a stream over positions needs a p for them, as in 'tpcz'."
        )
    if len(free) < len(frame):
        raise InvalidArgumentError(
            f"Frames of shape {frame} in order {text!r} do not fit the axes {''.join(axes)} of {position._place}: "
            f"{len(free)} axes are left for the frame."
        )
    return names


def _open(
    positions: list[Position], names: tuple[str, ...], own: tuple[str, ...], options: StreamOptions
) -> FrameStream:
    """Open the arrays of all positions, and count what is in place over all of them."""
    orders = [_frame_order(position, names, own, options) for position in positions]
    threads = worker_count()
    workers = Workers(threads, options.queue or max(_QUEUE, 2 * threads))
    arrays = []
    try:
        for position, order in zip(positions, orders, strict=True):
            position._require_writable("stream frames")
            arrays.append(_array_frames(position, order, options, workers))
        of_all = _over_positions(names, orders[0], len(positions))
        _line_up(arrays, of_all)
        arrays[0].prepare()
    except BaseException:
        workers.close()
        raise
    behind = None if options.pyramid is None else PyramidsBehind(positions, arrays, options.pyramid)
    frame = options.frame, options.dtype
    return FrameStream(arrays, of_all, frame, workers, flush_every=options.flush_every, behind=behind)


def _frame_order(
    position: Position, names: tuple[str, ...], own: tuple[str, ...], options: StreamOptions
) -> FrameOrder:
    """Return the order of the frames of one position."""
    axes = position.axis_names
    lengths: list[int | None] = []
    given = {name.lower(): n for name, n in (options.lengths or {}).items()}
    strange = set(given) - set(own)
    if strange or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in given.values()):
        raise InvalidArgumentError(
            f"lengths gives whole numbers from 1 for axes of the order {''.join(own)!r}, not {options.lengths!r}."
        )
    channels = _channels(position, options.channels) if "c" in own else None
    if options.channels is not None and channels is None:
        raise InvalidArgumentError(f"channels was given, but the order {''.join(own)!r} has no c.")
    for name in own:
        if name == "c":
            length = given.get(name, len(channels or ()))
            if length != len(channels or ()):
                raise InvalidArgumentError(
                    f"lengths says {length} for c, but there are {len(channels or ())} channels."
                )
            lengths.append(length)
        elif name in given:
            lengths.append(given[name])
        elif name == names[0]:
            lengths.append(None)
        else:
            raise InvalidArgumentError(
                f"Only the first axis of the order {''.join(names)!r} may be of unknown length: say how many frames "
                f"come along {name}, as in lengths={{{name!r}: 10}}."
            )
    return FrameOrder(own, tuple(axes.index(name) for name in own), tuple(lengths), channels)


def _channels(position: Position, wanted: Sequence[str] | None) -> tuple[int, ...]:
    """Return where in the array the channels belong that come."""
    names = position.channel_names
    if wanted is None:
        return tuple(range(len(names) or 1))
    missing = [name for name in wanted if name not in names]
    if (missing and position.dataset_paths) or not wanted or len(set(wanted)) != len(wanted):
        raise InvalidArgumentError(
            f"channels names channels of {position._place}, each once: it has {names}, not {list(wanted)}."
        )
    for name in missing:
        position.append_channel(name, resize_arrays=False)
    names = [*names, *missing]
    return tuple(names.index(name) for name in wanted)


def _over_positions(names: tuple[str, ...], order: FrameOrder, count: int) -> FrameOrder:
    """Return the order of the frames of all positions; where in an array they belong is not its matter."""
    lengths = dict(zip(order.names, order.lengths, strict=True)) | {"p": count}
    return FrameOrder(names, tuple(range(len(names))), tuple(lengths[name] for name in names), order.channels)


def _array_frames(
    position: Position, order: FrameOrder, options: StreamOptions, workers: Workers
) -> ArrayFrames:
    shape, chunks = _layout(position, order, options)
    existing = position._documents.kind(position._place.child(options.name).path) == "array"
    if options.resume and existing:
        stored = position[options.name]._stored
        record = _record_of(stored, order, shape, options)
        if record.open:  # beyond what a stream has closed there may be what a killed `append` left
            record.frames = stored_frames(stored, order, record.frames)
        record.cut(record.frames)
        record.open = True
        return ArrayFrames(
            stored, order, record, workers, partial(position._session.writes.noted, stored.path)
        )
    image = position.create_zeros(
        options.name,
        shape,
        options.dtype,
        chunks,
        options.shards_ratio,
        options.transform,
        compressor=options.compressor,
    )
    record = StreamRecord(
        list(order.names), list(order.lengths), None if order.channels is None else list(order.channels)
    )
    noted = partial(position._session.writes.noted, image.path)
    frames = ArrayFrames(image._stored, order, record, workers, noted)
    frames.publish(always=True)
    return frames


def _layout(position: Position, order: FrameOrder, options: StreamOptions) -> tuple[Shape, Shape]:
    """Return the shape of the array before its first frame, and its chunks: one frame each by default."""
    axes = position.axis_names
    shape, chunks = [1] * len(axes), [1] * len(axes)
    for axis, length in zip(order.axes, order.lengths, strict=True):
        shape[axis] = length or 0
        if axes[axis] == "c":
            shape[axis] = max(1, len(position.channel_names))
    free = [axis for axis in range(len(axes)) if axis not in order.axes]
    for axis, n in zip(reversed(free), reversed(options.frame), strict=False):
        shape[axis] = chunks[axis] = n
    return tuple(shape), tuple(options.chunks or chunks)


def _record_of(stored: StoredArray, order: FrameOrder, shape: Shape, options: StreamOptions) -> StreamRecord:
    """Return the record of an array that is there, after a check that the new stream goes on with the old one."""
    meta = stored.meta
    grows = order.axes[0] if order.grows else None
    alike = all(a == b or axis == grows for axis, (a, b) in enumerate(zip(meta.shape, shape, strict=True)))
    if not alike or meta.dtype != options.dtype:
        raise InvalidArgumentError(
            f"Cannot resume the stream into {stored}: it has shape {meta.shape} and {meta.dtype}, and the new frames "
            f"make {shape} and {options.dtype}."
        )
    record = StreamRecord.of(meta.attributes)
    channels = None if order.channels is None else list(order.channels)
    if record is None:
        frames = (meta.shape[grows] if grows is not None else meta.shape[order.axes[0]]) * order.per_step
        return StreamRecord(list(order.names), list(order.lengths), channels, frames, open=False)
    if (record.order, record.lengths, record.channels) != (list(order.names), list(order.lengths), channels):
        raise InvalidArgumentError(
            f"Cannot resume the stream into {stored}: its frames came in order {''.join(record.order)!r} with lengths "
            f"{record.lengths} and channels {record.channels}, not {''.join(order.names)!r}, {list(order.lengths)} and "
            f"{channels}."
        )
    return record


def _line_up(arrays: list[ArrayFrames], order: FrameOrder) -> None:
    """Have all positions go on from the first frame that is not in place in any of them."""
    if len(arrays) == 1:
        return
    at = order.names.index("p")

    def number(array: int, frame: int) -> int:
        steps = arrays[array].order.steps(frame)
        return order.number((*steps[:at], array, *steps[at:]))

    going = [i for i, one in enumerate(arrays) if one.count != one.order.total]
    if not going:
        return
    first = min(number(i, arrays[i].count) for i in going)
    for i, one in enumerate(arrays):
        count = one.count
        while count and number(i, count - 1) >= first:
            count -= 1
        if count != one.count:
            one.restart(count)
