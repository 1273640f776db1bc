"""The readers of screens: an index and its TIFF files become one image per field, with its well.

Opera Phenix and Operetta, ImageXpress, CellVoyager. The index is searched in the given folder and four levels below,
because instruments put it into folders named by dates and numbers. An ImageXpress folder has no index: names of its
files and folders state wells, fields and channels.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import TYPE_CHECKING

from lamella.adapters.metaseries import first_voxel
from lamella.adapters.screens.cellvoyager import INDEX_ENDING as VOYAGER_ENDING
from lamella.adapters.screens.cellvoyager import parse_cellvoyager
from lamella.adapters.screens.imagexpress import INDEX_ENDING as HTD_ENDING
from lamella.adapters.screens.imagexpress import contains_steps, parse_imagexpress
from lamella.adapters.screens.opera import INDEX_NAMES, parse_opera
from lamella.adapters.screens.screen import arrange
from lamella.adapters.screens.source import FieldSource, existing_files, open_plane
from lamella.adapters.tiff.file import open_file
from lamella.errors import SourceError, clause, counted, first_of
from lamella.ops.conversion.combine import notes_of_skipped
from lamella.ops.conversion.reader import (
    MAX_ORIGINAL_BYTES,
    Container,
    OriginalMetadata,
    Reader,
    list_names,
    scan_folder,
)
from lamella.ops.conversion.source import ImageDescription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.adapters.screens.screen import Screen, ScreenField, ScreenGrid

_DEPTH = 4
"""Levels of folders in which an index is searched."""

_IMAGE_ENDINGS = (".tif", ".tiff")


class ScreenReader(Reader):
    """A reader of a screen by its index, whose name ends with one of ``index_endings`` (in lower case)."""

    extra = "tiff"
    libraries = ("tifffile", "imagecodecs")
    index_endings: tuple[str, ...] = ()

    @abstractmethod
    def parse(self, index: str) -> Screen:
        """Parse an index, as `indexes_of` lists it."""

    def may_claim_file(self, name: str) -> bool:
        """Return whether a file is an index, by its name."""
        return os.path.basename(name).lower().endswith(self.index_endings)

    def indexes_of(self, folder: str) -> list[str]:
        """List the indexes in a folder itself."""
        return sorted(os.path.join(folder, name) for name in list_names(folder) if self.may_claim_file(name))

    def find_indexes(self, path: str) -> tuple[list[str], list[str]]:
        """List the index at a path, or those in a folder and below; folders below an index are not searched.

        Folders below it that cannot be listed are skipped, with a note each in the second list.
        """
        if not os.path.isdir(path):
            is_index = self.may_claim_file(path) and os.path.isfile(path)
            return ([path] if is_index else []), []
        folders, all_indexes, notes = [path], list[str](), list[str]()
        for _ in range(_DEPTH + 1):
            inner: list[str] = []
            for folder in folders:
                try:
                    indexes = self.indexes_of(folder)
                    inner += [] if indexes else _inner_folders(folder)
                except SourceError as error:
                    if folder == path:
                        raise
                    notes.append(f"{clause(error)}, so it was not searched for plates")
                    continue
                all_indexes += indexes
            folders = inner
        return all_indexes, notes

    def claims(self, path: str) -> bool:
        indexes, _ = self.find_indexes(path)
        return bool(indexes)

    def open(self, path: str) -> Container:
        """Return the fields of a screen: see `Reader.open`. Only the first image is opened."""
        self.require()
        indexes, notes = self.find_indexes(path)
        if not indexes:
            raise SourceError(f"{path} has no index of {self.title}.")
        if len(indexes) > 1:
            raise SourceError(
                f"{path} contains {len(indexes)} plates ({first_of(indexes)}): convert them one by one."
            )
        screen = self.parse(indexes[0])
        sources, originals = list(_fields(screen, arrange(screen))), list(_originals(screen))
        left_out = len(screen.index_files) + len(screen.originals) - len(originals)
        container = Container(sources, originals, originals_left_out=left_out)
        container.notes = tuple(notes)
        return container


class OperaReader(ScreenReader):
    """``Index.idx.xml`` of Opera Phenix and Operetta."""

    name, title = "operetta", "Opera Phenix, Operetta (Index.idx.xml)"
    index_endings = tuple(name.lower() for name in INDEX_NAMES)
    index_root, index_name = b"<EvaluationInputData", "Index.idx.xml"

    def may_claim_file(self, name: str) -> bool:
        return os.path.basename(name).lower() in self.index_endings

    def parse(self, index: str) -> Screen:
        return parse_opera(index)


class CellVoyagerReader(ScreenReader):
    """``MeasurementData.mlf`` of CellVoyager, with ``.mrf`` and ``.mes``."""

    name, title, index_endings = "cellvoyager", "CellVoyager (.mlf)", (VOYAGER_ENDING,)
    index_root, index_name = b":MeasurementData", f"*{VOYAGER_ENDING}"

    def parse(self, index: str) -> Screen:
        return parse_cellvoyager(index)


class ImageXpressReader(ScreenReader):
    """Folders of ImageXpress, with a ``.HTD`` file or with time points and z steps."""

    name, title = "imagexpress", "ImageXpress (.HTD, TimePoint_1/ZStep_1)"
    index_endings = (HTD_ENDING,)

    def indexes_of(self, folder: str) -> list[str]:
        """Return the folder itself in a list if it is that of a plate."""
        return [folder] if super().indexes_of(folder) or contains_steps(folder) else []

    def find_indexes(self, path: str) -> tuple[list[str], list[str]]:
        indexes, notes = super().find_indexes(path)
        if not os.path.isdir(path):
            indexes = [os.path.dirname(index) for index in indexes]
        return indexes, notes

    def parse(self, index: str) -> Screen:
        return parse_imagexpress(index, _tiff_description)


def _tiff_description(file: str) -> str:
    with open_file(file) as tiff:
        return str(tiff.pages.first.description)


def _inner_folders(folder: str) -> list[str]:
    """List the folders in a folder; none if the folder itself contains images."""
    visible = [entry for entry in scan_folder(folder) if not entry.name.startswith(".")]
    if any(entry.name.lower().endswith(_IMAGE_ENDINGS) for entry in visible):
        return []
    return sorted(entry.path for entry in visible if entry.is_dir())


def _fields(screen: Screen, grid: ScreenGrid) -> Iterator[FieldSource]:
    """Yield a source for each field; shape and type of all fields are those of one image, which is opened."""
    existing = existing_files(plane.file for plane in screen.planes)
    sample = next((plane.file for plane in screen.planes if plane.file in existing), None)
    if sample is None:
        raise SourceError(
            f"{screen.origin} lists {counted(len(screen.planes), 'image')}, and none exists "
            f"(first: {screen.planes[0].file})."
        )
    opened = open_plane(sample)
    opened.close()
    notes = _notes(screen, grid, opened.description)
    missing_of_screen = screen.missing
    for field in grid.fields:
        missing = tuple(
            f"{plane.index}: {plane.file}" for plane in field.planes.values() if plane.file not in existing
        )
        description = _describe(
            screen, grid, field, opened.description, existing, notes, (*missing, *missing_of_screen)
        )
        yield FieldSource(
            description,
            {index: plane.file for index, plane in field.planes.items() if plane.file in existing},
        )
        notes, missing_of_screen = (), ()  # only the first field reports those of the whole screen


def _notes(screen: Screen, grid: ScreenGrid, sample: ImageDescription) -> tuple[str, ...]:
    """Return notes for the user about the whole screen."""
    notes = list(screen.notes)
    if screen.pixel_size is None:
        notes.append("the pixel size is unknown")
    if screen.plane_shape is not None and screen.plane_shape != sample.plane_shape:
        size_in_index = " x ".join(map(str, screen.plane_shape))
        actual_size = " x ".join(map(str, sample.plane_shape))
        notes.append(
            f"the index states {size_in_index} pixels, its images have {actual_size}: check the pixel size"
        )
    if len(grid.heights) > 1 and grid.z_step is None:
        notes.append("the step along z is unknown")
    notes += [*notes_of_skipped("t", grid.times), *notes_of_skipped("z", grid.heights)]
    if grid.gaps:
        planes = (
            "1 plane that other fields have is" if len(grid.gaps) == 1 else f"{len(grid.gaps)} planes are"
        )
        notes.append(f"{planes} not in the index of a field, so zeros: {first_of(grid.gaps, separator='; ')}")
    return tuple(notes)


def _describe(
    screen: Screen,
    grid: ScreenGrid,
    field: ScreenField,
    sample: ImageDescription,
    existing: set[str],
    notes: tuple[str, ...],
    missing: tuple[str, ...],
) -> ImageDescription:
    first, (row, column, number) = field.first, field.path.split("/")
    count_t, _, count_z = grid.lengths
    axes = ("t" if count_t > 1 else "") + "c" + ("z" if count_z > 1 else "") + "yx"
    lengths = dict(zip("tczyx", (*grid.lengths, *sample.plane_shape), strict=True))
    scale = {"z": grid.z_step, "t": grid.time_step}
    if screen.pixel_size is not None:
        scale["y"], scale["x"] = screen.pixel_size
    times = tuple(seconds for seconds in field.times if seconds is not None)
    return ImageDescription(
        name=f"{row}{column} field {number}",
        files=tuple(plane.file for plane in field.planes.values() if plane.file in existing),
        axes=axes,
        shape=tuple(lengths[axis] for axis in axes),
        dtype=sample.dtype,
        scale={axis: step for axis, step in scale.items() if step is not None},
        units={axis: "second" if axis == "t" else "micrometer" for axis, step in scale.items() if step},
        channels=tuple(screen.channels[number] for number in grid.channels),
        notes=notes,
        well=(row, column, number),
        plate=screen.name,
        stage=first_voxel(
            {"x": first.x, "y": first.y, "z": first.height}, sample.plane_shape, screen.pixel_size
        ),
        times=times if count_t > 1 and len(times) == count_t else (),
        acquired=screen.date or "",
        objective=screen.objective,
        band_rows=sample.band_rows,
        missing=missing,
    )


def _originals(screen: Screen) -> Iterator[OriginalMetadata]:
    """Yield the texts of the index files that are not too large, and the metadata that images contain."""
    for path in screen.index_files:
        if os.path.getsize(path) <= MAX_ORIGINAL_BYTES:
            with open(path, encoding="utf-8-sig", errors="replace") as file:
                yield OriginalMetadata(os.path.basename(path), file.read())
    for name, text in screen.originals:
        yield OriginalMetadata(name, text)
