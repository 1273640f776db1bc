"""Store in any store of zarr-python: memory, zip, fsspec, obstore, icechunk.

Runs the coroutines of `Service` in zarr-python's event loop. Stores that are open for reading read documents ahead.
Local stores of zarr-python become a `LocalStorage`.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any, TypeVar

from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    MetadataError,
    MissingDependencyError,
    StorageError,
    StoreNotFoundError,
    clause,
    one_line,
)
from lamella.log import log
from lamella.store.files.local import LocalStorage
from lamella.store.flat_storage import FlatStorage, has_private_name
from lamella.store.keys import DOCUMENTS, check_key, is_document
from lamella.store.metadata import json_document
from lamella.store.objects.addresses import (
    address_of,
    clean_url,
    endpoint_of,
    identity_of,
    is_chained,
    is_web,
    lock_root,
    split_chain,
    survives_fork,
    title_in,
)
from lamella.store.objects.credentials import option_names, resolve
from lamella.store.objects.document_memory import SECONDS_EXPECTED, RecentDocuments
from lamella.store.objects.object_client import check_process
from lamella.store.objects.object_storage import ObjectStorage
from lamella.store.objects.service import MAX_REQUESTS, Service, is_cached
from lamella.store.objects.service_errors import is_lamella_error, request_error
from lamella.store.objects.url_checks import cached_web_error

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence

    from zarr.abc.store import Store
    from zarr.storage import FsspecStore

    from lamella.store.objects.credentials import ResolvedUrl
    from lamella.store.storage import (
        Fingerprint,
        Names,
        RangeRequest,
        RangesRead,
        Replacement,
        Stamp,
        Storage,
    )

T = TypeVar("T")


def from_url(url: str, *, read_only: bool, storage_options: Mapping[str, Any] | None = None) -> Storage:
    """Open a URL: object stores and web servers through obstore, others through fsspec and zarr-python.

    Raises `MissingDependencyError` where fsspec, or its library for this kind of URL, is not installed,
    `InvalidArgumentError` where fsspec does not support the URL or an option does not fit, `AccessError` without
    credentials, and `StoreNotFoundError`, `MetadataError` or `StorageError` where the archive of a chained URL is
    missing, damaged or unreadable.
    """
    resolved = resolve(url, storage_options)
    if resolved.kind:
        return ObjectStorage(resolved, read_only)
    from zipfile import BadZipFile

    options = chain_options(url, storage_options) if is_chained(url) else resolved.options
    try:
        from lamella.store.objects.exact_deletes import open_with_fsspec

        store = open_with_fsspec(resolved.url, {"use_listings_cache": False, **options}, read_only=read_only)
    except ImportError as error:
        raise MissingDependencyError(
            f"Opening {clean_url(url)} needs fsspec and its part for {url.partition(':')[0]}: {clause(error)}. "
            f"Install it (for example: pip install 'fsspec[{url.partition(':')[0]}]')."
        ) from error
    except (TypeError, ValueError) as error:
        if "Seek before start" in str(error):  # a file that is too short for an archive
            raise _damaged_archive(url, error) from error
        raise _unsupported_url_error(url, error) from error
    except FileNotFoundError as error:
        raise StoreNotFoundError(
            f"There is no store at {clean_url(url)}: {error.filename or error} is not there. Check the path."
        ) from error
    except IsADirectoryError as error:
        raise StorageError(f"Cannot open {clean_url(url)}: {clause(error)}.", errno.EIO) from error
    except BadZipFile as error:
        raise _damaged_archive(url, error) from error
    except Exception as error:  # each file system has errors of its own
        if is_lamella_error(error):
            raise
        raise request_error("open", "", clean_url(url), error) from error
    return ZarrStorage(store, read_only, clean_url(url))


def _damaged_archive(url: str, error: Exception) -> MetadataError:
    return MetadataError(
        f"Cannot read the archive {clean_url(url)}: it is not a ZIP archive, or it is damaged ({clause(error)}). Copy "
        "it again."
    )


def _unsupported_url_error(url: str, error: Exception) -> InvalidArgumentError:
    """Return the error for a URL of a kind that is unknown, or that needs more than the URL."""
    scheme = re.split("://|::", url, maxsplit=1)[0]
    if "not known" in str(error):
        return InvalidArgumentError(
            f"Cannot open {clean_url(url)}: URLs that begin with {scheme!r} are unknown. Known are s3, gs, az, http, "
            "https, memory, icechunk+file and others of fsspec; a folder of this machine is named by its path."
        )
    return InvalidArgumentError(
        f"Cannot open {clean_url(url)}: fsspec does not open this {scheme!r} URL with these storage_options "
        f"({one_line(error)}). Check the URL, and pass what it needs as storage_options (--storage)."
    )


def _never_listed_on_the_web(store: FsspecStore) -> FsspecStore:
    """Return an fsspec store; one of a web server converted to one that never lists."""
    fs: Any = store.fs
    is_cache = is_cached(store) and is_web(store.path)
    if is_cache and not hasattr(fs, "sync_fs"):  # not wrapped by fsspec: zarr-python cannot read it
        raise cached_web_error(store.path, type(fs).__name__, store.path)
    if not is_cache and "HTTPFileSystem" not in [kind.__name__ for kind in type(fs).__mro__]:
        return store
    from lamella.store.objects.web import as_web_store

    return as_web_store(store)


def _without_folder(store: FsspecStore) -> FsspecStore:
    """Return an fsspec store without the file systems that only name a folder of the next one (``dir``)."""
    from zarr.storage import FsspecStore

    fs: Any = store.fs
    if type(fs).__name__ != "DirFileSystem":
        return store
    below = FsspecStore(fs.fs, store.read_only, fs._join(store.path), store.allowed_exceptions)
    return _without_folder(below)


def from_store(store: object, *, read_only: bool, fsync: bool = False, follow_links: bool = False) -> Storage:
    """Open the storage of a zarr-python store."""
    from zarr.abc.store import Store
    from zarr.storage import FsspecStore, LocalStore

    from lamella.store.objects.exact_deletes import with_exact_deletes
    from lamella.store.objects.merging_store import MergingLocalStore, MergingStore
    from lamella.store.objects.read_only_store import ReadOnlyStore

    if isinstance(store, (MergingStore, MergingLocalStore)):
        return _below(store.storage, read_only or store.read_only)
    if isinstance(store, ReadOnlyStore):
        return store.storage
    if isinstance(store, FsspecStore):
        store = _without_folder(store)
    folder = store.root if isinstance(store, LocalStore) else _folder_of(store)
    if folder:
        assert isinstance(store, Store)
        return LocalStorage(folder, read_only or store.read_only, fsync=fsync, follow_links=follow_links)
    if isinstance(store, FsspecStore):
        store = with_exact_deletes(_never_listed_on_the_web(store))
    if isinstance(store, Store):
        return ZarrStorage(store, read_only)
    raise InvalidArgumentError(
        f"Cannot open {store!r}: pass a path, a URL, or a store of zarr-python (zarr.abc.store.Store)."
    )


def _folder_of(store: object) -> str:
    """Return the local folder of a store of fsspec; "" for other stores."""
    from zarr.storage import FsspecStore

    if not isinstance(store, FsspecStore):
        return ""
    fs = getattr(store.fs, "sync_fs", store.fs)  # zarr-python wraps it
    return store.path if type(fs).__name__ == "LocalFileSystem" else ""


def _below(storage: Storage, read_only: bool) -> Storage:
    """Return the storage below a store that merges documents."""
    from lamella.store.objects.read_only_store import ReadOnlyStore

    if isinstance(storage, LocalStorage):
        return storage.beside(storage.root, read_only=read_only)
    if isinstance(storage, ObjectStorage):
        return ObjectStorage(storage.access, read_only)
    store = storage.zarr_store()
    return storage if isinstance(store, ReadOnlyStore) else ZarrStorage(store, read_only)


class ZarrStorage(FlatStorage):
    """A zarr-python store as a storage; its locks only separate the threads of this process.

    `address` is its path or URL for messages; by default the store's own URL.
    """

    max_requests = MAX_REQUESTS
    has_stamps = False

    def __init__(self, store: Store, read_only: bool = False, address: str | None = None) -> None:
        from zarr.storage import MemoryStore, ZipStore

        self.store = store
        self.read_only = read_only or store.read_only or is_cached(store)
        self._address = address or address_of(store)
        self._service = self._new_service()
        self.can_list = self._service.can_list
        self.lock_root = lock_root(store)
        self.survives_fork = survives_fork(store)
        self.can_delete = store.supports_deletes
        self._ahead: RecentDocuments[bytes] = RecentDocuments(SECONDS_EXPECTED)
        #: Whether small files may decompress to large ones.
        self._inflates = isinstance(store, ZipStore)
        #: Whether a key that reads as missing is certainly missing, so that it is not requested again.
        self._answers_certainly = self._inflates or type(store) is MemoryStore
        # A ZipStore opens its file now.
        self._run("open", "", store._ensure_open())

    def _new_service(self) -> Service:
        return Service(self.store, self._address)

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
        return self._service

    @property
    def identity(self) -> str:
        return identity_of(self._address, *endpoint_of(self.store))

    @property
    def title(self) -> str:
        return title_in(self._address)

    # ---- reading --------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        if not check_key(key):
            return None
        ahead = self._ahead.pop(key)
        return self._get(key) if ahead is None else ahead[0]

    @property
    def reads_ahead(self) -> bool:
        return self.read_only and not self._inflates

    def request_ahead(self, keys: Iterable[str], *, at_once: bool = False) -> None:
        if not self.reads_ahead:
            return
        del at_once
        missing = [key for key in map(check_key, keys) if self._ahead.peek(key) is None]
        try:
            buffers = self._run("read", missing[0], self.service.get_many(missing)) if missing else {}
        except (StorageError, DamagedDataError):  # reading the document raises it again
            return
        self._ahead.add(
            {key: None if buffer is None else buffer.to_bytes() for key, buffer in buffers.items()}
        )

    def _get(self, key: str) -> bytes | None:
        from zarr.abc.store import RangeByteRequest

        folder, _, name = key.rpartition("/")
        byte_range = (
            self._inflates and name in DOCUMENTS and RangeByteRequest(0, json_document.LARGEST_DOCUMENT + 1)
        )
        buffer = self._run("read", key, self.service.get(key, byte_range or None))
        if byte_range and buffer is not None:
            json_document.check_size(len(buffer), self.where(folder), name)
        return None if buffer is None else buffer.to_bytes()

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        from zarr.abc.store import RangeByteRequest

        size = self.size(key)
        if size is None:
            return None
        first = max(0, start + size) if start < 0 else start
        end = min(size, first + length)
        if first >= end:
            return b""
        # Not by a suffix at the end: icechunk 2 returns of a document what follows as many bytes.
        buffer = self._run("read", key, self.service.get(key, RangeByteRequest(first, end)))
        return None if buffer is None else buffer.to_bytes()

    def read_many(self, keys: Sequence[str]) -> dict[str, tuple[bytes, Stamp | None] | None]:
        if self._inflates:
            return super().read_many(keys)
        valid = [key for key in keys if check_key(key)]
        buffers = self._run("read", next(iter(keys), ""), self.service.get_many(valid))
        results = {
            key: None if buffer is None else (buffer.to_bytes(), None) for key, buffer in buffers.items()
        }
        return {key: results.get(key) for key in keys}

    def _read_fresh(self, keys: Sequence[str]) -> dict[str, bytes]:
        buffers = self._run("read", keys[0], self.service.get_many([*keys]))
        return {key: buffer.to_bytes() for key, buffer in buffers.items() if buffer is not None}

    def read_again(self, keys: Sequence[str], *, lists: bool = True) -> dict[str, bytes]:
        """Read documents that read as missing again; not in an archive or in memory, whose first answer is certain."""
        return {} if self._answers_certainly else super().read_again(keys, lists=lists)

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        first = requests[0].key if requests else ""
        return self._run("read", first, self.service.get_ranges(requests))

    @property
    def lists_below(self) -> bool:
        return self.can_list and self._service.lists_below

    def exists(self, prefix: str) -> bool:
        return self._run("look at", prefix, self.service.exists(check_key(prefix)))

    def has_any(self, names: Collection[str]) -> bool:
        """Whether one of some files lies directly in the root, by one listing or one round of requests."""
        if self.lists_below:
            try:
                return not self._run("list", "", self.service.list_dir("")).isdisjoint(names)
            except StorageError:  # the credentials may read, but not list
                pass
        buffers = self._run("look at", "", self.service.get_many([*names]))
        return any(buffer is not None for buffer in buffers.values())

    def size(self, key: str) -> int | None:
        if not check_key(key):
            return None
        ahead = self._ahead.peek(key)
        if ahead is not None:
            return None if ahead[0] is None else len(ahead[0])
        return self._run("look at", key, self.service.size(key))

    def fingerprint(self, key: str) -> Fingerprint | None:
        tags = self.fingerprints([key])
        return None if tags is None else tags[0]

    def fingerprints(self, keys: Iterable[str]) -> list[Fingerprint | None] | None:
        """Return the strong ETags and sizes of objects of fsspec."""
        infos = self._run("look at", "", self._service.infos([*keys]))
        tags = [_tag(description) for description in infos or ()]
        has_none = any(description and not tag for description, tag in zip(infos or (), tags, strict=True))
        return None if infos is None or has_none else tags

    def fingerprints_below(self, folder: str) -> dict[str, Fingerprint] | None:
        """Return the strong ETags and sizes of all objects of fsspec below a folder, from one listing."""
        infos = self._run("list", folder, self._service.infos_below(folder))
        infos = infos and {
            key: description for key, description in infos.items() if not has_private_name(key)
        }
        tags = {
            key: tag for key, description in (infos or {}).items() if (tag := _tag(description)) is not None
        }
        return None if infos is None or len(tags) < len(infos) else tags

    # ---- writing --------------------------------------------------------------------------------

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> Stamp | None:
        """Change the bytes of a key by a function; a missing one is requested twice, as no condition protects it."""
        return super().update(
            key, lambda data: change(self.read_again([key]).get(key) if data is None else data)
        )

    def write_back(self, replacements: Sequence[Replacement]) -> Collection[str]:
        """Write keys; create those that read as absent only because of a 403, which may exist with other chunks."""
        created = [
            replacement
            for replacement in replacements
            if not replacement.existed and self.service.forbidden_means_missing
        ]
        for replacement in created:
            self._run("write", replacement.key, self.service.create(replacement.key, replacement.data))
        return super().write_back([replacement for replacement in replacements if replacement not in created])

    def _put(self, batch: dict[str, bytes]) -> None:
        self._run("write", next(iter(batch)), self.service.set_many(batch))

    def _names_in(self, folder: str) -> set[str]:
        return self._run("list", folder, self.service.list_dir(folder))

    def sizes_below(self, folder: str) -> dict[str, int]:
        return self._run("list", folder, self.service.sizes_below(check_key(folder)))

    def _delete_keys(self, keys: Iterable[str]) -> None:
        ordered = list(keys)
        self._run("delete", ordered[0] if ordered else "", self.service.delete_keys(ordered))

    def _delete_folder(self, prefix: str) -> None:
        if self.service.has_folders:
            self._run("delete", prefix, self.service.delete_below(prefix))

    def delete(self, prefix: str) -> None:
        self.check_writable(prefix)
        check_key(prefix)
        if not self.can_delete:
            raise StorageError(f"Cannot delete {self.where(prefix)}: its store cannot delete.")
        if prefix and self.size(prefix) is not None:
            self._run("delete", prefix, self.service.delete_keys([prefix]))
        if not prefix and self.can_list:
            self._delete_root()
            return
        self._run("delete", prefix, self.service.delete_below(prefix))
        self._check_deleted(prefix, self._sizes_of(prefix) if self.can_list else ())
        log.debug("Deleted %s below %s", prefix or "everything", self.name)

    def _copy(self, sizes: dict[str, int], target: dict[str, str]) -> None:
        # Documents first: icechunk accepts chunks of existing arrays only. Other stores copy them in a later call.
        ordered = sorted(sizes, key=lambda key: (not is_document(key), key.count("/")))
        for batch in self._batches(ordered, sizes):
            self._copy_batch(batch, sizes, target)

    def _copy_batch(self, keys: Names, sizes: dict[str, int], target: dict[str, str]) -> None:
        buffers = self._run("read", keys[0], self.service.get_many(keys))
        data_by_key: dict[str, bytes] = {}
        for key, buffer in buffers.items():
            if buffer is None or len(buffer) != sizes[key]:
                actual = "nothing" if buffer is None else f"{len(buffer)} bytes"
                raise StorageError(
                    f"Cannot copy {key!r} in {self.name}: its list says {sizes[key]} bytes, and {actual} can be read. "
                    "Nothing was deleted; another program may be writing there: try again."
                )
            data_by_key[target[key]] = buffer.to_bytes()
        self._run("write", target[keys[0]], self.service.set_many(data_by_key))

    def zarr_store(self) -> Store:
        """Return the store itself, read-only where this is."""
        if self.read_only and not self.store.read_only:
            try:
                return self.store.with_read_only(True)
            except NotImplementedError:
                return self.store
        return self.store

    def _run(self, verb: str, key: str, coroutine: Coroutine[Any, Any, T]) -> T:
        from zarr.core.sync import sync

        try:
            if not self.survives_fork:
                check_process(self.name)
            return sync(coroutine)
        except Exception as error:  # each backend has an error tree of its own
            coroutine.close()
            if is_lamella_error(error) or isinstance(error, Warning):
                raise
            raise request_error(verb, key, self.name, error) from error


def _tag(description: Mapping[str, Any] | None) -> Fingerprint | None:
    """Return the strong ETag and the size of an object of fsspec; None where it has none."""
    tags = (description[name] for name in ("ETag", "etag", "e_tag") if description and description.get(name))
    tag = next(tags, None)
    if description is None or not isinstance(tag, str) or tag.startswith("W/"):
        return None
    return [tag, int(description.get("size") or 0)]


def chain_options(url: str, storage_options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fsspec options of a chained URL, by protocol; for S3, options without a protocol are accepted too."""
    # Copies: fsspec writes into the options that it gets.
    options = {
        name: {**value} if isinstance(value, dict) else value
        for name, value in (storage_options or {}).items()
    }
    *chain, last = split_chain(url)
    protocol, _, path = last.partition("://")
    if protocol in ("s3", "s3a"):
        # The bucket alone, as its file system also reads paths that obstore refuses.
        bucket = f"{protocol}://{path.partition('/')[0]}"
        unnamed = {name: options.pop(name) for name in options.keys() & option_names("s3")}
        options[protocol] = _s3_options(resolve(bucket, {**unnamed, **options.get(protocol, {})}))
        # fsspec shares a file system among equal options: one that archives use belongs to another event loop.
        if not chain or "cache" not in chain[0]:
            options[protocol]["s3_additional_kwargs"] = {}
    return options


def _s3_options(resolved: ResolvedUrl) -> dict[str, Any]:
    config = resolved.config
    if "default_headers" in resolved.client_options:
        raise InvalidArgumentError(
            f"Cannot open {clean_url(resolved.url)} behind another URL with headers: s3fs sends none. Leave them "
            "out, or open it by itself."
        )
    options: dict[str, Any] = {"client_kwargs": {"region_name": config["region"]}}
    if "endpoint" in config:
        options["endpoint_url"] = config["endpoint"]
    if config.get("request_payer"):
        options["requester_pays"] = True
    if config.get("skip_signature"):
        options["anon"] = True
    if resolved.credential_provider is not None:
        keys = dict(resolved.credential_provider.values)
        options |= {"key": keys["access_key_id"], "secret": keys["secret_access_key"]}
        if "token" in keys:
            options["token"] = keys["token"]
    settings: dict[str, Any] = {}
    if "read_timeout" in resolved.client_options:
        seconds = resolved.client_options["read_timeout"].total_seconds()
        settings |= {"connect_timeout": seconds, "read_timeout": seconds}
    if "retries" in resolved.options:
        settings["retries"] = {"max_attempts": resolved.retry_config["max_retries"]}
    if settings:
        options["config_kwargs"] = settings
    return options
