"""The page of rules is current, and every rule that is checked is held to it by a test."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from lamella.spec.rules import RULES
from lamella.spec.rules.catalogue import OWN_RULES

ROOT = Path(__file__).parent.parent
ROWS = {
    row[0]: row
    for row in (
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in (ROOT / "docs" / "rules.md").read_text(encoding="utf-8").splitlines()
        if re.match(r"\| [A-Z]{2}-\d\d \|", line)
    )
}


def test_the_page_is_what_the_script_writes():
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "rules_table"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_every_rule_is_on_the_page_once():
    assert list(ROWS) == sorted(RULES, key=list(RULES).index) + list(OWN_RULES)


def test_what_can_be_checked_is_checked_and_tested():
    for rule in RULES.values():
        *_, checked, tests = (*ROWS[rule.id], "")[:6]
        if rule.needs == "unverifiable" or rule.versions == ("0.9.dev1",):
            assert checked.startswith("no:"), rule.id
        else:
            assert not checked.startswith("no"), rule.id
            assert "test_" in tests, rule.id


def test_every_rule_of_lamella_is_tested():
    assert [rule for rule in OWN_RULES if "test_" not in ROWS[rule][-1]] == []
