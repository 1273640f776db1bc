"""A metadata document as a model: read once, edited by pure functions, saved as a whole.

The documents of a plate are nearly equal, and most are only read. So nodes with equal documents share one model for
reading, and a node gets its own model when a user or an edit may change it.

`read_part` parses a part of a document as a model, with errors that name the node.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from lamella.errors import InvalidArgumentError, MetadataError, NodeNotFoundError
from lamella.store.metadata.json_document import StoredGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.nodes.store_handle import NodePath, StoreHandle
    from lamella.spec.base import MetaModel
    from lamella.types import JSONObject

M = TypeVar("M", bound="MetaModel")
T = TypeVar("T")
D_contra = TypeVar("D_contra", bound="MetaModel", contravariant=True)

_UNKNOWN = object()
"""Stamp of a document that was written and not read since; no other stamp is equal to it."""


class Dump(Protocol[D_contra]):
    """The function that converts a model to attributes."""

    def __call__(self, meta: D_contra, attributes: JSONObject, /, *, trusted: bool = False) -> JSONObject:
        """Return new attributes; a trusted model needs no validation."""
        ...


class MetadataDocument(Generic[M]):
    """The model of one group's document, kept current with the store.

    ``load`` converts group attributes to a new model, and ``dump`` a model and the group's attributes to new
    attributes with unknown keys kept. ``look`` returns a shared model for reading, ``settled`` whether the model
    depends on the attributes alone (otherwise it is loaded each time). ``check`` reports broken rules of a document
    that was read; ``refuse`` raises for broken rules that a user's change of the model causes.
    """

    __slots__ = (
        "_check",
        "_dump",
        "_is_handed_out",
        "_load",
        "_load_shared",
        "_model",
        "_refuse",
        "_settled",
        "_shared",
        "_stamp",
        "_stored",
        "_unchecked",
        "is_settled",
        "path",
        "store_handle",
    )

    def __init__(
        self,
        store_handle: StoreHandle,
        path: str,
        load: Callable[[JSONObject], M],
        dump: Dump[M],
        look: Callable[[StoredGroup], M] | None = None,
        settled: Callable[[JSONObject], bool] | None = None,
        check: Callable[[StoredGroup], object] | None = None,
        refuse: Callable[[JSONObject, JSONObject, M], object] | None = None,
    ) -> None:
        self.store_handle = store_handle
        self.path = path
        self._load = load
        self._dump = dump
        self._load_shared = look
        self._settled = settled
        self._check = check
        self._refuse = refuse
        self._unchecked = False
        self._stored: StoredGroup | None = None
        self._stamp: object = _UNKNOWN
        self._shared: M | None = None
        self._model: M | None = None
        self._is_handed_out = False
        #: Whether the model depends on the attributes alone.
        self.is_settled = True

    # -- reading ----------------------------------------------------------------------------------------------

    @property
    def shared_model(self) -> M:
        """The model for reading, shared by nodes with equal content: never changed, never returned to users."""
        if self._load_shared is None or self._model is not None:
            return self.own_model
        if self._stored is None or not self._is_unchanged():
            self._read()
        model = self._shared
        if model is None:
            model = self.last_shared_model
        if self._unchecked:
            self._report()
        return model

    def derived(self, derive: Callable[[M], T]) -> T:
        """Return a function's result for the `shared_model`; nodes that share the model share the result."""
        model = self.shared_model
        if self._load_shared is None or self._model is not None or self._stored is None:
            return derive(model)
        # By identity of the shared model: a node's own model differs from that of other nodes.
        cached: tuple[M, T] | None = self._stored.derived.get(derive)
        if cached is None or cached[0] is not model:
            cached = self._stored.derived[derive] = model, derive(model)
        return cached[1]

    def _report(self) -> None:
        """Report broken rules of the document; again on the next access if that raises."""
        if self._check is not None and self._stored is not None:
            self._check(self._stored)
        self._unchecked = False

    @property
    def stored(self) -> StoredGroup | None:
        """The document as it was last read or written."""
        return self._stored

    @property
    def content(self) -> StoredGroup | None:
        """The document as it was last read or written; None if this node has its own model."""
        return None if self._load_shared is None or self._model is not None else self._stored

    @property
    def last_shared_model(self) -> M:
        """The shared model of `content`, without a check of the store."""
        assert self._stored is not None
        if self._shared is None:
            self._shared = (
                self._load(self._stored.attributes)
                if self._load_shared is None
                else self._load_shared(self._stored)
            )
        return self._shared

    @property
    def own_model(self) -> M:
        """The node's own model, read again if the document was changed elsewhere and has no unsaved changes."""
        if self._model is not None and (self._is_unchanged() or self._is_edited()):
            return self._model
        looked_at = self._model is None and self._stored is not None and self._is_unchanged()
        return self._make_own(not looked_at and self._read())

    def _is_unchanged(self) -> bool:
        """Return whether the document is unchanged; unknown in a writable store without stamps."""
        if self._stamp is _UNKNOWN or not self.is_settled:
            return False
        stamp = self.store_handle.documents.stamp(self.path)
        return (stamp is not None or self.store_handle.read_only) and stamp == self._stamp

    def hand_out(self) -> M:
        """Return the own model to a user, who may change it at any time."""
        self._is_handed_out = True
        return self.own_model

    @property
    def last_attributes(self) -> JSONObject:
        """The attributes as they were last read or written; empty before."""
        return {} if self._stored is None else self._stored.attributes

    def refresh(self) -> M:
        """Return the own model, read again unless it has unsaved changes."""
        if self._model is not None and self._is_edited():
            return self._model
        return self._make_own(self._read())

    def adopt(self, stored: StoredGroup, stamp: object) -> None:
        """Adopt a document that was just read, with its stamp."""
        self._set_stored(stored, stamp)
        self._unchecked = True

    def start(self, stored: StoredGroup) -> None:
        """Adopt a document that this process just wrote, without reading it again."""
        self._set_stored(stored, _UNKNOWN)

    def _read(self) -> bool:
        """Read the document; return whether it has changed."""
        before = self._stored
        self._set_stored(*self.store_handle.documents.stored_group(self.path))
        changed = before is None or before.attributes != self._attributes
        self._unchecked = self._unchecked or changed
        if self.is_settled:
            return changed
        self._shared = None
        return True

    def _set_stored(self, stored: StoredGroup, stamp: object) -> None:
        if stored is not self._stored:
            self._stored, self._shared = stored, None
            if self._settled is not None:
                self.is_settled = stored.get_or_make(self._settled, partial(self._settled, stored.attributes))
        self._stamp = stamp

    @property
    def _attributes(self) -> JSONObject:
        assert self._stored is not None
        return self._stored.attributes

    def _make_own(self, changed: bool) -> M:
        """Return a model of the document that no other node has."""
        model = self._model
        if model is None or changed:
            model = self._load(self._attributes)
            if self._unchecked:
                self._report()
            return self._adopt(model)
        return model

    def _adopt(self, model: M) -> M:
        if self._model is None:
            self._model = model
        elif model is not self._model:
            # Callers keep `node.metadata`: replace the content of that object.
            self._model.__dict__.update(model.__dict__)
            object.__setattr__(self._model, "__pydantic_extra__", model.__pydantic_extra__)
            object.__setattr__(self._model, "__pydantic_fields_set__", model.__pydantic_fields_set__)
        return self._model

    def _is_edited(self) -> bool:
        """Return whether a user has unsaved changes in the model."""
        if not self._is_handed_out or self._model is None:
            return False
        attributes = self._attributes
        return self._dump(self._model, attributes) != self._dump(self._load(attributes), attributes)

    # -- changing ---------------------------------------------------------------------------------------------

    def edit(
        self,
        change: Callable[[M], M],
        *,
        before_write: Callable[[], object] | None = None,
        same: Hashable = None,
        beside: Callable[[JSONObject], JSONObject] | None = None,
    ) -> M:
        """Apply a pure function to the newest model, and save the result with unsaved changes in one atomic write.

        ``before_write`` is called when the new document is ready; it creates arrays that the document lists. ``same``
        names the change: changes with equal names have equal results for equal models, and are computed once for all
        nodes with one document. ``beside`` changes attributes outside of the model in the same write, for unnamed
        changes. Raises MetadataError if there are unsaved changes and the document was changed elsewhere, or if they
        break a rule.
        """
        prepare = before_write or _nothing
        if same is not None and self._write_prepared(change, same, prepare):
            return self.last_shared_model
        results: list[M] = []

        def apply(fresh: JSONObject) -> JSONObject:
            base = self._base(fresh)
            if self._is_handed_out and self._refuse is not None and base is self._model:
                self._refuse(fresh, self._dump(base, fresh), base)
            model = self.changed(change, base)
            results.append(model)
            attributes = self._dump(model, fresh, trusted=not self._is_handed_out)
            if beside is not None:
                attributes = beside(attributes)
            prepare()
            return attributes

        attributes, stamp = self.store_handle.documents.edit_group(self.path, apply)
        # Without stamps, the next access reads the document again.
        self._set_stored(StoredGroup(b"", attributes), _UNKNOWN if stamp is None else stamp)
        return self._adopt(results[-1])

    def _write_prepared(
        self, change: Callable[[M], M], same: Hashable, before_write: Callable[[], object]
    ) -> bool:
        """Write a change whose result is cached; False if the document is not the shared one."""
        stored = self.content
        if stored is None:
            return False
        model = self.last_shared_model

        def prepare() -> tuple[M, StoredGroup]:
            attributes = self._dump(self.changed(change, model), stored.attributes, trusted=True)
            return model, self.store_handle.documents.prepared(self.path, attributes, stored)

        # The cached value keeps the model alive, so that no other object can get the same id.
        _, new = stored.get_or_make((id(model), same), prepare)
        return self._replace(stored, new, before_write)

    def _replace(self, old: StoredGroup, new: StoredGroup, before_write: Callable[[], object]) -> bool:
        """Write a prepared document over the one it was computed from; False if that has changed."""
        if not self.store_handle.documents.swap_group(self.path, old, new, before_write):
            return False
        self._set_stored(new, _UNKNOWN)
        return True

    def _base(self, fresh: JSONObject) -> M:
        if self._model is None or self._stored is None:
            return self._load(fresh)
        attributes = self._attributes
        if fresh == attributes:
            return self._model
        if not fresh:  # attributes of Zarr v2 are a file that may be missing
            raise NodeNotFoundError(
                f"The metadata of {self._name} cannot be edited: they were there before, and are missing now. Another "
                "program removed them, or the service did not return them. Open the node again, and repeat the call."
            )
        if self._is_edited():
            if self._load(fresh) == self._load(attributes):
                return self._model  # only attributes outside of the model were changed
            raise MetadataError(
                f"The metadata of {self._name} has unsaved changes, and the document was changed elsewhere since it "
                "was read. Open the node again, repeat the change and call dump_meta()."
            )
        return self._load(fresh)

    def changed(self, change: Callable[[M], M], model: M) -> M:
        """Return the result of a change for a model; an error names the node."""
        try:
            return change(model)
        except (MetadataError, NodeNotFoundError) as fault:
            raise type(fault)(f"The metadata of {self._name} were not changed: {fault}") from fault
        except InvalidArgumentError as fault:
            if self._name in str(fault):
                raise
            raise InvalidArgumentError(f"{fault} (asked of {self._name})") from fault

    @property
    def _name(self) -> str:
        """The name of the store and the path of the node, for messages."""
        return f"{self.store_handle.name}/{self.path}".rstrip("/")

    def save(self) -> None:
        """Save the model."""
        self.edit(lambda model: model)


