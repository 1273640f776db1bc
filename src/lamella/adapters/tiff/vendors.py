"""Read metadata from the tags of STK, LSM, ScanImage, FEI and Zeiss SEM, MetaSeries and ImageJ.

``tifffile`` parses the tags (``stk_metadata``, ``lsm_metadata``, ...). An older version of it may lack some tags, or
the property itself; the metadata is then empty.
"""

from __future__ import annotations

import re
from math import isfinite, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.descriptions import named_color
from lamella.adapters.metaseries import first_voxel, read_metaseries
from lamella.adapters.original import json_text
from lamella.adapters.tiff.metadata import TiffMetadata, is_for_print, print_note, read_ratios
from lamella.adapters.tiff.samples import lut_color
from lamella.errors import one_line
from lamella.log import log
from lamella.ops.conversion.source import Objective, SourceChannel
from lamella.spec.units import is_size, unit_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.adapters.tiff.axes import AxisPlan
    from lamella.adapters.tiff.micromanager import FixedAxes


_KINDS = ("stk", "lsm", "scanimage", "fei", "sem")
"""Names of the properties of tifffile: ``stk_metadata`` and so on."""

_EXPOSURE = re.compile(r"Exposure:\s*([\d.]+)\s*(ms|s)\b")
_MAGNIFICATION = re.compile(r"(\d+(?:\.\d+)?)x(?:/(\d+(?:\.\d+)?))?", re.IGNORECASE)
_LOOKUP_TABLES = ("InputLut", "OutputLut")
"""Values of LSM that are too large to be stored as JSON."""


def read_vendor(file: Any, images: Sequence[tuple[int, FixedAxes]]) -> list[TiffMetadata] | None:
    """Return the metadata of each image of an open file from the tags of its microscope; None without such tags."""
    readers = {"stk": _stk, "lsm": _lsm, "scanimage": _scanimage, "fei": _fei, "sem": _sem}
    for kind, tags in vendor_tags(file).items():
        return [readers[kind](tags, file.series[number], fixed) for number, fixed in images]
    page = file.pages.first
    if getattr(page, "is_metaseries", False):
        shape = int(page.imagelength), int(page.imagewidth)
        return [read_metaseries(page.description, shape)] * len(images)
    return None


def vendor_tags(file: Any) -> dict[str, Mapping[str, Any]]:
    """Return the tags of a microscope as tifffile parsed them, by its kind ("lsm"); empty without such tags."""
    for kind in _KINDS:
        try:
            tags = getattr(file, f"{kind}_metadata", None)
            if kind == "scanimage" and tags is not None:
                tags = tags.get("FrameData") or _settings(file.pages.first.software)
        except Exception as error:  # tifffile raises any error for damaged tags, which count as missing
            log.debug("The %s tags of %s cannot be read: %s", kind, file.filename, one_line(error))
            continue
        if tags:
            return {kind: tags}
    return {}


def vendor_json(file: Any) -> dict[str, str]:
    """Return the parsed tags as JSON, by the name of the file to store them in."""
    return {
        f"{kind}.json": json_text({key: value for key, value in tags.items() if key not in _LOOKUP_TABLES})
        for kind, tags in vendor_tags(file).items()
    }


def _settings(text: str) -> dict[str, Any]:
    """Parse the settings of ScanImage in the tag Software, where classic TIFF files (not BigTIFF) store them."""
    import tifffile

    parsed: dict[str, Any] = tifffile.matlabstr2py(text)
    return parsed


def _plane_shape(series: Any) -> tuple[int, int]:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    return int(sizes["Y"]), int(sizes["X"])


def _numbers(values: Any) -> list[float]:
    """Return the numbers of an array or list; empty if any of them is not a finite number."""
    try:
        numbers = [float(number) for number in np.ravel(values)]
    except (TypeError, ValueError):
        return []
    return numbers if all(map(isfinite, numbers)) else []


def _length(series: Any, axis: str) -> int:
    return int(dict(zip(series.axes, series.shape, strict=True)).get(axis, 1))


