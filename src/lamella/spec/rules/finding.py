"""The finding: one result of one rule, in words that help to repair the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Level: TypeAlias = Literal["MUST", "SHOULD"]
"""Weight of a finding: a broken MUST makes a document invalid, a broken SHOULD is advice."""

Location: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the root of a group's attributes to a value in them."""


@dataclass(frozen=True)
class Finding:
    """One problem of one document.

    Attributes
    ----------
    rule
        Id of the rule, a key of `lamella.spec.rules.RULES`.
    level
        ``"MUST"`` or ``"SHOULD"``.
    node
        Path of the group or array in the store; ``""`` is the root.
    location
        Keys and indices from the root of the attributes to the wrong value, or to the object that lacks one.
    found
        The stored value, on one line.
    remedy
        What to do, on one line.

    Examples
    --------
    >>> print(Finding("AX-02", "MUST", "A/1/0", ("ome", "multiscales", 0, "axes", 1, "name"),
    ...               'the axis name "x" is used twice', "give each axis a name of its own"))
    MUST AX-02 A/1/0 ome.multiscales[0].axes[1].name: the axis name "x" is used twice; give each axis a name
    of its own
    """

    rule: str
    level: Level
    node: str = ""
    location: Location = ()
    found: str = ""
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values.

        Examples
        --------
        >>> Finding("AX-02", "MUST", "A/1/0").to_dict()["rule"]
        'AX-02'
        """
        return {
            "rule": self.rule,
            "level": self.level,
            "node": self.node,
            "location": list(self.location),
            "found": self.found,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        where = " ".join(part for part in (self.node or "/", location_text(self.location)) if part)
        return f"{self.level} {self.rule} {where}: {self.found}; {self.remedy}"


def location_text(location: Location) -> str:
    """Format a location in the usual notation for keys and indices.

    >>> location_text(("ome", "plate", "wells", 3, "path"))
    'ome.plate.wells[3].path'
    >>> location_text(("bioformats2raw.layout",))
    '["bioformats2raw.layout"]'
    """
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("-", "_").isidentifier():
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text
