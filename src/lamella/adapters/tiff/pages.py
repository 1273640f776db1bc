"""Read rows of planes of a TIFF page, by decoding only the strips and tiles that contain these rows.

``shaped`` of tifffile's pages is (separate samples, depth, rows, columns, samples of each pixel): (1, 1, 512, 512, 3)
for a colour image whose pixels are stored as red, green, blue.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import MissingDependencyError, SourceError
from lamella.ops.conversion.source import COPY_AGAIN
from lamella.ops.last_used import LastUsed
from lamella.store.files.file_system import READ, read_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.types import Array

_OPEN_FILES = 8
"""Maximum number of open files of a source: a plate of thousands of files must not exhaust the file descriptors."""

_JPEG = {6, 7, 34892, 33007}
"""Compressions whose strips and tiles share tables that are stored once per page."""


@dataclass(frozen=True)
class PageBytes:
    """The location of the bytes of one page: offset and size of each strip or tile, or of all raw pixels."""

    file: str
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    frame: Any
    """The page of tifffile whose decoder reads the bytes; pages of one layout share it."""
    tables: bytes | None = None
    """JPEG tables."""

    @property
    def end(self) -> int:
        """Offset behind the last byte of the page."""
        return max(
            (offset + count for offset, count in zip(self.offsets, self.counts, strict=True)), default=0
        )


def list_pages(series: Any, *, is_partial: bool = False) -> list[PageBytes | None]:
    """Return the pages of a series; None for missing ones, and with ``is_partial`` for those that the file lacks."""
    pages = _listed_pages(series)
    if not is_partial:
        return pages
    sizes = {page.file: os.path.getsize(page.file) for page in pages if page is not None}
    complete = [page if page is not None and page.end <= sizes[page.file] else None for page in pages]
    return complete + [None] * (page_count(series) - len(complete))


def _listed_pages(series: Any) -> list[PageBytes | None]:
    frame = series.keyframe
    if series.dataoffset is not None and frame.is_final:
        # The pixels of all pages are one run of bytes. ImageJ lists only the first page of stacks beyond 4 GiB.
        path, size = _path(frame), frame.nbytes
        count = page_count(series)
        return [
            PageBytes(path, (series.dataoffset + number * size,), (size,), frame) for number in range(count)
        ]
    return [None if page is None else _page_bytes(page, frame) for page in series]


def page_count(series: Any) -> int:
    """Return the number of pages that the shape of a series needs; the file may have fewer or more."""
    return prod(map(int, series.shape)) // prod(map(int, series.keyframe.shape))


def _page_bytes(page: Any, first_frame: Any) -> PageBytes:
    """Return the location of a page; raise SourceError if its shape or type is not that of the first."""
    frame = page.keyframe
    if frame is not first_frame and (frame.shaped, frame.dtype) != (first_frame.shaped, first_frame.dtype):
        raise SourceError(
            f"{_path(page)} has pages of shape {frame.shape} and type {frame.dtype}, but other pages of its image have "
            f"{first_frame.shape} and {first_frame.dtype}: an image must have one shape and one type. Check whether "
            "the file was replaced by another one of this name."
        )
    if frame.is_final:
        return PageBytes(_path(page), (int(page.dataoffsets[0]),), (int(frame.nbytes),), frame)
    tables = page.jpegtables if frame.compression in _JPEG else None
    segments = [
        (int(offset), int(count))
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    ]
    offsets = tuple(offset for offset, _ in segments)
    return PageBytes(_path(page), offsets, tuple(count for _, count in segments), frame, tables)


def _path(page: Any) -> str:
    return str(page.parent.filehandle.path)


def check_sizes(pages: Sequence[PageBytes | None]) -> None:
    """Raise SourceError for pages with bytes beyond the end of their file."""
    needed: dict[str, int] = {}
    for page in pages:
        if page is not None:
            needed[page.file] = max(needed.get(page.file, 0), page.end)
    for file, end in needed.items():
        size = os.path.getsize(file)
        if end > size:
            raise SourceError(
                f"{file} is truncated: its pixels need {end} bytes, the file has {size}. {COPY_AGAIN}"
            )


class FilePool:
    """The open files of one source, shared by threads; the least recently used ones are closed first."""

    def __init__(self) -> None:
        self._files: LastUsed[str, _OpenFile] = LastUsed(_OPEN_FILES)

    def read(self, path: str, offset: int, count: int) -> bytes:
        """Read bytes of a file; raise SourceError for a file that cannot be opened or ends early."""
        with self._report_errors(path):
            data = self._open_file(path).read(offset, count)
        _check_length(path, offset, count, len(data))
        return data

    def read_into(self, path: str, offset: int, out: Array) -> None:
        """Fill a contiguous array with bytes of a file; raise SourceError as `read` does."""
        with self._report_errors(path):
            count = self._open_file(path).read_into(offset, out)
        _check_length(path, offset, out.nbytes, count)

    @contextmanager
    def _report_errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from error

    def _open_file(self, path: str) -> _OpenFile:
        return self._files.get_or_make(path, lambda: _OpenFile(path))

    def close(self) -> None:
        """Close all files, each as soon as no thread reads it."""
        self._files.clear()


def _check_length(path: str, offset: int, count: int, actual: int) -> None:
    if actual < count:
        raise SourceError(
            f"{path} is truncated: wanted {count} bytes at offset {offset}, found {actual}. {COPY_AGAIN}"
        )


class _OpenFile:
    """A file that several threads read at once; closed when no thread refers to it."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, READ)

    def read(self, offset: int, count: int) -> bytes:
        """Read bytes; fewer at the end of the file."""
        return read_at(self._file, offset, count)

    def read_into(self, offset: int, out: Array) -> int:
        """Fill a contiguous array; return the number of bytes read."""
        memory, done = out.reshape(-1).view(np.uint8).data, 0
        while done < len(memory):
            count = os.preadv(self._file, [memory[done:]], offset + done)
            if not count:
                break
            done += count
        return done

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


