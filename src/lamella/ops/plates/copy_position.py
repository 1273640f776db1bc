"""Copy positions of other stores into a store, by copying encoded chunks if possible.

Positions of the same Zarr format are copied file by file. Others are encoded again, chunk by chunk.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

from lamella.errors import NodeNotFoundError, NotDecodedError, clause, warn
from lamella.nodes.replacing import check_replaced
from lamella.nodes.reporting import warn_of
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.tables import is_in_tables, stored_table_names
from lamella.ops.execution import Count, Workers, reporting, run
from lamella.ops.jobs.units import do_task, tasks
from lamella.ops.known_members import listable, unseen
from lamella.ops.plates.ome_facts import warn_of_files, write_facts
from lamella.ops.plates.origins import Origins, copy_attributes, custom_attributes, merged_acquisitions
from lamella.ops.rewriting.arrays import FileUnit, array_units, copied_units
from lamella.ops.rewriting.inventory import group_of_other_program
from lamella.ops.rewriting.upgrade import has_ome
from lamella.spec import plate_edits, versions
from lamella.spec.own_key import read_creating, with_creating
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.spec.tables import with_replacing_table
from lamella.store.keys import METADATA_FILES, is_private, join
from lamella.store.metadata.array_creation import array_like
from lamella.store.metadata.documents import Documents
from lamella.store.metadata.text_arrays import translated
from lamella.store.pixels.arrays import StoredArray
from lamella.store.transfer import remove_vanished, sized_files_below

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.ops.execution import Progress
    from lamella.ops.jobs.journal import Journal, LocalFile
    from lamella.ops.jobs.units import Unit
    from lamella.ops.plates.composed_arrays import ImagePlan
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import JSONObject


_MIN_COPYING = 4
"""Minimum number of workers that copy files, unless the caller passes a number."""


def _list_positions(
    plate: Plate, sources: Mapping[str, Position], origins: Origins, plate_name: str | None
) -> None:
    """Write the documents that list the copied positions: rows, wells, and the plate last."""
    acquisitions, wells = merged_acquisitions(sources)
    version = plate.store_handle.version
    no_metadata = version.with_ome({}, {})
    groups = {plate.node_path.child(row).path: no_metadata for row, _ in (well.split("/") for well in wells)}
    for row, origin in origins.rows_of_wells().items():
        groups[plate.node_path.child(row).path] = custom_attributes(origin, version)
    for well, images in wells.items():
        listing = plate_edits.add_images(WellGroupMeta(images=[]), images)
        groups[plate.node_path.child(well).path] = version.dump(listing, {})
    plate.documents.put_groups(groups)
    for well, origin in origins.wells.items():
        copy_attributes(origin, plate.node_path.child(well), WellGroupMeta)
    if origins.only is not None:
        copy_attributes(origins.only.node, plate, PlateMeta)

    def list_wells(meta: PlateMeta) -> PlateMeta:
        names = [well.partition("/") for well in wells]
        copied = origins.only.meta.copied() if origins.only is not None else meta.copied()
        copied.name = origins.name or plate_name or meta.name
        copied.rows, copied.columns, copied.wells = origins.rows(), origins.columns(), []
        meta = copied.model_copy(update={"acquisitions": acquisitions, "version": None, "field_count": None})
        return plate_edits.set_counts(
            plate_edits.add_wells(meta, [(row, column, None, None) for row, _, column in names]), wells
        )

    plate.document.edit(list_wells, edit_attributes=lambda attributes: with_creating(attributes, None))


@contextmanager
def reading_twice(sources: Iterable[Position]) -> Iterator[None]:
    """Read files that seem to be missing a second time, because a store may fail for a moment."""
    with ExitStack() as stack:
        for documents in {id(source.documents): source.documents for source in sources}.values():
            stack.enter_context(documents.reading_twice())
        yield


class PositionCopy:
    """A copy of positions into a plate or a store of one image (``root``); callers use it inside of `reading_twice`.

    Pixels are written first, then documents, then the lists of positions. ``plans`` has the plan of each position that
    is composed of parts of others.
    """

    def __init__(
        self,
        root: Plate | Position,
        sources: Mapping[str, Position],
        workers: Workers,
        plans: Mapping[str, ImagePlan] | None = None,
        job: str = "",
        journal: Journal[LocalFile] | None = None,
    ) -> None:
        self.root, self._sources = root, sources
        self._plans = plans or {}
        self._job, self._journal = job, journal
        self._node_paths = {path: _listable(source.node_path) for path, source in sources.items()}
        self._same_format = {
            path for path, node_path in self._node_paths.items() if self._has_same_format(node_path)
        }
        if len(self._same_format) == len(sources) and workers.executor is None and workers.jobs is None:
            workers = Workers(max(workers.count, _MIN_COPYING))  # a disk serves several requests at a time
        self._workers = workers
        self._sizes: dict[str, int] = {}
        self._documents: list[Unit] = []

    def _has_same_format(self, node_path: NodePath) -> bool:
        return node_path.store_handle.version.zarr_format == self.root.store_handle.version.zarr_format

    def run(self, progress: Progress | bool | None, *, resumed: bool = False) -> None:
        """Copy all positions, without listing them."""
        with reporting(progress, "positions") as show:
            count = Count(show, "positions", len(self._sources))
            add_weight = None if show is None else count.add
            pixels = tasks(self._pixels(resumed), self._job, self._journal, self._fraction_of_position)
            run(do_task, pixels, self._workers, on_result=add_weight)
            # Documents last: a reader may have opened the plate, and no array may appear before its chunks.
            # The journal does not record documents: copying them again is faster than comparing them.
            run(do_task, tasks(self._documents), self._workers)
            run(self._complete_documents, self._sources, Workers(self._workers.jobs))
            for path, plan in self._plans.items():
                plan.compute_levels(self.root.node_path.child(path), self._workers)
            notes: list[str] = []
            run(self._cut_tables, self._plans, Workers(self._workers.jobs), on_result=notes.extend)
            count.finish()
        warn_of(notes)
        warn_of_files(self._sources.values())

    def list_all(self, name: str | None) -> None:
        """List the positions in a new plate; ``name`` is the plate's name if the sources have none."""
        if "" in self._sources:
            return
        origins = Origins.of(self._sources)
        plates = [plate.node for plate in origins.plates]
        units = list(plate_tables(cast("Plate", self.root), plates, self._units_of_table))
        if self.root.documents.storage.chunks_need_array:
            self._add_documents([unit for unit in units if _is_document(unit)])
        run(do_task, tasks(units), self._workers)
        if units:
            self._rename_in_tables(origins)
        _list_positions(cast("Plate", self.root), self._sources, origins, name)

    def _rename_in_tables(self, origins: Origins) -> None:
        """Change the names of wells and fields in the copied tables to those of the new plate."""
        from lamella.ops.tables.well_names import names_of_copies, rename_in_tables

        renamed: set[str] = set()
        for plate in origins.plates:
            tables = [name for name in stored_table_names(plate.node) if name not in renamed]
            if tables:
                names = names_of_copies(plate.node, origins.copies[str(plate.node.node_path)])
                rename_in_tables(cast("Plate", self.root), names, tables)
            renamed.update(tables)  # of the same names in other plates none is copied

    def _units_of_table(self, source: NodePath, target: NodePath) -> Iterator[Unit]:
        source = _listable(source)
        if self._has_same_format(source):
            return _file_units(source, target, set(), True)
        return _encode_again(source, target, set(), True)

    def _fraction_of_position(self, unit: Unit) -> float:
        """Return the size of a unit as a fraction of its position, for progress."""
        key = unit.key[len(self.root.path) :].strip("/")
        path = "" if "" in self._sources else "/".join(key.split("/")[:3])
        return unit.size / max(1, self._sizes[path])

    def _pixels(self, resumed: bool) -> Iterator[Unit]:
        """Yield the files that are copied, and the regions that are encoded again."""
        for path, source in self._node_paths.items():
            target = self.root.node_path.child(path)
            plan = self._plans.get(path)
            units = self._pixels_of(source, target, set() if plan is None else plan.left_out, resumed)
            if plan is not None:
                units += plan.new_arrays(target, resumed)
                for name, label in plan.labels.items():
                    label_path = target.child(join("labels", name))
                    units += self._pixels_of(_listable(label.node_path), label_path, set(), resumed)
            self._sizes[path] = sum(unit.size for unit in units)
            yield from units

    def _pixels_of(
        self, source: NodePath, target: NodePath, left_out: Collection[str], resumed: bool
    ) -> list[Unit]:
        """Return the units of a node but for documents, which `_add_documents` copies later."""
        if not self._has_same_format(source):
            return list(_encode_again(source, target, left_out, resumed))
        files = list(_file_units(source, target, left_out, resumed))
        if not target.path:  # the root keeps its document, which marks the store as incomplete
            files = [unit for unit in files if unit.key not in METADATA_FILES]
        self._add_documents([unit for unit in files if _is_document(unit)])
        return [unit for unit in files if not _is_document(unit)]

    def _add_documents(self, units: Sequence[Unit]) -> None:
        """Remember documents to copy after the pixels; copy them now if the store needs an array before its chunks."""
        if self.root.documents.storage.chunks_need_array:
            groups_first = sorted(units, key=lambda unit: unit.key.count("/"))
            run(do_task, tasks(groups_first), Workers(1))
        else:
            self._documents += units

    def _cut_tables(self, path: str) -> list[str]:
        return self._plans[path].cut_tables(self._sources[path], self.root.node_path.child(path))

    def _complete_documents(self, path: str) -> None:
        """Convert the documents of a position to the version of the plate, and add facts from OME-XML."""
        source, target = self._node_paths[path], self.root.node_path.child(path)
        if path in self._same_format:
            if self.root.documents.kind(target.path) is None:
                raise NodeNotFoundError(f"There is no position at {source} any more to copy.")
            if not target.path:
                attributes = source.store_handle.documents.group(source.path)
                self.root.documents.edit_group("", lambda old: with_creating(attributes, read_creating(old)))
            _rewrite_versions(source, target)
        if path in self._plans:
            self._plans[path].write_documents(target)
        else:
            write_facts(self._sources[path], target)


