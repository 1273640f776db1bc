"""The works that are killed, refused and repeated: each changes a store in a folder, and can be asked for again.

A work tells what was acknowledged by calling ``acknowledge`` as soon as a call has returned. Its ``prepare`` makes what
was there before; its ``run`` is what a user calls, and calls again after a kill.

Used by tests and by ``torture``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tests.array_source import ArraySource

import lamella
from lamella.errors import (
    InvalidArgumentError,
    LamellaError,
    NodeExistsError,
    NodeNotFoundError,
    StoreExistsError,
)
from lamella.ops.conversion.convert import convert
from lamella.ops.integrity import checksum
from lamella.ops.jobs import journal
from lamella.ops.plates.rename_wells import rename_wells
from lamella.ops.pyramids import passes

if TYPE_CHECKING:
    from pathlib import Path

Acknowledge = Callable[[str], None]

SHAPE = (2, 2, 1, 8, 12)


@dataclass(frozen=True)
class Work:
    """One work.

    Attributes
    ----------
    prepare
        Make what was there before, in a folder, of a version.
    run
        Do the work in the folder; again after a kill, until it is done.
    done
        What the work may raise when it is asked for and was finished before.
    stores
        Names of the stores that must open whatever happens; the first is the one that is worked on.
    """

    prepare: Callable[[Path, str], None]
    run: Callable[[Path, str, Acknowledge], None]
    done: type[LamellaError] | tuple[()] = ()
    stores: tuple[str, ...] = ("plate.zarr",)


def pixels(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Pixels without zeros, so that what was never written shows."""
    return np.random.default_rng(seed).integers(1, 60000, shape, dtype="uint16")


def _image(
    position: lamella.Position, seed: int, version: str, *, sharded: bool = False, levels: int = 1
) -> None:
    ratio = (1, 1, 1, 1, 2) if sharded and version != "0.4" else None
    position.create_image("0", pixels(seed), chunks=(1, 1, 1, 8, 6), shards_ratio=ratio)
    if levels > 1:
        position.compute_pyramid(levels)


def plate(folder: Path, version: str, *, levels: int = 1) -> None:
    """Make a plate of three positions in two wells."""
    with lamella.open_ome_zarr(
        folder / "plate.zarr", layout="hcs", mode="w-", channel_names=["DAPI", "GFP"], version=version
    ) as node:
        made = node.create_positions([("A", "1", "0"), ("A", "1", "1"), ("B", "2", "0")])
        for seed, position in enumerate(made):
            _image(position, seed, version, sharded=seed == 1, levels=levels)


def _open(folder: Path, path: str = "", mode: str = "r+") -> lamella.NGFFNode:
    return lamella.open_ome_zarr(folder / "plate.zarr" / path, mode=mode)


def frames(folder: Path, version: str, acknowledge: Acknowledge, *, sharded: bool) -> None:
    """Write an image frame by frame, as an instrument does; go on after the frames that are there."""
    with _open(folder, "B/2/0") as position:
        if "1" not in position.dataset_paths:
            ratio = (1, 1, 1, 1, 2) if sharded else None
            position.create_zeros("1", SHAPE, "uint16", chunks=(1, 1, 1, 8, 6), shards_ratio=ratio)
            acknowledge("image")
        for t, c in np.ndindex(SHAPE[:2]):
            position["1"][t, c] = pixels(100 + t, SHAPE[1:])[c]
            acknowledge(f"B/2/0/1 {t} {c}")


def _create(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder) as node:
        image = {"shape": (2, 2, 3, 12, 10), "dtype": "uint16"}
        places = [("A", "1", "2"), ("A", "3", "0"), ("C", "1", "0"), ("C", "1", "1")]
        node.create_positions(places, arrays={"0": image})


def _create_zeros(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder) as node:
        node.create_zeros("mask", (2, 2, 1, 8, 12), "uint8")


def _rename_well(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder) as node:
        node.rename_well("B/2", "D/7")


