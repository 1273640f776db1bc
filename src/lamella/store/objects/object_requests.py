"""Send requests to an object store as coroutines, many at a time: list, put, copy and delete; `ObjectReads` gets."""

from __future__ import annotations

import asyncio
import os
import posixpath
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from lamella.errors import warn
from lamella.store.keys import PRIVATE_PREFIX, ancestors
from lamella.store.objects.object_client import retry_waits
from lamella.store.objects.object_reads import GetResult, ObjectReads, await_all, is_missing_key
from lamella.store.objects.range_plan import Span
from lamella.store.objects.service_errors import (
    already_exists,
    is_conflict,
    is_denied,
    is_temporary,
    is_unsupported,
    lacks_header_error,
    may_exist_error,
)
from lamella.store.storage import ChangedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Collection, Iterable

    from lamella.store.storage import Stamp

T = TypeVar("T")

_WRITE_ID_KEY = "lamellaid"
"""Metadata key of conditionally written objects: a random text, by which a write recognises its own object."""
_LARGEST_COPY = 5 << 30
"""Limit of S3 for copying with one request, in bytes."""
_MULTIPART_BYTES = 64 << 20
"""Size from which an object is written in parts, in bytes."""
_MAX_PARTS = 9000
"""Limit of parts of an object; S3 allows 10,000."""
S3_DELETED_PER_REQUEST = 1000
"""Limit of S3 for deleting with one request."""
DELETED_PER_REQUEST = {"s3": S3_DELETED_PER_REQUEST, "az": 256}
"""Limits of the services that delete several keys with one request."""

_supports_conditions: dict[tuple[str, str, str], bool] = {}
"""Whether a bucket supports conditional writes, by `ObjectClient.bucket`; tested once per process."""


