"""napari with a window on a virtual screen: what it draws of a plate is what the store says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import lamella

DRAW = """
import json, sys
import napari, numpy as np
from qtpy.QtWidgets import QApplication

viewer = napari.Viewer()
viewer.window.resize(900, 700)
viewer.open(sys.argv[1], plugin="lamella")
image = viewer.layers["DAPI"]
viewer.layers["wells"].visible = False
while any(level._tiles._waiting for level in image.data) or not image._data_view.any():
    QApplication.processEvents()
for _ in range(20):
    QApplication.processEvents()
picture = viewer.screenshot(canvas_only=True, flash=False)
height, width = picture.shape[:2]
(top, left), zoom = viewer.camera.center[-2:], viewer.camera.zoom
colors = {}
for name, (y, x) in json.loads(sys.argv[2]).items():
    row, column = round(height / 2 + (y - top) * zoom), round(width / 2 + (x - left) * zoom)
    colors[name] = picture[row, column, :3].tolist()
print(json.dumps(colors))
viewer.close()
"""


@pytest.mark.skipif("LAMELLA_XVFB" not in os.environ, reason="needs a screen: make test-napari")
def test_a_window_shows_every_field_of_a_plate_at_its_place_and_brightness(tmp_path):
    path = tmp_path / "p.zarr"
    values = {"A/1/0": 40, "A/2/0": 80, "B/1/0": 160, "B/2/0": 240}
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"], axes="cyx") as plate:
        for name, value in values.items():
            position = plate.create_position(*name.split("/"))
            position["0"] = np.full((1, 600, 600), value, "uint8")
            position.set_channel("DAPI", window=(0, 255), color="white")
    pitch = 600 + 36  # a gap of 6 % between wells
    centers = {name: (300 + pitch * "AB".index(name[0]), 300 + pitch * (int(name[2]) - 1)) for name in values}
    centers["gap"] = (618, 618)
    assert shutil.which("xvfb-run"), "No virtual screen is installed: apt-get install xvfb."
    command = ["xvfb-run", "-a", "-s", "-screen 0 1280x800x24", sys.executable, "-c", DRAW, str(path)]
    environment = {name: value for name, value in os.environ.items() if name != "QT_QPA_PLATFORM"}
    run = subprocess.run(
        [*command, json.dumps(centers)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    colors = json.loads(run.stdout.splitlines()[-1])
    assert colors.pop("gap") == [0, 0, 0]
    for name, color in colors.items():
        assert np.allclose(color, values[name], atol=1), (name, color)
