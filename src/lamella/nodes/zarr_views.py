"""A node's group, arrays and attributes as zarr-python objects, kept in step with the node.

zarr-python's own objects write the attributes and the shape they read when they were made, and so undo what was changed
meanwhile. The attributes here read and change the stored document; what zarr-python itself writes goes through a store
that merges it (:mod:`lamella.store.merging_store`). Loaded on first use, since it needs zarr-python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zarr
from zarr.core.attributes import Attributes

from lamella.errors import MetadataError
from lamella.store.array_edits import attributes_of_array, edit_attributes_of_array
from lamella.store.assignment import cast_for
from lamella.store.merging_store import merging_store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import numpy.typing as npt

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.store_handle import NodePath
    from lamella.store.documents import NodeKind
    from lamella.types import JSON, JSONObject


class NodeAttributes(Attributes):
    """The attributes of a group or array: every look reads the document, every assignment changes it at once.

    Parameters
    ----------
    place
        Where the node is.
    kind
        What it is.
    """

    def __init__(self, place: NodePath, kind: NodeKind = "group") -> None:
        self._place = place
        self._kind = kind

    @property
    def _obj(self) -> zarr.Group | zarr.Array[Any]:  # type: ignore[override]  # what zarr-python holds; here read when asked
        return open_group(self._place) if self._kind == "group" else open_array(self._place)

    def __repr__(self) -> str:
        return f"<attributes of {str(self._place)!r}: {', '.join(self) or 'none'}>"

    def _read(self) -> JSONObject:
        documents, path = self._place.store_handle.documents, self._place.path
        return documents.group(path) if self._kind == "group" else attributes_of_array(documents, path)

    def _edit(self, change: Callable[[JSONObject], JSONObject]) -> None:
        documents, path = self._place.store_handle.documents, self._place.path
        self._place.store_handle.require_writable("change the attributes", path)
        if self._kind == "group":
            documents.edit_group(path, change)
        else:
            edit_attributes_of_array(documents, path, change)

    def __getitem__(self, key: str) -> JSON:
        return self._read()[key]

    def __setitem__(self, key: str, value: JSON) -> None:
        self._edit(lambda attributes: {**attributes, key: value})

    def __delitem__(self, key: str) -> None:
        def without(attributes: JSONObject) -> JSONObject:
            left = dict(attributes)
            del left[key]
            return left

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


class HeldAttributes(NodeAttributes):
    """The attributes of an object of zarr-python, whose own copy follows each assignment.

    Parameters
    ----------
    held
        The object.
    """

    def __init__(self, held: NodeGroup | NodeArray) -> None:
        super().__init__(held._place, "array" if isinstance(held, zarr.Array) else "group")
        self._held = held

    def _edit(self, change: Callable[[JSONObject], JSONObject]) -> None:
        super()._edit(change)
        copy: dict[str, Any] = self._held.metadata.attributes
        new = self._read()
        copy.clear()
        copy.update(new)


class NodeArray(zarr.Array[Any]):
    """The zarr-python array of a node: attributes and shape are changed by the node.

    Values that the data type cannot hold are refused: zarr-python stores 70000 as 4464 in uint16.
    """

    _place: NodePath

    @property
    def attrs(self) -> Attributes:
        """Attributes of the array."""
        return HeldAttributes(self)

    def update_attributes(self, new_attributes: dict[str, JSON]) -> NodeArray:
        """Assign several attributes with one write."""
        self.attrs.update(new_attributes)
        return self

    def resize(self, new_shape: Any) -> None:
        """Change the shape; voxels inside both shapes stay, new ones are the fill value."""
        self._node().resize(new_shape)
        self._read_again()

    def append(self, data: npt.ArrayLike, axis: int = 0) -> tuple[int, ...]:
        """Append voxels along an axis, behind those that are there by now; return the new shape."""
        shape = self._node().append(data, axis)
        self._read_again()
        return shape

    # All other ways of writing (indexing, oindex, vindex, blocks) call these.

    def set_basic_selection(self, selection: Any, value: Any, **options: Any) -> None:
        """Write to integers and slices."""
        super().set_basic_selection(selection, self._cast(value), **options)

    def set_orthogonal_selection(self, selection: Any, value: Any, **options: Any) -> None:
        """Write to one integer, slice, list or mask per axis, each along its own axis."""
        if self.shards is not None and not options.get("fields"):
            # zarr-python (3.1) raises IndexError or ValueError for lists on shards.
            self._node().set_orthogonal_selection(selection, value)
            return
        super().set_orthogonal_selection(selection, self._cast(value), **options)

    def set_coordinate_selection(self, selection: Any, value: Any, **options: Any) -> None:
        """Write to points."""
        super().set_coordinate_selection(selection, self._cast(value), **options)

    def set_mask_selection(self, mask: Any, value: Any, **options: Any) -> None:
        """Write to the voxels where a mask is true."""
        super().set_mask_selection(mask, self._cast(value), **options)

    def set_block_selection(self, selection: Any, value: Any, **options: Any) -> None:
        """Write to whole chunks by their place in the grid of chunks."""
        super().set_block_selection(selection, self._cast(value), **options)

    def _cast(self, value: Any) -> Any:
        return cast_for(value, self.dtype, str(self._place)) if self.dtype.kind in "biufc" else value

    def _node(self) -> ImageArray:
        from lamella.nodes.image_array import ImageArray

        return ImageArray(self._place)

    def _read_again(self) -> None:
        self._async_array = open_array(self._place)._async_array


class NodeGroup(zarr.Group):
    """The zarr-python group of a node; its attributes are the node's, and so are those of its members."""

    _place: NodePath

    @property
    def attrs(self) -> Attributes:
        """Attributes of the group."""
        return HeldAttributes(self)

    def update_attributes(self, new_attributes: dict[str, Any]) -> NodeGroup:
        """Assign several attributes with one write."""
        self.attrs.update(new_attributes)
        return self

    def __getitem__(self, path: str) -> Any:
        return self._ours(super().__getitem__(path))

    def members(self, *args: Any, **options: Any) -> tuple[tuple[str, Any], ...]:
        """Return the names and nodes of all members."""
        return tuple((name, self._ours(node)) for name, node in super().members(*args, **options))

    def groups(self, *args: Any, **options: Any) -> Generator[tuple[str, Any], None]:
        """Iterate over the names and nodes of all groups."""
        for name, node in super().groups(*args, **options):
            yield name, self._ours(node)

    def arrays(self, *args: Any, **options: Any) -> Generator[tuple[str, Any], None]:
        """Iterate over the names and nodes of all arrays."""
        for name, node in super().arrays(*args, **options):
            yield name, self._ours(node)

    def _ours(self, node: zarr.Group | zarr.Array[Any]) -> NodeGroup | NodeArray:
        """Return a member of zarr-python as one of ours."""
        place = type(self._place)(self._place.store_handle, node.path)
        return _group(node, place) if isinstance(node, zarr.Group) else _array(node, place)


