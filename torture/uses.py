"""Use a store in every way. Each use must return a value, or raise one clear error of lamella.

A use is a function of the path of a store. `unclear_outcome` runs a use and returns what is unclear about its outcome,
or None. A clear error is one of ``lamella.errors``, a few lines long, and has no words of a library below.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import resource
import signal
import traceback
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lamella
from lamella.errors import (
    DamagedDataError,
    InvalidNameError,
    LamellaError,
    MetadataError,
    NodeNotFoundError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Seconds after which a use counts as hanging; most uses take milliseconds.
PATIENCE = 120

#: Growth of the peak memory during one use that counts as unbounded; the stores have kilobytes.
MAX_GROWTH = 1 << 30

_MAX_READ = 1 << 24
_ENGINE_WORDS = re.compile(
    r"pydantic|validation error|Traceback|further information|tensorstore/|\[source locations|INVALID_ARGUMENT|"
    r"FAILED_PRECONDITION|object has no attribute|object is not|unhashable|takes \d+ positional|list index|"
    r"not subscriptable|argument must be|required positional"
)


WINDOW = {"start": 0, "end": 9, "min": 0, "max": 99}


#: Errors about stored nodes, which must name the node; others are about arguments.
_OF_NODES = (MetadataError, DamagedDataError, StorageError, NodeNotFoundError, InvalidNameError)

#: Matches the store or the path of a node in a message.
_PLACED = re.compile(r"\.zarr|(of|at) (node|array|group) '|A/1|labels")


class Hang(BaseException):
    """A use took longer than `PATIENCE`."""


@dataclass(frozen=True)
class Unclear:
    """An unclear outcome of a use.

    Attributes
    ----------
    use : str
        Name of the use.
    problem : str
        Type and text of the error, or "hang", or "memory".
    where : str
        The innermost line of lamella in its traceback; outcomes with the same line have the same cause.
    """

    use: str
    problem: str
    where: str

    def __str__(self) -> str:
        return f"{self.use}: {self.problem} at {self.where}"


def unclear_outcome(use: Callable[[Path], object], path: Path) -> Unclear | None:
    """Run a use; return what is unclear about its outcome."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _patience(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore", UserWarning)
            use(path)
    except LamellaError as error:
        return _unclear_words(use, error) or _unplaced(use, error, path)
    except Hang:
        return Unclear(use.__name__, "hang", traceback.format_exc(limit=-3)[:300])
    except Exception as error:
        return Unclear(use.__name__, f"{type(error).__name__}: {str(error)[:200]}", _line(error))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return Unclear(use.__name__, f"memory: {grown >> 20} MiB", "-") if grown > MAX_GROWTH else None


def _unclear_words(use: Callable[..., object], error: LamellaError) -> Unclear | None:
    text = str(error)
    match = _ENGINE_WORDS.search(text)
    if match:
        return Unclear(use.__name__, f"{type(error).__name__} says {match[0]!r}: {text[:200]}", _line(error))
    if len(text) < 10 or len(text) > 4000:
        return Unclear(
            use.__name__, f"{type(error).__name__} of {len(text)} characters: {text[:200]}", _line(error)
        )
    return None


def _unplaced(use: Callable[..., object], error: LamellaError, path: Path) -> Unclear | None:
    """Return the problem if an error about a stored node does not name the node."""
    text = str(error)
    if not isinstance(error, _OF_NODES) or path.name in text or _PLACED.search(text):
        return None
    return Unclear(use.__name__, f"{type(error).__name__} names no node: {text[:200]}", _line(error))


def _line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/lamella/" in f.filename] or frames
    return f"{ours[-1].filename.rpartition('/lamella/')[2]}:{ours[-1].lineno}"


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


# ---- looking at nodes -----------------------------------------------------------------------------------------------


def _each(*looks: Callable[[], object]) -> None:
    """Call functions; an error of lamella in one does not end the others, unless its text is unclear."""
    for look in looks:
        try:
            look()
        except LamellaError as error:
            if _ENGINE_WORDS.search(str(error)) or (
                isinstance(error, _OF_NODES) and not _PLACED.search(str(error))
            ):
                raise


def look_at(node: Any, *, closely: bool = True) -> None:
    """Read everything from a node, and the most important values from its members."""
    _each(
        lambda: (repr(node), node.path, node.version, node.channel_names, len(node)),
        lambda: [(axis.name, axis.type, axis.unit) for axis in node.axes],
        lambda: node.metadata.to_json() if hasattr(type(node), "metadata") else None,
    )
    if closely:
        _each(
            node._repr_html_,
            lambda: (node.name, node.zgroup),
            lambda: dict(node.zattrs),
            lambda: node.maybe_wrapped_ome_attrs,
            lambda: (node.group_keys(), node.array_keys(), node.is_root(), node.is_leaf()),
            lambda: node.get_channel_index("DAPI"),
            lambda: [node.get_channel_index(name) for name in node.channel_names],
            node.print_tree,
            lambda: (list(node), "0" in node, bool(node), node == node, hash(node)),  # noqa: PLR0124
            lambda: node["A/1/0"],
            lambda: [node[name] for name in node],
            lambda: pickle.loads(pickle.dumps(node)),
        )
    for kind, look in _LOOKS.items():
        if isinstance(node, getattr(lamella, kind)):
            look(node, closely)


