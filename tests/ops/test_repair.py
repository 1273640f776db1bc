"""``repair``: each fault that needs no guess is mended, and nothing else is touched."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella.errors import (
    InvalidArgumentError,
    MetadataError,
    MetadataWarning,
    ReadOnlyError,
    StoreNotFoundError,
)
from lamella.models import axes
from lamella.ops.repair import changes as repair_changes


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Return a function that gives the path of a plate of a version that has no finding."""

    @cache
    def make(version):
        path = tmp_path_factory.mktemp("sound") / "plate.zarr"
        write_plate(path, version)
        assert lamella.validate(path).findings == ()
        return path

    return make


def write_plate(path, version):
    """Write two wells, three images, one with labels; with unknown keys in some groups."""
    with lamella.open_ome_zarr(
        path,
        layout="hcs",
        mode="w",
        channel_names=["DAPI"],
        axes=axes("cyx"),
        version=version,
        plate_name="screen",
    ) as plate:
        for well in (("A", "1", "0"), ("A", "1", "1"), ("B", "3", "0")):
            image = plate.create_position(*well)
            image.create_image("0", np.ones((1, 8, 8), "uint16"))
            image.compute_pyramid(2)
            image.zattrs["lab"] = {"owner": "us"}
        plate["A/1/0"].labels.create("cells", np.ones((8, 8), "uint8"), colors={1: (255, 0, 0, 255)})
        plate.dump_meta(field_count=True)
        plate.zattrs["lab"] = {"owner": "us"}


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def plate(request, sound, tmp_path):
    """A copy of the sound plate."""
    return shutil.copytree(sound(request.param), tmp_path / "store" / "plate.zarr")


def is_v3(path):
    return (path / "zarr.json").exists()


def change(path, node, edit):
    """Edit the OME part of a group."""
    file = path / node / ("zarr.json" if is_v3(path) else ".zattrs")
    content = json.loads(file.read_text())
    edit(content["attributes"]["ome"] if is_v3(path) else content)
    file.write_text(json.dumps(content))


def change_array(path, node, edit):
    file = path / node / ("zarr.json" if is_v3(path) else ".zarray")
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def version_of(path):
    if not is_v3(path):
        return "0.4"
    return json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["version"]


def plate_part(edit):
    return lambda path: change(path, "", lambda ome: edit(ome["plate"]))


def image_part(edit, node="B/3/0"):
    return lambda path: change(path, node, edit)


def numbered_datasets(ome):
    for dataset in ome["multiscales"][0]["datasets"]:
        dataset["path"] = int(dataset["path"])
        for step in dataset["coordinateTransformations"]:
            if "input" in step:
                step["input"]["path"] = dataset["path"]


def image_label(edit):
    return image_part(lambda ome: edit(ome["image-label"]), "A/1/0/labels/cells")


def channel(edit):
    return image_part(lambda ome: edit(ome["omero"]["channels"][0]))


def transformations(edit):
    def apply(ome):
        dataset = ome["multiscales"][0]["datasets"][1]
        dataset["coordinateTransformations"] = edit(dataset["coordinateTransformations"])

    return image_part(apply)


def comment(path):
    file = path / "B/3/0" / ("zarr.json" if is_v3(path) else ".zattrs")
    file.write_text("/* by hand */ " + file.read_text())