def _is_below(path: str, folders: Collection[str]) -> bool:
    """Return whether a path is one of the folders, or below one."""
    return any(f"{path}/".startswith(f"{folder}/") for folder in folders)


def _is_document(unit: Unit) -> bool:
    return isinstance(unit, FileUnit) and unit.key.rpartition("/")[2] in METADATA_FILES


def _file_units(
    source: NodePath, target: NodePath, left_out: Collection[str], resumed: bool
) -> Iterator[FileUnit]:
    """Yield units that copy the files of a node, except those in the folders ``left_out``."""
    stores = source.store_handle.documents.storage, target.store_handle.documents.storage
    if resumed:
        remove_vanished(stores[0], source.path, stores[1], target.path, excluded=left_out)
    for key, size in sized_files_below(stores[0], source.path):
        relative = key[len(source.path) :].strip("/") if source.path else key
        if not _is_below(relative, left_out):
            yield FileUnit(*stores, key, join(target.path, relative), size)


def _listable(node_path: NodePath) -> NodePath:
    """Return a node path whose children can be listed; in a store that cannot list, by metadata and with a warning."""
    documents = node_path.store_handle.documents
    storage = listable(documents.storage, node_path.path)
    if storage is documents.storage:
        return node_path
    warn(f"{node_path}: {unseen(storage)}.")
    documents = Documents(storage, documents.format)
    documents.always_read_twice()
    return NodePath(StoreHandle(documents, node_path.store_handle.version), node_path.path)


