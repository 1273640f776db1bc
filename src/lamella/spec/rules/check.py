"""The two entry points of the rules: one document, and one image document with the facts of its arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from lamella.errors import InvalidArgumentError
from lamella.spec.rules.arrays import (
    ArrayFacts,
    ParentImage,
    check_array_readings,
    check_image_arrays,
    check_label_arrays,
)
from lamella.spec.rules.bioformats2raw import LAYOUT_KEY, check_layout, check_series
from lamella.spec.rules.catalogue import OWN_RULES, RULES
from lamella.spec.rules.labels import check_image_label, check_labels_group
from lamella.spec.rules.multiscales import check_multiscales, check_readings
from lamella.spec.rules.omero import check_omero
from lamella.spec.rules.plate import check_plate, check_well
from lamella.spec.rules.raw_json import ome_object
from lamella.spec.rules.transformations import check_scene
from lamella.spec.rules.version_traits import RuleContext, version_traits
from lamella.spec.rules.versions import find_part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from lamella.spec.rules.finding import Finding, Location
    from lamella.types import JSON, JSONObject

Kind: TypeAlias = Literal["image", "label", "labels", "plate", "well", "bioformats2raw", "ome", "scene"]
"""Kinds of groups: an image, the ``image-label`` of a label image, a group of labels, a plate, a well, the top group
of a bioformats2raw collection, its OME group, a scene."""

_KEYS: dict[str, str] = {
    "image": "multiscales",
    "label": "image-label",
    "labels": "labels",
    "plate": "plate",
    "well": "well",
    "bioformats2raw": LAYOUT_KEY,
    "ome": "series",
    "scene": "scene",
}


def check_attributes(
    kind: Kind, attributes: JSON, version: str, *, node: str = "", acquisitions: Collection[int] | None = None
) -> list[Finding]:
    """Check one document by the rules that need nothing else; return the findings in its order.

    Accepts any JSON value, and writes nothing. ``attributes`` is the content of ``.zattrs`` in 0.4, ``attributes`` of
    ``zarr.json`` in 0.5 and 0.6. A label image has two kinds: check it as ``"image"`` and as ``"label"``.
    ``acquisitions`` are the ids that the plate of a well lists (see `acquisition_ids`); None if the plate is unknown.

    >>> well = {"ome": {"version": "0.5", "well": {"images": [{"path": "0"}, {"path": "0"}]}}}
    >>> for finding in check_attributes("well", well, "0.5", node="A/1"):
    ...     print(finding)
    MUST WL-03 A/1 ome.well.images[1].path: the path "0" is used twice; list it once
    """
    context = RuleContext(version_traits(version), node)
    if kind not in get_args(Kind):
        raise InvalidArgumentError(
            f"There is no kind {kind!r} of document; use one of {', '.join(get_args(Kind))}."
        )
    return _in_force(_check(kind, attributes, context, acquisitions), version)


def _check(
    kind: Kind, attributes: JSON, context: RuleContext, acquisitions: Collection[int] | None
) -> Iterator[Finding]:
    if kind == "ome" and isinstance(attributes, dict) and not _has_part(attributes, context):
        # An OME group exists for its XML file; most writers store no metadata in it in 0.5.
        return
    found = yield from find_part(attributes, _KEYS[kind], context)
    if found is None:
        return
    part, at = found
    if kind == "image":
        yield from check_multiscales(part, at, context)
        yield from check_omero(part, at, context)
        yield from check_readings(part, at, context)
    elif kind == "well":
        yield from check_well(part, at, context, acquisitions)
    else:
        yield from _CHECKS[kind](part, at, context)


_CHECKS = {
    "label": check_image_label,
    "labels": check_labels_group,
    "plate": check_plate,
    "bioformats2raw": check_layout,
    "ome": check_series,
    "scene": check_scene,
}


def _has_part(attributes: JSONObject, context: RuleContext) -> bool:
    return any(key in attributes for key in (*context.traits.wrapper, "series"))


def check_arrays(
    kind: Kind,
    attributes: JSON,
    version: str,
    arrays: Mapping[str, ArrayFacts],
    *,
    node: str = "",
    parent: ParentImage | None = None,
) -> list[Finding]:
    """Check an image or label image against its arrays, by the rules that `check_attributes` cannot check.

    Accepts any JSON value; errors of the document itself are left to `check_attributes`. A label image is checked as an
    image too; other kinds have no findings. ``arrays`` has the facts of all existing arrays by dataset path, ``parent``
    is the image of a label image.

    >>> image = {"multiscales": [{"axes": [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}],
    ...                           "datasets": [{"path": "0"}, {"path": "1"}]}]}
    >>> facts = {"0": ArrayFacts((3, 8, 8), "uint8", zarr_format=2)}
    >>> for finding in check_arrays("image", image, "0.4", facts):
    ...     print(finding.rule, finding.found)
    AX-05 the array has 3 dimensions, there are 2 axes
    MS-04 there is no array "1"
    """
    context = RuleContext(version_traits(version), node)
    if kind not in ("image", "label"):
        return []
    part = ome_object(attributes, context.traits)
    at: Location = context.traits.wrapper if part or _is_wrapped(attributes, context) else ()
    findings = list(check_image_arrays(part, at, arrays, context))
    findings.extend(check_array_readings(part, at, arrays, context))
    if kind == "label":
        findings.extend(check_label_arrays(part, at, arrays, parent, context))
    return _in_force(findings, version)


def _is_wrapped(attributes: JSON, context: RuleContext) -> bool:
    return isinstance(attributes, dict) and all(
        isinstance(attributes.get(key), dict) for key in context.traits.wrapper
    )


def _in_force(findings: Iterable[Finding], version: str) -> list[Finding]:
    """Select the findings of rules of the version; lamella's own rules apply to all versions."""
    return [
        finding
        for finding in findings
        if finding.rule in OWN_RULES or version in RULES[finding.rule].versions
    ]
