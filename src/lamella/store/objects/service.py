"""Send requests to a zarr-python store, as coroutines in its event loop, with the special cases of each kind of store.

A missing key is None; other failures are errors of lamella (`service_errors`). Cached listings of fsspec are never
used, because other writers change the store.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from lamella.errors import AccessError
from lamella.store.keys import is_document
from lamella.store.metadata.json_document import is_cut
from lamella.store.objects.denials import Denials
from lamella.store.objects.object_requests import S3_DELETED_PER_REQUEST
from lamella.store.objects.range_plan import extract_ranges, spans_of
from lamella.store.objects.service_errors import (
    already_exists,
    explained,
    is_absent,
    is_forbidden,
    is_lamella_error,
    is_unmet_range,
    may_exist_error,
    ranges_ignored_error,
    request_error,
)
from lamella.store.storage import RangesRead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer

    from lamella.store.objects.range_plan import Span
    from lamella.store.storage import RangeRequest

K = TypeVar("K")
T = TypeVar("T")

MAX_REQUESTS = 64
"""Limit of simultaneous requests."""


class Service:
    """A zarr-python store, for use inside its event loop; `address` is its URL for messages."""

    def __init__(self, store: Store, address: str) -> None:
        self.store = store
        self.address = address
        self._fs: Any = getattr(store, "fs", None) if hasattr(store, "path") else None
        # A web server over obstore claims to list, which WebDAV alone does.
        is_web = type(getattr(store, "store", None)).__name__ == "HTTPStore"
        self.can_list = store.supports_listing and not is_web
        self._denials = Denials(address, self._get_raw)
        self._asks_size_first = _asks_size_first(store)
        self._reads_no_tails = is_cached(store)

    @property
    def forbidden_means_missing(self) -> bool | None:
        """Whether 403 means "missing"; None until a 403."""
        return self._denials.mean_missing

    # ---- reading --------------------------------------------------------------------------------

    async def get(
        self, key: str, byte_range: ByteRequest | None = None, prototype: Any = None
    ) -> Buffer | None:
        """Get a key or a part of it; None where it is missing, `StorageError` for a failed or incomplete answer."""
        buffer = await self._get(key, byte_range, prototype)
        if buffer is None or byte_range is not None or not is_document(key):
            return buffer
        if is_cut(buffer.to_bytes()):  # the answer may have been cut short
            buffer = await self._get(key, byte_range, prototype)
        return buffer

    async def _get(self, key: str, byte_range: ByteRequest | None, prototype: Any) -> Buffer | None:
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest
        from zarr.core.buffer import default_buffer_prototype

        try:
            prototype = prototype or default_buffer_prototype()
            buffer: Buffer | None
            if self._asks_size_first and byte_range is None and is_document(key):
                data = await self._fs._cat_file(self._path(key), max_concurrency=1)
                buffer = prototype.buffer.from_bytes(data)
            elif self._reads_no_tails and isinstance(byte_range, SuffixByteRequest):
                size = await self._reported_size(key) or 0
                tail = RangeByteRequest(max(0, size - byte_range.suffix), size)
                buffer = await self.store.get(key, prototype, tail)
            else:
                buffer = await self.store.get(key, prototype, byte_range)
        except Exception as error:
            if is_lamella_error(error):
                raise
            if isinstance(error, IsADirectoryError) or is_absent(error):
                return None
            if is_forbidden(error) and await self._denials.is_missing():
                return None
            if byte_range is None or not is_unmet_range(error):
                raise request_error("read", key, self.address, error) from error
            buffer = prototype.buffer.from_bytes(b"")
        if buffer is None:
            return None
        self._check_length(key, byte_range, len(buffer))
        if is_document(key):
            self._denials.readable = key
        return buffer

    def _check_length(self, key: str, byte_range: ByteRequest | None, length: int) -> None:
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest

        limit: int | None = None
        if isinstance(byte_range, RangeByteRequest):
            limit = byte_range.end - byte_range.start
        elif isinstance(byte_range, SuffixByteRequest):
            limit = byte_range.suffix
        if limit is not None and length > limit:
            raise ranges_ignored_error(f"{self.address.rstrip('/')}/{key}")

    async def get_many(self, keys: list[str]) -> dict[str, Buffer | None]:
        """Get several keys at once."""
        return dict(zip(keys, await _for_each(self.get, keys, cancels=True), strict=True))

    async def get_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        """Get ranges of several keys at once."""
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest

        async def part_of(key_and_span: tuple[str, Span]) -> Buffer | None:
            key, span = key_and_span
            if span.is_suffix:
                return await self.get(key, SuffixByteRequest(-span.start))
            return await self.get(key, RangeByteRequest(span.start, span.end))

        spans = [spans_of(request.ranges) for request in requests]
        keys_and_spans = [
            (request.key, span)
            for request, key_spans in zip(requests, spans, strict=True)
            for span in key_spans
        ]
        answers = iter(await _for_each(part_of, keys_and_spans, cancels=True))
        results: list[RangesRead | None] = []
        for request, key_spans in zip(requests, spans, strict=True):
            data = {
                span: answer.as_numpy_array().data
                for span in key_spans
                if (answer := next(answers)) is not None
            }
            is_missing = len(data) < len(key_spans)
            results.append(None if is_missing else RangesRead(extract_ranges(request.ranges, data), None))
        return results

    async def _get_raw(self, key: str) -> Buffer | None:
        from zarr.core.buffer import default_buffer_prototype

        return await self.store.get(key, default_buffer_prototype())

    # ---- sizes and listings ---------------------------------------------------------------------

    async def size(self, key: str) -> int | None:
        """Return the size of a key; None where it is missing."""
        if is_document(key):  # one request; s3fs would add a listing to its HEAD
            buffer = await self.get(key)
            return None if buffer is None else len(buffer)
        try:
            with explained("look at", key, self.address):
                size = await self._reported_size(key)
            if size is not None:
                return size
        except FileNotFoundError:
            return None
        except AccessError:  # some credentials allow GET but not HEAD or the listing that s3fs adds
            pass
        buffer = await self.get(key)
        return None if buffer is None else len(buffer)

    async def _reported_size(self, key: str) -> int | None:
        """Return the size that the store reports; None where it reports none."""
        if self._fs is None:
            return int(await self.store.getsize(key))
        self._forget_listings()
        description = await self._fs._info(self._path(key))
        if description.get("type") == "directory":
            raise FileNotFoundError(key)
        size = description.get("size")
        return None if size is None else int(size)

    async def infos(self, keys: Sequence[str]) -> list[dict[str, Any] | None] | None:
        """Return fsspec's descriptions of keys, None for a missing one; None alone for a store of another kind."""
        if self._fs is None:
            return None
        self._forget_listings()

        async def info(key: str) -> dict[str, Any] | None:
            with suppress(FileNotFoundError):
                return dict(await self._fs._info(self._path(key)))
            return None

        return await _for_each(info, keys, cancels=True)

    async def infos_below(self, prefix: str) -> dict[str, dict[str, Any]] | None:
        """Return fsspec's descriptions of all keys below a folder; None for a store of another kind."""
        if self._fs is None or not self.can_list:
            return None
        self._forget_listings()
        root = self._path("").strip("/") + "/"
        infos = await self._fs._find(self._path(prefix), detail=True, withdirs=False)
        return {
            path.lstrip("/").removeprefix(root): description
            for path, description in infos.items()
            if description.get("type") != "directory"
        }

    async def exists(self, prefix: str) -> bool:
        """Whether a key exists, or keys below it."""
        if prefix and await self.size(prefix) is not None:
            return True
        if is_document(prefix):  # no folder has such a name
            return False
        return self.can_list and bool(await self.list_dir(prefix))

    async def list_dir(self, prefix: str) -> set[str]:
        """Return the names directly below a folder."""
        self._forget_listings()
        with suppress(FileNotFoundError), explained("list", prefix, self.address):
            return await self._listed(prefix)
        return set()

    async def _listed(self, prefix: str) -> set[str]:
        if self._fs is None:
            names = {name.rstrip("/") async for name in self.store.list_dir(prefix)} - {""}
            inner: Any = getattr(self.store, "store", None)
            if type(inner).__module__.startswith("obstore") and type(inner).__name__ == "LocalStore":
                return await asyncio.to_thread(
                    _without_empty_folders, os.path.join(inner.prefix or "/", prefix), names
                )
            return names
        # Not by zarr-python, which cuts names that repeat the folder's name. fsspec lists a key as its own member.
        folder = f"{self._path(prefix).strip('/')}/".lstrip("/")  # "" for the root of an archive
        paths = [path.strip("/") for path in await self._fs._ls(self._path(prefix), detail=False)]
        return {path.removeprefix(folder) for path in paths if path.startswith(folder) and path != folder}

    async def sizes_below(self, prefix: str) -> dict[str, int]:
        """Return all keys below a folder with their sizes."""
        folder = f"{prefix}/" if prefix else ""
        sizes: dict[str, int] = {}
        with suppress(FileNotFoundError), explained("list", prefix, self.address):
            sizes = await self._sizes_below(folder)
        return {key: size for key, size in sizes.items() if key.startswith(folder) and not key.endswith("/")}

    async def _sizes_below(self, prefix: str) -> dict[str, int]:
        infos = await self.infos_below(prefix)
        if infos is not None:
            return {
                key: int(description["size"])
                for key, description in infos.items()
                if description.get("size") is not None
            }
        inner: Any = getattr(self.store, "store", None)
        if type(inner).__module__.startswith("obstore"):
            metas = await inner.list(prefix=prefix).collect_async()
            return {meta["path"]: meta["size"] for meta in metas}
        keys = [key async for key in self.store.list_prefix(prefix)]
        return dict(zip(keys, await _for_each(self.store.getsize, keys), strict=True))

    def _path(self, key: str) -> str:
        """Return the path of a key in an fsspec file system."""
        root = str(self.store.path)  # type: ignore[attr-defined]
        return f"{root.rstrip('/')}/{key}".rstrip("/") if key and root else key or root

    def _forget_listings(self) -> None:
        """Drop the listings cached by an fsspec file system and those below it."""
        fs, depth = self._fs, 0
        while fs is not None and depth < 4:
            if getattr(getattr(fs, "dircache", None), "use_listings_cache", False):
                fs.dircache.clear()
            fs, depth = getattr(fs, "sync_fs", None) or getattr(fs, "fs", None), depth + 1

    # ---- writing --------------------------------------------------------------------------------

    async def set_many(self, values: dict[str, bytes]) -> None:
        """Write several keys at once."""
        await _for_each(lambda key: self.set(key, values[key]), [*values])

    async def set(self, key: str, data: bytes) -> None:
        """Set a key."""
        from zarr.core.buffer import default_buffer_prototype

        with explained("write", key, self.address):
            await self.store.set(key, default_buffer_prototype().buffer.from_bytes(data))

    async def create(self, key: str, data: bytes) -> None:
        """Write a key that could not be read; raise `StorageError` where it exists or the store cannot check that."""
        inner: Any = getattr(self.store, "store", None)
        try:
            if hasattr(self._fs, "_bulk_delete"):
                await self._fs._pipe_file(self._path(key), data, mode="create")
            elif type(inner).__module__.startswith("obstore"):
                await inner.put_async(key, data, mode="create")
            else:
                raise may_exist_error(key, self.address)
        except Exception as error:
            if is_lamella_error(error):
                raise
            if already_exists(error):
                raise may_exist_error(key, self.address) from error
            raise request_error("write", key, self.address, error) from error

    async def delete_keys(self, keys: Iterable[str]) -> None:
        """Delete exactly these keys, on S3 1000 per request."""
        ordered = sorted(keys)
        bulk = getattr(self._fs, "_bulk_delete", None)
        with explained("delete", ordered[0] if ordered else "", self.address):
            if bulk is None:
                await _for_each(self.store.delete, ordered)
                return
            for first in range(0, len(ordered), S3_DELETED_PER_REQUEST):
                await bulk([self._path(key) for key in ordered[first : first + S3_DELETED_PER_REQUEST]])

    async def delete_below(self, prefix: str) -> None:
        """Delete all below a folder."""
        self._forget_listings()
        with suppress(FileNotFoundError), explained("delete", prefix, self.address):
            await self.store.delete_dir(prefix)

    @property
    def lists_below(self) -> bool:
        """Whether one request lists 1000 keys at any depth: object stores of fsspec and obstore."""
        inner = type(getattr(self.store, "store", None)).__module__
        return hasattr(self._fs, "_bulk_delete") or (inner.startswith("obstore") and self.can_list)

    @property
    def has_folders(self) -> bool:
        """Whether deleted keys may leave empty folders: fsspec file systems other than object stores."""
        return self._fs is not None and not hasattr(self._fs, "_bulk_delete")


