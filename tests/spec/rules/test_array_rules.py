"""Each rule that takes the arrays of an image: facts that keep it, and facts that break it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lamella.spec.rules import RULES, ArrayFacts, ParentImage, check_arrays, check_attributes

VERSIONS = ("0.4", "0.5", "0.6")
SHAPES = {"0": (2, 64, 65), "1": (2, 32, 33)}


def image(version, names="cyx", paths=("0", "1")):
    kinds = {"c": "channel", "t": "time"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    ends = {"output": {"name": "physical"}}
    datasets = [
        {
            "path": path,
            "coordinateTransformations": [
                {
                    "type": "scale",
                    "scale": [float(2**number if axis["type"] == "space" else 1) for axis in axes],
                }
                | ({"input": {"path": path}} | ends if version == "0.6" else {})
            ],
        }
        for number, path in enumerate(paths)
    ]
    multiscale = {"datasets": datasets}
    if version == "0.6":
        multiscale["coordinateSystems"] = [{"name": "physical", "axes": axes}]
    else:
        multiscale["axes"] = axes
    return (
        {"multiscales": [multiscale]}
        if version == "0.4"
        else {"ome": {"version": version, "multiscales": [multiscale]}}
    )


def arrays(version, names="cyx"):
    dimension_names = None if version == "0.4" else tuple(names)
    return {
        path: ArrayFacts(shape, "uint16", dimension_names, "/", 2 if version == "0.4" else 3)
        for path, shape in SHAPES.items()
    }


def level(version, number):
    at = ("multiscales", 0, "datasets", number, "path")
    return at if version == "0.4" else ("ome", *at)


BROKEN = [
    ("ST-01", ("0.4",), {"zarr_format": 3}),
    ("ST-02", ("0.5", "0.6"), {"zarr_format": 2}),
    ("ST-04", ("0.4",), {"separator": "."}),
    ("ST-05", ("0.5", "0.6"), {"dimension_names": None}),
    ("ST-05", ("0.5", "0.6"), {"dimension_names": ("c", "y", None)}),
    ("ST-05", ("0.5", "0.6"), {"dimension_names": ("c", "Y", "X")}),
    ("AX-05", VERSIONS, {"shape": (32, 33)}),
    ("AX-12", ("0.5", "0.6"), {"dimension_names": ("c", "x", "y")}),
    ("MS-05", VERSIONS, {"shape": (2, 128, 130)}),
    ("MS-06", VERSIONS, {"shape": (1, 2, 32, 33)}),
    ("MS-07", ("0.6",), {"dtype": "uint8"}),
]
ROWS = [(rule, version, change) for rule, versions, change in BROKEN for version in versions]


@pytest.mark.parametrize(("rule", "version", "change"), ROWS)
def test_a_fact_breaks_the_rule(rule, version, change):
    facts = arrays(version)
    facts["1"] = replace(facts["1"], **change)
    findings = check_arrays("image", image(version), version, facts, node="A/1/0")
    found = [finding for finding in findings if finding.rule == rule]
    assert [finding.location for finding in found] == [level(version, 1)]
    assert {(finding.level, finding.node) for finding in found} == {(RULES[rule].level_in(version), "A/1/0")}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["image", "label"])
def test_fitting_arrays_have_no_finding(kind, version):
    parent = ParentImage(image(version), arrays(version))
    assert check_arrays(kind, image(version), version, arrays(version), parent=parent) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_missing_array_is_found(version):
    facts = arrays(version)
    del facts["1"]
    (finding,) = check_arrays("image", image(version), version, facts)
    assert (finding.rule, finding.location) == ("MS-04", level(version, 1))


@pytest.mark.parametrize("version", VERSIONS)
def test_more_than_five_dimensions_are_too_many(version):
    facts = {"0": replace(arrays(version)["0"], shape=(1, 1, 1, 1, 2, 2))}
    rules = {finding.rule for finding in check_arrays("image", image(version, paths=("0",)), version, facts)}
    assert {"MS-06", "AX-05"} <= rules


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_levels_may_differ_in_data_type_before_06(version):
    facts = arrays(version)
    facts["1"] = replace(facts["1"], dtype="float32")
    assert check_arrays("image", image(version), version, facts) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_are_integers(version):
    facts = {path: replace(array, dtype="float32") for path, array in arrays(version).items()}
    findings = check_arrays("label", image(version), version, facts)
    assert [(finding.rule, finding.location) for finding in findings] == [
        ("LB-05", level(version, 0)),
        ("LB-05", level(version, 1)),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_label_image_is_an_image(version):
    attributes = {"image-label": {}} if version == "0.4" else {"ome": {"image-label": {}}}
    (finding,) = check_arrays("label", attributes, version, {})
    assert (finding.rule, finding.level) == ("LB-03", "MUST")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_label_image_has_the_levels_of_its_image(version):
    parent = ParentImage(image(version), arrays(version))
    findings = check_arrays("label", image(version, paths=("0",)), version, arrays(version), parent=parent)
    assert [finding.rule for finding in findings] == ["LB-04"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("shape", "rules"), [((1, 64, 65), []), ((2, 64, 64), ["LB-14"]), ((1, 1, 65), [])])
def test_a_label_dimension_is_the_images_or_one(version, shape, rules):
    parent = ParentImage(image(version), arrays(version))
    facts = arrays(version)
    facts["0"] = replace(facts["0"], shape=shape)
    # Only the size of the finest level is changed: the order and the extents of the levels do not count here.
    findings = check_arrays("label", image(version), version, facts, parent=parent)
    assert [finding.rule for finding in findings if finding.rule not in ("MS-05", "LM-25")] == rules


@pytest.mark.parametrize("version", VERSIONS)
def test_a_label_image_may_lack_the_channel_axis(version):
    parent = ParentImage(image(version), arrays(version))
    names = None if version == "0.4" else ("y", "x")
    facts = {
        path: replace(array, shape=array.shape[1:], dimension_names=names)
        for path, array in arrays(version).items()
    }
    assert check_arrays("label", image(version, names="yx"), version, facts, parent=parent) == []


def test_labels_belong_to_an_image():
    parent = ParentImage({"ome": {"version": "0.6"}}, {})
    (finding,) = check_arrays("label", image("0.6"), "0.6", arrays("0.6"), parent=parent)
    assert (finding.rule, finding.level) == ("LB-15", "MUST")


@pytest.mark.parametrize("kind", ["plate", "well", "labels", "scene"])
def test_other_kinds_have_no_arrays(kind):
    assert check_arrays(kind, {"ome": {}}, "0.5", {}) == []


def test_every_rule_that_takes_arrays_is_broken_here_or_by_a_document():
    broken = {rule for rule, *_ in BROKEN} | {"MS-04", "LB-03", "LB-04", "LB-05", "LB-14", "LB-15"}
    wanted = {
        rule.id for rule in RULES.values() if rule.needs == "arrays" and set(rule.versions) & set(VERSIONS)
    }
    assert wanted == broken


def test_document_rules_are_left_to_the_document():
    damaged = {"ome": {"version": "0.5", "multiscales": [{"datasets": [{"path": 0}, None], "axes": 3}]}}
    assert check_arrays("image", damaged, "0.5", {}) == []
    assert check_attributes("image", damaged, "0.5") != []


def lower_scale(document, version):
    """Return the scale of level 1, to be changed."""
    ome = document if version == "0.4" else document["ome"]
    return ome["multiscales"][0]["datasets"][1]["coordinateTransformations"][0]["scale"]


@pytest.mark.parametrize("version", VERSIONS)
def test_channels_of_a_lower_level_are_not_scaled(version):
    document, facts = image(version), arrays(version)
    lower_scale(document, version)[0] = 2.0
    findings = check_arrays("image", document, version, facts)
    assert [(finding.rule, finding.location[-1]) for finding in findings] == [("CT-06", 1)]
    facts["1"] = replace(facts["1"], shape=(1, 32, 33))  # downsampled along c
    assert not check_arrays("image", document, version, facts)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("shape", "scale", "fits"),
    [
        ((32, 33), (2.0, 2.0), True),  # the last voxel is half outside
        ((32, 32), (2.0, 2.0), True),  # the last voxel was left out
        ((32, 32), (2.0, 65 / 32), True),
        ((1, 1), (64.0, 64.0), True),
        ((32, 33), (1.0, 1.0), False),  # the scale of level 0 was copied
        ((32, 33), (2.0, 20.0), False),
    ],
)
def test_the_scale_of_a_lower_level_fits_its_length(version, shape, scale, fits):
    document, facts = image(version), arrays(version)
    lower_scale(document, version)[1:] = scale
    facts["1"] = replace(facts["1"], shape=(2, *shape))
    rules = [finding.rule for finding in check_arrays("image", document, version, facts)]
    assert rules == ([] if fits else ["LM-25"])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("damage", [list.clear, lambda found: found[0].update(type="other")])
def test_levels_without_a_scale_are_not_compared(version, damage):
    """The document breaks CT-01 or CT-02; what its levels cover is unknown."""
    document = image(version)
    ome = document if version == "0.4" else document["ome"]
    for dataset in ome["multiscales"][0]["datasets"]:
        damage(dataset["coordinateTransformations"])
    assert not check_arrays("image", document, version, arrays(version))
