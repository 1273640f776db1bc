"""Laws of ``layout="auto"``: every kind of node opens by its own path, and touches no other node."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import lamella
from lamella import Collection, Labels, Plate, Position, Row, TiledPosition, Well, open_ome_zarr
from lamella.errors import LamellaError, MetadataError, MetadataWarning
from lamella.models import axes
from lamella.store.files.local import LocalStorage
from lamella.store.objects.zarr_storage import ZarrStorage

from .conftest import check_valid, edit_attributes, pixels, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file that is read, with its folder."""
    seen: list[str] = []
    for kind, name, root in (
        (LocalStorage, "read_stamped", lambda self: self.root + "/"),  # `read` goes through it
        (ZarrStorage, "read", lambda self: ""),
    ):
        original = getattr(kind, name)

        def read(self: Any, key: str, original: Any = original, root: Any = root) -> Any:
            found = original(self, key)
            if found is not None:
                seen.append(root(self) + key)
            return found

        monkeypatch.setattr(kind, name, read)
    return seen


@pytest.mark.parametrize(
    ("below", "kind"),
    [("", Plate), ("A", Row), ("A/1", Well), ("A/1/0", Position), ("B/", Row), ("A/1/0/", Position)],
)
@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_auto_finds_the_node_at_a_path(plate_path, below, kind, mode):
    with open_ome_zarr(f"{plate_path}/{below}", mode=mode) as node:
        assert type(node) is kind
        assert node.channel_names == ["DAPI", "GFP"] or kind is Row


def test_a_position_inside_a_plate_opens_from_its_own_document(plate_path, reads):
    with open_ome_zarr(plate_path / "A/1/0") as position:
        assert position.scale == [1.0] * 5
        position.axes, position.metadata
    folder = str(plate_path / "A/1/0")
    assert reads
    assert {name.rpartition("/")[0] for name in reads} == {folder}
    assert len(reads) <= 2  # once to see what it is, once for the node


def test_a_position_of_a_plate_reads_its_own_document_only(plate_path, reads):
    plate = open_ome_zarr(plate_path)
    reads.clear()
    position = plate["A/2/1"]
    assert position.axis_names == list("tczyx")
    assert {name.rpartition("/")[0] for name in reads if "A" in name[len(str(plate_path)) :]} == {
        str(plate_path / "A/2/1")
    }
    assert len(reads) <= 2


def test_pixels_inside_a_plate_touch_no_other_node(plate_path, reads, version):
    for name in ("A/1", "A/2", "B/1/0", "B/1"):  # every other document is damaged
        document = plate_path / name / (".zattrs" if version == "0.4" else "zarr.json")
        document.write_text("{")
    with open_ome_zarr(plate_path / "A/1/0", mode="r+") as position:
        np.testing.assert_array_equal(position.data[:], pixels())
        assert all("/A/1/0/" in name for name in reads)
        position.set_scale("0", "x", 0.5)
    # In Zarr v3 the documents above may contain a copy of what was edited.
    above = {str(plate_path / name / "zarr.json") for name in ("", "A", "A/1")}
    assert {name for name in reads if "/A/1/0/" not in name} <= above


def test_a_row_knows_its_name_and_wells(plate_path):
    with open_ome_zarr(plate_path / "A") as row:
        assert (row.name, row.path) == ("A", "A")
        assert list(row) == ["1", "2"]
        assert [name for name, _ in row.wells()] == ["A/1", "A/2"]
        np.testing.assert_array_equal(row["2/1"].data[0], pixels()[0])


def test_a_row_without_a_document_of_its_own_opens(plate_path, version):
    (plate_path / "A" / (".zgroup" if version == "0.4" else "zarr.json")).unlink()
    if version == "0.4":
        (plate_path / "A" / ".zattrs").unlink(missing_ok=True)
    with open_ome_zarr(plate_path / "A") as row:
        assert type(row) is Row
        assert list(row) == ["1", "2"]


def test_a_group_beside_the_rows_is_no_row(plate_path, version, refused):
    zarr.open_group(plate_path, mode="r+").create_group("extra")
    with refused(ValueError, match="without OME-NGFF metadata"):
        open_ome_zarr(plate_path / "extra")


def test_a_missing_member_of_a_plate_is_not_found(plate_path, refused):
    with refused(FileNotFoundError, match="Z"):
        open_ome_zarr(plate_path / "Z")


def test_an_empty_plate_opens(path, version):
    open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"], version=version).close()
    for mode in ("r", "r+", "a"):
        with open_ome_zarr(path, mode=mode, channel_names=["DAPI"]) as plate:
            assert type(plate) is Plate
            assert list(plate) == []
            assert list(plate.positions()) == []