def _without_empty_folders(folder: str, names: set[str]) -> set[str]:
    """Leave out empty folders, which obstore leaves behind and lists."""
    paths = {name: os.path.join(folder, name) for name in names}
    return {
        name
        for name, path in paths.items()
        if not os.path.isdir(path) or any(files for _, _, files in os.walk(path))
    }


def _asks_size_first(store: Store) -> bool:
    """Whether s3fs reads the keys: it requests the size first, to split large keys, which documents do not need."""
    from zarr.storage import FsspecStore

    if not isinstance(store, FsspecStore) or type(store).get is not FsspecStore.get:
        return False
    read = getattr(store.fs, "_cat_file", None)
    return read is not None and "max_concurrency" in signature(read).parameters


def is_cached(store: object) -> bool:
    """Whether a store reads through a cache of fsspec, which misses writes, and cannot read ranges from the end."""
    fs = getattr(store, "fs", None)
    kinds = type(getattr(fs, "sync_fs", fs)).__mro__
    return "CachingFileSystem" in [kind.__name__ for kind in kinds]


async def _for_each(
    send: Callable[[K], Awaitable[T]], items: Sequence[K], *, cancels: bool = False
) -> list[T]:
    """Send a request for each item, `MAX_REQUESTS` at a time; after an error, none further, and end the others."""
    waiting = deque(range(len(items)))
    results: list[Any] = [None] * len(items)

    async def send_waiting() -> None:
        try:
            while waiting:
                number = waiting.popleft()
                results[number] = await send(items[number])
        except BaseException:
            waiting.clear()
            raise

    workers = [asyncio.ensure_future(send_waiting()) for _ in range(min(MAX_REQUESTS, len(items)))]
    try:
        await asyncio.gather(*workers)
    except BaseException:
        if cancels:
            for worker in workers:
                worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        raise
    return results
