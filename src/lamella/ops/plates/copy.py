"""Create a plate from positions of other stores, by copying encoded chunks if possible.

Positions of the same Zarr format are copied file by file. Others are encoded again, chunk by chunk.

Layer: ops.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from lamella._version import __version__
from lamella.errors import (
    InvalidArgumentError,
    NodeNotFoundError,
    NotDecodedError,
    StoreExistsError,
    WorkerLostError,
    counted,
)
from lamella.log import logged
from lamella.nodes.position import Position
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.ops.execution import Workers, run
from lamella.ops.jobs.journal import Journal, LocalFile
from lamella.ops.jobs.units import digest, do_task, tasks
from lamella.ops.known_members import listed, unseen
from lamella.ops.plates.acquisitions import merged_acquisitions
from lamella.ops.plates.ome_facts import warn_of_files, write_facts
from lamella.ops.plates.origins import Origins, copy_attributes, custom_attributes
from lamella.ops.progress import Count, check_progress, reporting
from lamella.ops.rewriting.arrays import FileUnit, array_units, remove_vanished_chunks
from lamella.ops.rewriting.inventory import moved_files, part_of_others
from lamella.ops.rewriting.upgrade_plan import has_ome
from lamella.ops.rewriting.workspace import Workspace
from lamella.spec import plate_edits, versions
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.store.arrays import StoredArray
from lamella.store.documents import Documents, array_like
from lamella.store.formats import METADATA_FILES
from lamella.store.keys import join
from lamella.store.local import LocalStorage
from lamella.store.storage import open_storage, with_options
from lamella.store.text_arrays import translated
from lamella.store.transfer import remove_vanished, sized_files_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.plate import Plate
    from lamella.ops.jobs.units import Task, Unit
    from lamella.ops.progress import Progress
    from lamella.store.array_meta import ArrayMeta
    from lamella.types import JSONObject, StrPath

_COPIES = 4
"""Minimum number of workers that copy files, unless the caller passes a number."""


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

    Everything is checked before anything is written. The plate appears when it is complete. The same call resumes a
    killed one; a call that fails leaves nothing.
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
        copy = _Copy(_create(store_path, sources, "w-"), sources, workers)
        try:
            copy.run(progress, None)
        except BaseException:
            storage.delete("")
            raise
        return copy.plate
    workspace = Workspace(storage.root, {"command": "from_positions"}, replaces=False)
    with workspace.locked():
        workspace.finish_interrupted()
        if os.path.lexists(storage.root):
            raise StoreExistsError(f"Cannot create {storage.root}: it exists. Choose another path.")
        job = digest([__version__, {path: str(source.node_path) for path, source in sources.items()}])
        workspace.begin(job)
        try:
            journal_path = os.path.join(workspace.folder, "journal")
            resumed = os.path.lexists(
                journal_path
            )  # created after the plate: without it the plate may be half created
            plate = (
                open_ome_zarr(workspace.new, layout="hcs", mode="r+")
                if resumed
                else _create(workspace.new, sources, "w")
            )
            with Journal(LocalFile(journal_path), {"job": job}) as journal:
                copy = _Copy(plate, sources, workers, job, journal)
                copy.run(progress, os.path.basename(storage.root).removesuffix(".zarr"), resumed=resumed)
            workspace.publish(job)
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt | WorkerLostError):
                workspace.discard()
            raise
    return open_ome_zarr(storage.root, layout="hcs", mode="r+")


def _create(store_path: StrPath | Store, sources: Mapping[str, Position], mode: Literal["w", "w-"]) -> Plate:
    """Create the plate, without positions."""
    from lamella.nodes.open import open_ome_zarr

    first = next(iter(sources.values()))
    return open_ome_zarr(
        store_path,
        layout="hcs",
        mode=mode,
        channel_names=first.channel_names,
        axes=first.axes,
        version=first.store_handle.version.written_as,
    )


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
            raise InvalidArgumentError(f"The position {path!r} occurs twice.")
        checked[path] = position
    return checked


def _refuse_inside(store_path: StrPath | Store, sources: Iterable[Position]) -> None:
    """Raise for a new plate inside its own source: the copy would copy itself."""
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
    """Write the documents that list the copied positions: rows, wells, and the plate last."""
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


class _Copy:
    """A copy of positions into a new plate: files first, then documents, then the lists of positions."""

    def __init__(
        self,
        plate: Plate,
        sources: Mapping[str, Position],
        workers: Workers,
        job: str = "",
        journal: Journal[LocalFile] | None = None,
    ) -> None:
        self.plate, self._sources = plate, sources
        self._job, self._journal = job, journal
        self._node_paths = {path: _listable(source.node_path) for path, source in sources.items()}
        self._same = {path for path, node_path in self._node_paths.items() if self._is_same(node_path)}
        if len(self._same) == len(sources) and workers.executor is None and workers.jobs is None:
            workers = Workers(max(workers.count, _COPIES))  # a disk serves several requests at a time
        self._workers = workers
        self._sizes: dict[str, int] = {}
        self._documents: list[Unit] = []

    def _is_same(self, node_path: NodePath) -> bool:
        return node_path.store_handle.version.zarr_format == self.plate.store_handle.version.zarr_format

    def run(self, progress: Progress | bool | None, name: str | None, *, resumed: bool = False) -> None:
        """Copy all positions; ``name`` is for a plate whose sources have no name."""
        with (
            logged("Copy %s to %s", counted(len(self._sources), "position"), self.plate.node_path),
            reporting(progress, "positions") as show,
        ):
            count = Count(show, "positions", len(self._sources))
            done = None if show is None else count.add
            run(do_task, self._tasks(self._pixels(resumed)), self._workers, done=done)
            # Documents last: other readers may see the plate already, and no array may appear before its chunks.
            # They are not in the journal: copying them again is faster than looking them up.
            run(do_task, tasks(self._documents), self._workers)
            run(self._complete, self._sources, Workers(self._workers.jobs))
            _list_positions(self.plate, self._sources, name)
            count.finish()
        warn_of_files(self._sources.values())

    def _tasks(self, units: Iterable[Unit]) -> Iterator[Task]:
        return tasks(units, self._job, self._journal, self._share)

    def _share(self, unit: Unit) -> float:
        """Return the size of a unit relative to its position."""
        path = "/".join(unit.key.split("/")[:3])
        return unit.size / max(1, self._sizes[path])

    def _pixels(self, resumed: bool) -> Iterator[Unit]:
        """Yield the files that are copied, and the regions that are encoded again."""
        for path, source in self._node_paths.items():
            target = self.plate.node_path.child(path)
            if path in self._same:
                yield from self._files(path, source, target, resumed)
            else:
                units = list(_recoded(source, target, resumed))
                self._sizes[path] = sum(unit.size for unit in units)
                yield from units

    def _files(self, path: str, source: NodePath, target: NodePath, resumed: bool) -> Iterator[Unit]:
        """Yield the files of a position that is copied file by file, and collect its documents for later."""
        stores = source.store_handle.documents.storage, target.store_handle.documents.storage
        if resumed:
            remove_vanished(stores[0], source.path, stores[1], target.path)
        files = list(sized_files_below(stores[0], source.path))
        self._sizes[path] = sum(size for _, size in files)
        for key, size in files:
            relative = key[len(source.path) :].strip("/") if source.path else key
            unit = FileUnit(*stores, key, join(target.path, relative), size)
            if key.rpartition("/")[2] in METADATA_FILES:
                self._documents.append(unit)
            else:
                yield unit

    def _complete(self, path: str) -> None:
        """Convert the documents of a position to the version of the plate, and add facts from OME-XML."""
        source, target = self._node_paths[path], self.plate.node_path.child(path)
        if path in self._same:
            if self.plate.documents.kind(target.path) is None:
                raise NodeNotFoundError(f"There is no position at {source} any more to copy.")
            _rewrite_versions(source, target)
        write_facts(self._sources[path], target)


def _listable(node_path: NodePath) -> NodePath:
    """Return a node path that lists its children by metadata; the same object if the store can list."""
    documents = node_path.store_handle.documents
    storage = listed(documents.storage, node_path.path)
    if storage is documents.storage:
        return node_path
    warnings.warn(f"{node_path}: {unseen(storage)}.", UserWarning, stacklevel=2)
    return NodePath(
        StoreHandle(Documents(storage, documents.format), node_path.store_handle.version), node_path.path
    )


def _groups_and_arrays(node_path: NodePath, below: str = "") -> Iterator[tuple[str, str]]:
    """Yield the relative path and kind of all nodes below a group, parents first."""
    children = node_path.store_handle.documents.children(node_path.child(below).path)
    for name, kind in children.items():
        path = f"{below}/{name}".strip("/")
        yield path, kind
        if kind == "group":
            yield from _groups_and_arrays(node_path, path)


def _rewrite_versions(source: NodePath, target: NodePath) -> None:
    """Convert copied documents to the target's version, if it differs."""
    version, documents = target.store_handle.version, target.store_handle.documents
    for path, kind in [("", "group"), *_groups_and_arrays(target)]:
        group_path = target.child(path).path
        if kind == "group" and source.store_handle.version_of(documents.group(group_path)) is not version:
            documents.put_group(group_path, _converted(source, target, path))