def consolidate(path):
    """Consolidate the metadata, and then change what they copied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(path))
    change(path, "B/3/0", lambda ome: ome["omero"]["channels"][0].update(label="Hoechst"))


def misplace(path):
    """Put the metadata where another version has them."""
    file = path / "B/3/0" / ("zarr.json" if is_v3(path) else ".zattrs")
    content = json.loads(file.read_text())
    if is_v3(path):
        ome = content["attributes"].pop("ome")
        ome.pop("version")
        content["attributes"] |= ome
    else:
        content = {
            "ome": {key: value for key, value in content.items() if key != "lab"},
            "lab": content["lab"],
        }
    file.write_text(json.dumps(content))


def wrong_versions(path):
    """Break version keys as each version can have them broken."""
    if is_v3(path):
        change(path, "A/1", lambda ome: ome.pop("version"))
        if version_of(path) == "0.6":
            change(path, "B/3", lambda ome: ome["well"].update(version="0.6"))
        else:
            change(path, "B/3", lambda ome: ome.update(version="0.5.2"))
    else:
        change(path, "A/1", lambda ome: ome["well"].pop("version"))
        change(path, "B/3", lambda ome: ome["well"].update(version="0.5"))
        change(path, "A/1/0", lambda ome: ome["multiscales"][0].pop("version"))


def remove(*nodes):
    return lambda path: [shutil.rmtree(path / node) for node in nodes]


def translation_first(stored):
    scale = next(entry for entry in stored if entry["type"] == "scale")
    return [{"type": "translation", "translation": [0, 1, 2]}, scale, {"type": "identity"}]


def swap_lines(plate):
    plate["rows"], plate["columns"] = plate["columns"], plate["rows"]


def swap_paths(plate):
    """Write the path of each well as column/row."""
    swap_lines(plate)
    for well in plate["wells"]:
        well.update(
            path="/".join(reversed(well["path"].split("/"))),
            rowIndex=well["columnIndex"],
            columnIndex=well["rowIndex"],
        )


def as_text(value):
    """Write every number inside a value as text."""
    if isinstance(value, dict):
        return {key: as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_text(inner) for inner in value]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def numbers_as_text(node):
    """Write the numbers of a node as text, all but those that say what the others count."""

    def edit(ome):
        ome.update({key: as_text(part) for key, part in ome.items() if key not in ("version", "lab")})

    return lambda path: change(path, node, edit)


def units(spelling):
    """Write the unit of the axis y as a program of some maker does."""

    def edit(ome):
        for owner in (ome["multiscales"][0], *ome["multiscales"][0].get("coordinateSystems", [])):
            for axis in owner.get("axes", []):
                if axis["name"] == "y":
                    axis["unit"] = spelling

    return image_part(edit)


def all_versions_as_numbers(path):
    """Write every version as a number: 0.5 instead of "0.5"."""
    for document in path.rglob("zarr.json" if is_v3(path) else ".zattrs"):
        document.write_text(re.sub(r'"version": ?"(0\.\d)"', r'"version": \1', document.read_text()))


ALL = ("0.4", "0.5", "0.6")
PLAIN = ("0.4", "0.5")
V3 = ("0.5", "0.6")

# What is broken, what is found then, and in which versions.
FAULTS = {
    "wrong index": (plate_part(lambda p: p["wells"][0].update(rowIndex=1, columnIndex=-3)), "PL-07", ALL),
    "path of other indices": (plate_part(lambda p: p["wells"][1].update(rowIndex=0)), "PL-06", ALL),
    "row that is not listed": (plate_part(lambda p: p["rows"].pop()), "PL-07", ALL),
    "well twice": (plate_part(lambda p: p["wells"].append(dict(p["wells"][0], note=1))), "PL-13", ALL),
    "well that is gone": (remove("B"), "PL-12", ALL),
    "image that is gone": (remove("A/1/1"), "PL-12", ALL),
    "image twice": (
        lambda path: change(path, "A/1", lambda ome: ome["well"]["images"].append(ome["well"]["images"][0])),
        "WL-03",
        ALL,
    ),
    "acquisition that is not listed": (
        lambda path: change(path, "B/3", lambda ome: ome["well"]["images"][0].update(acquisition=4)),
        "WL-04",
        ALL,
    ),
    "field count": (plate_part(lambda p: p.update(field_count=9)), "PL-10", ALL),
    "no field count": (plate_part(lambda p: p.pop("field_count")), "PL-10", ALL),
    "maximum field count": (
        plate_part(lambda p: p["acquisitions"][0].update(maximumfieldcount=9)),
        "PL-09",
        ALL,
    ),
    "label that is gone": (remove("A/1/0/labels/cells"), "LB-01", ALL),
    "labels that are not listed": (
        lambda path: change(path, "A/1/0/labels", lambda ome: ome.update(labels=[])),
        "LB-02",
        V3,
    ),
    "no list of labels": (
        lambda path: change(path, "A/1/0/labels", lambda ome: ome.pop("labels")),
        "LB-01",
        ALL,
    ),
    "fractions for colors": (
        image_label(lambda label: label["colors"][0].update(rgba=[0.5, 0.2, 1.0, 1])),
        "LB-10",
        ALL,
    ),
    "colors out of range": (
        image_label(lambda label: label["colors"][0].update(rgba=[300, -4, 7.6, 255])),
        "LB-10",
        ALL,
    ),
    "colors without opacity": (
        image_label(lambda label: label["colors"][0].update(rgba=[1, 2, 3])),
        "LB-10",
        ALL,
    ),
    "two colors of a label": (
        image_label(lambda label: label["colors"].append({"label-value": 1, "rgba": [0, 0, 0, 0]})),
        "LB-11",
        ALL,
    ),
    "color with #": (channel(lambda c: c.update(color="#00ff00")), "OM-02", ALL),
    "short color": (channel(lambda c: c.update(color="#0f0")), "OM-02", ALL),
    "no color": (channel(lambda c: c.pop("color")), "OM-02", PLAIN),
    "no window": (channel(lambda c: c.pop("window")), "OM-03", PLAIN),
    "half a window": (channel(lambda c: c.update(window={"start": 3, "end": 9})), "OM-03", ALL),
    "translation first": (transformations(translation_first), "CT-04", PLAIN),
    "no dimension names": (
        lambda path: change_array(path, "B/3/0/0", lambda d: d.pop("dimension_names")),
        "ST-05",
        V3,
    ),
    "other dimension names": (
        lambda path: change_array(path, "B/3/0/1", lambda d: d.update(dimension_names=["a", None, "b"])),
        "ST-05",
        V3,
    ),
    "comments": (comment, "ST-06", ALL),
    "version keys": (wrong_versions, {"0.4": "VE-02", "0.5": "ST-07", "0.6": "ST-07"}, ALL),
    "misplaced": (misplace, {"0.4": "ST-01", "0.5": "ST-03", "0.6": "ST-03"}, ALL),
    "no .zgroup": (lambda path: (path / "A/1/.zgroup").unlink(), "ST-01", ("0.4",)),
    "a damaged .zgroup": (lambda path: (path / "A/1/.zgroup").write_text("{"), "LM-01", ("0.4",)),
    "a .zgroup of another format": (
        lambda path: (path / "A/.zgroup").write_text('{"zarr_format": 3}'),
        "LM-01",
        ("0.4",),
    ),
    "no document of a row": (
        lambda path: (path / "A" / ("zarr.json" if is_v3(path) else ".zgroup")).unlink(),
        {"0.4": "ST-01", "0.5": "ST-02", "0.6": "ST-02"},
        ALL,
    ),
    "no document of labels": (
        lambda path: [file.unlink() for file in (path / "A/1/0/labels").iterdir() if file.is_file()],
        {"0.4": "ST-01", "0.5": "ST-02", "0.6": "ST-02"},
        ALL,
    ),
    "separator of chunk keys": (
        lambda path: change_array(path, "B/3/0/1", lambda d: d.update(dimension_separator=".")),
        "ST-04",
        ("0.4",),
    ),
    "separator of chunk keys in Zarr v3": (
        lambda path: change_array(
            path,
            "B/3/0/0",
            lambda d: d.update(chunk_key_encoding={"name": "default", "configuration": {"separator": "."}}),
        ),
        "LM-09",
        ("0.5", "0.6"),
    ),
    "no separator of chunk keys": (
        lambda path: change_array(path, "B/3/0/1", lambda d: d.pop("dimension_separator")),
        "ST-04",
        ("0.4",),
    ),
    "stale copies": (consolidate, "LM-08", ALL),
    "rows and columns swapped": (plate_part(swap_lines), "PL-06", ALL),
    "paths of wells swapped": (plate_part(swap_paths), "PL-12", ALL),
    "numbers of a plate as text": (numbers_as_text(""), "PL-07", ALL),
    "counts of a plate as text": (plate_part(lambda p: p.update(field_count="2")), "PL-10", ALL),
    "numbers of a well as text": (numbers_as_text("A/1"), "WL-04", ALL),
    "scales as text": (numbers_as_text("B/3/0"), {"0.4": "CT-05", "0.5": "CT-05", "0.6": "CT-28"}, ALL),
    "windows as text": (
        channel(lambda c: c.update(window=as_text(c["window"]))),
        "OM-03",
        ALL,
    ),
    "label values as text": (numbers_as_text("A/1/0/labels/cells"), "LB-09", ALL),
    "paths of datasets as integers": (
        image_part(numbered_datasets),
        "MS-04",
        ALL,
    ),
    "paths of images as integers": (
        lambda path: change(
            path, "A/1", lambda ome: [i.update(path=int(i["path"])) for i in ome["well"]["images"]]
        ),
        "WL-02",
        ALL,
    ),
    "names of columns as integers": (
        plate_part(lambda p: [line.update(name=int(line["name"])) for line in p["columns"]]),
        "PL-01",
        ALL,
    ),
    **{
        f"the unit {spelling}": (units(spelling), "AX-04", ALL)
        for spelling in ("um", "\u00b5m", "\u03bcm", "micron", "Microns", "nm", "mm")
    },
}


# 0.5 and 0.6 have documents of one form: faults of all versions are made in one of them in turn, unless rules differ.
CASES = [
    (name, version)
    for turn, (name, (_, rule, versions)) in enumerate(FAULTS.items())
    for version in versions
    if versions != ALL or isinstance(rule, dict) or version != V3[turn % 2]
]


class Mended:
    """A plate with one fault, the plan of its repair, the repair, and a second one; with all files at each time."""

    def __init__(self, path, apply, look):
        self.path = path
        apply(path)
        self.broken = look(path.parent)
        self.plan = lamella.repair(path, dry_run=True)
        self.planned = look(path.parent)
        self.done = lamella.repair(path)
        self.repaired = look(path.parent)
        self.again = lamella.repair(path)
        self.repeated = look(path.parent)


def look(folder):
    """The bytes of all files below a folder."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def check_that_a_dry_run_wrote_nothing_and_foretold_the_result(mended):
    assert mended.planned == mended.broken
    assert not mended.plan.written
    assert mended.plan.backup is None
    assert mended.plan.diff == mended.done.diff
    assert mended.plan.after == mended.done.after


