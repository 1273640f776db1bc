"""One array of an image: numpy-style reads and writes of pixels, on top of :mod:`lamella.store.pixels.arrays`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.nodes.store_handle import NodePath
from lamella.nodes.zarr_surface import ZarrSurface
from lamella.spec.axes import axis_index
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.assignment import cast, cast_for, is_lazy
from lamella.store.pixels.selection import basic_or_fancy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import dask.array
    import zarr
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from lamella.spec.axes import AxisMeta
    from lamella.spec.stale_levels import Bounds
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.arrays import Select
    from lamella.types import Shape


class ImageArray(ZarrSurface):
    """The pixels of one level of an image, up to 5-D, in the order of the image's axes.

    Indexing follows numpy: integers drop an axis, slices may have steps, negative numbers count from the end, lists
    and masks select. A read returns a numpy array, a write stores at once. Lazy data (of dask, zarr or h5py, another
    `ImageArray`) is written block by block.

    Values of another dtype are cast as in numpy: floats are rounded to narrower floats, and truncated to integers (1.9
    becomes 1). A value that the array's dtype cannot represent (70000, -1 or NaN in uint16) raises
    `InvalidArgumentError` (a ValueError), and nothing is written. Lazy data is checked block by block: after such an
    error the array is marked as unfinished (`lamella.status`, a warning at each read) until the region is written
    again.

    All other public names of `zarr.Array`, such as ``nchunks``, ``compressors`` and ``info``, are those of zarr-python.

    Parameters
    ----------
    place
        The opened store and the array's path, or a zarr-python array.
    axes
        Axes of the array's image, if there is one.

    Examples
    --------
    >>> image = position["0"]
    >>> image[0, 1, 0, ::2, -1] = 7
    >>> image[0, 1, 0, :4, 7], image.channels, image.width
    (array([  7, 271,   7, 287], dtype=uint16), 2, 8)
    """

    def __init__(self, place: NodePath | zarr.Array[Any], axes: Sequence[AxisMeta] | None = None) -> None:
        self.node_path = NodePath.of(place)
        self.stored = StoredArray(self.node_path.store_handle.documents, self.node_path.path)
        self._axes = None if axes is None else list(axes)

    # -- properties -------------------------------------------------------------------------------------------

    @property
    def meta(self) -> ArrayMeta:
        """The parsed document of the array; for operations and adapters."""
        return self.stored.meta

    @property
    def path(self) -> str:
        """Path of the array in its store."""
        return self.node_path.path

    @property
    def name(self) -> str:
        """Path of the array from the root of the store, with a leading slash."""
        return f"/{self.path}"

    @property
    def basename(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def shape(self) -> Shape:
        """Length of each axis; assigning to it resizes the array."""
        return self.meta.shape

    @shape.setter
    def shape(self, value: Sequence[int]) -> None:
        self.resize(value)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.meta.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of a voxel."""
        return self.meta.dtype

    @property
    def chunks(self) -> Shape:
        """Shape of a chunk, the unit of compression."""
        return self.meta.chunks

    @property
    def shards(self) -> Shape | None:
        """Shape of a shard, the unit of a file; None without sharding."""
        return self.meta.shards

    @property
    def write_unit(self) -> Shape:
        """Shape of the region that one writer must own: a shard, or a chunk without sharding."""
        return self.meta.files

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=object)) if self.shape else 1

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels, uncompressed."""
        return self.size * self.dtype.itemsize

    @property
    def fill_value(self) -> Any:
        """Value of voxels that were never written, in the array's dtype."""
        meta = self.meta
        return np.asarray(meta.fill_value, meta.dtype)[()]

    @property
    def attrs(self) -> Any:
        """Attributes of the array, as in zarr-python: each access reads the document, each assignment changes it.

        numpy numbers are stored as plain numbers; infinity and NaN raise an error.
        """
        from lamella.nodes.zarr_views import NodeAttributes

        return NodeAttributes(self.node_path, "array")

    @property
    def axes(self) -> list[AxisMeta] | None:
        """Axes of the array's image; None for an array outside of an image.

        If the image has more axes than the array has dimensions, they are matched from the last.
        """
        image_axes = self._image_axes
        # Nodes with equal documents share the originals.
        return None if image_axes is None else [axis.copied() for axis in image_axes]

    @property
    def _image_axes(self) -> list[AxisMeta] | None:
        return None if self._axes is None else self._axes[max(0, len(self._axes) - self.ndim) :]

    def _length(self, name: str) -> int:
        try:
            return self.shape[axis_index(self._image_axes or [], name)]
        except (ValueError, IndexError):
            return 1

    @property
    def frames(self) -> int:
        """Length of the time axis; 1 without one."""
        return self._length("t")

    @property
    def channels(self) -> int:
        """Length of the channel axis; 1 without one."""
        return self._length("c")

    @property
    def slices(self) -> int:
        """Length of the Z axis; 1 without one."""
        return self._length("z")

    @property
    def height(self) -> int:
        """Length of the Y axis; 1 without one."""
        return self._length("y")

    @property
    def width(self) -> int:
        """Length of the X axis; 1 without one."""
        return self._length("x")

    def __repr__(self) -> str:
        shards = f", shards {self.shards}" if self.shards else ""
        kind, where = type(self).__name__, str(self.node_path)
        return f"<{kind} {where!r} {self.shape} {self.dtype}, chunks {self.chunks}{shards}>"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"The array {self.node_path} has no axes, and so no len().")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    # -- pixels -----------------------------------------------------------------------------------------------

    def warn_unfinished(self) -> None:
        """Warn if the array's document, as last read, records an unfinished write."""
        if "lamella" in self.stored.last_meta.attributes:
            from lamella.nodes.level_writes import warn_of_unfinished

            warn_of_unfinished(self)

    def __getitem__(self, index: Any) -> Any:
        pixels = self.stored.read(index)
        self.warn_unfinished()
        return pixels if pixels.ndim else pixels[()]  # one voxel is a scalar, as in numpy

    def __setitem__(self, index: Any, value: Any) -> None:
        self._write(basic_or_fancy, index, value)

    def _write(self, select: Select, index: Any, value: Any) -> None:
        self.require_writable("write pixels")
        meta = self.meta
        selection = self.stored.parse_index(select, index, meta.shape)
        if is_lazy(value, meta.dtype):
            if selection.is_region and not selection.flips:
                from lamella.adapters.lazy_writes import write_lazy

                write_lazy(self, selection, value)
                return
            value = np.asarray(value[...])
        # Cast before recording the write, so that invalid data changes nothing.
        block = cast(value, selection, meta.dtype, str(self.node_path))
        with self.recording_write(lambda: selection.bounds):
            self.stored.write(index, block, select=select)
        if "lamella" in meta.attributes and selection.is_region:
            from lamella.nodes.level_writes import mark_finished

            mark_finished(self, selection.bounds)
        self._block_written(block)

    def _block_written(self, block: NDArray[Any]) -> None:
        """Update metadata that depend on the written voxels; a `LabelArray` updates its colour table."""

    def region_written(self, bounds: Bounds) -> None:
        """Update metadata that depend on voxels, after a region was written block by block."""

    def recording_write(self, bounds: Callable[[], Bounds | None]) -> AbstractContextManager[None]:
        """Mark the lower levels of the image stale during and after a write to a region."""
        return self.node_path.store_handle.writes.recorded(self.path, bounds)

    def read(self, index: Any = ..., *, out: NDArray[Any] | None = None) -> Any:
        """Read a region.

        Parameters
        ----------
        index
            A numpy-style index; the whole array by default. Axes that an integer selects are dropped.
        out
            Array to read into and return, of the region's shape and the array's dtype.

        Raises
        ------
        OutOfBoundsError, InvalidArgumentError
            If the index does not fit the shape (an IndexError), or ``out`` has another shape or dtype, or is not
            writable (a ValueError).
        DamagedDataError
            If a chunk cannot be decoded (an OSError).

        Examples
        --------
        >>> buffer = np.empty((8, 8), "uint16")
        >>> position.data.read((0, 1, 2), out=buffer) is buffer, int(buffer[0, 0])
        (True, 384)
        """
        pixels = self.stored.read(index, out=out)
        self.warn_unfinished()
        return pixels

    def read_many(self, regions: Iterable[Any], *, out: NDArray[Any] | None = None) -> Any:
        """Read many regions in one call, such as crops for training.

        Each file is opened once, and a chunk that several regions share is decoded once. Memory is needed for the
        results and one chunk per thread.

        Parameters
        ----------
        regions
            Numpy-style indices, in any order; they may overlap.
        out
            Array to read into if all regions have one shape: with a first axis for the regions, in the array's dtype.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            The regions stacked along a new first axis if all have one shape; otherwise, or for no regions, a list.

        Raises
        ------
        OutOfBoundsError, InvalidArgumentError, DamagedDataError
            As for :meth:`read`; nothing is read if a region does not fit the shape.

        Examples
        --------
        >>> crops = position.data.read_many([np.s_[0, 0, z, 2:6, 1:5] for z in (3, 0, 1)])
        >>> crops.shape, crops[:, 0, 0]
        ((3, 4, 4), array([209,  17,  81], dtype=uint16))
        """
        pixels = self.stored.read_many(regions, out)
        self.warn_unfinished()
        return pixels

    def numpy(self) -> NDArray[Any]:
        """Return the whole array as a numpy array in memory, as ``[:]`` does.

        Examples
        --------
        >>> position.data.numpy().shape, int(position.data.numpy().max())
        ((1, 2, 4, 8, 8), 511)
        """
        pixels = self.stored.read()
        self.warn_unfinished()
        return pixels

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("The pixels of a stored array cannot be read without a copy.")
        pixels = self.numpy()
        return pixels if dtype is None else pixels.astype(dtype, copy=False)

    def resize(self, *shape: int | Sequence[int], new_shape: int | Sequence[int] | None = None) -> None:
        """Change the shape; voxels inside both shapes stay, new voxels have the fill value.

        Pass the new lengths, from 0 on, as one tuple or as several integers; zarr-python calls them ``new_shape``.

        Examples
        --------
        >>> position.data.resize(2, 2, 4, 8, 8)
        >>> position.data[:, 1, 3, 7, 7]  # a second frame, of zeros
        array([511,   0], dtype=uint16)
        """
        self.require_writable("resize the array")
        if new_shape is not None:
            shape = (*shape, new_shape)
        new = shape[0] if len(shape) == 1 and not hasattr(shape[0], "__index__") else shape
        new = self.stored.resized_shape(new)  # type: ignore[arg-type]
        grown = _grown_region(self.shape, new)
        with self.recording_write(lambda: grown):
            self.stored.resize(new)

    def append(self, data: ArrayLike, axis: int = 0) -> Shape:
        """Append voxels along an axis and return the new shape; lazy data is read block by block.

        Data that does not have the same shape except along ``axis``, an index, is refused (a ValueError).

        Examples
        --------
        >>> frame = np.ones((1, 2, 4, 8, 8), "uint16")
        >>> position.data.append(frame, axis=0)
        (2, 2, 4, 8, 8)
        """
        self.require_writable("append to the array")
        old = self.shape
        if is_lazy(data, self.dtype) and len(np.shape(data)) == self.ndim:
            from lamella.adapters.lazy_writes import append_lazy

            new = self.stored.appended_shape(np.shape(data), axis)
            with self.recording_write(lambda: _grown_region(old, tuple(map(max, new, self.shape)))):
                shape = append_lazy(self, data, axis)
            self.stored.refresh()
            self.region_written(_grown_region(old, shape) or _whole_region(shape))
            return shape
        block = cast_for(data, self.dtype, str(self.node_path))
        new = self.stored.appended_shape(block.shape, axis)
        # Computes the region before and after the append: another process may have appended meanwhile.
        with self.recording_write(lambda: _grown_region(old, tuple(map(max, new, self.shape)))):
            shape = self.stored.append(block, axis)
        self._block_written(block)
        return shape

    # -- other views ------------------------------------------------------------------------------------------

    def zarr(self) -> zarr.Array[Any]:
        """Return the array as zarr-python opens it, writable if the store is open for writing.

        Raises
        ------
        MetadataError
            If zarr-python does not accept the array's document (a ValueError).

        Examples
        --------
        >>> import zarr
        >>> array = position.data.zarr()
        >>> isinstance(array, zarr.Array), array.metadata.zarr_format, array.shape
        (True, 3, (1, 2, 4, 8, 8))
        """
        from lamella.nodes.zarr_views import open_array

        return open_array(self.node_path)

    def dask_array(self) -> dask.array.Array:
        """Return the array as a dask array whose blocks are whole shards or chunks; nothing is read yet.

        The dask array can be sent to threads, processes and other machines that can read the same store.

        Examples
        --------
        >>> lazy = position.data.dask_array()
        >>> lazy.shape, int(lazy[:, 1].max().compute())
        ((1, 2, 4, 8, 8), 511)
        """
        from lamella.adapters.dask import dask_array

        return dask_array(self)

    def tensorstore(self, **kwargs: Any) -> Any:
        """Open the array with TensorStore, an extra: ``pip install 'lamella[tensorstore]'``.

        The handle is writable if the store is open for writing.

        Parameters
        ----------
        **kwargs
            Passed to ``tensorstore.open``: ``context``, ``read``, ``write``, ``transaction``, ...

        Raises
        ------
        MissingDependencyError
            If TensorStore is not installed (an ImportError).
        InvalidArgumentError, ReadOnlyError
            If TensorStore cannot reach the store or does not support the array's codecs; for ``write=True`` in a store
            that is open for reading (ValueErrors).

        Examples
        --------
        >>> position.data.tensorstore()[0, 0, 0, 3, ::2].read().result()
        array([24, 26, 28, 30], dtype=uint16)
        """
        from lamella.store.pixels.tensorstore_handle import open_handle

        store_handle = self.node_path.store_handle
        if kwargs.get("write"):
            self.require_writable("open the array for writing with TensorStore")
        return open_handle(store_handle.documents, self.path, writable=store_handle.writable, **kwargs)

    def require_writable(self, action: str) -> None:
        """Raise for an array whose store is closed or open for reading."""
        self.node_path.store_handle.require_writable(action, self.path)


def _whole_region(shape: Shape) -> Bounds:
    return (0,) * len(shape), shape


def _grown_region(old: Shape, new: Shape) -> Bounds | None:
    """Return the region by which an array grew along one axis.

    After other changes the whole array (voxels of lower levels at its edge change too), and None for equal shapes.

    >>> _grown_region((2, 8), (3, 8)), _grown_region((2, 8), (2, 8))
    (((2, 0), (3, 8)), None)
    """
    if old == new:
        return None
    changed_axes = [axis for axis in range(len(new)) if old[axis] != new[axis]]
    axis = changed_axes[0]
    if len(changed_axes) > 1 or old[axis] > new[axis]:
        return _whole_region(new)
    return (*(0,) * axis, old[axis], *(0,) * (len(new) - axis - 1)), new
