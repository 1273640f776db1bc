"""Laws: no name leads out of a store, and who reads a store writes nothing, anywhere."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torture.specimens import names, specimen, write_files

import lamella
from lamella.errors import InvalidArgumentError, InvalidNameError, LamellaError, NodeNotFoundError
from lamella.store.pixels.arrays import StoredArray

ROOT = Path(__file__).parents[2]


def watched(*arguments):
    """Run the script that records every call to the file system; return what should not have been."""
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("watched.py")), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
    )
    found = [line for line in ran.stdout.splitlines() if line.startswith("FOUND")]
    assert found, ran.stderr[-2000:]
    return json.loads(found[-1].removeprefix("FOUND"))


def states(folder):
    """Bytes and times of everything below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def test_no_name_in_a_call_or_a_document_touches_what_is_outside_of_the_store(tmp_path):
    inside, secret = tmp_path / "in", tmp_path / "secret.zarr"
    with lamella.open_ome_zarr(
        secret, layout="fov", mode="w", channel_names=["GFP"], version="0.5"
    ) as position:
        position.create_image("0", np.ones((1, 1, 1, 4, 4), "u2"))
    with lamella.open_ome_zarr(
        inside / "a.zarr", layout="fov", mode="w", channel_names=["GFP"], version="0.5"
    ) as image:
        image.create_image("0", np.ones((1, 1, 1, 4, 4), "u2"))
        image.labels.create("cells", np.ones((1, 1, 4, 4), "u2"))
    with lamella.open_ome_zarr(
        inside / "p.zarr", layout="hcs", mode="w", channel_names=["GFP"], version="0.5"
    ) as plate:
        plate.create_position("A", "1", "0").create_image("0", np.ones((1, 1, 1, 4, 4), "u2"))
    before = states(secret)
    assert watched("names", tmp_path) == []
    assert states(secret) == before


def test_reading_writes_nothing_anywhere(tmp_path):
    stores = []
    for name in names():
        stores.append(tmp_path / f"{name.replace(' ', '-')}.zarr")
        write_files(stores[-1], specimen(name))
    before = states(tmp_path)
    assert watched("reading", *stores) == []
    assert states(tmp_path) == before


def test_a_read_only_folder_is_read(tmp_path):
    store = tmp_path / "a.zarr"
    write_files(store, specimen("image 0.5"))
    folders = [store, *(path for path in store.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert lamella.open_ome_zarr(store)["0"][:].any()
        assert lamella.open_ome_zarr(store).data.tensorstore().read().result().any()
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.create_image("1", np.ones((1, 1))),
        lambda p: p.create_image("1", np.ones((1, 7, 1, 4, 4))),
        lambda p: p.create_image("1", np.ones((2, 2, 3, 16, 16)), chunks=(1, 1)),
        lambda p: p.create_image("1", np.ones((2, 2, 3, 16, 16)), compressor="lzma"),
        lambda p: p.create_image("0", np.ones((2, 2, 3, 16, 16))),
        lambda p: p.create_zeros("1", (2, 2, 3, 16, -1), "u2"),
        lambda p: p.create_zeros("1", (2, 2, 3, 16, 16), "U4"),
        lambda p: p["0"].__setitem__((0, 0), np.ones((5, 5))),
        lambda p: p["0"].__setitem__((99,), 1),
        lambda p: p["0"].append(np.ones((1, 1, 3, 16, 16)), axis=0),
        lambda p: p["0"].resize(1, 2),
        lambda p: p.append_channel("DAPI"),
        lambda p: p.rename_channel("none", "other"),
        lambda p: p.update_channel("none", "0", 1),
        lambda p: p.set_scale("0", "q", 1),
        lambda p: p.set_scale("0", "x", float("nan")),
        lambda p: p.set_transform("9", []),
        lambda p: p.set_contrast_limits("none", {"start": 0, "end": 1, "min": 0, "max": 1}),
        lambda p: p.labels.create("cells", np.ones((3, 3))),
        lambda p: p.labels.rename("none", "other"),
        lambda p: p.compute_pyramid(levels=0),
        lambda p: p.compute_pyramid(levels=3, method="guess"),
        lambda p: p.__delitem__("none"),
        lambda p: lamella.upgrade(p.store_handle.name, "0.7"),
        lambda p: lamella.rechunk(p.store_handle.name, chunks=(0, 0)),
    ],
)
def test_a_bad_call_leaves_every_byte_as_it_was(tmp_path, call):
    store = tmp_path / "a.zarr"
    write_files(store, specimen("image 0.5"))
    position = lamella.open_ome_zarr(store, mode="r+")
    before = {name: data for name, (_, data) in states(tmp_path).items()}
    with pytest.raises((LamellaError, TypeError)):
        call(position)
    assert {name: data for name, (_, data) in states(tmp_path).items()} == before


