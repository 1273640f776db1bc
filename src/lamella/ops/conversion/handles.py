"""The base class of readers that use a library: open files of the library ("handles") are shared by images and threads.

A reader opens a handle, describes the images of the file, and reads a plane from a handle that no other thread uses
meanwhile. Up to ``HandleReader.handles`` handles of a file are open at a time; a thread waits for a free one.
"""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lamella.errors import LamellaError, MissingDependencyError, SourceError, one_line
from lamella.ops.conversion.reader import Container, Reader, check_description
from lamella.ops.conversion.source import COPY_AGAIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.ops.conversion.reader import OriginalMetadata
    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array


class HandleReader(Reader):
    """A reader that uses a library: it opens a handle, such as an open file of that library, and reads from it.

    A subclass has `open_handle`, `describe` and `read_plane`. `SampleReader` is for formats that decode several
    channels at once.

    Attributes
    ----------
    handles : int
        Maximum number of handles that are open at a time. No two threads use one handle at the same time; with 1,
        one thread reads at a time.
    """

    handles: ClassVar[int] = 8

    @abstractmethod
    def open_handle(self, path: str) -> Any:
        """Open the file with the library."""

    @abstractmethod
    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        """Describe the images of an open file, in their order. A truncated file must raise here, if possible."""

    @abstractmethod
    def read_plane(self, handle: Any, image: int, index: tuple[int, ...], rows: slice) -> Array | None:
        """Read rows of the plane of an image at an index along the axes before "yx"; None for a missing plane."""

    def read_planes(
        self, handle: Any, image: int, indices: Sequence[tuple[int, ...]], rows: slice
    ) -> list[Array | None]:
        """Read the same rows of planes that differ along "c" only: for formats that decode them together."""
        return [self.read_plane(handle, image, index, rows) for index in indices]

    def read_into(self, handle: Any, image: int, index: tuple[int, ...], rows: slice, out: Array) -> bool:
        """Fill an array with rows of a plane as they are in the file: for formats that can read without a copy.

        Return False, and read nothing, for rows that must be decoded or are missing: `read_plane` then reads them.
        """
        return False

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        """Return the metadata as the file states them."""
        return ()

    def close_handle(self, handle: Any) -> None:
        """Close a handle."""
        handle.close()

    def open(self, path: str) -> Container:
        """Describe the images of a file: see `Reader.open`."""
        self.require()
        file = SharedFile(self, path)
        try:
            with file.handle() as handle:
                descriptions = list(self.describe(handle, path))
                original = self.original(handle)
        finally:
            file.close()
        if not descriptions:
            raise SourceError(
                f"{path} is a file of {self.title} without any image. If it should have one, copy it again."
            )
        for description in descriptions:
            check_description(path, description)
        return _FileContainer(file, [_with_units(description) for description in descriptions], original)

    def open_what_is_there(self, path: str) -> Container:
        """Open a complete file; the error for another file says that ``--take-what-is-there`` cannot help."""
        try:
            return self.open(path)
        except SourceError as error:
            raise SourceError(
                f"{error} Passing --take-what-is-there cannot help: {self.title} is read only from complete files."
            ) from error


class SampleReader(HandleReader):
    """A reader whose library decodes several channels at once; its descriptions set ``channels_together``."""

    @abstractmethod
    def read_planes(
        self, handle: Any, image: int, indices: Sequence[tuple[int, ...]], rows: slice
    ) -> list[Array | None]:
        """Read the same rows of planes that differ along "c" only."""

    def read_plane(self, handle: Any, image: int, index: tuple[int, ...], rows: slice) -> Array | None:
        """Read rows of one plane."""
        return self.read_planes(handle, image, [index], rows)[0]


UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}
"""Units of axes whose files state none."""


def _with_units(description: ImageDescription) -> ImageDescription:
    """Return a description without units of unknown scales, and with usual units where the file has none.

    A unit without a scale would mean a scale of 1, but for axes of length 1.
    """
    units = {
        axis: description.units.get(axis) or (None if axis in description.scale else unit)
        for axis, unit in UNITS.items()
        if axis in description.scale or (axis in description.axes and description.length(axis) == 1)
    }
    return replace(description, units=units)


