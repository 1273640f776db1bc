"""The seam between arrays and what encodes and decodes their pixels.

What an engine does, and which one serves an array: TensorStore wherever it can address the store and knows the codecs,
zarr-python elsewhere. In a process forked from one that has used TensorStore, whose threads do not survive a fork, we
read local files ourselves where we know the codecs. Engines never write documents.

All engines write every chunk that they are given, also one that holds nothing but the fill value: a frame
written as zeros is not the same as a frame never written.

Layer: store.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from lamella.errors import DamagedDataError, LamellaError, NotDecodedError
from lamella.store.limits import check_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.coverage import Kind
    from lamella.store.selection import Selection
    from lamella.store.storage import Storage
    from lamella.types import Array

EngineName: TypeAlias = Literal["files", "tensorstore", "zarr"]
"""The engines by name."""


class Engine(Protocol):
    """Reads and writes the pixels of one array as its metadata stood when the engine was opened."""

    name: EngineName

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its library raises for damaged chunks and for the system's faults."""

    @property
    def reads_before_writing(self) -> frozenset[Kind]:
        """Kinds of wholly covered files that `write` would read first; they go through `encode` instead."""

    @property
    def survives_fork(self) -> bool:
        """Whether a child of this process can go on with it."""

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        """Return the block of a selection; into `out` when given, which has its shape and dtype."""

    def read_many(self, wanted: Sequence[tuple[Selection, Array]]) -> None:
        """Read a block for each selection, into the array beside it."""

    def write(self, selection: Selection, block: Array) -> None:
        """Write a block of the selection's shape and the array's dtype; returns when it is stored."""

    def encode(self, selection: Selection, block: Array) -> dict[str, bytes]:
        """Return the files that hold a block and nothing else, by their keys below the array."""

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
    storage.enter(path)
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
    """Open the engine that serves an array.

    Parameters
    ----------
    storage, path : Storage, str
        Where the array is.
    meta : ArrayMeta
        Its parsed document.
    only : {"files", "tensorstore", "zarr"}, optional
        Ask for one; by default the best that can.
    """
    if only == "files" or (only is None and is_forked()):
        from lamella.store.engine_files import open_files

        found = open_files(storage, path, meta, partial(_open_library, storage, path, meta))
        if found is not None:
            return found
    return _open_library(storage, path, meta, only)


def _open_library(storage: Storage, path: str, meta: ArrayMeta, only: EngineName | None = None) -> Engine:
    if only != "zarr" and not is_forked():
        from lamella.store.engine_tensorstore import open_tensorstore

        engine = open_tensorstore(storage, path, meta)
        if engine is not None:
            return engine
    from lamella.store.engine_zarr import ZarrEngine

    return ZarrEngine(storage, path, meta)


_forked = False


def is_forked() -> bool:
    """Whether this process was forked from one that had loaded TensorStore."""
    return _forked


def _after_fork() -> None:
    global _forked  # noqa: PLW0603
    _forked = "tensorstore" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
