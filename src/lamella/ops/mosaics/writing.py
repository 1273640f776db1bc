"""Write a mosaic as an image, in units of files, so that the same call resumes an interrupted one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lamella._version import __version__
from lamella.arguments import check_flags
from lamella.errors import InvalidArgumentError, NodeExistsError
from lamella.log import logged
from lamella.models import TransformationMeta
from lamella.nodes.position import Position
from lamella.ops.conversion.contrast import joint_window
from lamella.ops.execution import check_progress, counting, run
from lamella.ops.jobs.journal import Journal, LocalFile, journal_in_place
from lamella.ops.jobs.units import TargetUnit, digest, do_task, tasks
from lamella.ops.new_store import new_store
from lamella.ops.plates.ome_facts import meta_with_facts
from lamella.ops.pyramids.level_assembler import write_by_chunks
from lamella.ops.regions import regions
from lamella.ops.rewriting.arrays import UNIT_BYTES
from lamella.spec import edits
from lamella.spec.channels import displayed_range
from lamella.spec.colors import parse_color
from lamella.store.files.archives import is_archive_name
from lamella.store.files.local import LocalStorage
from lamella.store.files.removal import delete_unfinished
from lamella.store.keys import PRIVATE_PREFIX, join
from lamella.store.storage import open_storage, with_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from zarr.abc.store import Store

    from lamella.ops.execution import Progress, Workers
    from lamella.ops.jobs.units import Files
    from lamella.ops.mosaics.mosaic import Mosaic, MosaicArray
    from lamella.ops.regions import Region
    from lamella.spec.images import ChannelMeta, ImagesMeta, WindowDict
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import StrPath

_IMAGE = "0"


@dataclass(frozen=True)
class MosaicUnit(TargetUnit):
    """A file of the new image; ``mosaic`` has the fields that its region overlaps."""

    mosaic: MosaicArray
    target: StoredArray
    region: Region

    def reads(self) -> Files:
        """Return the files of the fields."""
        return self.mosaic.files(self.region)

    def do(self) -> None:
        """Read the fields and write the file."""
        if self.size > UNIT_BYTES:
            write_by_chunks(
                self.target, self.region, lambda region, block: np.copyto(block, self.mosaic.read(region))
            )
        else:
            self.target.write(self.region, self.mosaic.read(self.region))


@dataclass(frozen=True)
class MosaicWrite:
    """A mosaic with the settings of its new image; see :meth:`Mosaic.write`."""

    mosaic: Mosaic
    levels: int | Literal["auto"]
    chunks: Sequence[int] | Literal["auto"]
    shards_ratio: Sequence[int] | None
    workers: Workers
    progress: Progress | bool | None

    @property
    def job_digest(self) -> str:
        """Digest of the settings and the layout."""
        layout = self.mosaic.layout
        return digest(
            [
                __version__,
                {path: str(field.node_path) for path, field in self.mosaic.fields.items()},
                layout.starts.tolist(),
                [layout.scale, layout.translation, self.mosaic.shape, str(self.mosaic.dtype)],
                [self.mosaic.blend, self.mosaic.channel_names, self.levels, self.chunks, self.shards_ratio],
            ]
        )

    def write_to(
        self, target: StrPath | Store | Position, overwrite: bool, storage_options: Mapping[str, Any] | None
    ) -> Position:
        """Write to a path, a URL, a zarr store or a position."""
        from lamella.nodes.open import open_ome_zarr

        check_progress(self.progress)
        check_flags(overwrite=overwrite)
        fields = [field.documents.storage for field in self.mosaic.fields.values()]
        if isinstance(target, Position):
            if overwrite or storage_options is not None:
                raise InvalidArgumentError(
                    "Leave out overwrite and storage_options: they are for paths, not for a position."
                )
            self.workers.check_reach(target.documents.storage, *fields)
            self._write_into_position(target)
            return target
        target = with_options(target, storage_options)
        storage = open_storage(target)
        self.workers.check_reach(storage, *fields)
        with logged("Write the mosaic %s", storage.name):
            target_path = storage.root if isinstance(storage, LocalStorage) else target
            version = next(iter(self.mosaic.fields.values())).store_handle.version.written_as
            sources = list({id(field): field for field in fields}.values())
            with (
                new_store(
                    target_path, overwrite, "mosaic", version, self.progress, sources=sources
                ) as workspace,
                workspace.temporary(self.job_digest) as folder,
            ):
                self._write_into_folder(folder, workspace.journal, storage.title or "image")
        mode: Literal["r", "r+"] = "r" if is_archive_name(storage.name) else "r+"
        return open_ome_zarr(target_path, layout="fov", mode=mode)

    def _write_into_folder(self, folder: str, journal_file: LocalFile, name: str) -> None:
        """Write the image into a folder, which may have files of a killed call."""
        from lamella.nodes.open import open_ome_zarr

        if os.path.lexists(journal_file.where):  # written after the image was created
            position = open_ome_zarr(folder, layout="fov", mode="r+")
        else:
            if os.path.lexists(folder):
                delete_unfinished(folder)
            position = open_ome_zarr(
                folder,
                layout="fov",
                mode="w-",
                channel_names=self.mosaic.channel_names,
                axes=self.mosaic.axes,
                version=next(iter(self.mosaic.fields.values())).store_handle.version.written_as,
            )
            self._create_image(position)
            position.document.edit(lambda meta: self._with_channels(meta, name))
        with Journal(journal_file, {"job": self.job_digest}) as journal:
            self._write_pixels(position, journal)

    def _write_into_position(self, position: Position) -> None:
        """Write into a position; the journal is created before the image, so that a killed call is recognised."""
        position.require_writable("write a mosaic")
        storage = position.documents.storage
        key = join(position.path, f"{PRIVATE_PREFIX}mosaic-{self.job_digest}")
        if storage.size(key) is None and position.dataset_paths:
            raise NodeExistsError(
                f"{position.node_path} has an image already. Write the mosaic to another position, or delete the image."
            )

        def discard() -> None:
            if position.dataset_paths:
                del position[_IMAGE]

        with journal_in_place(storage, key, self.job_digest, discard) as journal:
            if not position.dataset_paths:
                self._create_image(position)
            self._write_pixels(position, journal)

    def _create_image(self, position: Position) -> None:
        transform = [
            TransformationMeta(type="scale", scale=self.mosaic.scale),
            TransformationMeta(type="translation", translation=self.mosaic.translation),
        ]
        position.create_zeros(
            _IMAGE,
            self.mosaic.shape,
            self.mosaic.dtype,
            chunks=self.chunks,
            shards_ratio=self.shards_ratio,
            transform=transform,
        )

    def _with_channels(self, meta: ImagesMeta, name: str) -> ImagesMeta:
        """Return the metadata with a name, and with the channels of the fields, each with one window for all fields."""
        edited = edits.set_name(meta, name)
        omero_of_fields = [meta_with_facts(field).omero for field in self.mosaic.fields.values()]
        channels = [[] if omero is None else omero.channels for omero in omero_of_fields]
        omero = edited.omero
        if omero is None or {len(stored_channels) for stored_channels in channels} != {len(omero.channels)}:
            return edited
        joint = [
            _joint_channel(new, stored_channels)
            for new, stored_channels in zip(omero.channels, zip(*channels, strict=True), strict=True)
        ]
        return edited.model_copy(update={"omero": omero.model_copy(update={"channels": joint})})

    def _write_pixels(self, position: Position, journal: Journal[LocalFile] | None) -> None:
        target = position[_IMAGE].stored
        with counting(self.progress, "pixels", target.meta.nbytes) as count:
            units = tasks(self._units(target), self.job_digest, journal)
            run(do_task, units, self.workers, on_result=count.add)
            count.finish()
        if self.levels != 1:
            position.compute_pyramid(
                self.levels, jobs=self.workers.jobs, executor=self.workers.executor, progress=self.progress
            )

    def _units(self, target: StoredArray) -> Iterator[MosaicUnit]:
        """Yield the files of the new image, except those that would have only its fill value."""
        has_same_fill = bool(self.mosaic.fill_value == target.meta.fill_value)
        for region in regions(target.meta.shape, target.meta.files):
            if not has_same_fill or self.mosaic.touches(region):
                yield MosaicUnit(self.mosaic.cut(region), target, region)


def _joint_channel(new: ChannelMeta, stored_channels: Sequence[ChannelMeta]) -> ChannelMeta:
    """Return the channel of the first field, with one window for all fields, and with values of `new` where missing."""
    joint = stored_channels[0].copied()
    joint.label, joint.window = new.label, new.window
    try:
        joint.color = new.color if joint.color is None else parse_color(joint.color)
    except InvalidArgumentError:
        joint.color = new.color
    windows = [
        (displayed, channel.window)
        for channel in stored_channels
        if (displayed := displayed_range(channel)) and channel.window
    ]
    if windows:
        start, end = joint_window([displayed for displayed, _ in windows])
        window: WindowDict = windows[0][1]
        low = min([start, *(stored_window["min"] for _, stored_window in windows if "min" in stored_window)])
        high = max([end, *(stored_window["max"] for _, stored_window in windows if "max" in stored_window)])
        joint.window = {**window, "start": start, "end": end, "min": low, "max": high}
    return joint
