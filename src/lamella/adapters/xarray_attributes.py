"""Store the attrs of labelled arrays, and time axes that follow from writes, in an image's attributes.

Pure functions on attributes; other keys survive. The keys are listed in docs/design.md. Attrs that iohub stored
(``attributes["iohub"]["xarray_attrs"]``) are read, never written.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.spec.own_key import OWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.adapters.xarray_grid import TimeGrid
    from lamella.types import JSON, JSONObject

_THEIRS = "iohub"
_ATTRS, _TIMES = "xarray_attrs", "xarray_times"


def user_attributes(attributes: JSONObject) -> JSONObject:
    """Return the attrs with which a DataArray was stored.

    >>> user_attributes({"iohub": {"xarray_attrs": {"a": 1, "b": 1}}, "lamella": {"xarray_attrs": {"b": 2}}})
    {'a': 1, 'b': 2}
    """
    return {**_part(attributes, _THEIRS, _ATTRS), **_part(attributes, OWN, _ATTRS)}


def with_user_attributes(attributes: JSONObject, attrs: JSONObject) -> JSONObject:
    """Return attributes with the attrs of a DataArray added to those stored before; new values replace old ones.

    >>> with_user_attributes({"lamella": {"xarray_attrs": {"a": 1}}}, {"b": 2})
    {'lamella': {'xarray_attrs': {'a': 1, 'b': 2}}}
    """
    return (
        _with_part(attributes, _ATTRS, {**_part(attributes, OWN, _ATTRS), **attrs}) if attrs else attributes
    )


def written_times(attributes: JSONObject, image: str) -> tuple[float, float | None] | None:
    """Return start and step of the timepoints of an image, if writes of timepoints have set them; else None.

    The step is None for a single timepoint of unknown distance to the next.

    >>> written_times({"lamella": {"xarray_times": {"0": {"start": 3.0, "step": None}}}}, "0")
    (3.0, None)
    """
    record = _part(attributes, OWN, _TIMES).get(image)
    if not isinstance(record, dict) or not isinstance(record.get("start"), int | float):
        return None
    step = record.get("step")
    return float(record["start"]), float(step) if isinstance(step, int | float) else None


def with_written_times(attributes: JSONObject, image: str, grid: TimeGrid) -> JSONObject:
    """Return attributes that record start and step of timepoints as following from writes."""
    record = {"start": grid.start, "step": grid.step if grid.known else None}
    return _with_part(attributes, _TIMES, {**_part(attributes, OWN, _TIMES), image: record})


def _part(attributes: JSONObject, owner: str, name: str) -> JSONObject:
    own = attributes.get(owner)
    part = own.get(name) if isinstance(own, dict) else None
    return part if isinstance(part, dict) else {}


def _with_part(attributes: JSONObject, name: str, part: JSONObject) -> JSONObject:
    own = attributes.get(OWN)
    return {**attributes, OWN: {**(own if isinstance(own, dict) else {}), name: part}}


def as_json(attrs: Mapping[Any, Any]) -> JSONObject:
    """Return the attrs of a DataArray as JSON: numpy numbers and arrays become numbers and lists, tuples lists.

    Raise InvalidArgumentError for a key that is not text, or a value that JSON does not support.

    >>> as_json({"gain": np.float32(2), "size": (1, 2)})
    {'gain': 2.0, 'size': [1, 2]}
    """
    return {_key(key): _value(value, f"attrs[{key!r}]") for key, value in attrs.items()}


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidArgumentError(
            f"The attrs of the DataArray have the key {key!r}; a stored key has to be text."
        )
    return str(key)


def _value(value: Any, where: str) -> JSON:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {_key(key): _value(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if (
        value is None
        or isinstance(value, bool | int | str)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    raise InvalidArgumentError(
        f"{where} of the DataArray is {value!r}, a {type(value).__name__}, which is not JSON. Remove it, or store "
        "it as a number, a text, or lists and dicts of these."
    )
