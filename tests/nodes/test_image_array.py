"""Laws of the array of an image: numpy's indices, reads into given memory, other libraries' views, refusals."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

from lamella import open_ome_zarr
from lamella.models import axes

from .conftest import channels, pixels


@pytest.fixture
def array(path, version, names):
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=channels(names), axes=axes(names), version=version
    ) as position:
        yield position.create_image("0", pixels(names))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "a.zarr"
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=channels("c"), axes=axes("tczyx")
    ) as position:
        position.create_image("0", pixels(), chunks=(1, 1, 2, 3, 4))
    return open_ome_zarr(path)["0"]


@settings(max_examples=30)
@given(basic_indices(pixels().shape, allow_newaxis=False))
def test_reading_an_index_is_numpys(kept, index):
    found, expected = kept[index], pixels()[index]
    np.testing.assert_array_equal(found, expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype


@settings(max_examples=18)
@given(st.data())
def test_writing_an_index_is_numpys(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("law") / "a.zarr"
    expected = pixels("zyx")
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("zyx"), version="0.5") as position:
        array = position.create_image("0", expected, chunks=(2, 3, 4))
        for value in (1, 2):
            index = data.draw(basic_indices(expected.shape, allow_newaxis=False))
            array[index] = value
            expected[index] = value
        np.testing.assert_array_equal(array[:], expected)


def test_facts_of_an_array(array, names):
    data = pixels(names)
    assert (array.shape, array.ndim, array.dtype) == (data.shape, data.ndim, data.dtype)
    assert (array.size, array.nbytes, len(array)) == (data.size, data.nbytes, len(data))
    lengths = dict(zip(names, data.shape, strict=True))
    found = (array.frames, array.channels, array.slices, array.height, array.width)
    assert found == tuple(lengths.get(name, 1) for name in "tczyx")
    assert [axis.name for axis in array.axes] == list(names)
    assert array.fill_value == 0
    assert (array.path, array.basename, array.name) == ("0", "0", "/0")


def test_an_array_is_a_numpy_array_where_one_is_wanted(array, names):
    data = pixels(names)
    np.testing.assert_array_equal(array.numpy(), data)
    np.testing.assert_array_equal(np.asarray(array), data)
    assert np.asarray(array, dtype="float32").dtype == "float32"
    np.testing.assert_array_equal(np.stack(list(array)), data)
    assert np.mean(array) == np.mean(data)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(array, copy=False)


def test_orthogonal_pointwise_and_masked_indexing(image):
    array, data = image["0"], pixels()
    np.testing.assert_array_equal(array.oindex[[0, 1], :, [2, 0]], data[[0, 1]][:, :, [2, 0]])
    points = ([0, 1], [1, 0], [2, 2], [3, 4], [5, 6])
    np.testing.assert_array_equal(array.vindex[points], data[points])
    np.testing.assert_array_equal(array.vindex[0, 1, 2, 3, 4], data[0, 1, 2, 3, [4]], strict=True)
    np.testing.assert_array_equal(array[data > 100], data[data > 100])
    array.oindex[0, [0, 1], 0, :, 1] = 9
    array.vindex[points] = 8
    data[0, :, 0, :, 1] = 9
    data[points] = 8
    np.testing.assert_array_equal(array[:], data)


def test_reading_into_given_memory(image):
    array, data = image["0"], pixels()
    out = np.zeros((2, 3, 8, 10), "uint16")
    assert array.read((slice(None), 1), out=out) is out
    np.testing.assert_array_equal(out, data[:, 1])
    np.testing.assert_array_equal(array.read(), data)
    frame = np.zeros((4, 8, 10), "uint16")
    array.read((0, 0, 0), out=frame[2])
    np.testing.assert_array_equal(frame[2], data[0, 0, 0])
    assert not frame[[0, 1, 3]].any()


@pytest.mark.parametrize(
    "out",
    [np.zeros((8, 10), "uint8"), np.zeros((10, 8), "uint16"), np.zeros(80, "uint16"), [[0]], "text"],
)
def test_memory_that_does_not_fit_is_refused(image, out, refused):
    with refused(ValueError, match="out"):
        image["0"].read((0, 0, 0), out=out)


@pytest.mark.parametrize("index", [5, (0,) * 6, "a", 1.5, (0, -3), ([0, 9],), np.zeros((3, 3), bool)])
def test_an_index_that_does_not_fit_is_an_index_error(image, index, refused):
    with refused(IndexError):
        image["0"][index]
    with refused(IndexError):
        image["0"][index] = 1


@pytest.mark.parametrize("value", [np.zeros((3, 3)), "text", [1, 2, 3], 70000, -1, None, object()])
def test_a_value_that_does_not_fit_is_not_written(image, value, refused):
    with refused(ValueError):
        image["0"][0, 0, 0] = value


def test_resizing_keeps_what_lies_in_both_shapes(image):
    array, data = image["0"], pixels()
    array.resize((3, 2, 3, 8, 4))
    assert image["0"].shape == (3, 2, 3, 8, 4)
    np.testing.assert_array_equal(array[:2], data[..., :4])
    assert not array[2].any()
    array.resize(2, 2, 3, 8, 10)
    assert not array[..., 4:].any()


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 3, 8, -1), (2, 2, 3, 8, 1.5), "large", None])
def test_a_shape_that_does_not_fit_changes_nothing(image, shape, refused):
    with refused(ValueError):
        image["0"].resize(shape)


def test_appending_along_an_axis(image):
    array, data = image["0"], pixels()
    assert array.append(data[:1] + 1) == (3, 2, 3, 8, 10)
    np.testing.assert_array_equal(array[:], np.concatenate([data, data[:1] + 1]))
    assert array.append(np.zeros((3, 2, 1, 8, 10), "uint16"), axis=2) == (3, 2, 4, 8, 10)


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 3, 8, 10), 0), ((1, 1, 3, 8, 10), 0), ((2, 2, 3, 8, 10), 5)]
)
def test_voxels_that_do_not_fit_are_not_appended(image, shape, axis, refused):
    with refused(ValueError):
        image["0"].append(np.zeros(shape, "uint16"), axis)


def test_attributes_of_an_array_are_stored(image, path):
    image["0"].attrs["note"] = {"a": 1}
    assert open_ome_zarr(path)["0"].attrs["note"] == {"a": 1}
    np.testing.assert_array_equal(image["0"][:], pixels())


def test_dask_reads_lazily_in_whole_files(image):
    lazy = image["0"].dask_array()
    assert (lazy.shape, lazy.dtype) == (pixels().shape, pixels().dtype)
    np.testing.assert_array_equal(lazy[:, 1].compute(scheduler="threads"), pixels()[:, 1])
    np.testing.assert_array_equal(lazy.sum(axis=2).compute(scheduler="synchronous"), pixels().sum(axis=2))


def test_repr_says_what_and_where(image, path):
    text = repr(image["0"])
    for part in ("ImageArray", str(path), "(2, 2, 3, 8, 10)", "uint16", "chunks"):
        assert part in text


# -- TensorStore ------------------------------------------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules["tensorstore"] = None
import lamella, numpy as np
from lamella.errors import MissingDependencyError
path = sys.argv[1]
with lamella.open_ome_zarr(path, layout="fov", mode="w-", channel_names=["a"], version="0.5") as position:
    position["0"] = np.arange(256, dtype="uint16").reshape(1, 1, 1, 16, 16)
    position["0"][..., 3:5, 2:9] = 7
    position.compute_pyramid(levels=2)
    try:
        position["0"].tensorstore()
    except MissingDependencyError as error:
        print(int(position["0"][..., 3, 2:4].sum()), "lamella[tensorstore]" in str(error), path in str(error))
"""


