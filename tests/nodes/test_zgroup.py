"""Laws of ``zgroup``, ``zattrs`` and the live ``metadata``: three views of one document."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import lamella
from lamella import Plate, Position, Well, open_ome_zarr
from lamella.models import axes

from .conftest import attributes, check_valid, ome, pixels


@pytest.fixture(params=["local", "memory", "wrapped"])
def position(request, path, version):
    """An image on stores that tell when a document changes, and on stores that do not."""
    store = {"local": lambda: path, "memory": MemoryStore, "wrapped": lambda: WrapperStore(MemoryStore())}
    with open_ome_zarr(
        store[request.param](),
        layout="fov",
        mode="w",
        channel_names=["DAPI", "GFP"],
        axes=axes("tczyx"),
        version=version,
    ) as made:
        made["0"] = pixels()
        yield made


def test_they_are_objects_of_zarr_python(position, version):
    assert isinstance(position.zgroup, zarr.Group)
    assert isinstance(position.zattrs, zarr.core.attributes.Attributes)
    assert isinstance(position.zgroup.attrs, zarr.core.attributes.Attributes)
    assert position.zgroup.metadata.zarr_format == (2 if version == "0.4" else 3)
    np.testing.assert_array_equal(position.zgroup["0"][:], pixels())
    np.testing.assert_array_equal(position["0"].zarr()[:], pixels())
    assert sorted(position.zgroup) == ["0"]


def test_what_zattrs_writes_the_node_sees(position, version):
    part = dict(position.maybe_wrapped_ome_attrs)
    part["omero"]["channels"][0]["label"] = "nuclei"
    if version == "0.4":
        position.zattrs["omero"] = part["omero"]
    else:
        position.zattrs["ome"] = part
    assert position.channel_names == ["nuclei", "GFP"]
    assert position.metadata.omero.channels[0].label == "nuclei"


def test_what_the_node_writes_zattrs_sees(position):
    held = position.zattrs
    position.rename_channel("DAPI", "nuclei")
    assert "nuclei" in str(held.asdict())
    held["note"] = 1
    assert position.channel_names == ["nuclei", "GFP"]  # an old view does not undo what came after it


def test_attributes_of_a_held_group_do_not_undo_edits(position):
    group = position.zgroup
    position.rename_channel("DAPI", "nuclei")
    group.attrs["note"] = {"a": [1]}
    assert position.channel_names == ["nuclei", "GFP"]
    assert position.zattrs["note"] == {"a": [1]}


def test_what_zarr_python_itself_writes_the_node_sees(position, version):
    assert position.channel_names == ["DAPI", "GFP"]
    group = zarr.open_group(position.zgroup.store, mode="r+", use_consolidated=False)
    new = group.attrs.asdict()
    (new if version == "0.4" else new["ome"])["omero"]["channels"][1]["label"] = "membrane"
    group.attrs.update(new)
    assert position.channel_names == ["DAPI", "membrane"]
    group.create_array("mask", shape=(8, 10), dtype="uint8")
    assert "mask" in position
    assert list(position) == ["0", "mask"]


def test_zattrs_is_a_mapping_that_writes_at_once(position):
    before = dict(position.zattrs)
    position.zattrs["a"] = 1
    position.zattrs.update({"b": 2}, c=3)
    assert {key: position.zattrs[key] for key in "abc"} == {"a": 1, "b": 2, "c": 3}
    assert len(position.zattrs) == len(before) + 3
    del position.zattrs["a"]
    assert "a" not in position.zattrs
    assert position.zattrs.get("a") is None
    assert position.zattrs.setdefault("d", 4) == 4
    assert position.zattrs.pop("d") == 4
    for key in "bc":
        del position.zattrs[key]
    assert dict(position.zattrs) == before
    position.zattrs.put({**before, "only": True})
    assert position.zattrs.asdict() == {**before, "only": True}
    with pytest.raises(KeyError):
        position.zattrs["nothing"]
    with pytest.raises(KeyError):
        del position.zattrs["nothing"]
    assert "only" in repr(position.zattrs)


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_what_is_no_json_is_not_written(image, value, refused):
    with refused(ValueError):
        image.zattrs["a"] = value


def test_maybe_wrapped_ome_attrs_is_a_copy_of_the_ome_part(image, path, version):
    part = image.maybe_wrapped_ome_attrs
    assert part == ome(path, version)
    part["omero"] = None
    part["multiscales"].clear()
    assert image.channel_names == ["DAPI", "GFP"]
    assert image.maybe_wrapped_ome_attrs == ome(path, version)
    assert image.maybe_wrapped_ome_attrs["omero"] is not None


def test_the_root_is_a_path_also_after_closing(plate_path):
    with open_ome_zarr(plate_path) as plate:
        position = plate["A/1/0"]
    for node in (plate, position):
        assert isinstance(node.zgroup.store.root, Path)
        assert node.zgroup.store.root == plate_path
    assert position.zgroup.path == "A/1/0"


# -- the live model ---------------------------------------------------------------------------------------------------


def test_the_model_is_saved_by_dump_meta(image, path, version):
    image.metadata.omero.channels[0].label = "nuclei"
    image.metadata.multiscales[0].name = "mine"
    assert ome(path, version)["omero"]["channels"][0]["label"] == "DAPI"
    image.dump_meta()
    assert ome(path, version)["omero"]["channels"][0]["label"] == "nuclei"
    assert ome(path, version)["multiscales"][0]["name"] == "mine"
    assert image.channel_names == ["nuclei", "GFP"]
    check_valid(path, version)


def test_a_held_model_follows_edits(image):
    meta = image.metadata
    image.rename_channel("DAPI", "nuclei")
    assert meta.omero.channels[0].label == "nuclei"
    assert meta is image.metadata


def test_unsaved_changes_are_saved_with_the_next_edit(image):
    image.metadata.omero.channels[0].color = "123456"
    image.set_scale("0", "x", 2)
    assert open_ome_zarr(image.zgroup.store.root).metadata.omero.channels[0].color == "123456"


def test_unsaved_changes_and_other_attributes_do_not_conflict(image, path, version):
    image.metadata.omero.channels[0].color = "123456"
    image.zattrs["note"] = "between"
    image.dump_meta()
    assert ome(path, version)["omero"]["channels"][0]["color"] == "123456"
    assert attributes(path, version)["note"] == "between"


def test_unsaved_changes_never_overwrite_what_another_handle_saved(image, path, refused):
    image.metadata.omero.channels[0].color = "123456"
    with open_ome_zarr(path, mode="r+") as other:
        other.rename_channel("GFP", "membrane")
    with refused(ValueError, match="unsaved"):
        image.dump_meta()
    assert open_ome_zarr(path).channel_names == ["DAPI", "membrane"]


def test_two_handles_see_each_other(image, path):
    with open_ome_zarr(path, mode="r+") as other:
        assert other.scale[-1] == 1
        image.set_scale("0", "x", 0.5)
        assert other.scale[-1] == 0.5
        other.append_channel("RFP")
        assert image.channel_names[-1] == "RFP"
        assert image["0"].channels == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda meta: setattr(meta, "multiscales", "none"),
        lambda meta: setattr(meta.multiscales[0], "axes", 5),
        lambda meta: setattr(meta.omero.channels[0], "window", 7),
        lambda meta: setattr(meta.multiscales[0].datasets[0], "path", None),
    ],
)
def test_a_model_that_was_spoiled_is_not_saved(image, spoil, refused):
    spoil(image.metadata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with refused(ValueError):
            image.dump_meta()
        repr(image)  # never raises


# -- constructors from zarr-python ---------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["local", "memory"])
def test_nodes_are_made_from_groups(plate_path, store):
    root = LocalStore(plate_path) if store == "local" else _in_memory(plate_path)
    group = zarr.open_group(root, mode="r+", use_consolidated=False)
    plate, well, position = Plate(group), Well(group["A/1"]), Position(group["A/1/0"])
    assert next(iter(dict(plate.positions()))) == "A/1/0"
    assert list(well) == ["0", "1"]
    assert position.path == "A/1/0"
    np.testing.assert_array_equal(position["0"][:], pixels())
    position.set_scale("0", "x", 0.5)
    assert plate["A/1/0"].scale[-1] == 0.5
    plate.create_position("C", "1", "0")
    assert "C/1/0" in group


def _in_memory(folder: Path) -> MemoryStore:
    from zarr.core.buffer import default_buffer_prototype

    make = default_buffer_prototype().buffer.from_bytes
    files = [path for path in folder.rglob("*") if path.is_file()]
    return MemoryStore({path.relative_to(folder).as_posix(): make(path.read_bytes()) for path in files})


def test_a_position_in_a_fresh_group(path, version):
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    position = Position(group, True, ["DAPI", "GFP"], axes("cyx"))
    position["0"] = pixels("cyx")
    assert (position.version, position.axes) == (version, axes("cyx"))
    with pytest.raises(ValueError, match="already"):
        position["0"] = pixels("cyx")
    again = Position(group, overwriting_creation=True)
    again["0"] = pixels("cyx") + 1
    np.testing.assert_array_equal(again["0"][:], pixels("cyx") + 1)
    check_valid(path, version)


def test_a_read_only_group_makes_a_read_only_node(image, path):
    position = Position(zarr.open_group(path, mode="r"))
    assert position.channel_names == ["DAPI", "GFP"]
    with pytest.raises(PermissionError):
        position.rename_channel("DAPI", "x")


def test_parse_meta_reads_now_or_later(image, path, version):
    group = zarr.open_group(path, mode="r")
    (path / (".zattrs" if version == "0.4" else "zarr.json")).write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        Position(group)


def test_an_image_array_is_made_from_an_array(image, path):
    array = lamella.ImageArray(zarr.open_array(path / "0", mode="r+"))
    np.testing.assert_array_equal(array[:], pixels())
    array = lamella.ImageArray(zarr.open_group(path, mode="r")["0"])
    assert (array.path, array.axes) == ("0", None)


@pytest.mark.parametrize("thing", [None, "store.zarr", 5, Path("store.zarr")])
def test_a_node_is_made_of_nothing_else(thing, refused):
    for kind in (Position, Plate, Well, lamella.ImageArray):
        with refused(ValueError, match="zarr-python"):
            kind(thing)
