"""Read stores as layers of napari: one layer for each channel and label image, read when they are drawn.

Images keep their levels. Plates, rows, wells and collections are one picture of all fields, as in ``lamella view``:
what is read depends on what the screen shows.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lamella.adapters.napari.arrays import BackgroundTiles, CanvasArray, redraw_when_read
from lamella.errors import LamellaError, MetadataError, one_line
from lamella.nodes.labels import LabelImage
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.position import Position
from lamella.nodes.walk import CONTAINERS
from lamella.ops.display.planes import PlaneAxes
from lamella.ops.display.preview import PreviewOptions, all_channels
from lamella.ops.display.preview_plate import FieldsChannel, with_windows
from lamella.ops.view.level_arrays import LevelArray, drawable_levels, layer_dimensions
from lamella.ops.view.scene import reader_threads, view_scene
from lamella.ops.view.tiles import Tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamella.nodes.node import NGFFNode
    from lamella.ops.display.preview import ShownChannel
    from lamella.ops.view.level_arrays import LazyArray
    from lamella.ops.view.scene import ViewScene
    from lamella.spec.axes import AxisMeta

LayerData: TypeAlias = tuple[Any, dict[str, Any], str]
"""Data, options and type of a layer, as napari exchanges them."""

_SAMPLE_SIDE = 256
"""Larger side in pixels of the plane from which a missing contrast is computed."""

_DOCUMENTS = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")
_ARCHIVES = (".ozx", ".zip")


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return the function that reads a path or several paths; None if one of them is not a Zarr group."""
    paths = [path] if isinstance(path, str) else path
    return read_layers if paths and all(_is_store(os.fspath(path)) for path in paths) else None


def _is_store(path: str) -> bool:
    if "://" in path or path.lower().endswith(_ARCHIVES):
        return True
    return any(os.path.isfile(os.path.join(path, name)) for name in _DOCUMENTS)


def read_layers(path: str | list[str]) -> list[LayerData]:
    """Return the layers of one store or of several; raise LamellaError if there is nothing to show."""
    paths = [path] if isinstance(path, str) else path
    return [layer for path in paths for layer in node_layers(open_ome_zarr(path))]


def node_layers(node: NGFFNode) -> list[LayerData]:
    """Return the layers of a node; the node stays open while they are used."""
    if isinstance(node, LabelImage):
        return [_label_layer(node.name, node)]
    if isinstance(node, Position):
        return _image_layers(node)
    if isinstance(node, CONTAINERS):
        return _mosaic_layers(node)
    raise MetadataError(f"{node.node_path} is a {type(node).__name__}: only images and plates can be viewed.")


# -- images ------------------------------------------------------------------------------------------------------


def _image_layers(position: Position) -> list[LayerData]:
    levels = drawable_levels(position)
    axes = PlaneAxes.of(position.axes, position.data.ndim, position.node_path)
    placement = _placement(position, axes)
    layers: list[LayerData] = []
    for index, (channel, is_shown) in enumerate(all_channels(position).values()):
        fixed = {} if axes.channel is None else {axes.channel: index}
        data = [LevelArray(level, layer_dimensions(axes, level.ndim, fixed), fixed) for level in levels]
        windows = [channel.window] if channel.window else []
        fields_channel = FieldsChannel(channel, is_shown, [position], windows)
        (with_window,) = with_windows([fields_channel], PreviewOptions(), _SAMPLE_SIDE)
        options = {
            "name": channel.name or position.node_path.name,
            "visible": is_shown,
            "metadata": {"lamella": {"path": str(position.node_path), "channel": channel.name}},
        }
        layers.append(_image(data, with_window, {**options, **placement}))
    layers += [_label_layer(name, position.labels[name]) for name in position.labels]
    return layers


