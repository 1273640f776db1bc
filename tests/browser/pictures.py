"""What is on the screen, and moving the view there."""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image


def screen(browser):
    """Return the picture of the screen as uint8 (Y, X, 3)."""
    return np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("RGB"))


def look_at(browser, x, y, zoom, **more):
    """Move the camera to a point of the canvas."""
    state = json.dumps({"x": x, "y": y, "zoom": zoom})
    browser.run(f"Object.assign(lamella.state.camera, {state})")
    for name, value in more.items():
        browser.run(f"lamella.state.{name} = {json.dumps(value)}")
    browser.run("lamella.state.changed()")
    browser.drawn()
