"""Storage on any store of zarr-python: memory, zip, fsspec (S3, GCS, HTTP), obstore, icechunk.

A store that is open for reading reads documents ahead (:mod:`lamella.store.read_ahead`).

Runs the store's coroutines (:mod:`lamella.store.service`) through zarr-python's own event loop. Local stores of
zarr-python become `lamella.store.local.LocalStorage`.

Layer: store.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from logging import DEBUG
from typing import TYPE_CHECKING, Any, TypeVar

from lamella.errors import (
    InvalidArgumentError,
    InvalidNameError,
    MissingDependencyError,
    NodeExistsError,
    NodeNotFoundError,
    StorageError,
    StoreNotFoundError,
)
from lamella.log import log
from lamella.store import json_document
from lamella.store.addresses import address_of, clean_url, lock_root, title_in
from lamella.store.credentials import resolve
from lamella.store.formats import DOCUMENTS, V2
from lamella.store.fsspec_options import chain_options, fsspec_options
from lamella.store.keys import check_key, is_private, join, natural_order
from lamella.store.local import LocalStorage
from lamella.store.locks import thread_lock
from lamella.store.read_ahead import ReadAhead
from lamella.store.service import AT_ONCE, Service
from lamella.store.service_errors import explained, is_ours
from lamella.store.storage import Names, Storage

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping, Sequence

    from zarr.abc.store import Store
    from zarr.storage import FsspecStore

    from lamella.store.storage import RangeRequest, RangesRead, Replacement, Stamp

T = TypeVar("T")

_COPIED = 64 << 20
"""Bytes that a move holds in memory at a time, or one key."""


def from_url(url: str, *, read_only: bool, storage_options: Mapping[str, Any] | None = None) -> Storage:
    """Open a URL with fsspec through zarr-python.

    Raises
    ------
    MissingDependencyError
        fsspec, or its part for this kind of URL, is not installed.
    InvalidArgumentError
        The URL names no file system, or a cache of fsspec before one of the web; or an option does not fit.
    AccessError
        There are no credentials for the URL.
    StoreNotFoundError, StorageError
        The archive that a chained URL opens is not there, or cannot be read.
    """
    from zipfile import BadZipFile

    from zarr.storage import FsspecStore

    _refuse_cached_web(url)
    resolved = resolve(url, storage_options)
    options = chain_options(url, storage_options) if "::" in url else fsspec_options(resolved)

    try:
        if resolved.kind == "http":
            from lamella.store.web import web_store

            return ZarrStorage(web_store(resolved), True, clean_url(url))
        store = FsspecStore.from_url(
            resolved.url, {"use_listings_cache": False, **options}, read_only=read_only
        )
    except ImportError as error:
        raise MissingDependencyError(
            f"Opening {clean_url(url)} needs fsspec and its part for {url.partition(':')[0]}: {error}; "
            f"install it, for example with: pip install 'fsspec[{url.partition(':')[0]}]'"
        ) from error
    except ValueError as error:
        raise InvalidArgumentError(f"Cannot open {clean_url(url)}: {error}") from error
    except FileNotFoundError as error:
        raise StoreNotFoundError(
            f"There is no store at {clean_url(url)}: {error} is not there. Check the path."
        ) from error
    except (OSError, BadZipFile) as error:
        raise StorageError(f"Cannot open {clean_url(url)}: {error}", errno.EIO) from error
    return ZarrStorage(store, read_only, clean_url(url))


def _refuse_cached_web(url: str) -> None:
    """Refuse a cache of fsspec before a web server: its requests fail as soon as zarr-python makes them."""
    chain, _, last = url.rpartition("::")
    caches = [name for name in chain.split("::") if name.lower().endswith("cache")]
    if caches and last.lower().startswith(("http://", "https://")):
        raise InvalidArgumentError(
            f"Cannot open {clean_url(url)}: the caches of fsspec, such as {caches[0]}, do not work for web servers "
            f"below zarr-python. Open {clean_url(last)} itself, or a copy."
        )


def _never_listed_on_the_web(store: FsspecStore) -> FsspecStore:
    """Return a store of fsspec; one of the web, also by a class of the user's own, as one that cannot list."""
    if "HTTPFileSystem" not in [kind.__name__ for kind in type(store.fs).__mro__]:
        return store
    from lamella.store.web import as_web_store

    return as_web_store(store)


