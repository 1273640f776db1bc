"""Scenario: arrays that grow and shrink, killed (SIGKILL) at their steps.

After each kill the array must have its old or its new content, and pixels left by a killed call must not appear when
the array grows again.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tests.reliability.faults import Faults, die

import lamella

FAULTS = ("lost",)

LAYOUTS: tuple[dict[str, Any], ...] = (
    {"chunks": (1, 1, 1, 8, 6)},
    {"chunks": (3, 2, 1, 5, 12)},
    {"chunks": (1, 1, 1, 8, 6), "shards_ratio": (1, 1, 1, 1, 2)},
    {"chunks": (1, 1, 1, 8, 6), "shards_ratio": (4, 2, 1, 1, 2)},
)


def step_of(chance: random.Random, model: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Return the next array, the block to append (None for a resize), and the axis."""
    axis, count = chance.choice([0, 0, 1]), chance.randint(1, 4)
    shape = [count if number == axis else length for number, length in enumerate(model.shape)]
    if chance.random() < 0.6:
        block = np.random.default_rng(chance.randrange(1 << 30)).integers(1, 60000, shape, dtype="uint16")
        return np.concatenate([model, block], axis), block, axis
    shape[axis] = chance.randint(1, model.shape[axis] + 4)
    grown = np.zeros(shape, "uint16")
    inside = tuple(
        slice(0, min(new_length, old_length))
        for new_length, old_length in zip(shape, model.shape, strict=True)
    )
    grown[inside] = model[inside]
    return grown, None, axis


def work(path: Path, expected: np.ndarray, block: np.ndarray | None, axis: int) -> None:
    """Append or resize once."""
    array = lamella.open_ome_zarr(path, mode="r+").data
    if block is None:
        array.resize(expected.shape)
    else:
        array.append(block, axis)


def killed(folder: Path, change_number: int, *step: Any) -> bool:
    """Run one step in a child that dies at its n-th change of the folder; return whether it died."""
    pid = os.fork()
    if pid == 0:
        try:
            with Faults(folder, change_number, die):
                work(folder / "film.zarr", *step)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def is_allowed(stored: np.ndarray, model: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether the array is old or new; pixels that a resize cuts off may already be empty."""
    if np.array_equal(stored, model) or np.array_equal(stored, expected):
        return True
    new_region = tuple(slice(0, length) for length in expected.shape)
    cut_off = np.zeros_like(model)
    cut_off[new_region] = model[new_region][tuple(slice(0, length) for length in cut_off[new_region].shape)]
    return stored.shape == model.shape and bool(((stored == model) | (stored == cut_off)).all())


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Resize and append until the time is over, and kill every second step; return counts."""
    chance, ends = random.Random(seed), time.monotonic() + seconds
    counts: Counter[str] = Counter({"steps": 0, "kills": 0, "lost": 0})
    while time.monotonic() < ends:
        layout, version = chance.choice(LAYOUTS), chance.choice(["0.4", "0.5"])
        if "shards_ratio" in layout:
            version = "0.5"
        with tempfile.TemporaryDirectory(prefix="torture-") as name:
            path = Path(name) / "film.zarr"
            model = np.random.default_rng(seed).integers(1, 60000, (2, 2, 1, 8, 12), dtype="uint16")
            names = [f"c{i}" for i in range(2)]
            with lamella.open_ome_zarr(
                path, layout="fov", mode="w-", channel_names=names, version=version
            ) as position:
                position.create_image("0", model, **layout)
            for number in range(12):
                expected, *step = step_of(chance, model)
                counts["steps"] += 1
                if number % 2:
                    counts["kills"] += killed(Path(name), chance.randint(1, 40), expected, *step)
                else:
                    work(path, expected, *step)
                stored = lamella.open_ome_zarr(path).data[:]
                if not is_allowed(stored, model, expected):
                    counts["lost"] += 1
                    counts[f"{version} {layout}, step {number} (seed {seed})"] += 1
                    break
                model = stored
    return dict(counts)
