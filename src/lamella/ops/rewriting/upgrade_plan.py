"""Convert each node of a store to another version of OME-NGFF."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lamella.errors import MetadataError
from lamella.nodes.reporting import check_copied
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.tables import is_in_tables
from lamella.spec.images import ImagesMeta
from lamella.spec.versions import convert_attributes, detect
from lamella.store.documents import array_like
from lamella.store.keys import join

if TYPE_CHECKING:
    from lamella.spec.versions import SpecVersion
    from lamella.store.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.documents import Documents
    from lamella.types import JSONObject

_XARRAY_DIMENSIONS = "_ARRAY_DIMENSIONS"
"""Attribute of the dimension names of Zarr v2 arrays for xarray."""


class UpgradePlan:
    """The nodes of a store in another version; ``lossy`` leaves out what the version does not support."""

    def __init__(
        self, documents: Documents, groups: list[str], version: SpecVersion, *, lossy: bool = False
    ) -> None:
        self.version = version
        self.zarr_format: ZarrFormat = version.zarr_format
        self.lossy = lossy
        self.notes: list[str] = []
        self._old_format = documents.format
        self._documents = documents
        self._store_handle: StoreHandle | None = None  # to report each broken rule once
        self._names: dict[str, tuple[str, ...]] = {}
        self._ome: set[str] = set()
        for path in groups:
            if is_in_tables(documents, path):
                continue
            attributes = documents.group(path)
            if has_ome(detect(self._old_format, attributes), attributes):
                self._ome.add(path)
            self._note_axes(path, attributes)

    def _note_axes(self, path: str, attributes: JSONObject) -> None:
        """Store the axes of the arrays of an image; damaged documents raise when they are converted."""
        try:
            images = detect(self._old_format, attributes).load(ImagesMeta, attributes)
        except MetadataError:
            return
        for scales in images.multiscales if images is not None else ():
            names = tuple(axis.name for axis in scales.axes)
            for level in scales.get_dataset_paths():
                self._names[join(path, level.strip("/"))] = names

    def group(self, path: str, attributes: JSONObject) -> JSONObject:
        """Convert the OME attributes of a group from the version that they state; other attributes stay."""
        if is_in_tables(self._documents, path):
            return attributes
        source = detect(self._old_format, attributes)
        if not has_ome(source, attributes):
            return attributes
        converted = self._converted(source, attributes)
        if self._store_handle is None:
            self._store_handle = StoreHandle(self._documents, source)
        check_copied(NodePath(self._store_handle, path), attributes, source)
        return converted

    def _converted(self, source: SpecVersion, attributes: JSONObject) -> JSONObject:
        if source is not self.version:
            return convert_attributes(attributes, source, self.version, lossy=self.lossy)
        if self.zarr_format == 2 or source.stated_version(attributes) == source.name:
            return attributes
        # A draft of the version, or one that is not stated (ST-07).
        return source.converted(attributes, source, lossy=self.lossy)

    def array(self, path: str, meta: ArrayMeta) -> ArrayMeta:
        """Describe an array in the version: in its Zarr format, with the names of the axes (ST-04, ST-05)."""
        names = self._names.get(path, ())
        listed = len(names) == meta.ndim and bool(names)
        if meta.zarr_format == self.zarr_format:
            if meta.zarr_format == 3 and listed and not any(meta.dimension_names or ()):
                return replace(meta, dimension_names=names)
            if meta.zarr_format == 2 and listed and meta.separator != "/":
                document = {**meta.document, "dimension_separator": "/"}
                return replace(meta, document=document, separator="/")
            return meta
        attributes = meta.attributes
        if self.zarr_format == 2 and not listed and meta.dimension_names and all(meta.dimension_names):
            attributes = {_XARRAY_DIMENSIONS: list(meta.dimension_names)} | attributes
        return array_like(
            meta,
            zarr_format=self.zarr_format,
            dimension_names=names if listed else _xarray_names(meta),
            attributes=attributes,
        )

    def is_level(self, path: str) -> bool:
        """Return whether an image lists an array."""
        return path in self._names

    def is_ome(self, path: str) -> bool:
        """Return whether a group has metadata of OME-Zarr."""
        return path in self._ome


def has_ome(version: SpecVersion, attributes: JSONObject) -> bool:
    """Return whether attributes of a group include metadata of OME-Zarr."""
    if "ome" in attributes:
        return True
    return any(mark in attributes for part in version.parts.values() for mark in part.marks)


def _xarray_names(meta: ArrayMeta) -> list[str] | None:
    """Return the dimension names that xarray stores in the attributes; None without fitting names."""
    stored = meta.attributes.get(_XARRAY_DIMENSIONS)
    if not isinstance(stored, list) or len(stored) != meta.ndim:
        return None
    return stored if all(isinstance(name, str) for name in stored) else None