def _stk(tags: Mapping[str, Any], series: Any, *_: Any) -> TiffMetadata:
    """Read the UIC tags of MetaMorph."""
    unit = unit_name(str(tags.get("CalibrationUnits") or ""), "space")
    size = _numbers([tags.get("YCalibration"), tags.get("XCalibration")])
    is_calibrated = unit is not None and bool(tags.get("SpatialCalibration", 1)) and all(map(is_size, size))
    scale = dict(zip("yx", size, strict=False)) if is_calibrated else {}
    units: dict[str, str | None] = dict.fromkeys(scale, unit)
    heights = _numbers(tags.get("AbsoluteZ")) if np.all(tags.get("AbsoluteZValid", 0)) else []
    distances = _numbers(tags.get("ZDistance"))[1:]
    steps = [float(step) for step in np.diff(heights)] if len(set(heights)) > 1 else distances
    if (
        "T" not in series.axes
        and steps
        and is_size(abs(steps[0]))
        and np.allclose(steps, steps[0], rtol=1e-3)
    ):
        scale["z"], units["z"] = abs(steps[0]), "micrometer"
    position = _numbers(tags.get("StagePosition"))
    stage = {}
    if len(position) > 1 and unit == "micrometer" and "x" in scale:
        centre = {"x": position[0], "y": position[1], "z": heights[0] if heights else None}
        stage = first_voxel(centre, _plane_shape(series), (scale["y"], scale["x"]))
    dates = tags.get("DatetimeCreated")
    moments = np.asarray([] if dates is None else dates, "datetime64[ms]")
    times = tuple(float((moment - moments[0]) / np.timedelta64(1, "s")) for moment in moments)
    labels = tags.get("StageLabel")
    return TiffMetadata(
        scale,
        units,
        (_stk_channel(tags),),
        title=str(labels[0] if isinstance(labels, list) and labels else labels or ""),
        stage=stage,
        times=times if len(times) == _length(series, "T") else (),
        acquired=str(moments[0].item().isoformat()) if len(moments) else "",
    )


def _stk_channel(tags: Mapping[str, Any]) -> SourceChannel:
    """Return the only channel of a stack; its emission only if all planes have the same wavelength."""
    planes = tags.get("PlaneProperty") or []
    names = {plane.get("value") for plane in planes if plane.get("name") == "_IllumSetting_"}
    wavelengths = set(_numbers(tags.get("Wavelengths")))
    description = next(iter(tags.get("PlaneDescriptions") or [""]))
    exposure = _EXPOSURE.search(str(description))
    return SourceChannel(
        str(names.pop()) if len(names) == 1 else "",
        emission=(wavelengths.pop() or None) if len(wavelengths) == 1 else None,
        exposure=None if exposure is None else float(exposure[1]) / (1000 if exposure[2] == "ms" else 1),
    )


def _lsm(tags: Mapping[str, Any], series: Any, fixed: FixedAxes) -> TiffMetadata:
    """Read the tag of Zeiss LSM, whose lengths are in metres."""
    micrometres = {axis: 1e6 * float(tags.get(f"VoxelSize{axis.upper()}") or 0) for axis in "zyx"}
    scale = {axis: round(size, 9) for axis, size in micrometres.items() if is_size(size)}
    interval = float(tags.get("TimeIntervall") or 0)
    times = _numbers(tags.get("TimeStamps", []))
    if is_size(interval):
        scale["t"] = interval
    scan = tags.get("ScanInformation") or {}
    indices = {series.axes[axis]: index for axis, index in fixed}
    positions = np.reshape(_numbers(tags.get("Positions", [])), (-1, 3))
    number = indices.get("P", 0)
    position = positions[number] * 1e6 if len(positions) > number else None
    stage = {}
    if position is not None and {"y", "x"} <= set(scale):
        centre = {"x": float(position[0]), "y": float(position[1]), "z": float(position[2])}
        stage = first_voxel(centre, _plane_shape(series), (scale["y"], scale["x"]))
    # A file of several positions has the time stamps of all of them.
    frames = tuple(round(time - times[0], 9) for time in times) if len(times) == _length(series, "T") else ()
    lens = str(scan.get("Objective") or "").strip()
    power = _MAGNIFICATION.search(lens)
    return TiffMetadata(
        scale,
        {axis: "second" if axis == "t" else "micrometer" for axis in scale},
        _lsm_channels(tags),
        title=" ".join(f"{'position' if axis == 'P' else 'tile'} {index}" for axis, index in indices.items())
        or str(scan.get("Name") or ""),
        stage=stage,
        times=frames,
        acquired=_ole_date(scan.get("Sample0time")),
        objective=Objective(
            lens, float(power[1]) if power else None, float(power[2]) if power and power[2] else None
        )
        if lens
        else None,
    )


