"""The requests to an object store, as coroutines: get, put, list, copy and delete, many at once.

- That a key is not there is None; any other failure is an error of lamella (`service_errors`).
- 403 for a key that is not there, as services answer those who may not list, is learned once per store (`denials`).
- Contents are told apart by their ETags; a web server without them has the time and size.
- A page of HTML from a web server is no document and no chunk, although it comes with status 200.

Imports obstore inside functions.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from lamella.store.denials import Denials
from lamella.store.formats import DOCUMENTS
from lamella.store.keys import PRIVATE_PREFIX
from lamella.store.object_client import FIRST_WAIT, LONGEST_WAIT, PATIENCE
from lamella.store.range_plan import Span, cut, spans_of
from lamella.store.service_errors import (
    ABSENT,
    explained,
    is_absent,
    is_denied,
    is_forbidden,
    is_ours,
    is_passing,
    is_there,
    is_unmet_range,
    is_unsupported,
    is_whole_for_a_part,
    may_be_there,
    ranges_ignored,
    status_of,
)
from lamella.store.storage import ChangedError, RangeRequest, RangesRead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from lamella.errors import StorageError
    from lamella.store.object_client import ObjectClient
    from lamella.store.storage import Stamp

T = TypeVar("T")

AT_ONCE = 128
"""Requests at a time."""

_ID = "lamella-id"
"""Metadata of an object that was written under a condition: a random text by which its writer knows it again."""
_CONFLICT = 409
_PAGES = ("text/html", "application/xhtml+xml")
_LARGEST_COPY = 5 << 30
"""Bytes that S3 copies with one request."""
_MULTIPART = 64 << 20
"""Bytes from which on an object is written in parts."""
_BULK = 1000
"""Keys that S3 deletes with one request."""

_honours: dict[tuple[str, str, str], bool] = {}
"""Whether the service of a bucket honours conditions of writes, by `ObjectClient.bucket`; learned once per process."""


class Got(NamedTuple):
    """What came for a key: bytes of it, what tells its content from others, its whole size, and its metadata."""

    data: memoryview
    stamp: Stamp | None
    size: int
    attributes: dict[str, str]


class ObjectRequests:
    """A store of obstore, asked from within an event loop.

    Parameters
    ----------
    client
        The connection.
    when_unlisted
        Called when it turns out that the credentials may not list.
    """

    def __init__(self, client: ObjectClient, when_unlisted: Callable[[], object]) -> None:
        self.client = client
        self.address = client.address
        self._denials = Denials(client.address, self._get_raw, when_unlisted)
        self._slots = asyncio.Semaphore(AT_ONCE)

    @property
    def denied_is_absent(self) -> bool | None:
        """Whether 403 means that a key is not there; None until it came."""
        return self._denials.mean_absent

    def _failed(self, verb: str, key: str, error: Exception) -> StorageError:
        return explained(
            verb, key, self.address, error, origin=self.client.access.origin, tried=self.client.tried
        )

    # ---- reading --------------------------------------------------------------------------------

    async def _ask(self, key: str, **options: Any) -> Got:
        """Send one GET."""
        async with self._slots:
            answer = await self.client.store.get_async(key, options=options or None)
            data = b"" if options.get("head") else await answer.bytes_async()
        meta = answer.meta
        found = Got(memoryview(data), self.stamp_of(meta), int(meta["size"]), dict(answer.attributes))
        if self._is_page(found) and bytes(found.data[:64]).lstrip()[:1] == b"<":
            raise FileNotFoundError(key)
        return found

    def _is_page(self, found: Got) -> bool:
        """Whether a page of HTML came, as web servers answer for folders and for what they do not have."""
        kind = str(found.attributes.get("Content-Type", "")).partition(";")[0].strip()
        return self.client.access.kind == "http" and kind in _PAGES

    async def _get_raw(self, key: str) -> Got:
        return await self._ask(key)

    def stamp_of(self, meta: Any) -> Stamp | None:
        """Return what tells a content from others, of what a service says of an object."""
        tag, version = meta.get("e_tag"), meta.get("version")
        if tag is None:
            modified = meta["last_modified"].timestamp()
            return (f"time {modified:.0f}", int(meta["size"])) if modified > 0 else None
        return self._stamp(tag, version)

    def _stamp(self, tag: str, version: object) -> Stamp:
        # Google's conditions of writes are generations.
        return (tag, str(version)) if version and self.client.access.kind == "gs" else (tag,)

    def _stamp_of_write(self, result: Any) -> Stamp | None:
        tag = result.get("e_tag")
        return None if tag is None else self._stamp(tag, result.get("version"))

    async def fetch_changed(self, key: str, known: Stamp) -> tuple[Got | None] | None:
        """Get a key whose content is not the one with a stamp any more; None where it is."""
        if not _is_tag(known):
            return (await self.fetch(key),)
        try:
            found = await self._ask(key, if_none_match=known[0])
        except Exception as error:
            if type(error).__name__ == "NotModifiedError":
                return None
            return (await self._unfetched(key, None, None, error),)
        return (found,)

    async def fetch(self, key: str, span: Span | None = None, stamp: Stamp | None = None) -> Got | None:
        """Get a key or a part of it; None where it is not there.

        Raises
        ------
        ChangedError
            Its content is not the one with the stamp.
        StorageError
            It could not be asked for, or not all of it came.
        """
        options: dict[str, Any] = {}
        if span is not None:
            options["range"] = {"suffix": -span.start} if span.is_suffix else (span.start, span.end)
        if stamp is not None and _is_tag(stamp):
            options["if_match"] = stamp[0]
        try:
            found = await self._ask(key, **options)
        except Exception as error:
            return await self._unfetched(key, span, stamp, error)
        if stamp is not None and found.stamp != stamp:
            raise ChangedError(key)
        if key.rpartition("/")[2] in DOCUMENTS:
            self._denials.readable = key
        return found

    async def _unfetched(
        self, key: str, span: Span | None, stamp: Stamp | None, error: Exception
    ) -> Got | None:
        if is_ours(error):
            raise error
        if _is_absent(error):
            return None
        if is_forbidden(error) and await self._denials.learn():
            return None
        if stamp is not None and is_there(error) and status_of(error) != _CONFLICT:
            raise ChangedError(key) from error
        if span is None:
            raise self._failed("read", key, error) from error
        if is_unmet_range(error):  # past the end, or of a key without bytes
            head = await self.head(key)
            if head is None or (stamp is not None and head.stamp != stamp):
                raise ChangedError(key) from error
            return head
        if is_unsupported(error) and span.is_suffix and not is_whole_for_a_part(error):  # Azure
            head = await self.head(key)
            return head and await self.fetch(key, Span(max(0, head.size + span.start), head.size), stamp)
        if is_whole_for_a_part(error):
            whole = await self._whole_for_a_part(key, span)
            if whole is None or stamp is None or whole.stamp == stamp:
                return whole
            raise ChangedError(key) from error
        raise self._failed("read", key, error) from error

    async def _whole_for_a_part(self, key: str, span: Span) -> Got | None:
        """Get a part that is the whole, from a server that ignores the Range header."""
        head = await self.head(key)
        if head is None:
            return None
        if -span.start < head.size if span.is_suffix else span.start > 0 or span.end < head.size:
            raise ranges_ignored(f"{self.address}/{key}")
        return await self.fetch(key)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Got | None]:
        """Get several keys at once."""
        asked = list(dict.fromkeys(keys))
        return dict(zip(asked, await all_of(map(self.fetch, asked)), strict=True))

    async def get_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        """Get ranges of several keys, near ones of a key with one request."""
        return await all_of(self._ranges_of(request) for request in requests)

    async def _ranges_of(self, request: RangeRequest) -> RangesRead | None:
        spans = spans_of(request.ranges)
        if not spans:
            return await self._unread(request)
        parts = await all_of(self.fetch(request.key, span, request.stamp) for span in spans)
        came = [part for part in parts if part is not None]
        if not came:
            return None
        stamps = {part.stamp for part in came}
        if len(came) < len(parts) or len(stamps) > 1:
            raise ChangedError(request.key)
        by_span = {span: part.data for span, part in zip(spans, came, strict=True)}
        return RangesRead(cut(request.ranges, by_span), stamps.pop())

    async def _unread(self, request: RangeRequest) -> RangesRead | None:
        """Find out whether a key is there, and still is what was read of it, without bytes of it."""
        key, stamp = request.key, request.stamp
        nothing = [b""] * len(request.ranges)
        if stamp is None or not _is_tag(stamp):
            head = await self.head(key)
            if head is not None and stamp is not None and head.stamp != stamp:
                raise ChangedError(key)
            return None if head is None else RangesRead(nothing, head.stamp)
        try:
            async with self._slots:
                answer = await self.client.store.get_async(key, options={"if_none_match": stamp[0]})
        except Exception as error:
            if type(error).__name__ == "NotModifiedError":
                return RangesRead(nothing, stamp)
            if await self._unfetched(key, None, None, error) is None:
                return None
            raise
        if self.stamp_of(answer.meta) == stamp:  # a service that does not know If-None-Match
            return RangesRead(nothing, stamp)
        raise ChangedError(key)

    async def head(self, key: str) -> Got | None:
        """Ask for the size and stamp of a key; None where it is not there."""
        try:
            found: Got | None = await self._ask(key, head=True)
            if found is not None and not self._is_page(found):
                return found
        except Exception as error:
            if is_ours(error):
                raise
            if _is_absent(error):
                return None
            # Some may read and not look; some web servers do not understand HEAD, or leave out the size.
            is_odd = self.client.access.kind == "http" and not is_passing(error)
            if not is_denied(error) and not is_odd:
                raise self._failed("look at", key, error) from error
        found = await self.fetch(key)
        return None if found is None else found._replace(data=memoryview(b""))

    # ---- listing --------------------------------------------------------------------------------

    async def names_in(self, folder: str) -> set[str]:
        """Return the names directly below a folder."""
        try:
            found = await self.client.store.list_with_delimiter_async(prefix=folder or None)
        except Exception as error:
            if _is_absent(error):
                return set()
            raise self._failed("list", folder, error) from error
        paths = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        return {name for name in (path.strip("/").rpartition("/")[2] for path in paths) if name}

    async def entries_below(self, folder: str) -> dict[str, tuple[int, Stamp | None]]:
        """Return all keys below a folder with their sizes and stamps, a thousand with one request."""
        try:
            metas = await self.client.store.list(prefix=folder or None).collect_async()
        except Exception as error:
            if _is_absent(error):
                return {}
            raise self._failed("list", folder, error) from error
        inside = f"{folder}/" if folder else ""
        return {
            meta["path"]: (int(meta["size"]), self.stamp_of(meta))
            for meta in metas
            if meta["path"].startswith(inside) and meta["path"] != inside
        }

    # ---- writing --------------------------------------------------------------------------------

    async def put(self, key: str, data: bytes) -> Stamp | None:
        """Write a key; return the stamp of what was written, as far as the service says it."""
        try:
            async with self._slots:
                result = await self.client.store.put_async(
                    key, data, use_multipart=len(data) > _MULTIPART, chunk_size=_MULTIPART // 4
                )
        except Exception as error:
            raise self._failed("write", key, error) from error
        return self._stamp_of_write(result)

    async def put_many(self, values: dict[str, bytes]) -> None:
        """Write several keys at once."""
        await all_of(self.put(key, data) for key, data in values.items())

    async def put_if(self, key: str, data: bytes, expected: Stamp | None) -> Stamp | None:
        """Write a key only where its content has a stamp, or with None only where it is not there.

        An answer that is lost is not known to be a failure: the same request is sent again, and where that is refused,
        what is stored is read, which is ours where it has the id that this call gave it.

        Raises
        ------
        ChangedError
            It has another content; nothing was written.
        """
        if not await self.honours_conditions():
            head = await self.head(key)
            if (head and head.stamp) != expected:
                raise ChangedError(key)
            return await self.put(key, data)
        own, is_lost = secrets.token_hex(16), False
        began = asyncio.get_running_loop().time()
        for attempt in range(self.client.retries + 1):
            try:
                return await self._put_once(key, data, expected, own)
            except Exception as error:
                failure = error
            if is_there(failure) and status_of(failure) != _CONFLICT:
                stored = await self._written(key, own) if is_lost else None
                if stored is None:
                    raise ChangedError(key) from failure
                return stored.stamp
            if not is_passing(failure):
                raise self._failed("write", key, failure) from failure
            is_lost = is_lost or status_of(failure) != _CONFLICT
            if asyncio.get_running_loop().time() - began > PATIENCE:
                break
            if attempt < self.client.retries:
                await asyncio.sleep(random.uniform(0.5, 1) * min(LONGEST_WAIT, FIRST_WAIT * 2**attempt))
        stored = await self._written(key, own)
        if stored is None:
            raise self._failed("write", key, failure) from failure
        return stored.stamp

    async def put_many_if(self, items: Iterable[tuple[str, bytes, Stamp | None]]) -> list[str]:
        """Write several keys at once, each as `put_if` does; return those that have another content, which stay."""
        changed: list[str] = []

        async def put(key: str, data: bytes, expected: Stamp | None) -> None:
            try:
                await self.put_if(key, data, expected)
            except ChangedError:
                changed.append(key)

        await self.honours_conditions()
        await all_of(put(*item) for item in items)
        return changed

    async def _put_once(self, key: str, data: bytes, expected: Stamp | None, own: str) -> Stamp | None:
        mode: Any = "create"
        if expected is not None:
            mode = dict(zip(("e_tag", "version"), expected, strict=False))
        async with self._slots:
            result = await self.client.once.put_async(
                key, data, mode=mode, attributes={_ID: own}, use_multipart=False
            )
        return self._stamp_of_write(result)

    async def _written(self, key: str, own: str) -> Got | None:
        """Return what is stored where it is what a call wrote whose answer was lost."""
        stored = await self.head(key)
        return stored if stored is not None and stored.attributes.get(_ID) == own else None

    async def honours_conditions(self) -> bool:
        """Whether the service honours conditions of writes; asked once per bucket, of services that are not known."""
        if self.client.is_known:
            return True
        found = _honours.get(self.client.bucket)
        if found is None:
            found = await self._ask_for_conditions()
        return found

    async def _ask_for_conditions(self) -> bool:
        key = f"{PRIVATE_PREFIX}conditions-{secrets.token_hex(8)}"
        try:
            await self.client.once.put_async(key, b"", mode={"e_tag": '"0"'}, use_multipart=False)
        except Exception as error:
            if is_there(error) and status_of(error) != _CONFLICT:
                _honours[self.client.bucket] = True
                return True
            if is_denied(error):  # nothing may be written there: who tries meets the same
                return True
            if not is_unsupported(error):
                raise self._failed("write", key, error) from error
        else:
            await self.delete([key])
        _honours[self.client.bucket] = False
        warnings.warn(
            f"The service of {self.address} does not honour conditions of writes (If-Match): two programs that change "
            "this store at once can lose changes of each other. Let only one writer change it at a time.",
            UserWarning,
            stacklevel=2,
        )
        return False

    async def copy(self, sizes: dict[str, int], target: dict[str, str]) -> None:
        """Copy keys within the store, without reading them; what is larger than a service copies at once is read."""
        await all_of(self._copy_one(key, target[key], size) for key, size in sizes.items())

    async def _copy_one(self, key: str, new: str, size: int) -> None:
        try:
            async with self._slots:
                if size <= _LARGEST_COPY:
                    await self.client.store.copy_async(key, new)
                else:
                    whole = await self.client.store.get_async(key)
                    await self.client.store.put_async(new, whole.stream(), chunk_size=_MULTIPART)
        except Exception as error:
            raise self._failed("copy", key, error) from error

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete keys, and nothing but them; S3 answers a thousand with one request."""
        ordered = sorted(keys)
        try:
            if self.client.access.kind == "s3":
                for first in range(0, len(ordered), _BULK):
                    await self.client.store.delete_async(ordered[first : first + _BULK])
            else:
                await all_of(map(self._delete_one, ordered))
        except Exception as error:
            if is_ours(error):
                raise
            raise self._failed("delete", ordered[0] if ordered else "", error) from error

    async def _delete_one(self, key: str) -> None:
        try:
            async with self._slots:
                await self.client.store.delete_async(key)
        except FileNotFoundError:
            pass

    # ---- as zarr-python's engine asks -------------------------------------------------------------

    async def get(self, key: str, byte_range: Any = None, prototype: Any = None) -> Any:
        """Get a key or a part of it as a buffer of zarr-python; None where it is not there."""
        from zarr.core.buffer import default_buffer_prototype

        found = await self.fetch(key, _span_of(byte_range))
        buffer = (prototype or default_buffer_prototype()).buffer
        return None if found is None else buffer.from_bytes(found.data)

    async def set(self, key: str, data: bytes) -> None:
        """Write a key."""
        await self.put(key, data)

    async def create(self, key: str, data: bytes) -> None:
        """Write a key that could not be read, only where it is not there.

        Raises
        ------
        StorageError
            It is there.
        """
        try:
            await self.put_if(key, data, None)
        except ChangedError as error:
            raise may_be_there(key, self.address) from error


def _is_tag(stamp: Stamp) -> bool:
    """Whether a stamp is a strong ETag: weak ones never match, and times are none."""
    return str(stamp[0]).startswith('"')


def _span_of(byte_range: Any) -> Span | None:
    """Return the bytes that a request of zarr-python is for."""
    if byte_range is None:
        return None
    if hasattr(byte_range, "suffix"):
        return Span(-int(byte_range.suffix), 0)
    if hasattr(byte_range, "offset"):
        return Span(int(byte_range.offset), 1 << 62)
    return Span(int(byte_range.start), int(byte_range.end))


def _is_absent(error: Exception) -> bool:
    return is_absent(error) or status_of(error) in ABSENT


async def all_of(work: Iterable[Awaitable[T]]) -> list[T]:
    """Await all; where one fails, the others are awaited before it is raised."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException):
            raise one
    return done  # type: ignore[return-value]
