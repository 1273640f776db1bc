"""Fix values of a wrong type or spelling: numbers that are text, names that are numbers, synonyms of units."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from lamella.ops.repair.fixes import fixes
from lamella.spec.rules.value import objects
from lamella.spec.units import unit_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.ops.repair.fixes import Facts
    from lamella.types import JSON, JSONObject

_EACH_ENTRY = "*"
"""A step of a path that matches every entry of a list."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_PARAMETERS = ("scale", "translation", "affine", "rotation")
_EDGES = ("start", "end", "min", "max")


@fixes("CT-05", "CT-07", "CT-28", "CT-29", "CT-31", "CT-32", kinds=("image", "scene"), first=True)
def write_transformations_as_numbers(ome: JSONObject, _facts: Facts) -> None:
    """Write the parameters of transformations as numbers if they are numbers in text."""
    for owner in _owners_of_transformations(ome):
        for _, transformation in objects(owner.get("coordinateTransformations")):
            _write_parameters(transformation)


@fixes("OM-03", kinds=("image",), first=True)
def write_windows_as_numbers(ome: JSONObject, _facts: Facts) -> None:
    """Write the edges of windows as numbers if they are numbers in text."""
    for edge in _EDGES:
        _write_numbers(ome, ("omero", "channels", _EACH_ENTRY, "window", edge))


@fixes("PL-07", kinds=("plate",), first=True)
def write_indices_as_integers(ome: JSONObject, _facts: Facts) -> None:
    """Write the indices of wells as integers if they are integers in text."""
    for key in ("rowIndex", "columnIndex"):
        _write_integers(ome, ("plate", "wells", _EACH_ENTRY, key))


@fixes("PL-08", "PL-09", "PL-10", kinds=("plate",), first=True)
def write_counts_as_integers(ome: JSONObject, _facts: Facts) -> None:
    """Write ids and times of acquisitions and counts of fields as integers if they are integers in text."""
    for key in ("id", "maximumfieldcount", "starttime", "endtime"):
        _write_integers(ome, ("plate", "acquisitions", _EACH_ENTRY, key))
    _write_integers(ome, ("plate", "field_count"))


@fixes("WL-04", kinds=("well",), first=True)
def write_acquisitions_as_integers(ome: JSONObject, _facts: Facts) -> None:
    """Write the acquisitions of images as integers if they are integers in text."""
    _write_integers(ome, ("well", "images", _EACH_ENTRY, "acquisition"))


@fixes("LB-09", "LB-10", "LB-12", kinds=("label",), first=True)
def write_label_values_as_integers(ome: JSONObject, _facts: Facts) -> None:
    """Write label values and the components of their colors as numbers if they are numbers in text."""
    for key in ("colors", "properties"):
        _write_integers(ome, ("image-label", key, _EACH_ENTRY, "label-value"))
    _write_numbers(ome, ("image-label", "colors", _EACH_ENTRY, "rgba", _EACH_ENTRY))


@fixes("BF-01", kinds=("bioformats2raw", "plate"), first=True)
def write_layout_as_integer(ome: JSONObject, _facts: Facts) -> None:
    """Write the number of the layout of bioformats2raw as an integer if it is one in text."""
    _write_integers(ome, ("bioformats2raw.layout",))


@fixes("MS-04", "CT-20", "CT-22", kinds=("image",), first=True)
def write_dataset_paths_as_text(ome: JSONObject, _facts: Facts) -> None:
    """Write paths of datasets as text if they are integers, and those in their transformations."""
    level = ("multiscales", _EACH_ENTRY, "datasets", _EACH_ENTRY)
    _write_texts(ome, (*level, "path"))
    _write_texts(ome, (*level, "coordinateTransformations", _EACH_ENTRY, "input", "path"))


@fixes("WL-01", "WL-02", kinds=("well",), first=True)
def write_image_paths_as_text(ome: JSONObject, _facts: Facts) -> None:
    """Write paths of images as text if they are integers."""
    _write_texts(ome, ("well", "images", _EACH_ENTRY, "path"))


