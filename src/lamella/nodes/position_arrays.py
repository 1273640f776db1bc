"""Create the arrays of a position, after checking that they fit the image."""

from __future__ import annotations

from functools import partial
from operator import index
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

import numpy as np

from lamella.errors import InvalidArgumentError, InvalidNameError, NodeExistsError, clause
from lamella.nodes.image_array import ImageArray
from lamella.nodes.node import NGFFNode
from lamella.nodes.position_metadata import dtype_window
from lamella.nodes.reporting import warn_of
from lamella.nodes.store_handle import errors_naming
from lamella.spec import edits
from lamella.spec.axes import channel_axis
from lamella.spec.stale_levels import read_stale, with_stale
from lamella.store.keys import check_new_name
from lamella.store.metadata.array_creation import auto_layout, default_chunks, new_array
from lamella.store.metadata.json_document import new_description

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike

    from lamella.nodes.metadata_document import MetadataDocument
    from lamella.nodes.position import Position
    from lamella.nodes.store_handle import NodePath
    from lamella.ops.array_writes import Source
    from lamella.spec.images import ImagesMeta, TransformationMeta
    from lamella.spec.rules import Finding, Kind
    from lamella.store.metadata.array_meta import ArrayMeta, CompressorChoice
    from lamella.types import JSONObject, Shape


_GROUPS = {"labels": "that group contains the label images", "tables": "that group contains the tables"}
"""Names that arrays cannot have."""


class ArraySettings(NamedTuple):
    """The settings of a new array; with the axes, they define its document."""

    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape | Literal["auto"] | None
    shards_ratio: Shape | None
    compressor: CompressorChoice
    checksum: bool | None


class ArrayRequest(NamedTuple):
    """The settings or description of a new array, and how the position lists it."""

    settings: ArraySettings | ArrayMeta
    transform: Sequence[TransformationMeta] | None
    check_shape: bool
    is_result: bool = False
    """Whether the array is intentionally not a level, so that no warning is needed."""


