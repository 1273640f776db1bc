"""Create mosaics of nodes, and write translations from a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from lamella.arguments import items_of
from lamella.errors import InvalidArgumentError, first_of
from lamella.models import TransformationMeta
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.well import Well
from lamella.ops.mosaics.mosaic import Mosaic
from lamella.ops.plates.subset import of_acquisitions, path_of_well
from lamella.spec.axes import space_axes
from lamella.store.keys import join

if TYPE_CHECKING:
    from lamella.nodes.node import NGFFNode
    from lamella.ops.mosaics.mosaic import Blend


def mosaic_of_well(plate: Plate, well: str, blend: Blend, acquisition: int | str | None) -> Mosaic:
    """Return the mosaic of a well; see :meth:`Plate.mosaic`."""
    path = path_of_well(plate, well)
    return _of_fields(cast("Well", plate[path]), path, blend, acquisition)


def mosaic_of(node: NGFFNode, well: str | None, blend: Blend, acquisition: int | str | None) -> Mosaic:
    """Return the mosaic of a well of a plate, of a well, or of the tiles of an image."""
    if isinstance(node, Plate):
        if well is None:
            raise InvalidArgumentError(
                f"{node.node_path} is a plate: name the well whose fields form the mosaic. Its wells are: "
                f"{first_of(node.well_paths(), 12)}."
            )
        return mosaic_of_well(node, well, blend, acquisition)
    if well is not None:
        raise InvalidArgumentError(f"{node.node_path} is not a plate, so it has no well {well!r}.")
    if isinstance(node, Well):
        return _of_fields(node, node.path, blend, acquisition)
    if not isinstance(node, Position):
        raise InvalidArgumentError(
            f"{node.node_path} is not a plate, a well or an image, so it has no fields to join."
        )
    if acquisition is not None:
        raise InvalidArgumentError(f"{node.node_path} is an image, so it has no acquisitions to choose from.")
    return Mosaic({node.path: node}, blend)


def _of_fields(well: Well, path: str, blend: Blend, acquisition: int | str | None) -> Mosaic:
    fields = {join(path, name): position for name, position in well.positions()}
    if acquisition is not None:
        fields = of_acquisitions(well, fields, [acquisition])
    return Mosaic(fields, blend)


def set_positions(plate: Plate, table: Any, unit: str) -> None:
    """Write the translations of fields from a table; see :meth:`Plate.set_positions`."""
    plate.require_writable("set the positions of fields")
    if unit not in ("world", "pixel"):
        raise InvalidArgumentError(f"unit={unit!r} is neither 'world' nor 'pixel'.")
    rows = (
        table.to_dict("records")
        if hasattr(table, "to_dict")
        else items_of(table, "The argument table is a list of records")
    )
    changes: list[tuple[Position, list[float]]] = []
    for row in rows:
        if not isinstance(row, Mapping) or "path" not in row:
            raise InvalidArgumentError(f"Each row has a path, and a number by axis, not {row!r}.")
        position = plate[str(row["path"])]
        if not isinstance(position, Position):
            raise InvalidArgumentError(f"{row['path']!r} is not a position of {plate.node_path}.")
        changes.append((position, _shift(position, row, unit)))
    for position, shift in changes:
        _add_translation(position, shift)


def _shift(position: Position, row: Mapping[Any, Any], unit: str) -> list[float]:
    """Return how far a field moves along each axis."""
    if not position.dataset_paths:
        raise InvalidArgumentError(f"{position.node_path} has no image yet, so it has no translation.")
    names, level = position.axis_names, position.dataset_paths[0]
    scale, old_translation = position.get_effective_scale(level), position.get_effective_translation(level)
    shift = [0.0] * len(names)
    for axis in space_axes(position.axes):
        stated = row.get(names[axis])
        if stated is None:
            continue
        try:
            number = float(stated) * (scale[axis] if unit == "pixel" else 1.0)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise InvalidArgumentError(
                f"The {names[axis]} of {row['path']} is a finite number, not {stated!r}."
            )
        shift[axis] = number - old_translation[axis]
    return shift


def _add_translation(position: Position, shift: list[float]) -> None:
    """Add a shift to the translation of all levels of an image and of its label images."""
    if any(shift):
        factors = position.get_effective_scale("*")
        level = position.document.shared_model.multiscales[0].datasets[0]
        translation = [number / (factor or 1.0) for number, factor in zip(shift, factors, strict=True)]
        moved = TransformationMeta(type="translation", translation=translation)
        position.set_transform(level.path, [*level.coordinate_transformations, moved])
