"""The request for a new array: its settings, and the description that follows from them and the axes of the image."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lamella.errors import InvalidArgumentError, clause
from lamella.store.metadata.array_creation import auto_layout, default_chunks, new_array
from lamella.store.metadata.json_document import new_description

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from lamella.spec.images import TransformationMeta
    from lamella.spec.versions import SpecVersion
    from lamella.store.metadata.array_meta import ArrayMeta, CompressorChoice
    from lamella.types import Shape


class ArraySettings(NamedTuple):
    """The settings of a new array; with the axes, they define its document."""

    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape | Literal["auto"] | None
    shards_ratio: Shape | None
    compressor: CompressorChoice
    checksum: bool | None


class ArrayRequest(NamedTuple):
    """The settings or description of a new array, and how the position lists it."""

    settings: ArraySettings | ArrayMeta
    transform: Sequence[TransformationMeta] | None
    check_shape: bool
    is_result: bool = False
    """Whether the array is intentionally not a level, so that no warning is needed."""


def described(settings: ArraySettings | ArrayMeta, version: SpecVersion, axis_names: list[str]) -> ArrayMeta:
    """Return the description of a new array of an image with these axes; those of equal arrays are one object."""
    if not isinstance(settings, ArraySettings):
        return settings
    key = (version.zarr_format, settings, *axis_names)
    return new_description(key, lambda: _new_array(settings, version, axis_names))


def _new_array(settings: ArraySettings, version: SpecVersion, axis_names: list[str]) -> ArrayMeta:
    shape, dtype, chunks, shards_ratio, compressor, checksum = settings
    shard_shape: Shape | None = None
    if isinstance(chunks, str):
        chunk_shape, shard_shape = auto_layout(shape, dtype.itemsize, version.zarr_format == 3)
    elif chunks is None:
        chunk_shape = default_chunks(shape, dtype.itemsize)
    else:
        chunk_shape = chunks
    if shards_ratio is not None:
        if version.zarr_format == 2:
            raise InvalidArgumentError(
                f"shards_ratio={tuple(shards_ratio)} is set, but OME-NGFF {version.name} (Zarr v2) has no shards. "
                "Sharding needs version='0.5'."
            )
        if len(shards_ratio) != len(chunk_shape):
            raise InvalidArgumentError(
                f"shards_ratio={tuple(shards_ratio)} has {len(shards_ratio)} numbers for chunks {chunk_shape}."
            )
        if min(shards_ratio, default=1) < 1:
            raise InvalidArgumentError(
                f"shards_ratio={tuple(shards_ratio)} needs at least one chunk per shard along each axis."
            )
        shard_shape = tuple(length * ratio for length, ratio in zip(chunk_shape, shards_ratio, strict=True))
    return new_array(
        shape,
        dtype,
        zarr_format=version.zarr_format,
        chunks=chunk_shape,
        shards=shard_shape,
        compressor=compressor,
        checksum=checksum,
        dimension_names=axis_names if len(axis_names) == len(shape) else None,
    )


def request_of(
    shape: Sequence[int],
    dtype: DTypeLike,
    chunks: Sequence[int] | Literal["auto"] | None = None,
    shards_ratio: Sequence[int] | None = None,
    transform: Sequence[TransformationMeta] | None = None,
    check_shape: bool = True,
    *,
    compressor: CompressorChoice = None,
    checksum: bool | None = None,
) -> ArrayRequest:
    """Normalise and check the options of a new array; see :meth:`Position.create_zeros`."""
    lengths, data_dtype = _integers("shape", shape), data_type(dtype)
    if not isinstance(chunks, str | None):
        chunks = _integers("chunks", chunks)
    elif isinstance(chunks, str) and chunks != "auto":
        raise InvalidArgumentError(f"The argument chunks is one integer per axis, or 'auto', not {chunks!r}.")
    if shards_ratio is not None:
        shards_ratio = _integers("shards_ratio", shards_ratio)
    settings = ArraySettings(lengths, data_dtype, chunks, shards_ratio, compressor, checksum)
    return ArrayRequest(settings, transform, check_shape)


def _integers(subject: str, lengths: Sequence[int]) -> Shape:
    """Return integers as a tuple; raise for other numbers."""
    try:
        return tuple(map(index, lengths))
    except TypeError:
        raise InvalidArgumentError(
            f"The argument {subject} is one integer per axis, not {lengths!r}."
        ) from None


def data_type(dtype: DTypeLike) -> np.dtype[Any]:
    """Return a data type of numpy; raise for anything else."""
    try:
        return np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{dtype!r} is not a data type of numpy: {clause(error)}.") from error