def test_tiled_must_be_asked_for(path, version):
    with open_ome_zarr(path, layout="tiled", mode="w", channel_names=["DAPI"], version=version) as position:
        position.make_tiles("0", (2, 2), (1, 1, 1, 4, 4), "uint8")
    assert type(open_ome_zarr(path)) is Position
    assert type(open_ome_zarr(path, layout="tiled")) is TiledPosition


def test_labels_and_label_images_open_by_path(image, path):
    image.labels["cells"] = np.ones((2, 3, 8, 10), "uint8")
    image.close()
    assert type(open_ome_zarr(path / "labels")) is Labels
    label = open_ome_zarr(path / "labels" / "cells")
    assert type(label) is lamella.LabelImage
    assert isinstance(open_ome_zarr(path / "labels" / "cells", layout="fov"), Position)


@pytest.mark.parametrize("names", ["yx", "zyx", "tyx"])
def test_an_image_without_channels_and_arrays_opens_again(path, version, names):
    open_ome_zarr(path, layout="fov", mode="w", axes=axes(names), version=version).close()
    with open_ome_zarr(path, mode="r+") as position:
        assert position.axes == axes(names)
        assert position.channel_names == []
        position["0"] = pixels(names)
    check_valid(path, version)


def test_one_channel_without_an_axis_for_it(path, version):
    with open_ome_zarr(
        path, layout="fov", mode="w", axes=axes("zyx"), channel_names=["DAPI"], version=version
    ) as position:
        position["0"] = pixels("zyx")
    assert open_ome_zarr(path).channel_names == ["DAPI"]
    check_valid(path, version)


# -- stores of other writers -------------------------------------------------------------------------------------


def test_a_bioformats2raw_plate_is_a_plate(foreign):
    path = foreign("v04_bioformats2raw_plate")
    before = snapshot(path)
    with open_ome_zarr(path) as plate:
        assert type(plate) is Plate
        fields = dict(plate.positions())
        assert list(fields) == [f"{well}/{field}" for well in ("A/1", "A/2", "B/1", "B/2") for field in "01"]
        expected = zarr.open_group(path, mode="r")
        for name, position in fields.items():
            assert position.data.shape == (1, 3, 1, 64, 64)
            assert len(position.channel_names) == 3
            np.testing.assert_array_equal(position.data[:], expected[f"{name}/0"][:])
    assert snapshot(path) == before


def test_a_bioformats2raw_collection_lists_its_images(foreign):
    path = foreign("v04_bioformats2raw_series")
    with open_ome_zarr(path) as collection:
        assert type(collection) is Collection
        assert list(collection) == ["0", "1"]
        assert collection.metadata.layout == 3
        assert collection.metadata.series == ["0", "1"]
        for name, position in collection.positions():
            assert isinstance(position, Position)
            expected = zarr.open_array(path / name / "0", mode="r")[:]
            np.testing.assert_array_equal(position.data[:], expected)
            np.testing.assert_array_equal(collection[int(name)]["0"][:], expected)
        assert [collection.axes, collection.channel_names] == [position.axes, position.channel_names]
        assert "2 images" in repr(collection)
        assert "OME" in collection.group_keys()
        assert "0/0" in collection


def test_a_collection_without_a_list_counts_its_images(foreign):
    path = foreign("v04_bioformats2raw_series")
    shutil.rmtree(path / "OME")
    with open_ome_zarr(path) as collection:
        assert list(collection) == ["0", "1"]


def test_the_series_order_is_that_of_the_list(foreign):
    path = foreign("v04_bioformats2raw_series")
    edit_attributes(path / "OME", "0.4", lambda a: a.update(series=["1", "0"]))
    assert list(open_ome_zarr(path)) == ["1", "0"]


def test_a_listed_image_that_is_missing_is_never_skipped(foreign, refused):
    path = foreign("v04_bioformats2raw_series")
    shutil.rmtree(path / "1")
    collection = open_ome_zarr(path)
    assert list(collection) == ["0", "1"]
    with refused(ValueError, match="'1'"):
        collection["1"]
    with refused(ValueError, match="'1'"):
        list(collection.positions())


def test_an_image_of_a_collection_opens_by_its_path(foreign):
    path = foreign("v04_bioformats2raw_series")
    assert open_ome_zarr(path / "1").data.shape == open_ome_zarr(path)["1"].data.shape


@pytest.mark.parametrize("layout", ["fov", "hcs", "tiled"])
def test_a_collection_is_no_image_and_no_plate(foreign, layout, refused):
    path = foreign("v04_bioformats2raw_series")
    with refused(ValueError, match="Collection"):
        open_ome_zarr(path, layout=layout)


