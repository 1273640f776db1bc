"""Check whether a new array can become a level of its image without breaking a rule of :mod:`lamella.spec.rules`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, MetadataError, NodeNotFoundError
from lamella.nodes.labels import LabelImage, Labels
from lamella.nodes.metadata_document import stored_ome
from lamella.nodes.reporting import array_facts
from lamella.nodes.store_handle import NodePath
from lamella.spec import edits
from lamella.spec.rules import Finding, check_arrays
from lamella.spec.rules.value import describe
from lamella.spec.rules.version_traits import VERSION_TRAITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.nodes.position import Position
    from lamella.spec.images import ImagesMeta, TransformationMeta
    from lamella.spec.rules import ArrayFacts
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import JSONObject

_RULES = frozenset(["MS-05", "MS-07", "LB-05"])
"""Rules that an additional level can break; `PositionArrays._check_new_array` checks that it fits the axes."""


def broken_by_level(
    position: Position,
    meta: ImagesMeta,
    key: str,
    array: ArrayMeta,
    transform: Sequence[TransformationMeta] | None,
) -> Finding | None:
    """Return the finding for a MUST that one more level would break, and that the image satisfies now; else None."""
    paths = meta.multiscales[0].get_dataset_paths()
    if not paths or key in paths or position.store_handle.version.name not in VERSION_TRAITS:
        return None
    facts: dict[str, ArrayFacts] = {}
    for path in paths:
        with suppress(NodeNotFoundError, MetadataError):  # missing levels are not compared
            facts[path] = array_facts(position.documents.array(position.node_path.child(path).path))
    attributes = position.document.last_attributes
    finding = broken_among(position, meta, attributes, facts, key, array_facts(array), transform)
    return finding or broken_labels(position, len(paths))


def broken_among(
    position: Position,
    meta: ImagesMeta,
    attributes: JSONObject,
    levels: Mapping[str, ArrayFacts],
    key: str,
    array: ArrayFacts,
    transform: Sequence[TransformationMeta] | None,
) -> Finding | None:
    """Return the finding for a MUST that one more level would break, and that `levels` satisfy; else None."""
    version, kind = position.store_handle.version, position._kinds[-1]
    if version.name not in VERSION_TRAITS:
        return None

    def broken_musts(meta: ImagesMeta, arrays: Mapping[str, ArrayFacts]) -> dict[str, Finding]:
        findings = check_arrays(kind, version.dump(meta, attributes), version.name, arrays)
        return {
            finding.rule: finding
            for finding in findings
            if finding.rule in _RULES and finding.level == "MUST"
        }

    before = broken_musts(meta, levels)
    after = broken_musts(edits.add_dataset(meta, key, transform), {**levels, key: array})
    return next((finding for rule, finding in after.items() if rule not in before), None)


def stored_beside(where: NodePath | str, key: str, broken: Finding, has_transform: bool) -> str:
    """Return the warning that an array is stored beside the levels, because as a level it would break a rule.

    Raises `InvalidArgumentError` if the array needs a transform, which only levels have.
    """
    problem = f"As a level of {where}, the array {key!r} would break {broken.rule} ({broken.found})"
    if has_transform:
        raise InvalidArgumentError(f"{problem}. Without a transform it is stored beside the levels.")
    return f"{problem}: it is stored beside the levels."


def broken_labels(position: Position, levels: int) -> Finding | None:
    """Return the finding if label images have as many levels as their image now, but not with one more level."""
    if isinstance(position, LabelImage):
        if not position.path:
            return None
        above, _, folder = position.node_path.parent.path.rpartition("/")
        image = NodePath(position.store_handle, above)
        if folder != "labels" or position.documents.kind(above) != "group":
            return None
        count = _level_count(image)
        problem = f"its image has {count} levels"
        return Finding("LB-04", "MUST", position.path, (), problem) if count == levels else None
    labels_path = position.node_path.child("labels")
    if position.documents.kind(labels_path.path) != "group":
        return None
    labels = Labels(labels_path, False)
    for name in labels:
        if len(labels[name].dataset_paths) == levels:
            problem = f"the label image {describe(name)} has {levels} levels"
            return Finding("LB-04", "MUST", position.path, (), problem)
    return None


def _level_count(image: NodePath) -> int:
    multiscales = stored_ome(image).get("multiscales")
    first = multiscales[0] if isinstance(multiscales, list) and multiscales else None
    datasets = first.get("datasets") if isinstance(first, dict) else None
    return len(datasets) if isinstance(datasets, list) else 0
