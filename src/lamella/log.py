"""The log of the package: ``logging.getLogger("lamella")``. Imports nothing of the package.

INFO has one record when an operation starts and one when it ends; DEBUG names each file that is written, moved or
deleted. Nothing is printed unless the program that uses lamella configures logging.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("lamella")
log.addHandler(logging.NullHandler())


@contextmanager
def logged(operation: str, *subjects: object) -> Iterator[None]:
    """Log the start and the end of an operation at INFO; ``operation`` is an imperative with ``%s`` for each subject.

    >>> with logged("Convert %s files to %s", 3, "plate.zarr"):
    ...     pass
    """
    if not log.isEnabledFor(logging.INFO):
        yield
        return
    text, start = operation % subjects, time.monotonic()
    log.info("%s.", text)
    try:
        yield
    except BaseException as error:
        log.info("%s: stopped after %.1f s by %s.", text, time.monotonic() - start, type(error).__name__)
        raise
    log.info("%s: done in %.1f s.", text, time.monotonic() - start)
