"""Run the scenarios of this folder for a time each, print what happened, and write a table for the documentation.

``python -m torture [SCENARIO ...] [--seconds 60] [--seed N] [--page docs/torture.md]``

A scenario is a module of this folder with a function ``scenario(seed, seconds) -> dict[str, int]``. The first line of
its docstring, up to the first full stop, is its title. A count whose name holds ``(seed`` is a fault that was found,
with all that is needed to see it again; it makes the run fail. So does a count of its ``FAULTS`` that is not 0.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import random
import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

#: Counts that must be 0 in every scenario; a module may name its own in ``FAULTS``.
FAULTS = ("unclear", "lost", "torn", "hung", "silent", "left over", "not finished", "errors")


def scenarios() -> dict[str, ModuleType]:
    """Find the modules that have a `scenario`, by name."""
    found = {}
    for item in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if item.name == "__main__":
            continue
        module = importlib.import_module(f"torture.{item.name}")
        if hasattr(module, "scenario"):
            found[item.name] = module
    return found


def title(module: ModuleType) -> str:
    """Return what a scenario is about: the first sentence of its docstring."""
    return (module.__doc__ or module.__name__).strip().split(".")[0].removeprefix("Scenario: ").strip()


def faults(module: ModuleType, counts: dict[str, int]) -> list[str]:
    """Return the counts that should not be."""
    never = getattr(module, "FAULTS", FAULTS)
    return [f"{name}: {n}" for name, n in counts.items() if n and (name in never or "(seed" in name)]


def row(module: ModuleType, counts: dict[str, int], seed: int, seconds: float) -> str:
    """Return a line of the table."""
    figures = ", ".join(f"{name} {n:,}" for name, n in counts.items() if "(seed" not in name)
    run = f"{date.today().isoformat()}, {seconds:.0f} s, seed {seed}"
    return f"| {title(module)} | {run} | {figures} | {len(faults(module, counts)) or 'none'} |"


HEAD = ("| scenario | last run | what was done | faults found |", "|---|---|---|---|")


def page(rows: list[str], path: Path) -> None:
    """Put rows into the table between the marks of a page; those of other scenarios stay."""
    begin, end = "<!-- torture: begin -->", "<!-- torture: end -->"
    old = path.read_text()
    before, _, rest = old.partition(begin)
    table, _, after = rest.partition(end)
    known = {
        line.split("|")[1]: line
        for line in [*table.splitlines(), *rows]
        if line.startswith("| ") and line not in HEAD
    }
    path.write_text("\n".join([before + begin, *HEAD, *known.values(), end + after]))


def main() -> int:
    """Run what the command line asks for; return how many scenarios found a fault."""
    known = scenarios()
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__.splitlines()[0])
    parser.add_argument("scenario", nargs="*", help=f"one of: {', '.join(known)}; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="for each scenario")
    parser.add_argument("--seed", type=int, help="of the random choices; drawn and printed by default")
    parser.add_argument("--page", type=Path, help="write the table into this Markdown page")
    asked = parser.parse_args()
    unknown = sorted(set(asked.scenario) - set(known))
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}; there are {', '.join(known)}")
    rows, failed = [], 0
    for name in asked.scenario or known:
        seed = random.SystemRandom().randrange(1 << 31) if asked.seed is None else asked.seed
        print(f"{name}: seed {seed} ...", flush=True)
        began = time.monotonic()
        counts = known[name].scenario(seed, asked.seconds)
        rows.append(row(known[name], counts, seed, time.monotonic() - began))
        print(rows[-1], flush=True)
        for fault in faults(known[name], counts):
            print(f"  FAULT {fault}", flush=True)
        failed += bool(faults(known[name], counts))
    if asked.page:
        page(rows, asked.page)
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
