"""Draw the pictures of the viewer for the docs: the plate of the tutorial, labels over a well, a field in 3-D.

    PYTHONPATH=tests/browser:demo .venv/bin/python scripts/viewer_pictures.py

Runs the blocks of docs/tutorial.md, opens the plate in Chromium (`scripts/need_chromium`) and writes docs/images.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import lamella
from browser import Browser
from fields import cut_fields

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"


def make_plate(folder: Path) -> Path:
    """Follow the tutorial in a folder, and return its plate."""
    cut_fields(
        ROOT / "tests" / "data" / "samples" / "idr0062_nuclei.ome.tif", folder / "demo" / "out" / "fields"
    )
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)):
        script = folder / f"block{number}.py"
        script.write_text(code, encoding="utf-8")
        subprocess.run(
            [sys.executable, str(script)], cwd=folder, env=os.environ, check=True, stdout=subprocess.DEVNULL
        )
    return folder / "plate.zarr"


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder, lamella.open(make_plate(Path(folder))) as plate:
        browser = Browser(width=1280, height=720)
        try:
            with lamella.view(plate, browser=False) as viewer:
                browser.open(viewer.url)
                browser.run("lamella.state.z = 'max'; lamella.state.changed()")
                browser.drawn()
                (IMAGES / "view-plate.png").write_bytes(browser.screenshot())
                browser.run("Object.assign(lamella.state, {label: 'nuclei', z: 8}); lamella.act.toWell(2)")
                browser.drawn()
                browser.mouse("mouseMoved", 420, 330)
                (IMAGES / "view-labels.png").write_bytes(browser.screenshot())
                browser.run(
                    "Object.assign(lamella.state, {label: '', mode: 'volume'}); lamella.state.changed()"
                )
                browser.drawn()
                (IMAGES / "view-volume.png").write_bytes(browser.screenshot())
        finally:
            browser.close()


if __name__ == "__main__":
    main()