@dataclass(frozen=True)
class PlaneInPage:
    """The number of a plane in a page with several planes: its sample (red is 0) and its depth (z)."""

    sample: int = 0
    depth: int = 0


def read_samples(page: PageBytes, planes: Sequence[PlaneInPage], rows: slice, files: FilePool) -> list[Array]:
    """Return some rows of planes of a page that differ in their sample only, as (y, x) in native byte order.

    Strips and tiles are decoded once for all planes.
    """
    if page.frame.shaped[0] > 1 and len(planes) > 1:  # each sample has its own bytes
        return [read_samples(page, [plane], rows, files)[0] for plane in planes]
    try:
        if page.frame.is_final:
            return _raw_rows(page, planes, rows, files)
        return _decoded_rows(page, planes, rows, files)
    except (SourceError, MemoryError):
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"{page.file} cannot be decoded: {_first_line(error)}. Install what is missing."
        ) from error
    except Exception as error:  # codecs raise any error, without the name of the file
        raise SourceError(
            f"{page.file} is damaged: a strip or tile cannot be decoded ({_first_line(error)}). {COPY_AGAIN}"
        ) from error


def read_raw_into(page: PageBytes, plane: PlaneInPage, rows: slice, files: FilePool, out: Array) -> bool:
    """Read rows of a page into an array; return False, and read nothing, if pixels must be decoded or converted."""
    frame = page.frame
    if not (frame.is_final and hasattr(os, "preadv") and out.flags.c_contiguous):
        return False
    _, _, _, width, samples = frame.shaped
    shape = rows.stop - rows.start, width
    needs_no_conversion = out.dtype == _stored_dtype(frame) and out.shape == shape and samples == 1
    if needs_no_conversion:
        files.read_into(page.file, _offset(page, plane, rows), out)
    return needs_no_conversion


