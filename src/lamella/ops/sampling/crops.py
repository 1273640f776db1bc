"""Draw random crops of many images from numbers alone, and read them in batches.

A crop depends only on the seed, its epoch and its number: not on the worker, the order, or earlier draws. So the crops
of an epoch are the same for every number of workers, and no two workers read the same crop.
"""

from __future__ import annotations

import operator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella.arguments import whole_number, whole_numbers
from lamella.errors import InvalidArgumentError, NodeNotFoundError, WrongTypeError
from lamella.nodes.position import Position
from lamella.nodes.walk import CONTAINERS, walk
from lamella.spec.axes import channel_axis, space_axes
from lamella.spec.geometry import voxel_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.labels import LabelImage
    from lamella.nodes.walk import ImageContainer
    from lamella.types import Array, Shape

_MAX_CANDIDATES = 1 << 14
"""Maximum number of cached labelled voxels of one image; of more a random sample is cached."""

_MAX_LABELLED_IMAGES = 256
"""Maximum number of images with cached labelled voxels."""

_MAX_OPEN_IMAGES = 1024
"""Maximum number of images with open arrays and cached shard indexes."""

_PARALLEL_READS = 32
"""Maximum number of arrays that are read at once over a connection."""

_MAX_LABEL_VOXELS = 1 << 24
"""Maximum size of a level of a label image that is read to find labelled voxels."""


class Crop(NamedTuple):
    """The position of a crop: number of its image, and first voxel as an index for each axis (0 for the channel)."""

    image: int
    corner: Shape


class Sample(NamedTuple):
    """The pixels of a crop: ``image`` of shape (channels, *size), and ``labels`` of shape size or None."""

    image: Array
    labels: Array | None
    crop: Crop