class PositionArrays(NGFFNode):
    """Methods of a position that create arrays."""

    document: MetadataDocument[ImagesMeta]
    _kinds: ClassVar[tuple[Kind, ...]]
    _array_class: ClassVar[type[ImageArray]] = ImageArray

    def create_image(
        self,
        name: str,
        data: Any,
        chunks: Sequence[int] | Literal["auto"] | None = None,
        shards_ratio: Sequence[int] | None = None,
        transform: Sequence[TransformationMeta] | None = None,
        check_shape: bool = True,
        *,
        compressor: CompressorChoice = None,
        checksum: bool | None = None,
    ) -> ImageArray:
        """Create an array and write its pixels.

        Parameters
        ----------
        name
            Name of the array; the first one of a position is the full-resolution level.
        data
            Voxels in the order of the position's axes: any array-like; lazy data (dask, xarray, zarr, memory map) is
            read block by block.
        chunks
            Shape of a chunk. By default the last three axes whole (at most 512 MiB); ``"auto"`` for chunks near 1 MiB,
            in shards near 256 MiB if the version has shards.
        shards_ratio
            Chunks per shard along each axis; no shards by default.
        transform
            Scale and translation of the level; scale 1 by default. An array that cannot be a valid level (larger than
            the level before, or of another dtype in 0.6) is stored beside the levels, with a warning, or raises an
            error if it has a transform. Label images get as many levels as their image (LB-04).
        check_shape
            Raise if the data does not fit the axes and channels.
        compressor
            Compression of the chunks; blosc with zstd level 1 and bit shuffle by default.
        checksum
            End each chunk in a checksum, which detects flipped bits (version 0.5 and later). By default with shards.

        Raises
        ------
        InvalidArgumentError, NodeExistsError
            If something does not fit or the name is taken (ValueErrors). Nothing is written then.

        Examples
        --------
        >>> pixels = np.ones((1, 2, 4, 8, 8), "float32")
        >>> plane, stack = (1, 1, 1, 8, 8), (1, 1, 4, 1, 1)
        >>> image = plate["B/2/0"].create_image("0", pixels, chunks=plane, shards_ratio=stack)
        >>> image.dtype, image.chunks, image.shards
        (dtype('float32'), (1, 1, 1, 8, 8), (1, 1, 4, 8, 8))
        """
        options = {
            "chunks": chunks,
            "shards_ratio": shards_ratio,
            "transform": transform,
            "check_shape": check_shape,
            "compressor": compressor,
            "checksum": checksum,
        }
        return self.create_from(name, data, options)

    def create_from(
        self, name: str, data: Any, options: dict[str, Any], *, is_result: bool = False
    ) -> ImageArray:
        """Create an array from data, as `create_image` does."""
        from lamella.ops.array_writes import as_source

        self.require_writable(f"create the array {name!r}")
        source = as_source(data)
        with errors_naming(self.node_path):
            request = request_of(source.shape, source.dtype, **options)
        return self._create(name, request._replace(is_result=is_result), source)

    def create_zeros(
        self,
        name: str,
        shape: Sequence[int],
        dtype: DTypeLike,
        chunks: Sequence[int] | Literal["auto"] | None = None,
        shards_ratio: Sequence[int] | None = None,
        transform: Sequence[TransformationMeta] | None = None,
        check_shape: bool = True,
        *,
        compressor: CompressorChoice = None,
        checksum: bool | None = None,
    ) -> ImageArray:
        """Create an array of zeros. Only its metadata is written, whatever its size.

        Parameters
        ----------
        shape
            Length of each axis, in the order of the position's axes.
        dtype
            Data type: bool, (u)int8 to 64, float16 to 64 or complex.
        name, chunks, shards_ratio, transform, check_shape, compressor, checksum
            As for :meth:`create_image`, as are the errors.

        Examples
        --------
        >>> image = plate["B/2/0"].create_zeros("0", (1000, 2, 64, 2048, 2048), "uint16")
        >>> image.nbytes // 2**30, image.chunks  # GiB that need no disk until they are written
        (1000, (1, 1, 64, 2048, 2048))
        """
        self.require_writable(f"create the array {name!r}")
        with errors_naming(self.node_path):
            request = request_of(
                shape,
                dtype,
                chunks,
                shards_ratio,
                transform,
                check_shape,
                compressor=compressor,
                checksum=checksum,
            )
        return self._create_zeros(name, request)

    def _create_zeros(self, name: str, request: ArrayRequest) -> ImageArray:
        array = self._create(name, request, None)
        if not self.path:  # a single image is written next, while a plate is usually created whole first
            array.stored.open_engine()
        return array

    def _existing_zeros(self, name: str, request: ArrayRequest) -> ImageArray | None:
        """Return the array of zeros that a killed call has created, if any; `NodeExistsError` for another array."""
        key, path = self._array_path(name)
        model = self.document.shared_model
        if self._overwriting_creation or key not in model.multiscales[0].get_dataset_paths():
            return None
        array = self._array_class(path, model.multiscales[0].axes)
        if array.stored.meta != self._describe(model, request.settings) or not self.is_unwritten(key):
            raise NodeExistsError(f"{self.node_path} has an array {key!r} already. Delete it first.")
        return array

    def _create(self, name: str, request: ArrayRequest, source: Source | None) -> ImageArray:
        notes: list[str] = []
        with self.documents.storage.reading_once(self.path):
            array = self._create_array(name, request, source, notes)
        warn_of(notes)
        return array

    def _create_array(
        self, name: str, request: ArrayRequest, source: Source | None, notes: list[str]
    ) -> ImageArray:
        document = self.document
        # For an empty array, no document is read here: the edit reads it under its lock, and `add_level` checks again.
        uses_last_model = source is None and document.unedited is not None and not self._overwriting_creation
        key, node_path = self._array_path(name)
        is_vacant = self._is_vacant(node_path.path)
        model = document.last_shared_model if uses_last_model else document.shared_model
        if key in read_stale(document.last_attributes).unlisted:
            self._forget_unfinished()
            model = document.shared_model
        try:
            checked = self._check_new_array(model, key, request)
        except InvalidArgumentError:  # another program may have appended a channel meanwhile
            model, checked = document.shared_model, None
        array, is_listed, is_lower, has_fewer = checked or self._check_new_array(model, key, request)
        stored_kind = None if source is None or is_vacant else self._kind_at(node_path.path, array)
        if source is not None:
            self._check_free(key, stored_kind, is_listed)
            if stored_kind is None:
                self._check_source(source, node_path)
        is_new_level = is_lower and not is_listed
        broken = self._broken_rule(model, key, array, request, notes) if is_new_level else None
        updates_labels = broken is not None and not request.is_result and self._labels_get_level(broken)
        is_level = broken is None or updates_labels

        def add_level(meta: ImagesMeta) -> ImagesMeta:
            nonlocal array, is_listed, is_lower
            array, is_listed, is_lower, has_fewer_now = self._check_new_array(meta, key, request)
            if has_fewer_now and not has_fewer:
                notes.append(fewer_channels(key, array.shape, meta, self.node_path))
            meta = edits.remove_dataset(meta, key) if is_listed else meta
            if not is_level:
                return meta
            return edits.add_dataset(meta, key, request.transform, dtype_window(array.dtype))

        def mark_unwritten(attributes: JSONObject) -> JSONObject:
            # A lower level counts as stale until it is written.
            return with_level_state(attributes, key, array, False) if is_lower and is_level else attributes

        if has_fewer:
            notes.append(fewer_channels(key, array.shape, model, self.node_path))
        if is_listed and (stored_kind or self.documents.kind(node_path.path)) is not None:
            record_pixels = partial(with_level_state, key=key, array=array, is_written=source is not None)
            return self._replace(key, array, source, add_level, record_pixels if is_lower else None)
        is_default = request.transform is None and not is_lower
        change_key = ("add_dataset", key, array.dtype.str) if is_default else None
        meta = document.edit(
            add_level,
            before_write=lambda: self._put_array(key, array, is_listed, stored_kind, is_vacant),
            change_key=change_key,
            edit_attributes=mark_unwritten,
        )
        created = self._array_class(node_path, meta.multiscales[0].axes)
        if source is not None:
            self._fill(created, key, source, is_level=is_level)
        if updates_labels:
            self._match_labels()
        return created

    def _match_labels(self) -> None:
        """Create as many levels of the label images as the image has."""
        from lamella.ops.labels import match_levels

        match_levels(cast("Position", self))

    def _broken_rule(
        self, model: ImagesMeta, key: str, array: ArrayMeta, request: ArrayRequest, notes: list[str]
    ) -> Finding | None:
        """Return and note the finding for a rule that a new array would break as a level; None for a valid level."""
        from lamella.nodes.new_levels import broken_by_level, stored_beside

        with errors_naming(self.node_path):
            broken = broken_by_level(cast("Position", self), model, key, array, request.transform)
            if broken is not None and not request.is_result and not self._labels_get_level(broken):
                notes.append(stored_beside(self.node_path, key, broken, request.transform is not None))
        return broken

    def _labels_get_level(self, broken: Finding) -> bool:
        """Whether the rule demands as many levels of the label images as of the image: they get one more level too."""
        return broken.rule == "LB-04" and self._kinds[-1] == "image"

    def _is_vacant(self, path: str) -> bool:
        """Whether nothing is stored at a path, in stores that create exclusively: there, creation checks it again.

        False in other stores. Reads the document of the image in the same round.
        """
        storage = self.documents.storage
        return (
            storage.creates_exclusively
            and storage.can_list
            and not self.documents.existing([path], groups=[self.path])
        )

    def _put_array(
        self, key: str, array: ArrayMeta, is_listed: bool, kind_before: str | None, is_vacant: bool
    ) -> None:
        """Write a new array, under the lock of the image's document, which is written next and lists the array."""
        path = self.node_path.child(key).path
        if kind_before is None and "/" not in key and self.documents.put_new_array(path, array):
            return
        # Check again: another process may have created the array before the lock.
        if not is_vacant:
            kind = self._kind_at(path, array)
            self._check_free(key, kind, is_listed)
            if self._has_leftover_chunks(key) if kind is None else self._replaces_unlisted(path, array):
                self.documents.delete(path)
        self.documents.put_groups({group: {} for group in self._missing_groups_above(key)})
        others = self.documents.put_new({path: {"": array}})
        if others and not self._is_stored_as(path, array):
            raise self._created_elsewhere_error(path)

    def _kind_at(self, path: str, array: ArrayMeta) -> str | None:
        """Return the kind of node at the path of a new array; None also if only its killed creation was there."""
        kind = self.documents.kind(path)
        return None if kind == "group" and self.documents.has_begun_array(path, array) else kind

    def _replaces_unlisted(self, path: str, array: ArrayMeta) -> bool:
        """Whether to delete an unlisted array without pixels, to create it again.

        Raises for another array if a program may be creating it now.
        """
        if not self.documents.storage.creates_exclusively or self._overwriting_creation:
            return True
        if not self._is_stored_as(path, array):
            raise self._created_elsewhere_error(path)
        return False

    def _is_stored_as(self, path: str, array: ArrayMeta) -> bool:
        """Whether a path has an array with this description."""
        return self.documents.kind(path) == "array" and self.documents.array(path) == array

    def _created_elsewhere_error(self, path: str) -> NodeExistsError:
        return NodeExistsError(
            f"There is another array at {self.documents.storage.where(path)} already, which {self.node_path} does "
            "not list: the rest of a killed creation, or the work of another program that runs now. If none runs, "
            "delete it first."
        )

    def _check_new_array(
        self, meta: ImagesMeta, key: str, request: ArrayRequest
    ) -> tuple[ArrayMeta, bool, bool, bool]:
        """Check a new array against an image.

        Returns its description, whether the image lists that name, whether it is a lower level, and whether it has
        fewer channels than the image has channel names.
        """
        array = self._describe(meta, request.settings)
        has_fewer = request.check_shape and has_fewer_channels(meta, key, array.shape, self.node_path)
        paths = meta.multiscales[0].get_dataset_paths()
        return array, key in paths, paths[:1] not in ([], [key]), has_fewer

    def _replace(
        self,
        key: str,
        array: ArrayMeta,
        source: Source | None,
        change: Callable[[ImagesMeta], ImagesMeta],
        edit_before: Callable[[JSONObject], JSONObject] | None,
    ) -> ImageArray:
        """Replace a listed array by a new one; the source may read from the old one. For others see `put_in_place`."""
        from lamella.nodes.replacing import discard, make_beside, put_in_place
        from lamella.ops.array_writes import write_array

        self._check_free(key, self.documents.kind(self.node_path.child(key).path), True)
        change(self.document.shared_model)  # raises for an invalid transform before pixels are written
        position = cast("Position", self)
        new = make_beside(position, array)
        try:
            if source is not None:
                write_array(ImageArray(new), source)
        except BaseException:
            discard(new)
            raise
        meta = put_in_place(position, key, new, change, edit_before=edit_before)
        return self._array_class(self.node_path.child(key), meta.multiscales[0].axes)

    def _forget_unfinished(self) -> None:
        """Delete unlisted levels of a killed call, so that their names can be used."""
        from lamella.ops.pyramids.progress import forget_unlisted

        forget_unlisted(cast("Position", self))

    def refuse_array(self, name: str, request: ArrayRequest, model: ImagesMeta | None = None) -> bool:
        """Raise as `create_zeros` would; return whether the array has fewer channels than names. Writes nothing."""
        model = model or self.document.shared_model
        key, node_path = self._array_path(name)
        array, is_listed, _, has_fewer = self._check_new_array(model, key, request)
        if (
            key not in read_stale(self.document.last_attributes).unlisted
        ):  # the creation deletes unlisted levels
            self._check_free(key, self._kind_at(node_path.path, array), is_listed)
        meta = edits.remove_dataset(model, key) if is_listed else model
        with errors_naming(self.node_path):
            edits.add_dataset(meta, key, request.transform, dtype_window(array.dtype))
        return has_fewer

    def _check_source(self, source: Source, node_path: NodePath) -> None:
        """Raise for a lazy source that would read its own new array."""
        from lamella.ops.array_writes import reads_from

        if not source.in_memory and reads_from(source.data, node_path):
            raise InvalidArgumentError(
                f"Cannot create {node_path} from data that are to be read from there: it was deleted, or never "
                "written. Load the data before the store is replaced, or write to another path."
            )

    def _check_free(self, key: str, kind: str | None, is_listed: bool) -> None:
        """Raise if the path of a new array has content, except for an unlisted array without pixels."""
        self._missing_groups_above(key)
        if kind == "array" and not is_listed and self.is_unwritten(key):
            return
        if kind == "group" or (kind == "array" and not self._overwriting_creation):
            raise NodeExistsError(
                f"{self.node_path} has {'a group' if kind == 'group' else 'an array'} {key!r} already. Delete it first"
                f"{'' if kind == 'group' else ', or open the store with overwriting_creation=True'}."
            )

    def _has_leftover_chunks(self, key: str) -> bool:
        """Whether a killed deletion left chunks without a document; raise unless they may be replaced."""
        storage, path = self.documents.storage, self.node_path.child(key).path
        if not storage.can_list or set(storage.list(path)) <= set(self.documents.files.all):
            return False
        if not self._overwriting_creation:
            raise NodeExistsError(
                f"There is something at {key!r} in {self.node_path} already that is not an array, such as the rest of "
                f"a killed deletion; a new array would show its pixels. Delete it with `del node[{key!r}]` first."
            )
        return True

    def is_unwritten(self, key: str) -> bool:
        """Whether an array has no chunks."""
        names = self.documents.storage.list(self.node_path.child(key).path)
        return set(names) <= set(self.documents.files.all)

    def _fill(self, array: ImageArray, key: str, source: Source, *, is_level: bool) -> None:
        from lamella.ops.array_writes import write_array

        try:
            write_array(array, source)
        except BaseException:
            # After an error the array is deleted; after a kill it remains, and each of its chunks is complete.
            if is_level:
                self.document.edit(
                    lambda meta: edits.remove_dataset(meta, key),
                    edit_attributes=lambda old: with_stale(old, read_stale(old).with_unwritten(key, [])),
                )
            self.documents.delete(array.path)
            raise

    def _array_path(self, name: int | str) -> tuple[str, NodePath]:
        """Return the name of a new array as text, and its node path; raise for reserved names."""
        key = self._checked_key(name)
        node_path = self.node_path.child(key)
        first, last = key.partition("/")[0], key.rpartition("/")[2]
        if first in _GROUPS or last.startswith("."):
            raise InvalidNameError(
                f"An array in {self.node_path} cannot be named {key!r}: "
                f"{_GROUPS.get(first, 'that is a name of metadata files')}."
            )
        check_new_name(key)
        return key, node_path

    def _missing_groups_above(self, key: str) -> list[str]:
        """Return the paths of the missing groups above an array with a nested name, outermost first."""
        if "/" not in key:
            return []
        names = key.split("/")[:-1]
        above = [self.node_path.child("/".join(names[: depth + 1])).path for depth in range(len(names))]
        kinds = {path: self.documents.kind(path) for path in above}
        for path, kind in kinds.items():
            if kind == "array":
                raise NodeExistsError(f"Cannot create {key!r} in {self.node_path}: {path!r} is an array.")
        return [path for path, kind in kinds.items() if kind is None]

    def _describe(self, model: ImagesMeta, settings: ArraySettings | ArrayMeta) -> ArrayMeta:
        """Return the description of a new array. Nothing is written."""
        if not isinstance(settings, ArraySettings):
            return settings
        names = [axis.name for axis in model.multiscales[0].axes]
        key = (self.store_handle.version.zarr_format, settings, *names)
        with errors_naming(self.node_path):
            return new_description(key, lambda: self._new_array(settings, names))

    def _new_array(self, settings: ArraySettings, axis_names: list[str]) -> ArrayMeta:
        shape, dtype, chunks, shards_ratio, compressor, checksum = settings
        version = self.store_handle.version
        shard_shape: Shape | None = None
        if isinstance(chunks, str):
            chunk_shape, shard_shape = auto_layout(shape, dtype.itemsize, version.zarr_format == 3)
        elif chunks is None:
            chunk_shape = default_chunks(shape, dtype.itemsize)
        else:
            chunk_shape = chunks
        if shards_ratio is not None:
            if version.zarr_format == 2:
                raise InvalidArgumentError(
                    f"shards_ratio={tuple(shards_ratio)} is set, but OME-NGFF {version.name} (Zarr v2) has no shards. "
                    "Sharding needs version='0.5'."
                )
            if len(shards_ratio) != len(chunk_shape):
                raise InvalidArgumentError(
                    f"shards_ratio={tuple(shards_ratio)} has {len(shards_ratio)} numbers for chunks {chunk_shape}."
                )
            if min(shards_ratio, default=1) < 1:
                raise InvalidArgumentError(
                    f"shards_ratio={tuple(shards_ratio)} needs at least one chunk per shard along each axis."
                )
            shard_shape = tuple(
                length * ratio for length, ratio in zip(chunk_shape, shards_ratio, strict=True)
            )
        return new_array(
            shape,
            dtype,
            zarr_format=version.zarr_format,
            chunks=chunk_shape,
            shards=shard_shape,
            compressor=compressor,
            checksum=checksum,
            dimension_names=axis_names if len(axis_names) == len(shape) else None,
        )


