"""The fixes of ``repair``: functions that edit the OME part of a document so that it follows certain rules.

The decorator `fixes` registers a function in `FIXES`, and `apply_fixes` runs all of them. A fix changes nothing where
the right value is unknown: the finding stays, and a person decides. The functions are here and in ``plates``,
``images`` and ``values``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.spec.rules import VERSION_TRAITS
from lamella.spec.rules.value import objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.ops.validation.plate import Fields
    from lamella.spec.rules import Kind, VersionTraits
    from lamella.types import JSON, JSONObject


@dataclass(frozen=True)
class Facts:
    """What a fix may know about the store besides the document that it edits."""

    version: str
    lost: frozenset[str] = frozenset()
    """Listed members of a plate, well or labels group that are not in the store."""
    swapped: frozenset[str] = frozenset()
    """Of a plate: those lost wells that are in the store, unlisted, with row and column exchanged (3/B for B/3)."""
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
    """A registered function: ``edit`` changes the OME part of a document of some ``kinds`` so that it follows rules."""

    rules: tuple[str, ...]
    kinds: tuple[Kind, ...]
    edit: Callable[[JSONObject, Facts], None] = field(repr=False)
    first: bool = False
    """Whether it runs before the fixes that are not first."""


FIXES: list[Fix] = []
"""All fixes in the order of their registration."""


def fixes(
    *rules: str, kinds: tuple[Kind, ...], first: bool = False
) -> Callable[[Callable[[JSONObject, Facts], None]], Callable[[JSONObject, Facts], None]]:
    """Register a function as the fix of some rules for kinds of documents."""

    def register(edit: Callable[[JSONObject, Facts], None]) -> Callable[[JSONObject, Facts], None]:
        FIXES.append(Fix(rules, kinds, edit, first))
        return edit

    return register


def apply_fixes(kind: Kind, ome: JSONObject, facts: Facts) -> tuple[JSONObject, tuple[str, ...]]:
    """Apply all fixes of a kind of document to a copy; return the OME part and the rules that were fixed."""
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
    """Write `ome.version` where it is missing, a number, or a variant of 0.5; drafts of 0.6 have another meaning."""
    traits, stated = facts.traits, ome.get("version")
    is_variant = (
        isinstance(stated, str) and not traits.coordinate_systems and _is_variant(stated, traits.name)
    )
    is_number = isinstance(stated, float) and str(stated) == traits.name
    is_fixable = stated is None or is_number or is_variant  # the meaning of another value is unknown
    if traits.wrapper and stated not in traits.version_names and is_fixable:
        ome.pop("version", None)
        # Other writers have the version as the first key too.
        ome |= {"version": traits.version_names[0]} | {key: ome.pop(key) for key in list(ome)}


def _is_variant(stated: str, name: str) -> bool:
    """Return whether a version is a patch or draft of another one: 0.5.2 of 0.5, but not 0.55."""
    return stated.startswith(name) and not stated.removeprefix(name)[:1].isdigit()


@fixes("VE-01", "VE-02", "VE-04", kinds=_ALL)
def state_inner_versions(ome: JSONObject, facts: Facts) -> None:
    """Write the version of each plate, well, label and multiscale in 0.4, remove it in 0.6."""
    traits = facts.traits
    owners = [owner for key in ("plate", "well", "image-label") if isinstance(owner := ome.get(key), dict)]
    owners += [multiscale for _, multiscale in objects(ome.get("multiscales"))]
    for owner in owners:
        if traits.inner_versions:
            owner["version"] = traits.version_names[0]
        elif traits.coordinate_systems:
            owner.pop("version", None)


def distinct(entries: JSON) -> Iterator[JSON]:
    """Yield the entries of a list, without entries that are equal to the first one of the same path."""
    first_of_path: dict[str, JSON] = {}
    for entry in entries if isinstance(entries, list) else ():
        path = entry.get("path") if isinstance(entry, dict) else None
        first = first_of_path.setdefault(path, entry) if isinstance(path, str) else entry
        if first is entry or first != entry:
            yield entry
