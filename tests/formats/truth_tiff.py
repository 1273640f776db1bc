"""Files that the reader of TIFF reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile
from tests.formats.make_tiff import nd_pixels, stack
from tests.formats.samples import Sample

from lamella.ops.conversion.source import SourceChannel

if TYPE_CHECKING:
    from pathlib import Path


def by_tifffile(path: Path) -> list[np.ndarray]:
    """Every series of a file, as tifffile reads it."""
    with tifffile.TiffFile(path) as file:
        return [series.asarray() for series in file.series]


def generated_stack(positions: int) -> list[np.ndarray]:
    """What write_mmstack.py wrote: y + x + 5000c + 10z + 100t + 1000p."""
    t, c, z, y, x = np.ogrid[:3, :2, :4, :32, :48]
    return [(y + x + 5000 * c + 10 * z + 100 * t + 1000 * p).astype("u2") for p in range(positions)]


def generated_ndtiff(_: Path) -> list[np.ndarray]:
    """What ndstorage wrote: 1000p + 100t + 10z + (1 for GFP)."""
    t, c, z, _, _ = np.ogrid[:2, :2, :3, :32, :40]
    plane = np.zeros((1, 1, 1, 32, 40), "u2")
    return [(plane + 1000 * p + 100 * t + 10 * z + c).astype("u2") for p in range(2)]


def mosaic_of_colours(folder: Path) -> list[np.ndarray]:
    """The tiles of an explored mosaic that exist, channels first."""
    (file,) = (folder / "Full resolution").glob("*.tif")
    with tifffile.TiffFile(file) as stack:
        (series,) = stack.series
        return [page.asarray().transpose(2, 0, 1) for page in series.pages if page is not None]


def companion(path: Path) -> list[np.ndarray]:
    """Two fields of CZYX, a file for each field and channel, without their OME-XML."""

    def stack(field: int, channel: int) -> np.ndarray:
        return tifffile.imread(path.parent / f"well1_f{field}_c{channel}.ome.tif", is_ome=False)

    return [np.array([stack(field, channel) for channel in (0, 1)]) for field in (0, 1)]


STACK = {
    "axes": "tczyx",
    "shape": (3, 2, 4, 32, 48),
    "dtype": "uint16",
    "channels": ("DAPI", "GFP"),
    "colors": ("0000FF", "00FF00"),
}
STACK_FACTS = {
    "scale": {"t": 5.0, "z": 0.5, "y": 0.325, "x": 0.325},
    "units": {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"},
    "times": (0.0, 5.0, 10.0),
}


def metamorph(_: Path) -> list[np.ndarray]:
    """TCZYX of one stage; the second wave has no z."""
    pixels = np.array([[nd_pixels(1, wave, time) for wave in (1, 2)] for time in (1, 2)])
    pixels[:, 1, 1:] = 0
    return [pixels]


MICROMETERS = {"z": "micrometer", "y": "micrometer", "x": "micrometer"}
STK_STAGE = {"z": 10.0, "y": 50 - 6 * 0.325, "x": 100 - 7 * 0.325}

COMPANION = {
    "axes": "czyx", "shape": (2, 3, 16, 20), "dtype": "uint16", "pixels": companion, "images": 2, "image": 1,
    "channels": ("DAPI", "GFP"), "colors": ("0000FF", "00FF00"), "original": ("METADATA.ome.xml",),
    "folder": "companion", "cut": "well1_f1_c1.ome.tif",
    "expected": {
        "scale": {"z": 2.0, "y": 0.5, "x": 0.5}, "well": ("B", "3", "1"), "plate": "P1", "title": "w1f1",
        "stage": {"x": 1100.0, "y": 50.0},
    },
}  # fmt: skip

SAMPLES = [
    Sample("companion", "companion/plate.companion.ome", **COMPANION),
    Sample("tiff", "companion/well1_f1_c0.ome.tif", **COMPANION),
    Sample(
        "tiff", "tiff/generated.stk", "zyx", (4, 12, 14), "uint16", by_tifffile, original=("stk.json",),
        expected={
            "scale": {"z": 0.5, "y": 0.325, "x": 0.325}, "units": MICROMETERS, "stage": STK_STAGE, "title": "A01",
            "acquired": "2024-05-31T10:00:00", "channels": (SourceChannel("", emission=525.0, exposure=0.05),),
        },
    ),
    Sample(
        "metamorph", "nd/scan.nd", "tczyx", (2, 2, 3, 12, 14), "uint16", metamorph, original=("scan.nd",),
        channels=("conf/488", "BF"), folder="nd", cut="scan_w1conf-488_s1_t2.stk",
        expected={
            "scale": {"z": 2.5, "y": 0.325, "x": 0.325}, "units": {**MICROMETERS, "t": "second"},
            "stage": STK_STAGE, "times": (0.0, 10.0), "title": "A01", "well": ("A", "01", "1"), "plate": "scan",
        },
    ),
    Sample(
        "tiff", "tiff/generated.lsm", "tcyx", (3, 3, 12, 14), "uint16",
        lambda path: by_tifffile(path)[:1], original=("lsm.json",),
        channels=("Ch1-T1", "Ch2-T2", "T"), colors=("00FF00", "FF0000", "FFFFFF"),
        expected={
            "scale": {"t": 2.0, "z": 1.0, "y": 0.2, "x": 0.2}, "units": {**MICROMETERS, "t": "second"},
            "times": (0.0, 2.0, 4.5), "stage": {"z": 20.0, "y": 500 - 6 * 0.2, "x": 1000 - 7 * 0.2}, "is_rgb": False,
        },
    ),
    Sample(
        "tiff", "tiff/generated_scanimage.tif", "tczyx", (2, 2, 3, 10, 20), "uint16",
        lambda _: [stack(12, 10, 20).reshape(3, 2, 2, 10, 20).transpose(1, 2, 0, 3, 4)],
        channels=("GCaMP", "tdTomato"), colors=("00FF00", "FF0000"), original=("scanimage.json",),
        expected={
            "scale": {"t": 0.0333, "z": 5.0, "y": 2.0, "x": 2.0}, "units": {**MICROMETERS, "t": "second"}, "notes": (),
        },
    ),
    Sample(
        "tiff", "tiff/generated_zeiss_sem.tif", "yx", (12, 14), "uint16", by_tifffile, original=("sem.json",),
        expected={"scale": {"y": 2.5, "x": 2.5}, "units": {"y": "nanometer", "x": "nanometer"}},
    ),
    Sample(
        "tiff", "tiff/generated_fei.tif", "yx", (12, 14), "uint16", by_tifffile, original=("fei.json",),
        expected={"scale": {"y": 0.0125, "x": 0.0125}, "units": {"y": "micrometer", "x": "micrometer"}},
    ),
    Sample(
        "tiff", "../samples/2010-06-18x24y5z1t2c8b-text.ome.tiff", "czyx", (2, 5, 24, 18), "uint8",
        lambda path: [by_tifffile(path)[0].swapaxes(0, 1)], original=("METADATA.ome.xml",),
    ),
    Sample(
        "tiff", "mmstack/onepos/exp_1_MMStack_Pos0.ome.tif", **STACK, pixels=lambda _: generated_stack(1),
        expected={**STACK_FACTS, "title": "Pos0", "stage": {"x": 0.0, "y": 0.0, "z": 0.0}},
        original=("METADATA.ome.xml", "micromanager.json"),
    ),
    Sample(
        "tiff", "mmstack/threepos/exp_1_MMStack_Pos1.ome.tif", **STACK, pixels=lambda _: generated_stack(3),
        images=3, image=2, folder="mmstack/threepos", cut="exp_1_MMStack_Pos1.ome.tif",
        expected={**STACK_FACTS, "title": "Pos2", "stage": {"x": 200.0, "y": 400.0, "z": 0.0}},
    ),
    Sample(
        "tiff", "mmstack/stopped/exp_1_MMStack_Pos0.ome.tif", **STACK, pixels=lambda _: generated_stack(1),
        expected={**STACK_FACTS, "notes": ("10 time points were planned, and 3 were recorded",)},
    ),
    Sample(
        "tiff", "ndtiff/generated_ndstorage_P2T2C2Z3", "tczyx", (2, 2, 3, 32, 40), "uint16", generated_ndtiff,
        images=2, image=1, channels=("DAPI", "GFP"), original=("micromanager.json",),
        expected={
            "title": "P1", "stage": {"x": 100.0}, "times": (0.0, 1.0),
            "scale": {"z": 0.5, "y": 0.25, "x": 0.25},
        },
    ),
    Sample(
        "tiff", "ndtiff/12_bit_pycromanager_mda", "tcyx", (4, 2, 64, 64), "uint16",
        lambda path: by_tifffile(path / "12_bit_pycromanager_mda_NDTiffStack.tif"),
        channels=("DAPI", "FITC"), expected={"times": (0.0, 0.025, 0.05, 0.076), "acquired": "2022-12-28T17:04:23"},
    ),
    Sample(
        "tiff", "ndtiff/magellan_rgb", "cyx", (3, 32, 32), "uint8", mosaic_of_colours, images=3, image=2,
        expected={"title": "row 2 column 2", "stage": {"x": 62.0, "y": 62.0, "z": 0.0}, "is_rgb": True},
    ),
]  # fmt: skip
