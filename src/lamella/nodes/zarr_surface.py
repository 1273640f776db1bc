"""`ZarrSurface`, the base class of `ImageArray` with every public name of `zarr.Array`, and the same results.

Selections such as ``oindex`` read and write with lamella's engines, checks and errors. Properties such as ``nchunks``
come from zarr-python's array, which is opened at each access, and so do names that this class lacks.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lamella.errors import InvalidArgumentError, OutOfBoundsError
from lamella.store.pixels.selection import basic_or_fancy, orthogonal, points

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zarr import Array as ZarrArray

    from lamella.store.pixels.arrays import Select, StoredArray
    from lamella.types import JSON, Shape


class ZarrSurface:
    """The public names of `zarr.Array`; the subclass reads and writes pixels."""

    stored: StoredArray

    @abstractmethod
    def __init__(self, place: ZarrArray[Any]) -> None:
        """Wrap zarr-python's array."""

    @abstractmethod
    def zarr(self) -> ZarrArray[Any]:
        """Open zarr-python's array.

        Examples
        --------
        >>> position.data.zarr().nchunks
        2
        """

    @abstractmethod
    def _write(self, select: Select, index: Any, value: Any) -> None:
        """Write pixels, after all checks; ``select`` parses the index."""

    @abstractmethod
    def warn_unfinished(self) -> None:
        """Warn if a region of the array was not written completely."""

    @abstractmethod
    def require_writable(self, action: str) -> None:
        """Raise for a store that is open for reading."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Length of each axis."""

    # -- zarr-python's array ----------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        """Return an attribute that the installed zarr-python's array has and this class lacks, such as a newer one."""
        if not name.startswith("_"):
            import zarr

            if hasattr(zarr.Array, name):
                return getattr(self.zarr(), name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        import zarr

        return sorted({*super().__dir__(), *(name for name in dir(zarr.Array) if not name.startswith("_"))})

    @classmethod
    def open(cls, store: Any) -> Self:
        """Open an array without an image, as ``zarr.Array.open`` does; its `axes` are None.

        Examples
        --------
        >>> path = str(plate.zgroup.store.root / position.path / "0")
        >>> type(position.data).open(path).shape
        (1, 2, 4, 8, 8)
        """
        import zarr

        return cls(zarr.Array.open(store))

    @classmethod
    def create(cls, store: Any, **options: Any) -> Self:
        """Create an array without an image, as ``zarr.Array.create`` does, with its options; its `axes` are None.

        Examples
        --------
        >>> import warnings
        >>> with warnings.catch_warnings(action="ignore"):  # zarr-python advises zarr.create_array
        ...     array = type(position.data).create(str(tmp / "new"), shape=(4,), chunk_shape=(2,), dtype="uint8")
        >>> array.shape
        (4,)
        """
        import zarr

        create_array = getattr(zarr.Array, "create", None)
        if create_array is None:  # zarr-python 3.4 and later
            create_array = zarr.create_array
            if "chunk_shape" in options:
                options["chunks"] = options.pop("chunk_shape")
        return cls(create_array(store, **options))

    @classmethod
    def from_dict(cls, store_path: Any, data: dict[str, JSON]) -> Self:
        """Create an array without an image from a metadata document, as ``zarr.Array.from_dict`` does.

        Examples
        --------
        >>> array = position.data
        >>> type(array).from_dict(array.store_path, array.metadata.to_dict()).shape
        (1, 2, 4, 8, 8)
        """
        import zarr

        return cls(zarr.Array.from_dict(store_path, data))

    def update_attributes(self, new_attributes: Mapping[str, JSON]) -> Self:
        """Assign several attributes of the array in one write.

        Examples
        --------
        >>> position.data.update_attributes({"staining": "live"}).attrs["staining"]
        'live'
        """
        self.require_writable("change the attributes")
        self.zarr().update_attributes(dict(new_attributes))
        return self

    # -- selections -------------------------------------------------------------------------------------------

    @property
    def oindex(self) -> Selector:
        """Orthogonal indexing: one list, mask or slice for each axis, ``array.oindex[[0, 2], :, mask]``."""
        return Selector(self.get_orthogonal_selection, self.set_orthogonal_selection)

    @property
    def vindex(self) -> Selector:
        """Pointwise indexing: integer arrays that pair up to points, ``array.vindex[[0, 1], [5, 7]]``."""
        return Selector(
            partial(self._read, partial(self.stored.read, select=points)), partial(self._write, points)
        )

    def _read(self, read: Callable[[Any], Any], index: Any) -> Any:
        """Read pixels with a function, and warn of unfinished regions."""
        pixels = read(index)
        self.warn_unfinished()
        return pixels

    def get_basic_selection(self, selection: Any = ..., **options: Any) -> Any:
        """Read integers and slices; options as those of zarr-python (``out``, ``prototype``, ``fields``).

        Examples
        --------
        >>> position.data.get_basic_selection((0, 1, 3, 7, slice(6, 8)))
        array([510, 511], dtype=uint16)
        """
        if _has_options(options):
            return self._read(partial(self.zarr().get_basic_selection, **options), selection)
        pixels = self._read(self.stored.read, basic_index(selection))
        return pixels if pixels.ndim else pixels[()]

    def set_basic_selection(self, selection: Any, value: Any, **options: Any) -> None:
        """Write to integers and slices.

        Examples
        --------
        >>> position.data.set_basic_selection((0, 1, 3, 7, slice(6, 8)), 9)
        >>> position.data[0, 1, 3, 7, 5:]
        array([509,   9,   9], dtype=uint16)
        """
        _check_write_options(options)
        self._write(basic_or_fancy, basic_index(selection), value)

    def get_orthogonal_selection(self, selection: Any, **options: Any) -> Any:
        """Read one integer, slice, list or mask per axis, each along its own axis.

        Examples
        --------
        >>> position.data.get_orthogonal_selection((0, 0, 0, [0, 7], [1, 2]))
        array([[ 1,  2],
               [57, 58]], dtype=uint16)
        """
        if _has_options(options):
            return self._read(partial(self.zarr().get_orthogonal_selection, **options), selection)
        return self._read(partial(self.stored.read, select=orthogonal), selection)

    def set_orthogonal_selection(self, selection: Any, value: Any, **options: Any) -> None:
        """Write to one integer, slice, list or mask per axis, each along its own axis.

        Examples
        --------
        >>> position.data.set_orthogonal_selection((0, 0, 0, [0, 7], [1, 2]), 0)
        >>> position.data[0, 0, 0, 7, :4]
        array([56,  0,  0, 59], dtype=uint16)
        """
        _check_write_options(options)
        self._write(orthogonal, selection, value)

    def get_coordinate_selection(self, selection: Any, **options: Any) -> Any:
        """Read points: one integer or array of integers per axis, which pair up.

        Examples
        --------
        >>> position.data.get_coordinate_selection((0, 0, 0, [0, 7], [1, 2]))
        array([ 1, 58], dtype=uint16)
        """
        if _has_options(options):
            return self._read(partial(self.zarr().get_coordinate_selection, **options), selection)
        return self._read(partial(self.stored.read, select=points), coordinates_index(selection))

    def set_coordinate_selection(self, selection: Any, value: Any, **options: Any) -> None:
        """Write to points: one integer or array of integers per axis, which pair up.

        Examples
        --------
        >>> position.data.set_coordinate_selection((0, 0, 0, [0, 7], [1, 2]), [8, 9])
        >>> position.data[0, 0, 0, 7, :3]
        array([56, 57,  9], dtype=uint16)
        """
        _check_write_options(options)
        where = coordinates_index(selection)
        shape = np.broadcast_shapes(*(np.shape(indices) for indices in where))
        values = np.asarray(value)
        if values.ndim and values.size == np.prod(shape, dtype=int):
            value = values.reshape(shape)
        self._write(points, where, value)

    def get_mask_selection(self, mask: Any, **options: Any) -> Any:
        """Read the voxels where a mask of the array's shape is true.

        Examples
        --------
        >>> position.data.get_mask_selection(position.data[...] > 509)
        array([510, 511], dtype=uint16)
        """
        if _has_options(options):
            return self._read(partial(self.zarr().get_mask_selection, **options), mask)
        return self._read(partial(self.stored.read, select=points), mask_index(mask, self.shape))

    def set_mask_selection(self, mask: Any, value: Any, **options: Any) -> None:
        """Write to the voxels where a mask of the array's shape is true.

        Examples
        --------
        >>> position.data.set_mask_selection(position.data[...] > 100, 100)
        >>> int(position.data[...].max())
        100
        """
        _check_write_options(options)
        self._write(points, mask_index(mask, self.shape), value)

    def get_block_selection(self, selection: Any, **options: Any) -> Any:
        """Read whole blocks (shards, or chunks of an array without shards) by their block index.

        Examples
        --------
        >>> position.data.get_block_selection((0, 1, 0, 0, 0)).shape
        (1, 1, 4, 8, 8)
        """
        if _has_options(options):
            return self._read(partial(self.zarr().get_block_selection, **options), selection)
        return self._read(self.stored.read, self._blocks(selection))

    def set_block_selection(self, selection: Any, value: Any, **options: Any) -> None:
        """Write to whole blocks (shards, or chunks of an array without shards) by their block index.

        Examples
        --------
        >>> position.data.set_block_selection((0, 1, 0, 0, 0), 5)
        >>> position.data[0, :, 0, 0, 0]
        array([0, 5], dtype=uint16)
        """
        _check_write_options(options)
        self._write(basic_or_fancy, self._blocks(selection), value)

    @property
    def blocks(self) -> Selector:
        """Indexing by block: ``array.blocks[0, 1:3]`` reads or writes whole shards, or chunks without shards."""
        return Selector(self.get_block_selection, self.set_block_selection)

    def _blocks(self, selection: Any) -> tuple[slice, ...]:
        meta = self.stored.meta
        return blocks_index(selection, meta.shape, meta.files)


def _forwarding(name: str) -> property:
    return property(lambda array: getattr(array.zarr(), name), doc=f"See `zarr.Array.{name}`.")


# Not by `__getattr__`, since Tab in Python calls all but properties: `nchunks_initialized` lists the store, and
# `compressor` raises an error in Zarr v3. Properties can also not be assigned by mistake.
for _name in (
    "async_array",
    "cdata_shape",
    "compressor",
    "compressors",
    "config",
    "filters",
    "info",
    "metadata",
    "nchunks",
    "nchunks_initialized",
    "order",
    "read_chunk_sizes",
    "read_only",
    "serializer",
    "store",
    "store_path",
    "write_chunk_sizes",
):
    setattr(ZarrSurface, _name, _forwarding(_name))


@dataclass(frozen=True)
class Selector:
    """One kind of indexing of an array, by square brackets."""

    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]

    def __getitem__(self, index: Any) -> Any:
        return self.read(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.write(index, value)


def _has_options(options: Mapping[str, Any]) -> bool:
    """Whether options of zarr-python are set, which its own array handles."""
    return any(option is not None for option in options.values())


def _check_write_options(options: Mapping[str, Any]) -> None:
    """Raise for options of a write that zarr-python does not have, or that only arrays of records have."""
    unknown = sorted(options.keys() - {"fields", "prototype"})
    if unknown:
        raise TypeError(f"There is no option {unknown[0]!r}: the options are 'fields' and 'prototype'.")
    if options.get("fields"):
        raise InvalidArgumentError(
            f"Cannot select fields={options['fields']!r}: the voxels of an image are plain numbers without fields."
        )


def basic_index(selection: Any) -> Any:
    """Return a selection of integers, slices and ``...``; raise for any other."""
    indices = selection if isinstance(selection, tuple) else (selection,)
    for index in indices:
        if not (index is Ellipsis or isinstance(index, slice) or hasattr(index, "__index__")) or np.ndim(
            index
        ):
            raise OutOfBoundsError(
                f"A basic selection is made of integers, slices and '...', not of {index!r}."
            )
    return selection


def coordinates_index(selection: Any) -> tuple[Any, ...]:
    """Return one integer array per axis."""
    indices = selection if isinstance(selection, tuple) else (selection,)
    if any(isinstance(index, slice) or index is Ellipsis for index in indices):
        raise OutOfBoundsError(f"A coordinate selection has integers for each axis, not {selection!r}.")
    are_scalars = all(np.ndim(index) == 0 for index in indices)
    return tuple(np.atleast_1d(index) for index in indices) if are_scalars else indices


def mask_index(mask: Any, shape: Shape) -> Any:
    """Return a mask of the array's shape."""
    array = mask[0] if isinstance(mask, tuple) and len(mask) == 1 else mask
    array = np.asarray(array)
    if array.dtype != bool or array.shape != shape:
        raise OutOfBoundsError(
            f"A mask has the type bool and the array's shape {shape}, not {array.dtype} {array.shape}."
        )
    return array


def blocks_index(selection: Any, shape: Shape, sizes: Shape) -> tuple[slice, ...]:
    """Return the region of voxels that blocks cover; ``sizes`` are the lengths of a block.

    >>> blocks_index((0, slice(1, None)), (10, 10), (4, 4))
    (slice(0, 4, None), slice(4, 10, None))
    """
    indices = _index_per_axis(selection, len(shape))
    return tuple(
        _block(index, length, size) for index, length, size in zip(indices, shape, sizes, strict=True)
    )


def _index_per_axis(selection: Any, ndim: int) -> list[Any]:
    """Return one integer or slice per axis; ``...`` and missing axes select all."""
    indices = list(selection) if isinstance(selection, tuple) else [selection]
    ellipses = [axis for axis, index in enumerate(indices) if index is Ellipsis]
    missing = ndim - len(indices) + len(ellipses)
    if len(ellipses) > 1 or missing < 0:
        raise OutOfBoundsError(f"{selection!r} does not fit the blocks of an array of {ndim} axes.")
    start = ellipses[0] if ellipses else len(indices)
    return [*indices[:start], *[slice(None)] * missing, *indices[start + len(ellipses) :]]


def _block(index: Any, length: int, size: int) -> slice:
    """Return the voxels along one axis that blocks of a size cover, by block index.

    >>> _block(-1, 10, 4), _block(slice(1, None), 10, 4)
    (slice(8, 10, None), slice(4, 10, None))
    """
    count = -(-length // size) if size else 0
    if isinstance(index, slice) and index.step in (1, None):
        start, stop = (
            (0 if index.start is None else index.start),
            (count if index.stop is None else index.stop),
        )
        start, stop = (start + count if start < 0 else start), (stop + count if stop < 0 else stop)
    elif not isinstance(index, bool) and hasattr(index, "__index__") and not np.ndim(index):
        start = int(index) + count if index < 0 else int(index)
        stop = start + 1
    else:
        raise OutOfBoundsError(f"Blocks are selected by integers and slices of step 1, not by {index!r}.")
    if not 0 <= start * size < length:
        raise OutOfBoundsError(f"Block {index} is out of bounds for an axis of {count} blocks.")
    return slice(start * size, max(start * size, min(stop * size, length)))
