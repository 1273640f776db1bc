"""What the whole suite shares: how hypothesis behaves, the versions, and a look at all bytes of a store."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# File systems have slow moments: a law is judged by its result, never by the time of one example.
settings.register_profile(
    "lamella",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("lamella")


@pytest.fixture(params=["0.4", "0.5"])
def version(request):
    """Every OME-NGFF version that is written."""
    return request.param


@pytest.fixture
def files():
    """Return a function that gives the bytes of all files below a folder: what a refused call must not change."""

    def look(root):
        return {
            os.path.relpath(os.path.join(folder, name), root): Path(folder, name).read_bytes()
            for folder, _, names in os.walk(root)
            for name in names
        }

    return look


# Run in the background of a shell without job control, a process and its children ignore Ctrl-C; the tests of
# interrupts need what a user at a terminal has.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