@pytest.mark.parametrize("listed", [True, False])
def test_deleting_an_image_takes_it_off_the_list(foreign, listed):
    path = foreign("v04_bioformats2raw_series")
    if not listed:
        shutil.rmtree(path / "OME")
    with open_ome_zarr(path, mode="r+") as collection:
        del collection["0"]
        assert list(collection) == ["1"]
    assert not (path / "0").exists()
    assert list(open_ome_zarr(path)) == ["1"]


def test_a_collection_of_05_opens(path):
    top = zarr.create_group(
        path, zarr_format=3, attributes={"ome": {"version": "0.5", "bioformats2raw.layout": 3}}
    )
    top.create_group("OME", attributes={"ome": {"version": "0.5", "series": ["first", "second"]}})
    for name in ("first", "second"):
        with open_ome_zarr(
            path / name, layout="fov", mode="w", channel_names=["DAPI"], version="0.5"
        ) as image:
            image["0"] = np.zeros((1, 1, 1, 4, 4), "uint8")
    collection = open_ome_zarr(path)
    assert type(collection) is Collection
    assert list(collection) == ["first", "second"]
    assert collection.channel_names == ["DAPI"]


def test_a_sharded_image_with_labels_of_idr(foreign):
    path = foreign("v05_idr0062_labels_sharded")
    before = snapshot(path)
    with open_ome_zarr(path) as position:
        assert position.version == "0.5"
        assert position.axis_names == ["c", "z", "y", "x"]
        assert position.channel_names == ["LaminB1", "Dapi"]
        assert list(position) == ["2"]
        assert position.data.shape == (2, 236, 68, 67)
        np.testing.assert_array_equal(position.data[1, 100], zarr.open_array(path / "2", mode="r")[1, 100])
        with pytest.warns(MetadataWarning, match=r"labels break ST-07 at ome: there is no version"):
            assert list(position.labels) == ["0"]
        assert len(position.labels["0"].dataset_paths) == 4
        assert position["labels/0/3"].shape == (1, 236, 34, 33)
    assert snapshot(path) == before


def test_nested_dataset_paths_of_ngff_zarr(foreign):
    path = foreign("v05_ngff_zarr_simple")
    with open_ome_zarr(path) as position:
        names = [f"scale{level}/image" for level in range(3)]
        assert position.dataset_paths == names
        assert list(position) == names
        assert [name for name, _ in position.images()] == names
        assert position.data.shape == (10, 10)
        np.testing.assert_array_equal(position.data[:], zarr.open_array(path / names[0], mode="r")[:])
        assert position[names[2]].axes == position.axes


def test_edits_of_a_foreign_store_keep_what_it_says(foreign):
    path = foreign("v05_ngff_zarr_simple")
    with open_ome_zarr(path, mode="r+") as position:
        scale = position.scale
        position.set_scale("scale0/image", "x", 0.25)
        kept = position.zattrs.asdict()
    assert kept["ome"]["multiscales"][0]["@type"] == "ngff:Image"
    with open_ome_zarr(path) as position:
        assert position.scale == [scale[0], 0.25]
    # zarr-python opens it by the listing, not by a stale consolidated copy
    assert zarr.open_group(path)["scale1/image"].shape == (5, 5)


# -- what other programs leave out or write otherwise -----------------------------------------------------------------


def test_an_image_without_omero_has_numbered_channels(image, path, version):
    edit_attributes(path, version, lambda a: (a if version == "0.4" else a["ome"]).pop("omero"))
    with open_ome_zarr(path) as position:
        assert position.channel_names == ["channel_0", "channel_1"]
        assert position.get_channel_index("channel_1") == 1


def test_a_3d_array_under_five_axes_is_matched_from_the_last(path, version):
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["DAPI", "GFP"], axes=axes("tczyx"), version=version
    ) as position:
        position.create_image("0", pixels("zyx"), check_shape=False)
    with open_ome_zarr(path) as position:
        assert len(position.axes) == 5
        with pytest.warns(MetadataWarning, match="AX-05"):
            array = position.data
        assert [axis.name for axis in array.axes] == ["z", "y", "x"]
        assert (array.slices, array.height, array.width, array.channels) == (3, 8, 10, 1)
        repr(position), position.scale


def test_a_zarr_v2_group_without_attributes_of_its_own_still_opens(plate_path, version):
    if version == "0.5":
        pytest.skip("documents of Zarr v3 are one file")
    (plate_path / "A/1/0/.zgroup").unlink()
    assert open_ome_zarr(plate_path / "A/1/0").channel_names == ["DAPI", "GFP"]