def _groups_and_arrays(node_path: NodePath, group: str = "") -> Iterator[tuple[str, str]]:
    """Yield the relative path and kind of all nodes below a group, parents first."""
    for name, kind in node_path.store_handle.documents.children(node_path.child(group).path).items():
        path = f"{group}/{name}".strip("/")
        yield path, kind
        if kind == "group":
            yield from _groups_and_arrays(node_path, path)


def _rewrite_versions(source: NodePath, target: NodePath) -> None:
    """Convert copied documents to the target's version, if it differs."""
    version, documents = target.store_handle.version, target.store_handle.documents
    for path, kind in [("", "group"), *_groups_and_arrays(target)]:
        group_path = target.child(path).path
        if is_in_tables(documents, group_path):
            continue
        if kind == "group":
            group = source.child(path).path
            check_replaced(source.store_handle.documents, group, documents.group(group_path))
        if kind == "group" and source.store_handle.version_of(documents.group(group_path)) is not version:
            documents.put_group(group_path, _converted_attributes(source, target, path))


def _encode_again(
    source: NodePath, target: NodePath, left_out: Collection[str], resumed: bool
) -> Iterator[Unit]:
    """Write the documents of a position for the other Zarr format, and yield the units that encode its arrays again."""
    documents = target.store_handle.documents
    nodes = list(_groups_and_arrays(source))
    left_out = {*left_out, *_find_unsupported(source, nodes)}
    for path, kind in nodes:
        if _is_below(path, left_out):
            continue
        if kind == "array":
            yield from _encode_array_again(source.child(path), target.child(path), resumed)
        else:
            documents.put_group(target.child(path).path, _converted_attributes(source, target, path))
            yield from _other_files(source.child(path), target.child(path))
    yield from _other_files(source, target)
    attributes = _converted_attributes(source, target, "")
    if not target.path:
        attributes = with_creating(attributes, read_creating(documents.group("")))
    documents.put_group(target.path, attributes)


def _other_files(source: NodePath, target: NodePath) -> Iterator[FileUnit]:
    """Yield the files in the folder of a group that are not documents, such as the CSV file of a table."""
    stores = source.store_handle.documents.storage, target.store_handle.documents.storage
    names = [
        name for name in stores[0].list(source.path) if name not in METADATA_FILES and not is_private(name)
    ]
    sizes = stores[0].sizes([join(source.path, name) for name in names])
    for name, size in zip(names, sizes, strict=True):
        if size is not None:
            yield FileUnit(*stores, join(source.path, name), join(target.path, name), size)


