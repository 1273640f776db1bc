"""`StoreHandle`, the state that all nodes of an opened store share, and `NodePath`, a handle with a path."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lamella.errors import (
    ClosedError,
    InvalidArgumentError,
    InvalidNameError,
    MetadataError,
    ReadOnlyError,
    clause,
    name_where,
    short_repr,
)
from lamella.nodes.level_writes import LevelWrites
from lamella.spec.versions import by_name, detect
from lamella.store.files.temporary_files import shown_name
from lamella.store.keys import check_key, join

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr

    from lamella.nodes.ome_xml import OMEFile
    from lamella.spec.versions import SpecVersion
    from lamella.store.metadata.documents import Documents
    from lamella.types import JSONObject


@contextmanager
def errors_naming(node_path: object) -> Iterator[None]:
    """Append the path of a node to errors of wrong arguments, unless their message contains it already."""
    try:
        yield
    except (InvalidArgumentError, InvalidNameError) as error:
        name_where(error, node_path)
        raise


@dataclass(slots=True, eq=False)
class StoreHandle:
    """One opened store: its documents, its version, and whether it was closed."""

    documents: Documents
    """The groups and arrays of the store."""
    version: SpecVersion
    """The OME-NGFF version of its documents (ST-08 demands one version in a store); see `version_of`."""
    closed: bool = field(default=False)
    """Set by ``close()``. A closed store can be read, because nodes keep no files open, but not written."""
    strict: bool = field(default=False)
    """Raise for broken rules of documents, instead of warning."""
    reported: set[str] = field(default_factory=set, repr=False)
    """The ids of the rules that were warned about (:mod:`lamella.nodes.reporting`)."""
    writes: LevelWrites = field(init=False, repr=False)
    """The record of writes to level 0, which make the lower levels stale."""

    def __post_init__(self) -> None:
        self.writes = LevelWrites(self)
        self.documents.names_group = self.version.names_group

    ome_files: dict[str, OMEFile | None] = field(default_factory=dict, repr=False)
    """The OME-XML files that were looked up (:mod:`lamella.nodes.ome_xml`), by collection."""

    def __reduce__(self) -> tuple[object, ...]:
        # Pickle the version by name: versions are compared by identity.
        return _reopen, (self.documents, self.version.name, self.closed, self.strict, self.reported)

    @property
    def read_only(self) -> bool:
        """Whether the store was opened for reading."""
        return self.documents.storage.read_only

    @property
    def writable(self) -> bool:
        """Whether changes are accepted: open for writing, and not closed."""
        return not (self.closed or self.read_only)

    def version_of(self, attributes: JSONObject) -> SpecVersion:
        """Return the version that a document states, else that of the store.

        An interrupted upgrade leaves documents of two versions (ST-08), each of them complete.
        """
        try:  # `suppress` is slower, and this runs for each position of a plate
            if self.version.stated_version(attributes) not in (None, self.version.name):
                return detect(self.documents.format, attributes)
        except MetadataError:  # the stated version is unknown
            pass
        return self.version

    @property
    def name(self) -> str:
        """Name of the store in messages."""
        return shown_name(self.documents.storage.name)

    def require_writable(self, action: str, path: str) -> None:
        """Raise ClosedError or ReadOnlyError for a store that is closed or open for reading."""
        if not (self.closed or self.read_only):
            return
        where = f"{self.name}/{path}" if path else self.name
        if self.closed:
            raise ClosedError(
                f"Cannot {action} in {where}: the store was closed. Open it again with open_ome_zarr."
            )
        raise ReadOnlyError(
            f"Cannot {action} in {where}: the store is open for reading. Open it with mode='r+'."
        )


def _reopen(
    documents: Documents, version: str, closed: bool, strict: bool, reported: set[str]
) -> StoreHandle:
    return StoreHandle(documents, by_name(version), closed, strict, set(reported))


@dataclass(frozen=True, slots=True)
class NodePath:
    """A store handle and the path of a node in it ("" is the root)."""

    store_handle: StoreHandle
    path: str

    @classmethod
    def of(cls, member: zarr.Group | zarr.Array[Any] | NodePath) -> NodePath:
        """Return the node path of a zarr-python group or array, in a new store handle."""
        if isinstance(member, NodePath):
            return member
        import zarr

        from lamella.store.metadata.documents import Documents
        from lamella.store.storage import open_storage

        if not isinstance(member, zarr.Group | zarr.Array):
            raise InvalidArgumentError(
                f"A node is made from a zarr-python group, not from {member!r}. For a path, use open_ome_zarr."
            )
        zarr_format = member.metadata.zarr_format
        documents = Documents(open_storage(member.store, read_only=member.read_only), zarr_format)
        group = member.path if isinstance(member, zarr.Group) else member.path.rpartition("/")[0]
        attributes = documents.group(group) if documents.kind(group) == "group" else {}
        return cls(StoreHandle(documents, detect(zarr_format, attributes)), member.path)

    def child(self, name: str) -> NodePath:
        """Return the node path of a member; `InvalidNameError` for a name that is invalid or leads out of the store."""
        try:
            return NodePath(self.store_handle, check_key(join(self.path, name.strip("/"))))
        except InvalidNameError as error:
            raise InvalidNameError(
                f"{self} cannot have a member {short_repr(name)}: {clause(error)}."
            ) from error

    @property
    def parent(self) -> NodePath:
        """The node path of the group above; the root is its own parent."""
        return NodePath(self.store_handle, self.path.rpartition("/")[0])

    @property
    def name(self) -> str:
        """Name of the node; of the root, the last part of the path or URL of the store."""
        return str(self).rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.store_handle.name}/{self.path}" if self.path else self.store_handle.name
