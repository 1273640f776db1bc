"""Read the nodes of a store as they are: raw documents, damaged or not, of either Zarr format.

An unreadable document does not raise, but is a finding of its node; :mod:`lamella.spec.rules` checks readable ones.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.arguments import check_flags
from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    InvalidNameError,
    LamellaError,
    MetadataError,
    StoreNotFoundError,
    clause,
)
from lamella.nodes.image_array import ImageArray
from lamella.nodes.node import NGFFNode
from lamella.spec.rules import ArrayFacts
from lamella.spec.rules.value import describe
from lamella.spec.versions import VERSIONS
from lamella.store.files.local import LocalStorage
from lamella.store.flat_storage import FlatStorage
from lamella.store.keys import DOCUMENTS, FORMATS, METADATA_FILES, V2, V3, is_key, join, may_be_node_name
from lamella.store.metadata import format_v2, format_v3
from lamella.store.metadata.json_document import RepeatedKeyError, is_too_deep, reject_duplicate_keys
from lamella.store.metadata.missing_document import check_unfinished_copy
from lamella.store.pixels.stored_chunks import foreign_chunk_key, iter_stored_files
from lamella.store.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from zarr.abc.store import Store

    from lamella.spec.rules import Location
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.stored_documents import NodeKind
    from lamella.store.storage import Storage
    from lamella.types import JSON, JSONObject, StrPath

    T = TypeVar("T")

_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_DOTTED = re.compile(r"[0-9]+(\.[0-9]+)+")

_KIND_DOCUMENTS = (V3.group, V2.attributes, V2.array)
"""The documents that show what a node is: a group or an array, a plate or an image."""


@dataclass(frozen=True)
class DocumentFinding:
    """A document that cannot be read, or is not plain JSON: the ``rule`` that it breaks, and what was found.

    ``is_link``: the document, or a folder above it, is a link that leads out of the store. ``unread``: the service or
    the system refused to send the document.
    """

    rule: str
    file: str
    found: str
    is_link: bool = False
    unread: bool = False


@dataclass
class StoredNode:
    """The content of the folder at one path."""

    path: str
    names: list[str] | None = None
    """Files and folders in it; None if they were not listed."""
    data: dict[str, bytes] = field(default_factory=dict)
    """The documents as stored, by file name."""
    documents: dict[str, JSONObject] = field(default_factory=dict)
    """Parsed documents, by file name."""
    findings: list[DocumentFinding] = field(default_factory=list)
    """Problems of the other documents."""
    has_other_format: bool = False
    """Whether a document of the other Zarr format is in the folder too."""

    @property
    def exists(self) -> bool:
        """Whether the folder has a document; consolidated metadata that a service refuses to send do not count."""
        return bool(self.data) or any(
            finding.file != V2.consolidated or not finding.unread for finding in self.findings
        )

    @property
    def unreadable(self) -> bool:
        """Whether the document that states the kind of the node cannot be read."""
        return any(
            finding.rule == "LM-01"
            and (finding.file in _KIND_DOCUMENTS or (finding.file == V2.group and finding.unread))
            for finding in self.findings
        )

    def lacks(self, file: str) -> bool:
        """Return whether a document does not exist; an unreadable one does."""
        return file not in self.data and not any(finding.file == file for finding in self.findings)

    @property
    def formats(self) -> set[int]:
        """The Zarr formats of the documents."""
        unread_files = {
            finding.file for finding in self.findings if self.names and finding.file in self.names
        }
        files = self.data.keys() | unread_files
        v2 = {V2.group, V2.array, V2.attributes} & files
        return ({3} if V3.group in files else set()) | ({2} if v2 else set())

    @property
    def zarr_format(self) -> int | None:
        """The Zarr format; 3 for documents of both, as in zarr-python. None without a node."""
        return max(self.formats, default=None)

    @property
    def kind(self) -> NodeKind | None:
        """The kind of the node; None without a node, or if no document states it."""
        if self.zarr_format == 3:
            kind = self.documents.get(V3.group, {}).get("node_type")
            return kind if kind in ("group", "array") else None
        if V2.array in self.data:
            return "array"
        return "group" if self.formats else None

    @property
    def attributes(self) -> JSON:
        """The attributes of a group as stored, of any JSON type; an empty object without attributes."""
        if self.zarr_format == 3:
            return self.documents.get(V3.group, {}).get("attributes", {})
        return self.documents.get(V2.attributes, {})

    @property
    def ome(self) -> JSONObject:
        """The OME part of the attributes, where either version puts it; empty without one."""
        attributes = self.attributes
        if not isinstance(attributes, dict):
            return {}
        ome = attributes.get("ome")
        if isinstance(ome, dict) and (self.zarr_format == 3 or not attributes.keys() - {"ome"}):
            return ome
        return attributes

    def location(self, *keys: str | int) -> Location:
        """Return the location of keys of the OME part, from the root of the attributes."""
        return ("ome", *keys) if self.zarr_format == 3 else keys

    @property
    def stated_version(self) -> str | None:
        """The version that the document states; None without one."""
        attributes = self.attributes
        ome = attributes.get("ome") if isinstance(attributes, dict) else None
        version = ome.get("version") if isinstance(ome, dict) else None
        return version if isinstance(version, str) else None

    @property
    def version(self) -> str | None:
        """The version by which the document is read; None if unknown."""
        attributes = self.attributes if isinstance(self.attributes, dict) else {}
        for version in VERSIONS:
            try:
                if version.matches(self.zarr_format or 2, attributes):
                    return version.name
            except MetadataError:  # `ome` is not an object, a finding of ST-03
                return "0.5"
        return None

    @property
    def members(self) -> list[str]:
        """Names that may be nodes, in natural order; empty if the folder was not listed."""
        return [name for name in self.names or [] if may_be_node_name(name)]


@dataclass
class ArrayNode(StoredNode):
    """An array as stored, with the facts that rules need.

    ``problem`` is why lamella cannot use the array. ``facts`` is None for an unreadable document, ``meta`` for an
    array that lamella cannot use.
    """

    facts: ArrayFacts | None = None
    problem: str | None = None
    meta: ArrayMeta | None = None


class StoreReader:
    """Reads nodes of one store, each document once for each call, on any thread; ``changes`` replaces documents by key.

    With ``must_read`` it raises for documents and folders that the service or system does not return. Callers that
    change the store use it, because they must not treat such a document as missing.
    """

    def __init__(
        self, storage: Storage, changes: Mapping[str, bytes | None] | None = None, *, must_read: bool = False
    ) -> None:
        self.storage = storage
        self._must_read = must_read
        self._changes = changes or {}

    def group(self, path: str) -> StoredNode:
        """Read the documents at a path that should be a group, and list its folder."""
        node = StoredNode(path)
        files: tuple[str, ...] = METADATA_FILES
        if not is_key(path):
            return node
        try:
            if self.storage.can_list:
                node.names = self.storage.list(path)
                files = tuple(
                    file for file in files if file in node.names or join(path, file) in self._changes
                )
        except (LamellaError, OSError) as error:
            self._check(error)
            problem = f"the folder cannot be listed: {clause(error)}"
            is_link = isinstance(error, InvalidNameError)
            node.findings.append(DocumentFinding("LM-01", V2.attributes, problem, is_link, _is_unread(error)))
            return node
        for file in files:
            self._read(node, file, is_listed=node.names is not None)
        _check_group_documents(node)
        return node

    def array(self, path: str, zarr_format: int | None) -> ArrayNode:
        """Read the documents at a path that should be an array, of its format first; its folder is not listed."""
        node = ArrayNode(path)
        first_file, other_file = (V3.group, V2.array) if zarr_format == 3 else (V2.array, V3.group)
        self._read(node, first_file)
        if not node.exists:
            self._read(node, other_file)
        elif is_key(path) and self._has(join(path, other_file)):
            node.has_other_format = True
        if node.kind == "array" and not node.unreadable:
            _describe(node)
        return node

    def _has(self, key: str) -> bool:
        if key in self._changes:
            return self._changes[key] is not None
        return self._answer(lambda: self.storage.size(key) is not None, otherwise=False)

    def _answer(self, ask: Callable[[], T], otherwise: T) -> T:
        """Return what the storage answers, or ``otherwise`` if it refuses; raise if everything must be read."""
        try:
            return ask()
        except (LamellaError, OSError) as error:
            self._check(error)
            return otherwise

    def _check(self, error: Exception) -> None:
        """Raise an error of the storage if everything must be read."""
        if self._must_read and _is_unread(error):
            raise error

    def exists(self, path: str) -> bool:
        """Return whether a path exists, node or not; True if the store refuses to answer."""
        return self._answer(lambda: is_key(path) and self.storage.exists(path), otherwise=True)

    def are_nested(self, path: str) -> bool:
        """Return whether the chunks of a Zarr v2 array seem to have nested keys: ``0/0``, and none such as ``0.0``."""
        if not self.storage.can_list:
            return False
        names: list[str] = self._answer(lambda: self.storage.list(path), otherwise=[])
        return any(name.isdigit() for name in names) and not any(_DOTTED.fullmatch(name) for name in names)

    def foreign_chunk_key(self, array: ArrayNode) -> str | None:
        """Return the key of a chunk with another spelling than the document declares, if the first chunk is missing."""
        path, meta = array.path, array.meta
        if meta is None or not self.storage.can_list:
            return None
        first_key = join(path, meta.chunk_key((0,) * meta.ndim))
        # A refusal is reported by readers of pixels.
        if self._answer(lambda: self.storage.size(first_key) is not None, otherwise=True):
            return None
        return self._answer(lambda: foreign_chunk_key(self.storage, path, meta), otherwise=None)

    def other_separator(self, array: ArrayNode) -> str | None:
        """Return the separator of the keys of all chunks of a Zarr v3 array, if the document declares the other one."""
        key, document = self.foreign_chunk_key(array), array.documents.get(V3.group)
        encoding = document.get("chunk_key_encoding") if document is not None else None
        if key is None or array.meta is None or not isinstance(encoding, dict):
            return None
        other_separator = "." if array.meta.separator == "/" else "/"
        if encoding.get("name") != "default" or not key.startswith(f"c{other_separator}"):
            return None
        declared_files = iter_stored_files(self.storage, array.path, array.meta)
        has_declared = self._answer(lambda: any(True for _ in declared_files), otherwise=True)
        return None if has_declared else other_separator

    def _read(self, node: StoredNode, file: str, *, is_listed: bool = False) -> None:
        key = join(node.path, file)
        if not is_key(key):
            return
        try:
            data = self._changes[key] if key in self._changes else self.storage.read(key)
            if data is None and is_listed and key not in self._changes:
                data = self.storage.read_again([key]).get(key)
        except (LamellaError, OSError) as error:
            self._check(error)
            is_link = isinstance(error, InvalidNameError)
            node.findings.append(DocumentFinding("LM-01", file, clause(error), is_link, _is_unread(error)))
            return
        if data is None:
            return
        node.data[file] = data
        document, findings = self.parse(data, file)
        node.findings.extend(findings)
        if document is not None:
            node.documents[file] = document

    def parse(self, data: bytes, file: str) -> tuple[JSONObject | None, list[DocumentFinding]]:
        """Parse one document; comments and values that JSON lacks are findings, and the rest is read."""
        findings = []
        constants: list[str] = []

        def parse_constant(name: str) -> float:
            constants.append(name)
            return float(name.replace("Infinity", "inf"))

        decoder = json.JSONDecoder(parse_constant=parse_constant, object_pairs_hook=reject_duplicate_keys)
        try:
            text = data.decode("utf-8-sig")
            try:
                document = decoder.decode(text.strip())
            except RepeatedKeyError:
                raise
            except ValueError:
                without_comments = _COMMENT.sub(lambda match: match[0] if match[0][0] == '"' else "", text)
                if without_comments == text:
                    raise
                document = decoder.decode(without_comments.strip())
                findings.append(DocumentFinding("ST-06", file, f"{file} has comments"))
        except RecursionError:
            return None, [DocumentFinding("LM-01", file, f"{file} is nested too deeply")]
        except UnicodeDecodeError as error:
            return None, [DocumentFinding("LM-01", file, f"{file} is not UTF-8 text (byte {error.start})")]
        except RepeatedKeyError as error:
            return None, [DocumentFinding("LM-01", file, f"{file}: {clause(error)}")]
        except ValueError as error:
            problem = f"{file} is empty" if not data.strip() else f"{file} is not JSON ({error})"
            return None, [DocumentFinding("LM-01", file, problem)]
        if not isinstance(document, dict) or is_too_deep(document):
            is_object = isinstance(document, dict)
            problem = "is nested too deeply" if is_object else f"contains {describe(document)}, not an object"
            return None, [DocumentFinding("LM-01", file, f"{file} {problem}")]
        if constants:
            problem = f"{file} contains {constants[0]}, which JSON does not have"
            findings.append(DocumentFinding("LM-03", file, problem))
        return document, findings


def _is_unread(error: Exception) -> bool:
    return isinstance(error, OSError) and not isinstance(error, DamagedDataError)


def _check_group_documents(node: StoredNode) -> None:
    """Replace documents that state no node of their format, which readers refuse, by findings."""
    for file, zarr_format in ((V3.group, 3), (V2.group, 2)):
        if (document := node.documents.get(file)) is None:
            continue
        stated_format, stated_type = document.get("zarr_format"), document.get("node_type")
        if stated_format != zarr_format:
            problem = f"{file} has the zarr_format {describe(stated_format)}, not {zarr_format}"
        elif file == V3.group and stated_type not in ("group", "array"):
            problem = f'{file} has the node_type {describe(stated_type)}, not "group" or "array"'
        else:
            continue
        node.findings.append(DocumentFinding("LM-01", file, problem))
        del node.documents[file]


def _describe(node: ArrayNode) -> None:
    """Collect the facts that rules need of an array, even if lamella cannot read its pixels."""
    document = node.documents.get(FORMATS[node.zarr_format or 2].array, {})
    try:
        if node.zarr_format == 3:
            meta = format_v3.parse_array(document, node.path)
        else:
            meta = format_v2.parse_array(document, {}, node.path)
    except LamellaError as error:
        node.problem = clause(error)
        node.facts = _plain_facts(document, node.zarr_format or 2)
        return
    node.meta = meta
    node.facts = ArrayFacts(
        meta.shape, meta.dtype.name, meta.dimension_names, meta.separator, zarr_format=meta.zarr_format
    )


def _plain_facts(document: JSONObject, zarr_format: int) -> ArrayFacts | None:
    shape, dtype = document.get("shape"), document.get("data_type" if zarr_format == 3 else "dtype")
    if (
        not isinstance(shape, list)
        or not all(type(length) is int and length >= 0 for length in shape)
        or dtype is None
    ):
        return None
    names, dimension_names = document.get("dimension_names"), None
    if isinstance(names, list) and len(names) == len(shape):
        dimension_names = tuple(name if isinstance(name, str) else None for name in names)
    return ArrayFacts(
        tuple(shape),
        dtype if isinstance(dtype, str) else json.dumps(dtype),
        dimension_names,
        str(document.get("dimension_separator") or ".") if zarr_format == 2 else "/",
        zarr_format=zarr_format,
    )


def storage_of(
    path_or_node: StrPath | Store | NGFFNode, *, read_only: bool = True, follow_links: bool = False
) -> tuple[Storage, str, str]:
    """Return the storage, the path in it and the name of a caller's argument."""
    check_flags(follow_links=follow_links)
    if isinstance(path_or_node, ImageArray):
        raise InvalidArgumentError(f"{path_or_node!r} is an array: use its image, or the path of the image.")
    if isinstance(path_or_node, NGFFNode):
        return path_or_node.documents.storage, path_or_node.path, str(path_or_node.node_path)
    storage = open_storage(path_or_node, read_only=read_only, follow_links=follow_links, must_exist=True)
    is_missing = isinstance(storage, LocalStorage) and not os.path.lexists(storage.root)
    if is_missing and not storage.exists(""):  # raises if a folder above it must not be searched
        raise StoreNotFoundError(f"There is no store at {storage.name}. Check the path.")
    storage.request_ahead(METADATA_FILES)  # also shows whether a service allows listing
    if not isinstance(storage, LocalStorage) and _is_without_documents(storage):
        if isinstance(storage, FlatStorage):
            check_unfinished_copy(storage)
        if storage.can_list and not storage.exists(""):
            raise StoreNotFoundError(f"There is no store at {storage.name}. Check the path.")
    return storage, "", storage.name


def _is_without_documents(storage: Storage) -> bool:
    """Return whether the root has no documents; False if they cannot be read, which a later read reports."""
    with suppress(LamellaError):
        return all(storage.size(name) is None for name in DOCUMENTS)
    return False
