"""Define `Storage`, bytes under keys, and open one from a user's path, URL or store.

A *stamp* is a tuple that differs whenever the bytes of a key differ, such as (mtime, size, inode, ctime) of a file or
("etag",) of an object.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

from lamella.errors import InvalidArgumentError, InvalidNameError, ReadOnlyError
from lamella.store.keys import check_key, join
from lamella.store.paths import is_url, location

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from typing_extensions import TypeIs
    from zarr.abc.store import Store

    from lamella.store.pixels.chunk_cache import StampedCache
    from lamella.store.pixels.coding import DecodedChunk
    from lamella.types import JSONObject, StrPath

T = TypeVar("T")

Names: TypeAlias = list[str]
"""Names of files and folders, in natural order."""

Stamp: TypeAlias = tuple[int | str, ...]
"""Identifies a version of the bytes of a key; while the stamp is equal, the bytes are unchanged."""

Fingerprint: TypeAlias = list[int | str]
"""A stamp as a JSON list, which another process can compare hours later. For a local file it is its stamp, for an
object its strong ETag and size, for a file in an archive the stamp of the archive and the checksum of the file."""


def times_of(stamp: Stamp | Fingerprint) -> tuple[int, int] | None:
    """Return mtime and ctime in ns from the stamp of a local file; None for objects."""
    mtime, ctime = stamp[0], stamp[-1]
    return (mtime, ctime) if isinstance(mtime, int) and isinstance(ctime, int) else None


class ChangedError(Exception):
    """A key no longer has the expected stamp; read it again."""


class RangeRequest(NamedTuple):
    """Ranges of one key; with `stamp`, of this version only."""

    key: str
    #: Offset and length; a negative offset counts from the end.
    ranges: tuple[tuple[int, int], ...]
    stamp: Stamp | None = None


class RangesRead(NamedTuple):
    """The bytes of each range, fewer past the end of the key, and the stamp of their version."""

    parts: list[bytes]
    stamp: Stamp | None


class Replacement(NamedTuple):
    """New bytes of a key, and its stamp when it was read before."""

    key: str
    data: bytes
    stamp: Stamp | None
    existed: bool


class RemoteRequests(Protocol):
    """The requests of a remote store as coroutines, for zarr-python's engine."""

    @property
    def forbidden_means_missing(self) -> bool | None:
        """Whether 403 means "missing"; None until a 403."""

    async def get(self, key: str, byte_range: Any = None, prototype: Any = None) -> Any:
        """Get a key or a part of it as a buffer of zarr-python; None where it is missing."""

    async def set(self, key: str, data: bytes) -> None:
        """Write a key."""

    async def create(self, key: str, data: bytes) -> None:
        """Write a key that could not be read, only where it is missing."""


