"""Draw the pictures of the viewer for the docs: a plate, labels over a well, 3-D, slices, and neuroglancer.

    PYTHONPATH=tests/browser:demo .venv/bin/python scripts/viewer_pictures.py

Runs the blocks of docs/tutorial.md, opens the plate in Chromium (`scripts/need_chromium`) and writes docs/images.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

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


def save(browser: Browser, name: str) -> None:
    """Write what the browser shows to a picture of the docs, in 256 colours, which makes it a third as large."""
    picture = Image.open(io.BytesIO(browser.screenshot())).convert("RGB")
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE).save(
        IMAGES / name, optimize=True
    )


def draw_viewer(browser: Browser, plate: lamella.Plate) -> None:
    """Draw the pictures of the project's own page."""
    with lamella.view(plate, browser=False) as viewer:
        browser.open(viewer.url)
        browser.run("lamella.state.z = 'max'; lamella.state.changed()")
        browser.drawn()
        save(browser, "view-plate.png")
        browser.run("Object.assign(lamella.state, {label: 'nuclei', z: 8}); lamella.act.toWell(2)")
        browser.drawn()
        browser.mouse("mouseMoved", 420, 330)
        save(browser, "view-labels.png")
        browser.mouse("mouseMoved", 1270, 700)
        browser.run(
            "const [, , x, y, across, down] = lamella.scene.fields.find(([path]) => path === 'A/03/0');"
            "lamella.act.theme(); lamella.act.slices(); lamella.act.toField({ x, y });"
            "lamella.act.point({ x: x + 0.8 * across, y: y + 0.5 * down })"
        )
        browser.drawn()
        save(browser, "view-slices.png")
        browser.run("lamella.act.theme(); Object.assign(lamella.state, {opacity: 0.6, mode: 'volume'})")
        browser.run("lamella.state.changed()")
        browser.drawn()
        save(browser, "view-volume.png")


def draw_neuroglancer(browser: Browser, image: lamella.Position) -> None:
    """Draw neuroglancer with channels and labels of one field."""
    with lamella.view(image, browser=False, viewer="neuroglancer") as viewer:
        browser.call("Page.navigate", url=viewer.url)
        browser.wait("window.viewer && viewer.isReady && viewer.isReady()")
        browser.run("new Promise((done) => setTimeout(done, 5000))")  # it does not say when all is drawn
        save(browser, "view-neuroglancer.png")


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder, lamella.open(make_plate(Path(folder))) as plate:
        browser = Browser(width=1280, height=720)
        try:
            draw_viewer(browser, plate)
            draw_neuroglancer(browser, plate["A/03/0"])
        finally:
            browser.close()


if __name__ == "__main__":
    main()
