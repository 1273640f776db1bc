"""Blosc codecs that check the length of a chunk before decoding it.

numcodecs passes c-blosc a pointer without a length, so a truncated chunk would be decoded from the memory behind it.
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
    """Blosc of numcodecs that raises where the length in a chunk's header is not the length of the chunk."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk; ValueError where it is truncated or its header is damaged."""
        check_length(buf)
        return super().decode(buf, out)


class CheckedBloscCodec(BloscCodec):
    """Blosc codec of Zarr v3 with the same check."""

    @cached_property
    def _blosc_codec(self) -> Any:
        return _Checked(BloscCodec.__dict__["_blosc_codec"].func(self))


class _Checked:
    """The methods of a numcodecs codec that zarr-python calls."""

    def __init__(self, blosc: Any) -> None:
        self.encode = blosc.encode
        self._decode = blosc.decode

    def decode(self, buf: Any) -> Any:
        check_length(buf)
        return self._decode(buf)


def check_length(buf: Any) -> None:
    """Raise ValueError where the length in a blosc header is not the length of the chunk."""
    data = np.frombuffer(buf, np.uint8)
    stated = int.from_bytes(data[12:_HEADER].tobytes(), "little")
    if len(data) < _HEADER or stated != len(data):
        raise ValueError(f"a blosc chunk of {len(data)} bytes has a header for {stated}")


def checked_v2(compressor: JSON) -> Any:
    """Return the ``compressor`` of a ``.zarray`` for zarr-python, with checked blosc."""
    if isinstance(compressor, dict) and compressor.get("id") == "blosc":
        return CheckedBlosc(**{key: value for key, value in compressor.items() if key != "id"})
    return compressor


def checked_v3(codec: JSON) -> Any:
    """Return a codec of a ``zarr.json`` for zarr-python, with checked blosc, also inside shards."""
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
