"""Regions of interest: rows of tables that describe a part of an image.

Bounds are measured in micrometers and seconds from the outer edge of the first voxel, as in Fractal; translations of
the image do not change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, NodeNotFoundError, WrongTypeError, did_you_mean, first_of
from lamella.ops.regions import INDEX_TOLERANCE, physical_slice
from lamella.ops.tables.frames import as_ids, pandas, region_problem
from lamella.spec.tables import ROI_COLUMNS, ROI_TYPES
from lamella.spec.units import unit_ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from lamella.nodes.labels import LabelImage
    from lamella.nodes.position import Position
    from lamella.ops.regions import Region

_COLUMNS = {
    **{axis: (f"{axis}_micrometer", f"len_{axis}_micrometer", "micrometer") for axis in "xyz"},
    "t": ("t_second", "len_t_second", "second"),
}
"""Columns of the start and the length along each axis, and their unit."""


@dataclass(frozen=True, repr=False)
class Roi:
    """A region of an image, as a table lists it.

    Attributes
    ----------
    name : str
        Its name in the table.
    bounds : dict
        Start and end along each axis for which the table has columns, in the unit of the axis, from the first edge of
        the image.
    label : int or None
        The label whose bounding box the region is; None for other regions.
    table : str
        Name of the table.
    position : Position
        The image.

    Examples
    --------
    >>> position.tables.write_rois("fields", {"left": {"x": (0, 1)}, "right": {"x": (1, 2)}})
    >>> roi = position.roi("right")
    >>> roi.bounds["x"], roi.region()[-1], roi.read().shape  # voxels of 0.25 micrometers
    ((1.0, 2.0), slice(4, 8, None), (1, 2, 4, 8, 4))
    """

    name: str
    bounds: dict[str, tuple[float, float]]
    label: int | None
    table: str
    position: Position = field(compare=False)

    def __repr__(self) -> str:
        extent = ", ".join(f"{axis}={start:g}..{stop:g}" for axis, (start, stop) in self.bounds.items())
        return f"<Roi {self.name!r} of {self.table!r}: {extent}>"

    def region(self, level: str = "0") -> Region:
        """Return the voxels of a level in the region: one slice per axis, whole along axes without bounds.

        Raises
        ------
        NodeNotFoundError
            If the level does not exist (a KeyError).

        Examples
        --------
        >>> position.tables.write_rois("fields", {"left": {"x": (0, 1)}})
        >>> position.roi("left").region()[-1]
        slice(0, 4, None)
        """
        shape = self.position[level].shape
        scale = self.position.get_effective_scale(level)
        return tuple(
            physical_slice(*self.bounds[name], size, length)
            if name in self.bounds and size > 0
            else slice(0, length)
            for name, size, length in zip(self.position.axis_names, scale, shape, strict=True)
        )

    def read(self, level: str = "0") -> NDArray[Any]:
        """Read the pixels of the region from a level, as an array with the axes of the image.

        Raises
        ------
        NodeNotFoundError
            If the level does not exist (a KeyError).

        Examples
        --------
        >>> position.tables.write_rois("fields", {"left": {"x": (0, 1)}})
        >>> position.roi("left").read().shape
        (1, 2, 4, 8, 4)
        """
        return np.asarray(self.position[level][self.region(level)])


# -- reading ------------------------------------------------------------------------------------------------------


def list_rois(position: Position, table: str | None = None) -> list[Roi]:
    """Return the regions of a table, or of all tables of regions; see :meth:`Position.rois`."""
    tables = position.tables
    names = [table] if table is not None else [name for name in tables if tables.info(name).type in ROI_TYPES]
    return [roi for name in names for roi in _rois_of(position, name)]


def find_roi(position: Position, name: str | int, table: str | None = None) -> Roi:
    """Return the region with a name; see :meth:`Position.roi`."""
    rois = list_rois(position, table)
    matches = [roi for roi in rois if roi.name == str(name)]
    if not matches:
        names = list(dict.fromkeys(roi.name for roi in rois))
        where = f"the table {table!r}" if table is not None else "the tables"
        raise NodeNotFoundError(
            f"There is no region {name!r} in {where} of {position.node_path}. The regions are: {first_of(names, 20)}."
            f"{did_you_mean(str(name), names)}"
        )
    if len(matches) > 1:
        raise InvalidArgumentError(
            f"Several regions of {position.node_path} are named {str(name)!r}, in the tables "
            f"{', '.join(dict.fromkeys(repr(roi.table) for roi in matches))}: pass table=."
        )
    return matches[0]


def _rois_of(position: Position, table: str) -> Iterator[Roi]:
    frame = position.tables[table]
    problem = region_problem(frame)
    if problem is not None:
        raise InvalidArgumentError(
            f"The table {table!r} of {position.node_path} lists no regions: it {problem}."
        )
    ratios = _ratios(position)
    labels = frame.index if frame.index.name == "label" else frame.get("label")
    ids = [None] * len(frame) if labels is None else labels.tolist()
    for number, name in enumerate(frame.index):
        bounds = {}
        for axis, ratio in ratios.items():
            start_column, length_column, _ = _COLUMNS[axis]
            if start_column in frame.columns and length_column in frame.columns:
                start = float(frame[start_column].iloc[number])
                length = float(frame[length_column].iloc[number])
                if np.isfinite([start, length]).all():
                    bounds[axis] = (start * ratio, (start + length) * ratio)
        yield Roi(str(name), bounds, _as_label(ids[number]), table, position)


def _as_label(value: object) -> int | None:
    """Return the label in a cell of a table; None if the cell is empty, or is not an integer."""
    try:
        label = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return None
    return label if not isinstance(value, float) or label == value else None


def _ratios(position: Position) -> dict[str, float]:
    """Return, for each axis, the factor from the unit of the table's columns to the unit of the axis."""
    return {
        name: 1 / unit_ratio(axis.unit, _COLUMNS[name][2])
        for name, axis in zip(position.axis_names, position.axes, strict=True)
        if name in _COLUMNS
    }


