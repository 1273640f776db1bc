"""Check the types of arguments of public calls, before anything is read or written.

Each function returns the argument in a normal form, or raises an error that names the argument and what it has to be.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeGuard

from lamella.errors import InvalidArgumentError, InvalidNameError, WrongTypeError

if TYPE_CHECKING:
    from collections.abc import Sequence


def items_of(items: Iterable[Any], subject: str) -> list[Any]:
    """Return the items of an iterable argument as a list; raise for text and for other types.

    The error begins with ``subject``.

    >>> items_of(("y", "x"), "The argument dims is a list of axis names")
    ['y', 'x']
    >>> items_of(5, "The argument dims is a list of axis names")
    Traceback (most recent call last):
    ...
    lamella.errors.WrongTypeError: The argument dims is a list of axis names, not 5.
    """
    if isinstance(items, Iterable) and not isinstance(items, str | bytes):
        return list(items)
    raise WrongTypeError(f"{subject}, not {items!r}.")


def whole_numbers(numbers: Sequence[int], subject: str, minimum: int) -> tuple[int, ...]:
    """Return an argument that is a list of whole numbers; nothing is rounded.

    >>> whole_numbers([4, 64], "The argument chunks", 1)
    (4, 64)
    >>> whole_numbers((1.5,), "The argument chunks", 1)
    Traceback (most recent call last):
    ...
    lamella.errors.WrongTypeError: The argument chunks is a list of whole numbers from 1 on, not (1.5,).
    """
    text = f"{subject} is a list of whole numbers from {minimum} on"
    try:
        integers = tuple(int(operator.index(number)) for number in items_of(numbers, text))
    except TypeError:
        raise WrongTypeError(f"{text}, not {numbers!r}.") from None
    if any(number < minimum for number in integers):
        raise InvalidArgumentError(f"{text}, not {numbers!r}.")
    return integers


def whole_number(number: int, subject: str, minimum: int) -> int:
    """Return an argument that is a whole number; nothing is rounded.

    >>> whole_number("2", "The argument level", 0)
    Traceback (most recent call last):
    ...
    lamella.errors.WrongTypeError: The argument level is a whole number from 0 on, not '2'.
    """
    try:
        integer = int(operator.index(number))
    except TypeError:
        raise WrongTypeError(f"{subject} is a whole number from {minimum} on, not {number!r}.") from None
    if integer < minimum:
        raise InvalidArgumentError(f"{subject} is a whole number from {minimum} on, not {number!r}.")
    return integer


def is_boolean(value: object) -> bool:
    """Return whether a value is a boolean, or an array of booleans: Python counts True as 1."""
    return isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", None) == "b"


def check_flags(**flags: object) -> None:
    """Raise unless each argument is True or False: text such as "no" counts as True in Python, and would overwrite.

    >>> check_flags(overwrite="no")
    Traceback (most recent call last):
    ...
    lamella.errors.WrongTypeError: The argument overwrite is True or False, not 'no'.
    """
    for name, flag in flags.items():
        if not is_boolean(flag) and not (is_whole_number(flag, 0) and flag in (0, 1)):
            raise WrongTypeError(f"The argument {name} is True or False, not {flag!r}.")


def is_whole_number(number: object, minimum: int) -> bool:
    """Return whether an argument is a whole number of Python or numpy, and not a boolean.

    >>> is_whole_number(3, 1), is_whole_number(0, 1), is_whole_number(True, 1), is_whole_number(2.0, 1)
    (True, False, False, False)
    """
    if is_boolean(number):
        return False
    try:
        return operator.index(number) >= minimum  # type: ignore[arg-type]
    except TypeError:
        return False


def is_real_number(number: object) -> TypeGuard[Real]:
    """Return whether an argument is a real number of Python or numpy, and not a boolean.

    >>> is_real_number(1), is_real_number(0.5), is_real_number(True), is_real_number("1")
    (True, True, False, False)
    """
    return isinstance(number, Real) and not isinstance(number, bool)


def checked_name(name: object) -> str:
    """Return a name of a row, column or position as text; whole numbers are accepted as well, and nothing else.

    >>> checked_name("A"), checked_name(7)
    ('A', '7')
    >>> checked_name(float("nan"))
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidNameError: A row, column or position is named by text or a whole number, not nan.
    """
    text = text_of_name(name)
    if text is None:
        raise InvalidNameError(f"A row, column or position is named by text or a whole number, not {name!r}.")
    return text


def text_of_name(name: object) -> str | None:
    """Return a name that is text or a whole number, also one of numpy, as text; None for anything else.

    >>> import numpy as np
    >>> text_of_name("A"), text_of_name(np.int64(7)), text_of_name(True), text_of_name(1.0)
    ('A', '7', None, None)
    """
    if isinstance(name, str):
        return str(name)
    if not isinstance(name, bool) and hasattr(name, "__index__"):
        try:
            return str(operator.index(name))
        except TypeError:
            pass  # an array of several numbers
    return None


def checked_channel_name(name: object) -> str:
    """Return the name of a channel; raise for anything but text that is not empty.

    >>> checked_channel_name("DAPI")
    'DAPI'
    >>> checked_channel_name(0)
    Traceback (most recent call last):
    ...
    lamella.errors.WrongTypeError: A channel is named by text that is not empty, not 0.
    """
    if isinstance(name, str) and name:
        return name
    raise WrongTypeError(f"A channel is named by text that is not empty, not {name!r}.")
