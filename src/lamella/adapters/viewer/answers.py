"""Answer the requests of the viewer's page, which come by HTTP or as messages of a notebook.

A request is a path without a leading slash:

=====================================  ====================================================================
``scene.json``                         the scene; ``refresh=1`` reads the documents again, ``refresh=all``
                                       also drops all tiles; ``fields=all`` beside ``refresh`` lists the labels
                                       and tables of all fields from then on
``progress.json``                      while the scene is read: how many fields have been read
``tile/LEVEL/COLUMN/ROW``              pixels: ``c=0,1`` or ``label=NAME``; ``t=``, ``z=`` (or ``max``), and ``a=``,
                                       the number of the acquisition
``slice/FIELD/xz``                     a plane along Z, also ``yz``: the parameters of a tile, and ``at=`` from 0 to 1
``volume/FIELD``                       a small volume: the parameters of a tile
``windows.json``                       a contrast for each well: ``t=``, ``z=``, ``a=``
``label.json``                         the stored properties of a label: ``field=``, ``label=``, ``id=``
``tables.json``                        the names of the tables of a plate
``columns.json``                       the names of the columns of a table: ``table=``
``heat.json``                          a number for each well: ``table=``, ``column=``
=====================================  ====================================================================

An answer with pixels is the length of a JSON header (four bytes, little-endian), the header, the planes, and for a tile
its mask. Every parameter is checked, and each answer is bounded.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from lamella.adapters.viewer.page_files import page_files
from lamella.errors import ClosedError, InvalidArgumentError, LamellaError
from lamella.nodes.labels import LabelImage
from lamella.nodes.position import Position
from lamella.ops.view.contrast import well_windows, write_contrast
from lamella.ops.view.heat import heat_columns, heat_of_wells, heat_tables
from lamella.ops.view.scene import reader_threads, view_scene
from lamella.ops.view.tiles import Tiles, View
from lamella.ops.view.volumes import read_slice, read_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from lamella.nodes.node import NGFFNode
    from lamella.ops.view.scene import Field, ViewScene
    from lamella.types import JSON, JSONObject

MAX_ANSWERS = 16
"""Maximum number of answers with pixels that are computed at a time; others wait."""

MAX_POST_BYTES = 1 << 16
"""Maximum size of a request that changes the store, in bytes."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'"
)
"""The content security policy of the page: it may load from this server only."""


class UnknownRequestError(LamellaError):
    """Raised for a path that is not a request."""


@dataclass(frozen=True)
class _ShownScene:
    """A scene, the reader of its tiles, and its JSON; replaced together when the documents have changed."""

    scene: ViewScene
    tiles: Tiles
    document: JSONObject


