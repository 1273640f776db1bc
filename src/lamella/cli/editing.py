"""``lamella edit`` and ``lamella rename-well``: change names, colours, sizes, units, channels and wells."""

from __future__ import annotations

import json
from typing import Any

import click

from lamella.cli.messages import RESUMES, echo_report, echo_result
from lamella.cli.options import dry_run_option, operation_options


def _parse_pairs(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name or not equals or not text:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE.", context, parameter)
        if name in pairs:
            raise click.BadParameter(f"{value!r} sets {name!r} twice.", context, parameter)
        pairs[name] = text
    return pairs


def _parse_sizes(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, float]:
    """Parse sizes of the last axes of space, or AXIS=SIZE pairs, separated by commas."""
    if value is None:
        return {}
    pairs = value.split(",")
    axes = [pair.partition("=")[0] if "=" in pair else "" for pair in pairs]
    if not any(axes) and 2 <= len(pairs) <= 3:
        axes = list("zyx")[-len(pairs) :]
    try:
        sizes = {axis: float(pair.rpartition("=")[2]) for axis, pair in zip(axes, pairs, strict=True)}
    except ValueError:
        sizes = {}
    if "" in sizes or len(sizes) != len(pairs):
        raise click.BadParameter(
            f"{value!r} is neither sizes like 1,0.65,0.65 nor pairs like y=0.65,x=0.65.", context, parameter
        )
    return sizes


def _parse_units(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> str | dict[str, str]:
    """Parse a unit of all axes of space, or AXIS=UNIT pairs."""
    if len(values) == 1 and "=" not in values[0]:
        return values[0]
    return _parse_pairs(context, parameter, values)


def _parse_windows(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """Parse NAME=START,END."""
    windows = {}
    for name, text in _parse_pairs(context, parameter, values).items():
        start, _, end = text.partition(",")
        try:
            windows[name] = (float(start), float(end))
        except ValueError:
            raise click.BadParameter(f"{text!r} is not START,END.", context, parameter) from None
    return windows


def _parse_values(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Parse NAME=VALUE; a value that is valid JSON is read as JSON, any other as text."""
    parsed: dict[str, Any] = {}
    for name, text in _parse_pairs(context, parameter, values).items():
        try:
            parsed[name] = json.loads(text)
        except ValueError:
            parsed[name] = text
    return parsed


@click.command(epilog="Example: lamella edit plate.zarr --pixel-size 1,0.65,0.65 --color DAPI=blue --dry-run")
@click.argument("path", type=click.Path())
@click.option("--pixel-size", metavar="Z,Y,X", callback=_parse_sizes, help="Size of a voxel, or y=N,x=N.")
@click.option(
    "--unit",
    "units",
    metavar="UNIT",
    multiple=True,
    callback=_parse_units,
    help="Unit of space, or AXIS=UNIT.",
)
@click.option(
    "--rename-channel",
    "new_names",
    metavar="OLD=NEW",
    multiple=True,
    callback=_parse_pairs,
    help="Rename a channel.",
)
@click.option(
    "--color",
    "colors",
    metavar="NAME=COLOR",
    multiple=True,
    callback=_parse_pairs,
    help="CSS name or hex digits.",
)
@click.option(
    "--window", "windows", metavar="NAME=A,B", multiple=True, callback=_parse_windows, help="Contrast limits."
)
@click.option("--contrast", is_flag=True, help="Compute contrast limits from the pixels.")
@click.option(
    "--delete-channel",
    "channels_to_delete",
    metavar="NAME",
    multiple=True,
    help="Delete a channel with its pixels.",
)
@click.option("--name", metavar="NAME", help="Name of the image or plate.")
@click.option(
    "--attribute", "attributes", metavar="KEY=VALUE", multiple=True, callback=_parse_values,
    help="Your own attribute; null deletes it.",
)  # fmt: skip
@dry_run_option
@operation_options()
def edit(
    context: click.Context,
    path: str,
    pixel_size: dict[str, float],
    units: str | dict[str, str],
    new_names: dict[str, str],
    colors: dict[str, str],
    windows: dict[str, tuple[float, float]],
    dry_run: bool,
    as_json: bool,
    options: dict[str, Any],
    **other_changes: Any,
) -> None:
    """Change names, colours, sizes, units and channels.

    PATH is an image. If it is a well, plate or collection, all its images with the named channels and axes are
    changed. Everything is checked before the first change. Run the same command again to resume an interrupted one.

    Channels are renamed first, so --color, --window and --delete-channel need the new names. --contrast does not change
    channels with a --window.
    """
    from lamella.ops.images.edit import ImageEdits
    from lamella.ops.images.edit_store import edit_store

    channels: dict[str, dict[str, Any]] = {}
    for key, settings_by_channel in (("color", colors), ("window", windows)):
        for channel, setting in settings_by_channel.items():
            channels.setdefault(channel, {})[key] = setting
    edits = ImageEdits(new_names, channels, pixel_size, units)
    if edits == ImageEdits() and not any(other_changes.values()):
        raise click.UsageError("Give at least one change, such as --pixel-size or --color.")
    context.meta[RESUMES] = not dry_run
    report = edit_store(path, edits, dry_run=dry_run, **other_changes, **options)
    echo_report(context, as_json, report)


@click.command(epilog="Example: lamella rename-well plate.zarr A/1 B/2")
@click.argument("path", type=click.Path())
@click.argument("old", required=False)
@click.argument("new", required=False)
@click.option("--table", metavar="CSV", type=click.Path(), help="Old and new names, one pair on each line.")
@dry_run_option
@operation_options(jobs=False)
def rename_well(
    context: click.Context,
    path: str,
    old: str | None,
    new: str | None,
    table: str | None,
    dry_run: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Rename wells of a plate.

    Pass the OLD and the NEW name of a well, such as A/1 and B/2 or A01 and B02, or a table with such a pair on each
    line. Wells of the table may swap names. Run the same command again to resume an interrupted one.
    """
    from lamella.ops.plates.rename_wells import read_renames, rename_wells

    if (table is None) == (new is None):
        raise click.UsageError("Give either OLD and NEW, or --table.")
    context.meta[RESUMES] = table is not None
    renames = {str(old): str(new)} if table is None else read_renames(table)
    options.pop("progress")
    renamed = rename_wells(path, renames, dry_run=dry_run, **options)
    verb = "Would rename" if dry_run else "Renamed"
    lines = [f"{verb} {before} to {after}." for before, after in renamed] or ["Nothing is left to rename."]
    summary = {"renamed": [{"old": before, "new": after} for before, after in renamed], "dry_run": dry_run}
    echo_result(context, as_json, summary, "\n".join(lines))
