"""A position (field of view): the group of one multiscale image.

:mod:`position_metadata` edits its metadata, :mod:`position_arrays` creates arrays, :mod:`position_operations` and
:mod:`position_regions` call operations.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast

from lamella.errors import InvalidArgumentError, InvalidNameError, MetadataError, NodeNotFoundError, clause
from lamella.nodes.metadata_document import ome_of, read_part, unusable_error
from lamella.nodes.node import ModelNode
from lamella.nodes.ome_xml import described_image, names_from_xml, with_sizes
from lamella.nodes.position_arrays import PositionArrays
from lamella.nodes.position_metadata import PositionMetadata
from lamella.nodes.position_operations import PositionOperations
from lamella.nodes.position_regions import PositionRegions
from lamella.nodes.replacing import without_replacing
from lamella.nodes.reporting import check_document, level_findings, report
from lamella.spec import edits
from lamella.spec.axes import axes_from_json, channel_axis
from lamella.spec.images import ImagesMeta, MultiScaleMeta, TransformationMeta
from lamella.spec.own_key import (
    STAGE,
    is_unfinished,
    own_record,
    read_appending,
    read_replacing,
    with_appending,
    without_own_records,
)
from lamella.spec.stale_levels import read_stale, with_stale
from lamella.store.keys import join, natural_order
from lamella.store.metadata.missing_document import content_without_document, explain_missing_attributes
from lamella.store.pixels.arrays import StoredArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.labels import Labels
    from lamella.nodes.store_handle import NodePath
    from lamella.nodes.tables import Tables
    from lamella.ops.integrity.status import ImageStatus
    from lamella.spec.axes import AxisMeta
    from lamella.spec.ome_xml import OMEImage
    from lamella.spec.rules import Kind
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.json_document import StoredGroup
    from lamella.types import JSONObject


class Position(PositionMetadata, PositionArrays, PositionOperations, PositionRegions, ModelNode[ImagesMeta]):
    """A field of view: one image with its pyramid levels and labels.

    The parameters are those of `NGFFNode`; 2 to 5 axes.

    Examples
    --------
    >>> import lamella, numpy as np, tempfile
    >>> store = tempfile.mkdtemp() + "/image.zarr"
    >>> with lamella.open_ome_zarr(store, layout="fov", mode="w", channel_names=["DAPI"]) as position:
    ...     image = position.create_image("0", np.zeros((1, 1, 4, 8, 8), "uint16"))
    >>> with lamella.open_ome_zarr(store) as position:
    ...     position.data.shape, position.channel_names, position.scale
    ((1, 1, 4, 8, 8), ['DAPI'], [1.0, 1.0, 1.0, 1.0, 1.0])
    """

    _kinds: ClassVar[tuple[Kind, ...]] = ("image",)

    _levels_by_path: dict[str, ArrayMeta] | None = None
    """The descriptions of the levels that were read through this handle, by path."""
    _last_array: StoredArray | None = None
    """The level that was read last."""
    _has_channel_without_voxels = False
    """Whether `append_channel` added a name, and left the arrays to its caller."""
    _temporary_names: dict[str, str] | None = None
    """Temporary name of a level that is being replaced, by path, while it is not stored at that path."""

    # -- checks of documents and levels -----------------------------------------------------------------------

    def _check(self, stored: StoredGroup) -> None:
        check_document(self.node_path, stored, self._kinds)
        if not self.document.last_shared_model.multiscales[0].datasets:
            self._check_bare_arrays(stored.attributes)

    def _check_edit(self, before: JSONObject, after: JSONObject, meta: ImagesMeta) -> None:
        super()._check_edit(before, after, meta)
        if "multiscales" not in self.store_handle.version.ome(after) and meta.multiscales:
            try:
                edits.new_images(meta.multiscales[0].axes, [])  # raises for axes that no image can have
            except InvalidArgumentError as error:
                raise MetadataError(
                    f"The metadata of {self.node_path} were not written: {clause(error)}."
                ) from error

    def _check_bare_arrays(self, attributes: JSONObject) -> None:
        """Raise for a group of arrays without multiscales, unless its image is being created or deleted.

        An image that is being created stores its axes under lamella's own key, and is listed when all pixels are
        written.
        """
        if has_no_arrays_yet(attributes) or "multiscales" in ome_of(self.node_path, attributes):
            return
        if self.documents.storage.can_list:
            names = [name for name in self.array_keys() if not self.is_unwritten(name)]
        else:
            names = ["0"] if self.documents.kind(join(self.path, "0")) == "array" else []
        if names:
            problem = f"there are no multiscales, but the arrays {', '.join(map(repr, names))}."
            problem += explain_missing_attributes(self.documents, self.path)
            raise unusable_error(self.node_path, MetadataError(problem.rstrip(".")))

    def _check_level(self, path: str, image: MultiScaleMeta, meta: ArrayMeta) -> None:
        """Report rules that a level breaks, by itself or together with the levels that this handle has read before."""
        stored, levels = self.document.stored, self._levels_by_path
        if levels is None:
            levels = self._levels_by_path = {}
        elif levels.get(path) is meta:
            return
        finest = image.datasets[0].path if image.datasets else path
        if path != finest and finest not in levels:
            with suppress(NodeNotFoundError, MetadataError):
                levels[finest] = self.documents.array(self.node_path.child(finest).path)
        levels[path] = meta
        if stored is not None and self.document.is_settled:
            self._report_levels(stored, levels)

    def _report_levels(self, stored: StoredGroup, levels: dict[str, ArrayMeta]) -> None:
        """Report rules that the levels break. Read all levels again before: other programs may have changed them."""
        findings = level_findings(self.node_path, stored, self._kinds[-1], levels)
        if findings and len(levels) > 1:
            for path in levels:
                with suppress(NodeNotFoundError, MetadataError):
                    levels[path] = self.documents.array(self.node_path.child(path).path)
            findings = level_findings(self.node_path, stored, self._kinds[-1], levels)
        if findings:
            report(self.node_path, findings, self.store_handle.version_of(stored.attributes))

    # -- metadata ---------------------------------------------------------------------------------------------

    def _load(self, attributes: JSONObject) -> ImagesMeta:
        version = self.store_handle.version
        self._temporary_names = missing_level = appending = None
        if is_unfinished(attributes):
            attributes, self._temporary_names, missing_level = without_replacing(self.node_path, attributes)
            appending = read_appending(attributes)
        meta = read_part(self.node_path, ImagesMeta, attributes)
        if meta is not None and meta.multiscales:
            if missing_level is not None and missing_level in meta.multiscales[0].get_dataset_paths():
                meta = edits.remove_dataset(meta, missing_level)
            if appending is not None:
                meta = self._with_appended(meta, appending)
            return meta if _has_all_units(meta.multiscales[0]) else with_sizes(self.node_path, meta)
        stored_axes = _stored_axes(attributes)
        axes = stored_axes or self._default_axes or version.default_axes()
        # By default the channel names of the plate; a position whose stored axes have no channel axis has none.
        names = [] if stored_axes and channel_axis(stored_axes) is None else self._default_channels or []
        new_image = edits.new_images(axes, names, name=self._image_name())
        if meta is not None and meta.omero is not None:
            new_image.omero = meta.omero
        new_image.multiscales[0].coordinate_transformations = _stored_transforms(attributes)
        _add_image_without_arrays(new_image, attributes)
        return new_image

    def _load_shared(self, stored: StoredGroup) -> ImagesMeta:
        """Return the model as `_load` does, shared by all positions with an equal document; never change it."""
        version = self.store_handle.version
        if not self.document.is_settled:
            return self._load(stored.attributes)

        def load() -> tuple[ImagesMeta | None, bool]:
            meta = read_part(self.node_path, ImagesMeta, stored.attributes)
            return meta, meta is not None and bool(meta.multiscales) and _has_all_units(meta.multiscales[0])

        meta, has_all_units = stored.get_or_make((ImagesMeta, version.name), load)
        if has_all_units and meta is not None:
            return meta
        if self._default_axes is not None or (meta is not None and meta.multiscales):
            # An OME-XML file beside the image may have the missing units.
            return self._load(stored.attributes)
        key = (ImagesMeta, version.name, self._image_name(), tuple(self._default_channels or ()))
        return stored.get_or_make(key, lambda: self._load(stored.attributes))

    def _dump(self, meta: ImagesMeta, attributes: JSONObject, *, trusted: bool = False) -> JSONObject:
        """Return the attributes to store; see :func:`attributes_without_arrays` for a position without an array."""
        appending = self._appending
        if is_unfinished(attributes):
            attributes = without_replacing(self.node_path, attributes).attributes
            appending = appending or read_appending(attributes)
        version = self.node_path.store_handle.version_of(attributes)
        document = version.dump(meta, attributes, trusted=trusted)
        if appending is not None:
            is_named = appending.name in edits.channel_names(meta)
            document = with_appending(document, None if is_named else appending)
        if any(image.datasets for image in meta.multiscales):
            return without_own_records(document, _KEYS_WITHOUT_ARRAYS)
        return attributes_without_arrays(version, meta, document)

    def _is_settled(self, attributes: JSONObject) -> bool:
        """Whether the document alone defines the image: no channel is being appended, and no array replaced."""
        return not is_unfinished(attributes) or (
            read_appending(attributes) is None and read_replacing(attributes) is None
        )

    def _first_attributes(self) -> JSONObject:
        return self._dump(self._load({}), {})

    def _image_name(self) -> str:
        """Return the name of a new image (MS-08): the field's in a plate, else the store's."""
        if self.path:
            return self.name
        return self.documents.storage.title or "image"

    @property
    def channel_names(self) -> list[str]:
        """Names of the channels, in the order of the channel axis.

        Without channel metadata, the names in the OME-XML of bioformats2raw, with a warning, or else ``channel_0``,
        ``channel_1``, ...
        """
        image, stored_names, axis = self.document.cached_result(_image_and_channels)
        names = [*stored_names]
        if not names and axis is not None:
            names = list(self._default_channels or [])
        count = self._channel_count(image, axis, len(names))
        if names:
            return names if count in (None, len(names)) else edits.fitted_names(names, count or 0)
        if not count or axis is None:
            return []
        return names_from_xml(self.node_path, count) or edits.fitted_names([], count)

    def _channel_count(self, image: MultiScaleMeta, axis: int | None, name_count: int) -> int | None:
        """Return the number of channels of the finest level; None if it cannot be read."""
        if not image.datasets or self._has_channel_without_voxels:
            return None
        finest = image.datasets[0].path
        cached = None if self._levels_by_path is None else self._levels_by_path.get(finest)
        # Read the array again in a writable store, or if the cached one does not fit.
        if (
            cached is not None
            and not self.store_handle.writable
            and _channel_count_of(cached, image, axis) == name_count
        ):
            return name_count
        try:
            meta = self._array(finest).latest()
        except (
            NodeNotFoundError,
            MetadataError,
            InvalidNameError,
        ):  # the caller gets the error when it reads the array
            return None
        self._check_level(finest, image, meta)
        return _channel_count_of(meta, image, axis)

    def _array(self, path: str) -> StoredArray:
        """Return the array of a level, which caches its document."""
        path = self._level_node_path(path).path
        if self._last_array is None or self._last_array.path != path:
            self._last_array = StoredArray(self.documents, path)
        return self._last_array

    @property
    def axes(self) -> list[AxisMeta]:
        """Copies of the axes, in the order of the array dimensions. To change one, use :attr:`metadata`."""
        return [axis.copied() for axis in self.document.shared_model.multiscales[0].axes]

    @property
    def axis_names(self) -> list[str]:
        """Lower-case names of the axes."""
        return [axis.name.lower() for axis in self.document.shared_model.multiscales[0].axes]

    # -- members ----------------------------------------------------------------------------------------------

    @property
    def dataset_paths(self) -> list[str]:
        """Paths of the levels of the image, finest first, relative to the position."""
        # Each path once, also if the document lists it twice (LM-13).
        return list(dict.fromkeys(self.document.shared_model.multiscales[0].get_dataset_paths()))

    def _member_names(self) -> list[str]:
        """Return the levels, also nested ones, and the other arrays except unfinished levels."""
        levels = self.dataset_paths
        arrays = self.array_keys() if self.documents.storage.can_list else []
        unfinished = read_stale(self.document.last_attributes).unlisted
        return sorted({*levels, *(set(arrays) - set(unfinished))}, key=natural_order)

    def _ipython_key_completions_(self) -> list[str]:
        return [*self._member_names(), *(f"labels/{name}" for name in self.labels)]

    def __getitem__(self, key: int | str) -> ImageArray:
        """Return a member: an array, or the group or label image at a path.

        Raises NodeNotFoundError (a KeyError) if it does not exist.
        """
        name = self._checked_key(key)
        image = self.document.shared_model.multiscales[0]
        if name in image.get_dataset_paths():
            return self.open_level(name, image)
        return cast("ImageArray", super().__getitem__(name))

    def open_level(self, path: str, image: MultiScaleMeta | None = None) -> ImageArray:
        """Return a level by its path."""
        image = image or self.document.shared_model.multiscales[0]
        array = self._array_class(self._level_node_path(path), image.axes)
        try:
            meta = array.stored.meta  # reads the document, and raises for a missing level
        except NodeNotFoundError:
            member = self.node_path.child(path)
            explanation = content_without_document(self.documents, member.path, "array")
            raise NodeNotFoundError(
                f"The metadata of {self.node_path} lists the array {path!r}, but nothing is stored at {member}."
                if explanation is None
                else explanation
            ) from None
        self._last_array = array.stored
        self._check_level(path, image, meta)
        return array

    def _level_node_path(self, path: str) -> NodePath:
        """Return where a level is stored: at its path, or under a temporary name while it is being replaced."""
        temporary_names = None if self.document.is_settled else self._temporary_names
        return self.node_path.child((temporary_names or {}).get(path, path))

    def __setitem__(self, key: int | str, value: Any) -> None:
        """Write an up-to-5-D image with default settings."""
        self.create_image(self._checked_key(key), value)

    def __delitem__(self, key: int | str) -> None:
        """Delete a member, and update the metadata."""
        from lamella.nodes.new_levels import broken_labels

        name = self._key_to_delete(key)
        self.require_writable(f"delete {name!r}")
        if name.startswith("labels/") and name not in self.dataset_paths:
            del self.labels[name.partition("/")[2]]  # also updates the list of label images
            return
        if name.startswith("tables/") and name.partition("/")[2] in self.tables:
            del self.tables[name.partition("/")[2]]
            return
        member, storage = self.node_path.child(name), self.documents.storage
        if name not in self.dataset_paths and not self._can_delete(name):
            raise self.missing_error(name)
        storage.check_deletable(member.path)
        levels = self.dataset_paths
        is_pyramid = name in levels and len(levels) > 1 and self._kinds[-1] == "image"
        updates_labels = is_pyramid and broken_labels(self, len(levels)) is not None  # as many levels (LB-04)
        if name in levels:
            # Metadata first: a kill before the deletion leaves an unlisted array, not a listed array that is missing.
            self.document.edit(
                lambda meta: edits.remove_level(meta, name),
                edit_attributes=lambda old: with_stale(old, read_stale(old).with_unwritten(name, [])),
            )
        if storage.exists(member.path):
            self.documents.delete(member.path)
        if updates_labels:
            from lamella.ops.labels import match_levels

            match_levels(self)

    def _can_delete(self, name: str) -> bool:
        """Return whether a node, or what remains of a deleted one, is at this path; chunks of arrays do not count."""
        kind, names = self.documents.kind, name.split("/")
        above = (self.node_path.child("/".join(names[:depth])).path for depth in range(1, len(names)))
        path = self.node_path.child(name).path
        return kind(path) is not None or (
            self.documents.storage.exists(path) and not any(kind(folder) == "array" for folder in above)
        )

    def images(self) -> Iterator[tuple[str, ImageArray]]:
        """Iterate over the names and arrays of the position: levels and other arrays, in natural order.

        Examples
        --------
        >>> position.compute_pyramid(levels=2)
        >>> [(name, image.shape) for name, image in position.images()]
        [('0', (1, 2, 4, 8, 8)), ('1', (1, 2, 2, 4, 4))]
        """
        for name in self._member_names():
            yield name, self[name]

    @property
    def data(self) -> ImageArray:
        """The finest level of the image: the first dataset, whatever its name.

        Raises
        ------
        NodeNotFoundError
            If the position has no array (a KeyError).
        """
        image = self.document.shared_model.multiscales[0]
        if not image.datasets:
            raise NodeNotFoundError(
                f"{self.node_path} has no image yet. Make one with create_image or create_zeros."
            )
        return self.open_level(image.datasets[0].path, image)

    @property
    def ome_image(self) -> OMEImage | None:
        """The image's name, acquisition time, channels and sizes in the OME-XML of bioformats2raw; None without one.

        Raises
        ------
        MetadataError
            If the XML is damaged (a ValueError).
        """
        return described_image(self.node_path)

    @property
    def stage_position(self) -> dict[str, float] | None:
        """Position of the first voxel on the stage, by axis, in the units of the axes; None if `convert` found none.

        It stays as the microscope stated it, also if the translation was corrected later.

        Examples
        --------
        >>> position.stage_position is None
        True
        """
        stage = own_record(self.documents.group(self.path), STAGE)
        return {axis: float(value) for axis, value in stage.items()} if isinstance(stage, dict) else None

    @property
    def labels(self) -> Labels:
        """The label images of the position: a mapping of name to `LabelImage`."""
        from lamella.nodes.labels import Labels

        return Labels(self.node_path.child("labels"), False)

    @property
    def tables(self) -> Tables:
        """The tables of the position, such as measurements and regions: a mapping of name to pandas DataFrame."""
        from lamella.nodes.tables import Tables

        return Tables(self.node_path.child("tables"), False)

    def status(self) -> ImageStatus:
        """Find which regions of the image are written, never written, or damaged, by time and channel.

        Nothing is decoded. See :func:`lamella.status` for whole stores, and :func:`lamella.verify` for checking
        pixels.

        Examples
        --------
        >>> film = position.create_zeros("film", (3, 2, 1, 4, 4), "uint8")
        >>> print(position.status().state)
        written
        """
        from lamella.ops.integrity.status import position_status

        return position_status(self)

    def _summary(self) -> str:
        paths = self.dataset_paths
        if not paths:
            return ", no image yet"
        array = self.open_level(paths[0])
        levels = f", {len(paths)} levels{' (stale)' * self.stale_levels}" if len(paths) > 1 else ""
        return f", {''.join(self.axis_names)} {array.shape} {array.dtype}{levels}"


def _image_and_channels(meta: ImagesMeta) -> tuple[MultiScaleMeta, list[str], int | None]:
    """Return the image, its stored channel names and the index of its channel axis."""
    image = meta.multiscales[0]
    return image, edits.channel_names(meta), channel_axis(image.axes)


def _channel_count_of(meta: ArrayMeta, image: MultiScaleMeta, axis: int | None) -> int | None:
    """Return the number of channels of an array; None if its axes do not fit."""
    if axis is None:
        return 1
    axis -= len(image.axes) - len(meta.shape)
    return meta.shape[axis] if 0 <= axis < len(meta.shape) else None


def _has_all_units(image: MultiScaleMeta) -> bool:
    """Whether the document has all units; otherwise an OME-XML file beside the image may have them."""
    return all(axis.unit is not None or axis.type == "channel" for axis in image.axes)


_TRANSFORMS = "coordinateTransformations"
_KEYS_WITHOUT_ARRAYS = ("axes", _TRANSFORMS, "image")
"""Keys under lamella's own attribute that a position without arrays stores for its first array."""


