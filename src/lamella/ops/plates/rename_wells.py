"""``rename_wells``: rename several wells in one call, each after the rename that frees its new name."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, NodeExistsError, NodeNotFoundError, did_you_mean
from lamella.log import logged
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.spec import plate_edits
from lamella.store.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """Rename wells of a plate; return the renames in the order of execution.

    A new name may be the old name of another well, but wells cannot swap names: a killed swap could not be
    distinguished from a finished one. Everything is checked before the
    first rename. After a kill, the same call skips finished renames and continues.
    """
    plate = open_ome_zarr(
        path,
        mode="r" if dry_run else "r+",
        disable_path_checking=follow_links,
        storage_options=storage_options,
    )
    if not isinstance(plate, Plate):
        raise InvalidArgumentError(f"{plate!r} is not a plate, so it has no wells to rename.")
    order = _ordered({old.strip("/"): new.strip("/") for old, new in renames.items()}, plate)
    if not dry_run:
        with logged("Rename %s wells of %s", len(order), plate.node_path):
            for old, new in order:
                plate.rename_well(old, new)
    return order


def _ordered(renames: Mapping[str, str], plate: Plate) -> list[tuple[str, str]]:
    """Return the unfinished renames, each after the rename that frees its new name."""
    wells = {path for path, _ in plate.wells()}
    _check(renames)
    order: list[tuple[str, str]] = []
    count = 0
    for first in [old for old in renames if old not in renames.values()]:
        names = [first]
        while names[-1] in renames:
            names.append(renames[names[-1]])
        count += len(names) - 1
        order += _left(names, wells, plate)
    if count < len(renames):
        cycle = next(old for old in renames if old not in {before for before, _ in order} and old in wells)
        raise InvalidArgumentError(
            f"Wells of {plate.node_path} cannot swap names in one call, as {cycle!r} and {renames[cycle]!r} would: "
            "after a kill nothing shows whether the swap was done, so the same call could swap them back. Rename one "
            "of them to a free name first, then the other, then the first one to its new name."
        )
    return order


def _left(names: list[str], wells: set[str], plate: Plate) -> list[tuple[str, str]]:
    """Order the renames of a chain of wells: the last is first, because its new name is free.

    Exactly one name has no well: before the first rename the last one, after the last rename the first one.
    """
    free = [name for name in names if name not in wells]
    if not free:
        raise NodeExistsError(
            f"Cannot rename {names[-2]!r} to {names[-1]!r}: {plate.node_path} has this well already."
        )
    if len(free) > 1:
        raise NodeNotFoundError(
            f"There is no well {free[0]!r} in the plate {plate.node_path} to rename.{did_you_mean(free[0], wells)}"
        )
    left = names.index(free[0])
    return [(names[number], names[number + 1]) for number in reversed(range(left))]


def _check(renames: Mapping[str, str]) -> None:
    if len(set(renames.values())) < len(renames):
        raise InvalidArgumentError("Two wells would have the same name.")
    for new in renames.values():
        parts = new.split("/")
        if len(parts) != 2:
            raise InvalidArgumentError(f"A well is named by row and column, such as 'A/1', not by {new!r}.")
        for part in parts:
            plate_edits.check_name(part)


def read_renames(table: StrPath) -> dict[str, str]:
    """Read old and new names from a CSV file with two columns; the first line may be ``old,new``.

    Raises
    ------
    InvalidArgumentError
        If a line does not have two names, or an old name occurs twice.
    """
    file, renames = local_path(table, "the table"), {}
    with open(file, newline="", encoding="utf-8-sig") as lines:
        for number, row in enumerate(csv.reader(lines), 1):
            cells = [cell.strip() for cell in row]
            if not any(cells) or (number == 1 and [cell.lower() for cell in cells] == ["old", "new"]):
                continue
            if len(cells) != 2 or not all(cells) or cells[0] in renames:
                raise InvalidArgumentError(
                    f"{file}, line {number}: expected the old and the new name of a well, each old one once; "
                    f"found {','.join(row)!r}."
                )
            renames[cells[0]] = cells[1]
    return renames
