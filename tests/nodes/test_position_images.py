"""Laws of creating, listing and deleting the arrays of a position."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import zarr

from lamella import open_ome_zarr
from lamella.errors import MetadataWarning
from lamella.models import TransformationMeta, axes

from .conftest import attributes, channels, check_valid, edit_attributes, ome, pixels, snapshot

DTYPES = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64"),
)


@pytest.fixture
def position(path, version, names):
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=channels(names), axes=axes(names), version=version
    ) as made:
        yield made


def test_any_legal_axes_make_a_valid_image(position, path, version, names):
    image = position.create_image("0", pixels(names))
    np.testing.assert_array_equal(image[:], pixels(names))
    np.testing.assert_array_equal(zarr.open_array(path / "0", mode="r")[:], pixels(names))
    assert position.axis_names == list(names)
    assert position.scale == [1.0] * len(names)
    check_valid(path, version)


def test_every_dtype_is_kept(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version=version) as position:
        for dtype in DTYPES:
            data = pixels("yx").astype(dtype)
            position[dtype] = data
            assert position[dtype].dtype == dtype
            np.testing.assert_array_equal(position[dtype][:], data)
        assert len(position) == len(DTYPES)


def test_default_axes_are_capitals_in_metadata_and_lower_case_names(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"], version=version) as position:
        position["0"] = pixels()[:, :1]
        assert [axis.name for axis in position.axes] == list("TCZYX")
        assert [axis.unit for axis in position.axes] == ["second", None, *["micrometer"] * 3]
        assert position.axis_names == list("tczyx")
        assert position.get_axis_index("z") == position.get_axis_index("Z") == 2
    if version == "0.5":
        assert zarr.open_array(path / "0", mode="r").metadata.dimension_names == tuple("TCZYX")
    check_valid(path, version)


def test_default_chunks_are_the_zyx_stack(image):
    assert image["0"].chunks == (1, 1, 3, 8, 10)
    assert image["0"].shards is None


def test_huge_stacks_are_split_along_z_then_y(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"], version=version) as position:
        deep = position.create_zeros("0", (1, 1, 3000, 2048, 2048), "uint16").chunks
        flat = position.create_zeros("1", (1, 1, 1, 100_000, 100_000), "uint16").chunks
    assert deep[3:] == (2048, 2048)
    assert deep[2] < 3000
    assert flat[4] == 100_000
    assert flat[3] < 100_000
    for chunks in (deep, flat):
        assert np.prod(chunks) * 2 <= 512 << 20


def test_shards_are_chunks_times_the_ratio_also_beyond_the_shape(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version="0.5") as position:
        image = position.create_image("0", pixels("yx"), chunks=(4, 4), shards_ratio=(2, 4))
        assert (image.chunks, image.shards) == ((4, 4), (8, 16))
        np.testing.assert_array_equal(image[:], pixels("yx"))
        np.testing.assert_array_equal(zarr.open_array(path / "0", mode="r")[:], pixels("yx"))


def test_04_has_no_shards_and_says_what_has(path, refused):
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version="0.4") as position:
        for ratio in ((1, 1), (2, 2)):
            with refused(ValueError, match=r"0\.5"):
                position.create_zeros("0", (8, 8), "uint8", chunks=(4, 4), shards_ratio=ratio)


def test_numbers_of_numpy_are_numbers(path):
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version="0.5") as position:
        shape, chunks = np.array([8, 10]), np.array([4, 4])
        image = position.create_zeros("0", shape, np.uint8, chunks=chunks, shards_ratio=np.array([2, 1]))
        assert (image.shape, image.chunks, image.shards) == ((8, 10), (4, 4), (8, 4))
        position.set_transform("0", [TransformationMeta(type="scale", scale=np.array([2, 3]))])
        position.set_scale(0, "x", np.float32(0.5))
        assert position.get_effective_scale(0) == [2, 0.5]


def test_the_files_of_an_array_before_pixels(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"], version=version) as position:
        position.create_zeros("0", (1, 1, 1, 4, 4), "uint8")
    files = {name for name, content in snapshot(path).items() if content is not None}
    if version == "0.4":
        assert files == {".zgroup", ".zattrs", "0/.zarray", "0/.zattrs"}
        assert zarr.open_array(path / "0", mode="r").metadata.dimension_separator == "/"
    else:
        assert files == {"zarr.json", "0/zarr.json"}


def test_chunk_keys_have_slashes(image, path, version):
    assert (path / "0" / ("0/0/0/0/0" if version == "0.4" else "c/0/0/0/0/0")).is_file()


def test_fewer_channels_than_names_warn(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=["a", "b"], version=version) as position:
        with pytest.warns(UserWarning, match="fewer"):
            position.create_zeros("0", (1, 1, 1, 4, 4), "uint8")
        with pytest.warns(MetadataWarning, match="LM-11"):
            assert position["0"].shape == (1, 1, 1, 4, 4)
        assert position.channel_names == ["a"]


def test_channel_windows_span_the_dtype(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"], version=version) as position:
        position.create_zeros("0", (1, 1, 1, 4, 4), "int16")
        assert position.metadata.omero.channels[0].window == {
            "start": -32768.0,
            "end": 32767.0,
            "min": -32768.0,
            "max": 32767.0,
        }


def test_levels_are_listed_finest_first(path, version):
    def scale(size: float) -> list[TransformationMeta]:
        return [TransformationMeta(type="scale", scale=[size, size])]

    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version=version) as position:
        position.create_zeros("coarse", (2, 2), "uint8", transform=scale(4))
        position.create_zeros("fine", (8, 8), "uint8", transform=scale(1))
        position.create_zeros("middle", (4, 4), "uint8", transform=scale(2))
        assert position.dataset_paths == ["fine", "middle", "coarse"]
        assert position.data.shape == (8, 8)
        assert position.scale == [1, 1]
        assert list(position) == ["coarse", "fine", "middle"]
    check_valid(path, version)


def test_data_is_the_first_level_whatever_its_name(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version=version) as position:
        with pytest.raises(KeyError) as caught:
            position.data
        assert "no image yet" in str(caught.value)
        position["raw"] = pixels("yx")
        np.testing.assert_array_equal(position.data[:], pixels("yx"))


def test_integer_and_text_name_the_same_array(image):
    assert image[0].path == image["0"].path
    assert 0 in image
    assert "0" in image
    image[7] = pixels()
    assert image["7"].shape == pixels().shape


def test_names_are_in_natural_order(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version=version) as position:
        for name in ("10", "9", "1", "2"):
            position.create_zeros(name, (4, 4), "uint8")
        assert list(position) == position.array_keys() == ["1", "2", "9", "10"]
        assert [name for name, _ in position.images()] == ["1", "2", "9", "10"]


@pytest.mark.parametrize(
    "kind", ["numpy", "memmap", "list", "dask", "xarray", "zarr", "image", "fortran", "big endian"]
)
def test_any_array_like_is_written(path, version, kind, tmp_path):
    data = pixels("zyx")
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("zyx"), version=version) as position:
        position.create_image("0", _as(kind, data, tmp_path, position), chunks=(1, 4, 4))
        np.testing.assert_array_equal(position["0"][:], data)


def _as(kind: str, data: Any, tmp_path: Any, position: Any) -> Any:
    if kind == "memmap":
        mapped = np.memmap(tmp_path / "raw", data.dtype, "w+", shape=data.shape)
        mapped[:] = data
        return mapped
    if kind == "dask":
        return pytest.importorskip("dask.array").from_array(data, chunks=(2, 3, 3))
    if kind == "xarray":
        return pytest.importorskip("xarray").DataArray(data, dims=list("zyx"))
    if kind == "zarr":
        array = zarr.create_array(
            zarr.storage.MemoryStore(), shape=data.shape, dtype=data.dtype, chunks=(2, 3, 3)
        )
        array[:] = data
        return array
    if kind == "image":
        with open_ome_zarr(tmp_path / "b.zarr", layout="fov", mode="w", axes=axes("zyx")) as other:
            return other.create_image("0", data)
    converted = {
        "fortran": np.asfortranarray,
        "big endian": lambda a: a.astype(">u2"),
        "list": lambda a: a.tolist(),
    }
    return converted.get(kind, np.asarray)(data)


def test_a_source_that_fails_half_way_leaves_no_image(image, refused, tmp_path):
    class Failing:
        shape, dtype = (2, 2, 3, 8, 10), np.dtype("uint16")

        def __getitem__(self, index: Any) -> Any:
            if index[0].start:
                raise ConnectionError("the scanner went home")
            return np.zeros([part.stop - part.start for part in index], "uint16")

    before = snapshot(tmp_path)
    with pytest.raises(Exception, match="went home"):
        image["2"] = Failing()
    assert "2" not in image
    assert image.dataset_paths == ["0", "1"]
    left = {name: content for name, content in snapshot(tmp_path).items() if "lock" not in name}
    assert left.keys() == before.keys()


def test_overwriting_replaces_an_array_and_its_entry(path, version):
    with open_ome_zarr(
        path, layout="fov", mode="w", axes=axes("yx"), version=version, overwriting_creation=True
    ) as position:
        position["0"] = pixels("yx")
        position.create_image(
            "0", np.ones((3, 3), "float32"), transform=[TransformationMeta(type="scale", scale=[2, 2])]
        )
        assert position["0"].dtype == "float32"
        assert position.dataset_paths == ["0"]
        assert position.scale == [2, 2]
    check_valid(path, version)


@pytest.mark.parametrize("lazy", [True, False])
def test_an_array_can_be_overwritten_from_itself(image, path, version, lazy):
    with open_ome_zarr(path, mode="r+", overwriting_creation=True) as position:
        same = position["0"].dask_array() if lazy else position["0"]
        position.create_image("0", same, chunks=(1, 1, 1, 4, 4))
        np.testing.assert_array_equal(position["0"][:], pixels())
        assert position["0"].chunks == (1, 1, 1, 4, 4)
        assert position.dataset_paths == ["0", "1"]
    assert not [name for name in snapshot(path) if ".lamella" in name]
    check_valid(path, version)


def test_a_failing_overwrite_leaves_the_old_array(image, path):
    class Failing:
        shape, dtype = (2, 2, 3, 8, 10), np.dtype("uint16")

        def __getitem__(self, index: Any) -> Any:
            raise ConnectionError("the scanner went home")

    before = snapshot(path)
    with open_ome_zarr(path, mode="r+", overwriting_creation=True) as position:
        with pytest.raises(ConnectionError):
            position["0"] = Failing()
        np.testing.assert_array_equal(position["0"][:], pixels())
    assert snapshot(path) == before


def test_nested_names_get_their_groups(path, version):
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version=version) as position:
        position["scale0/image"] = pixels("yx")
        assert list(position) == ["scale0/image"]
    assert zarr.open_group(path, mode="r")["scale0"]["image"].shape == pixels("yx").shape
    check_valid(path, version)


BAD_CREATION: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "duplicate": (ValueError, {"name": "0"}),
    "empty name": (KeyError, {"name": ""}),
    "name that leaves the store": (ValueError, {"name": "../x"}),
    "name with a dot part": (ValueError, {"name": "a/./b"}),
    "name with NUL": (ValueError, {"name": "a\0b"}),
    "name with a backslash": (ValueError, {"name": "a\\b"}),
    "name of a document": (ValueError, {"name": "zarr.json"}),
    "name of a v2 document": (ValueError, {"name": ".zattrs"}),
    "name of the labels": (ValueError, {"name": "labels"}),
    "name below the labels": (ValueError, {"name": "labels/cells"}),
    "name below an array": (ValueError, {"name": "0/1"}),
    "name of 300 bytes": (ValueError, {"name": "n" * 300}),
    "name of another type": (ValueError, {"name": 1.5}),
    "too few dimensions": (ValueError, {"shape": (2, 3, 8, 10)}),
    "too many dimensions": (ValueError, {"shape": (1, 2, 2, 3, 8, 10)}),
    "too many channels": (ValueError, {"shape": (2, 3, 3, 8, 10)}),
    "negative length": (ValueError, {"shape": (2, 2, 3, -8, 10)}),
    "fractional length": (ValueError, {"shape": (2, 2, 3, 8.5, 10)}),
    "shape as a number": (ValueError, {"shape": 5}),
    "unknown dtype": (ValueError, {"dtype": "uint24"}),
    "object dtype": (ValueError, {"dtype": object}),
    "text dtype": (ValueError, {"dtype": "U5"}),
    "structured dtype": (ValueError, {"dtype": [("a", "u1")]}),
    "datetime dtype": (ValueError, {"dtype": "M8[s]"}),
    "too few chunks": (ValueError, {"chunks": (8, 10)}),
    "zero chunks": (ValueError, {"chunks": (1, 1, 0, 8, 10)}),
    "negative chunks": (ValueError, {"chunks": (1, 1, -1, 8, 10)}),
    "fractional chunks": (ValueError, {"chunks": (1, 1, 1.5, 8, 10)}),
    "chunks as text": (ValueError, {"chunks": "large"}),
    "too few ratios": (ValueError, {"shards_ratio": (2, 2)}),
    "zero ratio": (ValueError, {"shards_ratio": (1, 1, 0, 1, 1)}),
    "transform as text": (ValueError, {"transform": "scale"}),
    "one transform": (ValueError, {"transform": TransformationMeta(type="scale", scale=[1] * 5)}),
    "transform of two axes": (ValueError, {"transform": [TransformationMeta(type="scale", scale=[1, 1])]}),
    "infinite transform": (
        ValueError,
        {"transform": [TransformationMeta(type="translation", translation=[float("inf")] * 5)]},
    ),
    "unknown compressor": (ValueError, {"compressor": "rar"}),
}


@pytest.mark.parametrize("case", list(BAD_CREATION))
def test_a_creation_that_does_not_fit_changes_nothing(image, case, refused):
    family, change = BAD_CREATION[case]
    good = {"name": "new", "shape": (2, 2, 3, 8, 10), "dtype": "uint16"}
    with refused(family):
        image.create_zeros(**{**good, **change})
    assert list(image) == ["0", "1"]


@pytest.mark.parametrize("data", ["text", None, {"a": 1}, [[1, 2], [3]], np.array(["a"]), object()])
def test_data_that_are_no_numbers_are_refused(image, data, refused):
    with refused(ValueError):
        image.create_image("new", data)


def test_check_shape_off_takes_any_shape(image):
    assert image.create_zeros("mask", (8, 10), "bool", check_shape=False).shape == (8, 10)


def test_a_read_only_position_refuses_every_change(image, path, refused):
    image.close()
    with open_ome_zarr(path) as position:
        _refuses_every_change(position, refused, PermissionError)


def test_a_closed_position_refuses_every_change_and_still_reads(image, refused):
    array = image["0"]
    image.close()
    _refuses_every_change(image, refused, ValueError)
    with refused(ValueError, match="closed"):
        array[0] = 1
    np.testing.assert_array_equal(image["0"][:], pixels())


def _refuses_every_change(position: Any, refused: Any, family: type[Exception]) -> None:
    window = {"start": 0, "end": 1, "min": 0, "max": 1}
    data = pixels()
    changes = [
        lambda: position.create_image("new", data),
        lambda: position.create_zeros("new", data.shape, "uint8"),
        lambda: position.__setitem__("new", data),
        lambda: position.__delitem__("1"),
        lambda: position["0"].__setitem__(0, 1),
        lambda: position["0"].oindex.__setitem__(0, 1),
        lambda: position["0"].vindex.__setitem__(([0],) * 5, 1),
        lambda: position["0"].resize(1, 1, 1, 1, 1),
        lambda: position["0"].append(data),
        lambda: position["0"].tensorstore(write=True),
        lambda: position.append_channel("new"),
        lambda: position.rename_channel("DAPI", "new"),
        lambda: position.update_channel("DAPI", "0", data[:, 0]),
        lambda: position.set_contrast_limits("DAPI", window),
        lambda: position.set_scale("0", "x", 2),
        lambda: position.set_transform("0", []),
        position.dump_meta,
        lambda: position.initialize_pyramid(2),
        lambda: position.compute_pyramid(2),
        position.delete_pyramid,
        lambda: position.zattrs.__setitem__("a", 1),
        lambda: position.zattrs.update(a=1),
        lambda: position.zattrs.put({}),
        lambda: position.zattrs.__delitem__("multiscales"),
        lambda: position.labels.__setitem__("cells", data[:, 0]),
    ]
    for change in changes:
        with refused(family):
            change()


def test_deleting_a_level_takes_it_off_the_list(image, path, version):
    del image["1"]
    assert image.dataset_paths == ["0"]
    assert not (path / "1").exists()
    check_valid(path, version)
    del image["0"]
    assert image.dataset_paths == []
    assert "multiscales" not in ome(path, version)  # MS-03: no image without arrays
    with open_ome_zarr(path) as again:
        assert again.channel_names == ["DAPI", "GFP"]
        assert again.axes == image.axes


@pytest.mark.parametrize("key", ["9", "", "../0", "0/9", "labels"])
def test_deleting_what_is_not_there_changes_nothing(image, key, refused):
    with refused((KeyError, ValueError)):
        del image[key]


@pytest.mark.parametrize("key", ["9", 9, "", "/", "labels/cells", "0/0"])
def test_a_missing_member_is_a_key_error_that_names_the_members(image, key, refused):
    with refused(KeyError):
        image[key]
    assert key not in image


@pytest.mark.parametrize("key", [None, 1.5, True, ("0",), b"0"])
def test_a_key_of_another_type_is_refused(image, key, refused):
    with refused(ValueError):
        image[key]
    assert key not in image


@pytest.mark.parametrize("key", ["../store.zarr/0", "0/../1", "a\0b"])
def test_a_key_that_leaves_the_store_is_refused(image, key, refused):
    with refused(ValueError):
        image[key]
    assert key not in image


def test_a_listed_array_that_is_missing_says_so(image, path, refused):
    import shutil

    shutil.rmtree(path / "1")
    assert image.dataset_paths == ["0", "1"]
    with refused(KeyError, match="lists"):
        image["1"]
    with refused(KeyError):
        list(image.images())


def test_a_damaged_array_document_is_one_clear_error(image, path, version, refused):
    (path / "0" / (".zarray" if version == "0.4" else "zarr.json")).write_text("{")
    with refused(ValueError, match="damaged"):
        image["0"].shape
    assert "damaged" in repr(image)


def test_unknown_keys_survive_every_edit(image, path, version):
    def mark(document: dict[str, Any]) -> None:
        document["lab"] = {"room": [1, None, "ü"]}
        part = document if version == "0.4" else document["ome"]
        part["multiscales"][0]["ours"] = 1
        part["multiscales"][0]["axes"][0]["ours"] = 2
        part["multiscales"][0]["datasets"][0]["ours"] = 3
        part["omero"]["ours"] = 4
        part["omero"]["channels"][0]["ours"] = 5
        part["omero"]["channels"][0]["window"]["ours"] = 6

    edit_attributes(path, version, mark)
    with open_ome_zarr(path, mode="r+") as position:
        position.rename_channel("DAPI", "nuclei")
        position.append_channel("RFP")
        position.set_scale("0", "x", 0.5)
        position.set_contrast_limits("nuclei", {"start": 0, "end": 9, "min": 0, "max": 9})
        position["2"] = np.zeros((2, 3, 3, 8, 10), "uint8")
        position.set_transform("*", [TransformationMeta(type="scale", scale=[2] * 5)])
        del position["2"]
        position.dump_meta()
    part = ome(path, version)
    assert attributes(path, version)["lab"] == {"room": [1, None, "ü"]}
    scales, omero = part["multiscales"][0], part["omero"]
    found = [
        scales["ours"],
        scales["axes"][0]["ours"],
        scales["datasets"][0]["ours"],
        omero["ours"],
        omero["channels"][0]["ours"],
        omero["channels"][0]["window"]["ours"],
    ]
    assert found == [1, 2, 3, 4, 5, 6]


def test_nodes_and_arrays_travel_by_pickle(image):
    position, array = pickle.loads(pickle.dumps((image, image["0"])))
    np.testing.assert_array_equal(array[0, 1], pixels()[0, 1])
    np.testing.assert_array_equal(position["0"][:], pixels())
    assert (position.channel_names, position.version) == (image.channel_names, image.version)
    position.set_scale("0", "x", 3)
    assert image.scale[-1] == 3
