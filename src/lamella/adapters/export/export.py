"""``export``: write images and plates as files for other programs, each complete or not there."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from math import prod
from typing import IO, TYPE_CHECKING, Any, Literal

from lamella._version import __version__
from lamella.adapters.export import pictures, tiff_files
from lamella.adapters.export.selection import Selection
from lamella.errors import InvalidArgumentError, StorageError, StoreExistsError, WrongTypeError
from lamella.log import logged
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.ops.display.planes import PlaneAxes
from lamella.ops.display.preview import PreviewOptions
from lamella.ops.execution import Workers, run
from lamella.ops.jobs.journal import Journal, LocalFile
from lamella.ops.jobs.units import Files, digest, do_task, files_of, tasks
from lamella.ops.progress import Count, check_progress, reporting
from lamella.ops.rewriting.endpoints import make_folder
from lamella.store.keys import PRIVATE_PREFIX, is_private
from lamella.store.local import LocalStorage
from lamella.store.parents import refuse_in_store
from lamella.store.paths import local_path
from lamella.store.temporary_files import temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from lamella.nodes.labels import LabelImage
    from lamella.nodes.node import NGFFNode
    from lamella.ops.progress import Progress
    from lamella.types import StrPath

Format = Literal["ome-tiff", "imagej", "png", "gif", "mp4"]

ENDINGS: dict[str, Format] = {
    ".ome.tif": "ome-tiff",
    ".ome.tiff": "ome-tiff",
    ".tif": "imagej",
    ".tiff": "imagej",
    ".png": "png",
    ".gif": "gif",
    ".mp4": "mp4",
}
"""Format by the ending of a file, the longest ending first."""

_TIFF: dict[str, tuple[str, Callable[[Selection], None], Callable[..., None]]] = {
    "ome-tiff": (".ome.tif", tiff_files.check_ome_tiff, tiff_files.write_ome_tiff),
    "imagej": (".tif", tiff_files.check_imagej, tiff_files.write_imagej),
}
_JOURNAL = f"{PRIVATE_PREFIX}export-journal"


def export(
    source: NGFFNode | StrPath,
    destination: StrPath,
    *,
    format: Format | None = None,
    level: int | str = 0,
    channels: Sequence[str] | None = None,
    z: int | Literal["max"] | None = None,
    t: int | None = None,
    region: Mapping[str, Any] | None = None,
    labels: bool | Sequence[str] = False,
    overwrite: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
) -> list[str]:
    """Write an image as one file, or a plate as a folder with a file for each field and channel.

    OME-TIFF is tiled, with lower levels as SubIFDs and names, colours, sizes and positions in its OME-XML. Files appear
    when they are complete. Of a plate, the same call resumes an interrupted one: finished files are skipped as long as
    their pixels, metadata and settings stay the same.

    Parameters
    ----------
    source
        An image, or a plate, or the path or URL of one.
    destination
        The file; of a plate the folder, whose files are named by well, field and channel: ``B3_f0_DAPI.ome.tif``.
    format
        "ome-tiff", "imagej" (uint8, uint16 and float32), "png" of one plane in colour, "gif" or "mp4" (which needs
        ffmpeg) over time, or over z without time. By default from the ending: ``.ome.tif``, ``.tif`` for ImageJ,
        ``.png``, ``.gif``, ``.mp4``; OME-TIFF for a plate.
    level
        Number or path of the finest level to write.
    channels
        Names; all by default, and in pictures the active ones.
    z
        A plane, or "max" for the maximum; all planes by default, and in pictures the middle one.
    t
        A time point; all by default, and in a PNG the first one.
    region
        Start and stop by axis in pixels of level 0: ``{"y": (0, 512), "x": (0, 512)}``.
    labels
        True, or names: write label images too, each to a file of its own: ``cells_nuclei.ome.tif``. In pictures one
        name, which is drawn over the image.
    overwrite
        Replace existing files.
    jobs, executor, progress
        As for `Plate.from_positions`; files are written at a time.

    Returns
    -------
    list of str
        Paths of the files.

    Raises
    ------
    InvalidArgumentError
        The pixels do not fit the format, or an argument not the image (a ValueError). Nothing is written then.
    StoreExistsError
        A file exists already (a FileExistsError).
    MissingDependencyError
        tifffile, Pillow or ffmpeg is not installed (an ImportError).

    Examples
    --------
    >>> import lamella
    >>> [os.path.basename(path) for path in lamella.export(position, tmp / "cells.ome.tif", z="max")]
    ['cells.ome.tif']
    """
    workers = Workers(jobs, executor)
    check_progress(progress)
    with ExitStack() as opened:
        node: Any = source
        if isinstance(source, str | os.PathLike):
            node = opened.enter_context(open_ome_zarr(source))
        if not isinstance(node, Plate | Position):
            raise WrongTypeError(f"{node!r} is not an image or a plate: export one of its images.")
        path = local_path(destination, "the destination")
        refuse_in_store(path)
        chosen = format or _format_of(path, node)
        if chosen not in (*_TIFF, *pictures.FORMATS):
            raise InvalidArgumentError(
                f"format is one of {', '.join([*_TIFF, *pictures.FORMATS])}, not {format!r}."
            )
        with logged("Export %s to %s", node.node_path, path):
            if chosen in pictures.FORMATS:
                image = _image_of(node)
                options = _picture_options(image, level, channels, z, t, region, labels)
                return _picture(image, path, chosen, options, overwrite, progress)
            arguments = {"level": level, "channels": channels, "z": z, "t": t, "region": region}
            units = list(_units(node, path, chosen, arguments, labels))
            workers.check_reach(*(unit.selection.position.documents.storage for unit in units))
            _write(units, overwrite, isinstance(node, Plate), workers, progress)
            return [os.path.join(unit.folder, unit.name) for unit in units]


def _format_of(path: str, node: NGFFNode) -> Format:
    if isinstance(node, Plate):
        return "ome-tiff"
    for ending, name in ENDINGS.items():
        if path.lower().endswith(ending):
            return name
    raise InvalidArgumentError(f"{path} has none of the endings {', '.join(ENDINGS)}: pass format=.")


# -- TIFF ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _FileUnit:
    """One TIFF file."""

    selection: Selection
    folder: str
    name: str
    format: str
    together: int = 1

    @property
    def key(self) -> str:
        return self.name

    @property
    def size(self) -> int:
        selection = self.selection
        levels = selection.levels() if self.format == "ome-tiff" else [selection.level]
        return sum(prod(selection.shape(level)) for level in levels) * selection.dtype.itemsize

    @property
    def settings(self) -> list[Any]:
        chosen = self.selection
        metadata = tiff_files.ome_metadata(chosen)
        region = sorted(chosen.region.items())
        return [self.name, self.format, chosen.level, chosen.channels, chosen.maximum, region, metadata]

    def reads(self) -> Files:
        stored = self.selection.position[self.selection.level].stored
        axis = PlaneAxes.of(self.selection.position.axes, stored.meta.ndim).channel
        region = [slice(0, n) for n in stored.meta.shape]
        if axis is not None:
            region[axis] = slice(min(self.selection.channels), max(self.selection.channels) + 1)
        return files_of(stored, tuple(region))

    def writes(self) -> Files:
        return Files(LocalStorage(self.folder), (self.name,))

    def do(self) -> None:
        self.write(lambda nbytes: None)

    def write(self, done: Callable[[float], None]) -> None:
        """Write the file; `done` is called with the bytes of pixels that were written."""
        write_file(
            os.path.join(self.folder, self.name),
            lambda file: _TIFF[self.format][2](self.selection, file, done),
        )


def write_file(path: str, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file under a temporary name, and rename it when it is complete."""
    temporary = os.path.join(os.path.dirname(path), temporary_name(".tmp"))
    try:
        with open(temporary, "x+b") as file:
            write(file)
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"Cannot write {path}: {error.strerror or error}.", error.errno) from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _units(
    node: Plate | Position, path: str, format: str, arguments: Mapping[str, Any], labels: bool | Sequence[str]
) -> Iterator[_FileUnit]:
    ending, check, _ = _TIFF[format]
    if isinstance(node, Position):
        folder, name = os.path.split(path)
        stem = re.sub(r"(\.ome)?\.tiff?$", "", name, flags=re.IGNORECASE)
        images = [(name, stem, node)]
    else:
        folder = path
        images = [("", _field_name(place), position) for place, position in node.positions()]
    names: set[str] = set()
    for name, stem, position in images:
        selection = Selection.of(position, **arguments)
        parts = [(name or None, selection)]
        if not name:
            parts = [
                (f"{stem}_{_plain(channel)}{ending}", replace(selection, channels=(number,)))
                for number, channel in zip(selection.channels, selection.names(), strict=True)
            ]
        for label in _label_names(position, labels):
            parts.append((f"{stem}_{_plain(label)}{ending}", _of_label(position.labels[label], arguments)))
        for file, part in parts:
            if str(file) in names:
                raise InvalidArgumentError(
                    f"Two files of {node.node_path} would be named {file}: rename a channel."
                )
            names.add(str(file))
            check(part)
            yield _FileUnit(part, folder, str(file), format)


