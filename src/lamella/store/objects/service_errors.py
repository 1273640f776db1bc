"""Convert the errors of failed requests, from various libraries, to errors of lamella.

Each library has its own error types, so errors are recognised by the HTTP status of the answer, or by the words of a
connection failure. A missing key is not an error here: functions that request keys return None for it.
"""

from __future__ import annotations

import errno
import re
import zlib
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lamella.errors import AccessError, DamagedDataError, LamellaError, StorageError, clause, one_line
from lamella.store.objects.addresses import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSENT = frozenset({404, 410})
DENIED = frozenset({401, 403})
_MAY_BE_MISSING = ("look at", "list", "delete")
"""Verbs of requests whose key may be missing."""
_LONGEST_TEXT = 400
_FORBIDDEN, _CONFLICT, _PRECONDITION_FAILED, _NO_SUCH_RANGE, _NOT_IMPLEMENTED = 403, 409, 412, 416, 501
_UNSUPPORTED = frozenset({405, _NOT_IMPLEMENTED})
_BUSY = frozenset({408, 409, 412, 425, 429, *range(500, 600)})
_STATUS_IN_TEXT = re.compile(r"status(?: code)?:? (\d{3})\b|^(\d{3}), message=|\((\d{3})\) when calling")
_CUT_SHORT = re.compile(
    r"payload is not completed|not enough data|incomplete|end of file|unexpected ?eof|incompletebody",
    re.IGNORECASE,
)
_CONNECTION_LOST = re.compile(
    r"connection (?:reset|closed|refused|error)|disconnected|broken pipe|error sending|kind: Connect",
    re.IGNORECASE,
)
_TIMED_OUT = re.compile(r"timed? ?out|timeout", re.IGNORECASE)
_OBSTORE_MODULE = re.compile(r"^_?obstore\b")
_GENERIC = re.compile(r"^Generic \w+ error: ")
_PERFORMING = re.compile(r"Error performing (\w+ \S+) in [\d.]+\w+(?:, after \d+ retries[^-]*)? - ")
"""How obstore names a request, with its duration."""
_OTHER_REGION = re.compile(r"incorrectly configured region")
_EXPIRED = re.compile(r"\b(?:ExpiredToken|InvalidToken|TokenRefreshRequired)\b")  # which S3 answers with 400
_LACKS_HEADER = re.compile(r"\b([\w-]+) Header missing from response", re.IGNORECASE)  # of obstore
_EMPTY_NAME = re.compile(r'Path "([^"]*)" contained empty path segment')  # of obstore
_WHOLE_FOR_A_PART = re.compile(r"non-partial response|range request not supported by", re.IGNORECASE)
_PAST_END = re.compile(r"wanted range starting at \d+, but", re.IGNORECASE)  # obstore in memory and on disk
_TEMPORARY = frozenset({408, 409, 425, 429, *range(500, 600)}) - {501}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    depth = 0
    current: BaseException | None = error
    while current is not None and depth < 8:
        yield current
        current, depth = current.__cause__ or current.__context__, depth + 1


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error or one of its causes; None without an answer."""
    for cause in _chain(error):
        status = _own_status(cause)
        if status is not None:
            return status
    return None


def _own_status(error: BaseException) -> int | None:
    for name in ("status", "status_code", "code"):
        status = getattr(error, name, None)
        if not isinstance(status, bool) and str(status).isdecimal() and 100 <= int(str(status)) < 600:
            return int(str(status))
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(status, int):
            return status
    kind = type(error).__name__
    if isinstance(error, PermissionError) or kind == "PermissionDeniedError":
        return 403
    if kind == "UnauthenticatedError":
        return 401
    match = _STATUS_IN_TEXT.search(str(error))
    return int(next(filter(None, match.groups()))) if match else None


def is_absent(error: BaseException) -> bool:
    """Whether an error means that a key is missing, rather than that the request failed.

    fsspec reports every failed request over HTTP as a missing file, with the failure as its cause.
    """
    if not isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError, KeyError)):
        return False
    status = status_of(error)
    if status is not None:
        return status in ABSENT
    return not any(_connection_failure(cause) for cause in _chain(error))


def is_denied(error: BaseException) -> bool:
    """Whether the service refused a request for lack of permission."""
    return status_of(error) in DENIED


def is_forbidden(error: BaseException) -> bool:
    """Whether the status is 403, which may mean that a key is missing; 401 never does."""
    return status_of(error) == _FORBIDDEN


def _connection_failure(error: BaseException) -> tuple[str, int] | None:
    """Return words for a connection failure, with the system's error number."""
    kind, text = type(error).__name__, _text(error)
    if _OBSTORE_MODULE.search(type(error).__module__):  # obstore's text always contains the word timeout
        text = str(error).replace("retry_timeout", "")
    if isinstance(error, TimeoutError) or _TIMED_OUT.search(kind) or _TIMED_OUT.search(text):
        return "no answer came in time", errno.ETIMEDOUT
    if kind in ("ClientPayloadError", "IncompleteRead", "ResponseStreamingError") or _CUT_SHORT.search(text):
        return "the answer was cut short", errno.ECONNRESET
    if (
        isinstance(error, ConnectionError)
        or "Disconnected" in kind
        or "Connector" in kind
        or _CONNECTION_LOST.search(text)
    ):
        return "the connection failed", errno.ECONNRESET
    return None