def check_that_the_second_repair_found_nothing_to_do(mended):
    assert mended.again.changes == ()
    assert mended.again.diff == ""
    assert mended.repeated == mended.repaired


def check_that_the_old_documents_are_kept_beside_the_store_and_nothing_else_changed(mended):
    old = {f"plate.zarr/{change.key}": change.old for change in mended.done.changes}
    new = {f"plate.zarr/{change.key}": change.new for change in mended.done.changes}
    expected = {key: data for key, data in (mended.broken | new).items() if data is not None}
    if mended.done.backup is not None:
        kept = Path(mended.done.backup)
        assert kept.parent == mended.path.parent
        expected |= {
            f"{kept.name}/{change.key}": change.old
            for change in mended.done.changes
            if change.old is not None
        }
    else:
        assert not any(old.values())
    assert mended.repaired == expected
    assert {key: mended.broken.get(key) for key in old} == old


@pytest.mark.parametrize(("name", "version"), CASES, ids=map(" ".join, CASES))
def test_a_fault_is_mended_and_nothing_is_left(name, version, sound, tmp_path):
    apply, rule, _ = FAULTS[name]
    mended = Mended(shutil.copytree(sound(version), tmp_path / "plate.zarr"), apply, look)
    rule = rule[version] if isinstance(rule, dict) else rule
    assert rule in mended.done.before.rules
    assert rule in mended.done.rules
    assert mended.done.after.findings == ()
    assert lamella.validate(mended.path, pixels=True).findings == ()
    check_that_a_dry_run_wrote_nothing_and_foretold_the_result(mended)
    check_that_the_second_repair_found_nothing_to_do(mended)
    check_that_the_old_documents_are_kept_beside_the_store_and_nothing_else_changed(mended)
    with lamella.open_ome_zarr(mended.path) as node:  # what nobody knows survives
        assert node.zattrs["lab"] == {"owner": "us"}
        assert node["A/1/0"].zattrs["lab"] == {"owner": "us"}


