"""Law: the plate of results says of its members what the plate that they were made from says."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella.models import AcquisitionMeta, TransformationMeta

PATHS = ("B/2/0", "B/2/1", "C/5/0")
SHAPE = (1, 2, 3, 20, 24)


def own(document):
    """What is in attributes beside lamella's own notes."""
    return {
        key: value
        for key, value in document.items()
        if key not in ("lamella", "ome", "plate", "well", "omero", "multiscales")
    }


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def plate(request, tmp_path):
    layout = {} if request.param == "0.4" else {"shards_ratio": (1, 1, 1, 2, 2), "checksum": True}
    with lamella.open_ome_zarr(
        tmp_path / "plate.zarr",
        layout="hcs",
        mode="w",
        channel_names=["DAPI", "GFP"],
        version=request.param,
        plate_name="screen 7",
        acquisitions=[
            AcquisitionMeta(id=3, name="day 1", description="dry"),
            AcquisitionMeta(id=5, name="day 2"),
        ],
    ) as plate:
        plate.create_positions([("B", "2", "0", 1, 1, 3), ("B", "2", "1", 1, 1, 5), ("C", "5", "0", 2, 4, 5)])
        plate.zattrs["operator"] = "Ada"
        plate["B/2"].zattrs["drug"] = {"name": "X", "dose": 3}
        for seed, (_, position) in enumerate(plate.positions()):
            pixels = np.random.default_rng(seed).integers(0, 999, SHAPE, dtype="uint16")
            position.create_image("0", pixels, chunks=(1, 1, 2, 8, 8), compressor="gzip", **layout)
            position.set_scale("0", "x", 0.25)
            position.set_scale("*", "t", 30.0)
            position.metadata.multiscales[0].name = f"field {seed}"
            position.metadata.multiscales[0].note = {"kept": seed}
            position.metadata.omero.channels[0].color = "12AB34"
            position.metadata.omero.channels[1].window = {"start": 5, "end": 700, "min": 0, "max": 65535}
            position.metadata.omero.channels[1].active = False
            position.dump_meta()
            position.zattrs["focus"] = [seed, 1.5]
            position["0"].attrs["exposure"] = 20
    return lamella.open_ome_zarr(tmp_path / "plate.zarr", mode="r+")


def half(block):
    return block // 2


def projected(position):
    return position["0"][:].max(axis=2, keepdims=True)


@pytest.mark.parametrize("over", ["regions", "positions"])
def test_metadata_come_along(plate, tmp_path, over):
    plate.map(half if over == "regions" else projected, over=over, output=tmp_path / "out.zarr")
    out = lamella.open_ome_zarr(tmp_path / "out.zarr")
    assert out.metadata.to_json() == plate.metadata.to_json()
    assert own(out.zattrs.asdict()) == own(plate.zattrs.asdict())
    for (path, position), (_, source) in zip(out.positions(), plate.positions(), strict=True):
        assert position.channel_names == source.channel_names
        assert position.metadata.omero.to_json() == source.metadata.omero.to_json()
        image, original = position.metadata.multiscales[0], source.metadata.multiscales[0]
        assert image.name == original.name
        assert image.note == original.note
        assert position.scale == source.scale
        assert own(position.zattrs.asdict()) == own(source.zattrs.asdict())
        made, array = position["0"], source["0"]
        z = 3 if over == "regions" else 1
        assert made.chunks == (*array.chunks[:2], min(2, z), *array.chunks[3:]), path
        assert made.shards == (array.shards and (*array.shards[:2], min(2, z), *array.shards[3:]))
        assert made.meta.compressor == array.meta.compressor
        assert made.meta.checksum == array.meta.checksum
        if over == "regions":
            assert made.attrs["exposure"] == 20
    for path, well in out.wells():
        assert well.metadata.to_json() == plate[path].metadata.to_json()
        assert own(well.zattrs.asdict()) == own(plate[path].zattrs.asdict())
    assert lamella.validate(tmp_path / "out.zarr")


