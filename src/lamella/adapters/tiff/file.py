"""Open TIFF files with ``tifffile``, and raise for damage that it only logs."""

from __future__ import annotations

import logging
import os
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lamella.adapters.tiff.companion import open_set
from lamella.adapters.tiff.completeness import check_names
from lamella.errors import LamellaError, MissingDependencyError, SourceError, importing, one_line
from lamella.ops.conversion.source import COPY_AGAIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_DAMAGE = (
    "corrupted",
    "invalid page offset",
    "out of range",
    "missing data offset",
    "failed to read",
    "discontiguous",
)
"""Words in the log messages of tifffile that report damage."""

_MISSING_FILE = re.compile(r"failed to read '(.+)', raised FileNotFoundError")


def load_tifffile() -> ModuleType:
    """Import ``tifffile`` and ``imagecodecs``, its decoders; raise MissingDependencyError if one is not installed."""
    with importing('Reading TIFF needs {library}, which is not installed (pip install "lamella[tiff]").'):
        import imagecodecs  # noqa: F401 (tifffile loads it by itself)
        import tifffile
    module: ModuleType = tifffile
    return module


class _Listener(logging.Filter):
    """Collects the log messages of one thread, so that they reach no handler."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self.messages: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        self.messages.append(record.getMessage())
        return False


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect the log messages of tifffile in this thread, without any other change of logging."""
    listener = _Listener()
    logger = logging.getLogger("tifffile")
    logger.addFilter(listener)
    try:
        yield listener.messages
    finally:
        logger.removeFilter(listener)


@contextmanager
def open_file(path: str, *, is_partial: bool = False, damage: list[str] | None = None) -> Iterator[Any]:
    """Yield an open TIFF file with its list of series; that of the whole set if the file is one of a set.

    With ``is_partial``, damage that tifffile logs is not an error, and its messages are added to ``damage``.
    """
    tifffile = load_tifffile()
    _check_file(path)
    with _listening() as messages:
        try:
            with open_set(tifffile, path, is_partial=is_partial) as file:
                check_names(path, file)
                # Newer versions of tifffile list the series on first use, and log then.
                series = list(file.series)
                if not is_partial:
                    _check_messages(path, messages)
                elif damage is not None:
                    damage += [_reason(message) for message in messages if _is_damage(message)]
                if not series:
                    raise SourceError(
                        f"{path} is a TIFF file without any image. If it should have one, copy it again."
                    )
                yield file
                if not is_partial:
                    _check_messages(path, messages)
        except (LamellaError, MemoryError):
            raise
        except ImportError as error:
            raise MissingDependencyError(
                f"{path} cannot be read as TIFF: {one_line(error)[:160]}. Install what is missing."
            ) from error
        except tifffile.TiffFileError as error:
            raise SourceError(
                f"{path} is not a TIFF file, or its header is damaged ({one_line(error)[:160]}). {COPY_AGAIN}"
            ) from error
        except PermissionError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from error
        except Exception as error:  # a damaged file makes tifffile fail in any way
            raise SourceError(
                f"{path} cannot be read as TIFF: it is damaged ({one_line(error)[:160]}). {COPY_AGAIN}"
            ) from error


def _check_file(path: str) -> None:
    try:
        size = os.path.getsize(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from error
    if size == 0:
        raise SourceError(f"{path} is empty. {COPY_AGAIN}")


def _check_messages(path: str, messages: list[str]) -> None:
    for message in messages:
        if _is_damage(message):
            if missing := _MISSING_FILE.search(message):
                raise SourceError(
                    f"{path} is damaged or incomplete: its OME-XML names the file {missing[1]}, which does not "
                    "exist. Put all files of the set into one folder."
                )
            raise SourceError(f"{path} is damaged or incomplete: {_reason(message)}. {COPY_AGAIN}")


def _is_damage(message: str) -> bool:
    return any(words in message for words in _DAMAGE)


def _reason(message: str) -> str:
    """Return a message of tifffile without the object at its start ("<tifffile.TiffFile 'a.tif'> ...")."""
    reason = message.partition(">")[2].strip() if message.startswith("<") else message
    return " ".join((reason or message).split())[:160]
