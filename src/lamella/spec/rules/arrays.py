"""Rules that compare an image document with facts of its arrays; no array is opened here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lamella.spec.rules.raw_json import array_axes, axis_names, datasets, describe, multiscales, ome_object
from lamella.spec.rules.version_traits import LABEL_DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject


@dataclass(frozen=True)
class ArrayFacts:
    """The facts of an array that the rules need.

    Attributes
    ----------
    shape
        Lengths per axis, in the order of the axes.
    dtype
        Name of the data type without byte order, such as ``"uint16"``.
    dimension_names
        Names stored with the array (Zarr v3), None if there are none.
    separator
        Separator of its chunk keys, ``"/"`` or ``"."``.
    zarr_format
        2 or 3.
    """

    shape: tuple[int, ...]
    dtype: str
    dimension_names: tuple[str | None, ...] | None = None
    separator: str = "/"
    zarr_format: int = 3


@dataclass(frozen=True)
class ParentImage:
    """The image that a label image belongs to: its attributes as stored, and its arrays by dataset path."""

    attributes: JSON
    arrays: Mapping[str, ArrayFacts]


def check_image_arrays(
    ome: JSONObject, at: Location, arrays: Mapping[str, ArrayFacts], context: RuleContext
) -> Iterator[Finding]:
    """Compare each multiscale with its arrays."""
    for index, multiscale in multiscales(ome):
        where = (*at, "multiscales", index, "datasets")
        axes = array_axes(multiscale, context.traits)
        levels: list[tuple[Location, ArrayFacts]] = []
        for number, dataset in datasets(multiscale):
            path = dataset.get("path")
            if not isinstance(path, str):
                continue
            spot = (*where, number, "path")
            if path not in arrays:
                yield context.finding(
                    "MS-04",
                    spot,
                    f"there is no array {describe(path)}",
                    "write the array, or remove the dataset",
                )
                continue
            levels.append((spot, arrays[path]))
            yield from _check_storage(arrays[path], spot, context)
            if axes is not None:
                yield from _check_dimensions(arrays[path], axes, spot, context)
        yield from _check_levels(levels, context)


def _check_storage(facts: ArrayFacts, at: Location, context: RuleContext) -> Iterator[Finding]:
    expected = context.traits.zarr_format
    if facts.zarr_format != expected:
        rule = {2: "ST-01", 3: "ST-02"}[expected]
        yield context.finding(
            rule, at, f"the array is Zarr v{facts.zarr_format}", f"store it as Zarr v{expected}"
        )
    separator = context.traits.chunk_separator
    if separator is not None and facts.separator != separator:
        yield context.finding(
            "ST-04", at, f"the chunk keys are separated by {describe(facts.separator)}", f"use '{separator}'"
        )


def _check_dimensions(
    facts: ArrayFacts, axes: list[JSON], at: Location, context: RuleContext
) -> Iterator[Finding]:
    if len(facts.shape) != len(axes):
        yield context.finding(
            "AX-05",
            at,
            f"the array has {len(facts.shape)} dimensions, there are {len(axes)} axes",
            "describe each dimension once",
        )
        return
    names = axis_names(axes)
    if names is None:
        return
    stored = facts.dimension_names
    if stored is None:
        yield context.finding("ST-05", at, "the array has no dimension_names", f"write {describe(names)}")
    elif list(stored) == names:
        return
    elif None not in stored and sorted(map(str, stored)) == sorted(names):
        yield context.finding(
            "AX-12",
            at,
            f"the dimensions of the array are {describe(list(stored))}, the axes {describe(names)}",
            "put the axes in the order of the dimensions",
        )
    else:
        yield context.finding(
            "ST-05", at, f"dimension_names are {describe(list(stored))}", f"write {describe(names)}"
        )


def _check_levels(levels: list[tuple[Location, ArrayFacts]], context: RuleContext) -> Iterator[Finding]:
    if not levels:
        return
    first = levels[0][1]
    for at, facts in levels:
        if len(facts.shape) != len(first.shape):
            yield context.finding(
                "MS-06",
                at,
                f"the array has {len(facts.shape)} dimensions, the first level {len(first.shape)}",
                "give all levels the same dimensions",
            )
        elif len(facts.shape) > 5:
            yield context.finding(
                "MS-06", at, f"the array has {len(facts.shape)} dimensions", "use at most 5"
            )
        if facts.dtype != first.dtype:
            yield context.finding(
                "MS-07",
                at,
                f"the array is {facts.dtype}, the first level {first.dtype}",
                "give all levels the same data type",
            )
    for (_, finer), (at, coarser) in pairwise(levels):
        if len(finer.shape) == len(coarser.shape) and math.prod(coarser.shape) > math.prod(finer.shape):
            yield context.finding(
                "MS-05",
                at,
                f"shape {describe(list(coarser.shape))} follows {describe(list(finer.shape))}",
                "list the levels from the finest to the coarsest",
            )


def check_label_arrays(
    ome: JSONObject,
    at: Location,
    arrays: Mapping[str, ArrayFacts],
    parent: ParentImage | None,
    context: RuleContext,
) -> Iterator[Finding]:
    """Compare a label image with its arrays and its image (LB-03 to LB-05, LB-14, LB-15)."""
    entries = list(multiscales(ome))
    if not entries:
        yield context.finding(
            "LB-03", at, "the label image has no multiscales", "describe it as an image, too"
        )
        return
    for index, multiscale in entries:
        where = (*at, "multiscales", index, "datasets")
        for number, dataset in datasets(multiscale):
            path = dataset.get("path")
            facts = arrays.get(path) if isinstance(path, str) else None
            if facts is not None and facts.dtype not in LABEL_DTYPES:
                yield context.finding(
                    "LB-05",
                    (*where, number, "path"),
                    f"the array is {facts.dtype}",
                    "store labels as integers",
                )
    if parent is not None:
        index, multiscale = entries[0]
        yield from _check_parent(multiscale, (*at, "multiscales", index), arrays, parent, context)


def _check_parent(
    multiscale: JSONObject,
    at: Location,
    arrays: Mapping[str, ArrayFacts],
    parent: ParentImage,
    context: RuleContext,
) -> Iterator[Finding]:
    entries = list(multiscales(ome_object(parent.attributes, context.traits)))
    if not entries:
        yield context.finding(
            "LB-15", at, "the parent of the label image has no multiscales", "put labels in an image"
        )
        return
    image = entries[0][1]
    levels, expected = datasets(multiscale), datasets(image)
    if len(levels) != len(expected):
        yield context.finding(
            "LB-04",
            (*at, "datasets") if "datasets" in multiscale else at,
            f"the label image has {len(levels)} levels, its image {len(expected)}",
            "write as many levels",
        )
    axes = [array_axes(entry, context.traits) for entry in (multiscale, image)]
    names = [axis_names(found) if found else None for found in axes]
    for (number, level), (_, dataset) in zip(levels, expected, strict=False):
        label = _lengths(level, arrays, names[0])
        size = _lengths(dataset, parent.arrays, names[1])
        for name, length in label.items():
            if name in size and length not in (size[name], 1):
                yield context.finding(
                    "LB-14",
                    (*at, "datasets", number, "path"),
                    f"axis {describe(name)} is {length} long, {size[name]} in the image",
                    "give it the length of the image, or 1",
                )


def _lengths(
    dataset: JSONObject, arrays: Mapping[str, ArrayFacts], names: list[str] | None
) -> dict[str, int]:
    path = dataset.get("path")
    facts = arrays.get(path) if isinstance(path, str) else None
    if facts is None or names is None or len(names) != len(facts.shape):
        return {}
    return dict(zip(names, facts.shape, strict=True))
