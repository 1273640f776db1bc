"""The command line: ``lamella`` and its commands, one per module, each loaded when it is named.

A command parses arguments, calls one operation and prints. What goes wrong for a reason that a user can act upon is
one line on the error stream and exit code 1; anything else is a defect and shows its traceback.

Layer: cli. Modules of commands import click alone; an operation and its libraries load when the command runs.
"""

from __future__ import annotations

import errno
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from lamella._version import __version__
from lamella.errors import LamellaError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

COMMANDS = (
    "checksum",
    "convert",
    "info",
    "preview",
    "rechunk",
    "repair",
    "status",
    "upgrade",
    "validate",
    "verify",
)
"""Each is the function of the same name in the module of the same name here."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""


class Commands(click.Group):
    """A group whose commands are imported when they are named, and whose errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command by its name; None when there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"lamella.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it raises on purpose ends as one line and exit code 1."""
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                click.echo("Interrupted.", err=True)
                ctx.exit(INTERRUPTED)
            except (LamellaError, OSError) as error:
                if isinstance(error, OSError) and error.errno == errno.EPIPE:
                    raise  # the reader of our output left, as `head` does: click ends in silence
                raise click.ClickException(error_line(error)) from error


def error_line(error: BaseException) -> str:
    """Return the text of an error as one line.

    >>> error_line(FileNotFoundError(2, "No such file or directory", "a.tif"))
    'a.tif: No such file or directory'
    """
    if isinstance(error, OSError) and not isinstance(error, LamellaError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return " ".join(f"{where}{error.strerror}".split())
    return one_line(error)


def echo_lines(lines: Iterable[str]) -> None:
    """Print plain lines; what the terminal's encoding lacks becomes a question mark instead of an error."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        click.echo(line.encode(encoding, "replace").decode(encoding))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del category, filename, lineno, file, line
    click.echo(f"Warning: {' '.join(str(message).split())}", err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lamella")
def main() -> None:
    """Convert, show, check, mend and rewrite OME-Zarr microscopy data."""
