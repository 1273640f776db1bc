"""Scenario: processes that edit the same documents in every way there is.

Each of three worker processes edits attributes (through lamella and through zarr-python objects that were opened
before), channel names, frames, and level 0 of the same image. Afterwards no edit may be lost, every handle must show
what is stored, and no stale level may count as current. The workers run until the end; each round has a new image.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lamella
from lamella.models import axes
from torture.children import answers_of, workers

if TYPE_CHECKING:
    import subprocess

FAULTS = ("lost", "old views", "silent", "errors")

WORKERS = 3

WORKER = """
import json, random, sys, warnings
import numpy as np, zarr, lamella
warnings.simplefilter("ignore")
me = int(sys.argv[1])
for line in sys.stdin:
    path, seed, order = json.loads(line)
    if order == "edit":
        chance = random.Random(seed + me)
        position = lamella.open_ome_zarr(path, mode="r+")
        views = {
            "0": [
                lambda: position["0"].attrs, lambda: position["0"].zarr().attrs, lambda: position.zgroup["0"].attrs,
                lambda: zarr.open_array(position.zgroup.store, path="0").attrs,
            ],
            "": [
                lambda: position.zattrs, lambda: position.zgroup.attrs,
                lambda: zarr.open_group(position.zgroup.store, mode="r+", use_consolidated=False).attrs,
            ],
        }
        held = {node: [view() for view in several] for node, several in views.items()}
        keys, name, rows, frames = {"": {}, "0": {}}, f"c{me}", [], 0
        try:
            for n in range(12):
                what = chance.random()
                if what < 0.6:
                    node = chance.choice(["", "0"])
                    view = chance.randrange(len(views[node]))
                    notes = held[node][view] if chance.random() < 0.5 else views[node][view]()
                    key = f"k{me}-{chance.randrange(5)}"
                    if key in keys[node] and chance.random() < 0.3:
                        del views[node][0]()[key]  # what zarr-python had read long before may lack it
                        del keys[node][key]
                    else:
                        notes[key] = keys[node][key] = seed % 1000 + n
                elif what < 0.75:
                    new = f"c{me}-{n}"
                    position.rename_channel(name, new)
                    name = new
                elif what < 0.85 and me == 0:
                    position["0"].append(np.full((1, 3, 16, 16), 7, "uint16"))
                    frames += 1
                elif what < 0.9 and me == 1:
                    try:
                        position.compute_pyramid() if chance.random() < 0.5 else position.update_pyramid()
                    except lamella.errors.InvalidArgumentError as error:
                        if "no whole factor" not in str(error):  # a frame came while the levels were planned
                            raise
                else:
                    row = chance.randrange(16)
                    position["0"][0, me, row] = n + 1
                    rows.append([row, n + 1])
            answer = {"keys": keys, "name": name, "rows": rows, "frames": frames}
        except Exception as error:
            answer = repr(error)
    else:
        attributes = [dict(position.zattrs), dict(position["0"].attrs)]
        answer = [attributes, position.channel_names, list(position["0"].shape), position.stale_levels]
        position.close()
    print(json.dumps(answer), flush=True)
"""


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Edit images until the time is over; return ``rounds``, ``edits`` and the counts of ``FAULTS``."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter({"rounds": 0, "edits": 0, **dict.fromkeys(FAULTS, 0)})
    ends = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="torture-") as folder, workers(WORKER, WORKERS) as processes:
        while time.monotonic() < ends or not counts["rounds"]:
            path = Path(folder, f"{counts['rounds']}.zarr")
            _round(path, processes, chance.randrange(1 << 30), counts, seed)
            counts["rounds"] += 1
    return dict(counts)


def _round(
    path: Path, processes: list[subprocess.Popen[str]], number: int, counts: Counter[str], seed: int
) -> None:
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w-", channel_names=[f"c{n}" for n in range(WORKERS)], axes=axes("tcyx"),
        version=("0.4", "0.5", "0.6")[number % 3],
    ) as position:  # fmt: skip
        position.create_image("0", np.zeros((1, WORKERS, 16, 16), "uint16"), chunks=(1, 1, 16, 16))
        position.compute_pyramid(levels=2)
    answers = answers_of(processes, [str(path), number, "edit"])
    for answer in answers:
        if isinstance(answer, str):
            counts["errors"] += 1
            counts[f"{answer} (seed {seed})"] += 1
    views = answers_of(processes, [str(path), number, "look"])
    edits = [answer for answer in answers if not isinstance(answer, str)]
    if len(edits) < len(answers):
        return
    counts["edits"] += 12 * WORKERS
    position = lamella.open_ome_zarr(path)
    lost = _lost(position, edits)
    counts["lost"] += len(lost)
    for problem in lost:
        counts[f"{problem} (seed {seed}, number {number})"] += 1
    stored = [
        [dict(position.zattrs), dict(position["0"].attrs)],
        position.channel_names,
        list(position["0"].shape),
    ]
    counts["old views"] += sum(_without_marks(view[:3]) != _without_marks(stored) for view in views)
    if not position.stale_levels:
        expected_level = position["0"][:].reshape(-1, WORKERS, 8, 2, 8, 2).mean((3, 5))
        level = position["1"][:].astype(float)
        counts["silent"] += level.shape != expected_level.shape or bool(
            np.abs(level - expected_level).max() > 1
        )


def _without_marks(view: list[Any]) -> Any:
    """Return a view without the records of written levels, which change when a handle is closed."""
    return [{key: value for key, value in view[0][0].items() if key != "lamella"}, view[0][1], *view[1:]]


def _lost(position: lamella.Position, edits: list[dict[str, Any]]) -> list[str]:
    """Return what workers wrote and the store lacks, and what they deleted and the store has."""
    lost = []
    for node, attributes in (("", dict(position.zattrs)), ("0", dict(position["0"].attrs))):
        expected: dict[str, Any] = {}
        for edit in edits:
            expected |= edit["keys"][node]
        stored = {key: value for key, value in attributes.items() if key.startswith("k")}
        if stored != expected:
            lost.append(f"attributes of {node or '/'}")
    if position.channel_names != [edit["name"] for edit in edits]:
        lost.append("channel names")
    if position["0"].shape[0] != 1 + sum(edit["frames"] for edit in edits):
        lost.append("frames")
    elif not (position["0"][1:] == 7).all():
        lost.append("pixels of frames")
    for channel, edit in enumerate(edits):
        for row, value in dict(map(tuple, edit["rows"])).items():
            if not (position["0"][0, channel, row] == value).all():
                lost.append("a row")
    return lost
