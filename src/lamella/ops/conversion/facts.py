"""Write the metadata of a source into the store: sizes and stage as transforms, other facts as attributes.

docs/design.md lists the attributes. The folder ``OME`` has the unchanged metadata of each file.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import counted, first_of
from lamella.ops.conversion.originals import MAX_ORIGINALS
from lamella.ops.conversion.reader import MAX_ORIGINAL_BYTES
from lamella.spec.channels import CHANNEL_FACTS, SAMPLES
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

_SHOWN = 3
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
    shift = [float(description.stage.get(axis, 0.0)) for axis in description.axes]
    return scale_and_translation(
        [float(scale.get(axis, 1.0)) for axis in description.axes], shift if any(shift) else None
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
    regular = np.arange(len(times)) * step
    attributes = {**attributes, "lamella": {**attributes.get("lamella", {}), **_facts_of(description)}}
    if not times or np.allclose(times, regular, rtol=0, atol=1e-6 * step):
        return attributes
    return with_real_times(attributes, "0", 0.0, step, dict(enumerate(times)))


def _facts_of(description: ImageDescription) -> JSONObject:
    """Return the facts about an image that OME-NGFF has no key for."""
    names = [_file_name(file) for file in description.files] or [description.name]
    objective = {} if description.objective is None else _stated(asdict(description.objective))
    channels = [
        _stated({"excitation": each.excitation, "emission": each.emission, "exposure": each.exposure})
        for each in description.channels
    ]
    facts = {
        "source": names[0] if len(names) == 1 else names,
        "title": description.title,
        STAGE: {axis: float(value) for axis, value in description.stage.items()},
        "acquired": description.acquired,
        "objective": objective,
        CHANNEL_FACTS: channels if any(channels) else [],
        SAMPLES: "rgb" if description.is_rgb else "",
    }
    return {key: value for key, value in facts.items() if value}


def _stated(facts: JSONObject) -> JSONObject:
    return {key: value for key, value in facts.items() if value not in (None, "")}


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
    """Return which facts about images are in the store, which basic facts no file states, and which were dropped.

    ``left_out`` is the number of texts of original metadata that are not stored.
    """
    present = {fact: any(test(each) for each in descriptions) for fact, test in _FACTS.items()}
    names = [fact for fact, is_there in present.items() if is_there]
    if originals:
        files = first_of([f"OME/{each.name}" for each in originals], _SHOWN)
        names.append(f"the original metadata in {files}")
    needed = {"pixel size": "x", "z step": "z", "time step": "t", "channel names": "x"}
    lacking = [
        fact
        for fact, axis in needed.items()
        if not present[fact] and any(each.length(axis) > 1 for each in descriptions)
    ]
    limits = f"beyond {MAX_ORIGINALS:,} texts or {MAX_ORIGINAL_BYTES >> 20} MiB"
    dropped = [f"{counted(left_out, 'text')} of original metadata, {limits}"] if left_out else []
    if any(each.length("t") > 1 and each.times and not frame_times(each) for each in descriptions):
        dropped.append("times of frames, which do not ascend or lack frames")
    return names, lacking, dropped


_FACTS: dict[str, Callable[[ImageDescription], object]] = {
    "pixel size": lambda each: "x" in each.scale,
    "z step": lambda each: "z" in each.axes and "z" in each.scale,
    "time step": lambda each: "t" in each.axes and ("t" in each.scale or bool(frame_times(each))),
    "times of frames": frame_times,
    "channel names": lambda each: any(channel.label for channel in each.channels),
    "colours": lambda each: any(channel.color for channel in each.channels),
    "contrast": lambda each: any(channel.window for channel in each.channels),
    "wavelengths": lambda each: any(channel.emission or channel.excitation for channel in each.channels),
    "exposure": lambda each: any(channel.exposure for channel in each.channels),
    "stage positions": lambda each: each.stage,
    "date": lambda each: each.acquired,
    "objective": lambda each: each.objective,
    "image names": lambda each: each.title,
    "plate name": lambda each: each.plate,
}
"""Facts for the closing lines of a conversion, each with a function that returns whether an image has it."""


def write_originals(root: NGFFNode, originals: Sequence[OriginalMetadata], series: Sequence[str]) -> None:
    """Write the metadata of the files into the folder ``OME``; ``series`` are the paths of the images, in their order.

    Readers relate the OME-XML of a single file to images by a list of their paths, which is written with it if it
    describes each of the images; else it gets another name.
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
    at = planes.start() if planes else len(body)
    return f"{head}>{body[:at]}<{prefix}MetadataOnly/>{body[at:]}</{prefix}Pixels>"
