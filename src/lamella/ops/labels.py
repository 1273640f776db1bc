"""Creating, renaming and deleting label images, with the list that names them.

Layer: ops.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, NodeExistsError, NodeNotFoundError
from lamella.nodes.labels import LabelImage, Labels
from lamella.nodes.position import Position
from lamella.ops.copy import Source, as_source, write_array
from lamella.ops.pyramid import recompute_levels
from lamella.spec import edits
from lamella.spec.axes import channel_axis, space_axes
from lamella.spec.labels import ImageLabelMeta, LabelColorMeta, LabelsMeta
from lamella.spec.transforms import TransformationMeta
from lamella.store.documents import new_array

if TYPE_CHECKING:
    from lamella.nodes.image_array import ImageArray
    from lamella.spec.images import ImagesMeta
    from lamella.types import JSONObject


def create_label(
    labels: Labels,
    name: str,
    data: Any,
    colors: Mapping[int, Sequence[int]] | None,
    properties: Mapping[int, Mapping[str, Any]] | Iterable[Mapping[str, Any]] | None,
) -> LabelImage:
    """Create a label image; see :meth:`Labels.create`."""
    if "/" in name:
        raise InvalidArgumentError(f"A label image has a plain name, not the path {name!r}.")
    position = Position(labels._place.parent)
    levels = [position._level(path) for path in position.dataset_paths]
    if not levels:
        raise InvalidArgumentError(f"{position._place} holds no image yet that {name!r} could label.")
    source = _integers(as_source(data), name)
    kept = _kept_axes(position, levels[0], source, name)
    meta = ImageLabelMeta(
        colors=color_entries(colors), properties=property_rows(properties), source={"image": "../../"}
    )
    documents, place = labels._documents, labels._place.child(name)
    if name in labels._listed() or documents.kind(place.path) is not None:
        raise NodeExistsError(f"{position._place} has labels {name!r} already. Delete them first.")
    for path, level in zip(position.dataset_paths, levels, strict=True):
        documents.put_array(place.child(path).path, _level_like(level, source, kept, position))
    _put_image_document(position, place.path, name, kept, meta)
    _edit_list(labels, lambda names: [*names, name])
    image = labels._open_listed(LabelImage, name)
    write_array(image.data, source)
    recompute_levels(image, "mode")
    return image


def _integers(source: Source, name: str) -> Source:
    """Take booleans as 0 and 1; refuse what is no integer (LB-05)."""
    if source.dtype.kind == "b":
        return Source(source.data.astype("uint8"), source.in_memory)
    if source.dtype.kind not in "iu":
        raise InvalidArgumentError(f"The labels {name!r} have to be integers (LB-05); got {source.dtype}.")
    return source


def _kept_axes(position: Position, finest: ImageArray, source: Source, name: str) -> tuple[int, ...]:
    """Return which axes of the image the labels have: all but the channel's, or space alone."""
    axes = position.axes
    channel = channel_axis(axes)
    choices = [tuple(i for i in range(len(axes)) if i != channel), space_axes(axes)]
    for kept in choices:
        if source.shape == tuple(finest.shape[i] for i in kept):
            return kept
    shapes = " or ".join(str(tuple(finest.shape[i] for i in kept)) for kept in dict.fromkeys(choices))
    raise InvalidArgumentError(
        f"The labels {name!r} of shape {source.shape} do not fit the image {position._place} of shape {finest.shape}: "
        f"they need the shape {shapes}."
    )


def _level_like(level: ImageArray, source: Source, kept: tuple[int, ...], position: Position) -> Any:
    def pick(lengths: Sequence[int]) -> tuple[int, ...]:
        return tuple(lengths[i] for i in kept)

    return new_array(
        pick(level.shape),
        source.dtype,
        zarr_format=position._session.version.zarr_format,
        chunks=pick(level.chunks),
        shards=None if level.shards is None else pick(level.shards),
        dimension_names=[position.axes[i].name for i in kept],
    )


def _put_image_document(
    position: Position, path: str, name: str, kept: tuple[int, ...], label: ImageLabelMeta
) -> None:
    version = position._session.version
    image = position.metadata.multiscales[0]
    meta = edits.new_images([image.axes[i] for i in kept], [], name=name)
    meta.omero = None
    new = [(dataset.path, _picked(dataset.coordinate_transformations, kept)) for dataset in image.datasets]
    meta = _with_datasets(meta, new)
    if image.coordinate_transformations:
        meta = edits.set_transform(meta, "*", _picked(image.coordinate_transformations, kept))
    position._documents.put_group(path, version.dump(label, version.dump(meta, {})))


def _picked(transforms: Sequence[TransformationMeta], kept: tuple[int, ...]) -> list[TransformationMeta]:
    """Return transforms for some of the axes."""
    picked = []
    for transform in transforms:
        values = transform.scale if transform.type == "scale" else transform.translation
        if values is not None:
            picked.append(
                TransformationMeta(**{"type": transform.type, transform.type: [values[i] for i in kept]})
            )
    return picked


