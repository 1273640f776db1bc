"""Law of the API page: an `ImageArray` has every public name of the installed `zarr.Array`, with equal results."""

from __future__ import annotations

import inspect
import warnings
from rlcompleter import Completer

import numpy as np
import pytest
import zarr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lamella import ImageArray, open_ome_zarr
from lamella.errors import LamellaError
from lamella.models import axes

SHAPE = (3, 2, 9, 10)
LAYOUTS = {
    "0.4": {"version": "0.4"},
    "0.5": {"version": "0.5"},
    "0.5 in shards": {"version": "0.5", "shards_ratio": (1, 1, 2, 2)},
    "0.6 in shards": {"version": "0.6", "shards_ratio": (2, 1, 2, 1)},
    "0.5 raw": {"version": "0.5", "compressor": "none"},
}
NAMES = [name for name in dir(zarr.Array) if not name.startswith("_")]


def pixels(dtype="uint16"):
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def make(path, layout, dtype="uint16"):
    options = dict(LAYOUTS[layout])
    position = open_ome_zarr(
        path,
        layout="fov",
        mode="w",
        channel_names=["DAPI", "GFP"],
        axes=axes("tcyx"),
        version=options.pop("version"),
    )
    array = position.create_zeros("0", SHAPE, dtype, chunks=(1, 1, 4, 5), **options)
    array[:, 0] = pixels(dtype)[:, 0]
    return position["0"]


@pytest.fixture(params=LAYOUTS)
def array(request, tmp_path):
    return make(tmp_path / "a.zarr", request.param)


def test_an_image_array_has_every_public_name_of_a_zarr_array(array):
    assert set(NAMES) <= set(dir(array))
    # compressor raises a TypeError for Zarr v3, in both
    assert [name for name in NAMES if name != "compressor" and not hasattr(array, name)] == []


def test_names_of_other_versions_of_zarr_are_those_of_the_installed_one(array):
    # Facts that zarr-python 3.1.3 has not yet, or 3.4.2 has.
    others = {"config", "async_array", "read_chunk_sizes", "write_chunk_sizes"}
    for name in others:
        assert hasattr(array, name) == hasattr(zarr.Array, name)
    for name in ("no_such_name", "_no_such_name"):
        with pytest.raises(AttributeError, match=name):
            getattr(array, name)


def test_a_name_of_a_newer_zarr_is_passed_on(array, monkeypatch):
    monkeypatch.setattr(zarr.Array, "of_tomorrow", property(lambda self: ("new", self.shape)), raising=False)
    assert "of_tomorrow" in dir(array)
    assert array.of_tomorrow == ("new", SHAPE)


def test_tab_in_python_completes_names_and_calls_no_property(array):
    matches = Completer({"array": array}).attr_matches("array.")
    assert {f"array.{name}" for name in ("compressor", "info", "nchunks_initialized")} <= set(matches)
    for name in ("order", "nchunks", "store"):
        with pytest.raises(AttributeError):
            setattr(array, name, 1)


CALLS = {
    "nbytes_stored": lambda a: a.nbytes_stored(),
    "info_complete": lambda a: a.info_complete(),
    "with_config": lambda a: a.with_config({"order": "F"}).order,
    "get_basic_selection": lambda a: a.get_basic_selection((slice(0, 3, 2), 0, ..., slice(2, 7))),
    "get_orthogonal_selection": lambda a: a.get_orthogonal_selection(([2, 0], 0, slice(1, 8), [1, 9, 3])),
    "get_coordinate_selection": lambda a: a.get_coordinate_selection(([0, 2], [0, 1], [8, 3], [9, 0])),
    "get_mask_selection": lambda a: a.get_mask_selection(pixels() % 3 == 0),
    "get_block_selection": lambda a: a.get_block_selection((0, slice(0, 1), ..., -1)),
    "oindex": lambda a: a.oindex[[2, 0], 0, :, [1, 9, 3]],
    "vindex": lambda a: a.vindex[[0, 2], [0, 1], [8, 3], [9, 0]],
    "blocks": lambda a: a.blocks[0, :, 1],
    "attrs": lambda a: a.attrs.asdict(),
    "async_array": lambda a: a.async_array.metadata,
    "store_path": lambda a: str(a.store_path),
}
EDITS = {
    "append": lambda a: a.append(pixels()[:1] + 1),
    "resize": lambda a: a.resize(new_shape=(4, 2, 9, 12)),
    "shape": lambda a: setattr(a, "shape", (3, 3, 9, 10)),
    "update_attributes": lambda a: a.update_attributes({"mine": [1, {"k": None}]}).attrs.asdict(),
    "set_basic_selection": lambda a: a.set_basic_selection((0, slice(None), slice(2, 9, 3)), 77),
    "set_orthogonal_selection": lambda a: a.set_orthogonal_selection(
        ([2, 0], 1, slice(3, 5), slice(2, 4)), np.arange(8).reshape(2, 2, 2)
    ),
    "set_coordinate_selection": lambda a: a.set_coordinate_selection(
        ([0, 2], [0, 1], [8, 3], [9, 0]), [60000, 5]
    ),
    "set_mask_selection": lambda a: a.set_mask_selection(pixels() % 4 == 0, 3),
    "set_block_selection": lambda a: a.set_block_selection((1, 0, 0, 0), 9),
    "blocks": lambda a: a.blocks.__setitem__((0, 0, slice(0, 1)), 8),
    "oindex": lambda a: a.oindex.__setitem__((0, [0, 1], [8, 3]), 5),
    "vindex": lambda a: a.vindex.__setitem__(([0, 2], [0, 1], [8, 3], [9, 0]), [4, 5]),
}
CLASS_METHODS = {"open", "create", "from_dict"}


