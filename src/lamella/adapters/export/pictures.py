"""Write pictures of an image in colour: a PNG of one plane, a GIF or MP4 over time or z."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from dataclasses import replace
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.page import pillow, resized
from lamella.errors import InvalidArgumentError, MissingDependencyError, StorageError
from lamella.ops.display.planes import PlaneAxes
from lamella.ops.display.preview import (
    all_channels,
    channel_planes,
    choose_channels,
    drawn_colors,
    field_picture,
    plane_of,
)
from lamella.ops.display.render import auto_window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from lamella.nodes.position import Position
    from lamella.ops.display.preview import PreviewOptions

    Done = Callable[[float], None]

FORMATS = ("png", "gif", "mp4")
_MAX_SIDE = 16384
_FRAMES_PER_SECOND = 10
_REPEAT = b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
"""Extension of a GIF: repeat without an end."""


class Frames:
    """The pictures of an image as RGB of uint8 (Y, X, 3): one if ``still``, else one for each t, or else each z."""

    def __init__(self, position: Position, options: PreviewOptions, *, still: bool) -> None:
        self.position = position
        axes, shape = PlaneAxes.of(position.axes, position.data.ndim), position.data.shape
        candidates = {"t": axes.time, "z": None if options.z is not None else axes.z}
        moving = [name for name, axis in candidates.items() if axis is not None and shape[axis] > 1]
        if options.t is not None and "t" in moving:
            moving.remove("t")
        self._side = max(plane_of(position, options, 1).shape)
        if self._side > _MAX_SIDE:
            raise InvalidArgumentError(
                f"A picture has at most {_MAX_SIDE} pixels along a side, and this one {self._side}: choose a lower "
                "level or a region."
            )
        self._options = [options]
        if not still and moving:
            axis = candidates[moving[0]]
            assert axis is not None
            self._options = [replace(options, **{moving[0]: index}) for index in range(shape[axis])]  # type: ignore[arg-type]
        channels = choose_channels(all_channels(position), options.channels, str(position.node_path))
        self._drawn = drawn_colors(channels)

    def __len__(self) -> int:
        return len(self._options)

    @property
    def images(self) -> list[Position]:
        """The image, and the label image over it."""
        label = self._options[0].label
        return [self.position, *([] if label is None else [self.position.labels[label]])]

    @property
    def settings(self) -> list[Any]:
        """Everything that the pictures depend on, except pixels."""
        return [repr(self._options), repr(self._drawn)]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        channels = self._channels()
        for options in self._options:
            yield resized(field_picture(self.position, channels, options, self._side), self._side)

    def _channels(self) -> list[Any]:
        """Return the channels with windows for all frames; a missing one is computed from the middle frame."""
        middle = self._options[len(self._options) // 2]
        names = [channel.name for channel in self._drawn]
        planes = channel_planes(self.position, names, middle, self._side)
        return [
            replace(channel, window=channel.window or auto_window(planes[channel.name]))
            for channel in self._drawn
        ]


def write_png(frames: Frames, file: IO[bytes], done: Done) -> None:
    """Write the first frame as a PNG."""
    pillow()[0].fromarray(next(iter(frames))).save(file, format="PNG", optimize=True)
    done(1)


def write_gif(frames: Frames, file: IO[bytes], done: Done) -> None:
    """Write all frames as a GIF that repeats, each with its own 256 colours.

    Pillow's own writer of animations keeps all frames in memory, so its GIFs of one frame are joined here.
    """
    image = pillow()[0]
    from PIL import GifImagePlugin

    for number, frame in enumerate(frames):
        picture = image.fromarray(frame).convert("P", palette=image.Palette.ADAPTIVE)
        if number == 0:
            file.write(b"GIF89a" + struct.pack("<HHBBB", *picture.size, 0, 0, 0) + _REPEAT)
        duration = 1000 // _FRAMES_PER_SECOND
        for block in GifImagePlugin.getdata(picture, duration=duration, include_color_table=True):
            file.write(block)
        done(1)
    file.write(b";")


def write_mp4(frames: Frames, file: IO[bytes], done: Done) -> None:
    """Write all frames as an MP4 (H.264) by ffmpeg, which gets one frame at a time."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise MissingDependencyError(
            "An MP4 needs ffmpeg, which is not on the PATH. Install it, or write a GIF."
        )
    pictures = iter(frames)
    first = next(pictures)
    height, width = (length // 2 * 2 or 2 for length in first.shape[:2])  # the codec needs even lengths
    arguments = [
        *(program, "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{width}x{height}", "-r", str(_FRAMES_PER_SECOND), "-i", "-"),
        *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "mp4", file.name),
    ]
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stderr=messages, stdout=subprocess.DEVNULL
        )
        assert process.stdin is not None
        try:
            for frame in chain([first], pictures):
                process.stdin.write(_even_sized(frame, height, width))
                done(1)
        except BrokenPipeError:
            pass  # ffmpeg ended, and its message is raised below
        finally:
            process.communicate()
        if process.returncode:
            messages.seek(0)
            text = messages.read().decode(errors="replace").strip()
            raise StorageError(f"Cannot write {file.name}: ffmpeg ended with {text or process.returncode}.")


def _even_sized(frame: NDArray[np.uint8], height: int, width: int) -> bytes:
    """Return the bytes of a frame cropped to even lengths, or padded if it has one row or column."""
    padding = [
        (0, max(0, length - actual)) for length, actual in zip((height, width), frame.shape[:2], strict=True)
    ]
    return np.pad(frame, [*padding, (0, 0)])[:height, :width].tobytes()


WRITERS = {"png": write_png, "gif": write_gif, "mp4": write_mp4}
