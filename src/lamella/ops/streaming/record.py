"""Record a stream in the attributes of its array: how many frames are stored, and which were skipped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lamella.errors import MetadataError, short_repr
from lamella.spec.own_key import own_record, with_own_record, without_own_records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.ops.streaming.order import FrameOrder
    from lamella.types import JSONObject

_STREAM = "stream"


@dataclass
class StreamRecord:
    """The record of one stream, under ``lamella.stream`` in the attributes of the array."""

    order: list[str]
    """Names of the axes over which frames arrive, the last one fastest."""
    lengths: list[int | None]
    """Number of frames along each; None for the first if it was unknown."""
    channels: list[int] | None
    """Indices of the stream's channels in the array."""
    frames: int = 0
    """Number of stored frames, from the first, including skipped ones."""
    skipped: list[list[int]] = field(default_factory=list)
    """Numbers of the skipped frames, as ``[first, count]``."""
    times: list[float | None] = field(default_factory=list)
    """Time of each frame in seconds, if the caller passed it; null for a frame without."""
    open: bool = True
    """Whether a stream is open, or was killed."""

    @classmethod
    def of_order(cls, order: FrameOrder) -> StreamRecord:
        """Return the record of a new stream."""
        channels = None if order.channels is None else list(order.channels)
        return cls(list(order.names), list(order.lengths), channels)

    @classmethod
    def of(cls, attributes: JSONObject, where: str = "an array") -> StreamRecord | None:
        """Read the record; None without one. ``where`` names the array in an error."""
        document = own_record(attributes, _STREAM)
        if document is None:
            return None
        try:
            return cls(
                [str(name) for name in document["order"]],
                [None if number is None else int(number) for number in document["lengths"]],
                None
                if document.get("channels") is None
                else [int(number) for number in document["channels"]],
                int(document["frames"]),
                [[int(first), int(count)] for first, count in document.get("skipped", [])],
                [None if time is None else float(time) for time in document.get("times", [])],
                bool(document.get("open", False)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MetadataError(
                f"The record of the stream in the attributes of {where} is damaged: {short_repr(document)}. Restore "
                "its attributes from a copy, or stream to another name."
            ) from error

    def into(self, attributes: JSONObject) -> JSONObject:
        """Return attributes with this record."""
        record: dict[str, Any] = {"order": self.order, "lengths": self.lengths, "frames": self.frames}
        if self.channels is not None:
            record["channels"] = self.channels
        record |= {"skipped": self.skipped, "open": self.open}
        if self.times:
            record["times"] = self.times
        return with_own_record(attributes, _STREAM, record)

    def skip(self, first: int, count: int) -> None:
        """Add skipped frames, in rising order."""
        if self.skipped and sum(self.skipped[-1]) == first:
            self.skipped[-1][1] += count
        else:
            self.skipped.append([first, count])

    def skipped_frames(self) -> Iterable[int]:
        """Return the numbers of the skipped frames."""
        return (number for first, count in self.skipped for number in range(first, first + count))

    def cut(self, frames: int) -> None:
        """Drop everything after a number of frames: they will be appended again."""
        self.frames = min(self.frames, frames)
        self.skipped = [
            [first, min(count, frames - first)] for first, count in self.skipped if first < frames
        ]
        self.times = self.times[:frames]

    def fit(self, steps: int, per_step: int) -> None:
        """Count the frames of an array that `append` or `resize` changed after the stream was closed.

        Appended steps count as frames, so that a new stream does not write over them. Frames that were still to come in
        the last step of the stream count as skipped.
        """
        self.cut(steps * per_step)
        recorded_steps = -(-self.frames // per_step)
        if steps > recorded_steps:
            missing = recorded_steps * per_step - self.frames
            if missing:
                self.skip(self.frames, missing)
            self.frames = steps * per_step


def without_channel(attributes: JSONObject, number: int) -> JSONObject:
    """Return attributes of an array that loses a channel; the frames of a stream into this channel are not counted."""
    try:
        record = StreamRecord.of(attributes)
    except MetadataError:
        return attributes
    if record is None or record.channels is None:
        return attributes
    if number in record.channels:
        return without_own_records(attributes, (_STREAM,))
    record.channels = [channel - (channel > number) for channel in record.channels]
    return record.into(attributes)
