"""Open OME-TIFF files whose OME-XML is in another file: a ``*.companion.ome``, or an OME-TIFF of the same set.

Each TIFF of such a set has a short OME-XML with one element, ``BinaryOnly``, that names the file with the complete one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lamella.adapters.formats import ENDINGS
from lamella.errors import MetadataError, SourceError, clause, first_of, short_repr
from lamella.spec.ome_xml import children, parse_xml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType
    from xml.etree.ElementTree import Element

(COMPANION_ENDING,) = ENDINGS["companion"]
"""Ending, in lower case, of a file of OME-XML whose planes are in TIFF files beside it."""
_OTHER_KINDS = ("shaped", "lsm", "mmstack", "ndtiff")
"""Kinds of series that tifffile tries before OME; they are disabled, because the XML describes the set."""


def open_set(tifffile: ModuleType, path: str, *, is_partial: bool = False) -> Any:
    """Open a TIFF or companion file as a ``TiffFile`` whose series are those of the whole set.

    Raise SourceError for a set without its OME-XML; with ``is_partial``, such a TIFF is opened alone.
    """
    if path.lower().endswith(COMPANION_ENDING):
        return _open_companion(tifffile, path)
    file = tifffile.TiffFile(path)
    try:
        metadata_file = _metadata_file(path, file)
        if metadata_file is None or (is_partial and not os.path.isfile(metadata_file)):
            return file
        if not os.path.isfile(metadata_file):
            raise SourceError(
                f"{path} is one file of a set that {metadata_file} describes, which does not exist: put it into the "
                "same folder, or pass --take-what-is-there to convert the planes of this file without it."
            )
        file_of_set = (
            _open_companion(tifffile, metadata_file)
            if metadata_file.lower().endswith(COMPANION_ENDING)
            else tifffile.TiffFile(metadata_file)
        )
    except BaseException:
        file.close()
        raise
    file.close()
    return file_of_set


def _metadata_file(path: str, file: Any) -> str | None:
    """Return the file with the complete OME-XML that a TIFF names; None if the TIFF itself contains it."""
    if not (file.is_ome and file.ome_metadata and "BinaryOnly" in file.ome_metadata):
        return None
    try:
        root = parse_xml(file.ome_metadata)
    except MetadataError:
        return None  # the error is raised by the function that reads the metadata
    name = next((element.get("MetadataFile", "") for element in children(root, "BinaryOnly")), "")
    if not name or name.lower() == os.path.basename(path).lower():
        return None
    if os.path.basename(name.replace("\\", "/")) != name or ":" in name:
        raise SourceError(
            f"{path} is not read: its OME-XML names {short_repr(name)}, which is not in the same folder. Put the files "
            "that belong together into one folder."
        )
    return os.path.join(os.path.dirname(path), name)


def _open_companion(tifffile: ModuleType, path: str) -> Any:
    """Open the first TIFF that a companion file names, with the OME-XML of the companion."""
    try:
        with open(path, encoding="utf-8-sig") as stream:
            xml = stream.read()
        root = parse_xml(xml)
    except (MetadataError, ValueError) as error:
        raise SourceError(f"{path} is not complete OME-XML, it may be truncated: {clause(error)}.") from error
    if root.tag.rpartition("}")[2] != "OME":
        raise SourceError(f"{path} is not OME-XML: its root element is {short_repr(root.tag)}.")
    names = list(dict.fromkeys(name for _, name in file_names(root) if name))
    if not names:
        raise SourceError(f"{path} names no TIFF file with the planes of its images.")
    folder = os.path.dirname(path)
    # `check_names` refuses a set that names a file outside of the folder, before any file is read.
    in_folder = [name for name in names if os.path.basename(name.replace("\\", "/")) == name]
    first = next((name for name in in_folder if os.path.isfile(os.path.join(folder, name))), None)
    if first is None:
        raise SourceError(
            f"{path} names files that are not in its folder: {first_of(names, 1)}. Copy them beside it."
        )
    disabled = {f"is_{kind}": False for kind in _OTHER_KINDS}
    return tifffile.TiffFile(os.path.join(folder, first), omexml=xml.strip(), **disabled)


def file_names(root: Element) -> Iterator[tuple[str | None, str]]:
    """Yield the UUID and the name of each file with planes, as often as the OME-XML names it."""
    for image in children(root, "Image"):
        for pixels in children(image, "Pixels"):
            for tiff_data in children(pixels, "TiffData"):
                yield from ((uuid.text, uuid.get("FileName", "")) for uuid in children(tiff_data, "UUID"))