def _swap_wells(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    rename_wells(folder / "plate.zarr", {"A/1": "B/2", "B/2": "A/1"})


def _rename_position(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder) as node:
        node.rename_position("A/1/1", "9")


def _delete(key: str) -> Callable[[Path, str, Acknowledge], None]:
    def run(folder: Path, version: str, acknowledge: Acknowledge) -> None:
        with _open(folder) as node:
            del node[key]

    return run


def _append_channel(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, "A/1/1") as position:
        position.append_channel("new")


def _delete_channel(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, "A/1/1") as position:
        position.delete_channel("DAPI")


def _append(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    """Append three frames to a sharded image, unless they are there: then it is resized to what it is."""
    with _open(folder, "A/1/1") as position:
        if len(position.data) == SHAPE[0]:
            position.data.append(pixels(11, (3, *SHAPE[1:])))
        else:
            position.data.resize(position.data.shape)


def _pyramid(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, "A/1/1") as position:
        position.compute_pyramid(3)


def _large_pyramid(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    """Make a pyramid of several units, after each of which the document says what remains."""
    unit = passes.UNIT_BYTES
    passes.UNIT_BYTES = 1
    try:
        with _open(folder, "A/1/1") as position:
            position.compute_pyramid(3)
    finally:
        passes.UNIT_BYTES = unit


def _checksums(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    """Write a manifest; what is found goes into the record at once, and files need not be old to be believed."""
    settled, seconds = checksum._SETTLED_NS, journal._MAX_SECONDS
    checksum._SETTLED_NS, journal._MAX_SECONDS = 0, 0
    try:
        lamella.checksum(folder / "plate.zarr", folder / "sums", jobs=1)
    finally:
        checksum._SETTLED_NS, journal._MAX_SECONDS = settled, seconds


def _edits(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, "A/1/0") as position:
        if "GFP" in position.channel_names:
            position.rename_channel("GFP", "Actin")
        position.set_scale("0", "x", 0.25)
        position.zattrs["lab"] = "ours"
        position.zattrs.update({"stage": [1, 2], "user": "me"})
    with _open(folder) as node:
        node.metadata.name = "renamed"
        node.dump_meta()


def _convert(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    source = ArraySource(pixels(7, (2, 2, 20, 24)), "czyx")
    convert(source, folder / "new.zarr", version=version, levels=2, chunks=(1, 20, 16), jobs=1)


def _replace_by_convert(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    source = ArraySource(pixels(8, (2, 2, 20, 24)), "czyx")
    convert(
        source, folder / "plate.zarr", version=version, levels=1, chunks=(1, 20, 16), overwrite=True, jobs=1
    )


def _upgrade(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    lamella.upgrade(folder / "plate.zarr", "0.5" if version == "0.4" else "0.6", jobs=1)


def _rechunk(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    lamella.rechunk(folder / "plate.zarr", chunks=(1, 4, 12), jobs=1)


def _from_positions(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, mode="r") as node:
        lamella.Plate.from_positions(
            folder / "new.zarr", {"C/1/0": node["A/1/1"], "C/2/0": node["B/2/0"]}, jobs=1
        ).close()


def _add(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder) as node:
        node.add({"A/1/5": node["B/2/0"], "D/7/0": node["A/1/1"]}, jobs=1)


def _subset(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    """Choose a channel, whose files are copied, and a region that cuts files and pixels of level 1."""
    with _open(folder, mode="r") as node:
        node.subset(folder / "new.zarr", wells=["A1"], channels=["GFP"], crop={"x": (3, 12)}, jobs=1).close()


def _merge(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    plates = [folder / "plate.zarr"] * 2
    lamella.merge(plates, folder / "new.zarr", renumber=True, jobs=1).close()


def _concatenate(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    """Join the channels of two positions, whose levels are copied."""
    with _open(folder, mode="r") as node:
        positions, names = [node["A/1/0"], node["B/2/0"]], ["a", "b", "c", "d"]
        lamella.concatenate_channels(positions, folder / "new.zarr", channel_names=names, jobs=1).close()


def _mosaic(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, mode="r") as node:
        node.mosaic("A1", blend="linear").write(folder / "new.zarr", chunks=(1, 1, 1, 8, 6), jobs=1).close()


def _tiles(folder: Path, version: str) -> None:
    """Make a plate whose fields overlap."""
    _levels(folder, version)
    with _open(folder) as node:
        node.set_positions([{"path": "A/1/1", "x": 8}])


def _mosaic_in_a_plate(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder) as node, suppress(NodeExistsError):  # it was finished before
        node.mosaic("A1").write(node["C/1/0"], chunks=(1, 1, 1, 8, 6), jobs=1)


def _write_image(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    array = pixels(7, (2, 20, 24))
    lamella.write_image(folder / "new.zarr", array, "cyx", levels=2, version=version, jobs=1).close()


def _tables_before(folder: Path, version: str) -> None:
    plate(folder, version)
    with _open(folder, "A/1/0") as position:
        position.tables.write("cells", {"area": [1.0, 2.0]}, backend="anndata")
        position.tables.write("drugs", {"drug": ["a", "b"]}, backend="csv")
        position.tables.write_rois("fields", {"left": {"x": (0, 4)}}, backend="json")


def _tables(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    """Replace tables of three backends, one with another backend, create one, and delete one."""
    with _open(folder, "A/1/0") as position:
        position.tables.write("cells", {"area": [3.0]})
        position.tables.write("drugs", {"drug": ["c"]}, backend="json")
        position.tables.write_rois("fields", {"right": {"x": (4, 8)}, "top": {"y": (0, 3)}})
        position.tables.write("new", {"dose": [0.5, 1.5]}, backend="anndata")


def _reindex(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder) as node:
        node.reindex()


def _plate_to_reindex(folder: Path, version: str) -> None:
    plate(folder, version)
    with _open(folder) as node:
        node.metadata.wells = node.metadata.wells[:1]
        node.dump_meta()


def _label(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, "A/1/0") as position:
        position.labels.create("cells", pixels(9, SHAPE[:1] + SHAPE[2:]) % 5)


def _levels(folder: Path, version: str) -> None:
    plate(folder, version, levels=2)


def _levels_to_write(folder: Path, version: str) -> None:
    """Make a plate with a position that has no image yet."""
    plate(folder, version, levels=2)
    with _open(folder) as node:
        node.create_position("C", "1", "0")
        node.set_positions([{"path": "A/1/1", "x": 8}])


def double(position: lamella.Position) -> np.ndarray:
    """Map a position to its finest level with other values."""
    return position["0"][:] // 2


def _map(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder) as node:
        node.map(double, name="half", positions=["A/1/0", "A/1/1", "B/2/0"], jobs=1)


def bright(block: np.ndarray) -> np.ndarray:
    """Label the bright pixels of a block by one id."""
    return (block[:, 0] > 20000).astype("uint8")


def _map_labels(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder) as node:
        node.map(bright, over="regions", name="labels/bright", halo=1, positions=["A/1/0", "B/2/0"], jobs=1)


def _image_with_levels(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    """Create an image and its levels, write pixels, and bring the levels up to date."""
    with _open(folder, "C/1/0") as position:
        if "0" not in position.dataset_paths:
            position.create_image("0", pixels(5), chunks=(1, 1, 1, 8, 6))
        position.initialize_pyramid(3)
        position["0"][1] = pixels(6)[0]
        position.update_pyramid(method="mean")


def _stream(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    """Stream frames with a pyramid behind them; go on after those that are there."""
    with (
        _open(folder, "C/1/0") as position,
        position.stream("0", (8, 12), "uint16", order="tc", pyramid=3, resume=True) as stream,
    ):
        for frame in pixels(4).reshape(-1, 8, 12)[stream.stored :]:
            stream.append(frame)


def _labels_before(folder: Path, version: str) -> None:
    _levels(folder, version)
    _label(folder, version, lambda _: None)


def _labels_with_a_table(folder: Path, version: str) -> None:
    _labels_before(folder, version)
    with _open(folder, "A/1/0") as position:
        position.tables.write("areas", {"label": [1, 2], "area": [3.0, 4.0]}, label="cells", backend="csv")


def _rename_labels(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, "A/1/0") as position:
        position.labels.rename("cells", "nuclei")


def _rename_table(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, "A/1/0") as position:
        position.tables.rename("drugs", "doses")


def _delete_table(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, "A/1/0") as position:
        del position.tables["drugs"]


def _delete_labels(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    with _open(folder, "A/1/0") as position:
        del position.labels["cells"]


def _older_files(folder: Path, version: str) -> None:
    """Export other pixels to the files that are replaced."""
    _labels_before(folder, version)
    lamella.export(folder / "plate.zarr/A/1/1", folder / "a.ome.tif")
    lamella.export(folder / "plate.zarr/A/1/1", folder / "a_cells_labels.ome.tif")


def _export(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    lamella.export(folder / "plate.zarr/A/1/0", folder / "a.ome.tif", labels=True)


def _replace_by_export(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    lamella.export(folder / "plate.zarr/A/1/0", folder / "a.ome.tif", labels=True, overwrite=True)


def _export_plate(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    lamella.export(folder / "plate.zarr", folder / "tiffs", channels=["GFP"], jobs=1)


def _scan(folder: Path, version: str) -> None:
    """Make a plate, and the folder that an instrument filled."""
    plate(folder, version)
    lamella.export(folder / "plate.zarr", folder / "scan", jobs=1)


def _growing_scan(folder: Path, version: str) -> None:
    """Watch the folder when it has the files of one well, and add those of the other."""
    _scan(folder, version)
    later = {file: file.read_bytes() for file in (folder / "scan").glob("B*")}
    for file in later:
        file.unlink()
    _watch(folder, version, lambda _: None)
    for file, data in later.items():
        file.write_bytes(data)


def _watch(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    lamella.watch(folder / "scan", folder / "new.zarr", version=version, idle=0, settle=0, jobs=1)


WORKS: dict[str, Work] = {
    "levels of a map": Work(_levels_to_write, _map),
    "levels of an image": Work(_levels_to_write, _image_with_levels),
    "levels of a stream": Work(_levels_to_write, _stream),
    "frames": Work(plate, lambda *given: frames(*given, sharded=False)),
    "frames of shards": Work(plate, lambda *given: frames(*given, sharded=given[1] != "0.4")),
    "bulk creation": Work(plate, _create, NodeExistsError),
    "an array in each position": Work(plate, _create_zeros, NodeExistsError),
    "rename a well": Work(plate, _rename_well, NodeNotFoundError),
    "swap wells": Work(plate, _swap_wells),
    "rename a position": Work(plate, _rename_position, NodeNotFoundError),
    "delete a row": Work(plate, _delete("A"), NodeNotFoundError),
    "delete a well": Work(plate, _delete("B/2"), NodeNotFoundError),
    "delete a position": Work(plate, _delete("A/1/0"), NodeNotFoundError),
    "append a channel": Work(_levels, _append_channel, InvalidArgumentError),
    "delete a channel": Work(_levels, _delete_channel, InvalidArgumentError),
    "append frames": Work(plate, _append),
    "pyramid": Work(plate, _pyramid),
    "pyramid in units": Work(plate, _large_pyramid),
    "checksums": Work(plate, _checksums),
    "metadata": Work(plate, _edits),
    "convert": Work(plate, _convert, StoreExistsError),
    "convert over a store": Work(plate, _replace_by_convert),
    "upgrade": Work(plate, _upgrade),
    "rechunk": Work(plate, _rechunk),
    "from_positions": Work(plate, _from_positions, StoreExistsError),
    "reindex": Work(_plate_to_reindex, _reindex),
    "add positions": Work(plate, _add, NodeExistsError),
    "levels of labels of blocks": Work(_levels, _map_labels),
    "create labels": Work(_levels, _label, NodeExistsError),
    "subset": Work(_levels, _subset, StoreExistsError),
    "tables and regions": Work(_tables_before, _tables),
    "merge": Work(plate, _merge, StoreExistsError),
    "concatenate channels": Work(_levels, _concatenate, StoreExistsError),
    "mosaic": Work(_tiles, _mosaic, StoreExistsError),
    "levels of a mosaic": Work(_levels_to_write, _mosaic_in_a_plate),
    "write an image": Work(plate, _write_image, StoreExistsError),
    "export": Work(_labels_before, _export, StoreExistsError),
    "export over files": Work(_older_files, _replace_by_export),
    "export a plate": Work(plate, _export_plate, StoreExistsError),
    "watch": Work(_scan, _watch),
    "watch more positions": Work(_growing_scan, _watch),
    "rename labels": Work(_labels_with_a_table, _rename_labels, NodeNotFoundError),
    "delete labels": Work(_labels_before, _delete_labels, NodeNotFoundError),
    "rename a table": Work(_tables_before, _rename_table, NodeNotFoundError),
    "delete a table": Work(_tables_before, _delete_table, NodeNotFoundError),
}
