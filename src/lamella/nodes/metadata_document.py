"""A metadata document as a model: read once, edited by pure functions, saved as a whole.

The documents of a plate are nearly equal, and most are only read. So nodes with equal documents share one model for
reading (a plate with 384 equal fields parses one model), and a node gets its own model when its user may change it
(``position.metadata``). `read_part` parses a part of a document, with errors that name the node.

A document is settled if its model depends on the attributes alone. While a member is being renamed, replaced or
appended, the model also depends on which files exist in the store, so it is loaded again at each access.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from lamella.errors import MetadataError, NodeExistsError, NodeNotFoundError, clause
from lamella.nodes.store_handle import errors_naming
from lamella.spec.base import assign
from lamella.store.metadata.json_document import StoredGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.nodes.node import ModelNode
    from lamella.nodes.store_handle import NodePath
    from lamella.spec.base import MetaModel
    from lamella.types import JSONObject

M = TypeVar("M", bound="MetaModel")
T = TypeVar("T")

_UNKNOWN_STAMP = object()
"""Stamp of a document that was written and not read since; no stamp of a store is equal to it."""


class MetadataDocument(Generic[M]):
    """The model of a node's document, kept current with the store; the node converts attributes to models and back."""

    __slots__ = (
        "_node",
        "_node_path",
        "_own_model",
        "_shared_model",
        "_stamp",
        "_stored",
        "_unchecked",
        "is_settled",
    )

    def __init__(self, node: ModelNode[M]) -> None:
        self._node = node
        self._node_path = node.node_path
        self._stored: StoredGroup | None = None
        self._stamp: object = _UNKNOWN_STAMP
        self._shared_model: M | None = None
        """The model of a settled document that was read, or the result of an edit."""
        self._own_model: M | None = None
        """The model that the user got from `editable_model`, with his unsaved changes."""
        self._unchecked = False
        """Whether the rules of the document have not been checked yet."""
        self.is_settled = True
        """Whether the model depends on the attributes alone; see the module."""

    # -- reading ----------------------------------------------------------------------------------------------

    @property
    def shared_model(self) -> M:
        """The model for reading, which no caller may change; the user's own model after a call of `editable_model`."""
        if self._own_model is not None:
            if not self._is_unchanged() and not self._is_edited():
                self._read()
        elif self._stored is None or not self._is_unchanged():
            self._read()
        model = self.last_shared_model
        if self._unchecked:
            self._node._check(self._stored_group)  # if it raises, the next access checks again
            self._unchecked = False
        return model

    def editable_model(self) -> M:
        """Return the node's own model, which the user may change at any time."""
        model = self.shared_model
        if self._own_model is None:
            # Copied, not parsed from the document: that of an image without arrays lacks parts of an edited model.
            self._own_model = model.copied()
        return self._own_model

    def cached_result(self, compute: Callable[[M], T]) -> T:
        """Return `compute(shared_model)`; nodes that share the model share the result."""
        model = self.shared_model
        if self._own_model is not None:
            return compute(model)
        # Nodes with equal documents may have different model objects after an edit: compare the object, too.
        results = self._stored_group.derived
        cached: tuple[M, T] | None = results.get(compute)
        if cached is None or cached[0] is not model:
            cached = results[compute] = model, compute(model)
        return cached[1]

    @property
    def stored(self) -> StoredGroup | None:
        """The document as it was last read or written."""
        return self._stored

    @property
    def unedited_document(self) -> StoredGroup | None:
        """The document as it was last read; None if the user got an own model, or the document was edited since."""
        stored = self._stored
        return None if stored is None or not stored.data or self._own_model is not None else stored

    @property
    def _stored_group(self) -> StoredGroup:
        assert self._stored is not None
        return self._stored

    @property
    def last_shared_model(self) -> M:
        """The model of the document as it was last read or written, without a check of the store."""
        model = self._shared_model if self._own_model is None else self._own_model
        if model is None:
            model = self._node._load_shared(self._stored_group)
            if self.is_settled:
                self._shared_model = model
        return model

    @property
    def last_attributes(self) -> JSONObject:
        """The attributes as they were last read or written; empty before."""
        return {} if self._stored is None else self._stored.attributes

    def _is_unchanged(self) -> bool:
        """Return whether the document is unchanged; unknown in a writable store without stamps."""
        if self._stamp is _UNKNOWN_STAMP or not self.is_settled:
            return False
        store_handle = self._node_path.store_handle
        stamp = store_handle.documents.stamp(self._node_path.path)
        return (stamp is not None or store_handle.read_only) and stamp == self._stamp

    def refresh(self) -> M:
        """Return the model, read again unless it has unsaved changes."""
        if self._own_model is not None and self._is_edited():
            return self._own_model
        self._stamp = _UNKNOWN_STAMP
        return self.shared_model

    def adopt(self, stored: StoredGroup, stamp: object = _UNKNOWN_STAMP) -> None:
        """Adopt a document that was just read, with its stamp, or that this process just wrote."""
        self._set_stored(stored, stamp)
        self._unchecked = True

    def _read(self) -> None:
        """Read the document; keep the models if its attributes have not changed."""
        old_document, old_model = self._stored, self._shared_model
        self._set_stored(*self._node_path.store_handle.documents.stored_group(self._node_path.path))
        is_equal = old_document is not None and old_document.attributes == self.last_attributes
        self._unchecked = self._unchecked or not is_equal
        if is_equal and self.is_settled:
            self._shared_model = self._shared_model or old_model
        elif self._own_model is not None:
            self._update_own_model(self._node._load(self.last_attributes))

    def _set_stored(self, stored: StoredGroup, stamp: object) -> None:
        if stored is not self._stored:
            self._stored, self._shared_model = stored, None
            self.is_settled = self._node._is_settled(stored.attributes)
        self._stamp = stamp

    def _update_own_model(self, model: M) -> None:
        """Replace the content of the model that callers keep as `node.metadata`, and of its parts."""
        if self._own_model is not None and self._own_model is not model:
            # Copied, because the result of an edit shares parts with the edited model.
            assign(self._own_model, model.copied())

    def _is_edited(self) -> bool:
        """Return whether a user has unsaved changes in the model."""
        if self._own_model is None:
            return False
        attributes, node = self.last_attributes, self._node
        return node._dump(self._own_model, attributes) != node._dump(node._load(attributes), attributes)

    # -- changing ---------------------------------------------------------------------------------------------

    def edit(
        self,
        change: Callable[[M], M],
        *,
        before_write: Callable[[], object] | None = None,
        change_key: Hashable = None,
        edit_attributes: Callable[[JSONObject], JSONObject] | None = None,
    ) -> M:
        """Apply a pure function to the newest model, and save the result with unsaved changes in one atomic write.

        ``before_write`` is called when the new document is ready; it creates arrays that the document lists.

        With a ``change_key``, such as ("add_dataset", "0", "<u2"), the result is computed once for all nodes with equal
        documents: a change with an equal key must have an equal result. ``edit_attributes`` changes attributes outside
        of the model in the same write, for changes without a key.

        Raises MetadataError if there are unsaved changes and the document was changed elsewhere, or if they break a
        rule.
        """
        create_arrays = before_write or (lambda: None)
        if change_key is not None and self._write_prepared(change, change_key, create_arrays):
            return self.last_shared_model
        results: list[M] = []

        def apply(stored: JSONObject) -> JSONObject:
            node, newest = self._node, self._newest_model(stored)
            if newest is self._own_model:
                node._check_edit(stored, node._dump(newest, stored), newest)
            model = self.apply_change(change, newest)
            results.append(model)
            attributes = node._dump(model, stored, trusted=self._own_model is None)
            if edit_attributes is not None:
                attributes = edit_attributes(attributes)
            create_arrays()
            return attributes

        attributes, stamp = self._node_path.store_handle.documents.edit_group(self._node_path.path, apply)
        # Without stamps, the next access reads the document again.
        self._set_stored(StoredGroup(b"", attributes), _UNKNOWN_STAMP if stamp is None else stamp)
        self._shared_model = results[-1]
        if self._own_model is None:
            return results[-1]
        self._update_own_model(results[-1])
        return self._own_model

    def _write_prepared(
        self, change: Callable[[M], M], change_key: Hashable, before_write: Callable[[], object]
    ) -> bool:
        """Write a change whose result is cached; False if the document has changed since it was read."""
        stored, documents = self.unedited_document, self._node_path.store_handle.documents
        if stored is None:
            return False
        model = self.last_shared_model

        def prepare() -> tuple[M, StoredGroup]:
            attributes = self._node._dump(self.apply_change(change, model), stored.attributes, trusted=True)
            return model, documents.prepared(self._node_path.path, attributes, stored)

        # The cached value keeps the model alive, so that no other object can get the same id.
        _, new = stored.get_or_make((id(model), change_key), prepare)
        if not documents.swap_group(self._node_path.path, stored, new, before_write):
            return False
        self._set_stored(new, _UNKNOWN_STAMP)
        return True

    def _newest_model(self, stored: JSONObject) -> M:
        """Return the model of the attributes as they are stored now, with the user's unsaved changes."""
        current = self._shared_model if self._own_model is None else self._own_model
        if current is None or self._stored is None:
            return self._node._load(stored)
        attributes = self._stored.attributes
        if stored == attributes:
            return current
        if not stored:  # attributes of Zarr v2 are a file that may be missing
            raise NodeNotFoundError(
                f"The metadata of {self._name} cannot be edited: they were there before, and are missing now. Another "
                "program removed them, or the service did not return them. Open the node again, and repeat the call."
            )
        if self._is_edited():
            if self._node._load(stored) == self._node._load(attributes):
                return current  # only attributes outside of the model were changed
            raise MetadataError(
                f"The metadata of {self._name} has unsaved changes, and the document was changed elsewhere since it "
                "was read. Open the node again, repeat the change and call dump_meta()."
            )
        return self._node._load(stored)

    def apply_change(self, change: Callable[[M], M], model: M) -> M:
        """Return the result of a change for a model; an error names the node."""
        with errors_naming(self._node.node_path):
            try:
                return change(model)
            except (MetadataError, NodeNotFoundError, NodeExistsError) as error:
                error.args = (f"The metadata of {self._name} were not changed: {clause(error)}.",)
                raise

    @property
    def _name(self) -> str:
        """The name of the store and the path of the node, for messages."""
        return str(self._node_path)

    def save(self) -> None:
        """Save the model with the unsaved changes."""
        self.edit(lambda model: model)


def read_part(node_path: NodePath, model_type: type[M], attributes: JSONObject) -> M | None:
    """Parse one kind of metadata in a group's attributes, such as `PlateMeta`; None if they have none.

    Raises `MetadataError`, which names the node, for invalid metadata.
    """
    try:
        return node_path.store_handle.version_of(attributes).load(model_type, attributes)
    except MetadataError as error:
        raise unusable_error(node_path, error) from error


def ome_of(node_path: NodePath, attributes: JSONObject) -> JSONObject:
    """Return the OME part of a group's attributes; `MetadataError` if it is not an object."""
    try:
        return node_path.store_handle.version.ome(attributes)
    except MetadataError as error:
        raise unusable_error(node_path, error) from error


def stored_ome(node_path: NodePath) -> JSONObject:
    """Read the OME part of a group's attributes."""
    return ome_of(node_path, node_path.store_handle.documents.group(node_path.path))


def unusable_error(node_path: object, error: MetadataError) -> MetadataError:
    """Return an error about metadata as an error that names the node and what to do."""
    return MetadataError(
        f"The metadata of {node_path} cannot be used: {clause(error)}. lamella.validate() lists all that is "
        "wrong, repair() fixes what can be fixed without guessing."
    )
