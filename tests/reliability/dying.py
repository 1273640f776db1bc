"""Trials of which one ends its process, as a library of C++ can: for the test that the others go on."""

from __future__ import annotations

import os

UNIT = "trials"
begin = str


def trial(bench, seed, number, counts):
    """Make one trial."""
    del bench, seed
    if number == 7:
        os.abort()
    counts[f"trial {number}"] += 1
    return ()
