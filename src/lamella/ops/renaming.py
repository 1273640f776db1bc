"""Rename members of a group: a plate its wells, a well its positions, a group of labels its label images.

A record in the document of the group says which member is being renamed, until the group lists the new name. So a kill
at any step leaves the member under one of its names, and the same call or the next writer finishes the rename. This
matters most in a store without renames, where a move copies all keys and then deletes the old ones.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, NodeExistsError, StorageError
from lamella.spec.intents import read_renaming, read_renaming_token
from lamella.store.temporary_files import abandoned_on_errors, is_abandoned, is_running, temporary_name

if TYPE_CHECKING:
    from lamella.nodes.renaming import RenamesMembers
    from lamella.spec.intents import Renaming


def move_member(node: RenamesMembers, renaming: Renaming) -> None:
    """Record a rename, move the member's folder, and update the metadata."""
    token = "" if node.documents.storage.locks_processes else temporary_name(".tmp")
    with abandoned_on_errors(token):
        _move(node, renaming, token)
        _settle(node, renaming)


def _move(node: RenamesMembers, renaming: Renaming, token: str) -> None:
    documents = node.documents
    source, target = (node.node_path.child(path).path for path in renaming)
    try:
        node._record_renaming(renaming, token)
        documents.move(source, target)
    except BaseException as error:
        with suppress(LamellaError):
            # Copies that a failing service keeps need the record: the next writer deletes them.
            if isinstance(error, NodeExistsError) or not documents.storage.exists(target):
                node._record_renaming(None)
        raise


def _settle(node: RenamesMembers, renaming: Renaming) -> None:
    node.moved = renaming
    try:
        node._settle_renaming(renaming)
    finally:
        node.moved = None


def finish_rename(node: RenamesMembers) -> None:
    """Finish a rename that was killed after the folder had moved; before that, nothing has changed."""
    with node.documents.lock(node.path):
        finish_locked_rename(node)


def finish_locked_rename(node: RenamesMembers, asked: tuple[str, str] | None = None) -> Renaming | None:
    """Do `finish_rename` for callers that have locked the node; return the finished rename.

    Raise `StorageError` where no lock excludes that another program is making the rename: to finish it too would delete
    what the other has copied. One that is ``asked`` for is finished, unless a process of this machine is making it.
    """
    documents = node.documents
    attributes = node._read_attributes()
    renaming, token = read_renaming(attributes), read_renaming_token(attributes)
    if renaming is None:
        return None
    may_run = bool(token) and not documents.storage.locks_processes and not is_abandoned(token)
    if may_run and (renaming != asked or is_running(token)):
        raise StorageError(
            f"{renaming.old!r} in {node.node_path} is being renamed to {renaming.new!r} by another program: wait. If "
            "that program was killed on another computer, make the same rename again, which finishes it."
        )
    source, target = (node.node_path.child(path).path for path in renaming)
    if node.has_moved(renaming):
        if documents.storage.exists(source):
            documents.discard_copies(source, of=target)  # a store without renames deletes keys one by one
        _settle(node, renaming)
        return renaming
    if documents.kind(source) is not None and documents.storage.exists(target):
        documents.discard_copies(target, of=source)  # begun by a store without renames
    node._record_renaming(None)
    return None
