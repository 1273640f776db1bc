"""Compress and decompress blocks by the c-blosc in the library of numcodecs, without importing numcodecs.

That import takes 25 ms of Python in each process, as long as compressing 20 MB. On worker threads numcodecs calls the
same functions, so the bytes are the same. Where the library lacks them, `compressor` and `decompressor` return None,
and numcodecs is used.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.types import Array

    Bytes = bytes | memoryview

_OVERHEAD = 16
"""Bytes that a compressed block can be longer than its values."""

_LEVELS = range(10)

HEADER = 16
"""Bytes of the header of a compressed block."""


def check_length(data: Bytes) -> None:
    """Raise ValueError where a block is not as long as its header states: c-blosc would read the memory behind it."""
    stored = int.from_bytes(data[12:HEADER], "little")
    if len(data) < HEADER or stored != len(data):
        raise ValueError(f"a blosc chunk of {len(data)} bytes has a header for {stored}")


def compressor(
    name: str, level: int, shuffle: int, blocksize: int, typesize: int
) -> Callable[[Array], bytes] | None:
    """Return a function that compresses C-contiguous blocks without the GIL; None for what numcodecs must judge.

    ``shuffle`` is 0 for none, 1 for bytes, 2 for bits, -1 to choose by the size of the values.

    >>> compress = compressor("zstd", 1, 2, 0, 2)
    >>> len(compress(np.zeros(1000, "u2"))) < 100 if compress else True
    True
    """
    numbers = (level, shuffle, blocksize, typesize)
    if not isinstance(name, str) or any(type(number) is not int for number in numbers):
        return None
    library = _library()
    if library is None or level not in _LEVELS or blocksize < 0 or name not in _compressors(library):
        return None
    mode, encoded_name = (2 if typesize == 1 else 1) if shuffle < 0 else shuffle, name.encode()

    def compress(values: Array) -> bytes:
        out = np.empty(values.nbytes + _OVERHEAD, np.uint8)
        length = library.blosc_compress_ctx(
            *(level, mode, typesize, values.nbytes, values.ctypes.data),
            *(out.ctypes.data, out.nbytes, encoded_name, blocksize, 1),
        )
        if length <= 0:
            raise RuntimeError(f"c-blosc ended with {length} for {values.nbytes} bytes")
        return out[:length].tobytes()

    return compress


def decompressor() -> Callable[[Bytes, Array], None] | None:
    """Return a function that fills contiguous memory with a block, whose header states its size; None without one."""
    library = _library()
    if library is None:
        return None

    def decompress(data: Bytes, into: Array) -> None:
        stored = np.frombuffer(data, np.uint8)
        length = library.blosc_decompress_ctx(stored.ctypes.data, into.ctypes.data, into.nbytes, 1)
        if length <= 0:
            raise RuntimeError(f"c-blosc ended with {length} for a block of {into.nbytes} bytes")

    return decompress


def _compressors(library: Any) -> list[str]:
    return str(library.blosc_list_compressors().decode()).split(",")


@cache
def _library() -> Any:
    """Load the library; return None if it is not there, or not of c-blosc 1."""
    spec = find_spec("numcodecs")
    folders = [] if spec is None else spec.submodule_search_locations or []
    paths = [os.path.join(folder, f"blosc{suffix}") for folder in folders for suffix in EXTENSION_SUFFIXES]
    path = next(filter(os.path.isfile, paths), None)
    if path is None:
        return None
    try:
        library = ctypes.CDLL(path)
        library.blosc_get_version_string.restype = ctypes.c_char_p
        library.blosc_list_compressors.restype = ctypes.c_char_p
        number, size, pointer = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
        function = library.blosc_compress_ctx
        function.restype = number
        function.argtypes = (
            *(number, number, size, size, pointer),
            *(pointer, size, ctypes.c_char_p, size, number),
        )
        function = library.blosc_decompress_ctx
        function.restype = number
        function.argtypes = (pointer, pointer, size, number)
    except (OSError, AttributeError):  # not built as on Linux and macOS: its functions are hidden
        return None
    return library if library.blosc_get_version_string().startswith(b"1.") else None
