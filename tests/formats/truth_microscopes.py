"""Files of microscopes and their software: the pixels are those of the library, the metadata those of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile
from tests.formats.samples import Sample

from lamella.readers import Objective

if TYPE_CHECKING:
    from pathlib import Path

MICROMETERS = {"z": "micrometer", "y": "micrometer", "x": "micrometer", "t": "second"}


def by_nd2(path: Path) -> list[np.ndarray]:
    import nd2

    with nd2.ND2File(path) as file:
        return [file.asarray().swapaxes(1, 2)]  # TZCYX


def by_czifile(path: Path) -> list[np.ndarray]:
    import czifile

    with czifile.CziFile(path, squeeze=False) as file:
        images = [file.scenes[scene] for scene in file.scenes]
        assert {image.dims[-3:] for image in images} == {("Y", "X", "S")}
        arrays = [image.asarray(maxworkers=1)[..., 0] for image in images]
        orders = [[image.dims.index(axis) for axis in "TCZ"] for image in images if "Z" in image.dims]
        if not orders:  # the file has channels only
            return [array[None, :, None] for array in arrays]
        return [array.transpose(*order, 3, 4) for array, order in zip(arrays, orders, strict=True)]


def tiles_by_czifile(path: Path) -> list[np.ndarray]:
    import czifile

    with czifile.CziFile(path) as file:
        tiles: dict[tuple[int, int], list[np.ndarray]] = {}
        for entry in file.subblock_directory:
            pixels = entry.read_segment_data(file).data()
            tiles.setdefault((entry.scene_index, entry.mosaic_index), []).append(pixels.reshape(1, 16, 20))
        return [np.array(channels)[None] for _, channels in sorted(tiles.items())]


def by_liffile(path: Path) -> list[np.ndarray]:
    import liffile

    with liffile.LifFile(path) as file:
        stack, tiles, colour, alternating = (image.asarray() for image in file.images)
    return [
        stack.swapaxes(1, 2),
        *tiles[:, None, None, None],
        colour.transpose(2, 0, 1)[None, :, None],
        alternating.swapaxes(0, 1)[None, None],
    ]


def by_oiffile(path: Path) -> list[np.ndarray]:
    import oiffile

    with oiffile.OifFile(path) as file:
        return [file.asarray()[None, :, None]]


def by_mrc(path: Path) -> list[np.ndarray]:
    import mrc

    return [mrc.imread(path)[None]]


def by_mrcfile(path: Path) -> list[np.ndarray]:
    import mrcfile

    return [mrcfile.read(path)]


def imaris_by_h5py(path: Path) -> list[np.ndarray]:
    import h5py

    with h5py.File(path) as file:
        level = file["DataSet/ResolutionLevel 0"]
        return [np.array([[level[f"TimePoint {t}/Channel {c}/Data"][:] for c in range(2)] for t in range(2)])]


def bdv_by_h5py(path: Path) -> list[np.ndarray]:
    import h5py

    with h5py.File(path.with_suffix(".h5")) as file:
        # Setups 0 and 1 are the tiles of channel 0, 2 and 3 those of channel 1; pixels are unsigned for BigDataViewer.
        setups = [file[f"t00000/s{setup:02d}/0/cells"][:].view(np.uint16) for setup in range(4)]
    return [np.array([[setups[tile], setups[tile + 2]]]) for tile in range(2)]


def by_pydicom(path: Path) -> list[np.ndarray]:
    import pydicom

    tiles = pydicom.dcmread(path).pixel_array.reshape(5, 5, 10, 10, 3)  # rows and columns of tiles
    return [tiles.transpose(4, 0, 2, 1, 3).reshape(1, 3, 1, 50, 50)]


def svs_by_tifffile(path: Path) -> list[np.ndarray]:
    return [tifffile.imread(path, series=0).transpose(2, 0, 1)]


def by_imageio(path: Path) -> list[np.ndarray]:
    from imageio import v3

    return [v3.imread(path).transpose(2, 0, 1)[None, :, None]]


RGB = {"channels": ("Red", "Green", "Blue"), "colors": ("FF0000", "00FF00", "0000FF")}
STEPS = {"z": 0.5, "y": 0.2, "x": 0.2}
WELLS_CZI = {
    "channels": ("DAPI", "DAPI"), "colors": ("00A0FF", "00FF5B"), "original": ("czi.xml",),
    "windows": ((655.35, 32767.5), None),
}  # fmt: skip
WELLS_CZI_EXPECTED = {
    "scale": {"y": 0.65, "x": 0.65}, "acquired": "2024-05-31T12:00:00Z",
    "objective": Objective("Plan-Apochromat 20x/0.8", 20.0, 0.8),
}  # fmt: skip

SAMPLES = [
    Sample(
        "nd2", "cluster.nd2", "tczyx", (3, 2, 10, 31, 38), "uint16", by_nd2,
        channels=("5-FAM/pH 9.0", "FM 4-64/2% CHAPS"), colors=("78E90F", "FE0100"), original=("nd2.json",),
        expected={
            "scale": {"t": 10.647547206794844, "z": 0.5, "y": 0.16780898323268245, "x": 0.16780898323268245},
            "units": MICROMETERS,
            # The file states a period of 0 ms: the times are those of its events.
            "times": (0.44508349828422067, 11.086180222116411, 21.740177911873907),
            "stage": {"x": -26056.951209195162, "y": -4155.462732842248, "z": 3912.3375},
            "acquired": "2014-06-18T13:55:23.837+00:00",
            "objective": Objective("Plan Apo λ 60x", 60.0, 0.95),
        },
    ),
    Sample(
        "czi", "generated_pylibCZIrw_T2Z3C2.czi", "tczyx", (2, 2, 3, 64, 80), "uint16",
        by_czifile, channels=("DAPI", "GFP"), original=("czi.xml",),
        expected={"scale": STEPS, "units": dict.fromkeys("zyx", "micrometer")},
    ),
    Sample(
        "czi", "generated_pylibCZIrw_2scenes.czi", "tczyx", (1, 1, 1, 64, 80), "uint16", by_czifile, images=2, image=1,
    ),
    Sample(
        "czi", "wells.czi", "tczyx", (1, 2, 1, 16, 36), "uint16", by_czifile, images=2, image=1, **WELLS_CZI,
        expected={**WELLS_CZI_EXPECTED, "well": ("C", "11", "0"), "stage": {"x": 9988.625, "y": 2995.125}},
    ),
    Sample(
        "czi-tiles", "wells.czi", "tczyx", (1, 2, 1, 16, 20), "uint16", tiles_by_czifile, images=4, image=3,
        **WELLS_CZI, is_chosen=True,
        expected={**WELLS_CZI_EXPECTED, "well": ("C", "11", "1"), "stage": {"x": 9999.025, "y": 2995.125}},
    ),
    Sample(
        "lif", "generated.lif", "tczyx", (2, 2, 3, 16, 20), "uint16", by_liffile, images=5,
        channels=("DAPI", "ALEXA 488"), colors=("0000FF", "00FF00"), original=("lif.xml",),
        expected={
            "scale": {**STEPS, "t": 30}, "units": MICROMETERS, "title": "Stack", "times": (0.0, 30.0),
            "acquired": "2017-07-14T02:40:00.000",
        },
    ),
    Sample(
        "lif", "generated.lif", "tczyx", (1, 1, 1, 16, 20), "uint8", by_liffile, images=5, image=2,
        expected={
            "scale": {"y": 0.5, "x": 0.5}, "stage": {"x": 1100, "y": 2000, "z": 300}, "title": "Tiles tile 1",
            "objective": Objective("HC PL APO 63x/1.40", 63.0, 1.4),
        },
    ),
    Sample(
        "lif", "generated.lif", "tczyx", (1, 3, 1, 16, 20), "uint8", by_liffile, images=5, image=3,
        channels=("Red", "Green", "Blue"), colors=("FF0000", "00FF00", "0000FF"), expected={"is_rgb": True},
    ),
    Sample(
        "oif", "test.oib", "tczyx", (1, 3, 1, 256, 256), "uint16", by_oiffile,
        original=("oif.json", "s_C001.pty", "s_C003.pty"),
        channels=("CH1", "Alexa Fluor 546", "TD1"), colors=("00FF00", "FF0000", "FFFFFF"),
        expected={"scale": {"y": 0.177, "x": 0.177}, "acquired": "2012-07-26T15:13:35"},
    ),
    Sample(
        "dv", "toxo.dv", "tczyx", (1, 2, 17, 128, 128), "uint16", by_mrc, original=("dv.json",),
        channels=("525", "632"),
        expected={
            "scale": {"z": 0.3, "y": 0.13262, "x": 0.13262}, "units": MICROMETERS,
            "objective": Objective("Olympus 100X/1.35, U Plan Apo, IX70"),
        },
    ),
    Sample("dv", "generated_mrc.dv", "tczyx", (1, 2, 5, 32, 40), "uint16", by_mrc),
    Sample(
        "mrc", "EMD-3197.map", "zyx", (20, 20, 20), "float32", by_mrcfile, original=("mrc.json",),
        expected={"scale": {"z": 11.4, "y": 11.4, "x": 11.4}, "units": dict.fromkeys("zyx", "angstrom")},
    ),
    Sample(  # its columns run along z of the specimen, its rows along x
        "mrc", "EMD-3001.map", "zyx", (25, 43, 73), "float32", by_mrcfile,
        expected={"scale": {"z": 0.3925, "y": 0.44825, "x": 0.45875}},
    ),
    Sample(
        "ims", "generated_h5py.ims", "tczyx", (2, 2, 8, 64, 80), "uint16", imaris_by_h5py, original=("imaris.json",),
        channels=("DAPI", "GFP"), colors=("0000FF", "00FF00"),
        expected={
            "scale": {**STEPS, "t": 5}, "units": MICROMETERS, "times": (0.0, 5.0),
            "acquired": "2024-01-01T00:00:00.000",
        },
    ),
    Sample(
        "bdv", "bdv/bdv.xml", "tczyx", (1, 2, 8, 64, 80), "uint16", bdv_by_h5py, images=2, image=1, folder="bdv",
        cut="bdv.h5", channels=("0", "1"), original=("bdv.xml",), expected={"scale": STEPS, "title": "tile 1"},
    ),
    Sample(
        "svs", "CMU-1-Small-Region.svs", "cyx", (3, 2967, 2220), "uint8", svs_by_tifffile, original=("aperio.txt",),
        **RGB,
        expected={
            "scale": {"y": 0.499, "x": 0.499}, "units": dict.fromkeys("yx", "micrometer"), "title": "CMU-1",
            "acquired": "2009-12-29T09:59:15", "objective": Objective(magnification=20.0),
        },
    ),
    Sample(
        "dicom", "sm_image.dcm", "tczyx", (1, 3, 1, 50, 50), "uint8", by_pydicom, needs=("pydicom",), **RGB,
        expected={"scale": {"y": 0.499, "x": 0.499}, "acquired": "2009-12-29T09:59:15", "is_rgb": True},
    ),
    Sample(
        "bioio", "generated.png", "tczyx", (1, 3, 1, 32, 40), "uint8", by_imageio,
        needs=("bioio_imageio",), **RGB, expected={"is_rgb": True, "notes": ("it was read by bioio_imageio",)},
    ),
]  # fmt: skip