@pytest.mark.parametrize(
    "name", ["zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata", ".lamella-copy"]
)
def test_no_member_gets_the_name_of_a_metadata_or_temporary_file(tmp_path, version, name):
    path = tmp_path / "a.zarr"
    image = lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["GFP"], version=version)
    cells = np.ones((1, 1, 4, 4), "u2")
    image["0"] = cells[:, None]
    image.labels["cells"] = cells
    image.tables["sizes"] = {"size": [1]}
    before = states(path)
    for call in (
        lambda: image.labels.create(name, cells),
        lambda: image.labels.create(name, dtype="u2"),
        lambda: image.labels.rename("cells", name),
        lambda: image.tables.write(name, {"size": [1]}),
        lambda: image.tables.rename("sizes", name),
        lambda: image.create_zeros(name, (1, 1, 1, 4, 4), "u2"),
        lambda: image.create_zeros(f"{name}/more", (1, 1, 1, 4, 4), "u2"),
        lambda: image.map(np.negative, f"labels/{name}"),
        lambda: image.map(np.negative, f"{name}/more"),
        lambda: image.stream(f"{name}/more", (4, 4), "u2", order="t"),
    ):
        with pytest.raises(InvalidNameError):
            call()
    assert states(path) == before


@pytest.mark.parametrize("name", ["a\0b", "../up", "/abs", "x" * 300])
def test_a_link_or_archive_is_no_way_around(tmp_path, name):
    import zipfile

    import zarr

    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for key, data in specimen("image 0.5").items():
            packed.writestr(key, data)
        packed.writestr(f"{name.replace(chr(0), '0')}/zarr.json", specimen("image 0.5")["zarr.json"])
    position = lamella.open_ome_zarr(zarr.storage.ZipStore(archive, mode="r"))
    before = states(tmp_path)
    with pytest.raises((InvalidNameError, NodeNotFoundError)):
        position[name]
    assert position["0"].shape == (2, 2, 3, 16, 16)
    assert states(tmp_path) == before


def test_mode_w_follows_no_link_and_removes_only_stores(tmp_path):
    outside, link, folder = tmp_path / "precious.zarr", tmp_path / "link.zarr", tmp_path / "notes.zarr"
    write_files(outside, specimen("plain 0.5"))
    link.symlink_to(outside, target_is_directory=True)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "link").symlink_to(outside, target_is_directory=True)
    for path in (link, folder):
        for unchecked in (False,) if path is folder else (False, True):
            with pytest.raises(LamellaError):
                lamella.open_ome_zarr(
                    path, layout="fov", mode="w", channel_names=["A"], disable_path_checking=unchecked
                )
    before = states(outside)
    lamella.open_ome_zarr(
        folder, layout="fov", mode="w", channel_names=["A"], disable_path_checking=True
    ).close()
    assert not (folder / "notes.txt").exists()
    assert states(outside) == before


#: Each kind of place that may be a link, and what else of the plate is read without it.
LINKED = {
    "document of the plate": ("zarr.json", []),
    "row": ("A", ["B/2/0"]),
    "well": ("A/1", ["B/2/0"]),
    "document of a well": ("A/1/zarr.json", ["B/2/0"]),
    "position": ("A/1/0", ["A/1/1", "B/2/0"]),
    "document of a position": ("A/1/0/zarr.json", ["A/1/1", "B/2/0"]),
    "array": ("A/1/0/0", ["A/1/1", "B/2/0"]),
    "document of an array": ("A/1/0/0/zarr.json", ["A/1/1", "B/2/0"]),
    "chunks": ("A/1/0/0/c", ["A/1/1", "B/2/0"]),
}


def linked(tmp_path, place):
    """A plate, one place of which is a link to the same place of another plate."""
    store, other = tmp_path / "in" / "p.zarr", tmp_path / "other.zarr"
    for path in (store, other):
        write_files(path, specimen("plate 0.5"))
    gone = store / place
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    gone.symlink_to(other / place)
    return store, other


