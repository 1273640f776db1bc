"""Compare consolidated metadata, the copies of documents in ``.zmetadata`` or ``zarr.json``, with the documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.store.keys import V2, V3, join

if TYPE_CHECKING:
    from lamella.ops.raw_nodes import StoredNode, StoreReader
    from lamella.types import JSON, JSONObject

_V3_KEYS = ("node_type", "attributes", "shape", "data_type", "dimension_names")
"""Keys of a copy that are compared: writers add defaults to other keys."""


class ConsolidatedMetadata:
    """The consolidated metadata of a group: copies of the documents below it.

    The walk compares each node that it reads; `finish` compares the others. ``stale`` describes the first difference.
    """

    def __init__(self, path: str, zarr_format: int, entries: dict[str, JSON]) -> None:
        self.path = path
        self.stale = ""
        self._format = zarr_format
        self._entries = entries
        self._compared_paths: set[str] = set()

    def compare(self, node: StoredNode) -> None:
        """Compare the copies of one node below the group with its documents."""
        prefix = f"{self.path}/" if self.path else ""
        if not node.path.startswith(prefix) or node.path == self.path or node.path in self._compared_paths:
            return
        self._compared_paths.add(node.path)
        relative = node.path[len(prefix) :]
        for file in (V3.group,) if self._format == 3 else tuple(node.documents):
            if file not in node.documents or file == V2.consolidated:
                continue
            key = relative if self._format == 3 else join(relative, file)
            copy = self._entries.get(key)
            if copy is None:
                self._set_stale(f"they lack {relative!r}")
            elif not _is_equal(self._format, copy, node.documents[file]):
                self._set_stale(f"{file} of {relative!r} differs")

    def finish(self, reader: StoreReader) -> None:
        """Compare the copies of nodes that the walk has not visited."""
        for key in self._entries:
            relative = key if self._format == 3 else key.rpartition("/")[0]
            path = join(self.path, relative)
            if self.stale or path in self._compared_paths or not relative:
                continue
            node: StoredNode = reader.array(path, self._format)
            if not node.exists:
                node = reader.group(path)
            if not node.exists:
                self._set_stale(f"{relative!r} does not exist")
            self.compare(node)

    def _set_stale(self, reason: str) -> None:
        self.stale = self.stale or reason


def _is_equal(zarr_format: int, copy: JSON, document: JSONObject) -> bool:
    if not isinstance(copy, dict):
        return False
    if zarr_format == 2:
        # zarr-python adds the key "consolidated_metadata" to the copies of groups.
        return {key: value for key, value in copy.items() if key != "consolidated_metadata"} == document
    return all(_v3_field(copy, key) == _v3_field(document, key) for key in _V3_KEYS)


def _v3_field(document: JSONObject, key: str) -> JSON:
    """Return the value of a key; missing attributes are equal to empty ones."""
    value = document.get(key)
    return {} if key == "attributes" and value is None else value


def consolidated_metadata_of(node: StoredNode) -> ConsolidatedMetadata | None:
    """Return the consolidated metadata of a group, in ``.zmetadata`` or its ``zarr.json``; None without any."""
    if node.zarr_format == 3:
        consolidated = node.documents.get(V3.group, {}).get("consolidated_metadata")
    else:
        consolidated = node.documents.get(V2.consolidated)
    entries = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    if not isinstance(entries, dict):
        return None
    consolidated_metadata = ConsolidatedMetadata(node.path, node.zarr_format or 2, entries)
    own_attributes = entries.get(V2.attributes)
    stored_attributes = node.documents.get(V2.attributes, {})
    if node.zarr_format == 2 and own_attributes not in (None, stored_attributes):
        consolidated_metadata.stale = f"{V2.attributes} of the group itself differs"
    return consolidated_metadata
