"""Crops of images for PyTorch (extra ``torch``): a map-style and an iterable dataset, and a loader for them.

`lamella.ops.sampling.crops` draws the crops of both: crop 5 of an epoch depends on the seed and the epoch alone, not on
the number of workers. Workers may be forked or spawned, also after the parent process has read pixels. Only datasets of
object stores do not work in forked workers: `loader` spawns them.

This is the only module that cannot be imported without its library: the datasets are classes of PyTorch.
"""

from __future__ import annotations

import multiprocessing
from inspect import signature
from typing import TYPE_CHECKING, Any, Self, TypedDict

import numpy as np

from lamella.arguments import whole_number
from lamella.errors import InvalidArgumentError, check_options, importing, name_where
from lamella.ops.sampling.crops import CropSource
from lamella.store.pixels.assignment import ValueRangeError, cast_values

with importing(
    'The module lamella.torch needs PyTorch, which is not installed (pip install "lamella[torch]").'
):
    from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

    import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import DTypeLike

    from lamella.nodes.position import Position
    from lamella.nodes.walk import ImageContainer
    from lamella.ops.sampling.crops import Crop, Sample
    from lamella.types import Array


__all__ = ["CropDataset", "CropStream", "TorchSample", "loader"]


class TorchSample(TypedDict, total=False):
    """An item of a dataset. In a batch, the tensors of its items are stacked, and `position` is a list of texts.

    Attributes
    ----------
    image
        Tensor of shape (channels, *size).
    labels
        Tensor of int64 of shape size; missing unless the dataset was created with `labels`.
    position
        Path of the image in its store.
    corner
        Tensor of int64: the crop's first voxel along each axis of the image.
    """

    image: torch.Tensor
    labels: torch.Tensor
    position: str
    corner: torch.Tensor


class _Crops:
    """The base of both datasets: the source, the epoch, and the conversion of samples to tensors."""

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        parameters = {*signature(_Crops.__init__).parameters, *signature(cls.__init__).parameters}
        check_options(f"{cls.__name__}()", options, parameters - {"self", "arguments", "options"})
        return super().__new__(cls)

    def __init__(
        self,
        images: Position | ImageContainer | Iterable[Position],
        size: Sequence[int],
        *,
        length: int,
        level: str = "0",
        channels: Sequence[int | str] | None = None,
        labels: str | None = None,
        foreground: float = 0.0,
        seed: int = 0,
        dtype: DTypeLike = "float32",
        transform: Callable[[TorchSample], Any] | None = None,
    ) -> None:
        self.source = CropSource(
            images, size, level=level, channels=channels, labels=labels, foreground=foreground, seed=seed
        )
        self.length = whole_number(length, "The argument length, the number of crops of an epoch,", 1)
        self.dtype = np.dtype(dtype)
        self.transform = transform
        # In shared memory: workers that serve several epochs see the epoch that the main process sets.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return self.length

    @property
    def epoch(self) -> int:
        """Number of the epoch whose crops are returned."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw other crops; call it before each epoch, as for a ``DistributedSampler``."""
        self._epoch.fill_(whole_number(epoch, "The argument epoch", 0))

    def _read(self, crops: Sequence[Crop]) -> list[Any]:
        return [self._tensors(sample) for sample in self.source.read(crops)]

    def _tensors(self, sample: Sample) -> Any:
        position = self.source.images[sample.crop.image]
        tensors: TorchSample = {
            "image": _tensor(sample.image, self.dtype, position),
            "position": position.path,
            "corner": torch.tensor(sample.crop.corner),
        }
        if sample.labels is not None:
            tensors["labels"] = _tensor(sample.labels, np.dtype(np.int64), position)
        return tensors if self.transform is None else self.transform(tensors)


def _tensor(values: Array, dtype: np.dtype[Any], position: Position) -> torch.Tensor:
    """Return values as a tensor; raise for one that the data type cannot represent, such as 300 as uint8."""
    try:
        return torch.from_numpy(np.ascontiguousarray(cast_values(values, dtype)))
    except ValueRangeError as error:
        name_where(error, str(position.node_path))
        raise


