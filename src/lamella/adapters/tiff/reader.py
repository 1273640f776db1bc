"""Read TIFF files as sources of planes. Needs the extra ``tiff`` (tifffile and imagecodecs).

Colour palettes and gamma are not applied, YCbCr JPEG is decoded to RGB. Of a pyramid only the finest level is read.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.formats import ENDINGS
from lamella.adapters.tiff.axes import AxisPlan, plan_axes
from lamella.adapters.tiff.companion import COMPANION_ENDING
from lamella.adapters.tiff.completeness import check_complete, missing_parts
from lamella.adapters.tiff.file import open_file
from lamella.adapters.tiff.metadata import TiffMetadata, read_resolution
from lamella.adapters.tiff.micromanager import (
    MICROMANAGER_KINDS,
    FixedAxes,
    list_images,
    page_numbers,
    read_micromanager,
    summary_json,
)
from lamella.adapters.tiff.ome import ome_root, read_ome
from lamella.adapters.tiff.pages import (
    FilePool,
    PageBytes,
    PlaneInPage,
    check_sizes,
    list_pages,
    page_count,
    read_raw_into,
    read_samples,
)
from lamella.adapters.tiff.samples import display_notes, is_rgb, merge_channels
from lamella.adapters.tiff.templates import (
    PAGES,
    FileKey,
    file_key,
    find_template,
    put_template,
    shared_frame,
)
from lamella.adapters.tiff.vendors import read_imagej, read_vendor, vendor_json
from lamella.errors import SourceError, counted
from lamella.ops.conversion.reader import Container, OriginalMetadata, Reader, list_names
from lamella.ops.conversion.source import COPY_AGAIN, ImageDescription, SourceChannel
from lamella.store.keys import natural_order
from lamella.store.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.types import Array, Shape, StrPath

_NDTIFF_INDEX = "NDTiff.index"

_MAGIC = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
"""First bytes of TIFF and BigTIFF, of both byte orders."""

_MAX_SEGMENTS = 64
"""Maximum number of strips and tiles of a file whose pages stay in memory while it is closed."""


def open_tiff(path: StrPath, *, keeps_pages: bool = False, is_partial: bool = False) -> Container:
    """Describe the images (series) of a TIFF file, in its order; no pixels are read and the file is closed again.

    A short list of pages (`_MAX_SEGMENTS`) stays in memory, so that reading does not parse the file again; with
    ``keeps_pages`` also a long list, until the source is closed. With ``is_partial`` a truncated file is opened too,
    and `read_plane` returns None for planes whose bytes it lacks. Raise SourceError for a file that is not TIFF, is
    damaged or truncated, or has unsupported axes or pixels.
    """
    local = local_path(path, "a file to convert")
    if not is_partial and (container := _describe_by_template(local)) is not None:
        return container
    key = file_key(local)
    damage: list[str] = []
    with open_file(local, is_partial=is_partial, damage=damage) as file:
        if not is_partial:
            check_complete(local, file)
        images = [
            (number, fixed)
            for number, series in enumerate(file.series)
            for fixed in list_images(series)
            if not _is_thumbnail(series)
        ]
        metadata = _read_metadata(file, images)
        if is_partial:
            missing = list(missing_parts(file)) or damage[:1]
            notes = tuple(f"it is incomplete: {part}" for part in missing)
            metadata[0] = replace(metadata[0], notes=(*metadata[0].notes, *notes))
        pages = [list_pages(series, is_partial=is_partial) for series in file.series]
        images_and_layouts = [
            _describe(local, file, image, own_metadata, pages[image[0]], len(images), is_partial)
            for image, own_metadata in zip(images, metadata, strict=True)
        ]
        if len(images) > 1:
            PAGES.put(key, _with_decoders(pages))
        elif keeps_pages:
            _with_decoders(pages)
        original_metadata, file_path = _original_metadata(file), str(file.filehandle.path)
        shared_pages = _with_shared_frames(pages[0], file_path) if len(images) == 1 else None
        if shared_pages is not None and not is_partial:
            put_template(key, file, *images_and_layouts[0], shared_pages, original_metadata)
    sources = [TiffSource(description, layout) for description, layout in images_and_layouts]
    if shared_pages is not None:
        sources[0].cache_pages(key, file_path, shared_pages)
    elif keeps_pages and len(images) == 1:
        sources[0].keep_pages_until_closed(pages[0])
    return Container(sources, original_metadata)


def _describe_by_template(path: str) -> Container | None:
    """Describe a file that differs only in its pixels from one that was parsed before; None if it must be parsed."""
    template_and_key = find_template(path)
    if template_and_key is None:
        return None
    template, key = template_and_key
    file_path = os.path.realpath(path)
    if file_path == path:
        file_path = path  # one text in memory, not two
    description = replace(template.description, name=os.path.basename(path), files=(file_path,))
    source = TiffSource(description, replace(template.layout, path=path))
    source.cache_pages(key, file_path, template.pages)
    return Container([source], template.original)


def _original_metadata(file: Any) -> list[OriginalMetadata]:
    """Return the OME-XML of a file, and the summary of Micro-Manager."""
    summary = summary_json(file) if any(series.kind in MICROMANAGER_KINDS for series in file.series) else ""
    texts = {"METADATA.ome.xml": file.is_ome and file.ome_metadata, "micromanager.json": summary}
    texts |= vendor_json(file)
    return [OriginalMetadata(name, text) for name, text in texts.items() if text]


class TiffReader(Reader):
    """TIFF of any kind."""

    name = "tiff"
    title = "TIFF, OME-TIFF, ImageJ TIFF"
    endings = ENDINGS["tiff"]
    extra = "tiff"
    libraries = ("tifffile", "imagecodecs")

    def recognises(self, head: bytes) -> bool:
        return head[:4] in _MAGIC

    def claims(self, path: str) -> bool:
        """Return whether a file has one of the endings, or is the index of an NDTiff, or a folder contains one."""
        return super().claims(path) or _first_ndtiff(path) is not None

    def open(self, path: str) -> Container:
        return open_tiff(_first_ndtiff(path) or path)

    def open_what_is_there(self, path: str) -> Container:
        return open_tiff(_first_ndtiff(path) or path, is_partial=True)


class CompanionReader(TiffReader):
    """A companion file, which describes a set of TIFF files beside it. Any of these opens the set by `TiffReader`."""

    name = "companion"
    title = "OME-TIFF with a companion file"
    endings = ENDINGS["companion"]
    lists_files = True
    index_root, index_name = b"<OME", f"*{COMPANION_ENDING}"

    def recognises(self, head: bytes) -> bool:
        """Return False: OME-XML under any other name is not a companion file."""
        return False

    def claims(self, path: str) -> bool:
        return path.lower().endswith(self.endings) and os.path.isfile(path)


def _first_ndtiff(folder: str) -> str | None:
    """Return the first TIFF file of an NDTiff folder, also by its index; with several levels, that of the finest."""
    if os.path.basename(folder) == _NDTIFF_INDEX:
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        return None
    for inner in (folder, os.path.join(folder, "Full resolution")):
        if os.path.isfile(os.path.join(inner, _NDTIFF_INDEX)):
            names = [name for name in list_names(inner) if name.lower().endswith(TiffReader.endings)]
            if names:
                return os.path.join(inner, min(names, key=natural_order))
    return None


class TiffSource:
    """One image of a TIFF file, or of the files of one multi-file OME-TIFF; several threads may read.

    The files are opened when they are read, and stay open until `close`; pickling drops them.
    """

    def __init__(self, description: ImageDescription, layout: SeriesLayout) -> None:
        self._description = description
        self._layout = layout
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._files = FilePool()
        self._pages: list[PageBytes | None] | None = None
        self._cached: tuple[FileKey, str, list[PageBytes | None]] | None = None

    def __getstate__(self) -> tuple[ImageDescription, SeriesLayout]:
        return self._description, self._layout

    def __setstate__(self, state: tuple[ImageDescription, SeriesLayout]) -> None:
        self._description, self._layout = state
        self._reset()

    def with_description(self, description: ImageDescription) -> TiffSource:
        """Return the same image with a description from a reader that knows more metadata than the TIFF tags."""
        source = TiffSource(description, self._layout)
        source._cached = self._cached
        return source

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self._description.shape))
        return f"<TiffSource {self._description.name} {self._description.axes} {shape} {self._description.dtype}>"

    @property
    def description(self) -> ImageDescription:
        return self._description

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Array | None:
        if rows is None:
            rows = slice(0, self._description.plane_shape[0])
        page_number, plane = self._layout.find(index)
        page = self._load_pages()[page_number]
        return None if page is None else read_samples(page, [plane], rows, self._files)[0]

    def read_into(self, index: tuple[int, ...], rows: slice, out: Array) -> bool:
        page_number, plane = self._layout.find(index)
        page = self._load_pages()[page_number]
        if page is None:
            return False
        if not read_raw_into(page, plane, rows, self._files, out):
            out[...] = read_samples(page, [plane], rows, self._files)[0]
        return True

    def read_planes(self, indices: Sequence[tuple[int, ...]], rows: slice) -> list[Array | None]:
        """Read planes that differ in their channel; samples of one page are decoded together (see `SampleSource`)."""
        locations = [self._layout.find(index) for index in indices]
        numbers = {number for number, _ in locations}
        if len(numbers) > 1 or len({plane.depth for _, plane in locations}) > 1:
            return [self.read_plane(index, rows) for index in indices]
        page = self._load_pages()[numbers.pop()]
        if page is None:
            return [None] * len(indices)
        return list(read_samples(page, [plane for _, plane in locations], rows, self._files))

    def close(self) -> None:
        """Close the files of the source; a later read opens them again."""
        self._files.close()
        with self._lock:
            self._pages = None  # lists of pages of thousands of sources would exhaust the memory

    def cache_pages(self, key: FileKey, file_path: str, shared_pages: list[PageBytes | None]) -> None:
        """Use these pages instead of parsing the file, unless the file changes: then its `file_key` is not ``key``."""
        self._cached = key, file_path, shared_pages

    def keep_pages_until_closed(self, pages: list[PageBytes | None]) -> None:
        """Use pages that were just parsed until the source is closed, instead of parsing the file again."""
        self._pages = pages

    def _load_pages(self) -> list[PageBytes | None]:
        path, number = self._layout.path, self._layout.series
        with self._lock:
            if self._pages is None and self._cached is not None and self._cached[0] == file_key(path):
                _, file_path, shared_pages = self._cached
                self._pages = [page and replace(page, file=file_path) for page in shared_pages]
            elif self._pages is None and self._layout.is_shared:
                key, is_partial = file_key(path), self._layout.is_partial
                self._pages = PAGES.get_or_make(key, lambda: _parse_pages(path, is_partial))[number]
            elif self._pages is None:
                self._pages = _parse_pages(path, self._layout.is_partial)[number]
            return self._pages


def _with_shared_frames(pages: list[PageBytes | None], file_path: str) -> list[PageBytes | None] | None:
    """Return pages that share one page of tifffile (``frame``) if they are decoded alike, to save memory.

    Return None for more than `_MAX_SEGMENTS` strips and tiles, for pages in other files, and for frames that cannot be
    shared.
    """
    if sum(1 if page is None else len(page.offsets) for page in pages) > _MAX_SEGMENTS:
        return None
    shared_pages: list[PageBytes | None] = []
    for page in pages:
        frame = None if page is None else shared_frame(page.frame)
        if page is not None and (frame is None or page.file != file_path):
            return None
        shared_pages.append(None if page is None else replace(page, frame=frame))
    return shared_pages


def _parse_pages(path: str, is_partial: bool) -> list[list[PageBytes | None]]:
    with open_file(path, is_partial=is_partial) as file:
        return _with_decoders([list_pages(series, is_partial=is_partial) for series in file.series])


def _with_decoders(images: list[list[PageBytes | None]]) -> list[list[PageBytes | None]]:
    """Build the decoders of pages, which tifffile does on first use, and not safely in threads."""
    for pages in images:
        for page in pages:
            if page is not None and not page.frame.is_final:
                page.frame.decode  # noqa: B018
    return images


@dataclass(frozen=True)
class SeriesLayout:
    """The location of the planes of an image in the pages of a file.

    For a series TZCYX of shape (5, 1, 2, 8, 9) with pages YX, the plane (t=3, c=1) of the image "tcyx" has the index
    (3, 0, 1) in the file, which is page 3 * 1 * 2 + 0 * 2 + 1 = 7.
    """

    path: str
    series: int
    """Number of the series."""
    plan: AxisPlan
    outer: Shape
    """Lengths of the axes that count pages."""
    page_axes: str
    """Letters of the axes within a page."""
    is_shared: bool
    """Whether the file has several images, whose pages are cached together."""
    fixed: FixedAxes = ()
    """The axes of positions, each with the index of this image."""
    is_partial: bool = False

    def find(self, index: tuple[int, ...]) -> tuple[int, PlaneInPage]:
        """Return the number of the page that contains a plane, and the plane within the page."""
        file_index = self.plan.file_index(index)
        for axis, fixed_index in self.fixed:
            file_index.insert(axis, fixed_index)
        number = 0
        for length, position in zip(self.outer, file_index, strict=False):
            number = number * length + position
        inner = dict(zip(self.page_axes, file_index[len(self.outer) :], strict=True))
        return number, PlaneInPage(sample=inner.get("S", 0), depth=inner.get("Z", 0))


def _describe(
    path: str,
    file: Any,
    image: tuple[int, FixedAxes],
    metadata: TiffMetadata,
    pages: list[PageBytes | None],
    image_count: int,
    is_partial: bool,
) -> tuple[ImageDescription, SeriesLayout]:
    """Describe the image of a series at `FixedAxes`; check that its pages exist."""
    number, fixed = image
    series = file.series[number]
    image_name = path if len(file.series) == 1 else f"{path} (image {number})"
    if series.dtype is None or series.dtype.kind not in "buifc":
        raise SourceError(
            f"{image_name} has pixels of type {series.dtype}, which are neither intensities nor labels."
        )
    plan = _plan(series, image_name, fixed)
    page_axes = series.keyframe.axes
    outer = tuple(int(length) for length in series.shape[: len(series.axes) - len(page_axes)])
    axes = _series_axes(series)
    inner_axes = "S" + axes[-2:] if _has_planes_as_samples(series) else axes[len(outer) :]
    page_shape = int(series.keyframe.imagelength), int(series.keyframe.imagewidth)
    if inner_axes != page_axes or not set(page_axes) <= set("SZYX") or plan.shape[-2:] != page_shape:
        raise SourceError(
            f"{image_name} stores {series.axes} of shape {tuple(series.shape)} in pages of {page_axes} of "
            f"{page_shape[0]} x {page_shape[1]} pixels: only pages of planes (YX, with samples S or depth Z) can be "
            "read one at a time."
        )
    layout = SeriesLayout(path, number, plan, outer, page_axes, image_count > 1, fixed, is_partial)
    if len(pages) < math.prod(outer):
        raise SourceError(
            f"{image_name} is damaged or incomplete: its shape {tuple(series.shape)} ({series.axes}) needs "
            f"{math.prod(outer)} pages, it has {len(pages)}. {COPY_AGAIN}"
        )
    if fixed:
        pages = [pages[int(page_number)] for page_number in page_numbers(outer, fixed).flat]
    check_sizes(pages)
    metadata_fields = vars(metadata) | {
        "channels": _channels(metadata.channels, series, _axis_length(plan, "c")),
        "notes": (*metadata.notes, *_missing_notes(pages), *display_notes(series.keyframe)),
        "axis_notes": plan.notes,
        "title": metadata.title or (series.name if series.kind == "ome" else ""),
    }
    description = ImageDescription(
        name=os.path.basename(path),
        files=tuple(sorted({page.file for page in pages if page is not None} or {path})),
        axes=plan.axes,
        shape=plan.shape,
        dtype=np.dtype(series.dtype).newbyteorder("="),
        **metadata_fields,
        band_rows=_band_rows(series.keyframe),
        channels_together=_channels_together(series.keyframe),
        is_rgb=is_rgb(series.keyframe) and not _has_own_channels(series),
    )
    return description, layout


def _channels(channels: Sequence[SourceChannel], series: Any, count: int) -> tuple[SourceChannel, ...]:
    """Return the channels of an image; samples are colours, but those of `_has_own_channels` are not."""
    if _has_own_channels(series):
        return tuple(channels) if len(channels) == count else (SourceChannel(""),) * count
    return merge_channels(channels, series.keyframe, count)


def _has_planes_as_samples(series: Any) -> bool:
    """Return whether each page has planes as samples, as `tifffile.imwrite` stores three or four along any axis."""
    axes = str(series.axes)
    return series.kind == "shaped" and str(series.keyframe.axes) == "SYX" and axes[-3:-2] in [*"CZT"]


def _has_own_channels(series: Any) -> bool:
    """Return whether the samples of pages are not colours, but detectors of LSM or planes along an axis."""
    return series.kind == "lsm" or _has_planes_as_samples(series)


def _series_axes(series: Any) -> str:
    """Return the letters of the axes of a series; the pages of LSM have their channels as samples."""
    axes, page_axes = str(series.axes), str(series.keyframe.axes)
    is_lsm = series.kind == "lsm" and axes[-len(page_axes) :] == page_axes.replace("S", "C")
    return axes[: -len(page_axes)] + page_axes if is_lsm else axes


def _is_thumbnail(series: Any) -> bool:
    """Return whether a series contains the thumbnails that LSM stores beside its images."""
    return series.kind == "lsm" and bool(series.keyframe.is_reduced)


def _missing_notes(pages: Sequence[PageBytes | None]) -> list[str]:
    missing = sum(page is None for page in pages)
    words = "is missing and was" if missing == 1 else "are missing and were"
    return [f"{missing} of its {counted(len(pages), 'plane')} {words} written as zeros"] if missing else []


def _plan(series: Any, image_name: str, fixed: FixedAxes = ()) -> AxisPlan:
    free_axes = [axis for axis in range(len(series.axes)) if axis not in dict(fixed)]
    # tifffile uses the letter Q for an axis without a name. NDTiff and OME-TIFF name every axis: there it stands for
    # a name that tifffile does not know.
    return plan_axes(
        "".join(_series_axes(series)[axis] for axis in free_axes),
        tuple(int(series.shape[axis]) for axis in free_axes),
        image_name,
        named=series.kind in ("ndtiff", "ome"),
    )


def _axis_length(plan: AxisPlan, axis: str) -> int:
    return plan.shape[plan.axes.index(axis)] if axis in plan.axes else 1


def _band_rows(page: Any) -> int:
    """Return the number of rows of a page that are decoded together."""
    if page.is_final:
        return 1
    return int(page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength))


def _channels_together(page: Any) -> int:
    """Return the number of samples of a page that are decoded together."""
    separate, samples = page.shaped[0], page.shaped[4]
    return int(samples) if separate == 1 else 1


def _read_metadata(file: Any, images: Sequence[tuple[int, FixedAxes]]) -> list[TiffMetadata]:
    """Return the metadata of each image of an open file: of Micro-Manager, OME-XML, ImageJ, a vendor, or plain tags."""
    count = len(file.series)
    if count == 1 and file.series[0].kind in MICROMANAGER_KINDS:
        return read_micromanager(file, file.series[0], [fixed for _, fixed in images])
    first = file.pages.first
    if file.is_ome and file.ome_metadata:
        images_of_ome = read_ome(ome_root(file))
        if len(images_of_ome) == count and all(series.kind == "ome" for series in file.series):
            return _with_unused_pages(images_of_ome, file, "its OME-XML describes")
        return [TiffMetadata(notes=("its OME-XML does not describe its pages and was not used",))] * count
    if file.is_imagej and file.imagej_metadata and count == 1:
        plan = _plan(file.series[0], str(file.filehandle.path))
        imagej = read_imagej(file.imagej_metadata, first.tags, plan)
        return _with_unused_pages([imagej], file, "its ImageJ metadata describe")
    found = read_vendor(file, images) or [
        read_resolution(file.series[number].keyframe.tags) for number, _ in images
    ]
    if not file.is_ome and "http://www.openmicroscopy.org/Schemas/OME/" in first.description:
        note = "its OME-XML is cut off or damaged, and was not used"
        found = [replace(metadata, notes=(*metadata.notes, note)) for metadata in found]
    return found


def _with_unused_pages(images: list[TiffMetadata], file: Any, described_by: str) -> list[TiffMetadata]:
    """Add a note to the first image if the file has pages that belong to no image."""
    used = {
        page.offset
        for series in file.series
        for page in islice(series, page_count(series))
        if page is not None and page.parent is file
    }
    if not used:  # with a companion file, the pages of the series belong to other TiffFile objects
        return images
    unused = len(file.pages) - len(used)
    if unused <= 0:
        return images
    pages = "1 page was left out, which comes" if unused == 1 else f"{unused} pages were left out, which come"
    note = f"{pages} in addition to those that {described_by}"
    return [replace(images[0], notes=(*images[0].notes, note)), *images[1:]]
