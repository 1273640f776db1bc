"""``lamella view``: show an image or a plate in the browser.

:class:`lamella.adapters.viewer.server.Viewer` serves the page.
"""

from __future__ import annotations

import os
import webbrowser
from typing import Any

import click

from lamella.cli.building import open_node
from lamella.cli.messages import QUIET, echo_lines
from lamella.cli.options import operation_options


@click.command()
@click.argument("path", type=click.Path())
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Port; a free one by default."
)
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="Name of a proxy that may serve the page."
)
@click.option("--edit", is_flag=True, help="Let the page save contrast into the store.")
@click.option(
    "--with",
    "viewer",
    type=click.Choice(["lamella", "neuroglancer"]),
    default="lamella",
    metavar="PAGE",
    help="Page: lamella (default) or neuroglancer.",
)
@operation_options(jobs=False, json=False)
def view(
    context: click.Context,
    path: str,
    port: int,
    no_browser: bool,
    hosts: tuple[str, ...],
    edit: bool,
    viewer: str,
    options: dict[str, Any],
) -> None:
    """Show an image or a plate in the browser.

    PATH is an image, label image, plate, row, well, collection or scene: a folder, an archive or a URL. All fields of a
    plate are shown as one picture that can be zoomed. Nothing is written without --edit. The page is served on this
    machine alone, at an address that nobody can guess; Ctrl-C ends it.

    --with neuroglancer shows one image with its channels and labels in neuroglancer, in planes and in 3-D. It
    needs an extra (pip install "lamella[neuroglancer]").
    """
    from lamella.adapters.viewer.server import Viewer
    from lamella.errors import LamellaError, StorageError

    settings = {"mode": "r+" if edit else "r", "storage_options": options["storage_options"]}
    with open_node(path, options, **settings) as node:
        try:
            server = Viewer(node, port=port, allow_hosts=hosts, edit=edit, viewer=viewer)
        except LamellaError:  # some are an OSError too
            raise
        except OSError as error:
            raise StorageError(f"Port {port} cannot be used: {error.strerror}. Leave out --port.") from error
        with server:
            lines = [server.url]
            is_remote = "SSH_CONNECTION" in os.environ
            if is_remote and not context.meta.get(QUIET):
                host = os.environ["SSH_CONNECTION"].split()[2:3]
                tunnel = f"ssh -N -L {server.port}:127.0.0.1:{server.port} {''.join(host)}"
                lines.append(f"On your own machine first: {tunnel}")
            echo_lines(lines)
            if not (no_browser or is_remote):
                webbrowser.open(server.url)
            try:
                server.wait()
            except KeyboardInterrupt as interrupt:
                if type(interrupt) is not KeyboardInterrupt:
                    raise  # SIGTERM ends with its own exit code
