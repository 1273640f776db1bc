"""Store in S3, Google, Azure or on a web server, through obstore.

Requests are slow, so independent ones are sent together. The stamp of a key is its ETag. A document is changed on the
condition that it has not changed since it was read, so that concurrent programs lose nothing; `lock` only separates
the threads of this process.

Documents are small and read often, so `ObjectStorage` remembers some of them, each kind for its own reason:

===============  ==========================================================================================
``_expected``    requested ahead in one round; each is returned by one read
``_looked``      read by this thread since it acquired a lock: the base of a conditional write (`LookedAt`)
``_recent``      read by a read-only handle in the last 2 seconds
``_seen``        the stamps of documents, with the time when they were read
``_created``     the documents of the root of a store that was created a moment ago: no others exist
``_to_move``     sizes of the keys that a `move` is about to copy
===============  ==========================================================================================

A write of this process to any store clears all but ``_looked`` and ``_to_move``.

Imports obstore and zarr-python inside functions.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from lamella.errors import InvalidNameError, LamellaError, StorageError
from lamella.log import log
from lamella.store.addresses import title_in
from lamella.store.document_memory import SECONDS, LookedAt, Recent
from lamella.store.expected import Expected
from lamella.store.flat_storage import FlatStorage
from lamella.store.formats import DOCUMENTS, METADATA_FILES
from lamella.store.keys import check_key, is_private, natural_order
from lamella.store.object_client import ObjectClient, check_process
from lamella.store.object_requests import AT_ONCE, KEYS_DELETED_AT_ONCE, GetResult, ObjectRequests, all_of
from lamella.store.range_plan import Span
from lamella.store.retries import PATIENCE, waits
from lamella.store.service_errors import may_exist_error
from lamella.store.storage import ChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from zarr.abc.store import Store

    from lamella.store.credentials import Resolved
    from lamella.store.storage import Names, RangeRequest, RangesRead, Replacement, Stamp

T = TypeVar("T")

SECONDS_TRUSTED = 2.0
"""How long a read-only store handle trusts the stamp of a document."""
_MAX_SEEN = 100_000
"""Maximum number of stamps that are remembered."""
_changes = [0]
"""Number of writes of this process to any object store; after a write, stamps of documents are requested again."""


class ObjectStorage(FlatStorage):
    """An object store, or a prefix of one; a web server is always read only."""

    at_once = AT_ONCE
    creates_exclusively = True
    survives_fork = False

    def __init__(self, access: Resolved, read_only: bool = False) -> None:
        is_web = access.kind == "http"
        self.access = access
        self.read_only = read_only or is_web
        self.can_list = self.can_delete = not is_web
        self._client = ObjectClient(access)
        self._requests = ObjectRequests(self._client, self._do_not_list)
        self.lock_root = self._client.address
        self._expected: Expected[GetResult] = Expected()
        self._looked: LookedAt[GetResult] = LookedAt()
        self._recent: Recent[GetResult] = Recent(SECONDS_TRUSTED)
        self._seen: dict[str, tuple[float, Stamp | None]] = {}
        self._changes = _changes[0]
        self._created: tuple[float, dict[str, GetResult | None]] | None = None
        self._to_move: tuple[float, dict[str, dict[str, int]]] | None = None
        self.deleted_at_once = KEYS_DELETED_AT_ONCE if access.kind == "s3" else 1

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
        """The coroutines that send the requests."""
        return self._requests

    def _do_not_list(self) -> None:
        """Go by metadata as on the web, instead of listing; a store open for writing still lists, which raises."""
        self.can_list = self.can_list and not self.read_only

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        from zarr.core.sync import sync

        try:
            check_process(self.name)
        except BaseException:
            coroutine.close()
            raise
        return sync(coroutine)

    # ---- reading --------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """Get a key."""
        stamped = self.read_stamped(key)
        return None if stamped is None else stamped[0]

    def read_stamped(self, key: str) -> tuple[bytes, Stamp | None] | None:
        """Get a key with its stamp."""
        return self.read_many([key])[key]

    def read_many(self, keys: Sequence[str]) -> dict[str, tuple[bytes, Stamp | None] | None]:
        """Get several keys at once."""
        self._forget_if_changed()
        results = {key: known[0] for key in keys if (known := self._known(key)) is not None}
        missing = [key for key in map(check_key, keys) if key and key not in results]
        if missing:
            fetched = self._run(self._requests.get_many(missing))
            self._remember_stamps(fetched)
            results |= fetched
        values = {
            key: None if result is None else (bytes(result.data), result.stamp)
            for key, result in results.items()
        }
        return {key: values.get(key) for key in keys}

    def _known(self, key: str) -> tuple[GetResult | None] | None:
        """Return a remembered document in a tuple, with None for one that is missing in the store; None if none is."""
        document = self._expected.pop(key)
        if document is None:
            return self._looked.get(key) or self._recent.get(key) or self._just_created(key)
        self._looked.keep(key, document[0])
        return document

    def note_created(self) -> None:
        """Assume for 5 seconds that the store has only the documents of its root, which this thread has written."""
        documents = {name: looked[0] for name in METADATA_FILES if (looked := self._looked.latest(name))}
        self._forget_if_changed()
        if any(documents.values()):  # none are remembered if the service returns no ETags for writes
            self._created = time.monotonic(), documents

    def _is_new(self) -> bool:
        """Whether the store was created a moment ago, and nothing was written since."""
        self._forget_if_changed()
        return self._created is not None and time.monotonic() - self._created[0] < SECONDS

    def _just_created(self, key: str) -> tuple[GetResult | None] | None:
        """Return a document of a store that was just created, as `_known` does; None for any other store."""
        if self._created is None or not self._is_new() or key.rpartition("/")[2] not in METADATA_FILES:
            return None
        for name, document in self._created[1].items():
            if self._looked.latest(name) is None:
                self._looked.keep(name, document)
        document = self._created[1].get(key)
        self._looked.keep(key, document)
        return (document,)

    @property
    def reads_ahead(self) -> bool:
        """Whether the store is open for reading."""
        return self.read_only

    def expect(self, keys: Iterable[str], *, at_once: bool = False) -> None:
        """Request documents that will be read next, in one round."""
        if not at_once and not self.reads_ahead:
            return
        self._forget_if_changed()
        missing = self._unknown(keys)
        try:
            results = self._run(self._requests.get_many(missing)) if missing else {}
        except StorageError:  # reading the document raises it again
            return
        self._remember_stamps(results)
        self._expected.add(results)

    def _unknown(self, keys: Iterable[str]) -> list[str]:
        """Return the keys of documents that are not remembered."""
        caches = self._expected.peek, self._looked.get, self._recent.get, self._just_created
        return [
            key for key in dict.fromkeys(map(check_key, keys)) if all(find(key) is None for find in caches)
        ]

    def _remember_stamps(self, results: Mapping[str, GetResult | None]) -> None:
        """Remember documents that were read, and their stamps."""
        now = time.monotonic()
        if len(self._seen) > _MAX_SEEN:
            self._seen.clear()
        for key, result in results.items():
            name = key.rpartition("/")[2]
            if name in DOCUMENTS:
                self._seen[key] = now, None if result is None else result.stamp
            if name in METADATA_FILES:
                self._looked.keep(key, result)
                if self.read_only:
                    self._recent.keep(key, result)

    def _forget_if_changed(self) -> None:
        """Forget stamps and documents after this process has written to any store."""
        if self._changes != _changes[0]:
            self._changes = _changes[0]
            self._expected.clear()
            self._recent.clear()
            self._seen.clear()
            self._created = None

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Get part of a key with one request."""
        if not check_key(key):
            return None
        if length <= 0:
            return None if self.size(key) is None else b""
        span = Span(start, 0) if start < 0 else Span(start, start + length)
        result = self._run(self._requests.fetch(key, span))
        return None if result is None else bytes(result.data[:length])

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        """Get ranges of several keys; near ranges of a key share a request."""
        for request in requests:
            check_key(request.key)
        return self._run(self._requests.get_ranges(requests))

    def read_chunks(self, keys: Sequence[str]) -> dict[str, tuple[bytes, Stamp | None] | None]:
        """Get objects with chunks at once; unchanged ones from the folder `storage_options["cache"]`."""
        found = self._run(self._requests.get_chunks([check_key(key) for key in keys]))
        return {
            key: None if result is None else (bytes(result.data), result.stamp)
            for key, result in zip(keys, found, strict=True)
        }

    def drop_cached(self, key: str, stamp: Stamp | None, spans: Iterable[tuple[int, int]]) -> None:
        """Drop ranges of a key from the folder `storage_options["cache"]`."""
        if stamp is not None:
            self._requests.drop_cached(key, stamp, spans)

    @property
    def lists_below(self) -> bool:
        """Whether the store can be listed."""
        return self.can_list

    def _names_in(self, folder: str) -> set[str]:
        if self._created is not None and self._is_new():
            return set() if folder else {name for name, document in self._created[1].items() if document}
        return self._run(self._requests.names_in(folder))

    def members_of_each(self, folders: Sequence[str]) -> Sequence[dict[str, bool]]:
        """List folders at once."""
        if not self.can_list:
            return super().members_of_each(folders)
        found = self._run(all_of(self._requests.members_of(check_key(folder)) for folder in folders))
        return [
            {name: names[name] for name in sorted(names, key=natural_order) if not is_private(name)}
            for names in found
        ]

    def keys_below_each(self, folders: Sequence[str]) -> Sequence[Names]:
        """List all keys below folders, at once."""
        found = self._run(all_of(self._requests.entries_below(check_key(folder)) for folder in folders))
        return [list(entries) for entries in found]

    def sizes_below(self, folder: str) -> dict[str, int]:
        """List all keys below a folder, with their sizes."""
        entries = self._run(self._requests.entries_below(check_key(folder)))
        return {key: size for key, (size, _) in entries.items()}

    def _sizes_of(self, path: str) -> dict[str, int]:
        return self._sizes_of_each([path])[0] if path else self.sizes_below(path)

    def _sizes_of_each(self, paths: Sequence[str]) -> Sequence[dict[str, int]]:
        async def look_at(path: str) -> dict[str, int]:
            own, below = await _both(self._requests.head(path), self._requests.entries_below(path))
            return {key: size for key, (size, _) in below.items()} | ({} if own is None else {path: own.size})

        return self._run(all_of(map(look_at, paths)))

    def look_at_move(self, old: str, new: str, *, beside: Iterable[str] = ()) -> set[str]:
        """List both folders with sizes for a `move` that follows, unless that was done within 5 seconds."""
        self._forget_if_changed()
        documents, sizes = self._unknown(beside), self._listed_to_move(old, new)
        if not self.can_list:
            return super().look_at_move(old, new, beside=documents)
        listings = [self._requests.entries_below(check_key(path)) for path in (old, new) if sizes is None]
        found, fetched = self._run(_both(all_of(listings), self._requests.get_many(documents)))
        self._remember_stamps(fetched)
        self._expected.add(fetched)
        if sizes is None:
            sizes = [{key: size for key, (size, _) in entries.items()} for entries in found]
            self._to_move = time.monotonic(), dict(zip((old, new), sizes, strict=True))
        return {path for path, keys in zip((old, new), sizes, strict=True) if keys}

    def _listed_to_move(self, old: str, new: str) -> list[dict[str, int]] | None:
        """Return the sizes that `look_at_move` has listed within 5 seconds; None without."""
        listed_at, sizes = self._to_move or (-SECONDS, {})
        is_fresh = list(sizes) == [old, new] and time.monotonic() - listed_at < SECONDS
        return list(sizes.values()) if is_fresh else None

    def _sizes_to_move(self, old: str, new: str) -> Sequence[dict[str, int]]:
        sizes = self._listed_to_move(old, new)
        return sizes if sizes and sizes[0] else self._sizes_of_each([old, new])

    def _sizes_again(self, paths: Sequence[str], moved: Mapping[str, int]) -> Sequence[dict[str, int]]:
        if len(moved) == 1:  # one key may be a file and not a folder
            return self._sizes_of_each(paths)
        entries = self._run(all_of(map(self._requests.entries_below, paths)))
        return [{key: size for key, (size, _) in found.items()} for found in entries]

    def exists(self, prefix: str) -> bool:
        """Whether a key exists, or keys below it."""
        check_key(prefix)
        is_document = prefix.rpartition("/")[2] in DOCUMENTS
        if is_document or not self.can_list:
            return self.size(prefix) is not None
        if not prefix or self._is_new():
            return bool(self._names_in(prefix))
        own, names = self._run(_both(self._requests.head(prefix), self._requests.names_in(prefix)))
        return own is not None or bool(names)

    def existing(self, prefixes: Collection[str], *, beside: Iterable[str] = ()) -> set[str]:
        """Return those of some keys and folders that exist: one list for each folder above, all of a depth at once."""
        self._forget_if_changed()
        documents = self._unknown(beside)
        if self._is_new() and not documents:
            return set()
        if self.can_list:
            search: Coroutine[Any, Any, set[str]] = self._requests.existing(prefixes)
        else:
            search = self._requests.readable(prefixes)
        found: set[str]
        found, fetched = self._run(_both(search, self._requests.get_many(documents)))
        self._remember_stamps(fetched)
        self._expected.add(fetched)
        return found

    def has_any(self, names: Collection[str]) -> bool:
        """Whether one of some files lies directly in the root."""
        self.expect(names, at_once=True)
        is_present = any(self.size(name) is not None for name in names)
        for name in names:
            self._expected.pop(name)
        return is_present

    def size(self, key: str) -> int | None:
        """Return the size of a key; of a document by GET, as credentials may allow GET and not HEAD."""
        if not check_key(key):
            return None
        result = self._look_at(key)
        return None if result is None else result.size

    def _look_at(self, key: str) -> GetResult | None:
        self._forget_if_changed()
        known = self._expected.peek(key) or self._looked.get(key) or self._recent.get(key)
        known = known or self._just_created(key)
        if known is not None:
            return known[0]
        if key.rpartition("/")[2] not in METADATA_FILES:
            return self._run(self._requests.head(key))
        result = self._run(self._requests.fetch(key))
        self._remember_stamps({key: result})
        self._expected.add({key: result})
        return result

    def stamp(self, key: str) -> Stamp | None:
        """Return the ETag of a key; of a document read less than two seconds ago, without a request if read only."""
        if not check_key(key):
            return None
        self._forget_if_changed()
        seen_at, last_stamp = self._seen.get(key, (0.0, None))
        is_fresh = self.trusted is not None or time.monotonic() - seen_at < SECONDS_TRUSTED
        if key in self._seen and self.read_only and is_fresh:
            return last_stamp
        if last_stamp is not None and self._unknown([key]):
            changed = self._run(self._requests.fetch_changed(key, last_stamp))
            if changed is None:
                self._seen[key] = time.monotonic(), last_stamp
                return last_stamp
            self._remember_stamps({key: changed[0]})
            self._expected.add({key: changed[0]})
        result = self._look_at(key)
        return None if result is None else result.stamp

    def sizes(self, keys: Sequence[str]) -> list[int | None]:
        """Return the sizes of keys, requested at once; None for those that do not exist."""
        heads = self._run(all_of(self._requests.head(check_key(key)) for key in keys))
        return [None if head is None else head.size for head in heads]

    def stamps(self, keys: Iterable[str]) -> list[Stamp | None]:
        """Return the stamps of keys, requested at once; None for missing ones."""
        heads = self._run(all_of(self._requests.head(check_key(key)) for key in keys))
        return [None if head is None else head.stamp for head in heads]

    def stamps_below(self, folder: str) -> dict[str, Stamp | None]:
        """Return all keys below a folder with their stamps."""
        return {key: stamp for key, (_, stamp) in self._run(self._requests.entries_below(folder)).items()}

    # ---- writing --------------------------------------------------------------------------------

    def _change(self, keys: Iterable[str], coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a request that writes keys, and count it in `_changes`."""
        try:
            return self._run(coroutine)
        finally:
            _changes[0] += 1
            for key in keys:
                self._looked.forget(key)
                if self._to_move and any(key.startswith(f"{path}/") for path in self._to_move[1]):
                    self._to_move = None

    def _put(self, batch: dict[str, bytes]) -> None:
        stamps = self._change(batch, self._requests.put_many(batch))
        for (key, data), stamp in zip(batch.items(), stamps, strict=True):
            self._wrote(key, data, stamp)

    def _wrote(self, key: str, data: bytes, stamp: Stamp | None) -> None:
        """Remember a document that was written, as if it had been read."""
        if stamp is not None and key.rpartition("/")[2] in METADATA_FILES:
            self._looked.keep(key, GetResult(memoryview(data), stamp, len(data), {}))

    def write_stamped(self, key: str, data: bytes) -> Stamp | None:
        """Write a key, and return its ETag."""
        self._check_file(key)
        stamp = self._change([key], self._requests.put(key, data))
        self._wrote(key, data, stamp)
        log.debug("Wrote %s", self.where(key))
        return stamp

    def write_if(self, key: str, data: bytes, expected: Stamp | None) -> Stamp | None:
        """Write a key if it has the expected stamp."""
        self._check_file(key)
        stamp = self._change([key], self._requests.put_if(key, data, expected))
        self._wrote(key, data, stamp)
        log.debug("Wrote %s", self.where(key))
        return stamp

    def write_back(self, replacements: Sequence[Replacement]) -> Collection[str]:
        """Write keys at once, each if it is unchanged since it was read; return those that were changed."""
        for replacement in replacements:
            self._check_file(replacement.key)
        unstamped = {
            replacement.key: replacement.data
            for replacement in replacements
            if replacement.existed and replacement.stamp is None
        }
        if unstamped:  # a service without ETags
            self._put(unstamped)
        conditions = [
            (replacement.key, replacement.data, replacement.stamp)
            for replacement in replacements
            if replacement.key not in unstamped
        ]
        keys = [replacement.key for replacement in replacements]
        written = self._change(keys, self._requests.put_many_if(conditions))
        changed = [key for key, _, _ in conditions if key not in written]
        created = [
            replacement.key
            for replacement in replacements
            if not replacement.existed and replacement.key in changed
        ]
        if (
            created and self._requests.forbidden_means_missing
        ):  # an object exists that could not be read, and may contain other chunks
            raise may_exist_error(created[0], self.name)
        return changed

    def write_new(self, items: Iterable[tuple[str, bytes]]) -> Collection[str]:
        """Write keys at once, each on the condition that it does not exist."""
        new = dict(items)
        for key in new:
            self._check_file(key)
        if not new:
            return ()
        conditions = [(key, data, None) for key, data in new.items()]
        written = self._change(new, self._requests.put_many_if(conditions))
        for key, stamp in written.items():
            self._wrote(key, new[key], stamp)
        return [key for key in new if key not in written]

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> Stamp | None:
        """Read a key, change it, and write it if it is unchanged; otherwise read and change it again."""
        self._check_file(key)
        with self.replacement_lock(key):
            looked = self._looked.latest(key) or self._just_created(key)
            if looked is not None:
                try:
                    return self._changed(key, looked[0], change)
                except StorageError:
                    raise
                except (ChangedError, LamellaError):  # the remembered document may be too old: read it again
                    self._looked.forget(key)
            for wait in waits():
                with suppress(ChangedError):
                    return self._changed(key, self._read_to_change(key), change)
                time.sleep(wait)
        raise StorageError(
            f"Cannot change {self.where(key)}: others wrote it each time between reading and writing it, for "
            f"{PATIENCE:g} s. Nothing was lost: try again."
        )

    def _changed(
        self, key: str, found: GetResult | None, change: Callable[[bytes | None], bytes | None]
    ) -> Stamp | None:
        data = change(None if found is None else bytes(found.data))
        return None if data is None else self.write_if(key, data, None if found is None else found.stamp)

    def swap(self, key: str, old: bytes, new: bytes, before_write: Callable[[], object]) -> bool:
        """Replace the bytes of a key if they are `old`; return whether they were."""
        self._check_file(key)
        with self.replacement_lock(key):
            looked = self._looked.latest(key) or self._just_created(key)
            result = self._read_to_change(key) if looked is None else looked[0]
            if result is None or bytes(result.data) != old:
                return False
            before_write()
            try:
                self.write_if(key, new, result.stamp)
            except ChangedError:
                return False
        return True

    def _read_to_change(self, key: str) -> GetResult | None:
        """Get a key, and meanwhile test whether the service supports conditional writes."""
        result: GetResult | None
        result, _ = self._run(_both(self._requests.fetch(key), self._requests.honours_conditions()))
        return result

    def looking(self, folder: str) -> AbstractContextManager[None]:
        """Read each document once during a call that changes a folder."""
        return self._looked.under(folder)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keep the threads of this process apart; documents that are read under the lock are read once."""
        with super().lock(key), self._looked.under(key.rpartition("/")[0]):
            yield

    def replacement_lock(self, key: str) -> AbstractContextManager[object]:
        """Keep the threads of this process apart, from a fresh read to a write."""
        return super().lock(key)

    def _check_file(self, key: str) -> None:
        self.check_writable(key)
        if not check_key(key):
            raise InvalidNameError("the root of a store is a folder: bytes need a name below it")

    def _delete_keys(self, keys: Iterable[str]) -> None:
        deleted = list(keys)
        self._change(deleted, self._requests.delete(deleted))

    def delete(self, prefix: str) -> None:
        """Delete a key and all below it: list, delete 1000 keys per request, and list again."""
        self.check_writable(prefix)
        if not check_key(prefix):
            self._delete_root()
            return
        sizes = self._sizes_of(prefix)
        self._delete_documents_first(prefix, sizes)
        if sizes:
            self._check_deleted(prefix, self._sizes_of(prefix))
        log.debug("Deleted %s below %s", prefix, self.name)

    def _copy(self, sizes: dict[str, int], target: dict[str, str]) -> None:
        self._change(target.values(), self._requests.copy(sizes, target))

    def zarr_store(self) -> Store:
        """Return a zarr-python store at the same URL."""
        from zarr.storage import ObjectStore

        return ObjectStore(self._client.store, read_only=self.read_only)


def _reopen(access: Resolved, read_only: bool, cache_bytes: int | None, trusts: bool) -> ObjectStorage:
    storage = ObjectStorage(access, read_only)
    storage.cache_bytes, storage.trusted = cache_bytes, {} if trusts else None
    return storage


async def _both(first: Coroutine[Any, Any, Any], second: Coroutine[Any, Any, Any]) -> tuple[Any, Any]:
    done = await all_of((first, second))
    return done[0], done[1]
