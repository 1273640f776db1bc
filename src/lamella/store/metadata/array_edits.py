"""Edit the documents of arrays under their locks, so that concurrent edits lose nothing.

`resize` and `append` change the shape, users change the attributes. Zarr v3 stores both in one document; in Zarr v2
each has a document, and an edit writes only the one that it changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lamella.errors import NodeNotFoundError
from lamella.store.keys import V2, V3, join
from lamella.store.metadata import format_v2, format_v3
from lamella.store.metadata.json_document import parse_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.documents import Documents
    from lamella.types import JSONObject


def edit_array(
    documents: Documents, path: str, change: Callable[[ArrayMeta], ArrayMeta], *, attributes: bool = False
) -> ArrayMeta:
    """Change the shape of an array, and with ``attributes`` its attributes too, and return the new description.

    ``change`` is a pure function from the stored description to the new one. It runs under the lock, and twice where
    shape and attributes have separate documents. A missing array raises `NodeNotFoundError`.
    """
    if documents.kind(path) != "array":
        documents.array(path)  # raises, before a lock file would make its folder
    v2 = documents.format == 2
    results: list[ArrayMeta] = []

    def change_array(data: bytes | None) -> JSONObject | None:
        if data is None:
            raise NodeNotFoundError(f"there is no array at {documents.location(path)}")
        attributes_data = documents.storage.read(join(path, V2.attributes)) if v2 else None
        old = documents.parse_array(path, data, attributes_data)
        new = change(old)
        results[:] = [new]
        if v2:
            return None if new.document == old.document else format_v2.array_document(new)
        is_same = new.document == old.document and new.attributes == old.attributes
        return None if is_same else format_v3.array_document(new)

    def change_attributes(data: bytes | None) -> JSONObject | None:
        old = documents.array(path)
        stored = {} if data is None else parse_object(data, documents.at(path), V2.attributes)
        new = change(replace(old, attributes=stored))
        results[:] = [new]
        return None if new.attributes == stored else new.attributes

    documents.edit_document(path, documents.files.array, change_array)
    if v2 and attributes:
        documents.edit_document(path, V2.attributes, change_attributes)
    return results[0]


def attributes_of_array(documents: Documents, path: str) -> JSONObject:
    """Return a fresh copy of the attributes of an array, even where its other fields are invalid."""
    if documents.format == 2:
        _check_there(documents, path)
        return documents.document(path, V2.attributes) or {}
    return format_v3.attributes_of(_document_of(documents, path), documents.at(path))


def edit_attributes_of_array(
    documents: Documents, path: str, change: Callable[[JSONObject], JSONObject]
) -> None:
    """Change the attributes of an array by a pure function; its other fields stay as they are stored."""
    documents.storage.check_writable(path)
    _check_there(documents, path)  # before a lock file would make its folder

    def edit(data: bytes | None) -> JSONObject:
        if documents.format == 2:
            return change({} if data is None else parse_object(data, documents.at(path), V2.attributes))
        if data is None:
            raise NodeNotFoundError(f"there is no array at {documents.location(path)}")
        document = _checked(documents, path, parse_object(data, documents.at(path), V3.group))
        return {**document, "attributes": change(format_v3.attributes_of(document, documents.at(path)))}

    documents.edit_document(path, documents.files.attributes, edit)


def _check_there(documents: Documents, path: str) -> None:
    if documents.kind(path) != "array":
        raise NodeNotFoundError(f"there is no array at {documents.location(path)}")


def _document_of(documents: Documents, path: str) -> JSONObject:
    return _checked(documents, path, documents.document(path, V3.group))


def _checked(documents: Documents, path: str, document: JSONObject | None) -> JSONObject:
    if document is None or format_v3.node_type(document, documents.at(path)) != "array":
        raise NodeNotFoundError(f"there is no array at {documents.location(path)}")
    return document