def _look_at_position(position: Any, closely: bool) -> None:
    def levels() -> list[str]:
        return list(position.dataset_paths)

    _each(
        levels,
        lambda: position.axis_names,
        lambda: position.scale,
        lambda: position.get_axis_index("x"),
        lambda: [position.get_effective_scale(level) for level in ("*", *levels())],
        lambda: [position.get_effective_translation(level) for level in ("*", *levels())],
        lambda: [look_at_array(array, closely=closely) for _, array in position.images()],
        lambda: position.data,
    )
    if closely:
        _each(
            lambda: (labelled := position.to_xarray())[(0,) * labelled.ndim].compute(),
            lambda: look_at(position.labels, closely=False),
            lambda: _look_at_tables(position.tables),
            lambda: position.roi("left").read(),
        )


def _look_at_tables(tables: Any) -> None:
    for name in list(tables):
        _each(lambda name=name: tables.info(name), lambda name=name: repr(tables[name]))


def _look_at_labels(labels: Any, closely: bool) -> None:
    for name in list(labels):
        _each(lambda name=name: look_at(labels[name], closely=closely))


def _look_at_label(label: Any, closely: bool) -> None:
    del closely
    _each(lambda: label.image_label, lambda: label.colors, lambda: label.properties)


def _look_at_plate(plate: Any, closely: bool) -> None:
    _each(
        lambda: [look_at(row, closely=False) for _, row in plate.rows()],
        lambda: [repr(well) for _, well in plate.wells()],
        lambda: [repr(position) for _, position in plate.positions()],
        lambda: [str(position) for _, position in plate.positions(on_error="report")],
    )
    if closely:
        _each(plate.table, lambda: plate.table(as_frame=True, on_error="report"), lambda: plate["A/1"])
        _each(lambda: _look_at_tables(plate.tables))


def _look_at_wells(row: Any, closely: bool) -> None:
    del closely
    _each(lambda: [look_at(well, closely=False) for _, well in row.wells()])


def _look_at_positions(well: Any, closely: bool) -> None:
    del closely
    _each(lambda: [look_at(position, closely=False) for _, position in well.positions()])


def _look_at_tiled(tiled: Any, closely: bool) -> None:
    del closely
    array = tiled.data
    _each(
        lambda: (array.rows, array.columns, array.tiles, array.tile_shape),
        lambda: array.get_tile(0, 0),
        lambda: array.get_tile_slice(1, 1),
    )


_LOOKS: dict[str, Callable[[Any, bool], None]] = {
    "Plate": _look_at_plate,
    "Row": _look_at_wells,
    "Well": _look_at_positions,
    "Collection": _look_at_positions,
    "Labels": _look_at_labels,
    "LabelImage": _look_at_label,
    "Position": _look_at_position,
    "TiledPosition": _look_at_tiled,
}


def look_at_array(array: Any, *, closely: bool = True) -> None:
    """Read everything from an array, including pixels."""
    _each(
        lambda: repr(array),
        lambda: (array.shape, array.ndim, array.dtype, array.chunks, array.shards, array.write_unit),
        lambda: array[(-1,) * array.ndim],
    )
    if closely:
        _each(
            lambda: (array.size, array.nbytes, array.fill_value, dict(array.attrs)),
            lambda: (array.frames, array.channels, array.slices, array.height, array.width),
            lambda: array[(0,) * array.ndim],
            array.numpy,
            lambda: array.oindex[(slice(0, 2),) * array.ndim],
            lambda: array.dask_array()[(slice(0, 1),) * array.ndim].compute(),  # noqa: PLW0108 (all of it is tried)
            array.tensorstore,
            array.zarr,
        )


# ---- the uses -------------------------------------------------------------------------------------------------------


def opening(path: Path) -> None:
    """Open the store and read everything."""
    look_at(lamella.open_ome_zarr(path))


def looking(path: Path) -> None:
    """Open the store and read the most important values."""
    look_at(lamella.open_ome_zarr(path), closely=False)


def opening_as_image(path: Path) -> None:
    """Open the store as an image."""
    look_at(lamella.open_ome_zarr(path, layout="fov"), closely=False)


def opening_as_plate(path: Path) -> None:
    """Open the store as a plate."""
    look_at(lamella.open_ome_zarr(path, layout="hcs"), closely=False)


def validating(path: Path) -> None:
    """Validate, and print the report."""
    report = lamella.validate(path)
    _ = str(report), report.to_dict()


