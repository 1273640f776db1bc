"""Law: a call that is refused leaves nothing behind: every file is what it was, and there is no new folder.

Each public call that creates something is made with one wrong argument after the other, on every version. The error
is one of lamella's, a ValueError, LookupError or TypeError; whatever it is, the disk is as it was.
"""

from __future__ import annotations

import inspect
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from tests.array_source import ArraySource

import lamella
from lamella.cli import main
from lamella.errors import WrongTypeError
from lamella.models import AcquisitionMeta, TransformationMeta, axes

PIXELS = np.zeros((1, 2, 4, 16, 16), "uint16")
MASK = np.zeros((1, 4, 16, 16), "uint8")
EMPTY = {"shape": (1, 2, 4, 16, 16), "dtype": "uint8"}


class Scene:
    """A plate with an image, labels and an empty position; a lone image; and names for what is to be created."""

    def __init__(self, folder, version):
        self.folder, self.version = folder, version
        self.new = folder / "new.zarr"
        with lamella.open_ome_zarr(
            folder / "plate.zarr", layout="hcs", mode="w", channel_names=["a", "b"], version=version
        ) as plate:
            plate.create_positions([("A", "1", "0"), ("A", "1", "1"), ("B", "2", "0")])
            for path in ("A/1/0", "B/2/0"):
                plate[path].create_image("0", PIXELS, chunks=(1, 1, 2, 8, 8))
                plate[path].labels.create("cells", MASK)
        with lamella.open_ome_zarr(
            folder / "image.zarr", layout="fov", mode="w", channel_names=["a", "b"], version=version
        ) as image:
            image.create_image("0", PIXELS)
        with lamella.open_ome_zarr(
            folder / "mosaic.zarr", layout="tiled", mode="w", channel_names=["a"], version=version
        ) as mosaic:
            mosaic.make_tiles("0", (2, 2), (4, 4), "uint8")
            mosaic.compute_pyramid(levels=2)
            mosaic["0"][...] = 1
        (folder / "sums.txt").write_text("no image")
        self.mosaic = lamella.open_ome_zarr(folder / "mosaic.zarr", layout="tiled", mode="r+")
        self.plate = lamella.open_ome_zarr(folder / "plate.zarr", mode="r+")
        self.position = self.plate["A/1/0"]
        self.empty = self.plate["A/1/1"]

    def state(self):
        """Every folder and file, with its bytes."""
        return {
            os.path.join(above, name): None if name in folders else _bytes(os.path.join(above, name))
            for above, folders, files in os.walk(self.folder)
            for name in [*folders, *files]
            if not name.startswith(".lamella-")
        }


def _bytes(path):
    with open(path, "rb") as file:
        return file.read()


def streamed(stream):
    """Store one frame."""
    with stream as frames:
        frames.append(np.ones((16, 16), "uint8"))


def command(scene, words):
    """Run a command; one that exits with another number than 0 is an error."""
    places = {"plate": scene.folder / "plate.zarr", "image": scene.folder / "image.zarr"}
    places |= {"new": scene.new, "sums": scene.folder / "sums.txt"}
    result = CliRunner().invoke(main, [word.format(**places) for word in words.split()])
    if result.exit_code:
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        raise ValueError(result.output)


def same(given):
    return given if isinstance(given, np.ndarray) else given["0"][:]


