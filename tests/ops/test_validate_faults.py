"""One plate with every fault at once: each is found at its node by its own id, and what is sound stays so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import lamella
from lamella.models import axes
from lamella.spec.rules import RULES, VERSION_TRAITS
from lamella.spec.rules.catalogue import OWN_RULES


class Folder:
    """A store whose documents are edited as JSON."""

    def __init__(self, root, version):
        self.root = Path(root)
        self.v3 = version != "0.4"
        self.version = version

    def group_file(self, path):
        return self.root / path / ("zarr.json" if self.v3 else ".zattrs")

    def array_file(self, path):
        return self.root / path / ("zarr.json" if self.v3 else ".zarray")

    def ome(self, path, change):
        """Change the OME part of a group in place."""

        def edit(document):
            change(document["attributes"]["ome"] if self.v3 else document)

        self.json(self.group_file(path), edit)

    def array(self, path, change):
        self.json(self.array_file(path), change)

    @staticmethod
    def json(file, change):
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))


def scales(ome):
    return ome["multiscales"][0]


def axis_list(ome):
    """Axes of an image, in the first coordinate system where there are such."""
    image = scales(ome)
    return image["axes"] if "axes" in image else image["coordinateSystems"][0]["axes"]


def first_list(ome):
    return scales(ome)["datasets"][0]["coordinateTransformations"]


def set_types(ome, *types):
    for axis, kind in zip(axis_list(ome), types, strict=True):
        axis["type"] = kind


def swap(items, one, other):
    items[one], items[other] = items[other], items[one]


def x_first(ome):
    swap(axis_list(ome), 2, 4)
    first_list(ome)[0]["scale"] = [1, 1, 3, 2, 1]


def stretch(ome):
    """Correct the scale of level 0, and leave that of level 1: a common fault of other programs."""
    first_list(ome)[0]["scale"] = [1, 1, 1, 0.1, 0.1]


def move_apart(ome):
    level = scales(ome)["datasets"][1]["coordinateTransformations"]
    shift = {"type": "translation", "translation": [0, 0, 0, 999, 0]}
    scale = {"type": "scale", "scale": [1, 1, 1, 2, 2]}
    ends = {key: level[0][key] for key in ("input", "output") if key in level[0]}
    level[:] = [{"type": "sequence", "transformations": [scale, shift]} | ends] if ends else [scale, shift]


# Rule to what breaks it, each in an image of its own with two levels and the axes t, c, z, y, x.
IMAGE = {
    "AX-01": lambda ome: axis_list(ome)[2].pop("name"),
    "AX-02": lambda ome: axis_list(ome)[4].update(name="y"),
    "AX-03": lambda ome: axis_list(ome)[0].pop("type"),
    "AX-04": lambda ome: axis_list(ome)[4].update(unit="micron"),
    "AX-05": lambda ome: axis_list(ome).pop(0),
    "AX-06": lambda ome: axis_list(ome).__delitem__(slice(-1)),
    "AX-07": lambda ome: set_types(ome, "time", "channel", "other", "other", "space"),
    "AX-08": lambda ome: set_types(ome, "time", "time", "space", "space", "space"),
    "AX-09": lambda ome: set_types(ome, "other", "channel", "space", "space", "space"),
    "AX-10": lambda ome: set_types(ome, "channel", "time", "space", "space", "space"),
    "AX-11": x_first,
    "CT-01": lambda ome: scales(ome)["datasets"][0].pop("coordinateTransformations"),
    "CT-06": lambda ome: first_list(ome)[0].update(scale=[1, 3, 1, 1, 1]),
    "CT-07": lambda ome: scales(ome).update(coordinateTransformations=[]),
    "LM-11": lambda ome: ome["omero"]["channels"].append(ome["omero"]["channels"][0]),
    "LM-12": lambda ome: ome["multiscales"].append(scales(ome) | {"name": "other"}),
    "LM-13": lambda ome: scales(ome)["datasets"].append(scales(ome)["datasets"][1]),
    "LM-14": move_apart,
    "LM-25": stretch,
    "MS-01": lambda ome: ome.update(multiscales=[]),
    "MS-03": lambda ome: scales(ome).pop("datasets"),
    "MS-04": lambda ome: scales(ome)["datasets"][1].update(path="9"),
    "MS-05": lambda ome: scales(ome)["datasets"].reverse(),
    "MS-08": lambda ome: scales(ome).pop("name"),
    "MS-09": lambda ome: scales(ome).pop("type"),
    "MS-10": lambda ome: scales(ome).pop("metadata"),
    "OM-01": lambda ome: ome["omero"].pop("channels"),
    "OM-02": lambda ome: ome["omero"]["channels"][0].update(color="#FF0000"),
    "OM-03": lambda ome: ome["omero"]["channels"][0].pop("window"),
}
PLAIN = {
    "MS-02": lambda ome: scales(ome).pop("axes"),
    "CT-02": lambda ome: first_list(ome).append({"type": "affine", "affine": []}),
    "CT-03": lambda ome: first_list(ome).append({"type": "scale", "scale": [1] * 5}),
    "CT-04": lambda ome: first_list(ome).insert(0, {"type": "translation", "translation": [1] * 5}),
    "CT-05": lambda ome: first_list(ome)[0]["scale"].pop(),
}
V3 = {
    "AX-12": lambda ome: swap(axis_list(ome), 3, 4),
    "ST-07": lambda ome: ome.pop("version"),
    "ST-08": lambda ome: ome.update(version="0.6" if ome["version"] == "0.5" else "0.5"),
}


def world(ome, **transformation):
    """Add the coordinate system "world", and a transformation that leads there unless it says otherwise."""
    systems = scales(ome)["coordinateSystems"]
    systems.append({"name": "world", "axes": systems[0]["axes"]})
    ends = {"input": {"name": systems[0]["name"]}, "output": {"name": "world"}}
    if transformation:
        scales(ome)["coordinateTransformations"] = [ends | transformation]


FAR = [[1 + 0.5 * (row == column) for column in range(6)] for row in range(5)]
ONE = {"type": "identity"}
SYSTEMS = {
    "AX-13": lambda ome: axis_list(ome)[0].update(discrete="yes"),
    "CS-01": lambda ome: scales(ome).update(coordinateSystems=[]),
    "CS-02": lambda ome: scales(ome)["coordinateSystems"][0].pop("name"),
    "CS-03": lambda ome: scales(ome)["coordinateSystems"][0].pop("axes"),
    "CS-04": world,
    "CT-02": lambda ome: first_list(ome)[0].update(type="rotation", rotation=[]),
    "CT-03": lambda ome: first_list(ome)[0].update(type="translation", translation=[1] * 5),
    "CT-20": lambda ome: first_list(ome)[0].update(input="0"),
    "CT-21": lambda ome: scales(ome)["datasets"][1]["coordinateTransformations"][0][
        "transformations"
    ].reverse(),
    "CT-22": lambda ome: first_list(ome)[0]["input"].update(path="1"),
    "CT-23": lambda ome: first_list(ome)[0]["output"].update(name="nowhere"),
    "CT-24": lambda ome: world(ome, **ONE, input={"name": "nowhere"}),
    "CT-25": lambda ome: world(
        ome, type="affine", affine=FAR, output={"path": "labels/cells", "name": "intrinsic"}
    ),
    "CT-27": lambda ome: (
        world(ome, **ONE),
        scales(ome)["coordinateSystems"][1].update(axes=axis_list(ome)[2:]),
    ),
    "CT-28": lambda ome: world(ome, type="scale", scale=[1]),
    "CT-29": lambda ome: world(ome, type="translation", translation=[1]),
    "CT-30": lambda ome: world(ome, type="mapAxis", mapAxis=[0, 0, 1, 2, 3]),
    "CT-31": lambda ome: world(ome, type="projectAxis"),
    "CT-32": lambda ome: world(ome, type="affine", affine=[[1]]),
    "CT-33": lambda ome: world(ome, type="rotation", rotation=[row[:5] for row in FAR]),
    "CT-34": lambda ome: world(ome, type="sequence", transformations=[]),
    "CT-35": lambda ome: world(ome, type="displacements"),
    "CT-36": lambda ome: world(ome, type="byDimension", transformations=[]),
    "CT-37": lambda ome: world(ome, type="bijection", forward=ONE),
    "CT-38": lambda ome: world(
        ome, type="affine", affine=[[2 * (r == c) for c in range(6)] for r in range(5)]
    ),
    "MS-02": lambda ome: scales(ome).update(axes=scales(ome).pop("coordinateSystems")[0]["axes"]),
    "ST-09": lambda ome: world(ome, type="affine", path="matrix"),
    "VE-04": lambda ome: scales(ome).update(version="0.6"),
}
IMAGES = {
    "0.4": {**IMAGE, **PLAIN, "VE-01": lambda ome: scales(ome).pop("version")},
    "0.5": IMAGE | PLAIN | V3,
    "0.6": IMAGE | V3 | SYSTEMS,
}


# Rule to what breaks it, each in a label image of its own.
LABEL = {
    "LB-03": lambda ome: ome.pop("multiscales"),
    "LB-04": lambda ome: scales(ome)["datasets"].append(scales(ome)["datasets"][0]),
    "LB-07": lambda ome: ome.pop("image-label"),
    "LB-08": lambda ome: ome["image-label"].pop("colors"),
    "LB-09": lambda ome: ome["image-label"]["colors"][0].pop("label-value"),
    "LB-10": lambda ome: ome["image-label"]["colors"][0].update(rgba=[0, 300, 0, 0]),
    "LB-11": lambda ome: ome["image-label"]["colors"].append({"label-value": 1}),
    "LB-12": lambda ome: ome["image-label"].update(properties={}),
    "LB-13": lambda ome: ome["image-label"].update(source={"image": 3}),
}
LABEL_ARRAY = {
    "LB-05": lambda document: document.update({"dtype": "<f4", "data_type": "float32", "fill_value": 0.0}),
    "LB-14": lambda document: document.update(shape=[1, 2, 8, 7]),
}
WELL = {
    "WL-01": lambda ome: ome["well"].update(images={}),
    "WL-02": lambda ome: ome["well"]["images"].append({"path": "a b", "acquisition": 0}),
    "WL-03": lambda ome: ome["well"]["images"].append(ome["well"]["images"][0]),
    "WL-04": lambda ome: ome["well"]["images"][0].update(acquisition=7),
}
WELL_04 = {"VE-02": lambda ome: ome["well"].pop("version")}


def break_plate(ome):
    """Break what one plate can have broken at once."""
    plate = ome["plate"]
    plate["columns"].append({"number": 3})  # PL-01
    plate["rows"].append("Z")  # PL-02
    plate["rows"].append({"name": "Z-1"})  # PL-03
    plate["wells"][0]["columnIndex"] = 3  # PL-06
    plate["wells"][1]["rowIndex"] = -1  # PL-07
    plate["wells"].append({"path": "A/9"})  # PL-05, PL-12
    plate["wells"].append(dict(plate["wells"][2]))  # PL-13
    plate["acquisitions"].append({"id": 0, "maximumfieldcount": 1})  # PL-08, PL-09
    plate["field_count"] = 0  # PL-10
    ome["bioformats2raw.layout"] = 2  # BF-01; no XML: BF-03
    # a series: BF-04 and BF-05


PLATE_RULES = [
    *("PL-01", "PL-02", "PL-03", "PL-05", "PL-06", "PL-07", "PL-08", "PL-09", "PL-10", "PL-12", "PL-13"),
    "BF-01",
]


def place(rule):
    return rule.replace("-", "")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Return a function that gives the path of a sound plate of a version: one well, an image with labels."""
    made = {}

    def make(version):
        if version not in made:
            path = tmp_path_factory.mktemp("sound") / "plate.zarr"
            with lamella.open_ome_zarr(
                path,
                layout="hcs",
                mode="w",
                channel_names=["DAPI"],
                axes=axes("tczyx"),
                version=version,
                plate_name="screen",
            ) as plate:
                image = plate.create_position("A", "1", "0")
                image.create_image("0", np.ones((1, 1, 2, 8, 8), "uint16"))
                image.initialize_pyramid(2)
                image.compute_pyramid(2)
                image.labels.create("cells", np.ones((1, 2, 8, 8), "uint8"), colors={1: (255, 0, 0, 255)})
                plate.dump_meta(field_count=True)
            made[version] = path
        return made[version]

    return make


