"""Laws of label images: geometry from the image, ids that no level invents, a list that is always true."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import zarr

from lamella import errors, open_ome_zarr
from lamella.models import TransformationMeta, axes
from lamella.store.pixels.arrays import StoredArray

from .conftest import edit_attributes, ome
from .validity import check_valid


@pytest.fixture
def cells():
    """Labels for the image of conftest, without its channel axis."""
    return np.random.default_rng(3).integers(0, 5, (2, 3, 8, 10)).astype("uint16") * 7


def lazily(kind, data, tmp_path):
    if kind == "dask":
        import dask.array

        return dask.array.from_array(data, chunks=(1, 2, 5, 3)[-data.ndim :])
    if kind == "zarr":
        import zarr

        return zarr.create_array(zarr.storage.MemoryStore(), data=data)
    if kind == "memmap":
        np.save(tmp_path / "cells.npy", data)
        return np.load(tmp_path / "cells.npy", mmap_mode="r")
    if kind == "xarray":
        import xarray

        return xarray.DataArray(data, dims=("t", "z", "y", "x"))
    return data.tolist() if kind == "list" else data


@pytest.mark.parametrize("kind", ["numpy", "list", "dask", "zarr", "memmap", "xarray"])
@pytest.mark.parametrize("dtype", ["uint16", "bool"])
def test_any_array_like_makes_labels(image, path, version, cells, tmp_path, kind, dtype):
    data = cells.astype(dtype)
    image.labels["cells"] = lazily(kind, data, tmp_path)
    label = image.labels["cells"]
    np.testing.assert_array_equal(label["0"][...], data)
    assert label["0"].dtype.kind in "iu"
    assert ome(path / "labels", version)["labels"] == ["cells"]
    check_valid(path, version)


def test_geometry_is_the_image_s_without_the_channels(image, cells):
    image.set_transform(
        "0",
        [
            TransformationMeta(type="scale", scale=[3, 1, 2, 0.5, 0.5]),
            TransformationMeta(type="translation", translation=[0, 0, 9, 8, 7]),
        ],
    )
    image.set_scale("*", "z", 2)
    image.compute_pyramid()
    image.labels["cells"] = cells
    label = image.labels["cells"]
    assert label.axis_names == ["t", "z", "y", "x"]
    assert label.dataset_paths == image.dataset_paths
    for level in image.dataset_paths:
        without = [i for i in range(5) if i != 1]
        assert label.get_effective_scale(level) == [image.get_effective_scale(level)[i] for i in without]
        assert label.get_effective_translation(level) == [
            image.get_effective_translation(level)[i] for i in without
        ]
        assert label[level].chunks == tuple(image[level].chunks[i] for i in without)
        assert label[level].shape == tuple(image[level].shape[i] for i in without)


def test_an_image_of_another_program_with_an_extreme_size_has_labels(image, cells):
    for level in image.metadata.multiscales[0].datasets:
        for transform in level.coordinate_transformations:
            (transform.scale or transform.translation)[-1] *= 1e-200
    image.dump_meta()
    image.labels["cells"] = cells
    assert image.labels["cells"].get_effective_scale("0")[-1] == image.scale[-1] < 1e-199


def test_ids_of_every_level_are_those_of_level_0(image, cells):
    image.labels["cells"] = cells
    assert set(np.unique(image.labels["cells"]["1"][...])) <= set(np.unique(cells))


def test_all_levels_are_compressed_for_long_runs_of_one_id(image, cells, path):
    image.labels["cells"] = cells
    for level in image.dataset_paths:
        codecs = zarr.open_array(path / "labels" / "cells" / level, mode="r").compressors
        assert ["zstd" in str(codec).lower() and "blosc" not in str(codec).lower() for codec in codecs] == [
            True
        ]


def test_labels_of_the_space_axes_alone(image, cells, path, version):
    image.labels["cells"] = cells[0]
    assert image.labels["cells"].axis_names == ["z", "y", "x"]
    check_valid(path, version)


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "memmap"])
def test_axes_of_length_1_may_be_left_out(path, version, cells, tmp_path, kind):
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=["GFP"], version=version) as image:
        image["0"] = np.zeros((2, 1, 1, 8, 10), "uint16")
        image.labels["plane"] = lazily(kind, cells[0, 0], tmp_path)
        image.labels["movie"] = lazily(kind, cells[:, 0], tmp_path)
        np.testing.assert_array_equal(image.labels["plane"].data[:], cells[:1, 0])
        np.testing.assert_array_equal(image.labels["movie"].data[:], cells[:, :1])
        assert [len(label.axis_names) for label in image.labels.values()] == [3, 4]
        for shape in ((2, 8), (10, 8), (8,), (2, 1, 1, 8, 10), (1, 1, 8, 10)):
            with pytest.raises(errors.InvalidArgumentError, match="may be left out"):
                image.labels["wrong"] = np.zeros(shape, "uint16")
    check_valid(path, version)


@pytest.mark.parametrize("dtype", [None, "uint16"])
def test_labels_without_data_are_empty_until_regions_are_written(image, cells, path, version, dtype):
    empty = image.labels.create("cells", dtype=dtype, colors={1: (255, 0, 0)})
    assert {empty[level].dtype for level in image.dataset_paths} == {np.dtype(dtype or "uint32")}
    assert [path for path in (path / "labels" / "cells" / "0").rglob("*") if path.name[0].isdecimal()] == []
    assert empty.data.shape == cells.shape
    assert not empty.data[:].any()
    assert not empty.stale_levels
    check_valid(path, version)
    empty["0"][:] = cells
    assert empty.stale_levels
    empty.compute_pyramid()
    image.labels["whole"] = cells
    for level in image.dataset_paths:
        np.testing.assert_array_equal(image.labels["cells"][level][:], image.labels["whole"][level][:])


def test_labels_follow_the_levels_of_their_image(image, cells, path, version):
    image.labels["cells"] = cells
    image.delete_pyramid()
    assert image.labels["cells"].dataset_paths == ["0"]
    image.compute_pyramid(3)
    label = image.labels["cells"]
    assert label.dataset_paths == ["0", "1", "2"]
    assert [array.shape for _, array in label.images()] == [(2, 3, 8, 10), (2, 2, 4, 5), (2, 1, 2, 3)]
    assert set(np.unique(label["2"][...])) <= set(np.unique(cells))
    np.testing.assert_array_equal(label["0"][...], cells)
    assert label.get_effective_translation("1") == [0, 0.5, 0.5, 0.5]
    check_valid(path, version)


def test_a_label_image_that_is_listed_but_gone_does_not_keep_the_image_from_its_pyramid(image, cells, path):
    image.labels["cells"] = cells
    shutil.rmtree(path / "labels" / "cells")
    with pytest.warns(UserWarning, match="did not get the levels"):
        image.delete_pyramid()
    assert image.dataset_paths == ["0"]


def test_labels_shaped_unlike_the_image_keep_their_own_shape(image, cells):
    image.labels["cells"] = cells
    del image.labels["cells"]["1"]
    image.labels["cells"]["0"].resize((2, 1, 8, 10))
    image.delete_pyramid()
    image.compute_pyramid(2)
    label = image.labels["cells"]
    assert label["1"].shape == (2, 1, 4, 5)
    assert label.get_effective_scale("1") == [1, 1, 2, 2]


@pytest.mark.parametrize("method", ["mean", "median", "min", "max"])
def test_methods_that_make_new_labels_are_refused(image, cells, refused, method):
    image.labels["cells"] = cells
    with refused(ValueError, "mode"):
        image.labels["cells"].compute_pyramid(method=method)


@pytest.mark.parametrize("method", ["mode", "stride"])
def test_label_pyramids_can_be_recomputed(image, cells, method):
    image.labels["cells"] = cells
    label = image.labels["cells"]
    label["0"][...] = 9
    label.compute_pyramid(method=method)
    assert (label["1"][...] == 9).all()


def test_colours_and_properties_are_integers_and_rows(image, cells, path, version):
    image.labels.create(
        "cells",
        cells,
        colors={np.uint16(7): (255, 0, 0), 21: np.array([0, 9, 0, 128], "uint8")},
        properties={7: {"area": np.int64(12), "centroid": np.array([1.5, 2])}, 28: {"class": "dead"}},
    )
    stored = ome(path / "labels/cells", version)["image-label"]
    assert stored["colors"] == [
        {"label-value": 7, "rgba": [255, 0, 0, 255]},
        {"label-value": 21, "rgba": [0, 9, 0, 128]},
    ]
    assert stored["properties"] == [
        {"label-value": 7, "area": 12, "centroid": [1.5, 2.0]},
        {"label-value": 28, "class": "dead"},
    ]
    label = open_ome_zarr(path).labels["cells"]
    assert label.colors == {7: (255, 0, 0, 255), 21: (0, 9, 0, 128)}
    assert label.properties[28] == {"class": "dead"}
    image.labels["cells"].set_colors({1: (1, 2, 3)})
    image.labels["cells"].set_properties([{"label-value": 1, "x": 2}])
    assert image.labels["cells"].properties == {1: {"x": 2}}
    check_valid(path, version)


WRONG = {
    "float": lambda p, c: p.labels.create("new", c.astype("float32")),
    "text": lambda p, c: p.labels.create("new", ["a", "b"]),
    "shape": lambda p, c: p.labels.create("new", c[..., :-1]),
    "with channels": lambda p, c: p.labels.create("new", np.stack([c, c], axis=1)),
    "taken": lambda p, c: p.labels.create("cells", c),
    "path": lambda p, c: p.labels.create("a/b", c),
    "dots": lambda p, c: p.labels.create("..", c),
    "nul": lambda p, c: p.labels.create("a\0", c),
    "colour of 0 to 1": lambda p, c: p.labels.create("new", c, colors={1: (1.0, 0.0, 0.0)}),
    "colour beyond 255": lambda p, c: p.labels.create("new", c, colors={1: (256, 0, 0)}),
    "colour of two": lambda p, c: p.labels.create("new", c, colors={1: (2, 0)}),
    "none assigned": lambda p, c: p.labels.__setitem__("new", None),
    "data type of data": lambda p, c: p.labels.create("new", c, dtype="uint8"),
    "empty floats": lambda p, c: p.labels.create("new", dtype="float32"),
    "data type that is none": lambda p, c: p.labels.create("new", dtype="cells"),
    "row without label": lambda p, c: p.labels.create("new", c, properties=[{"area": 2}]),
    "label twice": lambda p, c: p.labels.create(
        "new", c, properties=[{"label-value": 1}, {"label-value": 1}]
    ),
    "row of another label": lambda p, c: p.labels.create("new", c, properties={1: {"label-value": 2}}),
    "property that is no JSON": lambda p, c: p.labels.create("new", c, properties={1: {"x": object()}}),
    "rename to a taken name": lambda p, c: p.labels.rename("cells", "nuclei"),
    "rename to a path": lambda p, c: p.labels.rename("cells", "a/b"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_call_is_a_ValueError_and_changes_no_byte(image, cells, refused, wrong):
    image.labels["cells"] = cells
    image.labels["nuclei"] = cells
    with refused(ValueError):
        WRONG[wrong](image, cells)


@pytest.mark.parametrize("call", ["get", "delete", "rename"])
def test_what_is_not_there_is_a_KeyError(image, refused, call):
    labels = image.labels
    with refused(KeyError, "no"):
        {
            "get": lambda: labels["no"],
            "delete": lambda: labels.__delitem__("no"),
            "rename": lambda: labels.rename("no", "new"),
        }[call]()


def test_labels_need_an_image(path, refused):
    position = open_ome_zarr(path, layout="fov", mode="w", channel_names=["a"])
    with refused(ValueError, "no image yet"):
        position.labels["cells"] = np.zeros((1, 1, 4, 4), "u1")


def test_a_source_that_fails_half_way_leaves_no_label(image, path, cells):
    class Broken:
        shape, dtype = cells.shape, cells.dtype

        def __getitem__(self, index):
            raise OSError("the network is gone")

    with pytest.raises(OSError, match="network"):
        image.labels["cells"] = Broken()
    assert list(image.labels) == []
    assert not (path / "labels" / "cells").exists()


def test_rename_moves_the_folder_the_list_and_the_name(image, cells, path, version):
    image.labels["cells"] = cells
    image.labels["other"] = cells
    image.labels.rename("cells", "nuclei")
    assert list(image.labels) == ["nuclei", "other"]
    assert ome(path / "labels", version)["labels"] == ["nuclei", "other"]
    assert ome(path / "labels/nuclei", version)["multiscales"][0]["name"] == "nuclei"
    assert not (path / "labels/cells").exists()
    check_valid(path, version)


def test_the_first_error_is_raised_where_the_removal_of_a_label_image_fails_too(image, cells, monkeypatch):
    def fail(*_, **__):
        monkeypatch.setattr(type(image.documents.storage), "delete", refuse)
        raise errors.StorageError("the disk is full")

    def refuse(*_, **__):
        raise errors.StorageError("nothing can be deleted")

    monkeypatch.setattr("lamella.ops.labels.write_array", fail)
    with pytest.raises(errors.StorageError, match="the disk is full"):
        image.labels.create("cells", cells)


def test_a_rename_killed_half_way_is_finished_by_the_same_call(image, cells, path, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    image.labels["cells"] = cells
    with monkeypatch.context() as patch:
        patch.setattr(type(image.documents), "edit_group", die)
        with pytest.raises(Killed):
            image.labels.rename("cells", "nuclei")
    position = open_ome_zarr(path, mode="r+")
    position.labels.rename("cells", "nuclei")
    assert list(position.labels) == ["nuclei"]


def test_delete_takes_the_name_off_the_list(image, cells, path, version):
    for name in ("a", "b"):
        image.labels[name] = cells
    del image.labels["a"]
    assert "a" not in image.labels
    assert ome(path / "labels", version)["labels"] == ["b"]
    assert not (path / "labels/a").exists()


def test_an_assigned_label_image_replaces_the_old_one_whole(image, cells, path, version):
    old = image.labels.create("cells", cells, colors={7: (1, 2, 3)}, properties={7: {"area": 1}})
    image.labels["others"] = cells
    with pytest.raises(errors.NodeExistsError, match="has labels 'cells' already"):
        image.labels.create("cells", cells)
    image.labels["cells"] = (
        old.data.dask_array()[0].astype("uint8") + 1
    )  # reads from the image that it replaces
    label = image.labels["cells"]
    np.testing.assert_array_equal(label.data[:], cells[0].astype("uint8") + 1)
    assert (label.axis_names, label.dataset_paths) == (["z", "y", "x"], image.dataset_paths)
    assert (label.colors, label.properties) == ({}, {})
    assert (label.name, label.metadata.multiscales[0].name) == ("cells", "cells")
    assert list(image.labels) == ["cells", "others"]
    assert sorted(entry.name for entry in (path / "labels").iterdir() if entry.is_dir()) == [
        "cells",
        "others",
    ]
    check_valid(path, version)


def test_a_read_during_a_replacement_reads_the_new_label_image(image, cells, path, monkeypatch):
    image.labels["cells"] = cells
    array = image.labels["cells"].data
    call_engine = StoredArray._call_engine

    def replace_first(stored, verb, *args):
        monkeypatch.setattr(StoredArray, "_call_engine", call_engine)
        open_ome_zarr(path, mode="r+").labels["cells"] = cells.astype("uint8") + 1
        return call_engine(stored, verb, *args)

    for read in (lambda: array[0], lambda: array.read_many([(0,)])[0]):
        image.labels["cells"] = cells
        assert array.shape == cells.shape
        monkeypatch.setattr(StoredArray, "_call_engine", replace_first)
        np.testing.assert_array_equal(read(), cells[0].astype("uint8") + 1)


def test_a_failed_replacement_keeps_the_old_label_image(image, cells, path):
    class Broken:
        shape, dtype, ndim = cells.shape, cells.dtype, cells.ndim

        def __getitem__(self, key):
            raise RuntimeError("gone")

    image.labels["cells"] = cells
    with pytest.raises(RuntimeError, match="gone"):
        image.labels["cells"] = Broken()
    np.testing.assert_array_equal(image.labels["cells"].data[:], cells)
    assert [entry.name for entry in (path / "labels").iterdir() if entry.is_dir()] == ["cells"]


def test_labels_are_a_mapping(image, cells):
    assert len(image.labels) == 0
    assert "cells" not in image.labels
    for name in ("b", "a"):
        image.labels[name] = cells
    assert list(image.labels) == list(image.labels.keys()) == ["b", "a"]
    assert [label.name for label in image.labels.values()] == ["b", "a"]
    assert image.labels.get("no") is None


def test_label_images_that_no_list_names_are_found_and_listed_by_the_next_edit(image, cells, path, version):
    """iohub writes a labels group without metadata."""
    image.labels["cells"] = cells
    edit_attributes(path / "labels", version, lambda a: (a if version == "0.4" else a["ome"]).pop("labels"))
    position = open_ome_zarr(path, mode="r+")
    assert list(position.labels) == ["cells"]
    np.testing.assert_array_equal(position.labels["cells"]["0"][...], cells)
    position.labels["new"] = cells
    assert ome(path / "labels", version)["labels"] == ["cells", "new"]
    check_valid(path, version)


def test_images_without_channels_have_labels_of_the_same_shape(path, version):
    position = open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version=version)
    position["0"] = np.zeros((6, 7), "u1")
    position.labels["cells"] = np.ones((6, 7), "int32")
    assert position.labels["cells"].axis_names == ["y", "x"]
    check_valid(path, version)


def test_labels_of_a_store_open_for_reading_are_left_alone(image, cells, path, refused):
    image.labels["cells"] = cells
    labels = open_ome_zarr(path).labels
    for change in (
        lambda: labels.create("new", cells),
        lambda: labels.rename("cells", "new"),
        lambda: labels.__delitem__("cells"),
        lambda: labels["cells"].set_colors({1: (1, 2, 3)}),
        lambda: labels["cells"].set_properties(None),
    ):
        with refused(PermissionError, "open for reading"):
            change()
