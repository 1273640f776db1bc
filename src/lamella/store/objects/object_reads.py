"""Read keys of an object store: whole ones, parts of them, or only their sizes and stamps, many at a time.

A missing key is None, and so is an HTML page from a web server, although it has status 200; other failures are errors
of lamella (`service_errors`). A *stamp* is the ETag of an object, or from web servers without ETags its time and size.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from lamella.store.keys import is_document
from lamella.store.metadata.json_document import is_cut
from lamella.store.objects.block_cache import BlockCache
from lamella.store.objects.denials import Denials
from lamella.store.objects.event_loop import PerLoop
from lamella.store.objects.object_client import check_process
from lamella.store.objects.range_plan import Span, extract_ranges, spans_of
from lamella.store.objects.request_threads import RequestThreads, max_requests
from lamella.store.objects.service_errors import (
    ABSENT,
    already_exists,
    explained,
    is_absent,
    is_conflict,
    is_denied,
    is_forbidden,
    is_lamella_error,
    is_temporary,
    is_unmet_range,
    is_unsupported,
    is_whole_for_a_part,
    ranges_ignored_error,
    request_error,
    status_of,
)
from lamella.store.objects.web_answers import PAGES, is_without_length, read_plainly, uncompressed
from lamella.store.storage import ChangedError, RangeRequest, RangesRead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from lamella.errors import DamagedDataError, StorageError
    from lamella.store.objects.object_client import ObjectClient
    from lamella.store.storage import Stamp

T = TypeVar("T")
R = TypeVar("R")

MAX_REQUESTS = max_requests()
"""Limit of simultaneous requests."""


class GetResult(NamedTuple):
    """An answer: the bytes, the stamp, the size of the whole object, and its metadata."""

    data: memoryview
    stamp: Stamp | None
    size: int
    attributes: dict[str, str]


class _GetRequest(NamedTuple):
    """A request for a key or a part of it; with ``stamp``, of this version only."""

    key: str
    span: Span | None = None
    stamp: Stamp | None = None


class ObjectReads:
    """The reads of an obstore store, for use inside an event loop.

    `when_unlisted` is called when 403 turns out to mean "missing", and so the credentials may not list.
    """

    def __init__(self, client: ObjectClient, when_unlisted: Callable[[], object]) -> None:
        self.client = client
        self.address = client.address
        self._denials = Denials(client.address, self._get_one, when_unlisted)
        self._slots = PerLoop(lambda: asyncio.Semaphore(MAX_REQUESTS))
        self._threads = RequestThreads(MAX_REQUESTS)
        #: Whether a HEAD has succeeded: some credentials allow GET only.
        self._allows_head = False
        self._blocks: BlockCache | None = None
        if client.access.cache:
            self._blocks = BlockCache(client.access.cache, client.access.cache_size)
            self._blocks.create()

    @property
    def forbidden_means_missing(self) -> bool | None:
        """Whether 403 means "missing"; None until a 403."""
        return self._denials.mean_missing

    def _failed(self, verb: str, key: str, error: Exception) -> StorageError | DamagedDataError:
        return request_error(
            verb,
            key,
            self.address,
            error,
            origin=self.client.access.origin,
            retries_text=self.client.retries_text,
        )

    def _explained(self, verb: str, key: str) -> AbstractContextManager[None]:
        return explained(
            verb, key, self.address, origin=self.client.access.origin, retries_text=self.client.retries_text
        )

    def _get(self, key: str, **options: Any) -> GetResult:
        """Send one GET and wait for its answer, in a thread."""
        result = self._answer(key, options)
        if self._is_page(result) and bytes(result.data[:64]).lstrip()[:1] == b"<":
            raise FileNotFoundError(key)
        encoding = str(result.attributes.get("Content-Encoding", ""))
        if not encoding or options.get("head"):
            return result
        subject = f"{self.address}/{key}"
        data = uncompressed(bytes(result.data), encoding, subject, is_part="range" in options)
        return result._replace(data=memoryview(data))

    def _answer(self, key: str, options: dict[str, Any]) -> GetResult:
        try:
            answer = self.client.store.get(key, options=options or None)
            data = b"" if options.get("head") else answer.bytes()
        except Exception as error:
            if self.client.access.kind != "http" or not is_without_length(error):
                raise
            return self._answer_without_length(key, options.get("range"))
        meta = answer.meta
        return GetResult(memoryview(data), self.stamp_of(meta), int(meta["size"]), dict(answer.attributes))

    def _answer_without_length(self, key: str, byte_range: Any) -> GetResult:
        access = self.client.access
        try:
            answer = read_plainly(access.url, key, access.client_options, byte_range)
        except OSError as error:
            if is_lamella_error(error) or is_missing_key(error):
                raise
            raise request_error("read", key, self.address, error, origin=access.origin) from error
        tag = answer.headers.get("ETag")
        attributes = {name: value for name, value in answer.headers.items() if name.startswith("Content-")}
        return GetResult(memoryview(answer.data), (tag,) if tag else None, answer.size, attributes)

    def _is_page(self, result: GetResult) -> bool:
        """Whether a web server returned an HTML page, as for folders and missing files."""
        kind = str(result.attributes.get("Content-Type", "")).partition(";")[0].strip()
        return self.client.access.kind == "http" and kind in PAGES

    async def _get_one(self, key: str, **options: Any) -> GetResult:
        (outcome,) = await self._outcomes(lambda key: self._get(key, **options), [key])
        return _result(outcome)

    async def _outcomes(self, send: Callable[[T], R], items: Sequence[T]) -> list[R | BaseException]:
        """Send a request for each item in threads; return the result of each, or its error."""
        check_process(self.address)  # a forked process has no threads
        return await self._threads.outcomes(send, items)

    def stamp_of(self, meta: Any) -> Stamp | None:
        """Return the stamp of an object from its metadata."""
        tag, version = meta.get("e_tag"), meta.get("version")
        if tag is None:
            modified = meta["last_modified"].timestamp()
            return (f"time {modified:.0f}", int(meta["size"])) if modified > 0 else None
        if self.client.access.kind == "az" and not tag.startswith('"'):  # in lists of Azure
            tag = f'"{tag}"'
        return self._stamp(tag, version)

    def _stamp(self, tag: str, version: object) -> Stamp:
        # Google's conditional writes compare generations, not ETags.
        return (tag, str(version)) if version and self.client.access.kind == "gs" else (tag,)

    def _stamp_of_write(self, result: Any) -> Stamp | None:
        tag = result.get("e_tag")
        return None if tag is None else self._stamp(tag, result.get("version"))

    async def fetch_changed(self, key: str, last: Stamp) -> tuple[GetResult | None] | None:
        """Get a key, in a tuple, whose stamp differs from the last one; None where it is unchanged."""
        if not _is_tag(last):
            return (await self.fetch(key),)
        try:
            result = await self._get_one(key, if_none_match=last[0])
        except Exception as error:
            if type(error).__name__ == "NotModifiedError":
                return None
            return (await self._recover(key, None, None, error),)
        return (result,)

    async def fetch(self, key: str, span: Span | None = None, stamp: Stamp | None = None) -> GetResult | None:
        """Get a key or a part of it; None where it is missing.

        Raises `ChangedError` where its stamp differs from `stamp`, and `StorageError` where the request failed or the
        answer is incomplete.
        """
        (outcome,) = await self._fetch_each([_GetRequest(key, span, stamp)])
        return _result(outcome)

    async def _fetch_each(self, gets: Sequence[_GetRequest]) -> list[GetResult | BaseException | None]:
        """Get several keys or parts of keys at once; return the errors of those that failed."""
        outcomes = await self._outcomes(self._fetch, gets)
        failed = {number: error for number, error in enumerate(outcomes) if isinstance(error, Exception)}
        recovered = await asyncio.gather(
            *(self._recover(*gets[number], error) for number, error in failed.items()), return_exceptions=True
        )
        for number, outcome in zip(failed, recovered, strict=True):
            outcomes[number] = outcome
        return outcomes

    def _fetch(self, get: _GetRequest) -> GetResult | None:
        """Get a key or a part of it, in a thread; None where it is missing."""
        key, span, stamp = get
        options: dict[str, Any] = {}
        if span is not None:
            options["range"] = {"suffix": -span.start} if span.is_suffix else (span.start, span.end)
        if stamp is not None and _is_tag(stamp):
            options["if_match"] = stamp[0]
        is_whole_document = span is None and is_document(key)
        try:
            result = self._get(key, **options)
            if is_whole_document and is_cut(result.data):  # the answer may have been cut short
                result = self._get(key, **options)
        except Exception as error:
            if is_missing_key(error) and not is_lamella_error(error):
                return None
            raise
        if stamp is not None and result.stamp != stamp:
            raise ChangedError(key)
        if is_whole_document:
            self._denials.readable = key
        return result

    async def _recover(
        self, key: str, span: Span | None, stamp: Stamp | None, error: Exception
    ) -> GetResult | None:
        """Handle an error of GET: return None for a missing key, get the key in another way, or raise."""
        if is_lamella_error(error) or isinstance(error, ChangedError):
            raise error
        if is_missing_key(error):
            return None
        if is_forbidden(error) and await self._denials.is_missing():
            return None
        if stamp is not None and already_exists(error) and not is_conflict(error):
            raise ChangedError(key) from error
        if span is None:
            raise self._failed("read", key, error) from error
        if is_unmet_range(error):  # a range past the end, or of an empty object
            head = await self.head(key)
            if stamp is not None and (head is None or head.stamp != stamp):
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

    async def _whole_for_a_part(self, key: str, span: Span) -> GetResult | None:
        """Get the whole object, from a server that ignores the Range header; raise where only a part was requested."""
        head = await self.head(key)
        whole = None if head is None or _is_part(span, head.size) else await self.fetch(key)
        if head is None or (whole is not None and not _is_part(span, len(whole.data))):
            return whole
        raise ranges_ignored_error(f"{self.address}/{key}")

    async def get_many(self, keys: Iterable[str]) -> dict[str, GetResult | None]:
        """Get several keys at once."""
        unique = list(dict.fromkeys(keys))
        outcomes = await self._fetch_each([_GetRequest(key) for key in unique])
        return dict(zip(unique, map(_result, outcomes), strict=True))

    async def get_chunks(self, keys: Sequence[str]) -> list[GetResult | None]:
        """Get objects with chunks at once; those that are cached in a folder only if they changed."""
        if self._blocks is None:
            return [*map(_result, await self._fetch_each([_GetRequest(key) for key in keys]))]
        return await await_all(map(self._fetch_cached, keys))

    async def _fetch_cached(self, key: str) -> GetResult | None:
        blocks, name = self._blocks, self._block(key)
        assert blocks is not None
        cached = await asyncio.to_thread(blocks.last, name)
        if cached is None:
            result = await self.fetch(key)
        else:
            changed = await self.fetch_changed(key, cached[0])
            if changed is None:
                return GetResult(memoryview(cached[1]), cached[0], len(cached[1]), {})
            result = changed[0]
        if result is not None and result.stamp is not None and _is_tag(result.stamp):
            await asyncio.to_thread(blocks.put_whole, name, result.stamp, bytes(result.data))
        return result

    def drop_cached(self, key: str, stamp: Stamp, spans: Iterable[tuple[int, int]]) -> None:
        """Drop ranges of an object, and the whole of it, from the folder: they could not be decoded."""
        if self._blocks is not None:
            self._blocks.drop(self._block(key), stamp, spans)

    def _block(self, key: str) -> str:
        """Return the name of a key in the cache, with its endpoint: one URL may name other objects at another."""
        return " ".join((*self.client.bucket, f"{self.address}/{key}"))

    async def get_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        """Get ranges of several keys; near ranges of a key share a request.

        `ChangedError` names all keys that have other stamps than their requests.
        """
        if self._blocks is None:
            outcomes = await self._ranges_of_each(requests)
        else:
            outcomes = await asyncio.gather(*map(self._cached_ranges_of, requests), return_exceptions=True)
        changed = [
            request.key
            for request, outcome in zip(requests, outcomes, strict=True)
            if isinstance(outcome, ChangedError)
        ]
        results = [_result(outcome) for outcome in outcomes if not isinstance(outcome, ChangedError)]
        if changed:
            raise ChangedError(*changed)
        return results

    async def _cached_ranges_of(self, request: RangeRequest) -> RangesRead | None:
        """Get the ranges that are not cached in a folder; if all are cached, check that the object is unchanged."""
        blocks, stamp = self._blocks, request.stamp
        if blocks is None or stamp is None or not _is_tag(stamp) or not request.ranges:
            return await self._ranges_of(request)
        name = self._block(request.key)

        def read_cached() -> list[bytes | None]:
            return [blocks.get(name, stamp, span) for span in request.ranges]

        parts = await asyncio.to_thread(read_cached)
        missing = tuple(span for span, part in zip(request.ranges, parts, strict=True) if part is None)
        fetched_ranges = await self._ranges_of(RangeRequest(request.key, missing, stamp))
        if fetched_ranges is None:
            return None
        fetched = dict(zip(missing, fetched_ranges.parts, strict=True))

        def cache_fetched() -> None:
            for span, part in fetched.items():
                blocks.put(name, stamp, span, part)

        if fetched:
            await asyncio.to_thread(cache_fetched)
        all_parts = (
            fetched[span] if part is None else part for span, part in zip(request.ranges, parts, strict=True)
        )
        return RangesRead(list(all_parts), fetched_ranges.stamp)

    async def _ranges_of(self, request: RangeRequest) -> RangesRead | None:
        (outcome,) = await self._ranges_of_each([request])
        return _result(outcome)

    async def _ranges_of_each(
        self, requests: Sequence[RangeRequest]
    ) -> list[RangesRead | BaseException | None]:
        """Get ranges of several keys; return the errors of those that failed."""
        planned = [(request, spans_of(request.ranges)) for request in requests]
        gets = [_GetRequest(request.key, span, request.stamp) for request, spans in planned for span in spans]
        checks = asyncio.gather(
            *(self._check_stamp(request) for request, spans in planned if not spans), return_exceptions=True
        )
        answers, checked = iter(await self._fetch_each(gets)), iter(await checks)
        return [
            _join_answers(request, spans, [*islice(answers, len(spans))]) if spans else next(checked)
            for request, spans in planned
        ]

    async def _check_stamp(self, request: RangeRequest) -> RangesRead | None:
        """Check that a key exists and still has the stamp, without reading bytes."""
        key, stamp = request.key, request.stamp
        nothing = [b""] * len(request.ranges)
        if stamp is None or not _is_tag(stamp):
            head = await self.head(key)
            if head is not None and stamp is not None and head.stamp != stamp:
                raise ChangedError(key)
            return None if head is None else RangesRead(nothing, head.stamp)
        try:
            async with self._slots():
                answer = await self.client.store.get_async(key, options={"if_none_match": stamp[0]})
        except Exception as error:
            if type(error).__name__ == "NotModifiedError":
                return RangesRead(nothing, stamp)
            if await self._recover(key, None, None, error) is None:
                return None
            raise
        if self.stamp_of(answer.meta) == stamp:  # the service ignores If-None-Match
            return RangesRead(nothing, stamp)
        raise ChangedError(key)

    async def head(self, key: str) -> GetResult | None:
        """Get the size and stamp of a key; None where it is missing."""
        try:
            result: GetResult | None = await self._get_one(key, head=True)
            if result is not None and not self._is_page(result):
                self._allows_head = True
                return result
        except Exception as error:
            if is_lamella_error(error):
                raise
            if is_missing_key(error):
                return None
            if self._allows_head and is_forbidden(error) and await self._denials.is_missing():
                return None
            # Some credentials allow GET but not HEAD; some web servers do not support HEAD, or leave out the size.
            is_odd = self.client.access.kind == "http" and not is_temporary(error)
            if not is_denied(error) and not is_odd:
                raise self._failed("look at", key, error) from error
        result = await self.fetch(key)
        return None if result is None else result._replace(data=memoryview(b""))


def _is_tag(stamp: Stamp) -> bool:
    """Whether a stamp is a strong ETag, and can be a condition."""
    return str(stamp[0]).startswith('"')


def _is_part(span: Span, size: int) -> bool:
    """Whether bytes are not all of a file of this size."""
    return -span.start < size if span.is_suffix else span.start > 0 or span.end < size


def is_missing_key(error: Exception) -> bool:
    """Whether an error means that a key does not exist."""
    return is_absent(error) or status_of(error) in ABSENT


def _join_answers(
    request: RangeRequest, spans: Sequence[Span], answers: Sequence[GetResult | BaseException | None]
) -> RangesRead | BaseException | None:
    """Return the ranges of a key from the answers to its requests, or an error."""
    error = next((answer for answer in answers if isinstance(answer, BaseException)), None)
    if error is not None:
        return error
    parts = [answer for answer in answers if isinstance(answer, GetResult)]
    if not parts:
        return None
    stamps = {part.stamp for part in parts}
    if len(parts) < len(answers) or len(stamps) > 1:
        return ChangedError(request.key)
    data_by_span = {span: part.data for span, part in zip(spans, parts, strict=True)}
    return RangesRead(extract_ranges(request.ranges, data_by_span), stamps.pop())


def _result(outcome: T | BaseException) -> T:
    """Return the result of a request, or raise its error."""
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def await_all(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Await all; raise the first error after all have ended."""
    outcomes = await asyncio.gather(*awaitables, return_exceptions=True)
    return [_result(outcome) for outcome in outcomes]
