"""Edit plates and wells: pure functions that return a new model and never change their argument.

An edit copies only the parts that it changes; the result may share the others with its argument, so neither of them may
be changed in place.

Results are valid (PL-01 to PL-13, WL-01 to WL-04) unless they have no well or image, which the specification does not
allow. The indices of a well are always those of the row and column in its path.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from lamella.errors import (
    InvalidArgumentError,
    InvalidNameError,
    NodeExistsError,
    NodeNotFoundError,
    first_of,
)
from lamella.spec.plate import AcquisitionMeta, ImageMeta, PlateMeta, WellGroupMeta, WellIndexMeta
from lamella.spec.plate_names import case_collisions, check_name, find_well, is_temporary_well, name_indexes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

FieldsOfWell: TypeAlias = "Sequence[tuple[str, int | None]]"
"""Path and acquisition id of each image of a well."""

ImagesOfWells: TypeAlias = "Mapping[str, FieldsOfWell]"
"""Well path to its images."""

__all__ = [
    "add_images",
    "add_wells",
    "case_collisions",
    "check_name",
    "count_fields",
    "find_well",
    "is_swapping",
    "new_plate",
    "raise_counts",
    "remove_image",
    "remove_well",
    "rename_well",
    "set_counts",
]


def new_plate(name: str | None = None, acquisitions: Sequence[AcquisitionMeta] | None = None) -> PlateMeta:
    """Return the metadata of a plate without wells; by default with one acquisition of id 0."""
    if not all(isinstance(acquisition, AcquisitionMeta) for acquisition in acquisitions or []):
        raise InvalidArgumentError(
            f"The argument acquisitions is a list of AcquisitionMeta, not {acquisitions!r}."
        )
    if name is not None and not isinstance(name, str):
        raise InvalidArgumentError(f"The name of a plate is text, not {name!r}.")
    requested = [_new_acquisition(0)] if acquisitions is None else acquisitions
    new_acquisitions = [acquisition.checked() for acquisition in requested]
    ids = [acquisition.id for acquisition in new_acquisitions]
    if len(set(ids)) < len(ids) or any(number < 0 for number in ids):
        raise InvalidArgumentError(f"The ids of acquisitions are unique and 0 or more, not {ids} (PL-08).")
    for acquisition in new_acquisitions:
        _check_times(acquisition)
    return PlateMeta(name=name, acquisitions=new_acquisitions, rows=[], columns=[], wells=[])


def _check_times(acquisition: AcquisitionMeta) -> None:
    """Raise for times that the specification does not allow, and for an end before the start."""
    times = {"start_time": acquisition.start_time, "end_time": acquisition.end_time}
    for key, time in times.items():
        if time is not None and not (time >= 0 and (isinstance(time, int) or time.is_integer())):
            raise InvalidArgumentError(
                f"The {key} of acquisition {acquisition.id} is {time}, and has to be a whole number of 0 or more "
                "(PL-09): round it, as in int(time.time())."
            )
    start, end = times.values()
    if start is not None and end is not None and end < start:
        raise InvalidArgumentError(
            f"The acquisition {acquisition.id} ends before it starts: at {end} and {start}."
        )


def _new_acquisition(number: int) -> AcquisitionMeta:
    return AcquisitionMeta(id=number, name=f"Acquisition {number}")


def _edited(plate: PlateMeta) -> PlateMeta:
    """Return a copy with its own lists and acquisitions; it shares the entries of rows, columns and wells."""
    edited = plate.model_copy()
    edited.rows, edited.columns, edited.wells = [*plate.rows], [*plate.columns], [*plate.wells]
    edited.acquisitions = plate.acquisitions and [
        acquisition.model_copy() for acquisition in plate.acquisitions
    ]
    return edited


def add_wells(
    plate: PlateMeta, wells: Iterable[tuple[str, str, int | None, int | None]], notes: list[str] | None = None
) -> PlateMeta:
    """List new wells, and their new rows and columns in the order of appearance.

    Each well is (row, column, row index or None, column index or None). An index beyond the known rows fills the gap
    with the names of a standard plate: A, B, ... for rows, 1, 2, ... for columns. An index that contradicts the plate
    is replaced, with a note in ``notes``.
    """
    edited = _edited(plate)
    rows, columns = name_indexes(edited)
    paths = {well.path for well in edited.wells}
    existing: list[str] = []
    for row, column, row_index, column_index in wells:
        path = f"{check_name(row)}/{check_name(column)}"
        if path in paths:
            existing.append(path)
            continue
        paths.add(path)
        new_well = WellIndexMeta(
            path=path,
            row_index=rows.index_of(row, row_index, path),
            column_index=columns.index_of(column, column_index, path),
        )
        edited.wells.append(new_well)
    if existing:
        raise NodeExistsError(f"The plate has these wells already: {', '.join(existing)}.")
    if notes is not None:
        notes += [*rows.notes, *columns.notes]
    return edited


def remove_well(plate: PlateMeta, path: str) -> PlateMeta:
    """Remove a well from the list, and its row and column if it was their last well.

    Rows and columns that had no well before stay: they exist on the physical plate (PL-04).
    """
    edited = _edited(plate)
    well = _find_well(edited, path)
    edited.wells = [listed_well for listed_well in edited.wells if listed_well is not well]
    _drop_unused_row_and_column(edited, path)
    return edited


def keep_wells(plate: PlateMeta, paths: Collection[str]) -> PlateMeta:
    """Remove all wells but some from the list, and the rows and columns that become empty.

    Rows and columns that had no well before stay: they are on the physical plate (PL-04).
    """
    edited = _edited(plate)
    removed = [entry.path.partition("/") for entry in edited.wells if entry.path not in paths]
    edited.wells = [entry for entry in edited.wells if entry.path in paths]
    remaining = [entry.path.partition("/") for entry in edited.wells]
    empty_rows = {row for row, _, _ in removed} - {row for row, _, _ in remaining}
    empty_columns = {column for _, _, column in removed} - {column for _, _, column in remaining}
    edited.rows = [entry for entry in edited.rows if entry.name not in empty_rows]
    edited.columns = [entry for entry in edited.columns if entry.name not in empty_columns]
    name_indexes(edited)
    return edited


def rename_well(plate: PlateMeta, old: str, new: str) -> PlateMeta:
    """Move a well to another row and column; empty rows and columns are removed, new ones are appended."""
    edited = _edited(plate)
    well = _find_well(edited, old)
    row_and_column = new.split("/")
    if len(row_and_column) != 2:
        raise InvalidNameError(f"{new!r} is not the path of a well: write row/column, such as 'B/3' (PL-06).")
    for name in row_and_column:
        check_name(name)
    if any(listed_well.path == new for listed_well in edited.wells):
        raise NodeExistsError(f"The plate has a well {new!r} already, so {old!r} was not renamed.")
    renamed = well.model_copy(update={"path": new})
    edited.wells = [renamed if listed_well is well else listed_well for listed_well in edited.wells]
    name_indexes(edited)
    _drop_unused_row_and_column(edited, old)
    return edited


def is_swapping(plate: PlateMeta) -> bool:
    """Return whether a well has a temporary path, because wells are swapping names."""
    return any(is_temporary_well(well.path) for well in plate.wells)


def _find_well(plate: PlateMeta, path: str) -> WellIndexMeta:
    for well in plate.wells:
        if well.path == path:
            return well
    paths = [well.path for well in plate.wells]
    raise NodeNotFoundError(f"The plate has no well {path!r}: its wells are {first_of(paths, 12)}.")


def _drop_unused_row_and_column(plate: PlateMeta, path: str) -> None:
    """Drop the row and column of a removed well if no well uses them, and renumber the wells.

    While wells swap names (:func:`is_swapping`) rows and columns stay, because a well will have the path again.
    """
    row, _, column = path.partition("/")
    remaining = [well.path.partition("/") for well in plate.wells]
    wells_swap = is_swapping(plate)
    if row not in {name for name, _, _ in remaining} and not wells_swap:
        plate.rows = [entry for entry in plate.rows if entry.name != row]
    if column not in {name for _, _, name in remaining} and (is_temporary_well(path) or not wells_swap):
        plate.columns = [entry for entry in plate.columns if entry.name != column]
    name_indexes(plate)


def add_images(well: WellGroupMeta, images: Iterable[tuple[str, int | None]]) -> WellGroupMeta:
    """List new images (fields of view) in a well, each as (path, acquisition id or None)."""
    edited = well.model_copy(update={"images": [*well.images]})
    paths = {image.path for image in edited.images}
    existing: list[str] = []
    for path, acquisition in images:
        if check_name(path) in paths:
            existing.append(path)
            continue
        if acquisition is not None and acquisition < 0:
            raise InvalidArgumentError(
                f"The acquisition of image {path!r} is an id from 0 on, not {acquisition} (PL-08)."
            )
        paths.add(path)
        edited.images.append(ImageMeta(path=path, acquisition=acquisition))
    if existing:
        raise NodeExistsError(f"The well has these images already: {', '.join(existing)}.")
    return edited


def remove_image(well: WellGroupMeta, path: str) -> WellGroupMeta:
    """Remove an image from a well's list."""
    remaining = [image for image in well.images if image.path != path]
    if len(remaining) == len(well.images):
        paths = ", ".join(image.path for image in remaining) or "none"
        raise NodeNotFoundError(f"The well has no image {path!r}: its images are {paths}.")
    return well.model_copy(update={"images": remaining})


