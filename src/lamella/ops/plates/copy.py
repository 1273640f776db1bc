"""Making a plate from positions of other stores, as encoded chunks where that can be.

Layer: ops.
"""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lamella.errors import InvalidArgumentError, NodeNotFoundError, NotDecodedError, StoreExistsError, counted
from lamella.log import logged
from lamella.nodes.position import Position
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.ops.execution import Workers, run
from lamella.ops.jobs.units import do_task, tasks
from lamella.ops.known_members import listed, unseen
from lamella.ops.plates.acquisitions import merged_acquisitions
from lamella.ops.plates.ome_facts import warn_of_files, write_facts
from lamella.ops.plates.origins import Origins, copy_attributes, custom_attributes
from lamella.ops.progress import Count, check_progress, reporting
from lamella.ops.rewriting.arrays import FileUnit, array_units
from lamella.ops.rewriting.inventory import moved_files, part_of_others
from lamella.ops.rewriting.upgrade_plan import has_ome
from lamella.ops.rewriting.workspace import Workspace
from lamella.spec import plate_edits, versions
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.store.arrays import StoredArray
from lamella.store.documents import Documents, array_like
from lamella.store.local import LocalStorage
from lamella.store.storage import open_storage, with_options
from lamella.store.text_arrays import translated
from lamella.store.transfer import copy_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.plate import Plate
    from lamella.ops.progress import Progress
    from lamella.store.array_meta import ArrayMeta
    from lamella.types import JSONObject, StrPath

_COPIES = 4
"""Workers that copy files at least, unless a number is given: a disk serves several requests at a time."""