class Storage(ABC):
    """Bytes under keys such as ``"A/1/0/zarr.json"``; ``""`` is the root.

    Keys are checked before any I/O (`InvalidNameError`). A `read_only` storage raises `ReadOnlyError` before any
    change. Failures of the system or service raise `StorageError`.
    """

    #: Whether changes are refused.
    read_only: bool = False
    #: Whether `list` works; web servers cannot list.
    can_list: bool = True
    #: Whether `stamp` returns stamps.
    has_stamps: bool = True
    #: In a handle that assumes that keys never change: the stamps of the keys that were read. None: each call checks.
    trusted: dict[str, Stamp] | None = None
    #: Limit of the cache of decoded chunks of this store; None: it shares the cache of the process.
    cache_bytes: int | None = None
    #: Whether a forked process can use it after its parent did.
    survives_fork: bool = True
    #: Whether `write_new` never replaces what another program created.
    creates_exclusively: bool = False
    #: Whether `lock` excludes other processes too, not only threads of this one.
    locks_processes: bool = False
    #: Whether chunks can be written only inside the shape of an existing array.
    chunks_need_array: bool = False
    #: Whether `write_new_folder` works.
    has_folders: bool = False

    @property
    @abstractmethod
    def name(self) -> str:
        """Path or URL of the store, for messages."""

    @property
    def identity(self) -> str:
        """A text that is equal for all paths and URLs of the same store."""
        return self.name.rstrip("/")

    @property
    def title(self) -> str:
        """Default name of a new plate or image in this store: the last name of its path, without ``.zarr``."""
        return ""

    @property
    def service(self) -> RemoteRequests | None:
        """The requests of a remote store as coroutines; None for a folder."""
        return None

    def where(self, key: str) -> str:
        """Return the full path or URL of a key, for messages."""
        name = self.name
        between = "" if name.endswith("/") else "/"  # the root, and memory://, end with one
        return f"{name}{between}{key}" if key else name

    @property
    def ignores_case(self) -> bool:
        """Whether names that differ by case only are one entry."""
        return False

    @property
    def unlisted(self) -> Storage | None:
        """The storage to request single keys from where listing may miss some; None where `list` is complete."""
        return None if self.can_list else self

    @cached_property
    def decoded(self) -> StampedCache[DecodedChunk]:
        """The cache of decoded chunks."""
        from lamella.store.pixels.chunk_cache import StampedCache, decoded

        return decoded if self.cache_bytes is None else StampedCache(self.cache_bytes)

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """Return the bytes of a key; None where it is missing."""

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Return up to `length` bytes of a key from `start`, from its end if negative; None if it is missing."""
        data = self.read(key)
        if data is None:
            return None
        first = max(0, start + len(data)) if start < 0 else start
        return data[first : first + length]

    def read_stamped(self, key: str) -> tuple[bytes, Stamp | None] | None:
        """Read a key with its `stamp`, which is as old as the bytes or older; None where the key is missing."""
        stamp = self.stamp(key)
        data = self.read(key)
        return None if data is None else (data, stamp)

    def read_many(self, keys: Sequence[str]) -> dict[str, tuple[bytes, Stamp | None] | None]:
        """Read several keys with their stamps; None for missing ones."""
        return {key: self.read_stamped(key) for key in keys}

    def read_again(self, keys: Sequence[str], *, lists: bool = True) -> dict[str, bytes]:
        """Read documents of one folder that read as missing again; return those that exist.

        A service, or a cache before it, may answer 404 for an existing object for some seconds. So the folder is
        listed, and the keys in the list are requested again. Where the store cannot list, or with ``lists=False``, all
        keys are. Raises `StorageError` where a listed key is still missing.
        """
        del keys, lists
        return {}

    @property
    def reads_ahead(self) -> bool:
        """Whether `request_ahead` requests documents ahead: in remote stores that are open for reading."""
        return False

    def request_ahead(self, keys: Iterable[str], *, at_once: bool = False) -> None:
        """Request documents that will be read next in one round; the next read of each returns the answer.

        Does nothing in local stores. In stores that are open for writing it needs ``at_once``: the caller reads the
        documents before it reads or writes anything else.
        """
        del keys, at_once

    def load_ahead(self, keys: Sequence[str]) -> None:
        """Load files that will be read next into the page cache of the system; does nothing in other stores."""
        del keys

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        """Read ranges of several keys; None for missing ones.

        Raises `ChangedError` where a key has another stamp than its request.
        """
        return [self._read_ranges_of(request) for request in requests]

    def _read_ranges_of(self, request: RangeRequest) -> RangesRead | None:
        stamp = self.stamp(request.key)
        if request.stamp is not None and stamp != request.stamp:
            raise ChangedError(request.key)
        parts = [self.read_range(request.key, offset, length) for offset, length in request.ranges]
        parts_read = [part for part in parts if part is not None]
        if len(parts_read) < len(parts):
            return None
        if self.stamp(request.key) != stamp:
            raise ChangedError(request.key)
        return RangesRead(parts_read, stamp)

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Replace the bytes of a key atomically; creates the folders above."""

    def write_stamped(self, key: str, data: bytes) -> Stamp | None:
        """Replace the bytes of a key, and return their stamp.

        None where the store has no stamps, or another writer changed the key meanwhile.
        """
        self.write(key, data)
        return None

    def write_if(self, key: str, data: bytes, expected: Stamp | None) -> Stamp | None:
        """Write a key if it has the `expected` stamp (None: if it is missing), else raise `ChangedError`.

        Returns the new stamp as `write_stamped` does.
        """
        with self.replacement_lock(key):
            if (self.size(key) is not None) if expected is None else self.stamp(key) != expected:
                raise ChangedError(key)
            return self.write_stamped(key, data)

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> Stamp | None:
        """Change the bytes of a key by a function, so that no concurrent change is lost.

        `change` maps the old bytes (None: missing) to the new ones (None: write nothing), and may run again where
        others write meanwhile. Returns the new stamp as `write_stamped` does; None where nothing was written.
        """
        with self.replacement_lock(key):
            data = change(self.read(key))
            return None if data is None else self.write_stamped(key, data)

    def write_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Write several keys in order; each one is atomic, all of them together are not."""
        for key, data in items:
            self.write(key, data)

    def write_new(self, items: Iterable[tuple[str, bytes]]) -> Collection[str]:
        """Write keys that do not exist yet.

        With `creates_exclusively`, return the keys that another program created meanwhile; they are not replaced.
        Without it, the caller excludes other writers with `lock`.
        """
        self.write_many(items)
        return ()

    def write_back(self, replacements: Sequence[Replacement]) -> Collection[str]:
        """Write keys that were read and changed; return those that others changed meanwhile, which are not written.

        The caller has locked the keys with `lock`.
        """
        self.write_many((replacement.key, replacement.data) for replacement in replacements)
        return ()

    def read_chunks(self, keys: Sequence[str]) -> Mapping[str, tuple[bytes, Stamp | None] | None]:
        """Read whole objects with chunks as `read_many` does, perhaps from the store's cache in a local folder."""
        return self.read_many(keys)

    def drop_cached(self, key: str, stamp: Stamp | None, spans: Iterable[tuple[int, int]]) -> None:
        """Drop ranges of a key, which cannot be decoded, from the store's cache in a local folder."""
        del key, stamp, spans

    @abstractmethod
    def list(self, prefix: str) -> Names:
        """List the names directly below a folder, in natural order; empty where there is no folder."""

    def members_of_each(self, folders: Sequence[str]) -> Sequence[dict[str, bool]]:
        """List several folders; return for each its names in natural order, with True for files."""
        members = []
        for folder in folders:
            names = self.list(folder)
            sizes = self.sizes([join(folder, name) for name in names])
            members.append({name: size is not None for name, size in zip(names, sizes, strict=True)})
        return members

    @property
    def lists_below(self) -> bool:
        """Whether `keys_below` lists many keys with one request, while `list` needs one per folder."""
        return False

    def abandoned_names(self, folder: str) -> Names:
        """List temporary names that failed or killed calls left; none in local folders, where writers delete them."""
        return []

    def keys_below(self, folder: str) -> Names:
        """List the keys at any depth below a folder."""
        return list(self.sizes_below(folder))

    def keys_below_each(self, folders: Sequence[str]) -> Sequence[Names]:
        """List the keys at any depth below several folders."""
        return [self.keys_below(folder) for folder in folders]

    def sizes_below(self, folder: str) -> dict[str, int]:
        """Return the size of every key at any depth below a folder."""
        sizes: dict[str, int] = {}
        for key in (join(folder, name) for name in self.list(folder)):
            size = self.size(key)
            sizes |= self.sizes_below(key) if size is None else {key: size}
        return sizes

    @abstractmethod
    def exists(self, prefix: str) -> bool:
        """Whether a key or a folder exists."""

    def existing(self, prefixes: Collection[str], *, documents: Iterable[str] = ()) -> set[str]:
        """Return those of some keys and folders that exist.

        The `documents`, which will be read next, are requested in the same round.
        """
        del documents
        return {prefix for prefix in prefixes if self.exists(prefix)}

    def existing_of_move(self, old: str, new: str, *, documents: Iterable[str] = ()) -> set[str]:
        """Return which of two folders exist, so that `move` need not list them again; `documents` as for `existing`."""
        return self.existing([old, new], documents=documents)

    def has_any(self, names: Collection[str]) -> bool:
        """Whether one of some files lies directly in the root."""
        return any(self.size(name) is not None for name in names)

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Return the size of a key in bytes; None where it is missing."""

    def sizes(self, keys: Sequence[str]) -> Sequence[int | None]:
        """Return the sizes of several keys; None for missing ones."""
        return [self.size(key) for key in keys]

    @abstractmethod
    def delete(self, prefix: str) -> None:
        """Delete a key, or a folder with all below it, if it exists."""

    def delete_files(self, keys: Sequence[str]) -> None:
        """Delete those of some keys that exist."""
        for key in keys:
            self.delete(key)

    def check_deletable(self, prefix: str) -> None:
        """Raise `StorageError` where something below is protected; nothing is changed."""
        self.check_writable(prefix)

    @abstractmethod
    def move(self, old: str, new: str) -> None:
        """Move a key or folder: by a rename where the store can, else by copying and deleting.

        Raises `NodeNotFoundError` where `old` is missing, and `NodeExistsError` where `new` exists.
        """

    def check_movable(self, old: str, new: str) -> None:
        """Raise for the root of a store, for a move into itself, and where the storage is read only."""
        self.check_writable(old)
        if not check_key(old) or not check_key(new):
            raise InvalidNameError("The root of a store cannot be moved.")
        if f"{new}/".startswith(f"{old}/"):
            raise InvalidNameError(f"Cannot move {old!r} into itself, to {new!r}.")

    @abstractmethod
    def replace(self, path: str, replacement: str) -> None:
        """Delete the folder at `path`, and move the folder `replacement` there.

        A local store on Linux exchanges the two names: a kill leaves a complete node at `path`, and perhaps the old one
        at `replacement`. Elsewhere the old one is deleted first, its documents before its chunks, so that a kill leaves
        no incomplete node. Raises `StorageError`, and changes nothing, where a file of the old one is protected.
        """

    def discard_copies(self, path: str, originals: str) -> None:
        """Delete the keys below `path` whose bytes are equal below `originals`: copies that a killed `move` left."""
        self.check_writable(path)
        del originals

    def reading_once(self, folder: str) -> AbstractContextManager[None]:
        """Context of a call that changes a folder, in which remote stores read each document once."""
        del folder
        return nullcontext()

    def handed_over(self) -> Callable[[], AbstractContextManager[None]]:
        """Return a context for other threads that work on the same call, in which each document is read once too."""
        return nullcontext

    def note_created(self) -> None:  # noqa: B027
        """Note that this thread has just created the root, so that nothing below it needs to be listed."""

    @abstractmethod
    def lock(self, key: str) -> AbstractContextManager[None]:
        """Lock a key between threads, and between processes where `locks_processes`."""

    def replacement_lock(self, key: str) -> AbstractContextManager[object]:
        """Lock a key for one read and one `write`; `lock` is for sections of several steps."""
        return self.lock(key)

    def swap(self, key: str, old: bytes, new: bytes, before_write: Callable[[], object]) -> bool:
        """Replace the bytes of a key if they are `old`, under its lock; return whether they were."""
        with self.replacement_lock(key):
            if self.read(key) != old:
                return False
            before_write()
            self.write(key, new)
        return True

    def write_new_folder(self, folder: str, files: Sequence[tuple[str, bytes]]) -> bool | None:
        """Write a folder of files, whose names may contain folders, so that it appears complete or not at all.

        Returns False where the folder exists, and None where the store has no folders; nothing is written then.
        """
        del folder, files
        return None

    def sweep(self, prefix: str = "", *, deep: bool = False) -> int:
        """Remove temporary files of killed writers in a folder, with `deep` at any depth; return their number."""
        del prefix, deep
        return 0

    def stamp(self, key: str) -> Stamp | None:
        """Return the stamp of a key; None where the store has no stamps."""
        del key
        return None

    def fingerprint(self, key: str) -> Fingerprint | None:
        """Return the fingerprint of a key; None where it is missing or the store has none."""
        stamp = self.stamp(key)
        return None if stamp is None else list(stamp)

    def fingerprints(self, keys: Iterable[str]) -> Sequence[Fingerprint | None] | None:
        """Return the fingerprint of each key, None for a missing one; None alone where the store has none."""
        return [self.fingerprint(key) for key in keys]

    def fingerprints_below(self, folder: str) -> dict[str, Fingerprint] | None:
        """Return the fingerprint of every file below a folder, except temporary ones; None where the store has none."""
        fingerprints = {key: self.fingerprint(key) for key in self.keys_below(folder)}
        return {key: fingerprint for key, fingerprint in fingerprints.items() if fingerprint is not None}

    def check_folder(self, path: str) -> None:
        """Check that a folder lies inside the store, before an engine reads it."""
        del path

    def check_file(self, key: str) -> None:
        """Check that a file lies inside the store, each time before an engine opens it."""
        del key

    def kvstore(self, path: str) -> JSONObject | None:
        """Return TensorStore's specification of a folder of this store; None where it has none."""
        del path
        return None

    def check_writable_folder(self, path: str) -> None:
        """Check that an engine may write into a folder, which lies inside the store."""
        self.check_writable(path)

    @property
    def has_own_changes(self) -> bool:
        """Whether there are uncommitted changes that would be lost with this storage."""
        return False

    def commit(self, message: str, *, rebase: bool = False) -> str:
        """Store all changes since the last commit as a version; return its id.

        Raises `InvalidArgumentError` where the store has no versions or nothing changed, and `ConflictError` where
        another session committed to the same branch meanwhile.
        """
        del message, rebase
        raise InvalidArgumentError(
            f"Cannot commit {self.name}: it has no versions, and every change is stored at once. Versions need a "
            "repository of icechunk, such as icechunk+file:///data/plate@main."
        )

    def commit_own(self, message: str) -> None:
        """Commit the changes of a call that opened the store from a URL itself; do nothing in other stores."""
        if self.has_own_changes:
            self.commit(message)

    @abstractmethod
    def zarr_store(self) -> Store:
        """Return this store as a zarr-python store."""

    def check_writable(self, key: str) -> None:
        """Raise `ReadOnlyError` where the storage is read only."""
        if self.read_only:
            raise ReadOnlyError(
                f"Cannot write {self.where(key)}: the store is open for reading. "
                "Open it with mode='r+' or 'a'."
            )


