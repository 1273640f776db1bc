"""Whether a new array can be listed as a level of its image: an image, and the labels of it, stay what they were.

The rules are in :mod:`lamella.spec.rules`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, MetadataError, NodeNotFoundError
from lamella.nodes.labels import LabelImage, Labels
from lamella.nodes.parts import stored_ome
from lamella.nodes.reporting import facts_of
from lamella.nodes.store_handle import NodePath
from lamella.spec import edits
from lamella.spec.rules import Finding, check_arrays
from lamella.spec.rules.values import describe
from lamella.spec.rules.version_traits import VERSION_TRAITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.nodes.position import Position
    from lamella.spec.images import ImagesMeta
    from lamella.spec.rules import ArrayFacts
    from lamella.spec.transforms import TransformationMeta
    from lamella.store.array_meta import ArrayMeta
    from lamella.types import JSONObject

_RULES = frozenset(["MS-05", "MS-07", "LB-05"])
"""Rules that one level more can break; that it fits the axes is checked elsewhere, on request."""


def broken_by_level(
    position: Position,
    view: ImagesMeta,
    key: str,
    array: ArrayMeta,
    transform: Sequence[TransformationMeta] | None,
) -> Finding | None:
    """Return a MUST that the metadata keep, and would break with one level more; None where there is none."""
    paths = view.multiscales[0].get_dataset_paths()
    if not paths or key in paths or position.store_handle.version.name not in VERSION_TRAITS:
        return None
    facts: dict[str, ArrayFacts] = {}
    for path in paths:
        with suppress(NodeNotFoundError, MetadataError):  # what is missing is not compared
            facts[path] = facts_of(position.documents.array(position.node_path.child(path).path))
    attributes = position.document.last_attributes
    found = broken_among(position, view, attributes, facts, key, facts_of(array), transform)
    return found or broken_labels(position, len(paths))


def broken_among(
    position: Position,
    view: ImagesMeta,
    attributes: JSONObject,
    levels: Mapping[str, ArrayFacts],
    key: str,
    array: ArrayFacts,
    transform: Sequence[TransformationMeta] | None,
) -> Finding | None:
    """Return a MUST that the arrays of some levels keep, and would break with one level more."""
    version, kind = position.store_handle.version, position._kinds[-1]
    if version.name not in VERSION_TRAITS:
        return None

    def broken(meta: ImagesMeta, arrays: Mapping[str, ArrayFacts]) -> dict[str, Finding]:
        found = check_arrays(kind, version.dump(meta, attributes), version.name, arrays)
        return {one.rule: one for one in found if one.rule in _RULES and one.level == "MUST"}

    before = broken(view, levels)
    after = broken(edits.add_dataset(view, key, transform), {**levels, key: array})
    return next((finding for rule, finding in after.items() if rule not in before), None)


def stored_beside(where: NodePath | str, key: str, broken: Finding, has_transform: bool) -> str:
    """Return the warning that an array is stored beside the levels, for the rule that it would break as one.

    Raises
    ------
    InvalidArgumentError
        It is to have a transform, which only a level has.
    """
    text = f"As a level of {where}, the array {key!r} would break {broken.rule} ({broken.found})"
    if has_transform:
        raise InvalidArgumentError(f"{text}. Without a transform it is stored beside the levels.")
    return f"{text}: it is stored beside the levels."


def broken_labels(position: Position, levels: int) -> Finding | None:
    """Return the finding that label images have as many levels as their image, and would not with one more."""
    if isinstance(position, LabelImage):
        if not position.path:
            return None
        above, _, folder = position.node_path.parent.path.rpartition("/")
        image = NodePath(position.store_handle, above)
        if folder != "labels" or position.documents.kind(above) != "group":
            return None
        count = _levels_of(image)
        found = f"its image has {count} levels"
        return Finding("LB-04", "MUST", position.path, (), found) if count == levels else None
    place = position.node_path.child("labels")
    if position.documents.kind(place.path) != "group":
        return None
    labels = Labels(place, False)
    for name in labels:
        if len(labels[name].dataset_paths) == levels:
            found = f"the label image {describe(name)} has {levels} levels"
            return Finding("LB-04", "MUST", position.path, (), found)
    return None


def _levels_of(image: NodePath) -> int:
    """Return how many levels an image lists."""
    entries = stored_ome(image).get("multiscales")
    first = entries[0] if isinstance(entries, list) and entries else None
    listed = first.get("datasets") if isinstance(first, dict) else None
    return len(listed) if isinstance(listed, list) else 0
