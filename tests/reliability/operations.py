"""The operations that meet faults of a service, each on a tiny plate there: what it returns, and what it changes.

`USED` is the protocol by which all of them reach the service.

An operation takes an empty folder for local files. What it returns is compared with what it returns where nothing
fails, so it must be the same each time.

Used by tests and by ``torture``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import lamella
from lamella.adapters.png import write_preview
from lamella.errors import (
    InvalidArgumentError,
    LamellaError,
    NodeExistsError,
    NodeNotFoundError,
    StorageError,
    StoreExistsError,
)
from lamella.ops.display.preview import PreviewOptions
from lamella.ops.plates.rename_wells import rename_wells

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.remote import Service

    from .protocols import Protocol

BUCKET = "/bucket/"
USED: list[Protocol] = []
"""The protocol of every operation."""


def target(name: str = "plate.zarr") -> Any:
    """Return what is opened of the service: a URL, or a store of zarr-python."""
    return USED[-1].target(name)


def new() -> Any:
    """Return where a new store is made."""
    return target("new.zarr")


def options() -> dict[str, Any]:
    """Return the storage options of the protocol."""
    used = USED[-1]
    return dict(used.options) if used.is_url else {}


SHAPE = (1, 2, 1, 16, 16)


@dataclass(frozen=True)
class Operation:
    """An operation.

    Attributes
    ----------
    run
        Make the call, with a folder for local files.
    done
        What the call may raise when it was made before, and its answer was lost.
    told
        Whether a result says that something could not be read, beside what it says where nothing fails; without it
        the call raises.
    reads
        Whether it changes nothing in the service.
    reports_absent
        Whether a 404 for a document that is there never changes a result in silence.
    only_urls
        Whether it works at URLs only.
    """

    run: Callable[[Path], object]
    done: tuple[type[LamellaError], ...] = ()
    told: Callable[[Any, Any], bool] | None = None
    reads: bool = False
    reports_absent: bool = False
    only_urls: bool = False

    def works_by(self, protocol: Protocol) -> bool:
        """Whether a protocol can do it."""
        return (self.reads or protocol.writes) and (protocol.is_url or not self.only_urls)


def pixels(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return pixels without zeros, so that what was never written shows."""
    return np.random.default_rng(seed).integers(1, 999, shape).astype("u2")


@cache
def files(version: str) -> dict[str, bytes]:
    """Return the objects of a plate of two wells, and of smaller stores."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "plate.zarr")
        with lamella.open_ome_zarr(root, "hcs", "w", ["a", "b"], version=version) as plate:
            for column in (1, 2):
                ratio = {} if version == "0.4" else {"shards_ratio": (1, 1, 1, 1, 2)}
                position = plate.create_position("A", str(column), "0")
                position.create_image("0", pixels(column), chunks=(1, 1, 1, 16, 8), **ratio)
                if column == 1:
                    position.labels.create("cells", label_pixels(column))
                    position.tables.write("drugs", {"dose": [column / 2, 3.0]}, backend="csv")
        with lamella.open_ome_zarr(
            Path(folder, "small.zarr"), "hcs", "w", ["a", "b"], version=version
        ) as plate:
            plate.create_position("A", "1", "0")["0"] = pixels(3)
        shutil.copytree(Path(folder, "small.zarr"), Path(folder, "broken.zarr"))
        with lamella.open_ome_zarr(Path(folder, "broken.zarr"), mode="r+") as plate:
            plate.zattrs.update(_broken(dict(plate.zattrs)))
        shutil.copytree(Path(folder, "small.zarr"), Path(folder, "unlisted.zarr"))
        with lamella.open_ome_zarr(Path(folder, "unlisted.zarr"), mode="r+") as plate:
            plate.metadata.wells = []
            plate.dump_meta()
        lamella.pack(root / "A/1/0", Path(folder, "image.zip"))
        return {
            f"{BUCKET}{file.relative_to(folder)}": file.read_bytes()
            for file in Path(folder).rglob("*")
            if file.is_file()
        }


def _broken(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a plate with a wrong index, which `repair` fixes."""
    return json.loads(json.dumps(attributes).replace('"columnIndex": 0', '"columnIndex": 7'))


