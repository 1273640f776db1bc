"""Fix images and labels: transformations, colours, windows, the list of labels, names of dimensions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lamella.ops.repair.fixes import fixes
from lamella.spec.channels import channel_color
from lamella.spec.rules.value import (
    array_axes,
    axis_names,
    datasets,
    is_integer,
    is_number,
    multiscales,
    numbers,
    objects,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.repair.fixes import Facts
    from lamella.spec.rules import VersionTraits
    from lamella.types import JSON, JSONObject

_COLOR = re.compile(r"(?:#|0[xX])?([0-9A-Fa-f]{6})")
_SHORT_COLOR = re.compile(r"#?([0-9A-Fa-f])([0-9A-Fa-f])([0-9A-Fa-f])")
_INTEGER = re.compile(r"(u?)int(8|16|32|64)")


_TYPES_IN_ORDER = ("time", "channel", "space")
_TYPE_OF_NAME = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
"""Types of the axes whose names leave no other choice."""


# -- axes ----------------------------------------------------------------------------------------------------------


@fixes("AX-03", kinds=("image",))
def add_axis_types(ome: JSONObject, facts: Facts) -> None:
    """Add the types that names of axes imply, if all axes are then in the order of types, each but space once."""
    if facts.traits.coordinate_systems:
        return  # the axes of several systems would have to agree
    for _, entry in multiscales(ome):
        axes = array_axes(entry, facts.traits) or []
        names = axis_names(axes) or []
        types = [
            axis.get("type", _TYPE_OF_NAME.get(name.lower()))
            for axis, name in zip(axes, names, strict=False)
            if isinstance(axis, dict)
        ]
        known = [kind for kind in types if isinstance(kind, str) and kind in _TYPES_IN_ORDER]
        once = [kind for kind in known if kind != "space"]
        is_in_order = known == sorted(known, key=_TYPES_IN_ORDER.index)
        if len(known) < len(axes) or not is_in_order or len(set(once)) < len(once):
            continue
        for axis, kind in zip(axes, known, strict=True):
            if isinstance(axis, dict):
                axis.setdefault("type", kind)


# -- transformations -----------------------------------------------------------------------------------------------


@fixes("CT-02", "CT-03", "CT-04", "CT-07", kinds=("image",))
def order_transformations(ome: JSONObject, facts: Facts) -> None:
    """Write one scale and at most one translation with the effect of the list."""
    if facts.traits.coordinate_systems:
        return
    for _, multiscale in multiscales(ome):
        axes = array_axes(multiscale, facts.traits)
        if axes is None:
            continue
        for owner in (multiscale, *(dataset for _, dataset in datasets(multiscale))):
            ordered = as_scale_and_translation(owner.get("coordinateTransformations"), len(axes))
            if ordered is not None:
                owner["coordinateTransformations"] = ordered


def as_scale_and_translation(transformations: JSON, ndim: int) -> list[JSONObject] | None:
    """Return an equivalent scale and at most one translation; None if they are in this form already, or unreadable."""
    if not isinstance(transformations, list) or not transformations:
        return None
    kinds = [
        transformation.get("type") if isinstance(transformation, dict) else None
        for transformation in transformations
    ]
    if kinds in (["scale"], ["scale", "translation"]):
        return None
    scale: list[float] = [1.0] * ndim
    translation: list[float] = [0.0] * ndim
    for kind, transformation in zip(kinds, transformations, strict=True):
        if kind == "identity":
            continue
        numbers_of_axes: JSON = transformation.get(kind) if kind in ("scale", "translation") else None
        parameters = numbers(numbers_of_axes)
        if parameters is None or len(parameters) != ndim:
            return None
        if kind == "scale":
            scale = _product(scale, numbers_of_axes)
            translation = _product(translation, numbers_of_axes)
        else:
            translation = [shift + value for shift, value in zip(translation, numbers_of_axes, strict=True)]
    ordered: list[JSONObject] = [{"type": "scale", "scale": list(map(_as_integer, scale))}]
    if "translation" in kinds:
        ordered.append({"type": "translation", "translation": list(map(_as_integer, translation))})
    return ordered


def _product(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [factor * value for factor, value in zip(first, second, strict=True)]


def _as_integer(number: float) -> float:
    """Return a whole number as an integer if that is exact; other numbers unchanged."""
    return int(number) if float(number).is_integer() and abs(number) < 2**53 else number


# -- channels ------------------------------------------------------------------------------------------------------


@fixes("OM-02", kinds=("image",))
def write_plain_colors(ome: JSONObject, facts: Facts) -> None:
    """Write channel colors as six hex digits; a missing one is chosen from the channel's name."""
    for _, channel in _channels(ome):
        if "color" not in channel:
            if not facts.traits.coordinate_systems:  # optional in 0.6
                channel["color"] = channel_color(str(channel.get("label", "")))
            continue
        color = channel["color"].strip() if isinstance(channel["color"], str) else ""
        if match := _COLOR.fullmatch(color):
            channel["color"] = match[1]
        elif match := _SHORT_COLOR.fullmatch(color):
            channel["color"] = "".join(2 * digit for digit in match.groups())