@fixes("PL-01", "PL-02", kinds=("plate",), first=True)
def write_names_as_text(ome: JSONObject, _facts: Facts) -> None:
    """Write names of rows and columns as text if they are integers."""
    for key in ("rows", "columns"):
        _write_texts(ome, ("plate", key, _EACH_ENTRY, "name"))


@fixes("LB-01", kinds=("labels",), first=True)
def write_label_paths_as_text(ome: JSONObject, _facts: Facts) -> None:
    """Write paths of label images as text if they are integers."""
    _write_texts(ome, ("labels", _EACH_ENTRY))


@fixes("BF-05", kinds=("bioformats2raw",), first=True)
def write_series_as_text(ome: JSONObject, _facts: Facts) -> None:
    """Write paths of series as text if they are integers."""
    _write_texts(ome, ("series", _EACH_ENTRY))


@fixes("AX-04", kinds=("image", "scene"), first=True)
def write_names_of_units(ome: JSONObject, _facts: Facts) -> None:
    """Write the names of units of length and time instead of synonyms and symbols."""
    owners = [ome, *(multiscale for _, multiscale in objects(ome.get("multiscales")))]
    owners += [system for owner in owners for _, system in objects(owner.get("coordinateSystems"))]
    if isinstance(scene := ome.get("scene"), dict):
        owners += [system for _, system in objects(scene.get("coordinateSystems"))]
    for owner in owners:
        for _, axis in objects(owner.get("axes")):
            kind, unit = axis.get("type"), axis.get("unit")
            if kind in ("space", "time") and isinstance(unit, str):
                axis["unit"] = unit_name(unit, kind) or unit


# -- values in a document ---------------------------------------------------------------------------------------------


def _owners_and_keys(value: JSON, path: Sequence[str]) -> Iterator[tuple[JSON, str | int]]:
    """Yield the object or list, and the key in it, of each value at a path in which ``*`` matches list entries."""
    first, *steps = path
    keys: list[str | int] = []
    if first == _EACH_ENTRY:
        keys = list(range(len(value))) if isinstance(value, list) else []
    elif isinstance(value, dict) and first in value:
        keys = [first]
    for key in keys:
        if steps:
            yield from _owners_and_keys(value[key], steps)
        else:
            yield value, key


def _write_numbers(ome: JSONObject, path: tuple[str, ...]) -> None:
    for owner, key in _owners_and_keys(ome, path):
        owner[key] = _as_number(owner[key])


def _write_integers(ome: JSONObject, path: tuple[str, ...]) -> None:
    for owner, key in _owners_and_keys(ome, path):
        number = _as_number(owner[key])
        if isinstance(owner[key], str) and isinstance(number, int):
            owner[key] = number


def _write_texts(ome: JSONObject, path: tuple[str, ...]) -> None:
    for owner, key in _owners_and_keys(ome, path):
        if isinstance(owner[key], int) and not isinstance(owner[key], bool):
            owner[key] = str(owner[key])


def _as_number(value: JSON) -> JSON:
    """Return the number in a text (an integer if it is whole); other values unchanged."""
    text = value.strip() if isinstance(value, str) else ""
    if _INTEGER.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text) or not math.isfinite(number := float(text)):
        return value
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _owners_of_transformations(ome: JSONObject) -> Iterator[JSONObject]:
    for _, multiscale in objects(ome.get("multiscales")):
        yield multiscale
        yield from (dataset for _, dataset in objects(multiscale.get("datasets")))
    if isinstance(scene := ome.get("scene"), dict):
        yield scene


def _write_parameters(transformation: JSONObject) -> None:
    """Write the parameters of a transformation, and of those inside it, as numbers."""
    for key in _PARAMETERS:
        if isinstance(transformation.get(key), list):
            transformation[key] = _numbers(transformation[key])
    for _, inner in objects(transformation.get("transformations")):
        nested = inner.get("transformation")
        _write_parameters(nested if isinstance(nested, dict) else inner)


def _numbers(numbers: list[JSON]) -> list[JSON]:
    return [_numbers(number) if isinstance(number, list) else _as_number(number) for number in numbers]
