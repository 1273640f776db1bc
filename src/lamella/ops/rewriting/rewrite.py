"""Rewrite a whole store, in another version or with other chunks, as a `Plan` describes it.

``arrays`` rewrites one array, ``workspace`` moves the new store into place, and a journal lets the same call resume.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella._version import __version__
from lamella.errors import MetadataError, NotDecodedError, clause
from lamella.log import logged
from lamella.ops.execution import Count, reporting, run
from lamella.ops.jobs.journal import Journal
from lamella.ops.jobs.units import digest, do_task, tasks
from lamella.ops.known_members import unseen
from lamella.ops.new_store import folder_or_store, is_copied, name_of, staged
from lamella.ops.rewriting.arrays import (
    FileUnit,
    array_units,
    copied_units,
    has_same_encoding,
    join_remote_copies,
)
from lamella.ops.rewriting.endpoints import open_source, remove_consolidated_above, rewritten_path
from lamella.ops.rewriting.inventory import Inventory, batched, group_of_other_program, inventory_of
from lamella.ops.rewriting.workspace import Workspace
from lamella.spec.axes import space_axes
from lamella.spec.images import ImagesMeta
from lamella.spec.versions import detect
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import shown_as
from lamella.store.keys import V3, join
from lamella.store.metadata import format_v3
from lamella.store.metadata.documents import Documents
from lamella.store.metadata.json_document import parse_object, to_bytes
from lamella.store.metadata.text_arrays import translated
from lamella.store.pixels.arrays import StoredArray
from lamella.store.storage import open_storage, share_options, with_options
from lamella.store.transfer import remove_vanished, sized_files_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from zarr.abc.store import Store

    from lamella.ops.execution import Progress, Workers
    from lamella.ops.jobs.units import Unit
    from lamella.store.metadata.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.storage import Names
    from lamella.types import JSONObject, StrPath


@dataclass(frozen=True)
class RewriteReport:
    """The result of `rechunk` or `upgrade`. Always true: a failed run raises.

    Attributes
    ----------
    destination : str
        Path of the new store.
    groups, arrays : int
        Number of nodes that were written.
    carried : int
        Number of arrays whose encoded chunks were copied unchanged.
    nbytes : int
        Size of the pixels of all arrays, uncompressed.
    notes : tuple of str
        Information for the user.

    Examples
    --------
    >>> import lamella
    >>> report = lamella.upgrade(plate.zgroup.store.root, "0.6", tmp / "new.zarr")
    >>> report.groups, report.arrays, report.carried
    (8, 1, 1)
    """

    destination: str
    groups: int = 0
    arrays: int = 0
    carried: int = 0
    nbytes: int = 0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> JSONObject:
        """Return the report as JSON values.

        Examples
        --------
        >>> RewriteReport("cells.zarr", groups=1, arrays=2).to_dict()["arrays"]
        2
        """
        return {**asdict(self), "notes": list(self.notes)}


class Plan(ABC):
    """The new form of each node of a store. Documents are passed as stored, and are not changed.

    ``zarr_format`` is that of the new store, ``lossy`` leaves out unsupported arrays instead of raising, and ``notes``
    inform the user. ``axes_of_array`` has, for each array that an image lists, the names of its axes and the number of
    axes before those of space: (("t", "c", "y", "x"), 2).
    """

    lossy = False

    def __init__(self, documents: Documents, groups: Iterable[str], zarr_format: ZarrFormat) -> None:
        self.zarr_format = zarr_format
        self.notes: list[str] = []
        self.axes_of_array: dict[str, tuple[tuple[str, ...], int]] = {}
        for path in groups:
            attributes = documents.group(path)
            try:
                images = detect(documents.format, attributes).load(ImagesMeta, attributes)
            except MetadataError as error:
                self.skip(path, error)
                continue
            for multiscale in images.multiscales if images is not None else ():
                axes = (
                    tuple(axis.name for axis in multiscale.axes),
                    min(space_axes(multiscale.axes), default=0),
                )
                for level in multiscale.get_dataset_paths():
                    self.axes_of_array[join(path, level.strip("/"))] = axes

    @abstractmethod
    def skip(self, path: str, error: MetadataError) -> None:
        """Note a group whose images cannot be read."""

    def group(self, path: str, attributes: JSONObject) -> JSONObject:
        """Return the new attributes of a group."""
        return attributes

    @abstractmethod
    def array(self, path: str, meta: ArrayMeta) -> ArrayMeta:
        """Describe the new array."""

    def is_ome(self, path: str) -> bool:
        """Return whether a group has metadata of OME-Zarr. Called only if the Zarr format changes."""
        return True


Prepare: TypeAlias = "Callable[[Documents, Inventory, Documents | None], Plan | RewriteReport]"
"""Returns the plan for a store with its inventory, or a report if no rewriting was needed; raises if it is impossible.
The last argument is the store opened for writing, if it is to be replaced."""


@dataclass(frozen=True)
class RewriteCall:
    """The request of a command to `rewrite`. Only a call with the same ``settings`` resumes an unfinished store.

    ``prepare`` and its plan raise for everything that is impossible, before anything is written.
    """

    settings: JSONObject
    prepare: Prepare
    workers: Workers
    progress: Progress | bool | None
    follow_links: bool


def rewrite(
    source: StrPath | Store,
    destination: StrPath | Store | None,
    call: RewriteCall,
    *,
    overwrite: bool,
    storage_options: Mapping[str, Any] | None,
) -> RewriteReport:
    """Rewrite a store to a folder, by default in its place, or to a URL or store by a temporary folder.

    After an error, the written files stay for the next run.
    """
    destination = None if destination is None else folder_or_store(destination)
    if destination is None or not is_copied(destination):
        return _rewrite(with_options(source, storage_options), destination, call, overwrite=overwrite)
    linked_source, target = share_options((source, destination), storage_options)
    command = str(call.settings["command"])
    with staged(
        target, command, overwrite=overwrite, progress=call.progress, sources=[linked_source]
    ) as folder:
        report = _rewrite(linked_source, folder, call, overwrite=True)
    return replace(report, destination=name_of(destination))


def _rewrite(
    source: StrPath | Store, destination: StrPath | Store | None, call: RewriteCall, *, overwrite: bool
) -> RewriteReport:
    storage, in_place = open_storage(source), destination is None
    path = rewritten_path(storage, destination)
    settings = call.settings | {"source": storage.name, "destination": None if in_place else path}
    workspace = Workspace(path, settings, overwrite=overwrite, in_place=in_place)
    with logged("Write %s (%s)", path, settings["command"]), workspace.locked() as is_complete:
        if is_complete:
            return _final_report(path)
        documents = open_source(source, follow_links=call.follow_links)
        workspace.check()
        call.workers.check_reach(documents.storage)
        inventory = inventory_of(documents)
        store_to_replace = (
            Documents(open_storage(path, follow_links=call.follow_links), documents.format)
            if in_place
            else None
        )
        plan = call.prepare(documents, inventory, store_to_replace)
        if isinstance(plan, RewriteReport):
            return plan
        job = _Job(documents, Documents(LocalStorage(workspace.new_store), plan.zarr_format), inventory, plan)
        report = job.check(path)
        workspace.begin(inventory.digest)
        resumed = os.path.lexists(workspace.new_store)
        job_digest = digest([__version__, settings, inventory.digest])

        def write_units(units: Iterable[Unit], on_result: Callable[[float], None] | None = None) -> None:
            with Journal(workspace.journal, {"job": job_digest}) as journal:
                run(
                    do_task,
                    tasks(join_remote_copies(units), job_digest, journal),
                    call.workers,
                    on_result=on_result,
                )

        with shown_as(workspace.new_store, path), reporting(call.progress, "pixels") as report_progress:
            job.write(write_units, report_progress, resumed=resumed)
            if in_place:
                job.catch_up(write_units)
        workspace.check()  # again: another program may have written there meanwhile
        if workspace.replaces:
            remove_consolidated_above(path)
        workspace.publish(inventory.digest)
    return report


def _final_report(path: str) -> RewriteReport:
    """Report on a store that an earlier run completed."""
    documents = Documents.open(LocalStorage(path, read_only=True))
    inventory = Inventory() if documents is None else inventory_of(documents)
    return RewriteReport(
        path,
        len(inventory.groups),
        len(inventory.arrays),
        notes=("Finished an interrupted run: the complete store was moved into place",),
    )


_AHEAD = 256
_LISTED = 32
"""Numbers of nodes whose documents are requested at once, and of arrays whose files are listed at once."""


@dataclass
class _Job:
    """The rewriting of one store.

    ``arrays`` are decoded and encoded where needed. ``undecodable`` are arrays whose files are copied, because lamella
    cannot decode them. ``text_arrays`` are arrays of strings, each with its old and new metadata; their chunks are
    copied. ``left_out`` are paths of arrays and groups that are not written. ``total`` is the size of all pixels in
    bytes.
    """

    source: Documents
    target: Documents
    inventory: Inventory
    plan: Plan
    arrays: list[str] = field(default_factory=list)
    undecodable: list[str] = field(default_factory=list)
    text_arrays: dict[str, tuple[ArrayMeta, ArrayMeta]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    total: int = 0

    def check(self, destination: str) -> RewriteReport:
        """Apply the plan to every node once, so that it raises before anything is written."""
        for path in self._ahead(self.inventory.groups):
            self._group(path)
        size_and_is_copied: dict[str, tuple[int, bool]] = {}
        for path in self._ahead(arrays=self.inventory.arrays):
            if any(path.startswith(f"{removed_path}/") for removed_path in self.left_out):
                continue
            try:
                old_meta = self.source.array(path)
            except MetadataError as error:
                self._set_apart(path, error)
                continue
            meta = self.plan.array(path, old_meta)
            is_copied = has_same_encoding(old_meta, meta)
            try:
                if not is_copied:
                    _ = StoredArray(self.source, path).engine  # raises if the chunks cannot be decoded
            except NotDecodedError as error:
                if self.source.format == self.target.format or path in self.plan.axes_of_array:
                    raise
                self._set_apart(path, error)
                continue
            size_and_is_copied[path] = meta.nbytes, is_copied
        for removed_path in self.left_out:
            self.inventory.remove(removed_path)
        remaining = set(self.inventory.arrays)
        self.arrays = [path for path in self.inventory.arrays if path in size_and_is_copied]
        self.undecodable = [path for path in self.undecodable if path in remaining]
        self.text_arrays = {path: metas for path, metas in self.text_arrays.items() if path in remaining}
        self.total = sum(size_and_is_copied[path][0] for path in self.arrays)
        carried_count = sum(size_and_is_copied[path][1] for path in self.arrays) + len(self.text_arrays)
        array_count = len(self.arrays) + len(self.undecodable) + len(self.text_arrays)
        unlisted_note = unseen(self.source.storage)
        notes = tuple(dict.fromkeys([*self.plan.notes, *([unlisted_note] if unlisted_note else [])]))
        return RewriteReport(
            destination, len(self.inventory.groups), array_count, carried_count, self.total, notes
        )

    def _set_apart(self, path: str, error: MetadataError) -> None:
        """Copy the files of an array that cannot be decoded, or leave it out; raise MetadataError if both fail."""
        if self.source.format == self.target.format:
            self.undecodable.append(path)
            self.plan.notes.append(
                f"the array {self.source.location(path)} was copied unchanged: {clause(error)}"
            )
            return
        if isinstance(error, NotDecodedError):
            metas = translated(*self.source.array_document(path), path)
            if metas is not None:
                self.text_arrays[path] = metas
                return
        foreign_group = group_of_other_program(path, self.inventory.groups, self.plan.is_ome)
        if self.plan.lossy and path not in self.plan.axes_of_array:
            self.left_out.append(foreign_group)
            array = f"the array {self.source.location(path)}"
            group = f"the group {self.source.location(foreign_group)} was left out with its content"
            left_out = f"{array} was left out" if foreign_group == path else f"{group}: {array} is"
            self.plan.notes.append(f"{left_out}: {clause(error)}")
            return
        raise MetadataError(
            f"The array {self.source.location(path)} cannot be written in Zarr v{self.target.format}: {clause(error)}."
            + (
                ""
                if path in self.plan.axes_of_array
                else f" Remove {foreign_group!r}, or leave it out with lossy=True (--lossy)."
            )
        ) from error

    def write(self, write_units: Callable[..., None], progress: Progress | None, *, resumed: bool) -> None:
        """Write everything that is missing: array documents, files and pixels, groups; the root last."""
        count = Count(progress, "pixels", self.total)
        write_units(self._units(resumed), on_result=count.add)
        for path in self.inventory.implicit_groups:
            if path:
                self.target.put_group(path, {})
        for path in self._ahead(self.inventory.groups[::-1]):
            self._write_group(path)
        count.finish("documents")

    def catch_up(self, write_units: Callable[..., None]) -> None:
        """Copy pixels that changed meanwhile, because the source will be deleted; raise for changed documents."""
        write_units(self._units(resumed=True))
        if inventory_of(self.source).digest != self.inventory.digest:
            raise MetadataError(
                f"{self.source.storage.name} was changed by another process while it was rewritten, so it is not "
                "replaced: run the command again."
            )

    def _units(self, resumed: bool) -> Iterator[Unit]:
        storage = self.source.storage
        if resumed:
            self._remove_vanished()
        undecodable = (key for path in self.undecodable for key, _ in sized_files_below(storage, path))
        for key in chain(self.inventory.files, undecodable):
            yield FileUnit(storage, self.target.storage, key, key, 0)
        for path, (old_meta, new_meta) in self.text_arrays.items():
            self.target.put_array(path, new_meta, is_new=True)
            arrays = StoredArray(self.source, path), StoredArray(self.target, path)
            yield from copied_units(*arrays, old_meta, new_meta, is_decodable=False, resumed=resumed)
        for path, keys in self._listed(self.arrays):
            meta = self.plan.array(path, self.source.array(path))
            self.target.put_array(path, meta, is_new=True)
            source, target = StoredArray(self.source, path), StoredArray(self.target, path)
            yield from array_units(source, target, meta, resumed=resumed, keys=keys)

    def _ahead(self, groups: Sequence[str] = (), *, arrays: Sequence[str] = ()) -> Iterator[str]:
        """Yield paths, after requesting the documents of many at once in remote stores."""
        for batch in batched(groups or arrays, _AHEAD):
            self.source.request_ahead(batch if groups else (), arrays=() if groups else batch)
            yield from batch

    def _listed(self, arrays: Sequence[str]) -> Iterator[tuple[str, Names | None]]:
        """Yield arrays with the keys in their folders, which are listed at once in remote stores."""
        storage = self.source.storage
        if not (storage.can_list and storage.lists_below):
            yield from ((path, None) for path in self._ahead(arrays=arrays))
            return
        for batch in batched(arrays, _LISTED):
            self.source.request_ahead((), arrays=batch)
            yield from zip(batch, storage.keys_below_each(batch), strict=True)

    def _remove_vanished(self) -> None:
        """Delete the copies of files that are no longer in the source; units of arrays delete their own."""
        for path in self.undecodable:
            remove_vanished(self.source.storage, path, self.target.storage, path)
        for key in inventory_of(self.target).files:
            if self.source.storage.size(key) is None:
                self.target.storage.delete(key)

    def _group(self, path: str) -> JSONObject:
        try:
            return self.plan.group(path, self.source.group(path))
        except MetadataError as error:
            raise MetadataError(
                f"Cannot write the group {self.source.location(path)}: {clause(error)}."
            ) from error

    def _write_group(self, path: str) -> None:
        attributes = self._group(path)
        if self.target.format == 2 or self.source.format == 2:
            self.target.put_groups({path: attributes}, is_new=True)
            return
        key = join(path, V3.group)
        old_document = parse_object(
            self.source.storage.read(key) or b"{}", self.source.storage.where(path), V3.group
        )
        document = format_v3.group_document(attributes, old_document)
        self.target.storage.write(key, to_bytes(document, self.target.storage.where(path), V3.group))
