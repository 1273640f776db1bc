"""Measurements are scikit-image's of the whole image, whatever parts they are made from; regions are numpy's."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from skimage.measure import regionprops_table
from zarr.storage import MemoryStore

import lamella
from lamella import errors
from lamella.ops.tables import labels as boxes
from lamella.ops.tables import measure
from lamella.spec.tables import BACKENDS

PROPERTIES = (
    "area",
    "bbox",
    "centroid",
    "centroid_weighted",
    "eccentricity",
    "intensity_mean",
    "intensity_std",
    "inertia_tensor_eigvals",
    "solidity",
)


def blobs(shape, seed, count):
    """Ellipsoids with large, uneven ids; some cross every border of chunks."""
    generator = np.random.default_rng(seed)
    grid = np.indices(shape)
    found = np.zeros(shape, "uint32")
    for number in range(count):
        middle = [generator.uniform(0, n) for n in shape]
        radius = [max(0.6, generator.uniform(1.5, 6) * n / max(shape)) for n in shape]
        inside = sum(((g - m) / r) ** 2 for g, m, r in zip(grid, middle, radius, strict=True)) <= 4
        found[inside & (found == 0)] = 3_000_000_000 + 7 * number
    return found


@pytest.fixture(params=["0.4", "0.5"])
def image(request):
    """Two time points, two channels, one plane; its labels."""
    position = lamella.open_ome_zarr(
        MemoryStore(),
        layout="fov",
        mode="w",
        channel_names=["DAPI", "A-b"],
        axes="tczyx",
        version=request.param,
    )
    pixels = np.random.default_rng(1).integers(0, 4000, (2, 2, 1, 60, 90)).astype("uint16")
    position.create_image("0", pixels, chunks=(1, 1, 1, 16, 16))
    position.set_scale({"y": 0.5, "x": 0.25})
    cells = np.stack([blobs((60, 90), seed, 25) for seed in (3, 4)])[:, None]
    position.labels["cells"] = cells
    return position, pixels, cells


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of a few chunks, so that a small image is made of many."""
    monkeypatch.setattr(measure, "_UNIT_BYTES", 20_000)
    monkeypatch.setattr(boxes, "_UNIT_BYTES", 1_000)
    monkeypatch.setattr(boxes, "_MAX_UNMERGED", 3)


def whole(cells, pixels, properties, spacing):
    """scikit-image's table of one plane."""
    ids = np.unique(cells[cells > 0])
    compact = np.where(cells > 0, np.searchsorted(ids, cells) + 1, 0)
    found = regionprops_table(
        compact, np.moveaxis(pixels, 0, -1), properties=("label", *properties), spacing=spacing
    )
    found["label"] = ids[found["label"] - 1]
    return found


def test_measurements_by_parts_are_those_of_the_whole_image(image):
    position, pixels, cells = image
    found = position.labels["cells"].measure(PROPERTIES)
    assert found.index.name == "label"
    for t in (0, 1):
        rows = found[found["t"] == t]
        expected = whole(cells[t, 0], pixels[t, :, 0], PROPERTIES, (0.5, 0.25))
        assert rows.index.tolist() == expected["label"].tolist()
        names = {
            "area": "area",
            "bbox-0": "bbox-start-y",
            "bbox-3": "bbox-stop-x",
            "centroid-0": "centroid-y",
            "centroid-1": "centroid-x",
            "centroid_weighted-1-1": "centroid_weighted-x-A-b",
            "eccentricity": "eccentricity",
            "intensity_mean-0": "intensity_mean-DAPI",
            "intensity_std-1": "intensity_std-A-b",
            "inertia_tensor_eigvals-1": "inertia_tensor_eigvals-1",
            "solidity": "solidity",
        }
        for theirs, ours in names.items():
            np.testing.assert_allclose(rows[ours], expected[theirs], rtol=1e-9, err_msg=ours)


def test_volumes_in_voxels_of_chosen_channels_by_an_executor(image):
    position = lamella.open_ome_zarr(
        MemoryStore(), layout="fov", mode="w", channel_names=["a", "b"], version="0.5"
    )
    pixels = np.random.default_rng(1).integers(0, 4000, (1, 2, 6, 30, 30)).astype("uint16")
    position.create_image("0", pixels, chunks=(1, 1, 2, 16, 16))
    cells = blobs((6, 30, 30), 5, 12)
    position.labels["cells"] = cells
    calls = []
    with ThreadPoolExecutor(2) as executor:
        found = position.labels["cells"].measure(
            ["area", "intensity_max", "centroid"],
            channels=[1],
            physical=False,
            executor=executor,
            progress=lambda *call: calls.append(call),
        )
    expected = whole(cells, pixels[0], ["area", "intensity_max", "centroid"], (1, 1, 1))
    assert "t" not in found.columns
    np.testing.assert_array_equal(found["area"], expected["area"])
    np.testing.assert_array_equal(found["intensity_max-b"], expected["intensity_max-1"])
    np.testing.assert_allclose(found["centroid-z"], expected["centroid-0"])
    assert calls[-1] == (len(found), len(found), "labels")


