"""Read Aperio SVS slides, which are TIFF: the finest level, without thumbnail, label and macro image."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from lamella.adapters.descriptions import parse_number, positive_or_none
from lamella.adapters.formats import ENDINGS
from lamella.adapters.tiff.file import open_file
from lamella.adapters.tiff.reader import TiffSource, open_tiff
from lamella.errors import SourceError, counted
from lamella.ops.conversion.reader import Container, OriginalMetadata, Reader
from lamella.ops.conversion.source import Objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.ops.conversion.source import ImageDescription

_SLIDE = "Baseline"
"""The name of the series of the slide itself."""


class SvsReader(Reader):
    """Aperio SVS; the format ``tiff`` also reads the thumbnail, the label and the macro image."""

    name = "svs"
    title = "Aperio SVS slide"
    endings = ENDINGS["svs"]
    extra = "tiff"
    libraries = ("tifffile", "imagecodecs")
    first_bytes = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

    def open(self, path: str) -> Container:
        self.require()
        with open_file(path) as file:
            names = [series.name for series in file.series]
            kinds = {series.kind for series in file.series}
            text = file.pages.first.description
        if kinds != {"svs"} or _SLIDE not in names:
            raise SourceError(f"{path} is not a slide of Aperio: convert it as TIFF (--format tiff).")
        source = open_tiff(path)[names.index(_SLIDE)]
        assert isinstance(source, TiffSource)
        description = _with_aperio_fields(
            source.description, _fields(text), [name for name in names if name != _SLIDE]
        )
        return Container([source.with_description(description)], [OriginalMetadata("aperio.txt", text)])


def _fields(text: str) -> dict[str, str]:
    """Return the fields of a description.

    >>> _fields("Aperio Image Library v11.2.1|AppMag = 20|MPP = 0.4990")
    {'AppMag': '20', 'MPP': '0.4990'}
    """
    pairs = (field.partition("=") for field in text.split("|")[1:])
    return {key.strip(): value.strip() for key, _, value in pairs}


def _with_aperio_fields(
    image: ImageDescription, fields: Mapping[str, str], others: list[str]
) -> ImageDescription:
    """Add the pixel size, the objective and the time of the scan to a description."""
    step, magnification = (positive_or_none(parse_number(fields.get(key))) for key in ("MPP", "AppMag"))
    scale = {} if step is None else {"y": step, "x": step}
    notes = image.notes
    if others:
        names = ", ".join(name.lower() for name in others)
        notes = (
            *notes,
            f"{counted(len(others), 'further image')} ({names}) left out: --format tiff reads them",
        )
    return replace(
        image,
        scale=scale or image.scale,
        units=dict.fromkeys("yx", "micrometer") if scale else image.units,
        notes=notes,
        title=fields.get("Title") or fields.get("Filename", ""),
        acquired=_acquired(fields),
        objective=None if magnification is None else Objective(magnification=magnification),
    )


def _acquired(fields: Mapping[str, str]) -> str:
    try:
        return datetime.strptime(f"{fields['Date']} {fields['Time']}", "%m/%d/%y %H:%M:%S").isoformat()
    except (KeyError, ValueError):
        return ""
