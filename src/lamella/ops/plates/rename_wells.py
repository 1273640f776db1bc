"""Rename several wells in one call, also wells that swap names.

Renames are chains or cycles. In the chain A to B, B to C the last one is first. In the cycle A to B, B to A the well A
is renamed to a temporary name, then B to A, then the temporary name to B.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamella.errors import (
    InvalidArgumentError,
    NodeExistsError,
    NodeNotFoundError,
    counted,
    did_you_mean,
    first_of,
)
from lamella.log import logged
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.ops.conversion.placement import read_table
from lamella.ops.jobs.units import digest
from lamella.ops.plates import members
from lamella.spec.own_key import read_swapped
from lamella.spec.plate_names import is_temporary_well, temporary_well
from lamella.store.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from zarr.abc.store import Store

    from lamella.types import StrPath


def rename_wells(
    path: StrPath | Store,
    renames: Mapping[str, str],
    *,
    dry_run: bool = False,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> list[tuple[str, str]]:
    """Rename wells of a plate; return the old and new paths in the order of execution.

    A new name may be the old name of another well, and wells may swap names. Everything is checked before the first
    rename. After a kill, the same call skips finished renames and continues. The plate records a finished swap, so that
    the same call does not swap the wells back: ``{"A/1": "A/2", "A/2": "A/1"}`` called twice swaps once. To swap back,
    exchange the old and new names.
    """
    plate = open_ome_zarr(
        path,
        mode="r" if dry_run else "r+",
        disable_path_checking=follow_links,
        storage_options=storage_options,
    )
    if not isinstance(plate, Plate):
        raise InvalidArgumentError(f"{plate.node_path} is not a plate, so it has no wells to rename.")
    if not dry_run:
        plate.require_writable("rename wells")
    requested = [members.well_paths(plate, old, new) for old, new in renames.items()]
    _check_renames(requested, plate)
    chains, cycles = _chains_and_cycles({old: new for old, new in requested if old != new})
    wells = set(plate.well_paths())
    _refuse_other_swaps(plate, wells, cycles)
    chain_renames = [rename for names in chains for rename in _remaining_renames(names, wells, plate)]
    swaps = [[old, new] for cycle in cycles for old, new in cycle.renames]
    if read_swapped(plate.document.last_attributes) == swaps:
        # A killed call has renamed the first well of every cycle to a temporary name before it recorded the swaps. So a
        # cycle without such a well is finished.
        cycles = [cycle for cycle in cycles if cycle.temporary in wells]
    moves = [cycle.moves(wells, plate) for cycle in cycles]
    if not dry_run:
        with logged("Rename %s wells of %s", len(chain_renames) + sum(map(len, moves)), plate.node_path):
            for old, new in chain_renames:
                plate.rename_well(old, new)
            if swaps:  # also without moves: this removes the lock of a killed call
                _swap(plate, moves, swaps)
        plate.documents.storage.commit_own(f"Rename {counted(len(requested), 'well')}")
    return chain_renames + [
        pair for cycle, steps in zip(cycles, moves, strict=True) for pair in cycle.without_temporary(steps)
    ]


@dataclass(frozen=True)
class _Cycle:
    """Wells that swap names: each is renamed to the next name, and the last one to the first.

    The first well has a temporary name until the others are renamed. So the plate lists all wells at any time, and the
    name that no well has shows which step a killed call reached.
    """

    names: list[str]

    @property
    def renames(self) -> list[tuple[str, str]]:
        return list(zip(self.names, [*self.names[1:], self.names[0]], strict=True))

    @property
    def temporary(self) -> str:
        """The temporary path of the first well."""
        return temporary_well(self.names[0], digest(self.names))

    def moves(self, wells: set[str], plate: Plate) -> list[tuple[str, str]]:
        """Return the remaining renames, with those to and from the temporary path."""
        free = [number for number, name in enumerate(self.names) if name not in wells]
        if self.temporary not in wells:
            for number in free:
                raise _no_well(self.names[number], wells, plate)
            moves, free = [(self.names[0], self.temporary)], [0]
        elif not free:
            raise NodeExistsError(
                f"Cannot rename {self.temporary!r}: {plate.node_path} has all of {self.names} already."
            )
        else:
            moves = []
        # For the names A, B, C, where A has the temporary name: C becomes A, B becomes C, then the temporary name
        # becomes B. The first well to move is the one before the free name in the list (for A the last); numbers are
        # from 1.
        first_to_move = free[0] or len(self.names)
        moves += [
            (self.names[number - 1], self.names[number % len(self.names)])
            for number in range(first_to_move, 1, -1)
        ]
        return [*moves, (self.temporary, self.names[1])]

    def without_temporary(self, moves: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return moves as pairs of requested names."""
        return [
            (self.names[0] if old == self.temporary else old, new)
            for old, new in moves
            if new != self.temporary
        ]


