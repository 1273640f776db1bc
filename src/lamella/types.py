"""Names for the values that cross layers: one alias for each accepted input.

Imports nothing of lamella, and no third-party library at run time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, Required, TypeAlias, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from lamella.spec.images import TransformationMeta
    from lamella.store.metadata.array_meta import CompressorChoice

JSON: TypeAlias = Any
"""Any JSON value: None, bool, int, float, str, list or dict."""

JSONObject: TypeAlias = dict[str, Any]
"""A JSON object."""

StrPath: TypeAlias = str | os.PathLike[str]
"""A path as text or any object with ``__fspath__``."""

Layout: TypeAlias = Literal["auto", "fov", "hcs", "tiled"]
"""The layout of a store: found from its metadata, one image, a plate, or one tiled image."""

Mode: TypeAlias = Literal["r", "r+", "a", "w", "w-"]
"""How a store is opened: see ``lamella.open_ome_zarr``."""

Durability: TypeAlias = Literal["process", "fsync"]
"""What a finished write survives: the death of the process, or a power cut too."""

Recheck: TypeAlias = Literal["call", "open"]
"""When a handle asks whether others changed what it has read."""

VersionName: TypeAlias = Literal["0.4", "0.5", "0.6"]
"""An OME-NGFF version that lamella writes."""

StoredVersionName: TypeAlias = Literal["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]
"""An OME-NGFF version that lamella reads."""

Array: TypeAlias = "NDArray[np.generic]"
"""A numpy array of any dtype."""

Shape: TypeAlias = tuple[int, ...]
"""Lengths per axis, in the order of the axes."""


class ArrayOptions(TypedDict, total=False):
    """The options of an array that ``Plate.create_positions`` creates, as for ``Position.create_zeros``."""

    shape: Required[Sequence[int]]
    dtype: Required[DTypeLike]
    chunks: Sequence[int] | Literal["auto"] | None
    shards_ratio: Sequence[int] | None
    transform: Sequence[TransformationMeta] | None
    check_shape: bool
    compressor: CompressorChoice
    checksum: bool | None
