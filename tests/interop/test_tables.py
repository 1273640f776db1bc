"""Tables written by lamella are read by ngio and anndata with equal values, and theirs by lamella."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import lamella

pytestmark = pytest.mark.filterwarnings("ignore")  # of the other libraries

BACKENDS = ("anndata", "csv", "json", "parquet")
SIZES = pd.DataFrame(
    {
        "area": [1.5, 2.25, 1e-7],
        "count": [1, 2, 3],
        "kind": ["round", "long", "round"],
        "mean": np.array([1, 2, 3], "f8"),
        "alive": [True, False, True],
    },
    index=pd.Index([1, 5, 9], name="label"),
)
REGIONS = pd.DataFrame(
    {
        "x_micrometer": [0.0, 2.0],
        "y_micrometer": [0.0, 1.0],
        "z_micrometer": [0.0, 0.0],
        "len_x_micrometer": [2.0, 2.0],
        "len_y_micrometer": [1.0, 1.0],
        "len_z_micrometer": [1.0, 1.0],
    },
    index=pd.Index(["FOV_1", "FOV_2"], name="FieldIndex"),
)


@pytest.fixture(params=["0.4", "0.5"])
def image(request, tmp_path):
    """An image with a label image, and its path."""
    path = str(tmp_path / "image.zarr")
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["DAPI"], axes="tczyx", version=request.param
    ) as position:
        position["0"] = np.ones((1, 1, 1, 16, 16), "uint16")
        position.labels["nuclei"] = np.ones((1, 16, 16), "uint8")
    return path


def _ngio(path, mode="r"):
    from ngio import open_ome_zarr_container

    return open_ome_zarr_container(path, mode=mode)


def _same(found, expected):
    found = found[expected.columns]
    for column in expected.columns:
        assert found[column].tolist() == expected[column].tolist(), column
    assert (found.index.tolist(), found.index.name) == (expected.index.tolist(), expected.index.name)


def test_ngio_reads_our_tables(image):
    with lamella.open_ome_zarr(image, mode="r+") as position:
        for backend in BACKENDS:
            position.tables.write(f"sizes_{backend}", SIZES, label="nuclei", backend=backend)
            position.tables.write(f"regions_{backend}", REGIONS, backend=backend)
            position.tables.write(f"drugs_{backend}", SIZES.reset_index(drop=True), backend=backend)
    container = _ngio(image)
    assert len(container.list_tables()) == 3 * len(BACKENDS)
    for backend in BACKENDS:
        sizes = container.get_table(f"sizes_{backend}")
        assert (sizes.table_type(), sizes.reference_label) == ("feature_table", "nuclei")
        _same(sizes.dataframe, SIZES)
        regions = container.get_table(f"regions_{backend}")
        assert regions.table_type() == "roi_table"
        assert [roi.name for roi in regions.rois()] == ["FOV_1", "FOV_2"]
        _same(regions.dataframe, REGIONS)
        drugs = container.get_table(f"drugs_{backend}")
        assert drugs.dataframe["kind"].tolist() == SIZES["kind"].tolist()
        assert drugs.dataframe["area"].tolist() == SIZES["area"].tolist()


def test_lamella_reads_the_tables_of_ngio(image):
    from ngio.tables import FeatureTable, GenericTable, RoiTable
    from ngio.tables.v1._roi_table import RoiTableV1Meta

    container = _ngio(image, "r+")
    for backend in BACKENDS:
        container.add_table(f"s_{backend}", FeatureTable(SIZES, reference_label="nuclei"), backend=backend)
        roi = RoiTable.from_table_data(REGIONS, RoiTableV1Meta())
        container.add_table(f"r_{backend}", roi, backend=backend)
        container.add_table(
            f"g_{backend}", GenericTable(SIZES.reset_index(drop=True)[["area", "kind"]]), backend=backend
        )
    position = lamella.open_ome_zarr(image)
    assert len(position.tables) == 3 * len(BACKENDS)
    for backend in BACKENDS:
        _same(position.tables[f"s_{backend}"], SIZES)
        _same(position.tables[f"r_{backend}"], REGIONS)
        assert position.tables[f"g_{backend}"]["area"].tolist() == SIZES["area"].tolist()
        assert position.tables.info(f"s_{backend}").label == "nuclei"
        assert position.tables.info(f"s_{backend}").backend == backend


def test_anndata_reads_our_tables_and_ours_read_its(image):
    import anndata

    mixed = SIZES.assign(
        some=pd.array([1, None, 3], dtype="Int64"),
        sort=pd.Categorical(["a", "b", "a"]),
        text=["x", None, ""],
    )
    with lamella.open_ome_zarr(image, mode="r+") as position:
        position.tables.write("sizes", mixed, label="nuclei", backend="anndata")
    table = anndata.read_zarr(f"{image}/tables/sizes")
    assert table.var_names.tolist() == ["area", "mean"]
    np.testing.assert_array_equal(table.X, SIZES[["area", "mean"]].to_numpy())
    assert table.obs_names.tolist() == ["1", "5", "9"]
    assert table.obs["count"].tolist() == [1, 2, 3]
    assert table.obs["alive"].tolist() == [True, False, True]
    assert table.obs["some"].isna().tolist() == [False, True, False]
    assert table.obs["sort"].tolist() == ["a", "b", "a"]
    assert table.obs["text"].isna().tolist() == [False, True, False]

    import scipy.sparse

    table.X = scipy.sparse.csr_matrix(table.X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's of Zarr v2 and of sharding
        anndata.settings.zarr_write_format = 3 if lamella.open_ome_zarr(image).version == "0.5" else 2
        table.write_zarr(f"{image}/tables/theirs")
    position = lamella.open_ome_zarr(image, mode="r+")
    position["tables"].zattrs["tables"] = ["sizes", "theirs"]
    found = position.tables["theirs"]
    assert found["area"].tolist() == SIZES["area"].tolist()
    assert found["some"].isna().tolist() == [False, True, False]
    assert found["text"].isna().tolist() == [False, True, False]
    assert found["alive"].tolist() == [True, False, True]


def test_ngio_reads_our_measurements_and_regions_and_the_tables_of_a_plate(image, tmp_path):
    from ngio import open_ome_zarr_plate

    pixels = np.arange(256, dtype="uint16").reshape(1, 1, 1, 16, 16)
    with lamella.open_ome_zarr(image, mode="r+") as position:
        position["0"][:] = pixels
        position.set_scale({"y": 0.5, "x": 0.5})
        nuclei = position.labels["nuclei"]
        nuclei[nuclei.dataset_paths[0]][0, :, :8] = 0
        sizes = nuclei.measure(name="measured")
        nuclei.write_rois("boxes")
        position.tables.write_rois("fields", {"FOV_1": {"x": (2, 5)}})
        region, box = position.roi("FOV_1").read(), position.roi(1, table="boxes").read()
    container = _ngio(image)
    _same(container.get_table("measured").dataframe, sizes)
    found = container.get_image(path="0").get_roi_as_numpy(container.get_table("fields").get("FOV_1"))
    np.testing.assert_array_equal(found, region)
    found = container.get_image(path="0").get_roi_as_numpy(container.get_table("boxes").get_label(1))
    np.testing.assert_array_equal(found, box)

    path = str(tmp_path / "plate.zarr")
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", axes="tczyx", channel_names=["a"]) as plate:
        plate.create_position("A", "1", "0")["0"] = pixels
        plate.tables["layout"] = {"row": ["A"], "column": ["1"], "path_in_well": ["0"], "dose": [0.5]}
    assert open_ome_zarr_plate(path).get_table("layout").dataframe["dose"].tolist() == [0.5]


def test_ngio_reads_tables_of_an_upgraded_store(image, tmp_path):
    with lamella.open_ome_zarr(image, mode="r+") as position:
        for backend in BACKENDS:
            position.tables.write(f"sizes_{backend}", SIZES, label="nuclei", backend=backend)
    lamella.upgrade(image, "0.5", tmp_path / "new.zarr")
    container = _ngio(str(tmp_path / "new.zarr"))
    for backend in BACKENDS:
        _same(container.get_table(f"sizes_{backend}").dataframe, SIZES)
