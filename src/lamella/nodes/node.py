"""The base classes of nodes: a group of a store as a mapping of names to members, with a model of its metadata."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from lamella.arguments import text_of_name
from lamella.errors import (
    InvalidArgumentError,
    LamellaError,
    MetadataError,
    NodeNotFoundError,
    check_options,
    clause,
    did_you_mean,
    first_of,
    nearest,
    warn,
)
from lamella.nodes.metadata_document import MetadataDocument, stored_ome
from lamella.nodes.reporting import check_document, check_edit
from lamella.nodes.store_handle import NodePath
from lamella.spec.axes import axes_from
from lamella.store.keys import is_metadata_file, is_private, join
from lamella.store.metadata.missing_document import content_without_document

if TYPE_CHECKING:
    import types
    from collections.abc import Sequence

    import zarr
    from zarr.core.attributes import Attributes

    from lamella.nodes.position import Position
    from lamella.nodes.store_handle import StoreHandle
    from lamella.spec.axes import AxisMeta
    from lamella.spec.base import MetaModel
    from lamella.spec.rules import Kind
    from lamella.store.metadata.documents import Documents
    from lamella.store.metadata.json_document import StoredGroup
    from lamella.types import JSONObject, StoredVersionName

N = TypeVar("N", bound="NGFFNode")


@cache
def _options(kind: type[NGFFNode]) -> frozenset[str]:
    """Return the names of the parameters of a node's class."""
    return frozenset(signature(kind.__init__).parameters) - {"self"}


