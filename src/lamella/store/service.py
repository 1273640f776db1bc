"""The requests to a store of zarr-python, as coroutines in its event loop: what every kind of store does differently.

- Failures are errors of lamella (`service_errors`); that a key is not there is None.
- 403 for a key that is not there, as services answer those who may not list, is learned once per store.
- Listings that fsspec remembers are never used: other writers change them.
- Keys that a store cannot hold are not asked for (icechunk).
"""

from __future__ import annotations

import asyncio
import re
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from lamella.errors import StorageError
from lamella.store.denials import Denials
from lamella.store.formats import DOCUMENTS
from lamella.store.range_plan import cut, spans_of
from lamella.store.service_errors import (
    explained,
    is_absent,
    is_denied,
    is_forbidden,
    is_ours,
    is_there,
    may_be_there,
    ranges_ignored,
)
from lamella.store.storage import RangesRead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Iterable, Sequence

    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer

    from lamella.store.storage import RangeRequest

T = TypeVar("T")

AT_ONCE = 64
"""Requests at a time: remote stores answer many in the time of one."""

_KEY_OF_ICECHUNK = re.compile(r"(?:.+/)?(?:zarr\.json|c(?:/\d+)*)", re.ASCII)

_BULK = 1000
"""Keys that S3 deletes with one request."""


