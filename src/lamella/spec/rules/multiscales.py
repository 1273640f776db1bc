"""Rules MS, with AX-11 and CT-01 to CT-07 of 0.4 and 0.5, and OM: multiscales, transformations and display of an image.

LM-11 to LM-13 of lamella's own rules are here too: two channels of one name, a level that is listed twice, and a second
multiscale are valid, and each reader decides what they mean.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING

from lamella.errors import counted
from lamella.spec.rules.axes import check_axes, check_systems
from lamella.spec.rules.transformations import check_further_list, check_level_list
from lamella.spec.rules.value import (
    array_axes,
    axis_kind,
    axis_names,
    check_inner_version,
    datasets,
    describe,
    find_list,
    intrinsic_system,
    is_equal,
    is_number,
    is_sizeless,
    level_scale,
    numbers,
    systems,
)

if TYPE_CHECKING:
    from lamella.spec.rules.value import Findings, Value
    from lamella.types import JSON


def check_multiscales(ome: Value) -> Findings:
    """Check ``multiscales`` of an image."""
    listed = ome.raw.get("multiscales")
    if "multiscales" not in ome.raw:
        yield ome.finding("MS-01", "there are no multiscales", "list at least one")
        return
    if not isinstance(listed, list) or not listed:
        yield ome.wrong("MS-01", "multiscales", "list at least one multiscale")
        return
    for index, multiscale in enumerate(ome["multiscales"]):
        if not isinstance(multiscale.raw, dict):
            yield multiscale.finding("MS-01", f"the entry is {multiscale}", "write an object")
            continue
        if index and is_equal(multiscale.raw, listed[0]):
            yield multiscale.finding("MS-01", "the entry repeats the first one", "remove it")
        yield from _check_multiscale(multiscale)


def _check_multiscale(multiscale: Value) -> Findings:
    traits = multiscale.traits
    yield from check_inner_version(multiscale, "VE-01")
    yield from _check_description(multiscale)
    if traits.coordinate_systems:
        yield from _check_coordinate_systems(multiscale)
    else:
        yield from _check_plain_axes(multiscale)
    axes = array_axes(multiscale.raw, traits)
    yield from _check_datasets(multiscale, axes)
    if traits.coordinate_systems:
        yield from check_further_list(multiscale)
    elif "coordinateTransformations" in multiscale.raw:
        yield from check_plain_list(multiscale, len(axes) if axes else None, "CT-07")
    if axes:
        yield from _check_scales(multiscale, axes)


def _check_description(multiscale: Value) -> Findings:
    raw = multiscale.raw
    if "name" not in raw:
        yield multiscale.finding("MS-08", "the multiscale has no name", "name it")
    elif not isinstance(raw["name"], str):
        yield multiscale.wrong("MS-08", "name", "write a string", name="the name", level="MUST")
    if "type" not in raw:
        yield multiscale.finding("MS-09", "the downscaling method is not named", 'add type, such as "mean"')
    if "metadata" not in raw:
        found = "the downscaling method is not described"
        yield multiscale.finding("MS-10", found, "add metadata, an object")
    elif not isinstance(raw["metadata"], dict):
        yield multiscale.wrong("MS-10", "metadata", "write an object")


def _check_plain_axes(multiscale: Value) -> Findings:
    axes = multiscale.raw.get("axes")
    if "axes" not in multiscale.raw:
        yield multiscale.finding("MS-02", "the multiscale has no axes", "list its axes")
    elif not isinstance(axes, list) or not axes:
        yield multiscale.wrong("MS-02", "axes", "list 2 to 5 axes")
    else:
        yield from check_axes(multiscale["axes"])


def _check_coordinate_systems(multiscale: Value) -> Findings:
    raw, remedy = multiscale.raw, "list at least one, with name and axes"
    if "coordinateSystems" not in raw:
        if "axes" in raw:
            found = "the axes are not in a coordinate system"
            yield multiscale.finding("MS-02", found, "move them into one", "axes")
        yield multiscale.finding("CS-01", "the multiscale has no coordinateSystems", remedy)
        return
    if raw["coordinateSystems"] == []:
        yield multiscale.finding("CS-01", "coordinateSystems is empty", remedy, "coordinateSystems")
    yield from check_systems(multiscale, rule="CS-01", bounded=True)


def _check_datasets(multiscale: Value, axes: list[JSON] | None) -> Findings:
    levels = yield from find_list(multiscale, "datasets", "MS-03", "list its levels", name="multiscale")
    own_systems, intrinsic = systems(multiscale.raw), intrinsic_system(multiscale.raw)
    for dataset in levels or ():
        if not isinstance(dataset.raw, dict):
            yield dataset.finding("MS-03", f"the dataset is {dataset}", "write an object with a path")
            continue
        yield from _check_path(dataset)
        if multiscale.traits.coordinate_systems:
            yield from check_level_list(dataset, own_systems, intrinsic)
        elif "coordinateTransformations" not in dataset.raw:
            found = "the dataset has no coordinateTransformations"
            yield dataset.finding("CT-01", found, "list at least a scale")
        else:
            yield from check_plain_list(dataset, len(axes) if axes else None)


def _check_path(dataset: Value) -> Findings:
    path = dataset.raw.get("path")
    if "path" not in dataset.raw:
        yield dataset.finding("MS-04", "the dataset has no path", "write the path of its array")
    elif not isinstance(path, str):
        yield dataset.wrong("MS-04", "path", "write a string", name="the path")
    elif not path or path.startswith("/") or ".." in path.split("/"):
        found = f"the path {describe(path)} leaves the group"
        yield dataset.finding("MS-04", found, "write a path below the group", "path")


def _check_scales(multiscale: Value, axes: list[JSON]) -> Findings:
    """Check the scales of all levels together (MS-05, AX-11, CT-06)."""
    scales = [(index, level_scale(dataset)) for index, dataset in datasets(multiscale.raw)]
    complete = [(index, scale) for index, scale in scales if scale and len(scale) == len(axes)]
    if not complete:
        return
    for (_, finer), (index, coarser) in pairwise(complete):
        if math.prod(coarser) < math.prod(finer) * (1 - 1e-6):
            found = "this level has smaller pixels than the one before"
            remedy = "list the levels from the finest to the coarsest"
            yield multiscale.finding("MS-05", found, remedy, "datasets", index)
            break
    first_level, first_scale = complete[0]
    for index, axis in enumerate(axes):
        if is_sizeless(axis) and first_level == 0 and first_scale[index] != 1:
            found = f"the channel axis is scaled by {describe(first_scale[index])} at the finest level"
            yield multiscale.finding("CT-06", found, "write 1.0: channels have no size", "datasets", 0)
    yield from _check_stack_order(multiscale, axes, first_scale)


def _check_stack_order(multiscale: Value, axes: list[JSON], scale: list[float]) -> Findings:
    names = axis_names(axes)
    if names is None:
        return
    stack = [
        (name.lower(), factor)
        for name, factor, axis in zip(names, scale, axes, strict=True)
        if axis_kind(axis) == "space"
    ]
    order = [name for name, _ in stack]
    is_stack = sorted(order) == ["x", "y", "z"]
    if is_stack and order != ["z", "y", "x"] and len({factor for _, factor in stack}) > 1:
        key = "coordinateSystems" if multiscale.traits.coordinate_systems else "axes"
        found = f"the space axes of a stack are {', '.join(order)}"
        yield multiscale.finding("AX-11", found, "order them z, y, x", key)


def check_plain_list(owner: Value, axes: int | None, rule: str | None = None) -> Findings:
    """Check the list ``coordinateTransformations`` of scale and translation for a number of axes, None if unknown.

    All findings are reported under ``rule`` (CT-07 for the list of a whole multiscale).
    """
    steps = owner["coordinateTransformations"]
    if not isinstance(steps.raw, list) or not steps.raw:
        yield steps.finding(rule or "CT-01", f"coordinateTransformations is {steps}", "list at least a scale")
        return
    for entry in steps:
        yield from _check_entry(entry, axes, rule)
    kinds = [entry.get("type") if isinstance(entry, dict) else None for entry in steps.raw]
    if kinds.count("scale") != 1:
        yield steps.finding(
            rule or "CT-03", f"the list has {kinds.count('scale')} scales", "keep exactly one"
        )
    translations = [index for index, kind in enumerate(kinds) if kind == "translation"]
    if len(translations) > 1:
        found = f"the list has {len(translations)} translations"
        yield steps.finding(rule or "CT-04", found, "keep one, the sum of all", translations[1])
    if translations and "scale" in kinds[translations[0] :]:
        found = "the translation comes before the scale"
        remedy = "list the scale first; multiply the translation by the scale if the order was meant"
        yield steps.finding(rule or "CT-04", found, remedy, translations[0])


def _check_entry(entry: Value, axes: int | None, rule: str | None) -> Findings:
    if not isinstance(entry.raw, dict):
        yield entry.finding(rule or "CT-01", f"the transformation is {entry}", "write an object with a type")
        return
    allowed, kind = entry.traits.dataset_types, entry.raw.get("type")
    if not isinstance(kind, str):
        yield entry.wrong(rule or "CT-01", "type", f"write one of {', '.join(allowed)}", name="the type")
    elif kind not in allowed:
        yield entry.wrong(rule or "CT-02", "type", f"use only {' and '.join(allowed)}", name="the type")
    elif kind not in entry.raw:
        remedy = "add the list of numbers or remove the entry"
        yield entry.finding(rule or "CT-02", f"the {kind} has no {kind}", remedy)
    elif (values := numbers(entry.raw[kind])) is None:
        yield entry.wrong(rule or "CT-05", kind, "write one number for each axis", name=f"the {kind}")
    elif len(values) < 2 or len(values) != (axes or len(values)):
        for_axes = "" if axes in (None, len(values)) else f" for {axes} axes"
        found = f"the {kind} has {counted(len(values), 'number')}{for_axes}"
        yield entry.finding(rule or "CT-05", found, "write one number for each axis", kind)


def check_readings(ome: Value) -> Findings:
    """Check the choices that a reader of one image document must make."""
    entries = ome.raw.get("multiscales")
    if isinstance(entries, list) and len(entries) > 1:
        found = f"there are {len(entries)} multiscales"
        remedy = "keep one, and store the others as images of their own"
        yield ome.finding("LM-12", found, remedy, "multiscales", 1)
    for multiscale in ome.objects("multiscales"):
        yield from _check_paths(multiscale)
    if isinstance(ome.raw.get("omero"), dict):
        yield from _check_labels(ome["omero"])


def _check_paths(multiscale: Value) -> Findings:
    seen: set[str] = set()
    for index, dataset in datasets(multiscale.raw):
        path = dataset.get("path")
        if not isinstance(path, str):
            continue
        if path in seen:
            found = f"the level {describe(path)} is listed twice"
            yield multiscale.finding("LM-13", found, "list it once", "datasets", index, "path")
        seen.add(path)


def _check_labels(omero: Value) -> Findings:
    seen: set[str] = set()
    for channel in omero.objects("channels"):
        label = channel.raw.get("label")
        if label is None:
            yield channel.finding("LM-11", "the channel has no name", "write a label")
        if not isinstance(label, str):
            continue
        if label in seen:
            found = f"two channels are named {describe(label)}"
            yield channel.finding("LM-11", found, "name each differently", "label")
        seen.add(label)


_HEX_COLOR = re.compile(r"[0-9A-Fa-f]{6}")


def check_omero(ome: Value) -> Findings:
    """Check ``omero`` of an image, which is optional."""
    if "omero" not in ome.raw:
        return
    omero = ome["omero"]
    if not isinstance(omero.raw, dict):
        yield omero.finding("OM-01", f"omero is {omero}", "write an object with channels")
        return
    if not isinstance(omero.raw.get("channels"), list):
        yield omero.wrong("OM-01", "channels", "list one object per channel")
        return
    for channel in omero["channels"]:
        if not isinstance(channel.raw, dict):
            yield channel.finding("OM-01", f"the channel is {channel}", "write an object")
            continue
        yield from _check_plain_fields(channel)
        yield from _check_color(channel)
        yield from _check_window(channel)


def _check_plain_fields(channel: Value) -> Findings:
    raw = channel.raw
    for key in ("label", "family"):
        if key in raw and not isinstance(raw[key], str):
            yield channel.wrong("OM-01", key, "write a string", name=f"the {key}")
    if "active" in raw and not isinstance(raw["active"], bool):
        yield channel.wrong("OM-01", "active", "write true or false")


def _check_color(channel: Value) -> Findings:
    color = channel.raw.get("color")
    if "color" not in channel.raw:
        yield channel.finding("OM-02", "the channel has no color", 'add six hex digits, such as "00FF00"')
    elif not isinstance(color, str) or not _HEX_COLOR.fullmatch(color):
        remedy = 'write six hex digits without #, such as "00FF00"'
        yield channel.wrong("OM-02", "color", remedy, name="the color", level="MUST")


def _check_window(channel: Value) -> Findings:
    if "window" not in channel.raw:
        yield channel.finding("OM-03", "the channel has no window", "add start, end, min and max")
        return
    window = channel.raw["window"]
    if not isinstance(window, dict):
        yield channel.wrong(
            "OM-03", "window", "write start, end, min and max", name="the window", level="MUST"
        )
        return
    for key in ("start", "end", "min", "max"):
        if not is_number(window.get(key)):
            yield channel["window"].wrong(
                "OM-03", key, "write a number", name=f"{key} of the window", level="MUST"
            )
