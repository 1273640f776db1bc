"""Scenario: works killed (SIGKILL) at their steps.

Afterwards the store must open, every file must be old or new, and the same call must finish the work. The works and
the checks are those of ``tests/reliability``.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.reliability.killer import Killer, started
from tests.reliability.states import State, files, files_but_of_libraries
from tests.reliability.test_kills import check_killed, finish
from tests.reliability.test_levels_after_kills import check_store
from tests.reliability.works import WORKS

FAULTS = ("lost", "not finished")


def one_work(
    killer: Killer, name: str, version: str, engine: str, folder: Path, most: int | None, counts: Counter[str]
) -> None:
    """Kill one work at its steps, and count problems afterwards."""
    whole, *lines = killer.kill(name, version, folder, engine, most)
    template = folder / "template"
    finished = Path(str(whole["folder"]))
    old, new, expected = State.of(template), State.of(finished), files(finished)
    allowed = {*old.documents.values(), *new.documents.values(), *whole["documents"]}  # type: ignore[misc]
    for line in lines:
        if line["status"] != -signal.SIGKILL:
            continue
        counts["kills"] += 1
        killed = Path(str(line["folder"]))
        where = f"{name} {version} {engine}, step {line['n']} before {line['step']}"
        try:
            if name.startswith("levels"):
                check_store(killed / "plate.zarr")
            else:
                check_killed(killed, {**line, "work": name}, old, new, allowed)
            counts["acknowledged frames"] += sum(" " in what for what in line["acknowledged"])  # type: ignore[attr-defined]
        except Exception as error:
            counts["lost"] += 1
            counts[f"{where}: {str(error).splitlines()[0]} (seed)"] += 1
            continue
        try:
            finish(WORKS[name], killed, version)
            # A stream that goes on may store its frames in other parts: its levels are compared.
            if check_store(killed / "plate.zarr") if name.startswith("levels") else changed(killed, expected):
                raise AssertionError("another result")
        except Exception as error:
            counts["not finished"] += 1
            counts[f"{where}: {str(error).splitlines()[0]} (seed)"] += 1


def changed(folder: Path, expected: dict[str, bytes]) -> bool:
    """Return whether a folder has other files than that of a work without kills."""
    return files_but_of_libraries(folder) != expected


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Kill works until the time is over, each at all of its steps; return counts."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter({"works": 0, "kills": 0, "lost": 0, "not finished": 0})
    ends = time.monotonic() + seconds
    deck: list[tuple[str, str, str]] = []
    with started() as killer:
        while time.monotonic() < ends:
            if not deck:  # each work once before any comes again
                deck = [
                    (name, version, engine)
                    for name in WORKS
                    for version in ("0.4", "0.5")
                    for engine in ("files", "zarr")
                ]
                chance.shuffle(deck)
                deck.append(
                    ("frames", "0.5", chance.choice(["files", "zarr"]))
                )  # something is acknowledged in every run
            name, version, engine = deck.pop()
            with tempfile.TemporaryDirectory(prefix="torture-") as folder:
                one_work(killer, name, version, engine, Path(folder), None if seconds > 300 else 12, counts)
            counts["works"] += 1
    return dict(counts)
