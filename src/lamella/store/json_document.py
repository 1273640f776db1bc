"""Bytes to JSON objects and back: what every document of a store goes through."""

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
"""What some editors put before UTF-8 text."""


class RepeatedKeyError(ValueError):
    """One object says two things under one key."""


def once_each(pairs: Pairs) -> JSONObject:
    """Make an object of its members; RepeatedKeyError where a key stands twice with different values.

    JSON leaves open which of the two counts, and readers differ: whoever wrote them meant one of them.

    >>> once_each([("a", 1), ("a", 1)])
    {'a': 1}
    """
    made = dict(pairs)
    if len(made) != len(pairs):
        for key, value in pairs:
            if made[key] != value:
                raise RepeatedKeyError(
                    f"the key {short_repr(key)} stands in one object twice, with different values"
                )
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=once_each)


LARGEST_DOCUMENT = 256 << 20
"""Bytes of a document at most: a million members named in consolidated metadata. Parsed, it takes ten times as much."""

#: Levels of a document. Real ones have ten; what edits and compares them takes a call of Python for each.
_DEEPEST = 100


def parse_object(data: bytes, node: str, file: str) -> JSONObject:
    """Parse one document.

    Parameters
    ----------
    data : bytes
        UTF-8 JSON text of one object.
    node, file : str
        The node's whole path or URL and the file's name, for messages.

    Raises
    ------
    MetadataError
        The text is too long, is cut off, is not UTF-8, is no JSON object, is nested too deeply, or says two things
        under one key.

    Examples
    --------
    >>> parse_object(b"[1, 2]", "A/1/0", "zarr.json")
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: A/1/0/zarr.json is damaged: it holds a list, not an object; ...
    """
    check_size(len(data), node, file)
    try:
        # Not the codec utf-8-sig: it is written in Python, and walking a plate decodes thousands of documents.
        found = _DECODER.decode(data.removeprefix(_MARK).decode())
    except UnicodeDecodeError as error:
        raise _damaged(node, file, f"it is not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise _damaged(node, file, "it is nested too deeply") from error
    except RepeatedKeyError as error:
        raise _damaged(node, file, str(error)) from error
    except ValueError as error:
        fault = "it is empty" if not data.strip() else f"it is not JSON ({error})"
        raise _damaged(node, file, fault) from error
    if not isinstance(found, dict):
        raise _damaged(node, file, f"it holds a {type(found).__name__}, not an object")
    if data.count(b"[") + data.count(b"{") > _DEEPEST and is_deeper(found):
        raise _damaged(node, file, f"it is nested too deeply: {_DEEPEST} levels are allowed")
    return found


def is_deeper(value: Any, levels: int = _DEEPEST) -> bool:
    """Whether containers lie in each other more than so many levels deep.

    >>> is_deeper([[1], {"a": []}], 3), is_deeper([[1], {"a": []}], 2)
    (False, True)
    """
    below = [value]
    for _ in range(levels):
        below = [
            member
            for holder in below
            for member in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(member, dict | list)
        ]
        if not below:
            return False
    return True


def check_size(size: int, node: str, file: str) -> None:
    """Refuse a document that no memory is to be spent on.

    Raises
    ------
    MetadataError
        It is larger than `LARGEST_DOCUMENT`.
    """
    if size > LARGEST_DOCUMENT:
        raise _damaged(
            node,
            file,
            f"it has {binary_size(size)}, and documents have at most {binary_size(LARGEST_DOCUMENT)}",
        )


def to_bytes(document: JSONObject, node: str, file: str) -> bytes:
    """Write one document as compact UTF-8 JSON (numpy numbers become JSON numbers).

    Compact because a plate's documents are written by the thousand and Python's indenting encoder takes ten
    times as long.

    Raises
    ------
    InvalidArgumentError
        A value that JSON does not have: NaN or an infinite number, or an object of Python.
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
        place = _find_fault(document)
        raise InvalidArgumentError(
            f"cannot write {document_name(node, file)}: {place or error}; JSON has no such value"
        ) from error


def _plain(value: object) -> JSON:
    item = getattr(value, "item", None)  # numpy scalars
    if item is not None and getattr(value, "ndim", None) == 0:
        return item()
    tolist = getattr(value, "tolist", None)
    if tolist is not None:
        return tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _find_fault(value: object, place: str = "", depth: int = 0) -> str | None:
    if hasattr(value, "tolist"):
        value = value.tolist()  # numpy
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place or 'the document'} is {value}"
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
        fault = _find_fault(member, f"{place}[{key!r}]" if place else f"[{key!r}]", depth + 1)
        if fault:
            return fault
    return None


def document_name(node: str, file: str) -> str:
    """Name a document in a message, by the node's whole path or URL.

    >>> document_name("/data/plate.zarr/A/1", "zarr.json"), document_name("", "zarr.json")
    ('/data/plate.zarr/A/1/zarr.json', 'zarr.json')
    """
    return f"{node.rstrip('/')}/{file}" if node else file


def _damaged(node: str, file: str, fault: str) -> MetadataError:
    return MetadataError(
        f"{document_name(node, file)} is damaged: {fault}; restore the file, or delete the node"
    )
