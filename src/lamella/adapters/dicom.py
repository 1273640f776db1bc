"""Read slides in DICOM with the library ``wsidicom``: the finest level of each pyramid.

The original metadata are not stored, because they name the patient.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.descriptions import describe_image, sample_channels
from lamella.adapters.formats import ENDINGS
from lamella.errors import SourceError
from lamella.ops.conversion.handles import SampleReader
from lamella.ops.conversion.reader import list_names
from lamella.ops.conversion.source import SourceChannel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array


class DicomReader(SampleReader):
    """Whole slide images; optical paths are channels, focal planes are z. A folder of such files is one slide."""

    name = "dicom"
    title = "DICOM slide"
    endings = ENDINGS["dicom"]
    extra = "dicom"
    libraries = ("wsidicom", "pydicom")

    def may_claim_file(self, name: str) -> bool:
        return name.lower().endswith(self.endings)

    def claims(self, path: str) -> bool:
        """Return whether a path is a file with the ending of DICOM, or a folder with such a file."""
        if not os.path.isdir(path):
            return super().claims(path)
        return any(name.lower().endswith(self.endings) for name in list_names(path))

    def recognises(self, head: bytes) -> bool:
        return head[128:132] == b"DICM"

    def open_handle(self, path: str) -> Any:
        import wsidicom

        return wsidicom.WsiDicom.open(path)

    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        for number, pyramid in enumerate(handle.pyramids):
            level = pyramid.base_level
            handle.read_region(  # raises for a truncated file, which lacks the last tile
                (level.size.width - 1, level.size.height - 1), 0, (1, 1), z=level.focal_planes[-1],
                path=level.optical_paths[-1], pyramid=number, threads=1, as_array=True,
            )  # fmt: skip
        return [_describe(handle, path, number) for number in range(len(handle.pyramids))]

    def read_planes(
        self, handle: Any, image: int, indices: Sequence[tuple[int, ...]], rows: slice
    ) -> list[Array | None]:
        level = handle.pyramids[image].base_level
        samples = level.default_instance.image_data.samples_per_pixel
        _, first_channel, z = indices[0]
        pixels = handle.read_region(
            (0, rows.start),
            0,
            (level.size.width, rows.stop - rows.start),
            z=level.focal_planes[z],
            path=level.optical_paths[first_channel // samples],
            pyramid=image,
            threads=1,
            as_array=True,
        ).reshape(rows.stop - rows.start, level.size.width, samples)
        return [pixels[..., channel % samples] for _, channel, _ in indices]


def _describe(slide: Any, path: str, number: int) -> ImageDescription:
    level = slide.pyramids[number].base_level
    data = level.default_instance.image_data
    samples, paths, planes = data.samples_per_pixel, level.optical_paths, level.focal_planes
    scale = {"x": level.mpp.width, "y": level.mpp.height}
    notes: tuple[str, ...] = ()
    if len(planes) > 1:
        steps = np.diff(sorted(planes))
        if not np.allclose(steps, steps[0]):
            notes = ("its focal planes are not evenly spaced: their mean distance was used",)
        scale["z"] = steps.mean()
    names = [""] if len(paths) == 1 else list(map(str, paths))
    files = tuple(sorted(str(file) for file in slide.files))
    if not files:
        raise SourceError(f"{path} has no DICOM slide.")
    return describe_image(
        os.path.normpath(path),
        (1, len(paths) * samples, len(planes), level.size.height, level.size.width),
        data.dtype,
        files=files,
        scale=scale,
        channels=sample_channels(3) if samples == 3 else tuple(map(SourceChannel, names)),
        notes=notes,
        acquired=_acquired(files[0]),
        band_rows=level.tile_size.height,
        channels_together=samples,
        is_rgb=samples == 3,
    )


def _acquired(file: str) -> str:
    """Return the time of the acquisition in ISO 8601."""
    import pydicom

    dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["AcquisitionDateTime"])
    try:
        return datetime.strptime(str(dataset.get("AcquisitionDateTime"))[:14], "%Y%m%d%H%M%S").isoformat()
    except ValueError:
        return ""
