"""Scenario: every fault of a service at the requests of every operation.

Operations, faults, protocols and checks are those of ``tests/reliability``; there each operation meets each fault once
on S3, and some by other protocols. Here each fault begins at every request of `points`, and at some more, in both
versions, by a protocol drawn at random.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.reliability.operations import OPERATIONS
from tests.reliability.protocols import PROTOCOLS
from tests.reliability.under_faults import FAULTS as ROWS
from tests.reliability.under_faults import Trials, points
from tests.remote import Service, aim_at, forget_file_systems

FAULTS = ("wrong",)
DRAWN = 3
"""Requests, drawn at random, from which a fault begins too: a wrong 404 may matter at a single document only."""


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Make trials in random order until the time is over, or each was made once; return counts."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter({"rounds": 1, "trials": 0, **dict.fromkeys(FAULTS, 0)})
    planned_trials = [
        (name, version, row) for name in OPERATIONS for version in ("0.4", "0.5") for row in ROWS
    ]
    chance.shuffle(planned_trials)
    ends = time.monotonic() + seconds
    with (
        pytest.MonkeyPatch.context() as patch,
        Service() as service,
        tempfile.TemporaryDirectory() as folder,
    ):
        aim_at(patch, service.endpoint)
        patch.setattr(tempfile, "tempdir", str(Path(folder)))
        for name, version, row in planned_trials if seconds else planned_trials[:4]:
            if seconds and time.monotonic() > ends:
                break
            usable_protocols = [
                protocol for protocol, make in PROTOCOLS.items() if OPERATIONS[name].works_by(make(service))
            ]
            trials = Trials(service, version, chance.choice(usable_protocols))
            requests = trials.clean(name).requests
            drawn = [chance.randrange(len(requests)) for _ in range(DRAWN)]
            for request_number in sorted({*points(requests), *drawn}):
                counts["trials"] += 1
                try:
                    trials.fail(name, row, request_number)
                except Exception as error:
                    counts["wrong"] += 1
                    where = f"{name} {version} by {trials.protocol.name}, {row} at request {request_number}"
                    counts[f"{where}: {str(error).splitlines()[:1]} (seed {seed})"] += 1
        forget_file_systems()
    return dict(counts)
