"""The bases of nodes that rename their members: a plate its wells, a well its positions, a group of labels its images.

The document of the group records a rename until it is done (:mod:`lamella.ops.renaming`). Take that of the well A/1 to
A/2. In a store that can rename folders, the record has the two names only, and the plate lists A/1 until the end; after
a kill, readers check whether the folder A/1 or A/2 exists. In other stores the files are copied, and the record also
has a state: "copying" while A/1 is complete and listed, "copied" while A/2 is complete and listed, and the files of A/1
are being deleted.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, NodeExistsError
from lamella.nodes.node import M, ModelNode, NGFFNode
from lamella.spec.own_key import read_renaming_record, with_renaming_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from lamella.spec.own_key import Renaming, RenamingRecord
    from lamella.types import JSONObject

    Change: TypeAlias = Callable[["RenamingRecord | None"], "RenamingRecord | None"]


class RenamesMembers(NGFFNode):
    """A node that renames members."""

    moved: Renaming | None = None
    """The rename whose files this node has moved, and for which it is updating the metadata."""

    def _lock_members(self) -> AbstractContextManager[None]:
        """Lock the group for the rename of a member."""
        return self.documents.lock(self.path)

    @abstractmethod
    def _update_moved_member(self, renaming: Renaming) -> None:
        """Update all metadata but the list of members, after the folder of a member was moved."""

    def _files_to_add(self, renaming: Renaming) -> dict[str, bytes]:
        """Return the files that are missing above the new name of a member."""
        del renaming
        return {}

    @abstractmethod
    def _change_record(
        self,
        change: Change,
        rename_in_list: Renaming | None = None,
        *,
        only_if_listed: Renaming | None = None,
    ) -> None:
        """Change the record of a rename; with ``rename_in_list``, the same write replaces its old name by its new one.

        ``change`` maps the stored record to the new one, and raises if another program has changed it. With
        ``only_if_listed``, raises `NodeExistsError` unless its old name is listed and its new name is not.
        """

    def _check_listed(self, renaming: Renaming, listed: Iterable[str]) -> None:
        if not _lists_old_name_only(renaming, listed):
            raise NodeExistsError(
                f"Cannot rename {renaming.old!r} to {renaming.new!r} in {self.node_path}: another program has "
                f"renamed the first one or created the second one. Open {self.node_path} again and look."
            )

    def _read_attributes(self) -> JSONObject:
        """Read the attributes of the group, as other programs may have changed them."""
        return self.documents.group(self.path)

    def _drop_record(self, expected: RenamingRecord | None = None) -> None:
        """Remove the record of a rename; with ``expected``, only if the stored record equals it."""

        def drop(attributes: JSONObject) -> JSONObject:
            is_other = expected is not None and read_renaming_record(attributes) != expected
            return attributes if is_other else with_renaming_record(attributes, None)

        self.documents.edit_group(self.path, drop)

    def _moved_member(self, attributes: JSONObject) -> Renaming | None:
        """Return the recorded rename if its folder has the new name already, while the attributes list the old one."""
        record = read_renaming_record(attributes)
        if record is None or record.state or not self.has_moved(record.renaming):
            return None
        return record.renaming

    def has_moved(self, renaming: Renaming) -> bool:
        """Whether a member that is being renamed is complete under its new name only.

        In a store without renames, the old documents are deleted first: the old member may have one of its two
        documents.
        """
        if self.moved == renaming:
            return True
        documents = self.documents
        old, new = (self.node_path.child(path).path for path in renaming)
        if documents.kind(new) != "group":
            return False
        return documents.kind(old) is None or (
            documents.is_whole_group(new) and not documents.is_whole_group(old)
        )


class ListsMembers(RenamesMembers, ModelNode[M]):
    """A node that renames members, which its model lists."""

    _relisting: tuple[Renaming, M, M] | None = None
    """The last rename that was written to the list of members, with the models before and after."""

    @abstractmethod
    def _names_in(self, meta: M) -> list[str]:
        """Return the names that a model lists."""

    @abstractmethod
    def _with_new_name(self, meta: M, renaming: Renaming) -> M:
        """Return the model with the new name of a member in place of the old one."""

    def _relisted(self, meta: M, renaming: Renaming) -> M:
        """Return the model with the new name of a member, if it lists the old one only."""
        listed = self._names_in(meta)
        return self._with_new_name(meta, renaming) if _lists_old_name_only(renaming, listed) else meta

    def _read_attributes(self) -> JSONObject:
        """Read the attributes of the group, and update the model."""
        attributes = super()._read_attributes()
        self.document.refresh()
        return attributes

    def _change_record(
        self,
        change: Change,
        rename_in_list: Renaming | None = None,
        *,
        only_if_listed: Renaming | None = None,
    ) -> None:
        """Change the record of a rename, and save the model."""

        def relist(meta: M) -> M:
            if only_if_listed is not None:
                self._check_listed(only_if_listed, self._names_in(meta))
            return meta if rename_in_list is None else self._relisted_or_back(meta, rename_in_list)

        def recorded(attributes: JSONObject) -> JSONObject:
            return with_renaming_record(attributes, change(read_renaming_record(attributes)))

        self.document.edit(relist, edit_attributes=recorded)

    def _relisted_or_back(self, meta: M, renaming: Renaming) -> M:
        """Return `_relisted`; for a rename that undoes the last one, the model before the last one.

        Renaming A/1 to A/2 and back could change the order of the wells.
        """
        if self._relisting is not None:
            last, before, after = self._relisting
            if renaming == (last.new, last.old) and meta == after:
                return before
        relisted = self._relisted(meta, renaming)
        self._relisting = renaming, meta.copied(), relisted.copied()
        return relisted

    def _drop_record(self, expected: RenamingRecord | None = None) -> None:
        """Remove the record of a rename, and read the model again."""
        super()._drop_record(expected)
        self.document.refresh()

    def _with_renaming(
        self, document: JSONObject, attributes: JSONObject, listed: Iterable[str]
    ) -> JSONObject:
        """Return a document with the record of a rename.

        A record without a state ends when the document lists the old name no more.
        """
        record = read_renaming_record(attributes)
        if record is not None and not record.state and record.renaming.old not in set(listed):
            record = None
        return with_renaming_record(document, record)

    def _is_settled(self, attributes: JSONObject) -> bool:
        """Whether the document alone defines the members: a record without a state needs a look at the folders."""
        record = read_renaming_record(attributes)
        return record is None or bool(record.state)

    def require_writable(self, action: str) -> None:
        """Raise for a closed or read-only store; finish an interrupted rename of a member."""
        super().require_writable(action)
        with suppress(LamellaError):  # the caller reads the document again, and raises the error
            if not self.document.last_attributes:
                self.document.refresh()
        if read_renaming_record(self.document.last_attributes) is not None:
            from lamella.ops.renaming import finish_rename

            finish_rename(self)


def _lists_old_name_only(renaming: Renaming, listed: Iterable[str]) -> bool:
    names = set(listed)
    return renaming.old in names and renaming.new not in names
