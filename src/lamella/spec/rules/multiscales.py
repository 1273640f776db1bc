"""Rules MS, with AX-11 and CT-01 to CT-07 of 0.4 and 0.5: the multiscales of an image and their transformations.

The last are LM-11 to LM-13 of lamella's own: two channels of one name, a level that is listed twice and a second
multiscale are valid, and each reader decides what they mean.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from lamella.spec.rules.axes import check_axes
from lamella.spec.rules.catalogue import own_finding
from lamella.spec.rules.coordinate_systems import check_systems
from lamella.spec.rules.raw_json import (
    array_axes,
    axis_kind,
    axis_names,
    datasets,
    describe,
    is_equal,
    is_sizeless,
    level_scale,
    multiscales,
    numbers,
    omero_channels,
)
from lamella.spec.rules.transformations import check_further_list, check_level_list
from lamella.spec.rules.version_traits import check_inner_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject


def check_multiscales(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check ``multiscales`` of an image."""
    if "multiscales" not in ome:
        yield context.finding("MS-01", at, "there are no multiscales", "list at least one")
        return
    value = ome["multiscales"]
    where = (*at, "multiscales")
    if not isinstance(value, list) or not value:
        yield context.finding(
            "MS-01", where, f"multiscales is {describe(value)}", "list at least one multiscale"
        )
        return
    for index, multiscale in enumerate(value):
        if not isinstance(multiscale, dict):
            yield context.finding(
                "MS-01", (*where, index), f"the entry is {describe(multiscale)}", "write an object"
            )
            continue
        if index and is_equal(multiscale, value[0]):
            yield context.finding("MS-01", (*where, index), "the entry repeats the first one", "remove it")
        yield from _check_multiscale(multiscale, (*where, index), context)


