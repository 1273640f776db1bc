"""Wait between attempts after a change by another program, or a failure of a service."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0
"""Limits of the wait before the second attempt and any later one, in seconds; the wait doubles."""
PATIENCE: Final = 60.0
"""Seconds after which no further attempt is made."""


def waits() -> Iterator[float]:
    """Yield for each try how many seconds to wait after it, at random, so that two that meet part; end after a minute.

    >>> next(waits()) <= FIRST_WAIT
    True
    """
    began, longest = time.monotonic(), FIRST_WAIT
    while time.monotonic() - began <= PATIENCE:
        yield random.uniform(0, longest)
        longest = min(LONGEST_WAIT, 2 * longest)
