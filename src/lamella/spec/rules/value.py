"""A value of a document as the checks see it: the JSON with its location, from which findings are made.

The rules ST and VE are here: where the OME part of a document lies, and which version it names (`find_part`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lamella.spec.rules.catalogue import OWN_RULES, RULES
from lamella.spec.rules.finding import Finding, Level, Location
from lamella.spec.rules.raw_json import describe

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lamella.spec.rules.version_traits import VersionTraits
    from lamella.types import JSON

    Findings: TypeAlias = Iterator[Finding]
    Found: TypeAlias = Generator[Finding, None, "Value | None"]
    """Findings, and then the value that was searched; None if it cannot be checked further."""


class Value:
    """A JSON value (`raw`) at a location of a node's attributes, and the version by whose rules it is checked.

    `value[key]` is a value inside it, iteration yields the entries of a list, and `str(value)` describes it.
    """

    __slots__ = ("at", "node", "raw", "traits")

    def __init__(self, raw: JSON, at: Location, traits: VersionTraits, node: str = "") -> None:
        self.raw = raw
        self.at = at
        self.traits = traits
        self.node = node

    def __getitem__(self, key: str | int) -> Value:
        return Value(self.raw[key], (*self.at, key), self.traits, self.node)

    def __iter__(self) -> Iterator[Value]:
        for index, item in enumerate(self.raw):
            yield Value(item, (*self.at, index), self.traits, self.node)

    def __str__(self) -> str:
        return describe(self.raw)

    def objects(self, key: str) -> list[Value]:
        """Return the objects in the list of a key; nothing for any other value."""
        listed = self.raw.get(key)
        return [item for item in self[key] if isinstance(item.raw, dict)] if isinstance(listed, list) else []

    def finding(
        self, rule: str, found: str, remedy: str, *steps: str | int, level: Level | None = None
    ) -> Finding:
        """Return a finding here, or `steps` below; the level comes from the catalogue unless it is stated."""
        entry = RULES.get(rule) or OWN_RULES[rule]
        level = level or entry.level_in(self.traits.name)
        return Finding(rule, level, self.node, (*self.at, *steps), found, remedy)

    def wrong(
        self,
        rule: str,
        key: str,
        remedy: str,
        *,
        name: str = "",
        missing: str = "",
        level: Level | None = None,
    ) -> Finding:
        """Return the finding that the value of a key is of the wrong kind, or ``missing`` (by default null)."""
        steps = (key,) if key in self.raw else ()
        found = missing if missing and not steps else f"{name or key} is {describe(self.raw.get(key))}"
        return self.finding(rule, found, remedy, *steps, level=level)


class Ends(NamedTuple):
    """Numbers of axes at the input and the output of a transformation, None where unknown."""

    inputs: int | None
    outputs: int | None


def find_object(owner: Value, key: str, rule: str, remedy: str) -> Found:
    """Return the object of a key; None if it is missing or not an object, which breaks the rule."""
    if isinstance(owner.raw.get(key), dict):
        return owner[key]
    yield owner.wrong(rule, key, remedy, missing=f"there is no {key}")
    return None


def find_list(owner: Value, key: str, rule: str, remedy: str, *, name: str) -> Found:
    """Return the list of a key; None if it is missing, empty or not a list, which breaks the rule."""
    listed = owner.raw.get(key)
    if isinstance(listed, list) and listed:
        return owner[key]
    yield owner.wrong(rule, key, remedy, missing=f"the {name} has no {key}")
    return None


def find_part(attributes: Value, key: str) -> Found:
    """Check the wrapper of a document; return the object that should have `key`.

    A part at the location of another version is checked there, so that one misplaced wrapper does not hide other
    problems. None if there is nothing to check.
    """
    raw, traits = attributes.raw, attributes.traits
    if not isinstance(raw, dict):
        storage = "ST-03" if traits.wrapper else "ST-01"
        yield attributes.finding(storage, f"the attributes are {attributes}", "write a JSON object")
        return None
    if not traits.wrapper:
        wrapped = raw.get("ome")
        if key not in raw and isinstance(wrapped, dict) and key in wrapped:
            remedy = f"move it to the top level: {traits.name} has no wrapper"
            yield attributes.finding("ST-01", f"{key} lies inside ome", remedy, "ome")
            return attributes["ome"]
        return attributes
    name = str(traits.wrapper[0])
    if name not in raw:
        remedy = f"move {key} into it" if key in raw else "this group has no metadata of this version"
        yield attributes.finding("ST-03", f"the attributes have no {name}", remedy)
        return attributes if key in raw else None
    if not isinstance(raw[name], dict):
        yield attributes.wrong("ST-03", name, "write a JSON object")
        return None
    part = attributes[name]
    yield from _check_version(part, "ST-07")
    return part


def _check_version(part: Value, rule: str, level: Level | None = None) -> Findings:
    names = part.traits.version_names
    if "version" not in part.raw:
        yield part.finding(rule, "there is no version", f'add version: "{names[0]}"')
    elif part.raw["version"] not in names:
        yield part.wrong(rule, "version", f'write "{names[0]}"', name="the version", level=level)


def check_inner_version(part: Value, rule: str) -> Findings:
    """Check the version key of one part, such as a plate, under VE-01 or VE-02, and VE-04."""
    if part.traits.inner_versions:
        yield from _check_version(part, rule, "MUST")
    elif "version" in part.raw:
        remedy = "remove it: ome.version is the only one"
        yield part.finding("VE-04", "there is a version key", remedy, "version")
