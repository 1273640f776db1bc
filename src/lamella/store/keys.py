"""Name the files and folders of a store: check, join and sort keys such as ``"A/1/0/zarr.json"``.

A *key* is the path of a file or folder inside a store; the root is ``""``. *Private* names are those of temporary and
lock files, of lamella and of other libraries; they are never listed. `FORMATS` names the documents of nodes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from lamella.errors import InvalidNameError

if TYPE_CHECKING:
    from lamella.store.metadata.array_meta import ZarrFormat

#: Longest name of one file or folder in bytes (``NAME_MAX`` of every usual file system).
LONGEST_PART = 255

#: Prefix of temporary and lock files, which readers never list.
PRIVATE_PREFIX = ".lamella-"

#: Longest name of a temporary or lock file, without its ending; the longest ending is ``.export``.
_LONGEST_PRIVATE = LONGEST_PART - len(".export")

#: Keys that need no further check: ASCII, parts of 1 to 63 characters, none of them ``.`` or ``..``.
_SIMPLE_KEY = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[^/\\\x00:]{1,63}(?:/(?=[^/])|\Z))*", re.ASCII)
#: Names of the files of an array or group: documents, and chunks such as ``c``, ``0``, ``0.1.2`` and ``c.0.1``.
_FILE_OF_ZARR = r"(?:zarr\.json|\.zarray|\.zattrs|\.zgroup|\.zmetadata|c|(?:c\.)?\d+(?:\.\d+)*)"
#: TensorStore locks ``NAME`` by ``NAME.__lock`` or ``NAME_<hexadecimal digits>.__lock``.
_TENSORSTORE_LOCK = re.compile(rf"{_FILE_OF_ZARR}(?:_[0-9a-f]{{1,16}})?\.__lock", re.ASCII)
#: zarr-python's temporary files end in 32 hexadecimal digits.
_ZARR_PYTHON_TEMPORARY = re.compile(
    r"[^.].*\.[0-9a-f]{32}\.partial|\.z[a-z]+\.[0-9a-f]{32}\.partial", re.ASCII
)
STORE_ENDINGS = (".zip", ".ozx", ".zarr")
"""Endings of the names of stores."""

_LETTERS = re.compile(r"[A-Za-z]{1,2}")
_DIGITS = re.compile(r"(\d+)")


@lru_cache(maxsize=4096)
def check_key(key: str) -> str:
    """Return `key` if it names something inside a store, else raise `InvalidNameError` (`problem_of_key`)."""
    problem = problem_of_key(key)
    if problem:
        raise InvalidNameError(f"{key!r} is not a path inside a store: {problem}.")
    return key


def is_key(key: str) -> bool:
    """Whether `check_key` accepts a key."""
    return problem_of_key(key) is None


def problem_of_key(key: str) -> str | None:
    """Return why `check_key` refuses a key; None where it accepts the key."""
    if key.isascii() and _SIMPLE_KEY.fullmatch(key):
        return None
    refused = {"\x00": "a NUL character", "\\": "a backslash"}
    if os.name == "nt":
        refused[":"] = "a ':', which names a drive or a stream on Windows"
    for text, description in refused.items():
        if text in key:
            return f"it has {description}"
    if key.startswith("/"):
        return "it is absolute"
    return next((problem for problem in map(_problem_of_part, key.split("/")) if problem), None)


def _problem_of_part(part: str) -> str | None:
    if part in ("", ".", ".."):
        return f"it has a {part!r} part" if part else "it has an empty part"
    try:
        length = len(part.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return (
        f"a part has {length} bytes, and file systems allow {LONGEST_PART}" if length > LONGEST_PART else None
    )


def join(path: str, name: str) -> str:
    """Join a path and a name below it; either may be the root ``""``."""
    return f"{path}/{name}" if path and name else path or name


def title_of(name: str) -> str:
    """Return the last name of the path of a store or node without endings such as ``.zarr``."""
    title = name.rstrip("/").rpartition("/")[2]
    for ending in (*STORE_ENDINGS, ".ome"):
        title = title.removesuffix(ending)
    return title


def join_names(*names: str) -> str:
    """Join names from metadata to the path of a node; slashes at their ends and empty names are dropped."""
    return "/".join([name for part in names if (name := part.strip("/"))])


def ancestors(path: str) -> list[str]:
    """List the paths above `path`, the root first: ``["", "A", "A/1"]`` for ``"A/1/0"``."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts))] if path else []


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``"2"`` before ``"10"`` and ``"B2"`` before ``"B10"``."""
    parts = _DIGITS.split(name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part)


def name_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key for names of rows, columns and fields: as `natural_order`, but ``"B"`` before ``"AA"``, as on plates."""
    if _LETTERS.fullmatch(name):
        return ((1, len(name), name),)
    return natural_order(name) if name[:1].isdecimal() else ((2, 0, ""), *natural_order(name))


