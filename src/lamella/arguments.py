"""Checks of the types of arguments, for every public call: what cannot be used is refused by an error of lamella.

Each check names the argument and what it has to be, and is made before anything is read or written.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, InvalidNameError, WrongTypeError

if TYPE_CHECKING:
    from collections.abc import Sequence


def items_of(value: Iterable[Any], subject: str) -> list[Any]:
    """Return the items of an iterable argument; raise WrongTypeError, which begins with ``subject``, for text too.

    >>> items_of(("y", "x"), "The argument dims is a list of axis names")
    ['y', 'x']
    >>> items_of(5, "The argument dims is a list of axis names")
    Traceback (most recent call last):
    ...
    lamella.errors.WrongTypeError: The argument dims is a list of axis names, not 5.
    """
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return list(value)
    raise WrongTypeError(f"{subject}, not {value!r}.")


def whole_numbers(value: Sequence[int], subject: str, least: int) -> tuple[int, ...]:
    """Return an argument that is a list of whole numbers; nothing is rounded.

    >>> whole_numbers([4, 64], "The argument chunks", 1)
    (4, 64)
    >>> whole_numbers((1.5,), "The argument chunks", 1)
    Traceback (most recent call last):
    ...
    lamella.errors.WrongTypeError: The argument chunks is a list of whole numbers from 1 on, not (1.5,).
    """
    text = f"{subject} is a list of whole numbers from {least} on"
    try:
        numbers = tuple(int(operator.index(number)) for number in items_of(value, text))
    except TypeError:
        raise WrongTypeError(f"{text}, not {value!r}.") from None
    if any(number < least for number in numbers):
        raise InvalidArgumentError(f"{text}, not {value!r}.")
    return numbers


def whole_number(value: int, subject: str, least: int) -> int:
    """Return an argument that is a whole number; nothing is rounded.

    >>> whole_number("2", "The argument level", 0)
    Traceback (most recent call last):
    ...
    lamella.errors.WrongTypeError: The argument level is a whole number from 0 on, not '2'.
    """
    try:
        number = int(operator.index(value))
    except TypeError:
        raise WrongTypeError(f"{subject} is a whole number from {least} on, not {value!r}.") from None
    if number < least:
        raise InvalidArgumentError(f"{subject} is a whole number from {least} on, not {value!r}.")
    return number


def name_text(name: object) -> str:
    """Return a name of a row, column or position as text; whole numbers are accepted as well, and nothing else.

    >>> name_text("A"), name_text(7)
    ('A', '7')
    >>> name_text(float("nan"))
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


def channel_name(name: object) -> str:
    """Return the name of a channel; raise for anything but text that is not empty.

    >>> channel_name("DAPI")
    'DAPI'
    >>> channel_name(0)
    Traceback (most recent call last):
    ...
    lamella.errors.WrongTypeError: A channel is named by text that is not empty, not 0.
    """
    if isinstance(name, str) and name:
        return name
    raise WrongTypeError(f"A channel is named by text that is not empty, not {name!r}.")