def build(sound_path, target, version):
    """Copy the sound plate and break everything; returns the pairs of rule and node that must be found."""
    shutil.copytree(sound_path, target)
    store = Folder(target, version)
    v3 = store.v3
    expected = []
    wells = []

    def well(row, column, names):
        path = f"{row}/{column}"
        if path != "A/1":
            shutil.copytree(sound_path / "A/1", target / path)
        for name in names:
            shutil.copytree(sound_path / "A/1/0", target / path / name)
        entries = [{"path": name, "acquisition": 0} for name in ("0", *names)]
        store.ome(path, lambda ome: ome["well"].update(images=entries))
        wells.append(path)

    images = IMAGES[version]
    array_rules = ["MS-06", "ST-05", "ST-02"] if v3 else ["MS-06", "ST-04", "ST-01"]
    array_rules += ["MS-07"] if version == "0.6" else []
    text_rules = [
        "ST-06",
        "LM-01",
        "LM-02",
        "LM-03",
        "LM-07",
        *([] if v3 else ["LM-04"]),
        *(["ST-03"] if v3 else []),
    ]
    well("A", "1", [place(rule) for rule in (*images, *array_rules, *text_rules)])
    for rule, change in images.items():
        store.ome(f"A/1/{place(rule)}", change)
        expected.append((rule, f"A/1/{place(rule)}"))
    expected += break_arrays(store, array_rules)
    expected += break_texts(store, text_rules)

    nested = ["LB-02", "LB-06"] if v3 else []
    well("A", "2", [place(rule) for rule in ("LB-01", *LABEL, *LABEL_ARRAY, *nested)])
    expected += break_labels(store, nested)

    bad_wells = WELL | ({} if v3 else WELL_04)
    for number, (rule, change) in enumerate(bad_wells.items()):
        well("B", str(number + 1), [])
        store.ome(f"B/{number + 1}", change)
        expected.append((rule, f"B/{number + 1}"))
    well("C", "1", [])
    well("C", "2", [])
    shutil.copytree(target / "C/2", target / "C/3")  # LM-05: nobody lists it
    columns = [str(number) for number in range(1, 6)]

    def list_wells(ome):
        ome["plate"]["rows"] = [{"name": name} for name in "ABC"]
        ome["plate"]["columns"] = [{"name": name} for name in columns]
        ome["plate"]["wells"] = [
            {"path": path, "rowIndex": "ABC".index(path[0]), "columnIndex": columns.index(path[2:])}
            for path in wells
        ]

    store.ome("", list_wells)
    store.ome("", break_plate)
    expected += [(rule, "") for rule in (*PLATE_RULES, "LM-05")]
    shutil.copytree(target / "C/2", target / "OME")
    store.ome("OME", lambda ome: (ome.pop("well"), ome.update(series=["A/1/0", "A/1/none"])))
    (target / "OME" / "METADATA.ome.xml").write_text(
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels><BinData/></Pixels></Image></OME>'
    )
    expected += [("BF-03", "OME"), ("BF-04", "OME"), ("BF-05", "OME"), ("BF-07", "OME")]
    (target / "D").mkdir()  # an empty row: PL-12
    shutil.copy(target / "A" / ("zarr.json" if v3 else ".zgroup"), target / "D")
    expected.append(("PL-12", "D"))
    expected += add_stale_copies(store)
    return expected


