"""Files that the reader of TIFF reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tifffile
from tests.formats.samples import Sample

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


def by_tifffile(path: Path) -> list[np.ndarray]:
    """Every series of a file, as tifffile reads it."""
    with tifffile.TiffFile(path) as file:
        return [series.asarray() for series in file.series]


SAMPLES = [
    Sample(
        "tiff", "../samples/2010-06-18x24y5z1t2c8b-text.ome.tiff", "czyx", (2, 5, 24, 18), "uint8",
        lambda path: [by_tifffile(path)[0].swapaxes(0, 1)],
    ),
]  # fmt: skip
