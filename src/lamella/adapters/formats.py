"""The readers of file formats: those of lamella, and those of other packages (entry points ``lamella.readers``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, clause, short_repr, warn
from lamella.ops.conversion.reader import Formats, Reader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

GROUP = "lamella.readers"
"""Entry point group: the name of a reader, and its class."""

_BUILT_IN = {
    "nd2": "lamella.adapters.nd2:ND2Reader",
    "czi": "lamella.adapters.czi:CziReader",
    "czi-tiles": "lamella.adapters.czi:CziTilesReader",
    "lif": "lamella.adapters.lif:LifReader",
    "oif": "lamella.adapters.oif:OifReader",
    "dv": "lamella.adapters.deltavision:DeltaVisionReader",
    "mrc": "lamella.adapters.mrc:MrcReader",
    "ims": "lamella.adapters.imaris:ImarisReader",
    "bdv": "lamella.adapters.bdv:BdvReader",
    "svs": "lamella.adapters.svs:SvsReader",
    "dicom": "lamella.adapters.dicom:DicomReader",
    "operetta": "lamella.adapters.screens.readers:OperaReader",
    "imagexpress": "lamella.adapters.screens.readers:ImageXpressReader",
    "cellvoyager": "lamella.adapters.screens.readers:CellVoyagerReader",
    "metamorph": "lamella.adapters.screens.metamorph:MetaMorphReader",
    "companion": "lamella.adapters.tiff.reader:CompanionReader",
    "tiff": "lamella.adapters.tiff.reader:TiffReader",
    "bioio": "lamella.adapters.bioio:BioioReader",
}
"""The class of each reader of lamella, in the order in which they are asked whether they claim a path."""

ENDINGS: dict[str, tuple[str, ...]] = {
    "nd2": (".nd2",),
    "czi": (".czi",),
    "lif": (".lif", ".lof", ".xlef", ".xlif"),
    "oif": (".oib", ".oif"),
    "dv": (".dv", ".r3d"),
    "mrc": (".mrc", ".mrcs", ".map", ".rec", ".ccp4"),
    "ims": (".ims",),
    "svs": (".svs",),
    "dicom": (".dcm",),
    "metamorph": (".nd",),
    "companion": (".companion.ome",),
    "tiff": (".tif", ".tiff", ".tf2", ".tf8", ".btf", ".stk", ".lsm"),
}
"""Endings of file names by reader; they are in this module, so that only the reader of a file must be imported."""

_FOLDERS = ("bdv", "dicom", "operetta", "imagexpress", "cellvoyager", "tiff")
"""The readers of lamella that claim folders."""


@cache
def readers() -> dict[str, Reader]:
    """Return all readers by name, in the order in which they are asked; those of other packages come last.

    A reader of another package replaces one of lamella that has the same name. One that cannot be loaded is left out,
    with a warning.

    >>> readers()["nd2"].endings
    ('.nd2',)
    """
    names = [*_BUILT_IN, *(name for name in _entry_points() if name not in _BUILT_IN)]
    return {name: reader for name in names if (reader := _reader(name)) is not None}


@cache
def _entry_points() -> dict[str, EntryPoint]:
    """Return the entry points of readers of other packages by name."""
    from importlib.metadata import entry_points  # imports thirty modules

    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def _reader(name: str) -> Reader | None:
    """Load a reader; return None for a reader of another package that cannot be loaded."""
    point = _entry_points().get(name)
    if point is not None:
        try:
            reader = point.load()()
            if not isinstance(reader, Reader):
                raise TypeError(f"{point.value} is not a lamella.readers.Reader.")
        except Exception as error:  # any error of another package
            package = point.dist.name if point.dist is not None else "unknown"
            warn(
                f"The reader {point.name!r} of the package {package} is left out, because it cannot be loaded: "
                f"{clause(error)}."
            )
        else:
            return reader
    if name not in _BUILT_IN:
        return None
    module, _, class_name = _BUILT_IN[name].partition(":")
    reader_class: type[Reader] = getattr(import_module(module), class_name)
    return reader_class()


def _likely_readers(path: str) -> list[Reader]:
    """Load the readers of a path's ending or, for a folder, those that claim folders; in the order of `readers`."""
    if os.path.isdir(path):
        names: Sequence[str] = _FOLDERS
    else:
        names = [name for name, endings in ENDINGS.items() if path.lower().endswith(endings)]
    return [reader for name in names if (reader := _reader(name)) is not None]


def choose_formats(format: str | Reader | None = None) -> Formats:
    """Return all formats, or the one that the user chose; raise InvalidArgumentError for an unknown name."""
    if format is None:
        return Formats(lambda: list(readers().values()), likely=_likely_readers)
    if isinstance(format, Reader):
        return Formats([format], is_chosen=True)
    reader = _reader(format) if isinstance(format, str) else None
    if reader is None:
        raise InvalidArgumentError(
            f"There is no format {short_repr(format)}: the formats are {', '.join(readers())}."
        )
    return Formats([reader], is_chosen=True)


@dataclass(frozen=True)
class FormatInfo:
    """A format that ``convert`` reads.

    Attributes
    ----------
    name : str
        Name for the argument ``format`` of ``convert``.
    title : str
        Name for people.
    endings : tuple of str
        Endings of its files; empty for a format of folders.
    extra : str
        Extra of lamella that installs its libraries.
    missing : tuple of str
        Libraries that are not installed.
    """

    name: str
    title: str
    endings: tuple[str, ...]
    extra: str
    missing: tuple[str, ...]


def list_formats() -> list[FormatInfo]:
    """Return the formats that ``convert`` reads, those of other packages included.

    Examples
    --------
    >>> next(info.title for info in list_formats() if info.name == "tiff")
    'TIFF, OME-TIFF, ImageJ TIFF'
    """
    return [
        FormatInfo(name, reader.title, reader.endings, reader.extra, reader.missing)
        for name, reader in readers().items()
    ]