def match_levels(position: Position) -> None:
    """Give each label image of a position the levels of its image, computed with "mode" (LB-04).

    Parameters
    ----------
    position
        An image whose number of levels may have changed.
    """
    paths = position.dataset_paths
    levels = [position._level(path) for path in paths]
    for image in position.labels.values():
        own = image.dataset_paths
        if len(own) == len(paths) or not own:
            continue
        kept = _matched_axes(position, image)
        for path in reversed(own[1:]):
            del image[path]
        source = as_source(image.data)
        for path, level in list(zip(paths, levels, strict=True))[1:]:
            image._documents.put_array(
                image._place.child(path).path, _level_like(level, source, kept, position)
            )
        datasets = position.metadata.multiscales[0].datasets[1:]
        new = [(dataset.path, _picked(dataset.coordinate_transformations, kept)) for dataset in datasets]
        image._live.edit(functools.partial(_with_datasets, new=new))
        recompute_levels(image, "mode")


def _with_datasets(meta: ImagesMeta, new: list[tuple[str, list[TransformationMeta]]]) -> ImagesMeta:
    for path, transforms in new:
        meta = edits.add_dataset(meta, path, transforms)
    return meta


def _matched_axes(position: Position, image: LabelImage) -> tuple[int, ...]:
    names = position.axis_names
    return tuple(names.index(name) for name in image.axis_names if name in names)


def _edit_list(labels: Labels, change: Any) -> None:
    """Change the list of names in the labels group (LB-01); the group is made when there is none."""
    version, documents = labels._session.version, labels._documents
    if documents.kind(labels.path) is None:
        documents.put_group(labels.path, version.dump(LabelsMeta(labels=[]), {}))

    def edit(attributes: JSONObject) -> JSONObject:
        meta = version.load(LabelsMeta, attributes) or LabelsMeta(labels=[])
        return version.dump(
            meta.model_copy(update={"labels": list(dict.fromkeys(change(meta.labels)))}), attributes
        )

    documents.edit_group(labels.path, edit)


def delete_label(labels: Labels, name: str) -> None:
    """Delete a label image; see :meth:`Labels.__delitem__`."""
    if name not in labels._listed():
        raise labels._missing(name)
    _edit_list(labels, lambda names: [known for known in names if known != name])
    path = labels._place.child(name).path
    if labels._documents.storage.exists(path):
        labels._documents.delete(path)


def rename_label(labels: Labels, old: str, new: str) -> None:
    """Rename a label image; see :meth:`Labels.rename`."""
    if "/" in new:
        raise InvalidArgumentError(f"A label image has a plain name, not the path {new!r}.")
    listed = labels._listed()
    documents = labels._documents
    source, target = labels._place.child(old).path, labels._place.child(new).path
    if old not in listed or not documents.storage.exists(source):
        raise NodeNotFoundError(
            f"{labels._place} has no labels {old!r} to rename. They are: {', '.join(listed) or 'none'}."
        )
    if old == new:
        return
    if new in listed or documents.storage.exists(target):
        raise NodeExistsError(
            f"Cannot rename the labels {old!r} to {new!r}: {labels._place} has {new!r} already."
        )
    documents.move(source, target)
    _edit_list(labels, lambda names: [new if known == old else known for known in names])
    image = labels._open_listed(LabelImage, new)
    if image.metadata.multiscales[0].name == old:
        image.metadata.multiscales[0].name = new
        image.dump_meta()


def color_entries(colors: Mapping[int, Sequence[int]] | None) -> list[LabelColorMeta] | None:
    """Return the stored form of label colours (LB-08 to LB-11).

    >>> color_entries({1: (255, 0, 0)})[0].rgba
    [255, 0, 0, 255]
    """
    if not colors:
        return None
    entries = []
    for label, rgba in colors.items():
        values = [_integer(value, f"The colour {tuple(rgba)} of label {label}") for value in rgba]
        if len(values) not in (3, 4) or not all(0 <= value <= 255 for value in values):
            raise InvalidArgumentError(
                f"The colour of label {label} is red, green, blue and maybe opacity, integers from 0 to 255 (LB-10); "
                f"got {tuple(rgba)}."
            )
        entries.append(LabelColorMeta(label_value=_integer(label, "A label"), rgba=[*values, 255][:4]))
    return entries


def property_rows(
    properties: Mapping[int, Mapping[str, Any]] | Iterable[Mapping[str, Any]] | None,
) -> list[dict[str, Any]] | None:
    """Return the stored form of label properties (LB-12).

    >>> property_rows({1: {"area": 12.5}})
    [{'label-value': 1, 'area': 12.5}]
    """
    if properties is None:
        return None
    if isinstance(properties, Mapping):
        rows = [{"label-value": label, **values} for label, values in properties.items()]
    else:
        rows = [dict(row) for row in properties]
    if any("label-value" not in row for row in rows):
        raise InvalidArgumentError("Each row of label properties holds the key 'label-value' (LB-12).")
    return [{**row, "label-value": _integer(row["label-value"], "A label")} for row in rows] or None


def _integer(value: Any, what: str) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise InvalidArgumentError(f"{what} has to be an integer; got {value!r}.") from None
