"""Files of microscopes and their software: the pixels are those of the library, the metadata those of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.formats.samples import Sample

from lamella.readers import Objective

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

MICROMETERS = {"z": "micrometer", "y": "micrometer", "x": "micrometer", "t": "second"}


def by_nd2(path: Path) -> list[np.ndarray]:
    import nd2

    with nd2.ND2File(path) as file:
        return [file.asarray().swapaxes(1, 2)]  # TZCYX


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
]  # fmt: skip
