"""Name the files and folders of a store: check, join and sort keys such as ``"A/1/0/zarr.json"``.

A *key* is the path of a file or folder inside a store, with ``/`` between its parts and none at its ends; the root is
``""``. *Private* names are those of temporary and lock files, of lamella and of other libraries; no listing of a store
has them. `FORMATS` has the names of the files that describe nodes.
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

#: Longest name of a temporary file without its ending, such as ``.lock``.
_LONGEST_PRIVATE = LONGEST_PART - len(".export")

#: Keys that need no further check: ASCII, parts of 1 to 63 characters, none of them ``.`` or ``..``.
_PLAIN = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[^/\\\x00:]{1,63}(?:/(?=[^/])|\Z))*", re.ASCII)
#: Names of the files of an array or group: documents, and chunks such as ``c``, ``0``, ``0.1.2`` and ``c.0.1``.
_FILE_OF_ZARR = r"(?:zarr\.json|\.zarray|\.zattrs|\.zgroup|\.zmetadata|c|(?:c\.)?\d+(?:\.\d+)*)"
#: TensorStore locks ``NAME`` by ``NAME.__lock`` or ``NAME_<hexadecimal digits>.__lock``.
_OF_TENSORSTORE = re.compile(rf"{_FILE_OF_ZARR}(?:_[0-9a-f]{{1,16}})?\.__lock", re.ASCII)
#: zarr-python's temporary files end in 32 hexadecimal digits.
_OF_ZARR_PYTHON = re.compile(r"[^.].*\.[0-9a-f]{32}\.partial|\.z[a-z]+\.[0-9a-f]{32}\.partial", re.ASCII)
_DIGITS = re.compile(r"(\d+)")


@lru_cache(maxsize=4096)
def check_key(key: str) -> str:
    r"""Return `key` if it names something inside a store; ``""`` is the root.

    Raises `InvalidNameError` for ``.`` and ``..``, an absolute path, an empty part, NUL, a backslash, text that is not
    Unicode, or a part above 255 bytes.

    >>> check_key("A/1/0/zarr.json")
    'A/1/0/zarr.json'
    >>> check_key("../secret")
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidNameError: '../secret' is not a path inside a store: it has a '..' part
    """
    problem = problem_of_key(key)
    if problem:
        raise InvalidNameError(f"{key!r} is not a path inside a store: {problem}")
    return key


def is_key(key: str) -> bool:
    """Whether `check_key` accepts a key.

    >>> is_key("A/1"), is_key("A//1")
    (True, False)
    """
    return problem_of_key(key) is None


def problem_of_key(key: str) -> str | None:
    """Return why `check_key` refuses a key; None where it accepts the key.

    >>> problem_of_key("A/1"), problem_of_key("A//1")
    (None, 'it has an empty part')
    """
    if key.isascii() and _PLAIN.fullmatch(key):
        return None
    refused = {"\x00": "a NUL character", "\\": "a backslash"}
    if os.name == "nt":
        refused[":"] = "a ':', which names a drive or a stream on Windows"
    for text, description in refused.items():
        if text in key:
            return f"it has {description}"
    if key.startswith("/"):
        return "it is absolute"
    return next((problem for problem in map(_part_fault, key.split("/")) if problem), None)


def _part_fault(part: str) -> str | None:
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
    """Join a path and a name below it; either may be the root ``""``.

    >>> join("A/1", "zarr.json"), join("", "zarr.json"), join("A", "")
    ('A/1/zarr.json', 'zarr.json', 'A')
    """
    return f"{path}/{name}" if path and name else path or name


def join_names(*names: str) -> str:
    """Join names as metadata states them to the path of a node; slashes at their ends and empty names are dropped.

    >>> join_names("", "A/", "1"), join_names("A/1", "/0"), join_names("", "")
    ('A/1', 'A/1/0', '')
    """
    return "/".join([name for part in names if (name := part.strip("/"))])


def ancestors(path: str) -> list[str]:
    """List the paths above `path`, the root first.

    >>> ancestors("A/1/0")
    ['', 'A', 'A/1']
    """
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(len(parts))] if path else []


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``"2"`` before ``"10"`` and ``"B2"`` before ``"B10"``.

    >>> sorted(["10", "B", "2", "A10", "A9"], key=natural_order)
    ['2', '10', 'A9', 'A10', 'B']
    """
    parts = _DIGITS.split(name)
    return tuple((0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p)


def is_private(name: str) -> bool:
    """Whether a name is that of a temporary or lock file of lamella, zarr-python or TensorStore.

    Only exact patterns match: users may have files with similar endings.

    >>> is_private("c_15f1a44d038bbe61.__lock"), is_private("notes.__lock"), is_private("download.partial")
    (True, False, False)
    """
    if name.startswith(PRIVATE_PREFIX):
        return True
    if name.endswith(".__lock"):
        return is_of_tensorstore(name)
    return name.endswith(".partial") and _OF_ZARR_PYTHON.fullmatch(name) is not None


def private_name(name: str, ending: str = "") -> str:
    """Return the name of a temporary or lock file that belongs to a name, short enough for every file system.

    >>> private_name("zarr.json", ".lock")
    '.lamella-zarr.json.lock'
    >>> private_name("a" * 250) == private_name("a" * 251), len(private_name("a" * 250, ".lock"))
    (False, 253)
    """
    return shortened(PRIVATE_PREFIX + name, _LONGEST_PRIVATE) + ending


def shortened(name: str, longest: int) -> str:
    """Return a name of at most `longest` bytes: the end of a longer one is replaced by a digest of the whole name.

    >>> shortened("cells", 60), shortened("cells of " + "many " * 20, 30)
    ('cells', 'cells of many-9d13ef8a85c97533')
    """
    data = name.encode(errors="surrogatepass")
    if len(data) <= longest:
        return name
    digest = sha256(data).hexdigest()[:16]
    return f"{data[: longest - len(digest) - 1].decode(errors='ignore')}-{digest}"


def is_document_name(name: str) -> bool:
    """Whether a name is reserved for metadata documents of Zarr.

    >>> is_document_name("zarr.json"), is_document_name(".zattrs"), is_document_name("0")
    (True, True, False)
    """
    return name in METADATA_FILES


def check_new_name(name: str) -> str:
    """Return the name of a new node; raise `InvalidNameError` where a part of it is reserved for files.

    >>> check_new_name("cells")
    'cells'
    >>> check_new_name(".zattrs")
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidNameError: '.zattrs' cannot be the name of a node: '.zattrs' is a name of metadata files.
    """
    for part in check_key(name).split("/"):
        if is_document_name(part) or is_private(part):
            kind = "metadata" if is_document_name(part) else "temporary"
            raise InvalidNameError(
                f"{name!r} cannot be the name of a node: {part!r} is a name of {kind} files."
            )
    return name


def is_of_tensorstore(name: str) -> bool:
    """Whether a name is that of a lock file of TensorStore.

    >>> is_of_tensorstore("0.0_25e487a525d4d6b3.__lock"), is_of_tensorstore("zarr.json.__lock")
    (True, True)
    """
    return _OF_TENSORSTORE.fullmatch(name) is not None


@dataclass(frozen=True)
class Format:
    """The file names of a Zarr format: of documents of groups, arrays and attributes, and of consolidated copies.

    >>> FORMATS[2].array, FORMATS[3].array, V2.all
    ('.zarray', 'zarr.json', ('.zgroup', '.zattrs', '.zarray'))
    """

    number: ZarrFormat
    group: str
    array: str
    attributes: str
    consolidated: str

    @property
    def all(self) -> tuple[str, ...]:
        """All files that describe nodes, without consolidated copies."""
        return tuple(dict.fromkeys((self.group, self.attributes, self.array)))


V2 = Format(2, ".zgroup", ".zarray", ".zattrs", ".zmetadata")
V3 = Format(3, "zarr.json", "zarr.json", "zarr.json", "zarr.json")

FORMATS: dict[int, Format] = {2: V2, 3: V3}

DOCUMENTS = (V3.group, V2.attributes, V2.group, V2.array)
"""Files that make a folder of a store a node, in either format."""

METADATA_FILES = (V3.group, *V2.all, V2.consolidated)
"""`DOCUMENTS` and the consolidated file of Zarr v2, in reading order; no other file may have these names."""


def may_be_node_name(name: str) -> bool:
    """Whether a name can be a node's; saves a request for names that no writer uses."""
    return not is_document_name(name) and not name.startswith(".z") and is_key(name)
