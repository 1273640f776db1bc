"""Convert documents of a store from bytes to JSON objects and back."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella.errors import InvalidArgumentError, MetadataError, short_repr
from lamella.store.memory_limits import binary_size

if TYPE_CHECKING:
    from lamella.types import JSON, JSONObject

Pairs: TypeAlias = list[tuple[str, Any]]

_MARK = b"\xef\xbb\xbf"
"""Byte order mark, which some editors write before UTF-8 text."""


class RepeatedKeyError(ValueError):
    """A JSON object has one key twice, with different values."""


def reject_duplicate_keys(pairs: Pairs) -> JSONObject:
    """Build an object from its members; raise `RepeatedKeyError` where a key repeats with another value.

    >>> reject_duplicate_keys([("a", 1), ("a", 1)])
    {'a': 1}
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        for key, value in pairs:
            if members[key] != value:
                raise RepeatedKeyError(
                    f"the key {short_repr(key)} stands in one object twice, with different values"
                )
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=reject_duplicate_keys)


LARGEST_DOCUMENT = 256 << 20
"""Limit of a document in bytes, enough for a million consolidated nodes. Parsing needs ten times as much."""

#: Limit of nesting: documents have ten levels, and recursive functions edit and compare them.
_MAX_DEPTH = 100
_CONTAINERS = frozenset({dict, list})


def parse_object(data: bytes, node: str, file: str) -> JSONObject:
    """Parse one document; `node` (full path or URL) and `file` name it in messages.

    >>> parse_object(b"[1, 2]", "A/1/0", "zarr.json")
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: A/1/0/zarr.json is damaged: it holds a list, not an object; ...
    """
    check_size(len(data), node, file)
    try:
        # Not the codec utf-8-sig, which is slow, and walking a plate decodes thousands of documents.
        document = _DECODER.decode(data.removeprefix(_MARK).decode())
    except UnicodeDecodeError as error:
        raise _damaged(node, file, f"it is not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise _damaged(node, file, "it is nested too deeply") from error
    except RepeatedKeyError as error:
        raise _damaged(node, file, str(error)) from error
    except ValueError as error:
        problem = "it is empty" if not data.strip() else f"it is not JSON ({error})"
        raise _damaged(node, file, problem) from error
    if not isinstance(document, dict):
        raise _damaged(node, file, f"it holds a {type(document).__name__}, not an object")
    if data.count(b"[") + data.count(b"{") > _MAX_DEPTH and is_deeper(document):
        raise _damaged(node, file, f"it is nested too deeply: {_MAX_DEPTH} levels are allowed")
    return document


def is_cut(data: bytes | memoryview) -> bool:
    """Whether a document ends too early, as far as its braces show; text with a brace may look so too.

    >>> is_cut(b'{"a": {"b": 1}}'), is_cut(b'{"a": {"b"')
    (False, True)
    """
    text = bytes(data)
    return text.count(b"{") != text.count(b"}") or not text.strip()


def is_deeper(value: Any, levels: int = _MAX_DEPTH) -> bool:
    """Whether containers are nested deeper than so many levels.

    >>> is_deeper([[1], {"a": []}], 3), is_deeper([[1], {"a": []}], 2)
    (False, True)
    """
    below = [value]
    for _ in range(levels):
        below = [
            member
            for container in below
            for member in (container.values() if isinstance(container, dict) else container)
            if member.__class__ in _CONTAINERS
        ]
        if not below:
            return False
    return True


def check_size(size: int, node: str, file: str) -> None:
    """Raise `MetadataError` for a document larger than `LARGEST_DOCUMENT`, before reading it."""
    if size > LARGEST_DOCUMENT:
        raise _damaged(
            node,
            file,
            f"it has {binary_size(size)}, and documents have at most {binary_size(LARGEST_DOCUMENT)}",
        )


def to_bytes(document: JSONObject, node: str, file: str) -> bytes:
    """Encode one document as UTF-8 JSON; numpy numbers become JSON numbers.

    Compact, since Python's indenting encoder is ten times slower. NaN, infinities and Python objects raise
    `InvalidArgumentError`.
    """
    try:
        text = json.dumps(
            document,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
            default=_plain,
            check_circular=True,
        )
        return text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        problem = _find_unencodable(document)
        raise InvalidArgumentError(
            f"cannot write {document_name(node, file)}: {problem or error}; JSON has no such value"
        ) from error


def _plain(value: object) -> JSON:
    item = getattr(value, "item", None)  # numpy scalars
    if item is not None and getattr(value, "ndim", None) == 0:
        return item()
    tolist = getattr(value, "tolist", None)
    if tolist is not None:
        return tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _find_unencodable(value: object, member_path: str = "", depth: int = 0) -> str | None:
    if hasattr(value, "tolist"):
        value = value.tolist()  # numpy
    if isinstance(value, float) and not math.isfinite(value):
        return f"{member_path or 'the document'} is {value}"
    if depth > 50 or isinstance(value, str):
        return None
    members = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    )
    for key, member in members:
        problem = _find_unencodable(
            member, f"{member_path}[{key!r}]" if member_path else f"[{key!r}]", depth + 1
        )
        if problem:
            return problem
    return None


def document_name(node: str, file: str) -> str:
    """Name a document in a message, by the node's whole path or URL.

    >>> document_name("/data/plate.zarr/A/1", "zarr.json"), document_name("", "zarr.json")
    ('/data/plate.zarr/A/1/zarr.json', 'zarr.json')
    """
    return f"{node.rstrip('/')}/{file}" if node else file


def _damaged(node: str, file: str, problem: str) -> MetadataError:
    return MetadataError(
        f"{document_name(node, file)} is damaged: {problem}; restore the file, or delete the node"
    )
