"""The base of nodes that have a metadata model: reading and saving it."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from lamella.nodes.node import NGFFNode
from lamella.nodes.reporting import check_document, refuse_broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    import zarr

    from lamella.nodes.metadata_document import MetadataDocument
    from lamella.nodes.store_handle import NodePath
    from lamella.spec.axes import AxisMeta
    from lamella.spec.base import MetaModel
    from lamella.spec.rules import Kind
    from lamella.store.json_document import StoredGroup
    from lamella.types import JSONObject

M = TypeVar("M", bound="MetaModel")


class ModelNode(NGFFNode, Generic[M]):
    """A node whose document has one model."""

    def __init__(
        self,
        group: zarr.Group | NodePath,
        parse_meta: bool = True,
        channel_names: Sequence[str] | None = None,
        axes: Sequence[AxisMeta] | str | None = None,
        overwriting_creation: bool = False,
    ) -> None:
        super().__init__(group, False, channel_names, axes, overwriting_creation)
        self.document = self._metadata_document()
        if parse_meta:
            self._parse_meta()

    _kinds: ClassVar[tuple[Kind, ...]] = ()
    """Kinds of the document, which select the rules that it is checked by."""

    @abstractmethod
    def _metadata_document(self) -> MetadataDocument[M]:
        """Return the document of the node; nothing is read yet."""

    def _check(self, stored: StoredGroup) -> None:
        """Report rules that a document breaks."""
        check_document(self.node_path, stored, self._kinds)

    def _refuse(self, before: JSONObject, after: JSONObject, meta: M) -> None:
        """Raise for edited metadata that breaks a rule which the stored document satisfies."""
        del meta
        refuse_broken(self.node_path, before, after, self._kinds)

    def _adopt_document(self, stored: StoredGroup, stamp: object) -> None:
        self.document.adopt(stored, stamp)

    def _parse_meta(self) -> None:
        self.document.shared_model  # noqa: B018 (reading is the check)

    @property
    def metadata(self) -> M:
        """The metadata model; change it and call :meth:`dump_meta` to save."""
        return self.document.hand_out()

    def dump_meta(self) -> None:
        """Write the metadata model to the group's document, in one atomic write.

        Raises
        ------
        ReadOnlyError, ClosedError
            If the store is open for reading or was closed (ValueErrors).
        MetadataError
            If the metadata breaks a rule of OME-NGFF (a MUST) that the document does not break (a ValueError). Nothing
            is written then.

        Examples
        --------
        >>> position.metadata.omero.channels[0].color = "FF8800"
        >>> position.dump_meta()
        >>> position.zattrs["ome"]["omero"]["channels"][0]["color"]
        'FF8800'
        """
        self.require_writable("write the metadata")
        self.document.save()
