"""Avoid parsing TIFF files again: cache pages, and describe files that differ only in their pixels by a template.

A folder often has thousands of files from one camera. If the first is 2,097,418 bytes long, with pixels at bytes 8 to
2,097,160, then a file of the same length with the same 8 bytes before and 258 bytes after the pixels has the same
description: it need not be parsed. Only files that refer to no other file, and whose pixels are one run of uncompressed
bytes, become templates.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamella.ops.last_used import LastUsed
from lamella.store.files.file_system import READ, read_at, stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.adapters.tiff.pages import PageBytes
    from lamella.ops.conversion.reader import OriginalMetadata
    from lamella.ops.conversion.source import ImageDescription
    from lamella.store.storage import Stamp


_MAX_TEMPLATES = 8
"""Maximum number of templates: the files of most folders have a few layouts, or each file has its own."""

_MAX_BYTES = 1 << 14
"""Maximum number of bytes outside of the pixels of a template."""

_MAX_FILES = 4
"""Maximum number of files with cached pages: a list of pages may be long."""

_MAX_FRAMES = 64
"""Maximum number of frames that `shared_frame` remembers."""

_PLAIN_CODECS = {1, 5, 8, 32773, 32946, 34925, 50000}
"""Compressions without parameters in other tags: none, LZW, deflate, PackBits, LZMA, Zstandard."""

_KINDS = {"uniform", "shaped", "imagej"}
"""Kinds of series of tifffile whose pages are in the file itself."""


Pages = list["PageBytes | None"]

FileKey = tuple[str, "Stamp | None"]
"""Path and stamp of a file: another key means that it has changed; the stamp of a missing file is None."""


@dataclass(frozen=True)
class Template:
    """A parsed file: its description, and its bytes before and after the pixels from ``start`` to ``end``."""

    size: int
    start: int
    end: int
    head: bytes
    tail: bytes
    description: ImageDescription
    layout: Any
    pages: Pages
    original: tuple[OriginalMetadata, ...]

    @property
    def key(self) -> tuple[int, bytes, bytes]:
        """Size and bytes that a file must have so that the template describes it."""
        return self.size, self.head, self.tail


TEMPLATES: LastUsed[tuple[int, bytes, bytes], Template] = LastUsed(_MAX_TEMPLATES)
_FRAMES: LastUsed[tuple[Any, ...], Any] = LastUsed(_MAX_FRAMES)
PAGES: LastUsed[FileKey, list[Pages]] = LastUsed(_MAX_FILES)
"""The pages of each image of the most recently read files; a file that changed is parsed again."""

if hasattr(os, "register_at_fork"):
    for _cache in (TEMPLATES, _FRAMES, PAGES):
        os.register_at_fork(after_in_child=_cache.unlock_in_child)


def find_template(path: str) -> tuple[Template, FileKey] | None:
    """Return the template that describes a file, and the key of the file; None if it must be parsed."""
    templates = TEMPLATES.values()
    if not templates:
        return None
    try:
        file = os.open(path, READ)
    except OSError:
        return None  # parsing raises the error
    try:
        status = os.fstat(file)
        key = path, stamp_of(status)
        for template in reversed(templates):
            if template.size == status.st_size and _has_bytes_of(file, template):
                return TEMPLATES.put(template.key, template), key
    except OSError:
        return None
    finally:
        os.close(file)
    return None


def put_template(key: FileKey, file: Any, description: Any, layout: Any, pages: Pages, original: Any) -> None:
    """Remember an open file as a template, if it can be one and has not changed since ``key``, taken before parsing."""
    span = _pixels_of(file, description, pages)
    if span is None:
        return
    path, _ = key
    start, end = span
    with open(path, "rb") as stream:
        head = stream.read(start)
        stream.seek(end)
        tail = stream.read()
    size = len(head) + (end - start) + len(tail)
    if file_key(path) == key and file.filehandle.size == size:
        template = Template(size, start, end, head, tail, description, layout, pages, tuple(original))
        TEMPLATES.put(template.key, template)


def _has_bytes_of(file: int, template: Template) -> bool:
    """Return whether an open file has the bytes of a template outside of the pixels."""
    return (
        read_at(file, 0, len(template.head)) == template.head
        and read_at(file, template.end, len(template.tail)) == template.tail
    )


def _pixels_of(file: Any, description: ImageDescription, pages: Sequence[Any]) -> tuple[int, int] | None:
    """Return start and end of the pixels of a file, if all other bytes determine its description."""
    (series,) = file.series if len(file.series) == 1 else (None,)
    if series is None or series.kind not in _KINDS or file.is_ome or file.is_micromanager:
        return None
    spans = sorted((page.offsets, page.counts) for page in pages if page is not None and page.frame.is_final)
    if len(spans) < len(pages) or len(description.files) != 1:
        return None
    start = end = spans[0][0][0]
    for offsets, counts in spans:
        if len(offsets) != 1 or offsets[0] != end:
            return None
        end += counts[0]
    size = file.filehandle.size
    name = description.name
    is_small = start + size - end <= _MAX_BYTES
    contains_name = any(name in text for text in (description.title, *description.notes))
    return (start, end) if is_small and start > 0 and not contains_name else None


def shared_frame(frame: Any) -> Any | None:
    """Return the first page of tifffile that is decoded in the same way, to save memory for thousands of files.

    None if the decoder of the page may depend on more than the layout of its pixels.
    """
    if frame.compression not in _PLAIN_CODECS:
        return None
    if not frame.is_final:
        frame.decode  # noqa: B018 (built on first use, and not safely in threads)
    # `hash` covers what the decoder of a page depends on, except its fill value.
    key = frame.hash, frame.shaped, frame.compression, frame.is_final, frame.nodata, frame.parent.byteorder
    return _FRAMES.get_or_make(key, lambda: frame)


def file_key(path: str) -> FileKey:
    """Return the key of a file; one that no file has if it does not exist."""
    try:
        return path, stamp_of(os.stat(path))
    except OSError:
        return path, None  # the caller opens the file, which raises the error