class Service:
    """A store of zarr-python, asked from within its event loop.

    Parameters
    ----------
    store
        The store.
    address
        Its URL, for messages.
    """

    def __init__(self, store: Store, address: str) -> None:
        self.store = store
        self.address = address
        self._fs: Any = getattr(store, "fs", None) if hasattr(store, "path") else None
        self._is_icechunk = type(store).__module__.partition(".")[0] == "icechunk"
        self._denials = Denials(address, self._get_raw)
        self._looks_before_it_reads = _looks_before_it_reads(store)

    @property
    def denied_is_absent(self) -> bool | None:
        """Whether 403 means that a key is not there; None until it came."""
        return self._denials.mean_absent

    # ---- reading --------------------------------------------------------------------------------

    def can_hold(self, key: str) -> bool:
        """Whether a store can have a key at all: icechunk has documents of Zarr v3 and chunks, and no other files."""
        return not self._is_icechunk or _KEY_OF_ICECHUNK.fullmatch(key) is not None

    async def get(
        self, key: str, byte_range: ByteRequest | None = None, prototype: Any = None
    ) -> Buffer | None:
        """Get a key or a part of it; None where it is not there.

        Raises
        ------
        StorageError
            It could not be asked for, or not all of it came.
        """
        from zarr.core.buffer import default_buffer_prototype

        if not self.can_hold(key):
            return None
        try:
            prototype = prototype or default_buffer_prototype()
            found: Buffer | None
            if self._looks_before_it_reads and byte_range is None and _is_document(key):
                data = await self._fs._cat_file(self._path(key), max_concurrency=1)
                found = prototype.buffer.from_bytes(data)
            else:
                found = await self.store.get(key, prototype, byte_range)
        except Exception as error:
            if is_ours(error):
                raise
            if isinstance(error, IsADirectoryError) or is_absent(error):
                return None
            if is_forbidden(error) and await self._denials.learn():
                return None
            raise explained("read", key, self.address, error) from error
        if found is None:
            return None
        self._check_part(key, byte_range, len(found))
        if key.rpartition("/")[2] in DOCUMENTS:
            self._denials.readable = key
        return found

    def _check_part(self, key: str, byte_range: ByteRequest | None, length: int) -> None:
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest

        most: int | None = None
        if isinstance(byte_range, RangeByteRequest):
            most = byte_range.end - byte_range.start
        elif isinstance(byte_range, SuffixByteRequest):
            most = byte_range.suffix
        if most is not None and length > most:
            raise ranges_ignored(f"{self.address.rstrip('/')}/{key}")

    async def get_many(self, keys: list[str]) -> dict[str, Buffer | None]:
        """Get several keys at once."""
        return dict(zip(keys, await _at_once([self.get(key) for key in keys]), strict=True))

    async def get_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        """Get ranges of several keys at once."""
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest

        spans = [spans_of(request.ranges) for request in requests]
        came = iter(
            await _at_once(
                [
                    self.get(
                        request.key,
                        SuffixByteRequest(-span.start)
                        if span.is_suffix
                        else RangeByteRequest(span.start, span.end),
                    )
                    for request, of_key in zip(requests, spans, strict=True)
                    for span in of_key
                ]
            )
        )
        found: list[RangesRead | None] = []
        for request, of_key in zip(requests, spans, strict=True):
            parts = {span: part.as_numpy_array().data for span in of_key if (part := next(came)) is not None}
            found.append(
                None if len(parts) < len(of_key) else RangesRead(cut(request.ranges, parts), stamp=None)
            )
        return found

    async def _get_raw(self, key: str) -> Buffer | None:
        from zarr.core.buffer import default_buffer_prototype

        return await self.store.get(key, default_buffer_prototype())

    # ---- looking --------------------------------------------------------------------------------

    async def size(self, key: str) -> int | None:
        """Return the bytes of a key, None where there is no such key."""
        if not self.can_hold(key):
            return None
        if key.rpartition("/")[2] in DOCUMENTS:  # one request; a look at it is one too, and for s3fs a list
            found = await self.get(key)
            return None if found is None else len(found)
        try:
            size = await self._looked_up_size(key)
        except Exception as error:
            if is_ours(error):
                raise
            if is_absent(error):
                return None
            if not is_denied(error):
                raise explained("look at", key, self.address, error) from error
            size = None
            # Some may read and not look: s3fs also lists where a key is not there.
        else:
            if size is not None:
                return size
        found = await self.get(key)
        return None if found is None else len(found)

    async def _looked_up_size(self, key: str) -> int | None:
        """Return what the store says of the size; None where it does not say."""
        if self._fs is None:
            return int(await self.store.getsize(key))
        self._forget_listings()
        info = await self._fs._info(self._path(key))
        if info.get("type") == "directory":
            raise FileNotFoundError(key)
        size = info.get("size")
        return None if size is None else int(size)

    async def exists(self, prefix: str) -> bool:
        """Whether a key is there, or keys below it."""
        if prefix and await self.size(prefix) is not None:
            return True
        if prefix.rpartition("/")[2] in DOCUMENTS:  # no folder has such a name
            return False
        return self.store.supports_listing and bool(await self.list_dir(prefix))

    async def list_dir(self, prefix: str) -> set[str]:
        """Return the names directly below a folder."""
        self._forget_listings()
        try:
            return await self._listed(prefix)
        except Exception as error:
            if is_ours(error):
                raise
            if is_absent(error):
                return set()
            raise explained("list", prefix, self.address, error) from error

    async def _listed(self, prefix: str) -> set[str]:
        if self._fs is None:
            names = {name.rstrip("/") async for name in self.store.list_dir(prefix)}
            return {name for name in names if name}
        # fsspec lists a key as its own member; what zarr-python makes of its lists cuts names that repeat the folder's.
        folder = self._path(prefix).strip("/") + "/"
        paths = [path.strip("/") for path in await self._fs._ls(self._path(prefix), detail=False)]
        return {path.removeprefix(folder) for path in paths if path.startswith(folder) and path != folder}

    async def sizes_below(self, prefix: str) -> dict[str, int]:
        """Return all keys below a folder with their sizes."""
        self._forget_listings()
        folder = f"{prefix}/" if prefix else ""
        try:
            found = await self._sizes_below(folder)
        except Exception as error:
            if is_ours(error):
                raise
            if is_absent(error):
                return {}
            raise explained("list", prefix, self.address, error) from error
        return {key: size for key, size in found.items() if key.startswith(folder) and not key.endswith("/")}

    async def _sizes_below(self, prefix: str) -> dict[str, int]:
        if self._fs is not None:
            root = self._path("").strip("/") + "/"
            infos = await self._fs._find(self._path(prefix), detail=True, withdirs=False)
            return {
                path.lstrip("/").removeprefix(root): int(info["size"])
                for path, info in infos.items()
                if info.get("type") != "directory" and info.get("size") is not None
            }
        inner: Any = getattr(self.store, "store", None)
        if type(inner).__module__.startswith("obstore"):
            metas = await inner.list(prefix=prefix).collect_async()
            return {meta["path"]: meta["size"] for meta in metas}
        if self._is_icechunk and await self.get(f"{prefix}zarr.json") is None:
            return {}  # it lists below groups and arrays only
        keys = [key async for key in self.store.list_prefix(prefix)]
        sizes = await _in_batches(self.store.getsize(key) for key in keys)
        return dict(zip(keys, sizes, strict=True))

    def _path(self, key: str) -> str:
        """Return the path of a key in an fsspec file system."""
        root = str(self.store.path)  # type: ignore[attr-defined]
        return f"{root.rstrip('/')}/{key}".rstrip("/") if key else root

    def _forget_listings(self) -> None:
        """Drop the listings that an fsspec file system, or one below it, remembers."""
        fs, depth = self._fs, 0
        while fs is not None and depth < 4:
            if getattr(getattr(fs, "dircache", None), "use_listings_cache", False):
                fs.dircache.clear()
            fs, depth = getattr(fs, "sync_fs", None) or getattr(fs, "fs", None), depth + 1

    # ---- writing --------------------------------------------------------------------------------

    async def set_many(self, values: dict[str, bytes]) -> None:
        """Set several keys at once."""
        if self._is_icechunk:  # groups before arrays, and these before their chunks
            first = [key for key in values if _is_document(key)]
            for key in sorted(first, key=lambda one: one.count("/")):
                await self.set(key, values[key])
            values = {key: data for key, data in values.items() if not _is_document(key)}
        await _in_batches(self.set(key, data) for key, data in values.items())

    async def set(self, key: str, data: bytes) -> None:
        """Set a key."""
        from zarr.core.buffer import default_buffer_prototype

        if not self.can_hold(key):
            raise StorageError(
                f"Cannot write {key!r} in {self.address}: icechunk holds only documents and chunks."
            )
        try:
            await self.store.set(key, default_buffer_prototype().buffer.from_bytes(data))
        except Exception as error:
            raise error if is_ours(error) else explained("write", key, self.address, error) from error

    async def create(self, key: str, data: bytes) -> None:
        """Set a key that could not be read, only where it is not there.

        Raises
        ------
        StorageError
            It is there, or the store cannot tell.
        """
        inner: Any = getattr(self.store, "store", None)
        try:
            if hasattr(self._fs, "_bulk_delete"):
                await self._fs._pipe_file(self._path(key), data, mode="create")
            elif type(inner).__module__.startswith("obstore"):
                await inner.put_async(key, data, mode="create")
            else:
                raise may_be_there(key, self.address)
        except Exception as error:
            if is_ours(error):
                raise
            if is_there(error):
                raise may_be_there(key, self.address) from error
            raise explained("write", key, self.address, error) from error

    async def delete_keys(self, keys: Iterable[str]) -> None:
        """Delete keys, and nothing but them; S3 answers a thousand with one request."""
        ordered = sorted(keys)
        bulk = getattr(self._fs, "_bulk_delete", None)
        try:
            if self._is_icechunk:  # chunks before the arrays that hold them, and these before the groups
                for key in sorted(ordered, key=lambda one: (_is_document(one), -one.count("/"))):
                    await self.store.delete(key)
                return
            if bulk is None:
                await _in_batches(self.store.delete(key) for key in ordered)
                return
            for first in range(0, len(ordered), _BULK):
                await bulk([self._path(key) for key in ordered[first : first + _BULK]])
        except Exception as error:
            raise explained("delete", ordered[0] if ordered else "", self.address, error) from error

    async def delete_below(self, prefix: str) -> None:
        """Delete all below a folder."""
        self._forget_listings()
        try:
            await self.store.delete_dir(prefix)
        except Exception as error:
            if not is_absent(error):
                raise explained("delete", prefix, self.address, error) from error

    @property
    def lists_below(self) -> bool:
        """Whether one request names a thousand keys at any depth: object stores of fsspec and obstore."""
        inner = type(getattr(self.store, "store", None)).__module__
        return hasattr(self._fs, "_bulk_delete") or inner.startswith("obstore")

    @property
    def has_folders(self) -> bool:
        """Whether empty folders may be left behind by keys that go: fsspec's file systems that are no object stores."""
        return self._fs is not None and not hasattr(self._fs, "_bulk_delete")


