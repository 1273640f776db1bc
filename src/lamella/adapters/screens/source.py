"""A field of a screen as a source of planes: each plane is a TIFF file, which is opened when it is read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lamella.adapters.tiff.reader import open_tiff
from lamella.errors import SourceError
from lamella.ops.conversion.reader import list_names
from lamella.ops.last_used import LastUsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lamella.ops.conversion.source import ImageDescription, PlaneSource
    from lamella.types import Array

_OPEN_FILES = 16
"""Maximum number of open files of one field."""


class FieldSource:
    """One field: ``files`` are its planes by index (t, c, z); an index without a file is a missing plane.

    Threads may read at the same time. Pickling drops the open files.
    """

    def __init__(self, description: ImageDescription, files: Mapping[tuple[int, int, int], str]) -> None:
        self._description = description
        self._files = files
        self._reset()

    def _reset(self) -> None:
        # A source may be closed while another thread reads from it: that thread then opens the file again.
        self._open: LastUsed[str, PlaneSource] = LastUsed(_OPEN_FILES, close=lambda source: source.close())

    def __getstate__(self) -> tuple[ImageDescription, Mapping[tuple[int, int, int], str]]:
        return self._description, self._files

    def __setstate__(self, state: tuple[ImageDescription, Mapping[tuple[int, int, int], str]]) -> None:
        self._description, self._files = state
        self._reset()

    @property
    def description(self) -> ImageDescription:
        return self._description

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Array | None:
        indices = dict(zip(self._description.axes, index, strict=False))
        file = self._files.get((indices.get("t", 0), indices.get("c", 0), indices.get("z", 0)))
        if file is None:
            return None
        source = self._source(file)
        return source.read_plane((0,) * (len(source.description.axes) - 2), rows)

    def close(self) -> None:
        """Close all files; a later read opens them again."""
        self._open.clear()

    def open_file(self, file: str) -> PlaneSource:
        """Open a file of one plane."""
        return open_plane(file)

    def _source(self, file: str) -> PlaneSource:
        """Return the open image of a file; close the least recently used one if there are many."""
        opened = self._open.get(file)
        if opened is not None:
            return opened
        source = self.open_file(file)
        expected, actual = self._description, source.description
        if (actual.plane_shape, actual.dtype) != (expected.plane_shape, expected.dtype):
            raise SourceError(
                f"{file} has {_shape_and_type(actual)}, but the other images of the screen have "
                f"{_shape_and_type(expected)}: an image must have one shape and one type."
            )
        return self._open.put(file, source)  # another thread may have opened the file too; both sources work


def open_plane(file: str) -> PlaneSource:
    """Open a file of one plane; raise SourceError for a file of several."""
    images = open_tiff(file, keeps_pages=True)
    if len(images) > 1 or images[0].description.plane_count > 1:
        count = sum(image.description.plane_count for image in images)
        raise SourceError(f"{file} has {count} planes, but the index of a screen lists files of one plane.")
    return images[0]


def _shape_and_type(description: ImageDescription) -> str:
    height, width = description.plane_shape
    return f"{height} x {width} pixels of type {description.dtype}"


def existing_files(files: Iterable[str]) -> set[str]:
    """Return the files that exist, by one listing per folder."""
    folders: dict[str, set[str]] = {}
    for file in files:
        folders.setdefault(os.path.dirname(file), set()).add(os.path.basename(file))
    paths = set()
    for folder, names in folders.items():
        if not os.path.isdir(folder):
            continue
        paths |= {os.path.join(folder, name) for name in list_names(folder) if name in names}
    return paths
