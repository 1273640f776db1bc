"""Rules ST and VE that one document can break: where the OME part lies, and which version it names.

Layer: spec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.values import describe

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.judge import Judge
    from lamella.types import JSON, JSONObject


def find_part(
    attributes: JSON, key: str, judge: Judge
) -> Generator[Finding, None, tuple[JSONObject, Location] | None]:
    """Judge the wrapper of a document and give the object that should hold `key`, with its location.

    A part that lies where another version puts it is judged there, so that one misplaced wrapper doesn't hide
    the other faults. None when there is nothing to judge.
    """
    storage = "ST-03" if judge.dialect.wrapper else "ST-01"
    if not isinstance(attributes, dict):
        yield judge.find(storage, (), f"the attributes are {describe(attributes)}", "write a JSON object")
        return None
    if not judge.dialect.wrapper:
        return (yield from _find_bare(attributes, key, judge))
    name = str(judge.dialect.wrapper[0])
    if name not in attributes:
        remedy = f"move {key} into it" if key in attributes else "this group has no metadata of this version"
        yield judge.find("ST-03", (), f"the attributes have no {name}", remedy)
        return (attributes, ()) if key in attributes else None
    part = attributes[name]
    if not isinstance(part, dict):
        yield judge.find("ST-03", (name,), f"{name} is {describe(part)}", "write a JSON object")
        return None
    yield from _check_outer_version(part, (name,), judge)
    return part, (name,)


def _find_bare(
    attributes: JSONObject, key: str, judge: Judge
) -> Generator[Finding, None, tuple[JSONObject, Location] | None]:
    wrapped = attributes.get("ome")
    if key not in attributes and isinstance(wrapped, dict) and key in wrapped:
        yield judge.find(
            "ST-01",
            ("ome",),
            f"{key} lies inside ome",
            f"move it to the top level: {judge.dialect.name} has no wrapper",
        )
        return wrapped, ("ome",)
    return attributes, ()


def _check_outer_version(part: JSONObject, at: Location, judge: Judge) -> Iterator[Finding]:
    name = judge.dialect.version_names[0]
    if "version" not in part:
        yield judge.find("ST-07", at, "there is no version", f'add version: "{name}"')
    elif part["version"] not in judge.dialect.version_names:
        yield judge.find(
            "ST-07", (*at, "version"), f"the version is {describe(part['version'])}", f'write "{name}"'
        )


def check_inner_version(part: JSONObject, at: Location, rule: str, judge: Judge) -> Iterator[Finding]:
    """Judge the version key of one part, such as a plate, under VE-01 or VE-02 as given, and VE-04."""
    name = judge.dialect.version_names[0]
    if not judge.dialect.inner_versions:
        if "version" in part:
            yield judge.find(
                "VE-04", (*at, "version"), "there is a version key", "remove it: ome.version is the only one"
            )
    elif "version" not in part:
        yield judge.find(rule, at, "there is no version", f'add version: "{name}"')
    elif part["version"] not in judge.dialect.version_names:
        yield judge.find(
            rule,
            (*at, "version"),
            f"the version is {describe(part['version'])}",
            f'write "{name}"',
            level="MUST",
        )
