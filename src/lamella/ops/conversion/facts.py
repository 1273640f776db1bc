"""Write the metadata of a source into the store: voxel sizes and stage as transforms, other facts as attributes.

docs/design.md lists the attributes. The folder ``OME`` of the store has the original metadata of each file.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import counted, first_of
from lamella.ops.conversion.originals import MAX_ORIGINALS
from lamella.ops.conversion.reader import MAX_ORIGINAL_BYTES
from lamella.ops.conversion.source import channels_of
from lamella.spec.channels import ACQUISITION_SETTINGS, COLOR_SAMPLES
from lamella.spec.frame_times import with_real_times
from lamella.spec.geometry import scale_and_translation
from lamella.spec.own_key import STAGE
from lamella.spec.units import unit_ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamella.nodes.node import NGFFNode
    from lamella.ops.conversion.reader import OriginalMetadata
    from lamella.ops.conversion.source import ImageDescription
    from lamella.spec.images import TransformationMeta
    from lamella.spec.versions import SpecVersion
    from lamella.store.metadata.documents import Documents
    from lamella.types import JSONObject

OME_XML = "METADATA.ome.xml"
"""Name of the OME-XML of a store, as bioformats2raw writes it."""

_MAX_LISTED = 3
"""Maximum number of files that the closing lines list."""

_IMAGE = re.compile(r"<(?:\w+:)?Image[\s>]")
_PIXELS = re.compile(
    r"(?P<head><(?P<prefix>(?:\w+:)?)Pixels\b[^>]*?)(?:/>|>(?P<body>.*?)</(?P=prefix)Pixels\s*>)", re.DOTALL
)
_REFERENCES = re.compile(
    r"<((?:\w+:)?)(TiffData|BinData|MetadataOnly)\b(?:[^>]*?/>|[^>]*>.*?</\1\2\s*>)\s*", re.DOTALL
)


def voxel_transforms(description: ImageDescription) -> list[TransformationMeta]:
    """Return scale and translation of an image: its voxel size, time step, and position on the stage."""
    scale = dict(description.scale)
    times = frame_times(description)
    if "t" not in scale and times:
        scale["t"] = _mean_step(times)
    translation = [float(description.stage.get(axis, 0.0)) for axis in description.axes]
    return scale_and_translation(
        [float(scale.get(axis, 1.0)) for axis in description.axes], translation if any(translation) else None
    )


def frame_times(description: ImageDescription) -> list[float]:
    """Return the times of the frames in the unit of the time axis; empty if they are unknown or do not ascend."""
    times = description.times
    if "t" not in description.axes or len(times) != description.length("t") or len(times) < 2:
        return []
    if not np.all(np.isfinite(times)) or not np.all(np.diff(times) > 0):
        return []
    ratio = unit_ratio("second", description.units.get("t") or "second")
    return [time * ratio for time in times]


def _mean_step(times: Sequence[float]) -> float:
    return float(times[-1] - times[0]) / (len(times) - 1)


def with_facts(attributes: JSONObject, description: ImageDescription) -> JSONObject:
    """Add the files of an image, facts about its acquisition, and irregular times of its frames."""
    times = frame_times(description)
    step = float(description.scale["t"]) if "t" in description.scale else _mean_step(times) if times else 1.0
    regular_times = np.arange(len(times)) * step
    attributes = {**attributes, "lamella": {**attributes.get("lamella", {}), **_facts_of(description)}}
    if not times or np.allclose(times, regular_times, rtol=0, atol=1e-6 * step):
        return attributes
    return with_real_times(attributes, "0", 0.0, step, dict(enumerate(times)))


def _facts_of(description: ImageDescription) -> JSONObject:
    """Return the facts about an image that OME-NGFF has no key for."""
    names = [_file_name(file) for file in description.files] or [description.name]
    objective = {} if description.objective is None else _without_empty(asdict(description.objective))
    channels = [
        _without_empty(
            {"excitation": channel.excitation, "emission": channel.emission, "exposure": channel.exposure}
        )
        for channel in description.channels
    ]
    facts = {
        "source": names[0] if len(names) == 1 else names,
        "title": description.title,
        STAGE: {axis: float(position) for axis, position in description.stage.items()},
        "acquired": description.acquired,
        "objective": objective,
        ACQUISITION_SETTINGS: channels if any(channels) else [],
        COLOR_SAMPLES: "rgb" if description.is_rgb else "",
    }
    return {key: fact for key, fact in facts.items() if fact}


def _without_empty(facts: JSONObject) -> JSONObject:
    return {key: fact for key, fact in facts.items() if fact not in (None, "")}


def _file_name(path: str) -> str:
    return stored_text(path.replace("\\", "/").rpartition("/")[2])


def stored_text(name: str) -> str:
    r"""Return the name of a file as text that JSON can store: bytes that are not UTF-8 are replaced.

    >>> stored_text("a\udcff.tif") == "a\ufffd.tif"
    True
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def summarize(
    descriptions: Sequence[ImageDescription], originals: Sequence[OriginalMetadata], left_out: int
) -> tuple[list[str], list[str], list[str]]:
    """Return which facts about images the store has, which basic facts no file has, and which facts were dropped.

    ``left_out`` is the number of texts of original metadata that are not stored.
    """
    is_present = {fact: any(map(has_fact, descriptions)) for fact, has_fact in _FACTS.items()}
    present = [fact for fact in is_present if is_present[fact]]
    if originals:
        files = first_of([f"OME/{original.name}" for original in originals], _MAX_LISTED)
        present.append(f"the original metadata in {files}")
    basic_facts = {"pixel size": "x", "z step": "z", "time step": "t", "channel names": "x"}
    lacking = [
        fact
        for fact, axis in basic_facts.items()
        if not is_present[fact] and any(image.length(axis) > 1 for image in descriptions)
    ]
    limits = f"beyond {MAX_ORIGINALS:,} texts or {MAX_ORIGINAL_BYTES >> 20} MiB"
    dropped = [f"{counted(left_out, 'text')} of original metadata, {limits}"] if left_out else []
    if any(image.length("t") > 1 and image.times and not frame_times(image) for image in descriptions):
        dropped.append("times of frames, which do not ascend or lack frames")
    return present, lacking, dropped


