"""Scenario: works on S3 killed at their requests.

A process that is killed sends no more requests: from one request on, the service answers none. Afterwards the store
must open, every file must be old or new, and the same call must finish the work. The works and the checks are those of
``tests/reliability``.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.reliability.at_stores import NAMES, StoreKiller, points
from tests.remote import Service, aim_at, forget_file_systems

FAULTS = ("lost or not finished",)


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Kill works until the time is over, each at all of its requests that change something; return counts."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter({"works": 0, "kills": 0, **dict.fromkeys(FAULTS, 0)})
    ends = time.monotonic() + seconds
    deck: list[tuple[str, str]] = []
    while time.monotonic() < ends or not counts["works"]:
        if not deck:  # each work once before any comes again
            deck = [(name, version) for name in NAMES for version in ("0.4", "0.5")]
            chance.shuffle(deck)
        with (
            pytest.MonkeyPatch.context() as patch,
            Service() as service,
            tempfile.TemporaryDirectory() as folder,
        ):
            aim_at(patch, service.endpoint)
            _kill(StoreKiller(service, *deck[-1], Path(folder, "work")), counts, 500 if seconds else 2)
            forget_file_systems()
        deck.pop()
        counts["works"] += 1
    return dict(counts)


def _kill(killer: StoreKiller, counts: Counter[str], most: int) -> None:
    """Kill a work at its requests, and count problems afterwards."""
    for point in points(killer.changes, most):
        counts["kills"] += 1
        try:
            killer.kill(point)
        except Exception as error:
            counts["lost or not finished"] += 1
            where = f"{killer.name} {killer.version}, before request {point}"
            counts[f"{where}: {str(error).splitlines()[:1]} (seed)"] += 1
