"""The signatures that code written for this API relies on: names, order and defaults, pinned.

What we add is keyword-only and comes after.
"""

from __future__ import annotations

import inspect
from functools import cached_property

import pytest

import lamella
from lamella import (
    ImageArray,
    NGFFNode,
    Plate,
    Position,
    Row,
    TiledImageArray,
    TiledPosition,
    Well,
    open_ome_zarr,
)

NODE = {
    "__delitem__": "key",
    "group_keys": "",
    "array_keys": "",
    "is_root": "",
    "is_leaf": "",
    "print_tree": "level=None",
    "get_channel_index": "name",
    "dump_meta": "",
    "close": "",
}

POSITION = {
    "__init__": "group, parse_meta=True, channel_names=None, axes=None, overwriting_creation=False",
    "__getitem__": "key",
    "__setitem__": "key, value",
    "images": "",
    "create_image": "name, data, chunks=None, shards_ratio=None, transform=None, check_shape=True",
    "create_zeros": "name, shape, dtype, chunks=None, shards_ratio=None, transform=None, check_shape=True",
    "append_channel": "chan_name, resize_arrays=True",
    "rename_channel": "old, new",
    "update_channel": "chan_name, target, data",
    "initialize_pyramid": "levels",
    "compute_pyramid": "levels=None, method='mean'",
    "delete_pyramid": "",
    "get_axis_index": "axis_name",
    "get_effective_scale": "image",
    "get_effective_translation": "image",
    "set_transform": "image, transform",
    "set_scale": "image, axis_name=None, new_scale=None",
    "set_contrast_limits": "channel_name, window",
    "to_xarray": "",
    "write_xarray": "data_array, image='0'",
}

PLATE = {
    "from_positions": "store_path, positions",
    "dump_meta": "field_count=False",
    "create_well": "row_name, col_name, row_index=None, col_index=None",
    "create_positions": "positions",
    "create_position": "row_name, col_name, pos_name, row_index=None, col_index=None, acq_index=0",
    "rows": "",
    "wells": "",
    "rename_well": "old, new",
}

ARRAY = {"numpy": "", "dask_array": ""}
TILES = {
    "get_tile": "row, column, pre_dims=None",
    "write_tile": "data, row, column, pre_dims=None",
    "get_tile_slice": "row, column, pre_dims=None",
}

METHODS = [
    *((NGFFNode, name, text) for name, text in NODE.items()),
    *((Position, name, text) for name, text in {**NODE, **POSITION}.items()),
    *((TiledPosition, name, text) for name, text in {**NODE, **POSITION}.items()),
    (TiledPosition, "make_tiles", "name, grid_shape, tile_shape, dtype, transform=None, chunk_dims=2"),
    *((Plate, name, text) for name, text in {**NODE, **PLATE}.items()),
    *((Row, name, text) for name, text in {**NODE, "wells": ""}.items()),
    *(
        (Well, name, text)
        for name, text in {**NODE, "create_position": "name, acquisition=0", "positions": ""}.items()
    ),
    *((ImageArray, name, text) for name, text in ARRAY.items()),
    *((TiledImageArray, name, text) for name, text in {**ARRAY, **TILES}.items()),
]

NODE_PROPERTIES = ("channel_names", "axes", "zgroup", "zattrs", "maybe_wrapped_ome_attrs", "version")
PROPERTIES = [
    *(
        (kind, name)
        for kind in (NGFFNode, Position, TiledPosition, Plate, Row, Well)
        for name in NODE_PROPERTIES
    ),
    *(
        (kind, name)
        for kind in (Position, TiledPosition)
        for name in ("data", "scale", "axis_names", "metadata")
    ),
    *((kind, "metadata") for kind in (Plate, Well)),
    *(
        (kind, name)
        for kind in (ImageArray, TiledImageArray)
        for name in ("shape", "dtype", "chunks", "shards", "ndim")
    ),
    *(
        (ImageArray, name)
        for name in ("size", "nbytes", "frames", "channels", "slices", "height", "width", "attrs")
    ),
    *((TiledImageArray, name) for name in ("rows", "columns", "tiles", "tile_shape")),
]


def positional(function: object) -> str:
    """The parameters that can be given by position, as a signature spells them, without self."""
    parameters = list(inspect.signature(function).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in parameters
        if parameter.kind in kinds
    ]
    return ", ".join(str(parameter) for parameter in given if parameter.name not in ("self", "cls"))


def test_open_ome_zarr():
    assert positional(open_ome_zarr) == (
        "store_path, layout='auto', mode='r', channel_names=None, axes=None, version='0.4', disable_path_checking=False"
    )
    assert list(inspect.signature(open_ome_zarr).parameters)[-1] == "kwargs"


def test_methods():
    for kind, name, expected in METHODS:
        assert positional(getattr(kind, name)) == expected, f"{kind.__name__}.{name}"


def test_properties():
    for kind, name in PROPERTIES:
        found = inspect.getattr_static(kind, name)
        assert isinstance(found, property | cached_property), f"{kind.__name__}.{name}"
        assert found.__doc__, f"{kind.__name__}.{name}"


def test_class_tree():
    assert issubclass(Position, NGFFNode)
    assert issubclass(TiledPosition, Position)
    assert issubclass(Plate, NGFFNode)
    assert issubclass(TiledImageArray, ImageArray)


def test_tensorstore_takes_any_keyword():
    parameters = inspect.signature(ImageArray.tensorstore).parameters
    assert parameters["kwargs"].kind is inspect.Parameter.VAR_KEYWORD


def test_from_positions_is_a_class_method():
    assert inspect.ismethod(Plate.from_positions)


@pytest.mark.parametrize(
    "name", ["Position", "Plate", "Well", "Row", "TiledPosition", "ImageArray", "NGFFNode"]
)
def test_every_public_method_is_described(name):
    kind = getattr(lamella, name)
    for member, value in vars(kind).items():
        if not member.startswith("_") and callable(value):
            assert inspect.getdoc(getattr(kind, member)), member