def test_a_translation_before_the_scale_keeps_its_effect(plate):
    if version_of(plate) == "0.6":
        pytest.skip("0.6 has sequences")
    transformations(
        lambda _: [{"type": "translation", "translation": [0, 1, 2]}, {"type": "scale", "scale": [1, 2, 4]}]
    )(plate)
    lamella.repair(plate)
    with lamella.open_ome_zarr(plate) as node:
        assert node["B/3/0"].get_effective_scale("1") == [1, 2, 4]
        assert node["B/3/0"].get_effective_translation("1") == [0, 2, 8]


def test_the_diff_shows_documents_line_by_line(plate):
    FAULTS["color with #"][0](plate)
    diff = lamella.repair(plate, dry_run=True).diff.splitlines()
    assert diff[0].startswith("--- B/3/0/")
    assert diff[1].endswith("(OM-02)")
    assert [line.strip("-+ ,") for line in diff if line[0] in "-+"][2:] == [
        '"color": "#00ff00"',
        '"color": "00ff00"',
    ]


# -- what is left alone ------------------------------------------------------------------------------------------------


def test_a_sound_store_is_left_alone(plate, files):
    before = files(plate.parent)
    done = lamella.repair(plate)
    assert done.changes == ()
    assert "nothing that can be fixed" in str(done)
    assert files(plate.parent) == before