def pixels_of(plate):
    """Sums of the positions that are read, by path; the faults of those that are not."""
    sums, faults = {}, []
    for path, position in plate.positions(on_error="report"):
        try:
            sums[path] = int(position["0"][...].sum()) if isinstance(position, lamella.Position) else 0
            faults += [] if sums[path] else [position]
        except LamellaError as fault:
            faults.append(fault)
    return {path: n for path, n in sums.items() if n}, faults


@pytest.mark.parametrize("kind", LINKED)
def test_a_link_out_of_the_store_is_refused_and_the_rest_is_read(tmp_path, kind):
    place, others = LINKED[kind]
    store, other = linked(tmp_path, place)
    if others:
        sums, faults = pixels_of(lamella.open_ome_zarr(store))
        assert list(sums) == others
    else:
        with pytest.raises(InvalidNameError) as caught:
            lamella.open_ome_zarr(store)
        faults = [caught.value]
    for fault in faults:
        assert isinstance(fault, InvalidNameError)
        assert f"'{place}' leaves the store {store}: a symbolic link leads to {other / place}" in str(fault)
        assert "disable_path_checking=True" in str(fault)
    # Every other way in: names the place, and goes on where there is more.
    findings = lamella.validate(store, pixels=True, jobs=1).findings
    assert [f"{place!r} leaves the store" in one.found for one in findings].count(True) == 1
    damage = lamella.verify(store, jobs=1).damage
    assert [one.key for one in damage] == [place.removesuffix("/c")]
    if others:
        assert {image.path for image in lamella.status(store).images if image.state == "written"} == set(
            others
        )
    for call in (lamella.checksum, lambda path: lamella.upgrade(path, "0.4", tmp_path / "new.zarr", jobs=1)):
        with pytest.raises(InvalidNameError, match=f"'{place}' leaves the store"):
            call(store)


def test_nothing_behind_a_link_out_of_the_store_is_opened_or_listed(tmp_path):
    stores = [linked(tmp_path / str(n), place)[0] for n, (place, _) in enumerate(LINKED.values())]
    assert watched("links", *stores) == []


@pytest.mark.parametrize("kind", LINKED)
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_links_are_followed_where_path_checking_is_disabled(tmp_path, kind, mode):
    store, other = linked(tmp_path, LINKED[kind][0])
    plate = lamella.open_ome_zarr(store, mode=mode, disable_path_checking=True)
    sums, faults = pixels_of(pickle.loads(pickle.dumps(plate)))
    assert (list(sums), faults) == (["A/1/0", "A/1/1", "B/2/0"], [])
    if mode == "r+":
        plate["A/1/0"]["0"][...] = 7
        expected = other if kind in ("row", "well", "position", "array", "chunks") else store
        assert (lamella.open_ome_zarr(expected / "A/1/0", disable_path_checking=True)["0"][...] == 7).all()


@pytest.mark.parametrize("engine", ["files", "zarr"])
@pytest.mark.parametrize("place", ["0", "0/c", "0/c/0/0", "0/c/0/0/0/0/0"])
def test_no_engine_reads_pixels_through_a_link_out_of_the_store(tmp_path, engine, place):
    store, other = tmp_path / "a.zarr", tmp_path / "b.zarr"
    for path in (store, other):
        write_files(path, specimen("image 0.5"))
    gone = store / place
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    gone.symlink_to(other / place)
    array = StoredArray(lamella.open_ome_zarr(store).documents, "0", engine=engine)
    with pytest.raises(InvalidNameError, match=f"'{place}' leaves the store"):
        array.read((0, 0))


@pytest.mark.parametrize("engine", ["files", "zarr", None])
@pytest.mark.parametrize("place", ["0/c", "0/c/0/0", "0/c/0/0/0/0/0"])
@pytest.mark.parametrize("index", [..., (0, 0, 0, slice(0, 3))], ids=["whole", "part"])
def test_no_engine_writes_pixels_through_a_link_out_of_the_store(tmp_path, engine, place, index):
    store, other = tmp_path / "a.zarr", tmp_path / "b.zarr"
    for path in (store, other):
        write_files(path, specimen("image 0.5"))
    gone = store / place
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    gone.symlink_to(other / place)
    before = states(other)
    array = StoredArray(lamella.open_ome_zarr(store, mode="r+").documents, "0", engine=engine)
    refused = None
    try:
        array.write(index, 7)
    except InvalidNameError as fault:
        refused = str(fault)
    if refused is None:  # a file that is written whole takes the place of the link
        assert not gone.is_symlink()
        assert (array.read(index) == 7).all()
    else:
        assert f"'{place}' leaves the store" in refused
    assert states(other) == before


