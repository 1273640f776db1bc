"""Tests that look at the viewer in a real browser: `make test-browser` runs them, `make test` does not."""

from __future__ import annotations

import os

if "LAMELLA_BROWSER" not in os.environ:
    collect_ignore_glob = ["test_*.py"]
