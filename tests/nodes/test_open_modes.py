"""Laws of opening: what each mode does to each thing that can be at a path, and what it never touches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lamella
from lamella import open_ome_zarr
from lamella.errors import InvalidArgumentError, LamellaError, StoreExistsError
from lamella.models import axes
from lamella.spec.own_key import with_creating
from lamella.store.files.temporary_files import abandon, temporary_name

from .conftest import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable


def make_store(path: Path) -> None:
    with open_ome_zarr(path, layout="fov", mode="w-", channel_names=["old"], version="0.5") as position:
        position["0"] = np.ones((1, 1, 1, 4, 4), "uint8")


def make_other(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("five years")


def make_link(path: Path) -> None:
    make_store(path.with_name("real.zarr"))
    path.symlink_to("real.zarr", target_is_directory=True)


def make_plain_group(path: Path) -> None:
    import zarr

    zarr.create_group(path, zarr_format=3, attributes={"mine": 1})


THINGS: dict[str, Callable[[Path], Any]] = {
    "nothing": lambda path: None,
    "empty folder": lambda path: path.mkdir(),
    "image": make_store,
    "other folder": make_other,
    "file": lambda path: path.write_text("not a store"),
    "link": make_link,
    "broken link": lambda path: path.symlink_to("nowhere"),
}

# What opening with layout="fov" does: an error family, "new" for a new store, "old" for the one that was there.
TABLE: dict[str, dict[str, Any]] = {
    "nothing": {"r": FileNotFoundError, "r+": FileNotFoundError, "a": "new", "w": "new", "w-": "new"},
    "empty folder": {"r": ValueError, "r+": ValueError, "a": "new", "w": "new", "w-": FileExistsError},
    "image": {"r": "old", "r+": "old", "a": "old", "w": "new", "w-": FileExistsError},
    "other folder": {
        "r": ValueError,
        "r+": ValueError,
        "a": ValueError,
        "w": ValueError,
        "w-": FileExistsError,
    },
    "file": {"r": ValueError, "r+": ValueError, "a": ValueError, "w": ValueError, "w-": FileExistsError},
    "link": {"r": "old", "r+": "old", "a": "old", "w": ValueError, "w-": FileExistsError},
    "broken link": {
        "r": FileNotFoundError,
        "r+": FileNotFoundError,
        "a": ValueError,
        "w": ValueError,
        "w-": FileExistsError,
    },
}


@pytest.mark.parametrize("mode", ["r", "r+", "a", "w", "w-"])
@pytest.mark.parametrize("thing", list(TABLE))
@pytest.mark.parametrize("as_text", [True, False])
def test_mode_table(path, thing, mode, as_text, version, refused):
    THINGS[thing](path)
    target = str(path) if as_text else path
    expected = TABLE[thing][mode]

    def opened() -> lamella.Position:
        return open_ome_zarr(target, layout="fov", mode=mode, channel_names=["new"], version=version)

    if isinstance(expected, type):
        with refused(expected):
            opened()
        return
    with opened() as position:
        assert position.channel_names == [expected]
        assert position.version == ("0.5" if expected == "old" else version)
        assert list(position) == (["0"] if expected == "old" else [])
        if mode == "r":
            with pytest.raises(PermissionError):
                position["1"] = np.ones((1, 1, 1, 4, 4), "uint8")
        else:
            position["1"] = np.ones((1, 1, 1, 4, 4), "uint8")


@pytest.mark.parametrize("thing", ["image", "other folder", "empty folder"])
def test_w_needs_zarr_in_the_path(tmp_path, thing, refused):
    path = tmp_path / "results"
    THINGS[thing](path)
    with refused(ValueError, match=r"\.zarr"):
        open_ome_zarr(path, layout="fov", mode="w", channel_names=["new"])


@pytest.mark.parametrize("thing", ["image", "other folder", "empty folder"])
@pytest.mark.parametrize("name", ["results", "results.zarr"])
def test_disable_path_checking_lets_w_overwrite_a_folder(tmp_path, thing, name):
    path = tmp_path / name
    THINGS[thing](path)
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["new"], disable_path_checking=True
    ) as position:
        assert position.channel_names == ["new"]
    assert sorted(os.listdir(path)) == [".zattrs", ".zgroup"]


@pytest.mark.parametrize("thing", ["link", "file", "broken link"])
def test_disable_path_checking_never_deletes_files_and_links(path, thing, refused):
    THINGS[thing](path)
    with refused(ValueError):
        open_ome_zarr(path, layout="fov", mode="w", channel_names=["new"], disable_path_checking=True)


def test_w_creates_a_store_without_zarr_in_its_path_where_nothing_is(tmp_path):
    with open_ome_zarr(tmp_path / "results", layout="fov", mode="w", channel_names=["DAPI"]) as position:
        assert position.channel_names == ["DAPI"]


BAD_ARGUMENTS = {
    "layout auto": {"layout": "auto"},
    "unknown layout": {"layout": "well"},
    "no channel names": {"channel_names": None},
    "channel names as text": {"channel_names": "DAPI"},
    "channel name twice": {"channel_names": ["DAPI", "DAPI"]},
    "empty channel name": {"channel_names": ["DAPI", ""]},
    "one axis": {"axes": axes("x"), "channel_names": []},
    "axes out of order": {"axes": [*reversed(axes("zyx"))][:2] + axes("c")},
    "axes that are no axes": {"axes": ["t", "c", "y", "x"]},
    "unknown version": {"version": "0.3"},
    "a channel name that JSON cannot have": {"channel_names": ["\ud800"]},
    "channels without an axis for them": {"axes": axes("zyx"), "channel_names": ["DAPI", "GFP"]},
}


@pytest.mark.parametrize("mode", ["w", "w-", "a"])
@pytest.mark.parametrize("case", list(BAD_ARGUMENTS))
def test_arguments_are_checked_before_anything_is_touched(tmp_path, mode, case, refused):
    path = tmp_path / "store.zarr"
    if mode == "w":
        make_store(path)
    good = {"layout": "fov", "channel_names": ["DAPI"], "version": "0.5"}
    with refused(ValueError):
        open_ome_zarr(path, mode=mode, **{**good, **BAD_ARGUMENTS[case]})


def test_an_unknown_keyword_is_a_type_error_and_deletes_nothing(path):
    make_store(path)
    before = snapshot(path)
    with pytest.raises(TypeError, match="colour"):
        open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"], colour="red")
    assert snapshot(path) == before


@pytest.mark.parametrize("mode", ["rw", "x", "R", "", None])
def test_unknown_modes_are_refused(path, mode, refused):
    make_store(path)
    with refused(ValueError, match="mode"):
        open_ome_zarr(path, mode=mode)


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
@pytest.mark.parametrize("layout", ["fov", "tiled", "hcs"])
def test_a_layout_that_contradicts_the_metadata_is_refused(plate_path, path, mode, layout, refused):
    target = plate_path / "A" / "1" / "0" if layout == "hcs" else plate_path
    with refused(ValueError, match="layout"):
        open_ome_zarr(target, layout=layout, mode=mode, channel_names=["DAPI"])


def test_a_group_without_metadata_says_so_and_names_its_members(path, refused):
    make_plain_group(path)
    import zarr

    zarr.open_group(path, mode="r+").create_group("things")
    with refused(ValueError, match="without OME-NGFF metadata.*things"):
        open_ome_zarr(path)


@pytest.mark.parametrize("layout", ["fov", "hcs"])
def test_a_group_without_metadata_is_not_read_as_a_layout(path, layout, refused):
    make_plain_group(path)
    with refused(ValueError, match="without OME-NGFF metadata"):
        open_ome_zarr(path, layout=layout, mode="r")


def test_a_group_without_metadata_can_become_an_image(path):
    make_plain_group(path)
    with open_ome_zarr(path, layout="fov", mode="r+", channel_names=["DAPI"]) as position:
        position["0"] = np.ones((1, 1, 1, 4, 4), "uint8")
    with open_ome_zarr(path) as position:
        assert position.channel_names == ["DAPI"]
        assert position.zattrs["mine"] == 1


def test_an_array_says_what_it_is(image, path, refused):
    with refused(ValueError, match="array"):
        open_ome_zarr(path / "0")


@pytest.mark.parametrize("layout", ["fov", "hcs", "tiled", "auto"])
def test_the_version_is_read_from_the_store(plate_path, version, layout):
    other = {"0.4": "0.5", "0.5": "0.4"}[version]
    target = plate_path if layout in ("hcs", "auto") else plate_path / "A/1/0"
    for mode in ("r", "r+", "a"):
        with open_ome_zarr(target, layout=layout, mode=mode, version=other, channel_names=["x"]) as node:
            assert node.version == version
            assert node.channel_names == ["DAPI", "GFP"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"zarr_format": 3}'])
def test_a_damaged_root_document_is_one_clear_error(image, path, version, content, refused):
    name = ".zattrs" if version == "0.4" else "zarr.json"
    if content == b'{"zarr_format": 3}':
        name = "zarr.json"
    (path / name).write_bytes(content)
    with refused(ValueError):
        open_ome_zarr(path)


@pytest.mark.parametrize(
    "damage",
    [
        {"multiscales": None},
        {"multiscales": "0"},
        {"multiscales": {"axes": []}},
        {"multiscales": [{"axes": 5, "datasets": []}]},
        {"multiscales": [{"axes": [{"name": "x"}], "datasets": [{"path": []}]}]},
    ],
)
def test_metadata_that_cannot_be_read_is_one_clear_error(image, path, version, damage, refused):
    from .conftest import edit_attributes

    edit_attributes(path, version, lambda a: (a if version == "0.4" else a["ome"]).update(damage))
    with refused(ValueError):
        open_ome_zarr(path)


@pytest.mark.parametrize("target", [None, 5, ["a.zarr"], object()])
def test_what_is_no_path_and_no_store_is_refused(target):
    with pytest.raises((TypeError, ValueError)):
        open_ome_zarr(target)


def test_a_path_of_bytes_is_refused(path, refused):
    with refused(ValueError):
        open_ome_zarr(os.fsencode(path))


@pytest.mark.parametrize("mode", ["r", "w", "a"])
@pytest.mark.parametrize("target", ["", "a\0b.zarr"])
def test_a_text_that_is_no_path_is_refused(target, mode, refused):
    with refused(ValueError, match="path"):
        open_ome_zarr(target, layout="fov", mode=mode, channel_names=["DAPI"])


@pytest.mark.parametrize(
    "names", [("a", "b"), np.array(["a", "b"]), iter(["a", "b"]), {"a": 1, "b": 2}.keys()]
)
def test_channel_names_may_be_any_iterable(tmp_path, names):
    with open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=names) as position:
        assert position.channel_names == ["a", "b"]


def test_path_like_objects_are_paths(path):
    class Spot:
        def __fspath__(self) -> str:
            return str(path)

    make_store(path)
    assert open_ome_zarr(Spot()).channel_names == ["old"]


def test_relative_paths_are_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_store(Path("cells.zarr"))
    with open_ome_zarr("cells.zarr") as position:
        monkeypatch.chdir("/")
        assert position.data.shape == (1, 1, 1, 4, 4)
        assert position.zgroup.store.root == tmp_path / "cells.zarr"


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    if os.geteuid() == 0:
        path = Path("/proc/store.zarr")  # not even root writes there
    else:
        tmp_path.chmod(0o500)
        path = tmp_path / "store.zarr"
    with pytest.raises(OSError, match=r"store\.zarr") as caught:
        open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"])
    assert isinstance(caught.value, LamellaError)


def test_overwriting_keeps_nothing_of_the_old_store(path, version):
    make_store(path)
    with open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"], version=version) as plate:
        assert list(plate) == []
    left = {name for name in snapshot(path) if "/" not in name}
    assert left == ({".zattrs", ".zgroup"} if version == "0.4" else {"zarr.json"})


def test_parse_meta_can_be_put_off_through_the_door(image, path):
    image.close()
    with open_ome_zarr(path, parse_meta=False) as position:
        assert position.channel_names == ["DAPI", "GFP"]


def test_errors_are_of_lamella_and_of_a_builtin_family():
    with pytest.raises(InvalidArgumentError, match="mode is one of"):
        open_ome_zarr("x.zarr", mode="q")


@pytest.mark.parametrize("mode", ["w", "w-", "a"])
@pytest.mark.parametrize("leads", ["to a store", "nowhere"])
def test_a_store_is_never_made_where_a_link_is(tmp_path, mode, leads):
    target, link = tmp_path / "target.zarr", tmp_path / "link.zarr"
    if leads == "to a store":
        lamella.open_ome_zarr(target, layout="fov", mode="w", channel_names=["mine"]).close()
    link.symlink_to(target)
    if leads == "to a store" and mode == "a":
        assert lamella.open_ome_zarr(link, layout="fov", mode="a").channel_names == ["mine"]
        return
    advice = "it exists" if mode == "w-" else "Give the path of that folder instead"
    for unchecked in (False, True):
        with pytest.raises(LamellaError, match=advice):
            lamella.open_ome_zarr(
                link, layout="fov", mode=mode, channel_names=["a"], disable_path_checking=unchecked
            )
    assert target.exists() == (leads == "to a store")
    assert link.is_symlink()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_is_written_into_a_store_that_a_failed_call_left_is_not_replaced_by_the_same_call(version):
    url, pixels = f"memory://open-modes/failed-{version}.zarr", np.ones((8, 8), "uint8")
    token = temporary_name(".tmp")
    image = lamella.write_image(url, pixels, "yx", version=version)
    image.documents.edit_group("", lambda attributes: with_creating(attributes, token))
    with pytest.warns(UserWarning, match="Write nothing into it: the same call replaces all of it"):
        open_ome_zarr(url, mode="r+")  # the call may still be running
    abandon(token)
    with pytest.warns(UserWarning, match="Write nothing into it: the same call replaces all of it") as found:
        lamella.open(url)
    assert [warning.filename for warning in found] == [__file__]
    with pytest.warns(UserWarning, match="so no later call replaces it: to create it again, delete it first"):
        open_ome_zarr(url, mode="r+").labels.create("cells", pixels)
    with pytest.raises(StoreExistsError):
        lamella.write_image(url, pixels, "yx", version=version)
    assert list(open_ome_zarr(url).labels) == ["cells"]