def _placement(position: Position, axes: PlaneAxes) -> dict[str, Any]:
    """Return the options of a layer that place it: scale, translation, units and names of its axes, if known."""
    ndim = position.data.ndim
    fixed = {} if axes.channel is None else {axes.channel: 0}
    dimensions = layer_dimensions(axes, ndim, fixed)
    metas = position.axes[len(position.axes) - ndim :]
    try:
        scale = position.get_effective_scale(position.dataset_paths[0])
        translation = position.get_effective_translation(position.dataset_paths[0])
    except LamellaError:
        return {"axis_labels": tuple(metas[axis].name for axis in dimensions)}
    offset = len(scale) - ndim
    placement: dict[str, Any] = {
        "scale": [_finite_size(scale[axis + offset]) for axis in dimensions],
        "translate": [translation[axis + offset] for axis in dimensions],
        "axis_labels": tuple(metas[axis].name for axis in dimensions),
    }
    units = _units([metas[axis] for axis in dimensions])
    return {**placement, "units": units} if units else placement


def _finite_size(size: float) -> float:
    return size if np.isfinite(size) and size != 0 else 1.0


def _units(axes: Sequence[AxisMeta]) -> tuple[str, ...] | None:
    """Return the units of axes if napari knows all of them; axes without a unit count in pixels."""
    import pint

    registry = pint.get_application_registry()
    units = tuple(axis.unit or "pixel" for axis in axes)
    return units if all(unit in registry for unit in units) else None


def _image(data: Sequence[LazyArray], channel: ShownChannel, options: dict[str, Any]) -> LayerData:
    start, end = channel.window or (0.0, 1.0)
    colors = {
        "colormap": f"#{channel.color.lower()}",
        "blending": "additive",
        "contrast_limits": (start, end if end > start else start + 1),
        "rgb": False,
    }
    return _data(data), {**colors, **_multiscale(data), **options}, "image"


def _data(levels: Sequence[LazyArray]) -> LazyArray | list[LazyArray]:
    return levels[0] if len(levels) == 1 else list(levels)


def _multiscale(levels: Sequence[LazyArray]) -> dict[str, bool]:
    return {"multiscale": len(levels) > 1}


def _label_layer(name: str, label: LabelImage) -> LayerData:
    axes = PlaneAxes.of(label.axes, label.data.ndim, label.node_path)
    fixed = {} if axes.channel is None else {axes.channel: 0}
    data = [
        LevelArray(level, layer_dimensions(axes, level.ndim, fixed), fixed)
        for level in drawable_levels(label)
    ]
    options: dict[str, Any] = {
        "name": name,
        "opacity": 0.5,
        "metadata": {"lamella": {"path": str(label.node_path)}},
        **_multiscale(data),
        **_placement(label, axes),
    }
    colors = {number: color for number, color in label.colors.items() if len(color) >= 3}
    if colors:
        from napari.utils.colormaps import DirectLabelColormap, label_colormap

        other_color = label_colormap().map(1)
        table: dict[int | None, Any] = {None: other_color, 0: "transparent"}
        table |= {number: [component / 255 for component in color] for number, color in colors.items()}
        options["colormap"] = DirectLabelColormap(color_dict=table)
    if label.properties:
        options["features"] = _features(label)
    return _data(data), options, "labels"


def _features(label: LabelImage) -> dict[str, list[Any]]:
    """Return the properties of labels as columns; napari finds the row of an id in the column "index"."""
    rows = label.properties
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    columns = {name: [row.get(name) for row in rows.values()] for name in names}
    return {"index": list(rows), **columns}


# -- plates ------------------------------------------------------------------------------------------------------


