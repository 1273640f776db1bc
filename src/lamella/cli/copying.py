"""Copy a store: ``lamella copy``, ``download``, ``pack`` and ``unpack``. An incomplete copy fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import click

from lamella.cli.messages import FAILED, echo_message, echo_result, elapsed_seconds, megabytes
from lamella.cli.options import fields_option, levels_option, operation_options, overwrite_option
from lamella.errors import counted

if TYPE_CHECKING:
    from lamella.ops.copying.selection import CopyReport


def finish_copy(context: click.Context, as_json: bool, report: CopyReport) -> None:
    """Print the result of a copy; exit with FAILED if files may be missing."""
    seconds = elapsed_seconds(context)
    skipped = f" ({report.resumed} copied before)" if report.resumed else ""
    line = (
        f"Wrote {report.destination}: {counted(report.documents, 'document')}, "
        f"{counted(report.files, 'file')}{skipped}, {megabytes(report.nbytes)}, in {seconds:.1f} s "
        f"({report.nbytes / 1e6 / max(seconds, 0.001):.0f} MB/s)."
    )
    echo_result(context, as_json, report.to_dict(), line)
    if report.unseen is not None:
        echo_message("error", report.unseen)
        context.exit(FAILED)


@click.command(
    epilog="Example: lamella copy https://host/plate.zarr plate.zarr --fields A/1/0,B/2/0 --levels 1,2"
)
@click.argument("source", metavar="SRC", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@fields_option
@levels_option
@overwrite_option
@operation_options(resumes=True)
def copy(
    context: click.Context,
    source: str,
    destination: str,
    *,
    as_json: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Copy a store, or a part of it, to another place.

    SRC and DST are folders, URLs or archives (.ozx, .zip). Chunks are copied as they are encoded, with labels,
    tables and all other files. A web server (http, https) cannot list its files: then only those that the metadata
    name are copied, and the exit code is 1.

    DST can be opened when it is complete. Run the same command again to resume an interrupted one.
    """
    from lamella.ops.copying.copy_store import copy_store

    finish_copy(context, as_json, copy_store(source, destination, **settings, **options))


@click.command(epilog="Example: lamella download https://host/plate.zarr --fields A/1/0,B/2/0 --levels 1,2")
@click.argument("source", metavar="SRC", type=click.Path())
@click.argument("destination", metavar="[DST]", required=False, type=click.Path())
@fields_option
@levels_option
@overwrite_option
@operation_options(resumes=True)
def download(
    context: click.Context,
    source: str,
    destination: str | None,
    *,
    as_json: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Copy a store, or a part of it, to this machine.

    SRC is a URL. DST is a folder or an archive (.ozx, .zip); by default the name of SRC in the current folder. All else
    is as for `lamella copy`.
    """
    from lamella.ops.copying.copy_store import copy_store
    from lamella.store.objects.addresses import clean_url
    from lamella.store.paths import local_path

    path = local_path(
        destination or unquote(clean_url(source).rpartition("/")[2]), "the destination of a download"
    )
    finish_copy(context, as_json, copy_store(source, path, **settings, **options))


@click.command(epilog="Example: lamella pack plate.zarr plate.ozx")
@click.argument("source", metavar="STORE", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@fields_option
@levels_option
@overwrite_option
@operation_options(jobs=False)
def pack(
    context: click.Context,
    source: str,
    destination: str,
    *,
    as_json: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Write a store into one file, an .ozx or .zip archive.

    STORE is a folder, a URL or another archive. Chunks are copied as they are encoded, and the metadata come first, as
    the proposal for .ozx files (OME-NGFF RFC-9) says. DST appears when it is complete. Archives are read like any
    store, and never changed.
    """
    from lamella.ops.copying.pack import pack as run

    finish_copy(context, as_json, run(source, destination, **settings, **options))


@click.command(epilog="Example: lamella unpack plate.ozx plate.zarr")
@click.argument("source", metavar="ARCHIVE", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@overwrite_option
@operation_options(links=False, resumes=True)
def unpack(
    context: click.Context,
    source: str,
    destination: str,
    overwrite: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Write the store in an archive into a folder.

    ARCHIVE is an .ozx or .zip file or URL. No entry is written outside of DST, which appears when it is complete. Run
    the same command again to resume an interrupted one.
    """
    from lamella.ops.copying.copy_store import unpack as run

    finish_copy(context, as_json, run(source, destination, overwrite=overwrite, **options))