def break_arrays(store, rules):
    v3 = store.v3
    for rule in rules:
        path = f"A/1/{place(rule)}"
        if rule == "MS-06":
            four = {"shape": [1, 1, 4, 4], "chunks": [1, 1, 4, 4], "dimension_names": list("tcyx")}
            grid = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1, 4, 4]}}}
            store.array(f"{path}/1", lambda document, new=four | grid: document.update(new))
        elif rule == "MS-07":
            store.array(f"{path}/1", lambda document: document.update(data_type="int16"))
        elif rule == "ST-05":
            store.array(f"{path}/0", lambda document: document.pop("dimension_names"))
        elif rule == "ST-04":
            store.array(f"{path}/0", lambda document: document.update(dimension_separator="."))
        elif v3:  # a Zarr v2 array
            (store.root / path / "1" / "zarr.json").unlink()
            meta = {"zarr_format": 2, "shape": [1, 1, 1, 4, 4], "chunks": [1, 1, 1, 4, 4], "dtype": "<u2"}
            meta |= {"compressor": None, "filters": None, "order": "C", "fill_value": 0}
            (store.root / path / "1" / ".zarray").write_text(json.dumps(meta))
        else:  # ST-01
            (store.root / path / ".zgroup").unlink()
    return [(rule, f"A/1/{place(rule)}") for rule in rules]


