"""The option of every command that opens a store: whether links are followed that lead out of it.

Layer: cli.
"""

from __future__ import annotations

import click

follow_links_option = click.option(
    "--follow-links",
    is_flag=True,
    help="Follow symbolic links that lead out of the store, as in plates of linked images.",
)