class ObjectRequests(ObjectReads):
    """An obstore store, for use inside an event loop."""

    # ---- listing --------------------------------------------------------------------------------

    async def names_in(self, folder: str) -> set[str]:
        """Return the names directly below a folder."""
        return set(await self.members_of(folder))

    async def members_of(self, folder: str) -> dict[str, bool]:
        """Return the names directly below a folder: True for an object, False for a folder."""
        store = self.client.store
        listing = await self._await_listing(folder, store.list_with_delimiter_async(prefix=folder or None))
        if listing is None:
            return {}
        paths = dict.fromkeys(listing["common_prefixes"], False)
        # The object of the folder itself, ``A/1/``, which other programs create, is listed as ``A/1``.
        paths |= {meta["path"]: True for meta in listing["objects"] if meta["path"] != folder}
        names = {path.strip("/").rpartition("/")[2]: is_object for path, is_object in paths.items()}
        return {name: is_object for name, is_object in names.items() if name}

    async def existing_paths(self, paths: Collection[str]) -> set[str]:
        """Return which of the keys and folders exist."""
        parent = posixpath.commonpath(map(posixpath.dirname, paths)) if paths else ""
        return await self._existing_paths(set(paths), parent)

    async def _existing_paths(self, paths: set[str], folder: str) -> set[str]:
        if not paths:
            return set()
        prefix = f"{folder}/" if folder else ""
        listed = {prefix + name for name in await self.names_in(folder)}
        paths_by_child: dict[str, set[str]] = {}
        for path in paths - listed:
            paths_by_child.setdefault(prefix + path.removeprefix(prefix).partition("/")[0], set()).add(path)
        existing_below = await await_all(
            self._existing_paths(paths_below, child)
            for child, paths_below in paths_by_child.items()
            if child in listed
        )
        return (paths & listed).union(*existing_below)

    async def readable_keys(self, paths: Iterable[str]) -> set[str]:
        """Return which of the keys can be read: the service returns their sizes."""
        requested = list(paths)
        return {
            path
            for path, head in zip(requested, await await_all(map(self.head, requested)), strict=True)
            if head
        }

    async def entries_below(self, folder: str) -> dict[str, tuple[int, Stamp | None]]:
        """Return all keys below a folder with their sizes and stamps, 1000 per request.

        Empty objects that other programs create for folders, such as ``A/1/``, are listed as ``A/1``, and left out.
        """
        metas = await self._await_listing(
            folder, self.client.store.list(prefix=folder or None).collect_async()
        )
        prefix = f"{folder}/" if folder else ""
        entries = {
            meta["path"]: (int(meta["size"]), self.stamp_of(meta))
            for meta in metas or ()
            if meta["path"].startswith(prefix) and meta["path"] != prefix
        }
        empty = [key for key, (size, _) in entries.items() if not size]
        if empty:
            folders = {above for key in entries for above in ancestors(key)}
            keys = await self.readable_keys(key for key in empty if key not in folders)
            for key in set(empty) - keys:
                del entries[key]
        return entries

    async def _await_listing(self, folder: str, listing: Awaitable[T]) -> T | None:
        """Await the list of a folder; None where there is no bucket."""
        try:
            return await listing
        except Exception as error:
            if is_missing_key(error) and self._denials.readable is None:
                return None
            raise self._failed("list", folder, error) from error

    # ---- writing --------------------------------------------------------------------------------

    async def put(self, key: str, data: bytes) -> Stamp | None:
        """Write a key; return its stamp, if the service returns one."""
        with self._explained("write", key):
            async with self._slots():
                result = await self.client.store.put_async(
                    key, data, use_multipart=len(data) > _MULTIPART_BYTES, chunk_size=_MULTIPART_BYTES // 4
                )
        return self._stamp_of_write(result)

    async def put_many(self, values: dict[str, bytes]) -> list[Stamp | None]:
        """Write several keys at once; return their stamps."""
        return await await_all(self.put(key, data) for key, data in values.items())

    async def put_if(self, key: str, data: bytes, expected: Stamp | None) -> Stamp | None:
        """Write a key if its stamp is the expected one, or, for None, if the key is missing; else raise `ChangedError`.

        If an answer is lost, the write may have succeeded. So the request is repeated; if the repetition is refused,
        the id of the stored object shows whether the first attempt wrote it.
        """
        if not await self.supports_conditions():
            head = await self.head(key)
            if (head and head.stamp) != expected:
                raise ChangedError(key)
            return await self.put(key, data)
        if expected is not None and not isinstance(
            expected[-1], str
        ):  # a service does not accept a time and a size as a condition
            raise lacks_header_error(f"Cannot write {self.address}/{key}", "ETag")
        write_id, has_lost_answer = secrets.token_hex(16), False
        for repetitions, wait in zip(range(self.client.retries, -1, -1), retry_waits(), strict=False):
            try:
                return await self._put_once(key, data, expected, write_id)
            except Exception as error:
                failure = error
            if already_exists(failure) and not is_conflict(failure):
                own_object = await self._find_own(key, write_id) if has_lost_answer else None
                if own_object is None:
                    raise ChangedError(key) from failure
                return own_object.stamp
            if not is_temporary(failure):
                raise self._failed("write", key, failure) from failure
            has_lost_answer = has_lost_answer or not is_conflict(failure)
            await asyncio.sleep(wait if repetitions else 0)
        own_object = await self._find_own(key, write_id)
        if own_object is None:
            raise self._failed("write", key, failure) from failure
        return own_object.stamp

    async def put_file(self, key: str, path: str, *, replaces: bool) -> Stamp | None:
        """Write a local file; unless it ``replaces`` the key, raise `ChangedError` where the key exists.

        A large file is sent in parts, and services complete such an upload without a condition. So the key is looked up
        after the last part was read, and the upload is cancelled if it exists.
        """
        size = os.path.getsize(path)
        if size <= _MULTIPART_BYTES:
            with open(path, "rb") as file:
                data = file.read()
            return await (self.put(key, data) if replaces else self.put_if(key, data, None))
        part_size = max(_MULTIPART_BYTES // 4, -(-size // _MAX_PARTS))
        exists = False

        async def parts() -> AsyncIterator[bytes]:
            nonlocal exists
            with open(path, "rb") as file:
                while part := file.read(part_size):
                    yield part
            if not replaces and await self.head(key) is not None:
                exists = True
                raise ChangedError(key)

        try:
            result = await self.client.store.put_async(
                key, parts(), use_multipart=True, chunk_size=part_size, max_concurrency=4
            )
        except Exception as error:
            if exists:
                raise ChangedError(key) from error
            raise self._failed("write", key, error) from error
        return self._stamp_of_write(result)

    async def put_many_if(self, items: Iterable[tuple[str, bytes, Stamp | None]]) -> dict[str, Stamp | None]:
        """Write several keys as `put_if` does; return the stamps of the written keys, and leave out changed keys."""
        written: dict[str, Stamp | None] = {}

        async def put(key: str, data: bytes, expected: Stamp | None) -> None:
            with suppress(ChangedError):
                written[key] = await self.put_if(key, data, expected)

        await self.supports_conditions()
        await await_all(put(*item) for item in items)
        return written

    async def _put_once(self, key: str, data: bytes, expected: Stamp | None, write_id: str) -> Stamp | None:
        mode: Any = "create"
        if expected is not None:
            mode = dict(zip(("e_tag", "version"), expected, strict=False))
        async with self._slots():
            result = await self.client.store_without_retries.put_async(
                key, data, mode=mode, attributes={_WRITE_ID_KEY: write_id}, use_multipart=False
            )
        return self._stamp_of_write(result)

    async def _find_own(self, key: str, write_id: str) -> GetResult | None:
        """Return the stored object if it has the id of a write whose answer was lost."""
        head = await self.head(key)
        return head if head is not None and head.attributes.get(_WRITE_ID_KEY) == write_id else None

    async def supports_conditions(self) -> bool:
        """Whether the service supports conditional writes; tested once per bucket, for unknown services."""
        if self.client.supports_conditions:
            return True
        supported = _supports_conditions.get(self.client.bucket)
        if supported is None:
            supported = await self._test_conditions()
        return supported

    async def _test_conditions(self) -> bool:
        key = f"{PRIVATE_PREFIX}conditions-{secrets.token_hex(8)}"
        try:
            await self.client.store_without_retries.put_async(
                key, b"", mode={"e_tag": '"0"'}, use_multipart=False
            )
        except Exception as error:
            if already_exists(error) and not is_conflict(error):
                _supports_conditions[self.client.bucket] = True
                return True
            if is_denied(error):  # writing is forbidden, and any write will raise the same
                return True
            if not is_unsupported(error):
                raise self._failed("write", key, error) from error
        else:
            await self.delete([key])
        _supports_conditions[self.client.bucket] = False
        warn(
            f"The service of {self.address} does not honour conditions of writes (If-Match): two programs that change "
            "this store at once can lose changes of each other. Let only one writer change it at a time."
        )
        return False

    async def copy(self, sizes: dict[str, int], targets: dict[str, str]) -> None:
        """Copy each key of `sizes` to `targets[key]`; objects beyond the service's limit are read and written."""
        await await_all(self._copy_one(key, targets[key], size) for key, size in sizes.items())

    async def _copy_one(self, key: str, target: str, size: int) -> None:
        async with self._slots():
            with self._explained("copy", key):
                if size <= _LARGEST_COPY:
                    await self.client.store.copy_async(key, target)
                else:
                    source = await self.client.store.get_async(key)
                    await self.client.store.put_async(target, source.stream(), chunk_size=_MULTIPART_BYTES)

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete exactly these keys, on S3 1000 per request, on Azure 256."""
        ordered = sorted(keys)
        keys_per_request = DELETED_PER_REQUEST.get(self.client.access.kind, 1)
        with self._explained("delete", ordered[0] if ordered else ""):
            if keys_per_request == 1:
                await await_all(map(self._delete_one, ordered))
                return
            for first in range(0, len(ordered), keys_per_request):
                batch = ordered[first : first + keys_per_request]
                try:
                    await self.client.store.delete_async(batch)
                except FileNotFoundError:  # Azure names the first missing key, which hides other errors
                    await await_all(map(self._delete_one, batch))

    async def _delete_one(self, key: str) -> None:
        with suppress(FileNotFoundError):
            async with self._slots():
                await self.client.store.delete_async(key)

    # ---- for zarr-python's engine -----------------------------------------------------------------

    async def get(self, key: str, byte_range: Any = None, prototype: Any = None) -> Any:
        from zarr.core.buffer import default_buffer_prototype

        result = await self.fetch(key, _span_of(byte_range))
        buffer = (prototype or default_buffer_prototype()).buffer
        return None if result is None else buffer.from_bytes(result.data)

    async def set(self, key: str, data: bytes) -> None:
        await self.put(key, data)

    async def create(self, key: str, data: bytes) -> None:
        try:
            await self.put_if(key, data, None)
        except ChangedError as error:
            raise may_exist_error(key, self.address) from error


def _span_of(byte_range: Any) -> Span | None:
    if byte_range is None:
        return None
    if hasattr(byte_range, "suffix"):
        return Span(-int(byte_range.suffix), 0)
    if hasattr(byte_range, "offset"):
        return Span(int(byte_range.offset), 1 << 62)
    return Span(int(byte_range.start), int(byte_range.end))
