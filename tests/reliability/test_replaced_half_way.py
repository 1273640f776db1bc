"""Law: an array or position that replaces another one is there whole, or the old one is, after a kill anywhere."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore

import lamella
from lamella.errors import LamellaError, StorageError
from lamella.models import TransformationMeta
from lamella.store.files import file_system, temporary_files
from lamella.store.files.temporary_files import sweep_folder

from .faults import Faults, chosen
from .refusing import Refusing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHAPE = (2, 2, 1, 8, 12)


class CutShortError(BaseException):
    """Stands for the death of the process: no later step is made either."""


def cut(_: str) -> None:
    raise CutShortError


def pixels(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 60000, shape, dtype="uint16")


def frames(*times: float) -> xr.DataArray:
    """Frames whose pixels say when they were taken."""
    data = np.stack([np.full(SHAPE[1:], 10 * time + 1, "uint16") for time in times])
    return xr.DataArray(data, dims=list("tczyx"), coords={"t": list(times), "c": ["DAPI", "GFP"]})


def image(folder: Path, version: str) -> None:
    """Make an image of two levels."""
    with lamella.open_ome_zarr(
        folder / "a.zarr", layout="fov", mode="w-", channel_names=["DAPI", "GFP"], version=version
    ) as position:
        position.create_image("0", pixels(1), chunks=SHAPE)
        position.compute_pyramid(2)


def plate(folder: Path, version: str) -> None:
    """Make a plate of two images."""
    with lamella.open_ome_zarr(
        folder / "a.zarr", layout="hcs", mode="w-", channel_names=["DAPI"], version=version
    ) as node:
        for seed, field in enumerate("01"):
            node.create_position("A", "1", field).create_image("0", pixels(seed)[:, :1])


def replace_image(store: object) -> None:
    with lamella.open_ome_zarr(store, mode="r+", overwriting_creation=True) as position:
        half = TransformationMeta(type="scale", scale=[1.0, 1.0, 1.0, 0.5, 0.5])
        position.create_image("0", pixels(2).astype("float32"), chunks=SHAPE, transform=[half])


def replace_by_zeros(store: object) -> None:
    with lamella.open_ome_zarr(store, mode="r+", overwriting_creation=True) as position:
        position.create_zeros("1", (2, 2, 1, 4, 6), "float32")


def replace_position(store: object) -> None:
    with lamella.open_ome_zarr(store, mode="r+", overwriting_creation=True) as node:
        node.create_position("A", "1", "1")


WORKS: dict[str, tuple[Callable[[Path, str], None], Callable[[object], None], str]] = {
    "an image": (image, replace_image, "0.4"),
    "a level": (image, replace_by_zeros, "0.5"),
    "a position": (plate, replace_position, "0.4"),
}


def seen(store: object) -> dict[str, object]:
    """What a reader finds: of each image its channels, scales, levels, times and pixels, and what counts as stale."""
    node = lamella.open_ome_zarr(store)
    images = dict(node.positions()) if isinstance(node, lamella.Plate) else {"": node}
    found: dict[str, object] = {}
    for path, one in images.items():
        found[path, "channels"] = one.channel_names
        for level in one.dataset_paths:
            found[path, level] = (one[level][:].tobytes(), str(one[level].dtype), one[level].shape)
            found[path, level, "scale"] = tuple(one.get_effective_scale(level))
        if one.dataset_paths:
            found[path, "times"] = tuple(one.to_xarray()["t"].values.tolist())
            found[path, "stale"] = one.stale_levels
    return found


def before_and_after(folder: Path, name: str) -> tuple[dict[str, object], dict[str, object], list[str]]:
    """What a reader finds before and after the work, and the steps of the work."""
    make, run, version = WORKS[name]
    folder.mkdir()
    make(folder, version)
    old = seen(folder / "a.zarr")
    shutil.copytree(folder, folder.parent / "template")
    with Faults(folder) as faults:
        run(folder / "a.zarr")
    return old, seen(folder / "a.zarr"), faults.steps


def killed(folder: Path, name: str, steps: list[str]) -> Iterator[Path]:
    """Yield copies of a store in which the work came to some of its steps, and no further."""
    for n in chosen(steps, 12):
        shutil.copytree(folder / "template", made := folder / str(n))
        with Faults(made, n, cut, lasting=True), suppress(CutShortError):
            WORKS[name][1](made / "a.zarr")
        yield made


def is_old_or_new(found: dict[str, object], old: dict[str, object], new: dict[str, object]) -> bool:
    """Whether a reader finds what was there or comes; levels may count as stale before they are replaced."""
    if found in (old, new):
        return True
    rest = {key: value for key, value in found.items() if key[-1] != "stale"}
    return rest.items() <= old.items() and found["", "stale"] is True


@pytest.mark.parametrize("name", WORKS)
def test_what_is_replaced_is_old_or_new_at_every_step_and_the_next_writer_ends_it(tmp_path, name):
    old, new, steps = before_and_after(tmp_path / "whole", name)
    assert old != new
    assert "exchange" in [step.split()[0] for step in steps]
    met = []
    for folder in killed(tmp_path, name, steps):
        found = seen(folder / "a.zarr")
        assert is_old_or_new(found, old, new)
        met.append(found == new)
        WORKS[name][1](folder / "a.zarr")
        assert seen(folder / "a.zarr") == new
    assert met == sorted(met)  # first the old one, then the new one
    assert 0 < sum(met) < len(met)


@pytest.mark.parametrize("name", ["an image", "a level"])
def test_where_names_cannot_be_exchanged_a_level_is_old_or_new(tmp_path, name, monkeypatch):
    monkeypatch.setattr(file_system, "exchange", lambda *_: False)
    old, new, steps = before_and_after(tmp_path / "whole", name)
    moved = 0
    for folder in killed(tmp_path, name, steps):
        moved += not (folder / "a.zarr" / ("0" if name == "an image" else "1")).exists()
        assert is_old_or_new(seen(folder / "a.zarr"), old, new)
        WORKS[name][1](folder / "a.zarr")
        assert seen(folder / "a.zarr") == new
    assert moved


def test_a_level_of_a_store_at_a_url_is_old_or_new_and_the_next_writer_ends_it(tmp_path):
    image(tmp_path, "0.5")
    root = tmp_path / "a.zarr"
    files = {str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*") if one.is_file()}
    old = seen(root)
    replace_image(root)
    new, met = seen(root), set()
    for left in range(100):
        store = MemoryStore({key: cpu.Buffer.from_bytes(data) for key, data in files.items()})
        try:
            replace_image(Refusing(store, left))
        except LamellaError:
            done = False
        else:
            done = True
        found = seen(store)
        assert is_old_or_new(found, old, new)
        met.add("moved" if "0/zarr.json" not in store._store_dict else found == new)
        if done:
            break
        with lamella.open_ome_zarr(store, mode="r+") as position:
            position.rename_channel("GFP", "Actin")
            position.rename_channel("Actin", "GFP")
        assert seen(store) == (new if met & {"moved", True} else old)
        assert not [key for key in store._store_dict if ".lamella-" in key]
    assert met == {False, True, "moved"}


def test_frames_that_are_moved_are_found_at_their_times_at_every_step(tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "template" / "a.zarr", layout="fov", mode="w", channel_names=["DAPI", "GFP"]
    ) as position:
        position.write_xarray(frames(0, 60, 120))

    def add(folder: Path) -> None:
        with lamella.open_ome_zarr(folder / "a.zarr", mode="r+") as position:
            position.write_xarray(frames(30))

    shutil.copytree(tmp_path / "template", tmp_path / "whole")
    with Faults(tmp_path / "whole") as faults:
        add(tmp_path / "whole")
    met = set()
    for n in chosen(faults.steps, 16):
        shutil.copytree(tmp_path / "template", folder := tmp_path / str(n))
        with Faults(folder, n, cut, lasting=True), suppress(CutShortError):
            add(folder)
        found = lamella.open_ome_zarr(folder / "a.zarr").to_xarray()
        there = {time: int(found.sel(t=time)[0, 0, 0, 0]) for time in found["t"].values.tolist()}
        met.add(len(there))
        assert {time: value for time, value in there.items() if value} in (
            {0: 1, 60: 601, 120: 1201},
            {0: 1, 30: 301, 60: 601, 120: 1201},
        )
        add(folder)
        again = lamella.open_ome_zarr(folder / "a.zarr")
        assert again.to_xarray()[:, 0, 0, 0, 0].values.tolist()[:3] == [1, 301, 601]
        assert again.array_keys() == ["0"]
        assert set(again.zattrs["lamella"]) <= {"xarray_times", "times"}
        assert "lamella" not in again["0"].attrs
    assert met == {3, 5}


def fill_plate(url: str, new: Path) -> None:
    """Add the image to a new plate of the other Zarr format, in which it is encoded again."""
    version = "0.5" if "0.4" in url else "0.4"
    with lamella.open_ome_zarr(new, layout="hcs", mode="w", channel_names=["DAPI"], version=version) as node:
        node.add({"A/1/0": lamella.open_ome_zarr(url)})


COPIES = {
    "copy": lamella.copy_store,
    "pack": lambda url, new: lamella.pack(url, new.with_suffix(".zip")),
    "rechunk": lambda url, new: lamella.rechunk(url, new, chunks=(1, 4, 6)),
    "upgrade": lambda url, new: lamella.upgrade(url, "0.5" if "0.4" in url else "0.6", new),
    "plate": lambda url, new: lamella.Plate.from_positions(new, {"A/1/0": lamella.open_ome_zarr(url)}),
    "other format": fill_plate,
}
"""What copies the image at a URL."""


def test_an_array_that_is_stored_under_neither_name_is_read_as_the_new_one_and_never_left_out(
    service, version, tmp_path
):
    """At a store without renames the old array is deleted before the new one is copied to its name."""
    url = f"s3://bucket/{version}.zarr"
    with lamella.open_ome_zarr(
        url, layout="fov", mode="w-", channel_names=["DAPI", "GFP"], version=version
    ) as position:
        position.create_image("0", pixels(1), chunks=(1, 1, 1, 8, 12))
        position.compute_pyramid(2)
    reader = lamella.open_ome_zarr(url)
    service.fail(500, method="PUT", path=r"zarr/0/(\.zattrs|zarr\.json)$")
    with pytest.raises(LamellaError):
        lamella.open_ome_zarr(url, mode="r+").delete_channel("GFP")
    assert not [key for key in service.objects if "zarr/0/" in key]
    for image in (reader, lamella.open_ome_zarr(url)):
        assert (image.dataset_paths, image.channel_names) == (["0"], ["DAPI"])
        assert np.array_equal(image["0"][...], pixels(1)[:, :1])
        assert np.array_equal(image.to_xarray().values, pixels(1)[:, :1])
    assert lamella.status(url).counts["written"] == 1
    for name, copy in COPIES.items():
        with pytest.raises(StorageError, match=f"{url}/0 is being replaced"):
            copy(url, tmp_path / f"{name}.zarr")
    service.heal()
    lamella.open_ome_zarr(url, mode="r+").delete_channel("GFP")
    assert np.array_equal(lamella.open_ome_zarr(url)["0"][...], pixels(1)[:, :1])
    for name, copy in COPIES.items():
        copy(url, tmp_path / f"{name}.zarr")
        assert np.array_equal(reader["0"][...], pixels(1)[:, :1])


def test_an_array_of_which_a_document_is_missing_half_way_is_not_the_old_one(service):
    """Zarr v2 has two documents of an array; the one that says which array it is may come last."""
    url = "s3://bucket/a.zarr"
    with lamella.open_ome_zarr(
        url, layout="fov", mode="w-", channel_names=["DAPI", "GFP"], version="0.4"
    ) as position:
        position.create_image("0", pixels(1), chunks=(1, 1, 1, 8, 12))
    service.fail(500, method="PUT", path=r"/0/\.zattrs$")
    service.fail(500, method="POST", after=2)  # the copies are not removed either
    with pytest.raises(LamellaError):
        lamella.open_ome_zarr(url, mode="r+").delete_channel("GFP")
    assert "/bucket/a.zarr/0/.zarray" in service.objects
    assert "/bucket/a.zarr/0/.zattrs" not in service.objects
    service.heal()
    assert np.array_equal(lamella.open_ome_zarr(url)["0"][...], pixels(1)[:, :1])
    lamella.open_ome_zarr(url, mode="r+").delete_channel("GFP")
    assert np.array_equal(lamella.open_ome_zarr(url)["0"][...], pixels(1)[:, :1])


REPLACED: dict[str, tuple[Callable[[lamella.Position], object], Callable[[lamella.Position, int], None]]] = {
    "labels": (
        lambda image: int(image.labels["cells"].data[:].max()),
        lambda image, value: image.labels.__setitem__("cells", np.full((2, 1, 8, 12), value, "uint8")),
    ),
    "a table": (
        lambda image: int(image.tables["sizes"]["area"].iloc[0]),
        lambda image, value: image.tables.__setitem__("sizes", pd.DataFrame({"area": [value]})),
    ),
}


@pytest.mark.parametrize("name", REPLACED)
def test_where_names_cannot_be_exchanged_what_was_written_is_kept_and_the_next_call_ends_it(
    tmp_path, name, monkeypatch
):
    monkeypatch.setattr(file_system, "exchange", lambda *_: False)
    read, write = REPLACED[name]
    (tmp_path / "template").mkdir()
    image(tmp_path / "template", "0.5")
    with lamella.open(tmp_path / "template" / "a.zarr", "r+") as node:
        write(node, 1)
    shutil.copytree(tmp_path / "template", tmp_path / "whole")
    with Faults(tmp_path / "whole") as faults, lamella.open(tmp_path / "whole" / "a.zarr", "r+") as node:
        write(node, 2)
    met = []
    for n in chosen(faults.steps, 30):
        shutil.copytree(tmp_path / "template", made := tmp_path / str(n))
        with (
            Faults(made, n, cut, lasting=True),
            suppress(CutShortError),
            lamella.open(made / "a.zarr", "r+") as node,
        ):
            write(node, 2)
        kept = [
            path for path in made.rglob("*") if path.name in ("cells", "sizes") or ".replacing-" in path.name
        ]
        assert kept
        met.append(not any(path.name in ("cells", "sizes") for path in kept))
        with monkeypatch.context() as patch:  # the process that was killed is this one
            patch.setattr(temporary_files, "_is_alive", lambda _: False)
            sweep_folder(str(kept[0].parent))
        assert read(lamella.open(made / "a.zarr")) in (1, 2)
        with lamella.open(made / "a.zarr", "r+") as node:
            write(node, 3)
        assert read(lamella.open(made / "a.zarr")) == 3
        assert not [path for path in made.rglob("*") if ".replacing-" in path.name]
    assert any(met)
