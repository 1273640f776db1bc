"""The context of a check, which builds findings from the catalogue, and the ends of a transformation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lamella.spec.rules.catalogue import RULES
from lamella.spec.rules.finding import Finding, Level, Location

if TYPE_CHECKING:
    from lamella.spec.rules.version_traits import VersionTraits


@dataclass(frozen=True)
class RuleContext:
    """The version and node of a check, which builds findings from the catalogue."""

    traits: VersionTraits
    node: str = ""

    def finding(
        self,
        rule: str,
        at: Location,
        found: str,
        remedy: str,
        *,
        level: Level | None = None,
    ) -> Finding:
        """Return a finding; its level comes from the catalogue unless `level` is set."""
        entry = RULES[rule]
        return Finding(
            rule=rule,
            level=level or entry.level_in(self.traits.name),
            node=self.node,
            location=at,
            found=found,
            remedy=remedy,
        )


class Ends(NamedTuple):
    """Numbers of axes at the input and the output of a transformation, None where unknown."""

    inputs: int | None
    outputs: int | None
