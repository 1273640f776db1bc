"""The errors of lamella, grouped by what a caller would do about them.

.. code-block:: text

    LamellaError
    ├── StoreNotFoundError     (FileNotFoundError)             nothing at the path given to open
    ├── StoreExistsError       (FileExistsError)               creation would replace a store
    ├── NodeNotFoundError      (KeyError, FileNotFoundError)   no such member in an open store
    ├── NodeExistsError        (ValueError, FileExistsError)   the member exists already
    ├── InvalidNameError       (ValueError)                    not a name, or it leaves the store
    ├── InvalidArgumentError   (ValueError)                    a wrong shape, dtype, axis, channel, mode, ...
    ├── UnknownOptionError     (ValueError, TypeError)         a keyword that the call does not know
    ├── OutOfBoundsError       (IndexError)                    an index that does not fit the array
    ├── ReadOnlyError          (ValueError, PermissionError)   a write to a store opened for reading
    ├── ClosedError            (ValueError)                    a write to a closed node
    ├── MetadataError          (ValueError)                    a document is damaged or contradicts itself
    ├── DamagedDataError       (ValueError, OSError)           a chunk or shard cannot be decoded
    │   └── NotDecodedError    (MetadataError)                 an unsupported data type or codec, not damage
    ├── TooLargeError          (MemoryError, ValueError)       what was asked for does not fit into memory
    ├── StorageError           (OSError)                       the file system or service refused: full disk, no locks
    │   ├── AccessError        (PermissionError)               a service refused: credentials, or no permission
    │   └── ConflictError                                      another session committed to the same branch
    ├── SourceError            (ValueError)                    a file to convert cannot be read or placed
    ├── WorkerLostError        (RuntimeError)                  an executor lost one of its processes
    ├── UnitsFailedError       (RuntimeError)                  a function of the user failed on some units of a plate
    └── MissingDependencyError (ImportError)                   an optional library is not installed

:class:`MetadataWarning` (a UserWarning) is not an error: the metadata were read with an assumption. With
``strict=True``, ``open_ome_zarr`` raises a MetadataError instead.

Every class derives from the builtins a caller would expect. A message states what was asked, what was found,
where, and what to do; the cause stays chained.

Imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import warnings
from difflib import get_close_matches
from reprlib import Repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import FrameType

_repr = Repr()
_repr.maxlevel = 3
_repr.maxstring = _repr.maxother = _repr.maxlong = 80


def short_repr(value: object) -> str:
    """Return a value from a file as a message shows it: its repr, cut where it is long or nested deeply.

    >>> short_repr([1, "a"]), len(short_repr("x" * 100_000)), short_repr([[[[[]]]]])
    ("[1, 'a']", 80, '[[[[...]]]]')
    """
    return _repr.repr(value)


def one_line(error: BaseException) -> str:
    """Return the text of an error on one line; the name of its class where it has none.

    >>> one_line(ValueError("two" + chr(10) + "lines")), one_line(MemoryError())
    ('two lines', 'MemoryError')
    """
    return " ".join(str(error).split()) or type(error).__name__


_FIRST_WORDS = re.compile(r"(?:An?|Cannot|Each|Its?|No|Nothing|Such|The|There|These|This) ")
_QUESTION = re.compile(r"\.? Did (you mean .+\?)$")


def clause(message: object) -> str:
    """Return an error, or its text, as a clause of another message: without its capital and its full stop.

    >>> clause(ValueError("There is no axis 'q'.")), clause("A/1 has no pixels.")
    ("there is no axis 'q'", 'A/1 has no pixels')

    The question of `did_you_mean` goes into brackets:

    >>> clause("A/1 has no axis 'q': its axes are y, x. Did you mean 'x'?")
    "A/1 has no axis 'q': its axes are y, x (did you mean 'x'?)"
    """
    text = one_line(message) if isinstance(message, BaseException) else str(message)
    first = text[:1].lower() if _FIRST_WORDS.match(text) else text[:1]
    return first + _QUESTION.sub(r" (did \1)", text[1:]).removesuffix(".")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun in the singular or plural.

    >>> counted(1, "plane"), counted(0, "plane"), counted(2, "axis", "axes")
    ('1 plane', '0 planes', '2 axes')
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def first_of(names: Sequence[str], count: int = 8, separator: str = ", ") -> str:
    """Return the first names, and the number of the others; "none" without names.

    >>> first_of(["A/1", "A/2"]), first_of("abcdefghij"), first_of([])
    ('A/1, A/2', 'a, b, c, d, e, f, g, h and 2 more', 'none')
    """
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return f"{separator.join(names[:count]) or 'none'}{more}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that the user probably meant: the nearest number, or the name that is spelled most alike.

    >>> nearest("7", ["0", "1"]), nearest("nucleus", ["cells", "nuclei"]), nearest("dapi", ["x"])
    ('1', 'nuclei', None)
    """
    names = list(names)
    if name.isdecimal():
        numbers = [candidate for candidate in names if candidate.isdecimal()]
        return min(numbers, key=lambda number: abs(int(number) - int(name)), default=None)
    by_folded_name = {candidate.casefold(): candidate for candidate in reversed(names)}
    matches = get_close_matches(name.casefold(), by_folded_name, 1)
    return by_folded_name[matches[0]] if matches else None


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """Return " Did you mean ...?" for the end of a message about an unknown name; empty if no name is near.

    >>> did_you_mean("Gfp", ["DAPI", "GFP"]), did_you_mean("x", ["DAPI", "GFP"])
    (" Did you mean 'GFP'?", '')
    """
    suggestion = nearest(name, names) if isinstance(name, str) else None
    return "" if suggestion is None else f" Did you mean {suggestion!r}?"