def rename_image(well: WellGroupMeta, old: str, new: str) -> WellGroupMeta:
    """Change the path of an image of a well; the order of the list stays."""
    check_name(new)
    paths = [image.path for image in well.images]
    if old not in paths:
        raise NodeNotFoundError(
            f"The well has no image {old!r}: its images are {', '.join(paths) or 'none'}."
        )
    if new in paths:
        raise NodeExistsError(f"The well has an image {new!r} already, so {old!r} was not renamed.")
    renamed = [
        image.model_copy(update={"path": new}) if image.path == old else image for image in well.images
    ]
    return well.model_copy(update={"images": renamed})


def set_counts(plate: PlateMeta, images: ImagesOfWells) -> PlateMeta:
    """Set the number of fields, the maximum of all wells, for the plate and each acquisition (PL-09, PL-10).

    ``images`` maps the path of every well to its images. Acquisitions that only images name are added to the plate's
    list (WL-04).
    """
    edited = _edited(plate)
    maximum, per_acquisition = _most_fields(edited, images)
    edited.field_count = maximum or None  # PL-10: above 0, or absent
    for acquisition in edited.acquisitions or []:
        acquisition.maximum_field_count = per_acquisition.get(acquisition.id)
    return edited


def raise_counts(plate: PlateMeta, images: ImagesOfWells) -> PlateMeta:
    """Raise the number of fields to that of some changed wells.

    A plate without counts stays without, unless ``images`` has all of its wells.
    """
    edited = _edited(plate)
    has_counts = edited.field_count is not None or all(well.path in images for well in edited.wells)
    maximum, per_acquisition = _most_fields(edited, images)
    if not has_counts:
        return edited
    edited.field_count = max(edited.field_count or 0, maximum) or None
    for acquisition in edited.acquisitions or []:
        acquisition.maximum_field_count = (
            max(acquisition.maximum_field_count or 0, per_acquisition.get(acquisition.id, 0)) or None
        )
    return edited


