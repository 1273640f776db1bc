"""``convert``: write images in files of other formats to one OME-Zarr store, an image or a plate.

The store is written under a temporary name and renamed when it is complete. A journal beside it lists the finished
units (:mod:`lamella.ops.jobs.units`), so that the same call resumes a killed one. ``inputs`` plans the images,
``write`` writes the pixels, ``store`` the metadata.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from lamella._version import __version__
from lamella.errors import counted
from lamella.log import logged
from lamella.ops.conversion.facts import write_originals
from lamella.ops.conversion.inputs import Inputs, plan_images
from lamella.ops.conversion.store import (
    ImageSettings,
    begin_image,
    create_positions,
    describe_plate,
    end_image,
    state_of_image,
)
from lamella.ops.conversion.write import write_images
from lamella.ops.execution import Workers
from lamella.ops.jobs.journal import Journal, LocalFile
from lamella.ops.jobs.units import is_done
from lamella.ops.new_store import new_store
from lamella.ops.progress import Count, check_progress, reporting
from lamella.store.file_system import stamp_of
from lamella.store.paths import location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from lamella.ops.conversion.contrast import Sample
    from lamella.ops.conversion.inputs import InputPlan, Layout, Series
    from lamella.ops.conversion.reader import Formats, Reader
    from lamella.ops.conversion.source import PlaneSource
    from lamella.ops.conversion.write import ImageWrite
    from lamella.ops.progress import Progress
    from lamella.ops.rewriting.destination import Destination
    from lamella.store.layout import Cut
    from lamella.types import JSONObject, StrPath, VersionName


@dataclass(frozen=True)
class ConvertReport:
    """The result of ``convert``. Always true: a failed conversion raises.

    Attributes
    ----------
    destination : str
        Path of the store.
    layout : "fov", "hcs" or "collection"
        One image, a plate, or images by number.
    images, planes : int
        Number of images, and of YX planes in them.
    nbytes : int
        Size of their pixels, uncompressed, without pyramid levels.
    levels : int
        Maximum number of levels of an image.
    notes : tuple of str
        Information for the user: missing planes, files that were left out.

    Examples
    --------
    >>> import lamella, tifffile
    >>> tifffile.imwrite(tmp / "cells.tif", np.zeros((5, 32, 32), "uint16"), metadata={"axes": "ZYX"})
    >>> report = lamella.convert(tmp / "cells.tif", tmp / "cells.zarr")
    >>> report.layout, report.images, report.planes
    ('fov', 1, 5)
    """

    destination: str
    layout: Layout
    images: int
    planes: int
    nbytes: int
    levels: int
    notes: tuple[str, ...]

    def to_dict(self) -> JSONObject:
        """Return the report as JSON values.

        Examples
        --------
        >>> ConvertReport("cells.zarr", "fov", 1, 5, 10240, 1, ()).to_dict()["planes"]
        5
        """
        return {**asdict(self), "notes": list(self.notes)}


def convert(
    sources: StrPath | PlaneSource | Sequence[StrPath | PlaneSource],
    destination: StrPath,
    *,
    well_regex: str | None = None,
    map_file: StrPath | None = None,
    series: Series | None = None,
    version: VersionName = "0.5",
    chunks: Cut = None,
    shards: Cut = None,
    levels: int | Literal["auto"] = "auto",
    jobs: int | None = None,
    executor: Executor | None = None,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
    format: str | Reader | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ConvertReport:
    """Convert images to an OME-Zarr store.

    One file is one image. A folder is one image too: its files are stacked in natural order, along t, z or c if the
    word before the number in their names says so (``t001``, ``time_1``, ``z3``, ``ch2``), else along z (along t if each
    file is a z-stack). The files of a multi-file OME-TIFF are one image. Several images need a plate: a position for
    each from `well_regex` or `map_file`, or OME metadata that name the wells. Every image gets a channel axis, because
    names, colours and contrast belong to channels.

    Parameters
    ----------
    sources : path, PlaneSource, or a sequence of them
        Files, folders, or opened sources.
    destination : str or path-like
        The new store: a folder; an archive by its ending, ``.ozx`` or ``.zip``; or a URL, to which a temporary folder
        is copied at the end.
    well_regex : str, optional
        Regular expression searched in file names, with groups row and column (or col), and maybe field, channel, z, t.
        Without row and column, the files form one image.
    map_file : str or path-like, optional
        CSV table with the header ``file,row,column,field[,channel,z,t]``.
    series : int, "all" or "fields", optional
        For files with several images: the number of the one to convert, from 0; "all" makes a collection of them (as
        bioformats2raw does), "fields" the fields of the well A/1, unless the file names wells.
    version : "0.4", "0.5" or "0.6"
        OME-NGFF version.
    chunks, shards : "auto", "none" or sequence of int, optional
        Lengths for the last axes. By default chunks near 1 MiB in shards up to 16 MiB.
    levels : int or "auto"
        Levels of the pyramid; "auto" until y and x are at most 256.
    jobs : int, optional
        Number of workers; one per processor by default.
    executor : concurrent.futures.Executor, optional
        Runs the units instead of threads of this process. Its workers need the same paths. The pixels are the same.
    overwrite : bool
        Replace an existing Zarr store, once the new one is complete.
    progress : bool or callable, optional
        True shows a bar on the terminal. A function is called with the planes done, all planes, and "planes" or
        "pyramid".
    format : str or Reader, optional
        Reads all files as one format: its name in `lamella.readers.list_formats`, or a reader. By default the first
        reader that claims a file reads it.
    storage_options : mapping, optional
        Credentials and settings of a destination at a URL, as for `lamella.open_ome_zarr`.

    Returns
    -------
    ConvertReport
        The destination and the numbers of images, planes and levels.

    Raises
    ------
    SourceError
        A source cannot be read or placed; nothing is left at the destination.
    StoreExistsError
        The destination exists, and `overwrite` is false or it is not a Zarr store.
    InvalidArgumentError
        Options that do not fit; a source that cannot be sent to the workers.
    WorkerLostError
        The executor lost a process; the same call resumes.
    MissingDependencyError
        The reader of the format is not installed.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from lamella.ops.conversion.source import ArraySource, SourceChannel
    >>> image = np.arange(2 * 64 * 64, dtype="uint16").reshape(2, 64, 64)
    >>> source = ArraySource(image, "cyx", channels=(SourceChannel("DAPI"), SourceChannel("GFP")))
    >>> report = convert(source, tempfile.mkdtemp() + "/cells.zarr")
    >>> report.images, report.planes, report.levels
    (1, 2, 1)
    """
    settings = ImageSettings(version, chunks, shards, levels)
    settings.check()
    workers = Workers(jobs, executor)
    check_progress(progress)
    is_single = isinstance(sources, (str, bytes)) or not isinstance(sources, Iterable)
    source_list = [sources] if is_single else sources
    with new_store(destination, overwrite, "convert", version, progress, storage_options) as target:
        is_placed = well_regex is not None or map_file is not None
        inputs = Inputs(source_list, _formats(format), series, is_placed=is_placed)  # type: ignore[arg-type]
        with closing(inputs):
            plan = plan_images(inputs, well_regex=well_regex, map_file=map_file)
            level_count = _write_store(target, plan, settings, workers, progress)
    descriptions = [image.source.description for image in plan.images]
    return ConvertReport(
        destination=location(destination),
        layout=plan.layout,
        images=len(plan.images),
        planes=sum(description.plane_count for description in descriptions),
        nbytes=sum(description.nbytes for description in descriptions),
        levels=level_count,
        notes=plan.notes,
    )


def _write_store(
    target: Destination,
    plan: InputPlan,
    settings: ImageSettings,
    workers: Workers,
    progress: Progress | bool | None,
) -> int:
    """Write the store under a temporary name, then rename it; return the maximum number of levels of an image."""
    planes = sum(image.source.description.plane_count for image in plan.images)
    job = _digest(plan, settings)
    with (
        logged("Convert %s to %s", counted(len(plan.images), "image"), target.path),
        reporting(progress, "planes") as report,
        target.temporary(job) as folder,
    ):
        file = LocalFile(os.path.join(os.path.dirname(folder), "journal"))
        with Journal(file, {"job": job or secrets.token_hex(8)}) as journal:
            count = Count(report, "planes", planes)
            name = plan.images[0].source.description.plate or target.name
            return _write_all(folder, plan, settings, count, name, workers, journal, job or "")


def _formats(format: str | Reader | None) -> Formats:
    # The only import of the layer above: convert() with a path must find a reader.
    from lamella.adapters.formats import choose_formats

    return choose_formats(format)


def _write_all(
    folder: str,
    plan: InputPlan,
    settings: ImageSettings,
    tally: Count,
    name: str,
    workers: Workers,
    journal: Journal[LocalFile],
    job: str,
) -> int:
    images = plan.images

    with create_positions(folder, plan, settings, name=name) as (root, positions):

        def unfinished_images() -> Iterator[tuple[int, ImageWrite]]:
            for number, (image, position) in enumerate(zip(images, positions, strict=True)):
                line = journal.get(f"image {number}")
                if line is not None and is_done(line, job, state_of_image(position)):
                    tally.add(image.source.description.plane_count)
                else:
                    yield number, begin_image(image, position, settings)

        def finish_image(number: int, sample: Sample) -> None:
            end_image(images[number], positions[number], sample, is_described_later=plan.layout == "hcs")
            journal.add(f"image {number}", job, [state_of_image(positions[number])])
            journal.flush()

        sizes = [image.source.description.nbytes for image in images]
        write_images(unfinished_images, sizes, tally, finish_image, journal, job, workers)
        if plan.layout == "hcs":
            describe_plate(images, positions, workers)
        in_order = sorted(images, key=lambda image: image.number)
        write_originals(root, plan.originals, [image.path for image in in_order if image.path])
        return max(len(position.dataset_paths) for position in positions)


def _digest(plan: InputPlan, settings: ImageSettings) -> str | None:
    """Return a digest of the settings and sources (size and times of their files); None for sources without files."""
    values: list[object] = [__version__, settings]
    for image in plan.images:
        description = image.source.description
        try:
            stamps = [stamp_of(os.stat(file)) for file in description.files]
        except OSError:
            return None
        if not stamps:
            return None
        values += [image.path, type(image.source), description, stamps]
    return hashlib.sha256(repr(values).encode()).hexdigest()