def from_positions(
    store_path: StrPath | Store,
    positions: Mapping[str, Position],
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Plate:
    """Create a plate from positions of other stores; see :meth:`Plate.from_positions`.

    Everything is checked before anything is written. The plate appears when it is whole; the call that was killed is
    made again. One that fails leaves nothing behind.
    """
    from lamella.nodes.open import open_ome_zarr

    workers = Workers(jobs, executor)
    check_progress(progress)
    sources = _checked(positions)
    store_path = with_options(store_path, storage_options)
    _refuse_inside(store_path, sources.values())
    storage = open_storage(store_path)
    workers.check_reach(storage, *(source.documents.storage for source in sources.values()))
    if not isinstance(storage, LocalStorage):
        return _copied(store_path, sources, _How(workers, progress))
    work = Workspace(storage.root, {"command": "from_positions"}, replaces=False)
    with work.held():
        work.finish_interrupted()
        if os.path.lexists(storage.root):
            raise StoreExistsError(f"Cannot create {storage.root}: it exists. Choose another path.")
        digest = secrets.token_hex(8)  # what a killed call wrote is not gone on with
        work.begin(digest)
        try:
            name = os.path.basename(storage.root).removesuffix(".zarr")
            _copied(work.new, sources, _How(workers, progress), name)
            work.publish(digest)
        except BaseException:
            work.discard()
            raise
    return open_ome_zarr(storage.root, layout="hcs", mode="r+")


class _How(NamedTuple):
    """The workers and the progress of a copy."""

    workers: Workers
    progress: Progress | bool | None


@dataclass(frozen=True)
class _CopyUnit:
    """A position to copy: can be pickled, and copied again without harm."""

    source: Position
    target: NodePath
    jobs: int | None


def _copy_unit(unit: _CopyUnit) -> None:
    copy_position(unit.source, unit.target, jobs=unit.jobs)


def _copied(
    store_path: StrPath | Store,
    sources: Mapping[str, Position],
    how: _How,
    name: str | None = None,
) -> Plate:
    """Copy positions into a new plate, which gets a name where the plates that they come from give it none."""
    from lamella.nodes.open import open_ome_zarr

    first = next(iter(sources.values()))
    plate = open_ome_zarr(
        store_path,
        layout="hcs",
        mode="w-",
        channel_names=first.channel_names,
        axes=first.axes,
        version=first.store_handle.version.written_as,
    )
    try:
        # Files are copied several positions at a time, because a position may be one file; pixels that must be encoded
        # anew take all processors for one.
        recoded = any(
            source.store_handle.version.zarr_format != plate.documents.format for source in sources.values()
        )

        within, workers = how.workers.jobs, how.workers
        if workers.executor is not None:
            within = 1
        elif recoded:
            workers = Workers(1)
        else:
            many, within = _shared_out(workers, len(sources))
            workers = Workers(many)
        units = (_CopyUnit(source, plate.node_path.child(path), within) for path, source in sources.items())
        with (
            logged("Copy %s to %s", counted(len(sources), "position"), plate.node_path),
            reporting(how.progress, "positions") as show,
        ):
            count = Count(show, "positions", len(sources))
            done = None if show is None else lambda _: count.add()
            run(_copy_unit, units, workers, done=done)
        _list_positions(plate, sources, name)
        warn_of_files(sources.values())
    except BaseException:
        plate.documents.storage.delete("")
        raise
    return plate


def _shared_out(workers: Workers, positions: int) -> tuple[int, int]:
    """Return how many positions are copied at a time, and by how many workers each: as many in all as were asked for.

    >>> _shared_out(Workers(6), 100), _shared_out(Workers(6), 4), _shared_out(Workers(5), 2)
    ((6, 1), (3, 2), (1, 5))
    """
    total = max(workers.count, 1 if workers.jobs is not None else _COPIES)
    many = max(number for number in range(1, min(total, positions) + 1) if total % number == 0)
    return many, total // many


def _checked(positions: Mapping[str, Position]) -> dict[str, Position]:
    """Return the positions by their plain paths."""
    if not isinstance(positions, Mapping):
        raise InvalidArgumentError(f"positions maps 'row/column/field' to positions; got {positions!r}.")
    if not positions:
        raise InvalidArgumentError("A plate is made from at least one position; got none.")
    checked: dict[str, Position] = {}
    for key, position in positions.items():
        path = str(key).strip("/")
        if path.count("/") != 2 or not isinstance(position, Position):
            raise InvalidArgumentError(
                f"positions maps 'row/column/field' to positions; got {key!r}: {type(position).__name__}."
            )
        for part in path.split("/"):
            plate_edits.check_name(part)
        if path in checked:
            raise InvalidArgumentError(f"The position {path!r} is given twice.")
        checked[path] = position
    return checked


def _refuse_inside(store_path: StrPath | Store, sources: Iterable[Position]) -> None:
    """Refuse a new plate inside of what it is made from: the copy would copy itself."""
    storage = open_storage(store_path)
    if not isinstance(storage, LocalStorage):
        return
    target = os.path.realpath(storage.root)
    for source in sources:
        storage = source.documents.storage
        if not isinstance(storage, LocalStorage):
            continue
        folder = os.path.realpath(os.path.join(storage.root, source.path))
        if target == folder or target.startswith(folder + os.sep):
            raise InvalidArgumentError(
                f"The new plate {target} would lie inside of the position {source.node_path} that it is made from. "
                "Choose another path."
            )


def _list_positions(plate: Plate, sources: Mapping[str, Position], plate_name: str | None) -> None:
    """Write the documents that list copied positions: rows, wells, and the plate last."""
    origins = Origins.of(sources)
    acquisitions, ids = merged_acquisitions(sources)
    wells: dict[str, list[tuple[str, int | None]]] = {}
    for path in sources:
        well, _, name = path.rpartition("/")
        wells.setdefault(well, []).append((name, ids[path]))
    version = plate.store_handle.version
    empty = version.with_ome({}, {})
    groups = {plate.node_path.child(row).path: empty for row, _ in (well.split("/") for well in wells)}
    for row, origin in origins.rows_of_wells().items():
        groups[plate.node_path.child(row).path] = custom_attributes(origin, version)
    for well, images in wells.items():
        listing = plate_edits.add_images(WellGroupMeta(images=[]), images)
        groups[plate.node_path.child(well).path] = version.dump(listing, {})
    plate.documents.put_groups(groups)
    for well, origin in origins.wells.items():
        copy_attributes(origin, plate.node_path.child(well), WellGroupMeta)
    if origins.only is not None:
        copy_attributes(origins.only, plate, PlateMeta)

    def listed(meta: PlateMeta) -> PlateMeta:
        names = [well.partition("/") for well in wells]
        new = origins.only.document.shared_model.copied() if origins.only is not None else meta.copied()
        new.name = origins.name or plate_name or meta.name
        new.rows, new.columns, new.wells = origins.rows(), origins.columns(), []
        meta = new.model_copy(update={"acquisitions": acquisitions, "version": None, "field_count": None})
        return plate_edits.set_counts(
            plate_edits.add_wells(meta, [(row, column, None, None) for row, _, column in names]), wells
        )

    plate.document.edit(listed)


def copy_position(source: Position, target: NodePath, *, jobs: int | None = None) -> None:
    """Copy all arrays, labels and metadata of a position to a place where nothing is.

    Parameters
    ----------
    source
        What to copy, of any version.
    target
        A place in a store open for writing.
    jobs
        Number of workers; one per processor by default.
    """
    target.store_handle.require_writable("copy a position", target.path)
    place = _seen(source.node_path)
    documents, storage = target.store_handle.documents, target.store_handle.documents.storage
    if source.store_handle.version.zarr_format == target.store_handle.version.zarr_format:
        copy_files(place.store_handle.documents.storage, place.path, storage, target.path, jobs=jobs)
        if documents.kind(target.path) is None:
            raise NodeNotFoundError(f"There is no position at {source.node_path} any more to copy.")
        _rewrite_versions(place, target)
    else:
        _recode(place, target, jobs)
    write_facts(source, target)


def _seen(place: NodePath) -> NodePath:
    """Return the place of a position in a view of its store that lists what metadata name; itself where that lists."""
    documents = place.store_handle.documents
    storage = listed(documents.storage, place.path)
    if storage is documents.storage:
        return place
    warnings.warn(f"{place}: {unseen(storage)}.", UserWarning, stacklevel=2)
    return NodePath(StoreHandle(Documents(storage, documents.format), place.store_handle.version), place.path)


def _groups_and_arrays(place: NodePath, below: str = "") -> Iterator[tuple[str, str]]:
    """Yield the relative path and kind of all nodes below a group, parents first."""
    children = place.store_handle.documents.children(place.child(below).path)
    for name, kind in children.items():
        path = f"{below}/{name}".strip("/")
        yield path, kind
        if kind == "group":
            yield from _groups_and_arrays(place, path)


def _rewrite_versions(source: NodePath, target: NodePath) -> None:
    """Give copied documents the spelling of the target's version, where it differs."""
    version, documents = target.store_handle.version, target.store_handle.documents
    for path, kind in [("", "group"), *_groups_and_arrays(target)]:
        place = target.child(path).path
        if kind == "group" and source.store_handle.version_of(documents.group(place)) is not version:
            documents.put_group(place, _converted(source, target, path))


def _recode(source: NodePath, target: NodePath, jobs: int | None) -> None:
    """Decode and encode anew, with the same chunks: the Zarr formats differ."""
    documents = target.store_handle.documents
    nodes = list(_groups_and_arrays(source))
    left = _left_out(source, nodes)
    for path, kind in nodes:
        if any(f"{path}/".startswith(f"{part}/") for part in left):
            continue
        if kind == "array":
            _recode_array(source.child(path), target.child(path), jobs)
        else:
            documents.put_group(target.child(path).path, _converted(source, target, path))
    documents.put_group(target.path, _converted(source, target, ""))


def _left_out(source: NodePath, nodes: list[tuple[str, str]]) -> set[str]:
    """Find what cannot be had in the other Zarr format, tables whole, and warn of it."""
    documents = source.store_handle.documents
    groups = ["", *(path for path, kind in nodes if kind == "group")]

    def is_ome(path: str) -> bool:
        return has_ome(source.store_handle.version, documents.group(source.child(path).path))

    left: set[str] = set()
    for path in (path for path, kind in nodes if kind == "array"):
        place = source.child(path)
        try:
            documents.array(place.path)
        except NotDecodedError as found:
            if _texts(place) is None:
                part = part_of_others(path, groups, is_ome)
                if part == path:  # it lies in the image itself, and may be its pixels
                    raise
                left.add(part)
                warnings.warn(
                    f"{source.child(part)} was left out of the new plate with all that is in it: {found}",
                    UserWarning,
                    stacklevel=2,
                )
    return left


def _texts(array: NodePath) -> tuple[ArrayMeta, ArrayMeta] | None:
    """Describe an array of texts as it is and in the other Zarr format; None where it is none."""
    return translated(*array.store_handle.documents.array_document(array.path), array.path)


def _recode_array(source: NodePath, target: NodePath, jobs: int | None) -> None:
    try:
        source.store_handle.documents.array(source.path)
    except NotDecodedError:
        both = _texts(source)
        if both is None:
            raise
        documents = target.store_handle.documents
        documents.put_array(target.path, both[1], new=True)
        moved = moved_files(source.store_handle.documents, source.path, *both, target.path)
        stores = source.store_handle.documents.storage, documents.storage
        run(do_task, tasks(FileUnit(*stores, old, new, 0) for old, new in moved), Workers(jobs))
        return
    meta = source.store_handle.documents.array(source.path)
    new = array_like(
        meta,
        zarr_format=target.store_handle.version.zarr_format,
        dimension_names=meta.dimension_names or _axis_names(source),
        attributes=meta.attributes,
    )
    target.store_handle.documents.put_array(target.path, new)
    # Not through nodes, which would note that levels are stale: all levels are copied.
    old, made = (StoredArray(place.store_handle.documents, place.path) for place in (source, target))
    run(do_task, tasks(array_units(old, made, new)), Workers(jobs))


def _axis_names(array: NodePath) -> list[str] | None:
    """Return the axis names of the image that an array is a level of (ST-05 wants them in 0.5)."""
    from lamella.nodes.kinds import array_at

    axes = array_at(array).axes
    return None if axes is None else [axis.name for axis in axes]


def _converted(source: NodePath, target: NodePath, path: str) -> JSONObject:
    attributes = source.store_handle.documents.group(source.child(path).path)
    return versions.convert_attributes(
        attributes, source.store_handle.version_of(attributes), target.store_handle.version
    )
