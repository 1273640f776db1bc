"""Law: an argument of a type that cannot be used is refused by an error of lamella, never by one of Python's own.

Every public function and method is called with one wrong value after the other for each of its parameters, found by
inspection. A value may be good for a call; where it is not, the error is a `LamellaError`.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import shutil

import numpy as np
import pytest
import zarr
from tests.array_source import ArraySource

import lamella
from lamella.errors import LamellaError
from lamella.nodes import labels, tiled

PIXELS = np.zeros((1, 2, 4, 16, 16), "uint16")
WRONG = [5, 1.5, -1, "x", None, object(), [1], {"a": 1}, (1.5,), True, b"x", ["a"], float("nan")]

#: Functions at the front door that read or write stores, with what they need.
FUNCTIONS = {
    "checksum": {"path_or_node": "plate"},
    "convert": {"sources": ArraySource(PIXELS, "tczyx"), "destination": "new"},
    "open": {"path": "plate"},
    "open_ome_zarr": {"store_path": "plate"},
    "rechunk": {"source": "plate", "destination": "new", "chunks": (4, 8, 8)},
    "repair": {"path_or_node": "plate"},
    "status": {"path_or_node": "plate"},
    "upgrade": {"source": "plate", "destination": "new", "to": "0.6"},
    "validate": {"path_or_node": "plate"},
    "verify": {"path_or_node": "plate"},
    "write_image": {"path": "new", "array": PIXELS},
}
#: What methods need where nothing is wrong.
RIGHT = {
    "name": "7",
    "shape": PIXELS.shape,
    "dtype": "u1",
    "data": PIXELS,
    "image": "0",
    "chan_name": "new",
    "col_name": "9",
    "pos_name": "0",
    "positions": [("C", "9", "0")],
    "shape_per_frame": (16, 16),
    "grid_shape": (2, 2),
    "tile_shape": (4, 4),
    "axis_name": "z",
    "new_scale": 2.0,
    "transform": [],
    "function": lambda position: None,
}
NUMBERS = itertools.count()
#: Of zarr-python: its errors are what users of its names expect.
ZARRS = {
    "create",  # which zarr-python 3.4 no longer has
    *(name for name in dir(zarr.Array) if name not in ("append", "resize", "name") and name[0] != "_"),
}

#: What nodes are to operations and adapters: no user calls it.
INTERNAL = {"create_from", "has_moved", "is_unwritten", "missing_error", "open_level"}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder of a plate and a tiled image, that each scene is a copy of."""
    folder = tmp_path_factory.mktemp("scene")
    with lamella.open_ome_zarr(
        folder / "plate.zarr", layout="hcs", mode="w", channel_names=["a", "b"], version="0.5"
    ) as plate:
        plate.create_positions([("A", "1", "0"), ("A", "1", "1")])
        plate["A/1/0"].create_image("0", PIXELS, chunks=(1, 1, 2, 8, 8))
    # Elsewhere, because labels get a level for each array that the tests create beside them.
    with lamella.open_ome_zarr(
        folder / "labelled.zarr", layout="fov", mode="w", channel_names=["a", "b"], version="0.5"
    ) as position:
        position.create_image("0", PIXELS, chunks=(1, 1, 2, 8, 8))
        position.labels.create("cells", np.zeros((1, 4, 16, 16), "uint8"))
    with lamella.open_ome_zarr(
        folder / "mosaic.zarr", layout="tiled", mode="w", channel_names=["a"], version="0.5"
    ) as mosaic:
        mosaic.make_tiles("0", (2, 2), (4, 4), "uint8")
    return folder


@pytest.fixture
def scene(template, tmp_path, monkeypatch):
    """A scene in the folder in which the test stands."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Scene(tmp_path)


class Scene:
    def __init__(self, folder):
        self.path = str(folder / "plate.zarr")
        self.new = str(folder / "new.zarr")
        mosaic = lamella.open_ome_zarr(folder / "mosaic.zarr", layout="tiled", mode="r+")
        tiles = mosaic["0"]
        plate = lamella.open_ome_zarr(self.path, mode="r+")
        nodes = (plate, plate["A"], plate["A/1"], plate["A/1/0"], plate["A/1/0/0"], mosaic, tiles)
        images = lamella.open_ome_zarr(folder / "labelled.zarr", mode="r+").labels
        self.nodes = {type(node).__name__: node for node in (*nodes, images, images["cells"])}


def methods():
    for kind in (
        "Plate",
        "Row",
        "Well",
        "Position",
        "ImageArray",
        "LabelImage",
        "Labels",
        "TiledPosition",
        "TiledImageArray",
    ):
        found = getattr(lamella, kind, None) or getattr(labels, kind, None) or getattr(tiled, kind)
        for name, member in inspect.getmembers(found, callable):
            if not name.startswith("_") and name not in ZARRS | INTERNAL and parameters(member):
                yield f"{kind}.{name}"


def parameters(function):
    return [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


def refuse_wrong_types(function, right):
    """Call a function with each wrong value of each of its parameters."""
    for parameter in parameters(function):
        for value in WRONG:
            given = {
                other.name: RIGHT.get(other.name, "x")
                for other in parameters(function)
                if other.default is other.empty and other.kind is not other.VAR_POSITIONAL
            }
            given |= {key: f"{key[0]}{next(NUMBERS)}" for key in given.keys() & {"row_name", "name"}} | right
            given[parameter.name] = value
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    function(**given)
            except LamellaError:
                pass
            except Exception as error:
                raise AssertionError(
                    f"{parameter.name}={value!r} raises {type(error).__name__}: {error}"
                ) from error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_refuses_arguments_of_wrong_types(scene, name):
    places = {"plate": scene.path, "new": scene.new}
    right = {
        key: places.get(value, value) if isinstance(value, str) else value
        for key, value in FUNCTIONS[name].items()
    }
    refuse_wrong_types(getattr(lamella, name), right)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(methods()))
def test_a_method_refuses_arguments_of_wrong_types(scene, name):
    kind, _, method = name.partition(".")
    refuse_wrong_types(getattr(scene.nodes[kind], method), {})


@pytest.mark.parametrize("name", [None, True, float("nan"), 1.5, b"A", ("A",)])
def test_rows_columns_and_positions_have_names(scene, tmp_path, name, files):
    plate = scene.nodes["Plate"]
    before = files(tmp_path)
    for names in ((name, "1", "0"), ("A", name, "0"), ("A", "1", name)):
        with pytest.raises(lamella.errors.InvalidNameError):
            plate.create_position(*names)
        with pytest.raises(lamella.errors.InvalidNameError):
            plate.create_positions([("B", "1", "0"), names])
    with pytest.raises(lamella.errors.InvalidNameError):
        plate.create_well(name, "1")
    with pytest.raises(lamella.errors.InvalidNameError):
        plate["A/1"].create_position(name)
    assert files(tmp_path) == before


def test_names_may_be_whole_numbers(scene):
    plate = scene.nodes["Plate"]
    assert plate.create_position("A", np.int64(2), 3).path == "A/2/3"