def _stored_dtype(frame: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = frame.dtype.newbyteorder(frame.parent.byteorder)
    return dtype


def _offset(page: PageBytes, plane: PlaneInPage, rows: slice) -> int:
    """Return the offset in the file of rows of a plane, for a page with raw pixels."""
    separate, depth, length, width, samples = page.frame.shaped
    sample = plane.sample if separate > 1 else 0
    first_row = (sample * depth + plane.depth) * length + rows.start
    return page.offsets[0] + int(first_row * width * samples) * int(page.frame.dtype.itemsize)


def _raw_rows(page: PageBytes, planes: Sequence[PlaneInPage], rows: slice, files: FilePool) -> list[Array]:
    frame = page.frame
    separate, _, _, width, samples = frame.shaped
    dtype = _stored_dtype(frame)
    count = (rows.stop - rows.start) * width * samples
    data = files.read(page.file, _offset(page, planes[0], rows), count * dtype.itemsize)
    pixels = np.frombuffer(data, dtype=dtype).reshape(rows.stop - rows.start, width, samples)
    return [
        pixels[:, :, plane.sample if separate == 1 else 0].astype(frame.dtype, copy=False) for plane in planes
    ]


def _decoded_rows(
    page: PageBytes, planes: Sequence[PlaneInPage], rows: slice, files: FilePool
) -> list[Array]:
    """Return rows of a page of compressed, tiled or packed pixels, from the strips and tiles with these rows."""
    frame = page.frame
    separate, _, length, width, _ = frame.shaped
    options: dict[str, Any] = {"_fullsize": False}
    if frame.compression in _JPEG:
        options |= {"jpegtables": page.tables, "jpegheader": frame.jpegheader}
    outputs = [np.full((rows.stop - rows.start, width), frame.nodata, dtype=frame.dtype) for _ in planes]
    for number in _segments(page, planes[0], rows):
        if number >= len(page.offsets):
            raise SourceError(
                f"{page.file} is damaged: it lists {len(page.offsets)} strips or tiles where its size needs more. "
                f"{COPY_AGAIN}"
            )
        # A tile of a sparse file has no offset or no bytes if it is background.
        is_missing = not page.offsets[number] or not page.counts[number]
        data = None if is_missing else files.read(page.file, page.offsets[number], page.counts[number])
        segment, (_, first_depth, y, x, _), _ = frame.decode(data, number, **options)
        if segment is None:
            continue
        for plane, output in zip(planes, outputs, strict=True):
            sample = plane.sample if separate == 1 else 0
            block = segment[plane.depth - first_depth, : length - y, : width - x, sample]
            top, bottom = max(rows.start, y), min(rows.stop, y + block.shape[0])
            output[top - rows.start : bottom - rows.start, x : x + block.shape[1]] = block[
                top - y : bottom - y
            ]
    return outputs


def _segments(page: PageBytes, plane: PlaneInPage, rows: slice) -> Iterator[int]:
    """Yield the numbers of the strips or tiles that contain some rows of a plane."""
    frame = page.frame
    separate, depth, length, width, _ = frame.shaped
    # A layer is what the strips or tiles are numbered in: one sample (if stored separately) at one or several depths.
    layer = plane.sample if separate > 1 else 0
    if frame.is_tiled:
        height, columns = frame.tilelength, -(-width // frame.tilewidth)
        per_layer = -(-depth // frame.tiledepth)
        layer = layer * per_layer + plane.depth // frame.tiledepth
    else:
        height, columns = frame.rowsperstrip, 1
        layer = layer * depth + plane.depth
    rows_per_layer = -(-length // height)
    for row in range(rows.start // height, -(-rows.stop // height)):
        start = (layer * rows_per_layer + row) * columns
        yield from range(start, start + columns)


def _first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its class for an empty text."""
    text = str(error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__
