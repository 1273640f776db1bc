"""Tests that look at the viewer in a real browser: `make test-browser` runs them, `make test` does not."""

from __future__ import annotations

import os

import pytest

if "LAMELLA_BROWSER" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session", params=["webgl", "canvas"])
def browser(request):
    """A browser with WebGL, and one without."""
    from browser import Browser

    page = Browser(webgl=request.param == "webgl")
    yield page
    page.close()
