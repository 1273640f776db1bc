"""What type checkers know about the calls of users. Nothing here runs: `make lint` checks it."""

from __future__ import annotations

from typing import assert_type

import lamella


def members(plate: lamella.Plate) -> None:
    """Members of a plate."""
    assert_type(plate["A/1/0"], lamella.Position)
    assert_type(plate["A/1/0"].labels["nuclei"], lamella.LabelImage)
    assert_type(plate["A/1/0"].data, lamella.ImageArray)
    assert_type(plate.position("A/1/0"), lamella.Position)
    assert_type(plate.well("A/1"), lamella.Well)
    assert_type(plate.well("A/1")["0"], lamella.Position)
    for path, position in plate.positions():
        assert_type(path, str)
        assert_type(position, lamella.Position)
    for _, well in plate.wells():
        assert_type(well, lamella.Well)


def opened() -> None:
    """Nodes that are opened and written."""
    assert_type(lamella.open("a.zarr", layout="hcs"), lamella.Plate)
    assert_type(lamella.open_ome_zarr("a.zarr", layout="fov"), lamella.Position)
    assert_type(lamella.write_image("a.zarr", [[1]], "yx"), lamella.Position)
    assert_type(lamella.merge(["a.zarr", "b.zarr"], "c.zarr"), lamella.Plate)


def parts(plate: lamella.Plate) -> None:
    """New stores of parts."""
    assert_type(plate.subset("part.zarr", wells=["B03"]), lamella.Plate)
    assert_type(plate["A/1/0"].subset("part.zarr"), lamella.Position)
    assert_type(plate.mosaic("A1"), lamella.Mosaic)
    assert_type(plate.mosaic("A1").write("mosaic.zarr"), lamella.Position)
    assert_type(plate["A/1/0"].rois(), list[lamella.Roi])