class CropSource:
    """Draws and reads crops.

    Parameters
    ----------
    images
        Positions, or a plate, row, well or collection of them.
    size
        Lengths of a crop along the last axes of space: (y, x), or (z, y, x). One index along every other axis.
    level
        The level of the images to read.
    channels
        Names or numbers of the channels to read, in this order; all by default.
    labels
        Name of a label image of each image, to be read at the same level.
    foreground
        Fraction of the crops, between 0 and 1, that contain a labelled voxel if the image has one.
    seed
        Seed of the random numbers.

    Raises
    ------
    InvalidArgumentError
        There is no image, the size does not fit the first one, or `foreground` lacks labels.

    Examples
    --------
    >>> source = CropSource([position], (4, 6))
    >>> crop = source.draw(epoch=0, number=5)
    >>> [sample.image.shape for sample in source.read([crop])]
    [(2, 4, 6)]
    """

    def __init__(
        self,
        images: Position | ImageContainer | Iterable[Position],
        size: Sequence[int],
        *,
        level: str = "0",
        channels: Sequence[int | str] | None = None,
        labels: str | None = None,
        foreground: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.images = tuple(_positions(images))
        self.size = whole_numbers(size, "The argument size", 1)
        self.level = str(level)
        self.labels = labels
        self.foreground = float(foreground)
        self.seed = whole_number(seed, "The argument seed", 0)
        self._channels = None if channels is None else tuple(map(_channel, channels))
        if not self.images:
            raise InvalidArgumentError("There is no image to read crops from.")
        if not 0 <= self.foreground <= 1:
            raise InvalidArgumentError(f"foreground={foreground!r} is not a fraction between 0 and 1.")
        if self.foreground and labels is None:
            raise InvalidArgumentError(
                f"foreground={foreground!r} needs labelled voxels: set labels to the name of a label image."
            )
        if not self.size:
            raise InvalidArgumentError(f"size={size!r} has no lengths: pass one for each axis of a crop.")
        self._array = lru_cache(_MAX_OPEN_IMAGES)(self._open_array)
        self._label = lru_cache(_MAX_OPEN_IMAGES)(self._open_label)
        self._labelled_voxels = lru_cache(_MAX_LABELLED_IMAGES)(self._find_labelled_voxels)
        self._array(0)

    def __reduce__(self) -> tuple[object, ...]:
        options: dict[str, Any] = {
            "level": self.level,
            "channels": self._channels,
            "labels": self.labels,
            "foreground": self.foreground,
            "seed": self.seed,
        }
        return partial(CropSource, **options), (self.images, self.size)

    @property
    def survives_fork(self) -> bool:
        """Whether forked workers can read the images after this process did; those of object stores cannot be."""
        return all(image.documents.storage.survives_fork for image in self.images)

    # -- positions of crops ------------------------------------------------------------------------------------------

    def draw(self, epoch: int, number: int) -> Crop:
        """Return the position of crop `number` of an epoch.

        Examples
        --------
        >>> import lamella
        >>> source = lamella.CropSource([position], (4, 6), seed=1)
        >>> source.draw(epoch=0, number=5) == source.draw(epoch=0, number=5)
        True
        """
        random = np.random.default_rng([self.seed, epoch, number])
        image = int(random.integers(len(self.images)))
        array, crop_shape = self._array(image)
        corner = [
            int(random.integers(array_length - crop_length + 1))
            for array_length, crop_length in zip(array.shape, crop_shape, strict=True)
        ]
        if self.foreground and random.random() < self.foreground:
            voxels, factors = self._labelled_voxels(image)
            if len(voxels):
                self._move_over_voxel(corner, image, voxels[random.integers(len(voxels))], factors, random)
        channel = channel_axis(array.axes or [])
        if channel is not None:
            corner[channel] = 0
        return Crop(image, tuple(corner))

    def _open_array(self, image: int) -> tuple[ImageArray, Shape]:
        """Return the level of an image, and the shape of a crop in it, with the whole channel axis."""
        position = self.images[image]
        array = position[self.level]
        space, channel = space_axes(position.axes), channel_axis(position.axes)
        if len(self.size) > len(space):
            raise InvalidArgumentError(
                f"A crop of {self.size} has more axes than {position!r} has axes of space ({len(space)})."
            )
        crop_shape = [1] * array.ndim
        for axis, length in zip(space[len(space) - len(self.size) :], self.size, strict=True):
            crop_shape[axis] = length
        if channel is not None:
            crop_shape[channel] = array.shape[channel]
        if any(crop_length > length for length, crop_length in zip(array.shape, crop_shape, strict=True)):
            raise InvalidArgumentError(f"A crop of {self.size} does not fit into {array!r}.")
        return array, tuple(crop_shape)

    def _move_over_voxel(
        self,
        corner: list[int],
        image: int,
        voxel: Array,
        factors: Sequence[float],
        random: np.random.Generator,
    ) -> None:
        """Move a corner so that the crop contains all of a labelled voxel of a coarser level."""
        array, crop_shape = self._array(image)
        image_axes, names = self.images[image].axis_names, self._label(image).axis_names
        for name, index, factor in zip(names, voxel, factors, strict=True):
            axis = image_axes.index(name)
            start, stop = int(index * factor), min(array.shape[axis], int(np.ceil((index + 1) * factor)))
            # Between these starts the crop contains the voxel, or, if it is shorter than the voxel, lies within it.
            last_start = min(start, array.shape[axis] - crop_shape[axis])
            first_start = max(0, stop - crop_shape[axis])
            lowest, highest = sorted((first_start, last_start))
            corner[axis] = int(random.integers(lowest, highest + 1))

    def _find_labelled_voxels(self, image: int) -> tuple[Array, tuple[float, ...]]:
        """Return labelled voxels of a sufficiently coarse level, and their size in voxels of the crop's level.

        A coarse voxel has a label only if one of its fine voxels has it, so a crop that contains all fine voxels of a
        labelled coarse one contains a labelled voxel. If no voxel of a coarse level has a label, finer levels are read.
        """
        label = self._label(image)
        finest_shape, finest_scale = label[self.level].shape, label.get_effective_scale(self.level)
        crop_lengths = dict(zip(self.images[image].axis_names, self._array(image)[1], strict=True))
        levels: list[tuple[ImageArray, tuple[float, ...]]] = []
        level_number = label.dataset_paths.index(self.level)
        for path in label.dataset_paths[level_number : level_number + 1 if label.stale_levels else None]:
            scale = label.get_effective_scale(path)
            ratios = [
                coarse / fine if fine else 0.0 for fine, coarse in zip(finest_scale, scale, strict=True)
            ]
            steps = voxel_steps(finest_shape, label[path].shape, ratios)
            fits = all(step <= crop_lengths[name] for step, name in zip(steps, label.axis_names, strict=True))
            if levels and (not fits or levels[-1][0].size <= _MAX_CANDIDATES):
                break
            levels.append((label[path], steps))
        readable_levels = [level for level in levels if level[0].size <= _MAX_LABEL_VOXELS]
        if not readable_levels:
            raise InvalidArgumentError(
                f"{levels[-1][0]!r} is too large to look for labelled voxels: give the label image a pyramid with "
                "compute_pyramid()."
            )
        candidates = ((np.argwhere(level[:]), steps) for level, steps in reversed(readable_levels))
        none = np.zeros((0, len(finest_shape)), np.int64), ()
        voxels, factors = next((candidate for candidate in candidates if len(candidate[0])), none)
        if len(voxels) > _MAX_CANDIDATES:
            random = np.random.default_rng([self.seed, image])
            voxels = voxels[random.choice(len(voxels), _MAX_CANDIDATES, replace=False)]
        return voxels.astype(np.int32), factors

    # -- pixels --------------------------------------------------------------------------------------------------

    def read(self, crops: Sequence[Crop]) -> list[Sample]:
        """Read the pixels of crops, each file once for all of them.

        Raises
        ------
        DamagedDataError
            A chunk cannot be decoded.

        Examples
        --------
        >>> import lamella
        >>> source = lamella.CropSource([position], (4, 6))
        >>> [sample.image.shape for sample in source.read([source.draw(0, n) for n in range(2)])]
        [(2, 4, 6), (2, 4, 6)]
        """
        crops_by_image: dict[int, list[Crop]] = {}
        for crop in sorted(crops, key=lambda crop: crop.image):
            crops_by_image.setdefault(crop.image, []).append(crop)
        reads = [
            partial(self._pixels, image, crops_of_image) for image, crops_of_image in crops_by_image.items()
        ]
        if self.labels is not None:
            reads += [
                partial(self._labels, image, crops_of_image)
                for image, crops_of_image in crops_by_image.items()
            ]
        blocks = iter(self._run_all(reads))
        pixels = {image: iter(next(blocks)) for image in crops_by_image}
        labels = {image: iter(next(blocks)) for image in crops_by_image if self.labels is not None}
        return [
            Sample(next(pixels[crop.image]), next(labels[crop.image]) if labels else None, crop)
            for crop in crops
        ]

    def _run_all(self, reads: Sequence[Callable[[], list[Array]]]) -> list[list[Array]]:
        """Read arrays one by one, or all at once in stores over a connection."""
        storage = self._array(0)[0].stored.documents.storage
        if storage.service is None or len(reads) < 2:
            return [read() for read in reads]
        with ThreadPoolExecutor(min(_PARALLEL_READS, len(reads)), "lamella-crops") as pool:
            return list(pool.map(lambda read: read(), reads))

    def _pixels(self, image: int, crops: Sequence[Crop]) -> list[Array]:
        array, crop_shape = self._array(image)
        channel = channel_axis(self.images[image].axes)
        numbers = self._channel_numbers(image, channel)
        crop_axes = self._crop_axes(image)
        regions = []
        for crop in crops:
            region = [
                slice(start, start + length) if axis in crop_axes else start
                for axis, (start, length) in enumerate(zip(crop.corner, crop_shape, strict=True))
            ]
            for number in numbers:
                if channel is not None:
                    region[channel] = number
                regions.append(tuple(region))
        blocks = array.read_many(regions)
        return [
            np.stack(blocks[first : first + len(numbers)]) for first in range(0, len(regions), len(numbers))
        ]

    def _labels(self, image: int, crops: Sequence[Crop]) -> list[Array]:
        label = self._label(image)
        image_axes = self.images[image].axis_names
        _, crop_shape = self._array(image)
        crop_axes = self._crop_axes(image)
        regions = []
        for crop in crops:
            axes = [image_axes.index(name) for name in label.axis_names]
            regions.append(
                tuple(
                    slice(crop.corner[axis], crop.corner[axis] + crop_shape[axis])
                    if axis in crop_axes
                    else crop.corner[axis]
                    for axis in axes
                )
            )
        return list(label[self.level].read_many(regions))

    def _open_label(self, image: int) -> LabelImage:
        position = self.images[image]
        label = position.labels[self.labels or ""]
        if self.level not in label.dataset_paths:
            raise NodeNotFoundError(
                f"{label!r} has no level {self.level!r} as its image has: compute its pyramid."
            )
        lengths = dict(zip(position.axis_names, position[self.level].shape, strict=True))
        channel = channel_axis(label.axes)
        for axis, (name, length) in enumerate(zip(label.axis_names, label[self.level].shape, strict=True)):
            if axis != channel and lengths.get(name) != length:
                raise InvalidArgumentError(
                    f"The labels {label.node_path} have {length} voxels along {name!r} at level {self.level!r}, and "
                    f"the image {position.node_path} has {lengths.get(name, 'no such axis')}: crops of both need the "
                    "same voxels. Write labels of the image's shape."
                )
        return label

    def _crop_axes(self, image: int) -> set[int]:
        """Return the indices of the axes of ``size``; along other axes a crop has one index."""
        space = space_axes(self.images[image].axes)
        return set(space[len(space) - len(self.size) :])

    def _channel_numbers(self, image: int, channel: int | None) -> list[int]:
        position = self.images[image]
        if channel is None:
            return [0]
        if self._channels is None:
            return list(range(position[self.level].shape[channel]))
        return [
            position.get_channel_index(name) if isinstance(name, str) else name for name in self._channels
        ]


def _channel(channel: int | str) -> int | str:
    """Return the name of a channel, or its number as a whole number; numbers below 0 count from the last one."""
    if isinstance(channel, str):
        return channel
    try:
        return operator.index(channel)
    except TypeError:
        raise WrongTypeError(f"A channel of a crop is a name or a whole number, not {channel!r}.") from None


def _positions(images: Position | ImageContainer | Iterable[Position]) -> Iterator[Position]:
    if isinstance(images, Position):
        yield images
    elif isinstance(images, CONTAINERS):
        for field in walk(images):
            if not isinstance(field.node, Position):
                raise field.node
            yield field.node
    else:
        for position in images:
            if not isinstance(position, Position):
                raise InvalidArgumentError(f"Crops are read from positions, not from {position!r}.")
            yield position
