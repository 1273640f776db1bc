"""Create a store from positions of other stores: check the request, copy into a workspace, publish it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from lamella._version import __version__
from lamella.errors import InvalidArgumentError, StorageError, StoreExistsError, counted
from lamella.log import logged
from lamella.nodes.opening import create_unfinished
from lamella.nodes.position import Position
from lamella.ops.execution import Workers, check_progress
from lamella.ops.jobs.journal import Journal
from lamella.ops.jobs.units import digest
from lamella.ops.plates.copy_position import PositionCopy, reading_twice
from lamella.ops.rewriting.endpoints import check_stores_apart
from lamella.ops.rewriting.workspace import Workspace
from lamella.spec import plate_edits
from lamella.spec.own_key import with_creating
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import abandoned_on_errors, temporary_name
from lamella.store.storage import open_storage, with_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.plate import Plate
    from lamella.ops.execution import Progress
    from lamella.ops.plates.composed_arrays import ImagePlan
    from lamella.ops.plates.composition import Composition
    from lamella.store.storage import Storage
    from lamella.types import StrPath


def from_positions(store_path: StrPath | Store, positions: Mapping[str, Position], **options: Any) -> Plate:
    """Create a plate from positions of other stores; see :meth:`Plate.from_positions`."""
    request = NewStore("from_positions", checked_sources(positions))
    return cast("Plate", create_store(store_path, request, **options))


@dataclass(frozen=True)
class NewStore:
    """Request for a store that is created from positions of other stores."""

    command: str
    """Name of the operation; only the same operation resumes an unfinished store."""
    sources: Mapping[str, Position]
    """Positions by their path in the new store. The path is "" for a store of one image."""
    compositions: Mapping[str, Composition] = field(default_factory=dict)
    """Selected parts of positions, by path in the new store; other positions are copied whole."""

    @property
    def layout(self) -> Literal["hcs", "fov"]:
        """The layout of the new store."""
        return "fov" if "" in self.sources else "hcs"

    @property
    def job(self) -> str:
        """Digest of the settings on which the new store depends: only the same job is resumed."""
        paths = {path: str(source.node_path) for path, source in self.sources.items()}
        composed = {path: composition.settings for path, composition in self.compositions.items()}
        return digest([__version__, paths, composed] if composed else [__version__, paths])

    @property
    def positions_to_read(self) -> list[Position]:
        """All positions that are read, each once."""
        positions_of_parts = [
            part.position for composition in self.compositions.values() for part in composition.parts
        ]
        positions = [*self.sources.values(), *positions_of_parts]
        return list({str(position.node_path): position for position in positions}.values())


def create_store(
    store_path: StrPath | Store,
    request: NewStore,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Plate | Position:
    """Create a store from positions of other stores, and return it open for reading and writing.

    Everything is checked before anything is written, and the store appears at its path when it is complete. The same
    call resumes after a kill; a call that fails leaves no files.
    """
    workers = Workers(jobs, executor)
    check_progress(progress)
    store_path = with_options(store_path, storage_options)
    storage = open_storage(store_path)
    for source in request.positions_to_read:
        check_stores_apart(source.documents.storage, storage)
    workers.check_reach(storage, *(source.documents.storage for source in request.positions_to_read))
    version = next(iter(request.sources.values())).store_handle.version
    plans = {
        path: composition.plan(version.zarr_format) for path, composition in request.compositions.items()
    }
    logged_copy = logged("Copy %s to %s", counted(len(request.sources), "position"), storage.name)
    with logged_copy, reading_twice(request.sources.values()):
        return _create_checked(store_path, storage, request, plans, workers, progress)


def _create_checked(
    store_path: StrPath | Store,
    storage: Storage,
    request: NewStore,
    plans: dict[str, ImagePlan],
    workers: Workers,
    progress: Progress | bool | None,
) -> Plate | Position:
    """Create the store after the checks: a folder by a job that can be resumed, any other store without that."""
    from lamella.nodes.open import open_ome_zarr

    if not isinstance(storage, LocalStorage):
        token = temporary_name(".tmp")
        with abandoned_on_errors(token):
            copy = PositionCopy(_create(store_path, request, "w-", token), request.sources, workers, plans)
            try:
                copy.run(progress)
                copy.list_all(None)
                if request.layout == "fov":
                    copy.root.documents.edit_group("", lambda attributes: with_creating(attributes, None))
            except BaseException:
                with suppress(StorageError):
                    storage.delete("")
                raise
        copy.root.documents.storage.commit_own(f"Copy {counted(len(request.sources), 'position')}")
        return copy.root
    workspace = Workspace(storage.root, {"command": request.command})
    workspace.finish_interrupted()
    if os.path.lexists(storage.root):
        raise StoreExistsError(f"Cannot create {storage.root}: it exists. Choose another path.")
    job = request.job
    with workspace.temporary(job) as folder:
        # The journal is created after the root: without a journal the root may be incomplete.
        is_resumed = os.path.lexists(workspace.journal.where)
        root = (
            open_ome_zarr(folder, layout=request.layout, mode="r+")
            if is_resumed
            else _create(folder, request, "w")
        )
        with Journal(workspace.journal, {"job": job}) as journal:
            copy = PositionCopy(root, request.sources, workers, plans, job, journal)
            copy.run(progress, resumed=is_resumed)
            copy.list_all(storage.title)
    return open_ome_zarr(storage.root, layout=request.layout, mode="r+")


def _create(
    store_path: StrPath | Store, request: NewStore, mode: Literal["w", "w-"], token: str | None = None
) -> Plate | Position:
    """Create the plate without positions, or the position without an image; ``token`` marks the store as incomplete."""
    first = next(iter(request.sources.values()))
    node: Plate | Position = create_unfinished(
        store_path,
        request.layout,
        mode,
        token,
        channel_names=first.channel_names,
        axes=first.axes,
        version=first.store_handle.version.written_as,
    )
    return node


def checked_sources(
    positions: Mapping[str, Position], exact_path: Callable[[str], str] = str
) -> dict[str, Position]:
    """Return the positions by their plain paths; `exact_path` returns the path that a name such as "B03/0" means."""
    if not isinstance(positions, Mapping):
        raise InvalidArgumentError(f"positions={positions!r} does not map 'row/column/field' to positions.")
    if not positions:
        raise InvalidArgumentError("A plate is made from at least one position; got none.")
    checked: dict[str, Position] = {}
    for key, position in positions.items():
        path = exact_path(str(key).strip("/"))
        if path.count("/") != 2 or not isinstance(position, Position):
            raise InvalidArgumentError(
                f"The positions of a plate map 'row/column/field' to positions, not {key!r} to a "
                f"{type(position).__name__}."
            )
        for name in path.split("/"):
            plate_edits.check_name(name)
        if path in checked:
            raise InvalidArgumentError(f"The position {path!r} occurs twice.")
        checked[path] = position
    return checked