def test_measurements_become_a_table_of_their_labels(image):
    position, _, cells = image
    found = position.labels["cells"].measure("area", name="sizes")
    position.tables["again"] = found
    for name in ("sizes", "again"):
        info = position.tables.info(name)
        assert (info.type, info.label, info.index_key) == ("feature_table", "cells", "label")
        pd.testing.assert_frame_equal(position.tables[name], found)
    assert set(found.index) == set(np.unique(cells)) - {0}
    calls: list[object] = []
    with pytest.raises(errors.InvalidNameError, match="plain name"):  # before anything is measured
        position.labels["cells"].measure("area", name="a/b", progress=lambda *call: calls.append(call))
    assert calls == []


def test_ids_above_those_of_int64_stay_what_they_are(image):
    position, _, cells = image
    high = 2**64 - 1
    large = cells.astype("uint64")
    large[large == large.max()] = high
    labels = position.labels.create("large", large)
    assert labels.measure("area").index.max() == high
    for backend in BACKENDS:
        labels.measure("area", name=backend)
        position.tables.write(backend, position.tables[backend], backend=backend)
        assert position.tables[backend].index.max() == high
    assert position.roi(high, table=labels.write_rois()).label == high


def test_an_image_without_labels_has_an_empty_table(image):
    position, _, cells = image
    position.labels["none"] = np.zeros_like(cells)
    found = position.labels["none"].measure(PROPERTIES, name="none")
    assert (len(found), found.index.name) == (0, "label")
    assert list(found.columns) == list(position.labels["cells"].measure(PROPERTIES).columns)
    assert len(position.tables["none"]) == 0
    with pytest.raises(errors.InvalidArgumentError, match=r"labels/none/0 cannot be measured: .*perimeter"):
        position.labels["none"].measure("perimeter")


def test_an_image_without_labels_has_columns_that_need_a_hull_of_several_voxels():
    stack = lamella.open_ome_zarr(MemoryStore(), layout="fov", mode="w", channel_names=[], axes="zyx")
    stack["0"] = np.zeros((2, 4, 4), "uint8")
    stack.labels["none"] = np.zeros((2, 4, 4), "uint8")
    assert list(stack.labels["none"].measure("feret_diameter_max")) == ["feret_diameter_max"]


