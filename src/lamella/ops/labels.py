"""Create, rename and delete label images, together with the list of names in the labels group."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.arguments import check_flags, items_of
from lamella.errors import (
    InvalidArgumentError,
    LamellaError,
    MetadataError,
    NodeExistsError,
    NodeNotFoundError,
    StorageError,
    clause,
    counted,
    warn,
)
from lamella.nodes.array_request import data_type
from lamella.nodes.image_array import ImageArray
from lamella.nodes.labels import LabelImage, Labels
from lamella.nodes.position import Position
from lamella.nodes.tables import Tables
from lamella.ops.array_writes import Source, as_source, write_array
from lamella.ops.execution import THREADS, Workers
from lamella.ops.label_levels import check_levels, create_levels, fill_levels, size_ratios
from lamella.ops.pyramids.downsample import downsampled_shape
from lamella.ops.pyramids.plan import planned_arrays
from lamella.ops.pyramids.pyramid import delete_pyramid
from lamella.ops.renaming import finish_locked_rename, move_member, update_after_move
from lamella.ops.tables.write import rename_region
from lamella.spec import edits, geometry
from lamella.spec.axes import axis_kind, channel_axis, space_axes
from lamella.spec.images import TransformationMeta
from lamella.spec.labels import ImageLabelMeta, LabelColorMeta, LabelsMeta
from lamella.spec.own_key import (
    Renaming,
    read_creating,
    read_renaming_record,
    with_creating,
    with_renaming_record,
)
from lamella.store.files.temporary_files import abandoned_on_errors, is_abandoned, temporary_name
from lamella.store.keys import check_plain_name
from lamella.store.metadata.array_creation import LARGEST_CHUNK, array_like, default_chunks, new_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

    from lamella.nodes.renaming import Change
    from lamella.spec.axes import AxisMeta
    from lamella.spec.images import ImagesMeta
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import JSONObject, Shape


_COMPRESSOR = "zstd"
"""Bitshuffle would break up the long runs of one id: files 2.5 times as large, and half the speed (docs/codecs.md)."""

_PROPERTIES = "The argument properties maps labels to rows, such as {1: {'area': 12.5}}, or is a list of rows"


def create_label(
    labels: Labels,
    name: str,
    data: Any,
    dtype: DTypeLike | None,
    colors: Mapping[int, Sequence[int]] | None,
    properties: Mapping[int, Mapping[str, Any]] | Iterable[Mapping[str, Any]] | None,
    overwrite: bool = False,
) -> LabelImage:
    """Create or replace a label image; see :meth:`Labels.create`.

    Until it is complete, a record in its document hides it. One that replaces another has a temporary name until then.
    """
    check_plain_name(name, "A label image")
    check_flags(overwrite=overwrite)
    position = Position(labels.node_path.parent)
    levels = [position.open_level(path) for path in position.dataset_paths]
    if not levels:
        raise InvalidArgumentError(f"{position.node_path} has no image yet that {name!r} could label.")
    check_levels(name, levels)
    if data is not None and dtype is not None:
        raise InvalidArgumentError(
            f"dtype={dtype!r} is for a label image without data: convert the data of {name!r} instead, by astype."
        )
    source = _integers(_zeros(position, dtype) if data is None else as_source(data), name)
    axes, missing_axes = _label_axes(position, levels[0], source, name)
    source = dataclasses.replace(source, new_axes=missing_axes)
    meta = ImageLabelMeta(
        colors=color_entries(colors), properties=property_rows(properties), source={"image": "../../"}
    )
    documents, node_path = labels.documents, labels.node_path.child(name)
    attributes = _image_attributes(position, name, axes, meta)
    arrays = {
        path: _level_like(level, source, axes, position)
        for path, level in zip(position.dataset_paths, levels, strict=True)
    }
    token = "" if documents.storage.locks_processes else temporary_name(".tmp")
    # Under this lock, a label image of this name that is not complete is that of a killed call.
    with documents.storage.lock(node_path.path), abandoned_on_errors(token):
        replaces = overwrite and documents.storage.locks_processes and name in labels._all_names()
        new_name = temporary_name(".tmp") if replaces else name
        new_path = labels.node_path.child(new_name)
        is_first = _create_hidden(labels, new_name, with_creating(attributes, token))
        try:
            documents.put_arrays(
                {new_path.child(path).path: array for path, array in arrays.items()}, is_new=True
            )
            image = LabelImage(new_path)
            if data is not None:
                write_array(ImageArray(image.data.node_path), source)  # colours of the caller stay unchanged
                fill_levels(image)
            if replaces:
                _replace_label(labels, name, new_name)
        except BaseException:
            with suppress(LamellaError):  # the first error is the one to raise
                _remove_unfinished(labels, new_name, is_first=is_first)
            raise
        if not replaces:
            _publish(labels, name, token)
    return LabelImage(node_path) if replaces else image


def _remove_unfinished(labels: Labels, name: str, *, is_first: bool) -> None:
    """Delete a label image whose creation failed, and the group of label images if this call created it."""
    documents = labels.documents
    documents.storage.delete(labels.node_path.child(name).path)
    if is_first and documents.storage.locks_processes:
        with documents.lock(labels.node_path.parent.path):
            _edit_list(labels, lambda names: names)
            if _is_empty(labels):
                documents.delete(labels.path)


def _create_hidden(labels: Labels, name: str, attributes: JSONObject) -> bool:
    """Create the hidden group of a label image, also over that of a killed call; return whether it is the first."""
    documents, path = labels.documents, labels.node_path.child(name).path
    with documents.lock(labels.node_path.parent.path):
        finish_locked_rename(labels)
        if name in labels._all_names():
            if name not in labels._listed_names():  # killed before the last step of its creation
                _edit_list(labels, lambda names: names)
            raise NodeExistsError(
                f"{labels.node_path.parent} has labels {name!r} already. `position.labels[{name!r}] = data` replaces "
                f"labels in a local folder; elsewhere delete them first: del position.labels[{name!r}]."
            )
        if documents.storage.exists(path) and not documents.has_begun_group(path):
            token = read_creating(documents.group(path)) if documents.kind(path) == "group" else None
            if token is None or not (documents.storage.locks_processes or is_abandoned(token)):
                raise _occupied(labels, name)
            documents.delete(path)
        empty = labels.store_handle.version.dump(LabelsMeta(labels=[]), {})  # without a list it is not valid
        # Before its members, by a write of its own: documents that are written together may arrive in any order.
        is_first = documents.put_missing_group(labels.path, empty)
        if path in documents.put_new({path: {"": attributes}}):
            raise _occupied(labels, name)
    return is_first


def _occupied(labels: Labels, name: str) -> NodeExistsError:
    return NodeExistsError(
        f"There is something at {labels.node_path.child(name)} already, which {labels.node_path} does not list: what "
        f"a killed call left, or what another program creates now. If none runs, del labels[{name!r}] deletes it."
    )


def _publish(labels: Labels, name: str, token: str) -> None:
    """Show a complete label image, and list its name."""
    documents = labels.documents

    def without_creating_record(attributes: JSONObject) -> JSONObject:
        if read_creating(attributes) != token:
            raise NodeExistsError(
                f"The labels {name!r} of {labels.node_path.parent} were deleted and created again by another program "
                "while they were written."
            )
        return with_creating(attributes, None)

    documents.edit_group(labels.node_path.child(name).path, without_creating_record)
    with documents.lock(labels.node_path.parent.path):
        _edit_list(labels, lambda names: [*names, name])


def _replace_label(labels: Labels, name: str, new_name: str) -> None:
    """Exchange a label image and a complete new one, and delete the old one."""
    documents, new_path = labels.documents, labels.node_path.child(new_name).path
    documents.edit_group(new_path, lambda attributes: with_creating(attributes, None))
    with documents.lock(labels.node_path.parent.path):
        finish_locked_rename(labels)
        documents.storage.sweep(labels.path)  # left by killed replacements
        documents.replace(labels.node_path.child(name).path, new_path)
        _edit_list(labels, lambda names: [*names, name])


def _integers(source: Source, name: str) -> Source:
    """Return booleans as 0 and 1; raise for anything that is not an integer (LB-05)."""
    if source.dtype.kind == "b":
        return source.cast("uint8")
    if source.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"The labels {name!r} have to be integers (LB-05), not {source.dtype}: convert them."
        )
    return source


def _zeros(position: Position, dtype: DTypeLike | None) -> Source:
    """Return zeros of the shape of an image without its channels, which take no memory."""
    channel = channel_axis(position.axes)
    shape = [length for axis, length in enumerate(position.data.shape) if axis != channel]
    return as_source(np.broadcast_to(np.zeros((), data_type("uint32" if dtype is None else dtype)), shape))


def _label_axes(
    position: Position, finest: ImageArray, source: Source, name: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of the image that its labels have, and which of them the data lack, as their length is 1.

    Labels have only the axes of space, or all but the channel.
    """
    axes = position.axes
    if len(axes) != finest.ndim:
        raise MetadataError(
            f"Cannot make the labels {name!r}: the metadata of {position.node_path} list {len(axes)} axes, and its "
            f"array has shape {finest.shape}. lamella.validate() lists all that is wrong."
        )
    channel = channel_axis(axes)
    allowed_axes = [space_axes(axes), tuple(axis for axis in range(len(axes)) if axis != channel)]
    shapes = [tuple(finest.shape[axis] for axis in label_axes) for label_axes in allowed_axes]
    for label_axes, shape in zip(allowed_axes, shapes, strict=True):
        singles = [axis for axis, length in enumerate(shape) if length == 1]
        for missing_axes in combinations(singles, max(0, len(shape) - len(source.shape))):
            if dataclasses.replace(source, new_axes=missing_axes).shape == shape:
                return label_axes, missing_axes
    raise InvalidArgumentError(
        f"The labels {name!r} of shape {source.shape} do not fit the image {position.node_path} of shape "
        f"{finest.shape}: they need the shape {' or '.join(map(str, dict.fromkeys(shapes)))}, where axes of length 1 "
        "may be left out."
    )


