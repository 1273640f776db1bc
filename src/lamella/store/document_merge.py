"""Three-way merge of JSON documents: apply the changes that a writer made since it read to the present document.

A writer reads ``{"a": 1}``, another stores ``{"a": 1, "b": 2}``, and the first stores ``{"a": 1, "c": 3}``: it added
``c``, and did not remove ``b``, which it never saw.

>>> merged({"a": 1}, {"a": 1, "b": 2}, {"a": 1, "c": 3})
{'a': 1, 'b': 2, 'c': 3}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lamella.errors import MetadataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.types import JSON, JSONObject

_ATTRIBUTES = "attributes"
_SHAPE = "shape"


def same(first: JSON, second: JSON) -> bool:
    """Whether two values have the same JSON: 1, 1.0 and true are equal in Python only."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def changes(base: JSONObject, new: JSONObject) -> int:
    """Count the members that differ, at any depth.

    >>> changes({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 2, "d": 4}, "e": 5})
    3
    """
    count = 0
    for key in {**base, **new}:
        if key not in base or key not in new:
            count += 1
            continue
        old_value, new_value = base[key], new[key]
        if isinstance(old_value, dict) and isinstance(new_value, dict):
            count += changes(old_value, new_value)
        else:
            count += not same(old_value, new_value)
    return count


def merged(base: JSONObject, stored: JSONObject, new: JSONObject) -> JSONObject:
    """Apply the changes from `base` to `new` to `stored`; where both changed a member, `new` wins.

    >>> merged({"a": 1, "b": {"c": 2}}, {"a": 9, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    result = {key: value for key, value in stored.items() if key in new or key not in base}
    for key, value in new.items():
        before, now = base.get(key), result.get(key)
        if isinstance(value, dict) and isinstance(now, dict):
            result[key] = merged(before if isinstance(before, dict) else {}, now, value)
        elif key not in base or not same(before, value):
            result[key] = value
    return result


def nearest(versions: Sequence[JSONObject], new: JSONObject) -> JSONObject:
    """Return the version that a document was most likely made from: the one with the fewest changes, but at least one.

    `versions` are documents that the writer may have read, latest first.
    """
    counts = [changes(version, new) for version in versions]
    least = min((count for count in counts if count), default=0)
    return versions[counts.index(least)]


def merged_array(base: JSONObject, stored: JSONObject, new: JSONObject, where: str) -> JSONObject:
    """Return the members of `stored`, an array's document, that the changes from `base` to `new` replace.

    Raises `MetadataError` where another writer changed the same member. `where` is the array, for messages.
    """
    result: JSONObject = {}
    attributes = [document.get(_ATTRIBUTES) or {} for document in (base, stored, new)]
    if not same(attributes[0], attributes[2]):
        result[_ATTRIBUTES] = merged(*attributes)
    for key in sorted({*base, *new} - {_ATTRIBUTES}):
        if key in base and key in new and same(base[key], new[key]):
            continue
        if key == _SHAPE:
            result[key] = _merged_shape(base, stored, new, where)
        elif key in base and not same(base[key], stored.get(key)):
            raise MetadataError(
                f"Cannot change {key} of the array at {where}: another writer changed it since it was opened. Open "
                "the array again."
            )
        else:
            result[key] = new.get(key)
    return result


def _merged_shape(base: JSONObject, stored: JSONObject, new: JSONObject, where: str) -> list[int]:
    """Return the shape with the axes that the writer changed; raise where another writer changed the same axes."""
    old, now, target = base[_SHAPE], stored[_SHAPE], new[_SHAPE]
    fields = [
        {key: value for key, value in document.items() if key not in (_ATTRIBUTES, _SHAPE)}
        for document in (base, stored)
    ]
    if same(*fields) and len(old) == len(now) == len(target):
        axes = list(zip(old, now, target, strict=True))
        if all(a in (b, c) or b == c for a, b, c in axes):
            return [b if a == c else c for a, b, c in axes]
    raise MetadataError(
        f"Cannot resize the array at {where} from {tuple(old)} to {tuple(target)}: another writer changed its shape to "
        f"{tuple(now)} since it was opened. Open the array again."
    )
