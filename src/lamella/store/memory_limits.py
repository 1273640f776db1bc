"""Check sizes against the memory of this process before allocating.

Documents may state lengths up to 2**62, at which TensorStore aborts the process, and numpy and zarr-python raise
various errors.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from lamella.errors import TooLargeError

if TYPE_CHECKING:
    from lamella.store.array_meta import ArrayMeta
    from lamella.types import Shape

_INDEX_ENTRY = 16
"""Bytes per inner chunk in a shard index."""

_UNKNOWN = 1 << 40


@cache
def memory_bytes() -> int:
    """Return the memory of the machine, or the limit of this process, in bytes."""
    limits = [_UNKNOWN]
    if hasattr(os, "sysconf"):
        with suppress(ValueError, OSError):
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits.append(_UNKNOWN if limit == resource.RLIM_INFINITY else limit)
    return min(n for n in limits if n > 0)


def check_block(shape: Shape, itemsize: int, what: str) -> None:
    """Raise `TooLargeError` for an array that does not fit into memory.

    >>> check_block((2, 2), 2, "reading '0'")
    >>> check_block((2**40, 2**20), 2, "reading '0'")
    Traceback (most recent call last):
    ...
    lamella.errors.TooLargeError: reading '0' needs 2 EiB for shape (1099511627776, 1048576), and this process can
    have ...: take a smaller region, or dask_array()
    """
    size = math.prod(shape) * itemsize
    if size > memory_bytes():
        raise TooLargeError(
            f"{what} needs {binary_size(size)} for shape {tuple(shape)}, and this process can have "
            f"{binary_size(memory_bytes())}: take a smaller region, or dask_array()"
        )


def check_bytes(size: int, what: str) -> None:
    """Raise `TooLargeError` for a file that does not fit into memory."""
    if size > memory_bytes():
        raise TooLargeError(
            f"{what} needs {binary_size(size)}, and this process can have {binary_size(memory_bytes())}"
        )


def check_files(meta: ArrayMeta, where: str) -> None:
    """Raise `TooLargeError` for an array with single chunks or shard indexes that do not fit into memory."""
    chunk = math.prod(meta.chunks) * meta.dtype.itemsize
    if chunk > memory_bytes():
        raise TooLargeError(
            f"the chunks {meta.chunks} of array {where} take {binary_size(chunk)} each, and this process can have "
            f"{binary_size(memory_bytes())}; its document may be damaged: compare it with the files beside it"
        )
    if meta.shards is None:
        return
    count = math.prod(s // c for s, c in zip(meta.shards, meta.chunks, strict=True))
    if count * _INDEX_ENTRY > memory_bytes():
        raise TooLargeError(
            f"each shard {meta.shards} of array {where} has {count} chunks {meta.chunks}, and this process can have "
            f"{binary_size(memory_bytes())} for the index of one; its document may be damaged: compare it with the "
            "files beside it"
        )


def binary_size(size: int) -> str:
    """Return a number of bytes as text.

    >>> binary_size(1536), binary_size(3 << 60)
    ('1.5 KiB', '3 EiB')
    """
    amount: float = min(size, 1 << 100)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if amount < 1024:
            return f"{round(amount, 1):g} {unit}"
        amount /= 1024
    return f"{amount:.4g} EiB" if amount < 1e6 else "more than any machine has"
