"""Blosc that looks at the length of a chunk before it decodes.

numcodecs hands c-blosc a pointer without a length, so that a truncated chunk is decoded from whatever lies behind it in
memory: an error, or wrong pixels. TensorStore checks; this does the same for zarr-python's engine.

Imports zarr-python: import this module inside functions only.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numcodecs import Blosc  # type: ignore[import-untyped]
from zarr.codecs import BloscCodec, ShardingCodec

if TYPE_CHECKING:
    from lamella.types import JSON

_HEADER = 16


class CheckedBlosc(Blosc):  # type: ignore[misc]
    """Blosc of numcodecs that refuses a chunk whose header gives another length than it has."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk; ValueError when it was cut off or its header is damaged."""
        check_length(buf)
        return super().decode(buf, out)


class CheckedBloscCodec(BloscCodec):
    """The blosc codec of Zarr v3 that refuses the same."""

    @cached_property
    def _blosc_codec(self) -> Any:
        return _Checked(BloscCodec.__dict__["_blosc_codec"].func(self))


class _Checked:
    """What the codec of Zarr v3 needs of numcodecs."""

    def __init__(self, blosc: Any) -> None:
        self.encode = blosc.encode
        self._decode = blosc.decode

    def decode(self, buf: Any) -> Any:
        check_length(buf)
        return self._decode(buf)


def check_length(buf: Any) -> None:
    """Raise ValueError when the header of a blosc chunk gives another length than the chunk has."""
    data = np.frombuffer(buf, np.uint8)
    stated = int.from_bytes(data[12:_HEADER].tobytes(), "little")
    if len(data) < _HEADER or stated != len(data):
        raise ValueError(f"a blosc chunk of {len(data)} bytes says that it has {stated}")


def checked_v2(compressor: JSON) -> Any:
    """Return what zarr-python takes for the ``compressor`` of a ``.zarray``."""
    if isinstance(compressor, dict) and compressor.get("id") == "blosc":
        return CheckedBlosc(**{key: value for key, value in compressor.items() if key != "id"})
    return compressor


def checked_v3(codec: JSON) -> Any:
    """Return what zarr-python takes for a codec of a ``zarr.json``, also inside shards."""
    if isinstance(codec, str):
        return {"name": codec}
    configuration = codec.get("configuration", {})
    if codec["name"] == "blosc":
        return CheckedBloscCodec.from_dict(codec)
    if codec["name"] == "sharding_indexed":
        return ShardingCodec(
            chunk_shape=tuple(configuration["chunk_shape"]),
            codecs=[checked_v3(inner) for inner in configuration["codecs"]],
            index_codecs=[checked_v3(inner) for inner in configuration["index_codecs"]],
            index_location=configuration.get("index_location", "end"),
        )
    return codec
