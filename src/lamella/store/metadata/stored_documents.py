"""Read the documents of a node, and again where one that reads as missing would be created or left out of a copy.

A service may answer 404 for a document that is there; :meth:`lamella.store.storage.Storage.read_again` looks for it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

from lamella.errors import NodeNotFoundError
from lamella.store.keys import FORMATS, join
from lamella.store.metadata.json_document import parse_object
from lamella.store.metadata.missing_document import documents_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.metadata.array_meta import ZarrFormat
    from lamella.store.storage import Stamp, Storage
    from lamella.types import JSONObject

NodeKind: TypeAlias = Literal["group", "array"]

_lock = threading.Lock()
"""Held while the copies that read from a handle are counted."""


class StoredDocuments:
    """The documents of one store, by the path of their node and their file name.

    >>> import tempfile
    >>> from lamella.store.storage import open_storage
    >>> documents = StoredDocuments(open_storage(tempfile.mkdtemp()), 3)
    >>> documents.storage.write("A/zarr.json", b'{"node_type": "group"}')
    >>> documents.document("A", "zarr.json"), documents.document("B", "zarr.json")
    ({'node_type': 'group'}, None)
    """

    def __init__(self, storage: Storage, zarr_format: ZarrFormat) -> None:
        self.storage = storage
        self.format: ZarrFormat = zarr_format
        self.files = FORMATS[zarr_format]
        # What is missing is created; conditional writes never replace what a service did not return.
        self._always_reads_twice = not storage.read_only and not storage.creates_exclusively
        self._copies = 0

    @property
    def reads_twice(self) -> bool:
        """Whether documents that read as missing are read again: what is missing is created, or is not copied."""
        return self._always_reads_twice or self._copies > 0

    @contextmanager
    def reading_twice(self) -> Iterator[None]:
        """Read again what reads as missing, while it is copied."""
        with _lock:
            self._copies += 1
        try:
            yield
        finally:
            with _lock:
                self._copies -= 1

    def always_read_twice(self) -> None:
        """Read again what reads as missing, in a handle that is used for a copy alone."""
        self._always_reads_twice = True

    def location(self, path: str) -> str:
        """Return the path of a node and the name of its store, for messages."""
        return f"{path or '/'!r} in {self.storage.name}"

    def at(self, path: str) -> str:
        """Return the full path or URL of a node, for messages."""
        return self.storage.where(path)

    def document(self, path: str, file: str) -> JSONObject | None:
        """Read one document of a node; None if missing."""
        data = self.data(path, file)
        return None if data is None else parse_object(data, self.at(path), file)

    def data(self, path: str, file: str) -> bytes | None:
        """Read the bytes of one document of a node; None if missing."""
        data = self.storage.read(join(path, file))
        return self._read_again(path, file).get(file) if data is None and self.reads_twice else data

    def _has(self, path: str, file: str) -> bool:
        return self._shows(path, file) or (self.reads_twice and file in self._read_again(path, file))

    def _shows(self, path: str, file: str) -> bool:
        """Whether a node has a document by the first answer."""
        return self.storage.size(join(path, file)) is not None

    def _stamped(self, path: str, file: str, *, lists: bool = True) -> tuple[bytes, Stamp | None] | None:
        """Read one document of a node with its stamp; None if missing."""
        stamped = self.storage.read_stamped(join(path, file))
        if stamped is None and self.reads_twice:
            return self._stamped_again(path, file, lists=lists)
        return stamped

    def _stamped_again(
        self, path: str, file: str, *, lists: bool = True
    ) -> tuple[bytes, Stamp | None] | None:
        found = self._read_again(path, file, lists=lists)
        return (found[file], self.storage.stamp(join(path, file))) if found else None

    def _read_again(self, path: str, *files: str, lists: bool = True) -> dict[str, bytes]:
        """Return those of some documents that read as missing and are there."""
        found = self.storage.read_again([join(path, file) for file in files], lists=lists)
        return {key.rpartition("/")[2]: data for key, data in found.items()}

    def _no(self, what: str, path: str, reason: str = "") -> NodeNotFoundError:
        if not reason:
            files = documents_of(self.format, "array" if what == "array" else "group")
            reason = f"{files} {'are' if ' and ' in files else 'is'} missing"
        return NodeNotFoundError(f"there is no {what} at {self.location(path)}: {reason}")