class OptionedURL(str):
    """A URL with its ``storage_options``; its text and repr are those of the URL alone."""

    storage_options: Mapping[str, Any]


def with_options(target: T, storage_options: Mapping[str, Any] | None) -> T | OptionedURL:
    """Combine a path argument with the ``storage_options`` of the same call, which need a URL."""
    if not storage_options:
        return target
    text = location(target) if isinstance(target, (str, bytes, os.PathLike)) else None
    if text is None or not is_url(text):
        _refuse_options(storage_options, text or f"a {type(target).__name__}")
    url = OptionedURL(text)
    url.storage_options = storage_options
    return url


def share_options(targets: Sequence[Any], storage_options: Mapping[str, Any] | None) -> list[Any]:
    """Combine those path arguments of a call that accept its ``storage_options`` with the options.

    Where none of them accepts all options, those that accept some get them, else all URLs, else the first path, so that
    opening it raises.
    """
    if not storage_options:
        return list(targets)
    from lamella.store.objects.credentials import accepts_options

    are_urls = [isinstance(target, str) and is_url(target) for target in targets]
    accepts = [
        is_one and accepts_options(target, storage_options)
        for target, is_one in zip(targets, are_urls, strict=True)
    ]
    are_services = [
        is_one and accepts_options(target, {}) for target, is_one in zip(targets, are_urls, strict=True)
    ]
    if not any(are_urls):
        paths = [isinstance(target, str | os.PathLike) for target in targets]
        are_urls[paths.index(True) if any(paths) else 0] = True
    receivers = next(flags for flags in (accepts, are_services, are_urls) if any(flags))
    return [
        with_options(target, storage_options) if is_receiver else target
        for target, is_receiver in zip(targets, receivers, strict=True)
    ]


