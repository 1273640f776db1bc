"""Changes of documents: show their diffs, save the old documents, and write the new ones."""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, MetadataError, StorageError
from lamella.store.local import LocalStorage
from lamella.store.parents import groups_above
from lamella.store.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.store.storage import Storage
    from lamella.types import StrPath


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
            _check_same(storage, change)
            storage.delete(change.key)
            continue
        lock = storage.replacement_lock if change.old is not None else storage.lock
        with lock(change.key):
            _check_same(storage, change)
            storage.write(change.key, change.new)


def _check_same(storage: Storage, change: Change) -> None:
    if storage.read(change.key) != change.old:
        raise MetadataError(
            f"{change.key} in {storage.name} was changed by another process while the store was repaired. "
            "Documents before it are repaired; run the repair again."
        )


# -- backup --------------------------------------------------------------------------------------------------------


def backup_folder(storage: Storage, chosen: StrPath | None) -> str:
    """Choose the folder for a backup: beside the store, never in it. Nothing is created yet."""
    top = [storage.root, *groups_above(storage.root)][-1] if isinstance(storage, LocalStorage) else None
    if chosen is not None:
        folder = local_path(chosen, "the backup")
        inside = top is not None and os.path.realpath(folder).startswith(os.path.realpath(top) + os.sep)
        if inside or (os.path.isdir(folder) and os.listdir(folder)) or os.path.isfile(folder):
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
        below = os.path.relpath(storage.root, [storage.root, *groups_above(storage.root)][-1])
        prefix = "" if below == os.curdir else below.replace(os.sep, "/") + "/"
    kept = LocalStorage(folder, fsync=True)
    try:
        kept.write_many((f"{prefix}{change.key}", change.old) for change in changes if change.old is not None)
    except StorageError as error:
        raise StorageError(
            f"the old documents cannot be saved in {folder}, so nothing was changed: {error}", error.errno
        ) from error
