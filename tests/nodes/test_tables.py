"""Laws of tables: what is written is read, on every store, in every format, with the list that names them."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from zarr.storage import MemoryStore

import lamella
from lamella import errors

BACKENDS = ("anndata", "csv", "json", "parquet")
VERSIONS = ("0.4", "0.5", "0.6")


def sizes(count=3):
    """Measurements of labels, of every kind of value that all backends keep."""
    return pd.DataFrame(
        {
            "area": [1.5, 1e-7, np.nan][:count],
            "mean": [0.1, 0.2, 1 / 3][:count],
            "count": [1, 2, 3][:count],
            "alive": [True, False, True][:count],
            "kind": ["round", "ä long", "round"][:count],
        },
        index=pd.Index([1, 5, 9][:count], name="label"),
    )


def regions():
    """Two fields of view."""
    columns = {f"{part}{axis}_micrometer": [0.5, 2.0] for part in ("", "len_") for axis in "xyz"}
    return pd.DataFrame(columns, index=["FOV_1", "FOV_2"])


def image(store, version="0.5"):
    position = lamella.open_ome_zarr(
        store, layout="fov", mode="w-", channel_names=["DAPI"], axes="tczyx", version=version
    )
    position["0"] = np.ones((1, 1, 2, 8, 8), "uint16")
    position.labels["nuclei"] = np.ones((2, 8, 8), "uint8")
    return position


def same(found, expected):
    pd.testing.assert_frame_equal(
        found, expected, check_dtype=False, check_column_type=False, check_index_type=False
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("store", ["folder", "memory"])
def test_tables_are_read_as_they_were_written(tmp_path, version, store):
    place = tmp_path / "a.zarr" if store == "folder" else MemoryStore()
    position = image(place, version)
    for backend in BACKENDS:
        position.tables.write(backend, sizes(2), label="nuclei", backend=backend)
        position.tables[backend] = sizes()  # replaced: its type, labels and backend stay
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = lamella.open_ome_zarr(place)
        assert list(opened.tables) == list(BACKENDS)
        for backend in BACKENDS:
            assert backend in opened.tables
            same(opened.tables[backend], sizes())
            info = opened.tables.info(backend)
            assert (info.type, info.backend, info.label) == ("feature_table", backend, "nuclei")
            assert (info.index_key, info.index_type) == ("label", "int")
    assert lamella.validate(place)


def test_a_table_without_an_index_is_counted():
    position = image(MemoryStore())
    frame = pd.DataFrame({"drug": ["A", "B"], "dose": [1.0, 2.0]})
    for backend in BACKENDS:
        position.tables.write(backend, frame, backend=backend, type="condition_table")
        found = position.tables[backend]
        assert list(found.index) == [0, 1]
        same(found[["drug", "dose"]], frame)
    position.tables["columns"] = {"drug": ["A"]}
    position.tables["rows"] = [{"drug": "A"}]
    same(position.tables["columns"], position.tables["rows"])
    position.tables["empty"] = frame.iloc[:0]
    assert len(position.tables["empty"]) == 0


def test_text_with_the_ends_of_lines_of_any_system_stays_in_its_row():
    position = image(MemoryStore())
    for frame in (
        pd.DataFrame({"note": ["a\rb", "a\r\nb", "a\nb", "\r"], "n": [1.5, None, 2.0, 3.0]}),
        pd.DataFrame({"note": ["a", " ", "\t", "b"]}),
    ):
        for backend in BACKENDS:
            position.tables.write("notes", frame, backend=backend)
            same(position.tables["notes"][list(frame.columns)], frame)


def test_sparse_columns_are_stored_as_others_are():
    position = image(MemoryStore())
    frame = pd.DataFrame(
        {"control": pd.arrays.SparseArray([0, 0, 1]), "dose": pd.arrays.SparseArray([0.5, None, 1])}
    )
    for backend in BACKENDS:
        position.tables.write(backend, frame, backend=backend)
        same(position.tables[backend][["control", "dose"]], frame.sparse.to_dense())


def test_nullable_categorical_and_empty_columns_keep_their_kind_where_the_backend_has_it():
    position = image(MemoryStore(), "0.4")
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None, 3], dtype="Int64"),
            "b": pd.array([True, None, False], dtype="boolean"),
            "k": pd.Categorical(["x", "y", None], categories=["y", "x"]),
            "t": ["a", None, ""],
        }
    )
    for backend in ("anndata", "parquet"):
        position.tables.write(backend, frame, backend=backend)
        found = position.tables[backend]
        assert [str(found[name].dtype) for name in "nbk"] == ["Int64", "boolean", "category"]
        assert found["k"].cat.categories.tolist() == ["y", "x"]
        assert found["t"].isna().tolist() == [False, True, False]
        assert found["n"].isna().tolist() == [False, True, False]


def test_the_type_follows_from_the_columns_and_from_what_was_read():
    position = image(MemoryStore())
    position.tables["fields"] = regions()
    assert position.tables.info("fields").type == "roi_table"
    assert position.tables["fields"].index.name == "FieldIndex"
    boxes = regions().reset_index(drop=True).assign(label=[1, 2])
    position.tables.write("boxes", boxes, label="nuclei")
    assert position.tables.info("boxes").type == "masking_roi_table"
    position.tables["copy"] = position.tables["boxes"].iloc[:1]
    assert position.tables.info("copy") == position.tables.info("boxes")


def test_names_of_rows_that_look_like_numbers_stay_text():
    position = image(MemoryStore())
    for backend in BACKENDS:
        position.tables.write(backend, regions().set_axis(["007", "nan"]), backend=backend)
        assert position.tables[backend].index.tolist() == ["007", "nan"]
        assert position.roi("007", table=backend).bounds["x"] == (0.5, 1.0)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (sizes().reset_index(drop=True), {"label": "nuclei"}, "has no column or index 'label'"),
        (sizes(), {"label": "nucleus"}, r"no such label image; it has nuclei. Did you mean 'nuclei'\?"),
        (sizes(), {"type": "roi_table"}, "has no columns x_micrometer"),
        (
            regions().astype({"x_micrometer": str}),
            {"type": "roi_table"},
            "x_micrometer of .*, and regions are",
        ),
        (
            regions().assign(len_y_micrometer=0.0),
            {"type": "roi_table"},
            "len_y_micrometer that is not above 0",
        ),
        (sizes(), {"type": "feature"}, "is not one of generic_table"),
        (sizes(), {"backend": "xlsx"}, "is not one of anndata, csv, json, parquet"),
        (pd.DataFrame({"a": [object()]}), {}, "column 'a' .* contains"),
        (pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), {"backend": "csv"}, "datetime64"),
        (pd.DataFrame({"a/b": [1]}), {"backend": "anndata"}, "rename it"),
        (pd.DataFrame({"a": [np.inf]}), {"backend": "json"}, "column 'a' of the table .* infinite numbers"),
        *(
            (pd.DataFrame({"a": pd.array([2**53 + 1, None], kind)}), {"backend": backend}, r"above 2\*\*53")
            for backend, kind in (("csv", "Int64"), ("json", "Int64"), ("csv", "UInt64"))
        ),
        (pd.DataFrame({"a": pd.Categorical([2**53 + 1, None])}), {"backend": "parquet"}, r"above 2\*\*53"),
        *(
            (pd.DataFrame({"a": np.ones(1, "g")}), {"backend": backend}, "dtype float(96|128)")
            for backend in BACKENDS
            if np.dtype("g").itemsize > 8
        ),
        (pd.DataFrame({0: [1]}), {}, "different names that are text"),
        (pd.concat([regions(), regions()]), {}, "two regions of one name"),
        (7, {}, "is a DataFrame, a dict of columns"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path, files, frame, options, message
):
    position = image(tmp_path / "a.zarr")
    before = files(tmp_path)
    with pytest.raises(errors.InvalidArgumentError, match=message):
        position.tables.write("cells", frame, **options)
    assert files(tmp_path) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_narrow_floats_are_read_as_the_numbers_they_are(backend):
    """In CSV the shortest text of 65504 as float16 is 65500, another number."""
    narrow = {"half": np.array([65504, 0.1], "float16"), "single": np.array([0.1, 16777217], "float32")}
    frame = pd.DataFrame(narrow)
    frame["nullable"] = pd.array(narrow["single"], "Float32")
    frame["category"] = pd.Categorical(narrow["single"])
    position = image(MemoryStore())
    position.tables.write("floats", frame, backend=backend)
    found = position.tables["floats"]
    for column in frame.columns:
        assert [float(value) for value in found[column]] == [float(value) for value in frame[column]], column


def test_tables_are_deleted_and_renamed_with_the_list():
    store = MemoryStore()
    position = image(store)
    for name in ("a", "b"):
        position.tables.write(name, sizes(), backend="csv")
    position.tables.rename("a", "c")
    same(position.tables["c"], sizes())
    with pytest.raises(errors.NodeExistsError):
        position.tables.rename("b", "c")
    with pytest.raises(errors.NodeExistsError, match="overwrite=True"):
        position.tables.write("b", sizes(), overwrite=False)
    del position.tables["b"]
    assert list(position.tables) == ["c"]
    assert "b" not in position.tables
    assert not any(key.startswith(("tables/a", "tables/b")) for key in store._store_dict)
    for call in (lambda: position.tables["cc"], lambda: position.tables.rename("cc", "d")):
        with pytest.raises(errors.NodeNotFoundError, match="Did you mean 'c'"):
            call()
    with pytest.raises(errors.NodeNotFoundError):
        del position.tables["b"]
    with pytest.raises(errors.InvalidNameError):
        position.tables["a/b"] = sizes()
    del position["tables/c"]
    assert list(position.tables) == []
    with pytest.raises(errors.InvalidNameError, match="tables"):
        position.create_zeros("tables", (1, 1, 2, 8, 8), "uint8")


def test_a_store_that_is_read_shows_its_tables_and_changes_none(tmp_path):
    with image(tmp_path / "a.zarr") as position:
        for backend in BACKENDS:
            position.tables.write(backend, sizes(), backend=backend)
    lamella.pack(tmp_path / "a.zarr", tmp_path / "a.ozx")
    for place in (tmp_path / "a.zarr", tmp_path / "a.ozx"):
        opened = lamella.open_ome_zarr(place)
        for backend in BACKENDS:
            same(opened.tables[backend], sizes())
        with pytest.raises(errors.ReadOnlyError):
            opened.tables["x"] = sizes()
        with pytest.raises(errors.ReadOnlyError):
            del opened.tables["csv"]


def test_tables_go_along_with_copies_and_in_other_versions_and_chunks(tmp_path, files):
    with image(tmp_path / "a.zarr", "0.4") as position:
        for backend in BACKENDS:
            position.tables.write(backend, sizes(), label="nuclei", backend=backend)
    lamella.copy_store(tmp_path / "a.zarr", tmp_path / "copy.zarr")
    assert files(tmp_path / "copy.zarr") == files(tmp_path / "a.zarr")
    lamella.upgrade(tmp_path / "a.zarr", "0.5", tmp_path / "b.zarr")
    lamella.rechunk(tmp_path / "b.zarr", tmp_path / "c.zarr", chunks=[1, 1, 1, 4, 4])
    lamella.upgrade(tmp_path / "c.zarr", "0.4", tmp_path / "d.zarr")
    for name in "bcd":
        position = lamella.open_ome_zarr(tmp_path / f"{name}.zarr")
        for backend in BACKENDS:
            same(position.tables[backend], sizes())
            assert position.tables.info(backend).label == "nuclei"


def test_a_plate_concatenates_the_tables_of_its_positions(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["DAPI"]) as plate:
        for path in ("A/1/0", "A/1/1", "B/2/0"):
            plate.create_position(*path.split("/"))["0"] = np.ones((1, 1, 1, 4, 4), "uint8")
        plate["A/1/0"].tables.write("cells", sizes(), backend="csv")
        plate["B/2/0"].tables.write("cells", sizes(2).assign(well="x"), backend="json")
        plate.tables["layout"] = {"well": ["A/1"], "drug": ["none"]}
        assert list(plate.tables) == ["layout", "cells"]
        assert "cells" in plate.tables
        found = plate.tables["cells"]
        assert list(found.columns)[:3] == ["well", "field", "label"]
        assert found["well"].tolist() == ["A/1"] * 3 + ["B/2"] * 2
        assert found["well_of_table"].tolist()[3:] == ["x", "x"]
        assert found["area"].tolist()[3:] == sizes()["area"].tolist()[:2]
        assert plate.tables["layout"]["drug"].tolist() == ["none"]
        assert [path for path, _ in plate.tables.parts("cells", positions=["B/2/0"])] == ["B/2/0"]
        with pytest.raises(errors.NodeNotFoundError, match="or in one of its positions"):
            plate.tables["cell"]
        assert list(plate) == ["A", "B"]
    assert lamella.validate(tmp_path / "p.zarr")


def test_older_tables_of_fractal_are_read(tmp_path):
    position = image(tmp_path / "a.zarr", "0.4")
    position.tables.write("old", sizes(), label="nuclei", backend="anndata")
    place = tmp_path / "a.zarr" / "tables" / "old" / ".zattrs"
    place.write_text(
        json.dumps(
            {
                "encoding-type": "anndata",
                "encoding-version": "0.1.0",
                "fractal_table_version": "1",
                "type": "feature_table",
                "region": {"path": "../labels/nuclei"},
                "instance_key": "label",
            }
        )
    )
    same(position.tables["old"], sizes())
    assert position.tables.info("old").backend == "anndata"


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ("obs", "column-order", None, "column-order None, which is not a list"),
        ("obs", "column-order", "area", "column-order 'area', which is not a list"),
        ("obs", "column-order", [1], "tables/t"),
        ("X", "encoding-type", "csr_matrix", "shape None, which is not a number of rows and of columns"),
    ],
)
def test_documents_of_anndata_that_are_of_no_table_are_refused_in_clear_words(
    tmp_path, place, key, value, message
):
    position = image(tmp_path / "a.zarr")
    position.tables.write("t", sizes(), backend="anndata")
    document = tmp_path / "a.zarr" / "tables" / "t" / place / "zarr.json"
    content = json.loads(document.read_text())
    content["attributes"][key] = value
    document.write_text(json.dumps(content))
    with pytest.raises((errors.MetadataError, errors.NodeNotFoundError), match=message) as raised:
        lamella.open_ome_zarr(tmp_path / "a.zarr").tables["t"]
    assert "object is not" not in str(raised.value)


def test_damaged_tables_are_named_with_what_is_wrong(tmp_path):
    position = image(tmp_path / "a.zarr")
    for backend in BACKENDS:
        position.tables.write(backend, sizes(), backend=backend)
    folder = tmp_path / "a.zarr" / "tables"
    chunk = folder / "anndata" / "obs" / "label" / "c" / "0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    with pytest.raises(errors.DamagedDataError, match="tables/anndata/obs/label"):
        position.tables["anndata"]
    (folder / "csv" / "table.csv").unlink()
    (folder / "parquet" / "table.parquet").write_bytes(b"PAR1")
    (folder / "anndata" / "obs" / "zarr.json").unlink()
    (folder / "json" / "table" / "zarr.json").unlink()
    for backend in BACKENDS:
        with pytest.raises((errors.MetadataError, errors.NodeNotFoundError), match=f"tables/{backend}"):
            position.tables[backend]


def test_without_pyarrow_the_error_names_the_extra(monkeypatch):
    position = image(MemoryStore())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(errors.MissingDependencyError, match=r"lamella\[tables\]"):
        position.tables["a"] = sizes()
    position.tables.write("a", sizes(), backend="anndata")
    assert len(position.tables["a"]) == 3


def test_tables_need_neither_anndata_nor_pyarrow_but_for_parquet():
    script = (
        "import sys, lamella, numpy as np; from zarr.storage import MemoryStore\n"
        "p = lamella.open_ome_zarr(MemoryStore(), layout='fov', mode='w', channel_names=['a'])\n"
        "p.tables.write('t', {'a': [1.5]}, backend='anndata'); p.tables['t']\n"
        "assert 'anndata' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_tables_of_labels_that_are_renamed_name_the_new_ones(version):
    position = image(MemoryStore(), version)
    for backend in BACKENDS:
        position.tables.write(backend, sizes(), label="nuclei", backend=backend)
    position.tables["other"] = {"a": [1]}
    position.labels.rename("nuclei", "cells")
    for backend in BACKENDS:
        assert position.tables.info(backend).label == "cells"
        same(position.tables[backend], sizes())
    assert position.tables.info("other").label is None


def test_tables_are_read_where_nothing_can_be_listed(tmp_path, service):
    with image(tmp_path / "a.zarr") as position:
        for backend in BACKENDS:
            position.tables.write(backend, sizes(), label="nuclei", backend=backend)
    service.put_folder(tmp_path / "a.zarr", "/web/a.zarr")
    opened = lamella.open_ome_zarr(f"{service.endpoint}/web/a.zarr")
    assert list(opened.tables) == list(BACKENDS)
    for backend in BACKENDS:
        same(opened.tables[backend], sizes())


def test_tables_in_a_bucket_are_written_replaced_and_renamed(s3):
    position = image(f"s3://{s3.name}/a.zarr")
    for backend in BACKENDS:
        position.tables.write(backend, sizes(1), label="nuclei", backend=backend)
        position.tables[backend] = sizes()
        position.tables.rename(backend, f"{backend}_2")
        same(position.tables[f"{backend}_2"], sizes())
    del position.tables["csv_2"]
    assert list(lamella.open_ome_zarr(f"s3://{s3.name}/a.zarr").tables) == [
        f"{backend}_2" for backend in BACKENDS if backend != "csv"
    ]
