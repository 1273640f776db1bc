"""What is read of every format is in an exported OME-TIFF and comes back; all of it can be corrected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from tests.formats.conftest import ALL_INSTALLED
from tests.formats.test_contract import choice

import lamella
from lamella.cli import main

if TYPE_CHECKING:
    from tests.formats.samples import Sample

pytestmark = pytest.mark.skipif(not ALL_INSTALLED, reason="make test-formats")

SIZE = 1024
"""Largest length of an image that is exported: a slide takes seconds."""


def images_of(store: Path) -> dict[str, lamella.Position]:
    node = lamella.open_ome_zarr(store)
    return dict(node.positions()) if isinstance(node, lamella.Plate) else {"": node}


def facts_of(image: lamella.Position) -> dict[str, Any]:
    """What the store says about an image, without the names of its files and the texts that round numbers differ in."""
    own = {**image.zattrs["lamella"]}
    for name in ("source", "samples", "title", "stage", "times", "acquired"):
        own.pop(name, None)
    for channel in own.get("channels", []):
        channel.update({key: round(value, 9) for key, value in channel.items()})
    omero = image.metadata.omero
    return {
        **own,
        "names": image.channel_names,
        "colors": [channel.color for channel in omero.channels] if omero else [],
        "name": image.metadata.multiscales[0].name,
    }


def test_an_exported_image_or_plate_comes_back_with_all_that_was_read(sample: Sample, tmp_path: Path) -> None:
    options = choice(sample)
    lamella.convert(sample.file, tmp_path / "a.zarr", **options)
    first = images_of(tmp_path / "a.zarr")
    if max(next(iter(first.values())).data.shape) > SIZE:
        pytest.skip("a large image")
    is_plate = "" not in first
    target = tmp_path / ("tiffs" if is_plate else "a.ome.tif")
    for file in lamella.export(tmp_path / "a.zarr", target):
        check_schema(file)
    lamella.convert(target, tmp_path / "b.zarr", layout="lamella" if is_plate else None)
    second = images_of(tmp_path / "b.zarr")
    assert second.keys() == first.keys()
    for path, image in first.items():
        again = second[path]
        ours, theirs = ({a: n for n, a in enumerate(each.axis_names)} for each in (image, again))
        np.testing.assert_array_equal(np.squeeze(again.data[...]), np.squeeze(image.data[...]))
        for axis in [axis for axis in "zyx" if axis in ours and axis in theirs]:
            found, expected = (
                (
                    each.scale[at[axis]],
                    each.get_effective_translation("0")[at[axis]],
                    each.axes[at[axis]].unit,
                )
                for each, at in ((again, theirs), (image, ours))
            )
            assert found == expected, axis
        if "t" in ours and "t" in theirs and image.axes[ours["t"]].unit:
            np.testing.assert_allclose(again.to_xarray()["t"], image.to_xarray()["t"], rtol=1e-9)
        assert facts_of(again) == facts_of(image)
        stage = image.stage_position or {}
        assert {axis: (again.stage_position or {}).get(axis) for axis in stage} == pytest.approx(stage)


def check_schema(file: str) -> None:
    ome_types = pytest.importorskip("ome_types")
    schema = (Path(ome_types.__file__).parent / "ome-2016-06.xsd").read_bytes()
    with tifffile.TiffFile(file) as tiff:
        assert tifffile.OmeXml.validate(tiff.ome_metadata, omexsd=schema, assert_=True)


def test_what_was_read_is_corrected_by_the_command_and_in_python(sample: Sample, tmp_path: Path) -> None:
    options = choice(sample)
    count = dict(zip(sample.axes, sample.shape, strict=True)).get("c", 1)
    names = [f"channel {n} (µ)" for n in range(count)]
    colors = [f"{n + 1:06X}" for n in range(count)]
    values: dict[str, Any] = {
        "pixel_size": [7, 0.5, 0.25], "unit": "nanometer", "time_step": 3, "name": "mine", "dtype": "float64",
        "channel_names": names, "colors": colors, "take_what_is_there": True,
    }  # fmt: skip
    lamella.convert(sample.file, tmp_path / "a.zarr", **options, **values)
    words = [
        *(
            "--pixel-size",
            "7,0.5,0.25",
            "--unit",
            "nm",
            "--time-step",
            "3",
            "--name",
            "mine",
            "--dtype",
            "float64",
        ),
        *("--channel-names", ",".join(names), "--colors", ",".join(colors), "--take-what-is-there"),
        *(text for key, value in options.items() for text in (f"--{key}", str(value))),
    ]
    ran = CliRunner().invoke(main, ["convert", str(sample.file), str(tmp_path / "b.zarr"), *words])
    assert ran.exit_code == 0, ran.output
    for store in ("a.zarr", "b.zarr"):
        images = images_of(tmp_path / store)
        for path, image in images.items():
            scale = dict(zip(image.axis_names, image.scale, strict=True))
            sizes = {"t": 3, "z": 7, "y": 0.5, "x": 0.25}
            assert {axis: scale[axis] for axis in sizes if axis in scale} == {
                axis: size for axis, size in sizes.items() if axis in scale
            }
            assert {axis.unit for axis in image.axes if axis.type == "space"} == {"nanometer"}
            assert image.channel_names == names
            assert [channel.color for channel in image.metadata.omero.channels] == colors
            assert image.data.dtype == "float64"
            assert path or image.metadata.multiscales[0].name == "mine"
        if "" not in images:
            assert lamella.open(tmp_path / store).metadata.name == "mine"
