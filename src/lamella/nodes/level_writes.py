"""Record writes: which lower levels of an image they made stale, and which regions a failed write left unfinished.

Each store handle has a random writer name, such as "5f3c9a01". Its first write to level 0 adds the name to the image's
document: while the name is in it, all lower levels count as stale. Closing the store replaces the name by the written
regions, such as ``((0, 0), (512, 512))``, so that only these are computed again. If the stamp of the document changed
before a write, another process may have computed the levels, and the name is added again.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lamella.errors import LamellaError, NodeNotFoundError, clause, warn
from lamella.spec.stale_levels import (
    StaleLevels,
    Unfinished,
    add_region,
    intersect_regions,
    read_stale,
    read_unfinished,
    subtract_region,
    with_stale,
    with_unfinished,
    without_unfinished,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.store_handle import StoreHandle
    from lamella.spec.stale_levels import Bounds
    from lamella.types import JSONObject

_MAX_GROUPS_ABOVE = 3
"""Maximum number of groups above an array that are searched for its image: names of levels are seldom nested."""

_MAX_REGIONS = 1024
"""Maximum number of regions of a level in memory while it is filled in any order."""


@dataclass
class _WrittenArray:
    """An array that is written to."""

    image: str | None
    """Path of its image; None without one."""
    stamp: object
    """Stamp of the image's document when it was read or written; None in stores without stamps."""
    is_level_0: bool = False
    """Whether the array is the finest of several levels."""
    is_named: bool = False
    """Whether the document has the writer name of this handle."""
    regions: tuple[Bounds, ...] = field(default=())
    """Regions that were written since the name was added."""
    level: str = ""
    """Path of the array in the image."""
    unwritten: tuple[Bounds, ...] = ()
    """Unwritten regions of a lower level that was created empty."""
    is_recorded: bool = True
    """Whether the document has the same unwritten regions as `unwritten`."""


class LevelWrites:
    """The writes of one store handle to level 0 of images."""

    def __init__(self, store_handle: StoreHandle) -> None:
        self._store_handle = store_handle
        self._writer_name = uuid4().hex[:8]
        self._lock = RLock()
        self._arrays: dict[str, _WrittenArray] = {}

    @contextmanager
    def recorded(self, path: str, region: Callable[[], Bounds | None]) -> Iterator[None]:
        """Record a write to an array while it runs.

        ``region`` returns the written region in voxels. It is called only for level 0 of an image with lower levels,
        and for lower levels that were created empty.
        """
        self._record(path, region)
        try:
            yield
        finally:
            self._record(path, region)  # the levels may have been computed again during the write
        self._fill(path, region)

    def _fill(self, path: str, region: Callable[[], Bounds | None]) -> None:
        """Subtract a written region from the unwritten ones of a level; edit the document when none are left."""
        with self._lock:
            array = self._arrays.get(path)
            if array is None or array.image is None or not array.unwritten:
                return
            written = region()
            if written is not None:
                array.unwritten = subtract_region(array.unwritten, written, _MAX_REGIONS)
                array.is_recorded = False
            if not array.unwritten:
                _, array.stamp = self._store_handle.documents.edit_group(
                    array.image, _record_unwritten(array)
                )
                array.is_recorded = True

    def _record(self, path: str, region: Callable[[], Bounds | None]) -> None:
        with self._lock:
            array = self._arrays.get(path)
            if array is None or (array.image is not None and not self._is_unchanged(array)):
                array = self._arrays[path] = self._find_image(path, array)
            if not array.is_level_0:
                return
            written = region()  # an index that does not fit raises before the document is changed
            if written is not None:
                self._name_in_document(array)
                array.regions = add_region(array.regions, written)

    def _find_image(self, path: str, array: _WrittenArray | None) -> _WrittenArray:
        """Find the image of an array, and whether the array is its level 0; `array` is the last result, if any."""
        documents = self._store_handle.documents
        names = path.split("/")
        for depth in range(len(names) - 1, max(-1, len(names) - 1 - _MAX_GROUPS_ABOVE), -1):
            image, level = "/".join(names[:depth]), "/".join(names[depth:])
            try:
                stored, stamp = documents.stored_group(image)
            except NodeNotFoundError:
                continue
            attributes = stored.attributes
            levels = self._levels(attributes)
            if not any(level in paths for paths in levels):
                if levels:
                    return _WrittenArray(image, stamp)
                continue
            stale = read_stale(attributes)
            # An image whose first lower levels are being computed lists level 0 only.
            if not any(paths[0] == level and (len(paths) > 1 or stale.unlisted) for paths in levels):
                unwritten, is_recorded = stale.unwritten_of(level), True
                if array is not None and not array.is_recorded:
                    unwritten, is_recorded = (
                        intersect_regions(unwritten, array.unwritten, _MAX_REGIONS),
                        False,
                    )
                return _WrittenArray(image, stamp, level=level, unwritten=unwritten, is_recorded=is_recorded)
            is_named = stale.has_writer(self._writer_name)
            # Without the name, another process has computed the levels again.
            regions = array.regions if array is not None and is_named else ()
            return _WrittenArray(image, stamp, True, is_named, regions)
        return _WrittenArray(None, None)

    def _name_in_document(self, array: _WrittenArray) -> None:
        """Add the writer name to the image's document, if it is missing."""
        if array.is_named or array.image is None:
            return
        _, array.stamp = self._store_handle.documents.edit_group(
            array.image, lambda old: with_stale(old, read_stale(old).with_writer(self._writer_name))
        )
        array.is_named = True

    def _levels(self, attributes: JSONObject) -> list[list[str]]:
        levels: list[list[str]] = []
        multiscales: Any = self._store_handle.version.ome(attributes).get("multiscales")
        for image in multiscales if isinstance(multiscales, list) else []:
            datasets = image.get("datasets") if isinstance(image, dict) else None
            paths = [dataset.get("path") for dataset in datasets or [] if isinstance(dataset, dict)]
            if paths and all(isinstance(path, str) for path in paths):
                levels.append([str(path) for path in paths])
        return levels

    def _is_unchanged(self, array: _WrittenArray) -> bool:
        """Return whether the image's document is unchanged; False in stores without stamps."""
        stamp = None if array.image is None else self._store_handle.documents.stamp(array.image)
        return stamp is not None and stamp == array.stamp

    def settle(self, image: str | None = None) -> None:
        """Replace the writer name by the written regions in the document of an image; by default of all images.

        The next write adds the name again. Images that are deleted or not writable are skipped.
        """
        with self._lock:
            arrays = {
                path: array for path, array in self._arrays.items() if image is None or array.image == image
            }
            for path, array in arrays.items():
                del self._arrays[path]
                if array.image is None or (array.is_recorded and not array.is_named):
                    continue
                edit = (
                    _record_regions(self._writer_name, array.regions)
                    if array.is_named
                    else _record_unwritten(array)
                )
                try:
                    self._store_handle.documents.edit_group(array.image, edit)
                except LamellaError:
                    continue

    def forget(self, image: str) -> None:
        """Drop the collected regions of an image: its levels are computed again, or deleted."""
        with self._lock:
            self._arrays = {path: array for path, array in self._arrays.items() if array.image != image}


