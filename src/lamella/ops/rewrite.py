"""Writing a whole store anew: in another version, or in other chunks. What changes is a `Plan`'s to say.

The new store is written beside the place that it will take, and takes it when it is complete
(:mod:`lamella.ops.rewrite_workspace`). A run that was killed is gone on with by the same call: what is on the disk
whole and not older than what it was made from is not written again.

Layer: ops. How one array is written is in :mod:`lamella.ops.rewrite_arrays`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Protocol, TypeAlias

from lamella.errors import (
    InvalidArgumentError,
    MetadataError,
    ReadOnlyError,
    StoreExistsError,
    StoreNotFoundError,
)
from lamella.ops.execution import run
from lamella.ops.rewrite_arrays import array_units, encoded_alike, file_units
from lamella.ops.rewrite_survey import Survey, survey
from lamella.ops.rewrite_workspace import Workspace
from lamella.store import format_v3
from lamella.store.arrays import StoredArray
from lamella.store.documents import Documents
from lamella.store.json_document import parse_object, to_bytes
from lamella.store.keys import join
from lamella.store.local import LocalStorage
from lamella.store.storage import open_storage
from lamella.store.transfer import files_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zarr.abc.store import Store

    from lamella.ops.rewrite_arrays import Unit
    from lamella.store.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.storage import Storage
    from lamella.types import JSONObject, StrPath

_DEPTH = 6
"""How many folders above may be groups of the same store."""

Progress: TypeAlias = "Callable[[float, int, str], None]"
"""Told the bytes of pixels done, those of all arrays, and what is being done; by one thread at a time."""


@dataclass(frozen=True)
class RewriteReport:
    """What was written.

    Attributes
    ----------
    destination : str
        Where the new store is.
    groups, arrays : int
        Number of nodes that were written.
    carried : int
        Number of the arrays whose encoded chunks were taken over as they are.
    nbytes : int
        Size of the pixels of all arrays, uncompressed.
    notes : tuple of str
        What the user should know.
    """

    destination: str
    groups: int = 0
    arrays: int = 0
    carried: int = 0
    nbytes: int = 0
    notes: tuple[str, ...] = ()


class Plan(Protocol):
    """What becomes of each node of a store. Documents are given as stored, and are not changed.

    Attributes
    ----------
    zarr_format
        Of the new store.
    lossy
        Whether arrays that it cannot have are left out instead of refused.
    notes
        What the user should know.
    """

    zarr_format: ZarrFormat
    lossy: bool
    notes: list[str]

    def group(self, path: str, attributes: JSONObject) -> JSONObject:
        """Give the new attributes of a group."""

    def array(self, path: str, meta: ArrayMeta) -> ArrayMeta:
        """Describe the new array."""


@dataclass
class Source:
    """The store that is read.

    Attributes
    ----------
    documents
        Of the store, or of a group in it.
    local
        Its folder, with links followed; None when it is no folder.
    """

    documents: Documents
    local: str | None

    @property
    def name(self) -> str:
        """Where it is, for messages."""
        return self.documents.storage.name


def open_source(source: StrPath | Store) -> Source:
    """Open the store that is to be written anew, for reading.

    Raises
    ------
    StoreNotFoundError
        There is nothing.
    MetadataError
        What is there is no Zarr store.
    """
    storage = open_storage(source, read_only=True)
    documents = Documents.open(storage)
    if documents is None:
        if storage.exists(""):
            raise MetadataError(
                f"{storage.name} holds no Zarr metadata (zarr.json, .zgroup or .zarray), so it is no store. "
                "Give the path of the folder that holds them."
            )
        raise StoreNotFoundError(f"There is no store at {storage.name}. Check the path.")
    return Source(documents, os.path.realpath(storage.root) if isinstance(storage, LocalStorage) else None)


@dataclass(frozen=True)
class Target:
    """Where the new store goes.

    Attributes
    ----------
    path
        Its folder, absolute.
    in_place
        Whether it takes the place of the source.
    """

    path: str
    in_place: bool

    @classmethod
    def of(cls, source: StrPath | Store, destination: StrPath | None) -> Target:
        """Find the place; nothing is looked at that may not be there yet.

        Raises
        ------
        InvalidArgumentError
            In place, and the source is no local folder; or one would lie in the other.
        ReadOnlyError
            In place, and the source may not be changed.
        """
        storage = open_storage(source)
        root = os.path.realpath(storage.root) if isinstance(storage, LocalStorage) else None
        if destination is None:
            if root is None:
                raise InvalidArgumentError(
                    f"{storage.name} is no local folder, so a new store cannot take its place: give a destination"
                )
            _check_replaceable(storage, root)
            return cls(root, True)
        text = os.fspath(destination)
        if "://" in text:
            raise InvalidArgumentError(f"the destination is a local folder, not {text}")
        parent, name = os.path.split(os.path.abspath(text))
        if not name:
            raise InvalidArgumentError(f"{text!r} cannot be the name of a store")
        path = os.path.join(os.path.realpath(parent), name)
        if root is not None:
            _check_apart(root, os.path.realpath(path))
        return cls(path, False)

    def check_free(self) -> None:
        """Refuse a destination that is taken.

        Raises
        ------
        StoreExistsError
            There is something.
        """
        if not self.in_place and os.path.lexists(self.path):
            raise StoreExistsError(f"{self.path} exists already: choose another name")


def _check_replaceable(storage: Storage, root: str) -> None:
    parent = os.path.dirname(root)
    there = os.path.lexists(root)
    writable = os.access(parent, os.W_OK) and (not there or os.access(root, os.W_OK))
    if storage.read_only or not writable:
        raise ReadOnlyError(
            f"{storage.name} cannot be replaced: it is read-only, or the folder that it lies in is. "
            "Give a destination elsewhere."
        )
    if root == parent or os.path.ismount(root):
        raise InvalidArgumentError(f"{root} cannot be moved aside to be replaced: give a destination")


def _check_apart(source: str, path: str) -> None:
    if source == path:
        raise InvalidArgumentError(
            f"the destination is the source, {path}: leave it out to replace the store, or choose another name"
        )
    if path.startswith(source + os.sep) or source.startswith(path + os.sep):
        raise InvalidArgumentError(f"{path} and {source} would lie in each other: choose another destination")


def rewrite(
    source: StrPath | Store,
    target: Target,
    settings: JSONObject,
    prepare: Callable[[Documents, Survey], Plan | RewriteReport],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> RewriteReport:
    """Write a store anew.

    Parameters
    ----------
    source, target
        From where to where.
    settings
        What was asked for, to tell whether a store that is half written is of the same call.
    prepare
        Given the store and what it holds, says what becomes of it; or a report, when nothing is left to do. Whatever
        is to be refused is refused there or when the plan is asked, which is before anything is written.
    jobs
        Number of workers; one per processor by default.
    progress
        See `Progress`.

    Raises
    ------
    StoreExistsError
        There is something at the destination.
    InvalidArgumentError
        A store that another call began is in the way.
    MetadataError, DamagedDataError, StorageError
        Something cannot be read or written; what is written so far stays, for the next run.
    """
    work = Workspace(target.path, settings, replaces=target.in_place)
    with work.held():
        if work.finish_interrupted():
            return _final_report(target.path)
        found = open_source(source)
        target.check_free()
        members = survey(found.documents)
        plan = prepare(found.documents, members)
        if isinstance(plan, RewriteReport):
            return plan
        job = _Job(found.documents, Documents(LocalStorage(work.new), plan.zarr_format), members, plan)
        report = job.check(target.path)
        work.begin(members.digest)
        job.write(jobs, progress)
        if target.in_place:
            job.catch_up(jobs)
            _forget_copies_above(target.path)
        work.publish(members.digest)
    return report


def _final_report(path: str) -> RewriteReport:
    """Report on a store that an earlier run completed."""
    documents = Documents.open(LocalStorage(path, read_only=True))
    members = Survey() if documents is None else survey(documents)
    return RewriteReport(
        path,
        len(members.groups),
        len(members.arrays),
        notes=("an earlier run had written the store; its place was taken now",),
    )


def group_above(path: str) -> str | None:
    """Return the folder of the nearest group that a store lies in; None when it lies in none."""
    above = path
    for _ in range(_DEPTH):
        above = os.path.dirname(above)
        documents = Documents.open(LocalStorage(above, read_only=True))
        if documents is not None and documents.kind("") == "group":
            return above
    return None


def _forget_copies_above(path: str) -> None:
    """Drop copies of documents that groups above keep: they describe the old arrays."""
    above = group_above(path)
    while above is not None:
        documents = Documents.open(LocalStorage(above))
        if documents is not None:
            documents.edit_group("", lambda attributes: attributes)
        above = group_above(above)


@dataclass
class _Job:
    """A store on its way to another."""

    source: Documents
    target: Documents
    members: Survey
    plan: Plan
    arrays: list[str] = field(default_factory=list)
    opaque: list[str] = field(default_factory=list)
    total: int = 0

    def check(self, destination: str) -> RewriteReport:
        """Ask the plan for everything once, so that what cannot be done is refused before anything is written."""
        carried = 0
        for path in self.members.groups:
            self._group(path)
        for path in self.members.arrays:
            try:
                old = self.source.array(path)
            except MetadataError as error:
                self._set_apart(path, error)
                continue
            meta = self.plan.array(path, old)
            self.arrays.append(path)
            self.total += meta.nbytes
            if encoded_alike(old, meta):
                carried += 1
            else:
                StoredArray(self.source, path).engine  # noqa: B018 (raises when nobody can decode the chunks)
        count = len(self.arrays) + len(self.opaque)
        notes = tuple(dict.fromkeys(self.plan.notes))
        return RewriteReport(destination, len(self.members.groups), count, carried, self.total, notes)

    def _set_apart(self, path: str, error: MetadataError) -> None:
        """Decide about an array that is none of OME-Zarr's, as texts of a table are: its files can be copied."""
        if self.source.format == self.target.format:
            self.opaque.append(path)
            self.plan.notes.append(f"array {path!r} was copied as it is: {error}")
        elif self.plan.lossy:
            self.plan.notes.append(f"array {path!r} was left out: {error}")
        else:
            raise MetadataError(
                f"array {self.source.location(path)} cannot be written in Zarr v{self.target.format}: {error}. "
                "Remove it, or leave such arrays out with lossy=True (--lossy)"
            ) from error

    def write(self, jobs: int | None, progress: Progress | None) -> None:
        """Write all that is not written yet: array documents, files and pixels, groups; the root last."""
        done = 0

        def count(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            if progress is not None:
                progress(min(done, self.total), self.total, "pixels")

        run(_write_unit, self._units(), jobs=jobs, done=count)
        for path in self.members.bare:
            if path:
                self.target.put_group(path, {})
        for path in reversed(self.members.groups):
            self._write_group(path)
        if progress is not None:
            progress(self.total, self.total, "documents")

    def catch_up(self, jobs: int | None) -> None:
        """Write again what another process changed meanwhile: the source is about to go.

        Raises
        ------
        MetadataError
            A document was changed.
        """
        run(_write_unit, self._units(), jobs=jobs)
        if survey(self.source).digest != self.members.digest:
            raise MetadataError(
                f"{self.source.storage.name} was changed by another process while it was written anew, so it is "
                "not replaced: run the command again"
            )

    def _units(self) -> Iterator[Unit]:
        storage = self.source.storage
        files = chain(self.members.files, *(files_below(storage, path) for path in self.opaque))
        yield from file_units(storage, self.target.storage, ((key, key, 0) for key in files))
        for path in self.arrays:
            meta = self.plan.array(path, self.source.array(path))
            self.target.put_array(path, meta, new=True)
            yield from array_units(StoredArray(self.source, path), StoredArray(self.target, path), meta)

    def _group(self, path: str) -> JSONObject:
        try:
            return self.plan.group(path, self.source.group(path))
        except MetadataError as error:
            raise MetadataError(f"group {self.source.location(path)}: {error}") from error

    def _write_group(self, path: str) -> None:
        attributes = self._group(path)
        if self.target.format == 2 or self.source.format == 2:
            self.target.put_groups({path: attributes}, new=True)
            return
        key = join(path, format_v3.FILE)
        old = parse_object(self.source.storage.read(key) or b"{}", path, format_v3.FILE)
        document = format_v3.group_document(attributes, old)
        self.target.storage.write(key, to_bytes(document, path, format_v3.FILE))


def _write_unit(unit: Unit) -> int:
    return unit.write()
