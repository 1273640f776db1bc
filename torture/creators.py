"""Scenario: processes that create one thing at the same time.

In each round three worker processes get the same order: create an array, image, tiles, stream, levels, labels, well,
position or store, each with its own content. Exactly one must succeed, the stored content must be that of the winner,
and the others must raise an error that the node exists.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import lamella
from lamella.models import axes
from torture.children import answers_of, workers

if TYPE_CHECKING:
    import subprocess

FAULTS = ("none won", "several won", "another's content", "invalid", "errors")

WORKERS = 3

WORKER = """
import json, sys, warnings
import numpy as np, lamella
from lamella.models import axes
from lamella.errors import NodeExistsError, StoreExistsError, InvalidArgumentError
warnings.simplefilter("ignore")
me = int(sys.argv[1])
shape = (2, 4 * (me + 1), 8)

def image(path, **more):
    return lamella.open_ome_zarr(path, mode="r+", **more)

def tiles(path):
    image(path, layout="tiled").make_tiles("0", (1, me + 1), (2, 8, 8), "uint8")

def stream(path):
    with image(path).stream("0", shape[1:], "uint16", order="c", lengths={"c": 2}) as frames:
        for _ in range(2):
            frames.append(np.full(shape[1:], me + 1, "uint16"))

def store(path):
    store = lamella.open_ome_zarr(path, layout="fov", mode="w-", channel_names=["a", "b"], axes=axes("cyx"))
    store.zattrs["mine"] = me

ORDERS = {
    "zeros": lambda path: image(path).create_zeros("0", shape, "uint16"),
    "nested": lambda path: image(path).create_zeros("s/0", shape, "uint16"),
    "pixels": lambda path: image(path).create_image("0", np.full(shape, me + 1, "uint16"), chunks=(1, 4, 8)),
    "tiles": tiles,
    "stream": stream,
    "levels": lambda path: image(path).initialize_pyramid(me + 2),
    "labels": lambda path: image(path).labels.create("cells", np.full((32, 32), me + 1, "uint8")),
    "well": lambda path: image(path).create_well("A", "1"),
    "position": lambda path: image(path).create_position("A", "1", "0"),
    "store": store,
}
for line in sys.stdin:
    what, path = json.loads(line)
    try:
        ORDERS[what](path)
    except (NodeExistsError, StoreExistsError):
        answer = "refused"
    except InvalidArgumentError as error:
        answer = "refused" if what == "levels" and "has a pyramid" in str(error) else repr(error)
    except Exception as error:
        answer = repr(error)
    else:
        answer = "won"
    print(json.dumps(answer), flush=True)
"""


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Create nodes until the time is over; return ``rounds``, ``refusals`` and the counts of ``FAULTS``."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter({"rounds": 0, "refusals": 0, **dict.fromkeys(FAULTS, 0)})
    ends = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="torture-") as folder, workers(WORKER, WORKERS) as processes:
        while time.monotonic() < ends or not counts["rounds"]:
            path = Path(folder, f"{counts['rounds']}.zarr")
            _round(path, processes, chance, counts, seed)
            counts["rounds"] += 1
    return dict(counts)


def _round(
    path: Path, processes: list[subprocess.Popen[str]], chance: random.Random, counts: Counter[str], seed: int
) -> None:
    order = chance.choice(
        ["zeros", "nested", "pixels", "tiles", "stream", "levels", "labels", "well", "position", "store"]
    )
    _prepare(path, order, chance.choice(["0.4", "0.5", "0.6"]))
    answers = answers_of(processes, [order, str(path)], chance.sample(range(WORKERS), WORKERS))
    winners = [worker for worker, answer in enumerate(answers) if answer == "won"]
    counts["refusals"] += answers.count("refused")
    for answer in answers:
        if answer not in ("won", "refused"):
            counts["errors"] += 1
            counts[f"{order}: {answer} (seed {seed})"] += 1
    if len(winners) != 1:
        counts["several won" if winners else "none won"] += 1
        return
    if not _is_of(path, order, winners[0]):
        counts["another's content"] += 1
        counts[f"{order} of worker {winners[0]} (seed {seed})"] += 1
    if order not in ("well", "position", "store"):  # which have no image yet
        findings = [finding for finding in lamella.validate(path).findings if finding.level == "MUST"]
        counts["invalid"] += bool(findings)


def _prepare(path: Path, order: str, version: str) -> None:
    if order == "store":
        return
    layout = "hcs" if order in ("well", "position") else "fov"
    with lamella.open_ome_zarr(
        path, layout=layout, mode="w-", channel_names=["a", "b"], axes=axes("cyx"), version=version
    ) as node:
        if order in ("levels", "labels"):
            node["0"] = np.full((2, 32, 32), 3, "uint16")


def _is_of(path: Path, order: str, worker: int) -> bool:
    """Return whether the stored content is that of a worker."""
    node = lamella.open_ome_zarr(path)
    if order == "store":
        return bool(node.zattrs["mine"] == worker)
    if order in ("well", "position"):
        return [well.path for well in node.metadata.wells] == ["A/1"] and len(list(node.positions())) == (
            order == "position"
        )
    if order == "labels":
        return list(node.labels) == ["cells"] and bool((node.labels["cells"].data[:] == worker + 1).all())
    if order == "levels":
        return [node[name].shape for name in node.dataset_paths] == [
            (2, 32 >> level, 32 >> level) for level in range(worker + 2)
        ]
    value = worker + 1 if order in ("pixels", "stream") else 0
    shape = (2, 8, 8 * (worker + 1)) if order == "tiles" else (2, 4 * (worker + 1), 8)
    arrays = [array for _, array in node.images()]
    return [array.shape for array in arrays] == [shape] and bool((arrays[0][:] == value).all())