def _looks_before_it_reads(store: Store) -> bool:
    """Whether keys are read through s3fs, which asks for the size of each first, and lists where there is none.

    It does so to read large keys in parts; documents are small.
    """
    from zarr.storage import FsspecStore

    if not isinstance(store, FsspecStore) or type(store).get is not FsspecStore.get:
        return False
    read = getattr(store.fs, "_cat_file", None)
    return read is not None and "max_concurrency" in signature(read).parameters


def _is_document(key: str) -> bool:
    return key.rpartition("/")[2] in DOCUMENTS


async def _at_once(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await many, so many at a time; where one fails the others are given up."""
    if len(work) == 1:
        return [await work[0]]
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(part: Coroutine[Any, Any, T]) -> T:
        async with turns:
            return await part

    tasks = [asyncio.ensure_future(one(part)) for part in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for part in work:
            part.close()
        raise


async def _in_batches(work: Iterable[Awaitable[Any]]) -> list[Any]:
    """Await many, so many at a time; where one fails the others of its batch are awaited first."""
    results: list[Any] = []
    batch: list[Awaitable[Any]] = []

    async def finish() -> None:
        done = await asyncio.gather(*batch, return_exceptions=True)
        batch.clear()
        for one in done:
            if isinstance(one, BaseException):
                raise one
        results.extend(done)

    for one in work:
        batch.append(one)
        if len(batch) == AT_ONCE:
            await finish()
    await finish()
    return results