@pytest.mark.parametrize("text", ["relative", "absolute", "through a link to the store"])
def test_links_within_a_store_are_followed(tmp_path, text):
    store = tmp_path / "p.zarr"
    write_files(store, specimen("plate 0.5"))
    (tmp_path / "alias").symlink_to(store)
    shutil.rmtree(store / "A/1/0")
    target = {"relative": Path("1"), "absolute": store / "A/1/1"}.get(text, tmp_path / "alias/A/1/1")
    (store / "A/1/0").symlink_to(target)
    for root in (store, tmp_path / "alias"):
        sums, faults = pixels_of(lamella.open_ome_zarr(root))
        assert (list(sums), faults) == (["A/1/0", "A/1/1", "B/2/0"], [])


@pytest.mark.parametrize("length", [241, 255])
def test_a_name_as_long_as_file_systems_allow_works_wherever_a_short_one_does(tmp_path, length):
    def path(letter, ending):
        return tmp_path / (letter * (length - len(ending)) + ending)

    store, pixels = path("s", ".zarr"), np.arange(32, dtype="u2").reshape(2, 4, 4)
    lamella.write_image(store, pixels, "cyx", version="0.5").close()
    lamella.write_image(store, pixels, "cyx", version="0.5", overwrite=True).close()
    lamella.upgrade(store, "0.6")
    lamella.rechunk(store, chunks=(1, 2, 2))
    assert lamella.checksum(store, path("m", ".sums"))
    assert lamella.verify(store, manifest=path("m", ".sums"), record=path("r", ".record"))
    lamella.copy_store(store, path("c", ".zarr"))
    lamella.rechunk(store, path("n", ".zarr"), chunks=(1, 4, 4))
    lamella.pack(store, path("p", ".ozx"))
    lamella.unpack(path("p", ".ozx"), path("u", ".zarr"))
    lamella.write_image(path("w", ".ozx"), pixels, "cyx").close()
    lamella.export(store, path("e", ".ome.tif"))
    lamella.convert(path("e", ".ome.tif"), path("v", ".zarr"))
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    with lamella.open(store, "r+") as image:
        image.labels["a" * length] = np.ones((4, 4), "u1")
        image.labels.rename("a" * length, "b" * length)
        image.create_zeros("d" * length, (2, 4, 4), "u2")[...] = 1
        assert list(image.labels) == ["b" * length]
    for letter, ending in (("s", ".zarr"), ("c", ".zarr"), ("n", ".zarr"), ("p", ".ozx")):
        with lamella.open(path(letter, ending)) as image:
            assert np.array_equal(image.data[...], pixels)


@pytest.mark.parametrize("length", [241, 255])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_wells_and_fields_with_long_names_are_created_and_renamed(tmp_path, version, length):
    a, b, c = (letter * length for letter in "abc")
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["GFP"], version=version
    ) as plate:
        plate.create_position(a, b, c)["0"] = np.ones((1, 1, 1, 4, 4), "u2")
        plate.rename_well(f"{a}/{b}", f"{b}/{a}")
        plate.rename_position(f"{b}/{a}/{c}", a)
        assert plate.position_paths() == [f"{b}/{a}/{a}"]


def test_a_name_too_long_for_the_file_system_is_refused_before_anything_is_written(tmp_path):
    lamella.write_image(tmp_path / "s.zarr", np.zeros((4, 4), "u2"), "yx").close()
    for operation in (
        lambda path: lamella.write_image(path, np.zeros((4, 4), "u2"), "yx"),
        lambda path: lamella.upgrade(tmp_path / "s.zarr", "0.6", path),
        lambda path: lamella.copy_store(tmp_path / "s.zarr", path),
        lambda path: lamella.checksum(tmp_path / "s.zarr", path),
        lambda path: lamella.pack(tmp_path / "s.zarr", f"{path}.ozx"),
    ):
        with pytest.raises(InvalidArgumentError, match=r"too long for .* Choose a shorter one"):
            operation(str(tmp_path / ("x" * 256)))
    assert os.listdir(tmp_path) == ["s.zarr"]
