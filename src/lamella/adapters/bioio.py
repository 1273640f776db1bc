"""Read other formats with the library ``bioio`` and its installed plugins; used if no other reader claims a file."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lamella.adapters.descriptions import describe_image, positive_or_none, sample_channels
from lamella.errors import one_line
from lamella.log import log
from lamella.ops.conversion.handles import SampleReader
from lamella.ops.conversion.reader import OriginalMetadata
from lamella.ops.conversion.source import Objective, SourceChannel
from lamella.spec.units import unit_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array


class BioioReader(SampleReader):
    """Any format of a plugin of bioio; scenes are images. Plugins may be unsafe for threads: one reads at a time."""

    name = "bioio"
    title = "formats of bioio plugins"
    extra = "bioio"
    libraries = ("bioio",)
    handles = 1
    is_fallback = True

    def claims(self, path: str) -> bool:
        if find_spec("bioio") is None or not os.path.isfile(path):
            return False
        return _reader_of(path) is not None

    def open_handle(self, path: str) -> Any:
        from bioio import BioImage

        return BioImage(path, reader=_reader_of(path))

    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        return [_describe(handle, path, scene) for scene in range(len(handle.scenes))]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        """Return the OME-XML of the plugin, if it writes one."""
        with suppress(NotImplementedError):
            return [OriginalMetadata("METADATA.ome.xml", handle.ome_metadata.to_xml())]
        return []

    def read_planes(
        self, handle: Any, image: int, indices: Sequence[tuple[int, ...]], rows: slice
    ) -> list[Array | None]:
        handle.set_scene(image)
        samples = _length(handle, "S")
        time, first_channel, z = indices[0]
        axes = "YXS" if "S" in handle.dims.order else "YX"
        plane = handle.get_image_dask_data(axes, T=time, C=first_channel // samples, Z=z)[rows]
        pixels = plane.compute(scheduler="synchronous").reshape(*plane.shape[:2], samples)
        return [pixels[..., channel % samples] for _, channel, _ in indices]

    def close_handle(self, handle: Any) -> None:
        """Close nothing: bioio opens the file for each read."""


def _reader_of(path: str) -> Any:
    """Return the class that reads a file, None if there is none.

    The plugins are asked one by one: `BioImage.determine_plugin` logs a warning about each that cannot read the file.
    """
    from bioio.plugins import get_plugins

    for ending, plugins in get_plugins(use_cache=False).items():
        for plugin in plugins if path.lower().endswith(ending) else ():
            try:
                reader = plugin.metadata.get_reader()
                if reader.is_supported_image(path):
                    return reader
            except Exception as error:
                log.debug("A plugin of bioio does not read %s: %s", path, one_line(error))
    return None


def _length(image: Any, axis: str) -> int:
    return int(getattr(image.dims, axis)) if axis in image.dims.order else 1


def _describe(image: Any, path: str, scene: int) -> ImageDescription:
    image.set_scene(scene)
    samples, channels = _length(image, "S"), _length(image, "C")
    shape = (*(_length(image, axis) for axis in "TCZYX"),)
    plugin = type(image.reader).__module__.partition(".")[0]
    notes = [f"it was read by {plugin}"]
    scale, units, has_units = _sizes(image)
    if scale and not has_units:
        notes.append("it states no unit: micrometers were used")
    standard = image.standard_metadata
    moment = standard.imaging_datetime
    return describe_image(
        path,
        (shape[0], channels * samples, *shape[2:]),
        image.dtype,
        scale=scale,
        units=units,
        channels=_channels(image, channels, samples),
        notes=tuple(notes) if scene == 0 else (),
        title=str(image.scenes[scene]) if len(image.scenes) > 1 else "",
        acquired="" if moment is None else moment.isoformat(),
        objective=Objective(str(standard.objective)) if standard.objective else None,
        band_rows=shape[-2],
        channels_together=samples,
        is_rgb=samples >= 3 and channels == 1,
    )


def _sizes(image: Any) -> tuple[dict[str, float], dict[str, str | None], bool]:
    """Return steps and units, and whether the file states the units of all lengths."""
    scale: dict[str, float] = {}
    units: dict[str, str | None] = {}
    has_units = True
    for axis in "xyz":
        step = positive_or_none(getattr(image.physical_pixel_sizes, axis.upper()))
        if step is None:
            continue
        unit = unit_name(str(getattr(image.dimension_properties, axis.upper()).unit or ""))
        has_units = has_units and unit is not None
        scale[axis], units[axis] = step, unit or "micrometer"
    interval = image.time_interval
    seconds = positive_or_none(interval.total_seconds() if hasattr(interval, "total_seconds") else interval)
    if seconds is not None:
        scale["t"] = seconds
    return scale, units, has_units


def _channels(image: Any, count: int, samples: int) -> tuple[SourceChannel, ...]:
    if samples >= 3:
        return sample_channels(samples, [""] * count)
    names = [str(name) for name in image.channel_names or ()]
    names += [""] * (count - len(names))
    return tuple(SourceChannel("" if name.startswith("Channel:") else name) for name in names[:count])
