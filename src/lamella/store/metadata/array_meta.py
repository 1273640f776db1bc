"""Describe an array's document as one value, in either Zarr format, with the compression of its chunks.

A *file* is a shard, or a chunk where there are no shards. A *file index* counts files per axis: an array of shape (5,
4) in files of (2, 2) has a grid of (3, 2) files, and file index (2, 1) covers row 4:5 and columns 2:4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lamella.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from lamella.types import JSONObject, Shape

CompressorChoice: TypeAlias = "Compressor | str | Mapping[str, Any] | Literal[False] | None"
"""Accepted values: None (the default compressor), False or "none" (no compression), a name, a `Compressor`, or the JSON
of a codec."""

_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
_BLOSC_AUTO = "-1"
"""The shuffle -1 of numcodecs: bitshuffle for items of 1 byte, else shuffle; Zarr v3 has no name for it."""
_BLOSC_CODECS = ("lz4", "lz4hc", "zstd", "zlib", "blosclz", "snappy")
_LEVELS = {"blosc": (0, 9), "zstd": (-131072, 22), "gzip": (0, 9), "zlib": (0, 9), "bz2": (1, 9)}
#: Block size of blosc with zstd. c-blosc's own choice at level 1 is 32 KiB, which encodes 1.7 and decodes 2.1 times as
#: slowly, into larger chunks (docs/codecs.md).
_ZSTD_BLOCK = 1 << 20
_DEFAULT_LEVEL = {"blosc": 1, "zstd": 1, "gzip": 6, "zlib": 6, "bz2": 9}
#: Codecs that this package writes in each Zarr format; others are only read.
_WRITABLE = {2: ("blosc", "zstd", "gzip", "zlib", "bz2"), 3: ("blosc", "zstd", "gzip")}


@dataclass(frozen=True)
class Compressor:
    """How the chunks of an array are compressed: by a codec ``name`` (for blosc, with the inner codec ``cname``).

    ``blocksize`` is the number of bytes that blosc compresses at a time, by default the fastest measured for `cname`.

    >>> Compressor()
    Compressor(name='blosc', cname='zstd', clevel=1, shuffle='bitshuffle', blocksize=None)
    >>> Compressor.of("gzip")
    Compressor(name='gzip', cname=None, clevel=6, shuffle=None, blocksize=None)
    """

    name: str = "blosc"
    cname: str | None = "zstd"
    clevel: int | None = 1
    shuffle: str | None = "bitshuffle"
    blocksize: int | None = None

    def __post_init__(self) -> None:
        if self.name != "blosc":
            # Of unknown codecs, which are only read, also the level is unknown.
            blosc_settings = ("cname", "shuffle", "blocksize")
            for setting in blosc_settings if self.name in _LEVELS else (*blosc_settings, "clevel"):
                object.__setattr__(self, setting, None)

    @classmethod
    def of(cls, choice: CompressorChoice) -> Compressor | None:
        """Convert a choice to a compressor, None for uncompressed; `InvalidArgumentError` for an unknown one."""
        if choice is None:
            return cls()
        if choice is False or (isinstance(choice, str) and choice.lower() in ("none", "raw", "")):
            return None
        if isinstance(choice, cls):
            return _check_settings(choice)
        if isinstance(choice, str):
            return _default_of(choice.lower())
        settings = choice if isinstance(choice, Mapping) else _settings_of(choice)
        return _check_settings(compressor_from_json(settings))

    def to_json(self, zarr_format: int, itemsize: int) -> JSONObject:
        """Return the codec's JSON for a Zarr format and an item size."""
        if self.name not in _WRITABLE[zarr_format]:
            raise InvalidArgumentError(
                f"The compressor {self.name!r} does not exist in Zarr v{zarr_format}: "
                f"choose one of {', '.join(_WRITABLE[zarr_format])}, lz4 or none."
            )
        if self.name == "blosc":
            shuffle = self.shuffle or "bitshuffle"
            # Blosc's block size 0 lets c-blosc choose.
            blocksize = _best_blocksize(self.cname) if self.blocksize is None else self.blocksize
            blosc: JSONObject = {"cname": self.cname, "clevel": self.clevel}
            if zarr_format == 2:
                return {"id": "blosc", **blosc, "shuffle": _SHUFFLES.index(shuffle), "blocksize": blocksize}
            blosc = {"typesize": itemsize, **blosc, "shuffle": self.shuffle, "blocksize": blocksize}
            return {"name": "blosc", "configuration": blosc}
        if zarr_format == 2:
            return {"id": self.name, "level": self.clevel}
        configuration: JSONObject = {"level": self.clevel}
        if self.name == "zstd":
            configuration["checksum"] = False
        return {"name": self.name, "configuration": configuration}


