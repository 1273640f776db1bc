"""The entry points of the rules: for one document, for an image document with its arrays, and for readers of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from lamella.spec.rules.arrays import (
    ArrayFacts,
    ParentImage,
    check_array_readings,
    check_image_arrays,
    check_label_arrays,
    image_levels,
)
from lamella.spec.rules.catalogue import OWN_RULES, RULES, own_finding
from lamella.spec.rules.labels import check_image_label, check_labels_group
from lamella.spec.rules.multiscales import check_multiscales, check_omero, check_readings
from lamella.spec.rules.plate import LAYOUT_KEY, check_layout, check_plate, check_series, check_well
from lamella.spec.rules.transformations import check_scene
from lamella.spec.rules.value import Value, find_part, ome_object
from lamella.spec.rules.version_traits import VERSION_TRAITS
from lamella.spec.versions.older_documents import guesses_of, stated_older

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from lamella.spec.rules.finding import Finding
    from lamella.spec.rules.value import Findings
    from lamella.types import JSON, JSONObject

Kind: TypeAlias = Literal["image", "label", "labels", "plate", "well", "bioformats2raw", "ome", "scene"]
"""Kinds of groups: an image, the ``image-label`` of a label image, a group of labels, a plate, a well, the top group
of a bioformats2raw collection, its OME group, a scene."""

_KEYS: dict[Kind, str] = {
    "image": "multiscales",
    "label": "image-label",
    "labels": "labels",
    "plate": "plate",
    "well": "well",
    "bioformats2raw": LAYOUT_KEY,
    "ome": "series",
    "scene": "scene",
}
"""Key of the OME part that a group of each kind has."""


def check_attributes(
    kind: Kind, attributes: JSON, version: str, *, node: str = "", acquisitions: Collection[int] | None = None
) -> list[Finding]:
    """Check one document by the rules that need no other file; return the findings in its order.

    Accepts any JSON value, and writes nothing. ``attributes`` is the content of ``.zattrs`` in 0.4, ``attributes`` of
    ``zarr.json`` in 0.5 and 0.6. A label image has two kinds: check it as ``"image"`` and as ``"label"``.
    ``acquisitions`` are the ids that the plate of a well lists (see `acquisition_ids`); None if the plate is unknown.
    """
    document = Value(attributes, (), VERSION_TRAITS[version], node)
    return _findings_of_version(_check(kind, document, acquisitions), version)


def _check(kind: Kind, document: Value, acquisitions: Collection[int] | None) -> Findings:
    keys = (*document.traits.wrapper, "series")
    if kind == "ome" and isinstance(document.raw, dict) and not any(key in document.raw for key in keys):
        # An OME group exists for its XML file; most writers store no metadata in it in 0.5.
        return
    part = yield from find_part(document, _KEYS[kind])
    if part is None:
        return
    if kind == "well":
        yield from check_well(part, acquisitions)
        return
    for check in _CHECKS[kind]:
        yield from check(part)


_CHECKS: dict[Kind, tuple[Callable[[Value], Findings], ...]] = {
    "image": (check_multiscales, check_omero, check_readings),
    "label": (check_image_label,),
    "labels": (check_labels_group,),
    "plate": (check_plate,),
    "bioformats2raw": (check_layout,),
    "ome": (check_series,),
    "scene": (check_scene,),
}


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
    """
    traits = VERSION_TRAITS[version]
    if kind not in ("image", "label"):
        return []
    is_wrapped = isinstance(attributes, dict) and all(
        isinstance(attributes.get(key), dict) for key in traits.wrapper
    )
    ome = Value(ome_object(attributes, traits), traits.wrapper if is_wrapped else (), traits, node)
    images = image_levels(ome, arrays)
    findings = [*check_image_arrays(images, arrays), *check_array_readings(ome, images)]
    if kind == "label":
        findings.extend(check_label_arrays(ome, images, arrays, parent))
    return _findings_of_version(findings, version)


def _findings_of_version(findings: Iterable[Finding], version: str) -> list[Finding]:
    """Select the findings of rules of the version; lamella's own rules apply to all versions."""
    return [
        finding
        for finding in findings
        if finding.rule in OWN_RULES or version in RULES[finding.rule].versions
    ]


_AS_STORED = "it is used as it is stored"

