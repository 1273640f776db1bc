"""Rules of tables: each kind of damage is found, and what lists and files say is repaired."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import lamella


@pytest.fixture(params=["0.4", "0.5"])
def folder(request, tmp_path):
    """A plate with tables in a position and in the plate."""
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["DAPI"], version=request.param
    ) as plate:
        position = plate.create_position("A", "1", "0")
        position["0"] = np.ones((1, 1, 1, 8, 8), "uint8")
        position.labels["cells"] = np.ones((1, 8, 8), "uint8")
        for backend in ("csv", "json", "anndata"):
            position.tables.write(backend, {"label": [1], "area": [64]}, label="cells", backend=backend)
        plate.tables.write("layout", {"well": ["A/1"]}, backend="csv")
    return tmp_path / "p.zarr"


def rules(folder):
    return [finding for finding in lamella.validate(folder).findings if "LM-21" <= finding.rule <= "LM-24"]


def edit(folder, change):
    """Change the attributes of a group."""
    place = folder / ".zattrs" if (folder / ".zattrs").exists() else folder / "zarr.json"
    document = json.loads(place.read_text())
    change(document if place.name == ".zattrs" else document["attributes"])
    place.write_text(json.dumps(document))


def test_tables_that_lamella_wrote_break_no_rule(folder):
    assert lamella.validate(folder)
    assert rules(folder) == []


def test_lists_of_tables_that_are_not_true_are_found_and_repaired(folder):
    tables = folder / "A" / "1" / "0" / "tables"
    shutil.rmtree(tables / "csv")
    edit(tables, lambda attributes: attributes.update(tables=["csv", "json", "json"]))
    found = rules(folder)
    assert {finding.rule for finding in found} == {"LM-21"}
    assert sorted(finding.found for finding in found) == [
        "tables lists a name twice, or no name",
        'the table "anndata" is not listed',
        'there is no table "csv"',
    ]
    edit(folder / "tables", lambda attributes: attributes.update(tables="layout"))
    assert len(rules(folder)) == len(found) + 2
    lamella.repair(folder)
    assert rules(folder) == []
    plate = lamella.open_ome_zarr(folder)
    assert list(plate["A/1/0"].tables) == ["json", "anndata"]
    assert plate.tables.stored_names() == ["layout"]


def test_a_table_that_lost_its_document_stays_in_the_list(folder):
    for name in (".zgroup", ".zattrs", "zarr.json"):
        (folder / "A" / "1" / "0" / "tables" / "json" / name).unlink(missing_ok=True)
    lamella.repair(folder)
    (finding,) = rules(folder)
    assert 'json" has content (table), but no ' in finding.found
    with lamella.open_ome_zarr(folder) as plate:
        assert "json" in list(plate["A/1/0"].tables)


def test_tables_without_their_files_are_found(folder):
    tables = folder / "A" / "1" / "0" / "tables"
    (tables / "csv" / "table.csv").unlink()
    shutil.rmtree(tables / "json" / "table")
    edit(tables / "anndata", lambda attributes: attributes.update(backend="excel"))
    found = rules(folder)
    assert [(finding.rule, finding.level) for finding in found] == [("LM-22", "MUST")] * 3
    assert not lamella.validate(folder)
    edit(tables / "anndata", lambda attributes: [attributes.pop(key) for key in ("backend", "encoding-type")])
    assert [finding.found for finding in rules(folder)].count("it has no backend") == 1


def test_tables_of_labels_that_are_not_there_are_found(folder):
    tables = folder / "A" / "1" / "0" / "tables"
    edit(tables / "csv", lambda attributes: attributes.update(region={"path": "../labels/nuclei"}))
    edit(tables / "json", lambda attributes: attributes.pop("region"))
    assert {(finding.rule, finding.found) for finding in rules(folder)} == {
        ("LM-23", 'there is no label image "nuclei"'),
        ("LM-23", "it has no region"),
    }


def test_tables_of_regions_without_the_numbers_of_regions_are_found(folder):
    position = lamella.open_ome_zarr(folder, mode="r+")["A/1/0"]
    for backend in ("anndata", "csv", "json", "parquet"):
        position.tables.write_rois(f"rois_{backend}", {"left": {"x": (0, 4)}}, backend=backend)
        position.tables.write(f"other_{backend}", {"x_micrometer": [1.5]}, backend=backend)
    assert rules(folder) == []
    tables = folder / "A" / "1" / "0" / "tables"
    for backend in ("anndata", "csv", "json", "parquet"):
        edit(tables / f"other_{backend}", lambda attributes: attributes.update(type="roi_table"))
    text = (tables / "rois_csv" / "table.csv").read_text()
    (tables / "rois_csv" / "table.csv").write_text(text.replace(",4.0", ",-4.0"))
    (tables / "rois_parquet" / "table.parquet").write_bytes(b"damaged")
    found = {finding.node.rpartition("/")[2]: finding for finding in rules(folder)}
    assert {finding.rule for finding in found.values()} == {"LM-24"}
    assert "has no columns y_micrometer" in found["other_anndata"].found
    assert found["rois_csv"].found == "it has a len_x_micrometer that is not above 0"
    assert "cannot be read" in found["rois_parquet"].found
    assert found.keys() == {f"other_{name}" for name in ("anndata", "csv", "json", "parquet")} | {
        "rois_csv",
        "rois_parquet",
    }


def test_a_folder_named_tables_that_is_no_group_of_tables_is_left_alone(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"]) as position:
        position["0"] = np.ones((1, 1, 1, 8, 8), "uint8")
        position.zgroup.create_group("tables/cells")
    assert rules(tmp_path / "a.zarr") == []
