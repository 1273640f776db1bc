"""The tasks of the pages for users of other libraries: every script runs, and they read and leave the same.

Each script starts in an empty folder with copies of the stores of `world`, and with the arrays `stack` (C, Z, Y, X)
and `pixels` (T, C, Z, Y, X). Two scripts agree if the names that both assign have equal values, and if each store that
both made or changed has the same images, pixels, sizes and label images.
"""

from __future__ import annotations

import gc
import re
import shutil
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from tests.coming_from import TASKS

import lamella

NUCLEI = np.zeros((8, 128, 128), "uint32")
NUCLEI[2:6, 10:30, 10:40] = 1
NUCLEI[1:7, 60:90, 50:90] = 2  # over the borders of chunks
ARRAYS = {
    "stack": np.random.default_rng(1).integers(0, 1000, (2, 8, 128, 128), "uint16")
    + NUCLEI.astype("uint16") * 1000,
    "pixels": np.random.default_rng(0).integers(0, 1000, (2, 2, 4, 64, 64), "uint16"),
}
CHANNELS = {"DAPI": "0000FF", "GFP": "00FF00"}
SIZES = {"z": 2.0, "y": 0.5, "x": 0.5}


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A folder with the stores and files that scripts start from."""
    folder = tmp_path_factory.mktemp("world")
    write = partial(lamella.write_image, scale=SIZES, channels=CHANNELS, chunks=(1, 8, 64, 64), levels=2)
    sizes = pd.DataFrame({"label": [1, 2], "area": [2400.0, 7200.0]})
    with write(folder / "image.zarr", ARRAYS["stack"], "czyx") as image:
        image.labels["nuclei"] = NUCLEI
        image.tables.write("sizes", sizes, label="nuclei", backend="csv")
        image.tables.write_rois("fields", {"FOV_1": {"x": (0, 32)}, "FOV_2": {"x": (32, 64)}}, backend="csv")
    write(folder / "old.zarr", ARRAYS["stack"], "czyx", version="0.4").close()
    days = [
        lamella.AcquisitionMeta(id=number, name=name) for number, name in enumerate(("monday", "tuesday"))
    ]
    with lamella.open(
        folder / "plate.zarr",
        "w",
        layout="hcs",
        channel_names=list(CHANNELS),
        axes="tczyx",
        acquisitions=days,
    ) as plate:
        plate.create_positions(
            [("A", "01", "0"), ("A", "02", "0"), ("B", "01", "0"), ("B", "01", "1", None, None, 1)]
        )
        for number, (_, position) in enumerate(plate.positions()):
            position.create_image("0", ARRAYS["pixels"] + number, chunks=(1, 1, 4, 64, 64))
            position.tables.write("sizes", sizes + number, type="generic_table", backend="csv")
        plate.set_scale(SIZES)
    lamella.export(folder / "image.zarr", folder / "image.ome.tif")
    lamella.pack(folder / "image.zarr", folder / "image.ozx")
    return folder


@pytest.fixture(scope="session")
def url(world):
    """The URL at which a web server shows the stores."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=world)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run(task, library, code, folder, world, url, monkeypatch):
    """Run a script in a copy of the world, and return the names that it assigned."""
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    given = {**{name: array.copy() for name, array in ARRAYS.items()}, "url": url}
    names = dict(given)
    exec(compile(code, f"{task.page.name}, {task.title}, {library}", "exec"), names)
    assigned = {
        name: value
        for name, value in names.items()
        if name not in given
        and isinstance(value, np.ndarray | np.generic | list | tuple | dict | float | int | str)
        and not name.startswith("__")
    }
    if library == "ngff-zarr" and ".tif" in code:  # it leaves the file open, which would fail a later test
        names.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    return assigned


def contents(folder):
    """Path to size and time of the files below a folder, or of a file."""
    files = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder.parent): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def images_of(node, path=""):
    """Yield the images of a store with their paths."""
    if isinstance(node, lamella.Position):
        yield path, node
    else:
        yield from node.positions()


