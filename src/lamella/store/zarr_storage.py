"""Storage on any store of zarr-python: memory, zip, fsspec (S3, GCS, HTTP), obstore, icechunk.

A store that is open for reading reads documents ahead (:mod:`lamella.store.read_ahead`).

Runs the store's coroutines through zarr-python's own event loop. Local stores of zarr-python become
`lamella.store.local.LocalStorage`.

Layer: store.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from lamella.errors import (
    InvalidArgumentError,
    InvalidNameError,
    LamellaError,
    MissingDependencyError,
    NodeExistsError,
    NodeNotFoundError,
    StorageError,
)
from lamella.store import json_document
from lamella.store.bounds import DOCUMENTS
from lamella.store.keys import check_key, is_private, join, natural_order
from lamella.store.local import LocalStorage
from lamella.store.locks import thread_lock
from lamella.store.read_ahead import CONSOLIDATED_V2, ReadAhead
from lamella.store.storage import Names, Storage

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator

    from zarr.abc.store import Store

T = TypeVar("T")

#: Keys written at a time in bulk; remote stores answer many requests in the time of one.
_AT_ONCE = 64


def from_url(url: str, *, read_only: bool) -> Storage:
    """Open a URL with fsspec through zarr-python.

    Raises
    ------
    MissingDependencyError
        fsspec, or its part for this kind of URL, is not installed.
    """
    from zarr.storage import FsspecStore

    try:
        store = FsspecStore.from_url(url, read_only=read_only)
    except ImportError as error:
        raise MissingDependencyError(
            f"opening {url} needs fsspec and its part for {url.partition(':')[0]}: {error}; "
            f"install it, for example with: pip install 'fsspec[{url.partition(':')[0]}]'"
        ) from error
    except ValueError as error:
        raise InvalidArgumentError(f"cannot open {url}: {error}") from error
    return ZarrStorage(store, read_only or url.lower().startswith(("http://", "https://")))


def from_store(store: object, *, read_only: bool, fsync: bool = False, follow_links: bool = False) -> Storage:
    """Make the storage for a store of zarr-python.

    Raises
    ------
    InvalidArgumentError
        It is no such store.
    """
    from zarr.abc.store import Store
    from zarr.storage import LocalStore

    if isinstance(store, LocalStore):
        return LocalStorage(store.root, read_only or store.read_only, fsync=fsync, follow_links=follow_links)
    if isinstance(store, Store):
        return ZarrStorage(store, read_only)
    raise InvalidArgumentError(
        f"cannot open {store!r}: pass a path, a URL, or a store of zarr-python (zarr.abc.store.Store)"
    )


class ZarrStorage(Storage):
    """A store of zarr-python as a storage.

    Locks keep the threads of this process apart; such stores have no locks between processes.

    Parameters
    ----------
    store : zarr.abc.store.Store
        The store.
    read_only : bool
        Refuse every change; a store that is read-only itself stays so.

    Examples
    --------
    >>> from zarr.storage import MemoryStore
    >>> storage = ZarrStorage(MemoryStore())
    >>> storage.write("A/1/zarr.json", b"{}")
    >>> storage.list(""), storage.exists("A/1"), storage.read("B")
    (['A'], True, None)
    """

    def __init__(self, store: Store, read_only: bool = False) -> None:
        from zarr.storage import ZipStore

        self.store = store
        self.read_only = read_only or store.read_only
        self.can_list = store.supports_listing
        self._ahead = ReadAhead() if self.read_only else None
        #: Whether a few bytes may become any number of them.
        self._inflates = isinstance(store, ZipStore)
        # A store may be made but not opened yet (ZipStore opens its file then), and only its opener can do it.
        self._run("open", "", store._ensure_open())

    def __repr__(self) -> str:
        return f"ZarrStorage({self.store!r}{', read_only=True' if self.read_only else ''})"

    def __reduce__(self) -> tuple[object, ...]:
        return ZarrStorage, (self.store, self.read_only)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ZarrStorage) and other.store == self.store and other.read_only == self.read_only
        )

    def __hash__(self) -> int:
        return hash((type(self.store), self.read_only))

    @property
    def name(self) -> str:
        """The URL or description of the store."""
        return str(self.store)

    # ---- reading --------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """Get a key."""
        if not check_key(key):
            return None
        if self._ahead is None or not self._ahead.is_document(key):
            return self._get(key)
        came = self._ahead.take(key)
        if came is not None:
            return came[0]
        data = self._ask_ahead(self._ahead, key)
        self._ahead.take(key)
        return data

    def _ask_ahead(self, ahead: ReadAhead, key: str) -> bytes | None:
        """Get a document, and keep those that a walk will ask for next."""
        if ahead.wants_list(key):
            ahead.learn(CONSOLIDATED_V2, self._get(CONSOLIDATED_V2))
        keys = ahead.plan(key)
        if len(keys) == 1:
            found = {key: self._get(key)}
            ahead.learn(key, found[key])
        else:
            try:
                found = self._run("read", key, _get_all(self.store, keys))
            except StorageError:  # whatever is wrong with another document is told to who asks for that one
                found = {key: self._get(key)}
        ahead.hold(found)
        return found[key]

    def _get(self, key: str) -> bytes | None:
        from zarr.abc.store import RangeByteRequest
        from zarr.core.buffer import default_buffer_prototype

        folder, _, name = key.rpartition("/")
        most = (
            self._inflates and name in DOCUMENTS and RangeByteRequest(0, json_document.LARGEST_DOCUMENT + 1)
        )
        try:
            found = self._run("read", key, self.store.get(key, default_buffer_prototype(), most or None))
        except StorageError as error:
            if isinstance(error.__cause__, IsADirectoryError):
                return None
            raise
        if most and found is not None:
            json_document.check_size(len(found), folder, name)
        return None if found is None else found.to_bytes()

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Get part of a key, with one request for it."""
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest
        from zarr.core.buffer import default_buffer_prototype

        size = self.size(key)
        if size is None:
            return None
        first = max(0, start + size) if start < 0 else start
        end = min(size, first + length)
        if first >= end:
            return b""
        part = SuffixByteRequest(size - first) if end == size else RangeByteRequest(first, end)
        found = self._run("read", key, self.store.get(key, default_buffer_prototype(), part))
        return None if found is None else found.to_bytes()

    def list(self, prefix: str) -> Names:
        """List a folder; `StorageError` where the store cannot."""
        if not self.can_list:
            raise StorageError(f"cannot list {prefix or 'the root'!r}: {self.name} cannot list its members")
        names = set(self._run("list", prefix, _collect(self.store.list_dir(check_key(prefix)))))
        return sorted((name for name in names if name and not is_private(name)), key=natural_order)

    def exists(self, prefix: str) -> bool:
        """Whether a key is there, or keys below it."""
        if check_key(prefix) and self._run("look at", prefix, self.store.exists(prefix)):
            return True
        return self.can_list and self._run("look at", prefix, _any(self.store.list_dir(prefix)))

    def size(self, key: str) -> int | None:
        """Size of a key."""
        if check_key(key) and self._ahead is not None and self._ahead.names(key):
            came = self._ahead.peek(key)
            data = self._ask_ahead(self._ahead, key) if came is None else came[0]
            return None if data is None else len(data)
        if not check_key(key) or not self._run("look at", key, self.store.exists(key)):
            return None
        size: int = self._run("look at", key, self.store.getsize(key))
        if size == 0:  # fsspec says this of a folder too, which has no bytes to get
            data = self._get(key)
            return None if data is None else len(data)
        return size

    # ---- writing --------------------------------------------------------------------------------

    def write(self, key: str, data: bytes) -> None:
        """Set a key; as atomic as the store is."""
        self.write_many([(key, data)])

    def write_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Set keys, 64 at a time."""
        from zarr.core.buffer import default_buffer_prototype

        self.check_writable("")
        make = default_buffer_prototype().buffer.from_bytes
        batch: dict[str, bytes] = {}
        for key, data in items:
            if not check_key(key):
                raise InvalidNameError("the root of a store is a folder: bytes need a name below it")
            batch[key] = data
            if len(batch) == _AT_ONCE:
                self._run("write", key, _set_all(self.store, {k: make(v) for k, v in batch.items()}))
                batch.clear()
        if batch:
            self._run(
                "write", next(iter(batch)), _set_all(self.store, {k: make(v) for k, v in batch.items()})
            )

    def delete(self, prefix: str) -> None:
        """Delete a key and all below it, key by key."""
        self.check_writable(prefix)
        check_key(prefix)
        if not self.store.supports_deletes:
            raise StorageError(f"cannot delete {prefix or 'the root'!r}: {self.name} cannot delete")
        if prefix and self._run("look at", prefix, self.store.exists(prefix)):
            self._run("delete", prefix, self.store.delete(prefix))
        self._run("delete", prefix, self.store.delete_dir(prefix))

    def move(self, old: str, new: str) -> None:
        """Copy all keys, then delete the old ones."""
        self.check_writable(old)
        if not check_key(old) or not check_key(new):
            raise InvalidNameError("the root of a store cannot be moved")
        if f"{new}/".startswith(f"{old}/"):
            raise InvalidNameError(f"cannot move {old!r} into itself, to {new!r}")
        if not self.exists(old):
            raise NodeNotFoundError(f"cannot move {old!r} to {new!r}: there is no {old!r} in {self.name}")
        if self.exists(new):
            raise NodeExistsError(f"cannot move {old!r} to {new!r}: {new!r} exists in {self.name}")
        if self._run("look at", old, self.store.exists(old)):
            keys = [old]
        else:
            keys = self._run("list", old, _collect(self.store.list_prefix(f"{old}/")))
        for key in keys:  # everything is copied before anything is deleted
            data = self.read(key)
            if data is not None:
                self.write(join(new, key.removeprefix(old).strip("/")), data)
        self.delete(old)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keep the threads of this process apart."""
        self.check_writable(key)
        with thread_lock(f"{id(self.store)}:{check_key(key)}"):
            yield

    def zarr_store(self) -> Store:
        """Return the store itself, read-only where this is."""
        if self.read_only and not self.store.read_only:
            try:
                return self.store.with_read_only(True)
            except NotImplementedError:
                return self.store
        return self.store

    def _run(self, verb: str, key: str, work: Coroutine[Any, Any, T]) -> T:
        from zarr.core.sync import sync

        try:
            return sync(work)
        except (LamellaError, KeyboardInterrupt):
            raise
        except Exception as error:  # each backend has an error tree of its own
            self._fail(verb, key, error)

    def _fail(self, verb: str, key: str, error: Exception) -> NoReturn:
        reason = str(error) or type(error).__name__
        raise StorageError(f"cannot {verb} {key or 'the root'!r} in {self.name}: {reason}") from error


async def _collect(names: Any) -> list[str]:
    return [name async for name in names]


async def _get_all(store: Store, keys: list[str]) -> dict[str, bytes | None]:
    import asyncio

    from zarr.core.buffer import default_buffer_prototype

    found = await asyncio.gather(*(store.get(key, default_buffer_prototype()) for key in keys))
    return {key: None if data is None else data.to_bytes() for key, data in zip(keys, found, strict=True)}


async def _any(names: Any) -> bool:
    async for _ in names:
        return True
    return False


async def _set_all(store: Store, values: dict[str, Any]) -> None:
    import asyncio

    if len(values) == 1:
        for key, value in values.items():
            await store.set(key, value)
        return
    await asyncio.gather(*(store.set(key, value) for key, value in values.items()))