def test_some_positions_keep_the_rows_and_columns_of_the_plate(plate, tmp_path):
    plate.map(half, over="regions", output=tmp_path / "out.zarr", positions=["C/5/0"])
    out = lamella.open_ome_zarr(tmp_path / "out.zarr").metadata
    assert [row.name for row in out.rows] == ["A", "B", "C"]
    assert [column.name for column in out.columns] == ["1", "2", "3", "4", "5"]
    assert [(w.path, w.row_index, w.column_index) for w in out.wells] == [("C/5", 2, 4)]
    assert [(entry.id, entry.name) for entry in out.acquisitions] == [(3, "day 1"), (5, "day 2")]
    plate.map(half, over="regions", output=tmp_path / "out.zarr")
    whole = lamella.open_ome_zarr(tmp_path / "out.zarr")
    assert {well.path for well in whole.metadata.wells} == {well.path for well in plate.metadata.wells}
    assert lamella.validate(whole)


def test_other_channel_names_keep_the_colours_of_those_that_stay(plate, tmp_path):
    def first(position):
        return position["0"][:, :1]

    plate.map(first, output=tmp_path / "out.zarr", channel_names=["DAPI"])
    position = lamella.open_ome_zarr(tmp_path / "out.zarr")["B/2/1"]
    assert [(c.label, c.color) for c in position.metadata.omero.channels] == [("DAPI", "12AB34")]


def test_positions_with_axes_of_their_own_keep_them(tmp_path):
    from lamella.models import axes

    for name, letters in (("one", "tczyx"), ("two", "cyx")):
        with lamella.open_ome_zarr(
            tmp_path / f"{name}.zarr",
            layout="fov",
            mode="w",
            channel_names=[name],
            axes=axes(letters),
            version="0.5",
        ) as position:
            position.create_image("0", np.ones((1,) * (len(letters) - 2) + (8, 8), "uint16"))
            position.set_transform(
                "0", [TransformationMeta(type="scale", scale=[1.0] * (len(letters) - 1) + [0.5])]
            )
    sources = {
        f"A/1/{n}": lamella.open_ome_zarr(tmp_path / f"{name}.zarr") for n, name in enumerate(["one", "two"])
    }
    plate = lamella.Plate.from_positions(tmp_path / "plate.zarr", sources)
    out = plate.map(half, over="regions", output=tmp_path / "out.zarr").output
    assert [position.axis_names for _, position in out.positions()] == [list("tczyx"), list("cyx")]
    assert [position.channel_names for _, position in out.positions()] == [["one"], ["two"]]
    assert [position.scale[-1] for _, position in out.positions()] == [0.5, 0.5]


@pytest.mark.parametrize("over", ["positions", "regions"])
def test_positions_of_other_axes_and_channels_keep_them(tmp_path, version, over):
    with lamella.open_ome_zarr(
        tmp_path / "old.zarr", layout="hcs", mode="w", channel_names=["a", "b"], version=version
    ) as plate:
        plate.create_position("A", "1", "0").create_image("0", np.ones((1, 2, 2, 8, 8), "u2"))
    sources = {"A/1/0": plate["A/1/0"]}
    for path, names, channels, dtype in (("A/2/0", "cyx", ["q"], "f4"), ("B/1/0", "zyx", None, "i1")):
        with lamella.open_ome_zarr(
            tmp_path / f"{names}.zarr",
            layout="fov",
            mode="w",
            channel_names=channels,
            axes=lamella.models.axes(names),
            version=version,
        ) as sources[path]:
            sources[path].create_image("0", np.ones((1, 16, 16), dtype))
            sources[path].labels.create("cells", np.ones((16, 16) if channels else (1, 16, 16), "u1"))
            sources[path].compute_pyramid(levels=2)
    old = lamella.Plate.from_positions(tmp_path / "plate.zarr", sources)
    work = {"positions": lambda position: position["0"][:], "regions": lambda block: block}
    made = old.map(work[over], over=over, output=tmp_path / "new.zarr").output
    for new in (made, lamella.open_ome_zarr(tmp_path / "new.zarr")):
        for path, source in old.positions():
            assert new[path].axes == source.axes
            assert new[path].channel_names == source.channel_names
            assert new[path].data.dtype == source.data.dtype
            assert new[path].dataset_paths == ["0"]
            assert list(new[path].labels) == []
    assert lamella.validate(tmp_path / "new.zarr").valid