POOL = "a pool of processes"
GONE = "an executor that was shut down"
IMAGE = xr.DataArray(
    PIXELS,
    dims=("t", "c", "z", "y", "x"),
    coords={"t": [0.0], "c": ["a", "b"], "z": np.arange(4.0), "y": np.arange(16.0), "x": np.arange(16.0)},
)
WRONG_SHAPES = [(), (1, 2), (1, 3, 4, 16, 16), (1, 2, 4, 16, -1), (1, 2, 4, 16, 1.5), "abcde", None, 5]
WRONG_CHUNKS = [(1, 1), (1, 1, 1, 8, 0), (1, 1, 1, 8, -8), (1, 1, 1, 8, 1.5), "whole", 5, (1, 1, 1, 8, "8")]
WRONG_RATIOS = [(1, 1), (1, 1, 1, 1, 0), (1, 1, 1, 1, 1.5), 2, "auto"]
WRONG_TYPES = ["no such type", "U5", object, "datetime64[s]", [("a", "u1")]]
WRONG_NAMES = [
    "",
    "..",
    "../x",
    "a/../b",
    "labels",
    "labels/x",
    "zarr.json",
    ".zarray",
    "a//b",
    "x\0",
    "0",
    "n" * 300,
]
WRONG_TRANSFORMS = [
    [TransformationMeta(type="scale", scale=[1.0])],
    [TransformationMeta(type="scale", scale=[float("nan")] * 5)],
    [3],
    5,
]
WRONG_COMPRESSORS = ["rar", {"name": "nothing"}, 5]
WRONG_ARRAYS = [
    None,
    "pixels",
    {},
    [[1, 2], [3]],
    np.zeros((1, 2), "u2"),
    np.array(["a"]),
    PIXELS[:, :1, :, 0],
    np.ma.masked_equal(PIXELS, 0),
]
WRONG_LEVELS = [0, -1, 1.5, "all", True, [2]]
WRONG_LABELS = ["", "..", "a/b", "../x", "cells", "x\0", "n" * 300]
WRONG_JOBS = ["2", 1.5, [1]]
WRONG_EXECUTORS = [5, "threads", object()]
WRONG_PROGRESS = [5, "bar"]
WRONG_FUNCTIONS = [None, 5, "max"]
WRONG_MEMBERS = ["nothing", "", "..", "../x", None, 5.5, "A/9", "a//b"]
WRONG_STREAMS = {
    "name": [name for name in WRONG_NAMES if name != "0"],
    "shape_per_frame": [(), (16,), (0, 16), (1.5, 16), "ab", 5, None, (1,) * 6],
    "dtype": WRONG_TYPES,
    "order": ["q", "tt", 5, [], [5], "yx"],
    "lengths": [{"q": 2}, {"z": 0}, {"z": 1.5}, {"z": "2"}, 5, [2], {"c": 5}],
    "channels": ["ab", 5, ["a", "a"], [""], [5]],
    "chunks": WRONG_CHUNKS,
    "shards_ratio": WRONG_RATIOS,
    "transform": WRONG_TRANSFORMS,
    "compressor": WRONG_COMPRESSORS,
    "pyramid": [0, -1, 1.5, "all", True],
    "queue": [0, -1, 1.5, "x"],
    "flush_every": [0, -1, 1.5, "x"],
}

ARRAY = {
    "name": WRONG_NAMES,
    "chunks": WRONG_CHUNKS,
    "shards_ratio": WRONG_RATIOS,
    "transform": WRONG_TRANSFORMS,
    "compressor": WRONG_COMPRESSORS,
}

