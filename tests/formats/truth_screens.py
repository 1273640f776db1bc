"""Screens: small generated plates of Opera Phenix and CellVoyager, and a real one of an ImageXpress."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tests.formats.samples import Sample
from tests.formats.small_screens import pixels

if TYPE_CHECKING:
    from pathlib import Path


def generated(path: Path) -> list[np.ndarray]:
    """Two fields of CZYX."""
    return [
        np.array([[pixels("B/12", field, channel, z, 1) for z in (1, 2)] for channel in (1, 2)])
        for field in (1, 2)
    ]


def imagexpress(path: Path) -> list[np.ndarray]:
    """Two fields of TCYX, read by tifffile."""
    import tifffile

    def plane(t: int, site: int, wave: int) -> np.ndarray:
        (file,) = (path / f"TimePoint_{t}").glob(f"*_s{site}_w{wave}*.tif")
        return tifffile.imread(file)

    return [np.array([[plane(t, site, wave) for wave in (1, 2)] for t in (1, 2)]) for site in (1, 2)]


MICROMETERS = {"z": "micrometer", "y": "micrometer", "x": "micrometer"}

SAMPLES = [
    Sample(
        "operetta",
        "screens/generated_operetta",
        "czyx",
        (2, 2, 16, 20),
        "uint16",
        generated,
        images=2,
        image=1,
        channels=("DAPI", "GFP"),
        expected={
            "scale": {"z": 2.0, "y": 0.597976081, "x": 0.597976081},
            "units": MICROMETERS,
            "well": ("B", "12", "2"),
            "plate": "BR00121482",
            "stage": {"z": -5.0, "y": 200 - 8 * 0.597976081, "x": 100 - 10 * 0.597976081},
        },
        original=("Index.idx.xml",),
        cut="r02c12f02p02-ch2sk1fk1fl1.tiff",
    ),
    Sample(
        "cellvoyager",
        "screens/generated_cellvoyager",
        "czyx",
        (2, 2, 16, 20),
        "uint16",
        generated,
        images=2,
        image=1,
        channels=("BP445/45", "BP525/50"),
        colors=("002FFF", "00FFA1"),
        expected={
            "scale": {"z": 3.0, "y": 0.325, "x": 0.325},
            "units": MICROMETERS,
            "well": ("B", "12", "2"),
            "acquired": "2023-09-18T13:58:39.4014935+02:00",
            "stage": {"z": 3.0, "y": 100 - 8 * 0.325, "x": 200 - 10 * 0.325},
        },
        original=("MeasurementData.mlf", "MeasurementDetail.mrf", "Minimal-3C3W2S-FP2-stack.mes"),
        cut="p_B12_T0001F002L01A02Z02C02.tif",
    ),
    Sample(
        "imagexpress",
        "screens/imagexpress/in_place",
        "tcyx",
        (2, 2, 256, 256),
        "uint16",
        imagexpress,
        images=2,
        image=1,
        channels=("FITC", "Cy3"),
        expected={
            "scale": {"t": 5.5395, "y": 13.5504, "x": 13.5504},
            "times": (2.081, 7.658),
            "well": ("C", "07", "2"),
            "stage": {"z": 9319.72, "y": 31094.5 - 128 * 13.5504, "x": 68300 - 128 * 13.5504},
            "acquired": "2024-04-22T09:57:37.294",
        },
    ),
]