def nearest_choice(
    compressor: Compressor | None, zarr_format: int, itemsize: int
) -> Compressor | Literal[False] | None:
    """Return the compressor for a new array that is made like an existing one, which has the argument `compressor`.

    It is the same compressor where the format has it and this package writes it; gzip for zlib, which is the same
    compression in another frame; None (the default) for others; False where the existing array is uncompressed.
    """
    if compressor is None:
        return False
    if compressor.name == "zlib" and zarr_format == 3:
        compressor = Compressor("gzip", clevel=compressor.clevel)
    elif compressor.name == "blosc" and str(compressor.shuffle) == _BLOSC_AUTO:
        compressor = replace(compressor, shuffle="bitshuffle" if itemsize == 1 else "shuffle")
    try:
        Compressor.of(compressor).to_json(zarr_format, itemsize)  # type: ignore[union-attr]
    except InvalidArgumentError:
        return None
    return compressor


def _default_of(name: str) -> Compressor:
    if name == "blosc":
        return Compressor()
    if name in _BLOSC_CODECS and name not in ("zstd", "zlib"):
        return Compressor("blosc", name)
    if name in _DEFAULT_LEVEL:
        return Compressor(name, clevel=_DEFAULT_LEVEL[name])
    raise _unknown_error(name)


def _unknown_error(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"The compressor {name!r} is unknown: choose blosc, zstd, gzip, lz4, zlib, bz2 or none."
    )


def _settings_of(codec: object) -> Mapping[str, Any]:
    """Return the settings of a codec object of numcodecs or zarr-python."""
    if hasattr(codec, "cname"):  # blosc of zarr-python before 3.1.4 cannot describe itself without a typesize
        blosc = {key: getattr(codec, key, None) for key in ("cname", "clevel", "shuffle", "blocksize")}
        return {
            "name": "blosc",
            "configuration": {key: value for key, value in blosc.items() if value is not None},
        }
    for method in ("get_config", "to_dict"):
        describe = getattr(codec, method, None)
        settings = None if describe is None else describe()
        if isinstance(settings, Mapping):
            return settings
    raise InvalidArgumentError(
        f"compressor={codec!r} is not understood: pass a name such as 'zstd', a Compressor, or a codec's JSON."
    )


def compressor_from_json(settings: Mapping[str, Any]) -> Compressor:
    """Parse a codec of either Zarr format; unknown settings are accepted, since decoding checks them."""
    name = settings.get("name", settings.get("id"))
    configuration = settings.get("configuration", settings)
    if not isinstance(name, str) or not isinstance(configuration, Mapping):
        raise InvalidArgumentError(f"compressor={dict(settings)!r} has no codec name under 'name' or 'id'.")
    name = name.removeprefix("numcodecs.")
    if name != "blosc":
        level = configuration.get("level", configuration.get("clevel", _DEFAULT_LEVEL.get(name)))
        return Compressor(name, clevel=level)
    shuffle = configuration.get("shuffle", "bitshuffle")
    if isinstance(shuffle, int) and 0 <= shuffle < len(_SHUFFLES):
        shuffle = _SHUFFLES[shuffle]
    shuffle = getattr(shuffle, "value", shuffle)
    cname = configuration.get("cname", "zstd")
    cname = getattr(cname, "value", cname)
    blocksize = configuration.get("blocksize")
    if blocksize in (0, _best_blocksize(cname)):  # 0 means the encoder's default
        blocksize = None
    return Compressor("blosc", cname, configuration.get("clevel", 1), shuffle, blocksize)


def _best_blocksize(cname: object) -> int:
    return _ZSTD_BLOCK if cname == "zstd" else 0


def _check_settings(compressor: Compressor) -> Compressor:
    if compressor.name not in _LEVELS:
        raise _unknown_error(compressor.name)
    lowest, highest = _LEVELS[compressor.name]
    level = compressor.clevel
    if not isinstance(level, int) or isinstance(level, bool) or not lowest <= level <= highest:
        raise InvalidArgumentError(
            f"The level {level!r} of the compressor {compressor.name!r} is not a number from {lowest} to {highest}."
        )
    blocksize = compressor.blocksize
    if blocksize is not None and (
        not isinstance(blocksize, int) or isinstance(blocksize, bool) or not 0 <= blocksize < 1 << 31
    ):
        raise InvalidArgumentError(
            f"The blocksize {blocksize!r} of blosc is not a number of bytes from 0 to 2**31 - 1."
        )
    if compressor.name == "blosc" and (
        compressor.cname not in _BLOSC_CODECS or compressor.shuffle not in _SHUFFLES
    ):
        raise InvalidArgumentError(
            f"There is no blosc with cname={compressor.cname!r} and shuffle={compressor.shuffle!r}: "
            f"cname is one of {', '.join(_BLOSC_CODECS)}, shuffle one of {', '.join(_SHUFFLES)}."
        )
    return compressor