def _check_multiscale(multiscale: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    yield from check_inner_version(multiscale, at, "VE-01", context)
    yield from _check_description(multiscale, at, context)
    if context.traits.coordinate_systems:
        yield from _check_coordinate_systems(multiscale, at, context)
    else:
        yield from _check_plain_axes(multiscale, at, context)
    yield from _check_datasets(multiscale, at, context)
    if context.traits.coordinate_systems:
        yield from check_further_list(multiscale, at, context)
    elif "coordinateTransformations" in multiscale:
        axes = array_axes(multiscale, context.traits)
        yield from check_plain_list(
            multiscale["coordinateTransformations"],
            (*at, "coordinateTransformations"),
            len(axes) if axes else None,
            context,
            "CT-07",
        )
    yield from _check_scales(multiscale, at, context)


def _check_description(multiscale: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    if "name" not in multiscale:
        yield context.finding("MS-08", at, "the multiscale has no name", "name it")
    elif not isinstance(multiscale["name"], str):
        yield context.finding(
            "MS-08",
            (*at, "name"),
            f"the name is {describe(multiscale['name'])}",
            "write a string",
            level="MUST",
        )
    if "type" not in multiscale:
        yield context.finding("MS-09", at, "the downscaling method is not named", 'add type, such as "mean"')
    if "metadata" not in multiscale:
        yield context.finding(
            "MS-10", at, "the downscaling method is not described", "add metadata, an object"
        )
    elif not isinstance(multiscale["metadata"], dict):
        yield context.finding(
            "MS-10", (*at, "metadata"), f"metadata is {describe(multiscale['metadata'])}", "write an object"
        )


def _check_plain_axes(multiscale: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    if "axes" not in multiscale:
        yield context.finding("MS-02", at, "the multiscale has no axes", "list its axes")
    elif not isinstance(multiscale["axes"], list) or not multiscale["axes"]:
        yield context.finding(
            "MS-02", (*at, "axes"), f"axes is {describe(multiscale['axes'])}", "list 2 to 5 axes"
        )
    else:
        yield from check_axes(multiscale["axes"], (*at, "axes"), context)


def _check_coordinate_systems(
    multiscale: JSONObject, at: Location, context: RuleContext
) -> Iterator[Finding]:
    where = (*at, "coordinateSystems")
    if "coordinateSystems" not in multiscale:
        if "axes" in multiscale:
            yield context.finding(
                "MS-02", (*at, "axes"), "the axes are not in a coordinate system", "move them into one"
            )
        yield context.finding(
            "CS-01", at, "the multiscale has no coordinateSystems", "list at least one, with name and axes"
        )
        return
    if multiscale["coordinateSystems"] == []:
        yield context.finding(
            "CS-01", where, "coordinateSystems is empty", "list at least one, with name and axes"
        )
    yield from check_systems(multiscale["coordinateSystems"], where, context, rule="CS-01", bounded=True)


def _check_datasets(multiscale: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    if "datasets" not in multiscale:
        yield context.finding("MS-03", at, "the multiscale has no datasets", "list its levels")
        return
    value = multiscale["datasets"]
    where = (*at, "datasets")
    if not isinstance(value, list) or not value:
        yield context.finding("MS-03", where, f"datasets is {describe(value)}", "list its levels")
        return
    axes = array_axes(multiscale, context.traits)
    for index, dataset in enumerate(value):
        spot = (*where, index)
        if not isinstance(dataset, dict):
            yield context.finding(
                "MS-03", spot, f"the dataset is {describe(dataset)}", "write an object with a path"
            )
            continue
        yield from _check_path(dataset, spot, context)
        if context.traits.coordinate_systems:
            yield from check_level_list(dataset, spot, multiscale, context)
        elif "coordinateTransformations" not in dataset:
            yield context.finding(
                "CT-01", spot, "the dataset has no coordinateTransformations", "list at least a scale"
            )
        else:
            yield from check_plain_list(
                dataset["coordinateTransformations"],
                (*spot, "coordinateTransformations"),
                len(axes) if axes else None,
                context,
            )


def _check_path(dataset: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    if "path" not in dataset:
        yield context.finding("MS-04", at, "the dataset has no path", "write the path of its array")
        return
    path = dataset["path"]
    if not isinstance(path, str):
        yield context.finding("MS-04", (*at, "path"), f"the path is {describe(path)}", "write a string")
    elif not path or path.startswith("/") or ".." in path.split("/"):
        yield context.finding(
            "MS-04",
            (*at, "path"),
            f"the path {describe(path)} leaves the group",
            "write a path below the group",
        )


def _check_scales(multiscale: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check the scales of all levels together (MS-05, AX-11, CT-06)."""
    axes = array_axes(multiscale, context.traits)
    scales = [(index, level_scale(dataset)) for index, dataset in datasets(multiscale)]
    known = [(index, scale) for index, scale in scales if scale and axes and len(scale) == len(axes)]
    if not known or axes is None:
        return
    for (_, finer), (index, coarser) in pairwise(known):
        if math.prod(coarser) < math.prod(finer) * (1 - 1e-6):
            yield context.finding(
                "MS-05",
                (*at, "datasets", index),
                "this level has smaller pixels than the one before",
                "list the levels from the finest to the coarsest",
            )
            break
    first_place, first = known[0]
    for index, axis in enumerate(axes):
        if is_sizeless(axis) and first_place == 0 and first[index] != 1:
            yield context.finding(
                "CT-06",
                (*at, "datasets", 0),
                f"the channel axis is scaled by {describe(first[index])} at the finest level",
                "write 1.0: channels have no size",
            )
    yield from _check_stack_order(axes, first, at, context)


def _check_stack_order(
    axes: list[JSON], scale: list[float], at: Location, context: RuleContext
) -> Iterator[Finding]:
    names = axis_names(axes)
    if names is None:
        return
    stack = [
        (name.lower(), factor)
        for name, factor, axis in zip(names, scale, axes, strict=True)
        if axis_kind(axis) == "space"
    ]
    order = [name for name, _ in stack]
    if (
        sorted(order) == ["x", "y", "z"]
        and order != ["z", "y", "x"]
        and len({factor for _, factor in stack}) > 1
    ):
        key = "coordinateSystems" if context.traits.coordinate_systems else "axes"
        yield context.finding(
            "AX-11", (*at, key), f"the space axes of a stack are {', '.join(order)}", "order them z, y, x"
        )


def check_plain_list(
    value: JSON, at: Location, axes: int | None, context: RuleContext, rule: str | None = None
) -> Iterator[Finding]:
    """Check a list of scale and translation for a number of axes, None if unknown.

    All findings are reported under ``rule`` (CT-07 for the list of a whole multiscale).
    """
    if not isinstance(value, list) or not value:
        yield context.finding(
            rule or "CT-01", at, f"coordinateTransformations is {describe(value)}", "list at least a scale"
        )
        return
    kinds: list[str] = []
    for index, transformation in enumerate(value):
        kinds.append(_kind(transformation))
        yield from _check_entry(transformation, (*at, index), axes, context, rule)
    if kinds.count("scale") != 1:
        yield context.finding(
            rule or "CT-03", at, f"the list has {kinds.count('scale')} scales", "keep exactly one"
        )
    yield from _check_translations(kinds, at, context, rule)


def _kind(transformation: JSON) -> str:
    kind = transformation.get("type") if isinstance(transformation, dict) else None
    return kind if isinstance(kind, str) else ""


def _check_entry(
    entry: JSON, at: Location, axes: int | None, context: RuleContext, rule: str | None
) -> Iterator[Finding]:
    if not isinstance(entry, dict):
        yield context.finding(
            rule or "CT-01", at, f"the transformation is {describe(entry)}", "write an object with a type"
        )
        return
    allowed = context.traits.dataset_types
    if not isinstance(entry.get("type"), str):
        where = (*at, "type") if "type" in entry else at
        yield context.finding(
            rule or "CT-01",
            where,
            f"the type is {describe(entry.get('type'))}",
            f"write one of {', '.join(allowed)}",
        )
        return
    kind = entry["type"]
    if kind not in allowed:
        yield context.finding(
            rule or "CT-02",
            (*at, "type"),
            f"the type is {describe(kind)}",
            f"use only {' and '.join(allowed)}",
        )
    elif kind not in entry:
        yield context.finding(
            rule or "CT-02", at, f"the {kind} has no {kind}", "add the list of numbers or remove the entry"
        )
    else:
        yield from _check_values(entry, at, axes, context, rule)


def _check_values(
    entry: JSONObject, at: Location, axes: int | None, context: RuleContext, rule: str | None
) -> Iterator[Finding]:
    kind = entry["type"]
    value, at = entry[kind], (*at, kind)
    values = numbers(value)
    if values is None:
        yield context.finding(
            rule or "CT-05", at, f"the {kind} is {describe(value)}", "write one number for each axis"
        )
    elif axes is not None and len(values) != axes:
        yield context.finding(
            rule or "CT-05",
            at,
            f"the {kind} has {len(values)} numbers for {axes} axes",
            "write one number for each axis",
        )
    elif len(values) < 2:
        yield context.finding(
            rule or "CT-05", at, f"the {kind} has {len(values)} numbers", "write one number for each axis"
        )


def _check_translations(
    kinds: list[str], at: Location, context: RuleContext, rule: str | None
) -> Iterator[Finding]:
    translations = [index for index, kind in enumerate(kinds) if kind == "translation"]
    if len(translations) > 1:
        yield context.finding(
            rule or "CT-04",
            (*at, translations[1]),
            f"the list has {len(translations)} translations",
            "keep one, the sum of all",
        )
    if translations and "scale" in kinds[translations[0] :]:
        yield context.finding(
            rule or "CT-04",
            (*at, translations[0]),
            "the translation comes before the scale",
            "list the scale first; multiply the translation by the scale if the order was meant",
        )


def check_readings(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check the choices that a reader of one image document must make."""
    entries = ome.get("multiscales")
    if isinstance(entries, list) and len(entries) > 1:
        yield own_finding(
            "LM-12",
            context.node,
            f"there are {len(entries)} multiscales",
            "keep one, and store the others as images of their own",
            at=(*at, "multiscales", 1),
        )
    for index, multiscale in multiscales(ome):
        yield from _check_paths(multiscale, (*at, "multiscales", index, "datasets"), context)
    yield from _check_labels(ome, at, context)


def _check_paths(multiscale: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, dataset in datasets(multiscale):
        path = dataset.get("path")
        if not isinstance(path, str):
            continue
        if path in seen:
            yield own_finding(
                "LM-13",
                context.node,
                f"the level {describe(path)} is listed twice",
                "list it once",
                at=(*at, index, "path"),
            )
        seen.add(path)


def _check_labels(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, channel in enumerate(omero_channels(ome) or []):
        label = channel.get("label")
        if label is None:
            yield own_finding(
                "LM-11",
                context.node,
                "the channel has no name",
                "write a label",
                at=(*at, "omero", "channels", index),
            )
        if isinstance(label, str) and label in seen:
            yield own_finding(
                "LM-11",
                context.node,
                f"two channels are named {describe(label)}",
                "name each differently",
                at=(*at, "omero", "channels", index, "label"),
            )
        if isinstance(label, str):
            seen.add(label)