def plain(value):
    return str(value) if type(value).__name__ == "ArrayInfo" else value


def outcome(call, array):
    """Return a result, or the kinds of error that it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr-python's own deprecations
        try:
            return plain(call(array))
        except Exception as error:
            return next(
                kind for kind in (TypeError, IndexError, ValueError, Exception) if isinstance(error, kind)
            )


def assert_equal(found, expected):
    if isinstance(expected, np.ndarray | np.generic):
        assert np.shape(found) == np.shape(expected)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("name", sorted(set(NAMES) - CLASS_METHODS))
def test_every_name_has_the_result_of_zarr(array, name):
    call = CALLS.get(name) or (lambda a: getattr(a, name))
    if name in CALLS or not inspect.isfunction(getattr(zarr.Array, name)):
        assert_equal(outcome(call, array), outcome(call, array.zarr()))
    else:
        assert name in EDITS, f"{name} is new in zarr-python: compare its result here"


def is_zarrs_fault(layout, name):
    """Whether zarr-python 3.1 fails: index arrays that meet several inner chunks of a shard."""
    return "shards" in layout and name == "set_orthogonal_selection"


# Arrays that grow along the channels without names for them: their image opens with a warning.
@pytest.mark.filterwarnings("ignore:The metadata of .* break LM-11:lamella.errors.MetadataWarning")
@pytest.mark.parametrize(
    ("layout", "name"), [(a, b) for a in LAYOUTS for b in EDITS if not is_zarrs_fault(a, b)]
)
def test_every_change_has_the_result_of_zarr(tmp_path, layout, name):
    ours, theirs = make(tmp_path / "a.zarr", layout), make(tmp_path / "b.zarr", layout).zarr()
    found, expected = outcome(EDITS[name], ours), outcome(EDITS[name], theirs)
    assert_equal(found, expected)
    theirs = open_ome_zarr(tmp_path / "b.zarr")["0"].zarr()
    again = open_ome_zarr(tmp_path / "a.zarr")["0"]
    assert again.shape == theirs.shape
    np.testing.assert_array_equal(again[...], theirs[...])
    assert again.attrs.asdict() == theirs.attrs.asdict()


ints = st.integers(-12, 12)
slices = st.builds(slice, st.none() | ints, st.none() | ints, st.none() | st.integers(1, 3))
item = ints | slices
coordinates = st.tuples(*(st.lists(st.integers(-n, n - 1), min_size=2, max_size=2) for n in SHAPE))
orthogonal = st.tuples(
    *(
        st.integers(-n, n - 1) | slices | st.lists(st.integers(-n, n - 1), min_size=1, max_size=3)
        for n in SHAPE
    )
)
SELECTIONS = {
    "get_basic_selection": st.tuples(item, item, item, item) | st.tuples(item, st.just(...), item) | item,
    "get_orthogonal_selection": orthogonal,
    "get_coordinate_selection": coordinates | st.tuples(*(st.integers(-n, n - 1) for n in SHAPE)),
    "get_block_selection": st.tuples(
        *[
            st.integers(-3, 3)
            | st.builds(slice, st.none() | st.integers(-3, 3), st.none() | st.integers(0, 3))
        ]
        * 4
    ),
}


@pytest.fixture(scope="module", params=["0.4", "0.5 in shards"])
def kept(request, tmp_path_factory):
    return make(tmp_path_factory.mktemp("kept") / "a.zarr", request.param)


@pytest.mark.parametrize("name", SELECTIONS)
@settings(max_examples=30)
@given(data=st.data())
def test_every_selection_has_the_result_of_zarr(kept, name, data):
    selection = data.draw(SELECTIONS[name])
    call = lambda a: getattr(a, name)(selection)  # noqa: E731
    expected = outcome(call, kept.zarr())
    # zarr-python 3.1.3 fails where index arrays meet several inner chunks of a shard.
    assume(not (expected is ValueError and name == "get_orthogonal_selection" and kept.shards))
    assert_equal(outcome(call, kept), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a: a.get_basic_selection(([0, 1],)),
        lambda a: a.get_basic_selection("a"),
        lambda a: a.get_mask_selection(np.ones((2, 2), bool)),
        lambda a: a.get_coordinate_selection((slice(None), 0, 0, 0)),
        lambda a: a.get_block_selection((9, 0, 0, 0)),
        lambda a: a.get_block_selection((slice(0, 2, 2), 0, 0, 0)),
        lambda a: a.blocks[[0]],
        lambda a: a.blocks[0, 0, 0, 0, 0],
        lambda a: a.set_basic_selection(0, 5, fields="x"),
        lambda a: a.set_basic_selection(0, 70000),
        lambda a: a.set_orthogonal_selection(([0],), -1),
        lambda a: a.set_coordinate_selection(([0], [0], [0], [0]), [np.nan]),
        lambda a: a.set_mask_selection(pixels() == 0, 70000),
        lambda a: a.set_block_selection((0, 0, 0, 0), 70000),
        lambda a: a.blocks.__setitem__((0, 0, 0, 0), 1e9),
    ],
)
def test_wrong_selections_and_values_are_refused(array, tmp_path, files, wrong):
    before = files(tmp_path)
    with pytest.raises((IndexError, ValueError)) as caught:
        wrong(array)
    assert isinstance(caught.value, LamellaError)
    assert files(tmp_path) == before


def test_given_memory_is_filled_by_zarr(array):
    from zarr.core.buffer import default_buffer_prototype

    memory = default_buffer_prototype().nd_buffer.create(shape=SHAPE, dtype=np.dtype("uint16"))
    array.get_basic_selection(out=memory)
    np.testing.assert_array_equal(memory.as_numpy_array(), array[...])


def test_an_array_by_itself_is_opened_and_made(tmp_path, array):
    path = next(tmp_path.iterdir()) / "0"
    opened = ImageArray.open(str(path)) if array.metadata.zarr_format == 3 else ImageArray(array.zarr())
    np.testing.assert_array_equal(opened[...], array[...])
    assert opened.axes is None
    if hasattr(zarr.Array, "create"):
        with pytest.warns(DeprecationWarning, match="create_array"):
            made = ImageArray.create(
                str(tmp_path / "new"), shape=(4, 4), dtype="uint8", chunks=(2, 2), zarr_format=2
            )
        made[...] = 3
        np.testing.assert_array_equal(zarr.open_array(str(tmp_path / "new"))[...], 3)
    again = ImageArray.from_dict(array.store_path, array.metadata.to_dict())
    assert again.shape == SHAPE


def test_changes_of_a_store_that_is_open_for_reading_are_refused(array, tmp_path, files):
    reading = open_ome_zarr(next(tmp_path.iterdir()))["0"]
    assert reading.read_only
    before = files(tmp_path)
    for change in EDITS.values():
        with pytest.raises(ValueError, match="read"):
            change(reading)
    assert files(tmp_path) == before


def test_lamella_loads_no_zarr_for_its_own_names(tmp_path):
    import subprocess
    import sys

    path = tmp_path / "a.zarr"
    make(path, "0.5")
    code = (
        f"import lamella, sys; a = lamella.open_ome_zarr({str(path)!r})['0']; a.shape, a[0, 0], a.oindex[0, [1]], "
        "a.get_basic_selection(0), a.blocks[0, 0, 0, 0]; assert 'zarr' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
