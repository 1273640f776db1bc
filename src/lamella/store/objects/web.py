"""Read stores that a user opened on web servers through fsspec; they cannot be written or listed.

Unlike fsspec's own file system, this one treats HTML pages (which servers return with status 200 for missing files) as
missing, never lists links of a page, and raises where a server ignores the Range header. Imports fsspec, aiohttp and
zarr-python: import it inside functions.
"""

from __future__ import annotations

from typing import Any

from fsspec.implementations.http import HTTPFileSystem
from zarr.storage import FsspecStore

from lamella.errors import StorageError
from lamella.store.objects.service_errors import ABSENT, ranges_ignored_error
from lamella.store.objects.web_answers import PAGES, PARTIAL

_WITH_CONTENT = (200, 203, PARTIAL)
_NO_SUCH_RANGE = 416


class WebFileSystem(HTTPFileSystem):  # type: ignore[misc]
    """fsspec's HTTP file system without pages and listings."""

    async def _cat_file(
        self, url: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        if start is not None and start == end:
            return b""
        settings = {**self.kwargs, **kwargs}
        is_part = start is not None or end is not None
        if is_part:
            settings["headers"] = {**settings.get("headers", {}), "Range": _range(start, end)}
        session = await self.set_session()
        async with session.get(self.encode_url(url), **settings) as answer:
            if is_part and answer.status == _NO_SUCH_RANGE:
                return b""
            self._raise_for_status(answer, url)
            if (
                is_part
                and answer.status != PARTIAL
                and not _is_page(answer)
                and not _is_all(answer, start, end)
            ):
                raise ranges_ignored_error(url)
            data: bytes = await answer.read()
            if _is_page(answer) and data.lstrip()[:1] == b"<":
                raise FileNotFoundError(url)
            return data

    async def _exists(self, path: str, strict: bool = False, **kwargs: Any) -> bool:
        del strict
        try:
            await self._info(path, **kwargs)
        except FileNotFoundError:
            return False
        return True

    async def _info(self, url: str, **kwargs: Any) -> dict[str, Any]:
        settings = {**self.kwargs, **kwargs}
        session = await self.set_session()
        # The Content-Length is that of the file only without compression in transit.
        settings["headers"] = {**settings.get("headers", {}), "Accept-Encoding": "identity"}
        async with session.head(self.encode_url(url), allow_redirects=True, **settings) as answer:
            size = answer.headers.get("Content-Length")
            is_clear = answer.status < 400 and size is not None and not _is_page(answer)
            if answer.status in ABSENT:
                raise FileNotFoundError(url)
            if not is_clear and answer.status < 500 and answer.status not in (401, 403, 429):
                size = str(len(await self._cat_file(url, **kwargs)))  # HEAD is unsupported, or has no length
            else:
                self._raise_for_status(answer, url)
        return {"name": url, "size": int(size or 0), "type": "file"}

    async def _ls(self, url: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """Raise: links of a page are not members."""
        del detail, kwargs
        raise StorageError(f"Cannot list {url}: a web server has no lists of files.")

    def _raise_for_status(self, answer: Any, url: str) -> None:
        if answer.status in ABSENT:
            raise FileNotFoundError(url)
        answer.raise_for_status()
        if answer.status not in _WITH_CONTENT:
            raise StorageError(
                f"Cannot read {url}: the server answers {answer.status} {answer.reason}, which is neither the file nor "
                "that there is none. Nothing is known to be wrong with what is stored: check the URL and the server."
            )


class WebStore(FsspecStore):
    """A store on a web server."""

    supports_listing = False
    supports_writes = False
    supports_deletes = False


def as_web_store(store: FsspecStore) -> FsspecStore:
    """Return a web store, which never lists, for a user's fsspec store over HTTP."""
    if isinstance(store, WebStore):
        return store
    if type(store.fs) is not HTTPFileSystem:  # a class of the user's own
        return WebStore(store.fs, read_only=True, path=store.path)
    file_system = WebFileSystem(*store.fs.storage_args, **{**store.fs.storage_options, "asynchronous": True})
    return WebStore(file_system, read_only=True, path=store.path)


def _range(start: int | None, end: int | None) -> str:
    if start is not None and start < 0:
        return f"bytes={start}"
    return f"bytes={start or 0}-{'' if end is None else end - 1}"


def _is_page(answer: Any) -> bool:
    return answer.content_type in PAGES


def _is_all(answer: Any, start: int | None, end: int | None) -> bool:
    """Whether the requested range is the whole file."""
    length = answer.content_length
    if length is None:
        return False
    if start is not None and start < 0:
        return bool(-start >= length)
    return not start and (end is None or bool(end >= length))
