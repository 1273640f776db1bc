"""TIFF files as sources of planes: OME-TIFF, ImageJ TIFF, plain and multipage TIFF, BigTIFF.

Here: the images of a file and `TiffSource`, which reads their planes. Pixels are those of the file: colour palettes
and gamma are not applied, YCbCr JPEG is decoded to RGB. Of a pyramid only the finest level is read.
Not here: the rules for axes (``tiff_axes``), metadata (``tiff_ome``, ``tiff_imagej``), decoding (``tiff_pages``).

Layer: adapters. Needs the extra ``tiff`` (tifffile and imagecodecs).
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.tiff_axes import AxisPlan, plan_axes
from lamella.adapters.tiff_cache import PAGES
from lamella.adapters.tiff_completeness import check_promises
from lamella.adapters.tiff_file import open_file
from lamella.adapters.tiff_imagej import read_imagej
from lamella.adapters.tiff_metadata import TiffMetadata
from lamella.adapters.tiff_ome import ome_root, read_ome
from lamella.adapters.tiff_pages import (
    FilePool,
    PageBytes,
    PlaneInPage,
    check_sizes,
    list_pages,
    read_samples,
)
from lamella.adapters.tiff_resolution import read_resolution
from lamella.adapters.tiff_samples import display_notes, is_rgb, merge_channels
from lamella.errors import SourceError, counted
from lamella.ops.conversion.source import ImageDescription
from lamella.store.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.types import Array, Shape, StrPath


def open_tiff(path: StrPath) -> list[TiffSource]:
    """Describe the images of a TIFF file; no pixels are read and the file is closed again.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    list of TiffSource
        One for each image (series) of the file, in its order.

    Raises
    ------
    SourceError
        The file is no TIFF, is damaged or truncated, or has axes or pixels that no image can have.
    MissingDependencyError
        ``tifffile`` is not installed.

    Examples
    --------
    >>> import numpy as np, tempfile, tifffile
    >>> path = tempfile.mkdtemp() + "/stack.tif"
    >>> tifffile.imwrite(path, np.zeros((5, 16, 16), np.uint16), imagej=True, metadata={"axes": "ZYX"})
    >>> source, = open_tiff(path)
    >>> source.description.axes, source.description.shape
    ('zyx', (5, 16, 16))
    """
    name = local_path(path, "a file to convert")
    with open_file(name) as file:
        check_promises(name, file)
        metadata = _metadata_of_series(file)
        pages = [list_pages(series) for series in file.series]
        described = [
            _describe(name, file, number, metadata[number], pages[number])
            for number in range(len(file.series))
        ]
        if len(pages) > 1:
            PAGES.put(name, _with_decoders(pages))
    return [TiffSource(*each) for each in described]


class TiffSource:
    """One image of a TIFF file (or of the files of one multi-file OME-TIFF).

    Made by `open_tiff`. The file is opened when the first plane is read, and stays open until `close`; several threads
    may read. Pickles without its open files.
    """

    def __init__(self, description: ImageDescription, layout: SeriesLayout) -> None:
        self._description = description
        self._layout = layout
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._files = FilePool()
        self._pages: list[PageBytes | None] | None = None

    def __getstate__(self) -> tuple[ImageDescription, SeriesLayout]:
        return self._description, self._layout

    def __setstate__(self, state: tuple[ImageDescription, SeriesLayout]) -> None:
        self._description, self._layout = state
        self._reset()

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self._description.shape))
        return f"<TiffSource {self._description.name} {self._description.axes} {shape} {self._description.dtype}>"

    @property
    def description(self) -> ImageDescription:
        """What the image is."""
        return self._description

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Array | None:
        """Read one plane, or some rows of it: see `PlaneSource.read_plane`."""
        if rows is None:
            rows = slice(0, self._description.plane_shape[0])
        number, plane = self._layout.find(index)
        page = self._load_pages()[number]
        return None if page is None else read_samples(page, [plane], rows, self._files)[0]

    def read_planes(self, indices: Sequence[tuple[int, ...]], rows: slice) -> list[Array | None]:
        """Read planes that differ in their channel, decoded once where they are samples: see `SampleSource`."""
        found = [self._layout.find(index) for index in indices]
        numbers = {number for number, _ in found}
        if len(numbers) > 1 or len({plane.depth for _, plane in found}) > 1:
            return [self.read_plane(index, rows) for index in indices]
        page = self._load_pages()[numbers.pop()]
        if page is None:
            return [None] * len(indices)
        return list(read_samples(page, [plane for _, plane in found], rows, self._files))

    def close(self) -> None:
        """Close the files of the source; a later read opens them again."""
        self._files.close()
        with self._lock:
            self._pages = None  # thousands of sources would fill the memory with their lists of pages

    def _load_pages(self) -> list[PageBytes | None]:
        path, number = self._layout.path, self._layout.series
        with self._lock:
            if self._pages is None and self._layout.is_shared:
                self._pages = PAGES.get(path, lambda: _parse_pages(path))[number]
            elif self._pages is None:
                self._pages = _parse_pages(path)[number]
            return self._pages


def _parse_pages(path: str) -> list[list[PageBytes | None]]:
    """List the pages of each image of a file."""
    with open_file(path) as file:
        return _with_decoders([list_pages(series) for series in file.series])


def _with_decoders(images: list[list[PageBytes | None]]) -> list[list[PageBytes | None]]:
    """Build the decoders of pages, which is done on first use and, as tifffile says, is not safe in threads."""
    for pages in images:
        for page in pages:
            if page is not None and not page.frame.is_final:
                page.frame.decode  # noqa: B018
    return images


@dataclass(frozen=True)
class SeriesLayout:
    """How the planes of an image lie in the pages of a file.

    Attributes
    ----------
    path : str
        The file that describes the image.
    series : int
        Number of the image in the file.
    plan : AxisPlan
        Which axes of the file make up those of the image.
    outer : tuple of int
        Lengths of the axes of the file that count pages.
    page_axes : str
        Letters of the axes within a page.
    is_shared : bool
        Whether the file holds several images, whose pages are then remembered together.
    """

    path: str
    series: int
    plan: AxisPlan
    outer: Shape
    page_axes: str
    is_shared: bool

    def find(self, index: tuple[int, ...]) -> tuple[int, PlaneInPage]:
        """Find the page that holds a plane, and which of the page's planes it is."""
        place = self.plan.place(index)
        number = 0
        for length, at in zip(self.outer, place, strict=False):
            number = number * length + at
        inner = dict(zip(self.page_axes, place[len(self.outer) :], strict=True))
        return number, PlaneInPage(sample=inner.get("S", 0), depth=inner.get("Z", 0))


