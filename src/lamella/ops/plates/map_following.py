"""Let results of `Plate.map` in another plate follow the metadata of their source: geometry and names of channels.

The record ``lamella.map_source`` of a position has the metadata that its results got. What changes in the source later
is changed in the results too by the next call; what somebody changed in the results alone stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.ops.images.transforms import edit_transforms
from lamella.ops.plates.map_records import MAP_SOURCE
from lamella.spec.edits import set_transform
from lamella.spec.geometry import WHOLE, find_dataset, scale_and_translation
from lamella.spec.own_key import own_object, with_own_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.models import TransformationMeta
    from lamella.nodes.position import Position
    from lamella.ops.plates.map_request import MapRequest
    from lamella.spec.images import ImagesMeta
    from lamella.types import JSONObject


def facts_of(source: Position, request: MapRequest) -> JSONObject:
    """Return the metadata of a source that its results follow."""
    level, image = request.call.level, source.document.shared_model.multiscales[0]
    facts: JSONObject = {
        "channels": list(request.call.channel_names or source.channel_names),
        "units": [axis.unit for axis in source.axes],
        "shared": [transform.to_json() for transform in image.coordinate_transformations or []],
    }
    if level in source.dataset_paths:
        facts["scale"] = list(source.get_effective_scale(level))
        facts["translation"] = list(source.get_effective_translation(level))
    return facts


def follow_source(source: Position, target: Position, request: MapRequest) -> None:
    """Change in an older position of results what changed in its source since the last call."""
    old, new = own_object(target.documents.group(target.path), MAP_SOURCE), facts_of(source, request)
    if old == new:
        return
    names = request.names if request.call.over == "regions" else ()  # others are computed again
    results = [name for name in names if name in target.dataset_paths]

    def follow(meta: ImagesMeta) -> ImagesMeta:
        edited, original = meta.copied(), source.document.shared_model.copied().multiscales[0]
        image = edited.multiscales[0]
        if edited.omero is not None:
            _rename_channels(edited.omero.channels, old.get("channels"), new["channels"])
        if any(old.get(key) != new.get(key) for key in ("shared", "scale", "translation")):
            image.coordinate_transformations = original.coordinate_transformations
            for name in results:
                edited = set_transform(edited, name, transform_of(source, request.call.level, edited))
        return edited

    if old.get("units") != new["units"]:
        target.set_unit({axis.name: axis.unit for axis in source.axes if axis.type != "channel"})
    edit_transforms(target, next(iter(results), WHOLE), follow)
    target.documents.edit_group(target.path, lambda attributes: with_own_record(attributes, MAP_SOURCE, new))


def _rename_channels(channels: Sequence[Any], old: Any, new: Sequence[str]) -> None:
    """Rename the channels that still have the name of the source."""
    if isinstance(old, list) and len(old) == len(new) == len(channels):
        for channel, old_name, new_name in zip(channels, old, new, strict=True):
            if channel.label == old_name:
                channel.label = new_name


def transform_of(source: Position, level: str, target: ImagesMeta) -> list[TransformationMeta]:
    """Return the transformations of a level for an array of equal geometry in another position."""
    if target.multiscales[0].coordinate_transformations:  # those of all levels, copied from the source
        return find_dataset(source.document.shared_model, level).coordinate_transformations
    offset = source.get_effective_translation(level)
    return scale_and_translation(source.get_effective_scale(level), offset if any(offset) else None)