def _mosaic_layers(node: NGFFNode) -> list[LayerData]:
    scene = view_scene(node)
    _show_search_note(scene)
    levels: list[Any] = []
    tiles = BackgroundTiles(Tiles(scene, reader_threads(node)), redraw_when_read(levels))
    placement = _canvas_placement(scene)
    acquisitions = [name for _, name in scene.acquisitions] or [""]
    layers: list[LayerData] = []
    for number, acquisition in enumerate(acquisitions):
        prefix = f"{acquisition} " if acquisition else ""
        for index, (channel, is_shown) in enumerate(zip(scene.channels, scene.active, strict=True)):
            data = [CanvasArray(scene, tiles, level, (index,), None, number) for level in range(tiles.levels)]
            levels += data
            options = {
                "name": prefix + (channel.name or scene.name),
                "visible": is_shown and number == 0,
                "metadata": {"lamella": {"path": scene.store, "channel": channel.name}},
            }
            layers.append(_image(data, channel, {**options, **placement}))
        for name in scene.labels:
            data = [CanvasArray(scene, tiles, level, (), name, number) for level in range(tiles.levels)]
            levels += data
            options = {"name": prefix + name, "opacity": 0.5, "visible": number == 0, **_multiscale(data)}
            layers.append((_data(data), {**options, **placement}, "labels"))
    return [*layers, *_well_layers(scene, placement)]


def _show_search_note(scene: ViewScene) -> None:
    """Show a note in napari if the label images are those of some of the fields."""
    from napari.utils.notifications import show_info

    readable = sum(bool(area.shape) for area in scene.fields)
    if scene.searched < readable:
        show_info(
            f"Label images of {scene.name} are listed from {scene.searched} of {readable:,} fields, spread over it. "
            f"Open a well, such as {scene.store}/{scene.wells[0].path}, to see those of all of its fields."
        )


def _canvas_placement(scene: ViewScene) -> dict[str, Any]:
    """Return scale, units and names of the axes of a mosaic: T and Z of the first field, Y and X of the canvas."""
    first = next(area for area in scene.fields if area.shape)
    assert isinstance(first.node, Position)
    axes = first.axes
    assert axes is not None
    fixed = {} if axes.channel is None else {axes.channel: 0}
    dimensions = layer_dimensions(axes, len(first.shape), fixed)
    placement = _placement(first.node, axes)
    sizes = dict(zip(dimensions, placement.get("scale", []), strict=False))
    units = dict(zip(dimensions, placement.get("units", []), strict=False))
    pixel = scene.pixel or 1.0
    outer = [("t", axes.time)] * (scene.times > 1) + [("z", axes.z)] * (scene.depth > 1)
    canvas_placement: dict[str, Any] = {
        "scale": [*(1.0 if axis is None else sizes.get(axis, 1.0) for _, axis in outer), pixel, pixel],
        "axis_labels": (*(letter for letter, _ in outer), "y", "x"),
    }
    if units and scene.unit:
        outer_units = ("pixel" if axis is None else units[axis] for _, axis in outer)
        canvas_placement["units"] = (*outer_units, units[axes.x], units[axes.x])
    return canvas_placement


def _well_layers(scene: ViewScene, placement: dict[str, Any]) -> list[LayerData]:
    """Return a layer with the names of wells, and one with the fields that cannot be read."""
    plane_placement = {name: values[-2:] for name, values in placement.items()}
    layers: list[LayerData] = []
    wells = [well for well in scene.wells if well.path]
    if wells:
        options = {
            "name": "wells",
            "features": {"well": [well.path for well in wells]},
            "text": {
                "string": "{well}",
                "anchor": "lower_left",  # puts the text to the right of and below the corner, inside the well
                "color": "white",
                "size": wells[0].width / 14 * (scene.pixel or 1.0),
                "scaling": True,  # grows with the wells
            },
            "face_color": "transparent",
            "border_color": "transparent",
            "size": 1,
        }
        layers.append(([[well.y, well.x] for well in wells], {**options, **plane_placement}, "points"))
    damaged = [area for area in scene.fields if isinstance(area.node, LamellaError)]
    if damaged:
        reasons = [one_line(area.node) for area in damaged if isinstance(area.node, LamellaError)]
        options = {
            "name": "problems",
            "features": {"field": [area.path for area in damaged], "reason": reasons},
            "symbol": "x",
            "face_color": "red",
            "size": min(scene.fields[0].width, scene.fields[0].height) / 4 or 1,
        }
        centers = [[area.y + area.height / 2, area.x + area.width / 2] for area in damaged]
        layers.append((centers, {**options, **plane_placement}, "points"))
    return layers
