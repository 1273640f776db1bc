"""Scenario: damaged documents. Each is used in several ways, and each use ends with data or with one clear error."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

from torture.children import spread
from torture.mutations import mutate
from torture.specimens import Files, is_document, names, specimen, write_files
from torture.uses import READING, WRITING, Unclear, judged, looking, opening

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

#: What is counted.
UNIT = "documents"

#: One document in so many is also written to, in a copy of its store.
_WRITTEN = 8


class Bench:
    """A folder with one store of each specimen; a document is changed for a moment and put back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores: dict[str, Path] = {}

    def store(self, name: str) -> Path:
        """Return the store of a specimen."""
        if name not in self.stores:
            path = self.folder / f"{name.replace(' ', '-')}.zarr"
            write_files(path, specimen(name))
            self.stores[name] = path
        return self.stores[name]


def draw(seed: int, number: int) -> tuple[str, str, bytes, random.Random]:
    """Return a specimen, a document of it and its new content: the same for the same numbers."""
    chance = random.Random(f"{seed}-{number}")
    name = chance.choice(names())
    files = specimen(name)
    key = chance.choice([key for key in files if is_document(key)])
    return name, key, mutate(files[key], chance), chance


begin = Bench


def trial(bench: Bench, seed: int, number: int, counts: Counter[str] | None = None) -> Iterator[Unclear]:
    """Damage one document, use its store, and put the document back."""
    del counts
    name, key, data, chance = draw(seed, number)
    store = bench.store(name)
    place = store / key
    place.write_bytes(data)
    try:
        # The damaged node closely, and the store that it is in: by a look over it or by another use.
        other = looking if chance.random() < 0.4 else chance.choice(READING)
        for use, target in ((opening, place.parent), (other, store)):
            if (found := judged(use, target)) is not None:
                yield found
        if number % _WRITTEN == 0:
            yield from _written(bench.folder, {**specimen(name), key: data}, chance)
    finally:
        place.write_bytes(specimen(name)[key])


def _written(folder: Path, files: Files, chance: random.Random) -> Iterator[Unclear]:
    copy = folder / "written" / "copy.zarr"
    write_files(copy, files)
    try:
        if (found := judged(chance.choice(WRITING), copy)) is not None:
            yield found
    finally:
        shutil.rmtree(copy.parent)


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Damage documents for some time, on all processors.

    Returns
    -------
    dict
        ``documents``: how many; ``unclear``: how many outcomes were not as promised, and each with its place.
    """
    return spread(__name__, seed, seconds)