#: Call, right arguments, and wrong values of each. A call is made with one wrong value at a time.
CALLS: dict[str, tuple[Any, dict[str, Any], dict[str, list[Any]]]] = {
    "create_image": (
        lambda s, **a: s.position.create_image(**a),
        {"name": "1", "data": PIXELS},
        {**ARRAY, "data": WRONG_ARRAYS},
    ),
    "create_image of an empty position": (
        lambda s, **a: s.empty.create_image(**a),
        {"name": "0", "data": PIXELS},
        {**ARRAY, "name": [n for n in WRONG_NAMES if n != "0"], "data": WRONG_ARRAYS},
    ),
    "create_zeros": (
        lambda s, **a: s.position.create_zeros(**a),
        {"name": "1", "shape": PIXELS.shape, "dtype": "u1"},
        {**ARRAY, "shape": WRONG_SHAPES, "dtype": WRONG_TYPES},
    ),
    "assignment": (
        lambda s, name, data: s.position.__setitem__(name, data),
        {"name": "1", "data": PIXELS},
        {"name": [n for n in WRONG_NAMES if n != "0"], "data": WRONG_ARRAYS},
    ),
    "initialize_pyramid": (
        lambda s, **a: s.position.initialize_pyramid(**a),
        {"levels": 2},
        {"levels": WRONG_LEVELS, "factors": [{}, {"q": 2}, {"y": 0}, 3]},
    ),
    "compute_pyramid": (
        lambda s, **a: s.position.compute_pyramid(**a),
        {"levels": 2},
        {
            "levels": WRONG_LEVELS,
            "method": ["average", None, 5],
            "dims": [["q"], {"y": 2}, "qx", [1], 5],
            "factors": [{}, {"q": 2}, {"y": 0}, 3],
            "executor": WRONG_EXECUTORS,
            "jobs": WRONG_JOBS,
        },
    ),
    "compute_pyramid of a plate": (
        lambda s, **a: s.plate.compute_pyramid(**a),
        {"levels": 2},
        {
            "levels": WRONG_LEVELS,
            "method": ["average", None, 5],
            "executor": WRONG_EXECUTORS,
            "jobs": WRONG_JOBS,
        },
    ),
    "update_pyramid": (
        lambda s, **a: s.mosaic.update_pyramid(**a),
        {"method": "mean"},
        {"method": ["average", 5], "jobs": WRONG_JOBS, "executor": WRONG_EXECUTORS},
    ),
    "labels.create": (
        lambda s, **a: s.position.labels.create(**a),
        {"name": "nuclei", "data": MASK},
        {
            "name": WRONG_LABELS,
            "data": [*(data for data in WRONG_ARRAYS if data is not None), MASK.astype("f4"), MASK[:, :2]],
            "colors": [
                {1: (1, 2)},
                {1: (0, 0, 300)},
                {"a": (1, 2, 3)},
                {1.5: (1, 2, 3)},
                {1: "red"},
                {1: 5},
                [1],
                5,
            ],
            "properties": [{1: 5}, [{"area": 1}], {1: {"a": object()}}, [{"label-value": "x"}], 5],
        },
    ),
    "append_channel": (
        lambda s, **a: s.position.append_channel(**a),
        {"chan_name": "c"},
        {"chan_name": ["a", "", None, 5], "resize_arrays": []},
    ),
    "append_channel of a plate": (
        lambda s, **a: s.plate.append_channel(**a),
        {"name": "c"},
        {"name": ["a", "", None, 5]},
    ),
    "create_well": (
        lambda s, **a: s.plate.create_well(**a),
        {"row_name": "C", "col_name": "7"},
        {
            "row_name": ["", "..", "a_b", "a/b", " "],
            "col_name": ["", "..", "a_b", "a/b"],
            "row_index": [-1, 1.5, "x", 100000],
            "col_index": [-1, 1.5, "x", 100000],
        },
    ),
    "create_position": (
        lambda s, **a: s.plate.create_position(**a),
        {"row_name": "C", "col_name": "7", "pos_name": "0"},
        {
            "row_name": ["", "..", "a_b", "a/b"],
            "col_name": ["", "..", "a_b", "a/b"],
            "pos_name": ["", "..", "a_b", "a/b"],
            "row_index": [-1, 1.5, "x", 100000],
            "col_index": [-1, 1.5, "x", 100000],
            "acq_index": [-1, 1.5, "x"],
        },
    ),
    "create_positions": (
        lambda s, **a: s.plate.create_positions(**a),
        {"positions": [("C", "7", "0")]},
        {
            "positions": [
                "C70",
                [("C", "7")],
                ["C/7/0"],
                [("C", "7", "0"), ("A", "1", "0")],
                [("C", "7", "0"), ("C", "7", "0")],
                [("C", "7", "0"), ("C", "7", "a_b")],
                [("C", "7", "0"), ("D", "7", "0", 100000, 0)],
                [("C", "7", "0"), ("D", "7", "0", "x", 0)],
                [("C", "7", "0"), ("D", "7", "0", 3, 0, -1)],
                [("C", "7", "0"), 5],
                [("C", "7", "0"), None],
                5,
            ],
            "arrays": [
                5,
                {"0": 5},
                {"0": {"dtype": "uint8"}},
                {"labels": EMPTY},
                {"0": {**EMPTY, "chunks": 0}},
            ],
        },
    ),
    "plate.create_zeros": (
        lambda s, **a: s.plate.create_zeros(**a),
        {"name": "mask", **EMPTY},
        {
            "name": ["", "..", "labels", 5.5, "0"],
            "shape": [5, "x", (2, 2), (2, 5, 2, 16, 16)],
            "dtype": ["nope", object],
            "chunks": [0, "x", (1, 1), (1, 1, 0, 1, 1)],
        },
    ),
    "well.create_position": (
        lambda s, **a: s.plate["A/1"].create_position(**a),
        {"name": "7"},
        {"name": ["", "..", "a_b", "a/b", "0"], "acquisition": [-1, 1.5, "x"]},
    ),
    "map over regions": (
        lambda s, **a: s.plate.map(**{"positions": ["A/1/0", "B/2/0"], **a}, over="regions"),
        {"function": same, "output": "new"},
        {
            "function": WRONG_FUNCTIONS,
            "level": ["7", "", "..", 7, "labels/cells/0"],
            "name": ["", "..", "labels", "labels/x", "a//b", ".zarray", 5],
            "output": [5, "image.zarr", "plate.zarr/inside.zarr", "plate.zarr"],
            "channel_names": ["ab", ["a"], ["a", "a"], [1, 2], ["", "b"], 5],
            "dtype": ["no such type", 5, "U5", object],
            "positions": [["A/1/0", "C/9/0"], ["A/1"], "A/1/0", [5], ["A/1/1"], 5],
            "retries": [-1, 1.5, "x"],
            "jobs": WRONG_JOBS,
            "executor": WRONG_EXECUTORS,
            "progress": [5, "x"],
        },
    ),
    "map over one image": (
        lambda s, **a: s.position.map(**a),
        {"function": same, "name": "copied"},
        {
            "function": WRONG_FUNCTIONS,
            "level": ["7", "", ".."],
            "name": ["", "..", "labels", "a//b", ".zarray"],
            "dtype": ["no such type", "U5", object],
            "jobs": WRONG_JOBS,
        },
    ),
    "map over positions": (
        lambda s, **a: s.plate.map(**{"positions": ["A/1/0", "B/2/0"], **a}),
        {"function": same, "output": "new"},
        {
            "over": ["wells", None],
            "function": WRONG_FUNCTIONS,
            "level": ["7", "", "..", 7],
            "name": ["", "..", "labels", "labels/", "labels/a/b", "a//b", ".zarray", 5],
            "output": [5, "image.zarr", "plate.zarr/inside.zarr"],
            "channel_names": ["ab", ["a", "a"], [1, 2], ["", "b"], 5],
            "dtype": ["u1"],
            "positions": [["A/1/0", "C/9/0"], ["A/1"], "A/1/0", [5], 5],
            "retries": [-1, 1.5, "x"],
            "jobs": WRONG_JOBS,
            "executor": WRONG_EXECUTORS,
            "progress": [5, "x"],
        },
    ),
    "map to processes": (
        lambda s, **a: s.plate.map(output=s.new, **a),
        {"function": same, "executor": POOL},
        {"function": [lambda position: same(position)]},  # noqa: PLW0108 (a function that cannot be sent)
    ),
    "map beside": (
        lambda s, **a: s.plate.map(**{"positions": ["A/1/0", "B/2/0"], **a}),
        {"function": same, "name": "copied"},
        {
            "name": ["0", "", "..", "labels/cells", "labels", "zarr.json"],
            "level": ["7"],
            "jobs": WRONG_JOBS,
        },
    ),
    "from_positions": (
        lambda s, path, **a: lamella.Plate.from_positions(path, **a),
        {"path": "new", "positions": {"A/1/0": "position"}},
        {
            "path": ["plate.zarr", "plate.zarr/A/1/0/inside.zarr", 5, ""],
            "positions": [{}, {"A/1": "position"}, {"A/1/a_b": "position"}, {"A/1/0": 5}, 5, None, ["A/1/0"]],
            "jobs": WRONG_JOBS,
            "executor": WRONG_EXECUTORS,
        },
    ),
    "open_ome_zarr": (
        lambda s, path, **a: lamella.open_ome_zarr(path, version=a.pop("version", s.version), **a),
        {"path": "new", "layout": "hcs", "mode": "w-", "channel_names": ["a"]},
        {
            "path": ["plate.zarr", "", "x\0", 5],
            "layout": ["plate", "auto", None, 5],
            "mode": ["x", "r", "r+", None],
            "channel_names": ["ab", None, ["a", "a"], [""], [5, None], 5],
            "axes": [5, "width", ["t", "c"], axes("tczyx")[:1], axes("yx") * 3],
            "version": ["0.3", "9", None, 0.5],
            "durability": ["always", None],
            "cache_bytes": [-1, 1.5, "64"],
            "recheck": ["never", None],
            "no_such_option": [1],
            "acquisitions": [
                5,
                [AcquisitionMeta(id=-1)],
                [AcquisitionMeta(id=1), AcquisitionMeta(id=1)],
                [{"id": 1}],
            ],
            "plate_name": [5],
        },
    ),
    "open_ome_zarr of an image": (
        lambda s, path, **a: lamella.open_ome_zarr(path, version=a.pop("version", s.version), **a),
        {"path": "new", "layout": "fov", "mode": "w-", "channel_names": ["a"]},
        {
            "channel_names": ["ab", None, ["a", "a"], [""], [5, None], 5],
            "axes": [5, "width", ["t", "c"], axes("tczyx")[:1], axes("yx") * 3],
            "no_such_option": [1],
        },
    ),
    "rechunk": (
        lambda s, path, **a: lamella.rechunk(path, **a),
        {"path": "plate.zarr", "destination": "new", "chunks": (4, 8, 8)},
        {
            "path": ["nothing.zarr", 5, ""],
            "destination": ["image.zarr", "plate.zarr/A/inside.zarr", 5, ""],
            "chunks": [(0, 8, 8), (1.5, 8, 8), "x"],
            "shards": [(0, 8, 8), "x", (5, 8, 8)],
            "compressor": ["rar", 5],
            "jobs": WRONG_JOBS,
            "executor": WRONG_EXECUTORS,
            "progress": WRONG_PROGRESS,
        },
    ),
    "upgrade": (
        lambda s, path, **a: lamella.upgrade(path, **a),
        {"path": "plate.zarr", "destination": "new", "to": "0.5"},
        {
            "path": ["nothing.zarr", 5, ""],
            "destination": ["image.zarr", "plate.zarr/A/inside.zarr", 5, ""],
            "to": ["9", None, 0.5],
            "jobs": WRONG_JOBS,
            "executor": WRONG_EXECUTORS,
        },
    ),
    "convert": (
        lambda s, **a: lamella.convert(ArraySource(PIXELS, "tczyx"), **a),
        {"destination": "new"},
        {
            "destination": ["image.zarr", 5, ""],
            "version": ["9", None, 0.5],
            "chunks": [(0, 8, 8), "x", 5],
            "shards": ["x", 5],
            "levels": [0, -1, 1.5, "all"],
            "jobs": [*WRONG_JOBS, 0],
            "executor": WRONG_EXECUTORS,
        },
    ),
    "write_image": (
        lambda s, **a: lamella.write_image(array=a.pop("array", PIXELS), **a),
        {"path": "new"},
        {
            "path": ["image.zarr", 5, ""],
            "array": [5, [["a"]], np.zeros(4), np.zeros((1,) * 6)],
            "axes": [5, "zyx", "tczyq"],
            "scale": [5, [1, 2], {"q": 1}, {"x": -1}],
            "units": [5, "furlong", {"q": "um"}, {"c": "um"}],
            "channels": ["ab", ["a"], {"a": "blue", "b": "bleu"}],
            "version": ["9", None, 0.5],
            "chunks": [(0, 8, 8), "x", 5],
            "levels": [0, -1, 1.5, "all"],
            "method": ["average"],
            "jobs": [*WRONG_JOBS, 0],
            "executor": WRONG_EXECUTORS,
        },
    ),
    "set_transform": (
        lambda s, **a: s.position.set_transform(**a),
        {"image": "0", "transform": [TransformationMeta(type="scale", scale=[2.0] * 5)]},
        {"image": ["7", "", 5, None, "labels/cells"], "transform": WRONG_TRANSFORMS},
    ),
    "set_scale": (
        lambda s, **a: s.position.set_scale(**a),
        {"image": "0", "axis_name": "z", "new_scale": 2.0},
        {
            "image": ["7", "", 5, None],
            "axis_name": ["q", "", None, 5],
            "new_scale": [0, -1, float("nan"), float("inf"), "2", None, [2]],
        },
    ),
    "set_contrast_limits": (
        lambda s, **a: s.position.set_contrast_limits(**a),
        {"channel_name": "a", "window": {"start": 0, "end": 5, "min": 0, "max": 9}},
        {
            "channel_name": ["q", "", None, 0],
            "window": [
                *(None, 5, {"start": "x", "end": 5, "min": 0, "max": 9}, (0, 5)),
                *({"start": 6, "end": 5, "min": 0, "max": 9}, {"start": 0, "end": 5, "min": 9, "max": 0}),
            ],
        },
    ),
    "rename_channel": (
        lambda s, **a: s.position.rename_channel(**a),
        {"old": "a", "new": "c"},
        {"old": ["q", "", None, 0], "new": ["b", "", None, 5]},
    ),
    "update_channel": (
        lambda s, **a: s.position.update_channel(**a),
        {"chan_name": "a", "target": "0", "data": PIXELS[:, 0] + 1},
        {
            "chan_name": ["q", "", None, 0],
            "target": ["7", "", None, "labels"],
            "data": [
                None,
                "pixels",
                {},
                PIXELS[:, 0, :1, :3, :5],
                PIXELS[:, 0] + 70000.0,
                PIXELS[:, 0] - 1.0,
                object(),
            ],
        },
    ),
    "writing": (
        lambda s, index, data: s.position["0"].__setitem__(index, data),
        {"index": 0, "data": 7},
        {
            "index": [7, "x", 1.5, (0,) * 6, None, slice(0, 1, 0), {}],
            "data": [-1, 70000, float("nan"), "x", None, PIXELS[..., :3], object()],
        },
    ),
    "append": (
        lambda s, **a: s.position["0"].append(**a),
        {"data": PIXELS},
        {
            "data": [None, "pixels", PIXELS[:, :1], PIXELS[0], PIXELS - 1.0, PIXELS + 70000.0],
            "axis": [5, -6, 1.5, "t", None],
        },
    ),
    "resize": (
        lambda s, shape: s.position["0"].resize(shape),
        {"shape": (2, 2, 4, 16, 16)},
        {"shape": [*WRONG_SHAPES[:2], *WRONG_SHAPES[3:], (1 << 62, 2, 4, 16, 16), (1.9, 2, 4, 16, 16)]},
    ),
    "write_xarray": (
        lambda s, change, **a: s.empty.write_xarray(change(IMAGE), **a),
        {"change": lambda image: image},
        {
            "change": [
                lambda image: None,
                lambda image: image.values,
                lambda image: image.rename(t="q"),
                lambda image: image.transpose("y", "x", "t", "c", "z"),
                lambda image: image.assign_coords(c=["a", "q"]),
                lambda image: image.assign_coords(c=["a", "a"]),
                lambda image: image.assign_coords(x=np.arange(16.0)[::-1]),
                lambda image: image.assign_coords(x=np.arange(16.0) ** 2),
                lambda image: image.assign_coords(x=np.full(16, np.nan)),
                lambda image: image.astype("U5"),
            ],
            "image": ["", "..", "labels", "labels/x", "zarr.json", 5.5, None],
        },
    ),
    "stream": (
        lambda s, **a: streamed(s.empty.stream(**a)),
        {"name": "0", "shape_per_frame": (16, 16), "dtype": "u1", "lengths": {"z": 2}},
        WRONG_STREAMS,
    ),
    "stream to a plate": (
        lambda s, **a: streamed(s.plate.stream(**a)),
        {
            "positions": ["A/1/1", "C/1/0"],
            "name": "0",
            "shape_per_frame": (16, 16),
            "dtype": "u1",
            "lengths": {"z": 2},
        },
        {
            **WRONG_STREAMS,
            "positions": ["A/1/1", [], ["A/1"], [5], 5, None, ["A/1/1", "A/1/1"], ["C/1/a_b"], ["A/1/0"]],
        },
    ),
    "make_tiles": (
        lambda s, **a: s.mosaic.make_tiles(**a),
        {"name": "7", "grid_shape": (2, 2), "tile_shape": (4, 4), "dtype": "u1"},
        {
            "name": WRONG_NAMES,
            "grid_shape": [(2,), (0, 2), (1.5, 2), "22", 5, None, (2, 2, 2)],
            "tile_shape": [(4,), (0, 4), (1.5, 4), "44", 5, None, (1,) * 6],
            "dtype": WRONG_TYPES,
            "transform": WRONG_TRANSFORMS,
            "chunk_dims": [1, 1.5, "2", None, True],
        },
    ),
    "write_tile": (
        lambda s, **a: s.mosaic["0"].write_tile(**a),
        {"data": np.ones((4, 4)), "row": 0, "column": 1},
        {
            "data": [np.zeros((3, 3)), "x", None, np.full((4, 4), 300), np.full((4, 4), -1)],
            "row": [2, -3, 1.5, "0", None],
            "column": [2, -3, 1.5, "0", None],
            "pre_dims": [5, (0,) * 9, (7, 0, 0)],
        },
    ),
    "rename_well": (
        lambda s, **a: s.plate.rename_well(**a),
        {"old": "A/1", "new": "C/7"},
        {
            "old": ["C/9", "A", "", "A/1/0", None, 5, ".."],
            "new": ["B/2", "C", "", "C/1/0", None, 5, "../x", "C/a_b", "C/.."],
        },
    ),
    "del of a plate": (lambda s, key: s.plate.__delitem__(key), {"key": "A/1"}, {"key": WRONG_MEMBERS}),
    "del of a position": (
        lambda s, key: s.position.__delitem__(key),
        {"key": "0"},
        {"key": [*WRONG_MEMBERS, "labels/nothing", "zarr.json", ".zarray"]},
    ),
    "del of a label image": (
        lambda s, key: s.position.labels.__delitem__(key),
        {"key": "cells"},
        {"key": [*WRONG_MEMBERS, "zarr.json", "cells/7"]},
    ),
    "labels.rename": (
        lambda s, **a: s.position.labels.rename(**a),
        {"old": "cells", "new": "nuclei"},
        {
            "old": ["nothing", "", "..", None, 5, "cells/0"],
            "new": [*(name for name in WRONG_LABELS if name != "cells"), None],
        },
    ),
    "set_colors": (
        lambda s, colors: s.position.labels["cells"].set_colors(colors),
        {"colors": {1: (1, 2, 3)}},
        {"colors": [{1: (1, 2)}, {1: (0, 0, 300)}, {"a": (1, 2, 3)}, {1: 5}, [1], 5, "some"]},
    ),
    "set_properties": (
        lambda s, properties: s.position.labels["cells"].set_properties(properties),
        {"properties": {1: {"area": 2}}},
        {"properties": [{1: 5}, [{"area": 1}], {1: {"a": object()}}, [{"label-value": "x"}], 5, "x"]},
    ),
    "repair": (
        lambda s, path, **a: lamella.repair(path, **a),
        {"path": "image.zarr", "reindex": False},
        {"path": ["nothing.zarr", 5, ""], "reindex": [True]},
    ),
    "the command line": (
        command,
        {"words": "rechunk {plate} {new} --chunks 4,8,8"},
        {
            "words": [
                "rechunk {plate} {new}",
                "rechunk {plate} {image} --chunks 4,8,8",
                "rechunk {plate} {new} --chunks 4,8,x",
                "rechunk {plate} {new} --chunks 0,8,8",
                "rechunk {plate} {new} --compressor rar",
                "rechunk {plate} --chunks 4,8,8",
                "rechunk {plate} {new} --chunks 4,8,8 --jobs x",
                "rechunk {plate}/nothing {new} --chunks 4,8,8",
                "upgrade {plate} {image} --to 0.5",
                "upgrade {plate} {new} --to 9",
                "upgrade {plate} {plate}/A/inside.zarr --to 0.5",
                "convert {plate}/nothing.tif {new}",
                "convert {sums} {new}",
                "convert {sums} {image}",
                "repair {plate}/nothing",
                "repair {image} --reindex",
                "checksum {plate} -o {plate}/sums",
                "checksum {plate}/nothing -o {new}",
                "verify {plate} --manifest {plate}/nothing",
                "preview {plate}/nothing -o {new}",
                "preview {image} -o {image}/zarr.json/x.png",
                "nothing {plate}",
            ]
        },
    ),
    "verify": (
        lambda s, **a: lamella.verify(s.folder / "plate.zarr", record=s.folder / "record", **a),
        {},
        {"manifest": ["nothing.zarr", 5], "jobs": WRONG_JOBS, "executor": WRONG_EXECUTORS},
    ),
    "checksum": (
        lambda s, **a: lamella.checksum(s.folder / "plate.zarr", **a),
        {"output": "sums"},
        {"output": ["plate.zarr/sums", 5], "jobs": WRONG_JOBS, "executor": WRONG_EXECUTORS},
    ),
}