def _find_unsupported(source: NodePath, nodes: list[tuple[str, str]]) -> set[str]:
    """Return the nodes that the other Zarr format does not support, and warn of each; a table counts as one node."""
    documents = source.store_handle.documents
    groups = ["", *(path for path, kind in nodes if kind == "group")]

    def is_ome(path: str) -> bool:
        group = source.child(path).path
        return not is_in_tables(documents, group) and has_ome(
            source.store_handle.version, documents.group(group)
        )

    unsupported: dict[str, str] = {}
    for path in (path for path, kind in nodes if kind == "array"):
        node_path = source.child(path)
        try:
            documents.array(node_path.path)
        except NotDecodedError as error:
            if _text_array_metas(node_path) is None:
                folder = group_of_other_program(path, groups, is_ome)
                if folder == path:  # the array belongs to the image itself, and may contain its pixels
                    raise
                unsupported[folder] = (
                    f"{source.child(folder)} was left out of the new plate with all that is in it: {clause(error)}."
                )
    warn_of(unsupported.values())
    return set(unsupported)


def _text_array_metas(array: NodePath) -> tuple[ArrayMeta, ArrayMeta] | None:
    """Return the metadata of an array of texts in the format of its store and in the other; None for other arrays."""
    return translated(*array.store_handle.documents.array_document(array.path), array.path)


def _encode_array_again(source: NodePath, target: NodePath, resumed: bool) -> Iterator[Unit]:
    """Write the document of an array with the same chunks, and yield the units that fill it."""
    documents = target.store_handle.documents
    try:
        meta = source.store_handle.documents.array(source.path)
    except NotDecodedError:
        metas = _text_array_metas(source)
        if metas is None:
            raise
        source_meta, target_meta = metas
        documents.put_array(target.path, target_meta, is_new=True)
        arrays = _stored_arrays(source, target)
        yield from copied_units(*arrays, source_meta, target_meta, is_decodable=False, resumed=resumed)
        return
    target_meta = array_like(
        meta,
        zarr_format=target.store_handle.version.zarr_format,
        dimension_names=meta.dimension_names or _axis_names(source),
        attributes=meta.attributes,
    )
    documents.put_array(target.path, target_meta)
    # Not through nodes, which would mark levels as stale: all levels are copied.
    yield from array_units(*_stored_arrays(source, target), target_meta, resumed=resumed)


def _stored_arrays(source: NodePath, target: NodePath) -> tuple[StoredArray, StoredArray]:
    return (
        StoredArray(source.store_handle.documents, source.path),
        StoredArray(target.store_handle.documents, target.path),
    )


def _axis_names(array: NodePath) -> list[str] | None:
    """Return the axis names of the image of a level (required by ST-05 in 0.5)."""
    from lamella.nodes.node_classes import array_at

    axes = array_at(array).axes
    return None if axes is None else [axis.name for axis in axes]


def _converted_attributes(source: NodePath, target: NodePath, path: str) -> JSONObject:
    """Return the attributes of a group in the version of the target; those of tables do not change."""
    documents, group = source.store_handle.documents, source.child(path).path
    attributes = documents.group(group)
    if is_in_tables(documents, group):
        return attributes
    check_replaced(documents, group, attributes)
    return versions.convert_attributes(
        attributes, source.store_handle.version_of(attributes), target.store_handle.version
    )


def plate_tables(
    target: Plate, plates: Sequence[Plate], units_of: Callable[[NodePath, NodePath], Iterator[Unit]]
) -> Iterator[Unit]:
    """Write the group that lists the tables of some plates, and yield the units that copy the tables.

    If several plates have a table of one name, that of the first plate is copied, with a warning.
    """
    owners: dict[str, Plate] = {}
    for plate in plates:
        for name in stored_table_names(plate):
            if name in owners:
                warn(
                    f"{owners[name].node_path} and {plate.node_path} both have a table {name!r}: the first one is "
                    f"copied to {target.node_path}."
                )
            owners.setdefault(name, plate)
    if not owners:
        return
    from lamella.ops.tables.write import content_path

    group = target.node_path.child("tables")
    attributes = with_replacing_table(next(iter(owners.values())).tables.group_attributes, None)
    target.documents.put_group(group.path, {**attributes, "tables": list(owners)})
    for name, plate in owners.items():
        source = plate.node_path.child("tables")
        content = content_path(plate.tables, name)[len(source.path) :].strip("/")
        yield from units_of(source.child(content), group.child(name))
