"""The TIFFs of the demo plate: fields cut from real images, named as a microscope names them.

Row A holds nuclei of cells in culture (one channel, one plane), row B maximum projections of six slabs of a
mouse blastocyst (DAPI and lamin B1). The images are real; that they share a plate is staged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = r"(?P<row>[A-P])(?P<column>\d+)_f(?P<field>\d+)_(?P<channel>\w+)\.tif"
WELLS_PER_ROW, FIELDS_PER_WELL = 3, 2


def cut_fields(samples: Path, folder: Path) -> int:
    """Write the files of 2 x 3 wells x 2 fields; return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    cut_culture(samples / "dsb2018_nuclei.tif", folder)
    cut_embryo(samples / "idr0062_nuclei.ome.tif", folder)
    return len(list(folder.glob("*.tif")))


def cut_culture(source: Path, folder: Path) -> None:
    """Cut row A: six tiles of 256 x 170 pixels that do not overlap."""
    image = tifffile.imread(source)
    for well in range(WELLS_PER_ROW):
        for field in range(FIELDS_PER_WELL):
            tile = image[field * 256 : (field + 1) * 256, well * 170 : (well + 1) * 170]
            tifffile.imwrite(folder / f"A{well + 1:02}_f{field}_DAPI.tif", tile)


def cut_embryo(source: Path, folder: Path) -> None:
    """Cut row B: maximum projections of six slabs of 36 planes, as ImageJ TIFFs with a pixel size."""
    with tifffile.TiffFile(source) as tiff:
        stack = tiff.asarray()  # ZCYX
    micrometers = 1.4415926138560835  # from the OME-XML of the source
    for number in range(WELLS_PER_ROW * FIELDS_PER_WELL):
        well, field = divmod(number, FIELDS_PER_WELL)
        slab = stack[10 + 36 * number : 10 + 36 * (number + 1)]
        for index, channel in enumerate(("LaminB1", "DAPI")):
            tifffile.imwrite(
                folder / f"B{well + 1:02}_f{field}_{channel}.tif",
                np.max(slab[:, index], axis=0),
                imagej=True,
                resolution=(1 / micrometers, 1 / micrometers),
                metadata={"unit": "um"},
            )
