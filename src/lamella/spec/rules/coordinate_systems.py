"""Rules CS of 0.6: lists of coordinate systems, and the graph of transformations between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.axes import check_axes
from lamella.spec.rules.raw_json import describe, is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON


def check_systems(
    value: JSON, at: Location, context: RuleContext, *, rule: str, bounded: bool
) -> Iterator[Finding]:
    """Check a list of coordinate systems at a location.

    ``rule`` is that of the list itself: CS-01 in a multiscale, SC-02 in a scene. ``bounded`` systems describe arrays,
    as in a multiscale.
    """
    if not isinstance(value, list):
        yield context.finding(
            rule, at, f"coordinateSystems is {describe(value)}", "write a list of systems with name and axes"
        )
        return
    seen: set[str] = set()
    for index, system in enumerate(value):
        where = (*at, index)
        if not isinstance(system, dict):
            yield context.finding(
                rule, where, f"the system is {describe(system)}", "write an object with name and axes"
            )
            continue
        yield from _check_name(system, where, seen, context)
        if "axes" not in system:
            yield context.finding("CS-03", where, "the system has no axes", "list its axes")
        elif not isinstance(system["axes"], list) or not system["axes"]:
            yield context.finding(
                "CS-03", (*where, "axes"), f"axes is {describe(system['axes'])}", "list its axes"
            )
        else:
            yield from check_axes(system["axes"], (*where, "axes"), context, bounded=bounded)


def _check_name(
    system: dict[str, JSON], at: Location, seen: set[str], context: RuleContext
) -> Iterator[Finding]:
    if "name" not in system:
        yield context.finding("CS-02", at, "the system has no name", "give it a name")
        return
    name = system["name"]
    if not is_text(name):
        yield context.finding("CS-02", (*at, "name"), f"the name is {describe(name)}", "write a string")
    elif name in seen:
        yield context.finding(
            "CS-02", (*at, "name"), f"the name {describe(name)} is used twice", "give each system its own"
        )
    else:
        seen.add(name)


def check_connected(
    names: Iterable[str], edges: Iterable[tuple[str, str]], at: Location, context: RuleContext
) -> Iterator[Finding]:
    """Check that transformations connect all the named systems (CS-04).

    ``edges`` are pairs of vertices that a transformation connects. Vertices that are not systems of the document (an
    array, a group elsewhere) only serve as bridges.
    """
    neighbours: dict[str, set[str]] = {}
    for one, other in edges:
        neighbours.setdefault(one, set()).add(other)
        neighbours.setdefault(other, set()).add(one)
    expected = list(names)
    if not expected:
        return
    reached = {expected[0]}
    border = [expected[0]]
    while border:
        fresh = neighbours.get(border.pop(), set()) - reached
        reached |= fresh
        border.extend(fresh)
    lost = [name for name in expected if name not in reached]
    if lost:
        yield context.finding(
            "CS-04",
            at,
            f"nothing connects {describe(expected[0])} with {describe(lost[0])}",
            "add a transformation between them or remove a system",
        )
