"""The fixes of ``repair``: pure functions from one OME part of a document to another, each for the rules that it fixes.

A fix changes nothing if it would have to guess: the finding stays, and a person decides. Fixes of plates and wells are
in :mod:`lamella.ops.repair.plates`, of images and labels in :mod:`lamella.ops.repair.images`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.spec.rules import VERSION_TRAITS
from lamella.spec.rules.value import objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.spec.rules import Kind, VersionTraits
    from lamella.types import JSON, JSONObject

Fields = list[tuple[str, int | None]]
"""Path and acquisition of each image of a well."""


@dataclass(frozen=True)
class Facts:
    """Facts about the store that a fix needs beside the document of a group in ``version`` 0.4, 0.5 or 0.6."""

    version: str
    lost: frozenset[str] = frozenset()
    """Listed members of a plate, well or labels group that are not in the store."""
    swapped: frozenset[str] = frozenset()
    """Of a plate: missing wells for which an unlisted well is in the store under the exchanged path, column/row."""
    unlisted: tuple[str, ...] = ()
    """Label images in the store that are not listed."""
    fields: dict[str, Fields] | None = None
    """Of a plate: the images of each of its wells; None if a well cannot be read."""
    dtype: str = ""
    """Of an image: the data type of its finest level, such as ``"uint16"``; empty if unknown."""

    @property
    def traits(self) -> VersionTraits:
        """The traits of the version."""
        return VERSION_TRAITS[self.version]


@dataclass(frozen=True)
class Fix:
    """A fix for kinds of documents: ``edit`` changes a copy to follow ``rules``; one with ``first`` runs first."""

    rules: tuple[str, ...]
    kinds: tuple[Kind, ...]
    text: str
    edit: Callable[[JSONObject, Facts], None] = field(repr=False)
    first: bool = False


FIXES: list[Fix] = []
"""All fixes, in the order in which they are applied; those that are `first` run before the others."""


def fixes(
    *rules: str, kinds: tuple[Kind, ...], first: bool = False
) -> Callable[[Callable[[JSONObject, Facts], None]], Callable[[JSONObject, Facts], None]]:
    """Register a function as the fix of some rules; the first line of its docstring describes it."""

    def register(edit: Callable[[JSONObject, Facts], None]) -> Callable[[JSONObject, Facts], None]:
        FIXES.append(Fix(rules, kinds, (edit.__doc__ or "").splitlines()[0], edit, first))
        return edit

    return register


def fixed(kind: Kind, ome: JSONObject, facts: Facts) -> tuple[JSONObject, tuple[str, ...]]:
    """Apply all fixes of a kind of document to a copy; return the OME part and the rules that were fixed.

    >>> import lamella.ops.repair.images
    >>> fixed("image", {"version": "0.5-dev", "omero": {"channels": [{"color": "#FF00FF"}]}}, Facts("0.5"))
    ({'version': '0.5', 'omero': {'channels': [{'color': 'FF00FF'}]}}, ('ST-07', 'OM-02'))
    """
    rules: list[str] = []
    edited = copy.deepcopy(ome)
    for fix in sorted(FIXES, key=lambda fix: not fix.first):
        if kind not in fix.kinds:
            continue
        fix.edit(edited, facts)
        if edited != ome:
            ome = copy.deepcopy(edited)
            rules += fix.rules
    return ome, tuple(dict.fromkeys(rules))


_ALL: tuple[Kind, ...] = ("image", "label", "labels", "plate", "well", "bioformats2raw", "scene")


@fixes("ST-07", kinds=_ALL)
def state_the_version(ome: JSONObject, facts: Facts) -> None:
    """Write `ome.version` where it is missing, a number, or a variant of 0.5 (drafts of 0.6 differ from it)."""
    traits, stated = facts.traits, ome.get("version")
    is_variant = isinstance(stated, str) and not traits.coordinate_systems and stated.startswith(traits.name)
    is_number = isinstance(stated, float) and str(stated) == traits.name
    has_known_meaning = stated is None or is_number or is_variant  # the meaning of another value is unknown
    if traits.wrapper and stated not in traits.version_names and has_known_meaning:
        ome["version"] = traits.version_names[0]
        # First, as in other writers.
        ome |= {"version": ome.pop("version")} | {key: ome.pop(key) for key in list(ome)}


@fixes("VE-01", "VE-02", "VE-04", kinds=_ALL)
def state_inner_versions(ome: JSONObject, facts: Facts) -> None:
    """Write the version of each part in 0.4, remove it in 0.6."""
    rules = facts.traits
    parts = [part for key in ("plate", "well", "image-label") if isinstance(part := ome.get(key), dict)]
    parts += [entry for _, entry in objects(ome.get("multiscales"))]
    for part in parts:
        if rules.inner_versions:
            part["version"] = rules.version_names[0]
        elif rules.coordinate_systems:
            part.pop("version", None)


def distinct(entries: JSON) -> Iterator[JSON]:
    """Yield the entries of a list without exact repetitions of an earlier entry with the same path."""
    seen: dict[str, JSON] = {}
    for entry in entries if isinstance(entries, list) else ():
        path = entry.get("path") if isinstance(entry, dict) else None
        if not isinstance(path, str):
            yield entry
        elif path not in seen:
            seen[path] = entry
            yield entry
        elif entry != seen[path]:
            yield entry
