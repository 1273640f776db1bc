"""Run scenarios of this folder for some time each, print the counts, and write a table for the documentation.

``python -m torture [SCENARIO ...] [--seconds 60] [--seed N] [--page docs/torture.md]``

A scenario is a module of this folder with a function ``scenario(seed, seconds) -> dict[str, int]``. The first sentence
of the module docstring is its title. The run fails if a count in `FAULTS` is not 0, or if the name of a count contains
``(seed``: such a name describes a problem and the seed that repeats it.
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

#: Names of counts that must be 0; the module of a scenario may define its own ``FAULTS``.
FAULTS = ("unclear", "lost", "torn", "hung", "silent", "left over", "not finished", "errors")


def scenarios() -> dict[str, ModuleType]:
    """Return the modules that have a function ``scenario``, by name."""
    modules = {}
    for item in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if item.name == "__main__":
            continue
        module = importlib.import_module(f"torture.{item.name}")
        if hasattr(module, "scenario"):
            modules[item.name] = module
    return modules


def title(module: ModuleType) -> str:
    """Return the first sentence of a scenario's docstring."""
    return (module.__doc__ or module.__name__).strip().split(".")[0].removeprefix("Scenario: ").strip()


def problems(module: ModuleType, counts: dict[str, int]) -> list[str]:
    """Return the counts that must be 0 and are not."""
    zero_counts = getattr(module, "FAULTS", FAULTS)
    return [
        f"{name}: {count}"
        for name, count in counts.items()
        if count and (name in zero_counts or "(seed" in name)
    ]


def row(module: ModuleType, counts: dict[str, int], seed: int, seconds: float) -> str:
    """Return a row of the table."""
    figures = ", ".join(f"{name} {count:,}" for name, count in counts.items() if "(seed" not in name)
    run = f"{date.today().isoformat()}, {seconds:.0f} s, seed {seed}"
    return f"| {title(module)} | {run} | {figures} | {len(problems(module, counts)) or 'none'} |"


HEAD = ("| scenario | last run | what was done | faults found |", "|---|---|---|---|")


def page(rows: list[str], path: Path) -> None:
    """Replace the rows of these scenarios in the table of a page."""
    begin, end = "<!-- torture: begin -->", "<!-- torture: end -->"
    old = path.read_text()
    before, _, rest = old.partition(begin)
    table, _, after = rest.partition(end)
    row_by_title = {
        line.split("|")[1]: line
        for line in [*table.splitlines(), *rows]
        if line.startswith("| ") and line not in HEAD
    }
    path.write_text("\n".join([before + begin, *HEAD, *row_by_title.values(), end + after]))


def main() -> int:
    """Run the scenarios of the command line; return how many found a problem."""
    modules = scenarios()
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__.splitlines()[0])
    parser.add_argument("scenario", nargs="*", help=f"one of: {', '.join(modules)}; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="for each scenario")
    parser.add_argument("--seed", type=int, help="of the random choices; drawn and printed by default")
    parser.add_argument("--page", type=Path, help="write the table into this Markdown page")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.scenario) - set(modules))
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}; there are {', '.join(modules)}")
    rows, failed = [], 0
    for name in arguments.scenario or modules:
        seed = random.SystemRandom().randrange(1 << 31) if arguments.seed is None else arguments.seed
        print(f"{name}: seed {seed} ...", flush=True)
        start = time.monotonic()
        counts = modules[name].scenario(seed, arguments.seconds)
        rows.append(row(modules[name], counts, seed, time.monotonic() - start))
        print(rows[-1], flush=True)
        for problem in problems(modules[name], counts):
            print(f"  FAULT {problem}", flush=True)
        failed += bool(problems(modules[name], counts))
    if arguments.page:
        page(rows, arguments.page)
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
