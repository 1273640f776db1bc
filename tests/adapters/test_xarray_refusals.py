"""Labelled arrays that do not fit a position: one clear error each, and the store stays as it was."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest
import xarray as xr

import lamella
from lamella.models import TransformationMeta

SHAPE = (1, 2, 3, 4, 5)


@pytest.fixture(params=["0.4", "0.5"])
def empty(request, tmp_path):
    return lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["DAPI", "GFP"], version=request.param
    )


def fill(empty):
    """Timepoints at 4, 6, 8; Y from 1 in steps of 0.5; nothing said of Z and X."""
    moves = [
        TransformationMeta(type="scale", scale=[2, 1, 1, 0.5, 1]),
        TransformationMeta(type="translation", translation=[4, 0, 0, 1, 0]),
    ]
    empty.create_zeros("0", (3, *SHAPE[1:]), "uint8", transform=moves)
    return empty


@pytest.fixture
def filled(empty):
    return fill(empty)


@pytest.fixture(params=["empty", "filled"])
def either(request, empty):
    return fill(empty) if request.param == "filled" else empty


def good(**coords):
    given = {"t": [4.0], "c": ["DAPI", "GFP"], **coords}
    return xr.DataArray(np.ones(SHAPE, "uint8"), dims=tuple("tczyx"), coords=given)


def contents(position):
    root = pathlib.Path(position.zgroup.store.root)
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def refused(position, data, match, image="0", error=ValueError):
    before = contents(position)
    with pytest.raises(error, match=match) as caught:
        position.write_xarray(data, image)
    assert isinstance(caught.value, lamella.errors.LamellaError)
    assert contents(position) == before


BAD_FOR_ANY = {
    "a numpy array": (lambda d: d.values, "expects an xarray.DataArray, not ndarray"),
    "dims in another order": (lambda d: d.transpose("c", "t", "z", "y", "x"), "dims must be"),
    "too few dims": (lambda d: d.isel(t=0), "dims must be"),
    "dims in capitals": (lambda d: d.rename(t="T"), "dims must be"),
    "no voxel": (lambda d: d.isel(t=slice(0, 0)), "has nothing"),
    "an unknown channel": (lambda d: d.assign_coords(c=["DAPI", "Cy5"]), "Channel 'Cy5' not in"),
    "a channel twice": (lambda d: d.assign_coords(c=["DAPI", "DAPI"]), "a channel twice"),
    "unnamed channels": (lambda d: d.isel(c=[0]).drop_vars("c"), "1 channels without names"),
    "dates": (lambda d: d.assign_coords(t=np.array(["2026-01-01"], "M8[ns]")), "'t' must have one number"),
    "texts": (lambda d: d.assign_coords(z=list("abc")), "'z' must have one number"),
    "NaN": (lambda d: d.assign_coords(z=[0, np.nan, 2]), "'z' contains values that are not finite"),
    "coordinates that no length has": (lambda d: d.assign_coords(z=[0, 1e308, 1.7e308]), "up to 1e.150"),
    "a unit of nothing": (lambda d: d.assign_coords(z=("z", [0, 1, 2], {"units": "parrot"})), "'parrot'"),
    "a unit of another kind": (
        lambda d: d.assign_coords(z=("z", [0, 1, 2], {"units": "second"})),
        "unit of space",
    ),
    "a unit that is no text": (
        lambda d: d.assign_coords(z=("z", [0, 1, 2], {"units": 3})),
        r"attrs\['units'\] = 3",
    ),
    "attrs that are no JSON": (
        lambda d: d.assign_attrs(when={"a": [object()]}),
        r"attrs\['when'\]\['a'\]\[0\]",
    ),
    "attrs that are not finite": (lambda d: d.assign_attrs(gain=np.nan), r"attrs\['gain'\]"),
    "a key that is no text": (lambda d: d.assign_attrs({3: 1}), "the key 3"),
}


@pytest.mark.parametrize("case", BAD_FOR_ANY)
def test_refused_for_any_position(either, case):
    change, match = BAD_FOR_ANY[case]
    refused(either, change(good()), match)


BAD_FOR_NEW = {
    "uneven steps": ({"z": [0.0, 1.0, 3.0]}, "'z' is not evenly spaced: index 1"),
    "descending": ({"y": [3.0, 2.0, 1.0, 0.0]}, "'y' must ascend"),
    "steps that no float divides by": ({"z": [0.0, 1e-320, 2e-320]}, "factors from 1e-150"),
    "one value for all": ({"x": [1.0] * 5}, "'x' must ascend"),
}


@pytest.mark.parametrize("case", BAD_FOR_NEW)
def test_refused_for_a_new_image(empty, case):
    coords, match = BAD_FOR_NEW[case]
    refused(empty, good(**coords), match)


def test_uneven_timepoints_are_refused_for_a_new_image(empty):
    refused(
        empty, xr.concat([good(), good(), good()], "t").assign_coords(t=[0.0, 1.0, 3.0]), "'t' is not evenly"
    )


def test_a_dtype_that_cannot_be_stored_is_refused(empty):
    refused(empty, good().astype(str), "dtype")


BAD_FOR_FILLED = {
    "before the first timepoint": (
        lambda d: d.assign_coords(t=[2.0]),
        "2 of dim 't' lies before the first timepoint",
    ),
    "between two timepoints": (
        lambda d: d.assign_coords(t=[5.0]),
        "5 of dim 't' does not lie on the timepoints",
    ),
    "one timepoint twice": (lambda d: xr.concat([d, d], "t"), "name a timepoint twice"),
    "far beyond the last": (lambda d: d.assign_coords(t=[1.7e9]), "would be empty"),
    "another length": (lambda d: d.isel(z=[0, 1]), "has length 2 along 'z'"),
    "another place": (lambda d: d.assign_coords(y=7 + np.arange(4)), "'y' runs from 7 to 10"),
    "values beyond the dtype": (lambda d: d.astype("int64") * 1000, "cannot store all"),
    "fractions": (lambda d: d * 0.5, "cannot store all"),
    "complex": (lambda d: d * 1j, "cannot store all"),
}


@pytest.mark.parametrize("case", BAD_FOR_FILLED)
def test_refused_for_an_image_made_before(filled, case):
    change, match = BAD_FOR_FILLED[case]
    refused(filled, change(good()), match)


def test_integers_that_fit_are_taken(filled):
    filled.write_xarray(good().astype("int64"))
    assert filled.data[0].all()


def test_timepoints_cannot_move_under_a_pyramid(empty):
    empty.write_xarray(good())
    empty.initialize_pyramid(2)
    refused(empty, good(t=[2.0]), "delete_pyramid")


def test_a_time_axis_that_somebody_set_stays(empty):
    empty.write_xarray(good())
    empty.set_scale("0", "t", 3.0)
    refused(empty, good(t=[1.0]), "before the first")
    refused(empty, good(t=[5.0]), "does not lie on")


@pytest.mark.parametrize(("name", "match"), [("", "empty name"), ("../b", "b"), ("labels/../..", "labels")])
def test_a_name_that_is_none_is_refused(empty, name, match):
    refused(empty, good(), match, image=name, error=(ValueError, KeyError))


def test_a_group_is_no_array(filled):
    filled.write_xarray(good())
    filled.labels["cells"] = np.ones((3, 3, 4, 5), "uint8")
    refused(filled, good(), "a group, but not a level", image="labels")


def test_an_array_that_is_no_level_is_refused(filled):
    filled.zgroup.create_array("raw", shape=(3, *SHAPE[1:]), dtype="uint8", chunks=(1, *SHAPE[1:]))
    refused(filled, good(), "an array, but not a level", image="raw")


def test_a_closed_position_is_not_written(filled):
    filled.close()
    refused(filled, good(), "closed")


def test_a_position_open_for_reading_is_not_written(filled):
    again = lamella.open_ome_zarr(os.fspath(filled.zgroup.store.root))
    refused(again, good(), "open for reading", error=PermissionError)


def test_a_position_without_image_is_no_labelled_array(empty):
    with pytest.raises(KeyError, match="no image yet"):
        empty.to_xarray()
