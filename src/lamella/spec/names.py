"""Names of rows, columns and fields: which are valid, and which collide."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lamella.errors import InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]+")
_SWAPPED = re.compile(r"[^/]+/lamella[0-9a-f]{8}")
_WELL = re.compile(r"([A-Za-z]+)0*([0-9]+)", re.ASCII)


def is_name(text: str) -> bool:
    """Return whether a text consists of ASCII letters and digits only."""
    return _ALPHANUMERIC.fullmatch(text) is not None


def check_name(name: str) -> str:
    """Return the name; raise InvalidNameError unless it is ASCII letters and digits (PL-03, WL-02, A19)."""
    if not isinstance(name, str):
        raise InvalidNameError(f"{name!r} is not a name: use a string of letters A-Z, a-z and digits 0-9")
    if not name:
        raise InvalidNameError("'' is not a name: it is empty; use letters A-Z, a-z and digits 0-9")
    if not is_name(name):
        bad = sorted({repr(letter) for letter in name if not (letter.isascii() and letter.isalnum())})
        raise InvalidNameError(
            f"{name!r} is not a name: {' and '.join(bad)} {'is' if len(bad) == 1 else 'are'} not allowed, "
            "only the letters A-Z, a-z and the digits 0-9 (PL-03, WL-02)"
        )
    return name


def case_collisions(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return names that differ only by case: one folder on many file systems (PL-03).

    >>> case_collisions(["A", "B", "a"])
    [('A', 'a')]
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(name.lower(), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def is_well_name(text: str) -> bool:
    """Return whether a text is the name of a well on the plate, such as "B03"."""
    return _WELL.fullmatch(text) is not None


def temporary_well(path: str, token: str) -> str:
    """Return the temporary path of a well that swaps names with others; `token` are hex digits of the swap.

    >>> temporary_well("B/3", "0123456789"), is_temporary_well("B/lamella01234567"), is_temporary_well("B/3")
    ('B/lamella01234567', True, False)
    """
    return f"{path.partition('/')[0]}/lamella{token[:8]}"


def is_temporary_well(path: str) -> bool:
    """Return whether a well path is a temporary one of wells that swap names."""
    return _SWAPPED.fullmatch(path) is not None


def find_well(name: str, paths: Iterable[str]) -> str | None:
    """Return the path of the well that a name such as "B03" means; None if no well, or several, fit.

    An exact path is preferred, then the exact column, then the column with other leading zeros.

    >>> find_well("B03", ["A/3", "B/3"]), find_well("B3", ["B/03"]), find_well("B/3", ["B/03"])
    ('B/3', 'B/03', None)
    """
    paths = list(paths)
    if name in paths:
        return name
    parsed = _WELL.fullmatch(name)
    if parsed is None:
        return None
    exact = [path for path in paths if path.replace("/", "") == name]
    fitting = exact or [
        path
        for path in paths
        for row, _, column in [path.partition("/")]
        if row == parsed[1] and column.isdecimal() and int(column) == int(parsed[2])
    ]
    return fitting[0] if len(fitting) == 1 else None


def new_well(name: str, paths: Iterable[str], columns: Iterable[str]) -> str:
    """Return the path of a new well that is named as on the plate, such as "B03", in a column that the plate has.

    Return the name itself if it is a path, or if no column, or several, fit.

    >>> new_well("B03", ["A/3"], ["3"]), new_well("A3", ["A/3"], ["3"]), new_well("B04", ["A/3"], ["3"])
    ('B/3', 'A/3', 'B04')
    """
    path = find_well(name, paths)
    parsed = _WELL.fullmatch(name)
    if path is not None or parsed is None:
        return path or name
    fitting = [column for column in columns if column.isdecimal() and int(column) == int(parsed[2])]
    return f"{parsed[1]}/{fitting[0]}" if len(fitting) == 1 else name