def _unnamed_channel_count(meta: ImagesMeta, shape: Shape) -> int:
    """Return how many channels of an array have no name; negative if there are more names than channels."""
    channel, names = channel_axis(meta.multiscales[0].axes), edits.channel_names(meta)
    return 0 if channel is None or not names else shape[channel] - len(names)


def has_fewer_channels(meta: ImagesMeta, name: str, shape: Shape, where: object) -> bool:
    """Raise for an array that does not fit the axes and channels; return whether it has fewer channels than names."""
    axes = meta.multiscales[0].axes
    if len(shape) != len(axes):
        axis_names = "".join(axis.name for axis in axes)
        raise InvalidArgumentError(
            f"The array {name!r} of shape {shape} has {len(shape)} dimensions, but {where} has the "
            f"{len(axes)} axes {axis_names}."
        )
    unnamed_count = _unnamed_channel_count(meta, shape)
    if unnamed_count > 0:
        names = edits.channel_names(meta)
        raise InvalidArgumentError(
            f"The array {name!r} of shape {shape} has {len(names) + unnamed_count} channels, but {where} has names "
            f"for {len(names)}: {names}. Append channels first."
        )
    return unnamed_count < 0


def fewer_channels(name: str, shape: Shape, meta: ImagesMeta, where: object) -> str:
    """Return the warning for an array that has fewer channels than names."""
    names = edits.channel_names(meta)
    count = len(names) + _unnamed_channel_count(meta, shape)
    return f"The array {name!r} has {count} channels, fewer than the channel names {names} of {where}."


