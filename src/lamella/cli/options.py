"""The options that commands share, each with one name, one letter and one meaning.

`operation_options` adds those that become arguments of an operation: ``lamella status PATH -j 2 -q`` calls the command
with ``options={"jobs": 2, "progress": False, ...}``, which it passes to the operation.
"""

from __future__ import annotations

import re
import time
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from lamella.cli.messages import QUIET, RESUMES, START_TIME, log_to_stderr

if TYPE_CHECKING:
    from collections.abc import Callable

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic in recent versions of click only


class Lengths(ParamType):
    """Lengths of the last axes, separated by commas, or a word."""

    name = "lengths"

    def __init__(self, *words: str) -> None:
        self._words = words

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return "|".join(["N,N,...", *self._words])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value in self._words:
            return value
        try:
            lengths = tuple(int(part) for part in value.split(","))
        except ValueError:
            lengths = ()
        if not lengths or min(lengths) < 1:
            words = "".join(f"{word} nor " for word in self._words)
            self.fail(f"{value!r} is neither {words}lengths like 16,256,256", param, ctx)
        return lengths


class NumberOr(ParamType):
    """A number from a minimum on, or a word."""

    name = "number"

    def __init__(self, minimum: int, *words: str) -> None:
        self._minimum, self._words = minimum, words

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return "|".join(["N", *self._words])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value).strip().lower()
        if text in self._words:
            return text
        if not (text.isascii() and text.isdecimal()) or int(text) < self._minimum:
            self.fail(
                f"{value!r} is neither {' nor '.join(self._words)} nor a number from {self._minimum} on",
                param,
                ctx,
            )
        return int(text)


class Region(ParamType):
    """Start and stop of axes: ``x=0:100,y=50:``; below 0 they count from the end."""

    name = "region"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, tuple[int | None, int | None]]:
        region: dict[str, tuple[int | None, int | None]] = {}
        for entry in str(value).split(","):
            match = re.fullmatch(r"\s*(\w+)\s*=\s*(-?\d+)?:(-?\d+)?\s*", entry, re.ASCII)
            if match is None or match[1] in region:
                self.fail(f"{value!r} is not a region. Write one like x=0:100,y=50:200.", param, ctx)
            start, stop = (int(number) if number else None for number in match.groups()[1:])
            region[match[1]] = start, stop
        return region


def split_option(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    """Parse a list separated by commas; refuse an empty one, such as that of a variable of a script that is not set."""
    items = None if value is None else [item.strip() for item in value.split(",") if item.strip()]
    if items == []:
        raise click.BadParameter(
            f"{value!r} names nothing. Leave the option out, or name one.", context, parameter
        )
    return items


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> list[int] | None:
    parts = split_option(context, parameter, value)
    if parts is not None and not all(part.isascii() and part.isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r} is not a list of numbers like 0,1.", context, parameter)
    return None if parts is None else [int(part) for part in parts]


def _set_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    del parameter
    context.meta[QUIET] = value
    return value


def _set_verbose(context: click.Context, parameter: click.Parameter, value: int) -> int:
    del parameter
    log_to_stderr(context, value)
    return value


def verbose_option(
    text: str = "Log each operation; -vv: also each file.", *, expose: bool = False
) -> Callable[[Any], Any]:
    """Return the option -v, which may be repeated; with `expose` the number of times is an argument of the command."""
    return click.option("-v", "--verbose", count=True, expose_value=expose, callback=_set_verbose, help=text)


jobs_option = click.option(
    "-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Workers; one per processor by default."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for scripts.")
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, callback=_set_quiet, help="Print nothing but errors."
)
dry_run_option = click.option(
    "-n", "--dry-run", is_flag=True, help="Print what would be written, and write nothing."
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace DST once the new store is complete."
)
in_place_option = click.option(
    "--in-place", is_flag=True, help="Replace PATH once the new store is complete."
)
follow_links_option = click.option(
    "--follow-links", is_flag=True, help="Follow symbolic links out of the store."
)


def _parse_storage(
    context: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, object]:
    """Return KEY=VALUE pairs as options; ``headers.Accept=...`` is a key of the mapping ``headers``."""
    options: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:  # the pair itself may be a secret
            raise click.BadParameter("KEY=VALUE is needed, such as anon=true.", context, parameter)
        outer, dot, inner = key.partition(".")
        if dot:
            mapping = options.setdefault(outer, {})
            if not isinstance(mapping, dict) or not inner:
                raise click.BadParameter(f"{outer!r} is set twice.", context, parameter)
            if inner in mapping:
                raise click.BadParameter(f"{key!r} is set twice.", context, parameter)
            mapping[inner] = text
        elif key in options:
            raise click.BadParameter(f"{key!r} is set twice.", context, parameter)
        else:
            options[key] = _plain_value(text)
    return options


def _plain_value(text: str) -> object:
    """Return a text as a boolean or number if it is exactly the text of one."""
    boolean = {"true": True, "false": False}.get(text.lower())
    if boolean is not None:
        return boolean
    for number_type in (int, float):
        try:
            number = number_type(text)
        except ValueError:
            continue
        if str(number) == text:  # a key such as 007 or 1e5 stays a text
            return number
    return text


storage_option = click.option(
    "--storage",
    "storage_options",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_parse_storage,
    help="Option of a URL, such as anon=true or profile=lab.",
)
fields_option = click.option(
    "--fields", metavar="A/1/0,...", callback=split_option, help="Only these fields; in a well: 0,1."
)
levels_option = click.option(
    "--levels", metavar="N,...", callback=_numbers, help="Only these levels, from 0."
)


def operation_options(
    *,
    jobs: bool = True,
    json: bool = True,
    quiet: bool = True,
    verbose: Callable[[Any], Any] = verbose_option(),  # noqa: B008 (an option, not a value)
    links: bool = True,
    resumes: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of commands that run one operation, and pass those of the operation as `options`.

    The decorated function receives the context, ``as_json``, ``options`` (``storage_options``, and ``progress``,
    ``jobs`` and ``follow_links`` unless left out), and its own options. ``resumes`` is whether running the same command
    again resumes an interrupted one.
    """
    argument_names = [*["jobs"] * jobs, *["follow_links"] * links, "storage_options"]
    decorators = [*[jobs_option] * jobs, *[json_option] * json, *[quiet_option] * quiet, verbose]
    decorators += [*[follow_links_option] * links, storage_option]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(context: click.Context, **arguments: Any) -> Any:
            context.meta[START_TIME], context.meta[RESUMES] = time.monotonic(), resumes
            options = {name: arguments.pop(name) for name in argument_names}
            if quiet:
                options["progress"] = not arguments.pop("quiet")
            return function(context, options=options, **arguments)

        decorated: Callable[..., Any] = click.pass_context(wraps(function)(command))
        for option in reversed(decorators):
            decorated = option(decorated)
        return decorated

    return decorate
