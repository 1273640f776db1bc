"""Storage on an object store: S3, Google, Azure, and plain web servers, over obstore.

Requests wait, so what is known to be needed is asked for at once: documents and ranges of many keys, copies, deletions.
The stamp of a key is its ETag. Changes of one document are written under the condition that it still is what was read,
so that two programs lose nothing of each other; `lock` keeps the threads of this process apart.

Imports obstore and zarr-python inside functions.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

from lamella.errors import InvalidNameError, StorageError
from lamella.log import log
from lamella.store.addresses import title_in
from lamella.store.expected import Expected
from lamella.store.flat_storage import FlatStorage
from lamella.store.formats import DOCUMENTS
from lamella.store.keys import check_key
from lamella.store.object_client import FIRST_WAIT, LONGEST_WAIT, PATIENCE, ObjectClient, check_process
from lamella.store.object_requests import AT_ONCE, Got, ObjectRequests, all_of
from lamella.store.range_plan import Span
from lamella.store.service_errors import may_be_there
from lamella.store.storage import ChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence

    from zarr.abc.store import Store

    from lamella.store.credentials import Resolved
    from lamella.store.storage import RangeRequest, RangesRead, Replacement, Stamp

T = TypeVar("T")

SECONDS_TRUSTED = 2.0
"""How long a handle that only reads trusts what it knows of a document."""
_MOST_SEEN = 100_000
_changes = [0]
"""How often this process changed a store: what was known of documents before is asked for again."""


class ObjectStorage(FlatStorage):
    """An object store, or a prefix of one.

    Parameters
    ----------
    access : Resolved
        How the URL is opened (:mod:`lamella.store.credentials`).
    read_only : bool
        Refuse every change; a web server is always read only.
    """

    at_once = AT_ONCE

    def __init__(self, access: Resolved, read_only: bool = False) -> None:
        is_web = access.kind == "http"
        self.access = access
        self.read_only = read_only or is_web
        self.can_list = self.can_delete = not is_web
        self._client = ObjectClient(access)
        self._requests = ObjectRequests(self._client, self._do_not_list)
        self.lock_root = self._client.address
        self._expected: Expected[Got] = Expected()
        self._seen: dict[str, tuple[float, Stamp | None]] = {}
        self._changes = _changes[0]

    def __repr__(self) -> str:
        return f"ObjectStorage({self.name!r}{', read_only=True' if self.read_only else ''})"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.access, self.read_only, self.cache_bytes, self.trusted is not None)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ObjectStorage)
            and other.access == self.access
            and other.read_only == self.read_only
        )

    def __hash__(self) -> int:
        return hash((self.name, self.read_only))

    @property
    def name(self) -> str:
        """The URL, without a signature."""
        return self._client.address

    @property
    def title(self) -> str:
        """The last name of the URL, without endings such as ``.zarr``."""
        return title_in(self.name)

    @property
    def service(self) -> ObjectRequests:
        """What asks the store from within an event loop."""
        return self._requests

    def _do_not_list(self) -> None:
        """Read by what the metadata name, as on the web; a store that is open for writing reports the refusal."""
        self.can_list = self.can_list and not self.read_only

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        from zarr.core.sync import sync

        try:
            check_process(self.name)
        except BaseException:
            work.close()
            raise
        return sync(work)

    # ---- reading --------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """Get a key."""
        found = self.read_stamped(key)
        return None if found is None else found[0]

    def read_stamped(self, key: str) -> tuple[bytes, Stamp | None] | None:
        """Get a key with its stamp."""
        return self.read_many([key])[key]

    def read_many(self, keys: Sequence[str]) -> dict[str, tuple[bytes, Stamp | None] | None]:
        """Get several keys at once."""
        self._forget_if_changed()
        known = {key: came[0] for key in keys if (came := self._expected.take(key)) is not None}
        asked = [key for key in map(check_key, keys) if key and key not in known]
        if asked:
            came_now = self._run(self._requests.get_many(asked))
            self._note(came_now)
            known |= came_now
        found = {key: None if one is None else (bytes(one.data), one.stamp) for key, one in known.items()}
        return {key: found.get(key) for key in keys}

    @property
    def reads_ahead(self) -> bool:
        """Whether the store is open for reading."""
        return self.read_only

    def expect(self, keys: Iterable[str], *, at_once: bool = False) -> None:
        """Ask for documents that are read next, in one round."""
        if not at_once and not self.reads_ahead:
            return
        self._forget_if_changed()
        asked = [key for key in map(check_key, keys) if self._expected.peek(key) is None]
        try:
            came = self._run(self._requests.get_many(asked)) if asked else {}
        except StorageError:  # who reads the one that fails meets it
            return
        self._note(came)
        self._expected.keep(came)

    def _note(self, came: Mapping[str, Got | None]) -> None:
        """Remember which content of documents is the latest."""
        now = time.monotonic()
        if len(self._seen) > _MOST_SEEN:
            self._seen.clear()
        for key, found in came.items():
            if key.rpartition("/")[2] in DOCUMENTS:
                self._seen[key] = now, None if found is None else found.stamp

    def _forget_if_changed(self) -> None:
        """Forget what is known of documents, where this process has written to any store since."""
        if self._changes != _changes[0]:
            self._changes = _changes[0]
            self._expected.clear()
            self._seen.clear()

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Get part of a key, with one request."""
        if not check_key(key):
            return None
        if length <= 0:
            return None if self.size(key) is None else b""
        span = Span(start, 0) if start < 0 else Span(start, start + length)
        found = self._run(self._requests.fetch(key, span))
        return None if found is None else bytes(found.data[:length])

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        """Get ranges of several keys at once, near ones of a key with one request."""
        for request in requests:
            check_key(request.key)
        return self._run(self._requests.get_ranges(requests))

    @property
    def lists_below(self) -> bool:
        """Whether the store can be listed."""
        return self.can_list

    def _names_in(self, folder: str) -> set[str]:
        return self._run(self._requests.names_in(folder))

    def sizes_below(self, folder: str) -> dict[str, int]:
        """List all keys below a folder, with their sizes."""
        found = self._run(self._requests.entries_below(check_key(folder)))
        return {key: size for key, (size, _) in found.items()}

    def _sizes_of(self, path: str) -> dict[str, int]:
        if not path:
            return self.sizes_below(path)
        own, below = self._run(_both(self._requests.head(path), self._requests.entries_below(path)))
        return {key: size for key, (size, _) in below.items()} | ({} if own is None else {path: own.size})

    def exists(self, prefix: str) -> bool:
        """Whether a key is there, or keys below it."""
        check_key(prefix)
        is_document = prefix.rpartition("/")[2] in DOCUMENTS
        if is_document or not self.can_list:
            return self.size(prefix) is not None
        if not prefix:
            return bool(self._names_in(""))
        own, names = self._run(_both(self._requests.head(prefix), self._requests.names_in(prefix)))
        return own is not None or bool(names)

    def has_any(self, names: Collection[str]) -> bool:
        """Whether one of some files lies directly in the root."""
        self.expect(names, at_once=True)
        found = any(self.size(name) is not None for name in names)
        for name in names:
            self._expected.take(name)
        return found

    def size(self, key: str) -> int | None:
        """Size of a key; of a document by getting it, which also those may who may not look."""
        if not check_key(key):
            return None
        found = self._look_at(key)
        return None if found is None else found.size

    def _look_at(self, key: str) -> Got | None:
        self._forget_if_changed()
        came = self._expected.peek(key)
        if came is not None:
            return came[0]
        if key.rpartition("/")[2] not in DOCUMENTS:
            return self._run(self._requests.head(key))
        found = self._run(self._requests.fetch(key))
        self._note({key: found})
        self._expected.keep({key: found})
        return found

    def stamp(self, key: str) -> Stamp | None:
        """Return the ETag of a key; of a document that came less than two seconds ago, read only, without asking."""
        if not check_key(key):
            return None
        self._forget_if_changed()
        at, known = self._seen.get(key, (0.0, None))
        is_fresh = self.trusted is not None or time.monotonic() - at < SECONDS_TRUSTED
        if key in self._seen and self.read_only and is_fresh:
            return known
        if known is not None and self._expected.peek(key) is None:
            changed = self._run(self._requests.fetch_changed(key, known))
            if changed is None:
                self._seen[key] = time.monotonic(), known
                return known
            self._note({key: changed[0]})
            self._expected.keep({key: changed[0]})
        found = self._look_at(key)
        return None if found is None else found.stamp

    def stamps(self, keys: Iterable[str]) -> list[Stamp | None]:
        """Return the stamps of keys, asked for at once; None of those that are not there."""
        found = self._run(all_of(self._requests.head(check_key(key)) for key in keys))
        return [None if one is None else one.stamp for one in found]

    def stamps_below(self, folder: str) -> dict[str, Stamp | None]:
        """Return all keys below a folder with their stamps."""
        return {key: stamp for key, (_, stamp) in self._run(self._requests.entries_below(folder)).items()}

    # ---- writing --------------------------------------------------------------------------------

    def _change(self, work: Coroutine[Any, Any, T]) -> T:
        """Change something; what any storage of this process knew of documents before counts no more."""
        try:
            return self._run(work)
        finally:
            _changes[0] += 1

    def _put(self, batch: dict[str, bytes]) -> None:
        self._change(self._requests.put_many(batch))

    def write_stamped(self, key: str, data: bytes) -> Stamp | None:
        """Write a key, and return its ETag."""
        self._check_file(key)
        stamp = self._change(self._requests.put(key, data))
        log.debug("Wrote %s", self.where(key))
        return stamp

    def write_if(self, key: str, data: bytes, expected: Stamp | None) -> Stamp | None:
        """Write a key under the condition that it is what is expected."""
        self._check_file(key)
        stamp = self._change(self._requests.put_if(key, data, expected))
        log.debug("Wrote %s", self.where(key))
        return stamp

    def write_back(self, replacements: Sequence[Replacement]) -> Collection[str]:
        """Write keys at once, each under the condition that it still is what was read."""
        for one in replacements:
            self._check_file(one.key)
        unknown = {one.key: one.data for one in replacements if one.was_there and one.stamp is None}
        if unknown:  # a service without ETags
            self._put(unknown)
        conditions = [(one.key, one.data, one.stamp) for one in replacements if one.key not in unknown]
        changed = self._change(self._requests.put_many_if(conditions))
        unseen = [one.key for one in replacements if not one.was_there and one.key in changed]
        if unseen and self._requests.denied_is_absent:  # it may not be read, and may have other chunks
            raise may_be_there(unseen[0], self.name)
        return changed

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> Stamp | None:
        """Read a key, change it, and write it if it still is what was read; else again, with what others wrote."""
        self._check_file(key)
        with self.replacement_lock(key):
            began = time.monotonic()
            for wait in _waits():
                found = self._read_to_change(key)
                data = change(None if found is None else bytes(found.data))
                if data is None:
                    return None
                try:
                    return self.write_if(key, data, None if found is None else found.stamp)
                except ChangedError:
                    if time.monotonic() - began > PATIENCE:
                        break
                time.sleep(wait)
        raise StorageError(
            f"Cannot change {self.where(key)}: others wrote it each time between reading and writing it, for "
            f"{PATIENCE:g} s. Nothing was lost: try again."
        )

    def swap(self, key: str, old: bytes, new: bytes, before_write: Callable[[], object]) -> bool:
        """Replace the bytes of a key if they still are the old ones; tell whether they were."""
        self._check_file(key)
        with self.replacement_lock(key):
            found = self._read_to_change(key)
            if found is None or bytes(found.data) != old:
                return False
            before_write()
            try:
                self.write_if(key, new, found.stamp)
            except ChangedError:
                return False
        return True

    def _read_to_change(self, key: str) -> Got | None:
        """Get a key; at the same time learn whether the service honours conditions of writes."""
        found: Got | None = self._run(_both(self._requests.fetch(key), self._requests.honours_conditions()))[
            0
        ]
        return found

    def _check_file(self, key: str) -> None:
        self.check_writable(key)
        if not check_key(key):
            raise InvalidNameError("the root of a store is a folder: bytes need a name below it")

    def _delete_keys(self, keys: Iterable[str]) -> None:
        self._change(self._requests.delete(keys))

    def delete(self, prefix: str) -> None:
        """Delete a key and all below it: one list, a request for each thousand keys, and another list."""
        self.check_writable(prefix)
        if not check_key(prefix):
            self._delete_root()
            return
        found = self._sizes_of(prefix)
        # Its own documents first: from then on nobody takes what a kill leaves for a node.
        documents = [key for key in found if key.removeprefix(prefix).strip("/") in DOCUMENTS]
        others = [key for key in found if key not in documents]
        for keys in (documents, others) if len(found) > _BULK else (list(found),):
            if keys:
                self._delete_keys(keys)
        if found:
            self._check_deleted(prefix, self._sizes_of(prefix))
        log.debug("Deleted %s below %s", prefix, self.name)

    def _copy(self, sizes: dict[str, int], target: dict[str, str]) -> None:
        self._change(self._requests.copy(sizes, target))

    def zarr_store(self) -> Store:
        """Return the same place as a store of zarr-python."""
        from zarr.storage import ObjectStore

        return ObjectStore(self._client.store, read_only=self.read_only)


def _reopen(access: Resolved, read_only: bool, cache_bytes: int | None, trusts: bool) -> ObjectStorage:
    storage = ObjectStorage(access, read_only)
    storage.cache_bytes, storage.trusted = cache_bytes, {} if trusts else None
    return storage


_BULK = 1000
"""Keys that are deleted with one request, and so at once."""


async def _both(first: Coroutine[Any, Any, Any], second: Coroutine[Any, Any, Any]) -> tuple[Any, Any]:
    done = await all_of((first, second))
    return done[0], done[1]


def _waits() -> Iterator[float]:
    """Yield how long to wait before each further change of a document that others change, without an end."""
    longest = FIRST_WAIT / 2
    while True:
        yield random.uniform(0, longest)
        longest = min(LONGEST_WAIT, 2 * longest)
