"""Rules ST and VE on one document: the location of the OME part, and the version that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.raw_json import describe

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject


def find_part(
    attributes: JSON, key: str, context: RuleContext
) -> Generator[Finding, None, tuple[JSONObject, Location] | None]:
    """Check the wrapper of a document; return the object that should have `key`, and its location.

    A part at the location of another version is checked there, so that one misplaced wrapper does not hide other
    problems. None if there is nothing to check.
    """
    storage = "ST-03" if context.traits.wrapper else "ST-01"
    if not isinstance(attributes, dict):
        yield context.finding(
            storage, (), f"the attributes are {describe(attributes)}", "write a JSON object"
        )
        return None
    if not context.traits.wrapper:
        return (yield from _find_bare(attributes, key, context))
    name = str(context.traits.wrapper[0])
    if name not in attributes:
        remedy = f"move {key} into it" if key in attributes else "this group has no metadata of this version"
        yield context.finding("ST-03", (), f"the attributes have no {name}", remedy)
        return (attributes, ()) if key in attributes else None
    part = attributes[name]
    if not isinstance(part, dict):
        yield context.finding("ST-03", (name,), f"{name} is {describe(part)}", "write a JSON object")
        return None
    yield from _check_outer_version(part, (name,), context)
    return part, (name,)


def _find_bare(
    attributes: JSONObject, key: str, context: RuleContext
) -> Generator[Finding, None, tuple[JSONObject, Location] | None]:
    wrapped = attributes.get("ome")
    if key not in attributes and isinstance(wrapped, dict) and key in wrapped:
        yield context.finding(
            "ST-01",
            ("ome",),
            f"{key} lies inside ome",
            f"move it to the top level: {context.traits.name} has no wrapper",
        )
        return wrapped, ("ome",)
    return attributes, ()


def _check_outer_version(part: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    name = context.traits.version_names[0]
    if "version" not in part:
        yield context.finding("ST-07", at, "there is no version", f'add version: "{name}"')
    elif part["version"] not in context.traits.version_names:
        yield context.finding(
            "ST-07", (*at, "version"), f"the version is {describe(part['version'])}", f'write "{name}"'
        )


def check_inner_version(part: JSONObject, at: Location, rule: str, context: RuleContext) -> Iterator[Finding]:
    """Check the version key of one part, such as a plate, under VE-01 or VE-02, and VE-04."""
    name = context.traits.version_names[0]
    if not context.traits.inner_versions:
        if "version" in part:
            yield context.finding(
                "VE-04", (*at, "version"), "there is a version key", "remove it: ome.version is the only one"
            )
    elif "version" not in part:
        yield context.finding(rule, at, "there is no version", f'add version: "{name}"')
    elif part["version"] not in context.traits.version_names:
        yield context.finding(
            rule,
            (*at, "version"),
            f"the version is {describe(part['version'])}",
            f'write "{name}"',
            level="MUST",
        )
