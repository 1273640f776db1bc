"""Every way into a store, and what may come out: a value, or one clear error of lamella.

A use takes the path of a store and does what a user would. `judged` runs one and returns what was unclear about it,
None when nothing was. What a clear error is: of ``lamella.errors``, one line or few, without the words of an engine.
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

#: Seconds of wall time after which a use counts as hanging; usual ones take milliseconds.
PATIENCE = 120

#: Growth of the peak memory in one use that counts as unbounded; the stores hold kilobytes.
MOST_GROWTH = 1 << 30

_MOST_READ = 1 << 24
_ENGINE_WORDS = re.compile(
    r"pydantic|validation error|Traceback|further information|tensorstore/|\[source locations|INVALID_ARGUMENT|"
    r"FAILED_PRECONDITION|object has no attribute|object is not|unhashable|takes \d+ positional|list index|"
    r"not subscriptable|argument must be|required positional"
)


WINDOW = {"start": 0, "end": 9, "min": 0, "max": 99}


#: Errors that are about what is stored; others are about a call, whose caller knows the node.
_OF_NODES = (MetadataError, DamagedDataError, StorageError, NodeNotFoundError, InvalidNameError)

#: How a message names a node: by its store, or its path in one.
_PLACED = re.compile(r"\.zarr|(of|at) (node|array|group) '|A/1|labels")


class Hang(BaseException):
    """A use took longer than `PATIENCE`."""


@dataclass(frozen=True)
class Unclear:
    """What was wrong with the outcome of a use.

    Attributes
    ----------
    use : str
        Name of the use.
    fault : str
        Type and text of the error, or "hang", or "memory".
    where : str
        The innermost line of lamella in its traceback: equal ones are one fault.
    """

    use: str
    fault: str
    where: str

    def __str__(self) -> str:
        return f"{self.use}: {self.fault} at {self.where}"


def judged(use: Callable[[Path], object], path: Path) -> Unclear | None:
    """Run a use and judge how it ends."""
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
    return Unclear(use.__name__, f"memory: {grown >> 20} MiB", "-") if grown > MOST_GROWTH else None


def _unclear_words(use: Callable[..., object], error: LamellaError) -> Unclear | None:
    text = str(error)
    found = _ENGINE_WORDS.search(text)
    if found:
        return Unclear(use.__name__, f"{type(error).__name__} says {found[0]!r}: {text[:200]}", _line(error))
    if len(text) < 10 or len(text) > 4000:
        return Unclear(
            use.__name__, f"{type(error).__name__} of {len(text)} characters: {text[:200]}", _line(error)
        )
    return None


def _unplaced(use: Callable[..., object], error: LamellaError, path: Path) -> Unclear | None:
    """Return what is missing where an error about a store does not say about which node."""
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
    """Look in several ways; an error of lamella in one does not end the others, and its words count."""
    for look in looks:
        try:
            look()
        except LamellaError as error:
            if _ENGINE_WORDS.search(str(error)) or (
                isinstance(error, _OF_NODES) and not _PLACED.search(str(error))
            ):
                raise


def look_at(node: Any, *, closely: bool = True) -> None:
    """Ask a node for everything that it can say; its members for what matters most."""
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
        )


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
        lambda: [str(found) for _, found in plate.positions(on_error="report")],
    )
    if closely:
        _each(plate.table, lambda: plate.table(as_frame=True, on_error="report"), lambda: plate["A/1"])


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
    """Ask an array for everything that it can say, and for its pixels."""
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
    """Open the store and look at all of it."""
    look_at(lamella.open_ome_zarr(path))


def looking(path: Path) -> None:
    """Open the store and look over it."""
    look_at(lamella.open_ome_zarr(path), closely=False)


def opening_as_image(path: Path) -> None:
    """Insist on an image."""
    look_at(lamella.open_ome_zarr(path, layout="fov"), closely=False)


def opening_as_plate(path: Path) -> None:
    """Insist on a plate."""
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
    """Say what ``lamella info -v`` says."""
    from lamella.cli.info_text import plain_lines, text_of
    from lamella.nodes.describe import describe, to_json

    description = describe(lamella.open_ome_zarr(path), details=True)
    _ = list(plain_lines(text_of(description))), to_json(description)


def command_line(path: Path) -> None:
    """Run commands: exit code 0, 1 or 2, a line on the error stream, no traceback."""
    from click.testing import CliRunner

    from lamella.cli import main

    for arguments in (
        ["info", str(path)],
        ["validate", str(path)],
        ["preview", str(path), "-o", f"{path}.png"],
    ):
        done = CliRunner().invoke(main, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if done.exit_code not in (0, 1, 2) or _ENGINE_WORDS.search(done.output):
            raise AssertionError(f"{arguments[0]} ended with {done.exit_code}: {done.output[-300:]}")


def previewing(path: Path) -> None:
    """Draw a picture."""
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
    """Write the store in another version, and open what came out."""
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
        node.dump_meta,
    )


def growing(path: Path) -> None:
    """Add to a plate and take from it."""
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
