"""The bases of nodes that rename their members: a plate its wells, a well its positions, a group of labels its images.

The document records the rename until it lists the new name, so that after a kill readers find the member, and the next
writer finishes the rename (:mod:`lamella.ops.renaming`).
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from lamella.errors import LamellaError
from lamella.nodes.node import NGFFNode
from lamella.spec.intents import read_renaming, read_renaming_token, with_renaming

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from lamella.nodes.metadata_document import MetadataDocument
    from lamella.spec.intents import Renaming
    from lamella.types import JSONObject


class RenamesMembers(NGFFNode):
    """A node that renames members."""

    moved: Renaming | None = None
    """A rename whose files this call has moved, while it updates the metadata."""

    @abstractmethod
    def _settle_renaming(self, renaming: Renaming) -> None:
        """Update the metadata after the move of a member's folder; the last step removes the record."""

    def _read_attributes(self) -> JSONObject:
        """Read the attributes of the group, as other programs may have changed them."""
        return self.documents.group(self.path)

    def _record_renaming(self, renaming: Renaming | None, token: str = "") -> None:
        """Record in the document which member is being renamed, or remove the record (None)."""
        self.documents.edit_group(self.path, lambda attributes: with_renaming(attributes, renaming, token))

    def has_moved(self, renaming: Renaming) -> bool:
        """Whether a member that is being renamed exists under its new name only.

        A store without renames copies all files, then deletes the old ones, documents first: one document may be
        deleted.
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


class ListsMembers(RenamesMembers):
    """A node that renames members, which its model lists."""

    document: MetadataDocument[Any]
    renaming: Renaming | None = None
    """A rename while it is being recorded."""
    token: str = ""
    """The token of that rename."""

    def _read_attributes(self) -> JSONObject:
        """Read the attributes of the group, and update the model."""
        attributes = super()._read_attributes()
        self.document.refresh()
        return attributes

    def _record_renaming(self, renaming: Renaming | None, token: str = "") -> None:
        """Record which member is being renamed, and save the model."""
        if renaming is None:
            super()._record_renaming(None)
            self.document.refresh()
            return
        self.renaming, self.token = renaming, token
        try:
            self.document.edit(lambda meta: meta)
        finally:
            self.renaming = None

    def _with_renaming(
        self, document: JSONObject, attributes: JSONObject, listed: Iterable[str]
    ) -> JSONObject:
        """Return a document with the rename, while it lists the old name."""
        renaming = self.renaming or read_renaming(attributes)
        token = read_renaming_token(attributes) if self.renaming is None else self.token
        if renaming is not None and renaming.old not in set(listed):
            renaming = None
        return with_renaming(document, renaming, token)

    def require_writable(self, what: str) -> None:
        """Raise for a closed or read-only store; finish an interrupted rename of a member."""
        super().require_writable(what)
        with suppress(LamellaError):  # the caller reports a damaged document
            if not self.document.last_attributes:
                self.document.refresh()
        if read_renaming(self.document.last_attributes) is not None:
            from lamella.ops.renaming import finish_rename

            finish_rename(self)


def is_settled(attributes: JSONObject) -> bool:
    """Whether the document alone defines the members: none is being renamed."""
    return read_renaming(attributes) is None
