"""File formats for ``convert``, and what a package needs to add one.

A reader is a class with a name, endings and three methods; `HandleReader` adds threads, pickling and closing. A package
lists it in its ``pyproject.toml``, and ``lamella convert`` finds it::

    [project.entry-points."lamella.readers"]
    myformat = "mypackage.lamella:MyReader"

Examples
--------
>>> import lamella.readers
>>> class TextReader(lamella.readers.HandleReader):
...     name, title, endings = "text", "Numbers in a text", (".txt",)
...
...     def open_handle(self, path):
...         return open(path)
...
...     def describe(self, handle, path):
...         pixels = np.loadtxt(handle, dtype=np.uint16)
...         return [lamella.readers.ImageDescription("numbers", (path,), "yx", pixels.shape, pixels.dtype)]
...
...     def read_plane(self, handle, image, index, rows):
...         handle.seek(0)
...         return np.loadtxt(handle, dtype=np.uint16)[rows]
>>> np.savetxt(tmp / "cells.txt", np.ones((16, 16)), fmt="%d")
>>> lamella.convert(tmp / "cells.txt", tmp / "cells.zarr", format=TextReader()).planes
1
"""

from lamella.adapters.formats import FormatInfo, list_formats
from lamella.ops.conversion.handles import HandleReader
from lamella.ops.conversion.reader import Container, OriginalMetadata, Reader
from lamella.ops.conversion.source import ImageDescription, Objective, PlaneSource, SourceChannel

__all__ = [
    "Container",
    "FormatInfo",
    "HandleReader",
    "ImageDescription",
    "Objective",
    "OriginalMetadata",
    "PlaneSource",
    "Reader",
    "SourceChannel",
    "list_formats",
]