def _level_like(level: ImageArray, source: Source, axes: tuple[int, ...], position: Position) -> ArrayMeta:
    def pick(lengths: Sequence[int]) -> Shape:
        return tuple(lengths[axis] for axis in axes)

    chunks, shards = pick(level.chunks), None if level.shards is None else pick(level.shards)
    if shards is None and prod(chunks) * source.dtype.itemsize > LARGEST_CHUNK:
        # The image's voxels may be smaller, and blosc's limit is 2 GiB.
        chunks = tuple(map(min, chunks, default_chunks(chunks, source.dtype.itemsize)))
    return new_array(
        pick(level.shape),
        source.dtype,
        zarr_format=position.store_handle.version.zarr_format,
        chunks=chunks,
        shards=shards,
        compressor=_COMPRESSOR,
        dimension_names=[position.axes[axis].name for axis in axes],
    )


def _image_attributes(
    position: Position, name: str, axes: tuple[int, ...], label: ImageLabelMeta
) -> JSONObject:
    version = position.store_handle.version
    image = position.document.shared_model.multiscales[0]
    meta = edits.new_images([_with_type(image.axes[axis]) for axis in axes], [], name=name)
    meta.omero = None
    for dataset in image.datasets:
        transforms = _transforms_along(position, dataset.coordinate_transformations, axes)
        meta = edits.add_datasets(meta, {dataset.path: transforms})
    if image.coordinate_transformations:
        transforms = _transforms_along(position, image.coordinate_transformations, axes)
        meta.multiscales[0].coordinate_transformations = geometry.normalize_transforms(transforms, len(axes))
    return version.dump(label, version.dump(meta, {}))