GUESSES = {
    "PL-03": plate_part(lambda p: p["rows"][0].update(name="A 1")),
    "OM-02": channel(lambda c: c.update(color="bluish")),
    "MS-02": image_part(
        lambda ome: ome["multiscales"][0].pop("coordinateSystems", ome["multiscales"][0].pop("axes", 0))
    ),
    "MS-04": remove("B/3/0/1"),
    "WL-03": lambda path: change(
        path,
        "A/1",
        lambda ome: ome["well"]["images"].append({"path": "0", "acquisition": 0, "note": "another"}),
    ),
    "LM-01": lambda path: (path / "B/3/0" / ("zarr.json" if is_v3(path) else ".zattrs")).write_text("{"),
}


@pytest.mark.parametrize("rule", GUESSES)
def test_what_would_be_a_guess_is_left_and_told(plate, rule, files):
    GUESSES[rule](plate)
    found = lamella.validate(plate).rules
    expected = rule if rule in found else "CS-01"
    before = files(plate)
    done = lamella.repair(plate)
    assert expected in done.after.rules
    assert expected not in done.rules
    assert files(plate) == before or rule == "PL-03"


def test_groups_of_another_version_or_of_two_formats_are_left(plate, files):
    v3 = is_v3(plate)
    other = plate / "B/3/0" / (".zattrs" if v3 else "zarr.json")
    other.write_text("{}" if v3 else '{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    if v3:
        stated = "0.6" if version_of(plate) == "0.5" else "0.5"
        change(plate, "A/1/1", lambda ome: ome.update(version=stated))
    before = files(plate)
    done = lamella.repair(plate)
    assert {"LM-02", *(["ST-08"] if v3 else [])} <= set(done.after.rules)
    assert files(plate) == before


def test_a_group_without_metadata_gets_none(plate, files):
    file = plate / "B/3/0" / ("zarr.json" if is_v3(plate) else ".zattrs")
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "attributes": {}} if is_v3(plate) else {}))
    before = files(plate)
    lamella.repair(plate)
    assert files(plate) == before


def test_the_last_well_stays_on_the_list(plate):
    shutil.rmtree(plate / "A")
    shutil.rmtree(plate / "B")
    done = lamella.repair(plate)
    assert "PL-12" in done.after.rules
    assert done.changes == ()


def test_a_well_that_only_lost_its_document_stays_on_the_list(plate):
    for file in (plate / "B/3").iterdir():
        if file.is_file():
            file.unlink()
    done = lamella.repair(plate)
    assert "PL-12" in done.after.rules
    assert done.changes == ()


def test_counts_are_left_where_a_well_cannot_be_read(plate):
    FAULTS["field count"][0](plate)
    (plate / "B/3" / ("zarr.json" if is_v3(plate) else ".zattrs")).write_text("{")
    assert lamella.repair(plate).changes == ()


# -- safety ------------------------------------------------------------------------------------------------------------


def test_a_node_that_is_open_for_reading_is_not_repaired(plate, files):
    FAULTS["field count"][0](plate)
    before = files(plate.parent)
    with lamella.open_ome_zarr(plate) as node, pytest.raises(ReadOnlyError):
        lamella.repair(node)
    assert files(plate.parent) == before


def test_a_node_that_is_open_for_writing_sees_its_repair(plate):
    FAULTS["field count"][0](plate)
    with lamella.open_ome_zarr(plate, mode="r+") as node:
        assert node.metadata.field_count == 9
        lamella.repair(node)
    with lamella.open_ome_zarr(plate) as node:
        assert node.metadata.field_count == 2


def test_a_group_inside_a_store_has_its_backup_beside_the_store(plate):
    FAULTS["color with #"][0](plate)
    kept = Path(lamella.repair(plate / "B/3/0").backup)
    assert kept.parent == plate.parent
    assert [file.relative_to(kept).parent.as_posix() for file in kept.rglob("*") if file.is_file()] == [
        "B/3/0"
    ]


def test_a_document_that_changed_meanwhile_is_not_overwritten(plate, monkeypatch):
    FAULTS["color with #"][0](plate)
    keep = repair_changes.save_backup

    def keep_and_change(*arguments):
        keep(*arguments)
        change(plate, "B/3/0", lambda ome: ome["omero"]["channels"][0].update(label="renamed"))

    monkeypatch.setattr("lamella.ops.repair.repair.save_backup", keep_and_change)
    with pytest.raises(MetadataError, match="another process"):
        lamella.repair(plate)
    with lamella.open_ome_zarr(plate) as node, pytest.warns(MetadataWarning, match="OM-02"):
        assert node["B/3/0"].channel_names == ["renamed"]


