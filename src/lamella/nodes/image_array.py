"""One array of an image: numpy-style reads and writes of the pixels.

The pixels themselves are moved by :mod:`lamella.store.arrays`.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.nodes.store_handle import NodePath
from lamella.nodes.zarr_surface import ZarrSurface
from lamella.spec.axes import axis_index
from lamella.store.arrays import StoredArray
from lamella.store.assignment import cast, cast_for, is_lazy
from lamella.store.selection import basic_or_fancy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import dask.array
    import zarr
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from lamella.spec.axes import AxisMeta
    from lamella.spec.stale_levels import Box
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.arrays import Select
    from lamella.types import Shape


class ImageArray(ZarrSurface):
    """The pixels of one level of an image, up to 5-D, in the order of the image's axes.

    Indexing follows numpy: integers drop an axis, slices take steps, negative numbers count from the end, lists and
    masks select. A read returns a numpy array, a write stores at once. Data that are not in memory (of dask, zarr or
    h5py, another `ImageArray`) are written block by block.

    Values of another data type are cast as numpy does: floats are rounded to narrower floats, and fractions are cut
    where the array holds integers (1.9 becomes 1, -0.9 becomes 0). A value that the array's type cannot hold (70000,
    -1 or NaN in uint16, 1e300 in float32) is refused with an `InvalidArgumentError` (a ValueError), and nothing is
    written. Of data that are not in memory each block is checked when it is written: the message names it, and the
    array is marked as unfinished (`lamella.status`, a warning of each read) until the region is written again.

    Parameters
    ----------
    place
        The opened store and the array's path in it.
    axes
        Axes of the image that the array belongs to, when there is one.

    Examples
    --------
    >>> import lamella, numpy as np, tempfile
    >>> path = tempfile.mkdtemp() + "/cells.zarr"
    >>> position = lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI", "GFP"])
    >>> image = position.create_zeros("0", (1, 2, 1, 4, 6), "uint16")
    >>> image[0, 1, 0, ::2, -1] = 7
    >>> int(image[:].sum()), image[0, 1, 0, :, 5], image.channels, image.width
    (14, array([7, 0, 7, 0], dtype=uint16), 2, 6)
    """

    def __init__(self, place: NodePath | zarr.Array[Any], axes: Sequence[AxisMeta] | None = None) -> None:
        self.node_path = NodePath.of(place)
        self.stored = StoredArray(self.node_path.store_handle.documents, self.node_path.path)
        self._axes = None if axes is None else list(axes)

    # -- what it is -------------------------------------------------------------------------------------------

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
        """Shape of a shard, the unit of a file; None when the array is not sharded."""
        return self.meta.shards

    @property
    def write_unit(self) -> Shape:
        """Shape of what one writer owns: a shard, or a chunk when the array is not sharded."""
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
        """Value of voxels that were never written, of the array's data type."""
        meta = self.meta
        return np.asarray(meta.fill_value, meta.dtype)[()]

    @property
    def attrs(self) -> Any:
        """Attributes of the array, as zarr-python has them: each look reads the document, each assignment changes it.

        Values are what JSON has; numbers of numpy are stored as plain numbers, and infinity and NaN are refused.
        """
        from lamella.nodes.zarr_views import NodeAttributes

        return NodeAttributes(self.node_path, "array")

    @property
    def axes(self) -> list[AxisMeta] | None:
        """Axes of the image that the array belongs to; None for an array outside an image.

        When the image has more axes than the array has dimensions, they are matched from the last.
        """
        known = self._known_axes
        return None if known is None else [axis.copied() for axis in known]  # the image's own may be shared

    @property
    def _known_axes(self) -> list[AxisMeta] | None:
        return None if self._axes is None else self._axes[max(0, len(self._axes) - self.ndim) :]

    def _length(self, name: str) -> int:
        try:
            return self.shape[axis_index(self._known_axes or [], name)]
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
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    # -- pixels -----------------------------------------------------------------------------------------------

    def warn_unfinished(self) -> None:
        """Warn where the document that the last read looked at says that a write was cut short."""
        if "lamella" in self.stored.last_meta.attributes:
            from lamella.nodes.unfinished_writes import warn_of_unfinished

            warn_of_unfinished(self)

    def __getitem__(self, index: Any) -> Any:
        pixels = self.stored.read(index)
        self.warn_unfinished()
        return pixels if pixels.ndim else pixels[()]  # one voxel is a scalar, as in numpy

    def __setitem__(self, index: Any, value: Any) -> None:
        self._write(basic_or_fancy, self.stored.write, index, value)

    def _write(self, select: Select, write: Callable[[Any, Any], None], index: Any, value: Any) -> None:
        self.require_writable("write pixels")
        meta = self.meta
        selection = select(index, meta.shape)
        if is_lazy(value, meta.dtype):
            if selection.is_region:
                from lamella.adapters.lazy_writes import write_lazy

                write_lazy(self, selection, value)
                return
            value = np.asarray(value[...])
        block = cast(
            value, selection, meta.dtype, str(self.node_path)
        )  # before the note: what is refused changes nothing
        with self.noting_write(lambda: selection.bounds):
            write(index, block)
        if "lamella" in meta.attributes and selection.is_region:
            from lamella.nodes.unfinished_writes import mark_finished

            mark_finished(self, selection.bounds)
        self._after_write(block)

    def _after_write(self, block: NDArray[Any]) -> None:
        """Bring metadata that depend on the voxels up to date: of labels, the table of colours."""

    def after_writes(self, box: Box) -> None:
        """Bring such metadata up to date after a region was written block by block."""

    def noting_write(self, box: Callable[[], Box | None]) -> AbstractContextManager[None]:
        """Mark the lower levels of an image stale while and after a region is written."""
        return self.node_path.store_handle.writes.noted(self.path, box)

    def read(self, index: Any = ..., *, out: NDArray[Any] | None = None) -> Any:
        """Read a region.

        Parameters
        ----------
        index
            A numpy-style index; the whole array by default.
        out
            Array of the region's shape and the array's dtype to read into.

        Returns
        -------
        numpy.ndarray
            The region, or ``out``; axes in the order of the array's, those that an integer selects dropped.

        Raises
        ------
        OutOfBoundsError
            If the index does not fit the shape (an IndexError).
        InvalidArgumentError
            If ``out`` has another shape or dtype, or cannot be written (a ValueError).
        DamagedDataError
            If a chunk cannot be decoded (an OSError).

        Examples
        --------
        >>> buffer = np.empty((8, 8), "uint16")
        >>> position.data.read((0, 1, 2), out=buffer) is buffer, int(buffer[0, 0])
        (True, 384)
        """
        found = self.stored.read(index, out=out)
        self.warn_unfinished()
        return found

    def read_many(self, regions: Iterable[Any], *, out: NDArray[Any] | None = None) -> Any:
        """Read many regions in one call, as crops for training.

        Files are opened once, and a chunk that several regions meet is decoded once for all of them, on several
        threads. Memory is needed for the results and one chunk per thread.

        Parameters
        ----------
        regions
            Numpy-style indices, in any order; they may overlap.
        out
            Array to read into where all regions have one shape: of that shape behind a first axis for the regions, and
            of the array's dtype.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            The regions stacked along a new first axis where all have one shape, and a list of them otherwise; an
            empty list for no regions. Axes as those of :meth:`read`.

        Raises
        ------
        OutOfBoundsError
            If a region does not fit the shape (an IndexError); nothing is read then.
        InvalidArgumentError
            If the regions do not fit ``out`` (a ValueError).
        DamagedDataError
            If a chunk cannot be decoded (an OSError).

        Examples
        --------
        >>> crops = position.data.read_many([np.s_[0, 0, z, 2:6, 1:5] for z in (3, 0, 1)])
        >>> crops.shape, crops[:, 0, 0]
        ((3, 4, 4), array([209,  17,  81], dtype=uint16))
        """
        found = self.stored.read_many(regions, out)
        self.warn_unfinished()
        return found

    def numpy(self) -> NDArray[Any]:
        """Return the whole array as a numpy array in memory, of the array's shape and dtype; the same as ``[:]``.

        Raises
        ------
        DamagedDataError
            If a chunk cannot be decoded (an OSError).

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
            raise ValueError("The pixels of a stored array cannot be had without a copy.")
        pixels = self.numpy()
        return pixels if dtype is None else pixels.astype(dtype, copy=False)

    def resize(self, *shape: int | Sequence[int], new_shape: int | Sequence[int] | None = None) -> None:
        """Change the shape; voxels inside both shapes stay, new ones hold the fill value.

        Parameters
        ----------
        shape
            New length of each axis, as one tuple or as several integers.
        new_shape
            The same by zarr-python's name.

        Raises
        ------
        InvalidArgumentError
            If it is not one integer from 0 for each axis (a ValueError).

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
        try:
            lengths = tuple(index(n) for n in new)  # type: ignore[arg-type]
        except TypeError:
            raise InvalidArgumentError(
                f"{self!r} is resized to one integer per axis, not to {new!r}."
            ) from None
        if len(lengths) != self.ndim or min(lengths, default=0) < 0:
            raise InvalidArgumentError(
                f"{self!r} is resized to one length of 0 or more per axis, not to {lengths}."
            )
        with self.noting_write(lambda: _whole(self.shape)):
            self.stored.resize(lengths)

    def append(self, data: ArrayLike, axis: int = 0) -> Shape:
        """Append voxels along an axis and return the new shape.

        Parameters
        ----------
        data
            Array of the same shape but along ``axis``; one that is not in memory is read block by block.
        axis
            Index of the axis to grow.

        Returns
        -------
        tuple of int
            The new shape.

        Raises
        ------
        InvalidArgumentError
            If the shapes don't fit; nothing is written then (a ValueError).

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

            new = self.stored.appended(np.shape(data), axis)
            with self.noting_write(lambda: _beyond(old, tuple(map(max, new, self.shape)))):
                shape = append_lazy(self, data, axis)
            self.stored.refresh()
            self.after_writes(_beyond(old, shape) or _whole(shape))
            return shape
        block = cast_for(data, self.dtype, str(self.node_path))
        new = self.stored.appended(block.shape, axis)
        # Noted before the shape shows it, and again as it became: another process may have appended meanwhile.
        with self.noting_write(lambda: _beyond(old, tuple(map(max, new, self.shape)))):
            shape = self.stored.append(block, axis)
        self._after_write(block)
        return shape

    # -- other views ------------------------------------------------------------------------------------------

    def zarr(self) -> zarr.Array[Any]:
        """Return the array as zarr-python opens it, for writing too where the store is open for writing.

        Raises
        ------
        MetadataError
            If zarr-python does not take the array's document (a ValueError).

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

        Axes and dtype are the array's. The dask array can be sent to threads, processes and other machines that see
        the same store.

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

        Parameters
        ----------
        **kwargs
            Handed on to ``tensorstore.open``: ``context``, ``read``, ``write``, ``transaction``, ...

        Returns
        -------
        tensorstore.TensorStore
            A handle; writing through it is refused when the store is open for reading.

        Raises
        ------
        MissingDependencyError
            If TensorStore is not installed (an ImportError).
        InvalidArgumentError
            If TensorStore cannot reach the store, or does not know the array's codecs (a ValueError).
        ReadOnlyError
            If ``write=True`` is asked of a store that is open for reading (a ValueError).

        Examples
        --------
        >>> position.data.tensorstore()[0, 0, 0, 3, ::2].read().result()
        array([24, 26, 28, 30], dtype=uint16)
        """
        from lamella.store.tensorstore_handle import open_handle

        store_handle = self.node_path.store_handle
        if kwargs.get("write"):
            self.require_writable("open the array for writing with TensorStore")
        return open_handle(store_handle.documents, self.path, writable=store_handle.writable, **kwargs)

    def require_writable(self, what: str) -> None:
        """Raise for an array whose store is closed or open for reading."""
        self.node_path.store_handle.require_writable(what, self.path)


def _whole(shape: Shape) -> Box:
    return (0,) * len(shape), shape


def _beyond(old: Shape, new: Shape) -> Box | None:
    """Return the box by which an array grew along one axis; all of it when it changed otherwise, None if not at all."""
    if old == new:
        return None
    grown = [axis for axis, (a, b) in enumerate(zip(old, new, strict=True)) if a < b]
    if len(grown) != 1:
        return _whole(new)
    start = [0] * len(new)
    start[grown[0]] = old[grown[0]]
    return tuple(start), new