def break_texts(store, rules):
    where = []
    for rule in rules:
        path = f"A/1/{place(rule)}"
        file = store.group_file(path)
        text = file.read_text()
        if rule == "ST-06":
            file.write_text("// by hand\n" + text)
        elif rule == "LM-01":
            file.write_text(text[:-40])
        elif rule == "LM-02":
            other = {".zgroup": '{"zarr_format": 2}'} if store.v3 else {"zarr.json": V3_GROUP}
            for name, content in other.items():
                (file.parent / name).write_text(content)
        elif rule == "LM-03":
            store.ome(path, lambda ome: ome["omero"]["channels"][0].update(coefficient=float("nan")))
        elif rule == "LM-07":
            path += "/0"
            store.array(path, lambda document: document.pop("shape"))
        elif rule == "LM-04":
            store.ome(path, lambda ome: (scales(ome).pop("axes"), scales(ome).update(version="0.1")))
            store.ome(
                path,
                lambda ome: [level.pop("coordinateTransformations") for level in scales(ome)["datasets"]],
            )
        else:  # ST-03
            store.json(file, lambda document: document["attributes"].pop("ome"))
        where.append((rule, path))
    return where


V3_GROUP = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}})


def break_labels(store, nested):
    label = "A/2/{}/labels/cells"
    expected = []
    for rule, change in LABEL.items():
        path = label.format(place(rule))
        store.ome(path, change)
        expected.append((rule, path))
    for rule, change in LABEL_ARRAY.items():
        path = label.format(place(rule))
        store.array(f"{path}/0", change)
        expected.append((rule, path))
    store.ome("A/2/LB01/labels", lambda ome: ome.update(labels=["cells", "gone"]))
    expected.append(("LB-01", "A/2/LB01/labels"))
    for rule in nested:
        labels = f"A/2/{place(rule)}/labels"
        if rule == "LB-02":
            store.ome(labels, lambda ome: ome.update(labels=[]))
            expected.append((rule, labels))
        else:
            (store.root / labels / "deep").mkdir()
            (store.root / labels / "cells").rename(store.root / labels / "deep" / "cells")
            shutil.copy(store.root / labels / "zarr.json", store.root / labels / "deep")
            store.ome(labels, lambda ome: ome.update(labels=["deep/cells"]))
            expected.append((rule, f"{labels}/deep"))
    return expected


