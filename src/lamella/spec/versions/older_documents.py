"""Read documents of OME-NGFF 0.1, 0.2 and 0.3, which lack values that 0.4 requires.

They have no units, no transformations and, before 0.3, no axes. Missing values are guessed, and readers report the
guesses: the axes are t, c, z, y, x, and level 2 is scaled by 4 along y and x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.spec.base import json_copy
from lamella.spec.images import ImagesMeta
from lamella.spec.plate import PlateMeta
from lamella.spec.versions.base import version_as_text

if TYPE_CHECKING:
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject

_OLDER_NAMES = ("0.1", "0.2", "0.3")
_AXIS_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def refuse_older(version: str) -> NoReturn:
    """Raise the error for writing a version before 0.4."""
    raise InvalidArgumentError(
        f"OME-NGFF {version} is read, not written: upgrade the store to 0.4, 0.5 or 0.6 first."
    )


def stated_older(ome: JSONObject | None) -> str | None:
    """Return the version before 0.4 that an image states, unless its content is of 0.4; None for all others."""
    multiscales = (ome or {}).get("multiscales")
    if not isinstance(multiscales, list) or not multiscales or not isinstance(multiscales[0], dict):
        return None
    return _version_of_image(multiscales[0]) if _stated(multiscales[0]) in _OLDER_NAMES else None


def older_name(attributes: JSONObject) -> str | None:
    """Return the version of a document before 0.4; None for all others.

    Documents of 0.4 with a wrong or missing version are recognised by their axes or wells.
    """
    multiscales = attributes.get("multiscales")
    if isinstance(multiscales, list) and multiscales and isinstance(multiscales[0], dict):
        return _version_of_image(multiscales[0])
    if isinstance(attributes.get("plate"), dict):
        return _version_of_plate(attributes["plate"])
    for key in ("well", "image-label"):
        part = attributes.get(key)
        if isinstance(part, dict) and _stated(part) in _OLDER_NAMES:
            return str(_stated(part))
    return None


def _stated(part: JSONObject) -> JSON:
    """Return the version that a part of a document states; as text if it is a number."""
    return version_as_text(part.get("version"))


def _version_of_image(image: JSONObject) -> str | None:
    stated, axes, datasets = _stated(image), image.get("axes"), image.get("datasets")
    levels = datasets if isinstance(datasets, list) else []
    if any(isinstance(level, dict) and "coordinateTransformations" in level for level in levels):
        return None
    if axes is None:
        return _stated_or(stated, "0.2")
    if isinstance(axes, list) and axes and all(isinstance(axis, str) for axis in axes):
        return stated if stated in _OLDER_NAMES else "0.3"
    return None


def _version_of_plate(plate: JSONObject) -> str | None:
    wells = plate.get("wells")
    if isinstance(wells, list) and wells:
        if any(isinstance(well, dict) and "rowIndex" in well for well in wells):
            return None
        return _stated_or(_stated(plate), "0.3")
    return _stated_or(_stated(plate), None)


def _stated_or(stated: JSON, default: str | None) -> str | None:
    """Return a stated version before 0.4, the default if none is stated, and None for a later version."""
    if stated is None:
        return default
    return str(stated) if stated in _OLDER_NAMES else None


def guesses_of(ome: JSONObject, version: str) -> str | None:
    """Describe the values that are guessed when an image of a version before 0.4 is read; None without guesses."""
    multiscales = json_copy(ome.get("multiscales"))
    guesses: dict[str, None] = {}
    for scales in multiscales if isinstance(multiscales, list) else []:
        if isinstance(scales, dict):
            guesses |= dict.fromkeys(_fill_image(scales))
    return f"OME-NGFF {version} states no {', and no '.join(guesses)}" if guesses else None


def decode_older(kind: type[MetaModel], part: JSONObject) -> JSONObject:
    """Fill in the values that 0.4 requires and older documents lack; existing values stay."""
    if kind is ImagesMeta and isinstance(part.get("multiscales"), list):
        for scales in part["multiscales"]:
            if isinstance(scales, dict):
                _fill_image(scales)
    elif kind is PlateMeta and isinstance(part.get("wells"), list):
        _fill_wells(part)
    return part


def _fill_image(scales: JSONObject) -> list[str]:
    """Fill in the axes and scales of an image; return the guesses in words."""
    guesses = []
    axes = scales.get("axes")
    if axes is None:
        axes = list(_AXIS_TYPES)
        guesses.append("axes: lamella assumes t, c, z, y, x")
    if isinstance(axes, list) and all(isinstance(axis, str) for axis in axes):
        axes = [_as_axis_object(name) for name in axes]
    scales["axes"] = axes
    if not isinstance(axes, list):
        return []
    datasets = scales.get("datasets")
    unscaled = [
        (level, dataset)
        for level, dataset in enumerate(datasets if isinstance(datasets, list) else [])
        if isinstance(dataset, dict) and "coordinateTransformations" not in dataset
    ]
    names = [str(axis.get("name")) if isinstance(axis, dict) else "" for axis in axes]
    plane_axes = [name for name in names if name.lower() in ("y", "x")]
    for level, dataset in unscaled:
        factors = [2.0**level if name in plane_axes else 1.0 for name in names]
        dataset["coordinateTransformations"] = [{"type": "scale", "scale": factors}]
    if unscaled:
        guesses.append(
            "pixel sizes: lamella assumes that level n is 2**n times coarser than level 0 along "
            + (" and ".join(plane_axes) or "no axis")
        )
    return guesses


def _as_axis_object(name: str) -> JSONObject:
    kind = _AXIS_TYPES.get(name.lower())
    return {"name": name} | ({"type": kind} if kind else {})


def _fill_wells(plate: JSONObject) -> None:
    """Set the indices of the wells from their paths: before 0.4 a well has only its path."""
    names = {}
    for key in ("rows", "columns"):
        rows_or_columns = plate.get(key)
        names[key] = [
            str(row_or_column["name"])
            if isinstance(row_or_column, dict) and "name" in row_or_column
            else None
            for row_or_column in (rows_or_columns if isinstance(rows_or_columns, list) else [])
        ]
    for number, well in enumerate(plate["wells"]):
        if not isinstance(well, dict) or not isinstance(well.get("path"), str):
            continue
        row_and_column = well["path"].strip("/").split("/")
        keys = ("rows", "rowIndex", row_and_column[0]), ("columns", "columnIndex", row_and_column[-1])
        for key, index, name in keys:
            if index in well:
                continue
            if name not in names[key]:
                raise MetadataError(
                    f"plate.wells[{number}].path: {well['path']!r} is not in the {key} of the plate."
                )
            well[index] = names[key].index(name)
