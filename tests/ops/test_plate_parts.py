"""Plates built from parts: what is added, chosen, merged, joined and cut keeps its pixels, levels, labels and names."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import lamella
from lamella import open_ome_zarr, validate
from lamella.cli import main
from lamella.errors import InvalidArgumentError, NodeExistsError, NodeNotFoundError
from lamella.models import AcquisitionMeta, axes

SHAPE = (2, 3, 4, 24, 32)
CHANNELS = ["DAPI", "GFP", "Cy5"]


def pixels(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(1, 900, shape).astype("uint16")


def fill(position, seed=0, **layout):
    position.create_image("0", pixels(seed), **{"chunks": (1, 1, 2, 8, 8), **layout})
    position.set_scale("0", "x", 0.5)
    position.compute_pyramid(2)
    position.set_contrast_limits("GFP", {"start": 3, "end": 77, "min": 0, "max": 900})
    cells = position.labels.create("cells", pixels(seed, (2, 4, 24, 32)) % 7)
    cells.compute_pyramid(2)
    position.zattrs["ours"] = {"seed": seed}


def new_plate(path, specs, version="0.5", **layout):
    acquisitions = [AcquisitionMeta(id=0, name="before"), AcquisitionMeta(id=1, name="after")]
    plate = open_ome_zarr(
        path,
        layout="hcs",
        mode="w-",
        channel_names=CHANNELS,
        axes=axes("tczyx"),
        version=version,
        plate_name="screen",
        acquisitions=acquisitions,
    )
    for number, position in enumerate(plate.create_positions(specs)):
        fill(position, number, **layout)
    return plate


SPECS = [("A", "1", "0", 0, 0, 0), ("A", "1", "1", 0, 0, 1), ("B", "3", "0", 1, 2, 0)]


def expect(position, seed, cut=(...,)):
    """The image, its first level and its labels are those of `fill`, cut."""
    np.testing.assert_array_equal(position["0"][...], pixels(seed)[cut])
    assert not position.stale_levels
    assert position.zattrs["ours"] == {"seed": seed}


def is_valid(path):
    report = validate(path)
    assert report, report.findings


def test_a_subset_keeps_geometry_names_acquisitions_colours_levels_and_labels(tmp_path, version, files):
    plate = new_plate(tmp_path / "plate.zarr", SPECS, version)
    plate.metadata.rows.append(plate.metadata.rows[0].model_copy(update={"name": "C"}))
    plate.dump_meta()
    part = plate.subset(tmp_path / "part.zarr", wells=["A1", "B/3"], acquisitions=["before"])
    assert [path for path, _ in part.positions()] == ["A/1/0", "B/3/0"]
    assert [row.name for row in part.metadata.rows] == ["A", "B", "C"]
    assert [column.name for column in part.metadata.columns] == ["1", "2", "3"]
    assert part.metadata.name == "screen"
    assert [entry.name for entry in part.metadata.acquisitions] == ["before"]
    assert files(tmp_path / "part.zarr/B/3/0") == files(tmp_path / "plate.zarr/B/3/0")
    is_valid(tmp_path / "part.zarr")
    assert (plate.well_paths(), plate.acquisition_names) == (["A/1", "B/3"], ["before", "after"])
    assert plate.position_paths() == ["A/1/0", "A/1/1", "B/3/0"]
    for acquisition, paths in ((0, ["A/1/0", "B/3/0"]), ("after", ["A/1/1"])):
        assert plate.position_paths(acquisition=acquisition) == paths
        assert [path for path, _ in plate.positions(acquisition=acquisition)] == paths
    for call in (plate.position_paths, plate.positions):
        with pytest.raises(NodeNotFoundError, match=r"Its acquisitions are: 0 \(before\), 1 \(after\)"):
            call(acquisition="during")
    with pytest.raises(NodeNotFoundError, match="H12"):
        plate.subset(tmp_path / "other.zarr", wells=["H12"])
    with pytest.raises(NodeNotFoundError, match="before"):
        plate.subset(tmp_path / "other.zarr", acquisitions=[7])
    plate.metadata.acquisitions[0].name = None
    plate.dump_meta()
    with pytest.raises(NodeNotFoundError, match="no acquisition None"):
        plate.subset(tmp_path / "other.zarr", acquisitions=[None])
    assert not (tmp_path / "other.zarr").exists()


@pytest.mark.parametrize("layout", [{}, {"shards_ratio": (1, 1, 2, 3, 4)}, {"chunks": (2, 2, 4, 24, 32)}])
def test_channels_are_chosen_in_any_order(tmp_path, files, layout):
    plate = new_plate(tmp_path / "plate.zarr", SPECS[:2], **layout)
    part = plate.subset(tmp_path / "part.zarr", channels=["Cy5", "GFP"])
    assert part.channel_names == ["Cy5", "GFP"]
    for seed, path in enumerate(["A/1/0", "A/1/1"]):
        position, source = part[path], plate[path]
        expect(position, seed, np.s_[:, [2, 1]])
        np.testing.assert_array_equal(position["1"][...], source["1"][...][:, [2, 1]])
        np.testing.assert_array_equal(position.labels["cells"]["1"][...], source.labels["cells"]["1"][...])
        assert position.metadata.omero.channels[1].window["end"] == 77
        assert position.get_effective_scale("1") == source.get_effective_scale("1")
    if "chunks" not in layout:  # copied as they are encoded
        old, new = (files(tmp_path / name / "A/1/0/0") for name in ("plate.zarr", "part.zarr"))
        for key, data in new.items():
            if key.startswith("c/"):
                frame, channel, rest = key.removeprefix("c/").split("/", 2)
                assert old[f"c/{frame}/{[2, 1][int(channel)]}/{rest}"] == data
    is_valid(tmp_path / "part.zarr")
    with pytest.raises(InvalidArgumentError, match="Did you mean 'GFP'"):
        plate.subset(tmp_path / "other.zarr", channels=["gfp"])


@pytest.mark.parametrize(
    ("crop", "cut"),
    [
        ({"y": (8, 24), "x": slice(-16, None)}, np.s_[:, :, :, 8:24, 16:32]),
        ({"T": (1, 2), "z": (1, 4), "y": (3, 20)}, np.s_[1:2, :, 1:4, 3:20]),
    ],
    ids=["between pixels of level 1", "through pixels of level 1"],
)
def test_a_crop_cuts_levels_and_labels_and_moves_the_translation(tmp_path, version, crop, cut):
    plate = new_plate(tmp_path / "plate.zarr", SPECS[:1], version)
    source = plate["A/1/0"]
    part = source.subset(tmp_path / "part.zarr", crop=crop, channels=["GFP", "Cy5"])
    expect(part, 0, (cut[0], slice(1, 3), *cut[2:]))
    labels = part.labels["cells"]
    np.testing.assert_array_equal(labels["0"][...], source.labels["cells"]["0"][...][(cut[0], *cut[2:])])
    assert part.dataset_paths == labels.dataset_paths == ["0", "1"]
    assert part["1"].shape[-1] == -(-part["0"].shape[-1] // 2)
    starts = [one.start or 0 for one in (*cut, slice(None), slice(None))[:5]]
    assert part.get_effective_translation("0") == [
        start * size for start, size in zip(starts, source.get_effective_scale("0"), strict=True)
    ]
    again = part["1"][...], labels["1"][...]
    part.compute_pyramid()
    labels.compute_pyramid()
    np.testing.assert_array_equal(again[0], part["1"][...])
    np.testing.assert_array_equal(again[1], labels["1"][...])
    is_valid(tmp_path / "part.zarr")


def test_labels_of_one_plane_or_time_stay_in_a_part_of_the_image(tmp_path):
    source = new_plate(tmp_path / "plate.zarr", SPECS[:1])["A/1/0"]
    projection = source.labels.create("projection", source.labels["cells"]["0"][...])
    projection["0"].resize((2, 1, 24, 32))
    plane = projection["0"][...]
    part = source.subset(tmp_path / "part.zarr", crop={"z": (1, 4), "y": (8, 24)})
    np.testing.assert_array_equal(part.labels["projection"]["0"][...], plane[..., 8:24, :])
    projection["0"].resize((1, 1, 24, 32))
    part = source.subset(tmp_path / "time.zarr", crop={"t": (1, 2)})
    np.testing.assert_array_equal(part.labels["projection"]["0"][...], plane[:1])


WRONG_CROPS = [
    {"c": (0, 1)},
    {"q": (0, 1)},
    {"x": (0, 99)},
    {"x": (5, 5)},
    {"x": 3},
    {"x": slice(0, 9, 2)},
    7,
]


def test_a_region_that_is_not_in_the_image_is_refused(tmp_path):
    plate = new_plate(tmp_path / "plate.zarr", SPECS[:1])
    for crop in WRONG_CROPS:
        with pytest.raises(InvalidArgumentError):
            plate.subset(tmp_path / "part.zarr", crop=crop)
    assert not (tmp_path / "part.zarr").exists()


def test_positions_are_added_to_a_plate_with_all_that_is_in_them(tmp_path, version, files):
    plate = new_plate(tmp_path / "plate.zarr", SPECS[:1], version)
    other = new_plate(tmp_path / "other.zarr", SPECS, version)
    other.metadata.acquisitions[1].description = "two hours later"
    other.dump_meta()
    made = plate.add({"A/1/7": other["A/1/1"], "H/12/0": other["B/3/0"]})
    assert [one.path for one in made] == ["A/1/7", "H/12/0"]
    plate = open_ome_zarr(tmp_path / "plate.zarr", mode="r+")
    assert [path for path, _ in plate.positions()] == ["A/1/0", "A/1/7", "H/12/0"]
    assert files(tmp_path / "plate.zarr/A/1/7") == files(tmp_path / "other.zarr/A/1/1")
    numbers = [image.acquisition for image in plate["A/1"].metadata.images]
    names = {entry.id: entry.description for entry in plate.metadata.acquisitions}
    assert names[numbers[1]] == "two hours later"
    assert plate.metadata.field_count == 2
    is_valid(tmp_path / "plate.zarr")
    before = files(tmp_path / "plate.zarr")
    for wrong in ({"A/1/0": other["A/1/0"]}, {"C/1/0": other["A/1/0"], "A/1/7": other["A/1/0"]}):
        with pytest.raises(NodeExistsError):
            plate.add(wrong)
    with pytest.raises(InvalidArgumentError):
        plate.add({"A/1": other["A/1/0"]})
    assert files(tmp_path / "plate.zarr") == before


def test_an_addition_that_fails_leaves_the_plate_as_it_was(tmp_path, files):
    plate = new_plate(tmp_path / "plate.zarr", SPECS[:1])
    other = new_plate(tmp_path / "other.zarr", SPECS[:1])
    position, gone = other["A/1/0"], other.create_position("D", "1", "0")
    other.documents.storage.delete("D/1/0")
    before = files(tmp_path / "plate.zarr")
    with pytest.raises(FileNotFoundError):
        plate.add({"C/1/0": position, "C/2/0": gone})
    assert files(tmp_path / "plate.zarr") == before


def test_plates_are_merged_and_equal_paths_are_refused_or_numbered(tmp_path, version):
    one = new_plate(tmp_path / "one.zarr", SPECS[:2], version)
    two = new_plate(tmp_path / "two.zarr", [("A", "1", "0"), ("C", "1", "0")], "0.5")
    with pytest.raises(InvalidArgumentError, match="renumber"):
        lamella.merge([one, two], tmp_path / "both.zarr")
    both = lamella.merge([one, tmp_path / "two.zarr"], tmp_path / "both.zarr", renumber=True)
    assert [path for path, _ in both.positions()] == ["A/1/0", "A/1/1", "A/1/2", "C/1/0"]
    for seed, path in zip([0, 1, 0, 1], ["A/1/0", "A/1/1", "A/1/2", "C/1/0"], strict=True):
        expect(both[path], seed)
        assert both[path].labels["cells"].dataset_paths == ["0", "1"]
    is_valid(tmp_path / "both.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_channels_of_stores_are_joined(tmp_path, version):
    one = new_plate(tmp_path / "one.zarr", SPECS[:2], version)
    two = new_plate(tmp_path / "two.zarr", SPECS[:2], "0.5", chunks=(1, 2, 4, 24, 32))
    two["A/1/0"].labels.create("nuclei", np.ones((2, 4, 24, 32), "uint8"))
    with pytest.raises(InvalidArgumentError, match="channel_names"):
        lamella.concatenate_channels([one, two], tmp_path / "all.zarr")
    names = ["a", "b", "c", "d", "e", "f"]
    made = lamella.concatenate_channels([one, two], tmp_path / "all.zarr", channel_names=names)
    assert made["A/1/1"].channel_names == names
    for path in ("A/1/0", "A/1/1"):
        for level in ("0", "1"):
            both = np.concatenate([one[path][level][...], two[path][level][...]], axis=1)
            np.testing.assert_array_equal(made[path][level][...], both)
    assert list(made["A/1/0"].labels) == ["cells", "nuclei"]
    assert made["A/1/0"].labels["nuclei"]["0"][...].all()
    is_valid(tmp_path / "all.zarr")
    two.create_position("B", "1", "0")
    with pytest.raises(InvalidArgumentError, match="same positions"):
        lamella.concatenate_channels([one, two], tmp_path / "more.zarr", channel_names=names)


def test_levels_that_one_store_lacks_are_computed(tmp_path):
    one = new_plate(tmp_path / "one.zarr", SPECS[:1])["A/1/0"]
    two = new_plate(tmp_path / "two.zarr", SPECS[:1])["A/1/0"]
    two.delete_pyramid()
    made = lamella.concatenate_channels([one, two], tmp_path / "all.zarr", channel_names=list("abcdef"))
    np.testing.assert_array_equal(made["1"][...][:, 3:], one["1"][...])
    assert not made.stale_levels


def test_other_files_and_tables_beside_the_levels_go_along(tmp_path):
    plate = new_plate(tmp_path / "plate.zarr", SPECS[:1])
    folder = tmp_path / "plate.zarr/A/1/0"
    group = plate["A/1/0"].zgroup.create_group("tables/nuclei")
    group.create_array("area", data=np.arange(5.0))
    (folder / "tables/nuclei/table.csv").write_text("label,area\n1,2\n")
    part = plate.subset(tmp_path / "part.zarr", channels=["GFP"], crop={"x": (0, 16)})
    assert part["A/1/0"].zgroup["tables/nuclei/area"][:].tolist() == [0, 1, 2, 3, 4]
    assert (tmp_path / "part.zarr/A/1/0/tables/nuclei/table.csv").read_text().startswith("label")


def test_into_stores_without_folders(counting_store, tmp_path):
    plate = new_plate(tmp_path / "plate.zarr", SPECS[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = plate.subset(counting_store, channels=["GFP"])
        part.add({"A/2/0": plate["A/1/0"]})
    expect(part["A/1/0"], 0, np.s_[:, 1:2])
    expect(part["A/2/0"], 0)


def test_tables_of_whole_plates_and_of_positions_go_along_also_in_another_zarr_format(tmp_path):
    plates = [
        new_plate(tmp_path / f"{name}.zarr", [spec], version)
        for name, spec, version in (("one", SPECS[0], "0.5"), ("two", SPECS[2], "0.4"))
    ]
    for number, plate in enumerate(plates):
        for backend in ("anndata", "csv", "json", "parquet"):
            frame = {"well": ["A/1"], "dose": [number + 0.5]}
            plate.tables.write(f"{backend}{number}", frame, backend=backend)
            next(plate.positions())[1].tables.write(f"of_position_{backend}", frame, backend=backend)
        plate.tables["conditions"] = {"drug": [f"drug {number}"]}
    with pytest.warns(UserWarning, match="both have a table 'conditions'") as caught:
        merged = lamella.merge(plates, tmp_path / "both.zarr")
    assert [warning.filename for warning in caught] == [__file__]
    assert merged.tables["conditions"]["drug"].tolist() == ["drug 0"]
    assert len(merged.tables.stored_names()) == 9
    for number, plate in enumerate(plates):
        path = next(plate.positions())[0]
        for backend in ("anndata", "csv", "json", "parquet"):
            assert merged.tables[f"{backend}{number}"]["dose"].tolist() == [number + 0.5]
            assert merged[path].tables[f"of_position_{backend}"]["dose"].tolist() == [number + 0.5]
    is_valid(tmp_path / "both.zarr")
    part = plates[1].subset(tmp_path / "part.zarr", channels=["GFP"])
    assert part.tables.stored_names() == plates[1].tables.stored_names()
    info = CliRunner().invoke(main, ["info", str(tmp_path / "part.zarr")]).output
    assert re.search(r"tables +anndata1, csv1, json1, parquet1, conditions", info)
    result = CliRunner().invoke(main, ["info", "--json", str(tmp_path / "part.zarr")])
    assert json.loads(result.output)["tables"][-1] == "conditions"


@pytest.mark.parametrize(
    ("place", "match"),
    [
        ({"scale": {"x": 0.5}}, r"pixel sizes: .*\[1.0, 1.0, 0.5\]"),
        ({"translation": {"y": 8}}, "translation"),
        ({"units": "nm"}, "units"),
    ],
)
def test_channels_that_lie_elsewhere_are_joined_with_a_warning(tmp_path, place, match):
    pixels = np.ones((1, 4, 4), "uint8")
    one = lamella.write_image(tmp_path / "one.zarr", pixels, "cyx", channels=["a"])
    two = lamella.write_image(tmp_path / "two.zarr", pixels, "cyx", channels=["b"], **place)
    with pytest.warns(UserWarning, match=match) as caught:
        lamella.concatenate_channels([one, two], tmp_path / "both.zarr")
    assert str(tmp_path / "two.zarr") in str(caught[0].message)


def test_regions_of_interest_lie_on_the_same_pixels_after_a_crop(tmp_path, version):
    scale = {"z": 2, "y": 0.5, "x": 0.25}
    with lamella.write_image(
        tmp_path / "a.zarr", pixels(shape=(4, 24, 32)), scale=scale, version=version
    ) as image:
        image.tables.write_rois(
            "fields",
            {
                "inside": {"x": (4, 6), "y": (3, 9)},
                "cut": {"x": (2, 4), "y": (0, 12)},
                "outside": {"x": (0, 3), "y": (0, 12)},
            },
        )
        cells = np.zeros((4, 24, 32), "uint8")
        cells[1:3, 8:12, 20:23] = 5
        image.labels["cells"] = cells
        image.labels["cells"].write_rois("boxes")
        image.zattrs["lamella"] = {"stage": {"y": 100.0, "x": -50.0}}
        cut = image.subset(tmp_path / "cut.zarr", crop={"x": (12, 30), "y": (4, 24), "z": (1, 4)})
        assert [roi.name for roi in cut.rois("fields")] == ["inside", "cut"]
        for name in ("inside", 5):
            roi = image.roi(name)
            z = roi.region()[0] if name == 5 else slice(1, 4)
            np.testing.assert_array_equal(cut.roi(name).read(), image.data[(z, *roi.region()[1:])])
        assert cut.roi("cut").region() == (slice(0, 3), slice(0, 20), slice(0, 4))
        assert cut.tables.info("boxes") == image.tables.info("boxes")
        assert cut.stage_position == {"y": 102.0, "x": -47.0}
        assert validate(tmp_path / "cut.zarr")


def test_regions_of_other_programs_are_moved_by_a_crop_or_named(tmp_path, version):
    image = lamella.write_image(tmp_path / "a.zarr", pixels(shape=(4, 24, 32)), version=version)
    for name in ("generic", "text"):
        image.tables.write_rois(name, {"a": {"x": (12, 14)}}, backend="csv")
    document = tmp_path / "a.zarr" / "tables" / "generic" / (".zattrs" if version == "0.4" else "zarr.json")
    document.write_text(document.read_text().replace("roi_table", "generic_roi_table"))
    table = tmp_path / "a.zarr" / "tables" / "text" / "table.csv"
    table.write_text(table.read_text().replace("12.0", "left"))
    with pytest.warns(
        UserWarning, match="'text' .* regions of the whole image: .*x_micrometer of (object|str)"
    ) as caught:
        cut = open_ome_zarr(tmp_path / "a.zarr").subset(tmp_path / "cut.zarr", crop={"x": (10, 30)})
    assert [warning.filename for warning in caught] == [__file__]
    assert cut.tables["generic"]["x_micrometer"].tolist() == [2.0]
    assert cut.tables.info("generic").type == "generic_roi_table"
    with pytest.raises(lamella.errors.InvalidArgumentError, match="type='generic_roi_table' is not one of"):
        cut.tables.write("new", cut.tables["generic"], type="generic_roi_table")
    assert cut.tables["text"]["x_micrometer"].tolist() == ["left"]


def test_a_film_that_was_streamed_and_is_cut_has_no_record_of_its_old_frames(tmp_path):
    film = open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["DAPI"], version="0.5")
    with film.stream("0", (8, 8), "uint8", order="t") as frames:
        frames.append(np.ones((8, 8), "uint8"))
        frames.skip()
        frames.append(np.ones((8, 8), "uint8"))
    cut = film.subset(tmp_path / "cut.zarr", crop={"t": (1, 3)})
    assert "lamella" not in cut["0"].attrs
    corner = film.subset(tmp_path / "corner.zarr", crop={"x": (1, 3)})
    assert corner["0"].attrs["lamella"]["stream"]["skipped"] == [[1, 1]]


def test_a_cut_film_keeps_the_real_times_of_its_frames(tmp_path, version):
    film = open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["DAPI"], version=version)
    film.create_image("0", pixels(shape=(5, 1, 1, 8, 8)))
    times = xr.DataArray(
        film.data[...], dims=tuple("tczyx"), coords={"t": [-120.0, -60.0, 1.0, 60.0, 121.0], "c": ["DAPI"]}
    )
    film = open_ome_zarr(tmp_path / "b.zarr", layout="fov", mode="w", channel_names=["DAPI"], version=version)
    with pytest.warns(UserWarning, match="off the even steps"):
        film.write_xarray(times)
    cut = film.subset(tmp_path / "cut.zarr", crop={"t": (2, 5)})
    assert cut.to_xarray().t.values.tolist() == [1.0, 60.0, 121.0]
    assert cut.subset(tmp_path / "end.zarr", crop={"t": (2, 3)}).to_xarray().t.values.tolist() == [121.0]