def test_drafts_and_patches_of_05_are_read_with_a_warning(image, path, version):
    if version == "0.4":
        pytest.skip("0.4 states no version at its root")
    edit_attributes(path, version, lambda a: a["ome"].update(version="0.5.2"))
    with pytest.warns(UserWarning, match=r"0\.5\.2"):
        position = open_ome_zarr(path)
    assert position.version == "0.5"


def test_an_unknown_version_is_refused(image, path, version, refused):
    if version == "0.4":
        pytest.skip("Zarr v2 is 0.4")
    edit_attributes(path, version, lambda a: a["ome"].update(version="9.1"))
    with refused(ValueError, match=r"9\.1"):
        open_ome_zarr(path)


# -- stores of zarr-python ------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "local", "wrapped"])
def store(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Any]:
    from zarr.storage import LocalStore, MemoryStore, WrapperStore

    made = {
        "memory": MemoryStore,
        "local": lambda: LocalStore(tmp_path / "local.zarr"),
        "wrapped": lambda: WrapperStore(MemoryStore()),
    }
    return made[request.param]()


@pytest.mark.parametrize("layout", ["fov", "hcs"])
def test_a_store_of_zarr_python_is_created_and_opened(store, layout, version):
    with open_ome_zarr(
        store, layout=layout, mode="w-", channel_names=["DAPI", "GFP"], version=version
    ) as node:
        position = node if layout == "fov" else node.create_position("A", "1", "0")
        position["0"] = pixels()
        position.set_scale("0", "x", 0.5)
    with open_ome_zarr(store) as node:
        position = node if layout == "fov" else node["A/1/0"]
        np.testing.assert_array_equal(position["0"][:], pixels())
        assert position.scale[-1] == 0.5
        assert position.version == version
        with pytest.raises(PermissionError):
            position.set_scale("0", "x", 2)
    with pytest.raises(FileExistsError):
        open_ome_zarr(store, layout=layout, mode="w-", channel_names=["DAPI"])
    if layout == "fov":
        with open_ome_zarr(store, layout="fov", mode="w", channel_names=["new"], version=version) as node:
            assert list(node) == []
        assert open_ome_zarr(store).channel_names == ["new"]


def test_an_empty_store_of_zarr_python_is_not_found():
    from zarr.storage import MemoryStore

    with pytest.raises(FileNotFoundError) as caught:
        open_ome_zarr(MemoryStore())
    assert isinstance(caught.value, LamellaError)


def test_a_zip_is_read(image, path, tmp_path):
    from zarr.storage import ZipStore

    image.close()
    shutil.make_archive(str(tmp_path / "store"), "zip", path)
    with open_ome_zarr(ZipStore(tmp_path / "store.zip", mode="r")) as position:
        np.testing.assert_array_equal(position["0"][0], pixels()[0])
        assert list(position) == ["0", "1"]
        with pytest.raises(PermissionError):
            position["2"] = pixels()


def test_a_read_only_store_stays_read_only(image, path):
    from zarr.storage import LocalStore

    image.close()
    with (
        open_ome_zarr(LocalStore(path, read_only=True), mode="r+") as position,
        pytest.raises(PermissionError),
    ):
        position.rename_channel("DAPI", "nuclei")


def test_a_store_that_cannot_list_is_walked_by_its_metadata(plate_path):
    from zarr.storage import LocalStore, WrapperStore

    class Unlisted(WrapperStore):
        """As HTTP is: keys can be read, folders cannot be listed."""

        supports_listing = False

        def list_dir(self, prefix: str) -> Any:
            raise NotImplementedError

        list = list_prefix = list_dir

    with open_ome_zarr(Unlisted(LocalStore(plate_path, read_only=True))) as plate:
        fields = dict(plate.positions())
        assert list(fields) == [f"{well}/{field}" for well in ("A/1", "A/2", "B/1") for field in "01"]
        position = fields["A/1/0"]
        assert list(position) == ["0"]
        np.testing.assert_array_equal(position["0"][0], pixels()[0])
        assert list(position.labels) == []
        for node in (plate, plate["A"], plate["A/1"], position):
            assert repr(node)
            assert node._repr_html_()
            node.print_tree()


@pytest.mark.parametrize("name", ["zarr.json", ".zgroup", ".zarray"])
def test_a_folder_in_the_place_of_a_document_is_named(tmp_path, name):
    """It was called an array."""
    (tmp_path / "a.zarr" / name / "x").mkdir(parents=True)
    with pytest.raises(MetadataError, match=rf"a\.zarr has no readable metadata: {name} in it is a folder"):
        open_ome_zarr(tmp_path / "a.zarr")
