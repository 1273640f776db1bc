"""The plan of an image that consists of parts of others, which writes its arrays, documents and computed levels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.nodes.labels import LabelImage
from lamella.nodes.position import Position
from lamella.ops.plates.composed_arrays import composed_units
from lamella.ops.plates.map_records import without_records
from lamella.spec.labels import LabelsMeta
from lamella.store.arrays import StoredArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.nodes.store_handle import NodePath
    from lamella.ops.execution import Workers
    from lamella.ops.jobs.units import Unit
    from lamella.ops.plates.composed_arrays import Piece
    from lamella.spec.images import ImagesMeta
    from lamella.store.array_meta import ArrayMeta
    from lamella.types import JSONObject

_TIMES = ("times", "xarray_times")
"""What is recorded of single timepoints, by their index."""


@dataclass(frozen=True)
class ComposedArray:
    """An array of a new image: its metadata, and its pieces; no pieces if its pixels are computed later."""

    meta: ArrayMeta
    pieces: tuple[Piece, ...]


@dataclass
class ImagePlan:
    """The files of a new image that are not copies, and how to write them."""

    arrays: dict[str, ComposedArray] = field(default_factory=dict)
    """Arrays by their path in the image."""
    documents: dict[str, ImagesMeta] = field(default_factory=dict)
    """Metadata of the image (path "") and of its label images, by path."""
    dropped: set[str] = field(default_factory=set)
    """Paths of the source's arrays that the new image lacks."""
    computed: dict[str, str] = field(default_factory=dict)
    """Paths of the image and label images whose lower levels are computed again, with the method."""
    labels: dict[str, LabelImage] = field(default_factory=dict)
    """Names and sources of label images that come from other parts than the first."""
    times_change: bool = False
    """Whether records about single timepoints of the source do not fit the new image."""

    @property
    def left_out(self) -> set[str]:
        """Paths of the arrays that are not copied file by file."""
        return {*self.arrays, *self.dropped}

    def new_arrays(self, target: NodePath, resumed: bool) -> Iterator[Unit]:
        """Create the arrays, and yield the units that write their pixels."""
        documents = target.store_handle.documents
        for path, array in self.arrays.items():
            array_path = target.child(path)
            documents.put_array(array_path.path, array.meta)
            if array.pieces:
                stored = StoredArray(documents, array_path.path)
                yield from composed_units(array.pieces, stored, array.meta, resumed=resumed)

    def write_documents(self, target: NodePath) -> None:
        """Write the metadata of the image and its label images, without records about pixels of the source."""
        version, documents = target.store_handle.version, target.store_handle.documents
        for path, meta in self.documents.items():

            def edit(attributes: JSONObject, meta: ImagesMeta = meta) -> JSONObject:
                cleaned = without_records(attributes)
                return version.dump(meta, _without_times(cleaned) if self.times_change else cleaned)

            documents.edit_group(target.child(path).path, edit)
        if self.labels:
            group = target.child("labels").path
            listed = (
                version.load(LabelsMeta, documents.group(group)) if documents.kind(group) == "group" else None
            )
            names = [*(listed.labels if listed is not None else []), *self.labels]
            documents.put_group(group, version.dump(LabelsMeta(labels=list(dict.fromkeys(names))), {}))

    def compute_levels(self, target: NodePath, workers: Workers) -> None:
        """Compute the lower levels that could not be cut from stored levels."""
        for path, method in self.computed.items():
            kind = LabelImage if path else Position
            kind(target.child(path)).compute_pyramid(
                method=method, jobs=workers.jobs, executor=workers.executor
            )


def _without_times(attributes: JSONObject) -> JSONObject:
    own = attributes.get("lamella")
    if not isinstance(own, dict):
        return attributes
    return {**attributes, "lamella": {key: value for key, value in own.items() if key not in _TIMES}}
