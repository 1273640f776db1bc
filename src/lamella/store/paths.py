"""What a user names by a path argument: a URL, or a place in the file system. The one door for all of them.

A URL is never taken for a local folder (``s3:``), ``~`` is the home, and ``file://`` is a path.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from lamella.errors import InvalidArgumentError, short_repr

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
_CRIPPLED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")
_FILE = re.compile(r"file:(//[^/]*)?(?=/)", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether a text is a URL for fsspec, as opposed to a path or the ``file://`` of one.

    >>> is_url("s3://bucket/a.zarr"), is_url("file:///data/a.zarr"), is_url("C:/a.zarr")
    (True, False, False)
    """
    return _URL.match(text) is not None and _FILE.match(text) is None


def location(target: object) -> str:
    """Return what a path argument names: a URL as it is, or a path with ``~`` and ``file://`` resolved.

    Raises
    ------
    InvalidArgumentError
        It is no path: empty, of bytes, with a NUL character; or a URL that became a path on its way here.

    Examples
    --------
    >>> from pathlib import Path
    >>> location("s3://bucket/a.zarr"), location("file:///data/a%20b.zarr")
    ('s3://bucket/a.zarr', '/data/a b.zarr')
    >>> location(Path("s3://bucket/a.zarr"))
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: 's3:/bucket/a.zarr' is a URL that lost a slash, as a Path makes of one: give \
the URL as text, 's3://bucket/a.zarr', or for a folder of that name its absolute path.
    """
    text = os.fspath(target) if isinstance(target, os.PathLike) else target
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidArgumentError(
            f"{short_repr(text)} is not a path: a path is text that is not empty and has no NUL character."
        )
    file = _FILE.match(text)
    if file is not None:
        host = (file[1] or "")[2:].lower()
        if host not in ("", "localhost"):
            raise InvalidArgumentError(
                f"{text} is a file of another machine, {host!r}: give a path of this one."
            )
        return _native(unquote(text[file.end() :]))
    if is_url(text):
        return text
    crippled = _CRIPPLED.match(text.replace("\\", "/") if os.name == "nt" else text)
    if crippled is not None:
        url = f"{crippled[1]}://{text[crippled.end() :]}"
        raise InvalidArgumentError(
            f"{text!r} is a URL that lost a slash, as a Path makes of one: give the URL as text, {url!r}, or for a "
            "folder of that name its absolute path."
        )
    return os.path.expanduser(text)


def _native(path: str) -> str:
    """Return the path of a file URL as the system spells it."""
    if os.name == "nt":  # pragma: no cover
        from urllib.request import url2pathname

        return url2pathname(path)
    return path


def local_path(target: object, what: str) -> str:
    """Return the absolute path that an argument names, where only the file system will do.

    Parameters
    ----------
    target
        As the user gave it.
    what
        What it is for, such as "the destination".

    Raises
    ------
    InvalidArgumentError
        It is a URL, or no path. Nothing was touched.

    Examples
    --------
    >>> local_path("s3://bucket/sums", "the manifest")
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: s3://bucket/sums is a URL, and the manifest can only be a local folder or \
file: give a path.
    """
    text = location(target)
    if is_url(text):
        raise InvalidArgumentError(
            f"{text} is a URL, and {what} can only be a local folder or file: give a path."
        )
    return os.path.abspath(text)
