"""Rules CS of 0.6: lists of coordinate systems, and the graph that transformations make of them.

Layer: spec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.axes import check_axes
from lamella.spec.rules.values import describe, is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.judge import Judge
    from lamella.types import JSON


def check_systems(value: JSON, at: Location, judge: Judge, *, rule: str, bounded: bool) -> Iterator[Finding]:
    """Judge a list of coordinate systems.

    Parameters
    ----------
    value
        The list as stored.
    at
        Where it lies.
    judge
        Dialect and node.
    rule
        Rule of the list itself: CS-01 in a multiscale, SC-02 in a scene.
    bounded
        Whether the systems describe arrays (in a multiscale they do).
    """
    if not isinstance(value, list):
        yield judge.find(
            rule, at, f"coordinateSystems is {describe(value)}", "write a list of systems with name and axes"
        )
        return
    seen: set[str] = set()
    for place, system in enumerate(value):
        where = (*at, place)
        if not isinstance(system, dict):
            yield judge.find(
                rule, where, f"the system is {describe(system)}", "write an object with name and axes"
            )
            continue
        yield from _check_name(system, where, seen, judge)
        if "axes" not in system:
            yield judge.find("CS-03", where, "the system has no axes", "list its axes")
        elif not isinstance(system["axes"], list) or not system["axes"]:
            yield judge.find(
                "CS-03", (*where, "axes"), f"axes is {describe(system['axes'])}", "list its axes"
            )
        else:
            yield from check_axes(system["axes"], (*where, "axes"), judge, bounded=bounded)


def _check_name(system: dict[str, JSON], at: Location, seen: set[str], judge: Judge) -> Iterator[Finding]:
    if "name" not in system:
        yield judge.find("CS-02", at, "the system has no name", "give it a name")
        return
    name = system["name"]
    if not is_text(name):
        yield judge.find("CS-02", (*at, "name"), f"the name is {describe(name)}", "write a string")
    elif name in seen:
        yield judge.find(
            "CS-02", (*at, "name"), f"the name {describe(name)} is used twice", "give each system its own"
        )
    else:
        seen.add(name)


def check_connected(
    names: Iterable[str], edges: Iterable[tuple[str, str]], at: Location, judge: Judge
) -> Iterator[Finding]:
    """Judge whether transformations connect all the named systems (CS-04).

    Parameters
    ----------
    names
        The coordinate systems of the document.
    edges
        Pairs of nodes that a transformation connects; nodes that are no system of the document (an array, a
        group elsewhere) only serve as bridges.
    at
        Where the systems lie.
    judge
        Dialect and node.
    """
    neighbours: dict[str, set[str]] = {}
    for one, other in edges:
        neighbours.setdefault(one, set()).add(other)
        neighbours.setdefault(other, set()).add(one)
    wanted = list(names)
    if not wanted:
        return
    reached = {wanted[0]}
    border = [wanted[0]]
    while border:
        fresh = neighbours.get(border.pop(), set()) - reached
        reached |= fresh
        border.extend(fresh)
    lost = [name for name in wanted if name not in reached]
    if lost:
        yield judge.find(
            "CS-04",
            at,
            f"nothing connects {describe(wanted[0])} with {describe(lost[0])}",
            "add a transformation between them or remove a system",
        )
