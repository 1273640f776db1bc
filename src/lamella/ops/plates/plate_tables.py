"""Copy the tables of whole plates, such as the conditions of an experiment, into a new plate."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from lamella.nodes.tables import stored_table_names
from lamella.spec.tables import with_replacing_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lamella.nodes.plate import Plate
    from lamella.nodes.store_handle import NodePath
    from lamella.ops.jobs.units import Unit


def plate_tables(
    target: Plate, plates: Sequence[Plate], units_of: Callable[[NodePath, NodePath], Iterator[Unit]]
) -> Iterator[Unit]:
    """Yield the units that copy all tables of some plates, after the group that lists them was written.

    Of tables of one name the first is copied, and a warning names the others.
    """
    owners: dict[str, Plate] = {}
    for plate in plates:
        for name in stored_table_names(plate):
            if name in owners:
                warnings.warn(
                    f"{owners[name].node_path} and {plate.node_path} both have a table {name!r}: the first one is "
                    f"copied to {target.node_path}.",
                    UserWarning,
                    stacklevel=2,
                )
            owners.setdefault(name, plate)
    if not owners:
        return
    from lamella.ops.tables.write import content_path

    group = target.node_path.child("tables")
    first = next(iter(owners.values()))
    attributes = with_replacing_table(first.tables.group_attributes, None)
    target.documents.put_group(group.path, {**attributes, "tables": list(owners)})
    for name, plate in owners.items():
        source = plate.node_path.child("tables")
        content = content_path(plate.tables, name)[len(source.path) :].strip("/")
        yield from units_of(source.child(content), group.child(name))