class NGFFNode(Mapping[str, Any]):
    """A group of an OME-Zarr store.

    A node is a handle: a store and a path. It reads its own document on first use. It is a mapping of member names to
    nodes and arrays, in natural order. Writing raises ReadOnlyError (a PermissionError and a ValueError) in a store
    that is open for reading, and ClosedError (a ValueError) after :meth:`close`.

    In the examples of all methods, ``plate`` is a new plate of OME-NGFF 0.5 with the channels DAPI and GFP and the
    positions A/1/0, A/1/1 and B/2/0; ``position`` is A/1/0, with an image "0" of shape (T, C, Z, Y, X) = (1, 2, 4, 8,
    8) and dtype uint16 that counts from 0; ``np`` is numpy, ``tmp`` an empty folder.

    Parameters
    ----------
    group
        The zarr-python group to wrap.
    parse_meta
        Read and check the metadata now, so that a damaged node raises MetadataError here and not later.
    channel_names, axes
        Channels and axes of images that are created in a node without images; by default no channels, and the axes T,
        C, Z, Y, X.
    overwriting_creation
        Replace an existing member on creation instead of raising an error.

    Examples
    --------
    >>> list(plate), "A/1" in plate, plate.get("C"), plate.is_root(), position.is_leaf()
    (['A', 'B'], True, None, True, True)
    >>> plate.zattrs["operator"] = "Ada"
    >>> plate["B"].print_tree()
    /B
    └── 2
        └── 0
    """

    def __new__(cls, *arguments: Any, **options: Any) -> Self:  # noqa: D102 (described by the class)
        # In __init__, Python would raise a TypeError first, which names an internal base class.
        if options and not options.keys() <= (parameters := _options(cls)):
            check_options(f"{cls.__name__}()", options, parameters)
        return super().__new__(cls)

    def __init__(
        self,
        group: zarr.Group | NodePath,
        parse_meta: bool = True,
        channel_names: Sequence[str] | None = None,
        axes: Sequence[AxisMeta] | str | None = None,
        overwriting_creation: bool = False,
    ) -> None:
        self.node_path = NodePath.of(group)
        self._default_channels = None if channel_names is None else [str(name) for name in channel_names]
        self._default_axes = None if axes is None else axes_from(axes)
        self._overwriting_creation = overwriting_creation
        if parse_meta:
            self._parse_meta()

    def _parse_meta(self) -> None:
        """Read the node's document; subclasses read more."""
        self.documents.group(self.node_path.path)

    def _adopt_document(self, stored: StoredGroup, stamp: object) -> None:
        """Adopt the node's document, which was just read."""

    def _first_attributes(self) -> JSONObject:
        """Return the attributes of a new node of this class."""
        return self.store_handle.version.with_ome({}, {})

    # -- identity ---------------------------------------------------------------------------------------------

    @property
    def store_handle(self) -> StoreHandle:
        """The store handle, which all nodes of the store share; for operations and adapters."""
        return self.node_path.store_handle

    @property
    def documents(self) -> Documents:
        """The documents of the store; for operations and adapters."""
        return self.node_path.store_handle.documents

    @property
    def path(self) -> str:
        """Path of the node in its store; the empty string is the root."""
        return self.node_path.path

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def version(self) -> StoredVersionName:
        """OME-NGFF version of the store."""
        return self.store_handle.version.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NGFFNode):
            return NotImplemented
        return type(self) is type(other) and str(self.node_path) == str(other.node_path)

    def __hash__(self) -> int:
        return hash((type(self).__name__, str(self.node_path)))

    def __repr__(self) -> str:
        state = "closed" if self.store_handle.closed else "open"
        details = f"{state}, OME-NGFF {self.version}{self._summary_or_damage()}"
        return f"<{type(self).__name__} {str(self.node_path)!r} ({details})>"

    def _repr_html_(self) -> str:
        from lamella.nodes.html import node_html

        return node_html(self)

    def _summary(self) -> str:
        """Return the text of the repr after class, path and version."""
        return ""

    def _summary_or_damage(self) -> str:
        try:
            return self._summary()
        except Exception as error:  # repr must not raise for a damaged node
            return f", damaged: {clause(error)}"

    # -- the group in the store -------------------------------------------------------------------------------

    @property
    def zgroup(self) -> zarr.Group:
        """The zarr-python group of the node, read again at each access.

        ``zgroup.store.root`` is the folder of a local store as a path, also after :meth:`close`.
        """
        from lamella.nodes.zarr_views import open_group

        return open_group(self.node_path)

    @property
    def zattrs(self) -> Attributes:
        """Attributes of the node as in zarr-python. Assignments change the document at once."""
        from lamella.nodes.zarr_views import NodeAttributes

        return NodeAttributes(self.node_path)

    @property
    def maybe_wrapped_ome_attrs(self) -> JSONObject:
        """A copy of the OME part of the attributes: of ``zattrs["ome"]`` in 0.5, of all ``zattrs`` in 0.4.

        Assignments to the copy are not saved. To change metadata, use the methods of the node, or :attr:`metadata` and
        :meth:`dump_meta`, or :attr:`zattrs`.
        """
        return dict(stored_ome(self.node_path))

    @property
    def channel_names(self) -> list[str]:
        """Names of the channels, in the order of the channel axis; of several images those of the first."""
        first = self._first_position()
        return list(self._default_channels or []) if first is None else first.channel_names

    @property
    def axes(self) -> list[AxisMeta]:
        """Axes in the order of the array dimensions; of several images those of the first."""
        first = self._first_position()
        if first is not None:
            return first.axes
        return list(self._default_axes or self.store_handle.version.default_axes())

    def _first_position(self) -> Position | None:
        """Return the first image of a node with several; None without images."""
        return None

    def get_channel_index(self, name: str) -> int:
        """Return the index of a channel by its exact name; InvalidArgumentError (a ValueError) if it does not exist.

        Examples
        --------
        >>> position.channel_names, position.get_channel_index("GFP")
        (['DAPI', 'GFP'], 1)
        """
        names = self.channel_names
        if name not in names:
            raise InvalidArgumentError(
                f"Channel {name!r} is not in the channels of {self.node_path}, which are {names}."
                f"{did_you_mean(name, names)}"
            )
        return names.index(name)

    # -- members ----------------------------------------------------------------------------------------------

    def _member_names(self) -> list[str]:
        return list(self.documents.children(self.path))

    _listed_next: list[list[str]] | None = None
    """For the names that `__len__` lists before an iteration begins: `list(node)` calls `__iter__`, then `__len__`."""

    def __iter__(self) -> Iterator[str]:
        listed: list[list[str]] = []
        self._listed_next = listed
        return self._iterate(listed)

    def _iterate(self, listed: list[list[str]]) -> Iterator[str]:
        self._listed_next = None
        yield from listed[0] if listed else self._member_names()

    def __len__(self) -> int:
        listed, self._listed_next = self._listed_next, None
        names = self._member_names()
        if listed is not None:
            listed.append(names)
        return len(names)

    def __contains__(self, key: object) -> bool:
        name = (text_of_name(key) or "").strip("/")
        if not name:
            return False
        try:
            return self.documents.kind(join(self.path, name)) is not None
        except (MetadataError, ValueError):
            return False

    def _ipython_key_completions_(self) -> list[str]:
        """Return the names that IPython and Jupyter complete after ``node["``."""
        return self._member_names()

    def __getitem__(self, key: int | str) -> Any:
        from lamella.nodes.node_classes import open_member

        return open_member(self, self._checked_key(key))

    def __delitem__(self, key: int | str) -> None:
        """Delete a member, or a node below one, with all below it, and remove it from the metadata that list it.

        Raises NodeNotFoundError (a KeyError) if it does not exist.
        """
        name = self._key_to_delete(key)
        self.require_writable(f"delete {name!r}")
        node_path = self.node_path.child(name)
        if self.documents.kind(node_path.path) is None:
            raise self.missing_error(name)
        first, _, below = name.partition("/")
        if below:
            del self[first][below]  # the member updates its own metadata
        else:
            self.documents.delete(node_path.path)

    def _checked_key(self, key: int | str) -> str:
        name = text_of_name(key)
        if name is None:
            raise InvalidArgumentError(
                f"A member of {self.node_path} is named by text or an integer, not by {key!r}."
            )
        text = name.strip("/")
        if not text:
            raise NodeNotFoundError(f"Asked {self.node_path} for a member with an empty name.")
        return text

    def _key_to_delete(self, key: int | str) -> str:
        """Return the key of a member to delete; raise for documents and temporary files, which are not members."""
        name = self._checked_key(key)
        if any(is_metadata_file(folder) or is_private(folder) for folder in name.split("/")):
            raise self.missing_error(name)
        return name

    def _open(self, kind: type[N], key: str) -> N:
        """Open a member whose class is known, reading its own document only."""
        try:
            return kind(
                self.node_path.child(key),
                True,
                self._default_channels,
                self._default_axes,
                self._overwriting_creation,
            )
        except NodeNotFoundError:
            raise self.missing_error(key) from None

    def _open_listed(self, kind: type[N], key: str) -> N:
        """Open a member that the metadata lists; `MetadataError` if it is missing."""
        try:
            return self._open(kind, key)
        except NodeNotFoundError:
            member = self.node_path.child(key)
            explanation = content_without_document(self.documents, member.path, "group")
            raise MetadataError(
                f"{self.node_path} lists the {kind.__name__.lower()} {key!r}, but nothing is stored at {member}."
                if explanation is None
                else explanation
            ) from None

    def missing_error(self, key: str) -> NodeNotFoundError:
        """Return the error for a missing member of the node, or of a node below it.

        It lists the members that exist, and suggests the nearest name.
        """
        parent, names_found, names_missing = _follow_path(self, key.split("/"))
        message = f"There is no member {key!r} in {self.node_path}."
        if parent is None:
            return NodeNotFoundError(f"{message} Nothing lies below the array {'/'.join(names_found)!r}.")
        explanation = content_without_document(parent.documents, join(parent.path, names_missing[0]))
        if explanation is not None:
            return NodeNotFoundError(f"Cannot open {key!r} in {self.node_path}. {explanation}")
        try:
            members = parent._member_names()
        except LamellaError as error:
            return NodeNotFoundError(f"{message} Its members cannot be listed: {clause(error)}.")
        subject = f"{'/'.join(names_found)!r} has the members" if names_found else "Its members are"
        suggestion = nearest(names_missing[0], members)
        hint = (
            ""
            if suggestion is None
            else f" Did you mean {'/'.join([*names_found, suggestion, *names_missing[1:]])!r}?"
        )
        return NodeNotFoundError(f"{message} {subject}: {first_of(members, _MAX_NAMES)}.{hint}")

    def group_keys(self) -> list[str]:
        """Return the names of all child groups, in natural order.

        Examples
        --------
        >>> plate.group_keys(), position.group_keys()
        (['A', 'B'], [])
        """
        return [name for name, kind in self.documents.children(self.path).items() if kind == "group"]

    def array_keys(self) -> list[str]:
        """Return the names of all child arrays, in natural order.

        Examples
        --------
        >>> plate.array_keys(), position.array_keys()
        ([], ['0'])
        """
        return [name for name, kind in self.documents.children(self.path).items() if kind == "array"]

    def is_root(self) -> bool:
        """Return whether this node is the root of its store.

        Examples
        --------
        >>> plate.is_root(), plate["A/1"].is_root()
        (True, False)
        """
        return self.path == ""

    def is_leaf(self) -> bool:
        """Return whether the node has no child group.

        Examples
        --------
        >>> plate.is_leaf(), plate["A/1/0"].is_leaf()
        (False, True)
        """
        return not self.group_keys()

    def print_tree(self, level: int | None = None) -> None:
        """Print the hierarchy below the node, as many levels deep as ``level``; all by default.

        Examples
        --------
        >>> plate["A/1"].print_tree()
        /A/1
        ├── 0
        │   └── 0 (1, 2, 4, 8, 8) uint16
        └── 1
        """
        from lamella.nodes.describe import tree_lines

        print("\n".join(tree_lines(self.node_path, level)))

    # -- saving and closing -------------------------------------------------------------------------------------

    def dump_meta(self) -> None:
        """Write the metadata of the node to its document; see :meth:`Position.dump_meta`.

        Examples
        --------
        >>> plate["A"].dump_meta()  # a row has no metadata of its own
        """
        self.require_writable("write the metadata")

    def close(self) -> None:
        """Close the store. It can still be read through this node and its members, but not written.

        Examples
        --------
        >>> plate.close()
        >>> plate.create_well("C", "1")
        Traceback (most recent call last):
            ...
        lamella.errors.ClosedError: Cannot create the well C/1 in ...: the store was closed. ...
        >>> list(plate)
        ['A', 'B']
        """
        self._close_store()
        if self.documents.storage.has_own_changes:
            warn(
                f"{self.store_handle.name} was closed with changes that were not committed; they are lost. Call "
                "commit('message') before close(), or at the end of the with statement."
            )

    def commit(self, message: str, *, rebase: bool = False) -> str:
        """Commit all changes since the last commit as a new version of the store, and return its snapshot id.

        Only icechunk repositories have versions (``docs/versions.md``). Other sessions see the changes after the
        commit, all at once. A node that was opened by a URL can be changed and committed again; an icechunk session
        that you opened yourself cannot be written after its commit.

        Parameters
        ----------
        message
            Description of the changes.
        rebase
            If another session has committed to the branch meanwhile, add these changes on top of it, unless both
            changed the same chunks or documents.

        Raises
        ------
        ConflictError
            Another session has committed meanwhile, or with ``rebase`` changed the same. Nothing was stored.
        InvalidArgumentError, ReadOnlyError
            The store has no versions, nothing was changed, or the store or session cannot be written (ValueErrors).

        Examples
        --------
        >>> plate.commit("the first fields")
        Traceback (most recent call last):
        ...
        lamella.errors.InvalidArgumentError: Cannot commit ...: it has no versions, ...
        """
        self.require_writable("commit")
        self.store_handle.writes.settle()
        snapshot: str = self.documents.storage.commit(message, rebase=rebase)
        return snapshot

    def _close_store(self) -> None:
        if self.store_handle.writable:
            self.store_handle.writes.settle()
        self.store_handle.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._close_store()

    def require_writable(self, action: str) -> None:
        """Raise for a store that is closed or open for reading."""
        self.node_path.store_handle.require_writable(action, self.node_path.path)


