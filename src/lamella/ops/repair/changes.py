"""Drafts of repaired documents, their diffs, the backup of the old documents, and the write of the new ones."""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, MetadataError, StorageError, clause
from lamella.ops.raw_nodes import StoreReader
from lamella.store.files.local import LocalStorage
from lamella.store.keys import V2, V3, ancestors, join
from lamella.store.metadata import format_v2, format_v3
from lamella.store.metadata.json_document import to_bytes
from lamella.store.metadata.parents import groups_above
from lamella.store.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lamella.store.storage import Storage
    from lamella.types import JSONObject, StrPath


@dataclass(frozen=True)
class Change:
    """The old and new bytes of one document (None without a file), and the ids of the fixed rules."""

    key: str
    old: bytes | None
    new: bytes | None
    rules: tuple[str, ...]

    @property
    def diff(self) -> str:
        """The change as a unified diff of both documents with equal indentation; empty if only the spacing differs.

        >>> print(Change("A/.zattrs", b'{"a": 1}', b'{"a": 2}', ("PL-07",)).diff)
        --- A/.zattrs
        +++ A/.zattrs (PL-07)
        @@ -1,3 +1,3 @@
         {
        -  "a": 1
        +  "a": 2
         }
        """
        lines = difflib.unified_diff(
            _lines(self.old),
            _lines(self.new),
            self.key if self.old is not None else "(none)",
            f"{self.key if self.new is not None else '(removed)'} ({', '.join(self.rules)})",
            lineterm="",
        )
        return "\n".join(lines)


def _lines(data: bytes | None) -> list[str]:
    if data is None:
        return []
    try:
        text = json.dumps(json.loads(data.decode("utf-8-sig")), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):  # damaged, or with comments: unchanged
        text = data.decode(errors="replace")
    return text.splitlines()


def write_changes(storage: Storage, changes: Sequence[Change]) -> None:
    """Replace documents, each atomically; raise MetadataError at one that changed since it was read."""
    for change in changes:
        if change.new is None:
            _check_unchanged(storage, change)
            storage.delete(change.key)
            continue
        lock = storage.replacement_lock if change.old is not None else storage.lock
        with lock(change.key):
            _check_unchanged(storage, change)
            storage.write(change.key, change.new)


def _check_unchanged(storage: Storage, change: Change) -> None:
    if storage.read(change.key) != change.old:
        raise MetadataError(
            f"{change.key} in {storage.name} was changed by another process while the store was repaired. "
            "Documents before it are repaired; run the repair again."
        )


# -- backup --------------------------------------------------------------------------------------------------------


def backup_folder(storage: Storage, requested: StrPath | None) -> str:
    """Return the folder for a backup: beside the store, never in it, by default under a new name. Creates nothing."""
    top = [storage.root, *groups_above(storage.root)][-1] if isinstance(storage, LocalStorage) else None
    if requested is not None:
        folder = local_path(requested, "the backup")
        is_inside = top is not None and os.path.realpath(folder).startswith(os.path.realpath(top) + os.sep)
        if is_inside or (os.path.isdir(folder) and LocalStorage(folder).list("")) or os.path.isfile(folder):
            raise InvalidArgumentError(
                f"A backup goes to a new or empty folder beside the store, not to {folder}."
            )
        return folder
    if top is None:
        raise InvalidArgumentError(
            f"{storage.name} is not a local store: set backup= to a folder for the old documents."
        )
    name = f"{top}.backup-{datetime.now():%Y-%m-%d-%H%M%S}"
    number, folder = 1, name
    while os.path.lexists(folder):
        number += 1
        folder = f"{name}-{number}"
    return folder


def save_backup(storage: Storage, changes: Sequence[Change], folder: str) -> None:
    """Write the old documents under their keys in the store, before any of them changes."""
    prefix = ""
    if isinstance(storage, LocalStorage):
        root_in_store = os.path.relpath(storage.root, [storage.root, *groups_above(storage.root)][-1])
        prefix = "" if root_in_store == os.curdir else root_in_store.replace(os.sep, "/") + "/"
    backups = LocalStorage(folder, fsync=True)
    try:
        backups.write_many(
            (f"{prefix}{change.key}", change.old) for change in changes if change.old is not None
        )
    except StorageError as error:
        raise StorageError(
            f"The old documents cannot be saved in {folder}, so nothing was changed: {clause(error)}.",
            error.errno,
        ) from error


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

    def drop_consolidated(self, path: str, rules: tuple[str, ...]) -> None:
        """Draft the removal of a group's consolidated metadata."""
        node = self.reader().group(path)
        if V2.consolidated in node.data:
            self.put(path, V2.consolidated, None, rules)
        document = node.documents.get(V3.group, {})
        if "consolidated_metadata" in document:
            without_consolidated = {
                key: value for key, value in document.items() if key != "consolidated_metadata"
            }
            self.put(path, V3.group, without_consolidated, rules)

    def changes(self, broken: Collection[str]) -> tuple[Change, ...]:
        """Return the changes in the order of writing, members before groups, with the broken rules that they fix."""
        nodes = {key.rpartition("/")[0] for key in self.contents}
        for path in dict.fromkeys(group for node in nodes for group in [*ancestors(node), node]):
            # Consolidated copies of changed documents would become stale.
            self.drop_consolidated(path, ("LM-08",))
        # Removed (consolidated) documents first, because readers trust them; then the deepest first.
        keys = sorted(self.contents, key=lambda key: (self.contents[key] is not None, -key.count("/"), key))
        drafted = [
            Change(key, self.storage.read(key), self.contents[key], self._fixed_rules(key, broken))
            for key in keys
        ]
        return tuple(change for change in drafted if change.old != change.new)

    def _fixed_rules(self, key: str, broken: Collection[str]) -> tuple[str, ...]:
        """Return the rules of a document that were broken; all if none was."""
        rules = self._rules[key]
        return tuple(rule for rule in rules if rule in broken) or rules
