"""Use lamella where `pip install lamella` and nothing else was done: ``make test-minimal``.

It needs no pytest, whose own dependencies might stand in for ours. Each line that is printed passed; the first failure
ends the run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import numpy as np

import lamella
from lamella.errors import MissingDependencyError

OPTIONAL = (
    "tensorstore",
    "tifffile",
    "imagecodecs",
    "PIL",
    "ome_types",
    "aiohttp",
    "icechunk",
    "torch",
    "pyarrow",
    "skimage",
    "pytest",
)
SHAPE = (2, 2, 4, 64, 96)


def command(*arguments: object, code: int = 0) -> str:
    """Run a command of the terminal and return what it prints."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "lamella", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == code, (arguments, run.returncode, run.stdout, run.stderr)
    return run.stdout + run.stderr


def make_plate(path: Path, version: str) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 999, SHAPE, dtype="uint16")
    layout = {} if version == "0.4" else {"shards_ratio": (1, 1, 2, 2, 2)}
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=version
    ) as plate:
        for position in plate.create_positions([("A", "1", "0"), ("B", "2", "0")]):
            position.create_image("0", pixels, chunks=(1, 1, 2, 16, 32), **layout)
            position.compute_pyramid(levels=3, method="median")
    return pixels


def use(folder: Path, version: str) -> None:
    """Write, read, check, rewrite and pack a plate."""
    path = folder / f"plate{version}.zarr"
    pixels = make_plate(path, version)
    with lamella.open_ome_zarr(path, mode="r+") as plate:
        position = plate["A/1/0"]
        image = position["0"]
        assert np.array_equal(image[:], pixels)
        assert np.array_equal(image[1, 0, 1:3, 5:40, 7:80], pixels[1, 0, 1:3, 5:40, 7:80])
        assert np.array_equal(image.zarr()[0], pixels[0])
        assert np.array_equal(image.dask_array().sum(axis=0).compute(), pixels.sum(axis=0))
        assert np.array_equal(position.to_xarray().max("z").values, pixels.max(axis=2))
        image[0, 1, 2, 3:20, 3:20] = 7
        position.update_pyramid()
        assert len(plate.table(as_frame=True)) == 2
        assert [float(value) for value in plate.map(mean_of_level_1).values.values()]
    assert lamella.validate(path, pixels=True)
    lamella.checksum(path, output=folder / f"sums{version}.txt")
    assert lamella.verify(path, manifest=folder / f"sums{version}.txt")
    lamella.rechunk(path, folder / f"rechunked{version}.zarr", chunks=(2, 32, 32))
    packed_path = folder / f"plate{version}.zip"
    lamella.pack(path, packed_path)
    with lamella.open_ome_zarr(packed_path) as packed:
        assert packed["B/2/0/0"].shape == SHAPE
    assert "DAPI" in command("info", path / "A/1/0")
    command("validate", path)


def mean_of_level_1(position: lamella.Position) -> float:
    return float(position["1"][:].mean())


def read_from_the_web(folder: Path) -> None:
    """Read a plate from a plain web server."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with lamella.open_ome_zarr(f"http://127.0.0.1:{server.server_address[1]}/plate0.4.zarr") as plate:
            assert plate["B/2/0/0"][:].shape == SHAPE
        server.shutdown()
    print("passed: a plate on a web server")


def refused(extra: str, call: object, *arguments: object, **options: object) -> None:
    """Check that a call raises the error that names an extra."""
    raised = None
    try:
        call(*arguments, **options)
    except MissingDependencyError as error:
        raised = error
    assert f"lamella[{extra}]" in str(raised), f"{call} needs lamella[{extra}], and said: {raised}"
    assert isinstance(raised, ImportError)
    print(f"passed: without lamella[{extra}]")


def refuse(folder: Path) -> None:
    """Call what needs an extra, from Python and from the terminal."""
    path = folder / "plate0.5.zarr"
    tiff = folder / "a.tif"
    tiff.write_bytes(b"II*\0" + bytes(60))
    (path / "OME").mkdir()
    (path / "OME/METADATA.ome.xml").write_text(
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"/>'
    )
    plate = lamella.open_ome_zarr(path)
    refused("tensorstore", plate["A/1/0/0"].tensorstore)
    refused("ome", plate.ome_metadata)
    refused("tiff", lamella.convert, tiff, folder / "a.zarr")
    refused("icechunk", lamella.open_ome_zarr, f"icechunk+file://{folder}/a")
    refused("torch", __import__, "lamella.torch")
    assert "lamella[tiff]" in command("convert", tiff, folder / "a.zarr", code=1)
    assert "lamella[preview]" in command("preview", path, "-o", folder / "a.png", code=1)


def main() -> None:
    present = [name for name in OPTIONAL if find_spec(name) is not None]
    assert not present, f"this environment has more than lamella's dependencies: {', '.join(present)}"
    with tempfile.TemporaryDirectory() as folder:
        for version in ("0.4", "0.5"):
            use(Path(folder), version)
            print(f"passed: a plate of OME-NGFF {version}")
        read_from_the_web(Path(folder))
        refuse(Path(folder))


if __name__ == "__main__":
    main()
