"""The sources of a conversion: list folders, open files, and choose the image of a file. `Formats` opens the files."""

from __future__ import annotations

import operator
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lamella.errors import InvalidArgumentError, SourceError, counted
from lamella.ops.conversion.corrections import Corrections
from lamella.ops.conversion.reader import list_names
from lamella.store.keys import is_metadata_file
from lamella.store.objects.addresses import clean_url
from lamella.store.paths import is_url, local_path, location

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.conversion.file_layouts import FileLayout
    from lamella.ops.conversion.reader import Container, Formats
    from lamella.ops.conversion.source import PlaneSource
    from lamella.types import StrPath

_LABEL_IMAGE = re.compile(r"_labels\.ome\.tiff?$", re.IGNORECASE)

Series = int | Literal["all", "fields"]
"""Which of the images of a file are converted: one, all as a collection, or all as fields of one well."""


@dataclass(frozen=True)
class Arrangement:
    """How files are assigned to positions: by a pattern for names, a table, or the layout of an instrument.

    Without any of them, names and metadata of the files decide. ``only`` are the paths of the positions to convert; by
    default all.
    """

    well_regex: str | None = None
    map_file: StrPath | None = None
    layout: FileLayout | None = None
    only: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if sum(way is not None for way in (self.well_regex, self.map_file, self.layout)) > 1:
            raise InvalidArgumentError(
                "Use one of a pattern for file names (--well-regex), a table (--map) and a layout (--layout)."
            )

    @property
    def is_by_name(self) -> bool:
        """Whether a pattern or a table assigns the files of folders; then no folder is opened as one data set."""
        return self.well_regex is not None or self.map_file is not None


