"""Rules AX and CS: a list of axes, of an image or a coordinate system, and the coordinate systems of 0.6."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.axes import SPACE_UNITS, TIME_UNITS
from lamella.spec.rules.value import axis_kind, describe, find_list, is_text
from lamella.spec.rules.version_traits import VECTOR_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.spec.rules.value import Findings, Value
    from lamella.spec.rules.version_traits import VersionTraits
    from lamella.types import JSON


_UNITS = {"space": SPACE_UNITS, "time": TIME_UNITS}
_EXAMPLES = {"space": "micrometer", "time": "second"}
_OTHER_SLOT = "other"
"""The slot of channel, custom and untyped axes."""


def check_axes(axes: Value, *, bounded: bool = True) -> Findings:
    """Check a non-empty list of axes.

    ``bounded`` axes describe an array: then their order and their number per type are checked too.
    """
    for axis in axes:
        yield from _check_axis(axis)
    yield from _check_names(axes)
    yield from _check_counts(axes)
    if bounded:
        slots = [slot_of(axis, axes.traits) for axis in axes.raw]
        yield from _check_slots(axes, slots)
        yield from _check_order(axes, slots)


def _check_axis(axis: Value) -> Findings:
    raw = axis.raw
    if not isinstance(raw, dict):
        remedy = 'write an object such as {"name": "x", "type": "space"}'
        yield axis.finding("AX-01", f"the axis is {axis}", remedy)
        return
    if "name" not in raw:
        yield axis.finding("AX-01", "the axis has no name", "give it a name")
    elif not isinstance(raw["name"], str):
        yield axis.wrong("AX-01", "name", "write a string", name="the name of the axis")
    elif not raw["name"]:
        yield axis.finding("AX-01", "the name of the axis is empty", "give it a name", "name")
    yield from _check_type(axis)
    if "discrete" in raw and not isinstance(raw["discrete"], bool):
        yield axis.wrong("AX-13", "discrete", "write true or false")
    if "longName" in raw and not isinstance(raw["longName"], str):
        yield axis.wrong("AX-13", "longName", "write a string")
    yield from _check_unit(axis)


def _check_type(axis: Value) -> Findings:
    raw, types = axis.raw, axis.traits.axis_types
    if "type" not in raw:
        remedy = f"add one of {', '.join(types)}, or a type of your own"
        yield axis.finding("AX-03", "the axis has no type", remedy)
    elif not isinstance(raw["type"], str):
        yield axis.wrong("AX-03", "type", "write a string", name="the type of the axis", level="MUST")
    elif raw["type"] in VECTOR_TYPES.intersection(types) and raw.get("discrete") is not True:
        yield axis.finding("CT-35", f"the {raw['type']} axis is not marked as discrete", "add discrete: true")


def _check_unit(axis: Value) -> Findings:
    raw = axis.raw
    if "unit" in raw and not isinstance(raw["unit"], str):
        yield axis.wrong("AX-04", "unit", "write a string or leave it out", name="the unit", level="MUST")
        return
    kind = axis_kind(raw)
    if kind not in _UNITS:
        return
    example = f'such as "{_EXAMPLES[kind]}"'
    if "unit" not in raw:
        yield axis.finding("AX-04", f"the {kind} axis has no unit", f"add one, {example}")
    elif raw["unit"] not in _UNITS[kind]:
        found = f"{describe(raw['unit'])} is not a UDUNITS-2 name of a unit of {kind}"
        yield axis.finding("AX-04", found, f"write the singular, lower-case name, {example}", "unit")


def _check_names(axes: Value) -> Findings:
    earlier: set[str] = set()
    for index, axis in enumerate(axes.raw):
        name = axis.get("name") if isinstance(axis, dict) else None
        if not isinstance(name, str):
            continue
        if name in earlier:
            found = f"the axis name {describe(name)} is used twice"
            yield axes.finding("AX-02", found, "give each axis a name of its own", index, "name")
        earlier.add(name)


def _check_counts(axes: Value) -> Findings:
    if not 2 <= len(axes.raw) <= 5:
        yield axes.finding("AX-06", f"there are {len(axes.raw)} axes", "describe 2 to 5 dimensions")
    kinds = [axis_kind(axis) for axis in axes.raw]
    space, array = kinds.count("space"), kinds.count("array")
    if 2 <= space <= 3:
        return
    if array >= 2 and "array" in axes.traits.axis_types:
        # The text asks for 2 or 3 space axes, the 0.6 schema accepts array axes: advice only.
        found = f"{array} array axes and {space} space axes"
        yield axes.finding("AX-07", found, "use 2 or 3 space axes", level="SHOULD")
        return
    found = f"{space} of the axes have type space"
    yield axes.finding("AX-07", found, "mark the 2 or 3 axes of space as such")


def _check_slots(axes: Value, slots: list[str]) -> Findings:
    times = [index for index, slot in enumerate(slots) if slot == "time"]
    other_axes = [index for index, slot in enumerate(slots) if slot == _OTHER_SLOT]
    if len(times) > 1:
        remedy = "keep one, give the others another type"
        yield axes.finding("AX-08", f"there are {len(times)} time axes", remedy, times[1])
    if len(other_axes) > 1:
        found = f"{len(other_axes)} axes are channel, custom or untyped"
        remedy = "keep one of them: the version has one place for all three"
        yield axes.finding("AX-09", found, remedy, other_axes[1])
    if "vector" in slots and other_axes:
        found = "a channel or custom axis stands beside a vector axis"
        yield axes.finding("CT-35", found, "remove one", other_axes[0])


def _check_order(axes: Value, slots: list[str]) -> Findings:
    ranks = {"time": 0, _OTHER_SLOT: 1, "vector": 1, "space": 2}
    highest = 0
    for index, slot in enumerate(slots):
        rank = ranks.get(slot, highest)
        if rank < highest:
            found = f"the {axis_kind(axes.raw[index])} axis comes after axes that it must precede"
            remedy = "order the axes time, channel or custom, space, and the array with them"
            yield axes.finding("AX-10", found, remedy, index)
            return
        highest = rank


def slot_of(axis: JSON, traits: VersionTraits) -> str:
    """Return the slot of an axis in the prescribed order: time, other, vector, space, array, or nothing."""
    kind = axis_kind(axis)
    if kind in ("", "time", "space"):
        return kind
    if kind in traits.axis_types:
        if kind in VECTOR_TYPES:
            return "vector"
        if kind == "array":
            return kind
    return _OTHER_SLOT


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

    ``edges`` are pairs of vertices that a transformation connects. A vertex that is not a system of the document, such
    as an array, need not be reached, but may connect two systems.
    """
    neighbours: dict[str, set[str]] = {}
    for first, second in edges:
        neighbours.setdefault(first, set()).add(second)
        neighbours.setdefault(second, set()).add(first)
    systems = list(names)
    if not systems:
        return
    reached = {systems[0]}
    queue = [systems[0]]
    while queue:
        new_systems = neighbours.get(queue.pop(), set()) - reached
        reached |= new_systems
        queue.extend(new_systems)
    unconnected = [name for name in systems if name not in reached]
    if unconnected:
        found = f"nothing connects {describe(systems[0])} with {describe(unconnected[0])}"
        remedy = "add a transformation between them or remove a system"
        yield owner.finding("CS-04", found, remedy, "coordinateSystems")
