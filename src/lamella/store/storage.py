"""The seam under everything: bytes under keys, and the door that makes one from what a user passes.

What a storage can do, not how: ``local`` does it with the operating system, ``zarr_storage`` with any store
of zarr-python. Knows nothing of groups, arrays or Zarr formats.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

from lamella.errors import InvalidArgumentError, NodeNotFoundError, ReadOnlyError
from lamella.store.formats import DOCUMENTS
from lamella.store.keys import join
from lamella.store.paths import is_url, location

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from zarr.abc.store import Store

    from lamella.store.chunk_cache import StampedCache
    from lamella.types import JSONObject, StrPath

T = TypeVar("T")

Names: TypeAlias = list[str]
"""Names of files and folders, in natural order."""

Stamp: TypeAlias = tuple[int | str, ...]
"""What tells two contents of one key apart without reading them; equal stamps mean unchanged."""


def times_of(stamp: Stamp) -> tuple[int, int] | None:
    """Return when a local file was written and when anything of it changed, in ns, by its stamp; None of objects."""
    first, last = stamp[0], stamp[-1]
    return (first, last) if isinstance(first, int) and isinstance(last, int) else None


class ChangedError(Exception):
    """The content of a key is not the one with the expected stamp any more: read it again."""


class RangeRequest(NamedTuple):
    """Ranges of one key that are wanted; with a stamp, of that content alone."""

    key: str
    #: Offset and length of each; a negative offset counts from the end.
    ranges: tuple[tuple[int, int], ...]
    stamp: Stamp | None = None


class RangesRead(NamedTuple):
    """The bytes of each range, shorter past the end, and the stamp of the content that they are from."""

    parts: list[bytes]
    stamp: Stamp | None


class Replacement(NamedTuple):
    """New bytes of a key that was read before, and the stamp of what was read."""

    key: str
    data: bytes
    stamp: Stamp | None
    was_there: bool


class Service(Protocol):
    """What zarr-python's engine asks a store through that is reached over a connection, from within its event loop."""

    @property
    def denied_is_absent(self) -> bool | None:
        """Whether 403 means that a key is not there; None until it came."""

    async def get(self, key: str, byte_range: Any = None, prototype: Any = None) -> Any:
        """Get a key or a part of it as a buffer of zarr-python; None where it is not there."""

    async def set(self, key: str, data: bytes) -> None:
        """Write a key."""

    async def create(self, key: str, data: bytes) -> None:
        """Write a key that could not be read, only where it is not there."""


