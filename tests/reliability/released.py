"""What another program does at the very instant at which a file lock is released, seen from outside.

Python reports every ``flock`` to audit hooks before the system makes it. So a test can act as a program that comes
exactly then, without a change of the code under test, and whatever that code is made of.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RELEASE = 8  # LOCK_UN

_waiting: list[Callable[[], None]] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _waiting and event == "fcntl.flock" and args[1] & _RELEASE:
        _waiting[-1]()


sys.addaudithook(_hook)  # for as long as the process lives; it does nothing while nobody waits


class Releases:
    """The releases of locks so far, and whether the act came."""

    def __init__(self) -> None:
        self.count = 0
        self.acted = False


@contextmanager
def at_release(number: int, act: Callable[[], object]) -> Iterator[Releases]:
    """Call a function once, at the release of a file lock with that number, from 1."""
    seen = Releases()

    def notice() -> None:
        seen.count += 1
        if seen.count == number:
            seen.acted = True
            act()

    _waiting.append(notice)
    try:
        yield seen
    finally:
        _waiting.remove(notice)
