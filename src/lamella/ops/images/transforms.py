"""Change scales and translations of an image, and those of its label images, which show the same objects.

If the voxels of an image change from 1 to 3 and its first voxel moves from 0 to 100, a label image whose voxels are 2
wide and whose first voxel is at 0.5 gets voxels of 6, the first one at 101.5.
"""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from lamella.errors import (
    DamagedDataError,
    LamellaError,
    MetadataError,
    MetadataWarning,
    NodeNotFoundError,
    StorageError,
    clause,
    warn,
)
from lamella.ops.tables.outdated_tables import warning_of_moved_rois
from lamella.spec import edits
from lamella.spec.geometry import WHOLE, effective_scale, effective_translation, has_finite_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.nodes.position import Position
    from lamella.spec.images import ImagesMeta


T = TypeVar("T")


class _Axis(NamedTuple):
    """Voxel size (or factor of the whole image) and location of the first voxel, along one axis."""

    size: float
    start: float


_Axes = dict[str, _Axis]

_PRECISION = 1e-6
"""Relative difference below which two lengths are equal."""


class _Span(NamedTuple):
    """Voxel size and number of voxels of an image along one axis, and location of its first voxel."""

    size: float
    length: int
    start: float

    @property
    def edges(self) -> tuple[float, float]:
        """Locations of the outer edges of the first and the last voxel."""
        edges = (self.start - self.size / 2, self.start + self.size * (self.length - 0.5))
        return min(edges), max(edges)


def edit_transforms(position: Position, image: str, change: Callable[[ImagesMeta], ImagesMeta]) -> None:
    """Change the transformations of one level or ("*") of the whole image; warn if regions in tables move.

    Label images are written first: a killed call that is run again recognizes those that fit the new transformations.
    """
    label_edits = _edits_of_labels(position, image, change) if position.dataset_paths else []
    with warning_of_moved_rois([position]):
        for label, label_edit in label_edits:
            label.document.edit(label_edit)
        position.document.edit(change)


def following_labels(position: Position, follow: Callable[[Position], T]) -> Iterator[tuple[Position, T]]:
    """Yield each label image with the result of a function; warn of damaged ones, for which it raises.

    The image can be corrected all the same: nothing reads a damaged label image. An error of the store does raise,
    since the same call can succeed later, and the label image would keep the old size.
    """
    labels = position.labels
    try:
        names = list(labels)
    except (MetadataError, NodeNotFoundError) as error:
        _warn_of_label(f"The label images of {position.node_path}", error)
        return
    for name in names:
        try:
            label = labels[name]
            result = follow(label)
        except StorageError:
            raise
        except (MetadataError, NodeNotFoundError, DamagedDataError) as error:
            _warn_of_label(f"The label image {name!r} of {position.node_path}", error)
        else:
            yield label, result


def _warn_of_label(subject: str, error: LamellaError) -> None:
    text = f"{subject} did not follow the change of the image, and kept its old sizes, units and places"
    warn(f"{text}: {clause(error)}.", MetadataWarning)


def _edits_of_labels(
    position: Position, image: str, change: Callable[[ImagesMeta], ImagesMeta]
) -> list[tuple[Position, Callable[[ImagesMeta], ImagesMeta]]]:
    """Return the label images that have to follow a change of their image, each with its edit."""
    old = position.document.shared_model
    try:
        new = change(old)
    except LamellaError:  # raised again by the edit of the image, with the name of the node
        return []
    first = WHOLE if image == WHOLE else position.dataset_paths[0]
    if not has_finite_transform(old, first) or _axes(position, old, first) == _axes(position, new, first):
        return []

    def follow(label: Position) -> Callable[[ImagesMeta], ImagesMeta] | None:
        return _edit_of_label(position, label, old, new, first) if label.dataset_paths else None

    label_edits = following_labels(position, follow)
    return [(label, label_edit) for label, label_edit in label_edits if label_edit is not None]


def _axes(image: Position, meta: ImagesMeta, level: str) -> _Axes:
    """Return the size and start of a level, or ("*") of the whole image, by axis."""
    numbers = zip(effective_scale(meta, level), effective_translation(meta, level), strict=True)
    return {name: _Axis(*axis) for name, axis in zip(image.axis_names, numbers, strict=True)}