class Answers:
    """Answers for one node. Thread-safe.

    The constructor returns when the document of the first image was read, and raises MetadataError if there is none.
    A thread reads the documents of all other images, and requests for the scene wait for it.
    """

    def __init__(self, node: NGFFNode, *, editable: bool = False) -> None:
        if editable:
            node.require_writable("save the contrast of a viewer")
        self.node = node
        self.editable = editable
        self.policy = _POLICY
        self._threads = reader_threads(node)
        self._answer_slots = threading.BoundedSemaphore(MAX_ANSWERS)
        self._refreshing = threading.Lock()
        self._closed = False
        self._reads_every_field = False
        self._fields_read = 0
        self._current: Future[_ShownScene] = Future()
        self._reader = threading.Thread(target=self._read_first, name="lamella-view-scene", daemon=True)
        self._has_image = threading.Event()
        self._reader.start()
        self._has_image.wait()
        if self._current.done():
            self._current.result()  # raises if there is nothing to show

    def _read_first(self) -> None:
        """Read the scene while the browser loads the page; at the first image let the constructor return."""

        def on_field(field: Field) -> None:
            if self._closed:
                raise ClosedError("The viewer was closed.")
            self._fields_read += 1
            if field.shape:
                self._has_image.set()

        try:
            self._current.set_result(self._read(on_field))
        except BaseException as error:
            self._current.set_exception(error)  # is raised by each request for the scene
        finally:
            self._has_image.set()

    @property
    def _shown(self) -> _ShownScene:
        return self._current.result()

    @property
    def page(self) -> dict[str, bytes]:
        """The files of the page, by their names."""
        return page_files()

    @property
    def scene(self) -> ViewScene:
        """The scene that is shown; waits until all documents are read."""
        return self._shown.scene

    def close(self) -> None:
        """Stop the reading threads."""
        self._closed = True
        self._reader.join()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def get(self, request: str) -> tuple[str, bytes]:
        """Return the content type and the body of an answer; raise UnknownRequestError for an unknown request."""
        try:
            return self._get(request)
        except (RuntimeError, CancelledError) as error:
            if not self._closed:
                raise
            raise ClosedError("The viewer was closed.") from error  # its threads were stopped

    def _get(self, request: str) -> tuple[str, bytes]:
        url = urlsplit(request)
        kind, *names = url.path.split("/")
        options = _parse_options(url.query)
        if kind in _PIXELS and len(names) == _PIXELS[kind]:
            with self._answer_slots:
                return "application/octet-stream", getattr(self, f"_{kind}")(names, options)
        name, _, ending = kind.rpartition(".")
        if ending == "json" and name in _JSON and not names:
            return "application/json", json.dumps(getattr(self, f"_{name}")(options)).encode()
        raise UnknownRequestError("There is no such page.")

    def post(self, request: str, body: bytes) -> tuple[str, bytes]:
        """Run a request that changes the store: ``contrast``, with the windows of channels by their names."""
        if not self.editable:
            raise InvalidArgumentError("This viewer only reads. Start it with --edit to save contrast.")
        if request != "contrast":
            raise UnknownRequestError("There is no such page.")
        saved = write_contrast(self.scene, _parse_windows(body))
        return "application/json", json.dumps({"fields": saved}).encode()

    # -- scene --------------------------------------------------------------------------------------------------

    def _read(self, on_field: Callable[[Field], None] | None = None) -> _ShownScene:
        scene = view_scene(self.node, on_field, every_field=self._reads_every_field, for_tiles=True)
        tiles = Tiles(scene, self._threads)
        return _ShownScene(
            scene, tiles, {**scene.to_dict(), "levels": tiles.levels, "editable": self.editable}
        )

    def _scene(self, options: Mapping[str, str]) -> JSON:
        if "refresh" in options:
            with self._refreshing:
                self._reads_every_field |= options.get("fields") == "all"
                shown = self._read()
                if options["refresh"] == "all" or shown.document != self._shown.document:
                    self._current = Future()
                    self._current.set_result(shown)
        return self._shown.document

    def _progress(self, options: Mapping[str, str]) -> JSON:
        return {"fields": self._fields_read}

    # -- pixels -------------------------------------------------------------------------------------------------

    def _tile(self, names: Sequence[str], options: Mapping[str, str]) -> bytes:
        level, column, row = map(parse_number, names)
        shown = self._shown
        tile = shown.tiles.tile(
            level, column, row, _parse_view(options), self._channels(options), options.get("label")
        )
        return _pack(tile.planes, {"damaged": [list(pair) for pair in tile.damaged]}, tile.mask)

    def _slice(self, names: Sequence[str], options: Mapping[str, str]) -> bytes:
        block = read_slice(
            self.scene,
            parse_number(names[0]),
            names[1],
            _parse_fraction(options.get("at", "0")),
            _parse_view(options).t,
            self._channels(options),
            options.get("label"),
        )
        return _pack(block.planes, {"sizes": list(block.sizes)})

    def _volume(self, names: Sequence[str], options: Mapping[str, str]) -> bytes:
        block = read_volume(
            self.scene,
            parse_number(names[0]),
            _parse_view(options).t,
            self._channels(options),
            options.get("label"),
        )
        return _pack(block.planes, {"sizes": list(block.sizes)})

    def _channels(self, options: Mapping[str, str]) -> list[int]:
        texts = [text for text in options.get("c", "").split(",") if text]
        if len(texts) > len(self.scene.channels):
            raise InvalidArgumentError(f"There are only {len(self.scene.channels)} channels.")
        return [parse_number(text) for text in texts]

    # -- other --------------------------------------------------------------------------------------------------

    def _windows(self, options: Mapping[str, str]) -> JSON:
        shown = self._shown
        with self._answer_slots:
            windows = well_windows(shown.scene, shown.tiles, _parse_view(options), self._threads)
        return [None if well is None else [list(window) for window in well] for well in windows]

    def _label(self, options: Mapping[str, str]) -> JSON:
        field, number = parse_number(options.get("field", "")), _parse_id(options.get("id", ""))
        node = self.scene.fields[field].node if field < len(self.scene.fields) else None
        if not isinstance(node, Position):
            raise InvalidArgumentError(f"There is no field {field} with labels.")
        image = node if isinstance(node, LabelImage) else node.labels[options.get("label", "")]
        assert isinstance(image, LabelImage)
        properties = {
            str(key): _json_of_property(value) for key, value in image.properties.get(number, {}).items()
        }
        return {"properties": properties}

    def _tables(self, options: Mapping[str, str]) -> JSON:
        return list(heat_tables(self.node, self.scene, every_field=self._reads_every_field))

    def _columns(self, options: Mapping[str, str]) -> JSON:
        return list(heat_columns(self.node, options.get("table", "")))

    def _heat(self, options: Mapping[str, str]) -> JSON:
        return list(heat_of_wells(self.node, self.scene, options.get("table", ""), options.get("column", "")))


