"""Join the label images that a function of `Plate.map` computes block by block.

The labels of each block are stored in a hidden file, with one pixel beyond each side. Where two blocks have labelled
the same pixels, a patch of each is one object if their overlap is at least half of the smaller patch: patches of 10 and
30 pixels that share 5 pixels or more. Then the label image is written with unique ids from 1, and the files are
deleted.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.ops.jobs.units import Files, state_of
from lamella.ops.plates.map_records import LABELS, PositionRecord, begin_result
from lamella.ops.plates.map_units import BlockUnit, Outcome, discard
from lamella.ops.regions import expand_index, grid_index, overlap, region_shape, regions, relative_region
from lamella.store.keys import join, private_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.plates.map_blocks import BlockPlan
    from lamella.ops.plates.map_units import MappedFunction
    from lamella.ops.regions import Region
    from lamella.store.storage import Storage
    from lamella.types import Shape

BlockIndex = tuple[int, ...]
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class BlockFiles:
    """The hidden files of the blocks of one label image."""

    storage: Storage
    folder: str
    plan: BlockPlan
    block_shape: Shape

    @classmethod
    def of(cls, position: Position, name: str, source: ImageArray, plan: BlockPlan) -> BlockFiles:
        """Return the files for a label image of a position."""
        block_shape = tuple(
            1 if axis in plan.dropped else length for axis, length in enumerate(source.write_unit)
        )
        folder = join(position.path, private_name(f"map-{name.removeprefix(LABELS)}"))
        return cls(position.documents.storage, folder, plan, block_shape)

    def regions(self) -> Iterator[Region]:
        """Yield the regions of the blocks, in the order of their indices."""
        return regions(self.plan.result_shape, self.block_shape)

    def index(self, region: Region) -> BlockIndex:
        """Return the index of a block in the grid."""
        return grid_index(region, self.block_shape)

    def region(self, index: BlockIndex) -> Region:
        """Return the region of a block."""
        return tuple(
            slice(number * size, min((number + 1) * size, length))
            for number, size, length in zip(index, self.block_shape, self.plan.result_shape, strict=True)
        )

    def stored_region(self, region: Region) -> Region:
        """Return the region whose labels are stored for a block: one pixel beyond each side along axes with a halo."""
        return tuple(
            slice(max(0, span.start - 1), min(length, span.stop + 1)) if halo else span
            for span, length, halo in zip(region, self.plan.result_shape, self.plan.halo, strict=True)
        )

    def key(self, index: BlockIndex) -> str:
        """Return the key of the file of a block."""
        return join(self.folder, ".".join(map(str, index)))

    def write(self, index: BlockIndex, labels: Array) -> None:
        """Store the labels of a block."""
        buffer = io.BytesIO()
        np.save(buffer, labels, allow_pickle=False)
        self.storage.write(self.key(index), zlib.compress(buffer.getvalue(), 1))

    def read(self, index: BlockIndex) -> Array:
        """Return the labels of a block."""
        data = self.storage.read(self.key(index))
        if data is None:
            raise MetadataError(
                f"{self.storage.where(self.key(index))} was deleted during a map. Run it again."
            )
        labels: Array = np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False)
        return labels


@dataclass(frozen=True)
class LabelUnit(BlockUnit):
    """A block that the function labels; its labels are stored in a file of its own."""

    files: BlockFiles

    def _write(self, result: Any, region_read: Region) -> None:
        labels = self.plan.with_all_axes(result, self.region)
        if labels.dtype.kind not in "biu":
            raise InvalidArgumentError(
                f"The function returned an array of {labels.dtype}, not one of label ids, which are integers."
            )
        with_borders = labels[self.plan.relative_region(self.files.stored_region(self.region), region_read)]
        of_block = labels[self.plan.relative_region(self.region, region_read)]
        self.files.write(self.files.index(self.region), numbered(with_borders, of_block))

    def _result_state(self) -> str | None:
        key = self.files.key(self.files.index(self.region))
        return (
            state_of(Files(self.files.storage, (key,))) if self.files.storage.size(key) is not None else None
        )


@dataclass(frozen=True)
class StitchUnit:
    """A position whose blocks are all labelled."""

    function: MappedFunction
    path: str
    target: Position
    files: BlockFiles
    record: PositionRecord

    def do(self) -> Outcome:
        """Join the labels, write the label image, and delete the files of the blocks."""
        name = self.function.names[0]

        def write_labels() -> None:
            image = StitchedLabels(self.files)
            begin_result(self.target, name)
            discard(self.target, name)
            self.target.labels.create(name.removeprefix(LABELS), image)
            self.record.finish()
            self.files.storage.delete(self.files.folder)

        return Outcome(self.path, failure=self.function.call(write_labels)[1])


def numbered(with_borders: Array, of_block: Array) -> Array:
    """Return the labels of a block and of one pixel beyond it numbered 1, 2, ...; labels only beyond it become 0.

    >>> numbered(np.array([9, 0, 7, 7]), np.array([7, 7])).tolist()
    [0, 0, 1, 1]
    """
    ids = np.unique(of_block)
    ids = ids[ids != 0]
    if not ids.size:
        return np.zeros(with_borders.shape, np.uint32)
    indices = np.minimum(np.searchsorted(ids, with_borders), ids.size - 1)
    return np.where(ids[indices] == with_borders, indices + 1, 0).astype(np.uint32)


class StitchedLabels:
    """The label image of all blocks: an array that is read by region."""

    def __init__(self, files: BlockFiles) -> None:
        self._files = files
        plan = files.plan
        self._axes = [axis for axis in range(len(plan.shape)) if axis not in plan.dropped]
        self.shape = tuple(plan.result_shape[axis] for axis in self._axes)
        self.ndim = len(self.shape)
        self._offsets, self._ids = _joined_ids(files)
        self.dtype = np.dtype(np.uint32 if self._ids.size <= np.iinfo(np.uint32).max else np.uint64)

    def __getitem__(self, index: Any) -> Array:
        """Return the ids of a region."""
        region = self._region(index)
        out = np.zeros(region_shape(region), self.dtype)
        for block in self._blocks(region):
            block_region = self._files.region(block)
            common = overlap(region, block_region)
            stored_region = self._files.stored_region(block_region)
            labels = self._files.read(block)[relative_region(common, stored_region)]
            indices = self._offsets[block] + labels.astype(np.int64)
            out[relative_region(common, region)] = np.where(labels > 0, self._ids[indices], 0)
        return out.reshape(tuple(out.shape[axis] for axis in self._axes))

    def _region(self, index: Any) -> Region:
        spans = iter(expand_index(index, self.ndim))
        plan = self._files.plan
        return tuple(
            slice(0, 1) if axis in plan.dropped else slice(*next(spans).indices(length)[:2])
            for axis, length in enumerate(plan.result_shape)
        )

    def _blocks(self, region: Region) -> Iterator[BlockIndex]:
        return product(
            *(
                range(span.start // size, -(-span.stop // size))
                for span, size in zip(region, self._files.block_shape, strict=True)
            )
        )


def _joined_ids(files: BlockFiles) -> tuple[dict[BlockIndex, int], np.ndarray[Any, Any]]:
    """Return offsets of blocks, and final ids: label 3 of a block becomes ``ids[offset + 3]``, background ids[0]."""
    offsets: dict[BlockIndex, int] = {}
    # The labels that the first of two neighbours has in their common pixels, until the second is read.
    labels_of_first: dict[tuple[BlockIndex, BlockIndex], Array] = {}
    pairs: list[tuple[int, int]] = []
    count = 0
    axis_steps = [range(-1, 2) if halo else range(1) for halo in files.plan.halo]
    neighbour_steps = [step for step in product(*axis_steps) if any(step)]
    for region in files.regions():
        block = files.index(region)
        labels = files.read(block)
        offsets[block] = count
        count += int(labels.max(initial=0))
        for step in neighbour_steps:
            neighbour = tuple(number + shift for number, shift in zip(block, step, strict=True))
            if any(
                number < 0 or number * size >= length
                for number, size, length in zip(
                    neighbour, files.block_shape, files.plan.result_shape, strict=True
                )
            ):
                continue
            stored_region = files.stored_region(region)
            shared = overlap(stored_region, files.stored_region(files.region(neighbour)))
            shared_labels = labels[relative_region(shared, stored_region)]
            if neighbour > block:
                labels_of_first[block, neighbour] = shared_labels.copy()
                continue
            for label, other in same_objects(shared_labels, labels_of_first.pop((neighbour, block))):
                pairs.append((offsets[block] + label, offsets[neighbour] + other))
    return offsets, _final_ids(count, pairs)


def same_objects(first: Array, second: Array) -> list[tuple[int, int]]:
    """Return the pairs of labels that are one object, in two labellings of the same pixels.

    A connected patch of each belongs to one object if their overlap is at least half of the smaller patch.

    >>> same_objects(np.array([[1, 1, 1, 0, 2]]), np.array([[0, 5, 5, 0, 6]]))
    [(1, 5), (2, 6)]
    """
    labelled = (first > 0) & (second > 0)
    if not labelled.any():
        return []
    patches, other_patches = connected_patches(first), connected_patches(second)
    sizes, other_sizes = np.bincount(patches.ravel()), np.bincount(other_patches.ravel())
    joint = np.stack([values[labelled] for values in (patches, other_patches, first, second)])
    overlaps, counts = np.unique(joint, axis=1, return_counts=True)
    smaller = np.minimum(sizes[overlaps[0]], other_sizes[overlaps[1]])
    pairs = overlaps[2:, 2 * counts >= smaller]
    return sorted({(int(label), int(other)) for label, other in pairs.T})


def connected_patches(labels: Array) -> Array:
    """Return a number for each patch of equal labels whose pixels touch by their sides; 0 is the background.

    >>> connected_patches(np.array([[1, 1, 0, 1]])).tolist()
    [[1, 1, 0, 4]]
    """
    numbers = np.arange(labels.size, dtype=np.int64).reshape(labels.shape)
    edges = []
    for axis in range(labels.ndim):
        low = tuple(slice(None, -1) if index == axis else slice(None) for index in range(labels.ndim))
        high = tuple(slice(1, None) if index == axis else slice(None) for index in range(labels.ndim))
        same = (labels[low] == labels[high]) & (labels[low] > 0)
        edges.append(np.stack([numbers[low][same], numbers[high][same]]))
    parents = _roots(labels.size, np.concatenate(edges, axis=1))
    return np.where(labels > 0, parents.reshape(labels.shape) + 1, 0)


def _roots(count: int, edges: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return for each number below ``count`` the smallest number that edges, pairs of numbers, connect it with."""
    parents = np.arange(count, dtype=np.int64)
    while True:
        ends = parents[edges]
        open_edges = ends[0] != ends[1]
        if not open_edges.any():
            return parents
        edges = edges[:, open_edges]
        low, high = np.minimum(*ends[:, open_edges]), np.maximum(*ends[:, open_edges])
        np.minimum.at(parents, high, low)
        while True:
            above = parents[parents]
            if np.array_equal(above, parents):
                break
            parents = above


def _final_ids(count: int, pairs: list[tuple[int, int]]) -> np.ndarray[Any, Any]:
    """Return the id of each label after pairs are joined: 1, 2, ... in the order in which objects first occur."""
    edges = np.array(pairs, np.int64).reshape(-1, 2).T
    roots = _roots(count + 1, edges)
    is_first = roots == np.arange(count + 1)
    numbers: np.ndarray[Any, Any] = np.cumsum(is_first) - 1
    ids: np.ndarray[Any, Any] = numbers[roots]
    return ids