def _describe(
    path: str, file: Any, number: int, metadata: TiffMetadata, pages: list[PageBytes | None]
) -> tuple[ImageDescription, SeriesLayout]:
    """Describe one series of an open file, after a check that its pixels are there."""
    series = file.series[number]
    where = path if len(file.series) == 1 else f"{path} (image {number})"
    if series.dtype is None or series.dtype.kind not in "buif":
        raise SourceError(f"{where} has pixels of type {series.dtype}, which are no intensities or labels")
    plan = _plan(series, where)
    page_axes = series.keyframe.axes
    outer = len(series.axes) - len(page_axes)
    if not series.axes.endswith(page_axes) or not set(page_axes) <= set("SZYX"):
        raise SourceError(
            f"{where} stores {series.axes} in pages of {page_axes}: only pages of planes "
            "(YX, with samples S or depth Z) can be read one at a time"
        )
    layout = SeriesLayout(path, number, plan, plan.file_shape[:outer], page_axes, len(file.series) > 1)
    if len(pages) < math.prod(layout.outer):
        raise SourceError(
            f"{where} is damaged or incomplete: its shape {plan.file_shape} ({series.axes}) needs "
            f"{math.prod(layout.outer)} pages, it has {len(pages)}"
        )
    check_sizes(pages)
    lacking = sum(page is None for page in pages)
    notes = (*metadata.notes, *plan.notes)
    if lacking:
        words = "is missing and was" if lacking == 1 else "are missing and were"
        notes = (*notes, f"{lacking} of its {counted(len(pages), 'plane')} {words} written as zeros")
    notes = (*notes, *display_notes(series.keyframe))
    description = ImageDescription(
        name=os.path.basename(path),
        files=tuple(sorted({page.file for page in pages if page is not None})),
        axes=plan.axes,
        shape=plan.shape,
        dtype=np.dtype(series.dtype).newbyteorder("="),
        scale=metadata.scale,
        units=metadata.units,
        channels=merge_channels(metadata.channels, series.keyframe, _length(plan, "c")),
        notes=notes,
        title=series.name if series.kind == "ome" else "",
        well=metadata.well,
        band_rows=_band_rows(series.keyframe),
        channels_together=_channels_together(series.keyframe),
        is_rgb=is_rgb(series.keyframe),
    )
    return description, layout


def _plan(series: Any, where: str) -> AxisPlan:
    # NDTiff and OME-TIFF name every axis, so one that tifffile calls "other" is not without a name there.
    return plan_axes(
        series.axes, tuple(int(n) for n in series.shape), where, named=series.kind in ("ndtiff", "ome")
    )


def _length(plan: AxisPlan, axis: str) -> int:
    return plan.shape[plan.axes.index(axis)] if axis in plan.axes else 1


def _band_rows(page: Any) -> int:
    """Rows of a page that are decoded together."""
    if page.is_final:
        return 1
    return int(page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength))


def _channels_together(page: Any) -> int:
    """How many samples of a page are decoded together."""
    separate, samples = page.shaped[0], page.shaped[4]
    return int(samples) if separate == 1 else 1


def _metadata_of_series(file: Any) -> list[TiffMetadata]:
    """Metadata of each series of an open file, from the richest dialect that it is written in."""
    count = len(file.series)
    first = file.pages.first
    if file.is_ome and file.ome_metadata:
        images = read_ome(ome_root(file))
        if len(images) == count and all(series.kind == "ome" for series in file.series):
            return _with_unused_pages(images, file, "its OME-XML describes")
        note = "its OME-XML does not describe its pages and was not used"
        return [TiffMetadata(notes=(note,))] * count
    if file.is_imagej and file.imagej_metadata and count == 1:
        plan = _plan(file.series[0], str(file.filehandle.path))
        image = read_imagej(file.imagej_metadata, first.tags, plan)
        return _with_unused_pages([image], file, "its ImageJ metadata describe")
    return [read_resolution(series.keyframe.tags) for series in file.series]


def _with_unused_pages(images: list[TiffMetadata], file: Any, by: str) -> list[TiffMetadata]:
    """Add a note to the first image where the file has pages that belong to none of its images."""
    own = {
        page.offset for series in file.series for page in series if page is not None and page.parent is file
    }
    unused = len(file.pages) - len(own)
    if unused <= 0:
        return images
    pages = "1 page was" if unused == 1 else f"{unused} pages were"
    note = f"{pages} left out, which come in addition to those that {by}"
    return [replace(images[0], notes=(*images[0].notes, note)), *images[1:]]
