"""Edit the channels and transformations of a position, each in one atomic write of its document.

The edits are pure functions in :mod:`lamella.spec`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from lamella.arguments import checked_channel_name
from lamella.errors import (
    InvalidArgumentError,
    MetadataError,
    MetadataWarning,
    NodeNotFoundError,
    WrongTypeError,
    name_where,
    warn,
)
from lamella.nodes.image_array import ImageArray
from lamella.nodes.metadata_document import unusable_error
from lamella.nodes.node import NGFFNode
from lamella.nodes.replacing import finish_replacing
from lamella.nodes.store_handle import errors_naming
from lamella.spec import edits, geometry
from lamella.spec.axes import axis_index, channel_axis
from lamella.spec.channels import COLOR_SAMPLES, with_acquisition_settings
from lamella.spec.own_key import (
    Appending,
    is_unfinished,
    own_record,
    read_appending,
    read_deleting,
    read_replacing,
    with_appending,
)
from lamella.store.pixels.assignment import is_lazy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import ArrayLike

    from lamella.nodes.metadata_document import MetadataDocument
    from lamella.nodes.position import Position
    from lamella.ops.execution import Progress
    from lamella.spec.images import ImagesMeta, TransformationMeta, WindowDict
    from lamella.types import JSON


class PositionMetadata(NGFFNode):
    """Methods of a position that read and edit its metadata."""

    document: MetadataDocument[ImagesMeta]
    _appending: Appending | None = None
    """The channel that this handle is appending."""
    open_level: Callable[[str], ImageArray]
    _has_channel_without_voxels: bool

    def append_channel(self, chan_name: str, resize_arrays: bool = True) -> None:
        """Append a channel to the end of the channel list.

        Parameters
        ----------
        chan_name
            Name of the new channel. InvalidArgumentError (a ValueError) if there is such a channel, or no channel axis.
        resize_arrays
            Make every level one channel longer; new voxels have the fill value. With False, resize the arrays yourself:
            until level 0 has the channel, `channel_names` of other handles lacks the new name.

        Examples
        --------
        >>> position.append_channel("Cy5")
        >>> position.channel_names, position.data.shape
        (['DAPI', 'GFP', 'Cy5'], (1, 3, 4, 8, 8))
        """
        self.store_handle.require_writable(f"append the channel {chan_name!r}", self.path)
        self._check_channel_axis(chan_name)
        with self.documents.lock(self.path):
            finished_name = self._finish_append()
            if finished_name is None or finished_name != chan_name:
                self._append_channel(chan_name, resize_arrays=resize_arrays)

    def _check_channel_axis(self, name: str) -> None:
        """Raise for an image without an axis for the channel ``name``."""
        if channel_axis(self.axes) is None:
            raise InvalidArgumentError(f"{self.node_path} has no channel axis to append {name!r} to.")

    def _append_channel(self, name: str, *, resize_arrays: bool) -> None:
        """Append a channel: record it in the document, grow the arrays (level 0 last), then add the name."""
        levels = [
            self.open_level(path) for path in self.document.shared_model.multiscales[0].get_dataset_paths()
        ]
        window = dtype_window(levels[0].dtype) if levels else None
        # Read before an array grows: an image without stored names gets channel_0, channel_1, ... for each channel.
        names = edits.channel_names(self.document.shared_model) or self.channel_names

        def append(meta: ImagesMeta) -> ImagesMeta:
            # The name exists already if the model was read since the arrays have grown: see `_with_appended`.
            return meta if name in edits.channel_names(meta) else edits.append_channel(meta, name, window)

        self.document.apply_change(  # raises before an array grows
            lambda meta: edits.append_channel(with_channel_names(meta, names, window), name, window),
            self.document.shared_model,
        )
        if resize_arrays and levels:
            self._appending = Appending(name, len(names))
            try:
                self.document.edit(lambda meta: with_channel_names(meta, names, window))
                self._grow_channels(levels, len(names) + 1)
            finally:
                self._appending = None
        old_indices = [*range(len(names)), None]  # the new channel has none
        self.document.edit(
            lambda meta: append(with_channel_names(meta, names, window)),
            edit_attributes=lambda attributes: with_acquisition_settings(attributes, len(names), old_indices),
        )
        self._has_channel_without_voxels = not resize_arrays

    def _grow_channels(self, levels: list[ImageArray], count: int) -> None:
        for level in reversed(levels):
            axis = self._channel_axis_of(level)
            # A killed call may have made a level longer than the list of names.
            channel_count = max(level.shape[axis], count)
            shape = list(level.shape)
            shape[axis] = channel_count
            level.stored.resize(tuple(shape))  # no level is stale afterwards: all have fill values there

    def _finish_append(self) -> str | None:
        """Finish a killed append of a channel, under the lock of the image; return its name."""
        appending = read_appending(self.documents.group(self.path))
        if appending is None:
            return None
        levels = [
            self.open_level(path) for path in self.document.refresh().multiscales[0].get_dataset_paths()
        ]
        self._grow_channels(levels, appending.after + 1)
        meta = self.document.edit(lambda meta: self._with_appended(meta, appending))
        if appending.name in edits.channel_names(meta):
            return appending.name
        # Another program changed channels or arrays since, so the append cannot be finished.
        self.documents.edit_group(self.path, lambda attributes: with_appending(attributes, None))
        self.document.refresh()
        return None

    def _with_appended(self, meta: ImagesMeta, appending: Appending) -> ImagesMeta:
        """Return the metadata with the name of a channel that is being appended, if level 0 has the channel."""
        paths = meta.multiscales[0].get_dataset_paths() if meta.multiscales else []
        axis = channel_axis(meta.multiscales[0].axes) if paths else None
        names = edits.channel_names(meta)
        if axis is None or appending.name in names or len(names) != appending.after:
            return meta
        path = self.node_path.child(paths[0]).path
        if self.documents.kind(path) != "array":
            return meta
        array = self.documents.array(path)
        axis -= len(meta.multiscales[0].axes) - array.ndim
        if not 0 <= axis < array.ndim or array.shape[axis] <= appending.after:
            return meta
        return edits.append_channel(meta, appending.name, dtype_window(array.dtype))

    def require_writable(self, action: str) -> None:
        """Raise for a closed or read-only store; finish a killed append, replacement or deletion."""
        super().require_writable(action)
        if not is_unfinished(self.document.last_attributes):
            return
        if self._appending is None and read_appending(self.document.last_attributes) is not None:
            with self.documents.lock(self.path):
                self._finish_append()
        if read_replacing(self.document.last_attributes) is not None:
            finish_replacing(cast("Position", self))
        if read_deleting(self.document.last_attributes) is not None:
            from lamella.ops.images.delete_channel import finish_deletion

            finish_deletion(cast("Position", self))

    def _with_all_names(self, meta: ImagesMeta, names: list[str]) -> ImagesMeta:
        """Return the metadata with `names`, if they lack some; images of other programs may have fewer names."""
        if len(edits.channel_names(meta)) >= len(names):
            return meta
        paths = meta.multiscales[0].get_dataset_paths()
        return with_channel_names(
            meta, names, dtype_window(self.open_level(paths[0]).dtype) if paths else None
        )

    def _channel_axis_of(self, array: ImageArray) -> int:
        axis = channel_axis(array.axes if array.axes is not None else self.axes)
        if axis is None or axis >= array.ndim:
            raise InvalidArgumentError(f"{array!r} has no channel axis.")
        return axis

    def rename_channel(self, old: str, new: str) -> None:
        """Rename the channel ``old`` to ``new``; a ValueError if ``old`` does not exist, or ``new`` does.

        Columns of tables keep names such as "intensity_mean-GFP"; a warning lists them.

        Examples
        --------
        >>> position.rename_channel("GFP", "Actin")
        >>> position.channel_names
        ['DAPI', 'Actin']
        """
        from lamella.ops.images.edit import ImageEdits, edit_image

        self.require_writable(f"rename the channel {old!r}")
        edit_image(cast("Position", self), ImageEdits({checked_channel_name(old): checked_channel_name(new)}))

    def update_channel(self, chan_name: str, target: str, data: ArrayLike) -> None:
        """Write the voxels of one channel of an array.

        Parameters
        ----------
        chan_name, target
            Names of the channel and the array.
        data
            Voxels, of the array's shape without the channel axis.

        Raises
        ------
        InvalidArgumentError
            If the channel is unknown or the shape does not fit (a ValueError).

        Examples
        --------
        >>> position.update_channel("GFP", "0", np.full((1, 4, 8, 8), 9))
        >>> position.data[0, :, 0, 0, 0]
        array([0, 9], dtype=uint16)
        """
        self.require_writable(f"update the channel {chan_name!r}")
        array = self[target]
        if not isinstance(array, ImageArray):
            raise InvalidArgumentError(f"{target!r} in {self.node_path} is not an array, but {array!r}.")
        axis = self._channel_axis_of(array)
        channel_index = self.get_channel_index(chan_name)
        block: Any = data if is_lazy(data, array.dtype) else np.asarray(data)
        expected_shape = tuple(length for index, length in enumerate(array.shape) if index != axis)
        if tuple(block.shape) != expected_shape:
            raise InvalidArgumentError(
                f"The channel {chan_name!r} of {array!r} needs data of shape {expected_shape}; got {block.shape}."
            )
        if channel_index >= array.shape[axis]:
            raise InvalidArgumentError(
                f"{array!r} has only {array.shape[axis]} channels, but {chan_name!r} is number {channel_index}. "
                "Resize the array first."
            )
        array[(slice(None),) * axis + (channel_index,)] = block

    def set_contrast_limits(self, channel_name: str, window: WindowDict) -> None:
        """Set the contrast limits of a channel.

        Parameters
        ----------
        channel_name
            Name of the channel.
        window
            Numbers ``min`` and ``max`` (range of a slider), ``start`` and ``end`` (shown as black and as full
            intensity), in intensity units (OM-03).

        Raises
        ------
        InvalidArgumentError
            If the channel is unknown, a number is missing or not finite, or the limits are in the wrong order (a
            ValueError).

        Examples
        --------
        >>> position.set_contrast_limits("GFP", {"start": 256, "end": 500, "min": 0, "max": 511})
        >>> position.metadata.omero.channels[1].window["end"]
        500
        """
        self.require_writable(f"set the contrast limits of {channel_name!r}")
        if not isinstance(window, Mapping):
            raise InvalidArgumentError(
                f"The contrast limits of {channel_name!r} in {self.node_path} are a dict of start, end, min and max, "
                f"not {window!r}."
            )
        names = self.channel_names
        self.document.edit(
            lambda meta: edits.set_contrast_limits(self._with_all_names(meta, names), channel_name, window)
        )

    def compute_contrast(
        self,
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> dict[str, WindowDict]:
        """Compute the contrast limits of every channel from its pixels, and write them.

        A window is the 0.1th to 99.9th percentile of a sample: every pixel, or one of each block, of up to 64 planes of
        the coarsest level with at least 128 pixels along y or x (the finest level while the lower ones are stale).
        Images that were converted from RGB keep their limits, since one window per channel would change their hues.
        :meth:`Plate.compute_contrast` computes common windows for all fields of a plate.

        Parameters
        ----------
        jobs, executor, progress
            As for :meth:`compute_pyramid`; progress counts "fields".

        Returns
        -------
        dict of str to WindowDict
            The new limits of each channel by its name.

        Raises
        ------
        InvalidArgumentError
            If the image has no pixels, complex pixels, or no named channel (a ValueError).

        Examples
        --------
        >>> position["0"][:] = np.arange(512, dtype="uint16").reshape(1, 2, 4, 8, 8)
        >>> position.compute_contrast()["GFP"]
        {'start': 256.0, 'end': 511.0, 'min': 0.0, 'max': 65535.0}
        """
        from lamella.ops.contrast import compute_contrast

        self.require_writable("compute contrast limits")
        return compute_contrast([cast("Position", self)], jobs=jobs, executor=executor, progress=progress)

    _warned_of_scale = False
    """Whether this handle has warned of a voxel size of 0 or below."""

    @property
    def scale(self) -> list[float]:
        """Physical size of a voxel of the finest level, per axis, in the unit of each axis.

        Sizes of 0 and below are returned as stored, with a UserWarning.
        """
        valid_scale = self.document.cached_result(_valid_scale)
        if valid_scale is not None:
            return [*valid_scale]
        meta = self.document.shared_model
        return self._scale_or_translation(geometry.effective_scale, meta, _finest(meta))

    def _scale_or_translation(
        self, compute: Callable[[ImagesMeta, str], list[float]], meta: ImagesMeta, image: str
    ) -> list[float]:
        """Compute the scale or translation of a level; errors name the position."""
        try:
            scale_or_translation = compute(meta, image)
        except MetadataError as error:
            raise unusable_error(self.node_path, error) from error
        except NodeNotFoundError as error:
            name_where(error, self.node_path)
            raise
        if compute is geometry.effective_scale and min(scale_or_translation, default=1) <= 0:
            self._warn_of_scale(scale_or_translation, image)
        return scale_or_translation

    def _warn_of_scale(self, scale: list[float], image: str) -> None:
        """Warn once of a voxel size of 0 or below."""
        if self.store_handle.strict:
            raise MetadataError(
                f"The scale of {self.node_path}, image {image!r}, is {scale}: the size of a voxel is above 0. The "
                "store was opened with strict=True."
            )
        if self._warned_of_scale:
            return
        self._warned_of_scale = True
        message = (
            f"The scale of {self.node_path}, image {image!r}, is {scale}: the size of a voxel is above 0. It is used "
            "as it is stored; correct it with set_scale or set_transform."
        )
        warn(message, MetadataWarning)

    def get_axis_index(self, axis_name: str) -> int:
        """Return the index of an axis by its name, in any case; a ValueError if it does not exist.

        Examples
        --------
        >>> position.get_axis_index("z"), position.get_axis_index("Z")
        (2, 2)
        """
        self._check_axis_name(axis_name)
        with errors_naming(self.node_path):
            return axis_index(self.axes, axis_name)

    def _check_axis_name(self, axis_name: str) -> None:
        if not isinstance(axis_name, str):
            raise InvalidArgumentError(f"An axis of {self.node_path} is named by text, not by {axis_name!r}.")

    def get_effective_scale(self, image: str) -> list[float]:
        """Return the voxel size of one level, or the scale factor of the whole position.

        Parameters
        ----------
        image
            Name of an array, such as "0", or "*" for the position alone. NodeNotFoundError (a KeyError) if it is
            missing.

        Returns
        -------
        list of float
            One number per axis, in the unit of the axis: level scale times position scale (CT-07).

        Examples
        --------
        >>> position.set_scale("*", "x", 2)
        >>> position.get_effective_scale("0"), position.get_effective_scale("*")
        ([1.0, 1.0, 0.5, 0.25, 0.5], [1.0, 1.0, 1.0, 1.0, 2.0])
        """
        return self._scale_or_translation(geometry.effective_scale, self.document.shared_model, str(image))

    def get_effective_translation(self, image: str) -> list[float]:
        """Return the location of the first voxel of one level, or the translation of the whole position.

        As :meth:`get_effective_scale`, in the unit of each axis: position scale times level translation plus position
        translation (CT-07).

        Examples
        --------
        >>> position.initialize_pyramid(levels=2)
        >>> position.get_effective_translation("1")  # half a voxel of level 0: first voxels share their outer edge
        [0.0, 0.0, 0.25, 0.125, 0.125]
        """
        return self._scale_or_translation(
            geometry.effective_translation, self.document.shared_model, str(image)
        )

    def set_transform(self, image: str, transform: Sequence[TransformationMeta]) -> None:
        """Set the coordinate transformations of one level or of the whole position.

        Label images stay on the objects of level 0: they are scaled and moved with it.

        Parameters
        ----------
        image
            Name of an array, such as "0", or "*" for the position.
        transform
            Identity, scale and translation in any number and order. Stored are one scale and one translation that have
            the same effect (CT-03, CT-04).

        Raises
        ------
        NodeNotFoundError, InvalidArgumentError
            If the array does not exist (a KeyError), or a transformation does not fit the axes (a ValueError).

        Examples
        --------
        >>> from lamella.models import TransformationMeta
        >>> stage = TransformationMeta(type="translation", translation=[0, 0, 0, 120.5, 80])
        >>> position.set_transform("*", [stage])
        >>> position.get_effective_translation("0")
        [0.0, 0.0, 0.0, 120.5, 80.0]
        """
        from lamella.ops.images.transforms import edit_transforms

        self.require_writable("set a transform")
        edit_transforms(
            cast("Position", self), str(image), lambda meta: edits.set_transform(meta, str(image), transform)
        )

    @overload
    def set_scale(self, image: Mapping[str, float]) -> None: ...
    @overload
    def set_scale(self, image: str, axis_name: str, new_scale: float) -> None: ...

    def set_scale(
        self, image: str | Mapping[str, float], axis_name: str | None = None, new_scale: float | None = None
    ) -> None:
        """Set the physical voxel size; translations do not change, and the levels stay consistent.

        Parameters
        ----------
        image
            Voxel size of the finest level by axis, such as ``{"y": 0.65, "x": 0.65}``, set in one write. Or the name of
            an array, such as "0", or "*" for the position. Label images change by the same factors.
        axis_name, new_scale
            With the name of an array: name of the axis, in any case, and size in its unit; greater than 0.

        Raises
        ------
        NodeNotFoundError, InvalidArgumentError
            If the array does not exist (a KeyError), or there is no such axis, or a size is not a number above 0 (a
            ValueError).

        Examples
        --------
        >>> position.initialize_pyramid(levels=2)
        >>> position.set_scale("0", "z", 1.5)
        >>> position.scale[2], position.get_effective_scale("1")[2]
        (1.5, 3.0)
        >>> position.set_scale({"y": 0.65, "x": 0.65})
        >>> position.scale, position.get_effective_scale("1")
        ([1.0, 1.0, 1.5, 0.65, 0.65], [1.0, 1.0, 3.0, 1.3, 1.3])
        """
        self.require_writable("set a scale")
        if isinstance(image, Mapping) and axis_name is None and new_scale is None:
            from lamella.ops.images.edit import ImageEdits, edit_image

            edit_image(cast("Position", self), ImageEdits(sizes=image))
            return
        if axis_name is None or new_scale is None:
            raise WrongTypeError(
                f"To set a scale of {self.node_path}, set_scale() needs a mapping of axis to size, or the name of an "
                "array, an axis and a size."
            )
        self._check_axis_name(axis_name)
        from lamella.ops.images.transforms import edit_transforms

        edit_transforms(
            cast("Position", self),
            str(image),
            lambda meta: edits.set_scale(meta, str(image), axis_name, new_scale),
        )

    # -- edits by lamella.ops.images: each raises before anything is written ----------------------------------

    def set_channel(
        self,
        name: str,
        color: str | None = None,
        *,
        window: WindowDict | tuple[float, float] | None = None,
        active: bool | None = None,
        label: str | None = None,
    ) -> None:
        """Set the display of a channel; other settings stay.

        Parameters
        ----------
        name
            Name of the channel.
        color
            A CSS name, such as ``"lime"`` (``"green"`` is darker), or hexadecimal digits such as ``"#0F0"``.
        window
            ``start`` and ``end`` (shown as black and as full intensity), ``min`` and ``max`` (range of a slider); or a
            pair of start and end.
        active
            Whether viewers show the channel initially.
        label
            New name of the channel.

        Raises
        ------
        InvalidArgumentError
            If the channel does not exist, or a value is invalid (a ValueError). Nothing is written then.

        Examples
        --------
        >>> position.set_channel("GFP", "orange", window=(100, 400), label="Actin")
        >>> channel = position.metadata.omero.channels[1]
        >>> channel.label, channel.color, channel.window["start"], channel.window["max"]
        ('Actin', 'FFA500', 100, 65535.0)
        """
        from lamella.ops.images.edit import ImageEdits, edit_image

        self.require_writable(f"change the channel {name!r}")
        changes = ImageEdits.of_channel(name, label, color=color, window=window, active=active)
        edit_image(cast("Position", self), changes)

    def delete_channel(self, name: str, *, jobs: int | None = None) -> None:
        """Delete a channel with its pixels, by writing all levels again without it.

        After a kill, the image has all its channels, or one less and maybe fewer levels; the same call finishes. Arrays
        that are not levels, and label images, do not change. Each of the jobs needs memory for one shard (or chunk).

        Raises
        ------
        InvalidArgumentError
            If the channel does not exist, or is the only one (a ValueError). Nothing is written then.

        Examples
        --------
        >>> position.delete_channel("DAPI")
        >>> position.channel_names, position.data.shape
        (['GFP'], (1, 1, 4, 8, 8))
        """
        from lamella.ops.images.delete_channel import delete_channel

        delete_channel(cast("Position", self), checked_channel_name(name), jobs=jobs)

    def set_unit(self, unit: str | Mapping[str, str | None]) -> None:
        """Set the unit of axes without changing sizes, also in label images.

        Parameters
        ----------
        unit
            Unit of all space axes, or a mapping of axis to unit, None for no unit. Symbols such as ``"um"`` are
            accepted. A missing axis or a unit of another type of axis is refused (a ValueError), and nothing is
            written.

        Examples
        --------
        >>> position.set_unit("nm")
        >>> position.set_unit({"t": "min"})
        >>> [axis.unit for axis in position.axes]
        ['minute', None, 'nanometer', 'nanometer', 'nanometer']
        """
        from lamella.ops.images.edit import ImageEdits, edit_image

        self.require_writable("set a unit")
        edit_image(cast("Position", self), ImageEdits(units=unit))

    @property
    def image_name(self) -> str | None:
        """Name of the image in its metadata, None if it has none; :meth:`set_name` changes it.

        Examples
        --------
        >>> position.set_name("colony 7")
        >>> position.image_name, position.name
        ('colony 7', '0')
        """
        scales = cast("Position", self).document.shared_model.multiscales
        return scales[0].name if scales else None

    def set_name(self, name: str) -> None:
        """Set the name of the image, a text that is not empty, which viewers show. The path does not change.

        Examples
        --------
        >>> position.set_name("colony 7")
        >>> position.metadata.multiscales[0].name, position.metadata.omero.name
        ('colony 7', 'colony 7')
        """
        from lamella.ops.images.edit import ImageEdits, edit_image

        self.require_writable("set the name")
        edit_image(cast("Position", self), ImageEdits(name="" if name is None else name))

    def set_attributes(self, attributes: Mapping[str, JSON]) -> None:
        """Set custom attributes of the position in one write: name to JSON value; None removes an attribute.

        Raises
        ------
        InvalidArgumentError
            If a name belongs to OME-NGFF or lamella (a ValueError). Nothing is written then.

        Examples
        --------
        >>> position.set_attributes({"operator": "Ada", "passage": 12})
        >>> position.set_attributes({"passage": None})
        >>> position.zattrs["operator"], "passage" in position.zattrs
        ('Ada', False)
        """
        from lamella.ops.images.edit import edit_attributes

        self.require_writable("set attributes")
        edit_attributes(self, attributes)


def with_channel_names(meta: ImagesMeta, names: list[str], window: WindowDict | None = None) -> ImagesMeta:
    """Return the metadata with a name for each channel; new channels get `window`."""
    stored_names = edits.channel_names(meta)
    if len(stored_names) >= len(names):
        return meta
    if not stored_names:
        meta = edits.name_channels(meta, names)
    for name in names[len(stored_names) :] if stored_names else []:
        meta = edits.append_channel(meta, name)
    return meta if window is None else edits.fill_windows(meta, window)


def is_rgb(position: Position) -> bool:
    """Return whether an image was converted from a colour image."""
    return bool(own_record(position.documents.group(position.path), COLOR_SAMPLES) == "rgb")


def dtype_window(dtype: np.dtype[Any]) -> WindowDict:
    """Return the contrast limits for the whole range of a dtype; 0 to 1 for floats and booleans.

    >>> import numpy as np
    >>> dtype_window(np.dtype("uint16"))
    {'start': 0.0, 'end': 65535.0, 'min': 0.0, 'max': 65535.0}
    """
    low, high = 0.0, 1.0
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        low, high = float(limits.min), float(limits.max)
    return {"start": low, "end": high, "min": low, "max": high}


def _finest(meta: ImagesMeta) -> str:
    return next(iter(meta.multiscales[0].get_dataset_paths()), geometry.WHOLE)


def _valid_scale(meta: ImagesMeta) -> list[float] | None:
    """Return the scale of the finest level; None if the caller has to raise or warn."""
    try:
        scale = geometry.effective_scale(meta, _finest(meta))
    except (MetadataError, NodeNotFoundError):
        return None
    return scale if min(scale, default=1) > 0 else None
