"""Delete a channel: rewrite every level without it, so that a kill leaves a readable image.

For an image with levels 0 and 1, the steps are: move level 1 from the image's list of levels to a record in its
document; replace level 0 by a copy without the channel (:mod:`lamella.nodes.replacing`); replace level 1 and list it
again; remove the record. After a kill, the same call or the next write resumes with the first missing step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, NodeNotFoundError, did_you_mean
from lamella.log import logged
from lamella.nodes.image_array import ImageArray
from lamella.nodes.position_metadata import dtype_window, with_channel_names
from lamella.nodes.replacing import discard, finish_replacing, make_beside, put_in_place
from lamella.ops.array_writes import Source, bytes_in_work, write_array
from lamella.ops.execution import THREADS, Workers, run_at_store
from lamella.ops.images.edit import store_of
from lamella.ops.streaming.record import without_channel
from lamella.spec import edits
from lamella.spec.axes import channel_axis
from lamella.spec.channels import COLOR_SAMPLES, with_acquisition_settings
from lamella.spec.images import DatasetMeta
from lamella.spec.own_key import Deleting, read_deleting, with_deleting, without_own_records
from lamella.spec.stale_levels import read_stale, with_stale
from lamella.store.flat_storage import FlatStorage
from lamella.store.keys import join
from lamella.store.pixels.arrays import StoredArray

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from lamella.nodes.position import Position
    from lamella.ops.regions import Region
    from lamella.spec.images import ImagesMeta
    from lamella.types import JSONObject


def delete_channel(position: Position, name: str, *, jobs: int | None = None) -> None:
    """Delete a channel of an image; see :meth:`Position.delete_channel`."""
    position.store_handle.require_writable(f"delete the channel {name!r}", position.path)
    workers = Workers(jobs)
    with position.documents.storage.lock(_lock(position)):
        if _run_missing_steps(position, workers) == name:
            return
        position.require_writable(f"delete the channel {name!r}")
        index = _checked_index(position, name)
        with logged("Delete the channel %r of %s", name, position.node_path):
            if not position.dataset_paths:
                position.document.edit(lambda meta: edits.delete_channel(meta, name))
                return
            _record_deletion(position, name, index)
            _run_missing_steps(position, workers)


def delete_from_fields(positions: Mapping[str, Position], name: str, *, jobs: int | None = None) -> list[str]:
    """Delete a channel from all images that have it; return their paths. See :meth:`Plate.delete_channel`."""
    fields = [
        path
        for path, position in positions.items()
        if name in position.channel_names or killed_deletion(position) == name
    ]
    if not fields:
        names = dict.fromkeys(name for position in positions.values() for name in position.channel_names)
        raise InvalidArgumentError(
            f"No field has the channel {name!r}: there are {', '.join(names) or 'none'} in {store_of(positions)}."
            f"{did_you_mean(name, names)}"
        )
    for path in fields:
        if killed_deletion(positions[path]) != name:
            _checked_index(positions[path], name)  # raises before anything is written
    storage = positions[fields[0]].documents.storage
    finest = [positions[path].data for path in fields if positions[path].dataset_paths]
    workers = Workers(jobs).waiting_for(storage, max(map(bytes_in_work, finest), default=0))
    if isinstance(storage, FlatStorage):  # several fields at once share the threads
        jobs, workers = max(1, workers.count // len(fields)), Workers(workers.count)
    run_at_store(lambda path: delete_channel(positions[path], name, jobs=jobs), fields, storage, workers)
    return fields


def finish_deletion(position: Position) -> None:
    """Finish a deletion that was killed."""
    with position.documents.storage.lock(_lock(position)):
        _run_missing_steps(position, THREADS)


def _lock(position: Position) -> str:
    return join(position.path, "deleting_channel")


def killed_deletion(position: Position) -> str | None:
    """Return the name of the channel whose deletion was killed; None if there is none."""
    deleting = read_deleting(position.documents.group(position.path))
    return None if deleting is None else deleting.name


def _checked_index(position: Position, name: str) -> int:
    """Return the index of a channel; raise if it cannot be deleted."""
    index = position.get_channel_index(name)
    check_deletable(position, [name])
    return index


def check_deletable(position: Position, to_delete: Collection[str]) -> None:
    """Raise InvalidArgumentError if these channels of an image cannot be deleted, one after the other."""
    names, listed = position.channel_names, ", ".join(map(repr, to_delete))
    if channel_axis(position.axes) is None or set(names) <= set(to_delete):
        what = f"{listed} is the only channel" if len(to_delete) == 1 else f"{listed} are all channels"
        raise InvalidArgumentError(f"{what} of {position.node_path}: an image has at least one.")
    for path in position.dataset_paths:
        level = position.open_level(path)
        if level.shape[_axis(position, level.stored)] != len(names):
            raise InvalidArgumentError(
                f"{level!r} does not have the channels {names} of its image, so {listed} cannot be found in it. "
                "Resize the array first."
            )


def _axis(position: Position, array: StoredArray) -> int:
    """Return the channel axis of an array, which may have fewer axes than the metadata."""
    axes = position.document.shared_model.multiscales[0].axes
    axis = channel_axis(axes)
    assert axis is not None
    return axis - (len(axes) - array.meta.ndim)


def _record_deletion(position: Position, name: str, index: int) -> None:
    """List level 0 only, and record the deletion."""
    position.store_handle.writes.settle(position.path)
    names, window = position.channel_names, dtype_window(position.data.dtype)
    lower_levels: list[DatasetMeta] = []
    stored_entries: list[JSONObject] = []

    def unlist(meta: ImagesMeta) -> ImagesMeta:
        new_meta = with_channel_names(meta, names, window).copied()
        edits.delete_channel(new_meta, name)  # raises before anything is written
        attributes = position._dump(new_meta, position.documents.group(position.path), trusted=True)
        stored_entries[:] = position.store_handle.version.ome(attributes)["multiscales"][0]["datasets"][1:]
        multiscale = new_meta.multiscales[0]
        lower_levels[:] = multiscale.datasets[1:]
        multiscale.datasets = multiscale.datasets[:1]
        return new_meta

    def with_record(attributes: JSONObject) -> JSONObject:
        record = Deleting(name, index, [level.to_json() for level in lower_levels], [], stored_entries)
        # Writes to level 0 are recorded as stale regions of these levels too.
        stale = replace(read_stale(attributes), unlisted=tuple(level.path for level in lower_levels))
        return with_deleting(with_stale(attributes, stale), record)

    position.document.edit(unlist, edit_attributes=with_record)


def _run_missing_steps(position: Position, workers: Workers) -> str | None:
    """Run all missing steps; return the name of the deleted channel."""
    deleting = read_deleting(position.documents.group(position.path))
    if deleting is None:
        return None
    finish_replacing(position)
    meta = position.document.refresh()
    finest = meta.multiscales[0].get_dataset_paths()[0]
    if deleting.name in edits.channel_names(meta):
        change = partial(edits.delete_channel, name=deleting.name)
        _replace_level(position, finest, deleting, change, workers)
    for level_json in deleting.levels:
        level = DatasetMeta.from_json(level_json)
        if level.path in position.document.refresh().multiscales[0].get_dataset_paths():
            continue
        try:
            _replace_level(position, level.path, deleting, partial(_with_level, level=level), workers)
        except NodeNotFoundError:  # deleted meanwhile
            continue

    def without_record(attributes: JSONObject) -> JSONObject:
        stale = replace(read_stale(attributes), unlisted=())
        return with_deleting(with_stale(attributes, stale), None)

    position.document.edit(lambda meta: meta, edit_attributes=without_record)
    return deleting.name


def _with_level(meta: ImagesMeta, level: DatasetMeta) -> ImagesMeta:
    edited = meta.copied()
    if level.path not in edited.multiscales[0].get_dataset_paths():
        edited.multiscales[0].datasets.append(level)
    return edited


def _replace_level(
    position: Position,
    path: str,
    deleting: Deleting,
    change: Callable[[ImagesMeta], ImagesMeta],
    workers: Workers,
) -> None:
    """Replace a level by one without the channel, and change the document in the same step."""
    old_array = StoredArray(position.documents, position.node_path.child(path).path)
    axis = _axis(position, old_array)
    is_finest = path == position.document.shared_model.multiscales[0].get_dataset_paths()[0]
    source = _WithoutIndex(old_array, axis, deleting.number)
    old_meta = old_array.meta
    attributes = without_channel(old_meta.attributes, deleting.number)
    new_array = make_beside(position, old_meta.with_shape(source.shape).with_attributes(attributes))
    try:
        write_array(ImageArray(new_array), Source(source, in_memory=False), workers)
    except BaseException:
        discard(new_array)
        raise

    def with_moved_regions(attributes: JSONObject) -> JSONObject:
        """Move stale regions to the new channel indices, once: `put_in_place` calls this again after a kill."""
        record = read_deleting(attributes)
        if record is None or path in record.done:
            return attributes
        attributes = _with_stored_keys(position, attributes, path, record)
        attributes = with_deleting(attributes, record._replace(done=[*record.done, path]))
        stale = read_stale(attributes)
        stale = stale.without_channel(axis, deleting.number, None if is_finest else path)
        if is_finest:
            count = old_meta.shape[axis]  # `old_array.meta` may be that of the new array by now
            remaining_channels = (number for number in range(count) if number != deleting.number)
            attributes = with_acquisition_settings(attributes, count, remaining_channels)
            attributes = without_own_records(attributes, (COLOR_SAMPLES,))  # of a colour image
        unlisted = tuple(level for level in stale.unlisted if level != path)
        return with_stale(attributes, replace(stale, unlisted=unlisted))

    put_in_place(position, path, new_array, change, edit_after=with_moved_regions)


def _with_stored_keys(position: Position, attributes: JSONObject, path: str, record: Deleting) -> JSONObject:
    """Return attributes that list a lower level as it was stored, with keys that its model does not know."""
    stored_entry = next(
        (stored_entry for stored_entry in record.entries if stored_entry.get("path") == path), None
    )
    if stored_entry is None:
        return attributes
    version = position.store_handle.version
    ome = version.ome(attributes)
    first, *further = ome["multiscales"]
    datasets = [stored_entry if level.get("path") == path else level for level in first["datasets"]]
    return version.with_ome(attributes, {**ome, "multiscales": [{**first, "datasets": datasets}, *further]})


@dataclass(frozen=True)
class _WithoutIndex:
    """An array without one index along an axis, read by regions."""

    array: StoredArray
    axis: int
    index: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(length - (axis == self.axis) for axis, length in enumerate(self.array.meta.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.meta.dtype

    def __getitem__(self, region: Region) -> np.ndarray[Any, Any]:
        span = region[self.axis]
        spans = (
            slice(span.start, min(span.stop, self.index)),
            slice(max(span.start, self.index) + 1, span.stop + 1),
        )
        blocks = [
            self.array.read((*region[: self.axis], span, *region[self.axis + 1 :]))
            for span in spans
            if span.start < span.stop
        ]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=self.axis)