def _with_type(axis: AxisMeta) -> AxisMeta:
    """Return an axis with the type that its name implies, if the image has none: new documents follow AX-07."""
    kind = axis_kind(axis)
    return axis if axis.type or kind is None else axis.model_copy(update={"type": kind})


def _transforms_along(
    position: Position, transforms: Sequence[TransformationMeta], axes: tuple[int, ...]
) -> list[TransformationMeta]:
    transforms_of_labels = []
    for transform in transforms:
        numbers = transform.scale if transform.type == "scale" else transform.translation
        if numbers is not None:
            if len(numbers) <= max(axes, default=0):
                raise MetadataError(
                    f"Cannot make labels: a {transform.type} of {position.node_path} has "
                    f"{counted(len(numbers), 'number')}, too few for its axes. Set others with set_transform()."
                )
            transforms_of_labels.append(
                TransformationMeta(
                    **{"type": transform.type, transform.type: [numbers[axis] for axis in axes]}
                )
            )
    return transforms_of_labels


def match_levels(position: Position, workers: Workers = THREADS) -> None:
    """Create in each label image the levels that its image has (LB-04); warn of damaged label images."""
    labels = position.labels
    for name in labels:
        try:
            _match_label(position, labels[name], workers)
        except StorageError:  # the same call can succeed later
            raise
        except LamellaError as error:
            warn(
                f"The label image {name!r} of {position.node_path} did not get the levels of its image: "
                f"{clause(error)}."
            )


