"""What a call of several steps is about to do, as the document says it while the call runs, and after a kill.

The specification has no place for this, so it stands under lamella's own key of the group's attributes, which other
readers pass over. A plate of which a well is being renamed, and an image to which a channel is being appended::

    "lamella": {"renaming": {"from": "B/2", "to": "D/7"}}
    "lamella": {"appending_channel": {"name": "Cy5", "after": 2}}

Layer: spec. Pure functions on attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lamella.types import JSON, JSONObject

_OURS = "lamella"
_RENAMING = "renaming"
_APPENDING = "appending_channel"


class Renaming(NamedTuple):
    """A well that is being renamed."""

    old: str
    new: str


class Appending(NamedTuple):
    """A channel that is being appended, after so many others."""

    name: str
    after: int


def read_renaming(attributes: JSONObject) -> Renaming | None:
    """Read which well of a plate is being renamed.

    >>> read_renaming({"lamella": {"renaming": {"from": "B/2", "to": "D/7"}}})
    Renaming(old='B/2', new='D/7')
    """
    found = _read(attributes, _RENAMING)
    old, new = (found.get("from"), found.get("to")) if isinstance(found, dict) else (None, None)
    return Renaming(old, new) if isinstance(old, str) and isinstance(new, str) else None


def with_renaming(attributes: JSONObject, renaming: Renaming | None) -> JSONObject:
    """Return attributes that say which well is being renamed; None: none is.

    >>> with_renaming({"lamella": {"renaming": {}}, "mine": 1}, None)
    {'mine': 1}
    """
    value: JSON = None if renaming is None else {"from": renaming.old, "to": renaming.new}
    return _with(attributes, _RENAMING, value)


def read_appending(attributes: JSONObject) -> Appending | None:
    """Read which channel is being appended to an image.

    >>> read_appending({"lamella": {"appending_channel": {"name": "Cy5", "after": 2}}})
    Appending(name='Cy5', after=2)
    """
    found = _read(attributes, _APPENDING)
    name, after = (found.get("name"), found.get("after")) if isinstance(found, dict) else (None, None)
    return Appending(name, after) if isinstance(name, str) and isinstance(after, int) else None


def with_appending(attributes: JSONObject, appending: Appending | None) -> JSONObject:
    """Return attributes that say which channel is being appended; None: none is."""
    value: JSON = None if appending is None else {"name": appending.name, "after": appending.after}
    return _with(attributes, _APPENDING, value)


def _read(attributes: JSONObject, key: str) -> JSON:
    own = attributes.get(_OURS) if isinstance(attributes, dict) else None  # as stored: any JSON
    return own.get(key) if isinstance(own, dict) else None


def _with(attributes: JSONObject, key: str, value: JSON) -> JSONObject:
    own = attributes.get(_OURS)
    if value is None and not (isinstance(own, dict) and key in own):
        return attributes
    kept = {name: other for name, other in own.items() if name != key} if isinstance(own, dict) else {}
    if value is not None:
        kept[key] = value
    rest = {name: other for name, other in attributes.items() if name != _OURS}
    return {**rest, _OURS: kept} if kept else rest
