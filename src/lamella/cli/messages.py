"""Print results, and print errors, warnings, notes and log records as lines such as "lamella: warning: ..."."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from lamella.errors import LamellaError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from lamella.types import JSONObject

    class Report(Protocol):
        """A report of an operation."""

        def to_dict(self) -> JSONObject:
            """Return the report as JSON values."""

        def lines(self) -> Iterable[str]:
            """Yield the report as lines of text."""


QUIET: Final = "lamella.quiet"
"""Key of a context's meta: whether nothing but errors is printed."""

START_TIME: Final = "lamella.began"
"""Key of a context's meta: the time at which the command started."""

RESUMES: Final = "lamella.resumes"
"""Key of a context's meta: whether the same command resumes an interrupted one."""

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as in shells."""

TERMINATED: Final = 143
"""Exit code after SIGTERM: 128 + SIGTERM."""

FAILED: Final = 1
"""Exit code of a check with findings, and of an operation that failed or was refused."""

UNREADABLE: Final = 2
"""Exit code for a wrong command line, as in click, and for a store that cannot be read."""


_ARGUMENT_WITH_OPTION: Final = re.compile(r"\b\w+(?:=\w*|\(\)) \((--[^()]+)\)")
"""An argument of a function, and in brackets the option of the command line."""


def sentence(text: str) -> str:
    """Return a message as one line that starts with a capital and ends with a full stop.

    >>> sentence("the pixel size" + chr(10) + "is unknown"), sentence("a.tif: No such file")
    ('The pixel size is unknown.', 'a.tif: No such file.')
    """
    line = " ".join(text.split())
    first = line.partition(" ")[0]
    if first.isalpha() and first.islower():
        line = line[0].upper() + line[1:]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def elapsed_seconds(context: click.Context) -> float:
    """Return the seconds since the command began."""
    return time.monotonic() - float(context.meta[START_TIME])


def megabytes(nbytes: int) -> str:
    """Return a number of bytes in megabytes.

    >>> megabytes(1_500_000)
    '1.5 MB'
    """
    return f"{nbytes / 1e6:.1f} MB"


def error_line(error: BaseException) -> str:
    """Return the text of an error as one line.

    >>> error_line(FileNotFoundError(2, "No such file or directory", "a.tif"))
    'a.tif: No such file or directory.'

    If the text has an argument of Python and its option in brackets, only the option is shown:

    >>> error_line(ValueError("a.zarr exists: pass overwrite=True (--overwrite)"))
    'a.zarr exists: pass --overwrite.'
    """
    if isinstance(error, OSError) and not isinstance(error, LamellaError) and error.strerror:
        file = f"{error.filename}: " if error.filename else ""
        return sentence(f"{file}{error.strerror}")
    return sentence(_ARGUMENT_WITH_OPTION.sub(r"\1", one_line(error)))


def echo_message(kind: str, text: str) -> None:
    """Print an error, warning, note or log record to the error stream."""
    click.echo(f"lamella: {kind}: {sentence(text)}", err=True)


def echo_notes(context: click.Context, notes: Iterable[str]) -> None:
    """Print notes, each once; none with ``--quiet``."""
    if not context.meta.get(QUIET):
        for note in dict.fromkeys(notes):
            echo_message("note", note)


def echo_lines(lines: Iterable[str]) -> None:
    """Print lines of a result; a character that the terminal's encoding lacks becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        click.echo(line.encode(encoding, "replace").decode(encoding))


def echo_json(document: object) -> None:
    """Print a document as JSON; if the terminal's encoding lacks characters of it, all are ASCII with escapes."""
    import json

    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2)
    click.echo(text)


def echo_result(context: click.Context, as_json: bool, document: object, line: str) -> None:
    """Print a result as JSON or as a line; no line with ``--quiet``."""
    if as_json:
        echo_json(document)
    elif not context.meta.get(QUIET):
        echo_lines([line])


def echo_report(context: click.Context, as_json: bool, report: Report) -> None:
    """Print a report as JSON or as lines; no lines with ``--quiet``."""
    if as_json:
        echo_json(report.to_dict())
    elif not context.meta.get(QUIET):
        echo_lines(report.lines())


class _Handler(logging.Handler):
    """Prints log records as messages."""

    def emit(self, record: logging.LogRecord) -> None:
        echo_message(record.levelname.lower(), record.getMessage())


def log_to_stderr(context: click.Context, verbosity: int) -> None:
    """Print the log until the command ends: operations for verbosity 1, every file for 2 and more."""
    if not verbosity:
        return
    logger, handler = logging.getLogger("lamella"), _Handler()
    old_level = logger.level

    def stop() -> None:
        logger.removeHandler(handler)
        logger.setLevel(old_level)

    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)
    context.call_on_close(stop)