def test_without_tensorstore_all_works_but_its_own_view_which_says_what_to_install(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT, str(tmp_path / "a.zarr")],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ran.stdout.split() == ["14", "True", "True"], ran.stderr


@pytest.mark.parametrize("kwargs", [{}, {"context": None}, {"read": True}, {"open": True}])
def test_tensorstore_reads_and_writes(image, path, kwargs):
    handle = image["0"].tensorstore(**kwargs)
    assert handle.shape == pixels().shape
    np.testing.assert_array_equal(handle.read().result(), pixels())
    handle[0, 0, 0, 0].write(np.full(10, 7, "uint16")).result()
    assert (image["0"][0, 0, 0, 0] == 7).all()
    assert (zarr.open_array(path / "0", mode="r")[0, 0, 0, 0] == 7).all()


def test_tensorstore_takes_a_context_of_the_user(image):
    import tensorstore as ts

    handle = image["0"].tensorstore(context=ts.Context({"cache_pool": {"total_bytes_limit": 1 << 20}}))
    np.testing.assert_array_equal(handle.read().result(), pixels())


@pytest.mark.parametrize("kwargs", [{}, {"context": None}, {"write": False}, {"write": None}])
def test_writing_through_a_read_only_handle_is_a_value_error(image, path, kwargs):
    image.close()
    before = (path / "0").stat().st_mtime_ns
    for array in (open_ome_zarr(path)["0"], image["0"]):
        handle = array.tensorstore(**kwargs)
        np.testing.assert_array_equal(handle.read().result(), pixels())
        with pytest.raises(ValueError, match="writ"):
            handle[0].write(0).result()
        with pytest.raises(ValueError, match="writ"):
            handle[0] = 0
    np.testing.assert_array_equal(open_ome_zarr(path)["0"][:], pixels())
    assert (path / "0").stat().st_mtime_ns == before


def test_asking_to_write_a_read_only_store_is_refused(image, path, refused):
    image.close()
    array = open_ome_zarr(path)["0"]
    with refused(PermissionError):
        array.tensorstore(write=True)
    with refused(ValueError, match="closed"):
        image["0"].tensorstore(write=True)


@pytest.mark.parametrize("kwargs", [{"colour": 1}, {"dtype": "float32"}, {"context": 5}])
def test_an_option_that_tensorstore_refuses_is_a_value_error(image, kwargs, refused):
    with refused(ValueError, match="(?i)tensorstore"):
        image["0"].tensorstore(**kwargs)


@pytest.mark.parametrize("kwargs", [{"delete_existing": True, "create": True}, {"create": True}])
def test_a_read_only_array_is_not_made_anew_by_tensorstore(image, path, kwargs, refused):
    image.close()
    with refused(ValueError):
        open_ome_zarr(path)["0"].tensorstore(**kwargs)


def test_a_store_that_tensorstore_cannot_reach_says_so(version):
    from zarr.storage import MemoryStore

    with open_ome_zarr(
        MemoryStore(), layout="fov", mode="w", channel_names=["a", "b"], axes=axes("tczyx"), version=version
    ) as position:
        position["0"] = pixels()
        with pytest.raises(ValueError, match="TensorStore cannot reach"):
            position["0"].tensorstore()


def test_sharded_arrays_open_with_tensorstore(path):
    with open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version="0.5") as position:
        array = position.create_image("0", pixels("yx"), chunks=(4, 4), shards_ratio=(2, 2))
        np.testing.assert_array_equal(array.tensorstore()[2:6, 3].read().result(), pixels("yx")[2:6, 3])
