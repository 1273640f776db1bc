"""Write the contrast that was chosen in a viewer into the documents of all fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError
from lamella.nodes.labels import LabelImage
from lamella.nodes.position import Position
from lamella.nodes.position_metadata import dtype_window, named
from lamella.ops.display.preview import channel_keys
from lamella.spec import edits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.ops.view.scene import ViewScene
    from lamella.spec.omero import WindowDict


def write_contrast(scene: ViewScene, windows: Mapping[str, tuple[float, float]]) -> int:
    """Write windows of channels, by their names in the scene, to all fields that have them; return how many fields.

    Raises InvalidArgumentError for a channel that the scene lacks; then nothing is written.
    """
    names = [channel.name for channel in scene.channels]
    unknown = sorted(set(windows) - set(names))
    if unknown:
        raise InvalidArgumentError(f"{scene.name} has no channel {unknown[0][:100]!r}: it has {names}.")
    written = 0
    for field in scene.fields:
        position = field.node
        if not field.shape or not isinstance(position, Position) or isinstance(position, LabelImage):
            continue
        limits = dtype_window(position.data.dtype)
        chosen: dict[int, WindowDict] = {
            index: {**limits, "start": windows[key][0], "end": windows[key][1]}
            for index, key in enumerate(channel_keys(position))
            if key in windows
        }
        if chosen:
            _write(position, chosen)
            written += 1
    return written


def _write(position: Position, windows: Mapping[int, WindowDict]) -> None:
    names = position.channel_names
    position.document.edit(lambda meta: edits.set_windows(named(meta, names), windows))