def _edit_of_label(
    position: Position, label: Position, old: ImagesMeta, new: ImagesMeta, level: str
) -> Callable[[ImagesMeta], ImagesMeta] | None:
    """Return the edit by which a label image follows its image; None if it does already.

    Code may change the labels first, and a killed call has: then a size or start that fits the new image stays.
    """
    label_level = WHOLE if level == WHOLE else label.dataset_paths[0]
    label.get_effective_scale(label_level)  # an error names the label image
    stored = _axes(label, label.document.shared_model, label_level)
    before, after = _axes(position, old, level), _axes(position, new, level)
    old_spans, new_spans = spans(position, old), spans(position, new)
    label_spans = spans(label, label.document.shared_model)
    moved = {}
    for name, (size, start) in stored.items():
        if name not in before or before[name] == after[name] or not before[name].size:
            continue
        old_span, new_span = old_spans[name], new_spans[name]
        is_resized = has_new_size(label_spans[name], old_span, new_span)
        is_moved = is_resized
        if isclose(old_span.size, new_span.size, rel_tol=_PRECISION):
            is_moved = _has_new_place(label_spans[name], old_span, new_span)
        ratio = after[name].size / before[name].size
        new_start = after[name].start + (start - before[name].start) * ratio
        moved[name] = _Axis(size if is_resized else size * ratio, start if is_moved else new_start)
    if all(stored[name] == axis for name, axis in moved.items()):
        return None
    placed = [moved.get(name, axis) for name, axis in stored.items()]
    return lambda meta: edits.place_image(
        meta, label_level, [axis.size for axis in placed], [axis.start for axis in placed]
    )


def spans(image: Position, meta: ImagesMeta) -> dict[str, _Span]:
    """Return the extent of level 0 along each axis."""
    axes = _axes(image, meta, image.dataset_paths[0])
    lengths = zip(axes, image.data.shape, strict=False)
    return {name: _Span(axes[name].size, length, axes[name].start) for name, length in lengths}


def has_new_size(label: _Span, old: _Span, new: _Span) -> bool:
    """Return whether the voxel size of a label image fits the new size of its image, and did not fit the old one.

    Labels may have other voxels than their image, or cover a part of it: the surest sign that fits one image decides.
    """
    if isclose(old.size, new.size, rel_tol=_PRECISION):
        return False
    for is_sign in (_is_as_long, _has_voxels_of, _is_about_as_long):
        if is_sign(label, old) or is_sign(label, new):
            return not is_sign(label, old)
    return False


def _is_as_long(label: _Span, image: _Span) -> bool:
    """Return whether both are as long, and their first voxels, or the edges of these, are at one place."""
    begins_with_it = any(
        isclose(*starts, abs_tol=_PRECISION * abs(image.size))
        for starts in ((label.start, image.start), (label.edges[0], image.edges[0]))
    )
    return begins_with_it and isclose(
        label.size * label.length, image.size * image.length, rel_tol=_PRECISION
    )


def _has_voxels_of(label: _Span, image: _Span) -> bool:
    return isclose(label.size, image.size, rel_tol=_PRECISION)


def _is_about_as_long(label: _Span, image: _Span) -> bool:
    """Return whether lengths differ by less than a voxel of the label: those of lower levels are rounded."""
    difference = abs(label.size * label.length - image.size * image.length)
    return 1 < label.length < image.length and difference < abs(label.size)


def _has_new_place(label: _Span, old: _Span, new: _Span) -> bool:
    """Return whether a label image lies in its image at the new place, or begins with it, but not at the old place."""
    tolerance = _PRECISION * abs(new.size)
    begins_with_it = isclose(label.edges[0], new.edges[0], abs_tol=tolerance)
    return not _lies_in(label, old) and (begins_with_it or _lies_in(label, new))


def _lies_in(label: _Span, image: _Span) -> bool:
    tolerance = _PRECISION * abs(image.size)
    (first, last), (image_first, image_last) = label.edges, image.edges
    return image_first - tolerance <= first and last <= image_last + tolerance
