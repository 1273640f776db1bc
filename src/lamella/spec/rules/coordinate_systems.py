"""Rules CS of 0.6: lists of coordinate systems, and the graph of transformations between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.axes import check_axes
from lamella.spec.rules.value import describe, find_list, is_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.spec.rules.value import Findings, Value


def check_systems(owner: Value, *, rule: str, bounded: bool) -> Findings:
    """Check the list ``coordinateSystems`` of a multiscale or a scene.

    ``rule`` is that of the list itself: CS-01 in a multiscale, SC-02 in a scene. ``bounded`` systems describe arrays,
    as in a multiscale.
    """
    if not isinstance(owner.raw["coordinateSystems"], list):
        yield owner.wrong(rule, "coordinateSystems", "write a list of systems with name and axes")
        return
    seen: set[str] = set()
    for system in owner["coordinateSystems"]:
        if not isinstance(system.raw, dict):
            yield system.finding(rule, f"the system is {system}", "write an object with name and axes")
            continue
        yield from _check_name(system, seen)
        axes = yield from find_list(system, "axes", "CS-03", "list its axes", name="system")
        if axes is not None:
            yield from check_axes(axes, bounded=bounded)


def _check_name(system: Value, seen: set[str]) -> Findings:
    name = system.raw.get("name")
    if "name" not in system.raw:
        yield system.finding("CS-02", "the system has no name", "give it a name")
    elif not is_text(name):
        yield system.wrong("CS-02", "name", "write a string", name="the name")
    elif name in seen:
        found = f"the name {describe(name)} is used twice"
        yield system.finding("CS-02", found, "give each system its own", "name")
    else:
        seen.add(name)


def check_connected(owner: Value, names: Iterable[str], edges: Iterable[tuple[str, str]]) -> Findings:
    """Check that transformations connect all the named systems of a multiscale or a scene (CS-04).

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
        found = f"nothing connects {describe(expected[0])} with {describe(lost[0])}"
        remedy = "add a transformation between them or remove a system"
        yield owner.finding("CS-04", found, remedy, "coordinateSystems")
