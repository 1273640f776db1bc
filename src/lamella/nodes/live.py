"""A metadata document as a live model: read once, edited by pure functions, saved whole.

Layer: nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from lamella.errors import MetadataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.nodes.session import Session
    from lamella.spec.base import MetaModel
    from lamella.types import JSONObject

M = TypeVar("M", bound="MetaModel")
D_contra = TypeVar("D_contra", bound="MetaModel", contravariant=True)


class Dump(Protocol[D_contra]):
    """How a model becomes the attributes to store."""

    def __call__(self, meta: D_contra, attributes: JSONObject, /, *, trusted: bool = False) -> JSONObject:
        """Return new attributes; a trusted model needs no validation."""
        ...


class LiveDocument(Generic[M]):
    """The model of one group's document, kept in step with the store.

    Parameters
    ----------
    session
        The opened store.
    path
        The group's path in it.
    load
        Group attributes to model.
    dump
        Model and group attributes to new attributes; keys that the model doesn't know survive.
    """

    __slots__ = ("_attributes", "_dump", "_handed_out", "_load", "_model", "_stamp", "path", "session")

    def __init__(
        self,
        session: Session,
        path: str,
        load: Callable[[JSONObject], M],
        dump: Dump[M],
    ) -> None:
        self.session = session
        self.path = path
        self._load = load
        self._dump = dump
        self._attributes: JSONObject | None = None
        self._model: M | None = None
        self._handed_out = False
        self._stamp: object = None

    @property
    def model(self) -> M:
        """The model. It is read anew when the document was changed elsewhere and has no unsaved changes here."""
        if self._attributes is not None:
            stamp = self.session.documents.stamp(self.path)
            unchanged = self._is_unchanged(stamp)
            if self._model is not None and (unchanged or self._is_edited(self._model, self._attributes)):
                return self._model
        return self._read()

    def _is_unchanged(self, stamp: object) -> bool:
        """Whether the document is what was read; read again where the store cannot tell and it may change here."""
        if stamp is not None or self.session.read_only:
            return stamp == self._stamp
        return self.session.documents.group(self.path) == self._attributes

    def hand_out(self) -> M:
        """Return the model to a user, who may change it at any time."""
        self._handed_out = True
        return self.model

    def _read(self) -> M:
        documents = self.session.documents
        stamp = documents.stamp(self.path)
        attributes = documents.group(self.path)
        return self._adopt(self._load(attributes), attributes, stamp)

    def start(self, attributes: JSONObject, model: M) -> None:
        """Take attributes that were just written, and their model, so that the first look needs no read."""
        self._attributes, self._model = attributes, model
        self._stamp = self.session.documents.stamp(self.path)

    def refresh(self) -> M:
        """Return the model, read anew unless it has unsaved changes."""
        if (
            self._model is None
            or self._attributes is None
            or not self._is_edited(self._model, self._attributes)
        ):
            return self._read()
        return self._model

    def _adopt(self, model: M, attributes: JSONObject, stamp: object) -> M:
        if self._model is None:
            self._model = model
        elif model is not self._model:
            # Callers hold on to `node.metadata`: keep that object and give it the new content.
            self._model.__dict__.update(model.__dict__)
            object.__setattr__(self._model, "__pydantic_extra__", model.__pydantic_extra__)
            object.__setattr__(self._model, "__pydantic_fields_set__", model.__pydantic_fields_set__)
        self._attributes, self._stamp = attributes, stamp
        return self._model

    def _is_edited(self, model: M, attributes: JSONObject) -> bool:
        """Whether a user changed the live model and has not saved it yet."""
        return self._handed_out and self._dump(model, attributes) != self._dump(
            self._load(attributes), attributes
        )

    def edit(self, change: Callable[[M], M], *, before_write: Callable[[], object] | None = None) -> M:
        """Apply a pure function to the newest model and save the result as one atomic write.

        Unsaved changes of the live model are saved with it. ``before_write`` is called when the new document is
        ready: what the document will list is created there, so that a change that does not fit touches nothing.

        Raises
        ------
        MetadataError
            If the live model has unsaved changes and the document was changed elsewhere.
        """
        made: list[M] = []

        def apply(fresh: JSONObject) -> JSONObject:
            model = change(self._base(fresh))
            made.append(model)
            attributes = self._dump(model, fresh, trusted=not self._handed_out)
            if before_write is not None:
                before_write()
            return attributes

        attributes = self.session.documents.edit_group(self.path, apply)
        return self._adopt(made[-1], attributes, self.session.documents.stamp(self.path))

    def _base(self, fresh: JSONObject) -> M:
        if self._model is None or self._attributes is None:
            return self._load(fresh)
        if fresh == self._attributes:
            return self._model
        if self._is_edited(self._model, self._attributes):
            if self._load(fresh) == self._load(self._attributes):
                return self._model  # only what this model does not hold was changed: nothing is in conflict
            where = f"{self.session.name}/{self.path}".rstrip("/")
            raise MetadataError(
                f"The metadata of {where} has unsaved changes, and the document was changed elsewhere since it was "
                "read. Open the node again, repeat the change and call dump_meta()."
            )
        return self._load(fresh)

    def save(self) -> None:
        """Write the live model as it is."""
        self.edit(lambda model: model)
