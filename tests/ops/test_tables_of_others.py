"""What lamella does not decode, as the texts of a table, is carried whole or left out with a note: it is no damage."""

from __future__ import annotations

import json
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import lamella
from lamella import errors
from lamella.cli import main

TEXTS = np.array(["a", "two", "", "naïve 細胞", "e" * 500])
TABLE = "tables/cells"


def _fill(path, version, *, odd=False):
    """Put a table into an image, in the layout of AnnData; an odd one has an array that the other format lacks."""
    group = zarr.open_group(str(path), mode="a").create_group(TABLE, attributes={"encoding-type": "anndata"})
    obs = group.create_group("obs", attributes={"_index": "names"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr-python's of fixed lengths
        obs.create_array("names", data=TEXTS.astype(np.dtypes.StringDType()), chunks=(2,))
        obs.create_array("fixed", data=TEXTS[:4].astype("<U8"), chunks=(3,))
        obs.create_array("plain", data=TEXTS.astype(np.dtypes.StringDType()), compressors=None)
        obs.create_array("area", data=np.arange(5.0))
        if odd:
            kind = np.dtype([("id", "<i4"), ("score", "<f4")])
            group.create_array("uns", data=np.zeros(4, kind), chunks=(2,))


def _read(path):
    """Read the table by zarr-python; texts as they are."""
    group = zarr.open_group(str(path), mode="r")[f"{TABLE}/obs"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: np.asarray(group[name][...]).tolist() for name in ("names", "fixed", "plain", "area")}


def _image(path, version, **options):
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP"], version=version
    ) as position:
        position["0"] = np.ones((1, 1, 1, 16, 16), "uint16")
    _fill(path, version, **options)
    return path


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def version(request):
    return request.param


OTHER = {"0.4": "0.5", "0.5": "0.4", "0.6": "0.4"}


@pytest.mark.parametrize("odd", [False, True])
def test_a_table_of_others_is_no_damage(tmp_path, version, odd):
    path = _image(tmp_path / "a.zarr", version, odd=odd)
    report = lamella.verify(path)
    assert report, str(report)
    assert {one.key for one in report.undecoded} >= {
        f"{TABLE}/obs/{name}" for name in ("names", "fixed", "plain")
    }
    assert "not decoded" in str(report)
    assert "damaged" not in str(report)
    assert CliRunner().invoke(main, ["verify", str(path)]).exit_code == 0
    with redirect_stdout(StringIO()) as out:
        lamella.open_ome_zarr(path).print_tree()
    assert "damaged" not in out.getvalue()
    assert "not decoded" in out.getvalue()
    assert lamella.status(path).images[0].state == "written"
    assert lamella.validate(path, pixels=True)
    assert f"{TABLE}/obs/area/{'.zarray' if version == '0.4' else 'zarr.json'}" in lamella.checksum(path)


@pytest.mark.parametrize("lossy", [False, True])
def test_upgrade_carries_a_table_whole(tmp_path, version, lossy):
    path = _image(tmp_path / "a.zarr", version)
    report = lamella.upgrade(path, OTHER[version], tmp_path / "b.zarr", lossy=lossy)
    assert _read(tmp_path / "b.zarr") == _read(path)
    assert report.arrays == 5
    assert report.carried >= 4
    lamella.upgrade(tmp_path / "b.zarr", version, lossy=lossy)  # and back, in place
    assert _read(tmp_path / "b.zarr") == _read(path)
    assert zarr.open_group(str(tmp_path / "b.zarr"), mode="r")[TABLE].attrs["encoding-type"] == "anndata"


def test_upgrade_leaves_out_a_table_whole_and_says_so(tmp_path, version):
    path = _image(tmp_path / "a.zarr", version, odd=True)
    if version != "0.4":  # shards of texts, which Zarr v2 has not
        group = zarr.open_group(str(path), mode="a")[TABLE]
        group.create_array("sharded", data=TEXTS.astype(np.dtypes.StringDType()), chunks=(1,), shards=(5,))
    with pytest.raises(errors.MetadataError, match="lossy"):
        lamella.upgrade(path, OTHER[version], tmp_path / "b.zarr")
    assert not (tmp_path / "b.zarr").exists()
    report = lamella.upgrade(path, OTHER[version], tmp_path / "b.zarr", lossy=True)
    assert any("/tables was left out with its content" in note for note in report.notes)
    assert not (tmp_path / "b.zarr/tables").exists()
    assert lamella.open_ome_zarr(tmp_path / "b.zarr")["0"].shape == (1, 1, 1, 16, 16)


def test_what_stands_beside_a_part_that_is_left_out_stays(tmp_path):
    """A table of one field is left out; its row, its well and the tables of others are not."""
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["GFP"], version="0.4") as plate:
        for position in plate.create_positions([("A", "1", "0"), ("A", "1", "1"), ("B", "1", "0")]):
            position["0"] = np.ones((1, 1, 1, 16, 16), "uint16")
    _fill(path / "A/1/0", "0.4", odd=True)
    _fill(path / "A/1/1", "0.4")
    report = lamella.upgrade(path, "0.5", tmp_path / "new.zarr", lossy=True)
    assert not (tmp_path / "new.zarr/A/1/0/tables").exists()
    assert _read(tmp_path / "new.zarr/A/1/1") == _read(path / "A/1/1")
    assert len(list(lamella.open_ome_zarr(tmp_path / "new.zarr").positions())) == 3
    assert [note for note in report.notes if "left out" in note] == [
        note for note in report.notes if "/A/1/0/tables was left" in note
    ]