def validating_pixels(path: Path) -> None:
    """Validate with the pixels."""
    _ = str(lamella.validate(path, pixels=True, jobs=1))


def planning_repair(path: Path) -> None:
    """Plan a repair."""
    plan = lamella.repair(path, dry_run=True)
    _ = str(plan), plan.diff, plan.to_dict()


def planning_reindex(path: Path) -> None:
    """Plan a repair with a new index."""
    _ = lamella.repair(path, dry_run=True, reindex=True).diff


def summarizing(path: Path) -> None:
    """Build the output of ``lamella info -v``."""
    from lamella.cli.info_text import plain_lines, text_of
    from lamella.nodes.describe import describe, to_json

    description = describe(lamella.open_ome_zarr(path), details=True)
    _ = list(plain_lines(text_of(description))), to_json(description)


def command_line(path: Path) -> None:
    """Run commands: the exit code is 0, 1 or 2, and there is no traceback."""
    from click.testing import CliRunner

    from lamella.cli import main

    for arguments in (
        ["info", str(path)],
        ["validate", str(path)],
        ["table", str(path)],
        ["preview", str(path), "-o", f"{path}.png"],
    ):
        done = CliRunner().invoke(main, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if done.exit_code not in (0, 1, 2) or _ENGINE_WORDS.search(done.output):
            raise AssertionError(f"{arguments[0]} ended with {done.exit_code}: {done.output[-300:]}")


def previewing(path: Path) -> None:
    """Draw a preview."""
    from click.testing import CliRunner

    from lamella.cli import main

    done = CliRunner().invoke(main, ["preview", str(path), "-o", f"{path}.png"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception


READING: tuple[Callable[[Path], None], ...] = (
    *(
        opening,
        opening_as_image,
        opening_as_plate,
        validating,
        validating_pixels,
        planning_repair,
        planning_reindex,
    ),
    *(summarizing, command_line),
)
"""Uses that write nothing into the store."""


def repairing(path: Path) -> None:
    """Repair the store."""
    _ = str(lamella.repair(path, backup=f"{path}.backup"))


def reindexing(path: Path) -> None:
    """Rebuild the index of a plate."""
    lamella.open_ome_zarr(path, layout="hcs", mode="r+").reindex()


def upgrading(path: Path) -> None:
    """Write the store in another version, and open the new store."""
    version = "0.5" if (path / ".zgroup").exists() else "0.4"
    lamella.upgrade(path, version, f"{path}.other.zarr", lossy=True, jobs=1)
    lamella.open_ome_zarr(f"{path}.other.zarr")


def rechunking(path: Path) -> None:
    """Write the store in other chunks."""
    lamella.rechunk(path, f"{path}.other.zarr", chunks=(4, 4), jobs=1)


def copying(path: Path) -> None:
    """Copy the positions into a new plate."""
    node = lamella.open_ome_zarr(path)
    if isinstance(node, lamella.Plate):
        lamella.Plate.from_positions(f"{path}.other.zarr", dict(node.positions()))
    else:
        lamella.Plate.from_positions(f"{path}.other.zarr", {"A/1/0": node})


def editing(path: Path) -> None:
    """Edit metadata and pixels of the first position."""
    node = lamella.open_ome_zarr(path, mode="r+")
    if hasattr(node, "positions"):
        node = next(iter(node.positions()))[1]
    _each(
        lambda: [node.rename_channel(name, "renamed") for name in node.channel_names[:1]],
        lambda: node.append_channel("another"),
        lambda: node.set_scale("0", "x", 0.3),
        lambda: [node.set_contrast_limits(name, WINDOW) for name in node.channel_names[:1]],
        lambda: node.data.append(node.data[:1], axis=0),
        lambda: node.data.__setitem__((0,) * node.data.ndim, 5),
        lambda: node.compute_pyramid(levels=2),
        lambda: node.labels.create("more", node.data[...]),
        node.delete_pyramid,
        lambda: node.tables.write("cells", {"area": [1.0]}, backend="json"),
        lambda: node.tables.__delitem__("drugs"),
        node.dump_meta,
    )


def growing(path: Path) -> None:
    """Create, rename and delete positions and wells of a plate."""
    plate = lamella.open_ome_zarr(path, layout="hcs", mode="r+")
    _each(
        lambda: plate.create_position("C", "3", "0"),
        lambda: plate.create_positions([("A", "1", "7"), ("D", "4", "0")]),
        lambda: plate.rename_well("B/2", "E/5"),
        lambda: plate.__delitem__("A/1"),
        plate.dump_meta,
    )


WRITING: tuple[Callable[[Path], None], ...] = (
    repairing,
    reindexing,
    upgrading,
    rechunking,
    copying,
    editing,
    growing,
)
"""Uses that write: into the store, or beside it (``<store>.other.zarr``)."""
