"""Tests of the plugin for napari, collected only where napari is installed: `make test-napari`."""

from __future__ import annotations

import importlib.util

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("napari") else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def discovered():
    """The plugins that are installed, as napari finds them at its start."""
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manager.discover()
    return manager
