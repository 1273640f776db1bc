"""Names of rows, columns and fields: which are valid, and which collide."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lamella.errors import InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]+")


def is_name(text: str) -> bool:
    """Return whether a text consists of ASCII letters and digits only.

    Examples
    --------
    >>> is_name("A1"), is_name("A 1")
    (True, False)
    """
    return _ALPHANUMERIC.fullmatch(text) is not None


def check_name(name: str) -> str:
    """Return the name; raise InvalidNameError unless it is ASCII letters and digits (PL-03, WL-02, A19).

    Examples
    --------
    >>> check_name("A1")
    'A1'
    >>> check_name("../A")
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidNameError: '../A' is not a name: '.' and '/' are not allowed, ...
    """
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

    Examples
    --------
    >>> case_collisions(["A", "B", "a"])
    [('A', 'a')]
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(name.lower(), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]
