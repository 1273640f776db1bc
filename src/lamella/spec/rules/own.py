"""Rules of lamella's own, for damage that no rule of the specification covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.spec.rules.finding import Finding

if TYPE_CHECKING:
    from lamella.spec.rules.finding import Level, Location


@dataclass(frozen=True)
class OwnRule:
    """A rule of lamella.

    Attributes
    ----------
    id
        ``"LM-"`` and a number, which is never reused.
    level
        ``"MUST"`` if readers fail or read other values than are stored.
    text
        The requirement.
    """

    id: str
    level: Level
    text: str


OWN_RULES: dict[str, OwnRule] = {
    rule.id: rule
    for rule in (
        OwnRule("LM-01", "MUST", "every metadata document can be read, and is a JSON object"),
        OwnRule("LM-02", "SHOULD", "a node has documents of one Zarr format"),
        OwnRule("LM-03", "MUST", "documents hold values that JSON has: no NaN, no Infinity"),
        OwnRule("LM-04", "SHOULD", "the version is one that the rules cover: 0.4, 0.5 or 0.6"),
        OwnRule("LM-05", "SHOULD", "a plate lists its wells and a well its images: all that are there"),
        OwnRule("LM-06", "MUST", "there is OME-NGFF metadata at the path or below"),
        OwnRule("LM-07", "MUST", "the document of an array says its shape, data type and chunks"),
        OwnRule("LM-08", "MUST", "consolidated metadata are the same as the documents that they copy"),
        OwnRule("LM-09", "MUST", "every chunk and shard can be decoded"),
        OwnRule("LM-10", "MUST", "a level is what its metadata say: the level before it, downsampled"),
        OwnRule("LM-11", "SHOULD", "there are as many channel names as channels, and no two are equal"),
        OwnRule("LM-12", "SHOULD", "an image has one multiscale"),
        OwnRule("LM-13", "SHOULD", "each level of an image is listed once"),
        OwnRule("LM-14", "SHOULD", "all levels of an image show the same field of view"),
        OwnRule(
            "LM-15", "MUST", "an archive has one store, of Zarr v3, and their roots are the same (RFC-9)"
        ),
        OwnRule("LM-16", "SHOULD", "the name of an archive ends with .ozx (RFC-9)"),
        OwnRule("LM-17", "SHOULD", "an archive is ZIP64, and its entries are not compressed (RFC-9)"),
        OwnRule("LM-18", "SHOULD", "zarr.json documents are first in an archive, breadth first (RFC-9)"),
        OwnRule("LM-19", "SHOULD", "the comment of an archive names the version of the store (RFC-9)"),
        OwnRule("LM-20", "SHOULD", "arrays of several chunks in an archive have shards (RFC-9)"),
        OwnRule("LM-21", "SHOULD", "a group of tables lists the tables that are there, each once"),
        OwnRule("LM-22", "MUST", "a table names its backend, and has the files of it"),
        OwnRule("LM-23", "SHOULD", "a table of labels names a label image that is there"),
        OwnRule("LM-24", "MUST", "a table of regions has their columns, with numbers, and lengths above 0"),
    )
}
"""All rules of lamella by id."""


def own_finding(
    rule: str, node: str, value: str, remedy: str, *, at: Location = (), level: Level | None = None
) -> Finding:
    """Return a finding of a rule of this table.

    >>> own_finding("LM-06", "", "there is nothing", "check the path").level
    'MUST'
    """
    return Finding(rule, level or OWN_RULES[rule].level, node, at, value, remedy)
