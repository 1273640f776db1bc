"""Check that a TIFF file is complete: ``tifffile`` reads a truncated file as one with fewer pages, and only logs it.

A file is complete if its chain of pages ends with a last page, if the description of the first page is in the file, and
if there are as many planes as its metadata state. ``pages.check_sizes`` checks that no page ends after the file.
"""

from __future__ import annotations

import math
import os
import re
import struct
from typing import TYPE_CHECKING, Any

from lamella.adapters.descriptions import parse_number
from lamella.adapters.tiff.companion import file_names
from lamella.adapters.tiff.ome import ome_root
from lamella.errors import SourceError, short_repr
from lamella.ops.conversion.source import COPY_AGAIN, MAX_PLANES
from lamella.spec.ome_xml import children, count_samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

_OWN_LISTS = {"lsm", "mmstack", "ndtiff"}
"""Series whose pages tifffile finds by an index of the format, not by the chain."""

_SEPARATORS = re.compile(r"[/\\]")
_DRIVE = re.compile(r"[A-Za-z]:")

_DESCRIPTION = 270
"""Code of the tag ImageDescription."""


def check_complete(path: str, file: Any) -> None:
    """Raise SourceError for an incomplete file."""
    for missing in missing_parts(file):
        raise SourceError(f"{path} is damaged or incomplete: {missing}. {COPY_AGAIN}")


def check_names(path: str, file: Any) -> None:
    """Raise SourceError for a file that names others outside of its folder, before any of them is opened.

    The file may come from an attacker, and the conversion would publish pixels of the files that it names. Links within
    the folder are followed. An absurd number of planes is refused too, before memory for it is allocated.
    """
    for pixels in () if (root := ome_root(file)) is None else root.iter():
        count = math.prod(parse_number(pixels.get(f"Size{axis}")) or 1 for axis in "CZT")
        if count > MAX_PLANES:
            raise SourceError(f"{path} is damaged: its OME-XML states {count:.0f} planes. {COPY_AGAIN}")
    for origin, name in _named_files(file):
        if name.startswith(("/", "\\")) or _DRIVE.match(name) or ".." in _SEPARATORS.split(name):
            raise SourceError(
                f"{path} is not read: its {origin} names {short_repr(name)}, which is not in the same folder. Put the "
                "files that belong together into one folder, and name them there without a path."
            )


def _named_files(file: Any) -> Iterator[tuple[str, str]]:
    """Yield the metadata that name another file ("OME-XML"), each with the name."""
    root = ome_root(file)
    if root is not None:
        own_uuid = root.get("UUID")
        for element in root.iter():
            # The name beside the file's own UUID is a former name of the file, which is not opened.
            if element.tag.endswith("UUID") and (own_uuid is None or element.text != own_uuid):
                yield "OME-XML", element.get("FileName", "")
    index = os.path.join(file.filehandle.dirname, "NDTiff.index")
    if file.is_ndtiff and os.path.isfile(index):
        from tifffile.tifffile import read_ndtiff_index

        for _, name, *_ in read_ndtiff_index(index):
            yield "NDTiff.index", name


def missing_parts(file: Any) -> Iterator[str]:
    """Yield a sentence without full stop for everything that an open file lacks."""
    yield from _missing_description(file)
    if file.is_ome and file.ome_metadata:
        yield from _missing_of_ome(file)
    if file.is_ndtiff:
        yield from _missing_of_ndtiff(file)
    elif file.is_micromanager and (file.micromanager_metadata or {}).get("MajorVersion", 0) >= 2:
        yield "the file NDTiff.index, which names the axes of its planes, is not in its folder"
    if file.is_shaped:
        yield from _missing_of_shaped(file)
    if file.is_imagej and file.imagej_metadata:
        yield from _missing_of_imagej(file)
    yield from _missing_pages(file)


def _missing_pages(file: Any) -> Iterator[str]:
    """Check that the chain of pages ends with a page that is marked as the last."""
    # ScanImage before 2016 let offsets wrap beyond 4 GiB; tifffile computes the pages of such files instead.
    if file.is_scanimage or any(series.kind in _OWN_LISTS for series in file.series):
        return
    position = file.pages.next_page_offset
    if position is None:
        return
    (following,) = _unpack(file, position, file.tiff.offsetformat)
    if following:
        yield f"after {len(file.pages)} pages there should be one at byte {following} of {file.filehandle.size}"


def _missing_of_ndtiff(file: Any) -> Iterator[str]:
    """Compare the end of each file with the last plane that the index lists in it: NDTiff appends planes."""
    from tifffile.tifffile import read_ndtiff_index

    folder = file.filehandle.dirname
    ends: dict[str, int] = {}
    for _, name, *_, offset, size, _ in read_ndtiff_index(os.path.join(folder, "NDTiff.index")):
        ends[name] = max(ends.get(name, 0), offset + size)
    for name, end in ends.items():
        path = os.path.join(folder, name)
        if end > (size := os.path.getsize(path)):
            yield f"NDTiff.index needs {end} bytes of {name}, and the file has {size}"
            continue
        with open(path, "rb") as stream:
            stream.seek(end)
            if stream.read(64).strip(b"\0"):  # after a crash of the instrument a file ends with zeros
                yield f"NDTiff.index ends before the last plane of {name}"


