"""Drafts of documents: the result of a repair, before it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.ops.raw_nodes import StoreReader
from lamella.ops.repair.changes import Change
from lamella.store import format_v2, format_v3
from lamella.store.json_document import to_bytes
from lamella.store.keys import V2, V3, ancestors, join

if TYPE_CHECKING:
    from collections.abc import Collection

    from lamella.store.storage import Storage
    from lamella.types import JSONObject


class Drafts:
    """New contents of documents by key, with the rules that they fix. The storage is only read."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.contents: dict[str, bytes | None] = {}
        self._rules: dict[str, tuple[str, ...]] = {}

    def reader(self) -> StoreReader:
        """Return a reader of the store after the repair."""
        return StoreReader(self.storage, self.contents, must_read=True)

    def put(self, path: str, file: str, document: JSONObject | None, rules: tuple[str, ...]) -> None:
        """Draft a document of a node; None removes it."""
        key = join(path, file)
        self.contents[key] = None if document is None else to_bytes(document, path, file)
        self._rules[key] = tuple(dict.fromkeys((*self._rules.get(key, ()), *rules)))

    def put_attributes(
        self, path: str, attributes: JSONObject, zarr_format: int, rules: tuple[str, ...]
    ) -> None:
        """Draft the attributes of a group, which may not exist yet."""
        node = self.reader().group(path)
        if zarr_format == 3:
            document = format_v3.group_document(attributes, node.documents.get(V3.group))
            self.put(path, V3.group, document, rules)
            return
        self.put(path, V2.attributes, attributes, rules)
        if V2.group not in node.data:
            self.put(path, V2.group, dict(format_v2.GROUP_DOCUMENT), rules)

    def drop_copies(self, path: str, rules: tuple[str, ...]) -> None:
        """Draft the removal of a group's consolidated metadata."""
        node = self.reader().group(path)
        if V2.consolidated in node.data:
            self.put(path, V2.consolidated, None, rules)
        document = node.documents.get(V3.group, {})
        if "consolidated_metadata" in document:
            rest = {key: value for key, value in document.items() if key != "consolidated_metadata"}
            self.put(path, V3.group, rest, rules)

    def changes(self, broken: Collection[str]) -> tuple[Change, ...]:
        """Return the changes in the order of writing, nodes before their lists, with the fixed rules of ``broken``."""
        touched = {key.rpartition("/")[0] for key in self.contents}
        for path in dict.fromkeys(above for node in touched for above in [*ancestors(node), node]):
            # Consolidated copies of changed documents would become stale.
            self.drop_copies(path, ("LM-08",))
        drafted = [
            Change(key, self.storage.read(key), new, _fixed_rules(self._rules[key], broken))
            for key, new in sorted(self.contents.items(), key=_order)
        ]
        return tuple(change for change in drafted if change.old != change.new)


def _fixed_rules(rules: tuple[str, ...], broken: Collection[str]) -> tuple[str, ...]:
    """Select the rules that were broken, if any were."""
    return tuple(rule for rule in rules if rule in broken) or rules


def _order(item: tuple[str, bytes | None]) -> tuple[bool, int, str]:
    """Return a sort key: consolidated metadata first, because readers trust them; then by depth, the root last."""
    key, new = item
    return new is not None, -key.count("/"), key
