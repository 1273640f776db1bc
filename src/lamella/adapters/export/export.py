"""``export``: write images and plates as files for other programs.

Each file is written under a temporary name and renamed when it is complete. A journal beside the files lists the
finished ones, so that the same call resumes after an interruption.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from lamella._version import __version__
from lamella.adapters.export import pictures
from lamella.adapters.export.files import TIFF, ExportedFile
from lamella.adapters.export.selection import PlateOrigin, Selection
from lamella.adapters.export.tiff_files import is_imagej_rgb
from lamella.arguments import check_flags
from lamella.errors import InvalidArgumentError, StoreExistsError, WrongTypeError, counted
from lamella.log import logged
from lamella.nodes.collection import Collection
from lamella.nodes.node import NGFFNode
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.ops.display.preview import PreviewOptions
from lamella.ops.execution import Count, Workers, check_progress, reporting, run
from lamella.ops.jobs.journal import Journal, LocalFile, parse_line
from lamella.ops.jobs.units import digest, do_task, tasks
from lamella.ops.regions import region_of_label
from lamella.ops.rewriting.endpoints import make_folder
from lamella.spec.channels import name_for_file
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import sweep_folder
from lamella.store.keys import LONGEST_PART, PRIVATE_PREFIX, private_name
from lamella.store.metadata.parents import refuse_in_store
from lamella.store.paths import local_path
from lamella.store.storage import is_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.labels import LabelImage
    from lamella.ops.execution import Progress
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

_JOURNAL = f"{PRIVATE_PREFIX}export-journal"


def export(
    source: NGFFNode | StrPath | Store | Sequence[NGFFNode | StrPath | Store],
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
    """Write an image as one file, or a plate, a collection or several images as a folder of files.

    OME-TIFF is tiled, with lower levels as SubIFDs and names, colours, sizes and positions in its OME-XML. Files appear
    when they are complete. The same call resumes an interrupted one: finished files are skipped as long as their
    pixels, metadata and settings stay the same.

    Parameters
    ----------
    source
        An image, a plate or a collection, or the path, URL or zarr store of one; or a sequence of them.
    destination
        Path of the new file of an image, or of a folder for one or several files. A plate gets a file for each field
        and channel, named by well, field and channel: ``B3_f0_DAPI.ome.tif``; RGB channels share ``B3_f0.ome.tif``.
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
        True, or names: write label images too, each to its own file: ``cells_nuclei_labels.ome.tif``. In pictures one
        name, which is drawn over the image.
    overwrite
        Replace existing files.
    jobs, executor, progress
        As for `Plate.from_positions`; a unit is a file.

    Returns
    -------
    list of str
        Paths of the files.

    Raises
    ------
    InvalidArgumentError
        The format does not support the pixels, or an argument does not fit the image (a ValueError). Nothing is
        written then.
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
    check_flags(overwrite=overwrite)
    workers = Workers(jobs, executor)
    check_progress(progress)
    path = local_path(destination, "the destination")
    is_single = isinstance(source, str | os.PathLike) or not isinstance(source, Sequence)
    sources: Sequence[NGFFNode | StrPath | Store] = [source] if is_single else source  # type: ignore[list-item, assignment]
    arguments = {"level": level, "channels": channels, "z": z, "t": t, "region": region}
    with ExitStack() as opened:
        images = [image for each_source in sources for image in _named_images(each_source, opened)]
        is_one_image = is_single and len(images) == 1
        is_file = is_one_image and isinstance(images[0][1], Position) and not os.path.isdir(path)
        if not is_file:
            _check_folder(path, images)
        is_path_of_source = is_file or (is_one_image and isinstance(images[0][1], Plate))
        targets = [path] if is_path_of_source else _target_paths(images, path, format)
        units = list(_units([image for _, image in images], targets, format, arguments, labels))
        workers.check_reach(*(unit.position.documents.storage for unit in units))
        with logged("Export %s to %s", counted(len(images), "image"), path):
            _write(units, path, overwrite, is_file, workers, progress)
    return [unit.key for unit in units]


def _named_images(
    source: NGFFNode | StrPath | Store, opened: ExitStack
) -> list[tuple[str, Plate | Position]]:
    """Open a source and return its images, each with a name for the file; a plate counts as one image."""
    node = source
    if isinstance(source, str | os.PathLike) or is_store(source):
        node = opened.enter_context(open_ome_zarr(source))
    if not isinstance(node, Plate | Position | Collection):
        raise WrongTypeError(_unsupported_message(node))
    name = re.sub(r"(\.ome)?\.(zarr|ozx|zip)$", "", os.path.basename(str(node.node_path).rstrip("/")))
    if isinstance(node, Collection):
        return [(f"{name}_{path}", image) for path, image in node.positions()]
    return [(name, node)]


def _unsupported_message(source: object) -> str:
    """Return the message for a row, a well, or an object that is not a node: none of them is exported."""
    subject = f"{source!r} cannot be exported"
    if isinstance(source, NGFFNode):
        subject = (
            f"{source.node_path} is a {type(source).__name__.lower()}, which cannot be exported by itself"
        )
    return f"{subject}: export an image, a plate or a collection, or a list of images."


