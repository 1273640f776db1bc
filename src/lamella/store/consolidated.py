"""Copies of documents that other libraries keep above a node, and that every change below makes stale.

Zarr v2 keeps them in ``.zmetadata``, Zarr v3 inside a group's ``zarr.json``. lamella never reads them: it drops them
with the first change, because a stale copy makes readers miss nodes (zarr-python #2921).

Layer: store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.store import format_v2, format_v3
from lamella.store.json_document import parse_object, to_bytes
from lamella.store.keys import ancestors, join

if TYPE_CHECKING:
    from collections.abc import Collection

    from lamella.store.array_meta import ZarrFormat
    from lamella.store.storage import Stamp, Storage


class ConsolidatedCopies:
    """The consolidated metadata of one opening of a store."""

    def __init__(self, storage: Storage, zarr_format: ZarrFormat) -> None:
        self._storage = storage
        self._format = zarr_format
        self._absent: dict[str, Stamp | None] = {}

    def drop(self, paths: Collection[str], *, above_only: bool = True, new: bool = False) -> None:
        """Drop the copies above the nodes that change, with ``above_only=False`` in them; ``new`` ones have none."""
        if new:
            self._absent.update(dict.fromkeys(filter(None, paths)))
        if any(paths):
            self._drop_at(
                ""
            )  # where consolidation is usual: looked at each time, the others once for each opening
        for path in paths:
            parent = path.rpartition("/")[0]
            if parent not in self._absent:
                for node in ancestors(path):
                    self._drop_at(node)
            # In Zarr v3 the node's own document is rewritten without its copies anyway.
            if not above_only or self._format == 2:
                self._drop_at(path)

    def _drop_at(self, node: str) -> None:
        if node and node in self._absent:
            return
        if self._format == 2:
            key = join(node, format_v2.CONSOLIDATED_FILE)
            if self._storage.size(key) is not None:
                self._storage.delete(key)
            self._absent[node] = None
            return
        key = join(node, format_v3.FILE)
        stamp = self._storage.stamp(key)
        if stamp is not None and self._absent.get(node) == stamp:
            return
        data = self._storage.read(key)
        if data is not None and b'"consolidated_metadata"' in data:
            with self._storage.lock(key):
                data = self._storage.read(key)
                document = {} if data is None else parse_object(data, node, format_v3.FILE)
                if document.pop("consolidated_metadata", None) is not None:
                    self._storage.write(key, to_bytes(document, node, format_v3.FILE))
            stamp = self._storage.stamp(key)
        self._absent[node] = stamp
