"""The label image that a table names, when that is renamed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lamella.errors import MetadataError
from lamella.spec.tables import table_info, with_label

if TYPE_CHECKING:
    from lamella.nodes.tables import Tables


def rename_region(tables: Tables, old: str, new: str) -> None:
    """Name the new label image in all tables of a renamed one; damaged tables stay as they are."""
    documents = tables.documents
    for name in tables:
        path = tables.node_path.child(name).path
        with suppress(MetadataError):
            if documents.kind(path) == "group" and table_info(documents.group(path)).label == old:
                documents.edit_group(path, lambda attributes: with_label(attributes, new))
