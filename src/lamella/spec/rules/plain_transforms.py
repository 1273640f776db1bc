"""Rules CT-01 to CT-07 of 0.4 and 0.5: lists of scale and translation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.raw_json import describe, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject


def check_plain_list(
    value: JSON, at: Location, axes: int | None, context: RuleContext, rule: str | None = None
) -> Iterator[Finding]:
    """Check a list of scale and translation for a number of axes, None if unknown.

    All findings are reported under ``rule`` (CT-07 for the list of a whole multiscale).
    """
    if not isinstance(value, list) or not value:
        yield context.finding(
            rule or "CT-01", at, f"coordinateTransformations is {describe(value)}", "list at least a scale"
        )
        return
    kinds: list[str] = []
    for index, transformation in enumerate(value):
        kinds.append(_kind(transformation))
        yield from _check_entry(transformation, (*at, index), axes, context, rule)
    if kinds.count("scale") != 1:
        yield context.finding(
            rule or "CT-03", at, f"the list has {kinds.count('scale')} scales", "keep exactly one"
        )
    yield from _check_translations(kinds, at, context, rule)


def _kind(transformation: JSON) -> str:
    kind = transformation.get("type") if isinstance(transformation, dict) else None
    return kind if isinstance(kind, str) else ""


def _check_entry(
    entry: JSON, at: Location, axes: int | None, context: RuleContext, rule: str | None
) -> Iterator[Finding]:
    if not isinstance(entry, dict):
        yield context.finding(
            rule or "CT-01", at, f"the transformation is {describe(entry)}", "write an object with a type"
        )
        return
    allowed = context.traits.dataset_types
    if not isinstance(entry.get("type"), str):
        where = (*at, "type") if "type" in entry else at
        yield context.finding(
            rule or "CT-01",
            where,
            f"the type is {describe(entry.get('type'))}",
            f"write one of {', '.join(allowed)}",
        )
        return
    kind = entry["type"]
    if kind not in allowed:
        yield context.finding(
            rule or "CT-02",
            (*at, "type"),
            f"the type is {describe(kind)}",
            f"use only {' and '.join(allowed)}",
        )
    elif kind not in entry:
        yield context.finding(
            rule or "CT-02", at, f"the {kind} has no {kind}", "add the list of numbers or remove the entry"
        )
    else:
        yield from _check_values(entry, at, axes, context, rule)


def _check_values(
    entry: JSONObject, at: Location, axes: int | None, context: RuleContext, rule: str | None
) -> Iterator[Finding]:
    kind = entry["type"]
    value, at = entry[kind], (*at, kind)
    values = numbers(value)
    if values is None:
        yield context.finding(
            rule or "CT-05", at, f"the {kind} is {describe(value)}", "write one number for each axis"
        )
    elif axes is not None and len(values) != axes:
        yield context.finding(
            rule or "CT-05",
            at,
            f"the {kind} has {len(values)} numbers for {axes} axes",
            "write one number for each axis",
        )
    elif len(values) < 2:
        yield context.finding(
            rule or "CT-05", at, f"the {kind} has {len(values)} numbers", "write one number for each axis"
        )


def _check_translations(
    kinds: list[str], at: Location, context: RuleContext, rule: str | None
) -> Iterator[Finding]:
    translations = [index for index, kind in enumerate(kinds) if kind == "translation"]
    if len(translations) > 1:
        yield context.finding(
            rule or "CT-04",
            (*at, translations[1]),
            f"the list has {len(translations)} translations",
            "keep one, the sum of all",
        )
    if translations and "scale" in kinds[translations[0] :]:
        yield context.finding(
            rule or "CT-04",
            (*at, translations[0]),
            "the translation comes before the scale",
            "list the scale first; multiply the translation by the scale if the order was meant",
        )