def _ending_of(path: str) -> str:
    """Return the ending of a path if it is one of `ENDINGS`; empty otherwise."""
    return next((ending for ending in ENDINGS if path.lower().endswith(ending)), "")


def _check_folder(path: str, images: Sequence[tuple[str, Plate | Position]]) -> None:
    """Raise if several files cannot be written to a folder of this name."""
    if not images:
        raise InvalidArgumentError("There is nothing to export: name an image or a plate.")
    ending = _ending_of(path)
    if ending and not os.path.isdir(path):
        first = images[0][1]
        is_plate = len(images) == 1 and isinstance(first, Plate)
        subject = (
            f"{first.node_path} is a plate" if is_plate else f"{counted(len(images), 'image')} in a list"
        )
        raise InvalidArgumentError(
            f"{subject}, so {path} would be a folder: name one without the ending {ending}."
        )


def _target_paths(
    images: Sequence[tuple[str, Plate | Position]], folder: str, format: str | None
) -> list[str]:
    """Return the paths in a folder: a file for each image, and a folder for each plate."""
    ending = next((ending for ending, name in ENDINGS.items() if name == format), ".ome.tif")
    return [os.path.join(folder, name if isinstance(node, Plate) else name + ending) for name, node in images]


def _format_of(path: str, node: NGFFNode) -> Format:
    if isinstance(node, Plate):
        return "ome-tiff"
    if ending := _ending_of(path):
        return ENDINGS[ending]
    raise InvalidArgumentError(
        f"{path} has none of the endings {', '.join(ENDINGS)}: choose one, pass format= (--format), or name a folder "
        "that exists."
    )


def _units(
    nodes: Sequence[Plate | Position],
    targets: Sequence[str],
    format: str | None,
    arguments: Mapping[str, Any],
    labels: bool | Sequence[str],
) -> Iterator[ExportedFile]:
    """Yield the files of all images; raise before the first one is written if two have the same path."""
    paths: set[str] = set()
    for node, target in zip(nodes, targets, strict=True):
        file_format = format or _format_of(target, node)
        if file_format not in (*TIFF, *pictures.FORMATS):
            raise InvalidArgumentError(
                f"format={format!r} is not one of {', '.join([*TIFF, *pictures.FORMATS])}."
            )
        files_of = _pictures_of if file_format in pictures.FORMATS else _tiffs_of
        if isinstance(node, Position):
            _check_ending(target, file_format)
        for unit in files_of(node, target, file_format, arguments, labels):
            _check_length(unit)
            if unit.key in paths:
                raise InvalidArgumentError(
                    f"Two files would be named {unit.key}: rename a channel, or export one by one."
                )
            paths.add(unit.key)
            yield unit


def _check_ending(path: str, format: str) -> None:
    """Raise for a file whose ending is that of another format."""
    ending = _ending_of(path)
    fits_format = (
        not ending or ENDINGS[ending] == format or (ending in (".tif", ".tiff") and format == "ome-tiff")
    )
    if not fits_format:
        raise InvalidArgumentError(
            f"{path} ends with {ending}, which is not an ending of {format}: rename it, or leave the format out."
        )


def _check_length(unit: ExportedFile) -> None:
    """Raise for a name that the file system would refuse after other files are written."""
    length = len(os.fsencode(unit.name))
    if length > LONGEST_PART:
        raise InvalidArgumentError(
            f"The name of {unit.key} has {length} bytes, and {LONGEST_PART} are allowed: choose a shorter one, or "
            "rename the channel or label image."
        )


def _tiffs_of(
    node: Plate | Position, path: str, format: str, arguments: Mapping[str, Any], labels: bool | Sequence[str]
) -> Iterator[ExportedFile]:
    """Yield the file of an image, or those of a plate's channels and label images; a colour image is one file."""
    ending, check, _ = TIFF[format]
    if isinstance(node, Position):
        folder, name = os.path.split(path)
        images = [(name, re.sub(r"(\.ome)?\.tiff?$", "", name, flags=re.IGNORECASE), node)]
    else:
        folder = path
        fields = list(node.positions())
        with_image = [(path, field) for path, field in fields if field.dataset_paths]
        images = [("", _field_name(path), field) for path, field in with_image or fields]
    origins = _origins(node) if isinstance(node, Plate) else {}
    for name, stem, position in images:
        origin = origins.get(position.path)
        selection = replace(Selection.of(position, **arguments), plate=origin)
        selections = [(name or f"{stem}{ending}", selection)]
        in_color = selection.color_name is not None if format == "ome-tiff" else is_imagej_rgb(selection)
        if not name and not in_color:
            selections = [
                (f"{stem}_{name_for_file(channel)}{ending}", replace(selection, channels=(number,)))
                for number, channel in zip(selection.channels, selection.names(), strict=True)
            ]
        for label in _label_names(position, labels):
            of_label = replace(_selection_of_label(position.labels[label], selection), plate=origin)
            selections.append((f"{stem}_{name_for_file(label)}_labels{ending}", of_label))
        for file_name, file_selection in selections:
            check(file_selection)
            yield ExportedFile(file_selection, folder, file_name, format)