def meaning(path):
    """Return what a store holds, apart from how it is stored."""
    with lamella.open(path) as node:
        return {name: meaning_of(image) for name, image in images_of(node)}


def meaning_of(image):
    """Return what an image holds."""
    finest = image.dataset_paths[0]
    omero = image.metadata.omero
    return {
        "version": image.version,
        "axes": [axis.lower() for axis in image.axis_names],
        "units": [axis.unit for axis in image.axes if axis.type == "space"],
        "scale": image.scale,
        "translation": image.get_effective_translation(finest),
        "pixels": image[finest][...],
        "names": omero and [channel.label for channel in omero.channels],
        "colors": omero and [channel.color for channel in omero.channels],
        "labels": {label: ids_of(image.labels[label]) for label in image.labels},
        "tables": {table: values_of(image.tables[table]) for table in image.tables},
    }


def ids_of(labels):
    """Return labels with their ids counted in the order of first voxels, in each frame: libraries count differently."""
    ids = labels.data[...]
    frames = ids if "t" in labels.axis_names else [ids]
    return np.stack([counted(frame) for frame in frames])


def counted(ids):
    """Return ids of the same objects, counted from 1 in the order of their first voxels."""
    found, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(np.where(found == 0, -1, first))
    rank = np.empty(len(found), int)
    rank[order] = np.arange(len(found)) + (0 not in found)
    return rank[inverse].reshape(ids.shape)


def values_of(frame):
    """Return the columns of a table, whatever their order and the index."""
    columns = frame.reset_index().to_dict("list")
    return {name: columns[name] for name in sorted(columns) if name != "index"}


def stores_changed(folder, world):
    """The stores below a folder that a script made or changed."""
    return {
        path.name
        for path in folder.iterdir()
        if path.suffix in (".zarr", ".ozx")
        and not ((world / path.name).exists() and contents(path) == contents(world / path.name))
    }


def same(left, right):
    """Whether two values are equal, as arrays where they hold numbers."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    return np.array_equal(np.asarray(left), np.asarray(right))


def is_default(what, left, right, *scripts):
    """Whether values differ because a script leaves them to its library: units, or names or colours of channels."""
    if what == "units":
        return None in (*left, *right)
    stated = {"names": r'"(DAPI|GFP|Actin)"', "colors": r'"[0-9A-F]{6}"'}.get(what)
    return stated is not None and not all(re.search(stated, script) for script in scripts)


def short(value):
    """A value for a message."""
    return (
        f"an array of {value.shape}, mean {value.mean()}"
        if isinstance(value, np.ndarray)
        else repr(value)[:200]
    )


@pytest.mark.filterwarnings("ignore")  # what the other libraries warn of is theirs
@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.page.stem}/{task.anchor}")
def test_the_scripts_of_a_task_read_and_leave_the_same(tmp_path, monkeypatch, world, url, task):
    ours = run(task, "lamella", task.lamella, tmp_path / "lamella", world, url, monkeypatch)
    left = stores_changed(tmp_path / "lamella", world)
    assert ours or left, "the script reads nothing and writes nothing"
    for library, code in task.others.items():
        folder = tmp_path / library
        theirs = run(task, library, code, folder, world, url, monkeypatch)
        for name, value in ours.items():
            assert name in theirs, f"{library}: {name} is missing"
            equal = same(theirs[name], value)
            assert equal, f"{library}: {name} is {short(theirs[name])}, with lamella {short(value)}"
        assert stores_changed(folder, world) == left, library
        for store in left:
            expected = meaning(tmp_path / "lamella" / store)
            found = meaning(folder / store)
            assert found.keys() == expected.keys(), (library, store)
            for path, image in expected.items():
                for what, value in image.items():
                    other = found[path][what]
                    equal = same(other, value) or is_default(what, other, value, code, task.lamella)
                    message = (
                        f"{library}: {what} of {store} {path} are {short(other)}, with lamella {short(value)}"
                    )
                    assert equal, message


def test_there_are_many_tasks():
    assert len(TASKS) >= 65
    assert sum(len(task.others) for task in TASKS) >= 80
