"""Writes to level 0 of images with lower levels, recorded so that the lower levels count as stale.

The first write to level 0 puts the writer's name into the image's document. The written regions are collected in
memory, and replace the name when the store is closed. So each write costs one check of the document's stamp; a killed
writer leaves all lower levels stale, and a closed one records the stale regions. Lower levels that were created empty
count as stale until they are written: the document lists their unwritten regions, which are removed when the level is
full or the store is closed.

The record is described in :mod:`lamella.spec.stale_levels`; :mod:`lamella.ops.pyramids.update` updates
the levels.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lamella.errors import LamellaError, NodeNotFoundError
from lamella.spec.stale_levels import StaleLevels, common_boxes, read_stale, with_box, with_stale, without_box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.nodes.store_handle import StoreHandle
    from lamella.spec.stale_levels import Box
    from lamella.types import JSONObject

_DEEPEST = 3
"""Maximum number of groups above an array that are searched for its image: names of levels are seldom nested."""

_MOST_PIECES = 1024
"""Maximum number of regions of a level in memory while it is filled in any order."""


@dataclass
class _Array:
    """An array that is written to.

    Attributes
    ----------
    image
        Path of its image; None without one.
    stamp
        Of the image's document when it was read or written; None in stores without stamps.
    is_level_0
        Whether it is the finest of several levels.
    is_named
        Whether the document has this writer's name.
    boxes
        Regions that were written since then.
    level
        Path of the array in the image.
    unwritten
        Unwritten regions of a lower level that was created empty.
    is_told
        Whether the document has the same regions.
    """

    image: str | None
    stamp: object
    is_level_0: bool = False
    is_named: bool = False
    boxes: tuple[Box, ...] = field(default=())
    level: str = ""
    unwritten: tuple[Box, ...] = ()
    is_told: bool = True


class LevelWrites:
    """The writes of one opened store to the level 0 of images."""

    def __init__(self, store_handle: StoreHandle) -> None:
        self._store_handle = store_handle
        self._name = uuid4().hex[:8]
        self._lock = RLock()
        self._arrays: dict[str, _Array] = {}

    @contextmanager
    def noted(self, path: str, box: Callable[[], Box | None]) -> Iterator[None]:
        """Record a write to an array while it runs.

        ``box`` returns the written region in voxels. It is called only for the level 0 of an image with lower levels,
        and for lower levels that were created empty.
        """
        self._note(path, box)
        try:
            yield
        finally:
            self._note(path, box)  # the levels may have been computed again during the write
        self._fill(path, box)

    def _fill(self, path: str, box: Callable[[], Box | None]) -> None:
        """Subtract a written region from those of a level that was created empty; record when the level is full."""
        with self._lock:
            known = self._arrays.get(path)
            if known is None or known.image is None or not known.unwritten:
                return
            written = box()
            if written is not None:
                known.unwritten = without_box(known.unwritten, written, _MOST_PIECES)
                known.is_told = False
            if not known.unwritten:
                _, known.stamp = self._store_handle.documents.edit_group(known.image, _filling(known))
                known.is_told = True

    def _note(self, path: str, box: Callable[[], Box | None]) -> None:
        with self._lock:
            known = self._arrays.get(path)
            if known is None or (known.image is not None and not self._is_unchanged(known)):
                known = self._arrays[path] = self._look(path, known)
            if not known.is_level_0:
                return
            written = box()  # an index that does not fit raises before the document is changed
            if written is not None:
                self._name_in_document(known)
                known.boxes = with_box(known.boxes, written)

    def _look(self, path: str, known: _Array | None) -> _Array:
        """Find the image of an array, and whether the array is its level 0."""
        documents = self._store_handle.documents
        parts = path.split("/")
        for count in range(len(parts) - 1, max(-1, len(parts) - 1 - _DEEPEST), -1):
            image, level = "/".join(parts[:count]), "/".join(parts[count:])
            try:
                stored, stamp = documents.stored_group(image)
            except NodeNotFoundError:
                continue
            attributes = stored.attributes
            levels = self._levels(attributes)
            if not any(level in paths for paths in levels):
                if levels:
                    return _Array(image, stamp)
                continue
            stale = read_stale(attributes)
            # Levels that are being computed are not listed yet.
            if not any(paths[0] == level and (len(paths) > 1 or stale.unlisted) for paths in levels):
                rest, is_told = stale.to_write(level), True
                if known is not None and not known.is_told:
                    rest, is_told = common_boxes(rest, known.unwritten, _MOST_PIECES), False
                return _Array(image, stamp, level=level, unwritten=rest, is_told=is_told)
            named = stale.names(self._name)
            # Whoever removed the name has computed the levels again.
            boxes = known.boxes if known is not None and named else ()
            return _Array(image, stamp, True, named, boxes)
        return _Array(None, None)

    def _name_in_document(self, known: _Array) -> None:
        """Add this writer's name to the image's document, if it is missing."""
        if known.is_named or known.image is None:
            return
        _, known.stamp = self._store_handle.documents.edit_group(
            known.image, lambda old: with_stale(old, read_stale(old).begun(self._name))
        )
        known.is_named = True

    def _levels(self, attributes: JSONObject) -> list[list[str]]:
        """Return the paths of the levels of each image in the attributes."""
        found: list[list[str]] = []
        multiscales: Any = self._store_handle.version.ome(attributes).get("multiscales")
        for image in multiscales if isinstance(multiscales, list) else []:
            datasets = image.get("datasets") if isinstance(image, dict) else None
            paths = [item.get("path") for item in datasets or [] if isinstance(item, dict)]
            if paths and all(isinstance(path, str) for path in paths):
                found.append([str(path) for path in paths])
        return found

    def _is_unchanged(self, known: _Array) -> bool:
        """Return whether the image's document is unchanged; false in stores without stamps, so it is read again."""
        stamp = None if known.image is None else self._store_handle.documents.stamp(known.image)
        return stamp is not None and stamp == known.stamp

    def settle(self, image: str | None = None) -> None:
        """Replace the writer's name by the written regions in the document of an image; of all by default.

        The next write starts again. Images that are deleted, or not writable any more, are skipped.
        """
        with self._lock:
            chosen = {
                path: known for path, known in self._arrays.items() if image is None or known.image == image
            }
            for path, known in chosen.items():
                del self._arrays[path]
                if known.image is None or (known.is_told and not known.is_named):
                    continue
                told = _telling(self._name, known.boxes) if known.is_named else _filling(known)
                try:
                    self._store_handle.documents.edit_group(known.image, told)
                except LamellaError:
                    continue

    def forget(self, image: str) -> None:
        """Drop the collected regions of an image: its levels are computed again, or deleted."""
        with self._lock:
            self._arrays = {path: known for path, known in self._arrays.items() if known.image != image}


def _filling(known: _Array) -> Callable[[JSONObject], JSONObject]:
    def told(attributes: JSONObject) -> JSONObject:
        stale = read_stale(attributes)
        rest = common_boxes(stale.to_write(known.level), known.unwritten)
        return with_stale(attributes, stale.with_unwritten(known.level, rest))

    return told


def _telling(name: str, boxes: tuple[Box, ...]) -> Callable[[JSONObject], JSONObject]:
    def told(attributes: JSONObject) -> JSONObject:
        stale: StaleLevels = read_stale(attributes)
        # Without the name, the levels were computed after these writes, and include them.
        return with_stale(attributes, stale.ended(name, boxes)) if stale.names(name) else attributes

    return told
