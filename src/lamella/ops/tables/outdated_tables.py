"""Warn of tables that an edit of their image does not change: regions in micrometers, and columns named by channels."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from math import isclose
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, counted, first_of, warn
from lamella.nodes.labels import LabelImage
from lamella.nodes.tables import stored_table_names
from lamella.spec.geometry import effective_scale
from lamella.spec.tables import ROI_TYPES
from lamella.spec.units import unit_ratio

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from lamella.nodes.position import Position

_UNITS = {"x": "micrometer", "y": "micrometer", "z": "micrometer", "t": "second"}
"""Unit of the columns of regions, by axis."""


@contextmanager
def warning_of_moved_rois(positions: Collection[Position]) -> Iterator[None]:
    """Warn once if regions of images contain other voxels after the ``with`` block, and name the first table."""
    images = [position for position in positions if not isinstance(position, LabelImage)]
    _request_ahead(images)
    with_regions = [(image, tables) for image in images if (tables := _roi_tables(image))]
    before = [_voxel_sizes(image, is_edited=False) for image, _ in with_regions]
    yield
    moved: list[tuple[str, dict[str, float]]] = []
    for (image, tables), old_sizes in zip(with_regions, before, strict=True):
        new_sizes = _voxel_sizes(image, is_edited=True)
        factors = {
            axis: new_sizes[axis] / old_size
            for axis, old_size in old_sizes.items()
            if axis in new_sizes and not isclose(new_sizes[axis], old_size, rel_tol=1e-9)
        }
        moved += [(table, factors) for table in tables if factors]
    if moved:
        _warn(*moved[0], len(moved) - 1)


def warn_of_measured_channels(new_names: Mapping[Position, Mapping[str, str]]) -> None:
    """Name the first table with columns of a renamed channel, such as "intensity_mean-GFP".

    ``new_names`` has the new names of channels by the old ones, of each image. Many images have tables of one name: the
    first is read.
    """
    images = [image for image, names in new_names.items() if names]
    _request_ahead(images)
    names_read: set[str] = set()
    for image in images:
        for name in stored_table_names(image):
            if name in names_read:
                continue
            names_read.add(name)
            tables = image.tables
            with suppress(LamellaError):  # a damaged table, or one of another program
                columns = [str(column) for column in tables[name].columns]
                for old, new in new_names[image].items():
                    if columns_of_channel := [column for column in columns if column.endswith(f"-{old}")]:
                        warn(
                            f"{tables.node_path.child(name)} has measurements of the channel {old!r}, which is named "
                            f"{new!r} now, in the columns {first_of(columns_of_channel)}. Columns keep their names: "
                            "rename them and write the table again, also in other images, or measure again."
                        )
                        return


def _request_ahead(images: list[Position]) -> None:
    """Read the lists of tables of images in one round."""
    if images and all(image.documents is images[0].documents for image in images):
        paths = [image.node_path.child("tables").path for image in images]
        images[0].documents.request_ahead(paths, at_once=True)


def _warn(table: str, factors: dict[str, float], others: int) -> None:
    name, verb = table, "contains"
    if others:
        name, verb = f"{table} and {counted(others, 'other table')}", "contain"
    products = " and ".join(f"along {axis} by {factor:g}" for axis, factor in factors.items())
    warn(
        f"{name} {verb} regions in micrometers and seconds, which did not change with the voxel size: they mean other "
        f"voxels now. To mean the same voxels, write them again, with starts and lengths of {table} multiplied "
        f"{products}."
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
    tables_with_regions = []
    for name in stored_table_names(position):
        with suppress(LamellaError):
            if position.tables.info(name).type in ROI_TYPES:
                tables_with_regions.append(str(position.tables.node_path.child(name)))
    return tables_with_regions
