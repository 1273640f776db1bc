"""Read BigDataViewer data, an XML beside HDF5, with the library ``h5py``.

The XML lists view setups, each with one channel of one tile. Setups that differ in their channel only form one image:
there is one for each tile, angle and illumination.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.descriptions import describe_image, missing_note
from lamella.adapters.hdf5 import HDF5File
from lamella.errors import MetadataError, SourceError, clause
from lamella.ops.conversion.handles import HandleReader
from lamella.ops.conversion.reader import OriginalMetadata, list_names
from lamella.ops.conversion.source import SourceChannel
from lamella.spec.ome_xml import parse_xml
from lamella.spec.units import unit_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array

_SETUPS = "SequenceDescription/ViewSetups/ViewSetup"
_VIEW_ATTRIBUTES = ("tile", "angle", "illumination")
"""Attributes of a setup whose values together (`_Setup.view`) make an image of their own: (0, 90, 0)."""


class BdvReader(HandleReader):
    """BigDataViewer; HDF5 serves one thread at a time."""

    name = "bdv"
    title = "BigDataViewer XML with HDF5"
    extra = "hdf5"
    libraries = ("h5py",)
    handles = 1
    index_root, index_name = b"<SpimData", "*.xml"

    def may_claim_file(self, name: str) -> bool:
        return name.lower().endswith((".xml", ".h5", ".hdf5"))

    def claims(self, path: str) -> bool:
        """Return whether a file is the XML of a data set, the HDF5 file beside one, or their folder."""
        index = _index_of(path)
        if index is None or not os.path.isfile(index):
            return False
        try:
            with open(index, "rb") as file:
                return self.index_root in file.read(1024)
        except OSError as error:
            raise SourceError(f"{index} cannot be read: {error.strerror or error}.") from error

    def open_handle(self, path: str) -> Any:
        return _File(_index_of(path) or path)

    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        return [handle.describe(image) for image in handle.images]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        return [OriginalMetadata("bdv.xml", handle.text)]

    def read_plane(self, handle: Any, image: int, index: tuple[int, ...], rows: slice) -> Array | None:
        setups = handle.images[image]
        time, channel, z = index
        name = f"t{handle.times[time]:05d}/s{setups[channel].number:02d}/0/cells"
        plane: Array | None = handle.hdf5.read_plane(name, z, rows, setups[0].size[0])
        # BigDataViewer stores pixels of type uint16 as int16.
        return plane if plane is None or plane.dtype != np.int16 else plane.view(np.uint16)


def _index_of(path: str) -> str | None:
    """Return the path of the XML for itself, for the HDF5 file beside it, or for their folder."""
    if os.path.isdir(path):
        names = [name for name in list_names(path) if name.lower().endswith(".xml")]
        return os.path.join(path, names[0]) if len(names) == 1 else None
    stem, ending = os.path.splitext(path)
    if ending.lower() == ".xml":
        return path
    return f"{stem}.xml" if ending.lower() in (".h5", ".hdf5") else None


@dataclass(frozen=True)
class _Setup:
    """A view setup: one channel of one tile. Sizes are x, y, z."""

    number: int
    name: str
    channel: int
    view: tuple[int, ...]
    size: tuple[int, ...]
    voxel: tuple[float, ...]
    unit: str | None


_Image = list[_Setup]
"""The channels of an image."""


class _File:
    """The XML, and its open HDF5 file."""

    def __init__(self, index: str) -> None:
        self.index = index
        with open(index, encoding="utf-8") as file:
            self.text = file.read()
        try:
            self.root = parse_xml(self.text.encode())
        except MetadataError as error:
            raise SourceError(f"{index} is damaged or incomplete: {clause(error)}.") from error
        loader = self.root.find("SequenceDescription/ImageLoader")
        name = None if loader is None else loader.findtext("hdf5")
        if loader is None or name is None:
            kind = "none" if loader is None else loader.get("format", "none")
            raise SourceError(f"{index} names the image loader {kind}: only bdv.hdf5 can be read.")
        base = self.root.findtext("BasePath") or "."
        self.path = os.path.normpath(os.path.join(os.path.dirname(index), base, name))
        if not os.path.isfile(self.path):
            raise SourceError(
                f"{index} names the file {self.path}, which does not exist. Put both into one folder."
            )
        self.times = _times(self.root, index)
        self.images = self._group_setups()
        self.hdf5 = HDF5File(self.path)

    def close(self) -> None:
        self.hdf5.close()

    def _group_setups(self) -> list[_Image]:
        images: dict[tuple[tuple[int, ...], tuple[int, ...]], _Image] = {}
        for element in self.root.findall(_SETUPS):
            setup = _read_setup(element, self.index)
            images.setdefault((setup.view, setup.size), []).append(setup)
        return [images[key] for key in sorted(images)]

    def describe(self, image: _Image) -> ImageDescription:
        first = image[0]
        names = [[f"t{time:05d}/s{setup.number:02d}/0/cells" for setup in image] for time in self.times]
        volumes = [self.hdf5.root[name] for frame in names for name in frame if name in self.hdf5.root]
        if not volumes:
            raise SourceError(f"{self.path} has no pixels of the view setup {first.number}.")
        shape = tuple(reversed(first.size))
        if any(volume.shape != shape for volume in volumes):
            raise SourceError(
                f"{self.path} is damaged: its index states the size {shape}, its pixels are {volumes[0].shape}."
            )
        missing = len(self.times) * len(image) - len(volumes)
        stage, notes = _stage(self.root, self.times[0], first)
        dtype = volumes[0].dtype.newbyteorder("=")
        return describe_image(
            self.index,
            (len(self.times), len(image), *shape),
            np.uint16 if dtype == np.int16 else dtype,
            files=(self.index, self.path),
            scale=dict(zip("xyz", first.voxel, strict=False)),
            units=dict.fromkeys("xyz", first.unit),
            channels=tuple(SourceChannel(self._name("channel", setup.channel)) for setup in image),
            notes=(*notes, *missing_note(missing, "volume")),
            title=self._title(first) if len(self.images) > 1 else first.name,
            stage=stage,
            band_rows=volumes[0].chunks[1] if volumes[0].chunks else 1,
        )

    def _title(self, setup: _Setup) -> str:
        """Return the attributes in which the images differ: "tile 0, angle 90"."""
        views = [image[0].view for image in self.images]
        return ", ".join(
            f"{attribute} {self._name(attribute, setup.view[position])}"
            for position, attribute in enumerate(_VIEW_ATTRIBUTES)
            if len({view[position] for view in views}) > 1
        )

    def _name(self, attribute: str, number: int) -> str:
        for element in self.root.findall(f"SequenceDescription/ViewSetups/Attributes[@name='{attribute}']/*"):
            if element.findtext("id") == str(number):
                return element.findtext("name") or str(number)
        return str(number)


def _read_setup(element: Element, index: str) -> _Setup:
    def number(name: str) -> int:
        return int(element.findtext(f"attributes/{name}") or 0)

    try:
        size = tuple(int(word) for word in (element.findtext("size") or "").split())
        voxel = tuple(float(word) for word in (element.findtext("voxelSize/size") or "").split())
        identifier = int(element.findtext("id") or "")
    except ValueError as error:
        raise SourceError(
            f"{index} is damaged: a view setup has text where a number is expected ({error})."
        ) from error
    if len(size) != 3:
        raise SourceError(f"{index} has a view setup without the size of its image.")
    return _Setup(
        number=identifier,
        name=element.findtext("name") or "",
        channel=number("channel"),
        view=tuple(number(name) for name in _VIEW_ATTRIBUTES),
        size=size,
        voxel=voxel,
        unit=unit_name(element.findtext("voxelSize/unit") or ""),
    )


def _times(root: Element, index: str) -> list[int]:
    element = root.find("SequenceDescription/Timepoints")
    kind = None if element is None else element.get("type")
    if element is not None and kind == "range":
        return list(range(int(element.findtext("first") or 0), int(element.findtext("last") or 0) + 1))
    text = "" if element is None else element.findtext("integerpattern") or element.findtext("integers") or ""
    numbers: list[int] = []
    for word in text.replace(",", " ").split():
        span, _, step = word.partition(":")
        first, _, last = span.partition("-")
        numbers += range(int(first), int(last or first) + 1, int(step or 1))
    if not numbers:
        raise SourceError(f"{index} has time points of the type {kind}, which cannot be read.")
    return numbers


def _stage(root: Element, time: int, setup: _Setup) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the position of the first voxel from the registration of a view, or a note if it is more than a shift."""
    path = f"ViewRegistrations/ViewRegistration[@timepoint='{time}'][@setup='{setup.number}']/ViewTransform/affine"
    matrix = np.eye(4)
    for element in root.findall(path):  # the last transformation of the list is applied first
        matrix = matrix @ np.vstack(
            [np.array((element.text or "").split(), float).reshape(3, 4), [0, 0, 0, 1]]
        )
    steps = np.diag(matrix)[:3]
    voxel = np.array(setup.voxel)
    if len(voxel) != 3 or not np.allclose(matrix[:3, :3], np.diag(steps)):
        return {}, ("its registration turns or shears it, and was not used",)
    if np.allclose(steps, 1):
        offset = matrix[:3, 3] * voxel  # the world is in voxels
    elif np.allclose(steps / steps[0], voxel / voxel[0]):
        offset = matrix[:3, 3] * voxel / steps
    else:
        return {}, ("its registration scales it, and was not used",)
    return dict(zip("xyz", map(float, offset), strict=True)) if offset.any() else {}, ()