def test_upgrade_in_place_and_rechunk_keep_a_table(tmp_path, version):
    path = _image(tmp_path / "a.zarr", version, odd=True)
    before = _read(path)
    lamella.rechunk(path, chunks=(8, 8))
    assert _read(path) == before
    if version != "0.4":
        lamella.upgrade(path, {"0.5": "0.6", "0.6": "0.5"}[version])
        assert _read(path) == before


@pytest.mark.parametrize("odd", [False, True])
def test_a_plate_of_positions_of_two_formats_carries_tables(tmp_path, odd):
    one = _image(tmp_path / "a.zarr", "0.5")
    other = _image(tmp_path / "b.zarr", "0.4", odd=odd)
    sources = {"A/1/0": lamella.open_ome_zarr(one), "A/2/0": lamella.open_ome_zarr(other)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lamella.Plate.from_positions(tmp_path / "plate.zarr", sources)
    assert _read(tmp_path / "plate.zarr/A/1/0") == _read(one)
    if odd:
        assert [str(w.message) for w in caught if "left out" in str(w.message)]
        assert not (tmp_path / "plate.zarr/A/2/0/tables").exists()
    else:
        assert not caught
        assert _read(tmp_path / "plate.zarr/A/2/0") == _read(other)


def test_a_codec_that_is_not_installed_is_no_damage(tmp_path, version):
    path = _image(tmp_path / "a.zarr", version)
    file = path / f"0/{'.zarray' if version == '0.4' else 'zarr.json'}"
    document = json.loads(file.read_text())
    if version == "0.4":
        document["compressor"] = {"id": "nobody_has_this"}
    else:
        document["codecs"] = [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "nobody.has_this"},
        ]
    file.write_text(json.dumps(document))
    report = lamella.verify(path)
    assert report
    assert "0" in {one.key for one in report.undecoded}
    assert "4 arrays not decoded" in str(report)
    with pytest.raises(errors.DamagedDataError, match=r"nobody.has_this"):
        lamella.open_ome_zarr(path)["0"][...]


@pytest.mark.parametrize("damage", ['"uint17"', "7", "null", '"|u9"', "[]"])
def test_a_data_type_that_is_none_is_damage(tmp_path, version, damage):
    path = _image(tmp_path / "a.zarr", version)
    file = Path(path, TABLE, "obs/area", ".zarray" if version == "0.4" else "zarr.json")
    document = json.loads(file.read_text())
    document["dtype" if version == "0.4" else "data_type"] = json.loads(damage)
    file.write_text(json.dumps(document))
    assert not lamella.verify(path)


def test_columns_that_are_named_as_metadata_are_no_metadata(tmp_path, version):
    path = tmp_path / "plate.zarr"
    columns = {"well": ["A/1"], "plate": ["first"], "labels": [3], "ome": ["x"]}
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI"], version=version
    ) as plate:
        plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 8, 8), "u2")
        plate.tables.write("layout", columns, backend="json")
        plate["A/1/0"].tables.write("layout", columns, backend="json")
    lamella.upgrade(path, OTHER[version], tmp_path / "other.zarr")
    for store in (path, tmp_path / "other.zarr"):
        assert lamella.validate(store)
        plate = lamella.open_ome_zarr(store)
        assert list(plate["A/1/0"].tables["layout"].columns) == list(columns)
        assert plate.tables["layout"].to_dict("list") == columns