_PIXELS = {"tile": 3, "slice": 2, "volume": 1}
"""Requests of pixels, and how many names follow in their paths; `Answers._tile` answers "tile", and so on."""

_JSON = ("scene", "progress", "windows", "label", "tables", "columns", "heat")
"""Requests that are answered with JSON; `Answers._scene` answers "scene.json", and so on."""


def _parse_options(query: str) -> dict[str, str]:
    """Parse the parameters of a request; of two with the same name the first is used."""
    try:
        return {name: values[0] for name, values in parse_qs(query, max_num_fields=8).items()}
    except ValueError:
        raise InvalidArgumentError("A request has at most 8 parameters.") from None


def _parse_view(options: Mapping[str, str]) -> View:
    z = options.get("z", "0")
    return View(
        parse_number(options.get("t", "0")),
        None if z == "max" else parse_number(z),
        parse_number(options.get("a", "0")),
    )


def parse_number(text: str) -> int:
    """Parse a number of at most nine digits."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidArgumentError(f"{text[:20]!r} is not a number from 0.")
    return int(text)


def _parse_id(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) < 1 << 64):
        raise InvalidArgumentError(f"{text[:30]!r} is not the id of a label.")
    return int(text)


def _parse_fraction(text: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        fraction = math.nan
    if not 0 <= fraction <= 1:
        raise InvalidArgumentError(f"{text[:20]!r} is not a number from 0 to 1.")
    return fraction


def _json_of_property(value: object) -> JSON:
    """Return a property as a JSON value; texts are cut to 200 characters."""
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, float) or math.isfinite(value) else str(value)
    return str(value)[:200]


def _pack(planes: NDArray[Any], more: JSONObject, mask: NDArray[Any] | None = None) -> bytes:
    """Return pixels as header, planes and mask.

    Ids of 64 bits, which WebGL lacks, become three planes of 32 bits: low bits, colours, high bits.
    """
    if planes.dtype == np.uint64:
        colors = planes[1] if len(planes) > 1 else np.zeros_like(planes[0])
        low = planes[0] & np.uint64(0xFFFFFFFF)
        planes = np.stack([low, colors, planes[0] >> np.uint64(32)]).astype(np.uint32)
    header = json.dumps({"dtype": str(planes.dtype), "shape": list(planes.shape), **more}).encode()
    header += b" " * (-len(header) % 4)
    pixels = planes.astype(planes.dtype.newbyteorder("<"), copy=False)
    blocks = [len(header).to_bytes(4, "little"), header, pixels.tobytes()]
    return b"".join(blocks if mask is None else [*blocks, mask.tobytes()])


def _parse_windows(body: bytes) -> dict[str, tuple[float, float]]:
    """Parse the body of a request to save contrast: [{"name": ..., "window": [start, end]}, ...]."""
    error = InvalidArgumentError('The body is a list of channels: [{"name": "DAPI", "window": [0, 1000]}].')
    try:
        rows = json.loads(body)
        windows = {row["name"]: (row["window"][0], row["window"][1]) for row in rows}
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        raise error from None
    for name, window in windows.items():
        are_numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in window)
        are_finite = are_numbers and all(abs(end) <= sys.float_info.max for end in window)
        if not (isinstance(name, str) and are_finite):
            raise error
        if window[0] > window[1]:
            raise InvalidArgumentError(
                f"The contrast window of channel {name[:100]!r} starts at {window[0]}, above its end, {window[1]} "
                f"(OM-03)."
            )
    return windows