def from_store(store: object, *, read_only: bool, fsync: bool = False, follow_links: bool = False) -> Storage:
    """Make the storage for a store of zarr-python.

    Raises
    ------
    InvalidArgumentError
        It is no such store.
    """
    from zarr.abc.store import Store
    from zarr.storage import FsspecStore, LocalStore

    from lamella.store.merging_store import MergingLocalStore, MergingStore
    from lamella.store.read_only_store import ReadOnlyStore

    if isinstance(store, MergingStore) and isinstance(store.storage.zarr_store(), ReadOnlyStore):
        return store.storage
    if isinstance(store, ReadOnlyStore):
        return store.storage
    if isinstance(store, MergingStore):
        return ZarrStorage(store.storage.zarr_store(), read_only or store.read_only)
    if isinstance(store, MergingLocalStore) and isinstance(store.storage, LocalStorage):
        return store.storage.beside(store.storage.root, read_only=read_only or store.read_only)
    if isinstance(store, LocalStore):
        return LocalStorage(store.root, read_only or store.read_only, fsync=fsync, follow_links=follow_links)
    if isinstance(store, FsspecStore):
        store = _never_listed_on_the_web(store)
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
    address : str, optional
        Where the store is, for messages; by default its URL as far as it has one.

    Examples
    --------
    >>> from zarr.storage import MemoryStore
    >>> storage = ZarrStorage(MemoryStore())
    >>> storage.write("A/1/zarr.json", b"{}")
    >>> storage.list(""), storage.exists("A/1"), storage.read("B")
    (['A'], True, None)
    """

    def __init__(self, store: Store, read_only: bool = False, address: str | None = None) -> None:
        from zarr.storage import ZipStore

        self.store = store
        self.read_only = read_only or store.read_only
        self.can_list = store.supports_listing
        self._address = address or address_of(store)
        self._service = Service(store, self._address)
        self._lock_root = lock_root(store)
        self._ahead = ReadAhead() if self.read_only else None
        #: Whether a few bytes may become any number of them.
        self._inflates = isinstance(store, ZipStore)
        # A store may be made but not opened yet (ZipStore opens its file then), and only its opener can do it.
        self._run("open", "", store._ensure_open())

    def __repr__(self) -> str:
        return f"ZarrStorage({self._address!r}{', read_only=True' if self.read_only else ''})"

    def __reduce__(self) -> tuple[object, ...]:
        return ZarrStorage, (self.store, self.read_only, self._address)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ZarrStorage) and other.store == self.store and other.read_only == self.read_only
        )

    def __hash__(self) -> int:
        return hash((type(self.store), self.read_only))

    @property
    def name(self) -> str:
        """The URL or description of the store."""
        return self._address

    @property
    def service(self) -> Service:
        """What asks the store from within its event loop."""
        return self._service

    @property
    def title(self) -> str:
        """The last name of the URL, without endings such as ``.zarr``; "" where there is none."""
        return title_in(self._address)

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
            ahead.learn(V2.consolidated, self._get(V2.consolidated))
        keys = ahead.plan(key)
        if len(keys) == 1:
            found = {key: self._get(key)}
            ahead.learn(key, found[key])
        else:
            try:
                came = self._run("read", key, self.service.get_many(keys))
                found = {name: None if one is None else one.to_bytes() for name, one in came.items()}
            except StorageError:  # whatever is wrong with another document is told to who asks for that one
                found = {key: self._get(key)}
        ahead.hold(found)
        return found[key]

    def _get(self, key: str) -> bytes | None:
        from zarr.abc.store import RangeByteRequest

        folder, _, name = key.rpartition("/")
        most = (
            self._inflates and name in DOCUMENTS and RangeByteRequest(0, json_document.LARGEST_DOCUMENT + 1)
        )
        found = self._run("read", key, self.service.get(key, most or None))
        if most and found is not None:
            json_document.check_size(len(found), self.where(folder), name)
        return None if found is None else found.to_bytes()

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Get part of a key, with one request for it."""
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest

        size = self.size(key)
        if size is None:
            return None
        first = max(0, start + size) if start < 0 else start
        end = min(size, first + length)
        if first >= end:
            return b""
        part = SuffixByteRequest(size - first) if end == size else RangeByteRequest(first, end)
        found = self._run("read", key, self.service.get(key, part))
        return None if found is None else found.to_bytes()

    def read_many(self, keys: Sequence[str]) -> dict[str, tuple[bytes, Stamp | None] | None]:
        """Get keys, many at a time; such stores have no stamps."""
        if self._inflates:
            return super().read_many(keys)
        wanted = [key for key in keys if check_key(key)]
        came = self._run("read", next(iter(keys), ""), self.service.get_many(wanted))
        found = {key: None if one is None else (one.to_bytes(), None) for key, one in came.items()}
        return {key: found.get(key) for key in keys}

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        """Get ranges, many at a time; those that lie near each other with one request."""
        first = requests[0].key if requests else ""
        return self._run("read", first, self.service.get_ranges(requests))

    def list(self, prefix: str) -> Names:
        """List a folder; `StorageError` where the store cannot."""
        if not self.can_list:
            raise StorageError(f"cannot list {self.where(prefix)}: the store cannot list its members")
        names = self._run("list", prefix, self.service.list_dir(check_key(prefix)))
        return sorted((name for name in names if not is_private(name)), key=natural_order)

    @property
    def lists_below(self) -> bool:
        """Whether the store is one of keys without folders."""
        return self.can_list and self._service.lists_below

    def keys_below(self, folder: str) -> Names:
        """List all keys below a folder."""
        return list(self.sizes_below(folder))

    def sizes_below(self, folder: str) -> dict[str, int]:
        """List all keys below a folder, with their sizes."""
        return self._run("list", folder, self.service.sizes_below(check_key(folder)))

    def exists(self, prefix: str) -> bool:
        """Whether a key is there, or keys below it."""
        return self._run("look at", prefix, self.service.exists(check_key(prefix)))

    def has_any(self, names: Collection[str]) -> bool:
        """Whether one of some files lies directly in the root: by one list, or one round of requests."""
        if self.lists_below:
            try:
                return not self._run("list", "", self.service.list_dir("")).isdisjoint(names)
            except StorageError:  # who may read may not list everywhere
                pass
        found = self._run("look at", "", self.service.get_many([*names]))
        return any(one is not None for one in found.values())

    def size(self, key: str) -> int | None:
        """Size of a key."""
        if not check_key(key):
            return None
        if self._ahead is not None and self._ahead.names(key):
            came = self._ahead.peek(key)
            data = self._ask_ahead(self._ahead, key) if came is None else came[0]
            return None if data is None else len(data)
        return self._run("look at", key, self.service.size(key))

    # ---- writing --------------------------------------------------------------------------------

    def write(self, key: str, data: bytes) -> None:
        """Set a key; as atomic as the store is."""
        self.write_many([(key, data)])

    def write_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Set keys, 64 at a time."""
        self.check_writable("")
        batch: dict[str, bytes] = {}
        for key, data in items:
            if not check_key(key):
                raise InvalidNameError("the root of a store is a folder: bytes need a name below it")
            batch[key] = data
            if len(batch) == AT_ONCE:
                self._set(batch)
                batch = {}
        if batch:
            self._set(batch)

    def write_back(self, replacements: Sequence[Replacement]) -> Collection[str]:
        """Set keys; what is absent by a 403 only is created, and never replaced: it may be there with other chunks."""
        unseen = [one for one in replacements if not one.was_there and self.service.denied_is_absent]
        for one in unseen:
            self._run("write", one.key, self.service.create(one.key, one.data))
        return super().write_back([one for one in replacements if one not in unseen])

    def _set(self, batch: dict[str, bytes]) -> None:
        self._run("write", next(iter(batch)), self.service.set_many(batch))
        if log.isEnabledFor(DEBUG):
            for key in batch:
                log.debug("Wrote %s", self.where(key))

    def delete(self, prefix: str) -> None:
        """Delete a key and all below it, key by key."""
        self.check_writable(prefix)
        check_key(prefix)
        if not self.store.supports_deletes:
            raise StorageError(f"cannot delete {prefix or 'the root'!r}: {self.name} cannot delete")
        if prefix and self.size(prefix) is not None:
            self._run("delete", prefix, self.service.delete_keys([prefix]))
        if not prefix and self.can_list:
            self._delete_root()
            return
        self._run("delete", prefix, self.service.delete_below(prefix))
        self._check_deleted(prefix, self._sizes_of(prefix) if self.can_list else ())
        log.debug("Deleted %s below %s", prefix or "everything", self.name)

    def _delete_root(self) -> None:
        """Delete all, the root's own documents last: mode "w" replaces what a deletion that is cut short leaves.

        The store is listed three times: what is there, whether all else is gone, and whether the documents are.
        """
        found = self._sizes_of("")
        others = [key for key in found if key not in DOCUMENTS]
        if others:
            self._run("delete", "", self.service.delete_keys(others))
            self._check_deleted("", [key for key in self._sizes_of("") if key not in DOCUMENTS])
        self._run("delete", "", self.service.delete_keys(key for key in found if key in DOCUMENTS))
        self._check_deleted("", self._sizes_of(""))
        if self.service.has_folders:
            self._run("delete", "", self.service.delete_below(""))

    def _check_deleted(self, prefix: str, left: Collection[str]) -> None:
        """Raise where keys are left: services answer with success and a list of what they did not delete."""
        if left:
            raise StorageError(
                f"Cannot delete all of {prefix or 'the root'!r} in {self.name}: {len(left)} keys are still there, such "
                f"as {min(left)!r}. The service keeps them (a policy, a lock of objects) or another program writes "
                "there: make them deletable and do it again."
            )

    def move(self, old: str, new: str) -> None:
        """Copy all keys, compare their number and sizes, then delete the old ones and nothing else.

        Where that fails before the deletion, the copies are removed and the old keys are all there.
        """
        self.check_writable(old)
        if not check_key(old) or not check_key(new):
            raise InvalidNameError("the root of a store cannot be moved")
        if f"{new}/".startswith(f"{old}/"):
            raise InvalidNameError(f"cannot move {old!r} into itself, to {new!r}")
        if not self.can_list or not self.store.supports_deletes:
            raise StorageError(f"cannot move {old!r}: {self.name} cannot list and delete what it holds")
        if not self.exists(old):
            raise NodeNotFoundError(f"cannot move {old!r} to {new!r}: there is no {old!r} in {self.name}")
        if self.exists(new):
            raise NodeExistsError(f"cannot move {old!r} to {new!r}: {new!r} exists in {self.name}")
        sizes = self._sizes_of(old)
        target = {key: join(new, key.removeprefix(old).strip("/")) for key in sizes}
        try:
            self._copy(sizes, target)
            self._check_copies(old, new, sizes, target)
        except BaseException:
            self._discard(new, target.values())
            raise
        # Its own document first: from then on nobody takes what is left of the old one for the node.
        documents = [key for key in sizes if key.removeprefix(old).strip("/") in DOCUMENTS]
        for keys in (documents, [key for key in sizes if key not in documents]):
            self._run("delete", old, self.service.delete_keys(keys))
        log.debug("Moved %s to %s", self.where(old), self.where(new))
        left = self._sizes_of(old)
        if left:
            raise StorageError(
                f"Moving {old!r} to {new!r} in {self.name}: all of it was copied to {new!r}, but {len(left)} keys "
                f"could not be removed from {old!r} or were written there meanwhile, such as {min(left)!r}. Compare "
                f"them with those in {new!r}, then delete {old!r}."
            )
        if self.service.has_folders:
            self._run("delete", old, self.service.delete_below(old))

    def discard_copies(self, path: str, of: str) -> None:
        """Delete the keys that hold the same bytes below another path: what a killed move copied or did not delete."""
        self.check_writable(path)
        sizes, others = self._sizes_of(check_key(path)), self._sizes_of(check_key(of))
        pairs = {key: join(of, key.removeprefix(path).strip("/")) for key in sizes}
        batch: Names = []
        held = 0
        same = [key for key, other in pairs.items() if others.get(other) == sizes[key]]
        for key in sorted(
            same, key=lambda one: one.rpartition("/")[2] in DOCUMENTS
        ):  # chunks before their documents
            if batch and (held + 2 * sizes[key] > _COPIED or len(batch) == AT_ONCE):
                self._discard_equal(batch, pairs)
                batch, held = [], 0
            batch.append(key)
            held += 2 * sizes[key]
        if batch:
            self._discard_equal(batch, pairs)
        if self.service.has_folders and not self._sizes_of(path):
            self._run("delete", path, self.service.delete_below(path))

    def _discard_equal(self, keys: Names, pairs: dict[str, str]) -> None:
        """Delete those of some keys that hold the same bytes as their pair."""
        came = self._run("read", keys[0], self.service.get_many([*keys, *(pairs[key] for key in keys)]))
        found = {key: one and one.to_bytes() for key, one in came.items()}
        equal = [key for key in keys if found[key] is not None and found[key] == found[pairs[key]]]
        if equal:
            self._run("delete", equal[0], self.service.delete_keys(equal))

    def _sizes_of(self, path: str) -> dict[str, int]:
        """Return a key, or all keys below a folder, with their sizes."""
        found = self._run("list", path, self.service.sizes_below(path))
        own = self.size(path)
        return found if own is None else {**found, path: own}

    def _copy(self, sizes: dict[str, int], target: dict[str, str]) -> None:
        """Copy keys, some at once but no more than memory should hold."""
        batch: Names = []
        held = 0
        # Documents first: icechunk holds no chunks of an array that it does not know.
        for key in sorted(sizes, key=lambda one: (one.rpartition("/")[2] not in DOCUMENTS, one.count("/"))):
            size = sizes[key]
            if batch and (held + size > _COPIED or len(batch) == AT_ONCE):
                self._copy_batch(batch, sizes, target)
                batch, held = [], 0
            batch.append(key)
            held += size
        if batch:
            self._copy_batch(batch, sizes, target)

    def _copy_batch(self, keys: Names, sizes: dict[str, int], target: dict[str, str]) -> None:
        came = self._run("read", keys[0], self.service.get_many(keys))
        values: dict[str, bytes] = {}
        for key, one in came.items():
            if one is None or len(one) != sizes[key]:
                found = "nothing" if one is None else f"{len(one)} bytes"
                raise StorageError(
                    f"Cannot copy {key!r} in {self.name}: its list says {sizes[key]} bytes, and {found} can be read. "
                    "Nothing was deleted; another program may be writing there: try again."
                )
            values[target[key]] = one.to_bytes()
        self._run("write", target[keys[0]], self.service.set_many(values))

    def _check_copies(self, old: str, new: str, sizes: dict[str, int], target: dict[str, str]) -> None:
        """Compare what is at the new place, and still at the old one, with what was listed first."""
        wanted = {target[key]: size for key, size in sizes.items()}
        for path, expected in ((new, wanted), (old, sizes)):
            found = self._sizes_of(path)
            if found == expected:
                continue
            other = min(key for key in {*found, *expected} if found.get(key) != expected.get(key))
            raise StorageError(
                f"Cannot move {old!r} to {new!r} in {self.name}: {len(sizes)} keys were copied, and {other!r} has "
                f"{found.get(other, 'no')} bytes where {expected.get(other, 'no')} were expected. Nothing was deleted "
                f"from {old!r}; another program may be writing there: try again."
            )

    def _discard(self, new: str, keys: Iterable[str]) -> None:
        """Remove the copies of a move that failed, as far as the service allows."""
        try:
            self._run("delete", new, self.service.delete_keys(keys))
            if self.service.has_folders:
                self._run("delete", new, self.service.delete_below(new))
        except StorageError:
            pass  # the error that is on its way says what failed

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keep the threads of this process apart, through whichever handle of the same location."""
        self.check_writable(key)
        with thread_lock(join(self._lock_root, check_key(key))):
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
        except KeyboardInterrupt:
            raise
        except Exception as error:  # each backend has an error tree of its own
            if is_ours(error) or isinstance(error, Warning):
                raise
            raise explained(verb, key, self.name, error) from error
