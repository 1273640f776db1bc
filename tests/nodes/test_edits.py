"""Edits of channels, sizes, units, names and attributes, of an image and of all fields of a plate at once."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import lamella
from lamella.errors import (
    InvalidArgumentError,
    InvalidNameError,
    LamellaError,
    MetadataWarning,
    NodeExistsError,
    NodeNotFoundError,
)
from lamella.models import TransformationMeta

STORES = [*itertools.product(("0.4", "0.5", "0.6"), ("folder",)), ("0.4", "memory"), ("0.5", "memory")]


@pytest.fixture(params=STORES, ids="-".join)
def where(request, tmp_path):
    """A plate of two fields with images, one of them without GFP, and one field without an image."""
    version, kind = request.param
    path = tmp_path / "p.zarr" if kind == "folder" else f"memory://edits-{tmp_path.name}-{version}/p.zarr"
    with lamella.open(
        path, "w-", layout="hcs", version=version, channel_names=["DAPI", "GFP"], axes="czyx"
    ) as plate:
        first, second, _ = plate.create_positions([("A", "1", "0"), ("A", "1", "1"), ("B", "2", "0")])
        first["0"] = np.arange(2 * 4 * 16 * 16, dtype="uint16").reshape(2, 4, 16, 16)
        first.set_scale("*", "x", 2)
        first.compute_pyramid(2)
        first.labels["cells"] = np.ones((4, 16, 16), "uint8")
        second["0"] = np.ones((2, 4, 16, 16), "uint16")
        second.rename_channel("GFP", "Cy5")
    return path


def check_valid(where):
    """Check the store once its last field has an image."""
    with lamella.open(where, "r+") as plate:
        field = plate["B/2/0"]
        field["0"] = np.ones((len(field.channel_names), 1, 8, 8), "uint16")
    report = lamella.validate(where)
    assert report.valid, report.lines()


def channels(position):
    return {
        channel.label: (channel.color, channel.window, channel.active)
        for channel in position.metadata.omero.channels
    }


def test_a_channel_is_changed_in_all_fields_that_have_it(where):
    with lamella.open(where, "r+") as plate:
        assert plate.set_channel("GFP", color="deepskyblue", window=(10, 500), active=False) == [
            "A/1/0",
            "B/2/0",
        ]
        assert plate.set_channel("GFP", color="#00BFFF") == []  # it has the colour: nothing is written
        assert plate.set_channel("Cy5", color="0f0", label="far red") == ["A/1/1"]
        assert plate.rename_channel("DAPI", "nuclei") == ["A/1/0", "A/1/1", "B/2/0"]
        plate["B/2/0"].set_channel("GFP", label="Actin", active=True)
    plate = lamella.open(where)
    window = {"start": 10, "end": 500, "min": 0.0, "max": 65535.0}
    assert channels(plate["A/1/0"])["GFP"] == ("00BFFF", window, False)
    assert channels(plate["A/1/1"])["far red"][0] == "00FF00"
    assert [position.channel_names for _, position in plate.positions()] == [
        ["nuclei", "GFP"],
        ["nuclei", "far red"],
        ["nuclei", "Actin"],
    ]
    check_valid(where)


def test_a_channel_is_appended_to_all_fields_that_lack_it(where):
    with lamella.open(where, "r+") as plate:
        plate["A/1/1"].append_channel("RFP")
        assert plate.append_channel("RFP") == ["A/1/0", "B/2/0"]
        with pytest.raises(InvalidArgumentError, match="Every field has a channel 'RFP' already"):
            plate.append_channel("RFP")
    plate = lamella.open(where)
    assert [position.channel_names[-1] for _, position in plate.positions()] == ["RFP"] * 3
    assert [image.shape[0] for _, image in plate["A/1/0"].images()] == [3, 3]
    assert not plate["A/1/0"].data[2].any()
    assert not plate["A/1/0"].stale_levels
    check_valid(where)


def test_sizes_and_units_of_all_levels_and_labels_follow(where):
    with lamella.open(where, "r+") as plate:
        assert plate.set_scale({"Y": 0.65, "x": 0.5}) == ["A/1/0", "A/1/1"]
        assert plate.set_scale({"y": 0.65}) == []
        assert plate.set_unit("nm") == ["A/1/0", "A/1/1", "B/2/0"]
        plate["A/1/0"].set_unit({"z": None})
    plate = lamella.open(where)
    position = plate["A/1/0"]
    cells = position.labels["cells"]
    assert position.scale == [1, 1, 0.65, 0.5]
    assert position.get_effective_scale("1") == [1, 2, 1.3, 1]
    assert cells.scale == [1, 0.65, 0.5]
    assert cells.get_effective_scale("1") == [2, 1.3, 1]
    for image in (position, cells):
        assert [axis.unit for axis in image.axes][-3:] == [None, "nanometer", "nanometer"]
        assert image.to_xarray().coords["x"].attrs["units"] == "nanometer"
    assert plate["B/2/0"].axes[-1].unit == "nanometer"
    check_valid(where)


def geometry(image, axes="zyx"):
    """Effective scale and translation of each level along some axes."""
    return [
        [numbers[image.axis_names.index(axis)] for axis in axes]
        for level in image.dataset_paths
        for numbers in (image.get_effective_scale(level), image.get_effective_translation(level))
    ]


def zyx(image, **numbers):
    """Transformations along the last axes of an image."""
    transforms = []
    for kind, values in numbers.items():
        first = [float(kind == "scale")] * (len(image.axes) - len(values))
        transforms.append(TransformationMeta.from_json({"type": kind, kind: [*first, *values]}))
    return transforms


@pytest.mark.parametrize(
    "edit",
    [
        lambda image: image.set_scale("0", "y", 0.65),
        lambda image: image.set_scale("1", "x", 0.3),
        lambda image: image.set_scale("*", "x", 0.1),
        lambda image: image.set_transform("0", zyx(image, scale=(3, 0.5, 0.25), translation=(10, 20, 0))),
        lambda image: image.set_transform("*", zyx(image, scale=(1, 0.1, 0.7), translation=(0, 200, 100))),
        lambda image: image.set_transform("*", []),
    ],
)
def test_labels_follow_each_change_of_scales_and_translations(where, edit):
    with lamella.open(where, "r+") as plate:
        image = plate["A/1/0"]
        cells = image.labels["cells"]
        assert geometry(cells) == geometry(image)
        before = geometry(image)
        edit(image)
        assert geometry(image) != before
        changed = geometry(image)
        assert geometry(cells) == [pytest.approx(numbers) for numbers in changed]
        for node in (
            cells,
            image,
        ):  # code that changes labels itself, and a call that is run again after a kill
            edit(node)
            assert geometry(cells) == [pytest.approx(numbers) for numbers in changed]
    check_valid(where)


def test_labels_that_differ_from_their_image_keep_their_place_on_it(tmp_path):
    with lamella.open(tmp_path / "i.zarr", "w-", layout="fov", channel_names=["a"], axes="cyx") as image:
        image["0"] = np.ones((1, 16, 16), "uint16")
        image.labels["cells"] = np.ones((16, 16), "uint8")
        cells = image.labels["cells"]
        cells.set_transform("0", zyx(cells, scale=(2, 2), translation=(0.5, 0.5)))
        image.set_transform("0", zyx(image, scale=(3, 5), translation=(100, 0)))
        assert geometry(cells, "yx") == [[6, 10], [101.5, 2.5]]
        image.set_scale("0", "x", 1)
        assert geometry(cells, "yx") == [[6, 2], [101.5, 0.5]]
        image.set_transform("0", [])
        assert geometry(cells, "yx") == [[2, 2], [0.5, 0.5]]


def first_level(image):
    """Voxel size and start of level 0 along x."""
    return image.scale[-1], image.get_effective_translation("0")[-1]


@pytest.mark.parametrize(
    ("length", "place", "new_label", "new_image"),
    [
        (9, (2, 0), (1.3, 0), (0.65, 0)),  # 17 voxels at half the resolution
        (8, (1, 4), (0.65, 102.6), (0.65, 100)),  # a part of the image
        (8, (1, 4), (1, 104), (1, 100)),
        (8, (1, 4), (0.5, 2), (0.5, 0)),
    ],
)
@pytest.mark.parametrize("is_label_first", [True, False])
def test_labels_that_code_has_changed_before_their_image_stay(
    tmp_path, length, place, new_label, new_image, is_label_first
):
    def move(image, size, start):
        image.set_transform("0", zyx(image, scale=(size, size), translation=(start, start)))

    with lamella.open(tmp_path / "i.zarr", "w-", layout="fov", channel_names=["a"], axes="cyx") as image:
        image["0"] = np.ones((1, 17 if length == 9 else 16, 17 if length == 9 else 16), "uint16")
        image.labels["cells"] = np.ones(image.data.shape[1:], "uint8")
        cells = image.labels["cells"]
        cells.data.resize((length, length))
        move(cells, *place)
        if is_label_first:
            move(cells, *new_label)
        move(image, *new_image)
        assert first_level(cells) == pytest.approx(new_label)
        image.set_scale({"x": 3})
        assert first_level(cells)[0] == pytest.approx(3 * new_label[0] / new_image[0])


def test_names_and_attributes_are_changed_in_one_write_each(where):
    with lamella.open(where, "r+") as plate:
        plate.set_name("screen 7")
        plate["A/1/0"].set_name("colony")
        for node in (plate, plate["A/1/0"]):
            node.set_attributes({"operator": "Ada", "passage": 12})
            node.set_attributes({"passage": None, "day": [1, 2]})
            with pytest.raises(InvalidArgumentError, match="methods of the node"):
                node.set_attributes({"multiscales": []})
            with pytest.raises(LamellaError):
                node.set_attributes({"when": object()})
    plate = lamella.open(where)
    assert plate.metadata.name == "screen 7"
    assert plate["A/1/0"].metadata.multiscales[0].name == "colony"
    for node in (plate, plate["A/1/0"]):
        assert (node.zattrs["operator"], node.zattrs["day"], "passage" in node.zattrs) == (
            "Ada",
            [1, 2],
            False,
        )
    assert len(dict(plate.positions())) == 3


def test_a_name_that_is_set_before_the_first_array_is_kept_when_the_metadata_are_read(where):
    with lamella.open(where, "r+") as plate:
        position = plate.create_position("B", "3", "0")
        position.set_name("colony")
        assert position.metadata.multiscales[0].name == "colony"
        position["0"] = np.zeros((2, 1, 8, 8), "uint16")
    assert lamella.open(where)["B/3/0"].image_name == "colony"


def change_document(group, version, change):
    """Change the OME part of the document of a group on disk; return the part."""
    path = group / (".zattrs" if version == "0.4" else "zarr.json")
    document = json.loads(path.read_text())
    ome = document if version == "0.4" else document["attributes"]["ome"]
    change(ome)
    path.write_text(json.dumps(document))
    return ome


UNUSABLE_OMERO = [
    "no object",
    {"channels": {"DAPI": 1}, "lab": 3},
    {
        "rdefs": [1],
        "name": 5,
        "channels": [
            {"label": "DAPI", "color": 7, "window": "auto", "active": "yes"},
            {"label": "GFP", "window": {"start": "low", "end": 9, "min": 0, "max": 99}},
            "Cy5",
        ],
    },
]


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
@pytest.mark.parametrize("omero", UNUSABLE_OMERO)
@pytest.mark.filterwarnings("ignore::lamella.errors.MetadataWarning")
def test_edits_keep_values_of_omero_that_cannot_be_used(tmp_path, version, omero):
    path = tmp_path / "a.zarr"
    lamella.write_image(path, np.zeros((3, 8, 8), "uint16"), "cyx", version=version)
    change_document(path, version, lambda ome: ome.update(omero=omero))
    with lamella.open(path, "r+") as image:
        image.set_scale({"y": 0.5})
        image.set_unit("micrometer")
    assert change_document(path, version, dict)["omero"] == omero
    if omero is UNUSABLE_OMERO[-1]:
        with lamella.open(path, "r+") as image:
            image.rename_channel("DAPI", "nuclei")
            image.metadata.omero.channels.pop(1)
            image.dump_meta()
        expected = {**omero, "channels": [{**omero["channels"][0], "label": "nuclei"}, "Cy5"]}
        assert change_document(path, version, dict)["omero"] == expected
    if version == "0.4":
        before = change_document(path, version, dict)["omero"]
        lamella.upgrade(path, "0.5", tmp_path / "b.zarr")
        assert change_document(tmp_path / "b.zarr", "0.5", dict)["omero"] == before


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
@pytest.mark.parametrize("damage", ["document", "transformations", "labels group"])
def test_an_image_is_resized_although_a_label_image_is_damaged(tmp_path, version, damage):
    path = tmp_path / "a.zarr"
    with lamella.write_image(path, np.zeros((8, 8), "uint16"), "yx", version=version) as image:
        image.labels["cells"] = image.labels["nuclei"] = np.ones((8, 8), "uint16")
    cells = path / ("labels" if damage == "labels group" else "labels/cells")
    if damage == "transformations":
        change_document(cells, version, lambda ome: ome["multiscales"][0]["datasets"][0].pop("path"))
    else:
        (cells / (".zattrs" if version == "0.4" else "zarr.json")).write_text("{")
    warned = "label images" if damage == "labels group" else "label image 'cells'"
    for number, edit in enumerate(
        (
            lambda image: image.set_scale("0", "y", 3),
            lambda image: image.set_scale({"y": 3, "x": 4}),
            lambda image: image.set_unit("nanometer"),
        )
    ):
        with lamella.open(path, "r+") as image, pytest.warns(MetadataWarning, match=warned):
            edit(image)
        image = lamella.open(path)
        assert image.scale == ([3, 1] if number == 0 else [3, 4])
        if damage != "labels group":
            assert image.labels["nuclei"].scale == image.scale


def test_a_position_is_renamed_within_its_well(where):
    with lamella.open(where, "r+") as plate:
        before = plate["A/1/1/0"][:]
        plate.rename_position("A/1/1", "A/1/9")
        plate["B/2"].rename_position("0", "8")
        assert [path for path, _ in plate.positions()] == ["A/1/0", "A/1/9", "B/2/8"]
        assert "A/1/1" not in plate
        for old, new, error in (
            ("A/1/1", "5", NodeNotFoundError),
            ("A/1/9", "0", NodeExistsError),
            ("A/1/9", "B/2/3", InvalidNameError),
            ("A/1/9", "a b", InvalidNameError),
            ("A/1", "5", InvalidNameError),
        ):
            with pytest.raises(error):
                plate.rename_position(old, new)
    plate = lamella.open(where)
    np.testing.assert_array_equal(plate["A/1/9/0"][:], before)
    assert list(plate["A/1"]) == ["0", "9"]
    assert plate["A/1/9"].channel_names == ["DAPI", "Cy5"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda plate: plate.set_channel("Gfp", color="red"), "Did you mean 'GFP'"),
        (lambda plate: plate.set_channel("GFP", color="rde"), "Did you mean 'red'"),
        (lambda plate: plate.set_channel("GFP", window={"start": 1, "end": "x"}), "finite numbers"),
        (lambda plate: plate.set_channel("GFP", window=5), "pair of start and end"),
        (lambda plate: plate.set_channel("GFP", active=1), "True or False"),
        (lambda plate: plate.rename_channel("DAPI", "Cy5"), "already"),  # of the second field alone
        (lambda plate: plate.rename_channel("TRITC", "red"), "No image has the channel"),
        (lambda plate: plate.rename_channel("Gfp", "DAPI"), "there are DAPI, GFP, Cy5.*Did you mean 'GFP'"),
        (lambda plate: plate.set_channel("Gfp", label="Cy5", active=False), "Did you mean 'GFP'"),
        (lambda plate: plate.set_scale({"q": 1}), "No image has the axis 'q'"),
        (lambda plate: plate.set_scale({"x": -1}), "above 0"),
        (lambda plate: plate.set_scale(0.5), "mapping"),
        (lambda plate: plate.set_unit("furlong"), "not a unit of space"),
        (lambda plate: plate.set_unit({"c": "um"}), "no unit"),
        (lambda plate: plate.set_name(""), "not empty"),
        (lambda plate: plate["A/1/0"].set_scale({"y": 1, "q": 1}), "no axis 'q'"),
        (lambda plate: plate["A/1/0"].set_scale("0", "x"), "mapping of axis to size"),
        (lambda plate: plate["B/2/0"].set_scale({"x": 1}), "no image yet"),
        (lambda plate: plate["A/1/0"].get_channel_index("gfp"), "Did you mean 'GFP'"),
    ],
)
def test_an_edit_that_one_field_refuses_changes_none(tmp_path, files, edit, message):
    path = tmp_path / "p.zarr"
    with lamella.open(path, "w-", layout="hcs", channel_names=["DAPI", "GFP"], axes="cyx") as plate:
        for position in plate.create_positions([("A", "1", "0"), ("A", "1", "1")]):
            position["0"] = np.ones((2, 16, 16), "uint16")
        plate.create_position("B", "2", "0")
        plate["A/1/1"].rename_channel("GFP", "Cy5")
        before = files(path)
        with pytest.raises(InvalidArgumentError, match=message):
            edit(plate)
        assert files(path) == before


def test_an_edit_that_was_cut_short_is_finished_by_the_same_call(tmp_path, monkeypatch):
    path = tmp_path / "p.zarr"
    with lamella.open(path, "w-", layout="hcs", channel_names=["a", "b"], axes="cyx") as plate:
        for position in plate.create_positions([("A", "1", field) for field in "012"]):
            position["0"] = np.ones((2, 16, 16), "uint16")
        plate["A/1/0"].rename_channel("a", "DAPI")  # as far as a killed call came
        plate["A/1/0"].set_scale({"x": 2})
        assert plate.rename_channel("a", "DAPI") == ["A/1/1", "A/1/2"]
        with pytest.raises(InvalidArgumentError, match="renamed to 'DAPI' before, leave out this rename"):
            plate.rename_channel("a", "DAPI")
        assert plate.set_scale({"x": 2}) == ["A/1/1", "A/1/2"]
        assert [position.channel_names[0] for _, position in plate.positions()] == ["DAPI"] * 3
