"""Create the plate that `Plate.map` stores results in, with the metadata of the source plate.

It gets rows, columns, acquisitions, names, channels with colours and contrast, and custom attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError
from lamella.nodes.plate import Plate
from lamella.nodes.position import attributes_without_arrays
from lamella.nodes.well import Well
from lamella.ops.plates.origins import copy_attributes, custom_attributes
from lamella.spec.axes import channel_axis
from lamella.spec.channels import with_acquisition_settings
from lamella.spec.edits import new_images
from lamella.spec.plate import PlateMeta, WellGroupMeta
from lamella.store.metadata.array_creation import array_like
from lamella.store.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zarr.abc.store import Store

    from lamella.nodes.position import Position
    from lamella.nodes.store_handle import NodePath
    from lamella.ops.execution import Workers
    from lamella.spec.images import ImagesMeta
    from lamella.store.metadata.array_meta import ArrayMeta, ZarrFormat
    from lamella.types import StrPath


def open_output(output: StrPath | Store) -> Plate | None:
    """Open the plate that an earlier call created; None if it does not exist yet."""
    from lamella.nodes.open import open_ome_zarr

    storage = open_storage(output)
    storage.check_writable("")
    if not storage.exists(""):
        return None
    results = open_ome_zarr(output, mode="r+")
    if not isinstance(results, Plate):
        raise InvalidArgumentError(
            f"{results!r} is not a plate: the results need a plate of their own, at another path."
        )
    return results


def create_output(
    plate: Plate,
    positions: Mapping[str, Position],
    output: StrPath | Store,
    channel_names: Sequence[str] | None,
    workers: Workers,
) -> Plate:
    """Create the plate for the results, without positions."""
    from lamella.nodes.open import open_ome_zarr

    workers.check_reach(open_storage(output))
    first = next(iter(positions.values()), None)
    names = channel_names or (first.channel_names if first is not None else plate.channel_names)
    results = open_ome_zarr(
        output,
        layout="hcs",
        mode="w-",
        channel_names=list(names),
        axes=first.axes if first is not None else None,
        version=plate.store_handle.version.written_as,
    )
    source = plate.document.shared_model
    acquisitions = [
        acquisition.model_copy(update={"maximum_field_count": None})
        for acquisition in source.acquisitions or []
    ]

    def copy_facts(meta: PlateMeta) -> PlateMeta:
        copied = source.copied()
        copied.name = source.name or meta.name
        copied.wells, copied.field_count = [], None
        copied.acquisitions = acquisitions or meta.acquisitions
        return copied

    copy_attributes(plate, results, PlateMeta)
    results.document.edit(copy_facts)
    return results


def create_positions(
    results: Plate, plate: Plate, positions: Mapping[str, Position], channel_names: Sequence[str] | None
) -> None:
    """Create missing positions, with the metadata of their sources."""
    existing = {path for path, _ in results.positions()}
    missing = [path for path in positions if path not in existing]
    wells = {path.rpartition("/")[0] for path in missing}
    source_wells = {path: plate._open_listed(Well, path) for path in plate.well_paths() if path in wells}
    ids = {
        f"{path}/{image.path}": image.acquisition
        for path, well in source_wells.items()
        for image in well.document.shared_model.images
    }
    acquisitions = [acquisition.id for acquisition in plate.document.shared_model.acquisitions or []]
    only_acquisition = acquisitions[0] if len(acquisitions) == 1 else None
    old_wells = set(results.well_paths())
    new_wells = wells - old_wells
    results.create_positions(
        [
            (*path.split("/"), None, None, only_acquisition if ids.get(path) is None else ids[path])
            for path in missing
        ]
    )
    new_rows = {path.partition("/")[0] for path in new_wells} - {path.partition("/")[0] for path in old_wells}
    for row in sorted(new_rows):
        _copy_row(plate.node_path.child(row), results.node_path.child(row))
    for path in sorted(new_wells & source_wells.keys()):
        copy_attributes(source_wells[path], results._open_listed(Well, path), WellGroupMeta)
    for path in missing:
        _copy_metadata(positions[path], results[path], channel_names)


def _copy_row(source: NodePath, target: NodePath) -> None:
    """Copy the attributes of a row: all are custom attributes."""
    if source.store_handle.documents.kind(source.path) == "group":
        attributes = custom_attributes(source, target.store_handle.version)
        if attributes != target.store_handle.documents.group(target.path):
            target.store_handle.documents.edit_group(target.path, lambda _: attributes)


def _copy_metadata(source: Position, target: Any, channel_names: Sequence[str] | None) -> None:
    """Copy names, channels and custom attributes from a position to a new position without an image."""
    version = target.store_handle.version
    meta: ImagesMeta = source.document.shared_model.copied()
    for image in meta.multiscales:
        image.datasets, image.type, image.metadata = [], None, None
    axes = meta.multiscales[0].axes
    if channel_axis(axes) is not None and meta.omero is None:
        meta.omero = new_images(axes, channel_names or source.channel_names).omero
    elif channel_names is not None and meta.omero is not None:
        channels_by_label = {channel.label: channel for channel in meta.omero.channels}
        target_channels = target.document.shared_model.omero.channels
        meta.omero.channels = [channels_by_label.get(channel.label, channel) for channel in target_channels]
    attributes = custom_attributes(source, version)
    if channel_names is not None:
        old = source.channel_names
        numbers = [old.index(name) if name in old else None for name in channel_names]
        attributes = with_acquisition_settings(attributes, len(old), numbers)
    if meta.multiscales:  # the position stores the names of the image until its first array exists
        image = meta.multiscales[0]
        image_names = {"name": image.name, **(image.__pydantic_extra__ or {})}
        attributes = {**attributes, "lamella": {**attributes.get("lamella", {}), "image": image_names}}
    attributes = attributes_without_arrays(version, meta, version.dump(meta, attributes))
    target.documents.edit_group(target.path, lambda _: attributes)


def layout_like(array: ArrayMeta, shape: Sequence[int], zarr_format: ZarrFormat) -> dict[str, Any]:
    """Return the chunks, shards and compression of an array as options for an array of another shape."""
    if len(shape) != len(array.shape):
        return {"chunks": "auto"}
    like = array_like(array, zarr_format=zarr_format, shape=tuple(shape))
    options: dict[str, Any] = {"chunks": like.chunks}
    options["compressor"] = like.compressor if like.compressor is not None else False
    if zarr_format == 3:
        options["checksum"] = like.checksum
    if like.shards is not None:
        options["shards_ratio"] = tuple(
            shard // chunk for shard, chunk in zip(like.shards, like.chunks, strict=True)
        )
    return options
