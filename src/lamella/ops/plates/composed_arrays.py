"""Write an image that consists of parts of others; files are copied where the encodings are equal.

A new array consists of pieces; each piece is a region of a stored array. Example: channels 0 and 2 of an image are two
pieces of a new array with two channels. A unit writes each of its files once and completely, so that a kill leaves
complete files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import LamellaError, clause
from lamella.nodes.labels import LabelImage
from lamella.nodes.position import Position
from lamella.nodes.tables import Tables
from lamella.ops.jobs.units import Files, TargetUnit, files_of_region
from lamella.ops.plates.map_records import without_records
from lamella.ops.pyramids.level_assembler import write_by_chunks
from lamella.ops.regions import grid_index, overlap, region_shape, regions, relative_region
from lamella.ops.rewriting.arrays import UNIT_BYTES, has_same_encoding, rewritten_shape
from lamella.ops.scratch import scratch
from lamella.spec.channels import ACQUISITION_SETTINGS, COLOR_SAMPLES
from lamella.spec.frame_times import WRITTEN_TIMES, with_cut_times
from lamella.spec.labels import LabelsMeta
from lamella.spec.own_key import STAGE, own_record, with_own_record, without_own_records
from lamella.spec.tables import ROI_TYPES
from lamella.store.keys import join
from lamella.store.pixels import chunk_grid
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.stored_files import shows_whole
from lamella.store.transfer import copy_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lamella.nodes.store_handle import NodePath
    from lamella.ops.execution import Workers
    from lamella.ops.jobs.units import Unit
    from lamella.ops.regions import Region
    from lamella.spec.images import ImagesMeta
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import JSON, Array, JSONObject


@dataclass(frozen=True)
class Piece:
    """A region of a new array, and the stored array with its pixels."""

    source: StoredArray
    region: Region
    """The region in the new array."""
    offset: tuple[int, ...]
    """Index in the source minus index in the new array, per axis."""

    def in_source(self, region: Region) -> Region:
        """Return a region of the new array in the coordinates of the source."""
        return tuple(
            slice(span.start + offset, span.stop + offset)
            for span, offset in zip(region, self.offset, strict=True)
        )

    def overlap(self, region: Region) -> Region | None:
        """Return the intersection of a region with the piece; None if it is empty."""
        common = overlap(region, self.region)
        return None if 0 in region_shape(common) else common

    def encoded_file(self, region: Region, target: ArrayMeta) -> str | None:
        """Return the key of the source's file that has exactly the pixels of this region, encoded as in the new array.

        Return None if there is no such file.
        """
        meta = self.source.meta
        if (
            self.overlap(region) != region
            or not has_same_encoding(meta, target)
            or not _same_fill(meta, target)
        ):
            return None
        region_in_source = self.in_source(region)
        file_index = grid_index(region_in_source, meta.files)
        return (
            join(self.source.path, meta.chunk_key(file_index))
            if meta.file_region(file_index) == region_in_source
            else None
        )

    def has_pixels(self, region: Region, target: ArrayMeta) -> bool:
        """Return whether pixels of a region must be written: the source stores some, or has another fill value."""
        common = self.overlap(region)
        if common is None:
            return False
        storage = self.source.documents.storage
        keys = files_of_region(self.source, self.in_source(common))
        return not _same_fill(self.source.meta, target) or any(storage.size(key) is not None for key in keys)


def _same_fill(meta: ArrayMeta, other: ArrayMeta) -> bool:
    nan_is_equal = meta.dtype.kind in "fc"
    return bool(np.array_equal(meta.fill_value, other.fill_value, equal_nan=nan_is_equal))


@dataclass(frozen=True)
class ComposedUnit(TargetUnit):
    """A region of a new array to write, aligned to its files."""

    pieces: tuple[Piece, ...]
    target: StoredArray
    region: Region
    resumed: bool = False

    def reads(self) -> Files:
        """Return the files of the sources."""
        files_by_piece = []
        for piece in self.pieces:
            common = piece.overlap(self.region)
            if common is not None:
                keys = files_of_region(piece.source, piece.in_source(common))
                files_by_piece.append(Files(piece.source.documents.storage, keys))
        first, *other_files = files_by_piece
        return Files(first.storage, first.keys, tuple(other_files))

    def do(self) -> None:
        """Copy the files that can be copied, and write the others that have pixels."""
        meta = self.target.meta
        file_regions = [
            region
            for file_index in chunk_grid.files_of(meta, self.region)
            for region in [meta.file_region(file_index)]
            if not self._copy(region, join(self.target.path, meta.chunk_key(file_index)))
        ]
        if not file_regions:
            return
        if self.size > UNIT_BYTES:
            for region in file_regions:
                write_by_chunks(self.target, region, self._read)
            return
        block = scratch(region_shape(self.region), meta.dtype)
        self._read(self.region, block)
        for region in file_regions:
            self.target.write(region, block[relative_region(region, self.region)])

    def _copy(self, region: Region, key: str) -> bool:
        """Copy the file of a region, or skip a file without pixels; return False if the region must be encoded."""
        meta, storage = self.target.meta, self.target.documents.storage
        for piece in self.pieces:
            source_key = piece.encoded_file(region, meta)
            if source_key is not None:
                is_whole = partial(shows_whole, piece.source.meta)
                copied = copy_file(piece.source.documents.storage, source_key, storage, key, is_whole)
                if copied is None and self.resumed:
                    storage.delete(key)
                return True
        if any(piece.has_pixels(region, meta) for piece in self.pieces):
            return False
        if self.resumed:
            storage.delete(key)
        return True

    def _read(self, region: Region, block: Array) -> None:
        for piece in self.pieces:
            common = piece.overlap(region)
            if common is not None:
                piece.source.read(piece.in_source(common), out=block[relative_region(common, region)])


def composed_units(
    pieces: Sequence[Piece], target: StoredArray, meta: ArrayMeta, *, resumed: bool = False
) -> Iterator[ComposedUnit]:
    """Yield the units that write an array of the metadata ``meta`` from its pieces."""
    if 0 in meta.shape:
        return
    for region in regions(meta.shape, rewritten_shape(pieces[0].source.meta, meta)):
        overlapping = tuple(piece for piece in pieces if piece.overlap(region) is not None)
        yield ComposedUnit(overlapping, target, region, resumed)


@dataclass(frozen=True)
class ComposedArray:
    """An array of a new image: its metadata, and its pieces; no pieces if its pixels are computed later."""

    meta: ArrayMeta
    pieces: tuple[Piece, ...]


@dataclass
class ImagePlan:
    """The arrays and documents of a new image that are not copied file by file, and how to write them."""

    arrays: dict[str, ComposedArray] = field(default_factory=dict)
    """Arrays by their path in the image."""
    documents: dict[str, ImagesMeta] = field(default_factory=dict)
    """Metadata of the image (path "") and of its label images, by path."""
    dropped: set[str] = field(default_factory=set)
    """Paths of the source's arrays that the new image lacks."""
    computed: dict[str, str] = field(default_factory=dict)
    """Paths of the image and label images whose lower levels are computed again, with the method."""
    labels: dict[str, LabelImage] = field(default_factory=dict)
    """Label images of other sources than the first, by name."""
    acquisition_settings: list[JSON] = field(default_factory=list)
    """Wavelengths and exposure of each channel, as `convert` stores them; empty if none are known."""
    channels_change: bool = False
    """Whether the channels are not all those of the source: a colour image then becomes one of separate channels."""
    region: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Start and stop of the new image in voxels of level 0 of the source, by axis."""
    offset: Mapping[str, float] = field(default_factory=dict)
    """Position of the first voxel of the new image relative to that of the source, by axis."""

    @property
    def left_out(self) -> set[str]:
        """Paths of the source's arrays that are not copied file by file."""
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
        """Write the metadata of the image and its label images, without records that describe pixels of the source."""
        version, documents = target.store_handle.version, target.store_handle.documents
        for path, meta in self.documents.items():

            def edit(attributes: JSONObject, path: str = path, meta: ImagesMeta = meta) -> JSONObject:
                return version.dump(meta, self._records_of_copy(attributes, is_image=not path))

            documents.edit_group(target.child(path).path, edit)
        if self.labels:
            group = target.child("labels").path
            is_group = documents.kind(group, confirm_missing=True) == "group"
            copied = version.load(LabelsMeta, documents.group(group)) if is_group else None
            names = [*(copied.labels if copied is not None else []), *self.labels]
            documents.put_group(group, version.dump(LabelsMeta(labels=list(dict.fromkeys(names))), {}))

    def _records_of_copy(self, attributes: JSONObject, *, is_image: bool) -> JSONObject:
        """Return the attributes of an image or label image, with the records that are true of its new pixels."""
        if "t" in self.region:
            attributes = without_own_records(attributes, (WRITTEN_TIMES,))
            attributes = with_cut_times(attributes, *self.region["t"])
        attributes = without_records(attributes)
        if not is_image:
            return attributes
        attributes = with_own_record(attributes, ACQUISITION_SETTINGS, self.acquisition_settings or None)
        attributes = self._with_stage(attributes)
        return without_own_records(attributes, (COLOR_SAMPLES,)) if self.channels_change else attributes

    def _with_stage(self, attributes: JSONObject) -> JSONObject:
        """Add the offset of the new image to the position of its first voxel on the stage, which `convert` stores."""
        stage = own_record(attributes, STAGE)
        if not isinstance(stage, dict) or not self.offset:
            return attributes
        moved = {
            axis: position + self.offset.get(axis, 0.0) if isinstance(position, int | float) else position
            for axis, position in stage.items()
        }
        return with_own_record(attributes, STAGE, moved)

    def cut_tables(self, source: Position, target: NodePath) -> list[str]:
        """Cut copied tables of regions and labels as the image; return notes on tables that could not be."""
        if not self.region:
            return []
        from lamella.ops.tables.labels import rows_of_labels
        from lamella.ops.tables.rois import cut_rois

        notes = []
        labels = source.labels
        for name in source.tables:
            try:
                info = source.tables.info(name)
                label_name = info.label if info.label in labels else None
                if info.type not in ROI_TYPES and label_name is None:
                    continue
                table = source.tables[name]
                if info.type in ROI_TYPES:
                    table = cut_rois(source, table, self.region)
                if label_name is not None:
                    label = LabelImage(target.child(join("labels", label_name)))
                    table = rows_of_labels(table, label, self.region.get("t", (0, 0))[0])
                Tables(target.child("tables"), False).write(name, table)
            except LamellaError as error:
                notes.append(
                    f"The copy of the table {name!r} of {source.node_path} did not change, although the image was cut, "
                    f"so it lists labels or regions of the whole image: {clause(error)}."
                )
        return notes

    def compute_levels(self, target: NodePath, workers: Workers) -> None:
        """Compute the lower levels that could not be cut from stored levels."""
        for path, method in self.computed.items():
            node_class = LabelImage if path else Position
            node_class(target.child(path)).compute_pyramid(
                method=method, jobs=workers.jobs, executor=workers.executor
            )