def _group(found: zarr.Group, place: NodePath) -> NodeGroup:
    group = NodeGroup(found._async_group)
    object.__setattr__(group, "_place", place)  # the class is frozen
    return group


def _array(found: zarr.Array[Any], place: NodePath) -> NodeArray:
    array = NodeArray(found._async_array)
    array._place = place
    return array


def open_group(place: NodePath) -> NodeGroup:
    """Open the zarr-python group at a place, for writing where the store accepts changes.

    Raises
    ------
    NodeNotFoundError
        There is no group.
    MetadataError
        zarr-python does not take its document.
    """
    return _group(_opened(zarr.open_group, place, use_consolidated=False), place)


def open_array(place: NodePath) -> NodeArray:
    """Open the zarr-python array at a place, for writing where the store accepts changes.

    Raises
    ------
    NodeNotFoundError
        There is no array.
    MetadataError
        zarr-python does not take its document.
    """
    return _array(_opened(zarr.open_array, place), place)


def _opened(opener: Any, place: NodePath, **options: Any) -> Any:
    session = place.store_handle
    documents = session.documents
    try:
        return opener(
            merging_store(documents),
            path=place.path,
            mode="r+" if session.writable else "r",
            zarr_format=documents.format,
            **options,
        )
    except Exception as error:  # it raises whatever its parsers do
        # Our own reader names the problem of an unreadable document.
        (documents.array if opener is zarr.open_array else documents.group)(place.path)
        raise MetadataError(
            f"zarr-python does not take the document of {documents.location(place.path)} ({type(error).__name__}): it "
            "holds something that zarr-python does not know. Metadata and pixels can be had from the node itself; "
            "validate() says what is wrong with the store."
        ) from error
