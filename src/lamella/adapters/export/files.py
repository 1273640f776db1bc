"""The files of an export as units of work: each is written under a temporary name, and renamed when it is complete."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from math import prod
from typing import IO, TYPE_CHECKING, Any

from lamella.adapters.export import pictures, tiff_files
from lamella.adapters.export.ome_document import ome_document
from lamella.adapters.export.pictures import Frames
from lamella.errors import LamellaError, StorageError
from lamella.ops.display.planes import PlaneAxes
from lamella.ops.jobs.units import Files, files_of
from lamella.ops.regions import whole_region
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import AtomicFile, temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.adapters.export.selection import Selection
    from lamella.nodes.position import Position

TIFF: dict[str, tuple[str, Callable[[Selection], None], Callable[..., None]]] = {
    "ome-tiff": (".ome.tif", tiff_files.check_ome_tiff, tiff_files.write_ome_tiff),
    "imagej": (".tif", tiff_files.check_imagej, tiff_files.write_imagej),
}
"""Ending, check of the pixels, and writer of each kind of TIFF."""


@dataclass(frozen=True)
class ExportedFile:
    """One file to write, as a unit of a job: see `Unit`.

    ``done`` is called with the bytes, or frames, that were written. A worker gets ``units_per_task`` files at once.
    """

    source: Selection | Frames
    folder: str
    name: str
    format: str
    done: Callable[[float], None] | None = None
    units_per_task: int = 1

    @property
    def key(self) -> str:
        """Path of the file; identifies the unit in the journal."""
        return os.path.join(self.folder, self.name)

    @property
    def position(self) -> Position:
        """The image that is exported."""
        return self.source.position

    @property
    def size(self) -> int:
        """Raw size of the pixels in bytes; of a picture, the number of frames."""
        source = self.source
        if isinstance(source, Frames):
            return len(source)
        levels = source.levels() if self.format == "ome-tiff" else [source.level]
        return sum(prod(source.shape(level)) for level in levels) * source.dtype.itemsize

    @property
    def settings(self) -> list[Any]:
        """Everything that the content of the file depends on, except pixels."""
        source = self.source
        if isinstance(source, Frames):
            return [self.name, self.format, *source.settings]
        region = sorted(source.region.items())
        metadata = hashlib.sha256(ome_document(source)).hexdigest()
        contrast = source.windows() if self.format == "imagej" else []
        parts = [source.level, source.channels, source.maximum, region, metadata, contrast]
        return [self.name, self.format, *parts]

    def reads(self) -> Files:
        """Return the files of the pixels, for all channels between the first and the last exported one."""
        source = self.source
        if isinstance(source, Frames):
            arrays = [image[path].stored for image in source.images for path in image.dataset_paths]
            files = [files_of(array, whole_region(array.meta.shape)) for array in arrays]
            return Files(files[0].storage, files[0].keys, tuple(files[1:]))
        stored = source.position[source.level].stored
        axis = PlaneAxes.of(source.position.axes, stored.meta.ndim).channel
        region = [slice(0, length) for length in stored.meta.shape]
        if axis is not None:
            region[axis] = slice(min(source.channels), max(source.channels) + 1)
        return files_of(stored, tuple(region))

    def writes(self) -> Files:
        """Return the exported file, by its name in its folder."""
        return Files(LocalStorage(self.folder), (self.name,))

    def do(self) -> None:
        """Write the file with the writer of its format."""
        done = self.done or (lambda amount: None)
        write: Callable[..., None] = (
            TIFF[self.format][2] if self.format in TIFF else pictures.WRITERS[self.format]
        )
        write_file(self.key, lambda file: write(self.source, file, done))


def write_file(path: str, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file under a temporary name, and rename it when it is complete."""
    temporary = os.path.join(os.path.dirname(path), temporary_name(".tmp"))
    try:
        target = AtomicFile(temporary, path, fsync=False)
        try:
            with open(temporary, "r+b") as file:
                write(file)
            target.commit()
        finally:
            target.discard()
    except LamellaError:  # an error of the source, such as damaged pixels
        raise
    except OSError as error:
        # An OSError of numpy lacks the reason of the system.
        reason = error.strerror or f"{error}; the disk may be full"
        raise StorageError(f"Cannot write {path}: {reason}.", error.errno) from error
