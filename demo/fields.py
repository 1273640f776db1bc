"""Write the TIFFs of the demo plate: fields cut from a real image, named as a microscope names them.

The image is one mouse blastocyst in two channels. Each field has 16 planes of it, at another depth than the other
fields. Nothing is projected or scaled, so that every pixel of the plate can be compared with the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tifffile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_NAME = r"(?P<row>[A-P])(?P<column>\d+)_f(?P<field>\d+)_(?P<channel>\w+)\.tif"
WELLS = [f"{row}{column:02}" for row in "AB" for column in (1, 2, 3)]
FIELDS = 2
CHANNELS = ("LaminB1", "DAPI")  # in the order of the source
PLANES, FIRST_PLANE = 16, 22  # planes of a field, and where the embryo begins
PIXEL, STEP = 1.4415926138560835, 0.5002025531914894  # micrometers, from the OME-XML of the source


def field_stacks() -> Iterator[tuple[str, str, slice, int]]:
    """Yield well, field, planes and channel of each file, in the order of depth."""
    for number, well in enumerate(WELLS):
        for field in range(FIELDS):
            begin = FIRST_PLANE + PLANES * (FIELDS * number + field)
            for channel in range(len(CHANNELS)):
                yield well, str(field), slice(begin, begin + PLANES), channel


def cut_fields(source: Path, folder: Path) -> int:
    """Write one ImageJ TIFF per well, field and channel; return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = tifffile.imread(source)  # ZCYX
    files = list(field_stacks())
    for well, field, planes, channel in files:
        tifffile.imwrite(
            folder / f"{well}_f{field}_{CHANNELS[channel]}.tif",
            pixels[planes, channel],
            imagej=True,
            resolution=(1 / PIXEL, 1 / PIXEL),
            metadata={"axes": "ZYX", "unit": "um", "spacing": STEP},
        )
    return len(files)
