"""``convert``: write images in files of other formats to one OME-Zarr store, an image or a plate.

``input_plan`` plans the images, ``write`` writes the pixels, ``store`` the metadata; a journal lets a call resume.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from lamella._version import __version__
from lamella.arguments import check_flags
from lamella.errors import counted
from lamella.log import logged
from lamella.ops.conversion.corrections import Corrections
from lamella.ops.conversion.facts import summarize, write_originals
from lamella.ops.conversion.file_layouts import find_layout
from lamella.ops.conversion.input_plan import plan_images
from lamella.ops.conversion.inputs import Arrangement, Inputs
from lamella.ops.conversion.store import (
    ImageSettings,
    MetadataCache,
    PlateSample,
    channel_labels,
    create_image_arrays,
    create_positions,
    describe_image,
    describe_plate,
    is_complete,
    plan_arrays,
    states_of_image,
)
from lamella.ops.conversion.write import ImageWriter, key_of_image
from lamella.ops.execution import Count, Workers, check_progress, counting
from lamella.ops.jobs.journal import Journal
from lamella.ops.new_store import name_of, new_store
from lamella.store.files.file_system import stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from numpy.typing import DTypeLike
    from zarr.abc.store import Store

    from lamella.ops.conversion.contrast import Sample
    from lamella.ops.conversion.input_plan import InputPlan, Layout
    from lamella.ops.conversion.inputs import Series
    from lamella.ops.conversion.reader import Formats, Reader
    from lamella.ops.conversion.source import PlaneSource
    from lamella.ops.conversion.write import ImageWrite
    from lamella.ops.execution import Progress
    from lamella.ops.jobs.journal import LocalFile
    from lamella.ops.rewriting.workspace import Workspace
    from lamella.store.metadata.array_creation import GridChoice
    from lamella.types import JSONObject, StrPath, VersionName


@dataclass(frozen=True)
class PlannedImage:
    """An image that a dry run of ``convert`` found.

    Attributes
    ----------
    path : str
        Path in the store; empty for a single image.
    axes : str
        Letters of "tczyx".
    shape : tuple of int
        Length of each axis.
    dtype : str
        Type of the pixels.
    channels : tuple of str
        Names of the channels.
    files : int
        Number of files with its pixels.
    scale : mapping of str to float
        Size of a voxel along the axes, where known.

    Examples
    --------
    >>> import lamella, tifffile
    >>> tifffile.imwrite(tmp / "cells.tif", np.zeros((32, 40), "uint16"))
    >>> (image,) = lamella.convert(tmp / "cells.tif", tmp / "cells.zarr", dry_run=True).positions
    >>> image.axes, image.shape, image.files
    ('cyx', (1, 32, 40), 1)
    """

    path: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    channels: tuple[str, ...]
    files: int
    scale: Mapping[str, float]

    def to_dict(self) -> JSONObject:
        """Return the image as JSON values.

        Examples
        --------
        >>> PlannedImage("A/1/0", "cyx", (1, 8, 8), "uint8", ("DAPI",), 1, {}).to_dict()["shape"]
        [1, 8, 8]
        """
        return {**asdict(self), "shape": list(self.shape), "channels": list(self.channels)}


@dataclass(frozen=True)
class ConvertReport:
    """The result of ``convert``. In a condition it is true: a failed conversion raises.

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
    kept, lacking, dropped : tuple of str
        Kinds of metadata, such as "pixel size" and "stage positions": those that were stored, basic ones that no file
        has, and those of the files that were left out.
    dry_run : bool
        Whether nothing was written: then `levels` is 0.
    positions : tuple of PlannedImage
        The images that a dry run found; empty otherwise.

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
    kept: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    dry_run: bool = False
    positions: tuple[PlannedImage, ...] = ()

    def to_dict(self) -> JSONObject:
        """Return the report as JSON values.

        Examples
        --------
        >>> ConvertReport("cells.zarr", "fov", 1, 5, 10240, 1, ()).to_dict()["planes"]
        5
        """
        result = asdict(self)
        for name in ("notes", "kept", "lacking", "dropped"):
            result[name] = list(result[name])
        result["positions"] = [image.to_dict() for image in self.positions]
        return (
            result
            if self.dry_run
            else {name: result[name] for name in result if name not in ("dry_run", "positions")}
        )


