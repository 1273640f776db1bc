"""Rename members of a group: wells of a plate, positions of a well, label images of a group of labels.

To rename "A/1" to "B/2", a record {"A/1" -> "B/2"} is written into the group's document, the folder is moved, the list
of members is updated, and the record removed. After a kill the member has one of the two names, and the same call, or
the next program that writes to the group, finishes. Object stores cannot rename folders: there keys are copied and the
old ones deleted, without a lock against other machines. docs/design.md lists the steps.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

from lamella.errors import LamellaError, NodeExistsError, StorageError
from lamella.spec.own_key import COPIED, COPYING, Renaming, RenamingRecord, read_renaming_record
from lamella.store.files.temporary_files import abandoned_on_errors, is_abandoned, is_running, temporary_name

if TYPE_CHECKING:
    from lamella.nodes.renaming import Change, RenamesMembers
    from lamella.store.flat_storage import FlatStorage


def move_member(node: RenamesMembers, renaming: Renaming) -> None:
    """Record a rename, move the member's folder, and update the metadata."""
    if node.documents.storage.locks_processes:
        _move_folder(node, renaming)
        update_after_move(node, renaming)
        return
    record = RenamingRecord(renaming, temporary_name(".tmp"), COPYING)
    with abandoned_on_errors(record.token):
        sizes = _storage(node).keys_to_move(*_paths(node, renaming))
        node._change_record(_replacing_record(node, None, record), only_if_listed=renaming)
        _move_keys(node, record, sizes)


def _paths(node: RenamesMembers, renaming: Renaming) -> tuple[str, str]:
    return node.node_path.child(renaming.old).path, node.node_path.child(renaming.new).path


def _storage(node: RenamesMembers) -> FlatStorage:
    return cast("FlatStorage", node.documents.storage)


def update_after_move(node: RenamesMembers, renaming: Renaming) -> None:
    """Update the metadata after the move of a member's folder, its list last."""
    _update_metadata(node, renaming)
    node._change_record(lambda _: None, renaming)


def _update_metadata(node: RenamesMembers, renaming: Renaming) -> None:
    node.moved = renaming
    try:
        node._update_moved_member(renaming)
    finally:
        node.moved = None


# ---- in a store with renames ------------------------------------------------------------------------


def _move_folder(node: RenamesMembers, renaming: Renaming) -> None:
    documents = node.documents
    source, target = _paths(node, renaming)
    try:
        node._change_record(lambda _: RenamingRecord(renaming))
        documents.move(source, target)
    except BaseException as error:
        with suppress(LamellaError):
            if isinstance(error, NodeExistsError) or not documents.storage.exists(target):
                node._drop_record()
        raise


# ---- by copies --------------------------------------------------------------------------------------


def _replacing_record(node: RenamesMembers, old: RenamingRecord | None, new: RenamingRecord | None) -> Change:
    """Return a function that replaces the old record, and raises if another program has changed it."""

    def change(stored_record: RenamingRecord | None) -> RenamingRecord | None:
        if stored_record != old:
            raise renamed_by_another(
                node.node_path, (stored_record or old or cast("RenamingRecord", new)).renaming
            )
        return new

    return change


def renamed_by_another(group: object, renaming: Renaming, kind: str = "") -> StorageError:
    """Return the error about a member of a ``group`` that another program may be renaming now."""
    return StorageError(
        f"{kind}{renaming.old!r} in {group} is being renamed to {renaming.new!r} by another program: wait. If "
        "that program was killed on another computer, make the same rename again, which finishes it."
    )


def check_not_renamed_by_another(
    group: object, record: RenamingRecord, request: tuple[str, str] | None, kind: str = ""
) -> None:
    """Raise if another program may be making the recorded rename now.

    If it is the requested rename, raise only if a running process of this machine makes it; else the caller finishes.
    """
    may_run = bool(record.token) and not is_abandoned(record.token)
    if may_run and (record.renaming != request or is_running(record.token)):
        raise renamed_by_another(group, record.renaming, kind)