for _, _, _wrong in CALLS.values():
    if "executor" in _wrong:
        _wrong["executor"] = [*WRONG_EXECUTORS, GONE]

CASES = [
    pytest.param(name, argument, id=f"{name}-{argument}")
    for name, (_, _, wrong) in CALLS.items()
    for argument in wrong
]


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


def filled(scene, value, pool):
    """Put what the table can only name in its place."""
    if isinstance(value, str) and value == POOL:
        return pool
    if isinstance(value, str) and value == GONE:
        gone = ThreadPoolExecutor(1)
        gone.shutdown()
        return gone
    if isinstance(value, str) and value == "new":
        return scene.new
    if isinstance(value, str) and value.split("/")[0] in ("plate.zarr", "image.zarr", "nothing.zarr"):
        return str(scene.folder / value)
    if isinstance(value, dict):
        return {key: scene.position if item == "position" else item for key, item in value.items()}
    return value


@pytest.fixture(scope="module", params=["0.4", "0.5", "0.6"])
def scenes(request, tmp_path_factory):
    """Return a function that gives the scene of a version, and its files, as long as no call has changed them."""
    known = []

    def unchanged():
        if not known or known[0].state() != known[1]:
            scene = Scene(tmp_path_factory.mktemp("refused"), request.param)
            known[:] = scene, scene.state()
        return known

    return unchanged


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("call", "argument"), CASES)
def test_a_refused_call_leaves_nothing_behind(scenes, pool, call, argument, monkeypatch):
    work, right, wrong = CALLS[call]
    scene, before = scenes()
    monkeypatch.chdir(scene.folder)
    for value in wrong[argument]:
        given = {name: filled(scene, value, pool) for name, value in right.items()}
        given[argument] = filled(scene, value, pool)
        try:
            work(scene, **given)
        except (ValueError, TypeError, LookupError, OSError):
            pass
        else:
            pytest.fail(f"{call}({argument}={value!r}) was not refused")
        assert scene.state() == before, f"{call}({argument}={value!r}) changed a file"


