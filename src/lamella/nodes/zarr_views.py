"""A node's group and attributes as zarr-python objects, kept in step with the node.

zarr-python's own objects write the attributes they read when they were made, and so undo what was changed
meanwhile; these read and change the stored document. Loaded on first use, since it needs zarr-python.

Layer: nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zarr
from zarr.core.attributes import Attributes

from lamella.errors import MetadataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.nodes.session import Place
    from lamella.types import JSON, JSONObject


class NodeAttributes(Attributes):
    """The attributes of a group: every look reads the document, every assignment changes it at once.

    Parameters
    ----------
    place
        Where the group is.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def _obj(self) -> zarr.Group:  # type: ignore[override]  # what zarr-python holds; here it is read when asked
        return open_group(self._place)

    def __repr__(self) -> str:
        return f"<attributes of {str(self._place)!r}: {', '.join(self) or 'none'}>"

    def _read(self) -> JSONObject:
        return self._place.session.documents.group(self._place.path)

    def _edit(self, change: Callable[[JSONObject], JSONObject]) -> None:
        self._place.session.require_writable("change the attributes", self._place.path)
        self._place.session.documents.edit_group(self._place.path, change)

    def __getitem__(self, key: str) -> JSON:
        return self._read()[key]

    def __setitem__(self, key: str, value: JSON) -> None:
        self._edit(lambda attributes: {**attributes, key: value})

    def __delitem__(self, key: str) -> None:
        def without(attributes: JSONObject) -> JSONObject:
            del attributes[key]
            return attributes

        self._edit(without)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def update(self, *others: Any, **more: JSON) -> None:
        """Assign several keys with one write."""
        new = dict(*others, **more)
        self._edit(lambda attributes: {**attributes, **new})

    def put(self, d: dict[str, JSON]) -> None:
        """Replace all attributes."""
        self._edit(lambda _: dict(d))

    def asdict(self) -> dict[str, JSON]:
        """Return a copy of all attributes."""
        return self._read()


class NodeGroup(zarr.Group):
    """The zarr-python group of a node; its attributes are the node's."""

    _place: Place

    @property
    def attrs(self) -> Attributes:
        """Attributes of the group."""
        return NodeAttributes(self._place)


def open_group(place: Place) -> NodeGroup:
    """Open the zarr-python group at a place, for writing where the store accepts changes.

    Raises
    ------
    NodeNotFoundError
        There is no group.
    MetadataError
        zarr-python does not take its document.
    """
    found = _opened(zarr.open_group, place, use_consolidated=False)
    group = NodeGroup(found._async_group)
    object.__setattr__(group, "_place", place)  # the class is frozen
    return group


def open_array(place: Place) -> zarr.Array[Any]:
    """Open the zarr-python array at a place, for writing where the store accepts changes.

    Raises
    ------
    NodeNotFoundError
        There is no array.
    MetadataError
        zarr-python does not take its document.
    """
    array: zarr.Array[Any] = _opened(zarr.open_array, place)
    return array


def _opened(opener: Any, place: Place, **options: Any) -> Any:
    session = place.session
    documents = session.documents
    try:
        return opener(
            documents.storage.zarr_store(),
            path=place.path,
            mode="r+" if session.writable else "r",
            zarr_format=documents.format,
            **options,
        )
    except Exception as error:  # it raises whatever its parsers do
        # Our own reading says what is wrong, where it is something that nobody could read.
        (documents.array if opener is zarr.open_array else documents.group)(place.path)
        raise MetadataError(
            f"zarr-python does not take the document of {documents.location(place.path)} ({type(error).__name__}): it "
            "holds something that zarr-python does not know. Metadata and pixels can be had from the node itself; "
            "validate() says what is wrong with the store."
        ) from error
