"""Read Nikon ND2 files with the library ``nd2``: an image for each stage position."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.descriptions import describe_image, sample_channels
from lamella.adapters.formats import ENDINGS
from lamella.adapters.original import json_text
from lamella.errors import SourceError, counted
from lamella.ops.conversion.handles import SampleReader
from lamella.ops.conversion.reader import OriginalMetadata
from lamella.ops.conversion.source import Objective, SourceChannel
from lamella.spec.units import is_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array

_UNIX_EPOCH = 2440587.5
"""The Julian day number of 1970-01-01."""


class ND2Reader(SampleReader):
    """Nikon ND2: each frame has all channels, and frames are numbered along the loops of time, position and z."""

    name = "nd2"
    title = "Nikon ND2"
    endings = ENDINGS["nd2"]
    extra = "nd2"
    libraries = ("nd2",)
    first_bytes = (b"\0\0\0\x0cjP  ",)  # older files are JPEG 2000

    def recognises(self, head: bytes) -> bool:
        return head.startswith(b"\xda\xce\xbe\x0a")

    def open_handle(self, path: str) -> Any:
        import nd2

        return nd2.ND2File(path)

    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        sizes = _sizes(handle, path)
        loops = _loops(handle)
        events = {} if handle.is_legacy else handle.events(orient="list")
        points = [
            point
            for loop in handle.experiment
            if loop.type == "XYPosLoop"
            for point in loop.parameters.points
        ]
        return [
            _describe(handle, path, sizes, loops, events, points, position)
            for position in range(loops.get("P", 1))
        ]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        sections = {
            "attributes": handle.attributes,
            "experiment": handle.experiment,
            "metadata": handle.metadata,
            "text_info": handle.text_info,
        }
        return [OriginalMetadata("nd2.json", json_text(sections))]

    def read_planes(
        self, handle: Any, image: int, indices: Sequence[tuple[int, ...]], rows: slice
    ) -> list[Array | None]:
        loops = _loops(handle)
        time, z = indices[0][0], indices[0][2]
        number = 0
        for axis, length in loops.items():
            number = number * length + {"T": time, "P": image, "Z": z}[axis]
        attributes = handle.attributes
        if number >= attributes.sequenceCount:
            return [None] * len(indices)
        frame = handle.read_frame(number)
        samples = handle.components_per_channel
        channels = attributes.channelCount or 1
        frame = frame.reshape(channels, attributes.heightPx, attributes.widthPx, samples)
        return [frame[channel // samples, rows, :, channel % samples] for _, channel, _ in indices]


def _loops(file: Any) -> dict[str, int]:
    """Return the axes that number the frames, slowest first."""
    return {axis: int(length) for axis, length in file.sizes.items() if axis not in "CYXS"}


def _sizes(file: Any, path: str) -> dict[str, int]:
    """Return the lengths of "tczyx"."""
    loops = _loops(file)
    repeated = [loop.type for loop in file.experiment if loop.count > 1]
    if not set(loops) <= set("TPZ") or len(repeated) != len(loops):
        raise SourceError(
            f"{path} has the loops {', '.join(repeated)}: only one loop each of time, position and z can be read."
        )
    attributes = file.attributes
    return {
        "t": loops.get("T", 1),
        "c": attributes.componentCount,
        "z": loops.get("Z", 1),
        "y": attributes.heightPx,
        "x": attributes.widthPx,
    }


def _channel_records(file: Any) -> list[Any]:
    """Return the metadata of each channel; an empty list for the JPEG 2000 files that were written before 2010."""
    return list(getattr(file.metadata, "channels", None) or ())


def _describe(
    file: Any,
    path: str,
    sizes: dict[str, int],
    loops: dict[str, int],
    events: dict[str, Any],
    points: list[Any],
    position: int,
) -> ImageDescription:
    voxel = file.voxel_size()
    first = next(iter(_channel_records(file)), None)
    lengths = tuple(loops.values())
    frames = [
        int(np.ravel_multi_index(tuple({"T": t, "P": position, "Z": 0}[axis] for axis in loops), lengths))
        if loops
        else 0
        for t in range(sizes["t"])
    ]
    times = _times(events, frames)
    scale = {axis: getattr(voxel, axis) for axis in "xyz"}
    if "Z" not in loops and first is not None and not first.volume.axesCalibrated[2]:
        del scale["z"]
    if len(times) < 2:
        scale["t"] = _planned_interval(file)
    point = points[position] if position < len(points) else None
    missing = max(0, math.prod(lengths) - file.attributes.sequenceCount)
    notes = (f"{counted(missing, 'frame')} missing at its end, written as zeros",) if missing else ()
    image = describe_image(
        path,
        tuple(sizes.values()),
        file.dtype,
        scale=scale,
        channels=_channels(file, events),
        title=(point.name if point is not None else "") or "",
        stage=_stage(file, point, frames[0]),
        times=times,
        acquired=_acquired(file),
        objective=_objective(first),
        band_rows=sizes["y"],
        channels_together=sizes["c"],
        is_rgb=bool(file.is_rgb),
    )
    if "t" not in image.scale and sizes["t"] > 1:
        notes = (*notes, "its time step is unknown")
    return replace(image, notes=notes) if position == 0 else image


def _channels(file: Any, events: dict[str, Any]) -> tuple[SourceChannel, ...]:
    """Return the channels; a colour image has three, its samples."""
    channels = _channel_records(file)
    if file.is_rgb:
        return sample_channels(3, [""] * len(channels), file.attributes.bitsPerComponentSignificant)
    exposures = set(events.get("Camera 1 Exposure Time [ms]", ()))
    exposure = float(exposures.pop()) / 1000 if len(exposures) == 1 else None
    return tuple(
        SourceChannel(
            label=channel.channel.name or "",
            color=f"{color.r:02X}{color.g:02X}{color.b:02X}" if (color := channel.channel.color) else None,
            excitation=channel.channel.excitationLambdaNm,
            emission=channel.channel.emissionLambdaNm,
            exposure=exposure,
        )
        for channel in channels
    )


def _times(events: dict[str, Any], frames: list[int]) -> tuple[float, ...]:
    """Return the times of frames in seconds; an empty tuple if the time of any frame is missing."""
    seconds = {
        int(number): float(time)
        for number, time in zip(events.get("Index", ()), events.get("Time [s]", ()), strict=False)
        if isinstance(number, (int, np.integer)) and time is not None
    }
    if not all(math.isfinite(seconds.get(frame, math.nan)) for frame in frames):
        return ()
    return tuple(seconds[frame] for frame in frames)


def _planned_interval(file: Any) -> float | None:
    """Return the planned time between frames in seconds."""
    for loop in file.experiment:
        if loop.type == "TimeLoop" and is_size(loop.parameters.periodMs):
            return float(loop.parameters.periodMs) / 1000
    return None


def _stage(file: Any, point: Any, frame: int) -> dict[str, float]:
    """Return the stage position of an image in micrometers."""
    position = point.stagePositionUm if point is not None else None
    if position is None:
        channels = getattr(file.frame_metadata(frame), "channels", None)
        position = channels[0].position.stagePositionUm if channels else None
    return {} if position is None else {axis: float(getattr(position, axis)) for axis in "xyz"}


def _acquired(file: Any) -> str:
    """Return the time of the first frame in ISO 8601."""
    channels = getattr(file.frame_metadata(0), "channels", None)
    day = channels[0].time.absoluteJulianDayNumber if channels else 0
    if not is_size(day):
        return ""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day - _UNIX_EPOCH)
    return moment.isoformat(timespec="milliseconds")


def _objective(channel: Any) -> Objective | None:
    if channel is None:
        return None
    microscope = channel.microscope
    return Objective(
        microscope.objectiveName or "",
        microscope.objectiveMagnification,
        microscope.objectiveNumericalAperture,
    )
