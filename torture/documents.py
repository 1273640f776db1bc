"""Scenario: damaged documents and files of tables. Each use of them ends with data or with one clear error."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

from torture.children import spread
from torture.chunks import damage
from torture.mutations import mutate
from torture.specimens import Files, is_document, names, specimen, write_files
from torture.uses import READING, WRITING, Unclear, looking, opening, unclear_outcome

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

#: Name of the count of trials.
UNIT = "documents"

#: Every eighth trial also writes, into a copy of the store.
_WRITTEN = 8


class Bench:
    """A folder with one store of each specimen; each trial changes one document and restores it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores: dict[str, Path] = {}

    def store(self, name: str) -> Path:
        """Return the path of the store of a specimen."""
        if name not in self.stores:
            path = self.folder / f"{name.replace(' ', '-')}.zarr"
            write_files(path, specimen(name))
            self.stores[name] = path
        return self.stores[name]


def draw(seed: int, number: int) -> tuple[str, str, bytes, random.Random]:
    """Return a specimen, the key and new content of one document, and the random generator of a trial."""
    chance = random.Random(f"{seed}-{number}")
    name = chance.choice(names())
    files = specimen(name)
    key = chance.choice([key for key in files if is_document(key) or "/tables/" in f"/{key}"])
    data = mutate(files[key], chance) if is_document(key) else damage(files[key], files[key][::-1], chance)[1]
    return name, key, data, chance


begin = Bench


def trial(bench: Bench, seed: int, number: int, counts: Counter[str] | None = None) -> Iterator[Unclear]:
    """Damage one document, use its store, and restore the document."""
    del counts
    name, key, data, chance = draw(seed, number)
    store = bench.store(name)
    path = store / key
    path.write_bytes(data)
    try:
        # Use the damaged node in detail, and its store in one way.
        other = looking if chance.random() < 0.4 else chance.choice(READING)
        for use, target in ((opening, path.parent), (other, store)):
            if (unclear := unclear_outcome(use, target)) is not None:
                yield unclear
        if number % _WRITTEN == 0:
            yield from _written(bench.folder, {**specimen(name), key: data}, chance)
    finally:
        path.write_bytes(specimen(name)[key])


def _written(folder: Path, files: Files, chance: random.Random) -> Iterator[Unclear]:
    copy = folder / "written" / "copy.zarr"
    write_files(copy, files)
    try:
        if (unclear := unclear_outcome(chance.choice(WRITING), copy)) is not None:
            yield unclear
    finally:
        shutil.rmtree(copy.parent)


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Damage documents for some time on all processors; return ``documents`` and unclear outcomes."""
    return spread(__name__, seed, seconds)