def is_temporary(error: BaseException) -> bool:
    """Whether the same request may succeed later: there was no answer, or one such as 503."""
    status = status_of(error)
    if status is not None:
        return status in _TEMPORARY
    return any(_connection_failure(cause) is not None for cause in _chain(error))


def is_unmet_range(error: BaseException) -> bool:
    """Whether the requested range begins past the end."""
    return status_of(error) == _NO_SUCH_RANGE or any(_PAST_END.search(str(cause)) for cause in _chain(error))


def is_unsupported(error: BaseException) -> bool:
    """Whether the service does not support the request."""
    return status_of(error) == _NOT_IMPLEMENTED or type(error).__name__ == "NotSupportedError"


def is_whole_for_a_part(error: BaseException) -> bool:
    """Whether a server returned a whole file for a range request, as obstore reports it."""
    return any(_WHOLE_FOR_A_PART.search(str(cause)) for cause in _chain(error))


def request_error(
    verb: str, key: str, where: str, error: Exception, *, origin: str = "", retries_text: str = ""
) -> StorageError | DamagedDataError:
    """Return the error of lamella for a failed request to read, list or write (`verb`) a `key` of the store at `where`.

    `origin` is the source of the credentials; `retries_text` are words such as " after 6 more tries".
    """
    conceal_secrets(error)
    address = f"{where}{'' if where.endswith('/') else '/'}{key}" if key else where
    prefix = f"Cannot {verb} {address}"
    if is_whole_for_a_part(error):
        return ranges_ignored_error(address)
    status = status_of(error)
    unusual = _unreadable_content(prefix, error) or _unusual_answer(prefix, verb, where, status, error)
    if unusual is not None:
        return unusual
    if status in DENIED or (status is not None and _EXPIRED.search(str(error))):
        return AccessError(
            f"{prefix}: the service refuses it ({_status_words(status)}: {_text(error)}). "
            f"{f'The request was made with {origin}. ' if origin else ''}Check that the credentials are those for this "
            "store, or open it with anon=True if it is public. Services also answer 403 for what is not there to those "
            "who may not list: ask for the permission to list, or check the URL.",
            errno.EACCES,
        )
    if status in _BUSY and status is not None:
        return StorageError(
            f"{prefix}: the service answers {_status_words(status)}{retries_text} ({_text(error)}). Nothing is known "
            "to be wrong with what is stored: try again later.",
            errno.EAGAIN,
        )
    for cause in _chain(error) if status is None else ():
        failure = _connection_failure(cause)
        if failure is not None:
            return StorageError(
                f"{prefix}: {failure[0]}{retries_text} ({_text(error)}). Nothing is known to be wrong with what is "
                "stored: check the connection and try again.",
                failure[1],
            )
    number = error.errno if isinstance(error, OSError) else None
    return StorageError(f"{prefix}: {clause(_text(error))}.", number or errno.EIO)


@contextmanager
def explained(verb: str, key: str, where: str, *, origin: str = "", retries_text: str = "") -> Iterator[None]:
    """Convert the error of a request by `request_error`; FileNotFoundError for a missing key to look at or delete."""
    try:
        yield
    except Exception as error:
        if is_lamella_error(error):
            raise
        if verb in _MAY_BE_MISSING and is_absent(error):
            raise FileNotFoundError(_text(error)) from error
        raise request_error(verb, key, where, error, origin=origin, retries_text=retries_text) from error


def _unreadable_content(prefix: str, error: Exception) -> StorageError | DamagedDataError | None:
    """Return the error for keys that cannot be listed, and for a damaged file in an archive; else None."""
    if empty_name := _EMPTY_NAME.search(str(error)):
        return StorageError(
            f"{prefix}: the bucket has keys with two slashes in a row, below {empty_name[1]!r}, and a folder with such "
            "keys cannot be listed. Delete or rename them with the tools of the service.",
            errno.EIO,
        )
    if any(isinstance(cause, zlib.error) or type(cause).__name__ == "BadZipFile" for cause in _chain(error)):
        return DamagedDataError(f"{prefix}: {clause(error)}. Copy the archive again.")
    return None


