"""Convert documents of a store from bytes to JSON objects and back, each content once.

Thousands of positions have equal documents, so each content is parsed, checked and encoded once. The results are
shared: descriptions of arrays are frozen, and callers copy the attributes of groups before users may change them.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from lamella.errors import InvalidArgumentError, MetadataError, clause, short_repr
from lamella.store.process_limits import binary_size

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import JSON, JSONObject

Pairs: TypeAlias = list[tuple[str, Any]]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Byte order mark, which some editors write before UTF-8 text."""


class RepeatedKeyError(ValueError):
    """A JSON object has one key twice, with different values."""


def reject_duplicate_keys(pairs: Pairs) -> JSONObject:
    """Build an object from its members; raise `RepeatedKeyError` where a key repeats with another value."""
    members = dict(pairs)
    if len(members) != len(pairs):
        for key, value in pairs:
            if members[key] != value:
                raise RepeatedKeyError(
                    f"The key {short_repr(key)} is in one object twice, with different values."
                )
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=reject_duplicate_keys)


LARGEST_DOCUMENT = 256 << 20
"""Limit of a document in bytes, enough for a million consolidated nodes. Parsing needs ten times as much."""

#: Limit of nesting: documents have ten levels, and recursive functions edit and compare them.
_MAX_DEPTH = 100
_CONTAINERS = frozenset({dict, list})


def parse_object(data: bytes, node: str, file: str) -> JSONObject:
    """Parse one document; `node` (full path or URL) and `file` name it in messages."""
    check_size(len(data), node, file)
    try:
        # Not the codec utf-8-sig, which is slow, and walking a plate decodes thousands of documents.
        document = _DECODER.decode(data.removeprefix(_BYTE_ORDER_MARK).decode())
    except UnicodeDecodeError as error:
        raise _damaged(node, file, f"it is not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise _damaged(node, file, "it is nested too deeply") from error
    except RepeatedKeyError as error:
        raise _damaged(node, file, clause(error)) from error
    except ValueError as error:
        problem = "it is empty" if not data.strip() else f"it is not JSON ({error})"
        raise _damaged(node, file, problem) from error
    if not isinstance(document, dict):
        raise _damaged(node, file, f"it contains a {type(document).__name__}, not an object")
    if data.count(b"[") + data.count(b"{") > _MAX_DEPTH and is_too_deep(document):
        raise _damaged(node, file, f"it is nested too deeply: {_MAX_DEPTH} levels are allowed")
    return document


def is_cut(data: bytes | memoryview) -> bool:
    """Whether a document ends too early: its braces are not balanced. Braces in its texts may look the same."""
    text = bytes(data)
    return text.count(b"{") != text.count(b"}") or not text.strip()


def is_too_deep(document: Any) -> bool:
    """Whether containers are nested deeper than `_MAX_DEPTH` levels."""
    containers = [document]
    for _ in range(_MAX_DEPTH):
        containers = [
            member
            for container in containers
            for member in (container.values() if isinstance(container, dict) else container)
            if member.__class__ in _CONTAINERS
        ]
        if not containers:
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
    """Encode one document as UTF-8 JSON, with numpy numbers as JSON numbers; compact, since indenting is 10x slower.

    NaN, infinities and Python objects raise `InvalidArgumentError`.
    """
    try:
        text = json.dumps(
            document,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
            default=_numpy_to_json,
            check_circular=True,
        )
        return text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        problem = _find_unencodable(document)
        raise InvalidArgumentError(
            f"Cannot write {document_name(node, file)}: {problem or clause(error)}, and JSON has no such value."
        ) from error


def _numpy_to_json(value: object) -> JSON:
    item = getattr(value, "item", None)  # numpy scalars
    if item is not None and getattr(value, "ndim", None) == 0:
        return item()
    tolist = getattr(value, "tolist", None)
    if tolist is not None:
        return tolist()
    raise TypeError(f"{value!r} is of type {type(value).__name__}.")


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
    """Name a document in a message, by the node's full path or URL."""
    return f"{node.rstrip('/')}/{file}" if node else file


def wrong_field(where: str, field: str) -> MetadataError:
    """Return the error for a field that a document must not have; ``where`` is the path of the document."""
    return MetadataError(f"{where} has {field}. Correct it, or restore the document from a copy.")


def _damaged(node: str, file: str, problem: str) -> MetadataError:
    return MetadataError(
        f"{document_name(node, file)} is damaged: {problem}. Restore the file, or delete the node."
    )


T = TypeVar("T")

_MAX_CACHED_DOCUMENTS = 256
_MAX_CACHED_BYTES = 1 << 14

_groups: dict[tuple[int, bytes], StoredGroup] = {}
_parsed: dict[tuple[bytes, bytes | None], ArrayMeta] = {}
_described: dict[Hashable, ArrayMeta] = {}
_encoded: dict[int, tuple[ArrayMeta, bytes]] = {}


class StoredGroup:
    """One version of a group's document: its bytes, and the attributes in it. Shared: never change the attributes.

    In Zarr v2 the bytes are those of ``.zattrs``, and empty where it is missing. ``derived`` caches edited versions
    (:mod:`lamella.nodes.metadata_document`).
    """

    __slots__ = ("_cached", "attributes", "data", "derived")

    def __init__(self, data: bytes, attributes: JSONObject) -> None:
        self.data = data
        self.attributes = attributes
        self.derived: dict[Hashable, Any] = {}
        self._cached: dict[Hashable, Any] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return StoredGroup, (self.data, self.attributes)

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the cached value of a key, computed by ``make`` on first use. Shared: never change it."""
        if key not in self._cached:
            self._cached[key] = make()
        value: T = self._cached[key]
        return value

    def peek(self, key: Hashable) -> Any:
        """Return the cached value of a key; None if missing."""
        return self._cached.get(key)


def stored_group(data: bytes, zarr_format: int, parse: Callable[[], JSONObject]) -> StoredGroup:
    """Return the cached group of a document's bytes, parsed where they are new."""
    if len(data) > _MAX_CACHED_BYTES:
        return StoredGroup(data, parse())
    return get_or_make(_groups, (zarr_format, data), lambda: StoredGroup(data, parse()))


def parsed_array(data: bytes, attributes_data: bytes | None, parse: Callable[[], ArrayMeta]) -> ArrayMeta:
    """Return the parsed document of an array; ``attributes_data`` is its separate attributes document (Zarr v2)."""
    if len(data) + len(attributes_data or b"") > _MAX_CACHED_BYTES:
        return parse()
    return get_or_make(_parsed, (data, attributes_data), parse)


def new_description(key: Hashable, make: Callable[[], ArrayMeta]) -> ArrayMeta:
    """Return the description of a new array; ``key`` contains all arguments that it depends on."""
    try:
        return get_or_make(_described, key, make)
    except TypeError:  # a compressor that is a dict cannot be a key
        return make()


def encoded_array(meta: ArrayMeta, encode: Callable[[], bytes]) -> bytes:
    """Return the encoded document of a description."""
    # The cached tuple keeps the description alive, so that no other object can get the same id.
    return get_or_make(_encoded, id(meta), lambda: (meta, encode()))[1]


def get_or_make(cache: dict[Any, T], key: Hashable, make: Callable[[], T]) -> T:
    """Return the value of a key, computed by ``make`` on first use; a full cache is emptied."""
    cached_value = cache.get(key)
    if cached_value is None:
        cached_value = make()
        if len(cache) >= _MAX_CACHED_DOCUMENTS:
            cache.clear()
        cache[key] = cached_value
    return cached_value