def _lsm_channels(tags: Mapping[str, Any]) -> tuple[SourceChannel, ...]:
    lists = tags.get("ChannelColors") or {}
    colors, names = lists.get("Colors") or [], lists.get("ColorNames") or []
    count = int(tags.get("DimensionChannels") or 0)
    if len(colors) != count or len(names) != count:
        return ()
    return tuple(
        SourceChannel(str(name), "".join(f"{int(component):02X}" for component in color[:3]))
        for name, color in zip(names, colors, strict=True)
    )


def _ole_date(days: object) -> str:
    """Return the date of a number of days since 1899-12-30 in ISO 8601.

    >>> _ole_date(36526.5), _ole_date(None)
    ('2000-01-01T12:00:00', '')
    """
    if isinstance(days, bool) or not isinstance(days, int | float) or not 1 < days < 1e5:
        return ""
    return str(np.datetime64("1899-12-30T00:00:00") + np.timedelta64(round(days * 86_400), "s"))


def _scanimage(tags: Mapping[str, Any], series: Any, *_: Any) -> TiffMetadata:
    """Read the settings of ScanImage, whose names begin with ``SI.``."""
    scale: dict[str, float] = {}
    for axis, names in {
        "z": ("SI.hStackManager.actualStackZStepSize", "SI.hStackManager.stackZStepSize"),
        "t": ("SI.hRoiManager.scanFramePeriod",),
    }.items():
        steps = [number for name in names for number in _numbers(tags.get(name)) if is_size(abs(number))]
        if steps:
            scale[axis] = abs(steps[0])
    height, width = _plane_shape(series)
    corners = _numbers(tags.get("SI.hRoiManager.imagingFovUm"))
    if len(corners) == 8:
        field = np.reshape(corners, (4, 2))
        field_width, field_height = field.max(axis=0) - field.min(axis=0)
        sizes = {"y": round(float(field_height) / height, 9), "x": round(float(field_width) / width, 9)}
        scale |= {axis: size for axis, size in sizes.items() if is_size(size)}
    planned = _numbers(tags.get("SI.hStackManager.actualNumSlices"))
    notes: tuple[str, ...] = ()
    if planned and 1 <= planned[0] < _length(series, "Z"):
        notes = (f"its z axis has the slices of all volumes: {planned[0]:.0f} slices each",)
    return TiffMetadata(
        scale,
        {axis: "second" if axis == "t" else "micrometer" for axis in scale},
        _scanimage_channels(tags),
        notes=notes,
    )


def _scanimage_channels(tags: Mapping[str, Any]) -> tuple[SourceChannel, ...]:
    names, colors = (tags.get(f"SI.hChannels.{key}") or [] for key in ("channelName", "channelMergeColor"))
    # For a list of one value, tifffile returns the value alone.
    names, colors = ([texts] if isinstance(texts, str) else list(texts) for texts in (names, colors))
    channels = []
    for number in _numbers(tags.get("SI.hChannels.channelSave")):
        index = int(number) - 1
        color = named_color(str(colors[index])) if 0 <= index < len(colors) else None
        name = str(names[index]) if 0 <= index < len(names) else f"Channel {number:g}"
        channels.append(SourceChannel(name, color))
    return tuple(channels)


def _fei(tags: Mapping[str, Any], *_: Any) -> TiffMetadata:
    """Read the pixel size of an electron microscope of FEI or Thermo Fisher, in metres."""
    scan = tags.get("Scan") or tags.get("EScan") or {}
    sizes = {"y": scan.get("PixelHeight"), "x": scan.get("PixelWidth")}
    metres = {axis: size for axis, size in sizes.items() if isinstance(size, float) and is_size(size)}
    scale = {axis: round(1e6 * size, 12) for axis, size in metres.items()}
    return TiffMetadata(scale, dict.fromkeys(scale, "micrometer"))


def _sem(tags: Mapping[str, Any], *_: Any) -> TiffMetadata:
    """Read the pixel size of an electron microscope of Zeiss, with its unit."""
    for key in ("ap_image_pixel_size", "ap_pixel_size"):
        _, size, symbol = (*tags.get(key, ()), None, None, None)[:3]
        unit = unit_name(symbol, "space") if isinstance(symbol, str) else None
        if unit is not None and isinstance(size, int | float) and is_size(size):
            return TiffMetadata({"y": float(size), "x": float(size)}, {"y": unit, "x": unit})
    return TiffMetadata()


