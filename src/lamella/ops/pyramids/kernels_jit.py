"""How the pixel kernels are compiled: numba's options, kept in one place, and what happens without a cache.

The kernels live in the other ``kernels_*`` modules. A kernel sees a C-contiguous array as rows of voxels,
and for each row of the output the list of input rows that it bins (see ``kernels_rows``): whatever the
number of axes and the factors, one compiled function per dtype serves.

numba takes the source file of a kernel as the key of its cache on disk, not the files of the functions it
calls: functions called inside a kernel stand in the kernel's own module, or an update could leave stale
code.

Layer: ops. Imported on first use only, because it imports numba.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` on its first call, without the GIL, and keep the machine code on disk.

    Where neither the package's folder nor the user's cache folder can be written, the code lives as long as
    the process.
    """
    try:
        compiled: Callable[P, R] = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        compiled = inner(function)
    return compiled


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` to be called by a kernel of the same module."""
    compiled: Callable[P, R] = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled


@cache
def _uncached(compiled: Callable[P, R]) -> Callable[P, R]:
    return inner(compiled.py_func)  # type: ignore[attr-defined]  # numba's name for the plain function


def run(compiled: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a kernel; when the cache on disk fails (full, over quota), compile it for this process alone."""
    try:
        return compiled(*args, **kwargs)
    except OSError:  # kernels do no I/O themselves: this is numba reading or writing its cache
        fresh: Callable[P, R] = _uncached(compiled)
        return fresh(*args, **kwargs)
