"""Replace an array of an image by a new one that was written beside it; after a kill either array is complete.

To replace level "0", the new array is written under a temporary name ("5f3c.tmp" here) with a random token in its
attributes. Then the document of the image records the names "0" and "5f3c.tmp", the token, and the changes that it will
have afterwards. Then the new array is moved over the old one (:meth:`lamella.store.storage.Storage.replace`), and the
changed document is written. Meanwhile, readers find out by the token whether the array at "0" is the old one, the new
one, or neither: then they read "5f3c.tmp". After a kill, the next writer finishes the replacement.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import uuid4

from lamella.errors import LamellaError, MetadataError, NodeNotFoundError, StorageError
from lamella.spec.own_key import (
    Replacing,
    apply_difference,
    difference,
    read_replacing,
    replacement_token,
    with_replacing,
    with_token,
)
from lamella.store.files.temporary_files import abandon, abandoned_on_errors, is_running, temporary_name
from lamella.store.keys import V2, is_private, join

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.nodes.position import Position
    from lamella.nodes.store_handle import NodePath
    from lamella.spec.images import ImagesMeta
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.documents import Documents
    from lamella.types import JSONObject


def make_beside(position: Position, array: ArrayMeta) -> NodePath:
    """Create an unlisted array under a temporary name, which is deleted if its process dies."""
    node_path = position.node_path.child(temporary_name(".tmp"))
    if not position.documents.storage.locks_processes:
        replacing = _read_record(position.documents.group(position.path))
        position.documents.delete_abandoned(position.path, replacing and replacing.by)
    attributes = with_token(array.attributes, uuid4().hex)
    try:
        position.documents.put_array(node_path.path, array.with_attributes(attributes), is_new=True)
    except BaseException:
        discard(node_path)
        raise
    return node_path


def discard(new: NodePath) -> None:
    """Delete an array of `make_beside` after a failure; if the service refuses, the next `make_beside` deletes it."""
    abandon(new.path.rpartition("/")[2])
    with suppress(LamellaError):
        new.store_handle.documents.delete(new.path)


def put_in_place(
    position: Position,
    name: str,
    new: NodePath,
    change: Callable[[ImagesMeta], ImagesMeta],
    *,
    edit_before: Callable[[JSONObject], JSONObject] | None = None,
    edit_after: Callable[[JSONObject], JSONObject] | None = None,
) -> ImagesMeta:
    """Move a complete array of `make_beside` over another one of an image, and change the metadata by a pure function.

    ``edit_before`` and ``edit_after`` change attributes outside of the metadata, before and after the replacement.
    Deletes the new array on failure.
    """
    documents, node_path = position.documents, position.node_path.child(name)
    temporary = "" if documents.storage.locks_processes else new.path.rpartition("/")[2]
    with documents.storage.lock(_lock_name(position)), abandoned_on_errors(temporary):
        try:
            token = replacement_token(documents.array(new.path).attributes) or ""
            if _is_half_copied(documents, position.path, name):
                documents.storage.write(join(node_path.path, V2.attributes), b"{}")
        except BaseException:
            discard(new)
            raise
        # An array with the ending ".new" is not deleted when the process dies, unlike ".tmp" in stores with locks.
        new_path = new.path.removesuffix(".tmp") + ".new" if documents.storage.locks_processes else new.path
        models: list[ImagesMeta] = []

        def recorded(attributes: JSONObject) -> JSONObject:
            attributes = attributes if edit_before is None else edit_before(attributes)
            new_attributes = position._dump(change(models[-1]), attributes)
            new_attributes = new_attributes if edit_after is None else edit_after(new_attributes)
            new_name = new_path.rpartition("/")[2]
            return with_replacing(
                attributes, Replacing(name, new_name, token, difference(attributes, new_attributes))
            )

        def keep_model(meta: ImagesMeta) -> ImagesMeta:
            models.append(meta)
            return meta

        replacing = None
        try:
            position.document.edit(keep_model, edit_attributes=recorded)
            replacing = read_replacing(position.document.last_attributes)
            if new_path != new.path:
                documents.move(new.path, new_path)
            documents.replace(node_path.path, new_path)
        except BaseException:
            if replacing is None or _replacement_state(documents, position.path, replacing) == "old":
                with suppress(LamellaError):
                    documents.edit_group(position.path, lambda attributes: with_replacing(attributes, None))
                discard(new)
                if new_path != new.path:
                    with suppress(LamellaError):
                        documents.delete(new_path)
            raise
        return _write_changes(position, replacing or Replacing(name, "", "", {}), change, edit_after)


def finish_replacing(position: Position) -> None:
    """Finish an interrupted replacement, with the array that is complete."""
    documents = position.documents
    if _read_record(documents.group(position.path)) is None:
        return
    with documents.storage.lock(_lock_name(position)):  # wait for a process that is replacing it
        replacing = _read_record(documents.group(position.path))
        if replacing is None:
            return
        if not documents.storage.locks_processes and is_running(replacing.by):
            raise StorageError(
                f"{documents.location(join(position.path, replacing.name))} is being replaced by another program: "
                "wait, and make the same call again."
            )
        node_path, new = position.node_path.child(replacing.name), position.node_path.child(replacing.by)
        if (
            _replacement_state(documents, position.path, replacing) == "between"
            and _token(documents, position.path, replacing.by) == replacing.token
        ):
            if documents.storage.exists(node_path.path):
                documents.delete(node_path.path)
            documents.move(new.path, node_path.path)
        if documents.storage.exists(new.path):
            documents.delete(new.path)  # the leftover copy
        _write_changes(position, replacing, lambda meta: meta)


class Replaced(NamedTuple):
    """An image whose array is being replaced, as readers see it."""

    attributes: JSONObject
    """The attributes as they apply to the stored array, without the record of the replacement."""
    moved: dict[str, str]
    """Temporary name of the new array, by its name in the metadata, while neither array is complete there."""
    missing: str | None = None
    """Name of an array that is complete neither there nor under its temporary name."""


def without_replacing(node_path: NodePath, attributes: JSONObject) -> Replaced:
    """Return an image whose array is being replaced as readers see it; see `Replaced`."""
    replacing = _read_record(attributes)
    if replacing is None:
        return Replaced(attributes, {})
    documents, path = node_path.store_handle.documents, node_path.path
    state = _replacement_state(documents, path, replacing)
    attributes = with_replacing(attributes, None)
    if state == "old":
        return Replaced(attributes, {})
    if state == "new":
        return Replaced(apply_difference(attributes, replacing.after), {})
    if _token(documents, path, replacing.by) == replacing.token:
        return Replaced(apply_difference(attributes, replacing.after), {replacing.name: replacing.by})
    return Replaced(attributes, {}, replacing.name)


def check_replaced(documents: Documents, path: str, attributes: JSONObject) -> None:
    """Raise `StorageError` for an image with an array that is stored under a temporary name, which copies leave out."""
    replacing = _read_record(attributes)
    if replacing is None or _replacement_state(documents, path, replacing) != "between":
        return
    where = documents.storage.where
    raise StorageError(
        f"Cannot copy the image {where(path)}: {where(join(path, replacing.name))} is being replaced, and its new "
        "pixels are still under a temporary name. The call that replaces it is running, or it failed or was killed: "
        "wait, or make that call again, which finishes it, as any change of the image does. Then make this call again."
    )


def check_replaced_document(documents: Documents, key: str, data: bytes) -> None:
    """Raise as `check_replaced` does, for the document of an image that is being copied, by its key and bytes."""
    if b'"replacing"' in data:
        path = key.rpartition("/")[0]
        with suppress(NodeNotFoundError, MetadataError):  # the document of an array, or a damaged one
            check_replaced(documents, path, documents.group(path))


def _lock_name(position: Position) -> str:
    return join(position.path, "replacing")


def _read_record(attributes: JSONObject) -> Replacing | None:
    replacing = read_replacing(attributes)
    # Delete only temporary names of lamella: the name comes from a document that others can write.
    return replacing if replacing is not None and is_private(replacing.by) else None


def _replacement_state(
    documents: Documents, image: str, replacing: Replacing
) -> Literal["old", "new", "between"]:
    """Return which array is stored; "between" if neither is complete, which a store with renames avoids."""
    token = _token(documents, image, replacing.name)
    is_other = token is not None and token != replacing.token
    if is_other and not _is_half_copied(documents, image, replacing.name):
        return "old"
    return "new" if token and _token(documents, image, replacing.by) != replacing.token else "between"


def _token(documents: Documents, image: str, name: str) -> str | None:
    """Return the token of an array, "" for none; None if there is no array."""
    try:
        return replacement_token(documents.array(join(image, name)).attributes) or ""
    except NodeNotFoundError:
        return None
    except MetadataError:
        return ""


def _is_half_copied(documents: Documents, image: str, name: str) -> bool:
    """Whether an array lacks the document with the token; `put_in_place` makes sure that the old array has one."""
    # In Zarr v2 an array has two documents, which a move without renames copies one after the other, in any order.
    if documents.format != 2 or documents.storage.locks_processes:
        return False
    return documents.storage.size(join(join(image, name), V2.attributes)) is None


def _is_listed(documents: Documents, path: str) -> bool:
    """Whether the storage lists the document of an array; False if the service refuses lists."""
    try:
        return documents.files.array in documents.storage.list(path)
    except StorageError:
        return False


def _write_changes(
    position: Position,
    replacing: Replacing,
    change: Callable[[ImagesMeta], ImagesMeta],
    edit_after: Callable[[JSONObject], JSONObject] | None = None,
) -> ImagesMeta:
    """Apply the recorded changes to the document, and remove the record of the replacement."""
    documents, path = position.documents, position.node_path.child(replacing.name).path
    record = replacing._replace(after={})

    def with_record(attributes: JSONObject) -> JSONObject:
        return with_replacing(attributes if edit_after is None else edit_after(attributes), record)

    position.document.edit(change, edit_attributes=with_record)
    try:
        documents.edit_array_attributes(path, lambda attributes: with_token(attributes, None))
    except NodeNotFoundError as error:
        if _is_listed(documents, path):  # else it was deleted meanwhile
            raise StorageError(
                f"{documents.location(path)} was not found after it was replaced, although it exists: the service "
                "answered 404 by mistake. Make the same call again; it finishes."
            ) from error
    return position.document.edit(lambda meta: meta)
