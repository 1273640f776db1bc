"""Report rules that documents break when they are read: one warning per store handle and rule, or an error.

The rules (:mod:`lamella.spec.rules`) run once per distinct document; other nodes with the same document use the cached
findings.
"""

from __future__ import annotations

import shlex
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from lamella.errors import MetadataError, MetadataWarning, warn
from lamella.spec.rules import ArrayFacts, location_text
from lamella.spec.rules.catalogue import own_finding
from lamella.spec.rules.check import array_findings, assumption, document_findings, kinds_of
from lamella.spec.rules.document_form import image_form

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lamella.nodes.store_handle import NodePath
    from lamella.spec.rules import Finding, Kind
    from lamella.spec.rules.document_form import DocumentForm
    from lamella.spec.versions import SpecVersion
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.json_document import StoredGroup
    from lamella.types import JSONObject

CheckedDocument: TypeAlias = "tuple[tuple[Finding, ...], DocumentForm | None]"
"""The findings of a document, and for an image the form of its document, which caches the findings of its arrays."""


def check_document(node_path: NodePath, stored: StoredGroup, kinds: tuple[Kind, ...]) -> None:
    """Report rules that a group's document breaks by itself; raise in a store opened with ``strict=True``."""
    version = node_path.store_handle.version_of(stored.attributes)
    key = kinds, version.name
    findings = stored.get_or_make(key, partial(_check_rules, stored.attributes, *key))[0]
    if findings:
        report(node_path, findings, version)


def _check_rules(attributes: JSONObject, kinds: tuple[Kind, ...], version: str) -> CheckedDocument:
    form = image_form(attributes, version) if kinds == ("image",) else None
    return document_findings(kinds, attributes, version) if form is None else form.findings, form


def check_edit(node_path: NodePath, before: JSONObject, after: JSONObject, kinds: tuple[Kind, ...]) -> None:
    """Raise `MetadataError` for new attributes that break a MUST which the stored ones satisfy."""
    if before == after:
        return
    store_handle = node_path.store_handle
    old_version, new_version = store_handle.version_of(before), store_handle.version_of(after)
    broken: dict[str, list[Finding]] = {}
    for finding in document_findings(kinds, after, new_version.name):
        broken.setdefault(finding.rule, []).append(finding)
    counts_before = Counter(finding.rule for finding in document_findings(kinds, before, old_version.name))
    texts = [
        _rule_text(findings)
        for rule, findings in broken.items()
        if len(findings) > counts_before[rule] and any(finding.level == "MUST" for finding in findings)
    ]
    for rule, key, problem in (
        ("MS-03", "multiscales", "no level is left"),
        ("WL-01", "well", "no image is left"),
    ):
        if key in old_version.ome(before) and key not in new_version.ome(after):
            texts.append(f"{rule}: {problem}")
    if texts:
        raise MetadataError(
            f"The metadata of {node_path} were not written: they would break {'; '.join(texts)}. Correct them, or open "
            "the node again to read the stored ones."
        )


def check_copied(node_path: NodePath, attributes: JSONObject, version: SpecVersion) -> None:
    """Report rules that a copied document breaks."""
    report(node_path, document_findings(kinds_of(version.ome(attributes)), attributes, version.name), version)


def level_findings(
    node_path: NodePath, stored: StoredGroup, kind: Kind, arrays: Mapping[str, ArrayMeta]
) -> tuple[Finding, ...]:
    """Return the rules that the levels read so far break."""
    spec_version = node_path.store_handle.version_of(stored.attributes)
    version = spec_version.name
    checked: CheckedDocument | None = stored.peek(((kind,), version))
    form = None if checked is None or len(arrays) != 1 else checked[1]
    metas = tuple(arrays.values())
    # The ids stay unique, because the cached result keeps the descriptions alive.
    key = ("levels", kind, version, *arrays, *map(id, metas))
    cached = stored.peek(key) if form is None else form.array_findings.get(key)
    if cached is None:
        facts = {path: array_facts(meta) for path, meta in arrays.items()}
        cached = metas, array_findings(kind, stored.attributes, version, facts)
        if form is None:
            stored.get_or_make(key, partial(tuple, cached))
        else:
            form.store_array_findings(key, cached)
    return tuple(cached[1])


def check_formats(node_path: NodePath) -> None:
    """Report Zarr v2 documents beside Zarr v3 ones at the root; raise `MetadataError` with ``strict=True``."""
    if node_path.store_handle.documents.has_older_documents():
        problem = "documents of Zarr v2 and of Zarr v3 lie side by side"
        report(node_path, [own_finding("LM-02", "", problem, "remove those of one format")])


def array_facts(meta: ArrayMeta) -> ArrayFacts:
    """Return the properties of an array that the rules check."""
    return ArrayFacts(
        meta.shape, meta.dtype.name, meta.dimension_names, meta.separator, zarr_format=meta.zarr_format
    )


def report(node_path: NodePath, findings: Iterable[Finding], version: SpecVersion | None = None) -> None:
    """Warn of each rule that this store handle has not warned of, or raise `MetadataError` with ``strict=True``.

    `version` is the OME-NGFF version of the document, if it differs from that of the store.
    """
    store_handle = node_path.store_handle
    read_as = version or store_handle.version
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    if store_handle.strict and by_rule:
        broken = "; ".join(_rule_text(rule_findings) for rule_findings in by_rule.values())
        raise MetadataError(
            f"The metadata of {node_path} are not valid: {broken}. The store was opened with strict=True; "
            f"`lamella validate {shlex.quote(store_handle.name)}` "
            "lists all findings."
        )
    for rule, rule_findings in by_rule.items():
        if rule in store_handle.reported:
            continue
        store_handle.reported.add(rule)
        warn(
            f"The metadata of {node_path} break {_rule_text(rule_findings)}. "
            f"Assumed: {assumption(rule_findings[0], read_as.name)}. Other nodes of the store may break {rule} too: "
            f"`lamella validate {shlex.quote(store_handle.name)}` lists all findings.",
            MetadataWarning,
        )


def _rule_text(findings: Sequence[Finding]) -> str:
    first = findings[0]
    where = location_text(first.location)
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{first.rule}{' at ' + where if where else ''}: {first.found}{more}"


def warn_of(notes: Iterable[str]) -> None:
    """Warn of each note once. An operation calls this at its end: if it fails, its error is the only message."""
    for note in dict.fromkeys(notes):
        warn(note)