@pytest.mark.parametrize("call", CALLS)
def test_the_same_call_with_right_arguments_is_no_refusal(call, pool, tmp_path, monkeypatch):
    if call in ("map to processes", "verify", "repair"):
        pytest.skip("the pool cannot import this module; a complete record goes; nothing is wrong")
    monkeypatch.chdir(tmp_path)
    scene = Scene(tmp_path, "0.4")
    before = scene.state()
    work, right, _ = CALLS[call]
    work(scene, **{name: filled(scene, value, pool) for name, value in right.items()})
    assert scene.state() != before


def test_text_is_neither_true_nor_false(tmp_path):
    scene = Scene(tmp_path, "0.5")
    plate, image = tmp_path / "plate.zarr", tmp_path / "image.zarr"
    before = scene.state()
    for call in (
        lambda: lamella.write_image(image, PIXELS, overwrite="no"),
        lambda: lamella.convert(ArraySource(PIXELS, "tczyx"), image, overwrite="no"),
        lambda: lamella.copy_store(plate, image, overwrite="no"),
        lambda: lamella.rechunk(plate, image, chunks=(4, 8, 8), overwrite="no"),
        lambda: lamella.upgrade(plate, "0.6", image, overwrite="no"),
        lambda: lamella.upgrade(plate, "0.4", image, lossy="no"),
        lambda: lamella.pack(plate, tmp_path / "sums.zip", overwrite="no"),
        lambda: lamella.export(image, tmp_path / "sums.txt", overwrite="no"),
        lambda: lamella.repair(plate, dry_run="no"),
        lambda: lamella.validate(plate, follow_links="no"),
        lambda: lamella.verify(plate, follow_links="no"),
        lambda: lamella.status(plate, follow_links="no"),
        lambda: scene.plate.create_positions([("A", "1", "0")], exist_ok="no"),
        lambda: scene.position.tables.write("sizes", {"label": [1]}, overwrite="no"),
        lambda: scene.position.mosaic().write(tmp_path / "m.zarr", overwrite="no"),
        lambda: lamella.open(tmp_path, "w", layout="fov", channel_names=["a"], disable_path_checking="no"),
        lambda: lamella.open(image, "r+", overwriting_creation="no"),
        lambda: lamella.open(image, strict="no"),
        lambda: scene.position.labels.create("cells", MASK, overwrite="no"),
    ):
        with pytest.raises(WrongTypeError, match="is True or False, not 'no'"):
            call()
    assert scene.state() == before


def test_every_call_that_creates_is_in_the_table():
    creating = {
        f"{kind.__name__}.{name}"
        for kind in (lamella.Plate, lamella.Well, lamella.Position)
        for name, member in inspect.getmembers(kind, callable)
        if name.startswith(
            ("create_", "append_channel", "initialize_", "compute_pyr", "from_positions", "map")
        )
        and name != "create_from"  # of operations: no user calls it
    }
    assert creating == {
        "Plate.append_channel",
        "Plate.compute_pyramid",
        "Plate.create_position",
        "Plate.create_positions",
        "Plate.create_well",
        "Plate.create_zeros",
        "Plate.from_positions",
        "Plate.map",
        "Position.append_channel",
        "Position.compute_pyramid",
        "Position.create_image",
        "Position.create_zeros",
        "Position.initialize_pyramid",
        "Position.map",
        "Well.create_position",
    }
