"""Parse path arguments of users: URLs, local paths, ``~`` and ``file://``."""

from __future__ import annotations

import errno
import os
import re
from urllib.parse import unquote

from lamella.errors import InvalidArgumentError, short_repr
from lamella.store.keys import LONGEST_PART
from lamella.store.objects.addresses import clean_url

_URL = re.compile(r"[A-Za-z](?:[A-Za-z0-9+._-]+://|[A-Za-z0-9+.-]+::)")
_LOST_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")
_FILE = re.compile(r"file:(?:(//[^/]*)(?=/|$)|(?=/))", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether a text is a URL other than a ``file://`` URL."""
    return _URL.match(text) is not None and _FILE.match(text) is None


def location(target: object) -> str:
    """Return a URL unchanged, or a path with ``~`` and ``file://`` resolved.

    Raises `InvalidArgumentError` for other values, and for a URL that lost a slash in a ``pathlib.Path``.
    """
    text = os.fspath(target) if isinstance(target, os.PathLike) else target
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidArgumentError(
            f"{short_repr(text)} is not a path: a path is text that is not empty and has no NUL character."
        )
    file = _FILE.match(text)
    if file is not None:
        host = (file[1] or "")[2:].lower()
        if file.end() == len(text):
            raise InvalidArgumentError(
                f"{text} names no file or folder: write file:// and then the absolute path, as file:///data/a.zarr."
            )
        if host not in ("", "localhost"):
            raise InvalidArgumentError(
                f"{text} is a file of another machine, {host!r}: give a path of this one."
            )
        return _native(unquote(text[file.end() :]))
    if is_url(text):
        return text
    lost_slash = _LOST_SLASH.match(text.replace("\\", "/") if os.name == "nt" else text)
    if lost_slash is not None:
        url = f"{lost_slash[1]}://{text[lost_slash.end() :]}"
        raise InvalidArgumentError(
            f"{text!r} is a URL that lost a slash, as a Path makes of one: give the URL as text, {url!r}, or for a "
            "folder of that name its absolute path."
        )
    return os.path.expanduser(text)


def _native(path: str) -> str:
    """Return the path of a file URL in the system's spelling."""
    if os.name == "nt":  # pragma: no cover
        from urllib.request import url2pathname

        return url2pathname(path)
    return path


def local_path(target: object, subject: str) -> str:
    """Return the absolute path of an argument that must be local, such as "the destination" (`subject`)."""
    text = location(target)
    if is_url(text):
        raise InvalidArgumentError(
            f"{clean_url(text)} is a URL, and {subject} can only be a local folder or file: give a path."
        )
    path = os.path.abspath(text)
    check_length(path, subject)
    return path


def check_replaceable(path: str, subject: str) -> None:
    """Raise `InvalidArgumentError` at a folder, a device or a pipe, which a file must not replace."""
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "a device or pipe"
        raise InvalidArgumentError(
            f"Cannot write {subject} {path}: it is {kind}, and a file is written beside its name and then renamed. Use "
            "the name of a file."
        )


def check_length(path: str, subject: str) -> None:
    """Raise before anything is written where the file system would refuse a path for its length."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidArgumentError(
                f"{path} is too long for {subject}: the file system allows names of {LONGEST_PART} bytes. Choose a "
                "shorter one."
            ) from error
