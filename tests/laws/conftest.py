"""The laws hold in every version that is written, 0.6 too."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def version(request):
    """Every OME-NGFF version that is written."""
    return request.param
