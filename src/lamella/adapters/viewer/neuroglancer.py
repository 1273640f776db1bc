"""Show an image in neuroglancer: the page of its Python package, a generated state, and pixels as Zarr arrays.

neuroglancer reads Zarr over HTTP, so each channel and label image is served as an OME-Zarr image without compression,
whatever the store is: a chunk is read when it is requested. Requests, besides the files of the page:

===============================================  ==========================================================
``state.json``                                   the state; sources begin with ``{base}``, the page's address
``KIND/NUMBER/zarr.json``                        an image: its levels, scale and translation
``KIND/NUMBER/LEVEL/zarr.json``                  a level
``KIND/NUMBER/LEVEL/c/I/...``                    a chunk
``events/0``                                     a stream without events, which neuroglancer's page expects
===============================================  ==========================================================

KIND is ``image`` for a channel, ``label`` for the ids of a label image, or ``solid`` for the colours of its ids, which
neuroglancer can draw in 3-D: each id is replaced by 2**24 plus red, green and blue.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import threading
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.viewer.answers import MAX_ANSWERS, UnknownRequestError, parse_number
from lamella.adapters.viewer.served_zarr import (
    MAX_VOXELS,
    color_of,
    different_names,
    packed_colors,
    served_channel,
    served_label,
)
from lamella.errors import InvalidArgumentError, LamellaError, MissingDependencyError
from lamella.nodes.labels import LabelImage
from lamella.nodes.position import Position
from lamella.ops.view.scene import view_scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.adapters.viewer.served_zarr import ServedImage
    from lamella.nodes.node import NGFFNode
    from lamella.types import JSONObject

POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; worker-src 'self' blob:; style-src 'self' "
    "'unsafe-inline'; img-src 'self' blob: data:; font-src 'self' data:; connect-src 'self' blob: data:"
)
"""The content security policy of the page: it may load from this server only."""

_CLIENT = "v/0/"
"""Folder of neuroglancer's page, which expects to be served at such an address."""

_CHANNEL_SHADER = """#uicontrol invlerp normalized
#uicontrol vec3 color color
void main() {
  emitRGBA(vec4(color, normalized()));
}
"""

_SOLID_SHADER = """void main() {
  uint id = uint(toRaw(getDataValue()));
  if (id == 0u) emitTransparent();
  else emitRGBA(vec4(float((id >> 16) & 255u), float((id >> 8) & 255u), float(id & 255u), 255.0) / 255.0);
}
"""

_MAX_COLORED_IDS = 4096
"""Maximum number of labels that have lamella's colours in planes; further ones have neuroglancer's."""


