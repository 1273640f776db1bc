"""Tests that look at the viewer in a real browser: `make test-browser` runs them, `make test` does not."""

from __future__ import annotations

import os

import pytest

import lamella

if "LAMELLA_BROWSER" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session", params=["webgl", "canvas"])
def browser(request):
    """A browser with WebGL, and one without."""
    from browser import Browser

    page = Browser(webgl=request.param == "webgl")
    yield page
    page.close()


@pytest.fixture
def opened(browser, store):
    """The plate of a module on the screen; the module has the fixture `store`."""
    browser.leave()
    with lamella.open_ome_zarr(store) as plate, lamella.view(plate, browser=False) as viewer:
        browser.open(viewer.url)
        yield browser
        assert browser.problems() == []