def is_store(target: object) -> TypeIs[Store]:
    """Whether an object is a store of zarr-python or a session of icechunk."""
    return hasattr(target, "supports_listing") or _is_of_icechunk(target)


def _is_of_icechunk(target: object) -> bool:
    return type(target).__module__.partition(".")[0] == "icechunk"


def open_storage(
    target: StrPath | Store,
    read_only: bool = False,
    *,
    fsync: bool = False,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    must_exist: bool = False,
) -> Storage:
    """Open the storage of a path, a URL, or a store of zarr-python, which stays read-only if it is.

    Paths and URLs of ZIP archives, and of folders inside them, open read-only. ``storage_options`` are for URLs
    (:mod:`lamella.store.objects.credentials`). ``fsync`` flushes each local file to the disk before it replaces the old
    one, so that finished writes survive a power cut. ``follow_links`` follows symbolic links that lead out of a local
    store. Without ``must_exist`` a missing icechunk repository is created; other stores are never created here.
    """
    if isinstance(target, OptionedURL):
        storage_options = target.storage_options
    if isinstance(target, (str, bytes, os.PathLike)):
        address = location(target)
        if not is_url(address):
            _refuse_options(storage_options, address)
        if address.lower().startswith("icechunk+"):
            from lamella.store.objects.versions import from_versioned_url

            return from_versioned_url(
                address, read_only=read_only, must_exist=must_exist, storage_options=storage_options
            )
        from lamella.store.files.archives import open_archive

        archive = open_archive(address, storage_options)
        if archive is not None:
            return archive
        if is_url(address):
            from lamella.store.objects.credentials import refuse_signed_file

            refuse_signed_file(address)
            return open_url(address, read_only, storage_options)
        from lamella.store.files.local import LocalStorage

        return LocalStorage(address, read_only, fsync=fsync, follow_links=follow_links)
    from lamella.store.objects.zarr_storage import from_store

    _refuse_options(storage_options, f"a {type(target).__name__}")
    if _is_of_icechunk(target):
        from lamella.store.objects.versions import from_versioned_store

        return from_versioned_store(target, read_only=read_only)
    return from_store(target, read_only=read_only, fsync=fsync, follow_links=follow_links)


def open_url(url: str, read_only: bool, storage_options: Mapping[str, Any] | None = None) -> Storage:
    """Open the storage of a folder at a URL, without `refuse_signed_file`."""
    from lamella.store.objects.zarr_storage import from_url

    return from_url(url, read_only=read_only, storage_options=storage_options)


def _refuse_options(storage_options: object, where: str) -> None:
    if storage_options:
        from lamella.store.objects.credentials import refuse_options

        refuse_options(storage_options, where)