class NeuroglancerAnswers:
    """Answers to the requests of neuroglancer's page for one image. Thread-safe."""

    editable = False

    def __init__(self, node: NGFFNode) -> None:
        self.page = _page_files()
        if not isinstance(node, Position):
            raise InvalidArgumentError(
                f"{node.node_path} is a {type(node).__name__}, and neuroglancer shows one image. Give the path of an "
                "image in it, or leave out neuroglancer."
            )
        self.node = node
        self.scene = view_scene(node)
        self.policy = POLICY
        labels = [node] if isinstance(node, LabelImage) else [node.labels[name] for name in self.scene.labels]
        self._images = [
            served_channel(node, channel.name, self.scene.dtype) for channel in self.scene.channels
        ]
        self._labels = [served_label(label, node) for label in labels]
        self._answer_slots = threading.BoundedSemaphore(MAX_ANSWERS)

    def close(self) -> None:
        """Do nothing: no thread was started."""

    def get(self, request: str) -> tuple[str, bytes]:
        """Return the content type and the body of an answer; raise UnknownRequestError for an unknown request."""
        kind, _, path = request.partition("?")[0].partition("/")
        if kind == "state.json" and not path:
            return _json(self.state())
        if kind == "events":
            return "text/event-stream", b""
        volumes = {"image": self._images, "label": self._labels, "solid": self._labels}.get(kind, [])
        number, *names = path.split("/")
        volume = _item_or_raise(volumes, number)
        if names == ["zarr.json"]:
            return _json(volume.group())
        level = _item_or_raise(volume.levels, names[0] if names else "")
        if names[1:] == ["zarr.json"]:
            return _json({**volume.array(level), **({"data_type": "uint32"} if kind == "solid" else {})})
        if names[1:2] != ["c"]:
            raise UnknownRequestError("There is no such page.")
        with self._answer_slots:
            chunk = volume.read(level, [parse_number(name) for name in names[2:]])
        if kind == "solid":
            chunk = packed_colors(chunk, volume.colors or {})
        return "application/octet-stream", chunk.astype(chunk.dtype.newbyteorder("<"), copy=False).tobytes()

    def post(self, request: str, body: bytes) -> tuple[str, bytes]:
        """Raise InvalidArgumentError: neuroglancer only reads."""
        raise InvalidArgumentError("This viewer only reads.")

    def state(self) -> JSONObject:
        """Return the state of neuroglancer with all channels and labels: planes at the left, and 3-D at the right."""
        scene = self.scene
        first = (self._images or self._labels)[0]
        finest = first.levels[0]
        order = [*reversed(first.names[-3:]), *first.names[:-3]]
        sizes = dict(zip(first.names, finest.scale, strict=True))
        units = dict(zip(first.names, first.units, strict=True))
        middle = {
            name: length // 2 + shift / size if name in order[:3] else 0.0
            for name, length, shift, size in zip(
                first.names, finest.array.shape, finest.translation, finest.scale, strict=True
            )
        }
        lengths = dict(zip(first.names, finest.array.shape, strict=True))
        voxel = min(sizes[name] for name in order[:3])
        extent = [lengths[name] * sizes[name] / voxel for name in order[:3]]
        layers = [*self._channel_layers(), *self._label_layers()]
        names = [str(layer["name"]) for layer in layers]
        solid = [str(layer["name"]) for layer in layers if layer.get("shader") == _SOLID_SHADER]
        planes = [name for name in names if name not in solid]
        is_volume = scene.depth > 1 and len(first.names) > 2
        flat = {"type": "viewer", "layers": planes, "layout": "xy"}
        deep = {"type": "viewer", "layers": [*names[: len(self._images)], *solid], "layout": "3d"}
        return {
            "title": f"{scene.name}, lamella",
            "dimensions": {name: [sizes[name], units[name]] for name in order},
            "position": [middle[name] for name in order],
            "crossSectionScale": max(extent[:2]) / 600,
            "projectionScale": 1.2 * math.hypot(*extent),
            "projectionOrientation": [0.27, 0.25, 0.07, 0.93],
            "crossSectionBackgroundColor": "#000000",
            "projectionBackgroundColor": "#000000",
            "showSlices": False,
            "showAxisLines": False,
            "layers": layers,
            "selectedLayer": {"layer": names[0]},
            "layout": {"type": "row", "children": [flat, deep]} if solid or is_volume else flat,
        }

    def _channel_layers(self) -> list[JSONObject]:
        layers: list[JSONObject] = []
        limits = self.scene.to_dict()["limits"]
        names = different_names([channel.name or "Intensity" for channel in self.scene.channels])
        for number, (channel, is_shown) in enumerate(
            zip(self.scene.channels, self.scene.active, strict=True)
        ):
            window = list(channel.window or (0.0, 1.0))
            layers.append(
                {
                    "type": "image",
                    "name": names[number],
                    "source": f"{{base}}image/{number}/|zarr3:",
                    "visible": is_shown,
                    "blend": "additive",
                    "opacity": 1,
                    "shader": _CHANNEL_SHADER,
                    "shaderControls": {
                        "normalized": {
                            "range": window,
                            "window": window if self.scene.dtype.kind == "f" else limits,
                        },
                        "color": f"#{channel.color.lower()}",
                    },
                    "volumeRendering": "max" if self.scene.depth > 1 else "off",
                }
            )
        return layers

    def _label_layers(self) -> list[JSONObject]:
        layers: list[JSONObject] = []
        channels = [channel.name or "Intensity" for channel in self.scene.channels]
        names = different_names([*channels, *self.scene.labels])[len(channels) :]
        other_names = [*channels, *names]
        solids = different_names([*other_names, *(f"{name} in 3-D" for name in names)])[len(other_names) :]
        for number, (name, volume) in enumerate(zip(names, self._labels, strict=True)):
            layers.append(
                {
                    "type": "segmentation",
                    "name": name,
                    "source": f"{{base}}label/{number}/|zarr3:",
                    "visible": number == 0,
                    "selectedAlpha": 0.4,
                    "notSelectedAlpha": 0.1,
                    "segmentColors": _segment_colors(volume),
                }
            )
        for number, name in enumerate(solids if self.scene.depth > 1 else []):
            layers.append(
                {
                    "type": "image",
                    "name": name,
                    "source": f"{{base}}solid/{number}/|zarr3:",
                    "visible": number == 0,
                    "shader": _SOLID_SHADER,
                    "volumeRendering": "on",
                }
            )
        return layers


def _segment_colors(volume: ServedImage) -> dict[str, str]:
    """Return the colours of labels: those with stored colours, and those in the coarsest level."""
    colors = volume.colors or {}
    coarsest = volume.levels[-1].array
    numbers = list(colors)
    if coarsest.size <= MAX_VOXELS << 4:
        with contextlib.suppress(LamellaError):  # the page reports the error when it requests a chunk
            numbers += [int(number) for number in np.unique(coarsest[...])]
    colored = [number for number in dict.fromkeys(numbers) if number > 0][:_MAX_COLORED_IDS]
    return {str(number): "#{:02x}{:02x}{:02x}".format(*color_of(number, colors)[:3]) for number in colored}


def _item_or_raise(items: Sequence[Any], number: str) -> Any:
    """Return an item by its index in a request; raise UnknownRequestError without it."""
    if number.isascii() and number.isdecimal() and len(number) < 10 and int(number) < len(items):
        return items[int(number)]
    raise UnknownRequestError("There is no such page.")


def _json(document: JSONObject) -> tuple[str, bytes]:
    return "application/json", json.dumps(document).encode()


def _page_files() -> dict[str, bytes]:
    """Return lamella's page, which opens that of neuroglancer with the state, and the files of neuroglancer's page."""
    package = importlib.util.find_spec("neuroglancer")
    locations = [] if package is None else list(package.submodule_search_locations or [])
    folder = next(
        (
            path
            for path in (os.path.join(root, "static", "client") for root in locations)
            if os.path.isdir(path)
        ),
        None,
    )
    if folder is None:
        raise MissingDependencyError(
            "Showing an image in neuroglancer needs neuroglancer, which is not installed "
            '(pip install "lamella[neuroglancer]").'
        )
    own = resources.files("lamella.adapters.viewer") / "page"
    files = {
        "index.html": (own / "neuroglancer.html").read_bytes(),
        "neuroglancer.js": (own / "neuroglancer.js").read_bytes(),
    }
    for name in os.listdir(folder):
        if name.endswith((".js", ".css", ".html", ".wasm")):
            with open(os.path.join(folder, name), "rb") as file:
                files[_CLIENT + name] = file.read()
    return files
