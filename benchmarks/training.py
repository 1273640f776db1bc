"""Compare `lamella.torch.CropDataset` with a plain loop over the same random crops.

    python benchmarks/training.py [--crops 2000] [--rounds 3] [--folder FOLDER]

Needs PyTorch. Both read crops of 256 x 256 in two channels, in batches of 32, in this process; the plain loop indexes
the array for each crop and channel. Prints medians and their ratio, and writes them into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import lamella
import torch
from lamella.torch import CropDataset
from report import machine, markdown, write_block

BATCH = 32
SIZE = (256, 256)
SHAPE = (1, 2, 16, 2048, 2048)


def make(folder: Path) -> lamella.Position:
    """Create an image of 256 MiB with smooth blobs and camera noise."""
    path = folder / "training.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["a", "b"], version="0.5"
    ) as position:
        rng = np.random.default_rng(0)
        coarse = rng.gamma(2.0, 200.0, (SHAPE[-2] // 16, SHAPE[-1] // 16))
        plane = np.kron(coarse, np.ones((16, 16)))
        image = position.create_zeros(
            "0", SHAPE, "uint16", chunks=(1, 1, 1, 256, 256), shards_ratio=(1, 1, 16, 8, 8)
        )
        for channel in range(SHAPE[1]):
            image[0, channel] = np.stack([rng.poisson(plane) for _ in range(SHAPE[2])]).astype("uint16")
    return lamella.open_ome_zarr(path)


def plain(position: lamella.Position, dataset: CropDataset) -> float:
    """Read each crop separately."""
    image = position["0"]
    begin = time.perf_counter()
    for start in range(0, len(dataset), BATCH):
        batch = []
        for number in range(start, min(start + BATCH, len(dataset))):
            t, _, z, y, x = dataset.source.draw(0, number).corner
            crop = [image[t, c, z, y : y + SIZE[0], x : x + SIZE[1]] for c in range(SHAPE[1])]
            batch.append(torch.from_numpy(np.stack(crop).astype("float32")))
        torch.stack(batch)
    return time.perf_counter() - begin


def batched(dataset: CropDataset) -> float:
    """Read batch by batch, like a DataLoader without workers."""
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH)
    begin = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        position = make(Path(folder))
        dataset = CropDataset(position, SIZE, length=options.crops)
        times: dict[str, list[float]] = {"plain loop": [], "CropDataset": []}
        for _ in range(options.rounds):
            times["plain loop"].append(plain(position, dataset))
            times["CropDataset"].append(batched(dataset))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    rows = [
        [name, f"{options.crops / seconds:.0f}", f"{medians['plain loop'] / seconds:.2f}"]
        for name, seconds in medians.items()
    ]
    table = markdown(["reader", "crops per second", "/ plain loop"], rows)
    text = f"Medians of {options.rounds} rounds of {options.crops} crops. {machine()}.\n\n{table}"
    print(text)
    write_block("training", text)


if __name__ == "__main__":
    main()
