"""What fits into memory, asked before an engine asks for it.

A document can say any length up to 2**62. TensorStore ends the process when it cannot have the memory (std::bad_alloc),
and numpy and zarr-python raise errors of their own: so the sizes are looked at first.
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
"""Bytes of one inner chunk in the index of its shard."""

_UNKNOWN = 1 << 40


@cache
def memory_bytes() -> int:
    """Return how much memory this process can have at most: the machine's, or its own limit where it has one."""
    most = [_UNKNOWN]
    if hasattr(os, "sysconf"):
        with suppress(ValueError, OSError):
            most.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        most.append(_UNKNOWN if limit == resource.RLIM_INFINITY else limit)
    return min(n for n in most if n > 0)


def check_block(shape: Shape, itemsize: int, what: str) -> None:
    """Refuse a block of voxels that memory cannot hold.

    Raises
    ------
    TooLargeError
        With both sizes.

    Examples
    --------
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
    """Refuse a file that memory cannot hold.

    Raises
    ------
    TooLargeError
        With both sizes.
    """
    if size > memory_bytes():
        raise TooLargeError(
            f"{what} needs {binary_size(size)}, and this process can have {binary_size(memory_bytes())}"
        )


def check_files(meta: ArrayMeta, where: str) -> None:
    """Refuse an array whose single chunks, or indexes of shards, memory cannot hold.

    Raises
    ------
    TooLargeError
        No region of it can be read or written here.
    """
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
