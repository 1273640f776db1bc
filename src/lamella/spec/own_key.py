"""Lamella's own key of a node's attributes, which other readers ignore: one record under each name in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamella.types import JSON, JSONObject

OWN = "lamella"


def own_record(attributes: JSON, name: str) -> JSON:
    """Return the record under a name; None if it is missing. `attributes` may be any JSON."""
    own = attributes.get(OWN) if isinstance(attributes, dict) else None
    return own.get(name) if isinstance(own, dict) else None


def with_own_record(attributes: JSONObject, name: str, record: JSON) -> JSONObject:
    """Return attributes with a record under a name, or without it (None); an empty key is removed.

    >>> with_own_record({"lab": 1}, "creating", "a"), with_own_record({"lamella": {"creating": "a"}}, "creating", None)
    ({'lab': 1, 'lamella': {'creating': 'a'}}, {})
    """
    own = attributes.get(OWN)
    if record is None and not (isinstance(own, dict) and name in own):
        return attributes
    records = {key: value for key, value in own.items() if key != name} if isinstance(own, dict) else {}
    if record is not None:
        records[name] = record
    rest = {key: value for key, value in attributes.items() if key != OWN}
    return {**rest, OWN: records} if records else rest
