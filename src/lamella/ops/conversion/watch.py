"""``watch``: convert the positions of a plate while an instrument writes their files.

The first positions are converted to the plate itself. Later ones are converted to a temporary store beside it when they
are complete, and then copied into the plate, so that each appears as a whole.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Literal

from lamella.arguments import is_real_number, whole_number
from lamella.errors import InvalidArgumentError, LamellaError, NodeExistsError, SourceError, counted
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.ops.conversion.convert import convert_inputs, find_formats
from lamella.ops.conversion.corrections import Corrections
from lamella.ops.conversion.file_layouts import find_layout
from lamella.ops.conversion.input_plan import place_files
from lamella.ops.conversion.inputs import Arrangement, Inputs
from lamella.ops.conversion.originals import MAX_ORIGINALS
from lamella.ops.conversion.store import ImageSettings
from lamella.ops.execution import Workers
from lamella.ops.new_store import is_copied, new_store
from lamella.ops.rewriting.workspace import Workspace
from lamella.store.files.removal import delete_unfinished
from lamella.store.keys import PRIVATE_PREFIX
from lamella.store.metadata.documents import Documents
from lamella.store.paths import local_path
from lamella.store.storage import open_storage, with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import DTypeLike

    from lamella.ops.conversion.reader import Formats, Reader
    from lamella.store.metadata.array_creation import GridChoice
    from lamella.types import JSONObject, StrPath, VersionName

FileStamps = dict[str, tuple[int, int, int]]
"""mtime, ctime and size of each file of a position; programs can set back mtime, but not ctime."""


@dataclass(frozen=True)
class WatchReport:
    """The result of ``watch``.

    Attributes
    ----------
    destination : str
        Path of the plate.
    positions : tuple of str
        Positions that this call converted, in the order of their completion.
    present : int
        Number of positions that the plate had before.

    Examples
    --------
    >>> WatchReport("plate.zarr", ("A/1/0",), 3).to_dict()["present"]
    3
    """

    destination: str
    positions: tuple[str, ...]
    present: int

    def to_dict(self) -> JSONObject:
        """Return the report as JSON values.

        Examples
        --------
        >>> WatchReport("plate.zarr", ("A/1/0",), 3).to_dict()["positions"]
        ['A/1/0']
        """
        return {**asdict(self), "positions": list(self.positions)}


def watch(
    source: StrPath,
    destination: StrPath,
    *,
    well_regex: str | None = None,
    map_file: StrPath | None = None,
    layout: str | None = None,
    files_per_position: int | None = None,
    stop_file: StrPath | None = None,
    idle: float = 600.0,
    settle: float = 5.0,
    version: VersionName = "0.5",
    chunks: GridChoice = None,
    shards: GridChoice = None,
    levels: int | Literal["auto"] = "auto",
    jobs: int | None = None,
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
    on_position: Callable[[str], None] | None = None,
) -> WatchReport:
    r"""Convert the positions of a plate while an instrument writes their files.

    A position is converted when it has `files_per_position` files that have not changed for `settle` seconds. Without
    that number it is converted when, in addition, the files of another position are newer; and at the end if names or
    metadata have time points, or if an index is still to come. The end is reached when `stop_file` exists or nothing
    changed for `idle` seconds: then all positions are converted, and files that cannot be read raise.

    The same call resumes after a kill.

    Parameters
    ----------
    source : str or path-like
        The folder that the instrument writes to.
    destination : str or path-like
        The plate, a folder or a URL; positions that it has are not converted again.
    well_regex, map_file, layout, version, chunks, shards, levels, jobs, format
        As for `lamella.convert`.
    axes, pixel_size, unit, channel_names, colors, time_step, name, dtype
        Corrections of what the files state, as for `lamella.convert`.
    take_what_is_there : bool
        At the end, read truncated files too; before, a truncated file counts as one that is being written.
    files_per_position : int, optional
        Number of files of a complete position.
    storage_options : mapping, optional
        Credentials and settings of a destination that is a URL; see `open_ome_zarr`.
    stop_file : str or path-like, optional
        A file whose existence ends the watch, once all files are converted.
    idle : float
        Seconds without a change after which the instrument counts as finished.
    settle : float
        Seconds without a change after which a file counts as written.
    on_position : callable, optional
        Called with the path of each position that was converted.

    Returns
    -------
    WatchReport
        The positions that were converted.

    Raises
    ------
    SourceError
        At the end: files cannot be read or placed, or a position got files after it was converted.
    InvalidArgumentError
        Options that do not fit.
    ReadOnlyError
        Nothing can be written at the destination, as at http URLs.

    Examples
    --------
    >>> import tifffile
    >>> (tmp / "scan").mkdir()
    >>> for well in ("A01", "A02"):
    ...     tifffile.imwrite(tmp / "scan" / f"{well}.tif", np.zeros((16, 16), "uint16"))
    >>> report = watch(tmp / "scan", tmp / "plate.zarr", well_regex=r"(?P<well>A\d+)", idle=0, settle=0)
    >>> report.positions
    ('A/01/0', 'A/02/0')
    """
    settings = ImageSettings(version, chunks, shards, levels)
    durations: dict[str, object] = {"idle": idle, "settle": settle}
    for option, seconds in durations.items():
        if not is_real_number(seconds) or not float(seconds) >= 0:
            raise InvalidArgumentError(f"{option}={seconds!r} is not a number of seconds from 0.")
    corrections = Corrections(
        axes, pixel_size, unit, channel_names, colors, time_step, name, dtype, take_what_is_there
    )
    arrangement = Arrangement(well_regex, map_file, None if layout is None else find_layout(layout))
    if files_per_position is not None:
        files_per_position = whole_number(files_per_position, "The argument files_per_position", 1)
    folder = local_path(source, "the folder to watch")
    plate: Any = with_options(destination, storage_options)
    if is_copied(plate):
        open_storage(plate).check_writable("")  # before anything waits for an instrument
    else:
        plate = local_path(plate, "the plate")
    watcher = _Watcher(
        folder, plate, arrangement, corrections, find_formats(format), settings, Workers(jobs, None)
    )
    watcher.finish_interrupted()
    present = len(watcher.converted())
    converted = _run(watcher, idle, settle, stop_file, files_per_position, on_position)
    return WatchReport(watcher.name, tuple(converted), present)


def _run(
    watcher: _Watcher,
    idle: float,
    settle: float,
    stop_file: StrPath | None,
    files_per_position: int | None,
    on_position: Callable[[str], None] | None,
) -> list[str]:
    """Convert positions until the end; return them in the order of their completion."""
    converted: list[str] = []
    last_files: dict[str, FileStamps] = {}
    change_times: dict[str, float] = {}
    last_change = monotonic()
    while True:
        now = monotonic()
        # The folder is listed after this check, so that the list has all files older than the stop file.
        is_stopped = stop_file is not None and os.path.exists(stop_file)
        listing = watcher.list_files()
        for path, files in listing.files.items():
            if last_files.get(path) != files:
                change_times[path] = last_change = now
        last_files = listing.files
        is_end = is_stopped or now - last_change >= idle
        ready = [
            path
            for path, files in listing.files.items()
            if is_end
            or (now - change_times[path] >= settle and listing.is_complete(path, files, files_per_position))
        ]
        for path in watcher.convert(ready, is_end=is_end):
            converted.append(path)
            if on_position is not None:
                on_position(path)
        if is_end:
            watcher.discard()
            watcher.check(listing)
            return converted
        sleep(min(1.0, max(settle, 0.1)))


@dataclass(frozen=True)
class _Listing:
    """The files of each position at one moment, or the error of listing them.

    ``may_grow``: a position may get more files at any time, because names or metadata have time points.
    """

    files: dict[str, FileStamps] = field(default_factory=dict)
    may_grow: bool = False
    error: SourceError | OSError | None = None

    def is_complete(self, path: str, files: FileStamps, expected: int | None) -> bool:
        if expected is not None:
            return len(files) >= expected
        if self.may_grow:
            return False
        newest = max(mtime for mtime, *_ in files.values())
        return any(
            max(mtime for mtime, *_ in other.values()) > newest
            for name, other in self.files.items()
            if name != path
        )


@dataclass(frozen=True)
class _Watcher:
    """One watched folder and its plate, a path or a URL."""

    folder: str
    plate: Any
    arrangement: Arrangement
    corrections: Corrections
    formats: Formats
    settings: ImageSettings
    workers: Workers

    @property
    def name(self) -> str:
        """Path or URL of the plate, for messages."""
        return open_storage(self.plate).name if is_copied(self.plate) else str(self.plate)

    def _has_plate(self) -> bool:
        if is_copied(self.plate):
            return Documents.open(open_storage(self.plate, read_only=True)) is not None
        return os.path.lexists(self.plate)

    def converted(self) -> dict[str, set[str]]:
        """Return the positions of the plate, each with the names of the files it was converted from."""
        if not self._has_plate():
            return {}
        with open_ome_zarr(self.plate, mode="r") as plate:
            if not isinstance(plate, Plate):
                raise InvalidArgumentError(
                    f"{self.name} is not a plate: name a new store, or one that a watch made."
                )
            return {path: set(_sources_of(position.zattrs)) for path, position in plate.positions()}

    def list_files(self) -> _Listing:
        """List the files by position; return a listing without files if they cannot be placed or described yet."""
        try:
            inputs = Inputs([self.folder], self.formats, arrangement=self.arrangement)
            placed = place_files(inputs, [])
            if placed is not None:
                positions: dict[str, list[str]] = {}
                for file in placed:
                    positions.setdefault(file.placement.path, []).append(file.path)
                has_times = any(file.placement.t is not None for file in placed)
                return _Listing({path: _stamps(files) for path, files in positions.items()}, has_times)
            descriptions = [image.description for image in inputs.images_of(inputs.files[0])]
            inputs.close()
            files_by_position = {
                "/".join(description.well or ()): _stamps(description.files) for description in descriptions
            }
        except (SourceError, OSError) as error:  # a file or index that is being written
            return _Listing(error=error)
        if not all(description.well for description in descriptions):
            raise InvalidArgumentError(
                f"{self.folder} is not a plate: a watch needs the wells of its files. Name them with --well-regex "
                "or --map."
            )
        may_grow = any("t" in description.axes or description.missing for description in descriptions)
        return _Listing(files_by_position, may_grow)

    def convert(self, paths: Iterable[str], *, is_end: bool) -> list[str]:
        """Convert positions that the plate lacks; if a file cannot be read before the end, convert none now."""
        present = self.converted()
        new_paths = [path for path in paths if path not in present]
        if not new_paths:
            return []
        target = self.temporary if present else self.plate
        try:
            self._convert_to(target, new_paths, overwrite=bool(present), is_end=is_end)
        except SourceError:
            if is_end:
                raise
            return []
        if present:
            self._add(new_paths)
        self.discard()
        return new_paths

    def _add(self, paths: Iterable[str]) -> None:
        """Copy positions of the temporary store into the plate; finish copies that a kill interrupted."""
        with (
            open_ome_zarr(self.plate, mode="r+") as plate,
            open_ome_zarr(self.temporary, mode="r") as temporary,
        ):
            assert isinstance(plate, Plate)
            assert isinstance(temporary, Plate)
            stored = dict(temporary.positions())
            for path in paths:
                if path in stored:
                    with suppress(NodeExistsError):
                        plate.add({path: stored[path]}, jobs=self.workers.jobs)
            self._add_originals(plate)

    def _add_originals(self, plate: Plate) -> None:
        """Copy the original metadata of new positions into the plate, up to `MAX_ORIGINALS` texts."""
        folder = os.path.join(self.temporary, "OME")
        if not os.path.isdir(folder):
            return
        names = set(plate.documents.storage.list("OME"))
        for name in sorted(os.listdir(folder)):
            if name in names or len(names) < MAX_ORIGINALS:
                names.add(name)
                with open(os.path.join(folder, name), "rb") as file:
                    plate.documents.storage.write(f"OME/{name}", file.read())

    @property
    def temporary(self) -> str:
        """Path of the store whose positions are copied into the plate; always the same, so that copies resume.

        It lies beside the plate, or in the folder for temporary files if the plate is at a URL.
        """
        if is_copied(self.plate):
            digest = sha256(f"watch {self.name}".encode()).hexdigest()[:24]
            return os.path.join(
                os.path.realpath(tempfile.gettempdir()), f"{PRIVATE_PREFIX}watch-{digest}.zarr"
            )
        folder, name = os.path.split(os.path.abspath(self.plate))
        return os.path.join(folder, f".{name}.watch")

    def finish_interrupted(self) -> None:
        """Move a complete store of a killed call into place, and finish copies of positions that the plate lists."""
        for path in (self.temporary,) if is_copied(self.plate) else (self.plate, self.temporary):
            Workspace(path, {"command": "convert"}, overwrite=True).finish_interrupted()
        if os.path.lexists(self.temporary):
            with suppress(LamellaError):  # the temporary store may be partly deleted
                self._add(self.converted())

    def discard(self) -> None:
        """Delete the temporary store."""
        if os.path.lexists(self.temporary):
            delete_unfinished(self.temporary)

    def _convert_to(self, target: str, paths: list[str], *, overwrite: bool, is_end: bool) -> None:
        arrangement = replace(self.arrangement, only=frozenset(paths))
        corrections = self.corrections
        if not is_end:  # a truncated file is one that is being written
            corrections = replace(corrections, take_what_is_there=False)
        inputs = Inputs([self.folder], self.formats, arrangement=arrangement, corrections=corrections)
        store = new_store(target, overwrite, "convert", self.settings.version, None, None)
        convert_inputs(inputs, target, store, self.settings, self.workers, None, None)

    def check(self, listing: _Listing) -> None:
        """Raise SourceError if files are not in the plate."""
        if listing.error is not None:
            raise SourceError(str(listing.error)) from listing.error
        present = self.converted()
        late_files = {
            path: sorted({os.path.basename(file) for file in files} - present[path])
            for path, files in listing.files.items()
            if path in present
        }
        late_files = {path: names for path, names in late_files.items() if names}
        if late_files:
            path, names = next(iter(late_files.items()))
            raise SourceError(
                f"{counted(len(late_files), 'position')} of {self.name} got files after the conversion "
                f"({path}: {names[0]}): delete the positions and watch again with files_per_position, or convert "
                f"{self.folder} to a new store."
            )


def _stamps(files: Iterable[str]) -> FileStamps:
    stats = {file: os.stat(file) for file in files}
    return {file: (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for file, stat in stats.items()}


def _sources_of(attributes: Any) -> list[str]:
    """Return the names of the files that a position was converted from."""
    source = attributes.get("lamella", {}).get("source", [])
    return [source] if isinstance(source, str) else list(source)