def _unusual_answer(
    prefix: str, verb: str, where: str, status: int | None, error: Exception
) -> StorageError | None:
    """Return the error for an answer other than the usual refusals and failures; else None."""
    if _OTHER_REGION.search(str(error)):
        return _redirected(prefix, where, error)
    if status is not None and status in _UNSUPPORTED:
        return _unsupported_error(prefix, verb, status, error)
    if status in ABSENT and verb == "list":
        return AccessError(
            f"{prefix}: the service answers {_status_words(status)} to a list, although documents of the store were "
            f"read ({_text(error)}). Azure answers so to those who may read blobs and not list them. Ask for the "
            "permission to list, or read the store by its http(s) URL, which is read without lists.",
            errno.EACCES,
        )
    if status in ABSENT and verb == "write":
        return StorageError(
            f"{prefix}: there is no such bucket or container ({_status_words(status)}: {_text(error)}). Create it, or "
            "check the URL.",
            errno.ENOENT,
        )
    header = _LACKS_HEADER.search(str(error))
    return lacks_header_error(prefix, header[1]) if header else None


def lacks_header_error(prefix: str, header: str) -> StorageError:
    """Return the error for an answer without a header that is needed."""
    return StorageError(
        f"{prefix}: the answer of the service lacks the header {header}, which every service of this kind sends; a "
        "proxy or an emulator may leave it out. Nothing is known to be wrong with what is stored: open the store "
        "without the proxy, or read it by its http(s) URL.",
        errno.EIO,
    )


def _unsupported_error(prefix: str, verb: str, status: int, error: Exception) -> StorageError:
    """Return the error for a kind of request that a service does not support: no later call succeeds."""
    advice = (
        "The service does not list what it stores. Read the store by its http(s) URL, which is read without lists, or "
        "use a service that lists."
        if verb == "list"
        else "The service does not support such requests: use another service, or copy the store to a folder."
    )
    return StorageError(
        f"{prefix}: the service answers {_status_words(status)} ({_text(error)}). {advice}", errno.ENOTSUP
    )


def _redirected(prefix: str, where: str, error: Exception) -> StorageError:
    """Return the error for a redirect without a target."""
    if where.lower().startswith("http"):
        return StorageError(
            f"{prefix}: the server answers with a redirect without a destination. Nothing is known to be wrong with "
            "what is stored: check the URL and the server.",
            errno.EIO,
        )
    return StorageError(
        f"{prefix}: the bucket seems to be in another region ({_text(error)}). Pass region in storage_options "
        "(--storage region=...), or set AWS_REGION.",
        errno.EINVAL,
    )


def conceal_secrets(error: BaseException) -> None:
    """Remove passwords and signatures from the URLs in an error and its causes, which a traceback shows."""
    for cause in _chain(error):
        if any(
            isinstance(argument, str) and without_secrets(argument) != argument for argument in cause.args
        ):
            cause.args = tuple(
                without_secrets(argument) if isinstance(argument, str) else argument
                for argument in cause.args
            )
        request: Any = getattr(cause, "request_info", None)  # of aiohttp
        if request is not None:
            clean = request.real_url.with_query(None).with_user(None)
            cause.args = (request._replace(url=clean, real_url=clean, headers={}), *cause.args[1:])
            cause.request_info = cause.args[0]  # type: ignore[attr-defined]


def already_exists(error: BaseException) -> bool:
    """Whether a key was not created because it exists."""
    return (
        isinstance(error, FileExistsError)
        or status_of(error) == _PRECONDITION_FAILED
        or type(error).__name__ in ("AlreadyExistsError", "PreconditionError")
        or "PreconditionFailed" in str(error)
    )


def is_conflict(error: BaseException) -> bool:
    """Whether a write met another one and may be repeated; Azure answers 409 also where a key exists."""
    return status_of(error) == _CONFLICT and "BlobAlreadyExists" not in str(error)


def may_exist_error(key: str, where: str) -> AccessError:
    """Return the error for changing a part of a chunk that cannot be read."""
    return AccessError(
        f"Cannot write a part of {where.rstrip('/')}/{key}: the service answers 403 for it, so what else it contains "
        "cannot be read, and would be lost. It was not written. Ask for the permissions to read and to list "
        "(s3:ListBucket), or write whole chunks.",
        errno.EACCES,
    )


def ranges_ignored_error(source: str) -> StorageError:
    """Return the error for a server that returns a whole file for a range request."""
    return StorageError(
        f"Cannot read a part of {source}: the server ignores the Range header and answers with the whole file. Nothing "
        "is known to be wrong with what is stored. Parts of files, such as the index of a shard or the header of a "
        "chunk, cannot be read from such a server: copy the store to a folder, or use a server that supports ranges."
    )


def raised_by_storage(error: BaseException) -> StorageError | None:
    """Return the `StorageError` that caused another error; None if missing."""
    for cause in _chain(error):
        if isinstance(cause, StorageError):
            return cause
    return None


def is_lamella_error(error: BaseException) -> bool:
    """Whether an error is already one of lamella."""
    return isinstance(error, LamellaError)


def _text(error: BaseException) -> str:
    """Return the text of an error on one line, without obstore's debug output."""
    text = without_secrets(one_line(error).partition(" Debug source:")[0].partition(" context: 0:")[0])
    text = _PERFORMING.sub(r"\1: ", _GENERIC.sub("", text))
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."


def _status_words(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
