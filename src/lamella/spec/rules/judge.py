"""The judge, which makes findings from the catalogue, and the ends that a transformation joins.

Layer: spec.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lamella.spec.rules.catalogue import RULES
from lamella.spec.rules.finding import Finding, Level, Location

if TYPE_CHECKING:
    from lamella.spec.rules.dialect import Dialect


@dataclass(frozen=True)
class Judge:
    """What every check needs to know beside the value it looks at."""

    dialect: Dialect
    node: str = ""

    def find(
        self,
        rule: str,
        at: Location,
        found: str,
        remedy: str,
        *,
        level: Level | None = None,
    ) -> Finding:
        """Return a finding; its level comes from the catalogue unless `level` says otherwise."""
        entry = RULES[rule]
        return Finding(
            rule=rule,
            level=level or entry.level_in(self.dialect.name),
            node=self.node,
            location=at,
            found=found,
            remedy=remedy,
        )


class Ends(NamedTuple):
    """Numbers of axes at the input and the output of a transformation, None where unknown."""

    inputs: int | None
    outputs: int | None
