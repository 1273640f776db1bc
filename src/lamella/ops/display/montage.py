"""Lay out wells and fields on a page, as rectangles of pixels; nothing is read or drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_FIELDS = 9
"""Maximum number of fields of a well that are drawn: the first ones."""


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: left and top are inside, right and bottom outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels along X."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels along Y."""
        return self.bottom - self.top

    def inside(self, height: int, width: int) -> Box:
        """Return a smaller box in the centre of this one."""
        left, top = self.left + (self.width - width) // 2, self.top + (self.height - height) // 2
        return Box(left, top, left + width, top + height)


@dataclass(frozen=True)
class Montage:
    """The page of a plate: rows x columns of wells, each a grid of fields; sizes are in pixels.

    ``left`` and ``top`` are the margins with the names of rows and columns, ``margin`` those at the right and bottom.
    ``gap`` separates wells, and ``seam`` the fields of a well.
    """

    rows: int
    columns: int
    field_rows: int
    field_columns: int
    field_height: int
    field_width: int
    left: int
    top: int
    margin: int
    gap: int
    seam: int = 1

    @property
    def well_height(self) -> int:
        """Pixels of a well along Y."""
        return self.field_rows * (self.field_height + self.seam) - self.seam

    @property
    def well_width(self) -> int:
        """Pixels of a well along X."""
        return self.field_columns * (self.field_width + self.seam) - self.seam

    @property
    def height(self) -> int:
        """Pixels of the page along Y, without a footer."""
        return self.top + self.rows * (self.well_height + self.gap) - self.gap + self.margin

    @property
    def width(self) -> int:
        """Pixels of the page along X."""
        return self.left + self.columns * (self.well_width + self.gap) - self.gap + self.margin

    def well(self, row: int, column: int) -> Box:
        """Return the box of a well."""
        left = self.left + column * (self.well_width + self.gap)
        top = self.top + row * (self.well_height + self.gap)
        return Box(left, top, left + self.well_width, top + self.well_height)

    def field(self, row: int, column: int, slot: int) -> Box:
        """Return the box of a field: slots run along the rows of the well's grid."""
        well = self.well(row, column)
        row_in_well, column_in_well = divmod(slot, self.field_columns)
        left = well.left + column_in_well * (self.field_width + self.seam)
        top = well.top + row_in_well * (self.field_height + self.seam)
        return Box(left, top, left + self.field_width, top + self.field_height)


def field_grid(fields: int, aspect: float = 1.0) -> tuple[int, int]:
    """Choose rows and columns for the fields of a well so that the well is as square as possible.

    At most 9 fields count, and not more slots are empty than in the square grid. ``aspect`` is the height of a field
    divided by its width.
    """
    count = min(max(fields, 1), MAX_FIELDS)
    side = math.ceil(math.sqrt(count))
    max_empty = side * math.ceil(count / side) - count
    grids = [(math.ceil(count / columns), columns) for columns in range(1, count + 1)]
    allowed = [grid for grid in grids if grid[0] * grid[1] - count <= max_empty]
    return min(allowed, key=lambda grid: (round(abs(math.log(grid[0] * aspect / grid[1])), 9), grid[0]))


def fit(height: float, width: float, side: int) -> tuple[int, int]:
    """Scale a height and width so that the larger becomes ``side`` and both are at least one pixel."""
    factor = side / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))
