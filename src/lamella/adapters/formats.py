"""The readers of file formats: those of lamella, and those of other packages (entry points ``lamella.readers``)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from lamella.errors import InvalidArgumentError, short_repr
from lamella.ops.conversion.reader import Formats, Reader

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
    "companion": "lamella.adapters.tiff:CompanionReader",
    "tiff": "lamella.adapters.tiff:TiffReader",
    "bioio": "lamella.adapters.bioio:BioioReader",
}
"""Readers of lamella, in the order in which they are asked whether they claim a path."""


@cache
def readers() -> dict[str, Reader]:
    """Return all readers by name, in the order in which they are asked; those of other packages come last.

    A reader of another package replaces one of lamella that has the same name. One that cannot be loaded is left out,
    with a warning.

    >>> readers()["nd2"].endings
    ('.nd2',)
    """
    classes = {name: _load(location) for name, location in _BUILT_IN.items()}
    readers = {name: create() for name, create in classes.items()}
    for point in entry_points(group=GROUP):
        try:
            reader = point.load()()
            if not isinstance(reader, Reader):
                raise TypeError(f"{point.value} is not a lamella.readers.Reader")
        except Exception as error:  # any error of another package
            package = point.dist.name if point.dist is not None else "unknown"
            warnings.warn(
                f"The reader {point.name!r} of the package {package} is left out: it cannot be loaded ({error})",
                UserWarning,
                stacklevel=2,
            )
            continue
        readers[point.name] = reader
    return readers


def _load(location: str) -> type[Reader]:
    module, _, name = location.partition(":")
    reader_class: type[Reader] = getattr(import_module(module), name)
    return reader_class


def choose_formats(format: str | Reader | None = None) -> Formats:
    """Return all formats, or the one that the user chose; raise InvalidArgumentError for an unknown name."""
    if format is None:
        return Formats(list(readers().values()))
    if isinstance(format, Reader):
        return Formats([format], is_chosen=True)
    if not isinstance(format, str) or format not in readers():
        raise InvalidArgumentError(
            f"there is no format {short_repr(format)}: the formats are {', '.join(readers())}"
        )
    return Formats([readers()[format]], is_chosen=True)


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
