"""Read answers of web servers that obstore refuses: compressed bodies, and bodies without a Content-Length."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from lamella.errors import StorageError
from lamella.store.objects.service_errors import ranges_ignored_error

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGES = ("text/html", "application/xhtml+xml")
"""Content types of pages, which web servers return for folders and missing files."""

PARTIAL = 206
_PATIENCE = 30.0
"""Seconds to wait for a connection and for each part of an answer."""
_GZIP_WBITS = 31
"""Value of ``wbits`` of zlib for gzip."""


class PlainAnswer(NamedTuple):
    """The bytes of an answer, the size of the whole file, and the headers."""

    data: bytes
    size: int
    headers: Mapping[str, str]


def is_without_length(error: BaseException) -> bool:
    """Whether obstore refuses an answer because no header states its length."""
    return "Content-Length Header missing" in str(error)


def read_plainly(
    url: str, key: str, client_options: Mapping[str, Any], byte_range: Any = None
) -> PlainAnswer:
    """Get a key below a URL, whose query is sent along, with one request of the standard library; blocks.

    ``client_options`` (headers and timeout) and ``byte_range`` (start and end, or {"suffix": length}) are as in
    obstore. Raises OSError as urllib does, and `StorageError` where the server ignores ``byte_range``.
    """
    parsed_url = urlsplit(url)
    path = f"{parsed_url.path.rstrip('/')}/{quote(key, safe=_UNQUOTED)}"
    request = Request(urlunsplit((parsed_url.scheme, parsed_url.netloc, path, parsed_url.query, "")))
    # A redirect may lead to another host, which the credentials are not for.
    for name, value in client_options.get("default_headers", {}).items():
        request.add_unredirected_header(name, value)
    if byte_range is not None:
        span = (
            f"-{byte_range['suffix']}" if "suffix" in byte_range else f"{byte_range[0]}-{byte_range[1] - 1}"
        )
        request.add_header("Range", f"bytes={span}")
    seconds = client_options.get("read_timeout")
    with urlopen(request, timeout=_PATIENCE if seconds is None else seconds.total_seconds()) as answer:
        data: bytes = answer.read()
        size = len(data)
        if byte_range is not None:
            total = re.search(r"/(\d+)$", answer.headers.get("Content-Range", ""))
            if answer.status != PARTIAL or total is None:
                raise ranges_ignored_error(f"{url.partition('?')[0]}/{key}")
            size = int(total[1])
        return PlainAnswer(data, size, dict(answer.headers))


_UNQUOTED = "/!$&'()*+,;=:@~"


def uncompressed(data: bytes, encoding: str, source: str, *, is_part: bool) -> bytes:
    """Return the bytes of a file that a server sends, or stores, compressed; `StorageError` for a part of one."""
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        return data
    if is_part:
        raise StorageError(
            f"Cannot read a part of {source}: it is stored or sent compressed (Content-Encoding: {encoding}), "
            "so that parts of it mean nothing. Nothing is known to be wrong with what is stored: store it without "
            "Content-Encoding, or copy the store to a folder."
        )
    try:
        return zlib.decompress(data, _GZIP_WBITS)
    except zlib.error as error:
        raise StorageError(
            f"Cannot read {source}: the service states that it is compressed (Content-Encoding: {encoding}), and it is "
            f"not ({error}). Correct the header of what is stored."
        ) from error
