"""Raw JSON values: what kind they are, and how a finding shows them in a few words.

The kinds are those of JSON Schema, not Python's: ``True`` is no number, ``1.0`` is an integer. Nothing here
raises, whatever the value.

Layer: spec. Imports nothing but the standard library.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.types import JSON

_LONGEST = 40
"""Characters of a string, and of a short list, that a finding quotes."""

_LARGEST = 10**18
"""Integers beyond this are counted in bits: printing them is quadratic, and refused beyond 4300 digits."""


def is_integer(value: JSON) -> bool:
    """Whether JSON Schema calls the value an integer.

    Examples
    --------
    >>> is_integer(1), is_integer(1.0), is_integer(True), is_integer("1")
    (True, True, False, False)
    """
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def is_number(value: JSON) -> bool:
    """Whether the value is a number that arithmetic can use: finite, and not a boolean.

    Examples
    --------
    >>> is_number(0.5), is_number(True), is_number(float("nan")), is_number(10**400)
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_text(value: JSON) -> TypeGuard[str]:
    """Whether the value is a string with something in it."""
    return isinstance(value, str) and value != ""


def numbers(value: JSON) -> list[float] | None:
    """Give a list of numbers, or None when the value is anything else.

    Examples
    --------
    >>> numbers([1, 0.5]), numbers([1, "a"]), numbers(3)
    ([1.0, 0.5], None, None)
    """
    if not isinstance(value, list) or not all(is_number(item) for item in value):
        return None
    return [float(item) for item in value]


def integers(value: JSON) -> list[int] | None:
    """Give a list of integers, or None when the value is anything else."""
    if not isinstance(value, list) or not all(is_integer(item) for item in value):
        return None
    return [int(item) for item in value]


def strings(value: JSON) -> list[str]:
    """Give the strings of a list, and nothing for any other value."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def objects(value: JSON) -> Iterator[tuple[int, dict[str, JSON]]]:
    """Give the objects of a list with their places; nothing for any other value."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            if isinstance(item, dict):
                yield place, item


def alike(one: JSON, other: JSON) -> bool:
    """Whether two values are equal; values nested too deeply to compare are not."""
    try:
        return bool(one == other)
    except RecursionError:
        return False


def describe(value: JSON) -> str:
    """Show a value on one line, in at most about a hundred characters.

    Examples
    --------
    >>> describe("micron"), describe(None), describe([1, 2]), describe({"name": "x", "type": "space"})
    ('"micron"', 'null', '[1, 2]', 'an object with "name", "type"')
    """
    if isinstance(value, str):
        return json.dumps(value if len(value) <= _LONGEST else value[:_LONGEST] + "...")
    if isinstance(value, list):
        return _describe_list(value)
    if isinstance(value, dict):
        if not value:
            return "an empty object"
        names = ", ".join(describe(str(key)) for key in list(value)[:3])
        return f"an object with {names}" + (", ..." if len(value) > 3 else "")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST:
        return f"an integer of {value.bit_length()} bits"
    return (
        json.dumps(value) if value is None or isinstance(value, bool | int | float) else type(value).__name__
    )


def _describe_list(value: list[JSON]) -> str:
    if len(value) <= 8 and not any(isinstance(item, list | dict) for item in value):
        shown = "[" + ", ".join(describe(item) for item in value) + "]"
        if len(shown) <= 2 * _LONGEST:
            return shown
    return f"a list of {len(value)}"