def _missing_description(file: Any) -> Iterator[str]:
    """Check that the description of the first page is in the file: tifffile leaves out a tag beyond its end."""
    layout = file.tiff
    start = file.pages.first.offset
    (count,) = _unpack(file, start, layout.tagnoformat)
    for number in range(count):
        position = start + layout.tagnosize + number * layout.tagsize
        code, _ = _unpack(file, position, layout.tagformat1)
        if code != _DESCRIPTION:
            continue
        # A character is a byte; short texts lie in the tag itself.
        length, value = _unpack(file, position + struct.calcsize(layout.tagformat1), layout.tagformat2)
        if length > layout.tagoffsetthreshold:
            (offset,) = struct.unpack(layout.offsetformat, value[: layout.offsetsize])
            if offset + length > file.filehandle.size:
                yield f"its metadata should be at byte {offset} of {file.filehandle.size}"


def _unpack(file: Any, position: int, layout: str) -> tuple[Any, ...]:
    file.filehandle.seek(position)
    return struct.unpack(layout, file.filehandle.read(struct.calcsize(layout)))


def _missing_of_shaped(file: Any) -> Iterator[str]:
    """Compare the shapes that tifffile wrote into the description of a series with those of its pages."""
    shaped = [series for series in file.series if series.kind == "shaped"]
    descriptions = file.shaped_metadata or ()
    if len(shaped) != len(descriptions):
        return
    for series, metadata in zip(shaped, descriptions, strict=True):
        shape = tuple(metadata["shape"])
        if math.prod(shape) > math.prod(series.shape):
            yield f"its metadata say that its shape is {shape}, its pages make up {tuple(series.shape)}"


def _missing_of_imagej(file: Any) -> Iterator[str]:
    """Compare the number of images that ImageJ wrote with the planes of all series."""
    images = file.imagej_metadata.get("images", 1)
    # Samples count as planes, because some writers count them: a complete file must not be refused.
    planes = sum(
        math.prod(length for length, axis in zip(series.shape, series.axes, strict=True) if axis not in "YX")
        for series in file.series
    )
    if isinstance(images, int) and images > planes:
        yield f"its metadata promise {images} images, it has {planes}"


def _missing_of_ome(file: Any) -> Iterator[str]:
    """Check that the files that the OME-XML names exist, and contain the planes that it places in them."""
    root = ome_root(file)
    if root is None:
        return  # tifffile then lists the pages of the file, without the metadata
    all_pixels = [pixels for image in children(root, "Image") for pixels in children(image, "Pixels")]
    # The name beside the file's own UUID is the name that it had before it was renamed.
    other_files = dict.fromkeys(name for uuid, name in file_names(root) if name and uuid != root.get("UUID"))
    for name in other_files:
        if name.lower() != file.filename.lower() and not os.path.isfile(
            os.path.join(file.filehandle.dirname, name)
        ):
            yield f"its OME-XML names the file {name}, which does not exist"
    for tiff_data in (element for pixels in all_pixels for element in children(pixels, "TiffData")):
        if tiff_data.get("IFD", "").strip().startswith("-"):  # tifffile counts it from the last page
            yield f'its OME-XML names a page IFD="{tiff_data.get("IFD")}", and pages are counted from 0'
            break
    if any(series.kind != "ome" for series in file.series):
        return
    promised = sum(len(_planes(pixels)) for pixels in all_pixels)
    existing = sum(page is not None for series in file.series for page in series)
    if promised > existing:
        yield f"its OME-XML promises {promised} planes, {existing} are there"


def _planes(pixels: Element) -> set[int]:
    """Return the numbers of the planes of an image for which its TiffData elements name a page.

    >>> from lamella.spec.ome_xml import parse_xml
    >>> xml = '<Pixels DimensionOrder="XYZCT" SizeZ="4" SizeC="2" SizeT="1"><TiffData IFD="0"/>'
    >>> xml += '<TiffData IFD="1" FirstC="1" PlaneCount="2"/></Pixels>'
    >>> sorted(_planes(parse_xml(xml)))
    [0, 4, 5]
    """
    order = pixels.get("DimensionOrder", "")[2:]
    lengths = {axis: int(pixels.get(f"Size{axis}", 1)) for axis in order}
    first = next(children(pixels, "Channel"), None)
    samples = 1 if first is None else count_samples(first)
    if "C" in lengths:
        lengths["C"] = max(1, lengths["C"] // samples)  # a page contains all samples of a channel
    planes: set[int] = set()
    for tiff_data in children(pixels, "TiffData"):
        start = {axis: int(tiff_data.get(f"First{axis}", 0)) for axis in order}
        # When ImageJ crops an image, it does not remove the elements of planes outside: they do not count.
        if any(start[axis] >= lengths[axis] for axis in order):
            continue
        number, step = 0, 1
        for axis in order:
            number += start[axis] * step
            step *= lengths[axis]
        count = int(
            tiff_data.get("PlaneCount", tiff_data.get("NumPlanes", 1 if "IFD" in tiff_data.attrib else 0))
        )
        planes.update(range(number, min(number + count, step)))
    return planes