def _move_keys(node: RenamesMembers, record: RenamingRecord, sizes: dict[str, int]) -> None:
    """Copy the keys of a recorded rename, list the new name, and delete the old keys; undo it after an error."""
    storage, paths = _storage(node), _paths(node, record.renaming)
    copied_record = record._replace(state=COPIED)
    node.documents.drop_consolidated(*paths)
    try:
        storage.copy_to_move(*paths, sizes, files=node._files_to_add(record.renaming))
        node._change_record(
            _replacing_record(node, record, copied_record), record.renaming, only_if_listed=record.renaming
        )
        storage.delete_moved(*paths, sizes, check_owned=lambda: _check_own_record(node, copied_record))
    except NodeExistsError:  # another program has created the new name, or renamed the old one
        with suppress(LamellaError):
            node._drop_record(record)
        raise
    except BaseException:
        with suppress(LamellaError):
            _undo(node, record, sizes)
        raise
    _finish(node, copied_record)


def _check_own_record(node: RenamesMembers, record: RenamingRecord) -> None:
    """Raise if another program has replaced the record."""
    _replacing_record(node, record, record)(read_renaming_record(node.documents.group(node.path)))


def _undo(node: RenamesMembers, record: RenamingRecord, sizes: dict[str, int]) -> None:
    """List the old name again, and delete the copies, if the old keys are complete and this call wrote the record."""
    storage, (source, target) = _storage(node), _paths(node, record.renaming)
    if not storage.is_complete(source, sizes):
        # Another program had made the rename before; nothing if the new name is listed.
        node._drop_record(record)
        return

    def listed_again(stored_record: RenamingRecord | None) -> RenamingRecord:
        if stored_record is None or stored_record.token != record.token:
            raise renamed_by_another(node.node_path, record.renaming)
        return record

    node._change_record(listed_again, Renaming(record.renaming.new, record.renaming.old))
    storage.discard(target, sizes, old=source)
    if not storage.exists(target):  # copies that a failing service keeps need the record
        node._drop_record(record)


def _finish(node: RenamesMembers, record: RenamingRecord) -> None:
    _update_metadata(node, record.renaming)
    node._drop_record(record)


# ---- after a kill -----------------------------------------------------------------------------------


def finish_rename(node: RenamesMembers) -> None:
    """Finish a rename that was killed after the member had moved; undo it before that."""
    with node._lock_members():
        finish_locked_rename(node)


def finish_locked_rename(node: RenamesMembers, request: tuple[str, str] | None = None) -> Renaming | None:
    """Do `finish_rename` for callers that have locked the node; return the finished rename.

    Raise `StorageError` if another program may be making the rename, in a store without locks. The requested rename is
    finished, unless a process of this machine is making it.
    """
    documents = node.documents
    record = read_renaming_record(node._read_attributes())
    if record is None:
        return None
    renaming, locks = record.renaming, documents.storage.locks_processes
    if not locks:
        check_not_renamed_by_another(node.node_path, record, request)
    if record.state and not locks:
        return _finish_copies(node, record, is_requested=renaming == request)
    source, target = _paths(node, renaming)
    if node.has_moved(renaming):
        if documents.storage.exists(source):
            # A store without renames deletes keys one by one: a killed call leaves copies.
            documents.discard_copies(source, originals=target)
        update_after_move(node, renaming)
        return renaming
    if documents.kind(source) is not None and documents.storage.exists(target):
        documents.discard_copies(target, originals=source)  # begun by a store without renames
    node._drop_record()
    return None


def _finish_copies(
    node: RenamesMembers, stored_record: RenamingRecord, *, is_requested: bool
) -> Renaming | None:
    """Finish a rename by copies; undo it if it was not requested and the new name is not listed yet."""
    documents = node.documents
    source, target = _paths(node, stored_record.renaming)
    own_record = stored_record._replace(token=temporary_name(".tmp"))
    with abandoned_on_errors(own_record.token):
        node._change_record(_replacing_record(node, stored_record, own_record))
        if own_record.state == COPIED:
            if documents.storage.exists(source):
                documents.discard_copies(source, originals=target)
            _finish(node, own_record)
            return own_record.renaming
        source_exists = documents.kind(source) is not None
        if source_exists and is_requested:
            sizes = _storage(node).keys_to_move(source, target, may_exist=True)
            _move_keys(node, own_record, sizes)
            return own_record.renaming
        if source_exists and documents.storage.exists(target):
            documents.discard_copies(target, originals=source)
        node._drop_record(own_record)
    return None