def _record_unwritten(array: _WrittenArray) -> Callable[[JSONObject], JSONObject]:
    def edit(attributes: JSONObject) -> JSONObject:
        stale = read_stale(attributes)
        unwritten = intersect_regions(stale.unwritten_of(array.level), array.unwritten)
        return with_stale(attributes, stale.with_unwritten(array.level, unwritten))

    return edit


def _record_regions(writer_name: str, regions: tuple[Bounds, ...]) -> Callable[[JSONObject], JSONObject]:
    def edit(attributes: JSONObject) -> JSONObject:
        stale: StaleLevels = read_stale(attributes)
        # Without the name, the levels were computed after these writes, and include them.
        return (
            with_stale(attributes, stale.without_writer(writer_name, regions))
            if stale.has_writer(writer_name)
            else attributes
        )

    return edit


@contextmanager
def marked_unless_finished(array: ImageArray, region: Bounds | None) -> Iterator[None]:
    """Mark a region of an array as unfinished if writing it raises; remove marks if it succeeds."""
    try:
        yield
    except Exception as error:
        clipped = _clipped(region, array.shape)
        if clipped is not None:
            _mark(array, Unfinished(clipped, clause(error)))
        raise
    mark_finished(array, region)


def _clipped(region: Bounds | None, shape: tuple[int, ...]) -> Bounds | None:
    """Return the part of a region in the array, which a failed append did not grow; None if it is empty."""
    if region is None:
        return None
    stop = tuple(map(min, region[1], shape))
    is_empty = any(start >= end for start, end in zip(region[0], stop, strict=True))
    return None if is_empty else (region[0], stop)


def _mark(array: ImageArray, region: Unfinished) -> None:
    documents = array.node_path.store_handle.documents
    try:
        documents.edit_array_attributes(array.path, lambda old: with_unfinished(old, region))
    except (LamellaError, OSError):
        return  # the caller raises the error of the write


def mark_finished(array: ImageArray, region: Bounds | None) -> None:
    """Remove the marks of regions that were written completely."""
    attributes = array.stored.meta.attributes
    if (
        region is None
        or not read_unfinished(attributes)
        or without_unfinished(attributes, region) == attributes
    ):
        return
    documents = array.node_path.store_handle.documents
    documents.edit_array_attributes(array.path, lambda old: without_unfinished(old, region))


def warn_of_unfinished(array: ImageArray) -> None:
    """Warn if a region of an array is marked as unfinished."""
    for region in read_unfinished(array.stored.meta.attributes):
        warn(
            f"The region {region.spans} of {array.node_path} was not written completely: {region.reason}. Write the "
            "region again; until then it may have old voxels beside new ones."
        )
