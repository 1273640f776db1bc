"""Change scales and translations of an image, and those of its label images, which show the same objects.

If the voxels of an image change from 1 to 3 and its first voxel moves from 0 to 100, a label image whose voxels are 2
wide and whose first voxel is at 0.5 gets voxels of 6, the first one at 101.5.
"""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING, NamedTuple

from lamella.errors import LamellaError
from lamella.ops.tables.outdated_tables import warning_of_moved_rois
from lamella.spec import edits
from lamella.spec.geometry import WHOLE, effective_scale, effective_translation, has_finite_transform

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.nodes.position import Position
    from lamella.spec.images import ImagesMeta


class _Axis(NamedTuple):
    """Voxel size (or factor of the whole image) and location of the first voxel, along one axis."""

    size: float
    start: float


_Axes = dict[str, _Axis]


def edit_transforms(position: Position, image: str, change: Callable[[ImagesMeta], ImagesMeta]) -> None:
    """Change the transformations of one level or ("*") of the whole image; warn if regions in tables move.

    Label images are written first: a killed call that is run again recognizes those that fit the new transformations.
    """
    labels = [label for label in position.labels.values() if label.dataset_paths]
    places = _places_of_labels(position, labels, image, change) if labels else []
    with warning_of_moved_rois([position]):
        for label, place in places:
            label.document.edit(place)
        position.document.edit(change)


def _places_of_labels(
    position: Position, labels: list[Position], image: str, change: Callable[[ImagesMeta], ImagesMeta]
) -> list[tuple[Position, Callable[[ImagesMeta], ImagesMeta]]]:
    """Return the label images that have to follow a change of their image, each with its edit."""
    old = position.document.shared_model
    try:
        new = change(old)
    except LamellaError:  # raised again by the edit of the image, with the name of the node
        return []
    first = WHOLE if image == WHOLE else next(iter(position.dataset_paths), WHOLE)
    if not has_finite_transform(old, first) or _axes(position, old, first) == _axes(position, new, first):
        return []
    places = [(label, _place_of_label(position, label, old, new, first)) for label in labels]
    return [(label, place) for label, place in places if place is not None]


def _axes(image: Position, meta: ImagesMeta, level: str) -> _Axes:
    """Return the size and start of a level, or ("*") of the whole image, by axis."""
    numbers = zip(effective_scale(meta, level), effective_translation(meta, level), strict=True)
    return {name: _Axis(*axis) for name, axis in zip(image.axis_names, numbers, strict=True)}


def _place_of_label(
    position: Position, label: Position, old: ImagesMeta, new: ImagesMeta, level: str
) -> Callable[[ImagesMeta], ImagesMeta] | None:
    """Return the edit by which a label image follows its image; None if it does already."""
    label_level = WHOLE if level == WHOLE else label.dataset_paths[0]
    label.get_effective_scale(label_level)  # an error names the label image
    stored = _axes(label, label.document.shared_model, label_level)
    before, after = _axes(position, old, level), _axes(position, new, level)
    lengths = dict(zip(position.axis_names, position.data.shape, strict=False))
    label_lengths = dict(zip(label.axis_names, label.data.shape, strict=False))
    final, label_now = (
        _axes(position, new, position.dataset_paths[0]),
        _axes(label, label.document.shared_model, label.dataset_paths[0]),
    )
    moved = {}
    for name, (size, start) in stored.items():
        if name not in before or before[name] == after[name] or not before[name].size:
            continue
        new_size, new_start = after[name].size * (size / before[name].size), after[name].start
        new_start += after[name].size * ((start - before[name].start) / before[name].size)
        extent = final[name].size * lengths.get(name, 1)
        has_new_size = isclose(label_now[name].size * label_lengths.get(name, 1), extent, rel_tol=1e-6)
        has_new_edge = isclose(
            _edge(label_now[name]), _edge(final[name]), abs_tol=1e-6 * abs(final[name].size)
        )
        moved[name] = _Axis(size if has_new_size else new_size, start if has_new_edge else new_start)
    if all(stored[name] == axis for name, axis in moved.items()):
        return None
    placed = [moved.get(name, axis) for name, axis in stored.items()]
    return lambda meta: edits.place_image(
        meta, label_level, [axis.size for axis in placed], [axis.start for axis in placed]
    )


def _edge(axis: _Axis) -> float:
    """Return the location of the outer edge of the first voxel."""
    return axis.start - axis.size / 2