ASSUMPTIONS: dict[str, str] = {
    "ST-01": "the documents are read as Zarr v2, metadata at the top of the attributes",
    "ST-02": "the documents are read as Zarr v3",
    "ST-03": "the group has no OME-NGFF metadata of its own",
    "ST-04": "the chunks are read by the separator that the array states",
    "ST-05": "the axes of the image count, not the names that the array has",
    "ST-07": "it is read as {version}",
    "VE-01": "it is read as {version}",
    "VE-02": "it is read as {version}",
    "VE-04": "ome.version counts",
    "AX-01": "the name is used as text",
    "AX-02": "a name stands for the first of its axes",
    "AX-03": "the axis has no type",
    "AX-05": "the last axes belong to the dimensions of the array",
    "AX-06": "all axes that are listed are used",
    "AX-07": "the axes are used as they are listed",
    "AX-08": "the first time axis is the time axis",
    "AX-09": "the first channel axis is the channel axis",
    "AX-10": "the axes are used in the order in which they are listed",
    "AX-12": "the order of the image's axes counts",
    "CT-01": "the scale is 1 along each axis",
    "CT-02": "what is not a scale or a translation is ignored",
    "CT-03": "scales are multiplied; the scale is 1 where there is none",
    "CT-04": "the transformations are applied in the order in which they are listed",
    "CT-05": "the numbers are used as they are stored",
    "CT-06": "the scale is used as it is stored",
    "MS-01": "the first entry that is an image is used",
    "MS-03": "the image has no levels",
    "MS-04": "the path is used as text",
    "MS-05": "the first level is the finest",
    "MS-06": "each level is read with the last axes",
    "MS-07": "each level is read with its own data type",
    "OM-01": "channels that are not described are named by their number",
    "OM-02": "the channel is shown in a colour of the default palette",
    "OM-03": "the channel is shown with the range of its data type",
    "LB-05": "the pixels are read as they are stored",
    "LB-11": "the last colour of a label counts",
    "PL-01": "only the wells that are listed count",
    "PL-02": "only the wells that are listed count",
    "PL-03": "the name is used as it is stored; of equal ones the first counts",
    "PL-05": "only the wells that are listed count",
    "PL-06": "the path counts, not the indices",
    "PL-07": "the path counts; the index only orders the wells",
    "PL-08": "of equal ids the first acquisition counts",
    "PL-13": "the well is one well, and is returned once",
    "WL-01": "the images in the group are the images of the well",
    "WL-02": "the path is used as it is stored",
    "WL-03": "the image is one image, and is returned once",
    "WL-04": "the id of the acquisition is used as it is stored",
    "BF-01": "the group is read as a collection of layout 3",
    "LM-02": "the documents of Zarr v3 count",
    "LM-04": "what the version does not say is filled in as described",
    "LM-11": "missing names are channel_N, names beyond the channels are left out, a name means its first channel",
    "LM-12": "the first multiscale is the image",
    "LM-13": "the first entry of a level counts",
    "LM-14": "each level is read as it is described",
}
"""The assumption for each broken rule, by id; for all other rules the stored value is used."""

_CHOICES = frozenset(["LM-02", "LM-04", "LM-11", "LM-12", "LM-13", "LM-14"])
"""Rules on valid documents that leave a choice to the reader."""

_RULES_OF_NEW_PLATES = frozenset(["PL-01", "PL-02", "PL-05"])
_RULES_OF_NEW_IMAGES = frozenset(["MS-01", "OM-03"])
"""Rules that a plate without wells, or an image without levels, breaks until the first one is created."""


def assumption(finding: Finding, version: str) -> str:
    """Return the assumption by which lamella reads a document that breaks a rule."""
    return ASSUMPTIONS.get(finding.rule, _AS_STORED).format(version=version)


def reported(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that a reader reports: broken MUSTs, and the rules in `_CHOICES`."""
    return tuple(finding for finding in findings if finding.level == "MUST" or finding.rule in _CHOICES)


def kinds_of(ome: JSONObject) -> tuple[Kind, ...]:
    """Return the kinds of a document, from its keys."""
    kinds: tuple[Kind, ...] = ("image", "label", "labels", "plate", "well", "scene")
    return tuple(kind for kind in kinds if _KEYS[kind] in ome)


def document_findings(kinds: Iterable[Kind], attributes: JSONObject, version: str) -> tuple[Finding, ...]:
    """Return the findings of one document that a reader reports.

    lamella stores new plates without wells and new images without levels: their empty lists are not reported.
    """
    older = stated_older(attributes) if version == "0.4" else version
    if older not in VERSION_TRAITS and older is not None:
        guesses = guesses_of(attributes, older) if "image" in kinds else None
        return () if guesses is None else (own_finding("LM-04", "", guesses, "upgrade the store"),)
    ome = ome_object(attributes, VERSION_TRAITS[version])
    findings: list[Finding] = []
    for kind in kinds:
        if kind in ("well", "label") and _KEYS[kind] not in ome:
            continue
        of_kind = check_attributes(kind, attributes, version)
        if kind == "image" and "multiscales" not in ome:
            of_kind = [finding for finding in of_kind if finding.rule not in _RULES_OF_NEW_IMAGES and ome]
        elif kind == "plate" and isinstance(plate := ome.get("plate"), dict) and plate.get("wells") == []:
            of_kind = [
                finding
                for finding in of_kind
                if finding.rule not in _RULES_OF_NEW_PLATES or "[" not in finding.found
            ]
        findings.extend(of_kind)
    return reported(findings)


def array_findings(
    kind: Kind, attributes: JSONObject, version: str, arrays: Mapping[str, ArrayFacts]
) -> tuple[Finding, ...]:
    """Return the findings that a reader reports about the levels of an image that it has opened."""
    if version not in VERSION_TRAITS:
        return ()
    findings = check_arrays(kind, attributes, version, arrays)
    # MS-04 is a missing array: here one that has not been opened yet.
    return reported(finding for finding in findings if finding.rule != "MS-04")