_FACTS: dict[str, Callable[[ImageDescription], object]] = {
    "pixel size": lambda image: "x" in image.scale,
    "z step": lambda image: "z" in image.axes and "z" in image.scale,
    "time step": lambda image: "t" in image.axes and ("t" in image.scale or bool(frame_times(image))),
    "times of frames": frame_times,
    "channel names": lambda image: any(channel.label for channel in channels_of(image)),
    "colours": lambda image: any(channel.color for channel in channels_of(image)),
    # Red, green, blue and opacity have the range of their data type without a statement of the file.
    "contrast": lambda image: (
        not image.is_rgb and any(channel.window for channel in channels_of(image) if channel.active)
    ),
    "wavelengths": lambda image: any(
        channel.emission or channel.excitation for channel in channels_of(image)
    ),
    "exposure": lambda image: any(channel.exposure for channel in channels_of(image)),
    "stage positions": lambda image: image.stage,
    "date": lambda image: image.acquired,
    "objective": lambda image: image.objective,
    "image names": lambda image: image.title,
    "plate name": lambda image: image.plate,
}
"""Facts for the closing lines of a conversion, each with a function that returns whether an image has it."""


def write_originals(root: NGFFNode, originals: Sequence[OriginalMetadata], series: Sequence[str]) -> None:
    """Write the metadata of the files into the folder ``OME``; ``series`` are the paths of the images, in their order.

    The OME-XML of a single file describes images by number, and readers find their paths in a list beside it. The list
    is written if the XML describes as many images as there are; else the XML gets another name, so that it is not used.
    """
    for original in originals:
        name, text = original.name, original.text
        if name.endswith(OME_XML):
            text, count = without_pixels(text)
        if name == OME_XML:
            if series and count == len(series):
                list_series(root.documents, root.store_handle.version, series)
            elif series:
                name = f"original.{OME_XML}"
        root.documents.storage.write(f"OME/{name}", text.encode())


def list_series(documents: Documents, version: SpecVersion, series: Sequence[str]) -> None:
    """Mark the root of a store as one of bioformats2raw, and list the paths of its images."""
    attributes = documents.group("") if documents.kind("") == "group" else {}
    marked = version.with_ome(attributes, {**version.ome(attributes), "bioformats2raw.layout": 3})
    documents.put_groups({"OME": version.with_ome({}, {"series": list(series)}), "": marked})


def without_pixels(xml: str) -> tuple[str, int]:
    """Return OME-XML without references to pixels in files, and its number of images.

    The text is edited, not parsed: parsing that of a large plate would cost more than writing it.
    """
    return _PIXELS.sub(_metadata_only, xml), sum(1 for _ in _IMAGE.finditer(xml))


def _metadata_only(pixels: re.Match[str]) -> str:
    """Replace the references of one image by an empty MetadataOnly, which comes before the planes in the schema."""
    head, prefix = pixels["head"], pixels["prefix"]
    body = _REFERENCES.sub("", pixels["body"] or "")
    planes = re.search(rf"<{prefix}Plane\b", body)
    end = planes.start() if planes else len(body)
    return f"{head}>{body[:end]}<{prefix}MetadataOnly/>{body[end:]}</{prefix}Pixels>"
