"""A node's group, arrays and attributes as zarr-python objects that do not undo changes of other writers.

zarr-python's own objects write the attributes and shape that they read on creation, and so undo later changes. The
attributes here read and change the stored document; other writes of zarr-python go through a merging store
(:mod:`lamella.store.objects.merging_store`). Imports zarr-python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zarr
from zarr.core.attributes import Attributes

from lamella.errors import MetadataError
from lamella.store.objects.merging_store import merging_store
from lamella.store.pixels.assignment import cast_for

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import numpy.typing as npt

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.store_handle import NodePath
    from lamella.store.metadata.stored_documents import NodeKind
    from lamella.types import JSON, JSONObject


class NodeAttributes(Attributes):
    """Attributes of a group or array: every access reads the document, every assignment changes it."""

    def __init__(self, node_path: NodePath, kind: NodeKind = "group") -> None:
        self._node_path = node_path
        self._kind = kind

    @property
    def _obj(self) -> zarr.Group | zarr.Array[Any]:  # type: ignore[override]  # an attribute in zarr-python
        return open_group(self._node_path) if self._kind == "group" else open_array(self._node_path)

    def __repr__(self) -> str:
        return f"<attributes of {str(self._node_path)!r}: {', '.join(self) or 'none'}>"

    def _read(self) -> JSONObject:
        documents, path = self._node_path.store_handle.documents, self._node_path.path
        return documents.group(path) if self._kind == "group" else documents.attributes_of_array(path)

    def _edit(self, change: Callable[[JSONObject], JSONObject]) -> None:
        documents, path = self._node_path.store_handle.documents, self._node_path.path
        self._node_path.store_handle.require_writable("change the attributes", path)
        if self._kind == "group":
            documents.edit_group(path, change)
        else:
            documents.edit_array_attributes(path, change)

    def __getitem__(self, key: str) -> JSON:
        return self._read()[key]

    def __setitem__(self, key: str, value: JSON) -> None:
        self._edit(lambda attributes: {**attributes, key: value})

    def __delitem__(self, key: str) -> None:
        def without(attributes: JSONObject) -> JSONObject:
            remaining = dict(attributes)
            del remaining[key]
            return remaining

        self._edit(without)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def update(self, *mappings: Any, **keys: JSON) -> None:
        """Assign several keys with one write."""
        assigned = dict(*mappings, **keys)
        self._edit(lambda attributes: {**attributes, **assigned})

    def put(self, d: dict[str, JSON]) -> None:
        """Replace all attributes."""
        self._edit(lambda _: dict(d))

    def asdict(self) -> dict[str, JSON]:
        """Return a copy of all attributes."""
        return self._read()


class ZarrAttributes(NodeAttributes):
    """Attributes of a zarr-python object, whose own copy is updated with each assignment."""

    def __init__(self, zarr_object: NodeGroup | NodeArray) -> None:
        super().__init__(zarr_object._node_path, "array" if isinstance(zarr_object, zarr.Array) else "group")
        self._zarr_object = zarr_object

    def _edit(self, change: Callable[[JSONObject], JSONObject]) -> None:
        super()._edit(change)
        own_copy: dict[str, Any] = self._zarr_object.metadata.attributes
        stored = self._read()
        own_copy.clear()
        own_copy.update(stored)


class NodeArray(zarr.Array[Any]):
    """The zarr-python array of a node; its attributes and shape are changed through the node.

    Values that the dtype cannot represent raise an error; zarr-python stores 70000 as 4464 in uint16.
    """

    _node_path: NodePath

    @property
    def attrs(self) -> Attributes:
        """Attributes of the array."""
        return ZarrAttributes(self)

    def update_attributes(self, new_attributes: dict[str, JSON]) -> NodeArray:
        """Assign several attributes with one write."""
        self.attrs.update(new_attributes)
        return self

    def resize(self, new_shape: Any) -> None:
        """Change the shape; voxels inside both shapes stay, new ones have the fill value."""
        self._image_array().resize(new_shape)
        self._read_again()

    def append(self, data: npt.ArrayLike, axis: int = 0) -> tuple[int, ...]:
        """Append voxels along an axis to the array, whose stored shape is read again; return the new shape."""
        shape = self._image_array().append(data, axis)
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
            self._image_array().set_orthogonal_selection(selection, value)
            return
        super().set_orthogonal_selection(selection, self._cast(value), **options)

    def set_coordinate_selection(self, selection: Any, value: Any, **options: Any) -> None:
        """Write to points."""
        super().set_coordinate_selection(selection, self._cast(value), **options)

    def set_mask_selection(self, mask: Any, value: Any, **options: Any) -> None:
        """Write to the voxels where a mask is true."""
        super().set_mask_selection(mask, self._cast(value), **options)

    def set_block_selection(self, selection: Any, value: Any, **options: Any) -> None:
        """Write to whole chunks by their chunk index."""
        super().set_block_selection(selection, self._cast(value), **options)

    def _cast(self, value: Any) -> Any:
        return cast_for(value, self.dtype, str(self._node_path)) if self.dtype.kind in "biufc" else value

    def _image_array(self) -> ImageArray:
        from lamella.nodes.image_array import ImageArray

        return ImageArray(self._node_path)

    def _read_again(self) -> None:
        self._async_array = open_array(self._node_path)._async_array


class NodeGroup(zarr.Group):
    """The zarr-python group of a node, whose attributes and members are objects of this module."""

    _node_path: NodePath

    @property
    def attrs(self) -> Attributes:
        """Attributes of the group."""
        return ZarrAttributes(self)

    def update_attributes(self, new_attributes: dict[str, Any]) -> NodeGroup:
        """Assign several attributes with one write."""
        self.attrs.update(new_attributes)
        return self

    def __getitem__(self, path: str) -> Any:
        return self._wrap(super().__getitem__(path))

    def members(self, *args: Any, **options: Any) -> tuple[tuple[str, Any], ...]:
        """Return the names and nodes of all members."""
        return tuple((name, self._wrap(node)) for name, node in super().members(*args, **options))

    def groups(self, *args: Any, **options: Any) -> Generator[tuple[str, Any], None]:
        """Iterate over the names and nodes of all groups."""
        for name, node in super().groups(*args, **options):
            yield name, self._wrap(node)

    def arrays(self, *args: Any, **options: Any) -> Generator[tuple[str, Any], None]:
        """Iterate over the names and nodes of all arrays."""
        for name, node in super().arrays(*args, **options):
            yield name, self._wrap(node)

    def _wrap(self, node: zarr.Group | zarr.Array[Any]) -> NodeGroup | NodeArray:
        """Return a member of zarr-python as a `NodeGroup` or `NodeArray`."""
        node_path = type(self._node_path)(self._node_path.store_handle, node.path)
        return _group(node, node_path) if isinstance(node, zarr.Group) else _array(node, node_path)


def _group(zarr_group: zarr.Group, node_path: NodePath) -> NodeGroup:
    group = NodeGroup(zarr_group._async_group)
    object.__setattr__(group, "_node_path", node_path)  # the class is frozen
    return group


def _array(zarr_array: zarr.Array[Any], node_path: NodePath) -> NodeArray:
    array = NodeArray(zarr_array._async_array)
    array._node_path = node_path
    return array


def open_group(node_path: NodePath) -> NodeGroup:
    """Open the zarr-python group at a node path, writable if the store is.

    Raises `NodeNotFoundError` if there is no group, and `MetadataError` if zarr-python does not accept its document.
    """
    return _group(_open_with(zarr.open_group, node_path, use_consolidated=False), node_path)


def open_array(node_path: NodePath) -> NodeArray:
    """Open the zarr-python array at a node path, writable if the store is.

    Raises `NodeNotFoundError` if there is no array, and `MetadataError` if zarr-python does not accept its document.
    """
    return _array(_open_with(zarr.open_array, node_path), node_path)


def _open_with(opener: Any, node_path: NodePath, **options: Any) -> Any:
    """Call `zarr.open_group` or `zarr.open_array` for a node."""
    store_handle = node_path.store_handle
    documents = store_handle.documents
    try:
        return opener(
            merging_store(documents),
            path=node_path.path,
            mode="r+" if store_handle.writable else "r",
            zarr_format=documents.format,
            **options,
        )
    except Exception as error:  # zarr-python's parsers raise many kinds of errors
        # lamella's own parser names the problem of an unreadable document.
        (documents.array if opener is zarr.open_array else documents.group)(node_path.path)
        raise MetadataError(
            f"Cannot open {documents.location(node_path.path)} with zarr-python, which does not accept its document "
            f"({type(error).__name__}): it contains something that zarr-python does not know. Read metadata and pixels "
            "through the node itself; validate() lists what is wrong with the store."
        ) from error
