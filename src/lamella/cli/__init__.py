"""The command line: ``lamella`` and its commands, whose modules are loaded when a command is named.

A command parses arguments, calls one operation and prints. An error that a user can act upon is one line on the error
stream and an exit code (docs/command-line.md); any other error is a defect and shows its traceback.

Modules of commands import click alone; an operation and its libraries load when the command runs.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from lamella._version import __version__
from lamella.cli.messages import (
    FAILED,
    INTERRUPTED,
    QUIET,
    RESUMES,
    TERMINATED,
    UNREADABLE,
    echo_message,
    error_line,
)
from lamella.errors import LamellaError, StoreNotFoundError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import TextIO

COMMANDS = {
    "checksum": "Write checksums of all files.",
    "convert": "Convert microscopy files to OME-Zarr.",
    "copy": "Copy a store, or a part of it, to another place.",
    "download": "Copy a store, or a part of it, to this machine.",
    "edit": "Change names, colours, sizes, units and channels.",
    "export": "Write images as OME-TIFF, ImageJ TIFF, pictures or movies.",
    "info": "Show what a store contains.",
    "measure": "Measure the labels of an image or plate by scikit-image.",
    "merge": "Create a plate with the positions of several plates.",
    "mosaic": "Write the fields of a well, or tiles, as one image.",
    "pack": "Write a store into one file, an .ozx or .zip archive.",
    "preview": "Draw an image or a plate into a PNG file.",
    "pyramid": "Compute the lower-resolution levels of images.",
    "rechunk": "Rewrite arrays with other chunks, shards or compression.",
    "rename-well": "Rename wells of a plate.",
    "repair": "Fix metadata that can be fixed without guessing.",
    "status": "Report which pixels are written, missing or damaged.",
    "subset": "Create a store from a part of an image or plate.",
    "table": "List the tables of an image or plate, or print one.",
    "unpack": "Write the store in an archive into a folder.",
    "upgrade": "Convert a store to another OME-NGFF version.",
    "validate": "Check a store against the OME-NGFF specification.",
    "verify": "Decode every chunk and report damage.",
    "view": "Show an image or a plate in the browser.",
}
"""The commands and their help. Each is a function of the same name in this folder; its docstring starts with it."""

_MODULES = {
    "building": ("merge", "mosaic", "subset"),
    "checking": ("checksum", "status", "validate", "verify"),
    "copying": ("copy", "download", "pack", "unpack"),
    "editing": ("edit", "rename_well"),
    "rewriting": ("rechunk", "upgrade"),
    "tables": ("measure", "table"),
}
"""Modules of several commands; the others have the name of their command."""

_ONLY_READ = ("info", "status", "table", "validate", "verify", "view")
"""Commands that write nothing: an error that ends one means that the store could not be read."""


_NEW_OBJECTS = 20_000
"""Number of new objects after which Python searches for unreachable ones, 700 by default.

Modules and the documents of a plate are tens of thousands of objects that stay, and each search visits many of them:
0.08 of the 0.27 seconds in which the modules of `view` are loaded, and 0.6 of 4.1 seconds for 384 x 9 fields at a URL.
"""


class _Terminated(KeyboardInterrupt):
    """Raised at SIGTERM, which a batch system sends to end a job: operations clean up as after Ctrl-C."""


class _UsageError(click.UsageError):
    """A usage error with the prefix of all errors."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the usage, where to find help, and the message."""
        del file
        if self.ctx is not None:
            click.echo(self.ctx.get_usage(), err=True)
            click.echo(f"Try '{self.ctx.command_path} --help' for help.\n", err=True)
        echo_message("error", self.format_message())


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Show usage errors with the prefix of all errors."""
    try:
        yield
    except (_UsageError, click.exceptions.NoArgsIsHelpError):
        raise
    except click.UsageError as error:
        raise _UsageError(error.format_message(), error.ctx) from error


class Commands(click.Group):
    """A group whose commands are imported when they are named, and whose errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command by its name; None for an unknown name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = next((module for module, names in _MODULES.items() if name in names), name)
        command: click.Command = getattr(import_module(f"lamella.cli.{module}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command; the error for an unknown name suggests the nearest one."""
        if not ctx.resilient_parsing and args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}.{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one whole line for each command, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _usage_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that was raised on purpose ends as one line and an exit code."""
        with (
            _standard_output(),
            _rare_garbage_collection(),
            warnings.catch_warnings(),
            _raising_at_sigterm(),
            _usage_errors(),
        ):
            _show_warnings(ctx)
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt as interrupt:
                _end_interrupted(ctx, interrupt)
            except (LamellaError, OSError) as error:
                if isinstance(error, OSError) and error.errno == errno.EPIPE:
                    raise  # the program that reads our output has ended, such as `head`: click exits without a message
                if _is_output_error(error):
                    echo_message("error", f"Cannot write the standard output: {error_line(error)}")
                    ctx.exit(FAILED)
                echo_message("error", error_line(error))
                is_unreadable = isinstance(error, StoreNotFoundError) or ctx.invoked_subcommand in _ONLY_READ
                ctx.exit(UNREADABLE if is_unreadable else FAILED)


def _is_output_error(error: BaseException) -> bool:
    """Whether printing failed: errors of all other files contain the name of the file."""
    return (
        isinstance(error, OSError)
        and not isinstance(error, LamellaError)
        and (error.errno is not None and error.filename is None)
    )


@contextmanager
def _standard_output() -> Iterator[None]:
    """Discard the output if the standard output is closed (``>&-``); else the next opened file would receive it."""
    if sys.stdout is not None:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _end_interrupted(context: click.Context, interrupt: KeyboardInterrupt) -> NoReturn:
    resume = " Run the same command again to resume." if context.meta.get(RESUMES) else ""
    is_terminated = isinstance(interrupt, _Terminated)
    echo_message("error", f"{'Terminated' if is_terminated else 'Interrupted'}.{resume}")
    context.exit(TERMINATED if is_terminated else INTERRUPTED)


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Search for unreachable objects less often."""
    thresholds = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


@contextmanager
def _raising_at_sigterm() -> Iterator[None]:
    """Clean up at SIGTERM as at Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
        raise _Terminated

    old_handler = signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old_handler)


def _show_warnings(context: click.Context) -> None:
    """Print each warning once, as one line; none with ``--quiet``."""
    shown: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        del category, filename, lineno, file, line
        text = str(message)
        if text not in shown and not context.meta.get(QUIET):
            shown.add(text)
            echo_message("warning", text)

    warnings.showwarning = show


@click.group("lamella", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lamella")
def main() -> None:
    """Convert, show, check, repair and rewrite OME-Zarr microscopy data."""