def _match_label(position: Position, image: LabelImage, workers: Workers) -> None:
    """Compute the levels of one label image again, with the factors of the image's levels."""
    paths = position.dataset_paths
    if not image.dataset_paths or len(image.dataset_paths) == len(paths):
        return
    base, names = image.data, position.axis_names
    check_levels(image.name, [position.open_level(path) for path in paths])
    (finest, *levels), _ = planned_arrays(position)
    transforms = image.document.shared_model.multiscales[0].datasets[0].coordinate_transformations or []
    plan: list[tuple[str, ArrayMeta, list[TransformationMeta]]] = []
    for path, level in zip(paths[1:], levels, strict=True):
        ratios = size_ratios(position.scale, position.get_effective_scale(path))
        finest_shape, level_shape = finest.meta.shape, level.meta.shape
        whole_factors = geometry.level_factors(finest_shape, level_shape, ratios)
        factors_of_image = whole_factors or geometry.steps_between(finest_shape, level_shape, ratios)
        factors = [
            factors_of_image[names.index(axis)] if axis in names and length > 1 else 1
            for axis, length in zip(image.axis_names, base.shape, strict=True)
        ]
        if whole_factors:
            shape = downsampled_shape(base.shape, [int(factor) for factor in factors])
        else:  # in proportion to the image's level
            level_lengths = dict(zip(names, level_shape, strict=True))
            finest_lengths = dict(zip(names, finest_shape, strict=True))
            shape = tuple(
                max(1, length * level_lengths[axis] // finest_lengths[axis]) if axis in names else length
                for axis, length in zip(image.axis_names, base.shape, strict=True)
            )
        meta = array_like(
            base.meta,
            zarr_format=base.meta.zarr_format,
            shape=shape,
            dimension_names=[axis.name for axis in image.axes],
        )
        plan.append((path, meta, geometry.level_transforms(transforms, factors, "mode")))
    if len(image.dataset_paths) > 1:
        delete_pyramid(image)

    def add(meta: ImagesMeta) -> ImagesMeta:
        listed = meta.multiscales[0].get_dataset_paths()
        return edits.add_datasets(
            meta, {path: transform for path, _, transform in plan if path not in listed}
        )

    if plan:
        create_levels(image, {path: meta for path, meta, _ in plan}, add, workers)


def _edit_list(
    labels: Labels,
    change: Callable[[list[str]], list[str]],
    beside: Callable[[JSONObject], JSONObject] = dict,
) -> None:
    """Change the list of label names (LB-01), to which unlisted images are added, and attributes by ``beside``."""
    _put_group(labels)

    def edit(attributes: JSONObject) -> JSONObject:
        version = labels.store_handle.version_of(attributes)
        meta = version.load(LabelsMeta, attributes) or LabelsMeta(labels=[])
        names = list(dict.fromkeys(change(labels._all_names(confirm_missing=True))))
        return beside(version.dump(meta.model_copy(update={"labels": names}), attributes))

    labels.documents.edit_group(labels.path, edit)


def _put_group(labels: Labels) -> None:
    """Create the group of labels, which some programs leave out."""
    labels.documents.put_missing_group(labels.path, labels.store_handle.version.with_ome({}, {}))


def _is_empty(labels: Labels) -> bool:
    """Return whether the group of labels lists nothing, and has no other attributes and no members."""
    documents = labels.documents
    if documents.kind(labels.path) != "group":
        return False
    attributes = documents.group(labels.path)
    version = labels.store_handle.version_of(attributes)
    if attributes not in (version.with_ome({}, {}), version.dump(LabelsMeta(labels=[]), {})):
        return False
    return all(name in documents.files.document_names for name in documents.storage.list(labels.path))


def delete_label(labels: Labels, name: str) -> None:
    """Delete a label image, or a node below one; see :meth:`Labels.__delitem__`."""
    label, _, below = name.partition("/")
    if below and label in labels._all_names():
        del labels[label][below]
        return
    documents, path = labels.documents, labels.node_path.child(label).path
    with documents.lock(labels.node_path.parent.path):
        finish_locked_rename(labels)
        for folder in (labels.path, labels.node_path.parent.path):
            documents.storage.sweep(folder)  # left by a killed deletion
        # A killed creation or deletion leaves an unlisted folder, which would block a new image of the name.
        exists = not below and (label in labels._all_names() or documents.storage.exists(path))
        if exists:
            documents.storage.check_deletable(path)
            _edit_list(labels, lambda names: [listed for listed in names if listed != name])
            if documents.storage.exists(path):
                documents.delete(path)
        if _is_empty(labels):  # also where a deletion was killed before this step
            documents.delete(labels.path)
        if not exists:
            raise labels.missing_error(name)


def rename_label(labels: Labels, old: str, new: str) -> None:
    """Rename a label image; see :meth:`Labels.rename`. The same call finishes a killed rename."""
    check_plain_name(new, "A label image")
    with labels.documents.lock(labels.node_path.parent.path):
        if finish_locked_rename(labels, (old, new)) != (old, new):
            _rename_alone(labels, Renaming(old, new))


def _rename_alone(labels: Labels, renaming: Renaming) -> None:
    """Rename a label image, under the lock of the position's members."""
    old, new = renaming
    listed, documents = labels._all_names(), labels.documents
    source_exists, target_exists = (
        documents.storage.exists(labels.node_path.child(name).path) for name in renaming
    )
    if old in listed and not source_exists and target_exists and new not in labels._listed_names():
        update_after_move(labels, renaming)  # another program has moved the folder
        return
    if old not in listed or not source_exists:
        raise NodeNotFoundError(
            f"{labels.node_path} has no labels {old!r} to rename. They are: {', '.join(listed) or 'none'}."
        )
    if old == new:
        return
    if new in listed or target_exists:
        raise NodeExistsError(
            f"Cannot rename the labels {old!r} to {new!r}: {labels.node_path} has {new!r} already."
        )
    _put_group(labels)
    move_member(labels, renaming)


def update_moved_label(labels: Labels, renaming: Renaming) -> None:
    """Update the metadata after the move of a label image: its own, and those of tables."""
    old, new = renaming
    LabelImage(labels.node_path.child(new)).document.edit(functools.partial(_renamed, old=old, new=new))
    rename_region(Tables(labels.node_path.parent.child("tables"), False), old, new)


def change_record(labels: Labels, change: Change, rename_in_list: Renaming | None) -> None:
    """Change the record of a rename, and list a new name; see `Labels._change_record`."""

    def with_changed_record(attributes: JSONObject) -> JSONObject:
        return with_renaming_record(attributes, change(read_renaming_record(attributes)))

    if rename_in_list is None:
        labels.documents.edit_group(labels.path, with_changed_record)
    else:
        old, new = rename_in_list
        _edit_list(
            labels, lambda names: [new if name == old else name for name in names], with_changed_record
        )


def _renamed(meta: ImagesMeta, old: str, new: str) -> ImagesMeta:
    if meta.multiscales[0].name == old:
        meta = meta.checked()
        meta.multiscales[0].name = new
    return meta


def color_entries(colors: Mapping[int, Sequence[int]] | None) -> list[LabelColorMeta] | None:
    """Return the stored form of label colours (LB-08 to LB-11)."""
    if colors is not None and not isinstance(colors, Mapping):
        raise InvalidArgumentError(
            f"colors={colors!r} does not map labels to colours, such as {{1: (255, 0, 0)}}."
        )
    if not colors:
        return None
    entries = []
    for label, color in colors.items():
        rgba = items_of(color, f"The colour of label {label} is red, green, blue and maybe opacity")
        components = [_integer(component, f"The colour {tuple(rgba)} of label {label}") for component in rgba]
        if len(components) not in (3, 4) or not all(0 <= component <= 255 for component in components):
            raise InvalidArgumentError(
                f"The colour of label {label} is red, green, blue and maybe opacity, integers from 0 to 255 (LB-10); "
                f"got {tuple(rgba)}."
            )
        entries.append(LabelColorMeta(label_value=_integer(label, "A label"), rgba=[*components, 255][:4]))
    return entries


def property_rows(
    properties: Mapping[int, Mapping[str, Any]] | Iterable[Mapping[str, Any]] | None,
) -> list[dict[str, Any]] | None:
    """Return the stored form of label properties (LB-12)."""
    if properties is None:
        return None
    if isinstance(properties, Mapping):
        rows = [{"label-value": label, **_row(columns)} for label, columns in properties.items()]
        if contradicting := [
            label for label, row in zip(properties, rows, strict=True) if row["label-value"] != label
        ]:
            raise InvalidArgumentError(
                f"The properties of label {contradicting[0]!r} have another 'label-value': leave this key out (LB-12)."
            )
    else:
        rows = [dict(_row(row)) for row in items_of(properties, _PROPERTIES)]
    if any("label-value" not in row for row in rows):
        raise InvalidArgumentError("Each row of label properties has the key 'label-value' (LB-12).")
    stored_rows = [
        {
            **{str(key): _plain(value) for key, value in row.items()},
            "label-value": _integer(row["label-value"], "A label"),
        }
        for row in rows
    ]
    counts = Counter(row["label-value"] for row in stored_rows)
    repeated = sorted(value for value, count in counts.items() if count > 1)
    if repeated:
        raise InvalidArgumentError(f"Each label has one row of properties (LB-12); listed twice: {repeated}.")
    return stored_rows or None


def _row(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise InvalidArgumentError(
            f"A row of properties maps names to values, such as {{'area': 12.5}}, not {row!r}."
        )
    return row


def _plain(value: Any) -> Any:
    """Return a value as JSON; numpy's numbers and arrays become Python's."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"A property of a label has to fit into JSON; got {value!r}: {clause(error)}."
        ) from error
    return value


def _integer(value: Any, subject: str) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise InvalidArgumentError(f"{subject} has to be an integer; got {value!r}.") from None