def label_pixels(seed: int) -> np.ndarray:
    """Return four labels in squares."""
    return np.kron(np.arange(1, 5).reshape(2, 2) * seed, np.ones((8, 8))).astype("u1")[None, None]


def opened(mode: str = "r", name: str = "plate.zarr") -> Any:
    """Open the plate, or another store."""
    return lamella.open_ome_zarr(target(name), mode=mode, storage_options=options())


def position(path: str = "A/1/0") -> Any:
    """Open a position for changes."""
    return opened("r+")[path]


def content(node: Any) -> dict[str, Any]:
    """Return all that a reader sees of a store: pixels, labels, tables and the note of each image."""
    images = dict(node.positions()) if hasattr(node, "positions") else {"": node}
    return {path: _content_of(image) for path, image in images.items()}


def _content_of(image: Any) -> dict[str, Any]:
    found = {"note": image.zattrs.get("note"), "channels": image.channel_names}
    found |= {f"level {name}": image[name][...].tobytes() for name in image.dataset_paths}
    for name in image.labels:
        label = image.labels[name]
        found |= {f"label {name} {level}": label[level][...].tobytes() for level in label.dataset_paths}
    return found | {f"table {name}": image.tables[name].to_csv() for name in image.tables}


def seen(service: Service, store: str = "plate.zarr") -> dict[str, Any]:
    """Return what a reader sees of a store in the service, without asking the service."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    make = default_buffer_prototype().buffer.from_bytes
    prefix = f"{BUCKET}{store}/"
    stored = {
        key.removeprefix(prefix): make(data)
        for key, data in service.objects.items()
        if key.startswith(prefix)
    }
    return content(lamella.open_ome_zarr(MemoryStore(stored)))


# ---- operations that read -----------------------------------------------------------------------


def _see(folder: Path) -> object:
    return content(opened())


def _to_xarray(folder: Path) -> object:
    return opened()["A/1/0"].to_xarray().values.tolist()


def _preview(folder: Path) -> object:
    with opened() as plate:
        faults = write_preview(
            plate, str(folder / "a.png"), PreviewOptions(None, None, None, None, None, None), size=64, jobs=2
        )
    return [fault.path for fault in faults], (folder / "a.png").read_bytes()


def _table(folder: Path) -> object:
    with opened() as plate:
        return plate.tables["drugs"].to_csv(), str(plate.table())


def _measure(folder: Path) -> object:
    return opened()["A/1/0"].labels["cells"].measure(["area", "intensity_mean"], jobs=1).to_csv()


def _export(folder: Path) -> object:
    with opened() as plate:
        lamella.export(plate["A/1/0"], folder / "a.ome.tif", labels=True)
    from tifffile import imread

    return {file.name: imread(file).tolist() for file in folder.iterdir()}


def _download(folder: Path) -> object:
    return _copied(lamella.copy_store(target(), folder / "plate.zarr", storage_options=options()), folder)


def _unpack_here(folder: Path) -> object:
    return _copied(
        lamella.unpack(target("image.zip"), folder / "image.zarr", storage_options=options()), folder
    )


def _pack(folder: Path) -> object:
    _check_whole(lamella.pack(target(), folder / "plate.zip", storage_options=options()))
    with zipfile.ZipFile(folder / "plate.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _check_whole(report: Any) -> None:
    """Raise for a copy that is not whole; the web has no lists, so that other files may be there."""
    if not report and "cannot be listed over this connection" not in str(report.unseen):
        raise StorageError(f"{USED[-1].url}plate.zarr was not copied as a whole")


def _copied(report: Any, folder: Path) -> object:
    _check_whole(report)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _status(folder: Path) -> object:
    return [(image.path, image.state) for image in lamella.status(target(), storage_options=options()).images]


def _verify(folder: Path) -> object:
    report = lamella.verify(target(), storage_options=options())
    return report.files, [one.key for one in report.damage], bool(report.unread)


def _checksum(folder: Path) -> object:
    return lamella.checksum(target(), storage_options=options())


def _validate(folder: Path) -> object:
    report = lamella.validate(target(), storage_options=options())
    return report.readable, [(finding.rule, finding.node) for finding in report.findings]


def _validate_pixels(folder: Path) -> object:
    report = lamella.validate(target(), pixels=True, jobs=1, storage_options=options())
    return report.readable, [(finding.rule, finding.node) for finding in report.findings]


# ---- operations that change the plate -----------------------------------------------------------


def _write(folder: Path) -> None:
    position()["0"][0, 0, 0, :3, :3] = 7


def _edit(folder: Path) -> None:
    position().zattrs["note"] = "new"


def _create(folder: Path) -> None:
    with opened("r+") as plate:
        paths = [path for path, _ in plate.positions()]
        made = plate["B/3/0"] if "B/3/0" in paths else plate.create_position("B", "3", "0")
        if "0" in made.dataset_paths:
            made["0"][...] = pixels(3)
        else:
            made["0"] = pixels(3)


def _create_zeros(folder: Path) -> None:
    with opened("r+") as plate:
        plate.create_zeros("mask", SHAPE, "u1")


def _rename_well(folder: Path) -> None:
    opened("r+").rename_well("A/1", "C/3")


def _rename_position(folder: Path) -> None:
    opened("r+").rename_position("A/1/0", "9")


def _swap_wells(folder: Path) -> None:
    rename_wells(target(), {"A/1": "A/2", "A/2": "A/1"}, storage_options=options())


def _delete(folder: Path) -> None:
    del opened("r+")["A/1"]


def _add(folder: Path) -> None:
    with opened("r+") as plate:
        plate.add({"A/1/5": plate["A/2/0"]}, jobs=1)


def _append(folder: Path) -> None:
    """Append a frame, unless it is there."""
    data = position().data
    if len(data) == 1:
        data.append(pixels(5))
    else:
        data[1] = pixels(5)[0]


def _append_channel(folder: Path) -> None:
    position().append_channel("new")


def _delete_channel(folder: Path) -> None:
    position().delete_channel("b")


def _pyramid(folder: Path) -> None:
    position().compute_pyramid(levels=2)


def _update_pyramid(folder: Path) -> None:
    with position() as image:
        image.initialize_pyramid(2)
        image["0"][0, 0, 0, :3, :3] = 7
        image.update_pyramid(method="mean")


def _stream(folder: Path) -> None:
    with opened("r+") as plate:
        paths = [path for path, _ in plate.positions()]
        made = plate["A/1/1"] if "A/1/1" in paths else plate.create_position("A", "1", "1")
        with made.stream("0", (16, 16), "u2", order="tc", resume=True) as stream:
            for frame in pixels(6, (2, 16, 16))[stream.stored :]:
                stream.append(frame)


def half(image: lamella.Position) -> np.ndarray:
    """Map a position to other pixels."""
    return image["0"][:] // 2


def bright(block: np.ndarray) -> np.ndarray:
    """Label the bright pixels of a block by one id."""
    return (block[:, 0] > 500).astype("u1")


def _map(folder: Path) -> None:
    with opened("r+") as plate:
        plate.map(half, name="half", positions=["A/1/0"], jobs=1)


def _map_labels(folder: Path) -> None:
    with opened("r+") as plate:
        plate.map(bright, over="regions", name="labels/bright", halo=1, positions=["A/1/0"], jobs=1)


def _contrast(folder: Path) -> None:
    with opened("r+") as plate:
        plate.compute_contrast()


def _create_labels(folder: Path) -> None:
    position().labels.create("nuclei", label_pixels(3))


def _write_labels(folder: Path) -> None:
    label = position().labels["cells"]
    label["0"][0, 0, :2, :2] = 9
    label.set_colors({9: (0, 255, 0)})


def _label_levels(folder: Path) -> None:
    position().labels["cells"].compute_pyramid(levels=2)


def _rename_labels(folder: Path) -> None:
    position().labels.rename("cells", "nuclei")


def _delete_labels(folder: Path) -> None:
    del position().labels["cells"]


def _replace_tables(folder: Path) -> None:
    """Write a table over one of another backend."""
    position().tables.write("drugs", pd.DataFrame({"dose": [5.0]}), backend="json")


def _create_tables(folder: Path) -> None:
    tables = position().tables
    tables.write("new", pd.DataFrame({"area": [1.5, 2.5]}), backend="anndata")
    tables.write_rois("fields", {"left": {"x": (0, 4)}})


def _measure_into_table(folder: Path) -> None:
    position().labels["cells"].measure(["area"], name="sizes", jobs=1)


def _rename_tables(folder: Path) -> None:
    position().tables.rename("drugs", "doses")


def _delete_tables(folder: Path) -> None:
    del position().tables["drugs"]


def _repair(folder: Path) -> object:
    report = lamella.repair(target("broken.zarr"), backup=folder / "backup", storage_options=options())
    return [finding.rule for finding in report.after.findings]


def _reindex(folder: Path) -> None:
    with opened("r+", "unlisted.zarr") as plate:
        plate.reindex()


# ---- operations that make another store ---------------------------------------------------------


def _copy(folder: Path) -> None:
    _check_whole(lamella.copy_store(target(), new(), storage_options=options()))


def _unpack(folder: Path) -> None:
    _check_whole(lamella.unpack(target("image.zip"), new(), storage_options=options()))


def _upgrade(folder: Path) -> None:
    with opened() as plate:
        version = {"0.4": "0.5", "0.5": "0.6"}[plate.version]
    lamella.upgrade(target(), version, new(), jobs=1, storage_options=options())


def _rechunk(folder: Path) -> None:
    lamella.rechunk(target(), new(), chunks=(4, 16), jobs=1, storage_options=options())


def _merge(folder: Path) -> None:
    lamella.merge([target("small.zarr")] * 2, new(), renumber=True, jobs=1, storage_options=options())


def _subset(folder: Path) -> None:
    opened().subset(new(), wells=["A1"], crop={"x": (3, 12)}, jobs=1, storage_options=options())


def _from_positions(folder: Path) -> None:
    with opened() as plate:
        lamella.Plate.from_positions(new(), {"C/1/0": plate["A/1/0"]}, jobs=1, storage_options=options())


def _concatenate(folder: Path) -> None:
    with opened() as plate:
        images = [plate["A/2/0"], plate["A/2/0"]]
        lamella.concatenate_channels(
            images, new(), channel_names=["a", "b", "c", "d"], jobs=1, storage_options=options()
        ).close()


def _mosaic(folder: Path) -> None:
    with opened() as plate:
        plate.mosaic("A1").write(new(), jobs=1, storage_options=options())


def _convert(folder: Path) -> None:
    np.save(folder / "a.npy", pixels(7))
    lamella.export(_local(folder), folder / "a.ome.tif", overwrite=True)
    lamella.convert(
        folder / "a.ome.tif", new(), levels=2, chunks=(1, 8, 8), jobs=1, storage_options=options()
    )


def _local(folder: Path) -> Any:
    return lamella.write_image(folder / "a.zarr", pixels(7), overwrite=True)


def _write_image(folder: Path) -> None:
    lamella.write_image(
        new(), pixels(8, (16, 16)), "yx", levels=2, jobs=1, storage_options=options(), version="0.5"
    )


def _unread(result: Any, expected: Any) -> bool:
    return all(state in ("written", "unread") for _, state in result)


def _unread_files(result: Any, expected: Any) -> bool:
    return bool(result[2]) and not result[1]


def _unread_nodes(result: Any, expected: Any) -> bool:
    return all(one in expected[1] or one[0].startswith("LM-") for one in result[1])


READS = {
    "read": Operation(_see, reads=True),
    "read as xarray": Operation(_to_xarray, reads=True),
    "preview": Operation(_preview, told=lambda result, _: bool(result[0]), reads=True, reports_absent=True),
    "tables": Operation(_table, reads=True),
    "measure": Operation(_measure, reads=True),
    "export": Operation(_export, reads=True),
    "download": Operation(_download, reads=True),
    "unpack here": Operation(_unpack_here, reads=True, only_urls=True),
    "pack": Operation(_pack, reads=True),
    "status": Operation(_status, told=_unread, reads=True),
    "verify": Operation(_verify, told=_unread_files, reads=True),
    "checksum": Operation(_checksum, reads=True),
    "validate": Operation(_validate, told=_unread_nodes, reads=True),
    "validate pixels": Operation(_validate_pixels, told=_unread_nodes, reads=True),
}
WRITES = {
    "write": Operation(_write),
    "edit": Operation(_edit),
    "create": Operation(_create),
    "create zeros": Operation(_create_zeros, (NodeExistsError,)),
    "rename a well": Operation(_rename_well, (NodeNotFoundError,)),
    "rename a position": Operation(_rename_position, (NodeNotFoundError,)),
    "swap wells": Operation(_swap_wells),
    "delete": Operation(_delete, (NodeNotFoundError,)),
    "add": Operation(_add, (NodeExistsError,)),
    "append": Operation(_append),
    "append a channel": Operation(_append_channel, (InvalidArgumentError,)),
    "delete a channel": Operation(_delete_channel, (InvalidArgumentError,)),
    "pyramid": Operation(_pyramid),
    "update a pyramid": Operation(_update_pyramid),
    "stream": Operation(_stream),
    "map": Operation(_map),
    "map to labels": Operation(_map_labels),
    "contrast": Operation(_contrast),
    "create labels": Operation(_create_labels, (NodeExistsError,)),
    "write labels": Operation(_write_labels),
    "levels of labels": Operation(_label_levels),
    "rename labels": Operation(_rename_labels, (NodeNotFoundError,)),
    "delete labels": Operation(_delete_labels, (NodeNotFoundError,)),
    "create tables": Operation(_create_tables),
    "replace tables": Operation(_replace_tables),
    "measure into a table": Operation(_measure_into_table),
    "rename tables": Operation(_rename_tables, (NodeNotFoundError,)),
    "delete tables": Operation(_delete_tables, (NodeNotFoundError,)),
    # Each document that the check after the repair could not read is reported.
    "repair": Operation(_repair, told=lambda result, _: bool(result) and set(result) == {"LM-01"}),
    "reindex": Operation(_reindex),
    "copy": Operation(_copy, (StoreExistsError,)),
    "unpack": Operation(_unpack, (StoreExistsError,), only_urls=True),
    "upgrade": Operation(_upgrade, (StoreExistsError,)),
    "rechunk": Operation(_rechunk, (StoreExistsError,)),
    "merge": Operation(_merge, (StoreExistsError,)),
    "subset": Operation(_subset, (StoreExistsError,)),
    "from positions": Operation(_from_positions, (StoreExistsError,)),
    "concatenate channels": Operation(_concatenate, (StoreExistsError,)),
    "mosaic": Operation(_mosaic, (StoreExistsError,)),
    "convert": Operation(_convert, (StoreExistsError,)),
    "write an image": Operation(_write_image, (StoreExistsError,)),
}
OPERATIONS = {**READS, **WRITES}
