"""Records in lamella's own key of a node's attributes, ``{"lamella": {name: record}}``, which other readers ignore.

Most records describe an operation of several steps while it runs, so that a later call can finish it after a kill:
``{"lamella": {"appending_channel": {"name": "GFP", "after": 2}}}`` is in an image while its third channel is appended.
docs/design.md has an example of each. Pure functions on attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lamella.types import JSON, JSONObject


OWN_KEY = "lamella"

STAGE = "stage"
"""Name of the record of the position of the first voxel on the stage, by axis, which `convert` stores."""


def own_record(attributes: JSON, name: str) -> JSON:
    """Return the record under a name; None if it is missing. `attributes` may be any JSON."""
    own = attributes.get(OWN_KEY) if isinstance(attributes, dict) else None
    return own.get(name) if isinstance(own, dict) else None


def own_object(attributes: JSON, name: str) -> JSONObject:
    """Return the record under a name, if it is an object; else an empty one."""
    record = own_record(attributes, name)
    return record if isinstance(record, dict) else {}


def with_own_record(attributes: JSONObject, name: str, record: JSON) -> JSONObject:
    """Return attributes with a record under a name, or without it (None); an empty key is removed.

    >>> with_own_record({"lab": 1}, "creating", "a"), with_own_record({"lamella": {"creating": "a"}}, "creating", None)
    ({'lab': 1, 'lamella': {'creating': 'a'}}, {})
    """
    if record is None:
        return without_own_records(attributes, (name,))
    own = attributes.get(OWN_KEY)
    records = {key: value for key, value in own.items() if key != name} if isinstance(own, dict) else {}
    other_attributes = {key: value for key, value in attributes.items() if key != OWN_KEY}
    return {**other_attributes, OWN_KEY: {**records, name: record}}


def without_own_records(attributes: JSONObject, names: Collection[str]) -> JSONObject:
    """Return attributes without the records under some names; an empty key is removed."""
    own = attributes.get(OWN_KEY)
    if not isinstance(own, dict) or own.keys().isdisjoint(names):
        return attributes
    records = {key: value for key, value in own.items() if key not in names}
    other_attributes = {key: value for key, value in attributes.items() if key != OWN_KEY}
    return {**other_attributes, OWN_KEY: records} if records else other_attributes


_RENAMING = "renaming"
_SWAPPED = "swapped_wells"
_DELETING = "deleting_channel"
_APPENDING = "appending_channel"
_REPLACING = "replacing"
_CREATING = "creating"
_TOKEN = "replaces"
_COMPARED_INSIDE = ("ome", "lamella")
_UNFINISHED = frozenset((_APPENDING, _DELETING, _REPLACING))


def is_unfinished(attributes: JSONObject) -> bool:
    """Return whether an image has a record of an append, a deletion or a replacement, even a damaged record."""
    own = attributes.get(OWN_KEY)
    return isinstance(own, dict) and not own.keys().isdisjoint(_UNFINISHED)


class Renaming(NamedTuple):
    """A member of a group that is being renamed, such as a well."""

    old: str
    new: str


class Appending(NamedTuple):
    """The record of a channel that is being appended."""

    name: str
    after: int
    """Number of channels before it."""


class RenamingRecord(NamedTuple):
    """The record of a member that is being renamed.

    Where folders can be renamed, it has only the names. Elsewhere the files are copied, the new name is listed, and
    then the old files are deleted.
    """

    renaming: Renaming
    token: str = ""
    """Identifies the call that copies the files."""
    state: str = ""
    """`COPYING` or `COPIED`."""


COPYING = "copying"
"""The old name is listed and complete; files under the new name are copies, perhaps not all of them."""
COPIED = "copied"
"""The new name is listed and complete; files under the old name remain to be deleted."""


def read_renaming_record(attributes: JSONObject) -> RenamingRecord | None:
    """Read the record of a member that is being renamed."""
    record = own_record(attributes, _RENAMING)
    if not isinstance(record, dict):
        return None
    old, new = record.get("from"), record.get("to")
    if not isinstance(old, str) or not isinstance(new, str):
        return None
    token, state = record.get("by"), record.get("state")
    is_copy = isinstance(token, str) and state in (COPYING, COPIED)
    return RenamingRecord(
        Renaming(old, new), token if isinstance(token, str) else "", str(state) if is_copy else ""
    )


def with_renaming_record(attributes: JSONObject, record: RenamingRecord | None) -> JSONObject:
    """Record in attributes which member is being renamed, or remove the record (None)."""
    if record is None:
        return with_own_record(attributes, _RENAMING, None)
    (old, new), token, state = record
    state_keys = {key: value for key, value in (("by", token), ("state", state)) if value}
    return with_own_record(attributes, _RENAMING, {"from": old, "to": new, **state_keys})


def read_swapped(attributes: JSONObject) -> list[list[str]]:
    """Return the old and the new path of each well that the last swap of names renamed."""
    record = own_record(attributes, _SWAPPED)
    return record if isinstance(record, list) else []  # its items are not checked, but only compared


def with_swapped(attributes: JSONObject, wells: list[list[str]] | None) -> JSONObject:
    """Record in attributes which wells have swapped names, or remove the record (None)."""
    return with_own_record(attributes, _SWAPPED, wells)


def read_appending(attributes: JSONObject) -> Appending | None:
    """Read which channel is being appended to an image."""
    record = own_record(attributes, _APPENDING)
    name, after = (record.get("name"), record.get("after")) if isinstance(record, dict) else (None, None)
    return Appending(name, after) if isinstance(name, str) and isinstance(after, int) else None


def with_appending(attributes: JSONObject, appending: Appending | None) -> JSONObject:
    """Record in attributes which channel is being appended, or remove the record (None)."""
    return with_own_record(attributes, _APPENDING, None if appending is None else appending._asdict())


class Deleting(NamedTuple):
    """The record of a channel that is being deleted from all levels of an image, one after the other."""

    name: str
    number: int
    """Index of the channel along the channel axis."""
    levels: list[JSONObject]
    """The lower levels, as models store them: the image does not list them until their arrays lack the channel."""
    done: list[str]
    """Paths of the levels whose arrays lack the channel."""
    entries: Sequence[JSONObject] = ()
    """The lower levels as the document lists them, with keys that no model has."""


def read_deleting(attributes: JSONObject) -> Deleting | None:
    """Read which channel of an image is being deleted."""
    record = own_record(attributes, _DELETING)
    if not isinstance(record, dict):
        return None
    name, number, levels, done, entries = (record.get(key) for key in Deleting._fields)
    if not isinstance(levels, list) or not isinstance(done, list):
        return None
    if not isinstance(name, str) or not isinstance(number, int):
        return None
    entries = entries if isinstance(entries, list) else []
    if not all(isinstance(level, dict) for level in [*levels, *entries]):
        return None
    return Deleting(name, number, levels, done, entries)


def with_deleting(attributes: JSONObject, deleting: Deleting | None) -> JSONObject:
    """Record in attributes which channel is being deleted, or remove the record (None)."""
    return with_own_record(attributes, _DELETING, None if deleting is None else deleting._asdict())


class Replacing(NamedTuple):
    """The record of an array of an image that is being replaced."""

    name: str
    by: str
    """Temporary name of the new array."""
    token: str
    """The attributes of the new array have this token too, which identifies it under either name."""
    after: JSONObject
    """Changes of the image's document that are made when the new array has its final name."""