def read_imagej(imagej: Mapping[str, Any], tags: Any, plan: AxisPlan) -> TiffMetadata:
    """Read ImageJ's metadata as ``tifffile`` parses them; pixel width and height are in the tags of the first page.

    Sizes have the unit that ImageJ names; without a unit, ImageJ counts in pixels, and no size is returned.
    """
    scale: dict[str, float] = {}
    units: dict[str, str | None] = {}
    unit = unit_name(_text(imagej.get("unit")))
    per_unit = read_ratios(tags)
    unit_of_print = None
    for axis, count in per_unit.items():
        axis_unit = unit_name(_text(imagej.get(f"{axis}unit"))) or unit
        # Without a unit ImageJ counts pixels, whatever the resolution tags are. A resolution for printing comes from
        # the file that was opened with ImageJ.
        if axis_unit is not None and is_for_print(count, axis_unit):
            unit_of_print = axis_unit
        elif axis_unit is not None:
            scale[axis], units[axis] = 1 / count, axis_unit
    if unit_of_print is not None:
        scale, units = {}, {}
    spacing = _number(imagej.get("spacing"))
    z_unit = unit_name(_text(imagej.get("zunit"))) or (unit if unit_of_print is None else None)
    if spacing is not None and z_unit is not None:
        scale["z"], units["z"] = spacing, z_unit
    interval = _number(imagej.get("finterval"))
    if interval is not None:
        scale["t"], units["t"] = interval, unit_name(_text(imagej.get("tunit"))) or "second"
    notes = () if unit_of_print is None else (print_note(per_unit, unit_of_print),)
    if any(lut_color(lut) is None for lut in _listed(imagej.get("LUTs"), np.ndarray)):
        notes = (*notes, "a lookup table of it is not a ramp from black to one colour and was not used")
    if imagej.get("vunit") not in (None, "", "gray value"):  # ImageJ states gray values for signed integers
        notes = (*notes, f"its calibration of pixel values, to {imagej['vunit']}, was not applied")
    return TiffMetadata(scale, units, _channels(imagej, plan), notes=notes)


def _number(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and is_size(abs(value)):
        return abs(float(value))  # ImageJ stores a negative spacing for stacks that were flipped
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _channels(imagej: Mapping[str, Any], plan: AxisPlan) -> tuple[SourceChannel, ...]:
    count = plan.shape[plan.axes.index("c")] if "c" in plan.axes else 1
    labels = _labels(_listed(imagej.get("Labels"), str), plan, count)
    # In grayscale mode ImageJ shows all channels by one lookup table.
    colors = [lut_color(lut) for lut in _listed(imagej.get("LUTs"), np.ndarray)]
    if (imagej.get("mode") == "grayscale" and count > 1) or len(colors) != count:
        colors = [None] * count
    ranges = _ranges(imagej, count)
    return tuple(
        SourceChannel(labels[index] if labels else "", colors[index], ranges[index]) for index in range(count)
    )


def _listed(value: object, single: type) -> list[Any]:
    """Return a list of labels, tables or numbers; for a list of one, ``tifffile`` returns that one alone."""
    if isinstance(value, single):
        return [value]
    return list(value) if isinstance(value, list | tuple) else []


def _ranges(imagej: Mapping[str, Any], count: int) -> list[tuple[float, float] | None]:
    """Return the displayed range of each channel: from the list of all, or of a single channel."""
    numbers: list[Any] = [
        number for number in _listed(imagej.get("Ranges"), float) if isinstance(number, int | float)
    ]
    if len(numbers) != 2 * count:
        numbers = [imagej.get("min"), imagej.get("max")] if count == 1 else []
    if len(numbers) != 2 * count or not all(_is_finite(number) for number in numbers):
        return [None] * count
    return [(float(numbers[2 * index]), float(numbers[2 * index + 1])) for index in range(count)]


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and bool(np.isfinite(number))


def _labels(labels: Sequence[str], plan: AxisPlan, count: int) -> list[str]:
    """Return channel names from the labels of planes, if they are equal in every z and t of a channel."""
    if not labels or count < 2:
        return []
    # ImageJ's planes are in the order channel, z, time, with the channel fastest.
    if len(labels) not in (count, prod(plan.shape[:-2])):
        return []
    names = [set(labels[index::count]) for index in range(count)]
    flat = [next(iter(group)) for group in names]
    if any(len(group) > 1 for group in names) or len(set(flat)) < count or not all(flat):
        return []
    return flat
