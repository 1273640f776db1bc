"""Extend the colour tables of label images when labels are written.

Viewers hide labels that a table leaves out, so a stored table must name every label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import warn
from lamella.ops.execution import run
from lamella.ops.regions import regions
from lamella.spec.colors import label_color
from lamella.spec.labels import LabelColorMeta

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from lamella.nodes.labels import LabelImage
    from lamella.ops.regions import Region
    from lamella.spec.labels import ImageLabelMeta

MAX_COLORS = 65_536
"""Maximum size of a table: 3 MB of the document. Viewers colour images with more labels by themselves."""

_FEW_VALUES = 2**24
"""Maximum range of labels that are found by marking each value; others are found by sorting."""


class _TooManyError(Exception):
    """There are more labels than a table may name."""


def color_labels(image: LabelImage) -> None:
    """Add a colour for each label of the image without one; see :meth:`LabelImage.set_colors`."""
    found_labels: set[int] = set()

    def find_labels(region: Region) -> set[int]:
        return labels_in(image.data[region])

    def collect(ids: set[int]) -> None:
        found_labels.update(ids)
        if len(found_labels) > MAX_COLORS:
            raise _TooManyError

    try:
        run(find_labels, regions(image.data.shape, image.data.write_unit), on_result=collect)
    except _TooManyError:
        _drop_table(image)
        return
    _extend(image, found_labels)


def color_written(image: LabelImage, block: NDArray[Any]) -> None:
    """Extend the table of a label image, if it has one, by the labels that were just written."""
    colors = image.colors
    if not colors or block.dtype.kind not in "biu":
        return
    new = labels_in(block) - colors.keys()
    if len(colors) + len(new) > MAX_COLORS:
        _drop_table(image)
    elif new:
        _extend(image, new)


def labels_in(block: NDArray[Any]) -> set[int]:
    """Return the labels of a block."""
    if not block.size:
        return set()
    if block.dtype.kind == "b":
        block = block.view(np.uint8)
    lowest, highest = int(block.min()), int(block.max())
    if highest - lowest < min(_FEW_VALUES, 8 * block.size):
        is_used = np.zeros(highest - lowest + 1, bool)
        unsigned = f"u{block.dtype.itemsize}"  # the difference of two signed numbers may need it
        is_used[(block.ravel() - block.dtype.type(lowest)).view(unsigned)] = True
        return {lowest + offset for offset in np.flatnonzero(is_used).tolist()}
    return set(np.unique(block).tolist())


def _extend(image: LabelImage, labels: Iterable[int]) -> None:
    def add(meta: ImageLabelMeta) -> ImageLabelMeta:
        color_entries = list(meta.colors or [])
        colored = {color_entry.label_value for color_entry in color_entries}
        color_entries += [_entry(label) for label in sorted(labels) if label not in colored]
        return meta.model_copy(update={"colors": color_entries or None})

    image._edit_image_label(add)


def _entry(label: int) -> LabelColorMeta:
    """Return the stored colour of a label; the background, 0, is transparent."""
    return LabelColorMeta(label_value=label, rgba=[*label_color(label), 255] if label else [0, 0, 0, 0])


def _drop_table(image: LabelImage) -> None:
    image._edit_image_label(lambda meta: meta.model_copy(update={"colors": None}))
    warn(
        f"The label image {image.node_path} has more than {MAX_COLORS} labels, and no table of colours is stored for "
        "so many: viewers show labels without a table in colours of their own. set_colors({...}) stores chosen ones."
    )
