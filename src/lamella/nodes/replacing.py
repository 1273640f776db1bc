"""An array of an image is replaced by one that is written beside it: a kill leaves the old one or the new one.

The document of the image says first which array goes, which one comes, and what the document says then; then the new
one takes the place of the old one (:meth:`lamella.store.storage.Storage.replace`), then the document is written. Where
that was cut short, every reader looks which of the two is there, and the next writer ends it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from lamella.errors import LamellaError, MetadataError, NodeNotFoundError
from lamella.spec.intents import (
    Replacing,
    changed,
    difference,
    read_replacing,
    replaces,
    with_replacing,
    with_token,
)
from lamella.store.array_edits import edit_attributes_of_array
from lamella.store.keys import is_private, join
from lamella.store.temporary_files import temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.nodes.position import Position
    from lamella.nodes.store_handle import NodePath
    from lamella.spec.images import ImagesMeta
    from lamella.store.array_meta import ArrayMeta
    from lamella.types import JSONObject


def make_beside(position: Position, array: ArrayMeta) -> NodePath:
    """Make an array that no listing shows, and that goes when its process dies."""
    place = position.node_path.child(temporary_name(".tmp"))
    attributes = with_token(array.attributes, uuid4().hex)
    position.documents.put_array(place.path, array.with_attributes(attributes), new=True)
    return place


def put_in_place(
    position: Position,
    name: str,
    new: NodePath,
    change: Callable[[ImagesMeta], ImagesMeta],
    *,
    first: Callable[[JSONObject], JSONObject] | None = None,
    last: Callable[[JSONObject], JSONObject] | None = None,
) -> ImagesMeta:
    """Put an array that is complete in the place of another one of an image; it is deleted where that fails before.

    Parameters
    ----------
    position
        The image.
    name
        Of the array that goes.
    new
        What `make_beside` made.
    change
        What the metadata say then: a pure function.
    first, last
        Change attributes that the metadata do not hold, before the array goes, and when the new one is there.

    Returns
    -------
    ImagesMeta
        The metadata, for looking only.
    """
    documents, place = position.documents, position.node_path.child(name)
    with documents.storage.lock(_lock(position)):
        token = replaces(documents.array(new.path).attributes) or ""
        # With this name it stays when the process dies. Where nothing is swept it has one that stays already.
        kept = new.path.removesuffix(".tmp") + ".new" if documents.storage.locks_processes else new.path
        seen: list[ImagesMeta] = []

        def begun(attributes: JSONObject) -> JSONObject:
            attributes = attributes if first is None else first(attributes)
            after = position._dump(change(seen[-1]), attributes)
            after = after if last is None else last(after)
            by = kept.rpartition("/")[2]
            return with_replacing(attributes, Replacing(name, by, token, difference(attributes, after)))

        def look(meta: ImagesMeta) -> ImagesMeta:
            seen.append(meta)
            return meta

        replacing = None
        try:
            position.document.edit(look, beside=begun)
            replacing = read_replacing(position.document.last_attributes)
            if kept != new.path:
                documents.move(new.path, kept)
            documents.replace(place.path, kept)
        except BaseException:
            if replacing is None or _state(position.node_path, replacing) == "old":
                with suppress(LamellaError):
                    documents.edit_group(position.path, lambda attributes: with_replacing(attributes, None))
                for path in {new.path, kept}:
                    with suppress(LamellaError):
                        documents.delete(path)
            raise
        return _end(position, replacing or Replacing(name, "", "", {}), change, last)


def finish_replacing(position: Position) -> None:
    """End a replacement that was cut short: nothing is lost of the one of both arrays that counts."""
    documents = position.documents
    if _read(documents.group(position.path)) is None:
        return
    with documents.storage.lock(_lock(position)):  # no other process replaces it any more
        replacing = _read(documents.group(position.path))
        if replacing is None:
            return
        place, new = position.node_path.child(replacing.name), position.node_path.child(replacing.by)
        if (
            _state(position.node_path, replacing) == "between"
            and _token(position.node_path, replacing.by) == replacing.token
        ):
            if documents.storage.exists(place.path):
                documents.delete(place.path)
            documents.move(new.path, place.path)
        if documents.storage.exists(new.path):
            documents.delete(new.path)  # the one that does not count
        _end(position, replacing, lambda meta: meta)


def resolved(place: NodePath, attributes: JSONObject) -> tuple[JSONObject, str | None]:
    """Return what the document of an image says by the array that is there, if one was being replaced.

    Returns
    -------
    tuple of dict and str or None
        The attributes, without a word of the replacement; and the name of an array that is not whole.
    """
    replacing = _read(attributes)
    if replacing is None:
        return attributes, None
    state = _state(place, replacing)
    attributes = with_replacing(attributes, None)
    if state == "new":
        attributes = changed(attributes, replacing.after)
    return attributes, replacing.name if state == "between" else None


def _lock(position: Position) -> str:
    return join(position.path, "replacing")


def _read(attributes: JSONObject) -> Replacing | None:
    replacing = read_replacing(attributes)
    # Names come from the document: what is deleted must be ours.
    return replacing if replacing is not None and is_private(replacing.by) else None


def _state(place: NodePath, replacing: Replacing) -> Literal["old", "new", "between"]:
    """Return which of two arrays is at the place of one: where the store has no exchange there may be a part of one."""
    there = _token(place, replacing.name)
    if there is not None and there != replacing.token:
        return "old"
    return "new" if there and _token(place, replacing.by) != replacing.token else "between"


def _token(place: NodePath, name: str) -> str | None:
    """Return the token of an array, empty where it has none; None where there is no array."""
    try:
        return replaces(place.store_handle.documents.array(place.child(name).path).attributes) or ""
    except NodeNotFoundError:
        return None
    except MetadataError:
        return ""


def _end(
    position: Position,
    replacing: Replacing,
    change: Callable[[ImagesMeta], ImagesMeta],
    last: Callable[[JSONObject], JSONObject] | None = None,
) -> ImagesMeta:
    """Apply the recorded changes to the document, and remove the record of the replacement."""
    documents, path = position.documents, position.node_path.child(replacing.name).path
    nothing = replacing._replace(after={})

    def ended(attributes: JSONObject) -> JSONObject:
        return with_replacing(attributes if last is None else last(attributes), nothing)

    position.document.edit(change, beside=ended)
    with suppress(NodeNotFoundError):  # deleted meanwhile
        edit_attributes_of_array(documents, path, lambda attributes: with_token(attributes, None))
    return position.document.edit(lambda meta: meta)
