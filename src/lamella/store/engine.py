"""The seam between arrays and what encodes and decodes their pixels.

What an engine does, and which one serves an array: ours wherever we know the codecs, zarr-python elsewhere. Engines
never write documents.

All engines write every chunk that they are given, also one that holds nothing but the fill value: a frame
written as zeros is not the same as a frame never written.
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
"""The engines by name."""


class Engine(Protocol):
    """Reads and writes the pixels of one array as its metadata stood when the engine was opened."""

    name: EngineName
    #: What is raised for damaged chunks and for the system's faults.
    errors: tuple[type[Exception], ...]

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        """Return the block of a selection; into `out` when given, which has its shape and dtype."""

    def read_many(self, wanted: Sequence[tuple[Selection, Array]]) -> None:
        """Read a block for each selection, into the array beside it."""

    def write(self, selection: Selection, block: Array) -> None:
        """Write a block of the selection's shape and the array's dtype; returns when it is stored."""

    def system_fault(self, error: Exception) -> OSError | None:
        """Find the error of the file system or service behind one of `read` or `write`; None for damaged chunks."""


@contextmanager
def opening(storage: Storage, path: str, meta: ArrayMeta, where: str) -> Iterator[None]:
    """Within it what reads or writes the pixels of an array is opened, after a look at memory and links.

    Raises
    ------
    TooLargeError
        A chunk, or the index of a shard, is more than memory holds.
    InvalidNameError
        A symbolic link leads from the array's folder, or one above it, out of the store.
    NotDecodedError
        The document names a codec that is not installed here.
    DamagedDataError
        It names settings that what is opened does not know.
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
    """Whether a codec of an array is installed nowhere here, as opposed to one whose settings are wrong."""
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
    """Open the engine that serves an array: the only place where one is chosen.

    ======================  ==============  ======================
    codecs                  store           engine
    ======================  ==============  ======================
    `coding_of` knows them  a local folder  files, by its files
    `coding_of` knows them  anything else   files, by its objects
    others                  any             zarr-python
    ======================  ==============  ======================

    Parameters
    ----------
    storage, path : Storage, str
        Where the array is.
    meta : ArrayMeta
        Its parsed document.
    only : {"files", "zarr"}, optional
        Ask for zarr-python where ours would serve; by default the best that can.
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