ZarrFormat: TypeAlias = Literal[2, 3]
"""The format of a store's documents."""

FillValue: TypeAlias = bool | int | float | complex
"""Value of chunks that were never written."""

#: The dtypes that OME-Zarr arrays may have, in either format.
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


_CHUNK_KEYS = {
    2: (
        *("zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters"),
        "dimension_separator",
    ),
    3: (
        *("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding"),
        *("fill_value", "codecs"),
    ),
}


@dataclass(frozen=True)
class ArrayMeta:
    """Shape, dtype, chunking and compression of one array."""

    shape: Shape
    dtype: np.dtype[Any]
    """In the machine's byte order, whatever the stored byte order."""
    chunks: Shape
    """Lengths of a compressed chunk (the inner chunks where there are shards)."""
    shards: Shape | None = None
    """Lengths of a file where chunks are packed into shards."""
    fill_value: FillValue = 0
    compressor: Compressor | None = field(default_factory=Compressor)
    """None: chunks are stored uncompressed."""
    dimension_names: tuple[str | None, ...] | None = None
    attributes: JSONObject = field(default_factory=dict)
    zarr_format: ZarrFormat = 3
    separator: str = "/"
    """The character between the numbers of a chunk key: "/" or "."."""
    codecs: tuple[str, ...] = ()
    """Names of all codecs, filters and compressors in order, known or not."""
    document: JSONObject = field(default_factory=dict, repr=False)
    """The document as stored, without the attributes."""

    @property
    def chunk_document(self) -> JSONObject:
        """The document with only those keys that define the chunks: others may contain extensions."""
        return {key: self.document[key] for key in _CHUNK_KEYS[self.zarr_format] if key in self.document}

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def checksum(self) -> bool:
        """Whether each chunk ends in a crc32c checksum."""
        return "crc32c" in self.codecs

    @property
    def nbytes(self) -> int:
        """Uncompressed size of all values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @cached_property
    def files(self) -> Shape:
        """Lengths per axis of one file: the shards, or else the chunks."""
        return self.shards or self.chunks

    @cached_property
    def chunks_per_file(self) -> Shape:
        """Number of chunks per axis of one file."""
        return tuple(
            file_length // chunk_length
            for file_length, chunk_length in zip(self.files, self.chunks, strict=True)
        )

    @cached_property
    def grid(self) -> Shape:
        """Number of files per axis."""
        return tuple(
            -(-length // file_length) for length, file_length in zip(self.shape, self.files, strict=True)
        )

    def file_region(self, index: Sequence[int]) -> tuple[slice, ...]:
        """Return the region of the array that one file covers."""
        return tuple(
            slice(file_number * file_length, min((file_number + 1) * file_length, length), 1)
            for file_number, file_length, length in zip(index, self.files, self.shape, strict=True)
        )

    def chunks_in(self, index: Sequence[int]) -> int:
        """Count the chunks of one file that lie in the array."""
        return math.prod(
            -(-min(file_length, length - file_number * file_length) // chunk_length)
            for file_number, length, file_length, chunk_length in zip(
                index, self.shape, self.files, self.chunks, strict=True
            )
        )

    def chunk_key(self, index: Sequence[int]) -> str:
        """Return the key of one file below the array's path, such as ``"c/1/0"``."""
        numbers = [str(number) for number in index]
        if self.zarr_format == 3:
            encoding = self.document.get("chunk_key_encoding", {})
            if encoding == "default" or not encoding or encoding.get("name", "default") == "default":
                return self.separator.join(["c", *numbers])
        return self.separator.join(numbers) or "0"

    def to_document(self) -> JSONObject:
        """Return the document to store: in Zarr v3 with the attributes, which have their own document in Zarr v2."""
        if self.zarr_format == 2:
            return self.document
        names = None if self.dimension_names is None else list(self.dimension_names)
        document = {**self.document, "attributes": self.attributes}
        return document if names is None else {**document, "dimension_names": names}

    def with_shape(self, shape: Shape) -> ArrayMeta:
        """Return the same array with another shape."""
        return replace(self, shape=shape, document={**self.document, "shape": list(shape)})

    def with_attributes(self, attributes: JSONObject) -> ArrayMeta:
        """Return the same array with other user attributes."""
        return replace(self, attributes=attributes)