class CropDataset(_Crops, Dataset[Any]):  # type: ignore[misc]
    """Random crops by number, for a ``DataLoader`` with or without workers, samplers and ``DistributedSampler``.

    A batch is read in one call, so that files are opened once and chunks decoded once for all of its crops.

    Parameters
    ----------
    images
        Positions, or a plate, row, well or collection of them.
    size
        Lengths of a crop along the last axes of space: (y, x), or (z, y, x). One index along every other axis.
    length
        Crops of an epoch.
    level
        Which level of the images to read.
    channels
        Names or numbers of the channels to read, in this order; all by default.
    labels
        Name of a label image that each image has, to be read too, at the same level.
    foreground
        Fraction of the crops, from 0 to 1, that contain a labelled voxel if the image has one.
    seed
        Seed of the random numbers: the same seed, epoch and number select the same crop in any worker.
    dtype
        Data type of the images; labels are int64. Floats are truncated to integers, as in numpy; a value that the data
        type cannot represent raises an error.
    transform
        Function that the worker calls with each `TorchSample`; its result is the item of the dataset.

    Raises
    ------
    MissingDependencyError
        PyTorch is not installed (an ImportError).
    InvalidArgumentError
        The size does not fit the first image, or another argument is wrong; when a crop is read: `dtype` cannot
        represent a voxel (a ValueError).
    """

    def __getitem__(self, number: int) -> Any:
        """Return one crop of the epoch."""
        if not 0 <= number < self.length:
            raise IndexError(f"There is no crop {number}: an epoch has {self.length}.")
        return self._read([self.source.draw(self.epoch, int(number))])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Return several crops, read in one call; a ``DataLoader`` calls this for a batch."""
        return self._read([self.source.draw(self.epoch, int(number)) for number in numbers])


class CropStream(_Crops, IterableDataset[Any]):  # type: ignore[misc]
    """The same crops in the order of files: `window` of them are read in one call and returned in random order.

    With `rank` and `world_size`, each process of a training returns its own crops of the epoch, and ``len`` is their
    number; they are divided among the workers of its loader. The other parameters are those of `CropDataset`.
    """

    def __init__(
        self, *arguments: Any, window: int = 64, rank: int = 0, world_size: int = 1, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.window = whole_number(window, "The argument window", 1)
        self.rank = whole_number(rank, "The argument rank", 0)
        self.world_size = whole_number(world_size, "The argument world_size", 1)
        if self.rank >= self.world_size:
            raise InvalidArgumentError(
                f"rank={rank} does not fit world_size={world_size}: the rank is from 0 to world_size - 1."
            )

    def __len__(self) -> int:
        return len(self._numbers())

    def _numbers(self, worker: int = 0, workers: int = 1) -> range:
        """Return the numbers of the crops of one of the workers of this process."""
        return range(self.rank + worker * self.world_size, self.length, self.world_size * workers)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        numbers = self._numbers() if worker is None else self._numbers(worker.id, worker.num_workers)
        epoch = self.epoch
        for start in range(0, len(numbers), self.window):
            window = numbers[start : start + self.window]
            yield from self._read([self.source.draw(epoch, number) for number in window])


def loader(dataset: Dataset[Any], **options: Any) -> DataLoader[Any]:
    """Return a ``DataLoader`` whose workers can read the stores of a dataset.

    Connections to object stores (``s3://``, ``gs://``, ``az://``, ``https://``, icechunk) do not survive a fork: their
    workers are started with ``forkserver``, or ``spawn`` where the system has no other. Those of folders are started
    as PyTorch does by default.

    Parameters
    ----------
    dataset
        A `CropDataset` or `CropStream`, also within a ``Subset``, ``ConcatDataset`` or another dataset with `dataset`
        or `datasets`.
    options
        Options of ``torch.utils.data.DataLoader``: ``batch_size``, ``num_workers``, ...

    Raises
    ------
    InvalidArgumentError
        ``multiprocessing_context`` is fork, and the dataset reads an object store.

    Examples
    --------
    >>> from lamella.torch import CropDataset, loader
    >>> crops = CropDataset(position, (4, 4), length=8)
    >>> len(list(loader(crops, batch_size=2)))
    4
    """
    if options.get("num_workers") and not all(source.survives_fork for source in _sources(dataset)):
        context = options.get("multiprocessing_context")
        method = context if context is None or isinstance(context, str) else context.get_start_method()
        if method == "fork":
            raise InvalidArgumentError(
                "multiprocessing_context='fork' does not work for object stores: their connections do not survive a "
                "fork. Leave it out, or pass 'forkserver' or 'spawn'."
            )
        if method is None:
            methods = multiprocessing.get_all_start_methods()
            options["multiprocessing_context"] = "forkserver" if "forkserver" in methods else "spawn"
    return DataLoader(dataset, **options)


def _sources(dataset: Any) -> Iterator[CropSource]:
    """Yield the crop sources of a dataset and of the datasets in it."""
    if isinstance(dataset, _Crops):
        yield dataset.source
    wrapped = getattr(dataset, "dataset", None)
    for inner in (*getattr(dataset, "datasets", ()), *(() if wrapped is None else (wrapped,))):
        yield from _sources(inner)
