"""Copy positions of other stores into a plate that exists.

The metadata list the copies last. Until then a hidden journal in the plate records the copied files, so that the same
call resumes a killed one, and no other call uses the paths of the copies.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from lamella._version import __version__
from lamella.errors import InvalidArgumentError, NodeExistsError, counted
from lamella.log import logged
from lamella.nodes.plate_creation import list_stored, not_listed_error
from lamella.nodes.position import Position
from lamella.ops.execution import Workers, check_progress
from lamella.ops.jobs.journal import journal_in_place
from lamella.ops.jobs.units import digest
from lamella.ops.plates.copy_position import PositionCopy, reading_twice
from lamella.ops.plates.from_positions import checked_sources
from lamella.ops.plates.origins import Origins, copy_attributes, merged_acquisitions
from lamella.spec.plate import WellGroupMeta
from lamella.store.keys import PRIVATE_PREFIX, join

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from lamella.nodes.plate import Plate
    from lamella.ops.execution import Progress
    from lamella.ops.jobs.journal import Journal, LocalFile


def add_positions(
    plate: Plate,
    positions: Mapping[str, Position],
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
) -> list[Position]:
    """Copy positions into a plate; see :meth:`Plate.add`."""
    plate.require_writable("add positions")
    workers = Workers(jobs, executor)
    check_progress(progress)
    sources = checked_sources(positions, plate._exact_path)
    storage = plate.documents.storage
    workers.check_reach(storage, *(source.documents.storage for source in sources.values()))
    for path, source in sources.items():
        if source.documents.storage == storage and source.path == plate.node_path.child(path).path:
            raise InvalidArgumentError(f"The position {source.node_path} cannot be copied to itself.")
    job = digest([__version__, {path: str(source.node_path) for path, source in sources.items()}])
    key = join(plate.path, f"{PRIVATE_PREFIX}add-{job}")
    with ExitStack() as locks, logged("Copy %s to %s", counted(len(sources), "position"), plate.node_path):
        for path in sorted(sources):
            locks.enter_context(storage.lock(plate.node_path.child(path).path))
        is_resumed = storage.size(key) is not None
        if not is_resumed:
            _refuse_existing(plate, sources)
        discard = partial(_discard, plate, sources)
        with journal_in_place(storage, key, job, discard) as journal, reading_twice(sources.values()):
            _copy_and_list(plate, sources, workers, progress, journal, job, is_resumed)
    return [plate._open(Position, path) for path in sources]


def _copy_and_list(
    plate: Plate,
    sources: Mapping[str, Position],
    workers: Workers,
    progress: Progress | bool | None,
    journal: Journal[LocalFile] | None,
    job: str,
    is_resumed: bool,
) -> None:
    PositionCopy(plate, sources, workers, None, job, journal).run(progress, resumed=is_resumed)
    acquisitions, fields = merged_acquisitions(sources, plate.document.shared_model.acquisitions or [])
    new_wells = list_stored(plate, fields, acquisitions)
    for well, origin in Origins.of(sources).wells.items():
        if well in new_wells:
            copy_attributes(origin, plate.node_path.child(well), WellGroupMeta)


def _refuse_existing(plate: Plate, sources: Mapping[str, Position]) -> None:
    """Raise for paths at which the plate has a position, or something that it does not list."""
    existing = [path for path in sources if plate.documents.storage.exists(plate.node_path.child(path).path)]
    if not existing:
        return
    listed = {path for path, _ in plate.positions(on_error="report")}
    occupied = [path for path in existing if path in listed]
    if occupied:
        raise NodeExistsError(
            f"The plate {plate.node_path} has positions {occupied} already. Choose other paths, or delete them first."
        )
    raise not_listed_error(plate, existing[0])


def _discard(plate: Plate, sources: Mapping[str, Position]) -> None:
    """Delete the unlisted copies of a failed call."""
    listed = {path for path, _ in plate.positions(on_error="report")}
    for path in sources:
        stored_path = plate.node_path.child(path).path
        if path not in listed and plate.documents.storage.exists(stored_path):
            plate.documents.delete(stored_path)
