"""Choose a contrast window for each well of a plate, and write the contrast that was chosen in a viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, LamellaError
from lamella.nodes.labels import LabelImage
from lamella.nodes.position import Position
from lamella.nodes.position_metadata import dtype_window, with_channel_names
from lamella.ops.display.preview import channel_keys
from lamella.ops.display.render import auto_window
from lamella.spec import edits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from lamella.ops.display.render import Window
    from lamella.ops.view.scene import ViewScene
    from lamella.ops.view.tiles import Tiles, View
    from lamella.spec.images import WindowDict


_FIELDS = 4
"""Maximum number of fields of each well whose pixels are read."""


def well_windows(scene: ViewScene, tiles: Tiles, view: View, threads: Executor) -> list[list[Window] | None]:
    """Return the windows of all channels for each well, from coarse pixels; None for a well without readable pixels."""
    tiles.check_view(view)
    fields_by_well: dict[int, list[int]] = {}
    for field_number, field in enumerate(scene.fields):
        if field.shape and scene.acquisition_number(field) == view.acquisition:
            fields_by_well.setdefault(field.well, []).append(field_number)

    def windows(well: int) -> list[Window] | None:
        fields = fields_by_well.get(well, [])
        samples: list[list[NDArray[Any]]] = [[] for _ in scene.channels]
        for field_number in fields[:: max(1, len(fields) // _FIELDS)][:_FIELDS]:
            try:
                planes = tiles.coarse_planes(field_number, view)
            except LamellaError:
                continue  # its tile shows the reason
            for sample, plane in zip(samples, planes, strict=True):
                if plane is not None:
                    sample.append(plane.ravel())
        if not any(samples):
            return None
        return [auto_window(np.concatenate(sample)) if sample else (0.0, 1.0) for sample in samples]

    return list(threads.map(windows, range(len(scene.wells))))


def write_contrast(scene: ViewScene, windows: Mapping[str, tuple[float, float]]) -> int:
    """Write windows of channels, by their names in the scene, to all fields with these channels; count the fields.

    Raise InvalidArgumentError for a channel that the scene lacks; then nothing is written.
    """
    scene_names = [channel.name for channel in scene.channels]
    unknown = sorted(set(windows) - set(scene_names))
    if unknown:
        raise InvalidArgumentError(f"{scene.name} has no channel {unknown[0][:100]!r}: it has {scene_names}.")
    count = 0
    for field in scene.fields:
        position = field.node
        if not field.shape or not isinstance(position, Position) or isinstance(position, LabelImage):
            continue
        dtype_limits = dtype_window(position.data.dtype)
        window_by_channel: dict[int, WindowDict] = {
            index: {**dtype_limits, "start": windows[name][0], "end": windows[name][1]}
            for index, name in enumerate(channel_keys(position))
            if name in windows
        }
        if window_by_channel:
            _write(position, window_by_channel)
            count += 1
    return count


def _write(position: Position, windows: Mapping[int, WindowDict]) -> None:
    names = position.channel_names
    position.document.edit(lambda meta: edits.set_windows(with_channel_names(meta, names), windows))
