"""Three-way merge of JSON documents: what a writer changed since it read, applied to what is stored by now.

A writer that knows no locks read ``{"a": 1}``, somebody else stored ``{"a": 1, "b": 2}``, and the writer stores
``{"a": 1, "c": 3}``: it added ``c`` and did not remove ``b``, which it never saw.

>>> merged({"a": 1}, {"a": 1, "b": 2}, {"a": 1, "c": 3})
{'a': 1, 'b': 2, 'c': 3}

Pure functions on JSON values.
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


def same(one: JSON, other: JSON) -> bool:
    """Whether two values are written alike: 1, 1.0 and true are equal in Python, and three values in JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def changes(base: JSONObject, new: JSONObject) -> int:
    """Count the members, at any depth of objects, that differ.

    >>> changes({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 2, "d": 4}, "e": 5})
    3
    """
    count = 0
    for key in {**base, **new}:
        if key not in base or key not in new:
            count += 1
            continue
        one, other = base[key], new[key]
        if isinstance(one, dict) and isinstance(other, dict):
            count += changes(one, other)
        else:
            count += not same(one, other)
    return count


def merged(base: JSONObject, stored: JSONObject, new: JSONObject) -> JSONObject:
    """Apply what changed from one object to another to a third one; where both changed a member, the new one counts.

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
    """Return the version that a document was made from: the one with the fewest changes, but some.

    Parameters
    ----------
    versions
        What the writer may have read, the latest first; one at least.
    new
        What it writes.
    """
    counts = [changes(version, new) for version in versions]
    least = min((count for count in counts if count), default=0)
    return versions[counts.index(least)]


def merged_array(base: JSONObject, stored: JSONObject, new: JSONObject, where: str) -> JSONObject:
    """Apply what changed in the document of an array to what is stored by now.

    Parameters
    ----------
    base, stored, new
        The documents: as the writer read it, as it is by now, as the writer would have it. All in one spelling.
    where
        The array, for messages.

    Returns
    -------
    dict
        The members of `stored` that are to be other ones.

    Raises
    ------
    MetadataError
        Somebody else changed a member that the writer changes, too, and both cannot be kept.
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
    """Return the shape with the axes that the writer changed, if nobody else changed these."""
    old, now, wanted = base[_SHAPE], stored[_SHAPE], new[_SHAPE]
    fields = [
        {key: value for key, value in one.items() if key not in (_ATTRIBUTES, _SHAPE)}
        for one in (base, stored)
    ]
    if same(*fields) and len(old) == len(now) == len(wanted):
        axes = list(zip(old, now, wanted, strict=True))
        if all(a in (b, c) or b == c for a, b, c in axes):
            return [b if a == c else c for a, b, c in axes]
    raise MetadataError(
        f"Cannot resize the array at {where} from {tuple(old)} to {tuple(wanted)}: another writer changed its shape to "
        f"{tuple(now)} since it was opened. Open the array again."
    )
