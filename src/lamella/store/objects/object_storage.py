"""Store in S3, Google, Azure or on a web server, through obstore.

Independent requests are sent together, because each is slow. A document is changed on the condition that it has not
changed since it was read, so that concurrent programs lose nothing; `lock` only separates the threads of this process.
`DocumentMemory` remembers some documents.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from lamella.errors import DamagedDataError, LamellaError, ReadOnlyError, StorageError
from lamella.log import log
from lamella.store.flat_storage import FlatStorage, has_private_name
from lamella.store.keys import METADATA_FILES, check_key, is_document, is_private, natural_order
from lamella.store.objects.addresses import identity_of, lock_name, title_in
from lamella.store.objects.document_memory import SECONDS, DocumentMemory
from lamella.store.objects.event_loop import run
from lamella.store.objects.object_client import RETRY_SECONDS, ObjectClient, check_process, retry_waits
from lamella.store.objects.object_reads import MAX_REQUESTS, GetResult, await_all
from lamella.store.objects.object_requests import DELETED_PER_REQUEST, ObjectRequests
from lamella.store.objects.range_plan import Span
from lamella.store.objects.service_errors import may_exist_error
from lamella.store.storage import ChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from zarr.abc.store import Store

    from lamella.store.objects.credentials import ResolvedUrl
    from lamella.store.storage import Fingerprint, Names, RangeRequest, RangesRead, Replacement, Stamp

T = TypeVar("T")

SECONDS_TRUSTED = 2.0
"""How long a read-only store handle trusts the stamp of a document."""


class ObjectStorage(FlatStorage):
    """An object store, or a prefix of one; a web server is always read only."""

    max_requests = MAX_REQUESTS
    creates_exclusively = True
    survives_fork = False

    def __init__(self, access: ResolvedUrl, read_only: bool = False) -> None:
        is_web = access.kind == "http"
        self.access = access
        self.read_only = read_only or is_web
        self.can_list = self.can_delete = not is_web
        self._client = ObjectClient(access)
        self._requests = ObjectRequests(self._client, self._do_not_list)
        self.lock_root = lock_name(self._client.address)
        self._memory = DocumentMemory(SECONDS_TRUSTED)
        self._to_move: tuple[float, dict[str, dict[str, int]]] | None = None
        self.keys_per_delete = DELETED_PER_REQUEST.get(access.kind, 1)

    def check_writable(self, key: str) -> None:
        if self.access.kind == "http":
            raise ReadOnlyError(
                f"Cannot write {self.where(key)}: web servers are only read. Use a path, or s3://, gs:// or az://."
            )
        super().check_writable(key)

    def __repr__(self) -> str:
        return f"ObjectStorage({self.name!r}{', read_only=True' if self.read_only else ''})"

    def __reduce__(self) -> tuple[object, ...]:
        state: dict[str, Any] = {
            "cache_bytes": self.cache_bytes,
            "trusted": None if self.trusted is None else {},
        }
        return ObjectStorage, (self.access, self.read_only), state

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
    def identity(self) -> str:
        config = self.access.config
        endpoint = str(config.get("endpoint") or config.get("base_url") or "")
        return identity_of(self.name, endpoint, str(config.get("account_name", "")))

    @property
    def title(self) -> str:
        return title_in(self.name)

    @property
    def service(self) -> ObjectRequests:
        return self._requests

    def _do_not_list(self) -> None:
        """Read as on the web, by metadata instead of lists; a store open for writing still lists, which raises."""
        self.can_list = self.can_list and not self.read_only

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            check_process(self.name)
        except BaseException:
            coroutine.close()
            raise
        return run(coroutine)

    # ---- reading --------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        stamped = self.read_stamped(key)
        return None if stamped is None else stamped[0]

    def read_stamped(self, key: str) -> tuple[bytes, Stamp | None] | None:
        remembered = self._memory.for_read(key)
        if remembered is None:
            return self.read_many([key])[key]
        (result,) = remembered
        return None if result is None else (bytes(result.data), result.stamp)

    def read_many(self, keys: Sequence[str]) -> dict[str, tuple[bytes, Stamp | None] | None]:
        results = {
            key: remembered[0] for key in keys if (remembered := self._memory.for_read(key)) is not None
        }
        missing = [key for key in map(check_key, keys) if key and key not in results]
        if missing:
            since = self._memory.changes()
            fetched = self._run(self._requests.get_many(missing))
            self._remember(fetched, since)
            results |= fetched
        documents = {
            key: None if result is None else (bytes(result.data), result.stamp)
            for key, result in results.items()
        }
        return {key: documents.get(key) for key in keys}

    def _read_fresh(self, keys: Sequence[str]) -> dict[str, bytes]:
        since = self._memory.changes()
        results = self._run(self._requests.get_many(list(keys)))
        self._remember(results, since)
        return {key: bytes(result.data) for key, result in results.items() if result is not None}

    def read_again(self, keys: Sequence[str], *, lists: bool = True) -> dict[str, bytes]:
        """Read documents that read as missing again; a store that was created a moment ago has none."""
        return {} if self._is_new() else super().read_again(keys, lists=lists)

    def _remember(self, results: Mapping[str, GetResult | None], since: int, *, ahead: bool = False) -> None:
        self._memory.add(results, recent=self.read_only, since=since, ahead=ahead)

    def note_created(self) -> None:
        self._memory.note_created()

    def _is_new(self) -> bool:
        """Whether the store was created a moment ago, and nothing was written since."""
        return self._memory.in_new_root() is not None

    @property
    def reads_ahead(self) -> bool:
        return self.read_only

    def request_ahead(self, keys: Iterable[str], *, at_once: bool = False) -> None:
        if not at_once and not self.reads_ahead:
            return
        missing, since = self._memory.not_remembered(keys), self._memory.changes()
        try:
            results = self._run(self._requests.get_many(missing)) if missing else {}
        except (StorageError, DamagedDataError):  # reading the document raises it again
            return
        self._remember(results, since, ahead=True)

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        if not check_key(key):
            return None
        if length <= 0:
            return None if self.size(key) is None else b""
        span = Span(start, 0) if start < 0 else Span(start, start + length)
        result = self._run(self._requests.fetch(key, span))
        return None if result is None else bytes(result.data[:length])

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        for request in requests:
            check_key(request.key)
        return self._run(self._requests.get_ranges(requests))

    def read_chunks(self, keys: Sequence[str]) -> dict[str, tuple[bytes, Stamp | None] | None]:
        results = self._run(self._requests.get_chunks([check_key(key) for key in keys]))
        return {
            key: None if result is None else (bytes(result.data), result.stamp)
            for key, result in zip(keys, results, strict=True)
        }

    def drop_cached(self, key: str, stamp: Stamp | None, spans: Iterable[tuple[int, int]]) -> None:
        if stamp is not None:
            self._requests.drop_cached(key, stamp, spans)

    @property
    def lists_below(self) -> bool:
        return self.can_list

    def _names_in(self, folder: str) -> set[str]:
        in_new_root = self._memory.in_new_root()
        if in_new_root is not None:
            return set() if folder else in_new_root
        return self._run(self._requests.names_in(folder))

    def members_of_each(self, folders: Sequence[str]) -> Sequence[dict[str, bool]]:
        if not self.can_list:
            return super().members_of_each(folders)
        listings = self._run(await_all(self._requests.members_of(check_key(folder)) for folder in folders))
        return [
            {name: names[name] for name in sorted(names, key=natural_order) if not is_private(name)}
            for names in listings
        ]

    def keys_below_each(self, folders: Sequence[str]) -> Sequence[Names]:
        listings = self._run(await_all(self._requests.entries_below(check_key(folder)) for folder in folders))
        return [list(entries) for entries in listings]

    def sizes_below(self, folder: str) -> dict[str, int]:
        return _sizes(self._run(self._requests.entries_below(check_key(folder))))

    def _sizes_of(self, path: str) -> dict[str, int]:
        return self._sizes_of_each([path])[0] if path else self.sizes_below(path)

    def _sizes_of_each(self, paths: Sequence[str]) -> Sequence[dict[str, int]]:
        async def look_at(path: str) -> dict[str, int]:
            head, below = await _await_both(self._requests.head(path), self._requests.entries_below(path))
            return _sizes(below) | ({} if head is None else {path: head.size})

        return self._run(await_all(map(look_at, paths)))

    def existing_of_move(self, old: str, new: str, *, documents: Iterable[str] = ()) -> set[str]:
        """List both folders with sizes, for a `move` that follows, unless they were listed in the last 5 seconds."""
        since = self._memory.changes()
        missing, sizes = self._memory.not_remembered(documents), self._listed_to_move(old, new)
        if not self.can_list:
            return super().existing_of_move(old, new, documents=missing)
        requests = [self._requests.entries_below(check_key(path)) for path in (old, new) if sizes is None]
        listings, fetched = self._run(_await_both(await_all(requests), self._requests.get_many(missing)))
        self._remember(fetched, since, ahead=True)
        if sizes is None:
            sizes = [_sizes(entries) for entries in listings]
            self._to_move = time.monotonic(), dict(zip((old, new), sizes, strict=True))
        return {path for path, keys in zip((old, new), sizes, strict=True) if keys}

    def _listed_to_move(self, old: str, new: str) -> list[dict[str, int]] | None:
        """Return the sizes that `existing_of_move` has listed in the last 5 seconds; None if it has not."""
        listed_at, sizes = self._to_move or (-SECONDS, {})
        is_fresh = list(sizes) == [old, new] and time.monotonic() - listed_at < SECONDS
        return list(sizes.values()) if is_fresh else None

    def _sizes_to_move(self, old: str, new: str) -> Sequence[dict[str, int]]:
        sizes = self._listed_to_move(old, new)
        return sizes if sizes and sizes[0] else self._sizes_of_each([old, new])

    def _sizes_in(self, folders: Sequence[str]) -> Sequence[dict[str, int]]:
        return [
            _sizes(entries) for entries in self._run(await_all(map(self._requests.entries_below, folders)))
        ]

    def exists(self, prefix: str) -> bool:
        check_key(prefix)
        if is_document(prefix) or not self.can_list:
            return self.size(prefix) is not None
        if not prefix or self._is_new():
            return bool(self._names_in(prefix))
        head, names = self._run(_await_both(self._requests.head(prefix), self._requests.names_in(prefix)))
        return head is not None or bool(names)

    def existing(self, prefixes: Collection[str], *, documents: Iterable[str] = ()) -> set[str]:
        """Return those of some keys and folders that exist: one list for each folder above, all of a depth at once."""
        missing, since = self._memory.not_remembered(documents), self._memory.changes()
        if self._is_new() and not missing:
            return set()
        if self.can_list:
            lookup: Coroutine[Any, Any, set[str]] = self._requests.existing_paths(prefixes)
        else:
            lookup = self._requests.readable_keys(prefixes)
        existing: set[str]
        existing, fetched = self._run(_await_both(lookup, self._requests.get_many(missing)))
        self._remember(fetched, since, ahead=True)
        return existing

    def has_any(self, names: Collection[str]) -> bool:
        self.request_ahead(names, at_once=True)
        is_present = any(self.size(name) is not None for name in names)
        self._memory.drop_ahead(names)
        return is_present

    def size(self, key: str) -> int | None:
        """Return the size of a key; of a document by GET, as credentials may allow GET and not HEAD."""
        if not check_key(key):
            return None
        result = self._look_at(key)
        return None if result is None else result.size

    def _look_at(self, key: str) -> GetResult | None:
        remembered = self._memory.for_lookup(key)
        if remembered is not None:
            return remembered[0]
        if key.rpartition("/")[2] not in METADATA_FILES:
            return self._run(self._requests.head(key))
        since = self._memory.changes()
        result = self._run(self._requests.fetch(key))
        self._remember({key: result}, since, ahead=True)
        return result

    def stamp(self, key: str) -> Stamp | None:
        """Return the ETag of a key; if read-only, without a request for a document read in the last 2 seconds."""
        if not check_key(key):
            return None
        remembered = self._memory.stamp(key)
        read_at, last_stamp = remembered or (0.0, None)
        is_fresh = self.trusted is not None or time.monotonic() - read_at < SECONDS_TRUSTED
        if remembered is not None and self.read_only and is_fresh:
            return last_stamp
        # Under a lock the whole document is requested, which is then read without a request.
        sends_stamp = self._memory.for_lookup(key) is None and not self._memory.will_remember(key)
        if last_stamp is not None and sends_stamp:
            since = self._memory.changes()
            changed = self._run(self._requests.fetch_changed(key, last_stamp))
            if changed is None:
                self._memory.confirm(key, last_stamp)
                return last_stamp
            self._remember({key: changed[0]}, since, ahead=True)
            return changed[0] and changed[0].stamp
        result = self._look_at(key)
        return None if result is None else result.stamp

    def sizes(self, keys: Sequence[str]) -> Sequence[int | None]:
        return [head and head.size for head in self._heads(keys)]

    def stamps(self, keys: Iterable[str]) -> list[Stamp | None]:
        """Return the stamps of several keys; None for missing ones."""
        return [head and head.stamp for head in self._heads(keys)]

    def _heads(self, keys: Iterable[str]) -> list[GetResult | None]:
        return self._run(await_all(self._requests.head(check_key(key)) for key in keys))

    def stamps_below(self, folder: str) -> dict[str, Stamp | None]:
        """Return all keys below a folder with their stamps."""
        return {key: stamp for key, (_, stamp) in self._run(self._requests.entries_below(folder)).items()}

    def fingerprint(self, key: str) -> Fingerprint | None:
        return _strong(self.stamp(key))

    def fingerprints(self, keys: Iterable[str]) -> list[Fingerprint | None] | None:
        """Return the strong ETags of keys; None where the service has weak ones."""
        stamps = self.stamps(keys)
        tags = [_strong(stamp) for stamp in stamps]
        return None if any(stamp and not tag for stamp, tag in zip(stamps, tags, strict=True)) else tags

    def fingerprints_below(self, folder: str) -> dict[str, Fingerprint] | None:
        """Return the strong ETags of all objects below a folder; None where one has none, or the store cannot list."""
        if not self.can_list:
            return None
        stamps = {key: stamp for key, stamp in self.stamps_below(folder).items() if not has_private_name(key)}
        tags = {key: tag for key, stamp in stamps.items() if (tag := _strong(stamp)) is not None}
        return tags if len(tags) == len(stamps) else None

    # ---- writing --------------------------------------------------------------------------------

    def _run_write(self, keys: Iterable[str], coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a request that writes keys, and forget what is remembered of them."""
        try:
            return self._run(coroutine)
        finally:
            self._memory.count_change()
            for key in keys:
                self._memory.forget(key)
                if self._to_move and any(key.startswith(f"{path}/") for path in self._to_move[1]):
                    self._to_move = None

    def _put(self, batch: dict[str, bytes]) -> None:
        stamps = self._run_write(batch, self._requests.put_many(batch))
        for (key, data), stamp in zip(batch.items(), stamps, strict=True):
            self._memory.add_written(key, data, stamp)

    def write_stamped(self, key: str, data: bytes) -> Stamp | None:
        self._check_file(key)
        return self._write_one(key, data, self._requests.put(key, data))

    def write_if(self, key: str, data: bytes, expected: Stamp | None) -> Stamp | None:
        self._check_file(key)
        return self._write_one(key, data, self._requests.put_if(key, data, expected))

    def _write_one(self, key: str, data: bytes, request: Coroutine[Any, Any, Stamp | None]) -> Stamp | None:
        stamp = self._run_write([key], request)
        self._memory.add_written(key, data, stamp)
        log.debug("Wrote %s", self.where(key))
        return stamp

    def write_file(self, key: str, path: str, *, replaces: bool) -> None:
        """Write a local file as a key, as `ObjectRequests.put_file` does."""
        self._check_file(key)
        self._run_write([key], self._requests.put_file(key, path, replaces=replaces))
        log.debug("Wrote %s", self.where(key))

    def write_back(self, replacements: Sequence[Replacement]) -> Collection[str]:
        for replacement in replacements:
            self._check_file(replacement.key)
        unstamped = {
            replacement.key: replacement.data
            for replacement in replacements
            if replacement.existed and replacement.stamp is None
        }
        if unstamped:  # a service without ETags
            self._put(unstamped)
        conditional = [replacement for replacement in replacements if replacement.key not in unstamped]
        request = self._requests.put_many_if(
            [(replacement.key, replacement.data, replacement.stamp) for replacement in conditional]
        )
        written = self._run_write([replacement.key for replacement in replacements], request)
        changed = [replacement for replacement in conditional if replacement.key not in written]
        created = [replacement.key for replacement in changed if not replacement.existed]
        # The object could not be read but exists: it may contain other chunks.
        if created and self._requests.forbidden_means_missing:
            raise may_exist_error(created[0], self.name)
        return [replacement.key for replacement in changed]

    def write_new(self, items: Iterable[tuple[str, bytes]]) -> Collection[str]:
        new = dict(items)
        for key in new:
            self._check_file(key)
        if not new:
            return ()
        conditions = [(key, data, None) for key, data in new.items()]
        written = self._run_write(new, self._requests.put_many_if(conditions))
        for key, stamp in written.items():
            self._memory.add_written(key, new[key], stamp)
        return [key for key in new if key not in written]

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> Stamp | None:
        self._check_file(key)
        with self.replacement_lock(key):
            remembered = self._memory.for_write(key)
            if remembered is not None:
                try:
                    return self._write_changed(key, remembered[0], change)
                except StorageError:
                    raise
                except (ChangedError, LamellaError):  # the remembered document may be too old: read it again
                    self._memory.forget(key)
            for wait in retry_waits():
                with suppress(ChangedError):
                    return self._write_changed(key, self._read_to_change(key), change)
                time.sleep(wait)
        raise StorageError(
            f"Cannot change {self.where(key)}: others wrote it each time between reading and writing it, for "
            f"{RETRY_SECONDS:g} s. Nothing was lost: try again."
        )

    def _write_changed(
        self, key: str, old: GetResult | None, change: Callable[[bytes | None], bytes | None]
    ) -> Stamp | None:
        data = change(None if old is None else bytes(old.data))
        return None if data is None else self.write_if(key, data, None if old is None else old.stamp)

    def swap(self, key: str, old: bytes, new: bytes, before_write: Callable[[], object]) -> bool:
        self._check_file(key)
        with self.replacement_lock(key):
            remembered = self._memory.for_write(key)
            result = self._read_to_change(key) if remembered is None else remembered[0]
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
        result, _ = self._run(_await_both(self._requests.fetch(key), self._requests.supports_conditions()))
        return result

    def reading_once(self, folder: str) -> AbstractContextManager[None]:
        return self._memory.under(folder)

    def handed_over(self) -> Callable[[], AbstractContextManager[None]]:
        return self._memory.handed_over()

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keep the threads of this process apart; documents that are read under the lock are read once."""
        with super().lock(key), self._memory.under(key.rpartition("/")[0]):
            yield

    def replacement_lock(self, key: str) -> AbstractContextManager[object]:
        """Keep the threads of this process apart, from a fresh read to a write."""
        return super().lock(key)

    def _delete_keys(self, keys: Iterable[str]) -> None:
        deleted = list(keys)
        self._run_write(deleted, self._requests.delete(deleted))

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

    def _copy(self, sizes: dict[str, int], new_names: dict[str, str]) -> None:
        self._run_write(new_names.values(), self._requests.copy(sizes, new_names))

    def _copy_and_put(
        self, sizes: dict[str, int], new_names: dict[str, str], files: dict[str, bytes]
    ) -> None:
        both = _await_both(self._requests.copy(sizes, new_names), self._requests.put_many(files))
        self._run_write([*new_names.values(), *files], both)

    def zarr_store(self) -> Store:
        from zarr.storage import ObjectStore

        return ObjectStore(self._client.store, read_only=self.read_only)


def _sizes(entries: Mapping[str, tuple[int, Stamp | None]]) -> dict[str, int]:
    return {key: size for key, (size, _) in entries.items()}


def _strong(stamp: Stamp | None) -> Fingerprint | None:
    """Return a stamp that is a strong ETag, else None: times of web servers and weak ETags prove little."""
    return None if stamp is None or str(stamp[0]).startswith(("W/", "time ")) else list(stamp)


async def _await_both(first: Coroutine[Any, Any, Any], second: Coroutine[Any, Any, Any]) -> tuple[Any, Any]:
    outcomes = await await_all((first, second))
    return outcomes[0], outcomes[1]