def with_level_state(attributes: JSONObject, key: str, array: ArrayMeta, is_written: bool) -> JSONObject:
    """Return attributes that record whether the pixels of a new level are written."""
    regions = [((0,) * len(array.shape), array.shape)] if all(array.shape) and not is_written else []
    return with_stale(attributes, read_stale(attributes).with_unwritten(key, regions))


def request_of(
    shape: Sequence[int],
    dtype: DTypeLike,
    chunks: Sequence[int] | Literal["auto"] | None = None,
    shards_ratio: Sequence[int] | None = None,
    transform: Sequence[TransformationMeta] | None = None,
    check_shape: bool = True,
    *,
    compressor: CompressorChoice = None,
    checksum: bool | None = None,
) -> ArrayRequest:
    """Normalise and check the options of a new array; see `PositionArrays.create_zeros`."""
    lengths, data_dtype = _integers("shape", shape), data_type(dtype)
    if not isinstance(chunks, str | None):
        chunks = _integers("chunks", chunks)
    elif isinstance(chunks, str) and chunks != "auto":
        raise InvalidArgumentError(f"The argument chunks is one integer per axis, or 'auto', not {chunks!r}.")
    if shards_ratio is not None:
        shards_ratio = _integers("shards_ratio", shards_ratio)
    settings = ArraySettings(lengths, data_dtype, chunks, shards_ratio, compressor, checksum)
    return ArrayRequest(settings, transform, check_shape)


def _integers(subject: str, lengths: Sequence[int]) -> Shape:
    """Return integers as a tuple; raise for other numbers."""
    try:
        return tuple(map(index, lengths))
    except TypeError:
        raise InvalidArgumentError(
            f"The argument {subject} is one integer per axis, not {lengths!r}."
        ) from None


def data_type(dtype: DTypeLike) -> np.dtype[Any]:
    """Return a data type of numpy; raise for anything else."""
    try:
        return np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{dtype!r} is not a data type of numpy: {clause(error)}.") from error
