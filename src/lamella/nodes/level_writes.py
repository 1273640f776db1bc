"""Which images of an opened store have a level 0 that was written after their lower levels were made.

The first write to level 0 of an image with lower levels puts the writer's name into the image's document; where it
wrote is kept in memory and put in the place of the name when the store is closed. So a write costs one look at the
document's time, a killed writer leaves levels that count as stale everywhere, and a closed one says which parts are.
Lower levels that were created empty count as stale until they are written: the document says what is missing, and who
writes takes it off, when the level is full or the store is closed.

Layer: nodes. What the document says is in :mod:`lamella.spec.stale_levels`, bringing the levels up to date in
:mod:`lamella.ops.pyramids.update`.
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
"""Groups above an array that are looked at for the image whose level it is: names of levels are seldom nested."""

_MOST_PIECES = 1024
"""Boxes of a level that are kept in memory while it is filled in any order."""


@dataclass
class _Array:
    """What is known of an array that is written to.

    Attributes
    ----------
    image
        The image that it is a level of; None where there is none.
    stamp
        Of the image's document as it was read or written; None where the store has no stamps.
    is_level_0
        Whether it is the finest of several levels.
    is_named
        Whether the document names this writer.
    boxes
        What was written since it does.
    level
        Path of the array in the image.
    unwritten
        Of a lower level that was created empty, the boxes that nobody wrote, this writer included.
    is_told
        Whether the document says as much.
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
    """The writes to levels 0 by one opened store.

    Parameters
    ----------
    store_handle
        The opened store.
    """

    def __init__(self, store_handle: StoreHandle) -> None:
        self._store_handle = store_handle
        self._name = uuid4().hex[:8]
        self._lock = RLock()
        self._arrays: dict[str, _Array] = {}

    @contextmanager
    def noted(self, path: str, box: Callable[[], Box | None]) -> Iterator[None]:
        """Take note of a write while it happens.

        Parameters
        ----------
        path
            Of the array.
        box
            Gives the box that is written, in voxels; asked only for the level 0 of an image with lower levels, and for
            lower levels that were created empty.
        """
        self._note(path, box)
        try:
            yield
        finally:
            self._note(path, box)  # the levels may have been made anew while the write was under way
        self._fill(path, box)

    def _fill(self, path: str, box: Callable[[], Box | None]) -> None:
        """Take off what was written of a level that was created empty; the document says so when it is full."""
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
            written = box()  # an index that does not fit is refused before the document says anything
            if written is not None:
                self._name_in_document(known)
                known.boxes = with_box(known.boxes, written)

    def _look(self, path: str, known: _Array | None) -> _Array:
        """Find the image that an array is a level of, and whether it is level 0 above others."""
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
            # Levels that are being made are not listed yet.
            if not any(paths[0] == level and (len(paths) > 1 or stale.unlisted) for paths in levels):
                rest, is_told = stale.to_write(level), True
                if known is not None and not known.is_told:
                    rest, is_told = common_boxes(rest, known.unwritten, _MOST_PIECES), False
                return _Array(image, stamp, level=level, unwritten=rest, is_told=is_told)
            named = stale.names(self._name)
            # Whoever took the name away has made the levels anew.
            boxes = known.boxes if known is not None and named else ()
            return _Array(image, stamp, True, named, boxes)
        return _Array(None, None)

    def _name_in_document(self, known: _Array) -> None:
        """Have the image's document name this writer, unless it does."""
        if known.is_named or known.image is None:
            return
        _, known.stamp = self._store_handle.documents.edit_group(
            known.image, lambda old: with_stale(old, read_stale(old).begun(self._name))
        )
        known.is_named = True

    def _levels(self, attributes: JSONObject) -> list[list[str]]:
        """Paths of the levels of each image that attributes describe."""
        found: list[list[str]] = []
        multiscales: Any = self._store_handle.version.ome(attributes).get("multiscales")
        for image in multiscales if isinstance(multiscales, list) else []:
            datasets = image.get("datasets") if isinstance(image, dict) else None
            paths = [item.get("path") for item in datasets or [] if isinstance(item, dict)]
            if paths and all(isinstance(path, str) for path in paths):
                found.append([str(path) for path in paths])
        return found

    def _is_unchanged(self, known: _Array) -> bool:
        """Whether the image's document is what was read; a store without stamps cannot tell, so it is read again."""
        stamp = None if known.image is None else self._store_handle.documents.stamp(known.image)
        return stamp is not None and stamp == known.stamp

    def settle(self, image: str | None = None) -> None:
        """Say in the document of an image what was written to it, in the place of the writer's name; of all by default.

        The next write begins anew. An image that is gone, or cannot be written any more, is passed over.
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
        """Say nothing of what was written to an image so far: all its levels are made anew, or are gone."""
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
        # Without the name the levels were made anew since: nothing of this is missing from them.
        return with_stale(attributes, stale.ended(name, boxes)) if stale.names(name) else attributes

    return told