def attributes_without_arrays(version: Any, meta: ImagesMeta, document: JSONObject) -> JSONObject:
    """Return the attributes of a position that has no array yet.

    The specification demands an array for each image (MS-03), so ``multiscales`` is written with the first array. Until
    then the channels are in the omero block; axes, transformations, name and custom attributes of the image are under
    lamella's own key, so that another process can create the first array.
    """
    ome = version.ome(document)
    ome.pop("multiscales", None)
    document = version.with_ome(document, ome)
    image = _image_without_arrays(document)
    document = without_own_records(document, _KEYS_WITHOUT_ARRAYS)
    pending: JSONObject = {}
    if image is not None:
        pending["image"] = {**image, "name": meta.multiscales[0].name} if meta.multiscales else image
    if meta.multiscales:
        axes, transforms = meta.multiscales[0].axes, meta.multiscales[0].coordinate_transformations
        if axes:
            pending["axes"] = [axis.to_json() for axis in axes]
        if transforms:
            pending[_TRANSFORMS] = [transform.to_json() for transform in transforms]
    if pending:
        document = {**document, "lamella": {**(document.get("lamella") or {}), **pending}}
    return document


def has_no_arrays_yet(attributes: JSONObject) -> bool:
    """Return whether attributes are those of a position that has no array yet."""
    return _stored_axes(attributes) is not None


def _stored_axes(attributes: JSONObject) -> list[AxisMeta] | None:
    axes = own_record(attributes, "axes")
    return axes_from_json(axes) if axes else None


def _image_without_arrays(attributes: JSONObject) -> JSONObject | None:
    image = own_record(attributes, "image")
    return image if isinstance(image, dict) else None


def _add_image_without_arrays(meta: ImagesMeta, attributes: JSONObject) -> None:
    """Add the stored name and custom attributes of an image to a model without levels."""
    image = _image_without_arrays(attributes)
    if image is None:
        return
    stored_image = MultiScaleMeta.from_json({"axes": [], "datasets": [], **image})
    new_image = meta.multiscales[0]
    stored_image.axes = new_image.axes
    stored_image.coordinate_transformations = new_image.coordinate_transformations
    stored_image.name = stored_image.name or new_image.name
    meta.multiscales[0] = stored_image


def _stored_transforms(attributes: JSONObject) -> list[TransformationMeta] | None:
    transforms = own_record(attributes, _TRANSFORMS)
    return (
        [TransformationMeta.from_json(transform) for transform in transforms]
        if isinstance(transforms, list)
        else None
    )
