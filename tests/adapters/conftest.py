"""What the tests of the adapters share: tifffile with its log, and without."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["heard", "silenced"])
def tifffile_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Log of tifffile as it is, and as users silence it: what is found damaged must not depend on it."""
    logger = logging.getLogger("tifffile")
    before = logger.level
    if request.param == "silenced":
        logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)
