"""Draw small pictures for notebooks, if that is quick: the chunks to read are counted before anything is read.

``near`` is a store in files of this machine, ``far`` any other (S3, a web server, an archive).
"""

from __future__ import annotations

import io
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from lamella.adapters.png import image_page, plate_page
from lamella.errors import LamellaError
from lamella.nodes.labels import LabelImage, Labels
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.walk import walk
from lamella.ops.display.preview import PreviewOptions, all_channels, choose_channels, plane_of
from lamella.ops.execution import Count, Workers
from lamella.store.flat_storage import FlatStorage

if TYPE_CHECKING:
    from lamella.adapters.page import Page
    from lamella.nodes.node import NGFFNode
    from lamella.ops.display.preview import Plane

_SIDE = 256
"""Pixels of the larger side of the picture of an image."""

_WELL_SIDE, _PLATE_SIDE = 64, 640
"""Pixels along a well, and limit of the larger side of a plate."""

_NEAR_BYTES, _FAR_BYTES = 256 << 20, 4 << 20
"""Maximum number of decoded bytes of a near store and of a far one."""

_FAR_CHUNKS = 64
"""Maximum number of chunks that are read from a far store, with one or two requests each."""

_NEAR_WELLS, _FAR_WELLS = 96, 24
"""Maximum number of wells of a near store and of a far one; only the first field of each is drawn."""


def thumbnail(node: NGFFNode) -> bytes | None:
    """Return a small picture of an image or a plate as PNG; None if it cannot be drawn, or not quickly."""
    with suppress(LamellaError, ImportError):
        page = _page(node)
        if page is not None:
            file = io.BytesIO()
            page.image.save(file, format="PNG")
            return file.getvalue()
    return None


def _page(node: NGFFNode) -> Page | None:
    if isinstance(node, Labels):
        name = next(iter(node), None)
        return None if name is None else _page(node[name])
    if isinstance(node, Position):
        is_far = isinstance(node.documents.storage, FlatStorage)
        if not node.dataset_paths or not _is_quick(node, is_far, 1, _SIDE):
            return None
        return image_page(node, PreviewOptions(), _SIDE)
    return _plate(node) if isinstance(node, Plate) else None


def _plate(plate: Plate) -> Page | None:
    """Draw the first field of each well."""
    is_far = isinstance(plate.documents.storage, FlatStorage)
    wells = len(plate.document.shared_model.wells)
    if not 0 < wells <= (_FAR_WELLS if is_far else _NEAR_WELLS):
        return None
    longest = max(len(plate.document.shared_model.columns), len(plate.document.shared_model.rows), 1)
    side = max(_SIDE, min(_WELL_SIDE * longest, _PLATE_SIDE))
    nodes = (field.node for field in walk(plate, max_fields=1))
    first = next((node for node in nodes if isinstance(node, Position) and node.dataset_paths), None)
    if first is None or not _is_quick(first, is_far, wells, side // longest):
        return None
    options, count = PreviewOptions(), Count(None, "fields")
    page, problems = plate_page(plate, options, side, Workers(), count, max_fields=1)
    return page if all(problem.is_crossed_out for problem in problems) else None


def _is_quick(position: Position, is_far: bool, images: int, side: int) -> bool:
    """Return whether images like this one are drawn within the limits."""
    plane = plane_of(position, PreviewOptions(), side)
    channels = (
        1 if isinstance(position, LabelImage) else len(choose_channels(all_channels(position), None, ""))
    )
    chunks = images * channels * _chunks(plane)
    nbytes = chunks * math.prod(plane.array.chunks) * plane.array.dtype.itemsize
    return nbytes <= (_FAR_BYTES if is_far else _NEAR_BYTES) and (not is_far or chunks <= _FAR_CHUNKS)


def _chunks(plane: Plane) -> int:
    """Return the number of chunks of a plane of one channel."""
    axes, shape, chunks = plane.axes, plane.array.shape, plane.array.chunks
    return math.prod(math.ceil(shape[axis] / chunks[axis]) for axis in (axes.y, axes.x))
