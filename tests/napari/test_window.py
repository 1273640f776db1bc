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
from qtpy.QtCore import QMimeData, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QApplication

viewer = napari.Viewer()
viewer.window.resize(900, 700)

def choose():  # napari asks which of the readers that take a folder, its own and ours
    dialog = QApplication.activeModalWidget()
    if dialog is None:
        QTimer.singleShot(20, choose)
        return
    next(one for one in dialog.reader_btn_group.buttons() if "lamella" in one.text()).setChecked(True)
    dialog.accept()

QTimer.singleShot(0, choose)
dropped = QMimeData()
dropped.setUrls([QUrl.fromLocalFile(sys.argv[1])])
viewer.window._qt_viewer.dropEvent(
    QDropEvent(QPointF(300, 300), Qt.CopyAction, dropped, Qt.LeftButton, Qt.NoModifier)
)
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


COMMAND = """
import json, sys
import napari
import napari.__main__

def finish(**_):
    viewer = napari.current_viewer()
    print(json.dumps([layer.name for layer in viewer.layers]))
    viewer.close()

napari.run = finish
sys.argv = ["napari", sys.argv[1], "--plugin", "lamella"]
napari.__main__.main()
"""


def run_on_screen(folder, script, *arguments):
    """Run a script on a virtual screen, with its settings in a folder, and return what its last line prints."""
    assert shutil.which("xvfb-run"), "No virtual screen is installed: apt-get install xvfb."
    # Without files mapped into memory, for the picture or for Mesa's shaders: where such a file cannot grow, the
    # process dies of a bus error.
    screen = "-screen 0 1280x800x24 -extension MIT-SHM"
    interpreter = [sys.executable, "-X", "faulthandler"]
    command = ["xvfb-run", "-a", "-s", screen, *interpreter, "-c", script, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "QT_QPA_PLATFORM"}
    for name in (
        "CONFIG",
        "CACHE",
        "DATA",
    ):  # the settings of whoever runs the tests stay unread and as they are
        environment[f"XDG_{name}_HOME"] = str(folder / name.lower())
    environment["MESA_SHADER_CACHE_DISABLE"] = "true"
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.skipif("LAMELLA_XVFB" not in os.environ, reason="needs a screen: make test-napari")
def test_the_command_opens_a_store_with_the_plugin(tmp_path):
    path = tmp_path / "i.zarr"
    lamella.write_image(path, np.ones((2, 32, 32), "uint8"), axes="cyx", channels=["DAPI", "GFP"]).close()
    assert run_on_screen(tmp_path, COMMAND, str(path)) == ["DAPI", "GFP"]


@pytest.mark.skipif("LAMELLA_XVFB" not in os.environ, reason="needs a screen: make test-napari")
def test_a_plate_dropped_on_the_window_is_shown_with_every_field_at_its_place_and_brightness(tmp_path):
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
    colors = run_on_screen(tmp_path, DRAW, str(path), json.dumps(centers))
    assert colors.pop("gap") == [0, 0, 0]
    for name, color in colors.items():
        assert np.allclose(color, values[name], atol=1), (name, color)
