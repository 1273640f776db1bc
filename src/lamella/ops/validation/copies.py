"""Check whether the copies of documents in consolidated metadata equal the documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.store.keys import V2, V3, join

if TYPE_CHECKING:
    from lamella.ops.raw_nodes import StoredNode, StoreReader
    from lamella.types import JSON, JSONObject

_V3_KEYS = ("node_type", "attributes", "shape", "data_type", "dimension_names")
"""Compared keys of a copy: writers add defaults of other keys."""


class Copies:
    """The copies of documents in a group, by path; ``stale`` describes the first copy that differs."""

    def __init__(self, path: str, zarr_format: int, entries: dict[str, JSON]) -> None:
        self.path = path
        self.stale = ""
        self._format = zarr_format
        self._entries = entries
        self._seen: set[str] = set()

    def compare(self, node: StoredNode) -> None:
        """Compare the copies of one node below the group with its documents."""
        prefix = f"{self.path}/" if self.path else ""
        if not node.path.startswith(prefix) or node.path == self.path or node.path in self._seen:
            return
        self._seen.add(node.path)
        below = node.path[len(prefix) :]
        files = (V3.group,) if self._format == 3 else tuple(node.documents)
        for file in files:
            if file not in node.documents or file == V2.consolidated:
                continue
            key = below if self._format == 3 else join(below, file)
            copy = self._entries.get(key)
            if copy is None:
                self._set_stale(f"they lack {below!r}")
            elif not _same(self._format, copy, node.documents[file]):
                self._set_stale(f"{file} of {below!r} differs")

    def finish(self, reader: StoreReader) -> None:
        """Compare the copies of nodes that the walk has not visited."""
        for key in self._entries:
            below = key if self._format == 3 else key.rpartition("/")[0]
            path = join(self.path, below)
            if self.stale or path in self._seen or not below:
                continue
            node: StoredNode = reader.array(path, self._format)
            if not node.exists:
                node = reader.group(path)
            if not node.exists:
                self._set_stale(f"{below!r} does not exist")
            self.compare(node)

    def _set_stale(self, text: str) -> None:
        self.stale = self.stale or text


def _same(zarr_format: int, copy: JSON, document: JSONObject) -> bool:
    if not isinstance(copy, dict):
        return False
    if zarr_format == 2:
        # zarr-python adds a key about copies to the copy of a group, which its document does not have.
        return {key: value for key, value in copy.items() if key != "consolidated_metadata"} == document
    return all(_value(copy, key) == _value(document, key) for key in _V3_KEYS)


def _value(document: JSONObject, key: str) -> JSON:
    value = document.get(key)
    return {} if key == "attributes" and value is None else value


def copies_of(node: StoredNode) -> Copies | None:
    """Return the copies in a group: in ``.zmetadata`` or inside its ``zarr.json``; None without any."""
    if node.zarr_format == 3:
        consolidated = node.documents.get(V3.group, {}).get("consolidated_metadata")
    else:
        consolidated = node.documents.get(V2.consolidated)
    entries = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    if not isinstance(entries, dict):
        return None
    copies = Copies(node.path, node.zarr_format or 2, entries)
    own = entries.get(V2.attributes)
    if node.zarr_format == 2 and own is not None and own != node.documents.get(V2.attributes, {}):
        copies.stale = f"{V2.attributes} of the group itself differs"
    return copies