def is_private(name: str) -> bool:
    """Whether a name is that of a temporary or lock file of lamella, zarr-python or TensorStore.

    Only exact patterns match: users may have files with similar endings.
    """
    if name.startswith(PRIVATE_PREFIX):
        return True
    if name.endswith(".__lock"):
        return is_tensorstore_lock(name)
    return name.endswith(".partial") and _ZARR_PYTHON_TEMPORARY.fullmatch(name) is not None


def private_name(name: str, ending: str = "") -> str:
    """Return the name of a temporary or lock file that belongs to a name, such as ``.lamella-zarr.json.lock``."""
    return shortened(PRIVATE_PREFIX + name, _LONGEST_PRIVATE) + ending


def shortened(name: str, max_bytes: int) -> str:
    """Return a name of at most `max_bytes` bytes: the end of a longer one is replaced by a digest of the whole name."""
    encoded = name.encode(errors="surrogatepass")
    if len(encoded) <= max_bytes:
        return name
    digest = sha256(encoded).hexdigest()[:16]
    return f"{encoded[: max_bytes - len(digest) - 1].decode(errors='ignore')}-{digest}"


def is_document(key: str) -> bool:
    """Whether a key is that of a document of a group or array (`DOCUMENTS`), and not of consolidated metadata."""
    return key.rpartition("/")[2] in DOCUMENTS


def is_metadata_file(name: str) -> bool:
    """Whether a name is reserved for metadata documents of Zarr."""
    return name in METADATA_FILES


def check_new_name(name: str) -> str:
    """Return the name of a new node; raise `InvalidNameError` where a part of it is reserved for files."""
    for part in check_key(name).split("/"):
        if is_metadata_file(part) or is_private(part):
            kind = "metadata" if is_metadata_file(part) else "temporary"
            raise InvalidNameError(
                f"{name!r} cannot be the name of a node: {part!r} is a name of {kind} files."
            )
    return name


def check_plain_name(name: str, node: str) -> str:
    """Return the name of a new ``node``, such as "A table"; raise `InvalidNameError` for a path or a reserved name."""
    if not isinstance(name, str):
        raise InvalidNameError(f"{node} is named by text, not by {name!r}.")
    if "/" in name:
        raise InvalidNameError(f"{node} has a plain name, not the path {name!r}.")
    return check_new_name(name)


def is_tensorstore_lock(name: str) -> bool:
    """Whether a name is that of a lock file of TensorStore, such as ``0.0_25e487a525d4d6b3.__lock``."""
    return _TENSORSTORE_LOCK.fullmatch(name) is not None


@dataclass(frozen=True)
class Format:
    """The names of the files in which a Zarr format stores documents, attributes and consolidated metadata."""

    number: ZarrFormat
    group: str
    array: str
    attributes: str
    consolidated: str

    @property
    def document_names(self) -> tuple[str, ...]:
        """The documents of groups and arrays, without consolidated copies."""
        return tuple(dict.fromkeys((self.group, self.attributes, self.array)))


V2 = Format(2, ".zgroup", ".zarray", ".zattrs", ".zmetadata")
V3 = Format(3, "zarr.json", "zarr.json", "zarr.json", "zarr.json")

FORMATS: dict[int, Format] = {2: V2, 3: V3}

DOCUMENTS = (V3.group, V2.attributes, V2.group, V2.array)
"""Names of the documents of nodes: a folder with such a file is a node, in either format."""

METADATA_FILES = (V3.group, *V2.document_names, V2.consolidated)
"""`DOCUMENTS` and the consolidated file of Zarr v2, in reading order; no other file may have these names."""


def may_be_node_name(name: str) -> bool:
    """Whether a name can be a node's; saves a request for names that no writer uses."""
    return not is_metadata_file(name) and not name.startswith(".z") and is_key(name)