class Storage(ABC):
    """Bytes under keys such as ``"A/1/0/zarr.json"``; ``""`` is the root.

    Keys are checked before any I/O (`InvalidNameError`). A storage that is `read_only` refuses every change
    with `ReadOnlyError` before it touches anything. Every failure of the system below is a `StorageError`.
    """

    #: Whether changes are refused.
    read_only: bool = False
    #: Whether `list` works; HTTP cannot list.
    can_list: bool = True
    #: Whether `stamp` tells contents apart.
    has_stamps: bool = True
    #: The contents of keys that were read by this handle and are not asked for again; None: each call asks.
    trusted: dict[str, Stamp] | None = None
    #: Bytes of decoded chunks that are kept for this store alone; None: it shares those of the process.
    cache_bytes: int | None = None
    #: Whether `lock` excludes other processes too, not only threads of this one.
    locks_processes: bool = False

    @property
    @abstractmethod
    def name(self) -> str:
        """Where the store is, for messages."""

    @property
    def title(self) -> str:
        """What a new plate or image in this store is called: the last name of where it is, without ``.zarr``."""
        return ""

    @property
    def service(self) -> Service | None:
        """What asks the store from within an event loop; None for a folder."""
        return None

    def where(self, key: str) -> str:
        """Whole path or URL of a key, for messages."""
        return f"{self.name.rstrip('/')}/{key}" if key else self.name

    @property
    def merges_case(self) -> bool:
        """Whether names that differ by case only are one entry."""
        return False

    @property
    def unlisted(self) -> Storage | None:
        """What to ask for keys by name, where `list` shows nothing or what metadata name; None where it shows all."""
        return None if self.can_list else self

    @cached_property
    def decoded(self) -> StampedCache:
        """The decoded chunks that are kept."""
        from lamella.store.chunk_cache import StampedCache, decoded

        return decoded if self.cache_bytes is None else StampedCache(self.cache_bytes)

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """Return the bytes of a key, None when there is none."""

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Return up to `length` bytes of a key from `start` on, None when there is no such key.

        A negative `start` counts from the end. Past the end there are fewer bytes, or none.
        """
        data = self.read(key)
        if data is None:
            return None
        first = max(0, start + len(data)) if start < 0 else start
        return data[first : first + length]

    def read_stamped(self, key: str) -> tuple[bytes, Stamp | None] | None:
        """Read a key with its `stamp`, which is not younger than the bytes; None when there is none."""
        stamp = self.stamp(key)
        data = self.read(key)
        return None if data is None else (data, stamp)

    def read_many(self, keys: Sequence[str]) -> dict[str, tuple[bytes, Stamp | None] | None]:
        """Read several keys with their stamps, at once where requests wait; None for those that are not there."""
        return {key: self.read_stamped(key) for key in keys}

    @property
    def reads_ahead(self) -> bool:
        """Whether `expect` requests what walks read next: where requests wait, in a store that is open for reading."""
        return False

    def expect(self, keys: Iterable[str], *, at_once: bool = False) -> None:
        """Ask for documents that are read next, all in one round where requests wait; each is then returned once.

        In a store that is open for writing only with ``at_once``: by a call that reads them before anything else.
        """
        del keys, at_once

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        """Read ranges of several keys, at once where requests wait; None for keys that are not there.

        Raises
        ------
        ChangedError
            A key has another content than the one with the stamp of its request.
        """
        return [self._read_ranges_of(request) for request in requests]

    def _read_ranges_of(self, request: RangeRequest) -> RangesRead | None:
        stamp = self.stamp(request.key)
        if request.stamp is not None and stamp != request.stamp:
            raise ChangedError(request.key)
        parts = [self.read_range(request.key, offset, length) for offset, length in request.ranges]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        if self.stamp(request.key) != stamp:
            raise ChangedError(request.key)
        return RangesRead(found, stamp)

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Replace the bytes of a key, whole and atomically; makes the folders above."""

    def write_stamped(self, key: str, data: bytes) -> Stamp | None:
        """Replace the bytes of a key, and return the `stamp` of these bytes, not of what others write next.

        None where the store has no stamps, or something else was written meanwhile.
        """
        self.write(key, data)
        return None

    def write_if(self, key: str, data: bytes, expected: Stamp | None) -> Stamp | None:
        """Replace the bytes of a key only where its `stamp` is the expected one; None: only where it is not there yet.

        Returns
        -------
        Stamp or None
            As of `write_stamped`.

        Raises
        ------
        ChangedError
            It has another content, or none; nothing was written.
        """
        with self.replacement_lock(key):
            if (self.size(key) is not None) if expected is None else self.stamp(key) != expected:
                raise ChangedError(key)
            return self.write_stamped(key, data)

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> Stamp | None:
        """Replace the bytes of a key by what a function makes of them, so that nothing that others write is lost.

        Parameters
        ----------
        key : str
            The key.
        change : callable
            Given the bytes, None where there are none, returns those to write, or None to leave all as it is. Where
            others write meanwhile it may run again, with what they wrote.

        Returns
        -------
        Stamp or None
            As of `write_stamped`; None where nothing was written.
        """
        with self.replacement_lock(key):
            data = change(self.read(key))
            return None if data is None else self.write_stamped(key, data)

    def write_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Write several keys in order; each one is atomic, all of them together are not."""
        for key, data in items:
            self.write(key, data)

    def write_back(self, replacements: Sequence[Replacement]) -> Collection[str]:
        """Write keys that were read and changed, at once where requests wait.

        Who calls keeps other writers of these keys away, as far as `lock` can.

        Returns
        -------
        collection of str
            The keys whose bytes are not the ones that were read any more, where the store can tell: they stay.
        """
        self.write_many((one.key, one.data) for one in replacements)
        return ()

    @abstractmethod
    def list(self, prefix: str) -> Names:
        """Names directly below a folder, files and folders, in natural order; empty when there is none."""

    @property
    def lists_below(self) -> bool:
        """Whether `keys_below` names many keys with one request, where `list` takes one for each folder."""
        return False

    def keys_below(self, folder: str) -> Names:
        """Keys at any depth below a folder."""
        below: Names = []
        for name in self.list(folder):
            key = f"{folder}/{name}" if folder else name
            below += [key] if self.size(key) is not None else self.keys_below(key)
        return below

    def sizes_below(self, folder: str) -> dict[str, int]:
        """Return the size of every key at any depth below a folder."""
        found = {key: self.size(key) for key in self.keys_below(folder)}
        return {key: size for key, size in found.items() if size is not None}

    @abstractmethod
    def exists(self, prefix: str) -> bool:
        """Whether a key or a folder is there."""

    def has_any(self, names: Collection[str]) -> bool:
        """Whether one of some files lies directly in the root."""
        return any(self.size(name) is not None for name in names)

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Bytes of a key, None when there is none."""

    @abstractmethod
    def delete(self, prefix: str) -> None:
        """Remove a key, or a folder with all below it; nothing happens when there is none."""

    def check_deletable(self, prefix: str) -> None:
        """Refuse what could not be deleted with all below it; nothing is touched.

        Raises
        ------
        StorageError
            Something of it is protected.
        """
        self.check_writable(prefix)

    @abstractmethod
    def move(self, old: str, new: str) -> None:
        """Move a key or folder: one rename where the store can, copy and delete otherwise.

        Raises
        ------
        NodeNotFoundError
            `old` does not exist.
        NodeExistsError
            `new` exists.
        """

    def replace(self, path: str, by: str) -> None:
        """Put what is at `by` in the place of the folder at `path`, which is deleted.

        In a local store on Linux the two exchange their names: a kill leaves the old or the new one there, and maybe
        the other one at `by`. Elsewhere the old one goes first, its documents before all else, so that what a kill
        leaves of it is no node.

        Raises
        ------
        NodeNotFoundError
            `by` does not exist.
        StorageError
            Something of the old one is protected; nothing was touched then.
        """
        self.check_deletable(path)
        if not self.exists(by):
            raise NodeNotFoundError(
                f"cannot put {by!r} in the place of {path!r}: there is no {by!r} in {self.name}"
            )
        for name in sorted(DOCUMENTS):
            if self.size(join(path, name)) is not None:
                self.delete(join(path, name))
        self.delete(path)
        self.move(by, path)

    def discard_copies(self, path: str, of: str) -> None:
        """Delete the keys below a path that are there with the same bytes below another: what a killed move copied.

        All else stays: others may have written there since. Where a move is a rename there are no copies.
        """
        self.check_writable(path)
        del of

    @abstractmethod
    def lock(self, key: str) -> AbstractContextManager[None]:
        """Lock a key: over threads always, over processes where `locks_processes`."""

    def replacement_lock(self, key: str) -> AbstractContextManager[object]:
        """Lock a key from a fresh read to one `write` of it; `lock` is for sections of several steps."""
        return self.lock(key)

    def swap(self, key: str, old: bytes, new: bytes, before_write: Callable[[], object]) -> bool:
        """Replace the bytes of a key if they still are the old ones, under its lock; tell whether they were."""
        with self.replacement_lock(key):
            if self.read(key) != old:
                return False
            before_write()
            self.write(key, new)
        return True

    def write_new_folder(self, folder: str, files: Sequence[tuple[str, bytes]]) -> bool | None:
        """Write a folder with these files, by names that may lead to folders in it, so that it is there whole.

        Returns
        -------
        bool or None
            False where something is at its place already; None where a store has no folders. Nothing was done then.
        """
        del folder, files
        return None

    def sweep(self, prefix: str = "", *, deep: bool = False) -> int:
        """Remove what killed writers left in a folder, and with `deep` below it; return how many."""
        del prefix, deep
        return 0

    def stamp(self, key: str) -> Stamp | None:
        """Return what changes whenever the bytes of a key change; None when the store cannot tell."""
        del key
        return None

    def check_folder(self, path: str) -> None:
        """Check that a folder lies inside the store, before an engine reads it."""
        del path

    def check_file(self, key: str) -> bool:
        """Check that a file lies inside the store, before an engine opens it; False where it is to be asked again."""
        del key
        return True

    def kvstore(self, path: str) -> JSONObject | None:
        """How TensorStore addresses a folder of this store, None when it cannot."""
        del path
        return None

    def claim(self, path: str) -> None:
        """Check that a folder may be written into by an engine, and that it lies inside the store."""
        self.check_writable(path)

    @property
    def has_own_changes(self) -> bool:
        """Whether there are changes without a commit that are lost when this storage is dropped."""
        return False

    def commit(self, message: str, *, rebase: bool = False) -> str:
        """Store all changes since the last commit as a version, and return its id.

        Raises
        ------
        InvalidArgumentError
            The store has no versions, or nothing was changed.
        ConflictError
            Another session committed to the same branch meanwhile.
        """
        del message, rebase
        raise InvalidArgumentError(
            f"Cannot commit {self.name}: it has no versions, and every change is stored at once. Versions need a "
            "repository of icechunk, such as icechunk+file:///data/plate@main."
        )

    @abstractmethod
    def zarr_store(self) -> Store:
        """Return the same place as a store of zarr-python."""

    def check_writable(self, key: str) -> None:
        """Raise `ReadOnlyError` when changes are refused."""
        if self.read_only:
            raise ReadOnlyError(
                f"cannot write {self.where(key)}: the store is open for reading; "
                "open it with mode='r+' or 'a'"
            )