def _recoded(source: NodePath, target: NodePath, resumed: bool) -> Iterator[Unit]:
    """Write the documents of a position for the other Zarr format, and yield the units that encode its arrays again."""
    documents = target.store_handle.documents
    nodes = list(_groups_and_arrays(source))
    left = _left_out(source, nodes)
    for path, kind in nodes:
        if any(f"{path}/".startswith(f"{part}/") for part in left):
            continue
        if kind == "array":
            yield from _recoded_array(source.child(path), target.child(path), resumed)
        else:
            documents.put_group(target.child(path).path, _converted(source, target, path))
    documents.put_group(target.path, _converted(source, target, ""))


def _left_out(source: NodePath, nodes: list[tuple[str, str]]) -> set[str]:
    """Return, with a warning, the nodes that the other Zarr format does not support, whole tables included."""
    documents = source.store_handle.documents
    groups = ["", *(path for path, kind in nodes if kind == "group")]

    def is_ome(path: str) -> bool:
        return has_ome(source.store_handle.version, documents.group(source.child(path).path))

    left: set[str] = set()
    for path in (path for path, kind in nodes if kind == "array"):
        node_path = source.child(path)
        try:
            documents.array(node_path.path)
        except NotDecodedError as found:
            if _texts(node_path) is None:
                part = part_of_others(path, groups, is_ome)
                if part == path:  # it is in the image itself, and may have its pixels
                    raise
                left.add(part)
                warnings.warn(
                    f"{source.child(part)} was left out of the new plate with all that is in it: {found}",
                    UserWarning,
                    stacklevel=2,
                )
    return left