def test_a_backup_goes_where_it_is_asked_for(plate, tmp_path):
    FAULTS["color with #"][0](plate)
    assert lamella.repair(plate, backup=tmp_path / "old").backup == str(tmp_path / "old")
    FAULTS["color with #"][0](plate)
    with pytest.raises(InvalidArgumentError, match="new or empty"):
        lamella.repair(plate, backup=tmp_path / "old")


def test_a_store_in_memory_needs_a_place_for_the_backup(tmp_path):
    store = zarr.storage.MemoryStore()
    zarr.create_group(store, attributes={"ome": {"labels": []}})
    with pytest.raises(InvalidArgumentError, match="backup="):
        lamella.repair(store)
    done = lamella.repair(store, backup=tmp_path / "old")
    assert done.rules == ("ST-07",)
    assert (tmp_path / "old" / "zarr.json").exists()


def test_nothing_at_the_path_is_an_error(tmp_path):
    with pytest.raises(StoreNotFoundError):
        lamella.repair(tmp_path / "none.zarr")


def wells_of(path):
    """Return the names of rows and columns that a plate lists, and its wells with the names of their indices."""
    file = path / ("zarr.json" if is_v3(path) else ".zattrs")
    content = json.loads(file.read_text())
    plate = (content["attributes"]["ome"] if is_v3(path) else content)["plate"]
    rows, columns = ([line["name"] for line in plate[key]] for key in ("rows", "columns"))
    return set(rows), set(columns), {well["path"] for well in plate["wells"]}


@pytest.mark.parametrize("fault", [swap_lines, swap_paths])
def test_a_repair_of_swapped_rows_and_columns_invents_neither_row_column_nor_well(plate, fault):
    sound = wells_of(plate)
    plate_part(fault)(plate)
    lamella.repair(plate)
    assert wells_of(plate) == sound
    with lamella.open_ome_zarr(plate) as opened:
        assert [path for path, _ in opened.positions()] == ["A/1/0", "A/1/1", "B/3/0"]


PLATE_EDITS = st.lists(
    st.sampled_from(
        [
            swap_lines,
            swap_paths,
            lambda p: p["wells"].append({"path": "C/9", "rowIndex": 5, "columnIndex": 5}),
            lambda p: p["wells"].append({"path": "1/A", "rowIndex": 0, "columnIndex": 0}),
            lambda p: p["wells"][0].update(path="9/Z"),
            lambda p: p["rows"].pop(),
            lambda p: p["columns"].clear(),
            lambda p: p["wells"].reverse(),
            lambda p: p["wells"][0].update(rowIndex="1"),
            lambda p: p["rows"].append({"name": "Q"}),
        ]
    ),
    max_size=3,
)


@settings(max_examples=15)
@given(edits=PLATE_EDITS, version=st.sampled_from(ALL))
def test_rows_columns_and_wells_of_a_repaired_plate_are_those_listed_or_those_in_the_store(
    edits, version, sound, tmp_path_factory
):
    path = shutil.copytree(sound(version), tmp_path_factory.mktemp("edits") / "plate.zarr")
    stored_rows, stored_columns, stored_wells = wells_of(path)
    for edit in edits:
        plate_part(lambda plate, edit=edit: edit(plate) if plate["rows"] and plate["wells"] else None)(path)
    rows, columns, wells = wells_of(path)
    lamella.repair(path)
    new_rows, new_columns, new_wells = wells_of(path)
    assert new_wells <= wells | stored_wells
    swapped = rows & stored_columns or columns & stored_rows  # those lists may have changed places
    assert new_rows <= rows | stored_rows | (columns if swapped else set())
    assert new_columns <= columns | stored_columns | (rows if swapped else set())


def test_the_separator_of_chunk_keys_is_left_where_the_files_have_it(plate, files):
    if is_v3(plate):
        pytest.skip("0.5 and 0.6 allow either separator")
    array = plate / "B/3/0/1"
    change_array(plate, "B/3/0/1", lambda document: document.update(dimension_separator="."))
    (array / "0/0/0").rename(array / "0.0.0")
    (array / "0/0").rmdir()
    (array / "0").rmdir()
    before = files(plate)
    done = lamella.repair(plate)
    assert "ST-04" in done.after.rules
    assert files(plate) == before