def convert(
    sources: StrPath | PlaneSource | Sequence[StrPath | PlaneSource],
    destination: StrPath | Store,
    *,
    well_regex: str | None = None,
    map_file: StrPath | None = None,
    layout: str | None = None,
    series: Series | None = None,
    version: VersionName = "0.5",
    chunks: GridChoice = None,
    shards: GridChoice = None,
    levels: int | Literal["auto"] = "auto",
    jobs: int | None = None,
    executor: Executor | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    on_note: Callable[[str], None] | None = None,
    progress: Progress | bool | None = None,
    format: str | Reader | None = None,
    axes: str | None = None,
    pixel_size: float | Sequence[float] | None = None,
    unit: str | None = None,
    channel_names: Sequence[str] | None = None,
    colors: Sequence[str] | None = None,
    time_step: float | None = None,
    name: str | None = None,
    dtype: DTypeLike | None = None,
    take_what_is_there: bool = False,
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
    destination : path, URL or zarr store
        The new store: a folder; an archive by its ending, ``.ozx`` or ``.zip``; or a URL, to which a temporary folder
        is copied at the end.
    well_regex : str, optional
        Regular expression searched in the path of each file within its folder, with groups row and column (or col), or
        well ("B03"), and maybe field, channel, z, t. Folders are walked. Without a well, the files form one image.
    map_file : str or path-like, optional
        CSV table with the header ``file,row,column,field[,channel,z,t]``; one column ``well`` ("B03") may stand for row
        and column.
    layout : str, optional
        The instrument that named the files: "operetta", "imagexpress", "cellvoyager", "incell", "scanr" or "cellomics";
        "lamella" for the files of `lamella.export`. The index file of the instrument is read if there is one, else the
        names of the files. By default the instrument is recognised.
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
        Runs the units instead of threads of this process. Its workers must reach the files at the same paths. The
        written pixels do not depend on it.
    overwrite : bool
        Replace an existing Zarr store, once the new one is complete.
    dry_run : bool
        Write nothing, and return what would be written: `ConvertReport.positions`. Pixels are not read.
    on_note : callable, optional
        Called with each note about the files (gaps, files left out, guesses) before anything is written.
    progress : bool or callable, optional
        True shows a bar on the terminal. A function is called with the planes done, all planes, and "planes" or
        "pyramid".
    format : str or Reader, optional
        Reads all files as one format: its name in `lamella.readers.list_formats`, or a reader. By default the first
        reader that claims a file reads it.
    axes : str, optional
        Names of the axes of each file instead of those that were found, in their order: "tyx" where "zyx" was guessed.
    pixel_size : float or sequence of float, optional
        Size of a pixel along y and x, or sizes along y, x or z, y, x.
    unit : str, optional
        Unit of the sizes; micrometers for a `pixel_size` without one.
    channel_names, colors : sequence of str, optional
        Name and colour of each channel; a colour is a name of CSS or hex digits.
    time_step : float, optional
        Seconds between time points.
    name : str, optional
        Name of the image, or of the plate.
    dtype : data-type, optional
        Type of the stored pixels. Values out of its range, and whole numbers that it would round, raise SourceError.
    take_what_is_there : bool
        Read what is left of truncated files, and of data sets that lack files; missing planes are zeros.
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
    >>> import lamella
    >>> files = lamella.export(position, tmp / "cells.ome.tif")
    >>> report = lamella.convert(files[0], tmp / "cells.zarr")
    >>> report.images, report.planes, report.levels
    (1, 8, 1)
    """
    check_flags(overwrite=overwrite, dry_run=dry_run)
    settings = ImageSettings(version, chunks, shards, levels)
    arrangement = Arrangement(well_regex, map_file, None if layout is None else find_layout(layout))
    corrections = Corrections(
        axes, pixel_size, unit, channel_names, colors, time_step, name, dtype, take_what_is_there
    )
    workers = Workers(jobs, executor)
    check_progress(progress)
    is_single = isinstance(sources, (str, bytes)) or not isinstance(sources, Iterable)
    source_list = [sources] if is_single else sources
    inputs = Inputs(
        source_list,  # type: ignore[arg-type]
        find_formats(format),
        series,
        arrangement=arrangement,
        corrections=corrections,
    )
    if dry_run:
        with closing(inputs):
            return _report(plan_images(inputs), destination, on_note, dry_run=True)
    target = new_store(destination, overwrite, "convert", version, progress, storage_options)
    return convert_inputs(inputs, destination, target, settings, workers, progress, on_note)


def convert_inputs(
    inputs: Inputs,
    destination: StrPath | Store,
    new_target: AbstractContextManager[Workspace],
    settings: ImageSettings,
    workers: Workers,
    progress: Progress | bool | None,
    on_note: Callable[[str], None] | None,
) -> ConvertReport:
    """Write the images of inputs to a new store, and close the inputs."""
    with new_target as target, closing(inputs):
        plan = plan_images(inputs)
        report = _report(plan, destination, on_note)
        digest = _digest(plan, settings, inputs)
        job = digest or secrets.token_hex(8)  # without a digest no call can resume this one
        name = plan.images[0].source.description.plate or target.name
        with (
            logged("Convert %s to %s", counted(len(plan.images), "image"), target.path),
            counting(progress, "planes", report.planes) as planes_done,
            target.temporary(digest) as folder,
            Journal(target.journal, {"job": job}) as journal,
        ):
            level_count = _write_all(folder, plan, settings, planes_done, name, workers, journal, job)
    return replace(report, levels=level_count)


def _report(
    plan: InputPlan,
    destination: StrPath | Store,
    on_note: Callable[[str], None] | None,
    *,
    dry_run: bool = False,
) -> ConvertReport:
    """Return the report of a plan before it is written, and call ``on_note`` with each of its notes."""
    if on_note is not None:
        for note in plan.notes:
            on_note(note)
    descriptions = [image.source.description for image in plan.images]
    if plan.layout != "hcs":  # other layouts do not store the name of the plate
        descriptions = [replace(description, plate="") for description in descriptions]
    kept, lacking, dropped = summarize(descriptions, plan.originals, plan.originals_left_out)
    planned = (
        PlannedImage(
            image.path,
            description.axes,
            tuple(description.shape),
            str(description.dtype),
            tuple(channel_labels(description)),
            len(description.files),
            {axis: description.scale[axis] for axis in description.axes if axis in description.scale},
        )
        for image, description in zip(plan.images, descriptions, strict=True)
    )
    return ConvertReport(
        destination=name_of(destination),
        layout=plan.layout,
        images=len(plan.images),
        planes=sum(description.plane_count for description in descriptions),
        nbytes=sum(description.nbytes for description in descriptions),
        levels=0,
        notes=plan.notes,
        kept=tuple(kept),
        lacking=tuple(lacking),
        dropped=tuple(dropped),
        dry_run=dry_run,
        positions=tuple(planned) if dry_run else (),
    )


def find_formats(format: str | Reader | None) -> Formats:
    """Return the formats that a conversion may use."""
    # The only import of the layer above: convert() with a path must find a reader.
    from lamella.adapters.formats import choose_formats

    return choose_formats(format)


def _write_all(
    folder: str,
    plan: InputPlan,
    settings: ImageSettings,
    planes_done: Count,
    name: str,
    workers: Workers,
    journal: Journal[LocalFile],
    job: str,
) -> int:
    """Write the store in a folder; return the maximum number of levels of an image."""
    images, levels = plan.images, plan_arrays(plan.images, settings)
    plate_sample = PlateSample(len(images)) if plan.layout == "hcs" else None
    cache = MetadataCache()

    with create_positions(folder, plan, levels, settings, name=name) as (root, positions, created):

        def unfinished_images() -> Iterator[tuple[int, ImageWrite]]:
            for number, (image, position) in enumerate(zip(images, positions, strict=True)):
                line = journal.get(key_of_image(number))
                if line is not None and is_complete(
                    position, levels[number], line, job, is_listed=plate_sample is None
                ):
                    planes_done.add(image.source.description.plane_count)
                    if plate_sample is not None:
                        plate_sample.add_stored(image, position, levels[number])
                else:
                    plate_size = 0 if plate_sample is None else len(images)
                    yield (
                        number,
                        create_image_arrays(
                            image, position, levels[number], plate_size, is_new=image.path in created
                        ),
                    )

        def finish_image(number: int, sample: Sample, is_recorded: bool) -> None:
            if plate_sample is None:
                describe_image(images[number], positions[number], levels[number], sample, cache)
            else:
                plate_sample.add(sample)
            if not is_recorded:
                source_state, image_state = states_of_image(positions[number], levels[number], job)
                journal.add(key_of_image(number), source_state, [image_state])
                journal.flush()

        sizes = [image.source.description.nbytes for image in images]
        ImageWriter(planes_done, journal, job, workers).write(unfinished_images(), sizes, finish_image)
        if plate_sample is not None:
            describe_plate(images, positions, levels, plate_sample)
        in_file_order = sorted(images, key=lambda image: image.number)
        write_originals(root, plan.originals, [image.path for image in in_file_order if image.path])
        return max(len(levels_of_image.arrays) for levels_of_image in levels)


def _digest(plan: InputPlan, settings: ImageSettings, inputs: Inputs) -> str | None:
    """Return a digest of all that the pixels depend on, with size and times of each file; None without files.

    The descriptions of images are not enough. Two calls that convert different images of one file (``series``), or read
    files or axes in different orders, can have equal descriptions; they must not resume each other.
    """
    settings_and_sources: list[object] = [__version__, settings, inputs.series, inputs.corrections.axes]
    for image in plan.images:
        description = image.source.description
        try:
            stamps = [stamp_of(os.stat(file)) for file in description.files]
        except OSError:
            return None
        if not stamps:
            return None
        settings_and_sources += [image.path, image.source.files_by_index, description, stamps]
    return hashlib.sha256(repr(settings_and_sources).encode()).hexdigest()
