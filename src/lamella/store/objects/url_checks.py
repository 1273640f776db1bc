"""Refuse URLs that no store has, in words of lamella, before a library gets them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lamella.errors import InvalidArgumentError
from lamella.store.objects.addresses import KINDS, clean_url, is_web, split_chain, split_url

if TYPE_CHECKING:
    from collections.abc import Sequence

_BUCKET_NAME = re.compile(r"[A-Za-z0-9._:$-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def check_url(url: str) -> None:
    """Raise `InvalidArgumentError` for a URL without a server or bucket, or with a path that no service has."""
    *chain, last_url = split_chain(url)
    scheme, _, after_scheme = last_url.partition("://")
    if chain:
        _check_chain(url, [chained_url.partition("://")[0] for chained_url in chain], last_url)
    # Other file systems of fsspec may need only their options, as reference:// does.
    is_service = scheme.lower() in (*KINDS, "ftp")
    if (is_service and not after_scheme.strip("/")) or (chain and not last_url):
        raise _refusal(
            url, "it ends where the name of a server, bucket or folder is expected. Give the whole URL"
        )
    kind = "" if chain else KINDS.get(scheme.lower(), "")
    if kind == "http":
        _check_server(url)
    elif kind:
        _check_bucket(url, kind)
        _check_path(url)


def _refusal(url: str, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"Cannot open {clean_url(url)}: {problem}.")


def _check_chain(url: str, chain: Sequence[str], last_url: str) -> None:
    """Raise for file systems of fsspec that do not work below zarr-python: ``dir``, and caches before a web server."""
    if "dir" in map(str.lower, chain):
        raise _refusal(
            url, "'dir' of fsspec does not work below zarr-python. Open the path or URL of the folder"
        )
    caches = [name for name in chain if name.lower().endswith("cache")]
    if caches and is_web(last_url):
        raise cached_web_error(url, caches[0], last_url)


def cached_web_error(url: str, cache: str, last_url: str) -> InvalidArgumentError:
    """Return the error for an fsspec cache before a web server, whose requests fail inside zarr-python."""
    return _refusal(
        url,
        f"the caches of fsspec, such as {cache}, do not work for web servers below zarr-python. Open "
        f"{clean_url(last_url)} itself, or a copy",
    )


def _check_server(url: str) -> None:
    try:
        parsed_url = urlsplit(url)
        _ = parsed_url.port  # raises ValueError, as urlsplit does
        is_valid = bool(parsed_url.hostname)
    except ValueError:  # an unclosed bracket, or a port that is not a number up to 65535
        is_valid = False
    if not is_valid:
        raise _refusal(
            url,
            f"what follows {url.partition('://')[0]}:// is not a server, such as example.org, 127.0.0.1:8000 or "
            "[::1]:8000",
        )


def _check_bucket(url: str, kind: str) -> None:
    """Raise for a name that no bucket has; it would be sent to the service, with any credentials in it."""
    name = re.split(r"[/?]" if kind == "az" else "/", url.partition("://")[2], maxsplit=1)[0]
    if not _BUCKET_NAME.fullmatch(name.partition("@")[0] if kind == "az" else name):
        advice = ". Pass credentials as storage_options (--storage)" if "@" in name else ""
        raise _refusal(
            url,
            f"what follows {url.partition('://')[0]}:// is not the name of a bucket, which has letters, digits, dots, "
            f"dashes and underscores{advice}",
        )


def _check_path(url: str) -> None:
    path = split_url(clean_url(url))[1]
    problems = {"": "two slashes in a row", ".": "a '.' part", "..": "a '..' part"}
    problem = next((problems[part] for part in path.split("/") if path and part in problems), "")
    if not problem and _CONTROL.search(path):
        problem = "a control character, or one that is not Unicode"
    if problem:
        raise _refusal(
            url,
            f"its path has {problem}, and no store is opened there. Correct the URL, or rename the objects",
        )