@fixes("OM-03", kinds=("image",))
def complete_windows(ome: JSONObject, facts: Facts) -> None:
    """Complete windows: min and max are the range of the data type, start and end are min and max."""
    bounds = dtype_range(facts.dtype)
    for _, channel in _channels(ome):
        window = channel.get("window", {} if not facts.traits.coordinate_systems else None)
        if not isinstance(window, dict):
            continue
        edges = {key: window[key] for key in ("start", "end", "min", "max") if is_number(window.get(key))}
        if len(edges) == 4:
            continue
        low, high = bounds or (edges.get("start", edges.get("min")), edges.get("end", edges.get("max")))
        if low is None or high is None:
            continue
        lowest, highest = edges.get("min", low), edges.get("max", high)
        complete = {
            "start": edges.get("start", lowest),
            "end": edges.get("end", highest),
            "min": lowest,
            "max": highest,
        }
        channel["window"] = {**window, **complete}


def dtype_range(dtype: str) -> tuple[float, float] | None:
    """Return the smallest and the largest value of an integer type; None for other types."""
    match = _INTEGER.fullmatch(dtype)
    if match is None:
        return None
    bits = int(match[2])
    return (0, 2**bits - 1) if match[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _channels(ome: JSONObject) -> list[tuple[int, JSONObject]]:
    omero = ome.get("omero")
    return list(objects(omero.get("channels"))) if isinstance(omero, dict) else []


# -- labels --------------------------------------------------------------------------------------------------------


@fixes("LB-01", "LB-02", kinds=("labels",))
def list_labels(ome: JSONObject, facts: Facts) -> None:
    """List the label images that exist, each once: first those that are listed, then the others."""
    stored = ome.get("labels")
    listed = stored if isinstance(stored, list) else []
    existing = [path for path in listed if isinstance(path, str) and path not in facts.lost]
    # In 0.4 the writer decides which label images are listed.
    unlisted = facts.unlisted if not isinstance(stored, list) or facts.traits.wrapper else ()
    ome["labels"] = list(dict.fromkeys([*existing, *unlisted]))


@fixes("LB-10", kinds=("label",))
def write_byte_colors(ome: JSONObject, _facts: Facts) -> None:
    """Write label colors as four integers from 0 to 255: fractions are scaled, other values rounded and clipped."""
    label = ome.get("image-label")
    colors = [color for _, color in objects(label.get("colors"))] if isinstance(label, dict) else []
    rgba_of_colors = [numbers(color.get("rgba")) for color in colors]
    components = [component for rgba in rgba_of_colors if rgba is not None for component in rgba]
    # All colors of a label image have one scale: if a component is 0.5 and none is above 1, a component of 1 is 255.
    are_fractions = any(0 < value < 1 for value in components) and all(
        0 <= value <= 1 for value in components
    )
    for color, rgba in zip(colors, rgba_of_colors, strict=True):
        if rgba is None or len(rgba) not in (3, 4):
            continue
        factor = 255 if are_fractions else 1
        new = [min(255, max(0, round(value * factor))) for value in rgba]
        new += [255] * (4 - len(new))
        if (
            len(rgba) != 4
            or are_fractions
            or not all(is_integer(value) and 0 <= value <= 255 for value in rgba)
        ):
            color["rgba"] = new


@fixes("LB-11", kinds=("label",))
def keep_last_colors(ome: JSONObject, _facts: Facts) -> None:
    """Keep the last of several colors of a label, as readers should (LB-11)."""
    label = ome.get("image-label")
    if not isinstance(label, dict) or not isinstance(label.get("colors"), list):
        return
    last_index = {
        color["label-value"]: index
        for index, color in objects(label["colors"])
        if is_number(color.get("label-value"))
    }
    label["colors"] = [
        color
        for index, color in enumerate(label["colors"])
        if not (isinstance(color, dict) and is_number(color.get("label-value")))
        or last_index[color["label-value"]] == index
    ]


# -- arrays --------------------------------------------------------------------------------------------------------


def dimension_names(
    ome: JSONObject, path: str, stored: tuple[str | None, ...] | None, ndim: int, traits: VersionTraits
) -> list[str] | None:
    """Return the dimension names that an array lacks (ST-05); None if correct, unknown, or in another order (AX-12)."""
    for _, multiscale in multiscales(ome):
        axes = array_axes(multiscale, traits)
        names = axis_names(axes) if axes else None
        if (
            names is None
            or len(names) != ndim
            or all(dataset.get("path") != path for _, dataset in datasets(multiscale))
        ):
            continue
        if stored is not None and (list(stored) == names or sorted(map(str, stored)) == sorted(names)):
            return None
        return names
    return None
