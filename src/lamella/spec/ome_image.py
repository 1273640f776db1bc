"""The description of one image in OME-XML: facts that OME-NGFF cannot store, or that a writer left out of it.

:mod:`lamella.spec.ome_xml` parses the XML, and :mod:`lamella.nodes.ome_xml` finds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.spec.axes import axis_kind
from lamella.spec.geometry import normalize_transforms, stored_transform
from lamella.spec.images import TransformationMeta

if TYPE_CHECKING:
    from datetime import datetime

    from lamella.spec.images import ImagesMeta


@dataclass(frozen=True)
class OMEImage:
    """An image as OME-XML describes it.

    Attributes
    ----------
    name : str or None
        Name from the microscope.
    acquired : datetime or None
        Time of acquisition; without a time zone if the file names none.
    channel_names : tuple of str or None
        One per channel; None for those without a name.
    scale : dict of str to float
        Physical size of a voxel along "z", "y", "x", and the interval along "t"; unknown sizes are missing.
    units : dict of str to str
        UDUNITS-2 name of the unit of each of these.

    Examples
    --------
    >>> OMEImage(name="nuclei", scale={"x": 0.65}, units={"x": "micrometer"}).acquired is None
    True
    """

    name: str | None = None
    acquired: datetime | None = None
    channel_names: tuple[str | None, ...] = ()
    scale: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


def unsized_axes(meta: ImagesMeta) -> list[int]:
    """List the space and time axes whose size is unknown: scale 1 at the finest level, and no unit.

    A scale of 1 with a unit is a size; without a unit it is what writers store if they know no size. The space axes
    count together: if one has a size or a unit, the others are known too.
    """
    image = meta.multiscales[0]
    kinds = [axis_kind(axis) for axis in image.axes]
    groups = [
        [index for index, kind in enumerate(kinds) if kind == searched] for searched in ("space", "time")
    ]
    bare = [group for group in groups if not any(image.axes[index].unit for index in group)]
    if not any(bare) or not image.datasets:
        return []
    steps = [*image.datasets[0].coordinate_transformations, *(image.coordinate_transformations or [])]
    scale, _ = stored_transform(steps, len(image.axes), image.datasets[0].path)
    return [index for group in bare if all(scale[index] == 1 for index in group) for index in group]


def fill_missing_sizes(meta: ImagesMeta, facts: OMEImage) -> ImagesMeta:
    """Set the sizes that the image's own metadata leave open; return the same object if nothing changes."""
    indices = {
        index: name
        for index in unsized_axes(meta)
        if (name := meta.multiscales[0].axes[index].name.lower()) in facts.scale
    }
    if not indices:
        return meta
    meta = meta.copied()
    image = meta.multiscales[0]
    factors = [facts.scale[indices[index]] if index in indices else 1.0 for index in range(len(image.axes))]
    physical = TransformationMeta(type="scale", scale=factors)
    for index, name in indices.items():
        image.axes[index].unit = facts.units.get(name)
    # Applied last: levels and the position of the whole image are in voxels of the finest level.
    for holder in [image] if image.coordinate_transformations else image.datasets:
        steps = [*(holder.coordinate_transformations or []), physical]
        holder.coordinate_transformations = normalize_transforms(steps, len(factors))
    return meta
