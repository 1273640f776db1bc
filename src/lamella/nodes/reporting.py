"""Reports what a document breaks when it is read: one warning per opened handle and rule, or an error.

The rules run once for each distinct content of a document; every handle that reads it looks up what was found.

The rules are in :mod:`lamella.spec.rules`.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from lamella.errors import MetadataError, MetadataWarning
from lamella.spec.rules import ArrayFacts, location_text
from lamella.spec.rules.assumptions import (
    array_findings,
    assumption,
    document_findings,
    image_frame,
    kinds_of,
)
from lamella.spec.rules.own import own_finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lamella.nodes.store_handle import NodePath
    from lamella.spec.rules import Finding, Kind
    from lamella.spec.rules.frames import Frame
    from lamella.spec.versions import SpecVersion
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.document_cache import StoredGroup
    from lamella.types import JSONObject

Checked: TypeAlias = "tuple[tuple[Finding, ...], Frame | None]"

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def check_document(place: NodePath, stored: StoredGroup, kinds: tuple[Kind, ...]) -> None:
    """Report what the document of a group breaks by itself.

    Raises
    ------
    MetadataError
        In a store that was opened with ``strict=True``.
    """
    version = place.store_handle.version_of(stored.attributes)
    key = kinds, version.name
    findings = stored.get_or_make(key, partial(_checked, stored.attributes, *key))[0]
    if findings:
        report(place, findings, version)


def _checked(attributes: JSONObject, kinds: tuple[Kind, ...], version: str) -> Checked:
    """Run the rules; what an image document has in common with others is kept for its arrays."""
    frame = image_frame(attributes, version) if kinds == ("image",) else None
    return document_findings(kinds, attributes, version) if frame is None else frame.findings, frame


def refuse_broken(place: NodePath, before: JSONObject, after: JSONObject, kinds: tuple[Kind, ...]) -> None:
    """Raise for new attributes that break a MUST which the stored ones keep; broken ones may stay broken.

    Raises
    ------
    MetadataError
        With what would be broken.
    """
    if before == after:
        return
    old, new = place.store_handle.version_of(before), place.store_handle.version_of(after)
    broken: dict[str, list[Finding]] = {}
    for finding in document_findings(kinds, after, new.name):
        broken.setdefault(finding.rule, []).append(finding)
    already = Counter(finding.rule for finding in document_findings(kinds, before, old.name))
    texts = [
        _described(found) for rule, found in broken.items() if is_must(found) and len(found) > already[rule]
    ]
    for rule, key, found in (
        ("MS-03", "multiscales", "no level is left"),
        ("WL-01", "well", "no image is left"),
    ):
        if key in old.ome(before) and key not in new.ome(after):
            texts.append(f"{rule}: {found}")
    if texts:
        raise MetadataError(
            f"The metadata of {place} were not written: they would break {'; '.join(texts)}. Correct them, or open the "
            "node again for those that are stored."
        )


def is_must(findings: Iterable[Finding]) -> bool:
    """Whether one of some findings is a broken MUST."""
    return any(finding.level == "MUST" for finding in findings)


def check_copied(place: NodePath, attributes: JSONObject, version: SpecVersion) -> None:
    """Report what the document of a group breaks that is copied as what it was understood as."""
    report(place, document_findings(kinds_of(version.ome(attributes)), attributes, version.name), version)


def check_levels(place: NodePath, stored: StoredGroup, kind: Kind, arrays: Mapping[str, ArrayMeta]) -> None:
    """Report what the levels of an image that were read so far break.

    Raises
    ------
    MetadataError
        In a store that was opened with ``strict=True``.
    """
    of = place.store_handle.version_of(stored.attributes)
    version = of.name
    found: Checked | None = stored.peek(((kind,), version))
    frame = None if found is None or len(arrays) != 1 else found[1]
    metas = tuple(arrays.values())
    # By identity of the descriptions, which are kept: another one cannot get the number of one of them meanwhile.
    key = ("levels", kind, version, *arrays, *map(id, metas))
    known = stored.peek(key) if frame is None else frame.arrays.get(key)
    if known is None:
        facts = {path: facts_of(meta) for path, meta in arrays.items()}
        known = metas, array_findings(kind, stored.attributes, version, facts)
        if frame is None:
            stored.get_or_make(key, partial(tuple, known))
        else:
            frame.keep(key, known)
    if known[1]:
        report(place, known[1], of)


def check_formats(place: NodePath) -> None:
    """Report documents of Zarr v2 beside those of Zarr v3, at the root of a store.

    Raises
    ------
    MetadataError
        In a store that was opened with ``strict=True``.
    """
    if place.store_handle.documents.has_older_documents():
        found = "documents of Zarr v2 and of Zarr v3 lie side by side"
        report(place, [own_finding("LM-02", "", found, "remove those of one format")])


def facts_of(meta: ArrayMeta) -> ArrayFacts:
    """Return what the rules ask of an array."""
    return ArrayFacts(
        meta.shape, meta.dtype.name, meta.dimension_names, meta.separator, zarr_format=meta.zarr_format
    )


def report(place: NodePath, findings: Iterable[Finding], version: SpecVersion | None = None) -> None:
    """Warn of each rule that was not reported through this handle, or raise where it was opened strictly.

    Parameters
    ----------
    place
        The node.
    findings
        What it breaks.
    version
        The version that it is read as, where it is not that of the store.

    Raises
    ------
    MetadataError
        In a store that was opened with ``strict=True``.
    """
    store_handle = place.store_handle
    read_as = version or store_handle.version
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    if store_handle.strict and by_rule:
        broken = "; ".join(_described(found) for found in by_rule.values())
        raise MetadataError(
            f"The metadata of {place} are not valid: {broken}. The store was opened with strict=True; "
            f"`lamella validate {store_handle.name}` "
            "lists all findings."
        )
    for rule, found in by_rule.items():
        if rule in store_handle.reported:
            continue
        store_handle.reported.add(rule)
        warnings.warn(
            f"The metadata of {place} break {_described(found)}. Assumed: {assumption(found[0], read_as.name)}. "
            f"Other nodes of the store may break {rule} too: `lamella validate {store_handle.name}` "
            "lists all findings.",
            MetadataWarning,
            stacklevel=callers_level(),
        )


def _described(found: Sequence[Finding]) -> str:
    first = found[0]
    where = location_text(first.location)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{first.rule}{' at ' + where if where else ''}: {first.found}{more}"


def callers_level() -> int:
    """Return the level of the first frame outside of lamella, counted from the caller."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
