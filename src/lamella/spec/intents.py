"""What a call of several steps is about to do, as the document says it while the call runs, and after a kill.

The specification has no place for this, so it stands under lamella's own key of the group's attributes, which other
readers pass over. A plate of which a well is being renamed, and an image to which a channel is being appended::

    "lamella": {"renaming": {"from": "B/2", "to": "D/7"}}
    "lamella": {"appending_channel": {"name": "Cy5", "after": 2}}

An image of which an array is being replaced by one that is written beside it, with what the document says then::

    "lamella": {"replacing": {"name": "0", "by": ".lamella-...new", "token": "...", "after": {"multiscales": [...]}}}

Layer: spec. Pure functions on attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lamella.types import JSON, JSONObject

_OURS = "lamella"
_RENAMING = "renaming"
_APPENDING = "appending_channel"


_REPLACING = "replacing"
_TOKEN = "replaces"
_PARTS = ("ome", "lamella")


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


class Replacing(NamedTuple):
    """An array of an image that is being replaced.

    Attributes
    ----------
    name
        Of the array.
    by
        Name of the new one until it is in its place.
    token
        What the attributes of the new one say until all is done, so that it is known wherever it is.
    after
        What of the document is other when it is there.
    """

    name: str
    by: str
    token: str
    after: JSONObject


def read_replacing(attributes: JSONObject) -> Replacing | None:
    """Read which array of an image is being replaced.

    >>> read_replacing({"lamella": {"replacing": {"name": "0", "by": ".x", "token": "a", "after": {}}}})
    Replacing(name='0', by='.x', token='a', after={})
    """
    found = _read(attributes, _REPLACING)
    if not isinstance(found, dict):
        return None
    name, by, token, after = (found.get(key) for key in Replacing._fields)
    texts = isinstance(name, str) and isinstance(by, str) and isinstance(token, str)
    return Replacing(name, by, token, after) if texts and isinstance(after, dict) else None  # type: ignore[arg-type]


def with_replacing(attributes: JSONObject, replacing: Replacing | None) -> JSONObject:
    """Return attributes that say which array is being replaced; None: none is."""
    return _with(attributes, _REPLACING, None if replacing is None else replacing._asdict())


def replaces(attributes: JSONObject) -> str | None:
    """Return the token of an array that is put in the place of another one; None of all others."""
    found = _read(attributes, _TOKEN)
    return found if isinstance(found, str) else None


def with_token(attributes: JSONObject, token: str | None) -> JSONObject:
    """Return attributes of an array with the token by which it is known while it replaces another one; None: without.

    >>> with_token(with_token({"mine": 1}, "a"), None)
    {'mine': 1}
    """
    return _with(attributes, _TOKEN, token)


def difference(before: JSONObject, after: JSONObject) -> JSONObject:
    """Return what is other in some attributes, key by key, also in the parts of OME and of lamella; None: it is gone.

    >>> difference({"ome": {"version": "0.5", "labels": ["a"]}, "mine": 1}, {"ome": {"version": "0.5"}, "mine": 1})
    {'ome': {'labels': None}}
    """
    found: JSONObject = {}
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if key in _PARTS and isinstance(old, dict) and isinstance(new, dict):
            new = {name: new.get(name) for name in {**old, **new} if old.get(name) != new.get(name)}
            old = {}
        if old != new:
            found[key] = new
    return found


def changed(attributes: JSONObject, by: JSONObject) -> JSONObject:
    """Return attributes with a `difference` made.

    >>> changed({"ome": {"version": "0.5", "labels": ["a"]}, "mine": 1}, {"ome": {"labels": None}, "its": 2})
    {'ome': {'version': '0.5'}, 'mine': 1, 'its': 2}
    """
    found = dict(attributes)
    for key, new in by.items():
        old = found.get(key)
        parts = {**old, **new} if key in _PARTS and isinstance(old, dict) and isinstance(new, dict) else None
        found[key] = (
            new
            if parts is None
            else {name: value for name, value in parts.items() if value is not None} or None
        )
    return {key: value for key, value in found.items() if value is not None or key not in by}


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