def test_lower_levels_are_measured_where_they_lie(image):
    position, _, _ = image
    position.compute_pyramid(levels=2)
    fine, coarse = (position.labels["cells"].measure(["centroid", "area"], level=level) for level in "01")
    fine, coarse = (
        frame.reset_index().set_index(["t", "label"])["centroid-y"]
        for frame in (fine[fine["area"] > 8], coarse)
    )
    distance = (fine - coarse).dropna().abs()
    assert len(distance) > 3
    assert distance.max() < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["aera"], "Did you mean 'area'"),
        (["coords"], "is not a property with one or more numbers"),
        (["area", {"level": "1"}], "is not a level"),
        (["perimeter", {"physical": True}], "physical=False"),
        (["intensity_mean", {"channels": ["GFP"]}], "GFP"),
        (["intensity_mean", {"channels": [2]}], "no channel 2"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_clear_words(image, arguments, message):
    name, options = arguments[0], arguments[1] if len(arguments) > 1 else {}
    with pytest.raises(errors.InvalidArgumentError, match=message):
        image[0].labels["cells"].measure(name, **options)


def test_without_scikit_image_the_error_names_the_extra(image, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(errors.MissingDependencyError, match=r"lamella\[measure\]"):
        image[0].labels["cells"].measure()


def test_a_plate_measures_all_its_positions(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["DAPI"]) as plate:
        for number, field in enumerate("01"):
            position = plate.create_position("A", "1", field)
            position["0"] = np.full((1, 1, 1, 8, 8), number, "uint8")
            position.labels["cells"] = np.eye(8, dtype="uint8")[None]
        plate.map(lambda position: len(position.labels["cells"].measure("intensity_mean", name="cells")))
        found = plate.tables["cells"]
    assert found["field"].tolist() == ["0", "1"]
    assert found["intensity_mean-DAPI"].tolist() == [0, 1]


# -- regions of interest --------------------------------------------------------------------------------------------


def test_large_integers_of_some_fields_stay_exact_in_the_table_of_a_plate(tmp_path):
    with lamella.open(tmp_path / "p.zarr", "w", layout="hcs", channel_names=["DAPI"], axes="yx") as plate:
        for number, columns in enumerate(
            (
                {"id": [1], "offset": [-1], "count": np.array([2**60 + 1])},
                {"id": [2**63 + 1], "parent": [2**60 + 1], "offset": [2**63], "count": np.array([1], "i4")},
            )
        ):
            field = plate.create_position("A", "1", str(number))
            field["0"] = np.ones((4, 4), "uint8")
            field.tables["cells"] = pd.DataFrame(columns)
        table = plate.tables["cells"]
        assert table["offset"].tolist() == [-1.0, 2.0**63]  # no type of integers has both
        assert table["count"].dtype == "int64"
        assert [int(number) for number in table["id"]] == [1, 2**63 + 1]
        assert int(table["parent"][1]) == 2**60 + 1
        assert pd.isna(table["parent"][0])


@pytest.mark.filterwarnings("ignore::lamella.errors.MetadataWarning")  # it is no label image by its document
def test_labels_with_a_channel_axis_as_other_programs_write_them_are_measured(tmp_path, version):
    pixels, ids = np.arange(128, dtype="uint16").reshape(2, 8, 8), np.eye(8, dtype="uint8")
    with lamella.write_image(tmp_path / "a.zarr", pixels, axes="cyx", version=version) as image:
        image.labels["cells"] = ids
    lamella.write_image(tmp_path / "ids.zarr", ids[None], axes="cyx", version=version, levels=1).close()
    shutil.rmtree(tmp_path / "a.zarr" / "labels" / "cells")
    shutil.copytree(tmp_path / "ids.zarr", tmp_path / "a.zarr" / "labels" / "cells")
    with lamella.open(tmp_path / "a.zarr") as image:
        table = image.labels["cells"].measure(["area", "intensity_max"])
        assert table.loc[1].tolist() == [8, 63, 127]


def test_regions_are_the_same_part_of_all_levels(image):
    position, pixels, _ = image
    position.compute_pyramid(levels=2)
    position.tables.write_rois(
        "fields", {"FOV_1": {"y": (5, 10), "x": (2.5, 5)}, "late": {"t": (1, 2), "x": (0, 100)}}
    )
    roi = position.roi("FOV_1")
    np.testing.assert_array_equal(roi.read(), pixels[..., 10:20, 10:20])
    np.testing.assert_array_equal(roi.read("1"), position["1"][..., 5:10, 5:10])
    assert position.roi("late").read().shape == (1, 2, 1, 60, 90)
    assert [one.name for one in position.rois()] == ["FOV_1", "late"]
    frame = position.tables["fields"]
    assert frame.loc["FOV_1", ["x_micrometer", "len_x_micrometer"]].tolist() == [2.5, 2.5]
    assert position.tables.info("fields").type == "roi_table"


def test_regions_are_stored_in_micrometers_whatever_the_unit_of_the_axes():
    position = lamella.open_ome_zarr(MemoryStore(), layout="fov", mode="w", axes="yx", version="0.5")
    position["0"] = np.arange(64, dtype="uint16").reshape(8, 8)
    for axis in position.metadata.multiscales[0].axes:
        axis.unit = "nanometer"
    position.dump_meta()
    position.set_scale({"y": 500, "x": 500})
    position.tables.write_rois("r", {"a": {"x": (1000, 2000)}})
    assert position.tables["r"].loc["a", "x_micrometer"] == 1
    np.testing.assert_array_equal(position.roi("a").read(), position["0"][:, 2:4])


def test_the_regions_of_labels_hold_their_labels_alone(image):
    position, _, cells = image
    name = position.labels["cells"].write_rois()
    assert position.tables.info(name).type == "masking_roi_table"
    rois = position.rois(name)
    assert {roi.label for roi in rois} == set(np.unique(cells)) - {0}
    for roi in rois:
        found = np.argwhere(cells[:, 0] == roi.label)
        region = roi.region()
        bounds = [slice(a, b + 1) for a, b in zip(found.min(axis=0), found.max(axis=0), strict=True)]
        assert [region[0], *region[3:]] == bounds
        assert position.roi(roi.label) == roi


def test_a_column_label_that_is_not_of_labels_leaves_the_regions_without_one(image):
    position, _, _ = image
    rows = {"x_micrometer": 0, "y_micrometer": 0, "z_micrometer": 0}
    rows |= {f"len_{column}": 1 for column in rows}
    for number, cells in enumerate((["left", "right"], [2.0, float("nan")], [2.5, float("inf")])):
        frame = pd.DataFrame(rows | {"label": cells}, index=pd.Index(["a", "b"], name="FieldIndex"))
        position.tables.write(f"r{number}", frame, type="roi_table", backend="anndata")
        labels = [roi.label for roi in position.rois(f"r{number}")]
        assert labels == ([2, None] if number == 1 else [None, None])


def test_regions_that_are_not_there_or_are_no_regions_are_refused(image):
    position, _, _ = image
    position.tables.write_rois("a", {"FOV_1": {"x": (0, 1)}})
    position.tables.write_rois("b", {"FOV_1": {"x": (0, 2)}})
    with pytest.raises(errors.InvalidArgumentError, match="pass table="):
        position.roi("FOV_1")
    assert position.roi("FOV_1", table="b").bounds["x"] == (0, 2)
    with pytest.raises(errors.NodeNotFoundError, match="Did you mean 'FOV_1'"):
        position.roi("FOV_2", table="a")
    for bounds, message in (
        ({"c": (0, 1)}, "'c'"),
        ({"x": (1, 0)}, "before its start"),
        ({"x": 3}, "a start"),
    ):
        with pytest.raises(errors.InvalidArgumentError, match=message):
            position.tables.write_rois("c", {"r": bounds})
    position.tables["plain"] = {"a": [1]}
    with pytest.raises(errors.InvalidArgumentError, match="lists no regions"):
        position.rois("plain")