def _swap(plate: Plate, moves: list[list[tuple[str, str]]], swaps: list[list[str]]) -> None:
    """Rename wells that swap names, under one lock."""
    with plate.documents.lock(plate.path):
        after_record = []
        for old, new in (move for cycle in moves for move in cycle):
            if is_temporary_well(new):
                members.rename_locked_well(plate, old, new)
            else:
                after_record.append((old, new))
        if read_swapped(plate.document.last_attributes) != swaps:
            members.record_swap(plate, swaps)  # from now on, a cycle without its temporary name is finished
        for old, new in after_record:
            members.rename_locked_well(plate, old, new)


def _chains_and_cycles(renames: Mapping[str, str]) -> tuple[list[list[str]], list[_Cycle]]:
    """Return chains, where each well gets the next name of the list and the last name is free, and cycles."""
    remaining = dict(renames)
    chains = [_take_chain(first, remaining) for first in renames if first not in renames.values()]
    cycles = []
    while remaining:
        cycles.append(_Cycle(_take_chain(next(iter(remaining)), remaining)[:-1]))
    return chains, cycles


def _take_chain(first: str, renames: dict[str, str]) -> list[str]:
    """Return a name, its new name, the new name of that well, and so on; remove these renames."""
    names = [first]
    while names[-1] in renames:
        names.append(renames.pop(names[-1]))
    return names


def _remaining_renames(names: list[str], wells: set[str], plate: Plate) -> list[tuple[str, str]]:
    """Return the remaining renames of a chain: the last is first, because its new name is free.

    Exactly one name has no well. For A to B and B to C it is C before the first rename, B after it, A at the end.
    """
    free = [name for name in names if name not in wells]
    if not free:
        raise NodeExistsError(
            f"Cannot rename {names[-2]!r} to {names[-1]!r}: {plate.node_path} has this well already. "
            "To swap wells, list both renames in --table."
        )
    if len(free) > 1:
        raise _no_well(free[0], wells, plate)
    free_index = names.index(free[0])
    return [(names[index], names[index + 1]) for index in reversed(range(free_index))]


def _no_well(name: str, wells: set[str], plate: Plate) -> NodeNotFoundError:
    return NodeNotFoundError(
        f"There is no well {name!r} in the plate {plate.node_path} to rename. Its wells are: "
        f"{first_of(sorted(wells), 12)}.{did_you_mean(name, wells)}"
    )


def _refuse_other_swaps(plate: Plate, wells: set[str], cycles: list[_Cycle]) -> None:
    """Raise if wells have temporary names of another interrupted call."""
    temporary_wells = {path for path in wells if is_temporary_well(path)} - {
        cycle.temporary for cycle in cycles
    }
    if temporary_wells:
        raise InvalidArgumentError(
            f"The well {min(temporary_wells)!r} of {plate.node_path} has a temporary name, because a call that "
            "swaps names of wells was interrupted. Run that call again with the same table first."
        )


def _repeated(names: Iterable[str]) -> str:
    """Return a name that occurs more than once; empty without one."""
    return next((name for name, count in Counter(names).items() if count > 1), "")


def _check_renames(renames: Sequence[tuple[str, str]], plate: Plate) -> None:
    if repeated := _repeated(new for _, new in renames):
        raise InvalidArgumentError(f"Two wells of {plate.node_path} would be named {repeated!r}.")
    if repeated := _repeated(old for old, _ in renames):
        raise InvalidArgumentError(f"The well {repeated!r} of {plate.node_path} would have two names.")
    for _, new in renames:
        members.check_well_path(plate, new)


def read_renames(table: StrPath) -> dict[str, str]:
    """Read old and new names from a CSV file with two columns; the first line may be ``old,new``."""
    file, renames = local_path(table, "the table"), {}
    for number, row in read_table(file):
        cells = [cell.strip() for cell in row]
        if number == 1 and [cell.lower() for cell in cells] == ["old", "new"]:
            continue
        if len(cells) != 2 or not all(cells) or cells[0] in renames:
            raise InvalidArgumentError(
                f"{file}, line {number}: expected the old and the new name of a well, each old one once; "
                f"found {','.join(row)!r}."
            )
        renames[cells[0]] = cells[1]
    return renames