M = TypeVar("M", bound="MetaModel")


class ModelNode(NGFFNode, Generic[M]):
    """A node whose document has one model."""

    _kinds: ClassVar[tuple[Kind, ...]] = ()
    """Kinds of the document, which select the rules that it is checked by."""

    if not TYPE_CHECKING:
        # Without this, `inspect.signature` shows the parameters of `Generic.__new__`.
        __init__ = NGFFNode.__init__

    @cached_property
    def document(self) -> MetadataDocument[M]:
        """The document of the node; it is read on first use."""
        return MetadataDocument(self)

    @abstractmethod
    def _load(self, attributes: JSONObject) -> M:
        """Convert the attributes of the group to a new model."""

    def _load_shared(self, stored: StoredGroup) -> M:
        """Return the model as `_load` does; nodes with equal documents may share it."""
        return self._load(stored.attributes)

    def _dump(self, meta: M, attributes: JSONObject, *, trusted: bool = False) -> JSONObject:
        """Return the attributes to store; unknown keys stay. A trusted model needs no validation."""
        return self.store_handle.version_of(attributes).dump(meta, attributes, trusted=trusted)

    def _is_settled(self, attributes: JSONObject) -> bool:
        """Whether the model depends on the attributes alone."""
        del attributes
        return True

    def _check(self, stored: StoredGroup) -> None:
        """Report rules that a document breaks."""
        check_document(self.node_path, stored, self._kinds)

    def _check_edit(self, before: JSONObject, after: JSONObject, meta: M) -> None:
        """Raise for edited metadata that break a rule which the stored document satisfies."""
        del meta
        check_edit(self.node_path, before, after, self._kinds)

    def _adopt_document(self, stored: StoredGroup, stamp: object) -> None:
        self.document.adopt(stored, stamp)

    def _parse_meta(self) -> None:
        self.document.shared_model  # noqa: B018 (reading is the check)

    @property
    def metadata(self) -> M:
        """The metadata model; change it and call :meth:`dump_meta` to save.

        The model stays current: methods such as `set_scale` also change the model that you got before.
        """
        return self.document.editable_model()

    def dump_meta(self) -> None:
        """Write the metadata model to the group's document, in one atomic write.

        If the model breaks a rule of OME-NGFF (a MUST) that the stored document does not break, this raises
        MetadataError (a ValueError), and nothing is written.

        Examples
        --------
        >>> position.metadata.omero.channels[0].color = "FF8800"
        >>> position.dump_meta()
        >>> position.zattrs["ome"]["omero"]["channels"][0]["color"]
        'FF8800'
        """
        self.require_writable("write the metadata")
        self.document.save()


_MAX_NAMES = 20
"""Maximum number of members that the error for a missing one lists."""


def _follow_path(node: NGFFNode, names: list[str]) -> tuple[NGFFNode | None, list[str], list[str]]:
    """Open nodes along a path; return the last one (None for an array), the names up to it, and the missing names."""
    parent = node
    for depth, name in enumerate(names[:-1]):
        try:
            member = parent[name]
        except LamellaError:
            return parent, names[:depth], names[depth:]
        if not isinstance(member, NGFFNode):
            return None, names[: depth + 1], names[depth + 1 :]
        parent = member
    return parent, names[:-1], names[-1:]
