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
from lamella.store.keys import DOCUMENTS, check_key, is_document, is_private, join, natural_order
from lamella.store.storage import Names, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

_MAX_BATCH_BYTES = 64 << 20
"""Limit of the bytes in memory while keys are compared or copied; a larger key is a batch of its own."""

_DELETED_BETWEEN_CHECKS = 1000
"""How many keys a move deletes before it checks again whether another program has continued it."""


class FlatStorage(Storage):
    """A storage whose keys are requested over a connection, and listed with their sizes."""

    #: Prefix of lock names, equal for all storages of this process at one location.
    lock_root: str
    #: Limit of requests at a time.
    max_requests: int
    #: Whether keys can be deleted.
    can_delete: bool = True
    #: How many keys one request deletes.
    keys_per_delete: int = 1

    # ---- implemented by each kind of storage ----------------------------------------------------

    @abstractmethod
    def _read_fresh(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Request keys without using remembered documents; return those that exist."""

    @abstractmethod
    def _names_in(self, folder: str) -> set[str]:
        """Return the names directly below a folder."""

    @abstractmethod
    def sizes_below(self, folder: str) -> dict[str, int]: ...

    @abstractmethod
    def _put(self, batch: dict[str, bytes]) -> None:
        """Write a batch of keys."""

    @abstractmethod
    def _delete_keys(self, keys: Iterable[str]) -> None:
        """Delete keys and nothing else."""

    @abstractmethod
    def _copy(self, sizes: dict[str, int], new_names: dict[str, str]) -> None:
        """Copy keys to their new names; raise where a key has another size than the one in `sizes`, from the list."""

    def _copy_and_put(
        self, sizes: dict[str, int], new_names: dict[str, str], files: dict[str, bytes]
    ) -> None:
        """Copy keys and write `files`, in one round in object stores."""
        if files:
            self._put(files)
        self._copy(sizes, new_names)

    def _delete_folder(self, prefix: str) -> None:
        """Delete the empty folders that deleted keys leave, where the storage has folders."""

    def check_deletable(self, prefix: str) -> None:
        """Raise where the folder may not be listed, and so cannot be deleted."""
        self.check_writable(prefix)
        if self.can_list:
            self._names_in(check_key(prefix))

    # ---- reading --------------------------------------------------------------------------------

    def read_again(self, keys: Sequence[str], *, lists: bool = True) -> dict[str, bytes]:
        listed = self._listed(keys) if lists and self.unlisted is None else None
        if listed is None:
            return self._read_fresh(keys)
        documents = self._read_fresh(listed) if listed else {}
        for key in listed:
            if key not in documents:
                raise StorageError(
                    f"Cannot read {self.where(key)}: the list of its folder names it, and the service answers that it "
                    "does not exist. Try again."
                )
        return documents

    def _listed(self, keys: Sequence[str]) -> Sequence[str] | None:
        """Return those of some keys of one folder that its list contains; None where the credentials may not list."""
        try:
            names = self._names_in(keys[0].rpartition("/")[0])
        except AccessError:
            return None
        return [key for key in keys if key.rpartition("/")[2] in names]

    def list(self, prefix: str) -> Names:
        if not self.can_list:
            raise StorageError(f"Cannot list {self.where(prefix)}: the store cannot list its members.")
        names = self._names_in(check_key(prefix))
        return sorted((name for name in names if not is_private(name)), key=natural_order)

    def abandoned_names(self, folder: str) -> Names:
        return [name for name in self._names_in(folder) if is_abandoned(name)] if self.can_list else []

    def _sizes_of(self, path: str) -> dict[str, int]:
        """Return a key, or all keys below a folder, with their sizes."""
        sizes = self.sizes_below(path)
        own_size = self.size(path)
        return sizes if own_size is None else {**sizes, path: own_size}

    def _sizes_of_each(self, paths: Sequence[str]) -> Sequence[dict[str, int]]:
        return [self._sizes_of(path) for path in paths]

    # ---- writing --------------------------------------------------------------------------------

    def write(self, key: str, data: bytes) -> None:
        self.write_many([(key, data)])

    def write_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        self.check_writable("")
        batch: dict[str, bytes] = {}
        for key, data in items:
            self._check_file(key)
            batch[key] = data
            if len(batch) == self.max_requests:
                self._put_and_log(batch)
                batch = {}
        if batch:
            self._put_and_log(batch)

    def _check_file(self, key: str) -> None:
        self.check_writable(key)
        if not check_key(key):
            raise InvalidNameError(
                f"Cannot write bytes to {self.name}: the root of a store is a folder. Name a file below it."
            )

    def _put_and_log(self, batch: dict[str, bytes]) -> None:
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
        for key in keys:
            self.check_writable(key)
        self._delete_keys(keys)

    def _delete_root(self) -> None:
        """Delete everything, the root's documents last, so that mode "w" recognises and replaces what a kill leaves.

        Other documents are deleted first, so that readers find no array without its chunks. The store is listed before,
        after all other keys are deleted, and at the end.
        """
        sizes = self._sizes_of("")
        keys_below = [key for key in sizes if key not in DOCUMENTS]
        for keys in _documents_and_chunks(keys_below):
            self._delete_keys(keys)
        if keys_below:
            self._check_deleted("", [key for key in self._sizes_of("") if key not in DOCUMENTS])
        self._delete_keys(key for key in sizes if key in DOCUMENTS)
        self._check_deleted("", self._sizes_of(""))
        self._delete_folder("")

    def leave_only(self, key: str, data: bytes) -> None:
        """Write a key, then delete all others: the root's documents first, then other documents, then chunks.

        Where the storage has folders, the key may be deleted too.
        """
        self.write(key, data)
        other_keys = [other_key for other_key in self._sizes_of("") if other_key != key]
        root_documents = [other_key for other_key in other_keys if other_key in DOCUMENTS]
        for keys in (
            root_documents,
            *_documents_and_chunks(other_key for other_key in other_keys if other_key not in DOCUMENTS),
        ):
            if keys:
                self._delete_keys(keys)
        self._check_deleted("", [other_key for other_key in self._sizes_of("") if other_key != key])
        self._delete_folder("")

    def _check_deleted(self, prefix: str, remaining: Collection[str]) -> None:
        """Raise where keys remain: services report success along with a list of keys that they did not delete."""
        if remaining:
            raise StorageError(
                f"Cannot delete all of {prefix or 'the root'!r} in {self.name}: {len(remaining)} keys are still there, "
                f"such as {min(remaining)!r}. The service keeps them (a policy, a lock of objects) or another program "
                "writes there: make them deletable and do it again."
            )

    def discard_copies(self, path: str, originals: str) -> None:
        self.check_writable(path)
        sizes, original_sizes = self._sizes_of(check_key(path)), self._sizes_of(check_key(originals))
        original_of = {key: join(originals, key.removeprefix(path).strip("/")) for key in sizes}
        same_size = [
            key for key, original in original_of.items() if original_sizes.get(original) == sizes[key]
        ]
        chunks_first = sorted(same_size, key=is_document)
        for batch in self._batches(chunks_first, {key: 2 * sizes[key] for key in same_size}):
            bodies = self.read_many([*batch, *(original_of[key] for key in batch)])
            data = {key: body and body[0] for key, body in bodies.items()}
            equal_keys = [
                key for key in batch if data[key] is not None and data[key] == data[original_of[key]]
            ]
            if equal_keys:
                self._delete_keys(equal_keys)
        if not self._sizes_of(path):
            self._delete_folder(path)

    def _batches(self, keys: Iterable[str], sizes: Mapping[str, int]) -> Iterator[Names]:
        """Yield keys in batches that fit into memory."""
        batch: Names = []
        size = 0
        for key in keys:
            if batch and (size + sizes[key] > _MAX_BATCH_BYTES or len(batch) == self.max_requests):
                yield batch
                batch, size = [], 0
            batch.append(key)
            size += sizes[key]
        if batch:
            yield batch

    # ---- moving ---------------------------------------------------------------------------------

    def move(self, old: str, new: str) -> None:
        """Copy all keys, compare their number and sizes, then delete exactly the old keys.

        A failure before anything was deleted removes the copies.
        """
        self._move_keys(old, new, self.keys_to_move(old, new))

    def replace(self, path: str, replacement: str) -> None:
        self.check_movable(replacement, path)
        sizes, old_sizes = self._sizes_in([replacement, path])
        if not sizes:
            raise NodeNotFoundError(
                f"Cannot replace {path!r} by {replacement!r}: there is no {replacement!r} in {self.name}."
            )
        self._delete_documents_first(path, old_sizes, in_one_request=False)
        self._check_deleted(path, self._sizes_in([path])[0])
        self._delete_folder(path)
        self._move_keys(replacement, path, sizes)

    def _move_keys(self, old: str, new: str, sizes: dict[str, int]) -> None:
        try:
            self.copy_to_move(old, new, sizes)
        except BaseException:
            self.discard(new, sizes, old=old)
            raise
        try:
            self.delete_moved(old, new, sizes)
        except BaseException:
            with suppress(LamellaError):
                if self.is_complete(old, sizes):
                    self.discard(new, sizes, old=old)
            raise

    def keys_to_move(self, old: str, new: str, *, may_exist: bool = False) -> dict[str, int]:
        """Return the keys of a node with their sizes, before a move; raise where the new path has keys too."""
        self.check_movable(old, new)
        sizes, new_sizes = self._sizes_to_move(old, new)
        if not sizes:
            raise NodeNotFoundError(f"Cannot move {old!r} to {new!r}: there is no {old!r} in {self.name}.")
        if new_sizes and not may_exist:
            raise NodeExistsError(f"Cannot move {old!r} to {new!r}: {new!r} exists in {self.name}.")
        return sizes

    def copy_to_move(
        self, old: str, new: str, sizes: dict[str, int], *, files: Mapping[str, bytes] | None = None
    ) -> None:
        """Copy keys for a move, and compare the copies; ``files`` are written with the first batch."""
        new_names = _new_names(sizes, old, new)
        for batch in self._steps_of_copy(sizes):
            self._copy_and_put(batch, new_names, dict(files or {}))
            files = None
        self._check_copies(old, new, sizes, new_names)

    def delete_moved(
        self, old: str, new: str, keys: Collection[str], *, check_owned: Callable[[], object] | None = None
    ) -> None:
        """Delete keys that were copied; raise where others remain.

        With many keys, ``check_owned`` is called between requests. Without ``check_owned`` the documents of the node
        itself are deleted by a request of their own, before all others, because the group above still lists the node.
        """
        self._delete_documents_first(
            old, keys, in_one_request=check_owned is not None, check_owned=check_owned
        )
        log.debug("Moved %s to %s", self.where(old), self.where(new))
        remaining = self._sizes_again([old], keys)[0]
        if remaining:
            raise StorageError(
                f"Moving {old!r} to {new!r} in {self.name}: all of it was copied to {new!r}, but {len(remaining)} keys "
                f"could not be removed from {old!r} or were written there meanwhile, such as {min(remaining)!r}. "
                f"Compare them with those in {new!r}, then delete {old!r}."
            )
        self._delete_folder(old)

    def is_complete(self, path: str, keys: Collection[str]) -> bool:
        """Whether all these keys are below a path."""
        return self._sizes_again([path], keys)[0].keys() >= set(keys)

    def discard(self, new: str, keys: Collection[str], *, old: str) -> None:
        """Remove the copies of keys after a failed move, as far as the service allows."""
        with suppress(LamellaError):  # the caller raises the first error
            self._delete_documents_first(new, _new_names(keys, old, new).values())
            self._delete_folder(new)

    def _steps_of_copy(self, sizes: dict[str, int]) -> Sequence[dict[str, int]]:
        """Return the keys of a move in order: chunks, then the documents that show them to readers."""
        if self.chunks_need_array:
            return [sizes]
        chunks = {key: size for key, size in sizes.items() if not is_document(key)}
        documents = {key: size for key, size in sizes.items() if is_document(key)}
        return [batch for batch in (chunks, documents) if batch]

    def _delete_documents_first(
        self,
        path: str,
        keys: Collection[str],
        *,
        in_one_request: bool = True,
        check_owned: Callable[[], object] | None = None,
    ) -> None:
        """Delete a node, its own documents first: after a kill, the remaining keys are not a node.

        With `in_one_request`, keys that fit into one request are deleted by one, in an order that the service chooses.
        """
        node_documents = [key for key in keys if key.removeprefix(path).strip("/") in DOCUMENTS]
        documents = [key for key in keys if is_document(key) and key not in node_documents]
        chunks = [key for key in keys if not is_document(key)]
        if len(keys) > self.keys_per_delete:
            batches = [node_documents, documents, chunks]
        elif in_one_request:
            batches = [[*node_documents, *documents, *chunks]]
        else:
            batches = [node_documents, [*documents, *chunks]]
        for batch in filter(None, batches):
            for first in range(0, len(batch), _DELETED_BETWEEN_CHECKS):
                if first and check_owned is not None:
                    check_owned()
                self._delete_keys(batch[first : first + _DELETED_BETWEEN_CHECKS])

    def _sizes_to_move(self, old: str, new: str) -> Sequence[dict[str, int]]:
        """Return the keys of both nodes before a move, with their sizes."""
        return self._sizes_of_each([old, new])

    def _sizes_again(self, paths: Sequence[str], moved: Collection[str]) -> Sequence[dict[str, int]]:
        """Return the keys at paths with their sizes; where several keys moved, each path is a folder."""
        return self._sizes_of_each(paths) if len(moved) == 1 else self._sizes_in(paths)

    def _sizes_in(self, folders: Sequence[str]) -> Sequence[dict[str, int]]:
        """Return the keys below each of some folders with their sizes."""
        return [self.sizes_below(folder) for folder in folders]

    def check_movable(self, old: str, new: str) -> None:
        super().check_movable(old, new)
        if not self.can_list or not self.can_delete:
            raise StorageError(f"Cannot move {old!r}: {self.name} cannot list and delete what it contains.")

    def _check_copies(self, old: str, new: str, sizes: dict[str, int], new_names: dict[str, str]) -> None:
        """Compare the sizes at the new path, and those still at the old path, with the first listing."""
        expected_copies = {new_names[key]: size for key, size in sizes.items()}
        for listed, expected in zip(
            self._sizes_again([new, old], sizes), (expected_copies, sizes), strict=True
        ):
            if listed == expected:
                continue
            key = min(key for key in {*listed, *expected} if listed.get(key) != expected.get(key))
            raise StorageError(
                f"Cannot move {old!r} to {new!r} in {self.name}: {len(sizes)} keys were copied, and {key!r} has "
                f"{listed.get(key, 'no')} bytes where {expected.get(key, 'no')} were expected. Nothing was deleted "
                f"from {old!r}; another program may be writing there: try again."
            )


def _new_names(keys: Iterable[str], old: str, new: str) -> dict[str, str]:
    return {key: join(new, key.removeprefix(old).strip("/")) for key in keys}


def has_private_name(key: str) -> bool:
    """Whether a key is that of a temporary file, or of a file in a temporary folder."""
    return any(map(is_private, key.split("/")))


def _documents_and_chunks(keys: Iterable[str]) -> Sequence[Sequence[str]]:
    """Split keys into documents and chunks, the order in which they are deleted, without empty lists."""
    documents: list[str] = []
    chunks: list[str] = []
    for key in keys:
        (documents if is_document(key) else chunks).append(key)
    return [key_list for key_list in (documents, chunks) if key_list]
