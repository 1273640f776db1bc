"""Choose a contrast window for each well of a plate from its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import LamellaError
from lamella.ops.display.render import auto_window

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from lamella.ops.display.render import Window
    from lamella.ops.view.scene import ViewScene
    from lamella.ops.view.tiles import Tiles, View

_FIELDS = 4
"""Fields of each well whose pixels are read."""


def well_windows(scene: ViewScene, tiles: Tiles, view: View, threads: Executor) -> list[list[Window] | None]:
    """Return the windows of all channels for each well; None for a well without readable pixels.

    A window is that of a preview, from the coarse pixels of up to four fields of the well.
    """
    tiles.check_view(view)
    members: dict[int, list[int]] = {}
    for number, field in enumerate(scene.fields):
        if field.shape and scene.acquisition_number(field) == view.acquisition:
            members.setdefault(field.well, []).append(number)

    def windows(well: int) -> list[Window] | None:
        fields = members.get(well, [])
        samples: list[list[NDArray[Any]]] = [[] for _ in scene.channels]
        for number in fields[:: max(1, len(fields) // _FIELDS)][:_FIELDS]:
            try:
                planes = tiles.coarse_planes(number, view)
            except LamellaError:
                continue  # its tile shows the reason
            for sample, plane in zip(samples, planes, strict=True):
                if plane is not None:
                    sample.append(plane.ravel())
        if not any(samples):
            return None
        return [auto_window(np.concatenate(sample)) if sample else (0.0, 1.0) for sample in samples]

    return list(threads.map(windows, range(len(scene.wells))))