def _texts(array: NodePath) -> tuple[ArrayMeta, ArrayMeta] | None:
    """Describe an array of texts in both Zarr formats; None for other arrays."""
    return translated(*array.store_handle.documents.array_document(array.path), array.path)


def _recoded_array(source: NodePath, target: NodePath, resumed: bool) -> Iterator[Unit]:
    """Write the document of an array with the same chunks, and yield the units that fill it."""
    documents = target.store_handle.documents
    try:
        meta = source.store_handle.documents.array(source.path)
    except NotDecodedError:
        both = _texts(source)
        if both is None:
            raise
        documents.put_array(target.path, both[1], new=True)
        stores = source.store_handle.documents.storage, documents.storage
        if resumed:
            remove_vanished_chunks(*_stored(source, target), *both, unchanged=True)
        for old, moved in moved_files(source.store_handle.documents, source.path, *both, target.path):
            yield FileUnit(*stores, old, moved, 0)
        return
    new = array_like(
        meta,
        zarr_format=target.store_handle.version.zarr_format,
        dimension_names=meta.dimension_names or _axis_names(source),
        attributes=meta.attributes,
    )
    documents.put_array(target.path, new)
    # Not through nodes, which would mark levels as stale: all levels are copied.
    yield from array_units(*_stored(source, target), new, resumed=resumed)


def _stored(source: NodePath, target: NodePath) -> tuple[StoredArray, StoredArray]:
    old, new = source.store_handle.documents, target.store_handle.documents
    return StoredArray(old, source.path), StoredArray(new, target.path)


def _axis_names(array: NodePath) -> list[str] | None:
    """Return the axis names of the image of a level (required by ST-05 in 0.5)."""
    from lamella.nodes.kinds import array_at

    axes = array_at(array).axes
    return None if axes is None else [axis.name for axis in axes]


def _converted(source: NodePath, target: NodePath, path: str) -> JSONObject:
    attributes = source.store_handle.documents.group(source.child(path).path)
    return versions.convert_attributes(
        attributes, source.store_handle.version_of(attributes), target.store_handle.version
    )