def _nothing() -> None:
    """Do nothing, as an optional step."""


ModelT = TypeVar("ModelT", bound="MetaModel")


def read_part(node_path: NodePath, kind: type[ModelT], attributes: JSONObject) -> ModelT | None:
    """Parse a part of a group's attributes; None if they have no such part, `MetadataError` if it is invalid."""
    try:
        return node_path.store_handle.version_of(attributes).load(kind, attributes)
    except MetadataError as fault:
        raise unreadable(node_path, fault) from fault


def ome_of(node_path: NodePath, attributes: JSONObject) -> JSONObject:
    """Return the OME part of a group's attributes; `MetadataError` if it is not an object."""
    try:
        return node_path.store_handle.version.ome(attributes)
    except MetadataError as fault:
        raise unreadable(node_path, fault) from fault


def stored_ome(node_path: NodePath) -> JSONObject:
    """Read the OME part of a group's attributes."""
    return ome_of(node_path, node_path.store_handle.documents.group(node_path.path))


def unreadable(node_path: object, fault: MetadataError) -> MetadataError:
    """Return the error of an invalid part as the error of its node."""
    text = str(fault).rstrip(".")
    return MetadataError(
        f"The metadata of {node_path} cannot be used: {text}. lamella.validate() lists all that is wrong, repair() "
        "fixes what can be fixed without guessing."
    )
