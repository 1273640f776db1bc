"""Store the attrs of a DataArray in the attributes of an image, and read those that lamella or iohub stored there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.spec.own_key import own_object, with_own_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.types import JSON, JSONObject

_ATTRS = "xarray_attrs"


def user_attributes(attributes: JSONObject) -> JSONObject:
    """Return the stored attrs; of a key that both stored, the value of lamella, not of iohub."""
    iohub = attributes.get("iohub")
    attrs = iohub.get(_ATTRS) if isinstance(iohub, dict) else None
    return {**(attrs if isinstance(attrs, dict) else {}), **own_object(attributes, _ATTRS)}


def with_user_attributes(attributes: JSONObject, attrs: JSONObject) -> JSONObject:
    """Return attributes with the attrs of a DataArray added to those stored before; new values replace old ones."""
    return (
        with_own_record(attributes, _ATTRS, {**own_object(attributes, _ATTRS), **attrs})
        if attrs
        else attributes
    )


def as_json(attrs: Mapping[Any, Any]) -> JSONObject:
    """Return the attrs of a DataArray as JSON, with numpy values as numbers and lists; raise for other objects."""
    return {_text_key(key): _json_value(value, f"attrs[{key!r}]") for key, value in attrs.items()}


def _text_key(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidArgumentError(
            f"The attrs of the DataArray have the key {key!r}; a stored key has to be text."
        )
    return str(key)


def _json_value(value: Any, where: str) -> JSON:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {_text_key(key): _json_value(element, f"{where}[{key!r}]") for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(element, f"{where}[{index}]") for index, element in enumerate(value)]
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
