"""A metadata document as a live model: read once, edited by pure functions, saved whole.

The documents of a plate hardly differ, and most nodes of one are only looked at, or get the same first array. So a
node shares what it looks at with all nodes of the same content, and has a model of its own from when somebody may
change it.

Layer: nodes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from lamella.errors import InvalidArgumentError, MetadataError, NodeNotFoundError
from lamella.store.stored_group import StoredGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.nodes.store_handle import StoreHandle
    from lamella.spec.base import MetaModel
    from lamella.types import JSONObject

M = TypeVar("M", bound="MetaModel")
T = TypeVar("T")
D_contra = TypeVar("D_contra", bound="MetaModel", contravariant=True)

_UNKNOWN = object()
"""Stamp of a document that was written and not looked at since; no other stamp is equal to it."""


class Dump(Protocol[D_contra]):
    """How a model becomes the attributes to store."""

    def __call__(self, meta: D_contra, attributes: JSONObject, /, *, trusted: bool = False) -> JSONObject:
        """Return new attributes; a trusted model needs no validation."""
        ...


class MetadataDocument(Generic[M]):
    """The model of one group's document, kept in step with the store.

    Parameters
    ----------
    store_handle
        The opened store.
    path
        The group's path in it.
    load
        Group attributes to model, a new one each time.
    dump
        Model and group attributes to new attributes; keys that the model doesn't know survive.
    look
        Stored group to a model for looking only, which may be shared; without it, none is.
    settled
        Whether attributes alone say what the model is. Where they do not, the model is loaded again each time.
    check
        Reports what a document that was read breaks; not called for one that was just written.
    refuse
        Raises where what a user changed in the model breaks a rule: stored attributes, new ones, and the model.
    """

    __slots__ = (
        "_check",
        "_dump",
        "_handed_out",
        "_load",
        "_look",
        "_model",
        "_refuse",
        "_settled",
        "_stamp",
        "_stored",
        "_unchecked",
        "_view",
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
        self._look = look
        self._settled = settled
        self._check = check
        self._refuse = refuse
        self._unchecked = False
        self._stored: StoredGroup | None = None
        self._stamp: object = _UNKNOWN
        self._view: M | None = None
        self._model: M | None = None
        self._handed_out = False
        #: Whether the attributes alone say what the model is.
        self.is_settled = True

    # -- looking ----------------------------------------------------------------------------------------------

    @property
    def shared_model(self) -> M:
        """The model for reading only, which nodes of the same content share: never changed, never returned to users."""
        if self._look is None or self._model is not None:
            return self.own_model
        if self._stored is None or not self._is_unchanged():
            self._read()
        found = self._view
        if found is None:
            found = self.last_view
        if self._unchecked:
            self._report()
        return found

    def derived(self, derive: Callable[[M], T]) -> T:
        """Return what a function computes from the `shared_model`; all nodes that share the model share the result."""
        view = self.shared_model
        if self._look is None or self._model is not None or self._stored is None:
            return derive(view)
        # By identity of the view: what a node has for itself is not what another one of the same content has.
        made: tuple[M, T] | None = self._stored.derived.get(derive)
        if made is None or made[0] is not view:
            made = self._stored.derived[derive] = view, derive(view)
        return made[1]

    def _report(self) -> None:
        """Report what the document breaks; again at the next look where that raises."""
        if self._check is not None and self._stored is not None:
            self._check(self._stored)
        self._unchecked = False

    @property
    def stored(self) -> StoredGroup | None:
        """What the document said when it was last read or written."""
        return self._stored

    @property
    def content(self) -> StoredGroup | None:
        """What the document said when it was last read or written; None where this node has a model of its own."""
        return None if self._look is None or self._model is not None else self._stored

    @property
    def last_view(self) -> M:
        """The view of `content`, whatever the document says by now."""
        assert self._stored is not None
        if self._view is None:
            self._view = (
                self._load(self._stored.attributes) if self._look is None else self._look(self._stored)
            )
        return self._view

    @property
    def own_model(self) -> M:
        """The model. It is read anew when the document was changed elsewhere and has no unsaved changes here."""
        if self._model is not None and (self._is_unchanged() or self._is_edited()):
            return self._model
        looked_at = self._model is None and self._stored is not None and self._is_unchanged()
        return self._own(not looked_at and self._read())

    def _is_unchanged(self) -> bool:
        """Whether the document is what was read; unknown where the store cannot tell and it may change here."""
        if self._stamp is _UNKNOWN or not self.is_settled:
            return False
        stamp = self.store_handle.documents.stamp(self.path)
        return (stamp is not None or self.store_handle.read_only) and stamp == self._stamp

    def hand_out(self) -> M:
        """Return the model to a user, who may change it at any time."""
        self._handed_out = True
        return self.own_model

    @property
    def last_attributes(self) -> JSONObject:
        """What the document said when it was last read or written; nothing where it was not."""
        return {} if self._stored is None else self._stored.attributes

    def refresh(self) -> M:
        """Return the model, read anew unless it has unsaved changes."""
        if self._model is not None and self._is_edited():
            return self._model
        return self._own(self._read())

    def adopt(self, stored: StoredGroup, stamp: object) -> None:
        """Take a document that was just read, with the stamp of what was read."""
        self._keep(stored, stamp)
        self._unchecked = True

    def start(self, stored: StoredGroup) -> None:
        """Take a document that was just written, for who goes on from what it says; a look reads it."""
        self._keep(stored, _UNKNOWN)

    def _read(self) -> bool:
        """Read the document; return whether it says something else than before."""
        before = self._stored
        self._keep(*self.store_handle.documents.stored_group(self.path))
        changed = before is None or before.attributes != self._attributes
        self._unchecked = self._unchecked or changed
        if self.is_settled:
            return changed
        self._view = None
        return True

    def _keep(self, stored: StoredGroup, stamp: object) -> None:
        if stored is not self._stored:
            self._stored, self._view = stored, None
            if self._settled is not None:
                self.is_settled = stored.made(self._settled, partial(self._settled, stored.attributes))
        self._stamp = stamp

    @property
    def _attributes(self) -> JSONObject:
        assert self._stored is not None
        return self._stored.attributes

    def _own(self, changed: bool) -> M:
        """Return the model of what was read, which nobody else has."""
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
            # Callers hold on to `node.metadata`: keep that object and give it the new content.
            self._model.__dict__.update(model.__dict__)
            object.__setattr__(self._model, "__pydantic_extra__", model.__pydantic_extra__)
            object.__setattr__(self._model, "__pydantic_fields_set__", model.__pydantic_fields_set__)
        return self._model

    def _is_edited(self) -> bool:
        """Whether a user changed the live model and has not saved it yet."""
        if not self._handed_out or self._model is None:
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
        """Apply a pure function to the newest model and save the result as one atomic write.

        Unsaved changes of the live model are saved with it.

        Parameters
        ----------
        change
            Model to new model.
        before_write
            Called when the new document is ready: what the document will list is created there, so that a change that
            does not fit touches nothing.
        same
            Names the change: two changes with one name make the same of the same model. The result of such a change
            is worked out once for all nodes of one content.
        beside
            Changes attributes that the model does not hold, in the same write; not for a change with a name.

        Returns
        -------
        MetaModel
            The new model, for looking only.

        Raises
        ------
        MetadataError
            If the live model has unsaved changes and the document was changed elsewhere, or if they break a rule that
            the document does not break.
        """
        prepare = before_write or _nothing
        if same is not None and self._write_prepared(change, same, prepare):
            return self.last_view
        made: list[M] = []

        def apply(fresh: JSONObject) -> JSONObject:
            base = self._base(fresh)
            if self._handed_out and self._refuse is not None and base is self._model:
                self._refuse(fresh, self._dump(base, fresh), base)
            model = self.changed(change, base)
            made.append(model)
            attributes = self._dump(model, fresh, trusted=not self._handed_out)
            if beside is not None:
                attributes = beside(attributes)
            prepare()
            return attributes

        attributes, stamp = self.store_handle.documents.edit_group(self.path, apply)
        # Unknown where the store has no stamp: whatever it says later is not known to be this.
        self._keep(StoredGroup(b"", attributes), _UNKNOWN if stamp is None else stamp)
        return self._adopt(made[-1])

    def _write_prepared(
        self, change: Callable[[M], M], same: Hashable, before_write: Callable[[], object]
    ) -> bool:
        """Make a change whose result is known; False when the document is not what this node and others share."""
        stored = self.content
        if stored is None:
            return False
        view = self.last_view

        def prepare() -> tuple[M, StoredGroup]:
            attributes = self._dump(self.changed(change, view), stored.attributes, trusted=True)
            return view, self.store_handle.documents.prepared(self.path, attributes, stored)

        # By identity of the view, and the view is kept: another one cannot get its number meanwhile.
        _, new = stored.made((id(view), same), prepare)
        return self._replace(stored, new, before_write)

    def _replace(self, old: StoredGroup, new: StoredGroup, before_write: Callable[[], object]) -> bool:
        """Write a prepared document over the one that it was made from; False where another is there by now."""
        if not self.store_handle.documents.swap_group(self.path, old, new, before_write):
            return False
        self._keep(new, _UNKNOWN)
        return True

    def _base(self, fresh: JSONObject) -> M:
        if self._model is None or self._stored is None:
            return self._load(fresh)
        attributes = self._attributes
        if fresh == attributes:
            return self._model
        if self._is_edited():
            if self._load(fresh) == self._load(attributes):
                return self._model  # only what this model does not hold was changed: nothing is in conflict
            where = f"{self.store_handle.name}/{self.path}".rstrip("/")
            raise MetadataError(
                f"The metadata of {where} has unsaved changes, and the document was changed elsewhere since it was "
                "read. Open the node again, repeat the change and call dump_meta()."
            )
        return self._load(fresh)

    def changed(self, change: Callable[[M], M], model: M) -> M:
        """Return what a change makes of a model; where it does not fit, the error names the node."""
        where = f"{self.store_handle.name}/{self.path}".rstrip("/")
        try:
            return change(model)
        except (MetadataError, NodeNotFoundError) as fault:
            raise type(fault)(f"The metadata of {where} were not changed: {fault}") from fault
        except InvalidArgumentError as fault:
            if where in str(fault):
                raise
            raise InvalidArgumentError(f"{fault} (asked of {where})") from fault

    def save(self) -> None:
        """Write the live model as it is."""
        self.edit(lambda model: model)


def _nothing() -> None:
    """Stand for a step that is not needed."""
