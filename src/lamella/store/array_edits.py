"""Edits of the documents of arrays under their locks, so that concurrent edits lose nothing.

An array's shape and its attributes are changed by different callers: `resize` and `append` change the one, users the
other. In Zarr v3 both are in one document; in Zarr v2 each has a document, and an edit writes only the one it changes.

Layer: store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import NodeNotFoundError
from lamella.store import format_v2, format_v3
from lamella.store.formats import V2, V3

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.documents import Documents
    from lamella.types import JSONObject


def edit_array(
    documents: Documents, path: str, change: Callable[[ArrayMeta], ArrayMeta], *, attributes: bool = False
) -> ArrayMeta:
    """Change the shape of an array, and with ``attributes`` its attributes too, by a pure function.

    Parameters
    ----------
    documents
        Of the store.
    path
        Of the array.
    change
        Stored description to new one; runs under the lock, twice where both have documents of their own.
    attributes
        Whether the function changes attributes.

    Returns
    -------
    ArrayMeta
        The array as it is stored then.

    Raises
    ------
    NodeNotFoundError
        There is no array at the path.
    """
    if documents.kind(path) != "array":
        documents.array(path)  # raises, before a lock file would make its folder
    v2 = documents.format == 2
    with documents.editing(path, documents.files.array) as write:
        old = documents.array(path)
        new = change(old)
        if not v2 and (new.document != old.document or new.attributes != old.attributes):
            write(format_v3.array_document(new))
        elif v2 and new.document != old.document:
            write(format_v2.array_document(new))
    if v2 and attributes:
        with documents.editing(path, V2.attributes) as write:
            old = documents.array(path)
            new = change(old)
            if new.attributes != old.attributes:
                write(new.attributes)
    return new


def attributes_of_array(documents: Documents, path: str) -> JSONObject:
    """Return a fresh copy of the attributes of an array, also where its other fields cannot be understood.

    Raises
    ------
    NodeNotFoundError
        There is no array at the path.
    MetadataError
        Its document is damaged.
    """
    if documents.format == 2:
        _check_there(documents, path)
        return documents.document(path, V2.attributes) or {}
    return format_v3.attributes_of(_document_of(documents, path), documents.at(path))


def edit_attributes_of_array(
    documents: Documents, path: str, change: Callable[[JSONObject], JSONObject]
) -> None:
    """Change the attributes of an array by a pure function; its other fields stay as they are stored.

    Raises
    ------
    NodeNotFoundError
        There is no array at the path.
    MetadataError
        Its document is damaged.
    """
    documents.storage.check_writable(path)
    _check_there(documents, path)  # before a lock file would make its folder
    v2 = documents.format == 2
    with documents.editing(path, documents.files.attributes) as write:
        if v2:
            write(change(attributes_of_array(documents, path)))
        else:
            document = _document_of(documents, path)
            write({**document, "attributes": change(format_v3.attributes_of(document, documents.at(path)))})


def _check_there(documents: Documents, path: str) -> None:
    if documents.kind(path) != "array":
        raise NodeNotFoundError(f"there is no array at {documents.location(path)}")


def _document_of(documents: Documents, path: str) -> JSONObject:
    document = documents.document(path, V3.group)
    if document is None or format_v3.node_type(document, documents.at(path)) != "array":
        raise NodeNotFoundError(f"there is no array at {documents.location(path)}")
    return document