def add_stale_copies(store):
    copy = {"zarr_format": 3, "node_type": "group", "attributes": {"old": True}}
    if store.v3:
        inline = {"kind": "inline", "must_understand": False, "metadata": {"C/1": copy}}
        store.json(store.group_file(""), lambda document: document.update(consolidated_metadata=inline))
    else:
        kept = {"zarr_consolidated_format": 1, "metadata": {"C/1/.zattrs": {"old": True}}}
        (store.root / ".zmetadata").write_text(json.dumps(kept))
    return [("LM-08", "")]


@pytest.fixture(scope="module", params=VERSION_TRAITS)
def broken(request, tmp_path_factory, sound):
    target = tmp_path_factory.mktemp("broken") / "plate.zarr"
    expected = build(sound(request.param), target, request.param)
    return request.param, lamella.validate(target), expected


def test_each_fault_is_found_by_its_own_id_at_its_node(broken):
    _, report, expected = broken
    found = {(finding.rule, finding.node) for finding in report.findings}
    assert [pair for pair in expected if pair not in found] == []


def test_what_is_sound_between_the_faults_stays_so(broken):
    _, report, _ = broken
    nodes = {finding.node for finding in report.findings}
    assert not nodes & {"A/1/0", "A/1/0/labels", "A/1/0/labels/cells", "A/2/0", "C/1/0", "C/1"}


def test_the_plate_breaks_every_rule_that_a_plate_can_break(broken):
    version, report, _ = broken
    checked = {
        rule.id
        for rule in RULES.values()
        if version in rule.versions and rule.needs != "unverifiable" and rule.level in ("MUST", "SHOULD")
    }
    # What cannot be beside a plate, such as an archive, has tests of its own; pixels are not read here.
    others = {"BF-02", "BF-06", "LB-15", "CT-26", "SC-01", "SC-02"} | (
        {"AX-12"} if version == "0.4" else set()
    )  # no names there
    apart = {f"LM-{number}" for number in range(15, 25)}  # of archives and tables, with tests of their own
    own = set(OWN_RULES) - apart - {"LM-06", "LM-09", "LM-10"} - ({"LM-04"} if version != "0.4" else set())
    assert (checked | own) - others - set(report.rules) == set()


def test_levels_are_those_of_the_rules(broken):
    version, report, _ = broken
    for finding in report.findings:
        assert finding.rule in RULES or finding.level in ("MUST", "SHOULD")
        if finding.rule in RULES and finding.node not in ("A/1/ST08", "A/1/LM02"):  # of another version
            assert version in RULES[finding.rule].versions
        assert finding.found
        assert finding.remedy
        assert "\n" not in finding.found + finding.remedy


def test_findings_are_in_the_order_of_the_nodes(broken):
    _, report, _ = broken
    nodes = [finding.node for finding in report.findings]
    firsts = list(dict.fromkeys(nodes))
    assert [node for first in firsts for node in nodes if node == first] == nodes
    assert firsts.index("") < firsts.index("A/1/AX01") < firsts.index("A/2/LB01/labels") < firsts.index("B/1")


@pytest.mark.parametrize("version", VERSION_TRAITS)
def test_a_sound_plate_has_no_finding(sound, version):
    report = lamella.validate(sound(version), strict=True, pixels=True)
    assert report.findings == ()
    assert report
    assert report.nodes == 5
