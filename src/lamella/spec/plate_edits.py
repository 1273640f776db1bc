"""Edits of plates and wells: pure functions from a model to a new model; the one given is never changed.

Every result is valid (PL-01 to PL-13, WL-01 to WL-04) where it holds a well or an image at all: the
specification has no empty plate. Indices are always those of the row and column that a well's path names.

Layer: spec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from lamella.errors import InvalidArgumentError, InvalidNameError, NodeExistsError, NodeNotFoundError
from lamella.spec.names import case_collisions, check_name
from lamella.spec.plate import AcquisitionMeta, ImageMeta, PlateMeta, WellGroupMeta, WellIndexMeta
from lamella.spec.plate_lines import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ImagesOfWells: TypeAlias = "Mapping[str, Sequence[tuple[str, int | None]]]"
"""Well path to the path and acquisition id of each of its images."""

__all__ = [
    "add_images",
    "add_wells",
    "case_collisions",
    "check_name",
    "new_plate",
    "raise_counts",
    "remove_image",
    "remove_well",
    "rename_well",
    "set_counts",
]


def new_plate(name: str | None = None, acquisitions: Sequence[AcquisitionMeta] | None = None) -> PlateMeta:
    """Make the metadata of a plate without wells.

    Parameters
    ----------
    name : str, optional
    acquisitions : sequence of AcquisitionMeta, optional
        By default one with id 0.

    Raises
    ------
    InvalidArgumentError
        An acquisition id is negative or there twice (PL-08).

    Examples
    --------
    >>> new_plate("screen").acquisitions[0].to_json()
    {'id': 0, 'name': 'Acquisition 0'}
    """
    if not all(isinstance(entry, AcquisitionMeta) for entry in acquisitions or []):
        raise InvalidArgumentError(f"acquisitions is a list of AcquisitionMeta, not {acquisitions!r}")
    if name is not None and not isinstance(name, str):
        raise InvalidArgumentError(f"the name of a plate is text, not {name!r}")
    listed = [_new_acquisition(0)] if acquisitions is None else [entry.checked() for entry in acquisitions]
    ids = [entry.id for entry in listed]
    if len(set(ids)) < len(ids) or any(number < 0 for number in ids):
        raise InvalidArgumentError(f"acquisition ids must be unique and 0 or more, found {ids} (PL-08)")
    return PlateMeta(name=name, acquisitions=listed, rows=[], columns=[], wells=[])


def _new_acquisition(number: int) -> AcquisitionMeta:
    return AcquisitionMeta(id=number, name=f"Acquisition {number}")


def add_wells(plate: PlateMeta, wells: Iterable[tuple[str, str, int | None, int | None]]) -> PlateMeta:
    """List new wells, and their rows and columns in the order in which they first appear.

    Warns where a given index contradicts the plate's rows and columns; the consistent index is written then.

    Parameters
    ----------
    plate : PlateMeta
    wells : iterable of (row, column, row index or None, column index or None)
        Indices from 0. One beyond the rows known so far fills the gap with the names of a standard plate:
        A, B, ... for rows, 1, 2, ... for columns.

    Raises
    ------
    NodeExistsError
        Wells are listed already, or given twice; the message names them.
    InvalidNameError
        A row or column name that is not alphanumeric.
    InvalidArgumentError
        An index leaves a gap that standard names do not fit.

    Examples
    --------
    >>> plate = add_wells(new_plate(), [("A", "1", None, None), ("C", "1", 2, 0)])
    >>> [row.name for row in plate.rows]
    ['A', 'B', 'C']
    >>> plate.wells[1].to_json()
    {'path': 'C/1', 'rowIndex': 2, 'columnIndex': 0}
    """
    edited = plate.copied()
    rows, columns = lines_of(edited)
    listed = {well.path for well in edited.wells}
    taken: list[str] = []
    for row, column, row_index, column_index in wells:
        path = f"{check_name(row)}/{check_name(column)}"
        if path in listed:
            taken.append(path)
            continue
        listed.add(path)
        entry = WellIndexMeta(
            path=path,
            row_index=rows.place(row, row_index, path),
            column_index=columns.place(column, column_index, path),
        )
        edited.wells.append(entry)
    if taken:
        raise NodeExistsError(f"the plate has these wells already: {', '.join(taken)}")
    return edited


def remove_well(plate: PlateMeta, path: str) -> PlateMeta:
    """Take a well off the list, and its row and column where it was the last well in them.

    Rows and columns that held no well before stay: they are on the physical plate (PL-04).

    Raises
    ------
    NodeNotFoundError
        There is no such well.

    Examples
    --------
    >>> plate = add_wells(new_plate(), [("A", "1", None, None), ("B", "1", None, None)])
    >>> remove_well(plate, "A/1").to_json()["wells"]
    [{'path': 'B/1', 'rowIndex': 0, 'columnIndex': 0}]
    """
    edited = plate.copied()
    well = _find_well(edited, path)
    edited.wells = [entry for entry in edited.wells if entry is not well]
    _drop_unused(edited, path)
    return edited


def rename_well(plate: PlateMeta, old: str, new: str) -> PlateMeta:
    """Move a well to another row and column; those it leaves empty are dropped, those that are new come last.

    Raises
    ------
    NodeNotFoundError
        There is no well ``old``.
    NodeExistsError
        There is a well ``new`` already.
    InvalidNameError
        ``new`` is not "row/column" with alphanumeric names.

    Examples
    --------
    >>> plate = add_wells(new_plate(), [("A", "1", None, None)])
    >>> rename_well(plate, "A/1", "B/2").to_json()["wells"]
    [{'path': 'B/2', 'rowIndex': 0, 'columnIndex': 0}]
    """
    edited = plate.copied()
    well = _find_well(edited, old)
    parts = new.split("/")
    if len(parts) != 2:
        raise InvalidNameError(f"{new!r} is not the path of a well: give row/column, such as 'B/3' (PL-06)")
    for part in parts:
        check_name(part)
    if any(entry.path == new for entry in edited.wells):
        raise NodeExistsError(f"the plate has a well {new!r} already; {old!r} was not renamed")
    well.path = new
    lines_of(edited)
    _drop_unused(edited, old)
    return edited


def _find_well(plate: PlateMeta, path: str) -> WellIndexMeta:
    for well in plate.wells:
        if well.path == path:
            return well
    known = [well.path for well in plate.wells]
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    raise NodeNotFoundError(f"the plate has no well {path!r}: it has {shown or 'none'}")


def _drop_unused(plate: PlateMeta, path: str) -> None:
    """Drop the row and column of a path that is gone, if no well uses them, and number the wells anew."""
    row, _, column = path.partition("/")
    used = [well.path.partition("/") for well in plate.wells]
    if row not in {name for name, _, _ in used}:
        plate.rows = [entry for entry in plate.rows if entry.name != row]
    if column not in {name for _, _, name in used}:
        plate.columns = [entry for entry in plate.columns if entry.name != column]
    lines_of(plate)


def add_images(well: WellGroupMeta, images: Iterable[tuple[str, int | None]]) -> WellGroupMeta:
    """List new images (fields of view) in a well.

    Parameters
    ----------
    well : WellGroupMeta
    images : iterable of (path, acquisition id or None)

    Raises
    ------
    NodeExistsError
        Images are listed already, or given twice; the message names them.
    InvalidNameError
        A path that is not alphanumeric (WL-02).
    InvalidArgumentError
        An acquisition id below 0.

    Examples
    --------
    >>> add_images(WellGroupMeta(images=[]), [("0", 0), ("1", 0)]).to_json()
    {'images': [{'path': '0', 'acquisition': 0}, {'path': '1', 'acquisition': 0}]}
    """
    edited = well.copied()
    listed = {image.path for image in edited.images}
    taken: list[str] = []
    for path, acquisition in images:
        if check_name(path) in listed:
            taken.append(path)
            continue
        if acquisition is not None and acquisition < 0:
            raise InvalidArgumentError(f"image {path!r}: acquisition {acquisition} is below 0 (PL-08)")
        listed.add(path)
        edited.images.append(ImageMeta(path=path, acquisition=acquisition))
    if taken:
        raise NodeExistsError(f"the well has these images already: {', '.join(taken)}")
    return edited


def remove_image(well: WellGroupMeta, path: str) -> WellGroupMeta:
    """Take an image off a well's list.

    Raises
    ------
    NodeNotFoundError
        There is no such image.

    Examples
    --------
    >>> well = add_images(WellGroupMeta(images=[]), [("0", None), ("1", None)])
    >>> remove_image(well, "0").to_json()
    {'images': [{'path': '1'}]}
    """
    edited = well.copied()
    kept = [image for image in edited.images if image.path != path]
    if len(kept) == len(edited.images):
        known = ", ".join(image.path for image in kept) or "none"
        raise NodeNotFoundError(f"the well has no image {path!r}: it has {known}")
    edited.images = kept
    return edited


def set_counts(plate: PlateMeta, images: ImagesOfWells) -> PlateMeta:
    """Count the fields: the most of any well, for the plate and for each acquisition (PL-09, PL-10).

    Acquisitions that images name and the plate does not list are listed (WL-04).

    Parameters
    ----------
    plate : PlateMeta
    images : mapping of str to sequence of (path, acquisition id or None)
        The images of every well of the plate.

    Examples
    --------
    >>> plate = add_wells(new_plate(), [("A", "1", None, None)])
    >>> plate = set_counts(plate, {"A/1": [("0", 0), ("1", 0)]})
    >>> plate.field_count, plate.acquisitions[0].maximum_field_count
    (2, 2)
    """
    edited = plate.copied()
    most, per_acquisition = _most_fields(edited, images)
    edited.field_count = most or None  # PL-10: above 0, or absent
    for entry in edited.acquisitions or []:
        entry.maximum_field_count = per_acquisition.get(entry.id)
    return edited


def raise_counts(plate: PlateMeta, images: ImagesOfWells) -> PlateMeta:
    """Raise the counts of fields to what some wells hold now; the other wells are taken as counted before.

    A plate that was never counted is left so, unless all of its wells are given.

    Parameters
    ----------
    plate : PlateMeta
    images : mapping of str to sequence of (path, acquisition id or None)
        All images of the wells that have changed.

    Examples
    --------
    >>> plate = add_wells(new_plate(), [("A", "1", None, None), ("A", "2", None, None)])
    >>> plate = set_counts(plate, {"A/1": [("0", 0), ("1", 0)], "A/2": []})
    >>> raise_counts(plate, {"A/2": [("0", 0)]}).field_count
    2
    """
    edited = plate.copied()
    counted = edited.field_count is not None or all(well.path in images for well in edited.wells)
    most, per_acquisition = _most_fields(edited, images)
    if not counted:
        return edited
    edited.field_count = max(edited.field_count or 0, most) or None
    for entry in edited.acquisitions or []:
        entry.maximum_field_count = (
            max(entry.maximum_field_count or 0, per_acquisition.get(entry.id, 0)) or None
        )
    return edited


def _most_fields(plate: PlateMeta, images: ImagesOfWells) -> tuple[int, dict[int, int]]:
    """Count the most fields per well, in all and by acquisition id; list acquisitions that are missing."""
    most: dict[int, int] = {}
    listed = plate.acquisitions or []
    only = listed[0].id if len(listed) == 1 else None
    for entries in images.values():
        counts: dict[int, int] = {}
        for _, acquisition in entries:
            number = only if acquisition is None else acquisition
            if number is not None:
                counts[number] = counts.get(number, 0) + 1
        for number, count in counts.items():
            most[number] = max(most.get(number, 0), count)
    missing = sorted(most.keys() - {entry.id for entry in listed})
    if missing:
        plate.acquisitions = listed + [_new_acquisition(number) for number in missing]
    return max((len(entries) for entries in images.values()), default=0), most
