"""Rules AX: one list of axes, wherever it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.axes import SPACE_UNITS, TIME_UNITS
from lamella.spec.rules.raw_json import axis_kind, describe
from lamella.spec.rules.version_traits import VECTOR_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON

_UNITS = {"space": SPACE_UNITS, "time": TIME_UNITS}
_EXAMPLES = {"space": "micrometer", "time": "second"}
_SLOT = "other"


def check_axes(
    axes: list[JSON], at: Location, context: RuleContext, *, bounded: bool = True
) -> Iterator[Finding]:
    """Check a non-empty list of axes at a location.

    ``bounded`` axes describe an array: then their order and their number per type are checked too.
    """
    for index, axis in enumerate(axes):
        yield from _check_axis(axis, (*at, index), context)
    yield from _check_names(axes, at, context)
    yield from _check_counts(axes, at, context)
    if bounded:
        yield from _check_slots(axes, at, context)
        yield from _check_order(axes, at, context)


def _check_axis(axis: JSON, at: Location, context: RuleContext) -> Iterator[Finding]:
    if not isinstance(axis, dict):
        yield context.finding(
            "AX-01",
            at,
            f"the axis is {describe(axis)}",
            'write an object such as {"name": "x", "type": "space"}',
        )
        return
    if "name" not in axis:
        yield context.finding("AX-01", at, "the axis has no name", "give it a name")
    elif not isinstance(axis["name"], str):
        yield context.finding(
            "AX-01", (*at, "name"), f"the name of the axis is {describe(axis['name'])}", "write a string"
        )
    elif not axis["name"]:
        yield context.finding("AX-01", (*at, "name"), "the name of the axis is empty", "give it a name")
    yield from _check_type(axis, at, context)
    if "discrete" in axis and not isinstance(axis["discrete"], bool):
        yield context.finding(
            "AX-13", (*at, "discrete"), f"discrete is {describe(axis['discrete'])}", "write true or false"
        )
    if "longName" in axis and not isinstance(axis["longName"], str):
        yield context.finding(
            "AX-13", (*at, "longName"), f"longName is {describe(axis['longName'])}", "write a string"
        )
    yield from _check_unit(axis, at, context)


def _check_type(axis: dict[str, JSON], at: Location, context: RuleContext) -> Iterator[Finding]:
    if "type" not in axis:
        known = ", ".join(context.traits.axis_types)
        yield context.finding(
            "AX-03", at, "the axis has no type", f"add one of {known}, or a type of your own"
        )
    elif not isinstance(axis["type"], str):
        yield context.finding(
            "AX-03",
            (*at, "type"),
            f"the type of the axis is {describe(axis['type'])}",
            "write a string",
            level="MUST",
        )
    elif (
        axis["type"] in VECTOR_TYPES.intersection(context.traits.axis_types)
        and axis.get("discrete") is not True
    ):
        yield context.finding(
            "CT-35", at, f"the {axis['type']} axis is not marked as discrete", "add discrete: true"
        )


def _check_unit(axis: dict[str, JSON], at: Location, context: RuleContext) -> Iterator[Finding]:
    if "unit" in axis and not isinstance(axis["unit"], str):
        yield context.finding(
            "AX-04",
            (*at, "unit"),
            f"the unit is {describe(axis['unit'])}",
            "write a string or leave it out",
            level="MUST",
        )
        return
    kind = axis_kind(axis)
    if kind not in _UNITS:
        return
    if "unit" not in axis:
        yield context.finding(
            "AX-04", at, f"the {kind} axis has no unit", f'add one, such as "{_EXAMPLES[kind]}"'
        )
    elif axis["unit"] not in _UNITS[kind]:
        yield context.finding(
            "AX-04",
            (*at, "unit"),
            f"{describe(axis['unit'])} is not a UDUNITS-2 name of a unit of {kind}",
            f'write the singular, lower-case name, such as "{_EXAMPLES[kind]}"',
        )


def _check_names(axes: list[JSON], at: Location, context: RuleContext) -> Iterator[Finding]:
    earlier: set[str] = set()
    for index, axis in enumerate(axes):
        if not isinstance(axis, dict) or not isinstance(axis.get("name"), str):
            continue
        name = axis["name"]
        if name in earlier:
            yield context.finding(
                "AX-02",
                (*at, index, "name"),
                f"the axis name {describe(name)} is used twice",
                "give each axis a name of its own",
            )
        earlier.add(name)


def _check_counts(axes: list[JSON], at: Location, context: RuleContext) -> Iterator[Finding]:
    if not 2 <= len(axes) <= 5:
        yield context.finding("AX-06", at, f"there are {len(axes)} axes", "describe 2 to 5 dimensions")
    kinds = [axis_kind(axis) for axis in axes]
    space, array = kinds.count("space"), kinds.count("array")
    if 2 <= space <= 3:
        return
    if array >= 2 and "array" in context.traits.axis_types:
        # The text asks for 2 or 3 space axes, the 0.6 schema accepts array axes: advice only.
        yield context.finding(
            "AX-07", at, f"{array} array axes and {space} space axes", "use 2 or 3 space axes", level="SHOULD"
        )
        return
    yield context.finding(
        "AX-07", at, f"{space} of the axes have type space", "mark the 2 or 3 axes of space as such"
    )


def _check_slots(axes: list[JSON], at: Location, context: RuleContext) -> Iterator[Finding]:
    slots = [slot_of(axis, context) for axis in axes]
    times = [index for index, slot in enumerate(slots) if slot == "time"]
    others = [index for index, slot in enumerate(slots) if slot == _SLOT]
    if len(times) > 1:
        yield context.finding(
            "AX-08",
            (*at, times[1]),
            f"there are {len(times)} time axes",
            "keep one, give the others another type",
        )
    if len(others) > 1:
        yield context.finding(
            "AX-09",
            (*at, others[1]),
            f"{len(others)} axes are channel, custom or untyped",
            "keep one of them: the version has one place for all three",
        )
    vectors = [index for index, slot in enumerate(slots) if slot == "vector"]
    if vectors and others:
        yield context.finding(
            "CT-35", (*at, others[0]), "a channel or custom axis stands beside a vector axis", "remove one"
        )


def _check_order(axes: list[JSON], at: Location, context: RuleContext) -> Iterator[Finding]:
    ranks = {"time": 0, _SLOT: 1, "vector": 1, "space": 2}
    highest = 0
    for index, axis in enumerate(axes):
        rank = ranks.get(slot_of(axis, context))
        if rank is None:
            continue
        if rank < highest:
            yield context.finding(
                "AX-10",
                (*at, index),
                f"the {axis_kind(axis)} axis comes after axes that it must precede",
                "order the axes time, channel or custom, space, and the array with them",
            )
            return
        highest = rank


def slot_of(axis: JSON, context: RuleContext) -> str:
    """Return the slot of an axis in the prescribed order: time, other, vector, space, array, or nothing."""
    kind = axis_kind(axis)
    if kind in ("", "time", "space"):
        return kind
    if kind in context.traits.axis_types:
        if kind in VECTOR_TYPES:
            return "vector"
        if kind == "array":
            return kind
    return _SLOT