def _field_name(path: str) -> str:
    row, column, field = path.split("/")
    return f"{row}{column}_f{field}"


def _plain(name: str) -> str:
    """Return a name as a part of a file name: other characters than letters, digits, "." and "-" become "-"."""
    return re.sub(r"[^\w.-]|_", "-", name).strip(".") or "channel"


def _label_names(position: Position, labels: bool | Sequence[str]) -> list[str]:
    if isinstance(labels, bool):
        return list(position.labels) if labels else []
    return [labels] if isinstance(labels, str) else list(labels)


def _of_label(label: LabelImage, arguments: Mapping[str, Any]) -> Selection:
    """Select the same part of a label image; z and t count if it has these axes."""
    own = label.axis_names
    chosen = {key: arguments[key] for key in ("z", "t") if key in own}
    region = {axis: span for axis, span in (arguments["region"] or {}).items() if str(axis).lower() in own}
    level = arguments["level"] if isinstance(arguments["level"], int) else 0
    return Selection.of(label, level, region=region or None, **chosen)


def _write(
    units: Sequence[_FileUnit],
    overwrite: bool,
    is_plate: bool,
    workers: Workers,
    progress: Progress | bool | None,
) -> None:
    folder = units[0].folder
    job = digest([__version__, [unit.settings for unit in units]])
    with reporting(progress, "bytes") as report, ExitStack() as locks:
        count = Count(report, "bytes", sum(unit.size for unit in units))
        if not is_plate:
            _refuse_existing(units, overwrite)
            for unit in units:
                unit.write(count.add)
            return
        make_folder(folder)
        locks.enter_context(LocalStorage(folder).lock("export"))
        place = os.path.join(folder, _JOURNAL)
        if not os.path.lexists(place):
            _refuse_existing(units, overwrite)
        for name in os.listdir(folder):
            if is_private(name) and name.endswith(".tmp"):
                os.unlink(os.path.join(folder, name))
        with Journal(LocalFile(place), {"job": job}) as journal:
            run(do_task, tasks(units, job, journal), workers, done=count.add)
        journal.remove()