def _origins(plate: Plate) -> dict[str, PlateOrigin]:
    """Return the name of a plate, and the acquisition of each field, by the path of the field."""
    acquisitions = {
        acquisition.id: acquisition for acquisition in plate.document.shared_model.acquisitions or ()
    }
    name = plate.document.shared_model.name or ""
    if not acquisitions:
        return dict.fromkeys((path for path, _ in plate.positions()), PlateOrigin(name))
    return {
        f"{path}/{image.path}": PlateOrigin(name, acquisitions.get(image.acquisition or 0))
        for path, well in plate.wells()
        for image in well.document.shared_model.images
    }


def _pictures_of(
    node: Plate | Position, path: str, format: str, arguments: Mapping[str, Any], labels: bool | Sequence[str]
) -> Iterator[ExportedFile]:
    """Yield the picture or movie of an image."""
    if isinstance(node, Plate):
        raise InvalidArgumentError(
            f"{node.node_path} is a plate, and a picture shows one image: lamella preview draws a plate."
        )
    names = _label_names(node, labels)
    if len(names) > 1:
        raise InvalidArgumentError(
            f"A picture shows one label image over the pixels, not {', '.join(names)}."
        )
    channels = arguments["channels"]
    options = PreviewOptions(
        names[0] if names else None,
        arguments["z"],
        arguments["t"],
        None if channels is None else tuple(channels),
        Selection.of(node, arguments["level"]).level,
        arguments["region"],
    )
    folder, name = os.path.split(path)
    yield ExportedFile(pictures.Frames(node, options, still=format == "png"), folder, name, format)


def _field_name(path: str) -> str:
    """Return a name for a field's files: B3_f0; row1-2_f0 of a well whose name is not letters and a number.

    >>> _field_name("B/03/0"), _field_name("row1/2/0")
    ('B03_f0', 'row1-2_f0')
    """
    row, column, field = path.split("/")
    is_usual = re.fullmatch(r"[A-Z]{1,2}", row) and re.fullmatch(r"[0-9]+", column)
    return f"{row}{'' if is_usual else '-'}{column}_f{field}"


def _label_names(position: Position, labels: bool | Sequence[str]) -> list[str]:
    if isinstance(labels, bool):
        return list(position.labels) if labels else []
    return [labels] if isinstance(labels, str) else list(labels)


def _selection_of_label(label: LabelImage, selection: Selection) -> Selection:
    """Return the selection of a label image that covers the same region as that of its image."""
    image = selection.position
    return Selection.of(
        label,
        image.dataset_paths.index(selection.level),
        z="max" if selection.maximum and "z" in label.axis_names else None,
        region=region_of_label(image, label, selection.region),
    )


def _write(
    units: Sequence[ExportedFile],
    path: str,
    overwrite: bool,
    is_file: bool,
    workers: Workers,
    progress: Progress | bool | None,
) -> None:
    """Write the files that the journal does not list as finished; the journal is beside the file, or in the folder."""
    journal_path = os.path.join(path, _JOURNAL)
    if is_file:
        journal_path = os.path.join(units[0].folder, private_name(units[0].name, ".export"))
    head = {"job": digest([__version__, [unit.key for unit in units]])}
    job = digest([__version__, [unit.settings for unit in units]])
    for folder in dict.fromkeys(unit.folder for unit in units):
        refuse_in_store(os.path.join(folder, units[0].name))
        make_folder(folder)
        sweep_folder(folder)
    subject = "frames" if units[0].format in pictures.FORMATS else "bytes"
    with reporting(progress, subject) as report, ExitStack() as locks:
        if not is_file:
            locks.enter_context(LocalStorage(path).lock("export"))
        if not _is_journal_of_call(journal_path, head):
            _refuse_existing(units, overwrite)
        count = Count(report, subject, sum(unit.size for unit in units))
        with Journal(LocalFile(journal_path), head) as journal:
            if is_file:  # in this thread, so that progress is reported within each file
                _write_here([replace(unit, done=count.add) for unit in units], job, journal)
                count.finish()
            else:
                run(do_task, tasks(units, job, journal), workers, on_result=count.add)
        journal.remove()


def _write_here(units: Sequence[ExportedFile], job: str, journal: Journal[LocalFile]) -> None:
    """Write the files of one image; an error of the only file leaves no journal, because there is nothing to resume."""
    try:
        for task in tasks(units, job, journal):
            do_task(task)
    except BaseException:
        if len(units) == 1:
            journal.remove()
        raise


def _is_journal_of_call(journal: str, head: Mapping[str, Any]) -> bool:
    """Return whether a killed call for the same files left its journal: that call may have written existing files."""
    try:
        with open(journal, "rb") as file:
            return bool(parse_line(file.readline()) == head)
    except OSError:
        return False


def _refuse_existing(units: Sequence[ExportedFile], overwrite: bool) -> None:
    for unit in units:
        if os.path.isdir(unit.key) or (os.path.lexists(unit.key) and not overwrite):
            raise StoreExistsError(
                f"{unit.key} exists. Choose another name, or pass overwrite=True (--overwrite)."
            )
