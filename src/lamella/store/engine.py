"""Define the interface of engines, which encode and decode pixels, and choose one for an array.

The own engine serves all codecs of ``coding``, zarr-python the others. Engines never write documents. They write every
chunk, even where it equals the fill value: a frame of zeros is not the same as a frame that was never written.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from lamella.errors import DamagedDataError, LamellaError, NotDecodedError
from lamella.store.coding import coding_of
from lamella.store.memory_limits import check_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.chunk_source import ChunkSource
    from lamella.store.coding import Coding
    from lamella.store.selection import Selection
    from lamella.store.storage import Storage
    from lamella.types import Array

EngineName: TypeAlias = Literal["files", "zarr"]


class Engine(Protocol):
    """Reads and writes the pixels of one array, as described when the engine was opened."""

    name: EngineName
    #: Exceptions raised for damaged chunks and system errors.
    errors: tuple[type[Exception], ...]

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        """Return the block of a selection; read into `out`, of its shape and dtype, unless None."""

    def read_many(self, requests: Sequence[tuple[Selection, Array]]) -> None:
        """Read each selection into the array beside it."""

    def write(self, selection: Selection, block: Array) -> None:
        """Write a block of the selection's shape and the array's dtype; return when it is stored."""

    def system_fault(self, error: Exception) -> OSError | None:
        """Return the error of the file system or service behind an exception; None for damaged chunks."""


@contextmanager
def opening(storage: Storage, path: str, meta: ArrayMeta, where: str) -> Iterator[None]:
    """Check memory and links before an engine of an array is opened, and translate errors of codecs.

    Raises `TooLargeError` where a chunk or shard index exceeds the memory, `InvalidNameError` where a symbolic link
    leads out of the store, `NotDecodedError` for a codec that is not installed, and `DamagedDataError` for unknown
    settings of a codec.
    """
    check_files(meta, where)
    storage.check_folder(path)
    try:
        yield
    except LamellaError:
        raise
    except Exception as error:  # engines raise what their libraries raise
        raise (NotDecodedError if _has_unknown_codec(meta) else DamagedDataError)(
            f"cannot read or write the pixels of array {where}: they are stored with codecs "
            f"{', '.join(meta.codecs) or 'none'}, and one of them, or its settings, is not known here; its "
            "metadata can be read"
        ) from error


def _has_unknown_codec(meta: ArrayMeta) -> bool:
    """Whether a codec is not installed, as opposed to one with wrong settings."""
    if meta.zarr_format == 2:
        from numcodecs import registry  # type: ignore[import-untyped]

        return any(
            name not in registry.codec_registry and name not in registry.entries for name in meta.codecs
        )
    from zarr.registry import get_codec_class

    try:
        for name in meta.codecs:
            get_codec_class(name)
    except (KeyError, ValueError):  # KeyError before zarr-python 3.4, UnknownCodecError since
        return True
    return False


def open_engine(storage: Storage, path: str, meta: ArrayMeta, only: EngineName | None = None) -> Engine:
    """Open the engine of an array.

    ======================  ==============  ======================
    codecs                  store           engine
    ======================  ==============  ======================
    `coding_of` knows them  a local folder  own, `chunk_files`
    `coding_of` knows them  other stores    own, `chunk_objects`
    others                  any             zarr-python
    ======================  ==============  ======================

    ``only="zarr"`` forces zarr-python.
    """
    coding = None if only == "zarr" else coding_of(meta)
    if coding is not None:
        from lamella.store.engine_files import FilesEngine

        return FilesEngine(storage, path, meta, coding, _source(storage, path, meta, coding))
    from lamella.store.engine_zarr import ZarrEngine

    return ZarrEngine(storage, path, meta)


def _source(storage: Storage, path: str, meta: ArrayMeta, coding: Coding) -> ChunkSource:
    from lamella.store.local import LocalStorage

    if isinstance(storage, LocalStorage):
        from lamella.store.chunk_files import FolderSource

        return FolderSource(storage, path, coding)
    from lamella.store.chunk_objects import ObjectSource

    return ObjectSource(storage, path, meta, coding)
