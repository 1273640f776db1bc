"""Warn of tables of regions, which are in micrometers and seconds, when the size of voxels changes."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from math import isclose
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, callers_level, counted
from lamella.nodes.labels import LabelImage
from lamella.nodes.tables import Tables, stored_table_names
from lamella.spec.geometry import effective_scale
from lamella.spec.tables import ROI_TYPES
from lamella.spec.units import unit_ratio

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lamella.nodes.position import Position

_UNITS = {"x": "micrometer", "y": "micrometer", "z": "micrometer", "t": "second"}
"""Unit of the columns of regions, by axis."""


@contextmanager
def warning_of_moved_rois(positions: Collection[Position]) -> Iterator[None]:
    """Warn once if regions of images contain other voxels after the ``with`` block, and name the first table."""
    positions = [position for position in positions if not isinstance(position, LabelImage)]
    before = [_voxel_sizes(position, is_edited=False) for position in positions]
    yield
    after = [_voxel_sizes(position, is_edited=True) for position in positions]
    factors = [
        {
            axis: new[axis] / old[axis]
            for axis in old
            if axis in new and not isclose(new[axis], old[axis], rel_tol=1e-9)
        }
        for old, new in zip(before, after, strict=True)
    ]
    changed = [(position, ratios) for position, ratios in zip(positions, factors, strict=True) if ratios]
    if changed:
        documents = changed[0][0].documents
        paths = [position.node_path.child("tables").path for position, _ in changed]
        if all(position.documents is documents for position, _ in changed):
            documents.request_ahead(paths, at_once=True)
    tables = [(name, ratios) for position, ratios in changed for name in _roi_tables(position)]
    if tables:
        _warn(*tables[0], len(tables) - 1)


def _warn(table: str, factors: dict[str, float], others: int) -> None:
    name, verb = table, "contains"
    if others:
        name, verb = f"{table} and {counted(others, 'other table')}", "contain"
    products = " and ".join(f"along {axis} by {factor:g}" for axis, factor in factors.items())
    warnings.warn(
        f"{name} {verb} regions in micrometers and seconds, which did not change with the voxel size: they mean other "
        f"voxels now. To mean the same voxels, write them again, with starts and lengths of {table} multiplied "
        f"{products}.",
        UserWarning,
        stacklevel=callers_level(),
    )


def _voxel_sizes(position: Position, *, is_edited: bool) -> dict[str, float]:
    """Return the size of a voxel along each axis that regions have, in the unit of their columns.

    The document is read once, and after an edit not again: at URLs each look at it is a request.
    """
    try:
        meta = position.document.last_shared_model if is_edited else position.document.shared_model
        multiscale = meta.multiscales[0]
        paths = multiscale.get_dataset_paths()
        # Not `position.scale`, which warns of a size of 0 or below: the caller may be correcting it.
        sizes = effective_scale(meta, paths[0]) if paths else []
        return {
            axis.name.lower(): size * unit_ratio(axis.unit, _UNITS[axis.name.lower()])
            for axis, size in zip(multiscale.axes, sizes, strict=False)
            if axis.name.lower() in _UNITS and size > 0
        }
    except LamellaError:
        return {}


def _roi_tables(position: Position) -> list[str]:
    """Return the full paths of the tables of regions of an image."""
    tables = Tables(position.node_path.child("tables"), False)
    tables_with_regions = []
    for name in stored_table_names(position):
        try:
            if tables.info(name).type in ROI_TYPES:
                tables_with_regions.append(str(tables.node_path.child(name)))
        except LamellaError:
            continue
    return tables_with_regions
