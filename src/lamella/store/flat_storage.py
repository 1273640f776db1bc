"""Move, delete and compare nodes in storages that have keys but no folders.

A move copies all keys, compares the copies by names and sizes, and only then deletes the old keys. Documents are copied
last and deleted first, so that readers find no array without its chunks. After a kill, either node is complete, and the
same call finishes.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import contextmanager, suppress
from logging import DEBUG
from typing import TYPE_CHECKING

from lamella.errors import (
    AccessError,
    InvalidNameError,
    LamellaError,
    NodeExistsError,
    NodeNotFoundError,
    StorageError,
)
from lamella.log import log
from lamella.store.files.locks import ThreadLock
from lamella.store.files.temporary_files import is_abandoned
from lamella.store.keys import DOCUMENTS, check_key, is_private, join, natural_order
from lamella.store.storage import Names, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

COPIED = 64 << 20
"""Limit of the bytes in memory while keys are compared or copied; a larger key alone exceeds it."""


_DELETED_UNASKED = 1000
"""How many keys a move deletes before it asks again whether another program makes it now."""


class FlatStorage(Storage):
    """A storage whose keys are requested over a connection, and listed with their sizes."""

    #: Prefix of lock names, equal for all storages of this process at one location.
    lock_root: str
    #: Requests at a time.
    at_once: int
    #: Whether keys can be deleted.
    can_delete: bool = True
    #: How many keys one request deletes.
    deleted_at_once: int = 1

    # ---- implemented by each kind of storage ----------------------------------------------------

    @abstractmethod
    def _read_fresh(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Request keys, whatever is remembered of them; return those that are there."""

    @abstractmethod
    def _names_in(self, folder: str) -> set[str]:
        """Return the names directly below a folder."""

    @abstractmethod
    def sizes_below(self, folder: str) -> dict[str, int]:
        """Return all keys below a folder with their sizes."""

    @abstractmethod
    def _put(self, batch: dict[str, bytes]) -> None:
        """Write some keys at once."""

    @abstractmethod
    def _delete_keys(self, keys: Iterable[str]) -> None:
        """Delete keys and nothing else."""

    @abstractmethod
    def _copy(self, sizes: dict[str, int], target: dict[str, str]) -> None:
        """Copy keys; raise where a key has another size than listed."""

    def _copy_and_put(self, sizes: dict[str, int], target: dict[str, str], files: dict[str, bytes]) -> None:
        """Copy keys and write others, at once in remote stores."""
        if files:
            self._put(files)
        self._copy(sizes, target)

    def _delete_folder(self, prefix: str) -> None:
        """Delete the folders that deleted keys leave behind, where the storage has folders."""

    def check_deletable(self, prefix: str) -> None:
        """Raise where the folder may not be listed, and so cannot be deleted."""
        self.check_writable(prefix)
        if self.can_list:
            self._names_in(check_key(prefix))

    # ---- reading --------------------------------------------------------------------------------

    def read_again(self, keys: Sequence[str], *, lists: bool = True) -> dict[str, bytes]:
        """Read documents of one folder that read as missing again, if a list of the folder names them."""
        listed = self._listed(keys) if lists and self.unlisted is None else None
        if listed is None:
            return self._read_fresh(keys)
        found = self._read_fresh(listed) if listed else {}
        for key in listed:
            if key not in found:
                raise StorageError(
                    f"Cannot read {self.where(key)}: the list of its folder names it, and the service answers that it "
                    "does not exist. Try again."
                )
        return found

    def _listed(self, keys: Sequence[str]) -> Sequence[str] | None:
        """Return those of some keys of one folder that its list names; None where the credentials may not list."""
        try:
            names = self._names_in(keys[0].rpartition("/")[0])
        except AccessError:
            return None
        return [key for key in keys if key.rpartition("/")[2] in names]

    def list(self, prefix: str) -> Names:
        """List the names in a folder; `StorageError` where the store cannot list."""
        if not self.can_list:
            raise StorageError(f"cannot list {self.where(prefix)}: the store cannot list its members")
        names = self._names_in(check_key(prefix))
        return sorted((name for name in names if not is_private(name)), key=natural_order)

    def abandoned_names(self, folder: str) -> Names:
        """List the temporary names in a folder that failed or killed calls left."""
        return [name for name in self._names_in(folder) if is_abandoned(name)] if self.can_list else []

    def _sizes_of(self, path: str) -> dict[str, int]:
        """Return a key, or all keys below a folder, with their sizes."""
        sizes = self.sizes_below(path)
        own = self.size(path)
        return sizes if own is None else {**sizes, path: own}

    def _sizes_of_each(self, paths: Sequence[str]) -> Sequence[dict[str, int]]:
        """Return `_sizes_of` of several paths."""
        return [self._sizes_of(path) for path in paths]

    # ---- writing --------------------------------------------------------------------------------

    def write(self, key: str, data: bytes) -> None:
        """Write a key, as atomically as the store does."""
        self.write_many([(key, data)])

    def write_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Write keys, many at a time."""
        self.check_writable("")
        batch: dict[str, bytes] = {}
        for key, data in items:
            self._check_file(key)
            batch[key] = data
            if len(batch) == self.at_once:
                self._set(batch)
                batch = {}
        if batch:
            self._set(batch)

    def _check_file(self, key: str) -> None:
        """Raise where a key cannot be written."""
        self.check_writable(key)
        if not check_key(key):
            raise InvalidNameError("the root of a store is a folder: bytes need a name below it")

    def _set(self, batch: dict[str, bytes]) -> None:
        self._put(batch)
        if log.isEnabledFor(DEBUG):
            for key in batch:
                log.debug("Wrote %s", self.where(key))

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Lock a key between the threads of this process, for all storages at one location."""
        self.check_writable(key)
        with ThreadLock(join(self.lock_root, check_key(key))):
            yield

    # ---- deleting -------------------------------------------------------------------------------

    def delete_files(self, keys: Sequence[str]) -> None:
        """Delete some keys; do nothing for those that are missing."""
        for key in keys:
            self.check_writable(key)
        self._delete_keys(keys)

    def _delete_root(self) -> None:
        """Delete everything, the root's documents last, so that mode "w" recognises and replaces what a kill leaves.

        Other documents are deleted first, so that readers find no array without its chunks. The store is listed before,
        after all other keys are deleted, and at the end.
        """
        sizes = self._sizes_of("")
        others = [key for key in sizes if key not in DOCUMENTS]
        for part in _documents_and_chunks(others):
            self._delete_keys(part)
        if others:
            self._check_deleted("", [key for key in self._sizes_of("") if key not in DOCUMENTS])
        self._delete_keys(key for key in sizes if key in DOCUMENTS)
        self._check_deleted("", self._sizes_of(""))
        self._delete_folder("")

    def leave_only(self, key: str, data: bytes) -> None:
        """Write a key, then delete all others: the root's documents first, then other documents, then the rest.

        Where the storage has folders, the key may be deleted too.
        """
        self.write(key, data)
        keys = [other for other in self._sizes_of("") if other != key]
        root = [other for other in keys if other in DOCUMENTS]
        for part in (root, *_documents_and_chunks(other for other in keys if other not in DOCUMENTS)):
            if part:
                self._delete_keys(part)
        self._check_deleted("", [other for other in self._sizes_of("") if other != key])
        self._delete_folder("")

    def _check_deleted(self, prefix: str, left: Collection[str]) -> None:
        """Raise where keys remain: services report success along with a list of keys that they did not delete."""
        if left:
            raise StorageError(
                f"Cannot delete all of {prefix or 'the root'!r} in {self.name}: {len(left)} keys are still there, such "
                f"as {min(left)!r}. The service keeps them (a policy, a lock of objects) or another program writes "
                "there: make them deletable and do it again."
            )

    def discard_copies(self, path: str, of: str) -> None:
        """Delete the keys that have the same bytes below another path: copies that a killed move left."""
        self.check_writable(path)
        sizes, others = self._sizes_of(check_key(path)), self._sizes_of(check_key(of))
        pairs = {key: join(of, key.removeprefix(path).strip("/")) for key in sizes}
        same = [key for key, other in pairs.items() if others.get(other) == sizes[key]]
        chunks_first = sorted(same, key=_is_document)
        for batch in self._batches(chunks_first, {key: 2 * sizes[key] for key in same}):
            bodies = self.read_many([*batch, *(pairs[key] for key in batch)])
            data = {key: body and body[0] for key, body in bodies.items()}
            equal = [key for key in batch if data[key] is not None and data[key] == data[pairs[key]]]
            if equal:
                self._delete_keys(equal)
        if not self._sizes_of(path):
            self._delete_folder(path)

    def _batches(self, keys: Iterable[str], sizes: Mapping[str, int]) -> Iterator[Names]:
        """Yield keys in batches that fit into memory."""
        batch: Names = []
        size = 0
        for key in keys:
            if batch and (size + sizes[key] > COPIED or len(batch) == self.at_once):
                yield batch
                batch, size = [], 0
            batch.append(key)
            size += sizes[key]
        if batch:
            yield batch

    # ---- moving ---------------------------------------------------------------------------------

    def move(self, old: str, new: str, *, owned: Callable[[], object] | None = None) -> None:
        """Copy all keys, compare their number and sizes, then delete exactly the old keys.

        On a failure before anything was deleted the copies are removed. ``owned`` is called before keys are deleted,
        the old ones or the copies, and raises where another program makes the move now: then all keys stay.
        """
        sizes = self.keys_to_move(old, new)
        try:
            self.copy_to_move(old, new, sizes)
        except BaseException:
            with suppress(LamellaError):
                if owned is not None:
                    owned()
                self.discard(new, sizes, of=old)
            raise
        if owned is not None:
            owned()
        try:
            self.delete_moved(old, new, sizes)
        except BaseException:
            with suppress(LamellaError):
                if self.is_complete(old, sizes):
                    self.discard(new, sizes, of=old)
            raise

    def keys_to_move(self, old: str, new: str, *, may_exist: bool = False) -> dict[str, int]:
        """Return the keys of a node with their sizes, before a move; raise where the new path has keys too."""
        self.check_movable(old, new)
        sizes, present = self._sizes_to_move(old, new)
        if not sizes:
            raise NodeNotFoundError(f"cannot move {old!r} to {new!r}: there is no {old!r} in {self.name}")
        if present and not may_exist:
            raise NodeExistsError(f"cannot move {old!r} to {new!r}: {new!r} exists in {self.name}")
        return sizes

    def copy_to_move(
        self, old: str, new: str, sizes: dict[str, int], *, beside: Mapping[str, bytes] | None = None
    ) -> None:
        """Copy keys for a move, and compare the copies; the files ``beside`` are written with the first of them."""
        target = _copies(sizes, old, new)
        for batch in self._copied_in_order(sizes):
            self._copy_and_put(batch, target, dict(beside or {}))
            beside = None
        self._check_copies(old, new, sizes, target)

    def delete_moved(
        self, old: str, new: str, keys: Collection[str], *, owned: Callable[[], object] | None = None
    ) -> None:
        """Delete keys that were copied; raise where others are left.

        With many, ``owned`` is called between requests. Without ``owned`` the old path is still listed, and its own
        document is deleted first.
        """
        self._delete_documents_first(old, keys, at_once=owned is not None, owned=owned)
        log.debug("Moved %s to %s", self.where(old), self.where(new))
        left = self._sizes_again([old], dict.fromkeys(keys, 0))[0]
        if left:
            raise StorageError(
                f"Moving {old!r} to {new!r} in {self.name}: all of it was copied to {new!r}, but {len(left)} keys "
                f"could not be removed from {old!r} or were written there meanwhile, such as {min(left)!r}. Compare "
                f"them with those in {new!r}, then delete {old!r}."
            )
        self._delete_folder(old)

    def is_complete(self, path: str, keys: Collection[str]) -> bool:
        """Whether all these keys are below a path."""
        return self._sizes_again([path], dict.fromkeys(keys, 0))[0].keys() >= set(keys)

    def discard(self, new: str, keys: Collection[str], *, of: str) -> None:
        """Remove the copies of keys after a failed move, as far as the service allows."""
        try:
            self._delete_documents_first(new, _copies(keys, of, new).values())
            self._delete_folder(new)
        except StorageError:
            pass  # the caller raises the first error

    def _copied_in_order(self, sizes: dict[str, int]) -> Sequence[dict[str, int]]:
        """Return the keys of a move: chunks, then the documents that show them to readers."""
        if self.chunks_need_array:
            return [sizes]
        chunks = {key: size for key, size in sizes.items() if not _is_document(key)}
        documents = {key: size for key, size in sizes.items() if _is_document(key)}
        return [batch for batch in (chunks, documents) if batch]

    def _delete_documents_first(
        self,
        path: str,
        keys: Collection[str],
        *,
        at_once: bool = True,
        owned: Callable[[], object] | None = None,
    ) -> None:
        """Delete a node, its own documents first: what a kill leaves without them is not a node.

        With `at_once`, keys that fit into one request are deleted by one, in which the service chooses the order.
        ``owned`` is called again and again while many keys are deleted, and raises to stop that.
        """
        own = [key for key in keys if key.removeprefix(path).strip("/") in DOCUMENTS]
        documents = [key for key in keys if _is_document(key) and key not in own]
        chunks = [key for key in keys if not _is_document(key)]
        if len(keys) > self.deleted_at_once:
            parts = [own, documents, chunks]
        else:
            parts = [[*own, *documents, *chunks]] if at_once else [own, [*documents, *chunks]]
        for part in filter(None, parts):
            for first in range(0, len(part), _DELETED_UNASKED):
                if first and owned is not None:
                    owned()
                self._delete_keys(part[first : first + _DELETED_UNASKED])

    def _sizes_to_move(self, old: str, new: str) -> Sequence[dict[str, int]]:
        """Return the keys of both nodes before a move, with their sizes."""
        return self._sizes_of_each([old, new])

    def _sizes_again(self, paths: Sequence[str], moved: Mapping[str, int]) -> Sequence[dict[str, int]]:
        """Return the keys of nodes with their sizes; single keys are not looked at if all moved keys are in folders."""
        del moved
        return self._sizes_of_each(paths)

    def check_movable(self, old: str, new: str) -> None:
        """Raise where a path cannot be moved, or the store cannot move."""
        super().check_movable(old, new)
        if not self.can_list or not self.can_delete:
            raise StorageError(f"cannot move {old!r}: {self.name} cannot list and delete what it contains")

    def _check_copies(self, old: str, new: str, sizes: dict[str, int], target: dict[str, str]) -> None:
        """Compare the sizes at the new path, and those still at the old path, with the first listing."""
        expected_copies = {target[key]: size for key, size in sizes.items()}
        for found, expected in zip(
            self._sizes_again([new, old], sizes), (expected_copies, sizes), strict=True
        ):
            if found == expected:
                continue
            other = min(key for key in {*found, *expected} if found.get(key) != expected.get(key))
            raise StorageError(
                f"Cannot move {old!r} to {new!r} in {self.name}: {len(sizes)} keys were copied, and {other!r} has "
                f"{found.get(other, 'no')} bytes where {expected.get(other, 'no')} were expected. Nothing was deleted "
                f"from {old!r}; another program may be writing there: try again."
            )


def _copies(keys: Iterable[str], old: str, new: str) -> dict[str, str]:
    """Return the new names of keys that are moved."""
    return {key: join(new, key.removeprefix(old).strip("/")) for key in keys}


def is_hidden(key: str) -> bool:
    """Whether a key is that of a temporary file, or of a file in a temporary folder."""
    return any(map(is_private, key.split("/")))


def _is_document(key: str) -> bool:
    return key.rpartition("/")[2] in DOCUMENTS


def _documents_and_chunks(keys: Iterable[str]) -> Sequence[Sequence[str]]:
    """Return keys in the order in which they are deleted, without empty parts."""
    documents: list[str] = []
    chunks: list[str] = []
    for key in keys:
        (documents if _is_document(key) else chunks).append(key)
    return [part for part in (documents, chunks) if part]