def _most_fields(plate: PlateMeta, images: ImagesOfWells) -> tuple[int, dict[int, int]]:
    """Return the maximum number of fields of a well, in all and by acquisition; list missing acquisitions."""
    acquisitions = plate.acquisitions or []
    only_acquisition = acquisitions[0].id if len(acquisitions) == 1 else None
    max_fields, per_acquisition = count_fields(images.values(), only_acquisition)
    missing = sorted(per_acquisition.keys() - {acquisition.id for acquisition in acquisitions})
    if missing:
        plate.acquisitions = acquisitions + [_new_acquisition(number) for number in missing]
    return max_fields, per_acquisition


def count_fields(
    wells: Iterable[FieldsOfWell], default_acquisition: int | None = None
) -> tuple[int, dict[int, int]]:
    """Return the maximum number of fields of a well, in all and by acquisition (PL-09, PL-10).

    Fields without an acquisition count for the default one, if there is one.

    >>> count_fields([[("0", 0), ("1", 0)], [("0", 1)], [("0", None)]])
    (2, {0: 2, 1: 1})
    """
    max_fields, per_acquisition = 0, Counter[int]()
    for fields in wells:
        max_fields = max(max_fields, len(fields))
        ids = (default_acquisition if acquisition is None else acquisition for _, acquisition in fields)
        per_acquisition |= Counter(acquisition for acquisition in ids if acquisition is not None)
    return max_fields, dict(per_acquisition)


def set_name(meta: PlateMeta, name: str) -> PlateMeta:
    """Set the name of the plate."""
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"The name of a plate is text that is not empty, not {name!r}.")
    return meta.model_copy(update={"name": name})