def read_replacing(attributes: JSONObject) -> Replacing | None:
    """Read which array of an image is being replaced."""
    record = own_record(attributes, _REPLACING)
    if not isinstance(record, dict):
        return None
    name, by, token, after = (record.get(key) for key in Replacing._fields)
    are_texts = isinstance(name, str) and isinstance(by, str) and isinstance(token, str)
    return Replacing(name, by, token, after) if are_texts and isinstance(after, dict) else None  # type: ignore[arg-type]


def with_replacing(attributes: JSONObject, replacing: Replacing | None) -> JSONObject:
    """Record in attributes which array is being replaced, or remove the record (None)."""
    return with_own_record(attributes, _REPLACING, None if replacing is None else replacing._asdict())


def replacement_token(attributes: JSONObject) -> str | None:
    """Return the token of an array that replaces another one; None for all other arrays."""
    token = own_record(attributes, _TOKEN)
    return token if isinstance(token, str) else None


def with_token(attributes: JSONObject, token: str | None) -> JSONObject:
    """Return attributes of an array with the token that identifies a replacement, or without one (None).

    >>> with_token(with_token({"mine": 1}, "a"), None)
    {'mine': 1}
    """
    return with_own_record(attributes, _TOKEN, token)


def read_creating(attributes: JSONObject) -> str | None:
    """Return the token of the call that creates a label image; None for one that is complete."""
    token = own_record(attributes, _CREATING)
    return token if isinstance(token, str) else None


def with_creating(attributes: JSONObject, token: str | None) -> JSONObject:
    """Record in attributes of a label image that it is being created, or remove the record (None).

    >>> with_creating({"mine": 1}, "a"), with_creating(with_creating({"mine": 1}, "a"), None)
    ({'mine': 1, 'lamella': {'creating': 'a'}}, {'mine': 1})
    """
    return with_own_record(attributes, _CREATING, token)


def difference(before: JSONObject, after: JSONObject) -> JSONObject:
    """Return the changed keys of attributes, also inside ``ome`` and ``lamella``; a removed key has None.

    >>> difference({"ome": {"version": "0.5", "labels": ["a"]}, "mine": 1}, {"ome": {"version": "0.5"}, "mine": 1})
    {'ome': {'labels': None}}
    """
    changes: JSONObject = {}
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if key in _COMPARED_INSIDE and isinstance(old, dict) and isinstance(new, dict):
            new = {name: new.get(name) for name in {**old, **new} if old.get(name) != new.get(name)}
            old = {}
        if old != new:
            changes[key] = new
    return changes


def apply_difference(attributes: JSONObject, changes: JSONObject) -> JSONObject:
    """Return attributes with a `difference` applied.

    >>> apply_difference({"ome": {"version": "0.5", "labels": ["a"]}, "mine": 1}, {"ome": {"labels": None}, "its": 2})
    {'ome': {'version': '0.5'}, 'mine': 1, 'its': 2}
    """
    changed = dict(attributes)
    for key, new in changes.items():
        old = changed.get(key)
        if key in _COMPARED_INSIDE and isinstance(old, dict) and isinstance(new, dict):
            merged = {**old, **new}
            changed[key] = {name: value for name, value in merged.items() if value is not None} or None
        else:
            changed[key] = new
    return {key: value for key, value in changed.items() if value is not None or key not in changes}
