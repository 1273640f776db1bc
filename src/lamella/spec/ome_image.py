"""What OME-XML says of one image: the facts that OME-NGFF has no place for, or that a writer left out of it.

Layer: spec. The XML is parsed by :mod:`lamella.spec.ome_xml`, and found by :mod:`lamella.nodes.ome_xml`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.spec.axes import axis_kind
from lamella.spec.geometry import normalize_transforms, stored_transform
from lamella.spec.transforms import TransformationMeta

if TYPE_CHECKING:
    from datetime import datetime

    from lamella.spec.images import ImagesMeta


@dataclass(frozen=True)
class OMEImage:
    """An image as OME-XML describes it.

    Attributes
    ----------
    name : str or None
        Name that the microscope gave it.
    acquired : datetime or None
        When it was acquired; without a time zone where the file names none.
    channel_names : tuple of str or None
        One per channel; None for those without a name.
    scale : dict of str to float
        Physical size of a voxel along "z", "y", "x", and the interval along "t"; only what is known.
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
    """List the axes of space and time whose size the metadata leave open: scale 1 at the finest level, and no unit.

    A scale of 1 in a unit is a size; without a unit it is what writers put where they know none. The axes of space
    count together: one that has a size or a unit says that the others were meant too.

    Raises
    ------
    MetadataError
        A stored transformation has not one number per axis.
    """
    image = meta.multiscales[0]
    kinds = [axis_kind(axis) for axis in image.axes]
    groups = [[index for index, kind in enumerate(kinds) if kind == wanted] for wanted in ("space", "time")]
    bare = [group for group in groups if not any(image.axes[index].unit for index in group)]
    if not any(bare) or not image.datasets:
        return []
    steps = [*image.datasets[0].coordinate_transformations, *(image.coordinate_transformations or [])]
    scale, _ = stored_transform(steps, len(image.axes), image.datasets[0].path)
    return [index for group in bare if all(scale[index] == 1 for index in group) for index in group]


def sized(meta: ImagesMeta, facts: OMEImage) -> ImagesMeta:
    """Give an image the sizes that its own metadata leave open; what they say is kept.

    Parameters
    ----------
    meta : ImagesMeta
        Not changed.
    facts : OMEImage
        What is known of it from elsewhere.

    Returns
    -------
    ImagesMeta
        The same object when nothing is filled in.
    """
    given = {
        index: name
        for index in unsized_axes(meta)
        if (name := meta.multiscales[0].axes[index].name.lower()) in facts.scale
    }
    if not given:
        return meta
    meta = meta.copied()
    image = meta.multiscales[0]
    factors = [facts.scale[given[index]] if index in given else 1.0 for index in range(len(image.axes))]
    physical = TransformationMeta(type="scale", scale=factors)
    for index, name in given.items():
        image.axes[index].unit = facts.units.get(name)
    # Last of all that is applied: levels and the place of the whole image were in voxels of the finest level.
    for holder in [image] if image.coordinate_transformations else image.datasets:
        steps = [*(holder.coordinate_transformations or []), physical]
        holder.coordinate_transformations = normalize_transforms(steps, len(factors))
    return meta