def check_options(call: str, options: Iterable[str], accepted: Iterable[str]) -> None:
    """Raise for the first option that a call does not know.

    >>> check_options("f()", ["mod"], ["version", "mode"])
    Traceback (most recent call last):
    ...
    lamella.errors.UnknownOptionError: f() has no option 'mod'. Did you mean 'mode'? It knows mode, version.
    """
    names = sorted(accepted)
    for option in options:
        if option not in names:
            hint = did_you_mean(option, names)
            raise UnknownOptionError(f"{call} has no option {option!r}.{hint} It knows {', '.join(names)}.")


PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
"""Folder of lamella's modules."""

_NO_CALLERS = PACKAGE, contextlib.__file__
"""Paths of modules that call lamella's functions for a user; contextlib runs the end of a ``with`` block."""


_warned = threading.local()
"""Has the ``frame`` of the user for whom this thread works, see `warning_user`."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn in the name of the first caller outside of lamella, so that the warning names the line of the user."""
    frame = getattr(_warned, "frame", None) or users_frame()
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    module = frame.f_globals.get("__name__", "<unknown>")
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module, registry)


def users_frame() -> FrameType:
    """Return the frame of the first caller outside of lamella, in the thread that calls."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NO_CALLERS):
        frame = frame.f_back
    return frame


@contextlib.contextmanager
def warning_user(frame: FrameType) -> Iterator[None]:
    """Warn in the name of a user in another thread, for whom this thread works."""
    before, _warned.frame = getattr(_warned, "frame", None), frame
    try:
        yield
    finally:
        _warned.frame = before


@contextlib.contextmanager
def importing(message: str) -> Iterator[None]:
    """Raise MissingDependencyError if an import fails; ``{library}`` in the message becomes the missing library.

    >>> with importing('Tasting needs {library} (pip install "lamella[taste]").'):
    ...     import tasting
    Traceback (most recent call last):
    ...
    lamella.errors.MissingDependencyError: Tasting needs tasting (pip install "lamella[taste]").
    """
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(message.replace("{library}", str(error.name))) from error


class LamellaError(Exception):
    """Base of every error that lamella raises on purpose."""

    def __str__(self) -> str:
        # `KeyError.__str__` returns the repr of the message, in quotation marks.
        return str(self.args[0]) if len(self.args) == 1 else Exception.__str__(self)


def name_where(error: LamellaError, where: object) -> None:
    """Name the node, array or file of a request at the end of a message that does not name it.

    The error is changed in place, so that its traceback shows it once.
    """
    if str(where) not in str(error):
        error.args = (f"{error} Requested for {where}.", *error.args[1:])


class StoreNotFoundError(LamellaError, FileNotFoundError):
    """There is no store at the path to open."""


class StoreExistsError(LamellaError, FileExistsError):
    """Creation would replace an existing file or folder."""


class NodeNotFoundError(LamellaError, KeyError, FileNotFoundError):
    """An open store has no such member."""


class NodeExistsError(LamellaError, ValueError, FileExistsError):
    """The member to create exists already."""


class InvalidNameError(LamellaError, ValueError):
    """Not a name of a row, column, field or image, or a path that leaves the store."""


class InvalidArgumentError(LamellaError, ValueError):
    """A shape, dtype, axis, channel, transform or option that does not fit."""


class UnknownOptionError(InvalidArgumentError, TypeError):
    """A keyword that the call does not know; also a TypeError, as Python raises for one."""


class WrongTypeError(InvalidArgumentError, TypeError):
    """An argument of a type that the call cannot use; also a TypeError, as Python raises for one."""


class OutOfBoundsError(LamellaError, IndexError):
    """An index that does not fit the array: beyond its shape, too many axes, or not an index at all."""


class ReadOnlyError(LamellaError, ValueError, PermissionError):
    """A write to a store that was opened for reading."""


class ClosedError(LamellaError, ValueError):
    """A write to a node that was closed."""


class MetadataError(LamellaError, ValueError):
    """A metadata document is missing, damaged or contradicts itself."""


class MetadataWarning(UserWarning):
    """A metadata document breaks a rule or is ambiguous; the message states the assumption with which it was read."""


class DamagedDataError(LamellaError, ValueError, OSError):
    """A chunk or shard cannot be read or decoded."""


class NotDecodedError(MetadataError, DamagedDataError):
    """An array with an unsupported data type, layout or codec, such as the texts of a table; it is not damaged."""


class TooLargeError(LamellaError, MemoryError, ValueError):
    """A request, or one chunk of the size that its document states, does not fit into memory."""


class StorageError(LamellaError, OSError):
    """The file system or service under the store refused: full disk, no permission, no locks, network.

    Attributes
    ----------
    errno : int or None
        The system's error number if known, as ``errno.ENOSPC`` for a full disk.
    """

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.errno)


class AccessError(StorageError, PermissionError):
    """A service refused a request: wrong or missing credentials, or no permission to read, write or list."""


class ConflictError(StorageError):
    """A commit was refused, because another session committed to the same branch meanwhile."""


class SourceError(LamellaError, ValueError):
    """A file to convert cannot be read, has an impossible shape, or cannot be placed."""


class WorkerLostError(LamellaError, RuntimeError):
    """An executor lost one of its processes: it was killed, had no memory, or its machine is gone."""


class UnitsFailedError(LamellaError, RuntimeError):
    """A function that was mapped over a plate failed on some units; the results of the others are stored.

    ``report`` is the `MapReport` of the call, with all failures and the values of the other units.
    """

    report: Any = None


class MissingDependencyError(LamellaError, ImportError):
    """An optional library is not installed."""
