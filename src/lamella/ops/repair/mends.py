"""The mends of ``repair``: pure functions from one OME part of a document to another, each under the rules it mends.

What a mend needs to know beside the document is in its `Facts`. A mend changes nothing where it would have to guess:
the finding stays then, and a person decides. Mends of plates and wells are in :mod:`lamella.ops.repair.plates`, of
images and labels in :mod:`lamella.ops.repair.images`.

Layer: ops. No I/O.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.spec.rules import VERSION_TRAITS
from lamella.spec.rules.values import objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.spec.rules import Kind, VersionTraits
    from lamella.types import JSON, JSONObject

Fields = list[tuple[str, int | None]]
"""Path and acquisition of each image of a well."""


@dataclass(frozen=True)
class Facts:
    """What a mend may know beside the document.

    Attributes
    ----------
    version
        OME-NGFF version of the document: 0.4, 0.5 or 0.6.
    swapped
        Of a plate: lost wells for which an unlisted well is in the store under the exchanged path, column/row.
    lost
        Listed members of a plate, well or labels group of which nothing is left in the store.
    unlisted
        Label images that are there and not listed.
    fields
        Of a plate: the images of each of its wells; None where one of them cannot be read.
    dtype
        Of an image: the data type of its finest level, such as ``"uint16"``; empty when it is not known.
    """

    version: str
    lost: frozenset[str] = frozenset()
    swapped: frozenset[str] = frozenset()
    unlisted: tuple[str, ...] = ()
    fields: dict[str, Fields] | None = None
    dtype: str = ""

    @property
    def traits(self) -> VersionTraits:
        """The traits of the version."""
        return VERSION_TRAITS[self.version]


@dataclass(frozen=True)
class Mend:
    """One mend.

    Attributes
    ----------
    rules
        Ids of the rules that hold afterwards, where the mend could do its work.
    kinds
        Kinds of documents that it is for.
    text
        What it does, for documentation.
    edit
        Changes a copy of the OME part in place.
    first
        Whether it is applied before the others, since they read what it writes.
    """

    rules: tuple[str, ...]
    kinds: tuple[Kind, ...]
    text: str
    edit: Callable[[JSONObject, Facts], None] = field(repr=False)
    first: bool = False

    def __call__(self, ome: JSONObject, facts: Facts) -> JSONObject:
        """Give the mended OME part; the one given is not changed."""
        mended = copy.deepcopy(ome)
        self.edit(mended, facts)
        return mended


MENDS: list[Mend] = []
"""All mends, in the order in which they are applied; those that are `first` go before the others."""


def mends(
    *rules: str, kinds: tuple[Kind, ...], first: bool = False
) -> Callable[[Callable[[JSONObject, Facts], None]], Callable[[JSONObject, Facts], None]]:
    """Register a function as the mend of some rules; the first line of its docstring says what it does."""

    def register(edit: Callable[[JSONObject, Facts], None]) -> Callable[[JSONObject, Facts], None]:
        MENDS.append(Mend(rules, kinds, (edit.__doc__ or "").splitlines()[0], edit, first))
        return edit

    return register


def mended(kind: Kind, ome: JSONObject, facts: Facts) -> tuple[JSONObject, tuple[str, ...]]:
    """Apply all mends of a kind of document.

    Returns
    -------
    ome : dict
        The mended OME part; the one given is not changed.
    rules : tuple of str
        What was mended.

    Examples
    --------
    >>> import lamella.ops.repair.images
    >>> mended("image", {"version": "0.5-dev", "omero": {"channels": [{"color": "#FF00FF"}]}}, Facts("0.5"))
    ({'version': '0.5', 'omero': {'channels': [{'color': 'FF00FF'}]}}, ('ST-07', 'OM-02'))
    """
    rules: list[str] = []
    for mend in sorted(MENDS, key=lambda mend: not mend.first):
        if kind not in mend.kinds:
            continue
        new = mend(ome, facts)
        if new != ome:
            ome = new
            rules += mend.rules
    return ome, tuple(dict.fromkeys(rules))


_ALL: tuple[Kind, ...] = ("image", "label", "labels", "plate", "well", "bioformats2raw", "scene")


@mends("ST-07", kinds=_ALL)
def state_the_version(ome: JSONObject, facts: Facts) -> None:
    """Write `ome.version` where it is missing, a number, or a variant of 0.5 (drafts of 0.6 differ from it)."""
    traits, stated = facts.traits, ome.get("version")
    is_variant = isinstance(stated, str) and not traits.coordinate_systems and stated.startswith(traits.name)
    is_number = isinstance(stated, float) and str(stated) == traits.name
    known = stated is None or is_number or is_variant  # nobody knows what another value stands for
    if traits.wrapper and stated not in traits.version_names and known:
        ome["version"] = traits.version_names[0]
        # First, as writers have it.
        ome |= {"version": ome.pop("version")} | {key: ome.pop(key) for key in list(ome)}


@mends("VE-01", "VE-02", "VE-04", kinds=_ALL)
def state_inner_versions(ome: JSONObject, facts: Facts) -> None:
    """Write the version of each part where it has one (0.4), take it out where it has none (0.6)."""
    rules = facts.traits
    parts = [part for key in ("plate", "well", "image-label") if isinstance(part := ome.get(key), dict)]
    parts += [entry for _, entry in objects(ome.get("multiscales"))]
    for part in parts:
        if rules.inner_versions:
            part["version"] = rules.version_names[0]
        elif rules.coordinate_systems:
            part.pop("version", None)


def distinct(entries: JSON) -> Iterator[JSON]:
    """Give the entries of a list that are no repetition of an earlier one with the same path."""
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