class Inputs:
    """The sources of a conversion, opened when needed.

    ``names`` are the paths of the sources, ``folders`` those that are folders, and ``files`` the files of all of them.
    ``relative`` has the path of each file in its folder. ``is_nested``: a folder contains files only in folders below
    it. ``has_data_set``: a reader opens a folder as one data set. ``series`` selects the image of files with several.
    ``left_out`` has files of the folders that are not converted, by the beginning of a note about them.
    """

    def __init__(
        self,
        sources: Sequence[StrPath | PlaneSource],
        formats: Formats,
        series: Series | None = None,
        *,
        arrangement: Arrangement | None = None,
        corrections: Corrections | None = None,
    ) -> None:
        self._formats = formats
        self.arrangement = arrangement or Arrangement()
        self.corrections = corrections or Corrections()
        self.series = _checked_series(series)
        self._images_by_file: dict[str, list[PlaneSource]] = {}
        self.containers: list[tuple[str, Container]] = []
        self.names: list[str] = []
        self.folders: list[str] = []
        self.files: list[str] = []
        self.left_out: dict[str, list[str]] = {}
        self.relative: dict[str, str] = {}
        self.is_nested = False
        self.has_data_set = False
        for source in sources:
            if not isinstance(source, (str, os.PathLike)) and hasattr(source, "read_plane"):
                self._add_opened(source)
            else:
                self._add_path(_local_path_of(source))

    def _add_path(self, path: str) -> None:
        if path in self.names:
            raise SourceError(f"{path} is named twice: name each file and folder once.")
        self.names.append(path)
        if os.path.isdir(path) and not self._is_data_set(path):
            self.folders.append(path)
            files, other_files = self._list_folder(path)
            self.left_out.setdefault("a folder is converted as one format, without", []).extend(other_files)
            images = [file for file in files if not _LABEL_IMAGE.search(file)]
            if images and not self.arrangement.is_by_name:
                labels = [file for file in files if _LABEL_IMAGE.search(file)]
                self.left_out.setdefault("label images are not converted, such as", []).extend(labels)
                files = images
            for file in files:
                self.files.append(file)
                self.relative[file] = os.path.relpath(file, path).replace(os.sep, "/")
        elif os.path.exists(path):
            self.has_data_set = self.has_data_set or os.path.isdir(path)
            self.files.append(path)
        else:
            raise SourceError(f"There is no file or folder {os.path.abspath(path)}. Check the path.")

    def _is_data_set(self, folder: str) -> bool:
        """Return whether a reader opens a folder as one data set."""
        if self.arrangement.is_by_name:
            return False
        reader, layout = self._formats.find(folder), self.arrangement.layout
        return reader is not None and (layout is None or layout.name == reader.name)

    def _list_folder(self, folder: str) -> tuple[list[str], list[str]]:
        """List the files of a folder (`Formats.list_folder`), and those below it for a pattern or if it has none."""
        if self.arrangement.is_by_name or self.arrangement.layout is not None:
            return self._formats.list_folder(folder, deep=True)
        try:
            return self._formats.list_folder(folder)
        except SourceError:
            pass
        try:
            files = self._formats.list_folder(folder, deep=True)
        except SourceError as error:
            if any(map(is_metadata_file, list_names(folder))):
                raise SourceError(f"{folder} {_IS_A_STORE}") from error
            raise
        self.is_nested = True
        return files

    def _add_opened(self, source: PlaneSource) -> None:
        name = source.description.name
        if name in self._images_by_file:
            raise SourceError(f"Two sources have the name {name!r}: names must differ.")
        self.names.append(name)
        self.files.append(name)
        self._images_by_file[name] = [self.corrections.correct_source(source)]

    def images_of(self, file: str) -> list[PlaneSource]:
        """Return the images of a file, or only the one that ``series`` chooses; the file is described once."""
        if file not in self._images_by_file:
            images = list(self._open(file))
            if isinstance(self.series, int):
                if not 0 <= self.series < len(images):
                    raise SourceError(
                        f"{file} contains {counted(len(images), 'image')}: there is no image {self.series} (they count "
                        "from 0)."
                    )
                images = [images[self.series]]
            self._images_by_file[file] = [self.corrections.correct_source(image) for image in images]
        return self._images_by_file[file]

    def _open(self, file: str) -> Container:
        container = self._formats.open(file, what_is_there=self.corrections.take_what_is_there)
        if len(self.files) == 1:  # thousands of open files would exceed the limit of the process
            container.keep_open()
        self.containers.append((file, container))
        return container

    def close(self) -> None:
        """Close the files of all sources."""
        for _, container in self.containers:
            container.close()

    def image_of(self, file: str) -> PlaneSource:
        """Return the only image of a file; raise for a file with several."""
        images = self.images_of(file)
        if len(images) > 1:
            raise SourceError(
                f"{file} contains {len(images)} images, {titles_of(images)}: choose one with --series."
            )
        return images[0]

    def locate(self, entry: str, table: str) -> str | None:
        """Find the file of a table's entry: beside the table, in a folder of the sources, or among the sources.

        Raise SourceError if the entry is the end of the paths of two files.
        """
        if entry in self._images_by_file:
            return entry
        beside = os.path.join(os.path.dirname(table), entry)
        if os.path.isfile(beside):
            return beside
        in_folders = [os.path.join(folder, entry) for folder in self.folders]
        end = os.sep + os.path.normpath(entry)
        candidates = [path for path in in_folders if os.path.isfile(path)] or [
            file for file in self.files if os.path.normpath(file).endswith(end)
        ]
        paths = sorted({os.path.abspath(path) for path in candidates})
        if len(paths) > 1:
            raise SourceError(
                f"{entry!r} may be {paths[0]} or {paths[1]}: write as much of the path as distinguishes them."
            )
        return candidates[0] if candidates else None


def _checked_series(series: Series | None) -> Series | None:
    if series is None or (isinstance(series, str) and series in ("all", "fields")):
        return series
    try:
        if not isinstance(series, bool):
            return operator.index(series)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise InvalidArgumentError(f"series={series!r} is neither a number nor 'all' or 'fields'.")


_IS_A_STORE = (
    "is a Zarr store, which needs no conversion: use `lamella copy` to copy it, `lamella upgrade` for another version "
    "of OME-NGFF, `lamella rechunk` for other chunks."
)


def _local_path_of(source: object) -> str:
    """Return the absolute path of a source; raise for a URL, and for an archive that is a store."""
    path = location(source)
    if path.lower().endswith(".ozx") or (is_url(path) and ".zarr" in path.lower()):
        raise SourceError(f"{clean_url(path)} {_IS_A_STORE}")
    return os.path.abspath(local_path(source, "a file to convert"))


def titles_of(images: Sequence[PlaneSource]) -> str:
    """Name the images of a file in a message, by number and title."""
    if not any(image.description.title for image in images):
        return f"0 to {len(images) - 1}"
    first_titles = ", ".join(
        f"{number} {image.description.title!r}" for number, image in enumerate(images[:4])
    )
    return f"{first_titles}, ..." if len(images) > 4 else first_titles
