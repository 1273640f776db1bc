"""Return the fingerprint of a file that is read now, for a process that reads it again hours later."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lamella.store.storage import times_of

if TYPE_CHECKING:
    from lamella.store.storage import Fingerprint, Storage

_SETTLED_NS = 2 * 10**9
"""Least age of a trusted time: FAT counts in steps of two seconds, in which a file can change twice."""


def fingerprint(storage: Storage, key: str) -> Fingerprint | None:
    """Return the fingerprint of a key, read *before* its bytes; None where the store has none, or it is too recent."""
    found = storage.fingerprint(key)
    times = found and times_of(found)
    return None if times and time.time_ns() - max(times) < _SETTLED_NS else found
