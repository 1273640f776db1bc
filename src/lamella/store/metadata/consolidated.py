"""Remove consolidated metadata: copies of documents above a node, which every change below makes stale.

Zarr v2 keeps them in ``.zmetadata``, Zarr v3 inside a group's ``zarr.json``. lamella never reads them, and removes
them with the first change, because a stale copy hides nodes from readers (zarr-python #2921).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lamella.store.keys import V2, V3, ancestors, join
from lamella.store.metadata.json_document import parse_object, to_bytes

if TYPE_CHECKING:
    from collections.abc import Collection

    from lamella.store.metadata.array_meta import ZarrFormat
    from lamella.store.storage import Stamp, Storage


class ConsolidatedCopies:
    """The consolidated metadata of one store handle."""

    def __init__(self, storage: Storage, zarr_format: ZarrFormat) -> None:
        self._storage = storage
        self._format = zarr_format
        self._absent: dict[str, Stamp | None] = {}
        self._thread = threading.local()

    def mark_locked(self, path: str) -> tuple[str, ...]:
        """Record that this thread has locked a document; return what `restore_locked` restores.

        Not a context manager: each array of a plate needs one, and a generator costs as much as the lock itself.
        """
        locked_paths = self._locked_paths
        self._thread.locked_paths = (*locked_paths, path)
        return locked_paths

    def restore_locked(self, locked_paths: tuple[str, ...]) -> None:
        """Restore the record of locked documents that `mark_locked` returned."""
        self._thread.locked_paths = locked_paths

    @property
    def _locked_paths(self) -> tuple[str, ...]:
        return getattr(self._thread, "locked_paths", ())

    def drop(self, paths: Collection[str], *, above_only: bool = True, new: bool = False) -> None:
        """Remove the copies above changed nodes, with ``above_only=False`` also in them; ``new`` nodes have none."""
        if new:
            self._absent.update(dict.fromkeys(filter(None, paths)))
        if any(paths):
            # Consolidation is usual at the root, which is checked each time; other groups once per store handle.
            self._drop_at("")
        for path in paths:
            parent = path.rpartition("/")[0]
            if parent not in self._absent:
                for node in ancestors(path):
                    self._drop_at(node)
            # In Zarr v3 the node's own document is rewritten without its copies anyway.
            if not new and (not above_only or self._format == 2):
                self._drop_at(path)

    def _drop_at(self, node: str) -> None:
        if (node and node in self._absent) or node in self._locked_paths:
            return
        if self._format == 2:
            key = join(node, V2.consolidated)
            if self._storage.size(key) is not None:
                self._storage.delete(key)
            self._absent[node] = None
            return
        key = join(node, V3.group)
        stamp = self._storage.stamp(key)
        if stamp is not None and self._absent.get(node) == stamp:
            return
        data = self._storage.read(key)
        if data is not None and b'"consolidated_metadata"' in data:
            stamp = self._rewrite(node, key)
        self._absent[node] = stamp

    def _rewrite(self, node: str, key: str) -> Stamp | None:
        """Remove the copies from a document under its lock; return the stamp of the stored document."""
        # A thread that has locked a document waits only for documents above it, so that no two wait for each other.
        below = any(not path or node.startswith(f"{path}/") for path in self._locked_paths)
        lock = self._storage.lock if below else self._storage.replacement_lock
        with lock(key):
            stamped = self._storage.read_stamped(key)
            if stamped is None:
                return None
            data, stamp = stamped
            document = parse_object(data, self._storage.where(node), V3.group)
            if document.pop("consolidated_metadata", None) is None:
                return stamp
            return self._storage.write_stamped(key, to_bytes(document, self._storage.where(node), V3.group))
