"""Laws of values: what an array's data type cannot hold is refused before a byte is written."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella.errors import LamellaError

DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
)
SHAPE = (1, 2, 2, 4, 6)


@pytest.fixture
def image(tmp_path, version):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["DAPI", "GFP"], version=version
    ) as position:
        position.create_zeros("0", SHAPE, "uint16", chunks=(1, 1, 1, 4, 3))
        yield position


@contextlib.contextmanager
def refused(root, files, match):
    before = files(root)
    with pytest.raises(ValueError, match=match) as caught:
        yield
    assert isinstance(caught.value, LamellaError)
    assert files(root) == before


BAD = {
    "too large": (np.array(70000), "70000.*0 to 65535"),
    "negative": (np.array(-1, "int8"), "-1.*0 to 65535"),
    "nan": (np.array(np.nan), "nan.*0 to 65535"),
    "infinite": (np.array(np.inf, "float32"), "inf.*0 to 65535"),
    "unsigned": (np.array(2**63, "uint64"), "9223372036854775808.*0 to 65535"),
    "of numpy as an object": (np.array(np.int64(70000), dtype=object), "70000.*0 to 65535"),
    "complex": (np.array(1 + 2j), "imaginary"),
}


def one_among(value, shape):
    found = np.zeros(shape, value.dtype)
    found[(-1,) * len(shape)] = value
    return found


WRITES = {
    "all": lambda a, v: a.__setitem__(..., one_among(v, SHAPE)),
    "a scalar": lambda a, v: a.__setitem__((0, 1, 0, 2, 3), v[()]),
    "a list": lambda a, v: a.__setitem__((0, 1, 0, 2, slice(0, 2)), [v.item()] * 2),
    "a region": lambda a, v: a.__setitem__((0, 1), one_among(v, SHAPE[2:])),
    "with steps": lambda a, v: a.__setitem__((..., slice(None, None, -2)), one_among(v, (*SHAPE[:4], 3))),
    "orthogonally": lambda a, v: a.oindex.__setitem__(
        (0, [0, 1], 0, [1, 2], [0, 5]), one_among(v, (2, 2, 2))
    ),
    "by points": lambda a, v: a.vindex.__setitem__(
        ([0, 0], [0, 1], [0, 1], [3, 2], [5, 0]), one_among(v, (2,))
    ),
    "by a mask": lambda a, v: a.vindex.__setitem__(np.ones(SHAPE, bool), one_among(v, (np.prod(SHAPE),))),
    "by lists": lambda a, v: a.__setitem__((0, 0, 0, [0, 2]), one_among(v, (2, 6))),
    "appended": lambda a, v: a.append(one_among(v, SHAPE)),
    "appended along x": lambda a, v: a.append(one_among(v, (*SHAPE[:4], 2)), axis=4),
    "broadcast": lambda a, v: a.__setitem__(..., one_among(v, (4, 6))),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("bad", BAD)
def test_a_value_out_of_range_is_refused_before_a_byte_is_written(image, tmp_path, files, write, bad):
    value, match = BAD[bad]
    image.data[0, 0, 0, 0, 0] = 5
    with refused(tmp_path, files, match) as _:
        WRITES[write](image.data, value)
    assert image.data.shape == SHAPE


@pytest.mark.parametrize("bad", BAD)
def test_a_channel_out_of_range_is_refused(image, tmp_path, files, bad):
    value, match = BAD[bad]
    with refused(tmp_path, files, match):
        image.update_channel("GFP", "0", one_among(value, (1, 2, 4, 6)))


def test_the_refusal_names_the_array_the_region_and_the_range(image, tmp_path):
    with pytest.raises(ValueError, match="70000") as caught:
        image.data[0, 1, :, 1:3] = np.full((2, 2, 6), 70000)
    text = str(caught.value)
    assert str(tmp_path / "a.zarr" / "0") in text
    assert "[0:1, 1:2, 0:2, 1:3, 0:6]" in text
    assert "0 to 65535" in text


def test_labels_out_of_range_are_refused(image, tmp_path, files):
    cells = image.labels.create("cells", np.zeros(SHAPE[2:], "uint8"))
    with refused(tmp_path, files, "256.*0 to 255"):
        cells.data[0] = np.full((4, 6), 256)
    with refused(tmp_path, files, "-1.*0 to 255"):
        cells.data[0, 0, 0] = -1


def test_tiles_out_of_range_are_refused(tmp_path, version, files):
    with lamella.open_ome_zarr(
        tmp_path / "t.zarr", layout="tiled", mode="w", channel_names=["DAPI"], version=version
    ) as mosaic:
        tiles = mosaic.make_tiles("0", grid_shape=(2, 2), tile_shape=(4, 4), dtype="uint8")
        with refused(tmp_path, files, "300.*0 to 255"):
            tiles.write_tile(np.full((4, 4), 300), 0, 1)


@pytest.mark.parametrize(
    ("source", "target"), [("float64", "float16"), ("float64", "float32"), ("int32", "float16")]
)
def test_a_finite_number_never_becomes_infinite(tmp_path, version, files, source, target):
    with lamella.open_ome_zarr(
        tmp_path / "f.zarr", layout="fov", mode="w", channel_names=["DAPI"], version=version
    ) as position:
        array = position.create_zeros("0", (1, 1, 1, 4, 4), target)
        large = np.zeros((1, 1, 1, 4, 4), source)
        large[..., 1] = 2.0**30 if source == "int32" else 1e300
        with refused(tmp_path, files, f"the range of {target} is -"):
            array[...] = large
        if source == "float64":
            large[..., 1:] = [[np.inf, np.nan, -1.5]]
            array[...] = large
            np.testing.assert_array_equal(array[...], large.astype(target))
            large[..., 0] = -1e300  # beside infinity and NaN, which are refused nowhere
            with refused(tmp_path, files, "-1e\\+300"):
                array[...] = large


numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-300, 300),
    st.sampled_from(
        [n + d for n in (2**7, 2**8, 2**15, 2**16, 2**31, 2**32, 2**53, 2**63 - 2) for d in (-1, 0, 1)]
    ),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-70000, 70000),
)


@settings(max_examples=100)
@given(
    source=st.sampled_from([*DTYPES, "float64"]),
    target=st.sampled_from([*DTYPES, "float64"]),
    values=st.lists(numbers, min_size=1, max_size=4),
)
def test_what_is_stored_is_the_value_cut_or_rounded_or_nothing_is_stored(arrays, source, target, values):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = np.array([np.array(value).astype(source) for value in values])
    position = arrays[target]
    array = position.data
    array[...] = 1
    before = array[...]
    exact = [value.item() for value in data]
    if target == "bool":
        fits = not np.isnan(data.astype("longdouble")).any()
        expected = data.astype(bool)
    elif "int" in target:
        info = np.iinfo(target)
        fits = all(np.isfinite(float(v)) and info.min <= int(v) <= info.max for v in exact)
        expected = [int(v) for v in exact] if fits else None
    else:
        with np.errstate(over="ignore"):
            expected = data.astype(target)
        fits = bool((np.isfinite(expected) | ~np.isfinite(data.astype("longdouble"))).all())
    if fits:
        array[0, : len(data)] = data
        assert array[0, : len(data)].dtype == target
        np.testing.assert_array_equal(array[0, : len(data)], np.array(expected, target))
    else:
        with pytest.raises(ValueError, match="and the range of"):
            array[0, : len(data)] = data
        np.testing.assert_array_equal(array[...], before)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    root = tmp_path_factory.mktemp("arrays")
    found = {}
    for dtype in [*DTYPES, "float64"]:
        found[dtype] = lamella.open_ome_zarr(
            root / f"{dtype}.zarr", layout="fov", mode="w", axes=lamella.models.axes("yx"), version="0.5"
        )
        found[dtype].create_zeros("0", (1, 4), dtype)
    return found


def test_fractions_are_cut_as_numpy_cuts_them(image):
    image.data[0, 0, 0, 0, :4] = np.array([1.9, -0.9, 65535.9, 0.5])
    assert image.data[0, 0, 0, 0, :4].tolist() == [1, 0, 65535, 0]


def test_an_array_of_xarray_in_memory_is_refused_alike(image, tmp_path, files):
    import xarray

    data = xarray.DataArray(one_among(np.array(70000), SHAPE))
    with refused(tmp_path, files, "70000.*0 to 65535"):
        image.data[...] = data
    with refused(tmp_path, files, "70000.*0 to 65535"):
        image.data.append(data)


def test_lists_of_python_numbers_are_exact(arrays):
    array = arrays["uint64"].data
    array[0, :3] = [0, 2**64 - 1, 2**63 + 1]
    assert array[0, :3].tolist() == [0, 2**64 - 1, 2**63 + 1]
    with pytest.raises(ValueError, match=r"18446744073709551616.*0 to 18446744073709551615"):
        array[0, :2] = [0, 2**64]
    with pytest.raises(ValueError, match=r"-1.*0 to 18446744073709551615"):
        array[0, :2] = [-1, 2**63]
    signed = arrays["int64"].data
    signed[0, :2] = [2**62 + 1, 1.5]
    assert signed[0, :2].tolist() == [2**62 + 1, 1]


# In 0.6 an image of two data types breaks MS-07, which opening reports.
@pytest.mark.filterwarnings("ignore:The metadata of .* break MS-07:lamella.errors.MetadataWarning")
def test_results_of_a_map_over_regions_out_of_range_fail_with_their_region(tmp_path, version):
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["DAPI"], version=version
    ) as plate:
        source = plate.create_position("A", "1", "0")
        source.create_image("0", np.full((1, 1, 2, 4, 6), 300, "uint16"), chunks=(1, 1, 1, 4, 6))
        report = plate.map(lambda block: block, over="regions", name="small", dtype="uint8", check=False)
        assert len(report.failed) == 2
        assert all("300" in fault and "0 to 255" in fault for fault in report.failed.values())
        assert not source["small"][...].any()


ZARR_WRITES = {
    "all": lambda z, v: z.__setitem__(..., one_among(v, SHAPE)),
    "a scalar": lambda z, v: z.__setitem__((0, 1, 0, 2, 3), v[()]),
    "basic": lambda z, v: z.set_basic_selection(slice(0, 1), one_among(v, SHAPE)),
    "orthogonally": lambda z, v: z.oindex.__setitem__(
        (0, [0, 1], 0, [1, 2], [0, 5]), one_among(v, (2, 2, 2))
    ),
    "by points": lambda z, v: z.vindex.__setitem__(
        ([0, 0], [0, 1], [0, 1], [3, 2], [5, 0]), one_among(v, (2,))
    ),
    "by a mask": lambda z, v: z.vindex.__setitem__(np.ones(SHAPE, bool), one_among(v, (np.prod(SHAPE),))),
    "by blocks": lambda z, v: z.blocks.__setitem__((0, 0, 0, 0, 0), one_among(v, (1, 1, 1, 4, 3))),
    "appended": lambda z, v: z.append(one_among(v, SHAPE)),
}


@pytest.mark.parametrize("write", ZARR_WRITES)
@pytest.mark.parametrize("bad", BAD)
def test_a_value_out_of_range_is_refused_by_the_array_of_zarr_python(image, tmp_path, files, write, bad):
    value, match = BAD[bad]
    with refused(tmp_path, files, match):
        ZARR_WRITES[write](image.data.zarr(), value)
    with refused(tmp_path, files, match):
        ZARR_WRITES[write](image.zgroup["0"], value)
    assert image.data.shape == SHAPE


@pytest.mark.parametrize("write", ZARR_WRITES)
def test_what_fits_is_written_by_the_array_of_zarr_python(image, write):
    if write != "appended":
        ZARR_WRITES[write](image.data.zarr(), np.array(7.9))
        assert image.data[...].max() == 7
        assert (image.data[...] == 7).sum() == 1


def test_lists_write_to_shards_through_the_array_of_zarr_python(tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", version="0.5", axes=lamella.models.axes("zyx")
    ) as position:
        array = position.create_zeros("0", (6, 12, 12), "uint16", chunks=(2, 3, 3), shards_ratio=(2, 2, 2))
        for where in (([1], [0, 1, 9], [7, 2, 3]), ([4, 5], [9, 10, 11], [3]), ([5, 0], [3, 7], [11, 0, 6])):
            expected = np.zeros(array.shape, "uint16")
            expected[np.ix_(*where)] = values = 1 + np.arange(expected[np.ix_(*where)].size).reshape(
                [len(one) for one in where]
            )
            array[...] = 0
            array.zarr().oindex[where] = values
            np.testing.assert_array_equal(array[...], expected)


@pytest.mark.parametrize("call", ["create_image", "labels.create"])
def test_blocks_of_another_type_than_a_lazy_array_states_are_refused(image, tmp_path, files, call):
    import dask.array

    shape = SHAPE if call == "create_image" else (1, 2, 4, 6)
    if call == "create_image":
        del image["0"]  # all levels are of one type
    lazy = dask.array.zeros(shape, dtype="uint8", chunks=(1,) * (len(shape) - 2) + (4, 6))
    lying = lazy.map_blocks(lambda block: np.full(block.shape, 300), dtype="uint8")
    with refused(tmp_path, files, "300.*0 to 255"):
        image.create_image("1", lying) if call == "create_image" else image.labels.create("cells", lying)
    fits = lazy.map_blocks(lambda block: np.full(block.shape, 200), dtype="uint8")
    image.create_image("1", fits) if call == "create_image" else image.labels.create("cells", fits)


@pytest.mark.parametrize("place", [0, 2**17 - 1, 2**17, 300_000, -1])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_value_out_of_range_is_found_anywhere_in_large_data(tmp_path, files, place, order):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", version="0.5", axes=lamella.models.axes("yx")
    ) as position:
        array = position.create_zeros("0", (700, 600), "uint16")
        data = np.zeros((700, 600), "int32", order=order)
        data.reshape(-1, order=order)[place] = 70000
        with refused(tmp_path, files, "70000.*0 to 65535"):
            array[...] = data
        array[...] = data // 2
        assert array[...].max() == 35000