# -- writing ------------------------------------------------------------------------------------------------------


def cut_rois(position: Position, frame: pd.DataFrame, region: Mapping[str, tuple[int, int]]) -> pd.DataFrame:
    """Return a table of regions for an image that is cut out of another one, measured from the first edge of the cut.

    ``region`` is the cut: start and stop in voxels of level 0 of ``position``, by axis. Regions are clipped to the cut;
    those outside of it are left out. Raise InvalidArgumentError for rows that are not regions.
    """
    if problem := region_problem(frame):
        raise InvalidArgumentError(f"The table lists no regions: it {problem}.")
    ratios = _ratios(position)
    sizes = dict(
        zip(position.axis_names, position.get_effective_scale(position.dataset_paths[0]), strict=True)
    )
    cut, inside = frame.copy(), np.ones(len(frame), bool)
    for axis, (begin, end) in region.items():
        start_column, length_column, _ = _COLUMNS.get(axis, ("", "", ""))
        size = sizes[axis] / ratios.get(axis, 1.0)
        if start_column not in cut.columns or length_column not in cut.columns or not size > 0:
            continue
        start = cut[start_column].astype("float64") - begin * size
        stop = (start + cut[length_column].astype("float64")).clip(upper=(end - begin) * size)
        start = start.clip(lower=0)
        inside &= ~((stop - start) <= INDEX_TOLERANCE * size).to_numpy()
        cut[start_column], cut[length_column] = start, stop - start
    return cut[inside]


def roi_frame(position: Position, rois: Mapping[str, Mapping[str, Sequence[float]]]) -> pd.DataFrame:
    """Return a table of regions by name, from starts and ends along axes in the units of the axes."""
    ratios, extents = _ratios(position), _extents(position)
    rows: dict[str, dict[str, float]] = {}
    expected = "The argument rois maps names of regions to bounds, such as {'FOV_1': {'x': (0, 16)}}"
    if not isinstance(rois, Mapping):
        raise WrongTypeError(f"{expected}, not {rois!r}.")
    for name, bounds in rois.items():
        if not isinstance(bounds, Mapping):
            raise WrongTypeError(f"{expected}; the bounds of {name!r} are {bounds!r}.")
        unknown = [axis for axis in bounds if str(axis).lower() not in ratios]
        if unknown:
            raise InvalidArgumentError(
                f"The region {name!r} has bounds along {unknown[0]!r}, and regions of {position.node_path} lie along "
                f"{', '.join(ratios)}."
            )
        intervals = {str(axis).lower(): _interval(name, axis, interval) for axis, interval in bounds.items()}
        row: dict[str, float] = {}
        for axis in "xyzt":
            start_column, length_column, _ = _COLUMNS[axis]
            if axis == "t" and axis not in intervals:
                continue
            start, stop = intervals.get(axis, (0.0, extents.get(axis, 1.0)))
            ratio = ratios.get(axis, 1.0)
            row[start_column], row[length_column] = start / ratio, (stop - start) / ratio
        rows[str(name)] = row
    pd = pandas()
    columns = [*ROI_COLUMNS, *(_COLUMNS["t"][:2] if any("t_second" in row for row in rows.values()) else ())]
    frame = pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name="FieldIndex"), columns=columns)
    return frame.astype("float64")


def _interval(name: str, axis: str, interval: Sequence[float]) -> tuple[float, float]:
    try:
        start, stop = (float(number) for number in interval)
    except (TypeError, ValueError):
        raise InvalidArgumentError(
            f"The bounds of the region {name!r} along {axis!r} are a start and an end, not {interval!r}."
        ) from None
    if not start < stop:
        raise InvalidArgumentError(
            f"The region {name!r} ends at {stop:g} along {axis!r}, before its start at {start:g}."
        )
    return start, stop


def _extents(position: Position) -> dict[str, float]:
    """Return the length of the image along each axis, in the unit of the axis."""
    shape = position.data.shape
    return {
        name: size * length
        for name, size, length in zip(position.axis_names, position.scale, shape, strict=True)
    }


def label_roi_frame(image: LabelImage) -> pd.DataFrame:
    """Return a table of the bounding boxes of all labels of a label image."""
    from lamella.ops.tables.labels import bounding_boxes

    boxes = bounding_boxes(image)
    pd = pandas()
    names, scale, ratios = image.axis_names, image.scale, _ratios(image)
    columns: dict[str, Any] = {}
    for axis in "xyzt":
        start_column, length_column, _ = _COLUMNS[axis]
        if axis in names and (axis != "t" or image.data.shape[names.index("t")] > 1):
            axis_index = names.index(axis)
            size = scale[axis_index] / ratios[axis]
            columns[start_column] = boxes.start[:, axis_index] * size
            columns[length_column] = (boxes.stop[:, axis_index] - boxes.start[:, axis_index]) * size
        elif axis != "t":
            columns[start_column], columns[length_column] = np.zeros(len(boxes.ids)), np.ones(len(boxes.ids))
    order = [*ROI_COLUMNS, *(name for name in columns if name not in ROI_COLUMNS)]
    return pd.DataFrame(columns, index=as_ids(boxes.ids).rename("label"), columns=order)
