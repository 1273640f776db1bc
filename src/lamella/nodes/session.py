"""What all nodes of one opened store share.

Layer: nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.errors import ClosedError, ReadOnlyError

if TYPE_CHECKING:
    import zarr

    from lamella.spec.versions import SpecVersion
    from lamella.store.documents import Documents


@dataclass(slots=True, eq=False)
class Session:
    """One opening of a store: its documents, the version resolved at the door, and whether it was closed.

    Attributes
    ----------
    documents
        The groups and arrays of the store.
    version
        The OME-NGFF version of every document in it (ST-08: one version throughout a hierarchy).
    closed
        Set by ``close()``. A closed store can still be read, since nodes hold nothing open, but not written.
    """

    documents: Documents
    version: SpecVersion
    closed: bool = field(default=False)

    @property
    def read_only(self) -> bool:
        """Whether the store was opened for reading."""
        return self.documents.storage.read_only

    @property
    def name(self) -> str:
        """The store as messages name it."""
        return self.documents.storage.name

    def require_writable(self, what: str, path: str) -> None:
        """Refuse a change of a store that is closed or open for reading.

        Raises
        ------
        ClosedError, ReadOnlyError
            With what was asked and where.
        """
        where = f"{self.name}/{path}" if path else self.name
        if self.closed:
            raise ClosedError(
                f"Cannot {what} in {where}: the store was closed. Open it again with open_ome_zarr."
            )
        if self.read_only:
            raise ReadOnlyError(
                f"Cannot {what} in {where}: the store is open for reading. Open it with mode='r+'."
            )


def join(*parts: str) -> str:
    """Join the parts of a node's path; empty parts vanish.

    >>> join("", "A", "1"), join("A/1", "0"), join("", "")
    ('A/1', 'A/1/0', '')
    """
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is: an opened store and a path in it ("" is the root)."""

    session: Session
    path: str

    @classmethod
    def of(cls, group: zarr.Group | Place) -> Place:
        """Return the place of a zarr-python group, which becomes an opened store of its own."""
        if isinstance(group, Place):
            return group
        from lamella.spec.versions import detect
        from lamella.store.documents import Documents
        from lamella.store.storage import open_storage

        documents = Documents(
            open_storage(group.store, read_only=group.read_only), group.metadata.zarr_format
        )
        version = detect(group.metadata.zarr_format, documents.group(group.path))
        return cls(Session(documents, version), group.path)

    def child(self, name: str) -> Place:
        """Return the place of a member."""
        return Place(self.session, join(self.path, name))

    @property
    def parent(self) -> Place:
        """The place of the group that holds this node; the root is its own parent."""
        return Place(self.session, self.path.rpartition("/")[0])

    def __str__(self) -> str:
        return f"{self.session.name}/{self.path}" if self.path else self.session.name