class SharedFile:
    """The handles of one file, for all its images and threads; pickling drops them.

    They are closed when every image that has read from them is closed, unless ``keeps_open``; a later read opens new
    ones.
    """

    def __init__(self, reader: HandleReader, path: str) -> None:
        self.reader = reader
        self.path = path
        self._reset()

    def _reset(self) -> None:
        self._free_handles = threading.BoundedSemaphore(self.reader.handles)
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        self._reading_images: set[object] = set()
        self._close_count = 0
        self.keeps_open = False

    def __getstate__(self) -> tuple[HandleReader, str]:
        return self.reader, self.path

    def __setstate__(self, state: tuple[HandleReader, str]) -> None:
        self.reader, self.path = state
        self._reset()

    @contextmanager
    def handle(self, image: object = None) -> Iterator[Any]:
        """Yield a handle that no other thread uses; raise SourceError, in one line, for every error of the library."""
        with self._free_handles, source_errors(self.reader, self.path):
            with self._lock:
                self._reading_images.add(image)
                handle = self._idle.pop() if self._idle else None
                close_count = self._close_count
            if handle is None:
                handle = self.reader.open_handle(self.path)
            try:
                yield handle
            except BaseException:
                with suppress(Exception):  # the first error is the one to report
                    self.reader.close_handle(handle)
                raise
            with self._lock:
                was_closed = close_count != self._close_count
                if not was_closed:
                    self._idle.append(handle)
            if was_closed:
                self.reader.close_handle(handle)

    def release(self, image: object) -> None:
        """Close the handles if no other image has read since it was closed."""
        with self._lock:
            self._reading_images.discard(image)
            if self._reading_images or self.keeps_open:
                return
        self.close()

    def close(self) -> None:
        """Close idle handles at once, and those in use after their read."""
        with self._lock:
            idle, self._idle = self._idle, []
            self.keeps_open = False
            self._reading_images.clear()
            self._close_count += 1
        for handle in idle:
            self.reader.close_handle(handle)


class HandleSource:
    """One image of a file that a `HandleReader` reads."""

    def __init__(self, file: SharedFile, number: int, description: ImageDescription) -> None:
        self._file = file
        self._number = number
        self.description = description

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.description.shape))
        return f"<{type(self).__name__} {self.description.name} {self.description.axes} {shape}>"

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Array | None:
        """Read one plane, or some rows of it: see `PlaneSource.read_plane`."""
        rows = slice(0, self.description.plane_shape[0]) if rows is None else rows
        return self.read_planes([index], rows)[0]

    def read_planes(self, indices: Sequence[tuple[int, ...]], rows: slice) -> list[Array | None]:
        """Read planes that differ in their channel from one handle: see `SampleSource.read_planes`."""
        reader = self._file.reader
        with self._file.handle(self._number) as handle:
            if len(indices) > 1:
                planes = reader.read_planes(handle, self._number, indices, rows)
            else:
                planes = [reader.read_plane(handle, self._number, indices[0], rows)]
            # The library may return a view of memory that belongs to the handle.
            copies = [None if plane is None else np.array(plane) for plane in planes]
        for index, pixels in zip(indices, copies, strict=True):
            if pixels is not None:
                self._check(index, rows, pixels)
        return copies

    def read_into(self, index: tuple[int, ...], rows: slice, out: Array) -> bool:
        """Read rows of one plane into an array: see `DirectSource.read_into`."""
        reader = self._file.reader
        with self._file.handle(self._number) as handle:
            if reader.read_into(handle, self._number, index, rows, out):
                return True
            pixels = reader.read_plane(handle, self._number, index, rows)
            if pixels is not None:
                self._check(index, rows, pixels)
                out[...] = pixels
        return pixels is not None

    def _check(self, index: tuple[int, ...], rows: slice, pixels: Array) -> None:
        expected = (rows.stop - rows.start, self.description.plane_shape[1]), self.description.dtype
        actual = pixels.shape, pixels.dtype.newbyteorder("=")
        if actual != expected:
            raise SourceError(
                f"{self._file.path} is damaged: rows {rows.start} to {rows.stop} of plane {index} have the shape "
                f"{actual[0]} and type {actual[1]}, not {expected[0]} and {expected[1]}. {COPY_AGAIN}"
            )

    def close(self) -> None:
        """Close the file, unless other images of it are being read; a later read opens it again."""
        self._file.release(self._number)


class _FileContainer(Container):
    """The images of one `SharedFile`."""

    def __init__(
        self, file: SharedFile, descriptions: Sequence[ImageDescription], original: Sequence[OriginalMetadata]
    ) -> None:
        super().__init__(
            [HandleSource(file, number, description) for number, description in enumerate(descriptions)],
            original,
        )
        self._file = file

    def keep_open(self) -> None:
        """Keep the handles open until `close`: one image after the other then reads from them."""
        self._file.keeps_open = True

    def close(self) -> None:
        self._file.close()


@contextmanager
def source_errors(reader: Reader, path: str) -> Iterator[None]:
    """Raise SourceError with one line for any error of a library: damaged files cause errors of all types."""
    try:
        yield
    except (LamellaError, MemoryError):
        raise
    except ImportError as error:  # a library loads some codecs only when a file needs them
        raise MissingDependencyError(
            f"{path} cannot be read as {reader.title}: {one_line(error)}. Install what is missing."
        ) from error
    except NotImplementedError as error:
        raise SourceError(
            f"{path} cannot be read as {reader.title}: its library does not support what it has ({one_line(error)})."
        ) from error
    except OSError as error:
        if not os.path.exists(path) or error.strerror:
            raise SourceError(f"{path} cannot be read: {error.strerror or 'it does not exist'}.") from error
        raise _damaged(reader, path, error) from error
    except Exception as error:
        raise _damaged(reader, path, error) from error


def _damaged(reader: Reader, path: str, error: Exception) -> SourceError:
    reason = one_line(error)[:160]
    return SourceError(
        f"{path} cannot be read as {reader.title}: it is damaged or incomplete ({reason}). {COPY_AGAIN}"
    )