class OptionedURL(str):
    """A URL with the options that it is opened with: what a call hands on from its argument to the door.

    Its repr and text are the URL alone.
    """

    storage_options: Mapping[str, Any]


def with_options(target: T, storage_options: Mapping[str, Any] | None) -> T | OptionedURL:
    """Return a path argument together with the options of the same call.

    Raises
    ------
    InvalidArgumentError
        There are options, and it is not a URL.

    Examples
    --------
    >>> with_options("/data/a.zarr", None)
    '/data/a.zarr'
    >>> url = with_options("s3://bucket/a.zarr", {"anon": True})
    >>> url, url.storage_options
    ('s3://bucket/a.zarr', {'anon': True})
    """
    if not storage_options:
        return target
    text = location(target) if isinstance(target, (str, bytes, os.PathLike)) else None
    if text is None or not is_url(text):
        _refuse_options(storage_options, text or f"a {type(target).__name__}")
    url = OptionedURL(text)
    url.storage_options = storage_options
    return url


def open_storage(
    target: StrPath | Store,
    read_only: bool = False,
    *,
    fsync: bool = False,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    must_exist: bool = False,
) -> Storage:
    """Make the storage for a path, a URL, or a store of zarr-python.

    Parameters
    ----------
    target : path, str or zarr.abc.store.Store
        A local path (``~`` is the home); a URL that fsspec understands (``s3://``, ``https://``, ``memory://``); or
        a store. A path or URL of a ZIP archive, by its ending or in front of a path inside it, is read without being
        unpacked, and never written.
        A ``zarr.storage.LocalStore`` becomes a local storage of the same folder.
    read_only : bool
        Refuse every change. A store that is read-only itself stays so.
    fsync : bool
        Local only: flush each file to the disk before it takes the old one's place, so that what was
        acknowledged also survives a power cut. Without it, it survives the death of the process.
    follow_links : bool
        Local only: follow symbolic links that lead out of the store.
    storage_options : mapping, optional
        URLs only: credentials and settings (:mod:`lamella.store.credentials`).
    must_exist : bool
        Do not create a repository of icechunk where there is none; of other stores nothing is created here.

    Raises
    ------
    InvalidArgumentError
        `target` is none of these, or an option does not fit it.
    AccessError
        There are no credentials for the URL.
    MissingDependencyError
        A URL, and fsspec or its part for this kind of URL is not installed.
    """
    if isinstance(target, OptionedURL):
        storage_options = target.storage_options
    if isinstance(target, (str, bytes, os.PathLike)):
        place = location(target)
        if place.lower().startswith("icechunk+"):
            from lamella.store.versions import from_versioned_url

            return from_versioned_url(
                place, read_only=read_only, must_exist=must_exist, storage_options=storage_options
            )
        from lamella.store.archives import open_archive

        archive = open_archive(place, storage_options)
        if archive is not None:
            return archive
        if is_url(place):
            from lamella.store.credentials import refuse_signed_file

            refuse_signed_file(place)
            return open_url(place, read_only, storage_options)
        from lamella.store.local import LocalStorage

        if storage_options:
            _refuse_options(storage_options, place)
        return LocalStorage(place, read_only, fsync=fsync, follow_links=follow_links)
    from lamella.store.zarr_storage import from_store

    if storage_options:
        _refuse_options(storage_options, f"a {type(target).__name__}")
    if type(target).__module__.partition(".")[0] == "icechunk":
        from lamella.store.versions import from_versioned_store

        return from_versioned_store(target, read_only=read_only)
    return from_store(target, read_only=read_only, fsync=fsync, follow_links=follow_links)


def open_url(url: str, read_only: bool, storage_options: Mapping[str, Any] | None = None) -> Storage:
    """Make the storage for a folder at a URL, whatever its signature is for."""
    from lamella.store.zarr_storage import from_url

    return from_url(url, read_only=read_only, storage_options=storage_options)


def _refuse_options(storage_options: object, where: str) -> None:
    from lamella.store.credentials import refuse_options

    refuse_options(storage_options, where)