def _refuse_existing(units: Sequence[_FileUnit], overwrite: bool) -> None:
    for unit in units:
        path = os.path.join(unit.folder, unit.name)
        if os.path.isdir(path) or (os.path.lexists(path) and not overwrite):
            raise StoreExistsError(f"{path} exists. Choose another name, or pass overwrite=True.")


# -- pictures -----------------------------------------------------------------------------------------------------


def _image_of(node: Plate | Position) -> Position:
    if isinstance(node, Position):
        return node
    raise InvalidArgumentError(
        f"{node.node_path} is a plate, and a picture shows one image: lamella preview draws a plate."
    )


def _picture_options(
    node: Position,
    level: int | str,
    channels: Sequence[str] | None,
    z: int | Literal["max"] | None,
    t: int | None,
    region: Mapping[str, Any] | None,
    labels: bool | Sequence[str],
) -> PreviewOptions:
    names = _label_names(node, labels)
    if len(names) > 1:
        raise InvalidArgumentError(
            f"A picture shows one label image over the pixels, not {', '.join(names)}."
        )
    path = node.dataset_paths[level] if isinstance(level, int) and node.dataset_paths else str(level)
    return PreviewOptions(
        names[0] if names else None, z, t, None if channels is None else tuple(channels), path, region
    )


def _picture(
    node: Position,
    path: str,
    format: str,
    options: PreviewOptions,
    overwrite: bool,
    progress: Progress | bool | None,
) -> list[str]:
    if os.path.lexists(path) and not overwrite:
        raise StoreExistsError(f"{path} exists. Choose another name, or pass overwrite=True.")
    with reporting(progress, "frames") as report:
        frames = pictures.Frames(node, options, still=format == "png")
        count = Count(report, "frames", len(frames))
        write_file(path, lambda file: pictures.WRITERS[format](frames, file, count.add))
    return [path]
